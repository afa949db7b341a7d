//! MPFR by `rug`, 320 bits: an arithmetic that shares nothing with the two tiers, to check them with.

use crate::real::Real;
use rug::Float;
use rug::ops::NegAssign;

const PRECISION: u32 = 320;

/// A number of 320 bits.
#[derive(Clone, Debug)]
pub struct Mpfr(Float);

impl Mpfr {
    /// Another tier's number, to 320 bits: it is taken apart into f64s, exactly.
    pub fn from_real<R: Real>(v: &R) -> Self {
        if v.signum() == 0 {
            return Self::zero();
        }
        let exponent = v.floor_log2();
        let mut rest = v.mul_pow2(-exponent);
        let mut sum = Self::zero();
        for _ in 0..8 {
            let word = rest.to_f64();
            rest = rest.sub(&R::from_f64(word));
            sum = sum.add(&Self::from_f64(word));
        }
        sum.mul_pow2(exponent)
    }

    /// The nearest f64.
    pub fn nearest(&self) -> f64 {
        self.0.to_f64()
    }

    /// log2 of the distance to the next number with `bits` bits or midpoint of two such, relative to the number.
    pub fn hardness(&self, bits: i64) -> i64 {
        // Midpoints have one bit more.
        let spacing = self.floor_log2() - bits;
        let scaled = self.mul_pow2(-spacing);
        let nearest = Self(scaled.0.clone().round());
        let gap = scaled.sub(&nearest);
        if gap.signum() == 0 { i64::MIN } else { gap.floor_log2() + spacing - self.floor_log2() }
    }
}

impl Real for Mpfr {
    fn from_f64(v: f64) -> Self {
        Self(Float::with_val(PRECISION, v))
    }
    fn add(&self, other: &Self) -> Self {
        Self(Float::with_val(PRECISION, &self.0 + &other.0))
    }
    fn mul(&self, other: &Self) -> Self {
        Self(Float::with_val(PRECISION, &self.0 * &other.0))
    }
    fn div(&self, other: &Self) -> Self {
        Self(Float::with_val(PRECISION, &self.0 / &other.0))
    }
    fn sqrt(&self) -> Self {
        Self(self.0.clone().sqrt())
    }
    fn exp(&self) -> Self {
        if self.to_f64() < -1.0e6 { Self::zero() } else { Self(self.0.clone().exp()) }
    }
    fn exp_m1(&self) -> Self {
        Self(self.0.clone().exp_m1())
    }
    fn ln(&self) -> Self {
        Self(self.0.clone().ln())
    }
    fn ln_1p(&self) -> Self {
        Self(self.0.clone().ln_1p())
    }
    fn neg(&self) -> Self {
        let mut out = self.0.clone();
        if !out.is_zero() {
            out.neg_assign();
        }
        Self(out)
    }
    fn mul_pow2(&self, k: i64) -> Self {
        Self(self.0.clone() << k as i32)
    }
    fn signum(&self) -> i32 {
        self.0.cmp0().map_or(0, |order| order as i32)
    }
    fn floor_log2(&self) -> i64 {
        i64::from(self.0.get_exp().unwrap_or(0)) - 1
    }
    fn to_f64(&self) -> f64 {
        match self.0.get_exp() {
            Some(e) if e < -990 => 0.0,
            Some(e) if e > 990 => 1e300_f64.copysign(self.0.to_f64()),
            _ => self.0.to_f64(),
        }
    }
}
