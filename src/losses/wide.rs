//! Registers with about twice the precision of their type: what the losses compute in.
//!
//! An f32 lane is one f64, an f64 lane a double word. A loss is written once over [`Wide`], as its formula
//! stands in the book but for the places where that cancels, and rounded once at its end.
//!
//! # Error
//! f32: every operation is one of f64; [`exp`](Wide::exp) is within 2^−41, logarithms within 2^−37. f64: sums,
//! products, quotients and roots within 2^−102, `exp` within 2^−61, logarithms within 2^−58 (`math/expm.rs`,
//! `math/log.rs`). Relative to the result, also near 0 where a function has a zero there.
//!
//! # Range
//! f64 has room for every product of a few f32 numbers. For f64 lanes exponentials, upstream gradients and weights
//! keep their exponents apart ([`Extended`]), so that no product of them overflows or underflows on its way to a result
//! that does not. Infinities and NaN follow IEEE 754: a double word whose head is not finite has no low word.

use crate::element::Lane;
use crate::math::dot::{Dot, WAYS};
use crate::math::exp::power_parts;
use crate::math::expm::{exp_plain, exp_wide};
use crate::math::log::{log1p, log1p_word};
use crate::math::log_ratio::{lift, log_ratio, significand};
use crate::math::power_of_two;
use crate::math::word::{Word, fast_two_sum, two_prod, two_sum};
use crate::simd::{Mask, Simd, Vector};
use core::ops::{Add, Div, Mul, Neg, Sub};

/// The arithmetic on one element type's accumulators; [`Wide`] has it as operators.
pub trait WideElement: Dot {
    /// exp of less leaves no trace, whatever it is multiplied with.
    const LOWEST: Self;
    /// exp of less is nothing beside 1.
    const FLAT: Self;

    /// The backend of the registers.
    fn backend<S: Simd>(a: Self::Acc<S>) -> S;
    fn exact<S: Simd>(v: Vector<Self, S>) -> Self::Acc<S>
    where
        Self: Sized;
    fn rounded<S: Simd>(a: Self::Acc<S>) -> Vector<Self, S>
    where
        Self: Sized;
    fn sum<S: Simd>(a: Self::Acc<S>, b: Self::Acc<S>) -> Self::Acc<S>;
    fn product<S: Simd>(a: Self::Acc<S>, b: Self::Acc<S>) -> Self::Acc<S>;
    fn quotient<S: Simd>(a: Self::Acc<S>, b: Self::Acc<S>) -> Self::Acc<S>;
    fn negative<S: Simd>(a: Self::Acc<S>) -> Self::Acc<S>;
    /// −1, 0 or 1; 0 for NaN.
    fn sign<S: Simd>(a: Self::Acc<S>) -> Vector<Self, S>
    where
        Self: Sized;
    fn root<S: Simd>(a: Self::Acc<S>) -> Self::Acc<S>;
    fn chosen<S: Simd>(mask: Mask<Self, S>, yes: Self::Acc<S>, no: Self::Acc<S>) -> Self::Acc<S>
    where
        Self: Sized;
    /// exp(a), LOWEST ≤ a ≤ 700.
    fn exponential<S: Simd>(a: Self::Acc<S>) -> Self::Acc<S>;
    /// The same as a significand and an exponent; so any number. f32 has no exponents but 0.
    fn exponential_parts<S: Simd>(a: Self::Acc<S>) -> (Self::Acc<S>, Vector<Self, S>)
    where
        Self: Sized;
    fn parts<S: Simd>(a: Self::Acc<S>) -> (Self::Acc<S>, Vector<Self, S>)
    where
        Self: Sized;
    /// exp(a) − 1, FLAT ≤ a ≤ 0.
    fn exponential_less_one<S: Simd>(a: Self::Acc<S>) -> Self::Acc<S>;
    /// log(1 + a), 0 ≤ a < 2^60.
    fn logarithm_of_one_plus<S: Simd>(a: Self::Acc<S>) -> Self::Acc<S>;
    /// log a, a > 0.
    fn logarithm<S: Simd>(a: Self::Acc<S>) -> Self::Acc<S>;
    /// a·2^exponent, an integer in −2000 … 2000.
    fn scale<S: Simd>(a: Self::Acc<S>, exponent: Vector<Self, S>) -> Self::Acc<S>
    where
        Self: Sized;
    /// v as a significand and an exponent; 0 where exponents need no care.
    fn split(v: Self) -> (Self, Self)
    where
        Self: Sized;
    /// Eight or sixteen lanes as sixteen f64, and back.
    fn save<S: Simd>(a: Self::Acc<S>, to: &mut [f64; 16]);
    fn restore<S: Simd>(s: S, from: &[f64; 16]) -> Self::Acc<S>;
}

