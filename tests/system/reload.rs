//! SIGHUP: new restrict lines apply without a lost datagram, and a bad file changes nothing (conformance row
//! F13).

use std::fs;
use std::iter;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

use crate::support::daemon::Daemon;
use crate::support::ntp::{ask, reply, request, to_ntp};
use crate::support::scene::{SCRATCH, Scene};

/// When an answer that comes is there.
const SOON: Duration = Duration::from_millis(200);
const SERVER: &str = "192.168.0.1:123";
const OPEN: &str = "server 127.127.1.0\nfudge 127.127.1.0 stratum 3\nrestrict default noquery\n";
/// 192.168.0.3 is the client that restrict lines come and go for.
const CLOSED: &str = "server 127.127.1.0\nfudge 127.127.1.0 stratum 3\nrestrict default noquery\nrestrict 192.168.0.3 ignore\n";

/// The scene with a second client address, and the daemon with a configuration file of its own.
fn reloadable(name: &str) -> Option<(Scene, Daemon, String)> {
    let scene = Scene::new()?;
    scene.client.address("lan", "192.168.0.3/24");
    let conf = format!("{SCRATCH}/reload-{name}.conf");
    fs::write(&conf, OPEN).expect("a scratch file");
    let daemon = Daemon::start(&scene.server, &format!("serve -c {conf}"));
    Some((scene, daemon, conf))
}

/// Whether a request is answered within `patience`; late answers to earlier ones do not count.
fn is_answered(socket: &UdpSocket, patience: Duration) -> bool {
    socket.set_read_timeout(Some(patience)).expect("a timeout");
    let transmit = to_ntp(SystemTime::now());
    socket.send_to(&request(4, transmit), SERVER).expect("a request leaves");
    iter::from_fn(|| reply(socket)).any(|reply| reply.origin == transmit)
}

/// Waits until the restricted client is (or is not) answered.
fn becomes(socket: &UdpSocket, answered: bool, daemon: &Daemon) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while is_answered(socket, SOON) != answered {
        assert!(
            Instant::now() < deadline,
            "192.168.0.3 never became answered = {answered}:\n{}",
            daemon.text()
        );
    }
}

/// Ends the asking thread, when a test fails too.
struct Stopper<'a>(&'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn f13_fifty_reloads_apply_and_lose_no_datagram() {
    let Some((scene, daemon, conf)) = reloadable("fifty") else { return };
    let (steady, restricted) = (scene.client.socket("192.168.0.2:0"), scene.client.socket("192.168.0.3:0"));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stopper = Stopper(&stop);
        let asking = scope.spawn(|| {
            let mut sent = 0;
            let mut answered = 0;
            while !stop.load(Relaxed) {
                sent += 1;
                steady.send_to(&request(4, sent), SERVER).expect("a request leaves");
                answered += u64::from(reply(&steady).is_some_and(|reply| reply.origin == sent));
            }
            (sent, answered)
        });
        for round in 0..50 {
            fs::write(&conf, [CLOSED, OPEN][round % 2]).expect("the configuration is rewritten");
            daemon.signal(Signal::SIGHUP);
            // Some rounds wait for the effect, the others come close upon each other.
            if round < 6 {
                becomes(&restricted, round % 2 == 1, &daemon);
            } else {
                thread::sleep(Duration::from_millis(10));
            }
        }
        becomes(&restricted, true, &daemon);
        drop(stopper);
        let (sent, answered) = asking.join().expect("the asking thread");
        assert!(sent > 500, "only {sent} requests were sent during 50 reloads");
        assert_eq!(sent, answered, "every request during the reloads is answered");
    });
}

#[test]
fn f13_a_broken_or_missing_new_file_keeps_the_old_configuration() {
    let Some((scene, daemon, conf)) = reloadable("broken") else { return };
    let restricted = scene.client.socket("192.168.0.3:0");
    fs::write(&conf, CLOSED).expect("the configuration is rewritten");
    daemon.signal(Signal::SIGHUP);
    becomes(&restricted, false, &daemon);

    let broken = format!("{OPEN}restrict 1.2.3.4.5 nonsense\n");
    for new in [Some(broken), None] {
        match &new {
            Some(text) => fs::write(&conf, text).expect("the configuration is broken"),
            None => fs::remove_file(&conf).expect("the configuration is removed"),
        }
        let before = daemon.lines();
        daemon.signal(Signal::SIGHUP);
        let complaint = daemon.line(before, Duration::from_secs(5), |line| line.contains(&conf));
        assert!(complaint.is_some(), "it must name the file ({new:?}):\n{}", daemon.text());
        thread::sleep(Duration::from_millis(300));
        assert!(
            !is_answered(&restricted, SOON),
            "the old restrict line is in force ({new:?}):\n{}",
            daemon.text()
        );
        let other = scene.client.socket("192.168.0.2:0");
        assert!(is_answered(&other, Duration::from_secs(2)), "the others are served");
    }
}

#[test]
fn a_reload_does_not_make_the_local_clock_wait_again() {
    let Some((scene, daemon, conf)) = reloadable("orphanwait") else { return };
    drop(daemon);
    // 192.0.2.1 is nobody (RFC 5737).
    fs::write(&conf, format!("{OPEN}server 192.0.2.1\ntos orphanwait 2\n")).expect("a scratch file");
    let daemon = Daemon::start(&scene.server, &format!("serve -c {conf}"));
    let socket = scene.client.socket("192.168.0.2:0");
    let stratum = || ask(&socket, SERVER).expect("a reply").stratum;
    assert_eq!(stratum(), 0, "unsynchronised until orphanwait is over");
    let deadline = Instant::now() + Duration::from_secs(6);
    while stratum() != 4 {
        assert!(Instant::now() < deadline, "never synchronised:\n{}", daemon.text());
        thread::sleep(Duration::from_millis(50));
    }
    daemon.signal(Signal::SIGHUP);
    let reloaded = daemon.line(0, Duration::from_secs(5), |line| line.contains("in force"));
    assert!(reloaded.is_some(), "{}", daemon.text());
    thread::sleep(Duration::from_millis(100));
    assert_eq!(stratum(), 4, "synchronised before the reload, and after it:\n{}", daemon.text());
}
