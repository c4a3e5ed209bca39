//! The counts of workers, of the tier in the network driver, of the client and of the control thread itself,
//! in ntpd's words.

use super::{Codes, Controller};
use crate::control::Statistics;
use crate::datapath::Backend;
use crate::limits;
use crate::server::{Reason, Totals};
use crate::xdp;

/// Why requests go unanswered, by ntpd's counter. The rest it does not count, or the kernel told it of.
const BAD_FORMAT: [Reason; 6] = [
    Reason::Short,
    Reason::Misaligned,
    Reason::Extension,
    Reason::Version,
    Reason::OldVersion,
    Reason::MartianSource,
];
const BAD_AUTHENTICATION: [Reason; 3] = [Reason::BadMac, Reason::UnknownKey, Reason::CryptoNak];
const DECLINED: [Reason; 4] =
    [Reason::Mode, Reason::Private, Reason::ClockStepped, Reason::SharedDestination];
const RESTRICTED: [Reason; 4] = [Reason::Ignored, Reason::NoServe, Reason::NoQuery, Reason::NoTrust];
/// What was not sent to this host alone, or not from a client.
const IGNORED: [Reason; 2] = [Reason::MartianSource, Reason::SharedDestination];

impl Controller {
    /// All of them, as of now; `waiting` control messages have not been looked at yet.
    pub(super) fn statistics(&self, waiting: usize) -> Statistics {
        let totals = Totals::sum(self.sources.counters.iter().map(AsRef::as_ref));
        let driver = self.sources.xdp.as_ref().map(xdp::View::totals).unwrap_or_default().answered;
        let dropped = |reasons: &[Reason]| {
            reasons.iter().map(|reason| totals.tally.dropped[*reason as usize]).sum::<u64>()
        };
        let [old_in_driver @ .., this_in_driver] = driver;
        let [old @ .., this_version] = totals.tally.answered;
        let in_driver = driver.iter().sum::<u64>();
        let (traffic, path) = (&self.sources.traffic, &totals.path);
        let Codes { right, wrong, unknown_key, made } = self.codes;
        let decryptions = totals.tally.authentic
            + dropped(&[Reason::BadMac])
            + traffic.authentic.get()
            + traffic.bad_code.get()
            + right
            + wrong;
        let keys_not_found = dropped(&[Reason::UnknownKey]) + traffic.unknown_key.get() + unknown_key;
        let encryptions = totals.tally.signed + traffic.signed.get() + made;
        Statistics {
            // Rounded up: ntpsec's ntpq divides by it.
            uptime: self.started.elapsed().as_secs() + 1,
            received: totals.received() + in_driver + traffic.arrivals(),
            this_version: this_version + this_in_driver + traffic.this_version.get(),
            old_version: old.iter().chain(&old_in_driver).sum::<u64>() + traffic.old_version.get(),
            version_1: old.first().copied().unwrap_or_default()
                + old_in_driver.first().copied().unwrap_or_default(),
            control: self.tally.answered.load(std::sync::atomic::Ordering::Relaxed),
            bad_format: dropped(&BAD_FORMAT) + path.truncated + traffic.bad_format.get(),
            bad_authentication: dropped(&BAD_AUTHENTICATION)
                + traffic.bad_code.get()
                + traffic.unknown_key.get(),
            declined: dropped(&DECLINED),
            restricted: dropped(&RESTRICTED),
            limited: dropped(&[Reason::Limited]) + totals.tally.kod,
            kod_sent: totals.tally.kod,
            processed: traffic.processed.get(),
            dropped: path.rxq_ovfl + path.forward_full,
            ignored: dropped(&IGNORED),
            sent: totals.answered() + in_driver + traffic.sent.get() + self.sent.iter().sum::<u64>(),
            send_failed: path.send_failed + traffic.unsent.get() + self.unsent,
            wakeups: path.wakeups,
            useful_wakeups: path.useful_wakeups,
            buffers: self.buffers(),
            buffers_in_use: waiting as u64,
            buffers_short: path.rearmed,
            timer_overruns: traffic.late_seconds.get(),
            polls: traffic.sent.get(),
            keys: self.keys,
            key_lookups: decryptions + keys_not_found + encryptions,
            keys_not_found,
            encryptions,
            decryptions,
        }
    }

    /// Room for datagrams: the workers', and the queue of control messages.
    fn buffers(&self) -> u64 {
        let each = match self.sources.backend {
            Backend::IoUring => usize::from(limits::URING_BUFFERS),
            Backend::Mmsg => limits::MMSG_BATCH,
        };
        (self.sources.counters.len() * each + limits::FORWARD_QUEUE) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_one_of_ntpds_or_has_none_there() {
        let known = [&BAD_FORMAT[..], &BAD_AUTHENTICATION, &DECLINED, &RESTRICTED, &[Reason::Limited]];
        for reason in Reason::ALL {
            let times =
                known.iter().flat_map(|reasons| reasons.iter()).filter(|known| **known == reason).count();
            let is_of_control = reason == Reason::MalformedControl;
            assert_eq!(times, usize::from(!is_of_control), "{reason:?}");
        }
    }
}
