//! Keeps a core from going to sleep, as `idle=poll` on the kernel's command line does.
//!
//! A core that sleeps is woken by its next request. On a virtual machine the host does that, and takes up to
//! milliseconds; the request has no stamp until then. The less of its core a server needs, the more often
//! it sleeps, so that what is measured is the host, and the better server has more of it.

use std::hint::spin_loop;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, yield_now};
use std::time::{Duration, Instant};

use ntpring::sys::thread::{pin_to, yield_to_all};

/// Whoever wants the core gets it at once. The scheduler owes even the lowest priority a part in some
/// hundreds, which it would pay in slices of milliseconds: this is given back after so long.
const TURN: Duration = Duration::from_micros(20);

/// Keeps a core awake until it is dropped.
pub(super) struct Awake {
    end: Arc<AtomicBool>,
}

impl Awake {
    /// Begins to.
    pub(super) fn core(core: usize) -> io::Result<Self> {
        let awake = Self { end: Arc::default() };
        let end = Arc::clone(&awake.end);
        thread::Builder::new().name(format!("awake-{core}")).spawn(move || {
            pin_to(core);
            if let Err(error) = yield_to_all() {
                eprintln!("compare: core {core} may sleep: {error}");
                return;
            }
            while !end.load(Relaxed) {
                let start = Instant::now();
                while start.elapsed() < TURN {
                    spin_loop();
                }
                yield_now();
            }
        })?;
        Ok(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
    }
}
