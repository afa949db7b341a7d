//! Rows brought to unit length in twice the precision, and gradients back through it: what the metric losses share.
//!
//! # Mathematics
//! u = x/φ with φ = guard(‖x‖), or u = x without a guard. A gradient h in u is (h − u·κ·Σ u_j·h_j)/φ in x, where
//! κ = φ·φ′/‖x‖: 1 for `Max` from ε on and for `AddSquared`, φ/‖x‖ for `Add`, 0 where the guard is constant.
//!
//! f64 rows count in units of 2^e, e the exponent of their largest element, so that squares stay in range.
//!
//! # Differences of unit rows
//! u and v are good to 2^−53 (f64: 2^−102), u − v is not where the rows are nearly parallel. With k the place of the
//! largest |x_k| let d = x_k·y − y_k·x, each element a difference of two exact products: good to 2^−53 (2^−104) of
//! itself, and 0 for parallel rows. d/x_k is y but for a multiple of x, so that with its projection along x taken off,
//! w = d − x·(d·x)/(x·x), and n = w/(x_k·‖y‖),
//!
//! v = cos θ·u + n,   ‖n‖ = sin θ,   1 − cos θ = sin²θ/(1 + √(1 − sin²θ)),   u − v = (1 − cos θ)·u − n.
//!
//! d has no element at k, where x has at least 1/√N of its length (N elements), so d is no closer to the direction of x
//! than cos = √(1 − 1/N): the projection leaves ‖w‖ ≥ ‖d‖/√N. Hence ‖u − v‖ is good to √N·2^−50 (√N·2^−100) of itself.
//! For one element, with M_i = |u_i − v_i| + |u_i|·Σ|u_j·(u_j − v_j)|: |d_i|/(|x_k|·‖y‖) is
//! |(u_i − v_i) − (u_k − v_k)·u_i/u_k|, at most N·M_i, so it is good to N·2^−50 (N·2^−100) of M_i.

