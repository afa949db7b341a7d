//! The gradients against finite differences, by the library's own `gradcheck`: an oracle that knows
//! no formula. f32 is measured on the f64 form of the same operation.

use crate::connect::{self, Args};
use crate::inputs::Rng;
use crate::oracle::{Guard, Op, Params};
use crate::report::Differences;
use crate::ulp::Number;
use lossprep::gradcheck::{Options, Report, check_jvp, check_jvp_twin, check_vjp, check_vjp_twin};
use lossprep::{Backend, Layout};

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
        let mut saved = x.to_vec();
        if self.op.takes_norm() {
            self.call(Op::L2Norm, x, &[], &[], &mut norm);
        }
        if matches!(self.op.forward(), Op::Softmax | Op::LogSoftmax) {
            self.forward(x, &mut saved);
        }
        let norm = if self.op.takes_norm() { &norm[..] } else { &[] };
        self.call(self.op, &saved, second, norm, out);
    }
}

/// Checks every gradient of these operations, in both types.
pub fn check(ops: &[Op], backend: Backend, seed: u64) -> Vec<Differences> {
    let mut out = Vec::new();
    for &op in ops.iter().filter(|op| op.is_gradient()) {
        let mut found = [("f32", Vec::new(), 0), ("f64", Vec::new(), 0)];
        let mut rng = Rng::new(seed);
        // No row of one: its normalisation is constant, and differences cannot resolve a zero.
        for (n, guard) in [
            (3, Guard::Max(0.125)),
            (5, Guard::Max(64.0)),
            (17, Guard::Add(0.5)),
            (40, Guard::AddSquared(0.5)),
        ] {
            let params = Params { temperature: 1.25, guard, lo: -1.0, hi: 2.5, ..Params::default() };
            let function = Function { op, backend, params };
            let inverse = op.forward() == Op::ScaledSigmoidInverse;
            let x: Vec<f32> = (0..n)
                .map(|_| if inverse { rng.unit() * 3.0 - 0.75 } else { rng.normal() * 2.0 } as f32)
                .collect();
            let wide: Vec<f64> = x.iter().map(|&v| v.into()).collect();
            let outputs = if op.forward().reduces() { 1 } else { n };
            // The claim of 4, and what the rounding of the saved output does to it.
            let bound = if op.forward() == Op::LogSoftmax { 20.0 } else { 8.0 };
            let options = Options { seed, bound, ..Options::default() };
            let reports: [Report; 2] = if op.is_vjp() {
                [
                    check_vjp_twin(
                        &options,
                        &[&x],
                        outputs,
                        |x, y| function.forward(&x[0], y),
                        |x, g, dx| function.gradient(&x[0], g, &mut dx[0]),
                    ),
                    check_vjp(
                        &options,
                        &[&wide],
                        outputs,
                        |x, y| function.forward(&x[0], y),
                        |x, g, dx| function.gradient(&x[0], g, &mut dx[0]),
                    ),
                ]
            } else {
                [
                    check_jvp_twin(
                        &options,
                        &[&x],
                        outputs,
                        |x, y| function.forward(&x[0], y),
                        |x, u, dy| function.gradient(&x[0], &u[0], dy),
                    ),
                    check_jvp(
                        &options,
                        &[&wide],
                        outputs,
                        |x, y| function.forward(&x[0], y),
                        |x, u, dy| function.gradient(&x[0], &u[0], dy),
                    ),
                ]
            };
            for ((_, failures, checks), report) in found.iter_mut().zip(reports) {
                *checks += 1;
                if !report.is_right() {
                    failures.push(format!("row of {n}: {report}"));
                }
            }
        }
        if matches!(op, Op::SoftmaxJvp | Op::LogSoftmaxJvp) {
            // A constant tangent has the derivative 0. What f32 gives there is the rounding of the saved
            // output, which differences cannot tell from an error; the oracle judges those in f32.
            found[0].1.clear();
            found[0].2 = 0;
        }
        let entry = |(type_name, failures, checks)| Differences { op, type_name, checks, failures };
        out.extend(found.into_iter().filter(|(_, _, checks)| *checks > 0).map(entry));
    }
    out
}
