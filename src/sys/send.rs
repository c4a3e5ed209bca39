//! A chunk of replies that leaves with one sendmmsg call.

use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::{mem, ptr};

use super::clock::monotonic;
use super::message::{IoTally, ReplyLengths};

/// Where the parts of a reply lie: the buffer its request arrived in.
#[derive(Clone, Copy)]
pub(super) struct ReplyMemory {
    pub(super) name: *mut u8,
    pub(super) name_length: usize,
    pub(super) control: *mut u8,
    pub(super) payload: *mut u8,
}

/// How many replies leave together.
///
/// A reply is stamped when it is written and leaves with its chunk, so a larger chunk makes transmit stamps
/// older than they claim; a smaller one makes more system calls.
#[derive(Clone, Copy, Debug)]
pub struct SendChunks {
    /// While requests are answered as they come: time is what counts.
    pub calm: usize,
    /// While requests queue up: they have waited already, and throughput is what counts.
    pub backlog: usize,
}

/// Replies of one socket that wait to be sent together.
pub(super) struct SendChunk {
    // Never resized: `headers[i].msg_hdr.msg_iov` points at `payloads[i]`. Vectors, because a box claims to
    // be the only way to its memory.
    headers: Vec<libc::mmsghdr>,
    payloads: Vec<libc::iovec>,
    sizes: SendChunks,
    limit: usize,
    length: usize,
    socket: usize,
    large_batches: u32,
    each: SendTime,
    /// Replies that the kernel refused, by socket.
    refused: Vec<u64>,
    not_send: PhantomData<*const ()>,
}

