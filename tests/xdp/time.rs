//! The program's clock: it is this machine's UTC, leap seconds included, and is not believed once somebody
//! has set it or the daemon is silent.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ntpring::snapshot::VirtualClock;
use ntpring::sys::clock::LeapSecond;
use ntpring::wire::NtpTimestamp;
use ntpring::xdp::Timescale;

use crate::program::{Tested, serving};
use crate::rules::{CLIENTS, request_from};

const SECOND: i64 = 1 << 32;
const SECOND_NS: u64 = 1_000_000_000;

/// The stamps of a reply, receive and transmit.
fn stamps(reply: &[u8]) -> [u64; 2] {
    [32, 40].map(|at| u64::from_be_bytes(reply[at..at + 8].try_into().unwrap()))
}

/// CLOCK_REALTIME as a timestamp of the current era.
fn utc() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let fraction = (u64::from(time.subsec_nanos()) << 32) / SECOND_NS;
    (time.as_secs() + 2_208_988_800) << 32 | fraction
}

/// A reply's stamps, asked for again while the program is interrupted.
fn ask(tested: &Tested) -> [u64; 2] {
    let replies = (0..100).filter_map(|_| tested.reply(&request_from(CLIENTS[0])));
    stamps(&replies.into_iter().next().expect("one of them is answered"))
}

#[test]
fn stamps_are_this_machine_s_utc() {
    let Some(mut tested) = Tested::new() else { return };
    tested.publish(&serving(&[]));
    for _ in 0..1000 {
        let before = utc();
        let [received, sent] = ask(&tested);
        let after = utc();
        // 300 ns of grace for how CLOCK_TAI and CLOCK_MONOTONIC are compared.
        assert!(
            before < received + 1300 && sent < after + 1300,
            "{before:x} {received:x} {sent:x} {after:x}"
        );
        assert!(received < sent);
    }
}

#[test]
fn bits_below_the_precision_are_random() {
    let Some(mut tested) = Tested::new() else { return };
    tested.publish(&serving(&[]));
    // 2^-24 s: eight bits of the transmit stamp; two of every receive stamp.
    let (mut ones, count) = ([0_u32; 10], 2000);
    for _ in 0..count {
        let [received, sent] = ask(&tested);
        for (bit, ones) in ones.iter_mut().enumerate() {
            let random = if bit < 8 { sent >> bit } else { received >> (bit - 8) };
            *ones += random as u32 & 1;
        }
    }
    // Ten standard deviations.
    assert!(ones.iter().all(|ones| ones.abs_diff(count / 2) < 224), "{ones:?} of {count}");
}

#[test]
fn a_clock_that_was_set_is_not_served() {
    let Some(mut tested) = Tested::new() else { return };
    for moved in [SECOND_NS as i64, -(SECOND_NS as i64), 2_000_000, -10_000, 37 * SECOND_NS as i64] {
        let mut then = Timescale::read();
        // As if CLOCK_TAI had been moved after the daemon looked at it.
        then.monotonic_to_tai -= moved;
        tested.publish_at(&serving(&[]), &then);
        // So far that the state seems to be of another time altogether, or less far.
        let passed = || tested.passed_for("clock") + tested.passed_for("state");
        let before = passed();
        assert_eq!(tested.reply(&request_from(CLIENTS[0])), None, "moved by {moved} ns");
        assert_eq!(passed(), before + 1);
        // The daemon looks again.
        tested.publish(&serving(&[]));
        ask(&tested);
    }
}

#[test]
fn a_silent_daemon_is_not_answered_for() {
    let Some(mut tested) = Tested::new() else { return };
    tested.publish(&serving(&[]));
    thread::sleep(Duration::from_secs(2));
    ask(&tested);
    thread::sleep(Duration::from_millis(1400));
    assert_eq!(tested.reply(&request_from(CLIENTS[0])), None);
    assert_eq!(tested.passed_for("state"), 1);
}

#[test]
fn tai_s_distance_from_utc_is_taken_off() {
    let Some(mut tested) = Tested::new() else { return };
    let kernel = Timescale::read();
    let believed = Timescale { tai_offset: kernel.tai_offset + 37, ..kernel };
    tested.publish_at(&serving(&[]), &believed);
    let behind = utc().wrapping_sub(ask(&tested)[1]).cast_signed();
    assert!((behind - 37 * SECOND).abs() < SECOND / 10, "{behind}");
}

#[test]
fn where_the_clock_is_left_alone_its_correction_is_served() {
    let Some(mut tested) = Tested::new() else { return };
    let mut state = serving(&[]);
    // A minute behind, and 400 ppm slow since half an hour.
    let reference = state.system.updated.offset_by(-1800 * SECOND);
    let rate = (400e-6 * VirtualClock::RATE_UNIT) as i64;
    state.system.clock = VirtualClock { reference, offset: 60 * SECOND, rate };
    tested.publish(&state);
    for _ in 0..3 {
        let [received, sent] = ask(&tested);
        let now = NtpTimestamp::from_bits(utc());
        let ahead = sent.wrapping_sub(now.to_bits()).cast_signed();
        let expected = state.system.clock.offset_at(now);
        assert!((ahead - expected).abs() < SECOND / 100, "{ahead} ahead, not {expected}");
        assert!(sent.wrapping_sub(received).cast_signed() > 0);
        thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn l4_a_leap_second_changes_the_time_at_its_instant() {
    const AHEAD: Duration = Duration::from_millis(300);
    let Some(mut tested) = Tested::new() else { return };
    for (leap, step) in [(LeapSecond::Inserted, -SECOND), (LeapSecond::Deleted, SECOND)] {
        let kernel = Timescale::read();
        let at = kernel.tai + AHEAD.as_nanos() as u64;
        tested.publish_at(&serving(&[]), &Timescale { leap: Some((leap, at)), ..kernel });
        // From the daemon's last word to well after the second, without another word of it.
        let (mut before, mut after) = (0, 0);
        while after < 100 {
            let ahead = ask(&tested)[1].wrapping_sub(utc()).cast_signed();
            if (ahead - step).abs() < SECOND / 10 {
                after += 1;
            } else {
                assert!(ahead.abs() < SECOND / 10, "{leap:?}: neither the old nor the new time: {ahead}");
                assert_eq!(after, 0, "{leap:?}: the old time after the new");
                before += 1;
            }
        }
        assert!(before > 0, "{leap:?}: it began at once");
        assert!(Timescale::read().tai >= at, "{leap:?}: it began too early");
    }
}
