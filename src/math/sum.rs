//! Sums of positive terms that do not depend on the order: fixed point, so addition is exact.
//!
//! # Algorithm
//! Terms lie in [0, 2) and arrive as t + t·q or t + w, |q| ≤ 1/16 and |w| ≤ t/16, multiplied by 2^[`LIFT`](Accumulate::LIFT), so that
//! neither underflows; what follows leaves that out. Adding 2 to a term takes it to a binade with the grid g₁ = 2^(2−p):
//! the addition rounds it to that grid, and the bit pattern of the sum is a constant plus the rounded term as an
//! integer. Integers are added exactly, whichever way a row is split over lanes, blocks or threads. What the rounding
//! left out is known exactly and goes to a second word in the same way, on a finer grid g₂. Where terms are so many, and so
//! small, that what is left of that adds up, it goes to a third.
//!
//! # Error
//! Each term is rounded to g₂, and a small one when its parts are added: n terms are off by at most n·(2^−45 + 2^−47) in all
//! for f32, n·2^−102 for f64. f32 rows with more than 2^17 terms whose sum is less than n·2^−16, its largest term being at
//! least 1, but for the rounding of its exponent, have a third word: n·2^−66. So no sum is off by more than 2^−27.6 of itself. What
//! decides is a sum in two words, the same integers in whichever order.

use crate::element::Lane;
use crate::math::exp::{BETWEEN, Term, each};
use crate::math::power_of_two;
use crate::math::word::{Word, fast_two_sum};
use crate::simd::{Simd, Vector};

/// Running sums, one a lane, in which N terms take their turn at a time: the last ones are added in steps while the next
/// ones are computed.
#[derive(Clone, Copy)]
pub struct Sums<T: Lane, S: Simd, const N: usize> {
    words: [Vector<T, S>; 3],
    terms: [Term<T, S>; N],
    /// What the steps have made of the terms so far, and what the first word left out.
    part: [Vector<T, S>; N],
    beyond: [Vector<T, S>; N],
    /// Terms a lane.
    count: usize,
}

/// What makes words of terms.
pub trait Accumulate: Lane {
    /// Terms come multiplied by two to this power, far above anything that underflows.
    const LIFT: Self;
    /// What is added for each word: 2·2^LIFT, then 1.5 times a power of two, in the middle of a binade, since what is
    /// left out has either sign.
    const ANCHORS: [Self; 3];
    /// How many terms a lane takes before `flush`.
    const MOST: usize;
    /// Sums of more terms than that may need a third word.
    const MANY: Option<usize>;

    /// Sums of what was flushed, one a lane.
    type Totals<S: Simd>: Copy;

    /// Nothing flushed yet.
    fn none<S: Simd>(s: S) -> Self::Totals<S>
    where
        Self: Sized;
    /// Moves `count` terms of each lane to its total; the third word if they are of `many`.
    fn flush<S: Simd>(totals: &mut Self::Totals<S>, words: [Vector<Self, S>; 3], count: usize, many: bool)
    where
        Self: Sized;
    /// The total of all lanes, in every lane; of the third word if they are of `many`.
    fn joined<S: Simd>(totals: Self::Totals<S>, many: bool) -> Self::Totals<S>
    where
        Self: Sized;
    /// A joined total in memory, whatever the backend.
    type Exact: Copy + Default + Send + Sync;
    fn exact<S: Simd>(joined: Self::Totals<S>) -> Self::Exact
    where
        Self: Sized;
    /// The same in every lane.
    fn totals<S: Simd>(s: S, exact: Self::Exact) -> Self::Totals<S>
    where
        Self: Sized;
    /// The total of two parts.
    fn both(a: Self::Exact, b: Self::Exact) -> Self::Exact;
    /// The totals without a part, in lanes that `factor` has a 1 for and not a 0.
    fn without<S: Simd>(
        totals: Self::Totals<S>,
        part: Self::Totals<S>,
        factor: Vector<Self, S>,
    ) -> Self::Totals<S>
    where
        Self: Sized;
    /// The totals without the third word, but for lanes that `factor` has a 1 for and not a 0.
    fn shortened<S: Simd>(totals: Self::Totals<S>, factor: Self::Array) -> Self::Totals<S>
    where
        Self: Sized;
}

