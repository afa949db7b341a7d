//! softmax, log_softmax and logsumexp along an axis, with their gradients.
//!
//! # Mathematics
//! For a row x with maximum m and L = log Σ exp x_j: softmax is exp(x_i − L), log_softmax x_i − L,
//! logsumexp L. With a temperature T, x/T takes the place of x.
//!
//! # Algorithm
//! *softmax.* 1. The maximum. 2. Each exponential as t + t·q (`math/exp.rs`), multiplied out relative to 2^K, K
//! the exponent of exp m, and their sum S in fixed point (`math/sum.rs`). q is kept in the output. A factor that all
//! terms have in common leaves the quotient.
//! Rows longer than the cache are summed while their maximum is looked for, relative to that of what was read before, and anew
//! from where its exponent turns out to be another; what comes before is left for a second pass.
//! 3. With 1/S = h + l: y = h·t + (h·q + l)·t, t from the table again: only the last addition rounds in
//! earnest. All of it happens at a power of two where nothing is subnormal; the multiplication that ends it rounds
//! subnormal results. In place t and q of rows of up to 128 registers are kept beside them; in longer ones, and in rows longer
//! than the cache, q is computed again, to the same bits. Where registers are few (AVX2), t and q of up to 128 registers
//! are kept before any of them is summed, and are there for step 3 if that is the whole row.
//!
//! *log_softmax and logsumexp.* 1. and 2. as above. L is the logarithm of S, or where S < 2·exp m, m + log1p(others/exp m)
//! with others = S − exp m, if that is at least n·2^−15 (f64: n·2^−32) of exp m, and all of it in the longest rows.
//! Elsewhere S is too coarse for it, and others are summed again: all terms but one occurrence of m, relative to the exponent
//! of the second largest, so that the sum keeps its relative accuracy however small it is. 3. x − m and L − m are subtracted in
//! two words each; where L − m ≥ log 2 and m is moderate, x and the two words of L.
//!
//! x is not rounded against m: integers K make the terms relative. Only where |m| ≥ 512 (f32) or
//! 4,096 (f64) is m subtracted, which is exact for every term that reaches a result. With a temperature
//! (x − m)/T is carried in two words.
//!
//! *Gradients.* The row's sum Σ y·g or Σ g in f64 (f64: two words), then each element; f32 without a temperature with f32
//! arithmetic, where that neither overflows nor loses an exponential below the normal numbers.
//!
//! How rows reach registers is said in `rows.rs`; the code is one text over `Access`. The passes are made over
//! several rows in turn, so that none waits for the end of its own sum.
//!
//! # Error
//! t + t·q is good to 0.12 ULP for f32 and 0.1 ULP for f64, S to that and n·2^−45 (n·2^−102), f32 rows
//! of more than 2^17 terms to 2^−28 of itself; the last step rounds once in earnest, 0.6 ULP: softmax is within 0.91 ULP for f32 and 0.79 ULP for f64. Logarithms of f64 are taken of sums whose terms are good to 2^−60.8. `verify/proofs` has the proofs, `verify`
//! measures it.

use crate::dispatch::{Kernels, operations};
use crate::element::Lane;
use crate::error::{check_len, check_scale};
use crate::math::dot::{Dot, dot};
use crate::math::exp::{Exp, ExpTable, Term, each, exp, exponent, power as table_power, power_parts, terms};
use crate::math::log::{log_of, log_of_word, log1p, log1p_word, parts, parts_word};
use crate::math::power_of_two as power;
use crate::math::sum::{Accumulate, Sums as TermSums, needs_third, numbers, word};
use crate::math::word::{Word, fast_two_sum, two_sum};
use crate::rows::{Access, Block, Each, Fill, Kept, MOST_ROWS, Work, drive, each_field};
use crate::simd::{Mask, Op, Scalar, Simd, Vector};
use crate::{Element, Error, Layout};
use core::f64::consts::SQRT_2;
use core::ops::Range;

#[cfg(feature = "rayon")]
pub(crate) mod long_rows;

/// Registers of a row, or of rows beside each other, that stay in the cache from pass to pass.
const CACHED: usize = 8192;
// Longer rows are the long ones, and among these must be all that may need a third word.
const _: () = assert!(CACHED * f32::LANES <= f32::MANY.unwrap());

/// Registers of a row that the last-level cache cannot be expected to hold: 24 MB.
const BEYOND: usize = 3 << 17;

/// What a row with nothing to sum gives, where a mask or valid lengths are in force; without them it is NaN.
///
/// The default is `Zeros`, unlike PyTorch's NaN, which is `Nan` here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EmptyRows {
    /// softmax 0, log_softmax −∞.
    #[default]
    Zeros,
    /// softmax 1/len, log_softmax −log len. The saved result of such a row in which every element is kept
    /// is that of equal logits, and so is its gradient.
    Uniform,
    /// NaN, as without a mask.
    Nan,
}

/// Options of the softmax family: temperature, which elements take part, and what empty rows give.
///
/// ```
/// use lossprep::{Layout, SoftmaxOptions, softmax_with};
/// let logits = [1.0_f32, 2.0, 3.0];
/// let keep = [true, false, true];
/// let mut p = [0.0; 3];
/// let options = SoftmaxOptions::new().temperature(2.0).mask(&keep);
/// softmax_with(&logits, Layout::rows(1, 3)?, &options, &mut p)?;
/// assert_eq!(p[1], 0.0);
/// # Ok::<(), lossprep::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct SoftmaxOptions<'a, T> {
    temperature: T,
    kept: Kept<'a>,
    empty_rows: EmptyRows,
}

impl<T: Element> Default for SoftmaxOptions<'_, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a, T: Element> SoftmaxOptions<'a, T> {
    /// Temperature 1, every element takes part; [`EmptyRows::Zeros`], should a mask or lengths be set.
    pub fn new() -> Self {
        Self { temperature: T::one(), kept: Kept::All, empty_rows: EmptyRows::Zeros }
    }

    /// Divides the logits by `temperature`: finite, normal and positive.
    #[must_use]
    pub fn temperature(mut self, temperature: T) -> Self {
        self.temperature = temperature;
        self
    }

    /// Which elements take part: `keep` has the shape of the input. Replaces valid lengths.
    #[must_use]
    pub fn mask(mut self, keep: &'a [bool]) -> Self {
        self.kept = Kept::Mask(keep);
        self
    }

    /// How many leading elements of each row take part, one length a row. Replaces a mask.
    #[must_use]
    pub fn lengths(mut self, valid: &'a [usize]) -> Self {
        self.kept = Kept::Lengths(valid);
        self
    }

    /// What a row gives in which nothing is kept, or only −∞: zeros by default, unlike PyTorch's NaN. In force only with
    /// a mask or lengths.
    #[must_use]
    pub fn empty_rows(mut self, policy: EmptyRows) -> Self {
        self.empty_rows = policy;
        self
    }

    /// The options of the rows before and after that number of them, which have so many elements.
    #[cfg(feature = "rayon")]
    pub(crate) fn split_at(self, elements: usize, rows: usize) -> (Self, Self) {
        let (a, b) = match self.kept {
            Kept::All => (Kept::All, Kept::All),
            Kept::Mask(keep) => {
                let (a, b) = keep.split_at(elements);
                (Kept::Mask(a), Kept::Mask(b))
            }
            Kept::Lengths(valid) => {
                let (a, b) = valid.split_at(rows);
                (Kept::Lengths(a), Kept::Lengths(b))
            }
        };
        (Self { kept: a, ..self }, Self { kept: b, ..self })
    }

    pub(crate) fn check(&self, layout: Layout) -> Result<(), Error> {
        check_scale("temperature", self.temperature)?;
        match self.kept {
            Kept::All => Ok(()),
            Kept::Mask(keep) => check_len("mask", layout.elements(), keep.len()),
            Kept::Lengths(valid) => {
                check_len("lengths", layout.row_count(), valid.len())?;
                let len = layout.len();
                match valid.iter().position(|&v| v > len) {
                    Some(row) => Err(Error::ValidLength { row, valid: valid[row], len }),
                    None => Ok(()),
                }
            }
        }
    }

    /// What empty rows give; `None`: NaN.
    fn policy(&self) -> Option<EmptyRows> {
        match (self.kept, self.empty_rows) {
            (Kept::All, _) | (_, EmptyRows::Nan) => None,
            (_, policy) => Some(policy),
        }
    }
}

/// Constants and row arithmetic of the softmax family.
pub trait SoftmaxElement: ExpTable + Accumulate + Dot {
    /// From this |maximum| on it is subtracted. Half of it is more than any gap that reaches a result,
    /// a gradient with the largest upstream included, so the subtraction is exact where it counts.
    const FAR: Self;
    /// How far below the maximum terms are cut off: exp(−CLIP) leaves no trace in any gradient.
    const CLIP: Self;
    /// The same where there is no upstream gradient: below it softmax is less than half the least subnormal number,
    /// and the term, raised by `LIFT`, is still normal.
    const NEAR_CLIP: Self;
    /// softmax is computed at two to this power, where no part of it is subnormal, and rounded once more by the
    /// multiplication that brings it down.
    const RAISE: Self;
    /// Below this |maximum| two words hold logsumexp finely enough to be subtracted.
    const MODERATE: Self;
    /// [`near`] for one term.
    const NEAR: Self;
    /// A row's sum on registers: f64 for f32, double words for f64.
    type Row<S: Simd>: Each<Self, S>
    where
        Self: Sized;

    /// The totals as numbers.
    fn row<S: Simd>(s: S, totals: Self::Totals<S>) -> Self::Row<S>
    where
        Self: Sized;
    /// 2^raise/row in two words.
    fn reciprocal<S: Simd>(row: Self::Row<S>, raise: Self) -> Word<Self, S>
    where
        Self: Sized;
    /// Whether each sum is at least twice its largest term, known without that.
    fn ample<S: Simd>(row: Self::Row<S>) -> bool
    where
        Self: Sized;
    /// 1 for the lanes whose sums of so many terms need a third word, see `math/sum.rs`, and 0 for the others; if there are
    /// any. Given the sums of one in so many `parts` of them.
    fn coarse<S: Simd>(row: Self::Row<S>, terms: [usize; MOST_ROWS], parts: f64) -> Option<Self::Array>
    where
        Self: Sized;
    /// The row's sum without `max`, a term of it.
    fn others<S: Simd>(row: Self::Row<S>, max: Term<Self, S>, near: Self) -> Others<Self, S>
    where
        Self: Sized;
    /// (1 − p)·g of the largest term: others·r/2^RAISE, r = 2^RAISE·g/sum.
    fn complement<S: Simd>(others: Self::Row<S>, r: Word<Self, S>) -> Vector<Self, S>
    where
        Self: Sized;
    /// L, to be taken of a row's sum or, given the largest term, from the two where the sum is less than twice that; of
    /// relative terms or others.
    fn logarithm<S: Simd>(
        sum: Self::Row<S>,
        max: Option<Self::Row<S>>,
        relative: bool,
        frame: &Frame<Self, S>,
    ) -> Logarithm<Self, S>
    where
        Self: Sized;
    /// L − x in two words, of which the first is the rounded difference.
    fn less<S: Simd>(l: Logarithm<Self, S>, x: Vector<Self, S>) -> Word<Self, S>
    where
        Self: Sized;
    /// A step on a part of a long row.
    #[cfg(feature = "rayon")]
    fn long_row(
        kernels: Kernels,
        known: long_rows::Known<Self>,
        step: long_rows::Step<'_, Self>,
    ) -> long_rows::Known<Self>
    where
        Self: Sized;
    /// log1p(2^k·others/max) in two words; k ≤ 0 integers.
    fn log1p_quotient<S: Simd>(others: Self::Row<S>, max: Term<Self, S>, k: Vector<Self, S>) -> Word<Self, S>
    where
        Self: Sized;
    /// 2^⌊z − MAGIC⌋·(t + t·q)·r·g, rounded like one product: logsumexp's gradient.
    fn scaled_probability<S: Simd>(
        e: &Exp<Self, S>,
        r: Word<Self, S>,
        g: Vector<Self, S>,
        temperature: Option<Self>,
    ) -> Vector<Self, S>
    where
        Self: Sized;
    /// Exponents of the powers of two at which a row's sum of y·g is taken: at the first no term
    /// underflows that could reach a result, at the second none overflows.
    fn scales(temperature: Option<Self>) -> [Self; 2]
    where
        Self: Sized;
    /// The same for sums of g alone, which are exact where they are subnormal.
    const PLAIN_SCALES: [Self; 2];
    /// Whether a sum may overflow at its first scale. False of f32, whose sums are f64; gradients in f32 arithmetic ask
    /// for that too.
    const OVERFLOWS: bool;
    /// The sums of a row at both scales, where the second was taken only for lanes not finite at the first.
    fn at_both<S: Simd>(sums: Sums<Self, S>, exponents: [Self; 2]) -> Sums<Self, S>
    where
        Self: Sized;
    /// y·(g − sum)/temperature, sums at `scales`; y is 1 where there is none.
    fn centred<S: Simd>(
        y: Option<Vector<Self, S>>,
        g: Vector<Self, S>,
        sums: Sums<Self, S>,
        temperature: Option<Self>,
    ) -> Vector<Self, S>
    where
        Self: Sized;
    /// The lanes where the sum is a finite number.
    fn finite<S: Simd>(sum: Self::Acc<S>) -> Mask<Self, S>
    where
        Self: Sized;
    /// sum/temperature, rounded; sums at `scales`.
    fn rounded<S: Simd>(sums: Sums<Self, S>, temperature: Option<Self>) -> Vector<Self, S>
    where
        Self: Sized;
    /// Half of a sum at the first of `PLAIN_SCALES`, in two words.
    fn half<S: Simd>(sums: Sums<Self, S>) -> Word<Self, S>
    where
        Self: Sized;
    /// (g − y·sum)/temperature, y = 2^⌊z − MAGIC⌋·(t + t·q); sums at `PLAIN_SCALES`.
    fn less_share<S: Simd>(
        g: Vector<Self, S>,
        y: &Exp<Self, S>,
        sums: Sums<Self, S>,
        temperature: Option<Self>,
    ) -> Vector<Self, S>
    where
        Self: Sized;
}

/// A row's sum at two scales; the same twice where one does.
type Sums<T, S> = (<T as Dot>::Acc<S>, <T as Dot>::Acc<S>);

/// What `sum` gives at each exponent; the second is asked for only where the first overflows.
#[inline(always)]
fn at_scales<T: SoftmaxElement, S: Simd>(
    s: S,
    exponents: [T; 2],
    mut sum: impl FnMut(T) -> T::Acc<S>,
) -> Sums<T, S> {
    let mut sums = [T::acc(s); 2];
    // A loop, so that the sum is compiled once.
    for i in 0..2 {
        sums[i] = sum(exponents[i]);
        if !(T::OVERFLOWS && (!T::finite::<S>(sums[0])).any()) {
            break;
        }
    }
    T::at_both((sums[0], sums[1]), exponents)
}

/// The f64s rounded to two f32 words.
#[inline(always)]
fn two_words<S: Simd>(v: [Vector<f64, S>; 2]) -> Word<f32, S> {
    let hi = Vector::narrow(v);
    let back = hi.widen();
    Word { hi, lo: Vector::narrow([v[0] - back[0], v[1] - back[1]]) }
}

/// `f` on both halves of f32 registers as f64.
#[inline(always)]
fn halves<S: Simd, const N: usize>(
    v: [Vector<f32, S>; N],
    f: impl Fn([Vector<f64, S>; N], usize) -> Vector<f64, S>,
) -> [Vector<f64, S>; 2] {
    let mut low = [Vector::splat(v[0].s, 0.0); N];
    let mut high = low;
    for i in 0..N {
        [low[i], high[i]] = v[i].widen();
    }
    [f(low, 0), f(high, 1)]
}

impl SoftmaxElement for f32 {
    const FAR: Self = 512.0;
    const CLIP: Self = 320.0;
    const NEAR_CLIP: Self = 110.0;
    const RAISE: Self = 114.0;
    const MODERATE: Self = 65_536.0;
    const NEAR: Self = power(-15) as f32;
    type Row<S: Simd> = [Vector<f64, S>; 2];

    #[inline(always)]
    fn row<S: Simd>(_: S, totals: Self::Totals<S>) -> Self::Row<S> {
        numbers(totals)
    }

    #[inline(always)]
    fn reciprocal<S: Simd>(row: Self::Row<S>, raise: Self) -> Word<f32, S> {
        let one = Vector::splat(row[0].s, power(raise as i64));
        two_words([one / row[0], one / row[1]])
    }

    #[inline(always)]
    fn ample<S: Simd>(row: Self::Row<S>) -> bool {
        let least = Vector::splat(row[0].s, power(Self::LIFT as i64 + 2));
        !(row[0].lt(least) | row[1].lt(least)).any()
    }

    #[inline(always)]
    fn coarse<S: Simd>(row: Self::Row<S>, terms: [usize; MOST_ROWS], parts: f64) -> Option<[f32; 16]> {
        let lanes = each(
            #[inline(always)]
            |i| {
                let sum = row[i / 8].to_array()[i % 8];
                if needs_third(sum * parts, terms[i]) { 1.0 } else { 0.0 }
            },
        );
        (lanes != [0.0; 16]).then_some(lanes)
    }

    #[inline(always)]
    fn others<S: Simd>(row: Self::Row<S>, max: Term<f32, S>, near: f32) -> Others<f32, S> {
        let max = halves(
            [max.t, max.rest],
            #[inline(always)]
            |[t, q], _| t.mul_add(q, t),
        );
        let others = [row[0] - max[0], row[1] - max[1]];
        // Rounded, the difference keeps its sign: f32 numbers are far finer than the grid here.
        let [shared, right] = each(
            #[inline(always)]
            |n| {
                let part = [1.0, f64::from(near)][n];
                let beyond = Vector::narrow([others[0] - max[0] * part, others[1] - max[1] * part]);
                !beyond.lt(Vector::splat(beyond.s, 0.0))
            },
        );
        Others { others, max, shared, right }
    }

    #[inline(always)]
    fn complement<S: Simd>(others: Self::Row<S>, r: Word<f32, S>) -> Vector<f32, S> {
        Vector::narrow(halves(
            [r.hi, r.lo],
            #[inline(always)]
            |[hi, lo], i| others[i] * ((hi + lo) * power(-(Self::RAISE as i64))),
        ))
    }

    #[inline(always)]
    fn logarithm<S: Simd>(
        sum: Self::Row<S>,
        max: Option<Self::Row<S>>,
        relative: bool,
        &Frame { m, shift, k, .. }: &Frame<f32, S>,
    ) -> Logarithm<f32, S> {
        let s = k.s;
        let [zero, one, two] = [Vector::splat(s, 0.0), Vector::splat(s, 1.0), Vector::splat(s, 2.0)];
        let lifted = (k - Self::LIFT).widen();
        let factor = Vector::splat(s, if relative { Self::LOG2_F } else { 0.0 });
        let [mut f, mut f2, mut k, mut near] = [sum; 4];
        for i in 0..2 {
            [f[i], f2[i], k[i]] = parts(sum[i]);
            k[i] = k[i] + lifted[i] - factor;
            if let Some(max) = max {
                let (is, close) = (sum[i].lt(max[i] * 2.0), sum[i].lt(max[i] * SQRT_2));
                let power = max[i] * close.select(one, two);
                f[i] = is.select(sum[i] - power, f[i]);
                f2[i] = is.select(sum[i] + power, f2[i]);
                k[i] = is.select(close.select(zero, one), k[i]);
                near[i] = is.select(one, zero);
            }
        }
        let base = match max {
            None => shift,
            Some(_) => Vector::narrow(near).eq(Vector::splat(s, 1.0)).select(m, shift),
        };
        Logarithm { f, f2, k, base }
    }

    #[inline(always)]
    fn less<S: Simd>(Logarithm { f, f2, k, base }: Logarithm<f32, S>, x: Vector<f32, S>) -> Word<f32, S> {
        two_words(halves(
            [base, x],
            #[inline(always)]
            |[base, x], i| log_of(f[i], f2[i], k[i]) + (base - x),
        ))
    }

    #[cfg(feature = "rayon")]
    fn long_row(
        kernels: Kernels,
        known: long_rows::Known<f32>,
        step: long_rows::Step<'_, f32>,
    ) -> long_rows::Known<f32> {
        long_rows::Stepping(known, step).on(kernels)
    }

