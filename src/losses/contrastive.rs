//! Contrastive losses within a batch: InfoNCE and NT-Xent, over features that they bring to unit length themselves.
//!
//! # Mathematics
//! With unit rows u of the queries and v of the keys (`unit.rs`) and s_ij = u_i·v_j/τ, row i has the cross-entropy
//! log Σ_j exp s_ij − s_i,pos(i). InfoNCE: row i of the keys is the positive of row i of the queries. NT-Xent: queries
//! and keys are the same 2n rows, i and i + n belong together, and j = i is left out of the sum. With
//! w_ij = g_i·(p_ij − [j = pos(i)])/τ the gradient in u_i is Σ_j w_ij·v_j, that in v_j Σ_i w_ij·u_i.
//!
//! # Algorithm
//! Unit rows, similarities and then the w in their place are kept in the caller's workspace, in twice the precision;
//! the w of a row in units of a power of two of its own, so that an upstream gradient may be as large as p is small. As in `cross_entropy.rs`, what p at the largest similarity lacks of 1 is computed from the others.

use super::metric::check_features;
use super::row::Row;
use super::unit::{Unit, finite, nothing};
use super::wide::{Extended, Wide, WideElement, canonical, sums};
use crate::dispatch::operations;
use crate::element::Lane;
use crate::error::{check_len, check_scale};
use crate::kernels::l2::NormGuard;
use crate::simd::{Op, Simd, Vector};
use crate::{Element, Error, Layout};

/// f64s of the workspace that a register takes.
const SLOT: usize = 16;

/// How many `f64` the workspace of [`info_nce`](crate::info_nce) and [`nt_xent`](crate::nt_xent) has, for features
/// of this layout.
///
/// It grows with the square of the number of rows.
///
/// ```
/// use lossprep::{Layout, contrastive_workspace};
/// // 10.5 MB for a batch of 1024 rows of 128 features.
/// assert_eq!(8 * contrastive_workspace::<f32>(Layout::rows(1024, 128)?)?, 10_519_552);
/// # Ok::<(), lossprep::Error>(())
/// ```
///
/// # Errors
/// [`Error::Overflow`] if the number does not fit in a `usize`.
pub fn contrastive_workspace<T: Element>(layout: Layout) -> Result<usize, Error> {
    let (rows, row) = (layout.row_count(), layout.len().div_ceil(T::LANES));
    // Similarities, and four rows more.
    let similarities = rows.checked_add(4).and_then(|n| n.checked_mul(rows.div_ceil(T::LANES)));
    // Unit rows of queries and keys, and one row more.
    let units = rows.checked_mul(2).and_then(|n| n.checked_add(1)).and_then(|n| n.checked_mul(row));
    let slots = similarities.zip(units).and_then(|(a, b)| a.checked_add(b));
    slots.and_then(|n| n.checked_mul(SLOT)).ok_or(Error::Overflow)
}

/// All rows of a batch against all.
struct Contrast<'a, T> {
    layout: Layout,
    queries: &'a [T],
    /// None: the queries themselves, in two halves that belong together.
    keys: Option<&'a [T]>,
    temperature: T,
    guard: Option<NormGuard<T>>,
    losses: &'a mut [T],
    workspace: &'a mut [f64],
    /// Upstream, and the gradients of queries and keys; the latter is empty where there are none.
    gradient: Option<(&'a [T], [&'a mut [T]; 2])>,
}

/// Registers in the workspace.
struct Slots<'a>(&'a mut [[f64; SLOT]]);

impl Slots<'_> {
    #[inline(always)]
    fn load<T: WideElement, S: Simd>(&self, s: S, slot: usize) -> Wide<T, S> {
        Wide(T::restore(s, &self.0[slot]))
    }
    #[inline(always)]
    fn store<T: WideElement, S: Simd>(&mut self, slot: usize, v: Wide<T, S>) {
        T::save::<S>(v.0, &mut self.0[slot]);
    }
    /// Number `i` of the registers from `slot` on, in all lanes.
    #[inline(always)]
    fn entry<T: WideElement, S: Simd>(&self, s: S, slot: usize, i: usize) -> Wide<T, S> {
        let (from, lane) = (&self.0[slot + i / T::LANES], i % T::LANES);
        let mut all = [from[lane]; SLOT];
        if T::LANES < SLOT {
            all[T::LANES..].fill(from[lane + T::LANES]);
        }
        Wide(T::restore(s, &all))
    }
    /// Sets it to what `v` has in all lanes.
    #[inline(always)]
    fn set_entry<T: WideElement, S: Simd>(&mut self, slot: usize, i: usize, v: Wide<T, S>) {
        let mut all = [0.0; SLOT];
        T::save::<S>(v.0, &mut all);
        let (to, lane) = (&mut self.0[slot + i / T::LANES], i % T::LANES);
        to[lane] = all[0];
        if T::LANES < SLOT {
            to[lane + T::LANES] = all[T::LANES];
        }
    }
}

