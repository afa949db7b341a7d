//! Regression losses on the output of a scaled sigmoid: squared, Huber and absolute error, from the raw output of
//! the network.
//!
//! # Mathematics
//! y = lo + (hi − lo)·σ(x). The error d = y − t is (hi − t) − (hi − lo)·σ(−x) for x ≥ 0, else
//! (lo − t) + (hi − lo)·σ(x): what is subtracted first is exact, so a target at an end of the range has an
//! error with all its digits however far the output saturates. The losses are d², |d|, and Huber's d²/2 up to
//! |d| = δ, δ·(|d| − δ/2) beyond; their derivatives 2d, sign d and d or δ·sign d, each times
//! dy/dx = (hi − lo)·e/(1 + e)², e = exp(−|x|), from x and not from y.
//!
//! # Error
//! d is off by 2^−40 (f64: 2^−60) of (hi − lo)·σ(−|x|) and 2^−53 (2^−102) of the ends and the target.

use super::row::Row;
use super::wide::{Extended, Wide, WideElement, canonical};
use crate::dispatch::operations;
use crate::element::Lane;
use crate::error::check_len;
use crate::kernels::sigmoid::Range;
use crate::simd::{Op, Simd, Vector};
use crate::{Element, Error};

/// Which loss of the error.
#[derive(Clone, Copy)]
enum Kind<T> {
    Squared,
    Absolute,
    Huber(T),
}

/// All elements.
struct Task<'a, T> {
    kind: Kind<T>,
    range: Range<T>,
    x: &'a [T],
    target: &'a [T],
    losses: &'a mut [T],
    /// Upstream and gradient.
    gradient: Option<(&'a [T], &'a mut [T])>,
}

impl<T: Element + WideElement> Op for Task<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let place = Row::whole(self.x.len());
        for j in 0..place.steps::<T>() {
            self.register(s, place, j);
        }
    }
}

impl<T: Element + WideElement> Task<'_, T> {
    #[inline(always)]
    fn register<S: Simd>(&mut self, s: S, place: Row, j: usize) {
        let nothing = Vector::splat(s, T::zero());
        let (one, zero) = (Wide::splat(s, T::one()), Extended::of(Wide::zero(s)));
        let (lo, hi) = (self.range.lo(), self.range.hi());
        // Where hi − lo overflows all is computed for a quarter of the range.
        let quarter = T::HALF * T::HALF;
        let unit = if (hi - lo).is_finite() { T::one() } else { quarter };
        let (unit, back) = (Vector::splat(s, unit), Extended::splat(s, T::one() / unit));
        let [lo, hi] = [Vector::splat(s, lo) * unit, Vector::splat(s, hi) * unit];
        let width = Wide::difference(hi, lo);
        let x = place.load(s, self.x, j, T::zero());
        let t = place.load(s, self.target, j, T::zero()) * unit;
        let magnitude = Wide::exact(x.abs());
        let denominator = Extended::of(one + (-magnitude).exp());
        let rest = Extended::of(width) * Extended::exp(-magnitude) / denominator;
        let saturated = x.abs().eq(Vector::splat(s, <T as Lane>::INFINITY));
        let rest = Extended::select(saturated, zero, rest);
        let below = x.lt(nothing);
        let to_end = Wide::difference(below.select(lo, hi), t);
        let d = (Extended::of(to_end) + Extended::select(below, rest, zero - rest)) * back;
        // A target at the end is not reached, however small the rest is.
        let inward = below.select(width.sign(), -width.sign());
        let inward = saturated.select(nothing, inward);
        let sign = to_end.sign().eq(nothing).select(inward, d.sign());
        let size = Extended::select(sign.lt(nothing), zero - d, d);
        let sign = Extended::of(Wide::exact(sign));
        let (loss, slope) = match self.kind {
            Kind::Squared => (d * d, d + d),
            Kind::Absolute => (size, sign),
            Kind::Huber(delta) => {
                let (half, delta) = (Extended::splat(s, T::HALF), Extended::splat(s, delta));
                let inside = !delta.round().lt(size.round());
                let loss = Extended::select(inside, half * d * d, delta * (size - half * delta));
                (loss, Extended::select(inside, d, delta * sign))
            }
        };
        let nan = Vector::splat(s, <T as Lane>::NAN);
        let unknown = x.is_nan() | t.is_nan();
        place.store(self.losses, j, canonical(unknown.select(nan, loss.round())));
        if let Some((upstream, grad)) = &mut self.gradient {
            let g = place.load(s, upstream, j, T::zero());
            let whole = g.is_finite();
            let g = Extended::of(Wide::exact(whole.select(g, Vector::splat(s, T::one()))));
            // The slope may be infinite, or NaN where the target is.
            let value = (rest / denominator).times_unless_zero(slope * back * g).round();
            // Where the derivative is 0, and not only rounded to it, no upstream gradient reaches.
            let beyond = (rest.sign() * slope.sign()).eq(nothing).select(nothing, nan);
            let value = whole.select(value, beyond);
            place.store(grad, j, canonical(unknown.select(nan, value)));
        }
    }
}

