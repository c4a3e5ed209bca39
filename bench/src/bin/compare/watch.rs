//! Notices when the machine stands still, as a virtual one does when its host takes a core away: what is
//! measured then is the host.
//!
//! On each core a thread before everything else sleeps for some milliseconds again and again. Nothing wakes
//! it half a millisecond late but a core that stands still: no system call of what is measured takes so
//! long. It takes half a per cent of the core, whoever is measured.

use std::fs;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use ntpring::sys::thread::pin_to;

use super::packages;

/// How often it looks.
const PERIOD: Duration = Duration::from_millis(4);
/// Later than this is no delay of an ordinary timer.
const LATE: Duration = Duration::from_micros(500);

/// Watches cores until it is dropped.
pub(super) struct Watch {
    /// For how long cores have stood still, all together, in nanoseconds.
    still: Arc<AtomicU64>,
    end: Arc<AtomicBool>,
}

impl Watch {
    /// Begins to watch.
    pub(super) fn over(cores: &[usize]) -> io::Result<Self> {
        let watch = Self { still: Arc::default(), end: Arc::default() };
        for &core in cores {
            let (still, end) = (Arc::clone(&watch.still), Arc::clone(&watch.end));
            thread::Builder::new().name(format!("watch-{core}")).spawn(move || {
                pin_to(core);
                if let Err(error) = before_everything_else() {
                    eprintln!("compare: cannot tell when core {core} stands still: {error}");
                    return;
                }
                while !end.load(Relaxed) {
                    let start = Instant::now();
                    sleep(PERIOD);
                    let late = start.elapsed().saturating_sub(PERIOD);
                    if late > LATE {
                        still.fetch_add(late.as_nanos() as u64, Relaxed);
                    }
                }
            })?;
        }
        Ok(watch)
    }

    /// For how long all cores together have stood still until now.
    pub(super) fn stood_still(&self) -> Duration {
        Duration::from_nanos(self.still.load(Relaxed))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
    }
}

/// Gives the calling thread the highest priority that there is.
fn before_everything_else() -> io::Result<()> {
    let this = fs::read_link("/proc/thread-self")?;
    let thread = this.file_name().ok_or_else(|| io::Error::other("this thread has no number"))?;
    packages::run(Command::new("chrt").args(["--fifo", "--pid", "99"]).arg(thread)).map_err(io::Error::other)
}
