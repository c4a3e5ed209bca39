//! Looks names up, away from the thread that follows the clock: a resolver that takes minutes delays no poll.

use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::{io, io::Write};

use crossbeam::channel::{self, Receiver, Sender};
use tracing::warn;

use crate::limits;
use crate::sys::resolve::{self, AddressFamily};
use crate::sys::thread::without_signals;

/// Threads that look names up. There are none as long as there is nothing to look up, and one more whenever
/// all wait for an answer, up to [`limits::RESOLVER_THREADS`].
pub(super) struct Resolver {
    questions: Sender<Question>,
    waiting: Receiver<Question>,
    answers: Receiver<Answer>,
    answered: Sender<Answer>,
    /// Questions without an answer yet.
    open: usize,
    threads: usize,
    waker: Option<UnixStream>,
}

struct Question {
    query: u32,
    host: Arc<str>,
    family: AddressFamily,
}

/// What became of a name.
pub(super) struct Answer {
    /// Of the question.
    pub(super) query: u32,
    /// None, if the name does not exist or nobody could tell.
    pub(super) addresses: Vec<IpAddr>,
}

impl Resolver {
    /// Nothing is looked up yet. `waker` is written to with every answer.
    pub(super) fn new(waker: Option<UnixStream>) -> Self {
        let (questions, waiting) = channel::bounded(limits::RESOLVER_QUEUE);
        let (answered, answers) = channel::bounded(limits::RESOLVER_QUEUE);
        Self { questions, waiting, answers, answered, open: 0, threads: 0, waker }
    }

    /// Asks. False if too many questions wait; then there will be no answer.
    pub(super) fn ask(&mut self, query: u32, host: Arc<str>, family: AddressFamily) -> bool {
        if self.questions.try_send(Question { query, host, family }).is_err() {
            return false;
        }
        self.open += 1;
        if self.open > self.threads && self.threads < limits::RESOLVER_THREADS {
            match self.start() {
                Ok(()) => self.threads += 1,
                Err(error) => warn!("cannot start a thread to look names up: {error}: ulimit -u 4096"),
            }
        }
        true
    }

    /// The next answer that is there.
    pub(super) fn answer(&mut self) -> Option<Answer> {
        let answer = self.answers.try_recv().ok()?;
        self.open -= 1;
        Some(answer)
    }

    fn start(&self) -> io::Result<()> {
        let (waiting, answered) = (self.waiting.clone(), self.answered.clone());
        let mut waker = self.waker.as_ref().map(UnixStream::try_clone).transpose()?;
        // A signal must end the sleep of the thread that looks for it.
        without_signals(|| {
            thread::Builder::new().name("resolver".to_owned()).spawn(move || {
                for Question { query, host, family } in waiting {
                    let addresses = resolve::addresses(&host, family).unwrap_or_default();
                    if answered.send(Answer { query, addresses }).is_err() {
                        return;
                    }
                    // A byte that does not fit says no more than those that wait.
                    let _ = waker.as_mut().map(|waker| waker.write(&[0]));
                }
            })
        })
        .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn every_question_has_its_answer_and_too_many_are_refused() {
        let (mut woken, waker) = UnixStream::pair().unwrap();
        let mut resolver = Resolver::new(Some(waker));
        assert!(resolver.ask(7, "localhost".into(), AddressFamily::V4));
        assert!(resolver.ask(8, "no-such-host.invalid".into(), AddressFamily::Any));
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut answers = Vec::new();
        while answers.len() < 2 {
            assert!(Instant::now() < deadline, "{} answers", answers.len());
            answers
                .extend(std::iter::from_fn(|| resolver.answer()).map(|one| (one.query, one.addresses.len())));
            thread::sleep(Duration::from_millis(5));
        }
        answers.sort_unstable();
        assert_eq!(answers, [(7, 1), (8, 0)]);
        io::Read::read_exact(&mut woken, &mut [0; 2]).unwrap();
        assert_eq!((resolver.open, resolver.threads), (0, 2));

        // A queue without a thread that empties it.
        resolver.threads = limits::RESOLVER_THREADS;
        (resolver.questions, resolver.waiting) = channel::bounded(limits::RESOLVER_QUEUE);
        let asked =
            (0..1000).take_while(|&query| resolver.ask(query, "x".into(), AddressFamily::Any)).count();
        assert_eq!(asked, limits::RESOLVER_QUEUE);
    }
}
