//! Bytes to fields and back. This floor knows no clock, I/O, allocation or policy.

mod timestamp;

pub use timestamp::NtpTimestamp;
