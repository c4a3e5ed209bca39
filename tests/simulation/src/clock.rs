//! The machine's clock: an oscillator that wanders, and the kernel's knobs on top of it.

use std::time::Duration;

use fastrand::Rng;
use ntpring::client::{ClockRate, Now};
use ntpring::wire::NtpTimestamp;

use crate::random::{generator, normal};

/// The most that ADJ_FREQUENCY does.
const FREQUENCY_MAX_PPM: f64 = 500.0;

/// How good the oscillator is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Oscillator {
    /// Frequency error at the start.
    pub frequency: f64,
    /// Each second the frequency changes by this times a normal number.
    pub wander: f64,
    /// A temperature that comes and goes: amplitude and period in seconds.
    pub sine: Option<(f64, f64)>,
}

/// The clock. Time is true seconds since the start of the run.
#[derive(Debug)]
pub struct Clock {
    epoch: NtpTimestamp,
    time: f64,
    /// CLOCK_REALTIME − true.
    error: f64,
    /// CLOCK_MONOTONIC − true.
    monotonic: f64,
    oscillator: Oscillator,
    frequency: f64,
    next_second: f64,
    rate: ClockRate,
    rng: Rng,
}

impl Clock {
    /// A clock that is off by `error` seconds at the start, when the true time is `epoch`.
    pub fn new(oscillator: Oscillator, error: f64, epoch: NtpTimestamp, seed: u64) -> Self {
        Self {
            epoch,
            time: 0.0,
            error,
            monotonic: 1000.0,
            frequency: oscillator.frequency,
            oscillator,
            next_second: 1.0,
            rate: ClockRate::steady(0.0),
            rng: generator(seed, "oscillator"),
        }
    }

    /// True seconds since the start.
    pub fn time(&self) -> f64 {
        self.time
    }

    /// Local − true in seconds.
    pub fn error(&self) -> f64 {
        self.error
    }

    /// How fast the error grows, in seconds per second.
    pub fn rate_error(&self) -> f64 {
        let sine = self.oscillator.sine.map_or(0.0, |(amplitude, period)| {
            amplitude * (std::f64::consts::TAU * self.time / period).sin()
        });
        (1.0 + self.frequency + sine) * (1.0 + self.rate.gain()) - 1.0
    }

    /// The true time of `seconds` since the start as a timestamp.
    pub fn stamp(&self, seconds: f64) -> NtpTimestamp {
        self.epoch.offset_by((seconds * 4_294_967_296.0).round() as i64)
    }

    /// Both of the machine's clocks.
    pub fn now(&self) -> Now {
        Now { monotonic: Duration::from_secs_f64(self.monotonic + self.time), realtime: self.realtime() }
    }

    /// CLOCK_REALTIME.
    pub fn realtime(&self) -> NtpTimestamp {
        self.stamp(self.time + self.error)
    }

    /// When CLOCK_MONOTONIC will show `monotonic`, if the rate stays as it is.
    pub fn when(&self, monotonic: Duration) -> f64 {
        let ahead = monotonic.as_secs_f64() - (self.monotonic + self.time);
        // A few nanoseconds later, so that rounding never makes a wake-up early.
        self.time + (ahead / (1.0 + self.rate_error())).max(0.0) + 3e-9
    }

    /// Lets the time go by until `time`.
    pub fn advance(&mut self, time: f64) {
        while self.next_second <= time {
            self.run(self.next_second);
            self.next_second += 1.0;
            self.frequency += self.oscillator.wander * normal(&mut self.rng);
        }
        self.run(time);
    }

    fn run(&mut self, time: f64) {
        let gained = (time - self.time).max(0.0) * self.rate_error();
        self.error += gained;
        self.monotonic += gained;
        self.time = self.time.max(time);
    }

    /// ADJ_SETOFFSET, ours or somebody else's.
    pub fn step(&mut self, by: f64) {
        self.error += by;
    }

    /// ADJ_TICK and ADJ_FREQUENCY.
    ///
    /// # Panics
    /// Where the kernel would refuse.
    pub fn set_rate(&mut self, rate: ClockRate) {
        assert!((9000..=11_000).contains(&rate.tick), "tick {}", rate.tick);
        assert!(rate.frequency_ppm.abs() <= FREQUENCY_MAX_PPM + 1e-9, "frequency {}", rate.frequency_ppm);
        self.rate = rate;
    }

    /// The rate that was set last.
    pub fn rate(&self) -> ClockRate {
        self.rate
    }

    /// The machine sleeps for `seconds`: CLOCK_MONOTONIC stands still, CLOCK_REALTIME comes back from a clock
    /// that is off by `error`.
    pub fn sleep(&mut self, seconds: f64, error: f64) {
        self.time += seconds;
        self.monotonic -= seconds;
        self.error += error;
        self.next_second = self.time.floor() + 1.0;
    }
}
