//! The gradients of the losses against finite differences, every entry of the Jacobian: an oracle that knows no
//! formula. f32 is measured on the f64 form of the same loss.

use super::case::Case;
use super::{Loss, Rng};
use crate::ulp::Number;
use lossprep::Backend;
use lossprep::gradcheck::{Mode, Options, Report, check_vjp, check_vjp_twin};

/// How many cases of each loss.
pub const CASES: usize = 6;

/// A copy of the case with other inputs and upstream gradients.
fn moved<T: Number>(case: &Case, inputs: &[Vec<T>], upstream: Option<&[T]>) -> Case {
    let widened = |v: &[T]| v.iter().map(|v| v.exact_f64()).collect();
    let mut case = case.clone();
    case.inputs = inputs.iter().map(|x| widened(x)).collect();
    match upstream {
        Some(g) => case.upstream = widened(g),
        None => case.upstream.fill(1.0),
    }
    case
}

/// The losses of a case, and its gradients.
fn run<T: Number>(case: &Case, backend: Backend) -> (Vec<T>, Vec<Vec<T>>) {
    let Ok(kernels) = backend.try_get() else { return Default::default() };
    let all = case.run::<T>(kernels, false);
    let (losses, grads) = all.split_at(case.upstream.len());
    let size = case.rows * case.len;
    (losses.to_vec(), grads.chunks(size).map(<[T]>::to_vec).collect())
}

/// A case away from kinks and infinities, small enough for every entry.
fn gentle<T: Number>(loss: Loss, rng: &mut Rng) -> Case {
    loop {
        let mut case = Case::random::<T>(loss, rng);
        if case.rows * case.len > 60 {
            continue;
        }
        // f64's differences are taken in units of the inputs: sizes near 1 resolve them.
        for x in case.inputs.iter_mut().flatten() {
            *x = T::round_from(rng.normal() * 1.5).exact_f64();
        }
        if loss == Loss::Nll {
            case.inputs[0].iter_mut().for_each(|x| *x = -x.abs());
        }
        return case;
    }
}

/// Checks the gradients of one case, entry by entry.
pub fn check<T: Number>(loss: Loss, backend: Backend, seed: u64, rng: &mut Rng) -> (String, Report) {
    let options = Options { seed, bound: 8.0, mode: Mode::Full, ..Options::default() };
    let case = gentle::<T>(loss, rng);
    let outputs = case.upstream.len();
    let forward = |x: &mut [Vec<f64>], y: &mut [f64]| {
        y.copy_from_slice(&run::<f64>(&moved(&case, x, None), backend).0);
    };
    let report = if T::NAME == "f32" {
        let inputs: Vec<Vec<f32>> =
            case.inputs.iter().map(|x| x.iter().map(|&v| v as f32).collect()).collect();
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        check_vjp_twin(&options, &inputs, outputs, forward, |x, g, dx| {
            let (_, grads) = run::<f32>(&moved(&case, x, Some(g)), backend);
            dx.iter_mut().zip(&grads).for_each(|(d, g)| d.copy_from_slice(g));
        })
    } else {
        let inputs: Vec<&[f64]> = case.inputs.iter().map(Vec::as_slice).collect();
        check_vjp(&options, &inputs, outputs, forward, |x, g, dx| {
            let (_, grads) = run::<f64>(&moved(&case, x, Some(g)), backend);
            dx.iter_mut().zip(&grads).for_each(|(d, g)| d.copy_from_slice(g));
        })
    };
    (format!("gradient of {case:?}"), report)
}
