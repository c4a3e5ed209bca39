//! `ntpring doctor`: what of this machine stands in the way of serving, and the command that mends it.
//!
//! Every check is a function from what the machine shows (`machine.rs`) to what was found; the tables of them
//! are at the top of `host.rs`, `network.rs`, `rights.rs` and `link.rs`. Only `machine.rs` asks the kernel.

mod finding;
mod host;
mod link;
mod machine;
mod network;
mod rights;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use self::finding::{Finding, State};
use self::machine::{Link, Looked, Machine};
use super::EXIT_USAGE;

/// Arguments of `ntpring doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print one JSON document instead of lines
    #[arg(long)]
    json: bool,
    /// The interface that clients come in by; may be repeated [default: devices, and those with a default
    /// route]
    #[arg(short, long, value_name = "IFACE")]
    interface: Vec<String>,
}

/// A check of the machine as a whole: its name, why what it looks at matters, and how it looks.
type Check = (&'static str, &'static str, fn(&Machine) -> Looked);

/// A check of one interface.
type LinkCheck = (&'static str, &'static str, fn(&Machine, &Link) -> Looked);

/// Prints what was found to standard output. The exit code is 0 when nothing is to be mended, 1 when
/// something is, 2 for an interface that is not there. What cannot be read is said, and is not to be mended.
pub(super) fn run(args: &Args) -> ExitCode {
    let machine = match Machine::here(&args.interface) {
        Ok(machine) => machine,
        Err(complaint) => {
            super::complain(format_args!("ntpring: {complaint}"));
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let findings = examine(&machine);
    let text =
        if args.json { format!("{:#}\n", document(&machine, &findings)) } else { page(&machine, &findings) };
    if let Err(error) = io::stdout().write_all(text.as_bytes())
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        super::complain(format_args!("cannot print the findings: {error}"));
        return ExitCode::FAILURE;
    }
    let is_to_mend = findings.iter().any(|finding| matches!(finding.state, State::Wrong { .. }));
    if is_to_mend { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Every check, in the order of the tables.
fn examine(machine: &Machine) -> Vec<Finding> {
    let host = [host::CHECKS, rights::CHECKS, network::CHECKS].concat();
    let host = host.into_iter().map(|(check, why, look)| Finding::new(check, None, why, look(machine)));
    let links = machine.links.iter().flat_map(|link| {
        let look = |(check, why, look): &LinkCheck| {
            Finding::new(check, Some(link.name.clone()), why, look(machine, link))
        };
        link::CHECKS.iter().map(look)
    });
    host.chain(links).collect()
}

/// What people read.
fn page(machine: &Machine, findings: &[Finding]) -> String {
    let mut page = format!("{}\n\n", machine.summary());
    findings.iter().for_each(|finding| page.push_str(&finding.to_string()));
    let count = |is: fn(&State) -> bool| findings.iter().filter(|finding| is(&finding.state)).count();
    let fine = count(|state| matches!(state, State::Fine { .. }));
    let wrong = count(|state| matches!(state, State::Wrong { .. }));
    page.push_str(&format!("\n{fine} fine, {wrong} to mend, {} not known\n", findings.len() - fine - wrong));
    page
}

/// What programs read.
fn document(machine: &Machine, findings: &[Finding]) -> Value {
    json!({
        "version": 1,
        "kind": "doctor",
        "machine": machine.summary(),
        "interfaces": machine.links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>(),
        "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
    })
}
