//! Rebuilds that somebody has asked for, of projections that this program has.

use super::mailbox::Mailbox;
use super::shared::Shared;
use super::thread::spawn;
use crate::error::Result;
use crate::projection::Projection;
use crate::rebuild::RebuildRequest;
use std::sync::Arc;

/// Begins those that do not run here yet.
pub(super) fn begin(shared: &Arc<Shared>) -> Result<()> {
    let partition = shared.store.partition();
    for request in shared.run(|sql| RebuildRequest::open(sql, partition))? {
        let mailbox = shared
            .mailboxes
            .iter()
            .find(|mailbox| keeps(mailbox, &request));
        let projection = mailbox.and_then(|mailbox| mailbox.processor.projection().cloned());
        let is_ours =
            projection.is_some() || shared.store.projections().find(&request.name).is_some();
        if !is_ours || !shared.rebuilding.lock().insert(request.name.clone()) {
            continue;
        }
        let (owner, mailbox) = (Arc::clone(shared), mailbox.map(Arc::clone));
        let name = request.name.clone();
        let begun = spawn("emt:rebuild", move || {
            rebuild(&owner, &request, mailbox.as_deref(), projection);
            owner.rebuilding.lock().remove(&request.name);
        });
        if let Err(error) = begun {
            shared.rebuilding.lock().remove(&name);
            return Err(error);
        }
    }
    Ok(())
}

fn keeps(mailbox: &Mailbox, request: &RebuildRequest) -> bool {
    let kept = mailbox.processor.projection();
    kept.is_some_and(|projection| projection.name() == request.name)
}

/// Runs a rebuild to its end. It goes on when the consumer is stopped; when the process ends, it changes nothing.
fn rebuild(
    shared: &Shared,
    request: &RebuildRequest,
    mailbox: Option<&Mailbox>,
    projection: Option<Arc<dyn Projection>>,
) {
    let outcome = request.carry_out(&shared.store, projection);
    if let (Err(error), Some(mailbox)) = (outcome, mailbox) {
        mailbox.report(&error);
    }
}
