//! `recordedAt`: a point in time as text, exact to the microsecond.

use crate::database::position::time_from_sql;
use crate::error::{Error, Result};
use jiff::Timestamp;
use std::time::{Duration, SystemTime};

/// The earliest time of a `timestamptz`, in microseconds since 1970: 24 November 4714 BC.
const EARLIEST: i64 = -210_866_803_200_000_000;

/// How far the clock of the server from which a log comes may be ahead.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(300);

/// Reads a time; the error says what it must be.
pub(super) fn parse(text: &str) -> Result<SystemTime, String> {
    let Ok(time) = text.parse::<Timestamp>() else {
        return Err(format!(
            "must be a time with its offset from UTC, as \"2026-03-01T09:30:00.123456Z\", is {text:?}"
        ));
    };
    // It would become another second.
    if text.contains(":60") {
        return Err(format!("must not be a leap second, is {text:?}"));
    }
    let microseconds = time.as_microsecond();
    if Timestamp::from_microsecond(microseconds).ok() != Some(time) {
        return Err(format!(
            "must not be more precise than a microsecond, as PostgreSQL keeps it, is {text:?}: write at most six digits after \
             the point"
        ));
    }
    if microseconds < EARLIEST {
        return Err(format!(
            "is {text:?}, but PostgreSQL keeps no time before {}",
            Timestamp::from_microsecond(EARLIEST).unwrap_or(Timestamp::MIN)
        ));
    }
    Ok(time_from_sql(microseconds))
}

/// Says what is wrong with a time that the server, whose clock shows `now`, has not come to.
pub(super) fn check_past(time: SystemTime, now: SystemTime) -> Result<(), String> {
    if time <= now + CLOCK_DIFFERENCE {
        return Ok(());
    }
    Err(format!(
        "the key \"recordedAt\" is {}, in the future of the database server, whose clock shows {}: correct the line or the clock",
        display(time),
        display(now)
    ))
}

/// A time as lines have it.
pub(super) fn format(time: SystemTime) -> Result<String> {
    Timestamp::try_from(time)
        .map(|time| time.to_string())
        .map_err(|_| {
            Error::stored(
                "the time of a message",
                format!("{time:?}"),
                "before the year 10000",
            )
        })
}

fn display(time: SystemTime) -> String {
    format(time).unwrap_or_else(|_| format!("{time:?}"))
}

#[cfg(test)]
mod tests {
    use super::{check_past, format, parse};
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_time_comes_out_as_it_went_in() {
        for text in [
            "2026-03-01T09:30:00Z",
            "2026-03-01T09:30:00.1Z",
            "2026-03-01T09:30:00.123456Z",
            "2026-03-01T09:30:00.000001Z",
            "1969-12-31T23:59:59.999999Z",
            "0001-01-01T00:00:00Z",
            "-004713-11-24T00:00:00Z",
        ] {
            let time = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(format(time).ok().as_deref(), Some(text));
        }
    }

    #[test]
    fn offsets_and_superfluous_zeros_are_read() {
        let time = parse("2026-03-01T09:30:00.5Z");
        for same in [
            "2026-03-01T10:30:00.500000000+01:00",
            "2026-03-01 09:30:00.50Z",
            "2026-03-01T04:00:00.5-05:30",
        ] {
            assert_eq!(parse(same), time, "{same}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_the_form_that_it_must_have() {
        for (text, words) in [
            ("", "must be a time with its offset from UTC"),
            ("yesterday", "must be a time with its offset from UTC"),
            ("2026-03-01", "must be a time with its offset from UTC"),
            ("2026-03-01T09:30:00", "must be a time with its offset"),
            ("2026-02-30T09:30:00Z", "must be a time with its offset"),
            ("infinity", "must be a time with its offset from UTC"),
            ("294276-12-31T00:00:00Z", "must be a time with its offset"),
            ("2016-12-31T23:59:60Z", "must not be a leap second"),
            ("2026-03-01T09:30:00.1234567Z", "write at most six digits"),
            (
                "-004713-11-23T23:59:59Z",
                "PostgreSQL keeps no time before -004713-11-24T00:00:00Z",
            ),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn the_clocks_of_two_servers_may_differ_a_little() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        assert_eq!(check_past(now + Duration::from_secs(300), now), Ok(()));
        let error = check_past(now + Duration::from_secs(301), now).expect_err("too far");
        assert!(error.contains("1970-01-12T13:51:41Z"), "{error}");
        assert!(
            error.contains("whose clock shows 1970-01-12T13:46:40Z"),
            "{error}"
        );
    }
}
