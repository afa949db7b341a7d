//! AVX-512 and AVX2 with FMA, over pulp's tokens: a register is one `__m512` or two `__m256`.

use super::{Lanes, Op, Simd};
use crate::element::Lane;
use crate::math::exp::each;
use bytemuck::{cast, must_cast_slice, must_cast_slice_mut};
#[cfg(target_arch = "x86")]
use core::arch::x86::*;
#[cfg(target_arch = "x86_64")]
use core::arch::x86_64::*;
use pulp::NullaryFnOnce;
pub(crate) use pulp::x86::{V3 as Avx2, V4 as Avx512};

/// An operation with its token, in the form that pulp compiles for an instruction set.
struct Task<S, O>(S, O);

impl<S: Simd, O: Op> NullaryFnOnce for Task<S, O> {
    type Output = O::Output;
    #[inline(always)]
    fn call(self) -> O::Output {
        self.1.run(self.0)
    }
}

impl Lanes<f32> for Avx512 {
    type V = __m512;
    type M = __mmask16;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        self.avx512f._mm512_set1_ps(x)
    }
    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> Self::V {
        cast(*from)
    }
    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; 16]) {
        *to = cast(v);
    }
    #[inline(always)]
    fn rotate(self, v: Self::V, distance: usize) -> Self::V {
        cast(turned(self, cast(v), distance))
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_add_ps(a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_sub_ps(a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_mul_ps(a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_div_ps(a, b)
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_max_ps(a, b)
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_min_ps(a, b)
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        self.avx512f._mm512_sqrt_ps(a)
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.avx512f._mm512_fmadd_ps(a, b, c)
    }
    #[inline(always)]
    fn and(self, a: Self::V, b: Self::V) -> Self::V {
        cast(self.avx512f._mm512_and_si512(cast(a), cast(b)))
    }
    #[inline(always)]
    fn or(self, a: Self::V, b: Self::V) -> Self::V {
        cast(self.avx512f._mm512_or_si512(cast(a), cast(b)))
    }
    #[inline(always)]
    fn xor(self, a: Self::V, b: Self::V) -> Self::V {
        cast(self.avx512f._mm512_xor_si512(cast(a), cast(b)))
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        cast(self.avx512f._mm512_add_epi32(cast(a), cast(b)))
    }
    #[inline(always)]
    fn exponent_bits(self, z: Self::V) -> Self::V {
        cast(self.avx512f._mm512_slli_epi32::<20>(cast(z)))
    }
    #[inline(always)]
    fn pow2_floor(self, z: Self::V) -> Self::V {
        let k = self.avx512f._mm512_slli_epi32::<20>(cast(z));
        let k = self.avx512f._mm512_and_si512(k, self.avx512f._mm512_set1_epi32(0xff80_0000u32 as i32));
        cast(self.avx512f._mm512_add_epi32(k, self.avx512f._mm512_set1_epi32(0x3f80_0000)))
    }
    #[inline(always)]
    fn lookup(self, table: &[f32; 8], z: Self::V) -> Self::V {
        let table: __m512 = cast([*table, *table]);
        self.avx512f._mm512_permutexvar_ps(cast(z), table)
    }
    #[inline(always)]
    fn lt(self, a: Self::V, b: Self::V) -> Self::M {
        self.avx512f._mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b)
    }
    #[inline(always)]
    fn eq(self, a: Self::V, b: Self::V) -> Self::M {
        self.avx512f._mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b)
    }
    #[inline(always)]
    fn unordered(self, a: Self::V, b: Self::V) -> Self::M {
        self.avx512f._mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, b)
    }
    #[inline(always)]
    fn transpose<'a>(self, from: impl Fn(usize) -> &'a [f32; 16], mut to: impl FnMut(usize, usize, &[f32])) {
        let f = self.avx512f;
        // All rows are read before a column is written: a row at the place of its page where one was just written would wait.
        let square: [Self::V; 16] = each(
            #[inline(always)]
            |r| cast(*from(r)),
        );
        let mut transposed = square;
        for column in 0..4 {
            // Of four rows, what is in this column of each quarter.
            let mut quads = [square[0]; 4];
            for (i, quad) in quads.iter_mut().enumerate() {
                let rows = &square[4 * i..];
                let [a, b] = if column < 2 {
                    [f._mm512_unpacklo_ps(rows[0], rows[1]), f._mm512_unpacklo_ps(rows[2], rows[3])]
                } else {
                    [f._mm512_unpackhi_ps(rows[0], rows[1]), f._mm512_unpackhi_ps(rows[2], rows[3])]
                };
                *quad = cast(if column % 2 == 0 {
                    f._mm512_unpacklo_pd(cast(a), cast(b))
                } else {
                    f._mm512_unpackhi_pd(cast(a), cast(b))
                });
            }
            let columns = quarters(self, cast(quads));
            for (quarter, v) in columns.into_iter().enumerate() {
                transposed[4 * quarter + column] = cast(v);
            }
        }
        for (c, column) in transposed.into_iter().enumerate() {
            to(c, 0, &cast::<_, [f32; 16]>(column));
        }
    }
    #[inline(always)]
    fn select(self, m: Self::M, yes: Self::V, no: Self::V) -> Self::V {
        self.avx512f._mm512_mask_blend_ps(m, no, yes)
    }
    #[inline(always)]
    fn mask_and(self, a: Self::M, b: Self::M) -> Self::M {
        a & b
    }
    #[inline(always)]
    fn mask_or(self, a: Self::M, b: Self::M) -> Self::M {
        a | b
    }
    #[inline(always)]
    fn mask_not(self, a: Self::M) -> Self::M {
        !a
    }
    #[inline(always)]
    fn any(self, a: Self::M) -> bool {
        a != 0
    }
    #[inline(always)]
    fn scale(self, v: Self::V, z: Self::V) -> Self::V {
        Lanes::<f32>::ldexp(self, v, z)
    }
    #[inline(always)]
    fn ldexp(self, v: Self::V, z: Self::V) -> Self::V {
        let k = self.avx512f._mm512_sub_ps(z, self.avx512f._mm512_set1_ps(<f32 as Lane>::MAGIC));
        self.avx512f._mm512_scalef_ps(v, k)
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::V {
        let v: Self::V = cast(pulp::Simd::partial_load_f32s(self, from));
        let present = ((1u32 << from.len()) - 1) as __mmask16;
        self.avx512f._mm512_mask_blend_ps(present, self.avx512f._mm512_set1_ps(fill), v)
    }
    #[inline(always)]
    fn store_partial(self, v: Self::V, to: &mut [f32]) {
        pulp::Simd::partial_store_f32s(self, to, cast(v));
    }
}

