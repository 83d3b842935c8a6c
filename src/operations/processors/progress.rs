//! Setting a processor back, and forgetting it.

use super::{Processors, status};
use crate::database::position::to_sql;
use crate::database::{Sql, get, param};
use crate::error::{Error, ProcessorError, Result};
use postgres::types::Type;

/// The rising epoch keeps whoever is in the middle of a batch from committing it. The holder stays: it goes on from here.
const RESET: &str = "
    UPDATE {schema}.emt_processor_slots
       SET position = $4, epoch = epoch + 1, taken_position = NULL, crashes = 0, attempted = NULL, attempts = 0,
           status = 'active', last_error = NULL, updated_at = now()
     WHERE partition = $1 AND processor = $2 AND version = $3";

const RESET_BEGINNING: &str = "
    UPDATE {schema}.emt_subscriptions
       SET last_processed_position = $4, last_updated = now()
     WHERE partition = $1 AND subscription_id = $2 AND version = $3";

const UNPARK: &str = "
    DELETE FROM {schema}.emt_parked_messages WHERE partition = $1 AND processor = $2 AND version = $3";

const FORGET_SLOTS: &str = "
    DELETE FROM {schema}.emt_processor_slots WHERE partition = $1 AND processor = $2 AND version = $3";

const FORGET_BEGINNING: &str = "
    DELETE FROM {schema}.emt_subscriptions WHERE partition = $1 AND subscription_id = $2 AND version = $3";

/// Locks the slots, so that nobody takes one meanwhile, and says who holds one.
const LOCK_SLOTS: &str = "
    SELECT CASE WHEN expires_at > clock_timestamp() THEN owner END
      FROM {schema}.emt_processor_slots
     WHERE partition = $1 AND processor = $2 AND version = $3
     ORDER BY slot
       FOR UPDATE";

/// What a reset did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessorReset {
    /// How many slots begin anew; 0 when the processor has never run here and only its checkpoint was set.
    pub slots: u64,
    /// How many parked messages were dropped; they come again if they are behind the position.
    pub unparked: u64,
    /// Whether the processor runs, and goes on from the position by itself.
    pub owner_running: bool,
}

impl Processors {
    /// Has a processor go on behind another position: 0 is the beginning. Clears its failures, crashes and attempts, and
    /// drops what it has parked. A batch that is being handled now is rolled back.
    ///
    /// A read model is *not* emptied by it, so a projector counts again what it has counted before: to build a read model
    /// anew, rebuild its projection. A reactor repeats its side effects.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// store.processors().reset("order-notifications", 1_200)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`]. [`Error::InvalidInput`] for a position that no append has drawn yet, and where the name
    /// has several versions and none was chosen.
    pub fn reset(&self, name: &str, position: u64) -> Result<ProcessorReset> {
        self.change(name, |sql, version| {
            let partition = &self.partition;
            let head = status::head(sql, partition)?;
            if position > head {
                return Err(Error::invalid(
                    format!("position {position}"),
                    format!("is beyond the last one, {head}"),
                ));
            }
            let at = to_sql(position);
            let parameters = [
                param(&partition.name, Type::TEXT),
                param(&name, Type::TEXT),
                param(&version, Type::INT4),
                param(&at, Type::INT8),
            ];
            let owners = self.lock_slots(sql, name, version)?;
            let slots = sql
                .execute(&partition.sql(RESET), &parameters)
                .map_err(refused)?;
            sql.execute_unnamed(&partition.sql(RESET_BEGINNING), &parameters)
                .map_err(refused)?;
            let unparked = sql
                .execute(&partition.sql(UNPARK), &parameters[..3])
                .map_err(refused)?;
            Ok(ProcessorReset {
                slots,
                unparked,
                owner_running: owners.iter().any(Option::is_some),
            })
        })
    }

    /// Deletes what is known of a processor that nobody runs any more: its position and what it has parked. Its read model
    /// stays. If it is started again, it is a new one.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), emmett_postgresql::Error> {
    /// # let store = emmett_postgresql::EventStore::open("postgresql://localhost/shop")?;
    /// store.processors().forget("last-years-report")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ProcessorError::Unknown`]; [`ProcessorError::Held`] while somebody runs it; [`Error::InvalidInput`] where the name
    /// has several versions and none was chosen.
    pub fn forget(&self, name: &str) -> Result<()> {
        self.change(name, |sql, version| {
            let owners = self.lock_slots(sql, name, version)?;
            if let Some(owner) = owners.into_iter().flatten().next() {
                return Err(Error::Processor(ProcessorError::Held {
                    processor: name.to_owned(),
                    owner,
                }));
            }
            let partition = &self.partition;
            let parameters = [
                param(&partition.name, Type::TEXT),
                param(&name, Type::TEXT),
                param(&version, Type::INT4),
            ];
            for statement in [UNPARK, FORGET_SLOTS, FORGET_BEGINNING] {
                sql.execute_unnamed(&partition.sql(statement), &parameters)
                    .map_err(refused)?;
            }
            Ok(())
        })
    }

    /// Who holds each slot.
    fn lock_slots(
        &self,
        sql: &mut dyn Sql,
        name: &str,
        version: i32,
    ) -> Result<Vec<Option<String>>> {
        let parameters = [
            param(&self.partition.name, Type::TEXT),
            param(&name, Type::TEXT),
            param(&version, Type::INT4),
        ];
        let rows = sql
            .query(&self.partition.sql(LOCK_SLOTS), &parameters)
            .map_err(refused)?;
        Ok(rows
            .iter()
            .map(|row| get(row, 0))
            .collect::<Result<_, _>>()?)
    }
}

fn refused(source: postgres::Error) -> Error {
    Error::database("change a processor", source)
}
