//! The requests whose replies may still come.

use std::time::Duration;

use crate::mix::{Expect, Kind};

/// A ring of the latest requests, oldest first. It remembers a request beyond its timeout until the place is
/// needed again, so that late and second replies are known for what they are.
#[derive(Debug)]
pub(crate) struct Flight {
    slots: Box<[Slot]>,
    /// Numbers of the oldest request that may be waiting and of the next request; a request's place is its
    /// number modulo the size.
    oldest: u64,
    next: u64,
    timeout: u64,
    /// Requests that were meant to leave earlier than this do not count.
    counts_from: u64,
    waiting: usize,
    /// Those of them that a server must answer.
    owed: usize,
    clients: Box<[Client]>,
}

/// What one socket waits for.
#[derive(Clone, Copy, Debug, Default)]
struct Client {
    waiting: u32,
    /// Those of them whose answer would not tell which request it is for.
    anonymous: u32,
    /// How many of those have been answered, although they should not.
    blamed: u32,
}

/// One request. Times are nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) cookie: u64,
    /// When it was meant to leave.
    pub(crate) intended: u64,
    /// When it was handed to the kernel.
    pub(crate) sent: u64,
    /// When it left by the kernel's stamp, in nanoseconds of CLOCK_REALTIME since 1970; 0 if that is not
    /// known.
    pub(crate) stamped: u64,
    client: u32,
    pub(crate) kind: Kind,
    state: State,
}

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its reply may come in time.
    Waiting,
    /// The same, and something has come that was no reply to it: it will not count as silent.
    Spoiled,
    /// Its reply did not come in time.
    Lost,
    /// No reply came in time, which is right for its kind.
    Silent,
    /// Its reply came, or it was never sent.
    Settled,
}

/// Largest table, in requests: 160 MiB.
pub(crate) const SLOTS_MAX: usize = 1 << 22;
const SLOTS_MIN: usize = 1 << 10;
/// The client of a place that was never used.
const NOBODY: u32 = u32::MAX;

impl Flight {
    /// The table size for `rate` requests per second: twice as many as can be waiting. `None` if that is more
    /// than [`SLOTS_MAX`].
    pub(crate) fn slots_for(rate: u64, timeout: Duration) -> Option<usize> {
        let waiting = u128::from(rate).saturating_mul(timeout.as_nanos()) / 1_000_000_000;
        let slots = usize::try_from(waiting).ok()?.checked_mul(2)?.checked_next_power_of_two()?;
        (slots <= SLOTS_MAX).then_some(slots.max(SLOTS_MIN))
    }

    /// A table of `slots` places, a power of two, for requests of `clients` sockets that wait `timeout`
    /// nanoseconds.
    pub(crate) fn new(slots: usize, clients: usize, timeout: u64) -> Self {
        // Not all zero bits, so that the memory is really written, and the loop never meets a page for the
        // first time.
        let empty = Slot {
            cookie: 0,
            intended: 0,
            sent: 0,
            stamped: 0,
            client: NOBODY,
            kind: Kind::Other,
            state: State::Settled,
        };
        Self {
            slots: vec![empty; slots.next_power_of_two()].into_boxed_slice(),
            oldest: 0,
            next: 0,
            timeout,
            counts_from: 0,
            waiting: 0,
            owed: 0,
            clients: vec![Client::default(); clients].into_boxed_slice(),
        }
    }

    /// How many more requests the table can take.
    pub(crate) fn room(&self) -> usize {
        self.slots.len() - (self.next - self.oldest) as usize
    }

    /// Requests that wait for their reply.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    /// Those of them that a server must answer.
    pub(crate) fn owed(&self) -> usize {
        self.owed
    }

    /// Whether a request of this socket waits for its reply.
    pub(crate) fn is_waiting(&self, client: usize) -> bool {
        self.clients.get(client).is_some_and(|client| client.waiting > 0)
    }

    /// The sequence number of the request that follows after `ahead` others: its place, as far as 16 bits go.
    pub(crate) fn sequence(&self, ahead: usize) -> u16 {
        self.place(self.next + ahead as u64) as u16
    }

    /// The cookie of the request that follows after `ahead` others: `random`, in which the request's place
    /// takes some bits. They are masked with others of the same random number, so that the cookie looks as
    /// random as it is unique.
    pub(crate) fn cookie(&self, ahead: usize, random: u64) -> u64 {
        let mask = self.mask();
        (random & !mask) | (((self.next + ahead as u64) ^ (random >> 32)) & mask)
    }

    /// Only requests that are meant to leave at `time` or later are counted as lost.
    pub(crate) fn count_from(&mut self, time: u64) {
        self.counts_from = time;
    }

    /// Whether a request that is meant to leave at this time counts.
    pub(crate) fn counts(&self, intended: u64) -> bool {
        intended >= self.counts_from
    }

    /// Notes when the kernel says that the waiting request with this cookie left.
    pub(crate) fn stamp(&mut self, cookie: u64, stamped: u64) {
        let place = self.place_of(cookie);
        let slot = &mut self.slots[place];
        if slot.cookie == cookie && slot.state == State::Waiting {
            slot.stamped = stamped;
        }
    }

