//! The lines of the configuration and the names in them: who is looked up when, and what becomes of the
//! addresses. Looking up is the daemon's; a resolver that hangs delays nobody's poll.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::seam::{Action, AssociationId};
use super::settings::{Family, Host, Source};
use super::units::after;
use crate::limits;

/// A name without an address is looked up again after so many seconds, then after twice as many.
const RETRY_MIN: u64 = 2;
const RETRY_MAX: u64 = 1024;

/// A name that had addresses is not looked up more often than this, in seconds.
const REFRESH: u64 = 64;

/// One line of the configuration.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: usize,
    pub(super) source: Source,
    /// The association id that a pool itself is shown under.
    pub(super) row: Option<AssociationId>,
    /// Addresses that refused us: never asked again.
    refused: Vec<IpAddr>,
    /// Addresses that did not answer: asked again only when there is no other.
    silent: Vec<IpAddr>,
    lookup: Lookup,
}

#[derive(Debug, Default)]
struct Lookup {
    /// The number of the question that is not answered yet.
    query: Option<u32>,
    /// When to ask next.
    next: Option<Duration>,
    /// When it was asked last.
    asked: Option<Duration>,
    retry: u64,
}

impl Line {
    pub(super) fn new(id: usize, source: Source, now: Duration) -> Self {
        let next = matches!(source.host, Host::Name(..)).then_some(now);
        let lookup = Lookup { next, retry: RETRY_MIN, ..Lookup::default() };
        Self { id, source, row: None, refused: Vec::new(), silent: Vec::new(), lookup }
    }

    pub(super) fn name(&self) -> Option<(&Arc<str>, Family)> {
        match &self.source.host {
            Host::Name(name, family) => Some((name, *family)),
            Host::Address(..) => None,
        }
    }

    pub(super) fn wake_at(&self) -> Option<Duration> {
        self.lookup.next
    }

    /// Whether this is the answer that is waited for.
    pub(super) fn asked(&self, query: u32) -> bool {
        self.lookup.query == Some(query)
    }

    /// The question that is due at `now`; at most one is under way.
    pub(super) fn timer(&mut self, query: u32, now: Duration) -> Option<Action> {
        if self.lookup.query.is_some() || self.lookup.next.is_none_or(|at| at > now) {
            return None;
        }
        let (host, family) = self.name()?;
        let action = Action::Resolve { query, host: Arc::clone(host), family };
        self.lookup.query = Some(query);
        self.lookup.next = None;
        self.lookup.asked = Some(now);
        Some(action)
    }

    /// Addresses would be welcome: the name is looked up as soon as that is decent.
    pub(super) fn want(&mut self, now: Duration) {
        if self.lookup.query.is_none() && self.lookup.next.is_none() && self.name().is_some() {
            let decent = self.lookup.asked.map_or(now, |asked| asked + Duration::from_secs(REFRESH));
            self.lookup.next = Some(decent.max(now));
        }
    }

    /// The answer came. Of its addresses, those that may be asked, each once, and no more of them than are
    /// ever looked at; or in how many seconds the next try is.
    pub(super) fn resolved(&mut self, addresses: &[IpAddr], now: Duration) -> Result<Vec<IpAddr>, u64> {
        self.lookup.query = None;
        let family = self.name().map_or(Family::Any, |(_, family)| family);
        let mut usable: Vec<IpAddr> = Vec::new();
        for address in addresses.iter().take(limits::RESOLVED_ADDRESSES) {
            let address = address.to_canonical();
            let is_server = !address.is_unspecified() && !address.is_multicast();
            let is_new = !usable.contains(&address) && !self.refused.contains(&address);
            if is_server && is_new && family.contains(address) {
                usable.push(address);
            }
        }
        if usable.is_empty() {
            let wait = self.lookup.retry;
            self.lookup.retry = (wait * 2).min(RETRY_MAX);
            self.lookup.next = Some(after(now, wait as f64));
            return Err(wait);
        }
        self.lookup.retry = RETRY_MIN;
        usable.sort_by_key(|address| self.silent.contains(address));
        Ok(usable)
    }

    /// An address refused us.
    pub(super) fn refuse(&mut self, address: IpAddr) {
        remember(&mut self.refused, address);
    }

    /// An address did not answer.
    pub(super) fn pass_over(&mut self, address: IpAddr) {
        remember(&mut self.silent, address);
    }
}

/// Adds an address to a list that is bounded: the oldest one is forgotten.
fn remember(list: &mut Vec<IpAddr>, address: IpAddr) {
    list.retain(|each| *each != address);
    if list.len() == limits::RESOLVED_ADDRESSES {
        list.remove(0);
    }
    list.push(address);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::client::settings::SourceOptions;

    fn line(family: Family) -> Line {
        let host = Host::Name("pool.example".into(), family);
        let source = Source { host, is_pool: true, options: SourceOptions::default() };
        Line::new(1, source, Duration::ZERO)
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn c26_a_failing_lookup_is_tried_again_ever_less_often() {
        let mut line = line(Family::Any);
        let (mut now, mut waits) = (Duration::ZERO, Vec::new());
        for query in 0..12 {
            assert!(line.timer(query, now).is_some(), "query {query}");
            assert!(line.timer(query, now).is_none(), "one question at a time");
            waits.push(line.resolved(&[], now).unwrap_err());
            now = line.wake_at().unwrap();
        }
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024]);
    }

    #[test]
    fn c26_a_name_that_had_addresses_is_looked_up_again_but_not_at_once() {
        let mut line = line(Family::Any);
        line.timer(1, at(0));
        line.resolved(&[Ipv4Addr::new(192, 0, 2, 1).into()], at(1)).unwrap();
        assert_eq!(line.wake_at(), None);
        line.want(at(10));
        assert_eq!(line.wake_at(), Some(at(64)));
        line.timer(2, at(64)).unwrap();
        line.want(at(300));
        assert_eq!(line.wake_at(), None, "a question is under way");
    }

    #[test]
    fn of_a_hundred_addresses_few_are_looked_at_and_useless_ones_are_left_out() {
        let mut any = line(Family::Any);
        let many: Vec<IpAddr> = (0..100).map(|n| Ipv4Addr::new(192, 0, 2, n).into()).collect();
        assert_eq!(any.resolved(&many, at(0)).unwrap().len(), limits::RESOLVED_ADDRESSES);
        any.refuse(many[0]);
        let twice =
            [many[0], many[1], many[1], "::ffff:192.0.2.1".parse().unwrap(), "0.0.0.0".parse().unwrap()];
        assert_eq!(any.resolved(&twice, at(0)).unwrap(), [many[1]]);
        let mut six = line(Family::V6);
        let both = ["2001:db8::1".parse().unwrap(), many[1]];
        assert_eq!(six.resolved(&both, at(0)).unwrap(), both[..1]);
    }
}
