//! `ntpload run` with kinds of requests, against servers that treat each kind in a known way.

#![forbid(unsafe_code)]

mod engines;

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use std::{env, fs, process};

use serde_json::Value;
use socket2::SockRef;

use self::engines::on_both_engines;

/// A server that answers each request with the datagrams that `answer` makes of it, until it is dropped.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(answer: impl FnMut(&[u8], SocketAddr) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), answer).unwrap()
    }

    /// An error where this machine has no such address.
    fn start_at(
        address: IpAddr,
        mut answer: impl FnMut(&[u8], SocketAddr) -> Vec<Vec<u8>> + Send + 'static,
    ) -> std::io::Result<Self> {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        // A busy machine must not lose requests that the test has counted on.
        SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let address = socket.local_addr().unwrap();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2_000];
            while !stopped.load(Relaxed) {
                let (length, peer) = match socket.recv_from(&mut buffer) {
                    Ok(received) => received,
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                };
                for reply in answer(&buffer[..length], peer) {
                    socket.send_to(&reply, peer).unwrap();
                }
            }
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

const STAMP: [u8; 8] = 0xE000_0000_0000_0000_u64.to_be_bytes();

/// A time reply: the request's version, stratum 2, one fixed time, origin := transmit.
fn time(request: &[u8], mode: u8) -> Vec<u8> {
    let mut reply = vec![0; 48];
    reply[0] = (request[0] & 0x38) | mode;
    reply[1] = 2;
    reply[24..32].copy_from_slice(&request[40..48]);
    reply[32..40].copy_from_slice(&STAMP);
    reply[40..].copy_from_slice(&STAMP);
    reply
}

/// What a careful server does: time for clients, silence for everything else.
fn careful(request: &[u8], _: SocketAddr) -> Vec<Vec<u8>> {
    let well_formed = request.len() == 48 || request.len() == 76 || request.len() == 92;
    let client = request.first().is_some_and(|first| first & 7 == 3 && (1..=4).contains(&(first >> 3 & 7)));
    // Zeros behind the header are no extension field.
    let fields = request.get(48..52).is_none_or(|field| field != [0; 4]);
    if well_formed && client && fields { vec![time(request, 4)] } else { Vec::new() }
}

fn ntpload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ntpload")).args(arguments).output().unwrap()
}

/// The JSON of a run with these options, and its exit code.
fn run(engine: &str, target: SocketAddr, options: &[&str]) -> (Value, i32) {
    let target = target.to_string();
    let common = ["run", &target, "--json", "-", "--duration", "1s", "--timeout", "1s", "--allow-lag"];
    let options = [&["--engine", engine], options].concat();
    let rate = if options.contains(&"--rate") { &[][..] } else { &["--rate", "1000"] };
    let output = ntpload(&[&common[..], rate, &options].concat());
    let json = serde_json::from_slice(&output.stdout);
    let json = json.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (json, output.status.code().unwrap())
}

