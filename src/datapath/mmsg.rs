//! The fallback that works everywhere, and the control beside every io_uring figure: recvmmsg and sendmmsg.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Datapath;
use super::translate::Translator;
use crate::limits;
use crate::server::{Datagram, PathTally, SocketTally, Verdict};
use crate::sys::SendChunks;
use crate::sys::mmsg::{MmsgSizes, MmsgSockets};
use crate::sys::socket::ServeSocket;

/// One worker's sockets on recvmmsg and sendmmsg.
pub struct Mmsg {
    sockets: MmsgSockets,
    translator: Translator,
}

impl Mmsg {
    /// Takes the sockets of one worker.
    pub fn new(sockets: Arc<[ServeSocket]>) -> Self {
        Self::with_send_chunks(sockets, super::SEND_CHUNKS)
    }

    /// As `new`, with other numbers of replies that leave together.
    pub fn with_send_chunks(sockets: Arc<[ServeSocket]>, send_chunks: SendChunks) -> Self {
        let translator = Translator::new(&sockets);
        let sizes = MmsgSizes { batch: limits::MMSG_BATCH, send_chunks, payload: limits::REQUEST_MAX };
        Self { sockets: MmsgSockets::new(sockets, sizes), translator }
    }
}

impl Datapath for Mmsg {
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
