//! exp as a table value T and a small part q of it: as 2^b·(T + T·q), or multiplied out at a power that is chosen.
//!
//! # Mathematics
//! x = (k/8)·ln2 + r with the integer k nearest to x·8/ln2, |r| ≤ ln2/16. With k = 8b + j and
//! 2^(j/8) = T·exp(−c), T rounded: exp x = 2^b·T·exp(r − c) = 2^b·(T + T·q), q = exp(r − c) − 1.
//!
//! # Algorithm
//! Adding MAGIC = 1.5·2^(p−4), whose last place is 1/8, rounds x/ln2 to k/8 and leaves k in the low
//! bits of the sum `z`; `z − MAGIC` is k/8. r − c comes from two fused steps with ln2 in two words: the
//! first is exact (x and (k/8)·L₁ are multiples of a grid on which it has fewer than p bits), and so is rounded
//! once. q is r − c and its square times a polynomial. Since |q| < 0.045, nothing that rounds it matters much; the product
//! T·q is left to a fused step of the caller.
//!
//! *Multiplied out* ([`terms`]): with MAGIC + e in place of MAGIC, e an integer, the bits of z moved up to the exponent
//! field, plus an entry of a table, are 2^(b + e)·T: no multiplication, and a sum of such terms may be
//! relative to any power of two.
//!
//! *Relative*: terms that only their ratios count of may all have a factor F in common. Of all f32 numbers there is one
//! from which on eight steps of 2^(1/8) come so near to f32 numbers that no c is needed: F·2^(j/8) are the
//! [`RELATIVE_POWERS`](ExpTable::RELATIVE_POWERS) to 2^−28.4. For f64 there is no search that far: F = 1. A logarithm that
//! another number is added to keeps more digits with c.
//!
//! *Wide* ([`ExpTable::wide_terms`], of use for f64 only): what rounding r − c left out goes on to the polynomial's
//! part s, and w = T·r is rounded, for sums need its last digits; the rest of that product is kept with T·s.
//!
//! # Error
//! Polynomial 2^−32.1 (f32), 2^−58.2 (f64), certified by `verify/coefficients/exp.sollya`; r − c and q
//! are rounded at 2^−29 of exp x (2^−58): T + T·q has a relative error below 2^−27.8 (2^−56.4), a tenth of an ULP; a
//! relative term, for f32, below 2^−27.1. Wide, f64: polynomial 2^−66.5, roundings of s and of the last part
//! at 2^−63, and what r − c left out added to it alone: below 2^−60.8. All are proved in `verify/proofs`, for
//! |x| ≤ 2^12, as callers clamp.
//!
//! Source: P. T. P. Tang, *Table-driven implementation of the exponential function in IEEE
//! floating-point arithmetic* (1989); the table whose error goes into the argument: S. Gal, *Computing elementary
//! functions: a new approach for achieving high accuracy and good performance* (1986).

use crate::element::Lane;
use crate::simd::{Simd, Vector};

/// The constants of exp, made by `verify/coefficients/exp.sollya`.
pub trait ExpTable: Lane {
    /// 1/ln2.
    const INV_LN2: Self;
    /// ln2 in two words.
    const LN2: [Self; 2];
    /// T = 2^(j/8), rounded.
    const TABLE: [Self; 8];
    /// T less the j that the moved pattern has below its exponent, as patterns.
    const POWERS: [Self; 8];
    /// c = ln(T/2^(j/8))
    const REST: [Self; 8];
    /// F·2^(j/8), rounded, as `POWERS`: the table of relative terms.
    const RELATIVE_POWERS: [Self; 8];
    /// What rounding them left out, as `REST`, where it counts.
    const RELATIVE_REST: Option<[Self; 8]>;
    /// log₂ F
    const LOG2_F: f64;

    /// p(r), exp r = 1 + r + r²·p(r), for several registers; `between` is called once on the way.
    fn polynomial<S: Simd, const N: usize>(
        r: [Vector<Self, S>; N],
        between: impl FnMut(),
    ) -> [Vector<Self, S>; N]
    where
        Self: Sized;

    /// Whether `wide_terms` have a third part.
    const WIDE: bool = false;

