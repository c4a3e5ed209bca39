//! Wire formats to seconds and back. The filters reckon in `f64` seconds of differences, which are small.

use std::time::Duration;

use crate::wire::{NtpShort, NtpTimestamp, Precision};

/// 2^32: units of a timestamp in a second.
const UNIT: f64 = 4_294_967_296.0;

/// Units of 2^-32 s in seconds.
pub(super) fn seconds(units: i128) -> f64 {
    units as f64 / UNIT
}

/// Seconds in units of 2^-32 s, saturating.
pub(super) fn units(seconds: f64) -> i64 {
    (seconds * UNIT).round() as i64
}

/// How much later `later` is, in seconds.
pub(super) fn since(later: NtpTimestamp, earlier: NtpTimestamp) -> f64 {
    seconds(i128::from(later.signed_since(earlier)))
}

pub(super) fn short_seconds(short: NtpShort) -> f64 {
    f64::from(short.to_bits()) / 65_536.0
}

/// Rounded up, because an error bound may only be overstated; saturating.
pub(super) fn short(seconds: f64) -> NtpShort {
    NtpShort::from_bits((seconds.max(0.0) * 65_536.0).ceil() as u32)
}

/// What the clock can tell apart, in seconds.
pub(super) fn precision_seconds(precision: Precision) -> f64 {
    f64::from(precision.log2()).exp2()
}

/// `later` − `earlier` in seconds, either way round.
pub(super) fn between(later: Duration, earlier: Duration) -> f64 {
    if later >= earlier { (later - earlier).as_secs_f64() } else { -(earlier - later).as_secs_f64() }
}

/// `start` and so many seconds, which may be huge or not a number.
pub(super) fn after(start: Duration, seconds: f64) -> Duration {
    // A wake-up further away than a thousand years is none.
    start + Duration::from_secs_f64(seconds.clamp(0.0, 3e10))
}
