//! The reference against the operations, which other tests hold to an oracle: at most 1 ULP off, gradients 4. So at most
//! 5 and 12 between them is at most 6 and 16 for the reference, as its documentation says; special values are the same.
#![cfg(feature = "proptest")]

use lossprep::gradcheck::Number;
use lossprep::{Element, Layout, NormGuard, Range, check_against_reference, reference, strategies};
use proptest::prelude::*;

const ULPS: f64 = 5.0;
const GRADIENT_ULPS: f64 = 12.0;

/// Without a failure file.
fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..Default::default() }
}

fn row<T>(x: &[T]) -> Layout {
    Layout::rows(1, x.len()).unwrap()
}

fn guards<T: Element>(eps: f64) -> [NormGuard<T>; 3] {
    [NormGuard::Max, NormGuard::Add, NormGuard::AddSquared].map(|guard| guard(T::from(eps).unwrap()))
}

fn forward<T: Element + Number>() {
    check_against_reference!(
        |x: &[T], y: &mut [T]| lossprep::softmax(x, row(x), y).unwrap(),
        reference::softmax,
        strategies::logits::<T>(0..40),
        ULPS
    );
    check_against_reference!(
        |x: &[T], y: &mut [T]| lossprep::softmax(x, row(x), y).unwrap(),
        reference::softmax,
        strategies::finite_logits::<T>(0..40),
        ULPS
    );
    for rows in [strategies::logits::<T>(0..40), strategies::finite_logits::<T>(0..40)] {
        check_against_reference!(
            |x: &[T], y: &mut [T]| lossprep::log_softmax(x, row(x), y).unwrap(),
            reference::log_softmax,
            rows,
            ULPS
        );
    }
    for guard in guards::<T>(1e-12).into_iter().chain(guards(0.5)) {
        check_against_reference!(
            |x: &[T], y: &mut [T]| lossprep::l2_normalize(x, row(x), guard, y).unwrap(),
            |x: &[T], y: &mut [T]| reference::l2_normalize(x, guard, y),
            strategies::features::<T>(0..40),
            ULPS
        );
    }
    check_against_reference!(
        |x: &[T], y: &mut [T]| lossprep::l2_norm(x, row(x), &mut y[..1]).unwrap(),
        |x: &[T], y: &mut [T]| y[0] = reference::l2_norm(x),
        strategies::features::<T>(1..40),
        ULPS
    );
    for (lo, hi) in [(0.0, 1.0), (25.0, 346.0), (-2.0, 2.0), (3.0, 3.0), (0.0, 1e30), (-1.0, -0.25)] {
        let [lo, hi] = [lo, hi].map(|x| T::from(x).unwrap());
        check_against_reference!(
            |x: &[T], y: &mut [T]| lossprep::scaled_sigmoid(x, Range::new(lo, hi).unwrap(), y).unwrap(),
            |x: &[T], y: &mut [T]| (0..x.len()).for_each(|i| y[i] = reference::scaled_sigmoid(x[i], lo, hi)),
            strategies::logits::<T>(0..40),
            ULPS
        );
    }
}

/// Rows at the ends of the type, and gradients of the only element.
fn ends<T: Element + Number>() {
    let (huge, tiny) = (T::max_value(), T::min_positive_value() * T::epsilon());
    for x in [huge, -huge, tiny, T::zero(), T::infinity()] {
        assert_eq!(reference::l2_norm(&[x]), x.abs());
    }
    for row in [[huge, huge], [tiny, huge], [tiny, tiny], [T::zero(), tiny]] {
        for guard in guards::<T>(1e-12).into_iter().chain(guards(0.5)) {
            let (mut y, mut due) = (row, row);
            reference::l2_normalize(&row, guard, &mut y);
            lossprep::l2_normalize(&row, self::row(&row), guard, &mut due).unwrap();
            assert!(y.iter().zip(due).all(|(&y, due)| strategies::close(y, due, ULPS)), "{y:?} {due:?}");
        }
    }
    for g in [T::one(), T::nan(), T::infinity()] {
        let mut grads = [[T::one()]; 3];
        reference::softmax_vjp(&[T::one()], &[g], &mut grads[0]);
        reference::log_softmax_vjp(&[T::zero()], &[g], &mut grads[1]);
        reference::log_softmax_jvp(&[T::zero()], &[g], &mut grads[2]);
        assert_eq!(grads, [[T::zero()]; 3]);
    }
}

#[test]
fn ends_of_both_types() {
    ends::<f32>();
    ends::<f64>();
}

#[test]
fn forward_f32() {
    forward::<f32>();
}

#[test]
fn forward_f64() {
    forward::<f64>();
}

