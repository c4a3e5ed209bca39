//! One batch over loopback per backend: N requests wait in the socket, one or more waits and drains answer
//! them all. Sending the requests and collecting the replies is not timed.

#![forbid(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bench::{echo, requests};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use ntpring::datapath::{Datapath, Mmsg, SystemClock, Uring};
use ntpring::limits;
use ntpring::server::{Clock, Datagram, Responder, ServingState, Verdict};
use ntpring::snapshot::Publisher;
use ntpring::sys::socket::{ServeSocket, SocketOptions};
use ntpring::wire::HEADER_LEN;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    loopback(&mut criterion);
    criterion.final_summary();
}

const BATCHES: [usize; 3] = [1, 16, 64];

fn loopback(c: &mut Criterion) {
    let mut group = c.benchmark_group("loopback batch");
    for batch in BATCHES {
        group.throughput(Throughput::Elements(batch as u64));
        match Loopback::new(Uring::new) {
            Ok(loopback) => loopback.measure(&mut group, "io_uring", batch),
            Err(error) => println!("skipped: io_uring, {batch} requests: {error}"),
        }
        match Loopback::new(|sockets| Ok(Mmsg::new(sockets))) {
            Ok(loopback) => loopback.measure(&mut group, "mmsg", batch),
            Err(error) => println!("skipped: mmsg, {batch} requests: {error}"),
        }
    }
    group.finish();
}

/// A server's socket on its datapath, and a client.
struct Loopback<D> {
    path: D,
    client: UdpSocket,
}

impl<D: Datapath> Loopback<D> {
    /// `build` makes the datapath on this thread, which is also the one that uses it.
    fn new(build: impl FnOnce(Arc<[ServeSocket]>) -> io::Result<D>) -> io::Result<Self> {
        let options =
            SocketOptions { receive_buffer: limits::SOCKET_RECEIVE_BUFFER, ..SocketOptions::default() };
        let socket = ServeSocket::open(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), options)?;
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        client.connect(socket.local())?;
        client.set_read_timeout(Some(Duration::from_secs(1)))?;
        Ok(Self { path: build([socket].into())?, client })
    }

    /// The server, and the echo as its control.
    fn measure(mut self, group: &mut BenchmarkGroup<'_, WallTime>, name: &str, batch: usize) {
        let state =
            ServingState { system: requests::synchronised(SystemClock.now()), ..ServingState::default() };
        let mut responder = Responder::new(1);
        responder.begin_batch(&mut Publisher::new(state).subscribe(), false);
        group.bench_function(BenchmarkId::new(name, batch), |b| {
            b.iter_custom(|rounds| {
                self.time(rounds, batch, |datagram| responder.respond(datagram, &SystemClock))
            });
        });
        group.bench_function(BenchmarkId::new(format!("{name}, echo"), batch), |b| {
            b.iter_custom(|rounds| self.time(rounds, batch, echo::echo));
        });
    }

    fn time(
        &mut self,
        rounds: u64,
        batch: usize,
        mut serve: impl FnMut(Datagram<'_>) -> Verdict,
    ) -> Duration {
        (0..rounds)
            .map(|_| self.round(batch, &mut serve).expect("every request on loopback is answered"))
            .sum()
    }

    fn round(
        &mut self,
        batch: usize,
        serve: &mut impl FnMut(Datagram<'_>) -> Verdict,
    ) -> io::Result<Duration> {
        for cookie in 0..batch {
            self.client.send(&requests::time(4, cookie as u64 + 1))?;
        }
        let mut answered = 0;
        let start = Instant::now();
        while answered < batch {
            self.path.wait(limits::TICK)?;
            self.path.drain(|datagram| {
                answered += 1;
                serve(datagram)
            })?;
        }
        let elapsed = start.elapsed();
        let mut reply = [0; 2 * HEADER_LEN];
        for _ in 0..batch {
            let length = self.client.recv(&mut reply)?;
            assert_eq!(length, HEADER_LEN, "a whole reply");
        }
        Ok(elapsed)
    }
}
