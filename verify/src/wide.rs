//! Double-double arithmetic with an exponent of its own: the first tier's numbers.
//!
//! A [`Wide`] is (hi + lo) · 2^exp with 1 ≤ |hi| < 2 and |lo| ≤ ulp(hi)/2, or zero. The exponent is
//! an `i64`, so nothing overflows or underflows on the way. Relative error bounds, u = 2⁻⁵³:
//! addition and subtraction 3u² (also under cancellation: Joldes, Muller, Popescu, "Tight and
//! rigorous error bounds for basic building blocks of double-word arithmetic", AccurateDWPlusDW),
//! product 7u², quotient and square root 12u²; [`Real::exp`] 2⁻¹⁰⁰ + |x|·2⁻¹⁰⁴, [`Real::ln`],
//! [`Real::ln_1p`] and [`Real::exp_m1`] 2⁻⁹⁵. The tests hold them to these against the second tier.

use crate::real::Real;
use std::sync::OnceLock;

/// A double-double with an unbounded exponent; always finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wide {
    hi: f64,
    lo: f64,
    exp: i64,
}

/// a + b as its rounding and the error of that, exactly.
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// The same where |a| ≥ |b| or a = 0.
fn quick_two_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    (s, b - (s - a))
}

/// a · b as its rounding and the error of that, exactly: Dekker's splitting, since a fused
/// multiply-add is a slow library call where the build does not assume the instruction.
fn two_product(a: f64, b: f64) -> (f64, f64) {
    let split = |v: f64| {
        let t = 134_217_729.0 * v;
        let high = t - (t - v);
        (high, v - high)
    };
    let p = a * b;
    let ((ah, al), (bh, bl)) = (split(a), split(b));
    (p, ((ah * bh - p) + ah * bl + al * bh) + al * bl)
}

/// 2^k for −1022 ≤ k ≤ 1023.
fn pow2(k: i64) -> f64 {
    f64::from_bits(((k + 1023) as u64) << 52)
}

/// ⌊log2 |v|⌋ of a normal number.
fn exponent(v: f64) -> i64 {
    ((v.to_bits() >> 52) & 0x7ff) as i64 - 1023
}

/// Below this distance of exponents the smaller operand of a sum is shifted in exactly; beyond, it
/// is under 2⁻⁸⁰⁰ of the larger one and dropped.
const MAX_SHIFT: i64 = 800;

/// Arguments of exp are cut here: e^(−10⁶) is 2^(−1.4·10⁶), far below any scale of a result.
const EXP_CUT: f64 = 1.0e6;

const TABLE_BITS: u32 = 8;
const TABLE: usize = 1 << TABLE_BITS;

/// ln 2 in three words of 32, 53 and 53 bits, and 2^(j/TABLE).
struct Constants {
    ln2: [f64; 3],
    powers: [Wide; TABLE],
}

/// ln 2 = 18 atanh(1/26) − 2 atanh(1/4801) + 8 atanh(1/8749), summed in 192-bit fixed point.
fn ln2_words() -> [f64; 3] {
    type Fixed = [u64; 3];
    fn divide(a: Fixed, d: u64) -> Fixed {
        let mut remainder = 0u128;
        a.map(|word| {
            let n = (remainder << 64) | u128::from(word);
            remainder = n % u128::from(d);
            (n / u128::from(d)) as u64
        })
    }
    fn combine(a: Fixed, b: Fixed, f: impl Fn(u64, u64, bool) -> (u64, bool)) -> Fixed {
        let mut out = [0; 3];
        let mut carry = false;
        for i in (0..3).rev() {
            (out[i], carry) = f(a[i], b[i], carry);
        }
        out
    }
    let add = |a, b| {
        combine(a, b, |x, y, carry| {
            let total = u128::from(x) + u128::from(y) + u128::from(carry);
            (total as u64, total >> 64 != 0)
        })
    };
    let sub = |a, b| {
        combine(a, b, |x, y, borrow| {
            let (d, b1) = x.overflowing_sub(y);
            let (d, b2) = d.overflowing_sub(u64::from(borrow));
            (d, b1 || b2)
        })
    };
    // The unit is 2⁻¹⁸⁵: seven bits above the point.
    let atanh = |n: u64, times: u64| {
        let mut power = divide([times << 57, 0, 0], n);
        let mut sum = power;
        let mut k = 1;
        while power != [0; 3] {
            power = divide(power, n * n);
            k += 2;
            sum = add(sum, divide(power, k));
        }
        sum
    };
    let mut rest = add(sub(atanh(26, 18), atanh(4801, 2)), atanh(8749, 8));
    // Peel off 32, 53 and 53 bits, truncating: each word is exactly representable.
    let mut weight = 64 - 7;
    let mut words = [0.0; 3];
    for (word, bits) in words.iter_mut().zip([32u32, 53, 53]) {
        while rest[0] >> 63 == 0 {
            rest = add(rest, rest);
            weight += 1;
        }
        let top = rest[0] >> (64 - bits);
        *word = top as f64 * pow2(64 - i64::from(bits)) * pow2(-i64::from(weight));
        rest[0] &= (1u64 << (64 - bits)) - 1;
    }
    words
}

