//! One run: threads on their cores, one common start, one result.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, SystemTime};

use crossbeam::channel::{self, Receiver, Sender};
use ntpring::sys::exchange::{ClientSockets, Exchange, ExchangeSizes, MmsgExchange, UringExchange};
use ntpring::sys::thread::pin_to;

use crate::accounting::Counts;
use crate::clock;
use crate::engine::{Engine, Findings, Live, Reporter, Task};
use crate::failure::Failure;
use crate::flight::{Flight, SLOTS_MAX};
use crate::measures::{Measures, Second};
use crate::population::Population;
use crate::progress::Progress;
use crate::requests::Requests;
use crate::schedule::{Arrivals, Demand, Pace, Schedule};
use crate::series::Series;
use crate::sources::Crowd;
use crate::stamping::TxStamps;
use crate::target;
use crate::transport::Transport;
use crate::xdp;

/// What a run is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) target: SocketAddr,
    pub(crate) load: Load,
    pub(crate) duration: Duration,
    /// How long a request waits for its reply.
    pub(crate) timeout: Duration,
    /// Source sockets, divided among the threads.
    pub(crate) clients: usize,
    /// One thread on each.
    pub(crate) cores: Vec<usize>,
    /// Whether the threads may keep their cores busy.
    pub(crate) spin: bool,
    /// How requests of an open loop are spread over time.
    pub(crate) arrivals: Arrivals,
    /// The load runs so long before anything counts.
    pub(crate) warmup: Duration,
    /// Which requests the kernel stamps when they leave.
    pub(crate) tx_stamps: TxStamps,
    /// What moves the datagrams.
    pub(crate) transport: Transport,
    /// Over which interface frames leave; that of the route if `None`.
    pub(crate) interface: Option<String>,
    /// When to start, so that several hosts start together; at once if `None`.
    pub(crate) start_at: Option<SystemTime>,
    /// What is asked, and by whom.
    pub(crate) requests: Requests,
    /// Whether each second's measures are kept, beside its counts.
    pub(crate) keep_seconds: bool,
}

/// How much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Requests per second, whatever the server does.
    Rate(u64),
    /// As fast as the server answers, with so many requests unanswered at any time.
    Outstanding(usize),
    /// As fast as the generator goes, whatever the server does.
    Flood,
}

/// What a run has found.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    pub(crate) measures: Measures,
    /// What became of each second, the first first.
    pub(crate) seconds: Vec<Second>,
    /// When the first second began.
    pub(crate) started: SystemTime,
    /// How long requests were sent.
    pub(crate) sending: Duration,
    /// Whether the user ended it.
    pub(crate) interrupted: bool,
    /// The interface, if it went away and ended it.
    pub(crate) lost_link: Option<String>,
}

/// Rates of a run that was over at once refer to this time.
const SHORTEST: Duration = Duration::from_millis(1);
/// A last request that left this late is a hiccup, which the latency shows; later, the generator could not
/// keep the rate.
const HICCUP: Duration = Duration::from_millis(50);
/// Between "all sockets are open" and the first request.
const HEAD_START: Duration = Duration::from_millis(5);
/// Empty measures per thread that lie ready at the start.
const SPARES: usize = 2;
/// In-flight places of a closed loop, whose rate is not known before. A table that lost requests have filled
/// only slows it down.
const CLOSED_LOOP_SLOTS: usize = 1 << 20;

/// What a thread says once its sockets are open, or the sentence why not.
type Ready = Result<(), String>;

/// Runs the load, unless `stop` is set, showing `progress`.
pub(crate) fn run(plan: &Plan, progress: &Progress, stop: &AtomicBool) -> Result<Outcome, Failure> {
    if plan.transport == Transport::Xdp {
        return xdp::run(plan, progress, stop);
    }
    let tasks = plan.tasks()?;
    let live: Vec<Live> = tasks.iter().map(|_| Live::default()).collect();
    let (ready, readiness) = channel::unbounded::<Ready>();
    let (starts, start) = channel::unbounded::<u64>();
    let (mut series, reporter) = plan.series();
    let mut started = SystemTime::now();
    let findings = thread::scope(|scope| {
        let mut threads = Vec::new();
        for ((task, live), &core) in tasks.into_iter().zip(&live).zip(&plan.cores) {
            let post = Post { core, task, reporter: reporter.clone(), live, stop };
            let (ready, start) = (ready.clone(), start.clone());
            threads.push(scope.spawn(move || match plan.transport {
                Transport::IoUring => post.work(UringExchange::new, &ready, &start),
                Transport::Mmsg | Transport::Xdp => post.work(MmsgExchange::new, &ready, &start),
            }));
        }
        drop(ready);
        let outcome: Ready = readiness.iter().take(threads.len()).collect();
        if outcome.is_ok() {
            let (start, warm) = plan.start();
            started = warm;
            for _ in &threads {
                // A thread that is no longer there to hear it has panicked, which shows below.
                let _ = starts.send(start);
            }
        }
        drop(starts);
        progress.show(&live, || {
            // In this order: a thread that has ended has reported everything.
            let finished = threads.iter().all(ScopedJoinHandle::is_finished);
            let p99 = series.collect();
            if finished { ControlFlow::Break(()) } else { ControlFlow::Continue(p99) }
        });
        let join =
            |thread: ScopedJoinHandle<'_, _>| thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        let findings: Vec<io::Result<Findings>> = threads.into_iter().filter_map(join).collect();
        outcome.map(|()| findings)
    });
    let (counts, sending) = collect(findings.map_err(Failure::RunTime)?)?;
    let (measures, seconds) = series.end();
    Ok(Outcome {
        counts,
        measures,
        seconds,
        started,
        sending,
        interrupted: stop.load(Relaxed),
        lost_link: None,
    })
}

