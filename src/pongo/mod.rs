//! Documents over JSONB: a small, typed, blocking MongoDB over your PostgreSQL.
//!
//! A collection is a table; a document is a row with a JSON object in it. [`PongoClient`] needs no event store; in one,
//! projections keep collections, and [`EventStore::collection`](crate::EventStore::collection) is the way to them.
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
//! - [`Collection`] inserts, finds, counts, updates, replaces, upserts, deletes, and does find-and-change in one statement.
//! - [`Collection::handle`] is load, decide, store, for what operators cannot say; [`Collection::handle_many`] for many.
//! - [`Collection::find`] has sorts, selections of fields, pages, a cursor in bounded memory, and plans.
//! - [`Filter`] and [`Update`] are MongoDB's documents, by `json!` or built; [`field`] begins a filter.
//! - [`UpdateOptions`], [`DeleteOptions`], [`Replacement`] and [`HandleId`] say which version a document must have.
//! - [`CollectionDefinition`] and [`Index`] declare collections; [`Schema`](crate::database::Schema) prints and applies what they need.
//! - [`DocumentEvolution`] reads documents of an older form.
//! - [`PongoClient::with_transaction`] does several things together; [`PongoClient::tenant`] keeps documents apart.
//!
//! # Ids, versions, numbers
//!
//! A document's id is its field `_id`, a string of 1 to 2,000 bytes, given or a new UUID (version 7). Its version counts its
//! changes from 1. Each document is read with the fields `_id` and `_version`; [`Collection::without_ids`] is for maps and types
//! that refuse unknown fields.
//!
//! Strings survive unchanged. Numbers are exact: PostgreSQL keeps all digits, and a number that a `serde_json::Value` could not
//! hold exactly is an error when it is read ([`JsonError::BeyondF64`](crate::error::JsonError)). Arithmetic of updates is decimal; a
//! fraction that it makes of two floats has no more digits than a float.
//! PostgreSQL's `jsonb` does not keep the order of an object's keys, nor the second of two equal keys; it writes `1E2` as `100`
//! and `-0.0` as `0.0`.

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
pub(crate) use document::{DocumentTable, Put};
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
