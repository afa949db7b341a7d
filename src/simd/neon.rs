//! NEON on 64-bit ARM, over pulp's token: a register is four of 128 bits.

use super::{Lanes, Op, Simd};
use bytemuck::cast;
use core::arch::aarch64::*;
use pulp::NullaryFnOnce;
pub(crate) use pulp::aarch64::Neon;

/// An operation with its token, in the form that pulp compiles for an instruction set.
struct Task<O>(Neon, O);

impl<O: Op> NullaryFnOnce for Task<O> {
    type Output = O::Output;
    #[inline(always)]
    fn call(self) -> O::Output {
        self.1.run(self.0)
    }
}

/// The expression for each quarter of a register.
macro_rules! quarters {
    ($i:ident => $quarter:expr) => {
        [
            {
                const $i: usize = 0;
                $quarter
            },
            {
                const $i: usize = 1;
                $quarter
            },
            {
                const $i: usize = 2;
                $quarter
            },
            {
                const $i: usize = 3;
                $quarter
            },
        ]
    };
}

/// Operations that are one instruction a quarter.
macro_rules! binary {
    ($($name:ident: $intrinsic:ident($in:ident) -> $out:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, a: Self::$in, b: Self::$in) -> Self::$out {
            quarters!(I => self.neon.$intrinsic(a[I], b[I]))
        }
    )*};
}

/// Operations on bit patterns, whatever the lanes are.
macro_rules! bitwise {
    ($($name:ident: $intrinsic:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, a: Self::V, b: Self::V) -> Self::V {
            quarters!(I => cast(self.neon.$intrinsic(cast(a[I]), cast(b[I]))))
        }
    )*};
}

impl Lanes<f32> for Neon {
    type V = [float32x4_t; 4];
    type M = [uint32x4_t; 4];

    binary! {
        add: vaddq_f32(V) -> V;
        sub: vsubq_f32(V) -> V;
        mul: vmulq_f32(V) -> V;
        div: vdivq_f32(V) -> V;
        lt: vcltq_f32(V) -> M;
        eq: vceqq_f32(V) -> M;
        mask_and: vandq_u32(M) -> M;
        mask_or: vorrq_u32(M) -> M;
    }
    bitwise! {
        and: vandq_u32;
        or: vorrq_u32;
        xor: veorq_u32;
        add_bits: vaddq_u32;
    }
    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [self.neon.vdupq_n_f32(x); 4]
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
    fn sqrt(self, a: Self::V) -> Self::V {
        quarters!(I => self.neon.vsqrtq_f32(a[I]))
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        quarters!(I => self.neon.vfmaq_f32(c[I], a[I], b[I]))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(I => self.neon.vbslq_f32(self.neon.vcgtq_f32(a[I], b[I]), a[I], b[I]))
    }
    #[inline(always)]
    fn exponent_bits(self, z: Self::V) -> Self::V {
        quarters!(I => cast(self.neon.vshlq_n_u32::<20>(cast(z[I]))))
    }
    #[inline(always)]
    fn pow2_floor(self, z: Self::V) -> Self::V {
        let (n, mask) = (self.neon, self.neon.vdupq_n_u32(0xff80_0000));
        let bias = n.vdupq_n_u32(0x3f80_0000);
        quarters!(I => cast(n.vaddq_u32(n.vandq_u32(n.vshlq_n_u32::<20>(cast(z[I])), mask), bias)))
    }
    #[inline(always)]
    fn lookup(self, table: &[f32; 8], z: Self::V) -> Self::V {
        let n = self.neon;
        let [low, high]: [uint8x16_t; 2] = cast(*table);
        // Entry k is the bytes 4k to 4k + 3 of the table.
        let (seven, bytes) = (n.vdupq_n_u32(7), n.vdupq_n_u32(0x0302_0100));
        quarters!(I => {
            let index = n.vmlaq_n_u32(bytes, n.vandq_u32(cast(z[I]), seven), 0x0404_0404);
            cast(n.vqtbl2q_u8(uint8x16x2_t(low, high), cast(index)))
        })
    }
    #[inline(always)]
    fn select(self, m: Self::M, yes: Self::V, no: Self::V) -> Self::V {
        quarters!(I => self.neon.vbslq_f32(m[I], yes[I], no[I]))
    }
    #[inline(always)]
    fn mask_not(self, a: Self::M) -> Self::M {
        quarters!(I => self.neon.vmvnq_u32(a[I]))
    }
    #[inline(always)]
    fn any(self, a: Self::M) -> bool {
        let n = self.neon;
        n.vmaxvq_u32(n.vorrq_u32(n.vorrq_u32(a[0], a[1]), n.vorrq_u32(a[2], a[3]))) != 0
    }
}

