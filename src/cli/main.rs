//! The command line without projections. A program with projections calls `emmett_postgresql::cli::run` itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    emmett_postgresql::cli::run(|builder| builder)
}
