//! Both engines against a server that is another socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Instant;

use super::*;
use crate::sys::uring::probe;

const SIZES: ExchangeSizes = ExchangeSizes { batch: 8, payload: 64 };
const RECEIVE_BUFFER: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes two tests of each function: one for each engine.
macro_rules! on_both_engines {
    ($($test:ident)*) => {
        mod mmsg {
            use super::*;
            $(#[test] fn $test() { super::$test(MmsgExchange::new); })*
        }
        mod io_uring {
            use super::*;
            $(#[test] fn $test() {
                match probe() {
                    Ok(()) => super::$test(UringExchange::new),
                    Err(error) => println!("skipped: {error}"),
                }
            })*
        }
    };
}

on_both_engines! {
    requests_leave_from_their_sources_and_replies_come_back_stamped
    marked_requests_come_back_with_the_time_they_left
    each_request_can_have_a_source_of_its_own
    a_closed_port_is_told
    more_than_fits_the_buffers_comes_all_the_same
    an_exchange_that_is_dropped_frees_its_ports
}

/// How an engine is made.
trait New<X>: Fn(ClientSockets, ExchangeSizes) -> io::Result<X> {}
impl<X, F: Fn(ClientSockets, ExchangeSizes) -> io::Result<X>> New<X> for F {}

fn connect(sources: &[IpAddr], target: SocketAddr) -> ClientSockets {
    ClientSockets::connect(sources, target, RECEIVE_BUFFER).unwrap()
}

fn requests(payloads: &[[u8; 4]]) -> RequestBatch {
    let mut batch = RequestBatch::new(payloads.len(), 4);
    assert!(payloads.iter().all(|payload| batch.push(payload)));
    batch
}

/// What has come.
#[derive(Debug, Default)]
struct Inbox {
    replies: Vec<Came>,
    stamps: Vec<(Vec<u8>, Timespec)>,
}

#[derive(Debug)]
struct Came {
    client: usize,
    payload: Option<Vec<u8>>,
    from_target: bool,
    /// When it was seen, by its stamp.
    age: Option<i128>,
}

impl Visitor for Inbox {
    fn replied(&mut self, reply: &Reply<'_>) {
        self.replies.push(Came {
            client: reply.client,
            payload: reply.payload.map(<[u8]>::to_vec),
            from_target: reply.from_target,
            age: reply.stamp.map(|stamp| reply.seen.realtime.as_nanos() - stamp.as_nanos()),
        });
    }

    fn stamped(&mut self, request: &[u8], stamp: Timespec) {
        self.stamps.push((request.to_vec(), stamp));
    }
}

/// Receives until so many replies and stamps have come.
fn receive(exchange: &mut impl Exchange, replies: usize, stamps: usize) -> Inbox {
    let mut seen = Inbox::default();
    let start = Instant::now();
    let mut received = 0;
    while seen.replies.len() < replies || seen.stamps.len() < stamps {
        assert!(start.elapsed() < PATIENCE, "{} replies, {:?}", seen.replies.len(), seen.stamps);
        exchange.wait(Duration::from_millis(100)).unwrap();
        received += exchange.receive(&mut seen).unwrap();
    }
    assert_eq!(exchange.receive(&mut seen).unwrap(), 0);
    assert_eq!((received, seen.stamps.len()), (seen.replies.len(), stamps));
    seen
}

