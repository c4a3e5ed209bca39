//! Decides how the clock is moved (RFC 5905 §11.3): step, slew, frequency. The ledger of what was done is
//! exact, so that the estimators never take our own corrections for the clock's doing.

use std::collections::VecDeque;
use std::time::Duration;

use super::seam::{Action, ClockRate, Notice};
use super::settings::{ClockControl, DisciplineSettings};
use super::units::{after, between};

/// What the kernel takes as ADJ_FREQUENCY, and how far a crystal may be off.
const FREQUENCY_MAX: f64 = 500e-6;

/// What the kernel takes as ADJ_TICK, on either side, and the steps of it.
const TICK_MAX: f64 = 0.1;
const TICK_STEP: f64 = 1.0 / ClockRate::NOMINAL_TICK as f64;

/// So many corrections after the clock was set are made within a second each.
const FAST_CORRECTIONS: u32 = 8;
const FAST_SLEW: f64 = 1.0;

/// Later ones are spread out, because slews are errors of the frequency, and most of it where packets are
/// rare: over as long as the last correction is ago, or half as long where that is more than a minute; but no
/// less and no more than this, in seconds.
const SLOW_SLEW: (f64, f64) = (32.0, 1024.0);
const MINUTE: f64 = 64.0;

/// A slew beyond ±500 ppm is never planned for longer, in seconds: who kills the process in the middle leaves
/// a clock that runs on so.
const FAST_PLAN: f64 = 2.0;

/// A rest of a slew that is not worth another one, in seconds.
const NEGLIGIBLE: f64 = 20e-9;

/// What the estimators must be told about a correction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Correction {
    /// The clock was stepped by so many seconds.
    pub(super) step: f64,
    /// The clock's frequency was changed by so much.
    pub(super) frequency: f64,
    /// The clock is now being corrected; if not, something stands against it.
    pub(super) is_corrected: bool,
}

/// What went by: see [`Discipline::advance`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Passed {
    /// True seconds, as well as the clock tells.
    pub(super) elapsed: f64,
    /// What slews added in them.
    pub(super) phase: f64,
}

/// The state of the clock discipline.
#[derive(Clone, Debug)]
pub(super) struct Discipline {
    settings: DisciplineSettings,
    rate: ClockRate,
    /// Phase that slews still have to add, in seconds.
    remaining: f64,
    /// When the present slew ends.
    slew_ends: Option<Duration>,
    /// Since when the present rate holds.
    rate_since: Duration,
    last: Duration,
    /// When the clock was corrected last, and how many seconds after the time before.
    corrected: Duration,
    spacing: f64,
    /// The clock was set or found right once.
    is_set: bool,
    /// Corrections that are still to be fast.
    fast_left: u32,
    /// Since when the offset exceeds the step threshold.
    exceeding_since: Option<Duration>,
    /// The clock jumped by so much without us: a correction by as much is no reason to panic.
    foreign_jump: f64,
}

impl Discipline {
    pub(super) fn new(settings: DisciplineSettings, drift_ppm: Option<f64>, now: Duration) -> Self {
        let limit = FREQUENCY_MAX * 1e6;
        let drift = drift_ppm.filter(|ppm| ppm.abs() <= limit).unwrap_or(0.0);
        Self {
            settings,
            rate: ClockRate::steady(drift),
            remaining: 0.0,
            slew_ends: None,
            rate_since: now,
            last: now,
            corrected: now,
            spacing: 0.0,
            is_set: false,
            fast_left: FAST_CORRECTIONS,
            exceeding_since: None,
            foreign_jump: 0.0,
        }
    }

    pub(super) fn configure(&mut self, settings: DisciplineSettings) {
        let control = self.settings.control;
        self.settings = DisciplineSettings { control, ..settings };
    }

    pub(super) fn control(&self) -> ClockControl {
        self.settings.control
    }

    /// The kernel refused: whose clock is corrected from now on.
    pub(super) fn set_control(&mut self, control: ClockControl) {
        self.settings.control = control;
    }

    /// The rate that the clock was given last.
    pub(super) fn rate(&self) -> ClockRate {
        self.rate
    }

    /// What is still to be slewed: true − local, as far as it is known.
    pub(super) fn remaining(&self) -> f64 {
        self.remaining
    }

    /// Whether the clock was set or found right at least once.
    pub(super) fn is_set(&self) -> bool {
        self.is_set
    }

    /// Whether corrections are still large and fast.
    pub(super) fn is_acquiring(&self) -> bool {
        self.fast_left > 0
    }

    /// Whether the offset exceeds the step threshold, and it is not known yet whether it stays so.
    pub(super) fn is_waiting_to_step(&self) -> bool {
        self.exceeding_since.is_some()
    }

    /// When [`Discipline::timer`] is due.
    pub(super) fn wake_at(&self) -> Option<Duration> {
        self.slew_ends
    }

    /// Gain of the present slew, and since when it holds.
    pub(super) fn slew(&self) -> (f64, Duration) {
        (self.rate.gain() - self.rate.base_ppm * 1e-6, self.rate_since)
    }

    /// Accounts for the time until `now`; a wake-up that comes late is measured here, and put right by the
    /// next plan. Due before anything else happens at `now`.
    pub(super) fn advance(&mut self, now: Duration) -> Passed {
        let (slew, _) = self.slew();
        // While it is slewed, the monotonic clock counts more seconds than there are.
        let elapsed = between(now, self.last).max(0.0) / (1.0 + slew);
        self.last = now;
        let phase = slew * elapsed;
        self.remaining -= phase;
        Passed { elapsed, phase }
    }

