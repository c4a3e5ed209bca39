//! The server half of a well-known how-to, followed step by step: its configuration as it stands, then its
//! own check.

use std::thread;
use std::time::Duration;

use crate::support::clients::{client, find};
use crate::support::daemon::Daemon;
use crate::support::namespace::command;
use crate::support::scene::{SEED, Scene};

#[test]
fn netstat_nlup_shows_udp_port_123_of_both_families_as_ours() {
    let Some(mut netstat) = client("net-tools", "netstat") else { return };
    let Some(scene) = Scene::new() else { return };
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED}"));
    netstat.arg("-nlup");
    let table = scene.server.run(netstat).text;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let ours = format!("{}/ntpring", daemon.pid());
    for (protocol, local, foreign) in [("udp", "0.0.0.0:123", "0.0.0.0:*"), ("udp6", ":::123", ":::*")] {
        assert!(rows.contains(&vec![protocol, "0", "0", local, foreign, &ours]), "{local} in:\n{table}");
    }
}

#[test]
fn the_missing_crypto_and_key_files_are_named_and_do_not_stop_the_server() {
    let Some(scene) = Scene::new() else { return };
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED}"));
    for file in ["/etc/ntp/crypto/pw", "/etc/ntp/keys"] {
        assert!(daemon.text().contains(file), "{file} is not mentioned:\n{}", daemon.text());
    }
}

#[test]
fn c23_serving_the_local_clock_never_adjusts_it() {
    if find("ptrace", "strace").is_none() {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    let mut traced = command("strace");
    // The tracer runs beside, so that the daemon is our child and ends with the test.
    traced.args(["-D", "-f", "-e", "trace=adjtimex,clock_adjtime,clock_settime,settimeofday"]);
    traced.args([env!("CARGO_BIN_EXE_ntpring"), "serve", "-c", SEED]);
    let daemon = Daemon::start_command(&scene.server, traced);
    // Longer than the daemon's own period of a second.
    thread::sleep(Duration::from_millis(2500));
    for call in ["adjtime", "clock_settime", "settimeofday"] {
        assert!(!daemon.text().contains(&format!("{call}(")), "{}", daemon.text());
    }
}
