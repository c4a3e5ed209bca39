//! Giving up what a process no longer needs, for good.

use std::ffi::CString;
use std::{io, ptr};

use super::check;

/// A user and group to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Numeric user.
    pub user: u32,
    /// Numeric group.
    pub group: u32,
}

/// Capabilities that this process may keep, by their number in linux/capability.h.
pub type Capability = u32;

/// CAP_SYS_TIME: to adjust the clock.
pub const CAP_SYS_TIME: Capability = 25;

/// What setresuid and setresgid take for "leave it as it is": nobody can become this user.
const UNCHANGED: u32 = u32::MAX;

/// Highest capability number that a 64-bit set can hold.
const CAPABILITIES: u32 = 64;

/// Becomes `identity` (if given), clears supplementary groups, keeps only `keep` of the capabilities it has
/// and can never gain a privilege again (no_new_privs). Must run while the process has one thread:
/// capabilities belong to threads.
pub fn give_up_privileges(identity: Option<&Identity>, keep: &[Capability]) -> io::Result<()> {
    let effective = effective_capabilities()?;
    let kept = keep.iter().fold(0, |set, capability| set | 1 << capability) & effective;
    drop_bounding_set(kept, effective);
    if let Some(identity) = identity {
        become_identity(identity)?;
    }
    set_capabilities(kept)?;
    // SAFETY: PR_SET_NO_NEW_PRIVS takes integers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }).map(drop)
}

/// Whether the process runs as root.
pub fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Looks a user up by name or number, with the group of the same entry; `None` if there is no such user. A
/// number need not have an entry; its group is then the same number.
pub fn find_user(name: &str) -> Option<Identity> {
    let number = name.parse().ok();
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a C string; the entry is read before any other call could overwrite it, on the only
    // thread there is.
    let entry = unsafe {
        let entry = number.map_or_else(|| libc::getpwnam(name.as_ptr()), |user| libc::getpwuid(user));
        entry.as_ref().map(|entry| Identity { user: entry.pw_uid, group: entry.pw_gid })
    };
    entry.or(number.map(|user| Identity { user, group: user })).filter(|found| found.user != UNCHANGED)
}

/// Looks a group up by name or number.
pub fn find_group(name: &str) -> Option<u32> {
    if let Ok(group) = name.parse() {
        return Some(group).filter(|group| *group != UNCHANGED);
    }
    let name = CString::new(name).ok()?;
    // SAFETY: as in `find_user`.
    unsafe { libc::getgrnam(name.as_ptr()).as_ref().map(|entry| entry.gr_gid) }
}

/// Without CAP_SETPCAP the bounding set stays; no_new_privs makes it harmless then.
fn drop_bounding_set(kept: u64, effective: u64) {
    const CAP_SETPCAP: u32 = 8;
    if effective & (1 << CAP_SETPCAP) == 0 {
        return;
    }
    for capability in (0..CAPABILITIES).filter(|capability| kept & (1 << capability) == 0) {
        // SAFETY: integers only; a number the kernel does not know is refused without effect.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
    }
}

fn become_identity(identity: &Identity) -> io::Result<()> {
    // SAFETY: all calls take integers; the empty group list has length 0. KEEPCAPS lets the capabilities that
    // are kept survive this one change of user; set_capabilities then drops the others.
    unsafe {
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0))?;
        check(libc::setgroups(0, ptr::null()))?;
        check(libc::setresgid(identity.group, identity.group, identity.group))?;
        check(libc::setresuid(identity.user, identity.user, identity.user))?;
        check(libc::prctl(libc::PR_SET_KEEPCAPS, 0, 0, 0, 0))?;
    }
    Ok(())
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl CapabilityHeader {
    /// _LINUX_CAPABILITY_VERSION_3: two words per set.
    const SELF: Self = Self { version: 0x2008_0522, pid: 0 };
}

// Both C libraries have the calls, and neither declares them in a header.
// SAFETY: the kernel's own signatures, linux/capability.h; callers hand over a header and two data words.
unsafe extern "C" {
    fn capget(header: *mut CapabilityHeader, data: *mut CapabilityData) -> libc::c_int;
    fn capset(header: *mut CapabilityHeader, data: *const CapabilityData) -> libc::c_int;
}

fn effective_capabilities() -> io::Result<u64> {
    let mut header = CapabilityHeader::SELF;
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: version 3 of the call reads one header and writes two data words, which is what the pointers
    // lead to.
    check(unsafe { capget(&raw mut header, data.as_mut_ptr()) })?;
    Ok(u64::from(data[0].effective) | u64::from(data[1].effective) << 32)
}

/// Sets permitted and effective to `kept`, inheritable to nothing (which empties the ambient set too).
fn set_capabilities(kept: u64) -> io::Result<()> {
    let mut header = CapabilityHeader::SELF;
    let word = |set: u32| CapabilityData { effective: set, permitted: set, inheritable: 0 };
    let data = [word(kept as u32), word((kept >> 32) as u32)];
    // SAFETY: as in `effective_capabilities`, and the kernel only reads.
    check(unsafe { capset(&raw mut header, data.as_ptr()) }).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_the_group_of_its_entry_and_needs_none() {
        let games = find_user("games");
        assert_eq!(games.as_ref().and_then(|games| find_user(&games.user.to_string())), games);
        assert_eq!(find_user("4000000000"), Some(Identity { user: 4_000_000_000, group: 4_000_000_000 }));
    }

    #[test]
    fn nobody_becomes_the_number_that_changes_nothing() {
        assert_eq!((find_user("4294967295"), find_group("4294967295")), (None, None));
    }
}