/// Each word of 32 bits is the one `words` further on, around the end.
#[inline(always)]
fn turned(s: Avx512, v: __m512i, words: usize) -> __m512i {
    let f = s.avx512f;
    match words {
        8 => f._mm512_alignr_epi32::<8>(v, v),
        4 => f._mm512_alignr_epi32::<4>(v, v),
        2 => f._mm512_alignr_epi32::<2>(v, v),
        _ => f._mm512_alignr_epi32::<1>(v, v),
    }
}

/// The same for two halves.
#[inline(always)]
fn turned_halves(s: Avx2, [low, high]: [__m256i; 2], words: usize) -> [__m256i; 2] {
    let f = s.avx2;
    let across =
        [f._mm256_permute2x128_si256::<0x21>(low, high), f._mm256_permute2x128_si256::<0x21>(high, low)];
    match words {
        8 => [high, low],
        4 => across,
        2 => [f._mm256_alignr_epi8::<8>(across[0], low), f._mm256_alignr_epi8::<8>(across[1], high)],
        _ => [f._mm256_alignr_epi8::<4>(across[0], low), f._mm256_alignr_epi8::<4>(across[1], high)],
    }
}

/// Rows `first` to `first` + 7 of the columns of a quarter. The two halves of a register come together as they are loaded, which
/// is not done by the unit that shuffles.
#[inline(always)]
fn quarter<'a>(
    s: Avx2,
    from: &impl Fn(usize) -> &'a [f32; 16],
    to: &mut impl FnMut(usize, usize, &[f32]),
    first: usize,
    quarter: usize,
) {
    let f = s.avx;
    let row: [__m256; 4] = each(
        #[inline(always)]
        |r| {
            let (low, high) = (from(first + r), from(first + r + 4));
            cast([low.as_chunks::<4>().0[quarter], high.as_chunks::<4>().0[quarter]])
        },
    );
    let (a, b) = (f._mm256_unpacklo_ps(row[0], row[1]), f._mm256_unpacklo_ps(row[2], row[3]));
    let (c, d) = (f._mm256_unpackhi_ps(row[0], row[1]), f._mm256_unpackhi_ps(row[2], row[3]));
    let column = 4 * quarter;
    to(column, first, &cast::<_, [f32; 8]>(f._mm256_unpacklo_pd(cast(a), cast(b))));
    to(column + 1, first, &cast::<_, [f32; 8]>(f._mm256_unpackhi_pd(cast(a), cast(b))));
    to(column + 2, first, &cast::<_, [f32; 8]>(f._mm256_unpacklo_pd(cast(c), cast(d))));
    to(column + 3, first, &cast::<_, [f32; 8]>(f._mm256_unpackhi_pd(cast(c), cast(d))));
}

