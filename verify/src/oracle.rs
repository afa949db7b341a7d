//! The truth about every operation and gradient: its formula over either tier's arithmetic.
//!
//! Works on one row of numbers widened to f64, which is exact for f32 too. Each output comes with
//! the claim it is held to. No code and no constant is shared with the library.

use crate::real::{Real, Sum};
use crate::ulp::{Claim, Expect, Truth};

/// An operation of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are those of the library's functions")]
pub enum Op {
    Softmax,
    SoftmaxVjp,
    SoftmaxJvp,
    LogSoftmax,
    LogSoftmaxVjp,
    LogSoftmaxJvp,
    Logsumexp,
    LogsumexpVjp,
    LogsumexpJvp,
    L2Norm,
    L2NormVjp,
    L2NormJvp,
    L2Normalize,
    L2NormalizeVjp,
    L2NormalizeJvp,
    ScaledSigmoid,
    ScaledSigmoidVjp,
    ScaledSigmoidJvp,
    ScaledSigmoidInverse,
    ScaledSigmoidInverseVjp,
    ScaledSigmoidInverseJvp,
}

/// What an operation needs besides its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Temperature and mask.
    Softmax,
    /// Nothing.
    Norm,
    /// A guard.
    Normalize,
    /// A range.
    Sigmoid,
}

impl Op {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 21] = [
        Self::Softmax,
        Self::SoftmaxVjp,
        Self::SoftmaxJvp,
        Self::LogSoftmax,
        Self::LogSoftmaxVjp,
        Self::LogSoftmaxJvp,
        Self::Logsumexp,
        Self::LogsumexpVjp,
        Self::LogsumexpJvp,
        Self::L2Norm,
        Self::L2NormVjp,
        Self::L2NormJvp,
        Self::L2Normalize,
        Self::L2NormalizeVjp,
        Self::L2NormalizeJvp,
        Self::ScaledSigmoid,
        Self::ScaledSigmoidVjp,
        Self::ScaledSigmoidJvp,
        Self::ScaledSigmoidInverse,
        Self::ScaledSigmoidInverseVjp,
        Self::ScaledSigmoidInverseJvp,
    ];

    /// The library's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::SoftmaxVjp => "softmax_vjp",
            Self::SoftmaxJvp => "softmax_jvp",
            Self::LogSoftmax => "log_softmax",
            Self::LogSoftmaxVjp => "log_softmax_vjp",
            Self::LogSoftmaxJvp => "log_softmax_jvp",
            Self::Logsumexp => "logsumexp",
            Self::LogsumexpVjp => "logsumexp_vjp",
            Self::LogsumexpJvp => "logsumexp_jvp",
            Self::L2Norm => "l2_norm",
            Self::L2NormVjp => "l2_norm_vjp",
            Self::L2NormJvp => "l2_norm_jvp",
            Self::L2Normalize => "l2_normalize",
            Self::L2NormalizeVjp => "l2_normalize_vjp",
            Self::L2NormalizeJvp => "l2_normalize_jvp",
            Self::ScaledSigmoid => "scaled_sigmoid",
            Self::ScaledSigmoidVjp => "scaled_sigmoid_vjp",
            Self::ScaledSigmoidJvp => "scaled_sigmoid_jvp",
            Self::ScaledSigmoidInverse => "scaled_sigmoid_inverse",
            Self::ScaledSigmoidInverseVjp => "scaled_sigmoid_inverse_vjp",
            Self::ScaledSigmoidInverseJvp => "scaled_sigmoid_inverse_jvp",
        }
    }

    /// Its family.
    pub fn family(self) -> Family {
        match self {
            Self::L2Norm | Self::L2NormVjp | Self::L2NormJvp => Family::Norm,
            Self::L2Normalize | Self::L2NormalizeVjp | Self::L2NormalizeJvp => Family::Normalize,
            _ if self >= Self::ScaledSigmoid => Family::Sigmoid,
            _ => Family::Softmax,
        }
    }

    /// The forward operation this one is, or is a gradient of.
    pub fn forward(self) -> Self {
        Self::ALL[Self::ALL.iter().position(|&op| op == self).unwrap_or(0) / 3 * 3]
    }

    /// Whether it is a vector-Jacobian product.
    pub fn is_vjp(self) -> bool {
        self.name().ends_with("_vjp")
    }

    /// Whether it is a Jacobian-vector product.
    pub fn is_jvp(self) -> bool {
        self.name().ends_with("_jvp")
    }

    /// Whether it is a gradient.
    pub fn is_gradient(self) -> bool {
        self.is_vjp() || self.is_jvp()
    }

    /// Whether a row gives a single output.
    pub fn reduces(self) -> bool {
        matches!(self, Self::Logsumexp | Self::LogsumexpJvp | Self::L2Norm | Self::L2NormJvp)
    }

    /// How many numbers of upstream or tangent a row of this length takes.
    pub fn second_len(self, len: usize) -> usize {
        match self {
            Self::LogsumexpVjp | Self::L2NormVjp => 1,
            _ if self.is_gradient() => len,
            _ => 0,
        }
    }

    /// Whether it takes the row's norm beside the row.
    pub fn takes_norm(self) -> bool {
        matches!(self.family(), Family::Norm | Family::Normalize) && self.is_gradient()
    }
}

