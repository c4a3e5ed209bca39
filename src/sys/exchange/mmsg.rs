//! The engine that works everywhere: sendmmsg, and recvmmsg on the sockets that epoll names.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;
use std::{io, ptr};

use super::{
    ClientSockets, Exchange, ExchangeSizes, HEADERS_SPACE, Reply, RequestBatch, Seen, Visitor,
    is_unreachable, tell_stamp,
};
use crate::sys::check;
use crate::sys::mmsg::ReceiveBatch;

/// Client sockets and the memory for one batch of replies.
pub struct MmsgExchange {
    sockets: ClientSockets,
    epoll: OwnedFd,
    ready: Box<[libc::epoll_event]>,
    replies: ReceiveBatch,
    /// Requests that come back stamped, behind the headers they left with.
    errors: ReceiveBatch,
    /// The client whose marked requests left last, until their stamps are read.
    marked: Option<usize>,
    unreachable: u64,
}

impl MmsgExchange {
    /// Takes the sockets.
    ///
    /// # Errors
    /// What the kernel says when it cannot watch them.
    pub fn new(sockets: ClientSockets, sizes: ExchangeSizes) -> io::Result<Self> {
        let epoll = new_epoll()?;
        sockets
            .descriptors()
            .enumerate()
            .try_for_each(|(client, socket)| watch(&epoll, socket, client as u64))?;
        Ok(Self {
            ready: vec![libc::epoll_event { events: 0, u64: 0 }; sizes.batch].into_boxed_slice(),
            replies: ReceiveBatch::new(sizes.batch, sizes.payload),
            errors: ReceiveBatch::new(sizes.batch, sizes.payload + HEADERS_SPACE),
            marked: None,
            sockets,
            epoll,
            unreachable: 0,
        })
    }

    /// Takes at most one batch of what has come to one socket and looks at none of it; returns how many
    /// datagrams it was. It is one recvmmsg and nothing else: what every other way to receive is measured by.
    ///
    /// # Errors
    /// What the kernel says about the socket.
    pub fn discard(&mut self, client: usize) -> io::Result<usize> {
        match self.replies.receive(self.sockets.of(client)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            result => result,
        }
    }

    /// Hands over the send stamps of one client, as far as they are there.
    fn read_stamps(&mut self, client: usize, visitor: &mut impl Visitor) {
        // Whatever else the error queue may say, the next call on the socket says too.
        while let Ok(read @ 1..) = self.errors.receive_with(self.sockets.of(client), libc::MSG_ERRQUEUE) {
            for slot in 0..read {
                if let Some((_, parts)) = self.errors.parts(slot) {
                    tell_stamp(&parts, visitor);
                }
            }
        }
    }

    fn read_replies(&mut self, client: usize, visitor: &mut impl Visitor) -> io::Result<usize> {
        let received = self.replies.receive(self.sockets.of(client))?;
        let seen = Seen::now();
        let target = self.sockets.target();
        for slot in 0..received {
            let parts = self.replies.parts(slot).map(|(_, parts)| parts);
            visitor.replied(&Reply::new(client, seen, target, parts));
        }
        Ok(received)
    }

    /// Asks which sockets have something; returns how many do.
    fn poll(&mut self) -> io::Result<usize> {
        let room = self.ready.len() as libc::c_int;
        // SAFETY: `ready` is valid for writing `room` events and borrowed exclusively.
        let ready = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), self.ready.as_mut_ptr(), room, 0) };
        match check(ready) {
            Ok(ready) => Ok(ready as usize),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }
}

impl Exchange for MmsgExchange {
    fn sockets(&self) -> &ClientSockets {
        &self.sockets
    }

    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let mut entry = libc::pollfd { fd: self.epoll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        // SAFETY: one pollfd and one timespec, both live for the call; a null signal mask changes nothing.
        match check(unsafe { libc::ppoll(&raw mut entry, 1, &raw const timeout, ptr::null()) }) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn send(&mut self, client: usize, requests: &mut RequestBatch) -> io::Result<usize> {
        if requests.is_stamped() {
            self.marked = Some(client);
        }
        self.sockets.send(client, requests)
    }

    /// At most one batch of every socket that has something.
    fn receive(&mut self, visitor: &mut impl Visitor) -> io::Result<usize> {
        // Usually the stamps are there at once after sending; epoll tells of those that are not.
        if let Some(client) = self.marked.take() {
            self.read_stamps(client, visitor);
        }
        let mut total = 0;
        for at in 0..self.poll()? {
            let libc::epoll_event { events, u64: client } = self.ready[at];
            let client = client as usize;
            if self.sockets.is_stamping() && events & libc::EPOLLERR as u32 != 0 {
                self.read_stamps(client, visitor);
            }
            match self.read_replies(client, visitor) {
                Ok(received) => total += received,
                Err(error) if is_unreachable(&error) => self.unreachable += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn unreachable(&self) -> u64 {
        self.unreachable
    }
}

fn new_epoll() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the descriptor that comes back is new and owned by nobody else.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::epoll_create1(libc::EPOLL_CLOEXEC))?)) }
}

fn watch(epoll: &OwnedFd, socket: RawFd, client: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: client };
    // SAFETY: `event` lives for the call, which copies it; both descriptors are open.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket, &raw mut event) })
        .map(drop)
}
