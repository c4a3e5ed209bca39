//! The result as text: what it is about, what came of it, the picture, then what to beware of.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

use crate::accounting::{Counts, Invalid, KindCounts, Kod, Unsent};
use crate::failure::Failure;
use crate::histogram::{Bucket, Times};
use crate::mix::Kind;
use crate::run::{Load, Outcome, Plan};
use crate::transport::Transport;
use crate::warnings;

/// Characters of the longest bar.
const BAR: usize = 40;

/// Prints to the standard output. A reader that has seen enough is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::RunTime(format!("cannot write to the standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// The whole report, ending in a line break.
pub(crate) fn text(outcome: &Outcome, plan: &Plan) -> String {
    let mut text = heading(outcome, plan);
    accounts(&mut text, outcome, plan);
    latency(&mut text, outcome, plan);
    for warning in warnings::all(outcome, plan) {
        line(&mut text, format_args!("warning: {warning}"));
    }
    text
}

fn heading(outcome: &Outcome, plan: &Plan) -> String {
    let load = match plan.load {
        Load::Rate(rate) => format!("{rate} requests/s (open loop)"),
        Load::Outstanding(outstanding) => {
            format!("as fast as it answers (closed loop, {outstanding} outstanding)")
        }
        Load::Flood => "as fast as the generator goes (open loop)".to_owned(),
    };
    let requests = plan.requests.describe().map_or_else(String::new, |what| format!("  asked      {what}\n"));
    // A result of several hosts has none of its own.
    let generator = match plan.cores[..] {
        [] => String::new(),
        _ => format!(", generator on cpu {} ({})", cpus(plan), plan.transport.name()),
    };
    format!(
        "{}: {load} for {:.1} s{}, from {} clients{generator}\n{requests}",
        plan.target,
        outcome.span(plan).as_secs_f64(),
        if outcome.interrupted { " (interrupted)" } else { "" },
        plan.clients,
    )
}

