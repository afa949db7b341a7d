//! Losses of distances between feature rows: the triplet margin and the cosine embedding loss, over features that
//! they bring to unit length themselves.
//!
//! # Mathematics
//! With unit rows u (`unit.rs`):
//!
//! * triplet: max(0, ‖u_a − u_p‖ − ‖u_a − u_n‖ + margin), whose gradient in u_a is
//!   (u_a − u_p)/‖u_a − u_p‖ − (u_a − u_n)/‖u_a − u_n‖, 0 for a distance of 0;
//! * cosine embedding: 1 − u₁·u₂ for a pair that belongs together, else max(0, u₁·u₂ − margin). Where both rows
//!   have length 1 the former is ½‖u₁ − u₂‖², and its gradient that of u₂ − u₁: nothing cancels, since differences of
//!   unit rows have their digits (`unit.rs`).
//!
//! # Error
//! All in registers of twice the precision, rounded once.

use super::row::Row;
use super::unit::{Difference, Unit, finite};
use super::wide::{Extended, Wide, WideElement, canonical, sums};
use crate::dispatch::operations;
use crate::element::Lane;
use crate::error::check_len;
use crate::kernels::l2::NormGuard;
use crate::simd::{Op, Simd, Vector};
use crate::{Element, Error, Layout};

/// Anchor, positive and negative rows.
struct Triplets<'a, T> {
    layout: Layout,
    rows: [&'a [T]; 3],
    margin: T,
    guard: Option<NormGuard<T>>,
    losses: &'a mut [T],
    gradient: Gradients<'a, T, 3>,
}

/// 1/v, 0 for 0.
#[inline(always)]
fn reciprocal<T: WideElement, S: Simd>(s: S, v: Wide<T, S>) -> Wide<T, S> {
    let none = v.sign().eq(Vector::splat(s, T::zero()));
    Wide::select(none, Wide::zero(s), Wide::splat(s, T::one()) / v)
}

/// An upstream gradient for each row, and a gradient for each tensor.
type Gradients<'a, T, const N: usize> = Option<(&'a [T], [&'a mut [T]; N])>;

/// Gradients of a row that are all the same number.
fn fill<T: Copy, const N: usize>(place: Row, gradient: &mut Gradients<'_, T, N>, value: T) {
    for grad in gradient.iter_mut().flat_map(|(_, grads)| grads) {
        (0..place.len).for_each(|i| grad[place.index(i)] = value);
    }
}

/// The first lane, canonical, and whether the number is positive, whatever it rounds to.
#[inline(always)]
fn number<T: WideElement, S: Simd>(v: Extended<T, S>) -> (T, bool) {
    let first = |v: Vector<T, S>| canonical(v).to_array().as_ref()[0];
    (first(v.round()), first(v.sign()) > T::zero())
}

impl<T: Element + WideElement> Op for Triplets<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for row in 0..self.layout.row_count() {
            self.row(s, row);
        }
    }
}

impl<T: Element + WideElement> Triplets<'_, T> {
    #[inline(always)]
    fn row<S: Simd>(&mut self, s: S, row: usize) {
        let place = Row::of(self.layout, row);
        let [a, p, n] = self.rows;
        let units = [
            Unit::of(s, place, a, self.guard),
            Unit::of(s, place, p, self.guard),
            Unit::of(s, place, n, self.guard),
        ];
        let [Some(anchor), Some(positive), Some(negative)] = &units else {
            self.losses[row] = <T as Lane>::NAN;
            return fill(place, &mut self.gradient, <T as Lane>::NAN);
        };
        let to_positive = Difference::of(s, (a, anchor), (p, positive));
        let to_negative = Difference::of(s, (a, anchor), (n, negative));
        let (near, far) = (to_positive.square.sqrt(), to_negative.square.sqrt());
        let distances = Extended::scaled(near, to_positive.unit) - Extended::scaled(far, to_negative.unit);
        let (loss, active) = number(distances + Extended::splat(s, self.margin));
        self.losses[row] = if active { loss } else { T::zero() };
        if !active {
            return fill(place, &mut self.gradient, T::zero());
        }
        let Some((upstream, grads)) = &mut self.gradient else { return };
        let (near, far) = (reciprocal(s, near), reciprocal(s, far));
        let zero = Wide::zero(s);
        // What the two differences are multiplied with.
        let rows = [(a, anchor, near, -far), (p, positive, -near, zero), (n, negative, zero, far)];
        for (grad, (x, unit, near, far)) in grads.iter_mut().zip(rows) {
            unit.back(
                s,
                x,
                finite(s, upstream[row]),
                grad,
                #[inline(always)]
                |j| to_positive.load(j) * near + to_negative.load(j) * far,
            );
        }
    }
}

