//! One run: the cores send, this side looks at the counts and makes the result of them.

use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, ScopedJoinHandle, sleep};
use std::time::{Duration, SystemTime};

use ntpring::sys::clock::{monotonic, realtime};
use ntpring::sys::link;
use ntpring::sys::thread::pin_to;
use ntpring::sys::xdp::LoadError;
use ntpring::wire::NtpTimestamp;

use super::layout::{Plan, Received, Sample, Sender};
use super::program::{Maps, Program};
use super::{Ready, prepare, program};
use crate::accounting::{Counts, Invalid, Unsent};
use crate::clock;
use crate::engine::Live;
use crate::failure::Failure;
use crate::measures::{Measures, Second};
use crate::mix::Kind;
use crate::progress::Progress;
use crate::run::{self, Load, Outcome, nanoseconds};
use crate::stamping::TxStamps;

/// How often a core looks for a request that is due before it returns, which takes it some milliseconds and,
/// if each time one is, some tens of them. To return and to begin again takes tens of microseconds.
const TURNS: u32 = 1 << 16;
/// After the last reply it is listened for so long, for duplicates.
const LINGER: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_millis(1);
const SECOND: u64 = 1_000_000_000;
/// A core's schedule begins so long after everything is ready.
const HEAD_START: Duration = Duration::from_millis(5);

/// Runs the load, unless `stop` is set, showing `progress`.
pub(crate) fn run(plan: &run::Plan, progress: &Progress, stop: &AtomicBool) -> Result<Outcome, Failure> {
    let Ready { interface, link, mut program, mut maps, plan: words } = prepare(plan)?;
    let fail = |error: LoadError| Failure::RunTime(program::why_not_sent(&error));
    let (words, started) = timed(words, plan);
    maps.set_plan(&words).map_err(fail)?;
    maps.begin(|core| sender(plan, core)).map_err(fail)?;
    let mut books = Books::new(plan, words, maps);
    let live = [Live::default()];
    let over = AtomicBool::new(false);
    let mut gone = false;
    let sent: Result<(), Failure> = thread::scope(|scope| {
        let (program, over) = (&program, &over);
        let threads: Vec<_> =
            plan.cores.iter().map(|&core| scope.spawn(move || work(program, core, over))).collect();
        progress.show(&live, || {
            let p99 = books.look(&live[0]);
            gone = !link::state(&interface).is_ok_and(|now| now.index == link.index);
            let ended = books.is_over() || stop.load(Relaxed) || gone;
            if ended {
                books.cut();
                over.store(true, Relaxed);
            }
            let finished = threads.iter().all(ScopedJoinHandle::is_finished);
            if finished { ControlFlow::Break(()) } else { ControlFlow::Continue(p99) }
        });
        let join =
            |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        threads.into_iter().try_for_each(join)
    });
    sent?;
    if !gone {
        books.wait_for_the_rest();
    }
    program.detach();
    let lost_link = gone.then_some(interface);
    Ok(books.finish(started, stop.load(Relaxed), lost_link))
}

/// What one core does.
fn work(program: &Program, core: usize, over: &AtomicBool) -> Result<(), Failure> {
    if !pin_to(core) {
        return Err(Failure::RunTime(format!("cannot pin a thread to cpu {core}")));
    }
    while !over.load(Relaxed) {
        // Errors end the run: the cause will be there the next time too.
        if let Err(error) = program.send(TURNS) {
            over.store(true, Relaxed);
            return Err(Failure::RunTime(program::why_not_sent(&error)));
        }
    }
    Ok(())
}

/// The plan with its times, and when the first second begins.
fn timed(words: Plan, plan: &run::Plan) -> (Plan, SystemTime) {
    let (now, wall) = (clock::now(), SystemTime::now());
    let wait = plan.start_at.and_then(|start| start.duration_since(wall).ok()).unwrap_or_default();
    let wait = wait.max(HEAD_START);
    let start = now + nanoseconds(wait);
    let counts_from = start + nanoseconds(plan.warmup);
    let (interval, until) = match plan.load {
        Load::Rate(rate) => {
            ((u128::from(SECOND) << 16) * plan.cores.len() as u128 / u128::from(rate), u64::MAX)
        }
        _ => (0, counts_from + nanoseconds(plan.duration)),
    };
    let sample = match plan.tx_stamps {
        TxStamps::Off => 0,
        TxStamps::OneIn(n) => u64::from(n),
    };
    let interval = u64::try_from(interval).unwrap_or(u64::MAX);
    (Plan { start, until, counts_from, interval, sample, ..words }, wall + wait + plan.warmup)
}

