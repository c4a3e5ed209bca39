//! Which clients have had a reply, and of when: what interleaved requests (RFC 9769) go on.

/// The receive timestamps of the last replies to clients, of as many clients as there is room for.
#[derive(Debug)]
pub(crate) struct Acquaintances {
    /// A client's place is its number modulo the size; whoever has a reply later takes it over.
    last: Box<[Last]>,
    /// Who made the request in each place of the in-flight table.
    askers: Box<[u64]>,
}

/// The last reply to one client.
#[derive(Clone, Copy, Debug)]
struct Last {
    client: u64,
    /// 0 if it may not be named any more.
    received: u64,
}

/// How many clients are remembered at most, by each thread: 16 MiB.
const CLIENTS_MAX: u64 = 1 << 20;
/// No client has this number.
const NOBODY: u64 = u64::MAX;

impl Acquaintances {
    /// For `clients` who ask, with `places` in the in-flight table.
    pub(crate) fn new(clients: u64, places: usize) -> Self {
        let size = clients.clamp(1, CLIENTS_MAX) as usize;
        Self {
            last: vec![Last { client: NOBODY, received: 0 }; size].into_boxed_slice(),
            askers: vec![NOBODY; places].into_boxed_slice(),
        }
    }

    /// The request that is about to get `place` is this client's: the receive timestamp of its last reply, 0
    /// if there is none.
    pub(crate) fn ask(&mut self, place: usize, client: u64) -> u64 {
        self.askers[place] = client;
        let last = self.last[self.place(client)];
        if last.client == client { last.received } else { 0 }
    }

    /// RFC 9769 §2: a server keeps each transmit timestamp for one request only.
    pub(crate) fn forget(&mut self, client: u64) {
        let last = &mut self.last[self.place(client)];
        if last.client == client {
            last.received = 0;
        }
    }

    /// The request in `place` has its reply.
    pub(crate) fn answered(&mut self, place: usize, received: u64) {
        let client = self.askers[place];
        self.last[self.place(client)] = Last { client, received };
    }

    fn place(&self, client: u64) -> usize {
        (client % self.last.len() as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_names_its_own_last_reply_once() {
        let mut met = Acquaintances::new(4, 8);
        assert_eq!([met.ask(0, 1), met.ask(1, 2)], [0, 0]);
        met.answered(1, 222);
        met.answered(0, 111);
        assert_eq!([met.ask(2, 1), met.ask(3, 2), met.ask(4, 3)], [111, 222, 0]);
        met.forget(1);
        assert_eq!([met.ask(5, 1), met.ask(6, 2)], [0, 222]);
        met.answered(5, 333);
        assert_eq!(met.ask(7, 1), 333);
    }

    #[test]
    fn of_too_many_clients_the_latest_are_remembered() {
        let mut met = Acquaintances::new(1 << 40, 2);
        assert_eq!(met.last.len() as u64, CLIENTS_MAX);
        let (early, late) = (5, 5 + CLIENTS_MAX);
        met.ask(0, early);
        met.answered(0, 111);
        met.ask(1, late);
        met.answered(1, 222);
        assert_eq!([met.ask(0, early), met.ask(0, late)], [0, 222]);
        met.forget(early);
        assert_eq!(met.ask(0, late), 222, "it is not the other's to forget");
    }
}
