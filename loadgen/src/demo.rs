//! `ntpload demo`: a server and its load in one process, on the loopback.

use std::env;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel;
use ntpring::datapath::{self, Backend, SystemClock, Worker};
use ntpring::limits;
use ntpring::server::{Clock, Counters, Monitor, ServingState, Totals};
use ntpring::snapshot::{LocalClock, Publisher, SystemVariables};
use ntpring::sys::clock::reading_time;
use ntpring::sys::socket::{ServeSocket, SocketOptions};
use ntpring::sys::thread::allowed_cores;
use ntpring::wire::Precision;

use crate::accounting::Counts;
use crate::cli::exit_code;
use crate::failure::Failure;
use crate::output::{Form, Sinks};
use crate::progress::Progress;
use crate::requests::Requests;
use crate::run::{self, Load, Outcome, Plan};
use crate::schedule::Arrivals;
use crate::stamping::TxStamps;
use crate::transport::{Choice, Transport};
use crate::{interrupt, report, run_forms};

/// What one core answers without loss, on a machine with a core for the server and one for the generator.
const RATE: u64 = 50_000;
/// What server and generator can do on one core together.
const RATE_SHARED: u64 = 2_000;
/// Longest time at full load.
const SATURATION_MAX: Duration = Duration::from_secs(3);
const OUTSTANDING: usize = 256;
const CLIENTS: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(1);

/// Runs the demonstration: `duration` at `rate`, then for a while at whatever the server answers;
/// and writes a page about the first part to `html`, or to a file for temporary ones.
pub(crate) fn run(rate: Option<u64>, duration: Duration, html: Option<PathBuf>) -> Result<ExitCode, Failure> {
    let stop =
        interrupt::watch().map_err(|error| Failure::RunTime(format!("cannot handle signals: {error}")))?;
    let cores = allowed_cores();
    let (Some(&first), Some(&last)) = (cores.first(), cores.last()) else {
        return Err(Failure::RunTime("cannot tell which cores this process may use".to_owned()));
    };
    let shared = first == last;
    let transport = Choice::Auto.settle()?;
    let server =
        Server::start(first, transport).map_err(|error| Failure::RunTime(format!("the server: {error}")))?;
    let default_rate = if shared { RATE_SHARED } else { RATE };
    let steady = Plan {
        target: server.address,
        load: Load::Rate(rate.unwrap_or(default_rate)),
        duration,
        timeout: TIMEOUT,
        clients: CLIENTS,
        cores: vec![last],
        spin: !shared,
        arrivals: Arrivals::Fixed,
        warmup: Duration::ZERO,
        tx_stamps: TxStamps::for_rate(Some(rate.unwrap_or(default_rate))),
        transport,
        interface: None,
        start_at: None,
        requests: Requests::default(),
        keep_seconds: false,
    };
    let saturated = Plan {
        load: Load::Outstanding(OUTSTANDING),
        duration: duration.min(SATURATION_MAX),
        tx_stamps: TxStamps::for_rate(None),
        ..steady.clone()
    };

    report::print(&introduction(&server, first, last))?;
    let outcome = load(&steady, "steady load", &stop)?;
    let mut sum = outcome.counts.clone();
    if !outcome.interrupted {
        report::print(&format!(
            "\n2. Saturation: the rate counts here; the times are those of a queue of {OUTSTANDING}\n"
        ))?;
        sum.add(&load(&saturated, "saturation", &stop)?.counts);
    }
    let totals = server.stop()?;
    report::print(&compare(&sum, &totals))?;
    let picture =
        html.unwrap_or_else(|| env::temp_dir().join(format!("ntpload-demo-{}.html", process::id())));
    Sinks::open(&[(Form::Html, Some(&picture))])?.write(|form| run_forms::form(form, &outcome, &steady))?;
    report::print(&format!("picture of the steady load: {}\n", picture.display()))?;
    // It shows what there is, on a busy machine too.
    Ok(exit_code(&outcome, &steady, true))
}

fn introduction(server: &Server, first: usize, last: usize) -> String {
    let cores = if first == last {
        "there is one core only: server and generator take turns on it, which shows in all times\n"
    } else {
        ""
    };
    let backend = server.backend.name();
    format!(
        "ntpring serves {} on cpu {first} ({backend}), ntpload asks from cpu {last}\n{cores}\n1. A steady load\n",
        server.address
    )
}

fn load(plan: &Plan, name: &'static str, stop: &AtomicBool) -> Result<Outcome, Failure> {
    let outcome = run::run(plan, &Progress::new(name, plan.duration), stop)?;
    report::print(&report::text(&outcome, plan))?;
    Ok(outcome)
}

/// Both ends count for themselves.
fn compare(counts: &Counts, totals: &Totals) -> String {
    format!(
        "\nserver's own counters: {} received, {} answered; generator's: {} sent, {} answered\n",
        totals.received(),
        totals.answered(),
        counts.sent,
        counts.answered
    )
}

/// An ntpring of one worker that serves this machine's clock on the loopback.
struct Server {
    address: SocketAddr,
    backend: Backend,
    counters: Arc<Counters>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<()>>,
    // Workers read what it has published as long as it lives.
    _publisher: Publisher<ServingState>,
}

impl Server {
    /// On a free port, by the same means as the generator.
    fn start(core: usize, transport: Transport) -> io::Result<Self> {
        let any_port = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let options =
            SocketOptions { receive_buffer: limits::SOCKET_RECEIVE_BUFFER, ..SocketOptions::default() };
        let sockets: Arc<[ServeSocket]> = Arc::new([ServeSocket::open(any_port, options)?]);
        let backend = match transport {
            Transport::IoUring => Backend::IoUring,
            Transport::Mmsg | Transport::Xdp => Backend::Mmsg,
        };
        let precision = Precision::from_nanoseconds(reading_time().as_nanos() as u64);
        let system = SystemVariables::local_clock(LocalClock::default(), precision, SystemClock.now());
        let publisher = Publisher::new(ServingState { system, ..ServingState::default() });
        let (counters, stop) = (Arc::new(Counters::new()), Arc::new(AtomicBool::new(false)));
        let (queries, _) = datapath::queries();
        let worker = Worker {
            core,
            sockets: Arc::clone(&sockets),
            published: publisher.subscribe(),
            counters: Arc::clone(&counters),
            monitor: Arc::new(Monitor::new(0, 0)),
            queries,
            stop: Arc::clone(&stop),
            seed: fastrand::u64(..),
        };
        let (ready, readiness) = channel::bounded(1);
        let thread = thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || worker.run(backend, move |outcome| drop(ready.send(outcome))))?;
        readiness.recv().map_err(io::Error::other)??;
        let address = sockets[0].local();
        Ok(Self { address, backend, counters, stop, thread, _publisher: publisher })
    }

    /// Its counters, once its thread has ended.
    fn stop(self) -> Result<Totals, Failure> {
        self.stop.store(true, Relaxed);
        match self.thread.join() {
            Ok(Ok(())) => Ok(Totals::sum([&*self.counters])),
            Ok(Err(error)) => Err(Failure::RunTime(format!("the server: {error}"))),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
