//! The thread that answers the control protocol (mode 6). Time never waits for it: it sleeps on a bounded
//! queue, and looks at copies of what the others know.

mod lists;
mod statistics;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Instant;
use std::{env, fs};

use crossbeam::channel::{Receiver, TryRecvError};
use tracing::warn;

use super::following::Following;
use super::listen::WorkerSockets;
use super::traffic::Traffic;
use crate::control::{
    Identity, KernelClock, Lists, Monitor as MonitorView, MonitoredClient, Opcode, Outcome, Request,
    Responder, Signature, View,
};
use crate::datapath::{Backend, Query, QuerySender, SystemClock};
use crate::limits;
use crate::server::{AccessFlags, Clock, Counters, Limited, Monitor, Observed, ServingState, SocketTally};
use crate::snapshot::Published;
use crate::sys::socket::ServeSocket;
use crate::sys::thread::{without_signals, yield_to_all};
use crate::sys::{adjtime, random};
use crate::wire::ControlHeader;
use crate::xdp;

/// What it needs to know, and where it learns it.
pub(super) struct Sources {
    pub(super) sockets: WorkerSockets,
    pub(super) published: Published<ServingState>,
    pub(super) following: Published<Following>,
    pub(super) counters: Vec<Arc<Counters>>,
    pub(super) monitors: Vec<Arc<Monitor>>,
    pub(super) backend: Backend,
    pub(super) traffic: Arc<Traffic>,
    pub(super) xdp: Option<xdp::View>,
}

/// What became of control messages so far, written by the thread alone.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Answered, an error being an answer too.
    pub(super) answered: AtomicU64,
    /// Left unanswered: no request, or a proof that is none.
    pub(super) silent: AtomicU64,
    /// Left unanswered because enough was said already.
    pub(super) over_budget: AtomicU64,
}

impl Tally {
    /// Name, meaning and number of each.
    pub(super) fn counts(&self) -> [(&'static str, &'static str, u64); 3] {
        [
            ("answered", "Control messages answered, be it with an error.", self.answered.load(Relaxed)),
            ("silent", "Control messages that deserved no answer.", self.silent.load(Relaxed)),
            (
                "over_budget",
                "Control messages unanswered because their address was told enough for now.",
                self.over_budget.load(Relaxed),
            ),
        ]
    }
}

/// Starts the thread; it ends with the last worker that could send it something.
pub(super) fn start(
    (queries, inbox): (QuerySender, Receiver<Query>),
    sources: Sources,
) -> io::Result<Arc<Tally>> {
    let tally = Arc::new(Tally::default());
    let mut controller = Controller {
        responder: Responder::new(secret()?),
        identity: identity(),
        started: Instant::now(),
        deepest: 0,
        unsent: 0,
        keys: 0,
        codes: Codes::default(),
        sent: vec![0; sources.sockets.first().map_or(0, |sockets| sockets.len())],
        tally: Arc::clone(&tally),
        sources,
    };
    // A signal must end the sleep of the thread that looks for it.
    without_signals(|| {
        thread::Builder::new().name("control".to_owned()).spawn(move || {
            // Where every core is busy, time goes first; a kernel that refuses shares them out.
            let _ = yield_to_all();
            queries.wake(thread::current());
            // It must not keep the queue open.
            drop(queries);
            let mut pace = Pace::new();
            loop {
                match inbox.try_recv() {
                    Ok(query) => {
                        controller.answer(&query, inbox.len());
                        pace.keep();
                    }
                    Err(TryRecvError::Empty) => thread::park(),
                    Err(TryRecvError::Disconnected) => break,
                }
            }
        })
    })?;
    Ok(tally)
}

/// How fast control messages are answered at most. What comes faster finds the queue full, which costs the
/// least of all.
struct Pace {
    window: Instant,
    answered: u32,
}

impl Pace {
    fn new() -> Self {
        Self { window: Instant::now(), answered: 0 }
    }

    /// After each answer.
    fn keep(&mut self) {
        self.answered += 1;
        if self.answered == limits::CONTROL_BURST {
            thread::sleep(limits::CONTROL_WINDOW.saturating_sub(self.window.elapsed()));
            *self = Self::new();
        }
    }
}

