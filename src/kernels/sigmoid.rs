//! The sigmoid scaled to a range, its inverse, and the gradients of both.
//!
//! # Mathematics
//! With σ(x) = 1/(1 + exp(−x)), y = lo·σ(−x) + hi·σ(x) = lo + (hi − lo)·σ(x). Let `near` be the end of
//! the range that x tends to (hi for x ≥ 0, else lo) and `far` the other:
//!
//! * y = near + (far − near)·σ(−|x|), where 0 ≤ σ(−|x|) ≤ ½;
//! * lo = −hi: y = hi·tanh(x/2) = hi·(1 − exp(−|x|))/(1 + exp(−|x|)) with the sign of x;
//! * dy/dx = (hi − lo)·σ(x)·σ(−x) = (hi − lo)·e/(1 + e)², e = exp(−|x|);
//! * x = log((y − lo)/(hi − y)), dx/dy = (hi − lo)/((y − lo)·(hi − y)).
//!
//! # Algorithm
//! Which arithmetic an element gets depends on the range and on that element alone.
//!
//! In registers of the type ([`Single`]): y = base + width·σ(±x), `base` the end nearer to zero, σ in two
//! words with one division ([`sigma`](crate::math::sigma)). `base` is rounded to the last place of the other
//! end, and what that leaves out is a small constant, so that the two terms add up without a rounding but
//! the last. The gradient is width·(s − s²) with s = σ(−|x|) ([`SingleSlope`]).
//!
//! For inputs and ranges out of proportion, for lo = −hi and for the inverse, f32 is computed in f64
//! registers, where no intermediate can overflow or underflow, and rounded once at the end:
//! σ(−|x|) = 1/(1 + exp |x|), each step of which is monotone. For f64 e, 1 + e, their quotient and hi − lo are
//! double words; the exponents of e and of hi − lo are kept apart and applied to the product, which is where
//! gradual underflow belongs. In both, 1 − exp comes without cancellation from a table value t, which is 1
//! near x = 0, and a small rest.
//!
//! No clamp is needed: `near` and `base` point into the range, what is added is no larger than the range, and
//! rounding is monotone.
//!
//! # Error
//! In registers of the type exp has a relative error below 2^−27.1 (2^−55.9), of which y keeps the part
//! σ(−x); all else is below 2^−43 (2^−101). So y is within 0.62 ULP for f32 and 0.64 ULP for f64 where lo·hi ≥ 0
//! (over all x of f32: 0.58 for (0, 1)), and otherwise within half an ULP and that part of |lo|·σ(−x) + hi·σ(x). s, s − s² and their
//! product with the width are rounded once each, so a gradient is within 3.7 ULP.
//!
//! Elsewhere σ(−|x|) has a relative error below 2^−40 for f32 and 2^−60 for f64, and the sum adds at most
//! that much of |far − near|·σ(−|x|) ≤ |lo|·σ(−x) + hi·σ(x), the rounding aside. So y is within 0.501 ULP
//! (f32) and 0.51 ULP (f64) where lo·hi ≥ 0, and otherwise within half an ULP and 2^−40 (2^−60) of
//! |lo|·σ(−x) + hi·σ(x). For lo = −hi, 1 − exp(−|x|) is 0.0424 at least where t is not 1, which makes
//! 2^−61.1 into 2^−56.5: 0.59 ULP at most for f64. The inverse is off by half an ULP and 2^−56.5 of
//! itself for f64 (0.59 ULP), 2^−48.6 for f32. The bounds of the lane functions are proved in `verify/proofs`,
//! which puts them together.
//!
//! Order: where a new table value begins, adjacent x differ in e by 2^−28 (f32) and 2^−57 (f64) at least,
//! about the bound of the error on the two sides. It does not add up to a fall: for f32 all x of the ranges
//! (0, 1), (25, 346), (−3, 7) and (0.1, 0.9) were tried, for both types the first seams with 10⁶ ranges.

use crate::Error;
use crate::dispatch::{Kernels, operations};
use crate::element::Lane;
use crate::error::check_len;
use crate::math::expm::{Plain, Wide, exp_plain, exp_wide};
use crate::math::log_ratio::{lift, log_ratio, log_ratio_word, significand};
use crate::math::power_of_two as pow2;
use crate::math::sigma::{SigmaTable, exp_of_negative, sigma, sigma_of_minus};
use crate::math::word::{Word, fast_two_sum, two_prod, two_sum};
use crate::simd::{Mask, Op, Simd, Vector};
use num_traits::Float;

/// The closed range [lo, hi] that [`scaled_sigmoid`](crate::scaled_sigmoid) maps to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range<T> {
    lo: T,
    hi: T,
}