/// Pairs of rows.
struct Pairs<'a, T> {
    layout: Layout,
    rows: [&'a [T]; 2],
    similar: &'a [bool],
    margin: T,
    guard: Option<NormGuard<T>>,
    losses: &'a mut [T],
    gradient: Gradients<'a, T, 2>,
}

impl<T: Element + WideElement> Op for Pairs<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for row in 0..self.layout.row_count() {
            self.row(s, row);
        }
    }
}

impl<T: Element + WideElement> Pairs<'_, T> {
    #[inline(always)]
    fn row<S: Simd>(&mut self, s: S, row: usize) {
        let place = Row::of(self.layout, row);
        let [x, y] = self.rows;
        let units = [Unit::of(s, place, x, self.guard), Unit::of(s, place, y, self.guard)];
        let [Some(first), Some(second)] = &units else {
            self.losses[row] = <T as Lane>::NAN;
            return fill(place, &mut self.gradient, <T as Lane>::NAN);
        };
        let similar = self.similar[row];
        // Of two rows of length 1.
        let apart =
            (first.exact && second.exact && similar).then(|| Difference::of(s, (x, first), (y, second)));
        let one = Wide::splat(s, T::one());
        let (loss, positive) = number(if let Some(apart) = &apart {
            Extended::scaled(apart.square * Wide::splat(s, T::HALF), apart.unit + apart.unit)
        } else {
            let [cosine] = sums(
                s,
                place.steps::<T>(),
                #[inline(always)]
                |j| [first.load_in(s, x, j, first.size) * second.load_in(s, y, j, second.size)],
            );
            let cosine = Extended::scaled(cosine, first.size + second.size);
            if similar { Extended::of(one) - cosine } else { cosine - Extended::splat(s, self.margin) }
        });
        let active = similar || positive;
        self.losses[row] = if active { loss } else { T::zero() };
        if !active {
            return fill(place, &mut self.gradient, T::zero());
        }
        let Some((upstream, grads)) = &mut self.gradient else { return };
        let rows = [(x, first), (y, second)];
        let unit_of_h = apart.as_ref().map_or_else(T::zero, |apart| apart.unit);
        let g = finite(s, upstream[row]) * Extended::scaled(one, unit_of_h);
        for (k, grad) in grads.iter_mut().enumerate() {
            let ((x, unit), (y, other)) = (rows[k], rows[1 - k]);
            let sign = if similar == (k == 0 && apart.is_some()) { one } else { -one };
            unit.back(
                s,
                x,
                g,
                grad,
                #[inline(always)]
                |j| match &apart {
                    // The part of a gradient along u leaves no trace where u has length 1.
                    Some(apart) => apart.load(j) * sign,
                    None => other.load(s, y, j) * sign,
                },
            );
        }
    }
}

