//! Appending to a stream: expected versions, message ids, and everything that can stand in a message.

mod concurrency;
mod conditions;
mod idempotency;
mod lost_connections;
mod messages;
mod metadata;
mod refused;
mod schema_evolution;