    #[inline(always)]
    fn log1p_quotient<S: Simd>(others: Self::Row<S>, max: Term<f32, S>, k: Vector<f32, S>) -> Word<f32, S> {
        let log = halves(
            [max.t, max.rest, k],
            #[inline(always)]
            |[t, q, k], i| log1p(others[i] * (k + f64::MAGIC).pow2_floor() / t.mul_add(q, t)),
        );
        two_words(log)
    }

    #[inline(always)]
    fn scaled_probability<S: Simd>(
        e: &Exp<f32, S>,
        r: Word<f32, S>,
        g: Vector<f32, S>,
        temperature: Option<f32>,
    ) -> Vector<f32, S> {
        let k = e.z - Self::MAGIC;
        Vector::narrow(halves(
            [e.t, e.q, r.hi, r.lo, g, k],
            #[inline(always)]
            |[t, q, h, l, g, k], _| {
                let v = t.mul_add(q, t) * (h + l) * g * (k + f64::MAGIC).pow2_floor();
                cooled(v, temperature.map(f64::from))
            },
        ))
    }

    #[inline(always)]
    fn scales(_: Option<f32>) -> [f32; 2] {
        // The products are f64. 2^110 lets y reach below 2^−400, beyond any largest g over any temperature.
        [110.0; 2]
    }

    const PLAIN_SCALES: [f32; 2] = [0.0; 2];

    const OVERFLOWS: bool = false;

    #[inline(always)]
    fn at_both<S: Simd>((sum, _): Sums<f32, S>, _: [f32; 2]) -> Sums<f32, S> {
        (sum, sum)
    }

    #[inline(always)]
    fn centred<S: Simd>(
        y: Option<Vector<f32, S>>,
        g: Vector<f32, S>,
        (sum, _): Sums<f32, S>,
        temperature: Option<f32>,
    ) -> Vector<f32, S> {
        if let (Some(y), None) = (y, temperature) {
            // Halved, so that no difference overflows.
            let half = two_words([sum[0] * power(-111), sum[1] * power(-111)]);
            let v = y * ((g * Self::HALF - half.hi) - half.lo);
            return v + v;
        }
        // A factor of 1 is exact.
        let y = match y {
            Some(y) => y,
            None => Vector::splat(g.s, 1.0),
        };
        Vector::narrow(halves(
            [y, g],
            #[inline(always)]
            |[y, g], i| cooled(y * (g - sum[i] * power(-110)), temperature.map(f64::from)),
        ))
    }

    #[inline(always)]
    fn finite<S: Simd>(sum: Self::Acc<S>) -> Mask<f32, S> {
        // v·0 is 0 or NaN, and fits in f32.
        let zero = Vector::narrow([sum[0] * 0.0, sum[1] * 0.0]);
        zero.eq(zero)
    }

    #[inline(always)]
    fn rounded<S: Simd>((sum, _): Sums<f32, S>, temperature: Option<f32>) -> Vector<f32, S> {
        let t = temperature.map(f64::from);
        Vector::narrow([cooled(sum[0] * power(-110), t), cooled(sum[1] * power(-110), t)])
    }

    #[inline(always)]
    fn half<S: Simd>((sum, _): Sums<f32, S>) -> Word<f32, S> {
        two_words([sum[0] * 0.5, sum[1] * 0.5])
    }

    #[inline(always)]
    fn less_share<S: Simd>(
        g: Vector<f32, S>,
        y: &Exp<f32, S>,
        (sum, _): Sums<f32, S>,
        temperature: Option<f32>,
    ) -> Vector<f32, S> {
        let k = y.z - Self::MAGIC;
        Vector::narrow(halves(
            [g, y.t, y.q, k],
            #[inline(always)]
            |[g, t, q, k], i| {
                let share = t.mul_add(q, t) * (k + f64::MAGIC).pow2_floor() * sum[i];
                cooled(g - share, temperature.map(f64::from))
            },
        ))
    }
}

/// v/temperature
#[inline(always)]
fn cooled<T: Lane, S: Simd>(v: Vector<T, S>, temperature: Option<T>) -> Vector<T, S> {
    match temperature {
        Some(t) => v / t,
        None => v,
    }
}

/// A temperature as 2^`exponent`·`rest`, ½ ≤ `rest` < 1: the power goes where nothing underflows.
struct Cooling {
    exponent: f64,
    rest: Option<f64>,
}

impl Cooling {
    #[inline(always)]
    fn new(temperature: Option<f64>) -> Self {
        match temperature {
            None => Self { exponent: 0.0, rest: None },
            Some(t) => {
                let biased = (t.to_bits() >> 52) as i64;
                let rest = f64::from_bits(t.to_bits() & !(0x7ff << 52) | 0x3fe << 52);
                Self { exponent: (biased - 1022) as f64, rest: Some(rest) }
            }
        }
    }
}

/// y·v·2^exponent, |y| ≤ 1, in two normal powers: neither step leaves the range unless the result does.
#[inline(always)]
fn times_power<S: Simd>(y: Option<Vector<f64, S>>, v: Vector<f64, S>, exponent: f64) -> Vector<f64, S> {
    let (all, half) = (exponent as i64, exponent as i64 / 2);
    let (first, second) = (power(half), power(all - half));
    match y {
        None => v * first * second,
        Some(y) if all > 0 => y * first * v * second,
        Some(y) => y * v * first * second,
    }
}

impl SoftmaxElement for f64 {
    const FAR: Self = 4096.0;
    const CLIP: Self = 2400.0;
    const NEAR_CLIP: Self = 800.0;
    const RAISE: Self = 512.0;
    const MODERATE: Self = 65_536.0;
    const NEAR: Self = power(-32);
    type Row<S: Simd> = Word<f64, S>;

    #[inline(always)]
    fn row<S: Simd>(s: S, totals: Self::Totals<S>) -> Self::Row<S> {
        let mut words = [[0.0; 8]; 2];
        for (lane, total) in totals.into_iter().enumerate() {
            [words[0][lane], words[1][lane]] = total.to_words();
        }
        Word { hi: Vector::load(s, &words[0]), lo: Vector::load(s, &words[1]) }
    }

    #[inline(always)]
    fn reciprocal<S: Simd>(row: Self::Row<S>, raise: Self) -> Word<f64, S> {
        Word::exact(Vector::splat(row.hi.s, power(raise as i64))).div(row)
    }

    #[inline(always)]
    fn ample<S: Simd>(row: Self::Row<S>) -> bool {
        !row.hi.lt(Vector::splat(row.hi.s, power(Self::LIFT as i64 + 2))).any()
    }

    #[inline(always)]
    fn coarse<S: Simd>(_: Self::Row<S>, _: [usize; MOST_ROWS], _: f64) -> Option<[f64; 8]> {
        None
    }

    #[inline(always)]
    fn others<S: Simd>(row: Self::Row<S>, max: Term<f64, S>, near: f64) -> Others<f64, S> {
        let max = word(max);
        let others = row.add(-max);
        let [shared, right] = [!others.hi.lt(max.hi), !others.hi.lt(max.hi * near)];
        Others { others, max, shared, right }
    }

    #[inline(always)]
    fn complement<S: Simd>(others: Self::Row<S>, r: Word<f64, S>) -> Vector<f64, S> {
        r.hi.mul_add(others.hi, r.hi.mul_add(others.lo, r.lo * others.hi)) * power(-(Self::RAISE as i64))
    }

    #[inline(always)]
    fn logarithm<S: Simd>(
        sum: Self::Row<S>,
        max: Option<Self::Row<S>>,
        _: bool,
        &Frame { m, shift, k, .. }: &Frame<f64, S>,
    ) -> Logarithm<f64, S> {
        let ([mut f, mut f2], more) = parts_word(sum);
        let mut k = more + (k - Self::LIFT);
        let mut base = shift;
        if let Some(max) = max {
            let (near, close) = (sum.hi.lt(max.hi * 2.0), sum.hi.lt(max.hi * SQRT_2));
            let [zero, one, two] =
                [Vector::splat(k.s, 0.0), Vector::splat(k.s, 1.0), Vector::splat(k.s, 2.0)];
            let power = max.scale(close.select(one, two));
            let (less, more) = (sum.add(-power), sum.add(power));
            f = Word::select(near, less, f);
            f2 = Word::select(near, more, f2);
            k = near.select(close.select(zero, one), k);
            base = near.select(m, base);
        }
        Logarithm { f: [f.hi, f.lo], f2: [f2.hi, f2.lo], k: [k; 2], base }
    }

    #[inline(always)]
    fn less<S: Simd>(Logarithm { f, f2, k, base }: Logarithm<f64, S>, x: Vector<f64, S>) -> Word<f64, S> {
        let [f, f2] = [Word { hi: f[0], lo: f[1] }, Word { hi: f2[0], lo: f2[1] }];
        sum_less(base, log_of_word(f, f2, k[0]), x)
    }

    #[cfg(feature = "rayon")]
    fn long_row(
        kernels: Kernels,
        known: long_rows::Known<f64>,
        step: long_rows::Step<'_, f64>,
    ) -> long_rows::Known<f64> {
        long_rows::Stepping(known, step).on(kernels)
    }

    #[inline(always)]
    fn log1p_quotient<S: Simd>(others: Self::Row<S>, max: Term<f64, S>, k: Vector<f64, S>) -> Word<f64, S> {
        // Below this exponent log1p(x) is x to the last bit that counts.
        let tiny = Vector::splat(k.s, -200.0);
        let quotient = others.div(word(max));
        let log = log1p_word(quotient.scale((k.max(tiny) + Self::MAGIC).pow2_floor()));
        let below = k.lt(tiny);
        if below.any() {
            // log1p(q) = q to far below the last place; the power may be a subnormal number.
            let zero = Vector::splat(k.s, 0.0);
            let q = zero.lt(quotient.hi).select(quotient.hi.ldexp(k + Self::MAGIC), zero);
            Word::select(below, Word::exact(q), log)
        } else {
            log
        }
    }

    #[inline(always)]
    fn scaled_probability<S: Simd>(
        e: &Exp<f64, S>,
        r: Word<f64, S>,
        g: Vector<f64, S>,
        temperature: Option<f64>,
    ) -> Vector<f64, S> {
        // The significand is at most 1, so the product overflows only if the result does.
        let cooling = Cooling::new(temperature);
        let [first, second, third] = power_parts(e.z - cooling.exponent);
        cooled(probability(e.t, e.q, r) * first * g * second * third, cooling.rest)
    }

    #[inline(always)]
    fn scales(temperature: Option<f64>) -> [f64; 2] {
        // A low temperature lets smaller sums reach a result.
        let cold = Cooling::new(temperature).exponent < -500.0;
        [if cold { 1020.0 } else { 600.0 }, -60.0]
    }

    const PLAIN_SCALES: [f64; 2] = [0.0, -60.0];

    const OVERFLOWS: bool = true;

    #[inline(always)]
    fn at_both<S: Simd>((first, second): Sums<f64, S>, [up, down]: [f64; 2]) -> Sums<f64, S> {
        let finite = Self::finite::<S>(first);
        let [hi, lo] = [times_power(None, first.hi, down - up), times_power(None, first.lo, down - up)];
        (first, Word::select(finite, Word { hi, lo }, second))
    }

    #[inline(always)]
    fn centred<S: Simd>(
        y: Option<Vector<f64, S>>,
        g: Vector<f64, S>,
        sums: Sums<f64, S>,
        temperature: Option<f64>,
    ) -> Vector<f64, S> {
        let [up, down] = Self::scales(temperature);
        let cooling = Cooling::new(temperature);
        let d = (g * power(up as i64) - sums.0.hi) - sums.0.lo;
        let mut v = times_power(y, d, -(up + cooling.exponent));
        let beyond = !d.is_finite();
        if beyond.any() {
            let d = (g * power(down as i64) - sums.1.hi) - sums.1.lo;
            v = beyond.select(times_power(y, d, -(down + cooling.exponent)), v);
        }
        cooled(v, cooling.rest)
    }

    #[inline(always)]
    fn finite<S: Simd>(sum: Self::Acc<S>) -> Mask<f64, S> {
        let zero = (sum.hi + sum.lo) * 0.0;
        zero.eq(zero)
    }

    #[inline(always)]
    fn rounded<S: Simd>(sums: Sums<f64, S>, temperature: Option<f64>) -> Vector<f64, S> {
        let cooling = Cooling::new(temperature);
        let [first, second] = [sums.0.hi + sums.0.lo, sums.1.hi + sums.1.lo];
        let [up, down] = Self::scales(temperature);
        let v = first.is_finite().select(
            times_power(None, first, -(up + cooling.exponent)),
            times_power(None, second, -(down + cooling.exponent)),
        );
        cooled(v, cooling.rest)
    }

    #[inline(always)]
    fn half<S: Simd>((sum, _): Sums<f64, S>) -> Word<f64, S> {
        sum.scale(Vector::splat(sum.hi.s, 0.5))
    }

    #[inline(always)]
    fn less_share<S: Simd>(
        g: Vector<f64, S>,
        y: &Exp<f64, S>,
        sums: Sums<f64, S>,
        temperature: Option<f64>,
    ) -> Vector<f64, S> {
        let cooling = Cooling::new(temperature);
        // A temperature below 1 goes in before anything is lost below the normal numbers.
        let grown = cooling.exponent.min(0.0);
        let down = Self::PLAIN_SCALES[1];
        let whole = Self::finite::<S>(sums.0);
        let sum = whole.select(sums.0.hi, sums.1.hi);
        let lifted = whole.select(Vector::splat(g.s, -grown), Vector::splat(g.s, -grown - down));
        let d = times_power(None, g, -grown) - share(y, sum, lifted);
        let mut v = times_power(None, d, grown - cooling.exponent);
        let beyond = !d.is_finite();
        if beyond.any() {
            let d = g * power(down as i64) - share(y, sums.1.hi, Vector::splat(g.s, 0.0));
            v = beyond.select(times_power(None, d, -(down + cooling.exponent)), v);
        }
        cooled(v, cooling.rest)
    }
}

/// y·sum·2^exponent
#[inline(always)]
fn share<S: Simd>(y: &Exp<f64, S>, sum: Vector<f64, S>, exponent: Vector<f64, S>) -> Vector<f64, S> {
    // A larger power is that of a sum beyond 2^1024, taken at 2^−60: the product is infinite with this one too.
    let most = Vector::splat(sum.s, f64::MAGIC + 1022.0);
    let [first, second, third] = power_parts((y.z + exponent).min(most));
    y.t.mul_add(y.q, y.t) * first * sum * second * third
}

/// h·t + (h·q + l)·t: (t + t·q)·(h + l) with one rounding that counts.
#[inline(always)]
fn probability<T: Lane, S: Simd>(t: Vector<T, S>, q: Vector<T, S>, r: Word<T, S>) -> Vector<T, S> {
    r.hi.mul_add(t, r.hi.mul_add(q, r.lo) * t)
}

/// The same number in all lanes: the largest of them.
#[inline(always)]
fn largest_lane<T: Lane, S: Simd>(v: Vector<T, S>) -> Vector<T, S> {
    let mut v = v;
    for distance in [8, 4, 2, 1] {
        if distance < T::LANES {
            v = v.rotate(distance).max(v);
        }
    }
    v
}

/// What is kept of the first pass over a row.
#[derive(Clone, Copy)]
pub(crate) struct Extremes<T: Lane, S: Simd> {
    /// The largest element, NaN where there is one.
    top: Vector<T, S>,
    /// The smallest one in the full registers.
    least: Vector<T, S>,
}

each_field!(Extremes { top: Vector<T, S>, least: Vector<T, S> });

/// What was seen of a row, in N parts of which none waits for another.
#[derive(Clone, Copy)]
struct Seen<T: Lane, S: Simd, const N: usize> {
    max: [Vector<T, S>; N],
    /// Of full registers.
    min: [Vector<T, S>; N],
    nan: [Mask<T, S>; N],
}

impl<T: Lane, S: Simd, const N: usize> Seen<T, S, N> {
    #[inline(always)]
    fn nothing(s: S) -> Self {
        let max = [Vector::splat(s, -T::INFINITY); N];
        Self { max, min: [Vector::splat(s, T::INFINITY); N], nan: [max[0].is_nan(); N] }
    }

    /// An even number of full registers.
    #[inline(always)]
    fn see_all<const M: usize>(&mut self, x: [Vector<T, S>; M]) {
        for i in 0..M {
            if i % 2 == 0 {
                self.nan[i % N] = self.nan[i % N] | x[i].unordered(x[i + 1]);
            }
            self.max[i % N] = x[i].max(self.max[i % N]);
            self.min[i % N] = x[i].min(self.min[i % N]);
        }
    }

    #[inline(always)]
    fn see(&mut self, x: Vector<T, S>, full: bool) {
        self.nan[0] = self.nan[0] | x.is_nan();
        self.max[0] = x.max(self.max[0]);
        if full {
            self.min[0] = x.min(self.min[0]);
        }
    }

    /// Of each lane, or of all if they are `across` a row.
    #[inline(always)]
    fn extremes(self, across: bool) -> Extremes<T, S> {
        let (mut max, mut min, mut nan) = (self.max[0], self.min[0], self.nan[0]);
        for i in 1..N {
            max = max.max(self.max[i]);
            min = min.min(self.min[i]);
            nan = nan | self.nan[i];
        }
        let none = Vector::splat(max.s, T::NAN);
        if across {
            let top = if nan.any() { none } else { largest_lane(max) };
            Extremes { top, least: -largest_lane(-min) }
        } else {
            Extremes { top: nan.select(none, max), least: min }
        }
    }
}

#[inline(always)]
fn extremes<T: SoftmaxElement, S: Simd, A: Access<T>>(s: S, a: &A) -> Extremes<T, S> {
    if S::ROOMY && !A::SINGLE { extremes_by::<T, S, A, ROOM>(s, a) } else { extremes_by::<T, S, A, 2>(s, a) }
}

/// The same, N registers at a time, an even number.
#[inline(always)]
fn extremes_by<T: SoftmaxElement, S: Simd, A: Access<T>, const N: usize>(s: S, a: &A) -> Extremes<T, S> {
    let mut seen = Seen::<T, S, N>::nothing(s);
    let j = a.visit::<S, N>(
        s,
        0,
        a.full(),
        false,
        #[inline(always)]
        |x| seen.see_all(x),
    );
    for j in j..a.steps() {
        seen.see(a.load(s, 0, j), j < a.full());
    }
    seen.extremes(A::ACROSS)
}

/// The two largest of three.
#[inline(always)]
fn with_next<T: Lane, S: Simd>([first, second]: [Vector<T, S>; 2], x: Vector<T, S>) -> [Vector<T, S>; 2] {
    [x.max(first), x.min(first).max(second)]
}

/// The second largest element of each row; the largest where it occurs twice.
#[inline(always)]
fn second_largest<T: SoftmaxElement, S: Simd, A: Access<T>>(s: S, a: &A) -> Vector<T, S> {
    let none = -T::INFINITY;
    let mut largest = [Vector::splat(s, none); 2];
    let mut j = a.visit::<S, ROOM>(
        s,
        0,
        a.full(),
        false,
        #[inline(always)]
        |x| {
            for x in x {
                largest = with_next(largest, x);
            }
        },
    );
    while j < a.steps() {
        largest = with_next(largest, a.load(s, 0, j));
        j += 1;
    }
    if A::ACROSS {
        for distance in [8, 4, 2, 1] {
            if distance < T::LANES {
                for x in largest {
                    largest = with_next(largest, x.rotate(distance));
                }
            }
        }
    }
    largest[1]
}

