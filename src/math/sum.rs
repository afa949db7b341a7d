//! Sums of positive terms that do not depend on the order: fixed point, so addition is exact.
//!
//! # Algorithm
//! Terms lie in [0, 2) and arrive as t + w, |w| ≤ t/16, multiplied by 2^[`LIFT`](Accumulate::LIFT), so that
//! neither underflows; what follows leaves that out. Adding 2 to a term takes it to a binade with the grid g₁ = 2^(2−p):
//! the addition rounds it to that grid, and the bit pattern of the sum is a constant plus the rounded term as an
//! integer. Integers are added exactly, whichever way a row is split over lanes, blocks or threads. What the rounding
//! left out is known exactly and goes to a second word in the same way, on a finer grid g₂, and in rows so long
//! that this adds up, what is left of that to a third.
//!
//! # Error
//! Each term is rounded to g₂, and a small one when its parts are added: n terms are off by at most n·(2^−45 + 2^−48) in all
//! for f32, n·2^−102 for f64. f32 rows with more than 2^17 terms have a third word: n·2^−66.

use crate::element::Lane;
use crate::math::exp::Term;
use crate::math::word::{Word, fast_two_sum};
use crate::simd::{Simd, Vector};

/// A finished sum as integers: f32 in units of the second grid and of the third, f64 in units of the first and the second.
#[derive(Clone, Copy, Default)]
pub struct Total {
    coarse: u128,
    fine: i128,
}