impl<T: Element + WideElement> Op for Contrast<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { layout, queries, keys, temperature, guard, losses, workspace, mut gradient } = self;
        let (rows, own) = (layout.row_count(), keys.is_none());
        let keys = keys.unwrap_or(queries);
        let (steps, wide) = (layout.len().div_ceil(T::LANES), rows.div_ceil(T::LANES));
        let mut slots = Slots(workspace.as_chunks_mut().0);
        // Where the keys' unit rows, the similarities, the rows of both sides' sizes, of units and weights, and the sums
        // begin.
        let (to_keys, to_similarities) = (if own { 0 } else { rows * steps }, 2 * rows * steps);
        let to_sizes = to_similarities + rows * wide;
        let to_key_sizes = if own { to_sizes } else { to_sizes + wide };
        let to_units = to_sizes + 2 * wide;
        let (to_weights, to_row) = (to_units + wide, to_units + 2 * wide);
        let sides = [(queries, 0, to_sizes), (keys, to_keys, to_key_sizes)];
        for &(x, to, to_sizes) in &sides[..if own { 1 } else { 2 }] {
            for row in 0..rows {
                let unit = Unit::of(s, Row::of(layout, row), x, guard);
                let size = unit.as_ref().map_or_else(T::zero, |unit| unit.size);
                slots.set_entry(to_sizes, row, Wide::<T, S>::splat(s, size));
                for j in 0..steps {
                    let u = match &unit {
                        Some(unit) => unit.load(s, x, j),
                        None => Wide::splat(s, <T as Lane>::NAN),
                    };
                    slots.store(to + row * steps + j, u);
                }
            }
        }
        let tau = Wide::splat(s, temperature);
        for i in 0..rows {
            let similarities = to_similarities + i * wide;
            for j in 0..rows {
                let [dot] = sums::<T, S, 1>(
                    s,
                    steps,
                    #[inline(always)]
                    |k| [slots.load::<T, S>(s, i * steps + k) * slots.load(s, to_keys + j * steps + k)],
                );
                slots.set_entry(similarities, j, dot / tau);
            }
            let positive = if own { (i + rows / 2) % rows } else { i };
            let left_out = own.then_some(i);
            let g = gradient.as_ref().map(|(upstream, _)| upstream[i]);
            let context = Contest { s, similarities, rows, positive, left_out, temperature };
            let (loss, unit) = context.run(&mut slots, g);
            losses[i] = loss;
            slots.set_entry(to_units, i, Wide::<T, S>::splat(s, unit));
        }
        let Some((_, grads)) = &mut gradient else { return };
        // Σ_j w_ij·v_j for the queries, Σ_j w_ji·u_j for the keys, both for rows that are both.
        let others = [(to_keys, to_key_sizes), (0, to_sizes)];
        for (side, grad) in grads.iter_mut().enumerate().take(if own { 1 } else { 2 }) {
            for i in 0..rows {
                // The weights of i as a query and as a key.
                let roles = [own || side == 0, own || side == 1];
                let at = [to_units, to_similarities, wide];
                // In units of the largest product, which a weight in them must not leave. A row of zeros has none, whatever
                // its weight.
                let (from, to_sizes) = others[side];
                let mut unit = T::from(-9000).unwrap_or_else(T::zero);
                for j in 0..rows {
                    let size = first(slots.entry::<T, S>(s, to_sizes, j).round());
                    if size != nothing() {
                        let size = size.max(T::from(-1000).unwrap_or_else(T::zero));
                        unit = (weight::<T, S>(s, &slots, at, roles, i, j).exponent() + size).max(unit);
                    }
                }
                let down = Extended::scaled(Wide::splat(s, T::one()), T::zero() - unit);
                for j in 0..rows {
                    let size = first(slots.entry::<T, S>(s, to_sizes, j).round());
                    let w = if size == nothing() {
                        Wide::zero(s)
                    } else {
                        (weight(s, &slots, at, roles, i, j) * down).wide()
                    };
                    slots.set_entry(to_weights, j, w);
                }
                for k in 0..steps {
                    let mut sum = Wide::zero(s);
                    for j in 0..rows {
                        let w = slots.entry::<T, S>(s, to_weights, j);
                        sum = sum + w * slots.load(s, from + j * steps + k);
                    }
                    slots.store(to_row + k, sum);
                }
                let g = Extended::scaled(Wide::splat(s, T::one()), unit);
                through(s, Row::of(layout, i), sides[side].0, guard, g, grad, &slots, to_row);
            }
        }
    }
}