/// What takes the place of x in the exponentials of a row with maximum m.
trait Argument<T: SoftmaxElement>: Copy {
    /// x itself takes its place.
    const PLAIN: bool;
    /// What of the low words of arguments is not zero.
    fn low<S: Simd, const N: usize>(u: &[Word<T, S>; N]) -> Option<[Vector<T, S>; N]>;
    /// exp of what `of` gives.
    #[inline(always)]
    fn exp<S: Simd>(u: Word<T, S>) -> Exp<T, S> {
        match Self::low(&[u]) {
            None => exp(u.hi, None),
            Some([low]) => exp(u.hi, Some(low)),
        }
    }
    /// exp of what `within` gives, at the frame's power of two: relative, or `PRECISE`.
    #[inline(always)]
    fn terms<S: Simd, const N: usize, const PRECISE: bool>(
        u: [Word<T, S>; N],
        frame: &Frame<T, S>,
        between: impl FnMut(usize),
    ) -> [Term<T, S>; N] {
        let high = each(
            #[inline(always)]
            |i| u[i].hi,
        );
        if PRECISE {
            T::wide_terms(high, Self::low(&u), frame.magic, between)
        } else {
            terms::<_, _, N, true>(high, Self::low(&u), frame.magic, between)
        }
    }
    /// The argument in two words, bounded from below, given m and what is subtracted for |m| large.
    fn of<S: Simd>(self, x: Vector<T, S>, m: Vector<T, S>, shift: Vector<T, S>) -> Word<T, S>;
    /// The same as `of` with the bound of a frame.
    fn within<S: Simd>(self, x: Vector<T, S>, frame: &Frame<T, S>) -> Word<T, S>;
    /// Whether `within` gave the bound.
    #[inline(always)]
    fn is_cut<S: Simd>(self, u: Word<T, S>, frame: &Frame<T, S>) -> Mask<T, S> {
        u.hi.eq(frame.floor)
    }
    /// What `within` gives, without the bound: −∞ where it overflows.
    fn unbounded<S: Simd>(self, x: Vector<T, S>, m: Vector<T, S>) -> Word<T, S>;
    /// What is subtracted.
    fn shift<S: Simd>(self, m: Vector<T, S>) -> Vector<T, S>;
    /// m itself, divided by the temperature.
    fn maximum<S: Simd>(self, m: Vector<T, S>) -> Word<T, S>;
}

/// x itself.
#[derive(Clone, Copy)]
struct Plain;

impl<T: SoftmaxElement> Argument<T> for Plain {
    const PLAIN: bool = true;
    #[inline(always)]
    fn low<S: Simd, const N: usize>(_: &[Word<T, S>; N]) -> Option<[Vector<T, S>; N]> {
        None
    }
    #[inline(always)]
    fn of<S: Simd>(self, x: Vector<T, S>, m: Vector<T, S>, shift: Vector<T, S>) -> Word<T, S> {
        let floor = (m - shift) - T::CLIP;
        Word::exact((x - shift).max(floor))
    }
    #[inline(always)]
    fn within<S: Simd>(self, x: Vector<T, S>, frame: &Frame<T, S>) -> Word<T, S> {
        Word::exact((x - frame.shift).max(frame.floor))
    }
    #[inline(always)]
    fn unbounded<S: Simd>(self, x: Vector<T, S>, m: Vector<T, S>) -> Word<T, S> {
        finite_or_head(two_sum(x, -m))
    }
    #[inline(always)]
    fn shift<S: Simd>(self, m: Vector<T, S>) -> Vector<T, S> {
        let far = !m.abs().lt(Vector::splat(m.s, T::FAR));
        far.select(m, Vector::splat(m.s, T::zero()))
    }
    #[inline(always)]
    fn maximum<S: Simd>(self, m: Vector<T, S>) -> Word<T, S> {
        Word::exact(m)
    }
}

/// (x − m)/T in two words.
#[derive(Clone, Copy)]
struct Tempered<T> {
    /// T, or 2^64·T for a T so small that remainders of the division could underflow.
    temperature: T,
    /// 1 or 2^64.
    scale: T,
}

impl<T: SoftmaxElement> Tempered<T> {
    fn new(temperature: T) -> Self {
        let large = T::one() / T::epsilon() / T::epsilon();
        let scale = if temperature * large * large < T::one() { large } else { T::one() };
        Self { temperature: temperature * scale, scale }
    }

    #[inline(always)]
    fn quotient<S: Simd>(self, d: Word<T, S>) -> Word<T, S> {
        let d = d.scale(Vector::splat(d.hi.s, self.scale));
        let q = d.hi / self.temperature;
        let rest = (-q).mul_add(Vector::splat(q.s, self.temperature), d.hi) + d.lo;
        // The remainder of a quotient that overflows is an infinity of the other sign.
        let low = q.is_finite().select(rest / self.temperature, Vector::splat(q.s, T::zero()));
        finite_or_head(fast_two_sum(q, low))
    }
}

/// The low word dropped where it is not finite: the high one is not, or is so large that its error could not be had.
#[inline(always)]
fn finite_or_head<T: Lane, S: Simd>(w: Word<T, S>) -> Word<T, S> {
    Word { hi: w.hi, lo: w.lo.is_finite().select(w.lo, Vector::splat(w.hi.s, T::zero())) }
}

/// The word, or `floor` where that is larger.
#[inline(always)]
fn bounded<T: Lane, S: Simd>(q: Word<T, S>, floor: Vector<T, S>) -> Word<T, S> {
    let above = floor.lt(q.hi);
    Word::select(above, q, Word::exact(floor))
}

impl<T: SoftmaxElement> Argument<T> for Tempered<T> {
    const PLAIN: bool = false;
    #[inline(always)]
    fn low<S: Simd, const N: usize>(u: &[Word<T, S>; N]) -> Option<[Vector<T, S>; N]> {
        Some(each(
            #[inline(always)]
            |i| u[i].lo,
        ))
    }
    #[inline(always)]
    fn of<S: Simd>(self, x: Vector<T, S>, m: Vector<T, S>, _: Vector<T, S>) -> Word<T, S> {
        bounded(self.unbounded(x, m), Vector::splat(x.s, -T::CLIP))
    }
    #[inline(always)]
    fn within<S: Simd>(self, x: Vector<T, S>, frame: &Frame<T, S>) -> Word<T, S> {
        bounded(self.unbounded(x, frame.m), frame.floor)
    }
    #[inline(always)]
    fn unbounded<S: Simd>(self, x: Vector<T, S>, m: Vector<T, S>) -> Word<T, S> {
        // x − m may overflow where a temperature above 1 brings the quotient back.
        let quarter = T::HALF * T::HALF;
        let down = if self.temperature > T::one() { quarter } else { T::one() };
        let up = Vector::splat(x.s, T::one() / down);
        let q = self.quotient(finite_or_head(two_sum(x * down, -(m * down)))).scale(up);
        // A quotient that overflows leaves NaN in the low sum of its parts.
        let far = (x - m).lt(Vector::splat(x.s, T::zero())) & !q.hi.is_finite();
        let none = Vector::splat(x.s, -T::INFINITY);
        Word { hi: far.select(none, q.hi), lo: far.select(Vector::splat(x.s, T::zero()), q.lo) }
    }
    #[inline(always)]
    fn shift<S: Simd>(self, m: Vector<T, S>) -> Vector<T, S> {
        m
    }
    #[inline(always)]
    fn maximum<S: Simd>(self, m: Vector<T, S>) -> Word<T, S> {
        self.quotient(Word::exact(m))
    }
}

/// What brings the elements of a row with maximum m into range.
#[derive(Clone, Copy)]
pub struct Frame<T: Lane, S: Simd> {
    m: Vector<T, S>,
    /// What is subtracted, where |m| is large.
    shift: Vector<T, S>,
    /// The lower bound of what takes the place of x: what is below leaves no trace in a sum.
    floor: Vector<T, S>,
    /// The exponent that terms are relative to, that of exp m.
    k: Vector<T, S>,
    /// MAGIC − k + LIFT: terms are multiplied by 2^(LIFT − k).
    magic: Vector<T, S>,
}

each_field!(Frame {
    m: Vector<T, S>,
    shift: Vector<T, S>,
    floor: Vector<T, S>,
    k: Vector<T, S>,
    magic: Vector<T, S>
});

impl<T: SoftmaxElement, S: Simd> Frame<T, S> {
    #[inline(always)]
    fn new<G: Argument<T>>(g: G, m: Vector<T, S>) -> Self {
        Self::relative_to(g, m, m)
    }

    /// Terms relative to the exponent of exp x instead, x ≤ m.
    #[inline(always)]
    fn relative_to<G: Argument<T>>(g: G, m: Vector<T, S>, x: Vector<T, S>) -> Self {
        let shift = g.shift(m);
        let top = g.of(x, m, shift).hi;
        let k = exponent(top).floor_magic() - T::MAGIC;
        let magic = Vector::splat(x.s, T::MAGIC + T::LIFT) - k;
        Self { m, shift, floor: top - T::NEAR_CLIP, k, magic }
    }
}

/// Registers that are worked on side by side where there is room.
const ROOM: usize = 4;

/// The sum of a row's terms, with `REST` of those that are not above `cut`. `PRECISE` where a logarithm is taken of it.
struct Terms<'a, T: Lane, S: Simd, G, const PRECISE: bool, const REST: bool> {
    argument: G,
    frame: &'a Frame<T, S>,
    cut: Vector<T, S>,
    /// Whether q of the terms is stored.
    keep_q: bool,
    tame: bool,
}

impl<T: SoftmaxElement, S: Simd, G: Argument<T>, const PRECISE: bool, const REST: bool>
    Terms<'_, T, S, G, PRECISE, REST>
{
    /// Adds the terms of N registers, to the third word too if they are of `MANY`, and returns them.
    #[inline(always)]
    fn add<const N: usize, const TAME: bool, const MANY: bool>(
        &self,
        x: [Vector<T, S>; N],
        sums: &mut TermSums<T, S, N>,
    ) -> [Term<T, S>; N] {
        let terms = G::terms::<S, N, PRECISE>(
            self.within::<N, TAME>(x),
            self.frame,
            #[inline(always)]
            |n| sums.step(n, MANY),
        );
        sums.next(terms, MANY);
        terms
    }

    /// The totals; that of a contiguous row in all lanes.
    #[inline(always)]
    fn total<A: Access<T>, const MANY: bool>(&self, a: &mut A) -> T::Totals<S> {
        let mut totals = T::none(self.frame.m.s);
        self.sum::<A, MANY>(a, 0..a.steps(), &mut totals);
        joined::<T, S, A>(totals, MANY)
    }

    /// The same of long rows.
    #[inline(always)]
    fn total_of_long<A: Access<T>>(&self, a: &mut A) -> T::Totals<S> {
        let s = self.frame.m.s;
        let (mut totals, end) = (T::none(s), a.steps());
        // Whole groups of registers.
        let trial = end / TRIAL / ROOM * ROOM;
        self.sum::<A, false>(a, 0..trial, &mut totals);
        let many = will_be_coarse::<T, S>(s, joined::<T, S, A>(totals, false), a.most(), TRIAL as f64);
        if many {
            totals = self.total::<A, true>(a);
        } else {
            self.sum::<A, false>(a, trial..end, &mut totals);
            totals = joined::<T, S, A>(totals, false);
        }
        self.refined(a, totals, many, self.tame)
    }

    /// The totals with a third word where it counts; they have it everywhere if they are of `many` terms, else nowhere.
    /// Of a `tame` row, full registers hold terms alone.
    #[inline(always)]
    fn refined<A: Access<T>>(&self, a: &mut A, totals: T::Totals<S>, many: bool, tame: bool) -> T::Totals<S> {
        let s = self.frame.m.s;
        let two = T::shortened(totals, T::array(T::zero()));
        let row = T::row(s, two);
        if T::coarse(row, [a.most(); MOST_ROWS], 1.0).is_none() {
            return two;
        }
        match T::coarse(row, number_of_terms(s, a, if tame { a.full() } else { 0 }), 1.0) {
            None => two,
            Some(lanes) if many => T::shortened(totals, lanes),
            Some(lanes) => T::shortened(self.total::<A, true>(a), lanes),
        }
    }

    /// Adds a part of a contiguous row to the totals, and sees what it holds.
    #[inline(always)]
    fn sum_and_see<A: Access<T>, const TAME: bool, const MANY: bool>(
        &self,
        a: &A,
        part: Range<usize>,
        seen: &mut Seen<T, S, 1>,
        totals: &mut T::Totals<S>,
    ) {
        let s = self.frame.m.s;
        let mut sums = TermSums::new([Term::none(s, PRECISE && T::WIDE); ROOM]);
        // Copies: what is behind a reference is looked at again for every register.
        let mut now = *seen;
        a.visit::<S, ROOM>(
            s,
            part.start,
            part.end,
            false,
            #[inline(always)]
            |x| {
                now.see_all(x);
                self.add::<ROOM, TAME, MANY>(x, &mut sums);
            },
        );
        sums.finish(MANY, totals);
        *seen = now;
    }

    /// Adds the terms of full registers, as far as there is a loop without a branch for them, and returns the next one.
    #[inline(always)]
    fn add_full<A: Access<T>, const N: usize, const TAME: bool, const MANY: bool>(
        &self,
        a: &mut A,
        full: Range<usize>,
        sums: &mut TermSums<T, S, N>,
    ) -> usize {
        let (s, j, end) = (self.frame.m.s, full.start, full.end);
        // Kept for the third pass if the row has no more of them than there is room for.
        let gains = if S::ROOMY { !PRECISE && a.in_place() } else { !(PRECISE && T::WIDE) };
        if gains && a.room() > 0 && !MANY {
            if S::ROOMY {
                return a.keep::<S, N>(
                    s,
                    full,
                    self.keep_q,
                    #[inline(always)]
                    |x| self.both_of::<N, TAME>(x, self.add::<N, TAME, MANY>(x, sums)),
                );
            }
            let mut j = j;
            while j + N <= end {
                j = self.add_apart::<A, N, TAME>(a, j..end.min(j + a.room()), sums);
            }
            j
        } else if self.keep_q && !MANY {
            a.replace::<S, N>(
                s,
                j,
                end,
                true,
                #[inline(always)]
                |x, _| kept_of(self.add::<N, TAME, MANY>(x, sums)),
            )
        } else {
            a.visit::<S, N>(
                s,
                j,
                end,
                true,
                #[inline(always)]
                |x| {
                    self.add::<N, TAME, MANY>(x, sums);
                },
            )
        }
    }

    /// Adds the terms of a part of a row, all exponentials before the sums: where registers are few, that is faster than the
    /// two beside each other.
    #[inline(always)]
    fn add_apart<A: Access<T>, const N: usize, const TAME: bool>(
        &self,
        a: &mut A,
        part: Range<usize>,
        sums: &mut TermSums<T, S, N>,
    ) -> usize {
        let s = self.frame.m.s;
        let next = a.keep::<S, N>(
            s,
            part.clone(),
            self.keep_q,
            #[inline(always)]
            |x| {
                let terms = G::terms::<S, N, PRECISE>(self.within::<N, TAME>(x), self.frame, |_| ());
                self.both_of::<N, TAME>(x, terms)
            },
        );
        a.visit_kept::<S, N>(
            s,
            part.start..next,
            self.keep_q,
            #[inline(always)]
            |[t, rest]| {
                sums.at_once(each(
                    #[inline(always)]
                    |i| Term { t: t[i], rest: rest[i], low: None },
                ));
            },
        );
        next
    }

    /// What takes the place of elements; of tame ones, they themselves.
    #[inline(always)]
    fn within<const N: usize, const TAME: bool>(&self, x: [Vector<T, S>; N]) -> [Word<T, S>; N] {
        let none = Vector::splat(self.frame.m.s, -T::INFINITY);
        each(
            #[inline(always)]
            |i| {
                if TAME {
                    return Word::exact(x[i]);
                }
                let x = if REST { self.cut.lt(x[i]).select(none, x[i]) } else { x[i] };
                self.argument.within(x, self.frame)
            },
        )
    }

    /// Both parts of their terms, 0 where these are cut off: no sum has a trace of them.
    #[inline(always)]
    fn both_of<const N: usize, const TAME: bool>(
        &self,
        x: [Vector<T, S>; N],
        terms: [Term<T, S>; N],
    ) -> [[Vector<T, S>; N]; 2] {
        let (u, zero) = (self.within::<N, TAME>(x), Vector::splat(self.frame.m.s, T::zero()));
        let t = each(
            #[inline(always)]
            |i| {
                let t = terms[i].t;
                if TAME { t } else { self.argument.is_cut(u[i], self.frame).select(zero, t) }
            },
        );
        [t, kept_of(terms)]
    }

    /// Adds a part of the row to the totals of the lanes, whole groups of `ROOM` registers or its end; to the third word too if
    /// there are `MANY` terms.
    #[inline(always)]
    fn sum<A: Access<T>, const MANY: bool>(&self, a: &mut A, part: Range<usize>, totals: &mut T::Totals<S>) {
        if S::ROOMY && !A::SINGLE {
            self.sum_by::<A, ROOM, MANY>(a, part, totals);
        } else if PRECISE && !A::ACROSS && !REST {
            // With one the sums are kept in memory, and wait for it.
            self.sum_by::<A, 2, MANY>(a, part, totals);
        } else {
            self.sum_by::<A, 1, MANY>(a, part, totals);
        }
    }

    /// The same, N registers at a time.
    #[inline(always)]
    fn sum_by<A: Access<T>, const N: usize, const MANY: bool>(
        &self,
        a: &mut A,
        part: Range<usize>,
        totals: &mut T::Totals<S>,
    ) {
        let s = self.frame.m.s;
        let mut start = part.start;
        while start < part.end {
            let end = part.end.min(start + T::MOST);
            let mut sums = TermSums::new([Term::none(s, PRECISE && T::WIDE); N]);
            let mut j = start;
            if G::PLAIN && !REST {
                let full = j..end.min(a.full());
                j = if self.tame {
                    self.add_full::<A, N, true, MANY>(a, full, &mut sums)
                } else {
                    self.add_full::<A, N, false, MANY>(a, full, &mut sums)
                };
            }
            if S::ROOMY && REST {
                j = a.visit::<S, N>(
                    s,
                    j,
                    end.min(a.full()),
                    false,
                    #[inline(always)]
                    |x| {
                        self.add::<N, false, MANY>(x, &mut sums);
                    },
                );
            }
            while j < end {
                // What registers beyond the end hold is too small to be seen.
                let terms = self.add::<N, false, MANY>(a.loads_or(s, 0, j, -T::INFINITY), &mut sums);
                if self.keep_q && !MANY {
                    a.stores_within::<S, N>(j, kept_of(terms));
                }
                j += N;
            }
            sums.finish(MANY, totals);
            start = end;
        }
    }
}

/// What is kept of terms.
#[inline(always)]
fn kept_of<T: Lane, S: Simd, const N: usize>(terms: [Term<T, S>; N]) -> [Vector<T, S>; N] {
    each(
        #[inline(always)]
        |i| terms[i].rest,
    )
}

/// How many terms the row of each lane has, of which there are so many `full` registers at the beginning. What is −∞ is none:
/// absent elements change no bit.
#[inline(always)]
fn number_of_terms<T: SoftmaxElement, S: Simd, A: Access<T>>(s: S, a: &A, full: usize) -> [usize; MOST_ROWS] {
    let none = Vector::splat(s, -T::INFINITY);
    let [zero, one] = [Vector::splat(s, T::zero()), Vector::splat(s, T::one())];
    let mut terms = [0; MOST_ROWS];
    terms[..T::LANES].fill(full);
    let mut start = full;
    while start < a.steps() {
        let end = a.steps().min(start + T::MOST);
        let mut counts = zero;
        for j in start..end {
            counts = counts + none.lt(a.load(s, 0, j)).select(one, zero);
        }
        for (all, count) in terms.iter_mut().zip(counts.to_array().as_ref()) {
            *all += count.to_usize().unwrap_or(0);
        }
        start = end;
    }
    if A::ACROSS { [terms.iter().sum(); MOST_ROWS] } else { terms }
}

/// The sum of each row, `PRECISE` where a logarithm is taken of it.
#[inline(always)]
fn sum_of<T: SoftmaxElement, S: Simd, A: Access<T>, G: Argument<T>, const PRECISE: bool>(
    s: S,
    a: &mut A,
    g: G,
    Head { frame, tame, .. }: &Head<T, S>,
    keep_q: bool,
) -> T::Row<S> {
    let terms = Terms::<_, _, _, PRECISE, false> { argument: g, frame, cut: frame.m, keep_q, tame: tame.all };
    T::row(s, terms.total::<A, false>(a))
}

/// The totals of a contiguous row in all lanes, or those of other rows.
#[inline(always)]
fn joined<T: SoftmaxElement, S: Simd, A: Access<T>>(totals: T::Totals<S>, many: bool) -> T::Totals<S> {
    if A::ACROSS { T::joined(totals, many) } else { totals }
}

/// Whether the sum of so many terms is likely to need a third word, given that of one in so many `parts`: to have one for
/// nothing costs less than to sum again.
#[inline(always)]
fn will_be_coarse<T: SoftmaxElement, S: Simd>(s: S, totals: T::Totals<S>, terms: usize, parts: f64) -> bool {
    let row = T::row(s, totals);
    T::coarse(row, [4 * terms; MOST_ROWS], parts).is_some()
}

