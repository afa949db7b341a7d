//! The Euclidean norm of rows, rows of unit length, and their gradients.
//!
//! # Mathematics
//! n = ‖x‖ = √Σ x_j², and y = x / N with N = max(n, ε), n + ε or √(n² + ε) ([`NormGuard`]).
//!
//! * ∂n/∂x_i = x_i / n, and 0 for a zero row.
//! * ∂y_i/∂x_j = (δ_ij − x_i·x_j / (N·d)) / N, with d = n for `Max` and `Add` and d = N for
//!   `AddSquared`; where n is zero, or below ε under `Max`, δ_ij / N. The matrix is symmetric, so the
//!   vector-Jacobian and the Jacobian-vector product are one function of x and a row of the same
//!   shape: (g_i − x_i·k) / N with k = Σ x_j·g_j / (N·d).
//!
//! # Algorithm
//! Everything about a row is computed in f64, for both element types, with one row a lane: up to
//! `LANES` rows make a group, whether they follow each other in memory or lie side by side. Rows do not come through
//! `rows.rs`, as those of softmax do: its sums are exact, whatever the lanes hold, while here the order of additions decides
//! the bits, and accumulators, not elements, are what a contiguous row has in its lanes.
//!
//! 1. Σ a_j·b_j, in one order that the element's index alone decides. Within a block of [`BLOCK`]
//!    elements element j goes to accumulator j mod [`WAYS`]; the accumulators are added by halves
//!    (k and k + 16, then k + 8, …); the blocks are added in order, in double words. An absent term
//!    is +0, which changes nothing. f32: products are exact in f64 and can neither overflow nor
//!    underflow. f64: both the products and the sums keep what they round off in a second word
//!    (T. Ogita, S. M. Rump, S. Oishi, *Accurate sum and dot product*, 2005).
//! 2. f64 only: where the largest |a_j·b_j| of a row is outside 2^±900, that sum could have left the
//!    range, and is formed again from products scaled by 2^±1200: the smaller factor of each
//!    multiplied, or the larger divided. A row then has a *unit*, 2^±600 or 1: sums count in units²,
//!    norms in units, and no intermediate of the next step leaves the range either.
//! 3. Root, guard and reciprocal in double words; the guard's ε is brought to the row's unit.
//! 4. The rows again, element by element: x·(h + l), rounded once. For f64 h carries a power of two
//!    that keeps the low product clear of underflow until the result has been rounded.
//!
//! Gradients of f64 rows where a plain evaluation might leave the range (norms outside
//! 2^−100 … 2^400, gradients above 2^600) are evaluated once more with explicit exponents
//! ([`CarefulRow`]): the decision, like all the others, depends on the values of the row alone.
//!
//! # Error
//! Let u = 2^−53. f32: the sum is off by at most 2,048 + 6 roundings in f64, 2^−41.9, so the norm by
//! 2^−42.9 and a result by ½ + 2^−18 ULP. f64: the second words bring the sum to 2^−84 relative, root and
//! reciprocal are off by at most 10u², and x·(h + l) by one rounding and 2^−52 of one: ½ + 2^−29 ULP.
//! A subnormal f64 result is rounded twice, the first time to one bit more at least: ¾ ULP.
//! Gradients, f64: k is rounded once, then g − x·k, then the product with (h + l): less than 3 ULP of
//! (|g_i| + |x_i|·Σ|x_j·g_j| / (N·d)) / N. f32 does the same in f64: ½ ULP + 2^−18 of that.

use crate::dispatch::operations;
use crate::element::{Element, Lane};
use crate::error::check_len;
use crate::math::dot::{BLOCK, WAYS};
use crate::math::power_of_two as pow2;
use crate::math::word::{Word, two_prod, two_sum};
use crate::simd::{Mask, Op, Simd, Vector};
use crate::tile::{Columns, ColumnsMut};
use crate::{Error, Layout};
use core::ops::{Index, Range};
use num_traits::Float;

/// How [`l2_normalize`] keeps clear of a division by zero; ε has the element type.
///
/// ```
/// use lossprep::NormGuard;
/// assert_eq!(NormGuard::<f32>::default(), NormGuard::Max(1e-12));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormGuard<T> {
    /// x / max(‖x‖, ε), as PyTorch does.
    Max(T),
    /// x / (‖x‖ + ε).
    Add(T),
    /// x / √(‖x‖² + ε).
    AddSquared(T),
}

impl<T: Element> Default for NormGuard<T> {
    /// `Max(1e-12)`, the default of PyTorch.
    fn default() -> Self {
        Self::Max(T::EPSILON)
    }
}

impl<T: Element> NormGuard<T> {
    /// The guard in f64, exactly, if ε is in its domain.
    pub(crate) fn checked(self) -> Result<NormGuard<f64>, Error> {
        let (Self::Max(eps) | Self::Add(eps) | Self::AddSquared(eps)) = self;
        if !(eps > T::zero() && eps.is_finite()) {
            return Err(Error::Parameter { name: "eps", requirement: "positive and finite" });
        }
        Ok(match self {
            Self::Max(eps) => NormGuard::Max(eps.to_wide()),
            Self::Add(eps) => NormGuard::Add(eps.to_wide()),
            Self::AddSquared(eps) => NormGuard::AddSquared(eps.to_wide()),
        })
    }
}

/// Accumulators of rows side by side that fit in registers at once, and how far apart their numbers are.
const AT_ONCE: usize = 4;
const APART: usize = WAYS / AT_ONCE;
/// Rows that a register of f64 holds.
const ROWS: usize = 8;
/// Bytes of the rows that are summed before the first of them is read again.
const CACHED: usize = 24_576;

/// Scales of the unit and of what keeps products from underflow.
const UP: f64 = pow2(600);
const DOWN: f64 = pow2(-600);
/// Beyond these a product is scaled.
const LEAST_PRODUCT: f64 = pow2(-900);
const LARGEST_PRODUCT: f64 = pow2(900);
/// Beyond these a norm, or an ε beside one, is scaled.
const LEAST_NORM: f64 = pow2(-450);
const LARGEST_NORM: f64 = pow2(450);

/// What the kernels need of the element type: its registers as registers of f64.
pub trait Norm: Lane {
    /// As many `X` as a register of `Self` makes registers of f64.
    type Parts<X: Copy>: Copy + Index<usize, Output = X>;
    /// How many.
    const PARTS: usize;
    /// Whether sums need their second word, and scales.
    const COMPENSATED: bool;
    /// The ε of PyTorch.
    const EPSILON: Self;
    /// The number of each lane.
    const NUMBERS: Self::Array;

    /// `f` of each part.
    fn each<X: Copy>(f: impl FnMut(usize) -> X) -> Self::Parts<X>;
    /// `f` of each part that has some of `rows` rows; the others repeat the first.
    fn each_of<X: Copy>(rows: usize, f: impl FnMut(usize) -> X) -> Self::Parts<X>;
    /// The lanes, exactly.
    fn widen<S: Simd>(v: Vector<Self, S>) -> Self::Parts<Vector<f64, S>>
    where
        Self: Sized;
    /// The lanes, rounded.
    fn narrow<S: Simd>(parts: Self::Parts<Vector<f64, S>>) -> Vector<Self, S>
    where
        Self: Sized;
    /// The number, exactly.
    fn to_wide(self) -> f64;
    /// The number, rounded.
    fn from_wide(x: f64) -> Self;
}

impl Norm for f32 {
    type Parts<X: Copy> = [X; 2];
    const PARTS: usize = 2;
    const COMPENSATED: bool = false;
    const EPSILON: Self = 1e-12;
    const NUMBERS: [f32; 16] =
        [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0];

    #[inline(always)]
    fn each<X: Copy>(mut f: impl FnMut(usize) -> X) -> [X; 2] {
        [f(0), f(1)]
    }
    #[inline(always)]
    fn each_of<X: Copy>(rows: usize, mut f: impl FnMut(usize) -> X) -> [X; 2] {
        let first = f(0);
        [first, if rows > ROWS { f(1) } else { first }]
    }
    #[inline(always)]
    fn widen<S: Simd>(v: Vector<f32, S>) -> [Vector<f64, S>; 2] {
        v.widen()
    }
    #[inline(always)]
    fn narrow<S: Simd>(parts: [Vector<f64, S>; 2]) -> Vector<f32, S> {
        Vector::narrow(parts)
    }
    #[inline(always)]
    fn to_wide(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn from_wide(x: f64) -> Self {
        x as f32
    }
}

impl Norm for f64 {
    type Parts<X: Copy> = [X; 1];
    const PARTS: usize = 1;
    const COMPENSATED: bool = true;
    const EPSILON: Self = 1e-12;
    const NUMBERS: [f64; 8] = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];

    #[inline(always)]
    fn each<X: Copy>(mut f: impl FnMut(usize) -> X) -> [X; 1] {
        [f(0)]
    }
    #[inline(always)]
    fn each_of<X: Copy>(_: usize, mut f: impl FnMut(usize) -> X) -> [X; 1] {
        [f(0)]
    }
    #[inline(always)]
    fn widen<S: Simd>(v: Vector<f64, S>) -> [Vector<f64, S>; 1] {
        [v]
    }
    #[inline(always)]
    fn narrow<S: Simd>([v]: [Vector<f64, S>; 1]) -> Vector<f64, S> {
        v
    }
    #[inline(always)]
    fn to_wide(self) -> f64 {
        self
    }
    #[inline(always)]
    fn from_wide(x: f64) -> Self {
        x
    }
}

// ---------------------------------------------------------------------------------------------
// Groups of rows
// ---------------------------------------------------------------------------------------------

/// Up to `LANES` rows, one behind the other or side by side.
#[derive(Clone, Copy)]
struct Group {
    /// The number of the first one: where its reduced result goes.
    first: usize,
    /// How many.
    count: usize,
    /// Where the first one starts.
    start: usize,
    /// The elements of each.
    len: usize,
    /// The distance of their elements; 1 where rows are contiguous.
    stride: usize,
}

