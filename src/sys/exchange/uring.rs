//! The engine on io_uring: multishot receives of all sockets into one ring of provided buffers.
//!
//! Where send stamps are wanted, each socket has a second receive, on its error queue, so that marked
//! requests come back by themselves. Requests leave by sendmmsg: as entries of the ring they cost more
//! (bench/README.md), and one that the kernel does not take would leave a gap in the batch.

use std::time::Duration;
use std::{io, mem};

use io_uring::types::{CancelBuilder, Fixed};
use io_uring::{IoUring, cqueue, opcode};

use super::{
    ClientSockets, Exchange, ExchangeSizes, HEADERS_SPACE, Reply, RequestBatch, Seen, Visitor,
    is_unreachable, tell_stamp,
};
use crate::sys::uring::{
    BufferRing, CANCEL_PATIENCE, FAILURES_IN_A_ROW, buffer_size, builder, enter, is_passing, message, split,
};

const BUFFER_GROUP: u16 = 0;
/// Receive buffers, a power of two. When all are in use the receives end, and are armed again; the datagrams
/// wait in their sockets' queues meanwhile.
const BUFFERS: u16 = 512;
/// Submission queue entries at most: arming is done in so many steps as it takes.
const ENTRIES_MAX: usize = 256;
/// The kernel's own bound (IORING_MAX_CQ_ENTRIES). What does not fit it keeps until there is room.
const COMPLETIONS_MAX: usize = 1 << 16;

/// Client sockets on an io_uring of one thread. All memory is allocated at the start.
pub struct UringExchange {
    // Dropped in this order: the ring must be gone before the memory that the kernel writes to.
    ring: IoUring,
    buffers: BufferRing,
    message: Box<libc::msghdr>,
    sockets: ClientSockets,
    /// Receives that have ended, to be armed again.
    idle: Vec<Receive>,
    armed: usize,
    /// Replies that have come and that nobody has been told of.
    arrived: Vec<Arrived>,
    payload: usize,
    failures: u32,
    unreachable: u64,
}

/// A multishot receive: of a socket's datagrams, or of its error queue.
#[derive(Clone, Copy)]
struct Receive {
    client: u32,
    of_errors: bool,
}

/// A datagram in a provided buffer.
struct Arrived {
    client: usize,
    buffer: u16,
    length: usize,
}

impl Receive {
    fn to_bits(self) -> u64 {
        u64::from(self.client) << 1 | u64::from(self.of_errors)
    }

    fn from_bits(bits: u64) -> Self {
        Self { client: (bits >> 1) as u32, of_errors: bits & 1 == 1 }
    }
}

impl UringExchange {
    /// Takes the sockets and arms their receives, on the thread that is to use them.
    ///
    /// # Errors
    /// io_uring is refused, or older than Linux 6.1.
    pub fn new(sockets: ClientSockets, sizes: ExchangeSizes) -> io::Result<Self> {
        let receives = receives(&sockets);
        let entries = receives.len().clamp(64, ENTRIES_MAX).next_power_of_two();
        let completions = (receives.len() + usize::from(BUFFERS)).next_power_of_two().min(COMPLETIONS_MAX);
        let mut this = Self {
            ring: builder(completions as u32).setup_taskrun_flag().build(entries as u32)?,
            buffers: BufferRing::new(BUFFERS, buffer_size(sizes.payload + HEADERS_SPACE)),
            message: message(),
            sockets,
            idle: receives,
            armed: 0,
            arrived: Vec::with_capacity(usize::from(BUFFERS)),
            payload: sizes.payload,
            failures: 0,
            unreachable: 0,
        };
        this.register()?;
        this.collect()?;
        Ok(this)
    }

    fn register(&self) -> io::Result<()> {
        let descriptors: Vec<_> = self.sockets.descriptors().collect();
        let submitter = self.ring.submitter();
        submitter.register_files(&descriptors)?;
        // SAFETY: `drop` cancels every receive before the buffers go.
        unsafe { self.buffers.register(&submitter, BUFFER_GROUP) }
    }

    /// Queues the receives that are not armed; a full queue is submitted first.
    fn arm(&mut self) -> io::Result<()> {
        while let Some(&receive) = self.idle.last() {
            let flags = if receive.of_errors { libc::MSG_ERRQUEUE as u32 } else { 0 };
            let entry =
                opcode::RecvMsgMulti::new(Fixed(receive.client), &raw const *self.message, BUFFER_GROUP)
                    .flags(flags)
                    .build()
                    .user_data(receive.to_bits());
            if self.ring.submission().is_full() {
                submit(&self.ring)?;
            }
            // SAFETY: the msghdr is boxed in the same struct as the ring and, like the provided buffers,
            // outlives it.
            if unsafe { self.ring.submission().push(&entry) }.is_err() {
                // The kernel is short of something; the next time is soon.
                break;
            }
            self.idle.pop();
            self.armed += 1;
        }
        Ok(())
    }

    /// Lets the kernel do its part, if there is any.
    fn collect(&mut self) -> io::Result<()> {
        self.arm()?;
        let submission = self.ring.submission();
        let idle = submission.is_empty() && !submission.taskrun() && !submission.cq_overflow();
        drop(submission);
        if idle { Ok(()) } else { submit(&self.ring) }
    }

