//! One thread's loop: send what is due, take what has come.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use std::{io, mem};

use crossbeam::channel::{Receiver, Sender};
use crossbeam::utils::CachePadded;
use ntpring::sys::exchange::{ClientSockets, ExchangeSizes, RequestBatch, is_unreachable};

use crate::accounting::{Counts, Unsent};
use crate::clock;
use crate::compose::{Composer, Ticket};
use crate::flight::Flight;
use crate::measures::{Measures, Second};
use crate::mix::{Expect, Kind};
use crate::pairing::Pairing;
use crate::population::Population;
use crate::requests::Requests;
use crate::schedule::Pace;
use crate::series::Report;
use crate::sources::Crowd;
use crate::stamping::{Sampler, TxStamps};

/// Requests per sendmmsg, and replies per recvmmsg.
const BATCH: usize = 32;
/// Replies longer than this are cut off, which is enough to know that they are too long; where control
/// queries are answered, the header suffices too.
const REPLY_MAX: usize = 128;
const CONTROL_REPLY_MAX: usize = 1472;
/// Receive buffer asked for, per socket.
const RECEIVE_BUFFER: usize = 1 << 20;
/// A sleeping thread wakes this much early and spins for the rest: timers of the kernel are late by 50 µs and
/// more. So above 10 kHz it never sleeps.
const WAKE_EARLY_NS: u64 = 100_000;
/// Longest sleep, so that the stop flag and timeouts are seen.
const NAP: Duration = Duration::from_millis(10);
/// After the last reply the sockets are listened to for so long, for duplicates.
const LINGER_NS: u64 = 50_000_000;
const SECOND_NS: u64 = 1_000_000_000;
/// A target whose host refuses everything for so long is given up.
const REFUSED_PATIENCE_NS: u64 = 1_000_000_000;

/// What one thread is to do.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) target: SocketAddr,
    /// The source address of each client.
    pub(crate) sources: Vec<IpAddr>,
    /// Where each request has a source address of its own instead.
    pub(crate) crowd: Option<Crowd>,
    pub(crate) pace: Pace,
    /// Places in the in-flight table.
    pub(crate) slots: usize,
    /// How long a request waits for its reply, in nanoseconds.
    pub(crate) timeout: u64,
    /// What is asked.
    pub(crate) requests: Requests,
    /// Which of the clients asks next.
    pub(crate) population: Population,
    /// The load runs so long before anything counts, in nanoseconds.
    pub(crate) warmup: u64,
    /// Which requests the kernel stamps when they leave.
    pub(crate) tx_stamps: TxStamps,
    /// Whether the thread has its core to itself, so that it may keep it busy in order to be on time.
    pub(crate) spin: bool,
}

/// What the progress line shows of one thread; written by that thread alone.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) sent: CachePadded<AtomicU64>,
    pub(crate) answered: AtomicU64,
    pub(crate) lost: AtomicU64,
}

/// What one thread has found.
#[derive(Clone, Debug)]
pub(crate) struct Findings {
    pub(crate) counts: Counts,
    /// From where counting began to the last request, or to when there were to be no more, in nanoseconds.
    pub(crate) sending: u64,
}

/// How what is measured reaches the one who adds it up.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    pub(crate) reports: Sender<Report>,
    pub(crate) spares: Receiver<Box<Measures>>,
}

/// A thread's sockets and books. It is built on the thread that runs it.
pub(crate) struct Engine<'a> {
    task: Task,
    sockets: ClientSockets,
    pairing: Pairing,
    composer: Composer,
    batch: RequestBatch,
    batched: [Batched; BATCH],
    /// Who sends the batch.
    client: usize,
    random: fastrand::Rng,
    sampler: Sampler,
    start: u64,
    /// When requests begin to count.
    from: u64,
    /// Which second since then it is, and when it ends; before that, when it begins.
    second: Option<usize>,
    turn: u64,
    /// What this second's counts are compared to, and what the sockets had met before anything counted.
    reported: Second,
    unreachable_before: u64,
    drops_before: u64,
    last_request: u64,
    /// When the pace was cut short.
    cut_at: Option<u64>,
    reporter: Reporter,
    live: &'a Live,
    stop: &'a AtomicBool,
}

/// A request in the batch.
#[derive(Clone, Copy)]
struct Batched {
    cookie: u64,
    kind: Kind,
    intended: u64,
}

