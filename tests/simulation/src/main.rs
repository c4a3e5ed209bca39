//! Prints the table: our medians beside the published ones of the peers.

#![forbid(unsafe_code)]

use clap::Parser;
use simulation::scenario::published;
use simulation::statistics::{median, survey};

/// Our client's accuracy beside that of its peers, simulated.
#[derive(Parser)]
struct Arguments {
    /// Runs per scenario.
    #[arg(long, default_value_t = 25)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() {
    let arguments = Arguments::parse();
    let seeds: Vec<u64> = (arguments.first..arguments.first + arguments.seeds).collect();
    println!(
        "{:24}{:>10}{:>10}{:>10}{:>10}{:>10}{:>9}{:>9}{:>10}{:>8}{:>7}",
        "µs RMS (s per packet)",
        "goal",
        "ours",
        "chrony",
        "ntpd",
        "ntpd-rs",
        "ours s",
        "chrony s",
        "worst",
        "ppm",
        "<1ms"
    );
    for (scenario, peers) in
        published().iter().filter(|(scenario, _)| scenario.name.contains(&arguments.only))
    {
        let runs = survey(scenario, &seeds, peers.goal.unwrap_or(peers.chrony) * 10.0);
        let us = |seconds: f64| format!("{:.1}", seconds * 1e6);
        println!(
            "{:24}{:>10}{:>10}{:>10}{:>10}{:>10}{:>9.0}{:>9}{:>10}{:>8.3}{:>7.0}",
            scenario.name,
            peers.goal.map_or("-".to_owned(), us),
            us(median(runs.iter().map(|run| run.rms))),
            us(peers.chrony),
            us(peers.ntpd),
            us(peers.ntpd_rs),
            median(runs.iter().map(|run| run.interval)),
            peers.chrony_interval.map_or("-".to_owned(), |interval| format!("{interval:.0}")),
            us(runs.iter().map(|run| run.worst).fold(0.0, f64::max)),
            median(runs.iter().map(|run| run.frequency)) * 1e6,
            median(runs.iter().map(|run| run.below_millisecond)),
        );
        for run in runs.iter().filter(|run| run.astray > 600) {
            println!("    seed {} went astray for {} s: RMS {}", run.seed, run.astray, us(run.rms));
        }
    }
}
