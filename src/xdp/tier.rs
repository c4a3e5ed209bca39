//! The program on the interfaces it is wanted on: put there, put there again when an interface comes back,
//! and told what it needs to know. Runs on the daemon thread, about once a second.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::attach::{self, Program};
use super::feed::Feed;
use super::{Link, Timescale, XdpCounters, XdpTotals};
use crate::server::ServingState;
use crate::snapshot::{Published, Publisher};
use crate::sys::clock;
use crate::sys::ethtool;
use crate::sys::interfaces::{self, InterfaceAddress};
use crate::sys::link::{self, LinkState};
use crate::sys::xdp::{Attachment, Mode, with_causes};

/// The first pause after the program could not be attached, and the longest; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// What is wanted of the tier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where in the kernel the program runs.
    pub mode: Mode,
    /// The names of the interfaces.
    pub interfaces: Vec<String>,
    /// Whether all of them must have it from the start.
    pub required: bool,
}

/// The tier, while the daemon runs.
pub struct Tier {
    program: Program,
    feed: Feed,
    mode: Mode,
    places: Vec<Place>,
    own: Vec<InterfaceAddress>,
    /// The machine's clocks as they were published last.
    timescale: Timescale,
    status: Publisher<Vec<InterfaceStatus>>,
    /// The last trouble that was logged, so that it is once.
    trouble: Option<String>,
}

/// One interface that is wanted, there or not.
struct Place {
    name: String,
    attached: Option<Attached>,
    next_try: Instant,
    pause: Duration,
    /// Why it was not attached when this was last tried.
    obstacle: Option<String>,
}

struct Attached {
    index: u32,
    _attachment: Attachment,
}

/// One interface as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// How the program is attached, if it is.
    pub mode: Option<Mode>,
}

/// A view on the tier; every thread that reports has its own.
#[derive(Clone)]
pub struct View {
    /// What the program counts.
    pub counters: XdpCounters,
    /// Where it is.
    pub interfaces: Published<Vec<InterfaceStatus>>,
}

impl View {
    /// The counts of this moment; those of a kernel that refuses to tell are zero.
    pub fn totals(&self) -> XdpTotals {
        self.counters.read().unwrap_or_default()
    }
}

impl Tier {
    /// Loads the program and attaches it, fed with `serving`.
    ///
    /// # Errors
    /// A sentence that says why there is no such tier, and what to do about it.
    pub fn start(
        wanted: &Wanted,
        traffic_class: u8,
        listening: &[SocketAddr],
        serving: impl FnOnce(&Feed) -> ServingState,
    ) -> Result<Self, String> {
        let (program, mut feed) = Program::load().map_err(|error| attach::why_not_loaded(&error))?;
        feed.traffic_class = traffic_class;
        let serving = serving(&feed);
        let place = |name: &String| Place {
            name: name.clone(),
            attached: None,
            next_try: Instant::now(),
            pause: FIRST_PAUSE,
            obstacle: None,
        };
        let mut tier = Self {
            program,
            feed,
            mode: wanted.mode,
            places: wanted.interfaces.iter().map(place).collect(),
            own: Vec::new(),
            timescale: Timescale::read(),
            status: Publisher::new(Vec::new()),
            trouble: None,
        };
        tier.own = interfaces::addresses().map_err(|error| error.to_string())?;
        tier.publish(&serving);
        tier.attach_all();
        match tier.places.iter().find_map(|place| place.obstacle.clone()) {
            Some(obstacle) if wanted.required => Err(obstacle),
            _ => {
                tier.serve(listening);
                tier.tell_status();
                Ok(tier)
            }
        }
    }

    /// What others may see of it.
    pub fn view(&self) -> View {
        View { counters: self.program.counters(), interfaces: self.status.subscribe() }
    }

    /// Looks what has become of the interfaces and this host's addresses.
    pub fn look_around(&mut self, listening: &[SocketAddr]) {
        match interfaces::addresses() {
            Ok(own) => self.own = own,
            Err(error) => self.note(Err(error)),
        }
        self.attach_all();
        self.serve(listening);
        self.tell_status();
    }

    /// Puts a state in force.
    pub fn publish(&mut self, serving: &ServingState) {
        self.timescale = Timescale::read();
        let published = self.feed.publish(serving, &self.timescale, &self.own);
        self.note(published);
    }

    /// Whether the kernel was told of another leap second, or of another distance between TAI and UTC, since
    /// a state was put in force.
    pub fn is_leap_new(&self) -> bool {
        let (tai_offset, leap) = clock::leap();
        self.timescale.has_other_leap(tai_offset, leap)
    }

    fn attach_all(&mut self) {
        let Self { program, mode, places, own, .. } = self;
        for place in places {
            place.look(own);
            if place.attached.is_none() && place.next_try <= Instant::now() {
                place.attach(program, *mode, own);
            }
        }
    }

