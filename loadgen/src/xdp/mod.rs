//! Load that no socket can make: frames out of the kernel's test-run, replies taken in by the driver.
//!
//! A program does the work (load.bpf.c): it is run on each of the generator's cores and sends what is due,
//! and in the driver, where it judges the replies. This side says what is to be sent, looks at the counts
//! once in a while, and makes the same result of them as the engines with sockets do.

mod frame;
mod layout;
mod program;
mod run;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use ntpring::sys::interfaces;
use ntpring::sys::link::{self, LinkState};

use self::frame::{Mac, Template};
use self::layout::{Plan, Sender};
use self::program::{Maps, Program};
use crate::failure::Failure;
use crate::mix::Mix;
use crate::run::Load;
use crate::schedule::Arrivals;
use crate::{clock, compose, run as load, sources, target};

pub(crate) use self::run::run;

/// The first source port, unless they reach further down. It is not looked whether a socket has one of them:
/// replies that are not ours are passed up.
const FIRST_PORT: u64 = 32_768;
const LAST_PORT: u64 = 65_535;
/// As many as there are that are not a system's own.
const MAX_PORTS: u64 = LAST_PORT - 1023;
/// Requests of a thread that may be under way: their time and their slots are all there is of them.
const SLOTS_MAX: u64 = 1 << 24;
/// As many, where the rate is not known before: more than any timeout of a saturated server needs.
const FLOOD_SLOTS: u64 = 1 << 22;
/// How long a request is known to have left after its time, in 32 bits of nanoseconds.
const TIMEOUT_MAX: Duration = Duration::from_secs(4);
/// How long one answer is waited for, and how often.
const PATIENCE: Duration = Duration::from_millis(400);
const TRIES: usize = 3;

/// Refuses what this engine cannot do.
pub(crate) fn check(plan: &load::Plan) -> Result<(), Failure> {
    let refuse = |text: &str| Err(Failure::Usage(format!("--engine xdp {text}")));
    let requests = &plan.requests;
    if requests.mix != Mix::default() || requests.replay.is_some() || requests.key.is_some() {
        return refuse("sends plain requests of version 4 only: leave --mix, --key and --replay away");
    }
    if requests.zipf.is_some() {
        return refuse("lets all sources ask alike: leave --zipf away");
    }
    if plan.arrivals != Arrivals::Fixed {
        return refuse("spaces requests evenly: leave --arrivals away");
    }
    if plan.timeout > TIMEOUT_MAX {
        return refuse("waits for a reply for 4 s at most: use a shorter --timeout");
    }
    if plan.clients as u64 > MAX_PORTS {
        return refuse(&format!(
            "has a port for each client of an address, so at most {MAX_PORTS}: use fewer --clients, and --sources for more addresses"
        ));
    }
    if requests.sources.is_some_and(|prefix| prefix.addr().is_ipv4() != plan.target.is_ipv4()) {
        return Err(Failure::Usage(format!(
            "--sources: the target {} is of the other family",
            plan.target.ip()
        )));
    }
    slots(plan).map(drop)
}

/// Slots of each thread, a power of two.
fn slots(plan: &load::Plan) -> Result<u64, Failure> {
    let Load::Rate(rate) = plan.load else { return Ok(FLOOD_SLOTS) };
    let rate = rate.div_ceil(plan.cores.len() as u64) as f64;
    // Twice as many as can be under way, so that a late reply still finds its own.
    let slots = ((2.0 * rate * plan.timeout.as_secs_f64()) as u64).max(1 << 12).next_power_of_two();
    if slots > SLOTS_MAX {
        return Err(Failure::Usage(format!(
            "{rate} requests/s and thread times {:?} timeout are more requests than the {} that a thread can keep in mind: use a \
             lower --rate, a shorter --timeout or more --threads",
            plan.timeout,
            SLOTS_MAX / 2
        )));
    }
    Ok(slots)
}

/// Everything that is ready to send.
struct Ready {
    interface: String,
    link: LinkState,
    program: Program,
    maps: Maps,
    /// All but times and rate.
    plan: Plan,
}

/// Loads and attaches the program, and finds out whether the target answers.
fn prepare(plan: &load::Plan) -> Result<Ready, Failure> {
    let fail = Failure::RunTime;
    let ours = target::local_address(plan.target)
        .ok_or_else(|| fail(format!("there is no route to the target {}", plan.target.ip())))?;
    let interface = match &plan.interface {
        Some(interface) => interface.clone(),
        None => interface_of(ours)?,
    };
    let link = link::state(&interface).map_err(|_| fail(format!("there is no interface {interface}")))?;
    let slots = slots(plan)?;
    let threads = plan.cores.len() as u64;
    let (mut program, mut maps) = Program::load(plan.target.is_ipv6(), (slots * threads) as u32)
        .map_err(|error| fail(program::why_not_loaded(&error)))?;
    program.attach(link.index).map_err(|error| fail(program::why_not_attached(&error, &interface, &link)))?;
    program::check_sending(&interface, &link).map_err(fail)?;
    let mut words = plan_of(plan, ours, &link, slots);
    let mac = find_peer(&mut maps, &words, plan.target, ours)
        .map_err(|error| fail(program::why_not_sent(&error)))?
        .ok_or_else(|| {
            fail(format!(
                "{} does not answer {ours} over {interface}, so that nobody knows where to send frames: is a server there, and may \
                 this client ask (restrict, allow)?",
                plan.target
            ))
        })?;
    // The program writes the cookie.
    words.address(&Template::new(link.mac, mac, plan.target, &compose::probe(0)));
    let mut ready = Ready { interface, link, program, maps, plan: words };
    ready.probe(plan, ours)?;
    Ok(ready)
}

