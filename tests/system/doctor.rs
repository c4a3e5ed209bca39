//! `ntpring doctor` on real interfaces: what it calls wrong is mended by the command it prints, and is wrong
//! again after the one that takes it back.

use std::num::NonZero;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::clients::find;
use crate::support::daemon::Daemon;
use crate::support::namespace::{Namespace, command};
use crate::support::skip::skip;

/// A program with a sysfs that shows the interfaces of the namespace it is run in.
pub(crate) fn with_sysfs(program: &str) -> Command {
    let mut shell = command("unshare");
    shell.args(["--mount", "sh", "-c", "mount -t sysfs sysfs /sys && exec \"$@\"", "sh", program]);
    shell
}

/// What is found about `check` (and the interface, if it is about one).
fn finding(namespace: &Namespace, arguments: &str, check: &str, interface: Option<&str>) -> Value {
    let mut doctor = with_sysfs(env!("CARGO_BIN_EXE_ntpring"));
    doctor.args(["doctor", "--json"]).args(arguments.split_whitespace());
    let finished = namespace.run(doctor);
    let document: Value =
        serde_json::from_str(&finished.text).unwrap_or_else(|error| panic!("{error} in {}", finished.text));
    let findings = document["findings"].as_array().expect("a list of findings");
    let is_wrong = findings.iter().any(|finding| finding["state"] == "wrong");
    assert_eq!(finished.code, Some(i32::from(is_wrong)), "{document:#}");
    let is_meant = |finding: &&Value| finding["check"] == check && finding["interface"].as_str() == interface;
    findings.iter().find(is_meant).unwrap_or_else(|| panic!("no {check} in {document:#}")).clone()
}

/// Runs the command that a finding prints under `key`.
fn follow(namespace: &Namespace, finding: &Value, key: &str) {
    let line = finding[key].as_str().unwrap_or_else(|| panic!("no {key} in {finding:#}"));
    let mut shell = with_sysfs("sh");
    shell.args(["-c", &format!("PATH=$PATH:/usr/sbin:/sbin; {line}")]);
    let finished = namespace.run(shell);
    assert_eq!(finished.code, Some(0), "{line}: {}", finished.text);
}

/// Wrong; fine after the mend; as wrong as before after the undo; then mended for good.
fn is_mended_and_taken_back(namespace: &Namespace, arguments: &str, check: &str, interface: Option<&str>) {
    let look = || finding(namespace, arguments, check, interface);
    let before = look();
    assert_eq!(before["state"], "wrong", "{before:#}");
    follow(namespace, &before, "mend");
    assert_eq!(look()["state"], "fine", "{:#}", look());
    follow(namespace, &before, "undo");
    let after = look();
    assert_eq!((&after["state"], &after["mend"]), (&before["state"], &before["mend"]), "{after:#}");
    follow(namespace, &before, "mend");
}

/// A link with a queue for every core on both ends, `v0` up and with an address.
pub(crate) fn with_queues() -> Option<Namespace> {
    let namespace = Namespace::new()?;
    let cores = thread::available_parallelism().map_or(2, NonZero::get).max(2);
    let queues = format!("numrxqueues {cores} numtxqueues {cores}");
    namespace.ip(&format!("link add name v0 {queues} type veth peer name v1 {queues}"));
    namespace.ip("link set v1 up");
    namespace.ip("link set v0 up");
    namespace.ip("address add 192.168.0.1/24 dev v0");
    Some(namespace)
}

/// A rule that needs connection tracking, and so turns it on in a namespace.
pub(crate) const TRACKING: &str = "table inet firewall { chain in { type filter hook input priority filter; \
                                   ct state established accept; }; }";

pub(crate) fn run(namespace: &Namespace, program: &str, arguments: &[&str]) {
    let mut command = command(program);
    command.args(arguments);
    let finished = namespace.run(command);
    assert_eq!(finished.code, Some(0), "{program} {arguments:?}: {}", finished.text);
}

#[test]
fn connection_tracking_is_found_and_port_123_taken_out_of_it() {
    let Some(namespace) = with_queues() else { return };
    let Some(nft) = find("nft", "nft") else { return };
    assert_eq!(finding(&namespace, "-i v0", "conntrack", None)["state"], "fine");
    run(&namespace, nft.to_str().expect("a path in UTF-8"), &[TRACKING]);
    is_mended_and_taken_back(&namespace, "-i v0", "conntrack", None);
}

