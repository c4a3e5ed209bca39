//! What ntpload costs beside a loop that does nothing but sendmmsg and recvmmsg: the rates of both at
//! overload, in turns on the same core, against the same server or a socket that nobody reads.

#![forbid(unsafe_code)]

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{env, io};

use bench::contender::{Contender, Running};
use bench::machine::Machine;
use bench::statistics::Quartiles;
use clap::Parser;
use ntpring::datapath::Backend;
use ntpring::sys::exchange::{ClientSockets, Exchange, ExchangeSizes, MmsgExchange, RequestBatch};
use ntpring::sys::thread::{allowed_cores, pin_to};
use ntpring::wire::HEADER_LEN;
use serde_json::Value;

/// The same as ntpload's.
const BATCH: usize = 32;
const CLIENTS: usize = 64;
const REPLY_MAX: usize = 128;
const RECEIVE_BUFFER: usize = 1 << 20;
/// ntpload's engines.
const ENGINES: [&str; 2] = ["io_uring", "mmsg"];
/// Asked of ntpload, as a multiple of what the bare loop has sent: there is always something due.
const DEMAND: f64 = 1.5;

#[derive(Debug, Parser)]
#[command(about = "Compares ntpload with a bare sendmmsg/recvmmsg loop at overload")]
struct Args {
    /// Slices of each
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Length of a slice, in seconds
    #[arg(long, default_value_t = 1)]
    seconds: u64,
    /// One short slice of each, to see that it runs
    #[arg(long)]
    quick: bool,
}

/// Requests and replies per second.
#[derive(Clone, Copy, Debug)]
struct Rate {
    sent: f64,
    answered: f64,
}

impl Rate {
    fn sum(self) -> f64 {
        self.sent + self.answered
    }
}

fn main() -> ExitCode {
    match compare(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generator: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> Result<(), Box<dyn Error>> {
    let (rounds, slice) = match args.quick {
        true => (1, Duration::from_millis(100)),
        false => (args.rounds, Duration::from_secs(args.seconds)),
    };
    let cores = allowed_cores();
    let [server_core, .., core] = cores[..] else { return Err("two cores are needed".into()) };
    let ntpload = env::current_exe()?.with_file_name("ntpload");
    if !ntpload.exists() {
        return Err(format!("{} is missing: build it with the same profile", ntpload.display()).into());
    }
    println!("{}, slices of {slice:?}.\n", Machine::here());
    println!("| load | engine | ntpload / bare | bare sent/s + answered/s | ntpload sent/s + answered/s |");
    println!("|---|---|---|---|---|");

    let server = Running::start(Contender::Server(Backend::Mmsg), Ipv4Addr::LOCALHOST.into(), server_core)?;
    let load = Load { target: server.address, core, slice, ntpload: &ntpload };
    rows("sent + answered", &load, rounds, Rate::sum)?;
    server.stop()?;
    // What nobody reads is dropped when its queue is full, at no cost to anybody else.
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    rows("send only", &Load { target: silent.local_addr()?, ..load }, rounds, |rate| rate.sent)
}

/// What the slices of a row have in common.
#[derive(Clone, Copy)]
struct Load<'a> {
    target: SocketAddr,
    core: usize,
    slice: Duration,
    ntpload: &'a Path,
}

/// Measures the bare loop and each engine in turns, every round beginning with another.
fn rows(
    name: &str,
    load: &Load<'_>,
    rounds: usize,
    figure: impl Fn(Rate) -> f64,
) -> Result<(), Box<dyn Error>> {
    const CONTENDERS: usize = 1 + ENGINES.len();
    let demand = (load.bare()?.sent * DEMAND) as u64;
    let mut slices = Vec::new();
    for round in 0..rounds {
        let mut rates = [Rate { sent: 0.0, answered: 0.0 }; CONTENDERS];
        for contender in (0..CONTENDERS).map(|turn| (round + turn) % CONTENDERS) {
            rates[contender] = match contender {
                0 => load.bare()?,
                other => load.loaded(ENGINES[other - 1], demand)?,
            };
        }
        eprintln!("{name}: bare and {ENGINES:?}: {rates:?}");
        slices.push(rates);
    }
    let median =
        |value: &dyn Fn(&[Rate]) -> f64| Quartiles::of(slices.iter().map(|rates| value(rates))).median;
    for (engine, at) in ENGINES.into_iter().zip(1..) {
        println!(
            "| {name} | {engine} | {} | {:.0} + {:.0} | {:.0} + {:.0} |",
            Quartiles::of(slices.iter().map(|rates| figure(rates[at]) / figure(rates[0]))),
            median(&|rates| rates[0].sent),
            median(&|rates| rates[0].answered),
            median(&|rates| rates[at].sent),
            median(&|rates| rates[at].answered),
        );
    }
    Ok(())
}

impl Load<'_> {
    /// One request after the other, always the same; of the replies only the number counts.
    fn bare(&self) -> io::Result<Rate> {
        let Self { target, core, slice, .. } = *self;
        if !pin_to(core) {
            return Err(io::Error::other(format!("cannot pin to core {core}")));
        }
        let sizes = ExchangeSizes { batch: BATCH, payload: REPLY_MAX };
        let sources: Vec<_> =
            (0..CLIENTS as u8).map(|client| Ipv4Addr::new(127, 0, 1, 1 + client).into()).collect();
        let sockets = ClientSockets::connect(&sources, target, RECEIVE_BUFFER).map_err(|(_, error)| error)?;
        let mut exchange = MmsgExchange::new(sockets, sizes)?;
        let mut request = [0; HEADER_LEN];
        request[0] = 0b00_100_011;
        request[40..].copy_from_slice(&fastrand::u64(1..).to_be_bytes());
        let mut batch = RequestBatch::new(BATCH, HEADER_LEN);
        let (mut sent, mut answered) = (0, 0);
        let start = Instant::now();
        for client in (0..CLIENTS).cycle() {
            let elapsed = start.elapsed();
            if elapsed >= slice {
                let per_second = |count: usize| count as f64 / elapsed.as_secs_f64();
                return Ok(Rate { sent: per_second(sent), answered: per_second(answered) });
            }
            batch.clear();
            while batch.push(&request) {}
            sent += exchange.send(client, &mut batch)?;
            answered += exchange.discard(client)?;
        }
        unreachable!("a cycle has no end")
    }

    /// The same by ntpload, of which more is asked than it can send.
    fn loaded(&self, engine: &str, demand: u64) -> Result<Rate, Box<dyn Error>> {
        let output = Command::new(self.ntpload)
            .args(["run", &self.target.to_string(), "--rate", &demand.to_string(), "--json", "-"])
            .args(["--clients", &CLIENTS.to_string(), "--cpus", &self.core.to_string()])
            .args(["--engine", engine, "--duration", &format!("{}ms", self.slice.as_millis())])
            .output()?;
        let result: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{error}: {}", String::from_utf8_lossy(&output.stderr)))?;
        let rate = |name: &str| result["rate"][name].as_f64().ok_or(format!("no rate of {name}"));
        Ok(Rate { sent: rate("sent")?, answered: rate("answered")? })
    }
}
