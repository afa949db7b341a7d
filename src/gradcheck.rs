//! A gradient checker that derives its tolerance from an error it has estimated.
//!
//! Checks a hand-written derivative of any function over slices against numeric derivatives: [`check_vjp`] for
//! vector-Jacobian products (backward), [`check_jvp`] for Jacobian-vector products (forward), [`check_adjoint`]
//! for the two against each other, [`check_second_order`] for the backward of a backward. An `f32` derivative is
//! measured on its `f64` twin where there is one ([`check_vjp_twin`] and the like). A function generic over
//! `num_traits::Float` needs no steps: [`check_vjp_dual`] runs it on [`Dual`] numbers, [`check_vjp_complex_step`] on
//! [`Complex`] ones.
//!
//! ```
//! use lossprep::gradcheck::{check_vjp, Options};
//! // y = x³, with a wrong gradient: the factor 3 is forgotten.
//! let report = check_vjp(
//!     &Options::default(),
//!     &[&[0.5, -2.0, 1.25]],
//!     3,
//!     |x, y| y.iter_mut().zip(&x[0]).for_each(|(y, x)| *y = x * x * x),
//!     |x, g, dx| dx[0].iter_mut().zip(&x[0]).zip(g).for_each(|((d, x), g)| *d = x * x * *g),
//! );
//! assert!(!report.is_right());
//! println!("{report}");
//! ```
//!
//! # How it decides
//! * **Numeric derivative**: central differences φ(h), on steps that are powers of two a factor 4 apart, extrapolated
//!   by Richardson's table with Ridders' error estimate, to which comes the rounding error of the function, measured
//!   by fourth differences over small steps and never less than one unit of each output.
//!   Where rounding keeps x ± h from being reached, the slope along the realised step is compared.
//! * **f32 alone**: rounding leaves the ladder few steps, so along directions through many inputs an odd polynomial is
//!   fitted to 48 large steps as well (24 for functions of more than 4,096 outputs), each of which rounds anew. The bar
//!   is six standard deviations of the fit, twice what its last two terms changed, and the steepest slope that one unit
//!   of rounding can hide in a polynomial of its degree. That excludes errors of 2⁻¹⁵ in a softmax of any length, and
//!   a gradient off by 1e-4 is a `Fail`. Single entries, saturated functions and ones that bend sharply within half
//!   of their inputs' size keep the ladder's bar, 2⁻¹¹ at best: for those there is the twin.
//! * **The analytic side** has an error bar too: the kernel's stated [bound](Options::bound) and what
//!   scaling the upstream gradient and moving the inputs by a unit in the last place shows.
//! * **A second look**: where the ladder of steps has settled, a step far below it that is no power of two must see the
//!   same slope: functions rounded to a grid, or periodic in powers of two, look smooth to the ladder alone.
//! * **Linearity**: the derivative must scale with the vector it is given, up and down by 2²⁰ (2¹² in f32): upstream
//!   gradients that are clipped or dropped when small are a `Fail`.
//! * **Verdict**: a difference beyond the sum of both bars is a `Fail`, however small it is in absolute terms. A bar
//!   wider than the [resolution](Options::resolution) asked for is `Inconclusive`, not a pass. There is no
//!   absolute tolerance anywhere.
//!
//! # What is compared
//! In full mode every entry of the Jacobian, and random directions. In sampled mode seeded random directions, in
//! units of one common step and in units of each coordinate, against random and magnitude-banded weightings of the
//! outputs, directions restricted to the entries of the gradient of each magnitude and to its zeros, and single
//! coordinates (largest, smallest and random of input and gradient). A sampled failure is bisected down to a coordinate,
//! a kink to the coordinates that cause it: they are looked at on their own, and the rest without them.
//!
//! # Limits
//! What a function's own rounding hides, differences cannot see: 1 − e⁻⁴⁰ does not move when its argument does.
//! Such entries are counted as [`unresolved`](Report::unresolved), and gross errors in them are still found.
//! Infinite inputs are held fixed.
//!
//! A function that moves in steps may be meant to, as rounding to 1/1024 is, or may add and subtract something large, as
//! (x + 1e11) − 1e11 does; from outside both look alike. In f64, steps finer than about 2⁻¹⁴ of the input count as
//! rounding errors, coarser ones as the function itself, whose derivative is 0. In f32 alone an oscillation no larger
//! than the rounding error of the value is taken for one, however steep.
//!
//! What sampling averages away, it cannot see either: among a million entries of like size an error in one of them
//! counts by its share of the whole, about a thousandth of itself. Of many inputs at the same kink a few are looked
//! at. Sampled functions whose second derivative jumps in many inputs at once may be `Inconclusive`.

