//! `ntpload run` against servers whose every misdeed is known: the accounts must state exactly that.

mod engines;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::SockRef;

use self::engines::on_both_engines;

/// What a server does with one request.
#[derive(Clone, Copy)]
enum Deed {
    Answer,
    Drop,
    Duplicate,
    WrongOrigin,
    /// Answers this much later, while other requests go on.
    Delay(Duration),
    /// Does nothing at all for this long, then answers.
    Stall(Duration),
    /// Answers with these octets in the place given.
    Patch(usize, &'static [u8]),
    /// Answers with so many octets.
    Cut(usize),
}

/// A server that does to the n-th request what `deeds(n)` says, until it is dropped.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(deeds: impl Fn(u64) -> Deed + Send + 'static) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        // A busy machine must not lose requests that the test has counted on.
        SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let address = socket.local_addr().unwrap();
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || serve(&socket, &stop, deeds)
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(socket: &UdpSocket, stop: &AtomicBool, deeds: impl Fn(u64) -> Deed) {
    let mut delayed: VecDeque<(Instant, [u8; 48], SocketAddr)> = VecDeque::new();
    let mut buffer = [0; 100];
    let mut number = 0;
    while !stop.load(Relaxed) {
        while delayed.front().is_some_and(|(due, ..)| *due <= Instant::now()) {
            let (_, reply, peer) = delayed.pop_front().unwrap();
            socket.send_to(&reply, peer).unwrap();
        }
        let peer = match socket.recv_from(&mut buffer) {
            Ok((48, peer)) => peer,
            Ok((length, _)) => panic!("a request of {length} octets"),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => panic!("{error}"),
        };
        let mut reply = answer(&buffer);
        let send = |bytes: &[u8]| assert_eq!(socket.send_to(bytes, peer).unwrap(), bytes.len());
        match deeds(number) {
            Deed::Answer => send(&reply),
            Deed::Drop => {}
            Deed::Duplicate => (0..2).for_each(|_| send(&reply)),
            Deed::WrongOrigin => {
                reply[24] ^= 0x80;
                send(&reply);
            }
            Deed::Delay(time) => delayed.push_back((Instant::now() + time, reply, peer)),
            Deed::Stall(time) => {
                thread::sleep(time);
                send(&reply);
            }
            Deed::Patch(at, bytes) => {
                reply[at..at + bytes.len()].copy_from_slice(bytes);
                send(&reply);
            }
            Deed::Cut(length) => send(&reply[..length]),
        }
        number += 1;
    }
}

/// Stratum 2, one fixed time, origin := transmit.
fn answer(request: &[u8]) -> [u8; 48] {
    assert_eq!(request[0], 0b00_100_011, "version 4, mode 3");
    let mut reply = [0; 48];
    reply[0] = 0b00_100_100;
    reply[1] = 2;
    reply[24..32].copy_from_slice(&request[40..48]);
    for stamp in [32, 40] {
        reply[stamp..stamp + 8].copy_from_slice(&0xE000_0000_0000_0000_u64.to_be_bytes());
    }
    reply
}

fn ntpload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ntpload")).args(arguments).output().unwrap()
}

/// The JSON of a run with these options, and its exit code. How late a busy machine was does not count.
fn run(engine: &str, target: SocketAddr, options: &[&str]) -> (Value, i32) {
    run_strictly(engine, target, &[&["--allow-lag"], options].concat())
}

fn run_strictly(engine: &str, target: SocketAddr, options: &[&str]) -> (Value, i32) {
    let target = target.to_string();
    let output = ntpload(&[&["run", &target, "--json", "-", "--engine", engine], options].concat());
    let json: Result<Value, _> = serde_json::from_slice(&output.stdout);
    let json = json.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    assert_eq!(json["engine"], engine);
    (json, output.status.code().unwrap())
}

fn assert_counts(json: &Value, expected: &[(&str, u64)]) {
    for (name, count) in expected {
        let found = json["counts"].pointer(&format!("/{}", name.replace('.', "/")));
        assert_eq!(found, Some(&Value::from(*count)), "{name} in {:#}", json["counts"]);
    }
}

on_both_engines! {
    a_server_that_answers_garbage_is_told_from_one_that_is_silent
    the_accounts_state_exactly_what_the_server_did
    replies_that_are_none_leave_their_requests_unanswered
    latency_counts_from_the_intended_time
    a_closed_loop_loses_nothing_and_keeps_its_bound
    nobody_there_is_said_and_ends_early
    a_rate_beyond_the_machine_is_the_generators_fault
    an_interrupted_run_tells_what_it_has
}

