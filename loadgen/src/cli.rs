//! Arguments in, exit codes out.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Parser, Subcommand, value_parser};
use ntpring::sys::thread::allowed_cores;

use crate::condition::Condition;
use crate::failure::Failure;
use crate::interrupt::{self, EXIT_INTERRUPTED};
use crate::merge::MergeArgs;
use crate::output::{Form, Sinks};
use crate::plan::PlanArgs;
use crate::progress::Progress;
use crate::requests::RequestArgs;
use crate::run::{self, Load, Outcome, Plan};
use crate::schedule::Arrivals;
use crate::stamping::TxStamps;
use crate::sweep::{self, SweepArgs};
use crate::target::{self, Family, Target};
use crate::transport::{Choice, Transport};
use crate::{clients, demo, json, merge, plan, run_forms, warnings, xdp};

/// Exit code for a command line that cannot be used.
const EXIT_USAGE: u8 = 2;
/// Exit code if a condition of --fail-if holds.
const EXIT_FAIL_IF: u8 = 3;
/// Highest rate that can be asked for, requests per second.
const RATE_MAX: u64 = 100_000_000;
/// Most client sockets.
const CLIENTS_MAX: u64 = 1_000_000;

#[derive(Debug, Parser)]
#[command(
    name = "ntpload",
    version,
    about = "Loads an NTP server at a given rate and tells what came back, how much was lost, and how long it took",
    after_help = "Exit codes: 0 done; 1 nothing answered, the generator was late, or the machine refused; 2 usage; 3 a \
                  --fail-if holds; 130 interrupted (the result so far is printed)."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start an ntpring in this process and show what it answers: no set-up, about ten seconds
    Demo(DemoArgs),
    /// Load a server
    Run(RunArgs),
    /// Find the highest rate that a server answers without loss
    Sweep(SweepArgs),
    /// Add up the results of several hosts
    Merge(MergeArgs),
    /// From a demand, and what one core answers, to cores, links and what saturates first
    Plan(PlanArgs),
}

#[derive(Debug, clap::Args)]
struct DemoArgs {
    /// Requests per second of the first part [default: 50k, what two cores answer without loss; 2k on one
    /// core]
    #[arg(short, long, value_parser = parse_rate)]
    rate: Option<u64>,
    /// How long the first part takes; the second takes at most 3 s
    #[arg(short, long, default_value = "5s", value_parser = parse_duration)]
    duration: Duration,
    /// Where the picture goes [default: a file for temporary ones]
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Options of `ntpload run`.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("load").required(true).args(["rate", "max"]))]
struct RunArgs {
    #[command(flatten)]
    generator: GeneratorArgs,
    /// Requests per second, sent on schedule whatever the server does; 10k and 1.5M are understood
    #[arg(short, long, value_parser = parse_rate)]
    rate: Option<u64>,
    /// As fast as the server answers instead (closed loop): shows the rate it saturates at, not its latency
    /// under load
    #[arg(long)]
    max: bool,
    /// With --max: requests that are unanswered at any time
    #[arg(long, default_value_t = 256, value_name = "N", value_parser = value_parser!(u32).range(1..=100_000))]
    outstanding: u32,
    /// With --rate: how requests are spread over time
    #[arg(long, value_enum, default_value_t, conflicts_with = "max")]
    arrivals: Arrivals,
    /// How long to send: 5, 5s, 500ms, 2m
    #[arg(short, long, default_value = "5s", value_parser = parse_duration)]
    duration: Duration,
    /// Load the server so long before anything counts [default: none]
    #[arg(long, value_parser = parse_duration)]
    warmup: Option<Duration>,
    /// When to start: a time of day in UTC (14:30:00), seconds since 1970 (1789000000.5) or from now (+5s);
    /// hosts that were given the same time start together, as far as their clocks agree
    #[arg(long, value_name = "TIME", value_parser = parse_start)]
    start_at: Option<SystemTime>,
    /// Accept a result although the generator was late
    #[arg(long)]
    allow_lag: bool,
    #[command(flatten)]
    files: FileArgs,
    /// Write an HdrHistogram log: one histogram for each second and measure, tagged with its name
    #[arg(long, value_name = "FILE")]
    hlog: Option<PathBuf>,
    /// Exit with 3 if this holds: p50 p90 p99 p99.9 p99.99 max, loss, rate or a count, then > >= < or <=, and
    /// a value, such as 'p99>1ms' or 'loss>0.1%'; may be given more than once
    #[arg(long, value_name = "CONDITION", value_parser = Condition::parse)]
    fail_if: Vec<Condition>,
}

