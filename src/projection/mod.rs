//! Read models as documents ([`DocumentProjection`]) or as SQL tables ([`SqlProjection`]).
//!
//! An inline projection is written in the transaction of the append. A [`Projector`](crate::Projector) updates a
//! projection in the background.

mod context;
mod document;
mod documents;
mod inline;
pub(crate) mod missed;
pub(crate) mod neighbour;
#[expect(clippy::module_inception, reason = "it holds the trait `Projection`")]
mod projection;
mod read_model;
pub(crate) mod registry;
mod sql;

pub use context::ProjectionContext;
pub(crate) use context::ShadowTables;
pub use document::DocumentProjection;
pub(crate) use documents::Documents;
pub(crate) use inline::InlineProjections;
pub use neighbour::NeighbourProjection;
pub use projection::Projection;
pub(crate) use projection::{check_handled, handled_among};
pub use read_model::ReadModel;
pub use registry::{
    MissedEvents, ProjectionFailure, ProjectionStatus, ProjectionType, RegisteredProjection,
};
pub use sql::SqlProjection;