fn requests_leave_from_their_sources_and_replies_come_back_stamped<X: Exchange>(new: impl New<X>) {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let sources = [IpAddr::from([127, 0, 1, 1]), IpAddr::from([127, 0, 1, 2])];
    let mut exchange = new(connect(&sources, server.local_addr().unwrap()), SIZES).unwrap();
    let mut buffer = [0; 100];
    for (client, source) in sources.into_iter().enumerate() {
        assert_eq!(exchange.send(client, &mut requests(&[*b"one.", *b"two."])).unwrap(), 2);
        for expected in [b"one.", b"two."] {
            let (length, peer) = server.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], peer.ip()), (&expected[..], source));
            server.send_to(expected, peer).unwrap();
        }
        let peer = exchange.sockets().of(client).local_addr().unwrap().as_socket().unwrap();
        server.send_to(&[0; 65], peer).unwrap();
        let seen = receive(&mut exchange, 3, 0);
        let expected = [Some(b"one.".to_vec()), Some(b"two.".to_vec()), None];
        assert!(seen.replies.iter().all(|came| came.client == client && came.from_target), "{seen:?}");
        assert!(seen.replies.iter().map(|came| came.payload.clone()).eq(expected), "{seen:?}");
        let is_recent =
            |came: &Came| came.age.is_some_and(|age| (0..PATIENCE.as_nanos() as i128).contains(&age));
        assert!(seen.replies[..2].iter().all(is_recent), "{seen:?}");
    }
}

fn marked_requests_come_back_with_the_time_they_left<X: Exchange>(new: impl New<X>) {
    for any in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let server = match UdpSocket::bind((any, 0)) {
            Ok(server) => server,
            Err(error) => return println!("skipped: this machine has no {any}: {error}"),
        };
        let mut sockets = connect(&[any], server.local_addr().unwrap());
        sockets.stamp_sends().unwrap();
        let mut exchange = new(sockets, SIZES).unwrap();
        let mut batch = requests(&[*b"one.", *b"two."]);
        batch.stamp_last();
        assert!(batch.is_stamped());
        let before = clock::realtime();
        exchange.send(0, &mut batch).unwrap();
        let peer = exchange.sockets().of(0).local_addr().unwrap().as_socket().unwrap();
        server.send_to(b"pong", peer).unwrap();
        let seen = receive(&mut exchange, 1, 1);
        let (payload, stamp) = &seen.stamps[0];
        assert_eq!(payload, b"two.");
        assert!((before..=clock::realtime()).contains(stamp), "{before:?} {stamp:?}");
        batch.clear();
        assert!(!batch.is_stamped());
        for _ in 0..20 {
            batch.clear();
            batch.push(b"more");
            batch.stamp_last();
            exchange.send(0, &mut batch).unwrap();
        }
        let seen = receive(&mut exchange, 0, 20);
        assert!(seen.stamps.is_sorted_by_key(|(_, stamp)| *stamp), "{:?}", seen.stamps);
        assert_eq!(exchange.unreachable(), 0);
    }
}

fn each_request_can_have_a_source_of_its_own<X: Exchange>(new: impl New<X>) {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = server.local_addr().unwrap();
    let mut sockets = ClientSockets::with_any_source(1, target, RECEIVE_BUFFER).unwrap();
    sockets.stamp_sends().unwrap();
    let mut exchange = new(sockets, SIZES).unwrap();
    assert!(!requests(&[]).push_from(b"none", Ipv4Addr::LOCALHOST.into()));
    let mut batch = RequestBatch::with_sources(3, 4, target);
    let sources = [1, 2, 3].map(|host| Ipv4Addr::new(127, 9, 8, host));
    assert!(sources.iter().all(|&source| batch.push_from(b"ping", source.into())));
    assert!(!batch.push_from(b"full", sources[0].into()));
    batch.stamp_last();
    assert_eq!(exchange.send(0, &mut batch).unwrap(), 3);
    let mut buffer = [0; 100];
    for source in sources {
        let (length, peer) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], peer.ip()), (&b"ping"[..], source.into()));
        server.send_to(b"pong", peer).unwrap();
        stranger.send_to(b"pang", peer).unwrap();
    }
    let seen = receive(&mut exchange, 6, 1);
    assert_eq!(seen.stamps[0].0, b"ping");
    let right = |came: &Came| (came.payload.as_deref() == Some(b"pong")) == came.from_target;
    assert!(seen.replies.iter().all(right), "{seen:?}");
}

