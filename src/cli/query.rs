//! `ntpring query`: one server, one answer.

use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::daemon::query::{Answer, Report, query};
use crate::wire::{LeapIndicator, ReferenceId};

const NTP_PORT: u16 = 123;

/// Arguments of `ntpring query`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// Ask so many times, two seconds apart, and tell the answer with the shortest round trip
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 1, value_parser = parse_count)]
    count: u16,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// Whom to ask, by name or address [default port: 123]
    #[arg(value_name = "HOST[:PORT]", value_parser = parse_target)]
    target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
}

/// Prints what the server says. The exit code is 0 if its time may be used, else 1.
pub(super) fn run(args: &Args) -> ExitCode {
    let Target { host, port } = &args.target;
    let report = match query(host, *port, args.count.into()) {
        Ok(report) => report,
        Err(error) => {
            super::complain(format_args!("ntpring: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let fault = report.best.fault();
    let text = if args.json { format!("{}\n", json(host, &report)) } else { words(&report) };
    let printed = io::stdout().write_all(text.as_bytes());
    if printed.is_err_and(|error| error.kind() != ErrorKind::BrokenPipe) {
        return ExitCode::FAILURE;
    }
    match fault {
        None => ExitCode::SUCCESS,
        Some(fault) => {
            super::complain(format_args!("ntpring: {}: not usable: {fault}", report.best.server));
            ExitCode::FAILURE
        }
    }
}

fn words(report: &Report) -> String {
    let answer = &report.best;
    let asked = match report.sent {
        1 => String::new(),
        sent => format!(" (best of {} answers to {sent} requests)", report.received),
    };
    format!(
        "{server}: offset {offset:+.6} s, delay {delay:.6} s, stratum {stratum}, leap {leap}, root distance {distance:.6} s, refid {refid}{asked}\n",
        server = answer.server,
        offset = answer.offset,
        delay = answer.delay,
        stratum = answer.stratum,
        leap = leap(answer.leap),
        distance = answer.root_distance(),
        refid = reference_id(answer),
    )
}

fn json(host: &str, report: &Report) -> Value {
    let answer = &report.best;
    json!({
        "host": host,
        "address": answer.server.ip().to_string(),
        "port": answer.server.port(),
        "offset_s": answer.offset,
        "delay_s": answer.delay,
        "stratum": answer.stratum,
        "leap": answer.leap as u8,
        "refid": reference_id(answer),
        "precision": answer.precision,
        "root_delay_s": answer.root_delay,
        "root_dispersion_s": answer.root_dispersion,
        "root_distance_s": answer.root_distance(),
        "kernel_stamps": answer.stamped_by_kernel,
        "sent": report.sent,
        "received": report.received,
        "usable": answer.fault().is_none(),
        "fault": answer.fault().map(|fault| fault.to_string()),
    })
}

fn leap(leap: LeapIndicator) -> &'static str {
    match leap {
        LeapIndicator::None => "0 (no warning)",
        LeapIndicator::Insert => "1 (a second is inserted)",
        LeapIndicator::Delete => "2 (a second is left out)",
        LeapIndicator::Unsynchronised => "3 (not synchronised)",
    }
}

/// RFC 5905 §7.3: a name at stratum 0 and 1, an address (or the hash of one) above.
fn reference_id(answer: &Answer) -> String {
    let octets = ReferenceId::octets(answer.reference_id);
    match answer.stratum {
        0 | 1 => {
            let name = octets.iter().take_while(|octet| **octet != 0);
            name.map(|octet| if octet.is_ascii_graphic() { char::from(*octet) } else { '?' }).collect()
        }
        _ => Ipv4Addr::from(octets).to_string(),
    }
}

fn parse_count(text: &str) -> Result<u16, String> {
    let count = text.parse().ok().filter(|count| (1..=1000).contains(count));
    count.ok_or_else(|| "expected a number from 1 to 1000".to_owned())
}

/// HOST, HOST:PORT, V6, [V6] or [V6]:PORT; a V6 may have a scope, as in fe80::1%eth0.
fn parse_target(text: &str) -> Result<Target, String> {
    let expected = || "expected a host such as pool.ntp.org, 192.0.2.1:123, 2001:db8::1 or [2001:db8::1]:123";
    let is_v6 = |host: &str| host.split('%').next().is_some_and(|host| host.parse::<Ipv6Addr>().is_ok());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').filter(|(host, _)| is_v6(host)).ok_or_else(expected)?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or_else(expected)?)
        }
        None if is_v6(text) => (text, ""),
        None => match text.split_once(':') {
            Some((_, "")) => return Err(expected().to_owned()),
            Some((host, port)) => (host, port),
            None => (text, ""),
        },
    };
    let port = if port.is_empty() { NTP_PORT } else { port.parse().map_err(|_| expected())? };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || !c.is_ascii();
    if host.parse::<IpAddr>().is_err() && !is_v6(host) && (host.is_empty() || !host.chars().all(is_name)) {
        return Err(expected().to_owned());
    }
    if port == 0 {
        return Err("port 0 cannot be asked".to_owned());
    }
    Ok(Target { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_taken_with_and_without_port() {
        for (text, host, port) in [
            ("pool.ntp.org", "pool.ntp.org", 123),
            ("localhost:11123", "localhost", 11123),
            ("192.0.2.1", "192.0.2.1", 123),
            ("192.0.2.1:99", "192.0.2.1", 99),
            ("::1", "::1", 123),
            ("[::1]", "::1", 123),
            ("[fe80::1%eth0]:99", "fe80::1%eth0", 99),
            ("fe80::1%eth0", "fe80::1%eth0", 123),
        ] {
            assert_eq!(parse_target(text), Ok(Target { host: host.to_owned(), port }), "{text}");
        }
        for text in ["", "host:", "host:0", "host:99999", "[host]", "[::1", "[::1]99", "a b", ":123", "a:b:c"]
        {
            assert!(parse_target(text).is_err(), "{text}");
        }
    }
}
