//! One run as a table and as a page.

use std::fmt::Write as _;

use crate::accounting::Counts;
use crate::chart::{self, Axis, Chart, Line, Picture, Scale};
use crate::condition::Figure;
use crate::histogram::{Summary, Times};
use crate::measures::Second;
use crate::output::{Form, Sinks};
use crate::page::{Cell, Page};
use crate::run::{Load, Outcome, Plan};
use crate::{failure::Failure, hlog, json, report, warnings};

/// Prints the report, and writes the files that are wanted.
pub(crate) fn show(outcome: &Outcome, plan: &Plan, sinks: Sinks) -> Result<(), Failure> {
    if sinks.use_stdout() {
        warnings::all(outcome, plan).iter().for_each(|warning| eprintln!("ntpload: warning: {warning}"));
    }
    sinks.print(&report::text(outcome, plan))?;
    sinks.write(|form| self::form(form, outcome, plan))
}

/// The result in one form.
pub(crate) fn form(form: Form, outcome: &Outcome, plan: &Plan) -> String {
    match form {
        Form::Json => format!("{:#}\n", json::result(outcome, plan)),
        Form::Csv => csv(outcome.eventful()),
        Form::Hlog => hlog::text(outcome),
        Form::Html => page(outcome, plan),
    }
}

/// What a condition asks about.
pub(crate) fn figure(figure: Figure, outcome: &Outcome, plan: &Plan) -> Option<f64> {
    match figure {
        Figure::Latency(quantile) => {
            let latency = &outcome.measures.intended;
            (!latency.is_empty()).then(|| latency.at(quantile))
        }
        Figure::Loss => Some(outcome.counts.loss_ratio()),
        Figure::Rate => Some(outcome.per_second(outcome.counts.answered, plan)),
        Figure::Count(name) => json::counts(&outcome.counts, plan.transport)[name].as_f64(),
    }
}

/// A line for each second.
fn csv(seconds: &[Second]) -> String {
    let mut text = "second,sent,answered,lost,p50_us,p99_us\n".to_owned();
    for (number, second) in seconds.iter().enumerate() {
        let Second { sent, answered, lost, .. } = second;
        let [p50, p99] = [second.p50, second.p99].map(|us| us.map_or(String::new(), |us| us.to_string()));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{number},{sent},{answered},{lost},{p50},{p99}");
    }
    text
}

/// The whole page.
fn page(outcome: &Outcome, plan: &Plan) -> String {
    let mut page = Page::new(&format!("ntpload: {}", plan.target));
    page.note(&heading(outcome, plan));
    for warning in warnings::all(outcome, plan) {
        page.warning(&warning.to_string());
    }
    page.heading("What became of the requests");
    page.table(&ACCOUNTS, &accounts(&outcome.counts));
    page.heading("Latency by percentile");
    page.figure(percentiles(outcome));
    page.note(
        "From the intended send time: what a client would have waited. Wire: from the kernel's send stamp to its receive \
         stamp. Residence: within the server, by its own stamps. Half of all requests are answered faster than the curve \
         at 50 %, all but one in a hundred faster than at 99 %.",
    );
    page.table(
        &["measure", "samples", "min", "p50", "p90", "p99", "p99.9", "p99.99", "max"],
        &measures(outcome),
    );
    page.heading("Rate over time");
    page.figure(rates(outcome.eventful()));
    // Of several hosts' seconds the quantiles are not known.
    if outcome.seconds.iter().any(|second| second.p50.is_some()) {
        page.heading("Latency over time");
        page.figure(latencies(outcome.eventful()));
    }
    page.finish()
}

fn heading(outcome: &Outcome, plan: &Plan) -> String {
    let load = match plan.load {
        Load::Rate(rate) => format!("{rate} requests/s, whatever the server does"),
        Load::Outstanding(outstanding) => format!("{outstanding} requests outstanding at any time"),
        Load::Flood => "As many requests as the generator can send".to_owned(),
    };
    format!(
        "{load}, for {:.1} s, from {} clients. Sent {:.0}/s, answered {:.0}/s, loss {:.4} %.",
        outcome.span(plan).as_secs_f64(),
        plan.clients,
        outcome.per_second(outcome.counts.sent, plan),
        outcome.per_second(outcome.counts.answered, plan),
        100.0 * outcome.counts.loss_ratio()
    )
}

