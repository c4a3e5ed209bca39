//! Many datagrams per system call: recvmmsg in, sendmmsg out.

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;
use std::{io, mem, ptr};

use super::check;
use super::cmsg::{CONTROL_SPACE, NAME_SPACE};
use super::message::{IoTally, Parts, Received, SocketState};
use super::send::{ReplyMemory, SendChunk, SendChunks};
use super::socket::ServeSocket;

/// One worker's sockets, served by recvmmsg and sendmmsg. All memory is allocated at the start.
pub struct MmsgSockets {
    sockets: Arc<[ServeSocket]>,
    states: Vec<SocketState>,
    poll: Vec<libc::pollfd>,
    receive: ReceiveBatch,
    replies: SendChunk,
    tally: IoTally,
}

/// Sizes of a worker's buffers.
#[derive(Clone, Copy, Debug)]
pub struct MmsgSizes {
    /// Datagrams per recvmmsg.
    pub batch: usize,
    /// Replies per sendmmsg.
    pub send_chunks: SendChunks,
    /// Largest payload that is not truncated, in bytes.
    pub payload: usize,
}

impl MmsgSockets {
    /// Takes the sockets of one worker.
    pub fn new(sockets: Arc<[ServeSocket]>, sizes: MmsgSizes) -> Self {
        let poll = sockets
            .iter()
            .map(|s| libc::pollfd { fd: s.as_raw_fd(), events: libc::POLLIN, revents: 0 })
            .collect();
        Self {
            states: vec![SocketState::default(); sockets.len()],
            poll,
            receive: ReceiveBatch::new(sizes.batch, sizes.payload),
            replies: SendChunk::new(sizes.send_chunks, sockets.len()),
            tally: IoTally::default(),
            sockets,
        }
    }

