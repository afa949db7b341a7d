//! The losses against textbook formulas in f64: every legal combination of options, special values, errors, bits.

use lossprep::gradcheck::{Mode, Options, check_vjp};
use lossprep::{
    Backend, ClassOptions, CrossEntropyOptions, Element, Error, Kernels, Layout, NormGuard, Range, Reduction,
    Target, contrastive_workspace, cross_entropy, cross_entropy_with_grad, cross_entropy_with_grad_in_place,
};

/// Numbers in (−1, 1), the same everywhere.
fn noise(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn all_backends() -> Vec<Kernels> {
    Backend::available().map(|b| b.try_get().unwrap()).collect()
}

fn narrow<T: Element>(v: &[f64]) -> Vec<T> {
    v.iter().map(|&v| T::from(v).unwrap()).collect()
}

fn close<T: Element>(got: &[T], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(1e-3, |m: f64, v| m.max(v.abs()));
    // The reference is f64 with its own roundings.
    let allowed = if T::epsilon().to_f64().unwrap() > 1e-10 { 3e-7 } else { 1e-13 } * scale;
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got.to_f64().unwrap() - want).abs() <= allowed, "{what}: {i}: {got} for {want}");
    }
}

/// What a row is compared with, in full.
#[derive(Clone, Copy)]
struct Setup<'a> {
    n: usize,
    classes: Option<&'a [usize]>,
    shares: &'a [f64],
    weights: Option<&'a [f64]>,
    ignore: Option<usize>,
    smoothing: f64,
    z_loss: f64,
    softcap: Option<f64>,
    temperature: f64,
}

/// The textbook: losses, gradients for an upstream of 1, and what each row counts for.
fn textbook(x: &[f64], setup: &Setup<'_>) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let n = setup.n;
    let (mut losses, mut grads, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for (row, x) in x.chunks(n).enumerate() {
        let class = setup.classes.map(|c| c[row]);
        if class.is_some() && class == setup.ignore {
            losses.push(0.0);
            counts.push(0.0);
            grads.extend(vec![0.0; n]);
            continue;
        }
        let cap = |x: f64| setup.softcap.map_or(x, |c| c * (x / c).tanh());
        let slope = |x: f64| setup.softcap.map_or(1.0, |c| 1.0 - (x / c).tanh().powi(2)) / setup.temperature;
        let z: Vec<f64> = x.iter().map(|&x| cap(x) / setup.temperature).collect();
        let top = z.iter().fold(f64::NEG_INFINITY, |m, &z| m.max(z));
        let l = top + z.iter().map(|z| (z - top).exp()).sum::<f64>().ln();
        let weight = |i: usize| setup.weights.map_or(1.0, |w| w[i]);
        let v: Vec<f64> = (0..n)
            .map(|i| {
                let own = class.map_or_else(|| setup.shares[row * n + i], |c| f64::from(c == i));
                weight(i) * ((1.0 - setup.smoothing) * own + setup.smoothing / n as f64)
            })
            .collect();
        let count = class.map_or(1.0, weight);
        let total: f64 = v.iter().sum();
        let pull = 2.0 * setup.z_loss * count * l;
        losses.push((0..n).map(|i| v[i] * (l - z[i])).sum::<f64>() + setup.z_loss * count * l * l);
        grads.extend((0..n).map(|i| ((z[i] - l).exp() * (total + pull) - v[i]) * slope(x[i])));
        counts.push(count);
    }
    (losses, grads, counts)
}

/// Every combination of the options, in one type and on one layout.
fn combinations<T: Element>() {
    let (rows, n) = (5, 7);
    let layout = Layout::rows(rows, n).unwrap();
    let mut next = noise(3);
    let x: Vec<f64> = (0..rows * n).map(|_| f64::from(next() as f32 * 4.0)).collect();
    let mut shares: Vec<f64> = (0..rows * n).map(|_| next().abs() + 0.01).collect();
    for row in shares.chunks_mut(n) {
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|q| *q = f64::from((*q / sum) as f32));
    }
    let weights: Vec<f64> = (0..n).map(|i| 0.5 + 0.25 * i as f64).collect();
    let sample_weights = [0.5, 2.0, 0.0, 1.0, 0.25];
    let classes = [3, 0, 6, 2, 3];
    let mut tried = 0;
    for soft in [false, true] {
        for ignore in [None, Some(3), Some(99)] {
            for smoothing in [0.0, 0.125, 1.0] {
                for weighted in [false, true] {
                    for (z_loss, softcap, temperature) in
                        [(0.0, None, 1.0), (0.25, None, 1.0), (0.0, Some(2.5), 1.0), (0.125, Some(4.0), 1.75)]
                    {
                        let setup = Setup {
                            n,
                            classes: (!soft).then_some(&classes),
                            shares: &shares,
                            weights: weighted.then_some(&weights),
                            ignore,
                            smoothing,
                            z_loss,
                            softcap,
                            temperature,
                        };
                        one_combination::<T>(&x, layout, &setup, &sample_weights);
                        tried += 1;
                    }
                }
            }
        }
    }
    assert_eq!(tried, 2 * 3 * 3 * 2 * 4);
}

