//! How the program turns its clock, CLOCK_TAI, into the time that is served: worked out here, so that it has
//! one multiplication to do.

use super::layout::{SCALE_BITS, State};
use crate::sys::clock::{self, LeapSecond, TaiReading};
use crate::wire::NtpTimestamp;

const SECOND_NS: i64 = 1_000_000_000;

/// The machine's clocks as they stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timescale {
    /// CLOCK_TAI when this was read, in nanoseconds.
    pub tai: u64,
    /// CLOCK_TAI − CLOCK_MONOTONIC in nanoseconds: only setting the clock changes it.
    pub monotonic_to_tai: i64,
    /// CLOCK_TAI − CLOCK_REALTIME in seconds: 0 where nobody has told the kernel.
    pub tai_offset: i32,
    /// A leap second to come, and the CLOCK_TAI at which it begins, in nanoseconds.
    pub leap: Option<(LeapSecond, u64)>,
}

impl Timescale {
    /// As the kernel has them now, with the leap second that it is armed for.
    pub fn read() -> Self {
        let TaiReading { tai, monotonic_to_tai, tai_offset, leap } = clock::tai();
        let now = Self { tai, monotonic_to_tai, tai_offset, leap: None };
        Self { leap: leap.map(|leap| (leap, now.leap_begins(leap))), ..now }
    }

    /// Whether the kernel, which says `tai_offset` and `leap` now, has been told something about leap seconds
    /// since this was read.
    pub(super) fn has_other_leap(&self, tai_offset: i32, leap: Option<LeapSecond>) -> bool {
        (self.tai_offset, self.leap.map(|(leap, _)| leap)) != (tai_offset, leap)
    }

    /// When a leap second at the end of this UTC day begins: one that is inserted after the last second, one
    /// that is deleted instead of it.
    fn leap_begins(&self, leap: LeapSecond) -> u64 {
        const DAY_NS: u64 = 86_400 * SECOND_NS as u64;
        let left = DAY_NS - self.utc(self.tai) % DAY_NS;
        match leap {
            LeapSecond::Inserted => self.tai + left,
            LeapSecond::Deleted => self.tai + left - SECOND_NS as u64,
        }
    }

    /// CLOCK_REALTIME at an instant of CLOCK_TAI before the leap second.
    fn utc(&self, tai: u64) -> u64 {
        tai.wrapping_add_signed(-i64::from(self.tai_offset) * SECOND_NS)
    }

    /// Writes it down for the program. `served` is what is served when the machine's clock shows its
    /// argument.
    pub(super) fn describe(&self, served: impl Fn(NtpTimestamp) -> NtpTimestamp, state: &mut State) {
        let ntp = |tai| {
            let utc = self.utc(tai) as i64;
            served(NtpTimestamp::from_unix(utc / SECOND_NS, (utc % SECOND_NS) as u32))
        };
        // A little earlier than now, because the program may be about to look at a request that came before.
        let base = self.tai - SECOND_NS as u64;
        // The state holds for 2^32 ns: so much of what is served passes in that time, whatever its rate.
        let passes = ntp(base + (1 << 32)).signed_since(ntp(base)) as u64;
        state.monotonic_to_tai = self.monotonic_to_tai;
        state.base = base;
        state.ntp = ntp(base).to_bits();
        state.scale = (passes >> (32 - SCALE_BITS)) as u32;
        // The last second comes again, or is left out.
        (state.leap_at, state.leap_step) = match self.leap {
            None => (u64::MAX, 0),
            Some((LeapSecond::Inserted, at)) => (at, (1_u64 << 32).wrapping_neg()),
            Some((LeapSecond::Deleted, at)) => (at, 1 << 32),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Noon of 30 June 2026, with TAI 37 s ahead.
    const NOON: i64 = 1_782_820_800;

    fn at_noon() -> Timescale {
        Timescale { tai: ((NOON + 37) * SECOND_NS) as u64, monotonic_to_tai: 0, tai_offset: 37, leap: None }
    }

    /// What the program makes of it, by the formula in responder.h.
    fn ntp(state: &State, tai: u64) -> u64 {
        let elapsed = tai - state.base;
        assert!(elapsed < 1 << 32);
        let step = if tai >= state.leap_at { state.leap_step } else { 0 };
        (state.ntp + ((elapsed * u64::from(state.scale)) >> SCALE_BITS)).wrapping_add(step)
    }

    #[test]
    fn the_program_s_formula_gives_utc_within_a_nanosecond() {
        let mut state = State::default();
        at_noon().describe(|machine| machine, &mut state);
        for passed in [-1_000_000_000_i64, -1, 0, 1, 999_999_999, 3_000_000_000] {
            let unix = NOON * SECOND_NS + passed;
            let expected = NtpTimestamp::from_unix(unix / SECOND_NS, (unix % SECOND_NS) as u32);
            let got = ntp(&state, at_noon().tai.wrapping_add_signed(passed));
            assert!(got.abs_diff(expected.to_bits()) <= 5, "{passed}: {got:x} {expected:x?}");
        }
    }

    #[test]
    fn a_served_clock_with_offset_and_rate_is_followed() {
        let noon = NtpTimestamp::from_unix(NOON, 0);
        // A second ahead and 100 ppm fast.
        let served =
            |machine: NtpTimestamp| machine.offset_by((1 << 32) + machine.signed_since(noon) / 10_000);
        let mut state = State::default();
        at_noon().describe(served, &mut state);
        let got = ntp(&state, at_noon().tai + 2 * SECOND_NS as u64);
        let expected = served(NtpTimestamp::from_unix(NOON + 2, 0)).to_bits();
        assert!(got.abs_diff(expected) <= 5, "{got:x} {expected:x}");
    }

    #[test]
    fn what_the_kernel_is_told_of_leap_seconds_is_noticed() {
        let armed = Timescale { leap: Some((LeapSecond::Inserted, at_noon().tai + 1)), ..at_noon() };
        for (scale, tai_offset, leap, is_other) in [
            (at_noon(), 37, None, false),
            (at_noon(), 0, None, true),
            (at_noon(), 37, Some(LeapSecond::Inserted), true),
            (armed, 37, Some(LeapSecond::Inserted), false),
            (armed, 37, Some(LeapSecond::Deleted), true),
            (armed, 37, None, true),
            // It has passed.
            (armed, 38, None, true),
        ] {
            assert_eq!(scale.has_other_leap(tai_offset, leap), is_other, "{scale:?}: {tai_offset}, {leap:?}");
        }
    }

    #[test]
    fn leap_seconds_begin_at_the_end_of_the_day() {
        let (half_a_day, midnight) = (43_200 * SECOND_NS as u64, NtpTimestamp::from_unix(NOON + 43_200, 0));
        for (leap, begins, step) in [(LeapSecond::Inserted, 0, -1), (LeapSecond::Deleted, SECOND_NS, 1)] {
            let mut at_end = at_noon();
            at_end.leap = Some((leap, at_noon().leap_begins(leap)));
            at_end.tai += half_a_day - 2 * SECOND_NS as u64;
            assert_eq!(at_end.leap_begins(leap), at_noon().leap_begins(leap));
            let mut state = State::default();
            at_end.describe(|machine| machine, &mut state);
            let leap_at = at_noon().tai + half_a_day - begins as u64;
            let before = midnight.offset_by(-((begins << 32) / SECOND_NS));
            assert!(ntp(&state, leap_at - 1).abs_diff(before.to_bits()) <= 10, "{leap:?}");
            let after = before.offset_by(step << 32);
            assert!(ntp(&state, leap_at).abs_diff(after.to_bits()) <= 5, "{leap:?}");
        }
    }
}
