//! The process: files, sockets, threads, signals and privileges. Nothing here runs per packet.

mod addresses;
mod assemble;
mod client_loop;
pub mod configuration;
mod control;
mod drift_file;
mod driver;
mod following;
mod kernel_clock;
mod listen;
mod logging;
mod metrics;
pub mod owner;
mod privileges;
pub mod query;
mod resolver;
mod set_once;
mod signals;
mod status;
mod traffic;
mod workers;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver, TryRecvError};
use tracing::{info, warn};

use self::assemble::{Plan, Reread};
use self::client_loop::{Changes, ClientLoop};
use self::driver::InDriver;
use self::following::Following;
use self::kernel_clock::KernelClock;
use self::listen::WorkerSockets;
use self::signals::Signals;
use self::status::Status;
use self::traffic::Traffic;
use self::workers::{Crew, Workers};
use crate::client::Settings;
use crate::config::Family;
use crate::datapath::{self, Query};
use crate::limits;
use crate::server::ServingState;
use crate::snapshot::Publisher;
use crate::sys::socket::{ServeSocket, SocketOptions};
use crate::sys::thread::without_signals;
use crate::xdp;

pub use listen::ListenError;
pub use workers::DatapathChoice;

/// How often the tier in the driver is told what to answer, and looked after.
const XDP_INTERVAL: Duration = Duration::from_secs(1);

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// ntp.conf; `None` is the embedded default.
    pub config: Option<PathBuf>,
    /// Addresses to serve instead of what `interface` lines or the default say.
    pub listen: Vec<SocketAddr>,
    /// Cores to serve on, one worker each.
    pub cores: CoreChoice,
    /// How datagrams are moved.
    pub datapath: DatapathChoice,
    /// Whether and where plain requests are answered in the network driver.
    pub xdp: Option<xdp::Wanted>,
    /// USER or USER:GROUP to become once the sockets are open.
    pub user: Option<String>,
    /// Where Prometheus may scrape.
    pub metrics: Option<SocketAddr>,
    /// `-g`: the first correction of the clock may be of any size.
    pub panic_gate: bool,
    /// `-x` of `serve`: the machine's clock is never adjusted.
    pub never_adjust: bool,
    /// `-x` of `ntpd`: the clock is slewed, not stepped, unless it is very far off.
    pub slew: bool,
    /// `-q` of `ntpd`: the clock is set, and nobody is served.
    pub set_once: bool,
    /// `-4` or `-6` of `ntpd`: no address of the other family is served, and no name means one.
    pub family: Family,
    /// Lines of ntp.conf that come behind those of the file.
    pub directives: String,
}

/// Which cores get a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CoreChoice {
    /// Every core that the process may use.
    #[default]
    All,
    /// So many of them.
    First(usize),
    /// Just these.
    These(Vec<usize>),
}