fn one_combination<T: Element>(x: &[f64], layout: Layout, setup: &Setup<'_>, sample_weights: &[f64]) {
    let rows = layout.row_count();
    let number = |v: f64| T::from(v).unwrap();
    let (x_t, shares): (Vec<T>, Vec<T>) = (narrow(x), narrow(setup.shares));
    let weights: Option<Vec<T>> = setup.weights.map(narrow);
    let mut options = CrossEntropyOptions::new()
        .label_smoothing(number(setup.smoothing))
        .z_loss(number(setup.z_loss))
        .temperature(number(setup.temperature));
    if let Some(weights) = &weights {
        options = options.weights(weights);
    }
    if let Some(class) = setup.ignore {
        options = options.ignore_index(class);
    }
    if let Some(cap) = setup.softcap {
        options = options.softcap(number(cap));
    }
    let target = setup.classes.map_or(Target::Probabilities(&shares), Target::Classes);
    let mut losses = vec![number(7.0); rows];
    let mut grad = vec![number(7.0); x.len()];
    if setup.classes.is_none() && setup.ignore.is_some() {
        let refused = cross_entropy(&x_t, target, layout, &options, &mut losses);
        let combination = Error::Combination { first: "ignore_index", second: "a target of probabilities" };
        assert_eq!(refused, Err(combination));
        assert!(losses.iter().all(|&l| l == number(7.0)), "nothing is written");
        return;
    }
    let what = format!(
        "classes {} weights {} ignore {:?} smoothing {} z {} cap {:?} T {}",
        setup.classes.is_some(),
        setup.weights.is_some(),
        setup.ignore,
        setup.smoothing,
        setup.z_loss,
        setup.softcap,
        setup.temperature
    );
    let (want, want_grad, counts) = textbook(x, setup);
    cross_entropy(&x_t, target, layout, &options, &mut losses).unwrap();
    close(&losses, &want, &what);
    let mut row_weights = vec![T::nan(); rows];
    options.row_weights(target, layout, &mut row_weights).unwrap();
    close(&row_weights, &counts, &what);
    let own_weights: Vec<T> = narrow(sample_weights);
    let sum: f64 = want.iter().sum();
    let count: f64 = counts.iter().sum();
    let weighted: f64 = want.iter().zip(sample_weights).map(|(l, w)| l * w).sum();
    let total: f64 = sample_weights.iter().sum();
    let reductions = [
        (Reduction::Sum, sum, vec![1.0; rows]),
        (Reduction::Mean, sum / rows as f64, vec![1.0 / rows as f64; rows]),
        (Reduction::MeanOver(&row_weights), sum / count, vec![1.0 / count; rows]),
        (
            Reduction::WeightedMean(&own_weights),
            weighted / total,
            sample_weights.iter().map(|w| w / total).collect(),
        ),
    ];
    for (reduction, value, upstream) in reductions {
        close(&[reduction.of(&losses).unwrap()], &[value], &what);
        let mut g = vec![T::nan(); rows];
        reduction.upstream(&mut g).unwrap();
        close(&g, &upstream, &what);
        let mut again = vec![T::nan(); rows];
        cross_entropy_with_grad(&x_t, target, &g, layout, &options, &mut again, &mut grad).unwrap();
        assert_eq!(again, losses, "{what}: one call gives the same losses");
        let scaled: Vec<f64> =
            want_grad.iter().enumerate().map(|(i, d)| d * upstream[i / layout.len()]).collect();
        close(&grad, &scaled, &what);
        let mut in_place = x_t.clone();
        cross_entropy_with_grad_in_place(&mut in_place, target, &g, layout, &options, &mut again).unwrap();
        assert_eq!((in_place, &again), (grad.clone(), &losses), "{what}: in place");
    }
}

#[test]
fn every_legal_combination_of_options_matches_the_textbook_f32() {
    combinations::<f32>();
}

#[test]
fn every_legal_combination_of_options_matches_the_textbook_f64() {
    combinations::<f64>();
}

/// Loss and gradient of one row, by every backend, with the same bits.
fn row<T: Element>(
    x: &[T],
    target: Target<'_, T>,
    options: &CrossEntropyOptions<'_, T>,
    g: T,
) -> (T, Vec<T>) {
    let layout = Layout::rows(1, x.len()).unwrap();
    let mut found: Option<(T, Vec<T>)> = None;
    for kernels in all_backends() {
        let (mut loss, mut grad) = ([T::one()], vec![T::one(); x.len()]);
        kernels.cross_entropy_with_grad(x, target, &[g], layout, options, &mut loss, &mut grad).unwrap();
        let bits = |v: T| (v.is_nan(), v.is_sign_negative(), v);
        if let Some((first, all)) = &found {
            assert!(bits(*first).0 == bits(loss[0]).0 && (first.is_nan() || *first == loss[0]));
            assert!(all.iter().zip(&grad).all(|(a, b)| (a.is_nan() && b.is_nan()) || a == b));
        }
        found = Some((loss[0], grad));
    }
    found.unwrap()
}

#[test]
fn a_confident_row_has_all_its_digits() {
    let options = CrossEntropyOptions::new();
    let (loss, grad) = row(&[20.0_f32, 0.0], Target::Classes(&[0]), &options, 1.0);
    // log(1 + exp(−20)) = 2.0611536181902036e-9, and σ(−20) = 2.0611536181902037e-9.
    assert_eq!(loss, 2.061_153_6e-9);
    assert_eq!(grad, [-2.061_153_6e-9, 2.061_153_6e-9]);
    let options = CrossEntropyOptions::new();
    let (loss, grad) = row(&[700.0_f64, 0.0, 0.0], Target::Classes(&[0]), &options, 1.0);
    let want = 2.0 * (-700.0_f64).exp();
    assert!((loss / want - 1.0).abs() < 1e-15 && (grad[0] / want + 1.0).abs() < 1e-15, "{loss:e} {grad:?}");
    // The gradient is a number where the probability alone is not.
    let (_, grad) = row(&[0.0_f64, -1000.0], Target::Classes(&[0]), &options, 1e200);
    assert!((grad[1] / 5.075_958_897_549_457e-235 - 1.0).abs() < 1e-13, "{grad:?}");
    assert_eq!(grad[0], -grad[1]);
}

#[test]
fn a_plain_loss_is_within_one_ulp() {
    let mut next = noise(11);
    for scale in [1.0, 8.0, 60.0] {
        for n in [2, 3, 10, 33] {
            let (rows, options) = (300, CrossEntropyOptions::new());
            let layout = Layout::rows(rows, n).unwrap();
            let x: Vec<f32> = (0..rows * n).map(|_| (next() * scale) as f32).collect();
            let classes: Vec<usize> = (0..rows).map(|r| r % n).collect();
            for kernels in all_backends() {
                let (mut losses, mut both, mut grad) =
                    (vec![1.0; rows], vec![1.0; rows], vec![1.0; rows * n]);
                let (target, ones) = (Target::Classes(&classes), vec![1.0; rows]);
                kernels.cross_entropy(&x, target, layout, &options, &mut losses).unwrap();
                kernels
                    .cross_entropy_with_grad(&x, target, &ones, layout, &options, &mut both, &mut grad)
                    .unwrap();
                assert_eq!(losses, both);
                for ((x, &class), loss) in x.chunks(n).zip(&classes).zip(losses) {
                    let top = (0..n).max_by(|&i, &j| x[i].total_cmp(&x[j])).unwrap();
                    let apart = |i: usize, j: usize| f64::from(x[i]) - f64::from(x[j]);
                    let others: f64 = (0..n).filter(|&i| i != top).map(|i| apart(i, top).exp()).sum();
                    // In f64, exact beside an ULP of f32.
                    let exact = apart(top, class) + others.ln_1p();
                    let ulp =
                        f64::from(f32::EPSILON) * exact.max(f32::MIN_POSITIVE.into()).log2().floor().exp2();
                    let error = (f64::from(loss) - exact).abs() / ulp;
                    assert!(error <= 1.0, "{loss} for {exact}: {error} ULP");
                }
            }
        }
    }
}

