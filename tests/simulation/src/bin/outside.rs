//! Prints a table: the daemon's binary and chronyd in clknetsim, with the same scenarios and seeds.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use simulation::outside::{Places, Program};
use simulation::outside_scenario::{Outside, all};
use simulation::parallel;
use simulation::statistics::{Summary, median};

/// The daemon's binary beside chronyd, both in clknetsim.
#[derive(Parser)]
struct Arguments {
    /// A checkout of clknetsim (<https://gitlab.com/chrony/clknetsim>) in which `make` was run.
    #[arg(long)]
    clknetsim: PathBuf,
    /// The daemon.
    #[arg(long, default_value = "target/debug/ntpring")]
    ntpring: PathBuf,
    /// Below it is usr/sbin/chronyd.
    #[arg(long, default_value = "target/clients/root")]
    clients: PathBuf,
    /// Where the simulator's files of each run are left.
    #[arg(long, default_value = "target/tmp/outside")]
    scratch: PathBuf,
    /// Runs per scenario.
    #[arg(long, default_value_t = 15)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// A line for each run as well.
    #[arg(long, short)]
    verbose: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let absolute = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone());
    let places = Places {
        clknetsim: absolute(&arguments.clknetsim),
        ntpring: absolute(&arguments.ntpring),
        clients: absolute(&arguments.clients),
        scratch: arguments.scratch.clone(),
    };
    let last = arguments.first + arguments.seeds - 1;
    println!(
        "clknetsim, seeds {} to {last}. Medians, ours and chrony's; the error is the root mean square:",
        arguments.first
    );
    println!(
        "{:32}{:>10}{:>10}{:>7} |{:>7}{:>7} |{:>9}{:>9} |{:>7}{:>7} |{:>10}{:>10}",
        "",
        "error, µs",
        "chrony",
        "ratio",
        "s/pkt",
        "chrony",
        "rate, ppm",
        "chrony",
        "< 1ms",
        "chrony",
        "worst, µs",
        "chrony"
    );
    let mut failed = false;
    for scenario in all().iter().filter(|scenario| scenario.name.contains(&arguments.only)) {
        let jobs: Vec<(Program, u64)> = (arguments.first..=last)
            .flat_map(|seed| [(Program::Ntpring, seed), (Program::Chrony, seed)])
            .collect();
        let results = parallel(&jobs, |(program, seed)| places.run(scenario, *program, *seed));
        let mut runs: [Vec<Summary>; 2] = [Vec::new(), Vec::new()];
        for ((program, seed), result) in jobs.iter().zip(results) {
            match result {
                Ok(summary) => {
                    if arguments.verbose {
                        println!("    {program:?} {seed}: {}", figures(&summary));
                    }
                    runs[usize::from(*program == Program::Chrony)].push(summary);
                }
                Err(why) => {
                    failed = true;
                    println!("    {program:?} {seed}: {why}");
                }
            }
        }
        row(scenario, &runs[0], &runs[1]);
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn figures(run: &Summary) -> String {
    format!(
        "{:.1} µs, worst {:.1}, {:.3} ppm, {:.0} s/packet, < 1 ms after {} s",
        run.rms * 1e6,
        run.worst * 1e6,
        run.frequency * 1e6,
        run.interval,
        run.below_millisecond
    )
}

fn row(scenario: &Outside, ours: &[Summary], theirs: &[Summary]) {
    let of = |runs: &[Summary], figure: fn(&Summary) -> f64| median(runs.iter().map(figure));
    let pair = |figure: fn(&Summary) -> f64| (of(ours, figure), of(theirs, figure));
    let rms = pair(|run| run.rms * 1e6);
    let interval = pair(|run| run.interval);
    let rate = pair(|run| run.frequency * 1e6);
    let settled = pair(|run| run.below_millisecond);
    let worst = |runs: &[Summary]| runs.iter().map(|run| run.worst).fold(0.0, f64::max) * 1e6;
    println!(
        "{:32}{:>10.1}{:>10.1}{:>7.2} |{:>7.0}{:>7.0} |{:>9.3}{:>9.3} |{:>7.0}{:>7.0} |{:>10.1}{:>10.1}",
        scenario.name,
        rms.0,
        rms.1,
        rms.0 / rms.1,
        interval.0,
        interval.1,
        rate.0,
        rate.1,
        settled.0,
        settled.1,
        worst(ours),
        worst(theirs)
    );
}
