//! io_uring: datagrams arrive through multishot receives into provided buffers, replies leave from the same
//! buffers.
//!
//! The ring is built and used on one thread (SINGLE_ISSUER, DEFER_TASKRUN): the kernel does its part of the
//! work only while this thread is inside io_uring_enter, so completions never interrupt it.

mod buffers;

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io, mem};

use io_uring::types::{CancelBuilder, Fixed, SubmitArgs, Timespec};
use io_uring::{Builder, IoUring, cqueue, opcode, squeue};

pub(super) use self::buffers::BufferRing;
use super::cmsg::{CONTROL_SPACE, NAME_SPACE};
use super::message::{IoTally, Parts, Received, SocketState};
use super::send::{ReplyMemory, SendChunk, SendChunks};
use super::socket::ServeSocket;

const BUFFER_GROUP: u16 = 0;

/// What the kernel writes in front of every datagram: the true lengths of name, control and payload, and the
/// message flags, a `u32` each (`struct io_uring_recvmsg_out`).
const OUT_HEADER: usize = 16;

/// A receive that fails this often in a row, without a datagram between, will not recover.
pub(super) const FAILURES_IN_A_ROW: u32 = 1000;

/// A multishot receive hands over this many datagrams in one go before the kernel looks whether enough
/// completions are there. When so many came, more are probably queued: the next wait collects them without
/// sleeping instead of returning with one run.
const MULTISHOT_RUN: usize = 32;

/// Completions that a collecting wait asks for; what is not there at once is not waited for.
const COLLECT: usize = 2 * MULTISHOT_RUN;

/// Marks the completion of the tick; sockets are numbered from zero.
const TICK: u64 = u64::MAX;

/// How long a cancelled receive may take to end.
pub(super) const CANCEL_PATIENCE: Duration = Duration::from_millis(200);

/// One worker's sockets, served by an io_uring of its own. All memory is allocated at the start.
pub struct UringSockets {
    // Dropped in this order: the ring must be gone before the memory that the kernel writes to.
    ring: IoUring,
    buffers: BufferRing,
    message: Box<libc::msghdr>,
    tick: Box<Timespec>,
    ticking: bool,
    sockets: Arc<[ServeSocket]>,
    states: Vec<SocketState>,
    armed: Vec<bool>,
    replies: SendChunk,
    answered: Vec<u16>,
    payload: usize,
    failures: u32,
    busy: bool,
    tally: IoTally,
}

/// Sizes of a worker's ring.
#[derive(Clone, Copy, Debug)]
pub struct UringSizes {
    /// Submission queue entries.
    pub entries: u32,
    /// Completion queue entries.
    pub completions: u32,
    /// Receive buffers, a power of two.
    pub buffers: u16,
    /// Replies per sendmmsg.
    pub send_chunks: SendChunks,
    /// Largest payload that is not truncated, in bytes.
    pub payload: usize,
}

impl UringSockets {
    /// Builds the ring on the calling thread, which must be the one that uses it, and arms one receive per
    /// socket. Fails where the kernel or a seccomp filter refuses io_uring, or where it is older than Linux
    /// 6.1, which has all that is used here.
    pub fn new(sockets: Arc<[ServeSocket]>, sizes: UringSizes) -> io::Result<Self> {
        let mut this = Self {
            ring: builder(sizes.completions).build(sizes.entries)?,
            buffers: BufferRing::new(sizes.buffers, buffer_size(sizes.payload)),
            message: message(),
            tick: Box::default(),
            ticking: false,
            states: vec![SocketState::default(); sockets.len()],
            armed: vec![false; sockets.len()],
            replies: SendChunk::new(sizes.send_chunks, sockets.len()),
            answered: Vec::with_capacity(sizes.buffers.into()),
            payload: sizes.payload,
            failures: 0,
            busy: false,
            tally: IoTally::default(),
            sockets,
        };
        this.register()?;
        this.arm()?;
        this.ring.submit()?;
        Ok(this)
    }

