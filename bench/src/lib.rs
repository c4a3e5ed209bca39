//! What the benches share: requests and access lists to feed the hot functions with, the control they are compared with, servers
//! on pinned threads, a client that checks what it gets, and the statistics of pairs.

#![forbid(unsafe_code)]

pub mod echo;
pub mod requests;
pub mod restrict;
