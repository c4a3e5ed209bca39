//! The machine's clock while it is ours to adjust. Whatever happens, it is left without a slew: a process
//! that ends in the middle of one would leave a clock that is up to 8 % fast.

use std::io;
use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use crate::client::{ClockRate, KernelStatus};
use crate::sys::adjtime::{self, Leap, Status};
use crate::wire::LeapIndicator;

/// Whether there may be a slew to take back, and the frequency that is right without it, as bits of an f64. A
/// process has one clock; a panic finds it here.
static IS_OURS: AtomicBool = AtomicBool::new(false);
static BASE_PPM: AtomicU64 = AtomicU64::new(0);
static PANIC_HOOK: Once = Once::new();

/// The right to adjust the clock. Dropping it takes back any slew.
#[derive(Debug)]
pub(super) struct KernelClock(());

impl KernelClock {
    /// Takes the clock over, and first of all takes back what a process that was killed may have left: the
    /// clock runs at `base_ppm` from now on.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_SYS_TIME.
    pub(super) fn take_over(base_ppm: f64) -> io::Result<Self> {
        let clock = Self(());
        clock.set_rate(ClockRate::steady(base_ppm))?;
        IS_OURS.store(true, SeqCst);
        PANIC_HOOK.call_once(restore_on_panic);
        Ok(clock)
    }

    /// Lets the clock run at this rate.
    pub(super) fn set_rate(&self, rate: ClockRate) -> io::Result<()> {
        BASE_PPM.store(rate.base_ppm.to_bits(), SeqCst);
        adjtime::set_rate(rate.tick, rate.frequency_ppm)
    }

    /// Moves the clock at once.
    pub(super) fn step(&self, seconds: f64) -> io::Result<()> {
        adjtime::step((seconds * 1e9).round() as i128)
    }

    /// Tells the kernel how the clock is doing.
    pub(super) fn set_status(&self, status: KernelStatus) -> io::Result<()> {
        adjtime::set_status(Status {
            synchronised: status.synchronised,
            leap: match status.leap {
                LeapIndicator::Insert => Leap::Insert,
                LeapIndicator::Delete => Leap::Delete,
                LeapIndicator::None | LeapIndicator::Unsynchronised => Leap::None,
            },
            maximum_error: duration(status.maximum_error),
            estimated_error: duration(status.estimated_error),
        })
    }
}

impl Drop for KernelClock {
    fn drop(&mut self) {
        restore();
    }
}

fn base_ppm() -> f64 {
    f64::from_bits(BASE_PPM.load(SeqCst))
}

/// Nobody is left to hear of an error here, and nothing else to be tried.
fn restore() {
    if IS_OURS.swap(false, SeqCst) {
        let rest = ClockRate::steady(base_ppm());
        let _ = adjtime::set_rate(rest.tick, rest.frequency_ppm);
    }
}

/// A panic of any thread may end the process without anything being dropped.
fn restore_on_panic() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        restore();
        previous(info);
    }));
}

/// An error bound that is no number is none.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_error_bound_is_a_duration() {
        assert_eq!(duration(0.0015), Duration::from_micros(1500));
        for strange in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert_eq!(duration(strange), Duration::MAX, "{strange}");
        }
    }
}
