//! The operator's view of processors, and requests to them, on rows as a consumer leaves them.

use crate::support::{added, store};
use emmett_postgresql::testing::Database;
use emmett_postgresql::{
    Error, EventStore,
    error::ProcessorError,
    operations::{
        ParkedMessage, ParkedOptions, ParkedRequest, ParkedSelection, ProcessorState,
        ProcessorStatus,
    },
};
use postgres::Client;
use std::time::{Duration, SystemTime};

const DEFAULT: &str = "emt:default";

/// Rows of processors, written as a consumer writes them.
pub(crate) struct Rows(Client);

impl Rows {
    pub(crate) fn of(database: &Database) -> anyhow::Result<Self> {
        Ok(Self(database.client()?))
    }

    pub(crate) fn register(&mut self, name: &str, slots: i32, start: i64) -> anyhow::Result<()> {
        self.register_in(DEFAULT, name, 1, slots, start)
    }

    fn register_in(
        &mut self,
        partition: &str,
        name: &str,
        version: i32,
        slots: i32,
        start: i64,
    ) -> anyhow::Result<()> {
        let register = "SELECT emt_processor_register($1, $2, $3, $4, $5)";
        self.0
            .query(register, &[&partition, &name, &version, &slots, &start])?;
        Ok(())
    }

    /// Takes all slots of a processor for a worker.
    pub(crate) fn take(&mut self, name: &str, owner: &str, seconds: i32) -> anyhow::Result<()> {
        let take = "SELECT emt_slot_take($1, $2, 1, $3, 7, make_interval(secs => $4), 1)";
        self.0
            .query(take, &[&DEFAULT, &name, &owner, &f64::from(seconds)])?;
        Ok(())
    }

    /// As when the owner has died.
    pub(crate) fn expire(&mut self, name: &str) -> anyhow::Result<()> {
        self.change(name, "expires_at = clock_timestamp() - interval '1 s'")
    }

    pub(crate) fn change(&mut self, name: &str, assignments: &str) -> anyhow::Result<()> {
        let change = format!("UPDATE emt_processor_slots SET {assignments} WHERE processor = $1");
        self.0.execute(&change, &[&name])?;
        Ok(())
    }

    /// Parks stored messages: those with an error have failed.
    pub(crate) fn park(
        &mut self,
        name: &str,
        position: i64,
        error: Option<&str>,
    ) -> anyhow::Result<()> {
        let park = "
            INSERT INTO emt_parked_messages
                (partition, processor, version, slot, global_position, stream_id, stream_position, message_type,
                 attempts, error)
            SELECT partition, $1, 1, 0, global_position, stream_id, stream_position, message_type,
                   CASE WHEN $3::TEXT IS NULL THEN 0 ELSE 3 END, $3
              FROM emt_messages WHERE partition = $4 AND global_position = $2";
        let parked = self
            .0
            .execute(park, &[&name, &position, &error, &DEFAULT])?;
        anyhow::ensure!(parked == 1, "there is no message at {position}");
        Ok(())
    }

    /// What is asked for, by position.
    fn requests(&mut self) -> anyhow::Result<Vec<(i64, Option<String>)>> {
        let all = "SELECT global_position, request FROM emt_parked_messages ORDER BY version, slot, global_position";
        let rows = self.0.query(all, &[])?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    fn count(&mut self, table: &str) -> anyhow::Result<i64> {
        let count = format!("SELECT count(*) FROM {table}");
        Ok(self.0.query_one(&count, &[])?.get(0))
    }
}

/// A store with six messages of two streams in turn.
fn shop() -> anyhow::Result<(Database, EventStore, Rows)> {
    let (database, store) = store()?;
    for number in 0..6 {
        let stream = format!("Cart-{}", number % 2);
        store.append_to_stream(&stream, &[added("shoes", number)])?;
    }
    let rows = Rows::of(&database)?;
    Ok((database, store, rows))
}

fn only(store: &EventStore) -> anyhow::Result<ProcessorStatus> {
    let mut all = store.processors().list()?;
    anyhow::ensure!(all.len() == 1, "{all:?}");
    Ok(all.remove(0))
}

fn positions(parked: &[ParkedMessage]) -> Vec<u64> {
    parked.iter().map(|one| one.global_position).collect()
}

#[test]
fn a_store_without_consumers_has_no_processors() -> anyhow::Result<()> {
    let (_database, store, _) = shop()?;
    assert_eq!(store.processors().list()?, []);
    Ok(())
}

#[test]
fn a_processor_is_listed_with_its_position_and_lag() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    rows.register("carts", 1, 2)?;
    rows.register("done", 1, 6)?;

