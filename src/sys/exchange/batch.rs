//! Requests that leave together.

use std::net::{IpAddr, SocketAddr};
use std::{mem, ptr};

use socket2::SockAddr;

use crate::sys::cmsg::{self, Arrival};

/// Bytes of the control messages of one request: its source, and the wish for a stamp.
const CONTROL: usize = cmsg::CONTROL_SPACE;

/// Requests that leave with one sendmmsg call; filled from the front, sent from the front.
pub struct RequestBatch {
    // Up to `filled`, headers[i] points at vectors[i] and that into slot i of the area. None of the three
    // ever moves or grows.
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    area: Vec<u8>,
    // What the kernel is told about requests that it is to stamp: the same for all, and only ever read.
    stamp: Vec<u8>,
    // Where requests with a source of their own go (at most one address), and their control messages,
    // `CONTROL` bytes each.
    target: Vec<SockAddr>,
    controls: Vec<u8>,
    /// How long the message is that names a source.
    source_length: usize,
    stamped: bool,
    slot: usize,
    filled: usize,
    sent: usize,
}

impl RequestBatch {
    /// Room for `capacity` requests of up to `longest` bytes each.
    pub fn new(capacity: usize, longest: usize) -> Self {
        // SAFETY: mmsghdr is a C struct of integers and pointers; all zeroes is the empty message.
        let empty: libc::mmsghdr = unsafe { mem::zeroed() };
        let nowhere = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            headers: vec![empty; capacity],
            vectors: vec![nowhere; capacity],
            area: vec![0; capacity * longest],
            stamp: send_stamp(),
            target: Vec::new(),
            controls: Vec::new(),
            source_length: 0,
            stamped: false,
            slot: longest,
            filled: 0,
            sent: 0,
        }
    }

    /// The same for requests that name their source, all to `target`.
    pub fn with_sources(capacity: usize, longest: usize, target: SocketAddr) -> Self {
        Self {
            target: vec![target.into()],
            controls: vec![0; capacity * CONTROL],
            ..Self::new(capacity, longest)
        }
    }

    /// Appends a request that leaves from `source`; false if there is no room for it, or sources are not
    /// named.
    pub fn push_from(&mut self, request: &[u8], source: IpAddr) -> bool {
        if self.target.is_empty() || !self.push(request) {
            return false;
        }
        let at = self.filled - 1;
        let (header, control) =
            (&mut self.headers[at].msg_hdr, &mut self.controls[at * CONTROL..][..CONTROL]);
        let arrival = Arrival { destination: source, interface: 0, shared: false };
        self.source_length = cmsg::write_reply_source(control, arrival);
        header.msg_controllen = self.source_length as _;
        header.msg_control = control.as_mut_ptr().cast();
        if let Some(target) = self.target.first() {
            header.msg_name = target.as_ptr().cast_mut().cast();
            header.msg_namelen = target.len();
        }
        true
    }

    /// Appends a request; false if there is no room for it.
    pub fn push(&mut self, request: &[u8]) -> bool {
        let at = self.filled;
        let slot = self.area.get_mut(at * self.slot..(at + 1) * self.slot);
        let Some(place) = slot.and_then(|slot| slot.get_mut(..request.len())) else { return false };
        place.copy_from_slice(request);
        self.vectors[at] = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: place.len() };
        self.headers[at].msg_hdr.msg_iov = &raw mut self.vectors[at];
        self.headers[at].msg_hdr.msg_iovlen = 1;
        self.headers[at].msg_hdr.msg_control = ptr::null_mut();
        self.headers[at].msg_hdr.msg_controllen = 0;
        self.filled += 1;
        true
    }

    /// Asks the kernel to stamp the request that was appended last when it leaves.
    pub fn stamp_last(&mut self) {
        let Some(last) = self.filled.checked_sub(1) else { return };
        let header = &mut self.headers[last].msg_hdr;
        if !self.target.is_empty() {
            let behind = &mut self.controls[last * CONTROL..][self.source_length..CONTROL];
            header.msg_controllen = (self.source_length + cmsg::write_send_stamp(behind)) as _;
        } else {
            header.msg_control = self.stamp.as_mut_ptr().cast();
            header.msg_controllen = self.stamp.len() as _;
        }
        self.stamped = true;
    }

    /// Whether a request of the batch is to be stamped.
    pub fn is_stamped(&self) -> bool {
        self.stamped
    }

    /// The headers of those that wait.
    pub(super) fn waiting(&mut self) -> &mut [libc::mmsghdr] {
        &mut self.headers[self.sent..self.filled]
    }

    /// The first `count` of those that wait have left.
    pub(super) fn note_sent(&mut self, count: usize) {
        self.sent = self.filled.min(self.sent + count);
    }

    /// Requests in the batch, sent and waiting.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Requests that are done with: sent or passed over.
    pub fn done(&self) -> usize {
        self.sent
    }

    /// Passes over the first request that waits.
    pub fn skip(&mut self) {
        self.note_sent(1);
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.stamped = false;
        self.filled = 0;
        self.sent = 0;
    }
}

fn send_stamp() -> Vec<u8> {
    let mut control = vec![0; cmsg::SEND_STAMP_SPACE];
    let length = cmsg::write_send_stamp(&mut control);
    control.truncate(length);
    control
}
