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

/// Chooses the requests that are stamped.
#[derive(Debug)]
pub(crate) struct Sampler {
    every: u32,
    left: u32,
}

impl Sampler {
    /// The first one of each sample is chosen.
    pub(crate) fn new(stamps: TxStamps) -> Self {
        match stamps {
            TxStamps::Off => Self { every: 0, left: 0 },
            TxStamps::OneIn(every) => Self { every, left: 1 },
        }
    }

    /// Whether the next request is chosen.
    #[inline]
    pub(crate) fn choose(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        if self.left == 0 {
            self.left = self.every;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(stamps: TxStamps) -> Vec<bool> {
        let mut sampler = Sampler::new(stamps);
        (0..5).map(|_| sampler.choose()).collect()
    }

    #[test]
    fn samples_are_as_large_as_was_asked_for() {
        assert_eq!(chosen(TxStamps::Off), [false; 5]);
        assert_eq!(chosen(TxStamps::OneIn(1)), [true; 5]);
        assert_eq!(chosen(TxStamps::OneIn(2)), [true, false, true, false, true]);
    }

    #[test]
    fn high_rates_are_sampled() {
        assert_eq!(TxStamps::for_rate(Some(49_999)), TxStamps::OneIn(1));
        assert_eq!(TxStamps::for_rate(Some(50_000)), TxStamps::OneIn(64));
        assert_eq!(TxStamps::for_rate(None), TxStamps::OneIn(64));
    }
}