mod adjoint;
mod compare;
mod exact;
mod fit;
mod function;
mod jvp;
mod kinks;
mod ladder;
mod linear;
mod number;
mod report;
mod sample;
mod vjp;

use alloc::vec::Vec;

use adjoint::Names;
use exact::Carrier;
use number::power;

pub use exact::{Complex, Dual};
pub use number::Number;
pub use report::{Report, Verdict, Worst};

/// How much of the Jacobian is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Full up to [`Options::full_limit`] entries, sampled beyond.
    #[default]
    Auto,
    /// Every entry.
    Full,
    /// Random directions and chosen coordinates.
    Sampled,
}

/// How far a check has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Directions done.
    pub done: usize,
    /// Directions in all, before any bisection.
    pub total: usize,
}

/// What to check and how closely.
///
/// ```
/// use lossprep::gradcheck::{Mode, Options};
/// let options = Options { mode: Mode::Sampled, seed: 7, ..Options::default() };
/// assert_eq!(options.directions, 2);
/// ```
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Replays the same random choices.
    pub seed: u64,
    /// Full or sampled.
    pub mode: Mode,
    /// With [`Mode::Auto`], the largest number of Jacobian entries compared one by one.
    pub full_limit: usize,
    /// The relative error of the gradient that a `Pass` must exclude: 2⁻²¹ unless given, 2⁻¹⁵ for f32 with a
    /// twin, 2⁻¹¹ for f32 alone. A smaller error that shows is a `Fail` all the same.
    pub resolution: Option<f64>,
    /// The stated error bound of the derivative, in units in the last place of the local gradient scale.
    pub bound: f64,
    /// How many random directions of each kind.
    pub directions: usize,
    /// How many single coordinates of each kind in sampled mode, besides the first and the last; 0 for none at all.
    pub coordinates: usize,
    /// Called after every direction.
    pub progress: Option<&'a dyn Fn(Progress)>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            seed: 0x5eed,
            mode: Mode::Auto,
            full_limit: 1 << 16,
            resolution: None,
            bound: 8.0,
            directions: 2,
            coordinates: 1,
            progress: None,
        }
    }
}

/// What precision the two sides have.
#[derive(Clone, Copy)]
struct Setting {
    precision: &'static str,
    /// The unit roundoff of the derivative under test.
    eps: f64,
    resolution: f64,
}

impl Setting {
    fn new<N: Number, A: Number>(options: &Options<'_>) -> Self {
        let (precision, resolution) = match (N::NAME, A::NAME) {
            ("f64", "f64") => ("f64", power(-21)),
            ("f64", _) => ("f32 through its f64 twin", power(-15)),
            _ => ("f32 alone", power(-11)),
        };
        Self { precision, eps: A::EPS, resolution: options.resolution.unwrap_or(resolution) }
    }
}

/// Checks a vector-Jacobian product: dx = Jᵀg for the Jacobian J of `forward` at `inputs`.
///
/// `forward(x, y)` writes the `outputs` values f(x) to `y`. `vjp(x, g, dx)` writes to `dx[k]`, for every input k, the
/// gradient of ⟨g, f(x)⟩. Both are given their arguments mutably only so that tampering with them can be told:
/// they must leave `x` and `g` alone, and overwrite all of `y` and `dx`.
///
/// ```
/// use lossprep::gradcheck::{check_vjp, Options};
/// // A dot product of two vectors.
/// check_vjp(
///     &Options::default(),
///     &[&[1.0, 2.0, 3.0], &[0.5, -1.0, 0.25]],
///     1,
///     |x, y| y[0] = x[0].iter().zip(&x[1]).map(|(a, b)| a * b).sum(),
///     |x, g, dx| {
///         for i in 0..3 {
///             dx[0][i] = g[0] * x[1][i];
///             dx[1][i] = g[0] * x[0][i];
///         }
///     },
/// )
/// .assert();
/// ```
///
/// # Source
/// C. J. F. Ridders, *Accurate computation of F′(x) and F′(x)F″(x)* (1982), for the extrapolation; what decides is
/// described in [the module](self).
pub fn check_vjp<T: Number>(
    options: &Options<'_>,
    inputs: &[&[T]],
    outputs: usize,
    forward: impl FnMut(&mut [Vec<T>], &mut [T]),
    vjp: impl FnMut(&mut [Vec<T>], &mut [T], &mut [Vec<T>]),
) -> Report {
    let base: Vec<Vec<T>> = inputs.iter().map(|x| x.to_vec()).collect();
    vjp::check("vjp", options, base.clone(), base, outputs, forward, vjp)
}

