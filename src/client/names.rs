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

/// A name that had addresses, of which more are wanted, is looked up again after so many seconds, then after
/// twice as many, up to [`RETRY_MAX`].
const REFRESH: u64 = 64;

/// A server of a pool that was passed over is not asked again for so many seconds; the next time, twice as
/// many.
const PASSED_OVER_MIN: u64 = 1024;
const PASSED_OVER_MAX: u64 = 86_400;

/// One line of the configuration.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: usize,
    pub(super) source: Source,
    /// The association id that a pool itself is shown under.
    pub(super) row: Option<AssociationId>,
    /// Addresses that refused us: never asked again.
    refused: Vec<IpAddr>,
    /// Addresses that did not answer, or were wrong, for long.
    passed_over: Vec<PassedOver>,
    /// Of a pool: a member went, and nobody has taken its place.
    is_short: bool,
    lookup: Lookup,
}

#[derive(Clone, Copy, Debug)]
struct PassedOver {
    address: IpAddr,
    until: Duration,
    /// How long that was, in seconds.
    wait: u64,
}

#[derive(Debug, Default)]
struct Lookup {
    /// The number of the question that is not answered yet.
    query: Option<u32>,
    /// When to ask next.
    next: Option<Duration>,
    /// When it was asked last.
    asked: Option<Duration>,
    /// Seconds from a failure to the next try.
    retry: u64,
    /// Seconds from a question that was answered to the next one.
    refresh: u64,
    was_answered: bool,
}

impl Line {
    pub(super) fn new(id: usize, source: Source, now: Duration) -> Self {
        let next = matches!(source.host, Host::Name(..)).then_some(now);
        let lookup = Lookup { next, retry: RETRY_MIN, refresh: REFRESH, ..Lookup::default() };
        let (refused, passed_over) = (Vec::new(), Vec::new());
        Self { id, source, row: None, refused, passed_over, is_short: false, lookup }
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
        if self.lookup.query.is_some() || self.lookup.next.is_some() || self.name().is_none() {
            return;
        }
        let wait = Duration::from_secs(self.lookup.refresh);
        self.lookup.refresh = (self.lookup.refresh * 2).min(RETRY_MAX);
        self.lookup.next = Some(self.lookup.asked.map_or(now, |asked| asked + wait).max(now));
    }

    /// What the name stands for is good enough: it is not looked up again until that changes.
    pub(super) fn rest(&mut self) {
        if self.lookup.was_answered {
            self.lookup.next = None;
            self.lookup.refresh = REFRESH;
        }
    }

    /// Whether a member of this pool went, and nobody has taken its place.
    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// A member of this pool is gone.
    pub(super) fn lost_a_member(&mut self) {
        self.is_short = true;
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
        self.lookup.was_answered = true;
        self.is_short = false;
        Ok(usable)
    }

    /// An address refused us.
    pub(super) fn refuse(&mut self, address: IpAddr) {
        self.refused.retain(|each| *each != address);
        remember(&mut self.refused, address);
    }

    /// An address did not answer, or was wrong, for long.
    pub(super) fn pass_over(&mut self, address: IpAddr, now: Duration) {
        let before = self.passed_over.iter().find(|each| each.address == address);
        let wait = before.map_or(PASSED_OVER_MIN, |each| (each.wait * 2).min(PASSED_OVER_MAX));
        self.passed_over.retain(|each| each.address != address);
        let until = now + Duration::from_secs(wait);
        remember(&mut self.passed_over, PassedOver { address, until, wait });
    }

    /// Whether an address may become a member of this pool. One that was passed over may again where there
    /// are too few others, after a while.
    pub(super) fn may_ask(&self, address: IpAddr, is_in_need: bool, now: Duration) -> bool {
        let before = self.passed_over.iter().find(|each| each.address == address);
        before.is_none_or(|each| is_in_need && each.until <= now)
    }
}

/// Adds to a list that is bounded: the oldest entry is forgotten.
fn remember<T>(list: &mut Vec<T>, entry: T) {
    if list.len() == limits::RESOLVED_ADDRESSES {
        list.remove(0);
    }
    list.push(entry);
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
    fn c26_as_long_as_more_is_wanted_a_name_is_looked_up_ever_less_often() {
        let mut line = line(Family::Any);
        let (mut now, mut waits) = (Duration::ZERO, Vec::new());
        for query in 0..8 {
            line.timer(query, now).unwrap();
            line.resolved(&[Ipv4Addr::new(192, 0, 2, 1).into()], now).unwrap();
            line.want(now);
            let next = line.wake_at().unwrap();
            waits.push((next - now).as_secs());
            now = next;
        }
        assert_eq!(waits, [64, 128, 256, 512, 1024, 1024, 1024, 1024]);
        line.rest();
        assert_eq!(line.wake_at(), None);
        line.want(now);
        assert_eq!(line.wake_at(), Some(now), "the last question was long ago");
    }

    #[test]
    fn a_name_that_never_had_an_address_finds_no_rest() {
        let mut line = line(Family::Any);
        line.rest();
        assert_eq!(line.wake_at(), Some(Duration::ZERO));
        line.timer(1, at(0)).unwrap();
        line.resolved(&[], at(1)).unwrap_err();
        line.rest();
        assert_eq!(line.wake_at(), Some(at(3)));
    }

    #[test]
    fn who_was_passed_over_is_asked_again_in_need_only_and_ever_later() {
        let mut line = line(Family::Any);
        let address = |host| IpAddr::from([192, 0, 2, host]);
        assert!(line.may_ask(address(1), false, at(0)));
        line.pass_over(address(1), at(0));
        assert!(!line.may_ask(address(1), true, at(1023)) && line.may_ask(address(1), true, at(1024)));
        assert!(!line.may_ask(address(1), false, at(1_000_000)), "there are enough others");
        assert!(line.may_ask(address(2), false, at(0)));
        let mut now = at(0);
        for wait in [2048, 4096, 8192, 16_384, 32_768, 65_536, 86_400, 86_400] {
            line.pass_over(address(1), now);
            let until = now + at(wait);
            assert!(!line.may_ask(address(1), true, until - at(1)) && line.may_ask(address(1), true, until));
            now = until;
        }
        for host in 0..100 {
            line.pass_over(address(host), now);
        }
        assert_eq!(line.passed_over.len(), limits::RESOLVED_ADDRESSES);
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
