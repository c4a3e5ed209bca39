//! Load, open loop: requests leave when the schedule says so, whatever has become of earlier ones. Every
//! reply is checked, and counts only if it answers a request of this generator that nothing has answered yet.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use ntpring::sys::clock::{self, Timespec};
use ntpring::sys::exchange::{
    ClientSockets, Exchange as _, ExchangeSizes, MmsgExchange, Reply, RequestBatch,
};
use ntpring::wire::{HEADER_LEN, LeapIndicator, Mode, NtpTimestamp, Packet};

use crate::requests;

/// Source ports.
const CLIENTS: usize = 8;
/// Requests per sendmmsg at overload, and replies per recvmmsg.
const BATCH: usize = 64;
/// Requests that a generator which has fallen behind sends before it looks for replies again.
const CATCH_UP: usize = 16;
/// For each of the clients; at overload all of them together see less than 1 MB of replies between two looks.
const RECEIVE_BUFFER: usize = 8 << 20;
/// Without a reply for so long, none is on its way any more.
const QUIET: Duration = Duration::from_millis(200);

/// How requests are spread over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// As many as this thread can send beside taking the replies in.
    Overload,
    /// So many per second on average, at random moments independent of each other (Poisson), one per system
    /// call.
    Rate(f64),
}

/// What became of the requests of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// How long requests were sent.
    pub window: Duration,
    /// Requests sent.
    pub sent: u64,
    /// Right replies, each to another request.
    pub answered: u64,
    /// Those of them that came while requests were sent.
    pub answered_in_window: u64,
    /// Everything else that came.
    pub invalid: u64,
    /// Replies that came while this side's queue was full.
    pub dropped_here: u64,
}

/// The four times of one exchange: the client's sending, the server's receiving and sending, the client's
/// receiving.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    /// CLOCK_REALTIME, read just before the system call that sends one request.
    pub t1: NtpTimestamp,
    /// The server's receive stamp.
    pub t2: NtpTimestamp,
    /// The server's transmit stamp.
    pub t3: NtpTimestamp,
    /// The kernel's receive stamp of the reply.
    pub t4: NtpTimestamp,
}

impl Exchange {
    /// RFC 5905 §8: theta, the server's clock minus the client's, in ns.
    pub fn offset_ns(&self) -> f64 {
        let sum = self.t2.signed_since(self.t1) as f64 + self.t3.signed_since(self.t4) as f64;
        sum / 2.0 * 1e9 / 2_f64.powi(32)
    }
}

/// One client thread's sockets and the requests it waits for.
pub struct Generator {
    exchange: MmsgExchange,
    batch: RequestBatch,
    ledger: Ledger,
    turn: usize,
    dropped_before: u64,
}

/// What is known of requests and replies; apart from the sockets, which lend the replies.
struct Ledger {
    in_flight: InFlight,
    tells_time: bool,
    outcome: Outcome,
}

impl Generator {
    /// Clients of the server at `target`, which answers with time or else with echoes.
    ///
    /// # Errors
    /// What the kernel says when a socket cannot be had.
    pub fn new(target: SocketAddr, tells_time: bool) -> io::Result<Self> {
        let any: IpAddr =
            if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let sizes = ExchangeSizes { batch: BATCH, payload: HEADER_LEN };
        let sockets =
            ClientSockets::connect(&[any; CLIENTS], target, RECEIVE_BUFFER).map_err(|(_, error)| error)?;
        let exchange = MmsgExchange::new(sockets, sizes)?;
        let ledger = Ledger { in_flight: InFlight::new(), tells_time, outcome: Outcome::default() };
        Ok(Self { exchange, batch: RequestBatch::new(BATCH, HEADER_LEN), ledger, turn: 0, dropped_before: 0 })
    }

    /// Offers `load` for so long. `exchanged` sees every exchange that is complete and stamped by the kernel.
    ///
    /// # Errors
    /// What the kernel says about a socket; ECONNREFUSED when the server is gone.
    pub fn offer(
        &mut self,
        load: Load,
        duration: Duration,
        exchanged: &mut impl FnMut(Exchange),
    ) -> io::Result<()> {
        self.offer_beside(load, duration, &mut |_| {}, exchanged)
    }

    /// The same. `beside` sends something else, as much as is due after so long: a thread of its own would
    /// have the core when the scheduler says so, in bursts, and between a request's stamp and its sending.
    ///
    /// # Errors
    /// What the kernel says about a socket; ECONNREFUSED when the server is gone.
    pub fn offer_beside(
        &mut self,
        load: Load,
        duration: Duration,
        beside: &mut impl FnMut(Duration),
        exchanged: &mut impl FnMut(Exchange),
    ) -> io::Result<()> {
        self.ledger.outcome = Outcome::default();
        self.dropped_before = self.exchange.sockets().drops()?;
        let start = Instant::now();
        let mut due = Duration::ZERO;
        loop {
            let elapsed = start.elapsed();
            if elapsed >= duration {
                self.ledger.outcome.window = elapsed;
                self.ledger.outcome.answered_in_window = self.ledger.outcome.answered;
                return Ok(());
            }
            match load {
                Load::Overload => self.send(BATCH)?,
                Load::Rate(rate) => self.send_due(&mut due, elapsed, rate)?,
            }
            beside(elapsed);
            self.receive(exchanged)?;
        }
    }

