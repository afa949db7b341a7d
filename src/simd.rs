//! The virtual machine that every kernel is written for: registers of 512 bits, 16 × f32 or 8 × f64.
//!
//! [`Lanes`] is what a backend implements for each element type, [`Simd`] what joins the two types,
//! [`Vector`] and [`Mask`] the values that kernels compute with. Every operation is exactly defined
//! here, so a kernel gives the same bits on every backend:
//!
//! * `+ − × ÷ √` and `mul_add` are IEEE 754, round to nearest, `mul_add` with one rounding;
//! * `max(a, b)` is `if a > b { a } else { b }`, `min` likewise: with a NaN, or two zeros, it is `b`;
//! * comparisons are false for NaN, bit operations touch no value;
//! * a partial load fills the missing lanes with what it is told.
//!
//! Where a backend has an instruction set everything is `#[inline(always)]`: code that stays out of line is compiled
//! without it, and each operation in it becomes a call.

use crate::dispatch::Kernels;
use crate::element::Lane;
use core::ops::{Add, BitAnd, BitOr, Div, Mul, Neg, Not, Sub};

#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod portable;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
pub(crate) mod x86;

pub(crate) use portable::Portable;
pub(crate) use scalar::Scalar;

/// Lane operations of one backend on one element type.
///
/// `z` arguments are numbers in *magic form*: `MAGIC + k/8` for an integer `k`, where
/// `MAGIC = 1.5 · 2^(p − 4)`, so that the last place is 1/8 and the low bits of the pattern are `k`.
pub trait Lanes<T: Lane>: Copy {
    /// 512 bits of `T`.
    type V: Copy;
    /// One truth value a lane.
    type M: Copy;

    fn splat(self, x: T) -> Self::V;
    fn load(self, from: &T::Array) -> Self::V;
    fn store(self, v: Self::V, to: &mut T::Array);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    /// a·b + c, rounded once.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `if a > b { a } else { b }`
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `if a < b { a } else { b }`
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        self.select(self.lt(a, b), a, b)
    }
    fn and(self, a: Self::V, b: Self::V) -> Self::V;
    fn or(self, a: Self::V, b: Self::V) -> Self::V;
    fn xor(self, a: Self::V, b: Self::V) -> Self::V;
    /// The bit patterns added as integers, wrapping.
    fn add_bits(self, a: Self::V, b: Self::V) -> Self::V;
    /// The bits of z moved up, so that the integer part of k/8 lands in the exponent field and its eighths
    /// in the three bits below it.
    fn exponent_bits(self, z: Self::V) -> Self::V;
    /// 2^⌊z − MAGIC⌋, which must be a normal number.
    fn pow2_floor(self, z: Self::V) -> Self::V;
    /// Entry `k mod 8` of the table for each lane, `k` the low bits of `z`.
    fn lookup(self, table: &[T; 8], z: Self::V) -> Self::V;
    fn lt(self, a: Self::V, b: Self::V) -> Self::M;
    fn eq(self, a: Self::V, b: Self::V) -> Self::M;
    /// Whether either is NaN.
    #[inline(always)]
    fn unordered(self, a: Self::V, b: Self::V) -> Self::M {
        self.mask_not(self.mask_and(self.eq(a, a), self.eq(b, b)))
    }
    fn select(self, m: Self::M, yes: Self::V, no: Self::V) -> Self::V;
    /// Lane i is lane i + `distance`, around the end; `distance` is a power of two below `LANES`.
    #[inline(always)]
    fn rotate(self, v: Self::V, distance: usize) -> Self::V {
        let mut lanes = T::array(T::zero());
        self.store(v, &mut lanes);
        let mut rotated = lanes;
        for (i, lane) in rotated.as_mut().iter_mut().enumerate() {
            *lane = lanes.as_ref()[(i + distance) % T::LANES];
        }
        self.load(&rotated)
    }
    /// Lane c of the register at `from(r)` becomes lane r of register c, c and r below `LANES`: `to(c, first, lanes)` is given
    /// those of register c from lane `first` on, in any pieces, later lanes first and then by c.
    #[inline(always)]
    fn transpose<'a>(self, from: impl Fn(usize) -> &'a T::Array, mut to: impl FnMut(usize, usize, &[T])) {
        for c in 0..T::LANES {
            let mut column = T::array(T::zero());
            for (r, lane) in column.as_mut().iter_mut().enumerate() {
                *lane = from(r).as_ref()[c];
            }
            to(c, 0, column.as_ref());
        }
    }
    fn mask_and(self, a: Self::M, b: Self::M) -> Self::M;
    fn mask_or(self, a: Self::M, b: Self::M) -> Self::M;
    fn mask_not(self, a: Self::M) -> Self::M;
    fn any(self, a: Self::M) -> bool;

    /// The slice, shorter than a register, then `fill`.
    #[inline(always)]
    fn load_partial(self, from: &[T], fill: T) -> Self::V {
        let mut all = T::array(fill);
        for (i, &x) in from.iter().enumerate() {
            all.as_mut()[i] = x;
        }
        self.load(&all)
    }

    /// The first lanes, as many as the slice has room for.
    #[inline(always)]
    fn store_partial(self, v: Self::V, to: &mut [T]) {
        let mut all = T::array(T::zero());
        self.store(v, &mut all);
        for (i, x) in to.iter_mut().enumerate().take(T::LANES) {
            *x = all.as_ref()[i];
        }
    }

    /// v·2^⌊z − MAGIC⌋ where that power and the result are normal.
    #[inline(always)]
    fn scale(self, v: Self::V, z: Self::V) -> Self::V {
        self.mul(v, self.pow2_floor(z))
    }

    /// v·2^⌊z − MAGIC⌋, rounded once, for exponents from −8,192 up to twice the largest, as long as
    /// half the exponent leaves v in the normal range: so for any v near 1.
    ///
    /// In two equal halves, so that the first product is exact wherever the result is not zero.
    #[inline(always)]
    fn ldexp(self, v: Self::V, z: Self::V) -> Self::V {
        let magic = self.splat(T::MAGIC);
        let exponent = self.sub(z, magic);
        let exponent = self.max(exponent, self.splat(T::LDEXP_FLOOR));
        let half = self.add(self.mul(exponent, self.splat(T::HALF)), magic);
        // ⌊k/2⌋ and the rest: both in magic form, their integer parts add up to ⌊k⌋.
        let low = self.sub(self.floor(half), magic);
        let rest = self.sub(exponent, low);
        let v = self.mul(v, self.pow2_floor(self.add(low, magic)));
        self.mul(v, self.pow2_floor(self.add(rest, magic)))
    }

    /// z with its fraction of eighths dropped: the next integer below, in magic form.
    #[inline(always)]
    fn floor(self, z: Self::V) -> Self::V {
        self.and(z, self.splat(T::FLOOR_MASK))
    }
}

