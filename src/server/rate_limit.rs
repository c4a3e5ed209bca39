//! How often a `limited` address is answered: a token bucket for each, in a table that never grows.

use std::net::IpAddr;

use self::table::{Bucket, Table};
use super::monitor::Limited;
use crate::limits;
use crate::wire::NtpTimestamp;

mod table;

const SECOND_NS: u64 = 1_000_000_000;

/// One token bucket's parameters, the same on every tier.
///
/// A bucket holds up to `burst` answers and earns one every `headway_ns`; an answer takes one out. Addresses
/// have a bucket each, IPv6 networks of 64 bits share one, and ports do not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Nanoseconds in which an answer is earned.
    pub headway_ns: u64,
    /// Answers that a bucket holds; at least 1.
    pub burst: u32,
    /// Nanoseconds that must lie between two answers, however many are in the bucket; 0: none.
    pub minimum_ns: u64,
    /// Nanoseconds that must lie between two kiss-o'-death packets; 0: none are sent.
    pub kod_headway_ns: u64,
    /// Requests beyond the limit are answered all the same with a probability of 1 in 2 to the power of this,
    /// or whoever forges a client's address could cut it off; `None`: never.
    pub leak_log2: Option<u8>,
    /// Buckets that each worker keeps.
    pub sources: usize,
}

impl Default for RateLimit {
    /// ntpsec's: one a second, 20 at once, a kiss-o'-death packet every 2 s; chrony's leak: a quarter.
    fn default() -> Self {
        Self {
            headway_ns: SECOND_NS,
            burst: 20,
            minimum_ns: 0,
            kod_headway_ns: 2 * SECOND_NS,
            leak_log2: Some(2),
            sources: limits::LIMITED_SOURCES,
        }
    }
}

impl RateLimit {
    /// The poll exponent that a kiss-o'-death packet asks for: the headway, and not less than the 8 s that
    /// are ntpd's default.
    pub fn kod_poll(&self) -> i8 {
        const SHORTEST: i8 = 3;
        const LONGEST: i8 = 17;
        (SHORTEST..LONGEST).find(|poll| SECOND_NS << poll >= self.headway_ns).unwrap_or(LONGEST)
    }

    /// What a whole bucket is worth, in nanoseconds.
    pub fn capacity_ns(&self) -> u64 {
        self.headway_ns.saturating_mul(u64::from(self.burst))
    }
}

/// What a request from a limited address deserves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Time.
    Answer,
    /// Time, although it is beyond the limit.
    Leak,
    /// A kiss-o'-death packet.
    Kiss,
    /// Silence.
    Refuse,
}

impl Judgement {
    /// Where it is beyond the limit: how that is remembered.
    pub(super) fn beyond(self) -> Option<Limited> {
        match self {
            Self::Answer => None,
            Self::Leak | Self::Refuse => Some(Limited::Beyond),
            Self::Kiss => Some(Limited::Kissed),
        }
    }
}

/// The buckets of one worker. Steering is by address, so no other worker sees the same source.
#[derive(Debug)]
pub(super) struct Limiter {
    table: Table,
    timeline: Timeline,
}

impl Limiter {
    /// Remembers nobody, until it is resized.
    pub(super) fn new() -> Self {
        Self { table: Table::new(0, [0; 2]), timeline: Timeline::new() }
    }

    /// Makes room for so many sources, 0 where nobody is limited. The buckets are lost, unless there is as
    /// much room already.
    pub(super) fn resize(&mut self, sources: usize, random: &mut fastrand::Rng) {
        if !self.table.has_room_for_just(sources) {
            self.table = Table::new(sources, [random.u64(..), random.u64(..)]);
        }
    }

    /// The next stamps may be of another timescale.
    pub(super) fn clock_stepped(&mut self) {
        self.timeline.lose_track();
    }

