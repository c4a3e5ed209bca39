//! Request to reply without a kernel: the responder's every way out, the access list, the published state.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::requests;
use bench::restrict::{self, Family};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion};
use fastrand::Rng;
use ntpring::auth;
use ntpring::datapath::SystemClock;
use ntpring::server::{
    AccessEntry, AccessFlags, AccessList, Clock, Datagram, IpPrefix, Monitor, RateLimit, Reason, Responder,
    ServingState, Verdict,
};
use ntpring::snapshot::{Published, Publisher};
use ntpring::wire::{HEADER_LEN, NtpTimestamp};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    respond(&mut criterion);
    limited(&mut criterion);
    monitored(&mut criterion);
    access(&mut criterion);
    snapshot(&mut criterion);
    criterion.final_summary();
}

/// Requests are restored from a copy before each call, because a reply overwrites its request: the same few
/// octets every time.
fn respond(c: &mut Criterion) {
    let mut group = c.benchmark_group("respond");
    let open = AccessList::default;
    let plain = requests::time(4, 1);
    time_reply(&mut group, "plain", &plain, &SystemClock);
    time_reply(&mut group, "plain, clock read not counted", &plain, &Stopped);
    time_reply(&mut group, "plain, version 3", &requests::time(3, 1), &SystemClock);
    time_reply(&mut group, "2 extension fields", &requests::with_extension_fields(2), &SystemClock);
    time_reply(&mut group, "34 extension fields", &requests::with_extension_fields(34), &SystemClock);

    silence(&mut group, "denied by ignore", denying(AccessFlags::IGNORE), &plain, Reason::Ignored);
    silence(&mut group, "denied by noserve", denying(AccessFlags::NOSERVE), &plain, Reason::NoServe);
    silence(&mut group, "malformed: short", open(), &plain[..47], Reason::Short);
    silence(&mut group, "malformed: misaligned", open(), &[&plain[..], &[0; 2]].concat(), Reason::Misaligned);
    silence(&mut group, "malformed: extension", open(), &[&plain[..], &[0; 32]].concat(), Reason::Extension);
    silence(&mut group, "malformed: mode 7", open(), &[0x27; HEADER_LEN], Reason::Private);
    silence(&mut group, "unknown key", open(), &requests::with_mac(), Reason::UnknownKey);
    for kind in ["MD5", "SHA1", "AES128CMAC"] {
        signed(&mut group, kind, &plain);
    }
    group.finish();
}

fn time_reply(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, request: &[u8], clock: &impl Clock) {
    case(group, name, ServingState::default(), request, clock, Verdict::Reply(HEADER_LEN));
}

/// A signed reply to a signed request: two codes, the clock reading not counted.
fn signed(group: &mut BenchmarkGroup<'_, WallTime>, kind: &str, plain: &[u8]) {
    let text = format!("1 {kind} 0123456789abcdef");
    let keys = Arc::new(auth::read(text.as_bytes(), |_| true, &mut |_| ()));
    let mut request = [plain, &[0; auth::MAC_MAX]].concat();
    let length = keys.get(1).and_then(|key| key.sign(&mut request, HEADER_LEN)).unwrap_or_default();
    let state = ServingState { keys, ..ServingState::default() };
    let name = format!("signed: {kind}, clock read not counted");
    case(group, &name, state, &request[..length], &Stopped, Verdict::Reply(length));
}

fn silence(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    access: AccessList,
    request: &[u8],
    reason: Reason,
) {
    let state = ServingState { access: Arc::new(access), ..ServingState::default() };
    case(group, name, state, request, &SystemClock, Verdict::Drop(reason));
}