/// Why the process ends.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The command line or the configuration asks for something that cannot be.
    #[error("{0}")]
    Usage(String),
    /// An address cannot be served.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The machine refuses.
    #[error("{0}")]
    RunTime(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT. Logs to stderr; "ready: …" is printed once every worker's receive is
/// armed.
pub fn run(options: &Options) -> Result<(), Failure> {
    let serves = options.cores != CoreChoice::First(0);
    // First of all: a SIGHUP that comes early, as from a script that follows the pid file, must not kill.
    let signals = Signals::install(serves)?;
    if !serves {
        logging::serve_nobody();
    }
    let mut plan = Plan::read(options)?;
    say_configuration(options);
    if options.set_once {
        return set_once::run(options, plan, &signals);
    }
    let clock = take_over_clock(&plan)?;
    let identity = privileges::resolve(options.user.as_deref())?;
    let sockets = open_sockets(options, &plan)?;
    let metrics = options.metrics.map(metrics::bind).transpose()?;
    plan.write_pid_file();
    let mut xdp = driver::start(options, &mut plan, &sockets)?;
    privileges::give_up(identity.as_ref(), clock.is_some())?;

    let clock_in_words = clock_in_words(&plan.settings, clock.is_some());
    let drift_file = plan.drift_file.take();
    let settings = plan.settings.clone();
    let mut client = ClientLoop::new(settings, clock, drift_file, plan.keys(), plan.dscp, signals.waker()?)?;
    // The first turn tells what is served until the first requests are answered.
    client.proceed()?;
    let publisher = Publisher::new(plan.serving_state(client.system()));
    if let Some(xdp) = &mut xdp {
        xdp.publish(&publisher.current());
    }
    let following = Publisher::new(client.following());
    let (queries, inbox) = datapath::queries();
    let crew = Crew {
        cores: &plan.cores,
        sockets: &sockets,
        publisher: &publisher,
        queries,
        monitored: plan.monitored,
        waker: signals.waker()?,
    };
    signals.started();
    let workers = crew.start(options.datapath)?;
    let others = (client.traffic(), xdp.as_ref().map(InDriver::view));
    let status = Status {
        control: start_control(&crew, inbox, &workers, &following, others)?,
        tier: if plan.cores.is_empty() { "none" } else { workers.backend.name() },
        cores: plan.cores.clone(),
        counters: workers.counters.clone(),
        published: publisher.subscribe(),
        following: following.subscribe(),
        xdp: xdp.as_ref().map(InDriver::view),
    };
    metrics.map(|listener| metrics::serve(listener, status.clone())).transpose()?;
    announce(&plan, &sockets, &workers, &clock_in_words, xdp.as_ref());
    Daemon {
        options,
        plan,
        client,
        publisher,
        following,
        signals,
        workers,
        status,
        xdp,
        looked_around: Instant::now(),
        reading: None,
    }
    .supervise()
}

fn say_configuration(options: &Options) {
    match &options.config {
        Some(path) => info!("configuration: {}", path.display()),
        None => info!("configuration: embedded default, no file is read"),
    }
}

/// Without workers there is nobody to forward control messages, and no thread to answer them.
fn start_control(
    crew: &Crew<'_>,
    inbox: Receiver<Query>,
    workers: &Workers,
    following: &Publisher<Following>,
    (traffic, xdp): (Arc<Traffic>, Option<xdp::View>),
) -> io::Result<Arc<control::Tally>> {
    if crew.sockets.is_empty() {
        return Ok(Arc::default());
    }
    let sources = control::Sources {
        sockets: crew.sockets.clone(),
        published: crew.publisher.subscribe(),
        following: following.subscribe(),
        counters: workers.counters.clone(),
        monitors: workers.monitors.clone(),
        backend: workers.backend,
        traffic,
        xdp,
    };
    control::start((crew.queries.clone(), inbox), sources)
}

/// The daemon thread, once everything runs.
struct Daemon<'a> {
    options: &'a Options,
    plan: Plan,
    client: ClientLoop,
    publisher: Publisher<ServingState>,
    following: Publisher<Following>,
    signals: Signals,
    workers: Workers,
    status: Status,
    xdp: Option<InDriver>,
    /// When the tier in the driver was last looked after.
    looked_around: Instant,
    /// A configuration that is being read again.
    reading: Option<Receiver<Result<Reread, String>>>,
}

impl Daemon<'_> {
    fn supervise(mut self) -> Result<(), Failure> {
        loop {
            let tick = if self.xdp.is_some() { limits::XDP_TICK } else { limits::CLIENT_TICK };
            let changes = match self.client.turn(self.signals.sleep(), tick) {
                Ok(changes) => changes,
                Err(failure) => {
                    self.workers.stop();
                    return Err(failure);
                }
            };
            self.signals.awake();
            if self.signals.terminate() {
                // The clock first: whatever else the end waits for, it is not slewed meanwhile.
                self.client.finish();
                self.workers.stop();
                info!("stopped: {}", self.status.summary());
                return Ok(());
            }
            if let Some(error) = self.workers.take_failure() {
                self.workers.stop();
                return Err(error.into());
            }
            // One at a time: a SIGHUP that comes meanwhile is for the next.
            if self.reading.is_none() && self.signals.take_reload() {
                self.reload();
            }
            self.adopt_reloaded();
            self.publish(changes);
            if self.signals.take_report() {
                logging::print(&self.status.json());
            }
            self.look_after_xdp(changes.clock);
        }
    }

    /// The tier in the driver wants to hear of the clock at once, and at least once a second.
    fn look_after_xdp(&mut self, clock_was_set: bool) {
        let Some(xdp) = &mut self.xdp else { return };
        let is_due = self.looked_around.elapsed() >= XDP_INTERVAL;
        if is_due {
            self.looked_around = Instant::now();
            xdp.look_around();
        }
        if is_due || clock_was_set || xdp.is_leap_new() {
            xdp.publish(&self.publisher.current());
        }
    }

    fn publish(&mut self, changes: Changes) {
        if changes.system {
            let state = self.plan.serving_state(self.client.system());
            if let Some(xdp) = &mut self.xdp {
                xdp.publish(&state);
            }
            self.publisher.publish(state);
        }
        if changes.following {
            self.following.publish(self.client.following());
        }
    }

    /// SIGHUP: restrict lines and sources are read again, beside this thread, which goes on following the
    /// clock; sockets stay open.
    fn reload(&mut self) {
        let Some(path) = &self.options.config else {
            return info!("reload: there is no configuration file, the embedded default stays");
        };
        let (reread, waker) = (self.plan.reread(self.options, path), self.signals.waker());
        let (done, outcome) = channel::bounded(1);
        let thread = thread::Builder::new().name("reload".to_owned());
        let started = without_signals(|| {
            thread.spawn(move || {
                let _ = done.send(reread());
                let _ = waker.map(|waker| waker.map(|mut waker| waker.write(&[0])));
            })
        });
        match started {
            Ok(_) => self.reading = Some(outcome),
            Err(error) => warn!("reload: {error}; the old configuration stays in force"),
        }
    }

    /// A file that cannot be read or has errors changes nothing.
    fn adopt_reloaded(&mut self) {
        let outcome = match self.reading.as_ref().map(Receiver::try_recv) {
            None | Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(outcome)) => outcome,
            Some(Err(TryRecvError::Disconnected)) => Err("the reader has failed".to_owned()),
        };
        self.reading = None;
        match outcome {
            Ok(reread) => {
                info!("reload: the file is in force; listening addresses and workers stay as they were");
                self.plan.adopt(reread);
                self.client.reload(self.plan.settings.clone(), self.plan.keys());
                self.publish(Changes { system: true, following: true, ..Changes::default() });
            }
            Err(error) => warn!("reload: {error}; the old configuration stays in force"),
        }
    }
}

