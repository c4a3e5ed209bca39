//! A sweep as text, table, document and page.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::chart::{self, Axis, Chart, Line, Scale};
use crate::histogram::Summary;
use crate::json;
use crate::page::{Cell, Page};
use crate::report::{self, time};
use crate::run_forms::{self, LATENCY};
use crate::search::{Ceiling, Found, Verdict};
use crate::sweep::{Limit, Sweep, Trial};

/// Characters of the longest bar.
const BAR: usize = 20;

/// What the trials below it are about.
pub(crate) fn heading(sweep: &Sweep) -> String {
    let plan = &sweep.plan;
    format!(
        "{}: trials of {:.1} s from {} clients, generator on cpu {} ({}); latency from the intended send time\n{:>10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9}\n",
        plan.target,
        plan.duration.as_secs_f64(),
        plan.clients,
        report::cpus(plan),
        plan.transport.name(),
        "offered/s",
        "sent/s",
        "answers/s",
        "loss %",
        "p50",
        "p99",
        "p99.9"
    )
}

/// One trial, and how it was judged by the limit that asked for it.
pub(crate) fn line(trial: &Trial, limit: Limit) -> String {
    format!("{}  {}\n", figures(trial), judgement(trial.verdict(limit)))
}

fn figures(trial: &Trial) -> String {
    let latency = |value: fn(&Summary) -> f64| {
        trial.latency.as_ref().map_or("-".to_owned(), |latency| time(value(latency)))
    };
    format!(
        "{:>10} {:>10.0} {:>10.0} {:>9.4} {:>9} {:>9} {:>9}",
        trial.rate,
        trial.sent,
        trial.answered,
        100.0 * trial.loss(),
        latency(|latency| latency.p50),
        latency(|latency| latency.p99),
        latency(|latency| latency.p999)
    )
}

fn judgement(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Kept => "kept",
        Verdict::Broken => "broken",
        Verdict::Generator => "not judged: the generator was late, or lost replies itself",
    }
}

/// The curve, then the results.
pub(crate) fn text(sweep: &Sweep) -> String {
    let mut text =
        "\nby rate, with the loss (█) and the 99th percentile of latency (·, each a doubling from 1 µs):\n"
            .to_owned();
    let trials = sweep.by_rate();
    let most = trials.iter().map(|trial| trial.loss()).fold(0.0, f64::max);
    for trial in trials {
        let loss = if most > 0.0 { (trial.loss() / most * BAR as f64).ceil() as usize } else { 0 };
        let p99 = trial.latency.map_or(0.0, |latency| latency.p99.log2().clamp(0.0, BAR as f64));
        let drawn = format!(
            "{:>10} {:>9.4} % {:<BAR$} {:>9} {}",
            trial.rate,
            100.0 * trial.loss(),
            "█".repeat(loss),
            trial.latency.map_or("-".to_owned(), |latency| time(latency.p99)),
            "·".repeat(p99 as usize)
        );
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", drawn.trim_end());
    }
    text.push_str("\nall trials together:\n");
    report::counts(&mut text, &sweep.counts, sweep.plan.transport);
    text.push('\n');
    for (limit, found) in &sweep.results {
        let _ = writeln!(text, "{}", result(*limit, *found));
    }
    if sweep.interrupted {
        text.push_str("interrupted: this is what was found so far\n");
    }
    text
}

/// One result in words.
fn result(limit: Limit, found: Option<Found>) -> String {
    let mut keeps = format!("loss of at most {} %", 100.0 * limit.max_loss);
    if let Some(p99) = limit.p99 {
        let _ = write!(keeps, " and p99 within {}", time(p99));
    }
    match found {
        None => format!("{keeps}: not searched to the end"),
        Some(Found { rate: None, .. }) => format!("{keeps}: at no rate"),
        Some(Found { rate: Some(rate), ceiling }) => {
            let but = match ceiling {
                Ceiling::Server => "",
                Ceiling::Generator => {
                    " (as far as this generator goes: the server may do more; use more --threads, --clients or hosts)"
                }
                Ceiling::Bound => " (the highest rate tried: the server may do more; raise --to)",
            };
            format!("{keeps}: {rate} requests/s{but}")
        }
    }
}

/// A line for each trial, in the order of the rates.
pub(crate) fn csv(sweep: &Sweep) -> String {
    let mut text =
        "offered,sent,answered,loss_ratio,p50_us,p90_us,p99_us,p999_us,max_us,generator_ok\n".to_owned();
    for trial in sweep.by_rate() {
        let latency = trial.latency.map_or(",,,,".to_owned(), |latency| {
            let Summary { p50, p90, p99, p999, max, .. } = latency;
            format!("{p50},{p90},{p99},{p999},{max}")
        });
        let _ = writeln!(
            text,
            "{},{},{},{},{latency},{}",
            trial.rate,
            trial.sent,
            trial.answered,
            trial.loss(),
            trial.generator_ok
        );
    }
    text
}

