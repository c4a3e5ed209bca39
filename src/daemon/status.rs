//! What the daemon knows of itself, as one JSON line (SIGUSR1) or Prometheus text (`--metrics`).

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::control::Tally;
use super::following::Following;
use crate::datapath::SystemClock;
use crate::server::{Clock, Counters, ServingState, Totals};
use crate::snapshot::{
    Association, AssociationKind, Authentication, Discipline, Published, Selection, SystemVariables,
};
use crate::sys::link;
use crate::wire::{NtpTimestamp, ReferenceId};
use crate::xdp;

/// A view on the running server; every thread that reports has its own.
#[derive(Clone)]
pub(super) struct Status {
    pub(super) tier: &'static str,
    pub(super) cores: Vec<usize>,
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) published: Published<ServingState>,
    pub(super) following: Published<Following>,
    pub(super) control: Arc<Tally>,
    /// The tier in the network driver, if there is one.
    pub(super) xdp: Option<xdp::View>,
}

impl Status {
    /// All counters and what is served, on one line.
    pub(super) fn json(&mut self) -> String {
        let totals = self.totals();
        let workers: Vec<Value> = self
            .cores
            .iter()
            .zip(&self.counters)
            .map(|(core, counters)| worker(*core, &counters.read()))
            .collect();
        let mut line = counts(&totals);
        line.insert(
            "control".to_owned(),
            self.control.counts().map(|(name, _, count)| (name, count)).into_iter().collect(),
        );
        line.insert("tier".to_owned(), json!(self.tier));
        line.insert("workers".to_owned(), json!(workers));
        if let Some(xdp) = &mut self.xdp {
            line.insert("xdp".to_owned(), driver(xdp));
        }
        line.insert("system".to_owned(), system(&self.published.load().system));
        let following = self.following.load();
        line.insert("associations".to_owned(), following.associations.iter().map(association).collect());
        line.insert("discipline".to_owned(), discipline(&following.discipline));
        Value::Object(line).to_string()
    }

    /// The two numbers that matter at the end.
    pub(super) fn summary(&self) -> String {
        let totals = self.totals();
        format!("{} requests answered of {} received", totals.answered(), totals.received())
    }

    /// All tiers together.
    fn totals(&self) -> Totals {
        let mut totals = Totals::sum(self.counters.iter().map(AsRef::as_ref));
        if let Some(xdp) = &self.xdp {
            let in_driver = xdp.totals().answered;
            totals.tally.received += in_driver.iter().sum::<u64>();
            for (total, count) in totals.tally.answered.iter_mut().zip(in_driver) {
                *total += count;
            }
        }
        totals
    }

    /// The Prometheus text exposition format, version 0.0.4.
    pub(super) fn prometheus(&mut self) -> String {
        let mut text = Exposition::default();
        let totals = Totals::sum(self.counters.iter().map(AsRef::as_ref));
        let tier = self.tier;
        let in_driver = self.xdp.as_ref().map(xdp::View::totals);
        text.family(
            "ntpring_received_total",
            "counter",
            "Datagrams handed over by the sockets, or kept in the driver.",
        );
        for (core, counters) in self.cores.iter().zip(&self.counters) {
            text.sample(&format!("tier=\"{tier}\",cpu=\"{core}\""), counters.read().received());
        }
        if let Some(xdp) = &in_driver {
            text.sample("tier=\"xdp\"", xdp.answered());
        }
        text.family("ntpring_answered_total", "counter", "Replies that the kernel took, kisses included.");
        text.sample(&format!("tier=\"{tier}\""), totals.answered());
        if let Some(xdp) = &in_driver {
            text.sample("tier=\"xdp\"", xdp.answered());
        }
        text.family("ntpring_forwarded_total", "counter", "Control messages handed to the daemon thread.");
        text.sample(&format!("tier=\"{tier}\""), totals.forwarded());
        text.family(
            "ntpring_replies_total",
            "counter",
            "Time replies handed to the kernel, by version of the request.",
        );
        for (version, count) in (1..).zip(totals.tally.answered) {
            text.sample(&format!("tier=\"{tier}\",version=\"{version}\""), count);
        }
        if let Some(xdp) = &in_driver {
            for (version, count) in (1..).zip(xdp.answered) {
                text.sample(&format!("tier=\"xdp\",version=\"{version}\""), count);
            }
        }
        text.family(
            "ntpring_kod_total",
            "counter",
            "Kiss-o'-death packets, to requests beyond the rate limit.",
        );
        text.sample(&format!("tier=\"{tier}\""), totals.tally.kod);
        text.family("ntpring_dropped_total", "counter", "Datagrams without an answer, by reason.");
        for (reason, count) in totals.dropped() {
            text.sample(&format!("tier=\"{tier}\",reason=\"{reason}\""), count);
        }
        for (name, help, count) in path_counts(&totals) {
            text.family(&format!("ntpring_{name}_total"), "counter", help);
            text.sample(&format!("tier=\"{tier}\""), count);
        }
        for (name, help, count) in self.control.counts() {
            text.family(&format!("ntpring_control_{name}_total"), "counter", help);
            text.sample("", count);
        }
        if let Some(xdp) = &mut self.xdp {
            driver_metrics(xdp, &mut text);
        }
        self.system_metrics(&mut text);
        text.text
    }

