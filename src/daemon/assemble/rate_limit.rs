//! `discard`, `limit` and `mru` → [`RateLimit`].

use crate::config::{Config, Mru};
use crate::limits;
use crate::server::RateLimit;

/// ntpd's `discard` and ntpsec's `limit` as one token bucket. Where both are, the stricter of their numbers
/// hold; where neither is, ntpsec's defaults do, because ntpd's would refuse three requests in a row.
pub(super) fn rate_limit(config: &Config) -> RateLimit {
    /// What ntpd's average leaves room for.
    const DISCARD_BURST: u32 = 8;
    const SECOND: f64 = 1e9;
    let every = |per_second: f64| (SECOND / per_second) as u64;
    let seconds = |seconds: u64| seconds * SECOND as u64;

    let limit = config.limit.unwrap_or_default();
    let mut bucket = RateLimit {
        headway_ns: every(limit.average_per_second),
        burst: limit.burst_packets as u32,
        kod_headway_ns: if limit.kod_per_second > 0.0 { every(limit.kod_per_second) } else { 0 },
        sources: match config.mru {
            Mru::Entries(entries) => entries as usize,
            Mru::Kilobytes(kilobytes) => kilobytes as usize * 1024 / limits::LIMITED_SOURCE_BYTES,
        }
        .min(limits::LIMITED_SOURCES_MAX),
        ..RateLimit::default()
    };
    if let Some(discard) = config.discard {
        bucket.headway_ns = bucket.headway_ns.max(seconds(1 << discard.average_log2_seconds));
        bucket.burst = bucket.burst.min(DISCARD_BURST);
        // Requests that left the client so far apart may arrive a little closer.
        bucket.minimum_ns = seconds(discard.minimum_seconds.into()) / 16 * 15;
    }
    bucket
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn of(text: &str) -> RateLimit {
        let (config, _) = config::load(Path::new("test.conf"), &mut |_| Ok(text.into())).expect("in memory");
        rate_limit(&config)
    }

    #[test]
    fn k7_discard_and_limit_become_one_bucket() {
        let default = RateLimit::default();
        assert_eq!(of(""), default, "ntpsec's");
        let ntpd = RateLimit { headway_ns: 8_000_000_000, burst: 8, minimum_ns: 1_875_000_000, ..default };
        assert_eq!(of("discard\n"), default, "a line without options is an error");
        assert_eq!(of("discard minimum 2\n"), ntpd, "and the rest of ntpd's defaults");
        assert_eq!(of("discard average 0 minimum 0\n"), RateLimit { burst: 8, ..default });
        let ntpsec = RateLimit { headway_ns: 100_000_000, burst: 5, kod_headway_ns: 0, ..default };
        assert_eq!(of("limit average 10 burst 5 kod 0\n"), ntpsec);
        let both = RateLimit { burst: 5, kod_headway_ns: 0, ..ntpd };
        assert_eq!(of("limit average 10 burst 5 kod 0\ndiscard average 3\n"), both);
        assert_eq!(of("mru maxdepth 600\n").sources, 600);
        assert_eq!(of("mru maxmem 1024\n").sources, limits::LIMITED_SOURCES);
        assert_eq!(of("mru maxmem 4294967295\n").sources, limits::LIMITED_SOURCES_MAX);
        // The least and the most that may be written.
        of("limit average 0.001 burst 1000000 kod 1e-300\ndiscard average 17 minimum 3600\n");
    }
}
