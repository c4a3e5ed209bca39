//! A worker's loop without its sockets, and what sharing would do to it.

use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bench::requests;
use ntpring::datapath::SystemClock;
use ntpring::limits;
use ntpring::server::{Clock, Counters, Datagram, PathTally, Responder, ServingState, Verdict};
use ntpring::snapshot::{Published, Publisher};
use ntpring::wire::HEADER_LEN;

use super::{Case, Work};

pub(crate) fn cases(mut measure: impl FnMut(Case<'_>) -> io::Result<()>) -> io::Result<()> {
    let state = ServingState { system: requests::synchronised(SystemClock.now()), ..ServingState::default() };
    // One publisher for all, as in the daemon.
    let publisher = Publisher::new(state);
    measure(Case {
        name: "hot path: a batch of 24, counters published",
        make: &|_| Ok(hot(publisher.subscribe(), None)),
    })?;
    measure(Case { name: "control: arithmetic in registers, per operation", make: &|_| Ok(arithmetic()) })?;
    let shared = Arc::new(AtomicU64::new(0));
    let name = "control: hot path and one shared counter per request";
    measure(Case { name, make: &|_| Ok(hot(publisher.subscribe(), Some(Arc::clone(&shared)))) })
}

/// What a worker does between two system calls.
fn hot(mut published: Published<ServingState>, shared: Option<Arc<AtomicU64>>) -> Work {
    let mut responder = Responder::new(1);
    let counters = Arc::new(Counters::new());
    let request = requests::time(4, 1);
    let mut memory = [[0; HEADER_LEN]; limits::SEND_CHUNK];
    let peer = SocketAddr::from(([192, 0, 2, 7], 40_000));
    let local = SocketAddr::from(([192, 0, 2, 1], 123));
    Box::new(move || {
        let received = SystemClock.now();
        responder.begin_batch(&mut published, false);
        for buffer in &mut memory {
            buffer.copy_from_slice(&request);
            let verdict = responder
                .respond(Datagram { peer, local, received, ahead: 0, buf: black_box(buffer) }, &SystemClock);
            if verdict != Verdict::Reply(HEADER_LEN) {
                return Err(io::Error::other(format!("{verdict:?} instead of a reply")));
            }
            if let Some(shared) = &shared {
                shared.fetch_add(1, Relaxed);
            }
        }
        counters.publish(responder.tally(), &PathTally::default(), &[]);
        Ok(memory.len() as u64)
    })
}

/// What the machine itself takes from one core when the other one works: nothing here is shared, not even
/// memory.
fn arithmetic() -> Work {
    let mut state = 1_u64;
    Box::new(move || {
        for _ in 0..1000 {
            state = black_box(state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1));
        }
        Ok(1000)
    })
}
