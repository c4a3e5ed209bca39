//! Forbids system calls to whatever is started in a namespace, as a container's seccomp profile would.

use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::Eq;
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule};

use super::namespace::Namespace;
use super::skip::skip;

/// One system call, the value its first argument must have to be forbidden (None: any), and the error it
/// fails with.
pub(crate) type Forbidden = (i64, Option<u64>, i32);

/// What container runtimes' default profiles do to io_uring.
pub(crate) const IO_URING: Forbidden = (libc::SYS_io_uring_setup, None, libc::EPERM);
/// A kernel that was built or booted without IPv6.
pub(crate) const IPV6_SOCKETS: Forbidden =
    (libc::SYS_socket, Some(libc::AF_INET6 as u64), libc::EAFNOSUPPORT);

/// Installs the filter for all that starts in `namespace` from now on; false with a skip where filters are
/// not permitted.
pub(crate) fn forbid(namespace: &Namespace, (call, argument, error): Forbidden) -> bool {
    let equals = |value| SeccompCondition::new(0, Dword, Eq, value).expect("a condition");
    let rules =
        argument.map(|value| SeccompRule::new(vec![equals(value)]).expect("a rule")).into_iter().collect();
    let filter = SeccompFilter::new(
        [(call, rules)].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(error.cast_unsigned()),
        std::env::consts::ARCH.try_into().expect("an architecture that the filter compiler knows"),
    );
    let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
    let installed =
        namespace.inside(move || seccompiler::apply_filter(&program).map_err(|error| error.to_string()));
    if let Err(error) = &installed {
        skip("seccomp", &format!("cannot install a seccomp filter: {error}"));
    }
    installed.is_ok()
}