/// The steps in which terms are added: as many as there are gaps where they are computed, and one after that.
const STEPS: usize = BETWEEN + 1;

impl<T: Accumulate, S: Simd, const N: usize> Sums<T, S, N> {
    /// The first terms, of which no step is done.
    #[inline(always)]
    pub(crate) fn new(terms: [Term<T, S>; N]) -> Self {
        let zero = Vector::splat(terms[0].t.s, T::zero());
        Self { words: [zero; 3], terms, part: [zero; N], beyond: [zero; N], count: N }
    }

    /// One of the [`STEPS`] in which the terms at hand are added, to all three words if they are of `many`.
    #[inline(always)]
    pub(crate) fn step(&mut self, n: usize, many: bool) {
        let [first, second, third] = T::ANCHORS;
        for i in 0..N {
            let term = self.terms[i];
            let Term { t, rest, low } = term;
            let part = &mut self.part[i];
            match n {
                0 => {
                    *part = term.rest_and(t);
                    if let Some(low) = low {
                        *part = *part + low;
                    }
                }
                1 => *part = *part + first,
                2 => {
                    self.words[0] = self.words[0].add_bits(*part);
                    *part = *part - first;
                }
                // Exact: nothing that is left out of a term on the grid has more bits than fit.
                3 => self.beyond[i] = t - *part,
                4 => {
                    // Where the grid took anything, the two all but cancel: nothing that counts is rounded.
                    *part = term.rest_and(self.beyond[i]);
                    if let Some(low) = low {
                        *part = *part + low;
                    }
                }
                _ => {
                    let fine = *part + second;
                    self.words[1] = self.words[1].add_bits(fine);
                    if many {
                        // What the fused step rounded: of t·q, and of the sum with it.
                        let w = t * rest;
                        let sum = self.beyond[i] + w;
                        let rounded = (sum - *part) + (w - (sum - self.beyond[i])) + t.mul_add(rest, -w);
                        let least = (*part - (fine - second)) + rounded + third;
                        self.words[2] = self.words[2].add_bits(least);
                    }
                }
            }
        }
    }

    /// The last step, and the terms that come next.
    #[inline(always)]
    pub(crate) fn next(&mut self, terms: [Term<T, S>; N], many: bool) {
        self.step(BETWEEN, many);
        self.terms = terms;
        self.count += N;
    }

    /// All steps for terms that nothing is computed beside; such sums end with the terms that they began with.
    #[inline(always)]
    pub(crate) fn at_once(&mut self, terms: [Term<T, S>; N]) {
        let last = self.terms;
        self.terms = terms;
        for n in 0..STEPS {
            self.step(n, false);
        }
        self.terms = last;
        self.count += N;
    }

    /// Moves all terms to totals.
    #[inline(always)]
    pub(crate) fn finish(mut self, many: bool, totals: &mut T::Totals<S>) {
        for n in 0..STEPS {
            self.step(n, many);
        }
        T::flush(totals, self.words, self.count, many);
    }
}

impl Accumulate for f32 {
    const LIFT: Self = 50.0;
    const ANCHORS: [Self; 3] =
        [power_of_two(51) as f32, 1.5 * power_of_two(29) as f32, 1.5 * power_of_two(7) as f32];
    const MOST: usize = 512;
    const MANY: Option<usize> = Some(1 << 17);

    type Totals<S: Simd> = [[Vector<f64, S>; 2]; 3];

    #[inline(always)]
    fn none<S: Simd>(s: S) -> Self::Totals<S> {
        [[Vector::splat(s, 0.0); 2]; 3]
    }

