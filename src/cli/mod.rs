//! Arguments and text; one file per subcommand.

mod check;
mod doctor;
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
    /// Ask a server about its state, as ntpq does
    Ntpq(ntpq::Args),
    /// Ask a server for the time, without setting anything
    Query(query::Args),
    /// Examine this machine for what stands in the way of serving, and say what mends it
    Doctor(doctor::Args),
}

/// Runs the command line of this process. Called as `ntpd`, it takes the options of `serve`, called as `ntpq`
/// those of `ntpq`.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let called_as = arguments.first().and_then(|first| Path::new(first).file_name()).unwrap_or_default();
    if called_as == "ntpd" {
        arguments.insert(1, "serve".into());
    } else if called_as == "ntpq" {
        arguments.insert(1, "ntpq".into());
    }
    match Cli::parse_from(arguments).command {
        None => serve::run_embedded_default(),
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Ntpq(args)) => ntpq::run(&args),
        Some(Command::Query(args)) => query::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
    }
}

/// Prints a line to standard error. Where nobody reads it any more the exit code still tells.
fn complain(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
