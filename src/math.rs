//! Lane functions that the kernels share.

/// Numbers by their bits.
macro_rules! words {
    ($t:ident: $($bits:literal)*) => { [$($t::from_bits($bits)),*] };
}

pub(crate) mod dot;
pub(crate) mod exp;
pub(crate) mod expm;
pub(crate) mod log;
pub(crate) mod log_ratio;
pub(crate) mod sigma;
pub(crate) mod sum;
pub(crate) mod word;

/// 2^exponent, normal.
pub(crate) const fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}
