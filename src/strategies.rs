//! Property testing of your own operations: strategies with the special values in them, and two macros,
//! [`check_against_reference!`](crate::check_against_reference) and [`check_gradient_of!`](crate::check_gradient_of).
//!
//! All of it needs the feature `proptest`, which tests alone should ask for: `cargo add --dev lossprep --features
//! proptest`. The macros need nothing else. Who draws from the strategies in a `proptest!` of their own, as here, adds
//! proptest itself: `cargo add --dev proptest`.
//!
//! ```
//! use lossprep::strategies;
//! use proptest::prelude::*;
//! proptest!(|(x in strategies::logits::<f64>(1..20))| {
//!     prop_assert!(!x.is_empty());
//! });
//! ```

use core::ops::Range;

use alloc::vec::Vec;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::strategy::{BoxedStrategy, Union};

#[doc(hidden)]
pub use proptest;

use crate::Layout;
use crate::gradcheck::Number;

/// How the macros run: the row that fails is shrunk and printed, and no file is written.
#[doc(hidden)]
pub fn config() -> proptest::test_runner::Config {
    proptest::test_runner::Config { failure_persistence: None, ..Default::default() }
}

/// Ordinary values nine times in ten, `special` ones otherwise.
fn mixed<T: Number>(scale: f64, special: &[T]) -> BoxedStrategy<T> {
    let ordinary = (-scale..scale).prop_map(T::narrow).boxed();
    let special = Union::new(special.iter().map(|&x| Just(x).boxed())).boxed();
    Union::new_weighted(Vec::from([(9, ordinary), (1, special)])).boxed()
}

/// Rows of logits: ordinary ones, and zeros of both signs, infinities, NaN, subnormals and the largest numbers.
///
/// ```
/// use lossprep::strategies;
/// use proptest::prelude::*;
/// proptest!(|(x in strategies::logits::<f32>(1..20))| {
///     prop_assert!((1..20).contains(&x.len()));
/// });
/// ```
pub fn logits<T: Number>(len: Range<usize>) -> BoxedStrategy<Vec<T>> {
    let (zero, tiny) = (T::zero(), T::min_positive_value());
    let special = [
        zero,
        -zero,
        T::infinity(),
        T::neg_infinity(),
        T::nan(),
        T::max_value(),
        T::min_value(),
        tiny,
        tiny * T::narrow(T::EPS),
        T::narrow(88.75),
        T::narrow(-745.0),
    ];
    vec(mixed(20.0, &special), len).boxed()
}

/// Finite rows of logits, for gradients, which exist only there.
///
/// ```
/// use lossprep::strategies;
/// use proptest::prelude::*;
/// proptest!(|(x in strategies::finite_logits::<f64>(1..20))| {
///     prop_assert!(x.iter().all(|x| x.is_finite()));
/// });
/// ```
pub fn finite_logits<T: Number>(len: Range<usize>) -> BoxedStrategy<Vec<T>> {
    vec(mixed(8.0, &[T::zero(), T::narrow(20.0), T::narrow(-20.0), T::narrow(0.5)]), len).boxed()
}

/// Feature vectors to normalise: ordinary ones, and elements whose squares overflow, underflow or are no numbers.
///
/// ```
/// use lossprep::strategies;
/// use proptest::prelude::*;
/// proptest!(|(x in strategies::features::<f64>(3..4))| {
///     prop_assert_eq!(x.len(), 3);
/// });
/// ```
pub fn features<T: Number>(len: Range<usize>) -> BoxedStrategy<Vec<T>> {
    let huge = T::max_value() / T::narrow(4.0);
    let tiny = T::min_positive_value();
    let special =
        [T::zero(), -T::zero(), huge, -huge, tiny, tiny * T::narrow(T::EPS), T::infinity(), T::nan()];
    vec(mixed(3.0, &special), len).boxed()
}

/// Ranges (lo, hi), lo ≤ hi, both finite: also empty ones, symmetric ones, and such that hi − lo overflows.
///
/// ```
/// use lossprep::strategies;
/// use proptest::prelude::*;
/// proptest!(|((lo, hi) in strategies::ranges::<f32>())| {
///     prop_assert!(lossprep::Range::new(lo, hi).is_ok());
/// });
/// ```
pub fn ranges<T: Number>() -> BoxedStrategy<(T, T)> {
    let special = [T::zero(), T::one(), -T::one(), T::max_value(), T::min_value(), T::min_positive_value()];
    let any_two = (mixed(10.0, &special), mixed(10.0, &special));
    let ordered = any_two.prop_map(|(a, b)| if a <= b { (a, b) } else { (b, a) }).boxed();
    let symmetric = mixed(10.0, &special).prop_map(|a| (-a.abs(), a.abs())).boxed();
    let empty = mixed(10.0, &special).prop_map(|a| (a, a)).boxed();
    Union::new_weighted(Vec::from([(6, ordered), (2, symmetric), (1, empty)])).boxed()
}

/// Layouts of up to `largest` in each dimension, zero included.
///
/// ```
/// use lossprep::strategies;
/// use proptest::prelude::*;
/// proptest!(|(layout in strategies::layouts(4))| {
///     prop_assert!(layout.elements() <= 64);
/// });
/// ```
pub fn layouts(largest: usize) -> BoxedStrategy<Layout> {
    let side = 0..=largest;
    (side.clone(), side.clone(), side)
        .prop_filter_map("the product overflows", |(outer, len, inner)| Layout::new(outer, len, inner).ok())
        .boxed()
}