/// What a core has to send: the requests of an open loop, dealt out in turns.
fn sender(plan: &run::Plan, core: usize) -> Sender {
    let Some(thread) = plan.cores.iter().position(|own| *own == core) else { return Sender::default() };
    let threads = plan.cores.len() as u64;
    let thread = thread as u64;
    match plan.load {
        Load::Rate(rate) => {
            let requests =
                |time: Duration| (u128::from(rate) * time.as_nanos()).div_ceil(u128::from(SECOND)) as u64;
            let total = requests(plan.warmup) + requests(plan.duration);
            let due = ((u128::from(SECOND) << 16) * u128::from(thread) / u128::from(rate)) as u64;
            Sender { thread, left: (total + threads - 1 - thread) / threads, due, ..Sender::default() }
        }
        _ => Sender { thread, left: u64::MAX, ..Sender::default() },
    }
}

/// What is known of the run so far.
struct Books {
    plan: Plan,
    maps: Maps,
    keep: bool,
    /// How long after the first request, at the latest, there was still one to send.
    sending_until: u64,
    total: Measures,
    /// Of the second that is under way.
    measures: Measures,
    seconds: Vec<Second>,
    /// The counts at the end of each second.
    marks: Vec<Second>,
    /// CLOCK_REALTIME − CLOCK_MONOTONIC at the last look.
    epoch: i128,
    p99: Option<f64>,
}

impl Books {
    fn new(plan: &run::Plan, words: Plan, maps: Maps) -> Self {
        Self {
            plan: words,
            maps,
            keep: plan.keep_seconds,
            sending_until: words.counts_from,
            total: Measures::default(),
            measures: Measures::default(),
            seconds: Vec::new(),
            marks: Vec::new(),
            epoch: epoch(),
            p99: None,
        }
    }

    /// Takes in what has been measured; the 99th percentile of the last whole second, in microseconds.
    fn look(&mut self, live: &Live) -> Option<f64> {
        // Maps of a program that is loaded can be read; if not, the counts stay as they are.
        let (senders, received) = (self.senders(), self.received());
        self.take_samples();
        let now = clock::now();
        let settled = received.settled();
        let due: u64 = senders.iter().map(|sender| sender.sent).sum();
        let overdue = self.overdue(due);
        live.sent.store(due, Relaxed);
        live.answered.store(received.answered, Relaxed);
        live.lost.store(overdue.saturating_sub(settled), Relaxed);
        self.sending_until = self.sending_until.max(self.sending_until(&senders, now));
        while now >= self.plan.counts_from + SECOND * (self.seconds.len() as u64 + 1) {
            self.turn(due, received.answered, overdue.saturating_sub(settled));
        }
        self.p99
    }

    /// Until when there were requests to send, as far as is known now.
    fn sending_until(&self, senders: &[Sender], now: u64) -> u64 {
        if senders.iter().any(|sender| sender.left > 0) {
            return now.min(self.plan.until);
        }
        // Of a schedule that is over: when one more request would have been due.
        let end = senders.iter().map(|sender| self.plan.start + (sender.due >> 16)).max();
        end.unwrap_or(now).min(now)
    }

    /// Requests whose time must be over, by what had left a timeout ago.
    fn overdue(&self, sent: u64) -> u64 {
        let seconds = (self.plan.timeout / SECOND + 1) as usize;
        let then = self.marks.len().checked_sub(seconds).map_or(0, |at| self.marks[at].sent);
        then.min(sent)
    }

    /// Ends a second.
    fn turn(&mut self, sent: u64, answered: u64, lost: u64) {
        let earlier = self.marks.last().cloned().unwrap_or_default();
        // What was lost by then may still be answered late.
        let mark = Second { sent, answered, lost: lost.max(earlier.lost), ..Second::default() };
        let mut second = mark.since(&earlier);
        second.conclude(&self.measures, self.keep);
        self.p99 = second.p99.or(self.p99);
        self.total.add(&self.measures);
        self.measures.clear();
        self.seconds.push(second);
        self.marks.push(mark);
    }

    fn is_over(&self) -> bool {
        clock::now() >= self.plan.until || self.senders().iter().all(|sender| sender.left == 0)
    }

