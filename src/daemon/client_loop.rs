//! Drives the client: what arrives becomes its events, and what it wants done is done. One thread, one poll.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::Failure;
use super::drift_file::DriftFile;
use super::following::Following;
use super::kernel_clock::KernelClock;
use super::resolver::Resolver;
use super::traffic::Traffic;
use crate::auth::{KeyTable, MAC_MAX, NotAuthentic};
use crate::client::{
    Action, AssociationId, Client, ClockControl, Event, Family, Notice, Now, Received, Request, Settings,
    StampKind,
};
use crate::datapath::to_ntp;
use crate::limits;
use crate::snapshot::SystemVariables;
use crate::sys::client_socket::{ClientSocket, PollSet, Stamp, StampingAnchor};
use crate::sys::clock::SetWatch;
use crate::sys::exchange::Seen;
use crate::sys::random;
use crate::sys::resolve::AddressFamily;
use crate::wire::{HEADER_LEN, Mac, Packet};

/// The client, and all that it needs of the machine.
pub(super) struct ClientLoop {
    client: Client,
    exchanges: BTreeMap<AssociationId, Exchange>,
    resolver: Resolver,
    clock: Option<KernelClock>,
    drift: Option<DriftFile>,
    keys: Arc<KeyTable>,
    traffic: Arc<Traffic>,
    dscp: u8,
    poll: PollSet,
    /// Wakes the loop when somebody sets the clock: what is served goes wrong with it.
    watch: Option<SetWatch>,
    /// The associations whose sockets `poll` has, before the waker and the watch.
    polled: Vec<AssociationId>,
    /// What failed while it was done, for the client to hear of.
    setbacks: Vec<Setback>,
    changes: Changes,
    /// The kernel did not do to the clock what it was told.
    has_failed: bool,
    _anchor: StampingAnchor,
}

/// What is new since the last turn.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Changes {
    /// The machine's clock: it was set, by whomever.
    pub(super) clock: bool,
    /// What is served.
    pub(super) system: bool,
    /// What is told about the sources.
    pub(super) following: bool,
}

/// The last request of an association, on its way or answered.
struct Exchange {
    socket: ClientSocket,
    to: SocketAddr,
    local: IpAddr,
    sent: Stamp,
    /// Of a request that was signed.
    key: Option<u32>,
}

enum Setback {
    Unsent(AssociationId),
    NotAsked(u32),
    ClockRefused,
}

impl ClientLoop {
    /// A client that has just started: nothing was sent yet. `clock` is the machine's, if it is ours to
    /// adjust.
    pub(super) fn new(
        settings: Settings,
        clock: Option<KernelClock>,
        drift: Option<DriftFile>,
        keys: Arc<KeyTable>,
        dscp: u8,
        waker: Option<UnixStream>,
    ) -> io::Result<Self> {
        // The first number shows whether there are any; later ones cannot fail.
        random::unpredictable()?;
        let random = Box::new(|| random::unpredictable().unwrap_or_default());
        let is_refused = clock.is_none() && wants_clock(&settings);
        // Without workers there is no descriptor but those of requests. Without a watch the loop looks at the
        // clock once a tick.
        let watch = waker.as_ref().and_then(|_| {
            let unwatched = |error: &io::Error| warn!("no notice at once when the clock is set: {error}");
            SetWatch::new().inspect_err(unwatched).ok()
        });
        let mut new = Self {
            client: Client::new(settings, random, now()),
            exchanges: BTreeMap::new(),
            resolver: Resolver::new(waker),
            clock,
            drift,
            keys,
            traffic: Arc::default(),
            dscp,
            poll: PollSet::default(),
            watch,
            polled: Vec::new(),
            setbacks: Vec::new(),
            changes: Changes::default(),
            has_failed: false,
            _anchor: StampingAnchor::new(),
        };
        if is_refused {
            new.client.handle(Event::ClockRefused, now());
        }
        Ok(new)
    }

    /// One turn: sleeps until there is something to do, at most for `tick`, and does it. `wake` ends the
    /// sleep when it becomes readable.
    pub(super) fn turn(&mut self, wake: Option<&UnixStream>, tick: Duration) -> Result<Changes, Failure> {
        // What a reload has led to.
        self.act()?;
        self.wait(wake, tick)?;
        self.changes.clock |= self.watch.as_ref().is_some_and(SetWatch::take);
        // Here every step of our own has been taken.
        if self.client.is_surprised(now()) {
            self.client.handle(Event::Timer, now());
        }
        self.hear()?;
        self.proceed()
    }

    /// A turn without sleep, when no request can be under way yet.
    pub(super) fn proceed(&mut self) -> Result<Changes, Failure> {
        self.learn()?;
        let now = now();
        if let Some(late) = now.monotonic.checked_sub(self.client.wake_at()) {
            self.traffic.late_seconds.add(late.as_secs());
            self.client.handle(Event::Timer, now);
        }
        self.act()?;
        Ok(mem::take(&mut self.changes))
    }

