//! The one place that knows ntp.conf and the server: a configuration becomes addresses, a clock and an access
//! list.

use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fmt, process};

use tracing::{error, info, warn};

use super::{CoreChoice, Failure, Options, configuration, listen, logging};
use crate::config::{self, Config, Family, Findings, InterfaceAction, Restriction, Severity};
use crate::datapath::SystemClock;
use crate::server::{AccessEntry, AccessFlags, AccessList, Clock, IpPrefix, ServingState, TooManyEntries};
use crate::snapshot::{LocalClock, SystemVariables};
use crate::sys::{clock, interfaces, thread};
use crate::wire::{Precision, ReferenceId};

/// What the process is to do, from command line and configuration.
pub(super) struct Plan {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) cores: Vec<usize>,
    pub(super) dscp: u8,
    pub(super) clock: ClockSource,
    precision: Precision,
    access: Arc<AccessList>,
    pid_file: Option<PathBuf>,
    /// `interface drop`: bound, so that nobody else gets what is sent there, and never read.
    _silent: Vec<UdpSocket>,
}

/// Where the served time comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum ClockSource {
    /// This machine's own clock, taken to be right from an instant on.
    Local(LocalClock, Instant),
    /// Nothing yet.
    None,
}

impl fmt::Display for ClockSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(local, from) => {
                let stratum = local.stratum.saturating_add(1);
                write!(
                    f,
                    "clock: this machine's own, undisciplined, stratum {stratum}, refid 127.127.1.{}",
                    local.unit
                )?;
                match from.saturating_duration_since(Instant::now()).as_secs() {
                    0 => Ok(()),
                    wait => write!(f, ", from {wait} s after start (tos orphanwait)"),
                }
            }
            Self::None => f.write_str("clock: not synchronised, and every reply says so"),
        }
    }
}

impl Plan {
    /// Reads the configuration; its findings are logged. A bad line is dropped and the rest holds, as in
    /// ntpd.
    pub(super) fn read(options: &Options) -> Result<Self, Failure> {
        let (config, findings) = match &options.config {
            Some(path) => configuration::load(path),
            None => configuration::embedded_default(),
        }
        .map_err(|unreadable| Failure::Usage(unreadable.to_string()))?;
        logging::init(config.log_file.as_ref().map(|file| file.value.as_path()));
        log_findings(&findings);
        let (addresses, silent) = addresses(options, &config)?;
        let reading_time = u64::try_from(clock::reading_time().as_nanos()).unwrap_or(u64::MAX);
        Ok(Self {
            addresses,
            cores: cores(&options.cores)?,
            dscp: config.dscp.unwrap_or_default(),
            clock: clock_source(&config),
            precision: Precision::from_nanoseconds(reading_time),
            access: access_list(&config).map_err(|problem| Failure::Usage(problem.to_string()))?,
            pid_file: config.pid_file.map(|file| file.value),
            _silent: silent,
        })
    }

    /// SIGHUP: takes access list and clock from the file as it is now. Any error in it leaves everything as
    /// it was.
    pub(super) fn reread(&mut self, path: &Path) -> Result<(), String> {
        let (config, findings) = configuration::load(path).map_err(|unreadable| unreadable.to_string())?;
        log_findings(&findings);
        if findings.errors() > 0 {
            return Err(format!("{} has errors (see above)", path.display()));
        }
        self.access = access_list(&config).map_err(|problem| problem.to_string())?;
        self.clock = clock_source(&config);
        Ok(())
    }

    /// What workers answer from now on.
    pub(super) fn serving_state(&self) -> ServingState {
        let system = match self.clock {
            ClockSource::Local(local, from) if from <= Instant::now() => {
                SystemVariables::local_clock(local, self.precision, SystemClock.now())
            }
            _ => SystemVariables::unsynchronised(self.precision),
        };
        ServingState { system, access: Arc::clone(&self.access) }
    }

    pub(super) fn write_pid_file(&self) {
        if let Some(path) = &self.pid_file
            && let Err(error) = fs::write(path, format!("{}\n", process::id()))
        {
            warn!("pidfile {}: {error}", path.display());
        }
    }
}

fn cores(choice: &CoreChoice) -> Result<Vec<usize>, Failure> {
    let allowed = thread::allowed_cores();
    let list = || allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    match choice {
        CoreChoice::All => Ok(allowed),
        CoreChoice::First(count) => allowed.get(..*count).map(<[usize]>::to_vec).ok_or_else(|| {
            Failure::Usage(format!(
                "--workers {count}: this process may run on {} cores only ({})",
                allowed.len(),
                list()
            ))
        }),
        CoreChoice::These(cores) => match cores.iter().find(|core| !allowed.contains(core)) {
            Some(core) => Err(Failure::Usage(format!(
                "--cpus: this process may not run on cpu {core}, only on {}",
                list()
            ))),
            None => Ok(cores.clone()),
        },
    }
}

