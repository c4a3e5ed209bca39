//! One run: the client of the daemon, a clock, a network, and what came of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use fastrand::Rng;
use ntpring::client::{
    Action, AssociationId, Client, ClockControl, Event, Host, KernelStatus, Notice, Received, Request,
    Settings, Source, StampKind,
};
use ntpring::wire::{LeapIndicator, NtpTimestamp};

use crate::clock::Clock;
use crate::random::generator;
use crate::scenario::{Happening, Scenario};

/// The machine's own address.
const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// What is recorded of a run.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Served − true at each whole second, in seconds.
    pub errors: Vec<f64>,
    /// How fast the clock gained at each whole second.
    pub rates: Vec<f64>,
    /// When requests were sent, and to which server.
    pub sent: Vec<(f64, usize)>,
    /// Steps by us: when, by how much.
    pub steps: Vec<(f64, f64)>,
    /// What the operator was told.
    pub notices: Vec<(f64, Notice)>,
    /// What was served at each whole second: leap indicator and stratum, as a client would see them.
    pub served: Vec<(LeapIndicator, u8)>,
    /// What the kernel was told, and when.
    pub kernel: Vec<(f64, KernelStatus)>,
    /// What was written to the drift file, and when.
    pub drift: Vec<(f64, f64)>,
    /// Names that were to be looked up.
    pub lookups: Vec<(f64, Arc<str>)>,
    /// The client gave up: the offset it refused to believe.
    pub panic: Option<f64>,
    /// Associations at the end.
    pub associations: usize,
}

/// A reply under way.
struct Reply {
    arrives: f64,
    association: AssociationId,
    source: SocketAddr,
    sent: NtpTimestamp,
    bytes: [u8; 48],
}

/// A run in progress.
pub struct Run<'a> {
    scenario: &'a Scenario,
    clock: Clock,
    /// The client; tests may look at it.
    pub client: Client,
    replies: Vec<Reply>,
    /// Replies that the kernel holds for a process that does not run.
    held: Vec<(NtpTimestamp, Reply)>,
    suspended_until: f64,
    /// When the client saw the clock last.
    looked: f64,
    happened: usize,
    crossings: Vec<u64>,
    network: Rng,
    has_leapt: bool,
    armed: LeapIndicator,
    second: f64,
    record: Record,
}

/// The address of a server by its number.
pub fn address(server: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 1, server as u8 + 1))
}