/// The halves of an f32 register as f64.
type Halves<S> = [Vector<f64, S>; 2];

/// The masks of the halves.
#[inline(always)]
fn halved<S: Simd>(mask: Mask<f32, S>, s: S) -> [Mask<f64, S>; 2] {
    let zero = Vector::splat(s, 0.0);
    let [low, high] = mask.select(Vector::splat(s, 1.0_f32), Vector::splat(s, 0.0)).widen();
    [zero.lt(low), zero.lt(high)]
}

#[inline(always)]
fn sign_of<S: Simd>(a: Vector<f64, S>) -> Vector<f64, S> {
    let (zero, one) = (Vector::splat(a.s, 0.0), Vector::splat(a.s, 1.0));
    a.lt(zero).select(-one, zero.lt(a).select(one, zero))
}

impl WideElement for f32 {
    const LOWEST: Self = -700.0;
    const FLAT: Self = -80.0;

    #[inline(always)]
    fn backend<S: Simd>(a: Halves<S>) -> S {
        a[0].s
    }
    #[inline(always)]
    fn exact<S: Simd>(v: Vector<f32, S>) -> Halves<S> {
        v.widen()
    }
    #[inline(always)]
    fn rounded<S: Simd>(a: Halves<S>) -> Vector<f32, S> {
        Vector::narrow(a)
    }
    #[inline(always)]
    fn sum<S: Simd>(a: Halves<S>, b: Halves<S>) -> Halves<S> {
        [a[0] + b[0], a[1] + b[1]]
    }
    #[inline(always)]
    fn product<S: Simd>(a: Halves<S>, b: Halves<S>) -> Halves<S> {
        [a[0] * b[0], a[1] * b[1]]
    }
    #[inline(always)]
    fn quotient<S: Simd>(a: Halves<S>, b: Halves<S>) -> Halves<S> {
        [a[0] / b[0], a[1] / b[1]]
    }
    #[inline(always)]
    fn negative<S: Simd>(a: Halves<S>) -> Halves<S> {
        [-a[0], -a[1]]
    }
    #[inline(always)]
    fn sign<S: Simd>(a: Halves<S>) -> Vector<f32, S> {
        Vector::narrow([sign_of(a[0]), sign_of(a[1])])
    }
    #[inline(always)]
    fn root<S: Simd>(a: Halves<S>) -> Halves<S> {
        [a[0].sqrt(), a[1].sqrt()]
    }
    #[inline(always)]
    fn chosen<S: Simd>(mask: Mask<f32, S>, yes: Halves<S>, no: Halves<S>) -> Halves<S> {
        let mask = halved(mask, yes[0].s);
        [mask[0].select(yes[0], no[0]), mask[1].select(yes[1], no[1])]
    }
    #[inline(always)]
    fn exponential<S: Simd>(a: Halves<S>) -> Halves<S> {
        let (low, high) = (exp_plain(a[0]), exp_plain(a[1]));
        [low.t.mul_add(low.q, low.t), high.t.mul_add(high.q, high.t)]
    }
    #[inline(always)]
    fn exponential_parts<S: Simd>(a: Halves<S>) -> (Halves<S>, Vector<f32, S>) {
        Self::parts(Self::exponential(a))
    }
    #[inline(always)]
    fn parts<S: Simd>(a: Halves<S>) -> (Halves<S>, Vector<f32, S>) {
        (a, Vector::splat(a[0].s, 0.0))
    }
    #[inline(always)]
    fn exponential_less_one<S: Simd>(a: Halves<S>) -> Halves<S> {
        let (low, high) = (exp_plain(a[0]), exp_plain(a[1]));
        [low.t.mul_add(low.q, low.t - 1.0), high.t.mul_add(high.q, high.t - 1.0)]
    }
    #[inline(always)]
    fn logarithm_of_one_plus<S: Simd>(a: Halves<S>) -> Halves<S> {
        [log1p(a[0]), log1p(a[1])]
    }
    #[inline(always)]
    fn logarithm<S: Simd>(a: Halves<S>) -> Halves<S> {
        let one = Vector::splat(a[0].s, 1.0);
        [log_ratio(a[0], one, a[0] - 1.0, a[0] + 1.0), log_ratio(a[1], one, a[1] - 1.0, a[1] + 1.0)]
    }
    #[inline(always)]
    fn scale<S: Simd>(a: Halves<S>, _: Vector<f32, S>) -> Halves<S> {
        a
    }
    #[inline(always)]
    fn split(v: f32) -> (f32, f32) {
        (v, 0.0)
    }
    #[inline(always)]
    fn save<S: Simd>(a: Halves<S>, to: &mut [f64; 16]) {
        to[..8].copy_from_slice(&a[0].to_array());
        to[8..].copy_from_slice(&a[1].to_array());
    }
    #[inline(always)]
    fn restore<S: Simd>(s: S, from: &[f64; 16]) -> Halves<S> {
        let (low, high) = f64::registers(from).0.split_at(1);
        [Vector::load(s, &low[0]), Vector::load(s, &high[0])]
    }
}

