//! One contender under one load for some seconds: what it cost and what it did.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use ntpring::sys::thread::{allowed_cores, pin_to};

use crate::contender::{Contender, Running};
use crate::generator::{Exchange, Generator, Load, Outcome};

/// How slices are measured.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// A loopback address.
    pub address: IpAddr,
    /// Where the contender's thread is pinned.
    pub server_core: usize,
    /// How long each slice is, without its warm-up.
    pub duration: Duration,
}

/// What a slice has shown.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    /// Requests sent per second.
    pub offered: f64,
    /// Replies per second while requests were sent, all of them checked.
    pub answered: f64,
    /// CPU time of the contender's thread per reply, in ns.
    pub cpu_ns: f64,
    /// Share of its core that it used while requests were sent.
    pub utilisation: f64,
    /// System calls that moved datagrams, per reply.
    pub kernel_entries: f64,
}

impl Setting {
    /// The contender goes to the first core that this process may use. The calling thread, which will
    /// generate load, is pinned to the second.
    ///
    /// # Errors
    /// There are no two cores, or the kernel refuses to pin.
    pub fn new(address: IpAddr, duration: Duration) -> io::Result<Self> {
        let [server_core, client_core, ..] = *allowed_cores() else {
            return Err(io::Error::other("two cores are needed, one for the server and one for the load"));
        };
        if !pin_to(client_core) {
            return Err(io::Error::other(format!("cannot pin the generator to core {client_core}")));
        }
        Ok(Self { address, server_core, duration })
    }

    /// Starts `contender`, warms it up under the same load, measures, and ends it. Between loads nothing is
    /// on its way, so CPU time and counters belong to the measured requests alone.
    ///
    /// # Errors
    /// The contender cannot start, or a reply was wrong, or it counted other answers than arrived.
    pub fn measure(
        &self,
        contender: Contender,
        load: Load,
        mut exchanged: impl FnMut(Exchange),
    ) -> io::Result<Slice> {
        const WARM_UP: Duration = Duration::from_millis(200);
        let running = Running::start(contender, self.address, self.server_core)?;
        let mut generator = Generator::new(running.address, contender.tells_time())?;
        generator.offer(load, WARM_UP, &mut |_| ())?;
        generator.settle(&mut |_| ())?;

        let (cpu, before) = (running.cpu.read()?, running.totals());
        generator.offer(load, self.duration, &mut exchanged)?;
        let cpu_in_window = running.cpu.read()? - cpu;
        let outcome = generator.settle(&mut exchanged)?;
        let (cpu, after) = (running.cpu.read()? - cpu, running.totals());
        running.stop()?;

        let counted = after.answered() - before.answered();
        verify(&outcome, counted)
            .map_err(|error| io::Error::other(format!("{}: {error}", contender.name())))?;
        let entries = after.path.kernel_entries - before.path.kernel_entries;
        let window = outcome.window.as_secs_f64();
        Ok(Slice {
            offered: outcome.sent as f64 / window,
            answered: outcome.answered_in_window as f64 / window,
            cpu_ns: cpu.as_secs_f64() * 1e9 / counted as f64,
            utilisation: cpu_in_window.as_secs_f64() / window,
            kernel_entries: entries as f64 / counted as f64,
        })
    }
}

/// A figure per answer is worth nothing unless both sides agree on the answers.
fn verify(outcome: &Outcome, counted: u64) -> Result<(), String> {
    if outcome.answered == 0 || outcome.invalid > 0 {
        return Err(format!("{} right and {} wrong replies", outcome.answered, outcome.invalid));
    }
    if outcome.answered + outcome.dropped_here != counted {
        return Err(format!(
            "it counted {counted} answers, but {} arrived and {} were lost in the generator's queues",
            outcome.answered, outcome.dropped_here
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_must_agree() {
        let outcome = Outcome { answered: 9, dropped_here: 1, ..Outcome::default() };
        assert_eq!(verify(&outcome, 10), Ok(()));
        assert!(verify(&outcome, 11).is_err());
        assert!(verify(&Outcome { invalid: 1, ..outcome }, 10).is_err());
        assert!(verify(&Outcome::default(), 0).is_err());
    }
}
