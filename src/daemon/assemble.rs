//! The one place that knows ntp.conf, the server and the client: a configuration becomes addresses, sources,
//! an access list, a rate limit and keys.

mod client_settings;
mod rate_limit;

pub(super) use client_settings::is_slew_only;

use std::collections::HashMap;
use std::fs;
use std::net::{IpAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use tracing::{error, warn};

use self::rate_limit::rate_limit;
use super::addresses::{self, Addresses};
use super::configuration::Loaded;
use super::drift_file::DriftFile;
use super::{CoreChoice, Failure, Options, configuration, logging};
use crate::auth::KeyTable;
use crate::client;
use crate::config::{self, Config, Family, Findings, Mru, Restriction, Severity};
use crate::limits;
use crate::server::{
    AccessEntry, AccessFlags, AccessList, IpPrefix, RateLimit, ServingState, TooManyEntries,
};
use crate::snapshot::SystemVariables;
use crate::sys::{clock, thread};
use crate::wire::Precision;

/// What the process is to do, from command line and configuration.
pub(super) struct Plan {
    pub(super) addresses: Addresses,
    pub(super) cores: Vec<usize>,
    pub(super) dscp: u8,
    /// What the client is to do.
    pub(super) settings: client::Settings,
    /// Where the frequency is kept.
    pub(super) drift_file: Option<DriftFile>,
    access: Arc<AccessList>,
    limit: RateLimit,
    monitor: bool,
    /// Clients that each worker remembers for `mrulist`.
    pub(super) monitored: usize,
    keys: Arc<KeyTable>,
    control_key: Option<u16>,
    /// Set when the program in the network driver is there to write it.
    pub(super) spent_mark: Option<[u8; 8]>,
    names: Names,
    pid_file: Option<PathBuf>,
}

/// What may change while the process runs.
pub(super) struct Reread {
    settings: client::Settings,
    access: Arc<AccessList>,
    limit: RateLimit,
    monitor: bool,
    /// `None` if they cannot be read any more: the old ones stay.
    keys: Option<Arc<KeyTable>>,
    control_key: Option<u16>,
    names: Names,
}

impl Plan {
    /// Reads the configuration; its findings are logged. A bad line is dropped and the rest holds, as in
    /// ntpd.
    pub(super) fn read(options: &Options) -> Result<Self, Failure> {
        let Loaded { config, findings, keys } = match &options.config {
            Some(path) => configuration::load(path, &options.directives),
            None => configuration::embedded_default(&options.directives),
        }
        .map_err(|unreadable| Failure::Usage(unreadable.to_string()))?;
        logging::init(config.log_file.as_ref().map(|file| file.value.as_path()));
        log_findings(&findings);
        let mut names = Names::default();
        let reading_time = u64::try_from(clock::reading_time().as_nanos()).unwrap_or(u64::MAX);
        let precision = Precision::from_nanoseconds(reading_time);
        let drift_file = drift_file(&config);
        let drift_ppm = drift_file.as_ref().and_then(DriftFile::read);
        let cores = cores(&options.cores)?;
        let monitored = monitored_clients(&config).div_ceil(cores.len().max(1));
        Ok(Self {
            addresses: if cores.is_empty() {
                Addresses::none()
            } else {
                addresses::choose(options, &config)?
            },
            cores,
            dscp: config.dscp.unwrap_or_default(),
            settings: client_settings::settings(options, &config, precision, drift_ppm),
            drift_file,
            access: access_list(&config, &mut names)
                .map_err(|problem| Failure::Usage(problem.to_string()))?,
            limit: rate_limit(&config),
            monitor: config.monitor(),
            monitored,
            keys: keys.map(Arc::new).unwrap_or_default(),
            control_key: config.control_key.as_ref().map(|key| key.value),
            spent_mark: None,
            names,
            pid_file: config.pid_file.map(|file| file.value),
        })
    }

    /// SIGHUP: what reads the file as it is now. It may take as long as disks and resolvers take, so it is
    /// for a thread of its own.
    pub(super) fn reread(
        &self,
        options: &Options,
        path: &Path,
    ) -> impl FnOnce() -> Result<Reread, String> + Send + 'static {
        let (options, path, mut names) = (options.clone(), path.to_owned(), self.names.clone());
        let (precision, drift_ppm) = (self.settings.precision, self.settings.drift_ppm);
        move || {
            let Loaded { config, findings, keys } = configuration::load(&path, &options.directives)
                .map_err(|unreadable| unreadable.to_string())?;
            log_findings(&findings);
            if findings.errors() > 0 {
                return Err(format!("{} has errors (see above)", path.display()));
            }
            let access = access_list(&config, &mut names).map_err(|problem| problem.to_string())?;
            let settings = client_settings::settings(&options, &config, precision, drift_ppm);
            if keys.is_none() {
                warn!(
                    "the keys that were read before stay in force: whom --user names must be able to read them"
                );
            }
            Ok(Reread {
                settings,
                access,
                limit: rate_limit(&config),
                monitor: config.monitor(),
                keys: keys.map(Arc::new),
                control_key: config.control_key.as_ref().map(|key| key.value),
                names,
            })
        }
    }

    /// Puts in force what was read again.
    pub(super) fn adopt(&mut self, reread: Reread) {
        let Reread { settings, access, limit, monitor, keys, control_key, names } = reread;
        self.settings = settings;
        self.access = access;
        self.limit = limit;
        self.monitor = monitor;
        self.control_key = control_key;
        if let Some(keys) = keys {
            self.keys = keys;
        }
        self.names = names;
    }

    /// The keys in use.
    pub(super) fn keys(&self) -> Arc<KeyTable> {
        Arc::clone(&self.keys)
    }

    /// What workers answer from now on.
    pub(super) fn serving_state(&self, system: SystemVariables) -> ServingState {
        ServingState {
            system,
            access: Arc::clone(&self.access),
            limit: self.limit,
            monitor: self.monitor,
            keys: Arc::clone(&self.keys),
            control_key: self.control_key,
            spent_mark: self.spent_mark,
        }
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
        CoreChoice::All => Ok(allowed.into_iter().take(limits::WORKERS_MAX).collect()),
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

/// A drift file is for a clock that is corrected.
fn drift_file(config: &Config) -> Option<DriftFile> {
    let file = config.drift_file.as_ref().filter(|_| !config.associations.is_empty())?;
    Some(DriftFile::new(file.value.clone()))
}

/// How many clients `mrulist` can show. All memory is there from the start, so there is none for a list that
/// is not kept.
fn monitored_clients(config: &Config) -> usize {
    let room = match config.mru {
        Mru::Entries(entries) => entries as usize,
        Mru::Kilobytes(kilobytes) => kilobytes as usize * 1024 / limits::MONITORED_CLIENT_BYTES,
    };
    if config.monitor() { room.min(limits::MONITORED_CLIENTS_MAX) } else { 0 }
}

fn access_list(config: &Config, names: &mut Names) -> Result<Arc<AccessList>, TooManyEntries> {
    let entries: Vec<AccessEntry> = config
        .restrictions(|name, family| names.resolve(name, family))
        .into_iter()
        .filter_map(access_entry)
        .collect();
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

/// Addresses of the host names in `restrict` lines, as they were last found.
#[derive(Clone, Default)]
struct Names(HashMap<String, Vec<IpAddr>>);

impl Names {
    /// A name that cannot be resolved now keeps the addresses it had: a reload while the resolver is down
    /// lifts no restriction.
    fn resolve(&mut self, name: &str, family: Family) -> Vec<IpAddr> {
        match (name, 0).to_socket_addrs() {
            Ok(found) => {
                self.0.insert(name.to_owned(), found.map(|address| address.ip()).collect());
            }
            Err(error) => {
                let kept = if self.0.contains_key(name) { "keeps its addresses" } else { "has no effect" };
                warn!("restrict {name}: {error}; the line {kept}");
            }
        }
        let addresses = self.0.get(name).into_iter().flatten().copied();
        addresses.filter(|address| family.contains(*address)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        config::load(Path::new("test.conf"), &mut |_| Ok(text.into())).expect("it is in memory").0
    }

    #[test]
    fn a_name_that_cannot_be_resolved_any_more_keeps_its_addresses() {
        let mut names = Names::default();
        assert_eq!(names.resolve("no-such-host.invalid", Family::Any), [] as [IpAddr; 0]);
        let kept: Vec<IpAddr> = vec!["192.0.2.1".parse().expect("an address"), "::1".parse().expect("one")];
        names.0.insert("no-such-host.invalid".to_owned(), kept.clone());
        assert_eq!(names.resolve("no-such-host.invalid", Family::Any), kept);
        assert_eq!(names.resolve("no-such-host.invalid", Family::V4), kept[..1]);
    }

    #[test]
    fn every_restrict_flag_reaches_the_access_list() {
        let flags = "ignore noserve noquery nomodify kod limited notrust nomrulist version";
        let access = access_list(&config(&format!("restrict 192.0.2.1 {flags}\n")), &mut Names::default())
            .expect("few entries");
        let got = access.lookup("192.0.2.1:1000".parse().expect("an address"));
        for flag in [
            AccessFlags::IGNORE,
            AccessFlags::NOSERVE,
            AccessFlags::NOQUERY,
            AccessFlags::NOMODIFY,
            AccessFlags::KOD,
            AccessFlags::LIMITED,
            AccessFlags::NOTRUST,
            AccessFlags::NOMRULIST,
            AccessFlags::VERSION,
        ] {
            assert!(got.contains(flag), "{flag:?}");
        }
    }
}