    /// [`terms`] to take logarithms of: with relative error 2^−60.8 for f64; for f32, which has no need of it, the same.
    #[inline(always)]
    fn wide_terms<S: Simd, const N: usize>(
        x: [Vector<Self, S>; N],
        low: Option<[Vector<Self, S>; N]>,
        magic: Vector<Self, S>,
        between: impl FnMut(usize),
    ) -> [Term<Self, S>; N]
    where
        Self: Sized,
    {
        terms::<_, _, N, false>(x, low, magic, between)
    }
}

impl ExpTable for f32 {
    const INV_LN2: Self = Self::from_bits(0x3fb8_aa3b); // 1.442695
    const LN2: [Self; 2] = words!(f32: 0x3f31_7218 0xb102_e308); // 0.6931472 − 1.9e−9
    const TABLE: [Self; 8] = words!(f32:
        0x3f80_0000 0x3f8b_95c2 0x3f98_37f0 0x3fa5_fed7 0x3fb5_04f3 0x3fc5_672a 0x3fd7_44fd 0x3fea_c0c7);
    const POWERS: [Self; 8] = words!(f32:
        0x3f80_0000 0x3f7b_95c2 0x3f78_37f0 0x3f75_fed7 0x3f75_04f3 0x3f75_672a 0x3f77_44fd 0x3f7a_c0c7);
    const REST: [Self; 8] = words!(f32:
        0x0000_0000 0x324e_0611 0xb309_2801 0x3305_1aa9 0xb293_02ae 0xb1b3_d0e5 0x327c_e183 0x31d2_90be);
    const RELATIVE_POWERS: [Self; 8] = words!(f32:
        0x3f7f_5829 0x3f7b_3a3e 0x3f77_d424 0x3f75_9202 0x3f74_8e45 0x3f74_e5be 0x3f76_b7da 0x3f7a_26de);
    const RELATIVE_REST: Option<[Self; 8]> = None;
    const LOG2_F: f64 = f64::from_bits(0xbf6e_4e77_e5fa_9048); // −0.0037

    #[inline(always)]
    fn polynomial<S: Simd, const N: usize>(
        r: [Vector<Self, S>; N],
        between: impl FnMut(),
    ) -> [Vector<Self, S>; N] {
        const C: [f32; 3] = words!(f32: 0x3f00_0002 0x3e2a_ae3b 0x3d2a_5fbb); // ≈ 1/2, 1/6, 1/24
        horners(r, C, between)
    }
}

impl ExpTable for f64 {
    const INV_LN2: Self = Self::from_bits(0x3ff7_1547_652b_82fe); // 1.4426950408889634
    const LN2: [Self; 2] = words!(f64: 0x3fe6_2e42_fefa_39ef 0x3c7a_bc9e_3b39_803f);
    const TABLE: [Self; 8] = words!(f64:
        0x3ff0_0000_0000_0000 0x3ff1_72b8_3c7d_517b 0x3ff3_06fe_0a31_b715 0x3ff4_bfda_d536_2a27
        0x3ff6_a09e_667f_3bcd 0x3ff8_ace5_422a_a0db 0x3ffa_e89f_995a_d3ad 0x3ffd_5818_dcfb_a487);
    const POWERS: [Self; 8] = words!(f64:
        0x3ff0_0000_0000_0000 0x3fef_72b8_3c7d_517b 0x3fef_06fe_0a31_b715 0x3fee_bfda_d536_2a27
        0x3fee_a09e_667f_3bcd 0x3fee_ace5_422a_a0db 0x3fee_e89f_995a_d3ad 0x3fef_5818_dcfb_a487);
    const REST: [Self; 8] = words!(f64:
        0x0000_0000_0000_0000 0x3c80_1b15_eaa5_9348 0xbc83_4d75_4db0_abb6 0xbc76_90ce_bb7a_afb0
        0x3c93_b3ef_bf5e_2229 0xbc8d_b72f_c1f0_eab4 0xbc8c_1a77_92cb_3387 0xbc74_a385_a63d_07a7);
    const RELATIVE_POWERS: [Self; 8] = Self::POWERS;
    const RELATIVE_REST: Option<[Self; 8]> = Some(Self::REST);
    const LOG2_F: f64 = 0.0;