fn count(json: &Value, name: &str) -> u64 {
    let pointer = format!("/counts/{}", name.replace('.', "/"));
    json.pointer(&pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{name} in {json:#}"))
}

on_both_engines! {
    every_kind_of_client_gets_its_answer
    silence_is_no_loss_where_it_is_right
    answers_to_probes_are_not_wanted
    probes_alone_are_no_failure_if_nobody_answers_them
    weights_arrive_as_they_were_asked_for
    signed_requests_want_signed_replies
    interleaved_replies_are_known
    some_clients_ask_much_more_by_zipfs_law
    every_request_can_come_from_an_address_of_its_own
    sources_may_be_ipv6_but_not_the_other_family
    captured_requests_are_sent_again
}

fn every_kind_of_client_gets_its_answer(engine: &str) {
    let server = Server::start(careful);
    for kind in ["v1", "v2", "v3", "v4", "ntpd", "minimised", "ef", "interleaved"] {
        let (json, code) = run(engine, server.address, &["--mix", kind]);
        assert_eq!((count(&json, "answered"), code), (1_000, 0), "{kind}: {:#}", json["counts"]);
        assert_eq!(count(&json, "silent") + count(&json, "invalid"), 0, "{kind}");
    }
}

fn silence_is_no_loss_where_it_is_right(engine: &str) {
    let server = Server::start(careful);
    let (json, _) = run(engine, server.address, &["--mix", "hostile"]);
    assert_eq!(count(&json, "lost") + count(&json, "invalid"), 0, "{:#}", json["counts"]);
    assert_eq!(count(&json, "answered") + count(&json, "silent"), 1_000, "{:#}", json["counts"]);
    // A fifth of the hostile profile are clients.
    assert!((150..250).contains(&count(&json, "answered")), "{:#}", json["counts"]);
    assert_eq!(json["loss_ratio"], 0.0);
}

/// A server that answers whatever it gets.
fn answers_to_probes_are_not_wanted(engine: &str) {
    let server = Server::start(|request, _| {
        let mut padded = request.to_vec();
        padded.resize(48, 0);
        match padded[0] & 7 {
            // Three datagrams, as a list of clients may take.
            7 => (0..3).map(|number| vec![0x97, number, 3, 42, 0, 0, 0, 0]).collect(),
            6 => vec![[&[0x16, 0x82][..], &padded[2..12], b"version=\"x\""].concat()],
            1 => vec![time(&padded, 2)],
            _ => vec![time(&padded, 4)],
        }
    });
    for (mix, answered, lost, invalid) in [
        ("mode7", 0, 1_000, 3_000),
        ("truncated", 0, 1_000, 1_000),
        ("garbage", 0, 1_000, 1_000),
        ("mode6", 1_000, 0, 0),
        ("mode1", 1_000, 0, 0),
        ("oversized", 1_000, 0, 0),
    ] {
        let (json, _) = run(engine, server.address, &["--mix", mix]);
        assert_eq!(count(&json, "answered"), answered, "{mix}: {:#}", json["counts"]);
        assert_eq!(count(&json, "lost"), lost, "{mix}: {:#}", json["counts"]);
        assert_eq!(count(&json, "invalid_reasons.unwanted"), invalid, "{mix}: {:#}", json["counts"]);
        assert_eq!(count(&json, "silent"), 0, "{mix}");
    }
}

fn probes_alone_are_no_failure_if_nobody_answers_them(engine: &str) {
    let server = Server::start(careful);
    let (json, code) = run(engine, server.address, &["--mix", "mode7,truncated", "--rate", "100"]);
    assert_eq!((count(&json, "silent"), code), (100, 0), "{json:#}");
    let server = Server::start(|request, _| vec![[&[0x16, 0x82][..], &request[2..12]].concat()]);
    let (json, code) = run(engine, server.address, &["--mix", "mode6", "--rate", "100"]);
    assert_eq!((count(&json, "answered"), code), (100, 0), "{json:#}");
    assert!(json["warnings"].as_array().unwrap().contains(&"control_answered".into()), "{json:#}");
}

fn weights_arrive_as_they_were_asked_for(engine: &str) {
    let versions = Arc::new([const { std::sync::atomic::AtomicU64::new(0) }; 8]);
    let seen = Arc::clone(&versions);
    let server = Server::start(move |request, peer| {
        seen[usize::from(request[0] >> 3 & 7)].fetch_add(1, Relaxed);
        careful(request, peer)
    });
    let (json, _) = run(engine, server.address, &["--mix", "v4=80,v3=20", "--rate", "5000"]);
    assert_eq!(count(&json, "answered"), 5_000);
    let [v3, v4] = [3, 4].map(|version: usize| versions[version].load(Relaxed));
    assert_eq!(v3 + v4, 5_000);
    assert!(v3.abs_diff(1_000) < 150, "{v3} of version 3");
}

fn signed_requests_want_signed_replies(engine: &str) {
    let file = env::temp_dir().join(format!("ntpload-keys-{engine}-{}", process::id()));
    fs::write(&file, "7 MD5 secret\n").unwrap();
    let key = format!("{}:7", file.display());
    // Bare time, a crypto-NAK, and a code that is no code.
    let mut number = 0;
    let server = Server::start(move |request, _| {
        assert_eq!((request.len(), &request[48..52]), (68, &[0, 0, 0, 7][..]));
        number += 1;
        let tail: &[u8] = [&[][..], &[0; 4], &[9; 20]][number % 3];
        vec![[&time(request, 4)[..], tail].concat()]
    });
    let (json, code) = run(engine, server.address, &["--mix", "mac", "--key", &key, "--rate", "900"]);
    assert_eq!((count(&json, "lost"), code), (900, 1), "{:#}", json["counts"]);
    assert_eq!(count(&json, "invalid_reasons.mac"), 600);
    assert_eq!(count(&json, "invalid_reasons.crypto_nak"), 300);
    fs::remove_file(&file).unwrap();
    let output = ntpload(&["run", "127.0.0.1", "--rate", "1", "--mix", "mac"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--key FILE:ID"));
}

/// RFC 9769 §2: origin := the request's receive timestamp, transmit := when the reply before left.
fn interleaved_replies_are_known(engine: &str) {
    let mut clients = HashMap::new();
    let mut clock = 0xE000_0000_0000_0000_u64;
    let server = Server::start(move |request, peer| {
        clock += 1 << 20;
        let mut reply = time(request, 4);
        let origin = u64::from_be_bytes(request[24..32].try_into().unwrap());
        if clients.insert(peer, clock) == Some(origin) {
            reply[24..32].copy_from_slice(&request[32..40]);
        }
        reply[32..40].copy_from_slice(&clock.to_be_bytes());
        reply[40..].copy_from_slice(&(clock + 1).to_be_bytes());
        vec![reply]
    });
    let options = ["--mix", "interleaved", "--rate", "200", "--clients", "4"];
    let (json, _) = run(engine, server.address, &options);
    assert_eq!(count(&json, "answered"), 200, "{:#}", json["counts"]);
    // All but the first of each client, unless two were on their way at once on a busy machine.
    assert!(count(&json, "interleaved") >= 150, "{:#}", json["counts"]);
}

fn some_clients_ask_much_more_by_zipfs_law(engine: &str) {
    let counts = Arc::new(Mutex::new(HashMap::new()));
    let seen = Arc::clone(&counts);
    let server = Server::start(move |request, peer| {
        *seen.lock().unwrap().entry(peer).or_insert(0) += 1;
        careful(request, peer)
    });
    run(engine, server.address, &["--zipf", "1", "--clients", "64"]);
    let mut counts: Vec<u32> = counts.lock().unwrap().values().copied().collect();
    counts.sort_unstable();
    // 1 / (1 + 1/2 + ... + 1/64) = 21 %.
    let most = counts.last().unwrap();
    assert!((150..280).contains(most), "{counts:?}");
    assert!(counts.len() > 40 && counts[0] < 20, "{counts:?}");
}

/// All of 127.0.0.0/8 is routed to this machine.
fn every_request_can_come_from_an_address_of_its_own(engine: &str) {
    let sources = Arc::new(Mutex::new(HashMap::new()));
    let seen = Arc::clone(&sources);
    let server = Server::start(move |request, peer| {
        *seen.lock().unwrap().entry(peer.ip()).or_insert(0) += 1;
        careful(request, peer)
    });
    let (json, code) = run(engine, server.address, &["--sources", "127.9.0.0/16", "--clients", "4"]);
    assert_eq!((count(&json, "answered"), code), (1_000, 0), "{:#}", json["counts"]);
    {
        let sources = sources.lock().unwrap();
        // One more from the search for the route.
        assert!((1_000..=1_001).contains(&sources.len()), "{} sources", sources.len());
        let inside = |ip: &IpAddr| matches!(ip, IpAddr::V4(v4) if v4.octets()[..2] == [127, 9]);
        assert!(sources.keys().all(inside));
    }
    sources.lock().unwrap().clear();
    run(engine, server.address, &["--sources", "127.9.0.0/28", "--zipf", "2"]);
    let sources = sources.lock().unwrap();
    // 1 / (1 + 1/4 + 1/9 + ... + 1/256) = 63 %.
    let most = sources.values().max().unwrap();
    assert!(sources.len() <= 16 && (550..710).contains(most), "{sources:?}");
}

fn sources_may_be_ipv6_but_not_the_other_family(engine: &str) {
    let v4 = Server::start(careful);
    let target = v4.address.to_string();
    let output = ntpload(&["run", &target, "--rate", "1", "--sources", "fd00::/64"]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    match Server::start_at(Ipv6Addr::LOCALHOST.into(), careful) {
        Err(error) => println!("skipped: this machine has no ::1: {error}"),
        Ok(server) => {
            let (json, code) = run(engine, server.address, &["--sources", "::1/128"]);
            assert_eq!((count(&json, "answered"), code), (1_000, 0), "{:#}", json["counts"]);
        }
    }
}

fn captured_requests_are_sent_again(engine: &str) {
    let file = env::temp_dir().join(format!("ntpload-replay-{engine}-{}.pcap", process::id()));
    let mut pcap = Vec::new();
    for word in [0xA1B2_C3D4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        pcap.extend(word.to_le_bytes());
    }
    for (port, first) in [(123_u16, 0x1B_u8), (123, 0xDB), (9, 0x23)] {
        let mut packet = vec![0; 28];
        packet[0] = 0x45;
        packet[9] = 17;
        packet[22..24].copy_from_slice(&port.to_be_bytes());
        packet[24..26].copy_from_slice(&56_u16.to_be_bytes());
        packet.push(first);
        packet.extend([7; 47]);
        for word in [0, 0, packet.len() as u32, packet.len() as u32] {
            pcap.extend(word.to_le_bytes());
        }
        pcap.extend(packet);
    }
    fs::write(&file, pcap).unwrap();
    let mut number = 0;
    let server = Server::start(move |request, peer| {
        assert_eq!((request[0], request[1]), (if number % 2 == 0 { 0x1B } else { 0xDB }, 7));
        number += 1;
        careful(request, peer)
    });
    let (json, code) = run(engine, server.address, &["--replay", file.to_str().unwrap()]);
    assert_eq!((count(&json, "answered"), code), (1_000, 0), "{:#}", json["counts"]);
    fs::write(&file, "not a capture").unwrap();
    let output = ntpload(&["run", "127.0.0.1", "--rate", "1", "--replay", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no pcap file"));
    fs::remove_file(&file).unwrap();
}

#[test]
fn mixes_that_cannot_be_are_refused() {
    for arguments in [
        &["--rate", "1", "--mix", "v9"][..],
        &["--rate", "1", "--mix", "v4=0"],
        &["--rate", "1", "--zipf", "0"],
        &["--rate", "1", "--mix", "v4", "--replay", "/none"],
        &["--rate", "1", "--replay", "/none"],
        &["--max", "--mix", "mode7"],
        &["--rate", "1", "--mix", "mac", "--key", "/none:1"],
    ] {
        let output = ntpload(&[&["run", "127.0.0.1"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.len() > 20, "{arguments:?} is refused without a sentence");
    }
}
