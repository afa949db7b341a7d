//! The arithmetic both tiers of the oracle offer, so that each formula is written once.

/// A real number to the tier's precision. Always finite: infinities and NaN are decided before.
pub trait Real: Clone {
    /// Exactly this number.
    fn from_f64(v: f64) -> Self;
    /// The sum.
    fn add(&self, other: &Self) -> Self;
    /// The product.
    fn mul(&self, other: &Self) -> Self;
    /// The quotient; the divisor is not zero.
    fn div(&self, other: &Self) -> Self;
    /// The square root of a number ≥ 0.
    fn sqrt(&self) -> Self;
    /// e to this power; zero below −10⁶, and not asked for above 10⁶.
    fn exp(&self) -> Self;
    /// exp − 1, with relative accuracy near 0.
    fn exp_m1(&self) -> Self;
    /// The natural logarithm of a number > 0, with relative accuracy near 1.
    fn ln(&self) -> Self;
    /// ln(1 + self) for self > −1, with relative accuracy near 0.
    fn ln_1p(&self) -> Self;
    /// The number with its sign changed.
    fn neg(&self) -> Self;
    /// Times 2^k, exactly.
    fn mul_pow2(&self, k: i64) -> Self;
    /// −1, 0 or 1.
    fn signum(&self) -> i32;
    /// ⌊log2 |self|⌋ of a number that is not zero.
    fn floor_log2(&self) -> i64;
    /// About this number; out of range it is cut to ±1e300 or 0.
    fn to_f64(&self) -> f64;

    /// The difference.
    fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }
    /// The magnitude.
    fn abs(&self) -> Self {
        if self.signum() < 0 { self.neg() } else { self.clone() }
    }
    /// The larger of two.
    fn max(&self, other: &Self) -> Self {
        if self.sub(other).signum() < 0 { other.clone() } else { self.clone() }
    }
    /// 0.
    fn zero() -> Self {
        Self::from_f64(0.0)
    }
    /// 1.
    fn one() -> Self {
        Self::from_f64(1.0)
    }
}

/// Adds up in pairs of equal depth, so that the error grows with log n only.
pub struct Sum<R> {
    partial: Vec<R>,
    count: u64,
}

impl<R: Real> Sum<R> {
    /// Of nothing.
    pub fn new() -> Self {
        Self { partial: Vec::new(), count: 0 }
    }

    /// Takes one more term.
    pub fn push(&mut self, mut term: R) {
        let mut level = self.count;
        while level & 1 == 1 {
            if let Some(other) = self.partial.pop() {
                term = other.add(&term);
            }
            level >>= 1;
        }
        self.partial.push(term);
        self.count += 1;
    }

    /// The sum of all terms.
    pub fn total(&self) -> R {
        self.partial.iter().rev().fold(R::zero(), |sum, term| sum.add(term))
    }
}

impl<R: Real> Default for Sum<R> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Real> FromIterator<R> for Sum<R> {
    fn from_iter<I: IntoIterator<Item = R>>(terms: I) -> Self {
        let mut sum = Self::new();
        terms.into_iter().for_each(|term| sum.push(term));
        sum
    }
}
