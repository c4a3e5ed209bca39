//! The result as Markdown and as JSON.

use std::env;
use std::fmt::Write as _;

use bench::machine::Machine;
use bench::statistics::Quartiles;
use serde_json::{Value, json};

use super::Row;
use super::contestant::Contestant;
use super::measure::{Effort, HIGH, LOW, Round, Slice};

/// A figure of one round.
type Figure = fn(&Round) -> f64;

/// A column: its heading, its figure, and how many decimals mean something.
type Column = (&'static str, Figure, usize);

const RATES: [Column; 5] = [
    ("saturated /s", |round| round.saturated.outcome.answered, 0),
    ("at most 0.1 % lost /s", |round| round.lossless.per_mille.unwrap_or(f64::NAN), 0),
    ("nothing lost /s", |round| round.lossless.none.unwrap_or(f64::NAN), 0),
    ("CPU ns/request, saturated", |round| round.saturated.cpu_ns(), 0),
    ("at 75 %", |round| round.high.cpu_ns(), 0),
];

const LATENCY: [Column; 6] = [
    ("25 %: p50 µs", |round| round.low.outcome.latency[0], 1),
    ("p99", |round| round.low.outcome.latency[1], 1),
    ("p99.9", |round| round.low.outcome.latency[2], 0),
    ("75 %: p50 µs", |round| round.high.outcome.latency[0], 1),
    ("p99", |round| round.high.outcome.latency[1], 1),
    ("p99.9", |round| round.high.outcome.latency[2], 0),
];

const OFFSET: [Column; 4] = [
    ("25 %: p50 µs", |round| round.low.outcome.offset[0], 2),
    ("p99", |round| round.low.outcome.offset[1], 2),
    ("75 %: p50 µs", |round| round.high.outcome.offset[0], 2),
    ("p99", |round| round.high.outcome.offset[1], 2),
];

const COST: [Column; 7] = [
    ("core used, saturated", |round| round.saturated.utilisation, 2),
    ("saturated: server ns", |round| round.saturated.server_ns, 0),
    ("receiving ns", |round| round.saturated.receive_ns, 0),
    ("75 %: server ns", |round| round.high.server_ns, 0),
    ("receiving ns", |round| round.high.receive_ns, 0),
    ("25 %: server ns", |round| round.low.server_ns, 0),
    ("receiving ns", |round| round.low.receive_ns, 0),
];

/// One round in a line, for whoever waits.
pub(super) fn line(round: &Round) -> String {
    let Round { saturated, lossless, low, high, .. } = round;
    let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| format!("{rate:.0}"));
    format!(
        "{:.0}/s of {:.2} core; lossless {}, 0.1 % {}; CPU {:.0} + {:.0} ns; p99 {:.0}, {:.0} µs; |offset| p99 {:.1}, {:.1} µs",
        saturated.outcome.answered,
        saturated.utilisation,
        rate(lossless.none),
        rate(lossless.per_mille),
        high.server_ns,
        high.receive_ns,
        low.outcome.latency[1],
        high.outcome.latency[1],
        low.outcome.offset[1],
        high.outcome.offset[1],
    )
}

/// The tables.
pub(super) fn markdown(rows: &[Row], machine: &Machine, effort: &Effort) -> String {
    let mut text = format!("{machine}.\n\n`{}`: ", command_line());
    let Some(reference) = reference(rows) else {
        text.push_str("nothing could be measured.\n\n");
        failures(rows, &mut text);
        return text;
    };
    let name = reference.contestant.name();
    let load = |of: fn(&Round) -> &Slice| {
        let sent = reference.rounds.iter().map(|round| of(round).outcome.sent);
        format!("{:.0}/s", Quartiles::of(sent).median)
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{} rounds of {} slices of {:?} per load, without those in which this machine stood still; a rate is without loss if one \
         of {} trials of {:?} was (in the driver one of twice as many, half as long). Each cell: the median, and its ratio to {name} of the same round, median [quartiles]. The loads called {:.0} % and {:.0} % are parts of the {:.0}/s that {name} kept up in the first round: {} and {}.",
        effort.rounds,
        effort.slices,
        effort.slice,
        effort.search.tries,
        effort.search.trial,
        100.0 * LOW,
        100.0 * HIGH,
        reference.rounds[0].reference,
        load(|round| &round.low),
        load(|round| &round.high),
    );
    if reference.contestant != Contestant::Chronyd {
        let _ = writeln!(text, "\n**chronyd was not measured**, so the ratios are to {name}.");
    }
    let all = |_: &Row| true;
    let timed = |row: &Row| row.contestant.tells_time();
    table("Rate and CPU", &RATES, rows, reference, all, &mut text);
    table("Latency from the intended send time", &LATENCY, rows, reference, all, &mut text);
    table("|offset|: how far off a client's clock would be set", &OFFSET, rows, reference, timed, &mut text);
    plain_table("CPU time per request, and whose it is", &COST, rows, &mut text);
    failures(rows, &mut text);
    notes(rows, &mut text);
    text
}

