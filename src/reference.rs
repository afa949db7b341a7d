//! Each operation and gradient by the textbook, a row at a time, for any `Float`: what property tests compare with,
//! yours and ours, and short enough to check by eye.
//!
//! The formulas are in the documentation of each function; they are evaluated with sums that carry their rounding errors,
//! and in the order that keeps them from overflow and cancellation. A row is a slice, an output has its length.
//!
//! ```
//! use lossprep::reference;
//! let mut y = [0.0_f64; 2];
//! reference::softmax(&[0.0, 0.0], &mut y);
//! assert_eq!(y, [0.5, 0.5]);
//! ```
//!
//! # Accuracy
//! For f32 and f64 at most 6 ULP of the result; 6 ULP of the sum of the absolute terms for `logsumexp` and where
//! `scaled_sigmoid` passes through zero (not for lo = −hi), of max(|result|, 1) for the inverse, and 16 for gradients.
//!
//! With the feature `proptest`, `check_against_reference!(yours, reference, rows, ulps)` so takes 6 `ulps` more than what
//! is asked of `yours`. For 1 of your own:
//!
//! | reference | rows | ulps |
//! |---|---|---|
//! | `softmax`, `log_softmax` | `strategies::logits`; `finite_logits` where infinities and NaN are not yours to decide | 7 |
//! | `l2_normalize`, each guard | `strategies::features` | 7 |
//! | `scaled_sigmoid` of each element, with lo·hi ≥ 0 or lo = −hi | `strategies::logits` | 7 |
//!
//! What is written plainly in the type itself needs more: an exponential of a rounded x − max is off by up to
//! |x − max|/2 ULP, one of x − log Σ exp x by |x|/2 too, a plain sum by half a unit for each element.
//!
//! # Special values
//! Those of the operations without options, but for the bits of NaN and the signs of zeros. Excepted are gradients in which a
//! term overflows or underflows on the way, with elements or upstream gradients near the ends of the type.

use crate::NormGuard;
use num_traits::Float;

/// a + b, and what its rounding leaves out.
fn two_sum<T: Float>(a: T, b: T) -> (T, T) {
    let sum = a + b;
    let t = sum - a;
    let rest = (a - (sum - t)) + (b - t);
    (sum, if sum.is_finite() { rest } else { T::zero() })
}

fn sum<T: Float>(terms: impl Iterator<Item = T>) -> T {
    let (sum, rest) = terms.fold((T::zero(), T::zero()), |(sum, rest), term| {
        let (sum, left) = two_sum(sum, term);
        (sum, rest + left)
    });
    sum + rest
}

fn each<T: Copy>(out: &mut [T], f: impl Fn(usize) -> T) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = f(i);
    }
}

/// The largest, NaN if there is one.
fn max<T: Float>(x: impl Iterator<Item = T>, least: T) -> T {
    x.fold(least, |a, b| if b > a || b.is_nan() { b } else { a })
}

/// x, NaN for ±∞.
fn or_nan<T: Float>(x: T) -> T {
    if x.is_finite() { x } else { T::nan() }
}

fn half<T: Float>(x: T) -> T {
    x / (T::one() + T::one())
}

/// exp(a − b)
fn exp_of_difference<T: Float>(a: T, b: T) -> T {
    let (difference, rest) = two_sum(a, -b);
    let e = difference.exp();
    e + e * rest
}

/// m = max x, and Σ exp(x_j − m) without one of the terms that are 1; NaN where m is not finite.
fn max_and_rest<T: Float>(x: &[T]) -> (T, T) {
    let m = max(x.iter().copied(), T::neg_infinity());
    let one = x.iter().position(|&x| x == m);
    let others = x.iter().enumerate().filter(|(i, _)| Some(*i) != one);
    let rest = sum(others.map(|(_, &x)| exp_of_difference(x, m)));
    (m, if m.is_finite() { rest } else { T::nan() })
}

/// log Σ exp x_j, as m + log Σ exp(x_j − m), m = max x
pub fn logsumexp<T: Float>(x: &[T]) -> T {
    let (m, rest) = max_and_rest(x);
    if m.is_infinite() { m } else { m + rest.ln_1p() }
}

/// exp x_i / Σ exp x_j, as exp(x_i − m) / Σ exp(x_j − m), m = max x
pub fn softmax<T: Float>(x: &[T], out: &mut [T]) {
    let (m, rest) = max_and_rest(x);
    each(out, |i| exp_of_difference(x[i], m) / (T::one() + rest));
}

