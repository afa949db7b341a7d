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
//! f64 has room for every product of a few f32 numbers. For f64 lanes exponentials and upstream gradients take a
//! *lift*, a power of two that goes from the gradient into its factors, so that neither underflows alone
//! ([`Lifted`]). Infinities and NaN follow IEEE 754: a double word whose head is not finite has no low word.

use crate::element::Lane;
use crate::math::dot::{Dot, WAYS};
use crate::math::exp::power_parts;
use crate::math::expm::{Plain, exp_plain, exp_wide};
use crate::math::log::{log1p, log1p_word};
use crate::math::log_ratio::{log_ratio, significand};
use crate::math::word::{Word, fast_two_sum, two_prod, two_sum};
use crate::simd::{Mask, Op, Simd, Vector};
use core::ops::{Add, Div, Mul, Neg, Sub};

/// The arithmetic on one element type's accumulators; [`Wide`] has it as operators.
pub trait WideElement: Dot {
    /// exp of less leaves no trace, whatever it is multiplied with.
    const LOWEST: Self;
    /// exp of less is nothing beside 1.
    const FLAT: Self;
    /// As little and as much as a lift may be.
    const LIFTS: [Self; 2];

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
    /// exp(a)·2^lift, LOWEST ≤ a ≤ 700, lift in LIFTS or 0.
    fn exponential<S: Simd>(a: Self::Acc<S>, lift: Vector<Self, S>) -> Self::Acc<S>
    where
        Self: Sized;
    /// exp(a) − 1, FLAT ≤ a ≤ 0.
    fn exponential_less_one<S: Simd>(a: Self::Acc<S>) -> Self::Acc<S>;
    /// log(1 + a), 0 ≤ a < 2^60.
    fn logarithm_of_one_plus<S: Simd>(a: Self::Acc<S>) -> Self::Acc<S>;
    /// log a, a > 0; and what [`pow`](Wide::pow) makes of it: a^y, 0 ≤ y.
    fn logarithm<S: Simd>(a: Self::Acc<S>) -> Self::Acc<S>;
    fn power<S: Simd>(a: Self::Acc<S>, y: Self) -> Self::Acc<S>;
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

#[inline(always)]
fn pow_plain<S: Simd>(a: Vector<f64, S>, y: f64) -> Vector<f64, S> {
    // Below 2^−400 no power that is not negligible is told from that of 2^−400 by an f32.
    let a = a.max(Vector::splat(a.s, f64::from_bits((1023 - 400) << 52)));
    let one = Vector::splat(a.s, 1.0);
    let Plain { t, q } = exp_plain((log_ratio(a, one, a - 1.0, a + 1.0) * y).max(Vector::splat(a.s, -700.0)));
    t.mul_add(q, t)
}

impl WideElement for f32 {
    const LOWEST: Self = -700.0;
    const FLAT: Self = -80.0;
    const LIFTS: [Self; 2] = [0.0; 2];

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
    fn exponential<S: Simd>(a: Halves<S>, _: Vector<f32, S>) -> Halves<S> {
        let (low, high) = (exp_plain(a[0]), exp_plain(a[1]));
        [low.t.mul_add(low.q, low.t), high.t.mul_add(high.q, high.t)]
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
    fn power<S: Simd>(a: Halves<S>, y: f32) -> Halves<S> {
        [pow_plain(a[0], y.into()), pow_plain(a[1], y.into())]
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
    let sound = word.hi.abs().lt(Vector::splat(plain.s, f64::INFINITY));
    Word { hi: sound.select(word.hi, plain), lo: sound.select(word.lo, Vector::splat(plain.s, 0.0)) }
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
    let other = Word { hi: -less.hi, lo: -less.lo }.div(m);
    let log = log1p_word(Word { hi: below.select(other.hi, less.hi), lo: below.select(other.lo, less.lo) });
    Word { hi: below.select(-log.hi, log.hi), lo: below.select(-log.lo, log.lo) }
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
    const LOWEST: Self = -2400.0;
    const FLAT: Self = -80.0;
    // Not 0: a factor below the normal numbers may be brought back by one above 1.
    const LIFTS: [Self; 2] = [64.0, 1000.0];

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
        Word { hi: -a.hi, lo: -a.lo }
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
        Word { hi: mask.select(yes.hi, no.hi), lo: mask.select(yes.lo, no.lo) }
    }
    #[inline(always)]
    fn exponential<S: Simd>(a: Word<f64, S>, lift: Vector<f64, S>) -> Word<f64, S> {
        let (z, word) = exp_parts(a);
        let [first, second, third] = power_parts(z + lift);
        word.scale(first).scale(second).scale(third)
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
        let tiny = a.hi.lt(Vector::splat(a.hi.s, f64::from_bits((1023 - 200) << 52)));
        Self::chosen(tiny, a, settled(a.hi, log1p_word(a)))
    }
    #[inline(always)]
    fn logarithm<S: Simd>(a: Word<f64, S>) -> Word<f64, S> {
        let (k, m) = near_one(a);
        let [ln2, low] = <f64 as crate::math::exp::ExpTable>::LN2;
        Word::splat(k.s, ln2, low).mul_one(k).add(ln_near(m))
    }
    #[inline(always)]
    fn power<S: Simd>(a: Word<f64, S>, y: f64) -> Word<f64, S> {
        // 2^(k·y) has its integer part taken out first, so that no error grows with the exponent.
        let (k, m) = near_one(a);
        let s = k.s;
        let power = two_prod(k, Vector::splat(s, y));
        let bounded = power.hi.max(Vector::splat(s, -2100.0));
        let whole = (bounded + f64::MAGIC).floor_magic() - f64::MAGIC;
        let rest = fast_two_sum(bounded - whole, power.lo);
        let [ln2, low] = <f64 as crate::math::exp::ExpTable>::LN2;
        let exponent = Self::sum(
            Self::product(Word::splat(s, ln2, low), rest),
            Self::product(ln_near(m), Word::exact(Vector::splat(s, y))),
        );
        let floor = Vector::splat(s, Self::LOWEST);
        let (z, word) = exp_parts(Self::chosen(exponent.hi.lt(floor), Word::exact(floor), exponent));
        let [first, second, third] = power_parts(z + whole);
        word.scale(first).scale(second).scale(third)
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
        let (lifted, by) = if magnitude < f64::MIN_POSITIVE { (v * power(64), 64) } else { (v, 0) };
        let exponent = (lifted.to_bits() >> 52 & 0x7ff) as i64 - 1023;
        (lifted * power(-exponent / 2) * power(-exponent - -exponent / 2), (exponent - by) as f64)
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

/// 2^exponent, normal.
#[inline(always)]
fn power(exponent: i64) -> f64 {
    f64::from_bits(((1023 + exponent) << 52) as u64)
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
    ($trait:ident, $method:ident, $how:ident, $op:ident) => {
        impl<T: WideElement, S: Simd> $trait for Wide<T, S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                self.backend().$how($op(self, other))
            }
        }
    };
}
operator!(Add, add, near, Total);
operator!(Sub, sub, near, Difference);
operator!(Mul, mul, near, Product);
operator!(Div, div, apart, Quotient);

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

