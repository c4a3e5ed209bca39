//! How far a source says the local clock is off, and how fast that changes.

mod bank;
mod delays;

pub use bank::KalmanBank;

/// One exchange with a source, as the estimator sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Local − true, in seconds: RFC 5905's offset with its sign turned.
    pub error: f64,
    /// Round trip in seconds.
    pub delay: f64,
    /// How far the stamps may be from the packets' passing, in seconds.
    pub stamp_error: f64,
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was taken.
    Accepted,
    /// It waited too long on the way to say anything.
    Congested,
    /// It is too far from what was expected: not taken, unless the next ones say the same.
    Doubtful,
    /// It was one too many that did not fit: the clock, or the path, is taken to have jumped, and it was
    /// taken.
    Restarted,
}

impl Verdict {
    /// Whether the sample went into the estimate.
    pub const fn is_taken(self) -> bool {
        matches!(self, Self::Accepted | Self::Restarted)
    }
}

/// What is known about the local clock, as of the last [`Estimator::advance`]. Seconds, and seconds per
/// second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Local − true.
    pub error: f64,
    /// How fast `error` grows by itself, all corrections made.
    pub frequency: f64,
    /// Variance of `error`.
    pub error_variance: f64,
    /// Variance of `frequency`.
    pub frequency_variance: f64,
}

/// Estimates one clock by one source's samples.
pub trait Estimator {
    /// `elapsed` true seconds go by, in which the clock is moved by `phase` on top of what it does by
    /// itself.
    fn advance(&mut self, elapsed: f64, phase: f64);

    /// The clock's rate is changed by `change`.
    fn change_frequency(&mut self, change: f64);

    /// The clock jumps by an amount that nobody knows: what was known about the phase is void.
    fn forget_phase(&mut self);

    /// Takes a sample of this instant.
    fn update(&mut self, sample: Sample) -> Verdict;

    /// What is known now.
    fn estimate(&self) -> Estimate;

    /// How many samples were taken since the start or the last restart.
    fn samples(&self) -> u32;

    /// Standard deviation of the error that an interval of `seconds` without samples adds.
    fn growth(&self, seconds: f64) -> f64;

    /// Standard deviation of the error of a sample.
    fn noise(&self) -> f64;

    /// The round trip when nothing waits, in seconds.
    fn base_delay(&self) -> f64;
}
