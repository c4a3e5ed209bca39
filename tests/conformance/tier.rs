//! The ways for a request to reach the responder and for the reply to come back.

use std::cell::Cell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::Receiver;
use ntpring::datapath::memory::Arrival;
use ntpring::datapath::{self, Backend, Datapath, Query, SystemClock, Worker, memory};
use ntpring::limits;
use ntpring::server::{
    AccessEntry, AccessFlags, AccessList, Clock, Counters, IpPrefix, Monitor, RateLimit, Responder,
    ServingState, Totals,
};
use ntpring::snapshot::{LocalClock, Publisher, SystemVariables};
use ntpring::sys::socket::{ServeSocket, SocketOptions};
use ntpring::wire::{NtpTimestamp, Precision};

use crate::driver::{self, InDriver, OtherEnd};
use crate::packets::{Reply, extension, plain};
use crate::skip::skip;

/// The address from which the suite makes sure that a server is still there; no row may deny it.
const SENTINEL: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));
/// Where rows ask from and to, unless they say otherwise.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The same for IPv6.
pub(crate) const HERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A server on one of the tiers, and clients of it.
pub(crate) trait Tier: Sized {
    /// Serves the state that `state` makes for the present time; none, with a loud skip, where the kernel
    /// forbids this tier.
    fn start(state: impl FnOnce(NtpTimestamp) -> ServingState) -> Option<Self>;

    /// Sends a request and returns all replies to it, each with the address it came from.
    fn ask(&mut self, from: IpAddr, to: IpAddr, request: &[u8]) -> Vec<(SocketAddr, Vec<u8>)>;

    /// The present time as the server knows it.
    fn now(&self) -> NtpTimestamp;

    /// What was counted, all datagrams so far included; `sent` of them went by [`Tier::ask`].
    fn totals(&mut self, sent: u64) -> Totals;

    /// Replies that the network driver sent.
    fn in_driver(&self) -> u64 {
        0
    }

    /// Makes `from` ask from another port hereafter.
    fn change_port(&mut self, from: IpAddr);

    /// Lets time pass.
    fn pass(&mut self, time: Duration);

    /// Control messages that reached the daemon.
    fn forwarded(&mut self) -> Vec<Vec<u8>>;

    /// The port that is served.
    fn port(&self) -> u16;

    /// All replies to a request over loopback.
    fn exchange(&mut self, request: &[u8]) -> Vec<Vec<u8>> {
        self.ask(HERE, HERE, request).into_iter().map(|(_, bytes)| bytes).collect()
    }

    /// The one reply to a request.
    fn reply(&mut self, request: &[u8]) -> Reply {
        match self.exchange(request).as_slice() {
            [reply] => Reply::parse(reply),
            replies => panic!("{} replies to {request:02x?}", replies.len()),
        }
    }

    /// Asserts that there is no reply.
    fn silence(&mut self, request: &[u8]) {
        let replies = self.exchange(request);
        assert!(replies.is_empty(), "{request:02x?} got {replies:02x?}");
    }
}

/// The local clock of stratum 3, served to everybody, no control messages.
pub(crate) fn synchronised(now: NtpTimestamp) -> ServingState {
    ServingState { system: local_clock(3, now), ..ServingState::default() }
}

/// The local clock of this stratum.
pub(crate) fn local_clock(stratum: u8, now: NtpTimestamp) -> SystemVariables {
    let clock = LocalClock { stratum, ..LocalClock::default() };
    SystemVariables::local_clock(clock, Precision::from_log2(-22), now)
}

/// The local clock with this restriction on the address that rows ask from.
pub(crate) fn restricted(flags: AccessFlags) -> impl FnOnce(NtpTimestamp) -> ServingState {
    move |now| {
        let entry = AccessEntry { prefix: IpPrefix::host(HERE), flags, ntpport: false };
        ServingState { access: Arc::new(AccessList::new(&[entry]).unwrap()), ..synchronised(now) }
    }
}