/// Codes of control messages.
#[derive(Clone, Copy, Debug, Default)]
struct Codes {
    right: u64,
    wrong: u64,
    unknown_key: u64,
    made: u64,
}

struct Controller {
    responder: Responder,
    identity: Identity,
    started: Instant,
    /// Clients that the list has held at most.
    deepest: u64,
    /// Datagrams sent, by socket.
    sent: Vec<u64>,
    /// Those that the kernel refused.
    unsent: u64,
    /// Keys in use.
    keys: u64,
    codes: Codes,
    tally: Arc<Tally>,
    sources: Sources,
}

impl Controller {
    fn answer(&mut self, query: &Query, waiting: usize) {
        let state = Arc::clone(self.sources.published.load());
        let following = Arc::clone(self.sources.following.load());
        let flags = state.access.lookup(query.peer);
        let request = Request {
            client: query.peer,
            payload: query.payload(),
            may_list_clients: !flags.contains(AccessFlags::NOMRULIST),
            signature: Signature::of(query.payload(), query.peer.ip(), &state.keys),
            control_key: state.control_key,
        };
        self.count_code(request.signature);
        self.keys = state.keys.len() as u64;
        let statistics = self.statistics(waiting);
        let clients = self.clients(query, &state);
        let lists = match request.deserves_ordered_list() {
            true => self.lists(&state, &following),
            false => Lists::default(),
        };
        let view = View {
            now: state.system.clock.apply(SystemClock.now()),
            system: &state.system,
            discipline: &following.discipline,
            associations: &following.associations,
            identity: &self.identity,
            statistics: &statistics,
            kernel: kernel_clock(),
            monitor: MonitorView {
                enabled: state.monitor,
                clients: &clients,
                deepest: self.deepest,
                maximum_depth: self.sources.monitors.iter().map(|monitor| monitor.room() as u64).sum(),
                entry_bytes: limits::MONITORED_CLIENT_BYTES as u64,
            },
            lists: &lists,
        };
        let Some((number, socket)) = self.sources.socket_of(query.local) else { return };
        let is_signed = matches!(request.signature, Signature::By(_));
        let (sent, unsent, codes) = (&mut self.sent[number], &mut self.unsent, &mut self.codes);
        let outcome = self.responder.respond(request, &view, |datagram| {
            // Whoever does not get it asks again.
            let refused = u64::from(socket.send_from(query.local, query.peer, datagram).is_err());
            *sent += 1 - refused;
            *unsent += refused;
            codes.made += u64::from(is_signed);
        });
        let counter = match outcome {
            Outcome::Answered(_) | Outcome::Refused => &self.tally.answered,
            Outcome::Silence => &self.tally.silent,
            Outcome::OverBudget => &self.tally.over_budget,
        };
        counter.fetch_add(1, Relaxed);
    }

    fn count_code(&mut self, signature: Signature<'_>) {
        let count = match signature {
            Signature::Missing => return,
            Signature::By(_) => &mut self.codes.right,
            Signature::Wrong => &mut self.codes.wrong,
            Signature::UnknownKey => &mut self.codes.unknown_key,
        };
        *count += 1;
    }

    /// Copies the list of clients, the longest unseen first, for those who read it or its size.
    fn clients(&mut self, query: &Query, state: &ServingState) -> Vec<MonitoredClient> {
        let opcode =
            ControlHeader::parse(query.payload()).ok().and_then(|header| Opcode::from_bits(header.opcode));
        let is_told = match opcode {
            Some(Opcode::ReadMru) => true,
            // Its size is among the variables, but not among the usual ones.
            Some(Opcode::ReadVariables) => query.payload().windows(4).any(|name| name == b"mru_"),
            _ => false,
        };
        if !state.monitor || !is_told {
            return Vec::new();
        }
        let client = |seen: Observed| MonitoredClient {
            address: seen.peer,
            first: seen.first,
            last: seen.last,
            count: seen.count,
            version_mode: seen.version_mode,
            restrict: restrict_bits(state.access.lookup(seen.peer), seen.limited),
        };
        let mut clients: Vec<MonitoredClient> =
            self.sources.monitors.iter().flat_map(|monitor| monitor.clients()).map(client).collect();
        clients.sort_unstable_by_key(|client| client.last.to_bits());
        self.deepest = self.deepest.max(clients.len() as u64);
        clients
    }

