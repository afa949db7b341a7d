//! The textbook formula of each operation and gradient, one scalar at a time, for any `Float`.
//!
//! Short enough to check by eye, and what property tests compare with: yours and ours. They carry no
//! bounds and no special values beyond what the formulas give; a row is a slice.
//!
//! ```
//! use lossprep::reference;
//! let mut y = [0.0_f64; 2];
//! reference::softmax(&[0.0, 0.0], &mut y);
//! assert_eq!(y, [0.5, 0.5]);
//! ```

use crate::NormGuard;
use num_traits::Float;

fn sum<T: Float>(terms: impl Iterator<Item = T>) -> T {
    terms.fold(T::zero(), |a, b| a + b)
}

fn each<T: Copy>(out: &mut [T], f: impl Fn(usize) -> T) {
    for (i, out) in out.iter_mut().enumerate() {
        *out = f(i);
    }
}

/// log Σ exp x_j
pub fn logsumexp<T: Float>(x: &[T]) -> T {
    let max = x.iter().copied().fold(T::neg_infinity(), T::max);
    if max.is_infinite() { max } else { max + sum(x.iter().map(|&x| (x - max).exp())).ln() }
}

/// exp(x_i − L)
pub fn softmax<T: Float>(x: &[T], out: &mut [T]) {
    let l = logsumexp(x);
    each(out, |i| (x[i] - l).exp());
}

/// x_i − L
pub fn log_softmax<T: Float>(x: &[T], out: &mut [T]) {
    let l = logsumexp(x);
    each(out, |i| x[i] - l);
}

/// y_i·(g_i − Σ y_j·g_j); the jvp is the same.
pub fn softmax_vjp<T: Float>(y: &[T], g: &[T], grad: &mut [T]) {
    let s = sum(y.iter().zip(g).map(|(&y, &g)| y * g));
    each(grad, |i| y[i] * (g[i] - s));
}

/// g_i − exp(log y_i)·Σ g_j
pub fn log_softmax_vjp<T: Float>(log_y: &[T], g: &[T], grad: &mut [T]) {
    let s = sum(g.iter().copied());
    each(grad, |i| g[i] - log_y[i].exp() * s);
}

/// v_i − Σ exp(log y_j)·v_j
pub fn log_softmax_jvp<T: Float>(log_y: &[T], v: &[T], out: &mut [T]) {
    let s = sum(log_y.iter().zip(v).map(|(&l, &v)| l.exp() * v));
    each(out, |i| v[i] - s);
}

/// exp(x_i − L)·g
pub fn logsumexp_vjp<T: Float>(x: &[T], g: T, grad: &mut [T]) {
    let l = logsumexp(x);
    each(grad, |i| (x[i] - l).exp() * g);
}

/// Σ exp(x_j − L)·v_j
pub fn logsumexp_jvp<T: Float>(x: &[T], v: &[T]) -> T {
    let l = logsumexp(x);
    sum(x.iter().zip(v).map(|(&x, &v)| (x - l).exp() * v))
}

/// ‖x‖
pub fn l2_norm<T: Float>(x: &[T]) -> T {
    sum(x.iter().map(|&x| x * x)).sqrt()
}

/// The guarded norm.
pub fn guarded<T: Float>(norm: T, guard: NormGuard<T>) -> T {
    match guard {
        NormGuard::Max(eps) => norm.max(eps),
        NormGuard::Add(eps) => norm + eps,
        NormGuard::AddSquared(eps) => (norm * norm + eps).sqrt(),
    }
}

/// x / guard(‖x‖)
pub fn l2_normalize<T: Float>(x: &[T], guard: NormGuard<T>, out: &mut [T]) {
    let d = guarded(l2_norm(x), guard);
    each(out, |i| x[i] / d);
}

/// Σ x_j·v_j/‖x‖: the jvp of the norm; its vjp is g·x_i/‖x‖.
pub fn l2_norm_jvp<T: Float>(x: &[T], v: &[T]) -> T {
    sum(x.iter().zip(v).map(|(&x, &v)| x * v)) / l2_norm(x)
}

/// g·x_i/‖x‖
pub fn l2_norm_vjp<T: Float>(x: &[T], g: T, grad: &mut [T]) {
    let norm = l2_norm(x);
    each(grad, |i| g * x[i] / norm);
}

/// g_i/d − x_i·(Σ x_j·g_j)·d′/(‖x‖·d²), d = guard(‖x‖); the Jacobian is symmetric, so the jvp is the same.
pub fn l2_normalize_vjp<T: Float>(x: &[T], g: &[T], guard: NormGuard<T>, grad: &mut [T]) {
    let norm = l2_norm(x);
    let d = guarded(norm, guard);
    let s = sum(x.iter().zip(g).map(|(&x, &g)| x * g));
    let slope = match guard {
        NormGuard::Max(eps) if norm < eps => T::zero(),
        NormGuard::Max(_) | NormGuard::Add(_) => T::one(),
        NormGuard::AddSquared(_) => norm / d,
    };
    let share = if norm == T::zero() { T::zero() } else { s * slope / (norm * d * d) };
    each(grad, |i| g[i] / d - x[i] * share);
}

/// 1/(1 + exp −x)
pub fn sigmoid<T: Float>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}

/// lo + (hi − lo)·σ(x)
pub fn scaled_sigmoid<T: Float>(x: T, lo: T, hi: T) -> T {
    lo + (hi - lo) * sigmoid(x)
}

/// (hi − lo)·σ(x)·σ(−x)·g; the jvp is the same.
pub fn scaled_sigmoid_vjp<T: Float>(x: T, g: T, lo: T, hi: T) -> T {
    (hi - lo) * sigmoid(x) * sigmoid(-x) * g
}

/// log((y − lo)/(hi − y))
pub fn scaled_sigmoid_inverse<T: Float>(y: T, lo: T, hi: T) -> T {
    ((y - lo) / (hi - y)).ln()
}

/// g·(1/(y − lo) + 1/(hi − y)); the jvp is the same.
pub fn scaled_sigmoid_inverse_vjp<T: Float>(y: T, g: T, lo: T, hi: T) -> T {
    g * ((hi - lo) / ((y - lo) * (hi - y)))
}
