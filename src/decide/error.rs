//! The error of a decision.

use crate::error::Error;

/// The error of a decision: the domain refused it, or the store failed.
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
    /// The closure refused, with its own error. Nothing was stored, and a refusal is not retried.
    #[error("{0}")]
    Refused(E),
    /// The store failed. [`Error`] tells whether anything was stored.
    #[error(transparent)]
    Store(#[from] Error),
}

impl<E> DecideError<E> {
    /// Returns the domain's refusal, if the error is a refusal.
    pub fn refused(self) -> Option<E> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Store(_) => None,
        }
    }
}