fn a_closed_port_is_told<X: Exchange>(new: impl New<X>) {
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut exchange = new(connect(&[Ipv4Addr::LOCALHOST.into()], closed), SIZES).unwrap();
    for told in 1..=3 {
        exchange.send(0, &mut requests(&[*b"ping"])).unwrap();
        exchange.wait(PATIENCE).unwrap();
        assert_eq!(exchange.receive(&mut |_: &Reply<'_>| panic!("nobody answers")).unwrap(), 0);
        assert_eq!(exchange.unreachable(), told);
    }
    // And the next send is told, if nobody has received meanwhile.
    let mut batch = requests(&[*b"ping"]);
    exchange.send(0, &mut batch).unwrap();
    batch.clear();
    batch.push(b"ping");
    let error = exchange.send(0, &mut batch).unwrap_err();
    assert!(is_unreachable(&error) && batch.done() == 0, "{error}");
    assert_eq!(exchange.send(0, &mut batch).unwrap(), 1, "the error is gone when it was told");
}

fn more_than_fits_the_buffers_comes_all_the_same<X: Exchange>(new: impl New<X>) {
    const EACH: usize = 700;
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let sources = [Ipv4Addr::LOCALHOST.into(); 2];
    let mut exchange = new(connect(&sources, server.local_addr().unwrap()), SIZES).unwrap();
    for round in 0..2 {
        for client in 0..sources.len() {
            let peer = exchange.sockets().of(client).local_addr().unwrap().as_socket().unwrap();
            for number in 0..EACH as u32 {
                server.send_to(&number.to_be_bytes(), peer).unwrap();
            }
        }
        let seen = receive(&mut exchange, 2 * EACH, 0);
        for client in 0..sources.len() {
            let of_client = seen.replies.iter().filter(|came| came.client == client);
            let expected = (0..EACH as u32).map(|number| Some(number.to_be_bytes().to_vec()));
            assert!(of_client.map(|came| came.payload.clone()).eq(expected), "in order, round {round}");
        }
    }
    assert_eq!(exchange.sockets().drops().unwrap(), 0);
}

fn an_exchange_that_is_dropped_frees_its_ports<X: Exchange>(new: impl New<X>) {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let exchange = new(connect(&[Ipv4Addr::LOCALHOST.into()], server.local_addr().unwrap()), SIZES).unwrap();
    let port = exchange.sockets().of(0).local_addr().unwrap().as_socket().unwrap();
    drop(exchange);
    UdpSocket::bind(port).unwrap();
}

#[test]
fn payloads_are_found_behind_whatever_header() {
    let mut v4 = vec![0x45, 0, 0, 32];
    v4.resize(28, 0);
    v4.extend(b"v4v4");
    let mut v6 = vec![0x60, 0, 0, 0, 0, 12];
    v6.resize(48, 0);
    v6.extend(b"v6v6");
    for link in LINK_HEADERS {
        assert_eq!(udp_payload(&[&vec![0x55; link], &v4[..]].concat()), Some(&b"v4v4"[..]));
        assert_eq!(udp_payload(&[&vec![0x55; link], &v6[..]].concat()), Some(&b"v6v6"[..]));
    }
    assert_eq!(udp_payload(&v4[..31]), None);
    assert_eq!(udp_payload(&[]), None);
}

#[test]
fn what_a_full_queue_loses_is_counted_without_a_later_datagram() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = server.local_addr().unwrap();
    let clients = ClientSockets::connect(&[Ipv4Addr::LOCALHOST.into()], target, 1).unwrap();
    let peer = clients.of(0).local_addr().unwrap().as_socket().unwrap();
    for _ in 0..100 {
        server.send_to(&[0; 48], peer).unwrap();
    }
    let drops = clients.drops().unwrap();
    assert!((50..100).contains(&drops), "{drops} of 100 datagrams dropped by the smallest buffer there is");
}

#[test]
fn a_batch_takes_what_fits_and_no_more() {
    let mut batch = RequestBatch::new(1, 4);
    assert!(!batch.push(b"long."));
    assert!(batch.is_empty());
    assert!(batch.push(b"fits"));
    assert!(!batch.push(b"full"));
    batch.skip();
    batch.skip();
    assert_eq!((batch.len(), batch.done()), (1, 1));
    batch.clear();
    assert!(batch.is_empty());
}