/// x_i − log Σ exp x_j, as (x_i − m) − log Σ exp(x_j − m), m = max x
pub fn log_softmax<T: Float>(x: &[T], out: &mut [T]) {
    let (m, rest) = max_and_rest(x);
    each(out, |i| {
        let (difference, left) = two_sum(x[i], -m);
        (difference - rest.ln_1p()) + left
    });
}

/// 0 in a row whose only element has this value: its result is constant, whatever arrives.
fn cleared<T: Float>(row: &[T], certain: T, grad: &mut [T]) {
    if row == [certain] {
        grad[0] = T::zero();
    }
}

/// y_i·(g_i − Σ y_j·g_j); the jvp is the same.
pub fn softmax_vjp<T: Float>(y: &[T], g: &[T], grad: &mut [T]) {
    let s = or_nan(sum(y.iter().zip(g).map(|(&y, &g)| y * g)));
    each(grad, |i| if y[i] == T::zero() { T::zero() } else { y[i] * (g[i] - s) });
    cleared(y, T::one(), grad);
}

/// g_i − exp(log y_i)·Σ g_j
pub fn log_softmax_vjp<T: Float>(log_y: &[T], g: &[T], grad: &mut [T]) {
    let s = or_nan(sum(g.iter().copied()));
    each(grad, |i| g[i] - log_y[i].exp() * s);
    cleared(log_y, T::zero(), grad);
}

/// v_i − Σ exp(log y_j)·v_j
pub fn log_softmax_jvp<T: Float>(log_y: &[T], v: &[T], out: &mut [T]) {
    let s = or_nan(sum(log_y.iter().zip(v).map(|(&l, &v)| l.exp() * v)));
    each(out, |i| v[i] - s);
    cleared(log_y, T::zero(), out);
}

/// softmax(x)_i·g
pub fn logsumexp_vjp<T: Float>(x: &[T], g: T, grad: &mut [T]) {
    let (m, rest) = max_and_rest(x);
    each(grad, |i| match x[i] {
        // Also of only −∞.
        x if x == T::neg_infinity() && m < T::infinity() => T::zero(),
        x => exp_of_difference(x, m) / (T::one() + rest) * or_nan(g),
    });
}

/// Σ softmax(x)_j·v_j
pub fn logsumexp_jvp<T: Float>(x: &[T], v: &[T]) -> T {
    let (m, rest) = max_and_rest(x);
    if m == T::neg_infinity() {
        return T::zero();
    }
    let terms = x.iter().zip(v).map(|(&x, &v)| exp_of_difference(x, m) * v);
    or_nan(sum(terms)) / (T::one() + rest)
}

/// A power of two, c, near the largest of |x_j| and `least`, and ‖x/c‖².
fn scaled_square<T: Float>(x: &[T], least: T) -> (T, T) {
    // Half, as the logarithm of the largest number may be rounded up.
    let half = half(max(x.iter().map(|x| x.abs()), least));
    let c = half.log2().floor().exp2().max(T::min_positive_value());
    (c, sum(x.iter().map(|&x| (x / c) * (x / c))))
}

/// ‖x‖ = √Σ x_j²
pub fn l2_norm<T: Float>(x: &[T]) -> T {
    let (c, square) = scaled_square(x, T::zero());
    if c.is_infinite() { c } else { c * square.sqrt() }
}

/// c, ‖x/c‖² and guard(‖x‖)/c.
fn scaled_guard<T: Float>(x: &[T], guard: NormGuard<T>) -> (T, T, T) {
    let least = match guard {
        NormGuard::Max(eps) | NormGuard::Add(eps) => eps,
        NormGuard::AddSquared(eps) => eps.sqrt(),
    };
    let (c, square) = scaled_square(x, least);
    let norm = square.sqrt();
    let guarded = match guard {
        NormGuard::Max(eps) if norm < eps / c => eps / c,
        NormGuard::Max(_) => norm,
        NormGuard::Add(eps) => norm + eps / c,
        NormGuard::AddSquared(eps) => (square + eps / c / c).sqrt(),
    };
    (c, square, guarded)
}

/// x / guard(‖x‖)
pub fn l2_normalize<T: Float>(x: &[T], guard: NormGuard<T>, out: &mut [T]) {
    let (c, _, d) = scaled_guard(x, guard);
    each(out, |i| x[i] / c / d);
}