    fn system_metrics(&mut self, text: &mut Exposition) {
        let system = self.published.load().system;
        let dispersion = system.root_dispersion_at(served_now(&system));
        let synchronised = system.is_synchronised(dispersion);
        text.gauge(
            "ntpring_synchronised",
            "1 when replies carry usable time.",
            f64::from(u8::from(synchronised)),
        );
        text.gauge(
            "ntpring_stratum",
            "Stratum that is served, 16 when unsynchronised.",
            f64::from(system.stratum),
        );
        text.gauge(
            "ntpring_leap_indicator",
            "Leap indicator that is served, 3 when unsynchronised.",
            f64::from(system.leap as u8),
        );
        text.gauge("ntpring_root_delay_seconds", "Root delay.", seconds(system.root_delay.to_nanoseconds()));
        text.gauge(
            "ntpring_root_dispersion_seconds",
            "Root dispersion at this moment.",
            seconds(dispersion.to_nanoseconds()),
        );
        text.gauge(
            "ntpring_snapshot_age_seconds",
            "Time since the served system variables were updated.",
            age(&system),
        );
        let following = self.following.load();
        let reachable = following.associations.iter().filter(|source| source.reach != 0).count();
        text.gauge(
            "ntpring_sources_reachable",
            "Sources that answered one of the last polls.",
            reachable as f64,
        );
        let discipline = following.discipline;
        text.gauge(
            "ntpring_clock_offset_seconds",
            "What the sources say the clock is off by.",
            discipline.offset,
        );
        text.gauge(
            "ntpring_clock_frequency_ppm",
            "What the clock's rate is corrected by.",
            discipline.frequency_ppm,
        );
    }
}

#[derive(Default)]
struct Exposition {
    text: String,
    name: String,
}