/// The machine's clock, if it is to be adjusted and the kernel lets us. The first thing that is done to it
/// is to take back what a process that was killed may have left.
fn take_over_clock(plan: &Plan) -> io::Result<Option<KernelClock>> {
    if !client_loop::wants_clock(&plan.settings) {
        return Ok(None);
    }
    match KernelClock::take_over(plan.settings.drift_ppm.unwrap_or_default()) {
        Ok(clock) => Ok(Some(clock)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            warn!(
                "this process may not adjust the clock: what is served is corrected instead; to have the clock adjusted: run as root, or sudo setcap cap_sys_time,cap_net_bind_service=+ep $(command -v ntpring)"
            );
            Ok(None)
        }
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot adjust the clock: {error}"))),
    }
}

/// What becomes of the machine's clock, for the readiness line.
fn clock_in_words(settings: &Settings, is_ours: bool) -> String {
    let sources = settings.sources.len();
    match settings.local_clock {
        Some(local) if sources == 0 => format!(
            "clock: this machine's own, not adjusted, stratum {}, refid 127.127.1.{}",
            local.stratum.saturating_add(1),
            local.unit
        ),
        _ if sources == 0 => "clock: not adjusted, there is no source: every reply says so".to_owned(),
        _ => {
            let how = match (is_ours, assemble::is_slew_only(&settings.discipline)) {
                (false, _) => "not adjusted",
                (true, false) => "disciplined",
                (true, true) => "slew-only",
            };
            format!("clock: {how}, {sources} source{}", if sources == 1 { "" } else { "s" })
        }
    }
}

fn open_sockets(options: &Options, plan: &Plan) -> Result<WorkerSockets, Failure> {
    let socket_options = SocketOptions {
        receive_buffer: limits::SOCKET_RECEIVE_BUFFER,
        dscp: plan.dscp,
        before_usable: plan.addresses.enumerated,
    };
    match listen::open(&plan.addresses.listening, plan.cores.len(), socket_options) {
        Err(error) if error.is_about_the_port() && options.config.is_none() && options.listen.is_empty() => {
            warn!("{error}; serving on port {} instead", listen::UNPRIVILEGED_PORT);
            let elsewhere = listen::wildcards(listen::UNPRIVILEGED_PORT);
            Ok(listen::open(&elsewhere, plan.cores.len(), socket_options)?)
        }
        result => Ok(result?),
    }
}

/// Says what is served, where and how: one line, once every worker's receive is armed.
fn announce(plan: &Plan, sockets: &WorkerSockets, workers: &Workers, clock: &str, xdp: Option<&InDriver>) {
    match sockets.first() {
        Some(first) => {
            let unseen = match xdp {
                Some(_) => "; firewall rules, rp_filter and captures do not see what xdp answers",
                None => "",
            };
            logging::print(&format!("ready: {}; {clock}{unseen}", serving(plan, first, workers, xdp)));
        }
        None => logging::print(&format!("ready: no worker, so nobody is served; {clock}")),
    }
    // Without a service manager that asked for it there is nobody to tell, which is no error.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}

fn serving(plan: &Plan, sockets: &[ServeSocket], workers: &Workers, xdp: Option<&InDriver>) -> String {
    let addresses: Vec<String> = sockets.iter().map(|socket| socket.local().to_string()).collect();
    let cores: Vec<String> = plan.cores.iter().map(ToString::to_string).collect();
    // The kernel grants, and reports, twice what was asked for: half is for its own overhead.
    let buffer = sockets.first().and_then(|socket| socket.receive_buffer().ok()).unwrap_or_default();
    format!(
        "udp {}; tier {}{}; {} worker{} on cpu {}; receive buffer {} KiB{}; kernel receive stamps",
        addresses.join(" "),
        xdp.map(|xdp| format!("xdp {}, then ", xdp.places())).unwrap_or_default(),
        workers.backend.name(),
        cores.len(),
        if cores.len() == 1 { "" } else { "s" },
        cores.join(","),
        buffer / 1024,
        if buffer < 2 * limits::SOCKET_RECEIVE_BUFFER { " (net.core.rmem_max caps it)" } else { "" },
    )
}
