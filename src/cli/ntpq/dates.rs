//! Times as ntpq prints them.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::wire::NtpTimestamp;

/// A stamp as servers write it: `0xSSSSSSSS.FFFFFFFF`.
pub(super) fn stamp(text: &str) -> Option<NtpTimestamp> {
    let (seconds, fraction) = text.strip_prefix("0x")?.split_once('.')?;
    let part = |text| u32::from_str_radix(text, 16).ok();
    Some(NtpTimestamp::from_bits((u64::from(part(seconds)?) << 32) | u64::from(part(fraction)?)))
}

/// A stamp and what the calendar says, in local time: `eeadd289.8ed9a445  Sun, Nov 22 2026 20:36:41.558`.
pub(super) fn date(stamp: NtpTimestamp) -> String {
    let bits = stamp.to_bits();
    let (seconds, nanoseconds) = stamp.to_unix(unix_now());
    let calendar = Timestamp::new(seconds, nanoseconds as i32).map_or_else(
        |_| "?".to_owned(),
        |instant| {
            instant.to_zoned_datetime(TimeZone::system()).strftime("%a, %b %e %Y %k:%M:%S.%3f").to_string()
        },
    );
    format!("{:08x}.{:08x}  {calendar}", bits >> 32, bits & 0xFFFF_FFFF)
}

/// Seconds since 1970.
pub(super) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The clock of this host, as a stamp.
pub(super) fn now() -> NtpTimestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    NtpTimestamp::from_unix(unix_now(), since.subsec_nanos())
}

/// Whole seconds from `earlier` to `now`.
pub(super) fn seconds_between(earlier: NtpTimestamp, now: NtpTimestamp) -> i64 {
    (now.signed_since(earlier) + (1 << 31)) >> 32
}

/// An interval in four columns: seconds up to 2048, then minutes, hours and days.
pub(super) fn interval(seconds: i64) -> String {
    if seconds <= 0 {
        return "-".to_owned();
    }
    if seconds <= 2048 {
        return seconds.to_string();
    }
    let minutes = (seconds + 29) / 60;
    if minutes <= 300 {
        return format!("{minutes}m");
    }
    let hours = (minutes + 29) / 60;
    if hours <= 96 {
        return format!("{hours}h");
    }
    let days = (hours + 11) / 24;
    if days <= 999 { format!("{days}d") } else { format!("{}y", (days + 182) / 365) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_fit_four_columns() {
        for (seconds, text) in [
            (-5, "-"),
            (0, "-"),
            (1, "1"),
            (2048, "2048"),
            (2049, "34m"),
            (18_000, "300m"),
            (18_100, "5h"),
            (345_600, "96h"),
            (350_000, "4d"),
            (86_400 * 999, "999d"),
            (86_400 * 3650, "10y"),
        ] {
            assert_eq!(interval(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn stamps_are_read_and_shown() {
        let read = stamp("0xeeadd289.8ed9a445").unwrap();
        assert_eq!(read.to_bits(), 0xEEAD_D289_8ED9_A445);
        assert!(date(read).starts_with("eeadd289.8ed9a445  Sun, Nov 22 2026 "), "{}", date(read));
        for text in ["eeadd289.8ed9a445", "0xeeadd289", "0x.1", "0xzz.1", ""] {
            assert!(stamp(text).is_none(), "{text}");
        }
        let later = NtpTimestamp::from_bits(read.to_bits() + (3 << 32) + (1 << 31));
        assert_eq!(seconds_between(read, later), 4);
        assert_eq!(seconds_between(later, read), -3);
    }
}
