//! log(u/v) with one division, and with relative accuracy however near to 1 the quotient is.
//!
//! # Mathematics
//! u/v = 2^k·(m/n) with significands m and n brought to √½ ≤ m/n ≤ √2. With f = (m − n)/(m + n),
//! |f| ≤ 0.1716: log(m/n) = 2·atanh f = 2f + f³·L(f²). Where k = 0, f is (u − v)/(u + v), which the
//! caller knows better than from the rounded u and v: so nothing cancels where u is near v.
//!
//! # Error
//! L and its certified bounds, 2^−50.3 and 2^−64.7 of the logarithm, are by
//! `verify/coefficients/log_ratio.sollya`. The cubic part is at most 2^−6.6 of the
//! whole, and off by 2^−50.2 of itself. [`log_ratio`]: relative error below 2^−48.6. [`log_ratio_word`]: below
//! 2^−56.5 before its one rounding. Both are proved in `verify/proofs`.

use crate::element::Lane;
use crate::math::exp::{ExpTable, horner};
use crate::math::power_of_two;
use crate::math::word::{Word, fast_two_sum};
use crate::simd::{Simd, Vector};
use core::f64::consts::SQRT_2;

/// ln2 in two words, the first of 41 bits: its product with an exponent is exact.
const LN2: [f64; 2] = [f64::from_bits(0x3fe6_2e42_fefa_3000), f64::from_bits(0x3d53_de6a_f278_ece6)];

/// 1, 2 or ½ for each of m and n, by which m/n comes into [√½, √2], and what that adds to k.
struct Balance<S: Simd> {
    m: Vector<f64, S>,
    n: Vector<f64, S>,
    k: Vector<f64, S>,
}

#[inline(always)]
fn balance<S: Simd>(m: Vector<f64, S>, n: Vector<f64, S>) -> Balance<S> {
    let (zero, one, two) = (Vector::splat(m.s, 0.0), Vector::splat(m.s, 1.0), Vector::splat(m.s, 2.0));
    let large = (n * SQRT_2).lt(m);
    let small = (m * SQRT_2).lt(n);
    Balance {
        m: small.select(two, one),
        n: large.select(two, one),
        k: large.select(one, small.select(-one, zero)),
    }
}

/// log(u/v) for normal u and v between 2^−500 and 2^500, given u − v and u + v.
#[inline(always)]
pub(crate) fn log_ratio<S: Simd>(
    u: Vector<f64, S>,
    v: Vector<f64, S>,
    difference: Vector<f64, S>,
    sum: Vector<f64, S>,
) -> Vector<f64, S> {
    const L: [f64; 6] = [
        f64::from_bits(0x3fe5_5555_5555_53b2), // ≈ 2/3, 2/5, 2/7, …
        f64::from_bits(0x3fd9_9999_99b8_bc5d),
        f64::from_bits(0x3fd2_4924_6254_3ffe),
        f64::from_bits(0x3fcc_71fd_1285_38f6),
        f64::from_bits(0x3fc7_3823_1cc3_a55f),
        f64::from_bits(0x3fc5_4736_264c_aa88),
    ];
    let (ku, kv) = (u.exponent(), v.exponent());
    let m = u * (-ku + f64::MAGIC).pow2_floor();
    let n = v * (-kv + f64::MAGIC).pow2_floor();
    let by = balance(m, n);
    let (m, n) = (m * by.m, n * by.n);
    let k = ku - kv + by.k;
    let near = k.eq(Vector::splat(u.s, 0.0));
    let f = near.select(difference, m - n) / near.select(sum, m + n);
    let f2 = f * f;
    let log = horner(f2, L).mul_add(f * f2, f + f);
    k.mul_add(Vector::splat(u.s, f64::LN2[0]), log)
}

/// 2^120 where a number is below 2^−900, else 1, and the exponent of that.
#[inline(always)]
pub(crate) fn lift<S: Simd>(u: Vector<f64, S>) -> (Vector<f64, S>, Vector<f64, S>) {
    let s = u.s;
    let tiny = u.abs().lt(Vector::splat(s, power_of_two(-900)));
    let lift = Vector::splat(s, power_of_two(120));
    let exponent = Vector::splat(s, 120.0);
    (tiny.select(lift, Vector::splat(s, 1.0)), tiny.select(exponent, Vector::splat(s, 0.0)))
}

/// A positive word as significand in [1, 2) and exponent.
#[inline(always)]
pub(crate) fn significand<S: Simd>(u: Word<f64, S>) -> (Word<f64, S>, Vector<f64, S>) {
    // A subnormal number has no exponent to read.
    let (lift, lift_exponent) = lift(u.hi);
    let u = u.scale(lift);
    let k = u.hi.exponent();
    let z = -k + f64::MAGIC;
    let significand = Word { hi: u.hi.ldexp(z), lo: u.lo.ldexp(z) };
    (significand, k - lift_exponent)
}

/// log(u/v) for positive words, rounded, given (u − v)/(u + v) as q·2^exponent.
#[inline(always)]
pub(crate) fn log_ratio_word<S: Simd>(
    u: Word<f64, S>,
    v: Word<f64, S>,
    q: Word<f64, S>,
    exponent: Vector<f64, S>,
) -> Vector<f64, S> {
    const L: [f64; 9] = [
        f64::from_bits(0x3fe5_5555_5555_5555), // ≈ 2/3, 2/5, 2/7, …
        f64::from_bits(0x3fd9_9999_9999_9dd7),
        f64::from_bits(0x3fd2_4924_9241_4761),
        f64::from_bits(0x3fcc_71c7_2989_cad8),
        f64::from_bits(0x3fc7_45cb_ad53_5d89),
        f64::from_bits(0x3fc3_b2ac_e917_91f3),
        f64::from_bits(0x3fc0_dc81_7b9d_9ea9),
        f64::from_bits(0x3fc3_009a_8768_257f),
        f64::from_bits(0xbfc1_15f3_b307_a134),
    ];
    let s = u.hi.s;
    let ((m, ku), (n, kv)) = (significand(u), significand(v));
    let by = balance(m.hi, n.hi);
    let (m, n) = (m.scale(by.m), n.scale(by.n));
    let k = ku - kv + by.k;
    let near = k.eq(Vector::splat(s, 0.0));
    let z = exponent + f64::MAGIC;
    let far = m.add(-n).div(m.add(n));
    let f = Word { hi: near.select(q.hi.ldexp(z), far.hi), lo: near.select(q.lo.ldexp(z), far.lo) };
    let f2 = f.hi * f.hi;
    let cubic = horner(f2, L) * (f.hi * f2);
    let sum = fast_two_sum(k * LN2[0], f.hi + f.hi);
    let log = sum.hi + (sum.lo + k.mul_add(Vector::splat(s, LN2[1]), f.lo + f.lo + cubic));
    // A tiny f is all of the logarithm, and may be subnormal: rounded from q.
    let linear = (q.hi + q.hi).ldexp(z);
    let tiny = near & linear.abs().lt(Vector::splat(s, power_of_two(-60)));
    tiny.select(linear, log)
}