/// The whole result for machines, trials in the order of their rates.
pub(crate) fn json(sweep: &Sweep) -> Value {
    json!({
        "version": json::VERSION,
        "kind": "sweep",
        "ntpload": env!("CARGO_PKG_VERSION"),
        "target": sweep.plan.target.to_string(),
        "clients": sweep.plan.clients,
        "cpus": sweep.plan.cores,
        "engine": sweep.plan.transport.name(),
        "trial_s": sweep.plan.duration.as_secs_f64(),
        "timeout_s": sweep.plan.timeout.as_secs_f64(),
        "interrupted": sweep.interrupted,
        "counts": json::counts(&sweep.counts, sweep.plan.transport),
        "results": sweep.results.iter().map(|(limit, found)| json!({
            "max_loss": limit.max_loss,
            "max_p99_us": limit.p99,
            "rate": found.and_then(|found| found.rate),
            "limited_by": found.map(|found| ceiling(found.ceiling)),
        })).collect::<Vec<_>>(),
        "trials": sweep.by_rate().iter().map(|trial| json!({
            "rate": { "offered": trial.rate, "sent": trial.sent, "answered": trial.answered },
            "loss_ratio": trial.loss(),
            "generator_ok": trial.generator_ok,
            "counts": json::counts(&trial.counts, sweep.plan.transport),
            "latency_us": { "intended": json::summary(trial.latency) },
        })).collect::<Vec<_>>(),
    })
}

fn ceiling(ceiling: Ceiling) -> &'static str {
    match ceiling {
        Ceiling::Server => "server",
        Ceiling::Generator => "generator",
        Ceiling::Bound => "bound",
    }
}

/// The whole page.
pub(crate) fn page(sweep: &Sweep) -> String {
    let mut page = Page::new(&format!("ntpload sweep: {}", sweep.plan.target));
    for (limit, found) in &sweep.results {
        page.note(&result(*limit, *found));
    }
    if sweep.interrupted {
        page.warning("interrupted: this is what was found so far");
    }
    page.heading("Loss against offered rate");
    let trials = sweep.by_rate();
    let rate = Axis { name: "offered requests/s", scale: Scale::Log, label: chart::short };
    let loss = Axis { name: "loss", scale: Scale::Linear, label: chart::percent };
    // A rate that was not offered is no point of the curve.
    let offered = || trials.iter().filter(|trial| trial.offered);
    let points = offered().map(|trial| (trial.rate as f64, 100.0 * trial.loss())).collect();
    page.figure(Chart { x: rate, y: loss, lines: vec![Line { name: "loss", points, dots: true }] }.picture());
    page.heading("Latency against offered rate");
    let line = |name, value: fn(Summary) -> f64| {
        let points = offered().filter_map(|trial| Some((trial.rate as f64, value(trial.latency?))));
        Line { name, points: points.collect(), dots: true }
    };
    let lines = vec![
        line("p50", |latency| latency.p50),
        line("p99", |latency| latency.p99),
        line("p99.9", |latency| latency.p999),
    ];
    page.figure(Chart { x: rate, y: LATENCY, lines }.picture());
    page.note("From the intended send time: what a client would have waited. Each dot is one trial in which the generator offered the rate.");
    page.heading("Trials");
    let rows: Vec<Vec<Cell>> = trials.iter().map(|trial| row(trial)).collect();
    page.table(&["offered/s", "sent/s", "answers/s", "loss", "p50", "p99", "p99.9", "generator"], &rows);
    page.heading("What became of the requests of all trials");
    page.table(&run_forms::ACCOUNTS, &run_forms::accounts(&sweep.counts));
    page.finish()
}

fn row(trial: &Trial) -> Vec<Cell> {
    let latency = |value: fn(Summary) -> f64| trial.latency.map_or("-".to_owned(), |us| time(value(us)));
    let mut row: Vec<Cell> = [
        trial.rate.to_string(),
        format!("{:.0}", trial.sent),
        format!("{:.0}", trial.answered),
        format!("{:.4} %", 100.0 * trial.loss()),
        latency(|latency| latency.p50),
        latency(|latency| latency.p99),
        latency(|latency| latency.p999),
    ]
    .map(Cell::Number)
    .into();
    row.push(Cell::Text(if trial.generator_ok { "on time" } else { "late" }.to_owned()));
    row
}

impl Sweep {
    fn by_rate(&self) -> Vec<&Trial> {
        let mut trials: Vec<&Trial> = self.trials.iter().collect();
        trials.sort_by_key(|trial| trial.rate);
        trials
    }
}
