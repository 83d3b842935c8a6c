//! Reading one's own writes: waiting for a processor.

use crate::database::back_off::{BackOff, pause};
use crate::database::position::{from_sql, to_sql};
use crate::database::{get, param};
use crate::error::{Error, Result};
use crate::store::EventStore;
use postgres::types::Type;
use std::time::{Duration, Instant};

/// The newest version of a processor: how far it is, why it has failed, and whether the message is parked.
const LOOK: &str = "
    SELECT min(slot.position), bool_or(slot.status = 'failed'), max(slot.last_error),
           (SELECT array_agg(coalesce(parked.error, '') ORDER BY parked.slot)
              FROM {schema}.emt_parked_messages AS parked
             WHERE parked.partition = $1 AND parked.processor = $2 AND parked.version = slot.version
               AND parked.global_position = $3)
      FROM {schema}.emt_processor_slots AS slot
     WHERE slot.partition = $1 AND slot.processor = $2
     GROUP BY slot.version
     ORDER BY slot.version DESC
     LIMIT 1";

impl EventStore {
    /// Waits until a processor, of whatever process, has handled everything up to a global position: the last one of an
    /// append, so that what was written can be read in the processor's read model.
    ///
    /// ```no_run
    /// # use emmett_postgresql::{EventStore, RawEvent};
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = EventStore::builder("postgresql://localhost/shop").open()?;
    /// # let confirmed = RawEvent::new("Confirmed", serde_json::json!({}));
    /// let appended = store.append_to_stream("ShoppingCart-123", &[confirmed])?;
    /// store.wait_for("cart-analytics", appended.last_global_position, Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::WaitTimeout`] after the time; [`Error::MessageParked`] when the message at the position is parked;
    /// [`Error::ProcessorFailed`] when the processor has stopped in front of it.
    pub fn wait_for(&self, processor: &str, position: u64, timeout: Duration) -> Result<()> {
        let start = Instant::now();
        let mut pauses = BackOff::new(Duration::from_millis(1), Duration::from_millis(25));
        loop {
            let reached = self.look_at(processor, position)?;
            if reached.is_some_and(|reached| reached >= position) {
                return Ok(());
            }
            let left = timeout.saturating_sub(start.elapsed());
            if left.is_zero() {
                return Err(Error::WaitTimeout {
                    processor: processor.to_owned(),
                    position,
                    reached,
                });
            }
            pause(pauses.next().min(left));
        }
    }

    fn look_at(&self, processor: &str, position: u64) -> Result<Option<u64>> {
        let partition = self.partition();
        let wanted = to_sql(position);
        let rows = self.connections().run(true, |sql| {
            sql.query(
                &partition.sql(LOOK),
                &[
                    param(&partition.name, Type::TEXT),
                    param(&processor, Type::TEXT),
                    param(&wanted, Type::INT8),
                ],
            )
            .map_err(|source| Error::in_partition("look at a processor", &partition.name, source))
        })?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let reached = from_sql(get(row, 0)?);
        if let Some(error) =
            get::<Option<Vec<String>>>(row, 3)?.and_then(|errors| errors.into_iter().next())
        {
            return Err(Error::MessageParked {
                processor: processor.to_owned(),
                position,
                error: Some(error).filter(|error| !error.is_empty()),
            });
        }
        if get(row, 1)? && reached < position {
            let error: Option<String> = get(row, 2)?;
            return Err(Error::ProcessorFailed {
                processor: processor.to_owned(),
                source: anyhow::Error::msg(error.unwrap_or_default()),
            });
        }
        Ok(Some(reached))
    }
}