/// Whether each number has its digits.
fn digits(got: &[f64], want: &[f64]) {
    for (got, want) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-15 * want.abs(), "{got:e} for {want:e}");
    }
}

/// What is due was computed with 60 digits.
#[test]
fn no_factor_underflows_whose_product_is_a_number() {
    // The slope of a softcap, less than 1e-308 by itself.
    let options = CrossEntropyOptions::new().softcap(5.0);
    let (_, grad) = row(&[-2644.0, 15.0, 29.0], Target::Classes(&[1]), &options, 6e198);
    digits(&grad, &[2.702_331_218_094_073_3e-265, -2.996_333_327_824_149_7e196, 1.113_432_001_166_657_7e194]);
    let options = CrossEntropyOptions::new().softcap(50.0).temperature(3.0).z_loss(1.0 / 64.0);
    let (loss, grad) =
        row(&[-25804.0, 2453.0, 3.5], Target::Probabilities(&[0.0, 0.0, 1.0]), &options, -1.5e200);
    digits(&[loss], &[19.842_179_887_475_240_6]);
    digits(&grad, &[-5.562_068_949_855_481e-263, -7.415_440_853_934_537e157, 4.975_578_410_361_474_4e199]);
    let options = CrossEntropyOptions::new().softcap(30.0).temperature(3.0);
    let (_, grad) = row(&[10740.0, 10000.0], Target::Classes(&[1]), &options, 1.5e200);
    digits(&grad, &[1.109_560_422_527_386_6e-111, -2.953_557_280_266_100_2e-90]);
    // (1 − p)^γ, of a 1 − p that has few digits or none.
    let class = ClassOptions::new();
    for (far, g, want) in
        [(740.0, -8e199, 1.028_741_674_272_323_7e-282), (900.0, 1e300, -7.560_328_908_141_429e-287)]
    {
        for kernels in all_backends() {
            let (layout, mut loss, mut grad) = (Layout::rows(1, 2).unwrap(), [1.0], [1.0; 2]);
            kernels
                .focal_loss_with_grad(&[0.0, far], &[1], 0.5, &[g], layout, &class, &mut loss, &mut grad)
                .unwrap();
            digits(&[loss[0], grad[0], grad[1]], &[0.0, -want, want]);
        }
    }
    // A weight brings a loss back, and is not too large for what it meets on the way.
    let tiny = 3.667_874_584_177_687_4e-48;
    let weights = [1e300; 2];
    let options = CrossEntropyOptions::new().weights(&weights);
    for (options, far) in [(options, -800.0), (options.temperature(2.0), -1600.0)] {
        let (loss, grad) = row(&[0.0, far], Target::Classes(&[0]), &options, 2.0);
        let slope = 2.0 * tiny * 800.0 / far;
        digits(&[loss, grad[0], grad[1]], &[tiny, slope, -slope]);
        // The upstream gradient changes no loss.
        assert_eq!(row(&[0.0, far], Target::Classes(&[0]), &options, 1e-200).0, loss);
    }
    let options = options.temperature(2.0);
    let (_, grad) = row(&[0.0, 0.0], Target::Classes(&[0]), &options, 2.0);
    digits(&grad, &[-5e299, 5e299]);
    let layout = Layout::rows(1, 1).unwrap();
    let (mut loss, mut grad) = ([1.0], [1.0]);
    for kernels in all_backends() {
        let weight: Option<&[f64]> = Some(&weights[..1]);
        kernels
            .binary_cross_entropy_with_logits_with_grad(
                &[800.0],
                &[1.0],
                weight,
                &[1.0],
                layout,
                &mut loss,
                &mut grad,
            )
            .unwrap();
        digits(&[loss[0], grad[0]], &[tiny, -tiny]);
        // A range that is nearly the type's.
        let range = Range::new(-1e300, 1e300).unwrap();
        kernels
            .scaled_sigmoid_l1_with_grad(&[1.0], &[1e300], &[1e-300], range, &mut loss, &mut grad)
            .unwrap();
        digits(&[loss[0], grad[0]], &[5.378_828_427_399_902_4e299, -0.393_223_866_482_963_74]);
    }
}

#[test]
fn short_rows_and_sure_ones_have_gradients() {
    for kernels in all_backends() {
        let layout = Layout::rows(2, 2).unwrap();
        let (x, mut loss, mut a, mut b) = ([1.0_f64, 0.0, 0.0, 1.0], [0.0; 2], [0.0; 4], [0.0; 4]);
        let mut work = vec![f64::NAN; contrastive_workspace::<f64>(layout).unwrap()];
        // exp(−1024)·1024·1e250, of each pair.
        kernels
            .info_nce_with_grad(
                &x,
                &x,
                1.0 / 1024.0,
                None,
                &[1e250; 2],
                layout,
                &mut loss,
                [&mut a, &mut b],
                &mut work,
            )
            .unwrap();
        let w = 1.962_232_604_618_731_5e-192;
        digits(&a, &[-w, w, w, -w]);
        digits(&b, &[-w, w, w, -w]);
        // Similarities that are one number once rounded, and far apart.
        let (mut loss, mut a, mut b) = ([0.0_f32; 2], [0.0; 4], [0.0; 4]);
        let mut work = vec![f64::NAN; contrastive_workspace::<f32>(layout).unwrap()];
        let (queries, keys) = ([f32::MAX, 0.0, 1.0, 0.0], [f32::MAX / 2.0, 0.0, f32::MAX, 0.0]);
        let grads = [&mut a[..], &mut b];
        kernels
            .info_nce_with_grad(&queries, &keys, 1.0, None, &[1.0; 2], layout, &mut loss, grads, &mut work)
            .unwrap();
        assert_eq!((loss, a), ([f32::INFINITY, 0.0], [f32::MAX / 2.0, 0.0, 0.0, 0.0]));
        // Rows that the guard leaves at 1e-247.
        let (layout, guard) = (Layout::rows(1, 2).unwrap(), Some(NormGuard::Add(1e-3)));
        let (mut loss, mut a) = ([0.0], [0.0; 2]);
        let rows = [[1e-250, 0.0], [0.0, 1e-250], [1.0, 0.0]];
        let [mut p, mut n] = [[0.0; 2]; 2];
        kernels
            .triplet_margin_with_grad(
                &rows[0],
                &rows[1],
                &rows[2],
                1.0,
                guard,
                &[1.0],
                layout,
                &mut loss,
                [&mut a, &mut p, &mut n],
            )
            .unwrap();
        digits(&p, &[-500.0 * 2.0_f64.sqrt(), 500.0 * 2.0_f64.sqrt()]);
    }
}

