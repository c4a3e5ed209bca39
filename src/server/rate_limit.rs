//! How often a `limited` address is answered: a token bucket for each, in a table that never grows.

use crate::limits;

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
            headway_ns: 1_000_000_000,
            burst: 20,
            minimum_ns: 0,
            kod_headway_ns: 2_000_000_000,
            leak_log2: Some(2),
            sources: limits::LIMITED_SOURCES,
        }
    }
}