/// The same of f64, rows `first` to `first` + 3.
#[inline(always)]
fn quarter_f64<'a>(
    s: Avx2,
    from: &impl Fn(usize) -> &'a [f64; 8],
    to: &mut impl FnMut(usize, usize, &[f64]),
    first: usize,
    quarter: usize,
) {
    let f = s.avx;
    let row: [__m256d; 2] = each(
        #[inline(always)]
        |r| {
            let (low, high) = (from(first + r), from(first + r + 2));
            cast([low.as_chunks::<2>().0[quarter], high.as_chunks::<2>().0[quarter]])
        },
    );
    to(2 * quarter, first, &cast::<_, [f64; 4]>(f._mm256_unpacklo_pd(row[0], row[1])));
    to(2 * quarter + 1, first, &cast::<_, [f64; 4]>(f._mm256_unpackhi_pd(row[0], row[1])));
}

/// Quarter c of register r becomes quarter r of register c.
#[inline(always)]
fn quarters(s: Avx512, v: [__m512d; 4]) -> [__m512d; 4] {
    let f = s.avx512f;
    let [a, b] = [f._mm512_shuffle_f64x2::<0x88>(v[0], v[1]), f._mm512_shuffle_f64x2::<0x88>(v[2], v[3])];
    let [c, d] = [f._mm512_shuffle_f64x2::<0xdd>(v[0], v[1]), f._mm512_shuffle_f64x2::<0xdd>(v[2], v[3])];
    [
        f._mm512_shuffle_f64x2::<0x88>(a, b),
        f._mm512_shuffle_f64x2::<0x88>(c, d),
        f._mm512_shuffle_f64x2::<0xdd>(a, b),
        f._mm512_shuffle_f64x2::<0xdd>(c, d),
    ]
}

impl Lanes<f64> for Avx512 {
    type V = __m512d;
    type M = __mmask8;

    #[inline(always)]
    fn splat(self, x: f64) -> Self::V {
        self.avx512f._mm512_set1_pd(x)
    }
    #[inline(always)]
    fn load(self, from: &[f64; 8]) -> Self::V {
        cast(*from)
    }
    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f64; 8]) {
        *to = cast(v);
    }
    #[inline(always)]
    fn rotate(self, v: Self::V, distance: usize) -> Self::V {
        cast(turned(self, cast(v), distance * 2))
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_add_pd(a, b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_sub_pd(a, b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_mul_pd(a, b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_div_pd(a, b)
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_max_pd(a, b)
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        self.avx512f._mm512_min_pd(a, b)
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        self.avx512f._mm512_sqrt_pd(a)
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        self.avx512f._mm512_fmadd_pd(a, b, c)
    }
    #[inline(always)]
    fn and(self, a: Self::V, b: Self::V) -> Self::V {
        cast(self.avx512f._mm512_and_si512(cast(a), cast(b)))
    }
    #[inline(always)]
    fn or(self, a: Self::V, b: Self::V) -> Self::V {
        cast(self.avx512f._mm512_or_si512(cast(a), cast(b)))
    }
    #[inline(always)]
    fn xor(self, a: Self::V, b: Self::V) -> Self::V {
        cast(self.avx512f._mm512_xor_si512(cast(a), cast(b)))
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        cast(self.avx512f._mm512_add_epi64(cast(a), cast(b)))
    }
    #[inline(always)]
    fn exponent_bits(self, z: Self::V) -> Self::V {
        cast(self.avx512f._mm512_slli_epi64::<49>(cast(z)))
    }
    #[inline(always)]
    fn pow2_floor(self, z: Self::V) -> Self::V {
        let k = self.avx512f._mm512_slli_epi64::<49>(cast(z));
        let k =
            self.avx512f._mm512_and_si512(k, self.avx512f._mm512_set1_epi64(0xfff0_0000_0000_0000u64 as i64));
        cast(self.avx512f._mm512_add_epi64(k, self.avx512f._mm512_set1_epi64(0x3ff0_0000_0000_0000)))
    }
    #[inline(always)]
    fn lookup(self, table: &[f64; 8], z: Self::V) -> Self::V {
        self.avx512f._mm512_permutexvar_pd(cast(z), cast(*table))
    }
    #[inline(always)]
    fn lt(self, a: Self::V, b: Self::V) -> Self::M {
        self.avx512f._mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, b)
    }
    #[inline(always)]
    fn eq(self, a: Self::V, b: Self::V) -> Self::M {
        self.avx512f._mm512_cmp_pd_mask::<_CMP_EQ_OQ>(a, b)
    }
    #[inline(always)]
    fn unordered(self, a: Self::V, b: Self::V) -> Self::M {
        self.avx512f._mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, b)
    }
    #[inline(always)]
    fn transpose<'a>(self, from: impl Fn(usize) -> &'a [f64; 8], mut to: impl FnMut(usize, usize, &[f64])) {
        let f = self.avx512f;
        let square: [Self::V; 8] = each(
            #[inline(always)]
            |r| cast(*from(r)),
        );
        let mut transposed = square;
        for column in 0..2 {
            // Of two rows, what is in this column of each quarter.
            let mut pairs = [square[0]; 4];
            for (i, pair) in pairs.iter_mut().enumerate() {
                let rows = &square[2 * i..];
                *pair = if column == 0 {
                    f._mm512_unpacklo_pd(rows[0], rows[1])
                } else {
                    f._mm512_unpackhi_pd(rows[0], rows[1])
                };
            }
            for (quarter, v) in quarters(self, pairs).into_iter().enumerate() {
                transposed[2 * quarter + column] = v;
            }
        }
        for (c, column) in transposed.into_iter().enumerate() {
            to(c, 0, &cast::<_, [f64; 8]>(column));
        }
    }
    #[inline(always)]
    fn select(self, m: Self::M, yes: Self::V, no: Self::V) -> Self::V {
        self.avx512f._mm512_mask_blend_pd(m, no, yes)
    }
    #[inline(always)]
    fn mask_and(self, a: Self::M, b: Self::M) -> Self::M {
        a & b
    }
    #[inline(always)]
    fn mask_or(self, a: Self::M, b: Self::M) -> Self::M {
        a | b
    }
    #[inline(always)]
    fn mask_not(self, a: Self::M) -> Self::M {
        !a
    }
    #[inline(always)]
    fn any(self, a: Self::M) -> bool {
        a != 0
    }
    #[inline(always)]
    fn scale(self, v: Self::V, z: Self::V) -> Self::V {
        Lanes::<f64>::ldexp(self, v, z)
    }
    #[inline(always)]
    fn ldexp(self, v: Self::V, z: Self::V) -> Self::V {
        let k = self.avx512f._mm512_sub_pd(z, self.avx512f._mm512_set1_pd(<f64 as Lane>::MAGIC));
        self.avx512f._mm512_scalef_pd(v, k)
    }
    #[inline(always)]
    fn load_partial(self, from: &[f64], fill: f64) -> Self::V {
        let v: Self::V = cast(pulp::Simd::partial_load_f64s(self, from));
        let present = ((1u32 << from.len()) - 1) as __mmask8;
        self.avx512f._mm512_mask_blend_pd(present, self.avx512f._mm512_set1_pd(fill), v)
    }
    #[inline(always)]
    fn store_partial(self, v: Self::V, to: &mut [f64]) {
        pulp::Simd::partial_store_f64s(self, to, cast(v));
    }
}

