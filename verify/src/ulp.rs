//! The one definition of ULP and of error, and how a computed number is judged.
//!
//! The ULP of an exact result is the spacing of the type in the result's binade: the spacing above
//! at a power of two, and the subnormal spacing below the smallest normal number. The error is
//! |computed − exact| / ULP. An infinity counts as the number after the largest finite one where
//! the exact result lies below that, and as right where it lies beyond.

use crate::real::Real;
use lossprep::Element;

/// What of a floating-point format the metric needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Significant bits.
    pub precision: i64,
    /// Exponent of the smallest normal number.
    pub min_exponent: i64,
    /// Exponent of the largest binade.
    pub max_exponent: i64,
}

/// An element type as the report sees it: widened to f64 exactly, and as bits.
pub trait Number: Element + std::iter::Sum {
    /// The type's name.
    const NAME: &'static str;
    /// Its format.
    const FORMAT: Format;
    /// The largest finite number.
    const MAX: Self;
    /// The canonical quiet NaN.
    const CANONICAL_NAN: Self;
    /// Rounded from an f64.
    fn round_from(v: f64) -> Self;
    /// Exactly, as an f64.
    fn exact_f64(self) -> f64;
    /// The bit pattern.
    fn bits(self) -> u64;
    /// From the low bits of a pattern.
    fn from_pattern(bits: u64) -> Self;
}

macro_rules! number {
    ($t:ident, $bits:ident, $name:literal, $format:expr, $nan:literal) => {
        impl Number for $t {
            const NAME: &'static str = $name;
            const FORMAT: Format = $format;
            const MAX: Self = $t::MAX;
            const CANONICAL_NAN: Self = $t::from_bits($nan);
            fn round_from(v: f64) -> Self {
                v as $t
            }
            fn exact_f64(self) -> f64 {
                self.into()
            }
            fn bits(self) -> u64 {
                self.to_bits().into()
            }
            fn from_pattern(bits: u64) -> Self {
                $t::from_bits(bits as $bits)
            }
        }
    };
}
number!(f32, u32, "f32", Format { precision: 24, min_exponent: -126, max_exponent: 127 }, 0x7fc0_0000);
number!(
    f64,
    u64,
    "f64",
    Format { precision: 53, min_exponent: -1022, max_exponent: 1023 },
    0x7ff8_0000_0000_0000
);

/// What the oracle expects of one output.
#[derive(Clone, Debug)]
pub enum Expect<R> {
    /// This real number, rounded.
    Value(R),
    /// The canonical NaN.
    Nan,
    /// +∞.
    Infinity,
    /// −∞.
    NegativeInfinity,
}

impl<R: Real> Expect<R> {
    /// About what is expected, for people; the exponent is binary where an f64 has no room.
    pub fn about(&self) -> String {
        match self {
            Self::Nan => "NaN".into(),
            Self::Infinity => "inf".into(),
            Self::NegativeInfinity => "-inf".into(),
            Self::Value(v) if v.signum() == 0 => "0".into(),
            Self::Value(v) => {
                let e = v.floor_log2();
                if e.abs() < 900 {
                    format!("{:e}", v.to_f64())
                } else {
                    format!("{:?}·2^{e}", v.mul_pow2(-e).to_f64())
                }
            }
        }
    }
}

/// What the error is measured in, and how large it may be.
#[derive(Clone, Debug)]
pub enum Claim<R> {
    /// 1 ULP of the result.
    Result,
    /// 1 ULP of the result or ½ ULP + 2^−(p+3) times this, whichever is larger.
    Cancelling(R),
    /// 4 ULP of this.
    Gradient(R),
}

/// One output's truth.
#[derive(Clone, Debug)]
pub struct Truth<R> {
    /// The result.
    pub expect: Expect<R>,
    /// The claim about it.
    pub claim: Claim<R>,
    /// Whether a zero in its place carries the minus sign.
    pub negative_zero: bool,
}

impl<R> Truth<R> {
    /// A real number under a claim; zeros are +0.
    pub fn value(value: R, claim: Claim<R>) -> Self {
        Self { expect: Expect::Value(value), claim, negative_zero: false }
    }

    /// Not a number, or an infinity.
    pub fn special(expect: Expect<R>) -> Self {
        Self { expect, claim: Claim::Result, negative_zero: false }
    }
}

/// How far one output is from its truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judgement {
    /// A number where a number was due.
    Error {
        /// In ULP of the result, or of a gradient's scale.
        ulps: f64,
        /// As a share of the claim: above 1, the claim is broken.
        share: f64,
        /// Whether the claim is the wider one of a cancellation.
        cancelling: bool,
    },
    /// The special value that was due, to the bit.
    Special,
    /// NaN or infinity misplaced, or a NaN that is not the canonical one.
    WrongClass,
    /// A zero of the wrong sign.
    WrongZero,
}