    #[inline(always)]
    fn polynomial<S: Simd, const N: usize>(
        r: [Vector<Self, S>; N],
        between: impl FnMut(),
    ) -> [Vector<Self, S>; N] {
        // ≈ 1/2, 1/6, 1/24, 1/120, 1/720, 1/5040
        const C: [f64; 6] = words!(f64:
            0x3fe0_0000_0000_010b 0x3fc5_5555_5555_5130 0x3fa5_5555_5480_cdc6 0x3f81_1111_125d_ce64
            0x3f56_c1cb_ded7_a153 0x3f2a_0163_9167_4e99);
        horners(r, C, between)
    }

    const WIDE: bool = true;

    #[inline(always)]
    fn wide_terms<S: Simd, const N: usize>(
        x: [Vector<f64, S>; N],
        low: Option<[Vector<f64, S>; N]>,
        magic: Vector<f64, S>,
        mut between: impl FnMut(usize),
    ) -> [Term<f64, S>; N] {
        let Reduced { z, head, tail } = reduce(x, low, magic, Self::REST, &mut between);
        let r: [_; N] = each(
            #[inline(always)]
            |i| head[i] + tail[i],
        );
        let left_out: [_; N] = each(
            #[inline(always)]
            |i| tail[i] - (r[i] - head[i]),
        );
        between(2);
        let p = horners(
            r,
            WIDE,
            #[inline(always)]
            || between(3),
        );
        between(4);
        each(
            #[inline(always)]
            |i| {
                let s = p[i].mul_add(r[i] * r[i], left_out[i]);
                let t = power(z[i], &Self::POWERS);
                let w = t * r[i];
                Term { t, rest: w, low: Some(t.mul_add(s, t.mul_add(r[i], -w))) }
            },
        )
    }
}

/// ≈ 1/2, 1/6, 1/24, 1/120, 1/720, 1/5040, 1/40320, by `verify/coefficients/exp.sollya`.
pub(crate) const WIDE: [f64; 7] = words!(f64:
    0x3fe0_0000_0000_0000 0x3fc5_5555_5555_55fa 0x3fa5_5555_5555_5474 0x3f81_1111_10a1_6af2
    0x3f56_c16c_1733_1d9e 0x3f2a_01fb_395b_8564 0x3efa_01a5_8fcd_c2f0);

/// c₀ + c₁x + c₂x² + …
#[inline(always)]
pub(crate) fn horner<T: Lane, S: Simd, const N: usize>(x: Vector<T, S>, c: [T; N]) -> Vector<T, S> {
    let [sum] = horners([x], c, || ());
    sum
}

/// The same for several registers, each step for all of them; `between` is called after the first step.
#[inline(always)]
fn horners<T: Lane, S: Simd, const M: usize, const N: usize>(
    x: [Vector<T, S>; M],
    c: [T; N],
    mut between: impl FnMut(),
) -> [Vector<T, S>; M] {
    let mut sums = [Vector::splat(x[0].s, c[N - 1]); M];
    for n in (0..N - 1).rev() {
        let c = Vector::splat(x[0].s, c[n]);
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = sum.mul_add(x[i], c);
        }
        if n == N - 2 {
            between();
        }
    }
    sums
}

/// What `f` gives for each index, N ≥ 1. The functions of the library may stay out of line.
#[inline(always)]
pub(crate) fn each<V: Copy, const N: usize>(mut f: impl FnMut(usize) -> V) -> [V; N] {
    let mut values = [f(0); N];
    // An iterator here would be a quarter of what the compiler is given.
    let mut i = 1;
    while i < N {
        values[i] = f(i);
        i += 1;
    }
    values
}

/// exp x = 2^⌊z − MAGIC⌋·(t + t·q).
#[derive(Clone, Copy)]
pub struct Exp<T: Lane, S: Simd> {
    /// The exponent and the table index, in magic form.
    pub(crate) z: Vector<T, S>,
    /// The table value, in [1, 2).
    pub(crate) t: Vector<T, S>,
    /// |q| < 0.045
    pub(crate) q: Vector<T, S>,
}

/// exp x = t + t·q, or t + w + low, multiplied by a power of two that is known, and by F where it is relative.
#[derive(Clone, Copy)]
pub struct Term<T: Lane, S: Simd> {
    /// The table value.
    pub(crate) t: Vector<T, S>,
    /// q, |q| < 0.045; or w if there is a low part.
    pub(crate) rest: Vector<T, S>,
    /// What w leaves out where it is the linear part, below 0.001·t.
    pub(crate) low: Option<Vector<T, S>>,
}

