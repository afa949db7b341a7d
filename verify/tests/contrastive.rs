//! Gradients of InfoNCE where similarities are huge and differ by about 1: found beyond 4 ULP of M, which the claim and
//! the oracle now allow for (1 + 2^−28·S, f64 2^−50·S).

use lossprep::Backend;
use lossprep_verify::inputs::Rng;
use lossprep_verify::losses::{Case, Goal, Loss, Truth};
use lossprep_verify::ulp::{Number, error_in_ulps};
use lossprep_verify::wide::Wide;

/// The largest error of losses and gradients, as a share of the claim.
fn share<T: Number>(queries: &[f64], keys: &[f64]) -> f64 {
    let mut case = Case::random::<T>(Loss::InfoNce, &mut Rng::new(1));
    (case.rows, case.len) = (2, 2);
    let round = |v: &[f64]| v.iter().map(|&x| T::round_from(x).exact_f64()).collect::<Vec<_>>();
    case.inputs = vec![round(queries), round(keys)];
    case.goal = Goal::Classes(vec![0; 2]);
    case.similar = vec![true; 2];
    case.upstream = vec![1.0; 2];
    case.setting.guard = None;
    case.setting.temperature = T::round_from(1.7).exact_f64();
    let truths = case.truths::<Wide>();
    Backend::available()
        .flat_map(|backend| {
            let got: Vec<T> = case.run(backend.try_get().unwrap(), false);
            assert_eq!(got.len(), truths.len());
            let error = |(v, t): (&T, &Truth<Wide>)| {
                error_in_ulps(T::FORMAT, v.exact_f64(), &t.value, &t.measure) / t.limit
            };
            got.iter().zip(&truths).map(error).collect::<Vec<_>>()
        })
        .fold(0.0, f64::max)
}

#[test]
fn huge_similarities_hold_the_claim() {
    let b = 1.37 * 18.0_f64.exp2();
    let f32 = share::<f32>(&[b, 1.1, b, 0.7], &[b, 0.3, b, 0.9]);
    let b = 1.37 * 30.0_f64.exp2();
    let f64 = share::<f64>(&[b, 1.1, b, 0.7], &[b, 0.3, b, 0.9]);
    assert!(f32 <= 1.0 && f64 <= 1.0, "{f32}, {f64}");
}
