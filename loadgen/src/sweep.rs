//! `ntpload sweep`: trial after trial, to the highest rate that keeps each limit.

use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::value_parser;

use crate::accounting::Counts;
use crate::cli::{FileArgs, GeneratorArgs, exit_code, parse_duration, parse_rate};
use crate::failure::Failure;
use crate::histogram::Summary;
use crate::interrupt::{self, EXIT_INTERRUPTED};
use crate::output::{Form, Sinks};
use crate::progress::Progress;
use crate::run::{self, Load, Plan};
use crate::search::{self, Bounds, Found, Proof, Step, Verdict};
use crate::stamping::TxStamps;
use crate::{json, sweep_forms, units, warnings};

/// Options of `ntpload sweep`.
#[derive(Debug, clap::Args)]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    generator: GeneratorArgs,
    /// Losses that are accepted: for each, the highest rate that keeps it is found. A request that is turned
    /// away (kiss-o'-death) is lost here
    #[arg(long, value_name = "PART", value_delimiter = ',', default_values = ["0", "0.1%"])]
    #[arg(value_parser = units::part)]
    max_loss: Vec<f64>,
    /// And the 99th percentile of latency, from the intended time, stays within this, such as 2ms
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    p99: Option<Duration>,
    /// The first rate
    #[arg(long, default_value = "1k", value_name = "RATE", value_parser = parse_rate)]
    from: u64,
    /// The highest rate that is tried
    #[arg(long, default_value = "5M", value_name = "RATE", value_parser = parse_rate)]
    to: u64,
    /// How long each trial takes
    #[arg(short, long, default_value = "2s", value_parser = parse_duration)]
    duration: Duration,
    /// The rate is found to within this part
    #[arg(long, default_value = "5%", value_name = "PART", value_parser = units::part)]
    resolution: f64,
    /// Trials at the rate found, and at the next that failed, which must agree
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = value_parser!(u32).range(1..=10))]
    confirmations: u32,
    /// For a machine that stands still now and then, as those do that share theirs: a trial that breaks a
    /// limit is repeated, up to so many in all, and one that keeps it is enough
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=100))]
    #[arg(conflicts_with = "confirmations")]
    tries: Option<u32>,
    #[command(flatten)]
    files: FileArgs,
}

/// What must be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Part of the requests that may be lost.
    pub(crate) max_loss: f64,
    /// In microseconds.
    pub(crate) p99: Option<f64>,
}

/// What one trial has measured.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    /// The rate that was asked for, per second.
    pub(crate) rate: u64,
    pub(crate) sent: f64,
    pub(crate) answered: f64,
    pub(crate) counts: Counts,
    pub(crate) latency: Option<Summary>,
    /// Whether the generator offered the rate.
    pub(crate) offered: bool,
    /// And was on time.
    pub(crate) generator_ok: bool,
}

/// Everything a sweep has found.
#[derive(Debug)]
pub(crate) struct Sweep {
    pub(crate) plan: Plan,
    pub(crate) trials: Vec<Trial>,
    /// What became of the requests of all trials, one that was interrupted too: what the server has met.
    pub(crate) counts: Counts,
    /// For each limit the result, unless it was interrupted before.
    pub(crate) results: Vec<(Limit, Option<Found>)>,
    pub(crate) interrupted: bool,
}

/// Runs the sweep that the command line asks for.
pub(crate) fn run(args: &SweepArgs) -> Result<ExitCode, Failure> {
    let mut bounds = args.bounds()?;
    let plan = args.generator.plan(Load::Rate(bounds.from), args.duration)?;
    if let Some(cap) = args.generator.cap_for(plan.target) {
        bounds.to = bounds.to.min(cap);
    }
    let sinks = args.files.open(None)?;
    let stop =
        interrupt::watch().map_err(|error| Failure::RunTime(format!("cannot handle signals: {error}")))?;
    let p99 = args.p99.map(|p99| p99.as_secs_f64() * 1e6);
    let mut limits: Vec<Limit> = args.max_loss.iter().map(|&max_loss| Limit { max_loss, p99 }).collect();
    limits.sort_by(|a, b| a.max_loss.total_cmp(&b.max_loss));

    let mut sweep = Sweep {
        plan,
        trials: Vec::new(),
        counts: Counts::default(),
        results: limits.into_iter().map(|limit| (limit, None)).collect(),
        interrupted: false,
    };
    sinks.print(&sweep_forms::heading(&sweep))?;
    let failure = sweep.search(&bounds, args.generator.tx_stamps, &sinks, &stop)?;
    sinks.print(&sweep_forms::text(&sweep))?;
    sinks.write(|form| match form {
        Form::Json => format!("{:#}\n", sweep_forms::json(&sweep)),
        Form::Csv => sweep_forms::csv(&sweep),
        Form::Html => sweep_forms::page(&sweep),
        Form::Hlog => String::new(),
    })?;
    Ok(match failure {
        Some(code) => code,
        None if sweep.interrupted => ExitCode::from(EXIT_INTERRUPTED),
        None if sweep.results.iter().all(|(_, found)| found.is_some_and(|found| found.rate.is_some())) => {
            ExitCode::SUCCESS
        }
        None => ExitCode::FAILURE,
    })
}

impl SweepArgs {
    fn bounds(&self) -> Result<Bounds, Failure> {
        const GROWTH: f64 = 2.0;
        const FINEST: f64 = 0.001;
        if self.from > self.to {
            return Err(Failure::Usage("--from is above --to".to_owned()));
        }
        Ok(Bounds {
            from: self.from,
            to: self.to,
            growth: GROWTH,
            resolution: self.resolution.max(FINEST),
            proof: self.tries.map_or(Proof::Majority(self.confirmations), Proof::Any),
        })
    }
}

