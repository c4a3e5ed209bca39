//! The running server: stamps are arrival times, idleness is cheap, garbage changes nothing but counters.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

use crate::support::clients::strace;
use crate::support::daemon::{Daemon, status_field};
use crate::support::namespace::command;
use crate::support::ntp::{ask, reply, request, seconds_between, to_ntp};
use crate::support::scene::{SEED, Scene};

const SERVER: &str = "192.168.0.1:123";

fn seed_server(scene: &Scene, options: &str) -> Daemon {
    Daemon::start(&scene.server, &format!("serve -c {SEED} {options}"))
}

/// Stops the server, sends a request, and lets the server go on 300 ms later.
fn stamps_are_taken_on_arrival(datapath: &str) {
    const PAUSE: Duration = Duration::from_millis(300);
    let Some(scene) = Scene::new() else { return };
    let daemon = seed_server(&scene, &format!("--datapath {datapath}"));
    for (any, server) in [("0.0.0.0:0", SERVER), ("[::]:0", "[fd00::1]:123")] {
        let socket = scene.client.socket(any);
        ask(&socket, server).expect("a reply, and known neighbours");
        daemon.signal(Signal::SIGSTOP);
        while daemon.threads().iter().any(|(_, status)| !status_field(status, "State").starts_with('T')) {
            thread::sleep(Duration::from_millis(1));
        }
        let sent = to_ntp(SystemTime::now());
        socket.send_to(&request(4, sent), server).expect("a request leaves");
        thread::sleep(PAUSE);
        let continued = to_ntp(SystemTime::now());
        daemon.signal(Signal::SIGCONT);
        let reply = reply(&socket).expect("a reply after the pause");
        let arrival = seconds_between(sent, reply.receive);
        assert!((0.0..0.005).contains(&arrival), "T2 is the arrival: {arrival} s after the request left");
        assert!(seconds_between(reply.receive, reply.transmit) > 0.295, "T3 is the departure: {reply:?}");
        assert!(
            seconds_between(continued, reply.transmit) > 0.0,
            "T3 is no earlier than the server ran: {reply:?}"
        );
    }
}

#[test]
fn s20_receive_stamps_are_the_kernels_on_io_uring() {
    stamps_are_taken_on_arrival("io_uring");
}

#[test]
fn s20_receive_stamps_are_the_kernels_on_mmsg() {
    stamps_are_taken_on_arrival("mmsg");
}

#[test]
fn an_idle_thread_wakes_at_most_twice_a_second() {
    const WATCH: Duration = Duration::from_secs(5);
    let Some(scene) = Scene::new() else { return };
    for datapath in ["io_uring", "mmsg"] {
        let daemon = seed_server(&scene, &format!("--datapath {datapath} --workers 2"));
        thread::sleep(Duration::from_millis(200));
        let sleeps = || -> Vec<(String, u64)> {
            let count =
                |status: &str| status_field(status, "voluntary_ctxt_switches").parse().expect("a count");
            daemon.threads().iter().map(|(name, status)| (name.clone(), count(status))).collect()
        };
        let before = sleeps();
        thread::sleep(WATCH);
        for ((name, before), (_, after)) in before.iter().zip(sleeps()) {
            let limit = 2 * WATCH.as_secs();
            assert!(after - before <= limit, "{datapath}: {name} woke {} times in {WATCH:?}", after - before);
        }
    }
}

