//! The client as the daemon drives it, packet by packet. What needs hours of clock and network is in
//! `tests/simulation`.

mod packets;
mod pools;
mod system;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::units::units;
use super::*;
use crate::wire::{HEADER_LEN, LeapIndicator, Mode, NtpShort, NtpTimestamp, Packet, Precision, ReferenceId};

const START: i64 = 1_800_000_000;

/// A client, the machine it runs on, and what it did so far. The machine's clock is right unless a test says
/// otherwise.
struct Bench {
    client: Client,
    now: Now,
    /// Everything but requests.
    actions: Vec<Action>,
    requests: Vec<(Duration, Request)>,
    /// What the client stepped the machine's clock by.
    stepped: f64,
    /// Whether the kernel says no.
    refuses_steps: bool,
}

/// What a server's reply is made of.
#[derive(Clone, Debug)]
struct Answer {
    leap: LeapIndicator,
    version: Option<u8>,
    mode: Mode,
    stratum: u8,
    poll: Option<i8>,
    reference_id: ReferenceId,
    root_delay: f64,
    root_dispersion: f64,
    /// Server − machine in seconds, before the client steps the machine's clock.
    offset: f64,
    origin: Option<NtpTimestamp>,
    receive: Option<NtpTimestamp>,
    transmit: Option<NtpTimestamp>,
    /// Reference time, before the transmit stamp, in seconds.
    reference_age: f64,
    delay: f64,
    authentic: Option<u32>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            leap: LeapIndicator::None,
            version: None,
            mode: Mode::Server,
            stratum: 2,
            poll: None,
            reference_id: ReferenceId::from_octets([192, 0, 2, 250]),
            root_delay: 0.0,
            root_dispersion: 0.001,
            offset: 0.0,
            origin: None,
            receive: None,
            transmit: None,
            reference_age: 10.0,
            delay: 0.001,
            authentic: None,
        }
    }
}

fn address(host: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, host).into()
}

fn source(host: u8, options: SourceOptions) -> Source {
    Source { host: Host::Address(address(host), 0), is_pool: false, options }
}

fn iburst() -> SourceOptions {
    SourceOptions { iburst: true, ..SourceOptions::default() }
}

/// A client of so many servers, 192.0.2.1 and up.
fn client_of(servers: u8) -> Bench {
    let sources = (1..=servers).map(|host| source(host, iburst())).collect();
    Bench::new(Settings { sources, ..Settings::default() })
}

fn good() -> Option<Answer> {
    Some(Answer::default())
}

/// A client of one name.
fn named(is_pool: bool) -> Settings {
    let host = Host::Name("time.example".into(), Family::Any);
    Settings { sources: vec![Source { host, is_pool, options: iburst() }], ..Settings::default() }
}

