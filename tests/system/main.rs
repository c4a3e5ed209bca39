//! The whole daemon, as its operators and clients meet it: one process of ntpring in network namespaces of
//! the test's own.

#[path = "../support/mod.rs"]
mod support;

mod follow;
mod interop;
mod lifecycle;
mod names;
mod outputs;
mod outside;
mod query;
mod reload;
mod routes;
mod sandbox;
mod seed;
mod steady;
mod steering;