/// A backend: a token whose existence proves that the machine has the instructions.
pub trait Simd: Lanes<f32> + Lanes<f64> {
    /// Whether rows are taken one by one and element by element: where operations are so slow that nothing is gained by
    /// more, and a third of the code does.
    const LEAN: bool = false;
    /// Whether it has the registers to work on four of ours side by side.
    const ROOMY: bool = false;
    /// Runs `op` compiled for this instruction set.
    fn vectorize<O: Op>(self, op: O) -> O::Output;
    /// The same for a part of a kernel that is out of line on purpose: what is large, used in many places, and not
    /// where the time goes. The closure is `#[inline(always)]`, so that it is compiled for the instruction set.
    #[inline(always)]
    fn apart<R>(self, part: impl FnOnce() -> R) -> R {
        self.vectorize(Part(part))
    }
    /// Runs a part that is small where an operation is an instruction, and large where it is a call.
    #[inline(always)]
    fn near<R>(self, part: impl FnOnce() -> R) -> R {
        part()
    }
    /// Lanes 0–7 and 8–15 as f64, exact.
    fn widen(self, v: <Self as Lanes<f32>>::V) -> [<Self as Lanes<f64>>::V; 2];
    /// What is added where two registers are halved into one. Of the lanes whose number has the bit `half`, 4, 2 or 1,
    /// the second gets those of `b`, and the first those of `b` that are `half` lanes before; of the others the first
    /// gets those of `a`, and the second those of `a` that are `half` lanes behind.
    #[inline(always)]
    fn halves(
        self,
        a: <Self as Lanes<f64>>::V,
        b: <Self as Lanes<f64>>::V,
        half: usize,
    ) -> [<Self as Lanes<f64>>::V; 2] {
        let [mut from_a, mut from_b] = [[0.0; 8]; 2];
        Lanes::<f64>::store(self, a, &mut from_a);
        Lanes::<f64>::store(self, b, &mut from_b);
        let [mut first, mut second] = [from_a, from_b];
        for k in 0..8 {
            if k & half == 0 {
                second[k] = from_a[k + half];
            } else {
                first[k] = from_b[k - half];
            }
        }
        [Lanes::<f64>::load(self, &first), Lanes::<f64>::load(self, &second)]
    }
    /// ⌊log₂ v⌋ of positive normal lanes.
    #[inline(always)]
    fn exponent(self, v: <Self as Lanes<f64>>::V) -> <Self as Lanes<f64>>::V {
        let mut lanes = [0.0_f64; 8];
        Lanes::<f64>::store(self, v, &mut lanes);
        for lane in &mut lanes {
            *lane = (lane.to_bits() >> 52) as f64 - 1023.0;
        }
        Lanes::<f64>::load(self, &lanes)
    }
    /// The patterns of lanes 0–7 and 8–15 as unsigned integers.
    #[inline(always)]
    fn integers(self, v: <Self as Lanes<f32>>::V) -> [<Self as Lanes<f64>>::V; 2] {
        let mut lanes = [0.0_f32; 16];
        Lanes::<f32>::store(self, v, &mut lanes);
        let mut wide = [[0.0; 8]; 2];
        for (to, lane) in wide.as_flattened_mut().iter_mut().zip(lanes) {
            *to = f64::from(lane.to_bits());
        }
        [Lanes::<f64>::load(self, &wide[0]), Lanes::<f64>::load(self, &wide[1])]
    }
    /// The inverse of `widen`, each lane rounded to nearest.
    fn narrow(self, v: [<Self as Lanes<f64>>::V; 2]) -> <Self as Lanes<f32>>::V;
}