impl Simd for Avx512 {
    const ROOMY: bool = true;
    #[inline(always)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        Self::vectorize(self, Task(self, op))
    }
    #[inline(always)]
    fn widen(self, v: __m512) -> [__m512d; 2] {
        let f = self.avx512f;
        let [low, high]: [__m256; 2] = cast(v);
        [f._mm512_cvtps_pd(low), f._mm512_cvtps_pd(high)]
    }
    #[inline(always)]
    fn integers(self, v: __m512) -> [__m512d; 2] {
        let f = self.avx512f;
        let [low, high]: [__m256i; 2] = cast(v);
        [f._mm512_cvtepu32_pd(low), f._mm512_cvtepu32_pd(high)]
    }
    #[inline(always)]
    fn halves(self, a: __m512d, b: __m512d, half: usize) -> [__m512d; 2] {
        let f = self.avx512f;
        match half {
            4 => [f._mm512_shuffle_f64x2::<0x44>(a, b), f._mm512_shuffle_f64x2::<0xee>(a, b)],
            2 => [
                f._mm512_permutex2var_pd(a, cast([0_u64, 1, 8, 9, 4, 5, 12, 13]), b),
                f._mm512_permutex2var_pd(a, cast([2_u64, 3, 10, 11, 6, 7, 14, 15]), b),
            ],
            _ => [f._mm512_unpacklo_pd(a, b), f._mm512_unpackhi_pd(a, b)],
        }
    }
    #[inline(always)]
    fn exponent(self, v: __m512d) -> __m512d {
        self.avx512f._mm512_getexp_pd(v)
    }
    #[inline(always)]
    fn narrow(self, [a, b]: [__m512d; 2]) -> __m512 {
        let f = self.avx512f;
        cast([f._mm512_cvtpd_ps(a), f._mm512_cvtpd_ps(b)])
    }
}