    #[inline(always)]
    fn flush<S: Simd>(totals: &mut Self::Totals<S>, words: [Vector<f32, S>; 3], count: usize, many: bool) {
        let s = words[0].s;
        for n in 0..3 {
            if n == 2 && !many {
                break;
            }
            // What has either sign is made positive for the conversion.
            let middle: u32 = if n == 0 { 0 } else { 1 << 31 };
            let zero = Self::ANCHORS[n].to_bits().wrapping_mul(count as u32).wrapping_sub(middle);
            let integers =
                words[n].add_bits(Vector::splat(s, f32::from_bits(zero.wrapping_neg()))).integers();
            for (i, total) in totals[n].iter_mut().enumerate() {
                *total = *total + (integers[i] - f64::from(middle));
            }
        }
    }

    #[inline(always)]
    fn joined<S: Simd>(totals: Self::Totals<S>, many: bool) -> Self::Totals<S> {
        let mut totals = totals;
        for (n, halves) in totals.iter_mut().enumerate() {
            if n == 2 && !many {
                break;
            }
            let mut sum = halves[0] + halves[1];
            // Integers below 2^53, so exact.
            for distance in [4, 2, 1] {
                sum = sum + sum.rotate(distance);
            }
            *halves = [sum; 2];
        }
        totals
    }

    type Exact = [f64; 3];

    #[inline(always)]
    fn exact<S: Simd>(joined: Self::Totals<S>) -> [f64; 3] {
        each(
            #[inline(always)]
            |n| joined[n][0].to_array()[0],
        )
    }

    #[inline(always)]
    fn totals<S: Simd>(s: S, exact: [f64; 3]) -> Self::Totals<S> {
        each(
            #[inline(always)]
            |n| [Vector::splat(s, exact[n]); 2],
        )
    }

    fn both(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
        // Integers below 2^53, so exact.
        core::array::from_fn(|n| a[n] + b[n])
    }

    #[inline(always)]
    fn without<S: Simd>(
        totals: Self::Totals<S>,
        part: Self::Totals<S>,
        factor: Vector<f32, S>,
    ) -> Self::Totals<S> {
        let (mut totals, factor) = (totals, factor.widen());
        for (halves, part) in totals.iter_mut().zip(part) {
            for i in 0..2 {
                halves[i] = halves[i] - part[i] * factor[i];
            }
        }
        totals
    }

    #[inline(always)]
    fn shortened<S: Simd>(totals: Self::Totals<S>, factor: [f32; 16]) -> Self::Totals<S> {
        let [coarse, fine, least] = totals;
        let factor = Vector::load(least[0].s, &factor).widen();
        [coarse, fine, [least[0] * factor[0], least[1] * factor[1]]]
    }
}

/// The sums of f32 terms, off by less than 2^−51 of themselves.
#[inline(always)]
pub(crate) fn numbers<S: Simd>(totals: [[Vector<f64, S>; 2]; 3]) -> [Vector<f64, S>; 2] {
    const GRID: i64 = f32::LIFT as i64 - 44;
    let [coarse, fine, least] = totals;
    each(
        #[inline(always)]
        |i| {
            // Each product is exact, the first below 2^53 units for rows of up to 2^28 elements.
            let low = fine[i] * power_of_two(GRID) + least[i] * power_of_two(GRID - 22);
            coarse[i] * power_of_two(GRID + 22) + low
        },
    )
}

/// Whether two words are too coarse for the sum of so many f32 terms, see *Error*.
#[inline(always)]
pub(crate) fn needs_third(sum: f64, terms: usize) -> bool {
    let sum = sum * power_of_two(-(f32::LIFT as i64));
    terms as f64 > power_of_two(16) * sum.max(2.0)
}

impl Accumulate for f64 {
    const LIFT: Self = 512.0;
    const ANCHORS: [Self; 3] = [power_of_two(513), 1.5 * power_of_two(463), 0.0];
    const MOST: usize = 2048;
    const MANY: Option<usize> = None;