    let all = store.processors().list()?;

    let [carts, done] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!((&*carts.name, carts.version), ("carts", 1));
    assert_eq!((carts.position, carts.head, carts.lag), (2, 6, 4));
    let lag_time = carts.lag_time.expect("it is behind");
    assert!(lag_time > Duration::ZERO && lag_time < Duration::from_secs(600));
    assert_eq!(
        (carts.state, carts.slots.len()),
        (ProcessorState::Stopped, 1)
    );
    assert_eq!((&carts.slots[0].holder, carts.slots[0].epoch), (&None, 0));
    assert_eq!((&*done.name, done.lag, done.lag_time), ("done", 0, None));
    Ok(())
}

#[test]
fn the_lag_counts_committed_messages_of_the_tenant_archived_ones_too() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    acme.append_to_stream("Cart-1", &[added("shoes", 1)])?;
    store.archive_stream("Cart-1")?;
    rows.register("carts", 1, 0)?;
    rows.register_in("acme", "theirs", 1, 1, 0)?;

    let mut open = store.begin()?;
    open.append_to_stream("Cart-9", &[added("shoes", 1)])?;

    assert_eq!((only(&store)?.lag, only(&store)?.head), (6, 8));
    assert_eq!((&*only(&acme)?.name, only(&acme)?.lag), ("theirs", 1));
    open.commit()?;
    assert_eq!(only(&store)?.lag, 7);
    Ok(())
}

#[test]
fn the_slowest_slot_is_the_position_of_the_processor() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    rows.register("carts", 4, 0)?;
    rows.change("carts", "position = 5 - slot")?;

    let carts = only(&store)?;

    assert_eq!((carts.position, carts.lag), (2, 4));
    let slots: Vec<_> = carts
        .slots
        .iter()
        .map(|slot| (slot.slot, slot.position))
        .collect();
    assert_eq!(slots, [(0, 5), (1, 4), (2, 3), (3, 2)]);
    Ok(())
}

#[test]
fn a_running_processor_shows_who_holds_it_and_for_how_long() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    rows.register("carts", 1, 0)?;
    rows.take("carts", "host-1/4711", 600)?;

    let carts = only(&store)?;

    assert_eq!(carts.state, ProcessorState::Running);
    let holder = carts.slots[0].holder.as_ref().expect("a holder");
    assert_eq!((&*holder.owner, holder.worker), ("host-1/4711", 7));
    let left = holder.lease_left.expect("a lease");
    assert!(
        left > Duration::from_secs(300) && left <= Duration::from_secs(600),
        "{left:?}"
    );
    assert!(holder.held_for < Duration::from_secs(300));
    assert_eq!(carts.slots[0].epoch, 1);
    assert!(carts.slots[0].updated_at <= SystemTime::now() + Duration::from_secs(300));
    Ok(())
}

