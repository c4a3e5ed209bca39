//! The whole daemon, as its operators and clients meet it: one process of ntpring in network namespaces of
//! the test's own.

#[path = "../support/mod.rs"]
mod support;

mod control;
mod doctor;
mod follow;
mod install;
mod interop;
mod keys;
mod lifecycle;
mod load;
mod names;
mod ntpq;
mod ntpq_signed;
mod outputs;
mod outside;
mod query;
mod rate_limit;
mod reload;
mod roles;
mod routes;
mod sandbox;
mod seed;
mod shipped;
mod signed;
mod sources;
mod steady;
mod steering;
mod tuning;
mod xdp;
mod xdp_link;
mod xdp_load;
mod xdp_modes;
