//! What an interface's driver can do with XDP, asked from the kernel's `netdev` family (Linux 6.3).

use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;

/// The family that knows the others, one of its commands, and two attributes (linux/genetlink.h).
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;

/// One command of the family `netdev`, and two attributes (linux/netdev.h).
const GET_DEVICE: u8 = 1;
const INTERFACE_INDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;

/// Whether the driver of the interface with this number runs XDP programs itself, as it is set now.
///
/// # Errors
/// The kernel is older than Linux 6.3, or a filter keeps this process from asking.
pub fn runs_xdp(index: u32) -> io::Result<bool> {
    const BASIC: u64 = 1;
    Ok(xdp_features(index)? & BASIC != 0)
}

/// Whether the driver sends frames that an XDP program made or redirected: a veth does while its other end
/// receives through NAPI (GRO on, or an XDP program there).
///
/// # Errors
/// As [`runs_xdp`].
pub fn sends_frames(index: u32) -> io::Result<bool> {
    const SENDS: u64 = 1 << 2;
    Ok(xdp_features(index)? & SENDS != 0)
}

fn xdp_features(index: u32) -> io::Result<u64> {
    let family = ask(CONTROLLER, GET_FAMILY, FAMILY_NAME, b"netdev\0", FAMILY_ID)?;
    let family = u16::from_ne_bytes(first(&family)?);
    let features = ask(family, GET_DEVICE, INTERFACE_INDEX, &index.to_ne_bytes(), XDP_FEATURES)?;
    Ok(u64::from_ne_bytes(first(&features)?))
}

/// Sends one request with one attribute; the attribute `wanted` of the answer.
fn ask(family: u16, command: u8, attribute: u16, value: &[u8], wanted: u16) -> io::Result<Vec<u8>> {
    let protocol = Protocol::from(libc::NETLINK_GENERIC);
    let mut socket = Socket::new(Domain::from(libc::AF_NETLINK), Type::RAW, Some(protocol))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    socket.write_all(&request(family, command, attribute, value))?;
    let mut answer = vec![0; 1 << 14];
    let length = socket.read(&mut answer)?;
    answer.truncate(length);
    if u16::from_ne_bytes(first(answer.get(4..).unwrap_or_default())?) == NLMSG_ERROR {
        let code = i32::from_ne_bytes(first(answer.get(HEADER..).unwrap_or_default())?);
        return Err(io::Error::from_raw_os_error(-code));
    }
    find(answer.get(HEADER + GENERIC_HEADER..).unwrap_or_default(), wanted).ok_or_else(unexpected)
}

fn request(family: u16, command: u8, attribute: u16, value: &[u8]) -> Vec<u8> {
    const ATTRIBUTE_HEADER: usize = 4;
    let mut message = vec![0; HEADER];
    message[4..6].copy_from_slice(&family.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    // Command, version, two reserved octets.
    message.extend([command, 1, 0, 0]);
    message.extend(((ATTRIBUTE_HEADER + value.len()) as u16).to_ne_bytes());
    message.extend(attribute.to_ne_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    let length = message.len() as u32;
    message[..4].copy_from_slice(&length.to_ne_bytes());
    message
}

/// The value of the first attribute of this type; each starts with its length and type and ends on a multiple
/// of four.
fn find(mut attributes: &[u8], wanted: u16) -> Option<Vec<u8>> {
    loop {
        let length = usize::from(u16::from_ne_bytes(first(attributes).ok()?));
        let kind = u16::from_ne_bytes(first(attributes.get(2..)?).ok()?);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value.to_vec());
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

fn first<const N: usize>(octets: &[u8]) -> io::Result<[u8; N]> {
    octets.first_chunk().copied().ok_or_else(unexpected)
}

fn unexpected() -> io::Error {
    io::Error::other("the kernel's answer is not as expected")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_by_type_and_bad_lengths_end_the_search() {
        let mut attributes = request(7, 1, 9, &[1, 2, 3, 4, 5])[HEADER + GENERIC_HEADER..].to_vec();
        attributes.extend(&request(7, 1, 3, &[6])[HEADER + GENERIC_HEADER..]);
        assert_eq!(find(&attributes, 9), Some(vec![1, 2, 3, 4, 5]));
        assert_eq!(find(&attributes, 3), Some(vec![6]));
        assert_eq!(find(&attributes, 4), None);
        for cut in 0..attributes.len() {
            // Whatever is left of it, this ends and does not panic.
            find(&attributes[..cut], 4);
        }
        assert_eq!(find(&[0, 0, 9, 0], 3), None, "a length of nothing");
    }

    #[test]
    fn what_the_kernel_answers_about_loopback_is_understood() {
        match runs_xdp(1) {
            Ok(runs) => {
                assert!(!runs, "loopback has no driver of its own");
                assert!(!sends_frames(1).unwrap());
            }
            // Before Linux 6.3 there is nobody to ask.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}"),
        }
        assert!(runs_xdp(u32::MAX).is_err());
    }
}
