//! exp in f64 registers, with exp − 1 to be had from it without cancellation: one word for f32 data,
//! three words for f64 data.
//!
//! # Mathematics
//! As in [`exp`](crate::math::exp): x = (k/8)·ln2 + r, |r| ≤ ln2/16, and with k = 8b + j
//! exp x = 2^b·2^(j/8)·exp r. The table and ln2 are the same.
//!
//! # Error
//! The polynomials and their certified bounds, 2^−41.2 and 2^−66.5, are by
//! `verify/coefficients/expm.sollya`.
//!
//! * [`exp_plain`]: ln2 has one word, so r is off by |x|·2^−54.7 (2^−46.5 at |x| = 300); in all the
//!   relative error is below 2^−41.2 for |x| ≤ 300. Where `t` is 1, `q` is exp x − 1 with one below 2^−35.4.
//! * [`exp_wide`]: the first fused step is exact, the second leaves its rounding in a low word. What is
//!   rounded for good is r²·p(r), and the low word is added to r alone: relative error below 2^−61.1.
//!   With k = 0, `high + low` is exp x − 1 with a relative error below 2^−57.1.
//!
//! All four are proved in `verify/proofs`.

use crate::element::Lane;
use crate::math::exp::{ExpTable, WIDE, exponent, horner};
use crate::math::word::fast_two_sum;
use crate::simd::{Simd, Vector};

/// What rounding the table's 2^(j/8) left out.
const TABLE_LOW: [f64; 8] = [
    f64::from_bits(0x0000_0000_0000_0000),
    f64::from_bits(0xbc81_9041_b9d7_8a76),
    f64::from_bits(0x3c86_f46a_d231_82e4),
    f64::from_bits(0x3c7d_4397_afec_42e2),
    f64::from_bits(0xbc9b_dd34_13b2_6456),
    f64::from_bits(0x3c96_e9f1_5686_4b27),
    f64::from_bits(0x3c97_a1cd_345d_cc81),
    f64::from_bits(0x3c82_ed02_d75b_3707),
];

/// exp x = t·(1 + q).
pub(crate) struct Plain<S: Simd> {
    /// A power of 2^(1/8), normal.
    pub(crate) t: Vector<f64, S>,
    /// |q| < 0.045.
    pub(crate) q: Vector<f64, S>,
}

/// exp x, |x| ≤ 700.
#[inline(always)]
pub(crate) fn exp_plain<S: Simd>(x: Vector<f64, S>) -> Plain<S> {
    // ≈ 1/2, 1/6, 1/24, 1/120
    const C: [f64; 4] = [
        f64::from_bits(0x3fdf_ffff_fdc2_fc37),
        f64::from_bits(0x3fc5_5555_576f_9752),
        f64::from_bits(0x3fa5_55ce_ab69_36f6),
        f64::from_bits(0x3f81_10ef_6495_fe0e),
    ];
    let z = exponent(x);
    let r = (z - f64::MAGIC).mul_add(Vector::splat(x.s, -f64::LN2[0]), x);
    let q = horner(r, C).mul_add(r * r, r);
    Plain { t: z.lookup(&f64::TABLE).scale(z), q }
}

/// exp x = 2^⌊z − MAGIC⌋·(t + high + low).
pub(crate) struct Wide<S: Simd> {
    /// The exponent and the table index, in magic form.
    pub(crate) z: Vector<f64, S>,
    /// The table value, in [1, 2).
    pub(crate) t: Vector<f64, S>,
    /// |high| < 0.09.
    pub(crate) high: Vector<f64, S>,
    /// |low| < 2^−52.
    pub(crate) low: Vector<f64, S>,
}

/// exp x, |x| ≤ 2^12.
#[inline(always)]
pub(crate) fn exp_wide<S: Simd>(x: Vector<f64, S>) -> Wide<S> {
    let s = x.s;
    let z = exponent(x);
    let k = z - f64::MAGIC;
    let ln2_low = Vector::splat(s, -f64::LN2[1]);
    let head = k.mul_add(Vector::splat(s, -f64::LN2[0]), x);
    let r = k.mul_add(ln2_low, head);
    let r_low = k.mul_add(ln2_low, head - r);
    let rest = fast_two_sum(r, horner(r, WIDE).mul_add(r * r, r_low));
    let t = z.lookup(&f64::TABLE);
    let high = t * rest.hi;
    let t_low = z.lookup(&TABLE_LOW);
    let low = t.mul_add(rest.hi, -high) + t.mul_add(rest.lo, t_low.mul_add(rest.hi, t_low));
    Wide { z, t, high, low }
}