impl Group {
    #[inline(always)]
    fn contiguous(self) -> bool {
        self.stride == 1
    }

    /// Where row `r` starts.
    #[inline(always)]
    fn row(self, r: usize) -> usize {
        self.start + if self.contiguous() { r * self.len } else { r }
    }

    /// The rows side by side, as columns of registers.
    #[inline(always)]
    fn columns<T>(self, data: &[T]) -> Columns<'_, T> {
        Columns { data: &data[self.start..], stride: self.stride, width: self.count }
    }

    #[inline(always)]
    fn columns_mut<T>(self, data: &mut [T]) -> ColumnsMut<'_, T> {
        ColumnsMut { data: &mut data[self.start..], stride: self.stride, width: self.count }
    }
}

/// Registers on the stack for rows side by side, whose elements lie far apart in memory and collide in the cache: as
/// many rows as fit are copied there and back, wide pieces at a time.
const STAGED: usize = 768;
/// The most for one tensor.
const STAGED_EACH: usize = 512;
/// Tensors with fewer elements are not worth it.
const LEAST_STAGED: usize = 32_768;

/// Copies `len` elements of `width` rows, `stride` apart, to registers: one register of rows after the other.
#[inline(always)]
fn fill<T: Lane>(stage: &mut [T::Array], from: &[T], len: usize, width: usize, stride: usize) {
    for j in 0..len {
        let (full, rest) = T::registers(&from[j * stride..][..width]);
        for (register, to) in full.iter().zip(stage[j..].iter_mut().step_by(len)) {
            *to = *register;
        }
        if !rest.is_empty() {
            stage[full.len() * len + j].as_mut()[..rest.len()].copy_from_slice(rest);
        }
    }
}

/// Copies them back.
#[inline(always)]
fn empty<T: Lane>(stage: &[T::Array], to: &mut [T], len: usize, width: usize, stride: usize) {
    for j in 0..len {
        let (full, rest) = T::registers_mut(&mut to[j * stride..][..width]);
        let registers = full.len();
        for (register, from) in full.iter_mut().zip(stage[j..].iter().step_by(len)) {
            *register = *from;
        }
        if !rest.is_empty() {
            rest.copy_from_slice(&stage[registers * len + j].as_ref()[..rest.len()]);
        }
    }
}

/// Calls `f` with each group, the inputs and the output in which it lies; the layout is not empty. With `REDUCES` the
/// output has one element a row, and what is read once is read where it is; else `f` writes a tensor. With `IN_PLACE`
/// there is at most one input, and `f` takes what the output holds for it where it is given none.
#[inline(always)]
fn groups<T: Norm, S: Simd, const REDUCES: bool, const IN_PLACE: bool>(
    s: S,
    layout: Layout,
    inputs: [Option<&[T]>; 2],
    out: &mut [T],
    mut f: impl FnMut(Group, [Option<&[T]>; 2], &mut [T]),
) {
    let (len, inner, rows) = (layout.len(), layout.inner(), layout.row_count());
    let tensors = if IN_PLACE { 1 } else { inputs.iter().flatten().count() + 1 };
    let room = (STAGED / tensors).min(STAGED_EACH);
    if !REDUCES && inner >= T::LANES && len <= room && len * rows >= LEAST_STAGED {
        return staged(s, Beside::<'_, T, _, IN_PLACE> { layout, inputs, out, room, f });
    }
    let (blocks, rows, step) = if inner == 1 {
        (1, rows, (CACHED / size_of::<T>() / len).clamp(1, T::LANES))
    } else {
        (layout.outer(), inner, T::LANES)
    };
    for block in 0..blocks {
        for k in (0..rows).step_by(step) {
            let start = if inner == 1 { k * len } else { block * len * inner + k };
            let group =
                Group { first: block * rows + k, count: step.min(rows - k), start, len, stride: inner };
            f(group, inputs, out);
        }
    }
}

/// Out of line, so that calls on other shapes have no use for the stack that this one takes.
#[inline(never)]
fn staged<S: Simd>(s: S, beside: impl Op<Output = ()>) {
    s.vectorize(beside);
}

/// The groups of rows side by side, on the stack; `room` registers for each tensor.
struct Beside<'a, T, F, const IN_PLACE: bool> {
    layout: Layout,
    inputs: [Option<&'a [T]>; 2],
    out: &'a mut [T],
    room: usize,
    f: F,
}

impl<T: Norm, F: FnMut(Group, [Option<&[T]>; 2], &mut [T]), const IN_PLACE: bool> Op
    for Beside<'_, T, F, IN_PLACE>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { layout, inputs, out, room, mut f } = self;
        let (len, inner) = (layout.len(), layout.inner());
        let mut stage = [T::array(T::zero()); STAGED];
        let (x, rest) = stage.split_at_mut(if IN_PLACE { 0 } else { room });
        let (g, y) = rest.split_at_mut(if inputs[1].is_some() { room } else { 0 });
        let step = room / len * T::LANES;
        for outer in 0..layout.outer() {
            for from in (0..inner).step_by(step) {
                let width = step.min(inner - from);
                let start = outer * len * inner + from;
                let first = inputs[0].unwrap_or(&*out);
                fill(if IN_PLACE { &mut *y } else { &mut *x }, &first[start..], len, width, inner);
                if let Some(input) = inputs[1] {
                    fill(g, &input[start..], len, width, inner);
                }
                for k in (0..width).step_by(T::LANES) {
                    let group = Group {
                        first: outer * inner + from + k,
                        count: T::LANES.min(width - k),
                        start: k * len,
                        len,
                        stride: T::LANES,
                    };
                    let staged = [(!IN_PLACE).then_some(T::flat(x)), inputs[1].map(|_| T::flat(g))];
                    f(group, staged, T::flat_mut(y));
                }
                empty(y, &mut out[start..], len, width, inner);
            }
        }
    }
}

// ---------------------------------------------------------------------------------------------
// Sums of products
// ---------------------------------------------------------------------------------------------

/// Eight running sums of products a·b.
#[derive(Clone, Copy)]
struct Sum<S: Simd> {
    /// The sum; for f32 its low word stays zero until blocks are added.
    total: Word<f64, S>,
    /// The largest |a·b|, NaN left out; f64 only.
    peak: Vector<f64, S>,
    /// The largest |b|, NaN left out; f64 only, and not for squares.
    reach: Vector<f64, S>,
}

impl<S: Simd> Sum<S> {
    #[inline(always)]
    fn zero(s: S) -> Self {
        let zero = Vector::splat(s, 0.0);
        Self { total: Word::exact(zero), peak: zero, reach: zero }
    }

    /// With a·b added; without `PRODUCTS` a is b.
    #[inline(always)]
    fn with<T: Norm, const PRODUCTS: bool>(self, a: Vector<f64, S>, b: Vector<f64, S>) -> Self {
        if !T::COMPENSATED {
            // The product is exact, so fused or not makes no difference.
            return Self { total: Word { hi: a.mul_add(b, self.total.hi), ..self.total }, ..self };
        }
        let product = two_prod(a, b);
        let sum = two_sum(self.total.hi, product.hi);
        Self {
            total: Word { hi: sum.hi, lo: self.total.lo + (sum.lo + product.lo) },
            peak: product.hi.abs().max(self.peak),
            reach: if PRODUCTS { b.abs().max(self.reach) } else { self.reach },
        }
    }

    /// The same number with |lo| ≤ ½ ulp(hi).
    #[inline(always)]
    fn settled<T: Norm>(self) -> Self {
        if T::COMPENSATED { Self { total: two_sum(self.total.hi, self.total.lo), ..self } } else { self }
    }

    /// Two accumulators added.
    #[inline(always)]
    fn join<T: Norm>(self, other: Self) -> Self {
        if !T::COMPENSATED {
            return Self { total: Word { hi: self.total.hi + other.total.hi, ..self.total }, ..self };
        }
        Self {
            total: self.total.add(other.total),
            peak: self.peak.max(other.peak),
            reach: self.reach.max(other.reach),
        }
    }

    /// The accumulators of two rows, or of two times as many, joined by halves.
    #[inline(always)]
    fn halved<T: Norm>(self, other: Self, half: usize) -> Self {
        let [hi, also_hi] = self.total.hi.halves(other.total.hi, half);
        let [lo, also_lo] = self.total.lo.halves(other.total.lo, half);
        let [peak, also_peak] = self.peak.halves(other.peak, half);
        let [reach, also_reach] = self.reach.halves(other.reach, half);
        let second = Self { total: Word { hi: also_hi, lo: also_lo }, peak: also_peak, reach: also_reach };
        Self { total: Word { hi, lo }, peak, reach }.join::<T>(second)
    }

    /// A block's sum added to those before it.
    #[inline(always)]
    fn then<T: Norm>(self, block: Self) -> Self {
        if !T::COMPENSATED {
            return Self { total: self.total.add_one(block.total.hi), ..self };
        }
        self.join::<T>(block)
    }
}

/// The factors of the smaller and the larger of each a and b, where products are scaled.
#[derive(Clone, Copy)]
struct Factors<V> {
    smaller: V,
    larger: V,
}

/// Both numbers, or both scaled.
#[inline(always)]
fn scaled<S: Simd, const SCALED: bool>(
    a: Vector<f64, S>,
    b: Vector<f64, S>,
    by: Factors<Vector<f64, S>>,
) -> (Vector<f64, S>, Vector<f64, S>) {
    if !SCALED {
        return (a, b);
    }
    let swap = a.abs().lt(b.abs());
    let (larger, smaller) = (swap.select(b, a), swap.select(a, b));
    (larger * by.larger * by.larger, smaller * by.smaller * by.smaller)
}

