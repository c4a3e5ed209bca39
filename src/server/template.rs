//! What a reply says about the clock: all of the header but the three stamps of this exchange.

use crate::snapshot::SystemVariables;
use crate::wire::{HEADER_LEN, LeapIndicator, Mode, NtpTimestamp, Packet, ReferenceId};

/// Fills the header of a reply to a request of `version`, whose receive stamp is `received`. The poll field
/// stays the client's (RFC 5905 figure 31: x.poll ← r.poll), the stamps are left to the caller.
pub(super) fn apply(
    system: &SystemVariables,
    version: u8,
    received: NtpTimestamp,
    reply: &mut Packet<&mut [u8; HEADER_LEN]>,
) {
    let root_dispersion = system.root_dispersion_at(received);
    if system.is_synchronised(root_dispersion) {
        reply.set_first(system.leap, version, Mode::Server);
        reply.set_stratum(system.stratum);
        reply.set_reference_id(system.reference_id);
    } else {
        // RFC 5905 §7.3: stratum 16 is mapped to 0 on the wire; the reference identifier then is a kiss code,
        // so that a source's address must not stand there.
        reply.set_first(LeapIndicator::Unsynchronised, version, Mode::Server);
        reply.set_stratum(0);
        reply.set_reference_id(ReferenceId::INIT);
    }
    reply.set_precision(system.precision);
    reply.set_root_delay(system.root_delay);
    reply.set_root_dispersion(root_dispersion);
    reply.set_reference_time(not_after(system.reference_time, received));
}

/// Makes a kiss-o'-death packet of a request (RFC 5905 §7.4), which asks its sender to poll no more often
/// than every 2^`poll` s. It carries no time of ours: what is not set stays the client's, and the stamps
/// become all the same one.
pub(super) fn apply_kiss(version: u8, poll: i8, reply: &mut Packet<&mut [u8; HEADER_LEN]>) {
    let transmit = reply.transmit();
    reply.set_first(LeapIndicator::Unsynchronised, version, Mode::Server);
    reply.set_stratum(0);
    reply.set_poll(reply.poll().max(poll));
    reply.set_reference_id(ReferenceId::RATE);
    reply.set_origin(transmit);
    reply.set_receive(transmit);
}

/// The clock may have been updated while the request waited in the queue; yet no client may see a reference
/// time later than the receive stamp beside it.
fn not_after(reference: NtpTimestamp, received: NtpTimestamp) -> NtpTimestamp {
    if !reference.is_unknown() && received.signed_since(reference) < 0 { received } else { reference }
}
