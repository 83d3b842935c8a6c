//! The transitions of a parked message, as drawn. "from" and "to" in the test names are states.

use crate::support::{added, store, wait_until};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    DocumentProjection, EventStore, FailurePolicy, Projector, RawEvent, Reactor, Recorded,
    consumer::Consumer,
    operations::{ParkedOptions, ParkedSelection},
};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PROCESSOR: &str = "mails";

/// Messages 1 and 2 of one stream: the first one fails while it is broken.
struct Shop {
    store: EventStore,
    database: Database,
    broken: Arc<AtomicBool>,
}

impl Shop {
    /// A shop in which the messages are parked, and no consumer runs.
    fn parked() -> anyhow::Result<Self> {
        let (database, store) = store()?;
        let shop = Self {
            store,
            database,
            broken: Arc::new(AtomicBool::new(true)),
        };
        shop.store
            .append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;
        let consumer = shop.start()?;
        wait_until("both are parked", || {
            shop.states().is_ok_and(|states| states.len() == 2)
        });
        consumer.stop()?;
        Ok(shop)
    }

    fn start(&self) -> anyhow::Result<Consumer> {
        let broken = Arc::clone(&self.broken);
        let reactor = Reactor::new(PROCESSOR)
            .each(move |message: &Recorded<RawEvent>, _| {
                let fails = message.stream_position == 1 && broken.load(Ordering::SeqCst);
                anyhow::ensure!(!fails, "it is broken");
                Ok(())
            })
            .on_failure(FailurePolicy::park());
        let consumer = self.store.consumer().reactor(reactor);
        Ok(consumer.lease(Duration::from_millis(400)).start()?)
    }

    /// The state of each parked message, in their order, with its attempts.
    fn states(&self) -> anyhow::Result<Vec<(&'static str, u32)>> {
        let parked = self
            .store
            .processors()
            .parked(PROCESSOR, ParkedOptions::new())?;
        let states = parked.iter().map(|message| {
            let request = message.request.map(|request| request.to_string());
            let state = match (request.as_deref(), &message.error) {
                (Some("replay"), _) => "replay requested",
                (Some(_), _) => "discard requested",
                (None, Some(_)) => "parked",
                (None, None) => "after",
            };
            (state, message.attempts)
        });
        Ok(states.collect())
    }

    fn replay(&self, selection: &ParkedSelection) -> anyhow::Result<()> {
        self.store.processors().replay(PROCESSOR, selection)?;
        Ok(())
    }

    fn discard(&self, selection: &ParkedSelection) -> anyhow::Result<()> {
        self.store.processors().discard(PROCESSOR, selection)?;
        Ok(())
    }

    /// Lets a consumer run until the messages are in these states.
    fn run_until(&self, states: &[(&str, u32)]) -> anyhow::Result<()> {
        let consumer = self.start()?;
        wait_until("the requests are carried out", || {
            self.states().is_ok_and(|seen| seen == states)
        });
        consumer.stop()?;
        Ok(())
    }
}

#[test]
fn handler_fails_from_no_row_to_parked_and_the_next_to_after() -> anyhow::Result<()> {
    let shop = Shop::parked()?;
    assert_eq!(shop.states()?, [("parked", 1), ("after", 0)]);
    Ok(())
}

#[test]
fn replay_from_parked_to_replay_requested_and_after_follows() -> anyhow::Result<()> {
    let shop = Shop::parked()?;
    shop.replay(&ParkedSelection::Position(1))?;
    let requested = [("replay requested", 1), ("replay requested", 0)];
    assert_eq!(shop.states()?, requested);
    Ok(())
}

#[test]
fn replay_of_the_stream_from_after_to_replay_requested() -> anyhow::Result<()> {
    for selection in [
        ParkedSelection::Stream("Cart-1".to_owned()),
        ParkedSelection::All,
    ] {
        let shop = Shop::parked()?;
        shop.replay(&selection)?;
        let requested = [("replay requested", 1), ("replay requested", 0)];
        assert_eq!(shop.states()?, requested);
    }
    Ok(())
}