/// Upstream gradients without the huge ones: with those terms may overflow, or matter that underflowed.
fn upstream<T: Number>(len: usize) -> impl Strategy<Value = Vec<T>> {
    let level = |g: T| if g.is_finite() && g.widen().abs() > 1e9 { T::one() } else { g };
    strategies::upstream::<T>(len).prop_map(move |g| g.into_iter().map(level).collect())
}

/// Whether they are within so many ULP of `size`, which is the sum of the absolute terms.
fn within<T: Number>(a: T, b: T, size: f64, ulps: f64) -> Result<(), TestCaseError> {
    let size = T::narrow(size.abs()).max(T::min_positive_value()).min(T::max_value()).widen();
    let unit = T::EPS * f64::from_bits(size.to_bits() & 0x7ff << 52);
    let near = a == b || a.is_nan() && b.is_nan() || (a.widen() - b.widen()).abs() <= ulps * unit;
    prop_assert!(near, "{a:?} and {b:?}, in units of {unit:e}");
    Ok(())
}

fn sums<T: Element + Number>() {
    proptest!(config(), |(x in strategies::logits::<T>(0..40))| {
        let mut l = [T::zero()];
        lossprep::logsumexp(&x, row(&x), &mut l).unwrap();
        let max = x.iter().fold(f64::NEG_INFINITY, |m, x| m.max(x.widen()));
        within(reference::logsumexp(&x), l[0], max.abs() + (l[0].widen() - max), ULPS)?;
    });
    // Also such ranges that pass through zero, and that overflow.
    proptest!(config(), |(x in strategies::logits::<T>(1..8), (lo, hi) in strategies::ranges::<T>())| {
        let (range, mut y) = (Range::new(lo, hi).unwrap(), x.clone());
        lossprep::scaled_sigmoid(&x, range, &mut y).unwrap();
        for (&x, &y) in x.iter().zip(&y) {
            let sigma = |x: f64| if x < 0.0 { x.exp() / (1.0 + x.exp()) } else { 1.0 / (1.0 + (-x).exp()) };
            let size = (lo.widen() * sigma(-x.widen())).abs() + (hi.widen() * sigma(x.widen())).abs();
            within(reference::scaled_sigmoid(x, lo, hi), y, size, ULPS)?;
        }
    });
    for (lo, hi) in [(-1.0, 1.0), (0.0, 1.0), (25.0, 346.0), (-1e38, 3e38)] {
        let [lo, hi] = [lo, hi].map(<T as Number>::narrow);
        let range = Range::new(lo, hi).unwrap();
        proptest!(config(), |(at in -0.1..1.1, end in any::<bool>(), g in upstream::<T>(1))| {
            let y = if end { lo } else { <T as Number>::narrow(lo.widen() + (hi.widen() - lo.widen()) * at) };
            let (mut x, mut grad) = ([T::zero()], [T::zero()]);
            lossprep::scaled_sigmoid_inverse(&[y], range, &mut x).unwrap();
            within(reference::scaled_sigmoid_inverse(y, lo, hi), x[0], x[0].widen().abs().max(1.0), ULPS)?;
            lossprep::scaled_sigmoid_inverse_vjp(&[y], &g, range, &mut grad).unwrap();
            within(reference::scaled_sigmoid_inverse_vjp(y, g[0], lo, hi), grad[0], grad[0].widen(), GRADIENT_ULPS)?;
        });
    }
}

#[test]
fn sums_f32() {
    sums::<f32>();
}

#[test]
fn sums_f64() {
    sums::<f64>();
}

/// Σ |a_j·b_j|
fn absolute<T: Number>(a: &[T], b: &[T]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a.widen() * b.widen()).abs()).sum()
}

