//! The losses against the oracle: values, gradients, same bits, and finite differences in full mode.
//!
//! A case is one call on one or a few rows, with random options. Its formulas ([`Case::truths`], in `losses/truth.rs`)
//! are written for both tiers of the oracle; the second judges a share of the cases and whatever the first finds
//! beyond half of its claim. Values are claimed to 2 ULP and gradients to 4, each of the magnitude of its terms.

mod case;
mod gradients;
mod truth;

use crate::exact::Big;
use crate::inputs::{Level, Rng};
use crate::real::Real;
use crate::report::{list, quote};
use crate::threads::on_all;
use crate::ulp::{Expect, Number, error_in_ulps};
use crate::wide::Wide;
pub use case::{Case, Goal};
use lossprep::Backend;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Every loss of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Loss {
    CrossEntropy,
    Focal,
    KlDiv,
    Nll,
    Binary,
    Mse,
    Huber,
    L1,
    Triplet,
    Cosine,
    InfoNce,
    NtXent,
}

impl Loss {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::CrossEntropy,
        Self::Focal,
        Self::KlDiv,
        Self::Nll,
        Self::Binary,
        Self::Mse,
        Self::Huber,
        Self::L1,
        Self::Triplet,
        Self::Cosine,
        Self::InfoNce,
        Self::NtXent,
    ];

    /// The function's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross_entropy",
            Self::Focal => "focal_loss",
            Self::KlDiv => "kl_div",
            Self::Nll => "nll",
            Self::Binary => "binary_cross_entropy_with_logits",
            Self::Mse => "scaled_sigmoid_mse",
            Self::Huber => "scaled_sigmoid_huber",
            Self::L1 => "scaled_sigmoid_l1",
            Self::Triplet => "triplet_margin",
            Self::Cosine => "cosine_embedding",
            Self::InfoNce => "info_nce",
            Self::NtXent => "nt_xent",
        }
    }
}

/// A number that a loss should give, and what its error is measured in.
pub struct Truth<R> {
    /// The exact result.
    pub value: R,
    /// The sum of the magnitudes of its terms.
    pub measure: R,
    /// The claim, in ULP of the measure.
    pub limit: f64,
}

/// What was found of one loss and type.
#[derive(Clone, Debug)]
pub struct Line {
    /// Which.
    pub loss: Loss,
    /// The element type's name.
    pub type_name: &'static str,
    /// Numbers judged.
    pub outputs: u64,
    /// Those judged by the second tier too.
    pub second_tier: u64,
    /// The largest errors of values and of gradients, in ULP of their measures.
    pub max_ulps: [f64; 2],
    /// Forms compared by bits: backends, strided rows, in place.
    pub compared: u64,
    /// Gradients compared with finite differences.
    pub checks: u64,
    /// What was wrong.
    pub failures: Vec<String>,
}

/// How many failures are kept.
const KEPT: usize = 8;

impl Line {
    fn new<T: Number>(loss: Loss) -> Self {
        Self {
            loss,
            type_name: T::NAME,
            outputs: 0,
            second_tier: 0,
            max_ulps: [0.0; 2],
            compared: 0,
            checks: 0,
            failures: Vec::new(),
        }
    }

    fn merge(&mut self, other: Self) {
        self.outputs += other.outputs;
        self.second_tier += other.second_tier;
        for (most, ulps) in self.max_ulps.iter_mut().zip(other.max_ulps) {
            *most = most.max(ulps);
        }
        self.compared += other.compared;
        self.checks += other.checks;
        other.failures.into_iter().for_each(|failure| self.fail(failure));
    }

    fn fail(&mut self, what: String) {
        if self.failures.len() < KEPT {
            self.failures.push(what);
        }
    }

    /// The line as JSON.
    pub fn json(&self) -> String {
        format!(
            "{{\"loss\": {}, \"type\": {}, \"outputs\": {}, \"second_tier\": {}, \"max_value_ulp\": {:?}, \
             \"max_gradient_ulp\": {:?}, \"compared\": {}, \"checks\": {}, \"failures\": {}}}",
            quote(self.loss.name()),
            quote(self.type_name),
            self.outputs,
            self.second_tier,
            self.max_ulps[0].min(f64::MAX),
            self.max_ulps[1].min(f64::MAX),
            self.compared,
            self.checks,
            list(self.failures.iter().map(|f| quote(f)))
        )
    }