/// Upstream gradients of `len` elements: zeros, single ones among zeros, large, small and not finite.
///
/// ```
/// use lossprep::strategies;
/// use proptest::prelude::*;
/// proptest!(|(g in strategies::upstream::<f32>(5))| {
///     prop_assert_eq!(g.len(), 5);
/// });
/// ```
pub fn upstream<T: Number>(len: usize) -> BoxedStrategy<Vec<T>> {
    let huge = T::max_value() / T::narrow(1024.0);
    let special =
        [T::zero(), -T::zero(), T::one(), huge, -huge, T::min_positive_value(), T::infinity(), T::nan()];
    let mixed = vec(mixed(2.0, &special), len..=len).boxed();
    let single = any::<proptest::sample::Index>()
        .prop_map(move |index| {
            let mut g = alloc::vec![T::zero(); len];
            if len > 0 {
                g[index.index(len)] = T::one();
            }
            g
        })
        .boxed();
    Union::new_weighted(Vec::from([(3, mixed), (1, single)])).boxed()
}

/// How many units in the last place of the larger `a` and `b` are apart: none if both are NaN, infinitely many if only
/// one is NaN or infinite.
///
/// ```
/// use lossprep::strategies::ulps_apart;
/// assert_eq!(ulps_apart(1.0_f32, 1.0 + 3.0 * f32::EPSILON), 3.0);
/// assert_eq!(ulps_apart(0.0, f64::NAN), f64::INFINITY);
/// ```
pub fn ulps_apart<T: Number>(a: T, b: T) -> f64 {
    if a == b || a.is_nan() && b.is_nan() {
        return 0.0;
    }
    if !a.is_finite() || !b.is_finite() {
        return f64::INFINITY;
    }
    let (a, b) = (a.widen(), b.widen());
    // Below the smallest normal number the spacing stays what it is there.
    let size = a.abs().max(b.abs()).max(T::min_positive_value().widen());
    let power_of_two = f64::from_bits(size.to_bits() & 0x7ff << 52);
    (a - b).abs() / (T::EPS * power_of_two)
}

/// Whether `a` and `b` are at most so many units in the last place of the larger apart: NaN equals NaN.
///
/// ```
/// use lossprep::strategies::close;
/// assert!(close(1.0_f32, 1.0 + f32::EPSILON, 1.0) && close(f32::NAN, f32::NAN, 0.0));
/// assert!(!close(1.0_f32, 1.001, 4.0) && !close(f32::INFINITY, f32::MAX, 4.0));
/// ```
pub fn close<T: Number>(a: T, b: T, ulps: f64) -> bool {
    ulps_apart(a, b) <= ulps
}

/// A property test of `op` against `reference` on rows from a strategy, to a number of units in the last place.
///
/// Both are called as `f(&[T], &mut [T])` with an output as long as the input. Which rows and how many units suit which
/// reference: [`reference`](crate::reference#accuracy). Needs the feature `proptest`, and no other crate.
///
/// ```
/// fn double(x: &[f32], y: &mut [f32]) {
///     y.iter_mut().zip(x).for_each(|(y, x)| *y = x + x);
/// }
/// fn reference(x: &[f32], y: &mut [f32]) {
///     y.iter_mut().zip(x).for_each(|(y, x)| *y = 2.0 * x);
/// }
/// lossprep::check_against_reference!(double, reference, lossprep::strategies::logits::<f32>(0..40), 1.0);
/// ```
#[macro_export]
macro_rules! check_against_reference {
    ($op:expr, $reference:expr, $rows:expr, $ulps:expr) => {
        $crate::strategies::proptest::proptest!($crate::strategies::config(), |(x in $rows)| {
            let (mut y, mut wanted) = (x.clone(), x.clone());
            ($op)(&x, &mut y);
            ($reference)(&x, &mut wanted);
            for (i, (&a, &b)) in y.iter().zip(&wanted).enumerate() {
                $crate::strategies::proptest::prop_assert!(
                    $crate::strategies::close(a, b, $ulps),
                    "element {i}: {a:?}, but the reference gives {b:?}, {:.1} ULP away; {} are allowed",
                    $crate::strategies::ulps_apart(a, b),
                    $ulps
                );
            }
        })
    };
}

/// A property test of a gradient: `vjp(x, g, dx)` against differences of `op(x, y)`, on rows from a strategy.
/// Needs the feature `proptest`, and no other crate.
///
/// A row on which the verdict is `Inconclusive`, as of an f32 softmax that is saturated, is replaced by another;
/// proptest fails the test when it has to replace more than 1024.
///
/// ```
/// fn square(x: &[f64], y: &mut [f64]) {
///     y.iter_mut().zip(x).for_each(|(y, x)| *y = x * x);
/// }
/// fn square_vjp(x: &[f64], g: &[f64], dx: &mut [f64]) {
///     dx.iter_mut().zip(x).zip(g).for_each(|((d, x), g)| *d = 2.0 * x * g);
/// }
/// lossprep::check_gradient_of!(square, square_vjp, lossprep::strategies::finite_logits::<f64>(1..6));
/// ```
#[macro_export]
macro_rules! check_gradient_of {
    ($op:expr, $vjp:expr, $rows:expr) => {
        $crate::strategies::proptest::proptest!($crate::strategies::config(), |(x in $rows)| {
            let report = $crate::gradcheck::check_vjp(
                &$crate::gradcheck::Options::default(),
                &[&x],
                x.len(),
                |x, y| ($op)(&x[0], y),
                |x, g, dx| ($vjp)(&x[0], g, &mut dx[0]),
            );
            // Neither right nor wrong: another row is drawn, and proptest gives up where they are too many.
            $crate::strategies::proptest::prop_assume!(
                report.verdict != $crate::gradcheck::Verdict::Inconclusive
            );
            $crate::strategies::proptest::prop_assert!(report.is_right(), "{report}");
        })
    };
}