/// The guard of a normalisation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Guard {
    /// max(‖x‖, eps)
    Max(f64),
    /// ‖x‖ + eps
    Add(f64),
    /// √(‖x‖² + eps)
    AddSquared(f64),
}

/// What a row with nothing kept gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Empty {
    #[default]
    Zeros,
    Uniform,
    Nan,
}

/// The parameters of an operation, already rounded to the element type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Params {
    /// Divides the input of the softmax family.
    pub temperature: f64,
    /// Of a normalisation.
    pub guard: Guard,
    /// Lower end of a sigmoid's range.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
    /// Of a masked row of the softmax family.
    pub empty: Empty,
}

impl Default for Params {
    fn default() -> Self {
        Self { temperature: 1.0, guard: Guard::Max(1e-12), lo: 0.0, hi: 1.0, empty: Empty::Zeros }
    }
}

/// One row as an operation receives it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The first argument: x, or y or log y for the gradients that take the output.
    pub x: &'a [f64],
    /// Upstream or tangent.
    pub second: &'a [f64],
    /// The norm a normalisation's gradients are given.
    pub norm: f64,
    /// Which elements take part.
    pub keep: Option<&'a [bool]>,
}

/// The truth about every output of a row.
pub fn evaluate<R: Real>(op: Op, row: Row, params: &Params) -> Vec<Truth<R>> {
    match (op.family(), row.keep) {
        (Family::Softmax, Some(keep)) => masked(op, row, keep, params),
        (Family::Softmax, None) => softmax_family(op, row, params),
        (Family::Norm | Family::Normalize, _) => norm_family(op, row, params),
        (Family::Sigmoid, _) => {
            let second = |i: usize| row.second.get(i).copied().unwrap_or(1.0);
            row.x.iter().enumerate().map(|(i, &x)| sigmoid_family(op, x, second(i), params)).collect()
        }
    }
}

/// The row of the kept elements, and what the others give.
fn masked<R: Real>(op: Op, row: Row, keep: &[bool], params: &Params) -> Vec<Truth<R>> {
    let cut = |v: &[f64]| -> Vec<f64> {
        if v.len() == keep.len() {
            v.iter().zip(keep).filter(|&(_, &k)| k).map(|(&x, _)| x).collect()
        } else {
            v.to_vec()
        }
    };
    let n = row.x.len();
    let (x, second) = (cut(row.x), cut(row.second));
    // The gradients that take the output know a policy's row by it, for the derivative of a constant is 0: log-probabilities
    // of nothing but −∞; and where the policy is uniform, an element that takes no part holds something.
    let saved = op.is_gradient() && op.forward() != Op::Logsumexp;
    let blank = if saved && op.forward() == Op::Softmax { 0.0 } else { f64::NEG_INFINITY };
    let constant = saved
        && params.empty == Empty::Uniform
        && row.x.iter().zip(keep).any(|(&y, &k)| !k && y != blank && !y.is_nan());
    let nothing = constant || x.is_empty() || blank != 0.0 && x.iter().all(|&v| v == blank);
    let zero = || Truth::value(R::zero(), Claim::Result);
    if nothing {
        return match (op, params.empty) {
            (Op::Logsumexp, _) => vec![Truth::special(Expect::NegativeInfinity)],
            (Op::LogsumexpJvp, _) => vec![zero()],
            _ if op.is_gradient() => (0..n).map(|_| zero()).collect(),
            (_, Empty::Nan) => (0..n).map(|_| Truth::special(Expect::Nan)).collect(),
            (Op::Softmax, Empty::Zeros) => (0..n).map(|_| zero()).collect(),
            (_, Empty::Zeros) => (0..n).map(|_| Truth::special(Expect::NegativeInfinity)).collect(),
            (_, Empty::Uniform) => {
                let share = R::one().div(&R::from_f64(n as f64));
                let value = if op == Op::Softmax { share } else { share.ln() };
                (0..n).map(|_| Truth::value(value.clone(), Claim::Result)).collect()
            }
        };
    }
    let mut kept = softmax_family(op, Row { x: &x, second: &second, keep: None, ..row }, params);
    if op.reduces() {
        return kept;
    }
    let mut kept = kept.drain(..);
    // NaN or +∞ among the kept makes a result of the whole row NaN; a gradient of what takes no part stays 0.
    let lost = x.iter().any(|&v| v.is_nan() || v == f64::INFINITY);
    let absent = || match op {
        Op::Softmax | Op::LogSoftmax if lost => Truth::special(Expect::Nan),
        Op::LogSoftmax => Truth::special(Expect::NegativeInfinity),
        _ => zero(),
    };
    keep.iter().map(|&k| if k { kept.next().unwrap_or_else(zero) } else { absent() }).collect()
}

