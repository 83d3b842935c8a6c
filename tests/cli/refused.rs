//! Wrong arguments give exit code 2 and have no effect.

use super::process::run;

#[test]
fn wrong_arguments_have_exit_code_2_and_are_named() -> anyhow::Result<()> {
    for (arguments, named) in [
        (&[][..], "Usage: emmett"),
        (&["frobnicate"], "unrecognized subcommand 'frobnicate'"),
        (&["migrate"], "Usage: emmett"),
        (&["migrate", "down"], "unrecognized subcommand 'down'"),
        (
            &["migrate", "status", "--dry-run"],
            "unexpected argument '--dry-run'",
        ),
        (&["import"], "<FILE>"),
        (
            &["import", "-", "--batch-size", "0"],
            "invalid value '0' for '--batch-size <LINES>'",
        ),
        (
            &["import", "-", "--batch-size", "many"],
            "invalid value 'many'",
        ),
        (&["import", "-", "-", "-"], "unexpected argument '-'"),
        (&["export", "--after", "-1"], "unexpected argument '-1'"),
        (&["export", "--after", "x"], "invalid value 'x'"),
        (&["stream"], "<NAME>"),
        (
            &["stream", "Case-1", "--from", "one"],
            "invalid value 'one'",
        ),
        (&["consumers", "parked"], "<PROCESSOR>"),
        (
            &["consumers", "pause", "a"],
            "unrecognized subcommand 'pause'",
        ),
        (&["consumers", "show", "a"], "<POSITION>"),
        (&["consumers", "show", "a", "x"], "invalid value 'x'"),
        (&["consumers", "replay", "a"], "--all"),
        (
            &["consumers", "discard", "a", "--all", "--position", "1"],
            "cannot be used with",
        ),
        (&["consumers", "reset", "a"], "--to <POSITION>"),
        (&["consumers", "forget"], "<PROCESSOR>"),
        (
            &["doctor", "--prove", "1"],
            "2 values required for '--prove <FROM> <TO>'",
        ),
        (
            &["doctor", "--prove", "1", "2", "--prove-processor", "a"],
            "cannot be used with",
        ),
        (&["tenants", "add"], "<NAME>"),
        (&["tenants", "remove"], "<NAME>"),
        (
            &["tenants", "rename", "a", "b"],
            "unrecognized subcommand 'rename'",
        ),
        (
            &["tenants", "--connection-string"],
            "a value is required for '--connection-string <URL>'",
        ),
        (&["tenants", "--verbose"], "unexpected argument '--verbose'"),
        (&["tenants", "-v"], "unexpected argument '-v'"),
    ] {
        let refused = run(arguments)?;
        assert_eq!(
            (refused.code, refused.stdout.as_str()),
            (2, ""),
            "{arguments:?}: {refused:?}"
        );
        assert!(
            refused.stderr.contains(named),
            "{arguments:?}: {}",
            refused.stderr
        );
    }
    Ok(())
}