/// Adds a·b of register `k` of 32 elements to its accumulators.
#[inline(always)]
fn add_register<T: Norm, S: Simd, const PRODUCTS: bool, const SCALED: bool>(
    ways: &mut [Sum<S>; WAYS / ROWS],
    k: usize,
    a: Vector<T, S>,
    b: Vector<T, S>,
    by: Factors<Vector<f64, S>>,
) {
    let (a, b) = (T::widen(a), T::widen(b));
    for part in 0..T::PARTS {
        let (a, b) = scaled::<S, SCALED>(a[part], b[part], by);
        let way = &mut ways[k * T::PARTS + part];
        *way = way.with::<T, PRODUCTS>(a, b);
    }
}

/// The same for what there is of the first `rest` elements in register `k`; whether there is anything.
#[inline(always)]
fn add_some<T: Norm, S: Simd, const PRODUCTS: bool, const SCALED: bool>(
    s: S,
    ways: &mut [Sum<S>; WAYS / ROWS],
    k: usize,
    [a, b]: [&[T]; 2],
    rest: usize,
    by: Factors<Vector<f64, S>>,
) -> bool {
    let from = k * T::LANES;
    let some = k < WAYS / T::LANES && from < rest;
    if some {
        let a = load_some(s, &a[from..], rest - from);
        let b = if PRODUCTS { load_some(s, &b[from..], rest - from) } else { a };
        add_register::<T, S, PRODUCTS, SCALED>(ways, k, a, b, by);
    }
    some
}

/// The first `count` elements, at least one, or the first register of them, then zeros.
#[inline(always)]
fn load_some<T: Norm, S: Simd>(s: S, from: &[T], count: usize) -> Vector<T, S> {
    let count = count.min(T::LANES);
    match T::registers(from) {
        // A whole register, of which only some is kept, is faster than a part of one.
        ([first, ..], _) => {
            let kept = Vector::load(s, &T::NUMBERS).lt(Vector::splat(s, T::from_wide(count as f64)));
            kept.select(Vector::load(s, first), Vector::splat(s, T::zero()))
        }
        _ => Vector::load_partial(s, &from[..count], T::zero()),
    }
}

/// Σ a·b over the first `len` elements, a block of one contiguous row; lane k holds accumulators k, k + 8, k + 16 and
/// k + 24. `SHORT` if there is one element for each at most.
#[inline(always)]
fn row_block<T: Norm, S: Simd, const PRODUCTS: bool, const SCALED: bool, const SHORT: bool>(
    s: S,
    [a, b]: [&[T]; 2],
    len: usize,
    by: Factors<Vector<f64, S>>,
) -> Sum<S> {
    let registers = WAYS / T::LANES;
    let mut ways = [Sum::zero(s); WAYS / ROWS];
    let rest = if SHORT { len } else { len % WAYS };
    let (a, a_rest) = a.split_at(len - rest);
    let (b, b_rest) = if PRODUCTS { b.split_at(len - rest) } else { (a, a_rest) };
    let (a, b) = (T::registers(a).0, T::registers(b).0);
    for (a, b) in a.chunks_exact(registers).zip(b.chunks_exact(registers)) {
        for k in 0..registers {
            let a = Vector::load(s, &a[k]);
            let b = if PRODUCTS { Vector::load(s, &b[k]) } else { a };
            add_register::<T, S, PRODUCTS, SCALED>(&mut ways, k, a, b, by);
        }
    }
    // Not in a loop, which may stay one: what a loop indexes is in memory.
    let rests = [a_rest, b_rest];
    let _ = add_some::<T, S, PRODUCTS, SCALED>(s, &mut ways, 0, rests, rest, by)
        && add_some::<T, S, PRODUCTS, SCALED>(s, &mut ways, 1, rests, rest, by)
        && add_some::<T, S, PRODUCTS, SCALED>(s, &mut ways, 2, rests, rest, by)
        && add_some::<T, S, PRODUCTS, SCALED>(s, &mut ways, 3, rests, rest, by);
    let [w0, w1, w2, w3] = ways;
    if SHORT && len <= 2 * ROWS {
        // What is absent is zero.
        let first = w0.settled::<T>();
        return if len <= ROWS { first } else { first.join::<T>(w1.settled::<T>()) };
    }
    let even = w0.settled::<T>().join::<T>(w2.settled::<T>());
    let odd = w1.settled::<T>().join::<T>(w3.settled::<T>());
    even.join::<T>(odd)
}

/// Σ a·b over `len` elements, a block, of `count` rows, `LANES` at most, that start `apart` elements apart; one row a lane.
/// For f32, whose sums are one word.
#[inline(always)]
fn row_sums<T: Norm, S: Simd, const PRODUCTS: bool>(
    s: S,
    [a, b]: [&[T]; 2],
    len: usize,
    apart: usize,
    count: usize,
) -> T::Parts<Vector<f64, S>> {
    let one = Vector::splat(s, 1.0);
    let by = Factors { smaller: one, larger: one };
    // The accumulators of each row, of which lane k holds k, k + 8, k + 16 and k + 24, added.
    let mut lines = [[one; ROWS]; 2];
    for (r, line) in lines.as_flattened_mut().iter_mut().enumerate().take(count) {
        let row = [&a[r * apart..], if PRODUCTS { &b[r * apart..] } else { b }];
        *line = if len < WAYS {
            row_block::<T, S, PRODUCTS, false, true>(s, row, len, by).total.hi
        } else {
            row_block::<T, S, PRODUCTS, false, false>(s, row, len, by).total.hi
        };
    }
    T::each_of(
        count,
        #[inline(always)]
        |part| {
            // Not in loops: what a loop indexes is in memory.
            let [a, b, c, d, e, f, g, h] = lines[part];
            let even = halved(halved(a, e, 4), halved(c, g, 4), 2);
            let odd = halved(halved(b, f, 4), halved(d, h, 4), 2);
            halved(even, odd, 1)
        },
    )
}

/// The accumulators of two rows, or of two times as many, added by halves.
#[inline(always)]
fn halved<S: Simd>(a: Vector<f64, S>, b: Vector<f64, S>, half: usize) -> Vector<f64, S> {
    let [first, second] = a.halves(b, half);
    first + second
}

/// Σ a·b over a block of each of the group's contiguous rows, one row a lane.
#[inline(always)]
fn rows_block<T: Norm, S: Simd, const PRODUCTS: bool, const SCALED: bool>(
    s: S,
    [a, b]: [&[T]; 2],
    group: Group,
    block: Range<usize>,
    by: Factors<T::Parts<Vector<f64, S>>>,
) -> T::Parts<Sum<S>> {
    if !T::COMPENSATED {
        let [a, b] = [&a[group.start + block.start..], &b[group.start + block.start..]];
        let sums = row_sums::<T, S, PRODUCTS>(s, [a, b], block.len(), group.len, group.count);
        return T::each(
            #[inline(always)]
            |part| Sum { total: Word::exact(sums[part]), ..Sum::zero(s) },
        );
    }
    let by = Factors { smaller: arrays::<T, S>(by.smaller), larger: arrays::<T, S>(by.larger) };
    T::each_of(
        group.count,
        #[inline(always)]
        |part| {
            // The accumulators of each row, of which lane k holds k, k + 8, k + 16 and k + 24, added. Those of a missing
            // row are ones, which need no scaling.
            let mut lines = Lines([[Vector::splat(s, 1.0); ROWS]; 4]);
            for r in 0..ROWS.min(group.count.saturating_sub(part * ROWS)) {
                let from = group.start + (part * ROWS + r) * group.len + block.start;
                let row = [&a[from..], &b[from..]];
                let by = Factors {
                    smaller: Vector::splat(s, by.smaller[part][r]),
                    larger: Vector::splat(s, by.larger[part][r]),
                };
                let sum = if group.len < WAYS {
                    row_block::<T, S, PRODUCTS, SCALED, true>(s, row, group.len, by)
                } else {
                    row_block::<T, S, PRODUCTS, SCALED, false>(s, row, block.len(), by)
                };
                lines.set(r, sum);
            }
            // Not in loops: what a loop indexes is in memory.
            let [a, b, c, d] =
                [lines.four::<T>(0), lines.four::<T>(1), lines.four::<T>(2), lines.four::<T>(3)];
            a.halved::<T>(c, 2).halved::<T>(b.halved::<T>(d, 2), 1)
        },
    )
}

/// The sums of eight rows' accumulators: both words, peak and reach.
struct Lines<S: Simd>([[Vector<f64, S>; ROWS]; 4]);

impl<S: Simd> Lines<S> {
    #[inline(always)]
    fn set(&mut self, r: usize, sum: Sum<S>) {
        (self.0[0][r], self.0[1][r]) = (sum.total.hi, sum.total.lo);
        (self.0[2][r], self.0[3][r]) = (sum.peak, sum.reach);
    }

    #[inline(always)]
    fn get(&self, r: usize) -> Sum<S> {
        let [hi, lo, peak, reach] = &self.0;
        Sum { total: Word { hi: hi[r], lo: lo[r] }, peak: peak[r], reach: reach[r] }
    }

    /// Four accumulators each of rows r and r + 4.
    #[inline(always)]
    fn four<T: Norm>(&self, r: usize) -> Sum<S> {
        self.get(r).halved::<T>(self.get(r + 4), 4)
    }
}

/// Sums of sixteen or eight rows, one row a lane.
type Sums<T, S> = <T as Norm>::Parts<Sum<S>>;