    /// No request leaves any more.
    fn cut(&mut self) {
        self.plan.until = 0;
        // As above: maps can be written.
        let _ = self.maps.set_plan(&self.plan);
    }

    /// Until everything is answered, or its time is over; and a little longer.
    fn wait_for_the_rest(&mut self) {
        let sent: u64 = self.senders().iter().map(|sender| sender.sent).sum();
        let begin = clock::now();
        while self.received().settled() < sent && clock::now() - begin < self.plan.timeout {
            self.take_samples();
            sleep(PAUSE);
        }
        sleep(LINGER);
    }

    fn senders(&self) -> Vec<Sender> {
        self.maps.senders().unwrap_or_default()
    }

    fn received(&self) -> Received {
        self.maps.received().unwrap_or_default()
    }

    fn take_samples(&mut self) {
        let now = epoch();
        // Somebody set the clock: stamps of both times would be compared.
        let stepped = (now - self.epoch).abs() > i128::from(STEP_NS);
        self.epoch = now;
        while let Some(sample) = self.maps.sample() {
            record(&mut self.measures, &sample, now, !stepped);
        }
    }

    /// The result, once nothing comes any more.
    fn finish(mut self, started: SystemTime, interrupted: bool, lost_link: Option<String>) -> Outcome {
        self.take_samples();
        let (senders, received) = (self.senders(), self.received());
        let counts = counts(&senders, &received);
        self.turn(counts.sent, counts.answered, counts.lost + counts.late);
        let sending = Duration::from_nanos(self.sending_until.saturating_sub(self.plan.counts_from));
        Outcome {
            counts,
            measures: self.total,
            seconds: self.seconds,
            started,
            sending,
            interrupted,
            lost_link,
        }
    }
}

/// Two readings of undisturbed clocks never differ by this much.
const STEP_NS: u32 = 100_000;

fn epoch() -> i128 {
    realtime().as_nanos() - monotonic().as_nanos()
}

/// What one answered request measures.
fn record(measures: &mut Measures, sample: &Sample, epoch: i128, comparable: bool) {
    let &Sample { due, sent, arrived, receive, transmit } = sample;
    let [t2, t3] = [receive, transmit].map(NtpTimestamp::from_bits);
    measures.intended.record(arrived.saturating_sub(due));
    measures.lag.record(sent.saturating_sub(due));
    measures.wire.record(arrived.saturating_sub(sent));
    measures.residence.record(nanoseconds_of(t3.signed_since(t2)).unsigned_abs());
    if comparable {
        let [t1, t4] = [sent, arrived].map(|at| stamp(i128::from(at) + epoch));
        let ahead = nanoseconds_of(t2.signed_since(t1));
        let behind = nanoseconds_of(t3.signed_since(t4));
        measures.offset.record(ahead.midpoint(behind));
        measures.offset_bound.record((arrived.saturating_sub(sent)) / 2);
    }
}

fn stamp(nanoseconds: i128) -> NtpTimestamp {
    let second = i128::from(SECOND);
    NtpTimestamp::from_unix(nanoseconds.div_euclid(second) as i64, nanoseconds.rem_euclid(second) as u32)
}

/// Of a difference of stamps.
fn nanoseconds_of(units: i64) -> i64 {
    ((i128::from(units) * i128::from(SECOND)) >> 32) as i64
}

/// Where every request went.
fn counts(senders: &[Sender], received: &Received) -> Counts {
    let sum = |of: fn(&Sender) -> u64| senders.iter().map(of).sum::<u64>();
    let (sent, behind) = (sum(|sender| sender.sent), sum(|sender| sender.behind));
    let mut counts = Counts {
        scheduled: sent + behind,
        sent,
        answered: received.answered,
        unsynchronised: received.unsynchronised,
        late: received.late,
        lost: sent.saturating_sub(received.settled()),
        kod: received.kod,
        duplicate: received.duplicate,
        ..Counts::default()
    };
    counts.unsent[Unsent::Behind as usize] = behind;
    let invalid = [Invalid::Length, Invalid::Mode, Invalid::Version, Invalid::Origin, Invalid::Stamps];
    for (reason, count) in invalid.into_iter().zip(received.invalid) {
        counts.invalid[reason as usize] = count;
    }
    let of_kind = &mut counts.by_kind[Kind::V4 as usize];
    (of_kind.sent, of_kind.answered, of_kind.late) = (sent, received.answered, received.late);
    (of_kind.lost, of_kind.kod) = (counts.lost, received.kod.iter().sum());
    counts
}
