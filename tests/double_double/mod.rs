//! The oracle of the softmax and sigmoid tests: double-double significands with an exponent of their own, about 100
//! bits; how far a result is from it; and numbers to try.

use core::ops::{Add, Div, Mul, Neg, Sub};
use lossprep::Element;

/// (hi + lo)·2^e, 1 ≤ |hi| < 2, or zero.
#[derive(Clone, Copy, Debug)]
pub struct Big {
    pub hi: f64,
    pub lo: f64,
    pub e: i32,
}

pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// x·2^k in steps that stay normal.
pub fn ldexp(mut x: f64, mut k: i32) -> f64 {
    while k > 1000 {
        (x, k) = (x * 2f64.powi(1000), k - 1000);
    }
    while k < -1000 {
        (x, k) = (x * 2f64.powi(-1000), k + 1000);
    }
    x * 2f64.powi(k)
}

impl Big {
    pub const ZERO: Self = Self { hi: 0.0, lo: 0.0, e: 0 };
    pub const LN2: Self = Self { hi: 1.386_294_361_119_890_6, lo: 4.638_093_627_692_599e-17, e: -1 };

    pub fn normal(hi: f64, lo: f64, e: i32) -> Self {
        let (hi, lo) = two_sum(hi, lo);
        if hi == 0.0 {
            return Self::ZERO;
        }
        let lift = if hi.abs() < 2f64.powi(-900) { 200 } else { 0 };
        let (hi, lo) = (ldexp(hi, lift), ldexp(lo, lift));
        let k = ((hi.to_bits() >> 52) & 0x7ff) as i32 - 1023;
        Self { hi: ldexp(hi, -k), lo: ldexp(lo, -k), e: e + k - lift }
    }
    pub fn of(x: f64) -> Self {
        Self::normal(x, 0.0, 0)
    }
    pub fn to_f64(self) -> f64 {
        ldexp(self.hi, self.e)
    }
    pub fn times_pow2(self, k: i32) -> Self {
        Self { e: self.e + k, ..self }
    }
    pub fn abs(self) -> Self {
        if self.hi < 0.0 { -self } else { self }
    }
    /// exp(self) − 1 as m and k: exp(self) = 2^k·(1 + m); k = 0 for |self| < 1/3.
    pub fn exp_parts(self) -> (Self, i32) {
        let x = self.to_f64();
        let k = (x / core::f64::consts::LN_2).round();
        let r = (self - Self::of(k) * Self::LN2).times_pow2(-10);
        let mut m = Self::ZERO;
        for n in (1..=9).rev() {
            m = r * (Self::of(1.0) + m) / Self::of(f64::from(n));
        }
        for _ in 0..10 {
            m = m * (Self::of(2.0) + m);
        }
        (m, k as i32)
    }
    pub fn exp(self) -> Self {
        let (m, k) = self.exp_parts();
        (Self::of(1.0) + m).times_pow2(k)
    }
    /// The logarithm of a positive number, by one step from the f64 logarithm.
    pub fn ln(self) -> Self {
        let y = Self::of((self.hi).ln()) + Self::of(f64::from(self.e)) * Self::LN2;
        let d = self * (-y).exp() - Self::of(1.0);
        y + d - (d * d).times_pow2(-1)
    }
}

impl Neg for Big {
    type Output = Self;
    fn neg(self) -> Self {
        Self { hi: -self.hi, lo: -self.lo, e: self.e }
    }
}
impl Add for Big {
    type Output = Self;
    fn add(self, b: Self) -> Self {
        if self.hi == 0.0 || (b.hi != 0.0 && b.e > self.e) {
            return if self.hi == 0.0 { b } else { b + self };
        }
        if b.hi == 0.0 || self.e - b.e > 400 {
            return self;
        }
        let (bh, bl) = (ldexp(b.hi, b.e - self.e), ldexp(b.lo, b.e - self.e));
        let (s, t) = two_sum(self.hi, bh);
        let (u, v) = two_sum(self.lo, bl);
        let (s, t) = two_sum(s, t + u);
        Self::normal(s, t + v, self.e)
    }
}
impl Sub for Big {
    type Output = Self;
    fn sub(self, b: Self) -> Self {
        self + -b
    }
}
impl Mul for Big {
    type Output = Self;
    fn mul(self, b: Self) -> Self {
        let p = self.hi * b.hi;
        let e = self.hi.mul_add(b.hi, -p) + (self.hi * b.lo + self.lo * b.hi);
        Self::normal(p, e, self.e + b.e)
    }
}
impl Div for Big {
    type Output = Self;
    fn div(self, b: Self) -> Self {
        let q = Self::normal(self.hi / b.hi, 0.0, self.e - b.e);
        let rest = self - q * b;
        q + Self::normal(rest.hi / b.hi, 0.0, rest.e - b.e)
    }
}

pub trait Real: Element {
    const DIGITS: i32;
    /// Exponent of the smallest subnormal.
    const MIN: i32;
    const CANONICAL_NAN: u64;
    fn of(x: f64) -> Self;
    fn wide(self) -> f64;
    fn bits(self) -> u64;
    fn from_pattern(bits: u64) -> Self;
}
impl Real for f32 {
    const DIGITS: i32 = 24;
    const MIN: i32 = -149;
    const CANONICAL_NAN: u64 = 0x7fc0_0000;
    fn of(x: f64) -> Self {
        x as f32
    }
    fn wide(self) -> f64 {
        f64::from(self)
    }
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
    fn from_pattern(bits: u64) -> Self {
        Self::from_bits(bits as u32)
    }
}
impl Real for f64 {
    const DIGITS: i32 = 53;
    const MIN: i32 = -1074;
    const CANONICAL_NAN: u64 = 0x7ff8_0000_0000_0000;
    fn of(x: f64) -> Self {
        x
    }
    fn wide(self) -> f64 {
        self
    }
    fn bits(self) -> u64 {
        self.to_bits()
    }
    fn from_pattern(bits: u64) -> Self {
        Self::from_bits(bits)
    }
}

/// |got − exact| in units of the last place of `exact`.
pub fn ulps<T: Real>(got: T, exact: Big) -> f64 {
    if got.is_infinite() {
        // Right where the exact result is beyond the largest number.
        let limit = if T::DIGITS == 24 { 128 } else { 1024 };
        return if exact.e >= limit { 0.0 } else { f64::INFINITY };
    }
    if exact.hi == 0.0 {
        return if got.wide() == 0.0 { 0.0 } else { f64::INFINITY };
    }
    // hi = ±1 with a negative rest belongs to the binade below.
    let binade = exact.e - i32::from(exact.hi.abs() == 1.0 && exact.lo * exact.hi < 0.0);
    let unit = (binade - T::DIGITS + 1).max(T::MIN);
    if exact.e < unit - 200 {
        // Far below the smallest number: the sum with zero would drop it.
        return (Big::of(got.wide())).times_pow2(-unit).to_f64().abs();
    }
    (Big::of(got.wide()) - exact).times_pow2(-unit).to_f64().abs()
}

/// Splitmix64.
pub struct Random(pub u64);
impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * 2f64.powi(-53)
    }
    /// Of either sign, 2^from to 2^to.
    pub fn spread(&mut self, from: f64, to: f64) -> f64 {
        let x = (1.0 + self.unit()) * 2f64.powf((from + (to - from) * self.unit()).floor());
        if self.bits() & 1 == 0 { x } else { -x }
    }
}
