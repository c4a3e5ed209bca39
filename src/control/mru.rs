//! READ_MRU: who has asked lately, the longest unseen first.

use super::format::stamp;
use super::fragment::{DATA_MAX, FRAGMENTS_MAX};
use super::text::{Variable, parse};
use super::view::{MonitoredClient, View};
use super::writer::List;
use crate::wire::NtpTimestamp;

/// Octets kept for what ends the list.
const TRAILER: usize = 96;
/// Octets of one entry, at most.
const ENTRY: usize = 256;

/// What a request asks for.
#[derive(Debug)]
pub(super) struct Question {
    /// What it was given to prove its address.
    pub(super) nonce: String,
    /// Octets of data that it can take.
    room: usize,
    /// Entries that it wants at most.
    limit: usize,
    /// Only clients with at least so many packets.
    minimum_count: u64,
    /// Only clients that were heard from in the last so many seconds.
    maximum_age: Option<i64>,
    /// Only clients with all, and with any, of these restrictions.
    all_of: u16,
    any_of: u16,
    /// Those up to this moment it has already.
    after: Option<NtpTimestamp>,
}

impl Question {
    /// From the request's text; `None` if a value cannot be.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let list = parse(data);
        let text = |name: &str| {
            list.iter().find(|variable| variable.name == name).map(|variable| variable.value.as_str())
        };
        let number = |name: &str, otherwise: u64| match text(name) {
            None => Some(otherwise),
            Some(value) => integer(value),
        };
        let fragments = number("frags", FRAGMENTS_MAX as u64)?.clamp(1, FRAGMENTS_MAX as u64) as usize;
        Some(Self {
            nonce: text("nonce").unwrap_or_default().to_owned(),
            room: fragments * DATA_MAX,
            limit: usize::try_from(number("limit", u64::MAX)?.max(1)).unwrap_or(usize::MAX),
            minimum_count: number("mincount", 0)?,
            maximum_age: text("maxlstint")
                .map(|value| integer(value).and_then(|age| i64::try_from(age).ok()))
                .map_or(Some(None), |age| age.map(Some))?,
            all_of: u16::try_from(number("resall", 0)?).ok()?,
            any_of: u16::try_from(number("resany", 0)?).ok()?,
            after: list
                .iter()
                .filter(|variable| variable.name.starts_with("last."))
                .filter_map(last)
                .max_by_key(|stamp| stamp.to_bits()),
        })
    }

    fn wants(&self, client: &MonitoredClient, now: NtpTimestamp) -> bool {
        self.after.is_none_or(|after| client.last.signed_since(after) > 0)
            && client.count >= self.minimum_count
            && self.maximum_age.is_none_or(|age| now.signed_since(client.last) >> 32 <= age)
            && client.restrict & self.all_of == self.all_of
            && (self.any_of == 0 || client.restrict & self.any_of != 0)
    }

    /// The answer: as many entries as there is room for; behind the last of all, what tells that it is.
    pub(super) fn answer(&self, view: &View<'_>, nonce: String) -> Vec<u8> {
        let mut list = List::default();
        list.push("nonce", nonce);
        let mut wanted = view.monitor.clients.iter().filter(|client| self.wants(client, view.now));
        let mut written = 0;
        let complete = loop {
            if written == self.limit || list.len() + ENTRY + TRAILER > self.room {
                break wanted.next().is_none();
            }
            let Some(client) = wanted.next() else { break true };
            push(&mut list, written, client);
            written += 1;
        };
        if complete {
            let newest = view.monitor.clients.last().map_or(NtpTimestamp::UNKNOWN, |client| client.last);
            list.push("now", stamp(view.now));
            list.push("last.newest", stamp(newest));
        }
        list.finish()
    }
}

fn push(list: &mut List, number: usize, client: &MonitoredClient) {
    list.push(format_args!("addr.{number}"), client.address);
    list.push(format_args!("last.{number}"), stamp(client.last));
    list.push(format_args!("first.{number}"), stamp(client.first));
    list.push(format_args!("ct.{number}"), client.count);
    list.push(format_args!("mv.{number}"), client.version_mode);
    list.push(format_args!("rs.{number}"), format_args!("0x{:x}", client.restrict));
}

fn integer(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn last(variable: &Variable) -> Option<NtpTimestamp> {
    let (seconds, fraction) = variable.value.strip_prefix("0x")?.split_once('.')?;
    let part = |text| u32::from_str_radix(text, 16).ok();
    Some(NtpTimestamp::from_bits((u64::from(part(seconds)?) << 32) | u64::from(part(fraction)?)))
}
