//! Time formats (RFC 5905 §6): arithmetic only, no tier.

use ntpring::wire::{NtpShort, NtpTimestamp};

/// 2036-02-07T06:28:16Z, the first second of era 1.
const ERA_1: i64 = 2_085_978_496;

#[test]
fn t1_unix_to_ntp() {
    for (unix, ntp) in [(0, 2_208_988_800_u64), (ERA_1, 0), (ERA_1 - 1, 0xFFFF_FFFF), (-2_208_988_800, 0)] {
        assert_eq!(NtpTimestamp::from_unix(unix, 0).to_bits(), ntp << 32, "Unix second {unix}");
    }
}

#[test]
fn t2_nanoseconds_never_carry() {
    let fraction = |nanoseconds| NtpTimestamp::from_unix(-2_208_988_800, nanoseconds).to_bits();
    assert_eq!(fraction(0), 0);
    assert_eq!(fraction(1), 4);
    assert_eq!(fraction(500_000_000), 0x8000_0000);
    assert_eq!(fraction(999_999_999), 0xFFFF_FFFB);
}

/// The offset and delay of RFC 5905 §8, in seconds.
fn offset_and_delay(stamps: [NtpTimestamp; 4]) -> (f64, f64) {
    let [t1, t2, t3, t4] = stamps;
    let seconds = |units: i64| units as f64 / 2_f64.powi(32);
    let (out, back) = (seconds(t2.signed_since(t1)), seconds(t3.signed_since(t4)));
    ((out + back) / 2.0, out - back)
}

#[test]
fn t3_offsets_across_eras() {
    let client = |at: i64| NtpTimestamp::from_unix(at, 250_000_000);
    // One end before the turn of the era, the other after it, and up to 34 years apart.
    for apart in [0, 1, 30, 3600, 34 * 31_556_952] {
        for sign in [1, -1] {
            let (here, there) = (ERA_1 - sign * 3, ERA_1 - sign * 3 + sign * apart);
            let stamps = [client(here), client(there + 1), client(there + 2), client(here + 3)];
            assert_eq!(offset_and_delay(stamps), ((sign * apart) as f64, 2.0), "{apart} s apart");
        }
    }
}

#[test]
fn t4_differences_match_wide_arithmetic() {
    let mut random = fastrand::Rng::with_seed(4);
    let edges = [0, 1, u64::MAX, 1 << 63, (1 << 63) - 1, (1 << 63) + 1, 0xFFFF_FFFF, 1 << 32];
    let pairs = edges.iter().flat_map(|a| edges.iter().map(|b| (*a, *b)));
    let random_pairs: Vec<_> = (0..10_000).map(|_| (random.u64(..), random.u64(..))).collect();
    for (later, earlier) in pairs.chain(random_pairs) {
        let exact = i128::from(later) - i128::from(earlier);
        let wrapped = (exact + (1 << 63)).rem_euclid(1 << 64) - (1 << 63);
        let difference = NtpTimestamp::from_bits(later).signed_since(NtpTimestamp::from_bits(earlier));
        assert_eq!(i128::from(difference), wrapped, "{later:#x} - {earlier:#x}");
    }
}

#[test]
fn t5_zero_is_unknown() {
    assert!(NtpTimestamp::from_bits(0).is_unknown());
    assert!(!NtpTimestamp::from_bits(1).is_unknown());
    // The instant whose bits are zero is not lost: it is served 0.23 ns later.
    let turn_of_the_era = NtpTimestamp::from_unix(ERA_1, 0);
    assert!(turn_of_the_era.is_unknown() && !turn_of_the_era.known().is_unknown());
}

#[test]
fn t6_the_pivot_decides_the_era() {
    let stamp = NtpTimestamp::from_unix(ERA_1 + 5, 7);
    let era = 1_i64 << 32;
    assert_eq!(stamp.to_unix(NtpTimestamp::PIVOT), (ERA_1 + 5, 7));
    assert_eq!(stamp.to_unix(NtpTimestamp::PIVOT - era), (ERA_1 + 5 - era, 7));
    assert_eq!(stamp.to_unix(NtpTimestamp::PIVOT + era), (ERA_1 + 5 + era, 7));
    // The edges: 2^31 s before the pivot is in, 2^31 s after it is not.
    let edge = NtpTimestamp::from_unix(NtpTimestamp::PIVOT - (era / 2), 0);
    assert_eq!(edge.to_unix(NtpTimestamp::PIVOT), (NtpTimestamp::PIVOT - (era / 2), 0));
    assert_eq!(edge.to_unix(NtpTimestamp::PIVOT + 1), (NtpTimestamp::PIVOT + (era / 2), 0));
}

#[test]
fn t7_short_format_saturates_and_rounds_up() {
    let from_seconds = |seconds: u64| NtpShort::from_nanoseconds(seconds * 1_000_000_000).to_bits();
    assert_eq!(from_seconds(1), 1 << 16);
    assert_eq!(from_seconds(65_535), 65_535 << 16);
    assert_eq!(from_seconds(65_536), u32::MAX);
    assert_eq!(NtpShort::from_nanoseconds(u64::MAX), NtpShort::MAX);
    assert_eq!(NtpShort::from_nanoseconds(0).to_bits(), 0);
    assert_eq!(NtpShort::from_nanoseconds(1).to_bits(), 1, "rounded up");
    assert_eq!(NtpShort::from_nanoseconds(15_259).to_bits(), 2, "just over one unit");
    assert_eq!(NtpShort::MAX.saturating_add(NtpShort::from_bits(1)), NtpShort::MAX);
}
