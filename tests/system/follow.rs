//! The daemon as a client: it follows real servers, serves what it has learned from them, and leaves the
//! machine's clock alone where it may not touch it.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use ntpring::sys::{adjtime, clock};
use serde_json::Value;

use crate::support::clients::lasting_client;
use crate::support::daemon::{Daemon, ntpring};
use crate::support::namespace::{Namespace, command};
use crate::support::ntp::{ask, seconds_between, to_ntp};
use crate::support::scene::{SCRATCH, SEED, Scene};
use crate::support::upstream::Upstream;
use crate::xdp::{in_driver, pass_everything};

const SEED_CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/seed/client.ntp.conf");
const SECOND: Duration = Duration::from_secs(1);

/// `ntpring serve` with a /var/lib/ntp of its own.
fn serve_with_state(conf: &str) -> Command {
    const SCRIPT: &str = r#"
set -e
mount -t tmpfs none /var/lib
mkdir /var/lib/ntp
exec "$@"
"#;
    let mut shell = command("unshare");
    shell.args(["--mount", "sh", "-c", SCRIPT, "sh"]);
    shell.args([env!("CARGO_BIN_EXE_ntpring"), "serve", "-c", conf]);
    shell
}

/// A configuration file with this text, for one test.
fn conf(name: &str, text: &str) -> String {
    let path = format!("{SCRATCH}/follow-{name}.conf");
    fs::write(&path, text).expect("a scratch file");
    path
}

/// The first source, as SIGUSR1 shows it.
fn source(daemon: &Daemon) -> Value {
    daemon.counters().0["associations"][0].clone()
}

