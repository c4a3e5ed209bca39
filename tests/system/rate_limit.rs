//! Rate limits of the whole daemon: what public servers write into their ntp.conf, with real clients and
//! several workers.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::clients::{client, find};
use crate::support::daemon::{Daemon, ntpring};
use crate::support::namespace::{Finished, Namespace};
use crate::support::ntp::{Reply, reply, request};
use crate::support::scene::{SCRATCH, SERVER, Scene};

const CLOCK: &str = "server 127.127.1.0\nfudge 127.127.1.0 stratum 3\n";
/// The pool's advice.
const POOL: &str = "restrict default kod limited nomodify notrap nopeer noquery\n";

/// A daemon with this configuration.
fn serve(namespace: &Namespace, name: &str, text: &str, arguments: &str) -> (Daemon, String) {
    let conf = format!("{SCRATCH}/limit-{name}.conf");
    fs::write(&conf, text).expect("a scratch file");
    (Daemon::start(namespace, &format!("serve -c {conf} {arguments}")), conf)
}

/// The replies to `count` requests, sent at once from the next of these sockets each.
fn burst(sockets: &[UdpSocket], server: &str, count: u64) -> Vec<Reply> {
    for (cookie, socket) in (1..=count).zip(sockets.iter().cycle()) {
        socket.send_to(&request(4, cookie), server).expect("a request leaves");
    }
    let replies = sockets.iter().flat_map(|socket| {
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        std::iter::from_fn(|| reply(socket)).collect::<Vec<_>>()
    });
    replies.collect()
}

fn is_kiss(reply: &Reply) -> bool {
    reply.stratum == 0 && &reply.refid == b"RATE"
}

#[test]
fn k11_a_source_has_one_bucket_whichever_worker_it_meets() {
    const SOURCES: usize = 12;
    let Some(scene) = Scene::new() else { return };
    scene.server.address("lan", "10.7.255.1/16");
    let (daemon, _) = serve(&scene.server, "workers", &format!("{CLOCK}{POOL}"), "--workers 2");
    let mut kisses = 0;
    for host in 1..=SOURCES {
        let address = format!("10.7.0.{host}");
        scene.client.address("lan", &format!("{address}/16"));
        let ports: Vec<_> = (0..20).map(|_| scene.client.socket(format!("{address}:0"))).collect();
        let replies = burst(&ports, "10.7.255.1:123", 60);
        // Two buckets would give two first kisses, and 40 answers; a quarter of the excess leaks.
        assert_eq!(replies.iter().filter(|reply| is_kiss(reply)).count(), 1, "{address}");
        let answered = replies.len() - 1;
        assert!((20..=39).contains(&answered), "{answered} of 60 for {address}");
        kisses += 1;
    }
    let counters = daemon.counters_when(|counters| counters.get("received") == 60 * SOURCES as u64);
    assert_eq!(counters.get("kod"), kisses);
    assert_eq!(counters.get("received"), counters.get("answered") + counters.dropped());
    assert_eq!(counters.dropped(), counters.dropped_for("limited"));
    assert!(counters.per_worker("kod").iter().all(|kod| *kod > 0), "both workers had sources: {counters:?}");
}

#[test]
fn k6_real_clients_pass_the_limits_of_ntpd_and_of_ntpsec() {
    if find("chrony", "chronyd").is_none() {
        return;
    }
    let Some(scene) = Scene::new() else { return };
    for (name, line) in [("ntpsec", "limit average 1 burst 20\n"), ("ntpd", "discard average 3 minimum 2\n")]
    {
        let (daemon, _) = serve(&scene.server, name, &format!("{CLOCK}{POOL}{line}"), "");
        let mut chronyd = client("chrony", "chronyd").expect("it was found above");
        let server = format!("server {} iburst", SERVER[0]);
        chronyd.args(["-U", "-u", "root", "-Q", "-t", "15", &server]);
        let Finished { code, text } = scene.client.run(chronyd);
        assert_eq!(code, Some(0), "{text}\n{}", daemon.text());
        let counters = daemon.counters();
        assert!(counters.get("answered") >= 2, "it asked more than once: {counters:?}");
        assert_eq!((counters.get("kod"), counters.dropped()), (0, 0), "{counters:?}");
    }
}

#[test]
fn k12_this_host_is_not_limited() {
    let Some(namespace) = Namespace::new() else { return };
    let (_daemon, _) = serve(&namespace, "local", &format!("{CLOCK}{POOL}"), "");
    for (from, to) in [("127.0.0.1:0", "127.0.0.1:123"), ("[::1]:0", "[::1]:123")] {
        let replies = burst(&[namespace.socket(from)], to, 100);
        assert!(replies.len() == 100 && !replies.iter().any(is_kiss), "{} replies to {from}", replies.len());
    }
}

