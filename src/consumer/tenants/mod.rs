//! One consumer for all tenants: one thread looks at their feeds, and a fixed number of threads works.
//!
//! A tenant has a *seat*. Whatever may give it something to do wakes the seat; a free thread takes it, gives each of its
//! workers turns until nothing is left to do, and goes on with the next. So one thread at a time works for a tenant.

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
