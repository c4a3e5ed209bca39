//! A clock that is right, made of one that nobody may adjust.

use crate::wire::NtpTimestamp;

/// What stands between the machine's clock and the served one. [`VirtualClock::IDENTITY`] where the kernel's
/// clock itself is adjusted, or served as it is.
///
/// Three integers, so that workers and the program in the network driver reckon alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualClock {
    /// When `offset` is exact, on the machine's clock.
    pub reference: NtpTimestamp,
    /// What is added at `reference`, in units of 2^-32 s.
    pub offset: i64,
    /// What is added more for every second since `reference`, in units of 2^-40 s (about 1e-12).
    pub rate: i64,
}

impl VirtualClock {
    /// The machine's clock as it is.
    pub const IDENTITY: Self = Self { reference: NtpTimestamp::UNKNOWN, offset: 0, rate: 0 };

    /// Units of [`VirtualClock::rate`] in one second per second.
    pub const RATE_UNIT: f64 = (1_u64 << 40) as f64;

    /// The served time when the machine's clock shows `machine`.
    #[inline]
    pub const fn apply(&self, machine: NtpTimestamp) -> NtpTimestamp {
        if self.offset == 0 && self.rate == 0 {
            return machine;
        }
        machine.offset_by(self.offset_at(machine))
    }

    /// What is added when the machine's clock shows `machine`, in units of 2^-32 s.
    pub const fn offset_at(&self, machine: NtpTimestamp) -> i64 {
        let elapsed = machine.signed_since(self.reference) as i128;
        self.offset.wrapping_add(((elapsed * self.rate as i128) >> 40) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1 << 32;

    #[test]
    fn the_identity_changes_nothing_and_others_add_offset_and_rate() {
        let reference = NtpTimestamp::from_unix(1_800_000_000, 0);
        assert_eq!(VirtualClock::IDENTITY.apply(reference), reference);
        // Five seconds behind, and 100 ppm slow.
        let rate = (100e-6 * VirtualClock::RATE_UNIT) as i64;
        let clock = VirtualClock { reference, offset: 5 * SECOND, rate };
        assert_eq!(clock.apply(reference).signed_since(reference), 5 * SECOND);
        let later = reference.offset_by(10_000 * SECOND);
        let added = clock.apply(later).signed_since(later) - 5 * SECOND;
        assert!((added - SECOND).abs() < 100, "a second more after 10 000 s, not {added}");
        let earlier = reference.offset_by(-10_000 * SECOND);
        let added = clock.apply(earlier).signed_since(earlier) - 5 * SECOND;
        assert!((added + SECOND).abs() < 100, "a second less 10 000 s before, not {added}");
    }

    #[test]
    fn it_wraps_with_the_era() {
        let end = NtpTimestamp::from_bits(u64::MAX);
        let clock = VirtualClock { reference: end, offset: SECOND, rate: 0 };
        assert_eq!(clock.apply(end).to_bits(), (SECOND - 1) as u64);
    }
}
