//! Prints the table: our medians beside the published ones of the peers.

#![forbid(unsafe_code)]

use clap::Parser;
use simulation::run::Run;
use simulation::scenario::{Scenario, published};
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
    /// Instead of the table, one run with this seed, a line per packet: time, error of the clock, what the
    /// client thinks of it, base of the frequency, poll interval.
    #[arg(long)]
    trace: Option<u64>,
}

fn main() {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.trace {
        for (scenario, _) in published().iter().filter(|(each, _)| each.name.contains(&arguments.only)) {
            trace(scenario, seed);
        }
        return;
    }
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
        if let Some(worst) = runs.iter().max_by(|a, b| a.worst.total_cmp(&b.worst)) {
            println!("    worst: seed {}", worst.seed);
        }
        for run in runs.iter().filter(|run| run.astray > 600) {
            println!("    seed {} went astray for {} s: RMS {}", run.seed, run.astray, us(run.rms));
        }
    }
}

fn trace(scenario: &Scenario, seed: u64) {
    println!(
        "{}, seed {seed}: s, error µs, clock jitter µs, ppm, ± ppm, poll, offset µs, delay µs",
        scenario.name
    );
    let mut run = Run::new(scenario, seed);
    let mut sent = 0;
    for second in 1..=scenario.seconds as u32 {
        run.run_until(f64::from(second));
        if run.record().sent.len() == sent {
            continue;
        }
        sent = run.record().sent.len();
        let discipline = run.client.discipline();
        let associations = run.client.associations();
        let Some(first) = associations.first() else { continue };
        println!(
            "{second:6} {:10.1} {:10.1} {:9.4} {:9.4} {:3} {:10.1} {:10.1}",
            run.record().errors.last().copied().unwrap_or_default() * 1e6,
            discipline.clock_jitter * 1e6,
            discipline.frequency_ppm,
            discipline.clock_wander_ppm,
            first.host_poll,
            first.filter[0].offset * 1e6,
            first.filter[0].delay * 1e6,
        );
    }
}
