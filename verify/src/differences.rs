//! The gradients against finite differences, by the library's own `gradcheck`: an oracle that knows
//! no formula. f32 is measured on the f64 form of the same operation.

use crate::connect::{self, Args};
use crate::inputs::{Level, Rng};
use crate::oracle::{Guard, Op, Params};
use crate::report::Differences;
use crate::threads::on_all;
use crate::ulp::Number;
use lossprep::gradcheck::{
    Mode, Options, Report, check_jvp, check_jvp_twin, check_second_order, check_vjp, check_vjp_twin,
};
use lossprep::{Backend, Layout};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The rows compared entry by entry, each with a guard. One element alone is a constant once normalised.
const SMALL: [(usize, Guard); 5] = [
    (1, Guard::AddSquared(0.25)),
    (3, Guard::Max(0.125)),
    (5, Guard::Max(64.0)),
    (17, Guard::Add(0.5)),
    (40, Guard::AddSquared(0.5)),
];

/// The guard of the long row, which is compared by samples.
const GUARD: Guard = Guard::Max(0.125);

/// Its length.
fn long(level: Level) -> usize {
    if level == Level::Quick { 100_000 } else { 1_000_000 }
}

/// An operation on one row, as a function of slices.
#[derive(Clone, Copy)]
struct Function {
    op: Op,
    backend: Backend,
    params: Params,
}

impl Function {
    fn call<T: Number>(&self, op: Op, x: &[T], second: &[T], norm: &[T], out: &mut [T]) {
        let Ok(layout) = Layout::rows(1, x.len()) else { return };
        let args = Args { x, second, norm, keep: None, lengths: None, layout, params: &self.params };
        let done = connect::call(op, self.backend, &args, out);
        assert!(matches!(done, Some(Ok(()))), "{} refuses a valid call: {done:?}", op.name());
    }

    fn forward<T: Number>(&self, x: &[T], out: &mut [T]) {
        self.call(self.op.forward(), x, &[], &[], out);
    }

    /// The gradient at x, with the saved output or norm made first.
    fn gradient<T: Number>(&self, x: &[T], second: &[T], out: &mut [T]) {
        let mut norm = [T::zero()];
        if self.op.takes_norm() {
            self.call(Op::L2Norm, x, &[], &[], &mut norm);
        }
        let norm = if self.op.takes_norm() { &norm[..] } else { &[] };
        if matches!(self.op.forward(), Op::Softmax | Op::LogSoftmax) {
            let mut saved = x.to_vec();
            self.forward(x, &mut saved);
            self.call(self.op, &saved, second, norm, out);
        } else {
            self.call(self.op, x, second, norm, out);
        }
    }