fn check<T: Element>(kind: Kind<T>, x: &[T], target: &[T], losses: &[T]) -> Result<(), Error> {
    check_len("target", x.len(), target.len())?;
    check_len("losses", x.len(), losses.len())?;
    match kind {
        Kind::Huber(delta) if !(delta > T::zero() && delta.is_finite()) => {
            Err(Error::Parameter { name: "delta", requirement: "positive and finite" })
        }
        _ => Ok(()),
    }
}

fn check_gradient<T: Element>(x: &[T], upstream: &[T], grad: &[T]) -> Result<(), Error> {
    check_len("upstream", x.len(), upstream.len())?;
    check_len("grad", x.len(), grad.len())
}

operations! {
    /// Squared error of a scaled sigmoid: (y − t)², y = lo + (hi − lo)·σ(x), element by element, from the raw output x.
    ///
    /// Shapes: all slices have the same length. (PyTorch's `mse_loss` without reduction.)
    ///
    /// # Accuracy
    /// At most 2 ULP of the loss, and of 2·|y − t|·(hi − lo)·σ(−|x|) where y − t cancels. The same bits on every
    /// backend. A target at an end of the range never cancels.
    ///
    /// # Special values
    /// NaN gives NaN. At x = ±∞ y is hi or lo exactly.
    ///
    /// # Errors
    /// [`Error::Length`] if the slices differ in length.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_mse};
    /// let mut losses = [0.0_f32; 2];
    /// scaled_sigmoid_mse(&[0.0, 40.0], &[2.0, 10.0], Range::new(0.0, 10.0)?, &mut losses)?;
    /// assert_eq!(losses, [9.0, 1.8048515e-33]); // (10·σ(−40))²
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The definition; the algorithm is described at the top of `src/losses/ranged.rs`.
    pub fn scaled_sigmoid_mse<T>(self, x: &[T], target: &[T], range: Range<T>, losses: &mut [T]) {
        check(Kind::Squared, x, target, losses)?;
        Task { kind: Kind::Squared, range, x, target, losses, gradient: None }.on(self);
        Ok(())
    }

    /// [`scaled_sigmoid_mse`](crate::scaled_sigmoid_mse) and its gradient in x, 2(y − t)·(hi − lo)·σ(x)·σ(−x)·g, g being
    /// `upstream`.
    ///
    /// Shapes: all slices have the same length.
    ///
    /// # Accuracy
    /// The gradient: at most 4 ULP of itself, and of what y − t cancels.
    ///
    /// # Special values
    /// From x, not from y: right where the output saturates. NaN gives NaN; an upstream gradient that is not finite
    /// gives NaN, but 0 where the derivative is 0.
    ///
    /// # Errors
    /// [`Error::Length`] if the slices differ in length.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_mse_with_grad};
    /// let (x, target, range) = ([0.0_f32, 40.0], [2.0, 9.0], Range::new(0.0, 10.0)?);
    /// let (mut losses, mut grad) = ([0.0; 2], [0.0; 2]);
    /// scaled_sigmoid_mse_with_grad(&x, &target, &[1.0; 2], range, &mut losses, &mut grad)?;
    /// assert_eq!((losses, grad[0]), ([9.0, 1.0], 15.0));
    /// assert!(grad[1] > 0.0); // y is 10 to the last bit, and the gradient still there
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula; the algorithm is described at the top of `src/losses/ranged.rs`.
    pub fn scaled_sigmoid_mse_with_grad<T>(self, x: &[T], target: &[T], upstream: &[T], range: Range<T>, losses: &mut [T], grad: &mut [T]) {
        check(Kind::Squared, x, target, losses)?;
        check_gradient(x, upstream, grad)?;
        Task { kind: Kind::Squared, range, x, target, losses, gradient: Some((upstream, grad)) }.on(self);
        Ok(())
    }

    /// Absolute error of a scaled sigmoid: |y − t|, y = lo + (hi − lo)·σ(x), element by element, from the raw output x.
    ///
    /// Shapes: all slices have the same length. (PyTorch's `l1_loss` without reduction.)
    ///
    /// # Accuracy
    /// At most 2 ULP of the loss, and of (hi − lo)·σ(−|x|) where y − t cancels.
    ///
    /// # Special values
    /// Those of [`scaled_sigmoid_mse`](crate::scaled_sigmoid_mse).
    ///
    /// # Errors
    /// [`Error::Length`] if the slices differ in length.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_l1};
    /// let mut losses = [0.0_f32; 2];
    /// scaled_sigmoid_l1(&[0.0, 40.0], &[2.0, 10.0], Range::new(0.0, 10.0)?, &mut losses)?;
    /// assert_eq!(losses, [3.0, 4.2483543e-17]); // 10·σ(−40)
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The definition; the algorithm is described at the top of `src/losses/ranged.rs`.
    pub fn scaled_sigmoid_l1<T>(self, x: &[T], target: &[T], range: Range<T>, losses: &mut [T]) {
        check(Kind::Absolute, x, target, losses)?;
        Task { kind: Kind::Absolute, range, x, target, losses, gradient: None }.on(self);
        Ok(())
    }

    /// [`scaled_sigmoid_l1`](crate::scaled_sigmoid_l1) and its gradient in x, sign(y − t)·(hi − lo)·σ(x)·σ(−x)·g, g being
    /// `upstream`; 0 where y = t.
    ///
    /// Shapes: all slices have the same length.
    ///
    /// # Accuracy
    /// The gradient: at most 4 ULP, where the sign of y − t is right.
    ///
    /// # Special values
    /// Those of [`scaled_sigmoid_mse_with_grad`](crate::scaled_sigmoid_mse_with_grad).
    ///
    /// # Errors
    /// [`Error::Length`] if the slices differ in length.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_l1_with_grad};
    /// let (x, target, range) = ([0.0_f32; 3], [2.0, 5.0, 8.0], Range::new(0.0, 10.0)?);
    /// let (mut losses, mut grad) = ([0.0; 3], [1.0; 3]);
    /// scaled_sigmoid_l1_with_grad(&x, &target, &[1.0; 3], range, &mut losses, &mut grad)?;
    /// assert_eq!((losses, grad), ([3.0, 0.0, 3.0], [2.5, 0.0, -2.5]));
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula; the algorithm is described at the top of `src/losses/ranged.rs`.
    pub fn scaled_sigmoid_l1_with_grad<T>(self, x: &[T], target: &[T], upstream: &[T], range: Range<T>, losses: &mut [T], grad: &mut [T]) {
        check(Kind::Absolute, x, target, losses)?;
        check_gradient(x, upstream, grad)?;
        Task { kind: Kind::Absolute, range, x, target, losses, gradient: Some((upstream, grad)) }.on(self);
        Ok(())
    }

    /// Huber's loss of a scaled sigmoid: (y − t)²/2 where |y − t| ≤ δ, else δ·(|y − t| − δ/2), from the raw output x.
    ///
    /// Shapes: all slices have the same length. (PyTorch's `huber_loss` without reduction.)
    ///
    /// # Accuracy
    /// At most 2 ULP of the loss, and of its slope times (hi − lo)·σ(−|x|) where y − t cancels.
    ///
    /// # Special values
    /// Those of [`scaled_sigmoid_mse`](crate::scaled_sigmoid_mse).
    ///
    /// # Errors
    /// [`Error::Length`] if the slices differ in length, [`Error::Parameter`] for a δ that is not positive and finite.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_huber};
    /// let mut losses = [0.0_f32; 2];
    /// scaled_sigmoid_huber(&[0.0, 0.0], &[4.5, 2.0], 1.0, Range::new(0.0, 10.0)?, &mut losses)?;
    /// assert_eq!(losses, [0.125, 2.5]); // a parabola up to δ, a straight line beyond
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// P. J. Huber, *Robust Estimation of a Location Parameter* (1964).
    pub fn scaled_sigmoid_huber<T>(self, x: &[T], target: &[T], delta: T, range: Range<T>, losses: &mut [T]) {
        let kind = Kind::Huber(delta);
        check(kind, x, target, losses)?;
        Task { kind, range, x, target, losses, gradient: None }.on(self);
        Ok(())
    }

    /// [`scaled_sigmoid_huber`](crate::scaled_sigmoid_huber) and its gradient in x: y − t, at most δ in size, times
    /// (hi − lo)·σ(x)·σ(−x)·g.
    ///
    /// Shapes: all slices have the same length.
    ///
    /// # Accuracy
    /// The gradient: at most 4 ULP of itself, and of what y − t cancels.
    ///
    /// # Special values
    /// Those of [`scaled_sigmoid_mse_with_grad`](crate::scaled_sigmoid_mse_with_grad).
    ///
    /// # Errors
    /// Those of [`scaled_sigmoid_huber`](crate::scaled_sigmoid_huber).
    ///
    /// # Example
    /// ```
    /// use lossprep::{Range, scaled_sigmoid_huber_with_grad};
    /// let (x, target, range) = ([0.0_f32; 3], [4.5, 2.0, -900.0], Range::new(0.0, 10.0)?);
    /// let (mut losses, mut grad) = ([0.0; 3], [0.0; 3]);
    /// scaled_sigmoid_huber_with_grad(&x, &target, 1.0, &[1.0; 3], range, &mut losses, &mut grad)?;
    /// assert_eq!(grad, [1.25, 2.5, 2.5]); // an outlier pulls no harder
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula; the algorithm is described at the top of `src/losses/ranged.rs`.
    pub fn scaled_sigmoid_huber_with_grad<T>(self, x: &[T], target: &[T], delta: T, upstream: &[T], range: Range<T>, losses: &mut [T], grad: &mut [T]) {
        let kind = Kind::Huber(delta);
        check(kind, x, target, losses)?;
        check_gradient(x, upstream, grad)?;
        Task { kind, range, x, target, losses, gradient: Some((upstream, grad)) }.on(self);
        Ok(())
    }
}
