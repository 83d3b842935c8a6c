//! Specifications of reactors, and their words when one does not hold.

use crate::support::{CartEvent, added};
use crossbeam_channel::{Receiver, unbounded};
use emmett_postgresql::testing::{self, ConsumerSpec};
use emmett_postgresql::{Event, FailurePolicy, NewMessage, Reactor, Recorded, consumer::StartFrom};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3_600);

/// Neither `Debug` nor `PartialEq`.
#[derive(Serialize, Deserialize)]
enum MailEvent {
    Sent { cart: String, copies: u32 },
}
impl Event for MailEvent {}

fn sent(cart: &str) -> MailEvent {
    let cart = cart.to_owned();
    MailEvent::Sent { cart, copies: 1 }
}

fn confirmed() -> CartEvent {
    CartEvent::ShoppingCartConfirmed {
        client_id: "anna".into(),
        total_amount: 1.0,
    }
}

/// Sends a mail for each event, which nobody rolls back, and records it, which a rollback undoes.
fn mailer(policy: FailurePolicy) -> Reactor {
    mailer_with(policy).0
}

fn mailer_with(policy: FailurePolicy) -> (Reactor, Receiver<String>) {
    let (mail, mails) = unbounded();
    let reactor = Reactor::new("mailer")
        .each(move |message: &Recorded<CartEvent>, context| {
            let text = format!("{}/{}", message.stream_name, message.stream_position);
            // Most tests read no mails.
            let _ = mail.send(text);
            context.append_to_stream("Mail-1", &[sent(&message.stream_name)])?;
            Ok(())
        })
        .on_failure(policy);
    (reactor, mails)
}

fn parking() -> FailurePolicy {
    FailurePolicy::park()
}

/// The first pause is an hour, and each further one is twice as long.
fn retrying(policy: FailurePolicy, times: u32) -> FailurePolicy {
    policy.retries(times, HOUR).longest_delay(24 * HOUR)
}

fn two_carts(reactor: Reactor) -> ConsumerSpec {
    ConsumerSpec::of(reactor)
        .given("Cart-1", [added("hat", 2), confirmed()])
        .given("Cart-2", [added("shoes", 1)])
}

#[test]
fn a_reactor_is_specified_by_what_it_handles_and_appends() {
    two_carts(mailer(parking()))
        .run()
        .handled([("Cart-1", 1), ("Cart-1", 2), ("Cart-2", 1)])
        .appended("Mail-1", [sent("Cart-1"), sent("Cart-1"), sent("Cart-2")])
        .parked([])
        .waited(Duration::ZERO);
    two_carts(mailer(parking()).can_handle(&["ShoppingCartConfirmed"]))
        .run()
        .handled([("Cart-1", 2)]);
    ConsumerSpec::of(
        Reactor::new("late")
            .each(|message: &Recorded<CartEvent>, _| {
                assert_eq!(message.correlation_id.as_deref(), Some("shop"));
                Ok(())
            })
            .start_from(StartFrom::End),
    )
    .given_database(|store| {
        store.append_to_stream("Cart-1", &[added("hat", 1)])?;
        Ok(())
    })
    .given(
        "Cart-1",
        [NewMessage::new(confirmed()).correlation_id("shop")],
    )
    .run()
    .handled([("Cart-1", 2)])
    .appended_nothing();
}

#[test]
fn a_message_that_always_fails_is_parked_with_the_later_ones_of_its_stream() {
    ConsumerSpec::of(mailer(parking()))
        .given("Cart-1", [added("hat", 2), confirmed(), added("hat", 1)])
        .given("Cart-2", [confirmed()])
        .failing_at(2)
        .run()
        .parked([("Cart-1", 2), ("Cart-1", 3)])
        .handled([("Cart-1", 1), ("Cart-2", 1)])
        .appended("Mail-1", [sent("Cart-1"), sent("Cart-2")])
        .then_replayed()
        .parked([("Cart-1", 2), ("Cart-1", 3)])
        .handled([]);
}

