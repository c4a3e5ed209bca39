//! One source: when it is asked, which replies count, what they say (RFC 5905's peer and poll processes).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::estimator::{Estimator, KalmanBank, Sample, Verdict};
use super::exchange::{self, Asked, Flaw, OnWire, ServerState};
use super::history::History;
use super::poll::Poll;
use super::seam::{AssociationId, Now, Received, Request, StampKind};
use super::settings::SourceOptions;
use super::units::{after, between, precision_seconds, since};
use crate::snapshot::{Authentication, Exchanged, Selection};
use crate::wire::{NtpTimestamp, Precision, ReferenceId};

/// `iburst`: so many requests, so many seconds apart.
const BURST: u8 = 6;
const BURST_SPACING: f64 = 2.0;

/// A burst waits for the reply to its first request. Without one the first request is tried again after so
/// many seconds, then after twice as many, up to the poll interval: one lost packet is soon made good, and a
/// server that is not there is left in peace.
const FIRST_RETRY: f64 = BURST_SPACING;

/// RFC 5905 §13's NTP_UNREACH: after so many polls without an answer a source is asked less often.
const UNREACH: u32 = 12;

/// Whoever did not answer so many polls in a row is lost; who was of no use at so many is wrong for long.
const PATIENCE: u32 = 8;

/// So many samples in a row that waited too long are a queue.
const QUEUE: u32 = 2;

/// How far stamps may be from the packets' passing, beside what the clock can tell apart.
const KERNEL_STAMP: f64 = 2e-6;
const PROCESS_STAMP: f64 = 20e-6;

/// RFC 9327 §4.3: events of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum PeerEvent {
    Mobilised = 1,
    Unreachable = 3,
    Reachable = 4,
    RateExceeded = 7,
    AccessDenied = 8,
    SystemPeer = 10,
    BadAuthentication = 12,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    /// Nothing that concerns the clock.
    Nothing(Flaw),
    /// A valid reply: the source answers, and its sample was taken or not.
    Sample {
        verdict: Verdict,
        /// The source did not answer before.
        is_new: bool,
    },
    /// The source asks for fewer requests.
    SlowDown,
    /// The source is not to be asked again.
    Stop(ReferenceId),
}

/// One source and all that is known of it.
#[derive(Debug)]
pub(super) struct Association {
    pub(super) id: AssociationId,
    /// Which line of the configuration made it.
    pub(super) origin: usize,
    pub(super) is_pool_member: bool,
    pub(super) host: Option<Arc<str>>,
    pub(super) options: SourceOptions,
    pub(super) estimator: KalmanBank,
    pub(super) history: History,
    pub(super) server: ServerState,
    pub(super) selection: Selection,
    /// It answers, but others are followed and it cannot be: it is a falseticker, or too far from a clock.
    pub(super) is_useless: bool,
    pub(super) authentication: Authentication,
    pub(super) flash: u16,
    pub(super) local: IpAddr,
    pub(super) received: NtpTimestamp,
    pub(super) poll: Poll,
    pub(super) reach: u8,
    pub(super) unreach: u32,
    /// When half of the polls were missed that it takes to be lost.
    missing_since: Duration,
    /// Polls in a row at which it was useless.
    useless_polls: u32,
    pub(super) event: u8,
    pub(super) events: u8,
    pub(super) is_stopped: bool,
    pub(super) exchanged: Exchanged,
    address: Option<SocketAddr>,
    received_at: Option<Duration>,
    next_poll: Option<Duration>,
    last_sent: Option<Duration>,
    asked: Option<Asked>,
    /// Requests left in the burst.
    burst_left: u8,
    /// The burst waits for the reply to its first request.
    waits: bool,
    /// First requests in a row without a reply.
    tries: u32,
    /// The server wants no bursts.
    may_burst: bool,
    was_answered: bool,
    /// Samples in a row that waited too long on the way.
    queued: u32,
}