/// Whom to load, and how the generator goes about it.
#[derive(Debug, clap::Args)]
pub(crate) struct GeneratorArgs {
    /// HOST, HOST:PORT, an IPv6 address or `[IPV6]:PORT` [default port: 123]
    #[arg(value_parser = Target::parse)]
    target: Target,
    /// Which requests get a kernel send stamp: one in N, all or off [default: all below 50k requests/s, else
    /// 64]. Replies to these give the wire latency and the clock offset; stamping all costs a quarter of the
    /// highest rate
    #[arg(long, value_name = "N|all|off", value_parser = parse_tx_stamps)]
    pub(crate) tx_stamps: Option<TxStamps>,
    /// What moves the datagrams. io_uring costs a little less; auto says so where it is not allowed
    #[arg(long, value_enum, default_value_t)]
    pub(crate) engine: Choice,
    /// With --engine xdp: the interface [default: that of the route to the target]
    #[arg(short, long, value_name = "IFACE")]
    interface: Option<String>,
    /// A reply after this time is late
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    timeout: Duration,
    /// Client sockets, each with a port of its own; on 127.0.0.0/8 with an address of its own too, so that a
    /// server that spreads clients by address uses all its workers. Elsewhere all have this machine's one
    /// address
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = value_parser!(u64).range(1..=CLIENTS_MAX))]
    clients: u64,
    /// Generator threads, pinned to the last cores
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = value_parser!(u64).range(1..=1024))]
    threads: u64,
    /// Cores to pin a generator thread to each, such as 1,3
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "threads")]
    cpus: Option<Vec<usize>>,
    #[command(flatten)]
    requests: RequestArgs,
    /// Use the target's IPv4 address
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,
    /// Use the target's IPv6 address
    #[arg(short = '6')]
    v6: bool,
    /// The target is not on this machine, but I operate it
    #[arg(long)]
    yes_i_operate_this_server: bool,
    /// Highest rate to a target that is not on this machine
    #[arg(long, value_name = "RATE", default_value = "10k", value_parser = parse_rate)]
    cap: u64,
}

/// Files for the result. - is the standard output, then without the text.
#[derive(Debug, clap::Args)]
pub(crate) struct FileArgs {
    /// Write everything, with the histograms, for machines
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write a table: a line for each second of a run, for each trial of a sweep
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Write one page with pictures
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl FileArgs {
    /// Opens them; and `hlog`.
    pub(crate) fn open(&self, hlog: Option<&Path>) -> Result<Sinks, Failure> {
        Sinks::open(&[
            (Form::Json, self.json.as_deref()),
            (Form::Csv, self.csv.as_deref()),
            (Form::Hlog, hlog),
            (Form::Html, self.html.as_deref()),
        ])
    }
}

/// Does what the command line says.
pub(crate) fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => demo::run(args.rate, args.duration, args.html),
        Command::Run(args) => run_command(&args),
        Command::Sweep(args) => sweep::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Plan(args) => plan::run(&args),
    };
    result.unwrap_or_else(|failure| {
        eprintln!("ntpload: {failure}");
        match failure {
            Failure::Usage(_) => ExitCode::from(EXIT_USAGE),
            Failure::RunTime(_) => ExitCode::FAILURE,
        }
    })
}

fn run_command(args: &RunArgs) -> Result<ExitCode, Failure> {
    let plan = run_plan(args)?;
    let sinks = args.files.open(args.hlog.as_deref())?;
    let stop =
        interrupt::watch().map_err(|error| Failure::RunTime(format!("cannot handle signals: {error}")))?;
    let outcome = run::run(&plan, &Progress::new("run", plan.duration), &stop)?;
    run_forms::show(&outcome, &plan, sinks)?;
    let code = exit_code(&outcome, &plan, args.allow_lag);
    let failed: Vec<&Condition> = args
        .fail_if
        .iter()
        .filter(|condition| condition.holds(|figure| run_forms::figure(figure, &outcome, &plan)))
        .collect();
    for condition in &failed {
        eprintln!("ntpload: --fail-if '{condition}' holds");
    }
    // What a generator that was late has measured proves nothing.
    let on_time = args.allow_lag || json::generator_ok(&outcome, &plan);
    let is_judged = !outcome.interrupted && on_time;
    Ok(if is_judged && !failed.is_empty() { ExitCode::from(EXIT_FAIL_IF) } else { code })
}