impl<T: Lane, S: Simd> Term<T, S> {
    /// v plus what the term is beside `t`, without the low part.
    #[inline(always)]
    pub(crate) fn rest_and(&self, v: Vector<T, S>) -> Vector<T, S> {
        if self.low.is_some() { v + self.rest } else { self.t.mul_add(self.rest, v) }
    }

    /// 0; whether it has three parts.
    #[inline(always)]
    pub(crate) fn none(s: S, wide: bool) -> Self {
        let zero = Vector::splat(s, T::zero());
        Self { t: zero, rest: zero, low: if wide { Some(zero) } else { None } }
    }
}

/// x/ln2 rounded to a multiple of 1/8, in magic form; |x| ≤ 2^12.
#[inline(always)]
pub(crate) fn exponent<T: ExpTable, S: Simd>(x: Vector<T, S>) -> Vector<T, S> {
    x.mul_add(Vector::splat(x.s, T::INV_LN2), Vector::splat(x.s, T::MAGIC))
}

/// x = (z − magic)·ln2 + head + tail, and what the table's entry for z left out.
struct Reduced<T: Lane, S: Simd, const N: usize> {
    z: [Vector<T, S>; N],
    head: [Vector<T, S>; N],
    tail: [Vector<T, S>; N],
}

/// z, and x − (z − magic)·ln2 with the first word of ln2, which is exact.
#[inline(always)]
fn heads<T: ExpTable, S: Simd, const N: usize>(
    x: [Vector<T, S>; N],
    magic: Vector<T, S>,
    between: &mut impl FnMut(usize),
) -> [[Vector<T, S>; N]; 3] {
    let s = magic.s;
    let [inverse, ln2] = [Vector::splat(s, T::INV_LN2), Vector::splat(s, -T::LN2[0])];
    let z: [_; N] = each(
        #[inline(always)]
        |i| x[i].mul_add(inverse, magic),
    );
    between(0);
    let k: [_; N] = each(
        #[inline(always)]
        |i| z[i] - magic,
    );
    let head = each(
        #[inline(always)]
        |i| k[i].mul_add(ln2, x[i]),
    );
    between(1);
    [z, k, head]
}

#[inline(always)]
fn reduce<T: ExpTable, S: Simd, const N: usize>(
    x: [Vector<T, S>; N],
    low: Option<[Vector<T, S>; N]>,
    magic: Vector<T, S>,
    rests: [T; 8],
    between: &mut impl FnMut(usize),
) -> Reduced<T, S, N> {
    let ln2_low = Vector::splat(magic.s, -T::LN2[1]);
    let mut rests = rests;
    for rest in &mut rests {
        *rest = -*rest;
    }
    let [z, k, head] = heads(x, magic, between);
    let tail = each(
        #[inline(always)]
        |i| {
            let rest = k[i].mul_add(ln2_low, z[i].lookup(&rests));
            match low {
                Some(low) => low[i] + rest,
                None => rest,
            }
        },
    );
    Reduced { z, head, tail }
}

/// z, and q of exp(x + low) = 2^b·T·(1 + q), T rounded with such `rests`, each step for all registers, since the steps of
/// one wait for each other.
#[inline(always)]
fn quotients<T: ExpTable, S: Simd, const N: usize>(
    x: [Vector<T, S>; N],
    low: Option<[Vector<T, S>; N]>,
    magic: Vector<T, S>,
    rests: Option<[T; 8]>,
    mut between: impl FnMut(usize),
) -> [[Vector<T, S>; N]; 2] {
    let (z, r): ([_; N], [_; N]);
    if let Some(rests) = rests {
        let reduced = reduce(x, low, magic, rests, &mut between);
        z = reduced.z;
        r = each(
            #[inline(always)]
            |i| reduced.head[i] + reduced.tail[i],
        );
    } else {
        let ln2_low = Vector::splat(magic.s, -T::LN2[1]);
        let [exponents, k, head] = heads(x, magic, &mut between);
        z = exponents;
        r = each(
            #[inline(always)]
            |i| match low {
                Some(low) => head[i] + k[i].mul_add(ln2_low, low[i]),
                None => k[i].mul_add(ln2_low, head[i]),
            },
        );
    }
    between(2);
    let square: [_; N] = each(
        #[inline(always)]
        |i| r[i] * r[i],
    );
    let p = T::polynomial(
        r,
        #[inline(always)]
        || between(3),
    );
    between(4);
    let q = each(
        #[inline(always)]
        |i| p[i].mul_add(square[i], r[i]),
    );
    [z, q]
}