impl Association {
    pub(super) fn new(id: AssociationId, origin: usize, options: SourceOptions, drift_known: bool) -> Self {
        let authentication = if options.key.is_some() { Authentication::Bad } else { Authentication::None };
        Self {
            id,
            origin,
            is_pool_member: false,
            host: None,
            estimator: KalmanBank::new(drift_known),
            history: History::default(),
            server: ServerState::UNKNOWN,
            selection: Selection::Rejected,
            is_useless: false,
            authentication,
            flash: 0,
            local: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            received: NtpTimestamp::UNKNOWN,
            poll: Poll::new(&options),
            reach: 0,
            unreach: 0,
            missing_since: Duration::ZERO,
            useless_polls: 0,
            event: PeerEvent::Mobilised as u8,
            events: 1,
            is_stopped: false,
            exchanged: Exchanged::default(),
            address: None,
            received_at: None,
            next_poll: None,
            last_sent: None,
            asked: None,
            burst_left: 0,
            waits: false,
            tries: 0,
            may_burst: options.iburst,
            was_answered: true,
            queued: 0,
            options,
        }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Polls `address` from `at` on.
    pub(super) fn start(&mut self, address: SocketAddr, at: Duration) {
        self.address = Some(address);
        self.next_poll = Some(at);
    }

    /// Never polls again.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        self.next_poll = None;
        self.asked = None;
        self.reach = 0;
    }

    /// When the next request is due.
    pub(super) fn wake_at(&self) -> Option<Duration> {
        self.next_poll
    }

    pub(super) fn note(&mut self, event: PeerEvent) {
        self.events = if self.event == event as u8 { (self.events + 1).min(15) } else { 1 };
        self.event = event as u8;
    }

    /// Whether a burst is under way, whose samples are too close together to choose a poll interval by.
    pub(super) fn is_bursting(&self) -> bool {
        self.burst_left > 0 || self.waits
    }

    /// Whether nobody answered for long: perhaps the name has another address now.
    pub(super) fn is_lost(&self) -> bool {
        self.reach == 0 && self.unreach >= PATIENCE
    }

    /// Whether nobody answered for long, though somebody else did at `answered`.
    pub(super) fn is_dead(&self, answered: Option<Duration>) -> bool {
        self.is_lost() && answered.is_some_and(|answered| answered > self.missing_since)
    }

    /// Whether it was of no use for long, though it answers.
    pub(super) fn is_wrong(&self) -> bool {
        self.is_useless && self.useless_polls >= PATIENCE
    }

    /// When the last valid reply came.
    pub(super) fn received_at(&self) -> Option<Duration> {
        self.received_at
    }

    /// Seconds since the last valid reply.
    pub(super) fn age(&self, now: Duration) -> f64 {
        self.received_at.map_or(f64::INFINITY, |at| between(now, at).max(0.0))
    }

    /// The request that is due at `now`, and whether the source has just become unreachable, or has not
    /// answered at all.
    pub(super) fn timer(
        &mut self,
        now: Duration,
        random: &mut dyn FnMut() -> u64,
    ) -> (Option<Request>, bool) {
        let (Some(to), true) = (self.address, self.next_poll.is_some_and(|at| at <= now)) else {
            return (None, false);
        };
        let mut is_lost = false;
        if self.burst_left > 0 && !self.waits {
            self.burst_left -= 1;
        } else {
            is_lost = self.begin_poll(now);
        }
        let spread = 1.0 + (random() >> 11) as f64 / (1_u64 << 53) as f64 / 64.0;
        self.next_poll = Some(after(now, self.delay_to_next() * spread));
        self.last_sent = Some(now);
        self.exchanged.sent = self.exchanged.sent.wrapping_add(1);
        // A cookie of zero would match a reply that says nothing.
        let cookie = NtpTimestamp::from_bits(random()).known();
        let (version, key) = (self.options.version, self.options.key);
        self.asked = Some(Asked { cookie, version, key });
        let bytes = exchange::request(version, self.poll.exponent(), cookie);
        (Some(Request { association: self.id, to, key, bytes }), is_lost)
    }

    /// A new poll interval: RFC 5905 §13's reach register is shifted once for it, bursts included.
    fn begin_poll(&mut self, now: Duration) -> bool {
        if !self.was_answered {
            self.unreach = self.unreach.saturating_add(1);
        }
        if self.unreach == PATIENCE / 2 {
            self.missing_since = now;
        }
        self.useless_polls = if self.is_useless { self.useless_polls.saturating_add(1) } else { 0 };
        let was_reached = self.reach != 0;
        self.reach <<= 1;
        self.was_answered = false;
        self.burst_left = 0;
        self.waits = self.reach == 0 && self.may_burst;
        if self.waits {
            self.burst_left = BURST - 1;
            self.tries = self.tries.saturating_add(1);
        }
        if self.reach == 0 && self.unreach >= UNREACH {
            self.poll.back_off();
        }
        let is_lost = was_reached && self.reach == 0;
        if is_lost {
            self.note(PeerEvent::Unreachable);
        }
        is_lost || (self.received_at.is_none() && self.unreach == PATIENCE)
    }