/// The word, or what IEEE arithmetic on the heads gives where that is not finite.
#[inline(always)]
fn settled<S: Simd>(plain: Vector<f64, S>, word: Word<f64, S>) -> Word<f64, S> {
    let sound = word.hi.is_finite();
    Word::select(sound, word, Word::exact(plain))
}

/// 2^exponent as two normal factors, |exponent| ≤ 2000.
#[inline(always)]
fn powers<S: Simd>(exponent: Vector<f64, S>) -> [Vector<f64, S>; 2] {
    let half = (exponent * 0.5 + f64::MAGIC).floor_magic();
    let rest = exponent - (half - f64::MAGIC);
    [half.pow2_floor(), (rest + f64::MAGIC).pow2_floor()]
}

/// exp(a) as 2^⌊z − MAGIC⌋·word.
#[inline(always)]
fn exp_parts<S: Simd>(a: Word<f64, S>) -> (Vector<f64, S>, Word<f64, S>) {
    let e = exp_wide(a.hi);
    let head = fast_two_sum(e.t, e.high);
    (e.z, fast_two_sum(head.hi, head.lo + a.lo.mul_add(head.hi, e.low)))
}

/// log of a word near 1: in [√½, √2].
#[inline(always)]
fn ln_near<S: Simd>(m: Word<f64, S>) -> Word<f64, S> {
    let one = Vector::splat(m.hi.s, 1.0);
    let below = (m.hi - 1.0 + m.lo).lt(Vector::splat(m.hi.s, 0.0));
    let less = two_sum(m.hi, -one);
    let less = fast_two_sum(less.hi, less.lo + m.lo);
    let other = (-less).div(m);
    let log = log1p_word(Word::select(below, other, less));
    Word::select(below, -log, log)
}

/// a > 0 as 2^k·m, m in [√½, √2].
#[inline(always)]
fn near_one<S: Simd>(a: Word<f64, S>) -> (Vector<f64, S>, Word<f64, S>) {
    let s = a.hi.s;
    let (m, k) = significand(a);
    let large = Vector::splat(s, core::f64::consts::SQRT_2).lt(m.hi);
    let by = large.select(Vector::splat(s, 0.5), Vector::splat(s, 1.0));
    (k + large.select(Vector::splat(s, 1.0), Vector::splat(s, 0.0)), m.scale(by))
}

impl WideElement for f64 {
    const LOWEST: Self = -4000.0;
    const FLAT: Self = -80.0;

