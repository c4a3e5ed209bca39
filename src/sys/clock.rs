//! Clock readings, as the kernel gives them.

use std::io;
use std::time::Duration;

use super::check;

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

/// CLOCK_MONOTONIC: slewed like CLOCK_REALTIME but never stepped, so their difference changes only when
/// somebody sets the time.
#[inline]
pub fn monotonic() -> Timespec {
    read(libc::CLOCK_MONOTONIC)
}

/// The clock of the CPU time that one thread uses, for every thread of its process to read while it lives.
#[derive(Clone, Copy, Debug)]
pub struct ThreadCpuClock(libc::clockid_t);

impl ThreadCpuClock {
    /// The clock of the calling thread.
    pub fn of_this_thread() -> io::Result<Self> {
        let mut clock = 0;
        // SAFETY: the calling thread exists, and `clock` is valid and exclusively borrowed for the length of
        // the call.
        let error = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        if error == 0 { Ok(Self(clock)) } else { Err(io::Error::from_raw_os_error(error)) }
    }

    /// What the thread has used so far, to this moment even while it runs.
    ///
    /// # Errors
    /// The thread has ended.
    pub fn read(self) -> io::Result<Duration> {
        let time = try_read(self.0)?;
        Ok(Duration::new(time.seconds.unsigned_abs(), time.nanoseconds))
    }
}

/// The time it takes to read CLOCK_REALTIME: the smallest non-zero difference between neighbouring readings.
///
/// RFC 5905 §6 defines precision as "the resolution or the time to read the clock, whichever is larger"; a
/// clock that ticks slower than it is read shows its tick here.
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

/// Reads a clock that every Linux has.
#[inline]
fn read(clock: libc::clockid_t) -> Timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, exclusively borrowed timespec for the length of the call, which cannot fail
    // for the clocks read here.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    Timespec { seconds: time.tv_sec, nanoseconds: time.tv_nsec as u32 }
}

fn try_read(clock: libc::clockid_t) -> io::Result<Timespec> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid, exclusively borrowed timespec for the length of the call.
    check(unsafe { libc::clock_gettime(clock, &raw mut time) })?;
    Ok(Timespec { seconds: time.tv_sec, nanoseconds: time.tv_nsec as u32 })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_s_cpu_clock_counts_its_work_and_not_its_sleep() {
        let (clock_out, clock) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let worker = thread::spawn(move || {
            let clock = ThreadCpuClock::of_this_thread().unwrap();
            while clock.read().unwrap() < Duration::from_millis(5) {}
            clock_out.send(clock).unwrap();
            ended.recv().unwrap_err();
        });
        let clock = clock.recv().unwrap();
        thread::sleep(Duration::from_millis(50));
        let used = clock.read().unwrap();
        assert!((5..40).contains(&used.as_millis()), "{used:?} of work, read while the thread sleeps");
        drop(end);
        worker.join().unwrap();
    }
}
