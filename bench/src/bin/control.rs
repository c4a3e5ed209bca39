//! What control messages (mode 6) do to time service: rounds of neighbouring slices at a quarter of the
//! rate that saturates the server, beside nothing, beside a flood of mode 6 that is answered, beside a flood
//! of datagrams that are dropped at once, and beside one that goes elsewhere: what that does is this
//! program's and the machine's doing, not the server's. The daemon is the real one, so its control thread is.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use std::{env, fs};

use bench::generator::{Exchange, Generator, Load, Outcome};
use bench::machine::Machine;
use bench::statistics::Quartiles;
use clap::Parser;
use hdrhistogram::Histogram;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ntpring::sys::thread::{allowed_cores, pin_to};
use serde_json::Value;

/// Time requests, as a share of what saturates the server.
const SHARE: f64 = 0.25;
/// Flooding datagrams that leave in a row.
const BURST: u32 = 20;

#[derive(Debug, Parser)]
#[command(
    about = "Time service beside nothing, beside mode 6, beside garbage, and beside a flood for somebody else"
)]
struct Args {
    /// Rounds
    #[arg(long, default_value_t = 36)]
    rounds: usize,
    /// Seconds of a slice: a hiccup of the machine that is longer than a hundredth of it is its p99
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// Flooding datagrams per second
    #[arg(long, default_value_t = 50_000)]
    flood: u32,
    /// Time requests per second, instead of a quarter of what saturates the server
    #[arg(long)]
    rate: Option<f64>,
    /// One short round, to see that it runs
    #[arg(long)]
    quick: bool,
}

/// What is sent beside the time requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beside {
    Nothing,
    /// The system's variables, and every association: what `ntpq -p` begins with.
    Mode6,
    Garbage,
    /// The garbage, to a socket that nobody reads.
    Elsewhere,
}

const ALL: [Beside; 4] = [Beside::Nothing, Beside::Mode6, Beside::Garbage, Beside::Elsewhere];