impl<T: Float> Range<T> {
    /// The range from `lo` to `hi`. A zero becomes +0.
    ///
    /// ```
    /// use lossprep::Range;
    /// let range = Range::new(25.0_f32, 346.0)?;
    /// assert_eq!((range.lo(), range.hi()), (25.0, 346.0));
    /// assert!(Range::new(1.0, 0.0).is_err());
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Parameter`] unless lo ≤ hi and both are finite.
    pub fn new(lo: T, hi: T) -> Result<Self, Error> {
        if lo <= hi && lo.is_finite() && hi.is_finite() {
            Ok(Self { lo: lo + T::zero(), hi: hi + T::zero() })
        } else {
            Err(Error::Parameter { name: "range", requirement: "finite, with lo ≤ hi" })
        }
    }

    /// The lower end.
    pub fn lo(self) -> T {
        self.lo
    }

    /// The upper end.
    pub fn hi(self) -> T {
        self.hi
    }

    /// Whether the sigmoid is an odd function, which has a path of its own.
    fn is_odd(self) -> bool {
        self.lo == -self.hi && self.lo < self.hi
    }

    /// `Err` if the range is a single number, where there is no inverse.
    fn check_invertible(self) -> Result<(), Error> {
        if self.lo < self.hi {
            Ok(())
        } else {
            Err(Error::Parameter { name: "range", requirement: "lo < hi for the inverse" })
        }
    }
}

/// The lane functions of one element type.
pub trait Sigmoid: SigmaTable {
    /// The least exponent of a width for which [`Single`] is, and that of width·σ.
    const LEAST: [i32; 2];
    /// A range, and what is worked out from it once a call.
    type Span: Copy + core::fmt::Debug;

    fn span(lo: Self, hi: Self) -> Self::Span;
    /// The sigmoid for any range but an odd one.
    fn sigmoid<S: Simd>(x: Vector<Self, S>, span: &Self::Span) -> Vector<Self, S>;
    /// The sigmoid for lo = −hi.
    fn odd_sigmoid<S: Simd>(x: Vector<Self, S>, span: &Self::Span) -> Vector<Self, S>;
    /// g·dy/dx for finite g, whatever x is.
    fn slope<S: Simd>(x: Vector<Self, S>, g: Vector<Self, S>, span: &Self::Span) -> Vector<Self, S>;
    /// The inverse inside the range.
    fn logit<S: Simd>(y: Vector<Self, S>, span: &Self::Span) -> Vector<Self, S>;
    /// g·dx/dy inside the range.
    fn logit_slope<S: Simd>(y: Vector<Self, S>, g: Vector<Self, S>, span: &Self::Span) -> Vector<Self, S>;
}

/// −|x|, but not below `floor`; a NaN stays one.
#[inline(always)]
fn negative<T: Lane, S: Simd>(x: Vector<T, S>, floor: T) -> Vector<T, S> {
    Vector::splat(x.s, floor).max(x.or(Vector::splat(x.s, T::SIGN)))
}

/// `y`, the canonical NaN where `x` is NaN.
#[inline(always)]
fn keep_nan<T: Lane, S: Simd>(x: Vector<T, S>, y: Vector<T, S>) -> Vector<T, S> {
    x.is_nan().select(Vector::splat(x.s, T::NAN), y)
}

/// a + b exactly, in two words.
fn sum_words<T: Float>(a: T, b: T) -> [T; 2] {
    let sum = a + b;
    let from_b = sum - a;
    [sum, (a - (sum - from_b)) + (b - from_b)]
}

// ---- f32, in f64 registers -------------------------------------------------------------------------

/// −|x| from which on even the largest upstream gives a gradient of 0: exp(−300)·2^(129 + 128) < 2^−175.
const FLOOR_F32: f32 = -300.0;

/// The range in f64; the difference is rounded, at 2^−53, the sum is two words.
#[derive(Clone, Copy, Debug)]
pub struct SpanF32 {
    lo: f64,
    hi: f64,
    width: f64,
    sum: [f64; 2],
}

/// exp |x|, as t·(1 + q) and as one number, and σ(−|x|) = 1/(1 + exp |x|).
struct Parts<S: Simd> {
    t: Vector<f64, S>,
    q: Vector<f64, S>,
    e: Vector<f64, S>,
    sigma: Vector<f64, S>,
}

/// For the lower and the upper half of the lanes.
#[inline(always)]
fn parts<S: Simd>(x: Vector<f32, S>) -> [Parts<S>; 2] {
    let [a, b] = (-negative(x, FLOOR_F32)).widen();
    [parts_of(a), parts_of(b)]
}

#[inline(always)]
fn parts_of<S: Simd>(x: Vector<f64, S>) -> Parts<S> {
    let Plain { t, q } = exp_plain(x);
    let e = t.mul_add(q, t);
    Parts { t, q, e, sigma: Vector::splat(x.s, 1.0) / (e + 1.0) }
}

/// What the methods of the same name in [`Sigmoid`] do, for half of the lanes.
impl SpanF32 {
    #[inline(always)]
    fn sigmoid<S: Simd>(&self, x: Vector<f64, S>, parts: Parts<S>) -> Vector<f64, S> {
        let s = x.s;
        let below = x.lt(Vector::splat(s, 0.0));
        let near = below.select(Vector::splat(s, self.lo), Vector::splat(s, self.hi));
        let gap = below.select(Vector::splat(s, self.width), Vector::splat(s, -self.width));
        gap.mul_add(parts.sigma, near)
    }

    #[inline(always)]
    fn odd_sigmoid<S: Simd>(&self, parts: Parts<S>) -> Vector<f64, S> {
        let Parts { t, q, sigma, .. } = parts;
        // exp |x| − 1 keeps its relative accuracy where t is 1.
        t.mul_add(q, t - 1.0) * sigma * self.hi
    }

    #[inline(always)]
    fn slope<S: Simd>(&self, parts: Parts<S>, g: Vector<f64, S>) -> Vector<f64, S> {
        let Parts { e, sigma, .. } = parts;
        e * sigma * (sigma * self.width) * g
    }

    #[inline(always)]
    fn logit<S: Simd>(&self, y: Vector<f64, S>) -> Vector<f64, S> {
        let difference = y + y - self.sum[0] - self.sum[1];
        let sum = Vector::splat(y.s, self.width);
        log_ratio(y - self.lo, Vector::splat(y.s, self.hi) - y, difference, sum)
    }

    #[inline(always)]
    fn logit_slope<S: Simd>(&self, y: Vector<f64, S>, g: Vector<f64, S>) -> Vector<f64, S> {
        let product = (y - self.lo) * (Vector::splat(y.s, self.hi) - y);
        Vector::splat(y.s, self.width) / product * g
    }
}

impl Sigmoid for f32 {
    const LEAST: [i32; 2] = [-90, -119];
    type Span = SpanF32;

    #[inline(always)]
    fn span(lo: f32, hi: f32) -> SpanF32 {
        let (lo, hi) = (f64::from(lo), f64::from(hi));
        SpanF32 { lo, hi, width: hi - lo, sum: sum_words(lo, hi) }
    }

    #[inline(always)]
    fn sigmoid<S: Simd>(x: Vector<f32, S>, span: &SpanF32) -> Vector<f32, S> {
        let [a, b] = parts(x);
        let [xa, xb] = x.widen();
        // Adding zero turns an underflow to −0 into +0.
        keep_nan(x, Vector::narrow([span.sigmoid(xa, a), span.sigmoid(xb, b)]) + 0.0)
    }

    #[inline(always)]
    fn odd_sigmoid<S: Simd>(x: Vector<f32, S>, span: &SpanF32) -> Vector<f32, S> {
        let [a, b] = parts(x);
        keep_nan(x, Vector::narrow([span.odd_sigmoid(a), span.odd_sigmoid(b)]).copysign(x))
    }

    #[inline(always)]
    fn slope<S: Simd>(x: Vector<f32, S>, g: Vector<f32, S>, span: &SpanF32) -> Vector<f32, S> {
        let [a, b] = parts(x);
        let [ga, gb] = g.widen();
        Vector::narrow([span.slope(a, ga), span.slope(b, gb)])
    }

    #[inline(always)]
    fn logit<S: Simd>(y: Vector<f32, S>, span: &SpanF32) -> Vector<f32, S> {
        let [a, b] = y.widen();
        Vector::narrow([span.logit(a), span.logit(b)])
    }

    #[inline(always)]
    fn logit_slope<S: Simd>(y: Vector<f32, S>, g: Vector<f32, S>, span: &SpanF32) -> Vector<f32, S> {
        let ([ya, yb], [ga, gb]) = (y.widen(), g.widen());
        Vector::narrow([span.logit_slope(ya, ga), span.logit_slope(yb, gb)])
    }
}

// ---- f64, in double words --------------------------------------------------------------------------

/// −|x| from which on even the largest upstream gives a gradient of 0: exp(−2250)·2^(1025 + 1024) < 2^−1196.
const FLOOR_F64: f64 = -2250.0;

/// The range, and hi − lo as 2^exponent·(width[0] + width[1]) with 1 ≤ width[0] < 2, or zero.
#[derive(Clone, Copy, Debug)]
pub struct SpanF64 {
    lo: f64,
    hi: f64,
    width: [f64; 2],
    exponent: f64,
    /// hi − lo overflows.
    overflows: bool,
    /// A power of two that the sum is computed larger by, so that only its end can be subnormal, and
    /// its reciprocal: 2^200 where the whole range is near the subnormal numbers, else 1.
    lift: [f64; 2],
    /// The exponent of that power.
    lift_exponent: f64,
    /// ¼ where lo + hi might overflow, else 1.
    quarter: f64,
    /// (lo + hi)·quarter.
    sum: [f64; 2],
}

/// exp(−|x|) = 2^⌊z − MAGIC⌋·(e.hi + e.lo), 1 + exp(−|x|) = d.hi + d.lo, and 1/d.hi rounded.
struct Words<S: Simd> {
    wide: Wide<S>,
    e: Word<f64, S>,
    d: Word<f64, S>,
    /// 2^⌊z − MAGIC⌋, but 2^−200 where it is less: the same 1 + exp(−|x|) to 2^−106.
    power: Vector<f64, S>,
    reciprocal: Vector<f64, S>,
}

#[inline(always)]
fn words<S: Simd>(x: Vector<f64, S>) -> Words<S> {
    let s = x.s;
    let wide = exp_wide(negative(x, FLOOR_F64));
    let head = fast_two_sum(wide.t, wide.high);
    let e = Word { hi: head.hi, lo: head.lo + wide.low };
    let power = wide.z.max(Vector::splat(s, f64::MAGIC - 200.0)).pow2_floor();
    let d = fast_two_sum(Vector::splat(s, 1.0), e.hi * power);
    let d = Word { hi: d.hi, lo: e.lo.mul_add(power, d.lo) };
    Words { wide, e, d, power, reciprocal: Vector::splat(s, 1.0) / d.hi }
}

/// n/d, relative error below 2^−90, |low| ≤ 2^−50·high.
#[inline(always)]
fn quotient<S: Simd>(n: Word<f64, S>, d: Word<f64, S>, reciprocal: Vector<f64, S>) -> Word<f64, S> {
    let hi = n.hi * reciprocal;
    let rest = (-hi).mul_add(d.hi, n.hi) + (-hi).mul_add(d.lo, n.lo);
    Word { hi, lo: rest * reciprocal }
}

/// g with an exponent of its own where it is far from 1: g·2^−k and k.
#[inline(always)]
fn moderate<S: Simd>(g: Vector<f64, S>) -> (Vector<f64, S>, Vector<f64, S>) {
    let s = g.s;
    let small = g.abs().lt(Vector::splat(s, pow2(-500)));
    let large = Vector::splat(s, pow2(500)).lt(g.abs());
    let (up, down) = (Vector::splat(s, pow2(600)), Vector::splat(s, pow2(-600)));
    let (more, less) = (Vector::splat(s, 600.0), Vector::splat(s, -600.0));
    let factor = small.select(up, large.select(down, Vector::splat(s, 1.0)));
    let exponent = small.select(less, large.select(more, Vector::splat(s, 0.0)));
    (g * factor, exponent)
}

impl SpanF64 {
    /// y − lo and hi − y, both halved twice where hi − lo overflows.
    #[inline(always)]
    fn distances<S: Simd>(&self, y: Vector<f64, S>) -> [Word<f64, S>; 2] {
        // Both ends are then above 2^969, and what a tiny y loses is far below the distance to them.
        let shrink = if self.overflows { 0.25 } else { 1.0 };
        let y = y * shrink;
        let (lo, hi) = (Vector::splat(y.s, self.lo * shrink), Vector::splat(y.s, self.hi * shrink));
        // In this order the steps of two_sum cannot overflow either.
        [two_sum(-lo, y), two_sum(hi, -y)]
    }
}

impl Sigmoid for f64 {
    const LEAST: [i32; 2] = [-900, -1000];
    type Span = SpanF64;

    #[inline(always)]
    fn span(lo: f64, hi: f64) -> SpanF64 {
        let overflows = (hi - lo).is_infinite();
        let low = Float::max(Float::abs(lo), Float::abs(hi)) < pow2(-900);
        let (lift, lift_exponent) = if low { ([pow2(200), pow2(-200)], 200.0) } else { ([1.0; 2], 0.0) };
        let shrink = if overflows { 0.5 } else { 1.0 };
        let mut width = sum_words(hi * shrink, -lo * shrink);
        let (quarter, sum) = if Float::max(Float::abs(lo), Float::abs(hi)) > pow2(1000) {
            (0.25, sum_words(lo * 0.25, hi * 0.25))
        } else {
            (1.0, sum_words(lo, hi))
        };
        // In steps of 2^±511 a power of two stays a normal number.
        let mut exponent = i32::from(overflows);
        while width[0] < pow2(-511) && width[0] > 0.0 {
            (width, exponent) = (width.map(|w| w * pow2(511)), exponent - 511);
        }
        while width[0] >= pow2(511) {
            (width, exponent) = (width.map(|w| w * pow2(-511)), exponent + 511);
        }
        let k = if width[0] > 0.0 { (width[0].to_bits() >> 52) as i32 - 1023 } else { 0 };
        let (width, exponent) = (width.map(|w| w * pow2(-i64::from(k))), f64::from(exponent + k));
        SpanF64 { lo, hi, width, exponent, overflows, lift, lift_exponent, quarter, sum }
    }

    #[inline(always)]
    fn sigmoid<S: Simd>(x: Vector<f64, S>, span: &SpanF64) -> Vector<f64, S> {
        let s = x.s;
        let Words { wide, e, d, reciprocal, .. } = words(x);
        let sigma = quotient(e, d, reciprocal);
        // Towards the far end: up where x < 0, down elsewhere.
        let direction = Vector::splat(s, 1.0).copysign(-x);
        let width = Word::splat(s, span.width[0], span.width[1]).scale(direction);
        let p = two_prod(width.hi, sigma.hi);
        let low = p.lo + width.hi.mul_add(sigma.lo, width.lo * sigma.hi);
        let z = wide.z + (span.exponent + span.lift_exponent);
        let lo = Vector::splat(s, span.lo * span.lift[0]);
        let hi = Vector::splat(s, span.hi * span.lift[0]);
        let y = two_sum(Vector::splat(s, 0.0).lt(direction).select(lo, hi), p.hi.ldexp(z));
        // Adding zero turns an underflow to −0 into +0.
        keep_nan(x, (y.hi + (y.lo + low.ldexp(z))) * span.lift[1] + 0.0)
    }

    #[inline(always)]
    fn odd_sigmoid<S: Simd>(x: Vector<f64, S>, span: &SpanF64) -> Vector<f64, S> {
        let s = x.s;
        let zero = Vector::splat(s, 0.0);
        let Words { wide, d, power, reciprocal, .. } = words(x);
        // 1 − exp(−|x|): the first difference is zero where t·power is 1, so nothing cancels.
        let a = fast_two_sum(Vector::splat(s, 1.0), -wide.t * power);
        let b = two_sum(a.hi, -wide.high * power);
        let complement = Word { hi: b.hi, lo: (-wide.low).mul_add(power, a.lo + b.lo) };
        // It is |x| where that is tiny, held larger to keep all its bits.
        let tiny = x.abs().lt(Vector::splat(s, pow2(-100)));
        let complement = Word {
            hi: tiny.select(x.abs() * pow2(200), complement.hi),
            lo: tiny.select(zero, complement.lo),
        };
        let tanh = quotient(complement, d, reciprocal);
        // hi is half of hi − lo: the same significand.
        let hi = Vector::splat(s, span.width[0]);
        let p = two_prod(hi, tanh.hi);
        let y = p.hi + hi.mul_add(tanh.lo, p.lo);
        let exponent = tiny.select(Vector::splat(s, -200.0), zero) + (span.exponent - 1.0);
        keep_nan(x, y.ldexp(exponent + f64::MAGIC).copysign(x))
    }

    #[inline(always)]
    fn slope<S: Simd>(x: Vector<f64, S>, g: Vector<f64, S>, span: &SpanF64) -> Vector<f64, S> {
        let s = x.s;
        let Words { wide, e, d, reciprocal, .. } = words(x);
        let sigma = quotient(e, d, reciprocal);
        let rest = (-d.hi).mul_add(reciprocal, Vector::splat(s, 1.0)) - d.lo * reciprocal;
        let other = rest.mul_add(reciprocal, reciprocal);
        let (g, exponent) = moderate(g);
        let slope = (sigma.hi + sigma.lo) * other * span.width[0] * g;
        slope.ldexp(wide.z + (exponent + span.exponent))
    }

    #[inline(always)]
    fn logit<S: Simd>(y: Vector<f64, S>, span: &SpanF64) -> Vector<f64, S> {
        let s = y.s;
        let [u, v] = span.distances(y);
        // u − v = 2y − (lo + hi); where ¼ rounds a tiny y, the logarithm is 0 or the sum is not.
        let y = y * span.quarter;
        let difference = two_sum(y + y, Vector::splat(s, -span.sum[0]));
        let difference = difference.add_one(Vector::splat(s, -span.sum[1]));
        let (lift, lift_exponent) = lift(difference.hi);
        let q = difference.scale(lift).div(Word::splat(s, span.width[0], span.width[1]));
        let quarter_exponent = if span.quarter < 1.0 { 2.0 } else { 0.0 };
        log_ratio_word(u, v, q, -lift_exponent + (quarter_exponent - span.exponent))
    }

    #[inline(always)]
    fn logit_slope<S: Simd>(y: Vector<f64, S>, g: Vector<f64, S>, span: &SpanF64) -> Vector<f64, S> {
        let [u, v] = span.distances(y);
        let ((u, ku), (v, kv)) = (significand(u), significand(v));
        let (g, exponent) = moderate(g);
        let slope = Vector::splat(y.s, span.width[0]) / (u.hi * v.hi) * g;
        let shrunk = if span.overflows { 4.0 } else { 0.0 };
        slope.ldexp(exponent - ku - kv + (span.exponent - shrunk) + f64::MAGIC)
    }
}

// ---- What an element becomes ------------------------------------------------------------------------

/// A function of a lane of x and, if it is `BINARY`, one of g.
trait Map<T: Lane> {
    const BINARY: bool = false;
    /// Whether `first` and `second` may take the place of `at` where `plain` is true.
    const SPLIT: bool = false;

    fn at<S: Simd>(&self, x: Vector<T, S>, g: Vector<T, S>) -> Vector<T, S>;

    #[inline(always)]
    fn plain<S: Simd>(&self, x: Vector<T, S>, _: Vector<T, S>) -> Mask<T, S> {
        x.is_nan()
    }

    /// The first half of the work, half as long a chain of operations as the whole.
    #[inline(always)]
    fn first<S: Simd>(&self, x: Vector<T, S>) -> [Vector<T, S>; 2] {
        [x; 2]
    }

    /// The rest of it.
    #[inline(always)]
    fn second<S: Simd>(&self, [x, _]: [Vector<T, S>; 2], _: Vector<T, S>) -> Vector<T, S> {
        x
    }
}

struct General<T: Sigmoid>(T::Span);

impl<T: Sigmoid> Map<T> for General<T> {
    #[inline(always)]
    fn at<S: Simd>(&self, x: Vector<T, S>, _: Vector<T, S>) -> Vector<T, S> {
        T::sigmoid(x, &self.0)
    }
}

struct Odd<T: Sigmoid>(T::Span);

impl<T: Sigmoid> Map<T> for Odd<T> {
    #[inline(always)]
    fn at<S: Simd>(&self, x: Vector<T, S>, _: Vector<T, S>) -> Vector<T, S> {
        T::odd_sigmoid(x, &self.0)
    }
}

struct Slope<T: Sigmoid> {
    span: T::Span,
    /// The derivative is exactly 0 from this |x| on: +∞, or 0 where lo = hi.
    flat_from: T,
}

impl<T: Sigmoid> Map<T> for Slope<T> {
    const BINARY: bool = true;

    #[inline(always)]
    fn at<S: Simd>(&self, x: Vector<T, S>, g: Vector<T, S>) -> Vector<T, S> {
        let zero = Vector::splat(x.s, T::zero());
        // NaN for an infinite or NaN g, else +0, which also makes a −0 positive.
        let slope = T::slope(x, g, &self.span) + g.mul_add(zero, zero);
        let slope = x.abs().lt(Vector::splat(x.s, self.flat_from)).select(keep_nan(slope, slope), zero);
        keep_nan(x, slope)
    }
}

struct Inverse<T: Sigmoid> {
    span: T::Span,
    lo: T,
    hi: T,
}

impl<T: Sigmoid> Map<T> for Inverse<T> {
    #[inline(always)]
    fn at<S: Simd>(&self, y: Vector<T, S>, _: Vector<T, S>) -> Vector<T, S> {
        let (lo, hi) = (Vector::splat(y.s, self.lo), Vector::splat(y.s, self.hi));
        let (infinity, nan) = (Vector::splat(y.s, T::INFINITY), Vector::splat(y.s, T::NAN));
        let inside = lo.lt(y) & y.lt(hi);
        let at_end = y.eq(lo).select(-infinity, y.eq(hi).select(infinity, nan));
        // A quotient that underflows from below is −0.
        inside.select(T::logit(y, &self.span) + T::zero(), at_end)
    }
}

struct InverseSlope<T: Sigmoid> {
    span: T::Span,
    lo: T,
    hi: T,
}

impl<T: Sigmoid> Map<T> for InverseSlope<T> {
    const BINARY: bool = true;

    #[inline(always)]
    fn at<S: Simd>(&self, y: Vector<T, S>, g: Vector<T, S>) -> Vector<T, S> {
        let (lo, hi) = (Vector::splat(y.s, self.lo), Vector::splat(y.s, self.hi));
        let (infinity, nan) = (Vector::splat(y.s, T::INFINITY), Vector::splat(y.s, T::NAN));
        let inside = lo.lt(y) & y.lt(hi);
        let zero = Vector::splat(y.s, T::zero());
        let at_end = (y.eq(lo) | y.eq(hi)).select(infinity * g, nan);
        let slope = inside.select(T::logit_slope(y, g, &self.span), at_end) + g.mul_add(zero, zero);
        keep_nan(slope, slope)
    }
}

// ---- In registers of the type, with one division ---------------------------------------------------

/// A range for which y = base + width·σ(±x) holds in registers of T, `base` the end nearer to zero.
#[derive(Clone, Copy, Debug)]
struct Single<T: Sigmoid, const CROSSING: bool> {
    /// The range for the inputs that need more.
    span: T::Span,
    /// −0 where `base` is hi, which turns x around; else +0.
    turn: T,
    /// `base` rounded to a last place no finer than that of the other end, so that y − base is exact.
    base: T,
    /// What that left out.
    base_low: T,
    /// The other end less `base`.
    width: T,
    /// What `base_low` and a rounding of the width leave out of it, exactly: of 20 bits.
    width_low: T,
    /// From this |x| on, more is needed.
    limit: T,
}

impl<T: Sigmoid, const CROSSING: bool> Single<T, CROSSING> {
    /// `None` for a range out of proportion: empty, too wide, too narrow, or with an end other than 0 that
    /// is below 2^−16 of the other.
    fn new(range: Range<T>) -> Option<Self> {
        let Range { lo, hi } = range;
        let (near, far) = if Float::abs(lo) <= Float::abs(hi) { (lo, hi) } else { (hi, lo) };
        let turn = if near == lo { T::zero() } else { T::SIGN };
        let size = Float::abs(far);
        if near != T::zero() && Float::abs(near) < size * T::from(1.0 / 65_536.0)? {
            return None;
        }
        // The sum is at least twice the size.
        let magic = size + size + size;
        let base = near + magic - magic;
        let base_low = near - base;
        let [width, rest] = sum_words(far, -base);
        let limit = limit(width)?;
        // Where 3·size overflows, base is no number.
        width.is_finite().then(|| Self {
            span: range.span(),
            turn,
            base,
            base_low,
            width,
            width_low: rest - base_low,
            limit,
        })
    }

    /// t and w of exp(∓x), see [`exp_of_negative`].
    #[inline(always)]
    fn head<S: Simd>(&self, x: Vector<T, S>) -> [Vector<T, S>; 2] {
        exp_of_negative(x.xor(Vector::splat(x.s, self.turn)))
    }

    /// y, rounded once but for a sum of terms that are small beside it.
    #[inline(always)]
    fn tail<S: Simd, const LARGE: bool>(&self, power: [Vector<T, S>; 2]) -> Vector<T, S> {
        let [h, rho] = sigma::<T, S, LARGE>(power);
        let s = h.s;
        let (base, width) = (Vector::splat(s, self.base), Vector::splat(s, self.width));
        let (y, step, rest);
        if CROSSING {
            let product = two_prod(width, h);
            y = base + product.hi;
            step = product.hi;
            rest = step - (y - base) + product.lo;
        } else {
            // Both terms have one sign: y − base is exact.
            y = width.mul_add(h, base);
            step = y - base;
            rest = width.mul_add(h, -step);
        }
        let low = h.mul_add(Vector::splat(s, self.width_low), Vector::splat(s, self.base_low));
        y + (rest + step.mul_add(rho, low))
    }
}

impl<T: Sigmoid, const CROSSING: bool> Map<T> for Single<T, CROSSING> {
    const SPLIT: bool = true;

    #[inline(always)]
    fn at<S: Simd>(&self, x: Vector<T, S>, _: Vector<T, S>) -> Vector<T, S> {
        let y = self.tail::<S, true>(self.head(x));
        x.abs().lt(Vector::splat(x.s, self.limit)).select(y, T::sigmoid(x, &self.span))
    }

    #[inline(always)]
    fn plain<S: Simd>(&self, x: Vector<T, S>, _: Vector<T, S>) -> Mask<T, S> {
        x.abs().lt(Vector::splat(x.s, T::SMALL))
    }

    #[inline(always)]
    fn first<S: Simd>(&self, x: Vector<T, S>) -> [Vector<T, S>; 2] {
        self.head(x)
    }

    #[inline(always)]
    fn second<S: Simd>(&self, power: [Vector<T, S>; 2], _: Vector<T, S>) -> Vector<T, S> {
        self.tail::<S, false>(power)
    }
}

/// The gradient for a range whose width is neither too large nor too small.
struct SingleSlope<T: Sigmoid> {
    /// For the inputs that need more.
    slope: Slope<T>,
    /// hi − lo in two words.
    width: [T; 2],
    /// From this |x| on, more is needed.
    limit: T,
}

impl<T: Sigmoid> SingleSlope<T> {
    /// `None` for another range.
    fn new(range: Range<T>) -> Option<Self> {
        let width = sum_words(range.hi, -range.lo);
        let limit = limit(width[0])?;
        width[0].is_finite().then(|| Self { slope: range.slope(), width, limit })
    }
}

impl<T: Sigmoid> Map<T> for SingleSlope<T> {
    const BINARY: bool = true;
    const SPLIT: bool = true;

    #[inline(always)]
    fn at<S: Simd>(&self, x: Vector<T, S>, g: Vector<T, S>) -> Vector<T, S> {
        self.plain(x, g).select(self.second(self.first(x), g), self.slope.at(x, g))
    }

    #[inline(always)]
    fn plain<S: Simd>(&self, x: Vector<T, S>, g: Vector<T, S>) -> Mask<T, S> {
        x.abs().lt(Vector::splat(x.s, self.limit)) & g.is_finite()
    }

    #[inline(always)]
    fn first<S: Simd>(&self, x: Vector<T, S>) -> [Vector<T, S>; 2] {
        exp_of_negative(x.abs())
    }

    /// With e = exp(−|x|) and s = σ(−|x|) = e/(1 + e) the slope is width·(s − s²).
    #[inline(always)]
    fn second<S: Simd>(&self, power: [Vector<T, S>; 2], g: Vector<T, S>) -> Vector<T, S> {
        let sigma = sigma_of_minus(power);
        let slope = (-sigma).mul_add(sigma, sigma);
        let [width, low] = self.width.map(
            #[inline(always)]
            |width| Vector::splat(g.s, width),
        );
        // Adding zero turns −0 into +0.
        slope.mul_add(width, slope * low) * g + T::zero()
    }
}

/// The |x| from which `width`·σ(−|x|), or exp(−|x|), is too small for its low word; `None` for a width that
/// is too small itself.
fn limit<T: Sigmoid>(width: T) -> Option<T> {
    let (mantissa, exponent, _) = width.integer_decode();
    let exponent = i32::from(exponent) + mantissa.checked_ilog2()? as i32;
    let [least, product] = T::LEAST;
    let limit = T::from(exponent - product)? * T::LN2[0];
    (exponent >= least).then_some(if limit < T::FARTHEST { limit } else { T::FARTHEST })
}

// ---- The loop over all elements ---------------------------------------------------------------------

/// Registers between the two halves of a map.
const BLOCK: usize = 16;
/// So few registers, if one is one of the processor's, are all within its sight; room between the halves costs more.
const FEW: usize = 8;

/// What `first` gave, where no register crosses a cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Between<A>([A; BLOCK]);

/// A map over slices of one length; x is what `out` holds where there is no other.
struct Each<'a, T, M> {
    x: Option<&'a [T]>,
    /// Empty unless the map is `BINARY`.
    g: &'a [T],
    out: &'a mut [T],
    map: M,
}

impl<T: Lane, M: Map<T>> Op for Each<'_, T, M> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, g, out, map } = self;
        let mut done = 0;
        let few = if S::ROOMY { FEW } else { FEW / 2 };
        if M::SPLIT && out.len() > few * T::LANES {
            let mut between = [Between([T::array(T::zero()); BLOCK]); 2];
            let (x, g, out) = (x.map(T::registers), T::registers(g).0, T::registers_mut(out).0);
            for (i, out) in out.chunks_mut(BLOCK).enumerate() {
                let part = i * BLOCK..i * BLOCK + out.len();
                let g = if M::BINARY { &g[part.clone()] } else { &[] };
                block(s, &map, x.map(|x| &x.0[part]), g, out, &mut between);
            }
            done = out.len() * T::LANES;
        }
        let zero = Vector::splat(s, T::zero());
        let (out, out_tail) = T::registers_mut(&mut out[done..]);
        let x = x.map(
            #[inline(always)]
            |x| T::registers(&x[done..]),
        );
        let (g, g_tail) = T::registers(if M::BINARY { &g[done..] } else { &[] });
        for (i, out) in out.iter_mut().enumerate() {
            let x = Vector::load(s, x.map_or(&*out, |x| &x.0[i]));
            let g = if M::BINARY { Vector::load(s, &g[i]) } else { zero };
            one(&map, x, g).store(out);
        }
        if !out_tail.is_empty() {
            let x = Vector::load_partial(s, x.map_or(&*out_tail, |x| x.1), T::zero());
            let g = Vector::load_partial(s, g_tail, T::zero());
            one(&map, x, g).store_partial(out_tail);
        }
    }
}

/// The map of one register.
#[inline(always)]
fn one<T: Lane, S: Simd, M: Map<T>>(map: &M, x: Vector<T, S>, g: Vector<T, S>) -> Vector<T, S> {
    if M::SPLIT && !(!map.plain(x, g)).any() { map.second(map.first(x), g) } else { map.at(x, g) }
}

/// Up to [`BLOCK`] registers. In two loops, if it can be, which the first finds out: the chain of operations of a register
/// is longer than what a processor looks ahead, half of it is not.
#[inline(always)]
fn block<T: Lane, S: Simd, M: Map<T>>(
    s: S,
    map: &M,
    from: Option<&[T::Array]>,
    g: &[T::Array],
    out: &mut [T::Array],
    [a, b]: &mut [Between<T::Array>; 2],
) {
    let zero = Vector::splat(s, T::zero());
    let x = from.unwrap_or(out);
    let mut plain = zero.eq(zero);
    for (i, ((x, a), b)) in x.iter().zip(&mut a.0).zip(&mut b.0).enumerate() {
        let x = Vector::load(s, x);
        plain = plain & map.plain(x, if M::BINARY { Vector::load(s, &g[i]) } else { zero });
        let [first, second] = map.first(x);
        first.store(a);
        second.store(b);
    }
    if !(!plain).any() {
        for (i, ((out, a), b)) in out.iter_mut().zip(&a.0).zip(&b.0).enumerate() {
            let g = if M::BINARY { Vector::load(s, &g[i]) } else { zero };
            map.second([Vector::load(s, a), Vector::load(s, b)], g).store(out);
        }
    } else {
        for (i, out) in out.iter_mut().enumerate() {
            let x = Vector::load(s, from.map_or(&*out, |x| &x[i]));
            let g = if M::BINARY { Vector::load(s, &g[i]) } else { zero };
            map.at(x, g).store(out);
        }
    }
}

/// Writes the sigmoid of x, or of what `out` holds.
fn forward<T: Sigmoid>(kernels: Kernels, x: Option<&[T]>, range: Range<T>, out: &mut [T]) {
    let g: &[T] = &[];
    if range.is_odd() {
        Each { x, g, out, map: Odd::<T>(range.span()) }.on(kernels);
    } else if range.lo < T::zero() && range.hi > T::zero() {
        match Single::<T, true>::new(range) {
            Some(map) => Each { x, g, out, map }.on(kernels),
            None => Each { x, g, out, map: General::<T>(range.span()) }.on(kernels),
        }
    } else {
        match Single::<T, false>::new(range) {
            Some(map) => Each { x, g, out, map }.on(kernels),
            None => Each { x, g, out, map: General::<T>(range.span()) }.on(kernels),
        }
    }
}

/// Writes g·dy/dx.
fn backward<T: Sigmoid>(kernels: Kernels, x: &[T], g: &[T], range: Range<T>, out: &mut [T]) {
    match SingleSlope::new(range) {
        Some(map) => Each { x: Some(x), g, out, map }.on(kernels),
        None => Each { x: Some(x), g, out, map: range.slope() }.on(kernels),
    }
}

impl<T: Sigmoid> Range<T> {
    fn span(self) -> T::Span {
        T::span(self.lo, self.hi)
    }

    fn slope(self) -> Slope<T> {
        let flat_from = if self.lo < self.hi { T::INFINITY } else { T::zero() };
        Slope { span: self.span(), flat_from }
    }

    fn inverse(self) -> Inverse<T> {
        Inverse { span: self.span(), lo: self.lo, hi: self.hi }
    }

    fn inverse_slope(self) -> InverseSlope<T> {
        InverseSlope { span: self.span(), lo: self.lo, hi: self.hi }
    }
}

operations! {
    /// The logistic function scaled to a range: y = lo + (hi − lo)/(1 + exp(−x)), for each element.
    ///
    /// Shapes: `out` has the length of `x`.
    ///
    /// # Accuracy
    /// At most 1 ULP (0.64 for normal results) where lo·hi ≥ 0 or lo = −hi. Otherwise y passes through
    /// zero somewhere, and the bound is ½ ULP + 2^−(p+3)·(|lo|·σ(−x) + hi·σ(x)), p = 24 or 53.
    /// y is non-decreasing in x, lies in [lo, hi], and is (lo + hi)/2 rounded once at 0.
    ///
    /// # Special values
    /// ±∞ gives hi and lo exactly, NaN gives NaN, lo = hi that constant. With lo = 0 results underflow
    /// gradually. hi − lo may overflow. Zeros are +0, but lo = −hi makes an odd function: −0 for −0.
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths differ; then `out` is untouched.
    ///
    /// ```
    /// use lossprep::{Range, scaled_sigmoid};
    /// let mut y = [0.0_f32; 3];
    /// scaled_sigmoid(&[f32::NEG_INFINITY, 0.0, 100.0], Range::new(25.0, 346.0)?, &mut y)?;
    /// assert_eq!(y, [25.0, 185.5, 346.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Source
    /// The logistic function of P.-F. Verhulst (1845); the form with one exponential of −|x| is common.
    pub fn scaled_sigmoid<T>(self, x: &[T], range: Range<T>, out: &mut [T]) {
        check_len("out", x.len(), out.len())?;
        forward(self, Some(x), range, out);
        Ok(())
    }

