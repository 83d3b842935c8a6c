//! The time of specifications without a server. It has no plain side: a run prints how long a hundred take.

use crate::harness::Harness;
use crate::shop::{self, CartEvent};
use emmett_postgresql::decide::Evolve;
use emmett_postgresql::testing::{ProjectionSpec, given};
use serde_json::json;
use std::convert::Infallible;
use std::time::{Duration, Instant};

const NAME: &str = "specifications";
const SPECIFICATIONS: usize = 100;
const ROUNDS: usize = 21;

#[derive(Default)]
struct Cart {
    items: usize,
}

impl Evolve for Cart {
    type Event = CartEvent;

    fn evolve(&mut self, _: &CartEvent) {
        self.items += 1;
    }
}

pub(crate) fn run(harness: &Harness) {
    if !harness.wants(NAME) {
        return;
    }
    print("100 specifications of decisions", median(decision));
    print(
        "100 specifications of a document projection",
        median(projection),
    );
}

fn decision() {
    let confirmed = || CartEvent::Confirmed {
        client_id: "anna".into(),
    };
    given::<Cart>(shop::events(3))
        .when(|_| Ok::<_, Infallible>([confirmed()]))
        .then([confirmed()]);
}

fn projection() {
    ProjectionSpec::of(shop::cart_summaries())
        .given("Cart-1", shop::events(3))
        .when("Cart-1", shop::events(2))
        .document("Cart-1", json!({"totalItems": 10, "totalAmount": 999.9}));
}

fn median(specification: fn()) -> Duration {
    let mut times: Vec<Duration> = (0..ROUNDS).map(|_| hundred(specification)).collect();
    times.sort_unstable();
    times[ROUNDS / 2]
}

fn hundred(specification: fn()) -> Duration {
    let start = Instant::now();
    for _ in 0..SPECIFICATIONS {
        specification();
    }
    start.elapsed()
}

fn print(name: &str, time: Duration) {
    println!("{name:<46} {:>12.2} ms", time.as_secs_f64() * 1_000.0);
}
