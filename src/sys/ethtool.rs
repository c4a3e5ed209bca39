//! What a network interface's driver is set to and able to do, asked as ethtool(8) asks it.
//!
//! Everything here only reads; no privilege is needed.

use std::os::fd::AsRawFd;
use std::{io, mem};

use socket2::{Domain, Socket, Type};

use super::check;

const SIOCETHTOOL: libc::c_ulong = 0x8946;

// Commands of linux/ethtool.h.
const GET_DRIVER: u32 = 0x03;
const GET_RINGS: u32 = 0x10;
const GET_FLAGS: u32 = 0x25;
const GET_FLOW_HASH: u32 = 0x29;
const GET_CHANNELS: u32 = 0x3c;
const GET_STAMPING: u32 = 0x41;

/// Descriptors in a receive ring: frames that may wait for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// As it is set.
    pub receive: u32,
    /// As large as the device allows.
    pub receive_max: u32,
}

/// Queues that the device spreads received frames over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// In use.
    pub receive: u32,
    /// As many as the device has.
    pub receive_max: u32,
    /// Whether a queue receives and sends: `ethtool -L IF combined N` sets them then, else `rx N`.
    pub combined: bool,
}

/// The UDP flows that a device hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// UDP over IPv4.
    UdpV4,
    /// UDP over IPv6.
    UdpV6,
}

/// What a device computes its choice of a receive queue from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashFields {
    /// The source address.
    pub source: bool,
    /// The destination address.
    pub destination: bool,
    /// The source port.
    pub source_port: bool,
    /// The destination port.
    pub destination_port: bool,
}

/// The time stamps that a device and its driver take (`ethtool -T`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamping {
    /// The kernel stamps received frames.
    pub receive_software: bool,
    /// The driver stamps frames as it hands them to the device.
    pub send_software: bool,
    /// The device itself stamps received frames.
    pub receive_hardware: bool,
    /// The device itself stamps sent frames.
    pub send_hardware: bool,
    /// The number N of its /dev/ptpN.
    pub hardware_clock: Option<u32>,
}