/// What the source looks like when it fits, within `patience` of `start`; and when that was.
fn source_when(
    daemon: &Daemon,
    start: Instant,
    patience: Duration,
    fits: impl Fn(&Value) -> bool,
) -> (Value, Duration) {
    loop {
        let source = source(daemon);
        if fits(&source) {
            return (source, start.elapsed());
        }
        assert!(start.elapsed() < patience, "after {patience:?}: {source}\n{}", daemon.text());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Follows what serves at 192.168.0.1 with the seed's client file, step by step.
fn the_seeds_client_follows(scene: &Scene, upstream: &Daemon, stratum: u64) {
    let start = Instant::now();
    let daemon = Daemon::start_command(&scene.client, serve_with_state(SEED_CLIENT));
    assert!(daemon.ready_line().contains("clock: not adjusted, 1 source"), "{}", daemon.ready_line());
    let (first, after) = source_when(&daemon, start, 2 * SECOND, |source| source["reach"] != 0);
    assert_eq!(first["reach"], 1, "one burst is one poll: {first}\n{}", upstream.text());
    assert_eq!(first["stratum"], stratum, "{first}");
    assert!(first["offset_s"].as_f64().expect("an offset").abs() < 0.05, "{first}");
    let (peer, followed) =
        source_when(&daemon, start, 10 * SECOND, |source| source["selection"] == "system peer");
    assert_eq!((&peer["address"], &peer["poll_s"]), (&"192.168.0.1".into(), &64.into()), "{peer}");
    println!("first sample after {after:?}, system peer after {followed:?}");

    let reply = ask(&scene.client.socket("127.0.0.1:0"), "127.0.0.1:123").expect("a reply");
    assert_eq!((reply.leap, u64::from(reply.stratum)), (0, stratum + 1), "{reply:?}");
    assert_eq!(Ipv4Addr::from(reply.refid), Ipv4Addr::new(192, 168, 0, 1));
    let off = seconds_between(to_ntp(SystemTime::now()), reply.transmit);
    assert!(off.abs() < 0.05, "the served time is off by {off} s");
}

#[test]
fn the_seeds_client_file_follows_the_seeds_server_file() {
    let Some(scene) = Scene::new() else { return };
    let server = Daemon::start(&scene.server, &format!("serve -c {SEED}"));
    the_seeds_client_follows(&scene, &server, 4);
}

#[test]
fn the_seeds_client_file_follows_chronyd() {
    let Some(mut chronyd) = lasting_client("chrony", "chronyd") else { return };
    let Some(scene) = Scene::new() else { return };
    let pid_file = format!("{SCRATCH}/follow-chronyd.pid");
    let text = format!("allow\nlocal stratum 4\ncmdport 0\nbindcmdaddress /\npidfile {pid_file}\n");
    chronyd.args(["-x", "-d", "-u", "root", "-f", &conf("chronyd", &text)]);
    let chronyd = Daemon::spawn(&scene.server, chronyd);
    answers(&scene, &chronyd);
    the_seeds_client_follows(&scene, &chronyd, 4);
}

#[test]
fn the_seeds_client_file_follows_ntpd_of_ntpsec() {
    let Some(mut ntpd) = lasting_client("ntpsec", "ntpd") else { return };
    let Some(scene) = Scene::new() else { return };
    // Its local clock is polled like a server, and served after orphanwait.
    let text = "server 127.127.1.0 iburst minpoll 3 maxpoll 3\nfudge 127.127.1.0 stratum 3\ntos orphanwait 1\nrestrict default nomodify\n";
    ntpd.args(["-n", "-c", &conf("ntpd", text)]);
    let ntpd = Daemon::spawn(&scene.server, ntpd);
    answers(&scene, &ntpd);
    the_seeds_client_follows(&scene, &ntpd, 4);
}

/// Waits until a server at 192.168.0.1 serves time that may be used. It may have a rate limit.
fn answers(scene: &Scene, server: &Daemon) {
    let deadline = Instant::now() + 90 * SECOND;
    while scene.client.run(ntpring(["query", "192.168.0.1"])).code != Some(0) {
        assert!(Instant::now() < deadline, "{}", server.text());
        std::thread::sleep(3 * SECOND);
    }
}

/// How far the daemon's served time is ahead of the machine's, when it serves any.
fn served_ahead(namespace: &Namespace, daemon: &Daemon) -> f64 {
    let socket = namespace.socket("127.0.0.1:0");
    let deadline = Instant::now() + 15 * SECOND;
    loop {
        let before = to_ntp(SystemTime::now());
        if let Some(reply) = ask(&socket, "127.0.0.1:123").filter(|reply| reply.leap == 0) {
            assert!(seconds_between(reply.receive, reply.transmit) > 0.0, "{reply:?}");
            return seconds_between(before, reply.transmit);
        }
        assert!(Instant::now() < deadline, "nothing is served:\n{}", daemon.text());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_clock_that_may_not_be_adjusted_is_left_alone_and_right_time_is_served_by_every_tier() {
    for (datapath, never) in [("io_uring", "-x"), ("mmsg", "")] {
        let Some(scene) = Scene::new() else { return };
        let _upstream = Upstream::new(scene.server.socket("192.168.0.1:123"), 5.0);
        let before = (adjtime::read().expect("everybody may read"), offset_of_clocks());
        let path = conf(&format!("virtual-{datapath}"), "server 192.168.0.1 iburst\n");
        let daemon = Daemon::start(&scene.client, &format!("serve -c {path} {never} --datapath {datapath}"));
        assert!(daemon.ready_line().contains("clock: not adjusted"), "{}", daemon.ready_line());
        let ahead = served_ahead(&scene.client, &daemon);
        assert!((ahead - 5.0).abs() < 0.5, "{datapath}: {ahead} s ahead, not 5");
        let counters = daemon.counters();
        assert_eq!(counters.0["system"]["stratum"], 2, "{counters:?}");
        // The machine's clock: neither its rate nor its time is another.
        let after = (adjtime::read().expect("everybody may read"), offset_of_clocks());
        assert_eq!((before.0.tick, before.0.frequency_ppm), (after.0.tick, after.0.frequency_ppm));
        assert!((before.1 - after.1).abs() < 1_000_000, "the clock was stepped: {before:?} {after:?}");
    }
}

/// CLOCK_REALTIME − CLOCK_MONOTONIC in nanoseconds: only a step changes it.
fn offset_of_clocks() -> i128 {
    clock::realtime().as_nanos() - clock::monotonic().as_nanos()
}

#[test]
fn nothing_that_the_tests_start_can_set_this_machines_clock() {
    // Whoever starts ntpring in a test starts it by `command`, which takes CAP_SYS_TIME away; only `check`,
    // which makes no such call, is run as it is.
    let mut seen = 0;
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut directories = vec![tests.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory of tests") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let starts = text.matches("CARGO_BIN_EXE_ntpring\"").count();
            let bare = text.matches("Command::new(env!(\"CARGO_BIN_EXE_ntpring\"))").count();
            seen += starts;
            let allowed =
                usize::from(path == tests.join("check.rs")) + usize::from(path.ends_with("follow.rs"));
            assert!(bare <= allowed, "{} starts ntpring with every capability", path.display());
        }
    }
    assert!(seen > 5, "the tests are found");

    // And so one that is told to set a clock that is an hour slow cannot.
    let Some(scene) = Scene::new() else { return };
    let _upstream = Upstream::new(scene.server.socket("192.168.0.1:123"), 3600.0);
    let before = offset_of_clocks();
    let path = conf("hour", "server 192.168.0.1 iburst\n");
    let daemon = Daemon::start(&scene.client, &format!("serve -g -c {path}"));
    assert!(daemon.text().contains("may not adjust the clock"), "{}", daemon.text());
    let ahead = served_ahead(&scene.client, &daemon);
    assert!((ahead - 3600.0).abs() < 1.0, "{ahead} s ahead");
    assert!((offset_of_clocks() - before).abs() < 1_000_000, "the machine's clock was set");
}

#[test]
fn l3_a_leap_second_that_the_source_announces_is_announced_to_our_clients() {
    // The end of 2026, in seconds since 1970.
    const MIDNIGHT: u64 = 1_798_761_600;
    let Some(scene) = Scene::new() else { return };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let upstream = Upstream::new(scene.server.socket("192.168.0.1:123"), MIDNIGHT as f64 - 25.0 - now);
    upstream.set_leap(MIDNIGHT);
    let path = conf("leap", "server 192.168.0.1 iburst minpoll 3 maxpoll 3\n");
    let daemon = Daemon::start(&scene.client, &format!("serve -x -g -c {path}"));
    let socket = scene.client.socket("127.0.0.1:0");
    let when = |leap: u8, patience: u32| {
        let deadline = Instant::now() + patience * SECOND;
        loop {
            let before = to_ntp(SystemTime::now());
            let reply = ask(&socket, "127.0.0.1:123").expect("a reply");
            if reply.leap == leap && reply.stratum == 2 {
                return seconds_between(before, reply.transmit);
            }
            assert!(Instant::now() < deadline, "never LI {leap}: {reply:?}\n{}", daemon.text());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let ahead = when(1, 15);
    assert!((ahead - upstream.ahead()).abs() < 0.5, "{ahead} s ahead, not {}", upstream.ahead());
    let ahead = when(0, 40);
    assert!((ahead - upstream.ahead() + 1.0).abs() < 0.5, "{ahead} s ahead: a second less than before");
    assert!(!daemon.text().contains("jumped"), "{}", daemon.text());
}

#[test]
fn disable_ntp_corrects_nothing_and_vouches_only_for_a_clock_that_is_right() {
    let Some(scene) = Scene::new() else { return };
    let upstream = Upstream::new(scene.server.socket("192.168.0.1:123"), 0.0);
    let path = conf("disabled", "disable ntp\nserver 192.168.0.1 iburst minpoll 3 maxpoll 3\n");
    let daemon = Daemon::start(&scene.client, &format!("serve -c {path}"));
    assert!(served_ahead(&scene.client, &daemon).abs() < 1.0);
    upstream.set_ahead(60.0);
    let socket = scene.client.socket("127.0.0.1:0");
    let deadline = Instant::now() + 90 * SECOND;
    loop {
        let before = to_ntp(SystemTime::now());
        let reply = ask(&socket, "127.0.0.1:123").expect("a reply");
        // A busy machine may take a while, but not a minute.
        assert!(seconds_between(before, reply.transmit).abs() < 10.0, "never corrected: {reply:?}");
        if reply.leap == 3 {
            return;
        }
        assert!(Instant::now() < deadline, "it still vouches:\n{}", daemon.text());
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn c24_without_its_source_it_goes_on_serving_with_growing_dispersion() {
    let Some(scene) = Scene::new() else { return };
    let upstream = Upstream::new(scene.server.socket("192.168.0.1:123"), 0.0);
    let path = conf("holdover", "server 192.168.0.1 iburst minpoll 3 maxpoll 3\n");
    let daemon = Daemon::start(&scene.client, &format!("serve -x -c {path}"));
    served_ahead(&scene.client, &daemon);
    upstream.set_silent(true);
    let dispersion = || daemon.counters().0["system"]["root_dispersion_s"].as_f64().expect("a number");
    let first = dispersion();
    std::thread::sleep(6 * SECOND);
    let second = dispersion();
    // A unit of the packet's field is 15 µs.
    assert!(second >= first + 60e-6, "15 ppm of 6 s: {first} then {second}");
    let reply = ask(&scene.client.socket("127.0.0.1:0"), "127.0.0.1:123").expect("a reply");
    assert_eq!((reply.leap, reply.stratum), (0, 2), "{reply:?}");
    assert!(upstream.asked() > 0);
}

#[test]
fn what_is_learned_reaches_every_worker_and_the_driver_within_a_second() {
    for (name, options) in [
        ("io_uring", "--workers 2 --datapath io_uring"),
        ("mmsg", "--workers 2 --datapath mmsg"),
        ("driver", "--workers 1 --xdp native -i lan"),
    ] {
        let Some(scene) = Scene::new() else { return };
        let Some(_peer) = pass_everything(&scene.client, "lan") else { return };
        // Its source and its clients are at the same end of the link.
        scene.client.address("lan", "192.168.0.9/24");
        let upstream = Upstream::new(scene.client.socket("192.168.0.9:123"), 5.0);
        upstream.set_silent(true);
        let clients: Vec<UdpSocket> = (20..36)
            .map(|host| {
                scene.client.address("lan", &format!("192.168.0.{host}/24"));
                scene.client.socket(format!("192.168.0.{host}:0"))
            })
            .collect();
        let path = conf(&format!("learned-{name}"), "server 192.168.0.9 iburst minpoll 3 maxpoll 3\n");
        let daemon = Daemon::start(&scene.server, &format!("serve -x -c {path} {options}"));
        let served = || {
            let replies = clients.iter().map(|client| ask(client, "192.168.0.1:123").expect("a reply"));
            replies.map(|reply| (reply.leap, reply.stratum, reply.refid)).collect::<Vec<_>>()
        };
        let nobody = (3, 0, *b"INIT");
        assert!(served().iter().all(|reply| *reply == nobody), "{name}: {:?}", served());
        upstream.set_silent(false);
        let follows = daemon.line(0, 20 * SECOND, |line| line.contains("the clock follows 192.168.0.9"));
        let learned = Instant::now();
        assert!(follows.is_some(), "{name}: {}", daemon.text());
        let source = (0, 2, [192, 168, 0, 9]);
        while served().iter().any(|reply| *reply != source) {
            assert!(learned.elapsed() < SECOND, "{name}: {:?}", served());
        }
        let counters = daemon.counters();
        if name == "driver" {
            assert!(in_driver(&counters) >= 32, "{counters:?}");
        } else {
            assert!(counters.per_worker("answered").iter().all(|count| *count > 0), "{counters:?}");
        }
    }
}

#[test]
fn sighup_takes_sources_from_the_file_as_it_is_then() {
    let Some(scene) = Scene::new() else { return };
    let _first = Upstream::new(scene.server.socket("192.168.0.1:123"), 0.0);
    scene.server.address("lan", "192.168.0.5/24");
    let _second = Upstream::new(scene.server.socket("192.168.0.5:123"), 0.0);
    let path = conf("sighup", "server 192.168.0.1 iburst\n");
    let daemon = Daemon::start(&scene.client, &format!("serve -x -c {path}"));
    source_when(&daemon, Instant::now(), 10 * SECOND, |source| source["selection"] == "system peer");
    conf("sighup", "server 192.168.0.5 iburst\n");
    daemon.signal(Signal::SIGHUP);
    let (other, _) = source_when(&daemon, Instant::now(), 15 * SECOND, |source| {
        source["address"] == "192.168.0.5" && source["selection"] == "system peer"
    });
    assert_eq!(other["stratum"], 1, "{other}");
    assert_eq!(daemon.counters().0["associations"].as_array().map(Vec::len), Some(1));
}

#[test]
fn with_no_worker_it_is_a_client_only() {
    let Some(scene) = Scene::new() else { return };
    let _upstream = Upstream::new(scene.server.socket("192.168.0.1:123"), 0.0);
    let path = conf("alone", "server 192.168.0.1 iburst\n");
    let daemon = Daemon::start(&scene.client, &format!("serve --workers 0 -c {path}"));
    source_when(&daemon, Instant::now(), 10 * SECOND, |source| source["selection"] == "system peer");
    assert_eq!(daemon.threads().len(), 1, "no thread but the one that follows the clock");
    // Nothing listens.
    let taken = scene.client.socket("0.0.0.0:123");
    drop(taken);
    let mut daemon = daemon;
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end(2 * SECOND).and_then(|end| end.code()), Some(0), "{}", daemon.text());
}