impl SendChunk {
    pub(super) fn new(sizes: SendChunks, sockets: usize) -> Self {
        let capacity = sizes.calm.max(sizes.backlog);
        // SAFETY: mmsghdr is a C struct of integers and pointers; all zeroes is the empty message.
        let empty: libc::mmsghdr = unsafe { mem::zeroed() };
        let mut payloads = vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; capacity];
        let mut headers = vec![empty; capacity];
        for (header, payload) in headers.iter_mut().zip(payloads.iter_mut()) {
            header.msg_hdr.msg_iov = payload;
            header.msg_hdr.msg_iovlen = 1;
        }
        Self {
            headers,
            payloads,
            sizes,
            limit: sizes.calm,
            length: 0,
            socket: 0,
            large_batches: 0,
            each: SendTime::default(),
            refused: vec![0; sockets],
            not_send: PhantomData,
        }
    }

    /// Says how large the batch is whose replies follow: when most of very many are large, that is a backlog.
    /// Fewer are what a hiccup of the machine has left behind, and soon over. Time is what counts then: what
    /// interrupts a chunk makes every reply late that is still to leave with it.
    pub(super) fn begin_batch(&mut self, is_large: bool) {
        /// What a worker answers in some 15 ms.
        const HICCUP: u32 = 64;
        /// So many small ones more than large ones end a backlog.
        const RELIEF: u32 = 4;
        let large = self.large_batches;
        self.large_batches =
            if is_large { (large + 1).min(HICCUP + RELIEF) } else { large.saturating_sub(1) };
        self.limit = if self.large_batches > HICCUP { self.sizes.backlog } else { self.sizes.calm };
    }

    /// Must be called when it answers true before another reply of `socket` is pushed.
    #[inline]
    pub(super) fn must_flush_before(&self, socket: usize) -> bool {
        self.length >= self.limit || (self.length > 0 && self.socket != socket)
    }

    /// Replies that the kernel refused so far, by socket.
    pub(super) fn refused(&self) -> &[u64] {
        &self.refused
    }

    /// How long the replies that wait already will take to leave.
    #[inline]
    pub(super) fn ahead_ns(&self) -> u32 {
        self.length as u32 * self.each.nanoseconds
    }

    /// Appends one reply.
    ///
    /// # Safety
    /// `memory` must stay valid and untouched for its lengths until the next [`flush`](Self::flush)
    /// returns.
    #[inline]
    pub(super) unsafe fn push(&mut self, socket: usize, memory: ReplyMemory, lengths: ReplyLengths) {
        let Some(header) = self.headers.get_mut(self.length) else { return };
        header.msg_hdr.msg_name = memory.name.cast();
        header.msg_hdr.msg_namelen = memory.name_length as libc::socklen_t;
        header.msg_hdr.msg_control = memory.control.cast();
        header.msg_hdr.msg_controllen = lengths.control as _;
        self.payloads[self.length] =
            libc::iovec { iov_base: memory.payload.cast(), iov_len: lengths.payload };
        self.socket = socket;
        self.length += 1;
    }

    /// Sends what waits; refused replies are counted and passed over, the rest still goes.
    pub(super) fn flush(&mut self, sockets: &[impl AsRawFd], tally: &mut IoTally) {
        let total = mem::take(&mut self.length);
        let start = (total >= SendTime::FROM).then(monotonic);
        let mut done = 0;
        while done < total {
            let waiting = &mut self.headers[done..total];
            let socket = sockets[self.socket].as_raw_fd();
            tally.kernel_entries += 1;
            // SAFETY: `waiting` is a valid slice of messages whose names, controls and payloads the caller
            // of `push` keeps alive until this function returns; sendmmsg copies them before it returns.
            let sent = unsafe {
                libc::sendmmsg(
                    socket,
                    waiting.as_mut_ptr(),
                    waiting.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(sent) {
                Ok(sent @ 1..) => done += sent,
                // An error belongs to the first message that was not sent.
                _ => {
                    self.refused[self.socket] += 1;
                    done += 1;
                }
            }
        }
        if let Some(start) = start {
            self.each.learn(monotonic().as_nanos() - start.as_nanos(), total);
        }
    }
}

/// How long one reply of a chunk takes to leave, as far as that is known by now.
struct SendTime {
    nanoseconds: u32,
}

impl Default for SendTime {
    /// No kernel is faster by much.
    fn default() -> Self {
        Self { nanoseconds: 500 }
    }
}

impl SendTime {
    /// Smaller chunks say little, and would be dearer to measure.
    const FROM: usize = 8;
    /// What one chunk weighs in the average.
    const WEIGHT: u32 = 8;

    /// A chunk took so long. An interrupt, or another process, in the middle of one must not count as
    /// sending: what is more than twice the average counts as twice the average.
    fn learn(&mut self, nanoseconds: i128, replies: usize) {
        let each = u32::try_from(nanoseconds / replies.max(1) as i128).unwrap_or(0);
        let each = each.min(2 * self.nanoseconds);
        self.nanoseconds = (self.nanoseconds * (Self::WEIGHT - 1) + each).div_ceil(Self::WEIGHT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_leave_in_chunks_in_a_backlog_and_alone_after_a_hiccup() {
        let mut replies = SendChunk::new(SendChunks { calm: 1, backlog: 24 }, 1);
        let mut batches = |count: usize, is_large: bool| {
            (0..count).for_each(|_| replies.begin_batch(is_large));
            replies.limit
        };
        assert_eq!(batches(64, true), 1, "a hiccup");
        assert_eq!(batches(1, true), 24, "a backlog");
        assert_eq!(batches(1000, true), 24);
        assert_eq!(batches(3, false), 24, "a pause in it");
        assert_eq!(batches(1, false), 1, "its end");
        assert_eq!(batches(1000, false), 1);
        // As many small ones as large ones are no backlog, however long that lasts.
        for _ in 0..1000 {
            assert_eq!((batches(1, true), batches(1, false)), (1, 1));
        }
    }

    #[test]
    fn the_time_of_a_reply_is_learnt_and_hiccups_are_not() {
        let mut time = SendTime::default();
        (0..100).for_each(|_| time.learn(24 * 1_000, 24));
        assert!((1_000..1_010).contains(&time.nanoseconds), "{} ns", time.nanoseconds);
        time.learn(24 * 1_000_000, 24);
        assert!(time.nanoseconds < 1_200, "{} ns after a hiccup", time.nanoseconds);
        (0..100).for_each(|_| time.learn(24 * 300, 24));
        assert!((300..310).contains(&time.nanoseconds), "{} ns", time.nanoseconds);
        // A clock that stands still, or went back, does not stop it from learning again.
        time.learn(-5, 24);
        (0..1000).for_each(|_| time.learn(0, 24));
        assert!(time.nanoseconds >= 1);
    }
}
