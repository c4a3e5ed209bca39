//! ^C ends a run, not the report.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Exit code of a process that was interrupted, as shells have it.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// Signals this close together are one: who ends a group of processes often signals each of them, and then
/// the group.
const AT_ONCE: Duration = Duration::from_millis(300);

/// The flag that the first SIGINT or SIGTERM sets. The next ends the process at once.
pub(crate) fn watch() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let flag = Arc::clone(&stop);
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut first = None;
        for _ in signals.forever() {
            if first.get_or_insert_with(Instant::now).elapsed() > AT_ONCE {
                process::exit(EXIT_INTERRUPTED.into());
            }
            flag.store(true, Relaxed);
        }
    })?;
    Ok(stop)
}
