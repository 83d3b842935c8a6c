//! What can go wrong with a projection.

/// What went wrong with a projection. [`Error::Projection`](crate::Error::Projection) wraps it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// A projection failed: an inline one, so the append that it belongs to was rolled back, or one that was being rebuilt.
    #[error("projection \"{projection}\" failed")]
    #[non_exhaustive]
    Failed {
        /// The projection's name.
        projection: String,
        /// What the projection returned.
        source: anyhow::Error,
    },
    /// The store's projections and this program's do not fit: another version of an asynchronous one is active, it is kept
    /// inline here and by a consumer there, or it is not registered any more. The message names the projection.
    #[error("{message}")]
    #[non_exhaustive]
    Mismatch {
        /// What does not fit.
        message: String,
        /// What the database said.
        r#source: postgres::Error,
    },
    /// Another program is rebuilding the projection, or has taken over from this one, which was thought dead.
    #[error("projection \"{projection}\" is being rebuilt by another program")]
    #[non_exhaustive]
    RebuildRunning {
        /// The projection's name.
        projection: String,
    },
    /// The new read model is built, but could not take the place of the live one in time, which is unchanged.
    #[error("the rebuilt projection \"{projection}\" could not take its place: {reason}")]
    #[non_exhaustive]
    RebuildBlocked {
        /// The projection's name.
        projection: String,
        /// What was in the way.
        reason: String,
    },
}

/// With which SQLSTATE the database refuses a partition that does not know an inline projection.
const UNREGISTERED: &str = "SE011";

impl ProjectionError {
    /// What the SQLSTATE of a refused statement says of projections; else the driver's error itself.
    pub(super) fn of_refusal(source: postgres::Error) -> Result<Self, postgres::Error> {
        let mismatches = ["SE010", UNREGISTERED, "SE013"];
        let Some(error) = source.as_db_error() else {
            return Err(source);
        };
        if !mismatches.contains(&error.code().code()) {
            return Err(source);
        }
        let message = match error.hint() {
            Some(hint) => format!("{}. {hint}", error.message()),
            None => error.message().to_owned(),
        };
        Ok(Self::Mismatch { message, source })
    }

    /// Whether the partition does not know the program's inline projections.
    pub(super) fn is_unregistered(&self) -> bool {
        matches!(self, Self::Mismatch { source, .. }
            if source.code().is_some_and(|code| code.code() == UNREGISTERED))
    }
}
