//! The live line.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::engine::Live;
use crate::report;

/// How often the line is renewed. The rate it shows is that of the last interval.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often the end is looked for.
const GLANCE: Duration = Duration::from_millis(20);

/// One line on stderr that shows how a run goes; nothing if stderr is no terminal.
pub(crate) struct Progress {
    name: &'static str,
    duration: Duration,
}

impl Progress {
    /// For a run that takes about `duration`.
    pub(crate) fn new(name: &'static str, duration: Duration) -> Self {
        Self { name, duration }
    }

    /// Shows the sum of all threads until `glance` says that it is over; else it says what the 99th
    /// percentile of latency was in the last second, in microseconds.
    pub(crate) fn show(&self, live: &[Live], mut glance: impl FnMut() -> ControlFlow<(), Option<f64>>) {
        let bar = ProgressBar::new(self.duration.as_millis().try_into().unwrap_or(u64::MAX));
        bar.set_style(style());
        bar.set_prefix(self.name);
        let start = Instant::now();
        let (mut shown_at, mut answered_then) = (start, 0);
        while let ControlFlow::Continue(p99) = glance() {
            thread::sleep(GLANCE);
            let since = shown_at.elapsed();
            if since < INTERVAL {
                continue;
            }
            let sum = |count: fn(&Live) -> &AtomicU64| {
                live.iter().map(|live| count(live).load(Relaxed)).sum::<u64>()
            };
            let (sent, answered, lost) =
                (sum(|live| &live.sent), sum(|live| &live.answered), sum(|live| &live.lost));
            let rate = answered.saturating_sub(answered_then) as f64 / since.as_secs_f64();
            let loss = 100.0 * lost as f64 / sent.max(1) as f64;
            let p99 = p99.map_or_else(String::new, |p99| format!(" · p99 {}", report::time(p99)));
            bar.set_message(format!("{rate:.0} answers/s · sent {sent} · lost {lost} ({loss:.3} %){p99}"));
            bar.set_position(start.elapsed().as_millis().try_into().unwrap_or(u64::MAX));
            (shown_at, answered_then) = (Instant::now(), answered);
        }
        bar.finish_and_clear();
    }
}

fn style() -> ProgressStyle {
    // The template is a constant; the default style is what is left if it were ever wrong.
    ProgressStyle::with_template("{prefix} [{bar:20}] {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}
