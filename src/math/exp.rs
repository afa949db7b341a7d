//! exp as 2^b·(T + w): a table value T, exact to two words, and a small rest w.
//!
//! # Mathematics
//! x = (k/8)·ln2 + r with the integer k nearest to x·8/ln2, |r| ≤ ln2/16; with k = 8b + j,
//! exp x = 2^b · 2^(j/8) · exp r = 2^b·(T + w), T = 2^(j/8) rounded, w = T·(exp r − 1) + (2^(j/8) − T).
//!
//! # Algorithm
//! Adding MAGIC = 1.5·2^(p−4), whose last place is 1/8, rounds x/ln2 to k/8 and leaves k in the low
//! bits of the sum `z`; `z − MAGIC` is k/8. r comes from two fused steps with ln2 in two words: the
//! first is exact (x and (k/8)·L₁ are multiples of a grid on which r has fewer than p bits). Then
//! t = r + r²·p(r) and w = T·t + Tl. Since |w| < 0.09, nothing that rounds it matters much.
//!
//! # Error
//! Polynomial 2^−32.1 (f32), 2^−58.2 (f64), certified by `verify/coefficients/exp.sollya`; r, t and w
//! are rounded at 2^−29, 2^−29 and 2^−28 (2^−58, 2^−58, 2^−57): T + w has a relative error below
//! 2^−27.2 (2^−56.2), a tenth of an ULP. Needs |x| ≤ 2^12, as callers clamp.
//!
//! Source: P. T. P. Tang, *Table-driven implementation of the exponential function in IEEE
//! floating-point arithmetic* (1989); the two-word result is from the design of this crate.

use crate::element::Lane;
use crate::simd::{Simd, Vector};

/// The constants of [`exp`], all made by `verify/coefficients/exp.sollya`.
pub trait ExpTable: Lane {
    /// 1/ln2.
    const INV_LN2: Self;
    /// ln2 in two words.
    const LN2: [Self; 2];
    /// 2^(j/8), rounded.
    const TABLE: [Self; 8];
    /// What rounding `TABLE` left out.
    const TABLE_LOW: [Self; 8];
    /// p(r), highest power first.
    fn polynomial<S: Simd>(r: Vector<Self, S>) -> Vector<Self, S>
    where
        Self: Sized;
}

macro_rules! words {
    ($t:ident: $($bits:literal)*) => { [$($t::from_bits($bits)),*] };
}

impl ExpTable for f32 {
    const INV_LN2: Self = Self::from_bits(0x3fb8_aa3b); // 1.442695
    const LN2: [Self; 2] = words!(f32: 0x3f31_7218 0xb102_e308); // 0.6931472 − 1.9e−9
    const TABLE: [Self; 8] = words!(f32:
        0x3f80_0000 0x3f8b_95c2 0x3f98_37f0 0x3fa5_fed7 0x3fb5_04f3 0x3fc5_672a 0x3fd7_44fd 0x3fea_c0c7);
    const TABLE_LOW: [Self; 8] = words!(f32:
        0x0000_0000 0xb260_aba1 0x3323_1b71 0xb32c_9d5e 0x32cf_e77a 0x320a_a837 0xb2d4_a58a 0xb241_16de);

    #[inline(always)]
    fn polynomial<S: Simd>(r: Vector<Self, S>) -> Vector<Self, S> {
        const C: [f32; 3] = words!(f32: 0x3f00_0002 0x3e2a_ae3b 0x3d2a_5fbb); // ≈ 1/2, 1/6, 1/24
        horner(r, C)
    }
}

