//! Connections, transactions over them, names in SQL, and the schema.

mod adoption;
pub(crate) mod connections;
mod grants;
mod lookups;
mod names;
mod schema;
mod settings;
pub(crate) mod tls;
