//! Derivatives with no step to choose: dual numbers and the complex step, for functions generic over the number type.

use alloc::vec::Vec;
use core::num::FpCategory;
use core::ops::{Add, Div, Mul, Neg, Rem, Sub};
use num_traits::{Float, Num, NumCast, One, ToPrimitive, Zero};

use super::number::power;

/// A number that carries a derivative through a function.
pub(super) trait Carrier: Float + 'static {
    /// Its name in reports, for derivatives under test in f64 and in f32.
    const NAMES: [&'static str; 2];
    /// A value that moves with this slope.
    fn new(value: f64, slope: f64) -> Self;
    /// The value.
    fn value(self) -> f64;
    /// The derivative.
    fn slope(self) -> f64;
}

/// A dual number a + b·ε, ε² = 0: the value of a function and its derivative, exact but for rounding.
///
/// Implements [`Float`], so that code generic over it runs unchanged. Comparisons, `max`, `abs` and rounding follow
/// the value: the derivative is that of the branch taken.
///
/// ```
/// use lossprep::gradcheck::Dual;
/// use num_traits::Float;
/// let y = Dual::new(2.0, 1.0).powi(3);
/// assert_eq!((y.re, y.eps), (8.0, 12.0));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Dual {
    /// The value.
    pub re: f64,
    /// The derivative.
    pub eps: f64,
}

impl Dual {
    /// The value `re` with the derivative `eps`.
    #[must_use]
    pub const fn new(re: f64, eps: f64) -> Self {
        Self { re, eps }
    }

    /// A function of this number whose value and slope are known.
    fn chain(self, value: f64, slope: f64) -> Self {
        // A constant stays one, also where the slope is infinite.
        Self::new(value, if self.eps == 0.0 { 0.0 } else { self.eps * slope })
    }

    fn times(self, by: Self) -> Self {
        Self::new(self.re * by.re, self.eps * by.re + self.re * by.eps)
    }

    fn over(self, by: Self) -> Self {
        let quotient = self.re / by.re;
        Self::new(quotient, (self.eps - quotient * by.eps) / by.re)
    }

    fn exponential(self) -> Self {
        self.chain(self.re.exp(), self.re.exp())
    }

    fn logarithm(self) -> Self {
        self.chain(self.re.ln(), self.re.recip())
    }

    fn root(self) -> Self {
        self.chain(self.re.sqrt(), 0.5 / self.re.sqrt())
    }

    fn sine_and_cosine(self) -> (Self, Self) {
        let (sin, cos) = self.re.sin_cos();
        (self.chain(sin, cos), self.chain(cos, -sin))
    }
}

/// The step of [`Complex`]: its square is far below the rounding of anything of ordinary size.
const STEP: i32 = -200;

/// A complex number for the complex-step derivative: f(x + ih) = f(x) + ih·f′(x), h = 2⁻²⁰⁰, no difference taken.
///
/// Products, quotients, exponentials, logarithms, roots, sines and cosines are those of complex numbers; the
/// other functions are expanded to first order in the imaginary part, whose square is beyond rounding. Implements
/// [`Float`]; comparisons, `max`, `abs` and rounding follow the real part, as the method demands.
///
/// ```
/// use lossprep::gradcheck::Complex;
/// use num_traits::Float;
/// let h = 2f64.powi(-200);
/// let y = Complex::new(0.5, h).exp();
/// assert_eq!(y.im / h, 0.5_f64.exp());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Complex {
    /// The real part.
    pub re: f64,
    /// The imaginary part.
    pub im: f64,
}

impl Complex {
    /// re + i·im
    #[must_use]
    pub const fn new(re: f64, im: f64) -> Self {
        Self { re, im }
    }

    fn chain(self, value: f64, slope: f64) -> Self {
        Self::new(value, if self.im == 0.0 { 0.0 } else { self.im * slope })
    }

    fn times(self, by: Self) -> Self {
        Self::new(self.re * by.re - self.im * by.im, self.re * by.im + self.im * by.re)
    }

