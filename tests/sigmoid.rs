//! The scaled sigmoid against the contract: special values, bounds by a double-double oracle,
//! monotonicity by single ULPs, and the same bits on every backend.

mod double_double;

use double_double::{Big, Random, Real, ulps};
use lossprep::{
    Backend, Error, Range, scaled_sigmoid, scaled_sigmoid_in_place, scaled_sigmoid_inverse,
    scaled_sigmoid_inverse_in_place, scaled_sigmoid_inverse_jvp, scaled_sigmoid_inverse_vjp,
    scaled_sigmoid_jvp, scaled_sigmoid_vjp,
};

/// exp(−|x|), and at least exp(−5000), which is nothing beside any number of either type.
fn e_of(x: f64) -> Big {
    Big::of(-x.abs().min(5000.0)).exp()
}

/// The exact result and |lo|·σ(−x) + hi·σ(x).
fn exact_sigmoid(x: f64, lo: f64, hi: f64) -> (Big, Big) {
    let one = Big::of(1.0);
    let e = e_of(x);
    let (large, small) = (one / (one + e), e / (one + e));
    let (up, down) = if x < 0.0 { (small, large) } else { (large, small) };
    let (a, b) = (Big::of(lo) * down, Big::of(hi) * up);
    let y = if lo == -hi {
        let (m, k) = Big::of(-x.abs().min(5000.0)).exp_parts();
        let m = if k == 0 { m } else { e - one };
        Big::of(hi.copysign(x)) * -m / (Big::of(2.0) + m)
    } else {
        a + b
    };
    (y, a.abs() + b.abs())
}

fn exact_slope(x: f64, lo: f64, hi: f64) -> Big {
    let e = e_of(x);
    let d = Big::of(1.0) + e;
    (Big::of(hi) - Big::of(lo)) * e / (d * d)
}

fn exact_inverse(y: f64, lo: f64, hi: f64) -> Big {
    let (u, v) = (Big::of(y) - Big::of(lo), Big::of(hi) - Big::of(y));
    let f = (Big::of(y).times_pow2(1) - (Big::of(lo) + Big::of(hi))) / (u + v);
    if f.to_f64().abs() < 1e-3 {
        let f2 = f * f;
        let mut sum = Big::ZERO;
        for n in (0..8).rev() {
            sum = sum * f2 + Big::of(1.0) / Big::of(f64::from(2 * n + 1));
        }
        (f * sum).times_pow2(1)
    } else {
        (u / v).ln()
    }
}

fn exact_inverse_slope(y: f64, lo: f64, hi: f64) -> Big {
    let (y, lo, hi) = (Big::of(y), Big::of(lo), Big::of(hi));
    (hi - lo) / ((y - lo) * (hi - y))
}

// ---- The two types, and the measure ---------------------------------------------------------------

fn next<T: Real>(x: T) -> T {
    if x.wide() == 0.0 {
        T::from_pattern(1)
    } else if x > T::zero() {
        T::from_pattern(x.bits() + 1)
    } else {
        T::from_pattern(x.bits() - 1)
    }
}

fn range<T: Real>((lo, hi): (f64, f64)) -> Range<T> {
    Range::new(T::of(lo), T::of(hi)).unwrap()
}

/// What both types are tried on; those of one type come with [`ranges`].
const COMMON: [(f64, f64); 14] = [
    (0.0, 1.0),
    (-1.0, 1.0),
    (0.1, 0.9),
    (-3.0, 5.0),
    (25.0, 346.0),
    (0.1, 0.1),
    (-7.0, 0.0),
    (-1e-3, 5.0),
    (-5.0, 1e-3),
    (1.0, 1.000_000_2),
    (-1e30, 1e-30),
    (1e-30, 1e30),
    (-3.3, 3.3),
    (0.0, 0.0),
];