fn over<R: Real>(v: R, temperature: f64) -> R {
    if temperature == 1.0 { v } else { v.div(&R::from_f64(temperature)) }
}

/// (v − max)/T, none for −∞.
fn shifted<R: Real>(v: f64, max: f64, temperature: f64) -> Option<R> {
    v.is_finite().then(|| over(R::from_f64(v).sub(&R::from_f64(max)), temperature))
}

/// exp(z_i) with z_i = (x_i − max)/T, and the sum of all but one occurrence of the maximum.
struct State<R> {
    max: R,
    top: f64,
    exps: Vec<R>,
    others: R,
}

impl<R: Real> State<R> {
    fn new(x: &[f64], temperature: f64) -> Self {
        let top = (0..x.len()).fold(0, |best, i| if x[i] > x[best] { i } else { best });
        let exps: Vec<R> = x
            .iter()
            .map(|&v| shifted::<R>(v, x[top], temperature).map_or_else(R::zero, |z| z.exp()))
            .collect();
        let rest = exps.iter().enumerate().filter(|&(i, _)| i != top).map(|(_, e)| e.clone());
        let others = rest.collect::<Sum<R>>().total();
        Self { max: over(R::from_f64(x[top]), temperature), top: x[top], exps, others }
    }

    fn probabilities(&self) -> impl Iterator<Item = R> + '_ {
        let inverse = R::one().div(&R::one().add(&self.others));
        self.exps.iter().map(move |e| e.mul(&inverse))
    }
}

