//! What the program in the driver spends its time on: its own functions one by one, run again and again by
//! the kernel's test-run on a request that arrives on the loopback interface. Nothing is sent.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use aya::Ebpf;
use aya::maps::Array;
use bench::machine::Machine;
use bench::restrict::{Family, entries};
use bench::statistics::Quartiles;
use bench::{requests, xdp as programs};
use fastrand::Rng;
use ntpring::datapath::SystemClock;
use ntpring::server::{AccessEntry, AccessFlags, AccessList, Clock, IpPrefix, RateLimit, ServingState};
use ntpring::sys::interfaces::InterfaceAddress;
use ntpring::sys::xdp::{self, LoadError, with_causes};
use ntpring::xdp::{Feed, Link, Program, Timescale, XdpCounters};

/// Where the server listens, and where its frames go to.
const SERVER: [&str; 2] = ["192.0.2.1:123", "[2001:db8::1]:123"];
const CLIENT: [&str; 2] = ["198.51.100.7:40000", "[2001:db8:9::7]:40000"];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TAG: u16 = 7;

/// Runs of which the kernel tells the mean, and how many such means.
const REPEAT: u32 = 200_000;
const ROUNDS: usize = 7;
/// Lines of the long access list.
const LINES: usize = 10_000;

/// A request as it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    V4,
    V6,
    Vlan,
}

/// Prints the table.
pub(super) fn run(machine: &Machine) -> Result<(), String> {
    let measured = measure().map_err(|error| {
        format!(
            "the parts cannot be run: {}; root is needed",
            with_causes(&error).lines().next().unwrap_or_default()
        )
    })?;
    println!("{machine}.\n\n| part | ns |\n|---|---|");
    measured.iter().for_each(|(name, ns)| println!("| {name} | {ns:.0} |"));
    Ok(())
}

fn measure() -> Result<Vec<(&'static str, f64)>, LoadError> {
    let plain = Scene::new(&[], RateLimit::default())?;
    let long = Scene::new(&entries(Family::V4, LINES, &mut Rng::with_seed(1)), RateLimit::default())?;
    // A bucket that is full again at once.
    let limit = RateLimit { headway_ns: 1, minimum_ns: 0, ..RateLimit::default() };
    let limited = Scene::new(&[everybody_is_limited()], limit)?;
    let (mut plain, mut long, mut limited) = (plain, long, limited);

    let nothing = plain.time("part_nothing", Shape::V4)?;
    let renew = |scene: &mut Scene, shape| scene.time("part_renew", shape);
    let whole =
        |scene: &mut Scene, shape| Ok::<_, LoadError>(scene.time("part_all", shape)? - renew(scene, shape)?);
    let echo = plain.time("part_echo", Shape::V4)? - renew(&mut plain, Shape::V4)?;
    let part = |scene: &mut Scene, name| Ok::<_, LoadError>(scene.time(name, Shape::V4)? - nothing);
    let (state, clocks) = (part(&mut plain, "part_state")?, part(&mut plain, "part_clocks")?);
    let parts = [
        ("headers, and what is served there", part(&mut plain, "part_parse")? - state),
        ("UDP checksums of request and reply", part(&mut plain, "part_checksums")?),
        ("state: found, and whether it has held", state),
        ("access list, one line", part(&mut plain, "part_access")? - state),
        ("two clock readings", clocks),
        ("counters", part(&mut plain, "part_counters")?),
    ];
    let more = [
        ("access list, 10 000 lines", part(&mut long, "part_access")? - state),
        ("rate limit, a source that it knows", part(&mut limited, "part_limit")? - state - clocks / 2.0),
        ("rate limit, a source that is new", part(&mut limited, "part_limit_new")? - state - clocks / 2.0),
    ];
    let all = whole(&mut plain, Shape::V4)?;
    let sum: f64 = parts.iter().map(|(_, ns)| ns).sum();
    let mut table = vec![("bare echo", echo), ("a whole reply, IPv4", all)];
    table.extend(parts);
    table.push(("the rest: the reply itself, IP header, addresses", all - sum));
    table.extend(more);
    table.push(("a whole reply, 10 000 lines", whole(&mut long, Shape::V4)?));
    table.push(("a whole reply, limited", whole(&mut limited, Shape::V4)?));
    table.push(("a whole reply, VLAN", whole(&mut plain, Shape::Vlan)?));
    table.push(("a whole reply, IPv6", whole(&mut plain, Shape::V6)?));
    Ok(table)
}

fn everybody_is_limited() -> AccessEntry {
    let prefix = IpPrefix::new(Ipv4Addr::UNSPECIFIED.into(), 0).expect("a prefix of no bits");
    AccessEntry { prefix, flags: AccessFlags::LIMITED, ntpport: false }
}