#[test]
fn x7_garbage_of_any_size_leaves_memory_flat_and_no_line_in_the_log() {
    const WARM_UP: usize = 20_000;
    const DATAGRAMS: usize = 200_000;
    /// The kernel's backlog holds 1000 datagrams of all namespaces together: nobody sends that many at once.
    const BURST: usize = 200;
    let Some(scene) = Scene::new() else { return };
    let daemon = seed_server(&scene, "");
    let (noisy, calm) = (scene.client.socket("0.0.0.0:0"), scene.client.socket("0.0.0.0:0"));
    let garbage: Vec<u8> = (0..65_507_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sizes = [0, 1, 47, 48, 49, 52, 68, 72, 500, 1025, 1472];
    // One address has one worker, so the reply to `calm` means that all before it is done.
    let is_alive = || assert!(ask(&calm, SERVER).is_some(), "it answers after garbage");
    let spray = |count: usize| {
        for i in 0..count {
            let at = i * 7 % 60_000;
            let datagram = &garbage[at..at + sizes[i % sizes.len()]];
            noisy.send_to(datagram, SERVER).expect("a datagram leaves");
            if i % BURST == 0 {
                is_alive();
            }
        }
    };
    let resident = || -> u64 {
        status_field(&daemon.status(), "VmRSS").trim_end_matches(" kB").parse().expect("a size in kB")
    };
    // Every buffer is touched once before memory is measured.
    spray(WARM_UP);
    let (lines, before) = (daemon.lines(), resident());
    spray(DATAGRAMS);
    for _ in 0..20 {
        noisy.send_to(&garbage, SERVER).expect("64 KiB in fragments");
        is_alive();
    }
    let after = resident();
    assert!(after <= before + 256, "resident memory grew from {before} kB to {after} kB");
    assert_eq!(daemon.lines(), lines, "no line per packet:\n{}", daemon.text());

    // Garbage that happens to be a request is answered; everything is counted, and counted once.
    let sent = WARM_UP + DATAGRAMS + 20 + (WARM_UP + DATAGRAMS) / BURST + 20;
    let counters = daemon.counters_when(|counters| counters.get("received") == sent as u64);
    let accounted = counters.get("answered") + counters.get("forwarded") + counters.dropped();
    assert_eq!(counters.get("received"), accounted, "every datagram has one fate: {counters:?}");
    for reason in ["short", "misaligned", "truncated", "version", "mode"] {
        assert!(counters.dropped_for(reason) > 0, "{reason}: {counters:?}");
    }
}

#[test]
fn no_futex_call_while_a_hundred_thousand_requests_are_answered() {
    const BURST: u64 = 50;
    let (Some(strace), Some(scene)) = (strace(), Scene::new()) else { return };
    for datapath in ["io_uring", "mmsg"] {
        // A filter in the kernel picks the traced calls, so the others run at full speed. bind shows that
        // tracing works.
        let mut traced = command(&strace);
        traced.args([
            "-f",
            "--seccomp-bpf",
            "-e",
            "trace=futex,bind",
            "setpriv",
            "--pdeathsig",
            "KILL",
            "--",
        ]);
        traced.args([env!("CARGO_BIN_EXE_ntpring"), "serve", "-c", SEED, "--datapath", datapath]);
        let daemon = Daemon::start_command(&scene.server, traced);
        assert!(daemon.text().contains("bind("), "{}", daemon.text());
        // The last threads of the start may still be on their way to sleep.
        thread::sleep(Duration::from_millis(500));
        let start = daemon.lines();
        let socket = scene.client.socket("0.0.0.0:0");
        for first in (0..100_000).step_by(BURST as usize) {
            for number in first..first + BURST {
                socket.send_to(&request(4, number), SERVER).expect("a request leaves");
            }
            let answered = (0..BURST).filter(|_| reply(&socket).is_some()).count();
            assert_eq!(answered, BURST as usize, "replies to one burst");
        }
        let futex = daemon.line(start, Duration::from_millis(100), |line| line.contains("futex("));
        assert_eq!(futex, None, "a thread waited for a lock, or woke one that did");
    }
}

#[test]
fn o7_every_request_is_counted_once_and_per_worker() {
    let Some(scene) = Scene::new() else { return };
    let daemon = seed_server(&scene, "");
    let socket = scene.client.socket("0.0.0.0:0");
    for version in [1, 2, 3, 4] {
        socket.send_to(&request(version, 1), SERVER).expect("a request leaves");
    }
    for (first, length) in [(0x23, 47), (0x2b, 48), (0x24, 48), (0x27, 48), (0x23, 50)] {
        let mut packet = [0; 64];
        packet[0] = first;
        socket.send_to(&packet[..length], SERVER).expect("a datagram leaves");
    }
    let counters = daemon.counters_when(|counters| counters.get("received") == 9);
    assert_eq!(counters.get("answered"), 4, "{counters:?}");
    for reason in ["short", "version", "mode", "private", "misaligned"] {
        assert_eq!(counters.dropped_for(reason), 1, "{reason}: {counters:?}");
    }
    assert_eq!(counters.per_worker("received").iter().sum::<u64>(), 9, "{counters:?}");
}

#[test]
fn a_burst_larger_than_every_batch_is_answered_completely() {
    let Some(scene) = Scene::new() else { return };
    for datapath in ["io_uring", "mmsg"] {
        let _daemon = seed_server(&scene, &format!("--datapath {datapath}"));
        let socket = scene.client.socket("0.0.0.0:0");
        let start = Instant::now();
        for number in 1..=200 {
            socket.send_to(&request(4, number), SERVER).expect("a request leaves");
        }
        let mut origins: Vec<u64> = (1..=200).map(|_| reply(&socket).expect("a reply").origin).collect();
        origins.sort_unstable();
        assert_eq!(origins, (1..=200).collect::<Vec<u64>>(), "{datapath}, after {:?}", start.elapsed());
    }
}

#[test]
fn metrics_are_prometheus_text_and_agree_with_the_counters() {
    let Some(scene) = Scene::new() else { return };
    let daemon = seed_server(&scene, "--metrics 127.0.0.1:9123");
    for _ in 0..3 {
        ask(&scene.client.socket("0.0.0.0:0"), SERVER).expect("a reply");
    }
    daemon.counters_when(|counters| counters.get("answered") == 3);
    let text = scene.server.inside(|| -> std::io::Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:9123")?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text).map(|_| text)
    });
    let text = text.expect("an answer");
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    let sum = |name: &str| -> f64 {
        let samples = text.lines().filter(|line| line.starts_with(name)).map(|line| line.rsplit(' ').next());
        samples.map(|value| value.expect("a value").parse::<f64>().expect("a number")).sum()
    };
    assert_eq!(sum("ntpring_answered_total"), 3.0, "{text}");
    assert_eq!(sum("ntpring_stratum"), 4.0, "{text}");
    assert_eq!(sum("ntpring_leap_indicator"), 0.0, "{text}");
    for family in ["dropped_total", "send_failed_total", "rxq_ovfl_total", "root_dispersion_seconds"] {
        assert!(text.contains(&format!("# TYPE ntpring_{family} ")), "{family} in {text}");
    }
}
