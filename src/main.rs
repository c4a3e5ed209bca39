//! The one binary.

use std::process::ExitCode;

use clap::Parser;
use ntpring::cli::check;

/// NTP at the highest rate a Linux machine can serve
#[derive(Parser)]
#[command(version)]
enum Command {
    /// Print what is wrong with a configuration
    Check(check::Args),
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::Check(args) => check::run(&args),
    }
}