    /// One case: the first backend judged, all compared.
    fn case<T: Number>(&mut self, case: &Case, backends: &[Backend], second: bool) {
        let mut results = backends.iter().filter_map(|b| Some((b, case.run::<T>(b.try_get().ok()?, false))));
        let Some((_, outputs)) = results.next() else { return };
        let bits: Vec<u64> = outputs.iter().map(|v| v.bits()).collect();
        let strided = backends.first().and_then(|b| Some(case.run::<T>(b.try_get().ok()?, true)));
        let others = results.map(|(b, outputs)| (b.name(), outputs));
        for (name, other) in others.chain(strided.map(|outputs| ("strided rows", outputs))) {
            self.compared += 1;
            if other.iter().map(|v| v.bits()).ne(bits.iter().copied()) {
                self.fail(format!("other bits from {name}: {case:?}"));
            }
        }
        let errors = judge(&outputs, &case.truths::<Wide>());
        self.outputs += outputs.len() as u64;
        let doubtful = errors.iter().any(|(error, limit)| *error > limit / 2.0);
        let errors = if second || doubtful {
            self.second_tier += outputs.len() as u64;
            judge(&outputs, &case.truths::<Big>())
        } else {
            errors
        };
        if errors.len() != outputs.len() {
            self.fail(format!("{} numbers where {} are due: {case:?}", outputs.len(), errors.len()));
        }
        let mut worst: Option<(usize, f64)> = None;
        for (index, &(error, limit)) in errors.iter().enumerate() {
            let gradient = usize::from(limit > 2.0);
            if limit.is_finite() {
                self.max_ulps[gradient] = self.max_ulps[gradient].max(error);
            }
            if error > limit && worst.is_none_or(|(_, most)| error > most) {
                worst = Some((index, error));
            }
        }
        if let Some((index, error)) = worst {
            let truth = &case.truths::<Big>()[index];
            let (got, bits, measure) = (outputs[index], outputs[index].bits(), truth.measure.to_f64());
            let due = Expect::Value(truth.value.clone()).about();
            self.fail(format!(
                "{error:.4e} ULP of {measure:e} at number {index}, {got:e} ({bits:#x}) for {due}: {case:?}"
            ));
        }
    }
}

/// The error of each number and its claim; a NaN is infinitely far.
fn judge<T: Number, R: Real>(outputs: &[T], truths: &[Truth<R>]) -> Vec<(f64, f64)> {
    // Beyond the type's range its ULP measures nothing.
    let beyond = R::one().mul_pow2(T::FORMAT.max_exponent + 1);
    let error = |(computed, truth): (&T, &Truth<R>)| {
        if truth.measure.sub(&beyond).signum() >= 0 {
            return (0.0, f64::INFINITY);
        }
        let error = if computed.is_nan() {
            f64::INFINITY
        } else {
            error_in_ulps(T::FORMAT, computed.exact_f64(), &truth.value, &truth.measure)
        };
        (error, truth.limit)
    };
    outputs.iter().zip(truths).map(error).collect()
}

/// How many cases of each loss and type.
fn cases(level: Level) -> usize {
    match level {
        Level::Quick => 300,
        Level::Default => 3_000,
        Level::Full => 60_000,
    }
}

/// Judges one loss in one type.
pub fn check<T: Number>(loss: Loss, backends: &[Backend], level: Level, seed: u64) -> Line {
    let (cases, next) = (cases(level), AtomicUsize::new(0));
    let differences = if backends.is_empty() { 0 } else { gradients::CASES };
    let worker = || {
        let mut line = Line::new::<T>(loss);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= cases + differences {
                return line;
            }
            let mut rng =
                Rng::new(seed ^ (loss as u64) << 56 ^ T::FORMAT.precision as u64 ^ (index as u64) << 8);
            if index < cases {
                // Every third is at the ends of the range.
                let make = if index % 3 == 0 { Case::extreme::<T> } else { Case::random::<T> };
                line.case::<T>(&make(loss, &mut rng), backends, index % 97 == 0);
            } else {
                let (what, report) = gradients::check::<T>(loss, backends[0], seed, &mut rng);
                line.checks += 1;
                if !report.is_right() {
                    line.fail(format!("{what}: {report}"));
                }
            }
        }
    };
    let mut line = Line::new::<T>(loss);
    on_all(worker).into_iter().for_each(|part| line.merge(part));
    line
}

