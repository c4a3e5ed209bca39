//! M: the control protocol. What ntpq asked the classic ntpd in the captures is asked here again, and the
//! answers are held against each other, field for field: names, order, types, flags and errors. Values
//! differ, and so does what `DIFFERENT` lists.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ntpring::control::{
    Answer, Assembly, Identity, Interface, KernelClock, Lists, Monitor, MonitoredClient, Opcode, Outcome,
    Request, Responder, Restriction, Signature, Statistics, Variable, View, is_signed, parse, request,
    signed,
};
use ntpring::snapshot::{
    Association, AssociationKind, Authentication, Discipline, Exchanged, FilterSample, LocalClock, Selection,
    SystemVariables,
};
use ntpring::wire::{ControlHeader, LeapIndicator, NtpShort, NtpTimestamp, Precision, ReferenceId};

use crate::vectors::{Captured, captured_keys, captures};

/// Variables that classic tells in these captures and we never do, and why.
const DIFFERENT: [(&str, &str); 2] = [
    ("xleave", "the delay of its own sending, which ours never adds to a stamp"),
    ("in", "of interleaved associations, which ours are not"),
];

/// Associations of the captures, and ours in their place.
const LOCAL: (u16, u16) = (0xA905, 1);
const SERVER: (u16, u16) = (0x8240, 2);

fn now() -> NtpTimestamp {
    NtpTimestamp::from_unix(1_800_000_000, 250_000_000)
}

fn association(id: u16, kind: AssociationKind, source: [u8; 4]) -> Association {
    Association {
        id,
        kind,
        source: SocketAddr::from((source, 123)),
        host: None,
        local: Ipv4Addr::new(192, 168, 0, 2).into(),
        leap: LeapIndicator::None,
        stratum: 4,
        precision: Precision::from_log2(-24),
        root_delay: NtpShort::ZERO,
        root_dispersion: NtpShort::from_nanoseconds(10_000_000),
        reference_id: ReferenceId::from_octets([127, 127, 1, 0]),
        reference_time: now().offset_by(-20 << 32),
        received: now().offset_by(-5 << 32),
        reach: 0xFF,
        unreach: 0,
        host_poll: 6,
        peer_poll: 6,
        flash: 0,
        key_id: 0,
        authentication: Authentication::None,
        offset: 11e-6,
        delay: 36e-6,
        dispersion: 3e-3,
        jitter: 6e-6,
        filter: [FilterSample { delay: 5e-5, offset: -1e-5, dispersion: 1e-3 }; 8],
        selection: Selection::SystemPeer,
        event: 10,
        events: 1,
        next: now().offset_by(59 << 32),
        exchanged: Exchanged { sent: 9, received: 8, ..Exchanged::default() },
    }
}

/// The machine of the captures: it has a local clock, or follows a server that has one.
struct Machine {
    system: SystemVariables,
    discipline: Discipline,
    associations: Vec<Association>,
    clients: Vec<MonitoredClient>,
    identity: Identity,
    statistics: Statistics,
    lists: Lists,
}

impl Machine {
    fn with_local_clock() -> Self {
        let clock = LocalClock { stratum: 3, ..LocalClock::default() };
        let local = Association {
            stratum: 3,
            reference_id: ReferenceId::LOCAL,
            ..association(LOCAL.1, AssociationKind::LocalClock, [127, 127, 1, 0])
        };
        Self {
            system: SystemVariables::local_clock(clock, Precision::from_log2(-24), now()),
            discipline: Discipline {
                system_peer: LOCAL.1,
                time_constant: 6,
                event: 5,
                events: 1,
                ..Discipline::default()
            },
            associations: vec![local],
            clients: vec![client("[fd00::2]:40152", -300), client("192.168.0.2:123", -40)],
            identity: Identity {
                version: "ntpring".to_owned(),
                processor: "x86_64".to_owned(),
                system: "Linux/6.18".to_owned(),
            },
            statistics: Statistics { uptime: 1024, received: 123, ..Statistics::default() },
            lists: Lists { interfaces: vec![interface(); 7], restrictions: vec![restriction(); 9] },
        }
    }

