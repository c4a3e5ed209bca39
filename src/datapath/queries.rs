//! Control messages on their way from workers to the one thread that answers them. Whatever that thread is
//! doing, or is kept from doing, a worker never waits for it.

use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use crossbeam::channel::{self, Receiver, Sender};

use super::Query;
use crate::limits;

/// A worker's end.
#[derive(Clone, Debug)]
pub struct QuerySender {
    // Dropped in this order: who is woken last finds the queue closed.
    queue: Sender<Query>,
    reader: Reader,
}

/// Who reads, once that is known: woken for every message, and when a sender has gone.
#[derive(Clone, Debug, Default)]
struct Reader(Arc<OnceLock<Thread>>);

impl Reader {
    fn wake(&self) {
        if let Some(thread) = self.0.get() {
            thread.unpark();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.wake();
    }
}

/// Both ends. The receiver is to be read without waiting in it, or senders would meet it in its lock.
pub fn queries() -> (QuerySender, Receiver<Query>) {
    // More room than is ever used: a reader that is held up while it takes a message keeps that one's place,
    // and a sender that came round to it would have to wait. Each worker may be one message too far.
    let (queue, inbox) = channel::bounded(limits::FORWARD_QUEUE + limits::WORKERS_MAX + 1);
    (QuerySender { queue, reader: Reader::default() }, inbox)
}

impl QuerySender {
    /// Which thread is woken when there is something to read; the first one that is named.
    pub fn wake(&self, reader: Thread) {
        let _ = self.reader.0.set(reader);
    }

    /// False when there is no room.
    pub(super) fn send(&self, query: Query) -> bool {
        if self.queue.len() >= limits::FORWARD_QUEUE {
            return false;
        }
        // Without a reader there is nobody to tell, and nothing to count.
        let _ = self.queue.try_send(query);
        self.reader.wake();
        true
    }
}