/// Σ x_j·v_j/‖x‖, 0 in a zero row: the jvp of the norm; its vjp is g·x_i/‖x‖.
pub fn l2_norm_jvp<T: Float>(x: &[T], v: &[T]) -> T {
    let (c, square) = scaled_square(x, T::zero());
    let s = or_nan(sum(x.iter().zip(v).map(|(&x, &v)| x / c * v)));
    if square == T::zero() { s } else { s / square.sqrt() }
}

/// g·x_i/‖x‖, 0 in a zero row.
pub fn l2_norm_vjp<T: Float>(x: &[T], g: T, grad: &mut [T]) {
    let (c, square) = scaled_square(x, T::zero());
    let norm = if square == T::zero() { T::one() } else { square.sqrt() };
    each(grad, |i| x[i] / c / norm * or_nan(g));
}

/// g_i/d − x_i·(Σ x_j·g_j)·d′/(‖x‖·d²), d = guard(‖x‖); the Jacobian is symmetric, so the jvp is the same.
pub fn l2_normalize_vjp<T: Float>(x: &[T], g: &[T], guard: NormGuard<T>, grad: &mut [T]) {
    // With x, ‖x‖ and d divided by c; d′/(‖x‖·d) is 0 or 1/‖x‖², 1/(‖x‖·d), 1/d².
    let (c, square, d) = scaled_guard(x, guard);
    let s = or_nan(sum(x.iter().zip(g).map(|(&x, &g)| x / c * g)));
    let share = match guard {
        NormGuard::Max(_) if square.sqrt() < d => s * T::zero(),
        NormGuard::Max(_) => s / square,
        NormGuard::Add(_) if square == T::zero() => s * T::zero(),
        NormGuard::Add(_) => s / (square.sqrt() * d),
        NormGuard::AddSquared(eps) => s / (square + eps / c / c),
    };
    each(grad, |i| (g[i] - x[i] / c * share) / d / c);
}

/// scale/(1 + exp −x)
fn times_sigmoid<T: Float>(scale: T, x: T) -> T {
    if x >= T::zero() {
        return scale / (T::one() + (-x).exp());
    }
    let e = x.exp();
    if e < T::min_positive_value() {
        // It underflows, but scale·exp x may not.
        let root = half(x).exp();
        return scale * root * root;
    }
    scale * e / (T::one() + e)
}

/// 1/(1 + exp −x)
pub fn sigmoid<T: Float>(x: T) -> T {
    times_sigmoid(T::one(), x)
}

/// lo + (hi − lo)·σ(x), as lo·σ(−x) + hi·σ(x); hi·tanh(x/2) where lo = −hi
pub fn scaled_sigmoid<T: Float>(x: T, lo: T, hi: T) -> T {
    if lo == -hi {
        return hi * half(x).tanh();
    }
    let y = times_sigmoid(lo, -x) + times_sigmoid(hi, x);
    if y < lo {
        lo
    } else if y > hi {
        hi
    } else {
        y
    }
}

/// (hi − lo)·σ(x)·σ(−x)·g; the jvp is the same.
pub fn scaled_sigmoid_vjp<T: Float>(x: T, g: T, lo: T, hi: T) -> T {
    if x.is_infinite() || lo == hi && !x.is_nan() {
        return T::zero();
    }
    let (width, g) = (half(hi) - half(lo), or_nan(g));
    let product = width * g;
    let product = if product.is_finite() {
        times_sigmoid(times_sigmoid(product, x), -x)
    } else {
        times_sigmoid(width, x) * times_sigmoid(g, -x)
    };
    product + product
}

/// log((y − lo)/(hi − y)), NaN outside [lo, hi]
pub fn scaled_sigmoid_inverse<T: Float>(y: T, lo: T, hi: T) -> T {
    // Halves, as hi − lo may overflow.
    let [y, lo, hi] = [y, lo, hi].map(half);
    let less_one = sum([y, y, -lo, -hi].into_iter()) / (hi - y);
    if less_one.abs() < half(T::one()) { less_one.ln_1p() } else { ((y - lo) / (hi - y)).ln() }
}

/// g·(1/(y − lo) + 1/(hi − y)), NaN outside [lo, hi]; the jvp is the same.
pub fn scaled_sigmoid_inverse_vjp<T: Float>(y: T, g: T, lo: T, hi: T) -> T {
    if y < lo || y > hi {
        return T::nan();
    }
    let [y, lo, hi] = [y, lo, hi].map(half);
    half(or_nan(g) / (y - lo) + or_nan(g) / (hi - y))
}
