//! Checks of kernel, clock and cores.

use std::time::Duration;

use super::Check;
use super::finding::{fine, hopeless, wrong};
use super::machine::{Looked, Machine, Unread};
use crate::sys::uring::Refusal;

/// In the order of the page.
pub(super) const CHECKS: &[Check] = &[
    ("kernel", "io_uring workers need Linux 6.1; without them recvmmsg and sendmmsg serve", kernel),
    ("io_uring", "the default datapath: fewer kernel entries and less CPU per answer", io_uring),
    (
        "clocksource",
        "every reply reads the clock once; a slow source costs more than all the rest of an answer",
        clocksource,
    ),
    (
        "governor",
        "a core that is clocked down answers late and at uneven times until it is clocked up",
        governor,
    ),
    (
        "idle states",
        "the time a core takes to wake is part of the first stamp, and of the client's error",
        idle_states,
    ),
    (
        "halt polling",
        "a virtual core that halts is woken by the host, in up to milliseconds; what arrives waits for its stamp",
        halt_polling,
    ),
];

/// What needs which kernel; the first is what nothing else replaces at the same cost.
const FEATURES: [((u32, u32), &str); 3] = [
    ((6, 1), "io_uring workers (multishot recvmsg is 6.0, DEFER_TASKRUN 6.1), TAI in XDP programs"),
    ((6, 3), "drivers say what they can do with XDP"),
    ((6, 17), "transmit stamps as ring completions"),
];

fn kernel(machine: &Machine) -> Looked {
    let release = machine.text("proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-', '+']).map_while(|number| number.parse().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        return Err(Unread(format!("{release} is no version of Linux")));
    };
    let lacks: Vec<String> = FEATURES
        .iter()
        .filter(|(since, _)| (major, minor) < *since)
        .map(|((major, minor), what)| format!("{what} ({major}.{minor})"))
        .collect();
    match lacks.len() {
        0 => fine(format!("Linux {major}.{minor}: nothing that ntpring uses is missing")),
        all if all == FEATURES.len() => {
            hopeless(format!("Linux {major}.{minor} is too old for: {}", lacks.join("; ")))
        }
        _ => fine(format!("Linux {major}.{minor}; later ones add: {}", lacks.join("; "))),
    }
}

fn io_uring(machine: &Machine) -> Looked {
    const SYSCTL: &str = "kernel.io_uring_disabled";
    let disabled = machine.text("proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    match &machine.ring {
        // Rings are built after every capability is given up, so what only a capability allows is not enough.
        Ok(()) if disabled == "1" => wrong(
            format!(
                "{SYSCTL}=1: only CAP_SYS_ADMIN and one group may have rings, and ntpring serves without capabilities"
            ),
            format!("sysctl -w {SYSCTL}=0"),
            format!("sysctl -w {SYSCTL}=1"),
        ),
        Ok(()) => fine("a worker's ring was set up"),
        Err(error) => {
            let Refusal { why, cure } = Refusal::explain(error, &disabled);
            let found = format!("{error}: {why}");
            match cure {
                Some(cure) if cure.contains(SYSCTL) => {
                    wrong(found, cure, format!("sysctl -w {SYSCTL}={disabled}"))
                }
                Some(cure) => wrong(found, cure, "leave it away again"),
                None => hopeless(found),
            }
        }
    }
}

fn clocksource(machine: &Machine) -> Looked {
    const SLOW: Duration = Duration::from_nanos(200);
    const DIRECTORY: &str = "/sys/devices/system/clocksource/clocksource0";
    let reading = machine.clock_reading;
    let current = machine.text(&format!("{}/current_clocksource", &DIRECTORY[1..]));
    if reading < SLOW {
        let source = current.unwrap_or_else(|_| "a source that cannot be read".to_owned());
        return fine(format!("{source}: a reading takes {} ns", reading.as_nanos()));
    }
    let current = current?;
    let available = machine.text(&format!("{}/available_clocksource", &DIRECTORY[1..]))?;
    let found = format!("{current}: a reading takes {} ns", reading.as_nanos());
    if current != "tsc" && available.split_whitespace().any(|source| source == "tsc") {
        let set = |source: &str| format!("echo {source} > {DIRECTORY}/current_clocksource");
        return wrong(found, set("tsc"), set(&current));
    }
    hopeless(format!("{found}; there is {available}: the kernel's log says what is wrong with tsc"))
}