#[test]
fn parked_messages_are_replayed_in_order() {
    two_carts(mailer(parking()))
        .failing_times(1, 1)
        .run()
        .parked([("Cart-1", 1), ("Cart-1", 2)])
        .handled([("Cart-2", 1)])
        .then_replayed()
        .handled([("Cart-1", 1), ("Cart-1", 2)])
        .parked([])
        .appended("Mail-1", [sent("Cart-2"), sent("Cart-1"), sent("Cart-1")]);
}

#[test]
fn hours_between_retries_take_no_time() {
    let policy = retrying(parking(), 3);
    // The server is there before the time is taken.
    two_carts(mailer(parking())).run().parked([]);
    let begun = Instant::now();
    two_carts(mailer(policy.clone()))
        .failing_at(2)
        .run()
        .parked([("Cart-1", 2)])
        .retried([("Cart-1", 2, [HOUR, 2 * HOUR, 4 * HOUR])])
        .waited(7 * HOUR);
    assert!(begun.elapsed() < HOUR / 60, "{:?}", begun.elapsed());
    two_carts(mailer(policy))
        .failing_times(1, 2)
        .failing_times(3, 1)
        .run()
        .handled([("Cart-1", 1), ("Cart-1", 2), ("Cart-2", 1)])
        .retried([
            ("Cart-1", 1, vec![HOUR, 2 * HOUR]),
            ("Cart-2", 1, vec![HOUR]),
        ]);
}

#[test]
fn a_reactor_that_stops_says_at_which_message() {
    two_carts(mailer(retrying(FailurePolicy::stop(), 1)))
        .failing_at(2)
        .run()
        .stopped_at("Cart-1", 2)
        .handled([("Cart-1", 1)])
        .waited(HOUR)
        .appended("Mail-1", [sent("Cart-1")]);
    let refusing = Reactor::new("refusing").each(|message: &Recorded<CartEvent>, _| {
        anyhow::ensure!(&*message.stream_name != "Cart-2", "no second cart");
        Ok(())
    });
    two_carts(refusing).run().stopped_at("Cart-2", 1).handled([
        ("Cart-1", 1),
        ("Cart-1", 2),
        ("Cart-2", 1),
    ]);
}

#[test]
fn a_failure_after_the_handler_repeats_outer_effects_and_rolls_back_inner_ones() {
    let (reactor, mails) = mailer_with(retrying(parking(), 1));
    two_carts(reactor)
        .failing_after(2)
        .run()
        .handled([("Cart-1", 1), ("Cart-1", 2), ("Cart-1", 2), ("Cart-2", 1)])
        .appended("Mail-1", [sent("Cart-1"), sent("Cart-1"), sent("Cart-2")]);
    let mails: Vec<String> = mails.try_iter().collect();
    assert_eq!(mails, ["Cart-1/1", "Cart-1/2", "Cart-1/2", "Cart-2/1"]);
}

#[test]
fn a_crash_before_the_checkpoint_delivers_the_batch_again() {
    two_carts(mailer(parking()))
        .crashing_after(2)
        .run()
        .handled([
            ("Cart-1", 1),
            ("Cart-1", 2),
            ("Cart-1", 1),
            ("Cart-1", 2),
            ("Cart-2", 1),
        ])
        .waited(Duration::ZERO)
        .appended("Mail-1", [sent("Cart-1"), sent("Cart-1"), sent("Cart-2")]);
}

#[test]
fn a_message_at_which_each_process_crashes_is_parked_whatever_the_policy() {
    for policy in [FailurePolicy::stop(), retrying(parking(), 9)] {
        two_carts(mailer(policy))
            .crashing_at(2)
            .run()
            .parked([("Cart-1", 2)])
            .waited(Duration::ZERO)
            .appended("Mail-1", [sent("Cart-1"), sent("Cart-2")])
            .check(|store| {
                let parked = store.processors().parked_message("mailer", 2)?;
                let error = parked.and_then(|parked| parked.parked.error);
                assert_eq!(
                    error.as_deref(),
                    Some("the process ended each time it handled this message")
                );
                Ok(())
            });
    }
}

