//! One contestant for one round: everything the table shows of it, from one start to its end.

use std::cell::Cell;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bench::statistics::Quartiles;

use super::contestant::{Contestant, Places};
use super::load::{self, Load, Lossless, Outcome, Search, WARM_UP};
use super::rig::Rig;
use super::running::Running;
use super::watch::Watch;

/// The two moderate loads, as parts of a rate that the reference keeps up.
pub(super) const LOW: f64 = 0.25;
pub(super) const HIGH: f64 = 0.75;
/// A server that loses more is not under moderate load: what is left of its figures is those of the requests
/// that it did answer.
const KEPT_UP: f64 = 0.001;

/// A 99th percentile shows what happens in one part in a hundred of the time. What the watch sees of it is
/// less: a core that stands still and goes on between two looks has not been seen.
const DISTURBED: f64 = 0.002;

/// How long and how closely is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) rounds: usize,
    /// Slices of each load in a round, of which the median counts.
    pub(super) slices: usize,
    pub(super) slice: Duration,
    pub(super) search: Search,
    /// How long each contestant may spend, in a round, on what must be repeated because this machine stood
    /// still.
    pub(super) repeats: Duration,
    /// How long a contestant may take to its first answer, if not as long as usual.
    pub(super) patience: Option<Duration>,
}

/// Everything that measuring takes.
pub(super) struct Bench<'a> {
    pub(super) rig: &'a Rig,
    pub(super) places: &'a Places,
    pub(super) effort: Effort,
    pub(super) watch: &'a Watch,
    /// What the contestant that is measured may still spend on repeats.
    pub(super) left: Cell<Duration>,
    pub(super) stop: &'a AtomicBool,
}

/// One load for some seconds.
#[derive(Clone, Debug)]
pub(super) struct Slice {
    pub(super) outcome: Outcome,
    /// Share of its core that the server used, receiving included.
    pub(super) utilisation: f64,
    /// CPU time per reply in ns: of the server's processes, and of the thread that receives for it.
    pub(super) server_ns: f64,
    pub(super) receive_ns: f64,
    /// The part of it in which a core of this machine stood still.
    pub(super) still: f64,
}

impl Slice {
    pub(super) fn cpu_ns(&self) -> f64 {
        self.server_ns + self.receive_ns
    }

    /// Whether this machine stood still for so long that a 99th percentile may show it.
    pub(super) fn is_disturbed(&self) -> bool {
        self.still > DISTURBED
    }

    /// The median of each figure; what was noticed once is kept.
    fn median(slices: &[Self]) -> Self {
        let median = |of: &dyn Fn(&Self) -> f64| Quartiles::of(slices.iter().map(of)).median;
        let sum = |of: fn(&Self) -> f64| slices.iter().map(of).sum();
        Self {
            utilisation: median(&|slice| slice.utilisation),
            server_ns: median(&|slice| slice.server_ns),
            receive_ns: median(&|slice| slice.receive_ns),
            still: slices.iter().map(|slice| slice.still).fold(0.0, f64::max),
            outcome: Outcome {
                sent: median(&|slice| slice.outcome.sent),
                answered: median(&|slice| slice.outcome.answered),
                replies: slices.iter().map(|slice| slice.outcome.replies).sum(),
                loss: median(&|slice| slice.outcome.loss),
                seconds: sum(|slice| slice.outcome.seconds),
                late: slices.iter().filter(|slice| slice.outcome.late > 0).count(),
                unsynchronised: slices.iter().any(|slice| slice.outcome.unsynchronised),
                latency: [0, 1, 2].map(|at| median(&|slice| slice.outcome.latency[at])),
                wire: [0, 1].map(|at| median(&|slice| slice.outcome.wire[at])),
                offset: [0, 1].map(|at| median(&|slice| slice.outcome.offset[at])),
            },
        }
    }
}

/// What one round has shown of a contestant.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) saturated: Slice,
    pub(super) lossless: Lossless,
    /// What the moderate loads are parts of.
    pub(super) reference: f64,
    /// At 25 % and at 75 % of it.
    pub(super) low: Slice,
    pub(super) high: Slice,
}

