//! Every NTP server there is on one machine, side by side in one run, as ratios to chronyd. bench/README.md
//! says how to read it.

#![forbid(unsafe_code)]

mod awake;
mod companion;
mod contestant;
mod control;
mod load;
mod measure;
mod overload;
mod packages;
mod parts;
mod process;
mod report;
mod rig;
mod running;
mod watch;

use std::cell::Cell;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bench::machine::Machine;
use clap::Parser;
use ntpring::sys::thread::{allowed_cores, pin_to};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::awake::keep_awake;
use self::contestant::{Contestant, Places};
use self::control::Control;
use self::load::Search;
use self::measure::{Bench, Effort, Round};
use self::rig::Rig;
use self::watch::Watch;

/// What everything that was interrupted says.
const INTERRUPTED: &str = "interrupted";
/// The exit code of programs that were.
const EXIT_INTERRUPTED: u8 = 130;

/// NTP servers side by side: rate, CPU, latency and error, each as a ratio to chronyd's of the same run.
/// Needs root and two cores; prints Markdown.
#[derive(Debug, Parser)]
#[command(
    after_help = "Servers that are neither installed nor unpacked are fetched from Debian. Namespaces and processes are \
                  gone when this program is, whichever way it ends. Exit codes: 0 done; 1 nothing could be measured; 2 \
                  usage; 130 interrupted."
)]
struct Options {
    /// At most five minutes
    #[arg(long)]
    quick: bool,
    /// Seconds of a whole run, to see that it works: the figures mean nothing
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Rounds; each starts every server anew, in another order [default: 3, with --quick 2]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Only these servers
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME,..")]
    only: Option<Vec<Contestant>>,
    /// Write every figure for machines
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// 1.5 and 3 times of what each server can answer, for so many seconds each, instead of the table
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "60")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=3600))]
    overload: Option<u32>,
    /// What each part of the program in the driver takes by itself, instead of the table
    #[arg(long, conflicts_with = "overload")]
    xdp_parts: bool,
    /// Let the server's core sleep when it has nothing to do
    #[arg(long)]
    sleep: bool,
    /// Where ntpring and ntpload are [default: they are built, beside this program]
    #[arg(long, value_name = "DIRECTORY")]
    programs: Option<PathBuf>,
    /// Be a control instead
    #[arg(long, hide = true, value_enum)]
    control: Option<Control>,
}

impl Options {
    fn effort(&self) -> Effort {
        let search =
            |trial, resolution, tries| Search { trial: Duration::from_millis(trial), resolution, tries };
        let (rounds, slices, slice, search, repeats) = match (self.smoke, self.quick) {
            (true, _) => (1, 1, 250, search(100, 50, 1), 0),
            (_, true) => (2, 3, 200, search(100, 8, 5), 800),
            _ => (3, 7, 300, search(200, 3, 8), 15_000),
        };
        Effort {
            rounds: self.rounds.map_or(rounds, |rounds| rounds as usize),
            slices,
            slice: Duration::from_millis(slice),
            search,
            repeats: Duration::from_millis(repeats),
            patience: self.smoke.then_some(Duration::from_secs(5)),
        }
    }

    fn contestants(&self) -> Vec<Contestant> {
        let chosen =
            |contestant: &Contestant| self.only.as_ref().is_none_or(|only| only.contains(contestant));
        Contestant::ALL.into_iter().filter(chosen).collect()
    }
}

