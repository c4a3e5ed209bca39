//! `mrulist`: who has asked the server lately.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::session::{Ask, Failure};
use super::{Names, dates, variables};
use crate::control::{FRAGMENTS_MAX, Opcode, Variable, parse};
use crate::wire::NtpTimestamp;

/// So many questions at most, so that no server can make the list endless.
const QUESTIONS_MAX: usize = 1 << 16;

/// Which clients are wanted, and in which order.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// What the server is told.
    parameters: String,
    order: Order,
    is_reversed: bool,
}

/// What the list is sorted by.
#[derive(Clone, Copy, Debug, Default)]
enum Order {
    /// How long ago somebody asked last: the newest comes first.
    #[default]
    Last,
    /// Seconds between packets.
    Interval,
    /// Number of packets.
    Count,
    /// IPv4 before IPv6.
    Address,
}

impl Wanted {
    /// `[limited] [kod] [mincount=N] [maxlstint=S] [resany=M] [resall=M] [sort=[-]ORDER]`
    ///
    /// # Errors
    /// Why a word cannot be, for the user.
    pub(super) fn parse(words: &[&str]) -> Result<Self, String> {
        let mut wanted = Self::default();
        let mut any_of = 0;
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let number =
                || variables::hexadecimal(value).ok_or_else(|| format!("***Invalid number in \"{word}\""));
            match name {
                "limited" if value.is_empty() => any_of |= LIMITED,
                "kod" if value.is_empty() => any_of |= KOD,
                "resany" => any_of |= number()?,
                "resall" => wanted.tell(name, format_args!("0x{:x}", number()?)),
                "mincount" | "maxlstint" => wanted.tell(name, format_args!("{}", number()?)),
                "sort" => wanted.sort_by(value)?,
                _ => return Err(format!("***\"{word}\" selects no clients; see \"help mrulist\"")),
            }
        }
        if any_of != 0 {
            wanted.tell("resany", format_args!("0x{any_of:x}"));
        }
        Ok(wanted)
    }

    fn tell(&mut self, name: &str, value: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = write!(self.parameters, ", {name}={value}");
    }

    fn sort_by(&mut self, value: &str) -> Result<(), String> {
        let name = value.strip_prefix('-');
        self.is_reversed = name.is_some();
        self.order = match name.unwrap_or(value) {
            "lstint" => Order::Last,
            "avgint" => Order::Interval,
            "count" => Order::Count,
            "addr" => Order::Address,
            _ => return Err(format!("***Sort order \"{value}\" is none of lstint, avgint, count and addr")),
        };
        Ok(())
    }

    fn sorted(&self, entries: BTreeMap<String, Entry>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = entries.into_values().collect();
        // Equals keep the order of the newest first.
        entries.sort_by_key(|entry| Reverse(entry.last.to_bits()));
        match self.order {
            Order::Last => {}
            Order::Interval => entries.sort_by_key(Entry::interval),
            Order::Count => entries.sort_by_key(|entry| entry.count),
            Order::Address => entries.sort_by_key(|entry| entry.host_and_port().0.parse::<IpAddr>().ok()),
        }
        if self.is_reversed {
            entries.reverse();
        }
        entries
    }
}

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

/// The entries that are wanted, and the server's time when it gave the last.
pub(super) fn fetch(server: &mut impl Ask, wanted: &Wanted) -> Result<(NtpTimestamp, Vec<Entry>), Failure> {
    let mut nonce = nonce(server)?;
    // By address: an entry that was used meanwhile comes again, and only its last state counts.
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    let mut resume = String::new();
    for _ in 0..QUESTIONS_MAX {
        let asked = format!("nonce={nonce}, frags={FRAGMENTS_MAX}{}{resume}", wanted.parameters);
        let response = server.ask(Opcode::ReadMru, 0, asked.as_bytes())?;
        let list = parse(&response.data);
        let given = entries_of(&list);
        let newest = given.last().cloned();
        entries.extend(given.into_iter().map(|entry| (entry.address.clone(), entry)));
        let now = dates::stamp(variables::value(&list, "now"));
        // `now` stands behind the last entry only.
        if now.is_some() || newest.is_none() {
            return Ok((now.unwrap_or_else(dates::now), wanted.sorted(entries)));
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
    Ok((dates::now(), wanted.sorted(entries)))
}

fn nonce(server: &mut impl Ask) -> Result<String, Failure> {
    let response = server.ask(Opcode::RequestNonce, 0, &[])?;
    Ok(variables::value(&parse(&response.data), "nonce").to_owned())
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