/// The number of the last question.
fn query(bench: &Bench) -> u32 {
    let asked = bench.actions.iter().rev().find_map(|action| match action {
        Action::Resolve { query, .. } => Some(*query),
        _ => None,
    });
    asked.expect("a name is looked up")
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let now = Now { monotonic: Duration::from_secs(1000), realtime: NtpTimestamp::from_unix(START, 0) };
        let mut state = 42_u64;
        let random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        let client = Client::new(settings, Box::new(random), now);
        let (actions, requests) = (Vec::new(), Vec::new());
        let mut bench = Self { client, now, actions, requests, stepped: 0.0, refuses_steps: false };
        bench.act();
        bench
    }

    fn act(&mut self) {
        while let Some(action) = self.client.next_action() {
            match action {
                Action::Send(request) => self.requests.push((self.now.monotonic, request)),
                action => {
                    match action {
                        Action::Step(by) if self.refuses_steps => self.client.not_stepped(by),
                        Action::Step(by) => {
                            self.now.realtime = self.now.realtime.offset_by(units(by));
                            self.stepped += by;
                        }
                        _ => {}
                    }
                    self.actions.push(action);
                }
            }
        }
    }

    fn handle(&mut self, event: Event<'_>) {
        self.client.handle(event, self.now);
        self.act();
    }

    /// Time goes by, and timers with it; nobody answers.
    fn wait(&mut self, seconds: f64) {
        let end = self.now.monotonic + Duration::from_secs_f64(seconds);
        while self.client.wake_at() < end {
            let wake = self.client.wake_at().max(self.now.monotonic);
            self.pass((wake - self.now.monotonic).as_secs_f64());
            self.now.monotonic = wake;
            self.handle(Event::Timer);
        }
        self.pass(end.saturating_sub(self.now.monotonic).as_secs_f64());
        self.handle(Event::Timer);
    }

    /// Both clocks go on.
    fn pass(&mut self, seconds: f64) {
        self.now.monotonic += Duration::from_secs_f64(seconds);
        self.now.realtime = self.now.realtime.offset_by(units(seconds));
    }

    /// The newest request, once there is one more than `before`.
    fn next_request(&mut self) -> Request {
        let before = self.requests.len();
        for _ in 0..10_000 {
            if self.requests.len() > before {
                return self.requests[before].1;
            }
            self.wait(1.0);
        }
        panic!("no request in hours");
    }

    /// What `answer` looks like on the wire, to `request`.
    fn reply(&self, request: &Request, answer: &Answer) -> [u8; HEADER_LEN] {
        let asked = Packet::new_checked(&request.bytes[..]).unwrap();
        let (version, origin, poll) = (asked.version(), asked.transmit(), asked.poll());
        let mut bytes = [0; HEADER_LEN];
        let mut packet = Packet::new_checked(&mut bytes[..]).unwrap();
        packet.set_first(answer.leap, answer.version.unwrap_or(version), answer.mode);
        packet.set_stratum(answer.stratum);
        packet.set_poll(answer.poll.unwrap_or(poll));
        packet.set_precision(Precision::from_log2(-24));
        packet.set_root_delay(NtpShort::from_nanoseconds((answer.root_delay * 1e9) as u64));
        packet.set_root_dispersion(NtpShort::from_nanoseconds((answer.root_dispersion * 1e9) as u64));
        packet.set_reference_id(answer.reference_id);
        packet.set_origin(answer.origin.unwrap_or(origin));
        let middle = self.now.realtime.offset_by(units(answer.offset - self.stepped - answer.delay / 2.0));
        packet.set_receive(answer.receive.unwrap_or(middle));
        packet.set_transmit(answer.transmit.unwrap_or(middle));
        packet.set_reference_time(middle.offset_by(units(-answer.reference_age)));
        bytes
    }

    /// Answers `request` after its delay.
    fn answer(&mut self, request: &Request, answer: &Answer) {
        let sent = self.now.realtime;
        self.pass(answer.delay);
        let bytes = self.reply(request, answer);
        self.deliver(request, &bytes, request.to, sent, answer.authentic);
    }

    fn deliver(
        &mut self,
        request: &Request,
        bytes: &[u8],
        from: SocketAddr,
        sent: NtpTimestamp,
        authentic: Option<u32>,
    ) {
        self.handle(Event::Received(Received {
            association: request.association,
            source: from,
            local: Ipv4Addr::new(192, 0, 2, 100).into(),
            sent,
            received: self.now.realtime,
            stamps: StampKind::Kernel,
            authentic,
            bytes,
        }));
    }

    /// Answers whatever is asked for so many seconds; `answers` by the last octet of the server.
    fn serve(&mut self, seconds: f64, answers: impl Fn(u8) -> Option<Answer>) {
        let end = self.now.monotonic + Duration::from_secs_f64(seconds);
        while self.now.monotonic < end {
            let before = self.requests.len();
            let idle = self.client.wake_at().min(end).saturating_sub(self.now.monotonic);
            self.wait(idle.as_secs_f64().max(0.05));
            for at in before..self.requests.len() {
                let request = self.requests[at].1;
                let IpAddr::V4(server) = request.to.ip() else { continue };
                if let Some(answer) = answers(server.octets()[3]) {
                    self.answer(&request, &answer);
                }
            }
        }
    }

    fn view(&self, at: usize) -> crate::snapshot::Association {
        self.client.associations().swap_remove(at)
    }

    fn refused(&self) -> u64 {
        self.client.refused().0.iter().sum()
    }

    fn notices(&self) -> Vec<&Notice> {
        fn notice(action: &Action) -> Option<&Notice> {
            if let Action::Log(notice) = action { Some(notice) } else { None }
        }
        self.actions.iter().filter_map(notice).collect()
    }

    fn steps(&self) -> usize {
        self.actions.iter().filter(|action| matches!(action, Action::Step(_))).count()
    }
}