/// Element j of each of the rows, a·b, added to an accumulator; what is beyond the rows' number is 1, which needs no
/// scaling.
#[inline(always)]
fn add_element<T: Norm, S: Simd, const PRODUCTS: bool, const SCALED: bool>(
    s: S,
    [a, b]: [Columns<'_, T>; 2],
    j: usize,
    by: Factors<T::Parts<Vector<f64, S>>>,
    [total, low]: [&mut T::Parts<Vector<f64, S>>; 2],
    range: &mut Sums<T, S>,
) {
    let a = T::widen(a.load(s, j, T::one()));
    let b = if PRODUCTS { T::widen(b.load(s, j, T::one())) } else { a };
    let sums = T::each(
        #[inline(always)]
        |part| {
            let by = Factors { smaller: by.smaller[part], larger: by.larger[part] };
            let (a, b) = scaled::<S, SCALED>(a[part], b[part], by);
            let total = Word { hi: total[part], lo: low[part] };
            Sum { total, ..range[part] }.with::<T, PRODUCTS>(a, b)
        },
    );
    *total = T::each(
        #[inline(always)]
        |part| sums[part].total.hi,
    );
    if T::COMPENSATED {
        *low = T::each(
            #[inline(always)]
            |part| sums[part].total.lo,
        );
        *range = sums;
    }
}

/// The four accumulators that are joined before all others; if the second of them is absent, so are the rest.
#[inline(always)]
fn join_four<T: Norm, S: Simd>(
    s: S,
    totals: [T::Parts<Vector<f64, S>>; AT_ONCE],
    lows: [T::Parts<Vector<f64, S>>; AT_ONCE],
    alone: bool,
) -> Sums<T, S> {
    T::each(
        #[inline(always)]
        |part| {
            let mut ways = [Sum::zero(s); AT_ONCE];
            for way in 0..AT_ONCE {
                ways[way].total = Word { hi: totals[way][part], lo: lows[way][part] };
                ways[way] = ways[way].settled::<T>();
            }
            // What is absent is zero.
            if alone {
                return ways[0];
            }
            ways[0].join::<T>(ways[2]).join::<T>(ways[1].join::<T>(ways[3]))
        },
    )
}

/// Σ a·b over a block of each of the group's rows that lie side by side, one row a lane.
#[inline(always)]
fn columns_block<T: Norm, S: Simd, const PRODUCTS: bool, const SCALED: bool>(
    s: S,
    [a, b]: [&[T]; 2],
    group: Group,
    block: Range<usize>,
    by: Factors<T::Parts<Vector<f64, S>>>,
) -> Sums<T, S> {
    let data = [group.columns(a), group.columns(b)];
    let used = block.len().min(WAYS);
    let zero = T::each(
        #[inline(always)]
        |_| Vector::splat(s, 0.0),
    );
    let zeros = T::each(
        #[inline(always)]
        |_| Sum::zero(s),
    );
    let mut range = zeros;
    let mut joined = [zeros; APART];
    if !T::COMPENSATED || block.len() <= STAGED_EACH {
        // A few accumulators at a time, in registers.
        for (k, joined) in joined.iter_mut().enumerate().take(used) {
            let (mut totals, mut lows) = ([zero; AT_ONCE], [zero; AT_ONCE]);
            for from in (block.start + k..block.end).step_by(WAYS) {
                for way in 0..AT_ONCE {
                    let j = from + way * APART;
                    if j >= block.end {
                        break;
                    }
                    let to = [&mut totals[way], &mut lows[way]];
                    add_element::<T, S, PRODUCTS, SCALED>(s, data, j, by, to, &mut range);
                }
            }
            *joined = join_four::<T, S>(s, totals, lows, k + APART >= used);
        }
    } else {
        // In the order of memory, with all accumulators there: 32 of 16 rows are more than there are registers.
        let (mut totals, mut lows) = ([zero; WAYS], [zero; WAYS]);
        for j in block {
            let to = [&mut totals[j % WAYS], &mut lows[j % WAYS]];
            add_element::<T, S, PRODUCTS, SCALED>(s, data, j, by, to, &mut range);
        }
        for k in 0..APART {
            let (mut four, mut low) = ([zero; AT_ONCE], [zero; AT_ONCE]);
            for way in 0..AT_ONCE {
                four[way] = totals[k + way * APART];
                low[way] = lows[k + way * APART];
            }
            joined[k] = join_four::<T, S>(s, four, low, false);
        }
    }
    for half in [4, 2, 1] {
        for k in 0..half {
            if k + half >= used {
                break;
            }
            joined[k] = T::each(
                #[inline(always)]
                |part| joined[k][part].join::<T>(joined[k + half][part]),
            );
        }
    }
    T::each(
        #[inline(always)]
        |part| Sum { total: joined[0][part].total, ..range[part] },
    )
}

/// Σ a·b of each of the group's rows, one row a lane; `BESIDE` if they lie side by side.
#[inline(always)]
fn blocks<T: Norm, S: Simd, const BESIDE: bool, const PRODUCTS: bool, const SCALED: bool>(
    s: S,
    data: [&[T]; 2],
    group: Group,
    by: Factors<T::Parts<Vector<f64, S>>>,
) -> T::Parts<Sum<S>> {
    let mut total = T::each(
        #[inline(always)]
        |_| Sum::zero(s),
    );
    for start in (0..group.len).step_by(BLOCK) {
        let block = start..group.len.min(start + BLOCK);
        let sums = if BESIDE {
            columns_block::<T, S, PRODUCTS, SCALED>(s, data, group, block, by)
        } else {
            rows_block::<T, S, PRODUCTS, SCALED>(s, data, group, block, by)
        };
        total = if start == 0 && !T::COMPENSATED {
            // What adding it to zero would give.
            sums
        } else {
            T::each(
                #[inline(always)]
                |part| total[part].then::<T>(sums[part]),
            )
        };
    }
    total
}

/// Sums of products, in units².
#[derive(Clone, Copy)]
struct Dot<S: Simd> {
    sum: Word<f64, S>,
    unit: Vector<f64, S>,
    /// The largest |b|; f64 only, and not for squares.
    reach: Vector<f64, S>,
}

/// 2^−600 below `least`, 2^600 above `largest`, else 1.
#[inline(always)]
fn unit_of<S: Simd>(v: Vector<f64, S>, least: f64, largest: f64) -> Vector<f64, S> {
    let s = v.s;
    let unit = v.lt(Vector::splat(s, least)).select(Vector::splat(s, DOWN), Vector::splat(s, 1.0));
    Vector::splat(s, largest).lt(v).select(Vector::splat(s, UP), unit)
}

/// Σ a·b of each of the group's rows, right in every range; not finite where a or b is not. Without
/// `PRODUCTS` b is a.
#[inline(always)]
fn dot<T: Norm, S: Simd, const PRODUCTS: bool>(s: S, data: [&[T]; 2], group: Group) -> T::Parts<Dot<S>> {
    if !T::COMPENSATED && group.contiguous() {
        dots::<T, S, false, PRODUCTS>(s, data, group)
    } else {
        dot_apart::<T, S, PRODUCTS>(s, data, group)
    }
}

/// Out of line, so that the operations share one copy a backend: it is called once a group. But a call takes as long as
/// a short row of f32.
#[inline(never)]
fn dot_apart<T: Norm, S: Simd, const PRODUCTS: bool>(
    s: S,
    data: [&[T]; 2],
    group: Group,
) -> T::Parts<Dot<S>> {
    if group.contiguous() {
        s.apart(
            #[inline(always)]
            || dots::<T, S, false, PRODUCTS>(s, data, group),
        )
    } else {
        s.apart(
            #[inline(always)]
            || dots::<T, S, true, PRODUCTS>(s, data, group),
        )
    }
}

/// The same by `blocks`, once more in units where products leave the range.
#[inline(always)]
fn dots<T: Norm, S: Simd, const BESIDE: bool, const PRODUCTS: bool>(
    s: S,
    data: [&[T]; 2],
    group: Group,
) -> T::Parts<Dot<S>> {
    let one = Vector::splat(s, 1.0);
    let ones = T::each(
        #[inline(always)]
        |_| one,
    );
    let mut sums =
        blocks::<T, S, BESIDE, PRODUCTS, false>(s, data, group, Factors { smaller: ones, larger: ones });
    // Of the numbers as they are, unlike that of a second pass.
    let reach = T::each(
        #[inline(always)]
        |part| sums[part].reach,
    );
    let mut units = ones;
    if T::COMPENSATED {
        units = T::each(
            #[inline(always)]
            |part| unit_of(sums[part].peak, LEAST_PRODUCT, LARGEST_PRODUCT),
        );
        let mut any = false;
        for part in 0..T::PARTS {
            any |= (!units[part].eq(one)).any();
        }
        if any {
            let smaller = T::each(
                #[inline(always)]
                |part| units[part].lt(one).select(Vector::splat(s, UP), one),
            );
            let larger = T::each(
                #[inline(always)]
                |part| one.lt(units[part]).select(Vector::splat(s, DOWN), one),
            );
            sums = blocks::<T, S, BESIDE, PRODUCTS, true>(s, data, group, Factors { smaller, larger });
        }
    }
    T::each(
        #[inline(always)]
        |part| Dot { sum: sums[part].total, unit: units[part], reach: reach[part] },
    )
}

/// Each part in memory.
#[inline(always)]
fn arrays<T: Norm, S: Simd>(v: T::Parts<Vector<f64, S>>) -> T::Parts<[f64; ROWS]> {
    T::each(
        #[inline(always)]
        |part| v[part].to_array(),
    )
}

// ---------------------------------------------------------------------------------------------
// Norms and guards
// ---------------------------------------------------------------------------------------------

/// Norms: ‖x‖ = root·unit, ‖x‖² = square·unit².
#[derive(Clone, Copy)]
struct Size<S: Simd> {
    root: Word<f64, S>,
    square: Word<f64, S>,
    unit: Vector<f64, S>,
}

impl<S: Simd> Size<S> {
    /// From Σ x².
    #[inline(always)]
    fn of_squares(dot: Dot<S>) -> Self {
        Self { root: dot.sum.sqrt(), square: dot.sum, unit: dot.unit }
    }

    /// From ‖x‖.
    #[inline(always)]
    fn of_norm<T: Norm>(norm: Vector<f64, S>) -> Self {
        let one = Vector::splat(norm.s, 1.0);
        let unit = if T::COMPENSATED { unit_of(norm, LEAST_NORM, LARGEST_NORM) } else { one };
        let root = norm * (one / unit);
        Self { root: Word::exact(root), square: two_prod(root, root), unit }
    }
}

/// What x is divided by: value·unit.
#[derive(Clone, Copy)]
struct Divisor<S: Simd> {
    value: Word<f64, S>,
    unit: Vector<f64, S>,
    /// ‖x‖ is below the ε that takes its place.
    constant: Mask<f64, S>,
}

/// `value`·unit^`power` and `eps`, both in the larger of their units, and that unit.
#[inline(always)]
fn aligned<T: Norm, S: Simd>(
    value: Word<f64, S>,
    unit: Vector<f64, S>,
    eps: f64,
    power: u32,
) -> (Word<f64, S>, Vector<f64, S>, Vector<f64, S>) {
    let s = unit.s;
    if !T::COMPENSATED {
        return (value, Vector::splat(s, eps), unit);
    }
    let (least, largest) =
        if power == 1 { (LEAST_NORM, LARGEST_NORM) } else { (LEAST_PRODUCT, LARGEST_PRODUCT) };
    let mut eps = Vector::splat(s, eps);
    let mut value = value;
    let own = unit_of(eps, least, largest);
    let common = unit.max(own);
    // Powers of two. Where a quotient or a product underflows, that side is too small to count.
    let (from_unit, to_own, from_own) = (unit / common, Vector::splat(s, 1.0) / own, own / common);
    for _ in 0..power {
        value = value.scale(from_unit);
        eps = eps * to_own;
    }
    for _ in 0..power {
        eps = eps * from_own;
    }
    (value, eps, common)
}

impl NormGuard<f64> {
    #[inline(always)]
    fn divisor<T: Norm, S: Simd>(self, size: Size<S>) -> Divisor<S> {
        let zero = Vector::splat(size.unit.s, 0.0);
        let never = zero.lt(zero);
        match self {
            Self::Max(eps) => {
                let (root, eps, unit) = aligned::<T, S>(size.root, size.unit, eps, 1);
                let below = root.hi.lt(eps) | (root.hi.eq(eps) & root.lo.lt(zero));
                Divisor { value: Word::select(below, Word::exact(eps), root), unit, constant: below }
            }
            Self::Add(eps) => {
                let (root, eps, unit) = aligned::<T, S>(size.root, size.unit, eps, 1);
                Divisor { value: root.add_one(eps), unit, constant: never }
            }
            Self::AddSquared(eps) => {
                let (square, eps, unit) = aligned::<T, S>(size.square, size.unit, eps, 2);
                Divisor { value: square.add_one(eps).sqrt(), unit, constant: never }
            }
        }
    }
}

/// x / (value·unit) = (x·h + x·l)·after, for |x| no larger than the divisor.
#[derive(Clone, Copy)]
struct Reciprocal<S: Simd> {
    h: Vector<f64, S>,
    l: Vector<f64, S>,
    after: Vector<f64, S>,
}

impl<S: Simd> Reciprocal<S> {
    #[inline(always)]
    fn new<T: Norm>(value: Word<f64, S>, unit: Vector<f64, S>) -> Self {
        let s = unit.s;
        let one = Vector::splat(s, 1.0);
        let inverse = Word::exact(one).div(value);
        if !T::COMPENSATED {
            return Self { h: inverse.hi, l: inverse.lo, after: one };
        }
        // The quotient is formed 2^200 times too large, so that x·l does not underflow; in the
        // smallest unit, where quotients are above 2^−640 and h is large, 2^300 times too small.
        let (small, large) = (unit.lt(one), one.lt(unit));
        let before = small.select(Vector::splat(s, pow2(300)), Vector::splat(s, pow2(200)));
        let before = large.select(Vector::splat(s, pow2(-400)), before);
        let after = small.select(Vector::splat(s, pow2(300)), Vector::splat(s, pow2(-200)));
        // l > 0 keeps the sign of a zero x: both terms have it.
        let h = inverse.hi - inverse.hi * f64::EPSILON;
        let l = (inverse.hi - h) + inverse.lo;
        Self { h: h * before, l: l * before, after }
    }

    /// Before the multiplication by `after`.
    #[inline(always)]
    fn unscaled<T: Norm>(x: Vector<f64, S>, h: Vector<f64, S>, l: Vector<f64, S>) -> Vector<f64, S> {
        if T::COMPENSATED { x.mul_add(h, x * l) } else { x * h }
    }
}

/// Norms that were given; an infinite one is formed again, in case it is finite in f64 or in units.
#[inline(always)]
fn given<T: Norm, S: Simd>(s: S, x: &[T], norm: &[T], group: Group) -> T::Parts<Size<S>> {
    let norm = T::widen(Vector::load_first(s, &norm[group.first..][..group.count], T::one()));
    let mut sizes = T::each(
        #[inline(always)]
        |part| Size::of_norm::<T>(norm[part]),
    );
    let infinity = Vector::splat(s, f64::INFINITY);
    let mut any = false;
    for part in 0..T::PARTS {
        any |= norm[part].eq(infinity).any();
    }
    if any {
        let squares = dot_apart::<T, S, false>(s, [x, x], group);
        sizes = T::each(
            #[inline(always)]
            |part| {
                let (old, new) = (sizes[part], Size::of_squares(squares[part]));
                let again = norm[part].eq(infinity);
                Size {
                    root: Word::select(again, new.root, old.root),
                    square: Word::select(again, new.square, old.square),
                    unit: again.select(new.unit, old.unit),
                }
            },
        );
    }
    sizes
}

/// NaN where `v` is not finite, else a zero.
#[inline(always)]
fn poison<S: Simd>(v: Vector<f64, S>) -> Vector<f64, S> {
    v * 0.0
}

/// [`apply`] for one contiguous row.
#[inline(always)]
fn apply_row<T: Norm, S: Simd, const N: usize>(
    s: S,
    row: Range<usize>,
    [x, g]: [Option<&[T]>; 2],
    out: &mut [T],
    numbers: &[T::Parts<Vector<f64, S>>; N],
    f: impl Fn(T::Parts<Vector<f64, S>>, T::Parts<Vector<f64, S>>, &[T::Parts<Vector<f64, S>>; N]) -> Vector<T, S>
    + Copy,
) {
    let x_row = x.map(
        #[inline(always)]
        |x| T::registers(&x[row.clone()]).0,
    );
    let g_row = g.map(
        #[inline(always)]
        |g| T::registers(&g[row.clone()]).0,
    );
    for (j, out) in T::registers_mut(&mut out[row.clone()]).0.iter_mut().enumerate() {
        let x = T::widen(Vector::load(s, x_row.map_or(&*out, |x| &x[j])));
        let g = g_row.map_or(x, |g| T::widen(Vector::load(s, &g[j])));
        f(x, g, numbers).store(out);
    }
    let from = row.end - row.len() % T::LANES;
    if from < row.end {
        // A whole register where there is one: what that writes behind the row, the next one overwrites.
        let rest = from..if x.is_some() { out.len().min(from + T::LANES) } else { row.end };
        let x = T::widen(Vector::load_first(s, &x.unwrap_or(&*out)[rest.clone()], T::zero()));
        let g = g.map_or(x, |g| T::widen(Vector::load_first(s, &g[rest.clone()], T::zero())));
        f(x, g, numbers).store_first(&mut out[rest]);
    }
}

/// Element by element: `f` of x and g, with each row's numbers; a row whose poison is NaN is all NaN.
///
/// x is what `out` holds where there is none, g is x where there is none.
#[inline(always)]
fn apply<T: Norm, S: Simd, const N: usize>(
    s: S,
    group: Group,
    [x, g]: [Option<&[T]>; 2],
    out: &mut [T],
    poison: T::Parts<Vector<f64, S>>,
    numbers: [T::Parts<Vector<f64, S>>; N],
    f: impl Fn(T::Parts<Vector<f64, S>>, T::Parts<Vector<f64, S>>, &[T::Parts<Vector<f64, S>>; N]) -> Vector<T, S>
    + Copy,
) {
    if group.contiguous() {
        let mut poisoned = false;
        for part in 0..T::PARTS {
            poisoned |= poison[part].is_nan().any();
        }
        let poison = arrays::<T, S>(poison);
        let mut lanes = [poison; N];
        for n in 0..N {
            lanes[n] = arrays::<T, S>(numbers[n]);
        }
        for r in 0..group.count {
            let (part, lane) = (r / ROWS % T::PARTS, r % ROWS);
            let start = group.start + r * group.len;
            let row = start..start + group.len;
            if poisoned && poison[part][lane].is_nan() {
                out[row].fill(T::NAN);
                continue;
            }
            let mut numbers = numbers;
            for n in 0..N {
                let number = Vector::splat(s, lanes[n][part][lane]);
                numbers[n] = T::each(
                    #[inline(always)]
                    |_| number,
                );
            }
            apply_row(s, row, [x, g], out, &numbers, f);
        }
    } else {
        let poisoned = T::narrow(poison).is_nan();
        let nan = Vector::splat(s, T::NAN);
        let mut out = group.columns_mut(out);
        let x = x.map(|x| group.columns(x));
        let g = g.map(|g| group.columns(g));
        for j in 0..group.len {
            let x = T::widen(match x {
                Some(x) => x.load(s, j, T::zero()),
                None => out.load(s, j, T::zero()),
            });
            let g = match g {
                Some(g) => T::widen(g.load(s, j, T::zero())),
                None => x,
            };
            out.store(j, poisoned.select(nan, f(x, g, &numbers)));
        }
    }
}

/// The numbers of all rows, from those of eight rows each.
#[inline(always)]
fn numbers<T: Norm, S: Simd, const N: usize>(
    rows: T::Parts<[Vector<f64, S>; N]>,
) -> [T::Parts<Vector<f64, S>>; N] {
    let mut numbers = [T::each(
        #[inline(always)]
        |part| rows[part][0],
    ); N];
    for n in 1..N {
        numbers[n] = T::each(
            #[inline(always)]
            |part| rows[part][n],
        );
    }
    numbers
}

/// Writes one number a row.
#[inline(always)]
fn store_reduced<T: Norm, S: Simd>(group: Group, v: Vector<T, S>, out: &mut [T]) {
    v.store_first(&mut out[group.first..][..group.count]);
}

// ---------------------------------------------------------------------------------------------
// The operations
// ---------------------------------------------------------------------------------------------

/// What the gradient of eight rows is made of.
#[derive(Clone, Copy)]
struct GradientRows<S: Simd> {
    /// k and the two words of 1/N, lifted: what [`apply`] takes.
    numbers: [Vector<f64, S>; 3],
    poison: Vector<f64, S>,
    /// k is zero.
    straight: Mask<f64, S>,
    /// Σ x·g.
    dot: Dot<S>,
    /// d.
    inner: Word<f64, S>,
    inner_unit: Vector<f64, S>,
    /// N.
    divisor: Divisor<S>,
}

impl<S: Simd> GradientRows<S> {
    /// The rows whose plain evaluation may have left the range.
    #[inline(always)]
    fn exotic(self) -> Mask<f64, S> {
        let (s, n) = (self.poison.s, self.divisor.value.hi);
        let one = Vector::splat(s, 1.0);
        let sums = self.straight | (self.inner_unit.eq(one) & self.dot.unit.eq(one));
        let outside = n.lt(Vector::splat(s, pow2(-100)))
            | Vector::splat(s, pow2(400)).lt(n)
            | Vector::splat(s, pow2(600)).lt(self.dot.reach);
        outside | !(sums & self.divisor.unit.eq(one))
    }

    /// Evaluates such rows again, with explicit exponents.
    #[inline(always)]
    fn repair<T: Norm>(self, group: Group, [x, g]: [&[T]; 2], out: &mut [T]) {
        let (s, exotic) = (self.poison.s, self.exotic());
        if !exotic.any() {
            return;
        }
        let (zero, one) = (Vector::splat(s, 0.0), Vector::splat(s, 1.0));
        let (sum, sum_power) = mantissa(self.dot.sum);
        let (inner, inner_power) = mantissa(self.inner);
        let (value, value_power) = mantissa(self.divisor.value);
        let k = self.straight.select(zero, sum.div(inner).div(value).hi);
        let inverse = Word::exact(one).div(value);
        let (k, h, l) = (k.to_array(), inverse.hi.to_array(), inverse.lo.to_array());
        let (poison, exotic) = (self.poison.to_array(), exotic.select(one, zero).to_array());
        let sum_power = (sum_power.to_array(), self.dot.unit.to_array());
        let inner_power = (inner_power.to_array(), self.inner_unit.to_array());
        let value_power = (value_power.to_array(), self.divisor.unit.to_array());
        for r in 0..ROWS.min(group.count) {
            if exotic[r] == 0.0 || poison[r].is_nan() {
                continue;
            }
            let sum = exponent(sum_power.0[r]) + 2 * exponent(sum_power.1[r]);
            let inner = exponent(inner_power.0[r]) + exponent(inner_power.1[r]);
            let value = exponent(value_power.0[r]) + exponent(value_power.1[r]);
            let row =
                CarefulRow { k: k[r], k_exponent: sum - inner - value, h: h[r], l: l[r], n_exponent: value };
            for i in (group.row(r)..).step_by(group.stride).take(group.len) {
                out[i] = T::from_wide(row.gradient(x[i].to_wide(), g[i].to_wide()));
            }
        }
    }
}

/// A row's numbers as significands and exponents.
#[derive(Clone, Copy)]
struct CarefulRow {
    k: f64,
    k_exponent: i32,
    h: f64,
    l: f64,
    n_exponent: i32,
}

impl CarefulRow {
    /// (g − x·k) / N where no range can be left.
    #[inline(always)]
    fn gradient(self, x: f64, g: f64) -> f64 {
        let ((x, x_exponent), (g, g_exponent)) = (significand(x), significand(g));
        let product = if self.k == 0.0 { ZERO_EXPONENT } else { x_exponent + self.k_exponent };
        let common = product.max(g_exponent);
        let (x, g) = (ldexp(-x, product - common), ldexp(g, g_exponent - common));
        let r = Float::mul_add(x, self.k, g);
        // −0 becomes +0.
        ldexp(Float::mul_add(r, self.h, r * self.l), common - self.n_exponent) + 0.0
    }
}

/// Below every exponent there is.
const ZERO_EXPONENT: i32 = -100_000;

/// m and e with x = m·2^e, 1 ≤ |m| < 2; zero is 0·2^[`ZERO_EXPONENT`].
#[inline(always)]
fn significand(x: f64) -> (f64, i32) {
    if x == 0.0 {
        return (0.0, ZERO_EXPONENT);
    }
    let (x, shift) = if x.abs() < f64::MIN_POSITIVE { (x * pow2(64), -64) } else { (x, 0) };
    let field = 0x7ff << 52;
    let e = exponent(x);
    (f64::from_bits(x.to_bits() & !field | pow2(0).to_bits()), e + shift)
}

/// ⌊log₂ |x|⌋ of a normal number.
#[inline(always)]
fn exponent(x: f64) -> i32 {
    ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023
}

/// x·2^e, 2^−60 < |x| < 2^60, rounded once: the first two of three equal steps stay normal where the
/// result is not zero.
#[inline(always)]
fn ldexp(x: f64, e: i32) -> f64 {
    let e = i64::from(e.clamp(-2400, 2400));
    let third = e / 3;
    x * pow2(third) * pow2(third) * pow2(e - 2 * third)
}

/// The number over a power of two, and the power: a head in [1, 2), or less below 2^−1022.
#[inline(always)]
fn mantissa<S: Simd>(w: Word<f64, S>) -> (Word<f64, S>, Vector<f64, S>) {
    let s = w.hi.s;
    // The pattern of infinity is the exponent field, so this leaves the power of two.
    let power = w.hi.and(Vector::splat(s, f64::INFINITY)).max(Vector::splat(s, f64::MIN_POSITIVE));
    (w.scale(Vector::splat(s, 1.0) / power), power)
}

struct L2Norm<'a, T> {
    x: &'a [T],
    layout: Layout,
    out: &'a mut [T],
}

