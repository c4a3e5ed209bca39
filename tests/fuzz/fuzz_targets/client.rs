//! Whatever arrives at a client that follows servers, it lives, sends no more than its poll intervals allow,
//! keeps what it holds bounded, and believes no datagram that does not answer its request.
//!
//! An input is a list of events: an octet that says what happens, then what that needs. Replies are made from
//! the last request, with some octets changed, so that most of them pass the tests that strangers fail at.

#![no_main]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use ntpring::client::{
    Action, AssociationId, Client, Event, Family, Host, Now, Received, Request, Settings, Source,
    SourceOptions, StampKind,
};
use ntpring::wire::{LeapIndicator, Mode, NtpTimestamp, Packet, ReferenceId};

/// Three servers by address, one with a key, and a pool.
const SERVERS: u8 = 3;
const SECOND: i64 = 1 << 32;

struct Machine {
    client: Client,
    now: Now,
    last: Vec<Request>,
    sent: usize,
    query: Option<u32>,
    ended: bool,
}

impl Machine {
    fn new() -> Self {
        let options = |key| SourceOptions { iburst: true, key, ..SourceOptions::default() };
        let address = |host| Host::Address(Ipv4Addr::new(192, 0, 2, host).into(), 0);
        let server = |host: u8| Source {
            host: address(host),
            is_pool: false,
            options: options((host == 1).then_some(1)),
        };
        let pool = Source {
            host: Host::Name("pool.example".into(), Family::Any),
            is_pool: true,
            options: options(None),
        };
        let sources = (1..=SERVERS).map(server).chain([pool]).collect();
        let settings = Settings { sources, ..Settings::default() };
        let now =
            Now { monotonic: Duration::from_secs(1000), realtime: NtpTimestamp::from_unix(1_800_000_000, 0) };
        let mut state = 42_u64;
        let random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state ^ (state >> 29)
        };
        let client = Client::new(settings, Box::new(random), now);
        let mut machine = Self { client, now, last: Vec::new(), sent: 0, query: None, ended: false };
        machine.act();
        machine
    }

    fn act(&mut self) {
        let mut actions = 0;
        while let Some(action) = self.client.next_action() {
            actions += 1;
            assert!(actions < 1000, "one event, and no end of what follows");
            match action {
                Action::Send(request) => {
                    self.sent += 1;
                    self.last.retain(|other| other.association != request.association);
                    self.last.push(request);
                }
                Action::Close(id) => self.last.retain(|request| request.association != id),
                Action::Resolve { query, .. } => self.query = Some(query),
                Action::Step(by) => {
                    assert!(by.is_finite());
                    self.now.realtime = self.now.realtime.offset_by((by * SECOND as f64) as i64);
                }
                Action::Rate(rate) => {
                    assert!((9000..=11_000).contains(&rate.tick) && rate.frequency_ppm.abs() <= 500.001);
                    assert!(rate.base_ppm.abs() <= 500.001);
                }
                Action::SaveDrift(ppm) => assert!(ppm.abs() <= 500.001),
                Action::Panic(offset) => self.ended = offset.is_finite(),
                _ => {}
            }
        }
        let system = self.client.system();
        assert!((1..=16).contains(&system.stratum), "{system:?}");
        // A name may bring more, but the pool and the lines have their bounds.
        assert!(self.client.associations().len() <= 32 && self.last.len() <= 32);
        assert!(self.client.wake_at() > Duration::ZERO);
    }

    fn handle(&mut self, event: Event<'_>) {
        self.client.handle(event, self.now);
        self.act();
    }

    /// Time goes by, at most to the next timer.
    fn pass(&mut self, units: u8) {
        let most = self.client.wake_at().saturating_sub(self.now.monotonic);
        let passed = if units < 200 { Duration::from_millis(u64::from(units)).min(most) } else { most };
        self.now.monotonic += passed;
        self.now.realtime = self.now.realtime.offset_by((passed.as_secs_f64() * SECOND as f64) as i64);
        self.handle(Event::Timer);
    }

    /// A good reply to one of the last requests, with up to `patch.len() / 2` octets changed.
    fn reply(&mut self, which: u8, flags: u8, patch: &[u8]) {
        let Some(request) = self.last.get(usize::from(which) % self.last.len().max(1)).copied() else {
            return;
        };
        let mut bytes = request.bytes;
        let wait = i64::from(flags >> 4) * 1_000_000;
        let sent = self.now.realtime.offset_by(-2 * wait - 1_000_000);
        {
            let Ok(asked) = Packet::new_checked(&request.bytes[..]) else { unreachable!("we made it") };
            let Ok(mut packet) = Packet::new_checked(&mut bytes[..]) else { unreachable!("the same") };
            packet.set_first(LeapIndicator::None, asked.version(), Mode::Server);
            packet.set_stratum(2);
            packet.set_reference_id(ReferenceId::from_octets([192, 0, 2, 250]));
            packet.set_reference_time(sent.offset_by(-SECOND));
            packet.set_origin(asked.transmit());
            packet.set_receive(sent.offset_by(wait));
            packet.set_transmit(sent.offset_by(wait + 1000));
        }
        for change in patch.chunks_exact(2) {
            bytes[usize::from(change[0]) % bytes.len()] = change[1];
        }
        let authentic = if flags & 1 == 0 { request.key } else { None };
        self.receive(request.association, request.to, sent, authentic, &bytes);
    }

    fn receive(
        &mut self,
        association: AssociationId,
        source: SocketAddr,
        sent: NtpTimestamp,
        authentic: Option<u32>,
        bytes: &[u8],
    ) {
        let asked = self.last.iter().find(|request| request.association == association).copied();
        let before = self.reach(association);
        self.handle(Event::Received(Received {
            association,
            source,
            local: Ipv4Addr::new(192, 0, 2, 200).into(),
            sent,
            received: self.now.realtime,
            stamps: StampKind::Kernel,
            authentic,
            bytes,
        }));
        let is_believed = self.reach(association) & 1 > before & 1;
        if is_believed {
            let (Some(asked), Ok(packet)) = (asked, Packet::new_checked(bytes)) else {
                unreachable!("nobody was asked, or this is no packet")
            };
            let Ok(request) = Packet::new_checked(&asked.bytes[..]) else { unreachable!("we made it") };
            assert_eq!((packet.origin(), source), (request.transmit(), asked.to));
            assert_eq!((packet.mode(), packet.version()), (Mode::Server, request.version()));
            assert!(asked.key.is_none() || authentic == asked.key, "it was to be signed");
        }
    }

    fn reach(&self, association: AssociationId) -> u8 {
        let associations = self.client.associations();
        associations.iter().find(|each| each.id == association.0).map_or(0, |each| each.reach)
    }
}