    /// The gradients of ⟨w, vjp(x, g)⟩ in x and in g, by formulas of their own in f64.
    fn second(&self, x: &[f64], g: &[f64], w: &[f64], ddx: &mut [f64], dg: &mut [f64]) {
        // In blocks: one running sum of a million terms is off by 1e-13, which the checker reports.
        let dot = |a: &[f64], b: &[f64]| -> f64 {
            let block = |(a, b): (&[f64], &[f64])| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            a.chunks(1024).zip(b.chunks(1024)).map(block).sum()
        };
        let t = self.params.temperature;
        let softmax = || {
            let max = x.iter().fold(f64::NEG_INFINITY, |m, &x| m.max(x));
            let mut y: Vec<f64> = x.iter().map(|x| ((x - max) / t).exp()).collect();
            let sum: f64 = y.iter().sum();
            y.iter_mut().for_each(|y| *y /= sum);
            y
        };
        match self.op.forward() {
            Op::Softmax => {
                let y = softmax();
                let (yg, yw) = (dot(&y, g), dot(&y, w));
                let through: f64 = (0..x.len()).map(|i| y[i] * (w[i] * (g[i] - yg) - yw * g[i])).sum();
                for i in 0..x.len() {
                    ddx[i] = y[i] * (w[i] * (g[i] - yg) - yw * g[i] - through) / (t * t);
                    dg[i] = y[i] * (w[i] - yw) / t;
                }
            }
            Op::LogSoftmax => {
                let y = softmax();
                let (sum, yw) = (g.iter().sum::<f64>(), dot(&y, w));
                for i in 0..x.len() {
                    ddx[i] = -sum * y[i] * (w[i] - yw) / (t * t);
                    dg[i] = (w[i] - yw) / t;
                }
            }
            Op::Logsumexp => {
                let y = softmax();
                let yw = dot(&y, w);
                (0..x.len()).for_each(|i| ddx[i] = g[0] * y[i] * (w[i] - yw) / (t * t));
                dg[0] = yw / t;
            }
            Op::L2Norm => {
                let norm = dot(x, x).sqrt();
                let uw = dot(x, w) / norm;
                (0..x.len()).for_each(|i| ddx[i] = g[0] * (w[i] - x[i] / norm * uw) / norm);
                dg[0] = uw;
            }
            Op::L2Normalize => {
                // vjp = g/d − x·⟨x, g⟩·c with c = d′/(‖x‖·d²).
                let norm = dot(x, x).sqrt();
                let (d, slope, c, c_slope) = match self.params.guard {
                    Guard::Max(eps) if norm < eps => (eps, 0.0, 0.0, 0.0),
                    Guard::Max(_) => (norm, 1.0, norm.powi(-3), -3.0 * norm.powi(-4)),
                    Guard::Add(eps) => {
                        let d = norm + eps;
                        let c = 1.0 / (norm * d * d);
                        (d, 1.0, c, -c / norm - 2.0 * c / d)
                    }
                    Guard::AddSquared(eps) => {
                        let d = (norm * norm + eps).sqrt();
                        (d, norm / d, d.powi(-3), -3.0 * norm * d.powi(-5))
                    }
                };
                let (xg, xw, wg) = (dot(x, g), dot(x, w), dot(w, g));
                for i in 0..x.len() {
                    let along = -wg * slope / (d * d) - xw * xg * c_slope;
                    ddx[i] = along * x[i] / norm - c * (w[i] * xg + g[i] * xw);
                    dg[i] = w[i] / d - x[i] * xw * c;
                }
            }
            Op::ScaledSigmoid => {
                for i in 0..x.len() {
                    let e = (-x[i].abs()).exp();
                    let bell = (self.params.hi - self.params.lo) * e / ((1.0 + e) * (1.0 + e));
                    ddx[i] = -bell * (x[i] / 2.0).tanh() * g[i] * w[i];
                    dg[i] = bell * w[i];
                }
            }
            Op::ScaledSigmoidInverse => {
                for i in 0..x.len() {
                    let (below, above) = (x[i] - self.params.lo, self.params.hi - x[i]);
                    ddx[i] = (1.0 / (above * above) - 1.0 / (below * below)) * g[i] * w[i];
                    dg[i] = (1.0 / below + 1.0 / above) * w[i];
                }
            }
            _ => unreachable!("no forward operation"),
        }
    }

    /// The backward of the backward, rounded to the type.
    fn check_second<T: Number + lossprep::gradcheck::Number>(
        &self,
        options: &Options<'_>,
        x: &[T],
        g: &[T],
    ) -> Report {
        let wide = |v: &[T]| -> Vec<f64> { v.iter().map(|v| v.widen()).collect() };
        check_second_order(
            options,
            &[x],
            g,
            |x, g, dx| self.gradient(&x[0], g, &mut dx[0]),
            |x, g, w, ddx, dg| {
                let (mut first, mut last) = (vec![0.0; x[0].len()], vec![0.0; g.len()]);
                self.second(&wide(&x[0]), &wide(g), &wide(&w[0]), &mut first, &mut last);
                let narrow = |to: &mut [T], from: &[f64]| {
                    to.iter_mut().zip(from).for_each(|(t, f)| *t = lossprep::gradcheck::Number::narrow(*f));
                };
                narrow(&mut ddx[0], &first);
                narrow(dg, &last);
            },
        )
    }
}