impl Judgement {
    /// Whether the claim holds.
    pub fn holds(&self) -> bool {
        match *self {
            Self::Error { share, .. } => share <= 1.0,
            Self::Special => true,
            Self::WrongClass | Self::WrongZero => false,
        }
    }
}

impl std::fmt::Display for Judgement {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Error { ulps, share, .. } => write!(f, "{ulps:.4} ULP, {share:.4} of the claim"),
            Self::Special => f.write_str("the special value that was due"),
            Self::WrongClass => f.write_str("wrong NaN or infinity"),
            Self::WrongZero => f.write_str("zero of the wrong sign"),
        }
    }
}

/// Exponent of the spacing at an exact number.
fn spacing<R: Real>(format: Format, at: &R) -> i64 {
    let exponent = if at.signum() == 0 { format.min_exponent } else { at.floor_log2() };
    exponent.max(format.min_exponent) - (format.precision - 1)
}

/// |computed − exact| in ULP of `measure`; `computed` may be infinite, not NaN.
pub fn error_in_ulps<R: Real>(format: Format, computed: f64, exact: &R, measure: &R) -> f64 {
    distance(format, computed, exact).mul_pow2(-spacing(format, measure)).to_f64()
}

fn distance<R: Real>(format: Format, computed: f64, exact: &R) -> R {
    if computed.is_finite() {
        return R::from_f64(computed).sub(exact).abs();
    }
    let limit = R::from_f64(computed.signum()).mul_pow2(format.max_exponent + 1);
    let beyond = exact.sub(&limit);
    // At or past the number after the largest finite one, on the same side: infinity is right.
    if exact.signum() == limit.signum() && beyond.signum() * limit.signum() >= 0 {
        R::zero()
    } else {
        beyond.abs()
    }
}

