//! The portable backend, over `wide`: whatever vectors the build target has, SSE2 on plain x86-64.
//!
//! # The fused multiply-add
//! Where the build has it in hardware it is one instruction. Elsewhere it is computed from what there
//! is, in vectors, to the same bits: a fast path whose result is proved right by a test on its own
//! intermediate values, and a slow one, out of line, that one register in millions takes.
//!
//! * **f32**: the product is exact in f64, so s = ab + c is rounded to f64, then to f32. The second
//!   rounding goes wrong only if s lies halfway between two f32, and, where the halves are finer, for
//!   |s| < 2⁻¹²⁶. There s can be inexact only with c ≠ 0 and |c| < 2⁻¹²⁵: ab has 48 bits, so it must be
//!   below 2⁻¹³¹ to reach under the 53 bits of s.
//! * **f64**: Dekker's product ab = p + e, Knuth's sum p + c = h + l, and h + (l + e) with the inner sum
//!   rounded, v. If l or e is zero v is exact; else the result is right if moving v by its own rounding
//!   error either way gives the same. Needs |p| ≥ 2⁻⁹⁶⁰, for e to be exact, or a factor that is zero;
//!   overflow anywhere leaves an infinity or a NaN in the result, which the comparison refuses.

use super::{Lanes, Op, Simd};
use crate::math::exp::each;
use crate::math::power_of_two;
use bytemuck::cast;
use num_traits::Float;
use wide::{f32x8, f32x16, f64x4, f64x8, u32x8, u32x16, u64x8};

/// Runs everywhere, on the vectors that the crate was built for.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

/// Whether `wide`'s `mul_add` rounds once in this build.
const FUSED: bool = cfg!(any(
    all(any(target_arch = "x86", target_arch = "x86_64"), target_feature = "fma"),
    all(target_arch = "aarch64", target_feature = "neon"),
));

macro_rules! lanes {
    ($t:ident, $v:ident, $bits:ident, $n:literal, $shift:literal, $exponent:literal, $bias:literal, $fused:ident, $lookup:ident, $half:ident) => {
        impl Lanes<$t> for Portable {
            type V = $v;
            type M = $v;

            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                $v::splat(x)
            }
            #[inline(always)]
            fn load(self, from: &[$t; $n]) -> $v {
                $v::new(*from)
            }
            #[inline(always)]
            fn store(self, v: $v, to: &mut [$t; $n]) {
                *to = v.to_array();
            }
            #[inline(always)]
            fn add(self, a: $v, b: $v) -> $v {
                a + b
            }
            #[inline(always)]
            fn sub(self, a: $v, b: $v) -> $v {
                a - b
            }
            #[inline(always)]
            fn mul(self, a: $v, b: $v) -> $v {
                a * b
            }
            #[inline(always)]
            fn div(self, a: $v, b: $v) -> $v {
                a / b
            }
            #[inline(always)]
            fn sqrt(self, a: $v) -> $v {
                a.sqrt()
            }
            #[inline(always)]
            fn mul_add(self, a: $v, b: $v, c: $v) -> $v {
                if FUSED { a.mul_add(b, c) } else { $fused(a, b, c) }
            }
            #[inline(always)]
            fn max(self, a: $v, b: $v) -> $v {
                b.simd_lt(a).select(a, b)
            }
            #[inline(always)]
            fn and(self, a: $v, b: $v) -> $v {
                a & b
            }
            #[inline(always)]
            fn or(self, a: $v, b: $v) -> $v {
                a | b
            }
            #[inline(always)]
            fn xor(self, a: $v, b: $v) -> $v {
                a ^ b
            }
            #[inline(always)]
            fn add_bits(self, a: $v, b: $v) -> $v {
                cast(cast::<$v, $bits>(a) + cast::<$v, $bits>(b))
            }
            #[inline(always)]
            fn exponent_bits(self, z: $v) -> $v {
                cast(cast::<$v, $bits>(z) << $shift)
            }
            #[inline(always)]
            fn pow2_floor(self, z: $v) -> $v {
                // The integer part of z lands in the exponent field, its fraction below it.
                let exponent = (cast::<$v, $bits>(z) << $shift) & $bits::splat($exponent);
                cast(exponent + $bits::splat($bias))
            }
            #[inline(always)]
            fn lookup(self, table: &[$t; 8], z: $v) -> $v {
                if FUSED {
                    return $lookup(table, cast::<$v, $bits>(z) & $bits::splat(7));
                }
                // Without instructions for it, element by element.
                let z = z.to_array();
                $v::new(core::array::from_fn(
                    #[inline(always)]
                    |i| table[(z[i].to_bits() & 7) as usize],
                ))
            }
            #[inline(always)]
            fn transpose<'a>(
                self,
                from: impl Fn(usize) -> &'a [$t; $n],
                mut to: impl FnMut(usize, usize, &[$t]),
            ) {
                const HALF: usize = $n / 2;
                for (rows, half) in [(HALF, 0), (HALF, 1), (0, 0), (0, 1)] {
                    let square = $half::transpose(each(
                        #[inline(always)]
                        |r| $half::new(from(rows + r).as_chunks::<HALF>().0[half]),
                    ));
                    for (c, column) in square.into_iter().enumerate() {
                        to(half * HALF + c, rows, &column.to_array());
                    }
                }
            }
            #[inline(always)]
            fn lt(self, a: $v, b: $v) -> $v {
                a.simd_lt(b)
            }
            #[inline(always)]
            fn eq(self, a: $v, b: $v) -> $v {
                a.simd_eq(b)
            }
            #[inline(always)]
            fn select(self, m: $v, yes: $v, no: $v) -> $v {
                m.select(yes, no)
            }
            #[inline(always)]
            fn mask_and(self, a: $v, b: $v) -> $v {
                a & b
            }
            #[inline(always)]
            fn mask_or(self, a: $v, b: $v) -> $v {
                a | b
            }
            #[inline(always)]
            fn mask_not(self, a: $v) -> $v {
                !a
            }
            #[inline(always)]
            fn any(self, a: $v) -> bool {
                a.any()
            }
        }
    };
}
lanes!(f32, f32x16, u32x16, 16, 20, 0xff80_0000, 0x3f80_0000, fused_f32, lookup_f32, f32x8);
lanes!(f64, f64x8, u64x8, 8, 49, 0xfff0_0000_0000_0000, 0x3ff0_0000_0000_0000, fused_f64, lookup_f64, f64x4);