/// Rows of every kind, along any axis and many at a time, against each row alone.
fn rows_are_rows_alone<T: Element>(outer: usize, len: usize, inner: usize) {
    let layout = Layout::new(outer, len, inner).unwrap();
    let (one, rows) = (Layout::rows(1, len).unwrap(), layout.row_count());
    let mut next = noise((len * inner) as u64);
    let mut number = |scale: f64| T::from(next() * scale).unwrap();
    let mut x: Vec<T> = (0..layout.elements()).map(|_| number(4.0)).collect();
    let upstream: Vec<T> = (0..rows)
        .map(|r| match r % 7 {
            0 => -number(1.0).abs(),
            1 => -T::zero(),
            2 => T::from(1.5).unwrap(),
            3 => T::nan(),
            _ => number(1.0),
        })
        .collect();
    let classes: Vec<usize> = (0..rows).map(|r| if r % 11 == 0 { usize::MAX } else { r * 7 % len }).collect();
    let weights: Vec<T> = (0..len).map(|c| T::from(c % 3).unwrap()).collect();
    let index = |row: usize, i: usize| (row / inner * len + i) * inner + row % inner;
    for row in 0..rows {
        // Sure ones, of which some are sure of their class, and such that have classes without a share.
        match row % 5 {
            0 => x[index(row, row * 7 % len)] = T::from(9.0 + (row % 80) as f64).unwrap(),
            1 => x[index(row, row % len)] = T::from(300.0).unwrap(),
            2 => x[index(row, row % len)] = -T::infinity(),
            3 if row % 15 == 3 => x[index(row, row % len)] = T::nan(),
            _ => {}
        }
    }
    let bits = |x: T| {
        assert!(!(x.is_zero() && x.is_sign_negative()), "−0");
        x.to_f64().unwrap().to_bits()
    };
    for (k, weights) in all_backends().into_iter().flat_map(|k| [(k, None), (k, Some(&weights[..]))]) {
        let mut options = CrossEntropyOptions::new().ignore_index(usize::MAX);
        if let Some(weights) = weights {
            options = options.weights(weights);
        }
        let target = Target::Classes(&classes);
        let (mut losses, mut only) = (vec![T::one(); rows], vec![T::one(); rows]);
        let (mut grad, mut data) = (vec![T::one(); x.len()], x.clone());
        k.cross_entropy(&x, target, layout, &options, &mut only).unwrap();
        k.cross_entropy_with_grad(&x, target, &upstream, layout, &options, &mut losses, &mut grad).unwrap();
        assert!(only.iter().zip(&losses).all(|(a, b)| bits(*a) == bits(*b)));
        k.cross_entropy_with_grad_in_place(&mut data, target, &upstream, layout, &options, &mut losses)
            .unwrap();
        assert!(grad.iter().zip(&data).all(|(a, b)| bits(*a) == bits(*b)), "in place");
        for row in 0..rows {
            let alone: Vec<T> = (0..len).map(|i| x[index(row, i)]).collect();
            let (target, up) = (Target::Classes(&classes[row..][..1]), &upstream[row..][..1]);
            let (mut loss, mut g) = ([T::zero()], vec![T::zero(); len]);
            k.cross_entropy_with_grad(&alone, target, up, one, &options, &mut loss, &mut g).unwrap();
            assert_eq!(bits(loss[0]), bits(losses[row]), "row {row}");
            for (i, &g) in g.iter().enumerate() {
                assert_eq!(bits(g), bits(grad[index(row, i)]), "row {row}, element {i}");
            }
        }
    }
}

#[test]
fn cross_entropy_of_many_rows_is_that_of_each_alone() {
    for (outer, len, inner) in [
        (2, 60, 300),
        (40, 10, 1),
        (3, 40, 1),
        (2, 150, 1),
        (1, 1, 5),
        (2, 9, 24),
        // Whole registers of rows, and some more.
        (17, 33, 1),
        (24, 128, 1),
        (31, 40, 1),
        (18, 17, 1),
        // So many elements that terms are kept, of whole rows and of parts.
        (30, 150, 1),
        (9, 1_003, 1),
        (3, 2_065, 1),
    ] {
        rows_are_rows_alone::<f32>(outer, len, inner);
        rows_are_rows_alone::<f64>(outer, len, inner);
    }
}

#[test]
fn special_values_follow_the_contract() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let options = CrossEntropyOptions::new();
    let class = Target::Classes(&[0]);
    for x in [[nan, 0.0, 1.0], [inf, 0.0, 1.0], [-inf; 3], [nan, inf, -inf]] {
        let (loss, grad) = row(&x, class, &options, 1.0);
        assert_eq!(loss.to_bits(), 0x7fc0_0000, "{x:?}");
        assert!(grad.iter().all(|g| g.to_bits() == 0x7fc0_0000), "{x:?}");
        let ignored = CrossEntropyOptions::new().ignore_index(0);
        assert_eq!(row(&x, class, &ignored, nan), (0.0, vec![0.0; 3]), "an ignored row may hold anything");
    }
    // A class of probability 0.
    let (loss, grad) = row(&[-inf, 0.0, 0.0], class, &options, 1.0);
    assert_eq!((loss, grad), (inf, vec![-1.0, 0.5, 0.5]));
    // A share of 0 there counts for nothing, another makes the loss infinite.
    let soft = Target::Probabilities(&[0.0, 0.5, 0.5]);
    let (loss, grad) = row(&[-inf, 0.0, 0.0], soft, &options, 1.0);
    assert_eq!((loss, grad), (core::f32::consts::LN_2, vec![0.0; 3]));
    let soft = Target::Probabilities(&[0.5, 0.5, 0.0]);
    assert_eq!(row(&[-inf, 0.0, 0.0], soft, &options, 1.0).0, inf);
    assert_eq!(row(&[-inf, 0.0, 0.0], Target::Classes(&[1]), &options.label_smoothing(0.1), 1.0).0, inf);
    // One class is certain.
    assert_eq!(row(&[3.0_f32], class, &options, 1.0), (0.0, vec![0.0]));
    // Upstream: NaN but where the derivative is 0.
    let (_, grad) = row(&[-inf, 0.0, 1.0], Target::Classes(&[1]), &options, inf);
    assert!(grad[0] == 0.0 && grad[1].is_nan() && grad[2].is_nan(), "{grad:?}");
    // A cap makes infinite logits finite.
    let (loss, grad) = row(&[-inf, 0.0, 0.0], Target::Classes(&[1]), &options.softcap(2.0), 1.0);
    assert!((loss - (2.0 + (-2.0_f32).exp()).ln()).abs() < 1e-6 && grad[0] == 0.0);
    // Gaps that overflow.
    let (loss, grad) = row(&[3e38_f32, -3e38], Target::Classes(&[1]), &options, 1.0);
    assert_eq!((loss, grad), (inf, vec![1.0, -1.0]));
    let (loss, _) =
        row(&[1e308_f64, -1e308], Target::Classes(&[1]), &CrossEntropyOptions::new().temperature(4.0), 1.0);
    assert_eq!(loss, 5e307);
    // A target that is not a number.
    let (loss, grad) = row(&[0.0, 1.0], Target::Probabilities(&[nan, 0.5]), &options, 1.0);
    assert!(loss.is_nan() && grad.iter().all(|g| g.is_nan()));
}

