//! Failures of a projection.

/// A failure of a projection. [`Error::Projection`](crate::Error::Projection) wraps it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// A projection failed. The append of an inline projection was rolled back; a rebuild stopped.
    #[error("projection \"{projection}\" failed")]
    #[non_exhaustive]
    Failed {
        /// The projection's name.
        projection: String,
        /// The projection's error.
        source: anyhow::Error,
    },
    /// The store's projections and this program's do not match. Another version of an asynchronous projection is active, or
    /// it is inline here but runs in a consumer there. Or it is no longer registered. The message names the projection.
    #[error("{message}")]
    #[non_exhaustive]
    Mismatch {
        /// The mismatch and the next step.
        message: String,
        /// The database's answer.
        r#source: postgres::Error,
    },
    /// Another program is rebuilding the projection, or has taken over a rebuild that it believed dead.
    #[error("projection \"{projection}\" is being rebuilt by another program")]
    #[non_exhaustive]
    RebuildRunning {
        /// The projection's name.
        projection: String,
    },
    /// The new read model is built, but could not replace the live one in time. The live one is unchanged.
    #[error("the rebuilt projection \"{projection}\" could not replace the live one: {reason}")]
    #[non_exhaustive]
    RebuildBlocked {
        /// The projection's name.
        projection: String,
        /// The reason.
        reason: String,
    },
}

/// SQLSTATE with which the database refuses an inline projection that the partition does not know.
const UNREGISTERED: &str = "SE011";

impl ProjectionError {
    /// Converts a refused statement to an error of a projection by its SQLSTATE; otherwise returns the driver's error.
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

    /// Whether the program's inline projections are not registered in the partition.
    pub(super) fn is_unregistered(&self) -> bool {
        matches!(self, Self::Mismatch { source, .. }
            if source.code().is_some_and(|code| code.code() == UNREGISTERED))
    }
}