fn softmax_family<R: Real>(op: Op, row: Row, params: &Params) -> Vec<Truth<R>> {
    let outputs = if op.reduces() { 1 } else { row.x.len() };
    let all = |expect: Expect<R>| (0..outputs).map(|_| Truth::special(expect.clone())).collect();
    let (x, g) = (row.x, row.second);
    let forward = op.forward();
    let takes_x = !op.is_gradient() || forward == Op::Logsumexp;
    if x.iter().any(|v| v.is_nan()) {
        return all(Expect::Nan);
    }
    if takes_x && x.contains(&f64::INFINITY) {
        return all(if op == Op::Logsumexp { Expect::Infinity } else { Expect::Nan });
    }
    if (takes_x || forward == Op::LogSoftmax) && x.iter().all(|&v| v == f64::NEG_INFINITY) {
        return match op {
            Op::Logsumexp => all(Expect::NegativeInfinity),
            Op::Softmax | Op::LogSoftmax => all(Expect::Nan),
            _ => (0..outputs).map(|_| Truth::value(R::zero(), Claim::Result)).collect(),
        };
    }
    let over_t = |v: R| over(v, params.temperature);
    let gradient = |v: R, m: R| Truth::value(over_t(v), Claim::Gradient(over_t(m)));
    match op {
        Op::Softmax => {
            let state = State::new(x, params.temperature);
            return state.probabilities().map(|p: R| Truth::value(p, Claim::Result)).collect();
        }
        Op::LogSoftmax => {
            let state = State::<R>::new(x, params.temperature);
            let log = state.others.ln_1p();
            let truth = |&v: &f64| match shifted::<R>(v, state.top, params.temperature) {
                Some(z) => Truth::value(z.sub(&log), Claim::Result),
                None => Truth::special(Expect::NegativeInfinity),
            };
            return x.iter().map(truth).collect();
        }
        Op::Logsumexp => {
            let state = State::<R>::new(x, params.temperature);
            let log = state.others.ln_1p();
            return vec![Truth::value(state.max.add(&log), Claim::Cancelling(log))];
        }
        _ => {}
    }
    let wild = |v: &[f64]| v.iter().any(|v| !v.is_finite());
    if wild(g) || forward == Op::Softmax && wild(x) {
        // The derivative is exactly 0 where the probability is, and of a row with one element, whatever arrives.
        let alone = x.len() == 1;
        let truth = |v: &f64| {
            let constant = match forward {
                Op::Softmax => *v == 0.0 || alone && *v == 1.0,
                Op::Logsumexp => *v == f64::NEG_INFINITY,
                _ => alone && *v == 0.0,
            };
            if constant { Truth::value(R::zero(), Claim::Result) } else { Truth::special(Expect::Nan) }
        };
        return if outputs == x.len() { x.iter().map(truth).collect() } else { all(Expect::Nan) };
    }
    // The probabilities as the gradient receives or recomputes them.
    let y: Vec<R> = match forward {
        Op::Softmax => x.iter().map(|&v| R::from_f64(v)).collect(),
        Op::LogSoftmax => {
            x.iter().map(|&v| if v.is_finite() { R::from_f64(v).exp() } else { R::zero() }).collect()
        }
        _ => State::<R>::new(x, params.temperature).probabilities().collect(),
    };
    let g: Vec<R> = g.iter().map(|&v| R::from_f64(v)).collect();
    let dot = |weigh: &dyn Fn(usize) -> R| (0..g.len()).map(weigh).collect::<Sum<R>>().total();
    match op {
        Op::SoftmaxVjp | Op::SoftmaxJvp => {
            let mean = dot(&|i| y[i].mul(&g[i]));
            let size = dot(&|i| y[i].mul(&g[i]).abs());
            let truth = |(y, g): (&R, &R)| gradient(y.mul(&g.sub(&mean)), y.abs().mul(&g.abs().add(&size)));
            y.iter().zip(&g).map(truth).collect()
        }
        Op::LogSoftmaxVjp => {
            let (sum, size) = (dot(&|i| g[i].clone()), dot(&|i| g[i].abs()));
            let truth = |(y, g): (&R, &R)| gradient(g.sub(&y.mul(&sum)), g.abs().add(&y.mul(&size)));
            y.iter().zip(&g).map(truth).collect()
        }
        Op::LogSoftmaxJvp => {
            let mean = dot(&|i| y[i].mul(&g[i]));
            let size = dot(&|i| y[i].mul(&g[i]).abs());
            g.iter().map(|g| gradient(g.sub(&mean), g.abs().add(&size))).collect()
        }
        Op::LogsumexpVjp => y.iter().map(|y| gradient(y.mul(&g[0]), y.mul(&g[0]).abs())).collect(),
        _ => {
            let size = dot(&|i| y[i].mul(&g[i]).abs());
            vec![gradient(dot(&|i| y[i].mul(&g[i])), size)]
        }
    }
}