/// `Err` unless features and losses fit the layout, and the guard's ε is in its domain.
pub(crate) fn check_features<T: Element>(
    layout: Layout,
    features: &[(&'static str, usize)],
    guard: Option<NormGuard<T>>,
    losses: &[T],
) -> Result<(), Error> {
    for &(name, len) in features {
        check_len(name, layout.elements(), len)?;
    }
    check_len("losses", layout.row_count(), losses.len())?;
    guard.map_or(Ok(()), |guard| guard.checked().map(|_| ()))
}

fn check<T: Element>(
    layout: Layout,
    rows: &[(&'static str, usize)],
    margin: T,
    guard: Option<NormGuard<T>>,
    losses: &[T],
) -> Result<(), Error> {
    check_features(layout, rows, guard, losses)?;
    if margin.is_finite() { Ok(()) } else { Err(Error::Parameter { name: "margin", requirement: "finite" }) }
}

operations! {
    /// Triplet margin loss of features: max(0, ‖u_a − u_p‖ − ‖u_a − u_n‖ + margin) of each row, u = x/guard(‖x‖).
    ///
    /// Without a guard the rows are taken as they are: for features that are unit vectors already, or whose products and
    /// squares at least stay in the range of the type.
    ///
    /// Shapes: `anchor`, `positive` and `negative` have the layout's elements, `losses` one element a row.
    ///
    /// # Accuracy
    /// At most 2 ULP of ‖u_a − u_p‖ + ‖u_a − u_n‖ + |margin|; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// A NaN or an infinity in one of the three rows makes the loss NaN. Zero rows follow the guard.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Parameter`] for a margin that is not finite or an ε that is not positive and finite.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, NormGuard, triplet_margin};
    /// let mut losses = [0.0_f32];
    /// let guard = Some(NormGuard::default());
    /// triplet_margin(&[3.0, 0.0], &[0.0, 2.0], &[5.0, 0.0], 0.5, guard, Layout::rows(1, 2)?, &mut losses)?;
    /// assert_eq!(losses, [core::f32::consts::SQRT_2 + 0.5]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// F. Schroff et al., *FaceNet* (2015), with distances as in PyTorch's `TripletMarginLoss`, without its ε.
    pub fn triplet_margin<T>(self, anchor: &[T], positive: &[T], negative: &[T], margin: T, guard: Option<NormGuard<T>>, layout: Layout, losses: &mut [T]) {
        check(layout, &[("anchor", anchor.len()), ("positive", positive.len()), ("negative", negative.len())], margin, guard, losses)?;
        Triplets { layout, rows: [anchor, positive, negative], margin, guard, losses, gradient: None }.on(self);
        Ok(())
    }

    /// [`triplet_margin`](crate::triplet_margin) and its gradients in the features, through the normalisation.
    ///
    /// Shapes: `upstream` and `losses` have one element a row, `grads` the layout's elements each, for anchor,
    /// positive and negative.
    ///
    /// # Accuracy
    /// At most 4 ULP of |g|·(|h_i| + |u_i|·κ·Σ|u_j·h_j|)/φ, where |h| is the magnitude of the gradient in u, of u_a that of
    /// (u_a − u_p)/‖u_a − u_p‖ plus that of (u_a − u_n)/‖u_a − u_n‖; also where `Max` brings rows to length 1 that are
    /// nearly parallel. Of rows that a guard leaves otherwise the distance has to be 2^−20 (f64: 2^−40) of the sum of both
    /// lengths, and 2^−24 (2^−48) of (|u_i| + |v_i|)/‖u − v‖ comes to |h_i|. In f64 2^−900·(‖u‖ + ‖v‖)/‖u − v‖ comes to it
    /// too: an element that is 2^−900 of its row's largest has no share in the row of length 1.
    ///
    /// # Special values
    /// A distance of 0, which that of parallel rows of length 1 is, has the gradient 0, and so has a row whose loss is 0.
    /// Where the loss is 2^−45 (f64: 2^−90) of its terms or less, it may be either of the two gradients.
    ///
    /// # Errors
    /// Those of [`triplet_margin`](crate::triplet_margin).
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, NormGuard, triplet_margin_with_grad};
    /// let (layout, guard) = (Layout::rows(2, 2)?, Some(NormGuard::default()));
    /// let (anchor, positive, negative) = ([1.0_f32, 0.0, 1.0, 0.0], [0.0, 1.0, 4.0, 3.0], [1.0, -1.0, -1.0, 0.0]);
    /// let (mut losses, mut a, mut p, mut n) = ([0.0; 2], [0.0; 4], [0.0; 4], [0.0; 4]);
    /// let grads = [&mut a[..], &mut p[..], &mut n[..]];
    /// triplet_margin_with_grad(&anchor, &positive, &negative, 0.5, guard, &[1.0; 2], layout, &mut losses, grads)?;
    /// assert!(losses[0] > 1.0 && a[1] < 0.0 && p[0] < 0.0); // anchor and positive approach
    /// assert_eq!((losses[1], &a[2..]), (0.0, &[0.0; 2][..])); // the negative is far enough: nothing to learn
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula; the algorithm is described at the top of `src/losses/metric.rs`.
    pub fn triplet_margin_with_grad<T>(self, anchor: &[T], positive: &[T], negative: &[T], margin: T, guard: Option<NormGuard<T>>, upstream: &[T], layout: Layout, losses: &mut [T], grads: [&mut [T]; 3]) {
        check(layout, &[("anchor", anchor.len()), ("positive", positive.len()), ("negative", negative.len()), ("grads[0]", grads[0].len()), ("grads[1]", grads[1].len()), ("grads[2]", grads[2].len())], margin, guard, losses)?;
        check_len("upstream", layout.row_count(), upstream.len())?;
        Triplets { layout, rows: [anchor, positive, negative], margin, guard, losses, gradient: Some((upstream, grads)) }.on(self);
        Ok(())
    }

    /// Cosine embedding loss of features: 1 − u₁·u₂ of each `similar` pair of rows, max(0, u₁·u₂ − margin) of the
    /// others, u = x/guard(‖x‖).
    ///
    /// Without a guard the rows are taken as they are: for features that are unit vectors already, or whose products and
    /// squares at least stay in the range of the type.
    ///
    /// Shapes: `first` and `second` have the layout's elements, `similar` and `losses` one element a row.
    ///
    /// # Accuracy
    /// At most 2 ULP of 1 + Σ|u₁·u₂|, or of |margin| + Σ|u₁·u₂|; of the loss itself for a similar pair of rows that `Max`
    /// brings to length 1, however nearly parallel they are. The same bits on every backend and for every layout.
    ///
    /// # Special values
    /// A NaN or an infinity in one of the rows makes the loss NaN. Zero rows follow the guard.
    ///
    /// # Errors
    /// Those of [`triplet_margin`](crate::triplet_margin).
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, NormGuard, cosine_embedding};
    /// let mut losses = [0.0_f64; 2];
    /// let (x, y) = ([3.0, 4.0, 1.0, 0.0], [4.0, -3.0, 2.0, 0.0]);
    /// let guard = Some(NormGuard::default());
    /// cosine_embedding(&x, &y, &[true, false], 0.25, guard, Layout::rows(2, 2)?, &mut losses)?;
    /// assert_eq!(losses, [1.0, 0.75]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// PyTorch's `CosineEmbeddingLoss`, with an explicit guard.
    pub fn cosine_embedding<T>(self, first: &[T], second: &[T], similar: &[bool], margin: T, guard: Option<NormGuard<T>>, layout: Layout, losses: &mut [T]) {
        check(layout, &[("first", first.len()), ("second", second.len())], margin, guard, losses)?;
        check_len("similar", layout.row_count(), similar.len())?;
        Pairs { layout, rows: [first, second], similar, margin, guard, losses, gradient: None }.on(self);
        Ok(())
    }

    /// [`cosine_embedding`](crate::cosine_embedding) and its gradients in the features, through the normalisation.
    ///
    /// Shapes: `upstream` and `losses` have one element a row, `grads` the layout's elements each.
    ///
    /// # Accuracy
    /// At most 4 ULP of |g|·(|h_i| + |u_i|·κ·Σ|u_j·h_j|)/φ, h being the other row v, or u − v for a similar pair that `Max`
    /// brings to length 1, however nearly parallel it is. In f64 2^−900 comes to each |h_i|: an element that is 2^−900 of
    /// its row's largest has no share in the row of length 1.
    ///
    /// # Special values
    /// A row whose loss is 0 because of the margin has the gradient 0; where the loss is 2^−45 (f64: 2^−90) of its terms or
    /// less, it may be either of the two gradients.
    ///
    /// # Errors
    /// Those of [`cosine_embedding`](crate::cosine_embedding).
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, NormGuard, cosine_embedding_with_grad};
    /// let (layout, guard) = (Layout::rows(1, 2)?, Some(NormGuard::default()));
    /// let (mut losses, mut dx, mut dy) = ([0.0_f64], [0.0; 2], [0.0; 2]);
    /// let (x, y, grads) = ([2.0, 0.0], [0.0, 1.0], [&mut dx[..], &mut dy[..]]);
    /// cosine_embedding_with_grad(&x, &y, &[true], 0.0, guard, &[1.0], layout, &mut losses, grads)?;
    /// assert_eq!((losses, dx, dy), ([1.0], [0.0, -0.5], [-1.0, 0.0])); // each towards the other
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula; the algorithm is described at the top of `src/losses/metric.rs`.
    pub fn cosine_embedding_with_grad<T>(self, first: &[T], second: &[T], similar: &[bool], margin: T, guard: Option<NormGuard<T>>, upstream: &[T], layout: Layout, losses: &mut [T], grads: [&mut [T]; 2]) {
        check(layout, &[("first", first.len()), ("second", second.len()), ("grads[0]", grads[0].len()), ("grads[1]", grads[1].len())], margin, guard, losses)?;
        check_len("similar", layout.row_count(), similar.len())?;
        check_len("upstream", layout.row_count(), upstream.len())?;
        Pairs { layout, rows: [first, second], similar, margin, guard, losses, gradient: Some((upstream, grads)) }.on(self);
        Ok(())
    }
}
