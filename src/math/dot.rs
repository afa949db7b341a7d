//! Σ a·b in one order that the element's index alone decides, accurate for any signs.
//!
//! # Algorithm
//! Element i of a row goes to accumulator i mod 32; the 32 accumulators are added by halves (i and
//! i + 16, i + 8, …); every 65,536 elements that sum is added to the row's total. However a row lies
//! in memory, and however it is cut at block borders, the additions are the same.
//!
//! # Error
//! f32: products are exact in f64, a sum of 2^24 terms is off by at most 2^11 roundings of 2^−53 a
//! block and 2^8 blocks: 2^−41 of Σ|a·b|. f64: products and sums keep what they round off in a second
//! word (T. Ogita, S. M. Rump, S. Oishi, *Accurate sum and dot product*, 2005): 2^−53 once, and n²·2^−106,
//! of Σ|a·b|. Products may not overflow or underflow; callers scale.

use crate::element::Lane;
use crate::math::word::{Word, two_prod, two_sum};
use crate::rows::Each;
use crate::simd::{Simd, Vector};

/// Accumulators of a row.
pub(crate) const WAYS: usize = 32;
/// Elements of a block.
pub(crate) const BLOCK: usize = 65_536;

/// Running sums of products.
pub trait Dot: Lane {
    /// One accumulator a lane; also a finished sum.
    type Acc<S: Simd>: Each<Self, S>
    where
        Self: Sized;

    /// Zero.
    fn acc<S: Simd>(s: S) -> Self::Acc<S>;
    /// acc + a·b
    fn add_product<S: Simd>(acc: &mut Self::Acc<S>, a: Vector<Self, S>, b: Vector<Self, S>)
    where
        Self: Sized;
    /// Two accumulators added.
    fn merge<S: Simd>(a: Self::Acc<S>, b: Self::Acc<S>) -> Self::Acc<S>;
    /// Accumulator 0 from the lanes of the registers of one set of 32, added by halves.
    fn across<S: Simd>(s: S, accs: &[Self::Acc<S>]) -> Self::Acc<S>;
}

impl Dot for f32 {
    type Acc<S: Simd> = [Vector<f64, S>; 2];

    #[inline(always)]
    fn acc<S: Simd>(s: S) -> Self::Acc<S> {
        [Vector::splat(s, 0.0); 2]
    }

    #[inline(always)]
    fn add_product<S: Simd>(acc: &mut Self::Acc<S>, a: Vector<f32, S>, b: Vector<f32, S>) {
        let ([a0, a1], [b0, b1]) = (a.widen(), b.widen());
        // The product is exact, so a fused operation would give the same.
        acc[0] = acc[0] + a0 * b0;
        acc[1] = acc[1] + a1 * b1;
    }

    #[inline(always)]
    fn merge<S: Simd>(a: Self::Acc<S>, b: Self::Acc<S>) -> Self::Acc<S> {
        [a[0] + b[0], a[1] + b[1]]
    }

    #[inline(always)]
    fn across<S: Simd>(_: S, accs: &[Self::Acc<S>]) -> Self::Acc<S> {
        let [low, high] = Self::merge(accs[0], accs[1]);
        let mut sum = low + high;
        for distance in [4, 2, 1] {
            sum = sum + sum.rotate(distance);
        }
        let all = Vector::splat(sum.s, sum.to_array()[0]);
        [all, all]
    }
}

impl Dot for f64 {
    type Acc<S: Simd> = Word<f64, S>;

    #[inline(always)]
    fn acc<S: Simd>(s: S) -> Self::Acc<S> {
        Word::splat(s, 0.0, 0.0)
    }

    #[inline(always)]
    fn add_product<S: Simd>(acc: &mut Self::Acc<S>, a: Vector<f64, S>, b: Vector<f64, S>) {
        let p = two_prod(a, b);
        let sum = two_sum(acc.hi, p.hi);
        *acc = Word { hi: sum.hi, lo: acc.lo + (sum.lo + p.lo) };
    }

    #[inline(always)]
    fn merge<S: Simd>(a: Self::Acc<S>, b: Self::Acc<S>) -> Self::Acc<S> {
        a.add(b)
    }

    #[inline(always)]
    fn across<S: Simd>(s: S, accs: &[Self::Acc<S>]) -> Self::Acc<S> {
        let mut sum = accs[0].add(accs[2]).add(accs[1].add(accs[3]));
        for distance in [4, 2, 1] {
            sum = sum.add(Word { hi: sum.hi.rotate(distance), lo: sum.lo.rotate(distance) });
        }
        Word::splat(s, sum.hi.to_array()[0], sum.lo.to_array()[0])
    }
}

/// Accumulators of one set, added by halves where each register holds one accumulator of many rows.
#[inline(always)]
pub(crate) fn by_halves<T: Dot, S: Simd>(accs: &mut [T::Acc<S>; WAYS]) -> T::Acc<S> {
    let mut half = WAYS / 2;
    while half > 0 {
        for i in 0..half {
            accs[i] = T::merge(accs[i], accs[i + half]);
        }
        half /= 2;
    }
    accs[0]
}

/// Σ of the products that `terms` gives for each step.
///
/// `across`: lanes are neighbours of one row, and the result is the same in all lanes; otherwise each
/// lane is a row of its own, and a step is an element.
#[inline(always)]
pub(crate) fn dot<T: Dot, S: Simd>(
    s: S,
    steps: usize,
    across: bool,
    mut terms: impl FnMut(usize) -> (Vector<T, S>, Vector<T, S>),
) -> T::Acc<S> {
    let mut total = T::acc(s);
    let (per_block, ways) = if across { (BLOCK / T::LANES, WAYS / T::LANES) } else { (BLOCK, WAYS) };
    let mut start = 0;
    while start < steps {
        let end = steps.min(start + per_block);
        let sum = if across {
            // Four is the larger count of registers, so that the set stays in them.
            let mut accs = [T::acc(s); 4];
            let mut j = start;
            while j + 4 <= end {
                for way in 0..4 {
                    let (a, b) = terms(j + way);
                    T::add_product(&mut accs[way % ways], a, b);
                }
                j += 4;
            }
            for way in 0..end - j {
                let (a, b) = terms(j + way);
                T::add_product(&mut accs[way % ways], a, b);
            }
            T::across(s, &accs[..ways])
        } else {
            let mut accs = [T::acc(s); WAYS];
            for j in start..end {
                let (a, b) = terms(j);
                T::add_product(&mut accs[(j - start) % WAYS], a, b);
            }
            by_halves::<T, S>(&mut accs)
        };
        total = T::merge(total, sum);
        start = end;
    }
    total
}
