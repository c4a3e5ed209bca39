//! A clock of our own beside the machine's, for when that one may not be touched. It takes the same steps and
//! rates as the kernel's would, and everything else in the client lives on it.

use std::time::Duration;

use super::seam::Now;
use super::units::{after, between, seconds, units};
use crate::snapshot::VirtualClock as Mapping;
use crate::wire::NtpTimestamp;

/// Machine time to served time, on both clocks.
#[derive(Clone, Debug)]
pub(super) struct VirtualClock {
    /// The machine's clocks when the present rate began.
    start: Now,
    /// The served monotonic clock at `start`.
    monotonic: Duration,
    mapping: Mapping,
    gain: f64,
}

impl VirtualClock {
    pub(super) fn new(now: Now) -> Self {
        Self { start: now, monotonic: now.monotonic, mapping: Mapping::IDENTITY, gain: 0.0 }
    }

    /// What workers apply to their stamps.
    pub(super) fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// The served clocks at a machine's instant.
    pub(super) fn now(&self, machine: Now) -> Now {
        let elapsed = between(machine.monotonic, self.start.monotonic).max(0.0);
        Now {
            monotonic: after(self.monotonic, elapsed * (1.0 + self.gain)),
            realtime: self.stamp(machine.realtime),
        }
    }

    /// The served time of a stamp of the machine's clock.
    pub(super) fn stamp(&self, machine: NtpTimestamp) -> NtpTimestamp {
        self.mapping.apply(machine)
    }

    /// When the served monotonic clock shows `served`, on the machine's.
    pub(super) fn machine(&self, served: Duration) -> Duration {
        after(self.start.monotonic, between(served, self.monotonic) / (1.0 + self.gain))
    }

    /// From `machine` on the clock runs so much faster than the machine's.
    pub(super) fn set_gain(&mut self, gain: f64, machine: Now) {
        self.restart(machine);
        self.gain = gain;
        self.mapping.rate = (gain * Mapping::RATE_UNIT).round() as i64;
    }

    /// At `machine` the clock jumps by so many seconds.
    pub(super) fn step(&mut self, by: f64, machine: Now) {
        self.restart(machine);
        self.mapping.offset = self.mapping.offset.wrapping_add(units(by));
    }

    /// The machine's realtime clock jumped; what is served goes with it until it is measured anew, because
    /// whether it is right now, or was before, only the sources know.
    pub(super) fn jumped(&mut self, by: f64, machine: Now) {
        let growth = seconds(i128::from(units(by))) * self.gain;
        self.mapping.offset = self.mapping.offset.wrapping_sub(units(growth));
        self.restart(machine);
    }

    fn restart(&mut self, machine: Now) {
        let served = self.now(machine);
        self.mapping.offset = self.mapping.offset_at(machine.realtime);
        self.mapping.reference = machine.realtime;
        self.start = machine;
        self.monotonic = served.monotonic;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::units::since;

    fn machine(seconds: f64) -> Now {
        let realtime = NtpTimestamp::from_unix(1_800_000_000, 0).offset_by(units(seconds));
        Now { monotonic: Duration::from_secs_f64(100.0 + seconds), realtime }
    }

    #[test]
    fn both_served_clocks_gain_alike_and_only_one_steps() {
        let mut clock = VirtualClock::new(machine(0.0));
        clock.step(5.0, machine(10.0));
        clock.set_gain(0.01, machine(20.0));
        clock.set_gain(-0.01, machine(120.0));
        let at = machine(320.0);
        let served = clock.now(at);
        // One second gained in 100, two lost in 200.
        assert!((since(served.realtime, at.realtime) - (5.0 + 1.0 - 2.0)).abs() < 1e-6);
        assert!((between(served.monotonic, at.monotonic) - (1.0 - 2.0)).abs() < 1e-6);
        assert!((between(clock.machine(served.monotonic), at.monotonic)).abs() < 1e-6);
    }

    #[test]
    fn a_jump_of_the_machine_s_clock_is_no_time_in_which_the_rate_counts() {
        let mut clock = VirtualClock::new(machine(0.0));
        clock.set_gain(0.01, machine(0.0));
        let jumped = Now { realtime: machine(100.0).realtime.offset_by(units(1000.0)), ..machine(100.0) };
        clock.jumped(1000.0, jumped);
        assert!((since(clock.stamp(jumped.realtime), jumped.realtime) - 1.0).abs() < 1e-6);
    }
}
