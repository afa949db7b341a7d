//! The second tier: arbitrary precision by the crate `astro-float`, 320 bits.
//!
//! Slow (some 20 µs an exponential), so it judges a random share, the worst results and whatever
//! lies near its claim; its arithmetic has nothing in common with the first tier.

use crate::real::Real;
use astro_float::{BigFloat, Consts, RoundingMode, Sign};
use std::cell::RefCell;

const PRECISION: usize = 320;
const ROUND: RoundingMode = RoundingMode::ToEven;

thread_local! {
    // π and the like, computed once a thread. Allocation is the only way this can fail.
    static CONSTS: RefCell<Consts> = RefCell::new(Consts::new().expect("memory for the constants"));
}

/// A number of 320 bits.
#[derive(Clone, Debug)]
pub struct Big(BigFloat);

impl Big {
    fn exponent(&self) -> i64 {
        i64::from(self.0.exponent().unwrap_or(0))
    }

    /// Enough bits that 1 + self keeps 320 bits of self.
    fn precision_beside_one(&self) -> usize {
        PRECISION + usize::try_from(-self.exponent()).unwrap_or(0).min(4096)
    }
}

impl Real for Big {
    fn from_f64(v: f64) -> Self {
        // The significand as an integer, then its power of two: no subnormal case.
        let bits = v.to_bits();
        let biased = ((bits >> 52) & 0x7ff) as i64;
        let fraction = bits & ((1 << 52) - 1);
        let (significand, exponent) =
            if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
        let magnitude = Self(BigFloat::from_u64(significand, PRECISION)).mul_pow2(exponent);
        if v.is_sign_negative() { magnitude.neg() } else { magnitude }
    }

    fn add(&self, other: &Self) -> Self {
        Self(self.0.add(&other.0, PRECISION, ROUND))
    }

    fn mul(&self, other: &Self) -> Self {
        Self(self.0.mul(&other.0, PRECISION, ROUND))
    }

    fn div(&self, other: &Self) -> Self {
        Self(self.0.div(&other.0, PRECISION, ROUND))
    }

    fn sqrt(&self) -> Self {
        Self(self.0.sqrt(PRECISION, ROUND))
    }

    fn exp(&self) -> Self {
        if self.to_f64() < -1.0e6 {
            return Self::zero();
        }
        CONSTS.with_borrow_mut(|c| Self(self.0.exp(PRECISION, ROUND, c)))
    }

    fn exp_m1(&self) -> Self {
        if self.signum() == 0 || self.to_f64() < -1.0e6 {
            return self.exp().sub(&Self::one());
        }
        let p = self.precision_beside_one();
        let e = CONSTS.with_borrow_mut(|c| self.0.exp(p, ROUND, c));
        Self(e.sub(&Self::one().0, p, ROUND))
    }

    fn ln(&self) -> Self {
        CONSTS.with_borrow_mut(|c| Self(self.0.ln(PRECISION + 64, ROUND, c)))
    }

    fn ln_1p(&self) -> Self {
        if self.signum() == 0 {
            return self.clone();
        }
        let p = self.precision_beside_one();
        if p > PRECISION + 4000 {
            // x²/2 is below 2⁻⁴⁰⁰⁰ of x.
            return self.clone();
        }
        let sum = Self::one().0.add(&self.0, p, ROUND);
        CONSTS.with_borrow_mut(|c| Self(sum.ln(p, ROUND, c)))
    }

    fn neg(&self) -> Self {
        if self.0.is_zero() { self.clone() } else { Self(self.0.neg()) }
    }

    fn mul_pow2(&self, k: i64) -> Self {
        let mut out = self.0.clone();
        if !out.is_zero() {
            out.set_exponent((self.exponent() + k) as i32);
        }
        Self(out)
    }

    fn signum(&self) -> i32 {
        match self.0.sign() {
            _ if self.0.is_zero() => 0,
            Some(Sign::Neg) => -1,
            _ => 1,
        }
    }

    fn floor_log2(&self) -> i64 {
        // The library's significands are in [1/2, 1).
        self.exponent() - 1
    }

    fn to_f64(&self) -> f64 {
        let Some((words, _, sign, exponent, _)) = self.0.as_raw_parts() else { return 0.0 };
        let (Some(&top), false) = (words.last(), self.0.is_zero()) else { return 0.0 };
        let magnitude = match exponent {
            ..-990 => 0.0,
            991.. => 1e300,
            e => top as f64 * 2f64.powi(-64) * 2f64.powi(e),
        };
        if sign == Sign::Neg { -magnitude } else { magnitude }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_exact() {
        for v in [1.0, -1.5, 1e300, 3e-320, f64::from_bits(1), f64::MAX, 0.1] {
            let big = Big::from_f64(v);
            assert_eq!(big.signum(), if v < 0.0 { -1 } else { 1 });
            assert_eq!(big.mul_pow2(50).mul_pow2(-50).sub(&big).signum(), 0);
            if v.abs() > 1e-290 && v.abs() < 1e290 {
                assert!((big.to_f64() / v - 1.0).abs() < 1e-15, "{v:e} {:e}", big.to_f64());
            }
        }
        assert_eq!(Big::from_f64(f64::from_bits(1)).floor_log2(), -1074);
        assert_eq!(Big::from_f64(8.0).floor_log2(), 3);
    }

    #[test]
    fn functions_agree_with_known_digits() {
        // e = 2.71828182845904523536028747135266249775724709369995…
        let e = Big::one().exp();
        let high = Big::from_f64(std::f64::consts::E);
        assert!((e.sub(&high).to_f64() - 1.445_646_891_729_250_2e-16).abs() < 1e-31);
        // ln 2 = 0.69314718055994530941723212145817656807550013436025…
        let ln2 = Big::from_f64(2.0).ln();
        let high = Big::from_f64(std::f64::consts::LN_2);
        assert!((ln2.sub(&high).to_f64() - 2.319_046_813_846_299_6e-17).abs() < 1e-32);
        // (e^x − 1)/x = 1 + x/2 + x²/6, and with a minus for ln(1 + x)/x.
        let small = Big::from_f64(2f64.powi(-100));
        assert!((small.exp_m1().div(&small).sub(&Big::one()).to_f64() / 2f64.powi(-101) - 1.0).abs() < 1e-15);
        assert!((small.ln_1p().div(&small).sub(&Big::one()).to_f64() / 2f64.powi(-101) + 1.0).abs() < 1e-15);
        let tiny = Big::from_f64(1e-200);
        assert!(tiny.exp_m1().div(&tiny).sub(&Big::one()).abs().to_f64() < 2f64.powi(-300));
        assert!(tiny.ln_1p().div(&tiny).sub(&Big::one()).abs().to_f64() < 2f64.powi(-300));
    }
}