    /// Waits until no reply is on its way; then the outcome of the last `offer` is complete.
    ///
    /// # Errors
    /// What the kernel says about a socket.
    pub fn settle(&mut self, exchanged: &mut impl FnMut(Exchange)) -> io::Result<Outcome> {
        self.settle_unless(|_| false, exchanged)
    }

    /// The same, but at once when every request is answered: a second answer to one would come too late.
    ///
    /// # Errors
    /// What the kernel says about a socket.
    pub fn settle_answered(&mut self, exchanged: &mut impl FnMut(Exchange)) -> io::Result<Outcome> {
        self.settle_unless(|outcome| outcome.answered == outcome.sent, exchanged)
    }

    fn settle_unless(
        &mut self,
        is_complete: impl Fn(&Outcome) -> bool,
        exchanged: &mut impl FnMut(Exchange),
    ) -> io::Result<Outcome> {
        let mut last = Instant::now();
        while last.elapsed() < QUIET && !is_complete(&self.ledger.outcome) {
            self.exchange.wait(QUIET)?;
            if self.receive(exchanged)? > 0 {
                last = Instant::now();
            }
        }
        Ok(Outcome {
            dropped_here: self.exchange.sockets().drops()? - self.dropped_before,
            ..self.ledger.outcome
        })
    }

    fn send_due(&mut self, due: &mut Duration, elapsed: Duration, rate: f64) -> io::Result<()> {
        for _ in 0..CATCH_UP {
            if *due > elapsed {
                break;
            }
            self.send(1)?;
            // Exponential gaps; 1 - f64() is never zero.
            *due += Duration::from_secs_f64(-(1.0 - fastrand::f64()).ln() / rate);
        }
        Ok(())
    }

    /// Sends `count` requests with one system call.
    fn send(&mut self, count: usize) -> io::Result<()> {
        self.batch.clear();
        let now = to_ntp(clock::realtime());
        for _ in 0..count {
            self.batch.push(&requests::time(4, self.ledger.in_flight.issue(now)));
        }
        self.turn = (self.turn + 1) % CLIENTS;
        self.ledger.outcome.sent += self.exchange.send(self.turn, &mut self.batch)? as u64;
        Ok(())
    }

    fn receive(&mut self, exchanged: &mut impl FnMut(Exchange)) -> io::Result<usize> {
        self.exchange.receive(&mut |reply: &Reply<'_>| self.ledger.note(reply, exchanged))
    }
}

impl Ledger {
    fn note(&mut self, reply: &Reply<'_>, exchanged: &mut impl FnMut(Exchange)) {
        match self.accept(reply) {
            Some(exchange) => {
                self.outcome.answered += 1;
                exchanged(exchange);
            }
            None => self.outcome.invalid += 1,
        }
    }

    /// The exchange that this reply completes, if it is right in every way.
    fn accept(&mut self, reply: &Reply<'_>) -> Option<Exchange> {
        let payload: &[u8; HEADER_LEN] = reply.payload?.try_into().ok()?;
        let packet = Packet::new_checked(payload).ok()?;
        let cookie = if self.tells_time { cookie_of_time(&packet)? } else { cookie_of_echo(&packet)? };
        let t1 = self.in_flight.settle(cookie)?;
        Some(Exchange { t1, t2: packet.receive(), t3: packet.transmit(), t4: to_ntp(reply.stamp?) })
    }
}

/// The request that a reply with usable time is about.
fn cookie_of_time(packet: &Packet<&[u8; HEADER_LEN]>) -> Option<u64> {
    let right = packet.mode() == Mode::Server
        && packet.version() == 4
        && packet.leap() != LeapIndicator::Unsynchronised
        && (1..16).contains(&packet.stratum())
        && !packet.receive().is_unknown()
        && packet.transmit().signed_since(packet.receive()) > 0;
    right.then(|| packet.origin().to_bits())
}

/// The request that came back as it was sent.
fn cookie_of_echo(packet: &Packet<&[u8; HEADER_LEN]>) -> Option<u64> {
    let right = packet.mode() == Mode::Client && packet.origin().is_unknown();
    right.then(|| packet.transmit().to_bits())
}

/// The requests that wait for a reply, by their cookies: the low bits are a place in the table, the others
/// are random. A request that nothing has answered when its place comes round again is given up.
struct InFlight {
    places: Box<[Option<(u64, NtpTimestamp)>]>,
    next: u64,
}

impl InFlight {
    /// More than a second's requests: what a server has in its queue when it is held up so long, it still
    /// answers.
    const PLACES: u64 = 1 << 20;