fn constants() -> &'static Constants {
    static CONSTANTS: OnceLock<Constants> = OnceLock::new();
    CONSTANTS.get_or_init(|| {
        let ln2 = ln2_words();
        let step = Wide::new(ln2[0], ln2[1], 0).add(&Wide::from_f64(ln2[2]));
        // 2^(j/TABLE) by its Taylor series on an argument halved four times, squared four times.
        let powers = std::array::from_fn(|j| {
            let x = step.mul(&Wide::from_f64(j as f64)).mul_pow2(-i64::from(TABLE_BITS) - 4);
            let mut e = taylor_exp_m1(&x);
            for _ in 0..4 {
                // (1 + e)² − 1: the error of 1 is never taken.
                e = e.mul_pow2(1).add(&e.mul(&e));
            }
            e.add(&Wide::one())
        });
        Constants { ln2, powers }
    })
}

/// x + x²/2! + … for |x| ≤ 1/16, relative error below 2⁻¹⁰⁰.
fn taylor_exp_m1(x: &Wide) -> Wide {
    let mut sum = Wide::one();
    // 2⁻⁴ⁿ/(n+1)! is below 2⁻¹¹² from n = 17 on.
    for n in (2..=18).rev() {
        sum = Wide::one().add(&sum.mul(x).div(&Wide::from_f64(f64::from(n))));
    }
    sum.mul(x)
}

impl Wide {
    /// (hi + lo) · 2^exp, normalised; the words need not be.
    fn new(hi: f64, lo: f64, exp: i64) -> Self {
        let (hi, lo) = two_sum(hi, lo);
        if hi == 0.0 {
            return Self { hi: 0.0, lo: 0.0, exp: 0 };
        }
        let shift = exponent(hi);
        let scale = pow2(-shift);
        Self { hi: hi * scale, lo: lo * scale, exp: exp + shift }
    }

    /// Both words times 2^−shift.
    fn shifted(&self, shift: i64) -> (f64, f64) {
        let scale = pow2(-shift);
        (self.hi * scale, self.lo * scale)
    }

    /// The value as an f64 where it fits, cut to ±1e300 and to 0 outside.
    fn near(&self) -> f64 {
        if self.hi == 0.0 || self.exp < -990 {
            0.0
        } else if self.exp > 990 {
            self.hi.signum() * 1e300
        } else {
            (self.hi + self.lo) * pow2(self.exp)
        }
    }
}

impl Real for Wide {
    fn from_f64(v: f64) -> Self {
        debug_assert!(v.is_finite());
        // The ends of the range are brought to where 2^±exponent is a normal number.
        let size = v.abs();
        if size < f64::MIN_POSITIVE {
            Self::new(v * pow2(200), 0.0, -200)
        } else if size >= pow2(1000) {
            Self::new(v * pow2(-200), 0.0, 200)
        } else {
            Self::new(v, 0.0, 0)
        }
    }

    fn add(&self, other: &Self) -> Self {
        // A zero has no exponent that could be compared.
        if self.hi == 0.0 || other.hi == 0.0 {
            return if self.hi == 0.0 { *other } else { *self };
        }
        let (a, b) = if other.exp > self.exp { (other, self) } else { (self, other) };
        let shift = a.exp - b.exp;
        if shift > MAX_SHIFT {
            return *a;
        }
        let (bh, bl) = b.shifted(shift);
        let (s, e) = two_sum(a.hi, bh);
        let (t, f) = two_sum(a.lo, bl);
        let (s, e) = quick_two_sum(s, e + t);
        let (s, e) = quick_two_sum(s, e + f);
        Self::new(s, e, a.exp)
    }