impl<T: Norm> Op for L2Norm<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, layout, out } = self;
        groups::<T, S, true, false>(
            s,
            layout,
            [Some(x), None],
            out,
            #[inline(always)]
            |group, [x, _], out| {
                let x = x.unwrap_or_default();
                let squares = dot::<T, S, false>(s, [x, x], group);
                let norms = T::narrow(T::each_of(
                    group.count,
                    #[inline(always)]
                    |part| {
                        let size = Size::of_squares(squares[part]);
                        size.root.hi * size.unit
                    },
                ));
                store_reduced(group, norms, out);
                // An infinity makes the sum's low word NaN, so the row has to say which it was.
                for (r, norm) in out[group.first..][..group.count].iter_mut().enumerate() {
                    if norm.is_nan() {
                        let row = x[group.row(r)..].iter().step_by(group.stride).take(group.len);
                        *norm = if row.copied().any(T::is_nan) { T::NAN } else { T::INFINITY };
                    }
                }
            },
        );
    }
}

struct L2Normalize<'a, T> {
    /// Where `None`, `out` holds it.
    x: Option<&'a [T]>,
    layout: Layout,
    guard: NormGuard<f64>,
    out: &'a mut [T],
}

impl<T: Norm> Op for L2Normalize<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, layout, guard, out } = self;
        if !T::COMPENSATED && layout.inner() == 1 && (1..=BLOCK).contains(&layout.len()) {
            return unit_rows(s, x, layout.len(), guard, out);
        }
        groups::<T, S, false, true>(
            s,
            layout,
            [x, None],
            out,
            #[inline(always)]
            |group, [x, _], out| {
                let source = x.unwrap_or(&*out);
                let squares = dot::<T, S, false>(s, [source, source], group);
                let by = T::each_of(
                    group.count,
                    #[inline(always)]
                    |part| {
                        let divisor = guard.divisor::<T, S>(Size::of_squares(squares[part]));
                        let by = Reciprocal::new::<T>(divisor.value, divisor.unit);
                        [by.h, by.l, by.after]
                    },
                );
                let poison = T::each(
                    #[inline(always)]
                    |part| poison(squares[part].sum.hi),
                );
                apply(
                    s,
                    group,
                    [x, None],
                    out,
                    poison,
                    numbers::<T, S, 3>(by),
                    #[inline(always)]
                    |x, _, [h, l, after]| {
                        T::narrow(T::each(
                            #[inline(always)]
                            |part| {
                                let y = Reciprocal::unscaled::<T>(x[part], h[part], l[part]);
                                if T::COMPENSATED { y * after[part] } else { y }
                            },
                        ))
                    },
                );
            },
        );
    }
}

