//! The derivative from many large steps at once, for functions whose rounding leaves the ladder too few.
//!
//! (φ(h) − φ(−h))/2 = φ′(0)·h + a₃h³ + a₅h⁵ + … is fitted by least squares over steps spread evenly up to some H. With
//! odd polynomials qₖ orthonormal on the steps and cₖ the slope of qₖ at 0, the slope of the fit of p terms is
//! Σ ⟨qₖ, φ⟩·cₖ and its variance σ² Σ cₖ², where σ is the scatter about the fit: rounding errors at different steps are
//! all but independent, so that many of them average out, and large steps divide them by much. What
//! the fit leaves out is judged by what its last terms still changed.

use alloc::vec::Vec;
use num_traits::Float;

use super::ladder::{Estimate, Step};

/// How many steps, for small functions and for large ones.
pub(super) const STEPS: [usize; 2] = [48, 24];

/// The most terms: h to h¹³.
const TERMS: usize = 7;

/// The fewest steps a fit is made of, so that its scatter is known to an eighth or so.
const FEWEST: usize = 24;

/// The largest correlation of neighbouring errors that is still rounding: 0 but for ± 0.2.
const TOGETHER: f64 = 0.4;

/// The multiple of the standard deviation that counts as an error bar.
const DEVIATIONS: f64 = 6.0;

/// The narrowest estimate over fits of different order and reach.
///
/// None where the scatter is more than the `noise` of rounding explains: then it has a derivative of its own.
pub(super) fn fit(steps: &[Step]) -> Option<Estimate> {
    let reach = steps.iter().map(|step| step.h).fold(0.0, f64::max);
    let mut best: Option<Estimate> = None;
    for part in [1.0, 0.5] {
        let near: Vec<&Step> = steps.iter().filter(|step| step.h <= part * reach).collect();
        if near.len() >= FEWEST
            && let Some(estimate) = orders(&near, part * reach)
            && best.is_none_or(|b| estimate.error < b.error)
        {
            best = Some(estimate);
        }
    }
    best
}

fn orders(steps: &[&Step], reach: f64) -> Option<Estimate> {
    let count = steps.len() as f64;
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let t: Vec<f64> = steps.iter().map(|step| step.h / reach).collect();
    // Half the difference of both sides, whose rounding error does not depend on the step.
    let mut rest: Vec<f64> = steps.iter().map(|step| step.d * step.h).collect();
    let noise =
        Float::sqrt(steps.iter().map(|step| step.noise * step.h * step.noise * step.h).sum::<f64>() / count);
    let mut basis: Vec<(Vec<f64>, f64)> = Vec::new();
    let (mut slopes, mut variance): (Vec<f64>, f64) = (Vec::new(), 0.0);
    let mut best: Option<Estimate> = None;
    for k in 0..TERMS {
        let (mut q, mut c) = match basis.last() {
            None => (t.clone(), 1.0),
            Some((q, _)) => (q.iter().zip(&t).map(|(q, t)| q * t * t).collect(), 0.0),
        };
        // Twice, since once leaves what rounding loses.
        for _ in 0..2 {
            for (p, slope) in &basis {
                let along = dot(&q, p);
                q.iter_mut().zip(p).for_each(|(q, p)| *q -= along * p);
                c -= along * slope;
            }
        }
        let norm = Float::sqrt(dot(&q, &q));
        q.iter_mut().for_each(|q| *q /= norm);
        c /= norm;
        let along = dot(&q, &rest);
        rest.iter_mut().zip(&q).for_each(|(r, q)| *r -= along * q);
        slopes.push(slopes.last().unwrap_or(&0.0) + along * c);
        variance += c * c;
        basis.push((q, c));
        let scatter = Float::sqrt(dot(&rest, &rest) / (count - k as f64 - 1.0));
        // Neighbours that are off together are off by something smooth that the terms do not reach, or by a kink.
        let together = rest.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / dot(&rest, &rest);
        if k < 2 || scatter > noise || together > TOGETHER {
            continue;
        }
        // Where the values hardly scatter rounding may be the same at all steps.
        let sigma = scatter.max(noise / 4.0);
        let change = (slopes[k] - slopes[k - 1]).abs().max((slopes[k] - slopes[k - 2]).abs());
        // Some of it does not average out but goes along with the step, as what a long sum loses: by Bernstein's
        // inequality a polynomial that stays within the noise has a slope of at most its degree times that.
        let along = (2 * k + 1) as f64 * noise;
        let error = (DEVIATIONS * sigma * Float::sqrt(variance) + along + 2.0 * change) / reach;
        if error.is_finite() && best.is_none_or(|b| error < b.error) {
            best = Some(Estimate { value: slopes[k] / reach, error });
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::super::ladder::Ladder;
    use super::{Estimate, STEPS, fit};

    type Function = fn(f32) -> f32;

    /// The steps of an f32 function, with one unit in the last place of rounding error.
    fn sample(f: impl Fn(f32) -> f32, x: f32) -> Ladder {
        let mut ladder = Ladder::default();
        for m in (1..=STEPS[0]).rev() {
            let h = 0.5 * m as f32 / STEPS[0] as f32;
            // The points reached, and the values there.
            let (right, left) = (x + h, x - h);
            let (above, below) = (f64::from(f(right)), f64::from(f(left)));
            let width = f64::from(right) - f64::from(left);
            let noise = f64::from(f32::EPSILON) * above.abs().max(below.abs());
            let h = width / 2.0;
            ladder.push(h, (above - below) / width, 0.0, noise / h);
        }
        ladder
    }

    #[test]
    fn the_error_bar_holds_the_error_and_is_narrow() {
        for i in 0..400 {
            let x = 0.7 + i as f32 * 0.0171;
            let wide = f64::from(x);
            let cases: [(Function, f64); 4] = [
                (f32::exp, wide.exp()),
                (f32::sin, wide.cos()),
                (f32::ln, 1.0 / wide),
                (|x| 1.0 / (1.0 + (-x).exp()), (-wide).exp() / (1.0 + (-wide).exp()).powi(2)),
            ];
            for (f, slope) in cases {
                let Some(Estimate { value, error }) = fit(sample(f, x).steps()) else {
                    // Too steep for so few terms.
                    assert!(x < 1.0, "{x}: no fit");
                    continue;
                };
                assert!((value - slope).abs() <= error, "{x}: {value} ± {error}, exactly {slope}");
                assert!(x < 1.0 || error <= 3e-5 * f64::from(f(x)).abs().max(1.0), "{x}: ± {error}");
            }
        }
    }

    #[test]
    fn a_kink_is_not_fitted() {
        assert_eq!(fit(sample(|x| (x - 1.1).abs(), 1.0).steps()), None);
    }
}