    #[inline(always)]
    fn backend<S: Simd>(a: Word<f64, S>) -> S {
        a.hi.s
    }
    #[inline(always)]
    fn exact<S: Simd>(v: Vector<f64, S>) -> Word<f64, S> {
        Word::exact(v)
    }
    #[inline(always)]
    fn rounded<S: Simd>(a: Word<f64, S>) -> Vector<f64, S> {
        a.hi + a.lo
    }
    #[inline(always)]
    fn sum<S: Simd>(a: Word<f64, S>, b: Word<f64, S>) -> Word<f64, S> {
        settled(a.hi + b.hi, a.add(b))
    }
    #[inline(always)]
    fn product<S: Simd>(a: Word<f64, S>, b: Word<f64, S>) -> Word<f64, S> {
        let p = two_prod(a.hi, b.hi);
        let cross = a.hi.mul_add(b.lo, a.lo.mul_add(b.hi, p.lo));
        settled(p.hi, fast_two_sum(p.hi, cross))
    }
    #[inline(always)]
    fn quotient<S: Simd>(a: Word<f64, S>, b: Word<f64, S>) -> Word<f64, S> {
        settled(a.hi / b.hi, a.div(b))
    }
    #[inline(always)]
    fn negative<S: Simd>(a: Word<f64, S>) -> Word<f64, S> {
        -a
    }
    #[inline(always)]
    fn sign<S: Simd>(a: Word<f64, S>) -> Vector<f64, S> {
        sign_of(a.hi)
    }
    #[inline(always)]
    fn root<S: Simd>(a: Word<f64, S>) -> Word<f64, S> {
        settled(a.hi.sqrt(), a.sqrt())
    }
    #[inline(always)]
    fn chosen<S: Simd>(mask: Mask<f64, S>, yes: Word<f64, S>, no: Word<f64, S>) -> Word<f64, S> {
        Word::select(mask, yes, no)
    }
    #[inline(always)]
    fn exponential<S: Simd>(a: Word<f64, S>) -> Word<f64, S> {
        let (z, word) = exp_parts(a);
        let [first, second, third] = power_parts(z);
        word.scale(first).scale(second).scale(third)
    }
    #[inline(always)]
    fn exponential_parts<S: Simd>(a: Word<f64, S>) -> (Word<f64, S>, Vector<f64, S>) {
        let (z, word) = exp_parts(a);
        (word, z.floor_magic() - f64::MAGIC)
    }
    #[inline(always)]
    fn parts<S: Simd>(a: Word<f64, S>) -> (Word<f64, S>, Vector<f64, S>) {
        let s = a.hi.s;
        let zero = Vector::splat(s, 0.0);
        let size = a.hi.abs();
        let ordinary = zero.lt(size) & size.lt(Vector::splat(s, f64::INFINITY));
        // A subnormal number has no exponent to read.
        let (lift, by) = lift(a.hi);
        let lifted = a.scale(lift);
        let k = ordinary.select(lifted.hi, Vector::splat(s, 1.0)).abs().exponent();
        let [first, second] = powers(-k);
        // Beside 0 every other exponent counts.
        let other = zero.eq(size).select(Vector::splat(s, -1e4), zero);
        (Self::chosen(ordinary, lifted.scale(first).scale(second), a), ordinary.select(k - by, other))
    }
    #[inline(always)]
    fn exponential_less_one<S: Simd>(a: Word<f64, S>) -> Word<f64, S> {
        let e = exp_wide(a.hi);
        let power = e.z.pow2_floor();
        let head = two_sum(e.t * power, Vector::splat(a.hi.s, -1.0));
        let low = a.lo.mul_add(e.t + e.high, e.low) * power;
        let sum = two_sum(head.hi, e.high * power);
        fast_two_sum(sum.hi, sum.lo + (head.lo + low))
    }
    #[inline(always)]
    fn logarithm_of_one_plus<S: Simd>(a: Word<f64, S>) -> Word<f64, S> {
        // What is this small is its own logarithm, and may be subnormal.
        let tiny = a.hi.lt(Vector::splat(a.hi.s, power_of_two(-200)));
        Self::chosen(tiny, a, settled(a.hi, log1p_word(a)))
    }
    #[inline(always)]
    fn logarithm<S: Simd>(a: Word<f64, S>) -> Word<f64, S> {
        let (k, m) = near_one(a);
        let [ln2, low] = <f64 as crate::math::exp::ExpTable>::LN2;
        Word::splat(k.s, ln2, low).mul_one(k).add(ln_near(m))
    }
    #[inline(always)]
    fn scale<S: Simd>(a: Word<f64, S>, exponent: Vector<f64, S>) -> Word<f64, S> {
        let [first, second] = powers(exponent);
        settled(a.hi * first * second, a.scale(first).scale(second))
    }
    #[inline(always)]
    fn split(v: f64) -> (f64, f64) {
        let magnitude = v.abs();
        if magnitude == 0.0 || !magnitude.is_finite() {
            return (v, 0.0);
        }
        // A subnormal number has no exponent to read.
        let (lifted, by) = if magnitude < f64::MIN_POSITIVE { (v * power_of_two(64), 64) } else { (v, 0) };
        let exponent = (lifted.to_bits() >> 52 & 0x7ff) as i64 - 1023;
        (
            lifted * power_of_two(-exponent / 2) * power_of_two(-exponent - -exponent / 2),
            (exponent - by) as f64,
        )
    }
    #[inline(always)]
    fn save<S: Simd>(a: Word<f64, S>, to: &mut [f64; 16]) {
        to[..8].copy_from_slice(&a.hi.to_array());
        to[8..].copy_from_slice(&a.lo.to_array());
    }
    #[inline(always)]
    fn restore<S: Simd>(s: S, from: &[f64; 16]) -> Word<f64, S> {
        let (high, low) = f64::registers(from).0.split_at(1);
        Word { hi: Vector::load(s, &high[0]), lo: Vector::load(s, &low[0]) }
    }
}