#[test]
fn a_processor_whose_owner_died_and_one_that_failed_are_told_apart() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    rows.register("carts", 2, 0)?;
    rows.take("carts", "host-1/4711", 600)?;
    rows.change(
        "carts",
        "last_error = 'slot ' || slot, crashes = 1, attempts = 3",
    )?;

    rows.expire("carts")?;
    let expired = only(&store)?;
    rows.change(
        "carts",
        "status = CASE slot WHEN 1 THEN 'failed' ELSE 'active' END",
    )?;
    let failed = only(&store)?;

    assert_eq!(expired.state, ProcessorState::LeaseExpired);
    let holder = expired.slots[0].holder.as_ref().expect("the dead owner");
    assert_eq!((&*holder.owner, holder.lease_left), ("host-1/4711", None));
    assert_eq!(failed.state, ProcessorState::Failed);
    assert_eq!(
        failed.last_error.as_deref(),
        Some("slot 1"),
        "of the failed one"
    );
    assert_eq!((failed.slots[1].crashes, failed.slots[1].attempts), (1, 3));
    assert_eq!(
        (failed.slots[0].failed, failed.slots[1].failed),
        (false, true)
    );
    Ok(())
}

#[test]
fn an_adopted_checkpoint_is_listed_before_its_processor_has_run() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    rows.0.batch_execute(
        "INSERT INTO emt_processor_beginnings (partition, processor, version, position) VALUES ('emt:default', 'old', 1, 4)",
    )?;

    let old = only(&store)?;
    assert_eq!((old.position, old.lag, old.slots.len()), (4, 2, 0));
    assert_eq!(old.state, ProcessorState::Stopped);
    store.processors().reset("old", 1)?;
    assert_eq!(only(&store)?.position, 1);
    rows.register("old", 1, 0)?;
    assert_eq!((only(&store)?.position, only(&store)?.slots.len()), (1, 1));
    Ok(())
}

#[test]
fn parked_messages_are_listed_in_pages_and_by_stream() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    rows.register("carts", 1, 6)?;
    rows.park("carts", 1, Some("no such product"))?;
    for position in [3, 5] {
        rows.park("carts", position, None)?;
    }
    rows.park("carts", 6, Some("other"))?;
    let processors = store.processors();

    let all = processors.parked("carts", ParkedOptions::new())?;
    let first = processors.parked("carts", ParkedOptions::new().limit(3))?;
    let second = processors.parked("carts", ParkedOptions::new().limit(3).after(5))?;
    let stream = processors.parked("carts", ParkedOptions::new().stream("Cart-1"))?;

    assert_eq!(positions(&all), [1, 3, 5, 6]);
    assert_eq!(
        (positions(&first), positions(&second)),
        (vec![1, 3, 5], vec![6])
    );
    assert_eq!(positions(&stream), [6]);
    let (failed, waiting) = (&all[0], &all[1]);
    assert_eq!(
        (&*failed.stream_name, failed.stream_position),
        ("Cart-0", 1)
    );
    assert_eq!(&*failed.message_type, "ProductItemAdded");
    assert_eq!(
        (failed.error.as_deref(), failed.attempts),
        (Some("no such product"), 3)
    );
    assert_eq!(
        (&waiting.error, waiting.request, waiting.attempts),
        (&None, None, 0)
    );
    assert_eq!((only(&store)?.parked, only(&store)?.waiting), (2, 2));
    Ok(())
}

#[test]
fn a_page_does_not_end_between_two_slots_of_one_message() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    rows.register("carts", 2, 6)?;
    rows.park("carts", 1, Some("failed"))?;
    rows.0.batch_execute(
        "INSERT INTO emt_parked_messages SELECT partition, processor, version, 1, global_position, stream_id,
             stream_position, message_type, 0, NULL FROM emt_parked_messages",
    )?;

    let page = store
        .processors()
        .parked("carts", ParkedOptions::new().limit(1))?;

    assert_eq!(positions(&page), [1, 1]);
    let detail = store
        .processors()
        .parked_message("carts", 1)?
        .expect("it is parked");
    assert_eq!(
        detail.parked.error.as_deref(),
        Some("failed"),
        "the one that failed"
    );
    Ok(())
}

