//! The cost of the hot statements: their indexes with 100,000 messages, and their locks with 500 tenants.

mod indexes;
mod locks;