/// What one thread is given.
struct Post<'a> {
    core: usize,
    task: Task,
    reporter: Reporter,
    live: &'a Live,
    stop: &'a AtomicBool,
}

impl<'a> Post<'a> {
    /// Runs the load once everybody is ready; `None` if somebody cannot be.
    fn work<X: Exchange>(
        self,
        exchange: impl Fn(ClientSockets, ExchangeSizes) -> io::Result<X>,
        ready: &Sender<Ready>,
        start: &Receiver<u64>,
    ) -> Option<io::Result<Findings>> {
        let (said, engine) = match self.prepare(exchange) {
            Ok(engine) => (Ok(()), Some(engine)),
            Err(sentence) => (Err(sentence), None),
        };
        // Who asks has gone when another thread could not prepare, and so has who starts.
        drop(ready.send(said));
        let engine = engine?;
        start.recv().ok().map(|start| engine.run(start))
    }

    fn prepare<X: Exchange>(
        self,
        exchange: impl Fn(ClientSockets, ExchangeSizes) -> io::Result<X>,
    ) -> Result<Engine<'a, X>, String> {
        let Self { core, task, reporter, live, stop } = self;
        if !pin_to(core) {
            return Err(format!("cannot pin a thread to cpu {core}"));
        }
        let clients = task.sources.len();
        let sockets = task.open().map_err(|(client, error)| {
            format!(
                "cannot open client socket {} of {clients}: {error}{}",
                client + 1,
                advice(&error, clients)
            )
        })?;
        let exchange = exchange(sockets, task.sizes()).map_err(|error| {
            format!("cannot listen on {clients} client sockets: {error}{}", advice(&error, clients))
        })?;
        Ok(Engine::new(task, exchange, reporter, live, stop))
    }
}

/// EMFILE, for which std has no name.
const TOO_MANY_FILES: i32 = 24;
/// Open files beside the client sockets.
const OTHER_FILES: usize = 64;

/// What mends an error of opening sockets.
fn advice(error: &io::Error, clients: usize) -> String {
    match error.kind() {
        io::ErrorKind::NetworkUnreachable => ": there is no route to the target".to_owned(),
        io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => {
            ": too few free ports (net.ipv4.ip_local_port_range), use fewer --clients".to_owned()
        }
        _ if error.raw_os_error() == Some(TOO_MANY_FILES) => {
            format!(": use fewer --clients, or raise the limit (ulimit -n {})", clients + OTHER_FILES)
        }
        _ => String::new(),
    }
}

fn collect(findings: Vec<io::Result<Findings>>) -> Result<(Counts, Duration), Failure> {
    let mut sum = (Counts::default(), Duration::ZERO);
    for findings in findings {
        let findings = findings.map_err(|error| Failure::RunTime(format!("a socket failed: {error}")))?;
        sum.0.add(&findings.counts);
        sum.1 = sum.1.max(Duration::from_nanos(findings.sending));
    }
    Ok(sum)
}

impl Plan {
    /// Who adds up what the threads report, and how they do.
    fn series(&self) -> (Series, Reporter) {
        let threads = self.cores.len();
        let (reports, reported) = channel::unbounded();
        let (given_back, spares) = channel::unbounded();
        for _ in 0..SPARES * threads {
            // The other end is in this function.
            let _ = given_back.send(Box::default());
        }
        (Series::new(reported, given_back, threads, self.keep_seconds), Reporter { reports, spares })
    }

    /// When the threads start, in nanoseconds of CLOCK_MONOTONIC, and when counting begins.
    fn start(&self) -> (u64, SystemTime) {
        let (now, wall) = (clock::now(), SystemTime::now());
        let wait = self.start_at.and_then(|start| start.duration_since(wall).ok()).unwrap_or_default();
        let wait = wait.max(HEAD_START);
        (now + nanoseconds(wait), wall + wait + self.warmup)
    }