impl Beside {
    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Mode6 => "mode 6",
            Self::Garbage => "12 octets",
            Self::Elsewhere => "12 octets, elsewhere",
        }
    }

    /// The datagrams, in turn.
    fn datagrams(self) -> [[u8; 12]; 2] {
        match self {
            Self::Nothing | Self::Garbage | Self::Elsewhere => {
                [[0x23, 0, 6, 0xE9, 0, 0, 0, 0, 0, 0, 0, 0]; 2]
            }
            Self::Mode6 => [[0x16, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], [0x16, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]],
        }
    }
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("control: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One slice.
struct Slice {
    outcome: Outcome,
    /// In µs.
    p50: f64,
    p99: f64,
    flooded: u64,
    /// Control messages that were answered, and those that the full channel did not take.
    answered: u64,
    not_taken: u64,
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let machine = Machine::here();
    let [server_core, our_core, ..] = allowed_cores()[..] else {
        return Err("two cores are needed, one for each end".into());
    };
    let mut daemon = Daemon::start(server_core)?;
    if !pin_to(our_core) {
        return Err(format!("cannot pin to core {our_core}").into());
    }
    let mut generator = Generator::new(daemon.address, true)?;
    let (rounds, seconds) = if args.quick { (1, 1) } else { (args.rounds, args.seconds) };
    let saturated = match args.rate {
        Some(rate) => rate / SHARE,
        None => saturated(&mut generator, Duration::from_secs(seconds.min(3)))?,
    };
    let rate = saturated * SHARE;
    println!("{machine}.\n");
    println!(
        "{rounds} rounds of {seconds} s slices, {rate:.0} time requests/s ({:.0} % of {saturated:.0}/s), floods of {}/s.\n",
        100.0 * SHARE,
        args.flood
    );
    println!(
        "| beside | time requests | replies lost | p50 µs | p99 µs | flooded/s | mode 6 answered/s | not taken by the channel/s |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut slices: Vec<[Slice; ALL.len()]> = Vec::new();
    for round in 0..rounds {
        // None is always the first, or always behind the same other one's back.
        let mut order: Vec<usize> = (0..ALL.len()).collect();
        order.rotate_left(round % ALL.len());
        if round / ALL.len() % 2 == 1 {
            order.reverse();
        }
        let mut slices_of_round = Vec::new();
        for number in order {
            let beside = ALL[number];
            let slice =
                slice(&mut daemon, &mut generator, rate, Duration::from_secs(seconds), beside, args.flood)?;
            eprintln!(
                "{}: {} sent, {} lost, p50 {:.1} µs, p99 {:.1} µs, {} flooded, {} answered, {} not taken",
                beside.name(),
                slice.outcome.sent,
                slice.outcome.sent.saturating_sub(slice.outcome.answered),
                slice.p50,
                slice.p99,
                slice.flooded,
                slice.answered,
                slice.not_taken
            );
            slices_of_round.push((number, slice));
        }
        slices_of_round.sort_by_key(|(number, _)| *number);
        let in_order: Vec<Slice> = slices_of_round.into_iter().map(|(_, slice)| slice).collect();
        slices.push(in_order.try_into().map_err(|_| "one of each")?);
    }
    report(&slices, seconds);
    Ok(())
}

fn report(slices: &[[Slice; ALL.len()]], seconds: u64) {
    let p99 = |number: usize| Quartiles::of(slices.iter().map(|round| round[number].p99));
    for (number, beside) in ALL.into_iter().enumerate() {
        let of =
            |part: &dyn Fn(&Slice) -> f64| Quartiles::of(slices.iter().map(|round| part(&round[number])));
        let sum = |part: &dyn Fn(&Slice) -> u64| slices.iter().map(|round| part(&round[number])).sum::<u64>();
        let per_second = |part: &dyn Fn(&Slice) -> u64| sum(part) / (seconds * slices.len() as u64).max(1);
        println!(
            "| {} | {} | {} | {:.1} | {:.1} [{:.1}, {:.1}] | {} | {} | {} |",
            beside.name(),
            sum(&|slice| slice.outcome.sent),
            sum(&|slice| slice.outcome.sent.saturating_sub(slice.outcome.answered)),
            of(&|slice| slice.p50).median,
            p99(number).median,
            p99(number).lower,
            p99(number).upper,
            per_second(&|slice| slice.flooded),
            per_second(&|slice| slice.answered),
            per_second(&|slice| slice.not_taken),
        );
    }
    println!("\n| p99 beside | by that of neighbours | of medians |\n|---|---|---|");
    for (above, below) in [(1, 0), (1, 2), (1, 3), (2, 0), (3, 0)] {
        let ratios = Quartiles::of(slices.iter().map(|round| round[above].p99 / round[below].p99));
        let of_medians = p99(above).median / p99(below).median;
        println!("| {} / {} | {ratios} | {of_medians:.2} |", ALL[above].name(), ALL[below].name());
    }
}

/// Right replies per second, when there are always more requests.
fn saturated(generator: &mut Generator, duration: Duration) -> io::Result<f64> {
    generator.offer(Load::Overload, duration, &mut |_| {})?;
    let outcome = generator.settle(&mut |_| {})?;
    Ok(outcome.answered_in_window as f64 / outcome.window.as_secs_f64())
}

fn slice(
    daemon: &mut Daemon,
    generator: &mut Generator,
    rate: f64,
    duration: Duration,
    beside: Beside,
    flood: u32,
) -> Result<Slice, Box<dyn Error>> {
    let before = daemon.counts()?;
    let mut times = Histogram::<u64>::new_with_bounds(1, 10_000_000_000, 3)?;
    let mut note = |exchange: Exchange| {
        let units = exchange.t4.signed_since(exchange.t1).max(0);
        times.saturating_record((units as f64 * 1e9 / 2_f64.powi(32)) as u64);
    };
    let flooding = Flooding::start(daemon.address, beside, flood)?;
    generator.offer(Load::Rate(rate), duration, &mut note)?;
    let flooded = flooding.stop();
    let outcome = generator.settle(&mut note)?;
    let after = daemon.counts()?;
    let of = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
    Ok(Slice {
        outcome,
        p50: of(0.5),
        p99: of(0.99),
        flooded,
        answered: after[0] - before[0],
        not_taken: after[1] - before[1],
    })
}

/// A thread on this end's core that sends one datagram after the other, and reads nothing.
struct Flooding {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Flooding {
    fn start(target: SocketAddr, beside: Beside, rate: u32) -> io::Result<Self> {
        let mut flooding = Self { stop: Arc::default(), sent: Arc::default(), thread: None };
        if beside == Beside::Nothing {
            return Ok(flooding);
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(if beside == Beside::Elsewhere { sink.local_addr()? } else { target })?;
        let (stop, sent) = (Arc::clone(&flooding.stop), Arc::clone(&flooding.sent));
        let thread = move || {
            let begin = Instant::now();
            while !stop.load(Relaxed) {
                let due = (begin.elapsed().as_secs_f64() * f64::from(rate)) as u64;
                for number in sent.load(Relaxed)..due.min(sent.load(Relaxed) + u64::from(BURST)) {
                    // What is refused is due again at once.
                    let [first, second] = beside.datagrams();
                    let datagram = if number.is_multiple_of(2) { first } else { second };
                    if socket.send(&datagram).is_ok() {
                        sent.fetch_add(1, Relaxed);
                    }
                }
                sleep(Duration::from_micros(50));
            }
            drop(sink);
        };
        flooding.thread = Some(thread::Builder::new().name("flood".to_owned()).spawn(thread)?);
        Ok(flooding)
    }

    fn stop(mut self) -> u64 {
        self.stop.store(true, Relaxed);
        // A flood that panicked has sent what it has sent.
        let _ = self.thread.take().map(thread::JoinHandle::join);
        self.sent.load(Relaxed)
    }
}

/// ntpring beside this program, on loopback.
struct Daemon {
    child: Child,
    lines: Receiver<String>,
    address: SocketAddr,
    conf: PathBuf,
}

impl Daemon {
    fn start(core: usize) -> Result<Self, Box<dyn Error>> {
        let program = env::current_exe()?.with_file_name("ntpring");
        let conf = env::temp_dir().join(format!("ntpring-bench-control-{}.conf", std::process::id()));
        fs::write(&conf, "restrict default noquery\nrestrict 127.0.0.1\nserver 127.127.1.0\n")?;
        // A port that was free a moment ago.
        let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let words = ["serve", "-x", "--cpus", &core.to_string(), "-l", &address.to_string(), "-c"];
        let mut child = Command::new(&program)
            .args(words)
            .arg(&conf)
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("{}: {error}: build it with -p ntpring", program.display()))?;
        let stderr = child.stderr.take().ok_or("no standard error")?;
        let (said, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        let daemon = Self { child, lines, address, conf };
        daemon.line("ready: ")?;
        Ok(daemon)
    }

    fn line(&self, words: &str) -> Result<String, Box<dyn Error>> {
        loop {
            let line = self.lines.recv_timeout(Duration::from_secs(5))?;
            if line.contains(words) {
                return Ok(line);
            }
        }
    }

    /// Control messages answered, and those that the channel did not take.
    fn counts(&mut self) -> Result<[u64; 2], Box<dyn Error>> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGUSR1)?;
        let line: Value = serde_json::from_str(&self.line("\"control\"")?)?;
        let count = |value: &Value| value.as_u64().ok_or("a count is missing");
        Ok([count(&line["control"]["answered"])?, count(&line["dropped"]["forward_full"])?])
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.conf);
    }
}