/// 2^((z − MAGIC) rounded down)·T, `powers` of the table that T is an entry of.
#[inline(always)]
pub(crate) fn power<T: ExpTable, S: Simd>(z: Vector<T, S>, powers: &[T; 8]) -> Vector<T, S> {
    z.lookup(powers).add_bits(z.exponent_bits())
}

/// How often `between` is called.
pub(crate) const BETWEEN: usize = 5;

/// 2^(magic − MAGIC)·exp(x + low), a normal number, of several registers, times F if they are `RELATIVE`; magic − MAGIC is
/// an integer, |x| ≤ 2^12 and |low| ≤ ½ ulp(x). `between` is called [`BETWEEN`] times on the way, with the number of the call:
/// there is room for other work, since each step waits for the one before.
#[inline(always)]
pub(crate) fn terms<T: ExpTable, S: Simd, const N: usize, const RELATIVE: bool>(
    x: [Vector<T, S>; N],
    low: Option<[Vector<T, S>; N]>,
    magic: Vector<T, S>,
    between: impl FnMut(usize),
) -> [Term<T, S>; N] {
    let (powers, rests) =
        if RELATIVE { (&T::RELATIVE_POWERS, T::RELATIVE_REST) } else { (&T::POWERS, Some(T::REST)) };
    let [z, q] = quotients(x, low, magic, rests, between);
    each(
        #[inline(always)]
        |i| Term { t: power(z[i], powers), rest: q[i], low: None },
    )
}

/// exp(x + low), |x| ≤ 2^12 and |low| ≤ ½ ulp(x).
#[inline(always)]
pub(crate) fn exp<T: ExpTable, S: Simd>(x: Vector<T, S>, low: Option<Vector<T, S>>) -> Exp<T, S> {
    let low = low.map(
        #[inline(always)]
        |low| [low],
    );
    let [[z], [q]] = quotients([x], low, Vector::splat(x.s, T::MAGIC), Some(T::REST), |_| ());
    Exp { z, t: z.lookup(&T::TABLE), q }
}

/// 2^⌊z − MAGIC⌋ as three normal factors, of which the first takes what exponent it can: multiplied
/// to the two sides of a product, neither underflows unless the product does. The exponent is bounded
/// from below where nothing is left of any product; it has to be one of a normal number from above.
#[inline(always)]
pub(crate) fn power_parts<T: Lane, S: Simd>(z: Vector<T, S>) -> [Vector<T, S>; 3] {
    let s = z.s;
    let third = Vector::splat(s, T::PART);
    let k = (z.floor_magic() - T::MAGIC).max(third + third + third);
    let first = k.max(third);
    let rest = k - first;
    let second = rest.max(third);
    let last = rest - second;
    [(first + T::MAGIC).pow2_floor(), (second + T::MAGIC).pow2_floor(), (last + T::MAGIC).pow2_floor()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How far the entries that begin with `first`, at j = 1, are from any F·2^(j/8), relative to it.
    fn spread(first: f32) -> f64 {
        let [mut least, mut most] = [0.0_f64; 2];
        for j in 0..8 {
            let power = f64::from(first) * 2_f64.powf(f64::from(j - 1) / 8.0);
            let off = f64::from(power as f32) / power - 1.0;
            (least, most) = (least.min(off), most.max(off));
        }
        (most - least) / 2.0
    }

    #[test]
    fn no_relative_table_is_nearer() {
        // What the moved pattern has below its exponent is j in the highest bits of the significand.
        let entries: [f32; 8] =
            core::array::from_fn(|j| f32::from_bits(f32::RELATIVE_POWERS[j].to_bits() + ((j as u32) << 20)));
        let first = entries[1];
        let end = 2_f32.powf(0.125).to_bits();
        let best =
            (1_f32.to_bits()..=end).map(f32::from_bits).min_by(|a, b| spread(*a).total_cmp(&spread(*b)));
        assert_eq!(best, Some(first));
        assert!(spread(first) < 2_f64.powf(-28.4));
        for (j, entry) in (-1..).zip(entries) {
            assert_eq!(entry, (f64::from(first) * 2_f64.powf(f64::from(j) / 8.0)) as f32);
        }
    }
}