impl Lanes<f64> for Neon {
    type V = [float64x2_t; 4];
    type M = [uint64x2_t; 4];

    binary! {
        add: vaddq_f64(V) -> V;
        sub: vsubq_f64(V) -> V;
        mul: vmulq_f64(V) -> V;
        div: vdivq_f64(V) -> V;
        lt: vcltq_f64(V) -> M;
        eq: vceqq_f64(V) -> M;
        mask_and: vandq_u64(M) -> M;
        mask_or: vorrq_u64(M) -> M;
    }
    bitwise! {
        and: vandq_u64;
        or: vorrq_u64;
        xor: veorq_u64;
        add_bits: vaddq_u64;
    }
    #[inline(always)]
    fn splat(self, x: f64) -> Self::V {
        [self.neon.vdupq_n_f64(x); 4]
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
    fn sqrt(self, a: Self::V) -> Self::V {
        quarters!(I => self.neon.vsqrtq_f64(a[I]))
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        quarters!(I => self.neon.vfmaq_f64(c[I], a[I], b[I]))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(I => self.neon.vbslq_f64(self.neon.vcgtq_f64(a[I], b[I]), a[I], b[I]))
    }
    #[inline(always)]
    fn exponent_bits(self, z: Self::V) -> Self::V {
        quarters!(I => cast(self.neon.vshlq_n_u64::<49>(cast(z[I]))))
    }
    #[inline(always)]
    fn pow2_floor(self, z: Self::V) -> Self::V {
        let (n, mask) = (self.neon, self.neon.vdupq_n_u64(0xfff0_0000_0000_0000));
        let bias = n.vdupq_n_u64(0x3ff0_0000_0000_0000);
        quarters!(I => cast(n.vaddq_u64(n.vandq_u64(n.vshlq_n_u64::<49>(cast(z[I])), mask), bias)))
    }
    #[inline(always)]
    fn lookup(self, table: &[f64; 8], z: Self::V) -> Self::V {
        let n = self.neon;
        let [a, b, c, d]: [uint8x16_t; 4] = cast(*table);
        // Entry k is the bytes 8k to 8k + 7 of the table; k goes to both halves of its lane.
        let (seven, bytes) = (n.vdupq_n_u32(7), cast(n.vdupq_n_u64(0x0706_0504_0302_0100)));
        quarters!(I => {
            let k = n.vandq_u32(cast(z[I]), seven);
            let index = n.vmlaq_n_u32(bytes, n.vtrn1q_u32(k, k), 0x0808_0808);
            cast(n.vqtbl4q_u8(uint8x16x4_t(a, b, c, d), cast(index)))
        })
    }
    #[inline(always)]
    fn select(self, m: Self::M, yes: Self::V, no: Self::V) -> Self::V {
        quarters!(I => self.neon.vbslq_f64(m[I], yes[I], no[I]))
    }
    #[inline(always)]
    fn mask_not(self, a: Self::M) -> Self::M {
        quarters!(I => cast(self.neon.vmvnq_u32(cast(a[I]))))
    }
    #[inline(always)]
    fn any(self, a: Self::M) -> bool {
        let n = self.neon;
        n.vmaxvq_u32(cast(n.vorrq_u64(n.vorrq_u64(a[0], a[1]), n.vorrq_u64(a[2], a[3])))) != 0
    }
}

impl Simd for Neon {
    #[inline(always)]
    fn vectorize<O: Op>(self, op: O) -> O::Output {
        Self::vectorize(self, Task(self, op))
    }
    #[inline(always)]
    fn widen(self, v: [float32x4_t; 4]) -> [[float64x2_t; 4]; 2] {
        let n = self.neon;
        let [a, b, c, d] = quarters!(I => [n.vcvt_f64_f32(n.vget_low_f32(v[I])), n.vcvt_high_f64_f32(v[I])]);
        [[a[0], a[1], b[0], b[1]], [c[0], c[1], d[0], d[1]]]
    }
    #[inline(always)]
    fn narrow(self, [a, b]: [[float64x2_t; 4]; 2]) -> [float32x4_t; 4] {
        let n = self.neon;
        let pairs = [[a[0], a[1]], [a[2], a[3]], [b[0], b[1]], [b[2], b[3]]];
        quarters!(I => n.vcvt_high_f32_f64(n.vcvt_f32_f64(pairs[I][0]), pairs[I][1]))
    }
}