/// [`L2Normalize`] of contiguous rows of one block whose sums are one word, without what other rows take: that is more
/// than a short row does.
#[inline(always)]
fn unit_rows<T: Norm, S: Simd>(s: S, x: Option<&[T]>, len: usize, guard: NormGuard<f64>, out: &mut [T]) {
    let one = Vector::splat(s, 1.0);
    let most = (CACHED / 2 / size_of::<T>() / len).clamp(1, T::LANES);
    let mut left = out.len() / len;
    let mut count = most.min(left);
    let source = x.unwrap_or(&*out);
    let mut sums = row_sums::<T, S, false>(s, [source, source], len, len, count);
    let mut start = 0;
    while count > 0 {
        let factors = T::each_of(
            count,
            #[inline(always)]
            |part| {
                let size = Size::of_squares(Dot { sum: Word::exact(sums[part]), unit: one, reach: one });
                let divisor = guard.divisor::<T, S>(size);
                [Reciprocal::new::<T>(divisor.value, one).h, poison(sums[part])]
            },
        );
        left -= count;
        let next = most.min(left);
        if next > 0 {
            // Of the next rows, so that nothing waits for the divisions.
            let source = &x.unwrap_or(&*out)[start + count * len..];
            sums = row_sums::<T, S, false>(s, [source, source], len, len, next);
        }
        let mut poisoned = false;
        let [mut factor_of, mut poison_of] = [[[0.0; ROWS]; 2]; 2];
        for part in 0..T::PARTS {
            let [factor, poison] = factors[part];
            poisoned |= poison.is_nan().any();
            factor.store(&mut factor_of[part]);
            poison.store(&mut poison_of[part]);
        }
        for (&factor, &poison) in factor_of.as_flattened().iter().zip(poison_of.as_flattened()).take(count) {
            let row = start..start + len;
            start = row.end;
            if poisoned && poison.is_nan() {
                out[row].fill(T::NAN);
                continue;
            }
            let factor = Vector::splat(s, factor);
            apply_row(
                s,
                row,
                [x, None],
                out,
                &[],
                #[inline(always)]
                |x, _, []| {
                    T::narrow(T::each(
                        #[inline(always)]
                        |part| x[part] * factor,
                    ))
                },
            );
        }
        count = next;
    }
}