/// The sum of the terms of a row, of registers from one on to another, had in the first pass.
#[derive(Clone, Copy)]
pub(crate) struct Begun<T: Accumulate> {
    registers: [usize; 2],
    sum: T::Exact,
    many: bool,
}

/// Registers of a row that are seen before they are summed for good: no more terms than [`Accumulate::MOST`].
const PART: usize = 512;

/// The part of a row whose sum shows whether that of the row will need a third word.
const TRIAL: usize = 32;

/// How often a sum is begun in the first pass.
const BEGINNINGS: usize = 16;

/// The first pass over a long row. Beyond the cache what is read for the maximum is summed at once, relative to the
/// maximum of what was read before: where that turns out to have another exponent the sum begins anew, and what was summed
/// is left for the second pass. Out of line, as the view of the row is handed on.
#[inline(always)]
fn begin<T: SoftmaxElement, S: Simd, A: Access<T>, G: Argument<T>, const PRECISE: bool>(
    s: S,
    a: &mut A,
    g: G,
) -> (Extremes<T, S>, Option<Begun<T>>) {
    s.apart(
        #[inline(always)]
        || {
            if S::ROOMY && A::ACROSS && G::PLAIN && a.steps() > BEYOND {
                let begun = begin_here::<T, S, A, G, PRECISE>(s, a, g);
                if let Some((all, begun)) = begun {
                    return (all, Some(begun));
                }
            }
            (extremes(s, a), None)
        },
    )
}

/// None if it would begin too often.
#[inline(always)]
fn begin_here<T: SoftmaxElement, S: Simd, A: Access<T>, G: Argument<T>, const PRECISE: bool>(
    s: S,
    a: &A,
    g: G,
) -> Option<(Extremes<T, S>, Begun<T>)> {
    let end = a.full() / ROOM * ROOM;
    let mut seen = Seen::nothing(s);
    for j in (0..PART).chain(end..a.steps()) {
        seen.see(a.load(s, 0, j), j < a.full());
    }
    let mut head = Head::new(g, seen.extremes(true));
    let (mut totals, mut start) = (T::none(s), 0);
    let (mut from, mut beginnings, mut many) = (0, 1, false);
    let trial = end / TRIAL / PART * PART;
    while start < end {
        let next = end.min(start + PART);
        let Head { frame, tame: Tame { all: tame, .. }, .. } = head;
        let terms = Terms::<_, _, _, PRECISE, false> {
            argument: g,
            frame: &frame,
            cut: frame.m,
            keep_q: false,
            tame,
        };
        let (part, mut sum) = (start..next, totals);
        match (tame, many) {
            (true, false) => terms.sum_and_see::<A, true, false>(a, part, &mut seen, &mut sum),
            (false, false) => terms.sum_and_see::<A, false, false>(a, part, &mut seen, &mut sum),
            (true, true) => terms.sum_and_see::<A, true, true>(a, part, &mut seen, &mut sum),
            (false, true) => terms.sum_and_see::<A, false, true>(a, part, &mut seen, &mut sum),
        }
        head = Head::new(g, seen.extremes(true));
        if !(head.frame.k.eq(frame.k) & head.frame.shift.eq(frame.shift)).any() {
            (totals, from, many, beginnings) = (T::none(s), start, false, beginnings + 1);
            if beginnings > BEGINNINGS {
                return None;
            }
        } else if head.tame.all == tame {
            (totals, start) = (sum, next);
            if start == from + trial && !many {
                many =
                    will_be_coarse::<T, S>(s, T::joined(totals, false), a.most(), end as f64 / trial as f64);
                if many {
                    (totals, from) = (T::none(s), start);
                }
            }
        }
        // Else the same part again, with what is known of it now.
    }
    let sum = T::exact(T::joined(totals, many));
    Some((seen.extremes(true), Begun { registers: [from, end], sum, many }))
}

/// The second pass over a long row: what the first has left of its sum, and one more word where that counts.
#[inline(always)]
fn sum_of_long<T: SoftmaxElement, S: Simd, A: Access<T>, G: Argument<T>, const PRECISE: bool>(
    s: S,
    a: &mut A,
    g: G,
    Head { frame, tame, .. }: Head<T, S>,
    begun: Option<Begun<T>>,
) -> T::Row<S> {
    s.apart(
        #[inline(always)]
        || {
            let (argument, cut, tame) = (g, frame.m, tame.all);
            let terms =
                Terms::<_, _, _, PRECISE, false> { argument, frame: &frame, cut, keep_q: false, tame };
            let Some(Begun { registers: [from, end], sum, many }) = begun else {
                return T::row(s, terms.total_of_long(a));
            };
            let mut rest = T::none(s);
            for part in [0..from, end..a.steps()] {
                if many {
                    terms.sum::<A, true>(a, part, &mut rest);
                } else {
                    terms.sum::<A, false>(a, part, &mut rest);
                }
            }
            let rest = T::exact(T::joined(rest, many));
            T::row(s, terms.refined(a, T::totals(s, T::both(rest, sum)), many, tame))
        },
    )
}

/// The passes over a long row of a work with an argument, whose terms are `PRECISE` or not.
macro_rules! passes_over_long {
    ($precise:literal) => {
        #[inline(always)]
        fn first_of_long<S: Simd, A: Access<T>>(
            &mut self,
            s: S,
            a: &mut A,
            _: usize,
        ) -> (Extremes<T, S>, Self::Begun) {
            begin::<_, _, _, _, $precise>(s, a, self.argument)
        }

        #[inline(always)]
        fn second_of_long<S: Simd, A: Access<T>>(
            &mut self,
            s: S,
            a: &mut A,
            _: usize,
            head: Head<T, S>,
            begun: Self::Begun,
        ) -> T::Row<S> {
            sum_of_long::<_, _, _, _, $precise>(s, a, self.argument, head, begun)
        }
    };
}

/// The sum of each row without a common factor, since `exp` has none: f32 terms are `PRECISE` for that, f64 terms need not be.
#[inline(always)]
fn absolute_sum_of<T: SoftmaxElement, S: Simd, A: Access<T>, G: Argument<T>>(
    s: S,
    a: &mut A,
    g: G,
    head: &Head<T, S>,
) -> T::Row<S> {
    if T::LOG2_F == 0.0 {
        sum_of::<_, _, _, _, false>(s, a, g, head, false)
    } else {
        sum_of::<_, _, _, _, true>(s, a, g, head, false)
    }
}

/// The same of a long row.
#[inline(always)]
fn absolute_sum_of_long<T: SoftmaxElement, S: Simd, A: Access<T>, G: Argument<T>>(
    s: S,
    a: &mut A,
    g: G,
    head: Head<T, S>,
) -> T::Row<S> {
    if T::LOG2_F == 0.0 {
        sum_of_long::<_, _, _, _, false>(s, a, g, head, None)
    } else {
        sum_of_long::<_, _, _, _, true>(s, a, g, head, None)
    }
}

/// Rows that the formula does not decide, and what they hold.
#[derive(Clone, Copy)]
pub(crate) struct Special<T: Lane, S: Simd> {
    rows: Mask<T, S>,
    value: Vector<T, S>,
}

/// Which rows are tame: nothing in their full registers needs a bound, and nothing is subtracted.
#[derive(Clone, Copy)]
pub(crate) struct Tame<T: Lane, S: Simd> {
    /// Of each row.
    lanes: Mask<T, S>,
    /// All that are at hand.
    all: bool,
}

impl<T: Lane, S: Simd> Each<T, S> for Tame<T, S> {
    type Rows = T::Array;
    #[inline(always)]
    fn rows(self) -> T::Array {
        self.lanes.rows()
    }
    #[inline(always)]
    fn put(self, rows: &mut T::Array, i: usize) {
        self.lanes.put(rows, i);
    }
    #[inline(always)]
    fn row(s: S, rows: &T::Array, i: usize) -> Self {
        Self { lanes: Each::row(s, rows, i), all: rows.as_ref()[i] == T::one() }
    }
    #[inline(always)]
    fn all(s: S, rows: &T::Array) -> Self {
        Self::of(Each::all(s, rows))
    }
    #[inline(always)]
    fn blank(s: S) -> Self {
        Self::of(Each::blank(s))
    }
}

impl<T: Lane, S: Simd> Tame<T, S> {
    #[inline(always)]
    fn of(lanes: Mask<T, S>) -> Self {
        Self { lanes, all: !(!lanes).any() }
    }
}

/// Of a row's maximum, NaN where the row has one.
#[derive(Clone, Copy)]
pub(crate) struct Head<T: Lane, S: Simd> {
    top: Vector<T, S>,
    frame: Frame<T, S>,
    tame: Tame<T, S>,
}

each_field!(Head { top: Vector<T, S>, frame: Frame<T, S>, tame: Tame<T, S> });

impl<T: SoftmaxElement, S: Simd> Head<T, S> {
    #[inline(always)]
    fn new<G: Argument<T>>(g: G, Extremes { top, least }: Extremes<T, S>) -> Self {
        let zero = Vector::splat(top.s, T::zero());
        let frame = Frame::new(g, top.is_finite().select(top, zero));
        let tame = if G::PLAIN {
            Tame::of(!(least.lt(frame.floor) | !frame.shift.eq(zero)))
        } else {
            Tame::blank(top.s)
        };
        Self { top, frame, tame }
    }

    /// Rows that the formula does not decide.
    #[inline(always)]
    fn special_rows(&self) -> Mask<T, S> {
        !self.top.is_finite()
    }

    /// NaN, then +∞, then all −∞: `empty` is what the last gives, `infinite` what +∞ does.
    #[inline(always)]
    fn special(&self, infinite: T, empty: T) -> Special<T, S> {
        let (top, s) = (self.top, self.top.s);
        let value =
            top.eq(Vector::splat(s, T::INFINITY)).select(Vector::splat(s, infinite), Vector::splat(s, empty));
        Special { rows: self.special_rows(), value: top.is_nan().select(Vector::splat(s, T::NAN), value) }
    }

    /// The maximum, 0 where it is special.
    #[inline(always)]
    fn m(&self) -> Vector<T, S> {
        self.frame.m
    }
}

impl<T: Lane, S: Simd> Special<T, S> {
    /// Fills the row where all that the register holds is special, and nothing is to be computed.
    #[inline(always)]
    fn decides<A: Access<T>>(&self, a: &mut A) -> bool {
        let decided = A::ACROSS && self.rows.any();
        if decided {
            for j in 0..a.steps() {
                a.store(j, self.value);
            }
        }
        decided
    }
}

/// softmax of each row.
#[derive(Clone, Copy)]
struct Softmax<G, T> {
    argument: G,
    empty: T,
}

impl<T: SoftmaxElement, G: Argument<T>> Softmax<G, T> {
    /// A row beyond the cache is cheaper to compute again than to write and read once more.
    #[inline(always)]
    fn recomputes<A: Access<T>>(a: &A) -> bool {
        a.in_place() || a.steps() > CACHED
    }

    /// N registers of the result; `r` is 1/S. `settle` has the last word, given the result and x.
    #[inline(always)]
    fn divide<S: Simd, const N: usize, const TAME: bool>(
        &self,
        x: [Vector<T, S>; N],
        q: Option<[Vector<T, S>; N]>,
        frame: &Frame<T, S>,
        r: Word<T, S>,
        settle: impl Fn(Vector<T, S>, Vector<T, S>) -> Vector<T, S>,
    ) -> [Vector<T, S>; N] {
        let s = frame.m.s;
        let u: [_; N] = each(
            #[inline(always)]
            |i| if TAME { Word::exact(x[i]) } else { self.argument.within(x[i], frame) },
        );
        let terms: [_; N] = match q {
            None => G::terms::<S, N, false>(u, frame, |_| ()),
            Some(q) => {
                let inverse = Vector::splat(s, T::INV_LN2);
                each(
                    #[inline(always)]
                    |i| {
                        let z = u[i].hi.mul_add(inverse, frame.magic);
                        Term { t: table_power(z, &T::RELATIVE_POWERS), rest: q[i], low: None }
                    },
                )
            }
        };
        let down = Vector::splat(s, T::MAGIC - T::RAISE).pow2_floor();
        each(
            #[inline(always)]
            |i| {
                // What is cut off becomes 0 here, for underflow takes a hundred cycles.
                let zero = Vector::splat(s, T::zero());
                let down = if TAME { down } else { self.argument.is_cut(u[i], frame).select(zero, down) };
                settle(probability(terms[i].t, terms[i].rest, r) * down, x[i])
            },
        )
    }

    /// All registers of the result.
    #[inline(always)]
    fn divide_all<S: Simd, A: Access<T>>(
        &self,
        a: &mut A,
        head: Head<T, S>,
        r: Word<T, S>,
        settle: impl Fn(Vector<T, S>, Vector<T, S>) -> Vector<T, S> + Copy,
    ) {
        if S::ROOMY && !A::SINGLE {
            self.divide_by::<S, A, ROOM>(a, head, r, settle);
        } else {
            self.divide_by::<S, A, 1>(a, head, r, settle);
        }
    }

    /// The same, N at a time.
    #[inline(always)]
    fn divide_by<S: Simd, A: Access<T>, const N: usize>(
        &self,
        a: &mut A,
        head: Head<T, S>,
        r: Word<T, S>,
        settle: impl Fn(Vector<T, S>, Vector<T, S>) -> Vector<T, S> + Copy,
    ) {
        let s = r.hi.s;
        let mut j = 0;
        if G::PLAIN {
            j = if head.tame.all {
                self.divide_full::<S, A, N, true>(a, &head.frame, r, settle)
            } else {
                self.divide_full::<S, A, N, false>(a, &head.frame, r, settle)
            };
        }
        let again = Self::recomputes(a);
        while j < a.steps() {
            let x = a.loads_or(s, 0, j, -T::INFINITY);
            let q = if again { None } else { Some(a.stored_within(s, j)) };
            let y = self.divide::<S, N, false>(x, q, &head.frame, r, settle);
            a.stores_within::<S, N>(j, y);
            j += N;
        }
    }

    /// Full registers of the result, as far as there is a loop without a branch for them; returns the next one.
    #[inline(always)]
    fn divide_full<S: Simd, A: Access<T>, const N: usize, const TAME: bool>(
        &self,
        a: &mut A,
        frame: &Frame<T, S>,
        r: Word<T, S>,
        settle: impl Fn(Vector<T, S>, Vector<T, S>) -> Vector<T, S> + Copy,
    ) -> usize {
        // Copies: what is behind a reference is looked at again for every register.
        let (this, s, frame, full) = (*self, r.hi.s, *frame, a.full());
        if full <= a.room() {
            // Along a row there is nothing left to be settled.
            let down = Vector::splat(s, T::MAGIC - T::RAISE).pow2_floor();
            a.replace_kept::<S, N>(
                s,
                0..full,
                #[inline(always)]
                |[t, q]| {
                    each(
                        #[inline(always)]
                        |i| probability(t[i], q[i], r) * down,
                    )
                },
            )
        } else if Self::recomputes(a) {
            a.rewrite::<S, N>(
                s,
                0,
                full,
                #[inline(always)]
                |x| this.divide::<S, N, TAME>(x, None, &frame, r, settle),
            )
        } else {
            a.replace::<S, N>(
                s,
                0,
                full,
                false,
                #[inline(always)]
                |x, q| this.divide::<S, N, TAME>(x, Some(q), &frame, r, settle),
            )
        }
    }
}

impl<T: SoftmaxElement, G: Argument<T>> Work<T> for Softmax<G, T> {
    const FILLS: [Fill; 2] = [Fill::MinusInfinity, Fill::Zero];
    const MASKS: bool = false;
    const SUMS_TERMS: bool = G::PLAIN;
    const USES_TERMS: bool = true;
    const LONG: Option<usize> = Some(CACHED * T::LANES);
    type Begun = Option<Begun<T>>;
    type First<S: Simd> = Extremes<T, S>;
    type Open<S: Simd> = Head<T, S>;
    type Second<S: Simd> = T::Row<S>;
    type Third<S: Simd> = Word<T, S>;

    #[inline(always)]
    fn first<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, _: usize) -> Extremes<T, S> {
        extremes(s, a)
    }

    #[inline(always)]
    fn open<S: Simd>(&self, _: S, first: Extremes<T, S>) -> Head<T, S> {
        Head::new(self.argument, first)
    }

    #[inline(always)]
    fn second<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        _: usize,
        head: Head<T, S>,
    ) -> Self::Second<S> {
        let keep_q = !Self::recomputes(a);
        sum_of::<_, _, _, _, false>(s, a, self.argument, &head, keep_q)
    }

    passes_over_long! { false }

    #[inline(always)]
    fn close<S: Simd>(&mut self, _: S, _: usize, _: usize, _: Head<T, S>, sum: T::Row<S>) -> Self::Third<S> {
        T::reciprocal(sum, T::RAISE)
    }

    #[inline(always)]
    fn third<S: Simd, A: Access<T>>(&mut self, _: S, a: &mut A, _: usize, head: Head<T, S>, r: Word<T, S>) {
        let special = head.special(T::NAN, self.empty);
        if special.decides(a) {
            return;
        }
        if !A::ACROSS && special.rows.any() {
            // Rare, and its own loop.
            self.divide_by::<S, A, 1>(
                a,
                head,
                r,
                #[inline(always)]
                |y, _| special.rows.select(special.value, y),
            );
        } else {
            self.divide_all(
                a,
                head,
                r,
                #[inline(always)]
                |y, _| y,
            );
        }
    }
}

/// log(Σ exp x) − m, m the maximum.
#[derive(Clone, Copy)]
pub(crate) struct Excess<T: Lane, S: Simd> {
    log: Word<T, S>,
    /// Where it is at least log 2.
    shared: Mask<T, S>,
    /// Where it is right. Elsewhere the terms without the largest are too few digits of the sum.
    right: Mask<T, S>,
}

each_field!(Excess { log: Word<T, S>, shared: Mask<T, S>, right: Mask<T, S> });

/// The part of a row's largest term from which on the sum of the others is known well enough: each of `len` terms is off by
/// 2^−45 of the largest (f64: 2^−102, and the sum in two words by 2^−95).
fn near<T: SoftmaxElement>(len: usize) -> T {
    T::from(len).map_or(T::one(), |len| (len * T::NEAR).min(T::one()))
}

/// A row's sum of terms without the largest, and that one; the lanes where the former is at least as large, and those where
/// it is at least [`near`] times as large.
pub struct Others<T: SoftmaxElement, S: Simd> {
    others: T::Row<S>,
    max: T::Row<S>,
    shared: Mask<T, S>,
    right: Mask<T, S>,
}

/// Of terms that are `PRECISE`, or not.
#[inline(always)]
fn by_largest<T: SoftmaxElement, S: Simd, G: Argument<T>, const PRECISE: bool>(
    g: G,
    Head { frame, .. }: &Head<T, S>,
    sum: T::Row<S>,
    near: T,
) -> Others<T, S> {
    let [max] = G::terms::<S, 1, PRECISE>([g.within(frame.m, frame)], frame, |_| ());
    T::others(sum, max, near)
}

impl<T: SoftmaxElement, S: Simd> Excess<T, S> {
    /// Given a sum of terms that are precise, or not.
    #[inline(always)]
    fn new<G: Argument<T>, const PRECISE: bool>(g: G, head: &Head<T, S>, sum: T::Row<S>, near: T) -> Self {
        if T::ample(sum) {
            let log = T::less(T::logarithm(sum, None, !PRECISE, &head.frame), head.m());
            let all = log.hi.eq(log.hi) | head.special_rows();
            return Self { log, shared: all, right: all };
        }
        let Others { max, shared, right, .. } = by_largest::<T, S, G, PRECISE>(g, head, sum, near);
        let log = T::less(T::logarithm(sum, Some(max), !PRECISE, &head.frame), head.m());
        Self { log, shared, right }
    }

    /// Whether it was not right in any row that matters.
    #[inline(always)]
    fn is_unsettled(&self, head: &Head<T, S>) -> bool {
        (!(self.right | head.special_rows())).any()
    }

    /// The logarithm in all lanes: where it was not right, terms are summed again.
    #[inline(always)]
    fn settled<A: Access<T>, G: Argument<T>>(self, a: &mut A, g: G, head: &Head<T, S>) -> Word<T, S> {
        let (log, right) = (self.log, self.right);
        if !self.is_unsettled(head) {
            return log;
        }
        let rest = log_rest(log.hi.s, a, g, head);
        Word::select(right, log, rest)
    }
}

