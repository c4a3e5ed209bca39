//! Brings requests and replies together: each datagram becomes one count, each answered request one latency.

use ntpring::sys::clock::Timespec;
use ntpring::sys::exchange;
use ntpring::wire::{NtpTimestamp, Packet};

use crate::accounting::{Counts, Invalid, KindCounts, Unsent};
use crate::acquaintances::Acquaintances;
use crate::clock::{self, Arrival, StampClock};
use crate::flight::{Flight, Slot, State};
use crate::keys::Key;
use crate::measures::Measures;
use crate::mix::{Expect, Kind};
use crate::packet::{self, Claim, Reply, Says};

/// What one thread knows about its requests.
#[derive(Debug)]
pub(crate) struct Pairing {
    pub(crate) flight: Flight,
    pub(crate) counts: Counts,
    /// Of the current second.
    pub(crate) measures: Box<Measures>,
    /// Whether any request was ever answered, in the warm-up too.
    pub(crate) heard: bool,
    stamps: StampClock,
    timeout: u64,
    /// What replies to signed requests must be signed with.
    key: Option<Key>,
    /// If interleaved requests are sent.
    met: Option<Acquaintances>,
}

impl Pairing {
    /// For requests that wait `timeout` nanoseconds in `flight`; so many clients ask in interleaved mode, if
    /// any do.
    pub(crate) fn new(flight: Flight, timeout: u64, key: Option<Key>, interleaved: Option<u64>) -> Self {
        Self {
            met: interleaved.map(|clients| Acquaintances::new(clients, flight.places())),
            flight,
            counts: Counts::default(),
            measures: Box::default(),
            heard: false,
            stamps: StampClock::default(),
            timeout,
            key,
        }
    }

    /// The request that follows after `ahead` others is this client's: the receive timestamp that it may
    /// name, 0 if there is none.
    pub(crate) fn ask(&mut self, ahead: usize, client: u64) -> u64 {
        let place = self.flight.place_ahead(ahead);
        self.met.as_mut().map_or(0, |met| met.ask(place, client))
    }

    /// The client has named it, which it may do once.
    pub(crate) fn forget(&mut self, client: u64) {
        if let Some(met) = &mut self.met {
            met.forget(client);
        }
    }

    /// The warm-up is over: nothing has happened yet, but that nobody may be there.
    pub(crate) fn begin(&mut self) {
        let unreachable = if self.heard { 0 } else { self.counts.unreachable };
        self.counts = Counts { unreachable, ..Counts::default() };
        self.measures.clear();
    }

    /// A request's time has come.
    pub(crate) fn scheduled(&mut self, intended: u64) {
        self.counts.scheduled += u64::from(self.flight.counts(intended));
    }

    /// The next request has left.
    pub(crate) fn sent(&mut self, cookie: u64, kind: Kind, client: usize, intended: u64, sent: u64) {
        self.flight.launch(cookie, kind, client, intended, sent);
        if self.flight.counts(intended) {
            self.counts.sent += 1;
            self.of(kind).sent += 1;
            self.measures.lag.record(sent.saturating_sub(intended));
        }
    }

    /// The next request has its cookie but will not be sent.
    pub(crate) fn given_up(&mut self, cookie: u64, intended: u64, reason: Unsent) {
        self.flight.scrub(cookie);
        self.unsent(intended, reason);
    }

    /// A request was not sent.
    pub(crate) fn unsent(&mut self, intended: u64, reason: Unsent) {
        self.counts.unsent[reason as usize] += u64::from(self.flight.counts(intended));
    }

    /// The kernel says when a request left.
    pub(crate) fn stamped(&mut self, request: &[u8], stamp: Timespec) {
        let packet = Packet::new_checked(request);
        if let Ok(packet) = packet {
            self.flight.stamp(packet.transmit().to_bits(), clock::nanoseconds(stamp));
        }
    }

    /// Gives up requests whose timeout is over.
    pub(crate) fn expire(&mut self, now: u64) {
        let Self { flight, counts, .. } = self;
        flight.expire(now, |kind, state| {
            let of_kind = &mut counts.by_kind[kind as usize];
            if state == State::Silent {
                counts.silent += 1;
                of_kind.silent += 1;
            } else {
                counts.lost += 1;
                of_kind.lost += 1;
            }
        });
    }

    /// A datagram has come.
    pub(crate) fn received(&mut self, datagram: &exchange::Reply<'_>) {
        match self.judge(datagram) {
            Err(invalid) => self.strange(invalid, datagram.client),
            Ok((place, slot, reply)) => match self.flight.settle(place) {
                _ if !self.flight.counts(slot.intended) => self.heard = true,
                State::Settled => self.counts.duplicate += 1,
                state => self.answered(datagram, (place, &slot), state, &reply),
            },
        }
    }