impl Exposition {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        name.clone_into(&mut self.name);
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn sample(&mut self, labels: &str, value: u64) {
        self.line(format_args!("{}{{{labels}}} {value}", self.name.clone()));
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help);
        self.line(format_args!("{name} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }
}

/// What a datapath counts beside the fate of requests: name, meaning, count.
fn path_counts(totals: &Totals) -> [(&'static str, &'static str, u64); 6] {
    let path = &totals.path;
    [
        ("send_failed", "Replies that the kernel refused to send.", path.send_failed),
        ("rxq_ovfl", "Datagrams lost because a socket queue was full.", path.rxq_ovfl),
        ("missing_stamp", "Requests without a kernel receive stamp.", path.missing_stamp),
        ("cq_overflow", "Completions that did not fit the ring.", path.cq_overflow),
        ("rearmed", "Multishot receives armed again.", path.rearmed),
        ("kernel_entries", "System calls made to move datagrams.", path.kernel_entries),
    ]
}

/// The tier in the network driver: what it answered and left to the sockets, where it is, and what the
/// drivers count about its replies.
fn driver(xdp: &mut xdp::View) -> Value {
    let totals = xdp.totals();
    let passed: Map<String, Value> =
        totals.passed().map(|(reason, count)| (reason.to_owned(), json!(count))).collect();
    let interfaces: Vec<Value> = xdp
        .interfaces
        .load()
        .iter()
        .map(|interface| {
            let counts = link::program_counts(&interface.name).unwrap_or_default();
            json!({
                "interface": interface.name,
                "mode": interface.mode.map(xdp::Mode::name),
                "driver": counts.into_iter().map(|(name, count)| (name, json!(count))).collect::<Map<_, _>>(),
            })
        })
        .collect();
    json!({ "answered": totals.answered(), "passed": passed, "interfaces": interfaces })
}

fn driver_metrics(xdp: &mut xdp::View, text: &mut Exposition) {
    let help = "Requests to a served address that the driver left to the sockets, by reason.";
    text.family("ntpring_xdp_passed_total", "counter", help);
    for (reason, count) in xdp.totals().passed() {
        text.sample(&format!("reason=\"{reason}\""), count);
    }
    let interfaces = xdp.interfaces.load();
    text.family("ntpring_xdp_attached", "gauge", "1 where requests are answered in the driver.");
    for interface in interfaces.iter() {
        let mode = interface.mode.map_or("none", xdp::Mode::name);
        let labels = format!("interface=\"{}\",mode=\"{mode}\"", interface.name);
        text.sample(&labels, u64::from(interface.mode.is_some()));
    }
    let help = "The driver's own counts of replies and of lost replies, by its own names.";
    text.family("ntpring_xdp_driver_total", "counter", help);
    for interface in interfaces.iter() {
        for (name, count) in link::program_counts(&interface.name).unwrap_or_default() {
            text.sample(&format!("interface=\"{}\",count=\"{name}\"", interface.name), count);
        }
    }
}

fn worker(core: usize, totals: &Totals) -> Value {
    let mut worker = counts(totals);
    worker.insert("cpu".to_owned(), json!(core));
    Value::Object(worker)
}

/// received = answered + forwarded + Σ dropped; kisses are among the answered.
fn counts(totals: &Totals) -> Map<String, Value> {
    let dropped: Map<String, Value> =
        totals.dropped().map(|(reason, count)| (reason.to_owned(), json!(count))).collect();
    let mut counts = Map::new();
    counts.insert("received".to_owned(), json!(totals.received()));
    counts.insert("answered".to_owned(), json!(totals.answered()));
    counts.insert("kod".to_owned(), json!(totals.tally.kod));
    counts.insert("forwarded".to_owned(), json!(totals.forwarded()));
    counts.insert("dropped".to_owned(), Value::Object(dropped));
    for (name, _, count) in path_counts(totals) {
        counts.insert(name.to_owned(), json!(count));
    }
    counts
}

fn system(system: &SystemVariables) -> Value {
    let dispersion = system.root_dispersion_at(served_now(system));
    json!({
        "leap": system.leap as u8,
        "stratum": system.stratum,
        "precision": system.precision.log2(),
        "refid": reference_id(system.stratum, system.reference_id),
        "root_delay_s": seconds(system.root_delay.to_nanoseconds()),
        "root_dispersion_s": seconds(dispersion.to_nanoseconds()),
        "synchronised": system.is_synchronised(dispersion),
        "snapshot_age_s": age(system),
    })
}

/// One source; its last sample, and what became of it.
fn association(source: &Association) -> Value {
    // A reference clock has a name, whatever stratum it was given.
    let named_by = if source.kind == AssociationKind::LocalClock { 0 } else { source.stratum };
    json!({
        "id": source.id,
        "host": source.host.as_deref(),
        "address": source.source.ip().to_string(),
        "stratum": source.stratum,
        "leap": source.leap as u8,
        "refid": reference_id(named_by, source.reference_id),
        "reach": source.reach,
        "poll_s": 1_u64 << source.host_poll.min(63),
        "offset_s": source.offset,
        "delay_s": source.delay,
        "dispersion_s": source.dispersion,
        "jitter_s": source.jitter,
        "selection": selection(source.selection),
        "key": source.key_id,
        "authenticated": source.authentication == Authentication::Good,
    })
}

fn selection(selection: Selection) -> &'static str {
    match selection {
        Selection::Rejected => "rejected",
        Selection::Falseticker => "falseticker",
        Selection::Excess => "excess",
        Selection::Outlier => "outlier",
        Selection::Candidate => "candidate",
        Selection::Backup => "backup",
        Selection::SystemPeer => "system peer",
    }
}

fn discipline(discipline: &Discipline) -> Value {
    json!({
        "system_peer": discipline.system_peer,
        "offset_s": discipline.offset,
        "frequency_ppm": discipline.frequency_ppm,
        "jitter_s": discipline.system_jitter,
    })
}

/// RFC 5905 §7.3: an ASCII name at stratum 0 and 1, an address (or the hash of one) above.
fn reference_id(stratum: u8, id: ReferenceId) -> String {
    let octets = id.octets();
    match stratum {
        2..=15 => Ipv4Addr::from(octets).to_string(),
        _ => String::from_utf8_lossy(&octets).trim_end_matches('\0').to_owned(),
    }
}

fn served_now(system: &SystemVariables) -> NtpTimestamp {
    system.clock.apply(SystemClock.now())
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn age(system: &SystemVariables) -> f64 {
    if system.updated.is_unknown() {
        0.0
    } else {
        served_now(system).signed_since(system.updated) as f64 / 2f64.powi(32)
    }
}