/// log(Σ exp x) − m in two words where it is small: log1p of the sum without one occurrence of the
/// maximum, relative to the largest of the other terms. Out of line: the same for every operation.
#[inline(always)]
fn log_rest<T: SoftmaxElement, S: Simd, A: Access<T>, G: Argument<T>>(
    s: S,
    a: &mut A,
    g: G,
    head: &Head<T, S>,
) -> Word<T, S> {
    s.apart(
        #[inline(always)]
        || log_rest_here(s, a, g, head),
    )
}

#[inline(always)]
fn log_rest_here<T: SoftmaxElement, S: Simd, A: Access<T>, G: Argument<T>>(
    s: S,
    a: &mut A,
    g: G,
    head: &Head<T, S>,
) -> Word<T, S> {
    let none = Vector::splat(s, -T::INFINITY);
    let second = head.special_rows().select(none, second_largest(s, a));
    let alone = second.eq(none);
    let Frame { m, k, .. } = head.frame;
    let [max] = G::terms::<S, 1, true>([g.within(m, &head.frame)], &head.frame, |_| ());
    let frame = Frame::relative_to(g, m, alone.select(m, second));
    let rest =
        Terms::<_, _, _, true, true> { argument: g, frame: &frame, cut: second, keep_q: false, tame: false };
    let mut totals = if matches!(T::MANY, Some(most) if a.most() > most) {
        // So much is in one term that the others hardly do without.
        let totals = rest.total::<A, true>(a);
        rest.refined(a, totals, true, head.tame.all)
    } else {
        rest.total::<A, false>(a)
    };
    let twice = second.eq(m);
    if twice.any() {
        // Every occurrence of the maximum was added: one is taken back. The frame is the same.
        let mut part = T::none(s);
        TermSums::new([max]).finish(true, &mut part);
        let factor = twice.select(Vector::splat(s, T::one()), Vector::splat(s, T::zero()));
        totals = T::without(totals, part, factor);
    }
    T::log1p_quotient(T::row(s, totals), max, frame.k - k)
}

/// log_softmax of each row.
struct LogSoftmax<G, T> {
    argument: G,
    empty: T,
    near: T,
}

impl<T: SoftmaxElement, G: Argument<T>> Work<T> for LogSoftmax<G, T> {
    const FILLS: [Fill; 2] = [Fill::MinusInfinity, Fill::Zero];
    const MASKS: bool = false;
    const SUMS_TERMS: bool = G::PLAIN && !T::WIDE;
    const LONG: Option<usize> = Some(CACHED * T::LANES);
    type Begun = Option<Begun<T>>;
    type First<S: Simd> = Extremes<T, S>;
    type Open<S: Simd> = Head<T, S>;
    type Second<S: Simd> = T::Row<S>;
    type Third<S: Simd> = Excess<T, S>;

    #[inline(always)]
    fn first<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, _: usize) -> Extremes<T, S> {
        extremes(s, a)
    }

    #[inline(always)]
    fn open<S: Simd>(&self, _: S, first: Extremes<T, S>) -> Head<T, S> {
        Head::new(self.argument, first)
    }

    #[inline(always)]
    fn second<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        _: usize,
        head: Head<T, S>,
    ) -> Self::Second<S> {
        sum_of::<_, _, _, _, true>(s, a, self.argument, &head, false)
    }

    passes_over_long! { true }

    #[inline(always)]
    fn close<S: Simd>(
        &mut self,
        _: S,
        _: usize,
        _: usize,
        head: Head<T, S>,
        sum: T::Row<S>,
    ) -> Self::Third<S> {
        Excess::new::<_, true>(self.argument, &head, sum, self.near)
    }

    #[inline(always)]
    fn third<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        _: usize,
        head: Head<T, S>,
        excess: Excess<T, S>,
    ) {
        let special = head.special(T::NAN, self.empty);
        if special.decides(a) {
            return;
        }
        let log = excess.settled(a, self.argument, &head);
        let shared = excess.shared;
        let (g, m) = (self.argument, head.m());
        // Two words hold L well enough for results of at least log 2, unless it is large.
        let plain = shared & m.abs().lt(Vector::splat(s, T::MODERATE));
        let simple = G::PLAIN && !(!(plain | special.rows)).any();
        let none_special = A::ACROSS || !special.rows.any();
        let near = simple && head.tame.all;
        let sum = two_sum(m, log.hi);
        let l = on_grid(fast_two_sum(sum.hi, sum.lo + log.lo));
        let less = Less { argument: g, m, log, l, plain, simple };
        let mut j = 0;
        if near && none_special {
            j = a.rewrite::<S, ROOM>(
                s,
                j,
                a.full(),
                #[inline(always)]
                |x| {
                    each(
                        #[inline(always)]
                        |i| less.near(x[i]),
                    )
                },
            );
        } else if none_special {
            j = a.rewrite::<S, ROOM>(
                s,
                j,
                a.full(),
                #[inline(always)]
                |x| {
                    each(
                        #[inline(always)]
                        |i| less.of::<A>(x[i]),
                    )
                },
            );
        }
        for j in j..a.steps() {
            let y = less.of::<A>(a.load(s, 0, j));
            let y = if !none_special { special.rows.select(special.value, y) } else { y };
            a.store(j, y);
        }
    }
}

/// The same number, the first word a multiple of the last place of all elements of a tame row, which are less than twice `FAR`.
#[inline(always)]
fn on_grid<T: SoftmaxElement, S: Simd>(l: Word<T, S>) -> Word<T, S> {
    let anchor = T::FAR + T::FAR + T::FAR;
    let hi = (l.hi + anchor) - anchor;
    Word { hi, lo: (l.hi - hi) + l.lo }
}

/// What is subtracted from the elements of a row.
#[derive(Clone, Copy)]
struct Less<T: Lane, S: Simd, G> {
    argument: G,
    m: Vector<T, S>,
    log: Word<T, S>,
    /// m + log, on a grid.
    l: Word<T, S>,
    /// The lanes where that is good enough, and whether all are of that kind.
    plain: Mask<T, S>,
    simple: bool,
}

impl<T: SoftmaxElement, S: Simd, G: Argument<T>> Less<T, S, G> {
    #[inline(always)]
    fn of<A: Access<T>>(&self, x: Vector<T, S>) -> Vector<T, S> {
        if self.simple {
            return self.whole(x);
        }
        let y = self.parts(x);
        // Along a row it is all of one kind.
        if G::PLAIN && !A::ACROSS { self.plain.select(self.whole(x), y) } else { y }
    }

    /// x − m − log, or what takes the place of x, −∞ where x is −∞ or the difference overflows.
    #[inline(always)]
    fn parts(&self, x: Vector<T, S>) -> Vector<T, S> {
        let d = self.argument.unbounded(x, self.m);
        let sum = two_sum(d.hi, -self.log.hi);
        (sum.hi + (sum.lo + (d.lo - self.log.lo))).max(Vector::splat(x.s, -T::INFINITY))
    }

    /// x − l, −∞ where x is −∞ or the difference overflows.
    #[inline(always)]
    fn whole(&self, x: Vector<T, S>) -> Vector<T, S> {
        let sum = two_sum(x, -self.l.hi);
        // max turns the NaN of an infinite x into −∞.
        (sum.hi + (sum.lo - self.l.lo)).max(Vector::splat(x.s, -T::INFINITY))
    }

    /// The same for an element of a tame row. The difference plus the first word is exact: that word is no smaller than x,
    /// or a multiple of its last place.
    #[inline(always)]
    fn near(&self, x: Vector<T, S>) -> Vector<T, S> {
        let hi = x - self.l.hi;
        let lo = x - (hi + self.l.hi);
        hi + (lo - self.l.lo)
    }
}

/// logsumexp of each row, into `out`.
struct LogSumExp<'a, G, T> {
    argument: G,
    near: T,
    out: &'a mut [T],
}

impl<T: SoftmaxElement, G: Argument<T>> Work<T> for LogSumExp<'_, G, T> {
    const FILLS: [Fill; 2] = [Fill::MinusInfinity, Fill::Zero];
    const MASKS: bool = G::PLAIN;
    const EACH_ROW: bool = true;
    const SUMS_TERMS: bool = G::PLAIN && !T::WIDE;
    const LONG: Option<usize> = Some(CACHED * T::LANES);
    type Begun = Option<Begun<T>>;
    type First<S: Simd> = Extremes<T, S>;
    type Open<S: Simd> = Head<T, S>;
    type Second<S: Simd> = T::Row<S>;
    type Third<S: Simd> = Excess<T, S>;

    #[inline(always)]
    fn first<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, _: usize) -> Extremes<T, S> {
        extremes(s, a)
    }

    #[inline(always)]
    fn open<S: Simd>(&self, _: S, first: Extremes<T, S>) -> Head<T, S> {
        Head::new(self.argument, first)
    }

    #[inline(always)]
    fn second<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        _: usize,
        head: Head<T, S>,
    ) -> Self::Second<S> {
        sum_of::<_, _, _, _, true>(s, a, self.argument, &head, false)
    }

    passes_over_long! { true }

    #[inline(always)]
    fn close<S: Simd>(
        &mut self,
        _: S,
        row: usize,
        rows: usize,
        head: Head<T, S>,
        sum: T::Row<S>,
    ) -> Excess<T, S> {
        let excess = Excess::new::<_, true>(self.argument, &head, sum, self.near);
        self.write(row, rows, &head, excess.log);
        excess
    }

    #[inline(always)]
    fn third<S: Simd, A: Access<T>>(
        &mut self,
        _: S,
        a: &mut A,
        row: usize,
        head: Head<T, S>,
        excess: Excess<T, S>,
    ) {
        if excess.is_unsettled(&head) {
            let log = excess.settled(a, self.argument, &head);
            self.write(row, a.rows(), &head, log);
        }
    }
}

impl<T: SoftmaxElement, G: Argument<T>> LogSumExp<'_, G, T> {
    /// Writes the results of rows with log(Σ exp x) − m.
    #[inline(always)]
    fn write<S: Simd>(&mut self, row: usize, rows: usize, head: &Head<T, S>, log: Word<T, S>) {
        let special = head.special(T::INFINITY, -T::INFINITY);
        let max = self.argument.maximum(head.m());
        let sum = two_sum(max.hi, log.hi);
        let l = sum.hi + (sum.lo + (max.lo + log.lo));
        let l = special.rows.select(special.value, sum.hi.is_finite().select(l, sum.hi));
        l.store_first(&mut self.out[row..row + rows]);
    }
}

/// `v`, but NaN in rows that are not `sound`, and no −0.
#[inline(always)]
fn settled<T: Lane, S: Simd>(sound: Mask<T, S>, v: Vector<T, S>) -> Vector<T, S> {
    let v = sound.select(v, Vector::splat(v.s, T::NAN));
    let v = v.is_nan().select(Vector::splat(v.s, T::NAN), v);
    v + T::zero()
}

/// y_i·(g_i − Σ y_j·g_j): vjp and jvp of softmax, whose Jacobian is symmetric. Inputs: y, g.
struct SoftmaxGradient<T> {
    temperature: Option<T>,
}

impl<T: SoftmaxElement> Work<T> for SoftmaxGradient<T> {
    const FILLS: [Fill; 2] = [Fill::Zero, Fill::Zero];
    const MASKS: bool = true;
    const BETWEEN: bool = false;
    type Begun = ();
    type First<S: Simd> = ();
    type Open<S: Simd> = ();
    type Second<S: Simd> = Sums<T, S>;
    type Third<S: Simd> = Self::Second<S>;

    #[inline(always)]
    fn first<S: Simd, A: Access<T>>(&mut self, _: S, _: &mut A, _: usize) {}

    #[inline(always)]
    fn open<S: Simd>(&self, _: S, (): ()) {}

    #[inline(always)]
    fn second<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, _: usize, (): ()) -> Sums<T, S> {
        at_scales::<T, S>(
            s,
            T::scales(self.temperature),
            #[inline(always)]
            |exponent| {
                // y is at most 1 and takes a large power, g a small one.
                let up = Vector::splat(s, T::MAGIC + exponent.max(T::zero())).pow2_floor();
                let down = Vector::splat(s, T::MAGIC + exponent.min(T::zero())).pow2_floor();
                dot::<T, S>(
                    s,
                    a.steps(),
                    A::ACROSS,
                    #[inline(always)]
                    |j| (a.load(s, 0, j) * up, a.load(s, 1, j) * down),
                )
            },
        )
    }

    #[inline(always)]
    fn close<S: Simd>(
        &mut self,
        _: S,
        _: usize,
        _: usize,
        (): (),
        second: Self::Second<S>,
    ) -> Self::Third<S> {
        second
    }

    #[inline(always)]
    fn third<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, _: usize, (): (), sums: Sums<T, S>) {
        // A copy: what is behind a reference is looked at again for every register.
        let temperature = self.temperature;
        let zero = Vector::splat(s, T::zero());
        let sound = T::finite::<S>(sums.1);
        let mut j = 0;
        // A finite sum has finite terms, and no product or difference of them overflows: there is nothing but −0 to be
        // settled.
        while S::ROOMY && !T::OVERFLOWS && !(!sound).any() && j + 2 <= a.full() {
            let [y, g]: [[_; 2]; 2] = [a.loads(s, 0, j), a.loads(s, 1, j)];
            let v = each(
                #[inline(always)]
                |i| T::centred(Some(y[i]), g[i], sums, temperature) + T::zero(),
            );
            a.stores::<S, 2>(j, v);
            j += 2;
        }
        for j in j..a.steps() {
            let y = a.load(s, 0, j);
            let g = a.load(s, 1, j);
            let v = settled(sound, T::centred(Some(y), g, sums, temperature));
            a.store(j, y.eq(zero).select(zero, v));
        }
    }
}

/// exp of a log-probability, bounded from below where it has no effect.
#[inline(always)]
fn probability_of<T: SoftmaxElement, S: Simd>(log: Vector<T, S>) -> Exp<T, S> {
    exp(log.max(Vector::splat(log.s, -T::CLIP)), None)
}

/// g_i − exp(log y_i)·Σ g_j. Inputs: log y, g.
struct LogSoftmaxVjp<T> {
    temperature: Option<T>,
}

/// Which rows are what.
#[derive(Clone, Copy)]
pub(crate) struct Logs<T: Lane, S: Simd> {
    /// The sum is finite and no log-probability NaN.
    sound: Mask<T, S>,
    /// Nothing but −∞: what a policy gives for an empty row, a constant.
    constant: Mask<T, S>,
    /// Log-probabilities are in ±[`NEAR`](LogSoftmaxVjp::NEAR), or −∞, and half of the sum is in range: exponentials are
    /// normal numbers, and no difference of halves overflows.
    near: Mask<T, S>,
}

each_field!(Logs { sound: Mask<T, S>, constant: Mask<T, S>, near: Mask<T, S> });

impl<T: SoftmaxElement> LogSoftmaxVjp<T> {
    const NEAR: f64 = 80.0;

    /// g − exp(log)·sum of `near` rows; −∞ takes no share, however large the sum is.
    #[inline(always)]
    fn near_share<S: Simd, const N: usize>(
        log: [Vector<T, S>; N],
        g: [Vector<T, S>; N],
        half: Word<T, S>,
    ) -> [Vector<T, S>; N] {
        let s = half.hi.s;
        let none = Vector::splat(s, -T::INFINITY);
        let y = terms::<_, _, N, false>(log, None, Vector::splat(s, T::MAGIC), |_| ());
        each(
            #[inline(always)]
            |i| {
                let small = half.hi.mul_add(y[i].rest, half.lo) * y[i].t;
                let v = (-half.hi).mul_add(y[i].t, g[i] * T::HALF) - small;
                log[i].eq(none).select(g[i], v + v) + T::zero()
            },
        )
    }

    /// All registers of rows that are sound, not constant and `near`.
    #[inline(always)]
    fn near_rows<S: Simd, A: Access<T>, const N: usize>(a: &mut A, half: Word<T, S>) -> usize {
        let s = half.hi.s;
        let mut j = 0;
        while j + N <= a.full() {
            let v = Self::near_share::<S, N>(a.loads(s, 0, j), a.loads(s, 1, j), half);
            a.stores::<S, N>(j, v);
            j += N;
        }
        j
    }
}

impl<T: SoftmaxElement> Work<T> for LogSoftmaxVjp<T> {
    const FILLS: [Fill; 2] = [Fill::MinusInfinity, Fill::Zero];
    const MASKS: bool = true;
    const BETWEEN: bool = false;
    type Begun = ();
    type First<S: Simd> = ();
    type Open<S: Simd> = ();
    type Second<S: Simd> = (Sums<T, S>, Logs<T, S>);
    type Third<S: Simd> = Self::Second<S>;

    #[inline(always)]
    fn first<S: Simd, A: Access<T>>(&mut self, _: S, _: &mut A, _: usize) {}

    #[inline(always)]
    fn open<S: Simd>(&self, _: S, (): ()) {}

    #[inline(always)]
    fn second<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, _: usize, (): ()) -> Self::Second<S> {
        let one = Vector::splat(s, T::one());
        let none = Vector::splat(s, -T::INFINITY);
        let single = !T::OVERFLOWS && self.temperature.is_none();
        let limit = T::from(Self::NEAR).filter(|_| single).unwrap_or_else(T::max_value);
        let limit = Vector::splat(s, limit);
        let mut some = one.is_nan();
        let mut far = some;
        let sums = at_scales::<T, S>(
            s,
            T::PLAIN_SCALES,
            #[inline(always)]
            |exponent| {
                let power = Vector::splat(s, T::MAGIC + exponent).pow2_floor();
                dot::<T, S>(
                    s,
                    a.steps(),
                    A::ACROSS,
                    #[inline(always)]
                    |j| {
                        let log = a.load(s, 0, j);
                        let near = log.abs().lt(limit);
                        some = some | near;
                        far = far | !(near | log.eq(none));
                        (a.load(s, 1, j) * power, one)
                    },
                )
            },
        );
        let mut nan = one.is_nan();
        if far.any() {
            for j in 0..a.steps() {
                let log = a.load(s, 0, j);
                nan = nan | log.is_nan();
                some = some | none.lt(log);
            }
        }
        let [some, nan, far] = each(
            #[inline(always)]
            |i| {
                let rows = [some, nan, far][i];
                if A::ACROSS && rows.any() { one.eq(one) } else { rows }
            },
        );
        let near = if single { !far & T::half::<S>(sums).hi.is_finite() } else { one.is_nan() };
        (sums, Logs { sound: T::finite::<S>(sums.1) & !nan, constant: !(some | nan), near })
    }

    #[inline(always)]
    fn close<S: Simd>(
        &mut self,
        _: S,
        _: usize,
        _: usize,
        (): (),
        second: Self::Second<S>,
    ) -> Self::Third<S> {
        second
    }

    #[inline(always)]
    fn third<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        _: usize,
        (): (),
        (sums, Logs { sound, constant, near }): Self::Second<S>,
    ) {
        // A copy: what is behind a reference is looked at again for every register.
        let temperature = self.temperature;
        let none = Vector::splat(s, -T::INFINITY);
        let half = T::half::<S>(sums);
        let mut j = 0;
        if !T::OVERFLOWS && !(!(near & sound & !constant)).any() {
            j = if S::ROOMY {
                Self::near_rows::<S, A, ROOM>(a, half)
            } else {
                Self::near_rows::<S, A, 1>(a, half)
            };
        }
        for j in j..a.steps() {
            let log = a.load(s, 0, j);
            let g = a.load(s, 1, j);
            let v = T::less_share(g, &probability_of(log), sums, temperature);
            // A probability of 0 takes no share, however large the sum is.
            let mut v = log.eq(none).select(cooled(g, temperature), v);
            if !T::OVERFLOWS && near.any() {
                let [share] = Self::near_share::<S, 1>([log], [g], half);
                v = near.select(share, v);
            }
            a.store(j, constant.select(Vector::splat(s, T::zero()), settled(sound, v)));
        }
    }
}

/// v_i − Σ exp(log y_j)·v_j. Inputs: log y, v.
struct LogSoftmaxJvp<T> {
    temperature: Option<T>,
}

