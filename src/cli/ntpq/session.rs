//! One conversation with one server: a question at a time, asked again once if nothing comes.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::interrupt::{self, Woken};
use crate::auth::Key;
use crate::control::{
    Answer, Assembly, ErrorCode, Opcode, Response, Variable, is_error, is_signed, parse, request, signed,
};

/// How long the first datagram of a response is waited for, unless `timeout` says otherwise.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// How long the next one is waited for, at most, once the first has come.
const NEXT_TIMEOUT: Duration = Duration::from_secs(3);
/// A question is asked so often.
const TRIES: usize = 2;
/// Larger than any datagram of the control protocol.
const DATAGRAM_MAX: usize = 2048;

/// Why a question has no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing came, in `TRIES` tries.
    Silent,
    /// Something came, but not all of it.
    Incomplete,
    /// Something came, not made with the key of the question.
    NotSigned(u16),
    /// The server refuses.
    Refused(ErrorCode),
    /// The user has waited long enough.
    Interrupted,
    /// The kernel, or the server's host, refuses.
    Io(io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("***Request timed out"),
            Self::Incomplete => f.write_str("***Response from server was incomplete"),
            Self::NotSigned(id) => write!(f, "***The response is not signed with key {id}"),
            Self::Refused(code) => code.fmt(f),
            Self::Interrupted => f.write_str("***Interrupted"),
            Self::Io(error) => write!(f, "ntpq: read: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Asks the questions. Tests play a server behind it.
pub(super) trait Ask {
    /// The response to one request.
    fn ask(&mut self, opcode: Opcode, association: u16, data: &[u8]) -> Result<Response, Failure>;

    /// Signs what is asked from now on, or does not; the responses must be signed as well.
    fn sign_with(&mut self, _key: Option<Key>) {}

    /// Variables of an association, or of the system (0), with its status word: those named, in the
    /// server's order, or its usual ones.
    fn variables(&mut self, association: u16, names: &[&str]) -> Result<(u16, Vec<Variable>), Failure> {
        let response = self.ask(Opcode::ReadVariables, association, names.join(",").as_bytes())?;
        Ok((response.status, parse(&response.data)))
    }

    /// The same, without those that the server does not know. One unknown name spoils a request, so they are
    /// asked for one by one then.
    fn known_variables(&mut self, association: u16, names: &[&str]) -> Result<(u16, Vec<Variable>), Failure> {
        match self.variables(association, names) {
            Err(Failure::Refused(ErrorCode::UnknownVariable)) => {}
            result => return result,
        }
        let mut known = (0, Vec::new());
        for name in names {
            match self.variables(association, &[name]) {
                Ok((status, variables)) => {
                    known.0 = status;
                    known.1.extend(variables);
                }
                Err(Failure::Refused(ErrorCode::UnknownVariable)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(known)
    }

    /// All associations, in the server's order, each with its status word; and the system's status word.
    fn associations(&mut self) -> Result<(u16, Vec<(u16, u16)>), Failure> {
        let response = self.ask(Opcode::ReadStatus, 0, &[])?;
        let pair = |octets: &[u8; 4]| {
            let [a, b, c, d] = *octets;
            (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
        };
        Ok((response.status, response.data.as_chunks().0.iter().map(pair).collect()))
    }
}

/// A server, and the socket it is asked through.
pub(super) struct Session {
    socket: UdpSocket,
    /// What its messages are about, in ntpq's words.
    name: String,
    timeout: Duration,
    sequence: u16,
    key: Option<Key>,
    /// Responses that should have been signed.
    unsigned: bool,
}

impl Session {
    /// A socket that hears from `server` alone.
    pub(super) fn open(server: SocketAddr, name: &str, timeout: Duration) -> io::Result<Self> {
        let any = match server.ip() {
            IpAddr::V4(_) => SocketAddr::from(([0, 0, 0, 0], 0)),
            IpAddr::V6(_) => SocketAddr::from(([0; 16], 0)),
        };
        let socket = UdpSocket::bind(any)?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, name: name.to_owned(), timeout, sequence: 0, key: None, unsigned: false })
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Takes datagrams until the response is whole, or the time is over.
    fn collect(&mut self, assembly: &mut Assembly) -> Result<Option<Response>, Failure> {
        let mut deadline = Instant::now() + self.timeout;
        let mut buffer = [0; DATAGRAM_MAX];
        loop {
            let patience = deadline.saturating_duration_since(Instant::now());
            if patience.is_zero() {
                return Ok(None);
            }
            match interrupt::wait(&self.socket, Some(patience))? {
                Woken::Ready => {}
                Woken::Interrupted => return Err(Failure::Interrupted),
                Woken::TimedOut => continue,
            }
            let received = match self.socket.recv(&mut buffer) {
                Ok(received) => received,
                // What woke us was damaged, say.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            let datagram = &buffer[..received];
            // Who does not know the key cannot sign that it refuses.
            if self.key.as_ref().is_some_and(|key| !is_error(datagram) && !is_signed(datagram, key)) {
                self.unsigned = true;
                continue;
            }
            let had_begun = assembly.has_begun();
            match assembly.take(datagram) {
                Answer::Whole(response) => return Ok(Some(response)),
                Answer::Refused(code) => return Err(Failure::Refused(code)),
                Answer::Incomplete if assembly.has_begun() && !had_begun => {
                    deadline = Instant::now() + self.timeout.min(NEXT_TIMEOUT);
                }
                Answer::Incomplete => {}
            }
        }
    }
}

impl Ask for Session {
    fn sign_with(&mut self, key: Option<Key>) {
        self.key = key;
    }

    fn ask(&mut self, opcode: Opcode, association: u16, data: &[u8]) -> Result<Response, Failure> {
        self.unsigned = false;
        for attempt in 1..=TRIES {
            // A number of its own for every try: a late answer to the first must not mix with the second's.
            self.sequence = self.sequence.wrapping_add(1);
            let mut assembly = Assembly::new(opcode, self.sequence, association);
            let question = request(opcode, self.sequence, association, data);
            self.socket.send(&match &self.key {
                Some(key) => signed(question, key),
                None => question,
            })?;
            match self.collect(&mut assembly)? {
                Some(response) => return Ok(response),
                None if attempt < TRIES => {}
                None if assembly.has_begun() => {
                    super::complain(format_args!("{}: timed out with incomplete data", self.name));
                    return Err(Failure::Incomplete);
                }
                None => {}
            }
        }
        if let Some(key) = self.key.as_ref().filter(|_| self.unsigned) {
            return Err(Failure::NotSigned(key.id()));
        }
        super::complain(format_args!("{}: timed out, nothing received", self.name));
        Err(Failure::Silent)
    }
}

/// The associations that `as` has shown last, so that `&1` means the first of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown(pub(super) VecDeque<u16>);

impl Shown {
    /// Of a list with status words.
    pub(super) fn of(list: &[(u16, u16)]) -> Self {
        Self(list.iter().map(|(association, _)| *association).collect())
    }

    /// An association by its number, or by `&` and its place in the list.
    ///
    /// # Errors
    /// Why it is none, in ntpq's words.
    pub(super) fn association(&self, word: &str) -> Result<u16, String> {
        let Some(place) = word.strip_prefix('&') else {
            return word.parse().map_err(|_| format!("***Invalid association ID {word} specified"));
        };
        let index = place.parse::<usize>().ok().and_then(|place| place.checked_sub(1));
        index.and_then(|index| self.0.get(index)).copied().ok_or_else(|| {
            format!(
                "***Association index `{word}' out of range [1..{}]; the list is that of the last `as'",
                self.0.len()
            )
        })
    }
}