impl Simd for Portable {
    const LEAN: bool = !FUSED;
    #[inline(never)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        op.run(self)
    }
    #[inline(never)]
    fn near<R>(self, part: impl FnOnce() -> R) -> R {
        part()
    }
    #[inline(always)]
    fn widen(self, v: f32x16) -> [f64x8; 2] {
        let v = v.to_array();
        [
            f64x8::new(core::array::from_fn(
                #[inline(always)]
                |i| f64::from(v[i]),
            )),
            f64x8::new(core::array::from_fn(
                #[inline(always)]
                |i| f64::from(v[i + 8]),
            )),
        ]
    }
    #[inline(always)]
    fn narrow(self, [a, b]: [f64x8; 2]) -> f32x16 {
        let (a, b) = (a.to_array(), b.to_array());
        f32x16::new(core::array::from_fn(
            #[inline(always)]
            |i| if i < 8 { a[i] as f32 } else { b[i - 8] as f32 },
        ))
    }
}

/// The entries of a table, given their indices.
#[inline(always)]
fn lookup_f32(table: &[f32; 8], indices: u32x16) -> f32x16 {
    let table: u32x8 = cast(*table);
    let [low, high]: [u32x8; 2] = cast(indices);
    cast([table.shuffle(low), table.shuffle(high)])
}

/// The same in halves, for which more machines have an instruction.
#[inline(always)]
fn lookup_f64(table: &[f64; 8], indices: u64x8) -> f64x8 {
    let words: [[u32; 2]; 8] = cast(*table);
    let [even, odd]: [u32x8; 2] = each(
        #[inline(always)]
        |half| {
            u32x8::new(each(
                #[inline(always)]
                |i| words[i][half],
            ))
        },
    );
    let indices: [u32x8; 2] = cast(indices | (indices << 32));
    let second: u32x8 = cast([[0, u32::MAX]; 4]);
    cast(each::<_, 2>(
        #[inline(always)]
        |i| second.select(odd.shuffle(indices[i]), even.shuffle(indices[i])),
    ))
}