impl Lanes<f32> for Avx2 {
    type V = [__m256; 2];
    type M = [__m256; 2];

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [self.avx._mm256_set1_ps(x); 2]
    }
    #[inline(always)]
    fn load(self, from: &[f32; 16]) -> Self::V {
        cast(*from)
    }
    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; 16]) {
        *to = cast(v);
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> Self::V {
        load_words(self, from, Lanes::<f32>::splat(self, fill))
    }
    #[inline(always)]
    fn store_partial(self, v: Self::V, to: &mut [f32]) {
        store_words(self, v, to);
    }
    #[inline(always)]
    fn rotate(self, v: Self::V, distance: usize) -> Self::V {
        cast(turned_halves(self, cast(v), distance))
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_add_ps(a[0], b[0]), self.avx._mm256_add_ps(a[1], b[1])]
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_sub_ps(a[0], b[0]), self.avx._mm256_sub_ps(a[1], b[1])]
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_mul_ps(a[0], b[0]), self.avx._mm256_mul_ps(a[1], b[1])]
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_div_ps(a[0], b[0]), self.avx._mm256_div_ps(a[1], b[1])]
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_max_ps(a[0], b[0]), self.avx._mm256_max_ps(a[1], b[1])]
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_min_ps(a[0], b[0]), self.avx._mm256_min_ps(a[1], b[1])]
    }
    #[inline(always)]
    fn and(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_and_ps(a[0], b[0]), self.avx._mm256_and_ps(a[1], b[1])]
    }
    #[inline(always)]
    fn or(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_or_ps(a[0], b[0]), self.avx._mm256_or_ps(a[1], b[1])]
    }
    #[inline(always)]
    fn xor(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_xor_ps(a[0], b[0]), self.avx._mm256_xor_ps(a[1], b[1])]
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        [self.avx._mm256_sqrt_ps(a[0]), self.avx._mm256_sqrt_ps(a[1])]
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        let f = self.fma;
        [f._mm256_fmadd_ps(a[0], b[0], c[0]), f._mm256_fmadd_ps(a[1], b[1], c[1])]
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        [
            cast(self.avx2._mm256_add_epi32(cast(a[0]), cast(b[0]))),
            cast(self.avx2._mm256_add_epi32(cast(a[1]), cast(b[1]))),
        ]
    }
    #[inline(always)]
    fn exponent_bits(self, z: Self::V) -> Self::V {
        [
            cast(self.avx2._mm256_slli_epi32::<20>(cast(z[0]))),
            cast(self.avx2._mm256_slli_epi32::<20>(cast(z[1]))),
        ]
    }
    #[inline(always)]
    fn pow2_floor(self, z: Self::V) -> Self::V {
        let mask = self.avx._mm256_set1_epi32(0xff80_0000u32 as i32);
        let bias = self.avx._mm256_set1_epi32(0x3f80_0000);
        let mut halves = z;
        for z in &mut halves {
            let k = self.avx2._mm256_and_si256(self.avx2._mm256_slli_epi32::<20>(cast(*z)), mask);
            *z = cast(self.avx2._mm256_add_epi32(k, bias));
        }
        halves
    }
    #[inline(always)]
    fn lookup(self, table: &[f32; 8], z: Self::V) -> Self::V {
        let table: __m256 = cast(*table);
        [
            self.avx2._mm256_permutevar8x32_ps(table, cast(z[0])),
            self.avx2._mm256_permutevar8x32_ps(table, cast(z[1])),
        ]
    }
    #[inline(always)]
    fn lt(self, a: Self::V, b: Self::V) -> Self::M {
        [self.avx._mm256_cmp_ps::<_CMP_LT_OQ>(a[0], b[0]), self.avx._mm256_cmp_ps::<_CMP_LT_OQ>(a[1], b[1])]
    }
    #[inline(always)]
    fn eq(self, a: Self::V, b: Self::V) -> Self::M {
        [self.avx._mm256_cmp_ps::<_CMP_EQ_OQ>(a[0], b[0]), self.avx._mm256_cmp_ps::<_CMP_EQ_OQ>(a[1], b[1])]
    }
    #[inline(always)]
    fn unordered(self, a: Self::V, b: Self::V) -> Self::M {
        let avx = self.avx;
        [avx._mm256_cmp_ps::<_CMP_UNORD_Q>(a[0], b[0]), avx._mm256_cmp_ps::<_CMP_UNORD_Q>(a[1], b[1])]
    }
    #[inline(always)]
    fn transpose<'a>(self, from: impl Fn(usize) -> &'a [f32; 16], mut to: impl FnMut(usize, usize, &[f32])) {
        quarter(self, &from, &mut to, 8, 0);
        quarter(self, &from, &mut to, 8, 1);
        quarter(self, &from, &mut to, 8, 2);
        quarter(self, &from, &mut to, 8, 3);
        quarter(self, &from, &mut to, 0, 0);
        quarter(self, &from, &mut to, 0, 1);
        quarter(self, &from, &mut to, 0, 2);
        quarter(self, &from, &mut to, 0, 3);
    }
    #[inline(always)]
    fn select(self, m: Self::M, yes: Self::V, no: Self::V) -> Self::V {
        [self.avx._mm256_blendv_ps(no[0], yes[0], m[0]), self.avx._mm256_blendv_ps(no[1], yes[1], m[1])]
    }
    #[inline(always)]
    fn mask_and(self, a: Self::M, b: Self::M) -> Self::M {
        Lanes::<f32>::and(self, a, b)
    }
    #[inline(always)]
    fn mask_or(self, a: Self::M, b: Self::M) -> Self::M {
        Lanes::<f32>::or(self, a, b)
    }
    #[inline(always)]
    fn mask_not(self, a: Self::M) -> Self::M {
        Lanes::<f32>::xor(self, a, cast([u64::MAX; 8]))
    }
    #[inline(always)]
    fn any(self, a: Self::M) -> bool {
        self.avx._mm256_movemask_ps(self.avx._mm256_or_ps(a[0], a[1])) != 0
    }
}