use super::row::Row;
use super::wide::{Extended, Wide, WideElement, canonical, sums};
use crate::element::Lane;
use crate::kernels::l2::NormGuard;
use crate::math::exp::each;
use crate::simd::{Simd, Vector};

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
        s.apart(
            #[inline(always)]
            || Self::measured(s, place, x, guard),
        )
    }

    #[inline(always)]
    fn measured(s: S, place: Row, x: &[T], guard: Option<NormGuard<T>>) -> Option<Self> {
        let zero = Vector::splat(s, T::zero());
        let mut largest = zero;
        let mut odd = zero.is_nan();
        for j in 0..place.steps::<T>() {
            let magnitude = place.load(s, x, j, T::zero()).abs();
            odd = odd | !magnitude.is_finite();
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

/// A row and how it comes to unit length.
pub(crate) type UnitRow<'a, T, S> = (&'a [T], &'a Unit<T, S>);

/// u − v of two unit rows.
pub(crate) struct Difference<'a, T: WideElement, S: Simd> {
    s: S,
    rows: [UnitRow<'a, T, S>; 2],
    /// It counts in units of 2 to this power,
    pub(crate) unit: T,
    /// ‖u − v‖² in units of the square.
    pub(crate) square: Wide<T, S>,
    near: Option<Near<T, S>>,
}

/// Rows of length 1 that are nearly parallel: u − v = lean·x − rate·d.
struct Near<T: WideElement, S: Simd> {
    /// Both rows' exponents with the sign changed.
    downs: [Vector<T, S>; 2],
    /// x_k and y_k, in units of the result.
    pivots: [Wide<T, S>; 2],
    lean: Wide<T, S>,
    rate: Wide<T, S>,
}

impl<'a, T: WideElement, S: Simd> Difference<'a, T, S> {
    #[inline(always)]
    pub(crate) fn of(s: S, first: UnitRow<'a, T, S>, second: UnitRow<'a, T, S>) -> Self {
        let exact = first.1.exact && second.1.exact;
        // Rows that a guard leaves short count in units of their size, so that squares stay in range.
        let unit = if exact { T::zero() } else { first.1.size.max(second.1.size) };
        let zero = Wide::zero(s);
        let mut difference = Self { s, rows: [first, second], unit, square: zero, near: None };
        difference.square = difference.squares();
        let close = Vector::splat(s, T::from(1.0 / 1_048_576.0).unwrap_or_else(T::zero));
        if exact && difference.square.round().lt(close).any() {
            difference = s.apart(
                #[inline(always)]
                || difference.of_parallel(),
            );
        }
        difference
    }

    #[inline(always)]
    fn squares(&self) -> Wide<T, S> {
        let steps = self.rows[0].1.place.steps::<T>();
        let [square] = sums(
            self.s,
            steps,
            #[inline(always)]
            |j| {
                let d = self.load(j);
                [d * d]
            },
        );
        square
    }

    /// Register `j`.
    #[inline(always)]
    pub(crate) fn load(&self, j: usize) -> Wide<T, S> {
        let [(x, first), (y, second)] = self.rows;
        match &self.near {
            None => first.load_in(self.s, x, j, self.unit) - second.load_in(self.s, y, j, self.unit),
            Some(near) => {
                let [x, y] = self.scaled(near.downs, j);
                x * near.lean - (near.pivots[0] * y - near.pivots[1] * x) * near.rate
            }
        }
    }

    /// Register `j` of both rows, times powers of two.
    #[inline(always)]
    fn scaled(&self, downs: [Vector<T, S>; 2], j: usize) -> [Wide<T, S>; 2] {
        let [(x, first), (y, _)] = self.rows;
        let (x, y) = (first.place.load(self.s, x, j, T::zero()), first.place.load(self.s, y, j, T::zero()));
        [Wide::exact(x).scale(downs[0]), Wide::exact(y).scale(downs[1])]
    }

    /// The same for rows that are nearly parallel.
    #[inline(always)]
    fn of_parallel(mut self) -> Self {
        let s = self.s;
        let [(x, Unit { place, .. }), (y, _)] = self.rows;
        let (zero, one) = (Wide::zero(s), Wide::splat(s, T::one()));
        let size = |i: usize| x[place.index(i)].abs();
        let k = (1..place.len).fold(0, |k, i| if size(i) > size(k) { i } else { k });
        let pivots = [x[place.index(k)], y[place.index(k)]];
        let largest = (0..place.len).fold(T::zero(), |m, i| m.max(y[place.index(i)].abs()));
        let downs: [_; 2] = each(
            #[inline(always)]
            |i| Vector::splat(s, T::zero() - T::split([pivots[0], largest][i]).1),
        );
        let pivots: [_; 2] = each(
            #[inline(always)]
            |i| Wide::splat(s, pivots[i]).scale(downs[i]),
        );
        let mut most = Vector::splat(s, T::zero());
        for j in 0..place.steps::<T>() {
            let [x, y] = self.scaled(downs, j);
            most = (pivots[0] * y - pivots[1] * x).round().abs().max(most);
        }
        let most = most.to_array().as_ref().iter().fold(T::zero(), |a, &b| if b > a { b } else { a });
        let unit = T::split(most).1.max(T::from(-1000).unwrap_or_else(T::zero));
        let (up, down) = (Vector::splat(s, unit), Vector::splat(s, T::zero() - unit));
        let scaled: [_; 2] = each(
            #[inline(always)]
            |i| pivots[i].scale(down),
        );
        let near = |lean, rate| Some(Near { downs, pivots: scaled, lean, rate });
        self.unit = unit;
        // With these factors what is loaded is d.
        self.near = near(zero, -one);
        let [xx, yy, along] = sums(
            s,
            place.steps::<T>(),
            #[inline(always)]
            |j| {
                let [x, y] = self.scaled(downs, j);
                [x * x, y * y, x * self.load(j)]
            },
        );
        let along = along / xx;
        let rate = one / (pivots[0] * yy.sqrt());
        // And now −w.
        self.near = near(along, one);
        let sine = self.squares() * rate * rate;
        let versine = sine / (one + (one - sine.scale(up).scale(up)).sqrt());
        self.near = near(versine.scale(up) / xx.sqrt() + along * rate, rate);
        self.square = versine + versine;
        self
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
