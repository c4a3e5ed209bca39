//! Serving allocates and frees nothing: a counting allocator watches a hundred thousand requests of every
//! kind.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use ntpring::auth::{self, KeyTable};
use ntpring::datapath::{Datapath, Mmsg, SystemClock, Uring};
use ntpring::limits;
use ntpring::server::{
    AccessEntry, AccessFlags, AccessList, Clock, Datagram, IpPrefix, Monitor, RateLimit, Reason, Responder,
    ServingState, Verdict,
};
use ntpring::snapshot::{LocalClock, Publisher, SystemVariables};
use ntpring::sys::socket::{ServeSocket, SocketOptions};
use ntpring::wire::Precision;

#[path = "support/skip.rs"]
mod skip;

const REQUESTS: usize = 100_000;

/// A key of every kind.
fn keys() -> KeyTable {
    let kinds = ["MD5", "SHA1", "SHA224", "SHA256", "SHA384", "SHA512", "AES-128", "AES-192", "AES-256"];
    let lines: Vec<_> = (1..).zip(kinds).map(|(id, kind)| format!("{id} {kind} secret")).collect();
    auth::read(lines.join("\n").as_bytes(), |_| true, &mut |fault| assert!(!fault.is_skipped, "{fault:?}"))
}

/// A local clock, found right just now, and an access list in which every flag occurs.
fn state() -> ServingState {
    let system =
        SystemVariables::local_clock(LocalClock::default(), Precision::from_log2(-24), SystemClock.now());
    let entry = |third, flags| AccessEntry {
        prefix: IpPrefix::new([192, 0, third, 0].into(), 24).unwrap(),
        flags,
        ntpport: third % 2 == 1,
    };
    let entries = [
        entry(0, AccessFlags::NONE),
        entry(1, AccessFlags::IGNORE),
        entry(2, AccessFlags::NOSERVE | AccessFlags::NOQUERY),
        entry(3, AccessFlags::NOTRUST),
        entry(4, AccessFlags::VERSION),
        entry(6, AccessFlags::LIMITED | AccessFlags::KOD),
    ];
    // Fewer buckets than addresses that need one.
    let limit = RateLimit { burst: 1, sources: 64, ..RateLimit::default() };
    ServingState {
        system,
        access: Arc::new(AccessList::new(&entries).unwrap()),
        limit,
        monitor: true,
        keys: Arc::new(keys()),
        control_key: None,
        spent_mark: None,
    }
}

#[test]
fn o10_the_responder_allocates_nothing() {
    let mut publisher = Publisher::new(state());
    let mut published = publisher.subscribe();
    let mut responder = Responder::with_monitor(10, Arc::new(Monitor::new(64, 1)));
    // The state that a responder is born with goes away once, at start.
    responder.begin_batch(&mut published, false);
    let mut random = fastrand::Rng::with_seed(10);
    let mut verdicts = [0; 3];
    let mut signed = 0;
    let local = SocketAddr::from(([192, 0, 2, 1], 123));
    for round in 0..100 {
        // The daemon publishes and frees now and then; taking the newest state must cost a worker no
        // allocation either.
        if round % 10 == 0 {
            publisher.publish(state());
        }
        let keys = keys();
        let watched = allocation_counter::measure(|| {
            responder.begin_batch(&mut published, round % 20 == 19);
            for _ in 0..REQUESTS / 100 {
                let mut buf = [0; 1024];
                match random.u8(0..4) {
                    0 => random.fill(&mut buf[..80]),
                    1 => buf[..2].copy_from_slice(&[0x16, 2]),
                    _ => buf[0] = 0x23,
                }
                let mut length =
                    random.choice([0, 12, 47, 48, 48, 48, 50, 68, 72, 76, 80, 1024]).unwrap_or(48);
                // A quarter of what is well-formed is signed.
                if buf[0] == 0x23
                    && let Some(key) = keys.get(random.u32(1..=40))
                {
                    length = key.sign(&mut buf, 48).unwrap();
                }
                let peer = SocketAddr::from(([192, 0, random.u8(0..8), random.u8(..)], random.u16(120..130)));
                let datagram =
                    Datagram { peer, local, received: SystemClock.now(), ahead: 0, buf: &mut buf[..length] };
                match responder.respond(datagram, &SystemClock) {
                    Verdict::Reply(48) => verdicts[0] += 1,
                    Verdict::Reply(_) => signed += 1,
                    Verdict::Forward => verdicts[1] += 1,
                    Verdict::Drop(_) => verdicts[2] += 1,
                }
            }
        });
        assert_eq!((watched.count_total, watched.count_current), (0, 0), "round {round}: {watched:?}");
    }
    assert!(verdicts.iter().all(|count| *count > 500), "every verdict was among them: {verdicts:?}");
    assert!(signed > 1000, "{signed} replies were signed");
    let tally = responder.tally();
    assert_eq!(tally.received, REQUESTS as u64);
    assert!(tally.kod > 50 && tally.dropped[Reason::Limited as usize] > 100, "{tally:?}");
}

/// Bursts of requests over loopback, watched from the socket to the socket.
fn path_allocates_nothing(open: impl FnOnce(Arc<[ServeSocket]>) -> Option<Box<dyn FnMut(&mut Responder)>>) {
    const BURST: usize = 50;
    let options = SocketOptions { receive_buffer: limits::SOCKET_RECEIVE_BUFFER, ..SocketOptions::default() };
    let socket = ServeSocket::open((Ipv4Addr::LOCALHOST, 0).into(), options).unwrap();
    let server = socket.local();
    let Some(mut turn) = open(Arc::new([socket])) else { return };

    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let publisher = Publisher::new(state());
    let mut published = publisher.subscribe();
    let mut responder = Responder::with_monitor(11, Arc::new(Monitor::new(64, 1)));
    let mut request = [0; 48];
    request[0] = 0x23;
    let mut serve_a_burst = || {
        for _ in 0..BURST {
            client.send_to(&request, server).unwrap();
            client.send_to(&request[..40], server).unwrap();
        }
        responder.begin_batch(&mut published, false);
        let expected = responder.tally().received + 2 * BURST as u64;
        while responder.tally().received < expected {
            turn(&mut responder);
        }
        for _ in 0..BURST {
            assert_eq!(client.recv(&mut [0; 64]).unwrap(), 48);
        }
    };
    serve_a_burst();
    let watched = allocation_counter::measure(|| {
        for _ in 0..REQUESTS / (2 * BURST) {
            serve_a_burst();
        }
    });
    assert_eq!((watched.count_total, watched.count_current), (0, 0), "{watched:?}");
}

/// One turn of a worker's loop.
fn turns(mut path: impl Datapath + 'static) -> Box<dyn FnMut(&mut Responder)> {
    Box::new(move |responder| {
        path.wait(limits::TICK).unwrap();
        path.drain(|datagram| responder.respond(datagram, &SystemClock)).unwrap();
    })
}

#[test]
fn o10_mmsg_allocates_nothing() {
    path_allocates_nothing(|sockets| Some(turns(Mmsg::new(sockets))));
}

#[test]
fn o10_io_uring_allocates_nothing() {
    path_allocates_nothing(|sockets| match Uring::new(sockets) {
        Ok(path) => Some(turns(path)),
        Err(error) => {
            skip::skip("io_uring", &error.to_string());
            None
        }
    });
}
