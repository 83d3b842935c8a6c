//! Appending to a stream: expected versions, message ids, and every kind of message.

mod concurrency;
mod conditions;
mod idempotency;
mod lost_connections;
mod messages;
mod metadata;
mod refused;
mod schema_evolution;
mod together;
