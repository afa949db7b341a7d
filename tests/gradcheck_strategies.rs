//! The strategies yield what they promise, and the macros find planted errors.
#![cfg(feature = "proptest")]

use lossprep::gradcheck::{Options, Verdict, check_vjp};
use lossprep::strategies;
use lossprep::{Layout, NormGuard, check_against_reference, check_gradient_of, reference};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

/// What a strategy yields in 400 draws, always the same ones.
fn draws<S: Strategy>(strategy: S) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..400).map(|_| strategy.new_tree(&mut runner).expect("a value").current()).collect()
}

fn all<S: Strategy<Value = Vec<f32>>>(strategy: S) -> Vec<f32> {
    draws(strategy).concat()
}

#[test]
fn every_special_value_occurs() {
    let special = |all: &[f32], finite_only: bool| {
        let has = |f: fn(&f32) -> bool| all.iter().any(f);
        assert!(has(|x| *x == 0.0 && x.is_sign_positive()) && has(|x| *x == 0.0 && x.is_sign_negative()));
        assert!(has(|x| x.is_subnormal()) && has(|x| x.is_normal()));
        assert_eq!(has(|x| !x.is_finite()), !finite_only);
    };
    let logits = all(strategies::logits(1..20));
    special(&logits, false);
    for x in [f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(logits.contains(&x), "{x} does not occur");
    }
    assert!(logits.iter().any(|x| x.is_nan()));
    let features = all(strategies::features(1..20));
    special(&features, false);
    assert!(features.iter().any(|x| x.is_finite() && (x * x).is_infinite()));
    let upstream = draws(strategies::upstream::<f32>(7));
    assert!(upstream.iter().all(|g| g.len() == 7));
    assert!(
        upstream.iter().any(|g| g.iter().sum::<f32>() == 1.0 && g.iter().filter(|x| **x == 0.0).count() == 6)
    );
    let upstream = upstream.concat();
    assert!(upstream.iter().any(|x| x.is_nan()) && upstream.iter().any(|x| x.is_infinite()));
    assert!(all(strategies::finite_logits(1..20)).iter().all(|x| x.is_finite()));
}

#[test]
fn ranges_and_layouts_cover_their_edges() {
    let ranges = draws(strategies::ranges::<f32>());
    assert!(ranges.iter().all(|(lo, hi)| lo <= hi && lo.is_finite() && hi.is_finite()));
    assert!(ranges.iter().any(|(lo, hi)| lo == hi));
    assert!(ranges.iter().any(|(lo, hi)| *lo == -*hi && *hi > 0.0));
    assert!(ranges.iter().any(|(lo, hi)| (hi - lo).is_infinite()));
    let layouts: Vec<Layout> = draws(strategies::layouts(3));
    assert!(layouts.iter().any(|l| l.elements() == 0) && layouts.iter().any(|l| l.elements() == 27));
}

/// Not the textbook's exp(x − L): in saturated rows that is off by |L| units in the last place, and the checker says so.
fn softmax<T: num_traits::Float>(x: &[T], y: &mut [T]) {
    let max = x.iter().copied().fold(T::neg_infinity(), T::max);
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = (x - max).exp());
    let sum = y.iter().fold(T::zero(), |s, &y| s + y);
    y.iter_mut().for_each(|y| *y = *y / sum);
}

/// Not the textbook's y·(g − Σ y·g), which cancels in saturated rows.
fn softmax_vjp<T: num_traits::Float>(x: &[T], g: &[T], dx: &mut [T]) {
    let mut y = x.to_vec();
    softmax(x, &mut y);
    for (i, d) in dx.iter_mut().enumerate() {
        *d = y[i] * y.iter().zip(g).fold(T::zero(), |sum, (&y, &other)| sum + y * (g[i] - other));
    }
}

#[test]
fn the_textbook_gradient_of_a_saturated_row_is_found() {
    // The sum that the textbook subtracts is rounded, and so all of the gradient is lost: found by a macro.
    let x = [20.0_f32, 3.3126912];
    let check = |vjp: fn(&[f32], &[f32], &mut [f32])| {
        check_vjp(
            &Options::default(),
            &[&x],
            2,
            |x, y| softmax(&x[0], y),
            |x, g, dx| vjp(&x[0], g, &mut dx[0]),
        )
    };
    let textbook = |x: &[f32], g: &[f32], dx: &mut [f32]| {
        let mut y = x.to_vec();
        softmax(x, &mut y);
        reference::softmax_vjp(&y, g, dx);
    };
    assert_eq!(check(textbook).verdict, Verdict::Fail);
    // Differences in f32 do not confirm it either.
    assert_eq!(check(softmax_vjp).verdict, Verdict::Inconclusive);
}

#[test]
fn right_operations_pass_the_macros() {
    check_against_reference!(softmax, reference::softmax, strategies::finite_logits::<f64>(0..20), 128.0);
    check_gradient_of!(softmax, softmax_vjp, strategies::finite_logits::<f64>(1..12));
    check_gradient_of!(softmax, softmax_vjp, strategies::finite_logits::<f32>(1..12));
    let guard = NormGuard::Max(1e-3);
    check_gradient_of!(
        |x: &[f64], y: &mut [f64]| reference::l2_normalize(x, guard, y),
        |x: &[f64], g: &[f64], dx: &mut [f64]| reference::l2_normalize_vjp(x, g, guard, dx),
        strategies::finite_logits::<f64>(1..12)
    );
}

#[test]
#[should_panic(expected = "but the reference gives")]
fn an_operation_off_by_a_little_is_found() {
    let off = |x: &[f64], y: &mut [f64]| {
        reference::softmax(x, y);
        y.iter_mut().for_each(|y| *y *= 1.0 + 1e-13);
    };
    check_against_reference!(off, reference::softmax, strategies::logits::<f64>(1..20), 4.0);
}

#[test]
#[should_panic(expected = "but the reference gives")]
fn an_operation_wrong_for_nan_only_is_found() {
    let blind = |x: &[f64], y: &mut [f64]| {
        let clean: Vec<f64> = x.iter().map(|x| if x.is_nan() { 0.0 } else { *x }).collect();
        reference::softmax(&clean, y);
    };
    check_against_reference!(blind, reference::softmax, strategies::logits::<f64>(1..20), 4.0);
}

#[test]
#[should_panic(expected = "Too many global rejects")]
fn a_macro_that_can_decide_nothing_does_not_pass() {
    // 1e17 + x moves in steps of 16: no row tells the gradient.
    check_gradient_of!(
        |x: &[f64], y: &mut [f64]| y.iter_mut().zip(x).for_each(|(y, x)| *y = (1e17 + x) * 1e-17),
        |_: &[f64], g: &[f64], dx: &mut [f64]| dx.iter_mut().zip(g).for_each(|(d, g)| *d = 1e-17 * g),
        strategies::finite_logits::<f64>(1..4)
    );
}

#[test]
#[should_panic(expected = "Fail: vjp check in f64")]
fn a_gradient_wrong_for_large_logits_only_is_found() {
    let wrong = |x: &[f64], g: &[f64], dx: &mut [f64]| {
        softmax_vjp(x, g, dx);
        x.iter().zip(dx).filter(|(x, _)| **x == 20.0).for_each(|(_, d)| *d *= 1.01);
    };
    check_gradient_of!(softmax, wrong, strategies::finite_logits::<f64>(2..12));
}