/// The verdict on one computed output.
pub fn judge<T: Number, R: Real>(computed: T, truth: &Truth<R>) -> Judgement {
    let special = |right: bool| if right { Judgement::Special } else { Judgement::WrongClass };
    let value = match &truth.expect {
        Expect::Nan => return special(computed.bits() == T::CANONICAL_NAN.bits()),
        Expect::Infinity => return special(computed == T::infinity()),
        Expect::NegativeInfinity => return special(computed == T::neg_infinity()),
        Expect::Value(value) => value,
    };
    if computed.is_nan() {
        return Judgement::WrongClass;
    }
    if computed == T::zero() && computed.is_sign_negative() != truth.negative_zero {
        return Judgement::WrongZero;
    }
    let (format, computed) = (T::FORMAT, computed.exact_f64());
    match &truth.claim {
        Claim::Result => {
            let ulps = error_in_ulps(format, computed, value, value);
            Judgement::Error { ulps, share: ulps, cancelling: false }
        }
        Claim::Gradient(scale) => {
            let ulps = error_in_ulps(format, computed, value, scale);
            Judgement::Error { ulps, share: ulps / 4.0, cancelling: false }
        }
        Claim::Cancelling(slack) => {
            let exponent = spacing(format, value);
            let half = R::from_f64(0.5).mul_pow2(exponent);
            let allowed = half.add(&slack.mul_pow2(-(format.precision + 3)));
            let one = R::one().mul_pow2(exponent);
            let cancelling = allowed.sub(&one).signum() > 0;
            let error = distance(format, computed, value);
            let ulps = error.mul_pow2(-exponent).to_f64();
            let share = error.div(&allowed.max(&one)).to_f64();
            Judgement::Error { ulps, share, cancelling }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::Big;
    use crate::wide::Wide;

    fn ulps<T: Number>(computed: T, exact: f64, offset: f64) -> f64 {
        let exact = Wide::from_f64(exact).add(&Wide::from_f64(offset));
        error_in_ulps(T::FORMAT, computed.exact_f64(), &exact, &exact)
    }

    #[test]
    fn the_spacing_is_that_of_the_exact_results_binade() {
        // One step above 1 is 1 ULP; one step below it is half of one, since 1 has the spacing above.
        assert_eq!(ulps(f32::from_bits(1f32.to_bits() + 1), 1.0, 0.0), 1.0);
        assert_eq!(ulps(f32::from_bits(1f32.to_bits() - 1), 1.0, 0.0), 0.5);
        // Just below 1 the spacing halves, so the step from 1 is about one ULP again.
        assert!((ulps(1f64, 1.0, -1e-20) - 1e-20 / 2f64.powi(-53)).abs() < 1e-12);
        assert_eq!(ulps(f64::from_bits(1f64.to_bits() - 1), 1.0, -2f64.powi(-53) * 3.0), 2.0);
    }

    #[test]
    fn subnormals_and_zero_have_the_smallest_spacing() {
        let tiny = f64::from(f32::from_bits(1));
        assert_eq!(ulps(f32::from_bits(3), tiny, 0.0), 2.0);
        assert_eq!(ulps(0f32, tiny, 0.0), 1.0);
        assert_eq!(ulps(f32::from_bits(5), 0.0, 0.0), 5.0);
        assert_eq!(ulps(f64::from_bits(5), 0.0, 0.0), 5.0);
        assert_eq!(ulps(f32::MIN_POSITIVE, f64::from(f32::from_bits(0x007f_ffff)), 0.0), 1.0);
    }

    #[test]
    fn infinity_counts_as_the_number_after_the_largest() {
        let step = 2f64.powi(104);
        assert_eq!(ulps(f32::INFINITY, f64::from(f32::MAX), 0.0), 1.0);
        assert_eq!(ulps(f32::INFINITY, f64::from(f32::MAX), step / 2.0), 0.5);
        assert_eq!(ulps(f32::INFINITY, 1e39, 0.0), 0.0);
        assert_eq!(ulps(f32::NEG_INFINITY, -1e39, 0.0), 0.0);
        assert!(ulps(f32::NEG_INFINITY, 1e39, 0.0) > 1e6);
        assert!(ulps(f32::MAX, 1e39, 0.0) > 1.0);
    }

    fn verdict<T: Number>(computed: T, claim: Claim<Wide>, exact: f64) -> Judgement {
        judge(computed, &Truth::value(Wide::from_f64(exact), claim))
    }

    #[test]
    fn planted_errors_are_caught() {
        let step = |v: f64, n: i64| f64::from_bits((v.to_bits() as i64 + n) as u64);
        assert!(verdict(step(1.5, 1), Claim::Result, 1.5).holds());
        assert!(!verdict(step(1.5, 2), Claim::Result, 1.5).holds());
        assert!(!verdict(f32::NAN, Claim::Result, 1.5).holds());
        assert!(!verdict(-0.0f32, Claim::Result, 0.0).holds());
        assert!(!verdict(-0.0f32, Claim::Result, -1e-60).holds());
        assert!(verdict(0.0f32, Claim::Result, -1e-60).holds());
        let scale = || Claim::Gradient(Wide::from_f64(3.0));
        assert!(verdict(2f64.powi(-51) * 4.0, scale(), 0.0).holds());
        assert!(!verdict(2f64.powi(-51) * 4.5, scale(), 0.0).holds());
        // Slack 8 allows an f32 ½ ULP + 2⁻²⁴ absolute at an exact zero.
        let slack = || Claim::Cancelling(Wide::from_f64(8.0));
        assert!(verdict(2f32.powi(-24), slack(), 0.0).holds());
        assert!(!verdict(2f32.powi(-23), slack(), 0.0).holds());
        // Where the wide claim is below 1 ULP, 1 ULP is what holds.
        assert!(verdict(f32::from_bits(8f32.to_bits() + 1), slack(), 8.0).holds());
        assert!(!verdict(f32::from_bits(8f32.to_bits() + 2), slack(), 8.0).holds());
    }

    #[test]
    fn special_values_are_compared_to_the_bit() {
        let nan: Truth<Big> = Truth::special(Expect::Nan);
        assert!(judge(f32::from_bits(0x7fc0_0000), &nan).holds());
        assert!(!judge(f32::from_bits(0xffc0_0000), &nan).holds());
        assert!(!judge(1.0f32, &nan).holds());
        let infinity: Truth<Big> = Truth::special(Expect::Infinity);
        assert!(judge(f64::INFINITY, &infinity).holds());
        assert!(!judge(f64::MAX, &infinity).holds());
    }

    #[test]
    fn both_tiers_give_the_same_error() {
        for (computed, exact) in [(1.0000001f32, 1.0f64), (1e-42, 1.3e-42), (-3.5e37, -3.4e37)] {
            let w =
                error_in_ulps(f32::FORMAT, computed.into(), &Wide::from_f64(exact), &Wide::from_f64(exact));
            let b = error_in_ulps(f32::FORMAT, computed.into(), &Big::from_f64(exact), &Big::from_f64(exact));
            assert!((w - b).abs() <= 1e-15 * w, "{w} {b}");
        }
    }
}