impl Lanes<f64> for Avx2 {
    type V = [__m256d; 2];
    type M = [__m256d; 2];

    #[inline(always)]
    fn splat(self, x: f64) -> Self::V {
        [self.avx._mm256_set1_pd(x); 2]
    }
    #[inline(always)]
    fn load(self, from: &[f64; 8]) -> Self::V {
        cast(*from)
    }
    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f64; 8]) {
        *to = cast(v);
    }
    #[inline(always)]
    fn load_partial(self, from: &[f64], fill: f64) -> Self::V {
        cast(load_words(self, must_cast_slice(from), cast(Lanes::<f64>::splat(self, fill))))
    }
    #[inline(always)]
    fn store_partial(self, v: Self::V, to: &mut [f64]) {
        store_words(self, cast(v), must_cast_slice_mut(to));
    }
    #[inline(always)]
    fn rotate(self, v: Self::V, distance: usize) -> Self::V {
        cast(turned_halves(self, cast(v), distance * 2))
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_add_pd(a[0], b[0]), self.avx._mm256_add_pd(a[1], b[1])]
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_sub_pd(a[0], b[0]), self.avx._mm256_sub_pd(a[1], b[1])]
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_mul_pd(a[0], b[0]), self.avx._mm256_mul_pd(a[1], b[1])]
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_div_pd(a[0], b[0]), self.avx._mm256_div_pd(a[1], b[1])]
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_max_pd(a[0], b[0]), self.avx._mm256_max_pd(a[1], b[1])]
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_min_pd(a[0], b[0]), self.avx._mm256_min_pd(a[1], b[1])]
    }
    #[inline(always)]
    fn and(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_and_pd(a[0], b[0]), self.avx._mm256_and_pd(a[1], b[1])]
    }
    #[inline(always)]
    fn or(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_or_pd(a[0], b[0]), self.avx._mm256_or_pd(a[1], b[1])]
    }
    #[inline(always)]
    fn xor(self, a: Self::V, b: Self::V) -> Self::V {
        [self.avx._mm256_xor_pd(a[0], b[0]), self.avx._mm256_xor_pd(a[1], b[1])]
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        [self.avx._mm256_sqrt_pd(a[0]), self.avx._mm256_sqrt_pd(a[1])]
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        let f = self.fma;
        [f._mm256_fmadd_pd(a[0], b[0], c[0]), f._mm256_fmadd_pd(a[1], b[1], c[1])]
    }
    #[inline(always)]
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
        [
            cast(self.avx2._mm256_add_epi64(cast(a[0]), cast(b[0]))),
            cast(self.avx2._mm256_add_epi64(cast(a[1]), cast(b[1]))),
        ]
    }
    #[inline(always)]
    fn exponent_bits(self, z: Self::V) -> Self::V {
        [
            cast(self.avx2._mm256_slli_epi64::<49>(cast(z[0]))),
            cast(self.avx2._mm256_slli_epi64::<49>(cast(z[1]))),
        ]
    }
    #[inline(always)]
    fn pow2_floor(self, z: Self::V) -> Self::V {
        let mask = self.avx._mm256_set1_epi64x(0xfff0_0000_0000_0000u64 as i64);
        let bias = self.avx._mm256_set1_epi64x(0x3ff0_0000_0000_0000);
        let mut halves = z;
        for z in &mut halves {
            let k = self.avx2._mm256_and_si256(self.avx2._mm256_slli_epi64::<49>(cast(*z)), mask);
            *z = cast(self.avx2._mm256_add_epi64(k, bias));
        }
        halves
    }
    #[inline(always)]
    fn lookup(self, table: &[f64; 8], z: Self::V) -> Self::V {
        let words: [u32; 16] = cast(*table);
        let low: __m256 =
            cast([words[0], words[2], words[4], words[6], words[8], words[10], words[12], words[14]]);
        let high: __m256 =
            cast([words[1], words[3], words[5], words[7], words[9], words[11], words[13], words[15]]);
        let mut halves = z;
        for z in &mut halves {
            // The index sits in the low word of each lane; the high word looks up with a copy.
            let index: __m256i = cast(self.avx._mm256_movehdup_ps(
                self.avx._mm256_castsi256_ps(self.avx2._mm256_slli_epi64::<32>(cast(*z))),
            ));
            let low = self.avx2._mm256_permutevar8x32_ps(low, cast(*z));
            let high = self.avx2._mm256_permutevar8x32_ps(high, index);
            *z = cast(self.avx._mm256_blend_ps::<0b1010_1010>(low, high));
        }
        halves
    }
    #[inline(always)]
    fn lt(self, a: Self::V, b: Self::V) -> Self::M {
        [self.avx._mm256_cmp_pd::<_CMP_LT_OQ>(a[0], b[0]), self.avx._mm256_cmp_pd::<_CMP_LT_OQ>(a[1], b[1])]
    }
    #[inline(always)]
    fn eq(self, a: Self::V, b: Self::V) -> Self::M {
        [self.avx._mm256_cmp_pd::<_CMP_EQ_OQ>(a[0], b[0]), self.avx._mm256_cmp_pd::<_CMP_EQ_OQ>(a[1], b[1])]
    }
    #[inline(always)]
    fn unordered(self, a: Self::V, b: Self::V) -> Self::M {
        let avx = self.avx;
        [avx._mm256_cmp_pd::<_CMP_UNORD_Q>(a[0], b[0]), avx._mm256_cmp_pd::<_CMP_UNORD_Q>(a[1], b[1])]
    }
    #[inline(always)]
    fn transpose<'a>(self, from: impl Fn(usize) -> &'a [f64; 8], mut to: impl FnMut(usize, usize, &[f64])) {
        quarter_f64(self, &from, &mut to, 4, 0);
        quarter_f64(self, &from, &mut to, 4, 1);
        quarter_f64(self, &from, &mut to, 4, 2);
        quarter_f64(self, &from, &mut to, 4, 3);
        quarter_f64(self, &from, &mut to, 0, 0);
        quarter_f64(self, &from, &mut to, 0, 1);
        quarter_f64(self, &from, &mut to, 0, 2);
        quarter_f64(self, &from, &mut to, 0, 3);
    }
    #[inline(always)]
    fn select(self, m: Self::M, yes: Self::V, no: Self::V) -> Self::V {
        [self.avx._mm256_blendv_pd(no[0], yes[0], m[0]), self.avx._mm256_blendv_pd(no[1], yes[1], m[1])]
    }
    #[inline(always)]
    fn mask_and(self, a: Self::M, b: Self::M) -> Self::M {
        Lanes::<f64>::and(self, a, b)
    }
    #[inline(always)]
    fn mask_or(self, a: Self::M, b: Self::M) -> Self::M {
        Lanes::<f64>::or(self, a, b)
    }
    #[inline(always)]
    fn mask_not(self, a: Self::M) -> Self::M {
        Lanes::<f64>::xor(self, a, cast([u64::MAX; 8]))
    }
    #[inline(always)]
    fn any(self, a: Self::M) -> bool {
        self.avx._mm256_movemask_pd(self.avx._mm256_or_pd(a[0], a[1])) != 0
    }
}

