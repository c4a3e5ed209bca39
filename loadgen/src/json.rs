//! The result for machines. README.md documents the fields; a field that changes its meaning makes a new
//! version.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::accounting::{Counts, Invalid, KindCounts, Kod, Unsent};
use crate::failure::Failure;
use crate::histogram::Times;
use crate::mix::Kind;
use crate::report;
use crate::run::{Load, Outcome, Plan};
use crate::warnings::{self, Warning};

/// Version of the format.
const VERSION: u32 = 1;

/// Where the result goes; opened before the run, so that a wrong path costs no run.
pub(crate) enum Sink {
    Stdout,
    File(PathBuf, File),
}

impl Sink {
    /// Opens `path`; `-` is the standard output.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let file = File::create(path)
            .map_err(|error| Failure::RunTime(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self::File(path.to_owned(), file))
    }

    /// Writes the result.
    pub(crate) fn write(self, result: &Value) -> Result<(), Failure> {
        let text = format!("{result:#}\n");
        match self {
            Self::Stdout => report::print(&text),
            Self::File(path, mut file) => {
                file.write_all(text.as_bytes()).and_then(|()| file.flush()).map_err(|error| {
                    Failure::RunTime(format!(
                        "cannot write {}: {error}; the result is on the standard output only",
                        path.display()
                    ))
                })
            }
        }
    }
}

/// The whole result.
pub(crate) fn result(outcome: &Outcome, plan: &Plan) -> Value {
    let warnings = warnings::all(outcome, plan);
    let outstanding = match plan.load {
        Load::Rate(_) => None,
        Load::Outstanding(outstanding) => Some(outstanding),
    };
    json!({
        "version": VERSION,
        "ntpload": env!("CARGO_PKG_VERSION"),
        "target": plan.target.to_string(),
        "loop": if outstanding.is_some() { "closed" } else { "open" },
        "outstanding": outstanding,
        "clients": plan.clients,
        "cpus": plan.cores,
        "duration_s": outcome.span(plan).as_secs_f64(),
        "timeout_s": plan.timeout.as_secs_f64(),
        "interrupted": outcome.interrupted,
        "generator_ok": !warnings.iter().copied().any(Warning::is_lag),
        "warnings": warnings.iter().map(|warning| warning.name()).collect::<Vec<_>>(),
        "rate": {
            "offered": outcome.offered(plan),
            "sent": outcome.per_second(outcome.counts.sent, plan),
            "answered": outcome.per_second(outcome.counts.answered, plan),
        },
        "loss_ratio": outcome.counts.loss_ratio(),
        "counts": counts(&outcome.counts),
        "latency_us": times(&outcome.measures.intended),
        "lag_us": times(&outcome.measures.lag),
    })
}

fn counts(counts: &Counts) -> Value {
    json!({
        "scheduled": counts.scheduled,
        "sent": counts.sent,
        "unsent": counts.unsent(),
        "unsent_reasons": reasons(Unsent::ALL.map(Unsent::name), counts.unsent),
        "answered": counts.answered,
        "unsynchronised": counts.unsynchronised,
        "late": counts.late,
        "lost": counts.lost,
        "kod": counts.kod(),
        "kod_codes": reasons(Kod::ALL.map(Kod::name), counts.kod),
        "silent": counts.silent,
        "interleaved": counts.interleaved,
        "by_kind": kinds(counts),
        "duplicate": counts.duplicate,
        "invalid": counts.invalid(),
        "invalid_reasons": reasons(Invalid::ALL.map(Invalid::name), counts.invalid),
        "unsolicited": counts.unsolicited,
        "local_drops": counts.local_drops,
        "unreachable": counts.unreachable,
        "unstamped": counts.unstamped,
    })
}

/// The kinds of request that were sent.
fn kinds(counts: &Counts) -> Map<String, Value> {
    let sent = Kind::ALL.into_iter().zip(&counts.by_kind).filter(|(_, counts)| counts.sent > 0);
    let value = |of_kind: &KindCounts| {
        json!({
            "sent": of_kind.sent,
            "answered": of_kind.answered,
            "late": of_kind.late,
            "lost": of_kind.lost,
            "kod": of_kind.kod,
            "silent": of_kind.silent,
        })
    };
    sent.map(|(kind, counts)| (kind.name().to_owned(), value(counts))).collect()
}

fn reasons<const N: usize>(names: [&str; N], counts: [u64; N]) -> Map<String, Value> {
    names.iter().zip(counts).map(|(name, count)| ((*name).to_owned(), count.into())).collect()
}

/// `null` but for the count if nothing was measured.
fn times(times: &Times) -> Value {
    let summary = times.summary();
    json!({
        "count": summary.map_or(0, |summary| summary.count),
        "min": summary.map(|summary| summary.min),
        "mean": summary.map(|summary| summary.mean),
        "p50": summary.map(|summary| summary.p50),
        "p90": summary.map(|summary| summary.p90),
        "p99": summary.map(|summary| summary.p99),
        "p999": summary.map(|summary| summary.p999),
        "p9999": summary.map(|summary| summary.p9999),
        "max": summary.map(|summary| summary.max),
    })
}