#[test]
fn failures_of_several_kinds_happen_one_for_each_attempt() {
    two_carts(mailer(retrying(parking(), 3)))
        .failing_times(1, 1)
        .crashing_after(1)
        .failing_after(1)
        .run()
        .handled([
            ("Cart-1", 1),
            ("Cart-1", 1),
            ("Cart-1", 1),
            ("Cart-1", 2),
            ("Cart-2", 1),
        ])
        // After the crash, another process counts anew.
        .retried([("Cart-1", 1, [HOUR, HOUR])]);
}

#[test]
fn a_failed_batch_is_handled_one_by_one() {
    let batches = Reactor::new("batches")
        .batch(|messages: &[Recorded<CartEvent>], context| {
            let stream = messages[0].stream_name.clone();
            context.append_to_stream(
                "Mail-1",
                &[sent(&format!("{stream} of {}", messages.len()))],
            )?;
            Ok(())
        })
        .on_failure(parking());
    two_carts(batches)
        .failing_times(2, 2)
        .run()
        .parked([("Cart-1", 2)])
        .handled([("Cart-1", 1), ("Cart-2", 1)])
        .appended("Mail-1", [sent("Cart-1 of 1"), sent("Cart-2 of 1")]);
}

#[test]
fn several_workers_keep_the_order_of_each_stream() {
    let streams: Vec<String> = (1..=20).map(|number| format!("Cart-{number}")).collect();
    let mut spec = ConsumerSpec::of(mailer(retrying(parking(), 1)).workers(3));
    for stream in &streams {
        spec = spec.given(stream, [added("hat", 1), confirmed()]);
    }
    let backwards = streams.iter().rev();
    let both = backwards.flat_map(|stream| [(stream.as_str(), 1), (stream.as_str(), 2)]);
    let failing = ("Cart-1", 1);
    let others = both.filter(|message| *message != ("Cart-1", 1) && *message != ("Cart-1", 2));
    spec.failing_at(1)
        .run()
        .parked([failing, ("Cart-1", 2)])
        .retried([("Cart-1", 1, [HOUR])])
        .handled(others);
}

#[test]
fn the_slots_are_shared_among_the_workers() {
    let holders = "SELECT count(*) FROM emt_processor_slots GROUP BY worker ORDER BY 1";
    let reactor = Reactor::new("shared")
        .each(move |_: &Recorded<CartEvent>, context| {
            let rows = context.query(holders, &[])?;
            let fewest: i64 = rows[0].get(0);
            anyhow::ensure!(
                rows.len() == 3 && fewest >= 4,
                "{} workers, {fewest}",
                rows.len()
            );
            Ok(())
        })
        .workers(3);
    two_carts(reactor)
        .run()
        .handled([("Cart-1", 1), ("Cart-1", 2), ("Cart-2", 1)]);
}

#[test]
fn everything_runs_on_the_callers_thread_and_calls_the_hooks() {
    let (told, hooks) = unbounded();
    let (started, stopped, failed) = (told.clone(), told.clone(), told);
    let thread = std::thread::current().id();
    let reactor = mailer(parking())
        .on_start(move || {
            assert_eq!(std::thread::current().id(), thread);
            started.send("start".to_owned()).expect("a listener");
        })
        .on_error(move |error| failed.send(error.to_string()).expect("a listener"))
        .on_stop(move || stopped.send("stop".to_owned()).expect("a listener"));
    two_carts(reactor)
        .failing_at(3)
        .run()
        .parked([("Cart-2", 1)]);
    let hooks: Vec<String> = hooks.try_iter().collect();
    assert_eq!(hooks.len(), 3, "{hooks:?}");
    assert_eq!((&*hooks[0], &*hooks[2]), ("start", "stop"));
    let words = "the specification lets message 1 of stream \"Cart-2\" fail";
    assert!(hooks[1].contains(words), "{hooks:?}");
}

