//! What the benches share: requests and access lists to feed the hot functions with, servers and their echo
//! controls on pinned threads, a generator that checks every reply, namespaces for servers that are processes
//! of their own, programs for the network driver, and statistics.

#![forbid(unsafe_code)]

pub mod contender;
pub mod echo;
pub mod generator;
pub mod machine;
pub mod namespace;
pub mod requests;
pub mod restrict;
pub mod slice;
pub mod statistics;
pub mod xdp;