impl<T: SoftmaxElement> Work<T> for LogSoftmaxJvp<T> {
    const FILLS: [Fill; 2] = [Fill::MinusInfinity, Fill::Zero];
    const MASKS: bool = true;
    const BETWEEN: bool = false;
    type Begun = ();
    type First<S: Simd> = ();
    type Open<S: Simd> = ();
    type Second<S: Simd> = (Sums<T, S>, Mask<T, S>);
    type Third<S: Simd> = Self::Second<S>;

    #[inline(always)]
    fn first<S: Simd, A: Access<T>>(&mut self, _: S, _: &mut A, _: usize) {}

    #[inline(always)]
    fn open<S: Simd>(&self, _: S, (): ()) {}

    #[inline(always)]
    fn second<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, _: usize, (): ()) -> Self::Second<S> {
        let zero = Vector::splat(s, T::zero());
        let none = Vector::splat(s, -T::INFINITY);
        let mut some = none.lt(none);
        let sums = at_scales::<T, S>(
            s,
            T::scales(self.temperature),
            #[inline(always)]
            |exponent| {
                dot::<T, S>(
                    s,
                    a.steps(),
                    A::ACROSS,
                    #[inline(always)]
                    |j| {
                        let log = a.load(s, 0, j);
                        some = some | !log.eq(none);
                        let e = probability_of(log);
                        let [first, second, third] = power_parts(e.z + exponent);
                        let y = log.is_nan().select(log, e.t.mul_add(e.q, e.t) * first);
                        (y, a.load(s, 1, j) * second * third)
                    },
                )
            },
        );
        if A::ACROSS {
            some = if some.any() { zero.eq(zero) } else { some };
        }
        (sums, some)
    }

    #[inline(always)]
    fn close<S: Simd>(
        &mut self,
        _: S,
        _: usize,
        _: usize,
        (): (),
        second: Self::Second<S>,
    ) -> Self::Third<S> {
        second
    }

    #[inline(always)]
    fn third<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        _: usize,
        (): (),
        (sums, some): Self::Second<S>,
    ) {
        // A copy: what is behind a reference is looked at again for every register.
        let temperature = self.temperature;
        let zero = Vector::splat(s, T::zero());
        let sound = T::finite::<S>(sums.1);
        for j in 0..a.steps() {
            let v = T::centred(None, a.load(s, 1, j), sums, temperature);
            // Nothing but −∞ is what a policy gives for an empty row: a constant.
            a.store(j, some.select(settled(sound, v), zero));
        }
    }
}

/// exp(x_i − L)·g of the row. Inputs: x.
struct LogSumExpVjp<'a, G, T> {
    argument: G,
    upstream: &'a [T],
    temperature: Option<T>,
}

impl<T: SoftmaxElement, G: Argument<T>> Work<T> for LogSumExpVjp<'_, G, T> {
    const FILLS: [Fill; 2] = [Fill::MinusInfinity, Fill::Zero];
    const MASKS: bool = G::PLAIN;
    const LONG: Option<usize> = Some(CACHED * T::LANES);
    type Begun = ();
    type First<S: Simd> = Extremes<T, S>;
    type Open<S: Simd> = Head<T, S>;
    type Second<S: Simd> = T::Row<S>;
    type Third<S: Simd> = Word<T, S>;

    #[inline(always)]
    fn first<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, _: usize) -> Extremes<T, S> {
        extremes(s, a)
    }

    #[inline(always)]
    fn open<S: Simd>(&self, _: S, first: Extremes<T, S>) -> Head<T, S> {
        Head::new(self.argument, first)
    }

    #[inline(always)]
    fn second<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        _: usize,
        head: Head<T, S>,
    ) -> Self::Second<S> {
        absolute_sum_of(s, a, self.argument, &head)
    }

    #[inline(always)]
    fn second_of_long<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        _: usize,
        head: Head<T, S>,
        (): (),
    ) -> T::Row<S> {
        absolute_sum_of_long(s, a, self.argument, head)
    }

    #[inline(always)]
    fn close<S: Simd>(&mut self, _: S, _: usize, _: usize, _: Head<T, S>, sum: T::Row<S>) -> Self::Third<S> {
        T::reciprocal(sum, T::LIFT)
    }

    #[inline(always)]
    fn third<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, row: usize, head: Head<T, S>, r: Word<T, S>) {
        // A copy: what is behind a reference is looked at again for every register.
        let temperature = self.temperature;
        let arg = self.argument;
        let (m, special) = (head.m(), head.special(T::NAN, T::zero()));
        let Frame { k, shift, .. } = head.frame;
        let g = if A::ACROSS {
            Vector::splat(s, self.upstream[row])
        } else {
            Vector::load_first(s, &self.upstream[row..row + a.rows()], T::zero())
        };
        let zero = Vector::splat(s, T::zero());
        let nan = Vector::splat(s, T::NAN);
        let finite = g.is_finite();
        for j in 0..a.steps() {
            let x = a.load(s, 0, j);
            let u = arg.of(x, m, shift);
            let mut e = G::exp(u);
            e.z = e.z - k;
            let v = finite.select(T::scaled_probability(&e, r, g, temperature), nan);
            let v = x.eq(Vector::splat(s, -T::INFINITY)).select(zero, v);
            let v = special.rows.select(special.value, v);
            a.store(j, v + T::zero());
        }
    }
}

/// Σ exp(x_j − L)·v_j of each row, into `out`. Inputs: x, v.
struct LogSumExpJvp<'a, G, T> {
    argument: G,
    out: &'a mut [T],
    temperature: Option<T>,
}

impl<T: SoftmaxElement, G: Argument<T>> Work<T> for LogSumExpJvp<'_, G, T> {
    const FILLS: [Fill; 2] = [Fill::MinusInfinity, Fill::Zero];
    const MASKS: bool = G::PLAIN;
    const EACH_ROW: bool = true;
    const LONG: Option<usize> = Some(CACHED * T::LANES);
    type Begun = ();
    type First<S: Simd> = Extremes<T, S>;
    type Open<S: Simd> = Head<T, S>;
    type Second<S: Simd> = T::Row<S>;
    type Third<S: Simd> = Word<T, S>;

    #[inline(always)]
    fn first<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, _: usize) -> Extremes<T, S> {
        extremes(s, a)
    }

    #[inline(always)]
    fn open<S: Simd>(&self, _: S, first: Extremes<T, S>) -> Head<T, S> {
        Head::new(self.argument, first)
    }

    #[inline(always)]
    fn second<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        _: usize,
        head: Head<T, S>,
    ) -> Self::Second<S> {
        absolute_sum_of(s, a, self.argument, &head)
    }

    #[inline(always)]
    fn second_of_long<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        _: usize,
        head: Head<T, S>,
        (): (),
    ) -> T::Row<S> {
        absolute_sum_of_long(s, a, self.argument, head)
    }

    #[inline(always)]
    fn close<S: Simd>(&mut self, _: S, _: usize, _: usize, _: Head<T, S>, sum: T::Row<S>) -> Self::Third<S> {
        T::reciprocal(sum, T::LIFT)
    }

    #[inline(always)]
    fn third<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, row: usize, head: Head<T, S>, r: Word<T, S>) {
        let g = self.argument;
        let (m, special) = (head.m(), head.special(T::NAN, T::zero()));
        let Frame { k, shift, .. } = head.frame;
        let sums = at_scales::<T, S>(
            s,
            T::scales(self.temperature),
            #[inline(always)]
            |exponent| {
                dot::<T, S>(
                    s,
                    a.steps(),
                    A::ACROSS,
                    #[inline(always)]
                    |j| {
                        let u = g.of(a.load(s, 0, j), m, shift);
                        let e = G::exp(u);
                        let [first, second, third] = power_parts(e.z - k + exponent);
                        (probability(e.t, e.q, r) * first, a.load(s, 1, j) * second * third)
                    },
                )
            },
        );
        let v = settled(T::finite::<S>(sums.1), T::rounded(sums, self.temperature));
        let v = special.rows.select(special.value, v);
        v.store_first(&mut self.out[row..row + a.rows()]);
    }
}

/// What cross-entropy needs besides the logits. `#[inline(always)]` in every implementation.
pub(crate) trait Targets<T: Lane> {
    /// The classes of rows. One need not exist where the row's factor is NaN.
    fn classes(&self, rows: Range<usize>) -> &[usize];
    /// What the gradients of `rows` rows from `row` on are multiplied by; at most `LANES`, one a lane, 1 in the others.
    fn factors<S: Simd>(&self, s: S, row: usize, rows: usize) -> Vector<T, S>;
    /// Whether losses are to be weighted.
    fn weighted(&self) -> bool;
    /// (p − 1)·g at the class, given the loss.
    fn at_class<S: Simd>(loss: Vector<T, S>, g: Vector<T, S>) -> Vector<T, S>;
}

/// Cross-entropy with classes: L − x_t, and of ordinary rows the gradient, if it is wanted. Logits of rows that need more
/// care are left as they are: special ones, those whose factor is NaN, above 1 or tiny, and those whose loss is less than
/// a normal number, or infinite, where a weight may bring it back; whether there are any is returned. Without `x` the logits are in `grad`,
/// and overwritten.
pub(crate) fn cross_entropy<T: SoftmaxElement>(
    kernels: Kernels,
    layout: Layout,
    x: Option<&[T]>,
    targets: &impl Targets<T>,
    losses: &mut [T],
    grad: &mut [T],
    gradient: bool,
) -> bool {
    let (kept, batches) = (Kept::All, &mut Batches::none());
    let work =
        CrossEntropy { losses, targets, classes: layout.len(), near: near(layout.len()), gradient, batches };
    match x {
        Some(x) => Task::<T, _, _, false> { layout, kept, inputs: [x], out: grad, work }.on(kernels),
        None => Task::<T, _, _, true> { layout, kept, inputs: [&[]], out: grad, work }.on(kernels),
    }
    batches.left
}

struct CrossEntropy<'a, T: Lane, F> {
    losses: &'a mut [T],
    targets: &'a F,
    /// How many classes there are, and what that means for sums, see [`near`].
    classes: usize,
    near: T,
    /// Whether the gradient is wanted.
    gradient: bool,
    batches: &'a mut Batches<T>,
}

/// Batches of rows between their passes, apart from [`CrossEntropy`], which would be long to move.
struct Batches<T: Lane> {
    /// Of the one at hand: y, p·g at the class, becomes y·`keep` + `add`. That is y − g, or where p is above ½
    /// another number, NaN where it has to be taken from the loss.
    keep: T::Array,
    add: T::Array,
    /// Whether none of its rows needs care, and the sums without the largest terms are known well enough.
    ordinary: bool,
    /// Whether any row so far was left as it was.
    left: bool,
    /// Those whose losses are still to be taken, how many, and how many rows are in these and in all before.
    pending: [Option<Pending<T>>; TOGETHER],
    count: usize,
    closed: usize,
}

/// Batches whose losses are taken together: each logarithm is a dozen steps that wait for each other.
const TOGETHER: usize = 2;

/// What the losses of ordinary rows are made of, besides x_t, which is in their place: a [`Logarithm`].
#[derive(Clone, Copy)]
struct Pending<T: Lane> {
    row: usize,
    rows: usize,
    f: [[f64; 8]; 2],
    f2: [[f64; 8]; 2],
    k: [[f64; 8]; 2],
    base: T::Array,
}

impl<T: Lane> Pending<T> {
    #[inline(always)]
    fn new<S: Simd>(row: usize, rows: usize, Logarithm { f, f2, k, base }: Logarithm<T, S>) -> Self {
        let [f, f2, k] = each(
            #[inline(always)]
            |n| {
                let both = [f, f2, k][n];
                [both[0].to_array(), both[1].to_array()]
            },
        );
        Self { row, rows, f, f2, k, base: base.to_array() }
    }

    #[inline(always)]
    fn logarithm<S: Simd>(&self, s: S) -> Logarithm<T, S> {
        let [f, f2, k] = each(
            #[inline(always)]
            |n| {
                let both = [&self.f, &self.f2, &self.k][n];
                [Vector::load(s, &both[0]), Vector::load(s, &both[1])]
            },
        );
        Logarithm { f, f2, k, base: Vector::load(s, &self.base) }
    }
}

impl<T: Lane> Batches<T> {
    fn none() -> Self {
        let zero = T::array(T::zero());
        Self {
            keep: zero,
            add: zero,
            ordinary: false,
            left: false,
            pending: [None; TOGETHER],
            count: 0,
            closed: 0,
        }
    }
}

/// Takes losses.
struct Losses<'a, T: Lane> {
    pending: &'a [Option<Pending<T>>],
    losses: &'a mut [T],
}

impl<T: SoftmaxElement> Op for Losses<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for pending in self.pending.iter().flatten() {
            let losses = &mut self.losses[pending.row..pending.row + pending.rows];
            T::less(pending.logarithm(s), class_logits(s, losses)).hi.store_first(losses);
        }
    }
}

/// x_t of some rows, where no loss has taken its place.
#[inline(always)]
fn class_logits<T: Lane, S: Simd>(s: S, losses: &[T]) -> Vector<T, S> {
    // A single row may be in all lanes.
    Vector::load_first(s, losses, losses.first().copied().unwrap_or(T::zero()))
}

/// m + log − x in two words, the first rounded; infinite where m − x is.
#[inline(always)]
fn sum_less<T: SoftmaxElement, S: Simd>(m: Vector<T, S>, log: Word<T, S>, x: Vector<T, S>) -> Word<T, S> {
    let gap = finite_or_head(two_sum(m, -x));
    let sum = two_sum(gap.hi, log.hi);
    let difference = fast_two_sum(sum.hi, sum.lo + (gap.lo + log.lo));
    Word::select(gap.hi.is_finite(), difference, Word::exact(gap.hi))
}

/// A logarithm that is to be taken: base + log(1 + f) + k·log 2, with 2 + f times the same number as f. Of f64 rows each is
/// two words, of f32 rows one number for each half of the lanes.
#[derive(Clone, Copy)]
pub struct Logarithm<T: Lane, S: Simd> {
    f: [Vector<f64, S>; 2],
    f2: [Vector<f64, S>; 2],
    k: [Vector<f64, S>; 2],
    base: Vector<T, S>,
}

/// The rows with these losses and factors that are left as they are; ignored ones too, by their factor.
#[inline(always)]
pub(crate) fn left_as_they_are<T: Lane, S: Simd>(
    loss: Vector<T, S>,
    factor: Vector<T, S>,
    weighted: bool,
) -> Mask<T, S> {
    // Less than a normal number, and of few digits before the weight.
    let tiny = loss.lt(Vector::splat(loss.s, T::min_positive_value()));
    let unknown = if weighted { !loss.is_finite() } else { loss.is_nan() };
    tiny | unknown | needs_care(factor)
}

/// Whether what softmax leaves out could count with this factor, or a subnormal low word.
#[inline(always)]
fn needs_care<T: Lane, S: Simd>(factor: Vector<T, S>) -> Mask<T, S> {
    let s = factor.s;
    let [zero, one] = [Vector::splat(s, T::zero()), Vector::splat(s, T::one())];
    let size = factor.abs();
    let tiny = size.lt(Vector::splat(s, T::epsilon() * T::epsilon())) & zero.lt(size);
    tiny | one.lt(size) | size.is_nan()
}

impl<T: SoftmaxElement, F: Targets<T>> CrossEntropy<'_, T, F> {
    /// Puts the logits of the classes in the places of the losses.
    #[inline(always)]
    fn read_classes<A: Access<T>>(&mut self, a: &A, row: usize) {
        let rows = row..row + a.rows();
        let targets = self.targets.classes(rows.clone());
        for (r, (loss, &class)) in self.losses[rows].iter_mut().zip(targets).enumerate() {
            *loss = if class < self.classes { a.element(r, class) } else { T::zero() };
        }
    }
}

impl<T: SoftmaxElement, F: Targets<T>> Work<T> for CrossEntropy<'_, T, F> {
    const FILLS: [Fill; 2] = [Fill::MinusInfinity, Fill::Zero];
    const MASKS: bool = false;
    const EACH_ROW: bool = true;
    const SUMS_TERMS: bool = true;
    const USES_TERMS: bool = true;
    // Rows are read alone, and the logarithm between the passes is most of what they cost besides.
    const BATCH: usize = 8192;
    const LONG: Option<usize> = Some(CACHED * T::LANES);
    type Begun = Option<Begun<T>>;
    type First<S: Simd> = Extremes<T, S>;
    type Open<S: Simd> = Head<T, S>;
    type Second<S: Simd> = T::Row<S>;
    type Third<S: Simd> = Share<T, S>;

    #[inline(always)]
    fn first<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, row: usize) -> Extremes<T, S> {
        self.read_classes(a, row);
        extremes(s, a)
    }

    #[inline(always)]
    fn open<S: Simd>(&self, _: S, first: Extremes<T, S>) -> Head<T, S> {
        Head::new(Plain, first)
    }

    #[inline(always)]
    fn second<S: Simd, A: Access<T>>(&mut self, s: S, a: &mut A, _: usize, head: Head<T, S>) -> T::Row<S> {
        let keep_q = self.gradient && !Softmax::<Plain, T>::recomputes(a);
        sum_of::<_, _, _, _, false>(s, a, Plain, &head, keep_q)
    }

    #[inline(always)]
    fn first_of_long<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        row: usize,
    ) -> (Extremes<T, S>, Self::Begun) {
        self.read_classes(a, row);
        begin::<_, _, _, _, false>(s, a, Plain)
    }

    #[inline(always)]
    fn second_of_long<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        _: usize,
        head: Head<T, S>,
        begun: Self::Begun,
    ) -> T::Row<S> {
        sum_of_long::<_, _, _, _, false>(s, a, Plain, head, begun)
    }

    #[inline(always)]
    fn close<S: Simd>(
        &mut self,
        s: S,
        row: usize,
        rows: usize,
        head: Head<T, S>,
        sum: T::Row<S>,
    ) -> Share<T, S> {
        let zero = Vector::splat(s, T::zero());
        let g = self.targets.factors(s, row, rows) + zero;
        let r = if self.gradient { T::reciprocal(sum, T::RAISE).mul_one(g) } else { Word::exact(zero) };
        let special = head.special_rows();
        let mut care = special | needs_care(g);
        if self.targets.weighted() {
            // The logarithm has no part in a loss that overflows.
            let x = class_logits(s, &self.losses[row..row + rows]);
            care = care | !(head.m() - x).is_finite();
        }
        let mut settled = zero.eq(zero);
        let mut ordinary = !care.any();
        let mut keep = Vector::splat(s, T::one());
        let mut add = -g;
        let l;
        if ordinary && T::ample(sum) {
            l = T::logarithm(sum, None, true, &head.frame);
        } else {
            let Others { others, max, shared, right } =
                by_largest::<_, _, _, false>(Plain, &head, sum, self.near);
            settled = right | special;
            ordinary = !(!right | care).any();
            if self.gradient {
                // The class is the maximum, and p above ½: as p − 1 it would cancel.
                let top = class_logits(s, &self.losses[row..row + rows]).eq(head.m()) & !shared;
                let rest = right.select(-T::complement(others, r), Vector::splat(s, T::NAN));
                (keep, add) = (top.select(zero, keep), top.select(rest, add));
            }
            l = T::logarithm(sum, Some(max), true, &head.frame);
        }
        let batches = &mut *self.batches;
        (batches.keep, batches.add, batches.ordinary) = (keep.to_array(), add.to_array(), ordinary);
        batches.closed += rows;
        let Batches { pending, count, closed, .. } = batches;
        if ordinary {
            pending[*count] = Some(Pending::new(row, rows, l));
            *count += 1;
        }
        if *count == TOGETHER || *closed == self.losses.len() {
            s.vectorize(Losses { pending: &pending[..*count], losses: self.losses });
            *count = 0;
        }
        if !ordinary {
            self.write(
                row,
                rows,
                &head,
                settled,
                #[inline(always)]
                |x| T::less(l, x).hi,
            );
        }
        Share { r, care, settled }
    }

    #[inline(always)]
    fn third<S: Simd, A: Access<T>>(
        &mut self,
        s: S,
        a: &mut A,
        row: usize,
        head: Head<T, S>,
        Share { r, mut care, settled }: Share<T, S>,
    ) {
        let these = !settled;
        if these.any() {
            let log = log_rest(s, a, Plain, &head);
            let loss = self.write(
                row,
                a.rows(),
                &head,
                these,
                #[inline(always)]
                |x| sum_less(head.m(), log, x).hi,
            );
            // Other losses are at least log1p of `near`.
            care = care | (these & loss.lt(Vector::splat(s, T::min_positive_value())));
        }
        if !self.gradient {
            return;
        }
        let some = care.any();
        if A::ACROSS && some {
            for j in 0..if a.in_place() { 0 } else { a.steps() } {
                let x = a.load(s, 0, j);
                a.store(j, x);
            }
            return;
        }
        if some {
            // Rare, and its own loop.
            Self::SOFTMAX.divide_by::<S, A, 1>(
                a,
                head,
                r,
                #[inline(always)]
                |y, x| care.select(x, y),
            );
        } else {
            Self::SOFTMAX.divide_all(
                a,
                head,
                r,
                #[inline(always)]
                |y, _| y,
            );
        }
        // A negative factor, which is rare, leaves −0 where p is 0 or the product underflows.
        let zero = Vector::splat(s, T::zero());
        if r.hi.lt(zero).any() {
            for j in 0..a.steps() {
                let y = a.stored(s, j) + zero;
                a.store(j, y);
            }
        }
    }

    #[inline(always)]
    fn finish<S: Simd>(&mut self, s: S, row: usize, out: &mut [T], block: Block) {
        let rows = row..row + block.rows;
        let classes = self.targets.classes(rows.clone()).iter().enumerate();
        let Batches { keep, add, ordinary, left, .. } = &mut *self.batches;
        if *ordinary {
            if self.gradient {
                for (((r, &class), &keep), &add) in classes.zip(keep.as_ref()).zip(add.as_ref()) {
                    let y = &mut out[block.index(r, class)];
                    *y = *y * keep + add;
                }
            }
            return;
        }
        let g = self.targets.factors(s, row, block.rows);
        let loss = Vector::load_first(s, &self.losses[rows], T::one());
        let these = left_as_they_are(loss, g, self.targets.weighted());
        *left |= these.any();
        if !self.gradient {
            return;
        }
        let mut add = Vector::load(s, add);
        let unknown = add.is_nan() & !these;
        if unknown.any() {
            // The loss has all the digits of 1 − p.
            add = unknown.select(F::at_class(loss, g), add);
        }
        let (add, these) = (add.to_array(), these.rows());
        for (((r, &class), &keep), &add) in classes.zip(keep.as_ref()).zip(add.as_ref()) {
            if these.as_ref()[r] == T::zero() {
                let y = &mut out[block.index(r, class)];
                *y = *y * keep + add;
            }
        }
    }
}