    /// The configuration was read again, and the keys with it.
    pub(super) fn reload(&mut self, settings: Settings, keys: Arc<KeyTable>) {
        self.keys = keys;
        let wants_clock = wants_clock(&settings);
        let base_ppm = self.client.discipline().frequency_ppm;
        self.client.handle(Event::Reload(Box::new(settings)), now());
        if !wants_clock {
            self.clock = None;
        } else if self.clock.is_none() {
            self.clock = KernelClock::take_over(base_ppm).ok();
            if self.clock.is_none() {
                self.setbacks.push(Setback::ClockRefused);
            }
        }
    }

    /// What went through its sockets.
    pub(super) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// Whether the kernel did to the clock what it was told, so far.
    pub(super) fn is_obeyed(&self) -> bool {
        !self.has_failed
    }

    /// What is served.
    pub(super) fn system(&self) -> SystemVariables {
        self.client.system()
    }

    /// What is told about the sources.
    pub(super) fn following(&self) -> Following {
        Following { associations: self.client.associations(), discipline: self.client.discipline() }
    }

    /// The last thing to be done: the clock goes on without a slew, and its frequency is kept for the next
    /// start.
    pub(super) fn finish(mut self) {
        self.clock = None;
        if let (Some(ppm), Some(drift)) = (self.client.drift_ppm(), &mut self.drift) {
            drift.write(ppm);
        }
    }

    fn wait(&mut self, wake: Option<&UnixStream>, tick: Duration) -> io::Result<()> {
        self.poll.clear();
        self.polled.clear();
        for (id, exchange) in &self.exchanges {
            self.poll.push(&exchange.socket);
            self.polled.push(*id);
        }
        wake.iter().for_each(|wake| self.poll.push(*wake));
        self.watch.iter().for_each(|watch| self.poll.push(watch));
        let patience = match self.setbacks.is_empty() {
            true => self.client.wake_at().saturating_sub(now().monotonic).min(tick),
            false => Duration::ZERO,
        };
        self.poll.wait(patience)
    }

    /// What the sockets have: one datagram and one entry of the error queue of each, as poll has reported.
    fn hear(&mut self) -> Result<(), Failure> {
        let mut buffer = [0; limits::REPLY_MAX];
        let polled = mem::take(&mut self.polled);
        for (index, &id) in polled.iter().enumerate() {
            // What the one before led to comes first: a step that is not done yet would look like somebody
            // else's who takes it back.
            self.act()?;
            let ready = self.poll.readiness(index);
            let Some(exchange) = self.exchanges.get_mut(&id) else { continue };
            if ready.error {
                match exchange.socket.sent() {
                    Ok(stamp) => exchange.sent = stamp,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(_) => self.client.handle(Event::Unreachable(id), now()),
                }
            }
            if !ready.readable {
                continue;
            }
            match exchange.socket.receive(&mut buffer) {
                Ok(Some(arrival)) => {
                    // What does not fit is no reply.
                    let Some(bytes) = arrival.length.and_then(|length| buffer.get(..length)) else {
                        continue;
                    };
                    self.traffic.received(bytes);
                    let received = exchange.received(id, (&self.keys, &self.traffic), arrival.stamp, bytes);
                    let before = self.client.processed();
                    self.client.handle(Event::Received(received), now());
                    self.traffic.processed.add(self.client.processed() - before);
                }
                Ok(None) => {}
                Err(_) => self.client.handle(Event::Unreachable(id), now()),
            }
        }
        self.polled = polled;
        self.act()
    }

    /// What came of questions and of what could not be done.
    fn learn(&mut self) -> Result<(), Failure> {
        while let Some(answer) = self.resolver.answer() {
            let resolved = Event::Resolved { query: answer.query, addresses: &answer.addresses };
            self.client.handle(resolved, now());
            self.act()?;
        }
        for setback in mem::take(&mut self.setbacks) {
            let event = match setback {
                Setback::Unsent(id) => Event::Unreachable(id),
                Setback::NotAsked(query) => Event::Resolved { query, addresses: &[] },
                Setback::ClockRefused => Event::ClockRefused,
            };
            self.client.handle(event, now());
            self.act()?;
        }
        Ok(())
    }

    fn act(&mut self) -> Result<(), Failure> {
        while let Some(action) = self.client.next_action() {
            match action {
                Action::Send(request) => self.send(&request),
                Action::Close(id) => drop(self.exchanges.remove(&id)),
                Action::Resolve { query, host, family } => {
                    if !self.resolver.ask(query, host, address_family(family)) {
                        self.setbacks.push(Setback::NotAsked(query));
                    }
                }
                Action::Step(seconds) => {
                    if !self.adjust(|clock| clock.step(seconds)) {
                        self.client.not_stepped(seconds);
                    }
                }
                Action::Rate(rate) => drop(self.adjust(|clock| clock.set_rate(rate))),
                Action::KernelStatus(status) => drop(self.adjust(|clock| clock.set_status(status))),
                Action::PublishSystem => self.changes.system = true,
                Action::PublishAssociations => self.changes.following = true,
                Action::SaveDrift(ppm) => self.drift.iter_mut().for_each(|drift| drift.write(ppm)),
                Action::Log(notice) => log(&notice),
                Action::Panic(seconds) => return Err(panic(seconds)),
            }
        }
        Ok(())
    }

