//! Every request is found again, for as long as it should be.

use super::*;

const TIMEOUT: u64 = 100;

fn launch(flight: &mut Flight, sent: u64) -> u64 {
    let cookie = flight.cookie(0, fastrand::u64(..));
    flight.launch(cookie, Kind::V4, 0, sent, sent);
    cookie
}

fn settle(flight: &mut Flight, cookie: u64) -> Option<(Slot, State)> {
    let (place, slot) = flight.find(cookie)?;
    Some((slot, flight.settle(place)))
}

/// How many were lost and how many silent.
fn expire(flight: &mut Flight, now: u64) -> (usize, usize) {
    let mut told = Vec::new();
    flight.expire(now, |_, state| told.push(state));
    let count = |state| told.iter().filter(|&&told| told == state).count();
    (count(State::Lost), count(State::Silent))
}

#[test]
fn every_cookie_finds_its_request_once() {
    let mut flight = Flight::new(1024, 1, TIMEOUT);
    let cookies: Vec<u64> = (0..1024).map(|sent| launch(&mut flight, sent)).collect();
    assert_eq!((flight.room(), flight.waiting()), (0, 1024));
    for (sent, &cookie) in cookies.iter().enumerate() {
        let (slot, state) = settle(&mut flight, cookie).unwrap();
        assert_eq!((slot.sent, state), (sent as u64, State::Waiting));
        assert_eq!(settle(&mut flight, cookie).unwrap().1, State::Settled);
        assert!(settle(&mut flight, cookie ^ 1 << 63).is_none());
    }
    assert!(!flight.is_waiting(0));
}

#[test]
fn an_empty_place_is_no_request_with_cookie_zero() {
    assert!(Flight::new(1024, 1, TIMEOUT).find(0).is_none());
}

#[test]
fn cookies_of_a_batch_belong_to_the_requests_in_their_order() {
    let mut flight = Flight::new(1024, 1, TIMEOUT);
    let cookies = [flight.cookie(0, 1 << 40), flight.cookie(1, 2 << 40), flight.cookie(2, 3 << 40)];
    flight.launch(cookies[0], Kind::V4, 0, 0, 0);
    flight.scrub(cookies[1]);
    flight.launch(cookies[2], Kind::V4, 0, 2, 2);
    assert_eq!(flight.waiting(), 2);
    assert_eq!(
        cookies.map(|c| settle(&mut flight, c).unwrap().1),
        [State::Waiting, State::Settled, State::Waiting]
    );
}

#[test]
fn a_lost_request_is_remembered_until_its_place_is_needed() {
    let mut flight = Flight::new(1024, 1, TIMEOUT);
    let (first, second) = (launch(&mut flight, 0), launch(&mut flight, 1));
    assert_eq!(expire(&mut flight, TIMEOUT), (0, 0));
    assert_eq!(expire(&mut flight, TIMEOUT + 1), (1, 0));
    assert_eq!((flight.room(), flight.waiting()), (1023, 1));
    assert_eq!(settle(&mut flight, first).unwrap().1, State::Lost);
    assert_eq!(settle(&mut flight, first).unwrap().1, State::Settled);
    for _ in 0..1023 {
        launch(&mut flight, 50);
    }
    assert!(settle(&mut flight, first).is_none());
    assert_eq!(settle(&mut flight, second).unwrap().1, State::Waiting);
}

#[test]
fn requests_of_the_warm_up_are_remembered_but_do_not_count() {
    let mut flight = Flight::new(1024, 1, TIMEOUT);
    let warm = launch(&mut flight, 5);
    flight.count_from(10);
    let counted = launch(&mut flight, 10);
    assert_eq!(expire(&mut flight, 1_000), (1, 0));
    let mut counts = |cookie| {
        let (slot, _) = settle(&mut flight, cookie).unwrap();
        flight.counts(slot.intended)
    };
    assert_eq!((counts(warm), counts(counted)), (false, true));
}

