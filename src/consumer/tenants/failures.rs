//! The failures of tenants.

use crate::error::{Error, ProcessorError, chain};
use crate::events::feed_news::TenantKey;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// The first failure of each tenant, until the tenant is removed or served again.
#[derive(Debug, Default)]
pub(super) struct Failures {
    of: Mutex<BTreeMap<TenantKey, Error>>,
}

impl Failures {
    pub(super) fn add(&self, tenant: &TenantKey, error: Error) {
        self.of.lock().entry(tenant.clone()).or_insert(error);
    }

    pub(super) fn forget(&self, tenant: &TenantKey) {
        self.of.lock().remove(tenant);
    }

    pub(super) fn of(&self, tenant: &str) -> Option<String> {
        let failures = self.of.lock();
        let mut failures = failures.iter();
        failures
            .find(|(key, _)| key.name == tenant)
            .map(|(_, error)| chain(error))
    }

    /// Removes and returns one failure as an error that names its tenant.
    pub(super) fn take(&self) -> Option<Error> {
        let (tenant, error) = self.of.lock().pop_first()?;
        let place = format!("in tenant \"{}\"", tenant.name);
        Some(match error {
            Error::Processor(ProcessorError::Failed { processor, cause }) => {
                Error::processor(processor, cause.context(place))
            }
            error => Error::processor("of all tenants", anyhow::Error::new(error).context(place)),
        })
    }
}