/// Work to be compiled once for each backend.
pub trait Op {
    /// What it returns.
    type Output;
    /// The work; `#[inline(always)]` in every implementation.
    fn run<S: Simd>(self, s: S) -> Self::Output;

    /// Runs it on the backend of `kernels`.
    ///
    /// A method of the work, and not of `Kernels`, so that the compiler files the code with the kernel
    /// and compiles kernels side by side.
    fn on(self, kernels: Kernels) -> Self::Output
    where
        Self: Sized,
    {
        kernels.run(self)
    }
}

/// A closure that has its backend already.
struct Part<F>(F);

impl<R, F: FnOnce() -> R> Op for Part<F> {
    type Output = R;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> R {
        (self.0)()
    }
}

/// A register of `T`s on backend `S`.
pub struct Vector<T: Lane, S: Simd> {
    pub(crate) s: S,
    pub(crate) raw: T::Raw<S>,
}

/// One truth value a lane.
pub struct Mask<T: Lane, S: Simd> {
    pub(crate) s: S,
    pub(crate) raw: T::RawMask<S>,
}

impl<T: Lane, S: Simd> Clone for Vector<T, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Lane, S: Simd> Copy for Vector<T, S> {}
impl<T: Lane, S: Simd> Clone for Mask<T, S> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: Lane, S: Simd> Copy for Mask<T, S> {}

macro_rules! operator {
    ($trait:ident, $method:ident, $lanes:ident) => {
        impl<T: Lane, S: Simd> $trait for Vector<T, S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: Self) -> Self {
                Self { s: self.s, raw: T::$lanes(self.s, self.raw, other.raw) }
            }
        }
        impl<T: Lane, S: Simd> $trait<T> for Vector<T, S> {
            type Output = Self;
            #[inline(always)]
            fn $method(self, other: T) -> Self {
                $trait::$method(self, Self::splat(self.s, other))
            }
        }
    };
}
operator!(Add, add, lanes_add);
operator!(Sub, sub, lanes_sub);
operator!(Mul, mul, lanes_mul);
operator!(Div, div, lanes_div);

impl<T: Lane, S: Simd> Neg for Vector<T, S> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        self.xor(Self::splat(self.s, T::SIGN))
    }
}

impl<T: Lane, S: Simd> BitAnd for Mask<T, S> {
    type Output = Self;
    #[inline(always)]
    fn bitand(self, other: Self) -> Self {
        Self { s: self.s, raw: T::lanes_mask_and(self.s, self.raw, other.raw) }
    }
}

impl<T: Lane, S: Simd> BitOr for Mask<T, S> {
    type Output = Self;
    #[inline(always)]
    fn bitor(self, other: Self) -> Self {
        Self { s: self.s, raw: T::lanes_mask_or(self.s, self.raw, other.raw) }
    }
}

impl<T: Lane, S: Simd> Not for Mask<T, S> {
    type Output = Self;
    #[inline(always)]
    fn not(self) -> Self {
        Self { s: self.s, raw: T::lanes_mask_not(self.s, self.raw) }
    }
}

