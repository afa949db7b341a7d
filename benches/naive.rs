//! The yardstick: what one writes with std iterators. Each function takes one row; `g` is the upstream
//! gradient, `out` has one element where the operation reduces.

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

pub fn softmax_vjp<T: Float + Sum>(y: &[T], g: &[T], out: &mut [T]) {
    let dot = total(y.iter().zip(g).map(|(&y, &g)| y * g));
    for ((out, &y), &g) in out.iter_mut().zip(y).zip(g) {
        *out = y * (g - dot);
    }
}

pub fn log_softmax<T: Float + Sum>(x: &[T], out: &mut [T]) {
    let log_sum = log_sum(x);
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x - log_sum;
    }
}

pub fn log_softmax_vjp<T: Float + Sum>(log_y: &[T], g: &[T], out: &mut [T]) {
    let sum = total(g.iter().copied());
    for ((out, &log_y), &g) in out.iter_mut().zip(log_y).zip(g) {
        *out = g - log_y.exp() * sum;
    }
}

pub fn logsumexp<T: Float + Sum>(x: &[T], out: &mut [T]) {
    out[0] = log_sum(x);
}

pub fn logsumexp_vjp<T: Float + Sum>(x: &[T], g: T, out: &mut [T]) {
    softmax(x, out);
    for out in out {
        *out = *out * g;
    }
}

pub fn l2_norm<T: Float + Sum>(x: &[T], out: &mut [T]) {
    out[0] = total(x.iter().map(|&x| x * x)).sqrt();
}

pub fn l2_norm_vjp<T: Float>(x: &[T], norm: T, g: T, out: &mut [T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = g * x / norm;
    }
}

pub fn l2_normalize<T: Float + Sum>(x: &[T], eps: T, out: &mut [T]) {
    let norm = total(x.iter().map(|&x| x * x)).sqrt().max(eps);
    for (out, &x) in out.iter_mut().zip(x) {
        *out = x / norm;
    }
}

pub fn l2_normalize_vjp<T: Float + Sum>(x: &[T], norm: T, g: &[T], out: &mut [T]) {
    let share = total(x.iter().zip(g).map(|(&x, &g)| x * g)) / (norm * norm);
    for ((out, &x), &g) in out.iter_mut().zip(x).zip(g) {
        *out = (g - x * share) / norm;
    }
}

pub fn scaled_sigmoid<T: Float>(x: &[T], lo: T, hi: T, out: &mut [T]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = lo + (hi - lo) * sigmoid(x);
    }
}

pub fn scaled_sigmoid_vjp<T: Float>(x: &[T], lo: T, hi: T, g: &[T], out: &mut [T]) {
    for ((out, &x), &g) in out.iter_mut().zip(x).zip(g) {
        let s = sigmoid(x);
        *out = g * (hi - lo) * s * (T::one() - s);
    }
}

pub fn scaled_sigmoid_inverse<T: Float>(y: &[T], lo: T, hi: T, out: &mut [T]) {
    for (out, &y) in out.iter_mut().zip(y) {
        *out = ((y - lo) / (hi - y)).ln();
    }
}

pub fn scaled_sigmoid_inverse_vjp<T: Float>(y: &[T], lo: T, hi: T, g: &[T], out: &mut [T]) {
    for ((out, &y), &g) in out.iter_mut().zip(y).zip(g) {
        *out = g * (hi - lo) / ((y - lo) * (hi - y));
    }
}