/// As [`check_vjp`] for an `f32` vjp, measured on the same function in `f64`: its twin.
///
/// The point is that of the f32 inputs, exactly. This resolves what f32 alone cannot.
///
/// ```
/// use lossprep::gradcheck::{check_vjp_twin, Options};
/// let report = check_vjp_twin(
///     &Options::default(),
///     &[&[0.5_f32, 3.0, 20.0]],
///     3,
///     |x, y| y.iter_mut().zip(&x[0]).for_each(|(y, x)| *y = x.exp()),
///     |x, g, dx| dx[0].iter_mut().zip(&x[0]).zip(g).for_each(|((d, x), g)| *d = x.exp() * *g),
/// );
/// report.assert();
/// assert_eq!(report.precision, "f32 through its f64 twin");
/// ```
pub fn check_vjp_twin(
    options: &Options<'_>,
    inputs: &[&[f32]],
    outputs: usize,
    twin: impl FnMut(&mut [Vec<f64>], &mut [f64]),
    vjp: impl FnMut(&mut [Vec<f32>], &mut [f32], &mut [Vec<f32>]),
) -> Report {
    let base: Vec<Vec<f32>> = inputs.iter().map(|x| x.to_vec()).collect();
    vjp::check("vjp", options, widened(&base), base, outputs, twin, vjp)
}

/// Checks a Jacobian-vector product: dy = Ju for the Jacobian J of `forward` at `inputs`.
///
/// `jvp(x, u, dy)` takes one tangent `u[k]` for every input and writes the `outputs` derivatives to `dy`.
///
/// ```
/// use lossprep::gradcheck::{check_jvp, Options};
/// check_jvp(
///     &Options::default(),
///     &[&[0.1, 0.7, -2.0]],
///     1,
///     |x, y| y[0] = x[0].iter().map(|x: &f64| x.sin()).sum(),
///     |x, u, dy| dy[0] = x[0].iter().zip(&u[0]).map(|(x, u): (&f64, &f64)| x.cos() * u).sum(),
/// )
/// .assert();
/// ```
pub fn check_jvp<T: Number>(
    options: &Options<'_>,
    inputs: &[&[T]],
    outputs: usize,
    forward: impl FnMut(&mut [Vec<T>], &mut [T]),
    jvp: impl FnMut(&mut [Vec<T>], &mut [Vec<T>], &mut [T]),
) -> Report {
    let base: Vec<Vec<T>> = inputs.iter().map(|x| x.to_vec()).collect();
    jvp::check(options, base.clone(), base, outputs, forward, jvp)
}

/// As [`check_jvp`] for an `f32` jvp, measured on the same function in `f64`.
///
/// ```
/// use lossprep::gradcheck::{check_jvp_twin, Options};
/// check_jvp_twin(
///     &Options::default(),
///     &[&[0.1_f32, 0.7]],
///     2,
///     |x, y| y.iter_mut().zip(&x[0]).for_each(|(y, x)| *y = x.sin()),
///     |x, u, dy| dy.iter_mut().zip(&x[0]).zip(&u[0]).for_each(|((d, x), u)| *d = x.cos() * u),
/// )
/// .assert();
/// ```
pub fn check_jvp_twin(
    options: &Options<'_>,
    inputs: &[&[f32]],
    outputs: usize,
    twin: impl FnMut(&mut [Vec<f64>], &mut [f64]),
    jvp: impl FnMut(&mut [Vec<f32>], &mut [Vec<f32>], &mut [f32]),
) -> Report {
    let base: Vec<Vec<f32>> = inputs.iter().map(|x| x.to_vec()).collect();
    jvp::check(options, widened(&base), base, outputs, twin, jvp)
}

