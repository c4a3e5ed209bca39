//! Does a core lose when another one serves too? The same work on one core alone and on all cores at once, in
//! interleaved pairs; what workers shared per packet would show as a ratio above the controls'.

#![forbid(unsafe_code)]

mod hot;
mod sockets;

use std::process::ExitCode;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::{io, thread};

use bench::machine::Machine;
use bench::statistics::Quartiles;
use clap::Parser;
use ntpring::sys::clock::ThreadCpuClock;
use ntpring::sys::thread::{allowed_cores, pin_to};

/// One core alone and all of them together, without a network; prints Markdown.
#[derive(Debug, Parser)]
struct Options {
    /// Pairs of slices per row
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of each slice
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// A smoke test: figures mean nothing
    #[arg(long)]
    quick: bool,
}

/// One batch of work on its thread; how many requests it was.
type Work = Box<dyn FnMut() -> io::Result<u64>>;

/// What is measured: a name, and how to make the work of the thread with this number, on that thread.
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) make: &'a (dyn Fn(usize) -> io::Result<Work> + Sync),
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let (rounds, seconds) = if options.quick { (1, 0.05) } else { (options.rounds, options.seconds) };
    let cores = allowed_cores();
    if cores.len() < 2 {
        return Err(io::Error::other("two cores are needed"));
    }
    let slice = Duration::from_secs_f64(seconds);
    println!("{}.\n", Machine::here());
    println!("{rounds} interleaved pairs, slices of {slice:?}; median [quartiles] of the pairs' ratios.\n");
    println!("| work | one core alone, CPU ns/request | {} cores at once | ratio |", cores.len());
    println!("|---|---|---|---|");
    let measure = |case: Case<'_>| measure(&case, &cores, rounds, slice);
    hot::cases(measure)?;
    sockets::cases(cores.len(), measure)
}

fn measure(case: &Case<'_>, cores: &[usize], rounds: usize, slice: Duration) -> io::Result<()> {
    let mut pairs = Vec::with_capacity(rounds);
    for round in 0..rounds {
        // Every second pair in reverse order, and the lone core a different one each time.
        let alone = || mean(case, &[cores[round % cores.len()]], slice);
        let together = || mean(case, cores, slice);
        pairs.push(if round % 2 == 0 {
            let alone = alone()?;
            (alone, together()?)
        } else {
            let together = together()?;
            (alone()?, together)
        });
    }
    let median = |of: fn(&(f64, f64)) -> f64| Quartiles::of(pairs.iter().map(of)).median;
    let ratio = Quartiles::of(pairs.iter().map(|(alone, together)| together / alone));
    println!("| {} | {:.1} | {:.1} | {ratio} |", case.name, median(|pair| pair.0), median(|pair| pair.1));
    Ok(())
}

/// CPU time per request in ns, the mean over cores.
fn mean(case: &Case<'_>, cores: &[usize], slice: Duration) -> io::Result<f64> {
    let start = Barrier::new(cores.len());
    let costs: io::Result<Vec<f64>> = thread::scope(|scope| {
        let threads: Vec<_> = cores
            .iter()
            .enumerate()
            .map(|(number, &core)| {
                scope.spawn({
                    let start = &start;
                    move || cost(case, number, core, start, slice)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| io::Error::other("it panicked"))?)
            .collect()
    });
    Ok(costs?.iter().sum::<f64>() / cores.len() as f64)
}

/// CPU time, not the clock's: what other work takes from this thread does not count.
fn cost(case: &Case<'_>, number: usize, core: usize, start: &Barrier, slice: Duration) -> io::Result<f64> {
    let work = if pin_to(core) {
        (case.make)(number)
    } else {
        Err(io::Error::other(format!("cannot pin to core {core}")))
    };
    // Whoever cannot work lets the others begin all the same.
    start.wait();
    let mut work = work?;
    let clock = ThreadCpuClock::of_this_thread()?;
    let (begin, before, mut done) = (Instant::now(), clock.read()?, 0);
    while begin.elapsed() < slice {
        done += work()?;
    }
    Ok((clock.read()? - before).as_secs_f64() * 1e9 / done as f64)
}