#[test]
fn a_parked_message_is_shown_with_its_data() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    rows.register("carts", 1, 6)?;
    rows.park("carts", 4, Some("why"))?;

    let detail = store
        .processors()
        .parked_message("carts", 4)?
        .expect("it is parked");
    let other = store.processors().parked_message("carts", 5)?;

    let message = detail.message.expect("it is stored");
    assert_eq!(detail.parked.error.as_deref(), Some("why"));
    assert_eq!(
        (message.global_position, &*message.stream_name),
        (4, "Cart-1")
    );
    assert_eq!(message.event.data["quantity"], 3);
    assert!(other.is_none());

    store.archive_stream("Cart-1")?;
    let archived = store.processors().parked_message("carts", 4)?;
    assert!(archived.is_some_and(|detail| detail.message.is_some()));
    rows.0
        .batch_execute("DELETE FROM emt_messages WHERE global_position = 4")?;
    let gone = store.processors().parked_message("carts", 4)?;
    assert!(gone.is_some_and(|detail| detail.message.is_none()));
    Ok(())
}

/// Stream Cart-0: 1 failed, 3 and 5 wait. Stream Cart-1: 2 failed, 4 waits, 6 failed by itself.
fn with_parked() -> anyhow::Result<(Database, EventStore, Rows)> {
    let (database, store, mut rows) = shop()?;
    rows.register("carts", 1, 6)?;
    for (position, error) in [
        (1, Some("a")),
        (2, Some("b")),
        (3, None),
        (4, None),
        (5, None),
        (6, Some("c")),
    ] {
        rows.park("carts", position, error)?;
    }
    Ok((database, store, rows))
}

/// Positions with `r` for replay and `d` for discard, as `1r 2- 3d`.
fn asked(rows: &mut Rows) -> anyhow::Result<String> {
    let letters = rows.requests()?.into_iter().map(|(position, request)| {
        let letter = request.map_or("-".to_owned(), |request| request[..1].to_owned());
        format!("{position}{letter}")
    });
    Ok(letters.collect::<Vec<_>>().join(" "))
}

#[test]
fn all_or_a_stream_can_be_replayed_or_discarded() -> anyhow::Result<()> {
    let (_database, store, mut rows) = with_parked()?;
    let processors = store.processors();
    let stream = ParkedSelection::Stream("Cart-0".into());

    let replayed = processors.replay("carts", &stream)?;
    assert_eq!((replayed.marked, replayed.following), (3, 0));
    assert_eq!(asked(&mut rows)?, "1r 2- 3r 4- 5r 6-");
    let discarded = processors.discard("carts", &ParkedSelection::All)?;
    assert_eq!(discarded.marked, 6);
    assert_eq!(asked(&mut rows)?, "1d 2d 3d 4d 5d 6d");
    let changed_mind = processors.replay("carts", &stream)?;
    assert_eq!(changed_mind.marked, 3);
    assert_eq!(asked(&mut rows)?, "1r 2d 3r 4d 5r 6d");

    let listed = processors.parked("carts", ParkedOptions::new())?;
    assert_eq!(listed[0].request, Some(ParkedRequest::Replay));
    assert_eq!(listed[1].request, Some(ParkedRequest::Discard));
    Ok(())
}

#[test]
fn discarding_one_message_lets_the_later_ones_of_its_stream_go_on() -> anyhow::Result<()> {
    let (_database, store, mut rows) = with_parked()?;

    let discarded = store
        .processors()
        .discard("carts", &ParkedSelection::Position(1))?;

    assert_eq!((discarded.marked, discarded.following), (1, 2));
    assert_eq!(asked(&mut rows)?, "1d 2- 3r 4- 5r 6-");
    Ok(())
}

