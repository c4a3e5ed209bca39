//! `ntpring ntpd`, or `ntpd` by its name: `serve` with ntpd's options, classic and ntpsec's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{EXIT_USAGE, complain, serve};
use crate::config::Family;
use crate::daemon::{CoreChoice, Options};

/// ntpd's options. Letters mean what they mean to ntpd, also where `serve` has another meaning for them.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "ntpd",
    version,
    about = "ntpring by the name of ntpd: serves time, and follows other servers, as ntp.conf says",
    disable_help_flag = true,
    after_help = "Options of ntpd that are not here are accepted and have no effect: -a -A -b -d -D -G -i -L -m -M -N -P -r -U -v -w."
)]
pub(super) struct Args {
    /// Configuration file [default: /etc/ntp.conf if it exists, else this machine's own clock]
    #[arg(short, long = "configfile", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The first correction may be of any size
    #[arg(short = 'g', long = "panicgate", action = clap::ArgAction::Count)]
    panic_gate: u8,
    /// Slew the clock; step it only if it is off by 600 s or more
    #[arg(short = 'x', long)]
    slew: bool,
    /// Set the clock once and exit; exit code 0 only if it was set
    #[arg(short = 'q', long)]
    quit: bool,
    /// Stay in the foreground, which is always so
    #[arg(short = 'n', long = "nofork")]
    no_fork: bool,
    /// Become this user once the sockets are open
    #[arg(short = 'u', long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// IPv6 only
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Serve this address, or those of this interface, and the loopback ones, and no others; may be repeated
    #[arg(short = 'I', long = "interface", value_name = "ADDRESS|NAME")]
    interfaces: Vec<String>,
    /// Where the frequency error is kept
    #[arg(short = 'f', long = "driftfile", value_name = "FILE")]
    drift_file: Option<PathBuf>,
    /// Where the log goes instead of standard error
    #[arg(short = 'l', long = "logfile", value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Where the process id is written
    #[arg(short = 'p', long = "pidfile", value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Keys
    #[arg(short = 'k', long = "keyfile", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Use this key of the key file; may be repeated
    #[arg(short = 't', long = "trustedkey", value_name = "ID")]
    trusted_keys: Vec<u16>,
    /// Directory of the statistics files
    #[arg(short = 's', long = "statsdir", value_name = "DIRECTORY")]
    statistics: Option<PathBuf>,
    #[command(flatten)]
    ignored: Ignored,
    /// Print this help
    #[arg(short = '?', long, short_aliases = ['h', '!'], alias = "more-help", action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// More servers to follow
    #[arg(value_name = "SERVER")]
    servers: Vec<String>,
}

/// Options of ntpd that have no effect here. Each is told once, with the reason.
#[derive(Clone, Debug, clap::Args)]
struct Ignored {
    #[arg(short = 'a', long = "authreq", hide = true)]
    authentication: bool,
    #[arg(short = 'A', long = "authnoreq", hide = true)]
    no_authentication: bool,
    #[arg(short = 'b', long = "bcastsync", hide = true)]
    broadcast: bool,
    #[arg(short = 'd', long = "debug-level", action = clap::ArgAction::Count, hide = true)]
    debug: u8,
    #[arg(short = 'D', long = "set-debug-level", value_name = "LEVEL", hide = true)]
    debug_level: Option<String>,
    #[arg(short = 'G', long = "force-step-once", hide = true)]
    force_step: bool,
    #[arg(short = 'i', long = "jaildir", value_name = "DIRECTORY", hide = true)]
    jail: Option<String>,
    #[arg(short = 'L', long = "novirtualips", hide = true)]
    no_virtual: bool,
    #[arg(short = 'm', long = "mdns", hide = true)]
    mdns: bool,
    #[arg(short = 'M', long = "modifymmtimer", hide = true)]
    multimedia_timer: bool,
    #[arg(short = 'N', long = "nice", hide = true)]
    nice: bool,
    #[arg(short = 'P', long = "priority", value_name = "NUMBER", hide = true)]
    priority: Option<String>,
    #[arg(short = 'r', long = "propagationdelay", value_name = "SECONDS", hide = true)]
    propagation_delay: Option<String>,
    #[arg(short = 'U', long = "updateinterval", alias = "uinterval", value_name = "SECONDS", hide = true)]
    update_interval: Option<String>,
    #[arg(short = 'v', long = "var", value_name = "VARIABLE", hide = true)]
    variables: Vec<String>,
    #[arg(long = "dvar", value_name = "VARIABLE", hide = true)]
    default_variables: Vec<String>,
    #[arg(short = 'w', long = "wait-sync", value_name = "SECONDS", hide = true)]
    wait: Option<String>,
}

