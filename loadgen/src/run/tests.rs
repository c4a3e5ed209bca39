//! Whole runs against servers that are slow in known ways.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use ntpring::sys::thread::allowed_cores;
use ntpring::wire::{HEADER_LEN, LeapIndicator, Mode, NtpTimestamp, Packet};

use super::*;
use crate::json;
use crate::transport::Choice;

/// A server that answers the n-th request, which came so long after the first, at the time `when` says.
struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    /// In nanoseconds.
    absence: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(when: impl Fn(u64, Duration) -> Duration + Send + 'static) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, absence) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = thread::spawn({
            let (stop, absence) = (Arc::clone(&stop), Arc::clone(&absence));
            move || serve(&socket, &stop, &absence, when)
        });
        Self { address, stop, absence, thread: Some(thread) }
    }

    /// The longest time in which it did not look at its socket, which it means to do every millisecond.
    fn longest_absence(&self) -> Duration {
        Duration::from_nanos(self.absence.load(Relaxed))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(
    socket: &UdpSocket,
    stop: &AtomicBool,
    absence: &AtomicU64,
    when: impl Fn(u64, Duration) -> Duration,
) {
    let mut held: VecDeque<(Duration, [u8; HEADER_LEN], SocketAddr)> = VecDeque::new();
    let mut first = None;
    let mut number = 0;
    let mut request = [0; HEADER_LEN];
    let mut looked = Instant::now();
    while !stop.load(Relaxed) {
        absence.fetch_max(nanoseconds(looked.elapsed()), Relaxed);
        looked = Instant::now();
        let came = socket.recv_from(&mut request);
        let since = first.map_or(Duration::ZERO, |first: Instant| first.elapsed());
        while held.front().is_some_and(|(due, ..)| *due <= since) {
            let (_, reply, peer) = held.pop_front().unwrap();
            socket.send_to(&reply, peer).unwrap();
        }
        let peer = match came {
            Ok((length, peer)) => {
                assert_eq!(length, HEADER_LEN);
                peer
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => panic!("{error}"),
        };
        first.get_or_insert_with(Instant::now);
        let due = when(number, since);
        number += 1;
        let reply = answer(request);
        if due <= since {
            socket.send_to(&reply, peer).unwrap();
        } else {
            held.push_back((due, reply, peer));
        }
    }
}

/// This machine's time at stratum 2, the receive stamp taken a microsecond before the transmit stamp.
fn answer(mut bytes: [u8; HEADER_LEN]) -> [u8; HEADER_LEN] {
    const MICROSECOND: i64 = (1 << 32) / 1_000_000;
    let mut packet = Packet::new_checked(&mut bytes[..]).unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let now = NtpTimestamp::from_unix(now.as_secs().cast_signed(), now.subsec_nanos());
    packet.set_origin(packet.transmit());
    packet.set_first(LeapIndicator::None, 4, Mode::Server);
    packet.set_stratum(2);
    packet.set_receive(now.offset_by(-MICROSECOND));
    packet.set_transmit(now);
    bytes
}

fn plan(target: SocketAddr, load: Load, duration: Duration) -> Plan {
    Plan {
        target,
        load,
        duration,
        timeout: Duration::from_secs(1),
        clients: 8,
        cores: vec![*allowed_cores().last().unwrap()],
        spin: false,
        arrivals: Arrivals::Fixed,
        warmup: Duration::ZERO,
        tx_stamps: TxStamps::OneIn(1),
        transport: Choice::Auto.settle().unwrap(),
        interface: None,
        start_at: None,
        keep_seconds: false,
        requests: Requests::default(),
    }
}

/// Tests take turns: all would run on the same core.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    // Another test's failure is no reason to fail.
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn outcome(plan: &Plan) -> Outcome {
    let outcome = run(plan, &Progress::new("test", plan.duration), &AtomicBool::new(false));
    outcome.unwrap_or_else(|failure| panic!("{failure}"))
}

/// The quantile of latency from the intended time, in milliseconds.
fn latency(outcome: &Outcome, quantile: f64) -> f64 {
    let latency = &outcome.measures.intended;
    latency.value_at_rank((quantile * latency.len() as f64).ceil() as u64) / 1e3
}

/// The medians of three runs' figures; `run` also tells whether the machine let it run in peace.
///
/// A run is void if the generator was late by its own account, or the server stood still when it was not to:
/// what it measured is the machine. Void runs are repeated, but not for ever: then they count too, and their
/// figures must hold as they are.
fn medians<const FIGURES: usize>(mut run: impl FnMut() -> ([f64; FIGURES], bool)) -> [f64; FIGURES] {
    const RUNS: usize = 3;
    const VOID_MAX: usize = 3;
    let (mut runs, mut void) = (Vec::new(), 0);
    while runs.len() < RUNS {
        let (figures, in_peace) = run();
        if in_peace || void == VOID_MAX {
            runs.push(figures);
        } else {
            void += 1;
        }
    }
    println!("{runs:?} after {void} void runs");
    std::array::from_fn(|figure| {
        let mut values: Vec<f64> = runs.iter().map(|figures| figures[figure]).collect();
        values.sort_by(f64::total_cmp);
        values[RUNS / 2]
    })
}

/// A run, and whether generator and server were on time.
fn undisturbed(server: &Server, load: Load, duration: Duration) -> (Outcome, bool) {
    let plan = plan(server.address, load, duration);
    let outcome = outcome(&plan);
    let on_time = json::generator_ok(&outcome, &plan) && server.longest_absence() < ABSENCE;
    (outcome, on_time)
}

/// A server that was away for longer has been kept from its core.
const ABSENCE: Duration = Duration::from_millis(10);

#[test]
fn one_delayed_reply_in_a_thousand_shows_where_it_belongs() {
    let _turn = turn();
    let delay = |number: u64| if number % 1_000 == 500 { Duration::from_millis(50) } else { Duration::ZERO };
    let [above, below] = medians(|| {
        let server = Server::start(move |number, since| since + delay(number));
        let (outcome, on_time) = undisturbed(&server, Load::Rate(1_000), Duration::from_secs(5));
        ([latency(&outcome, 0.9995), latency(&outcome, 0.995)], on_time)
    });
    assert!(above >= 50.0 && below < 25.0, "p99.95 {above} ms, p99.5 {below} ms");
}

/// All requests that are due while the server stands still wait for it: that is what counting from the
/// intended time is for. A client that waits for each reply before it asks again notices one slow reply.
#[test]
fn a_server_that_stands_still_makes_a_fiftieth_of_all_requests_wait() {
    let _turn = turn();
    const STALL: Duration = Duration::from_millis(200);
    const STALLED_AT: Duration = Duration::from_secs(1);
    let when = |_, since: Duration| {
        if (STALLED_AT..STALLED_AT + STALL).contains(&since) { STALLED_AT + STALL } else { since }
    };
    let [open, closed, slowest] = medians(|| {
        let server = Server::start(when);
        let (open, open_on_time) = undisturbed(&server, Load::Rate(5_000), Duration::from_secs(10));
        drop(server);
        let server = Server::start(when);
        let (closed, closed_on_time) = undisturbed(&server, Load::Outstanding(1), Duration::from_secs(2));
        let figures = [latency(&open, 0.99), latency(&closed, 0.99), latency(&closed, 1.0)];
        (figures, open_on_time && closed_on_time)
    });
    assert!((80.0..=120.0).contains(&open), "open loop: p99 {open} ms");
    assert!(closed < 20.0 && slowest >= 199.0, "closed loop: p99 {closed} ms, max {slowest} ms");
}

#[test]
fn what_is_measured_agrees_with_itself_and_with_the_one_clock_of_this_machine() {
    let _turn = turn();
    let server = Server::start(|_, since| since);
    let plan = Plan { keep_seconds: true, ..plan(server.address, Load::Rate(1_000), Duration::from_secs(2)) };
    let outcome = outcome(&plan);
    let measures = &outcome.measures;
    assert_eq!((outcome.counts.scheduled, outcome.counts.answered), (2_000, 2_000));
    assert_eq!(
        (measures.intended.len(), measures.lag.len(), measures.residence.len()),
        (2_000, 2_000, 2_000)
    );
    assert!(measures.wire.len() >= 1_990, "{} of 2000 have both kernel stamps", measures.wire.len());
    let offset = measures.offset.summary().unwrap();
    assert_eq!(offset.count, measures.wire.len());
    // A stamp of the server lies between those of the kernel, so the offset is within its bound.
    let bound = measures.offset_bound.summary().unwrap();
    assert!(offset.p50.abs() <= bound.max, "{offset:?} {bound:?}");
    let residence = measures.residence.summary().unwrap();
    assert!((0.99..1.01).contains(&residence.p50), "{residence:?}");
    let (wire, intended) = (measures.wire.summary().unwrap(), measures.intended.summary().unwrap());
    assert!(wire.p50 < intended.p50 && residence.p50 < wire.p50, "{residence:?} < {wire:?} < {intended:?}");

    assert!(outcome.seconds.len() >= 2);
    assert_eq!(outcome.seconds.iter().map(|second| second.sent).sum::<u64>(), 2_000);
    assert_eq!(outcome.seconds.iter().map(|second| second.answered).sum::<u64>(), 2_000);
    assert!((900..=1_100).contains(&outcome.seconds[0].sent), "{:?}", outcome.seconds);
    let kept = outcome.seconds.iter().map(|second| second.measures.as_ref().unwrap().intended.times().len());
    assert_eq!(kept.sum::<u64>(), 2_000);
}

#[test]
fn the_warm_up_counts_for_nothing() {
    let _turn = turn();
    // What is asked in the warm-up is answered 300 ms late.
    let warmup = Duration::from_millis(500);
    let server = Server::start(move |_, since| {
        if since + Duration::from_millis(50) < warmup { since + Duration::from_millis(300) } else { since }
    });
    let plan = Plan { warmup, ..plan(server.address, Load::Rate(200), Duration::from_secs(1)) };
    let outcome = outcome(&plan);
    assert_eq!((outcome.counts.scheduled, outcome.counts.answered), (200, 200));
    assert_eq!((outcome.counts.unsolicited, outcome.counts.invalid(), outcome.counts.duplicate), (0, 0, 0));
    assert!(latency(&outcome, 0.9) < 200.0);
    assert!(outcome.span(&plan) == plan.duration, "rates refer to what counts");
}

#[test]
fn runs_that_are_told_so_start_at_the_same_time() {
    let _turn = turn();
    let server = Server::start(|_, since| since);
    let start = SystemTime::now() + Duration::from_millis(700);
    let plan =
        Plan { start_at: Some(start), ..plan(server.address, Load::Rate(100), Duration::from_millis(100)) };
    let outcome = outcome(&plan);
    let apart = outcome.started.duration_since(start).unwrap_or_else(|error| error.duration());
    assert!(apart < Duration::from_millis(1), "{apart:?}");
    assert!(start.elapsed().unwrap() >= Duration::from_millis(90));
    assert_eq!(outcome.counts.answered, 10);
}

#[test]
fn a_stop_before_the_start_is_no_wait() {
    let _turn = turn();
    let server = Server::start(|_, since| since);
    let start_at = Some(SystemTime::now() + Duration::from_secs(3_600));
    let plan = Plan { start_at, ..plan(server.address, Load::Rate(100), Duration::from_secs(1)) };
    let outcome = run(&plan, &Progress::new("test", plan.duration), &AtomicBool::new(true)).unwrap();
    assert!(outcome.interrupted);
    assert_eq!(outcome.counts.sent, 0);
}