#[test]
fn a_reload_changes_the_numbers_and_keeps_the_buckets() {
    let Some(scene) = Scene::new() else { return };
    let conf = |limit: &str| format!("{CLOCK}restrict default limited noquery\n{limit}\n");
    let (daemon, path) =
        serve(&scene.server, "reload", &conf("limit average 0.001 burst 100"), "--workers 1");
    let client = [scene.client.socket("192.168.0.2:0")];
    let answered = |requests| burst(&client, "192.168.0.1:123", requests).len();
    assert_eq!(answered(100), 100);
    let reload = |text: &str| {
        fs::write(&path, text).expect("the configuration is rewritten");
        let from = daemon.lines();
        daemon.signal(Signal::SIGHUP);
        let line = daemon.line(from, Duration::from_secs(5), |line| line.contains("in force"));
        assert!(line.is_some(), "{}", daemon.text());
    };
    reload(&conf("limit average 0.002 burst 100"));
    let again = answered(100);
    assert!((10..=45).contains(&again), "only what leaks: {again}");
    reload(&format!("{CLOCK}restrict default noquery\n"));
    let deadline = Instant::now() + Duration::from_secs(5);
    while answered(100) < 100 {
        assert!(Instant::now() < deadline, "still limited");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_list_of_clients_marks_who_is_beyond_the_limit_and_nobody_else() {
    let Some(scene) = Scene::new() else { return };
    let text = format!("{CLOCK}{POOL}restrict 127.0.0.1\nlimit average 0.001 burst 8\n");
    let (daemon, _) = serve(&scene.server, "marks", &text, "--workers 1");
    scene.client.address("lan", "192.168.0.3/24");
    let ask = |address: &str, requests| {
        burst(&[scene.client.socket(format!("{address}:0"))], "192.168.0.1:123", requests)
    };
    assert_eq!(ask("192.168.0.2", 1).len(), 1);
    assert_eq!(ask("192.168.0.3", 9).iter().filter(|reply| is_kiss(reply)).count(), 1);
    let list = |selection: &str| {
        let command = format!("mrulist {selection}");
        let finished = scene.server.run(ntpring(["ntpq", "-n", "-c", &command, "127.0.0.1"]));
        assert_eq!(finished.code, Some(0), "{}\n{}", finished.text, daemon.text());
        // Flags, and whom they are of.
        let row = |line: &str| -> Option<String> {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_last, _interval, bits, mark, .., _port, address] = fields[..] else { return None };
            Some(format!("{bits} {mark} {address}"))
        };
        let rows: Vec<String> = finished.text.lines().skip(2).filter_map(row).collect();
        rows
    };
    // noquery and nomodify, beside what became of the last packet: the ninth was kissed.
    let (within, kissed) = ("c0 . 192.168.0.2", "4e0 K 192.168.0.3");
    assert_eq!(list("sort=addr"), ["0 . 127.0.0.1", within, kissed]);
    assert_eq!(list("kod"), [kissed]);
    ask("192.168.0.3", 1);
    let beyond = "e0 L 192.168.0.3";
    assert_eq!(list("limited"), [beyond]);
    assert_eq!(list("kod"), [""; 0]);
    assert_eq!(list("mincount=10 resall=0xc0"), [beyond]);
}

#[test]
fn metrics_tell_kisses_and_who_was_limited() {
    let Some(namespace) = Namespace::new() else { return };
    let text = format!("{CLOCK}restrict 127.0.0.1 limited kod\nlimit burst 1 average 0.001\n");
    let (daemon, _) = serve(&namespace, "metrics", &text, "--metrics 127.0.0.1:9123 --workers 1");
    let replies = burst(&[namespace.socket("127.0.0.1:0")], "127.0.0.1:123", 50);
    daemon.counters_when(|counters| counters.get("received") == 50);
    let page = namespace.inside(|| {
        let mut stream = TcpStream::connect("127.0.0.1:9123").expect("the metrics' port");
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("a request");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("a page");
        page
    });
    let limited = 50 - replies.len();
    let says = |line: String| assert!(page.lines().any(|shown| shown == line), "{line} in {page}");
    let tier = daemon.counters().0["tier"].as_str().expect("a tier").to_owned();
    says(format!("ntpring_kod_total{{tier=\"{tier}\"}} 1"));
    says(format!("ntpring_answered_total{{tier=\"{tier}\"}} {}", replies.len()));
    says(format!("ntpring_dropped_total{{tier=\"{tier}\",reason=\"limited\"}} {limited}"));
}