/// w_ij + w_ji, or the one of them in whose role row i is: as a query, as a key. `at`: units, similarities, a row of these.
#[inline(always)]
fn weight<T: WideElement, S: Simd>(
    s: S,
    slots: &Slots<'_>,
    at: [usize; 3],
    [query, key]: [bool; 2],
    i: usize,
    j: usize,
) -> Extended<T, S> {
    match (query, key) {
        (true, true) => share(s, slots, at, i, j) + share(s, slots, at, j, i),
        (true, _) => share(s, slots, at, i, j),
        _ => share(s, slots, at, j, i),
    }
}

/// w_ij
#[inline(always)]
fn share<T: WideElement, S: Simd>(
    s: S,
    slots: &Slots<'_>,
    [units, similarities, wide]: [usize; 3],
    i: usize,
    j: usize,
) -> Extended<T, S> {
    let unit = first(slots.entry::<T, S>(s, units, i).round());
    Extended::scaled(slots.entry(s, similarities + i * wide, j), unit)
}

/// g times the gradient of a row through its normalisation, from that in the unit row.
#[inline(always)]
fn through<T: WideElement, S: Simd>(
    s: S,
    place: Row,
    x: &[T],
    guard: Option<NormGuard<T>>,
    g: Extended<T, S>,
    grad: &mut [T],
    slots: &Slots<'_>,
    from: usize,
) {
    match Unit::of(s, place, x, guard) {
        Some(unit) => unit.back(
            s,
            x,
            g,
            grad,
            #[inline(always)]
            |k| slots.load(s, from + k),
        ),
        None => (0..place.len).for_each(|i| grad[place.index(i)] = <T as Lane>::NAN),
    }
}

/// The cross-entropy of one row of similarities.
struct Contest<T, S> {
    s: S,
    similarities: usize,
    rows: usize,
    positive: usize,
    left_out: Option<usize>,
    temperature: T,
}

impl<T: Element + WideElement, S: Simd> Contest<T, S> {
    /// Similarity `j`, in all lanes.
    #[inline(always)]
    fn similarity(&self, slots: &Slots<'_>, j: usize) -> Wide<T, S> {
        slots.entry(self.s, self.similarities, j)
    }