struct L2NormVjp<'a, T> {
    x: &'a [T],
    norm: &'a [T],
    upstream: &'a [T],
    layout: Layout,
    grad: &'a mut [T],
}

impl<T: Norm> Op for L2NormVjp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, norm, upstream, layout, grad } = self;
        groups::<T, S, false, false>(
            s,
            layout,
            [Some(x), None],
            grad,
            #[inline(always)]
            |group, [x, _], grad| {
                let x = x.unwrap_or_default();
                let sizes = given(s, x, norm, group);
                let g = T::widen(Vector::load_first(s, &upstream[group.first..][..group.count], T::zero()));
                let (zero, one) = (Vector::splat(s, 0.0), Vector::splat(s, 1.0));
                let poison = T::each(
                    #[inline(always)]
                    |part| poison(sizes[part].root.hi) + poison(g[part]),
                );
                let factor = T::each(
                    #[inline(always)]
                    |part| {
                        let root = sizes[part].root.hi;
                        root.eq(zero).select(zero, g[part] / root)
                    },
                );
                apply(
                    s,
                    group,
                    [Some(x), None],
                    grad,
                    poison,
                    [factor],
                    #[inline(always)]
                    |x, _, [factor]| {
                        let grad = T::narrow(T::each(
                            #[inline(always)]
                            |part| x[part] * factor[part],
                        ));
                        // −0 becomes +0.
                        grad + T::zero()
                    },
                );
                if !T::COMPENSATED {
                    return;
                }
                // Where g/‖x‖ may have left the range, again with explicit exponents: f64, whose groups have one part.
                let (size, g) = (sizes[0], g[0]);
                let unit = unit_of(g.abs(), LEAST_NORM, LARGEST_NORM);
                let plain = size.root.hi.eq(zero) | g.eq(zero) | (size.unit.eq(one) & unit.eq(one));
                if !(!plain).any() {
                    return;
                }
                let exotic = plain.select(zero, one).to_array();
                let (root, unit) = (size.root.hi.to_array(), size.unit.to_array());
                let (g, poison) = (g.to_array(), poison[0].to_array());
                for r in 0..ROWS.min(group.count) {
                    if exotic[r] == 0.0 || poison[r].is_nan() {
                        continue;
                    }
                    let ((g, g_exponent), (n, n_exponent)) = (significand(g[r]), significand(root[r]));
                    let (factor, shift) = (g / n, g_exponent - n_exponent - exponent(unit[r]));
                    for i in (group.row(r)..).step_by(group.stride).take(group.len) {
                        let (x, x_exponent) = significand(x[i].to_wide());
                        grad[i] = T::from_wide(ldexp(x * factor, x_exponent + shift) + 0.0);
                    }
                }
            },
        );
    }
}

struct L2NormJvp<'a, T> {
    x: &'a [T],
    norm: &'a [T],
    tangent: &'a [T],
    layout: Layout,
    out: &'a mut [T],
}

impl<T: Norm> Op for L2NormJvp<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, norm, tangent, layout, out } = self;
        groups::<T, S, true, false>(
            s,
            layout,
            [Some(x), Some(tangent)],
            out,
            #[inline(always)]
            |group, inputs, out| {
                let [x, tangent] = inputs.map(Option::unwrap_or_default);
                let sizes = given(s, x, norm, group);
                let dots = dot::<T, S, true>(s, [x, tangent], group);
                let results = T::each(
                    #[inline(always)]
                    |part| {
                        let (size, dot) = (sizes[part], dots[part]);
                        let (sum, sum_power) = mantissa(dot.sum);
                        let (root, root_power) = mantissa(size.root);
                        let poison = (poison(size.root.hi) + poison(dot.sum.hi)).to_array();
                        let (q, n) = (sum.div(root).hi.to_array(), size.root.hi.to_array());
                        let sum_power = (sum_power.to_array(), dot.unit.to_array());
                        let root_power = (root_power.to_array(), size.unit.to_array());
                        let mut results = [0.0; ROWS];
                        for (r, result) in results.iter_mut().enumerate() {
                            if poison[r].is_nan() {
                                *result = f64::NAN;
                            } else if n[r] != 0.0 {
                                let up = exponent(sum_power.0[r]) + 2 * exponent(sum_power.1[r]);
                                let down = exponent(root_power.0[r]) + exponent(root_power.1[r]);
                                *result = ldexp(q[r], up - down);
                            }
                        }
                        results
                    },
                );
                for (r, out) in out[group.first..][..group.count].iter_mut().enumerate() {
                    let result = results[r / ROWS][r % ROWS];
                    *out = if result.is_nan() { T::NAN } else { T::from_wide(result) + T::zero() };
                }
            },
        );
    }
}

/// The gradient of the normalisation, backward and forward.
struct L2NormalizeGradient<'a, T> {
    x: &'a [T],
    norm: &'a [T],
    /// The upstream gradient, or the tangent.
    g: &'a [T],
    layout: Layout,
    guard: NormGuard<f64>,
    out: &'a mut [T],
}

impl<T: Norm> Op for L2NormalizeGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { x, norm, g, layout, guard, out } = self;
        // Keeps g − x·k, at least where N is not small, clear of gradual underflow.
        let lift = if T::COMPENSATED { pow2(100) } else { 1.0 };
        groups::<T, S, false, false>(
            s,
            layout,
            [Some(x), Some(g)],
            out,
            #[inline(always)]
            |group, inputs, out| {
                let [x, g] = inputs.map(Option::unwrap_or_default);
                let sizes = given(s, x, norm, group);
                let dots = dot::<T, S, true>(s, [x, g], group);
                let (zero, one) = (Vector::splat(s, 0.0), Vector::splat(s, 1.0));
                let rows = T::each_of(
                    group.count,
                    #[inline(always)]
                    |part| {
                        let (size, dot) = (sizes[part], dots[part]);
                        let divisor = guard.divisor::<T, S>(size);
                        let (inner, inner_unit) = match guard {
                            NormGuard::AddSquared(_) => (divisor.value, divisor.unit),
                            _ => (size.root, size.unit),
                        };
                        let poison = poison(size.root.hi) + poison(dot.sum.hi);
                        let straight = divisor.constant | inner.hi.eq(zero) | dot.sum.hi.eq(zero);
                        let k = dot.sum.div(inner).div(divisor.value).hi;
                        let k = straight.select(zero, k) * lift;
                        let inverse = Word::exact(one).div(divisor.value).scale(one / Vector::splat(s, lift));
                        let numbers = [k, inverse.hi, inverse.lo];
                        GradientRows { numbers, poison, straight, dot, inner, inner_unit, divisor }
                    },
                );
                let poison = T::each(
                    #[inline(always)]
                    |part| rows[part].poison,
                );
                let numbers = numbers::<T, S, 3>(T::each(
                    #[inline(always)]
                    |part| rows[part].numbers,
                ));
                apply(
                    s,
                    group,
                    [Some(x), Some(g)],
                    out,
                    poison,
                    numbers,
                    #[inline(always)]
                    |x, g, [k, h, l]| {
                        let grad = T::narrow(T::each(
                            #[inline(always)]
                            |part| {
                                let (x, g) = (-x[part], g[part]);
                                if !T::COMPENSATED {
                                    return x.mul_add(k[part], g) * h[part];
                                }
                                let r = x.mul_add(k[part], g * lift);
                                r.mul_add(h[part], r * l[part])
                            },
                        ));
                        // −0 becomes +0.
                        grad + T::zero()
                    },
                );
                if T::COMPENSATED {
                    // f64, whose groups have one part.
                    rows[0].repair(group, [x, g], out);
                }
            },
        );
    }
}

// ---------------------------------------------------------------------------------------------
// What is public
// ---------------------------------------------------------------------------------------------

