//! The verification report of `lossprep`: oracle, ULP metric, inputs, checks.
//!
//! The program is what is meant to be used; the library is its parts, for its own tests.
#![forbid(unsafe_code)]
// They panic when their reader leaves; `output` has what does not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod bench;
pub mod certificate;
pub mod check;
pub mod connect;
pub mod data;
pub mod differences;
pub mod exact;
#[cfg(feature = "exhaustive")]
pub mod exhaustive;
pub mod inputs;
pub mod losses;
#[cfg(feature = "mpfr")]
pub mod mpfr;
pub mod npy;
pub mod oracle;
pub mod output;
pub mod real;
pub mod report;
pub mod special;
pub mod threads;
pub mod ulp;
pub mod wide;