fn case(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    state: ServingState,
    request: &[u8],
    clock: &impl Clock,
    expected: Verdict,
) {
    let received = SystemClock.now();
    let state = ServingState { system: requests::synchronised(received), ..state };
    let mut responder = Responder::new(1);
    responder.begin_batch(&mut Publisher::new(state).subscribe(), false);
    let peer = SocketAddr::from(([192, 0, 2, 7], 40_000));
    let local = SocketAddr::from(([192, 0, 2, 1], 123));

    let mut memory = request.to_vec();
    let mut once = || {
        memory.copy_from_slice(request);
        responder.respond(Datagram { peer, local, received, ahead: 0, buf: black_box(&mut memory) }, clock)
    };
    assert_eq!(once(), expected, "{name}");
    group.bench_function(name, |b| b.iter(&mut once));
}

/// A clock that costs nothing to read: what is left is the responder's own work.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> NtpTimestamp {
        // Later than every receive stamp of this run, or the responder would take it for a clock that was set
        // back.
        NtpTimestamp::from_unix(NtpTimestamp::PIVOT + (1 << 30), 0)
    }
}

fn denying(flags: AccessFlags) -> AccessList {
    let everybody = IpPrefix::new(SocketAddr::from(([0; 4], 0)).ip(), 0);
    let entry = everybody.map(|prefix| AccessEntry { prefix, flags, ntpport: false });
    AccessList::new(entry.as_slice()).unwrap_or_default()
}

/// A plain request from each of so many addresses in turn, answered, when everybody is limited and when
/// nobody is: the difference is the table's.
fn limited(c: &mut Criterion) {
    let mut group = c.benchmark_group("limited, answered");
    let generous = RateLimit { headway_ns: 1, burst: u32::MAX, ..RateLimit::default() };
    for (name, addresses) in [
        ("one address", 1),
        ("hits, 16384 addresses", 1 << 14),
        ("misses, 1048576 addresses in a full table", 1 << 20),
    ] {
        for (who, flags) in [("nobody is limited", AccessFlags::NONE), ("limited", AccessFlags::LIMITED)] {
            let id = BenchmarkId::new(who, name);
            let state = ServingState { access: denying(flags).into(), limit: generous, ..unmonitored() };
            turns(&mut group, id, state, Responder::new(1), addresses, Verdict::Reply(HEADER_LEN));
        }
    }
    let id = BenchmarkId::new("refused", "one address");
    turns(&mut group, id, refusing(), Responder::new(1), 1, Verdict::Drop(Reason::Limited));
    group.finish();
}

fn unmonitored() -> ServingState {
    ServingState { monitor: false, ..ServingState::default() }
}

/// Everybody is limited, to nothing.
fn refusing() -> ServingState {
    let miser = RateLimit { headway_ns: u64::MAX, burst: 0, leak_log2: None, ..RateLimit::default() };
    ServingState { access: denying(AccessFlags::LIMITED).into(), limit: miser, ..unmonitored() }
}

/// A plain request from each of so many addresses in turn, when the list of clients is kept and when it is
/// not: the difference is the list's. It is as large as it is where nobody says otherwise. And what reading
/// all of it costs whoever answers `mrulist`.
fn monitored(c: &mut Criterion) {
    const ROOM: usize = 1 << 14;
    let mut group = c.benchmark_group("client list");
    for (name, addresses) in [
        ("one address", 1),
        ("known, 8192 addresses", 1 << 13),
        ("unknown, 1048576 addresses in a full list", 1 << 20),
    ] {
        for (what, monitor) in [("not kept", false), ("kept", true)] {
            let list = Arc::new(Monitor::new(ROOM, 7));
            let responder = Responder::with_monitor(1, Arc::clone(&list));
            let state = ServingState { monitor, ..ServingState::default() };
            let id = BenchmarkId::new(what, name);
            turns(&mut group, id, state, responder, addresses, Verdict::Reply(HEADER_LEN));
            if list.clients().count() == ROOM {
                let id = BenchmarkId::new("read", "all 16384");
                group.bench_function(id, |b| {
                    b.iter(|| list.clients().map(black_box).count());
                });
            }
        }
    }
    for (what, monitor) in [("refused, not kept", false), ("refused, kept", true)] {
        let responder = Responder::with_monitor(1, Arc::new(Monitor::new(ROOM, 7)));
        let state = ServingState { monitor, ..refusing() };
        let id = BenchmarkId::new(what, "one address");
        turns(&mut group, id, state, responder, 1, Verdict::Drop(Reason::Limited));
    }
    group.finish();
}