/// The columns of [`accounts`].
pub(crate) const ACCOUNTS: [&str; 3] = ["requests", "count", "part"];

/// What became of the requests, as rows of a table.
pub(crate) fn accounts(counts: &Counts) -> Vec<Vec<Cell>> {
    let row = |name: &str, count: u64, of: u64| {
        vec![
            Cell::Text(name.to_owned()),
            Cell::Number(count.to_string()),
            Cell::Part(count as f64 / of.max(1) as f64),
        ]
    };
    vec![
        row("sent, of those scheduled", counts.sent, counts.scheduled),
        row("answered, of those sent", counts.answered, counts.sent),
        row("late", counts.late, counts.sent),
        row("lost", counts.lost, counts.sent),
        row("turned away (kiss-o'-death)", counts.kod(), counts.sent),
        row("rightly silent", counts.silent, counts.sent),
    ]
}

fn measures(outcome: &Outcome) -> Vec<Vec<Cell>> {
    let measures = &outcome.measures;
    [
        ("from the intended time", measures.intended.summary()),
        ("wire", measures.wire.summary()),
        ("residence in the server", measures.residence.summary()),
        ("clock offset", measures.offset.summary()),
        ("bound of the offset (delay/2)", measures.offset_bound.summary()),
        ("lag of the generator", measures.lag.summary()),
    ]
    .into_iter()
    .filter_map(|(name, summary)| summary.map(|summary| row(name, summary)))
    .collect()
}

fn row(name: &str, summary: Summary) -> Vec<Cell> {
    let Summary { count, min, p50, p90, p99, p999, p9999, max, .. } = summary;
    let mut row = vec![Cell::Text(name.to_owned()), Cell::Number(count.to_string())];
    row.extend([min, p50, p90, p99, p999, p9999, max].map(|us| Cell::Number(report::time(us))));
    row
}

fn percentiles(outcome: &Outcome) -> Option<Picture> {
    let measures = &outcome.measures;
    let line = |name, times: &Times| Line { name, points: times.percentiles(), dots: false };
    let lines = vec![
        line("from the intended time", &measures.intended),
        line("wire", &measures.wire),
        line("residence in the server", &measures.residence),
    ];
    let x = Axis { name: "part of all requests", scale: Scale::Log, label: chart::percentile };
    Chart { x, y: LATENCY, lines }.picture()
}

/// The axis of times.
pub(crate) const LATENCY: Axis = Axis { name: "latency", scale: Scale::Log, label: chart::time };
const TIME: Axis = Axis { name: "time, s", scale: Scale::Linear, label: chart::short };

fn rates(seconds: &[Second]) -> Option<Picture> {
    let line = |name, count: fn(&Second) -> u64| {
        let points = seconds.iter().enumerate().map(|(at, second)| (at as f64, count(second) as f64));
        Line { name, points: points.collect(), dots: false }
    };
    let lines = vec![
        line("sent", |second| second.sent),
        line("answered", |second| second.answered),
        line("lost", |second| second.lost),
    ];
    let y = Axis { name: "requests in the second", scale: Scale::Linear, label: chart::short };
    Chart { x: TIME, y, lines }.picture()
}

fn latencies(seconds: &[Second]) -> Option<Picture> {
    let line = |name, value: fn(&Second) -> Option<f64>| {
        let points = seconds.iter().enumerate();
        let points = points.filter_map(|(at, second)| value(second).map(|us| (at as f64, us)));
        Line { name, points: points.collect(), dots: false }
    };
    let lines = vec![line("p50", |second| second.p50), line("p99", |second| second.p99)];
    Chart { x: TIME, y: LATENCY, lines }.picture()
}
