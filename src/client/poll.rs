//! How often a source is asked.

use super::estimator::Estimator;
use super::settings::SourceOptions;

/// RFC 5905 §7.2 MAXPOLL: 36 h.
pub(super) const MAXPOLL: u8 = 17;

/// The poll interval of one association.
#[derive(Clone, Debug)]
pub(super) struct Poll {
    exponent: u8,
    minpoll: u8,
    maxpoll: u8,
    /// Samples since the interval changed.
    samples: u8,
}

/// The interval grows only after so many samples: what the first few say about noise and frequency may be far
/// too good by chance.
const SAMPLES: u8 = 4;

impl Poll {
    pub(super) fn new(options: &SourceOptions) -> Self {
        let minpoll = options.minpoll.min(MAXPOLL);
        Self { exponent: minpoll, minpoll, maxpoll: options.maxpoll.clamp(minpoll, MAXPOLL), samples: 0 }
    }

    /// Log2 seconds.
    pub(super) fn exponent(&self) -> u8 {
        self.exponent
    }

    /// RFC 5905 §7.3: the smaller one of ours and the server's, inside our bounds. A server that does not
    /// echo our poll field has no say.
    pub(super) fn interval(&self, server_poll: i8) -> f64 {
        let exponent = match u8::try_from(server_poll) {
            Ok(poll @ 1..=MAXPOLL) => self.exponent.min(poll).max(self.minpoll),
            _ => self.exponent,
        };
        f64::from(exponent).exp2()
    }

    /// Longer, as long as what the clock does in the meantime stays small beside the noise of a sample;
    /// shorter, when it does not.
    pub(super) fn adapt(&mut self, estimator: &impl Estimator) {
        let noise = estimator.noise();
        let growth = |exponent: u8| estimator.growth(f64::from(exponent).exp2());
        self.samples = self.samples.saturating_add(1);
        let is_calm = self.samples >= SAMPLES && growth(self.exponent + 1) < noise / 2.0;
        if self.exponent < self.maxpoll && is_calm {
            self.exponent += 1;
            self.samples = 0;
        } else if self.exponent > self.minpoll && growth(self.exponent) > noise {
            self.exponent -= 1;
            self.samples = 0;
        }
    }

    /// Nobody answers: ask less often.
    pub(super) fn back_off(&mut self) {
        self.exponent = (self.exponent + 1).min(self.maxpoll);
    }

    /// Twice as often, if that is allowed.
    pub(super) fn hasten(&mut self) {
        self.exponent = self.exponent.saturating_sub(1).max(self.minpoll);
        self.samples = 0;
    }

    /// Something happened to the clock: ask as often as is allowed.
    pub(super) fn hurry(&mut self) {
        self.exponent = self.minpoll;
    }

    /// The server asks for fewer requests. RFC 5905 §7.4 says "reduce its polling interval" and means the
    /// rate (the errata say so): never shorter than now, and never again shorter than asked for.
    pub(super) fn slow_down(&mut self, asked: i8) {
        let asked = u8::try_from(asked).ok().filter(|asked| *asked <= MAXPOLL).unwrap_or(0);
        self.exponent = (self.exponent + 1).max(asked).min(MAXPOLL);
        self.minpoll = self.minpoll.max(self.exponent);
        self.maxpoll = self.maxpoll.max(self.minpoll);
    }
}
