use std::sync::Weak;

use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1 << 32;

fn synchronised() -> SystemVariables {
    let now = NtpTimestamp::from_unix(1_800_000_000, 0);
    SystemVariables::local_clock(LocalClock::default(), Precision::from_log2(-24), now)
}

#[test]
fn dispersion_grows_by_fifteen_microseconds_a_second() {
    let system = synchronised();
    for (seconds, units) in [(0, 0), (1, 1), (100, 99), (86_400, 84_935), (1_000_000, 983_040)] {
        let grown = system.root_dispersion_at(system.updated.offset_by(seconds * SECOND));
        assert_eq!(grown.to_bits() - system.root_dispersion.to_bits(), units, "after {seconds} s");
    }
}

#[test]
fn a_clock_set_back_does_not_shrink_the_dispersion() {
    let system = synchronised();
    assert_eq!(system.root_dispersion_at(system.updated.offset_by(-SECOND)), system.root_dispersion);
    assert_eq!(system.root_dispersion_at(system.updated.offset_by(i64::MIN)), system.root_dispersion);
}

#[test]
fn without_a_time_of_update_nothing_is_synchronised() {
    let system = SystemVariables { updated: NtpTimestamp::UNKNOWN, ..synchronised() };
    let dispersion = system.root_dispersion_at(NtpTimestamp::from_unix(1_800_000_000, 0));
    assert!(!system.is_synchronised(dispersion));
}

proptest! {
    #[test]
    fn dispersion_matches_wide_arithmetic(bits: u64, dispersion: u32, elapsed in 0..i64::MAX) {
        let updated = NtpTimestamp::from_bits(bits).known();
        let root_dispersion = NtpShort::from_bits(dispersion);
        let system = SystemVariables { updated, root_dispersion, ..synchronised() };
        let exact = u128::from(dispersion) * 1_000_000 + ((elapsed as u128 * 15) >> 16);
        let got = u128::from(system.root_dispersion_at(updated.offset_by(elapsed)).to_bits()) * 1_000_000;
        if got < u128::from(u32::MAX) * 1_000_000 {
            prop_assert!(got + 1 >= exact && got <= exact + 1_000_016, "{} for {}", got, exact);
        } else {
            prop_assert!(exact + 1_000_016 >= u128::from(u32::MAX) * 1_000_000);
        }
    }
}

#[test]
fn readers_see_the_newest_value() {
    let mut publisher = Publisher::new(1);
    let (mut early, mut late) = (publisher.subscribe(), publisher.subscribe());
    assert_eq!((**early.load(), **late.load()), (1, 1));
    publisher.publish(2);
    assert_eq!((**early.load(), *publisher.current()), (2, 2));
    publisher.publish(3);
    assert_eq!((**early.load(), **late.load()), (3, 3));
}

#[test]
fn a_retired_value_lives_as_long_as_a_reader_holds_it_and_is_freed_by_the_publisher() {
    let mut publisher = Publisher::new(String::from("first"));
    let mut reader = publisher.subscribe();
    let first: Weak<String> = Arc::downgrade(reader.load());

    publisher.publish(String::from("second"));
    assert!(first.upgrade().is_some(), "the reader has not loaded since");
    reader.load();
    assert!(first.upgrade().is_some(), "the reader let go of it, but does not free it");
    publisher.publish(String::from("third"));
    assert!(first.upgrade().is_none(), "the publisher frees it at the next occasion");
    assert_eq!(publisher.retired.len(), 1);
}

#[test]
fn readers_on_other_threads_only_ever_see_whole_values() {
    let mut publisher = Publisher::new([0_u64; 8]);
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let mut published = publisher.subscribe();
            std::thread::spawn(move || {
                let mut last = 0;
                while last < 2000 {
                    let value = **published.load();
                    assert!(
                        value.iter().all(|word| *word == value[0]) && value[0] >= last,
                        "{value:?} after {last}"
                    );
                    last = value[0];
                }
            })
        })
        .collect();
    for round in 1..=2000 {
        publisher.publish([round; 8]);
    }
    for reader in readers {
        reader.join().unwrap();
    }
}
