//! Rebuilds that somebody has asked for, of projections that this program has.

use super::mailbox::Mailbox;
use super::shared::Shared;
use super::thread::spawn;
use crate::error::Result;
use crate::projection::Projection;
use crate::rebuild::RebuildRequest;
use std::sync::Arc;
use std::time::Duration;

/// Before a rebuild is tried again that the database has ended.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Begins those that do not run yet, here or elsewhere; tells whether one runs here then.
pub(super) fn begin(shared: &Arc<Shared>) -> Result<bool> {
    let partition = shared.store.partition();
    for request in shared.run(|sql| RebuildRequest::open(sql, partition))? {
        let mut mailboxes = shared.mailboxes.iter();
        let mailbox = mailboxes.find(|mailbox| keeps(mailbox, &request));
        let projection = mailbox.and_then(|mailbox| mailbox.processor.projection().cloned());
        let is_ours =
            projection.is_some() || shared.store.projections().find(&request.name).is_some();
        if is_ours && shared.rebuilds.lock().begin(&request.name) {
            start(shared, request, mailbox.map(Arc::clone), projection)?;
        }
    }
    Ok(shared.rebuilds.lock().is_any_running())
}

fn start(
    shared: &Arc<Shared>,
    request: RebuildRequest,
    mailbox: Option<Arc<Mailbox>>,
    projection: Option<Arc<dyn Projection>>,
) -> Result<()> {
    let (name, owner) = (request.name.clone(), Arc::clone(shared));
    let begun = spawn("emt:rebuild", move || {
        let was_carried_out = rebuild(&owner, &request, mailbox.as_deref(), projection);
        owner.rebuilds.lock().end(&request.name, was_carried_out);
    });
    begun
        .map(drop)
        .inspect_err(|_| shared.rebuilds.lock().end(&name, true))
}

fn keeps(mailbox: &Mailbox, request: &RebuildRequest) -> bool {
    let kept = mailbox.processor.projection();
    kept.is_some_and(|projection| projection.name() == request.name)
}

/// Runs a rebuild to its end; false when another program is at it. It goes on when the consumer is stopped; when the process
/// ends, it changes nothing.
fn rebuild(
    shared: &Shared,
    request: &RebuildRequest,
    mailbox: Option<&Mailbox>,
    projection: Option<Arc<dyn Projection>>,
) -> bool {
    let error = match request.carry_out(&shared.store, projection) {
        Ok(was_carried_out) => return was_carried_out,
        Err(error) => error,
    };
    if let Some(mailbox) = mailbox {
        mailbox.survive(&error);
    }
    shared.stop.pause(RETRY_AFTER);
    true
}