impl<T: SoftmaxElement, F: Targets<T>> CrossEntropy<'_, T, F> {
    const SOFTMAX: Softmax<Plain, T> = Softmax { argument: Plain, empty: T::NAN };

    /// Turns x_t into the loss that `loss` gives for it, in `these` of the rows.
    #[inline(always)]
    fn write<S: Simd>(
        &mut self,
        row: usize,
        rows: usize,
        head: &Head<T, S>,
        these: Mask<T, S>,
        loss: impl FnOnce(Vector<T, S>) -> Vector<T, S>,
    ) -> Vector<T, S> {
        let losses = &mut self.losses[row..row + rows];
        let x = class_logits(these.s, losses);
        let special = head.special(T::NAN, T::NAN);
        let loss = these.select(special.rows.select(special.value, loss(x)), x);
        loss.store_first(losses);
        loss
    }
}

/// What the gradient of a row needs.
#[derive(Clone, Copy)]
pub(crate) struct Share<T: Lane, S: Simd> {
    /// The row's factor over its sum.
    r: Word<T, S>,
    /// Rows that are left as they are.
    care: Mask<T, S>,
    /// Rows whose loss is written, or waits.
    settled: Mask<T, S>,
}

each_field!(Share { r: Word<T, S>, care: Mask<T, S>, settled: Mask<T, S> });

/// A work on all rows, to be compiled for each backend.
struct Task<'a, T, W, const N: usize, const IN_PLACE: bool> {
    layout: Layout,
    kept: Kept<'a>,
    inputs: [&'a [T]; N],
    out: &'a mut [T],
    work: W,
}

impl<T: SoftmaxElement, W: Work<T>, const N: usize, const IN_PLACE: bool> Task<'_, T, W, N, IN_PLACE> {
    /// By reference: a copy would wait for each field to be written, some fifteen cycles.
    fn on(mut self, kernels: Kernels) {
        Op::on(&mut self, kernels);
    }
}

impl<T: SoftmaxElement, W: Work<T>, const N: usize, const IN_PLACE: bool> Op
    for &mut Task<'_, T, W, N, IN_PLACE>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        drive::<T, S, W, N, IN_PLACE>(s, self.layout, self.kept, self.inputs, self.out, &mut self.work);
    }
}

impl Kernels {
    /// Runs the work, not in place, on the elements that take part.
    fn each_kept<T: SoftmaxElement, W: Work<T>, const N: usize>(
        self,
        kept: Kept<'_>,
        layout: Layout,
        inputs: [&[T]; N],
        out: &mut [T],
        work: W,
    ) {
        Task::<T, W, N, false> { layout, kept, inputs, out, work }.on(self);
    }
}

/// The temperature where it is not 1.
fn divisor<T: Element>(options: &SoftmaxOptions<'_, T>) -> Option<T> {
    (options.temperature != T::one()).then_some(options.temperature)
}

/// log n, rounded once.
fn log_count<T: Element>(n: usize) -> T {
    let log = log1p_word(Word::exact(Vector::splat(Scalar, n as f64 - 1.0)));
    T::from((log.hi + log.lo).to_array()[0]).unwrap_or_else(T::nan)
}

/// Zeroes the rows of `grad` whose `saved` result is constant, whatever arrives: that of a uniform policy, where an element
/// that does not take part holds something, not `nothing`; and that of a row with one element, which is `certain`.
fn clear_constant<T: Element>(
    options: &SoftmaxOptions<'_, T>,
    saved: &[T],
    layout: Layout,
    [nothing, certain]: [T; 2],
    grad: &mut [T],
) {
    let (len, inner, kept) = (layout.len(), layout.inner(), options.kept);
    if grad.is_empty() || kept == Kept::All && len > 1 {
        return;
    }
    let uniform = options.policy() == Some(EmptyRows::Uniform);
    for row in 0..layout.row_count() {
        let start = row / inner * len * inner + row % inner;
        let index = |i: usize| start + i * inner;
        let constant = |i: usize| {
            let y = saved[index(i)];
            !kept.keeps(layout, index(i)) && y != nothing && !y.is_nan()
        };
        let only = match kept {
            Kept::All => Some(0),
            Kept::Lengths(valid) => (valid[row] == 1).then_some(0),
            Kept::Mask(keep) => {
                let mut all = (0..len).filter(|&i| keep[index(i)]);
                all.next().filter(|_| all.next().is_none())
            }
        };
        if uniform && (0..len).any(constant) || only.is_some_and(|i| saved[index(i)] == certain) {
            (0..len).for_each(|i| grad[index(i)] = T::zero());
        }
    }
}

/// Runs softmax or log_softmax in place: `$work` with the argument that the options ask for.
macro_rules! in_place {
    ($self:ident, $work:ident $({ $($field:ident: $value:expr),* })?, $options:ident, $layout:ident, $data:ident, $empty:expr) => {{
        let (layout, kept, out, empty) = ($layout, Kept::All, $data, $empty);
        match divisor($options) {
            None => {
                let work = $work { argument: Plain, empty $($(, $field: $value)*)? };
                Task::<T, _, _, true> { layout, kept, inputs: [&[]], out, work }.on($self);
            }
            Some(t) => {
                let work = $work { argument: Tempered::new(t), empty $($(, $field: $value)*)? };
                Task::<T, _, _, true> { layout, kept, inputs: [&[]], out, work }.on($self);
            }
        }
        Ok(())
    }};
}

/// What an empty row holds: the value for `Zeros`, or the uniform one.
fn empty_value<T: Element>(options: &SoftmaxOptions<'_, T>, zeros: T, uniform: impl Fn() -> T) -> T {
    match options.policy() {
        None | Some(EmptyRows::Nan) => <T as Lane>::NAN,
        Some(EmptyRows::Zeros) => zeros,
        Some(EmptyRows::Uniform) => uniform(),
    }
}

fn uniform<T: Element>(layout: Layout) -> T {
    T::from(1.0 / layout.len() as f64).unwrap_or_else(T::zero)
}