    fn mul(&self, other: &Self) -> Self {
        let (p, e) = two_product(self.hi, other.hi);
        Self::new(p, e + (self.hi * other.lo + self.lo * other.hi), self.exp + other.exp)
    }

    fn div(&self, other: &Self) -> Self {
        debug_assert!(other.hi != 0.0);
        let divisor = Self { exp: 0, ..*other };
        let mut rest = Self { exp: 0, ..*self };
        let mut quotient = Self::zero();
        for _ in 0..3 {
            let q = Self::from_f64(rest.near() / divisor.hi);
            rest = rest.sub(&divisor.mul(&q));
            quotient = quotient.add(&q);
        }
        if quotient.hi == 0.0 {
            return quotient;
        }
        Self { exp: quotient.exp + self.exp - other.exp, ..quotient }
    }

    fn sqrt(&self) -> Self {
        if self.hi == 0.0 {
            return *self;
        }
        let odd = self.exp.rem_euclid(2);
        let m = Self { exp: odd, ..*self };
        let root = Self::from_f64(m.near().sqrt());
        let rest = m.sub(&root.mul(&root));
        let root = root.add(&rest.div(&root.mul_pow2(1)));
        root.mul_pow2((self.exp - odd) / 2)
    }

    fn exp(&self) -> Self {
        let x = self.near();
        if x < -EXP_CUT {
            return Self::zero();
        }
        debug_assert!(x < EXP_CUT, "no formula here takes a large exponential");
        if self.exp < -110 {
            return Self::one().add(self);
        }
        let c = constants();
        let k = (x * (TABLE as f64 / c.ln2[0])).round();
        let (index, power) = ((k as i64).rem_euclid(TABLE as i64), (k as i64).div_euclid(TABLE as i64));
        let mut r = *self;
        for word in c.ln2 {
            let (p, e) = two_product(k, word);
            r = r.sub(&Self::new(p, e, -i64::from(TABLE_BITS)));
        }
        // |r| ≤ 2⁻⁹·⁵: from the fifth power on plain words are below 2⁻¹⁰⁶.
        let near = r.near();
        let tail = 1.0 / 120.0 + near * (1.0 / 720.0 + near * (1.0 / 5040.0 + near / 40320.0));
        let mut sum = Self::from_f64(near * tail);
        for n in [24.0, 6.0, 2.0] {
            sum = sum.add(&Self::one().div(&Self::from_f64(n))).mul(&r);
        }
        let e = sum.add(&Self::one()).mul(&r);
        let table = &c.powers[index as usize];
        table.add(&table.mul(&e)).mul_pow2(power)
    }

    fn exp_m1(&self) -> Self {
        if self.near().abs() <= 1.0 / 16.0 { taylor_exp_m1(self) } else { self.exp().sub(&Self::one()) }
    }

    fn ln(&self) -> Self {
        debug_assert!(self.hi > 0.0);
        // A significand in [0.75, 1.5), so that ln is not a difference near 1.
        let up = i64::from(self.hi >= 1.5);
        let m = Self { exp: -up, ..*self };
        let minus_one = m.sub(&Self::one());
        let ln_m = if minus_one.near().abs() <= 1.0 / 16.0 {
            minus_one.ln_1p()
        } else {
            // One Newton step; d is about 2⁻⁵³, and d³/3 below 2⁻¹⁶⁰.
            let guess = Self::from_f64(m.near().ln());
            let d = m.mul(&Self::zero().sub(&guess).exp()).sub(&Self::one());
            guess.add(&d.sub(&d.mul(&d).mul_pow2(-1)))
        };
        let c = constants();
        let ln2 = Self::new(c.ln2[0], c.ln2[1], 0).add(&Self::from_f64(c.ln2[2]));
        ln2.mul(&Self::from_f64((self.exp + up) as f64)).add(&ln_m)
    }

    fn ln_1p(&self) -> Self {
        if self.near().abs() > 1.0 / 16.0 {
            return Self::one().add(self).ln();
        }
        // 2 atanh(s), s = x / (2 + x): |s| ≤ 2⁻⁴·⁹, twelve terms reach 2⁻¹¹⁷.
        let s = self.div(&self.add(&Self::from_f64(2.0)));
        let square = s.mul(&s);
        let mut sum = Self::zero();
        for n in (0..12).rev() {
            sum = sum.mul(&square).add(&Self::one().div(&Self::from_f64(f64::from(2 * n + 1))));
        }
        sum.mul(&s).mul_pow2(1)
    }