impl Bench<'_> {
    /// Starts a contestant and waits for its first answer.
    pub(super) fn start(&self, contestant: Contestant) -> Result<Running, String> {
        Running::start(contestant, self.rig, self.places, self.effort.patience, self.stop)
    }

    /// One round. `reference` is the rate that the moderate loads are parts of; the contestant's own if there
    /// is none yet.
    pub(super) fn round(&self, contestant: Contestant, reference: Option<f64>) -> Result<Round, String> {
        let mut running = self.start(contestant)?;
        self.left.set(self.effort.repeats);
        // The first requests find a server that has never answered.
        let most = if contestant.in_driver() { Load::Flood } else { Load::Closed };
        self.slice(&mut running, most, Duration::from_millis(200))?;
        let saturated = self.slices(&mut running, most)?;
        let lossless = self.search(&mut running, saturated.outcome.answered)?;
        let (reference, high) = match reference {
            Some(reference) => (reference, self.part(&mut running, reference, HIGH)?),
            None => self.kept_up(&mut running, lossless.reference(&saturated))?,
        };
        let low = self.part(&mut running, reference, LOW)?;
        Ok(Round { saturated, lossless, reference, low, high })
    }

    /// What a search found, one trial in several without loss, is not yet a rate that the server keeps up.
    /// Lowers it by tenths until the higher of the moderate loads, which is a part of it, loses nearly
    /// nothing, or ten times; and tells how the server does under that load.
    fn kept_up(&self, running: &mut Running, found: f64) -> Result<(f64, Slice), String> {
        const STEPS: i32 = 10;
        let mut steps = 0;
        loop {
            let rate = found * 0.9_f64.powi(steps);
            let high = self.part(running, rate, HIGH)?;
            if high.outcome.loss <= KEPT_UP || steps == STEPS {
                return Ok((rate, high));
            }
            steps += 1;
        }
    }

    /// A moderate load.
    fn part(&self, running: &mut Running, reference: f64, part: f64) -> Result<Slice, String> {
        self.slices(running, Load::Open((reference * part).max(1.0) as u64))
    }

    /// The highest rates without loss. What a search finds while this machine stands still is too low, so
    /// that it is repeated, and the higher rate counts.
    fn search(&self, running: &mut Running, saturated: f64) -> Result<Lossless, String> {
        // A driver's queue is short: any time of standing still overflows it, so its trials must be short.
        let Search { trial, resolution, tries } = self.effort.search;
        let search = match running.contestant.in_driver() {
            true => Search { trial: trial / 2, resolution, tries: tries * 2 },
            false => self.effort.search,
        };
        let mut best = Lossless { none: None, per_mille: None };
        loop {
            let (still, start) = (self.watch.stood_still(), Instant::now());
            let found = load::search(search, saturated, self.rig, self.places, running, self.stop)?;
            let higher = |a: Option<f64>, b: Option<f64>| a.into_iter().chain(b).reduce(f64::max);
            best = Lossless {
                none: higher(best.none, found.none),
                per_mille: higher(best.per_mille, found.per_mille),
            };
            let still = self.watch.stood_still() - still;
            let disturbed = still.as_secs_f64() > DISTURBED * start.elapsed().as_secs_f64();
            if !(disturbed && self.may_repeat(start.elapsed())) {
                return Ok(best);
            }
        }
    }

    /// The same load until there are enough slices in which this machine did not stand still, or no time is
    /// left for more: the median of each figure in those in which it did least.
    fn slices(&self, running: &mut Running, load: Load) -> Result<Slice, String> {
        let wanted = self.effort.slices;
        let mut slices = Vec::new();
        loop {
            let start = Instant::now();
            slices.push(self.slice(running, load, self.effort.slice)?);
            let calm = slices.iter().filter(|slice| !slice.is_disturbed()).count();
            if calm >= wanted || slices.len() >= wanted && !self.may_repeat(start.elapsed()) {
                slices.sort_by(|a: &Slice, b| a.still.total_cmp(&b.still));
                slices.truncate(wanted);
                return Ok(Slice::median(&slices));
            }
        }
    }

    /// Whether what took so long may be repeated; the time is then spent.
    fn may_repeat(&self, time: Duration) -> bool {
        let left = self.left.get().checked_sub(time);
        self.left.set(left.unwrap_or_default());
        left.is_some()
    }

    /// One load for so long, and what it costs the server's core.
    pub(super) fn slice(&self, running: &mut Running, load: Load, slice: Duration) -> Result<Slice, String> {
        let (server, receive) = (running.cpu(), self.rig.receiver_cpu()?);
        let still = self.watch.stood_still();
        let mut outcome = load::run(load, slice, self.rig, self.places, running, self.stop)?;
        // The same load began before anything counted.
        let counted = outcome.seconds / (outcome.seconds + WARM_UP.as_secs_f64());
        let server = counted * running.cpu().saturating_sub(server).as_secs_f64();
        let receive = counted * self.rig.receiver_cpu()?.saturating_sub(receive).as_secs_f64();
        if receive == 0.0 {
            return Err("the thread that receives for it did not run: its requests are received at the \
                        generator's cost, so that no figure would mean anything"
                .to_owned());
        }
        let still = self.watch.stood_still() - still;
        let replies = outcome.replies as f64;
        if !running.contestant.tells_time() {
            outcome.offset = [f64::NAN; 2];
        }
        Ok(Slice {
            utilisation: (server + receive) / outcome.seconds,
            server_ns: server * 1e9 / replies,
            receive_ns: receive * 1e9 / replies,
            still: still.as_secs_f64() / (slice + WARM_UP).as_secs_f64(),
            outcome,
        })
    }
}

impl Lossless {
    /// What the moderate loads are parts of: the rate with a loss of one in a thousand; half of saturation
    /// where there is none.
    pub(super) fn reference(&self, saturated: &Slice) -> f64 {
        self.per_mille.or(self.none).unwrap_or(saturated.outcome.answered / 2.0)
    }
}