fn governor(machine: &Machine) -> Looked {
    const BEST: &str = "performance";
    let file = |core: &usize| format!("sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
    let governors: Vec<(usize, String)> =
        machine.cores.iter().filter_map(|core| Some((*core, machine.text(&file(core)).ok()?))).collect();
    if governors.is_empty() {
        return Err(Unread(
            "no core has cpufreq: the firmware, or the host of this virtual machine, sets the clock"
                .to_owned(),
        ));
    }
    let slow: Vec<&(usize, String)> = governors.iter().filter(|(_, governor)| governor != BEST).collect();
    let Some((core, name)) = slow.first() else { return fine(format!("{BEST} on every core")) };
    let set = |value: &dyn Fn(&str) -> String| {
        let lines = slow.iter().map(|(core, old)| format!("echo {} > /{}", value(old), file(core)));
        lines.collect::<Vec<_>>().join("; ")
    };
    wrong(
        format!("{name} on cpu {core}{}", and_more(slow.len())),
        set(&|_| BEST.to_owned()),
        set(&str::to_owned),
    )
}

fn idle_states(machine: &Machine) -> Looked {
    /// Waking in this time costs a client at most half of it in accuracy.
    const LONG: u64 = 20;
    let mut deep = Vec::new();
    let mut longest = 0;
    let mut seen = false;
    for core in &machine.cores {
        let directory = format!("sys/devices/system/cpu/cpu{core}/cpuidle");
        for state in machine.names(&directory).unwrap_or_default() {
            let state = format!("{directory}/{state}");
            let Ok(latency) = machine.number(&format!("{state}/latency")) else { continue };
            seen = true;
            if machine.number(&format!("{state}/disable")).is_ok_and(|disabled| disabled != 0) {
                continue;
            }
            longest = longest.max(latency);
            if latency > LONG {
                deep.push(state);
            }
        }
    }
    if !seen {
        return Err(Unread(
            "no core has cpuidle: the firmware, or the host, decides how it sleeps".to_owned(),
        ));
    }
    if deep.is_empty() {
        return fine(format!("the deepest in use takes {longest} µs to leave"));
    }
    let set = |value: u8| {
        let lines = deep.iter().map(|state| format!("echo {value} > /{state}/disable"));
        lines.collect::<Vec<_>>().join("; ")
    };
    wrong(format!("the deepest in use takes {longest} µs to leave"), set(1), set(0))
}

/// Whether a virtual core waits a little for work before it tells the host that it has none.
fn halt_polling(machine: &Machine) -> Looked {
    const GOVERNOR: &str = "sys/devices/system/cpu/cpuidle/current_governor";
    const POLLING: &str = "sys/module/haltpoll/parameters/guest_halt_poll_ns";
    /// The kernel's own default.
    const BEST: u64 = 200_000;
    let governor = machine.text(GOVERNOR)?;
    if governor != "haltpoll" {
        return fine(format!("not for the idle governor {governor}"));
    }
    match machine.number(POLLING)? {
        0 => {
            let set = |nanoseconds: u64| format!("echo {nanoseconds} > /{POLLING}");
            wrong("cores halt as soon as they have nothing to do", set(BEST), set(0))
        }
        polling => fine(format!("cores wait for up to {} µs before they halt", polling / 1000)),
    }
}

fn and_more(count: usize) -> String {
    if count > 1 { format!(" and {} more", count - 1) } else { String::new() }
}
