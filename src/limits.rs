//! Every bound of the system in one place, related to each other at compile time.

use std::time::Duration;

/// Longest time a worker sleeps in the kernel, so an idle worker wakes at most twice a second.
pub const TICK: Duration = Duration::from_millis(600);

/// Largest request that is looked at, in bytes of UDP payload. Longer datagrams arrive truncated, are
/// dropped and counted.
pub const REQUEST_MAX: usize = 1024;

/// Receive buffers of one io_uring worker; a power of two, as the kernel's buffer ring demands. They are
/// used in turn, so many of them fall out of the cache before they are used again: 512 cost 4 % less per
/// request than 4096 (bench/README.md). When all are in use the receive ends, and is armed again at the
/// next wait; datagrams stay in the socket's queue meanwhile.
pub const URING_BUFFERS: u16 = 512;

/// Submission queue entries of one worker's ring.
pub const URING_ENTRIES: u32 = 64;

/// Completion queue entries of one worker's ring: every buffer may wait there at once.
pub const URING_COMPLETIONS: u32 = 1024;

/// Datagrams that one recvmmsg call may return.
pub const MMSG_BATCH: usize = 64;

/// Replies that leave together while requests are answered as they come. One, because every reply queued
/// behind others ages its transmit stamp by about 0.7 µs: the |offset| table in bench/README.md.
pub const SEND_CHUNK_CALM: usize = 1;

/// Replies that leave together while requests queue up: few enough for honest stamps, enough for less than
/// one kernel entry per 16 answers.
pub const SEND_CHUNK: usize = 24;

/// Mode 6 requests that may wait for the control thread; more are dropped and counted.
pub const FORWARD_QUEUE: usize = 64;

/// Control messages that are answered in a [`CONTROL_WINDOW`] at most: thousands a second, which no monitor
/// asks, and a small part of a core's time, whoever floods.
pub const CONTROL_BURST: u32 = 64;

/// What [`CONTROL_BURST`] is counted in.
pub const CONTROL_WINDOW: Duration = Duration::from_millis(10);

/// Threads that look names up: so many resolver calls may hang before the next name waits for one of them.
pub const RESOLVER_THREADS: usize = 8;

/// Names that may wait to be looked up; more are taken for names without an address, and asked for again.
pub const RESOLVER_QUEUE: usize = 256;

/// Longest reply of a server that is looked at, in bytes of UDP payload.
pub const REPLY_MAX: usize = 1024;

/// Longest sleep of the thread that follows the clock.
pub const CLIENT_TICK: Duration = Duration::from_secs(1);

/// The same where requests are answered in the network driver, which must hear soon what the kernel learns of
/// leap seconds.
pub const XDP_TICK: Duration = Duration::from_millis(100);

/// How long a process that only sets the clock waits for a source to set it by: twice a burst, and the
/// resolver.
pub const SET_ONCE_PATIENCE: Duration = Duration::from_secs(30);

/// Pinned worker threads of one process.
pub const WORKERS_MAX: usize = 256;

/// Receive buffer asked for with SO_RCVBUFFORCE, in bytes. The kernel doubles it: room for 2500 requests,
/// which is a hiccup of 20 ms at 125 000 requests/s. Four times as much loses nothing less, and makes clients
/// of an overloaded server wait four times as long (bench/README.md).
pub const SOCKET_RECEIVE_BUFFER: usize = 1 << 20;

/// `restrict` lines of one configuration. A table of so many takes 60 MB, twice that while it is built, and
/// a third of a second to build.
pub const ACCESS_ENTRIES: usize = 1_000_000;

/// Bytes that a worker needs for the token bucket of one `limited` address.
pub const LIMITED_SOURCE_BYTES: usize = 32;

/// `limited` addresses whose token buckets each worker keeps, unless `mru` says otherwise: 1 MB.
pub const LIMITED_SOURCES: usize = (1 << 20) / LIMITED_SOURCE_BYTES;

/// The most of them, whatever `mru` says: 256 MB in each worker.
pub const LIMITED_SOURCES_MAX: usize = 1 << 23;

/// Bytes of one client that `mrulist` shows, in each worker's table.
pub const MONITORED_CLIENT_BYTES: usize = 64;

/// Clients that `mrulist` shows, in all workers together, unless `mru` says otherwise: 1 MB, as ntpd.
pub const MONITORED_CLIENTS: usize = (1 << 20) / MONITORED_CLIENT_BYTES;

/// The most of them, whatever `mru` says: 512 MB.
pub const MONITORED_CLIENTS_MAX: usize = 1 << 23;

/// Prefixes that each access trie of the program in the network driver may hold, as responder.bpf.c has it:
/// all of an access list, and the sources that are forged.
pub const XDP_ACCESS_ENTRIES: u32 = 1 << 21;

/// Addresses, each over each link, that the program in the network driver may serve, as responder.bpf.c has
/// it.
pub const XDP_SERVICES: usize = 4096;

/// Files that may include each other: ntpd's own bound.
pub const INCLUDE_DEPTH: usize = 5;

/// Files that one configuration may include in all, so that files including each other's neighbours end.
pub const INCLUDE_FILES: usize = 1000;

/// Bytes of one configuration, all its files together; about a million `restrict` lines.
pub const CONFIG_BYTES: usize = 16 << 20;

/// Bytes of one configuration line that is not a comment.
pub const CONFIG_LINE: usize = 1 << 16;

/// Findings kept of one configuration; the rest is counted.
pub const FINDINGS: usize = 1000;

const _: () = assert!(LIMITED_SOURCES <= LIMITED_SOURCES_MAX);
/// Associations of one configuration, members of pools included: mode 6 numbers them with 16 bits, and each
/// is a few kilobytes.
pub const ASSOCIATIONS: usize = 1000;

/// Addresses of one name that are looked at.
pub const RESOLVED_ADDRESSES: usize = 32;

const _: () = assert!(ASSOCIATIONS < u16::MAX as usize);
const _: () = assert!(URING_BUFFERS.is_power_of_two());
const _: () = assert!(URING_COMPLETIONS >= URING_BUFFERS as u32 + URING_ENTRIES);
const _: () = assert!(CONFIG_LINE < CONFIG_BYTES && CONFIG_BYTES < u32::MAX as usize);
const _: () = assert!(SEND_CHUNK <= MMSG_BATCH && SEND_CHUNK as u32 <= URING_ENTRIES);
// Ranges begin and end with an entry, and grids have about four cells per range: all are numbered with 32
// bits.
const _: () = assert!(ACCESS_ENTRIES < 1 << 24 && 2 * ACCESS_ENTRIES < XDP_ACCESS_ENTRIES as usize);
