//! The four stamps of a reply.

use ntpring::snapshot::VirtualClock;
use ntpring::wire::NtpTimestamp;

use crate::packets::{between, plain};
use crate::tier::{Tier, synchronised};

const HOUR: i64 = 3600 << 32;

pub(crate) fn s18_reference_receive_transmit_are_in_order<T: Tier>() {
    let set_at = |offset: i64| {
        move |now: NtpTimestamp| {
            let mut state = synchronised(now);
            state.system.reference_time = now.offset_by(offset);
            state
        }
    };
    // The clock was set an hour ago, just now, or by a daemon that was quicker than the datagram.
    for offset in [-HOUR, 0, HOUR] {
        let Some(mut tier) = T::start(set_at(offset)) else { return };
        let reply = tier.reply(&plain(1));
        assert_ne!(reply.reference, 0);
        assert!(between(reply.reference, reply.receive) >= 0, "{reply:?}");
        assert!(between(reply.receive, reply.transmit) > 0, "{reply:?}");
        if offset < 0 {
            assert!(between(reply.reference, reply.receive) >= HOUR, "{reply:?}");
        }
    }
}

pub(crate) fn s19_origin_is_the_requests_transmit<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    let mut random = fastrand::Rng::with_seed(19);
    for transmit in [0, 1, u64::MAX].into_iter().chain((0..50).map(|_| random.u64(..))) {
        assert_eq!(tier.reply(&plain(transmit)).origin, transmit);
    }
}

pub(crate) fn s20_receive_and_transmit_are_the_times_of_arrival_and_departure<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    for _ in 0..50 {
        let sent = tier.now().to_bits();
        let reply = tier.reply(&plain(1));
        let returned = tier.now().to_bits();
        // Random bits may make a stamp seem earlier by a nanosecond, or later by the precision.
        assert!(between(sent, reply.receive) >= -4, "sent at {sent:x}: {reply:?}");
        assert!(between(reply.receive, reply.transmit) > 0, "{reply:?}");
        assert!(between(reply.transmit, returned) >= -(1 << 10), "returned at {returned:x}: {reply:?}");
    }
}

pub(crate) fn s22_bits_below_precision_are_random<T: Tier>() {
    const ROUNDS: usize = 10_000;
    let Some(mut tier) = T::start(synchronised) else { return };
    let precision = synchronised(tier.now()).system.precision.log2();
    let mut low_nibbles = [[0_usize; 16]; 2];
    let mut ones = vec![0_usize; (32 + precision) as usize];
    for _ in 0..ROUNDS {
        let reply = tier.reply(&plain(1));
        low_nibbles[0][(reply.receive & 15) as usize] += 1;
        low_nibbles[1][(reply.transmit & 15) as usize] += 1;
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += ((reply.transmit >> bit) & 1) as usize;
        }
    }
    for (name, counts) in ["receive", "transmit"].into_iter().zip(low_nibbles) {
        let expected = ROUNDS as f64 / 16.0;
        let chi_squared: f64 = counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
        // 15 degrees of freedom: more than 65 once in thirty million runs.
        assert!(chi_squared < 65.0, "{name}: chi² {chi_squared} of {counts:?}");
    }
    for (bit, count) in ones.into_iter().enumerate() {
        // Six standard deviations of 50 each.
        assert!((4700..5300).contains(&count), "bit {bit} of transmit was set {count} times in {ROUNDS}");
    }
}

pub(crate) fn s23_the_three_stamps_differ<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    for _ in 0..100 {
        let reply = tier.reply(&plain(tier.now().to_bits()));
        assert_ne!(reply.transmit, reply.receive);
        assert_ne!(reply.receive, reply.origin);
    }
}

pub(crate) fn s24_receive_stamps_increase<T: Tier>() {
    let Some(mut tier) = T::start(synchronised) else { return };
    let mut last = tier.reply(&plain(1));
    for _ in 0..1000 {
        let next = tier.reply(&plain(1));
        assert!(
            between(last.receive, next.receive) > 0 && between(last.transmit, next.receive) > 0,
            "{last:?} {next:?}"
        );
        last = next;
    }
}

pub(crate) fn a_virtual_clock_moves_every_stamp_alike<T: Tier>() {
    const BEHIND: i64 = 5 << 32;
    // Five seconds behind, and 1000 ppm slow: after the hour since the last update 3.6 s more.
    let rate = (1e-3 * VirtualClock::RATE_UNIT) as i64;
    let corrected = |now: NtpTimestamp| {
        let mut state = synchronised(now);
        state.system.clock = VirtualClock { reference: now.offset_by(-HOUR), offset: BEHIND, rate };
        state.system.updated = state.system.clock.apply(now);
        state.system.reference_time = state.system.clock.apply(now.offset_by(-HOUR));
        state
    };
    let Some(mut tier) = T::start(corrected) else { return };
    let (before, reply, after) = (tier.now(), tier.reply(&plain(1)), tier.now());
    let correction = BEHIND + (3600 << 32) / 1000;
    let window = after.signed_since(before) + (1 << 24);
    let moved = |stamp: u64| NtpTimestamp::from_bits(stamp).signed_since(before) - correction;
    for (name, stamp) in [("receive", reply.receive), ("transmit", reply.transmit)] {
        assert!((-(1 << 24)..window).contains(&moved(stamp)), "{name}: {reply:?}");
    }
    assert!(between(reply.receive, reply.transmit) > 0, "{reply:?}");
    assert!(between(reply.reference, reply.receive) >= HOUR, "{reply:?}");
}
