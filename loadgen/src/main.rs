//! ntpload.
fn main() {}
