//! Sockets against a server that is another socket.

use std::net::UdpSocket;

use super::*;

const SIZES: ExchangeSizes = ExchangeSizes { batch: 8, payload: 64, receive_buffer: 1 << 16 };
const PATIENCE: Duration = Duration::from_secs(5);

fn clients(sources: &[IpAddr], target: SocketAddr) -> ClientSockets {
    ClientSockets::connect(sources, target, SIZES).unwrap()
}

fn requests(payloads: &[[u8; 4]]) -> RequestBatch {
    let mut batch = RequestBatch::new(payloads.len(), 4);
    assert!(payloads.iter().all(|payload| batch.push(payload)));
    batch
}

#[test]
fn requests_leave_from_their_sources_and_replies_come_back_stamped() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let sources = [IpAddr::from([127, 0, 1, 1]), IpAddr::from([127, 0, 1, 2])];
    let mut clients = clients(&sources, server.local_addr().unwrap());
    let mut buffer = [0; 100];
    for (client, source) in sources.into_iter().enumerate() {
        assert_eq!(clients.send(client, &mut requests(&[*b"one.", *b"two."])).unwrap(), 2);
        for expected in [b"one.", b"two."] {
            let (length, peer) = server.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], peer.ip()), (&expected[..], source));
            server.send_to(expected, peer).unwrap();
        }
        server.send_to(&[0; 65], clients.sockets[client].local_addr().unwrap().as_socket().unwrap()).unwrap();
        clients.wait(PATIENCE).unwrap();
        let mut seen = Vec::new();
        let received = clients.receive(|reply| {
            let age = reply.stamp.map(|stamp| reply.seen.realtime.as_nanos() - stamp.as_nanos());
            assert!(reply.payload.is_none() || age.is_some_and(|age| age >= 0), "stamped {age:?}");
            seen.push((reply.client, reply.payload.map(<[u8]>::to_vec)));
        });
        assert_eq!(received.unwrap(), 3);
        let expected = [Some(b"one.".to_vec()), Some(b"two.".to_vec()), None];
        assert_eq!(seen, expected.map(|payload| (client, payload)));
    }
}

#[test]
fn marked_requests_come_back_with_the_time_they_left() {
    for any in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let server = match UdpSocket::bind((any, 0)) {
            Ok(server) => server,
            Err(error) => return println!("skipped: this machine has no {any}: {error}"),
        };
        let mut clients = clients(&[any], server.local_addr().unwrap());
        clients.stamp_sends().unwrap();
        let mut batch = requests(&[*b"one.", *b"two."]);
        batch.stamp_last();
        assert!(batch.is_stamped());
        let before = clock::realtime();
        clients.send(0, &mut batch).unwrap();
        let mut stamps = Vec::new();
        clients.send_stamps(0, &mut |payload, stamp| stamps.push((payload.to_vec(), stamp)));
        let [(payload, stamp)] = &stamps[..] else { panic!("{stamps:?}") };
        assert_eq!(payload, b"two.");
        assert!((before..=clock::realtime()).contains(stamp), "{before:?} {stamp:?}");
        batch.clear();
        assert!(!batch.is_stamped());
        // What is not read at once is found by the next look for replies.
        batch.push(b"late");
        batch.stamp_last();
        clients.send(0, &mut batch).unwrap();
        assert_eq!(clients.receive(|_| panic!("no reply was sent")).unwrap(), 0);
        let mut late = 0;
        clients.late_send_stamps(&mut |_, _| late += 1);
        clients.late_send_stamps(&mut |_, _| late += 1);
        assert_eq!((late, clients.unreachable()), (1, 0));
    }
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
fn each_request_can_have_a_source_of_its_own() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let stranger = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = server.local_addr().unwrap();
    let mut clients = ClientSockets::with_any_source(1, target, SIZES).unwrap();
    clients.stamp_sends().unwrap();
    assert!(!requests(&[]).push_from(b"none", Ipv4Addr::LOCALHOST.into()));
    let mut batch = RequestBatch::with_sources(3, 4, target);
    let sources = [1, 2, 3].map(|host| Ipv4Addr::new(127, 9, 8, host));
    assert!(sources.iter().all(|&source| batch.push_from(b"ping", source.into())));
    assert!(!batch.push_from(b"full", sources[0].into()));
    batch.stamp_last();
    assert_eq!(clients.send(0, &mut batch).unwrap(), 3);
    let mut stamps = 0;
    clients.send_stamps(0, &mut |payload, _| stamps += u32::from(payload == b"ping"));
    assert_eq!(stamps, 1);
    let mut buffer = [0; 100];
    for source in sources {
        let (length, peer) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], peer.ip()), (&b"ping"[..], source.into()));
        server.send_to(b"pong", peer).unwrap();
        stranger.send_to(b"pang", peer).unwrap();
    }
    clients.wait(PATIENCE).unwrap();
    let mut seen = Vec::new();
    clients.receive(|reply| seen.push((reply.payload.map(<[u8]>::to_vec), reply.from_target))).unwrap();
    assert_eq!(seen.len(), 6);
    assert!(seen.iter().all(|(payload, from)| (payload.as_deref() == Some(b"pong")) == *from), "{seen:?}");
}

#[test]
fn a_closed_port_is_told() {
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let mut clients = clients(&[Ipv4Addr::LOCALHOST.into()], closed);
    clients.send(0, &mut requests(&[*b"ping"])).unwrap();
    clients.wait(PATIENCE).unwrap();
    assert_eq!(clients.receive(|_| panic!("nobody answers")).unwrap(), 0);
    assert_eq!(clients.unreachable(), 1);
}

#[test]
fn what_a_full_queue_loses_is_counted_without_a_later_datagram() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let sizes = ExchangeSizes { receive_buffer: 1, ..SIZES };
    let target = server.local_addr().unwrap();
    let clients = ClientSockets::connect(&[Ipv4Addr::LOCALHOST.into()], target, sizes).unwrap();
    let peer = clients.sockets[0].local_addr().unwrap().as_socket().unwrap();
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