/// The interface that has an address.
fn interface_of(address: IpAddr) -> Result<String, Failure> {
    let own = interfaces::addresses().unwrap_or_default();
    let found = own.into_iter().find(|own| own.address.ip() == address);
    found.map(|own| own.interface).ok_or_else(|| {
        Failure::RunTime(format!(
            "no interface has {address}, which requests would come from: name one with -i"
        ))
    })
}

/// The plan, but for the frame, times and rate.
fn plan_of(plan: &load::Plan, ours: IpAddr, link: &LinkState, slots: u64) -> Plan {
    let ports = plan.clients as u64;
    let prefix = plan.requests.sources.unwrap_or_else(|| ours.into());
    let (network, hosts) = match prefix {
        IpNet::V4(v4) => (v4.network().to_bits().into(), v4.hostmask().to_bits().into()),
        IpNet::V6(v6) => (v6.network().to_bits(), v6.hostmask().to_bits()),
    };
    let mut target = [0; 16];
    match plan.target.ip() {
        IpAddr::V4(v4) => target[..4].copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => target = v6.octets(),
    }
    let (halves, _) = target.as_chunks::<8>();
    Plan {
        until: u64::MAX,
        timeout: load::nanoseconds(plan.timeout),
        key: fastrand::u64(..),
        slots: slots - 1,
        threads: plan.cores.len() as u64,
        ifindex: link.index.into(),
        ipv6: plan.target.is_ipv6().into(),
        first_port: FIRST_PORT.min(LAST_PORT + 1 - ports),
        ports,
        network: [(network >> 64) as u64, network as u64],
        hosts: [(hosts >> 64) as u64, hosts as u64],
        target: [u64::from_ne_bytes(halves[0]), u64::from_ne_bytes(halves[1])],
        target_port: u16::from_ne_bytes(plan.target.port().to_be_bytes()).into(),
        ..Plan::default()
    }
}

impl Plan {
    /// Says what frames look like.
    fn address(&mut self, template: &Template) {
        self.frame = template.words();
        self.ip_sum = template.ip_sum;
        self.udp_sum = template.udp_sum;
    }
}

/// Where frames to the target must go: where its answer to a socket of this host comes from.
fn find_peer(
    maps: &mut Maps,
    plan: &Plan,
    target: SocketAddr,
    ours: IpAddr,
) -> Result<Option<Mac>, ntpring::sys::xdp::LoadError> {
    maps.set_plan(&Plan { learning: 1, ports: 0, ..*plan })?;
    let Ok(socket) = UdpSocket::bind((ours, 0)) else { return Ok(None) };
    if socket.connect(target).and_then(|()| socket.set_read_timeout(Some(PATIENCE))).is_err() {
        return Ok(None);
    }
    for _ in 0..TRIES {
        // Whatever keeps it from leaving keeps the answer away, which shows.
        let _ = socket.send(&compose::probe(fastrand::u64(1..)));
        let _ = socket.recv(&mut [0; 64]);
        if let Some(mac) = maps.peer()? {
            return Ok(Some(mac));
        }
    }
    Ok(None)
}

impl Ready {
    /// Finds out whether one request, made as all will be, is answered; from the last source, if there are
    /// several.
    fn probe(&mut self, plan: &load::Plan, ours: IpAddr) -> Result<(), Failure> {
        let members = plan.requests.sources.map_or(1, sources::members);
        for _ in 0..TRIES {
            if self.ask(members - 1).map_err(|error| Failure::RunTime(program::why_not_sent(&error)))? {
                return Ok(());
            }
        }
        let target = plan.target;
        Err(Failure::RunTime(match plan.requests.sources {
            Some(prefix) => format!(
                "{target} answers {ours} but not {prefix}: its way back is missing; on the server: ip route add {prefix} via {ours}"
            ),
            None => format!(
                "{target} answers sockets, but not frames that leave over {}: if that is a veth, its other end needs GRO or an XDP \
                 program (there: ethtool -K PEER gro on)",
                self.interface
            ),
        }))
    }

    /// Whether one request, with this number, is answered.
    fn ask(&mut self, number: u64) -> Result<bool, ntpring::sys::xdp::LoadError> {
        self.maps.set_plan(&Plan { start: clock::now(), threads: 1, ..self.plan })?;
        self.maps.begin(|_| Sender { number, left: 1, ..Sender::default() })?;
        self.program.send(1)?;
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.maps.received()?.settled() > 0 {
                return Ok(true);
            }
            sleep(Duration::from_millis(1));
        }
        Ok(false)
    }
}
