//! Writing documents.

mod change;
mod delete;
mod handle;
mod insert;
mod options;
mod outcome;
mod replace;
mod replace_many;
mod update;
mod upsert;

pub use handle::{HandleId, HandleOptions, HandleOutcome, Handled};
pub use options::{DeleteOptions, ReturnDocument, UpdateOptions};
pub use outcome::{Deleted, Inserted, Updated, UpdatedMany};
pub use replace_many::Replacement;