/// The number of each word of 32 bits.
const NUMBERS: [i32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// Fewer words than two halves hold, then those of `fill`. Two pieces that overlap, for what is put together in memory
/// has to arrive there before it can be loaded.
#[inline(always)]
fn load_words(s: Avx2, from: &[f32], fill: [__m256; 2]) -> [__m256; 2] {
    let (avx, f, count) = (s.avx, s.avx2, from.len() as i32);
    let numbers: __m256i = cast(NUMBERS);
    if let (Some(low), Some(high)) = (from.first_chunk::<8>(), from.last_chunk::<8>()) {
        let moved = f._mm256_add_epi32(numbers, avx._mm256_set1_epi32(16 - count));
        let high = f._mm256_permutevar8x32_ps(cast(*high), moved);
        let present = f._mm256_cmpgt_epi32(avx._mm256_set1_epi32(count - 8), numbers);
        return [cast(*low), avx._mm256_blendv_ps(fill[1], high, cast(present))];
    }
    let words = if let (Some(low), Some(high)) = (from.first_chunk::<4>(), from.last_chunk::<4>()) {
        let behind = f._mm256_cmpgt_epi32(numbers, avx._mm256_set1_epi32(3));
        let by = f._mm256_and_si256(behind, avx._mm256_set1_epi32(8 - count));
        f._mm256_permutevar8x32_ps(cast([*low, *high]), f._mm256_add_epi32(numbers, by))
    } else {
        let [mut words, zero] = [[0.0; 4]; 2];
        for (i, &x) in from.iter().enumerate() {
            words[i] = x;
        }
        cast([words, zero])
    };
    let present = f._mm256_cmpgt_epi32(avx._mm256_set1_epi32(count), numbers);
    [avx._mm256_blendv_ps(fill[0], words, cast(present)), fill[1]]
}

/// The first words, fewer than two halves have.
#[inline(always)]
fn store_words(s: Avx2, [low, high]: [__m256; 2], to: &mut [f32]) {
    let (avx, f, count) = (s.avx, s.avx2, to.len() as i32);
    let numbers: __m256i = cast(NUMBERS);
    if let Some(first) = to.first_chunk_mut::<8>() {
        *first = cast(low);
        // The last eight of them, each eighth lane of the same number.
        let moved = f._mm256_add_epi32(numbers, avx._mm256_set1_epi32(count));
        let (a, b) = (f._mm256_permutevar8x32_ps(low, moved), f._mm256_permutevar8x32_ps(high, moved));
        let of_low = f._mm256_cmpgt_epi32(avx._mm256_set1_epi32(16 - count), numbers);
        if let Some(last) = to.last_chunk_mut::<8>() {
            *last = cast(avx._mm256_blendv_ps(b, a, cast(of_low)));
        }
    } else if let Some(first) = to.first_chunk_mut::<4>() {
        let [words, _]: [[f32; 4]; 2] = cast(low);
        *first = words;
        let moved = f._mm256_add_epi32(numbers, avx._mm256_set1_epi32(count - 4));
        let [words, _]: [[f32; 4]; 2] = cast(f._mm256_permutevar8x32_ps(low, moved));
        if let Some(last) = to.last_chunk_mut::<4>() {
            *last = words;
        }
    } else {
        let words: [f32; 8] = cast(low);
        for (i, x) in to.iter_mut().enumerate() {
            *x = words[i];
        }
    }
}

impl Simd for Avx2 {
    #[inline(always)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        Self::vectorize(self, Task(self, op))
    }
    #[inline(always)]
    fn widen(self, v: [__m256; 2]) -> [[__m256d; 2]; 2] {
        let quarters: [__m128; 4] = cast(v);
        let f = self.avx;
        [
            [f._mm256_cvtps_pd(quarters[0]), f._mm256_cvtps_pd(quarters[1])],
            [f._mm256_cvtps_pd(quarters[2]), f._mm256_cvtps_pd(quarters[3])],
        ]
    }
    #[inline(always)]
    fn integers(self, v: [__m256; 2]) -> [[__m256d; 2]; 2] {
        // In the low word of 2^52, which is then subtracted.
        let anchor = self.avx._mm256_set1_pd(4_503_599_627_370_496.0);
        let quarters: [__m128i; 4] = cast(v);
        let mut wide = [anchor; 4];
        for (i, wide) in wide.iter_mut().enumerate() {
            let bits = self.avx._mm256_or_pd(cast(self.avx2._mm256_cvtepu32_epi64(quarters[i])), anchor);
            *wide = self.avx._mm256_sub_pd(bits, anchor);
        }
        [[wide[0], wide[1]], [wide[2], wide[3]]]
    }
    #[inline(always)]
    fn halves(self, a: [__m256d; 2], b: [__m256d; 2], half: usize) -> [[__m256d; 2]; 2] {
        let f = self.avx;
        match half {
            4 => [[a[0], b[0]], [a[1], b[1]]],
            2 => [
                [f._mm256_permute2f128_pd::<0x20>(a[0], b[0]), f._mm256_permute2f128_pd::<0x20>(a[1], b[1])],
                [f._mm256_permute2f128_pd::<0x31>(a[0], b[0]), f._mm256_permute2f128_pd::<0x31>(a[1], b[1])],
            ],
            _ => [
                [f._mm256_unpacklo_pd(a[0], b[0]), f._mm256_unpacklo_pd(a[1], b[1])],
                [f._mm256_unpackhi_pd(a[0], b[0]), f._mm256_unpackhi_pd(a[1], b[1])],
            ],
        }
    }
    #[inline(always)]
    fn exponent(self, v: [__m256d; 2]) -> [__m256d; 2] {
        // The biased exponent below 2^52, subtracted again as a number.
        let anchor = self.avx._mm256_set1_pd(4_503_599_627_370_496.0);
        let offset = self.avx._mm256_set1_pd(4_503_599_627_370_496.0 + 1023.0);
        let mut halves = v;
        for v in &mut halves {
            let biased = self.avx2._mm256_srli_epi64::<52>(cast(*v));
            *v = self.avx._mm256_sub_pd(self.avx._mm256_or_pd(cast(biased), anchor), offset);
        }
        halves
    }
    #[inline(always)]
    fn narrow(self, [a, b]: [[__m256d; 2]; 2]) -> [__m256; 2] {
        let f = self.avx;
        cast([
            f._mm256_cvtpd_ps(a[0]),
            f._mm256_cvtpd_ps(a[1]),
            f._mm256_cvtpd_ps(b[0]),
            f._mm256_cvtpd_ps(b[1]),
        ])
    }
}
