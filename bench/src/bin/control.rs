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
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, sleep};
use std::time::Duration;
use std::{env, fs};

use bench::generator::{Exchange, Generator, Load, Outcome};
use bench::machine::{self, Machine};
use bench::statistics::Quartiles;
use clap::Parser;
use hdrhistogram::Histogram;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ntpring::limits;
use ntpring::sys::thread::{allowed_cores, pin_to};
use serde_json::Value;

/// Time requests, as a share of what saturates the server.
const SHARE: f64 = 0.25;
/// Flooding datagrams that leave in a row when this end has been held up.
const CATCH_UP: u64 = 4;

#[derive(Debug, Parser)]
#[command(
    about = "Time service beside nothing, beside mode 6, beside garbage, and beside a flood for somebody else"
)]
struct Args {
    /// Rounds
    #[arg(long, default_value_t = 500)]
    rounds: usize,
    /// Milliseconds of a slice. A hiccup of the machine that is longer than a hundredth of it is its p99, so
    /// slices are to be so short that most have none
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(10..))]
    slice: u64,
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
    /// Of round trips, in µs.
    p50: f64,
    p99: f64,
    flooded: u64,
    /// What the daemon counted.
    counts: Counts,
    /// Time of a core that this machine's host gave to others.
    stolen: Duration,
}

impl Slice {
    fn lost(&self) -> u64 {
        self.outcome.sent.saturating_sub(self.outcome.answered)
    }
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
    let rounds = if args.quick { 1 } else { args.rounds };
    let duration = Duration::from_millis(args.slice);
    let saturated = match args.rate {
        Some(rate) => rate / SHARE,
        None => saturated(&mut generator, Duration::from_secs(if args.quick { 1 } else { 3 }))?,
    };
    let rate = saturated * SHARE;
    println!("{machine}.\n");
    println!(
        "{rounds} rounds of {} ms slices, {rate:.0} time requests/s ({:.0} % of {saturated:.0}/s), floods of {}/s.\n",
        args.slice,
        100.0 * SHARE,
        args.flood
    );
    let mut slices: Vec<[Slice; ALL.len()]> = Vec::new();
    let mut together = ALL.map(|_| round_trips());
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
            let (slice, times) = slice(&mut daemon, &mut generator, rate, duration, beside, args.flood)?;
            together[number] += times;
            slices_of_round.push((number, slice));
        }
        slices_of_round.sort_by_key(|(number, _)| *number);
        let in_order: Vec<Slice> = slices_of_round.into_iter().map(|(_, slice)| slice).collect();
        slices.push(in_order.try_into().map_err(|_| "one of each")?);
    }
    report(&slices, &together, duration);
    Ok(())
}

fn report(slices: &[[Slice; ALL.len()]], together: &[Histogram<u64>; ALL.len()], duration: Duration) {
    let seconds = duration.as_secs_f64() * slices.len() as f64;
    let p99 = |number: usize| Quartiles::of(slices.iter().map(|round| round[number].p99));
    println!(
        "| beside | time requests | replies lost | dropped, server's queue full | p50 µs | p99 µs | p99 µs of all together | \
         flooded/s | mode 6 answered/s | not taken by the channel/s | stolen by the host |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (number, beside) in ALL.into_iter().enumerate() {
        let sum = |part: &dyn Fn(&Slice) -> u64| slices.iter().map(|round| part(&round[number])).sum::<u64>();
        let per_second = |part: &dyn Fn(&Slice) -> u64| sum(part) as f64 / seconds;
        let stolen: Duration = slices.iter().map(|round| round[number].stolen).sum();
        let p50 = Quartiles::of(slices.iter().map(|round| round[number].p50)).median;
        let Quartiles { lower, median, upper } = p99(number);
        println!(
            "| {} | {} | {} | {} | {p50:.1} | {median:.1} [{lower:.1}, {upper:.1}] | {:.1} | {:.0} | {:.0} | {:.0} | {:.1} % |",
            beside.name(),
            sum(&|slice| slice.outcome.sent),
            sum(&Slice::lost),
            sum(&|slice| slice.counts.queue_full),
            p99_of(&together[number]),
            per_second(&|slice| slice.flooded),
            per_second(&|slice| slice.counts.answered),
            per_second(&|slice| slice.counts.not_taken),
            100.0 * stolen.as_secs_f64() / seconds
        );
    }
    println!("\n| p99 beside | by that of neighbours | of medians | of all together |\n|---|---|---|---|");
    for (above, below) in [(1, 0), (1, 2), (1, 3), (2, 0), (3, 0)] {
        let ratios = Quartiles::of(slices.iter().map(|round| round[above].p99 / round[below].p99));
        let of_medians = p99(above).median / p99(below).median;
        let of_all = p99_of(&together[above]) / p99_of(&together[below]);
        println!(
            "| {} / {} | {ratios} | {of_medians:.2} | {of_all:.2} |",
            ALL[above].name(),
            ALL[below].name()
        );
    }
}

