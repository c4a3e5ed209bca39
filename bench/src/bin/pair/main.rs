//! Servers beside their controls, in pairs of neighbouring slices: what both have in common, the machine's
//! mood included, cancels out of the ratio. bench/README.md says how to read it.

#![forbid(unsafe_code)]

mod chunks;
mod pairs;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, io};

use bench::machine::Machine;
use bench::slice::Setting;
use clap::Parser;

/// io_uring, mmsg and their echo controls on loopback, measured in interleaved pairs; prints Markdown.
#[derive(Debug, Parser)]
struct Options {
    /// Table of |offset| and cost against the number of replies that leave together, instead of pairs
    #[arg(long)]
    send_chunk: bool,
    /// Pairs per comparison and load; with --send-chunk: slices per row and load [default: 9, or 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Seconds per slice
    #[arg(long, default_value_t = 2.0, value_parser = between(0.1, 3600.0))]
    seconds: f64,
    /// The moderate load, in requests per second
    #[arg(long, default_value_t = 100_000.0, value_parser = between(1e3, 1e7))]
    rate: f64,
    /// Over ::1 instead of 127.0.0.1
    #[arg(long)]
    ipv6: bool,
    /// A smoke test: short slices, two rounds; the figures mean nothing
    #[arg(long)]
    quick: bool,
}

impl Options {
    fn address(&self) -> IpAddr {
        if self.ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
    }

    fn rounds(&self) -> u32 {
        let thorough = if self.send_chunk { 3 } else { 9 };
        self.rounds.unwrap_or(if self.quick { 2 } else { thorough })
    }

    fn seconds(&self) -> Duration {
        if self.quick { Duration::from_millis(150) } else { Duration::from_secs_f64(self.seconds) }
    }
}

/// Parses a number that lies between two bounds.
fn between(least: f64, most: f64) -> impl Fn(&str) -> Result<f64, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| format!("not a number from {least} to {most}"))
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pair: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    let machine = Machine::here();
    let setting = Setting::new(options.address(), options.seconds())?;
    let arguments: Vec<_> = env::args().skip(1).collect();
    println!("{machine}.\n");
    println!(
        "`cargo run --release -p bench --bin pair -- {}`, slices of {:?}.\n",
        arguments.join(" "),
        setting.duration
    );
    if options.send_chunk {
        chunks::run(&setting, options.rounds(), options.rate)
    } else {
        pairs::run(&setting, options.rounds(), options.rate)
    }
}