fn ranges<T: Real>() -> Vec<(f64, f64)> {
    let (max, tiny) = (T::max_value().wide(), T::from_pattern(1).wide());
    let normal = T::min_positive_value().wide();
    let mut all: Vec<_> = COMMON.iter().map(|&(a, b)| (T::of(a).wide(), T::of(b).wide())).collect();
    all.extend([
        (0.0, max),
        (-max, max),
        (-max, max / 2.0),
        (-max / 3.0, max),
        (0.0, tiny),
        (-tiny, tiny),
        (-3.0 * tiny, 8.0 * tiny),
        (0.0, normal * 3.0),
        (tiny, max),
        (-max, -tiny),
    ]);
    all
}

/// Inputs of every kind: each scale, each table seam, the saturated ends.
fn inputs<T: Real>(n: usize) -> Vec<T> {
    let mut random = Random(7);
    let mut xs = vec![T::zero(), -T::zero(), T::max_value(), -T::max_value(), T::from_pattern(1)];
    for _ in 0..n {
        xs.push(T::of(random.spread(-8.0, 4.0)));
        xs.push(T::of(random.spread(f64::from(T::MIN), 0.0)));
        xs.push(T::of(random.spread(3.0, 11.0)));
    }
    for k in 0..400 {
        let seam = (f64::from(k) + 0.5) * core::f64::consts::LN_2 / 8.0;
        for x in [seam, -seam] {
            let mut x = T::from_pattern(T::of(x).bits() - 2);
            for _ in 0..5 {
                xs.push(x);
                x = T::from_pattern(x.bits() + 1);
            }
        }
    }
    xs
}

fn sigmoid<T: Real>(x: &[T], range: Range<T>) -> Vec<T> {
    let mut out = vec![T::one(); x.len()];
    scaled_sigmoid(x, range, &mut out).unwrap();
    out
}

fn inverse<T: Real>(y: &[T], range: Range<T>) -> Vec<T> {
    let mut out = vec![T::one(); y.len()];
    scaled_sigmoid_inverse(y, range, &mut out).unwrap();
    out
}