    /// The loss; with an upstream gradient the similarities become w, in units of 2 to the power returned.
    #[inline(always)]
    fn run(&self, slots: &mut Slots<'_>, upstream: Option<T>) -> (T, T) {
        let (s, row) = (self.s, Row::whole(self.rows));
        let (mut best, mut top) = (self.positive, self.similarity(slots, self.positive));
        let mut sound = true;
        for j in (0..self.rows).filter(|&j| Some(j) != self.left_out) {
            let similarity = self.similarity(slots, j);
            sound &= !first(similarity.round()).is_nan();
            // Not by what they round to: between equal numbers of the type there is room for more than exp can take.
            if first((similarity - top).sign()) > T::zero() {
                (best, top) = (j, similarity);
            }
        }
        if !sound {
            let nan = Wide::splat(s, <T as Lane>::NAN);
            if upstream.is_some() {
                (0..row.steps::<T>()).for_each(|j| slots.store::<T, S>(self.similarities + j, nan));
            }
            return (<T as Lane>::NAN, T::zero());
        }
        // The next one, to which the sum of the others is relative.
        let mut next = None;
        for j in (0..self.rows).filter(|&j| Some(j) != self.left_out && j != best) {
            let similarity = self.similarity(slots, j);
            if next.is_none_or(|next| first((similarity - next).sign()) > T::zero()) {
                next = Some(similarity);
            }
        }
        let next = next.unwrap_or(top);
        let gap = top - self.similarity(slots, self.positive);
        let (none, zero) = (Vector::splat(s, T::zero()), Wide::zero(s));
        let [others] = sums::<T, S, 1>(
            s,
            row.steps::<T>(),
            #[inline(always)]
            |j| {
                let e = (slots.load::<T, S>(s, self.similarities + j) - next).exp();
                [Wide::select(present(s, row, j, [self.left_out, Some(best)]).eq(none), zero, e)]
            },
        );
        let one = Wide::splat(s, T::one());
        let far = next - top;
        let c = Extended::of(others) * Extended::exp(far);
        let sum = others * far.exp();
        let excess =
            if far.round().lt(Vector::splat(s, T::FLAT)).any() { c } else { Extended::of(sum.ln_1p()) };
        let share = Extended::of(one / (one + sum));
        let mut unit = T::zero();
        if let Some(g) = upstream {
            let factor = finite(s, g) / Extended::splat(s, self.temperature);
            let missing = c * share * factor;
            let of_best = if best == self.positive { Extended::of(zero) - missing } else { share * factor };
            // None is larger than that of the positive.
            unit = if best == self.positive { missing } else { factor }.exponent();
            let down = Extended::scaled(one, T::zero() - unit);
            for j in 0..row.steps::<T>() {
                let slot = self.similarities + j;
                let p = Extended::exp(slots.load::<T, S>(s, slot) - top) * share * factor;
                let d = Extended::select(only(s, j, self.positive).eq(none), p, p - factor);
                // 1 − p of the largest, from the others.
                let d = Extended::select(only(s, j, best).eq(none), d, of_best);
                let absent = present(s, row, j, [self.left_out, None]).eq(none);
                slots.store(slot, Wide::select(absent, zero, (d * down).wide()));
            }
        }
        (first(canonical((Extended::of(gap) + excess).round())), unit)
    }
}

/// The first lane.
#[inline(always)]
fn first<T: Lane, S: Simd>(v: Vector<T, S>) -> T {
    v.to_array().as_ref()[0]
}

/// 1 in the lane of register `j` that holds element `i`.
#[inline(always)]
fn only<T: Lane, S: Simd>(s: S, j: usize, i: usize) -> Vector<T, S> {
    let mut lanes = T::array(T::zero());
    if i / T::LANES == j {
        lanes.as_mut()[i % T::LANES] = T::one();
    }
    Vector::load(s, &lanes)
}

/// 1 in the lanes of register `j` that hold an element of the row, other than these.
#[inline(always)]
fn present<T: Lane, S: Simd>(s: S, row: Row, j: usize, without: [Option<usize>; 2]) -> Vector<T, S> {
    let mut lanes = row.ones::<T, S>(s, j).to_array();
    for i in without.into_iter().flatten() {
        if i / T::LANES == j {
            lanes.as_mut()[i % T::LANES] = T::zero();
        }
    }
    Vector::load(s, &lanes)
}