    fn neg(&self) -> Self {
        Self { hi: -self.hi, lo: -self.lo, exp: self.exp }
    }

    fn mul_pow2(&self, k: i64) -> Self {
        if self.hi == 0.0 { *self } else { Self { exp: self.exp + k, ..*self } }
    }

    fn signum(&self) -> i32 {
        i32::from(self.hi > 0.0) - i32::from(self.hi < 0.0)
    }

    fn floor_log2(&self) -> i64 {
        // hi is rounded: just below a power of two it is that power, and lo negative.
        self.exp - i64::from(self.hi.abs() == 1.0 && self.lo * self.hi < 0.0)
    }

    fn to_f64(&self) -> f64 {
        self.near()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::Big;
    use crate::inputs::Rng;

    fn log2_error(wide: &Wide, big: &Big) -> f64 {
        let exact = Big::from_f64(wide.hi).add(&Big::from_f64(wide.lo)).mul_pow2(wide.exp);
        let difference = exact.sub(big);
        if difference.signum() == 0 { f64::NEG_INFINITY } else { difference.div(big).abs().to_f64().log2() }
    }

    #[test]
    fn arithmetic_keeps_its_bounds() {
        let mut rng = Rng::new(1);
        let mut worst = [f64::NEG_INFINITY; 4];
        for _ in 0..3000 {
            let a = rng.normal() * 2f64.powi((rng.below(40) as i32) - 20);
            let b = rng.normal().abs();
            let (x, y) = (Wide::from_f64(a).add(&Wide::from_f64(b * 1e-17)), Wide::from_f64(b));
            let (p, q) = (Big::from_f64(a).add(&Big::from_f64(b * 1e-17)), Big::from_f64(b));
            let cases = [
                (x.add(&y), p.add(&q)),
                (x.mul(&y), p.mul(&q)),
                (x.div(&y), p.div(&q)),
                (x.abs().sqrt(), p.abs().sqrt()),
            ];
            for (w, (got, exact)) in worst.iter_mut().zip(cases) {
                *w = w.max(log2_error(&got, &exact));
            }
        }
        for (w, limit) in worst.iter().zip([-104.4, -103.0, -102.4, -102.4]) {
            assert!(*w <= limit, "{worst:?}");
        }
    }

    #[test]
    fn functions_keep_their_bounds() {
        let mut rng = Rng::new(2);
        for i in 0..2000 {
            let scale = 2f64.powi((rng.below(60) as i32) - 50);
            let v = rng.normal() * scale;
            let x = Wide::from_f64(v);
            let b = Big::from_f64(v);
            let limit = (2f64.powi(-100) + v.abs() * 2f64.powi(-104)).log2();
            assert!(log2_error(&x.exp(), &b.exp()) <= limit, "exp {v:e}");
            assert!(log2_error(&x.exp_m1(), &b.exp_m1()) <= limit.max(-95.0), "exp_m1 {v:e}");
            assert!(log2_error(&x.abs().ln_1p(), &b.abs().ln_1p()) <= -95.0, "ln_1p {v:e}");
            let positive = if i % 2 == 0 { v.abs() } else { 1.0 + rng.normal() * 1e-3 };
            let (x, b) = (Wide::from_f64(positive), Big::from_f64(positive));
            assert!(log2_error(&x.ln(), &b.ln()) <= -95.0, "ln {positive:e}");
        }
    }

    #[test]
    fn sums_of_far_exponents_and_subnormals_are_right() {
        let tiny = Wide::from_f64(f64::from_bits(1));
        assert_eq!(tiny.floor_log2(), -1074);
        let one = Wide::one();
        assert_eq!(one.add(&tiny.mul_pow2(400)).sub(&one), tiny.mul_pow2(400));
        assert_eq!(one.sub(&tiny.mul_pow2(900)).floor_log2(), -1);
        assert_eq!(Wide::from_f64(-1e7).exp().signum(), 0);
        let max = Wide::from_f64(f64::MAX);
        assert_eq!((max.floor_log2(), max.sub(&max).signum()), (1023, 0));
        assert_eq!(Wide::from_f64(-f64::MAX).sub(&max), max.mul_pow2(1).neg());
    }
}