fn norm_family<R: Real>(op: Op, row: Row, params: &Params) -> Vec<Truth<R>> {
    let x = row.x;
    let outputs = if op.reduces() { 1 } else { x.len() };
    let all = |expect: Expect<R>| (0..outputs).map(|_| Truth::special(expect.clone())).collect();
    let bad = |v: &[f64]| v.iter().any(|v| !v.is_finite());
    if bad(x) {
        let infinite = op == Op::L2Norm && !x.iter().any(|v| v.is_nan());
        return all(if infinite { Expect::Infinity } else { Expect::Nan });
    }
    let g = row.second;
    if bad(g) {
        return all(Expect::Nan);
    }
    let of = |v: f64| R::from_f64(v);
    // A gradient takes the norm it is given as exact; one that overflowed says nothing.
    let given = op.is_gradient() && row.norm.is_finite();
    let norm = if given {
        of(row.norm)
    } else {
        x.iter().map(|&v| of(v).mul(&of(v))).collect::<Sum<R>>().total().sqrt()
    };
    if op == Op::L2Norm {
        return vec![Truth::value(norm, Claim::Result)];
    }
    // φ and N·φ: the divisors of x and, in the gradient, of x·⟨x, g⟩/φ; none where φ is constant.
    let (divisor, slope) = match (op.family(), params.guard) {
        (Family::Norm, _) => (norm.clone(), Some(norm.clone())),
        (_, Guard::Max(eps)) if norm.sub(&of(eps)).signum() < 0 => (of(eps), None),
        (_, Guard::Max(_)) => (norm.clone(), Some(norm.mul(&norm))),
        (_, Guard::Add(eps)) => {
            let d = norm.add(&of(eps));
            (d.clone(), Some(norm.mul(&d)))
        }
        (_, Guard::AddSquared(eps)) => {
            let d = norm.mul(&norm).add(&of(eps)).sqrt();
            (d.clone(), Some(d.mul(&d)))
        }
    };
    let gradient = |v: R, m: R| Truth::value(v, Claim::Gradient(m));
    let flat = norm.signum() == 0;
    match op {
        Op::L2Normalize => {
            let truth = |&v: &f64| Truth {
                negative_zero: v.is_sign_negative(),
                ..Truth::value(of(v).div(&divisor), Claim::Result)
            };
            x.iter().map(truth).collect()
        }
        Op::L2NormVjp | Op::L2NormJvp if flat => {
            (0..outputs).map(|_| Truth::value(R::zero(), Claim::Result)).collect()
        }
        Op::L2NormVjp => {
            let truth = |&v: &f64| of(v).mul(&of(g[0])).div(&norm);
            x.iter().map(|v| gradient(truth(v), truth(v).abs())).collect()
        }
        Op::L2NormJvp => {
            let dot = |f: fn(R) -> R| {
                x.iter().zip(g).map(|(&v, &t)| f(of(v).mul(&of(t)))).collect::<Sum<R>>().total().div(&norm)
            };
            vec![gradient(dot(|v| v), dot(|v| v.abs()))]
        }
        _ => {
            let dot = |f: fn(R) -> R| {
                x.iter().zip(g).map(|(&v, &t)| f(of(v).mul(&of(t)))).collect::<Sum<R>>().total()
            };
            let (dot, size) = (dot(|v| v), dot(|v| v.abs()));
            let truth = |(&v, &t): (&f64, &f64)| {
                let (v, t) = (of(v), of(t));
                match &slope {
                    Some(slope) if !flat => gradient(
                        t.sub(&v.mul(&dot).div(slope)).div(&divisor),
                        t.abs().add(&v.abs().mul(&size).div(slope)).div(&divisor),
                    ),
                    _ => gradient(t.div(&divisor), t.abs().div(&divisor)),
                }
            };
            x.iter().zip(g).map(truth).collect()
        }
    }
}