/// A register with about twice the precision of its type.
pub(crate) struct Wide<T: WideElement, S: Simd>(pub(crate) T::Acc<S>);

impl<T: WideElement, S: Simd> Clone for Wide<T, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: WideElement, S: Simd> Copy for Wide<T, S> {}

macro_rules! operator {
    ($trait:ident, $method:ident, $how:ident, |$a:ident, $b:ident| $value:expr) => {
        impl<T: WideElement, S: Simd> $trait for Wide<T, S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.backend().$how(
                    #[inline(always)]
                    || {
                        let ($a, $b) = (self.0, other.0);
                        Self($value)
                    },
                )
            }
        }
    };
}
operator!(Add, add, near, |a, b| T::sum::<S>(a, b));
operator!(Sub, sub, near, |a, b| T::sum::<S>(a, T::negative::<S>(b)));
operator!(Mul, mul, near, |a, b| T::product::<S>(a, b));
operator!(Div, div, apart, |a, b| T::quotient::<S>(a, b));

impl<T: WideElement, S: Simd> Neg for Wide<T, S> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self(T::negative::<S>(self.0))
    }
}

impl<T: WideElement, S: Simd> Wide<T, S> {
    #[inline(always)]
    pub(crate) fn backend(self) -> S {
        T::backend(self.0)
    }

    #[inline(always)]
    pub(crate) fn exact(v: Vector<T, S>) -> Self {
        Self(T::exact(v))
    }

    #[inline(always)]
    pub(crate) fn splat(s: S, x: T) -> Self {
        Self::exact(Vector::splat(s, x))
    }

    #[inline(always)]
    pub(crate) fn zero(s: S) -> Self {
        Self(T::acc(s))
    }

    /// a − b, exactly but for f64's precision where the type is f32.
    #[inline(always)]
    pub(crate) fn difference(a: Vector<T, S>, b: Vector<T, S>) -> Self {
        Self::exact(a) - Self::exact(b)
    }

    /// Rounded to the type.
    #[inline(always)]
    pub(crate) fn round(self) -> Vector<T, S> {
        T::rounded::<S>(self.0)
    }

    /// −1, 0 or 1, whatever it rounds to.
    #[inline(always)]
    pub(crate) fn sign(self) -> Vector<T, S> {
        T::sign::<S>(self.0)
    }

    /// `yes` where true, `no` elsewhere.
    #[inline(always)]
    pub(crate) fn select(mask: Mask<T, S>, yes: Self, no: Self) -> Self {
        Self(T::chosen(mask, yes.0, no.0))
    }

    /// Bounded from below, where exp leaves no trace; NaN stays.
    #[inline(always)]
    fn bounded(self, floor: T) -> Self {
        let head = self.round();
        let floor = Vector::splat(head.s, floor);
        Self::select(head.lt(floor), Self::exact(floor), self)
    }

    // What follows is out of line: inlined everywhere it would make most of the library.