/// In µs.
fn p99_of(times: &Histogram<u64>) -> f64 {
    times.value_at_quantile(0.99) as f64 / 1e3
}

/// In ns, none yet.
fn round_trips() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 10_000_000_000, 2).expect("these bounds are right")
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
) -> Result<(Slice, Histogram<u64>), Box<dyn Error>> {
    let before = daemon.counts()?;
    let stolen_before = machine::stolen();
    let mut times = round_trips();
    let mut note = |exchange: Exchange| {
        let units = exchange.t4.signed_since(exchange.t1).max(0);
        times.saturating_record((units as f64 * 1e9 / 2_f64.powi(32)) as u64);
    };
    let mut flood = Flood::new(daemon.address, beside, flood)?;
    generator.offer_beside(Load::Rate(rate), duration, &mut |elapsed| flood.send_due(elapsed), &mut note)?;
    let stolen = machine::stolen().saturating_sub(stolen_before);
    let outcome = generator.settle_answered(&mut note)?;
    // The kernel tells with the next datagram how many it has dropped before.
    local_socket()?.send_to(&[0; 12], daemon.address)?;
    // Control messages that still wait are not the next slice's.
    sleep(limits::CONTROL_WINDOW * (limits::FORWARD_QUEUE as u32).div_ceil(limits::CONTROL_BURST) * 2);
    let slice = Slice {
        outcome,
        p50: times.value_at_quantile(0.5) as f64 / 1e3,
        p99: p99_of(&times),
        flooded: flood.sent,
        counts: daemon.counts()?.since(before),
        stolen,
    };
    Ok((slice, times))
}

/// Datagrams that leave one by one between time requests, and whose answers nobody reads.
struct Flood {
    socket: UdpSocket,
    /// Where it goes when it goes elsewhere.
    _sink: UdpSocket,
    datagrams: [[u8; 12]; 2],
    rate: u32,
    sent: u64,
}

impl Flood {
    fn new(target: SocketAddr, beside: Beside, rate: u32) -> io::Result<Self> {
        let (socket, sink) = (local_socket()?, local_socket()?);
        socket.connect(if beside == Beside::Elsewhere { sink.local_addr()? } else { target })?;
        let rate = if beside == Beside::Nothing { 0 } else { rate };
        Ok(Self { socket, _sink: sink, datagrams: beside.datagrams(), rate, sent: 0 })
    }

    fn send_due(&mut self, elapsed: Duration) {
        let due = (elapsed.as_secs_f64() * f64::from(self.rate)) as u64;
        for _ in self.sent..due.min(self.sent + CATCH_UP) {
            let [first, second] = &self.datagrams;
            let datagram = if self.sent.is_multiple_of(2) { first } else { second };
            // What is refused is due again at once.
            self.sent += u64::from(self.socket.send(datagram).is_ok());
        }
    }
}

fn local_socket() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))
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
        let address = local_socket()?.local_addr()?;
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

    fn counts(&mut self) -> Result<Counts, Box<dyn Error>> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGUSR1)?;
        let line: Value = serde_json::from_str(&self.line("\"control\"")?)?;
        let count = |value: &Value| value.as_u64().ok_or("a count is missing");
        Ok(Counts {
            answered: count(&line["control"]["answered"])?,
            not_taken: count(&line["dropped"]["forward_full"])?,
            queue_full: count(&line["rxq_ovfl"])?,
        })
    }
}

/// What the daemon counts, so far or meanwhile.
#[derive(Clone, Copy, Debug)]
struct Counts {
    /// Control messages that were answered.
    answered: u64,
    /// Those that the full channel did not take.
    not_taken: u64,
    /// Datagrams of any kind that the kernel dropped because the socket's queue was full.
    queue_full: u64,
}

impl Counts {
    fn since(self, before: Self) -> Self {
        Self {
            answered: self.answered - before.answered,
            not_taken: self.not_taken - before.not_taken,
            queue_full: self.queue_full - before.queue_full,
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.conf);
    }
}
