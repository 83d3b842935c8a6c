//! Mails to guests: an outbox, and the reactor that delivers it.

use crate::booking::{self, Guest};
use crate::read_models::{BOOKINGS, BookingView};
use anyhow::Context;
use emmett_postgresql::events::outbox_key;
use emmett_postgresql::{Event, FailurePolicy, Reactor, ReactorContext, Recorded};
use serde::{Deserialize, Serialize};
use std::time::Duration;

pub(crate) const TOPIC: &str = "mail";

/// A command in the outbox. It has no address: the guest is looked up when it is delivered, so nothing has to be erased here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Mail {
    PaymentRequest,
    Receipt,
    Cancellation,
}

impl Event for Mail {}

/// A mail with its address. The post office tells a repeated delivery by its id.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) id: String,
    pub(crate) hotel: String,
    pub(crate) guest: Guest,
    pub(crate) mail: Mail,
}

pub(crate) fn mails(
    post: impl Fn(Letter) -> anyhow::Result<()> + Send + Sync + 'static,
) -> Reactor {
    Reactor::new("mails")
        .outbox(TOPIC, move |command, context| {
            match letter(command, context)? {
                Some(letter) => post(letter),
                None => Ok(()),
            }
        })
        .on_failure(FailurePolicy::park().retries(3, Duration::from_millis(10)))
}

/// Returns `None` after the guest's erasure.
fn letter(
    command: &Recorded<Mail>,
    context: &mut ReactorContext<'_>,
) -> anyhow::Result<Option<Letter>> {
    let booking = outbox_key(TOPIC, &command.stream_name).context("no booking")?;
    let hotel = context.partition().to_owned();
    let bookings = context.collection::<BookingView>(BOOKINGS);
    let view = bookings.find_by_id(&booking::stream_name(booking))?;
    let view = view.with_context(|| format!("booking {booking} is not in the read model"))?;
    Ok(view.guest.map(|guest| Letter {
        id: command.message_id.clone(),
        hotel,
        guest,
        mail: command.event,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use emmett_postgresql::testing::ConsumerSpec;
    use emmett_postgresql::{EventStore, NewMessage, events::MessageKind};

    fn receipt(
        post: impl Fn(Letter) -> anyhow::Result<()> + Send + Sync + 'static,
    ) -> ConsumerSpec {
        let receipt = NewMessage::new(Mail::Receipt).kind(MessageKind::Command);
        ConsumerSpec::of(mails(post))
            .given_database(insert_booking)
            .given("emt:outbox:mail-7", [receipt])
    }

    fn insert_booking(store: &EventStore) -> anyhow::Result<()> {
        let (name, email) = ("Anna".to_owned(), "anna@example.org".to_owned());
        let view = BookingView {
            id: booking::stream_name("7"),
            guest: Some(Guest { name, email }),
            ..BookingView::default()
        };
        store.collection(BOOKINGS).insert_one(&view)?;
        Ok(())
    }

    #[test]
    fn a_mail_is_tried_four_times_and_then_parked() {
        let pauses = Duration::from_millis(10 + 20 + 40);
        receipt(|_| Ok(()))
            .failing_times(1, 3)
            .run()
            .handled([("emt:outbox:mail-7", 1)])
            .waited(pauses);
        receipt(|_| anyhow::bail!("no answer"))
            .run()
            .parked([("emt:outbox:mail-7", 1)])
            .waited(pauses);
    }

    #[test]
    fn a_crash_repeats_a_mail_under_its_id() {
        let (sender, letters) = std::sync::mpsc::channel();
        receipt(move |letter| Ok(sender.send(letter)?))
            .crashing_after(1)
            .run()
            .handled([("emt:outbox:mail-7", 1), ("emt:outbox:mail-7", 1)]);
        let ids: Vec<String> = letters.into_iter().map(|letter| letter.id).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(ids[0], ids[1]);
    }
}