/// Checks a vjp and a jvp against each other: ⟨v, Ju⟩ = ⟨Jᵀv, u⟩, to rounding, with no step size.
///
/// In the report `analytic` is the side of the vjp, `numeric` that of the jvp. An error which both make alike
/// goes unseen: [`check_vjp`] or [`check_jvp`] of one of them closes the gap.
///
/// ```
/// use lossprep::gradcheck::{check_adjoint, Options};
/// let report = check_adjoint(
///     &Options::default(),
///     &[&[0.5, 2.0]],
///     1,
///     |x, g, dx| dx[0].iter_mut().zip(&x[0]).for_each(|(d, x)| *d = 2.0 * x * g[0]),
///     |x, u, dy| dy[0] = 2.0 * (x[0][0] * u[0][0] + x[0][1] * u[0][1]),
/// );
/// report.assert();
/// ```
///
/// # Source
/// The definition of the adjoint.
pub fn check_adjoint<T: Number>(
    options: &Options<'_>,
    inputs: &[&[T]],
    outputs: usize,
    vjp: impl FnMut(&mut [Vec<T>], &mut [T], &mut [Vec<T>]),
    jvp: impl FnMut(&mut [Vec<T>], &mut [Vec<T>], &mut [T]),
) -> Report {
    let base: Vec<Vec<T>> = inputs.iter().map(|x| x.to_vec()).collect();
    let names = Names { check: "adjoint", precision: T::NAME };
    adjoint::check(&names, options, base.clone(), base, outputs, vjp, jvp)
}

/// Checks the backward of a backward: `second` against differences of `vjp`, in the inputs and in `upstream`.
///
/// `vjp(x, g, dx)` is taken as a function of (x, g). `second(x, g, w, ddx, dg)` receives an upstream gradient
/// `w[k]` for every `dx[k]` and writes the gradients of `Σₖ ⟨w[k], dx[k]⟩` with respect to the inputs, `ddx`, and to
/// the upstream gradient, `dg`. The upstream gradient is the last input in the report.
///
/// ```
/// use lossprep::gradcheck::{check_second_order, Options};
/// // f(x) = x³ elementwise: dx = 3x²g.
/// check_second_order(
///     &Options::default(),
///     &[&[0.5, -1.5]],
///     &[1.0, 2.0],
///     |x, g, dx| (0..2).for_each(|i| dx[0][i] = 3.0 * x[0][i] * x[0][i] * g[i]),
///     |x, g, w, ddx, dg| {
///         for i in 0..2 {
///             ddx[0][i] = 6.0 * x[0][i] * g[i] * w[0][i];
///             dg[i] = 3.0 * x[0][i] * x[0][i] * w[0][i];
///         }
///     },
/// )
/// .assert();
/// ```
pub fn check_second_order<T: Number>(
    options: &Options<'_>,
    inputs: &[&[T]],
    upstream: &[T],
    vjp: impl FnMut(&mut [Vec<T>], &mut [T], &mut [Vec<T>]),
    second: impl FnMut(&mut [Vec<T>], &mut [T], &mut [Vec<T>], &mut [Vec<T>], &mut [T]),
) -> Report {
    second_order(options, inputs, upstream, vjp, second)
}

/// Splits one long slice in parts, contents included: elements left alone must still show.
fn split<T: Copy>(long: &[T], lengths: &[usize]) -> Vec<Vec<T>> {
    let mut rest = long;
    let part = |&n: &usize| {
        let (head, tail) = rest.split_at(n);
        rest = tail;
        head.to_vec()
    };
    lengths.iter().map(part).collect()
}

fn second_order<N: Number, A: Number>(
    options: &Options<'_>,
    inputs: &[&[A]],
    upstream: &[A],
    mut vjp: impl FnMut(&mut [Vec<N>], &mut [N], &mut [Vec<N>]),
    mut second: impl FnMut(&mut [Vec<A>], &mut [A], &mut [Vec<A>], &mut [Vec<A>], &mut [A]),
) -> Report {
    let lengths: Vec<usize> = inputs.iter().map(|x| x.len()).collect();
    let base: Vec<Vec<A>> = inputs.iter().copied().chain([upstream]).map(<[A]>::to_vec).collect();
    let point = base.iter().map(|x| x.iter().map(|x| N::narrow(x.widen())).collect()).collect();
    vjp::check(
        "second order",
        options,
        point,
        base,
        lengths.iter().sum(),
        |x, out| {
            let mut dx = split(out, &lengths);
            if let Some((g, x)) = x.split_last_mut() {
                vjp(x, g, &mut dx);
            }
            out.copy_from_slice(&dx.concat());
        },
        |x, w, d| {
            let mut parts = split(w, &lengths);
            if let (Some((g, x)), Some((dg, ddx))) = (x.split_last_mut(), d.split_last_mut()) {
                second(x, g, &mut parts, ddx, dg);
            }
            w.copy_from_slice(&parts.concat());
        },
    )
}