/// One gradient at one length: the checks in the type asked for, the second order of a vjp among them.
fn reports(op: Op, backend: Backend, seed: u64, (n, guard): (usize, Guard), single: bool) -> Vec<Report> {
    let params = Params { temperature: 1.25, guard, lo: -1.0, hi: 2.5, ..Params::default() };
    let function = Function { op, backend, params };
    let inverse = op.forward() == Op::ScaledSigmoidInverse;
    let mut rng = Rng::new(seed ^ n as u64);
    let mut row = |inverse: bool, n: usize| -> Vec<f32> {
        (0..n).map(|_| if inverse { rng.unit() * 3.0 - 0.75 } else { rng.normal() * 2.0 } as f32).collect()
    };
    let outputs = if op.forward().reduces() { 1 } else { n };
    let (x, g) = (row(inverse, n), row(false, outputs));
    // Near the ends of the range the inverse bends too sharply for differences of f32 alone to resolve its second order.
    let gentle: Vec<f32> =
        if inverse { x.iter().map(|x| 0.75 + 0.5 * (x - 0.75)).collect() } else { x.clone() };
    let widened = |v: &[f32]| -> Vec<f64> { v.iter().map(|&v| v.into()).collect() };
    // The claim of 4, and what the rounding of the saved output does to it.
    let bound = if op.forward() == Op::LogSoftmax { 20.0 } else { 8.0 };
    let options = if n >= long(Level::Quick) {
        Options { seed, bound, mode: Mode::Sampled, directions: 1, coordinates: 0, ..Options::default() }
    } else {
        Options { seed, bound, mode: Mode::Full, ..Options::default() }
    };
    match (op.is_vjp(), single) {
        (true, true) => vec![
            check_vjp_twin(
                &options,
                &[&x],
                outputs,
                |x, y| function.forward(&x[0], y),
                |x, g, dx| function.gradient(&x[0], g, &mut dx[0]),
            ),
            function.check_second(&options, &gentle, &g),
        ],
        (true, false) => vec![
            check_vjp(
                &options,
                &[&widened(&x)],
                outputs,
                |x, y| function.forward(&x[0], y),
                |x, g, dx| function.gradient(&x[0], g, &mut dx[0]),
            ),
            function.check_second(&options, &widened(&x), &widened(&g)),
        ],
        (false, true) => vec![check_jvp_twin(
            &options,
            &[&x],
            outputs,
            |x, y| function.forward(&x[0], y),
            |x, u, dy| function.gradient(&x[0], &u[0], dy),
        )],
        (false, false) => vec![check_jvp(
            &options,
            &[&widened(&x)],
            outputs,
            |x, y| function.forward(&x[0], y),
            |x, u, dy| function.gradient(&x[0], &u[0], dy),
        )],
    }
}

/// Checks every gradient of these operations, in both types: entry by entry in short rows, by samples in one of a
/// million elements, a tenth of that in a quick run; of every vjp the second order too.
pub fn check(ops: &[Op], backend: Backend, level: Level, seed: u64) -> Vec<Differences> {
    run(ops, backend, seed, &[&SMALL[..], &[(long(level), GUARD)]].concat())
}

fn run(ops: &[Op], backend: Backend, seed: u64, rows: &[(usize, Guard)]) -> Vec<Differences> {
    let mut found: Vec<Differences> = ops
        .iter()
        .filter(|op| op.is_gradient())
        .flat_map(|&op| {
            ["f32", "f64"].map(|type_name| Differences { op, type_name, checks: 0, failures: Vec::new() })
        })
        .collect();
    let jobs: Vec<(usize, usize)> =
        (0..rows.len()).rev().flat_map(|r| (0..found.len()).map(move |k| (r, k))).collect();
    let next = AtomicUsize::new(0);
    let merged = Mutex::new(&mut found);
    let work = || {
        while let Some(&(r, k)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let (op, type_name) = {
                let found = merged.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                (found[k].op, found[k].type_name)
            };
            let reports = reports(op, backend, seed, rows[r], type_name == "f32");
            let mut found = merged.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            for report in reports {
                found[k].checks += 1;
                if !report.is_right() {
                    found[k].failures.push(format!("row of {}: {report}", rows[r].0));
                }
            }
        }
    };
    on_all(work);
    found
}

#[cfg(test)]
mod tests {
    use super::{GUARD, Level, SMALL, long, run};
    use crate::oracle::{Guard, Op};
    use lossprep::Backend;

    fn holds(rows: &[(usize, Guard)]) {
        let backend = Backend::available().next().expect("the portable one at least");
        let found = run(&Op::ALL, backend, 1, rows);
        // Seven vjps and seven jvps in two types.
        assert_eq!(found.len(), 28);
        let failures: Vec<String> = found
            .iter()
            .flat_map(|d| d.failures.iter().map(move |f| format!("{} {}: {f}", d.op.name(), d.type_name)))
            .collect();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        for d in &found {
            // A vjp has its second order checked too.
            assert_eq!(d.checks, rows.len() as u64 * if d.op.is_vjp() { 2 } else { 1 });
        }
    }

    #[test]
    fn every_gradient_passes_in_short_rows() {
        holds(&SMALL);
    }

    #[test]
    fn every_gradient_passes_in_a_row_of_a_million() {
        holds(&[(long(Level::Default), GUARD)]);
    }
}
