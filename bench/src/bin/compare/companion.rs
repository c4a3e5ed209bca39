//! Threads that keep a core company while something else is measured on it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use ntpring::sys::thread::pin_to;

/// A thread that stays on a core until this is dropped.
pub(super) struct Companion {
    end: Arc<AtomicBool>,
}

impl Companion {
    /// Starts it. It takes the priority that its work needs, and then works, again and again; without the
    /// priority it says that it does not do `what`, and ends.
    pub(super) fn on(
        core: usize,
        what: &'static str,
        prioritise: impl FnOnce() -> io::Result<()> + Send + 'static,
        work: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let companion = Self { end: Arc::default() };
        let end = Arc::clone(&companion.end);
        thread::Builder::new().name(format!("{what}-{core}")).spawn(move || {
            pin_to(core);
            if let Err(error) = prioritise() {
                eprintln!("compare: cannot {what} core {core}: {error}");
                return;
            }
            while !end.load(Relaxed) {
                work();
            }
        })?;
        Ok(companion)
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        self.end.store(true, Relaxed);
    }
}
