//! Keeps a core from going to sleep, as `idle=poll` on the kernel's command line does.
//!
//! A core that sleeps is woken by its next request. On a virtual machine the host does that, and takes up to
//! milliseconds; the request has no stamp until then. The less of its core a server needs, the more often
//! it sleeps, so that what is measured is the host, and the better server has more of it.

use std::hint::spin_loop;
use std::io;
use std::thread::yield_now;
use std::time::{Duration, Instant};

use ntpring::sys::thread::yield_to_all;

use super::companion::Companion;

/// Whoever wants the core gets it at once. The scheduler owes even the lowest priority a part in some
/// hundreds, which it would pay in slices of milliseconds: this is given back after so long.
const TURN: Duration = Duration::from_micros(20);

/// Keeps `core` awake until the result is dropped.
pub(super) fn keep_awake(core: usize) -> io::Result<Companion> {
    Companion::on(core, "rouse", yield_to_all, || {
        let start = Instant::now();
        while start.elapsed() < TURN {
            spin_loop();
        }
        yield_now();
    })
}