    fn following_a_server() -> Self {
        let server = association(SERVER.1, AssociationKind::Server, [192, 168, 0, 1]);
        let mut machine = Self::with_local_clock();
        machine.discipline.system_peer = SERVER.1;
        machine.associations = vec![server];
        machine
    }

    /// Before the local clock was taken: classic waits five minutes for that.
    fn starting() -> Self {
        let mut machine = Self::with_local_clock();
        machine.system = SystemVariables::unsynchronised(Precision::from_log2(-24));
        machine.discipline = Discipline { event: 6, events: 1, time_constant: 3, ..Discipline::default() };
        machine.associations[0].selection = Selection::Rejected;
        machine.associations[0].event = 4;
        machine
    }

    fn view(&self) -> View<'_> {
        View {
            now: now(),
            system: &self.system,
            discipline: &self.discipline,
            associations: &self.associations,
            identity: &self.identity,
            statistics: &self.statistics,
            kernel: Some(KernelClock { status: 0x40, precision: 1e-6, ..KernelClock::default() }),
            monitor: Monitor {
                enabled: true,
                clients: &self.clients,
                deepest: 2,
                maximum_depth: 11_915,
                entry_bytes: 88,
            },
            lists: &self.lists,
        }
    }
}

fn client(address: &str, seconds: i64) -> MonitoredClient {
    MonitoredClient {
        address: address.parse().expect("an address"),
        first: now().offset_by((seconds - 600) << 32),
        last: now().offset_by(seconds << 32),
        count: 37,
        version_mode: 35,
        restrict: 0x390,
    }
}

fn interface() -> Interface {
    Interface {
        name: "lan".to_owned(),
        address: "192.168.0.2:123".parse().expect("an address"),
        flags: 0x19,
        received: 6,
        sent: 7,
        send_failed: 0,
        peers: 3,
        uptime: 17,
    }
}

fn restriction() -> Restriction {
    let flags = "ignore serve trust nopeer noepeer query notrap".to_owned();
    Restriction { address: Ipv4Addr::LOCALHOST.into(), length: 32, hits: 7, flags }
}

/// Whose controlkey is key 1, as on the machine of the captures.
const CONTROL_KEY: Option<u16> = Some(1);

const ASKING: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_824);

fn ask(responder: &mut Responder, machine: &Machine, payload: &[u8]) -> (Outcome, Vec<Vec<u8>>) {
    let mut replies = Vec::new();
    let keys = captured_keys("ntp.keys");
    let signature = Signature::of(payload, ASKING.ip(), &keys);
    let request =
        Request { client: ASKING, payload, may_list_clients: true, signature, control_key: CONTROL_KEY };
    let outcome = responder.respond(request, &machine.view(), |reply| replies.push(reply.to_vec()));
    (outcome, replies)
}

/// The data of a response, put together as ntpq does.
fn whole(payload: &[u8], replies: &[Vec<u8>]) -> Vec<u8> {
    let asked = ControlHeader::parse(payload).expect("a request");
    let Some(opcode) = Opcode::from_bits(asked.opcode) else { return Vec::new() };
    let mut assembly = Assembly::new(opcode, asked.sequence, asked.association);
    match replies.iter().map(|reply| assembly.take(reply)).last() {
        Some(Answer::Whole(response)) => response.data,
        _ => Vec::new(),
    }
}