impl<'a> Engine<'a> {
    /// Opens the sockets and allocates all memory.
    ///
    /// # Errors
    /// The number of the client whose socket could not be opened, and why.
    pub(crate) fn new(
        task: Task,
        reporter: Reporter,
        live: &'a Live,
        stop: &'a AtomicBool,
    ) -> Result<Self, (usize, io::Error)> {
        let supply = task.requests.supply();
        let asks = |kind| supply.has(|other| other == kind);
        let payload = if asks(Kind::Mode6) || asks(Kind::Mode7) { CONTROL_REPLY_MAX } else { REPLY_MAX };
        let sizes = ExchangeSizes { batch: BATCH, payload, receive_buffer: RECEIVE_BUFFER };
        let (sockets, batch) = match task.crowd {
            None => {
                let sockets = ClientSockets::connect(&task.sources, task.target, sizes)?;
                (sockets, RequestBatch::new(BATCH, supply.longest()))
            }
            Some(_) => {
                let sockets = ClientSockets::with_any_source(task.sources.len(), task.target, sizes)?;
                (sockets, RequestBatch::with_sources(BATCH, supply.longest(), task.target))
            }
        };
        let sampler = Sampler::new(task.tx_stamps);
        if sampler.is_on() {
            sockets.stamp_sends().map_err(|error| (0, error))?;
        }
        let flight = Flight::new(task.slots, sockets.clients(), task.timeout);
        let clients = task.crowd.as_ref().map_or(sockets.clients() as u64, Crowd::members);
        let interleaved = asks(Kind::Interleaved).then_some(clients);
        let key = task.requests.key.clone();
        Ok(Self {
            pairing: Pairing::new(flight, task.timeout, key.clone(), interleaved),
            batch,
            batched: [Batched { cookie: 0, kind: Kind::V4, intended: 0 }; BATCH],
            composer: Composer::new(supply, key, fastrand::Rng::new()),
            client: 0,
            random: fastrand::Rng::new(),
            sampler,
            start: 0,
            from: 0,
            second: None,
            turn: 0,
            reported: Second::default(),
            unreachable_before: 0,
            drops_before: 0,
            last_request: 0,
            cut_at: None,
            sockets,
            task,
            reporter,
            live,
            stop,
        })
    }

    /// Runs the load from `start` (nanoseconds of CLOCK_MONOTONIC) until every request is answered or given
    /// up.
    pub(crate) fn run(mut self, start: u64) -> io::Result<Findings> {
        self.begin(start)?;
        let mut last_event = self.last_request;
        loop {
            let now = clock::now();
            if now >= self.turn {
                self.turn_second(now)?;
            }
            self.consider_stopping(now);
            self.send_due(now);
            let received = self.sockets.receive(|reply| self.pairing.received(&reply))?;
            self.sockets.late_send_stamps(&mut |request, stamp| self.pairing.stamped(request, stamp));
            // After receiving, so that replies which wait in the socket's queue are not given up.
            self.pairing.expire(now);
            self.show();
            if received > 0 {
                last_event = now;
            }
            if self.is_finished(now, last_event) {
                break;
            }
            self.rest()?;
        }
        self.findings()
    }

    fn begin(&mut self, start: u64) -> io::Result<()> {
        self.start = start;
        self.from = start.saturating_add(self.task.warmup);
        self.pairing.flight.count_from(self.from);
        self.last_request = clock::now();
        self.turn = self.from;
        if self.task.warmup == 0 { self.count(0) } else { Ok(()) }
    }

    /// From now on everything counts.
    fn count(&mut self, second: usize) -> io::Result<()> {
        self.pairing.begin();
        if self.pairing.heard {
            self.unreachable_before = self.sockets.unreachable();
        }
        self.drops_before = self.sockets.drops()?;
        self.set_second(second);
        Ok(())
    }

    fn turn_second(&mut self, now: u64) -> io::Result<()> {
        let second = (now.saturating_sub(self.from) / SECOND_NS) as usize;
        if self.second.is_none() {
            return self.count(second);
        }
        self.report();
        self.set_second(second);
        Ok(())
    }

    fn set_second(&mut self, second: usize) {
        self.second = Some(second);
        self.turn = self.from + (second as u64 + 1) * SECOND_NS;
    }

    /// Hands over what was measured since the last report.
    fn report(&mut self) {
        let Some(second) = self.second else { return };
        let counts = &self.pairing.counts;
        let now = Second {
            sent: counts.sent,
            answered: counts.answered,
            lost: counts.lost + counts.late,
            ..Second::default()
        };
        let counts = now.since(&self.reported);
        self.reported = now;
        let spare = self.reporter.spares.try_recv().unwrap_or_default();
        let measures = mem::replace(&mut self.pairing.measures, spare);
        // Who adds up outlives the threads that report.
        let _ = self.reporter.reports.send(Report { second, counts, measures });
    }

    fn consider_stopping(&mut self, now: u64) {
        let refused = !self.pairing.heard
            && self.pairing.counts.unreachable + self.sockets.unreachable() > 0
            && now > self.start + REFUSED_PATIENCE_NS;
        if self.cut_at.is_none() && (refused || self.stop.load(Relaxed)) {
            self.task.pace.cut();
            self.cut_at = Some(now);
        }
    }

    /// Sends at most one batch, so that replies are never left waiting for long.
    fn send_due(&mut self, now: u64) {
        if self.batch.done() == self.batch.len() {
            self.fill_batch(now);
        }
        self.send_batch();
        if self.batch.is_stamped() {
            let note = &mut |request: &[u8], stamp| self.pairing.stamped(request, stamp);
            self.sockets.send_stamps(self.client, note);
        }
    }