/// The section of the report.
pub fn table(lines: &[Line]) -> String {
    let mut out = format!(
        "\n{:<34} {:<4} {:>11} {:>8} {:>9} {:>8} {:>10} {:>12}  verdict\n",
        "losses", "type", "outputs", "2nd tier", "value ULP", "grad ULP", "same bits", "differences"
    );
    for line in lines {
        let verdict = if line.failures.is_empty() { "holds" } else { "BROKEN" };
        out += &format!(
            "{:<34} {:<4} {:>11} {:>8} {:>9.4} {:>8.4} {:>10} {:>12}  {verdict}\n",
            line.loss.name(),
            line.type_name,
            line.outputs,
            line.second_tier,
            line.max_ulps[0],
            line.max_ulps[1],
            line.compared,
            line.checks,
        );
        line.failures.iter().for_each(|f| out += &format!("      {f}\n"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_gives_as_many_numbers_as_the_oracle_and_a_wrong_one_is_found() {
        let kernels = Backend::Portable.try_get().expect("it runs everywhere");
        let mut rng = Rng::new(7);
        for loss in Loss::ALL {
            for _ in 0..20 {
                let case = Case::random::<f32>(loss, &mut rng);
                let mut outputs = case.run::<f32>(kernels, false);
                let truths = case.truths::<Wide>();
                assert_eq!(outputs.len(), truths.len(), "{case:?}");
                let holds =
                    |outputs: &[f32]| judge(outputs, &truths).iter().all(|(error, limit)| error <= limit);
                assert!(holds(&outputs), "{case:?}");
                let Some(largest) = (0..outputs.len()).find(|&i| {
                    truths[i].limit.is_finite()
                        && outputs[i].is_finite()
                        && outputs[i].abs() > 1e-20
                        && truths[i].measure.to_f64() < 1.5 * f64::from(outputs[i].abs())
                }) else {
                    continue;
                };
                outputs[largest] *= 1.0 + 1e-5;
                assert!(!holds(&outputs), "{case:?}");
                outputs[largest] = f32::NAN;
                assert!(!holds(&outputs), "{case:?}");
            }
        }
    }

    #[test]
    fn both_tiers_agree() {
        let mut rng = Rng::new(8);
        for loss in Loss::ALL {
            for _ in 0..3 {
                tiers_agree(&Case::random::<f64>(loss, &mut rng));
            }
        }
        // Rows that no guard bounds: e to a row's similarity with itself is in no range.
        let mut case = Case::random::<f64>(Loss::NtXent, &mut rng);
        case.setting.guard = None;
        case.setting.temperature = 1e-3;
        case.inputs[0].iter_mut().for_each(|x| *x = (rng.normal() * 1e4).round());
        tiers_agree(&case);
    }

    fn tiers_agree(case: &Case) {
        let (first, second) = (case.truths::<Wide>(), case.truths::<Big>());
        for (a, b) in first.iter().zip(&second) {
            let (a, b) = (a.value.to_f64(), b.value.to_f64());
            assert!(a == b || (a - b).abs() <= 1e-15 * a.abs().max(b.abs()), "{a:e} {b:e}: {case:?}");
        }
    }

    #[test]
    fn parallel_rows_are_at_no_distance_in_either_tier() {
        let mut rng = Rng::new(9);
        for loss in [Loss::Cosine, Loss::Triplet] {
            let mut case = Case::random::<f64>(loss, &mut rng);
            (case.setting.guard, case.setting.margin) = (Some(crate::oracle::Guard::Max(1e-12)), 3.0);
            case.similar.fill(true);
            case.inputs[0].iter_mut().for_each(|x| *x = (rng.normal() * 1e4).round());
            let x = case.inputs[0].clone();
            case.inputs[1..].iter_mut().for_each(|y| *y = x.iter().map(|x| x * 3.0).collect());
            let loss = if loss == Loss::Cosine { 0.0 } else { 3.0 };
            let due = |i: usize| if i < case.rows { loss } else { 0.0 };
            assert!(case.truths::<Wide>().iter().enumerate().all(|(i, t)| t.value.to_f64() == due(i)));
            assert!(case.truths::<Big>().iter().enumerate().all(|(i, t)| t.value.to_f64() == due(i)));
        }
    }

    #[test]
    fn a_failure_breaks_the_line() {
        let mut line = check::<f32>(Loss::Nll, &[], Level::Quick, 1);
        assert!(table(&[line.clone()]).contains("holds"));
        line.fail("off".into());
        let report = table(&[line.clone()]);
        assert!(
            report.contains("BROKEN")
                && report.contains("off")
                && line.json().contains("\"failures\": [\"off\"]")
        );
    }
}