fn the_accounts_state_exactly_what_the_server_did(engine: &str) {
    let server = Server::start(|n| match n {
        n if n % 100 == 7 => Deed::Drop,
        n if n % 1000 == 3 => Deed::Duplicate,
        n if n % 500 == 4 => Deed::WrongOrigin,
        // Within the first second, so that they come back while the run goes on.
        n if n % 200 == 9 && n < 1000 => Deed::Delay(Duration::from_millis(1_500)),
        _ => Deed::Answer,
    });
    let (json, code) = run(engine, server.address, &["--rate", "1k", "--duration", "3s", "--timeout", "1s"]);
    assert_counts(
        &json,
        &[
            ("scheduled", 3_000),
            ("sent", 3_000),
            ("unsent", 0),
            ("answered", 3_000 - 30 - 6 - 5),
            ("late", 5),
            ("lost", 30 + 6),
            ("kod", 0),
            ("duplicate", 3),
            ("invalid", 6),
            ("invalid_reasons.origin", 6),
            ("unsolicited", 0),
            ("local_drops", 0),
            ("unreachable", 0),
        ],
    );
    assert_eq!(json["latency_us"]["intended"]["count"], json["counts"]["answered"]);
    assert_eq!(json["loss_ratio"], 41.0 / 3_000.0);
    assert_eq!((&json["version"], code), (&Value::from(1), 0));
}

fn replies_that_are_none_leave_their_requests_unanswered(engine: &str) {
    let server = Server::start(|n| match n % 8 {
        0 => Deed::Patch(0, &[0b00_100_011]),
        1 => Deed::Patch(0, &[0b00_011_100]),
        2 => Deed::Cut(47),
        3 => Deed::Patch(40, &[0xD0]),
        4 => Deed::Patch(0, &[0b11_100_100]),
        5 => Deed::Patch(1, &[0]),
        // Leap 3, stratum 0, and a code.
        6 => Deed::Patch(0, b"\xE4\0\0\0\0\0\0\0\0\0\0\0RATE"),
        _ => Deed::Answer,
    });
    let (json, code) =
        run(engine, server.address, &["--rate", "400", "--duration", "1s", "--timeout", "500ms"]);
    assert_counts(
        &json,
        &[
            ("sent", 400),
            ("answered", 150),
            ("unsynchronised", 100),
            ("lost", 200),
            ("kod_codes.RATE", 50),
            ("invalid", 200),
            ("invalid_reasons.mode", 50),
            ("invalid_reasons.version", 50),
            ("invalid_reasons.length", 50),
            ("invalid_reasons.stamps", 50),
        ],
    );
    // Whether the generator itself was late is up to the machine.
    let warnings = json["warnings"].as_array().expect("a list").iter().filter(|name| *name != "lag");
    assert_eq!(warnings.collect::<Vec<_>>(), ["invalid", "kiss_of_death", "unsynchronised"]);
    assert_eq!(code, 0);
}

/// A server that stands still for 200 ms makes every request of that time wait, not only the one it held in
/// its hands: that is a tenth of the requests of two seconds.
fn latency_counts_from_the_intended_time(engine: &str) {
    let server =
        Server::start(|n| if n == 500 { Deed::Stall(Duration::from_millis(200)) } else { Deed::Answer });
    let (json, code) = run(engine, server.address, &["--rate", "1k", "--duration", "2s"]);
    let latency = |quantile: &str| json["latency_us"]["intended"][quantile].as_f64().unwrap();
    assert!(latency("p99") > 120_000.0, "{:#}", json["latency_us"]);
    assert!(latency("max") >= 199_000.0, "{:#}", json["latency_us"]);
    assert!(latency("p50") < 60_000.0, "{:#}", json["latency_us"]);
    assert_counts(&json, &[("answered", 2_000), ("lost", 0)]);
    assert_eq!(code, 0);
}

fn a_closed_loop_loses_nothing_and_keeps_its_bound(engine: &str) {
    let server = Server::start(|_| Deed::Answer);
    let (json, code) = run(engine, server.address, &["--max", "--outstanding", "8", "--duration", "500ms"]);
    assert_eq!(json["counts"]["answered"], json["counts"]["scheduled"]);
    assert_counts(&json, &[("lost", 0), ("late", 0), ("unsent", 0)]);
    assert!(json["rate"]["answered"].as_f64().unwrap() > 100.0);
    assert_eq!((&json["outstanding"], code), (&Value::from(8), 0));
}

