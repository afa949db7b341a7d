//! Sums of numbers in [0, 2) that do not depend on the order: fixed point, so addition is exact.
//!
//! # Algorithm
//! v + 2 lies in [2, 4), where the last place of an f64 is 2^−51: the addition rounds v to that grid,
//! and the bit pattern of the sum is a constant plus the rounded v as an integer. Patterns are added
//! as 64-bit integers, which is associative: any split of a row, over lanes, blocks or threads, gives
//! the same total. Before the integers can overflow (2^11 terms a lane) they move to 128 bits.
//!
//! f32 terms need one such word: n terms are off by at most n·2^−52 in all. For f64 what the first
//! rounding left out goes to a second word with the grid 2^−101.

use crate::element::Lane;
use crate::math::word::{Word, fast_two_sum};
use crate::simd::{Simd, Vector};

/// How many terms a lane takes before `flush`.
pub(crate) const TERMS: usize = 2048;

/// 2.0, whose binade has the grid 2^−51.
const COARSE: f64 = 2.0;
/// 1.5·2^−49, in the middle of a binade with the grid 2^−101: it takes terms of either sign.
const FINE: f64 = f64::from_bits(0x3ce8_0000_0000_0000);

/// A finished sum in units of the grids 2^−51 and 2^−101.
#[derive(Clone, Copy, Default)]
pub struct Total {
    pub(crate) coarse: u128,
    pub(crate) fine: i128,
}

impl Total {
    /// The sum without a part of it.
    #[inline(always)]
    pub(crate) fn without(self, part: Self) -> Self {
        Self { coarse: self.coarse.wrapping_sub(part.coarse), fine: self.fine - part.fine }
    }

    /// As an unevaluated sum of two f64, relative error below 2^−95 of the sum, and its head rounded.
    #[inline(always)]
    pub(crate) fn to_words(self) -> [f64; 2] {
        const GRID: f64 = f64::from_bits((1023 - 51) << 52);
        const FINE_GRID: f64 = f64::from_bits((1023 - 101) << 52);
        // Both parts of the coarse word are exact: below 2^53 for any row that fits in memory.
        let high = (self.coarse >> 40) as u64 as f64 * (GRID * 1_099_511_627_776.0);
        let low = (self.coarse & 0xff_ffff_ffff) as u64 as f64 * GRID;
        let rest = self.fine as f64 * FINE_GRID;
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

    /// Nothing added yet.
    fn sums<S: Simd>(s: S) -> Self::Sums<S>;
    /// Adds t + w, which lies in [0, 2), |w| ≤ t/8.
    fn accumulate<S: Simd>(sums: &mut Self::Sums<S>, t: Vector<Self, S>, w: Vector<Self, S>)
    where
        Self: Sized;
    /// Moves the `terms` ≤ [`TERMS`] terms of each lane to its total, or those of all lanes to the one.
    fn flush<S: Simd>(s: S, sums: &mut Self::Sums<S>, terms: usize, totals: &mut [Total]);
}

impl Accumulate for f32 {
    type Sums<S: Simd> = [Vector<f64, S>; 2];

    #[inline(always)]
    fn sums<S: Simd>(s: S) -> Self::Sums<S> {
        [Vector::splat(s, 0.0); 2]
    }

    #[inline(always)]
    fn accumulate<S: Simd>(sums: &mut Self::Sums<S>, t: Vector<Self, S>, w: Vector<Self, S>) {
        let ([t0, t1], [w0, w1]) = (t.widen(), w.widen());
        sums[0] = sums[0].add_bits(t0 + COARSE + w0);
        sums[1] = sums[1].add_bits(t1 + COARSE + w1);
    }

    #[inline(always)]
    fn flush<S: Simd>(s: S, sums: &mut Self::Sums<S>, terms: usize, totals: &mut [Total]) {
        let offset = (terms as u64).wrapping_mul(COARSE.to_bits());
        let [low, high] = [sums[0].to_array(), sums[1].to_array()];
        let across = totals.len() == 1;
        for (lane, bits) in low.iter().chain(&high).enumerate() {
            totals[if across { 0 } else { lane }].coarse += u128::from(bits.to_bits().wrapping_sub(offset));
        }
        *sums = Self::sums(s);
    }
}

impl Accumulate for f64 {
    type Sums<S: Simd> = [Vector<f64, S>; 2];

    #[inline(always)]
    fn sums<S: Simd>(s: S) -> Self::Sums<S> {
        [Vector::splat(s, 0.0); 2]
    }

    #[inline(always)]
    fn accumulate<S: Simd>(sums: &mut Self::Sums<S>, t: Vector<Self, S>, w: Vector<Self, S>) {
        let Word { hi, lo } = fast_two_sum(t, w);
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
