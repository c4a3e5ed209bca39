//! `ntpload merge`: runs from several hosts become one result. Histograms are added, never their quantiles.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::Value;

use crate::cli::FileArgs;
use crate::failure::Failure;
use crate::measures::Second;
use crate::output::Form;
use crate::run::{Load, Outcome, Plan};
use crate::{json, report, run_forms};

/// Options of `ntpload merge`.
#[derive(Debug, clap::Args)]
pub(crate) struct MergeArgs {
    /// Results of `ntpload run --json`
    #[arg(value_name = "RESULT.json", required = true)]
    results: Vec<PathBuf>,
    #[command(flatten)]
    files: FileArgs,
}

/// Adds up what the command line names.
pub(crate) fn run(args: &MergeArgs) -> Result<ExitCode, Failure> {
    let mut sum: Option<(Outcome, Plan)> = None;
    let mut late = Vec::new();
    for path in &args.results {
        let (outcome, plan) = read(path, &mut late)?;
        sum = Some(match sum {
            None => (outcome, plan),
            Some(sum) => add(sum, outcome, plan).map_err(|error| wrong(path, &error))?,
        });
    }
    let Some((outcome, plan)) = sum else {
        return Err(Failure::Usage("there is nothing to merge".to_owned()));
    };
    let sinks = args.files.open(None)?;
    for path in &late {
        eprintln!("ntpload: warning: {}: its generator was late", path.display());
    }
    sinks.print(&format!("{} results added up\n{}", args.results.len(), report::text(&outcome, &plan)))?;
    sinks.write(|form| match form {
        Form::Json => format!("{:#}\n", document(&outcome, &plan, &late)),
        other => run_forms::form(other, &outcome, &plan),
    })?;
    Ok(if late.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn document(outcome: &Outcome, plan: &Plan, late: &[PathBuf]) -> Value {
    let mut document = json::result(outcome, plan);
    // One generator that was late is not made good by others that were not.
    let all_on_time = late.is_empty() && json::generator_ok(outcome, plan);
    document["generator_ok"] = all_on_time.into();
    document
}

fn read(path: &Path, late: &mut Vec<PathBuf>) -> Result<(Outcome, Plan), Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::RunTime(format!("cannot read {}: {error}", path.display())))?;
    let result: Value = serde_json::from_str(&text).map_err(|error| wrong(path, &error.to_string()))?;
    let read = json::read(&result).map_err(|error| wrong(path, &error))?;
    if result["generator_ok"] != true {
        late.push(path.to_owned());
    }
    Ok(read)
}

fn wrong(path: &Path, error: &str) -> Failure {
    Failure::Usage(format!("{}: {error}", path.display()))
}

/// Both runs as one: of both loads, from all clients.
fn add(sum: (Outcome, Plan), outcome: Outcome, plan: Plan) -> Result<(Outcome, Plan), String> {
    let (mut all, mut plans) = sum;
    if plan.target != plans.target {
        return Err(format!("it is about {}, the results before it about {}", plan.target, plans.target));
    }
    plans.load = match (plans.load, plan.load) {
        (Load::Rate(one), Load::Rate(other)) => Load::Rate(one + other),
        (Load::Outstanding(one), Load::Outstanding(other)) => Load::Outstanding(one + other),
        _ => {
            return Err("it is of a closed loop and the results before it are not, or the reverse".to_owned());
        }
    };
    plans.clients += plan.clients;
    plans.duration = plans.duration.max(plan.duration);
    plans.timeout = plans.timeout.max(plan.timeout);
    plans.cores.clear();

    all.counts.add(&outcome.counts);
    all.measures.add(&outcome.measures);
    all.sending = all.sending.max(outcome.sending);
    all.interrupted |= outcome.interrupted;
    // Seconds count from the earliest start.
    let apart = outcome.started.duration_since(all.started);
    let seconds = |duration: std::time::Duration| duration.as_secs_f64().round() as usize;
    let (ours, theirs) = match &apart {
        Ok(later) => (0, seconds(*later)),
        Err(error) => (seconds(error.duration()), 0),
    };
    all.started = all.started.min(outcome.started);
    all.seconds = overlay(&all.seconds, ours, &outcome.seconds, theirs)?;
    Ok((all, plans))
}

/// The sums of each second. Its quantiles are not known: that would take both histograms.
fn overlay(
    one: &[Second],
    shift: usize,
    other: &[Second],
    other_shift: usize,
) -> Result<Vec<Second>, String> {
    const LONGEST: usize = 7 * 86_400;
    let length = (one.len() + shift).max(other.len() + other_shift);
    if length > LONGEST {
        return Err("it was run days apart from the results before it".to_owned());
    }
    let mut seconds = vec![Second::default(); length];
    for (part, shift) in [(one, shift), (other, other_shift)] {
        seconds[shift..].iter_mut().zip(part).for_each(|(sum, second)| sum.add(second));
    }
    Ok(seconds)
}
