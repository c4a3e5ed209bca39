//! Prints the table: our medians beside the published ones of the peers.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use simulation::run::Run;
use simulation::scenario::{Peers, Scenario, published};
use simulation::statistics::Survey;

/// Our client's accuracy beside that of its peers, simulated.
#[derive(Parser)]
struct Arguments {
    /// Runs per scenario.
    #[arg(long, default_value_t = 25)]
    seeds: u64,
    /// The first seed; a random one without this.
    #[arg(long)]
    first: Option<u64>,
    /// Only scenarios whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Instead of the table, one run with this seed, a line per packet: time, error of the clock, what the
    /// client thinks of it, base of the frequency, poll interval.
    #[arg(long)]
    trace: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let chosen = published();
    let chosen = chosen.iter().filter(|(scenario, _)| scenario.name.contains(&arguments.only));
    if let Some(seed) = arguments.trace {
        chosen.for_each(|(scenario, _)| trace(scenario, seed));
        return ExitCode::SUCCESS;
    }
    let first = arguments.first.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let seeds: Vec<u64> = (first..first + arguments.seeds).collect();
    println!(
        "{} runs of each scenario, seeds {first} and up. Root mean square of the error in µs:",
        seeds.len()
    );
    println!(
        "{:24}{:>8}{:>8}{:>8}{:>8}{:>8} | {:>8}{:>8} |{:>8}{:>8}{:>6}",
        "", "goal", "ours", "chrony", "ntpd", "ntpd-rs", "s/packet", "chrony", "worst", "ppm", "< 1ms"
    );
    let mut diverged = false;
    for (scenario, peers) in chosen {
        let survey = Survey::new(scenario, &seeds);
        print_row(scenario, peers, &survey);
        for seed in &survey.diverged {
            diverged = true;
            println!("    diverged: --only \"{}\" --trace {seed}", scenario.name);
        }
    }
    if diverged { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn print_row(scenario: &Scenario, peers: &Peers, survey: &Survey) {
    let us = |seconds: f64| format!("{:.1}", seconds * 1e6);
    let median = |of| survey.median(usize::MAX, of);
    println!(
        "{:24}{:>8}{:>8}{:>8}{:>8}{:>8} | {:>8.0}{:>8} |{:>8}{:>8.3}{:>6.0}",
        scenario.name,
        peers.goal.map_or("-".to_owned(), us),
        us(median(|run| run.rms)),
        us(peers.chrony),
        us(peers.ntpd),
        us(peers.ntpd_rs),
        median(|run| run.interval),
        peers.chrony_interval.map_or("-".to_owned(), |interval| format!("{interval:.0}")),
        us(survey.runs.iter().map(|run| run.worst).fold(0.0, f64::max)),
        median(|run| run.frequency) * 1e6,
        median(|run| run.below_millisecond),
    );
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