impl<T: Lane, S: Simd> Mask<T, S> {
    /// `yes` where true, `no` elsewhere.
    #[inline(always)]
    pub(crate) fn select(self, yes: Vector<T, S>, no: Vector<T, S>) -> Vector<T, S> {
        Vector { s: self.s, raw: T::lanes_select(self.s, self.raw, yes.raw, no.raw) }
    }

    /// Whether any lane is true.
    #[inline(always)]
    pub(crate) fn any(self) -> bool {
        T::lanes_any(self.s, self.raw)
    }
}

impl<T: Lane, S: Simd> Vector<T, S> {
    #[inline(always)]
    pub(crate) fn splat(s: S, x: T) -> Self {
        Self { s, raw: T::lanes_splat(s, x) }
    }

    #[inline(always)]
    pub(crate) fn load(s: S, from: &T::Array) -> Self {
        Self { s, raw: T::lanes_load(s, from) }
    }

    #[inline(always)]
    pub(crate) fn load_partial(s: S, from: &[T], fill: T) -> Self {
        Self { s, raw: T::lanes_load_partial(s, from, fill) }
    }

    /// The first register of the slice; what it lacks is `fill`.
    #[inline(always)]
    pub(crate) fn load_first(s: S, from: &[T], fill: T) -> Self {
        match T::registers(from) {
            ([first, ..], _) => Self::load(s, first),
            (_, part) => Self::load_partial(s, part, fill),
        }
    }

    #[inline(always)]
    pub(crate) fn store(self, to: &mut T::Array) {
        T::lanes_store(self.s, self.raw, to);
    }

    #[inline(always)]
    pub(crate) fn store_partial(self, to: &mut [T]) {
        T::lanes_store_partial(self.s, self.raw, to);
    }

    /// Writes the first lanes, as many as the slice has room for.
    #[inline(always)]
    pub(crate) fn store_first(self, to: &mut [T]) {
        match T::registers_mut(to) {
            ([first, ..], _) => self.store(first),
            (_, part) => self.store_partial(part),
        }
    }

    #[inline(always)]
    pub(crate) fn to_array(self) -> T::Array {
        let mut array = T::array(T::zero());
        self.store(&mut array);
        array
    }

    /// self·b + c, rounded once.
    #[inline(always)]
    pub(crate) fn mul_add(self, b: Self, c: Self) -> Self {
        Self { s: self.s, raw: T::lanes_mul_add(self.s, self.raw, b.raw, c.raw) }
    }

    /// Lane i is lane i + `distance`, around the end; `distance` is a power of two below `LANES`.
    #[inline(always)]
    pub(crate) fn rotate(self, distance: usize) -> Self {
        debug_assert!(distance < T::LANES && distance.is_power_of_two());
        Self { s: self.s, raw: T::lanes_rotate(self.s, self.raw, distance) }
    }

    #[inline(always)]
    pub(crate) fn sqrt(self) -> Self {
        Self { s: self.s, raw: T::lanes_sqrt(self.s, self.raw) }
    }

    /// `if self > b { self } else { b }`
    #[inline(always)]
    pub(crate) fn max(self, b: Self) -> Self {
        Self { s: self.s, raw: T::lanes_max(self.s, self.raw, b.raw) }
    }

    /// `if self < b { self } else { b }`
    #[inline(always)]
    pub(crate) fn min(self, b: Self) -> Self {
        Self { s: self.s, raw: T::lanes_min(self.s, self.raw, b.raw) }
    }