impl<'a> Run<'a> {
    /// A run of `scenario`; the seed decides everything that is left to chance.
    pub fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let epoch = NtpTimestamp::from_unix(scenario.epoch, 0);
        let clock = Clock::new(scenario.oscillator, scenario.initial_error, epoch, seed);
        let client = Client::new(settings(scenario), cookies(seed), clock.now());
        Self {
            scenario,
            clock,
            client,
            replies: Vec::new(),
            held: Vec::new(),
            suspended_until: 0.0,
            looked: 0.0,
            happened: 0,
            crossings: vec![0; scenario.servers.len()],
            network: generator(seed, "network"),
            has_leapt: false,
            armed: LeapIndicator::None,
            second: 0.0,
            record: Record::default(),
        }
    }

    /// Runs to the end, and tells what was.
    pub fn finish(mut self) -> Record {
        self.run_until(self.scenario.seconds);
        self.record.associations = self.client.associations().len();
        self.record
    }

    /// What was so far.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Runs until the true second `end`.
    pub fn run_until(&mut self, end: f64) {
        self.act();
        while self.clock.time() < end && self.record.panic.is_none() {
            let wake = self.wake_time();
            let arrival = self.replies.iter().map(|reply| reply.arrives).fold(f64::INFINITY, f64::min);
            let happening = self.scenario.happenings.get(self.happened).map_or(f64::INFINITY, |next| next.0);
            let tick = self.leap_tick();
            let next = wake.min(arrival).min(self.second).min(happening).min(tick).min(end);
            self.clock.advance(next);
            if next >= self.second {
                self.measure();
            }
            if next >= tick {
                self.leap();
            }
            if next >= happening {
                self.happen(self.scenario.happenings[self.happened].1);
                self.happened += 1;
            }
            if next >= arrival {
                self.arrive();
            }
            if next >= wake {
                self.wake();
            }
        }
    }

    /// When the client's timer comes. Where somebody meddles with the clock, it matters that the daemon looks
    /// at it once a second; elsewhere these wake-ups change nothing.
    fn wake_time(&self) -> f64 {
        let due = self.clock.when(self.client.wake_at());
        let watch = if self.scenario.happenings.is_empty() { f64::INFINITY } else { self.looked + 1.0 };
        due.min(watch).max(self.suspended_until)
    }

    /// The timer is due, or the process runs again and finds what came in the meantime.
    fn wake(&mut self) {
        self.looked = self.clock.time();
        for (received, reply) in std::mem::take(&mut self.held) {
            self.deliver(&reply, received);
        }
        self.client.handle(Event::Timer, self.clock.now());
        self.act();
    }

    fn arrive(&mut self) {
        let now = self.clock.time();
        while let Some(at) = self.replies.iter().position(|reply| reply.arrives <= now) {
            let reply = self.replies.swap_remove(at);
            let late = self.stamp_noise(reply.source);
            let received = self.clock.stamp(now + self.clock.error() + late);
            if now < self.suspended_until {
                self.held.push((received, reply));
            } else {
                self.deliver(&reply, received);
            }
        }
    }

    fn stamp_noise(&mut self, source: SocketAddr) -> f64 {
        let noise = self.server_of(source).map_or(0.0, |at| self.scenario.servers[at].path.stamp_noise);
        noise * self.network.f64()
    }

    fn server_of(&self, source: SocketAddr) -> Option<usize> {
        (0..self.scenario.servers.len()).find(|server| address(*server) == source.ip())
    }

    fn deliver(&mut self, reply: &Reply, received: NtpTimestamp) {
        let received = Received {
            association: reply.association,
            source: reply.source,
            local: LOCAL,
            sent: reply.sent,
            received,
            stamps: StampKind::Kernel,
            authentic: None,
            bytes: &reply.bytes,
        };
        self.client.handle(Event::Received(received), self.clock.now());
        self.act();
    }

    /// Does what the client wants done.
    fn act(&mut self) {
        let time = self.clock.time();
        while let Some(action) = self.client.next_action() {
            match action {
                Action::Send(request) => self.send(&request),
                Action::Step(by) => {
                    assert!(self.scenario.control == ClockControl::Kernel, "nobody may step this clock");
                    self.clock.step(by);
                    self.record.steps.push((time, by));
                }
                Action::Rate(rate) => {
                    assert!(self.scenario.control == ClockControl::Kernel, "nobody may slew this clock");
                    self.clock.set_rate(rate);
                }
                Action::KernelStatus(status) => {
                    self.armed = status.leap;
                    self.record.kernel.push((time, status));
                }
                Action::SaveDrift(ppm) => self.record.drift.push((time, ppm)),
                Action::Log(notice) => self.record.notices.push((time, notice)),
                Action::Resolve { query, host, .. } => {
                    self.record.lookups.push((time, host));
                    let found: Vec<IpAddr> = (0..self.scenario.servers.len()).map(address).collect();
                    self.client.handle(Event::Resolved { query, addresses: &found }, self.clock.now());
                }
                Action::Panic(offset) => self.record.panic = Some(offset),
                Action::Close(_) | Action::PublishSystem | Action::PublishAssociations => {}
            }
        }
    }

    fn send(&mut self, request: &Request) {
        let time = self.clock.time();
        let Some(at) = self.server_of(request.to) else { return };
        self.record.sent.push((time, at));
        let server = &self.scenario.servers[at];
        let count = self.crossings[at];
        self.crossings[at] += 1;
        let Some((there, back)) = server.path.cross(count, time, &mut self.network) else { return };
        let early = server.path.stamp_noise * self.network.f64();
        let arrival = time + there;
        // UTC at the server may have leapt by then, or not yet.
        let leapt = self.leapt_at(arrival);
        let Some(bytes) = server.reply(&request.bytes, arrival, leapt, &self.clock) else { return };
        self.replies.push(Reply {
            arrives: arrival + back,
            association: request.association,
            source: request.to,
            sent: self.clock.stamp(time + self.clock.error() - early),
            bytes,
        });
    }

    /// What leap seconds make of UTC at a true time.
    fn leapt_at(&self, time: f64) -> f64 {
        self.scenario.leap.filter(|at| time >= *at).map_or(0.0, |_| -1.0)
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Step(by) => self.clock.step(by),
            Happening::Suspend(seconds) => self.suspended_until = self.clock.time() + seconds,
            Happening::Sleep(seconds, error) => {
                self.clock.sleep(seconds, error);
                // Nothing was recorded meanwhile; what was under way is lost.
                self.replies.clear();
                self.second = self.clock.time().ceil();
            }
        }
    }

    /// When the kernel notices that it is time for the leap second: at its first tick of the new day, which
    /// the clock shows before.
    fn leap_tick(&self) -> f64 {
        const TICK: f64 = 0.01;
        self.scenario.leap.filter(|_| !self.has_leapt).map_or(f64::INFINITY, |at| at + TICK)
    }

    /// The kernel takes the leap second if it is still told to.
    fn leap(&mut self) {
        self.has_leapt = true;
        if self.armed == LeapIndicator::Insert {
            self.clock.step(-1.0);
        }
    }

    /// Once a second: how wrong is what is served?
    fn measure(&mut self) {
        self.second += 1.0;
        let time = self.clock.time();
        let leapt = self.leapt_at(time);
        let system = self.client.system();
        let machine = self.clock.realtime();
        let served = system.clock.apply(machine);
        let added = served.signed_since(machine) as f64 / 4_294_967_296.0;
        self.record.errors.push(self.clock.error() + added - leapt);
        self.record.rates.push(self.clock.rate_error());
        let is_synchronised = system.is_synchronised(system.root_dispersion_at(served));
        self.record.served.push(if is_synchronised {
            (system.leap, system.stratum)
        } else {
            (LeapIndicator::Unsynchronised, 0)
        });
    }
}

fn settings(scenario: &Scenario) -> Settings {
    let options = |at: usize| {
        let server = &scenario.servers[at];
        ntpring::client::SourceOptions {
            prefer: server.prefer,
            noselect: server.noselect,
            ..scenario.options.clone()
        }
    };
    let named =
        |at: usize| Source { host: Host::Address(address(at), 0), is_pool: false, options: options(at) };
    let pool = Source {
        host: Host::Name("pool.example".into(), ntpring::client::Family::Any),
        is_pool: true,
        options: scenario.options.clone(),
    };
    let mut settings = Settings {
        sources: if scenario.is_pool { vec![pool] } else { (0..scenario.servers.len()).map(named).collect() },
        ..scenario.settings.clone()
    };
    settings.discipline.control = scenario.control;
    settings
}

fn cookies(seed: u64) -> Box<dyn FnMut() -> u64 + Send> {
    let mut rng = generator(seed, "cookies");
    Box::new(move || rng.u64(..))
}
