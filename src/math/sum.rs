//! Sums of positive terms that do not depend on the order: fixed point, so addition is exact.
//!
//! # Algorithm
//! Terms are rounded to a grid, as 64-bit integers, whose addition is associative: any split of a row,
//! over lanes, blocks or threads, gives the same total. They lie in [0, 2) and arrive as t + w, |w| ≤ t/16,
//! multiplied by 2^[`LIFT`](Accumulate::LIFT), so that none of the two underflows. Totals are multiplied too.
//!
//! *f32.* LIFT makes the grid 1. Both t and w are rounded to it.
//! *f64.* v + 2^(1 + LIFT) lies in a binade with the grid 2^(LIFT − 51): the addition rounds v to that grid, and the
//! bit pattern of the sum is a constant plus the rounded v as an integer. What the rounding left out
//! goes to a second word with the grid 2^(LIFT − 101).
//!
//! # Error
//! f32: n terms are off by at most n·2^−50 in all, f64: by n·2^−102.

use crate::element::Lane;
use crate::math::exp::Term;
use crate::math::word::{Word, fast_two_sum};
use crate::simd::{Simd, Vector};

/// How many terms a lane takes before `flush`: their sum, of all lanes of a register where those are
/// neighbours of a row, fits in 64 bits.
pub(crate) const fn most_terms(across: bool) -> usize {
    if across { 128 } else { 2048 }
}

/// A finished sum in units of the grid: of 1 for f32, of 2^(LIFT − 51) and 2^(LIFT − 101) for f64.
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

    /// A sum of f32 terms, rounded to nearest.
    #[inline(always)]
    pub(crate) fn to_number(self) -> f64 {
        // The leading 64 bits, the last of them set where anything lies below: that rounds like the whole.
        let shift = (self.coarse | 1).leading_zeros();
        let aligned = self.coarse << shift;
        let leading = (aligned >> 64) as u64 | u64::from(aligned as u64 != 0);
        leading as f64 * power_of_two(64 - i64::from(shift))
    }

    /// A sum of f64 terms as an unevaluated sum of two, relative error below 2^−95 of the sum, and its head rounded.
    #[inline(always)]
    pub(crate) fn to_words(self) -> [f64; 2] {
        const GRID: i64 = LIFT - 51;
        // Both parts of the coarse word are exact: below 2^53 for any row that fits in memory.
        let high = (self.coarse >> 40) as u64 as f64 * power_of_two(GRID + 40);
        let low = (self.coarse & 0xff_ffff_ffff) as u64 as f64 * power_of_two(GRID);
        let rest = self.fine as f64 * power_of_two(LIFT - 101);
        let sum = high + low;
        let low = (low - (sum - high)) + rest;
        let head = sum + low;
        [head, low - (head - sum)]
    }
}

/// Running sums, one a lane.
pub trait Accumulate: Lane {
    /// The registers they are kept in.
    type Sums<S: Simd>: Copy;
    /// Terms come multiplied by two to this power, far above anything that underflows.
    const LIFT: Self;

    /// Nothing added yet.
    fn sums<S: Simd>(s: S) -> Self::Sums<S>;
    /// Adds a term.
    fn accumulate<S: Simd>(sums: &mut Self::Sums<S>, term: Term<Self, S>)
    where
        Self: Sized;
    /// Moves the terms of each lane to its total, or those of all lanes to the one.
    fn flush<S: Simd>(s: S, sums: &mut Self::Sums<S>, terms: usize, totals: &mut [Total]);
}

impl Accumulate for f32 {
    type Sums<S: Simd> = [Vector<f64, S>; 2];
    const LIFT: Self = 50.0;

    #[inline(always)]
    fn sums<S: Simd>(s: S) -> Self::Sums<S> {
        [Vector::splat(s, 0.0); 2]
    }

    #[inline(always)]
    fn accumulate<S: Simd>(sums: &mut Self::Sums<S>, term: Term<f32, S>) {
        let ([t0, t1], [w0, w1]) = (term.t.fixed(), term.w.fixed());
        sums[0] = sums[0].add_bits(t0.add_bits(w0));
        sums[1] = sums[1].add_bits(t1.add_bits(w1));
    }

    #[inline(always)]
    fn flush<S: Simd>(s: S, sums: &mut Self::Sums<S>, terms: usize, totals: &mut [Total]) {
        let zeros = (2 * terms as u64).wrapping_mul(S::FIXED_ZERO);
        let [low, high] = *sums;
        match totals {
            [one] => {
                let lanes = low.add_bits(high).to_array();
                let units = lanes.iter().fold(0, |sum: u64, lane| sum.wrapping_add(lane.to_bits()));
                one.coarse += u128::from(units.wrapping_sub(zeros.wrapping_mul(16)));
            }
            each => {
                let [low, high] = [low.to_array(), high.to_array()];
                for (total, bits) in each.iter_mut().zip(low.iter().chain(&high)) {
                    total.coarse += u128::from(bits.to_bits().wrapping_sub(zeros));
                }
            }
        }
        *sums = Self::sums(s);
    }
}

const LIFT: i64 = 512;
/// 2·2^LIFT, whose binade has the grid 2^(LIFT − 51).
const COARSE: f64 = power_of_two(LIFT + 1);
/// 1.5·2^(LIFT − 49), in the middle of a binade with the grid 2^(LIFT − 101): it takes terms of either sign.
const FINE: f64 = 1.5 * power_of_two(LIFT - 49);

impl Accumulate for f64 {
    type Sums<S: Simd> = [Vector<f64, S>; 2];
    const LIFT: Self = LIFT as f64;

    #[inline(always)]
    fn sums<S: Simd>(s: S) -> Self::Sums<S> {
        [Vector::splat(s, 0.0); 2]
    }

    #[inline(always)]
    fn accumulate<S: Simd>(sums: &mut Self::Sums<S>, term: Term<f64, S>) {
        let Word { hi, lo } = word(term);
        let coarse = hi + COARSE;
        let rest = hi - (coarse - COARSE);
        sums[0] = sums[0].add_bits(coarse);
        sums[1] = sums[1].add_bits(rest + lo + FINE);
    }

    #[inline(always)]
    fn flush<S: Simd>(s: S, sums: &mut Self::Sums<S>, terms: usize, totals: &mut [Total]) {
        let coarse = (terms as u64).wrapping_mul(COARSE.to_bits());
        let fine = (terms as u64).wrapping_mul(FINE.to_bits());
        let [a, b] = [sums[0].to_array(), sums[1].to_array()];
        let across = totals.len() == 1;
        for (lane, (a, b)) in a.iter().zip(&b).enumerate() {
            let total = &mut totals[if across { 0 } else { lane }];
            total.coarse += u128::from(a.to_bits().wrapping_sub(coarse));
            total.fine += i128::from(b.to_bits().wrapping_sub(fine) as i64);
        }
        *sums = Self::sums(s);
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