#[test]
fn a_reactor_handles_what_it_appends_but_not_for_ever() {
    let echo = |last: u64| {
        Reactor::new("echo").each(move |message: &Recorded<CartEvent>, context| {
            if message.stream_position < last {
                context.append_to_stream(&message.stream_name, &[confirmed()])?;
            }
            Ok(())
        })
    };
    ConsumerSpec::of(echo(3))
        .given("Cart-1", [confirmed()])
        .run()
        .handled([("Cart-1", 1), ("Cart-1", 2), ("Cart-1", 3)])
        .appended("Cart-1", [confirmed(), confirmed()]);
    let endless = ConsumerSpec::of(echo(u64::MAX)).given("Cart-1", [confirmed()]);
    let words = refusal(endless);
    assert!(words.contains("after 200 rounds"), "{words}");
}

#[test]
fn a_reactor_does_not_wait_for_a_database_that_nobody_else_uses() {
    let busy = "DO $$ BEGIN RAISE EXCEPTION 'all busy' USING ERRCODE = '40001'; END $$";
    let reactor = Reactor::new("waiting").each(move |_: &Recorded<CartEvent>, context| {
        context.execute(busy, &[])?;
        Ok(())
    });
    let words = refusal(two_carts(reactor));
    for part in [
        "the specification cannot run",
        "it waits for the database",
        "all busy",
    ] {
        assert!(words.contains(part), "{words}");
    }
}

#[test]
fn an_open_append_is_no_end_of_the_feed() {
    let open = Rc::new(RefCell::new(None));
    let kept = Rc::clone(&open);
    let held_back = two_carts(mailer(parking())).given_database(move |store| {
        let mut session = store.begin()?;
        session.append_to_stream("Cart-9", &[confirmed()])?;
        *kept.borrow_mut() = Some(session);
        Ok(())
    });
    let words = refusal(held_back);
    assert!(words.contains("holds the feed back"), "{words}");
    drop(open);
}

/// What a specification says that cannot run.
fn refusal(spec: ConsumerSpec) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| spec.run())).expect_err("it cannot run");
    panic.downcast_ref::<String>().expect("words").clone()
}

/// Fails on purpose; the test below reads its words.
#[test]
#[ignore = "it fails, and another test runs it for its words"]
fn reactor_specification_that_does_not_hold() {
    let spec = || two_carts(mailer(retrying(parking(), 1)));
    let stopping = || two_carts(mailer(FailurePolicy::stop()));
    match std::env::var("EMMETT_TEST_SPECIFICATION").as_deref() {
        Ok("handled") => {
            spec().run().handled([("Cart-1", 1), ("Cart-2", 1)]); // handled
        }
        Ok("parked") => {
            spec().failing_at(1).run().parked([("Cart-1", 1)]); // parked
        }
        Ok("overlooked") => {
            spec().failing_at(3).run().handled([]); // overlooked
        }
        Ok("stopped") => {
            stopping().failing_at(3).run().parked([]); // stopped
        }
        Ok("elsewhere") => {
            stopping().failing_at(3).run().stopped_at("Cart-1", 1); // elsewhere
        }
        Ok("running") => {
            stopping().run().stopped_at("Cart-1", 1); // running
        }
        Ok("retried") => {
            let run = spec().failing_times(3, 1).run();
            run.retried([("Cart-2", 1, [HOUR, 2 * HOUR])]); // retried
        }
        Ok("waited") => {
            spec().failing_times(3, 1).run().waited(2 * HOUR); // waited
        }
        Ok("appended") => {
            let other = |copies| MailEvent::Sent {
                cart: "Cart-1".into(),
                copies,
            };
            let run = spec().run();
            run.appended("Mail-1", [other(2), other(1)]); // appended
        }
        Ok("nothing") => {
            spec().run().appended_nothing(); // nothing
        }
        Ok("check") => {
            spec().run().check(|_| anyhow::bail!("no mail for anna")); // check
        }
        Ok("replay") => {
            spec().run().then_replayed(); // replay
        }
        Ok("missing") => {
            let _ = spec().failing_at(4).run(); // missing
        }
        Ok("unhandled") => {
            let reactor = mailer(parking()).can_handle(&["ShoppingCartConfirmed"]);
            let spec = two_carts(reactor).crashing_after(1);
            let _ = spec.run(); // unhandled
        }
        Ok("twice") => {
            let _ = spec().failing_at(1).failing_times(1, 2); // twice
        }
        Ok("never") => {
            let _ = spec().failing_times(1, 0); // never
        }
        Ok("name") => {
            let _ = spec().given("", [confirmed()]); // name
        }
        other => panic!("{other:?}"),
    }
}