operations! {
    /// The Euclidean norm of each row: ‖x‖ = √Σ x_j².
    ///
    /// Shapes: `x` has the layout's elements, `out` one number a row (`outer × inner`).
    ///
    /// ```
    /// use lossprep::{Layout, l2_norm};
    /// let mut norms = [0.0_f32; 2];
    /// l2_norm(&[3.0, 4.0, 1e30, 0.0], Layout::rows(2, 2)?, &mut norms)?;
    /// assert_eq!(norms, [5.0, 1e30]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Accuracy
    /// At most 1 ULP for every finite input and rows of up to 2²⁴ elements; 0.6 where the result is
    /// normal. Squares neither overflow nor underflow.
    ///
    /// # Special values
    /// A row with a NaN gives NaN, else one with ±∞ gives +∞. A row without elements gives 0.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit the layout; nothing is written then.
    ///
    /// # Source
    /// T. Ogita, S. M. Rump, S. Oishi, *Accurate sum and dot product* (2005), for f64.
    pub fn l2_norm<T>(self, x: &[T], layout: Layout, out: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("out", layout.row_count(), out.len())?;
        if layout.elements() == 0 {
            out.fill(T::zero());
        } else {
            L2Norm { x, layout, out }.on(self);
        }
        Ok(())
    }

    /// The gradient of [`l2_norm`]: grad_i = upstream·x_i / ‖x‖, one upstream number a row.
    ///
    /// Shapes: `norm` is what [`l2_norm`] gave, and `upstream` has its shape; `x` and `grad` have the layout's
    /// elements.
    ///
    /// ```
    /// use lossprep::{Layout, l2_norm_vjp};
    /// let mut grad = [0.0_f32; 2];
    /// l2_norm_vjp(&[3.0, 4.0], &[5.0], &[10.0], Layout::rows(1, 2)?, &mut grad)?;
    /// assert_eq!(grad, [6.0, 8.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Accuracy
    /// At most 4 ULP of the result (measured: 1.4), the norm taken as exact; one that overflowed to
    /// +∞ is formed again.
    ///
    /// # Special values
    /// A zero row gives zeros, as in PyTorch; a NaN or ±∞ in the row or its upstream gives a row of NaN.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit the layout; nothing is written then.
    ///
    /// # Source
    /// The derivative of √Σ x_j².
    pub fn l2_norm_vjp<T>(
        self,
        x: &[T],
        norm: &[T],
        upstream: &[T],
        layout: Layout,
        grad: &mut [T],
    ) {
        check_len("x", layout.elements(), x.len())?;
        check_len("norm", layout.row_count(), norm.len())?;
        check_len("upstream", layout.row_count(), upstream.len())?;
        check_len("grad", layout.elements(), grad.len())?;
        if layout.elements() != 0 {
            L2NormVjp { x, norm, upstream, layout, grad }.on(self);
        }
        Ok(())
    }

    /// The directional derivative of [`l2_norm`]: Σ x_j·tangent_j / ‖x‖, one number a row.
    ///
    /// Shapes: `norm` is what [`l2_norm`] gave, and `out` has its shape; `x` and `tangent` have the layout's
    /// elements.
    ///
    /// ```
    /// use lossprep::{Layout, l2_norm_jvp};
    /// let mut out = [0.0_f32];
    /// l2_norm_jvp(&[3.0, 4.0], &[5.0], &[1.0, 3.0], Layout::rows(1, 2)?, &mut out)?;
    /// assert_eq!(out, [3.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Accuracy
    /// At most 4 ULP of Σ|x_j·tangent_j| / ‖x‖ (measured: ½), the norm taken as exact; one that
    /// overflowed to +∞ is formed again.
    ///
    /// # Special values
    /// A zero row gives 0; a NaN or ±∞ in the row or its tangent gives NaN.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit the layout; nothing is written then.
    ///
    /// # Source
    /// The derivative of √Σ x_j².
    pub fn l2_norm_jvp<T>(
        self,
        x: &[T],
        norm: &[T],
        tangent: &[T],
        layout: Layout,
        out: &mut [T],
    ) {
        check_len("x", layout.elements(), x.len())?;
        check_len("norm", layout.row_count(), norm.len())?;
        check_len("tangent", layout.elements(), tangent.len())?;
        check_len("out", layout.row_count(), out.len())?;
        if layout.elements() == 0 {
            out.fill(T::zero());
        } else {
            L2NormJvp { x, norm, tangent, layout, out }.on(self);
        }
        Ok(())
    }

    /// Each row divided by its guarded Euclidean norm: y_i = x_i / guard(‖x‖), see [`NormGuard`].
    ///
    /// Shapes: `x` and `out` have the layout's elements.
    ///
    /// ```
    /// use lossprep::{Layout, NormGuard, l2_normalize};
    /// let mut y = [0.0_f32; 4];
    /// l2_normalize(&[3.0, -4.0, 0.0, 0.0], Layout::rows(2, 2)?, NormGuard::default(), &mut y)?;
    /// assert_eq!(y, [0.6, -0.8, 0.0, 0.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Accuracy
    /// At most 1 ULP for every finite input and rows of up to 2²⁴ elements; 0.6 where the result is
    /// normal. Right also where squares, or the norm itself, overflow or underflow.
    ///
    /// # Special values
    /// A zero row gives zeros; each zero keeps the sign of its x. A row with a NaN or ±∞ is all NaN.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit the layout, [`Error::Parameter`] for an ε that is not positive and finite; nothing is written then.
    ///
    /// # Source
    /// The reciprocal in double words: M. Joldeş, J.-M. Muller, V. Popescu, *Tight and rigorous error
    /// bounds for basic building blocks of double-word arithmetic* (2017).
    pub fn l2_normalize<T>(self, x: &[T], layout: Layout, guard: NormGuard<T>, out: &mut [T]) {
        let guard = guard.checked()?;
        check_len("x", layout.elements(), x.len())?;
        check_len("out", layout.elements(), out.len())?;
        if layout.elements() != 0 {
            L2Normalize { x: Some(x), layout, guard, out }.on(self);
        }
        Ok(())
    }

    /// [`l2_normalize`] in place, with the same bits.
    ///
    /// Shapes: `data` has the layout's elements.
    ///
    /// ```
    /// use lossprep::{Layout, NormGuard, l2_normalize_in_place};
    /// let mut data = [3.0_f64, 4.0];
    /// l2_normalize_in_place(&mut data, Layout::rows(1, 2)?, NormGuard::Add(5.0))?;
    /// assert_eq!(data, [0.3, 0.4]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Accuracy
    /// That of [`l2_normalize`].
    ///
    /// # Special values
    /// Those of [`l2_normalize`].
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit the layout, [`Error::Parameter`] for an ε that is not positive and finite; nothing is written then.
    ///
    /// # Source
    /// That of [`l2_normalize`].
    pub fn l2_normalize_in_place<T>(self, data: &mut [T], layout: Layout, guard: NormGuard<T>) {
        let guard = guard.checked()?;
        check_len("data", layout.elements(), data.len())?;
        if layout.elements() != 0 {
            L2Normalize { x: None, layout, guard, out: data }.on(self);
        }
        Ok(())
    }

    /// The gradient of [`l2_normalize`]: grad_i = (g_i − x_i·Σ x_j·g_j / (N·d)) / N for the upstream g,
    /// with N = guard(‖x‖) and d = ‖x‖ for `Max` and `Add`, N for `AddSquared`; g_i / ε below ε under
    /// `Max`.
    ///
    /// Shapes: `norm` is what [`l2_norm`] gave; `x`, `upstream` and `grad` have the layout's elements.
    ///
    /// ```
    /// use lossprep::{Layout, NormGuard, l2_normalize_vjp};
    /// let layout = Layout::rows(1, 2)?;
    /// let mut grad = [0.0_f32; 2];
    /// l2_normalize_vjp(&[3.0, 4.0], &[5.0], &[1.0, 0.0], layout, NormGuard::default(), &mut grad)?;
    /// assert_eq!(grad, [0.128, -0.096]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Accuracy
    /// At most 4 ULP of (|g_i| + |x_i|·Σ|x_j·g_j| / (N·d)) / N (measured: f32 ½, f64 1.9), the norm taken
    /// as exact; one that overflowed to +∞ is formed again.
    ///
    /// # Special values
    /// A zero row gives g/ε, or g/√ε under `AddSquared`. At ‖x‖ = ε `Max` has the norm's gradient. A NaN
    /// or ±∞ in the row or its upstream gives a row of NaN.
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit the layout, [`Error::Parameter`] for an ε that is not positive and finite; nothing is written then.
    ///
    /// # Source
    /// The derivative of x / guard(‖x‖), as in the mathematics at the head of the source file.
    pub fn l2_normalize_vjp<T>(
        self,
        x: &[T],
        norm: &[T],
        upstream: &[T],
        layout: Layout,
        guard: NormGuard<T>,
        grad: &mut [T],
    ) {
        let guard = guard.checked()?;
        check_len("x", layout.elements(), x.len())?;
        check_len("norm", layout.row_count(), norm.len())?;
        check_len("upstream", layout.elements(), upstream.len())?;
        check_len("grad", layout.elements(), grad.len())?;
        if layout.elements() != 0 {
            L2NormalizeGradient { x, norm, g: upstream, layout, guard, out: grad }.on(self);
        }
        Ok(())
    }

    /// The directional derivative of [`l2_normalize`]. Its Jacobian is symmetric, so this is
    /// [`l2_normalize_vjp`] with the tangent in the place of the upstream, bit for bit.
    ///
    /// Shapes: `norm` is what [`l2_norm`] gave; `x`, `tangent` and `out` have the layout's elements.
    ///
    /// ```
    /// use lossprep::{Layout, NormGuard, l2_normalize_jvp};
    /// let layout = Layout::rows(1, 2)?;
    /// let mut out = [0.0_f32; 2];
    /// l2_normalize_jvp(&[3.0, 4.0], &[5.0], &[1.0, 0.0], layout, NormGuard::default(), &mut out)?;
    /// assert_eq!(out, [0.128, -0.096]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    ///
    /// # Accuracy
    /// That of [`l2_normalize_vjp`].
    ///
    /// # Special values
    /// Those of [`l2_normalize_vjp`].
    ///
    /// # Errors
    /// [`Error::Length`] where a slice does not fit the layout, [`Error::Parameter`] for an ε that is not positive and finite; nothing is written then.
    ///
    /// # Source
    /// That of [`l2_normalize_vjp`].
    pub fn l2_normalize_jvp<T>(
        self,
        x: &[T],
        norm: &[T],
        tangent: &[T],
        layout: Layout,
        guard: NormGuard<T>,
        out: &mut [T],
    ) {
        let guard = guard.checked()?;
        check_len("x", layout.elements(), x.len())?;
        check_len("norm", layout.row_count(), norm.len())?;
        check_len("tangent", layout.elements(), tangent.len())?;
        check_len("out", layout.elements(), out.len())?;
        if layout.elements() != 0 {
            L2NormalizeGradient { x, norm, g: tangent, layout, guard, out }.on(self);
        }
        Ok(())
    }
}