    fn new() -> Self {
        Self { places: vec![None; Self::PLACES as usize].into_boxed_slice(), next: 0 }
    }

    /// A cookie for a request that is sent at `t1`.
    fn issue(&mut self, t1: NtpTimestamp) -> u64 {
        let place = self.next % Self::PLACES;
        self.next += 1;
        let cookie = fastrand::u64(1..) / Self::PLACES * Self::PLACES + place;
        self.places[place as usize] = Some((cookie, t1));
        cookie
    }

    /// When the request with this cookie was sent; only once.
    fn settle(&mut self, cookie: u64) -> Option<NtpTimestamp> {
        let (_, t1) =
            self.places[(cookie % Self::PLACES) as usize].take_if(|(issued, _)| *issued == cookie)?;
        Some(t1)
    }
}

fn to_ntp(time: Timespec) -> NtpTimestamp {
    NtpTimestamp::from_unix(time.seconds, time.nanoseconds)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread;

    use ntpring::wire::field;

    use super::*;

    /// Answers every request by `replies`, until a request is not 48 octets long.
    fn serve(replies: impl Fn(&[u8; HEADER_LEN]) -> Vec<[u8; HEADER_LEN]> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        thread::spawn(move || {
            let mut request = [0; HEADER_LEN];
            while let Ok((HEADER_LEN, peer)) = socket.recv_from(&mut request) {
                for reply in replies(&request) {
                    socket.send_to(&reply, peer).unwrap();
                }
            }
        });
        address
    }

    /// Offers some requests and waits until `replies` to each have come, however busy this machine is.
    fn run(target: SocketAddr, tells_time: bool, replies: u64) -> Outcome {
        let mut generator = Generator::new(target, tells_time).unwrap();
        generator.offer(Load::Rate(2000.0), Duration::from_millis(100), &mut |_| ()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let outcome = loop {
            let outcome = generator.settle(&mut |_| ()).unwrap();
            if outcome.answered + outcome.invalid == replies * outcome.sent || Instant::now() > deadline {
                break outcome;
            }
        };
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().send_to(&[], target).unwrap();
        assert!((1..400).contains(&outcome.sent), "200 on average: {outcome:?}");
        outcome
    }

    fn reply_to(request: &[u8; HEADER_LEN]) -> [u8; HEADER_LEN] {
        let mut reply = *request;
        let mut packet = Packet::new_checked(&mut reply).unwrap();
        packet.set_first(LeapIndicator::None, 4, Mode::Server);
        packet.set_stratum(4);
        packet.set_origin(packet.transmit());
        packet.set_receive(NtpTimestamp::from_bits(1));
        packet.set_transmit(NtpTimestamp::from_bits(2));
        reply
    }

    #[test]
    fn right_replies_are_answers() {
        let outcome = run(serve(|request| vec![reply_to(request)]), true, 1);
        assert_eq!((outcome.answered, outcome.invalid), (outcome.sent, 0));
        let outcome = run(serve(|request| vec![*request]), false, 1);
        assert_eq!((outcome.answered, outcome.invalid), (outcome.sent, 0));
    }

    #[test]
    fn an_echo_is_no_time_and_time_is_no_echo() {
        let outcome = run(serve(|request| vec![*request]), true, 1);
        assert_eq!((outcome.answered, outcome.invalid), (0, outcome.sent));
        let outcome = run(serve(|request| vec![reply_to(request)]), false, 1);
        assert_eq!((outcome.answered, outcome.invalid), (0, outcome.sent));
    }

    #[test]
    fn a_second_reply_and_a_wrong_origin_are_not_counted() {
        let outcome = run(serve(|request| vec![reply_to(request); 2]), true, 2);
        assert_eq!((outcome.answered, outcome.invalid), (outcome.sent, outcome.sent));
        let wrong = |request: &[u8; HEADER_LEN]| {
            let mut reply = reply_to(request);
            reply[field::ORIGIN.start] ^= 1;
            vec![reply]
        };
        let outcome = run(serve(wrong), true, 1);
        assert_eq!((outcome.answered, outcome.invalid), (0, outcome.sent));
    }

    #[test]
    fn an_offset_is_half_of_what_one_way_takes_longer() {
        let at = |nanoseconds| NtpTimestamp::from_unix(1_767_225_600, nanoseconds);
        let exchange = Exchange { t1: at(1000), t2: at(2000), t3: at(3000), t4: at(8000) };
        assert!((exchange.offset_ns() + 2000.0).abs() < 1.0, "{exchange:?}");
    }
}
