//! log(1 + x) for x ≥ 0, with relative accuracy however small x is, and log u: in f64 for f32 rows, in double
//! words for f64 rows.
//!
//! # Mathematics
//! 1 + x = 2^k·(1 + f) with √½ ≤ 1 + f ≤ √2, and f = x itself for k = 0, so nothing cancels there.
//! With s = f/(2 + f), |s| ≤ 0.1716: log(1 + f) = 2·atanh s = 2s + 2s³·(1/3 + s²/5 + s⁴/7 + …).
//!
//! # Error
//! The cubic part in plain f64 is at most 2^−6.6 of the whole, and off by 2^−50.2 of itself. Cut after
//! 7 terms it is off by 2^−44.7, after 12 terms, with the coefficients 1/3, 1/5, … rounded, by 2^−60.6: certified by
//! `verify/coefficients/log.sollya`.
//! In f64: relative error below 2^−44.7. In double words: below 2^−56.7. The logarithm of a number u as k·log 2 and that of
//! 1 + f is off by less than 2^−42.6 for |k| ≤ 2^10. All are proved in `verify/proofs`.

use crate::math::exp::{ExpTable, horner};
use crate::math::word::{Word, fast_two_sum};
use crate::simd::{Simd, Vector};

/// 1/(2i + 3)
const fn odd_reciprocals<const N: usize>() -> [f64; N] {
    let mut c = [0.0; N];
    let mut i = 0;
    while i < N {
        c[i] = 1.0 / (2 * i + 3) as f64;
        i += 1;
    }
    c
}

/// k and 2^−k for 1 + x = 2^k·(1 + f), given u = 1 + x rounded.
#[inline(always)]
fn split<S: Simd>(u: Vector<f64, S>) -> (Vector<f64, S>, Vector<f64, S>) {
    // √2 rounded; u·√½ < 1 exactly where the significand is below √2.
    let k = (u * core::f64::consts::SQRT_2).exponent();
    let scale = (-k + <f64 as crate::element::Lane>::MAGIC).pow2_floor();
    (k, scale)
}

/// log(1 + x), 0 ≤ x < 2^60, in f64.
#[inline(always)]
pub(crate) fn log1p<S: Simd>(x: Vector<f64, S>) -> Vector<f64, S> {
    let (k, scale) = split(x + 1.0);
    let f = x * scale + (scale - 1.0);
    log_of(f, f + 2.0, k)
}

/// log(1 + f) + k·log 2, given f and 2 + f times any number.
#[inline(always)]
pub(crate) fn log_of<S: Simd>(f: Vector<f64, S>, f2: Vector<f64, S>, k: Vector<f64, S>) -> Vector<f64, S> {
    const C: [f64; 7] = odd_reciprocals();
    let s = f / f2;
    let s2 = s * s;
    let series = horner(s2, C) * (s2 * s);
    (s + series) * 2.0 + k * f64::LN2[0]
}

/// f, 2 + f and k of a normal number u = 2^k·(1 + f).
#[inline(always)]
pub(crate) fn parts<S: Simd>(u: Vector<f64, S>) -> [Vector<f64, S>; 3] {
    let (k, scale) = split(u);
    let u = u * scale;
    [u - 1.0, u + 1.0, k]
}

/// log(1 + x), 0 ≤ x < 2^60, in double words.
#[inline(always)]
pub(crate) fn log1p_word<S: Simd>(x: Word<f64, S>) -> Word<f64, S> {
    let (k, scale) = split(x.hi + 1.0);
    let f = x.scale(scale).add_one(scale - 1.0);
    log_of_word(f, f.add_one(Vector::splat(x.hi.s, 2.0)), k)
}

/// [`log_of`] in double words.
#[inline(always)]
pub(crate) fn log_of_word<S: Simd>(f: Word<f64, S>, f2: Word<f64, S>, k: Vector<f64, S>) -> Word<f64, S> {
    const C: [f64; 12] = odd_reciprocals();
    let simd = k.s;
    let s = f.div(f2);
    let s2 = s.hi * s.hi;
    let series = horner(s2, C) * (s2 * s.hi);
    let atanh = fast_two_sum(s.hi, s.lo + series);
    let [ln2, low] = f64::LN2;
    Word::splat(simd, ln2, low).mul_one(k).add(atanh.scale(Vector::splat(simd, 2.0)))
}

/// [`parts`] in double words.
#[inline(always)]
pub(crate) fn parts_word<S: Simd>(u: Word<f64, S>) -> ([Word<f64, S>; 2], Vector<f64, S>) {
    let (k, scale) = split(u.hi);
    let (u, one) = (u.scale(scale), Vector::splat(k.s, 1.0));
    ([u.add_one(-one), u.add_one(one)], k)
}