    fn serve(&mut self, listening: &[SocketAddr]) {
        let links: Vec<Link> = self.places.iter().flat_map(|place| place.links(&self.own)).collect();
        match self.feed.serve(listening, &self.own, &links) {
            Ok(true) => {}
            Ok(false) => {
                self.note(Err(io::Error::other("there are too many addresses; the sockets serve the rest")));
            }
            Err(error) => self.note(Err(error)),
        }
    }

    fn tell_status(&mut self) {
        let mode = |place: &Place| place.attached.as_ref().map(|_| self.mode);
        let status = |place: &Place| InterfaceStatus { name: place.name.clone(), mode: mode(place) };
        let status: Vec<_> = self.places.iter().map(status).collect();
        if *self.status.current() != status {
            self.status.publish(status);
        }
    }

    /// Trouble that is not the end: what the program cannot answer the sockets do.
    fn note(&mut self, outcome: Result<(), impl Error>) {
        let Some(trouble) = outcome.err().map(|error| with_causes(&error)) else { return };
        if self.trouble.as_ref() != Some(&trouble) {
            warn!("xdp: {trouble}");
            self.trouble = Some(trouble);
        }
    }
}

impl Place {
    /// Notices that the interface has gone, or is another one now, or is in a state that forbids answering.
    fn look(&mut self, own: &[InterfaceAddress]) {
        let Some(attached) = &self.attached else { return };
        let gone = match link::state(&self.name) {
            Ok(state) if state.index == attached.index => obstacle(&self.name, own),
            Ok(_) => Some("there is another interface of this name now".to_owned()),
            Err(_) => Some("the interface is gone".to_owned()),
        };
        if let Some(gone) = gone {
            warn!("xdp: {}: {gone}; the sockets answer what arrives there", self.name);
            self.attached = None;
            (self.next_try, self.pause) = (Instant::now(), FIRST_PAUSE);
        }
    }

    fn attach(&mut self, program: &mut Program, mode: Mode, own: &[InterfaceAddress]) {
        match self.try_attach(program, mode, own) {
            Ok(attached) => {
                info!("xdp: {} on {}{}", mode.name(), self.name, remark(&self.name, mode));
                self.attached = Some(attached);
                (self.pause, self.obstacle) = (FIRST_PAUSE, None);
            }
            Err(obstacle) => {
                if self.obstacle.as_ref() != Some(&obstacle) {
                    warn!("xdp: {obstacle}");
                }
                self.obstacle = Some(obstacle);
                self.next_try = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    fn try_attach(
        &self,
        program: &mut Program,
        mode: Mode,
        own: &[InterfaceAddress],
    ) -> Result<Attached, String> {
        let name = &self.name;
        let state = link::state(name).map_err(|error| match error.raw_os_error() {
            Some(libc::ENODEV) => format!("there is no interface {name}: ip link shows those there are"),
            _ => format!("{name}: {error}"),
        })?;
        if let Some(obstacle) = obstacle(name, own) {
            return Err(format!("{name}: {obstacle}"));
        }
        let attachment = program
            .attach(state.index, mode)
            .map_err(|error| attach::why_not_attached(&error, name, &state, mode))?;
        Ok(Attached { index: state.index, _attachment: attachment })
    }

    /// What requests come over: the interface itself and its VLANs.
    fn links(&self, own: &[InterfaceAddress]) -> Vec<Link> {
        let (Some(_), Ok(state)) = (&self.attached, link::state(&self.name)) else { return Vec::new() };
        let LinkState { index, mac, loopback, .. } = state;
        let untagged = Link { name: self.name.clone(), ifindex: index, vlan: 0, mac, loopback };
        let vlan = |vlan: link::Vlan| {
            let mac = link::state(&vlan.interface).ok()?.mac;
            Some(Link { name: vlan.interface, vlan: vlan.tag, mac, ..untagged.clone() })
        };
        let tagged = vlans(&self.name, own).into_iter().filter_map(vlan).collect::<Vec<_>>();
        [untagged.clone()].into_iter().chain(tagged).collect()
    }
}

fn vlans(interface: &str, own: &[InterfaceAddress]) -> Vec<link::Vlan> {
    let mut candidates: Vec<&str> = own.iter().map(|own| own.interface.as_str()).collect();
    candidates.sort_unstable();
    candidates.dedup();
    link::vlans_of(interface, candidates)
}

/// A driver that takes the tags off makes frames of all VLANs look alike; replies would leave without a
/// tag.
fn obstacle(interface: &str, own: &[InterfaceAddress]) -> Option<String> {
    let hidden = link::strips_vlan_tags(interface) && !vlans(interface, own).is_empty();
    hidden.then(|| {
        format!(
            "it has VLANs whose tags it hides: ethtool -K {interface} rxvlan off, and their requests are answered too"
        )
    })
}

fn remark(interface: &str, mode: Mode) -> &'static str {
    match ethtool::driver(interface).as_deref() {
        Ok("veth") if mode == Mode::Native => {
            ", a veth: its peer needs an XDP program too (one that passes everything will do), or every reply is lost"
        }
        _ => "",
    }
}
