//! The one binary: `ntpring`, or `ntpd` by its name.

use std::process::ExitCode;

fn main() -> ExitCode {
    ntpring::cli::run(std::env::args_os())
}
