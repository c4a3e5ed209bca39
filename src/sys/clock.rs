//! Clock readings, as the kernel gives them.

use std::time::Duration;

/// Seconds and nanoseconds since the clock's epoch; `nanoseconds` is below 1e9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timespec {
    /// Whole seconds; for CLOCK_REALTIME since 1970-01-01.
    pub seconds: i64,
    /// Nanoseconds of the second.
    pub nanoseconds: u32,
}

impl Timespec {
    /// Nanoseconds since the clock's epoch; wide enough for any `time_t`.
    pub fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds)
    }
}

/// CLOCK_REALTIME: what receive stamps are taken from.
#[inline]
pub fn realtime() -> Timespec {
    read(libc::CLOCK_REALTIME)
}

/// CLOCK_MONOTONIC: slewed like CLOCK_REALTIME but never stepped, so their difference changes only when somebody sets the time.
#[inline]
pub fn monotonic() -> Timespec {
    read(libc::CLOCK_MONOTONIC)
}

/// CPU time that the calling thread has used.
pub fn thread_cpu_time() -> Duration {
    let time = read(libc::CLOCK_THREAD_CPUTIME_ID);
    Duration::new(time.seconds.unsigned_abs(), time.nanoseconds)
}

/// The time it takes to read CLOCK_REALTIME: the smallest non-zero difference between neighbouring readings.
///
/// RFC 5905 §6 defines precision as "the resolution or the time to read the clock, whichever is larger"; a clock that ticks slower
/// than it is read shows its tick here.
pub fn reading_time() -> Duration {
    const READINGS: usize = 1000;
    let mut smallest = Duration::from_secs(1);
    let mut previous = realtime().as_nanos();
    for _ in 0..READINGS {
        let now = realtime().as_nanos();
        if let Ok(step @ 1..) = u64::try_from(now - previous) {
            smallest = smallest.min(Duration::from_nanos(step));
        }
        previous = now;
    }
    smallest
}

#[inline]
fn read(clock: libc::clockid_t) -> Timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, exclusively borrowed timespec for the length of the call. The three clocks read here exist on
    // every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Timespec { seconds: time.tv_sec, nanoseconds: time.tv_nsec as u32 }
}
