//! Where log lines go. No line is ever written per packet, and none that nobody reads can end or stop the
//! process.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tracing::Level;

use crate::sys::stderr;

/// A reader of standard error that is slower than this loses lines.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whether nobody is served, so that nobody waits for a slow reader but ourselves. All that such a process
/// polls are the sockets of its client.
static SERVES_NOBODY: AtomicBool = AtomicBool::new(false);

/// Standard error as a log: what cannot be written is lost, as there is nowhere left to say so.
struct Stderr;

impl io::Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let _ = stderr::write(text, patience());
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Prints one line to standard error that is no log line: for scripts, wherever the log goes.
pub(super) fn print(line: &str) {
    let _ = stderr::write(format!("{line}\n").as_bytes(), patience());
}

fn patience() -> Option<Duration> {
    (!SERVES_NOBODY.load(Relaxed)).then_some(PATIENCE)
}

/// Says that nobody is served.
pub(super) fn serve_nobody() {
    SERVES_NOBODY.store(true, Relaxed);
}

/// Logs to `file`, or to stderr if there is none or it cannot be opened. The first call counts.
pub(super) fn init(file: Option<&Path>) {
    let opened = file.map(|path| (path, OpenOptions::new().create(true).append(true).open(path)));
    let (file, problem) = match opened {
        None => (None, None),
        Some((_, Ok(file))) => (Some(file), None),
        Some((path, Err(error))) => {
            (None, Some(format!("logfile {}: {error}; logging to stderr", path.display())))
        }
    };
    install(file);
    if let Some(problem) = problem {
        tracing::warn!("{problem}");
    }
}

fn install(file: Option<File>) {
    let builder = tracing_subscriber::fmt().with_max_level(Level::INFO).with_target(false);
    // A log line that cannot be written (a full disk) is not worth a panic, which is how errors are reported.
    let builder = builder.log_internal_errors(false);
    // A file has no journal that adds the time.
    let result = match file {
        Some(file) => builder.with_ansi(false).with_writer(Mutex::new(file)).try_init(),
        None => builder.with_ansi(false).without_time().with_writer(|| Stderr).try_init(),
    };
    // A second daemon in the same process (tests, the demo) keeps the first one's log.
    drop(result);
}
