//! The result for machines, and how it is read back. schema/result.json is its schema; a field that changes
//! its meaning makes a new version.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::accounting::{Counts, Invalid, KindCounts, Kod, Unsent};
use crate::histogram::{Summary, Times};
use crate::measures::{Measures, Second, Signed};
use crate::mix::Kind;
use crate::requests::Requests;
use crate::run::{Load, Outcome, Plan};
use crate::schedule::Arrivals;
use crate::stamping::TxStamps;
use crate::transport::Transport;
use crate::warnings::{self, Warning};

/// Version of the format.
pub(crate) const VERSION: u32 = 1;

/// The whole result.
pub(crate) fn result(outcome: &Outcome, plan: &Plan) -> Value {
    let warnings = warnings::all(outcome, plan);
    let outstanding = match plan.load {
        Load::Rate(_) | Load::Flood => None,
        Load::Outstanding(outstanding) => Some(outstanding),
    };
    let measures = &outcome.measures;
    json!({
        "version": VERSION,
        "kind": "run",
        "ntpload": env!("CARGO_PKG_VERSION"),
        "target": plan.target.to_string(),
        "loop": if outstanding.is_some() { "closed" } else { "open" },
        "arrivals": if outstanding.is_some() { None } else { Some(plan.arrivals.name()) },
        "outstanding": outstanding,
        "asked": plan.requests.describe(),
        "clients": plan.clients,
        "cpus": plan.cores,
        "engine": if plan.cores.is_empty() { None } else { Some(plan.transport.name()) },
        "started": outcome.started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
        "duration_s": outcome.span(plan).as_secs_f64(),
        "sending_s": outcome.sending.as_secs_f64(),
        "warmup_s": plan.warmup.as_secs_f64(),
        "timeout_s": plan.timeout.as_secs_f64(),
        "interrupted": outcome.interrupted,
        "generator_ok": generator_ok(outcome, plan),
        "warnings": warnings.iter().map(|warning| warning.name()).collect::<Vec<_>>(),
        "rate": {
            "offered": outcome.offered(plan),
            "sent": outcome.per_second(outcome.counts.sent, plan),
            "answered": outcome.per_second(outcome.counts.answered, plan),
        },
        "loss_ratio": outcome.counts.loss_ratio(),
        "counts": counts(&outcome.counts, plan.transport),
        "latency_us": {
            "intended": times(&measures.intended),
            "wire": times(&measures.wire),
            "residence": times(&measures.residence),
        },
        "offset_us": signed(&measures.offset),
        "offset_bound_us": times(&measures.offset_bound),
        "lag_us": times(&measures.lag),
        "seconds": outcome.eventful().iter().map(second).collect::<Vec<_>>(),
    })
}

/// Whether the figures are the server's: the generator offered what it was asked to, when it was to.
pub(crate) fn generator_ok(outcome: &Outcome, plan: &Plan) -> bool {
    !warnings::all(outcome, plan).into_iter().any(Warning::is_lag)
}

/// What became of everything, by name; what the engine cannot see is null.
pub(crate) fn counts(counts: &Counts, transport: Transport) -> Value {
    let mut value = all_counts(counts);
    for name in transport.unseen() {
        value[name] = Value::Null;
    }
    value
}