    /// Sleeps until a socket is readable or `timeout` is over.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let milliseconds = timeout.as_millis().try_into().unwrap_or(libc::c_int::MAX);
        self.tally.kernel_entries += 1;
        // SAFETY: `poll` is a valid, exclusively borrowed array of that many entries.
        let ready =
            unsafe { libc::poll(self.poll.as_mut_ptr(), self.poll.len() as libc::nfds_t, milliseconds) };
        match check(ready) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.poll.iter_mut().for_each(|entry| entry.revents = 0);
                Ok(())
            }
            result => result.map(drop),
        }
    }

    /// Serves at most one batch of every readable socket. `serve` returns the length of the reply it wrote
    /// over the payload; 0 means none.
    pub fn drain(&mut self, mut serve: impl FnMut(Received<'_>) -> usize) -> io::Result<()> {
        for index in 0..self.sockets.len() {
            if self.poll[index].revents != 0 {
                self.drain_socket(index, &mut serve)?;
            }
        }
        Ok(())
    }

    /// What happened since the start.
    pub fn tally(&self) -> &IoTally {
        &self.tally
    }

    /// Replies that the kernel refused since the start, by socket.
    pub fn refused(&self) -> &[u64] {
        self.replies.refused()
    }

    fn drain_socket(
        &mut self,
        index: usize,
        serve: &mut impl FnMut(Received<'_>) -> usize,
    ) -> io::Result<()> {
        let Self { sockets, states, receive, replies, tally, .. } = self;
        let received = receive.fill(&sockets[index], tally)?;
        replies.begin_batch(received >= receive.capacity() / 2);
        for slot in 0..received {
            let Some((memory, parts)) = receive.parts(slot) else {
                tally.truncated += 1;
                continue;
            };
            // Before the next reply is stamped, or that stamp would age by this system call.
            if replies.must_flush_before(index) {
                replies.flush(sockets, tally);
            }
            let Some(lengths) = parts.serve(index, replies.ahead_ns(), &mut states[index], tally, serve)
            else {
                continue;
            };
            // SAFETY: `memory` is slot `slot` of the receive batch, which is not filled again before the
            // flush below.
            unsafe { replies.push(index, memory, lengths) };
        }
        replies.flush(sockets, tally);
        Ok(())
    }
}

/// Memory for the datagrams of one recvmmsg call; the headers point into the three areas, which never move.
pub(super) struct ReceiveBatch {
    // Never resized. Vectors, because a box claims to be the only way to its memory.
    headers: Vec<libc::mmsghdr>,
    // The areas are reached through the headers' pointers; these fields own them.
    _vectors: Vec<libc::iovec>,
    _area: Vec<MaybeUninit<u8>>,
    payload: usize,
}

impl ReceiveBatch {
    pub(super) fn new(batch: usize, payload: usize) -> Self {
        // Control messages come first: the allocation and the stride keep them aligned as the kernel writes
        // them.
        let stride = (CONTROL_SPACE + NAME_SPACE + payload).next_multiple_of(64);
        let mut area = vec![MaybeUninit::zeroed(); batch * stride];
        let mut vectors = vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: payload }; batch];
        let base: *mut u8 = area.as_mut_ptr().cast();
        let headers = vectors
            .iter_mut()
            .enumerate()
            .map(|(slot, vector)| {
                // SAFETY: mmsghdr is a C struct of integers and pointers; all zeroes is the empty message.
                let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
                // SAFETY: slot < batch, so the three offsets stay inside the area of batch * stride bytes.
                unsafe {
                    let control = base.add(slot * stride);
                    header.msg_hdr.msg_control = control.cast();
                    header.msg_hdr.msg_name = control.add(CONTROL_SPACE).cast();
                    vector.iov_base = control.add(CONTROL_SPACE + NAME_SPACE).cast();
                }
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header
            })
            .collect();
        Self { headers, _vectors: vectors, _area: area, payload }
    }

    /// Datagrams that one call may bring.
    fn capacity(&self) -> usize {
        self.headers.len()
    }

    /// Receives without blocking; returns how many slots are filled. A spurious wake-up or a passing error of
    /// the network fills none.
    fn fill(&mut self, socket: &ServeSocket, tally: &mut IoTally) -> io::Result<usize> {
        tally.kernel_entries += 1;
        match self.receive(socket) {
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Err(error),
            result => Ok(result.unwrap_or(0)),
        }
    }

    /// Receives without blocking; returns how many slots are filled.
    pub(super) fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<usize> {
        self.receive_with(socket, 0)
    }

    /// The same with flags of recvmmsg.
    pub(super) fn receive_with(&mut self, socket: &impl AsRawFd, flags: libc::c_int) -> io::Result<usize> {
        for header in &mut self.headers {
            header.msg_hdr.msg_namelen = NAME_SPACE as libc::socklen_t;
            header.msg_hdr.msg_controllen = CONTROL_SPACE as _;
        }
        // SAFETY: every header describes areas owned by `self` with their true sizes, and nobody else reads
        // them meanwhile.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                self.headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT | flags,
                ptr::null_mut(),
            )
        };
        check(received).map(|received| received as usize)
    }

    /// The parts of a filled slot, or `None` if the datagram did not fit.
    #[inline]
    pub(super) fn parts(&mut self, slot: usize) -> Option<(ReplyMemory, Parts<'_>)> {
        let header = self.headers.get(slot)?;
        let message = &header.msg_hdr;
        let name_length = (message.msg_namelen as usize).min(NAME_SPACE);
        let control_length = message.msg_controllen.min(CONTROL_SPACE);
        let length = header.msg_len as usize;
        if message.msg_flags & libc::MSG_TRUNC != 0 || length > self.payload {
            return None;
        }
        let memory = ReplyMemory {
            name: message.msg_name.cast(),
            name_length,
            control: message.msg_control.cast(),
            // SAFETY: msg_iov was set in `new` to this slot's vector, which `self` owns.
            payload: unsafe { (*message.msg_iov).iov_base.cast() },
        };
        // SAFETY: the pointers lead to this slot's three disjoint areas inside `self.area`, the lengths are
        // bounded by the areas' sizes above, and `&mut self` excludes any other access while the slices live.
        let parts = unsafe {
            Parts {
                name: std::slice::from_raw_parts(memory.name, name_length),
                control: std::slice::from_raw_parts_mut(memory.control, control_length),
                payload: std::slice::from_raw_parts_mut(memory.payload, length),
            }
        };
        Some((memory, parts))
    }
}