    /// [`scaled_sigmoid`] in place: the same bits, written over `data`.
    ///
    /// Shapes: `data` has any length.
    ///
    /// # Accuracy
    /// That of [`scaled_sigmoid`].
    ///
    /// # Special values
    /// Those of [`scaled_sigmoid`].
    ///
    /// # Errors
    /// None of its own; [`Error::UnknownBackend`] or [`Error::Unavailable`] if the environment asks for
    /// a backend that cannot run.
    ///
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_in_place};
    /// let mut data = [-0.0_f64, 1e3];
    /// scaled_sigmoid_in_place(&mut data, Range::new(-1.0, 1.0)?)?;
    /// assert_eq!(data, [-0.0, 1.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Source
    /// That of [`scaled_sigmoid`].
    pub fn scaled_sigmoid_in_place<T>(self, data: &mut [T], range: Range<T>) {
        forward(self, None, range, data);
        Ok(())
    }

    /// The vector-Jacobian product of [`scaled_sigmoid`]: grad = upstream·(hi − lo)·σ(x)·σ(−x), from x,
    /// so that it is right where y saturates.
    ///
    /// Shapes: `upstream` and `grad` have the length of `x`.
    ///
    /// # Accuracy
    /// At most 4 ULP of the result. Nothing overflows or underflows on the way to a result that does not.
    ///
    /// # Special values
    /// x NaN gives NaN; x = ±∞ or lo = hi gives +0, whatever `upstream` is; else an infinite or NaN
    /// `upstream` gives NaN. Zeros are +0.
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths differ; then `grad` is untouched.
    ///
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_vjp};
    /// let mut grad = [0.0_f64; 2];
    /// scaled_sigmoid_vjp(&[0.0, f64::INFINITY], &[3.0, 3.0], Range::new(-2.0, 2.0)?, &mut grad)?;
    /// assert_eq!(grad, [3.0, 0.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Source
    /// dσ/dx = σ(x)·σ(−x), by the quotient rule.
    pub fn scaled_sigmoid_vjp<T>(self, x: &[T], upstream: &[T], range: Range<T>, grad: &mut [T]) {
        check_len("upstream", x.len(), upstream.len())?;
        check_len("grad", x.len(), grad.len())?;
        backward(self, x, upstream, range, grad);
        Ok(())
    }

    /// The Jacobian-vector product of [`scaled_sigmoid`]: out = tangent·(hi − lo)·σ(x)·σ(−x). The
    /// Jacobian is diagonal, so this is [`scaled_sigmoid_vjp`] with a tangent: same bits.
    ///
    /// Shapes: `tangent` and `out` have the length of `x`.
    ///
    /// # Accuracy
    /// That of [`scaled_sigmoid_vjp`].
    ///
    /// # Special values
    /// Those of [`scaled_sigmoid_vjp`].
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths differ; then `out` is untouched.
    ///
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_jvp};
    /// let mut out = [0.0_f32];
    /// scaled_sigmoid_jvp(&[0.0], &[1.0], Range::new(0.0, 1.0)?, &mut out)?;
    /// assert_eq!(out, [0.25]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Source
    /// That of [`scaled_sigmoid_vjp`].
    pub fn scaled_sigmoid_jvp<T>(self, x: &[T], tangent: &[T], range: Range<T>, out: &mut [T]) {
        check_len("tangent", x.len(), tangent.len())?;
        check_len("out", x.len(), out.len())?;
        backward(self, x, tangent, range, out);
        Ok(())
    }

    /// The inverse of [`scaled_sigmoid`]: x = log((y − lo)/(hi − y)), for each element.
    ///
    /// Shapes: `out` has the length of `y`.
    ///
    /// # Accuracy
    /// ½ ULP + 2^−(p+3)·max(|log(y − lo)|, |log(hi − y)|), which counts near the middle only; else at
    /// most 1 ULP (0.59).
    ///
    /// # Special values
    /// y = lo gives −∞, y = hi gives +∞; outside [lo, hi], and for NaN, the result is NaN.
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths differ, [`Error::Parameter`] if lo = hi; then `out` is untouched.
    ///
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_inverse};
    /// let mut x = [0.0_f64; 3];
    /// scaled_sigmoid_inverse(&[0.0, 2.0, 5.0], Range::new(0.0, 4.0)?, &mut x)?;
    /// assert!(x[0] == f64::NEG_INFINITY && x[1] == 0.0 && x[2].is_nan());
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Source
    /// The logit of J. Berkson, *Application of the logistic function to bio-assay* (1944).
    pub fn scaled_sigmoid_inverse<T>(self, y: &[T], range: Range<T>, out: &mut [T]) {
        range.check_invertible()?;
        check_len("out", y.len(), out.len())?;
        Each { x: Some(y), g: &[], out, map: range.inverse() }.on(self);
        Ok(())
    }

    /// [`scaled_sigmoid_inverse`] in place: the same bits, written over `data`.
    ///
    /// Shapes: `data` has any length.
    ///
    /// # Accuracy
    /// That of [`scaled_sigmoid_inverse`].
    ///
    /// # Special values
    /// Those of [`scaled_sigmoid_inverse`].
    ///
    /// # Errors
    /// [`Error::Parameter`] if lo = hi; then `data` is untouched.
    ///
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_inverse_in_place};
    /// let mut data = [0.5_f32, 1.0];
    /// scaled_sigmoid_inverse_in_place(&mut data, Range::new(0.0, 1.0)?)?;
    /// assert_eq!(data, [0.0, f32::INFINITY]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Source
    /// That of [`scaled_sigmoid_inverse`].
    pub fn scaled_sigmoid_inverse_in_place<T>(self, data: &mut [T], range: Range<T>) {
        range.check_invertible()?;
        Each { x: None, g: &[], out: data, map: range.inverse() }.on(self);
        Ok(())
    }

    /// The vector-Jacobian product of [`scaled_sigmoid_inverse`]:
    /// grad = upstream·(hi − lo)/((y − lo)·(hi − y)).
    ///
    /// Shapes: `upstream` and `grad` have the length of `y`.
    ///
    /// # Accuracy
    /// At most 4 ULP of the result. Nothing overflows or underflows on the way to a result that does not.
    ///
    /// # Special values
    /// Outside [lo, hi], for a NaN y and for an infinite or NaN `upstream` the result is NaN; at lo and
    /// hi it is ∞·upstream (NaN for 0). Zeros are +0.
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths differ, [`Error::Parameter`] if lo = hi; then `grad` is untouched.
    ///
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_inverse_vjp};
    /// let mut grad = [0.0_f32; 2];
    /// scaled_sigmoid_inverse_vjp(&[0.5, 0.0], &[2.0, -1.0], Range::new(0.0, 1.0)?, &mut grad)?;
    /// assert_eq!(grad, [8.0, f32::NEG_INFINITY]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Source
    /// 1/(y − lo) + 1/(hi − y), the derivative of log(y − lo) − log(hi − y), over a common denominator.
    pub fn scaled_sigmoid_inverse_vjp<T>(self, y: &[T], upstream: &[T], range: Range<T>, grad: &mut [T]) {
        range.check_invertible()?;
        check_len("upstream", y.len(), upstream.len())?;
        check_len("grad", y.len(), grad.len())?;
        Each { x: Some(y), g: upstream, out: grad, map: range.inverse_slope() }.on(self);
        Ok(())
    }

    /// The Jacobian-vector product of [`scaled_sigmoid_inverse`]:
    /// out = tangent·(hi − lo)/((y − lo)·(hi − y)). The Jacobian is diagonal, so this is
    /// [`scaled_sigmoid_inverse_vjp`] with a tangent: same bits.
    ///
    /// Shapes: `tangent` and `out` have the length of `y`.
    ///
    /// # Accuracy
    /// That of [`scaled_sigmoid_inverse_vjp`].
    ///
    /// # Special values
    /// Those of [`scaled_sigmoid_inverse_vjp`].
    ///
    /// # Errors
    /// [`Error::Length`] if the lengths differ, [`Error::Parameter`] if lo = hi; then `out` is untouched.
    ///
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_inverse_jvp};
    /// let mut out = [0.0_f64];
    /// scaled_sigmoid_inverse_jvp(&[1.0], &[1.0], Range::new(0.0, 2.0)?, &mut out)?;
    /// assert_eq!(out, [2.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Source
    /// That of [`scaled_sigmoid_inverse_vjp`].
    pub fn scaled_sigmoid_inverse_jvp<T>(self, y: &[T], tangent: &[T], range: Range<T>, out: &mut [T]) {
        range.check_invertible()?;
        check_len("tangent", y.len(), tangent.len())?;
        check_len("out", y.len(), out.len())?;
        Each { x: Some(y), g: tangent, out, map: range.inverse_slope() }.on(self);
        Ok(())
    }
}