    fn tasks(&self) -> Result<Vec<Task>, Failure> {
        let threads = self.cores.len();
        if self.clients < threads {
            let text = format!("{threads} threads need at least as many --clients, not {}", self.clients);
            return Err(Failure::Usage(text));
        }
        let slots = self.slots(threads)?;
        let sources = target::sources(self.target, self.clients);
        let prefix = self.requests.sources;
        // Either the sockets or the addresses follow Zipf's law.
        let zipf = self.requests.zipf.filter(|_| prefix.is_none());
        let task = |thread| {
            let sources: Vec<IpAddr> = sources.iter().skip(thread).step_by(threads).copied().collect();
            Task {
                target: self.target,
                population: Population::new(sources.len() as u64, zipf, 1, 0),
                crowd: prefix.map(|prefix| Crowd::new(prefix, self.requests.zipf, threads, thread)),
                sources,
                pace: self.pace(threads, thread),
                slots,
                timeout: nanoseconds(self.timeout),
                requests: self.requests.clone(),
                warmup: nanoseconds(self.warmup),
                tx_stamps: self.tx_stamps,
                spin: self.spin,
            }
        };
        Ok((0..threads).map(task).collect())
    }

    fn pace(&self, threads: usize, thread: usize) -> Pace {
        match self.load {
            Load::Rate(rate) => Pace::Open(Schedule::new(self.demand(rate), threads, thread)),
            Load::Outstanding(outstanding) => self.closed(outstanding / threads),
            // Of sockets: as many as there are places.
            Load::Flood => self.closed(CLOSED_LOOP_SLOTS / 2),
        }
    }

    fn closed(&self, outstanding: usize) -> Pace {
        Pace::Closed { outstanding: outstanding.max(1), until: nanoseconds(self.warmup + self.duration) }
    }

    fn demand(&self, rate: u64) -> Demand {
        Demand {
            arrivals: self.arrivals,
            rate,
            warmup: nanoseconds(self.warmup),
            duration: nanoseconds(self.duration),
        }
    }

    fn slots(&self, threads: usize) -> Result<usize, Failure> {
        let Load::Rate(rate) = self.load else { return Ok(CLOSED_LOOP_SLOTS) };
        let rate = rate.div_ceil(threads as u64);
        let peak = rate.saturating_mul(self.arrivals.peak());
        Flight::slots_for(peak, self.timeout).ok_or_else(|| {
            Failure::Usage(format!(
                "{peak} requests/s and thread times {:?} timeout are more requests than the {} that a thread can keep in mind: \
                 use a lower --rate, a shorter --timeout or more --threads",
                self.timeout,
                SLOTS_MAX / 2
            ))
        })
    }
}

/// As the programs of the engines count.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Outcome {
    /// The time that rates refer to: what was planned, or longer if the generator fell behind, or shorter if
    /// it was interrupted.
    pub(crate) fn span(&self, plan: &Plan) -> Duration {
        let cut_short = self.interrupted || self.refused() || self.lost_link.is_some();
        let on_time = self.sending <= plan.duration + HICCUP;
        if on_time && !cut_short { plan.duration } else { self.sending.max(SHORTEST) }
    }

    /// Requests per second of span.
    pub(crate) fn per_second(&self, count: u64, plan: &Plan) -> f64 {
        count as f64 / self.span(plan).as_secs_f64()
    }

    /// The rate that was asked for; in a closed loop, the one that came about.
    pub(crate) fn offered(&self, plan: &Plan) -> f64 {
        match plan.load {
            Load::Rate(rate) => rate as f64,
            Load::Outstanding(_) | Load::Flood => self.per_second(self.counts.scheduled, plan),
        }
    }

    /// Part of the scheduled rate that was really sent, 1 if the generator kept up.
    pub(crate) fn achieved(&self, plan: &Plan) -> f64 {
        let sent = self.counts.sent as f64 / self.counts.scheduled.max(1) as f64;
        let open = matches!(plan.load, Load::Rate(_));
        if !open || self.interrupted || self.refused() || self.lost_link.is_some() {
            return sent;
        }
        sent * plan.duration.as_secs_f64() / self.span(plan).as_secs_f64()
    }

    /// The seconds in which something happened, and those between.
    pub(crate) fn eventful(&self) -> &[Second] {
        let is_eventful = |second: &Second| second.sent + second.answered + second.lost > 0;
        let end = self.seconds.iter().rposition(is_eventful).map_or(0, |last| last + 1);
        &self.seconds[..end]
    }

    /// Whether the target's host refused, and nobody ever answered.
    pub(crate) fn refused(&self) -> bool {
        self.counts.unreachable > 0 && self.counts.answered == 0
    }
}

#[cfg(test)]
mod tests;