#[test]
fn what_waits_goes_on_with_a_replayed_message_up_to_the_next_failed_one() -> anyhow::Result<()> {
    let (_database, store, mut rows) = with_parked()?;

    let replayed = store
        .processors()
        .replay("carts", &ParkedSelection::Position(2))?;

    assert_eq!((replayed.marked, replayed.following), (1, 1));
    assert_eq!(asked(&mut rows)?, "1- 2r 3- 4r 5- 6-");
    Ok(())
}

#[test]
fn a_message_that_waits_can_be_discarded_but_not_replayed_by_itself() -> anyhow::Result<()> {
    let (_database, store, mut rows) = with_parked()?;
    let processors = store.processors();

    let replayed = processors.replay("carts", &ParkedSelection::Position(5));
    let error = replayed.expect_err("1 and 3 come first").to_string();
    assert!(
        error.contains("follows the parked message at position 1"),
        "{error}"
    );
    assert_eq!(asked(&mut rows)?, "1- 2- 3- 4- 5- 6-");

    let discarded = processors.discard("carts", &ParkedSelection::Position(3))?;
    assert_eq!((discarded.marked, discarded.following), (1, 0));
    assert_eq!(asked(&mut rows)?, "1- 2- 3d 4- 5- 6-");
    processors.replay("carts", &ParkedSelection::Position(1))?;
    assert_eq!(asked(&mut rows)?, "1r 2- 3d 4- 5r 6-");
    Ok(())
}

#[test]
fn a_request_tells_whether_anybody_carries_it_out() -> anyhow::Result<()> {
    let (_database, store, mut rows) = with_parked()?;
    let replay = || store.processors().replay("carts", &ParkedSelection::All);

    assert!(!replay()?.owner_running);
    rows.take("carts", "host-1/4711", 600)?;
    assert!(replay()?.owner_running);
    rows.expire("carts")?;
    assert!(!replay()?.owner_running);
    let nothing = store
        .processors()
        .replay("carts", &ParkedSelection::Position(99))?;
    assert_eq!(
        (nothing.marked, nothing.following, nothing.owner_running),
        (0, 0, false)
    );
    Ok(())
}

#[test]
fn a_reset_clears_everything_and_locks_out_whoever_is_in_a_batch() -> anyhow::Result<()> {
    let (_database, store, mut rows) = with_parked()?;
    rows.take("carts", "host-1/4711", 600)?;
    rows.change(
        "carts",
        "status = 'failed', last_error = 'x', crashes = 2, attempted = 3, attempts = 4",
    )?;

    let reset = store.processors().reset("carts", 3)?;

    assert_eq!(
        (reset.slots, reset.unparked, reset.owner_running),
        (1, 6, true)
    );
    let carts = only(&store)?;
    let slot = &carts.slots[0];
    assert_eq!((carts.position, carts.lag, carts.parked), (3, 3, 0));
    assert_eq!(
        (carts.state, &carts.last_error),
        (ProcessorState::Running, &None)
    );
    assert_eq!((slot.epoch, slot.crashes, slot.attempts), (2, 0, 0));
    let late = rows.0.execute(
        "UPDATE emt_processor_slots SET position = 9 WHERE processor = 'carts' AND owner = 'host-1/4711' AND epoch = 1",
        &[],
    )?;
    assert_eq!(late, 0, "the batch of before cannot be committed");
    rows.take("carts", "host-1/4711", 600)?;
    assert_eq!(only(&store)?.position, 3, "its holder goes on from there");
    Ok(())
}

#[test]
fn a_reset_is_no_crash_at_the_same_position() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    rows.register("carts", 1, 3)?;
    rows.take("carts", "host-1/4711", 600)?;

    store.processors().reset("carts", 3)?;
    rows.expire("carts")?;
    rows.take("carts", "host-2/1", 600)?;

    assert_eq!(only(&store)?.slots[0].crashes, 0);
    Ok(())
}