fuzz_target!(|input: &[u8]| {
    let mut machine = Machine::new();
    let mut rest = input;
    let mut events = 0_usize;
    let started = machine.now.monotonic;
    while let Some((what, more)) = rest.split_first()
        && events < 300
        && !machine.ended
    {
        events += 1;
        let length = usize::from(what >> 3).min(more.len());
        let (data, after) = more.split_at(length);
        rest = after;
        let octet = |at: usize| data.get(at).copied().unwrap_or_default();
        match what & 7 {
            0 | 1 => machine.pass(octet(0)),
            2..=4 => machine.reply(octet(0), octet(1), data.get(2..).unwrap_or_default()),
            5 => {
                // As it came, to whomever it may concern.
                let association = AssociationId(u16::from(octet(0) % 8));
                let source = SocketAddr::from(([192, 0, 2, octet(1)], 123));
                let sent = machine.now.realtime.offset_by(-1_000_000);
                machine.receive(association, source, sent, None, data);
            }
            6 => {
                let host = |last: &u8| IpAddr::from([198, 51, 100, *last]);
                let addresses: Vec<IpAddr> = data.iter().map(host).collect();
                if let Some(query) = machine.query.take() {
                    machine.handle(Event::Resolved { query, addresses: &addresses });
                }
            }
            _ => {
                // Somebody sets the clock.
                let by = i64::from(octet(0).cast_signed()) * SECOND << (octet(1) % 20);
                machine.now.realtime = machine.now.realtime.offset_by(by);
                machine.handle(Event::Timer);
            }
        }
    }
    // Bursts of six and one request a minute, per source, and no reply makes it a storm.
    let seconds = (machine.now.monotonic - started).as_secs_f64();
    let most = 32.0 * (20.0 + seconds / 2.0);
    assert!((machine.sent as f64) <= most, "{} requests in {seconds} s", machine.sent);
});