    /// exp(self)·2^lift, self ≤ 700, lift in LIFTS or 0.
    #[inline(always)]
    pub(crate) fn exp(self, lift: Vector<T, S>) -> Self {
        lift.s.apart(Exp(self, lift))
    }

    /// exp(self) − 1, self ≤ 0.
    #[inline(always)]
    pub(crate) fn exp_m1(self) -> Self {
        self.backend().apart(ExpM1(self, ()))
    }

    #[inline(always)]
    pub(crate) fn tanh(self) -> Self {
        self.backend().apart(Tanh(self, ()))
    }

    #[inline(always)]
    pub(crate) fn ln_1p(self) -> Self {
        self.backend().apart(Ln1p(self, ()))
    }

    #[inline(always)]
    pub(crate) fn ln(self) -> Self {
        self.backend().apart(Ln(self, ()))
    }

    /// self^y, self and y ≥ 0; 0⁰ is 1.
    #[inline(always)]
    pub(crate) fn pow(self, y: T) -> Self {
        self.backend().apart(Pow(self, y))
    }

    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        Self(T::root::<S>(self.0))
    }

    /// self·2^exponent, an integer in −2000 … 2000; f64 alone has exponents that are not 0.
    #[inline(always)]
    pub(crate) fn scale(self, exponent: Vector<T, S>) -> Self {
        self.backend().apart(Scaled(self, exponent))
    }

    /// The sum over the lanes, in all lanes.
    #[inline(always)]
    fn across(s: S, ways: &[T::Acc<S>]) -> Self {
        Self(T::across(s, ways))
    }
}

/// What is out of line, where the backend has it so: inlined everywhere it would make most of the library.
macro_rules! apart {
    ($($name:ident($argument:ty): |$x:ident, $y:ident| $body:block)*) => {$(
        struct $name<T: WideElement, S: Simd>(Wide<T, S>, $argument);

        impl<T: WideElement, S: Simd> Op for $name<T, S> {
            type Output = Wide<T, S>;
            #[inline(always)]
            fn run<R: Simd>(self, _: R) -> Wide<T, S> {
                let ($x, $y) = (self.0, self.1);
                $body
            }
        }
    )*};
}

