//! The whole daemon, as its operators and clients meet it: one process of ntpring in network namespaces of
//! the test's own.

#[path = "../support/mod.rs"]
mod support;

mod doctor;
mod interop;
mod lifecycle;
mod outputs;
mod reload;
mod routes;
mod sandbox;
mod seed;
mod shipped;
mod steady;
mod steering;
mod tuning;
