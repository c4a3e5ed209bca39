//! A server whose clock is what the test says: the machine's and so many seconds.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::ntp::to_ntp;

/// A running server; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Upstream {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Bits of an f64: seconds that its clock is ahead.
    ahead: AtomicU64,
    /// Seconds since 1970 after which a leap second has been inserted; 0 for none.
    leap: AtomicU64,
    is_silent: AtomicBool,
    is_ended: AtomicBool,
    asked: AtomicU64,
}

impl Upstream {
    /// Answers on this socket with the time `ahead` seconds from now, at stratum 1.
    pub(crate) fn new(socket: UdpSocket, ahead: f64) -> Self {
        let shared = Arc::new(Shared::default());
        shared.ahead.store(ahead.to_bits(), Relaxed);
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        let serving = Arc::clone(&shared);
        let thread = thread::spawn(move || serve(&socket, &serving));
        Self { shared, thread: Some(thread) }
    }

    /// Another time from now on.
    pub(crate) fn set_ahead(&self, seconds: f64) {
        self.shared.ahead.store(seconds.to_bits(), Relaxed);
    }

    /// How far its clock is ahead.
    pub(crate) fn ahead(&self) -> f64 {
        f64::from_bits(self.shared.ahead.load(Relaxed))
    }

    /// A leap second is inserted before `midnight`, in seconds since 1970 of its own clock, and announced
    /// from now on.
    pub(crate) fn set_leap(&self, midnight: u64) {
        self.shared.leap.store(midnight, Relaxed);
    }

    /// No answer from now on, or answers again.
    pub(crate) fn set_silent(&self, is_silent: bool) {
        self.shared.is_silent.store(is_silent, Relaxed);
    }

    /// Requests so far.
    pub(crate) fn asked(&self) -> u64 {
        self.shared.asked.load(Relaxed)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.is_ended.store(true, Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn serve(socket: &UdpSocket, shared: &Shared) {
    let mut request = [0; 128];
    while !shared.is_ended.load(Relaxed) {
        // A signed request is answered too, without a code.
        let Ok((48.., client)) = socket.recv_from(&mut request) else { continue };
        shared.asked.fetch_add(1, Relaxed);
        if shared.is_silent.load(Relaxed) {
            continue;
        }
        let mut reply = [0; 48];
        let (leap, now) = shared.now();
        // The request's version, mode 4; stratum 1, a precision of a microsecond.
        reply[..4].copy_from_slice(&[leap << 6 | request[0] & 0x38 | 4, 1, request[2], 0xEC]);
        reply[12..16].copy_from_slice(b"TEST");
        reply[16..24].copy_from_slice(&now.to_be_bytes());
        reply[24..32].copy_from_slice(&request[40..48]);
        reply[32..40].copy_from_slice(&now.to_be_bytes());
        reply[40..48].copy_from_slice(&shared.now().1.to_be_bytes());
        // A client that has gone is no error.
        let _ = socket.send_to(&reply, client);
    }
}

impl Shared {
    /// Leap indicator and time of its clock.
    fn now(&self) -> (u8, u64) {
        let ahead = (f64::from_bits(self.ahead.load(Relaxed)) * 2f64.powi(32)) as i64;
        let now = to_ntp(SystemTime::now()).wrapping_add_signed(ahead);
        match self.leap.load(Relaxed) {
            0 => (0, now),
            midnight => {
                let midnight = to_ntp(UNIX_EPOCH + Duration::from_secs(midnight));
                // 23:59:59 comes twice, and is announced to its end.
                let passed = now.wrapping_sub(midnight).cast_signed() >> 32;
                let back = if passed >= 0 { 1 << 32 } else { 0 };
                (u8::from(passed < 1), now.wrapping_sub(back))
            }
        }
    }
}
