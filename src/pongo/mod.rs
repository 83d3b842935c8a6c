//! Documents over JSONB: collections that are queried like MongoDB's.
//!
//! A collection is a table; a document is a row with a JSON object in it. Projections keep collections, and
//! [`EventStore::collection`](crate::EventStore::collection) queries them.
//!
//! ```no_run
//! # use emmett_postgresql::EventStore;
//! # use serde::{Deserialize, Serialize};
//! # use serde_json::json;
//! # #[derive(Serialize, Deserialize)]
//! # struct CartSummary { total_amount: f64 }
//! # fn main() -> Result<(), emmett_postgresql::Error> {
//! # let store = EventStore::builder("postgresql://localhost/shop").open()?;
//! let carts = store.collection::<CartSummary>("cart_summaries");
//! let one = carts.find_one(json!({"_id": "ShoppingCart-123"}))?;
//! let large = carts
//!     .find(json!({"totalAmount": {"$gte": 1000}}))
//!     .sort(json!({"totalAmount": -1}))
//!     .limit(10)
//!     .to_vec()?;
//! # Ok(())
//! # }
//! ```
//!
//! Numbers, strings and dates survive as JSON has them. PostgreSQL's `jsonb` does not keep the order of an object's keys, nor
//! the second of two equal keys; it writes `1E2` as `100` and `-0.0` as `0.0`.

mod change;
mod client;
mod client_builder;
mod collection;
mod cursor;
mod definition;
mod delete;
mod document;
mod evolution;
mod find;
mod handle;
mod home;
mod index;
mod indexes;
mod insert;
mod lifecycle;
mod outcome;
mod page;
mod replace;
mod statement;
mod transaction;
mod update;
mod upsert;
mod versioned_writes;
mod write_options;

pub use crate::document_version::{DocumentConflict, ExpectedDocument};
pub use crate::filter::{
    Element, ElementFilter, Field, FieldSelection, Filter, FilterError, JsonType, RegexOption,
    element, field,
};
pub use crate::update::{Update, UpdateError};
pub use client::PongoClient;
pub use client_builder::PongoClientBuilder;
pub use collection::Collection;
pub use cursor::FindIter;
pub use definition::CollectionDefinition;
pub(crate) use definition::CollectionDefinitions;
pub(crate) use document::DocumentTable;
pub use evolution::DocumentEvolution;
pub use find::Find;
pub use handle::{HandleId, HandleOptions, HandleOutcome, Handled};
pub(crate) use home::{CollectionHome, CollectionTables, DocumentScope};
pub use index::{Index, IndexDescription};
pub use outcome::{Deleted, Inserted, Updated, UpdatedMany};
pub use page::Page;
pub use transaction::PongoTransaction;
pub use write_options::{DeleteOptions, ReturnDocument, UpdateOptions};