/// What a run's result is to scripts.
pub(crate) fn exit_code(outcome: &Outcome, plan: &Plan, allow_lag: bool) -> ExitCode {
    if outcome.interrupted {
        ExitCode::from(EXIT_INTERRUPTED)
    } else if warnings::all(outcome, plan)
        .into_iter()
        .any(|warning| warning.is_failure() && !(allow_lag && warning.is_lag()))
    {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn run_plan(args: &RunArgs) -> Result<Plan, Failure> {
    let max = match args.generator.engine {
        Choice::Xdp => Load::Flood,
        _ => Load::Outstanding(args.outstanding as usize),
    };
    let load = args.rate.map_or(max, Load::Rate);
    Ok(Plan {
        arrivals: args.arrivals,
        warmup: args.warmup.unwrap_or_default(),
        start_at: args.start_at,
        keep_seconds: args.hlog.is_some(),
        ..args.generator.plan(load, args.duration)?
    })
}

impl GeneratorArgs {
    /// A plan for `load`, which begins at once.
    pub(crate) fn plan(&self, load: Load, duration: Duration) -> Result<Plan, Failure> {
        let family = match (self.v4, self.v6) {
            (true, _) => Family::V4,
            (_, true) => Family::V6,
            _ => Family::Any,
        };
        let address = self.target.resolve(family)?;
        target::check_manners(address, self.yes_i_operate_this_server)?;
        let rate = match load {
            Load::Rate(rate) => Some(rate),
            Load::Outstanding(_) | Load::Flood => None,
        };
        self.check_cap(address, rate)?;
        let allowed = allowed_cores();
        let cores = match &self.cpus {
            Some(cores) => cores.clone(),
            None => last(&allowed, self.threads as usize)?,
        };
        if let Some(core) = cores.iter().find(|core| !allowed.contains(core)) {
            return Err(Failure::Usage(format!("--cpus: this process may not run on cpu {core}")));
        }
        if let Some(core) = (1..cores.len()).find(|&at| cores[..at].contains(&cores[at])).map(|at| cores[at])
        {
            return Err(Failure::Usage(format!("--cpus: cpu {core} is named twice")));
        }
        let requests = self.requests.read()?;
        let plan = Plan {
            target: address,
            load,
            duration,
            timeout: self.timeout,
            clients: self.clients as usize,
            spin: allowed.len() > cores.len(),
            cores,
            arrivals: Arrivals::Fixed,
            warmup: Duration::ZERO,
            tx_stamps: self.tx_stamps.unwrap_or_else(|| TxStamps::for_rate(rate)),
            transport: self.engine.settle()?,
            interface: self.interface.clone(),
            start_at: None,
            requests,
            keep_seconds: false,
        };
        if plan.transport == Transport::Xdp {
            xdp::check(&plan)?;
        } else {
            if self.interface.is_some() {
                let text = "--interface is for --engine xdp: sockets follow the routing table";
                return Err(Failure::Usage(text.to_owned()));
            }
            let own_addresses = target::has_own_addresses(address) && plan.requests.sources.is_none();
            clients::check(self.clients, own_addresses)?;
            plan.requests.check(address, rate.is_none())?;
        }
        Ok(plan)
    }

    /// The highest rate to `target`, if it is bounded.
    pub(crate) fn cap_for(&self, target: SocketAddr) -> Option<u64> {
        (!target::is_here(target)).then_some(self.cap)
    }

    /// Load for others stays under a bound, which is said.
    fn check_cap(&self, target: SocketAddr, rate: Option<u64>) -> Result<(), Failure> {
        let Some(cap) = self.cap_for(target) else { return Ok(()) };
        let ip = target.ip();
        match rate {
            Some(rate) if rate <= cap => {
                eprintln!("{ip} is not on this machine: at most {cap} requests/s (--cap)");
                Ok(())
            }
            Some(rate) => Err(Failure::Usage(format!(
                "{rate} requests/s are more than the cap of {cap} for servers that are not on this machine: raise it with --cap"
            ))),
            None => Err(Failure::Usage(format!(
                "--max has no bound, and {ip} is not on this machine: use --rate, up to --cap"
            ))),
        }
    }
}

fn last(allowed: &[usize], threads: usize) -> Result<Vec<usize>, Failure> {
    match allowed.len().checked_sub(threads) {
        Some(first) => Ok(allowed[first..].to_vec()),
        None => Err(Failure::Usage(format!(
            "--threads {threads}: this process may run on {} cores only",
            allowed.len()
        ))),
    }
}

/// A whole number of requests per second, with k or M.
pub(crate) fn parse_rate(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => text.strip_suffix(['m', 'M']).map_or((text, 1.0), |number| (number, 1e6)),
    };
    let rate = number.parse::<f64>().map_or(f64::NAN, |number| number * unit);
    if rate.fract() == 0.0 && (1.0..=RATE_MAX as f64).contains(&rate) {
        Ok(rate as u64)
    } else {
        Err(format!(
            "expected a whole number of requests per second from 1 to {RATE_MAX}, such as 5000, 10k or 1.5M"
        ))
    }
}

/// N, all or off.
fn parse_tx_stamps(text: &str) -> Result<TxStamps, String> {
    match text {
        "off" => Ok(TxStamps::Off),
        "all" => Ok(TxStamps::OneIn(1)),
        _ => match text.parse() {
            Ok(n @ 1..) => Ok(TxStamps::OneIn(n)),
            _ => Err("expected all, off, or N for one request in N".to_owned()),
        },
    }
}

/// A moment at most a day ahead: `HH:MM[:SS]` in UTC, seconds since 1970, or +DURATION.
fn parse_start(text: &str) -> Result<SystemTime, String> {
    start_after(text, SystemTime::now())
}

fn start_after(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let start = if let Some(delay) = text.strip_prefix('+') {
        since_epoch + parse_duration(delay)?
    } else if text.contains(':') {
        let midnight = Duration::from_secs(since_epoch.as_secs() / DAY.as_secs() * DAY.as_secs());
        let today = midnight + time_of_day(text).ok_or("expected HH:MM or HH:MM:SS")?;
        if today < since_epoch { today + DAY } else { today }
    } else {
        text.parse::<f64>()
            .ok()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or("expected HH:MM:SS, seconds since 1970, or +5s")?
    };
    if start < since_epoch {
        return Err("that moment has passed".to_owned());
    }
    if start > since_epoch + DAY {
        return Err("that is more than a day ahead".to_owned());
    }
    Ok(UNIX_EPOCH + start)
}

fn time_of_day(text: &str) -> Option<Duration> {
    let mut parts = text.split(':').map(|part| part.parse::<u64>().ok());
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next().unwrap_or(Some(0))?);
    let valid = hours < 24 && minutes < 60 && seconds < 60 && parts.next().is_none();
    valid.then(|| Duration::from_secs(3_600 * hours + 60 * minutes + seconds))
}

