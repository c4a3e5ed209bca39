//! Each test on each engine.

#[path = "../../../tests/support/skip.rs"]
pub(crate) mod skip;

use ntpring::sys::uring;

/// Makes two tests of each function: one for each value of --engine that moves datagrams.
macro_rules! on_both_engines {
    ($($test:ident)*) => {
        mod io_uring {
            $(#[test] fn $test() {
                if crate::engines::has_io_uring() {
                    super::$test("io_uring");
                }
            })*
        }
        mod mmsg {
            $(#[test] fn $test() {
                super::$test("mmsg");
            })*
        }
    };
}

pub(crate) use on_both_engines;

/// Whether this machine allows it; false with a skip.
pub(crate) fn has_io_uring() -> bool {
    let probed = uring::probe();
    if let Err(error) = &probed {
        skip::skip("io_uring", &error.to_string());
    }
    probed.is_ok()
}