fn sigmoid_family<R: Real>(op: Op, x: f64, g: f64, params: &Params) -> Truth<R> {
    let (lo, hi) = (params.lo, params.hi);
    let of = |v: f64| R::from_f64(v);
    let width = of(hi).sub(&of(lo));
    let constant = || Truth::value(R::zero(), Claim::Result);
    if x.is_nan() {
        return Truth::special(Expect::Nan);
    }
    match op {
        Op::ScaledSigmoid => {
            let negative_zero = lo == -hi && lo < hi && x.is_sign_negative();
            let exact = |v: f64| Truth { negative_zero, ..Truth::value(of(v), Claim::Result) };
            if lo == hi || x.is_infinite() {
                return exact(if x > 0.0 { hi } else { lo });
            }
            let e = of(-x.abs()).exp();
            let sum = R::one().add(&e);
            if lo == -hi {
                // hi·tanh(x/2) = hi·(1 − e)/(1 + e), keeping what cancels near 0.
                let size = of(-x.abs()).exp_m1().neg().mul(&of(hi)).div(&sum);
                let value = if x < 0.0 { size.neg() } else { size };
                return Truth { negative_zero, ..Truth::value(value, Claim::Result) };
            }
            let (low, high) = if x < 0.0 { (R::one(), e) } else { (e, R::one()) };
            let (low, high) = (of(lo).mul(&low).div(&sum), of(hi).mul(&high).div(&sum));
            let value = low.add(&high);
            if lo < 0.0 && hi > 0.0 {
                Truth::value(value, Claim::Cancelling(low.abs().add(&high)))
            } else {
                Truth::value(value, Claim::Result)
            }
        }
        Op::ScaledSigmoidVjp | Op::ScaledSigmoidJvp => {
            if lo == hi || x.is_infinite() {
                return constant();
            }
            if !g.is_finite() {
                return Truth::special(Expect::Nan);
            }
            let e = of(-x.abs()).exp();
            let sum = R::one().add(&e);
            let value = of(g).mul(&width).mul(&e).div(&sum.mul(&sum));
            Truth::value(value.clone(), Claim::Gradient(value))
        }
        _ if x < lo || x > hi => Truth::special(Expect::Nan),
        Op::ScaledSigmoidInverse => {
            if x == lo {
                return Truth::special(Expect::NegativeInfinity);
            }
            if x == hi {
                return Truth::special(Expect::Infinity);
            }
            let (above, below) = (of(x).sub(&of(lo)), of(hi).sub(&of(x)));
            let ratio = above.div(&below);
            let value = if (0.5..2.0).contains(&ratio.to_f64()) {
                // above − below = 2x − (lo + hi), without rounding a tiny one of the three away: first the two that
                // may cancel.
                let twice = of(x).mul_pow2(1);
                let difference = if lo < 0.0 && hi <= -2.0 * lo && -lo <= 2.0 * hi {
                    twice.sub(&of(lo).add(&of(hi)))
                } else {
                    let (far, near) = if lo.abs() > hi.abs() { (lo, hi) } else { (hi, lo) };
                    twice.sub(&of(far)).sub(&of(near))
                };
                difference.div(&below).ln_1p()
            } else {
                ratio.ln()
            };
            Truth::value(value, Claim::Cancelling(above.ln().abs().max(&below.ln().abs())))
        }
        _ => {
            if !g.is_finite() {
                return Truth::special(Expect::Nan);
            }
            if x == lo || x == hi {
                // An infinite slope: ±∞·g, and NaN for 0.
                return Truth::special(match g {
                    g if g > 0.0 => Expect::Infinity,
                    g if g < 0.0 => Expect::NegativeInfinity,
                    _ => Expect::Nan,
                });
            }
            let (above, below) = (of(x).sub(&of(lo)), of(hi).sub(&of(x)));
            let value = of(g).mul(&width).div(&above.mul(&below));
            Truth::value(value.clone(), Claim::Gradient(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exact::Big;
    use crate::inputs::Rng;
    use crate::wide::Wide;

    fn numbers<R: Real>(truths: &[Truth<R>]) -> Vec<f64> {
        truths
            .iter()
            .map(|t| match &t.expect {
                Expect::Value(v) => v.to_f64(),
                Expect::Nan => f64::NAN,
                Expect::Infinity => f64::INFINITY,
                Expect::NegativeInfinity => f64::NEG_INFINITY,
            })
            .collect()
    }

    fn row<'a>(x: &'a [f64], second: &'a [f64], norm: f64) -> Row<'a> {
        Row { x, second, norm, keep: None }
    }

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (a, b) in got.iter().zip(expected) {
            assert!(a == b || (a - b).abs() <= 1e-14 * b.abs().max(1e-300), "{got:?} {expected:?}");
        }
    }

    #[test]
    fn forward_values_are_those_worked_out_by_hand() {
        let p = Params::default();
        let x = [0.0, 3f64.ln(), f64::NEG_INFINITY];
        let third = |op| numbers(&evaluate::<Wide>(op, row(&x, &[], 0.0), &p));
        close(&third(Op::Softmax), &[0.25, 0.75, 0.0]);
        close(&third(Op::LogSoftmax), &[0.25f64.ln(), 0.75f64.ln(), f64::NEG_INFINITY]);
        close(&third(Op::Logsumexp), &[4f64.ln()]);
        let v = [3.0, -4.0];
        close(&numbers(&evaluate::<Wide>(Op::L2Norm, row(&v, &[], 0.0), &p)), &[5.0]);
        let guarded =
            |guard| numbers(&evaluate::<Wide>(Op::L2Normalize, row(&v, &[], 0.0), &Params { guard, ..p }));
        close(&guarded(Guard::Max(10.0)), &[0.3, -0.4]);
        close(&guarded(Guard::Add(5.0)), &[0.3, -0.4]);
        close(&guarded(Guard::AddSquared(75.0)), &[0.3, -0.4]);
        let range = Params { lo: -1.0, hi: 3.0, ..p };
        close(&numbers(&evaluate::<Wide>(Op::ScaledSigmoid, row(&[3f64.ln()], &[], 0.0), &range)), &[2.0]);
        close(
            &numbers(&evaluate::<Wide>(Op::ScaledSigmoidInverse, row(&[2.0], &[], 0.0), &range)),
            &[3f64.ln()],
        );
        // A row whose log-probability survives only if 1 + t is never formed.
        close(
            &numbers(&evaluate::<Wide>(Op::LogSoftmax, row(&[69.1, 0.0], &[], 0.0), &p))[..1],
            &[-(-69.1f64).exp()],
        );
        // The quotient by the temperature is taken after the difference.
        let cold = Params { temperature: 0.5, ..p };
        close(
            &numbers(&evaluate::<Wide>(Op::Softmax, row(&[0.0, 3f64.ln() / 2.0], &[], 0.0), &cold)),
            &[0.25, 0.75],
        );
    }

    /// The logarithm of (x − lo)/(hi − x) near ½, where one of the three is tiny beside the others.
    #[test]
    fn the_inverse_near_the_middle_keeps_a_tiny_number() {
        fn at<R: Real>(x: f64, lo: f64, hi: f64) -> f64 {
            let range = Params { lo, hi, ..Params::default() };
            numbers(&evaluate::<R>(Op::ScaledSigmoidInverse, row(&[x], &[], 0.0), &range))[0]
        }
        for (x, lo, hi, want) in [
            (-1.0, -2.0, 1e-290, -1e-290),
            (1.0, -1e-290, 2.0, 1e-290),
            (1e-290, -1.0, 1.0, 2e-290),
            (2.0, 1.0, 3.0 + 4.0 * f64::EPSILON, -4.0 * f64::EPSILON),
        ] {
            close(&[at::<Wide>(x, lo, hi), at::<Big>(x, lo, hi)], &[want; 2]);
        }
    }

    /// Each gradient is the derivative of its forward formula, by fourth-order differences.
    #[test]
    fn gradients_are_the_derivatives_of_the_forward_formulas() {
        let mut rng = Rng::new(7);
        let n = 4;
        let h = 2f64.powi(-12);
        for op in Op::ALL.into_iter().filter(|op| op.is_gradient()) {
            for guard in [Guard::Max(1e-3), Guard::Max(50.0), Guard::Add(0.7), Guard::AddSquared(0.7)] {
                let p = Params { temperature: 1.25, guard, lo: -1.0, hi: 2.5, empty: Empty::Zeros };
                let forward = op.forward();
                let inverse = forward == Op::ScaledSigmoidInverse;
                let x: Vec<f64> =
                    (0..n).map(|_| if inverse { rng.unit() * 2.0 - 0.5 } else { rng.normal() }).collect();
                let outputs = if forward.reduces() { 1 } else { n };
                let second: Vec<f64> = (0..op.second_len(n)).map(|_| rng.normal()).collect();
                let forward_at =
                    |x: &[f64]| -> Vec<f64> { numbers(&evaluate::<Big>(forward, row(x, &[], 0.0), &p)) };
                let mut jacobian = vec![vec![0.0; n]; outputs];
                for j in 0..n {
                    let at = |k: f64| {
                        let mut moved = x.clone();
                        moved[j] += k * h;
                        forward_at(&moved)
                    };
                    let (m2, m1, p1, p2) = (at(-2.0), at(-1.0), at(1.0), at(2.0));
                    for i in 0..outputs {
                        jacobian[i][j] = (8.0 * (p1[i] - m1[i]) - (p2[i] - m2[i])) / (12.0 * h);
                    }
                }
                let expected: Vec<f64> = if op.is_vjp() {
                    (0..n).map(|j| (0..outputs).map(|i| jacobian[i][j] * second[i]).sum()).collect()
                } else {
                    (0..outputs).map(|i| (0..n).map(|j| jacobian[i][j] * second[j]).sum()).collect()
                };
                let takes_output = matches!(forward, Op::Softmax | Op::LogSoftmax);
                let first = if takes_output { forward_at(&x) } else { x.clone() };
                let norm = numbers(&evaluate::<Big>(Op::L2Norm, row(&x, &[], 0.0), &p))[0];
                let got = numbers(&evaluate::<Wide>(op, row(&first, &second, norm), &p));
                for (a, b) in got.iter().zip(&expected) {
                    assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{} {got:?} {expected:?}", op.name());
                }
            }
        }
    }

    #[test]
    fn both_tiers_agree_far_below_a_claim() {
        let mut rng = Rng::new(8);
        for op in Op::ALL {
            for scale in [1e-3, 1.0, 30.0] {
                let p = Params {
                    temperature: 0.7,
                    guard: Guard::Add(1e-3),
                    lo: -3.0,
                    hi: 4.0,
                    empty: Empty::Zeros,
                };
                let x: Vec<f64> = (0..9)
                    .map(|_| match op.forward() {
                        Op::Softmax if op.is_gradient() => rng.unit(),
                        Op::LogSoftmax if op.is_gradient() => -rng.unit() * scale,
                        Op::ScaledSigmoidInverse => rng.unit() * 7.0 - 3.0,
                        _ => rng.normal() * scale,
                    })
                    .collect();
                let second: Vec<f64> = (0..op.second_len(9)).map(|_| rng.normal()).collect();
                let r = row(&x, &second, 1.7 * scale);
                let (a, b) = (evaluate::<Wide>(op, r, &p), evaluate::<Big>(op, r, &p));
                for (a, b) in a.iter().zip(&b) {
                    let (Expect::Value(va), Expect::Value(vb)) = (&a.expect, &b.expect) else {
                        panic!("{} expects a number", op.name())
                    };
                    let scale = match &b.claim {
                        Claim::Gradient(m) => m.clone(),
                        Claim::Cancelling(s) => s.max(&vb.abs()),
                        Claim::Result => vb.abs(),
                    };
                    let (wide, exponent) = (*va, vb.floor_log2());
                    // Through three f64 words, since the tiers share no type.
                    let mut rest = vb.mul_pow2(-exponent);
                    let mut wide = wide.mul_pow2(-exponent);
                    for _ in 0..3 {
                        let word = rest.to_f64();
                        rest = rest.sub(&Big::from_f64(word));
                        wide = wide.sub(&Wide::from_f64(word));
                    }
                    let error = wide.to_f64().abs() / scale.mul_pow2(-exponent).to_f64();
                    assert!(error <= 2f64.powi(-90), "{} {error:e}", op.name());
                }
            }
        }
    }

    #[test]
    fn a_mask_leaves_the_row_of_what_is_kept() {
        let p = Params::default();
        let x = [1.0, f64::NAN, 2.0];
        let keep = [true, false, true];
        let got = numbers(&evaluate::<Wide>(Op::Softmax, Row { keep: Some(&keep), ..row(&x, &[], 0.0) }, &p));
        let cut = numbers(&evaluate::<Wide>(Op::Softmax, row(&[1.0, 2.0], &[], 0.0), &p));
        close(&got, &[cut[0], 0.0, cut[1]]);
        let none = Row { keep: Some(&[false; 3]), ..row(&x, &[], 0.0) };
        close(&numbers(&evaluate::<Wide>(Op::Softmax, none, &p)), &[0.0; 3]);
        let uniform = Params { empty: Empty::Uniform, ..p };
        close(&numbers(&evaluate::<Wide>(Op::Softmax, none, &uniform)), &[1.0 / 3.0; 3]);
        assert!(numbers(&evaluate::<Wide>(Op::LogSoftmax, none, &p)).iter().all(|v| *v == f64::NEG_INFINITY));
        for special in [f64::NAN, f64::INFINITY] {
            let x = [special, 1.0, special];
            let at = |op, keep: &[bool], second: &[f64]| {
                numbers(&evaluate::<Wide>(op, Row { keep: Some(keep), ..row(&x, second, 0.0) }, &p))
            };
            for op in [Op::Softmax, Op::LogSoftmax] {
                assert!(at(op, &[true, true, false], &[]).iter().all(|v| v.is_nan()), "{}", op.name());
                assert!(!at(op, &[false, true, false], &[]).iter().any(|v| v.is_nan()), "{}", op.name());
            }
            for op in [Op::SoftmaxVjp, Op::LogSoftmaxVjp, Op::LogsumexpVjp] {
                let second = &[1.0; 3][..op.second_len(3)];
                assert_eq!(at(op, &[true, true, false], second)[2].to_bits(), 0, "{}", op.name());
            }
        }
        // Found by fuzzing: log-probabilities of nothing but −∞ are a constant, also where one of them takes part.
        let x = [f64::NEG_INFINITY; 3];
        for op in [Op::LogSoftmaxVjp, Op::LogSoftmaxJvp] {
            for keep in [None, Some(&[false, true, false][..])] {
                let row = Row { keep, ..row(&x, &[7.0, 1.0, -3.0], 0.0) };
                close(&numbers(&evaluate::<Wide>(op, row, &p)), &[0.0; 3]);
            }
        }
        // Found by fuzzing: so is what a uniform policy gives where the one element that takes part is −∞.
        for (op, y) in [
            (Op::SoftmaxVjp, 1.0 / 3.0),
            (Op::SoftmaxJvp, 1.0 / 3.0),
            (Op::LogSoftmaxVjp, -3f64.ln()),
            (Op::LogSoftmaxJvp, -3f64.ln()),
        ] {
            let y = [y; 3];
            let row = Row { keep: Some(&[false, true, false]), ..row(&y, &[7.0, 1.0, -3.0], 0.0) };
            close(&numbers(&evaluate::<Wide>(op, row, &uniform)), &[0.0; 3]);
            assert_ne!(numbers(&evaluate::<Wide>(op, row, &p))[1], 0.0);
        }
    }
}