#[test]
fn a_reset_beyond_the_last_position_is_refused() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    rows.register("carts", 1, 3)?;

    let refused = store.processors().reset("carts", 7);

    let error = refused.expect_err("beyond").to_string();
    assert_eq!(error, "position 7: is beyond the last drawn position, 6");
    store.processors().reset("carts", 6)?;
    assert_eq!(only(&store)?.position, 6);
    Ok(())
}

#[test]
fn a_processor_is_forgotten_when_nobody_holds_it() -> anyhow::Result<()> {
    let (_database, store, mut rows) = with_parked()?;
    rows.register("other", 2, 0)?;
    rows.take("carts", "host-1/4711", 600)?;

    let held = store.processors().forget("carts");
    assert!(
        matches!(&held, Err(Error::Processor(ProcessorError::Held { processor, owner, .. }))
            if processor == "carts" && owner == "host-1/4711"),
        "{held:?}"
    );
    assert_eq!(only_names(&store)?, ["carts", "other"]);

    rows.expire("carts")?;
    store.processors().forget("carts")?;

    assert_eq!(only_names(&store)?, ["other"]);
    let left = [
        rows.count("emt_parked_messages")?,
        rows.count("emt_processor_slots")?,
        rows.count("emt_processor_beginnings")?,
    ];
    assert_eq!(left, [0, 2, 1]);
    rows.register("carts", 1, 0)?;
    assert_eq!(store.processors().position("carts")?, 0, "it is a new one");
    Ok(())
}

fn only_names(store: &EventStore) -> anyhow::Result<Vec<String>> {
    Ok(store
        .processors()
        .list()?
        .into_iter()
        .map(|one| one.name)
        .collect())
}

#[test]
fn where_a_name_has_several_versions_a_change_names_one() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    rows.register("carts", 1, 5)?;
    rows.register_in(DEFAULT, "carts", 2, 1, 4)?;
    let processors = store.processors();

    let versions: Vec<_> = processors.list()?.iter().map(|one| one.version).collect();
    assert_eq!(versions, [1, 2]);
    for error in [
        processors.reset("carts", 0).err(),
        processors.forget("carts").err(),
        processors.discard("carts", &ParkedSelection::All).err(),
    ] {
        let error = error.expect("which version?").to_string();
        assert_eq!(
            error,
            "processor \"carts\": has the versions 1, 2: choose one with `Processors::version` or `--of-version`"
        );
    }
    let third = processors.clone().version(3).reset("carts", 0);
    let error = third.expect_err("there is none").to_string();
    assert_eq!(error, "processor \"carts\": has no version 3, only 1, 2");

    processors.clone().version(2).reset("carts", 1)?;
    let second = processors.clone().version(2).list()?;
    assert_eq!((second.len(), second[0].position), (1, 1));
    processors.clone().version(1).forget("carts")?;
    assert_eq!(only(&store)?.version, 2);
    processors.reset("carts", 0)?;
    Ok(())
}

#[test]
fn an_unknown_name_is_an_error_that_lists_the_known_ones() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    let processors = store.processors();
    let all = ParkedSelection::All;

    let none = processors
        .reset("carts", 0)
        .expect_err("unknown")
        .to_string();
    assert_eq!(none, "there is no processor \"carts\"; there are none");
    rows.register("carts", 1, 0)?;
    rows.register("a \"quoted\" one", 1, 0)?;
    for error in [
        processors.parked("cart", ParkedOptions::new()).err(),
        processors.parked_message("cart", 1).err(),
        processors.replay("cart", &all).err(),
        processors.discard("cart", &all).err(),
        processors.reset("cart", 0).err(),
        processors.forget("cart").err(),
        processors.position("cart").err(),
        store.prove_processor("cart").err(),
    ] {
        let Some(Error::Processor(ProcessorError::Unknown {
            processor, known, ..
        })) = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(processor, "cart");
        assert_eq!(known, ["a \"quoted\" one", "carts"]);
    }
    Ok(())
}

