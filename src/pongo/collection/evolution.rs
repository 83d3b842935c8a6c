//! Evolution of stored documents.

use serde_json::Value;
use std::fmt;
use std::sync::Arc;

type Hook = Arc<dyn Fn(Value) -> anyhow::Result<Value> + Send + Sync>;

/// Converts documents when they are read and written, so that stored documents need no migration.
///
/// Filters, updates, sorts and indexes work on the stored form. So do queries that read selected fields
/// ([`Find::select`](crate::pongo::read::Find::select)).
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// use emmett_postgresql::pongo::{DocumentEvolution, PongoClient};
/// use serde_json::json;
///
/// #[derive(Serialize, Deserialize)]
/// struct Customer { first_name: String, last_name: String }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Stored once as {"name": "Anna Muster"}.
/// let evolution = DocumentEvolution::new().upcast(|mut stored| {
///     if let Some(name) = stored["name"].take().as_str() {
///         let (first, last) = name.split_once(' ').unwrap_or((name, ""));
///         stored["first_name"] = json!(first);
///         stored["last_name"] = json!(last);
///     }
///     Ok(stored)
/// });
/// # let database = emmett_postgresql::testing::database()?;
/// # let client = PongoClient::connect(database.url())?;
/// # client.collection("customers").insert_one(&json!({"_id": "1", "name": "Anna Muster"}))?;
/// let customers = client.collection::<Customer>("customers").evolving(evolution);
/// let anna = customers.find_by_id("1")?.ok_or("no customer 1")?;
/// assert_eq!(anna.last_name, "Muster");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct DocumentEvolution {
    pub(crate) upcast: Option<Hook>,
    pub(crate) downcast: Option<Hook>,
}

impl DocumentEvolution {
    /// Creates an evolution that changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the function that converts a stored document of any form into the current form. Its input contains `_id` and
    /// `_version`; the document type sees these fields only if the output keeps them. Its error is returned as
    /// [`Error::Hook`](crate::pongo::Error::Hook) by the read.
    #[must_use]
    pub fn upcast(
        mut self,
        hook: impl Fn(Value) -> anyhow::Result<Value> + Send + Sync + 'static,
    ) -> Self {
        self.upcast = Some(Arc::new(hook));
        self
    }

    /// Sets the function that converts a document into the form to store, for programs that still read the older form. It is
    /// called for whole documents (insert, replace, upsert, handle), not for the values of an update.
    #[must_use]
    pub fn downcast(
        mut self,
        hook: impl Fn(Value) -> anyhow::Result<Value> + Send + Sync + 'static,
    ) -> Self {
        self.downcast = Some(Arc::new(hook));
        self
    }
}

impl fmt::Debug for DocumentEvolution {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DocumentEvolution")
            .field("upcast", &self.upcast.is_some())
            .field("downcast", &self.downcast.is_some())
            .finish()
    }
}
