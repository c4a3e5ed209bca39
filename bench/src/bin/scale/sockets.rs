//! Workers with their sockets: each thread asks its own worker's socket over loopback, answers, and collects.
//! What a core loses here and not without sockets, the kernel shares.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bench::requests;
use ntpring::datapath::{Datapath, Mmsg, SystemClock, Uring};
use ntpring::limits;
use ntpring::server::{Clock, Reason, Responder, ServingState, Verdict};
use ntpring::snapshot::Publisher;
use ntpring::sys::socket::{ServeSocket, SocketOptions};
use ntpring::wire::HEADER_LEN;

use super::{Case, Work};

const BATCH: usize = 24;

/// One worker's socket, and the address of a client that is steered to it.
struct Seat {
    sockets: Arc<[ServeSocket]>,
    client: Ipv4Addr,
}

pub(crate) fn cases(cores: usize, mut measure: impl FnMut(Case<'_>) -> io::Result<()>) -> io::Result<()> {
    let group = group(cores)?;
    measure(Case { name: "mmsg, workers that share a port", make: &|worker| mmsg(&group[worker]) })?;
    measure(Case { name: "io_uring, workers that share a port", make: &|worker| uring(&group[worker]) })?;
    let alone: Vec<Seat> = (0..cores).map(|_| lone()).collect::<io::Result<_>>()?;
    measure(Case { name: "mmsg, a port for each", make: &|worker| mmsg(&alone[worker]) })?;
    measure(Case { name: "io_uring, a port for each", make: &|worker| uring(&alone[worker]) })
}

fn options() -> SocketOptions {
    SocketOptions { receive_buffer: limits::SOCKET_RECEIVE_BUFFER, ..SocketOptions::default() }
}

fn lone() -> io::Result<Seat> {
    let socket = ServeSocket::open(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options())?;
    Ok(Seat { sockets: [socket].into(), client: Ipv4Addr::LOCALHOST })
}

/// The sockets of as many workers on one port, each with a client of its own.
fn group(workers: usize) -> io::Result<Vec<Seat>> {
    let first = ServeSocket::open(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options())?;
    let address = first.local();
    let mut sockets: Vec<Arc<[ServeSocket]>> = vec![[first].into()];
    for _ in 1..workers {
        sockets.push([ServeSocket::open(address, options())?].into());
    }
    sockets[0][0].steer_group(workers)?;
    let seat = |sockets: Arc<[ServeSocket]>| Ok(Seat { client: client_of(&sockets, address)?, sockets });
    let seats: Vec<Seat> = sockets.into_iter().map(seat).collect::<io::Result<_>>()?;
    seats.iter().try_for_each(|seat| arrived(&seat.sockets).map(drop))?;
    Ok(seats)
}

/// The first address whose datagrams arrive at these sockets.
fn client_of(sockets: &Arc<[ServeSocket]>, address: SocketAddr) -> io::Result<Ipv4Addr> {
    for last in 1..=u8::MAX {
        let client = Ipv4Addr::new(127, 0, 0, last);
        UdpSocket::bind((client, 0))?.send_to(&[0], address)?;
        if arrived(sockets)?.contains(&client.into()) {
            return Ok(client);
        }
    }
    Err(io::Error::other("no client is steered to one of the workers"))
}

/// Empties the sockets; the senders of what was in them.
fn arrived(sockets: &Arc<[ServeSocket]>) -> io::Result<Vec<IpAddr>> {
    let mut path = Mmsg::new(Arc::clone(sockets));
    let mut senders = Vec::new();
    loop {
        let before = senders.len();
        path.wait(Duration::from_millis(1))?;
        path.drain(|datagram| {
            senders.push(datagram.peer.ip());
            Verdict::Drop(Reason::Short)
        })?;
        if senders.len() == before {
            return Ok(senders);
        }
    }
}

fn uring(seat: &Seat) -> io::Result<Work> {
    work(seat, Uring::new(Arc::clone(&seat.sockets))?)
}

fn mmsg(seat: &Seat) -> io::Result<Work> {
    work(seat, Mmsg::new(Arc::clone(&seat.sockets)))
}

fn work(seat: &Seat, mut path: impl Datapath + 'static) -> io::Result<Work> {
    let client = UdpSocket::bind((seat.client, 0))?;
    client.connect(seat.sockets[0].local())?;
    client.set_read_timeout(Some(Duration::from_secs(1)))?;
    let state = ServingState { system: requests::synchronised(SystemClock.now()), ..ServingState::default() };
    let mut published = Publisher::new(state).subscribe();
    let mut responder = Responder::new(1);
    let request = requests::time(4, 1);
    Ok(Box::new(move || {
        for _ in 0..BATCH {
            client.send(&request)?;
        }
        responder.begin_batch(&mut published, false);
        let mut answered = 0;
        while answered < BATCH {
            path.wait(limits::TICK)?;
            path.drain(|datagram| {
                answered += 1;
                responder.respond(datagram, &SystemClock)
            })?;
        }
        let mut reply = [0; 2 * HEADER_LEN];
        for _ in 0..BATCH {
            if client.recv(&mut reply)? != HEADER_LEN {
                return Err(io::Error::other("not a whole reply"));
            }
        }
        Ok(BATCH as u64)
    }))
}