    fn delay_to_next(&self) -> f64 {
        let interval = self.poll.interval(self.server.poll);
        if self.waits {
            let retry = FIRST_RETRY * f64::from(self.tries.clamp(1, 16) - 1).exp2();
            retry.min(interval.max(BURST_SPACING))
        } else if self.burst_left > 0 {
            BURST_SPACING
        } else {
            interval
        }
    }

    /// Something happened to the clock: measure it anew, at once if a burst is allowed, and void what is
    /// under way, whose stamps are of two times.
    pub(super) fn hurry(&mut self, now: Duration) {
        self.asked = None;
        self.poll.hurry();
        if self.is_stopped || self.next_poll.is_none() {
            return;
        }
        if self.may_burst && self.reach != 0 {
            self.burst_left = BURST;
            self.waits = false;
        }
        let spacing = if self.may_burst { BURST_SPACING } else { self.poll.interval(0) };
        let earliest = self.last_sent.map_or(now, |sent| after(sent, spacing).max(now));
        self.next_poll = self.next_poll.map(|at| at.min(earliest));
    }

    /// Asks as often as is allowed, from the next time on.
    pub(super) fn ask_soon(&mut self, now: Duration) {
        self.poll.hurry();
        let soon = after(now, self.poll.interval(0));
        self.next_poll = self.next_poll.map(|at| at.min(soon));
    }

    /// The clock was stepped: a reply under way has stamps of two times.
    pub(super) fn void_exchange(&mut self) {
        self.asked = None;
    }

    /// Another address for the name: everything known is about somebody else.
    pub(super) fn forget(&mut self, drift_known: bool) {
        let fresh = Self::new(self.id, self.origin, self.options.clone(), drift_known);
        *self = Self { host: self.host.take(), is_pool_member: self.is_pool_member, ..fresh };
    }

    /// Takes a datagram. `slew` is the clock's present gain by slewing, and since when it holds.
    pub(super) fn receive(&mut self, datagram: &Received<'_>, now: Now, clock: ClockFacts) -> Outcome {
        self.exchanged.received = self.exchanged.received.wrapping_add(1);
        match self.open(datagram) {
            Ok(reply) => self.take(&reply, datagram, now, clock),
            Err(flaw) => self.refuse(flaw, now.monotonic),
        }
    }

    fn open(&self, datagram: &Received<'_>) -> Result<exchange::Reply, Flaw> {
        let asked_there = self.address.is_some_and(|address| {
            // An IPv6 scope is the kernel's to know.
            address.ip().to_canonical() == datagram.source.ip().to_canonical()
                && address.port() == datagram.source.port()
        });
        if !asked_there {
            return Err(Flaw::Stranger);
        }
        let reply = exchange::open(datagram.bytes, self.asked.as_ref(), datagram.authentic)?;
        if datagram.received.signed_since(datagram.sent) < 0 || datagram.sent.is_unknown() {
            return Err(Flaw::Invalid);
        }
        Ok(reply)
    }

    fn refuse(&mut self, flaw: Flaw, now: Duration) -> Outcome {
        self.flash = flaw.flash();
        let exchanged = &mut self.exchanged;
        let count = match flaw {
            Flaw::Authentication => Some(&mut exchanged.bad_authentication),
            Flaw::Bogus | Flaw::Stranger => Some(&mut exchanged.bogus),
            Flaw::Duplicate => Some(&mut exchanged.duplicates),
            Flaw::Distance(_) => Some(&mut exchanged.distant),
            Flaw::Unsynchronised(_) | Flaw::Invalid => Some(&mut exchanged.unsynchronised),
            Flaw::Malformed | Flaw::Kiss(..) => None,
        };
        if let Some(count) = count {
            *count = count.wrapping_add(1);
        }
        if flaw.ends_exchange() {
            self.asked = None;
        }
        match flaw {
            Flaw::Kiss(code, poll) => return self.kissed(code, poll, now),
            Flaw::Unsynchronised(server) | Flaw::Distance(server) => self.server = server,
            Flaw::Authentication => {
                self.authentication = Authentication::Bad;
                self.note(PeerEvent::BadAuthentication);
            }
            _ => {}
        }
        Outcome::Nothing(flaw)
    }