/// The programs, told what to serve.
struct Scene {
    object: Ebpf,
    /// Programs are loaded when they are first run, and want the maps that they count in.
    _counters: XdpCounters,
    feed: Feed,
    own: Vec<InterfaceAddress>,
    state: ServingState,
}

impl Scene {
    fn new(list: &[AccessEntry], limit: RateLimit) -> Result<Self, LoadError> {
        let (program, mut feed) = Program::load_object(programs::OBJECT)?;
        let own = SERVER.map(|address| {
            let mut address: SocketAddr = address.parse().expect("an address");
            address.set_port(0);
            InterfaceAddress {
                interface: "lan".to_owned(),
                address,
                prefix_length: 24,
                flags: Default::default(),
            }
        });
        // Frames of test-run come over the interface with number 1.
        let link = |vlan| Link { name: "lan".to_owned(), ifindex: 1, vlan, mac: MAC, loopback: false };
        let listening = SERVER.map(|address| address.parse().expect("an address"));
        feed.serve(&listening, &own, &[link(0), link(TAG)])?;
        let system = requests::synchronised(SystemClock.now());
        let access = Arc::new(AccessList::new(list).expect("few enough entries"));
        let state = ServingState { system, access, limit, ..ServingState::default() };
        let _counters = program.counters();
        Ok(Self { object: program.into_object(), _counters, feed, own: own.into(), state })
    }

    /// The mean time of a run of one program: the median of several, in nanoseconds.
    fn time(&mut self, name: &'static str, shape: Shape) -> Result<f64, LoadError> {
        let frame = frame(shape);
        let mut requests: Array<_, [u64; 16]> =
            self.object.map_mut("requests").ok_or(LoadError::Missing("requests"))?.try_into()?;
        requests.set(0, words(&frame), 0)?;
        let program = xdp::program(&mut self.object, name)?;
        if program.fd().is_err() {
            program.load()?;
        }
        // A part that gives up early would take no time.
        const XDP_PASS: u32 = 2;
        self.feed.publish(&self.state, &Timescale::read(), &self.own)?;
        if xdp::test(program, &frame, &mut [0; 128])?.0 == XDP_PASS {
            return Err(LoadError::Missing("answer to this request"));
        }
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            self.feed.publish(&self.state, &Timescale::read(), &self.own)?;
            times.push(xdp::time(program, &frame, REPEAT)?.as_nanos() as f64);
        }
        Ok(Quartiles::of(times).median)
    }
}

/// As `struct request` of the programs.
fn words(frame: &[u8]) -> [u64; 16] {
    let mut words = [0; 16];
    let (whole, _) = frame.as_chunks::<8>();
    words.iter_mut().zip(whole).for_each(|(word, octets)| *word = u64::from_ne_bytes(*octets));
    let tail = frame.last_chunk::<8>().copied().unwrap_or_default();
    words[15] = u64::from_ne_bytes(tail);
    words
}

/// A plain request with right checksums.
fn frame(shape: Shape) -> Vec<u8> {
    let at = usize::from(shape == Shape::V6);
    let [client, server]: [SocketAddr; 2] =
        [CLIENT[at], SERVER[at]].map(|text| text.parse().expect("an address"));
    let mut frame = [MAC, [2, 0, 0, 0, 0, 2]].concat();
    if shape == Shape::Vlan {
        frame.extend([0x81, 0]);
        frame.extend(TAG.to_be_bytes());
    }
    let payload = requests::time(4, 0x0123_4567_89AB_CDEF);
    let length = (8 + payload.len() as u16).to_be_bytes();
    let mut udp = [&client.port().to_be_bytes()[..], &server.port().to_be_bytes(), &length, &[0, 0]].concat();
    udp.extend(&payload);
    let addresses = match (client, server) {
        (SocketAddr::V4(client), SocketAddr::V4(server)) => {
            let addresses = [client.ip().octets(), server.ip().octets()].concat();
            let mut ip = [&[0x45, 0, 0, 20 + 8 + 48, 0, 0, 0x40, 0, 64, 17, 0, 0][..], &addresses].concat();
            let checksum = !sum(&ip);
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
            frame.extend([0x08, 0]);
            frame.extend(ip);
            addresses
        }
        (SocketAddr::V6(client), SocketAddr::V6(server)) => {
            let addresses = [client.ip().octets(), server.ip().octets()].concat();
            frame.extend([0x86, 0xDD, 0x60, 0, 0, 0]);
            frame.extend(length);
            frame.extend([17, 64]);
            frame.extend(&addresses);
            addresses
        }
        _ => Vec::new(),
    };
    let checksum = !sum(&[&addresses, &[0, 17][..], &length, &udp].concat());
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    frame.extend(udp);
    frame
}

/// The ones'-complement sum of 16-bit words (RFC 1071).
fn sum(octets: &[u8]) -> u16 {
    let (words, _) = octets.as_chunks::<2>();
    let mut sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    sum as u16
}
