//! ntpring serves NTP at the highest rate a Linux machine can, reads the ntp.conf people already have, and
//! brings its own load generator. The floors, from the ground up; a floor imports only floors below it
//! (checked by `tests/tidy.rs`):
//!
//! | floor | modules | what it never does |
//! |---|---|---|
//! | 1 | [`wire`], [`sys`], [`limits`] | wire knows no kernel, sys knows no NTP |
//! | 2 | [`snapshot`], [`auth`], [`config`] | make a system call |
//! | 3 | [`server`], [`client`], [`control`] | read a clock, make a system call; server: allocate, lock |
//! | 4 | [`datapath`] | decide what to answer |
//! | 5 | [`daemon`] | run per packet |
//! | 6 | [`cli`] | anything but arguments and text |

#![deny(unsafe_code)]

pub mod auth;
pub mod cli;
pub mod client;
pub mod config;
pub mod control;
pub mod daemon;
pub mod datapath;
pub mod limits;
#[cfg(test)]
mod manual;
pub mod server;
pub mod snapshot;
pub mod sys;
pub mod wire;
pub mod xdp;