macro_rules! for_both {
    ($($(#[$attribute:meta])* $name:ident;)*) => {
        mod of_f32 { $($(#[$attribute])* #[test] fn $name() { super::$name::<f32>(); })* }
        mod of_f64 { $($(#[$attribute])* #[test] fn $name() { super::$name::<f64>(); })* }
    };
}
for_both! {
    forward_within_bound;
    gradient_within_bound;
    inverse_within_bound;
    inverse_gradient_within_bound;
    monotone_and_in_range;
    special_values;
    special_gradients;
    special_inverse;
    odd_range_is_odd;
    middle_is_rounded_once;
    every_backend_and_form_and_length;
    faults_leave_outputs;
}

#[test]
fn the_oracle_knows_its_constants() {
    let e = Big::of(1.0).exp();
    assert_eq!((e.hi * 2.0, e.lo * 2.0), (core::f64::consts::E, 1.445_646_891_729_250_2e-16));
    let back = (Big::of(1.0) + e).ln().exp() - e;
    assert!((back - Big::of(1.0)).to_f64().abs() < 2f64.powi(-97));
    assert_eq!(ulps(1.0_f64 + f64::EPSILON, Big::of(1.0)), 1.0);
    assert_eq!(ulps(f32::from_bits(3), Big::of(f32::from_bits(1).into())), 2.0);
}

// ---- Accuracy --------------------------------------------------------------------------------------

fn forward_within_bound<T: Real>() {
    let xs = inputs::<T>(1500);
    for (lo, hi) in ranges::<T>() {
        let crossing = lo < 0.0 && hi > 0.0 && lo != -hi;
        let mut worst = (0.0, T::zero());
        for (&x, y) in xs.iter().zip(sigmoid(&xs, range::<T>((lo, hi)))) {
            let (exact, size) = exact_sigmoid(x.wide(), lo, hi);
            let error = ulps(y, exact);
            let unit = (exact.e - T::DIGITS + 1).max(T::MIN);
            let slack = if crossing { size.times_pow2(-T::DIGITS - 3 - unit).to_f64() } else { 0.0 };
            let normal = match (T::DIGITS, lo == -hi) {
                (_, false) if !crossing => 0.6,
                (53, true) => 0.57,
                _ => 0.51,
            };
            let bound = if exact.e < T::MIN + T::DIGITS + 2 { 1.0 } else { normal };
            assert!(error <= bound + slack, "({lo:e}, {hi:e}) at {x:e}: {error} ULP of {exact:?}");
            if slack < 0.1 && error > worst.0 {
                worst = (error, x);
            }
        }
        println!("({lo:e}, {hi:e}): {:.4} ULP at {:e}", worst.0, worst.1);
    }
}

fn gradient_within_bound<T: Real>() {
    let xs = inputs::<T>(500);
    let mut random = Random(8);
    let (from, to) = (f64::from(T::MIN), if T::DIGITS == 24 { 127.0 } else { 1023.0 });
    let gs: Vec<T> = xs.iter().map(|_| T::of(random.spread(from, to))).collect();
    for (lo, hi) in ranges::<T>() {
        let mut grad = vec![T::nan(); xs.len()];
        scaled_sigmoid_vjp(&xs, &gs, range((lo, hi)), &mut grad).unwrap();
        let mut worst = 0.0_f64;
        for ((&x, &g), &d) in xs.iter().zip(&gs).zip(&grad) {
            let exact = exact_slope(x.wide(), lo, hi) * Big::of(g.wide());
            let error = ulps(d, exact);
            assert!(error <= 4.0, "({lo:e}, {hi:e}) at {x:e}, {g:e}: {error} ULP of {exact:?}");
            worst = worst.max(error);
        }
        println!("({lo:e}, {hi:e}): {worst:.4} ULP");
    }
}

/// Values inside a range: of every size near both ends, and steps about the middle.
fn inside<T: Real>(lo: f64, hi: f64) -> Vec<T> {
    let mut random = Random(9);
    let mut ys: Vec<T> = Vec::new();
    for _ in 0..1000 {
        let part = random.unit();
        ys.push(T::of(lo * (1.0 - part) + hi * part));
        let part = random.spread(-200.0, -1.0).abs();
        ys.push(T::of(lo * (1.0 - part) + hi * part));
        ys.push(T::of(hi * (1.0 - part) + lo * part));
    }
    let mut middle = T::of(lo / 2.0 + hi / 2.0);
    for _ in 0..20 {
        ys.push(middle);
        ys.push(-middle);
        middle = next(middle);
    }
    ys.retain(|y| y.wide() > lo && y.wide() < hi);
    ys
}

fn inverse_within_bound<T: Real>() {
    for (lo, hi) in ranges::<T>().into_iter().filter(|r| r.0 < r.1) {
        let ys = inside::<T>(lo, hi);
        let mut worst = 0.0_f64;
        for (&y, x) in ys.iter().zip(inverse(&ys, range::<T>((lo, hi)))) {
            let exact = exact_inverse(y.wide(), lo, hi);
            let error = ulps(x, exact);
            let unit = (exact.e - T::DIGITS + 1).max(T::MIN);
            let bound = if unit == T::MIN { 1.0 } else { 0.54 };
            assert!(error <= bound, "({lo:e}, {hi:e}) at {y:e}: {error} ULP of {exact:?}");
            worst = worst.max(error);
        }
        println!("({lo:e}, {hi:e}): {worst:.4} ULP");
    }
}

fn inverse_gradient_within_bound<T: Real>() {
    let mut random = Random(10);
    for (lo, hi) in ranges::<T>().into_iter().filter(|r| r.0 < r.1) {
        let ys = inside::<T>(lo, hi);
        let (from, to) = (f64::from(T::MIN), if T::DIGITS == 24 { 127.0 } else { 1023.0 });
        let gs: Vec<T> = ys.iter().map(|_| T::of(random.spread(from, to))).collect();
        let mut grad = vec![T::nan(); ys.len()];
        scaled_sigmoid_inverse_vjp(&ys, &gs, range((lo, hi)), &mut grad).unwrap();
        let mut worst = 0.0_f64;
        for ((&y, &g), &d) in ys.iter().zip(&gs).zip(&grad) {
            let exact = exact_inverse_slope(y.wide(), lo, hi) * Big::of(g.wide());
            let error = ulps(d, exact);
            assert!(error <= 4.0, "({lo:e}, {hi:e}) at {y:e}, {g:e}: {error} ULP of {exact:?}");
            worst = worst.max(error);
        }
        println!("({lo:e}, {hi:e}): {worst:.4} ULP");
    }
}

// ---- Order and values ------------------------------------------------------------------------------

fn monotone_and_in_range<T: Real>() {
    let mut starts = vec![T::zero(), T::from_pattern(1), T::of(30.0), T::of(-30.0), T::of(700.0)];
    for exponent in [-60, -30, -28, -27, -26, -25, -24, -23, -22, -20, -12, -5, -3, -1, 0, 1, 3] {
        starts.push(T::of(2f64.powi(exponent)));
        starts.push(T::of(-(2f64.powi(exponent))));
    }
    // Every seam between two table entries.
    for k in 0..400 {
        let seam = (f64::from(k) + 0.5) * core::f64::consts::LN_2 / 8.0;
        starts.push(T::of(seam));
        starts.push(T::of(-seam));
    }
    let windows: Vec<Vec<T>> = starts
        .iter()
        .map(|&start| {
            let mut x = start;
            for _ in 0..100 {
                x = -next(-x);
            }
            core::iter::successors(Some(x), |&x| Some(next(x))).take(200).collect()
        })
        .collect();
    let mut random = Random(11);
    let mut all = ranges::<T>();
    // Where many a sum is halfway between two numbers.
    all.extend([(0.0, 2.0), (1.0, 2.0), (2.0, 3.0), (-1.0, 3.0), (-3.0, 7.0), (-4.0, 0.0), (1.0, 5.0)]);
    for _ in 0..60 {
        let (a, b) = (random.spread(-3.0, 3.0), random.spread(-3.0, 3.0));
        all.push((T::of(a.min(b)).wide(), T::of(a.max(b)).wide()));
    }
    for bounds in all {
        let range = range::<T>(bounds);
        for xs in &windows {
            let ys = sigmoid(xs, range);
            for (x, pair) in xs.iter().zip(ys.windows(2)) {
                assert!(pair[0] <= pair[1], "{bounds:?} falls after {x:e}: {:e} {:e}", pair[0], pair[1]);
                assert!(range.lo() <= pair[0] && pair[1] <= range.hi(), "{bounds:?} at {x:e}");
            }
        }
    }
}

fn special_values<T: Real>() {
    let (infinity, max) = (T::infinity(), T::max_value());
    let nan = T::from_pattern(T::CANONICAL_NAN | 5);
    for bounds in ranges::<T>() {
        let range = range::<T>(bounds);
        let xs = [-infinity, infinity, -max, max, nan, -nan];
        let ys = sigmoid(&xs, range);
        let [lo, hi] = [range.lo().bits(), range.hi().bits()];
        let bits: Vec<u64> = ys.iter().map(|y| y.bits()).collect();
        assert_eq!(bits, [lo, hi, lo, hi, T::CANONICAL_NAN, T::CANONICAL_NAN], "{bounds:?}");
        if lo == hi {
            assert!(sigmoid(&inputs::<T>(50), range).iter().all(|y| y.bits() == lo), "{bounds:?}");
        }
    }
    // A zero that the result underflows to, or passes through, is +0.
    for (bounds, x) in [((0.0, 1.0), -2000.0), ((-1.0, 0.0), 2000.0), ((-7.0, 0.0), 1e30)] {
        assert_eq!(sigmoid(&[T::of(x)], range::<T>(bounds))[0].bits(), 0, "{bounds:?}");
    }
    // σ underflows, hi·σ does not.
    let x = if T::DIGITS == 24 { -150.0 } else { -1000.0 };
    let y = sigmoid(&[T::of(x)], range::<T>((0.0, max.wide())))[0];
    assert!(y > T::zero() && ulps(y, exact_sigmoid(x, 0.0, max.wide()).0) <= 1.0);
}

fn special_gradients<T: Real>() {
    let (infinity, nan, zero, one) = (T::infinity(), T::nan(), T::zero(), T::one());
    let cases = [
        (nan, one, nan),
        (nan, nan, nan),
        (infinity, one, zero),
        (-infinity, nan, zero),
        (infinity, infinity, zero),
        (one, nan, nan),
        (one, infinity, nan),
        (-one, -infinity, nan),
        (one, -zero, zero),
        (T::of(-5000.0), -one, zero),
    ];
    let x: Vec<T> = cases.iter().map(|c| c.0).collect();
    let g: Vec<T> = cases.iter().map(|c| c.1).collect();
    let want: Vec<u64> =
        cases.iter().map(|c| if c.2.is_nan() { T::CANONICAL_NAN } else { c.2.bits() }).collect();
    let mut out = vec![one; x.len()];
    for bounds in [(0.0, 1.0), (-1.0, 1.0), (-3.0, 5.0)] {
        scaled_sigmoid_vjp(&x, &g, range(bounds), &mut out).unwrap();
        assert_eq!(out.iter().map(|d| d.bits()).collect::<Vec<_>>(), want);
    }
    scaled_sigmoid_jvp(&x, &g, range((0.1, 0.1)), &mut out).unwrap();
    for (x, d) in x.iter().zip(&out) {
        assert_eq!(d.bits(), if x.is_nan() { T::CANONICAL_NAN } else { 0 });
    }
    // Saturated outputs still have a gradient.
    let mut d = [zero];
    scaled_sigmoid_vjp(&[T::of(40.0)], &[one], range((0.0, 1.0)), &mut d).unwrap();
    assert!(ulps(d[0], exact_slope(40.0, 0.0, 1.0)) <= 4.0 && d[0] > zero);
}

fn special_inverse<T: Real>() {
    let (infinity, nan) = (T::infinity(), T::nan());
    for bounds in ranges::<T>().into_iter().filter(|r| r.0 < r.1) {
        let range = range::<T>(bounds);
        let (lo, hi) = (range.lo(), range.hi());
        let ys = [lo, hi, -next(-lo), next(hi), infinity, -infinity, nan];
        let xs = inverse(&ys, range);
        assert_eq!((xs[0], xs[1]), (-infinity, infinity), "{bounds:?}");
        assert!(xs[2..].iter().all(|x| x.bits() == T::CANONICAL_NAN), "{bounds:?}: {xs:?}");
        let one = T::one();
        let mut d = [T::zero(); 9];
        let ys = [lo, hi, lo, hi, next(hi), nan, lo, lo, hi];
        let gs = [one, -one, T::zero(), nan, one, one, infinity, -one, one];
        scaled_sigmoid_inverse_vjp(&ys, &gs, range, &mut d).unwrap();
        assert_eq!((d[0], d[1], d[7], d[8]), (infinity, -infinity, -infinity, infinity));
        assert!(d[2..7].iter().all(|d| d.bits() == T::CANONICAL_NAN), "{bounds:?}: {d:?}");
        scaled_sigmoid_inverse_jvp(&ys[..1], &gs[..1], range, &mut d[..1]).unwrap();
        assert_eq!(d[0], infinity);
    }
    assert_eq!(inverse(&[T::of(0.5)], range::<T>((0.0, 1.0)))[0].bits(), 0);
}

fn odd_range_is_odd<T: Real>() {
    let xs = inputs::<T>(300);
    let negated: Vec<T> = xs.iter().map(|&x| -x).collect();
    for hi in [1.0, 3.3, T::max_value().wide(), T::from_pattern(1).wide(), T::min_positive_value().wide()] {
        let range = range::<T>((-T::of(hi).wide(), hi));
        for (y, z) in sigmoid(&xs, range).iter().zip(sigmoid(&negated, range)) {
            assert_eq!(y.bits(), (-z).bits());
        }
    }
    let range = range::<T>((-2.0, 2.0));
    let tiny = T::from_pattern(9);
    let ys = sigmoid(&[-T::zero(), T::zero(), tiny, -tiny], range);
    assert_eq!(
        ys.iter().map(|y| y.bits()).collect::<Vec<_>>(),
        [-T::zero(), T::zero(), tiny, -tiny].map(|y| y.bits())
    );
}

fn middle_is_rounded_once<T: Real>() {
    let mut random = Random(12);
    let mut all = ranges::<T>();
    for _ in 0..3000 {
        // Ends whose sum needs up to twice the digits, and ties.
        let a = T::of(random.spread(-60.0, 0.0)).wide();
        let b = T::of(random.spread(-3.0, 0.0)).wide();
        all.push((a.min(b), a.max(b)));
    }
    for (lo, hi) in all {
        let exact = (Big::of(lo) + Big::of(hi)).times_pow2(-1);
        let ys = sigmoid(&[T::zero(), -T::zero()], range::<T>((lo, hi)));
        assert!(ulps(ys[0], exact) <= 0.5, "({lo:e}, {hi:e}): {:e}", ys[0]);
        assert!(lo == -hi || ys[0].bits() == ys[1].bits());
        if T::DIGITS == 24 {
            assert_eq!(ys[0], T::of(lo / 2.0 + hi / 2.0), "({lo:e}, {hi:e})");
        }
    }
}

// ---- Forms and faults ------------------------------------------------------------------------------

fn bits<T: Real>(all: &[T]) -> Vec<u64> {
    all.iter().map(|x| x.bits()).collect()
}

fn every_backend_and_form_and_length<T: Real>() {
    let (infinity, nan) = (T::infinity(), T::nan());
    let mut xs = inputs::<T>(40);
    xs.splice(3..3, [nan, infinity, -infinity]);
    let gs: Vec<T> = xs.iter().rev().copied().collect();
    let scalar = Backend::Scalar.try_get().unwrap();
    let mut tried = 0;
    for bounds in ranges::<T>() {
        let range = range::<T>(bounds);
        let mut ys: Vec<T> = sigmoid(&xs, range);
        ys.extend(inside::<T>(bounds.0, bounds.1).into_iter().take(200));
        ys.push(nan);
        ys.push(infinity);
        let hs: Vec<T> = ys.iter().enumerate().map(|(i, _)| xs[i % xs.len()]).collect();
        let all = |kernels: lossprep::Kernels| {
            let mut results = Vec::new();
            let mut out = vec![T::one(); xs.len()];
            kernels.scaled_sigmoid(&xs, range, &mut out).unwrap();
            results.push(bits(&out));
            kernels.scaled_sigmoid_vjp(&xs, &gs, range, &mut out).unwrap();
            results.push(bits(&out));
            kernels.scaled_sigmoid_jvp(&xs, &gs, range, &mut out).unwrap();
            results.push(bits(&out));
            if range.lo() < range.hi() {
                let mut out = vec![T::one(); ys.len()];
                kernels.scaled_sigmoid_inverse(&ys, range, &mut out).unwrap();
                results.push(bits(&out));
                kernels.scaled_sigmoid_inverse_vjp(&ys, &hs, range, &mut out).unwrap();
                results.push(bits(&out));
                kernels.scaled_sigmoid_inverse_jvp(&ys, &hs, range, &mut out).unwrap();
                results.push(bits(&out));
            }
            results
        };
        let want = all(scalar);
        assert_eq!(want[1], want[2]);
        for backend in Backend::available() {
            assert!(all(backend.try_get().unwrap()) == want, "{backend} differs from scalar on {bounds:?}");
            tried += 1;
        }
        // In place, every length and every alignment: the bits of the whole.
        for start in 0..5 {
            for len in (0..70).chain([xs.len() - start]) {
                let part = start..start + len;
                let mut data = xs[part.clone()].to_vec();
                scaled_sigmoid_in_place(&mut data, range).unwrap();
                assert_eq!(bits(&data), want[0][part.clone()]);
                let mut out = vec![T::one(); xs.len()];
                scaled_sigmoid(&xs[part.clone()], range, &mut out[part.clone()]).unwrap();
                assert_eq!(bits(&out[part.clone()]), want[0][part.clone()]);
                scaled_sigmoid_vjp(&xs[part.clone()], &gs[part.clone()], range, &mut out[part.clone()])
                    .unwrap();
                assert_eq!(bits(&out[part.clone()]), want[1][part.clone()]);
                assert!(out[..start].iter().chain(&out[part.end..]).all(|&x| x == T::one()));
                if range.lo() < range.hi() {
                    let mut data = ys[part.clone()].to_vec();
                    scaled_sigmoid_inverse_in_place(&mut data, range).unwrap();
                    assert_eq!(bits(&data), want[3][part.clone()]);
                    let mut out = vec![T::one(); len];
                    scaled_sigmoid_inverse_vjp(&ys[part.clone()], &hs[part.clone()], range, &mut out)
                        .unwrap();
                    assert_eq!(bits(&out), want[4][part]);
                }
            }
        }
    }
    assert!(tried >= 2 * ranges::<T>().len(), "only one backend ran");
}

fn faults_leave_outputs<T: Real>() {
    let one = T::one();
    for (lo, hi) in
        [(1.0, 0.0), (f64::NAN, 1.0), (0.0, f64::NAN), (0.0, f64::INFINITY), (-f64::INFINITY, 0.0)]
    {
        assert!(matches!(Range::new(T::of(lo), T::of(hi)), Err(Error::Parameter { name: "range", .. })));
    }
    let zero = Range::new(-T::zero(), -T::zero()).unwrap();
    assert_eq!((zero.lo().bits(), zero.hi().bits()), (0, 0));
    let unit = range::<T>((0.0, 1.0));
    let single = range::<T>((0.5, 0.5));
    let (three, four) = ([one; 3], [one; 4]);
    let mut out = four;
    let length = |argument| Err(Error::Length { argument, expected: 3, actual: 4 });
    let parameter = |result: Result<(), Error>| matches!(result, Err(Error::Parameter { name: "range", .. }));
    assert_eq!(scaled_sigmoid(&three, unit, &mut out), length("out"));
    assert_eq!(scaled_sigmoid_vjp(&three, &four, unit, &mut out[..3]), length("upstream"));
    assert_eq!(scaled_sigmoid_vjp(&three, &three, unit, &mut out), length("grad"));
    assert_eq!(scaled_sigmoid_jvp(&three, &four, unit, &mut out[..3]), length("tangent"));
    assert_eq!(scaled_sigmoid_jvp(&three, &three, unit, &mut out), length("out"));
    assert_eq!(scaled_sigmoid_inverse(&three, unit, &mut out), length("out"));
    assert_eq!(scaled_sigmoid_inverse_vjp(&three, &four, unit, &mut out[..3]), length("upstream"));
    assert_eq!(scaled_sigmoid_inverse_vjp(&three, &three, unit, &mut out), length("grad"));
    assert_eq!(scaled_sigmoid_inverse_jvp(&three, &four, unit, &mut out[..3]), length("tangent"));
    assert_eq!(scaled_sigmoid_inverse_jvp(&three, &three, unit, &mut out), length("out"));
    assert!(parameter(scaled_sigmoid_inverse(&three, single, &mut out[..3])));
    assert!(parameter(scaled_sigmoid_inverse_in_place(&mut out, single)));
    assert!(parameter(scaled_sigmoid_inverse_vjp(&three, &three, single, &mut out[..3])));
    assert!(parameter(scaled_sigmoid_inverse_jvp(&three, &three, single, &mut out[..3])));
    assert_eq!(out, four);
}

#[test]
fn an_inverse_that_underflows_from_below_is_plus_zero() {
    let (lo, hi) = (-5.731689453125_f64, 5e-324);
    let mut x = [1.0; 1];
    scaled_sigmoid_inverse(&[-2.8658447265625], Range::new(lo, hi).unwrap(), &mut x).unwrap();
    assert_eq!(x[0].to_bits() >> 63, 0, "{:e}", x[0]);
}
