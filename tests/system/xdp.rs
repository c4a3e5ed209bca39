//! Answers in the network driver, as the whole daemon gives them: real clients across a veth, whose other end
//! has a program too, because without one a veth loses every reply; and interfaces that come and go.

use std::fs;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ntpring::sys::link;
use ntpring::xdp::{Attachment, Mode, Program};

use crate::support::clients::{client, find, python};
use crate::support::daemon::{Counters, Daemon, ntpring, status_field};
use crate::support::namespace::{Finished, Namespace, command, has_other_users};
use crate::support::ntp::{Reply, ask, reply, request, seconds_between, to_ntp};
use crate::support::scene::{SCRATCH, SEED, SERVER, Scene};
use crate::support::skip::skip;

const SECOND: Duration = Duration::from_secs(1);
/// Long enough for the daemon to look around twice.
const NOTICED: Duration = Duration::from_secs(3);

/// A scene whose client can receive what a driver sends.
pub(crate) struct Driven {
    pub(crate) scene: Scene,
    _peer: Attachment,
}

impl Driven {
    pub(crate) fn new() -> Option<Self> {
        let scene = Scene::new()?;
        let _peer = pass_everything(&scene.client, "lan")?;
        Some(Self { scene, _peer })
    }

    pub(crate) fn serve(&self, options: &str) -> Daemon {
        Daemon::start(&self.scene.server, &format!("serve -c {SEED} {options}"))
    }
}

