//! Checks of one interface: how the device spreads frames over cores, holds them, and stamps them.

use super::LinkCheck;
use super::finding::{fine, hopeless, wrong};
use super::machine::{Link, Looked, Machine, Unread, answer};

/// In the order of the page.
pub(super) const CHECKS: &[LinkCheck] = &[
    (
        "queues",
        "the kernel's share of an answer is done on the cores that the receive queues interrupt",
        queues,
    ),
    ("interrupts", "two queues that interrupt one core share it, while another core waits", interrupts),
    ("flow hash", "what is not hashed by source address arrives by one queue, on one core", flow_hash),
    (
        "receive ring",
        "1024 frames are 93 µs of ten gigabits: what does not fit while a core is busy is dropped",
        receive_ring,
    ),
    (
        "RPS",
        "the kernel's own spreading of frames costs a hop between cores, which the device's queues do not",
        packet_steering,
    ),
    ("stamps", "kernel receive stamps make T2 honest; send stamps are for interleaved clients", stamps),
    (
        "xdp",
        "a reply made in the driver costs a twelfth, if the driver runs programs and frames come whole",
        xdp,
    ),
];

fn queues(machine: &Machine, link: &Link) -> Looked {
    let queues = answer("ethtool -l", &link.queues)?;
    let cores = machine.cores.len();
    let wanted = queues.receive_max.min(u32::try_from(cores).unwrap_or(u32::MAX));
    let found = format!("{} of {} receive queues for {cores} cores", queues.receive, queues.receive_max);
    if queues.receive >= wanted {
        return fine(found);
    }
    let kind = if queues.combined { "combined" } else { "rx" };
    let set = |count| format!("ethtool -L {} {kind} {count}", link.name);
    wrong(found, set(wanted), set(queues.receive))
}

/// One interrupt of a receive queue.
struct Interrupt {
    number: u64,
    /// The core that gets it.
    core: usize,
    /// The cores that might, as a list.
    allowed: String,
}

fn interrupts(machine: &Machine, link: &Link) -> Looked {
    let interrupts = receive_interrupts(machine, link)?;
    let mut used: Vec<usize> = interrupts.iter().map(|interrupt| interrupt.core).collect();
    used.sort_unstable();
    used.dedup();
    let cores: Vec<String> = used.iter().map(usize::to_string).collect();
    let balancer = if has_balancer(machine) { "; irqbalance runs and may move them" } else { "" };
    let found = format!("{} of receive queues, on cpu {}{balancer}", interrupts.len(), cores.join(","));
    if used.len() >= interrupts.len().min(machine.cores.len()) {
        return fine(found);
    }
    let file = |interrupt: &Interrupt| format!("/proc/irq/{}/smp_affinity_list", interrupt.number);
    let lines = |value: &dyn Fn(usize, &Interrupt) -> String| {
        let lines =
            interrupts.iter().enumerate().map(|(at, one)| format!("echo {} > {}", value(at, one), file(one)));
        lines.collect::<Vec<_>>().join("; ")
    };
    wrong(
        found,
        lines(&|at, _| machine.cores[at % machine.cores.len()].to_string()),
        lines(&|_, interrupt| interrupt.allowed.clone()),
    )
}

/// The interrupts of a device that its receive queues raise, told by their names.
fn receive_interrupts(machine: &Machine, link: &Link) -> Result<Vec<Interrupt>, Unread> {
    let directory = machine.directory(link)?;
    // A virtio device has no interrupts of its own: its parent does.
    let of = |place: &str| machine.names(&format!("{directory}/{place}"));
    let numbers = of("device/msi_irqs").or_else(|_| of("device/../msi_irqs"))?;
    let table = machine.text("proc/interrupts")?;
    let named = |number: &String| {
        let line = table.lines().find(|line| line.trim_start().starts_with(&format!("{number}:")))?;
        let name = line.split_whitespace().last()?.to_lowercase();
        let is_other = ["output", "-tx-", "config", "control", "async", "misc", "event", "mbx", "fdir"]
            .iter()
            .any(|other| name.contains(other));
        (!is_other).then(|| number.parse().ok())?
    };
    let mut interrupts = Vec::new();
    for number in numbers.iter().filter_map(named) {
        let allowed = machine.text(&format!("proc/irq/{number}/smp_affinity_list"))?;
        let effective = machine.text(&format!("proc/irq/{number}/effective_affinity_list"));
        let effective = effective.unwrap_or_else(|_| allowed.clone());
        let first = effective.split(['-', ',']).next().and_then(|core| core.parse().ok());
        let core = first.ok_or_else(|| Unread(format!("interrupt {number} has no core: {effective}")))?;
        interrupts.push(Interrupt { number, core, allowed });
    }
    if interrupts.is_empty() {
        return Err(Unread("none of the device's interrupts has the name of a receive queue".to_owned()));
    }
    Ok(interrupts)
}

fn has_balancer(machine: &Machine) -> bool {
    let processes = machine.names("proc").unwrap_or_default();
    processes
        .iter()
        .any(|process| machine.text(&format!("proc/{process}/comm")).is_ok_and(|name| name == "irqbalance"))
}

