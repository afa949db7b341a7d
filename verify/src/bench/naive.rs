//! The yardstick: what one writes with std iterators. Each function takes one row; `g` is the upstream
//! gradient of a vjp or the tangent `v` of a jvp, `out` has one element where the operation reduces.

use num_traits::Float;
use std::iter::Sum;

fn total<T: Float + Sum>(terms: impl Iterator<Item = T>) -> T {
    terms.sum()
}

fn max<T: Float>(x: &[T]) -> T {
    x.iter().copied().fold(T::neg_infinity(), T::max)
}

fn log_sum<T: Float + Sum>(x: &[T]) -> T {
    let max = max(x);
    max + total(x.iter().map(|&x| (x - max).exp())).ln()
}

fn sigmoid<T: Float>(x: T) -> T {
    T::one() / (T::one() + (-x).exp())
}

/// Max, exp, sum, divide.
pub fn softmax<T: Float + Sum>(x: &[T], out: &mut [T]) {
    let max = max(x);
    for (out, &x) in out.iter_mut().zip(x) {
        *out = (x - max).exp();
    }
    let sum = total(out.iter().copied());
    for out in out {
        *out = *out / sum;
    }
}

/// The gradient of the class's −log softmax(x), and that loss.
pub fn cross_entropy<T: Float + Sum>(x: &[T], class: usize, out: &mut [T]) {
    softmax(x, out);
    std::hint::black_box(-out[class].ln());
    out[class] = out[class] - T::one();
}

/// From the softmax `y`; the jvp is the same.
pub fn softmax_vjp<T: Float + Sum>(y: &[T], g: &[T], out: &mut [T]) {
    let dot = total(y.iter().zip(g).map(|(&y, &g)| y * g));
    for ((out, &y), &g) in out.iter_mut().zip(y).zip(g) {
        *out = y * (g - dot);
    }
}

/// x − (max + ln Σ exp(x − max)).
pub fn log_softmax<T: Float + Sum>(x: &[T], out: &mut [T]) {
    let log_sum = log_sum(x);
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x - log_sum;
    }
}

/// From the log_softmax.
pub fn log_softmax_vjp<T: Float + Sum>(log_y: &[T], g: &[T], out: &mut [T]) {
    let sum = total(g.iter().copied());
    for ((out, &log_y), &g) in out.iter_mut().zip(log_y).zip(g) {
        *out = g - log_y.exp() * sum;
    }
}

/// From the log_softmax.
pub fn log_softmax_jvp<T: Float + Sum>(log_y: &[T], v: &[T], out: &mut [T]) {
    let mean = total(log_y.iter().zip(v).map(|(&log_y, &v)| log_y.exp() * v));
    for (out, &v) in out.iter_mut().zip(v) {
        *out = v - mean;
    }
}

/// max + ln Σ exp(x − max).
pub fn logsumexp<T: Float + Sum>(x: &[T], out: &mut [T]) {
    out[0] = log_sum(x);
}

/// The softmax times `g`.
pub fn logsumexp_vjp<T: Float + Sum>(x: &[T], g: T, out: &mut [T]) {
    softmax(x, out);
    for out in out {
        *out = *out * g;
    }
}

/// The mean of `v` under the softmax.
pub fn logsumexp_jvp<T: Float + Sum>(x: &[T], v: &[T], out: &mut [T]) {
    let max = max(x);
    let (sum, dot) = x.iter().zip(v).fold((T::zero(), T::zero()), |(sum, dot), (&x, &v)| {
        let e = (x - max).exp();
        (sum + e, dot + e * v)
    });
    out[0] = dot / sum;
}

/// √Σx².
pub fn l2_norm<T: Float + Sum>(x: &[T], out: &mut [T]) {
    out[0] = total(x.iter().map(|&x| x * x)).sqrt();
}

/// From the input and its norm.
pub fn l2_norm_vjp<T: Float>(x: &[T], norm: T, g: T, out: &mut [T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = g * x / norm;
    }
}

/// From the input and its norm.
pub fn l2_norm_jvp<T: Float + Sum>(x: &[T], norm: T, v: &[T], out: &mut [T]) {
    out[0] = total(x.iter().zip(v).map(|(&x, &v)| x * v)) / norm;
}

/// Divided by the norm, or by `eps` if that is larger.
pub fn l2_normalize<T: Float + Sum>(x: &[T], eps: T, out: &mut [T]) {
    let norm = total(x.iter().map(|&x| x * x)).sqrt().max(eps);
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x / norm;
    }
}

/// From the input and its norm; the jvp is the same.
pub fn l2_normalize_vjp<T: Float + Sum>(x: &[T], norm: T, g: &[T], out: &mut [T]) {
    let share = total(x.iter().zip(g).map(|(&x, &g)| x * g)) / (norm * norm);
    for ((out, &x), &g) in out.iter_mut().zip(x).zip(g) {
        *out = (g - x * share) / norm;
    }
}

/// lo + (hi − lo)·σ(x).
pub fn scaled_sigmoid<T: Float>(x: &[T], lo: T, hi: T, out: &mut [T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = lo + (hi - lo) * sigmoid(x);
    }
}

/// From the input; the jvp is the same.
pub fn scaled_sigmoid_vjp<T: Float>(x: &[T], lo: T, hi: T, g: &[T], out: &mut [T]) {
    for ((out, &x), &g) in out.iter_mut().zip(x).zip(g) {
        let s = sigmoid(x);
        *out = g * (hi - lo) * s * (T::one() - s);
    }
}

/// ln((y − lo)/(hi − y)).
pub fn scaled_sigmoid_inverse<T: Float>(y: &[T], lo: T, hi: T, out: &mut [T]) {
    for (out, &y) in out.iter_mut().zip(y) {
        *out = ((y - lo) / (hi - y)).ln();
    }
}

/// From the input; the jvp is the same.
pub fn scaled_sigmoid_inverse_vjp<T: Float>(y: &[T], lo: T, hi: T, g: &[T], out: &mut [T]) {
    for ((out, &y), &g) in out.iter_mut().zip(y).zip(g) {
        *out = g * (hi - lo) / ((y - lo) * (hi - y));
    }
}