    /// Enters the next request as sent.
    pub(crate) fn launch(&mut self, cookie: u64, kind: Kind, client: usize, intended: u64, sent: u64) {
        self.waiting += 1;
        self.owed += usize::from(kind.expects() == Expect::Answer);
        self.clients[client].waiting += 1;
        self.clients[client].anonymous += u32::from(kind.is_anonymous());
        let (client, state) = (client as u32, State::Waiting);
        self.enter(Slot { cookie, intended, sent, stamped: 0, client, kind, state });
    }

    /// Enters the next request as one that will not be sent.
    pub(crate) fn scrub(&mut self, cookie: u64) {
        let (kind, state) = (Kind::Other, State::Settled);
        self.enter(Slot { cookie, intended: 0, sent: 0, stamped: 0, client: 0, kind, state });
    }

    /// Gives up the requests whose timeout is over at `now`, and tells of each that counts its kind, and
    /// whether it is [`State::Lost`] or [`State::Silent`].
    pub(crate) fn expire(&mut self, now: u64, mut tell: impl FnMut(Kind, State)) {
        while self.oldest < self.next {
            let place = self.place(self.oldest);
            let slot = self.slots[place];
            if slot.is_waiting() {
                if now.saturating_sub(slot.sent) <= self.timeout {
                    break;
                }
                let state = self.state_at_expiry(&slot);
                self.leave(place, state);
                if self.counts(slot.intended) {
                    tell(slot.kind, state);
                }
            }
            self.oldest += 1;
        }
    }

    fn state_at_expiry(&mut self, slot: &Slot) -> State {
        let client = &mut self.clients[slot.client as usize];
        if slot.kind.expects() == Expect::Answer || slot.state == State::Spoiled {
            return State::Lost;
        }
        if slot.kind.is_anonymous() && client.blamed > 0 {
            client.blamed -= 1;
            return State::Lost;
        }
        State::Silent
    }

    /// The place of the request with this cookie, and the request. An interleaved one is known by the
    /// complement of its cookie too, which leads to the same place.
    pub(crate) fn find(&self, cookie: u64) -> Option<(usize, Slot)> {
        let place = self.place_of(cookie);
        let slot = self.slots[place];
        let interleaved = slot.kind == Kind::Interleaved && slot.cookie == !cookie;
        let known = slot.client != NOBODY && (slot.cookie == cookie || interleaved);
        known.then_some((place, slot))
    }

    /// The control query of this socket that has this sequence number: one that waits, if there are several.
    pub(crate) fn find_control(&self, sequence: u16, client: usize) -> Option<(usize, Slot)> {
        let candidates = (usize::from(sequence)..self.slots.len()).step_by(1 << 16);
        candidates
            .map(|place| (place, self.slots[place]))
            .filter(|(_, slot)| slot.kind == Kind::Mode6 && slot.client as usize == client)
            .max_by_key(|(_, slot)| (slot.is_waiting(), slot.sent))
    }

    /// Something came for the request at `place` that was no reply to it.
    pub(crate) fn spoil(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        if slot.is_waiting() {
            slot.state = State::Spoiled;
        }
    }

    /// Something came that can only be the answer to one of this socket's requests that have no name: false
    /// if it waits for no more of them.
    pub(crate) fn blame(&mut self, client: usize) -> bool {
        let Some(client) = self.clients.get_mut(client) else { return false };
        let guilty = client.blamed < client.anonymous;
        client.blamed += u32::from(guilty);
        guilty
    }

    /// The request at `place` has its reply; returns the state it was in.
    pub(crate) fn settle(&mut self, place: usize) -> State {
        let before = self.slots[place].state;
        if self.slots[place].is_waiting() {
            self.leave(place, State::Settled);
        } else {
            self.slots[place].state = State::Settled;
        }
        before
    }

    fn enter(&mut self, slot: Slot) {
        let place = self.place(self.next);
        self.slots[place] = slot;
        self.next += 1;
    }

    /// Ends the waiting of the request at `place`.
    fn leave(&mut self, place: usize, state: State) {
        let slot = &mut self.slots[place];
        slot.state = state;
        self.waiting -= 1;
        self.owed -= usize::from(slot.kind.expects() == Expect::Answer);
        let client = &mut self.clients[slot.client as usize];
        client.waiting -= 1;
        client.anonymous -= u32::from(slot.kind.is_anonymous());
        client.blamed = client.blamed.min(client.anonymous);
    }

    fn place_of(&self, cookie: u64) -> usize {
        ((cookie ^ (cookie >> 32)) & self.mask()) as usize
    }

    fn place(&self, number: u64) -> usize {
        (number & self.mask()) as usize
    }

    fn mask(&self) -> u64 {
        self.slots.len() as u64 - 1
    }
}

impl Slot {
    fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting | State::Spoiled)
    }
}

#[cfg(test)]
mod tests {
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
}