/// What a failing specification says.
fn failure(specification: &str) -> anyhow::Result<String> {
    let failed = Command::new(std::env::current_exe()?)
        .args(["--ignored", "--exact"])
        .arg("testing::consumer_specifications::reactor_specification_that_does_not_hold")
        .env("EMMETT_TEST_SPECIFICATION", specification)
        .env(
            "EMMETT_TEST_DATABASE_URL",
            testing::Server::shared()?.url("postgres"),
        )
        .env("RUST_BACKTRACE", "0")
        .output()?;
    assert!(!failed.status.success());
    Ok(String::from_utf8_lossy(&failed.stdout).into_owned())
}

#[test]
fn a_reactors_specification_that_does_not_hold_says_where_and_why() -> anyhow::Result<()> {
    let expected = [
        (
            "handled",
            "the handler was called with other messages:\n  call 2: expected message 1 of stream \"Cart-2\", found message 2 of stream \"Cart-1\"\n  call 3: expected nothing, found message 1 of stream \"Cart-2\"",
        ),
        (
            "parked",
            "other messages are parked:\n  parked 2: expected nothing, found message 2 of stream \"Cart-1\"\n  message 1 of stream \"Cart-1\" is parked: the specification lets message 1 of stream \"Cart-1\" fail",
        ),
        (
            "overlooked",
            "message 1 of stream \"Cart-2\" is parked: the specification lets message 1 of stream \"Cart-2\" fail; expect it first, with `parked`",
        ),
        (
            "stopped",
            "message 1 of stream \"Cart-2\", type \"ProductItemAdded\": the specification lets message 1 of stream \"Cart-2\" fail; expect it first, with `stopped_at`",
        ),
        (
            "elsewhere",
            "expected a stop at message 1 of stream \"Cart-1\", found another one: processor \"mailer\"",
        ),
        (
            "running",
            "expected a stop at message 1 of stream \"Cart-1\", but the reactor has not stopped",
        ),
        (
            "retried",
            "other retries were made:\n  retried 1: expected message 1 of stream \"Cart-2\", after 3600s, 7200s, found message 1 of stream \"Cart-2\", after 3600s",
        ),
        (
            "waited",
            "expected pauses of 7200s before retries, found 3600s",
        ),
        (
            "appended",
            "the reactor has appended other events to stream \"Mail-1\":\n  event 1, `Sent`: copies: expected 2, found 1\n  event 3: expected nothing, found `Sent` {\"cart\":\"Cart-2\",\"copies\":1}",
        ),
        (
            "nothing",
            "expected no events, found the events `Sent` {\"cart\":\"Cart-1\",\"copies\":1}",
        ),
        ("check", "the check failed: no mail for anna"),
        ("replay", "no messages are parked, so none can be replayed"),
        (
            "missing",
            "failing_at(4) has no effect: 3 messages given, counted from 1",
        ),
        (
            "unhandled",
            "crashing_after(1) has no effect: the reactor does not handle message 1 of stream \"Cart-1\", type `ProductItemAdded`",
        ),
        (
            "twice",
            "failing_times(1) has no effect: failing_at(1) is about each attempt, so say it last",
        ),
        ("never", "failing_times(1, 0) has no effect: say at least 1"),
        ("name", "stream name"),
    ];
    let source = include_str!("consumer_specifications.rs");
    for (specification, words) in expected {
        let said = failure(specification)?;
        assert!(said.contains(words), "{specification}: {said}");
        let mark = format!("// {specification}");
        let line = source.lines().position(|line| line.ends_with(&mark));
        let line = line.map_or(0, |index| index + 1);
        let place = format!("consumer_specifications.rs:{line}:");
        assert!(said.contains(&place), "{specification}: {place} {said}");
    }
    Ok(())
}