#[test]
fn a_send_stamp_finds_its_request_while_it_waits() {
    let mut flight = Flight::new(1024, 1, TIMEOUT);
    let (first, second) = (launch(&mut flight, 0), launch(&mut flight, 1));
    flight.stamp(first, 77);
    flight.stamp(second ^ 1 << 63, 99);
    assert_eq!(settle(&mut flight, first).unwrap().0.stamped, 77);
    assert_eq!(settle(&mut flight, second).unwrap().0.stamped, 0);
}

#[test]
fn the_table_holds_twice_what_can_wait_or_is_refused() {
    assert_eq!(Flight::slots_for(1_000_000, Duration::from_secs(1)), Some(1 << 21));
    assert_eq!(Flight::slots_for(10, Duration::from_secs(1)), Some(1 << 10));
    assert_eq!(Flight::slots_for(1_000_000, Duration::from_secs(10)), None);
    assert_eq!(Flight::slots_for(u64::MAX, Duration::MAX), None);
}

#[test]
fn silence_is_right_for_some_kinds_unless_something_came() {
    let mut flight = Flight::new(1024, 2, TIMEOUT);
    let mut launch = |kind, client| {
        let cookie = flight.cookie(0, fastrand::u64(..));
        flight.launch(cookie, kind, client, 0, 0);
        cookie
    };
    launch(Kind::Mode7, 0);
    launch(Kind::Truncated, 0);
    launch(Kind::Mode1, 0);
    let echoed = launch(Kind::Garbage, 1);
    let oversized = launch(Kind::Oversized, 1);
    launch(Kind::V4, 1);
    assert_eq!((flight.waiting(), flight.owed()), (6, 1));
    // One of the two nameless requests of client 0 was answered, twice; one of client 1 by its name.
    assert!(flight.blame(0) && flight.blame(0) && !flight.blame(0) && !flight.blame(2));
    for cookie in [echoed, oversized] {
        let (place, _) = flight.find(cookie).unwrap();
        flight.spoil(place);
    }
    // Lost: both nameless ones of client 0, garbage and oversized, and the one without an answer.
    assert_eq!(expire(&mut flight, TIMEOUT + 1), (5, 1));
    assert_eq!((flight.waiting(), flight.owed()), (0, 0));
    assert!(!flight.blame(0) && !flight.blame(1));
}

#[test]
fn control_queries_are_found_by_number_and_socket() {
    const AGAIN: u64 = 1 << 16;
    let mut flight = Flight::new(1 << 17, 2, TIMEOUT);
    let mut sequences = Vec::new();
    for number in 0..=AGAIN {
        let (cookie, sequence) = (flight.cookie(0, fastrand::u64(..)), flight.sequence(0));
        let kind = if number % AGAIN == 0 || number == 7 { Kind::Mode6 } else { Kind::V4 };
        flight.launch(cookie, kind, 1, number, number);
        sequences.push((sequence, cookie));
    }
    let found = |flight: &Flight, number: usize, client| {
        flight.find_control(sequences[number].0, client).map(|(place, slot)| (place, slot.cookie))
    };
    assert_eq!(found(&flight, 7, 1), Some((7, sequences[7].1)));
    assert_eq!((found(&flight, 7, 0), found(&flight, 8, 1)), (None, None));
    // Two have the same number: the newer one, then the one that still waits.
    let newest = sequences[AGAIN as usize];
    assert_eq!((newest.0, sequences[0].0), (0, 0));
    assert_eq!(found(&flight, 0, 1), Some((AGAIN as usize, newest.1)));
    flight.settle(AGAIN as usize);
    assert_eq!(found(&flight, 0, 1), Some((0, sequences[0].1)));
}

#[test]
fn an_interleaved_request_is_known_by_its_complement_too() {
    let mut flight = Flight::new(1024, 1, TIMEOUT);
    for (kind, known) in [(Kind::Interleaved, true), (Kind::V4, false)] {
        let cookie = flight.cookie(0, fastrand::u64(..));
        flight.launch(cookie, kind, 0, 0, 0);
        assert!(flight.find(cookie).is_some());
        assert_eq!(flight.find(!cookie).is_some(), known);
    }
}
