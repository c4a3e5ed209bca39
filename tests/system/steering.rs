//! Requests reach workers by their source address alone, never by port: per-client state can live in one
//! worker.

use std::net::SocketAddr;

use crate::support::daemon::Daemon;
use crate::support::ntp::ask;
use crate::support::scene::{SEED, Scene};

const WORKERS: usize = 2;
const SOURCES: usize = 30;
const PORTS: u64 = 50;

/// Asks from PORTS ports of each source in turn, every port from the next of the source's addresses; each
/// source must be answered by one worker, and every worker must have answered some source.
fn every_source_has_its_worker(scene: &Scene, sources: &[Vec<String>], server: &str) {
    let daemon = Daemon::start(&scene.server, &format!("serve -c {SEED} --workers {WORKERS}"));
    let server: SocketAddr = server.parse().expect("an address");
    let mut answered = vec![0; WORKERS];
    let mut used = vec![false; WORKERS];
    for addresses in sources {
        for address in addresses.iter().cycle().take(PORTS as usize) {
            assert!(ask(&scene.client.socket(address), server).is_some(), "no reply to {address}");
        }
        let total = answered.iter().sum::<u64>() + PORTS;
        let now = daemon.counters_when(|counters| counters.get("answered") == total).per_worker("answered");
        let grown: Vec<u64> = now.iter().zip(&answered).map(|(now, before)| now - before).collect();
        let worker = grown.iter().position(|&count| count == PORTS);
        used[worker.unwrap_or_else(|| panic!("{addresses:?} was answered by several workers: {grown:?}"))] =
            true;
        answered = now;
    }
    assert!(used.iter().all(|used| *used), "workers that answered: {used:?}");
}

#[test]
fn an_ipv4_address_is_answered_by_one_worker_on_all_its_ports() {
    let Some(scene) = Scene::new() else { return };
    scene.server.address("lan", "10.7.255.1/16");
    let sources: Vec<_> = (1..=SOURCES).map(|host| format!("10.7.0.{host}")).collect();
    sources.iter().for_each(|address| scene.client.address("lan", &format!("{address}/16")));
    let sources: Vec<_> = sources.iter().map(|address| vec![format!("{address}:0")]).collect();
    every_source_has_its_worker(&scene, &sources, "10.7.255.1:123");
}

#[test]
fn an_ipv6_64_prefix_is_answered_by_one_worker_on_all_its_addresses_and_ports() {
    let Some(scene) = Scene::new() else { return };
    scene.server.ip("route add fd07::/16 via fd00::2");
    let hosts = ["1", "a:b:c:d", "ffff:ffff:ffff:ffff"];
    let addresses =
        |prefix| hosts.map(|host| format!("fd07:0:0:{prefix:x}:{}", if host == "1" { ":1" } else { host }));
    let sources: Vec<_> = (1..=SOURCES).map(addresses).collect();
    sources.iter().flatten().for_each(|address| scene.client.address("lo", &format!("{address}/128")));
    let sources: Vec<Vec<_>> = sources
        .iter()
        .map(|prefix| prefix.iter().map(|address| format!("[{address}]:0")).collect())
        .collect();
    every_source_has_its_worker(&scene, &sources, "[fd00::1]:123");
}
