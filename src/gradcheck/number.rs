//! The number types a checked function may work in, and the bit-level helpers the checker needs.

use core::fmt::Debug;
use num_traits::Float;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A floating-point type that the checker can drive: `f32` or `f64`.
///
/// ```
/// use lossprep::gradcheck::Number;
/// assert_eq!(f32::narrow(0.1).widen(), f64::from(0.1_f32));
/// ```
pub trait Number: Float + Debug + sealed::Sealed + 'static {
    /// The type's name, for reports.
    const NAME: &'static str;
    /// The distance from 1 to the next larger number.
    const EPS: f64;
    /// About how many units in the last place the points are apart at which rounding errors are measured.
    const MOVE: u64;
    /// By which powers of two those steps grow where they show no rounding.
    const GROWTH: &'static [i32];
    /// By which they grow where that shows nothing either, as far as a step of 2⁻¹⁴: there lies the border between the
    /// grid of an intermediate value and one that is meant.
    const STAIRS: &'static [i32];
    /// The power of two by which a vector is scaled up and down to see whether a derivative is linear in it.
    const SCALE: i32;
    /// The value as `f64`, exactly.
    fn widen(self) -> f64;
    /// The nearest value of this type.
    fn narrow(value: f64) -> Self;
    /// The bits, so that two runs can be compared without NaN getting in the way.
    fn bits(self) -> u64;
    /// The neighbour away from zero (`up`) or towards it; zero and non-finite values stay.
    fn neighbour(self, up: bool) -> Self;
}

macro_rules! number {
    ($t:ty, $move:expr, $growth:expr, $stairs:expr, $scale:expr) => {
        impl Number for $t {
            const NAME: &'static str = stringify!($t);
            const EPS: f64 = <$t>::EPSILON as f64;
            const MOVE: u64 = $move;
            const GROWTH: &'static [i32] = &$growth;
            const STAIRS: &'static [i32] = &$stairs;
            const SCALE: i32 = $scale;
            fn widen(self) -> f64 {
                self as f64
            }
            fn narrow(value: f64) -> Self {
                value as Self
            }
            fn bits(self) -> u64 {
                self.to_bits() as u64
            }
            fn neighbour(self, up: bool) -> Self {
                if self == 0.0 || !self.is_finite() || self.abs() == Self::MAX {
                    return self;
                }
                Self::from_bits(if up { self.to_bits() + 1 } else { self.to_bits() - 1 })
            }
        }
    };
}
number!(f32, 1 << 9, [3, 6, 8], [], 12);
number!(f64, 1 << 17, [4, 8, 12], [14, 16, 18, 20, 22], 20);

/// 2^e, exactly, for exponents of normal numbers; clamped there.
pub(super) fn power(e: i32) -> f64 {
    f64::from_bits(((e.clamp(-1022, 1023) + 1023) as u64) << 52)
}

/// The exponent of the binade of `x`; subnormals count as the smallest binade.
pub(super) fn exponent(x: f64) -> i32 {
    (((x.to_bits() >> 52) & 0x7ff) as i32).max(1) - 1023
}

/// A sum that carries its rounding errors along, so that large cancelling terms do not hide small ones.
#[derive(Clone, Copy, Default)]
pub(super) struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    pub(super) fn add(&mut self, x: f64) {
        let s = self.high + x;
        let z = s - self.high;
        self.low += (self.high - (s - z)) + (x - z);
        self.high = s;
    }

    pub(super) fn value(self) -> f64 {
        self.high + self.low
    }
}

/// A small seeded generator (SplitMix64): the seed in a report replays the check.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// A random sign.
    pub(super) fn sign(&mut self) -> f64 {
        if self.next() >> 63 == 0 { 1.0 } else { -1.0 }
    }

    /// ±[1, 2) with five fraction bits: exact in every type, and so is its product with a short constant.
    pub(super) fn weight(&mut self) -> f64 {
        let bits = self.next();
        let magnitude = 1.0 + ((bits >> 8) & 31) as f64 / 32.0;
        if bits >> 63 == 0 { magnitude } else { -magnitude }
    }
}
