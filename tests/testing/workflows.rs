//! Specifications of workflows.

use crate::workflow::fixtures::{Checkout, OrderInput, OrderOutput};
use emmett_postgresql::testing::given_workflow;
use emmett_postgresql::workflow::Does;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

fn placed() -> OrderInput {
    OrderInput::Placed {
        order: "1".into(),
        deadline: 3_600_000,
    }
}

fn paid() -> OrderInput {
    OrderInput::Paid { order: "1".into() }
}

#[test]
fn an_input_has_effects() {
    let reserve = OrderOutput::Reserve { order: "1".into() };
    given_workflow::<Checkout>([]).when(placed()).then([
        Does::send("Stock-1", reserve),
        Does::after("payment", HOUR, OrderInput::TimedOut),
    ]);
    given_workflow::<Checkout>([placed()]).when(paid()).then([
        Does::cancel("payment"),
        Does::Publish(OrderOutput::Confirmed),
    ]);
}

#[test]
fn a_timer_fires_when_its_time_has_passed_and_not_before() {
    let cancelled = || [Does::Publish(OrderOutput::Cancelled), Does::Complete];
    given_workflow::<Checkout>([placed()])
        .after(HOUR)
        .then(cancelled());
    given_workflow::<Checkout>([placed()])
        .after(HOUR.saturating_sub(Duration::from_nanos(1)))
        .then([]);
    given_workflow::<Checkout>([placed(), paid()])
        .after(HOUR * 24)
        .then([]);
}

#[test]
fn a_complete_instance_does_nothing() {
    let closed = || OrderInput::Closed { order: "1".into() };
    given_workflow::<Checkout>([placed(), closed()])
        .after(HOUR)
        .then([]);
    given_workflow::<Checkout>([placed(), closed()])
        .when(paid())
        .then([]);
}

#[test]
#[should_panic(expected = "effect 2, After: delay: expected \"60s\", found \"3600s\"")]
fn a_difference_names_the_effect_and_the_field() {
    let reserve = OrderOutput::Reserve { order: "1".into() };
    given_workflow::<Checkout>([]).when(placed()).then([
        Does::send("Stock-1", reserve),
        Does::after("payment", Duration::from_secs(60), OrderInput::TimedOut),
    ]);
}

#[test]
#[should_panic(expected = "effect 2: expected nothing, found Publish")]
fn an_effect_too_many_is_named() {
    given_workflow::<Checkout>([placed()])
        .when(paid())
        .then([Does::cancel("payment")]);
}
