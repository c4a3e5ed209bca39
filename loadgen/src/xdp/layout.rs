//! What lies in the programs' maps, as load.h has it: structures of words, of which the kernel's side knows
//! the names. As arrays of words they need no promise about their bytes.

/// `struct plan` there.
pub(super) type PlanWords = [u64; 23 + FRAME_WORDS];
/// `struct sender`.
pub(super) type SenderWords = [u64; 6];
/// `struct received`.
pub(super) type ReceivedWords = [u64; 4 + 3 + 5];
/// `struct sample`, in octets.
pub(super) const SAMPLE_LEN: usize = 40;

/// As FRAME_WORDS there.
pub(super) const FRAME_WORDS: usize = 14;

/// As `struct plan` there.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Plan {
    pub(super) start: u64,
    pub(super) until: u64,
    pub(super) counts_from: u64,
    pub(super) timeout: u64,
    pub(super) interval: u64,
    pub(super) key: u64,
    pub(super) sample: u64,
    pub(super) slots: u64,
    pub(super) threads: u64,
    pub(super) ifindex: u64,
    pub(super) ipv6: u64,
    pub(super) learning: u64,
    pub(super) first_port: u64,
    pub(super) ports: u64,
    pub(super) network: [u64; 2],
    pub(super) hosts: [u64; 2],
    pub(super) target: [u64; 2],
    pub(super) target_port: u64,
    pub(super) ip_sum: u64,
    pub(super) udp_sum: u64,
    pub(super) frame: [u64; FRAME_WORDS],
}

impl Plan {
    pub(super) fn words(&self) -> PlanWords {
        let head = [
            self.start,
            self.until,
            self.counts_from,
            self.timeout,
            self.interval,
            self.key,
            self.sample,
            self.slots,
            self.threads,
            self.ifindex,
            self.ipv6,
            self.learning,
            self.first_port,
            self.ports,
            self.network[0],
            self.network[1],
            self.hosts[0],
            self.hosts[1],
            self.target[0],
            self.target[1],
            self.target_port,
            self.ip_sum,
            self.udp_sum,
        ];
        let mut words = [0; 23 + FRAME_WORDS];
        words[..23].copy_from_slice(&head);
        words[23..].copy_from_slice(&self.frame);
        words
    }
}

/// As `struct sender` there, of one core.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sender {
    pub(super) thread: u64,
    pub(super) number: u64,
    pub(super) left: u64,
    pub(super) due: u64,
    pub(super) sent: u64,
    pub(super) behind: u64,
}

impl Sender {
    pub(super) fn words(self) -> SenderWords {
        [self.thread, self.number, self.left, self.due, self.sent, self.behind]
    }

    pub(super) fn read([thread, number, left, due, sent, behind]: SenderWords) -> Self {
        Self { thread, number, left, due, sent, behind }
    }
}

/// As `struct received` there, of all cores.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Received {
    pub(super) answered: u64,
    pub(super) unsynchronised: u64,
    pub(super) late: u64,
    pub(super) duplicate: u64,
    /// In the order of Kod.
    pub(super) kod: [u64; 3],
    /// In the order of Invalid.
    pub(super) invalid: [u64; 5],
}

impl Received {
    pub(super) fn sum<'a>(cores: impl Iterator<Item = &'a ReceivedWords>) -> Self {
        let mut sum = ReceivedWords::default();
        for core in cores {
            sum.iter_mut().zip(core).for_each(|(sum, count)| *sum += count);
        }
        let [answered, unsynchronised, late, duplicate, kod @ .., a, b, c, d, e] = sum;
        Self { answered, unsynchronised, late, duplicate, kod, invalid: [a, b, c, d, e] }
    }

    /// Requests that need not be waited for any more.
    pub(super) fn settled(&self) -> u64 {
        self.answered + self.late + self.kod.iter().sum::<u64>()
    }
}

/// As `struct sample` there: one answered request, in nanoseconds of CLOCK_MONOTONIC and as the server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) due: u64,
    pub(super) sent: u64,
    pub(super) arrived: u64,
    pub(super) receive: u64,
    pub(super) transmit: u64,
}

impl Sample {
    /// `None` if it has another length, which it never has.
    pub(super) fn read(octets: &[u8]) -> Option<Self> {
        let octets: &[u8; SAMPLE_LEN] = octets.try_into().ok()?;
        let (words, _) = octets.as_chunks::<8>();
        let [due, sent, arrived, receive, transmit] = *words else { return None };
        Some(Self {
            due: u64::from_ne_bytes(due),
            sent: u64::from_ne_bytes(sent),
            arrived: u64::from_ne_bytes(arrived),
            receive: u64::from_ne_bytes(receive),
            transmit: u64::from_ne_bytes(transmit),
        })
    }
}
