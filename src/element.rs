//! The two element types, f32 and f64: their constants, and the way from a type to a backend's lanes.

use crate::simd::{Lanes, Simd};
use core::fmt::{Debug, Display, LowerExp};

/// A floating-point type that lossprep computes in: `f32` or `f64`.
///
/// The trait is sealed: the kernels are written, and their bounds shown, for these two.
pub trait Element:
    num_traits::Float + Debug + Display + LowerExp + Default + Send + Sync + crate::kernels::Kernel + 'static
{
}

impl Element for f32 {}
impl Element for f64 {}

/// What [`Vector`](crate::simd::Vector) needs of its element type: constants, and each lane
/// operation as a function of the type, so that generic kernels need no further bounds.
pub trait Lane: num_traits::Float + Debug + Send + Sync + 'static {
    /// One register in memory.
    type Array: Copy + AsRef<[Self]> + AsMut<[Self]>;
    /// One register of backend `S`.
    type Raw<S: Simd>: Copy;
    /// One mask of backend `S`.
    type RawMask<S: Simd>: Copy;

    /// Lanes of a register.
    const LANES: usize;
    /// Canonical quiet NaN.
    const NAN: Self;
    /// +∞.
    const INFINITY: Self;
    /// Only the sign bit: −0.
    const SIGN: Self;
    /// All bits but the sign.
    const ABS: Self;
    /// 0.5.
    const HALF: Self;
    /// 1.5 · 2^(p − 4): adding it rounds to a multiple of 1/8 and leaves that in the low bits.
    const MAGIC: Self;
    /// Clears the three fraction bits of a number in magic form.
    const FLOOR_MASK: Self;
    /// The exponent below which `ldexp` gives zero; twice the smallest normal exponent.
    const LDEXP_FLOOR: Self;
    /// An exponent that leaves numbers near 1 normal; three of them are below any product.
    const PART: Self;

    /// All lanes `x`, in memory.
    fn array(x: Self) -> Self::Array;
    /// The last bits of the pattern.
    fn low_bits(self) -> u32;
    /// The slice as whole registers and a tail.
    fn registers(slice: &[Self]) -> (&[Self::Array], &[Self]);
    /// The slice as whole registers and a tail.
    fn registers_mut(slice: &mut [Self]) -> (&mut [Self::Array], &mut [Self]);
    /// The elements of registers in memory.
    fn flat(registers: &[Self::Array]) -> &[Self];
    /// The elements of registers in memory.
    fn flat_mut(registers: &mut [Self::Array]) -> &mut [Self];

    fn lanes_splat<S: Simd>(s: S, x: Self) -> Self::Raw<S>;
    fn lanes_load<S: Simd>(s: S, from: &Self::Array) -> Self::Raw<S>;
    fn lanes_store<S: Simd>(s: S, v: Self::Raw<S>, to: &mut Self::Array);
    fn lanes_load_partial<S: Simd>(s: S, from: &[Self], fill: Self) -> Self::Raw<S>;
    fn lanes_store_partial<S: Simd>(s: S, v: Self::Raw<S>, to: &mut [Self]);
    fn lanes_rotate<S: Simd>(s: S, a: Self::Raw<S>, distance: usize) -> Self::Raw<S>;
    fn lanes_sqrt<S: Simd>(s: S, a: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_exponent_bits<S: Simd>(s: S, a: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_pow2_floor<S: Simd>(s: S, a: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_add<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_sub<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_mul<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_div<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_max<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_min<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_transpose<'a, S: Simd>(
        s: S,
        from: impl Fn(usize) -> &'a Self::Array,
        to: impl FnMut(usize, usize, &[Self]),
    );
    fn lanes_and<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_or<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_xor<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_add_bits<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_scale<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_ldexp<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_mul_add<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>, c: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_lookup<S: Simd>(s: S, table: &[Self; 8], z: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_lt<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::RawMask<S>;
    fn lanes_eq<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::RawMask<S>;
    fn lanes_unordered<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::RawMask<S>;
    fn lanes_select<S: Simd>(s: S, m: Self::RawMask<S>, yes: Self::Raw<S>, no: Self::Raw<S>) -> Self::Raw<S>;
    fn lanes_mask_and<S: Simd>(s: S, a: Self::RawMask<S>, b: Self::RawMask<S>) -> Self::RawMask<S>;
    fn lanes_mask_or<S: Simd>(s: S, a: Self::RawMask<S>, b: Self::RawMask<S>) -> Self::RawMask<S>;
    fn lanes_mask_not<S: Simd>(s: S, a: Self::RawMask<S>) -> Self::RawMask<S>;
    fn lanes_any<S: Simd>(s: S, a: Self::RawMask<S>) -> bool;
}

macro_rules! lane {
    ($t:ident, $lanes:literal, $nan:literal, $sign:literal, $magic:literal, $floor:literal, $part:literal) => {
        impl Lane for $t {
            type Array = [$t; $lanes];
            type Raw<S: Simd> = <S as Lanes<$t>>::V;
            type RawMask<S: Simd> = <S as Lanes<$t>>::M;
            const LANES: usize = $lanes;
            const NAN: Self = $t::from_bits($nan);
            const INFINITY: Self = $t::INFINITY;
            const SIGN: Self = $t::from_bits($sign);
            const ABS: Self = $t::from_bits(!$sign);
            const HALF: Self = 0.5;
            const MAGIC: Self = $magic;
            const FLOOR_MASK: Self = $t::from_bits(!7);
            const LDEXP_FLOOR: Self = $floor;
            const PART: Self = $part;

            #[inline(always)]
            fn low_bits(self) -> u32 {
                self.to_bits() as u32
            }
            #[inline(always)]
            fn array(x: Self) -> Self::Array {
                [x; $lanes]
            }
            #[inline(always)]
            fn registers(slice: &[Self]) -> (&[Self::Array], &[Self]) {
                slice.as_chunks()
            }
            #[inline(always)]
            fn registers_mut(slice: &mut [Self]) -> (&mut [Self::Array], &mut [Self]) {
                slice.as_chunks_mut()
            }
            #[inline(always)]
            fn flat(registers: &[Self::Array]) -> &[Self] {
                bytemuck::must_cast_slice(registers)
            }
            #[inline(always)]
            fn flat_mut(registers: &mut [Self::Array]) -> &mut [Self] {
                bytemuck::must_cast_slice_mut(registers)
            }
            #[inline(always)]
            fn lanes_splat<S: Simd>(s: S, x: Self) -> Self::Raw<S> {
                Lanes::<Self>::splat(s, x)
            }
            #[inline(always)]
            fn lanes_load<S: Simd>(s: S, from: &Self::Array) -> Self::Raw<S> {
                Lanes::<Self>::load(s, from)
            }
            #[inline(always)]
            fn lanes_store<S: Simd>(s: S, v: Self::Raw<S>, to: &mut Self::Array) {
                Lanes::<Self>::store(s, v, to);
            }
            #[inline(always)]
            fn lanes_load_partial<S: Simd>(s: S, from: &[Self], fill: Self) -> Self::Raw<S> {
                Lanes::<Self>::load_partial(s, from, fill)
            }
            #[inline(always)]
            fn lanes_store_partial<S: Simd>(s: S, v: Self::Raw<S>, to: &mut [Self]) {
                Lanes::<Self>::store_partial(s, v, to);
            }
            #[inline(always)]
            fn lanes_rotate<S: Simd>(s: S, a: Self::Raw<S>, distance: usize) -> Self::Raw<S> {
                Lanes::<Self>::rotate(s, a, distance)
            }
            #[inline(always)]
            fn lanes_sqrt<S: Simd>(s: S, a: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::sqrt(s, a)
            }
            #[inline(always)]
            fn lanes_exponent_bits<S: Simd>(s: S, a: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::exponent_bits(s, a)
            }
            #[inline(always)]
            fn lanes_pow2_floor<S: Simd>(s: S, a: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::pow2_floor(s, a)
            }
            #[inline(always)]
            fn lanes_add<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::add(s, a, b)
            }
            #[inline(always)]
            fn lanes_sub<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::sub(s, a, b)
            }
            #[inline(always)]
            fn lanes_mul<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::mul(s, a, b)
            }
            #[inline(always)]
            fn lanes_div<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::div(s, a, b)
            }
            #[inline(always)]
            fn lanes_max<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::max(s, a, b)
            }
            #[inline(always)]
            fn lanes_min<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::min(s, a, b)
            }
            #[inline(always)]
            fn lanes_transpose<'a, S: Simd>(
                s: S,
                from: impl Fn(usize) -> &'a Self::Array,
                to: impl FnMut(usize, usize, &[Self]),
            ) {
                Lanes::<Self>::transpose(s, from, to);
            }
            #[inline(always)]
            fn lanes_and<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::and(s, a, b)
            }
            #[inline(always)]
            fn lanes_or<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::or(s, a, b)
            }
            #[inline(always)]
            fn lanes_xor<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::xor(s, a, b)
            }
            #[inline(always)]
            fn lanes_add_bits<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::add_bits(s, a, b)
            }
            #[inline(always)]
            fn lanes_scale<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::scale(s, a, b)
            }
            #[inline(always)]
            fn lanes_ldexp<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::ldexp(s, a, b)
            }
            #[inline(always)]
            fn lanes_mul_add<S: Simd>(
                s: S,
                a: Self::Raw<S>,
                b: Self::Raw<S>,
                c: Self::Raw<S>,
            ) -> Self::Raw<S> {
                Lanes::<Self>::mul_add(s, a, b, c)
            }
            #[inline(always)]
            fn lanes_lookup<S: Simd>(s: S, table: &[Self; 8], z: Self::Raw<S>) -> Self::Raw<S> {
                Lanes::<Self>::lookup(s, table, z)
            }
            #[inline(always)]
            fn lanes_lt<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::RawMask<S> {
                Lanes::<Self>::lt(s, a, b)
            }
            #[inline(always)]
            fn lanes_eq<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::RawMask<S> {
                Lanes::<Self>::eq(s, a, b)
            }
            #[inline(always)]
            fn lanes_unordered<S: Simd>(s: S, a: Self::Raw<S>, b: Self::Raw<S>) -> Self::RawMask<S> {
                Lanes::<Self>::unordered(s, a, b)
            }
            #[inline(always)]
            fn lanes_select<S: Simd>(
                s: S,
                m: Self::RawMask<S>,
                yes: Self::Raw<S>,
                no: Self::Raw<S>,
            ) -> Self::Raw<S> {
                Lanes::<Self>::select(s, m, yes, no)
            }
            #[inline(always)]
            fn lanes_mask_and<S: Simd>(s: S, a: Self::RawMask<S>, b: Self::RawMask<S>) -> Self::RawMask<S> {
                Lanes::<Self>::mask_and(s, a, b)
            }
            #[inline(always)]
            fn lanes_mask_or<S: Simd>(s: S, a: Self::RawMask<S>, b: Self::RawMask<S>) -> Self::RawMask<S> {
                Lanes::<Self>::mask_or(s, a, b)
            }
            #[inline(always)]
            fn lanes_mask_not<S: Simd>(s: S, a: Self::RawMask<S>) -> Self::RawMask<S> {
                Lanes::<Self>::mask_not(s, a)
            }
            #[inline(always)]
            fn lanes_any<S: Simd>(s: S, a: Self::RawMask<S>) -> bool {
                Lanes::<Self>::any(s, a)
            }
        }
    };
}
lane!(f32, 16, 0x7fc0_0000, 0x8000_0000, 1_572_864.0, -252.0, -100.0);
lane!(f64, 8, 0x7ff8_0000_0000_0000, 0x8000_0000_0000_0000, 844_424_930_131_968.0, -2044.0, -900.0);
