//! Random numbers that nobody can foresee.

use std::io;

use super::check;

/// 64 bits from the kernel. Waits for it only in the first moments after the machine has booted.
pub fn unpredictable() -> io::Result<u64> {
    let mut octets = [0; 8];
    loop {
        // SAFETY: the kernel writes at most the eight bytes of `octets`.
        let got = unsafe { libc::getrandom(octets.as_mut_ptr().cast(), octets.len(), 0) };
        match check(got as libc::c_int) {
            // So few bytes come at once or not at all.
            Ok(_) => return Ok(u64::from_ne_bytes(octets)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_numbers_are_alike() {
        let numbers: std::collections::HashSet<u64> = (0..100).map(|_| unpredictable().unwrap()).collect();
        assert_eq!(numbers.len(), 100);
    }
}
