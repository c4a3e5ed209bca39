//! ntpload: loads an NTP server, and tells what came back, what was lost, and how long it took.
//!
//! One thread per core runs an [`engine`]: it sends what its [`schedule`] says, and [`pairing`] brings
//! replies and requests together by the random number in each request, which [`flight`] remembers. [`run`]
//! starts the threads and adds up what they found; [`report`] and [`json`] show it.

#![forbid(unsafe_code)]

mod accounting;
mod cli;
mod clock;
mod compose;
mod demo;
mod engine;
mod failure;
mod flight;
mod histogram;
mod interrupt;
mod json;
mod keys;
mod measures;
mod mix;
mod packet;
mod pairing;
mod pcap;
mod population;
mod progress;
mod report;
mod requests;
mod run;
mod schedule;
mod series;
mod sources;
mod stamping;
mod target;
mod warnings;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
