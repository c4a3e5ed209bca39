//! The requests whose replies may still come.

use std::time::Duration;

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
    waiting_by_client: Box<[u32]>,
}

/// One request. Times are nanoseconds of CLOCK_MONOTONIC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    cookie: u64,
    /// When it was meant to leave.
    pub(crate) intended: u64,
    /// When it was handed to the kernel.
    pub(crate) sent: u64,
    /// When it left by the kernel's stamp, in nanoseconds of CLOCK_REALTIME since 1970; 0 if that is not
    /// known.
    pub(crate) stamped: u64,
    client: u32,
    state: State,
}

/// What has become of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Its reply may come in time.
    Waiting,
    /// Its reply did not come in time.
    Lost,
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
        let empty =
            Slot { cookie: 0, intended: 0, sent: 0, stamped: 0, client: NOBODY, state: State::Settled };
        Self {
            slots: vec![empty; slots.next_power_of_two()].into_boxed_slice(),
            oldest: 0,
            next: 0,
            timeout,
            counts_from: 0,
            waiting: 0,
            waiting_by_client: vec![0; clients].into_boxed_slice(),
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

    /// Whether a request of this socket waits for its reply.
    pub(crate) fn is_waiting(&self, client: usize) -> bool {
        self.waiting_by_client.get(client).is_some_and(|&waiting| waiting > 0)
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
    pub(crate) fn launch(&mut self, cookie: u64, client: usize, intended: u64, sent: u64) {
        self.waiting += 1;
        self.waiting_by_client[client] += 1;
        self.enter(Slot { cookie, intended, sent, stamped: 0, client: client as u32, state: State::Waiting });
    }

    /// Enters the next request as one that will not be sent.
    pub(crate) fn scrub(&mut self, cookie: u64) {
        self.enter(Slot { cookie, intended: 0, sent: 0, stamped: 0, client: 0, state: State::Settled });
    }

    /// Gives up the requests whose timeout is over at `now`; returns how many of them count.
    pub(crate) fn expire(&mut self, now: u64) -> u64 {
        let mut lost = 0;
        while self.oldest < self.next {
            let place = self.place(self.oldest);
            let slot = self.slots[place];
            if slot.state == State::Waiting {
                if now.saturating_sub(slot.sent) <= self.timeout {
                    break;
                }
                self.leave(place, State::Lost);
                lost += u64::from(self.counts(slot.intended));
            }
            self.oldest += 1;
        }
        lost
    }

    /// The request with this cookie and the state it was in. It is settled now.
    pub(crate) fn settle(&mut self, cookie: u64) -> Option<(Slot, State)> {
        let place = self.place_of(cookie);
        let slot = self.slots[place];
        if slot.cookie != cookie || slot.client == NOBODY {
            return None;
        }
        match slot.state {
            State::Waiting => self.leave(place, State::Settled),
            State::Lost | State::Settled => self.slots[place].state = State::Settled,
        }
        Some((slot, slot.state))
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
        self.waiting_by_client[slot.client as usize] -= 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: u64 = 100;

    fn launch(flight: &mut Flight, sent: u64) -> u64 {
        let cookie = flight.cookie(0, fastrand::u64(..));
        flight.launch(cookie, 0, sent, sent);
        cookie
    }

    #[test]
    fn every_cookie_finds_its_request_once() {
        let mut flight = Flight::new(1024, 1, TIMEOUT);
        let cookies: Vec<u64> = (0..1024).map(|sent| launch(&mut flight, sent)).collect();
        assert_eq!((flight.room(), flight.waiting()), (0, 1024));
        for (sent, &cookie) in cookies.iter().enumerate() {
            let (slot, state) = flight.settle(cookie).unwrap();
            assert_eq!((slot.sent, state), (sent as u64, State::Waiting));
            assert_eq!(flight.settle(cookie).unwrap().1, State::Settled);
            assert!(flight.settle(cookie ^ 1 << 63).is_none());
        }
        assert!(!flight.is_waiting(0));
    }

    #[test]
    fn an_empty_place_is_no_request_with_cookie_zero() {
        assert!(Flight::new(1024, 1, TIMEOUT).settle(0).is_none());
    }

    #[test]
    fn cookies_of_a_batch_belong_to_the_requests_in_their_order() {
        let mut flight = Flight::new(1024, 1, TIMEOUT);
        let cookies = [flight.cookie(0, 1 << 40), flight.cookie(1, 2 << 40), flight.cookie(2, 3 << 40)];
        flight.launch(cookies[0], 0, 0, 0);
        flight.scrub(cookies[1]);
        flight.launch(cookies[2], 0, 2, 2);
        assert_eq!(flight.waiting(), 2);
        assert_eq!(
            cookies.map(|c| flight.settle(c).unwrap().1),
            [State::Waiting, State::Settled, State::Waiting]
        );
    }

    #[test]
    fn a_lost_request_is_remembered_until_its_place_is_needed() {
        let mut flight = Flight::new(1024, 1, TIMEOUT);
        let (first, second) = (launch(&mut flight, 0), launch(&mut flight, 1));
        assert_eq!(flight.expire(TIMEOUT), 0);
        assert_eq!(flight.expire(TIMEOUT + 1), 1);
        assert_eq!((flight.room(), flight.waiting()), (1023, 1));
        assert_eq!(flight.settle(first).unwrap().1, State::Lost);
        assert_eq!(flight.settle(first).unwrap().1, State::Settled);
        for _ in 0..1023 {
            launch(&mut flight, 50);
        }
        assert!(flight.settle(first).is_none());
        assert_eq!(flight.settle(second).unwrap().1, State::Waiting);
    }

    #[test]
    fn requests_of_the_warm_up_are_remembered_but_do_not_count() {
        let mut flight = Flight::new(1024, 1, TIMEOUT);
        let warm = launch(&mut flight, 5);
        flight.count_from(10);
        let counted = launch(&mut flight, 10);
        assert_eq!(flight.expire(1_000), 1);
        let mut counts = |cookie| {
            let (slot, _) = flight.settle(cookie).unwrap();
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
        assert_eq!(flight.settle(first).unwrap().0.stamped, 77);
        assert_eq!(flight.settle(second).unwrap().0.stamped, 0);
    }

    #[test]
    fn the_table_holds_twice_what_can_wait_or_is_refused() {
        assert_eq!(Flight::slots_for(1_000_000, Duration::from_secs(1)), Some(1 << 21));
        assert_eq!(Flight::slots_for(10, Duration::from_secs(1)), Some(1 << 10));
        assert_eq!(Flight::slots_for(1_000_000, Duration::from_secs(10)), None);
        assert_eq!(Flight::slots_for(u64::MAX, Duration::MAX), None);
    }
}