    /// Which request a datagram answers, and with what.
    fn judge(&mut self, datagram: &exchange::Reply<'_>) -> Result<(usize, Slot, Reply), Invalid> {
        let client = datagram.client;
        if !datagram.from_target {
            return Err(Invalid::Sender);
        }
        let claim = packet::claim(datagram.payload)?;
        let found = match claim {
            Claim::Origin(origin) => self.flight.find(origin),
            Claim::Sequence(sequence) => self.flight.find_control(sequence, client),
            Claim::Private { .. } => None,
        };
        let Some((place, slot)) = found else {
            // Only the first of several datagrams accuses a request.
            let first = !matches!(claim, Claim::Private { first: false });
            return Err(match claim {
                _ if first && self.flight.blame(client) => Invalid::Unwanted,
                Claim::Origin(_) => Invalid::Origin,
                Claim::Sequence(_) => Invalid::Mode,
                // More of the same answer; or nobody has asked for any.
                Claim::Private { .. } if self.flight.is_anonymous(client) => Invalid::Unwanted,
                Claim::Private { .. } => Invalid::Mode,
            });
        };
        let (payload, cookie) = (datagram.payload.unwrap_or_default(), slot.cookie);
        let reply = match slot.kind.expects() {
            Expect::Silence => Err(Invalid::Unwanted),
            _ => packet::check(payload, slot.kind, cookie, self.key.as_ref()),
        };
        reply.map(|reply| (place, slot, reply)).inspect_err(|_| self.flight.spoil(place))
    }

    /// What comes to a socket that waits for nothing cannot be meant as a reply.
    fn strange(&mut self, invalid: Invalid, client: usize) {
        if self.flight.is_waiting(client) {
            self.counts.invalid[invalid as usize] += 1;
        } else {
            self.counts.unsolicited += 1;
        }
    }

    fn answered(
        &mut self,
        datagram: &exchange::Reply<'_>,
        (place, slot): (usize, &Slot),
        state: State,
        reply: &Reply,
    ) {
        self.heard = true;
        self.take_back(slot.kind, state);
        if let Says::Kod(kod) = reply.says {
            self.counts.kod[kod as usize] += 1;
            self.of(slot.kind).kod += 1;
            return;
        }
        let arrival = self.stamps.arrival(datagram.stamp, datagram.seen, slot.sent);
        self.counts.unstamped += u64::from(!arrival.stamped);
        // A reply that was in time by the kernel's stamp is in time, even if the generator read it late.
        if arrival.at - slot.sent > self.timeout {
            self.counts.late += 1;
            self.of(slot.kind).late += 1;
            return;
        }
        self.counts.answered += 1;
        self.of(slot.kind).answered += 1;
        self.counts.unsynchronised += u64::from(reply.says == Says::Unsynchronised);
        if slot.kind == Kind::Interleaved {
            self.counts.interleaved += u64::from(reply.stamps.is_none());
            if let Some(met) = &mut self.met {
                met.answered(place, reply.received.to_bits());
            }
        }
        self.measures.intended.record(arrival.at.saturating_sub(slot.intended));
        if let Some((received, transmitted)) = reply.stamps {
            self.measures
                .residence
                .record(ntp_nanoseconds(transmitted.signed_since(received)).unsigned_abs());
        }
        if arrival.stamped
            && slot.stamped > 0
            && let Some(stamp) = datagram.stamp
        {
            self.measure_stamped(slot, arrival, stamp, reply.stamps);
        }
    }

    /// What only requests with kernel stamps on both ways tell.
    fn measure_stamped(
        &mut self,
        slot: &Slot,
        arrival: Arrival,
        stamp: Timespec,
        server: Option<(NtpTimestamp, NtpTimestamp)>,
    ) {
        let (t1, t4) = (slot.stamped, clock::nanoseconds(stamp));
        // It left after it was handed to the kernel, unless the clock was set in between.
        let Some(wire) = t4.checked_sub(t1).filter(|&wire| wire <= arrival.at - slot.sent + CLOCKS_APART_NS)
        else {
            return;
        };
        self.measures.wire.record(wire);
        if let Some((t2, t3)) = server {
            let (t1, t4) = (ntp(t1), ntp(t4));
            // RFC 5905 §8: theta = T(B) - T(A) = 1/2 * [(T2-T1) + (T3-T4)], delta = (T4-T1) - (T3-T2).
            let there = ntp_nanoseconds(t2.signed_since(t1));
            let back = ntp_nanoseconds(t3.signed_since(t4));
            self.measures.offset.record(there.midpoint(back));
            let delay = wire.saturating_sub(ntp_nanoseconds(t3.signed_since(t2)).unsigned_abs());
            self.measures.offset_bound.record(delay / 2);
        }
    }

    /// A request that was given up has its reply after all.
    fn take_back(&mut self, kind: Kind, state: State) {
        match state {
            State::Lost => {
                self.counts.lost -= 1;
                self.of(kind).lost -= 1;
            }
            State::Silent => {
                self.counts.silent -= 1;
                self.of(kind).silent -= 1;
            }
            State::Waiting | State::Spoiled | State::Settled => {}
        }
    }

    fn of(&mut self, kind: Kind) -> &mut KindCounts {
        &mut self.counts.by_kind[kind as usize]
    }
}

/// Two clocks that are read one after the other are not apart by more.
const CLOCKS_APART_NS: u64 = 100_000;

/// CLOCK_REALTIME in nanoseconds as a timestamp.
fn ntp(nanoseconds: u64) -> NtpTimestamp {
    NtpTimestamp::from_unix((nanoseconds / 1_000_000_000).cast_signed(), (nanoseconds % 1_000_000_000) as u32)
}

/// Units of 2^-32 s in nanoseconds, rounded.
fn ntp_nanoseconds(units: i64) -> i64 {
    // The quotient is smaller than the units, so it fits.
    ((i128::from(units) * 1_000_000_000 + (1 << 31)) >> 32) as i64
}
