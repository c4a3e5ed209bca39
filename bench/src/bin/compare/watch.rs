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
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::companion::Companion;
use super::packages;

/// How often it looks.
const PERIOD: Duration = Duration::from_millis(4);
/// Later than this is no delay of an ordinary timer.
const LATE: Duration = Duration::from_micros(500);

/// Watches cores until it is dropped.
pub(super) struct Watch {
    /// For how long cores have stood still, all together, in nanoseconds.
    still: Arc<AtomicU64>,
    _companions: Vec<Companion>,
}

impl Watch {
    /// Begins to watch.
    pub(super) fn over(cores: &[usize]) -> io::Result<Self> {
        let still = Arc::<AtomicU64>::default();
        let watch = |&core: &usize| {
            let still = Arc::clone(&still);
            Companion::on(core, "watch", before_everything_else, move || {
                let start = Instant::now();
                sleep(PERIOD);
                let late = start.elapsed().saturating_sub(PERIOD);
                if late > LATE {
                    still.fetch_add(late.as_nanos() as u64, Relaxed);
                }
            })
        };
        let _companions = cores.iter().map(watch).collect::<io::Result<_>>()?;
        Ok(Self { still, _companions })
    }

    /// For how long all cores together have stood still until now.
    pub(super) fn stood_still(&self) -> Duration {
        Duration::from_nanos(self.still.load(Relaxed))
    }
}

/// Gives the calling thread the highest priority that there is.
fn before_everything_else() -> io::Result<()> {
    let this = fs::read_link("/proc/thread-self")?;
    let thread = this.file_name().ok_or_else(|| io::Error::other("this thread has no number"))?;
    packages::run(Command::new("chrt").args(["--fifo", "--pid", "99"]).arg(thread)).map_err(io::Error::other)
}
