//! A slot that a test brings into a state of the drawing and observes.

use crate::support::store;
use emmett_postgresql::EventStore;
use emmett_postgresql::testing::Database;
use postgres::Client;

/// The state of a slot, by its columns.
const STATE: &str = "
    SELECT CASE WHEN status = 'failed' THEN 'failed'
                WHEN owner = 'rebuild' AND expires_at > clock_timestamp() THEN 'rebuilding'
                WHEN owner IS NULL AND wanted_until > clock_timestamp() THEN 'promised'
                WHEN owner IS NULL THEN 'free'
                WHEN expires_at <= clock_timestamp() THEN 'expired'
                WHEN wanted_until > clock_timestamp() THEN 'wanted'
                WHEN crashes > 0 THEN 'after crash'
                ELSE 'held'
            END, owner, epoch, position, crashes, attempts
      FROM emt_processor_slots WHERE slot = 1";

/// What a slot is seen to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) state: String,
    pub(super) owner: Option<String>,
    pub(super) epoch: i64,
    pub(super) position: i64,
    pub(super) crashes: i32,
    pub(super) attempts: i32,
}

/// The second slot of the processor "carts", which has two.
pub(super) struct Slot {
    client: Client,
    pub(super) store: EventStore,
    pub(super) database: Database,
}

impl Slot {
    /// A slot before it is registered.
    pub(super) fn none() -> anyhow::Result<Self> {
        let (database, store) = store()?;
        Ok(Self {
            client: database.client()?,
            store,
            database,
        })
    }

    /// A slot without a holder.
    pub(super) fn free() -> anyhow::Result<Self> {
        let mut slot = Self::none()?;
        slot.register()?;
        Ok(slot)
    }

    /// A slot that the worker "first" holds.
    pub(super) fn held() -> anyhow::Result<Self> {
        let mut slot = Self::free()?;
        slot.take("first")?;
        Ok(slot)
    }

    /// A slot that "first" holds and "second" has asked for.
    pub(super) fn wanted() -> anyhow::Result<Self> {
        let mut slot = Self::held()?;
        slot.take("second")?;
        Ok(slot)
    }

    /// A slot that "first" has given up for "second".
    pub(super) fn promised() -> anyhow::Result<Self> {
        let mut slot = Self::wanted()?;
        slot.release_wanted("first")?;
        Ok(slot)
    }

    /// A slot that "first" has not renewed.
    pub(super) fn expired() -> anyhow::Result<Self> {
        let mut slot = Self::held()?;
        slot.set("expires_at = clock_timestamp()")?;
        Ok(slot)
    }

    /// A slot that "second" has taken where "first" had died.
    pub(super) fn after_crash() -> anyhow::Result<Self> {
        let mut slot = Self::expired()?;
        slot.take("second")?;
        Ok(slot)
    }

    /// A slot that a worker held when the processor failed.
    pub(super) fn failed() -> anyhow::Result<Self> {
        let mut slot = Self::held()?;
        slot.set("status = 'failed', last_error = 'it is broken'")?;
        Ok(slot)
    }

    /// A slot that a rebuild has taken from "first".
    pub(super) fn rebuilding() -> anyhow::Result<Self> {
        let mut slot = Self::held()?;
        slot.hold()?;
        Ok(slot)
    }

    pub(super) fn register(&mut self) -> anyhow::Result<()> {
        self.call("emt_processor_register('emt:default', 'carts', 1, 2, 5)")
    }

    pub(super) fn take(&mut self, owner: &str) -> anyhow::Result<()> {
        self.call(&format!(
            "emt_slot_take('emt:default', 'carts', 1, '{owner}', 0, INTERVAL '1 hour', 1)"
        ))
    }

    pub(super) fn release(&mut self, owner: &str) -> anyhow::Result<()> {
        self.call(&format!(
            "emt_slot_release('emt:default', 'carts', 1, '{owner}', 0, FALSE)"
        ))
    }

    pub(super) fn release_wanted(&mut self, owner: &str) -> anyhow::Result<()> {
        self.call(&format!(
            "emt_slot_release('emt:default', 'carts', 1, '{owner}', 0, TRUE)"
        ))
    }

    pub(super) fn hold(&mut self) -> anyhow::Result<()> {
        self.call("emt_slot_hold('emt:default', 'carts', 'rebuild')")
    }

    pub(super) fn release_hold(&mut self) -> anyhow::Result<()> {
        self.call("emt_slot_release('emt:default', 'carts', NULL, 'rebuild', NULL, FALSE)")
    }

    fn call(&mut self, function: &str) -> anyhow::Result<()> {
        self.client.batch_execute(&format!("SELECT {function}"))?;
        Ok(())
    }

    /// What a worker or the time does to both slots.
    pub(super) fn set(&mut self, assignments: &str) -> anyhow::Result<()> {
        let change = format!("UPDATE emt_processor_slots SET {assignments}");
        self.client.batch_execute(&change)?;
        Ok(())
    }

    pub(super) fn see(&mut self) -> anyhow::Result<Option<Seen>> {
        let row = self.client.query_opt(STATE, &[])?;
        Ok(row.map(|row| Seen {
            state: row.get(0),
            owner: row.get(1),
            epoch: row.get(2),
            position: row.get(3),
            crashes: row.get(4),
            attempts: row.get(5),
        }))
    }

    /// The slot, which must be there.
    pub(super) fn seen(&mut self) -> anyhow::Result<Seen> {
        self.see()?
            .ok_or_else(|| anyhow::anyhow!("there is no row"))
    }

    pub(super) fn state(&mut self) -> anyhow::Result<String> {
        Ok(self.seen()?.state)
    }

    /// State, owner and epoch.
    pub(super) fn is(
        &mut self,
        state: &str,
        owner: Option<&str>,
        epoch: i64,
    ) -> anyhow::Result<()> {
        let seen = self.seen()?;
        anyhow::ensure!(
            (&*seen.state, seen.owner.as_deref(), seen.epoch) == (state, owner, epoch),
            "expected {state} by {owner:?} at epoch {epoch}, saw {seen:?}"
        );
        Ok(())
    }
}