fn log_findings(findings: &Findings) {
    for finding in findings {
        match finding.severity {
            Severity::Error => error!("{finding}"),
            Severity::Warning => warn!("{finding}"),
        }
    }
}

/// The local clock is right at once where nothing else is configured, else after `tos orphanwait` without
/// another source.
fn clock_source(config: &Config) -> ClockSource {
    let Some(local) = config.local_clock() else { return ClockSource::None };
    let wait = if config.associations.is_empty() { 0 } else { config.tos.orphanwait_seconds };
    let local = LocalClock {
        unit: local.unit,
        stratum: local.stratum,
        reference_id: ReferenceId::from_octets(local.refid),
    };
    ClockSource::Local(local, Instant::now() + Duration::from_secs(wait.into()))
}

fn access_list(config: &Config) -> Result<Arc<AccessList>, TooManyEntries> {
    let entries: Vec<AccessEntry> =
        config.restrictions(resolve).into_iter().filter_map(access_entry).collect();
    AccessList::new(&entries).map(Arc::new)
}

fn access_entry(restriction: Restriction) -> Option<AccessEntry> {
    Some(AccessEntry {
        prefix: IpPrefix::new(restriction.prefix.address(), restriction.prefix.length())?,
        flags: access_flags(restriction.flags),
        ntpport: restriction.ntpport,
    })
}

/// The two floors name the same flags, each for itself.
fn access_flags(flags: config::RestrictFlags) -> AccessFlags {
    use config::RestrictFlags as Restrict;
    [
        (Restrict::IGNORE, AccessFlags::IGNORE),
        (Restrict::NOSERVE, AccessFlags::NOSERVE),
        (Restrict::NOQUERY, AccessFlags::NOQUERY),
        (Restrict::NOMODIFY, AccessFlags::NOMODIFY),
        (Restrict::KOD, AccessFlags::KOD),
        (Restrict::LIMITED, AccessFlags::LIMITED),
        (Restrict::NOTRUST, AccessFlags::NOTRUST),
        (Restrict::NOMRULIST, AccessFlags::NOMRULIST),
        (Restrict::VERSION, AccessFlags::VERSION),
    ]
    .into_iter()
    .filter(|(flag, _)| flags.contains(*flag))
    .fold(AccessFlags::NONE, |all, (_, flag)| all | flag)
}

/// Addresses of a host name in a `restrict` line. One that cannot be found is not restricted until the next
/// reload.
fn resolve(name: &str, family: Family) -> Vec<IpAddr> {
    match (name, 0).to_socket_addrs() {
        Ok(found) => found.map(|address| address.ip()).filter(|address| family.contains(*address)).collect(),
        Err(error) => {
            warn!(
                "restrict {name}: {error}; this line has no effect until a reload (kill -HUP {})",
                process::id()
            );
            Vec::new()
        }
    }
}

/// Command line, then `interface` lines, then both wildcard addresses; with the sockets of `interface drop`.
fn addresses(options: &Options, config: &Config) -> Result<(Vec<SocketAddr>, Vec<UdpSocket>), Failure> {
    if !options.listen.is_empty() {
        let mut addresses = options.listen.clone();
        addresses.sort_unstable();
        addresses.dedup();
        return Ok((addresses, Vec::new()));
    }
    if config.interfaces.is_empty() {
        return Ok((listen::wildcards(listen::NTP_PORT), Vec::new()));
    }
    let mut listening = Vec::new();
    let mut silent = Vec::new();
    for interfaces::InterfaceAddress { interface, mut address, .. } in interfaces::addresses()? {
        address.set_port(listen::NTP_PORT);
        match config.interface_action(address.ip(), &interface) {
            InterfaceAction::Listen => listening.push(address),
            InterfaceAction::Drop => silent.extend(bind_silently(address)),
            InterfaceAction::Ignore => info!("interface {interface}: {} is ignored", address.ip()),
        }
    }
    for wildcard in listen::wildcards(listen::NTP_PORT) {
        if config.interface_action(wildcard.ip(), "") == InterfaceAction::Listen {
            // A wildcard socket takes what is sent to any address of its family.
            listening.retain(|address| address.is_ipv4() != wildcard.is_ipv4());
            if !silent.is_empty() {
                warn!("interface drop: no effect beside a wildcard address that is listened on");
                silent.clear();
            }
            listening.push(wildcard);
        }
    }
    if listening.is_empty() {
        return Err(Failure::Usage(
            "the interface lines leave no address of this machine to serve".to_owned(),
        ));
    }
    Ok((listening, silent))
}

/// Takes an address without ever answering there.
fn bind_silently(address: SocketAddr) -> Option<UdpSocket> {
    let socket = UdpSocket::bind(address);
    if let Err(error) = &socket {
        warn!("interface drop: cannot bind {address}: {error}");
    }
    socket.ok()
}
