//! The scalar backend: a register is an array, every operation a loop over it.
//!
//! It is the definition of the others, not a fast path: used when it is asked for, and by tests. Its
//! operations stay out of line, unlike those of every other backend: inlined into every kernel they made
//! three quarters of the compiled library.

use super::{Lanes, Op, Simd};
use num_traits::Float;

/// Runs everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Scalar;

macro_rules! lanes {
    ($t:ident, $bits:ident, $n:literal, $shift:literal, $fraction:literal, $bias:literal) => {
        impl Lanes<$t> for Scalar {
            type V = [$t; $n];
            type M = [bool; $n];

            #[inline(always)]
            fn splat(self, x: $t) -> Self::V {
                [x; $n]
            }
            #[inline(always)]
            fn load(self, from: &[$t; $n]) -> Self::V {
                *from
            }
            #[inline(always)]
            fn store(self, v: Self::V, to: &mut [$t; $n]) {
                *to = v;
            }
            #[inline(never)]
            fn add(self, a: Self::V, b: Self::V) -> Self::V {
                core::array::from_fn(|i| a[i] + b[i])
            }
            #[inline(never)]
            fn sub(self, a: Self::V, b: Self::V) -> Self::V {
                core::array::from_fn(|i| a[i] - b[i])
            }
            #[inline(never)]
            fn mul(self, a: Self::V, b: Self::V) -> Self::V {
                core::array::from_fn(|i| a[i] * b[i])
            }
            #[inline(never)]
            fn div(self, a: Self::V, b: Self::V) -> Self::V {
                core::array::from_fn(|i| a[i] / b[i])
            }
            #[inline(never)]
            fn sqrt(self, a: Self::V) -> Self::V {
                core::array::from_fn(|i| Float::sqrt(a[i]))
            }
            #[inline(never)]
            fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                core::array::from_fn(|i| Float::mul_add(a[i], b[i], c[i]))
            }
            #[inline(never)]
            fn max(self, a: Self::V, b: Self::V) -> Self::V {
                core::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
            }
            #[inline(never)]
            fn and(self, a: Self::V, b: Self::V) -> Self::V {
                core::array::from_fn(|i| $t::from_bits(a[i].to_bits() & b[i].to_bits()))
            }
            #[inline(never)]
            fn or(self, a: Self::V, b: Self::V) -> Self::V {
                core::array::from_fn(|i| $t::from_bits(a[i].to_bits() | b[i].to_bits()))
            }
            #[inline(never)]
            fn xor(self, a: Self::V, b: Self::V) -> Self::V {
                core::array::from_fn(|i| $t::from_bits(a[i].to_bits() ^ b[i].to_bits()))
            }
            #[inline(never)]
            fn add_bits(self, a: Self::V, b: Self::V) -> Self::V {
                core::array::from_fn(|i| $t::from_bits(a[i].to_bits().wrapping_add(b[i].to_bits())))
            }
            #[inline(never)]
            fn exponent_bits(self, z: Self::V) -> Self::V {
                core::array::from_fn(|i| $t::from_bits(z[i].to_bits() << $shift))
            }
            #[inline(never)]
            fn pow2_floor(self, z: Self::V) -> Self::V {
                // The integer part of z lands in the exponent field, its fraction below it.
                core::array::from_fn(|i| {
                    let exponent = (z[i].to_bits() << $shift) & $fraction;
                    $t::from_bits(exponent.wrapping_add($bias))
                })
            }
            #[inline(never)]
            fn lookup(self, table: &[$t; 8], z: Self::V) -> Self::V {
                core::array::from_fn(|i| table[(z[i].to_bits() & 7) as usize])
            }
            #[inline(never)]
            fn lt(self, a: Self::V, b: Self::V) -> Self::M {
                core::array::from_fn(|i| a[i] < b[i])
            }
            #[inline(never)]
            fn eq(self, a: Self::V, b: Self::V) -> Self::M {
                core::array::from_fn(|i| a[i] == b[i])
            }
            #[inline(never)]
            fn select(self, m: Self::M, yes: Self::V, no: Self::V) -> Self::V {
                core::array::from_fn(|i| if m[i] { yes[i] } else { no[i] })
            }
            #[inline(never)]
            fn mask_and(self, a: Self::M, b: Self::M) -> Self::M {
                core::array::from_fn(|i| a[i] & b[i])
            }
            #[inline(never)]
            fn mask_or(self, a: Self::M, b: Self::M) -> Self::M {
                core::array::from_fn(|i| a[i] | b[i])
            }
            #[inline(never)]
            fn mask_not(self, a: Self::M) -> Self::M {
                core::array::from_fn(|i| !a[i])
            }
            #[inline(never)]
            fn any(self, a: Self::M) -> bool {
                a.contains(&true)
            }
        }
    };
}
lanes!(f32, u32, 16, 20, 0xff80_0000, 0x3f80_0000);
lanes!(f64, u64, 8, 49, 0xfff0_0000_0000_0000, 0x3ff0_0000_0000_0000);

impl Simd for Scalar {
    const LEAN: bool = true;
    #[inline(never)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        op.run(self)
    }
    #[inline(never)]
    fn near<R>(self, part: impl FnOnce() -> R) -> R {
        part()
    }
    #[inline(never)]
    fn widen(self, v: [f32; 16]) -> [[f64; 8]; 2] {
        [core::array::from_fn(|i| f64::from(v[i])), core::array::from_fn(|i| f64::from(v[i + 8]))]
    }
    #[inline(never)]
    fn narrow(self, [a, b]: [[f64; 8]; 2]) -> [f32; 16] {
        core::array::from_fn(|i| if i < 8 { a[i] as f32 } else { b[i - 8] as f32 })
    }
}