fn nobody_there_is_said_and_ends_early(engine: &str) {
    // Below the range that sockets get their ports from, so no test running beside this one gets it.
    let closed = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let start = Instant::now();
    let closed_port = closed.to_string();
    let output = ntpload(&["run", &closed_port, "--rate", "100", "--duration", "60s", "--engine", engine]);
    assert!(start.elapsed() < Duration::from_secs(20));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("nothing listens there"), "{text}");
    assert_eq!(output.status.code(), Some(1));
    let (json, code) = run(engine, closed, &["--rate", "100", "--duration", "60s", "--warmup", "10s"]);
    assert_eq!(
        (json["warnings"].as_array().unwrap(), code),
        (&vec!["refused".into()], 1),
        "in the warm-up too"
    );

    let silent = Server::start(|_| Deed::Drop);
    let (json, code) =
        run(engine, silent.address, &["--rate", "100", "--duration", "500ms", "--timeout", "100ms"]);
    assert_counts(&json, &[("scheduled", 50), ("answered", 0)]);
    // A busy machine may send less than was scheduled; all that left is lost.
    assert_eq!(json["counts"]["lost"], json["counts"]["sent"]);
    assert_ne!(json["counts"]["sent"], 0);
    assert_eq!((json["warnings"][0].as_str(), code), (Some("no_answer"), 1));
}

fn a_rate_beyond_the_machine_is_the_generators_fault(engine: &str) {
    let server = Server::start(|_| Deed::Answer);
    let options = ["--rate", "50M", "--duration", "20ms", "--timeout", "10ms"];
    let (json, code) = run_strictly(engine, server.address, &options);
    assert_eq!(json["generator_ok"], Value::from(false));
    assert_eq!(json["counts"]["scheduled"], Value::from(1_000_000));
    assert!(json["counts"]["unsent_reasons"]["behind"].as_u64().unwrap() > 0);
    assert!(json["warnings"].as_array().unwrap().contains(&"behind".into()));
    assert_eq!(code, 1);
    assert_eq!(run(engine, server.address, &options).1, 0, "--allow-lag");
}

fn an_interrupted_run_tells_what_it_has(engine: &str) {
    let server = Server::start(|_| Deed::Answer);
    let child = Command::new(env!("CARGO_BIN_EXE_ntpload"))
        .args(["run", &server.address.to_string(), "--rate", "100", "--duration", "60s", "--engine", engine])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    // Twice, as `timeout -s INT` does: first the process, then its group.
    signal(&child, "kill -INT PID; kill -INT PID");
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("(interrupted)") && text.contains("p99"), "{text}");
    assert_eq!(output.status.code(), Some(130));
}

/// Replies that never come are waited for, but not by a user who has had enough.
#[test]
fn a_second_interrupt_ends_it_at_once() {
    let server = Server::start(|_| Deed::Drop);
    let target = server.address.to_string();
    let child = Command::new(env!("CARGO_BIN_EXE_ntpload"))
        .args(["run", &target, "--rate", "10", "--duration", "60s", "--timeout", "60s"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    signal(&child, "kill -INT PID; sleep 1; kill -INT PID");
    let output = child.wait_with_output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
    assert_eq!((output.status.code(), output.stdout), (Some(130), Vec::new()));
}

#[test]
fn an_interrupted_sweep_accounts_for_all_that_was_asked() {
    let asked = Arc::new(AtomicU64::new(0));
    let server = Server::start({
        let asked = Arc::clone(&asked);
        move |_| {
            asked.fetch_add(1, Relaxed);
            Deed::Answer
        }
    });
    let target = server.address.to_string();
    let sweep = ["sweep", &target, "--from", "500", "--to", "700", "--duration", "2s", "--json", "-"];
    let child =
        Command::new(env!("CARGO_BIN_EXE_ntpload")).args(sweep).stdout(Stdio::piped()).spawn().unwrap();
    thread::sleep(Duration::from_secs(3));
    signal(&child, "kill -INT PID");
    let output = child.wait_with_output().unwrap();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["interrupted"], output.status.code()), (&Value::from(true), Some(130)));
    assert_counts(&json, &[("answered", asked.load(Relaxed)), ("lost", 0)]);
    assert!(json["trials"].as_array().unwrap().len() < 2, "{json:#}");
}

/// Runs a shell's command about the process PID.
fn signal(child: &Child, command: &str) {
    let command = command.replace("PID", &child.id().to_string());
    assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
}