impl ExpTable for f64 {
    const INV_LN2: Self = Self::from_bits(0x3ff7_1547_652b_82fe); // 1.4426950408889634
    const LN2: [Self; 2] = words!(f64: 0x3fe6_2e42_fefa_39ef 0x3c7a_bc9e_3b39_803f);
    const TABLE: [Self; 8] = words!(f64:
        0x3ff0_0000_0000_0000 0x3ff1_72b8_3c7d_517b 0x3ff3_06fe_0a31_b715 0x3ff4_bfda_d536_2a27
        0x3ff6_a09e_667f_3bcd 0x3ff8_ace5_422a_a0db 0x3ffa_e89f_995a_d3ad 0x3ffd_5818_dcfb_a487);
    const TABLE_LOW: [Self; 8] = words!(f64:
        0x0000_0000_0000_0000 0xbc81_9041_b9d7_8a76 0x3c86_f46a_d231_82e4 0x3c7d_4397_afec_42e2
        0xbc9b_dd34_13b2_6456 0x3c96_e9f1_5686_4b27 0x3c97_a1cd_345d_cc81 0x3c82_ed02_d75b_3707);

    #[inline(always)]
    fn polynomial<S: Simd>(r: Vector<Self, S>) -> Vector<Self, S> {
        // ≈ 1/2, 1/6, 1/24, 1/120, 1/720, 1/5040
        const C: [f64; 6] = words!(f64:
            0x3fe0_0000_0000_010b 0x3fc5_5555_5555_5130 0x3fa5_5555_5480_cdc6 0x3f81_1111_125d_ce64
            0x3f56_c1cb_ded7_a153 0x3f2a_0163_9167_4e99);
        horner(r, C)
    }
}

/// c₀ + c₁x + c₂x² + …
#[inline(always)]
pub(crate) fn horner<T: Lane, S: Simd, const N: usize>(x: Vector<T, S>, c: [T; N]) -> Vector<T, S> {
    let mut sum = Vector::splat(x.s, c[N - 1]);
    for &c in c[..N - 1].iter().rev() {
        sum = sum.mul_add(x, Vector::splat(x.s, c));
    }
    sum
}

/// exp x = 2^⌊z − MAGIC⌋·(t + w).
pub struct Exp<T: Lane, S: Simd> {
    /// The exponent and the table index, in magic form.
    pub(crate) z: Vector<T, S>,
    /// The table value, in [1, 2).
    pub(crate) t: Vector<T, S>,
    /// The rest, |w| < 0.09.
    pub(crate) w: Vector<T, S>,
}

/// x/ln2 rounded to a multiple of 1/8, in magic form; |x| ≤ 2^12.
#[inline(always)]
pub(crate) fn exponent<T: ExpTable, S: Simd>(x: Vector<T, S>) -> Vector<T, S> {
    x.mul_add(Vector::splat(x.s, T::INV_LN2), Vector::splat(x.s, T::MAGIC))
}

/// exp x, |x| ≤ 2^12.
#[inline(always)]
pub(crate) fn exp<T: ExpTable, S: Simd>(x: Vector<T, S>) -> Exp<T, S> {
    let z = exponent(x);
    of_rest(z, rest(z, x))
}

/// exp(x + low), |x| ≤ 2^12 and |low| ≤ ½ ulp(x).
#[inline(always)]
pub(crate) fn exp_word<T: ExpTable, S: Simd>(x: Vector<T, S>, low: Vector<T, S>) -> Exp<T, S> {
    let z = exponent(x);
    of_rest(z, rest(z, x) + low)
}

/// r = x − (z − MAGIC)·ln2
#[inline(always)]
fn rest<T: ExpTable, S: Simd>(z: Vector<T, S>, x: Vector<T, S>) -> Vector<T, S> {
    let k = z - T::MAGIC;
    let r = k.mul_add(Vector::splat(x.s, -T::LN2[0]), x);
    k.mul_add(Vector::splat(x.s, -T::LN2[1]), r)
}

#[inline(always)]
fn of_rest<T: ExpTable, S: Simd>(z: Vector<T, S>, r: Vector<T, S>) -> Exp<T, S> {
    let t = T::polynomial(r).mul_add(r * r, r);
    let table = z.lookup(&T::TABLE);
    Exp { z, t: table, w: table.mul_add(t, z.lookup(&T::TABLE_LOW)) }
}

/// 2^⌊z − MAGIC⌋ as three normal factors, of which the first takes what exponent it can: multiplied
/// to the two sides of a product, neither underflows unless the product does. The exponent is bounded
/// from below where nothing is left of any product.
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
