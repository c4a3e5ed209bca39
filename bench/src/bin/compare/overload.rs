//! More than a server can answer, for a long time: does it still answer as much as it can, with honest
//! stamps, in the same memory, and does it count what it lost?

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bench::machine::Machine;
use serde_json::Value;

use super::INTERRUPTED;
use super::contestant::Contestant;
use super::load::Load;
use super::measure::{Bench, Slice};
use super::rig::Receive;
use super::running::Running;

/// What is offered, as a multiple of what the server can answer.
const MULTIPLES: [f64; 2] = [1.5, 3.0];
/// How long a server's peak is looked for.
const PEAK: Duration = Duration::from_secs(4);

/// Overloads one after the other, and prints a table.
pub(super) fn run(
    bench: &Bench,
    contestants: &[Contestant],
    duration: Duration,
    machine: &Machine,
) -> Result<(), String> {
    bench.rig.receive(Receive::AsThread).map_err(|error| error.to_string())?;
    println!("{machine}; {duration:?} at each load.\n");
    println!(
        "| server | load | × peak | sent /s | answered /s | of peak | core used | on the wire p50 ms | p99 ms | \\|offset\\| p50 µs | p99 µs \
         | memory KiB | counters |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    );
    for &contestant in contestants.iter().filter(|contestant| contestant.tells_time()) {
        match overload(bench, contestant, duration) {
            Ok(()) => {}
            Err(_) if bench.stop.load(Relaxed) => return Err(INTERRUPTED.to_owned()),
            Err(failure) => println!("| {} | {failure} |{}", contestant.name(), " |".repeat(11)),
        }
    }
    Ok(())
}

/// Each overload between two closed loops, whose mean is the peak that it is measured by: a machine need not
/// be as fast at the end of minutes as at their beginning.
fn overload(bench: &Bench, contestant: Contestant, duration: Duration) -> Result<(), String> {
    let mut running = bench.start(contestant)?;
    let name = contestant.name();
    bench.slice(&mut running, Load::Closed, PEAK / 4)?;
    let mut before = bench.slice(&mut running, Load::Closed, PEAK)?;
    row(&name, "closed loop", &before, None, &running.resident_kib().to_string(), &closed(&running));
    for multiple in MULTIPLES {
        let resident = running.resident_kib();
        let offered = (before.outcome.answered * multiple) as u64;
        let over = bench.slice(&mut running, Load::Open(offered), duration)?;
        let memory = format!("{resident} → {}", running.resident_kib());
        let counters = closed(&running);
        let after = bench.slice(&mut running, Load::Closed, PEAK)?;
        let peak = f64::midpoint(before.outcome.answered, after.outcome.answered);
        row(&name, &format!("×{multiple}"), &over, Some(peak), &memory, &counters);
        row(&name, "closed loop", &after, None, &running.resident_kib().to_string(), &closed(&running));
        before = after;
    }
    Ok(())
}

fn row(name: &str, load: &str, slice: &Slice, peak: Option<f64>, memory: &str, counters: &str) {
    let outcome = &slice.outcome;
    let of_peak = |rate: f64| peak.map_or_else(String::new, |peak| format!("{:.2}", rate / peak));
    println!(
        "| {name} | {load} | {} | {:.0} | {:.0} | {} | {:.2} | {:.1} | {:.1} | {:.1} | {:.1} | {memory} | {counters} |",
        of_peak(outcome.sent),
        outcome.sent,
        outcome.answered,
        of_peak(outcome.answered),
        slice.utilisation,
        outcome.wire[0] / 1e3,
        outcome.wire[1] / 1e3,
        outcome.offset[0],
        outcome.offset[1],
    );
}

/// Whether everything that came has exactly one fate, by the server's own counters.
fn closed(running: &Running) -> String {
    let Some(counters) = running.counters() else { return "none".to_owned() };
    let count = |name: &str| counters[name].as_u64().unwrap_or(0);
    let dropped =
        counters["dropped"].as_object().map_or(0, |all| all.values().filter_map(Value::as_u64).sum());
    let (received, answered) = (count("received"), count("answered"));
    let fates = answered + count("forwarded") + dropped;
    let lost = count("rxq_ovfl");
    if received == fates {
        format!(
            "closed: {received} received = {answered} answered + {dropped} dropped; {lost} lost in the queue"
        )
    } else {
        format!("**open**: {received} received, but {fates} accounted for")
    }
}
