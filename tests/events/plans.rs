//! What the hot statements cost: which indexes they use with 100,000 messages, and what they lock with 500 tenants.

mod indexes;
mod locks;
