//! The error of a projection that fails.

use crate::error::Error;
use crate::projection::Projection;

pub(super) fn failed(projection: &dyn Projection, source: anyhow::Error) -> Error {
    Error::projection(projection.name(), source)
}