fn gradients<T: Element + Number>() {
    // Without logits whose probabilities underflow.
    let level = |x: T| if [88.75, -745.0].contains(&x.widen()) { T::one() } else { x };
    let level = move |x: Vec<T>| x.into_iter().map(level).collect::<Vec<T>>();
    let rows = || {
        (1usize..30)
            .prop_flat_map(move |n| (strategies::logits::<T>(n..n + 1).prop_map(level), upstream::<T>(n)))
    };
    proptest!(config(), |((x, g) in rows())| {
        let n = x.len();
        let (layout, mut y, mut log_y) = (row(&x), x.clone(), x.clone());
        lossprep::softmax(&x, layout, &mut y).unwrap();
        lossprep::log_softmax(&x, layout, &mut log_y).unwrap();
        let one = vec![T::one(); n];
        let (mut due, mut got) = (x.clone(), x.clone());

        lossprep::softmax_vjp(&y, &g, layout, &mut due).unwrap();
        reference::softmax_vjp(&y, &g, &mut got);
        let s = absolute(&y, &g);
        for i in 0..n {
            within(got[i], due[i], y[i].widen() * (g[i].widen().abs() + s), GRADIENT_ULPS)?;
        }
        lossprep::log_softmax_vjp(&log_y, &g, layout, &mut due).unwrap();
        reference::log_softmax_vjp(&log_y, &g, &mut got);
        for i in 0..n {
            within(got[i], due[i], g[i].widen().abs() + y[i].widen() * absolute(&one, &g), GRADIENT_ULPS)?;
        }
        lossprep::log_softmax_jvp(&log_y, &g, layout, &mut due).unwrap();
        reference::log_softmax_jvp(&log_y, &g, &mut got);
        for i in 0..n {
            within(got[i], due[i], g[i].widen().abs() + s, GRADIENT_ULPS)?;
        }
        lossprep::logsumexp_vjp(&x, &g[..1], layout, &mut due).unwrap();
        reference::logsumexp_vjp(&x, g[0], &mut got);
        for i in 0..n {
            within(got[i], due[i], y[i].widen() * g[0].widen(), GRADIENT_ULPS)?;
        }
        lossprep::logsumexp_jvp(&x, &g, layout, &mut due[..1]).unwrap();
        within(reference::logsumexp_jvp(&x, &g), due[0], s, GRADIENT_ULPS)?;
    });
    // Without elements whose norm has few digits, which the operation is given, or whose products underflow.
    let least = T::min_positive_value().sqrt();
    let level = move |x: T| if x != T::zero() && x.abs() < least { T::one() } else { x };
    let level = move |x: Vec<T>| x.into_iter().map(level).collect::<Vec<T>>();
    let rows = || {
        (1usize..30)
            .prop_flat_map(move |n| (strategies::features::<T>(n..n + 1).prop_map(level), upstream::<T>(n)))
    };
    proptest!(config(), |((x, g) in rows())| {
        let (layout, mut norm, mut unit) = (row(&x), [T::zero()], x.clone());
        lossprep::l2_norm(&x, layout, &mut norm).unwrap();
        lossprep::l2_normalize(&x, layout, NormGuard::Max(T::min_positive_value()), &mut unit).unwrap();
        let (mut due, mut got) = (x.clone(), x.clone());
        let s = absolute(&unit, &g);

        lossprep::l2_norm_vjp(&x, &norm, &g[..1], layout, &mut due).unwrap();
        reference::l2_norm_vjp(&x, g[0], &mut got);
        for i in 0..x.len() {
            within(got[i], due[i], unit[i].widen() * g[0].widen(), GRADIENT_ULPS)?;
        }
        lossprep::l2_norm_jvp(&x, &norm, &g, layout, &mut due[..1]).unwrap();
        within(reference::l2_norm_jvp(&x, &g), due[0], s, GRADIENT_ULPS)?;
        for guard in guards::<T>(1e-12).into_iter().chain(guards(0.5)) {
            lossprep::l2_normalize_vjp(&x, &norm, &g, layout, guard, &mut due).unwrap();
            reference::l2_normalize_vjp(&x, &g, guard, &mut got);
            let norm = norm[0].widen();
            for i in 0..x.len() {
                let size = g[i].widen().abs() + unit[i].widen().abs() * s;
                let (NormGuard::Max(e) | NormGuard::Add(e) | NormGuard::AddSquared(e)) = guard;
                let d = match guard {
                    NormGuard::Max(_) => norm.max(e.widen()),
                    NormGuard::Add(_) => norm + e.widen(),
                    NormGuard::AddSquared(_) => norm.hypot(e.widen().sqrt()),
                };
                // The operation takes the norm as exact, which is rounded: up to 2 more, for it is off by much less than 4.
                within(got[i], due[i], size / d, GRADIENT_ULPS + 2.0)?;
            }
        }
    });
    let cases = || (strategies::logits::<T>(1..8), upstream::<T>(8), strategies::ranges::<T>());
    proptest!(config(), |((x, g, (lo, hi)) in cases())| {
        let mut grad = x.clone();
        lossprep::scaled_sigmoid_vjp(&x, &g[..x.len()], Range::new(lo, hi).unwrap(), &mut grad).unwrap();
        for i in 0..x.len() {
            within(reference::scaled_sigmoid_vjp(x[i], g[i], lo, hi), grad[i], grad[i].widen(), GRADIENT_ULPS)?;
        }
    });
}

#[test]
fn gradients_f32() {
    gradients::<f32>();
}

#[test]
fn gradients_f64() {
    gradients::<f64>();
}
