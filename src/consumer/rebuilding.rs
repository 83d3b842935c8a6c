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

/// A rebuild that this program can carry out.
struct Begun {
    request: RebuildRequest,
    /// Where it is a processor that keeps the projection.
    mailbox: Option<Arc<Mailbox>>,
    projection: Option<Arc<dyn Projection>>,
}

/// Begins those that do not run yet, here or elsewhere; tells whether one runs here then.
pub(super) fn begin(shared: &Arc<Shared>) -> Result<bool> {
    for begun in claim(shared)? {
        start(shared, begun)?;
    }
    Ok(shared.rebuilds.lock().is_any_running())
}

/// Carries out those that do not run yet, one after the other.
pub(super) fn carry_out(shared: &Arc<Shared>) -> Result<()> {
    shared.rebuilds.lock().forget_elsewhere();
    for begun in claim(shared)? {
        run(shared, &begun);
    }
    Ok(())
}

/// Those that do not run yet, here or elsewhere. Each of them has to be run.
fn claim(shared: &Arc<Shared>) -> Result<Vec<Begun>> {
    let partition = shared.store.partition();
    let mut claimed = Vec::new();
    for request in shared.run(|sql| RebuildRequest::open(sql, partition))? {
        let mut mailboxes = shared.mailboxes.iter();
        let mailbox = mailboxes
            .find(|mailbox| keeps(mailbox, &request))
            .map(Arc::clone);
        let projection = mailbox
            .as_ref()
            .and_then(|mailbox| mailbox.processor.projection().cloned());
        let is_ours =
            projection.is_some() || shared.store.projections().find(&request.name).is_some();
        if is_ours && shared.rebuilds.lock().begin(&request.name) {
            claimed.push(Begun {
                request,
                mailbox,
                projection,
            });
        }
    }
    Ok(claimed)
}

fn start(shared: &Arc<Shared>, begun: Begun) -> Result<()> {
    let (name, owner) = (begun.request.name.clone(), Arc::clone(shared));
    spawn("emt:rebuild", move || run(&owner, &begun))
        .map(drop)
        .inspect_err(|_| shared.rebuilds.lock().end(&name, true))
}

fn run(shared: &Shared, begun: &Begun) {
    let Begun {
        request,
        mailbox,
        projection,
    } = begun;
    let was_carried_out = rebuild(shared, request, mailbox.as_deref(), projection.clone());
    shared.rebuilds.lock().end(&request.name, was_carried_out);
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