    /// exp(self), self ≤ 700.
    #[inline(always)]
    pub(crate) fn exp(self) -> Self {
        self.backend().apart(
            #[inline(always)]
            || self.or_nan(Self(T::exponential::<S>(self.bounded(T::LOWEST).0))),
        )
    }

    /// exp(self) − 1, self ≤ 0.
    #[inline(always)]
    pub(crate) fn exp_m1(self) -> Self {
        self.backend().apart(
            #[inline(always)]
            || self.or_nan(Self(T::exponential_less_one::<S>(self.bounded(T::FLAT).0))),
        )
    }

    #[inline(always)]
    pub(crate) fn tanh(self) -> Self {
        self.backend().apart(
            #[inline(always)]
            || {
                let head = self.round();
                let negative = head.lt(Vector::splat(head.s, T::zero()));
                let magnitude = Self::select(negative, -self, self);
                let m = T::exponential_less_one::<S>((-(magnitude + magnitude)).bounded(T::FLAT).0);
                let two = Self::splat(head.s, T::one() + T::one());
                let value = Self(T::quotient::<S>((-Self(m)).0, (Self(m) + two).0));
                self.or_nan(Self::select(negative, -value, value))
            },
        )
    }

    #[inline(always)]
    pub(crate) fn ln_1p(self) -> Self {
        self.backend().apart(
            #[inline(always)]
            || Self(T::logarithm_of_one_plus::<S>(self.0)),
        )
    }

    #[inline(always)]
    pub(crate) fn ln(self) -> Self {
        self.backend().apart(
            #[inline(always)]
            || Self(T::logarithm::<S>(self.0)),
        )
    }

    /// `value`, or self where that is NaN.
    #[inline(always)]
    fn or_nan(self, value: Self) -> Self {
        let head = self.round();
        Self::select(head.is_nan(), Self::exact(head), value)
    }

    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        Self(T::root::<S>(self.0))
    }

    /// self·2^exponent, an integer in −2000 … 2000; f64 alone has exponents that are not 0.
    #[inline(always)]
    pub(crate) fn scale(self, exponent: Vector<T, S>) -> Self {
        self.backend().apart(
            #[inline(always)]
            || Self(T::scale(self.0, exponent)),
        )
    }

    /// The sum over the lanes, in all lanes.
    #[inline(always)]
    fn across(s: S, ways: &[T::Acc<S>]) -> Self {
        let total = Self(T::across(s, ways));
        if !total.round().is_nan().any() {
            return total;
        }
        // An infinite sum has no second words: its heads alone say what it is.
        let mut heads = T::zero();
        for &way in ways {
            heads = Self(way).round().to_array().as_ref().iter().fold(heads, |sum, &head| sum + head);
        }
        Self::splat(s, heads)
    }
}

/// Sums of the terms that `terms` gives for each register of a row, in one order: element i goes to
/// accumulator i mod 32.
#[inline(always)]
pub(crate) fn sums<T: WideElement, S: Simd, const N: usize>(
    s: S,
    steps: usize,
    mut terms: impl FnMut(usize) -> [Wide<T, S>; N],
) -> [Wide<T, S>; N] {
    let ways = WAYS / T::LANES;
    let mut accs = [[T::acc(s); 4]; N];
    for j in 0..steps {
        let terms = terms(j);
        for n in 0..N {
            accs[n][j % ways] = (Wide(accs[n][j % ways]) + terms[n]).0;
        }
    }
    let mut totals = [Wide::zero(s); N];
    for n in 0..N {
        totals[n] = Wide::across(s, &accs[n][..ways]);
    }
    totals
}

/// significand·2^exponent: of a range that no product of what a loss is made of leaves. The significand is about 1
/// where the number is not 0 (f32: the number itself, and the exponent 0).
pub(crate) struct Extended<T: WideElement, S: Simd> {
    significand: Wide<T, S>,
    exponent: Vector<T, S>,
}

impl<T: WideElement, S: Simd> Clone for Extended<T, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: WideElement, S: Simd> Copy for Extended<T, S> {}

macro_rules! extended {
    ($($trait:ident $method:ident: |$a:ident, $b:ident| $body:block)*) => {$(
        impl<T: WideElement, S: Simd> $trait for Extended<T, S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                let ($a, $b) = (self, other);
                $body
            }
        }
    )*};
}

