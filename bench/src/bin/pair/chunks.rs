//! What the number of replies that leave together costs in time and saves in CPU.

use std::{fmt, io};

use bench::contender::Contender;
use bench::generator::Load;
use bench::slice::{Setting, Slice};
use bench::statistics::Quartiles;
use hdrhistogram::Histogram;
use ntpring::datapath::Backend;
use ntpring::limits;

/// The high load, as a share of what the slower backend answers at overload.
const HIGH: f64 = 0.75;
/// More than one by one can be sent: the highest load.
const ABOVE: f64 = 1e7;

/// Powers of two, and the size in use.
fn chunk_sizes() -> Vec<usize> {
    let mut sizes = vec![1, 2, 4, 8, 16, 32, 64, limits::SEND_CHUNK];
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

/// What was seen of one chunk size at one load.
struct Cell {
    offsets: Histogram<u64>,
    slices: Vec<Slice>,
}

/// Measures every chunk size at `rate`, at 75 % of saturation and as fast as the generator goes, and prints a
/// table per backend.
pub(super) fn run(setting: &Setting, rounds: u32, rate: f64) -> io::Result<()> {
    println!(
        "|θ|, θ = ((T2 − T1) + (T3 − T4)) / 2, true value 0: one clock on one machine. T1 is CLOCK_REALTIME \
         read just before the system call that sends this one request, T2 and T3 are the reply's, T4 is the \
         kernel's receive stamp of the reply. Poisson arrivals; {rounds} slices per cell, chunk sizes \
         interleaved.\n"
    );
    let saturated = saturation(setting, Backend::IoUring)?.min(saturation(setting, Backend::Mmsg)?);
    let loads = [rate, HIGH * saturated, ABOVE];
    for backend in [Backend::IoUring, Backend::Mmsg] {
        println!("{}; the slower backend is saturated at {saturated:.0}/s:\n", backend.name());
        print_table(&loads, &measure(setting, backend, loads, rounds)?);
    }
    Ok(())
}

/// What the server answers per second at overload.
fn saturation(setting: &Setting, backend: Backend) -> io::Result<f64> {
    let slices = (0..3).map(|_| setting.measure(Contender::Server(backend), Load::Overload, |_| ()));
    let answered = slices.map(|slice| Ok(slice?.answered)).collect::<io::Result<Vec<_>>>()?;
    Ok(Quartiles::of(answered).median)
}

/// All chunk sizes in turn, round by round, so that a slow minute of the machine hits all alike.
fn measure(setting: &Setting, backend: Backend, loads: [f64; 3], rounds: u32) -> io::Result<Vec<[Cell; 3]>> {
    let sizes = chunk_sizes();
    let mut rows: Vec<_> = sizes.iter().map(|_| [Cell::new(), Cell::new(), Cell::new()]).collect();
    for round in 0..rounds {
        for (&chunk, row) in sizes.iter().zip(&mut rows) {
            for (rate, cell) in loads.into_iter().zip(row) {
                let contender = Contender::SendChunk(backend, chunk);
                let slice = setting.measure(contender, Load::Rate(rate), |exchange| {
                    cell.offsets.saturating_record(exchange.offset_ns().abs() as u64);
                })?;
                eprintln!("round {round}: {}, {rate:.0}/s: {:.0} ns", contender.name(), slice.cpu_ns);
                cell.slices.push(slice);
            }
        }
    }
    Ok(rows)
}

impl Cell {
    fn new() -> Self {
        let offsets = Histogram::new_with_max(10_000_000_000, 3).expect("bounds that a histogram can have");
        Self { offsets, slices: Vec::new() }
    }

    fn median(&self, of: fn(&Slice) -> f64) -> f64 {
        Quartiles::of(self.slices.iter().map(of)).median
    }
}

fn print_table(loads: &[f64; 3], rows: &[[Cell; 3]]) {
    let [moderate, high, _] = loads;
    println!(
        "| SEND_CHUNK | {moderate:.0}/s: p50 µs | p99 µs | CPU ns \
         | {high:.0}/s: p50 µs | p99 µs | CPU ns \
         | as fast as one by one goes: p50 µs | p99 µs | CPU ns | answers/s | kernel entries/answer |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (chunk, row) in chunk_sizes().into_iter().zip(rows) {
        let cells: Vec<_> = row.iter().map(Cell::to_string).collect();
        let [.., fastest] = row;
        let answered = fastest.median(|slice| slice.answered);
        let entries = fastest.median(|slice| slice.kernel_entries);
        println!("| {chunk} | {} | {answered:.0} | {entries:.3} |", cells.join(" | "));
    }
    println!();
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [0.5, 0.99].map(|quantile| self.offsets.value_at_quantile(quantile) as f64 / 1e3);
        write!(f, "{p50:.1} | {p99:.1} | {:.0}", self.median(|slice| slice.cpu_ns))
    }
}