    /// The old socket goes first: its port may be the only one left.
    fn send(&mut self, request: &Request) {
        let id = request.association;
        self.exchanges.remove(&id);
        match Exchange::begin(request, &self.keys, self.dscp) {
            Ok(exchange) => {
                self.traffic.sent.add(1);
                self.traffic.signed.add(u64::from(exchange.key.is_some()));
                self.exchanges.insert(id, exchange);
            }
            Err(_) => {
                self.traffic.unsent.add(1);
                self.setbacks.push(Setback::Unsent(id));
            }
        }
    }

    /// Tells the kernel something; false if it was not done. Without leave to adjust the clock there is none
    /// to adjust from now on.
    fn adjust(&mut self, work: impl FnOnce(&KernelClock) -> io::Result<()>) -> bool {
        let Some(clock) = &self.clock else { return false };
        match work(clock) {
            Ok(()) => return true,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.clock = None;
                self.has_failed = true;
                self.setbacks.push(Setback::ClockRefused);
            }
            Err(error) => {
                self.has_failed = true;
                warn!("cannot adjust the clock: {error}");
            }
        }
        false
    }
}

impl Exchange {
    /// What is to be signed and cannot be is not sent: without a code it would be another question.
    fn begin(request: &Request, keys: &KeyTable, dscp: u8) -> io::Result<Self> {
        let mut packet = [0; HEADER_LEN + MAC_MAX];
        packet[..HEADER_LEN].copy_from_slice(&request.bytes);
        let signed = match request.key {
            None => Some(HEADER_LEN),
            Some(id) => keys.get(id).and_then(|key| key.sign(&mut packet, HEADER_LEN)),
        };
        let length = signed.ok_or(ErrorKind::NotFound)?;
        let socket = ClientSocket::open(request.to, dscp)?;
        let local = socket.local().map_or(Ipv4Addr::UNSPECIFIED.into(), |local| local.ip());
        let sent = socket.send(&packet[..length])?;
        Ok(Self { socket, to: request.to, local, sent, key: request.key })
    }

    fn received<'a>(
        &self,
        association: AssociationId,
        (keys, traffic): (&KeyTable, &Traffic),
        stamp: Stamp,
        bytes: &'a [u8],
    ) -> Received<'a> {
        Received {
            association,
            source: self.to,
            local: self.local,
            sent: to_ntp(self.sent.time),
            received: to_ntp(stamp.time),
            stamps: if self.sent.by_kernel && stamp.by_kernel {
                StampKind::Kernel
            } else {
                StampKind::Process
            },
            authentic: self.key.and_then(|_| authentic(keys, self.to.ip(), bytes, traffic)),
            bytes,
        }
    }
}

/// The key that a packet from `source` was made with, if that is so.
fn authentic(keys: &KeyTable, source: IpAddr, bytes: &[u8], traffic: &Traffic) -> Option<u32> {
    match Packet::new_checked(bytes).ok()?.trailer().ok()?.mac? {
        Mac::Digest { key_id, digest } => {
            let checked = keys.authenticate(source, bytes, key_id, digest);
            let count = match checked {
                Ok(_) => &traffic.authentic,
                Err(NotAuthentic::BadMac) => &traffic.bad_code,
                Err(NotAuthentic::UnknownKey) => &traffic.unknown_key,
            };
            count.add(1);
            checked.ok().map(|key| key.id().into())
        }
        Mac::CryptoNak => None,
    }
}

/// Whether the machine's clock is to be adjusted: only if there is anything to adjust it by.
pub(super) fn wants_clock(settings: &Settings) -> bool {
    settings.discipline.control == ClockControl::Kernel && !settings.sources.is_empty()
}

fn now() -> Now {
    let Seen { realtime, monotonic } = Seen::now();
    let seconds = u64::try_from(monotonic.seconds).unwrap_or_default();
    Now { monotonic: Duration::new(seconds, monotonic.nanoseconds), realtime: to_ntp(realtime) }
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::Any => AddressFamily::Any,
        Family::V4 => AddressFamily::V4,
        Family::V6 => AddressFamily::V6,
    }
}

fn log(notice: &Notice) {
    match notice {
        Notice::Unreachable(_)
        | Notice::RateExceeded(..)
        | Notice::Denied(..)
        | Notice::NotResolved(..)
        | Notice::NoSource
        | Notice::SteppedByOthers(_)
        | Notice::StepPending(_) => warn!("{notice}"),
        _ => info!("{notice}"),
    }
}

fn panic(seconds: f64) -> Failure {
    Failure::RunTime(io::Error::other(format!(
        "the clock is off by {seconds:+.0} s, more than `tinker panic` lets pass: set it once by hand, or start with -g, which lets the first correction be of any size"
    )))
}