    fn over(self, by: Self) -> Self {
        // Smith's quotient: the imaginary part is the small one.
        let ratio = by.im / by.re;
        let size = by.re + by.im * ratio;
        Self::new((self.re + self.im * ratio) / size, (self.im - self.re * ratio) / size)
    }

    fn exponential(self) -> Self {
        let (sin, cos) = self.im.sin_cos();
        Self::new(self.re.exp() * cos, self.re.exp() * sin)
    }

    fn logarithm(self) -> Self {
        // The argument of a negative number is no derivative: NaN there, as for real numbers.
        let angle = if self.re < 0.0 { f64::NAN } else { self.im.atan2(self.re) };
        Self::new(if self.re < 0.0 { f64::NAN } else { self.re.hypot(self.im).ln() }, angle)
    }

    fn root(self) -> Self {
        let root = ((self.re.hypot(self.im) + self.re) / 2.0).sqrt();
        if self.re < 0.0 { Self::new(f64::NAN, f64::NAN) } else { self.chain(root, 0.5 / root) }
    }

    fn sine_and_cosine(self) -> (Self, Self) {
        let (sin, cos) = self.re.sin_cos();
        let (sinh, cosh) = (self.im.sinh(), self.im.cosh());
        (Self::new(sin * cosh, cos * sinh), Self::new(cos * cosh, -sin * sinh))
    }
}