    /// RFC 5905 §7.4. None of the time stamps in a kiss is looked at.
    fn kissed(&mut self, code: ReferenceId, poll: i8, now: Duration) -> Outcome {
        self.burst_left = 0;
        self.waits = false;
        self.may_burst = false;
        self.server.reference_id = code;
        if code.octets() == *b"RATE" {
            self.poll.slow_down(poll);
            self.next_poll = Some(after(now, self.poll.interval(0)));
            self.note(PeerEvent::RateExceeded);
            return Outcome::SlowDown;
        }
        self.stop();
        self.note(PeerEvent::AccessDenied);
        Outcome::Stop(code)
    }

    fn take(
        &mut self,
        reply: &exchange::Reply,
        datagram: &Received<'_>,
        now: Now,
        clock: ClockFacts,
    ) -> Outcome {
        self.asked = None;
        self.flash = 0;
        self.server = reply.server;
        self.local = datagram.local;
        self.received = datagram.received;
        self.received_at = Some(now.monotonic);
        if self.options.key.is_some() {
            self.authentication = Authentication::Good;
        }
        let is_new = self.reach == 0;
        self.reach |= 1;
        self.unreach = 0;
        self.tries = 0;
        self.was_answered = true;
        if is_new {
            self.note(PeerEvent::Reachable);
        }
        if self.waits {
            self.waits = false;
            let sent = self.last_sent.unwrap_or(now.monotonic);
            self.next_poll = Some(after(sent, BURST_SPACING).max(now.monotonic));
        }
        if !clock.is_sound {
            return Outcome::Sample { verdict: Verdict::Doubtful, is_new };
        }
        let on_wire = OnWire::new(datagram.sent, reply, datagram.received);
        let verdict = self.measure(on_wire, datagram, now, clock);
        if verdict != Verdict::Congested {
            self.queued = 0;
        }
        match verdict {
            _ if self.is_bursting() => {}
            Verdict::Accepted => self.poll.adapt(&self.estimator),
            // Something moved, or seems to have: to find out must not take hours.
            Verdict::Doubtful | Verdict::Restarted => self.ask_soon(now.monotonic),
            Verdict::Congested => self.waited_in_a_queue(),
        }
        Outcome::Sample { verdict, is_new }
    }

    /// A queue lasts, and some packets slip through: twice as many requests find them twice as soon.
    fn waited_in_a_queue(&mut self) {
        self.queued = self.queued.saturating_add(1);
        if self.queued == QUEUE {
            self.poll.hasten();
        }
    }

    fn measure(&mut self, on_wire: OnWire, datagram: &Received<'_>, now: Now, clock: ClockFacts) -> Verdict {
        let precision = precision_seconds(clock.precision);
        // RFC 5905 §8: "the delay is clamped not less than s.rho".
        let delay = on_wire.delay.max(precision);
        // The sample is of the middle of the exchange; since then a slew may have moved the clock.
        let age = since(now.realtime, datagram.received).max(0.0) + delay / 2.0;
        let slewed = clock.slew * age.min(between(now.monotonic, clock.slew_since).max(0.0));
        let sample = Sample {
            error: slewed - on_wire.offset,
            delay,
            stamp_error: match datagram.stamps {
                StampKind::Hardware => precision,
                StampKind::Kernel => precision.max(KERNEL_STAMP),
                StampKind::Process => precision.max(PROCESS_STAMP),
            },
        };
        // RFC 5905 §9.2: the error bound of the measurement.
        let round_trip = since(datagram.received, datagram.sent).max(0.0);
        let dispersion = precision + precision_seconds(self.server.precision) + super::PHI * round_trip;
        self.history.push(delay, on_wire.offset, dispersion, now.monotonic);
        self.estimator.update(sample)
    }
}

/// What a measurement must know about the local clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClockFacts {
    /// Gain by slewing, and since when.
    pub(super) slew: f64,
    pub(super) slew_since: Duration,
    pub(super) precision: Precision,
    /// Not in the middle of a leap second, or the like.
    pub(super) is_sound: bool,
}
