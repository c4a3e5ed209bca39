//! The one place that knows ntp.conf and the server.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Failure, Options, listen};
use crate::datapath::SystemClock;
use crate::server::{AccessList, Clock, ServingState};
use crate::snapshot::{LocalClock, SystemVariables};
use crate::sys::{clock, thread};
use crate::wire::Precision;

/// What the process is to do, from command line and configuration.
pub(super) struct Plan {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) cores: Vec<usize>,
    pub(super) dscp: u8,
    pub(super) clock: ClockSource,
    precision: Precision,
    access: Arc<AccessList>,
    pid_file: Option<PathBuf>,
}

/// Where the served time comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum ClockSource {
    /// This machine's own clock, taken to be right.
    Local(LocalClock),
    /// Nothing yet.
    None,
}

impl fmt::Display for ClockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(local) => {
                write!(f, "clock: this machine's own, undisciplined, stratum {}", local.stratum + 1)
            }
            Self::None => f.write_str("clock: not synchronised, replies say so"),
        }
    }
}

impl Plan {
    pub(super) fn read(options: &Options) -> Result<Self, Failure> {
        let addresses = if options.listen.is_empty() {
            listen::wildcards(listen::NTP_PORT)
        } else {
            options.listen.clone()
        };
        Ok(Self {
            addresses,
            cores: options.cores.clone().unwrap_or_else(thread::allowed_cores),
            dscp: 0,
            clock: ClockSource::Local(LocalClock::default()),
            precision: Precision::from_nanoseconds(clock::reading_time().as_nanos() as u64),
            access: Arc::default(),
            pid_file: None,
        })
    }
    pub(super) fn reread(&mut self, _path: &Path) -> Result<(), String> {
        Ok(())
    }

    /// What workers answer from now on.
    pub(super) fn serving_state(&self) -> ServingState {
        let system = match self.clock {
            ClockSource::Local(local) => {
                SystemVariables::local_clock(local, self.precision, SystemClock.now())
            }
            ClockSource::None => SystemVariables::unsynchronised(self.precision),
        };
        ServingState { system, access: Arc::clone(&self.access) }
    }

    pub(super) fn write_pid_file(&self) {
        if let Some(path) = &self.pid_file
            && let Err(error) = std::fs::write(path, format!("{}\n", std::process::id()))
        {
            tracing::warn!("pidfile {}: {error}", path.display());
        }
    }
}