/// A class that cannot be: the loss is +∞ whatever is added to it, the gradient that of the formula.
fn impossible_classes<T: Element>() {
    let number = |v: f64| T::from(v).unwrap();
    let n = 37;
    for at in [0, 1, 17, 36] {
        let mut x = vec![0.0; n];
        x[at] = f64::NEG_INFINITY;
        let x: Vec<T> = narrow(&x);
        for (smoothing, z_loss, class) in
            [(0.0, 0.0, at), (0.25, 0.0, at), (0.25, 0.0, 5), (0.0, 0.5, at), (0.25, 0.5, at), (1.0, 0.5, 5)]
        {
            let options =
                CrossEntropyOptions::new().label_smoothing(number(smoothing)).z_loss(number(z_loss));
            let (loss, grad) = row(&x, Target::Classes(&[class]), &options, T::one());
            assert_eq!(loss, T::infinity(), "{at} {smoothing} {z_loss} {class}");
            let (others, share) =
                ((n - 1) as f64, |i| smoothing / n as f64 + if i == class { 1.0 - smoothing } else { 0.0 });
            let pull = 2.0 * z_loss * others.ln();
            let want: Vec<f64> =
                (0..n).map(|i| if i == at { 0.0 } else { (1.0 + pull) / others } - share(i)).collect();
            close(&grad, &want, "the gradient beside an infinite loss");
        }
        let mut q = vec![0.5 / (n - 1) as f64; n];
        q[at] = 0.5;
        let (q, layout): (Vec<T>, _) = (narrow(&q), Layout::rows(1, n).unwrap());
        let options = CrossEntropyOptions::new();
        assert_eq!(row(&x, Target::Probabilities(&q), &options, T::one()).0, T::infinity());
        for kernels in all_backends() {
            let mut loss = [T::zero()];
            kernels.kl_div(&x, &q, number(2.0), layout, &mut loss).unwrap();
            assert_eq!(loss, [T::infinity()]);
        }
    }
}

#[test]
fn an_impossible_class_has_an_infinite_loss_and_a_gradient() {
    impossible_classes::<f32>();
    impossible_classes::<f64>();
}

/// Losses and gradients of one row by every backend, with the same bits.
fn metric<T: Element>(rows: &[&[T]], margin: f64) -> (T, Vec<Vec<T>>) {
    let layout = Layout::rows(1, rows[0].len()).unwrap();
    let (guard, margin) = (Some(NormGuard::default()), T::from(margin).unwrap());
    let mut found: Option<(T, Vec<Vec<T>>)> = None;
    for kernels in all_backends() {
        let (mut loss, mut grads) = ([T::nan()], vec![vec![T::nan(); rows[0].len()]; rows.len()]);
        let g = [T::one()];
        match (rows, &mut grads[..]) {
            (&[x, y], [a, b]) => kernels
                .cosine_embedding_with_grad(x, y, &[true], margin, guard, &g, layout, &mut loss, [a, b])
                .unwrap(),
            (&[x, y, z], [a, b, c]) => kernels
                .triplet_margin_with_grad(x, y, z, margin, guard, &g, layout, &mut loss, [a, b, c])
                .unwrap(),
            _ => unreachable!("two rows or three"),
        }
        let result = (loss[0], grads);
        assert!(found.is_none() || found.as_ref() == Some(&result), "{result:?}");
        found = Some(result);
    }
    found.unwrap()
}

/// Whether each number is within 2 ULP of what is due.
fn near<T: Element>(got: &[T], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().zip(want) {
        let off = (got.to_f64().unwrap() - want).abs();
        assert!(off <= 2.0 * T::epsilon().to_f64().unwrap() * want.abs(), "{got:e} for {want:e}");
    }
}

/// What is due was computed with 120 digits.
#[test]
fn nearly_parallel_rows_have_their_digits() {
    // The smallest angle there is between two rows of integers: their determinant is −1.
    let (a, b) = (2.0_f64.powi(53), 2.0_f64.powi(24) as f32);
    let (x, y) = ([a - 1.0, a - 2.0], [a - 2.0, a - 3.0]);
    let (loss, grads) = metric(&[&x, &y], 0.0);
    near(&[loss], &[1.899_113_549_151_961_4e-65]);
    near(&grads[0], &[-3.421_138_828_918_012_3e-49, 3.421_138_828_918_012_7e-49]);
    near(&grads[1], &[3.421_138_828_918_012_7e-49, -3.421_138_828_918_013e-49]);
    let (loss, grads) = metric(&[&[b - 1.0, b - 2.0], &[b - 2.0, b - 3.0]], 0.0);
    near(&[loss], &[1.577_722_562_758_634_3e-30]);
    near(&grads[0], &[-5.293_957_498_061_498e-23, 5.293_957_813_605_992e-23]);
    near(&grads[1], &[5.293_957_813_605_992e-23, -5.293_958_129_150_523e-23]);
    // Elements of very different size.
    let (loss, grads) = metric(&[&[3.0, 2.0_f64.powi(-400)], &[7.0, 2.0_f64.powi(-401)]], 0.0);
    near(&[loss], &[5.143_517_984_165_854e-243]);
    near(&grads[0], &[-4.364_197_077_474_058e-243, 3.380_834_211_376_389e-122]);
    near(&grads[1], &[4.007_936_091_557_808e-244, -1.448_928_947_732_738_1e-122]);
    // Of triplets the distance is tiny, but not the direction.
    let [x, y] = [x, y].map(|row| [row[0], row[1], 0.0]);
    let (loss, grads) = metric(&[&x, &y, &[0.0, 0.0, 1.0]], 2.0);
    near(&[loss], &[0.585_786_437_626_904_95]);
    near(&grads[0], &[-5.551_115_123_125_783_3e-17, 5.551_115_123_125_784e-17, 5.551_115_123_125_784e-17]);
    near(&grads[1], &[5.551_115_123_125_784e-17, -5.551_115_123_125_785e-17, 0.0]);
    let (x, y) = ([b - 1.0, b - 2.0, 0.0], [b - 2.0, b - 3.0, 0.0]);
    let (_, grads) = metric(&[&x, &y, &[0.0, 0.0, 1.0]], 2.0);
    near(&grads[0], &[-2.980_232_416_405_220_5e-8, 2.980_232_594_040_936_2e-8, 2.980_232_505_223_08e-8]);
    near(&grads[1], &[2.980_232_594_040_936_2e-8, -2.980_232_771_676_673e-8, 0.0]);
}

