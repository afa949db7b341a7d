//! Rows brought to unit length in twice the precision, and gradients back through it: what the metric losses share.
//!
//! # Mathematics
//! u = x/φ with φ = guard(‖x‖), or u = x without a guard. A gradient h in u is (h − u·κ·Σ u_j·h_j)/φ in x, where
//! κ = φ·φ′/‖x‖: 1 for `Max` from ε on and for `AddSquared`, φ/‖x‖ for `Add`, 0 where the guard is constant.
//!
//! f64 rows count in units of 2^e, e the exponent of their largest element, so that squares stay in range.

use super::row::Row;
use super::wide::{Extended, Wide, WideElement, canonical, sums};
use crate::element::Lane;
use crate::kernels::l2::NormGuard;
use crate::simd::{Op, Simd, Vector};

/// [`Unit::of`], out of line.
struct Measure<'a, T, S> {
    s: S,
    place: Row,
    x: &'a [T],
    guard: Option<NormGuard<T>>,
}

impl<T: WideElement, S: Simd> Op for Measure<'_, T, S> {
    type Output = Option<Unit<T, S>>;
    #[inline(always)]
    fn run<R: Simd>(self, _: R) -> Option<Unit<T, S>> {
        Unit::measured(self.s, self.place, self.x, self.guard)
    }
}

/// How a row comes to unit length.
pub(crate) struct Unit<T: WideElement, S: Simd> {
    place: Row,
    /// 1/φ as a significand and an exponent.
    reciprocal: Wide<T, S>,
    exponent: T,
    kappa: Wide<T, S>,
    /// The exponent of the largest element of u, that of [`nothing`] where that is 0 (f32: 0).
    pub(crate) size: T,
    /// Whether u has length 1 but for rounding.
    pub(crate) exact: bool,
}

impl<T: WideElement, S: Simd> Unit<T, S> {
    /// Nothing if the row holds NaN or an infinity.
    #[inline(always)]
    pub(crate) fn of(s: S, place: Row, x: &[T], guard: Option<NormGuard<T>>) -> Option<Self> {
        s.apart(Measure { s, place, x, guard })
    }

    #[inline(always)]
    fn measured(s: S, place: Row, x: &[T], guard: Option<NormGuard<T>>) -> Option<Self> {
        let zero = Vector::splat(s, T::zero());
        let mut largest = zero;
        let mut odd = zero.is_nan();
        for j in 0..place.steps::<T>() {
            let magnitude = place.load(s, x, j, T::zero()).abs();
            odd = odd | !magnitude.lt(Vector::splat(s, <T as Lane>::INFINITY));
            largest = magnitude.max(largest);
        }
        if odd.any() {
            return None;
        }
        let one = Wide::splat(s, T::one());
        let Some(guard) = guard else {
            let kappa = Wide::zero(s);
            let size = T::zero();
            return Some(Self { place, reciprocal: one, exponent: T::zero(), kappa, size, exact: false });
        };
        let largest = largest.to_array().as_ref().iter().fold(T::zero(), |a, &b| if b > a { b } else { a });
        // An ε stays in range beside the smallest row.
        let exponent = T::split(largest).1.max(T::from(-500).unwrap_or_else(T::zero));
        let down = T::zero() - exponent;
        let scale = Vector::splat(s, down);
        let [squares] = sums(
            s,
            place.steps::<T>(),
            #[inline(always)]
            |j| {
                let x = Wide::exact(place.load(s, x, j, T::zero())).scale(scale);
                [x * x]
            },
        );
        let norm = squares.sqrt();
        let (phi, kappa, exact) = match guard {
            NormGuard::Max(eps) => {
                let eps = Wide::splat(s, eps).scale(scale);
                // Compared with what the norm is, not with what it rounds to.
                let below = (norm - eps).round().lt(zero).any();
                if below { (eps, Wide::zero(s), false) } else { (norm, one, true) }
            }
            NormGuard::Add(eps) => {
                let phi = norm + Wide::splat(s, eps).scale(scale);
                let none = norm.round().eq(zero).any();
                (phi, if none { Wide::zero(s) } else { phi / norm }, false)
            }
            NormGuard::AddSquared(eps) => {
                ((squares + Wide::splat(s, eps).scale(scale).scale(scale)).sqrt(), one, false)
            }
        };
        let reciprocal = one / phi;
        let (_, up) = T::split(reciprocal.round().to_array().as_ref()[0]);
        let reciprocal = reciprocal.scale(Vector::splat(s, T::zero() - up));
        let size = if largest == T::zero() { nothing() } else { T::split(largest).1 + down + up };
        Some(Self { place, reciprocal, exponent: down + up, kappa, size, exact })
    }

    /// Register `j` of u.
    #[inline(always)]
    pub(crate) fn load(&self, s: S, x: &[T], j: usize) -> Wide<T, S> {
        self.load_in(s, x, j, T::zero())
    }

    /// Register `j` of u in units of 2^`unit`.
    #[inline(always)]
    pub(crate) fn load_in(&self, s: S, x: &[T], j: usize, unit: T) -> Wide<T, S> {
        let x = Wide::exact(self.place.load(s, x, j, T::zero()));
        x.scale(Vector::splat(s, self.exponent - unit)) * self.reciprocal
    }

    /// Writes g times the gradient in x, for the gradient in u that `h` gives.
    #[inline(always)]
    pub(crate) fn back(
        &self,
        s: S,
        x: &[T],
        g: Extended<T, S>,
        grad: &mut [T],
        mut h: impl FnMut(usize) -> Wide<T, S>,
    ) {
        let [along] = sums(
            s,
            self.place.steps::<T>(),
            #[inline(always)]
            |j| [self.load(s, x, j) * h(j)],
        );
        let along = along * self.kappa;
        let rate = g * Extended::scaled(self.reciprocal, self.exponent);
        for j in 0..self.place.steps::<T>() {
            let d = h(j) - self.load(s, x, j) * along;
            self.place.store(grad, j, canonical((Extended::of(d) * rate).round()));
        }
    }
}

/// An exponent below those of all numbers.
#[inline(always)]
pub(crate) fn nothing<T: WideElement>() -> T {
    T::from(-1200).unwrap_or_else(T::zero)
}

/// An upstream gradient; NaN for one that is not finite.
#[inline(always)]
pub(crate) fn finite<T: WideElement, S: Simd>(s: S, g: T) -> Extended<T, S> {
    Extended::splat(s, if g.is_finite() { g } else { <T as Lane>::NAN })
}
