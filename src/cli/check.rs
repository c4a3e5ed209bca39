//! `ntpring check`: what is wrong with a configuration, before a daemon has to say so.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Findings;
use crate::daemon::configuration;

/// Exit code of a configuration with errors (and of wrong usage).
const BAD: u8 = 2;

/// Arguments of `ntpring check`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The configuration to check
    #[arg(short = 'c', long = "config", value_name = "FILE", default_value = "/etc/ntp.conf")]
    config: PathBuf,
    /// Exit with 2 if anything at all is found, warnings included
    #[arg(long)]
    strict: bool,
}

/// Prints each finding to standard output, one line each, `FILE:LINE:COL: error|warning: TEXT`, then a
/// summary to standard error. The exit code is 0, or 2 if there are errors, the file cannot be read, or
/// anything was found with `--strict`.
pub(super) fn run(args: &Args) -> ExitCode {
    let findings = match configuration::load(&args.config, "") {
        Ok(loaded) => loaded.findings,
        Err(unreadable) => {
            super::complain(format_args!("{unreadable}; name another configuration with -c FILE"));
            return ExitCode::from(BAD);
        }
    };
    if let Err(error) = print(&findings) {
        // Whoever reads the findings has gone, as `head` does: the exit code is still theirs to use.
        if error.kind() != io::ErrorKind::BrokenPipe {
            super::complain(format_args!("cannot print the findings: {error}"));
            return ExitCode::FAILURE;
        }
    }
    super::complain(format_args!("{}", summary(&findings)));
    let bad = findings.errors() > 0 || args.strict && !findings.is_empty();
    if bad { ExitCode::from(BAD) } else { ExitCode::SUCCESS }
}

fn print(findings: &Findings) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for finding in findings {
        writeln!(out, "{finding}")?;
    }
    out.flush()
}

fn summary(findings: &Findings) -> String {
    let count = |number, what| match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    };
    let not_shown = match findings.dropped() {
        0 => String::new(),
        dropped => format!(" ({dropped} not shown)"),
    };
    match (findings.errors(), findings.warnings()) {
        (0, 0) => "ok".to_owned(),
        (errors, warnings) => {
            format!("{}, {}{not_shown}", count(errors, "error"), count(warnings, "warning"))
        }
    }
}