fn check_pair<T>(
    layout: Layout,
    names: [&'static str; 3],
    slices: [&[T]; 2],
    out: &[T],
) -> Result<(), Error> {
    check_len(names[0], layout.elements(), slices[0].len())?;
    check_len(names[1], layout.elements(), slices[1].len())?;
    check_len(names[2], layout.elements(), out.len())
}

operations! {
    /// y_i = exp(x_i − L), L = log Σ exp x_j, along the rows of the layout.
    ///
    /// Shapes: `x` and `out` have the layout's elements.
    ///
    /// # Accuracy
    /// At most 1 ULP for every finite input, f32 and f64, rows up to 2²⁴ elements (proved: f32 0.91,
    /// f64 0.79); the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// A NaN in a row, or +∞, makes the row NaN, and so does a row of only −∞; −∞ beside a finite element
    /// gives exactly +0. One element gives exactly 1. NaNs are canonical.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice does not fit the layout.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, softmax};
    /// let mut p = [0.0_f64; 3];
    /// softmax(&[0.0, 0.0, f64::NEG_INFINITY], Layout::rows(1, 3)?, &mut p)?;
    /// assert_eq!(p, [0.5, 0.5, 0.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The algorithm is described at the top of `src/kernels/softmax.rs`; exp after Tang (1989).
    pub fn softmax<T>(self, x: &[T], layout: Layout, out: &mut [T]) {
        self.softmax_with(x, layout, &SoftmaxOptions::new(), out)
    }

    /// [`softmax`] with a temperature, a mask or valid lengths: exp(x_i/T − L), L = log Σ exp(x_j/T), over the
    /// elements that take part.
    ///
    /// Elements that do not take part are treated as absent and give +0. With a mask or lengths a row in which
    /// nothing takes part, or only −∞, follows [`EmptyRows`].
    ///
    /// Shapes: `x` and `out` have the layout's elements, and so has a mask; lengths are one a row.
    ///
    /// # Accuracy
    /// That of [`softmax`], x/T not rounded.
    ///
    /// # Special values
    /// Those of [`softmax`] among the elements that take part, but for what [`EmptyRows`] decides. A row that is NaN by
    /// one of these is NaN as a whole.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice, the mask or the lengths do not fit the layout, [`Error::ValidLength`],
    /// [`Error::Parameter`] for a temperature that is not finite, normal and positive.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, SoftmaxOptions, softmax_with};
    /// let mut p = [1.0_f32; 6];
    /// let options = SoftmaxOptions::new().lengths(&[1, 2]);
    /// softmax_with(&[7.0, f32::NAN, f32::NAN, 3.0, 3.0, 9.0], Layout::rows(2, 3)?, &options, &mut p)?;
    /// assert_eq!(p, [1.0, 0.0, 0.0, 0.5, 0.5, 0.0]); // padding has no share, whatever it holds
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`softmax`].
    pub fn softmax_with<T>(self, x: &[T], layout: Layout, options: &SoftmaxOptions<'_, T>, out: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("out", layout.elements(), out.len())?;
        options.check(layout)?;
        // Rare enough for a second pass over memory, and half the code.
        if options.kept != Kept::All || divisor(options).is_some() {
            out.copy_from_slice(x);
            return self.softmax_in_place_with(out, layout, options);
        }
        self.each_kept(Kept::All, layout, [x], out, Softmax { argument: Plain, empty: <T as Lane>::NAN });
        Ok(())
    }

    /// [`softmax`] that overwrites its input, with the same bits.
    ///
    /// Shapes: `data` has the layout's elements.
    ///
    /// # Accuracy
    /// That of [`softmax`].
    ///
    /// # Special values
    /// Those of [`softmax`].
    ///
    /// # Errors
    /// [`Error::Length`] if the slice does not fit the layout.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, softmax, softmax_in_place};
    /// let layout = Layout::rows(1, 3)?;
    /// let (mut data, mut p) = ([1.0_f32, 2.0, 3.0], [0.0; 3]);
    /// softmax(&data, layout, &mut p)?;
    /// softmax_in_place(&mut data, layout)?;
    /// assert_eq!(data, p);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`softmax`].
    pub fn softmax_in_place<T>(self, data: &mut [T], layout: Layout) {
        self.softmax_in_place_with(data, layout, &SoftmaxOptions::new())
    }

    /// [`softmax_with`] that overwrites its input, with the same bits.
    ///
    /// Shapes: `data` has the layout's elements, and so has a mask; lengths are one a row.
    ///
    /// # Accuracy
    /// That of [`softmax_with`].
    ///
    /// # Special values
    /// Those of [`softmax_with`].
    ///
    /// # Errors
    /// Those of [`softmax_with`].
    ///
    /// # Example
    /// ```
    /// use lossprep::{EmptyRows, Layout, SoftmaxOptions, softmax_in_place_with};
    /// let keep = [true, true, false, false]; // of the second row nothing
    /// let options = SoftmaxOptions::new().mask(&keep).empty_rows(EmptyRows::Uniform);
    /// let mut data = [3.0_f64, 3.0, 1.0, 2.0];
    /// softmax_in_place_with(&mut data, Layout::rows(2, 2)?, &options)?;
    /// assert_eq!(data, [0.5; 4]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`softmax_with`].
    pub fn softmax_in_place_with<T>(self, data: &mut [T], layout: Layout, options: &SoftmaxOptions<'_, T>) {
        check_len("data", layout.elements(), data.len())?;
        options.check(layout)?;
        options.kept.clear(layout, data, -<T as Lane>::INFINITY);
        in_place!(self, Softmax, options, layout, data, empty_value(options, T::zero(), || uniform(layout)))
    }

    /// y_i = x_i − L, L = log Σ exp x_j, along the rows of the layout.
    ///
    /// Shapes: `x` and `out` have the layout's elements.
    ///
    /// # Accuracy
    /// At most 1 ULP for every finite input, f32 and f64, rows up to 2²⁴ elements, also for a log-probability
    /// close to 0; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// A NaN in a row, or +∞, makes the row NaN, and so does a row of only −∞; −∞ beside a finite element
    /// gives −∞. One element gives exactly 0. NaNs are canonical.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice does not fit the layout.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, log_softmax};
    /// let mut y = [0.0_f32; 2];
    /// log_softmax(&[20.0, 0.0], Layout::rows(1, 2)?, &mut y)?;
    /// assert_eq!(y, [-2.0611537e-9, -20.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The algorithm is described at the top of `src/kernels/softmax.rs`; exp after Tang (1989).
    pub fn log_softmax<T>(self, x: &[T], layout: Layout, out: &mut [T]) {
        self.log_softmax_with(x, layout, &SoftmaxOptions::new(), out)
    }

    /// [`log_softmax`] with a temperature, a mask or valid lengths: x_i/T − L, L = log Σ exp(x_j/T), over the
    /// elements that take part.
    ///
    /// Elements that do not take part are treated as absent and give −∞. With a mask or lengths a row in which
    /// nothing takes part, or only −∞, follows [`EmptyRows`].
    ///
    /// Shapes: `x` and `out` have the layout's elements, and so has a mask; lengths are one a row.
    ///
    /// # Accuracy
    /// That of [`log_softmax`], x/T not rounded.
    ///
    /// # Special values
    /// Those of [`log_softmax`] among the elements that take part, but for what [`EmptyRows`] decides. A row that is NaN by
    /// one of these is NaN as a whole.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice, the mask or the lengths do not fit the layout, [`Error::ValidLength`],
    /// [`Error::Parameter`] for a temperature that is not finite, normal and positive.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, SoftmaxOptions, log_softmax_with};
    /// let mut y = [0.0_f32; 2];
    /// let options = SoftmaxOptions::new().temperature(0.5);
    /// log_softmax_with(&[10.0, 0.0], Layout::rows(1, 2)?, &options, &mut y)?;
    /// assert_eq!(y, [-2.0611537e-9, -20.0]); // as of the logits 20 and 0
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`log_softmax`].
    pub fn log_softmax_with<T>(self, x: &[T], layout: Layout, options: &SoftmaxOptions<'_, T>, out: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("out", layout.elements(), out.len())?;
        options.check(layout)?;
        // Rare enough for a second pass over memory, and half the code.
        if options.kept != Kept::All || divisor(options).is_some() {
            out.copy_from_slice(x);
            return self.log_softmax_in_place_with(out, layout, options);
        }
        self.each_kept(Kept::All, layout, [x], out, LogSoftmax { argument: Plain, empty: <T as Lane>::NAN, near: near(layout.len()) });
        Ok(())
    }

    /// [`log_softmax`] that overwrites its input, with the same bits.
    ///
    /// Shapes: `data` has the layout's elements.
    ///
    /// # Accuracy
    /// That of [`log_softmax`].
    ///
    /// # Special values
    /// Those of [`log_softmax`].
    ///
    /// # Errors
    /// [`Error::Length`] if the slice does not fit the layout.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, log_softmax, log_softmax_in_place};
    /// let layout = Layout::new(1, 2, 2)?; // rows side by side
    /// let (mut data, mut y) = ([1.0_f64, 2.0, 3.0, 5.0], [0.0; 4]);
    /// log_softmax(&data, layout, &mut y)?;
    /// log_softmax_in_place(&mut data, layout)?;
    /// assert_eq!(data, y);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`log_softmax`].
    pub fn log_softmax_in_place<T>(self, data: &mut [T], layout: Layout) {
        self.log_softmax_in_place_with(data, layout, &SoftmaxOptions::new())
    }

    /// [`log_softmax_with`] that overwrites its input, with the same bits.
    ///
    /// Shapes: `data` has the layout's elements, and so has a mask; lengths are one a row.
    ///
    /// # Accuracy
    /// That of [`log_softmax_with`].
    ///
    /// # Special values
    /// Those of [`log_softmax_with`].
    ///
    /// # Errors
    /// Those of [`log_softmax_with`].
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, SoftmaxOptions, log_softmax_in_place_with};
    /// let options = SoftmaxOptions::new().mask(&[true, false, true]);
    /// let mut data = [3.0_f64, 9.0, 3.0];
    /// log_softmax_in_place_with(&mut data, Layout::rows(1, 3)?, &options)?;
    /// let half = -core::f64::consts::LN_2;
    /// assert_eq!(data, [half, f64::NEG_INFINITY, half]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`log_softmax_with`].
    pub fn log_softmax_in_place_with<T>(self, data: &mut [T], layout: Layout, options: &SoftmaxOptions<'_, T>) {
        check_len("data", layout.elements(), data.len())?;
        options.check(layout)?;
        options.kept.clear(layout, data, -<T as Lane>::INFINITY);
        in_place!(self, LogSoftmax { near: near(layout.len()) }, options, layout, data, empty_value(options, -<T as Lane>::INFINITY, || T::zero() - log_count::<T>(layout.len())))
    }

    /// L = log Σ exp x_j of each row of the layout.
    ///
    /// Shapes: `x` has the layout's elements, `out` one element a row.
    ///
    /// # Accuracy
    /// ½ ULP + 2^−(p+3)·(L − max x), p = 24 or 53: at most 1 ULP unless max x and the logarithm of the sum
    /// cancel; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// A NaN in a row gives NaN, else +∞ gives +∞; only −∞, or no element, gives −∞. One element gives itself.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice does not fit the layout.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, logsumexp};
    /// let mut l = [0.0_f64];
    /// logsumexp(&[1000.0, 1000.0], Layout::rows(1, 2)?, &mut l)?;
    /// assert_eq!(l, [1000.0 + core::f64::consts::LN_2]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The algorithm is described at the top of `src/kernels/softmax.rs`; exp after Tang (1989).
    pub fn logsumexp<T>(self, x: &[T], layout: Layout, out: &mut [T]) {
        self.logsumexp_with(x, layout, &SoftmaxOptions::new(), out)
    }

    /// [`logsumexp`] with a temperature, a mask or valid lengths: log Σ exp(x_j/T) over the elements that take
    /// part.
    ///
    /// Shapes: `x` has the layout's elements, and so has a mask; `out` and lengths have one a row.
    ///
    /// # Accuracy
    /// That of [`logsumexp`], x/T for x.
    ///
    /// # Special values
    /// Those of [`logsumexp`] among the elements that take part: −∞ where none does, whatever [`EmptyRows`] says.
    ///
    /// # Errors
    /// Those of [`softmax_with`].
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, SoftmaxOptions, logsumexp_with};
    /// let mut l = [0.0_f64; 2];
    /// let options = SoftmaxOptions::new().lengths(&[1, 0]);
    /// logsumexp_with(&[4.0, 9.0, 9.0, 9.0], Layout::rows(2, 2)?, &options, &mut l)?;
    /// assert_eq!(l, [4.0, f64::NEG_INFINITY]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`logsumexp`].
    pub fn logsumexp_with<T>(self, x: &[T], layout: Layout, options: &SoftmaxOptions<'_, T>, out: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("out", layout.row_count(), out.len())?;
        options.check(layout)?;
        let near = near(layout.len());
        match divisor(options) {
            None => self.each_kept(options.kept, layout, [x], &mut [], LogSumExp { argument: Plain, near, out }),
            Some(t) => {
                let work = LogSumExp { argument: Tempered::new(t), near, out };
                self.each_kept(options.kept, layout, [x], &mut [], work);
            }
        }
        Ok(())
    }

    /// The gradient of a loss through softmax: y_i·(g_i − Σ y_j·g_j), `y` being the result of [`softmax`] and g
    /// `upstream`.
    ///
    /// Shapes: all slices have the layout's elements.
    ///
    /// # Accuracy
    /// At most 4 ULP of y_i·(|g_i| + Σ y_j·|g_j|); the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// A row with NaN or ±∞ in what it is given has a NaN gradient, but 0 where the derivative is exactly 0.
    /// Zeros are +0.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice does not fit the layout.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, softmax, softmax_vjp};
    /// let layout = Layout::rows(1, 3)?;
    /// let (mut y, mut grad) = ([0.0_f64; 3], [0.0; 3]);
    /// softmax(&[1.0, 2.0, 4.0], layout, &mut y)?;
    /// softmax_vjp(&y, &[1.0, -2.0, 0.5], layout, &mut grad)?;
    /// // What all logits have in common changes nothing: gradients sum to 0.
    /// assert!(grad[0] > 0.0 && grad.iter().sum::<f64>().abs() < 1e-16);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula; sums as in `src/math/dot.rs`, after Ogita, Rump and Oishi (2005).
    pub fn softmax_vjp<T>(self, y: &[T], upstream: &[T], layout: Layout, grad: &mut [T]) {
        self.softmax_vjp_with(y, upstream, layout, &SoftmaxOptions::new(), grad)
    }

    /// [`softmax_vjp`] with the options of [`softmax_with`]: y_i·(g_i − Σ y_j·g_j)/T over the elements
    /// that take part.
    ///
    /// Shapes: all slices have the layout's elements, and so has a mask; lengths are one a row.
    ///
    /// # Accuracy
    /// At most 4 ULP of y_i·(|g_i| + Σ y_j·|g_j|)/T; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// Those of [`softmax_vjp`] among the elements that take part; the others get 0, and so do rows that
    /// [`EmptyRows`] filled with a constant (but see [`EmptyRows::Uniform`]).
    ///
    /// # Errors
    /// Those of [`softmax_with`].
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, SoftmaxOptions, softmax_vjp_with, softmax_with};
    /// let (layout, options) = (Layout::rows(1, 3)?, SoftmaxOptions::new().lengths(&[2]));
    /// let (mut y, mut grad) = ([0.0_f32; 3], [1.0; 3]);
    /// softmax_with(&[5.0, 5.0, 7.0], layout, &options, &mut y)?;
    /// softmax_vjp_with(&y, &[1.0, 0.0, f32::NAN], layout, &options, &mut grad)?;
    /// assert_eq!(grad, [0.25, -0.25, 0.0]); // padding gets 0
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`softmax_vjp`].
    pub fn softmax_vjp_with<T>(self, y: &[T], upstream: &[T], layout: Layout, options: &SoftmaxOptions<'_, T>, grad: &mut [T]) {
        check_pair(layout, ["y", "upstream", "grad"], [y, upstream], grad)?;
        options.check(layout)?;
        let work = SoftmaxGradient { temperature: divisor(options) };
        self.each_kept(options.kept, layout, [y, upstream], grad, work);
        clear_constant(options, y, layout, [T::zero(), T::one()], grad);
        Ok(())
    }

    /// The derivative of softmax along a tangent: y_i·(v_i − Σ y_j·v_j), `y` being the result of [`softmax`] and v
    /// `tangent`.
    ///
    /// Shapes: all slices have the layout's elements.
    ///
    /// # Accuracy
    /// At most 4 ULP of y_i·(|v_i| + Σ y_j·|v_j|); the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// A row with NaN or ±∞ in what it is given has a NaN derivative, but 0 where that is exactly 0. Zeros are +0.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice does not fit the layout.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, softmax_in_place, softmax_jvp};
    /// let layout = Layout::rows(1, 3)?;
    /// let softmax_at = |h: f64| {
    ///     let mut y = [1.0 + h, 2.0 - h, 3.0];
    ///     softmax_in_place(&mut y, layout).map(|()| y)
    /// };
    /// let (below, y, above, mut slope) = (softmax_at(-1e-5)?, softmax_at(0.0)?, softmax_at(1e-5)?, [0.0; 3]);
    /// softmax_jvp(&y, &[1.0, -1.0, 0.0], layout, &mut slope)?;
    /// assert!((0..3).all(|i| (slope[i] - (above[i] - below[i]) / 2e-5).abs() < 1e-9));
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula; sums as in `src/math/dot.rs`, after Ogita, Rump and Oishi (2005).
    pub fn softmax_jvp<T>(self, y: &[T], tangent: &[T], layout: Layout, out: &mut [T]) {
        self.softmax_jvp_with(y, tangent, layout, &SoftmaxOptions::new(), out)
    }

    /// [`softmax_jvp`] with the options of [`softmax_with`]: y_i·(v_i − Σ y_j·v_j)/T over the elements
    /// that take part.
    ///
    /// Shapes: all slices have the layout's elements, and so has a mask; lengths are one a row.
    ///
    /// # Accuracy
    /// At most 4 ULP of y_i·(|v_i| + Σ y_j·|v_j|)/T; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// Those of [`softmax_jvp`] among the elements that take part; the others get 0, and so do rows that
    /// [`EmptyRows`] filled with a constant (but see [`EmptyRows::Uniform`]).
    ///
    /// # Errors
    /// Those of [`softmax_with`].
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, SoftmaxOptions, softmax_jvp_with, softmax_with};
    /// let (layout, options) = (Layout::rows(1, 2)?, SoftmaxOptions::new().temperature(2.0));
    /// let (mut y, mut slope) = ([0.0_f32; 2], [0.0; 2]);
    /// softmax_with(&[5.0, 5.0], layout, &options, &mut y)?;
    /// softmax_jvp_with(&y, &[1.0, 0.0], layout, &options, &mut slope)?;
    /// assert_eq!(slope, [0.125, -0.125]); // 1/T of what it is without
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`softmax_jvp`].
    pub fn softmax_jvp_with<T>(self, y: &[T], tangent: &[T], layout: Layout, options: &SoftmaxOptions<'_, T>, out: &mut [T]) {
        check_pair(layout, ["y", "tangent", "out"], [y, tangent], out)?;
        options.check(layout)?;
        let work = SoftmaxGradient { temperature: divisor(options) };
        self.each_kept(options.kept, layout, [y, tangent], out, work);
        clear_constant(options, y, layout, [T::zero(), T::one()], out);
        Ok(())
    }

    /// The gradient of a loss through log_softmax: g_i − exp(log_y_i)·Σ g_j, `log_y` being the result of
    /// [`log_softmax`] and g `upstream`.
    ///
    /// Shapes: all slices have the layout's elements.
    ///
    /// # Accuracy
    /// At most 4 ULP of |g_i| + y_i·Σ|g_j|; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// A log-probability of −∞ is a probability of 0, and the formula holds: g_i there. NaN in a row, or ±∞ in
    /// `upstream`, makes its gradient NaN, but 0 where the derivative is exactly 0. Zeros are +0.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice does not fit the layout.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, log_softmax, log_softmax_vjp};
    /// let layout = Layout::rows(1, 2)?;
    /// let (mut log_y, mut grad) = ([0.0_f64; 2], [0.0; 2]);
    /// log_softmax(&[5.0, 5.0], layout, &mut log_y)?;
    /// log_softmax_vjp(&log_y, &[-1.0, 0.0], layout, &mut grad)?;
    /// assert_eq!(grad, [-0.5, 0.5]); // of cross-entropy: p − 1 at the class, p elsewhere
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula; sums as in `src/math/dot.rs`, after Ogita, Rump and Oishi (2005).
    pub fn log_softmax_vjp<T>(self, log_y: &[T], upstream: &[T], layout: Layout, grad: &mut [T]) {
        self.log_softmax_vjp_with(log_y, upstream, layout, &SoftmaxOptions::new(), grad)
    }

    /// [`log_softmax_vjp`] with the options of [`log_softmax_with`]: (g_i − exp(log_y_i)·Σ g_j)/T over the
    /// elements that take part.
    ///
    /// Shapes: all slices have the layout's elements, and so has a mask; lengths are one a row.
    ///
    /// # Accuracy
    /// At most 4 ULP of (|g_i| + y_i·Σ|g_j|)/T; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// Those of [`log_softmax_vjp`] among the elements that take part; the others get 0, and so do rows that
    /// [`EmptyRows`] filled with a constant (but see [`EmptyRows::Uniform`]).
    ///
    /// # Errors
    /// Those of [`log_softmax_with`].
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, SoftmaxOptions, log_softmax_vjp_with, log_softmax_with};
    /// let (layout, options) = (Layout::rows(1, 3)?, SoftmaxOptions::new().mask(&[true, false, true]));
    /// let (mut log_y, mut grad) = ([0.0_f32; 3], [1.0; 3]);
    /// log_softmax_with(&[5.0, 9.0, 5.0], layout, &options, &mut log_y)?;
    /// log_softmax_vjp_with(&log_y, &[-1.0, 4.0, 0.0], layout, &options, &mut grad)?;
    /// assert_eq!(grad, [-0.5, 0.0, 0.5]); // nothing goes in or out where the mask is false
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`log_softmax_vjp`].
    pub fn log_softmax_vjp_with<T>(self, log_y: &[T], upstream: &[T], layout: Layout, options: &SoftmaxOptions<'_, T>, grad: &mut [T]) {
        check_pair(layout, ["log_y", "upstream", "grad"], [log_y, upstream], grad)?;
        options.check(layout)?;
        let work = LogSoftmaxVjp { temperature: divisor(options) };
        self.each_kept(options.kept, layout, [log_y, upstream], grad, work);
        clear_constant(options, log_y, layout, [-<T as Lane>::INFINITY, T::zero()], grad);
        Ok(())
    }

    /// The derivative of log_softmax along a tangent: v_i − Σ exp(log_y_j)·v_j, `log_y` being the result of
    /// [`log_softmax`] and v `tangent`.
    ///
    /// Shapes: all slices have the layout's elements.
    ///
    /// # Accuracy
    /// At most 4 ULP of |v_i| + Σ y_j·|v_j|; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// A log-probability of −∞ is a probability of 0, and the formula holds. NaN in a row, or ±∞ in `tangent`,
    /// makes its derivative NaN, but 0 where that is exactly 0. Zeros are +0.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice does not fit the layout.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, log_softmax, log_softmax_jvp};
    /// let layout = Layout::rows(1, 3)?;
    /// let (mut log_y, mut slope) = ([0.0_f64; 3], [1.0; 3]);
    /// log_softmax(&[1.0, 2.0, 4.0], layout, &mut log_y)?;
    /// log_softmax_jvp(&log_y, &[3.0; 3], layout, &mut slope)?;
    /// assert!(slope.iter().all(|s| s.abs() < 1e-14)); // what is added to all logits changes nothing
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula; sums as in `src/math/dot.rs`, after Ogita, Rump and Oishi (2005).
    pub fn log_softmax_jvp<T>(self, log_y: &[T], tangent: &[T], layout: Layout, out: &mut [T]) {
        self.log_softmax_jvp_with(log_y, tangent, layout, &SoftmaxOptions::new(), out)
    }

    /// [`log_softmax_jvp`] with the options of [`log_softmax_with`]: (v_i − Σ exp(log_y_j)·v_j)/T over the
    /// elements that take part.
    ///
    /// Shapes: all slices have the layout's elements, and so has a mask; lengths are one a row.
    ///
    /// # Accuracy
    /// At most 4 ULP of (|v_i| + Σ y_j·|v_j|)/T; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// Those of [`log_softmax_jvp`] among the elements that take part; the others get 0, and so do rows that
    /// [`EmptyRows`] filled with a constant (but see [`EmptyRows::Uniform`]).
    ///
    /// # Errors
    /// Those of [`log_softmax_with`].
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, SoftmaxOptions, log_softmax_jvp_with, log_softmax_with};
    /// let (layout, options) = (Layout::rows(1, 3)?, SoftmaxOptions::new().temperature(0.5).lengths(&[2]));
    /// let (mut log_y, mut slope) = ([0.0_f64; 3], [1.0; 3]);
    /// log_softmax_with(&[5.0, 5.0, 7.0], layout, &options, &mut log_y)?;
    /// log_softmax_jvp_with(&log_y, &[1.0, 0.0, 8.0], layout, &options, &mut slope)?;
    /// assert_eq!(slope, [1.0, -1.0, 0.0]); // 1/T of ±½, and 0 for padding
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`log_softmax_jvp`].
    pub fn log_softmax_jvp_with<T>(self, log_y: &[T], tangent: &[T], layout: Layout, options: &SoftmaxOptions<'_, T>, out: &mut [T]) {
        check_pair(layout, ["log_y", "tangent", "out"], [log_y, tangent], out)?;
        options.check(layout)?;
        let work = LogSoftmaxJvp { temperature: divisor(options) };
        self.each_kept(options.kept, layout, [log_y, tangent], out, work);
        clear_constant(options, log_y, layout, [-<T as Lane>::INFINITY, T::zero()], out);
        Ok(())
    }

    /// The gradient of a loss through logsumexp: exp(x_i − L)·g of the row, L = log Σ exp x_j and g `upstream`, from the
    /// input `x`: exp of a rounded x − L would be tens of ULP off.
    ///
    /// Shapes: `x` and `grad` have the layout's elements, `upstream` one element a row.
    ///
    /// # Accuracy
    /// At most 4 ULP of y_i·|g|, y the softmax of x; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// NaN or +∞ in a row of `x` makes its gradient NaN. Else −∞ gives 0, also in a row of nothing else, and an
    /// upstream gradient that is not finite NaN elsewhere. Zeros are +0.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice does not fit the layout.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, logsumexp_vjp};
    /// let mut grad = [0.0_f32; 3];
    /// logsumexp_vjp(&[900.0, 900.0, f32::NEG_INFINITY], &[2.0], Layout::rows(1, 3)?, &mut grad)?;
    /// assert_eq!(grad, [1.0, 1.0, 0.0]); // g times the softmax
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula, on the exponentials of [`logsumexp`].
    pub fn logsumexp_vjp<T>(self, x: &[T], upstream: &[T], layout: Layout, grad: &mut [T]) {
        self.logsumexp_vjp_with(x, upstream, layout, &SoftmaxOptions::new(), grad)
    }

    /// [`logsumexp_vjp`] with the options of [`logsumexp_with`]: exp(x_i/T − L)·g/T where the element takes
    /// part, else 0.
    ///
    /// Shapes: `x` and `grad` have the layout's elements, `upstream` one element a row; a mask has
    /// the layout's elements, lengths are one a row.
    ///
    /// # Accuracy
    /// At most 4 ULP of y_i·|g|/T, y the [`softmax_with`] of x; the same bits on every backend and for every
    /// layout.
    ///
    /// # Special values
    /// Those of [`logsumexp_vjp`] among the elements that take part.
    ///
    /// # Errors
    /// Those of [`logsumexp_with`].
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, SoftmaxOptions, logsumexp_vjp_with};
    /// let mut grad = [1.0_f64; 4];
    /// let options = SoftmaxOptions::new().lengths(&[2, 1]);
    /// logsumexp_vjp_with(&[5.0, 5.0, 3.0, 9.0], &[2.0, 7.0], Layout::rows(2, 2)?, &options, &mut grad)?;
    /// assert_eq!(grad, [1.0, 1.0, 7.0, 0.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`logsumexp_vjp`].
    pub fn logsumexp_vjp_with<T>(self, x: &[T], upstream: &[T], layout: Layout, options: &SoftmaxOptions<'_, T>, grad: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("upstream", layout.row_count(), upstream.len())?;
        check_len("grad", layout.elements(), grad.len())?;
        options.check(layout)?;
        match divisor(options) {
            None => {
                let work = LogSumExpVjp { argument: Plain, upstream, temperature: divisor(options) };
                self.each_kept(options.kept, layout, [x], grad, work);
            }
            Some(t) => {
                let work = LogSumExpVjp { argument: Tempered::new(t), upstream, temperature: divisor(options) };
                self.each_kept(options.kept, layout, [x], grad, work);
            }
        }
        Ok(())
    }

    /// The derivative of logsumexp along a tangent: Σ exp(x_j − L)·v_j, L = log Σ exp x_j and v `tangent`, from
    /// the input `x`: exp of a rounded x − L would be tens of ULP off.
    ///
    /// Shapes: `x` and `tangent` have the layout's elements, `out` one element a row.
    ///
    /// # Accuracy
    /// At most 4 ULP of Σ y_j·|v_j|, y the softmax of x; the same bits on every backend and for every layout.
    ///
    /// # Special values
    /// NaN or +∞ in a row of `x`, and NaN or ±∞ in its tangent, makes the derivative NaN. −∞ has no weight; a row
    /// of nothing else gives 0, whatever the tangent. Zeros are +0.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice does not fit the layout.
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, logsumexp_jvp};
    /// let mut slope = [0.0_f64];
    /// logsumexp_jvp(&[900.0, 900.0], &[1.0, 3.0], Layout::rows(1, 2)?, &mut slope)?;
    /// assert_eq!(slope, [2.0]); // the mean of the tangent, weighted by the softmax
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// The derivative of the formula, on the exponentials of [`logsumexp`].
    pub fn logsumexp_jvp<T>(self, x: &[T], tangent: &[T], layout: Layout, out: &mut [T]) {
        self.logsumexp_jvp_with(x, tangent, layout, &SoftmaxOptions::new(), out)
    }

    /// [`logsumexp_jvp`] with the options of [`logsumexp_with`]: Σ exp(x_j/T − L)·v_j/T over the elements that
    /// take part.
    ///
    /// Shapes: `x` and `tangent` have the layout's elements, `out` one element a row; a mask has the
    /// layout's elements, lengths are one a row.
    ///
    /// # Accuracy
    /// At most 4 ULP of Σ y_j·|v_j|/T, y the [`softmax_with`] of x; the same bits on every backend and for every
    /// layout.
    ///
    /// # Special values
    /// Those of [`logsumexp_jvp`] among the elements that take part.
    ///
    /// # Errors
    /// Those of [`logsumexp_with`].
    ///
    /// # Example
    /// ```
    /// use lossprep::{Layout, SoftmaxOptions, logsumexp_jvp_with};
    /// let mut slope = [0.0_f32];
    /// let options = SoftmaxOptions::new().mask(&[true, false, true]);
    /// logsumexp_jvp_with(&[5.0, 9.0, 5.0], &[1.0, f32::NAN, 3.0], Layout::rows(1, 3)?, &options, &mut slope)?;
    /// assert_eq!(slope, [2.0]);
    /// # Ok::<(), lossprep::Error>(())
    /// ```
    /// # Source
    /// That of [`logsumexp_jvp`].
    pub fn logsumexp_jvp_with<T>(self, x: &[T], tangent: &[T], layout: Layout, options: &SoftmaxOptions<'_, T>, out: &mut [T]) {
        check_len("x", layout.elements(), x.len())?;
        check_len("tangent", layout.elements(), tangent.len())?;
        check_len("out", layout.row_count(), out.len())?;
        options.check(layout)?;
        match divisor(options) {
            None => {
                let work = LogSumExpJvp { argument: Plain, out, temperature: divisor(options) };
                self.each_kept(options.kept, layout, [x, tangent], &mut [], work);
            }
            Some(t) => {
                let work = LogSumExpJvp { argument: Tempered::new(t), out, temperature: divisor(options) };
                self.each_kept(options.kept, layout, [x, tangent], &mut [], work);
            }
        }
        Ok(())
    }
}