impl Carrier for Dual {
    const NAMES: [&'static str; 2] = ["f64 through dual numbers", "f32 through dual numbers in f64"];
    fn new(value: f64, slope: f64) -> Self {
        Self::new(value, slope)
    }
    fn value(self) -> f64 {
        self.re
    }
    fn slope(self) -> f64 {
        self.eps
    }
}

impl Carrier for Complex {
    const NAMES: [&'static str; 2] = ["f64 through the complex step", "f32 through the complex step in f64"];
    fn new(value: f64, slope: f64) -> Self {
        Self::new(value, slope * power(STEP))
    }
    fn value(self) -> f64 {
        self.re
    }
    fn slope(self) -> f64 {
        self.im * power(-STEP)
    }
}

/// What both types share, given `chain`, `times`, `over` and a few functions: all of `Float`.
macro_rules! float {
    ($t:ident, $part:ident) => {
        impl PartialEq for $t {
            fn eq(&self, other: &Self) -> bool {
                self.re == other.re
            }
        }
        impl PartialOrd for $t {
            fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
                self.re.partial_cmp(&other.re)
            }
        }
        impl Add for $t {
            type Output = Self;
            fn add(self, by: Self) -> Self {
                Self::new(self.re + by.re, self.$part + by.$part)
            }
        }
        impl Sub for $t {
            type Output = Self;
            fn sub(self, by: Self) -> Self {
                Self::new(self.re - by.re, self.$part - by.$part)
            }
        }
        impl Mul for $t {
            type Output = Self;
            fn mul(self, by: Self) -> Self {
                self.times(by)
            }
        }
        impl Div for $t {
            type Output = Self;
            fn div(self, by: Self) -> Self {
                self.over(by)
            }
        }
        impl Rem for $t {
            type Output = Self;
            fn rem(self, by: Self) -> Self {
                let whole = (self.re / by.re).trunc();
                Self::new(self.re % by.re, self.$part - whole * by.$part)
            }
        }
        impl Neg for $t {
            type Output = Self;
            fn neg(self) -> Self {
                Self::new(-self.re, -self.$part)
            }
        }
        impl Zero for $t {
            fn zero() -> Self {
                Self::new(0.0, 0.0)
            }
            fn is_zero(&self) -> bool {
                self.re == 0.0
            }
        }
        impl One for $t {
            fn one() -> Self {
                Self::new(1.0, 0.0)
            }
        }
        impl Num for $t {
            type FromStrRadixErr = <f64 as Num>::FromStrRadixErr;
            fn from_str_radix(text: &str, radix: u32) -> Result<Self, Self::FromStrRadixErr> {
                <f64 as Num>::from_str_radix(text, radix).map(|x| Self::new(x, 0.0))
            }
        }
        impl ToPrimitive for $t {
            fn to_i64(&self) -> Option<i64> {
                self.re.to_i64()
            }
            fn to_u64(&self) -> Option<u64> {
                self.re.to_u64()
            }
            fn to_f64(&self) -> Option<f64> {
                Some(self.re)
            }
        }
        impl NumCast for $t {
            fn from<T: ToPrimitive>(x: T) -> Option<Self> {
                x.to_f64().map(|x| Self::new(x, 0.0))
            }
        }
        impl Float for $t {
            fn nan() -> Self {
                Self::new(f64::NAN, 0.0)
            }
            fn infinity() -> Self {
                Self::new(f64::INFINITY, 0.0)
            }
            fn neg_infinity() -> Self {
                Self::new(f64::NEG_INFINITY, 0.0)
            }
            fn neg_zero() -> Self {
                Self::new(-0.0, 0.0)
            }
            fn min_value() -> Self {
                Self::new(f64::MIN, 0.0)
            }
            fn min_positive_value() -> Self {
                Self::new(f64::MIN_POSITIVE, 0.0)
            }
            fn max_value() -> Self {
                Self::new(f64::MAX, 0.0)
            }
            fn epsilon() -> Self {
                Self::new(f64::EPSILON, 0.0)
            }
            fn is_nan(self) -> bool {
                self.re.is_nan()
            }
            fn is_infinite(self) -> bool {
                self.re.is_infinite()
            }
            fn is_finite(self) -> bool {
                self.re.is_finite()
            }
            fn is_normal(self) -> bool {
                self.re.is_normal()
            }
            fn classify(self) -> FpCategory {
                self.re.classify()
            }
            fn floor(self) -> Self {
                Self::new(self.re.floor(), 0.0)
            }
            fn ceil(self) -> Self {
                Self::new(self.re.ceil(), 0.0)
            }
            fn round(self) -> Self {
                Self::new(self.re.round(), 0.0)
            }
            fn trunc(self) -> Self {
                Self::new(self.re.trunc(), 0.0)
            }
            fn fract(self) -> Self {
                Self::new(self.re.fract(), self.$part)
            }
            fn abs(self) -> Self {
                if self.re.is_sign_negative() { -self } else { self }
            }
            fn signum(self) -> Self {
                Self::new(self.re.signum(), 0.0)
            }
            fn is_sign_positive(self) -> bool {
                self.re.is_sign_positive()
            }
            fn is_sign_negative(self) -> bool {
                self.re.is_sign_negative()
            }
            fn mul_add(self, a: Self, b: Self) -> Self {
                self * a + b
            }
            fn recip(self) -> Self {
                Self::one() / self
            }
            fn powi(self, n: i32) -> Self {
                let slope = if n == 0 { 0.0 } else { <f64 as From<i32>>::from(n) * self.re.powi(n - 1) };
                self.chain(self.re.powi(n), slope)
            }
            fn powf(self, n: Self) -> Self {
                // A constant exponent also serves negative bases, where there is no logarithm.
                let value = self.re.powf(n.re);
                let slope = if n.re == 0.0 { 0.0 } else { n.re * self.re.powf(n.re - 1.0) };
                let by_exponent = n.chain(value, value * self.re.ln());
                Self::new(value, self.chain(value, slope).$part + by_exponent.$part)
            }
            fn sqrt(self) -> Self {
                self.root()
            }
            fn exp(self) -> Self {
                self.exponential()
            }
            fn exp2(self) -> Self {
                self.chain(self.re.exp2(), self.re.exp2() * core::f64::consts::LN_2)
            }
            fn ln(self) -> Self {
                self.logarithm()
            }
            fn log(self, base: Self) -> Self {
                self.ln() / base.ln()
            }
            fn log2(self) -> Self {
                self.chain(self.re.log2(), (self.re * core::f64::consts::LN_2).recip())
            }
            fn log10(self) -> Self {
                self.chain(self.re.log10(), (self.re * core::f64::consts::LN_10).recip())
            }
            fn max(self, other: Self) -> Self {
                if self.re >= other.re || other.re.is_nan() { self } else { other }
            }
            fn min(self, other: Self) -> Self {
                if self.re <= other.re || other.re.is_nan() { self } else { other }
            }
            fn abs_sub(self, other: Self) -> Self {
                if self.re <= other.re { Self::zero() } else { self - other }
            }
            fn cbrt(self) -> Self {
                let root = self.re.cbrt();
                self.chain(root, (3.0 * root * root).recip())
            }
            fn hypot(self, other: Self) -> Self {
                let size = self.re.hypot(other.re);
                let (a, b) = (self.chain(size, self.re / size), other.chain(size, other.re / size));
                Self::new(size, a.$part + b.$part)
            }
            fn sin(self) -> Self {
                self.sine_and_cosine().0
            }
            fn cos(self) -> Self {
                self.sine_and_cosine().1
            }
            fn tan(self) -> Self {
                let tan = self.re.tan();
                self.chain(tan, 1.0 + tan * tan)
            }
            fn asin(self) -> Self {
                self.chain(self.re.asin(), (1.0 - self.re * self.re).sqrt().recip())
            }
            fn acos(self) -> Self {
                self.chain(self.re.acos(), -(1.0 - self.re * self.re).sqrt().recip())
            }
            fn atan(self) -> Self {
                self.chain(self.re.atan(), (1.0 + self.re * self.re).recip())
            }
            fn atan2(self, x: Self) -> Self {
                let angle = self.re.atan2(x.re);
                let square = self.re * self.re + x.re * x.re;
                let (a, b) = (self.chain(angle, x.re / square), x.chain(angle, -self.re / square));
                Self::new(angle, a.$part + b.$part)
            }
            fn sin_cos(self) -> (Self, Self) {
                self.sine_and_cosine()
            }
            fn exp_m1(self) -> Self {
                self.chain(self.re.exp_m1(), self.re.exp())
            }
            fn ln_1p(self) -> Self {
                self.chain(self.re.ln_1p(), (1.0 + self.re).recip())
            }
            fn sinh(self) -> Self {
                self.chain(self.re.sinh(), self.re.cosh())
            }
            fn cosh(self) -> Self {
                self.chain(self.re.cosh(), self.re.sinh())
            }
            fn tanh(self) -> Self {
                // Where tanh saturates 1 − tanh² has nothing left.
                let cosh = self.re.cosh();
                self.chain(self.re.tanh(), (cosh * cosh).recip())
            }
            fn asinh(self) -> Self {
                self.chain(self.re.asinh(), (1.0 + self.re * self.re).sqrt().recip())
            }
            fn acosh(self) -> Self {
                self.chain(self.re.acosh(), (self.re * self.re - 1.0).sqrt().recip())
            }
            fn atanh(self) -> Self {
                self.chain(self.re.atanh(), (1.0 - self.re * self.re).recip())
            }
            fn integer_decode(self) -> (u64, i16, i8) {
                self.re.integer_decode()
            }
        }
    };
}
float!(Dual, eps);
float!(Complex, im);

/// A function over such numbers as a Jacobian-vector product in f64.
#[allow(clippy::type_complexity, reason = "it is the type of a jvp throughout")]
pub(super) fn as_jvp<D: Carrier>(
    mut forward: impl FnMut(&mut [Vec<D>], &mut [D]),
) -> impl FnMut(&mut [Vec<f64>], &mut [Vec<f64>], &mut [f64]) {
    move |x, u, dy| {
        let pairs = x.iter().zip(&*u);
        let mut given: Vec<Vec<D>> =
            pairs.map(|(x, u)| x.iter().zip(u).map(|(x, u)| D::new(*x, *u)).collect()).collect();
        // Outputs hold the caller's pattern, so that one left alone shows.
        let mut out: Vec<D> = dy.iter().map(|d| D::new(*d, *d)).collect();
        forward(&mut given, &mut out);
        dy.iter_mut().zip(out).for_each(|(d, o)| *d = o.slope());
        // So does an input that was changed.
        for ((x, u), given) in x.iter_mut().zip(u).zip(given) {
            x.clear();
            x.extend(given.iter().map(|d| d.value()));
            let slopes = given.iter().map(|d| d.slope());
            // A slope of −0 and the like may come back as another zero.
            u.iter_mut().zip(slopes).filter(|(u, s)| **u != *s).for_each(|(u, s)| *u = s);
        }
    }
}

/// The function's values alone.
pub(super) fn as_function<D: Carrier>(
    mut forward: impl FnMut(&mut [Vec<D>], &mut [D]),
) -> impl FnMut(&mut [Vec<f64>], &mut [f64]) {
    move |x, y| {
        let mut given: Vec<Vec<D>> = x.iter().map(|x| x.iter().map(|x| D::new(*x, 0.0)).collect()).collect();
        let mut out: Vec<D> = y.iter().map(|y| D::new(*y, 0.0)).collect();
        forward(&mut given, &mut out);
        y.iter_mut().zip(out).for_each(|(y, o)| *y = o.value());
        for (x, given) in x.iter_mut().zip(given) {
            x.clear();
            x.extend(given.iter().map(|d| d.value()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Carrier, Complex, Dual};
    use num_traits::Float;

    /// Every function and what its slope must be, by central differences of the real one.
    #[test]
    fn every_function_has_its_slope() {
        fn c<T: Float>(x: f64) -> T {
            T::from(x).unwrap()
        }
        fn run<T: Float>(k: usize, x: T) -> T {
            let two = c::<T>(2.5);
            match k {
                0 => x.exp(),
                1 => x.ln(),
                2 => x.sqrt(),
                3 => x.sin(),
                4 => x.cos(),
                5 => x.tan(),
                6 => x.asin(),
                7 => x.acos(),
                8 => x.atan(),
                9 => x.sinh(),
                10 => x.cosh(),
                11 => x.tanh(),
                12 => x.asinh(),
                13 => (x + two).acosh(),
                14 => x.atanh(),
                15 => x.exp2(),
                16 => x.log2(),
                17 => x.log10(),
                18 => x.exp_m1(),
                19 => x.ln_1p(),
                20 => x.cbrt(),
                21 => x.powi(3),
                22 => x.powi(-2),
                23 => x.powf(two),
                24 => two.powf(x),
                25 => x.powf(x),
                26 => x.hypot(two * x),
                27 => x.atan2(two),
                28 => two.atan2(x),
                29 => x.recip(),
                30 => two / x + x / two,
                31 => x.mul_add(x, two * x),
                32 => (-x).abs(),
                33 => x.max(c(0.1)) * x.min(c(9.0)),
                34 => two % x,
                35 => two.abs_sub(x),
                36 => x.log(two),
                37 => x.sin_cos().0 * x.sin_cos().1,
                38 => (two * x).fract() + x.floor() + x.signum(),
                _ => unreachable!(),
            }
        }
        for k in 0..39 {
            for x in [0.23_f64, 0.61, 0.87] {
                let h = 1e-5;
                let differences = (8.0 * (run(k, x + h) - run(k, x - h)) - run(k, x + 2.0 * h)
                    + run(k, x - 2.0 * h))
                    / (12.0 * h);
                let dual = run(k, <Dual as Carrier>::new(x, 1.0));
                let complex = run(k, <Complex as Carrier>::new(x, 1.0));
                let close = |a: f64| (a - differences).abs() <= 1e-8 * (1.0 + differences.abs());
                assert!(close(dual.slope()), "{k} at {x}: dual {} but {differences}", dual.slope());
                assert!(close(complex.slope()), "{k} at {x}: complex {} but {differences}", complex.slope());
                let value = run(k, x);
                assert!((dual.value() - value).abs() <= 1e-14 * value.abs(), "{k}");
                assert!((complex.value() - value).abs() <= 1e-14 * value.abs(), "{k}");
            }
        }
    }
}
