//! Lane functions that the kernels share.

pub(crate) mod dot;
pub(crate) mod exp;
pub(crate) mod expm;
pub(crate) mod log;
pub(crate) mod log_ratio;
pub(crate) mod sigma;
pub(crate) mod sum;
pub(crate) mod word;