#[test]
fn queues_that_are_not_used_are_found_and_used() {
    let Some(namespace) = with_queues() else { return };
    let Some(ethtool) = find("ethtool", "ethtool") else { return };
    assert_eq!(finding(&namespace, "-i v0", "queues", Some("v0"))["state"], "fine");
    run(&namespace, ethtool.to_str().expect("a path in UTF-8"), &["-L", "v0", "rx", "1"]);
    is_mended_and_taken_back(&namespace, "-i v0", "queues", Some("v0"));
}

#[test]
fn steering_by_the_kernel_is_found_where_every_core_has_a_queue() {
    let Some(namespace) = with_queues() else { return };
    let mut shell = with_sysfs("sh");
    shell.args(["-c", "echo 3 > /sys/class/net/v0/queues/rx-0/rps_cpus"]);
    assert_eq!(namespace.run(shell).code, Some(0));
    is_mended_and_taken_back(&namespace, "-i v0", "RPS", Some("v0"));
}

#[test]
fn frames_too_long_for_a_program_are_found() {
    let Some(namespace) = with_queues() else { return };
    let finding = finding(&namespace, "-i v0", "xdp", Some("v0"));
    if !finding["found"].as_str().is_some_and(|found| found.starts_with("native")) {
        skip("bpf", "this kernel does not say that veth runs XDP programs");
        return;
    }
    namespace.ip("link set v0 mtu 9000");
    is_mended_and_taken_back(&namespace, "-i v0", "xdp", Some("v0"));
}

#[test]
fn strict_reverse_path_filtering_is_found_and_loosened() {
    let Some(namespace) = with_queues() else { return };
    namespace.sysctl("net/ipv4/conf/v0/rp_filter", "1");
    assert_eq!(finding(&namespace, "-i v0", "reverse path filter", None)["state"], "fine");
    is_mended_and_taken_back(&namespace, "-i v0 -i v1", "reverse path filter", None);
}

#[test]
fn another_server_on_port_123_is_found_and_ended() {
    let Some(namespace) = Namespace::new() else { return };
    let mut other = command("python3");
    let script = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 123)); print('up', flush=True); time.sleep(60)";
    other.args(["-c", script]);
    let mut other = Daemon::spawn(&namespace, other);
    other.line(0, Duration::from_secs(10), |line| line == "up").expect("it has the port");
    let found = finding(&namespace, "", "port 123", None);
    assert_eq!(found["mend"], format!("kill {}", other.pid()), "{found:#}");
    follow(&namespace, &found, "mend");
    other.end(Duration::from_secs(10)).expect("it was ended");
    assert_eq!(finding(&namespace, "", "port 123", None)["state"], "fine");

    let daemon = Daemon::start(&namespace, "");
    let found = finding(&namespace, "", "port 123", None);
    assert_eq!(found["found"], format!("served by ntpring, pid {}", daemon.pid()));
    daemon.signal(Signal::SIGTERM);
}

#[test]
fn an_interface_that_is_not_there_is_wrong_usage() {
    let Some(namespace) = Namespace::new() else { return };
    let mut doctor = command(env!("CARGO_BIN_EXE_ntpring"));
    doctor.args(["doctor", "-i", "nosuch0"]);
    let finished = namespace.run(doctor);
    assert_eq!(
        (finished.code, finished.text.as_str()),
        (Some(2), "ntpring: no interface nosuch0 here; there are: lo\n")
    );
}

#[test]
fn somebody_without_rights_in_a_bare_namespace_is_told_what_could_not_be_read() {
    let Some(namespace) = with_queues() else { return };
    // No sysfs of this namespace, no capability, and another user where there is one.
    let mut doctor = command("setpriv");
    doctor.args(["--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs"]);
    doctor.args([env!("CARGO_BIN_EXE_ntpring"), "doctor", "-i", "v0"]);
    let start = Instant::now();
    let finished = namespace.run(doctor);
    assert!(start.elapsed() < Duration::from_secs(5), "it does not wait for anything");
    assert_eq!(finished.code, Some(1), "{}", finished.text);
    for line in ["? interrupts v0", "? receive ring v0", "✗ capabilities", "no_new_privs is set"] {
        assert!(finished.text.contains(line), "no \"{line}\" in:\n{}", finished.text);
    }
}