apart! {
    Total(Wide<T, S>): |a, b| { Wide(T::sum::<S>(a.0, b.0)) }

    Difference(Wide<T, S>): |a, b| { Wide(T::sum::<S>(a.0, T::negative::<S>(b.0))) }

    Product(Wide<T, S>): |a, b| { Wide(T::product::<S>(a.0, b.0)) }

    Scaled(Vector<T, S>): |a, exponent| { Wide(T::scale(a.0, exponent)) }

    Quotient(Wide<T, S>): |a, b| { Wide(T::quotient::<S>(a.0, b.0)) }

    Exp(Vector<T, S>): |x, lift| {
        let value = Wide(T::exponential(x.bounded(T::LOWEST).0, lift));
        let head = x.round();
        Wide::select(head.is_nan(), Wide::exact(head), value)
    }

    Tanh(()): |x, _y| {
        let head = x.round();
        let negative = head.lt(Vector::splat(head.s, T::zero()));
        let magnitude = Wide::select(negative, -x, x);
        let m = Wide(T::exponential_less_one::<S>((-(magnitude + magnitude)).bounded(T::FLAT).0));
        let two = Wide::splat(head.s, T::one() + T::one());
        let value = Wide(T::quotient::<S>((-m).0, (m + two).0));
        Wide::select(head.is_nan(), Wide::exact(head), Wide::select(negative, -value, value))
    }

    ExpM1(()): |x, _y| {
        let head = x.round();
        let value = Wide(T::exponential_less_one::<S>(x.bounded(T::FLAT).0));
        Wide::select(head.is_nan(), Wide::exact(head), value)
    }

    Ln1p(()): |x, _y| { Wide(T::logarithm_of_one_plus::<S>(x.0)) }

    Ln(()): |x, _y| { Wide(T::logarithm::<S>(x.0)) }

    Pow(T): |x, y| {
        let head = x.round();
        if y == T::zero() {
            return Wide::splat(head.s, T::one());
        }
        if y == T::one() {
            return x;
        }
        if y == T::one() + T::one() {
            return x * x;
        }
        let positive = Vector::splat(head.s, T::zero()).lt(head);
        Wide::select(positive, Wide(T::power::<S>(x.0, y)), Wide::exact(head))
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

/// A factor of a gradient as `significand`·2^(`lift` + `rest`): the lift is for the other factors, whose
/// exponentials may be too small for the type where the product is not.
pub(crate) struct Lifted<T: WideElement, S: Simd> {
    significand: Wide<T, S>,
    pub(crate) lift: Vector<T, S>,
    rest: Vector<T, S>,
}

/// What the other factors take of a gradient's exponent.
#[inline(always)]
fn lift_of<T: WideElement>(exponent: T) -> T {
    let [least, most] = T::LIFTS;
    let lift = exponent + least;
    if lift < least {
        least
    } else if lift > most {
        most
    } else {
        lift
    }
}

impl<T: WideElement, S: Simd> Lifted<T, S> {
    /// g/divisor for all lanes.
    #[inline(always)]
    pub(crate) fn quotient(s: S, g: T, divisor: T) -> Self {
        let ((g, up), (divisor, down)) = (T::split(g), T::split(divisor));
        let exponent = up - down;
        let lift = lift_of(exponent);
        Self {
            significand: Wide::splat(s, g) / Wide::splat(s, divisor),
            lift: Vector::splat(s, lift),
            rest: Vector::splat(s, exponent - lift),
        }
    }

    /// Each lane's own.
    #[inline(always)]
    pub(crate) fn lanes(g: Vector<T, S>) -> Self {
        let s = g.s;
        let mut parts = [g.to_array(), T::array(T::zero()), T::array(T::zero())];
        for lane in 0..T::LANES {
            let (significand, exponent) = T::split(parts[0].as_ref()[lane]);
            let lift = lift_of(exponent);
            parts[0].as_mut()[lane] = significand;
            parts[1].as_mut()[lane] = lift;
            parts[2].as_mut()[lane] = exponent - lift;
        }
        Self {
            significand: Wide::exact(Vector::load(s, &parts[0])),
            lift: Vector::load(s, &parts[1]),
            rest: Vector::load(s, &parts[2]),
        }
    }

    /// The product with `d`, which has the lift already, rounded.
    #[inline(always)]
    pub(crate) fn times(&self, d: Wide<T, S>) -> Vector<T, S> {
        (self.significand * d).scale(self.rest).round()
    }
}

/// `v` with the canonical NaN and no −0.
#[inline(always)]
pub(crate) fn canonical<T: Lane, S: Simd>(v: Vector<T, S>) -> Vector<T, S> {
    v.is_nan().select(Vector::splat(v.s, T::NAN), v) + T::zero()
}
