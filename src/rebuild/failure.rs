//! The error of a failing projection.

use crate::error::Error;
use crate::projection::Projection;

pub(super) fn failed(projection: &dyn Projection, source: anyhow::Error) -> Error {
    Error::projection(projection.name(), source)
}
