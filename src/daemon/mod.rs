//! The process: files, sockets, threads, signals and privileges. Nothing here runs per packet.

mod addresses;
mod assemble;
pub mod configuration;
mod driver;
mod listen;
mod logging;
mod metrics;
mod owner;
mod privileges;
mod signals;
mod status;
mod workers;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam::channel::{self, Receiver};
use tracing::{info, warn};

use self::assemble::Plan;
use self::driver::InDriver;
use self::listen::WorkerSockets;
use self::signals::Signals;
use self::status::Status;
use self::workers::{Crew, Workers};
use crate::datapath::Query;
use crate::limits;
use crate::server::ServingState;
use crate::snapshot::Publisher;
use crate::sys::socket::{ServeSocket, SocketOptions};
use crate::xdp;

pub use listen::ListenError;
pub use workers::DatapathChoice;

/// How often the served system variables are renewed.
const UPDATE_INTERVAL: Duration = Duration::from_secs(1);

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
    // First of all: a SIGHUP that comes early, as from a script that follows the pid file, must not kill.
    let signals = Signals::install()?;
    let mut plan = Plan::read(options)?;
    match &options.config {
        Some(path) => info!("configuration: {}", path.display()),
        None => info!("configuration: embedded default, no file is read"),
    }
    let identity = privileges::resolve(options.user.as_deref())?;
    let sockets = open_sockets(options, &plan)?;
    let metrics = options.metrics.map(metrics::bind).transpose()?;
    plan.write_pid_file();
    let xdp = driver::start(options, &mut plan, &sockets)?;
    privileges::give_up(identity.as_ref())?;

    let mut publisher = Publisher::new(plan.serving_state());
    let (queries, inbox) = channel::bounded(limits::FORWARD_QUEUE);
    let crew = Crew {
        cores: &plan.cores,
        sockets: &sockets,
        publisher: &publisher,
        queries,
        waker: signals.waker()?,
    };
    signals.started();
    let workers = crew.start(options.datapath)?;
    let status = Status {
        tier: workers.backend.name(),
        cores: plan.cores.clone(),
        counters: workers.counters.clone(),
        published: publisher.subscribe(),
        xdp: xdp.as_ref().map(InDriver::view),
    };
    if let Some(listener) = metrics {
        metrics::serve(listener, status.clone())?;
    }
    let xdp = xdp.map(|xdp| xdp.watch_the_clock(signals.waker()?)).transpose()?;
    announce(&plan, &sockets, &workers, xdp.as_ref());
    Daemon { config: options.config.as_deref(), plan, signals, workers, inbox, status, xdp }
        .supervise(&mut publisher)
}

/// The daemon thread, once everything runs.
struct Daemon<'a> {
    config: Option<&'a Path>,
    plan: Plan,
    signals: Signals,
    workers: Workers,
    inbox: Receiver<Query>,
    status: Status,
    xdp: Option<InDriver>,
}

impl Daemon<'_> {
    fn supervise(mut self, publisher: &mut Publisher<ServingState>) -> Result<(), Failure> {
        let mut next_update = Instant::now() + UPDATE_INTERVAL;
        loop {
            let patience = next_update.saturating_duration_since(Instant::now());
            self.signals.sleep(patience.max(Duration::from_millis(1)))?;
            if self.signals.terminate() {
                self.workers.stop();
                info!("stopped: {}", self.status.summary());
                return Ok(());
            }
            if let Some(error) = self.workers.take_failure() {
                self.workers.stop();
                return Err(error.into());
            }
            if self.signals.take_report() {
                logging::print(&self.status.json());
            }
            if self.signals.take_reload() {
                self.reload();
                self.publish(publisher);
            }
            if self.xdp.as_ref().is_some_and(InDriver::take_clock_set) {
                self.publish(publisher);
            }
            // The control protocol is not served yet: what restrict lets through is met with silence.
            self.inbox.try_iter().for_each(drop);
            if Instant::now() >= next_update {
                next_update = Instant::now() + UPDATE_INTERVAL;
                if let Some(xdp) = &mut self.xdp {
                    xdp.look_around();
                }
                self.publish(publisher);
            }
        }
    }

    /// Tells all tiers what to answer from now on.
    fn publish(&mut self, publisher: &mut Publisher<ServingState>) {
        let state = self.plan.serving_state();
        if let Some(xdp) = &mut self.xdp {
            xdp.publish(&state);
        }
        publisher.publish(state);
    }

    /// SIGHUP: restrict lines and the local clock are read again; sockets stay open. A file that cannot be
    /// read or has errors changes nothing.
    fn reload(&mut self) {
        let Some(path) = self.config else {
            return info!("reload: there is no configuration file, the embedded default stays");
        };
        match self.plan.reread(path) {
            Ok(()) => info!(
                "reload: {} is in force; listening addresses and workers stay as they were",
                path.display()
            ),
            Err(error) => warn!("reload: {error}; the old configuration stays in force"),
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
fn announce(plan: &Plan, sockets: &WorkerSockets, workers: &Workers, xdp: Option<&InDriver>) {
    match sockets.first() {
        Some(first) => {
            let unseen = match xdp {
                Some(_) => "; firewall rules, rp_filter and captures do not see what xdp answers",
                None => "",
            };
            logging::print(&format!("ready: {}; {}{unseen}", serving(plan, first, workers, xdp), plan.clock));
        }
        None => logging::print("ready: no worker, so nobody is served"),
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
