//! σ(x) = 1/(1 + exp(−x)) to two words, with one division.
//!
//! # Mathematics
//! −x = (k/8)·ln2 − r with the integer k nearest to −x·8/ln2, |r| ≤ ln2/16; with k = 8b + j and
//! 2^(j/8) = T·exp(−c), T rounded, exp(−x) = 2^b·T·exp(−(r + c)) = t·(1 − q) = t − w.
//!
//! # Algorithm
//! z = MAGIC − x/ln2 holds k in its low bits ([`exp`](crate::math::exp) has the trick). Its pattern moved up
//! to the exponent field, plus an entry of a table, is t = 2^b·T. x + (k/8)·L₁ is exact, so r + c is rounded
//! once; q is r + c less its square times a polynomial. d = 1 + t − w as a rounded sum and its error e
//! (t − (d − 1) and, where d ≥ 2^p, 1 − (d − (d − 1)) are exact). Then h = 1/d rounded, and
//! σ = h·(1 + ρ) with ρ = 1 − h·(d + e), of which the part with d is exact by fusion.
//!
//! # Error
//! Polynomial 2^−32.1 (f32) and 2^−58.2 (f64), by `verify/coefficients/sigma.sollya`; r + c, q and w are
//! rounded at 2^−29, 2^−29 and 2^−28.5 of exp(−x) (2^−58, 2^−58, 2^−57.5): t − w has a relative error below
//! 2^−27.1 (2^−55.9), proved in `verify/proofs`. What follows adds 14u², 2^−44.1 (2^−102.1). For |x| ≤ `FARTHEST`, where t and w are normal
//! numbers, or w is so small that it does not matter.

use crate::element::Lane;
use crate::math::exp::{ExpTable, horner};
use crate::math::word::fast_two_sum;
use crate::simd::{Simd, Vector};

/// The constants, all made by `verify/coefficients/sigma.sollya`.
pub trait SigmaTable: ExpTable {
    /// Below this |x|, 1 + exp(−x) is below 2^p.
    const SMALL: Self;
    /// Where exp(−|x|) is 2^−116 (2^−996).
    const FARTHEST: Self;

    /// exp(−r) = 1 − r − r²·p(r): −p(r).
    fn polynomial_of_negative<S: Simd>(r: Vector<Self, S>) -> Vector<Self, S>
    where
        Self: Sized;
}

impl SigmaTable for f32 {
    const SMALL: Self = 16.5;
    const FARTHEST: Self = 80.0;

    #[inline(always)]
    fn polynomial_of_negative<S: Simd>(r: Vector<Self, S>) -> Vector<Self, S> {
        const C: [f32; 3] = words!(f32: 0xbf00_0002 0x3e2a_ae3b 0xbd2a_5fbb); // ≈ −1/2, 1/6, −1/24
        horner(r, C)
    }
}

impl SigmaTable for f64 {
    const SMALL: Self = 36.5;
    const FARTHEST: Self = 690.0;

    #[inline(always)]
    fn polynomial_of_negative<S: Simd>(r: Vector<Self, S>) -> Vector<Self, S> {
        // ≈ −1/2, 1/6, −1/24, 1/120, −1/720, 1/5040
        const C: [f64; 6] = words!(f64:
            0xbfe0_0000_0000_010b 0x3fc5_5555_5555_5130 0xbfa5_5555_5480_cdc6 0x3f81_1111_125d_ce66
            0xbf56_c1cb_ded7_a147 0x3f2a_0163_9166_320c);
        horner(r, C)
    }
}

/// exp(−x) = t − w, |w| < 0.045·t, for |x| ≤ `FARTHEST`: [t, w].
#[inline(always)]
pub(crate) fn exp_of_negative<T: SigmaTable, S: Simd>(x: Vector<T, S>) -> [Vector<T, S>; 2] {
    let s = x.s;
    let z = x.mul_add(Vector::splat(s, -T::INV_LN2), Vector::splat(s, T::MAGIC));
    let k = z - T::MAGIC;
    let head = k.mul_add(Vector::splat(s, T::LN2[0]), x);
    let r = head + k.mul_add(Vector::splat(s, T::LN2[1]), z.lookup(&T::REST));
    let q = T::polynomial_of_negative(r).mul_add(r * r, r);
    let t = z.lookup(&T::POWERS).add_bits(z.exponent_bits());
    [t, t * q]
}

/// 1/(1 + t − w) = h·(1 + ρ), |ρ| < 2^(1 − p): [h, ρ]. Without `LARGE` for t − w below 2^p − 1 only; the bits are
/// the same there.
#[inline(always)]
pub(crate) fn sigma<T: Lane, S: Simd, const LARGE: bool>([t, w]: [Vector<T, S>; 2]) -> [Vector<T, S>; 2] {
    let one = Vector::splat(t.s, T::one());
    let d = t - w + T::one();
    let back = d - T::one();
    let mut error = t - back - w;
    if LARGE {
        error = error + (one - (d - back));
    }
    let h = one / d;
    [h, (-h).mul_add(error, (-h).mul_add(d, one))]
}

/// (t − w)/(1 + t − w), rounded once but for 2^−27.1 (2^−55.9) of it, for t − w ≤ 1.
#[inline(always)]
pub(crate) fn sigma_of_minus<T: Lane, S: Simd>([t, w]: [Vector<T, S>; 2]) -> Vector<T, S> {
    let e = fast_two_sum(t, -w);
    let d = e.hi + T::one();
    let error = t - (d - T::one()) - w;
    let reciprocal = Vector::splat(t.s, T::one()) / d;
    let quotient = e.hi * reciprocal;
    let rest = (-quotient).mul_add(d, e.hi) + (-quotient).mul_add(error, e.lo);
    rest.mul_add(reciprocal, quotient)
}