impl Sweep {
    /// Tries until every limit has its rate, or the user has had enough; an exit code if there is no server
    /// to try.
    fn search(
        &mut self,
        bounds: &Bounds,
        tx_stamps: Option<TxStamps>,
        sinks: &Sinks,
        stop: &AtomicBool,
    ) -> Result<Option<ExitCode>, Failure> {
        for at in 0..self.results.len() {
            let limit = self.results[at].0;
            loop {
                let verdicts: Vec<(u64, Verdict)> =
                    self.trials.iter().map(|trial| (trial.rate, trial.verdict(limit))).collect();
                let rate = match search::next(bounds, &verdicts) {
                    Step::Try(rate) => rate,
                    Step::End(found) => {
                        self.results[at].1 = Some(found);
                        break;
                    }
                };
                let plan = Plan {
                    load: Load::Rate(rate),
                    tx_stamps: tx_stamps.unwrap_or_else(|| TxStamps::for_rate(Some(rate))),
                    ..self.plan.clone()
                };
                let outcome = run::run(&plan, &Progress::new("sweep", plan.duration), stop)?;
                self.counts.add(&outcome.counts);
                if outcome.interrupted {
                    self.interrupted = true;
                    return Ok(None);
                }
                let trial = Trial {
                    rate,
                    sent: outcome.per_second(outcome.counts.sent, &plan),
                    answered: outcome.per_second(outcome.counts.answered, &plan),
                    counts: outcome.counts.clone(),
                    latency: outcome.measures.intended.summary(),
                    offered: outcome.achieved(&plan) >= warnings::KEPT_UP,
                    generator_ok: json::generator_ok(&outcome, &plan),
                };
                sinks.print(&sweep_forms::line(&trial, limit))?;
                self.trials.push(trial);
                if self.trials.len() == 1 && outcome.counts.answered == 0 {
                    warnings::all(&outcome, &plan)
                        .iter()
                        .for_each(|warning| eprintln!("ntpload: warning: {warning}"));
                    return Ok(Some(exit_code(&outcome, &plan, false)));
                }
            }
        }
        Ok(None)
    }
}

impl Trial {
    /// Part of the requests sent that the server did not answer in time. What this machine dropped is not
    /// the server's loss.
    pub(crate) fn loss(&self) -> f64 {
        let own = self.counts.local_drops as f64 / self.counts.sent.max(1) as f64;
        (self.counts.missing_ratio() - own).max(0.0)
    }

    /// Whether it keeps `limit`.
    pub(crate) fn verdict(&self, limit: Limit) -> Verdict {
        let is_slow = limit.p99.is_some_and(|p99| self.latency.is_none_or(|latency| latency.p99 > p99));
        // A generator that was late has made it harder, not easier, by its bursts.
        if self.offered && self.counts.missing_ratio() <= limit.max_loss && !is_slow {
            Verdict::Kept
        } else if !self.generator_ok || self.loss() <= limit.max_loss && !is_slow {
            Verdict::Generator
        } else {
            Verdict::Broken
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(counts: Counts) -> Trial {
        let latency = Summary {
            count: 1,
            min: 1.0,
            mean: 1.0,
            p50: 1.0,
            p90: 1.0,
            p99: 900.0,
            p999: 1e3,
            p9999: 1e3,
            max: 1e3,
        };
        let counts = Counts { sent: 1_000, ..counts };
        Trial {
            rate: 1_000,
            sent: 1e3,
            answered: 1e3,
            counts,
            latency: Some(latency),
            offered: true,
            generator_ok: true,
        }
    }

    #[test]
    fn a_trial_is_judged_by_what_the_server_lost() {
        let none = Limit { max_loss: 0.0, p99: None };
        let some = Limit { max_loss: 0.002, p99: None };
        let lossless = trial(Counts::default());
        assert_eq!(lossless.verdict(none), Verdict::Kept);
        let lost = trial(Counts { lost: 1, late: 1, ..Counts::default() });
        assert_eq!((lost.verdict(none), lost.verdict(some)), (Verdict::Broken, Verdict::Kept));
        let refused = trial(Counts { kod: [0, 3, 0], ..Counts::default() });
        assert_eq!(refused.verdict(some), Verdict::Broken);
        // All that is missing was dropped here.
        let dropped = trial(Counts { lost: 5, local_drops: 5, ..Counts::default() });
        assert_eq!((dropped.loss(), dropped.verdict(none)), (0.0, Verdict::Generator));
        let late = |trial: &Trial| Trial { generator_ok: false, ..trial.clone() };
        assert_eq!(late(&lossless).verdict(none), Verdict::Kept, "although it was harder");
        assert_eq!(late(&lost).verdict(none), Verdict::Generator);
        let behind = Trial { offered: false, ..late(&lossless) };
        assert_eq!(behind.verdict(none), Verdict::Generator);
    }

    #[test]
    fn latency_is_a_limit_too() {
        let limit = |p99| Limit { max_loss: 0.0, p99: Some(p99) };
        let trial = trial(Counts::default());
        assert_eq!(trial.verdict(limit(900.0)), Verdict::Kept);
        assert_eq!(trial.verdict(limit(899.0)), Verdict::Broken);
        assert_eq!(Trial { latency: None, ..trial }.verdict(limit(900.0)), Verdict::Broken);
    }
}