    fn send_batch(&mut self) {
        let mut retried = false;
        while self.batch.done() < self.batch.len() {
            let done = self.batch.done();
            let sent_at = clock::now();
            match self.sockets.send(self.client, &mut self.batch) {
                Ok(sent) => {
                    for &Batched { cookie, kind, intended } in &self.batched[done..done + sent] {
                        self.pairing.sent(cookie, kind, self.client, intended, sent_at);
                    }
                    self.last_request = sent_at;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let Batched { cookie, intended, .. } = self.batched[done];
                    if sent_at.saturating_sub(intended) <= self.task.timeout {
                        break;
                    }
                    self.pairing.given_up(cookie, intended, Unsent::Behind);
                    self.batch.skip();
                }
                // News about an earlier request; this one is not to blame, unless it meets the same again.
                Err(error) if is_unreachable(&error) && !retried => {
                    self.pairing.counts.unreachable += 1;
                    retried = true;
                }
                Err(_) => {
                    let Batched { cookie, intended, .. } = self.batched[done];
                    self.pairing.given_up(cookie, intended, Unsent::Refused);
                    self.batch.skip();
                    retried = false;
                }
            }
        }
    }

    fn fill_batch(&mut self, now: u64) {
        self.batch.clear();
        let Some(elapsed) = now.checked_sub(self.start) else { return };
        let room = self.pairing.flight.room().min(BATCH);
        let mut owed = self.pairing.flight.owed();
        while self.batch.len() < room {
            let at = self.batch.len();
            let Some(intended) = self.task.pace.take(elapsed, owed) else { break };
            let due = self.start + intended;
            self.pairing.scheduled(due);
            if elapsed - intended > self.task.timeout {
                self.pairing.unsent(due, Unsent::Behind);
                continue;
            }
            if at == 0 {
                self.client = self.task.population.choose(&mut self.random) as usize;
            }
            let who = match &mut self.task.crowd {
                None => self.client as u64,
                Some(crowd) => crowd.choose(&mut self.random),
            };
            let ticket = Ticket {
                cookie: self.pairing.flight.cookie(at, self.random.u64(..)),
                sequence: self.pairing.flight.sequence(at),
                met: self.pairing.ask(at, who),
            };
            let (kind, request) = self.composer.compose(ticket);
            owed += usize::from(kind.expects() == Expect::Answer);
            if kind == Kind::Interleaved {
                self.pairing.forget(who);
            }
            self.batched[at] = Batched { cookie: ticket.cookie, kind, intended: due };
            match &self.task.crowd {
                None => self.batch.push(request),
                Some(crowd) => self.batch.push_from(request, crowd.address(who)),
            };
            if self.sampler.choose() {
                self.batch.stamp_last();
            }
        }
    }

    fn show(&self) {
        let counts = &self.pairing.counts;
        self.live.sent.store(counts.sent, Relaxed);
        self.live.answered.store(counts.answered, Relaxed);
        self.live.lost.store(counts.lost + counts.late, Relaxed);
    }

    fn is_over(&self, now: u64) -> bool {
        self.task.pace.is_over(now.saturating_sub(self.start)) && self.batch.done() == self.batch.len()
    }

    fn is_finished(&self, now: u64, last_event: u64) -> bool {
        if !self.is_over(now) {
            return false;
        }
        let quiet = self.pairing.flight.waiting() == 0 && now > last_event.max(self.last_request) + LINGER_NS;
        quiet || now > self.last_request + self.task.timeout + LINGER_NS
    }

    /// Sleeps, if there is time for it.
    fn rest(&self) -> io::Result<()> {
        let now = clock::now();
        if self.is_over(now) {
            return self.sockets.wait(Duration::from_millis(1));
        }
        let free = match self.task.pace.next() {
            Some(due) if self.task.spin => (self.start + due).saturating_sub(now + WAKE_EARLY_NS),
            Some(due) => (self.start + due).saturating_sub(now),
            None if self.task.spin || self.pairing.flight.waiting() == 0 => 0,
            None => NAP.as_nanos() as u64,
        };
        if free == 0 {
            return Ok(());
        }
        self.sockets.wait(Duration::from_nanos(free).min(NAP))
    }

    fn findings(mut self) -> io::Result<Findings> {
        self.pairing.expire(u64::MAX);
        self.report();
        let mut counts = self.pairing.counts;
        counts.unreachable += self.sockets.unreachable() - self.unreachable_before;
        counts.local_drops = self.sockets.drops()? - self.drops_before;
        debug_assert!(counts.close(), "{counts:?}");
        let end = self.cut_at.unwrap_or(self.last_request).max(self.last_request);
        Ok(Findings { counts, sending: end.saturating_sub(self.from) })
    }
}