#[test]
fn parallel_rows_are_at_no_distance() {
    fn check<T: Element>() {
        let mut next = noise(11);
        for len in [1, 2, 3, 8, 33, 100] {
            let x: Vec<f64> = (0..len).map(|_| (next() * 2000.0).round()).collect();
            let row = |by: f64| -> Vec<T> { narrow(&x.iter().map(|x| x * by).collect::<Vec<f64>>()) };
            let (x, y, z) = (row(1.0), row(3.0), row(-7.0));
            let (loss, grads) = metric(&[&x, &y], 0.0);
            assert!(loss.is_zero() && grads.iter().flatten().all(|g| g.is_zero()), "{loss:e} {grads:?}");
            // At the opposite the distance is 2, and no gradient is left but of what rounding makes of it.
            let (loss, grads) = metric(&[&x, &y, &z], 3.0);
            near(&[loss], &[1.0]);
            let size = x.iter().fold(T::zero(), |m, x| m.max(x.abs()));
            assert!(grads.iter().flatten().all(|&g| g.abs() * size < T::epsilon()), "{grads:?}");
        }
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn a_batch_of_ignored_rows_teaches_nothing() {
    let layout = Layout::rows(2, 3).unwrap();
    let options = CrossEntropyOptions::new().ignore_index(usize::MAX);
    let target = Target::Classes(&[usize::MAX; 2]);
    let (mut weights, mut upstream, mut losses, mut grad) = ([7.0_f32; 2], [7.0; 2], [7.0; 2], [7.0; 6]);
    options.row_weights(target, layout, &mut weights).unwrap();
    let mean = Reduction::MeanOver(&weights);
    mean.upstream(&mut upstream).unwrap();
    cross_entropy_with_grad(&[1.0; 6], target, &upstream, layout, &options, &mut losses, &mut grad).unwrap();
    assert_eq!((mean.of(&losses).unwrap(), upstream, grad), (0.0, [0.0; 2], [0.0; 6]));
    assert_eq!(Reduction::<f32>::Mean.of(&[]), Ok(0.0));
}

#[test]
fn wrong_arguments_are_typed_errors_and_nothing_is_written() {
    let layout = Layout::rows(2, 3).unwrap();
    let x = [0.0_f32; 6];
    let try_options = |options: &CrossEntropyOptions<'_, f32>, target: Target<'_, f32>| {
        let (mut losses, mut grad) = ([7.0; 2], [7.0; 6]);
        let result = cross_entropy_with_grad(&x, target, &[1.0; 2], layout, options, &mut losses, &mut grad);
        assert!(result.is_ok() || (losses == [7.0; 2] && grad == [7.0; 6]), "written: {result:?}");
        result
    };
    let new = CrossEntropyOptions::new;
    let good = Target::Classes(&[0, 2]);
    assert_eq!(try_options(&new(), good), Ok(()));
    let class = Error::Class { row: 1, class: 3, classes: 3 };
    assert_eq!(try_options(&new(), Target::Classes(&[0, 3])), Err(class));
    assert_eq!(class.to_string(), "row 1 has the class 3, but there are 3 classes");
    assert_eq!(try_options(&new().ignore_index(3), Target::Classes(&[0, 3])), Ok(()));
    let lengths = [
        try_options(&new(), Target::Classes(&[0])),
        try_options(&new(), Target::Probabilities(&[0.5; 5])),
        try_options(&new().weights(&[1.0]), good),
    ];
    assert!(lengths.iter().all(|e| matches!(e, Err(Error::Length { .. }))), "{lengths:?}");
    for options in [
        new().label_smoothing(-0.1),
        new().label_smoothing(f32::NAN),
        new().label_smoothing(1.5),
        new().z_loss(-1.0),
        new().z_loss(f32::INFINITY),
        new().softcap(0.0),
        new().softcap(f32::NAN),
        new().temperature(0.0),
        new().temperature(1e-40),
        new().weights(&[1.0, -1.0, 1.0]),
        new().weights(&[1.0, f32::NAN, 1.0]),
    ] {
        assert!(matches!(try_options(&options, good), Err(Error::Parameter { .. })), "{options:?}");
    }
    let (mut losses, range) = ([7.0_f32; 2], Range::new(0.0, 1.0).unwrap());
    let guard = Some(NormGuard::Max(0.0));
    let odd = Layout::rows(1, 3).unwrap();
    let work = |layout| vec![0.0; contrastive_workspace::<f32>(layout).unwrap()];
    let refused = [
        lossprep::focal_loss(&x, &[0, 1], -1.0, layout, &ClassOptions::new(), &mut losses),
        lossprep::kl_div(&x, &x, 0.0, layout, &mut losses),
        lossprep::scaled_sigmoid_huber(&x[..2], &x[..2], 0.0, range, &mut losses),
        lossprep::triplet_margin(&x, &x, &x, f32::NAN, Some(NormGuard::default()), layout, &mut losses),
        lossprep::triplet_margin(&x, &x, &x, 1.0, guard, layout, &mut losses),
        lossprep::cosine_embedding(&x, &x, &[true; 2], 0.0, guard, layout, &mut losses),
        lossprep::info_nce(&x, &x, -1.0, None, layout, &mut losses, &mut work(layout)),
        lossprep::nt_xent(&x[..3], 1.0, None, odd, &mut losses[..1], &mut work(odd)),
        Reduction::MeanOver(&[-1.0]).of(&[1.0]).map(|_| ()),
    ];
    assert!(refused.iter().all(|e| matches!(e, Err(Error::Parameter { .. }))), "{refused:?}");
    let short = lossprep::nt_xent(&x, 1.0, None, layout, &mut losses, &mut []);
    assert!(matches!(short, Err(Error::Length { argument: "workspace", .. })));
    assert_eq!(losses, [7.0; 2]);
}

/// The gradient of the losses' sum by the checker, every entry.
#[track_caller]
fn checked(
    inputs: &[&[f64]],
    outputs: usize,
    mut call: impl FnMut(&[Vec<f64>], &[f64], &mut [f64], &mut [Vec<f64>]),
) {
    let call = core::cell::RefCell::new(&mut call);
    let options = Options { mode: Mode::Full, ..Options::default() };
    let zeros: Vec<Vec<f64>> = inputs.iter().map(|x| vec![0.0; x.len()]).collect();
    let report = check_vjp(
        &options,
        inputs,
        outputs,
        |x, y| call.borrow_mut()(x, &vec![1.0; outputs], y, &mut zeros.clone()),
        |x, g, dx| call.borrow_mut()(x, g, &mut vec![0.0; outputs], dx),
    );
    assert!(report.is_right(), "{report}");
}

#[test]
fn gradients_pass_the_checker_in_full_mode() {
    let layout = Layout::rows(2, 5).unwrap();
    let mut next = noise(5);
    let mut row = |scale: f64| -> Vec<f64> { (0..10).map(|_| next() * scale).collect() };
    let (x, y, z) = (row(3.0), row(1.0), row(1.0));
    let q: Vec<f64> = row(0.3).iter().map(|v| v.abs()).collect();
    let guard = Some(NormGuard::Max(1e-12));
    let options = CrossEntropyOptions::new().label_smoothing(0.1).z_loss(0.1).softcap(4.0).temperature(1.5);
    for target in [Target::Classes(&[1, 4]), Target::Probabilities(&q)] {
        checked(&[&x], 2, |x, g, losses, dx| {
            cross_entropy_with_grad(&x[0], target, g, layout, &options, losses, &mut dx[0]).unwrap();
        });
    }
    for gamma in [0.0, 0.5, 2.0] {
        checked(&[&x], 2, |x, g, losses, dx| {
            let class = ClassOptions::new();
            lossprep::focal_loss_with_grad(&x[0], &[1, 4], gamma, g, layout, &class, losses, &mut dx[0])
                .unwrap();
        });
    }
    checked(&[&x], 2, |x, g, losses, dx| {
        lossprep::kl_div_with_grad(&x[0], &q, 2.0, g, layout, losses, &mut dx[0]).unwrap();
    });
    checked(&[&x], 2, |x, g, losses, dx| {
        lossprep::nll_with_grad(&x[0], &[1, 4], g, layout, &ClassOptions::new(), losses, &mut dx[0]).unwrap();
    });
    checked(&[&x], 10, |x, g, losses, dx| {
        let weights = Some(&[0.5, 1.0, 2.0, 3.0, 0.0][..]);
        lossprep::binary_cross_entropy_with_logits_with_grad(
            &x[0], &q, weights, g, layout, losses, &mut dx[0],
        )
        .unwrap();
    });
    let range = Range::new(-2.0, 3.0).unwrap();
    checked(&[&x], 10, |x, g, losses, dx| {
        lossprep::scaled_sigmoid_mse_with_grad(&x[0], &y, g, range, losses, &mut dx[0]).unwrap();
    });
    checked(&[&x], 10, |x, g, losses, dx| {
        lossprep::scaled_sigmoid_huber_with_grad(&x[0], &y, 0.75, g, range, losses, &mut dx[0]).unwrap();
    });
    checked(&[&x], 10, |x, g, losses, dx| {
        lossprep::scaled_sigmoid_l1_with_grad(&x[0], &y, g, range, losses, &mut dx[0]).unwrap();
    });
    checked(&[&x, &y, &z], 2, |x, g, losses, dx| {
        let [a, p, n] = dx else { unreachable!() };
        let margin = 2.5;
        lossprep::triplet_margin_with_grad(&x[0], &x[1], &x[2], margin, guard, g, layout, losses, [a, p, n])
            .unwrap();
    });
    checked(&[&x, &y], 2, |x, g, losses, dx| {
        let [a, b] = dx else { unreachable!() };
        let similar = [true, false];
        lossprep::cosine_embedding_with_grad(&x[0], &x[1], &similar, -1.5, guard, g, layout, losses, [a, b])
            .unwrap();
    });
    let size = contrastive_workspace::<f64>(layout).unwrap();
    checked(&[&x, &y], 2, |x, g, losses, dx| {
        let [a, b] = dx else { unreachable!() };
        let work = &mut vec![0.0; size];
        lossprep::info_nce_with_grad(&x[0], &x[1], 0.5, guard, g, layout, losses, [a, b], work).unwrap();
    });
    let views = Layout::rows(4, 5).unwrap();
    let size = contrastive_workspace::<f64>(views).unwrap();
    checked(&[&[x.clone(), z.clone()].concat()], 4, |x, g, losses, dx| {
        let work = &mut vec![0.0; size];
        lossprep::nt_xent_with_grad(&x[0], 0.5, guard, g, views, losses, &mut dx[0], work).unwrap();
    });
}

#[test]
fn a_saturated_output_has_the_right_error_and_gradient() {
    let range = Range::new(25.0_f32, 346.0).unwrap();
    let (mut losses, mut grad) = ([0.0_f32; 2], [0.0; 2]);
    // y rounds to 346: y − t is −321·σ(−40), and dy/dx as much.
    lossprep::scaled_sigmoid_l1_with_grad(
        &[40.0, 40.0],
        &[346.0, 25.0],
        &[1.0; 2],
        range,
        &mut losses,
        &mut grad,
    )
    .unwrap();
    let small = 321.0 * (-40.0_f64).exp();
    assert!((f64::from(losses[0]) / small - 1.0).abs() < 1e-7 && losses[1] == 321.0);
    assert!((f64::from(grad[0]) / -small - 1.0).abs() < 1e-7 && grad[1] == -grad[0]);
}

#[test]
fn what_only_rounds_to_no_derivative_passes_nan_on() {
    let (inf, class) = (f32::INFINITY, Target::Classes(&[0]));
    let (layout, range) = (Layout::rows(1, 1).unwrap(), Range::new(0.0, 1.0).unwrap());
    let (mut loss, mut grad) = ([0.0], [0.0]);
    for (g, known) in [(3e38_f32, true), (inf, false), (f32::NAN, false)] {
        let right = |g: f32| if known { g != 0.0 && g.is_finite() } else { g.is_nan() };
        let (_, both) = row(&[110.0, 0.0], class, &CrossEntropyOptions::new(), g);
        assert!(both.into_iter().all(right), "{g}");
        for kernels in all_backends() {
            kernels
                .binary_cross_entropy_with_logits_with_grad(
                    &[-110.0],
                    &[0.0],
                    None,
                    &[g],
                    layout,
                    &mut loss,
                    &mut grad,
                )
                .unwrap();
            assert!(right(grad[0]), "{g}");
            kernels
                .scaled_sigmoid_mse_with_grad(&[-110.0], &[1.0], &[g], range, &mut loss, &mut grad)
                .unwrap();
            assert!(right(grad[0]), "{g}");
        }
    }
}

#[test]
fn a_weight_brings_back_a_loss_that_overflows() {
    for (x, weight) in [([3.4e38_f32, -3.4e38], 0.25_f32), ([3e38, -1e38], 1e-3)] {
        let weights = [1.0, weight];
        let options = CrossEntropyOptions::new().weights(&weights);
        let (loss, grad) = row(&x, Target::Classes(&[1]), &options, 1.0);
        let want = (f64::from(x[0]) - f64::from(x[1])) * f64::from(weight);
        assert_eq!((loss, grad), (want as f32, vec![weight, -weight]));
    }
}

#[test]
fn shares_that_are_small_for_the_type_count() {
    let x = [0.0_f32, -3e38];
    let weights = [1.0, 1e-30];
    let options = CrossEntropyOptions::new().weights(&weights);
    let (loss, _) = row(&x, Target::Probabilities(&[0.0, 1e-20]), &options, 1.0);
    assert!((loss / 3e-12 - 1.0).abs() < 1e-6, "{loss}");
    let options = CrossEntropyOptions::new().label_smoothing(1e-45);
    let (loss, _) = row(&[0.0, 0.0, f32::NEG_INFINITY], Target::Classes(&[0]), &options, 1.0);
    assert_eq!(loss, f32::INFINITY);
}

/// What is due was computed with 60 digits.
#[test]
fn a_large_exponent_of_the_focal_loss_sees_a_small_probability() {
    let (layout, class) = (Layout::rows(1, 2).unwrap(), ClassOptions::new());
    for (far, gamma, want) in
        [(46.0_f32, 1e20, 16.047_927), (46.0, 1e25, 0.0), (37.0, 1e17, 7.283_602_3e-3), (2.0, 3.0, 1.453_384)]
    {
        for kernels in all_backends() {
            let mut loss = [1.0];
            kernels.focal_loss(&[0.0, far], &[0], gamma, layout, &class, &mut loss).unwrap();
            assert!((loss[0] - want).abs() <= 3e-7 * want, "{far} {gamma}: {} for {want}", loss[0]);
        }
    }
}

#[test]
fn the_focal_loss_of_an_impossible_class_has_a_gradient() {
    for gamma in [0.5, 2.0, 1e20] {
        for kernels in all_backends() {
            let (layout, class) = (Layout::rows(1, 2).unwrap(), ClassOptions::new());
            let (mut loss, mut grad) = ([0.0], [0.0; 2]);
            let x = [f32::NEG_INFINITY, 0.0];
            kernels
                .focal_loss_with_grad(&x, &[0], gamma, &[2.0], layout, &class, &mut loss, &mut grad)
                .unwrap();
            assert_eq!((loss[0], grad), (f32::INFINITY, [-2.0, 2.0]));
        }
    }
}

#[test]
fn dead_features_in_a_batch_have_gradients() {
    let layout = Layout::rows(2, 1).unwrap();
    let guards =
        [(NormGuard::Max(1e-12), 5e-324), (NormGuard::Max(1.0), 1e-310), (NormGuard::Add(1e-3), 1e-319)];
    for (guard, dead) in guards {
        let (mut losses, mut dx, mut dy) = ([0.0; 2], [1.0; 2], [1.0; 2]);
        let mut work = vec![0.0; contrastive_workspace::<f64>(layout).unwrap()];
        lossprep::info_nce_with_grad(
            &[1.0, 1.0],
            &[dead, 0.0],
            0.5,
            Some(guard),
            &[1.0; 2],
            layout,
            &mut losses,
            [&mut dx, &mut dy],
            &mut work,
        )
        .unwrap();
        digits(&losses, &[core::f64::consts::LN_2; 2]);
        assert!(dx.iter().all(|g| g.abs() < 1e-250) && dy.iter().all(|g| g.is_finite()), "{dx:?} {dy:?}");
    }
}

#[test]
fn a_reduction_keeps_its_range() {
    let weights = [[1e-200; 2], [1.3e-170, 1.1e-170], [1e155; 2], [1e300, 1e-300]];
    let cases: [(Reduction<'_, f64>, &[f64], f64); 6] = [
        (Reduction::Mean, &[1e308; 3], 1e308),
        (Reduction::WeightedMean(&weights[0]), &[1e-200; 2], 1e-200),
        (Reduction::WeightedMean(&weights[1]), &[1.7e-150, 1e-150], 1.379_166_666_666_666_7e-150),
        (Reduction::WeightedMean(&weights[2]), &[1e155; 2], 1e155),
        (Reduction::WeightedMean(&weights[3]), &[1e-300, 1e300], 2e-300),
        (Reduction::MeanOver(&[1e308; 2]), &[1e308, 1.0], 0.5),
    ];
    for (reduction, losses, want) in cases {
        digits(&[reduction.of(losses).unwrap()], &[want]);
    }
    let mut upstream = [0.0; 2];
    Reduction::MeanOver(&[1e308; 2]).upstream(&mut upstream).unwrap();
    assert_eq!(upstream, [5e-309; 2]);
    assert!(Reduction::Mean.of(&[f64::INFINITY, 1.0]).unwrap() == f64::INFINITY);
    assert!(Reduction::Mean.of(&[f64::NAN, 1.0]).unwrap().is_nan());
    assert_eq!(Reduction::Mean.of(&[0.0_f32; 3]).unwrap(), 0.0);
}

#[test]
fn rows_without_elements_may_be_more_than_can_be_counted() {
    let endless = Layout::new(usize::MAX, 0, 1).unwrap();
    for kernels in all_backends() {
        kernels.binary_cross_entropy_with_logits::<f32>(&[], &[], Some(&[]), endless, &mut []).unwrap();
    }
    let range = Range::new(0.0, 1.0).unwrap();
    lossprep::typed::Ranged::<f32, _>::new(&[][..], endless, range).unwrap();
}

#[test]
fn a_large_vocabulary_needs_no_buffer() {
    let n = 131_072;
    let layout = Layout::rows(1, n).unwrap();
    let mut data: Vec<f32> = (0..n).map(|i| ((i * 37) % 101) as f32 * 0.1).collect();
    let x = data.clone();
    let (mut losses, mut again, mut grad) = ([0.0], [0.0], vec![0.0; n]);
    let (target, options) = (Target::Classes(&[77_777]), CrossEntropyOptions::new());
    cross_entropy_with_grad_in_place(&mut data, target, &[1.0], layout, &options, &mut losses).unwrap();
    cross_entropy_with_grad(&x, target, &[1.0], layout, &options, &mut again, &mut grad).unwrap();
    assert_eq!((losses, &data), (again, &grad));
    let sum: f64 = data.iter().map(|&g| f64::from(g)).sum();
    assert!(sum.abs() < 1e-6, "{sum}");
}