/// As [`check_second_order`] for an `f32` backward of a backward, measured on the `f64` form of the backward.
///
/// ```
/// use lossprep::gradcheck::{Options, check_second_order_twin};
/// // f(x) = x² elementwise: dx = 2xg.
/// check_second_order_twin(
///     &Options::default(),
///     &[&[0.5_f32, -1.5]],
///     &[1.0, 2.0],
///     |x, g, dx| (0..2).for_each(|i| dx[0][i] = 2.0 * x[0][i] * g[i]),
///     |x, g, w, ddx, dg| {
///         for i in 0..2 {
///             ddx[0][i] = 2.0 * g[i] * w[0][i];
///             dg[i] = 2.0 * x[0][i] * w[0][i];
///         }
///     },
/// )
/// .assert();
/// ```
pub fn check_second_order_twin(
    options: &Options<'_>,
    inputs: &[&[f32]],
    upstream: &[f32],
    vjp: impl FnMut(&mut [Vec<f64>], &mut [f64], &mut [Vec<f64>]),
    second: impl FnMut(&mut [Vec<f32>], &mut [f32], &mut [Vec<f32>], &mut [Vec<f32>], &mut [f32]),
) -> Report {
    second_order(options, inputs, upstream, vjp, second)
}

/// Checks a vjp against a function that runs on [`Dual`] numbers: no step, no truncation, rounding only.
///
/// Any function generic over `num_traits::Float` will do. Where the derivative disagrees because the point lies at
/// a kink, differences decide, and the verdict is `Kink`.
///
/// ```
/// use lossprep::gradcheck::{Options, check_vjp_dual};
/// use lossprep::reference::{softmax, softmax_vjp};
/// let report = check_vjp_dual(
///     &Options::default(),
///     &[&[0.3_f32, -1.2, 0.5]],
///     3,
///     |x, y| softmax(&x[0], y),
///     |x, g, dx| {
///         let mut y = [0.0; 3];
///         softmax(&x[0], &mut y);
///         softmax_vjp(&y, g, &mut dx[0]);
///     },
/// );
/// report.assert();
/// assert_eq!(report.precision, "f32 through dual numbers in f64");
/// ```
///
/// # Source
/// R. E. Wengert, *A simple automatic derivative evaluation program* (1964), for forward differentiation.
pub fn check_vjp_dual<A: Number>(
    options: &Options<'_>,
    inputs: &[&[A]],
    outputs: usize,
    forward: impl FnMut(&mut [Vec<Dual>], &mut [Dual]),
    vjp: impl FnMut(&mut [Vec<A>], &mut [A], &mut [Vec<A>]),
) -> Report {
    exact_vjp(options, inputs, outputs, forward, vjp)
}

/// As [`check_vjp_dual`] by the complex step.
///
/// ```
/// use lossprep::gradcheck::{Options, check_vjp_complex_step};
/// use num_traits::Float;
/// fn gauss<T: Float>(x: T) -> T {
///     (-x * x).exp()
/// }
/// check_vjp_complex_step(
///     &Options::default(),
///     &[&[0.5, -1.0]],
///     2,
///     |x, y| y.iter_mut().zip(&x[0]).for_each(|(y, x)| *y = gauss(*x)),
///     |x, g, dx| (0..2).for_each(|i| dx[0][i] = -2.0 * x[0][i] * gauss(x[0][i]) * g[i]),
/// )
/// .assert();
/// ```
///
/// # Source
/// W. Squire, G. Trapp, *Using Complex Variables to Estimate Derivatives of Real Functions* (1998).
pub fn check_vjp_complex_step<A: Number>(
    options: &Options<'_>,
    inputs: &[&[A]],
    outputs: usize,
    forward: impl FnMut(&mut [Vec<Complex>], &mut [Complex]),
    vjp: impl FnMut(&mut [Vec<A>], &mut [A], &mut [Vec<A>]),
) -> Report {
    exact_vjp(options, inputs, outputs, forward, vjp)
}