    /// [`Lanes::transpose`].
    #[inline(always)]
    pub(crate) fn transpose<'a>(
        s: S,
        from: impl Fn(usize) -> &'a T::Array,
        to: impl FnMut(usize, usize, &[T]),
    ) {
        T::lanes_transpose(s, from, to);
    }

    #[inline(always)]
    pub(crate) fn and(self, b: Self) -> Self {
        Self { s: self.s, raw: T::lanes_and(self.s, self.raw, b.raw) }
    }

    #[inline(always)]
    pub(crate) fn or(self, b: Self) -> Self {
        Self { s: self.s, raw: T::lanes_or(self.s, self.raw, b.raw) }
    }

    #[inline(always)]
    pub(crate) fn xor(self, b: Self) -> Self {
        Self { s: self.s, raw: T::lanes_xor(self.s, self.raw, b.raw) }
    }

    #[inline(always)]
    pub(crate) fn abs(self) -> Self {
        self.and(Self::splat(self.s, T::ABS))
    }

    /// |self| with the sign of `sign`.
    #[inline(always)]
    pub(crate) fn copysign(self, sign: Self) -> Self {
        self.abs().or(sign.and(Self::splat(self.s, T::SIGN)))
    }

    #[inline(always)]
    pub(crate) fn add_bits(self, b: Self) -> Self {
        Self { s: self.s, raw: T::lanes_add_bits(self.s, self.raw, b.raw) }
    }

    /// k/8 in the exponent field and the three bits below it.
    #[inline(always)]
    pub(crate) fn exponent_bits(self) -> Self {
        Self { s: self.s, raw: T::lanes_exponent_bits(self.s, self.raw) }
    }

    /// 2^⌊self − MAGIC⌋, normal.
    #[inline(always)]
    pub(crate) fn pow2_floor(self) -> Self {
        Self { s: self.s, raw: T::lanes_pow2_floor(self.s, self.raw) }
    }

    /// The table's entry for the low three bits of each lane.
    #[inline(always)]
    pub(crate) fn lookup(self, table: &[T; 8]) -> Self {
        Self { s: self.s, raw: T::lanes_lookup(self.s, table, self.raw) }
    }

    /// self·2^⌊z − MAGIC⌋ where that power and the result are normal.
    #[inline(always)]
    pub(crate) fn scale(self, z: Self) -> Self {
        Self { s: self.s, raw: T::lanes_scale(self.s, self.raw, z.raw) }
    }

    /// self·2^⌊z − MAGIC⌋, rounded once, gradual underflow.
    #[inline(always)]
    pub(crate) fn ldexp(self, z: Self) -> Self {
        Self { s: self.s, raw: T::lanes_ldexp(self.s, self.raw, z.raw) }
    }

    /// The integer below, in magic form.
    #[inline(always)]
    pub(crate) fn floor_magic(self) -> Self {
        self.and(Self::splat(self.s, T::FLOOR_MASK))
    }

    #[inline(always)]
    pub(crate) fn lt(self, b: Self) -> Mask<T, S> {
        Mask { s: self.s, raw: T::lanes_lt(self.s, self.raw, b.raw) }
    }

    #[inline(always)]
    pub(crate) fn eq(self, b: Self) -> Mask<T, S> {
        Mask { s: self.s, raw: T::lanes_eq(self.s, self.raw, b.raw) }
    }

    /// Whether either is NaN.
    #[inline(always)]
    pub(crate) fn unordered(self, b: Self) -> Mask<T, S> {
        Mask { s: self.s, raw: T::lanes_unordered(self.s, self.raw, b.raw) }
    }

    #[inline(always)]
    pub(crate) fn is_nan(self) -> Mask<T, S> {
        self.unordered(self)
    }

    /// Neither infinite nor NaN.
    #[inline(always)]
    pub(crate) fn is_finite(self) -> Mask<T, S> {
        self.abs().lt(Self::splat(self.s, T::INFINITY))
    }
}

impl<S: Simd> Vector<f64, S> {
    /// What is added where two registers are halved into one, see [`Simd::halves`].
    #[inline(always)]
    pub(crate) fn halves(self, b: Self, half: usize) -> [Self; 2] {
        let [first, second] = self.s.halves(self.raw, b.raw, half);
        [Self { s: self.s, raw: first }, Self { s: self.s, raw: second }]
    }

    /// ⌊log₂ self⌋ of positive normal lanes.
    #[inline(always)]
    pub(crate) fn exponent(self) -> Self {
        Self { s: self.s, raw: self.s.exponent(self.raw) }
    }
}

impl<S: Simd> Vector<f32, S> {
    /// Lanes 0–7 and 8–15 as f64.
    #[inline(always)]
    pub(crate) fn widen(self) -> [Vector<f64, S>; 2] {
        let [a, b] = self.s.widen(self.raw);
        [Vector { s: self.s, raw: a }, Vector { s: self.s, raw: b }]
    }

    /// The patterns of lanes 0–7 and 8–15 as unsigned integers.
    #[inline(always)]
    pub(crate) fn integers(self) -> [Vector<f64, S>; 2] {
        let [a, b] = self.s.integers(self.raw);
        [Vector { s: self.s, raw: a }, Vector { s: self.s, raw: b }]
    }

    /// Each lane rounded to nearest.
    #[inline(always)]
    pub(crate) fn narrow([a, b]: [Vector<f64, S>; 2]) -> Self {
        Self { s: a.s, raw: a.s.narrow([a.raw, b.raw]) }
    }
}