/// The first contestant that was measured: chronyd, where there is one.
fn reference(rows: &[Row]) -> Option<&Row> {
    rows.iter().find(|row| !row.rounds.is_empty())
}

fn command_line() -> String {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let separator = if arguments.is_empty() { "" } else { " -- " };
    format!("cargo run --release -p bench --bin compare{separator}{}", arguments.join(" "))
}

fn heading(title: &str, columns: &[Column], text: &mut String) {
    let names: Vec<_> = columns.iter().map(|(name, _, _)| *name).collect();
    let _ = writeln!(
        text,
        "\n{title}:\n\n| server | {} |\n|---|{}",
        names.join(" | "),
        "---|".repeat(columns.len())
    );
}

/// Medians with ratios to the reference.
fn table(
    title: &str,
    columns: &[Column],
    rows: &[Row],
    reference: &Row,
    shown: fn(&Row) -> bool,
    text: &mut String,
) {
    heading(title, columns, text);
    for row in rows.iter().filter(|row| shown(row) && !row.rounds.is_empty()) {
        let cells = columns.iter().map(|&(_, figure, decimals)| {
            let median = median(row, figure);
            if median.is_nan() {
                return "–".to_owned();
            }
            let Quartiles { lower, median: ratio, upper } = ratio(row, reference, figure);
            format!("{median:.decimals$} · ×{ratio:.2} [{lower:.2}, {upper:.2}]")
        });
        let _ = writeln!(text, "| {} | {} |", row.contestant.name(), cells.collect::<Vec<_>>().join(" | "));
    }
}

/// Medians alone.
fn plain_table(title: &str, columns: &[Column], rows: &[Row], text: &mut String) {
    heading(title, columns, text);
    for row in rows.iter().filter(|row| !row.rounds.is_empty()) {
        let cells =
            columns.iter().map(|&(_, figure, decimals)| format!("{:.decimals$}", median(row, figure)));
        let _ = writeln!(text, "| {} | {} |", row.contestant.name(), cells.collect::<Vec<_>>().join(" | "));
    }
}

fn median(row: &Row, figure: Figure) -> f64 {
    Quartiles::of(row.rounds.iter().map(figure).filter(|value| !value.is_nan())).median
}

/// Round by round, so that what a round has in common cancels out.
fn ratio(row: &Row, reference: &Row, figure: Figure) -> Quartiles {
    let pairs = row.rounds.iter().zip(&reference.rounds);
    Quartiles::of(
        pairs.map(|(round, reference)| figure(round) / figure(reference)).filter(|ratio| !ratio.is_nan()),
    )
}

fn failures(rows: &[Row], text: &mut String) {
    for row in rows {
        if let Some(failure) = &row.failure {
            let _ = writeln!(text, "\n* {}: {failure}", row.contestant.name());
        }
    }
}

