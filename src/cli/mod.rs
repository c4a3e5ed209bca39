//! Arguments and text.

pub mod check;
