//! One consumer for all tenants: one thread polls all feeds, and a fixed number of threads works.
//!
//! A tenant has a *seat*. Every event that may give the tenant work wakes its seat. A free thread takes the seat, gives
//! turns to its workers until no work is left, and takes the next seat. So one thread at a time works for a tenant.

mod builder;
mod failures;
mod leaseholder;
mod running;
mod scheduler;
mod seat;
mod seats;
mod work;

pub use builder::TenantsConsumerBuilder;
pub use running::TenantsConsumer;