#[test]
fn processors_of_an_unknown_tenant_are_an_error() -> anyhow::Result<()> {
    let (_database, store, _) = shop()?;
    let nobody = store.tenant("nobody")?;

    for error in [
        nobody.processors().list().err(),
        nobody.processors().forget("carts").err(),
        nobody.doctor().err(),
    ] {
        assert!(
            matches!(error, Some(Error::UnknownTenant { .. })),
            "{error:?}"
        );
    }
    Ok(())
}

#[test]
fn what_one_tenant_does_to_its_processor_no_other_sees() -> anyhow::Result<()> {
    let (_database, store, mut rows) = with_parked()?;
    store.tenants().add("acme")?;
    let acme = store.tenant("acme")?;
    rows.register_in("acme", "carts", 1, 1, 5)?;

    assert_eq!(
        acme.processors()
            .replay("carts", &ParkedSelection::All)?
            .marked,
        0
    );
    acme.processors().reset("carts", 1)?;
    acme.processors().forget("carts")?;

    assert_eq!(asked(&mut rows)?, "1- 2- 3- 4- 5- 6-");
    assert_eq!((only(&store)?.position, only(&store)?.parked), (6, 3));
    Ok(())
}

#[test]
fn names_that_would_break_sql_are_names_like_others() -> anyhow::Result<()> {
    let (_database, store, mut rows) = shop()?;
    let names = [
        "'; DROP TABLE emt_processor_slots; --",
        "\" OR TRUE --",
        "carts%",
        "{schema}",
        "$1",
        "Ünï\\'",
        " ",
    ];
    rows.register("carts", 1, 6)?;
    rows.park("carts", 1, Some("x"))?;
    for name in names {
        let unknown = store.processors().forget(name);
        assert!(
            matches!(
                unknown,
                Err(Error::Processor(ProcessorError::Unknown { .. }))
            ),
            "{name}"
        );
    }
    for name in names {
        rows.register(name, 1, 6)?;
        rows.park(name, 1, Some("x"))?;
        let processors = store.processors();
        let by_stream = ParkedSelection::Stream(name.to_owned());
        assert_eq!(processors.replay(name, &by_stream)?.marked, 0);
        assert_eq!(
            processors
                .discard(name, &ParkedSelection::Position(1))?
                .marked,
            1
        );
        let parked = processors.parked(name, ParkedOptions::new().stream("Cart-0"))?;
        assert_eq!(parked[0].request, Some(ParkedRequest::Discard));
        assert_eq!(processors.reset(name, 2)?.unparked, 1);
        assert_eq!(processors.position(name)?, 2);
        processors.forget(name)?;
    }

    assert_eq!((&*only(&store)?.name, only(&store)?.parked), ("carts", 1));
    assert_eq!(asked(&mut rows)?, "1-");
    for name in ["", "a\0b"] {
        let refused = store.processors().reset(name, 0);
        assert!(
            matches!(refused, Err(Error::InvalidInput { .. })),
            "{refused:?}"
        );
        let refused = store
            .processors()
            .replay("carts", &ParkedSelection::Stream(name.into()));
        assert!(
            matches!(refused, Err(Error::InvalidInput { .. })),
            "{refused:?}"
        );
    }
    Ok(())
}

#[test]
fn the_lag_is_not_counted_beyond_its_limit() -> anyhow::Result<()> {
    let (_database, _store, mut rows) = shop()?;
    let lag = "SELECT messages, oldest IS NULL FROM emt_feed_lag('emt:default', $1, $2)";
    let mut counted = |after: i64, most: i64| -> anyhow::Result<(i64, bool)> {
        let row = rows.0.query_one(lag, &[&after, &most])?;
        Ok((row.get(0), row.get(1)))
    };

    assert_eq!(counted(0, 4)?, (4, false));
    assert_eq!(counted(0, 1_000)?, (6, false));
    assert_eq!(counted(6, 4)?, (0, true));
    Ok(())
}
