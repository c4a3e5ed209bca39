//! Which addresses are served: those of the command line, of the `interface` lines, or all.

use std::net::{SocketAddr, UdpSocket};

use tracing::{info, warn};

use super::{Failure, Options, listen};
use crate::config::{Config, InterfaceAction};
use crate::sys::interfaces;

/// The addresses of this host that matter.
pub(super) struct Addresses {
    /// Those that are served.
    pub(super) listening: Vec<SocketAddr>,
    /// Whether the interfaces gave them: they are this host's then, even if not usable yet.
    pub(super) enumerated: bool,
    /// `interface drop`: bound, so that nobody else gets what is sent there, and never read.
    _silent: Vec<UdpSocket>,
}

impl Addresses {
    /// For a process that serves nobody.
    pub(super) fn none() -> Self {
        Self::fixed(Vec::new())
    }

    fn fixed(listening: Vec<SocketAddr>) -> Self {
        Self { listening, enumerated: false, _silent: Vec::new() }
    }
}

/// Command line, then `interface` lines, then both wildcard addresses; with the sockets of `interface drop`.
pub(super) fn choose(options: &Options, config: &Config) -> Result<Addresses, Failure> {
    if !options.listen.is_empty() {
        if let Some(shared) = options.listen.iter().find(|address| address.ip().is_multicast()) {
            return Err(Failure::Usage(format!(
                "--listen {shared}: requests to a multicast address are not answered"
            )));
        }
        let mut addresses = options.listen.clone();
        addresses.sort_unstable();
        addresses.dedup();
        return Ok(Addresses::fixed(without_covered(addresses)));
    }
    if config.interfaces.is_empty() {
        return Ok(Addresses::fixed(wildcards(options)));
    }
    let mut listening = Vec::new();
    let mut silent = Vec::new();
    for interfaces::InterfaceAddress { interface, mut address, .. } in interfaces::addresses()? {
        if !options.family.contains(address.ip()) {
            continue;
        }
        address.set_port(listen::NTP_PORT);
        match config.interface_action(address.ip(), &interface) {
            InterfaceAction::Listen => listening.push(address),
            InterfaceAction::Drop => silent.extend(bind_silently(address)),
            InterfaceAction::Ignore => info!("interface {interface}: {} is ignored", address.ip()),
        }
    }
    for wildcard in wildcards(options) {
        if config.interface_action(wildcard.ip(), "") == InterfaceAction::Listen {
            // A wildcard socket takes what is sent to any address of its family.
            listening.retain(|address| address.is_ipv4() != wildcard.is_ipv4());
            if !silent.is_empty() {
                warn!("interface drop: no effect beside a wildcard address that is listened on");
                silent.clear();
            }
            listening.push(wildcard);
        }
    }
    if listening.is_empty() {
        return Err(Failure::Usage(
            "the interface lines leave no address of this machine to serve".to_owned(),
        ));
    }
    Ok(Addresses { listening, enumerated: true, _silent: silent })
}

/// The wildcard addresses of the families that are served.
fn wildcards(options: &Options) -> Vec<SocketAddr> {
    let mut wildcards = listen::wildcards(listen::NTP_PORT);
    wildcards.retain(|address| options.family.contains(address.ip()));
    wildcards
}

/// A wildcard address takes what is sent to any address of its family and port; no other socket may have a
/// part of that.
fn without_covered(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let wildcards: Vec<SocketAddr> =
        addresses.iter().copied().filter(|one| one.ip().is_unspecified()).collect();
    addresses.retain(|one| {
        let covers = |all: &&SocketAddr| all.port() == one.port() && all.is_ipv4() == one.is_ipv4();
        match wildcards.iter().find(covers).filter(|_| !one.ip().is_unspecified()) {
            Some(wildcard) => {
                warn!("--listen {one}: no socket of its own, {wildcard} serves it");
                false
            }
            None => true,
        }
    });
    addresses
}

/// Takes an address without ever answering there.
fn bind_silently(address: SocketAddr) -> Option<UdpSocket> {
    let socket = UdpSocket::bind(address);
    if let Err(error) = &socket {
        warn!("interface drop: cannot bind {address}: {error}");
    }
    socket.ok()
}
