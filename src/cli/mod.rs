//! Arguments and text; one file per subcommand.

mod check;
mod doctor;
mod ntpd;
mod ntpq;
mod query;
mod serve;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit code for a command line or configuration that cannot be used.
const EXIT_USAGE: u8 = 2;

#[derive(Debug, Parser)]
#[command(
    name = "ntpring",
    version,
    about = "NTP at the highest rate a Linux machine can serve, configured by ntp.conf",
    after_help = "Without a command: serves this machine's own clock on UDP 123 (or 11123), reading no file."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve time as ntp.conf says
    Serve(serve::Args),
    /// Report everything in an ntp.conf that is wrong, ignored or not active
    Check(check::Args),
    /// Serve with the options of ntpd; the same as being called by this name
    Ntpd(Box<ntpd::Args>),
    /// Ask a server about its state, as ntpq does; the same as being called by this name
    Ntpq(ntpq::Args),
    /// Ask a server for the time, without setting anything
    Query(query::Args),
    /// Examine this machine for what stands in the way of serving, and say what mends it
    Doctor(doctor::Args),
}

/// Runs the command line of this process. Called as `ntpd` or `ntpq`, it takes the options of these.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let called_as = arguments.first().and_then(|first| Path::new(first).file_name()).unwrap_or_default();
    let command = match called_as.to_str() {
        Some("ntpd") => Some(Command::Ntpd(Box::new(ntpd::Args::parse_from(arguments)))),
        Some("ntpq") => Some(Command::Ntpq(ntpq::Args::parse_from(arguments))),
        _ => Cli::parse_from(arguments).command,
    };
    match command {
        None => serve::run_embedded_default(),
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Ntpd(args)) => ntpd::run(*args),
        Some(Command::Ntpq(args)) => ntpq::run(&args),
        Some(Command::Query(args)) => query::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
    }
}

/// Prints a line to standard error. Where nobody reads it any more the exit code still tells.
fn complain(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::manual;

    #[test]
    fn the_manual_page_has_every_option() {
        manual::keep("ntpring.8", &manual::subcommands("ntpring", &Cli::command()));
    }
}