fn check<T: Element>(
    layout: Layout,
    features: &[(&'static str, usize)],
    temperature: T,
    guard: Option<NormGuard<T>>,
    losses: &[T],
    workspace: &[f64],
) -> Result<(), Error> {
    check_features(layout, features, guard, losses)?;
    check_scale("temperature", temperature)?;
    check_len("workspace", contrastive_workspace::<T>(layout)?, workspace.len())
}

/// NT-Xent's rows come in two halves.
fn check_halves(layout: Layout) -> Result<(), Error> {
    if layout.row_count().is_multiple_of(2) {
        Ok(())
    } else {
        Err(Error::Parameter { name: "layout", requirement: "of an even number of rows" })
    }
}

operations! {
    /// InfoNCE of a batch: log Σ_j exp(u_i·v_j/τ) − u_i·v_i/τ of each row, u and v the unit rows of queries and keys,
    /// x/guard(‖x‖).
    ///
    /// Row i of the keys is the positive of row i of the queries, the others are its negatives. For the symmetric loss
    /// (CLIP) call it again with queries and keys exchanged. Without a guard the rows are taken as they are: for
    /// features that are unit vectors already.
    ///
    /// Shapes: `queries` and `keys` have the layout's elements, `losses` one element a row, `workspace` as many as
    /// [`contrastive_workspace`] says.
    ///
    /// # Accuracy
    /// At most 2 ULP of the loss and of 2^−8·Σ|u_i·v_j|/τ; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// A NaN or an infinity in a query makes its loss NaN, in a key all of them.
    ///
    /// # Errors
    /// [`Error::Length`], [`Error::Parameter`] for a temperature that is not finite, normal and positive or an ε that
    /// is not positive and finite.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, NormGuard, contrastive_workspace, info_nce};
    /// let layout = Layout::rows(2, 2)?;
    /// let (queries, keys) = ([2.0_f32, 0.0, 0.0, 3.0], [1.0, 0.0, 0.0, 1.0]);
    /// let (mut losses, mut workspace) = ([0.0; 2], vec![0.0; contrastive_workspace::<f32>(layout)?]);
    /// info_nce(&queries, &keys, 0.0625, Some(NormGuard::default()), layout, &mut losses, &mut workspace)?;
    /// assert_eq!(losses, [1.1253517e-7; 2]); // log(1 + exp(−16))
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// A. van den Oord et al., *Representation Learning with Contrastive Predictive Coding* (2018).
    pub fn info_nce<T>(self, queries: &[T], keys: &[T], temperature: T, guard: Option<NormGuard<T>>, layout: Layout, losses: &mut [T], workspace: &mut [f64]) {
        check(layout, &[("queries", queries.len()), ("keys", keys.len())], temperature, guard, losses, workspace)?;
        Contrast { layout, queries, keys: Some(keys), temperature, guard, losses, workspace, gradient: None }.on(self);
        Ok(())
    }

    /// [`info_nce`](crate::info_nce) and its gradients in queries and keys, through the normalisation.
    ///
    /// Shapes: `upstream` and `losses` have one element a row, `grads` the layout's elements each.
    ///
    /// # Accuracy
    /// At most 4 ULP of (|h_i| + |u_i|·κ·Σ|u_j·h_j|)/φ, h = Σ|w|·|v| the gradient in the unit rows with all its terms
    /// taken as magnitudes; for f64 where no upstream gradient of the batch is 2^800 times another, and with 2^−900·Σ|w|
    /// added to |h_i|: an element that is 2^−900 of its row's largest has no share in the row of length 1. And 1 + 2^−28·S
    /// (f64: 2^−50·S) times as much, S the largest Σ|u_j·v_j|/τ of a query and a key: 1 or little more but for long rows
    /// without a guard or a tiny temperature.
    ///
    /// # Special values
    /// An upstream gradient that is not finite makes all gradients that it reaches NaN.
    ///
    /// # Errors
    /// Those of [`info_nce`](crate::info_nce).
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, NormGuard, contrastive_workspace, info_nce_with_grad};
    /// let (layout, guard) = (Layout::rows(2, 2)?, Some(NormGuard::default()));
    /// let (queries, keys) = ([2.0_f64, 1.0, 0.0, 3.0], [1.0, 0.0, 1.0, 1.0]);
    /// let (mut losses, mut dq, mut dk) = ([0.0; 2], [0.0; 4], [0.0; 4]);
    /// let mut workspace = vec![0.0; contrastive_workspace::<f64>(layout)?];
    /// let grads = [&mut dq[..], &mut dk[..]];
    /// info_nce_with_grad(&queries, &keys, 0.5, guard, &[0.5; 2], layout, &mut losses, grads, &mut workspace)?;
    /// // The length of a row does not count: its gradient is orthogonal to it.
    /// assert!(dq[0] < -0.01 && (queries[0] * dq[0] + queries[1] * dq[1]).abs() < 1e-16);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula; the algorithm is described at the top of `src/losses/contrastive.rs`.
    pub fn info_nce_with_grad<T>(self, queries: &[T], keys: &[T], temperature: T, guard: Option<NormGuard<T>>, upstream: &[T], layout: Layout, losses: &mut [T], grads: [&mut [T]; 2], workspace: &mut [f64]) {
        check(layout, &[("queries", queries.len()), ("keys", keys.len()), ("grads[0]", grads[0].len()), ("grads[1]", grads[1].len())], temperature, guard, losses, workspace)?;
        check_len("upstream", layout.row_count(), upstream.len())?;
        Contrast { layout, queries, keys: Some(keys), temperature, guard, losses, workspace, gradient: Some((upstream, grads)) }.on(self);
        Ok(())
    }

    /// NT-Xent of a batch of 2n rows, of which i and i + n belong together:
    /// log Σ_{j≠i} exp(u_i·u_j/τ) − u_i·u_pos(i)/τ of each row, u the unit rows x/guard(‖x‖).
    ///
    /// Without a guard the rows are taken as they are: for features that are unit vectors already, or whose products and
    /// squares at least stay in the range of the type.
    ///
    /// Shapes: `features` has the layout's elements, `losses` one element a row, `workspace` as many as
    /// [`contrastive_workspace`] says.
    ///
    /// # Accuracy
    /// That of [`info_nce`](crate::info_nce).
    ///
    /// # Special values
    /// A NaN or an infinity makes all losses NaN.
    ///
    /// # Errors
    /// Those of [`info_nce`](crate::info_nce), and [`Error::Parameter`] for an odd number of rows.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, NormGuard, contrastive_workspace, nt_xent};
    /// let layout = Layout::rows(4, 2)?;
    /// let views = [2.0_f64, 0.0, 0.0, 3.0, 1.0, 0.0, 0.0, 1.0];
    /// let (mut losses, mut workspace) = ([0.0; 4], vec![0.0; contrastive_workspace::<f64>(layout)?]);
    /// nt_xent(&views, 0.5, Some(NormGuard::default()), layout, &mut losses, &mut workspace)?;
    /// assert!((losses[0] - (1.0 + 2.0 * (-2.0_f64).exp()).ln()).abs() < 1e-15);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// T. Chen et al., *A Simple Framework for Contrastive Learning of Visual Representations* (2020).
    pub fn nt_xent<T>(self, features: &[T], temperature: T, guard: Option<NormGuard<T>>, layout: Layout, losses: &mut [T], workspace: &mut [f64]) {
        check(layout, &[("features", features.len())], temperature, guard, losses, workspace)?;
        check_halves(layout)?;
        Contrast { layout, queries: features, keys: None, temperature, guard, losses, workspace, gradient: None }.on(self);
        Ok(())
    }

    /// [`nt_xent`](crate::nt_xent) and its gradient in the features, through the normalisation.
    ///
    /// Shapes: `upstream` and `losses` have one element a row, `grad` has that of `features`.
    ///
    /// # Accuracy
    /// That of [`info_nce_with_grad`](crate::info_nce_with_grad).
    ///
    /// # Special values
    /// An upstream gradient that is not finite makes all gradients that it reaches NaN.
    ///
    /// # Errors
    /// Those of [`nt_xent`](crate::nt_xent).
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, NormGuard, contrastive_workspace, nt_xent, nt_xent_with_grad};
    /// let (layout, guard) = (Layout::rows(4, 2)?, Some(NormGuard::default()));
    /// let mut views = [2.0_f64, 1.0, 0.0, 3.0, 1.0, 0.0, 1.0, 1.0];
    /// let (mut losses, mut lower, mut grad) = ([0.0; 4], [0.0; 4], [0.0; 8]);
    /// let mut workspace = vec![0.0; contrastive_workspace::<f64>(layout)?];
    /// nt_xent_with_grad(&views, 0.5, guard, &[0.25; 4], layout, &mut losses, &mut grad, &mut workspace)?;
    /// views.iter_mut().zip(&grad).for_each(|(x, g)| *x -= 0.1 * g);
    /// nt_xent(&views, 0.5, guard, layout, &mut lower, &mut workspace)?;
    /// assert!(lower.iter().sum::<f64>() < losses.iter().sum()); // the step was downhill
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula; the algorithm is described at the top of `src/losses/contrastive.rs`.
    pub fn nt_xent_with_grad<T>(self, features: &[T], temperature: T, guard: Option<NormGuard<T>>, upstream: &[T], layout: Layout, losses: &mut [T], grad: &mut [T], workspace: &mut [f64]) {
        check(layout, &[("features", features.len()), ("grad", grad.len())], temperature, guard, losses, workspace)?;
        check_halves(layout)?;
        check_len("upstream", layout.row_count(), upstream.len())?;
        let grads = [grad, &mut []];
        Contrast { layout, queries: features, keys: None, temperature, guard, losses, workspace, gradient: Some((upstream, grads)) }.on(self);
        Ok(())
    }
}