    /// The clock jumped by so much, and not by us.
    pub(super) fn jumped(&mut self, jump: f64) {
        self.foreign_jump += jump.abs();
        self.acquire();
    }

    /// Corrections are fast again for a while; a step needs no waiting.
    pub(super) fn acquire(&mut self) {
        self.is_set = false;
        self.fast_left = FAST_CORRECTIONS;
        self.exceeding_since = None;
    }

    /// The path or the clock moved by a little: catch up with it fast.
    pub(super) fn hurry(&mut self) {
        self.fast_left = self.fast_left.max(FAST_CORRECTIONS / 2);
    }

    /// The clock is ahead by `error`, which grows by `frequency` per second if it is known well enough.
    /// `counts`: one of the few corrections that are fast is used up.
    pub(super) fn correct(
        &mut self,
        error: f64,
        frequency: Option<f64>,
        counts: bool,
        now: Duration,
        actions: &mut VecDeque<Action>,
    ) -> Correction {
        if self.settings.control == ClockControl::None {
            self.is_set = true;
            return Correction { is_corrected: true, ..Correction::default() };
        }
        let exceeds = |threshold: f64| threshold > 0.0 && error.abs() > threshold;
        let may_exceed = !self.is_set && self.settings.allow_first_panic;
        if exceeds(self.settings.panic)
            && error.abs() > self.settings.panic + self.foreign_jump
            && !may_exceed
        {
            actions.push_back(Action::Panic(-error));
            return Correction::default();
        }
        let step = if exceeds(self.settings.step) {
            if self.is_set && !self.has_lasted(now) {
                if self.exceeding_since.is_none() {
                    self.exceeding_since = Some(now);
                    actions.push_back(Action::Log(Notice::StepPending(-error)));
                }
                return Correction::default();
            }
            self.fast_left = FAST_CORRECTIONS;
            self.step(-error, actions);
            -error
        } else {
            0.0
        };
        self.exceeding_since = None;
        self.foreign_jump = 0.0;
        self.is_set = true;
        self.spacing = between(now, self.corrected);
        self.corrected = now;
        self.remaining = -(error + step);
        let base = self.rate.base_ppm * 1e-6;
        let corrected = (base - frequency.unwrap_or(0.0)).clamp(-FREQUENCY_MAX, FREQUENCY_MAX);
        self.plan(corrected, now, actions);
        self.fast_left = self.fast_left.saturating_sub(u32::from(counts));
        Correction { step, frequency: corrected - base, is_corrected: true }
    }

    fn has_lasted(&self, now: Duration) -> bool {
        self.exceeding_since.is_some_and(|since| between(now, since) >= self.settings.stepout)
    }

    /// The present slew is over; if the wake-up came late, it went too far, and comes back.
    pub(super) fn timer(&mut self, now: Duration, actions: &mut VecDeque<Action>) -> Correction {
        if self.slew_ends.is_none_or(|end| between(now, end) < 0.0) {
            return Correction::default();
        }
        let mut step = 0.0;
        if self.settings.step > 0.0 && self.remaining.abs() > self.settings.step {
            // Nobody woke us for long, while the clock ran on at the slew's rate. How far is known exactly.
            step = self.remaining;
            self.remaining = 0.0;
            self.step(step, actions);
        }
        self.plan(self.rate.base_ppm * 1e-6, now, actions);
        Correction { step, frequency: 0.0, is_corrected: true }
    }

    fn step(&self, by: f64, actions: &mut VecDeque<Action>) {
        actions.push_back(Action::Step(by));
        actions.push_back(Action::Log(Notice::Stepped(by)));
    }

    /// Lets the clock run with frequency correction `base` and, if something remains, slewed towards it.
    fn plan(&mut self, base: f64, now: Duration, actions: &mut VecDeque<Action>) {
        let is_fast = self.is_acquiring();
        let spread = self.spacing.min(MINUTE).max(self.spacing / 2.0).clamp(SLOW_SLEW.0, SLOW_SLEW.1);
        let longest = if is_fast { FAST_SLEW } else { spread };
        let limit = self.settings.max_slew_ppm * 1e-6;
        let wanted = (self.remaining / longest).clamp(-limit, limit);
        let rate = if self.remaining.abs() < NEGLIGIBLE {
            ClockRate::steady(base * 1e6)
        } else {
            compose(base, wanted, is_fast)
        };
        if rate != self.rate {
            self.rate = rate;
            self.rate_since = now;
            actions.push_back(Action::Rate(rate));
        }
        let (slew, _) = self.slew();
        // On the monotonic clock, which the slew itself makes faster or slower.
        let duration = self.remaining / slew * (1.0 + slew);
        let longest = if rate.tick == ClockRate::NOMINAL_TICK { f64::INFINITY } else { FAST_PLAN };
        self.slew_ends = (slew != 0.0 && duration > 0.0).then(|| after(now, duration.clamp(1e-3, longest)));
    }
}

/// The kernel's two knobs for a frequency correction and a slew on top of it. ADJ_TICK is left alone unless
/// the slew is fast.
fn compose(base: f64, slew: f64, is_fast: bool) -> ClockRate {
    let total = base + slew;
    let fine = total.clamp(-FREQUENCY_MAX, FREQUENCY_MAX);
    let coarse = if is_fast { (total - fine).clamp(-TICK_MAX, TICK_MAX) } else { 0.0 };
    let steps = (coarse / TICK_STEP).round();
    let fine = if is_fast { (total - steps * TICK_STEP).clamp(-FREQUENCY_MAX, FREQUENCY_MAX) } else { fine };
    ClockRate {
        tick: ClockRate::NOMINAL_TICK + steps as i32,
        frequency_ppm: fine * 1e6,
        base_ppm: base * 1e6,
    }
}
