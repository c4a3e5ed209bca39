//! Where log lines go. No line is ever written per packet.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::sync::Mutex;

use tracing::Level;

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
    // A file has no journal that adds the time.
    let result = match file {
        Some(file) => builder.with_ansi(false).with_writer(Mutex::new(file)).try_init(),
        None => builder.with_ansi(false).without_time().with_writer(std::io::stderr).try_init(),
    };
    // A second daemon in the same process (tests, the demo) keeps the first one's log.
    drop(result);
}
