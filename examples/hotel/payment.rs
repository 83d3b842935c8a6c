//! The wait for the payment: a workflow with a deadline, and the reactor that frees the room after it.

use crate::booking::{self, Booking, BookingEvent};
use anyhow::Context;
use emmett_postgresql::consumer::WorkflowProcessor;
use emmett_postgresql::decide::stream;
use emmett_postgresql::events::StoredEvent;
use emmett_postgresql::workflow::{Does, Step, Workflow, category_of, id_of};
use emmett_postgresql::{Event, FailurePolicy, RawEvent, Reactor, Recorded};
use serde::{Deserialize, Serialize};
use std::time::{Duration, UNIX_EPOCH};

pub(crate) const NAME: &str = "payment";

/// The inputs of the workflow: events of a booking, and the input of its timer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum PaymentInput {
    Held { until: u64 },
    Paid {},
    TimedOut {},
}

impl Event for PaymentInput {
    const CATEGORY: &'static str = BookingEvent::CATEGORY;
    const FORMER_TYPES: &'static [&'static str] = BookingEvent::FORMER_TYPES;

    fn upcast(stored: StoredEvent) -> anyhow::Result<Vec<RawEvent>> {
        let mut events = BookingEvent::upcast(stored)?;
        events.retain(|event| ["Held", "Paid"].contains(&event.event_type.as_str()));
        Ok(events)
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum PaymentOutput {
    HoldExpired,
}

impl Event for PaymentOutput {}

#[derive(Default)]
pub(crate) struct Payment;

impl Workflow for Payment {
    type Input = PaymentInput;
    type Output = PaymentOutput;
    const NAME: &'static str = NAME;

    fn id(input: &Recorded<PaymentInput>) -> Option<String> {
        booking::id(&input.stream_name).map(str::to_owned)
    }

    fn evolve(&mut self, _: Step<&PaymentInput, &PaymentOutput>) {}

    fn decide(&self, input: &PaymentInput) -> Vec<Does<PaymentInput, PaymentOutput>> {
        match input {
            PaymentInput::Held { until } => {
                let until = UNIX_EPOCH + Duration::from_secs(*until);
                vec![Does::at("deadline", until, PaymentInput::TimedOut {})]
            }
            PaymentInput::Paid {} => vec![Does::Complete],
            PaymentInput::TimedOut {} => {
                vec![Does::Publish(PaymentOutput::HoldExpired), Does::Complete]
            }
        }
    }
}

pub(crate) fn payment() -> WorkflowProcessor {
    WorkflowProcessor::of::<Payment>().name(NAME)
}

/// Cancels the booking in the transaction of the checkpoint, and so once.
pub(crate) fn expiries() -> Reactor {
    Reactor::new("expiries")
        .each(|expired: &Recorded<PaymentOutput>, context| {
            let id = id_of::<Payment>(&expired.stream_name).context("no booking")?;
            context
                .decide(stream::<Booking>(&booking::stream_name(id)))
                .run(|booking| anyhow::Ok(booking.expire(id)))?;
            Ok(())
        })
        .categories(&[&category_of::<Payment>()])
        .on_failure(FailurePolicy::stop().retries(3, Duration::from_millis(10)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mails::Mail;
    use crate::room::{Nights, RoomEvent};
    use emmett_postgresql::testing::{ConsumerSpec, given_workflow};
    use emmett_postgresql::workflow::stream_of;

    const HOLD: Duration = Duration::from_secs(60);

    fn held() -> PaymentInput {
        let until = HOLD.as_secs();
        PaymentInput::Held { until }
    }

    #[test]
    fn without_a_payment_the_hold_expires() {
        given_workflow::<Payment>([held()])
            .after(HOLD)
            .then([Does::Publish(PaymentOutput::HoldExpired), Does::Complete]);
        given_workflow::<Payment>([held()])
            .after(HOLD.saturating_sub(Duration::from_secs(1)))
            .then([]);
    }

    #[test]
    fn a_payment_ends_the_wait() {
        given_workflow::<Payment>([held()])
            .when(PaymentInput::Paid {})
            .then([Does::Complete]);
        given_workflow::<Payment>([held(), PaymentInput::Paid {}])
            .after(HOLD)
            .then([]);
    }

    fn booked() -> BookingEvent {
        BookingEvent::Held {
            room: "101".to_owned(),
            nights: Nights { from: 1, until: 3 },
            price: 180,
            until: 60,
        }
    }

    fn expired(booking: impl IntoIterator<Item = BookingEvent>) -> ConsumerSpec {
        let booking: Vec<_> = booking.into_iter().collect();
        ConsumerSpec::of(expiries())
            .given("Booking-7", booking)
            .given(&stream_of::<Payment>("7"), [PaymentOutput::HoldExpired])
    }

    #[test]
    fn an_expired_booking_is_cancelled_and_frees_its_room() {
        let booking = "7".to_owned();
        expired([booked()])
            .crashing_after(2)
            .run()
            .appended("Booking-7", [BookingEvent::Cancelled {}])
            .appended("Room-101", [RoomEvent::NightsFreed { booking }])
            .appended("emt:outbox:mail-7", [Mail::Cancellation]);
    }

    #[test]
    fn a_payment_at_the_last_moment_counts() {
        expired([booked(), BookingEvent::Paid { amount: 180 }])
            .run()
            .appended_nothing();
    }
}