/// Attaches a program that passes everything; None, with a skip, where this process may not.
pub(crate) fn pass_everything(namespace: &Namespace, interface: &'static str) -> Option<Attachment> {
    let attached = namespace.inside(move || {
        let index = link::state(interface).expect("the interface is there").index;
        let (mut program, _feed) = Program::load()?;
        program.attach(index, Mode::Native)
    });
    const EPERM: i32 = 1;
    match attached {
        Ok(attachment) => Some(attachment),
        Err(error) if error.errno() == Some(EPERM) => {
            skip("bpf", "this process may not load programs into the kernel: run as root");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// What the driver answered.
pub(crate) fn in_driver(counters: &Counters) -> u64 {
    counters.0["xdp"]["answered"].as_u64().unwrap_or_else(|| panic!("no xdp in {counters:?}"))
}

fn is_attached(daemon: &Daemon) -> bool {
    daemon.counters().0["xdp"]["interfaces"][0]["mode"] == "native"
}

/// Waits until the daemon says that the program is on its interface, or is not.
fn wait_until_attached(daemon: &Daemon, attached: bool) {
    let deadline = Instant::now() + 10 * SECOND;
    while is_attached(daemon) != attached {
        assert!(Instant::now() < deadline, "attached: {}\n{}", !attached, daemon.text());
        thread::sleep(Duration::from_millis(50));
    }
}

/// Whether the kernel has a program on the server's end of the link.
pub(crate) fn has_program(namespace: &Namespace, interface: &str) -> bool {
    namespace.ip(&format!("-details link show dev {interface}")).contains("prog/xdp")
}

#[test]
fn plain_requests_never_reach_a_socket_and_get_the_same_reply() {
    let Some(driven) = Driven::new() else { return };
    let daemon = driven.serve("--xdp native -i lan");
    let line = daemon.ready_line();
    for word in ["tier xdp native on lan, then ", "firewall rules, rp_filter and captures do not see"] {
        assert!(line.contains(word), "{word} in {line}");
    }
    for (any, server) in [("0.0.0.0:0", "192.168.0.1:123"), ("[::]:0", "[fd00::1]:123")] {
        let socket = driven.scene.client.socket(any);
        for version in 1..=4 {
            let sent = to_ntp(std::time::SystemTime::now());
            socket.send_to(&request(version, sent), server).expect("a request leaves");
            let reply = reply(&socket).unwrap_or_else(|| panic!("no reply to version {version}"));
            assert_eq!(
                (reply.leap, reply.version, reply.mode, reply.stratum, reply.refid, reply.origin),
                (0, version, 4, 4, [127, 127, 1, 0], sent)
            );
            assert!((0.0..0.005).contains(&seconds_between(sent, reply.receive)), "{reply:?}");
            assert!((0.0..0.001).contains(&seconds_between(reply.receive, reply.transmit)), "{reply:?}");
        }
    }
    let counters = daemon.counters();
    assert_eq!((in_driver(&counters), counters.get("received"), counters.get("answered")), (8, 8, 8));
    assert_eq!(counters.per_worker("received").iter().sum::<u64>(), 0, "{counters:?}");
    let sent_back = counters.0["xdp"]["interfaces"][0]["driver"]["xdp_tx"].as_u64();
    assert_eq!(sent_back, Some(8), "the driver counts them too: {counters:?}");
}

#[test]
fn o7_what_the_driver_passes_up_is_counted_once() {
    let Some(driven) = Driven::new() else { return };
    let daemon = driven.serve("--xdp native -i lan");
    let socket = driven.scene.client.socket("0.0.0.0:0");
    let mut packets: Vec<Vec<u8>> = (1..=4).map(|version| request(version, 1).to_vec()).collect();
    for (first, length) in
        [(0x23, 47), (0x2b, 48), (0x24, 48), (0x27, 48), (0x23, 50), (0x23, 68), (0x16, 12)]
    {
        let mut packet = [0; 80];
        packet[0] = first;
        packets.push(packet[..length].to_vec());
    }
    // The mode that the first NTP clients had.
    packets.push(request(1, 1).map(|octet| if octet == 0x0B { 0x08 } else { octet }).to_vec());
    for packet in &packets {
        socket.send_to(packet, "192.168.0.1:123").expect("a datagram leaves");
    }
    let counters = daemon.counters_when(|counters| counters.get("received") == packets.len() as u64);
    assert_eq!(in_driver(&counters), 4, "{counters:?}");
    assert_eq!(counters.get("answered"), 5, "{counters:?}");
    let accounted = counters.get("answered") + counters.get("forwarded") + counters.dropped();
    assert_eq!(counters.get("received"), accounted, "every datagram has one fate: {counters:?}");
    assert_eq!(counters.0["xdp"]["passed"]["mode"], 4, "{counters:?}");
}

#[test]
fn metrics_have_the_tier_beside_the_others() {
    let Some(driven) = Driven::new() else { return };
    let _daemon = driven.serve("--xdp native -i lan --metrics 127.0.0.1:9123");
    for _ in 0..3 {
        ask(&driven.scene.client.socket("0.0.0.0:0"), "192.168.0.1:123").expect("a reply");
    }
    let mut curl = command("sh");
    curl.args([
        "-c",
        "exec 3<>/dev/tcp/127.0.0.1/9123; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3",
    ]);
    let mut bash = command("bash");
    bash.args(curl.get_args().skip_while(|word| *word != "-c"));
    let text = driven.scene.server.run(bash).text;
    for line in [
        "ntpring_answered_total{tier=\"xdp\"} 3",
        "ntpring_received_total{tier=\"xdp\"} 3",
        "ntpring_replies_total{tier=\"xdp\",version=\"4\"} 3",
        "ntpring_xdp_passed_total{reason=\"limited\"} 0",
        "ntpring_xdp_attached{interface=\"lan\",mode=\"native\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
}

#[test]
fn chronyd_is_content_with_the_driver_s_replies() {
    if find("chrony", "chronyd").is_none() {
        return;
    }
    let Some(driven) = Driven::new() else { return };
    let daemon = driven.serve("--xdp native -i lan");
    for address in SERVER {
        let mut chronyd = client("chrony", "chronyd").expect("it was found above");
        chronyd.args([
            "-U",
            "-u",
            "root",
            "-Q",
            "-t",
            "10",
            &format!("server {address} iburst maxsamples 2"),
        ]);
        let Finished { code, text } = driven.scene.client.run(chronyd);
        assert_eq!(code, Some(0), "{text}\n{}", daemon.text());
        let offset = text.split("System clock wrong by ").nth(1).and_then(|rest| rest.split(' ').next());
        let offset: f64 = offset.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{text}"));
        assert!(offset.abs() < 0.01, "{text}");
    }
    assert!(in_driver(&daemon.counters()) >= 4);
}

#[test]
fn ntpdig_is_content_with_the_driver_s_replies() {
    if find("ntpsec", "ntpdig").is_none() {
        return;
    }
    let Some(driven) = Driven::new() else { return };
    let daemon = driven.serve("--xdp native -i lan");
    for address in SERVER {
        let mut ntpdig = client("ntpsec", "ntpdig").expect("it was found above");
        ntpdig.arg(address);
        let Finished { code, text } = driven.scene.client.run(ntpdig);
        assert_eq!(code, Some(0), "{text}\n{}", daemon.text());
        assert!(text.contains(&format!("{address} s4 no-leap")), "{text}");
    }
    assert_eq!(in_driver(&daemon.counters()), 2);
}

#[test]
fn ntplib_reads_the_driver_s_replies_in_every_version() {
    const SCRIPT: &str = "
import ntplib
for host in 'HOSTS'.split():
    for version in 1, 2, 3, 4:
        r = ntplib.NTPClient().request(host, version=version, timeout=3)
        refid = ntplib.ref_id_to_text(r.ref_id, r.stratum)
        print(r.version, r.leap, r.stratum, refid, ntplib.mode_to_text(r.mode), abs(r.offset) < 0.05)
";
    let script = SCRIPT.replace("HOSTS", &SERVER.join(" "));
    let Some(ntplib) = python("ntplib", "ntplib", &script) else { return };
    let Some(driven) = Driven::new() else { return };
    let daemon = driven.serve("--xdp native -i lan");
    let Finished { code, text } = driven.scene.client.run(ntplib);
    let one_host = [1, 2, 3, 4].map(|version| format!("{version} 0 4 127.127.1.0 server True\n")).concat();
    assert_eq!((code, text), (Some(0), one_host.repeat(2)), "{}", daemon.text());
    assert_eq!(in_driver(&daemon.counters()), 8);
}

/// Sends so many requests at once; what came back.
fn burst(socket: &UdpSocket, count: u64) -> Vec<Reply> {
    for cookie in 1..=count {
        socket.send_to(&request(4, cookie), "192.168.0.1:123").expect("a request leaves");
    }
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    std::iter::from_fn(|| reply(socket)).collect()
}

#[test]
fn k7_both_tiers_together_give_one_bucket_of_answers() {
    let Some(driven) = Driven::new() else { return };
    let conf = format!("{SCRATCH}/xdp-limited.conf");
    let text = fs::read_to_string(SEED).expect("the seed");
    fs::write(&conf, format!("{text}\nrestrict default kod limited nomodify notrap nopeer noquery\n"))
        .expect("a scratch file");
    let daemon = Daemon::start(&driven.scene.server, &format!("serve -c {conf} --xdp native -i lan"));
    let replies = burst(&driven.scene.client.socket("0.0.0.0:0"), 60);
    let (kisses, answers): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.stratum == 0);
    assert_eq!(kisses.len(), 1, "the sockets say so once: {replies:?}");
    assert_eq!((&kisses[0].refid, kisses[0].origin), (b"RATE", 21), "to the first beyond the limit");
    let counters = daemon.counters_when(|counters| counters.get("received") == 60);
    assert_eq!(in_driver(&counters), 20, "{counters:?}");
    // A quarter of the other 39 leaks.
    assert!((20..=39).contains(&answers.len()), "{} answers", answers.len());
    assert_eq!(counters.get("answered"), replies.len() as u64);
    assert_eq!(counters.0["xdp"]["passed"]["limited"], 40, "{counters:?}");
}

#[test]
fn a_reload_reaches_the_driver() {
    let Some(driven) = Driven::new() else { return };
    let conf = format!("{SCRATCH}/xdp-reload.conf");
    let seed = fs::read_to_string(SEED).expect("the seed");
    fs::write(&conf, &seed).expect("a scratch file");
    let daemon = Daemon::start(&driven.scene.server, &format!("serve -c {conf} --xdp native -i lan"));
    let socket = driven.scene.client.socket("0.0.0.0:0");
    assert!(ask(&socket, "192.168.0.1:123").is_some());
    for (line, answered) in [("restrict 192.168.0.2 ignore", false), ("restrict 192.168.0.2", true)] {
        fs::write(&conf, format!("{seed}\n{line}\n")).expect("a scratch file");
        let from = daemon.lines();
        daemon.signal(Signal::SIGHUP);
        assert!(
            daemon.line(from, NOTICED, |line| line.contains("is in force")).is_some(),
            "{}",
            daemon.text()
        );
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        thread::sleep(Duration::from_millis(200));
        assert_eq!(ask(&socket, "192.168.0.1:123").is_some(), answered, "{line}");
    }
    let counters = daemon.counters();
    assert_eq!((in_driver(&counters), counters.dropped_for("ignored")), (2, 1), "{counters:?}");
}

#[test]
fn an_interface_that_goes_down_and_up_is_answered_again() {
    let Some(driven) = Driven::new() else { return };
    let daemon = driven.serve("--xdp native -i lan");
    let socket = driven.scene.client.socket("0.0.0.0:0");
    for _ in 0..3 {
        assert!(ask(&socket, "192.168.0.1:123").is_some());
        driven.scene.server.ip("link set lan down");
        driven.scene.server.ip("link set lan up");
        let deadline = Instant::now() + 5 * SECOND;
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        while ask(&socket, "192.168.0.1:123").is_none() {
            assert!(Instant::now() < deadline, "{}", daemon.text());
        }
    }
    assert!(has_program(&driven.scene.server, "lan"));
    assert!(in_driver(&daemon.counters()) >= 4);
}

#[test]
fn an_interface_that_is_deleted_and_made_again_is_answered_again() {
    let Some(driven) = Driven::new().filter(|_| has_other_users()) else { return };
    // Another user, who has no capability left: what was loaded needs none.
    let daemon = driven.serve("--xdp auto -i lan -u nobody");
    let Driven { scene, _peer: peer } = driven;
    assert!(ask(&scene.client.socket("0.0.0.0:0"), "192.168.0.1:123").is_some());
    scene.server.ip("link del lan");
    drop(peer);
    wait_until_attached(&daemon, false);

    scene.server.connect("lan", &scene.client, "lan");
    scene.server.address("lan", "192.168.0.1/24");
    scene.client.address("lan", "192.168.0.2/24");
    let _peer = pass_everything(&scene.client, "lan").expect("as before");
    wait_until_attached(&daemon, true);
    assert!(ask(&scene.client.socket("0.0.0.0:0"), "192.168.0.1:123").is_some());
    assert_eq!(in_driver(&daemon.counters()), 2, "{}", daemon.text());
    for (thread, status) in daemon.threads() {
        assert_eq!(status_field(&status, "CapEff"), "0000000000000000", "{thread}");
    }
}

#[test]
fn frames_are_taken_at_the_address_that_the_interface_has_now() {
    let Some(driven) = Driven::new() else { return };
    let daemon = driven.serve("--xdp native -i lan");
    let socket = driven.scene.client.socket("0.0.0.0:0");
    assert!(ask(&socket, "192.168.0.1:123").is_some());
    driven.scene.server.ip("link set lan address 02:00:00:00:77:01");
    driven.scene.client.ip("neigh flush dev lan");
    assert!(ask(&socket, "192.168.0.1:123").is_some(), "by the sockets, or the driver if it knows already");
    thread::sleep(NOTICED);
    let before = in_driver(&daemon.counters());
    assert!(ask(&socket, "192.168.0.1:123").is_some());
    assert_eq!(in_driver(&daemon.counters()), before + 1, "{}", daemon.text());
}

#[test]
fn an_address_that_comes_and_goes_is_served_while_it_is_there() {
    let Some(driven) = Driven::new() else { return };
    let daemon = driven.serve("--xdp native -i lan");
    driven.scene.server.address("lan", "192.168.0.77/24");
    thread::sleep(NOTICED);
    let socket = driven.scene.client.socket("0.0.0.0:0");
    assert!(ask(&socket, "192.168.0.77:123").is_some());
    assert_eq!(in_driver(&daemon.counters()), 1);
    driven.scene.server.ip("addr del 192.168.0.77/24 dev lan");
    thread::sleep(NOTICED);
    assert!(ask(&socket, "192.168.0.77:123").is_none(), "it is nobody's address now");
}

#[test]
fn a_second_daemon_does_not_replace_the_first_one_s_program() {
    let Some(driven) = Driven::new() else { return };
    let first = driven.serve("--xdp native -i lan");
    let refused = "serve -l 0.0.0.0:11123 --xdp native -i lan";
    let mut second = Daemon::spawn(&driven.scene.server, ntpring(refused.split(' ')));
    let end = second.end(5 * SECOND).expect("it ends");
    assert_eq!(end.code(), Some(1), "{}", second.text());
    assert!(second.text().contains("lan has another XDP program, which stays"), "{}", second.text());

    let second = Daemon::start(&driven.scene.server, "serve -l 0.0.0.0:11123 --xdp auto -i lan");
    assert!(second.text().contains("lan has another XDP program, which stays"), "{}", second.text());
    let socket = driven.scene.client.socket("0.0.0.0:0");
    assert!(ask(&socket, "192.168.0.1:123").is_some());
    assert!(ask(&socket, "192.168.0.1:11123").is_some());
    assert_eq!(in_driver(&first.counters()), 1);
    assert_eq!(second.counters().get("received"), 1);

    // Once the place is free, the one that waits for it takes it.
    drop(first);
    wait_until_attached(&second, true);
    assert!(ask(&socket, "192.168.0.1:11123").is_some());
    assert_eq!(in_driver(&second.counters()), 1);
}

#[test]
fn killed_under_load_it_leaves_no_program_and_no_wedged_link() {
    let Some(driven) = Driven::new() else { return };
    let socket = driven.scene.client.socket("0.0.0.0:0");
    for _ in 0..3 {
        let daemon = driven.serve("--xdp native -i lan");
        assert!(ask(&socket, "192.168.0.1:123").is_some());
        let load = driven.scene.client.socket("0.0.0.0:0");
        let loader = thread::spawn(move || {
            for cookie in 0..200_000_u64 {
                // Refused while nobody listens.
                let _ = load.send_to(&request(4, cookie), "192.168.0.1:123");
            }
        });
        thread::sleep(Duration::from_millis(100));
        daemon.signal(Signal::SIGKILL);
        drop(daemon);
        let deadline = Instant::now() + 2 * SECOND;
        while has_program(&driven.scene.server, "lan") {
            assert!(Instant::now() < deadline, "the program outlives its daemon");
            thread::sleep(Duration::from_millis(10));
        }
        loader.join().expect("the load ends");
    }
    // The link still carries what sockets send.
    let daemon = driven.serve("");
    assert!(ask(&socket, "192.168.0.1:123").is_some(), "{}", daemon.text());
    // A worker counts once its batch is over.
    daemon.counters_when(|counters| counters.get("received") == 1);
}

#[test]
fn a_stopped_daemon_s_clock_is_believed_for_seconds_only() {
    let Some(driven) = Driven::new() else { return };
    let daemon = driven.serve("--xdp native -i lan");
    let socket = driven.scene.client.socket("0.0.0.0:0");
    assert!(ask(&socket, "192.168.0.1:123").is_some());
    daemon.signal(Signal::SIGSTOP);
    assert!(ask(&socket, "192.168.0.1:123").is_some(), "a short pause is no trouble");
    thread::sleep(4 * SECOND);
    assert!(ask(&socket, "192.168.0.1:123").is_none());
    daemon.signal(Signal::SIGCONT);
    assert!(reply(&socket).is_some(), "the sockets answer what was waiting");
    thread::sleep(2 * SECOND);
    assert!(ask(&socket, "192.168.0.1:123").is_some());
    assert_eq!(in_driver(&daemon.counters()), 3);
}

#[test]
fn an_unsynchronised_daemon_says_so_in_the_driver_too() {
    let Some(driven) = Driven::new() else { return };
    let conf = format!("{SCRATCH}/xdp-unsynchronised.conf");
    fs::write(&conf, "# no clock\n").expect("a scratch file");
    let daemon = Daemon::start(&driven.scene.server, &format!("serve -c {conf} --xdp native -i lan"));
    let reply = ask(&driven.scene.client.socket("0.0.0.0:0"), "192.168.0.1:123").expect("a reply");
    assert_eq!((reply.leap, reply.stratum, &reply.refid), (3, 0, b"INIT"));
    assert_eq!(in_driver(&daemon.counters()), 1);
}

#[test]
fn vlans_are_answered_where_the_driver_leaves_the_tags_in_place() {
    let Some(driven) = Driven::new().filter(|_| find("ethtool", "ethtool").is_some()) else { return };
    let Scene { server, client } = &driven.scene;
    let mut add = command("ip");
    add.args("link add link lan name lan.7 type vlan id 7".split(' '));
    if server.run(add).code != Some(0) {
        return skip("vlan", "this kernel has no VLANs (8021q)");
    }
    client.ip("link add link lan name lan.7 type vlan id 7");
    for (namespace, host) in [(server, "10.9.0.1"), (client, "10.9.0.2")] {
        namespace.ip("link set lan.7 up");
        namespace.address("lan.7", &format!("{host}/24"));
    }
    let hidden = ntpring(format!("serve -c {SEED} --xdp native -i lan").split(' '));
    let mut hidden = Daemon::spawn(server, hidden);
    assert_eq!(hidden.end(5 * SECOND).expect("it ends").code(), Some(1), "{}", hidden.text());
    assert!(hidden.text().contains("ethtool -K lan rxvlan off"), "{}", hidden.text());

    for namespace in [server, client] {
        let mut offload = command("ethtool");
        offload.args(["-K", "lan", "rxvlan", "off", "txvlan", "off"]);
        assert_eq!(namespace.run(offload).code, Some(0));
    }
    let daemon = driven.serve("--xdp native -i lan");
    let socket = client.socket("0.0.0.0:0");
    assert!(ask(&socket, "10.9.0.1:123").is_some());
    assert!(ask(&socket, "192.168.0.1:123").is_some());
    assert_eq!(in_driver(&daemon.counters()), 2, "{}", daemon.text());
}