/// The generator's cores as a list.
pub(crate) fn cpus(plan: &Plan) -> String {
    plan.cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn accounts(text: &mut String, outcome: &Outcome, plan: &Plan) {
    let counts = &outcome.counts;
    let rate = |count| outcome.per_second(count, plan);
    line(
        text,
        format_args!(
            "  answered   {:.0} requests/s; loss {:.4} %; offered {:.0}/s, sent {:.0}/s",
            rate(counts.answered),
            100.0 * counts.loss_ratio(),
            outcome.offered(plan),
            rate(counts.sent)
        ),
    );
    self::counts(text, counts, plan.transport);
}

/// Where every request and every datagram went.
pub(crate) fn counts(text: &mut String, counts: &Counts, transport: Transport) {
    line(
        text,
        format_args!(
            "  scheduled  {} = {} sent + {} unsent{}",
            counts.scheduled,
            counts.sent,
            counts.unsent(),
            reasons(Unsent::ALL.map(Unsent::name), counts.unsent)
        ),
    );
    line(
        text,
        format_args!(
            "  sent       {} = {} answered + {} late + {} lost + {} turned away{} + {} rightly silent",
            counts.sent,
            counts.answered,
            counts.late,
            counts.lost,
            counts.kod(),
            reasons(Kod::ALL.map(Kod::name), counts.kod),
            counts.silent
        ),
    );
    besides(text, counts, transport);
    kinds(text, counts);
}

/// What became of each kind of request, where there are several, or one that may be left without an answer.
fn kinds(text: &mut String, counts: &Counts) {
    let sent: Vec<(Kind, &KindCounts)> =
        Kind::ALL.into_iter().zip(&counts.by_kind).filter(|(_, counts)| counts.sent > 0).collect();
    if let [] | [(Kind::V4, _)] = sent[..] {
        return;
    }
    let columns = ["kind", "sent", "answered", "lost+late", "turned away", "silent"];
    let [kind, rest @ ..] = columns;
    let row = |name: &str, cells: [String; 5]| {
        format!("  {name:<12}{}", cells.map(|cell| format!("{cell:>12}")).concat())
    };
    line(text, format_args!("{}", row(kind, rest.map(str::to_owned))));
    for (kind, of_kind) in sent {
        let KindCounts { sent, answered, late, lost, kod, silent } = *of_kind;
        let cells = [sent, answered, lost + late, kod, silent].map(|count| count.to_string());
        line(text, format_args!("{}", row(kind.name(), cells)));
    }
}

fn besides(text: &mut String, counts: &Counts, transport: Transport) {
    if transport == Transport::Xdp {
        let invalid = reasons(Invalid::ALL.map(Invalid::name), counts.invalid);
        return line(
            text,
            format_args!(
                "  besides    {} duplicate, {} invalid{invalid}; what this machine drops, and ICMP, this engine cannot see: it takes \
                 replies in before sockets",
                counts.duplicate,
                counts.invalid(),
            ),
        );
    }
    line(
        text,
        format_args!(
            "  besides    {} duplicate, {} invalid{}, {} unsolicited; {} dropped by this machine; {} ICMP unreachable",
            counts.duplicate,
            counts.invalid(),
            reasons(Invalid::ALL.map(Invalid::name), counts.invalid),
            counts.unsolicited,
            counts.local_drops,
            counts.unreachable
        ),
    );
}

/// " (a 1, b 2)" of those that are not zero.
fn reasons<const N: usize>(names: [&str; N], counts: [u64; N]) -> String {
    let some: Vec<String> = names
        .iter()
        .zip(counts)
        .filter(|&(_, count)| count > 0)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    if some.is_empty() { String::new() } else { format!(" ({})", some.join(", ")) }
}

fn latency(text: &mut String, outcome: &Outcome, plan: &Plan) {
    let Some(latency) = outcome.measures.intended.summary() else { return };
    let from = match plan.load {
        Load::Rate(_) => "intended send time",
        Load::Flood => "send time",
        Load::Outstanding(_) => "send time (a closed loop intends none: it waits for a slow server)",
    };
    let answers = match plan.transport {
        Transport::Xdp => format!("a sample of {} answers", latency.count),
        _ => format!("{} answers", latency.count),
    };
    line(text, format_args!("latency from the {from}, {answers}:"));
    line(
        text,
        format_args!(
            "  p50 {}   p90 {}   p99 {}   p99.9 {}   max {}",
            time(latency.p50),
            time(latency.p90),
            time(latency.p99),
            time(latency.p999),
            time(latency.max)
        ),
    );
    if let Some(lag) = outcome.measures.lag.summary() {
        line(
            text,
            format_args!(
                "  of which the generator's own delay: p99 {}, max {}",
                time(lag.p99),
                time(lag.max)
            ),
        );
    }
    draw(text, &outcome.measures.intended);
    server(text, outcome, plan);
}

/// What the stamps of both kernels and of the server tell.
fn server(text: &mut String, outcome: &Outcome, plan: &Plan) {
    let measures = &outcome.measures;
    let wire = match plan.transport {
        Transport::Xdp => "on the wire (program to program)",
        _ => "on the wire (kernel stamp to kernel stamp)",
    };
    for (name, times) in [(wire, &measures.wire), ("in the server (its T3 − T2)", &measures.residence)] {
        let Some(times) = times.summary() else { continue };
        line(
            text,
            format_args!(
                "{name}: p50 {}   p99 {}   max {}   ({} samples)",
                time(times.p50),
                time(times.p99),
                time(times.max),
                times.count
            ),
        );
    }
    if let (Some(offset), Some(bound)) = (measures.offset.summary(), measures.offset_bound.summary()) {
        line(
            text,
            format_args!(
                "server's clock before this one: p50 {}   p99 {}   {} to {}   (an uneven path can do ±{} to it)",
                time(offset.p50),
                time(offset.p99),
                time(offset.min),
                time(offset.max),
                time(bound.p50)
            ),
        );
    }
}

fn draw(text: &mut String, times: &Times) {
    let buckets = times.buckets();
    let total: u64 = buckets.iter().map(|bucket| bucket.count).sum();
    let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or(1);
    for Bucket { from, to, count } in buckets {
        let percent = 100.0 * count as f64 / total as f64;
        let drawn = format!("  {:>7} – {:<7} {percent:>9.4} % {}", edge(from), edge(to), bar(count, most));
        line(text, format_args!("{}", drawn.trim_end()));
    }
}

/// A bar of up to [`BAR`] characters; whatever is not zero can be seen.
fn bar(count: u64, most: u64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (count as f64 / most as f64 * (8 * BAR) as f64).round() as usize;
    let eighths = if count > 0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + PARTS[eighths % 8]
}

/// Microseconds with three significant digits, in the unit that suits them.
pub(crate) fn time(us: f64) -> String {
    let (value, unit) = if us.abs() < 1e3 {
        (us, "µs")
    } else if us.abs() < 1e6 {
        (us / 1e3, "ms")
    } else {
        (us / 1e6, "s")
    };
    let digits = if value.abs() < 10.0 { 2 } else { usize::from(value.abs() < 100.0) };
    format!("{value:.digits$} {unit}")
}

/// The edge of a bucket: a round number.
fn edge(edge: Duration) -> String {
    match edge.as_nanos() {
        0 => "0".to_owned(),
        below @ ..1_000 => format!("{below} ns"),
        below @ ..1_000_000 => format!("{} µs", below as f64 / 1e3),
        below @ ..1_000_000_000 => format!("{} ms", below as f64 / 1e6),
        below @ ..1_000_000_000_000 => format!("{} s", below as f64 / 1e9),
        _ => "∞".to_owned(),
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (us, expected) in [
            (0.5, "0.50 µs"),
            (21.34, "21.3 µs"),
            (999.0, "999 µs"),
            (-5.5, "-5.50 µs"),
            (-2_000.0, "-2.00 ms"),
            (1_234.0, "1.23 ms"),
            (2e6, "2.00 s"),
        ] {
            assert_eq!(time(us), expected);
        }
        assert_eq!(edge(Duration::from_nanos(1_500)), "1.5 µs");
        assert_eq!(edge(Duration::from_millis(70)), "70 ms");
    }

    #[test]
    fn bars_are_proportional_and_never_hide_anything() {
        assert_eq!(bar(100, 100).chars().count(), BAR);
        assert_eq!(bar(50, 100).chars().count(), BAR / 2);
        assert_eq!(bar(1, 1_000_000), "▏");
        assert_eq!(bar(0, 100), "");
    }

    #[test]
    fn only_reasons_that_occurred_are_named() {
        assert_eq!(reasons(["a", "b", "c"], [0, 2, 3]), " (b 2, c 3)");
        assert_eq!(reasons(["a"], [0]), "");
    }
}