/// What nobody may have is refused before anything is sent; what is only not allowed yet is taken.
#[test]
fn clients_are_as_many_as_files_and_ports_allow() {
    let server = Server::start(|_| Deed::Answer);
    let run = format!(
        "{} run {} --rate 1k --duration 200ms --allow-lag --clients 200",
        env!("CARGO_BIN_EXE_ntpload"),
        server.address
    );
    let limited = |limit: &str| {
        let output = Command::new("sh").args(["-c", &format!("ulimit {limit} && {run}")]).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = limited("-S -n 100");
    assert!(code == Some(0) && text.contains("from 200 clients"), "{text}");
    let (code, text) = limited("-n 100");
    assert!(code == Some(1) && text.contains("264 open files") && text.contains("ulimit -n 264"), "{text}");
    let output = ntpload(&["run", "::1", "--rate", "1", "--clients", "70000"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("ip_local_port_range") || said.contains("ulimit"), "{said}");
}

fn a_server_that_answers_garbage_is_told_from_one_that_is_silent(engine: &str) {
    // What looks like a part of a private response, of a control response, of nothing, and nothing at all.
    let server = Server::start(|n| match n % 4 {
        0 => Deed::Patch(0, &[0x97, 0x01]),
        1 => Deed::Patch(0, &[0x16, 0x82, 9, 9]),
        2 => Deed::Patch(24, &[0xFF; 24]),
        _ => Deed::Cut(0),
    });
    let (json, code) =
        run(engine, server.address, &["--rate", "400", "--duration", "1s", "--timeout", "300ms"]);
    let reasons =
        [("invalid_reasons.mode", 200), ("invalid_reasons.origin", 100), ("invalid_reasons.length", 100)];
    assert_counts(&json, &[&[("answered", 0), ("lost", 400), ("invalid", 400)], &reasons[..]].concat());
    let warnings = json["warnings"].as_array().unwrap();
    assert_eq!((&warnings[0], code), (&"no_answer".into(), 1));
    assert!(!warnings.contains(&"unwanted".into()), "{warnings:?}");
    let target = server.address.to_string();
    let output = ntpload(&["run", &target, "--rate", "100", "--duration", "100ms", "--timeout", "100ms"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("what came back is no reply"), "{text}");
}

#[test]
fn a_full_disk_costs_the_file_not_the_result() {
    let server = Server::start(|_| Deed::Answer);
    let target = server.address.to_string();
    let output = ntpload(&["run", &target, "--rate", "100", "--duration", "100ms", "--json", "/dev/full"]);
    let (text, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(text.contains("10 = 10 answered"), "{text}");
    assert!(error.contains("/dev/full") && error.contains("No space left"), "{error}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn command_lines_that_cannot_be_are_refused() {
    for arguments in [
        &["run", "127.0.0.1"][..],
        &["run", "127.0.0.1", "--rate", "1", "--max"],
        &["run", "127.0.0.1", "--rate", "0"],
        &["run", "127.0.0.1", "--rate", "1M", "--timeout", "1h"],
        &["run", "127.0.0.1", "--rate", "1", "--cpus", "100000"],
        &["run", "127.0.0.1", "--rate", "1", "--cpus", "0,0"],
        &["run", "127.0.0.1", "--rate", "1", "--clients", "0"],
        &["run", "8.8.8.8", "--rate", "1"],
        &["run", "192.0.2.1", "--rate", "10001", "--yes-i-operate-this-server"],
        &["run", "192.0.2.1", "--max", "--yes-i-operate-this-server"],
        &["run", "0.0.0.0", "--rate", "1"],
    ] {
        let output = ntpload(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.len() > 20, "{arguments:?} is refused without a sentence");
    }
}

#[test]
fn demo_needs_nothing_and_agrees_with_its_server() {
    let output = ntpload(&["demo", "--rate", "1k", "--duration", "1s"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("1000 = 1000 answered + 0 late + 0 lost"), "{text}");
    assert!(text.contains("1. A steady load") && text.contains("2. Saturation"), "{text}");
    let picture =
        text.lines().last().and_then(|line| line.strip_prefix("picture of the steady load: ")).unwrap();
    let page = std::fs::read_to_string(picture).unwrap();
    std::fs::remove_file(picture).unwrap();
    assert!(page.contains("<svg") && page.contains("Latency by percentile"), "{picture}");
    let counters = text.lines().rev().nth(1).unwrap();
    let numbers: Vec<u64> =
        counters.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    assert_eq!(numbers.len(), 4, "{counters}");
    assert!(numbers.iter().all(|number| number == &numbers[0]) && numbers[0] > 1_000, "{counters}");
}
