//! Checks of what this process may do, and of who else does it already.

use super::Check;
use super::finding::{fine, hopeless, wrong};
use super::machine::{Looked, Machine, PortState, Unread};

/// In the order of the page.
pub(super) const CHECKS: &[Check] = &[
    ("port 123", "two servers cannot share a port, and NTP clients ask no other", port),
    (
        "capabilities",
        "ports below 1024, XDP and setting the clock each need one; serving itself needs none",
        capabilities,
    ),
    (
        "sandbox",
        "containers filter system calls, and their interrupts, cores and most of net.core are the host's",
        sandbox,
    ),
];

/// Numbers of linux/capability.h.
const NET_BIND_SERVICE: u32 = 10;
const NET_ADMIN: u32 = 12;
const SYS_ADMIN: u32 = 21;
const SYS_TIME: u32 = 25;
const BPF: u32 = 39;

fn port(machine: &Machine) -> Looked {
    let owner = match &machine.port {
        PortState::Free => return fine("UDP 123 is free"),
        PortState::Taken(None) => {
            return Err(Unread(
                "UDP 123 is taken by a process that this user cannot see: sudo ss -nlup 'sport = 123'"
                    .to_owned(),
            ));
        }
        PortState::Taken(Some(owner)) => owner,
    };
    if owner.program.starts_with("ntpring") {
        return fine(format!("served by ntpring, pid {}", owner.pid));
    }
    let found = format!("taken by {}, pid {}", owner.program, owner.pid);
    match service(machine, owner.pid) {
        Some(unit) => {
            wrong(found, format!("systemctl disable --now {unit}"), format!("systemctl enable --now {unit}"))
        }
        None => wrong(found, format!("kill {}", owner.pid), "start it again as it was started"),
    }
}

/// The unit that started a process: the last part of its control group.
fn service(machine: &Machine, pid: u32) -> Option<String> {
    let groups = machine.text(&format!("proc/{pid}/cgroup")).ok()?;
    let names = groups.lines().filter_map(|line| line.rsplit('/').next());
    names.map(str::to_owned).find(|name| name.ends_with(".service"))
}

fn capabilities(machine: &Machine) -> Looked {
    let status = machine.text("proc/self/status")?;
    let held = field(&status, "CapEff").and_then(|set| u64::from_str_radix(set, 16).ok());
    let held = held.ok_or_else(|| Unread("/proc/self/status has no CapEff".to_owned()))?;
    let has = |capability: u32| held >> capability & 1 == 1;
    let first_free = machine.number("proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or(1024);
    let may_bind = has(NET_BIND_SERVICE) || first_free <= 123;
    let word =
        |can: bool, missing: &str| if can { "yes".to_owned() } else { format!("no, without {missing}") };
    let found = format!(
        "port 123: {}; XDP: {}; setting the clock: {}",
        word(may_bind, "CAP_NET_BIND_SERVICE"),
        word(has(NET_ADMIN) && (has(BPF) || has(SYS_ADMIN)), "CAP_NET_ADMIN and CAP_BPF"),
        word(has(SYS_TIME), "CAP_SYS_TIME"),
    );
    if may_bind {
        return fine(found);
    }
    if field(&status, "NoNewPrivs") == Some("1") {
        return hopeless(format!(
            "{found}; no_new_privs is set, so a program here gains none: set it where this is started"
        ));
    }
    wrong(
        found,
        "sudo setcap cap_net_bind_service=+ep $(command -v ntpring)",
        "sudo setcap -r $(command -v ntpring)",
    )
}

fn sandbox(machine: &Machine) -> Looked {
    let status = machine.text("proc/self/status")?;
    let filter = match field(&status, "Seccomp") {
        Some("0") => "no system call is filtered",
        Some("2") => "system calls are filtered",
        Some(_) => "strict seccomp",
        None => "this kernel does not say whether system calls are filtered",
    };
    fine(match container(machine) {
        Some(sign) => {
            format!("a container, by {sign}; {filter}; run the doctor on the host too")
        }
        None => format!("no sign of a container; {filter}"),
    })
}

/// What container runtimes leave behind.
fn container(machine: &Machine) -> Option<&'static str> {
    const FILES: [(&str, &str); 2] =
        [(".dockerenv", "/.dockerenv"), ("run/.containerenv", "/run/.containerenv")];
    const GROUPS: [&str; 5] = ["/docker", "/kubepods", "/lxc", "/libpod", "/crio"];
    let by_file = FILES.iter().find(|(file, _)| machine.has(file)).map(|(_, sign)| *sign);
    by_file.or_else(|| {
        let groups = machine.text("proc/self/cgroup").ok()?;
        GROUPS.iter().any(|group| groups.contains(group)).then_some("its control group")
    })
}

/// A field of a status text.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