/// A time of at least a millisecond and at most a day; seconds unless it has a unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let unit = match unit {
        "" | "s" => Some(1.0),
        "ms" => Some(1e-3),
        "m" => Some(60.0),
        "h" => Some(3_600.0),
        _ => None,
    };
    let seconds = number.parse::<f64>().ok().zip(unit).map(|(number, unit)| number * unit);
    match seconds {
        Some(seconds) if (0.001..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a time from 1ms to 24h, such as 5, 5s, 500ms or 2m".to_owned()),
    }
}

#[cfg(test)]
#[path = "../../src/manual.rs"]
mod manual;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_manual_page_has_every_option() {
        manual::keep("ntpload.1", &manual::subcommands("ntpload", &Cli::command()));
    }

    #[test]
    fn rates_have_suffixes_and_bounds() {
        for (text, expected) in
            [("1", 1), ("5000", 5_000), ("10k", 10_000), ("1.5M", 1_500_000), ("1e3", 1_000)]
        {
            assert_eq!(parse_rate(text), Ok(expected), "{text}");
        }
        for text in ["0", "-1", "1.5", "x", "", "k", "101M", "nan", "inf"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_units_and_bounds() {
        for (text, expected) in [("5", 5_000), ("5s", 5_000), ("0.5", 500), ("500ms", 500), ("2m", 120_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(expected)), "{text}");
        }
        for text in ["0", "-1", "x", "", "s", "25h", "5 s", "nan"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn samples_of_send_stamps_are_all_off_or_one_in_some() {
        assert_eq!(parse_tx_stamps("off"), Ok(TxStamps::Off));
        assert_eq!(parse_tx_stamps("all"), Ok(TxStamps::OneIn(1)));
        assert_eq!(parse_tx_stamps("10"), Ok(TxStamps::OneIn(10)));
        for text in ["0", "-1", "some", ""] {
            assert!(parse_tx_stamps(text).is_err(), "{text}");
        }
    }

    #[test]
    fn starts_are_moments_of_the_next_day() {
        // 2023-11-14T22:13:20Z.
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let after = |text| start_after(text, now).map(|start| start.duration_since(now).unwrap().as_millis());
        for (text, expected) in [
            ("22:13:30", 10_000),
            ("22:14", 40_000),
            ("22:13:19", 86_399_000),
            ("+500ms", 500),
            ("1700000001.5", 1_500),
        ] {
            assert_eq!(after(text), Ok(expected), "{text}");
        }
        for text in ["1699999999", "1700100000", "25:00", "22:60", "1:2:3:4", "", "soon", "+", "-1", "nan"] {
            assert!(after(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