/// The name of an interface's driver, such as `veth` or `mlx5_core`.
///
/// # Errors
/// What the kernel says; interfaces without a driver, such as `lo`, have no answer.
pub fn driver(interface: &str) -> io::Result<String> {
    // SAFETY: DriverInfo is the kernel's struct ethtool_drvinfo, all integers.
    let info: DriverInfo = unsafe { ask(interface, GET_DRIVER, 0)? };
    let name = info.driver.split(|&octet| octet == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

/// The receive rings of an interface.
///
/// # Errors
/// What the kernel says; a driver without rings does not answer.
pub fn rings(interface: &str) -> io::Result<Rings> {
    // SAFETY: RingParameters is the kernel's struct ethtool_ringparam, all integers.
    let RingParameters { receive, receive_max, .. } = unsafe { ask(interface, GET_RINGS, 0)? };
    Ok(Rings { receive, receive_max })
}

/// The receive queues of an interface.
///
/// # Errors
/// What the kernel says; a driver whose queues cannot be asked for does not answer.
pub fn queues(interface: &str) -> io::Result<Queues> {
    // SAFETY: Channels is the kernel's struct ethtool_channels, all integers.
    let channels: Channels = unsafe { ask(interface, GET_CHANNELS, 0)? };
    Ok(Queues {
        receive: channels.receive + channels.combined,
        receive_max: channels.receive_max.max(channels.combined_max),
        combined: channels.combined > 0,
    })
}

/// What an interface's choice of a receive queue is computed from.
///
/// # Errors
/// What the kernel says; a device with one queue has nothing to choose and often no answer.
pub fn hash_fields(interface: &str, flow: Flow) -> io::Result<HashFields> {
    const SOURCE: u64 = 1 << 4;
    const DESTINATION: u64 = 1 << 5;
    const SOURCE_PORT: u64 = 1 << 6;
    const DESTINATION_PORT: u64 = 1 << 7;
    let flow = match flow {
        Flow::UdpV4 => 2,
        Flow::UdpV6 => 6,
    };
    // SAFETY: for this command the kernel reads and writes the first three fields of struct ethtool_rxnfc,
    // which FlowHash is.
    let FlowHash { fields, .. } = unsafe { ask(interface, GET_FLOW_HASH, flow)? };
    Ok(HashFields {
        source: fields & SOURCE != 0,
        destination: fields & DESTINATION != 0,
        source_port: fields & SOURCE_PORT != 0,
        destination_port: fields & DESTINATION_PORT != 0,
    })
}

/// Whether the device takes VLAN tags off received frames, so that an XDP program does not see them.
///
/// # Errors
/// What the kernel says.
pub fn strips_vlan_tags(interface: &str) -> io::Result<bool> {
    const RECEIVE_VLAN: u32 = 1 << 8;
    // SAFETY: Value is the kernel's struct ethtool_value, two integers.
    let Value { data, .. } = unsafe { ask(interface, GET_FLAGS, 0)? };
    Ok(data & RECEIVE_VLAN != 0)
}

/// The time stamps that an interface takes.
///
/// # Errors
/// What the kernel says.
pub fn stamping(interface: &str) -> io::Result<Stamping> {
    // SAFETY: StampingInfo is the kernel's struct ethtool_ts_info, all integers.
    let info: StampingInfo = unsafe { ask(interface, GET_STAMPING, 0)? };
    let takes = |flag: libc::c_uint| info.flags & flag != 0;
    Ok(Stamping {
        receive_software: takes(libc::SOF_TIMESTAMPING_RX_SOFTWARE),
        send_software: takes(libc::SOF_TIMESTAMPING_TX_SOFTWARE),
        receive_hardware: takes(libc::SOF_TIMESTAMPING_RX_HARDWARE),
        send_hardware: takes(libc::SOF_TIMESTAMPING_TX_HARDWARE),
        hardware_clock: u32::try_from(info.hardware_clock).ok(),
    })
}

#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    version: [u8; 32],
    firmware_version: [u8; 32],
    bus_info: [u8; 32],
    expansion_rom_version: [u8; 32],
    reserved: [u8; 12],
    counts: [u32; 5],
}

#[repr(C)]
struct RingParameters {
    command: u32,
    receive_max: u32,
    other_max: [u32; 2],
    send_max: u32,
    receive: u32,
    other: [u32; 2],
    send: u32,
}

#[repr(C)]
struct Channels {
    command: u32,
    receive_max: u32,
    send_max: u32,
    other_max: u32,
    combined_max: u32,
    receive: u32,
    send: u32,
    other: u32,
    combined: u32,
}

#[repr(C)]
struct FlowHash {
    command: u32,
    flow: u32,
    fields: u64,
}

#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

#[repr(C)]
struct StampingInfo {
    command: u32,
    flags: u32,
    hardware_clock: i32,
    send_types: u32,
    reserved: [u32; 3],
    receive_filters: u32,
    reserved_too: [u32; 3],
}

/// Asks `command` with the word `argument` after its number, where every question has its first argument.
///
/// # Safety
/// `T` must be what the kernel takes for `command`, or its beginning as far as the kernel reads and writes
/// it: a C struct of integers, of which all zeroes is a valid value, with the command's number first.
unsafe fn ask<T>(interface: &str, command: u32, argument: u32) -> io::Result<T> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    // SAFETY: both are C structs of integers and pointers; all zeroes is a valid value.
    let (mut question, mut request): (T, libc::ifreq) = unsafe { mem::zeroed() };
    // SAFETY: every question is at least two words long and aligned to one, and `question` is ours.
    unsafe { (&raw mut question).cast::<[u32; 2]>().write([command, argument]) };
    // The last octet stays zero, so that the name ends.
    for (place, octet) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(interface.bytes()) {
        *place = octet as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut question).cast();
    // SAFETY: the kernel reads `request` and, through its pointer, no more than `T`; both live for the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) })?;
    Ok(question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_stamped_in_software_and_has_no_rings() {
        let stamping = stamping("lo").unwrap();
        assert!(stamping.receive_software && stamping.send_software, "{stamping:?}");
        assert_eq!((stamping.receive_hardware, stamping.hardware_clock), (false, None));
        assert!(!strips_vlan_tags("lo").unwrap());
        for refused in [rings("lo").map(drop), queues("lo").map(drop), driver("lo").map(drop)] {
            assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EOPNOTSUPP));
        }
        assert!(hash_fields("lo", Flow::UdpV4).is_err());
    }

    #[test]
    fn an_interface_that_is_not_there_is_an_error() {
        assert!(driver("no such interface, and the name is too long").is_err());
        assert!(stamping("nosuch").is_err());
    }
}