#[test]
fn replay_of_one_alone_is_refused_after_an_earlier_one() -> anyhow::Result<()> {
    let shop = Shop::parked()?;
    let refused = shop.replay(&ParkedSelection::Position(2));
    assert!(refused.is_err());
    assert_eq!(shop.states()?, [("parked", 1), ("after", 0)]);
    Ok(())
}

#[test]
fn handled_from_replay_requested_to_no_row() -> anyhow::Result<()> {
    let shop = Shop::parked()?;
    shop.replay(&ParkedSelection::All)?;
    shop.broken.store(false, Ordering::SeqCst);
    shop.run_until(&[])
}

#[test]
fn fails_again_from_replay_requested_to_parked_and_the_next_to_after() -> anyhow::Result<()> {
    let shop = Shop::parked()?;
    shop.replay(&ParkedSelection::All)?;
    shop.run_until(&[("parked", 2), ("after", 0)])
}

#[test]
fn discard_from_parked_to_discard_requested_and_after_follows() -> anyhow::Result<()> {
    let shop = Shop::parked()?;
    shop.discard(&ParkedSelection::Position(1))?;
    let requested = [("discard requested", 1), ("replay requested", 0)];
    assert_eq!(shop.states()?, requested);
    Ok(())
}

#[test]
fn discard_from_after_to_discard_requested() -> anyhow::Result<()> {
    let shop = Shop::parked()?;
    shop.discard(&ParkedSelection::Position(2))?;
    assert_eq!(shop.states()?, [("parked", 1), ("discard requested", 0)]);
    Ok(())
}

#[test]
fn discard_from_replay_requested_to_discard_requested() -> anyhow::Result<()> {
    let shop = Shop::parked()?;
    shop.replay(&ParkedSelection::All)?;
    shop.discard(&ParkedSelection::Position(1))?;
    let requested = [("discard requested", 1), ("replay requested", 0)];
    assert_eq!(shop.states()?, requested);
    Ok(())
}

#[test]
fn dropped_from_discard_requested_to_no_row() -> anyhow::Result<()> {
    let shop = Shop::parked()?;
    shop.discard(&ParkedSelection::Position(2))?;
    shop.run_until(&[("parked", 1)])
}

#[test]
fn reset_and_forget_from_any_state_to_no_row() -> anyhow::Result<()> {
    let shop = Shop::parked()?;
    shop.replay(&ParkedSelection::Position(1))?;
    shop.store.processors().reset(PROCESSOR, 2)?;
    assert_eq!(shop.states()?, []);

    let shop = Shop::parked()?;
    shop.store.processors().forget(PROCESSOR)?;
    let sql = "SELECT count(*) FROM emt_parked_messages";
    let left: i64 = shop.database.client()?.query_one(sql, &[])?.get(0);
    assert_eq!(left, 0);
    Ok(())
}

#[test]
fn switch_of_a_rebuild_from_any_state_to_no_row() -> anyhow::Result<()> {
    let (_database, store) = store()?;
    store.append_to_stream("Cart-1", &[added("hat", 1), added("hat", 2)])?;
    let broken = Arc::new(AtomicBool::new(true));
    let breaks = Arc::clone(&broken);
    let projection = || {
        let breaks = Arc::clone(&breaks);
        DocumentProjection::single_stream(
            "carts",
            move |_: Option<serde_json::Value>, _: &Recorded<RawEvent>| {
                assert!(!breaks.load(Ordering::SeqCst), "it is broken");
                Some(json!({}))
            },
        )
    };
    let projector = Projector::new(projection()).on_failure(FailurePolicy::park());
    let _ = store
        .consumer()
        .projector(projector)
        .run_until_caught_up()?;
    let parked = || store.processors().parked("carts", ParkedOptions::new());
    assert_eq!(parked()?.len(), 2);

    broken.store(false, Ordering::SeqCst);
    store.rebuild_with(projection()).run()?;

    assert_eq!(parked()?, []);
    Ok(())
}
