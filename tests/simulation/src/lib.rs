//! The client on a simulated clock and network: seeded, deterministic, in seconds what the daemon does in
//! days.
//!
//! The model: each true second the oscillator's frequency makes a random step; the kernel's clock runs as the
//! client set its tick and frequency; a packet takes a base time and an exponential wait each way. The server
//! is perfect unless it is told to lie.

#![forbid(unsafe_code)]

pub mod clock;
pub mod outside;
pub mod outside_scenario;
pub mod path;
pub mod random;
pub mod run;
pub mod scenario;
pub mod server;
pub mod statistics;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does all `jobs` on all cores, and returns the results in their order.
pub fn parallel<J: Sync, R: Send>(jobs: &[J], work: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<Option<R>>> = Mutex::new(jobs.iter().map(|_| None).collect());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = next_index(jobs, job);
                    let result = work(job);
                    results.lock().expect("no worker panicked")[at] = Some(result);
                }
            });
        }
    });
    results.into_inner().expect("no worker panicked").into_iter().flatten().collect()
}

fn next_index<J>(jobs: &[J], job: &J) -> usize {
    jobs.iter().position(|each| std::ptr::eq(each, job)).expect("it is one of them")
}
