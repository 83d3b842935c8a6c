//! Waiting for the appends that may not have seen a change of the projections.

use crate::database::Sql;
use crate::database::back_off::{BackOff, pause};
use crate::error::Result;
use crate::events::{bulk, feed};
use crate::store::EventStore;
use std::time::{Duration, Instant};

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Waits until each append that is open now has ended: every later one sees what was committed before the call, because it
/// takes the fence before it looks. Returns a position that is not below any of theirs; `None` where they are still open
/// when the time is up. Meanwhile something else may be done.
pub(super) fn wait_for_open_appends(
    store: &EventStore,
    deadline: Instant,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<Option<u64>> {
    let partition = store.partition();
    let head = |sql: &mut dyn Sql| feed::head(sql, partition);
    let connections = store.connections();
    if connections.run(true, |sql| feed::is_free(sql, partition))? {
        return connections.run(true, head).map(Some);
    }
    // Appends that begin later stand at this position or above; the horizon passes it when all others have ended.
    let drawn = connections.run(true, |sql| bulk::draw_positions(sql, partition, 1))?;
    let drawn = drawn
        .first()
        .copied()
        .map_or(0, crate::database::position::from_sql);
    let mut pauses = BackOff::new(SHORTEST_PAUSE, LONGEST_PAUSE);
    loop {
        let horizon = connections.run(true, |sql| feed::horizon(sql, partition, 0))?;
        if horizon.position >= drawn {
            return connections.run(true, head).map(Some);
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        meanwhile()?;
        pause(pauses.next());
    }
}