fn flow_hash(_: &Machine, link: &Link) -> Looked {
    if link.queues.as_ref().is_ok_and(|queues| queues.receive < 2) {
        return fine("one receive queue: nothing to choose");
    }
    let mut found = Vec::new();
    for (flow, fields) in [("udp4", &link.hash_v4), ("udp6", &link.hash_v6)] {
        let fields = answer("ethtool -n rx-flow-hash", fields)?;
        // The letters of ethtool -N.
        let letters = [
            (fields.source, 's'),
            (fields.destination, 'd'),
            (fields.source_port, 'f'),
            (fields.destination_port, 'n'),
        ];
        let letters: String =
            letters.iter().filter(|(is_set, _)| *is_set).map(|(_, letter)| letter).collect();
        if !fields.source {
            let set = |letters: &str| format!("ethtool -N {} rx-flow-hash {flow} {letters}", link.name);
            let undo = if letters.is_empty() { "none was set before".to_owned() } else { set(&letters) };
            return wrong(format!("{flow} is not hashed by source address"), set("sd"), undo);
        }
        found.push(format!("{flow} {letters}"));
    }
    fine(found.join(", "))
}

fn receive_ring(machine: &Machine, link: &Link) -> Looked {
    /// Enough for a core that is busy with something else for a moment.
    const ENOUGH: u32 = 1024;
    let rings = answer("ethtool -g", &link.rings)?;
    let statistics = format!("{}/statistics", machine.directory(link)?);
    let missed = machine.number(&format!("{statistics}/rx_missed_errors"))?
        + machine.number(&format!("{statistics}/rx_fifo_errors"))?;
    let found = format!(
        "{} of {} frames; {missed} were lost for it since the start",
        rings.receive, rings.receive_max
    );
    let wanted = if missed > 0 { rings.receive_max } else { rings.receive_max.min(ENOUGH) };
    if rings.receive >= wanted {
        return fine(found);
    }
    let set = |frames| format!("ethtool -G {} rx {frames}", link.name);
    wrong(found, set(wanted), set(rings.receive))
}

fn packet_steering(machine: &Machine, link: &Link) -> Looked {
    let directory = format!("{}/queues", machine.directory(link)?);
    let queues = machine.names(&directory)?;
    let mut steered = Vec::new();
    let mut count = 0;
    for queue in queues.iter().filter(|queue| queue.starts_with("rx-")) {
        count += 1;
        let file = format!("{directory}/{queue}/rps_cpus");
        // A mask of cores in hexadecimal, in groups of 32.
        let mask = machine.text(&file)?;
        if mask.contains(|digit| !matches!(digit, '0' | ',')) {
            steered.push((file, mask));
        }
    }
    let cores = machine.cores.len();
    if steered.is_empty() {
        return fine(match count < cores {
            true => format!("off; fewer queues ({count}) than cores ({cores}), so it might help: measure it"),
            false => "off".to_owned(),
        });
    }
    if count < cores {
        return fine(format!("on: spreads {count} queues over more cores"));
    }
    let lines = |value: &dyn Fn(&str) -> String| {
        let lines = steered.iter().map(|(file, mask)| format!("echo {} > /{file}", value(mask)));
        lines.collect::<Vec<_>>().join("; ")
    };
    wrong(
        format!("on, though each of {cores} cores has a receive queue"),
        lines(&|_| "0".to_owned()),
        lines(&str::to_owned),
    )
}

fn stamps(_: &Machine, link: &Link) -> Looked {
    let stamping = answer("ethtool -T", &link.stamping)?;
    let hardware = match (stamping.receive_hardware, stamping.hardware_clock) {
        (true, Some(clock)) => format!("the device too, by /dev/ptp{clock} (not used)"),
        _ => "not by the device".to_owned(),
    };
    match (stamping.receive_software, stamping.send_software) {
        (true, true) => fine(format!("received and sent by the kernel; {hardware}")),
        (true, false) => {
            hopeless(format!("the driver takes no send stamps; received by the kernel; {hardware}"))
        }
        (false, _) => hopeless("the kernel does not stamp what this interface receives"),
    }
}

fn xdp(machine: &Machine, link: &Link) -> Looked {
    /// What fits a page together with the room that XDP keeps around a frame; drivers differ by a few octets.
    const ONE_PAGE: u64 = 3000;
    let is_native = *answer("XDP features", &link.xdp)?;
    let mtu = machine.number(&format!("{}/mtu", machine.directory(link)?))?;
    if is_native && mtu > ONE_PAGE {
        let set = |mtu| format!("ip link set dev {} mtu {mtu}", link.name);
        return wrong(
            format!("native, but an MTU of {mtu} makes frames of several buffers"),
            set(1500),
            set(mtu),
        );
    }
    let has_vlans = machine.text("proc/self/net/vlan/config").is_ok_and(|table| {
        table.lines().any(|line| line.rsplit('|').next().map(str::trim) == Some(&link.name))
    });
    if has_vlans && *answer("ethtool -k", &link.strips_vlan_tags)? {
        let set = |value| format!("ethtool -K {} rxvlan {value}", link.name);
        return wrong(
            "the device takes VLAN tags off, so a program cannot see them nor put them back",
            set("off"),
            set("on"),
        );
    }
    let how = match is_native {
        true => format!("native; MTU {mtu}"),
        false => "not native, as the driver is set now: generic XDP only, which brings little".to_owned(),
    };
    fine(format!("{how}; firewall rules, rp_filter and captures do not see what serve --xdp answers"))
}