fn all_counts(counts: &Counts) -> Value {
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

fn second(second: &Second) -> Value {
    json!({
        "sent": second.sent,
        "answered": second.answered,
        "lost": second.lost,
        "p50_us": second.p50,
        "p99_us": second.p99,
    })
}

fn times(times: &Times) -> Value {
    let mut value = summary(times.summary());
    value["histogram"] = times.encode().into();
    value
}

fn signed(signed: &Signed) -> Value {
    let mut value = summary(signed.summary());
    value["histogram"] = signed.ahead.encode().into();
    value["histogram_negative"] = signed.behind.encode().into();
    value
}

/// `null` but for the count if nothing was measured.
pub(crate) fn summary(summary: Option<Summary>) -> Value {
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

/// A result that was written by [`result`], perhaps elsewhere.
///
/// # Errors
/// What is missing or wrong, as a clause.
pub(crate) fn read(result: &Value) -> Result<(Outcome, Plan), String> {
    if result["version"] != VERSION || result["kind"] != "run" {
        return Err(format!("it is no result of a run, version {VERSION}"));
    }
    let at = |place| Reader { root: result, place };
    let load = match result["outstanding"].as_u64() {
        Some(outstanding) => Load::Outstanding(outstanding as usize),
        None => Load::Rate(at("/rate/offered").number()?.round().max(1.0) as u64),
    };
    let plan = Plan {
        target: at("/target").parse::<SocketAddr>()?,
        load,
        duration: at("/duration_s").duration()?,
        timeout: at("/timeout_s").duration()?,
        clients: at("/clients").integer()? as usize,
        cores: Vec::new(),
        spin: false,
        arrivals: Arrivals::default(),
        warmup: at("/warmup_s").duration()?,
        tx_stamps: TxStamps::Off,
        transport: Transport::Mmsg,
        interface: None,
        start_at: None,
        keep_seconds: false,
        requests: Requests::default(),
    };
    let outcome = Outcome {
        counts: read_counts(result)?,
        measures: Measures {
            intended: at("/latency_us/intended/histogram").times()?,
            wire: at("/latency_us/wire/histogram").times()?,
            residence: at("/latency_us/residence/histogram").times()?,
            offset: Signed {
                ahead: at("/offset_us/histogram").times()?,
                behind: at("/offset_us/histogram_negative").times()?,
            },
            offset_bound: at("/offset_bound_us/histogram").times()?,
            lag: at("/lag_us/histogram").times()?,
        },
        seconds: at("/seconds").list()?.iter().map(read_second).collect::<Result<_, _>>()?,
        started: UNIX_EPOCH + at("/started").duration()?,
        sending: at("/sending_s").duration()?,
        interrupted: at("/interrupted").truth()?,
        lost_link: None,
    };
    Ok((outcome, plan))
}

fn read_counts(result: &Value) -> Result<Counts, String> {
    let count = |name: &str| Reader { root: &result["counts"], place: &format!("/{name}") }.integer();
    // What the engine could not see.
    let seen = |name: &str| match result["counts"].get(name) {
        Some(Value::Null) => Ok(0),
        _ => count(name),
    };
    Ok(Counts {
        scheduled: count("scheduled")?,
        sent: count("sent")?,
        unsent: each(Unsent::ALL.map(Unsent::name), |name| count(&format!("unsent_reasons/{name}")))?,
        answered: count("answered")?,
        unsynchronised: count("unsynchronised")?,
        late: count("late")?,
        lost: count("lost")?,
        kod: each(Kod::ALL.map(Kod::name), |name| count(&format!("kod_codes/{name}")))?,
        silent: count("silent")?,
        duplicate: count("duplicate")?,
        invalid: each(Invalid::ALL.map(Invalid::name), |name| count(&format!("invalid_reasons/{name}")))?,
        unsolicited: seen("unsolicited")?,
        local_drops: seen("local_drops")?,
        unreachable: seen("unreachable")?,
        unstamped: count("unstamped")?,
        interleaved: count("interleaved")?,
        by_kind: read_kinds(&result["counts"])?,
    })
}

/// Kinds that were not asked are not in the document.
fn read_kinds(counts: &Value) -> Result<[KindCounts; Kind::ALL.len()], String> {
    let mut kinds = [KindCounts::default(); Kind::ALL.len()];
    for (place, kind) in kinds.iter_mut().zip(Kind::ALL) {
        let Some(root) = counts["by_kind"].get(kind.name()) else { continue };
        let count = |place| Reader { root, place }.integer();
        *place = KindCounts {
            sent: count("/sent")?,
            answered: count("/answered")?,
            late: count("/late")?,
            lost: count("/lost")?,
            kod: count("/kod")?,
            silent: count("/silent")?,
        };
    }
    Ok(kinds)
}

fn each<const N: usize>(
    names: [&str; N],
    count: impl Fn(&str) -> Result<u64, String>,
) -> Result<[u64; N], String> {
    let mut counts = [0; N];
    for (place, name) in counts.iter_mut().zip(names) {
        *place = count(name)?;
    }
    Ok(counts)
}

fn read_second(second: &Value) -> Result<Second, String> {
    let at = |place| Reader { root: second, place };
    Ok(Second {
        sent: at("/sent").integer()?,
        answered: at("/answered").integer()?,
        lost: at("/lost").integer()?,
        p50: second["p50_us"].as_f64(),
        p99: second["p99_us"].as_f64(),
        measures: None,
    })
}

/// One field of a document.
pub(crate) struct Reader<'a> {
    pub(crate) root: &'a Value,
    /// As a JSON pointer (RFC 6901).
    pub(crate) place: &'a str,
}

impl<'a> Reader<'a> {
    fn read<T>(&self, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<T, String> {
        self.root
            .pointer(self.place)
            .and_then(read)
            .ok_or_else(|| format!("{} is missing or no {what}", self.place.trim_start_matches('/')))
    }

    pub(crate) fn integer(&self) -> Result<u64, String> {
        self.read("count", Value::as_u64)
    }

    pub(crate) fn number(&self) -> Result<f64, String> {
        self.read("number", Value::as_f64)
    }

    pub(crate) fn list(&self) -> Result<&'a Vec<Value>, String> {
        self.read("list", Value::as_array)
    }

    fn truth(&self) -> Result<bool, String> {
        self.read("truth value", Value::as_bool)
    }

    fn duration(&self) -> Result<Duration, String> {
        self.read("time", |value| Duration::try_from_secs_f64(value.as_f64()?).ok())
    }

    fn parse<T: std::str::FromStr>(&self) -> Result<T, String> {
        self.read("address", |value| value.as_str()?.parse().ok())
    }

    fn times(&self) -> Result<Times, String> {
        Times::decode(self.read("histogram", Value::as_str)?)
            .map_err(|error| format!("{}: {error}", self.place.trim_start_matches('/')))
    }
}