/// 2^exponent, normal.
pub(crate) const fn power_of_two(exponent: i64) -> f64 {
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

impl Total {
    /// The sum without a part of it.
    #[inline(always)]
    pub(crate) fn without(self, part: Self) -> Self {
        Self { coarse: self.coarse.wrapping_sub(part.coarse), fine: self.fine - part.fine }
    }

    /// A sum of f32 terms without its third word.
    #[inline(always)]
    pub(crate) fn shortened(self) -> Self {
        Self { fine: 0, ..self }
    }

    /// A sum of f32 terms, off by less than 2^−51 of itself.
    #[inline(always)]
    pub(crate) fn to_number(self) -> f64 {
        const GRID: i64 = f32::LIFT as i64 - 44;
        // Each part is exact: below 2^53 for rows of up to 2^24.
        let high = (self.coarse >> 32) as u64 as f64 * power_of_two(GRID + 32);
        let low = self.coarse as u32 as f64 * power_of_two(GRID);
        high + (low + self.fine as i64 as f64 * power_of_two(GRID - 22))
    }

    /// A sum of f64 terms as an unevaluated sum of two, relative error below 2^−95 of the sum, and its head rounded.
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

/// Running sums, one a lane.
#[derive(Clone, Copy)]
pub struct Sums<T: Lane, S: Simd>([Vector<T, S>; 3]);

/// What makes words of terms.
pub trait Accumulate: Lane {
    /// Terms come multiplied by two to this power, far above anything that underflows.
    const LIFT: Self;
    /// What is added for each word: 2·2^LIFT, then 1.5 times a power of two, in the middle of a binade, since what is
    /// left out has either sign.
    const ANCHORS: [Self; 3];
    /// How many terms a lane takes before `flush`.
    const MOST: usize;
    /// Rows with more terms than that have a third word.
    const MANY: usize;

    /// Moves the terms of each lane to its total, or those of all lanes to the one.
    fn flush<S: Simd>(sums: Sums<Self, S>, terms: usize, totals: &mut [Total])
    where
        Self: Sized;
}

impl<T: Accumulate, S: Simd> Sums<T, S> {
    /// Nothing added yet.
    #[inline(always)]
    pub(crate) fn new(s: S) -> Self {
        Self([Vector::splat(s, T::zero()); 3])
    }

    /// Adds a term, to all three words if it is one of `many`.
    #[inline(always)]
    pub(crate) fn add(&mut self, Term { t, w, low }: Term<T, S>, many: bool) {
        let [first, second, third] = T::ANCHORS;
        let sum = match low {
            Some(low) => t + w + low,
            None => t + w,
        };
        let coarse = sum + first;
        // Exact: nothing that is left out of a term on the grid has more bits than fit.
        let beyond = t - (coarse - first);
        // Exact too where the grid took anything, for then the two all but cancel.
        let mut rest = beyond + w;
        if let Some(low) = low {
            rest = rest + low;
        }
        let fine = rest + second;
        self.0[0] = self.0[0].add_bits(coarse);
        self.0[1] = self.0[1].add_bits(fine);
        if T::MANY < usize::MAX && many {
            let least = (rest - (fine - second)) + (w - (rest - beyond)) + third;
            self.0[2] = self.0[2].add_bits(least);
        }
    }
}

impl Accumulate for f32 {
    const LIFT: Self = 50.0;
    const ANCHORS: [Self; 3] =
        [power_of_two(51) as f32, 1.5 * power_of_two(29) as f32, 1.5 * power_of_two(7) as f32];
    const MOST: usize = 512;
    const MANY: usize = 1 << 17;

    #[inline(always)]
    fn flush<S: Simd>(sums: Sums<f32, S>, terms: usize, totals: &mut [Total]) {
        let [coarse, fine, least] = sums.0;
        let (coarse, fine, least) = (coarse.to_array(), fine.to_array(), least.to_array());
        let mut zeros = [0; 3];
        for (zero, anchor) in zeros.iter_mut().zip(Self::ANCHORS) {
            *zero = anchor.to_bits().wrapping_mul(terms as u32);
        }
        if let ([one], ..32) = (&mut *totals, terms) {
            // So few that 32 bits hold them all.
            let [mut whole, mut rest] = [0_u32; 2];
            for lane in 0..16 {
                whole = whole.wrapping_add(coarse[lane].to_bits());
                rest = rest.wrapping_add(fine[lane].to_bits());
            }
            let whole = u64::from(whole.wrapping_sub(zeros[0].wrapping_mul(16))) << 22;
            let rest = i64::from(rest.wrapping_sub(zeros[1].wrapping_mul(16)) as i32);
            one.coarse += u128::from(whole.wrapping_add(rest as u64));
            return;
        }
        // Without branches, so that it is done for all lanes at once.
        let (mut sums, mut rests) = ([0_u64; 16], [0_i64; 16]);
        for lane in 0..16 {
            let coarse = u64::from(coarse[lane].to_bits().wrapping_sub(zeros[0]));
            let fine = i64::from(fine[lane].to_bits().wrapping_sub(zeros[1]) as i32);
            sums[lane] = (coarse << 22).wrapping_add(fine as u64);
            rests[lane] = i64::from(least[lane].to_bits().wrapping_sub(zeros[2]) as i32);
        }
        match totals {
            [one] => {
                one.coarse += u128::from(sums.iter().fold(0, |sum: u64, &lane| sum.wrapping_add(lane)));
                one.fine += i128::from(rests.iter().fold(0, |sum: i64, &lane| sum.wrapping_add(lane)));
            }
            each => {
                for (lane, total) in each[..16].iter_mut().enumerate() {
                    total.coarse += u128::from(sums[lane]);
                    total.fine += i128::from(rests[lane]);
                }
            }
        }
    }
}

impl Accumulate for f64 {
    const LIFT: Self = 512.0;
    const ANCHORS: [Self; 3] = [power_of_two(513), 1.5 * power_of_two(463), 0.0];
    const MOST: usize = 2048;
    const MANY: usize = usize::MAX;

    #[inline(always)]
    fn flush<S: Simd>(sums: Sums<f64, S>, terms: usize, totals: &mut [Total]) {
        let [coarse, fine, _] = sums.0;
        let (coarse, fine) = (coarse.to_array(), fine.to_array());
        let mut zeros = [0; 2];
        for (zero, anchor) in zeros.iter_mut().zip(Self::ANCHORS) {
            *zero = anchor.to_bits().wrapping_mul(terms as u64);
        }
        let across = totals.len() == 1;
        for lane in 0..8 {
            let total = &mut totals[if across { 0 } else { lane }];
            total.coarse += u128::from(coarse[lane].to_bits().wrapping_sub(zeros[0]));
            total.fine += i128::from(fine[lane].to_bits().wrapping_sub(zeros[1]) as i64);
        }
    }
}

/// The term's parts in two words.
#[inline(always)]
pub(crate) fn word<T: Lane, S: Simd>(Term { t, w, low }: Term<T, S>) -> Word<T, S> {
    let sum = fast_two_sum(t, w);
    match low {
        None => sum,
        Some(low) => {
            let whole = fast_two_sum(sum.hi, low);
            Word { hi: whole.hi, lo: whole.lo + sum.lo }
        }
    }
}
