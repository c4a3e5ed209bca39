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
        self.place_ahead(ahead) as u16
    }

    /// The place of the request that follows after `ahead` others.
    pub(crate) fn place_ahead(&self, ahead: usize) -> usize {
        self.place(self.next + ahead as u64)
    }

    /// How many places there are.
    pub(crate) fn places(&self) -> usize {
        self.slots.len()
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

    /// Whether this socket waits for requests whose answer would not tell which it is for.
    pub(crate) fn is_anonymous(&self, client: usize) -> bool {
        self.clients.get(client).is_some_and(|client| client.anonymous > 0)
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
mod tests;
