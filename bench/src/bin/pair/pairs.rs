//! Two contenders, slice by slice.

use std::io;

use bench::contender::Contender;
use bench::generator::Load;
use bench::slice::{Setting, Slice};
use bench::statistics::Quartiles;
use ntpring::datapath::Backend::{IoUring, Mmsg};

/// What is compared with what. The last pair is a contender and itself: how far its ratio is from 1 is the
/// noise in all others.
const COMPARISONS: [[Contender; 2]; 4] = [
    [Contender::Server(IoUring), Contender::Server(Mmsg)],
    [Contender::Server(IoUring), Contender::Echo(IoUring)],
    [Contender::Server(Mmsg), Contender::Echo(Mmsg)],
    [Contender::Server(Mmsg), Contender::Server(Mmsg)],
];

/// A contender that uses less of its core than this at overload was not overloaded.
const BUSY: f64 = 0.95;

/// Measures every comparison at overload and at `rate`, and prints a table.
pub(super) fn run(setting: &Setting, rounds: u32, rate: f64) -> io::Result<()> {
    println!(
        "{rounds} interleaved pairs each, order alternating; median [quartiles] of the pairs' ratios.\n"
    );
    println!(
        "| load | pair | CPU ratio | rate ratio | CPU ns/answer | answers/s | offered/s | core used \
         | kernel entries/answer |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut idle = 0;
    for load in [Load::Overload, Load::Rate(rate)] {
        for contenders in COMPARISONS {
            let pairs = (0..rounds)
                .map(|round| pair(setting, contenders, load, round))
                .collect::<io::Result<Vec<_>>>()?;
            print_row(load, contenders, &pairs);
            let slices = pairs.iter().flatten().filter(|slice| slice.utilisation < BUSY).count();
            idle += if load == Load::Overload { slices } else { 0 };
        }
    }
    if idle > 0 {
        println!(
            "\n{idle} slices at overload used less than {BUSY} of the server's core: other work ran there, or \
             the generator was the limit. Their rates are not the servers'; CPU time per answer still is."
        );
    }
    Ok(())
}

/// One slice of each; every second time the second contender goes first.
fn pair(setting: &Setting, contenders: [Contender; 2], load: Load, round: u32) -> io::Result<[Slice; 2]> {
    let [first, second] = contenders;
    let measure = |contender| setting.measure(contender, load, |_| ());
    let pair = if round.is_multiple_of(2) {
        [measure(first)?, measure(second)?]
    } else {
        let second = measure(second)?;
        [measure(first)?, second]
    };
    let [a, b] = &pair;
    eprintln!(
        "{load:?} {}: {:.0} ns, {:.0}/s of {:.0}/s; {}: {:.0} ns, {:.0}/s of {:.0}/s",
        first.name(),
        a.cpu_ns,
        a.answered,
        a.offered,
        contenders[1].name(),
        b.cpu_ns,
        b.answered,
        b.offered
    );
    Ok(pair)
}

fn print_row(load: Load, contenders: [Contender; 2], pairs: &[[Slice; 2]]) {
    let ratio = |of: fn(&Slice) -> f64| Quartiles::of(pairs.iter().map(|[a, b]| of(a) / of(b)));
    let medians = |of: fn(&Slice) -> f64| {
        [0, 1].map(|side| Quartiles::of(pairs.iter().map(|pair| of(&pair[side]))).median)
    };
    let load = match load {
        Load::Overload => "overload".to_owned(),
        Load::Rate(rate) => format!("{rate:.0}/s"),
    };
    let both = |of: fn(&Slice) -> f64, digits: usize| {
        let [a, b] = medians(of);
        format!("{a:.digits$} / {b:.digits$}")
    };
    println!(
        "| {load} | {} / {} | {} | {} | {} | {} | {} | {} | {} |",
        contenders[0].name(),
        contenders[1].name(),
        ratio(|slice| slice.cpu_ns),
        ratio(|slice| slice.answered),
        both(|slice| slice.cpu_ns, 0),
        both(|slice| slice.answered, 0),
        both(|slice| slice.offered, 0),
        both(|slice| slice.utilisation, 2),
        both(|slice| slice.kernel_entries, 3),
    );
}
