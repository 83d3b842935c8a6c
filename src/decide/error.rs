//! Why a decision was not carried out.

use crate::error::Error;

/// Why a decision was not carried out: the domain refused it, or the store failed.
///
/// ```
/// # use emmett_postgresql::decide::DecideError;
/// # #[derive(Debug)]
/// # struct CartError;
/// fn status(error: &DecideError<CartError>) -> u16 {
///     match error {
///         DecideError::Refused(_) => 409,
///         DecideError::Store(error) if error.is_conflict() => 412,
///         DecideError::Store(_) => 503,
///     }
/// }
/// # assert_eq!(status(&DecideError::Refused(CartError)), 409);
/// ```
#[derive(Debug, thiserror::Error)]
pub enum DecideError<E> {
    /// The closure refused, with its own error. Nothing was stored, and it is not asked again.
    #[error("{0}")]
    Refused(E),
    /// The store failed; [`Error`] says whether anything was stored.
    #[error(transparent)]
    Store(#[from] Error),
}

impl<E> DecideError<E> {
    /// The domain's refusal, if it is one.
    pub fn refused(self) -> Option<E> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Store(_) => None,
        }
    }
}
