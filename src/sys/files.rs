//! How many files this process may have open.

use std::io;

use super::check;

/// Raises the limit to `wanted`, or as far as the hard limit allows, and says what it is then. A limit that
/// is higher already stays.
///
/// # Errors
/// The kernel refused, which it has no reason to.
pub fn allow_open_files(wanted: u64) -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills `limit`, which lives for the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    if limit.rlim_cur < wanted {
        limit.rlim_cur = wanted.min(limit.rlim_max);
        // SAFETY: the kernel reads `limit`, which lives for the call.
        check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })?;
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_goes_and_never_lowered() {
        let now = allow_open_files(0).unwrap();
        assert!(now > 0);
        assert_eq!(allow_open_files(1).unwrap(), now);
        let most = allow_open_files(u64::MAX).unwrap();
        assert!(most >= now);
        assert_eq!(allow_open_files(most).unwrap(), most);
    }
}
