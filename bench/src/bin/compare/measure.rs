//! One contestant for one round: everything the table shows of it, from one start to its end.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bench::statistics::Quartiles;

use super::contestant::{Contestant, Places};
use super::load::{self, Load, Lossless, Outcome, Search};
use super::rig::Rig;
use super::running::Running;

/// The two moderate loads, as parts of the reference's lossless rate.
pub(super) const LOW: f64 = 0.25;
pub(super) const HIGH: f64 = 0.75;

/// How long and how closely is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    pub(super) rounds: usize,
    /// Slices of each load in a round, of which the median counts: this machine's own hiccups hit some.
    pub(super) slices: usize,
    pub(super) slice: Duration,
    pub(super) search: Search,
    /// How long a contestant may take to its first answer, if not as long as usual.
    pub(super) patience: Option<Duration>,
}

/// Everything that measuring takes.
pub(super) struct Bench<'a> {
    pub(super) rig: &'a Rig,
    pub(super) places: &'a Places,
    pub(super) effort: Effort,
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
}

impl Slice {
    pub(super) fn cpu_ns(&self) -> f64 {
        self.server_ns + self.receive_ns
    }

    /// The median of each figure; what was noticed once is kept.
    fn median(slices: &[Self]) -> Self {
        let median = |of: &dyn Fn(&Self) -> f64| Quartiles::of(slices.iter().map(of)).median;
        let sum = |of: fn(&Self) -> f64| slices.iter().map(of).sum();
        Self {
            utilisation: median(&|slice| slice.utilisation),
            server_ns: median(&|slice| slice.server_ns),
            receive_ns: median(&|slice| slice.receive_ns),
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
    /// At 25 % and at 75 % of the reference's lossless rate.
    pub(super) low: Slice,
    pub(super) high: Slice,
}

impl Bench<'_> {
    /// Starts a contestant and waits for its first answer.
    pub(super) fn start(&self, contestant: Contestant) -> Result<Running, String> {
        Running::start(contestant, self.rig, self.places, self.effort.patience, self.stop)
    }

    /// One round. `reference` is the rate that the moderate loads are parts of; the contestant's own
    /// lossless rate if there is none yet.
    pub(super) fn round(&self, contestant: Contestant, reference: Option<f64>) -> Result<Round, String> {
        let mut running = self.start(contestant)?;
        // The first requests find cold caches and an idle core.
        let most = if contestant.in_driver() { Load::Flood } else { Load::Closed };
        self.slice(&mut running, most, Duration::from_millis(200))?;
        let saturated = self.slices(&mut running, most)?;
        let lossless = self.search(&mut running, saturated.outcome.answered)?;
        let reference = reference.unwrap_or_else(|| lossless.reference(&saturated));
        let mut moderate =
            |part: f64| self.slices(&mut running, Load::Open((reference * part).max(1.0) as u64));
        let (low, high) = (moderate(LOW)?, moderate(HIGH)?);
        Ok(Round { saturated, lossless, low, high })
    }

    fn search(&self, running: &mut Running, saturated: f64) -> Result<Lossless, String> {
        load::search(self.effort.search, saturated, self.rig, self.places, running, self.stop)
    }

    /// The same load again and again; the median of each figure.
    fn slices(&self, running: &mut Running, load: Load) -> Result<Slice, String> {
        let slices = (0..self.effort.slices).map(|_| self.slice(running, load, self.effort.slice));
        Ok(Slice::median(&slices.collect::<Result<Vec<_>, _>>()?))
    }

    /// One load for so long, and what it costs the server's core.
    pub(super) fn slice(&self, running: &mut Running, load: Load, slice: Duration) -> Result<Slice, String> {
        let (server, receive) = (running.cpu(), self.rig.receiver_cpu()?);
        let mut outcome = load::run(load, slice, self.rig, self.places, running, self.stop)?;
        let server = running.cpu().saturating_sub(server).as_secs_f64();
        let receive = self.rig.receiver_cpu()?.saturating_sub(receive).as_secs_f64();
        if receive == 0.0 {
            return Err("the thread that receives for it did not run: its requests are received at the \
                        generator's cost, so that no figure would mean anything"
                .to_owned());
        }
        let replies = outcome.replies as f64;
        if !running.contestant.tells_time() {
            outcome.offset = [f64::NAN; 2];
        }
        Ok(Slice {
            utilisation: (server + receive) / outcome.seconds,
            server_ns: server * 1e9 / replies,
            receive_ns: receive * 1e9 / replies,
            outcome,
        })
    }
}

impl Lossless {
    /// What the moderate loads are parts of: the rate with a loss of one in a thousand, because one hiccup of
    /// the machine is enough to lose a single request at any rate; half of saturation where there is none.
    pub(super) fn reference(&self, saturated: &Slice) -> f64 {
        self.per_mille.or(self.none).unwrap_or(saturated.outcome.answered / 2.0)
    }
}
