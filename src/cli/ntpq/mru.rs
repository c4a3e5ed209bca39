//! `mrulist`: who has asked the server lately.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

use super::session::{Ask, Failure};
use super::{Names, dates, variables};
use crate::control::{FRAGMENTS_MAX, Opcode, Variable, parse};
use crate::wire::NtpTimestamp;

/// So many questions at most, so that no server can make the list endless.
const QUESTIONS_MAX: usize = 1 << 16;

/// One client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Address and port, as the server writes them.
    address: String,
    first: NtpTimestamp,
    last: NtpTimestamp,
    count: u64,
    /// Version and mode of its last packet.
    version_mode: u8,
    /// The restrict flags that hold for it.
    flags: u32,
}

/// `RES_LIMITED` and `RES_KOD` of the flags.
const LIMITED: u32 = 0x20;
const KOD: u32 = 0x400;

/// All entries, and the server's time when it gave the last. The newest comes first.
pub(super) fn fetch(server: &mut impl Ask) -> Result<(NtpTimestamp, Vec<Entry>), Failure> {
    let mut nonce = nonce(server)?;
    // By address: an entry that was used meanwhile comes again, and only its last state counts.
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut resume = String::new();
    for _ in 0..QUESTIONS_MAX {
        let asked = format!("nonce={nonce}, frags={FRAGMENTS_MAX}{resume}");
        let response = server.ask(Opcode::ReadMru, 0, asked.as_bytes())?;
        let list = parse(&response.data);
        let given = entries_of(&list);
        let newest = given.last().cloned();
        entries.extend(given.into_iter().map(|entry| (entry.address.clone(), entry)));
        let now = dates::stamp(variables::value(&list, "now"));
        // `now` stands behind the last entry only.
        if now.is_some() || newest.is_none() {
            return Ok((now.unwrap_or_else(dates::now), sorted(entries)));
        }
        if let Some(Entry { address, last, .. }) = newest {
            let bits = last.to_bits();
            resume = format!(", last.0=0x{:08x}.{:08x}, addr.0={address}", bits >> 32, bits & 0xFFFF_FFFF);
        }
        match variables::value(&list, "nonce") {
            "" => {}
            renewed => renewed.clone_into(&mut nonce),
        }
    }
    Ok((dates::now(), sorted(entries)))
}

fn nonce(server: &mut impl Ask) -> Result<String, Failure> {
    let response = server.ask(Opcode::RequestNonce, 0, &[])?;
    Ok(variables::value(&parse(&response.data), "nonce").to_owned())
}

fn sorted(entries: BTreeMap<String, Entry>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = entries.into_values().collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.last.to_bits()));
    entries
}

/// The entries of one response in its order, oldest first. Names are `last.0`, `addr.0` and so on, in any
/// order; those that nobody knows are passed over.
fn entries_of(list: &[Variable]) -> Vec<Entry> {
    let mut found: BTreeMap<usize, Entry> = BTreeMap::new();
    for variable in list {
        let Some((field, number)) = variable.name.rsplit_once('.') else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        let entry = found.entry(number).or_insert_with(Entry::empty);
        let value = variable.value.as_str();
        match field {
            "addr" => value.clone_into(&mut entry.address),
            "first" => entry.first = dates::stamp(value).unwrap_or_default(),
            "last" => entry.last = dates::stamp(value).unwrap_or_default(),
            "ct" => entry.count = value.parse().unwrap_or_default(),
            "mv" => entry.version_mode = value.parse().unwrap_or_default(),
            "rs" => entry.flags = variables::hexadecimal(value).unwrap_or_default(),
            _ => {}
        }
    }
    found.into_values().filter(|entry| !entry.address.is_empty()).collect()
}

impl Entry {
    fn empty() -> Self {
        Self {
            address: String::new(),
            first: NtpTimestamp::UNKNOWN,
            last: NtpTimestamp::UNKNOWN,
            count: 0,
            version_mode: 0,
            flags: 0,
        }
    }

    /// Seconds between packets, on average.
    fn interval(&self) -> i64 {
        let span = dates::seconds_between(self.first, self.last);
        i64::try_from(self.count.saturating_sub(1)).map_or(0, |gaps| span.checked_div(gaps).unwrap_or(0))
    }

    fn restriction(&self) -> char {
        match (self.flags & LIMITED != 0, self.flags & KOD != 0) {
            (true, true) => 'K',
            (true, false) => 'L',
            _ => '.',
        }
    }

    fn host_and_port(&self) -> (&str, &str) {
        let (host, port) = self.address.rsplit_once(':').unwrap_or((&self.address, ""));
        (host.trim_start_matches('[').trim_end_matches(']'), port)
    }
}

/// The list as the classic ntpq prints it.
pub(super) fn table(now: NtpTimestamp, entries: &[Entry], names: Names) -> String {
    let mut text = format!("lstint avgint rstr r m v  count rport remote address\n{}\n", "=".repeat(78));
    for entry in entries {
        let (host, port) = entry.host_and_port();
        let host = host.parse().map_or_else(|_| host.to_owned(), |address| names.of(address));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:>6} {:>6} {:>4x} {} {} {} {:>6} {port:>5} {host}",
            dates::seconds_between(entry.last, now).max(0),
            entry.interval(),
            entry.flags,
            entry.restriction(),
            entry.version_mode & 7,
            entry.version_mode >> 3 & 7,
            entry.count,
        );
    }
    text
}

/// The same for programs.
pub(super) fn json(now: NtpTimestamp, entries: &[Entry]) -> Value {
    entries
        .iter()
        .map(|entry| {
            let (host, port) = entry.host_and_port();
            json!({
                "address": host,
                "port": port.parse::<u16>().ok(),
                "last_s": dates::seconds_between(entry.last, now),
                "average_interval_s": entry.interval(),
                "restrict": entry.flags,
                "mode": entry.version_mode & 7,
                "version": entry.version_mode >> 3 & 7,
                "count": entry.count,
            })
        })
        .collect()
}