    /// What is told to those with the control key alone.
    fn lists(&self, state: &ServingState, following: &Following) -> Lists {
        let moved = |number: usize| {
            let replies = SocketTally { answered: self.sent[number], ..SocketTally::default() };
            let workers = self.sources.counters.iter().map(|counters| counters.socket(number));
            workers.fold(replies, SocketTally::plus)
        };
        let sockets = self.sources.sockets.first().map_or(&[][..], |sockets| sockets);
        let uptime = self.started.elapsed().as_secs();
        Lists {
            interfaces: (0..)
                .zip(sockets)
                .map(|(number, socket)| {
                    lists::interface(socket.local(), moved(number), &following.associations, uptime)
                })
                .collect(),
            restrictions: lists::restrictions(
                &state.access,
                self.sources.monitors.iter().flat_map(|monitor| monitor.clients()),
            ),
        }
    }
}

impl Sources {
    /// The socket to answer from, and its number. Any worker's will do: they share the address.
    fn socket_of(&self, local: SocketAddr) -> Option<(usize, &ServeSocket)> {
        let serves = |(_, socket): &(usize, &ServeSocket)| {
            let bound = socket.local();
            let takes_all = bound.ip().is_unspecified() && bound.is_ipv4() == local.is_ipv4();
            bound.port() == local.port() && (takes_all || bound.ip() == local.ip())
        };
        self.sockets.first()?.iter().enumerate().find(serves)
    }
}

/// What `restrict` says of an address, in the bits that ntpd has for its flags. As with ntpd, those of
/// `limited` and `kod` tell what became of the address's last packet: beyond the limit, and kissed for it.
fn restrict_bits(flags: AccessFlags, limited: Limited) -> u16 {
    const LIMITED: u16 = 0x0020;
    const KOD: u16 = 0x0400;
    const BITS: [(AccessFlags, u16); 7] = [
        (AccessFlags::IGNORE, 0x0001),
        (AccessFlags::NOSERVE, 0x0002),
        (AccessFlags::NOTRUST, 0x0004),
        (AccessFlags::VERSION, 0x0008),
        (AccessFlags::NOQUERY, 0x0040),
        (AccessFlags::NOMODIFY, 0x0080),
        (AccessFlags::NOMRULIST, 0x2000),
    ];
    let beyond = match limited {
        Limited::No => 0,
        Limited::Beyond => LIMITED,
        Limited::Kissed => LIMITED | KOD,
    };
    BITS.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, bit)| bit).sum::<u16>() | beyond
}

fn kernel_clock() -> Option<KernelClock> {
    let kernel = adjtime::inspect().ok()?;
    Some(KernelClock {
        offset: kernel.offset,
        frequency_ppm: kernel.frequency_ppm,
        maximum_error: kernel.maximum_error.as_secs_f64(),
        estimated_error: kernel.estimated_error.as_secs_f64(),
        status: kernel.status,
        time_constant: kernel.time_constant,
        precision: kernel.precision.as_secs_f64(),
        tolerance_ppm: kernel.tolerance_ppm,
    })
}

fn secret() -> io::Result<[u8; 16]> {
    let (high, low) = (random::unpredictable()?, random::unpredictable()?);
    Ok((u128::from(high) << 64 | u128::from(low)).to_ne_bytes())
}

fn identity() -> Identity {
    let kernel = |name: &str| {
        let path = format!("/proc/sys/kernel/{name}");
        fs::read_to_string(&path).map_or_else(
            |error| {
                warn!("{path}: {error}");
                "?".to_owned()
            },
            |text| text.trim().to_owned(),
        )
    };
    Identity {
        version: format!("ntpring {}", env!("CARGO_PKG_VERSION")),
        processor: env::consts::ARCH.to_owned(),
        system: format!("{}/{}", kernel("ostype"), kernel("osrelease")),
    }
}
