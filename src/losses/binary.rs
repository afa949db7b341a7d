//! Binary cross-entropy of logits, element by element.
//!
//! # Mathematics
//! With σ(x) = 1/(1 + exp(−x)) and log(1 + exp x) = max(x, 0) + log1p(exp(−|x|)), the loss of an element with target
//! y and weight w of the positive class is w·y·log(1 + exp(−x)) + (1 − y)·log(1 + exp x); its derivative is
//! (1 − y)·σ(x) − w·y·σ(−x). For y in [0, 1] the loss has no difference in it.
//!
//! # Error
//! Of the value: half an ULP and 2^−36 (f64: 2^−56) of the sum of both terms' magnitudes, of the derivative half an
//! ULP and 2^−40 (2^−59) of that of its two terms.

use super::row::Row;
use super::wide::{Extended, Wide, WideElement, canonical};
use crate::dispatch::operations;
use crate::element::Lane;
use crate::error::{check_len, check_weights};
use crate::simd::{Mask, Op, Simd, Vector};
use crate::{Element, Error, Layout};

/// All elements of all rows.
struct Task<'a, T> {
    layout: Layout,
    x: &'a [T],
    target: &'a [T],
    pos_weight: Option<&'a [T]>,
    losses: &'a mut [T],
    /// Upstream and gradient.
    gradient: Option<(&'a [T], &'a mut [T])>,
}

impl<T: WideElement> Op for Task<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        // Without a weight for each class it does not matter which elements make a row.
        let one_row = self.pos_weight.is_none() || self.x.is_empty();
        let rows = if one_row { 1 } else { self.layout.row_count() };
        for row in 0..rows {
            let place = if one_row { Row::whole(self.x.len()) } else { Row::of(self.layout, row) };
            for j in 0..place.steps::<T>() {
                self.register(s, place, j);
            }
        }
    }
}

/// What rises with x and what falls.
#[inline(always)]
fn by_side<T: WideElement, S: Simd>(
    above: Mask<T, S>,
    big: Extended<T, S>,
    small: Extended<T, S>,
) -> [Extended<T, S>; 2] {
    [Extended::select(above, big, small), Extended::select(above, small, big)]
}

impl<T: WideElement> Task<'_, T> {
    #[inline(always)]
    fn register<S: Simd>(&mut self, s: S, place: Row, j: usize) {
        let nothing = Vector::splat(s, T::zero());
        let one = Wide::splat(s, T::one());
        let x = place.load(s, self.x, j, T::zero());
        let y = Wide::exact(place.load(s, self.target, j, T::zero()));
        let (negative, mut positive) = (Extended::of(one - y), Extended::of(y));
        if let Some(w) = self.pos_weight {
            positive = positive * Extended::of(Wide::exact(Row::whole(place.len).load(s, w, j, T::zero())));
        }
        let magnitude = Wide::exact(x.abs());
        let small = Extended::ln_1p_exp(-magnitude);
        let big = Extended::of(magnitude) + small;
        let above = nothing.lt(x);
        let [rising, falling] = by_side(above, big, small);
        let loss = negative.times_unless_zero(rising) + positive.times_unless_zero(falling);
        let nan = Vector::splat(s, <T as Lane>::NAN);
        let loss = x.is_nan().select(nan, loss.round());
        place.store(self.losses, j, canonical(loss));
        if let Some((upstream, grad)) = &mut self.gradient {
            let g = place.load(s, upstream, j, T::zero());
            let whole = g.is_finite();
            let g = Extended::of(Wide::exact(whole.select(g, Vector::splat(s, T::one()))));
            let denominator = Extended::of(one + (-magnitude).exp());
            let small = Extended::exp(-magnitude) / denominator;
            let none = Extended::of(Wide::zero(s));
            let small = Extended::select(x.abs().eq(Vector::splat(s, T::INFINITY)), none, small);
            let [rising, falling] = by_side(above, Extended::of(one) / denominator, small);
            let value = (negative * rising - positive * falling) * g;
            // Where the derivative is 0, and not only rounded to it, no upstream gradient reaches.
            let beyond = value.sign().eq(nothing).select(nothing, nan);
            let value = whole.select(value.round(), beyond);
            let value = x.is_nan().select(nan, value);
            place.store(grad, j, canonical(value));
        }
    }
}

