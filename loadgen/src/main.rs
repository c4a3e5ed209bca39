//! ntpload: loads an NTP server, and tells what came back, what was lost, and how long it took.
//!
//! One thread per core runs an [`engine`]: it sends what its [`schedule`] says, and [`pairing`] brings
//! replies and requests together by the random number in each request, which [`flight`] remembers. What is
//! asked is a [`mix`] of kinds, which [`compose`] writes and [`packet`] judges the replies to. [`run`]
//! starts the threads and adds up what they found; [`report`] shows it, [`run_forms`] writes its forms.
//! [`xdp`] is another engine, in the kernel. [`sweep`] runs one trial after another as its [`search`] says,
//! [`merge`] adds up the results of several hosts, [`plan`] turns them into [`capacity`].

#![forbid(unsafe_code)]

mod accounting;
mod acquaintances;
mod capacity;
mod chart;
mod cli;
mod clients;
mod clock;
mod compose;
mod condition;
mod demo;
mod engine;
mod failure;
mod flight;
mod histogram;
mod hlog;
mod interrupt;
mod json;
mod keys;
mod measures;
mod merge;
mod mix;
mod output;
mod packet;
mod page;
mod pairing;
mod pcap;
mod plan;
mod plan_forms;
mod population;
mod progress;
mod report;
mod requests;
mod run;
mod run_forms;
mod schedule;
mod search;
mod series;
mod sources;
mod stamping;
mod sweep;
mod sweep_forms;
mod target;
mod transport;
mod units;
mod warnings;
mod xdp;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