/// a·b + c, rounded once; out of line, since it is long and in every polynomial.
#[inline(never)]
pub(super) fn fused_f32(a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
    let ([a0, a1], [b0, b1], [c0, c1]) = (Portable.widen(a), Portable.widen(b), Portable.widen(c));
    let (s0, s1) = (a0 * b0 + c0, a1 * b1 + c1);
    // Halfway: of the 29 bits that f32 lacks only the first is set. The high word never compares equal.
    let dropped = u64x8::splat(0x1fff_ffff);
    let halfway: u32x16 = cast(u64x8::splat(0xffff_ffff_1000_0000));
    let tie0 = cast::<f64x8, u32x16>(s0 & cast::<u64x8, f64x8>(dropped)).simd_eq(halfway);
    let tie1 = cast::<f64x8, u32x16>(s1 & cast::<u64x8, f64x8>(dropped)).simd_eq(halfway);
    let tiny = c.abs().simd_lt(f32x16::splat(2.0 * f32::MIN_POSITIVE)) & c.simd_ne(f32x16::splat(0.0));
    if (cast::<u32x16, f32x16>(tie0 | tie1) | tiny).any() {
        return fused_f32_slow(a, b, c);
    }
    Portable.narrow([s0, s1])
}

/// The same for all arguments: the sum is rounded to odd, after which a second rounding does no harm.
#[cold]
#[inline(never)]
fn fused_f32_slow(a: f32x16, b: f32x16, c: f32x16) -> f32x16 {
    let (a, b, c) = (a.to_array(), b.to_array(), c.to_array());
    f32x16::new(core::array::from_fn(
        #[inline(always)]
        |i| {
            let (p, c) = (f64::from(a[i]) * f64::from(b[i]), f64::from(c[i]));
            let s = p + c;
            let from_c = s - p;
            let error = (p - (s - from_c)) + (c - from_c);
            // Towards zero, then the last bit; a NaN here says that s is none or infinite, so exact.
            let odd = (s.to_bits().wrapping_sub((s.to_bits() ^ error.to_bits()) >> 63)) | 1;
            if error.abs() > 0.0 { f64::from_bits(odd) as f32 } else { s as f32 }
        },
    ))
}

/// a·b + c, rounded once; out of line, since it is long and in every polynomial.
#[inline(never)]
pub(super) fn fused_f64(a: f64x8, b: f64x8, c: f64x8) -> f64x8 {
    let zero = f64x8::splat(0.0);
    let p = a * b;
    let ([a1, a2], [b1, b2]) = (split(a), split(b));
    // The errors with their signs changed: exact zeros come out as +0, and subtracting that keeps −0.
    let e = ((p - a1 * b1) - a1 * b2 - a2 * b1) - a2 * b2;
    let h = p + c;
    let from_c = h - p;
    let l = ((h - from_c) - p) + (from_c - c);
    let v = l + e;
    let doubt = (v * f64x8::splat(f64::EPSILON)) & l.simd_ne(zero) & e.simd_ne(zero);
    let (r, other) = (h - (v + doubt), h - (v - doubt));
    let exact = p.abs().simd_ge(f64x8::splat(SMALLEST_PRODUCT)) | a.simd_eq(zero) | b.simd_eq(zero);
    if (exact & (r - other).simd_eq(zero)).all() { r } else { fused_f64_slow(a, b, c) }
}

/// 2⁻⁹⁶⁰: from here on the error of a product, a multiple of 2⁻¹⁰⁶⁵, is a number.
const SMALLEST_PRODUCT: f64 = power_of_two(-960);

/// The same for all arguments.
#[cold]
#[inline(never)]
fn fused_f64_slow(a: f64x8, b: f64x8, c: f64x8) -> f64x8 {
    let (a, b, c) = (a.to_array(), b.to_array(), c.to_array());
    f64x8::new(core::array::from_fn(
        #[inline(always)]
        |i| Float::mul_add(a[i], b[i], c[i]),
    ))
}

/// Veltkamp's split into 26 bits and 26 bits with sign: their products are exact.
#[inline(always)]
fn split(a: f64x8) -> [f64x8; 2] {
    let t = a * f64x8::splat(134_217_729.0);
    let high = t - (t - a);
    [high, a - high]
}
