//! Clock readings, as the kernel gives them.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;
use std::{io, mem, ptr};

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

/// CLOCK_TAI and what it has to do with the other clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaiReading {
    /// Nanoseconds since 1970 as CLOCK_TAI counts them.
    pub tai: u64,
    /// CLOCK_TAI − CLOCK_MONOTONIC in nanoseconds: both are slewed alike, so only setting the time, or TAI's
    /// distance from UTC, changes it.
    pub monotonic_to_tai: i64,
    /// CLOCK_TAI − CLOCK_REALTIME in seconds; 0 until somebody tells the kernel.
    pub tai_offset: i32,
    /// The leap second at the end of this UTC day, if the kernel is armed for one.
    pub leap: Option<LeapSecond>,
}

/// A correction of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeapSecond {
    /// The day has a second more: 23:59:60.
    Inserted,
    /// The day ends with 23:59:58.
    Deleted,
}

/// Reads CLOCK_TAI together with the kernel's knowledge of UTC; needs no privilege.
pub fn tai() -> TaiReading {
    const READINGS: usize = 20;
    let nanoseconds = |time: Timespec| time.as_nanos() as i64;
    let difference = || {
        let (before, tai, after) = (monotonic(), read(libc::CLOCK_TAI), monotonic());
        let (before, after) = (nanoseconds(before), nanoseconds(after));
        (after - before, nanoseconds(tai) - (before + (after - before) / 2))
    };
    // The reading that nothing came between.
    let best = (0..READINGS).map(|_| difference()).min_by_key(|(took, _)| *took);
    let (tai_offset, leap) = leap();
    TaiReading {
        tai: nanoseconds(read(libc::CLOCK_TAI)) as u64,
        monotonic_to_tai: best.map_or(0, |(_, difference)| difference),
        tai_offset,
        leap,
    }
}

/// What the kernel knows of UTC: CLOCK_TAI − CLOCK_REALTIME in seconds, and the leap second that it is armed
/// for.
pub fn leap() -> (i32, Option<LeapSecond>) {
    // SAFETY: a struct of integers, for which all zeroes is a valid value: modes 0 sets nothing.
    let mut kernel: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: `kernel` is a valid, exclusively borrowed timex for the length of the call, which cannot fail
    // where nothing is set.
    let state = unsafe { libc::adjtimex(&raw mut kernel) };
    let leap = match state {
        libc::TIME_INS => Some(LeapSecond::Inserted),
        libc::TIME_DEL => Some(LeapSecond::Deleted),
        _ => None,
    };
    (kernel.tai, leap)
}

/// A descriptor that becomes readable when somebody sets the clock.
#[derive(Debug)]
pub struct SetWatch(OwnedFd);

impl SetWatch {
    /// A watch that sees what happens from now on.
    pub fn new() -> io::Result<Self> {
        const FLAGS: libc::c_int = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: integers only.
        let timer = check(unsafe { libc::timerfd_create(libc::CLOCK_REALTIME, FLAGS) })?;
        // SAFETY: the kernel has just given this descriptor to us alone.
        let watch = Self(unsafe { OwnedFd::from_raw_fd(timer) });
        watch.arm()?;
        Ok(watch)
    }

    /// Whether CLOCK_REALTIME was set, or jumped for a leap second, since this was last asked.
    pub fn take(&self) -> bool {
        let mut expirations = [0; 8];
        // SAFETY: the kernel writes at most the 8 bytes that `expirations` has.
        let read =
            unsafe { libc::read(self.0.as_raw_fd(), expirations.as_mut_ptr().cast(), expirations.len()) };
        if read >= 0 {
            // The end of time has come, so somebody has set the clock to it.
            return self.arm().is_ok();
        }
        // The kernel has cancelled the timer, and goes on watching.
        io::Error::last_os_error().raw_os_error() == Some(libc::ECANCELED)
    }

    /// A timer for the end of time, which only being cancelled ends.
    fn arm(&self) -> io::Result<()> {
        const FLAGS: libc::c_int = libc::TFD_TIMER_ABSTIME | libc::TFD_TIMER_CANCEL_ON_SET;
        let never = libc::itimerspec {
            it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: libc::timespec { tv_sec: libc::time_t::MAX, tv_nsec: 0 },
        };
        // SAFETY: the kernel reads `never` and, where the last argument is null, writes nothing.
        check(unsafe { libc::timerfd_settime(self.0.as_raw_fd(), FLAGS, &raw const never, ptr::null_mut()) })
            .map(drop)
    }
}

impl AsRawFd for SetWatch {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
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
    fn tai_is_a_whole_number_of_seconds_from_utc_and_always_as_far_from_monotonic_time() {
        let TaiReading { tai, monotonic_to_tai, tai_offset, .. } = super::tai();
        let utc = realtime().as_nanos();
        let offset = i128::from(tai) - utc;
        assert!((offset - i128::from(tai_offset) * 1_000_000_000).abs() < 100_000_000, "{offset}");
        assert!((super::tai().monotonic_to_tai - monotonic_to_tai).abs() < 1000);
    }

    #[test]
    fn a_watch_on_a_clock_that_nobody_sets_sees_nothing() {
        assert!(!SetWatch::new().unwrap().take());
    }

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
