//! What `--engine` promises beside what every run does: stamps, many sockets, and a way where io_uring is
//! forbidden.

mod engines;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::Value;
use socket2::SockRef;

use self::engines::on_both_engines;
use self::engines::skip::skip;

on_both_engines! {
    stamped_requests_are_as_many_as_was_asked_for
    ten_thousand_sockets_are_served
}

/// A server that answers at once, until it is dropped.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        // A busy machine must not lose requests that the test has counted on.
        SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut request = [0; 48];
            while !stopped.load(Relaxed) {
                let peer = match socket.recv_from(&mut request) {
                    Ok((_, peer)) => peer,
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        continue;
                    }
                    Err(error) => panic!("{error}"),
                };
                let mut reply = [0; 48];
                (reply[0], reply[1], reply[32], reply[40]) = (0b00_100_100, 2, 0xE0, 0xE0);
                reply[24..32].copy_from_slice(&request[40..48]);
                socket.send_to(&reply, peer).unwrap();
            }
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

fn ntpload(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ntpload")).args(arguments).output().unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

fn stamped_requests_are_as_many_as_was_asked_for(engine: &str) {
    let server = Server::start();
    let target = server.address.to_string();
    for (stamps, expected) in [("all", 1_000), ("8", 125), ("off", 0)] {
        let run = ["run", &target, "--rate", "1k", "--duration", "1s", "--allow-lag", "--json", "-"];
        let result = json(&ntpload(&[&run[..], &["--engine", engine, "--tx-stamps", stamps]].concat()));
        assert_eq!(result["counts"]["answered"], 1_000, "{:#}", result["counts"]);
        assert_eq!(result["counts"]["unstamped"], 0, "{:#}", result["counts"]);
        assert_eq!(result["latency_us"]["wire"]["count"], expected, "--tx-stamps {stamps}");
        // The server's time is not this machine's, but it was told for each of them.
        assert_eq!(result["offset_us"]["count"], expected, "--tx-stamps {stamps}");
    }
}

fn ten_thousand_sockets_are_served(engine: &str) {
    const OPEN_FILES: &str = "ulimit -n 10200 2>/dev/null && exec \"$@\"";
    let allowed = Command::new("sh").args(["-c", OPEN_FILES, "sh", "true"]).status().unwrap().success();
    if !allowed {
        return skip("files", "this shell may not open 10200 files: raise the hard limit (ulimit -Hn)");
    }
    let server = Server::start();
    let output = Command::new("sh")
        .args(["-c", OPEN_FILES, "sh", env!("CARGO_BIN_EXE_ntpload"), "run", &server.address.to_string()])
        .args(["--clients", "10000", "--rate", "10k", "--duration", "2s", "--timeout", "2s", "--allow-lag"])
        .args(["--engine", engine, "--json", "-"])
        .output()
        .unwrap();
    let result = json(&output);
    for (name, count) in [("sent", 20_000), ("answered", 20_000), ("local_drops", 0), ("unsolicited", 0)] {
        assert_eq!(result["counts"][name], count, "{name} of {:#}", result["counts"]);
    }
    assert_eq!(result["engine"], engine);
}

/// Runs ntpload where a seccomp filter, like that of a container, refuses io_uring; `None` with a skip where
/// filters are not permitted.
fn confined(arguments: &[&str]) -> Option<Output> {
    let filter = SeccompFilter::new(
        [(libc::SYS_io_uring_setup, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.cast_unsigned()),
        std::env::consts::ARCH.try_into().expect("an architecture that the filter compiler knows"),
    );
    let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
    // A filter belongs to the thread, and to what it starts.
    let output = thread::scope(|scope| {
        let run = || seccompiler::apply_filter(&program).map(|()| ntpload(arguments));
        scope.spawn(run).join().unwrap()
    });
    match output {
        Ok(output) => Some(output),
        Err(error) => {
            skip("seccomp", &format!("cannot install a seccomp filter: {error}"));
            None
        }
    }
}

#[test]
fn where_io_uring_is_forbidden_that_is_said_once() {
    let server = Server::start();
    let target = server.address.to_string();
    // Several trials of a thread each.
    let sweep = [
        "sweep",
        &target,
        "--from",
        "500",
        "--to",
        "1k",
        "--duration",
        "200ms",
        "--confirmations",
        "1",
        "--json",
        "-",
    ];
    let Some(output) = confined(&sweep) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("io_uring is not available").count(), 1, "{said}");
    assert!(
        said.contains("a seccomp filter forbids it") && said.contains("using recvmmsg and sendmmsg"),
        "{said}"
    );
    let result = json(&output);
    assert_eq!(result["engine"], "mmsg");
    assert!(result["trials"].as_array().unwrap().len() >= 2, "{result:#}");
    assert!(result["trials"][0]["counts"]["answered"].as_u64().unwrap() > 0, "{result:#}");

    let run = ["run", &target, "--rate", "100", "--duration", "100ms", "--engine"];
    let Some(output) = confined(&[&run[..], &["io_uring"]].concat()) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("io_uring is not available") && output.stdout.is_empty(), "{said}");
    let Some(output) = confined(&[&run[..], &["mmsg"]].concat()) else { return };
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let Some(output) = confined(&["demo", "--rate", "200", "--duration", "200ms"]) else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("io_uring is not available").count(), 1, "server and generator: {said}");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("(mmsg), ntpload asks") && text.contains("40 = 40 answered"), "{text}");
    let picture = text.lines().last().and_then(|line| line.strip_prefix("picture of the steady load: "));
    std::fs::remove_file(picture.expect("a picture")).unwrap();
}