/// The local clock, asked by [`HERE`] within `limit`.
pub(crate) fn limited(flags: AccessFlags, limit: RateLimit) -> impl FnOnce(NtpTimestamp) -> ServingState {
    move |now| ServingState { limit, ..restricted(AccessFlags::LIMITED | flags)(now) }
}

/// No kernel: datagrams are handed over with a clock of their own.
pub(crate) struct Memory {
    path: memory::Memory,
    responder: Responder,
    publisher: Publisher<ServingState>,
    clock: Simulated,
    client_port: u16,
}

/// A clock that goes on by some ten microseconds whenever it is read.
struct Simulated {
    nanoseconds: Cell<u64>,
    jitter: Cell<fastrand::Rng>,
}

impl Clock for Simulated {
    fn now(&self) -> NtpTimestamp {
        let mut jitter = self.jitter.take();
        let now = self.nanoseconds.get() + jitter.u64(10_000..20_000);
        self.jitter.set(jitter);
        self.nanoseconds.set(now);
        NtpTimestamp::from_unix((now / 1_000_000_000) as i64, (now % 1_000_000_000) as u32)
    }
}

impl Memory {
    const PORT: u16 = 123;
}

impl Tier for Memory {
    fn start(state: impl FnOnce(NtpTimestamp) -> ServingState) -> Option<Self> {
        let nanoseconds = Cell::new(1_800_000_000_000_000_000);
        let clock = Simulated { nanoseconds, jitter: Cell::new(fastrand::Rng::with_seed(3)) };
        let publisher = Publisher::new(state(clock.now()));
        let (path, responder) = (memory::Memory::new(), Responder::new(5));
        Some(Self { path, responder, publisher, clock, client_port: 40_000 })
    }

    fn ask(&mut self, from: IpAddr, to: IpAddr, request: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let peer = SocketAddr::new(from, self.client_port);
        let local = SocketAddr::new(to, Self::PORT);
        self.path.push(Arrival { peer, local, received: self.clock.now(), bytes: request.to_vec() });
        self.responder.begin_batch(&mut self.publisher.subscribe(), false);
        self.path.drain(|datagram| self.responder.respond(datagram, &self.clock)).unwrap();
        let replies = self.path.replies.drain(..);
        replies
            .map(|reply| {
                assert_eq!(reply.peer, peer);
                (reply.local, reply.bytes)
            })
            .collect()
    }

    fn now(&self) -> NtpTimestamp {
        self.clock.now()
    }

    fn totals(&mut self, _sent: u64) -> Totals {
        let path = self.path.drain(|_| unreachable!("nothing waits")).unwrap();
        Totals { tally: *self.responder.tally(), path }
    }

    fn change_port(&mut self, _from: IpAddr) {
        self.client_port += 1;
    }

    fn pass(&mut self, time: Duration) {
        self.clock.nanoseconds.set(self.clock.nanoseconds.get() + time.as_nanos() as u64);
    }

    fn forwarded(&mut self) -> Vec<Vec<u8>> {
        self.path.forwarded.drain(..).map(|message| message.bytes).collect()
    }

    fn port(&self) -> u16 {
        Self::PORT
    }
}

/// recvmmsg and sendmmsg over loopback.
pub(crate) struct Mmsg(Sockets);

/// io_uring over loopback.
pub(crate) struct IoUring(Sockets);

/// The program of the network driver, with recvmmsg and sendmmsg behind it for all that it passes on.
pub(crate) struct Xdp(Sockets);

/// The same in the driver of a veth, asked from its other end.
pub(crate) struct XdpNative(Sockets);

/// A worker thread and its clients.
struct Sockets {
    port: u16,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    counters: Arc<Counters>,
    queries: Receiver<Query>,
    clients: HashMap<IpAddr, UdpSocket>,
    /// Where clients are, if not where the server is.
    elsewhere: Option<OtherEnd>,
    /// Where the server is asked, and from where it is made sure that it is still there.
    here: IpAddr,
    sentinel: IpAddr,
    /// Datagrams sent to make sure that the server is there.
    probes: u64,
    driver: Option<InDriver>,
    _publisher: Publisher<ServingState>,
}