impl Ignored {
    /// The options that were given, each with the reason why it has no effect.
    fn given(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        [
            (self.authentication, "-a", "use \"enable auth\" in ntp.conf"),
            (self.no_authentication, "-A", "use \"disable auth\" in ntp.conf"),
            (self.broadcast, "-b", "broadcast time is easily forged, and is not followed"),
            (self.debug > 0, "-d", "there is one level of messages"),
            (self.debug_level.is_some(), "-D", "there is one level of messages"),
            (self.force_step, "-G", "an offset beyond the step threshold is stepped at the start anyway"),
            (self.jail.is_some(), "-i", "the process keeps no right that a jail would take from it"),
            (self.no_virtual, "-L", "use \"interface ignore NAME\" in ntp.conf"),
            (self.mdns, "-m", "the service is not announced by mDNS"),
            (self.multimedia_timer, "-M", "it is for Windows"),
            (self.nice, "-N", "workers are pinned to cores; the service manager can set a priority"),
            (
                self.priority.is_some(),
                "-P",
                "workers are pinned to cores; the service manager can set a priority",
            ),
            (self.propagation_delay.is_some(), "-r", "broadcast time is not followed"),
            (self.update_interval.is_some(), "-U", "wildcard addresses serve interfaces that come later"),
            (!self.variables.is_empty(), "-v", "variables cannot be added"),
            (!self.default_variables.is_empty(), "--dvar", "variables cannot be added"),
            (
                self.wait.is_some(),
                "-w",
                "the process never forks: \"ready:\" and sd_notify say when it serves",
            ),
        ]
        .into_iter()
        .filter_map(|(is_given, option, why)| is_given.then_some((option, why)))
    }
}

/// Serves, or sets the clock, as ntpd would.
pub(super) fn run(args: Args) -> ExitCode {
    for (option, why) in args.ignored.given() {
        complain(format_args!("ntpd: {option} has no effect: {why}"));
    }
    match args.options() {
        Ok(options) => serve::serve(&options),
        Err(problem) => {
            complain(format_args!("ntpd: {problem}"));
            ExitCode::from(EXIT_USAGE)
        }
    }
}

impl Args {
    fn options(self) -> Result<Options, String> {
        Ok(Options {
            directives: self.directives()?,
            config: self.config.or_else(serve::default_config),
            cores: if self.quit { CoreChoice::First(0) } else { CoreChoice::All },
            user: self.user,
            panic_gate: self.panic_gate > 0,
            slew: self.slew,
            set_once: self.quit,
            family: match (self.ipv4, self.ipv6) {
                (true, _) => Family::V4,
                (_, true) => Family::V6,
                _ => Family::Any,
            },
            ..Options::default()
        })
    }

    /// The options that ntp.conf has a line for, as these lines.
    fn directives(&self) -> Result<String, String> {
        let files = [
            ("-f", "driftfile", &self.drift_file),
            ("-l", "logfile", &self.log_file),
            ("-p", "pidfile", &self.pid_file),
            ("-k", "keys", &self.key_file),
            ("-s", "statsdir", &self.statistics),
        ];
        let mut lines = String::new();
        for (option, word, path) in files {
            if let Some(path) = path {
                lines += &format!("{word} {}\n", quoted(option, path)?);
            }
        }
        for key in &self.trusted_keys {
            lines += &format!("trustedkey {key}\n");
        }
        if !self.interfaces.is_empty() {
            lines += "interface ignore all\ninterface listen 127.0.0.1\ninterface listen ::1\n";
        }
        for interface in &self.interfaces {
            lines += &format!("interface listen {}\n", quoted("-I", interface)?);
        }
        for server in &self.servers {
            lines += &format!("server {} iburst\n", quoted("SERVER", server)?);
        }
        Ok(lines)
    }
}

/// A value as ntp.conf has it.
fn quoted(option: &str, value: impl AsRef<Path>) -> Result<String, String> {
    let value = value.as_ref();
    match value.to_str() {
        Some(text) if !text.contains(|c: char| c == '"' || c.is_control()) => Ok(format!("\"{text}\"")),
        _ => Err(format!("{option} {value:?}: quotes and control characters cannot be in an ntp.conf")),
    }
}
