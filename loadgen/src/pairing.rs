//! Brings requests and replies together: each datagram becomes one count, each answered request one latency.

use ntpring::sys::exchange;

use crate::accounting::{Counts, Invalid, Unsent};
use crate::clock::StampClock;
use crate::flight::{Flight, Slot, State};
use crate::measures::Measures;
use crate::packet::{self, Says};

/// What one thread knows about its requests.
#[derive(Debug)]
pub(crate) struct Pairing {
    pub(crate) flight: Flight,
    pub(crate) counts: Counts,
    pub(crate) measures: Measures,
    stamps: StampClock,
    timeout: u64,
}

impl Pairing {
    /// For requests that wait `timeout` nanoseconds in `flight`.
    pub(crate) fn new(flight: Flight, timeout: u64) -> Self {
        Self {
            flight,
            counts: Counts::default(),
            measures: Measures::default(),
            stamps: StampClock::default(),
            timeout,
        }
    }

    /// The next request has left.
    pub(crate) fn sent(&mut self, cookie: u64, client: usize, intended: u64, sent: u64) {
        self.flight.launch(cookie, client, intended, sent);
        self.counts.sent += 1;
        self.measures.lag.record(sent.saturating_sub(intended));
    }

    /// The next request has its cookie but will not be sent.
    pub(crate) fn given_up(&mut self, cookie: u64, reason: Unsent) {
        self.flight.scrub(cookie);
        self.unsent(reason);
    }

    /// A request was not sent.
    pub(crate) fn unsent(&mut self, reason: Unsent) {
        self.counts.unsent[reason as usize] += 1;
    }

    /// Gives up requests whose timeout is over.
    pub(crate) fn expire(&mut self, now: u64) {
        self.counts.lost += self.flight.expire(now);
    }

    /// A datagram has come.
    pub(crate) fn received(&mut self, datagram: &exchange::Reply<'_>) {
        let reply = match packet::read(datagram.payload) {
            Ok(reply) => reply,
            Err(invalid) => return self.strange(invalid, datagram.client),
        };
        match self.flight.settle(reply.cookie) {
            None => self.strange(Invalid::Origin, datagram.client),
            Some((_, State::Settled)) => self.counts.duplicate += 1,
            Some((slot, state)) => self.answered(datagram, slot, state, reply.says),
        }
    }

    /// What comes to a socket that waits for nothing cannot be meant as a reply.
    fn strange(&mut self, invalid: Invalid, client: usize) {
        if self.flight.is_waiting(client) {
            self.counts.invalid[invalid as usize] += 1;
        } else {
            self.counts.unsolicited += 1;
        }
    }

    fn answered(&mut self, datagram: &exchange::Reply<'_>, slot: Slot, state: State, says: Says) {
        if state == State::Lost {
            self.counts.lost -= 1;
        }
        if let Says::Kod(kod) = says {
            self.counts.kod[kod as usize] += 1;
            return;
        }
        let arrival = self.stamps.arrival(datagram.stamp, datagram.seen, slot.sent);
        self.counts.unstamped += u64::from(!arrival.stamped);
        // A reply that was in time by the kernel's stamp is in time, even if the generator read it late.
        if arrival.at - slot.sent > self.timeout {
            self.counts.late += 1;
            return;
        }
        self.counts.answered += 1;
        self.counts.unsynchronised += u64::from(says == Says::Unsynchronised);
        self.measures.intended.record(arrival.at.saturating_sub(slot.intended));
    }
}