impl Sockets {
    fn start(backend: Backend, state: impl FnOnce(NtpTimestamp) -> ServingState) -> Option<Self> {
        let options =
            SocketOptions { receive_buffer: limits::SOCKET_RECEIVE_BUFFER, ..SocketOptions::default() };
        let open = |address: IpAddr, port| ServeSocket::open(SocketAddr::new(address, port), options);
        let v4 = open(Ipv4Addr::UNSPECIFIED.into(), 0).unwrap();
        let port = v4.local().port();
        // Without IPv6 the rows for IPv6 say so themselves.
        let sockets: Arc<[_]> =
            [v4].into_iter().chain(open(Ipv6Addr::UNSPECIFIED.into(), port).ok()).collect();

        let publisher = Publisher::new(state(SystemClock.now()));
        let (stop, counters) = (Arc::new(AtomicBool::new(false)), Arc::new(Counters::new()));
        let (sender, queries) = datapath::queries();
        let worker = Worker {
            core: core_affinity::get_core_ids().unwrap()[0].id,
            sockets,
            published: publisher.subscribe(),
            counters: Arc::clone(&counters),
            monitor: Arc::new(Monitor::new(64, 7)),
            queries: sender,
            stop: Arc::clone(&stop),
            seed: 7,
        };
        let (ready, is_ready) = mpsc::channel();
        let thread = thread::spawn(move || {
            worker.run(backend, |result| ready.send(result).unwrap()).unwrap();
        });
        if let Err(error) = is_ready.recv().unwrap() {
            assert_eq!(backend, Backend::IoUring, "mmsg works everywhere: {error}");
            skip("io_uring", &error.to_string());
            return None;
        }
        let clients = HashMap::new();
        Some(Self {
            port,
            stop,
            thread: Some(thread),
            counters,
            queries,
            clients,
            elsewhere: None,
            here: HERE,
            sentinel: SENTINEL,
            probes: 0,
            driver: None,
            _publisher: publisher,
        })
    }

    fn start_behind_driver(state: impl FnOnce(NtpTimestamp) -> ServingState) -> Option<Self> {
        Self::start_behind(InDriver::load()?, state)
    }

    fn start_across_a_link(state: impl FnOnce(NtpTimestamp) -> ServingState) -> Option<Self> {
        let (driver, elsewhere) = InDriver::load_on_a_link()?;
        let mut sockets = Self::start_behind(driver, state)?;
        (sockets.here, sockets.sentinel) = (driver::SERVER, driver::SENTINEL);
        sockets.elsewhere = Some(elsewhere);
        Some(sockets)
    }

    fn start_behind(mut driver: InDriver, state: impl FnOnce(NtpTimestamp) -> ServingState) -> Option<Self> {
        let mut shared = state(SystemClock.now());
        driver.share_limit(&mut shared);
        let mut sockets = Self::start(Backend::Mmsg, |_| shared.clone())?;
        driver.serve(shared, sockets.port);
        sockets.driver = Some(driver);
        Some(sockets)
    }

    fn client(&mut self, address: IpAddr) -> &UdpSocket {
        let elsewhere = &self.elsewhere;
        self.clients.entry(address).or_insert_with(|| {
            let bind = || UdpSocket::bind((address, 0)).unwrap();
            let socket = elsewhere.as_ref().map_or_else(bind, |there| there.inside(bind));
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            socket
        })
    }

    fn change_port(&mut self, address: IpAddr) {
        // The old socket is there until the new one is, so the ports differ.
        let old = self.clients.remove(&address);
        self.client(address);
        drop(old);
    }