/// What kind of value it is: all that may not differ.
fn kind(variable: &Variable) -> String {
    if variable.quoted {
        return "text".to_owned();
    }
    // As many words as there are flags.
    if variable.name.starts_with("flags.") && !variable.value.starts_with("0x") {
        return "words".to_owned();
    }
    variable
        .value
        .split(' ')
        .map(|value| match value {
            _ if value.parse::<IpAddr>().is_ok() => "address",
            _ if value.parse::<SocketAddr>().is_ok() => "address and port",
            _ if value.starts_with("0x") && value.contains('.') => "stamp",
            _ if value.starts_with("0x") => "hexadecimal",
            _ if value.parse::<f64>().is_ok() => "number",
            _ => "name",
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Digits behind the point, of numbers that have one.
fn decimals(variable: &Variable) -> Vec<usize> {
    let digits = |value: &str| value.split_once('.').map(|(_, fraction)| fraction.len());
    variable.value.split(' ').filter(|value| value.parse::<f64>().is_ok()).filter_map(digits).collect()
}

fn compare_data(name: &str, opcode: u8, ours: &[u8], theirs: &[u8]) {
    let mut ours = parse(ours);
    let mut theirs = parse(theirs);
    theirs.retain(|variable| DIFFERENT.iter().all(|(name, _)| variable.name != *name));
    if opcode == Opcode::ReadMru as u8 || opcode == Opcode::ReadOrderedList as u8 {
        // Classic shuffles the fields of each entry and throws in names that mean nothing, lest somebody rely
        // on their order.
        let known = [
            "addr", "last", "first", "ct", "mv", "rs", "nonce", "now", "bcast", "en", "name", "flags", "tl",
            "mc", "rx", "tx", "txerr", "pc", "up", "mask", "hits",
        ];
        theirs.retain(|variable| known.contains(&variable.name.split('.').next().unwrap_or_default()));
        ours.sort_by(|a, b| a.name.cmp(&b.name));
        theirs.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let names = |list: &[Variable]| list.iter().map(|variable| variable.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs), "{name}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(kind(ours), kind(theirs), "{name}: {ours:?} {theirs:?}");
        assert_eq!(decimals(ours), decimals(theirs), "{name}: {ours:?} {theirs:?}");
    }
}

/// Asks again what was asked in a capture, with our associations and nonces in the place of theirs.
fn replay(capture: &str, machine: &Machine) -> usize {
    let mut responder = Responder::new([7; 16]);
    let mut nonce = Vec::new();
    let captured = captures("control-classic.tsv");
    let ours: Vec<&Captured> =
        captured.iter().filter(|one| one.name.split(' ').next() == Some(capture)).collect();
    assert!(!ours.is_empty(), "{capture}");
    let mut asked = 0;
    for exchange in ours.chunk_by(|_, next| !next.to_server) {
        let (request, theirs) = exchange.split_first().expect("a request");
        let mut payload = request.bytes.clone();
        renew(&mut payload, &nonce);
        let (outcome, replies) = ask(&mut responder, machine, &payload);
        let name = &request.name;
        assert_eq!(replies.is_empty(), theirs.is_empty(), "{name}: {outcome:?}");
        asked += 1;
        let key = captured_keys("ntp.keys").get(1).expect("it is there").clone();
        for (ours, theirs) in replies.iter().zip(theirs) {
            assert_eq!(is_signed(ours, &key), is_signed(&theirs.bytes, &key), "{name}");
        }
        let (Some(ours), Some(first)) = (replies.first(), theirs.first()) else { continue };
        compare_headers(name, ours, &first.bytes);
        let theirs: Vec<Vec<u8>> = theirs.iter().map(|reply| reply.bytes.clone()).collect();
        let (ours, theirs) = (whole(&payload, &replies), whole(&request.bytes, &theirs));
        if request.bytes[1] == Opcode::RequestNonce as u8 {
            assert_eq!(ours.len(), theirs.len(), "{name}");
            nonce.clone_from(&ours);
        }
        // Pairs of association and status word, not text.
        if request.bytes[1] == Opcode::ReadStatus as u8 && request.bytes[6..8] == [0, 0] {
            assert_eq!(ours.len(), theirs.len(), "{name}");
        } else {
            compare_data(name, request.bytes[1], &ours, &theirs);
        }
    }
    asked
}

fn renew(payload: &mut [u8], nonce: &[u8]) {
    if let Some(association) = payload.get_mut(6..8) {
        for (theirs, ours) in [LOCAL, SERVER] {
            if association == theirs.to_be_bytes() {
                association.copy_from_slice(&ours.to_be_bytes());
            }
        }
    }
    let digits = 12..12 + "nonce=".len() + 24;
    // A nonce that was made up stays so.
    let is_real = payload.get(12..).is_some_and(|data| data.starts_with(b"nonce=eead"));
    if let (true, Some(place), Some(fresh)) = (is_real, payload.get_mut(digits), nonce.get(..30)) {
        place.copy_from_slice(fresh);
    }
}

/// Flags, opcode, sequence, and of the status word what is no count of events.
fn compare_headers(name: &str, ours: &[u8], theirs: &[u8]) {
    assert_eq!(ours[0], theirs[0], "{name}: leap, version, mode");
    assert_eq!(ours[1] & !0x20, theirs[1] & !0x20, "{name}: flags and opcode");
    assert_eq!(ours[2..4], theirs[2..4], "{name}: sequence");
    assert_eq!(ours[4], theirs[4], "{name}: status, {:02x?} {:02x?}", &ours[4..6], &theirs[4..6]);
    assert_eq!(ours[5] & 15, theirs[5] & 15, "{name}: last event");
    assert_eq!(ours.len() % 4, 0, "{name}: whole words");
}

#[test]
fn m1_m2_m3_m4_what_ntpq_asked_classic_is_answered_alike() {
    let (synchronised, following, starting) =
        (Machine::with_local_clock(), Machine::following_a_server(), Machine::starting());
    let mut asked = 0;
    for (capture, machine) in [
        ("m6-cl-client-ntpq-pn", &following),
        ("m6-cl-ntpq-as", &synchronised),
        ("m6-cl-ntpq-authinfo", &starting),
        ("m6-cl-ntpq-iostats", &starting),
        ("m6-cl-ntpq-kerninfo", &starting),
        ("m6-cl-ntpq-monstats", &synchronised),
        ("m6-cl-ntpq-mrulist", &synchronised),
        ("m6-cl-ntpq-pn-lo", &starting),
        ("m6-cl-ntpq-rv", &synchronised),
        ("m6-cl-ntpq-sysinfo", &synchronised),
        ("m6-cl-ntpq-sysstats", &synchronised),
        ("m6-cl-ntpq-timerstats", &starting),
        ("m6-cl-errors", &synchronised),
        ("m6-auth-cl-ifstats", &synchronised),
        ("m6-auth-cl-reslist", &synchronised),
    ] {
        asked += replay(capture, machine);
    }
    assert_eq!(asked, 57);
}

#[test]
fn names_may_have_blanks_before_them_and_every_list_of_names_is_one_that_can_be_asked_for() {
    let machine = Machine::with_local_clock();
    let mut responder = Responder::new([7; 16]);
    let said = |responder: &mut Responder, opcode, association, data: &[u8]| {
        let payload = request(opcode, 1, association, data);
        let (_, replies) = ask(responder, &machine, &payload);
        parse(&whole(&payload, &replies))
    };
    let names = |list: Vec<Variable>| list.into_iter().map(|variable| variable.name).collect::<Vec<_>>();
    assert_eq!(
        names(said(&mut responder, Opcode::ReadVariables, 0, b"  stratum=4, leap")),
        ["leap", "stratum"]
    );
    assert_eq!(names(said(&mut responder, Opcode::ReadVariables, 0, b"stratum ,leap")), [""; 0]);
    for (opcode, association, list) in [
        (Opcode::ReadVariables, 0, "sys_var_list"),
        (Opcode::ReadVariables, LOCAL.1, "peer_var_list"),
        (Opcode::ReadClock, LOCAL.1, "clock_var_list"),
    ] {
        let listed = said(&mut responder, opcode, association, list.as_bytes()).remove(0).value;
        assert!(listed.split(',').count() > 9, "{list}: {listed}");
        // Two names a time; some have no value just now, but none is unknown.
        for pair in listed.split(',').collect::<Vec<_>>().chunks(2) {
            let payload = request(opcode, 1, association, pair.join(",").as_bytes());
            let (outcome, _) = ask(&mut responder, &machine, &payload);
            assert!(matches!(outcome, Outcome::Answered(_)), "{list}: {pair:?}: {outcome:?}");
        }
    }
}

#[test]
fn m5_lists_of_the_machine_are_told_to_the_control_key_alone() {
    let machine = Machine::with_local_clock();
    let keys = captured_keys("ntp.keys");
    let mut responder = Responder::new([7; 16]);
    let mut error_of = |payload: &[u8]| {
        let (outcome, replies) = ask(&mut responder, &machine, payload);
        assert_eq!(outcome, Outcome::Refused);
        let [reply] = &replies[..] else { panic!("{replies:02x?}") };
        (reply[4], reply[12..].to_vec())
    };
    for data in [&b""[..], b"ifstats", b"addr_restrictions"] {
        let plain = request(Opcode::ReadOrderedList, 1, 0, data);
        assert_eq!(error_of(&plain), (1, Vec::new()));
        // Known and trusted, but not the controlkey: it still gets a signed answer.
        let key = keys.get(2).expect("it is there");
        let (code, end) = error_of(&signed(plain.clone(), key));
        assert_eq!((code, end.len()), (1, 24));
        // The right key's id, with another's code: told by a key identifier of zero, as ntpd does.
        let mut wrong = signed(plain.clone(), keys.get(3).expect("it is there"));
        let id = wrong.len() - 17;
        wrong[id] = 1;
        assert_eq!(error_of(&wrong), (1, vec![0; 4]));
        wrong[id] = 9;
        assert_eq!(error_of(&wrong), (1, Vec::new()));
    }
    let nonsense = request(Opcode::ReadOrderedList, 1, 0, b"nonsense");
    assert_eq!(error_of(&signed(nonsense, keys.get(1).expect("it is there"))).0, 5);
}

#[test]
fn m6_what_writes_is_refused_whoever_signs_it() {
    let machine = Machine::with_local_clock();
    let keys = captured_keys("ntp.keys");
    let key = keys.get(1).expect("it is there");
    let mut responder = Responder::new([7; 16]);
    for opcode in [
        Opcode::WriteVariables,
        Opcode::WriteClock,
        Opcode::SetTrap,
        Opcode::Configure,
        Opcode::SaveConfiguration,
        Opcode::UnsetTrap,
    ] {
        let payload = signed(request(opcode, 1, 0, b"stratum=1"), key);
        let (outcome, replies) = ask(&mut responder, &machine, &payload);
        assert_eq!(outcome, Outcome::Refused, "{opcode:?}");
        assert!(replies[0][4] == 1 && is_signed(&replies[0], key), "{opcode:?}: {replies:02x?}");
    }
}

#[test]
fn who_signs_gets_signed_answers_to_everything_and_none_is_longer_than_allowed() {
    let machine = Machine::following_a_server();
    let keys = captured_keys("ntp.keys");
    let mut responder = Responder::new([7; 16]);
    for id in 1..=3 {
        let key = keys.get(id).expect("it is there");
        for (association, data) in [(0, &b""[..]), (0, b"leap"), (SERVER.1, b""), (0, b"unknown")] {
            let payload = signed(request(Opcode::ReadVariables, 1, association, data), key);
            let (_, replies) = ask(&mut responder, &machine, &payload);
            assert!(
                !replies.is_empty() && replies.iter().all(|reply| is_signed(reply, key)),
                "{replies:02x?}"
            );
            assert!(replies.iter().all(|reply| reply.len() <= 12 + 468 + 24), "{replies:02x?}");
            let unsigned = request(Opcode::ReadVariables, 1, association, data);
            let (_, plain) = ask(&mut responder, &machine, &unsigned);
            assert_eq!(whole(&payload, &replies).len(), whole(&unsigned, &plain).len());
        }
    }
}