    /// Judges one request, and takes an answer out of its source's bucket if it deserves one. Without `kod`
    /// it is never a kiss; with `spent` it deserves none, because a tier in front of this one gave them all.
    /// Never inlined, so that a request that is not limited pays nothing.
    #[inline(never)]
    pub(super) fn judge(
        &mut self,
        source: IpAddr,
        received: NtpTimestamp,
        limit: &RateLimit,
        kod: bool,
        spent: bool,
        random: &mut fastrand::Rng,
    ) -> Judgement {
        let now = self.timeline.at(received);
        let Some(mut bucket) = self.table.bucket(key(source)) else { return Judgement::Answer };
        if spent {
            empty(&mut bucket, now, limit);
        } else if take(&mut bucket, now, limit) {
            return Judgement::Answer;
        }
        let may_kiss = strain(&mut bucket, now);
        if kod && may_kiss && limit.kod_headway_ns > 0 {
            *bucket.strained_until = bucket.strained_until.saturating_add(limit.kod_headway_ns);
            return Judgement::Kiss;
        }
        let leaks = limit.leak_log2.is_some_and(|log2| random.u64(..).trailing_zeros() >= u32::from(log2));
        if leaks { Judgement::Leak } else { Judgement::Refuse }
    }
}

/// Takes an answer out of the bucket, if one is there and the last one was long enough ago.
fn take(bucket: &mut Bucket<'_>, now: u64, limit: &RateLimit) -> bool {
    // A bucket may be emptier than one can be now, if the parameters were others then.
    let capacity = limit.capacity_ns();
    let full_at = (*bucket.full_at).clamp(now, now.saturating_add(capacity));
    let full_at_then = full_at.saturating_add(limit.headway_ns);
    let is_there = full_at_then - now <= capacity;
    let is_due = now.saturating_sub(*bucket.taken_at) >= limit.minimum_ns;
    *bucket.full_at = full_at;
    if is_there && is_due {
        *bucket.full_at = full_at_then;
        *bucket.taken_at = now;
    }
    is_there && is_due
}

/// The answers were given elsewhere.
fn empty(bucket: &mut Bucket<'_>, now: u64, limit: &RateLimit) {
    *bucket.full_at = now.saturating_add(limit.capacity_ns());
    *bucket.taken_at = now;
}

/// Who exceeds the limit by so many requests a second for long is no client that would heed a kiss.
const HOPELESS_PER_SECOND: u64 = 4;
/// How long a source that was hopeless must be quiet before it is thought better of.
const PAROLE_NS: u64 = 30 * SECOND_NS;

/// Remembers one more request beyond the limit; whether its source may get a kiss.
///
/// Each such request pushes the next kiss away by a quarter of a second, and a kiss does by its headway. So
/// with more than four of them a second there is no kiss at all, and with less it comes at most once in its
/// headway.
fn strain(bucket: &mut Bucket<'_>, now: u64) -> bool {
    let strained_until = (*bucket.strained_until).max(now);
    if strained_until - now < PAROLE_NS {
        *bucket.strained_until = strained_until.saturating_add(SECOND_NS / HOPELESS_PER_SECOND);
    }
    strained_until == now
}

/// What a source is known by: an IPv4 address, or the first 64 bits of an IPv6 address, which is what a
/// client gets to choose its addresses from.
fn key(source: IpAddr) -> u64 {
    /// IPv6 prefixes that begin so are multicast, and never a source.
    const V4: u64 = 0xFF << 56;
    match source.to_canonical() {
        IpAddr::V4(v4) => V4 | u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64,
    }
}

/// Turns receive stamps into nanoseconds that never run backwards: buckets must not stay empty for an hour
/// because the clock was set back by one.
#[derive(Debug)]
struct Timeline {
    /// The newest stamp, unless the clock was stepped since.
    newest: Option<NtpTimestamp>,
    now: u64,
}

impl Timeline {
    /// Times begin here: later than any headway after 0, which is what an empty bucket says.
    const BEGIN: u64 = 1 << 50;
    /// Sockets are drained one after the other, so their stamps are not in order. What is older than this by
    /// units of 2^-32 s is of another timescale.
    const REORDERED: i64 = 10 << 32;

    fn new() -> Self {
        Self { newest: None, now: Self::BEGIN }
    }

    fn lose_track(&mut self) {
        self.newest = None;
    }

    fn at(&mut self, received: NtpTimestamp) -> u64 {
        let ahead = self.newest.map_or(0, |newest| received.signed_since(newest));
        if let Ok(ahead @ 1..) = u64::try_from(ahead) {
            let ahead_ns = ((u128::from(ahead) * u128::from(SECOND_NS)) >> 32) as u64;
            // Room for five centuries of steps.
            self.now = self.now.saturating_add(ahead_ns);
        }
        let is_reordered = (-Self::REORDERED..0).contains(&ahead);
        if !is_reordered {
            self.newest = Some(received);
        }
        self.now
    }
}

#[cfg(test)]
mod tests;
