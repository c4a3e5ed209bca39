//! Which requests the kernel stamps when they leave.

/// Send stamps cost a copy of each stamped datagram and a queue to read them from: about a quarter of the
/// rate if every request has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TxStamps {
    /// None.
    Off,
    /// One in so many, which is at least 1.
    OneIn(u32),
}

/// Below this rate, in requests per second, all requests are stamped unless it is said otherwise.
const ALL_BELOW: u64 = 50_000;
/// At higher rates one request in so many.
const SAMPLE: u32 = 64;

impl TxStamps {
    /// What suits `rate` requests per second; `None` is as many as the server answers.
    pub(crate) fn for_rate(rate: Option<u64>) -> Self {
        Self::OneIn(if rate.is_some_and(|rate| rate < ALL_BELOW) { 1 } else { SAMPLE })
    }
}