fn check<T: Element>(
    layout: Layout,
    [x, target]: [&[T]; 2],
    pos_weight: Option<&[T]>,
    losses: &[T],
) -> Result<(), Error> {
    check_len("x", layout.elements(), x.len())?;
    check_len("target", layout.elements(), target.len())?;
    check_len("losses", layout.elements(), losses.len())?;
    let Some(weights) = pos_weight else { return Ok(()) };
    check_len("pos_weight", layout.len(), weights.len())?;
    check_weights("pos_weight", weights)
}

operations! {
    /// Binary cross-entropy of logits: w·y·log(1 + exp(−x)) + (1 − y)·log(1 + exp x), element by element.
    ///
    /// It takes *logits*: no sigmoid before it.
    ///
    /// Shapes: `x`, `target` (y, usually 0 or 1, in [0, 1]) and `losses` have the layout's elements; `pos_weight` has one
    /// weight w for each element of a row (the classes), or is absent.
    ///
    /// # Accuracy
    /// At most 1 ULP for y in [0, 1], else 1 ULP of the sum of both terms' magnitudes; the same bits on every backend.
    ///
    /// # Special values
    /// NaN gives NaN. At ±∞ the loss is 0 where the target is there, +∞ elsewhere.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Parameter`] for a weight that is negative or not finite.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, binary_cross_entropy_with_logits};
    /// let mut losses = [0.0_f32; 2];
    /// binary_cross_entropy_with_logits(&[20.0, -1.0], &[1.0, 0.0], None, Layout::rows(2, 1)?, &mut losses)?;
    /// assert_eq!(losses, [2.0611537e-9, 0.3132617]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The definition; the algorithm is described at the top of `src/losses/binary.rs`.
    pub fn binary_cross_entropy_with_logits<T>(self, x: &[T], target: &[T], pos_weight: Option<&[T]>, layout: Layout, losses: &mut [T]) {
        check(layout, [x, target], pos_weight, losses)?;
        Task { layout, x, target, pos_weight, losses, gradient: None }.on(self);
        Ok(())
    }

    /// [`binary_cross_entropy_with_logits`](crate::binary_cross_entropy_with_logits) and its gradient,
    /// ((1 − y)·σ(x) − w·y·σ(−x))·g, `upstream` g for each element.
    ///
    /// Shapes: all slices but `pos_weight` have the layout's elements.
    ///
    /// # Accuracy
    /// The gradient: at most 4 ULP of |g|·(|1 − y|·σ(x) + |w·y|·σ(−x)).
    ///
    /// # Special values
    /// NaN gives NaN; an upstream gradient that is not finite gives NaN, but 0 where the derivative is 0.
    ///
    /// # Errors
    /// Those of [`binary_cross_entropy_with_logits`](crate::binary_cross_entropy_with_logits).
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, binary_cross_entropy_with_logits_with_grad};
    /// let (x, target, layout) = ([0.0_f32, 0.0], [1.0, 0.0], Layout::rows(1, 2)?);
    /// let (mut losses, mut grad) = ([0.0; 2], [0.0; 2]);
    /// let w = Some(&[3.0, 1.0][..]);
    /// binary_cross_entropy_with_logits_with_grad(&x, &target, w, &[1.0; 2], layout, &mut losses, &mut grad)?;
    /// assert_eq!(grad, [-1.5, 0.5]); // σ(x) − y, w times that where y is 1
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative; the algorithm is described at the top of `src/losses/binary.rs`.
    pub fn binary_cross_entropy_with_logits_with_grad<T>(self, x: &[T], target: &[T], pos_weight: Option<&[T]>, upstream: &[T], layout: Layout, losses: &mut [T], grad: &mut [T]) {
        check(layout, [x, target], pos_weight, losses)?;
        check_len("upstream", layout.elements(), upstream.len())?;
        check_len("grad", layout.elements(), grad.len())?;
        Task { layout, x, target, pos_weight, losses, gradient: Some((upstream, grad)) }.on(self);
        Ok(())
    }
}
