//! Documents over JSONB: a small, typed, blocking MongoDB over your PostgreSQL.
//!
//! A collection is a table. A document is a row with a JSON object. [`PongoClient`] needs no event store. In an event store,
//! projections maintain collections; [`EventStore::collection`](crate::EventStore::collection) reads them.
//!
//! ```
//! use emmett_postgresql::pongo::{PongoClient, Update, field};
//! use serde::{Deserialize, Serialize};
//! use serde_json::json;
//!
//! #[derive(Serialize, Deserialize, Debug, PartialEq)]
//! struct Cart { client: String, total: f64 }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let database = emmett_postgresql::testing::database()?;
//! # let url = database.url();
//! let client = PongoClient::connect(url)?;
//! let carts = client.collection::<Cart>("carts");
//!
//! let cart = carts.insert_one(&Cart { client: "anna".into(), total: 30.0 })?;
//! carts.update_one(json!({"_id": cart.id}), json!({"$inc": {"total": 12}}))?;
//! carts.update_many(field("total").lt(10), Update::new().set("small", true))?;
//!
//! let large = carts
//!     .find(json!({"total": {"$gte": 40}}))
//!     .sort(json!({"total": -1}))
//!     .limit(10)
//!     .to_vec()?;
//! assert_eq!(large, [Cart { client: "anna".into(), total: 42.0 }]);
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! - [`Collection`] inserts, finds, counts, updates, replaces, upserts and deletes. It also finds and changes a document in one
//!   statement.
//! - [`Collection::handle`] loads a document, decides, and stores the result, for changes that operators cannot express.
//!   [`Collection::handle_many`] does so for many.
//! - [`Collection::find`] supports sorts, field selections, pages, a cursor in bounded memory, and query plans.
//! - [`Filter`] and [`Update`] are MongoDB's documents, written with `json!` or built. [`field`] begins a filter.
//! - [`UpdateOptions`], [`DeleteOptions`], [`Replacement`] and [`HandleId`] set the version that a document must have.
//! - [`CollectionDefinition`] and [`Index`] declare collections. [`Schema`](crate::database::Schema) prints and applies their
//!   migration.
//! - [`DocumentEvolution`] reads documents of an older form.
//! - [`PongoClient::with_transaction`] runs several operations in one transaction. [`PongoClient::tenant`] isolates the
//!   documents of a tenant.
//!
//! # Ids, versions, numbers
//!
//! A document's id is its field `_id`, a string of 1 to 2,000 bytes. If it is missing, the library creates a UUID (version 7).
//! The version counts the document's changes, starting at 1. Documents are read with the fields `_id` and `_version`. Use
//! [`Collection::without_ids`] for maps and types that refuse unknown fields.
//!
//! Strings are stored unchanged. Numbers are exact: PostgreSQL keeps all digits. Reading a number that a `serde_json::Value`
//! cannot hold exactly is an error ([`JsonError::BeyondF64`](crate::error::JsonError)). Updates calculate in decimal. The
//! fraction of a calculation with two floats has no more digits than a float.
//!
//! PostgreSQL's `jsonb` does not keep the order of an object's keys. Of two equal keys, it keeps the last one. It writes `1E2`
//! as `100` and `-0.0` as `0.0`.

mod client;
mod collection;
mod document;
mod dotted_path;
mod error;
mod executor;
mod filter;
mod index;
mod operand;
mod read;
mod statement;
mod update;
mod write;

pub use client::{PongoClient, PongoClientBuilder, PongoTransaction};
pub use collection::{Collection, CollectionDefinition, DocumentEvolution};
pub(crate) use collection::{CollectionDefinitions, collections_among, old_collections};
pub use document::DocumentConflict;
pub(crate) use document::{DocumentTable, Put, StoredDocument};
pub(crate) use error::of_cause;
pub use error::{Error, Result};
pub(crate) use executor::{CollectionTables, Executor};
pub use filter::{
    Element, ElementFilter, Field, FieldSelection, Filter, FilterError, JsonType, RegexOption,
    element, field,
};
pub use index::{Index, IndexDescription};
pub use read::{Cursor, Find, Page};
pub(crate) use statement::ReadGuard;
pub use update::{Update, UpdateError};
pub use write::{
    DeleteOptions, Deleted, HandleId, HandleOptions, HandleOutcome, Handled, Inserted, Replacement,
    ReturnDocument, UpdateOptions, Updated, UpdatedMany,
};
