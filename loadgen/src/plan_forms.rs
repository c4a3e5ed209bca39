//! A plan as text, document and page.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::capacity::{Bottleneck, Link, LinkLoad, Need, Protocol};
use crate::json;
use crate::page::{Cell, Page};
use crate::plan::Basis;

const SECONDS_PER_DAY: f64 = 86_400.0;

/// The whole plan.
pub(crate) fn text(basis: &Basis) -> String {
    let mut text = String::new();
    for (name, value) in facts(basis) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<9} {value}");
    }
    let _ = writeln!(
        text,
        "\n{:<11} {:<5} {:>8} {:>12} {:>13} {:>9} {:>6}  first to saturate as demand grows",
        "link", "", "octets", "packets/s", "at the peak", "busy", "links"
    );
    for row in rows(basis) {
        let _ = writeln!(
            text,
            "{:<11} {:<5} {:>8} {:>12.0} {:>13} {:>7.1} % {:>6}  {}",
            row.link.name(),
            row.protocol.name(),
            row.octets,
            row.load.line_rate.round(),
            bits(row.bits),
            100.0 * row.load.part,
            row.load.links,
            row.saturates
        );
    }
    text.push_str(NOTES);
    text
}

const NOTES: &str = "octets: on the wire, each packet, with preamble and gap. packets/s: what fills the link, each way; replies are as long as \
     requests.\nCores are taken to add up, which takes a NIC queue for each, and clients that spread over them.\n";

/// What does not depend on the link: names and sentences.
fn facts(basis: &Basis) -> Vec<(&'static str, String)> {
    let (demand, supply) = (&basis.demand, &basis.supply);
    let need = demand.need(supply);
    let busy = 100.0 * need.peak / need.capacity;
    vec![
        (
            "demand",
            format!(
                "{} clients, each every {} s: {:.0} requests/s, {:.0} at the peak (x{}), {:.2} billion a day",
                demand.clients,
                demand.poll.as_secs_f64(),
                need.mean,
                need.peak,
                demand.peak,
                need.mean * SECONDS_PER_DAY / 1e9
            ),
        ),
        ("a core", format!("{:.0} requests/s: {}", supply.per_core, basis.source)),
        (
            "cores",
            format!(
                "{}, {busy:.0} % busy at the peak; {:.0} % are to stay free",
                need.cores,
                100.0 * supply.headroom
            ),
        ),
        ("packets", format!("{:.0} in and {:.0} out per second at the peak", need.peak, need.peak)),
        (
            "headroom",
            format!(
                "these cores answer {:.0} requests/s: {:.1} million clients, {:.2} times the demand",
                need.capacity,
                demand.clients_at(need.capacity) / 1e6,
                need.capacity / need.peak
            ),
        ),
    ]
}

/// One link and protocol.
struct Row {
    link: Link,
    protocol: Protocol,
    octets: u64,
    load: LinkLoad,
    /// Bits per second each way at the peak.
    bits: f64,
    saturates: String,
    first: Bottleneck,
}

fn rows(basis: &Basis) -> Vec<Row> {
    let need = basis.demand.need(&basis.supply);
    let pairs = basis.links.iter().flat_map(|&link| Protocol::ALL.map(|protocol| (link, protocol)));
    pairs.map(|(link, protocol)| row(basis, &need, link, protocol)).collect()
}

fn row(basis: &Basis, need: &Need, link: Link, protocol: Protocol) -> Row {
    let octets = protocol.on_wire(basis.supply.payload);
    let load = link.load(protocol, &basis.supply, need);
    let first = load.first_to_saturate(need);
    let (ceiling, name) = match first {
        Bottleneck::Cores => (need.capacity, "the cores"),
        Bottleneck::Link => (load.line_rate, "the link"),
    };
    let clients = basis.demand.clients_at(ceiling) / 1e6;
    let short = if load.part > 1.0 { ", below the demand" } else { "" };
    let saturates = format!("{name}, at {ceiling:.0}/s ({clients:.1} million clients{short})");
    Row { link, protocol, octets, load, bits: need.peak * (8 * octets) as f64, saturates, first }
}

fn bits(bits: f64) -> String {
    if bits < 1e9 { format!("{:.1} Mbit/s", bits / 1e6) } else { format!("{:.2} Gbit/s", bits / 1e9) }
}

/// The plan for machines.
pub(crate) fn json(basis: &Basis) -> Value {
    let (demand, supply) = (&basis.demand, &basis.supply);
    let need = demand.need(supply);
    json!({
        "version": json::VERSION,
        "kind": "plan",
        "ntpload": env!("CARGO_PKG_VERSION"),
        "clients": demand.clients,
        "poll_s": demand.poll.as_secs_f64(),
        "peak_factor": demand.peak,
        "payload": supply.payload,
        "headroom": supply.headroom,
        "per_core_rate": supply.per_core,
        "mean_rate": need.mean,
        "peak_rate": need.peak,
        "cores": need.cores,
        "capacity": need.capacity,
        "links": rows(basis).iter().map(|row| json!({
            "bits_per_second": row.link.0,
            "protocol": row.protocol.name(),
            "octets_on_wire": row.octets,
            "line_rate": row.load.line_rate,
            "peak_bits_per_second": row.bits,
            "busy": row.load.part,
            "links": row.load.links,
            "first_to_saturate": match row.first {
                Bottleneck::Cores => "cores",
                Bottleneck::Link => "link",
            },
        })).collect::<Vec<_>>(),
    })
}

/// The plan as a page.
pub(crate) fn page(basis: &Basis) -> String {
    let need = basis.demand.need(&basis.supply);
    let mut page = Page::new(&format!("ntpload plan: {:.0} requests/s at the peak", need.peak));
    let facts: Vec<Vec<Cell>> = facts(basis)
        .into_iter()
        .map(|(name, value)| vec![Cell::Text(name.to_owned()), Cell::Text(value)])
        .collect();
    page.table(&["", ""], &facts);
    page.heading("How busy they are at the peak");
    let busy = vec![Cell::Text(format!("cores: {}", need.cores)), Cell::Part(need.peak / need.capacity)];
    page.table(&["", "busy"], &[busy]);
    page.heading("Links");
    let rows: Vec<Vec<Cell>> = rows(basis)
        .into_iter()
        .map(|row| {
            vec![
                Cell::Text(row.link.name()),
                Cell::Text(row.protocol.name().to_owned()),
                Cell::Number(row.octets.to_string()),
                Cell::Number(format!("{:.0}", row.load.line_rate.round())),
                Cell::Number(bits(row.bits)),
                Cell::Part(row.load.part),
                Cell::Number(row.load.links.to_string()),
                Cell::Text(row.saturates),
            ]
        })
        .collect();
    page.table(
        &["link", "", "octets", "packets/s", "at the peak", "busy", "links", "first to saturate"],
        &rows,
    );
    page.note(NOTES);
    page.finish()
}
