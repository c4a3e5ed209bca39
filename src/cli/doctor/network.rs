//! Checks of what a datagram meets between driver and socket, whatever interface it came by.

use super::Check;
use super::finding::{fine, wrong};
use super::machine::{Looked, Machine, Unread, answer};
use crate::limits;

/// In the order of the page.
pub(super) const CHECKS: &[Check] = &[
    (
        "conntrack",
        "each client takes an entry in a table that fills up and then drops, and a lookup per packet each way; without \
         it a stateful firewall must accept UDP 123 by rules of its own, both ways",
        conntrack,
    ),
    (
        "receive buffer",
        "a full socket queue drops; without CAP_NET_ADMIN the kernel grants no more than net.core.rmem_max",
        receive_buffer,
    ),
    (
        "backlog",
        "frames that one core hands to another (RPS, veth, loopback) wait here, and are dropped when it is full",
        backlog,
    ),
    (
        "busy polling",
        "a worker that polls the device before it sleeps saves an interrupt and spends its core",
        busy_polling,
    ),
    (
        "reverse path filter",
        "with strict filtering a request is dropped, unseen, when the way back is another interface",
        reverse_path,
    ),
];

const TRACKED: &str = "proc/sys/net/netfilter/nf_conntrack_count";

fn conntrack(machine: &Machine) -> Looked {
    if !machine.has(TRACKED) {
        return fine("connections are not tracked here");
    }
    let entries = machine.number(TRACKED)?;
    if entries == 0 {
        return fine("connection tracking is there, and tracks nothing");
    }
    let question = "whether UDP 123 is tracked takes root, and a kernel with CONFIG_NF_CONNTRACK_PROCFS";
    if *answer(question, &machine.tracked)? {
        return wrong(
            format!("UDP 123 is tracked (a datagram over loopback was); {entries} entries"),
            format!("nft '{NOTRACK}'"),
            "nft delete table inet ntpring",
        );
    }
    fine(format!("UDP 123 is not tracked; {entries} entries of others"))
}

/// Both directions in both chains, so that questions to other servers pass untracked too.
const NOTRACK: &str = "table inet ntpring { \
    chain in { type filter hook prerouting priority raw; udp dport 123 notrack; udp sport 123 notrack; }; \
    chain out { type filter hook output priority raw; udp dport 123 notrack; udp sport 123 notrack; }; }";

fn receive_buffer(machine: &Machine) -> Looked {
    const SYSCTL: &str = "net.core.rmem_max";
    let most = machine.number("proc/sys/net/core/rmem_max")?;
    let wanted = limits::SOCKET_RECEIVE_BUFFER as u64;
    let found =
        format!("{SYSCTL} is {} KiB of the {} KiB that a socket asks for", most / 1024, wanted / 1024);
    if most >= wanted {
        return fine(found);
    }
    wrong(found, format!("sysctl -w {SYSCTL}={wanted}"), format!("sysctl -w {SYSCTL}={most}"))
}

fn backlog(machine: &Machine) -> Looked {
    const SYSCTL: &str = "net.core.netdev_max_backlog";
    /// A tenth of a second of ten gigabits, so that nobody doubles it for ever.
    const LARGEST: u64 = 1 << 20;
    let statistics = machine.text("proc/self/net/softnet_stat")?;
    let sum = |column: usize| -> Option<u64> {
        let values = statistics.lines().map(|line| line.split_whitespace().nth(column));
        values.map(|value| u64::from_str_radix(value?, 16).ok()).sum()
    };
    let dropped =
        sum(1).ok_or_else(|| Unread("/proc/self/net/softnet_stat is not as expected".to_owned()))?;
    let length = machine.number("proc/sys/net/core/netdev_max_backlog")?;
    let found = format!("{SYSCTL} is {length}; {dropped} frames were dropped for it since the start");
    if dropped == 0 || length >= LARGEST {
        return fine(found);
    }
    wrong(
        found,
        format!("sysctl -w {SYSCTL}={}", (2 * length).max(10_000)),
        format!("sysctl -w {SYSCTL}={length}"),
    )
}

fn busy_polling(machine: &Machine) -> Looked {
    /// Longer than this, and an idle core is a busy one.
    const LONG: u64 = 100;
    const SYSCTL: &str = "net.core.busy_read";
    match machine.number("proc/sys/net/core/busy_read")? {
        0 => fine("off: workers sleep until the device interrupts"),
        time @ ..=LONG => fine(format!("workers poll for {time} µs before they sleep")),
        time => wrong(
            format!("workers poll for {time} µs before they sleep"),
            format!("sysctl -w {SYSCTL}=50"),
            format!("sysctl -w {SYSCTL}={time}"),
        ),
    }
}

fn reverse_path(machine: &Machine) -> Looked {
    const STRICT: u64 = 1;
    // The kernel takes the larger of the two numbers: 0 off, 1 strict, 2 loose.
    let all = machine.number("proc/sys/net/ipv4/conf/all/rp_filter")?;
    let mut strict = Vec::new();
    for link in &machine.links {
        let own = machine.number(&format!("proc/sys/net/ipv4/conf/{}/rp_filter", link.name))?;
        if all.max(own) == STRICT {
            strict.push((&link.name, own));
        }
    }
    if machine.links.len() < 2 || strict.is_empty() {
        return fine(match strict.is_empty() {
            true => "not strict",
            false => "strict, and there is one way in and out",
        });
    }
    let set = |value: &dyn Fn(u64) -> u64| {
        let settings = strict.iter().map(|(link, own)| {
            // A dot in an interface's name is a slash to sysctl.
            format!("net.ipv4.conf.{}.rp_filter={}", link.replace('.', "/"), value(*own))
        });
        format!("sysctl -w {}", settings.collect::<Vec<_>>().join(" "))
    };
    let names: Vec<&str> = strict.iter().map(|(link, _)| link.as_str()).collect();
    wrong(format!("strict on {}, one of several ways in", names.join(", ")), set(&|_| 2), set(&|own| own))
}
