//! The program in the network driver, run on single frames by the kernel's test-run: nothing is sent. What it
//! answers is what the server answers, octet for octet.

#[path = "../support/skip.rs"]
mod skip;

mod differential;
mod frames;
mod limit;
mod object;
mod program;
mod rules;
mod state;
mod time;
mod unusual;
