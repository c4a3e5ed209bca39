//! What `tuning/` ships for service managers and containers lets the daemon do all that it does.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::clients::{find, strace};
use crate::support::daemon::Daemon;
use crate::support::namespace::{Namespace, command, has_other_users};
use crate::support::ntp::ask;
use crate::support::scene::{SCRATCH, SEED};

const TUNING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tuning");

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(TUNING).join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Every line that strace writes about a daemon that serves, is scraped, reports, reloads and stops.
fn traced(name: &str, arguments: &str) -> Option<Vec<String>> {
    let (namespace, strace) = (Namespace::new()?, strace()?);
    let file = Path::new(SCRATCH).join(name);
    let mut traced = command(strace);
    traced.args(["-f", "-o"]).arg(&file).arg(env!("CARGO_BIN_EXE_ntpring")).arg("serve");
    traced.args(["--metrics", "127.0.0.1:9123"]).args(arguments.split_whitespace());
    let mut daemon = Daemon::start_command(&namespace, traced);
    ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").expect("a reply");
    let page = namespace.inside(|| {
        let mut scrape = TcpStream::connect("127.0.0.1:9123")?;
        scrape.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut page = String::new();
        scrape.read_to_string(&mut page).map(|_| page)
    });
    assert!(page.expect("a page").contains("ntpring"), "it is scraped");
    // strace's child: the daemon.
    let children = format!("/proc/{0}/task/{0}/children", daemon.pid());
    let child = fs::read_to_string(&children).expect("a kernel with CONFIG_PROC_CHILDREN");
    let child = Pid::from_raw(child.trim().parse().expect("one child"));
    let from = daemon.lines();
    kill(child, Signal::SIGUSR1).expect("it lives");
    daemon.line(from, Duration::from_secs(5), |line| line.starts_with('{')).expect("a line of counters");
    kill(child, Signal::SIGHUP).expect("it lives");
    daemon.line(from, Duration::from_secs(5), |line| line.contains("reload")).expect("a reload");
    kill(child, Signal::SIGTERM).expect("it lives");
    daemon.end(Duration::from_secs(10)).expect("it ends");
    let text = fs::read_to_string(&file).expect("a trace");
    let _ = fs::remove_file(&file);
    Some(text.lines().map(str::to_owned).collect())
}

/// The names of the calls in a trace.
fn calls(trace: &[String]) -> BTreeSet<String> {
    let name = |line: &String| {
        let (_, call) = line.trim_start().split_once(' ')?;
        let (name, _) = call.trim_start().split_once('(')?;
        let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        is_name.then(|| name.to_owned())
    };
    trace.iter().filter_map(name).collect()
}

#[test]
fn the_seccomp_profile_allows_every_call_on_every_datapath() {
    let profile: Value = serde_json::from_str(&shipped("seccomp.json")).expect("JSON");
    assert_eq!(
        (&profile["defaultAction"], &profile["defaultErrnoRet"]),
        (&"SCMP_ACT_ERRNO".into(), &1.into())
    );
    let rules = profile["syscalls"].as_array().expect("rules");
    let unconditional =
        rules.iter().filter(|rule| rule["includes"].is_null() && rule["action"] == "SCMP_ACT_ALLOW");
    let names = unconditional.flat_map(|rule| rule["names"].as_array().expect("names"));
    let allowed: BTreeSet<String> = names.map(|name| name.as_str().expect("a name").to_owned()).collect();
    for call in ["io_uring_setup", "io_uring_enter", "io_uring_register"] {
        assert!(allowed.contains(call), "{call}");
    }
    for call in ["mount", "ptrace", "clock_settime", "init_module", "bpf"] {
        assert!(!allowed.contains(call), "{call}");
    }
    for (name, arguments) in [("seccomp-ring", "--datapath io_uring"), ("seccomp-mmsg", "--datapath mmsg")] {
        let user = if has_other_users() { " -u nobody" } else { "" };
        let Some(trace) = traced(name, &format!("-c {SEED} {arguments}{user}")) else { return };
        let forbidden: Vec<_> = calls(&trace).difference(&allowed).cloned().collect();
        assert!(forbidden.is_empty(), "{arguments}: {forbidden:?} are used and not allowed");
    }
}

/// The value of each line of the unit that sets `key`, in their order.
fn settings(unit: &str, key: &str) -> Vec<String> {
    let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned());
    unit.lines().filter_map(value).collect()
}

/// The calls in a group as systemd knows them, groups in it included.
fn group(systemd_analyze: &Path, name: &str) -> BTreeSet<String> {
    let Some(name) = name.strip_prefix('@') else { return [name.to_owned()].into() };
    let mut analyze = std::process::Command::new(systemd_analyze);
    let output = analyze.args(["syscall-filter", &format!("@{name}")]).output().expect("systemd-analyze");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let members =
        text.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    members.flat_map(|member| group(systemd_analyze, member)).collect()
}

#[test]
fn the_unit_allows_every_call_and_address_family() {
    let Some(analyze) = find("systemd", "systemd-analyze") else { return };
    let unit = shipped("ntpring.service");
    // systemd itself adds @default, which a process cannot live without.
    let mut allowed = group(&analyze, "@default");
    for filter in settings(&unit, "SystemCallFilter") {
        let (is_denied, names) = match filter.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, filter.as_str()),
        };
        for call in names.split_whitespace().flat_map(|name| group(&analyze, name)) {
            if is_denied {
                allowed.remove(&call)
            } else {
                allowed.insert(call)
            };
        }
    }
    assert!(allowed.contains("io_uring_enter") && !allowed.contains("mount"), "{allowed:?}");
    let families = settings(&unit, "RestrictAddressFamilies").join(" ");
    for (name, arguments) in [("unit-ring", "--datapath io_uring"), ("unit-mmsg", "--datapath mmsg")] {
        let Some(trace) = traced(name, &format!("-c {SEED} {arguments}")) else { return };
        let forbidden: Vec<_> = calls(&trace).difference(&allowed).cloned().collect();
        assert!(forbidden.is_empty(), "{arguments}: {forbidden:?} are used and not allowed");
        for socket in trace.iter().filter_map(|line| line.split_once("socket(")?.1.split(',').next()) {
            assert!(families.split_whitespace().any(|family| family == socket), "{socket}");
        }
    }
}

#[test]
fn the_units_one_capability_is_enough_and_is_given_up() {
    let Some(namespace) = Namespace::new().filter(|_| has_other_users()) else { return };
    let unit = shipped("ntpring.service");
    for key in ["AmbientCapabilities", "CapabilityBoundingSet"] {
        assert_eq!(settings(&unit, key), ["CAP_NET_BIND_SERVICE"], "{key}");
    }
    let mut limited = command("setpriv");
    limited.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--no-new-privs"]);
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        limited.args([set, "-all,+net_bind_service"]);
    }
    limited.args(["--", env!("CARGO_BIN_EXE_ntpring"), "serve"]);
    let daemon = Daemon::start_command(&namespace, limited);
    assert!(daemon.ready_line().contains("0.0.0.0:123"), "{}", daemon.text());
    assert!(ask(&namespace.socket("127.0.0.1:0"), "127.0.0.1:123").is_some());
    for (thread, status) in daemon.threads() {
        for set in ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000"] {
            assert!(status.contains(set), "{set} of {thread}: {status}");
        }
    }
}