extended! {
    Add add: |a, b| {
        let exponent = a.exponent.max(b.exponent);
        let least = Vector::splat(exponent.s, T::from(-2000).unwrap_or_else(T::zero));
        let part = |x: Self| x.significand.scale((x.exponent - exponent).max(least));
        Self { significand: part(a) + part(b), exponent }
    }
    Sub sub: |a, b| { a + Self { significand: -b.significand, ..b } }
    Mul mul: |a, b| { Self { significand: a.significand * b.significand, exponent: a.exponent + b.exponent } }
    Div div: |a, b| { Self { significand: a.significand / b.significand, exponent: a.exponent - b.exponent } }
}

impl<T: WideElement, S: Simd> Extended<T, S> {
    #[inline(always)]
    pub(crate) fn of(v: Wide<T, S>) -> Self {
        v.backend().apart(
            #[inline(always)]
            || {
                let (significand, exponent) = T::parts::<S>(v.0);
                Self { significand: Wide(significand), exponent }
            },
        )
    }

    #[inline(always)]
    pub(crate) fn splat(s: S, x: T) -> Self {
        Self::of(Wide::splat(s, x))
    }

    /// The same exponent for all lanes; the significand may be any number.
    #[inline(always)]
    pub(crate) fn scaled(significand: Wide<T, S>, exponent: T) -> Self {
        Self { significand, exponent: Vector::splat(significand.backend(), exponent) }
    }

    /// The exponent of the number in the first lane.
    #[inline(always)]
    pub(crate) fn exponent(self) -> T {
        let more = Self::of(self.significand).exponent;
        (self.exponent + more).to_array().as_ref()[0]
    }

    /// exp x, x ≤ 700.
    #[inline(always)]
    pub(crate) fn exp(x: Wide<T, S>) -> Self {
        x.backend().apart(
            #[inline(always)]
            || {
                let head = x.round();
                let (significand, exponent) = T::exponential_parts::<S>(x.bounded(T::LOWEST).0);
                let value = Self { significand: Wide(significand), exponent };
                let nan = Self { significand: Wide::exact(head), exponent: Vector::splat(head.s, T::zero()) };
                Self::select(head.is_nan(), nan, value)
            },
        )
    }

    /// log(1 + exp x), x ≤ 0; also where exp x is too small for the type.
    #[inline(always)]
    pub(crate) fn ln_1p_exp(x: Wide<T, S>) -> Self {
        let head = x.round();
        let far = head.lt(Vector::splat(head.s, T::FLAT));
        Self::select(far, Self::exp(x), Self::of(x.exp().ln_1p()))
    }

    /// `yes` where true, `no` elsewhere.
    #[inline(always)]
    pub(crate) fn select(mask: Mask<T, S>, yes: Self, no: Self) -> Self {
        Self {
            significand: Wide::select(mask, yes.significand, no.significand),
            exponent: mask.select(yes.exponent, no.exponent),
        }
    }

    /// In the range of the type.
    #[inline(always)]
    pub(crate) fn wide(self) -> Wide<T, S> {
        let most = Vector::splat(self.exponent.s, T::from(2000).unwrap_or_else(T::zero));
        self.significand.scale(-(-self.exponent.max(-most)).max(-most))
    }

    /// Rounded to the type.
    #[inline(always)]
    pub(crate) fn round(self) -> Vector<T, S> {
        self.wide().round()
    }

    /// −1, 0 or 1; 0 for NaN.
    #[inline(always)]
    pub(crate) fn sign(self) -> Vector<T, S> {
        self.significand.sign()
    }

    /// self·term, but 0 where self is 0, whatever the term is.
    #[inline(always)]
    pub(crate) fn times_unless_zero(self, term: Self) -> Self {
        let sign = self.sign();
        Self::select(sign.eq(Vector::splat(sign.s, T::zero())), self, self * term)
    }
}

/// `v` with the canonical NaN and no −0.
#[inline(always)]
pub(crate) fn canonical<T: Lane, S: Simd>(v: Vector<T, S>) -> Vector<T, S> {
    v.is_nan().select(Vector::splat(v.s, T::NAN), v) + T::zero()
}
