//! The default: io_uring with multishot receives.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Datapath;
use super::translate::Translator;
use crate::limits;
use crate::server::{Datagram, PathTally, SocketTally, Verdict};
use crate::sys::SendChunks;
use crate::sys::socket::ServeSocket;
use crate::sys::uring::{UringSizes, UringSockets};

/// One worker's sockets on an io_uring of its own.
pub struct Uring {
    sockets: UringSockets,
    translator: Translator,
}

impl Uring {
    /// Builds the ring on the calling thread, which must be the one that serves. Fails where io_uring is
    /// forbidden or too old.
    pub fn new(sockets: Arc<[ServeSocket]>) -> io::Result<Self> {
        Self::with_send_chunks(sockets, super::SEND_CHUNKS)
    }

    /// As `new`, with other numbers of replies that leave together.
    pub fn with_send_chunks(sockets: Arc<[ServeSocket]>, send_chunks: SendChunks) -> io::Result<Self> {
        let translator = Translator::new(&sockets);
        let sizes = UringSizes {
            entries: limits::URING_ENTRIES,
            completions: limits::URING_COMPLETIONS,
            buffers: limits::URING_BUFFERS,
            send_chunks,
            payload: limits::REQUEST_MAX,
        };
        Ok(Self { sockets: UringSockets::new(sockets, sizes)?, translator })
    }
}

impl Datapath for Uring {
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        self.sockets.wait(timeout)
    }

    fn drain(&mut self, mut serve: impl FnMut(Datagram<'_>) -> Verdict) -> io::Result<PathTally> {
        let Self { sockets, translator } = self;
        sockets.drain(|received| translator.serve(received, &mut serve))?;
        Ok(translator.total(sockets.tally(), sockets.refused()))
    }

    fn by_socket(&self) -> &[SocketTally] {
        self.translator.by_socket()
    }
}