/// What a reader must know to read the tables right.
fn notes(rows: &[Row], text: &mut String) {
    /// A server that uses less of its core is not what limits the rate.
    const BUSY: f64 = 0.93;
    let names = |is: fn(&Row) -> bool| {
        let names: Vec<_> = rows.iter().filter(|row| is(row)).map(|row| row.contestant.name()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let idle = names(|row| median(row, |round| round.saturated.utilisation) < BUSY);
    if let Some(idle) = idle {
        let _ =
            writeln!(text, "\nThe generator was the limit of the saturated rate, not the server: {idle}.");
    }
    let disturbed = |round: &Round| [&round.saturated, &round.low, &round.high].map(Slice::is_disturbed);
    let disturbed = rows.iter().flat_map(|row| &row.rounds).flat_map(disturbed).filter(|&is| is).count();
    if disturbed > 0 {
        let _ = writeln!(
            text,
            "\nThis machine stood still in slices of {disturbed} loads of a round, which count because there was no time for more."
        );
    }
    let late = |round: &Round| round.low.outcome.late + round.high.outcome.late;
    let late: usize = rows.iter().flat_map(|row| &row.rounds).map(late).sum();
    if late > 0 {
        let _ =
            writeln!(text, "\nThe generator was late in {late} of the slices that count at 25 % or 75 %.");
    }
    let unsynchronised = names(|row| row.rounds.iter().any(|round| round.low.outcome.unsynchronised));
    if let Some(unsynchronised) = unsynchronised {
        let _ = writeln!(
            text,
            "\nIts replies said that its clock is not synchronised, which costs the same: {unsynchronised}."
        );
    }
}

/// Everything, for machines.
pub(super) fn json(rows: &[Row], machine: &Machine) -> Value {
    let reference = reference(rows);
    json!({
        "machine": machine.to_string(),
        "command": command_line(),
        "reference": reference.map(|row| row.contestant.name()),
        "rows": rows.iter().map(|row| json_row(row, reference)).collect::<Vec<_>>(),
    })
}

fn json_row(row: &Row, reference: Option<&Row>) -> Value {
    // NaN becomes null.
    let of = |figure: Figure| json!(median(row, figure));
    let ratio = |figure: Figure| {
        let Quartiles { lower, median, upper } = ratio(row, reference?, figure);
        Some(json!({ "median": median, "lower": lower, "upper": upper }))
    };
    let [(_, saturated, _), (_, per_mille, _), (_, lossless, _), (_, cpu, _), (_, cpu_high, _)] = RATES;
    let [
        (_, low_p50, _),
        (_, low_p99, _),
        (_, low_p999, _),
        (_, high_p50, _),
        (_, high_p99, _),
        (_, high_p999, _),
    ] = LATENCY;
    let [(_, low_offset, _), (_, low_offset99, _), (_, high_offset, _), (_, high_offset99, _)] = OFFSET;
    json!({
        "server": row.contestant.name(),
        "error": row.failure,
        "rounds": row.rounds.len(),
        "saturated_rps": of(saturated),
        "lossless_rps": of(lossless),
        "lossless_0_1_percent_rps": of(per_mille),
        "loss": of(|round| round.saturated.outcome.loss),
        "core_utilisation": of(|round| round.saturated.utilisation),
        "cpu_ns_per_request": of(cpu),
        "cpu_ns_per_request_high": of(cpu_high),
        "cpu_ns_per_request_low": of(|round| round.low.cpu_ns()),
        "offered_rps": { "low": of(|round| round.low.outcome.sent), "high": of(|round| round.high.outcome.sent) },
        "latency_us": {
            "low": { "p50": of(low_p50), "p99": of(low_p99), "p999": of(low_p999) },
            "high": { "p50": of(high_p50), "p99": of(high_p99), "p999": of(high_p999) },
        },
        "offset_us": {
            "low": { "p50": of(low_offset), "p99": of(low_offset99) },
            "high": { "p50": of(high_offset), "p99": of(high_offset99) },
        },
        "ratios": {
            "saturated_rps": ratio(saturated),
            "lossless_rps": ratio(lossless),
            "lossless_0_1_percent_rps": ratio(per_mille),
            "cpu_ns_per_request": ratio(cpu),
            "cpu_ns_per_request_high": ratio(cpu_high),
            "latency_low_p99": ratio(low_p99),
            "latency_high_p99": ratio(high_p99),
            "offset_low_p50": ratio(low_offset),
            "offset_low_p99": ratio(low_offset99),
            "offset_high_p50": ratio(high_offset),
            "offset_high_p99": ratio(high_offset99),
        },
    })
}
