//! σ(x) = 1/(1 + exp(−x)) in f32 registers, to two words and with one division.
//!
//! # Mathematics
//! −x = (k/8)·ln2 − r with the integer k nearest to −x·8/ln2, |r| ≤ ln2/16; with k = 8b + j and
//! 2^(j/8) = T·exp(−c), T rounded to f32, exp(−x) = 2^b·T·exp(−(r + c)) = t·(1 − q) = t − w.
//!
//! # Algorithm
//! z = MAGIC − x/ln2 holds k in its low bits ([`exp`](crate::math::exp) has the trick). Its pattern moved up
//! to the exponent field, plus an entry of a table, is t = 2^b·T. x + (k/8)·L₁ is exact, so r + c is rounded
//! once; q is r + c less its square times a polynomial. d = 1 + t − w as a rounded sum and its error e
//! (t − (d − 1) and, where d ≥ 2^24, 1 − (d − (d − 1)) are exact). Then h = 1/d rounded, and
//! σ = h·(1 + ρ) with ρ = 1 − h·(d + e), of which the part with d is exact by fusion.
//!
//! # Error
//! Polynomial 2^−32.1 (`verify/coefficients/sigma.sollya`); r + c, q and w are rounded at 2^−29, 2^−29 and
//! 2^−28.5 of exp(−x): t − w has a relative error below 2^−27.3. What follows adds 2^−47. For |x| ≤ 80, where
//! t and w are normal numbers, or w is so small that it does not matter.

use crate::element::Lane;
use crate::math::exp::{ExpTable, horner};
use crate::math::word::fast_two_sum;
use crate::simd::{Simd, Vector};

macro_rules! words {
    ($($bits:literal)*) => { [$(f32::from_bits($bits)),*] };
}

/// T less the j that the moved pattern has below its exponent, as patterns.
const TABLE: [f32; 8] = words!(
    0x3f80_0000 0x3f7b_95c2 0x3f78_37f0 0x3f75_fed7 0x3f75_04f3 0x3f75_672a 0x3f77_44fd 0x3f7a_c0c7);
/// c = ln(T/2^(j/8))
const LOW: [f32; 8] = words!(
    0x0000_0000 0x324e_0611 0xb309_2801 0x3305_1aa9 0xb293_02ae 0xb1b3_d0e5 0x327c_e183 0x31d2_90be);
/// exp(−r) = 1 − r − r²·p(r): p ≈ −1/2 + r/6 − r²/24
const C: [f32; 3] = words!(0xbf00_0002 0x3e2a_ae3b 0xbd2a_5fbb);

/// exp(−x) = t − w, |w| < 0.045·t, for |x| ≤ 80: [t, w].
#[inline(always)]
pub(crate) fn exp_of_negative<S: Simd>(x: Vector<f32, S>) -> [Vector<f32, S>; 2] {
    let s = x.s;
    let z = x.mul_add(Vector::splat(s, -f32::INV_LN2), Vector::splat(s, f32::MAGIC));
    let k = z - f32::MAGIC;
    let head = k.mul_add(Vector::splat(s, f32::LN2[0]), x);
    let r = head + k.mul_add(Vector::splat(s, f32::LN2[1]), z.lookup(&LOW));
    let q = horner(r, C).mul_add(r * r, r);
    let t = z.lookup(&TABLE).add_bits(z.exponent_bits());
    [t, t * q]
}

/// 1/(1 + t − w) = h·(1 + ρ), |ρ| < 2^−23: [h, ρ]. Without `LARGE` for t − w below 2^24 only; the bits are
/// the same there.
#[inline(always)]
pub(crate) fn sigma<S: Simd, const LARGE: bool>([t, w]: [Vector<f32, S>; 2]) -> [Vector<f32, S>; 2] {
    let one = Vector::splat(t.s, 1.0);
    let d = t - w + 1.0;
    let back = d - 1.0;
    let mut error = t - back - w;
    if LARGE {
        error = error + (one - (d - back));
    }
    let h = one / d;
    [h, (-h).mul_add(error, (-h).mul_add(d, one))]
}

/// (t − w)/(1 + t − w), rounded once but for 2^−27.3 of it, for t − w ≤ 1.
#[inline(always)]
pub(crate) fn sigma_of_minus<S: Simd>([t, w]: [Vector<f32, S>; 2]) -> Vector<f32, S> {
    let e = fast_two_sum(t, -w);
    let d = e.hi + 1.0;
    let error = t - (d - 1.0) - w;
    let reciprocal = Vector::splat(t.s, 1.0) / d;
    let quotient = e.hi * reciprocal;
    let rest = (-quotient).mul_add(d, e.hi) + (-quotient).mul_add(error, e.lo);
    rest.mul_add(reciprocal, quotient)
}
