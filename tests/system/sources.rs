//! ntpload --sources: one source address per request, out of a prefix that both sides route.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use crate::load::{Chronyd, count, ntpload, result};
use crate::support::namespace::Namespace;
use crate::support::ntp::to_ntp;
use crate::support::scene::{SERVER, Scene};

/// Prefixes of the server's two families, and how an address in them begins.
const PREFIXES: [(&str, &str); 2] = [("10.9.0.0/16", "10.9."), ("fd00:9::/48", "fd00:9:")];

/// Answers everybody on port 123 of one family, and counts who asks.
struct Census {
    asked: Arc<Mutex<HashMap<IpAddr, u64>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Census {
    fn start(namespace: &Namespace, address: &str) -> Self {
        let at = if address.contains(':') { format!("[{address}]:123") } else { format!("{address}:123") };
        let socket = namespace.socket(at);
        socket.set_read_timeout(Some(Duration::from_millis(10))).expect("a read timeout");
        let (asked, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (asked, stop) = (Arc::clone(&asked), Arc::clone(&stop));
            thread::spawn(move || count_them(&socket, &asked, &stop))
        };
        Self { asked, stop, thread: Some(thread) }
    }

    /// Who has asked since the last call, and how often.
    fn take(&self) -> HashMap<IpAddr, u64> {
        std::mem::take(&mut *self.asked.lock().expect("no test panicked while it held it"))
    }
}

impl Drop for Census {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().expect("it is joined once").join().expect("it ended well");
    }
}

fn count_them(socket: &UdpSocket, asked: &Mutex<HashMap<IpAddr, u64>>, stop: &AtomicBool) {
    let mut packet = [0; 48];
    while !stop.load(Relaxed) {
        // Where there is no way back the kernel says so here too.
        let Ok((48, peer)) = socket.recv_from(&mut packet) else { continue };
        *asked.lock().expect("no test panicked while it held it").entry(peer.ip()).or_insert(0) += 1;
        let transmit: [u8; 8] = packet[40..].try_into().expect("eight octets");
        packet[..2].copy_from_slice(&[4 << 3 | 4, 2]);
        packet[24..32].copy_from_slice(&transmit);
        let now = to_ntp(SystemTime::now()).to_be_bytes();
        packet[32..40].copy_from_slice(&now);
        packet[40..].copy_from_slice(&now);
        let _ = socket.send_to(&packet, peer);
    }
}

/// The command after `label` in what ntpload says.
fn command_after<'a>(said: &'a str, label: &str) -> &'a str {
    let rest = said.split(label).nth(1).unwrap_or_else(|| panic!("no \"{label}\" in {said}"));
    rest.lines().next().and_then(|line| line.split("; ").next()).expect("a command").trim()
}

/// Runs the `ip` command that ntpload has named.
fn obey(namespace: &Namespace, command: &str) {
    namespace.ip(command.strip_prefix("ip ").unwrap_or_else(|| panic!("\"{command}\" is no ip command")));
}

#[test]
fn what_ntpload_names_is_all_that_a_prefix_of_sources_takes() {
    const HERE: &str = "here: ";
    const THERE: &str = "on the server: ";
    let Some(scene) = Scene::new() else { return };
    if ntpload("").is_none() {
        return;
    }
    for ((prefix, begins), server) in PREFIXES.into_iter().zip(SERVER) {
        let census = Census::start(&scene.server, server);
        let run = format!("run {server} --rate 4k --duration 1s --allow-lag --sources {prefix}");
        let refused = || {
            let finished = scene.client.run(ntpload(&run).expect("it was found above"));
            assert_eq!(finished.code, Some(1), "{}", finished.text);
            finished.text
        };
        let said = refused();
        let (here, there) = (command_after(&said, HERE).to_owned(), command_after(&said, THERE).to_owned());
        // Only the way back.
        obey(&scene.server, &there);
        let said = refused();
        assert_eq!(command_after(&said, HERE), here);
        obey(&scene.server, &there.replacen("add", "del", 1));
        // Only the way there.
        obey(&scene.client, &here);
        let said = refused();
        assert!(said.contains(&format!("its way back to {prefix} is missing")), "{said}");
        assert!(!said.contains(HERE), "{said}");
        assert_eq!(command_after(&said, THERE), there);
        // Both, and every request comes from somebody else.
        obey(&scene.server, &there);
        census.take();
        let (json, finished) = result(&scene.client, "sources", &run).expect("it was found above");
        assert_eq!((count(&json, "answered"), finished.code), (4_000, Some(0)), "{}", finished.text);
        let asked = census.take();
        let inside = asked.keys().filter(|source| source.to_string().starts_with(begins)).count();
        // One more from the question whether the routes are there.
        assert!(inside == asked.len() && (4_000..=4_001).contains(&inside), "{inside} of {}", asked.len());

        // 1 / (1 + 1/2² + 1/3² + ...) = 61 %.
        result(&scene.client, "sources", &format!("{run} --zipf 2")).expect("it was found above");
        let asked = census.take();
        let most = asked.values().max().expect("somebody asked");
        assert!((2_200..2_700).contains(most) && asked.len() > 20, "{most} by one of {}", asked.len());
    }
}

/// RFC 9769: chronyd keeps what interleaved mode needs for each address, whatever the port.
#[test]
fn sources_that_come_back_ask_in_interleaved_mode() {
    let Some(scene) = Scene::new() else { return };
    if ntpload("").is_none() {
        return;
    }
    let Some(_chronyd) = Chronyd::start(&scene.server, "sources") else { return };
    for (prefix, server, client) in
        [("10.9.0.0/24", SERVER[0], "192.168.0.2"), ("fd00:9::/120", SERVER[1], "fd00::2")]
    {
        scene.client.ip(&format!("route add local {prefix} dev lo"));
        scene.server.ip(&format!("route add {prefix} via {client}"));
        // Each of 256 addresses asks ten times.
        let run = format!("run {server} --rate 1280 --duration 2s --allow-lag --sources {prefix}");
        let (json, finished) =
            result(&scene.client, "interleaved", &format!("{run} --mix interleaved")).expect("it is there");
        let (answered, interleaved) = (count(&json, "answered"), count(&json, "interleaved"));
        assert_eq!(answered, 2_560, "{}", finished.text);
        // All but the first of each address, unless a reply came too late for the next question.
        assert!((2_000..=2_560 - 256).contains(&interleaved), "{interleaved}\n{}", finished.text);
        assert_eq!(count(&json, "invalid"), 0, "{}", finished.text);
    }
}