    /// Tells of the stamps that have come and keeps the replies for later.
    fn sort(&mut self, visitor: &mut impl Visitor) -> io::Result<()> {
        while let Some(completion) = self.next_completion() {
            let receive = Receive::from_bits(completion.user_data());
            let client = receive.client as usize;
            if !cqueue::more(completion.flags()) {
                self.armed -= 1;
                self.idle.push(receive);
            }
            match (usize::try_from(completion.result()), cqueue::buffer_select(completion.flags())) {
                (Ok(length), Some(buffer)) => {
                    self.failures = 0;
                    let arrived = Arrived { client, buffer, length };
                    if receive.of_errors {
                        self.tell_stamp(&arrived, visitor);
                    } else {
                        self.arrived.push(arrived);
                    }
                }
                _ => self.note_failure(completion.result())?,
            }
        }
        Ok(())
    }

    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    fn tell_stamp(&mut self, arrived: &Arrived, visitor: &mut impl Visitor) {
        // SAFETY: the completion named the buffer, which is recycled below.
        let base = unsafe { self.buffers.buffer(arrived.buffer) };
        // SAFETY: a buffer of `stride` bytes that the kernel has written and that is ours until then.
        let parts = base
            .and_then(|base| unsafe { split(base.as_ptr(), arrived.length, self.payload + HEADERS_SPACE) });
        if let Some((_, parts)) = parts {
            tell_stamp(&parts, visitor);
        }
        self.buffers.recycle(arrived.buffer);
    }

    /// A receive has ended: with ENOBUFS when every buffer was in use.
    fn note_failure(&mut self, result: i32) -> io::Result<()> {
        if result == -libc::ENOBUFS {
            return Ok(());
        }
        let error = io::Error::from_raw_os_error(-result);
        if is_unreachable(&error) {
            self.unreachable += 1;
            return Ok(());
        }
        self.failures += u32::from(result < 0);
        if self.failures < FAILURES_IN_A_ROW { Ok(()) } else { Err(error) }
    }

    fn cancel_receives(&mut self) -> io::Result<()> {
        for receive in receives(&self.sockets) {
            // One by one: to find any of so many takes the kernel longer the more it has found, seconds for
            // ten thousand sockets. ENOENT is one that has ended; whether it worked shows below.
            let cancel = CancelBuilder::user_data(receive.to_bits());
            let _ = self.ring.submitter().register_sync_cancel(None, cancel);
        }
        while self.armed > 0 {
            // Every cancelled receive posts one last completion.
            match self.next_completion() {
                Some(completion) => self.armed -= usize::from(!cqueue::more(completion.flags())),
                None => {
                    enter(&self.ring, 1, CANCEL_PATIENCE)?;
                    if self.ring.completion().is_empty() {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
            }
        }
        // Otherwise the sockets would stay open until the kernel gets round to freeing the ring.
        self.ring.submitter().unregister_files()
    }
}

impl Exchange for UringExchange {
    fn sockets(&self) -> &ClientSockets {
        &self.sockets
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.arm()?;
        if !self.ring.completion().is_empty() {
            return Ok(());
        }
        enter(&self.ring, 1, timeout)
    }

    fn send(&mut self, client: usize, requests: &mut RequestBatch) -> io::Result<usize> {
        self.sockets.send(client, requests)
    }

    /// As much as there are buffers.
    fn receive(&mut self, visitor: &mut impl Visitor) -> io::Result<usize> {
        self.collect()?;
        self.sort(visitor)?;
        let received = self.arrived.len();
        if received > 0 {
            let seen = Seen::now();
            let Self { buffers, arrived, sockets, payload, .. } = self;
            for Arrived { client, buffer, length } in arrived.drain(..) {
                // SAFETY: the completion named the buffer, which is recycled below.
                let base = unsafe { buffers.buffer(buffer) };
                // SAFETY: a buffer of `stride` bytes that the kernel has written and that is ours until then.
                let parts = base.and_then(|base| unsafe { split(base.as_ptr(), length, *payload) });
                let parts = parts.map(|(_, parts)| parts);
                visitor.replied(&Reply::new(client, seen, sockets.target(), parts));
                buffers.recycle(buffer);
            }
        }
        self.buffers.publish();
        Ok(received)
    }

    fn unreachable(&self) -> u64 {
        self.unreachable
    }
}

impl Drop for UringExchange {
    fn drop(&mut self) {
        if self.cancel_receives().is_err() && self.armed > 0 {
            // A receive that would not be cancelled could still write: the only sound thing left is never to
            // free its buffer.
            mem::forget(mem::replace(&mut self.buffers, BufferRing::new(1, 64)));
        }
    }
}

/// Submits what is queued, and lets the kernel do what it has deferred.
fn submit(ring: &IoUring) -> io::Result<()> {
    match ring.submit() {
        Err(error) if !is_passing(&error) => Err(error),
        _ => Ok(()),
    }
}

/// All that the sockets need, in the order in which they are armed last to first: of a socket's two the one
/// of the error queue is armed last.
fn receives(sockets: &ClientSockets) -> Vec<Receive> {
    let clients = 0..sockets.len() as u32;
    let replies = clients.clone().map(|client| Receive { client, of_errors: false });
    let errors = clients.filter(|_| sockets.is_stamping()).map(|client| Receive { client, of_errors: true });
    errors.chain(replies).collect()
}
