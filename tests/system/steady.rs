//! The running server: stamps are arrival times, idleness is cheap, garbage changes nothing but counters.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;

use crate::support::clients::find;
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
    const DATAGRAMS: usize = 200_000;
    let Some(scene) = Scene::new() else { return };
    let daemon = seed_server(&scene, "");
    let socket = scene.client.socket("0.0.0.0:0");
    let garbage: Vec<u8> = (0..65_507u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sizes = [0, 1, 47, 48, 49, 52, 68, 72, 500, 1025, 1472];
    let spray = |count: usize| {
        for i in 0..count {
            let at = i * 7 % 60_000;
            socket.send_to(&garbage[at..at + sizes[i % sizes.len()]], SERVER).expect("a datagram leaves");
        }
    };
    let resident = || -> u64 {
        status_field(&daemon.status(), "VmRSS").trim_end_matches(" kB").parse().expect("a size in kB")
    };
    // Every buffer is touched once before memory is measured.
    spray(20_000);
    let (lines, before) = (daemon.lines(), resident());
    spray(DATAGRAMS);
    for _ in 0..20 {
        socket.send_to(&garbage, SERVER).expect("64 KiB in fragments");
    }
    let after = resident();
    assert!(after <= before + 256, "resident memory grew from {before} kB to {after} kB");
    assert_eq!(daemon.lines(), lines, "no line per packet:\n{}", daemon.text());

    // It lives and answers; garbage that happened to be a request was answered before.
    let calm = scene.client.socket("0.0.0.0:0");
    assert!(ask(&calm, SERVER).is_some());
    let all = (20_000 + DATAGRAMS + 20 + 1) as u64;
    let counters =
        daemon.counters_when(|counters| counters.get("received") + counters.get("rxq_ovfl") == all);
    let accounted = counters.get("answered") + counters.get("forwarded") + counters.dropped();
    assert_eq!(counters.get("received"), accounted, "every datagram has one fate: {counters:?}");
    for reason in ["short", "misaligned", "truncated", "version", "mode"] {
        assert!(counters.dropped_for(reason) > 0, "{reason}: {counters:?}");
    }
}

#[test]
fn no_futex_call_while_requests_are_answered() {
    const REQUESTS: u64 = 10_000;
    if find("ptrace", "strace").is_none() {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    for datapath in ["io_uring", "mmsg"] {
        let daemon = seed_server(&scene, &format!("--datapath {datapath}"));
        let mut strace = command("strace");
        strace.args(["-f", "-c", "-p", &daemon.pid().to_string()]);
        let mut strace = Daemon::spawn(&scene.server, strace);
        // Every thread is attached before the first request.
        let threads = daemon.threads().len();
        let attached = |line: &str| line.contains("attached");
        assert!(strace.line(0, Duration::from_secs(5), attached).is_some(), "{}", strace.text());
        let socket = scene.client.socket("0.0.0.0:0");
        for number in 1..=REQUESTS {
            socket.send_to(&request(4, number), SERVER).expect("a request leaves");
            assert_eq!(reply(&socket).expect("a reply").origin, number);
        }
        strace.signal(Signal::SIGINT);
        strace.end(Duration::from_secs(5)).expect("strace prints its summary and ends");
        let summary = strace.line(0, Duration::from_secs(1), |line| line.ends_with("total"));
        let calls =
            summary.map(|line| line.split_whitespace().nth(3).and_then(|calls| calls.parse::<u64>().ok()));
        assert!(calls.flatten().is_some_and(|calls| calls >= REQUESTS / 64), "{threads}: {}", strace.text());
        assert!(!strace.text().contains("futex"), "a worker took a lock:\n{}", strace.text());
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