/// As [`check_vjp_dual`] for a jvp.
///
/// ```
/// use lossprep::gradcheck::{Options, check_jvp_dual};
/// check_jvp_dual(
///     &Options::default(),
///     &[&[0.5, 3.0]],
///     1,
///     |x, y| y[0] = x[0][0] * x[0][1],
///     |x, u, dy| dy[0] = u[0][0] * x[0][1] + x[0][0] * u[0][1],
/// )
/// .assert();
/// ```
pub fn check_jvp_dual<A: Number>(
    options: &Options<'_>,
    inputs: &[&[A]],
    outputs: usize,
    forward: impl FnMut(&mut [Vec<Dual>], &mut [Dual]),
    jvp: impl FnMut(&mut [Vec<A>], &mut [Vec<A>], &mut [A]),
) -> Report {
    exact_jvp(options, inputs, outputs, forward, jvp)
}

/// As [`check_vjp_complex_step`] for a jvp.
///
/// ```
/// use lossprep::gradcheck::{Options, check_jvp_complex_step};
/// check_jvp_complex_step(
///     &Options::default(),
///     &[&[0.5, 3.0]],
///     1,
///     |x, y| y[0] = x[0][0] / x[0][1],
///     |x, u, dy| dy[0] = u[0][0] / x[0][1] - x[0][0] * u[0][1] / (x[0][1] * x[0][1]),
/// )
/// .assert();
/// ```
pub fn check_jvp_complex_step<A: Number>(
    options: &Options<'_>,
    inputs: &[&[A]],
    outputs: usize,
    forward: impl FnMut(&mut [Vec<Complex>], &mut [Complex]),
    jvp: impl FnMut(&mut [Vec<A>], &mut [Vec<A>], &mut [A]),
) -> Report {
    exact_jvp(options, inputs, outputs, forward, jvp)
}

fn exact_vjp<D: Carrier, A: Number>(
    options: &Options<'_>,
    inputs: &[&[A]],
    outputs: usize,
    mut forward: impl FnMut(&mut [Vec<D>], &mut [D]),
    mut vjp: impl FnMut(&mut [Vec<A>], &mut [A], &mut [Vec<A>]),
) -> Report {
    let base: Vec<Vec<A>> = inputs.iter().map(|x| x.to_vec()).collect();
    let names = Names { check: "vjp", precision: D::NAMES[usize::from(A::NAME == "f32")] };
    let ahead = exact::as_jvp(&mut forward);
    let report = adjoint::check(&names, options, base.clone(), widened(&base), outputs, &mut vjp, ahead);
    // One branch of a kink is all that such numbers see.
    or_kink(report, || {
        vjp::check("vjp", options, widened(&base), base, outputs, exact::as_function(&mut forward), &mut vjp)
    })
}

fn exact_jvp<D: Carrier, A: Number>(
    options: &Options<'_>,
    inputs: &[&[A]],
    outputs: usize,
    mut forward: impl FnMut(&mut [Vec<D>], &mut [D]),
    mut jvp: impl FnMut(&mut [Vec<A>], &mut [Vec<A>], &mut [A]),
) -> Report {
    let base: Vec<Vec<A>> = inputs.iter().map(|x| x.to_vec()).collect();
    let names = Names { check: "jvp", precision: D::NAMES[usize::from(A::NAME == "f32")] };
    let truth = exact::as_jvp(&mut forward);
    let report = jvp::against(&names, options, base.clone(), outputs, &mut jvp, truth);
    or_kink(report, || {
        jvp::check(options, widened(&base), base, outputs, exact::as_function(&mut forward), &mut jvp)
    })
}

fn or_kink(report: Report, differences: impl FnOnce() -> Report) -> Report {
    if report.verdict != Verdict::Fail {
        return report;
    }
    let second = differences();
    if second.verdict == Verdict::Kink { second } else { report }
}

fn widened<A: Number>(base: &[Vec<A>]) -> Vec<Vec<f64>> {
    base.iter().map(|x| x.iter().map(|x| x.widen()).collect()).collect()
}

/// Fails a test with the report unless every gradient checked is right.
///
/// Takes one or more [`Report`]s, or references to them.
///
/// ```
/// use lossprep::{assert_gradients, gradcheck::{check_vjp, Options}};
/// assert_gradients!(check_vjp(
///     &Options::default(),
///     &[&[3.0, -4.0]],
///     1,
///     |x, y| y[0] = x[0][0] * x[0][1],
///     |x, g, dx| {
///         dx[0][0] = g[0] * x[0][1];
///         dx[0][1] = g[0] * x[0][0];
///     },
/// ));
/// ```
#[macro_export]
macro_rules! assert_gradients {
    ($($report:expr),+ $(,)?) => { $( $report.assert(); )+ };
}
