//! Which cores there are, staying on one, and being woken there.

use std::io;
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use core_affinity::CoreId;

use super::check;

/// The signal that ends a thread's system call. It has no other meaning here.
const INTERRUPT: libc::c_int = libc::SIGUSR2;

/// The cores that this process may run on, ascending.
pub fn allowed_cores() -> Vec<usize> {
    core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect()
}

/// Keeps the calling thread on `core`; false if the kernel refuses.
pub fn pin_to(core: usize) -> bool {
    core_affinity::set_for_current(CoreId { id: core })
}

/// Gives the calling thread no time that another one wants.
///
/// # Errors
/// What the kernel says.
pub fn yield_to_all() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: `priority` is live for the length of the call; 0 is the calling thread.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const priority) }).map(drop)
}

/// Runs `work` with all signals blocked: threads that it starts are never chosen to handle one.
pub fn without_signals<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: sigset_t is a C struct of integers; all zeroes is a valid value, overwritten below.
    let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
    // SAFETY: both sets are live and borrowed exclusively; the calls cannot fail with these arguments.
    unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
    }
    let result = work();
    // SAFETY: `before` was filled in by the call above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    result
}

/// Interrupts what `thread` waits for, again and again until it has ended by itself.
pub fn interrupt_until_ended<T>(thread: &JoinHandle<T>) -> io::Result<()> {
    const PAUSE: Duration = Duration::from_millis(5);
    // A handler that does nothing, instead of the default that ends the process.
    let handler = signal_hook::flag::register(INTERRUPT, Arc::new(AtomicBool::new(false)))?;
    while !thread.is_finished() {
        // SAFETY: the handle has not been joined, so the thread's id is still its own, even if it has just
        // ended.
        unsafe { libc::pthread_kill(thread.as_pthread_t(), INTERRUPT) };
        // A signal that came just before the wait interrupts nothing.
        sleep(PAUSE);
    }
    signal_hook::low_level::unregister(handler);
    Ok(())
}
