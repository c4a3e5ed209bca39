use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn unix_round_trips_to_the_nanosecond(
        seconds in -2_000_000_000_i64..20_000_000_000,
        nanoseconds in 0_u32..1_000_000_000,
        years in -67_i64..=67,
    ) {
        let stamp = NtpTimestamp::from_unix(seconds, nanoseconds);
        let pivot = seconds + years * 31_556_952;
        prop_assert_eq!(stamp.to_unix(pivot), (seconds, nanoseconds));
    }

    #[test]
    fn conversion_never_panics(bits: u64, pivot: i64, seconds: i64, nanoseconds: u32) {
        let (_, below) = NtpTimestamp::from_bits(bits).to_unix(pivot);
        prop_assert!(below < 1_000_000_000);
        let _ = NtpTimestamp::from_unix(seconds, nanoseconds);
    }

    #[test]
    fn offset_is_undone_by_difference(bits: u64, units: i64) {
        let stamp = NtpTimestamp::from_bits(bits);
        prop_assert_eq!(stamp.offset_by(units).signed_since(stamp), units);
    }

    #[test]
    fn fuzz_changes_only_what_the_clock_cannot_tell(bits: u64, random: u64, log2 in -32_i8..=-6) {
        let fuzzed = NtpTimestamp::from_bits(bits).fuzzed(Precision::from_log2(log2), random).to_bits();
        let insignificant = (1 << (32 + log2)) - 1;
        prop_assert_eq!(fuzzed & !insignificant, bits & !insignificant);
        prop_assert_eq!(fuzzed & insignificant, random & insignificant);
    }

    #[test]
    fn short_nanoseconds_are_never_understated(nanoseconds in 0_u64..65_535_000_000_000) {
        let short = NtpShort::from_nanoseconds(nanoseconds);
        prop_assert!(short.to_nanoseconds() + 1 >= nanoseconds, "{:?}", short);
        prop_assert!(short.to_nanoseconds() <= nanoseconds + 15_259);
    }
}

#[test]
fn a_fraction_beyond_the_last_nanosecond_is_the_next_second() {
    let stamp = NtpTimestamp::from_bits((NtpTimestamp::UNIX_EPOCH_SECONDS << 32) | 0xFFFF_FFFF);
    assert_eq!(stamp.to_unix(0), (1, 0));
}

#[test]
fn the_zero_instant_is_told_apart_from_unknown() {
    assert!(NtpTimestamp::UNKNOWN.is_unknown());
    assert_eq!(NtpTimestamp::UNKNOWN.known().to_bits(), 1);
    assert_eq!(NtpTimestamp::from_bits(7).known().to_bits(), 7);
}
