//! Requested rebuilds of this program's projections.

use super::mailbox::Mailbox;
use super::shared::Shared;
use super::thread::spawn;
use crate::error::Result;
use crate::projection::Projection;
use crate::rebuild::RebuildRequest;
use std::sync::Arc;
use std::time::Duration;

/// Pause before a rebuild is retried after a database error.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// A rebuild that this program can carry out.
struct Begun {
    request: RebuildRequest,
    /// Mailbox of the processor that updates the projection, if it is asynchronous.
    mailbox: Option<Arc<Mailbox>>,
    projection: Option<Arc<dyn Projection>>,
}

/// Starts the requested rebuilds that are not running yet, here or elsewhere. Returns whether a rebuild is running
/// here.
pub(super) fn begin(shared: &Arc<Shared>) -> Result<bool> {
    for begun in claim(shared)? {
        start(shared, begun)?;
    }
    Ok(shared.rebuilds.lock().is_any_running())
}

/// Carries out the requested rebuilds that are not running yet, one after the other.
pub(super) fn carry_out(shared: &Arc<Shared>) -> Result<()> {
    shared.rebuilds.lock().forget_elsewhere();
    for begun in claim(shared)? {
        run(shared, &begun);
    }
    Ok(())
}

/// Claims the requested rebuilds that are not running yet, here or elsewhere. The caller has to run all of them.
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

/// Runs a rebuild to its end. Returns false if another program runs it. A stopped consumer does not interrupt it. If
/// the process ends, the rebuild changes nothing.
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