fn turns(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    state: ServingState,
    mut responder: Responder,
    addresses: u32,
    expected: Verdict,
) {
    let mut received = SystemClock.now();
    let state = ServingState { system: requests::synchronised(received), ..state };
    responder.begin_batch(&mut Publisher::new(state).subscribe(), false);
    let local = SocketAddr::from(([192, 0, 2, 1], 123));
    let mut clients: Vec<_> = (0..addresses).map(|n| Ipv4Addr::from_bits(0x0B00_0000 + n)).collect();
    Rng::with_seed(3).shuffle(&mut clients);
    let mut next = clients.iter().cycle();
    let request = requests::time(4, 1);
    let mut memory = request;
    let mut once = || {
        memory = request;
        // A microsecond each, so that some are older than others.
        received = received.offset_by(1 << 12);
        let peer = SocketAddr::from((next.next().copied().unwrap_or(Ipv4Addr::LOCALHOST), 40_000));
        responder.respond(Datagram { peer, local, received, ahead: 0, buf: black_box(&mut memory) }, &Stopped)
    };
    assert!((0..addresses).all(|_| once() == expected));
    group.bench_function(id, |b| b.iter(&mut once));
}

/// Cold addresses: every lookup is for another random client, of 2^20. Cold lists: and in another copy of the
/// list, of so many that no cache but the last holds them, as after the kernel's work on a few packets.
fn access(c: &mut Criterion) {
    const ENTRIES_IN_ALL_COPIES: usize = 640_000;
    for (name, cold_lists) in [("access, cold addresses", false), ("access, cold addresses and lists", true)]
    {
        let mut group = c.benchmark_group(name);
        for (family, size) in
            [Family::V4, Family::V6].into_iter().flat_map(|f| [10, 1_000, 10_000].map(|n| (f, n)))
        {
            let random = &mut Rng::with_seed(size as u64);
            let entries = restrict::entries(family, size, random);
            let clients = restrict::clients(family, &entries, 1 << 20, random);
            let copies = if cold_lists { ENTRIES_IN_ALL_COPIES / size } else { 1 };
            let mut lists = vec![AccessList::new(&entries).unwrap_or_default(); copies];
            random.shuffle(&mut lists);
            let mut next = clients.iter().cycle().zip(lists.iter().cycle());
            group.bench_function(BenchmarkId::new(family.name(), size), |b| {
                b.iter(|| next.next().map(|(client, list)| list.lookup(black_box(*client))));
            });
        }
        group.finish();
    }
}

fn snapshot(c: &mut Criterion) {
    let mut group = c.benchmark_group("snapshot load");
    let mut publisher = Publisher::new(ServingState::default());
    let mut reader = publisher.subscribe();
    group.bench_function("unchanged", |b| b.iter(|| Arc::as_ptr(reader.load())));

    let mut readers: Vec<_> = (0..1024).map(|_| publisher.subscribe()).collect();
    group.bench_function("changed", |b| {
        b.iter_custom(|loads| load_changed(&mut publisher, &mut readers, loads));
    });
    group.finish();
}

/// The time of so many loads, each the first one of its reader since a new value was published. Publishing is
/// not timed.
fn load_changed(
    publisher: &mut Publisher<ServingState>,
    readers: &mut [Published<ServingState>],
    loads: u64,
) -> Duration {
    let mut elapsed = Duration::ZERO;
    let mut left = usize::try_from(loads).unwrap_or(usize::MAX);
    while left > 0 {
        let round = left.min(readers.len());
        publisher.publish(ServingState::default());
        let start = Instant::now();
        for reader in &mut readers[..round] {
            black_box(reader.load());
        }
        elapsed += start.elapsed();
        left -= round;
    }
    elapsed
}