    type Totals<S: Simd> = [Total; 8];

    #[inline(always)]
    fn none<S: Simd>(_: S) -> Self::Totals<S> {
        [Total::default(); 8]
    }

    #[inline(always)]
    fn flush<S: Simd>(totals: &mut Self::Totals<S>, words: [Vector<f64, S>; 3], count: usize, _: bool) {
        let [coarse, fine, _] = words;
        let (coarse, fine) = (coarse.to_array(), fine.to_array());
        let mut zeros = [0; 2];
        for (zero, anchor) in zeros.iter_mut().zip(Self::ANCHORS) {
            *zero = anchor.to_bits().wrapping_mul(count as u64);
        }
        for (lane, total) in totals.iter_mut().enumerate() {
            total.coarse += u128::from(coarse[lane].to_bits().wrapping_sub(zeros[0]));
            total.fine += i128::from(fine[lane].to_bits().wrapping_sub(zeros[1]) as i64);
        }
    }

    #[inline(always)]
    fn joined<S: Simd>(totals: Self::Totals<S>, _: bool) -> Self::Totals<S> {
        let mut all = Total::default();
        for total in totals {
            all.coarse += total.coarse;
            all.fine += total.fine;
        }
        [all; 8]
    }

    type Exact = Total;

    #[inline(always)]
    fn exact<S: Simd>(joined: [Total; 8]) -> Total {
        joined[0]
    }

    #[inline(always)]
    fn totals<S: Simd>(_: S, exact: Total) -> [Total; 8] {
        [exact; 8]
    }

    fn both(a: Total, b: Total) -> Total {
        Total { coarse: a.coarse + b.coarse, fine: a.fine + b.fine }
    }

    #[inline(always)]
    fn without<S: Simd>(
        totals: Self::Totals<S>,
        part: Self::Totals<S>,
        factor: Vector<f64, S>,
    ) -> Self::Totals<S> {
        let mut totals = totals;
        for ((total, part), factor) in totals.iter_mut().zip(part).zip(factor.to_array()) {
            if factor == 1.0 {
                total.coarse = total.coarse.wrapping_sub(part.coarse);
                total.fine -= part.fine;
            }
        }
        totals
    }

    #[inline(always)]
    fn shortened<S: Simd>(totals: Self::Totals<S>, _: [f64; 8]) -> Self::Totals<S> {
        totals
    }
}

/// A finished sum of f64 terms as integers, in units of the first grid and of the second.
#[derive(Clone, Copy, Default)]
pub struct Total {
    coarse: u128,
    fine: i128,
}

impl Total {
    /// The sum as an unevaluated sum of two, relative error below 2^−95 of the sum, and its head rounded.
    #[inline(always)]
    pub(crate) fn to_words(self) -> [f64; 2] {
        const GRID: i64 = f64::LIFT as i64 - 51;
        // Both parts of the coarse word are exact: below 2^53 for any row that fits in memory.
        let high = (self.coarse >> 40) as u64 as f64 * power_of_two(GRID + 40);
        let low = (self.coarse & 0xff_ffff_ffff) as u64 as f64 * power_of_two(GRID);
        let rest = self.fine as f64 * power_of_two(GRID - 50);
        let sum = high + low;
        let low = (low - (sum - high)) + rest;
        let head = sum + low;
        [head, low - (head - sum)]
    }
}

/// The term's parts in two words.
#[inline(always)]
pub(crate) fn word<T: Lane, S: Simd>(term: Term<T, S>) -> Word<T, S> {
    let hi = term.rest_and(term.t);
    let lo = term.rest_and(term.t - hi);
    match term.low {
        None => Word { hi, lo },
        Some(low) => {
            let whole = fast_two_sum(hi, low);
            Word { hi: whole.hi, lo: whole.lo + lo }
        }
    }
}