    /// Datagrams to one socket are answered in the order they came: when the reply to a later request is
    /// here, so are the replies to `request`, if there are any.
    fn ask(&mut self, from: IpAddr, to: IpAddr, request: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let (from, to) = match &self.elsewhere {
            None => (from, to),
            Some(_) => {
                assert_eq!((from, to), (HERE, HERE), "the link has one address to ask");
                (driver::CLIENT, driver::SERVER)
            }
        };
        let port = self.port;
        if let Some(driver) = &mut self.driver {
            driver.keep_alive();
        }
        self.client(from).send_to(request, (to, port)).unwrap();
        let sentinel = if to.is_ipv4() { self.sentinel } else { HERE_V6 };
        let replies = self.probe(sentinel, to, from);
        // Where this thread moved to another core in between, the kernel may have reordered the two.
        if replies.is_empty() { self.probe(sentinel, to, from) } else { replies }
    }

    fn probe(&mut self, sentinel: IpAddr, to: IpAddr, from: IpAddr) -> Vec<(SocketAddr, Vec<u8>)> {
        self.probes += 1;
        let (port, cookie) = (self.port, u64::from_be_bytes(*b"sentinel").wrapping_add(self.probes));
        let mut buffer = [0; 2048];
        let mut replies = Vec::new();

        let mut probe = plain(cookie);
        if self.driver.is_some() {
            // A plain request would overtake what the driver has passed on.
            probe.extend(extension(0x4242, 28));
        }
        let socket = self.client(sentinel);
        socket.send_to(&probe, (to, port)).unwrap();
        loop {
            let (length, source) = socket.recv_from(&mut buffer).expect("the server answers");
            if buffer[24..32] == cookie.to_be_bytes() {
                break;
            }
            replies.push((source, buffer[..length].to_vec()));
        }
        if from != sentinel {
            let socket = self.client(from);
            socket.set_nonblocking(true).unwrap();
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((length, source)) => replies.push((source, buffer[..length].to_vec())),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        replies
    }

    /// Counters are published after the replies have left.
    fn totals(&self, sent: u64) -> Totals {
        for _ in 0..1000 {
            let mut totals = self.counters.read();
            if let Some(driver) = &self.driver {
                let answered = driver.totals().answered;
                totals.tally.received += answered.iter().sum::<u64>();
                for (total, count) in totals.tally.answered.iter_mut().zip(answered) {
                    *total += count;
                }
            }
            if totals.received() == sent + self.probes {
                totals.tally.received -= self.probes;
                totals.tally.answered[3] -= self.probes;
                return totals;
            }
            thread::sleep(Duration::from_millis(1));
        }
        panic!("{sent} requests and {} probes were sent, {:?}", self.probes, self.counters.read());
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // A datagram wakes the worker sooner than its tick.
        let (here, port, sentinel) = (self.here, self.port, self.sentinel);
        let _ = self.client(sentinel).send_to(&[], (here, port));
        let joined = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || joined.is_none_or(|result| result.is_ok()), "the worker panicked");
    }
}

macro_rules! socket_tier {
    ($tier:ident, $state:ident => $start:expr) => {
        impl Tier for $tier {
            fn start($state: impl FnOnce(NtpTimestamp) -> ServingState) -> Option<Self> {
                $start.map(Self)
            }

            fn ask(&mut self, from: IpAddr, to: IpAddr, request: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
                self.0.ask(from, to, request)
            }

            fn now(&self) -> NtpTimestamp {
                SystemClock.now()
            }

            fn totals(&mut self, sent: u64) -> Totals {
                self.0.totals(sent)
            }

            fn in_driver(&self) -> u64 {
                self.0.driver.as_ref().map_or(0, |driver| driver.totals().answered())
            }

            fn change_port(&mut self, from: IpAddr) {
                self.0.change_port(from);
            }

            fn pass(&mut self, time: Duration) {
                thread::sleep(time);
            }

            fn forwarded(&mut self) -> Vec<Vec<u8>> {
                self.0.queries.try_iter().map(|query| query.payload().to_vec()).collect()
            }

            fn port(&self) -> u16 {
                self.0.port
            }
        }
    };
}

socket_tier!(Mmsg, state => Sockets::start(Backend::Mmsg, state));
socket_tier!(IoUring, state => Sockets::start(Backend::IoUring, state));
socket_tier!(Xdp, state => Sockets::start_behind_driver(state));
socket_tier!(XdpNative, state => Sockets::start_across_a_link(state));