/// What has become of a contestant.
pub(crate) struct Row {
    contestant: Contestant,
    rounds: Vec<Round>,
    /// Why there are no more rounds.
    failure: Option<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match options.control {
        Some(control) => control.run().map_err(|error| error.to_string()),
        None => run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            if error == INTERRUPTED { ExitCode::from(EXIT_INTERRUPTED) } else { ExitCode::FAILURE }
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    if options.xdp_parts {
        return parts::run(&Machine::here());
    }
    let stop = watch_signals()?;
    let cores = cores()?;
    let scratch = Scratch::new()?;
    let places = places(options, &scratch)?;
    let ethtool = packages::ETHTOOL.find(&places.cache).map_err(|error| format!("ethtool: {error}"))?;
    let rig = Rig::build(&ethtool.path, cores).map_err(|error| error.to_string())?;
    // This thread keeps out of the server's way; what is started in the namespaces may still use both cores.
    pin_to(cores[1]);
    let watch = Watch::over(&cores).map_err(|error| error.to_string())?;
    let awake = (!options.sleep).then(|| keep_awake(cores[0])).transpose();
    let _awake = awake.map_err(|error| error.to_string())?;
    let effort = options.effort();
    let bench =
        Bench { rig: &rig, places: &places, effort, watch: &watch, left: Cell::default(), stop: &stop };
    let machine = Machine::here();
    if let Some(seconds) = options.overload {
        return overload::run(&bench, &options.contestants(), Duration::from_secs(seconds.into()), &machine);
    }
    let begin = Instant::now();
    let rows = compare(&bench, &options.contestants())?;
    eprintln!("compare: measured for {:.0} s", begin.elapsed().as_secs_f64());
    print!("{}", report::markdown(&rows, &machine, &bench.effort));
    if let Some(path) = &options.json {
        fs::write(path, format!("{:#}\n", report::json(&rows, &machine)))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if rows.iter().all(|row| row.rounds.is_empty()) {
        return Err("nothing could be measured".to_owned());
    }
    Ok(())
}

/// Every round of every contestant. The first round begins with the reference; after that each round begins
/// with the next one, so that none always has the same neighbour in time.
fn compare(bench: &Bench, contestants: &[Contestant]) -> Result<Vec<Row>, String> {
    let row = |&contestant: &Contestant| Row { contestant, rounds: Vec::new(), failure: None };
    let mut rows: Vec<Row> = contestants.iter().map(row).collect();
    let mut reference = None;
    for round in 0..bench.effort.rounds {
        for turn in 0..rows.len() {
            let row = &mut rows
                [(turn + round * contestants.len().div_ceil(bench.effort.rounds)) % contestants.len()];
            if row.failure.is_some() {
                continue;
            }
            let name = row.contestant.name();
            match bench.round(row.contestant, reference) {
                Ok(measured) => {
                    eprintln!("round {}: {name}: {}", round + 1, report::line(&measured));
                    reference.get_or_insert(measured.reference);
                    row.rounds.push(measured);
                }
                Err(_) if bench.stop.load(Relaxed) => return Err(INTERRUPTED.to_owned()),
                Err(failure) => {
                    eprintln!("round {}: {name}: {failure}", round + 1);
                    row.failure = Some(failure);
                }
            }
        }
    }
    Ok(rows)
}

/// The first time a signal asks this program to end, it ends what it has started; the second time it just
/// ends.
fn watch_signals() -> Result<Arc<AtomicBool>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let flag = || Arc::clone(&stop);
        signal_hook::flag::register_conditional_shutdown(signal, EXIT_INTERRUPTED.into(), flag())
            .and_then(|_| signal_hook::flag::register(signal, flag()))
            .map_err(|error| format!("cannot handle signals: {error}"))?;
    }
    Ok(stop)
}

/// The server's core and the generator's.
fn cores() -> Result<[usize; 2], String> {
    if fs::metadata("/proc/self").map_or(1, |this| this.uid()) != 0 {
        return Err(
            "root is needed, for network namespaces and to pin threads of the kernel: run it with sudo"
                .to_owned(),
        );
    }
    let [server, generator, ..] = *allowed_cores() else {
        return Err("two cores are needed, one for the server and one for the load".to_owned());
    };
    Ok([server, generator])
}

/// Finds the programs, or has them built if cargo runs this one.
fn places(options: &Options, scratch: &Scratch) -> Result<Places, String> {
    let this = env::current_exe().map_err(|error| format!("this program's path: {error}"))?;
    let beside = this.parent().unwrap_or(Path::new(".")).to_owned();
    let cache = beside.parent().unwrap_or(Path::new(".")).join("peers");
    let programs = match &options.programs {
        Some(programs) => {
            fs::canonicalize(programs).map_err(|error| format!("{}: {error}", programs.display()))?
        }
        None => {
            if let Some(cargo) = env::var_os("CARGO") {
                build(Path::new(&cargo), beside.ends_with("release"))?;
            }
            beside
        }
    };
    match ["ntpring", "ntpload"].into_iter().find(|program| !programs.join(program).is_file()) {
        Some(program) => Err(format!(
            "there is no {program} in {}: cargo build --release -p ntpring -p ntpload",
            programs.display()
        )),
        None => Ok(Places { programs, cache, scratch: scratch.0.clone() }),
    }
}

fn build(cargo: &Path, release: bool) -> Result<(), String> {
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "-p", "ntpring", "-p", "ntpload"]);
    if release {
        build.arg("--release");
    }
    match build.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo build: {status}")),
        Err(error) => Err(format!("cargo build: {error}")),
    }
}

/// A directory for this run only.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let path = env::temp_dir().join(format!("ntpring-compare-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is small, and below the directory for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
