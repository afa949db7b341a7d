//! Double-word arithmetic on registers: a number as an unevaluated sum hi + lo, |lo| ≤ ½ ulp(hi).
//!
//! Sources: T. J. Dekker, *A floating-point technique for extending the available precision* (1971);
//! M. Joldeş, J.-M. Muller, V. Popescu, *Tight and rigorous error bounds for basic building blocks of
//! double-word arithmetic* (2017). u is 2^−p below.

use crate::element::Lane;
use crate::simd::{Mask, Simd, Vector};
use core::ops::Neg;

/// hi + lo.
pub struct Word<T: Lane, S: Simd> {
    pub(crate) hi: Vector<T, S>,
    pub(crate) lo: Vector<T, S>,
}

impl<T: Lane, S: Simd> Clone for Word<T, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Lane, S: Simd> Copy for Word<T, S> {}

impl<T: Lane, S: Simd> Neg for Word<T, S> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        Self { hi: -self.hi, lo: -self.lo }
    }
}

/// a + b exactly.
#[inline(always)]
pub(crate) fn two_sum<T: Lane, S: Simd>(a: Vector<T, S>, b: Vector<T, S>) -> Word<T, S> {
    let hi = a + b;
    let from_b = hi - a;
    let lo = (a - (hi - from_b)) + (b - from_b);
    Word { hi, lo }
}

/// a + b exactly, where |a| ≥ |b| or a is zero.
#[inline(always)]
pub(crate) fn fast_two_sum<T: Lane, S: Simd>(a: Vector<T, S>, b: Vector<T, S>) -> Word<T, S> {
    let hi = a + b;
    Word { hi, lo: b - (hi - a) }
}

/// a·b exactly, where nothing underflows.
#[inline(always)]
pub(crate) fn two_prod<T: Lane, S: Simd>(a: Vector<T, S>, b: Vector<T, S>) -> Word<T, S> {
    let hi = a * b;
    Word { hi, lo: a.mul_add(b, -hi) }
}

impl<T: Lane, S: Simd> Word<T, S> {
    /// The number itself.
    #[inline(always)]
    pub(crate) fn exact(hi: Vector<T, S>) -> Self {
        Self { hi, lo: Vector::splat(hi.s, T::zero()) }
    }

    /// The same words in all lanes.
    #[inline(always)]
    pub(crate) fn splat(s: S, hi: T, lo: T) -> Self {
        Self { hi: Vector::splat(s, hi), lo: Vector::splat(s, lo) }
    }

    /// `yes` where true, `no` elsewhere.
    #[inline(always)]
    pub(crate) fn select(mask: Mask<T, S>, yes: Self, no: Self) -> Self {
        Self { hi: mask.select(yes.hi, no.hi), lo: mask.select(yes.lo, no.lo) }
    }

    /// The sum, relative error ≤ 3u² + 13u³ for any signs (`AccurateDWPlusDW`).
    #[inline(always)]
    pub(crate) fn add(self, b: Self) -> Self {
        let s = two_sum(self.hi, b.hi);
        let t = two_sum(self.lo, b.lo);
        let v = fast_two_sum(s.hi, s.lo + t.hi);
        fast_two_sum(v.hi, t.lo + v.lo)
    }

    /// The sum with a single word, relative error ≤ 2u² (`DWPlusFP`).
    #[inline(always)]
    pub(crate) fn add_one(self, b: Vector<T, S>) -> Self {
        let s = two_sum(self.hi, b);
        fast_two_sum(s.hi, self.lo + s.lo)
    }

    /// The product with a single word, relative error ≤ 2u² (`DWTimesFP3`).
    #[inline(always)]
    pub(crate) fn mul_one(self, b: Vector<T, S>) -> Self {
        let c = two_prod(self.hi, b);
        fast_two_sum(c.hi, self.lo.mul_add(b, c.lo))
    }

    /// The quotient, relative error ≤ 11u² (2^−102.5 for f64): a quotient of the heads, and one correction from the
    /// remainder, whose head is exact.
    #[inline(always)]
    pub(crate) fn div(self, b: Self) -> Self {
        let q = self.hi / b.hi;
        let p = two_prod(q, b.hi);
        let rest = (self.hi - p.hi) - p.lo + (self.lo - q * b.lo);
        fast_two_sum(q, rest / b.hi)
    }

    /// The square root of a positive number, relative error ≤ 4u² (2^−104): Newton's step on the root of the
    /// head. 0 gives 0.
    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        let zero = Vector::splat(self.hi.s, T::zero());
        let root = self.hi.sqrt();
        let rest = (-root).mul_add(root, self.hi) + self.lo;
        let step = zero.lt(root).select(rest / (root + root), zero);
        fast_two_sum(root, step)
    }

    /// Multiplied by a power of two, exactly.
    #[inline(always)]
    pub(crate) fn scale(self, by: Vector<T, S>) -> Self {
        Self { hi: self.hi * by, lo: self.lo * by }
    }
}