    /// Sleeps until a completion is there or `timeout` is over.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.arm()?;
        self.arm_tick(timeout)?;
        self.tally.kernel_entries += 1;
        if self.busy {
            enter(&self.ring, COLLECT, Duration::ZERO)
        } else {
            passing(self.ring.submit_and_wait(1))
        }
    }

    /// Serves every datagram that has completed. `serve` returns the length of the reply it wrote over the
    /// payload; 0 means none.
    pub fn drain(&mut self, mut serve: impl FnMut(Received<'_>) -> usize) -> io::Result<()> {
        let completions = self.ring.completion();
        self.busy = completions.len() >= MULTISHOT_RUN;
        self.tally.completion_overflow = u64::from(completions.overflow());
        drop(completions);
        self.replies.begin_batch(self.busy);
        while let Some(completion) = self.next_completion() {
            self.complete(&completion, &mut serve)?;
        }
        self.flush();
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

    /// Queues the timeout that ends a wait in which nothing comes, unless one is under way: one for many
    /// waits, because each wait's own timeout would set a timer and cancel it again.
    fn arm_tick(&mut self, timeout: Duration) -> io::Result<()> {
        if !self.ticking {
            *self.tick = Timespec::from(timeout);
            push(&mut self.ring, &opcode::Timeout::new(&raw const *self.tick).build().user_data(TICK))?;
            self.ticking = true;
        }
        Ok(())
    }

    fn register(&mut self) -> io::Result<()> {
        let descriptors: Vec<RawFd> = self.sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let submitter = self.ring.submitter();
        submitter.register_files(&descriptors)?;
        // SAFETY: `drop` cancels every receive before the buffers go.
        unsafe { self.buffers.register(&submitter, BUFFER_GROUP) }
    }

    /// Queues a multishot receive for every socket that has none.
    fn arm(&mut self) -> io::Result<()> {
        for (index, armed) in self.armed.iter_mut().enumerate() {
            if *armed {
                continue;
            }
            let receive =
                opcode::RecvMsgMulti::new(Fixed(index as u32), &raw const *self.message, BUFFER_GROUP)
                    .build()
                    .user_data(index as u64);
            push(&mut self.ring, &receive)?;
            *armed = true;
        }
        Ok(())
    }

    #[inline]
    fn next_completion(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    #[inline]
    fn complete(
        &mut self,
        completion: &cqueue::Entry,
        serve: &mut impl FnMut(Received<'_>) -> usize,
    ) -> io::Result<()> {
        if completion.user_data() == TICK {
            self.ticking = false;
            return Ok(());
        }
        let index = completion.user_data() as usize;
        if !cqueue::more(completion.flags()) {
            self.armed[index] = false;
            self.tally.rearmed += 1;
        }
        match (usize::try_from(completion.result()), cqueue::buffer_select(completion.flags())) {
            (Ok(length), Some(buffer)) => {
                self.failures = 0;
                self.receive(index, buffer, length, serve);
                Ok(())
            }
            // The multishot ended: with ENOBUFS when every buffer was in use, which the next `wait` mends.
            _ => self.note_failure(completion.result()),
        }
    }

    fn note_failure(&mut self, result: i32) -> io::Result<()> {
        self.failures += u32::from(result < 0 && result != -libc::ENOBUFS);
        if self.failures < FAILURES_IN_A_ROW { Ok(()) } else { Err(io::Error::from_raw_os_error(-result)) }
    }

    #[inline]
    fn receive(
        &mut self,
        index: usize,
        buffer: u16,
        length: usize,
        serve: &mut impl FnMut(Received<'_>) -> usize,
    ) {
        if self.replies.must_flush_before(index) {
            self.flush();
        }
        let Self { buffers, states, tally, replies, answered, payload, .. } = self;
        // SAFETY: the completion named `buffer`; it is recycled below, or by `flush` after its reply was
        // sent.
        let base = unsafe { buffers.buffer(buffer) };
        // SAFETY: base is a buffer of `stride` bytes that the kernel has written and that is ours until it is
        // recycled.
        let lengths = base.and_then(|base| unsafe { split(base.as_ptr(), length, *payload) });
        let Some((memory, parts)) = lengths else {
            tally.truncated += 1;
            buffers.recycle(buffer);
            return;
        };
        match parts.serve(index, replies.ahead_ns(), &mut states[index], tally, serve) {
            Some(lengths) => {
                // SAFETY: the buffer is not recycled before `flush`.
                unsafe { replies.push(index, memory, lengths) };
                answered.push(buffer);
            }
            None => buffers.recycle(buffer),
        }
    }

    /// Sends the waiting replies; sendmmsg has copied them when it returns, so their buffers go back to the
    /// kernel.
    fn flush(&mut self) {
        self.replies.flush(&self.sockets, &mut self.tally);
        for buffer in self.answered.drain(..) {
            self.buffers.recycle(buffer);
        }
        self.buffers.publish();
    }
}

impl UringSockets {
    /// Ends every receive and waits until it has ended.
    fn cancel_receives(&mut self) -> io::Result<()> {
        // ENOENT when nothing is armed; whether it worked shows below.
        let _ = self.ring.submitter().register_sync_cancel(None, CancelBuilder::any());
        while self.armed.contains(&true) {
            // Every cancelled receive posts one last completion; datagrams that still come are dropped with
            // their buffers.
            enter(&self.ring, 1, CANCEL_PATIENCE)?;
            let Some(completion) = self.next_completion() else { return Err(io::ErrorKind::TimedOut.into()) };
            if let Some(armed) = self.armed.get_mut(completion.user_data() as usize) {
                *armed &= cqueue::more(completion.flags());
            }
        }
        // Otherwise the sockets would stay bound until the kernel gets round to freeing the ring, and a
        // restart would fail.
        self.ring.submitter().unregister_files()
    }
}

impl Drop for UringSockets {
    fn drop(&mut self) {
        if self.cancel_receives().is_err() && self.armed.contains(&true) {
            // A receive that would not be cancelled could still write: the only sound thing left is never to
            // free its buffer.
            mem::forget(mem::replace(&mut self.buffers, BufferRing::new(1, 64)));
        }
    }
}

/// Whether io_uring can be had here, with all that is used of it.
///
/// # Errors
/// Why not, and what to do about it.
pub fn probe() -> io::Result<()> {
    let try_all = || {
        let mut ring = builder(2).build(1)?;
        ring.submitter().register_files_sparse(1)?;
        push(&mut ring, &opcode::Nop::new().build())?;
        ring.submit_and_wait(1)
    };
    try_all().map(drop).map_err(explain)
}

/// Why a ring could not be set up, and what would mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The cause.
    pub why: String,
    /// A command or a setting, where there is one.
    pub cure: Option<&'static str>,
}

impl Refusal {
    /// io_uring is refused in a few well-known ways; `disabled` is the text of
    /// /proc/sys/kernel/io_uring_disabled.
    pub fn explain(error: &io::Error, disabled: &str) -> Self {
        let (why, cure) = match (error.raw_os_error(), disabled.trim()) {
            (Some(libc::EPERM), "1" | "2") => {
                let why = format!("kernel.io_uring_disabled={}", disabled.trim());
                return Self { why, cure: Some("sysctl -w kernel.io_uring_disabled=0") };
            }
            (Some(libc::EPERM | libc::EACCES), _) => (
                "a seccomp filter forbids it, as most containers' do",
                Some("docker run --security-opt seccomp=tuning/seccomp.json"),
            ),
            (Some(libc::ENOSYS), _) => {
                ("this kernel was built without it, or a seccomp filter hides it", None)
            }
            (Some(libc::EINVAL), _) => ("this kernel is older than Linux 6.1", None),
            (Some(libc::ENOMEM), _) => ("the memory limit is too low", Some("ulimit -l unlimited")),
            _ => ("unexpected", None),
        };
        Self { why: why.to_owned(), cure }
    }
}

/// The error with its cause and its cure. Errors of our own explain themselves.
pub fn explain(error: io::Error) -> io::Error {
    if error.raw_os_error().is_none() {
        return error;
    }
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    let Refusal { why, cure } = Refusal::explain(&error, &disabled);
    let cure = cure.map_or_else(String::new, |cure| format!(" (to allow it: {cure})"));
    io::Error::new(error.kind(), format!("io_uring is not available: {error}: {why}{cure}"))
}

/// A ring of the kind that is used here, but for its size.
pub(super) fn builder(completions: u32) -> Builder {
    let mut builder = IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun().setup_submit_all().setup_cqsize(completions);
    builder
}

/// Bytes of a buffer for payloads of up to `payload` bytes.
pub(super) fn buffer_size(payload: usize) -> usize {
    (OUT_HEADER + NAME_SPACE + CONTROL_SPACE + payload).next_multiple_of(64)
}

/// What a multishot receive asks for beside the payload. It must live as long as the receive.
pub(super) fn message() -> Box<libc::msghdr> {
    // SAFETY: msghdr is a C struct of integers and pointers; all zeroes is the empty message.
    let mut message: Box<libc::msghdr> = Box::new(unsafe { mem::zeroed() });
    message.msg_namelen = NAME_SPACE as libc::socklen_t;
    message.msg_controllen = CONTROL_SPACE as _;
    message
}

/// Submits what is queued and waits for so many completions.
pub(super) fn enter(ring: &IoUring, completions: usize, timeout: Duration) -> io::Result<()> {
    let timeout = Timespec::from(timeout);
    match ring.submitter().submit_with_args(completions, &SubmitArgs::new().timespec(&timeout)) {
        Err(error) if !is_passing(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Queues an entry; a full queue is submitted first.
fn push(ring: &mut IoUring, entry: &squeue::Entry) -> io::Result<()> {
    if ring.submission().is_full() {
        ring.submit()?;
    }
    // SAFETY: the only entries with pointers that are pushed here are receives and timeouts, whose msghdr and
    // time are boxed in the same struct as the ring and, like the provided buffers, outlive it.
    let pushed = unsafe { ring.submission().push(entry) };
    pushed.map_err(|_| io::Error::other("the io_uring submission queue stays full"))
}

/// Whether a wait went wrong for good.
fn passing(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Err(error) if !is_passing(&error) => Err(error),
        _ => Ok(()),
    }
}

/// Timeouts and signals end a wait without harm; EBUSY asks to drain completions first.
pub(super) fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN))
}

/// Splits a filled buffer into the datagram's parts; `None` if the payload or the control messages were cut
/// short.
///
/// # Safety
/// `base` must point to a buffer with room for `OUT_HEADER + NAME_SPACE + CONTROL_SPACE + room` bytes, of
/// which the kernel has written `length`, and which nobody else touches while the parts live.
#[inline]
pub(super) unsafe fn split<'a>(
    base: *mut u8,
    length: usize,
    room: usize,
) -> Option<(ReplyMemory, Parts<'a>)> {
    const PAYLOAD_AT: usize = OUT_HEADER + NAME_SPACE + CONTROL_SPACE;
    // SAFETY: the kernel writes these four words first, and any buffer is at least that long and aligned to
    // 64.
    let [name_length, control_length, payload_length, flags] = unsafe { base.cast::<[u32; 4]>().read() };
    let (name_length, control_length) = (name_length as usize, control_length as usize);
    let payload_length = payload_length as usize;
    let cut = flags & libc::MSG_TRUNC as u32 != 0;
    if cut || payload_length > room || PAYLOAD_AT + payload_length > length {
        return None;
    }
    let memory = ReplyMemory {
        // SAFETY: the three areas follow each other inside the buffer.
        name: unsafe { base.add(OUT_HEADER) },
        name_length: name_length.min(NAME_SPACE),
        // SAFETY: as above.
        control: unsafe { base.add(OUT_HEADER + NAME_SPACE) },
        // SAFETY: as above.
        payload: unsafe { base.add(PAYLOAD_AT) },
    };
    // SAFETY: three disjoint areas of a buffer that is ours alone; every length is bounded by its area.
    let parts = unsafe {
        Parts {
            name: std::slice::from_raw_parts(memory.name, memory.name_length),
            control: std::slice::from_raw_parts_mut(memory.control, control_length.min(CONTROL_SPACE)),
            payload: std::slice::from_raw_parts_mut(memory.payload, payload_length),
        }
    };
    Some((memory, parts))
}
