//! The gradient checker against a catalogue of wrong and right gradients, and what its reports say.

#[path = "gradcheck_catalogue/mod.rs"]
mod catalogue;

use catalogue::{Entry, values};
use lossprep::gradcheck::{
    Mode, Number, Options, Progress, Report, Verdict, check_adjoint, check_jvp, check_vjp, check_vjp_dual,
};
use std::cell::Cell;

/// Runs the entries that are asked for, at least so many, on two threads; prints the table and returns the misses.
fn misses(least: usize, wanted: fn(&Entry) -> bool) -> Vec<String> {
    let part = |n: usize| {
        let all = catalogue::catalogue();
        let wanted: Vec<&Entry> = all.iter().filter(|e| wanted(e)).collect();
        assert!(wanted.len() >= least, "only {} entries", wanted.len());
        let mut misses = Vec::new();
        for entry in wanted.into_iter().skip(n).step_by(2) {
            let report = (entry.run)();
            println!("{:<62} {:>7}  {}", entry.name, entry.len, report.verdict);
            if !entry.expected.contains(&report.verdict) {
                misses.push(format!("{} ({}): {report}", entry.name, entry.len));
            }
        }
        misses
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| part(1));
        [part(0), other.join().unwrap()].concat()
    })
}

#[test]
fn wrong_gradients_are_caught() {
    let misses = misses(40, |e| e.expected != catalogue::BELOW_F32 && !catalogue::is_right(e.expected));
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn right_gradients_pass() {
    let misses = misses(40, |e| e.expected != catalogue::BELOW_F32 && catalogue::is_right(e.expected));
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn below_the_resolution_of_f32_nothing_is_claimed() {
    let misses = misses(1, |e| e.expected == catalogue::BELOW_F32);
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn a_million_elements_pass() {
    catalogue::million().assert();
}

fn softmax_scaled(options: &Options<'_>, len: usize, factor: f64) -> Report {
    check_vjp(
        options,
        &[&values::<f64>(len, 1.5)],
        len,
        |x, y| catalogue::softmax(&x[0], y),
        |x, g, dx| {
            catalogue::softmax_vjp(&x[0], g, &mut dx[0]);
            dx[0].iter_mut().for_each(|d| *d *= factor);
        },
    )
}

#[test]
fn the_verdict_does_not_hang_on_the_seed() {
    for mode in [Mode::Full, Mode::Sampled] {
        for seed in 0..40 {
            let options = Options { seed, mode, ..Options::default() };
            let right = softmax_scaled(&options, 60, 1.0);
            assert_eq!(right.verdict, Verdict::Pass, "{right}");
            let wrong = softmax_scaled(&options, 60, 1.000_001);
            assert_eq!(wrong.verdict, Verdict::Fail, "{wrong}");
        }
    }
}

#[test]
fn a_grid_hidden_inside_is_no_derivative_of_zero() {
    for (x, offset) in [(0.5, 1e11), (0.3, 1e11), (0.7, 1e10), (-0.1, 1e10), (3.7, 1e11), (1.1, 2e11)] {
        for seed in 0..20 {
            let check = |slope: f64| {
                check_vjp(
                    &Options { seed, ..Options::default() },
                    &[&[x]],
                    1,
                    |x, y| y[0] = (x[0][0] + offset) - offset,
                    |_, g, dx| dx[0][0] = slope * g[0],
                )
            };
            let right = check(1.0);
            assert!(
                matches!(right.verdict, Verdict::Pass | Verdict::Inconclusive),
                "{x} + {offset}: {right}"
            );
            for slope in [0.0, 1.1] {
                let wrong = check(slope);
                assert_eq!(wrong.verdict, Verdict::Fail, "{x} + {offset}: {wrong}");
            }
        }
    }
}

/// Random rows with saturated, equal and zero elements among them: how often each verdict is given.
fn verdicts<T: Number>(factor: f64) -> (usize, usize, usize) {
    type Forward<T> = fn(&[T], &mut [T]);
    type Backward<T> = fn(&[T], &[T], &mut [T]);
    let operations: [(Forward<T>, Backward<T>); 3] = [
        (catalogue::softmax, catalogue::softmax_vjp),
        (catalogue::log_softmax, catalogue::log_softmax_vjp),
        (
            |x, y| catalogue::normalize(x, y, T::narrow(1e-3)),
            |x, g, dx| catalogue::normalize_vjp(x, g, dx, T::narrow(1e-3)),
        ),
    ];
    let (mut pass, mut fail, mut other) = (0, 0, 0);
    for seed in 0..200 {
        let mut x: Vec<T> = values(2 + seed % 10, 4.0);
        let first = x[0];
        x[1] = [first, T::zero(), T::narrow(20.0), T::narrow(-20.0), x[1], x[1]][seed % 6];
        for (forward, vjp) in operations {
            let report = check_vjp(
                &Options { seed: seed as u64, ..Options::default() },
                &[&x],
                x.len(),
                |x, y| forward(&x[0], y),
                |x, g, dx| {
                    vjp(&x[0], g, &mut dx[0]);
                    dx[0].iter_mut().for_each(|d| *d = *d * T::narrow(factor));
                },
            );
            match report.verdict {
                Verdict::Pass | Verdict::Kink => pass += 1,
                Verdict::Fail => fail += 1,
                _ => other += 1,
            }
        }
    }
    (pass, fail, other)
}

#[test]
fn random_rows_raise_no_false_alarm_and_hide_no_error() {
    assert_eq!(verdicts::<f64>(1.0), (600, 0, 0));
    assert_eq!(verdicts::<f64>(1.000_001), (0, 600, 0));
    // Saturated rows are beyond f32 alone: nothing is claimed of them, but no right one fails.
    let (pass, fail, other) = verdicts::<f32>(1.0);
    assert!(fail == 0 && pass > 10 * other, "{pass} {fail} {other}");
    let (pass, fail, other) = verdicts::<f32>(1.001);
    assert!(pass == 0 && fail > 10 * other, "{pass} {fail} {other}");
    let (pass, fail, other) = verdicts::<f32>(1.0001);
    assert!(fail > 10 * (pass + other), "{pass} {fail} {other}");
}

#[test]
fn the_same_seed_gives_the_same_report() {
    let options = Options { seed: 77, mode: Mode::Sampled, ..Options::default() };
    assert_eq!(softmax_scaled(&options, 500, 1.01), softmax_scaled(&options, 500, 1.01));
}

#[test]
fn the_message_names_coordinate_ratio_and_slope() {
    let x: Vec<f64> = values(30_000, 1.5);
    let wrong = 12_345;
    let report = check_vjp(
        &Options { mode: Mode::Sampled, ..Options::default() },
        &[&x],
        x.len(),
        |x, y| y.iter_mut().zip(&x[0]).for_each(|(y, x)| *y = x.exp()),
        |x, g, dx| {
            dx[0].iter_mut().zip(&x[0]).zip(g).for_each(|((d, x), g)| *d = x.exp() * *g);
            dx[0][wrong] *= -1.0;
        },
    );
    assert_eq!(report.verdict, Verdict::Fail);
    let worst = report.worst.as_ref().expect("a failure has a worst coordinate");
    assert_eq!((worst.input, worst.output), (Some((0, wrong)), Some(wrong)));
    assert!((worst.ratio() + 1.0).abs() < 1e-8, "{report}");
    assert!((worst.numeric - x[wrong].exp()).abs() <= worst.error, "{report}");
    let slope = worst.taylor_slope.expect("a wrong gradient leaves a remainder");
    assert!((slope - 1.0).abs() < 0.1, "{report}");
    let text = report.to_string();
    for part in [
        "Fail: vjp check in f64, sampled",
        "d output[12345] / d input 0[12345]",
        "a sign is wrong",
        "seed 0x5eed",
    ] {
        assert!(text.contains(part), "{part} is missing from\n{text}");
    }
}

#[test]
fn the_message_says_what_a_wrong_jacobian_looks_like() {
    let say = |vjp: fn(&[f64], &[f64], &mut [f64])| {
        let x: Vec<f64> = values(7, 1.5);
        check_vjp(
            &Options::default(),
            &[&x],
            7,
            |x, y| catalogue::softmax(&x[0], y),
            |x, g, dx| vjp(&x[0], g, &mut dx[0]),
        )
        .to_string()
    };
    let dropped = say(|x, g, dx| {
        catalogue::softmax(x, dx);
        dx.iter_mut().zip(g).for_each(|(d, g)| *d *= g);
    });
    assert!(dropped.contains("ratio"), "{dropped}");
    let zero = say(|_, _, dx| dx.fill(0.0));
    assert!(zero.contains("the gradient is zero"), "{zero}");
    let double = say(|x, g, dx| {
        catalogue::softmax_vjp(x, g, dx);
        dx.iter_mut().for_each(|d| *d *= 2.0);
    });
    assert!(double.contains("a factor too many"), "{double}");
}

/// What a report says about a Jacobian as a whole, from the vjp of a 7-element softmax.
fn hint(vjp: fn(&[f64], &[f64], &mut [f64])) -> String {
    let x: Vec<f64> = values(7, 1.5);
    let forward = |x: &mut [Vec<f64>], y: &mut [f64]| catalogue::softmax(&x[0], y);
    let report = check_vjp(&Options::default(), &[&x], 7, forward, |x, g, dx| vjp(&x[0], g, &mut dx[0]));
    assert_eq!(report.verdict, Verdict::Fail, "{report}");
    let worst = report.worst.expect("a failure has a worst entry");
    // Where every entry is compared, an entry is named.
    assert!(worst.input.is_some() && worst.output.is_some());
    worst.meaning
}

#[test]
fn the_hint_names_what_went_wrong() {
    let dropped = hint(|x, g, dx| {
        catalogue::softmax(x, dx);
        dx.iter_mut().zip(g).for_each(|(d, g)| *d *= g);
    });
    assert!(dropped.contains("a sum over all elements is missing or wrong"), "{dropped}");
    let shifted = hint(|x, g, dx| {
        catalogue::softmax_vjp(x, g, dx);
        dx.rotate_left(1);
    });
    assert!(shifted.contains("off by one"), "{shifted}");
    let direct = hint(|x, g, dx| {
        let mut y = vec![0.0; x.len()];
        catalogue::softmax(x, &mut y);
        catalogue::softmax_vjp(x, g, dx);
        (0..x.len()).for_each(|i| dx[i] -= g[i] * y[i]);
    });
    assert!(direct.contains("on the diagonal only"), "{direct}");
    let one = hint(|x, g, dx| {
        catalogue::softmax_vjp(x, g, dx);
        dx[4] *= 1.5;
    });
    assert!(one.contains("only the derivatives in input element 4"), "{one}");
    let mean = hint(|x, g, dx| {
        catalogue::softmax_vjp(x, g, dx);
        dx.iter_mut().for_each(|d| *d /= 7.0);
    });
    assert!(mean.contains("1/7"), "{mean}");
}

#[test]
fn a_transposed_jacobian_is_recognised() {
    let a = |i: usize, j: usize| (1 + 3 * i + j * j) as f64;
    let report = check_vjp(
        &Options::default(),
        &[&[0.5, -1.0, 2.0]],
        3,
        |x, y| (0..3).for_each(|i| y[i] = (0..3).map(|j| a(i, j) * x[0][j]).sum()),
        |_, g, dx| (0..3).for_each(|j| dx[0][j] = (0..3).map(|i| a(j, i) * g[i]).sum()),
    );
    assert!(report.to_string().contains("transposed"), "{report}");
}

#[test]
fn a_derivative_must_be_linear_in_what_it_is_given() {
    let clipped = check_vjp(
        &Options::default(),
        &[&[0.5_f64, -1.0]],
        2,
        |x, y| (0..2).for_each(|i| y[i] = x[0][i].exp()),
        |x, g, dx| (0..2).for_each(|i| dx[0][i] = x[0][i].exp() * g[i].clamp(-100.0, 100.0)),
    );
    assert_eq!(clipped.verdict, Verdict::Fail);
    assert!(clipped.to_string().contains("not linear in the vector it is given"), "{clipped}");
}

#[test]
fn the_verdicts_say_why() {
    let one = |forward: fn(f64) -> f64, vjp: fn(f64, f64) -> f64, x: f64| {
        check_vjp(
            &Options::default(),
            &[&[x]],
            1,
            |x, y| y[0] = forward(x[0][0]),
            |x, g, dx| dx[0][0] = vjp(x[0][0], g[0]),
        )
    };
    // The function exists to the right of 0 only.
    let edge = one(|x| x.powf(1.5), |x, g| 1.5 * g * x.sqrt(), 0.0);
    assert_eq!(edge.verdict, Verdict::Inconclusive, "{edge}");
    assert!(edge.reason.contains("not finite, or not differentiable, nearby"), "{edge}");
    let infinite = one(|x| 1.0 / x, |x, g| -g / (x * x), 0.0);
    assert_eq!(infinite.verdict, Verdict::NonFinite);
    assert_eq!(infinite.reason, "output 0 of the function is inf");
    let unwritten = check_vjp(
        &Options::default(),
        &[&[1.0, 2.0]],
        1,
        |x, y| y[0] = x[0][0] * x[0][1],
        |x, g, dx| dx[0][0] = g[0] * x[0][1],
    );
    assert_eq!(
        (unwritten.verdict, unwritten.reason.as_str()),
        (Verdict::Impure, "the vjp: element 1 is never written")
    );
    let runs = Cell::new(0.0);
    let drifting = check_vjp(
        &Options::default(),
        &[&[1.0]],
        1,
        |x, y| {
            runs.set(runs.get() + 1.0);
            y[0] = x[0][0] + runs.get();
        },
        |_, g, dx| dx[0][0] = g[0],
    );
    assert_eq!(drifting.verdict, Verdict::NonDeterministic, "{drifting}");
    assert!(drifting.reason.starts_with("the function: element 0 is "), "{drifting}");
}

#[test]
fn adjoints_are_compared_without_a_step() {
    let report = check_adjoint(
        &Options::default(),
        &[&[0.5, 2.0]],
        1,
        |x, g, dx| dx[0].iter_mut().zip(&x[0]).for_each(|(d, x)| *d = 2.0 * x * g[0]),
        |x, u, dy| dy[0] = 2.0 * (x[0][0] * u[0][0] - x[0][1] * u[0][1]),
    );
    assert_eq!(report.verdict, Verdict::Fail);
    let worst = report.worst.expect("a failure has a worst entry");
    assert_eq!((worst.input, worst.output), (Some((0, 1)), Some(0)));
    assert_eq!((worst.analytic, worst.numeric, worst.steps.len()), (4.0, -4.0, 0));
}

#[test]
fn dual_numbers_see_what_differences_cannot() {
    // 1 − e⁻⁴⁰ does not move; its derivative is known all the same.
    fn saturated<T: num_traits::Float>(x: T) -> T {
        T::one() / (T::one() + (-x).exp())
    }
    let check = |factor: f64| {
        check_vjp_dual(
            &Options::default(),
            &[&[40.0_f64]],
            1,
            |x, y| y[0] = saturated(x[0][0]),
            |x, g, dx| {
                let e = (-x[0][0]).exp();
                dx[0][0] = factor * g[0] * e / ((1.0 + e) * (1.0 + e));
            },
        )
    };
    assert_eq!(check(1.0).verdict, Verdict::Pass);
    assert_eq!(check(1.000_01).verdict, Verdict::Fail);
}

/// The README's example prints what the README says.
#[test]
fn the_readme_shows_the_message() {
    use lossprep::reference::softmax;
    let report = check_vjp(
        &Options::default(),
        &[&[0.3_f64, -1.2, 0.5]],
        3,
        |x, y| softmax(&x[0], y),
        |x, g, dx| {
            let mut y = [0.0; 3];
            softmax(&x[0], &mut y);
            (0..3).for_each(|i| dx[0][i] = y[i] * g[i]);
        },
    );
    let readme = include_str!("../README.md");
    // The last digits of exp are the platform's: compared are the words and the leading digits.
    for line in report.to_string().lines() {
        let head: String = line.chars().take(34).collect();
        assert!(readme.contains(&head), "the README lacks {head:?} of\n{report}");
    }
}

/// The table kept in the docs is that of the catalogue.
#[test]
fn the_docs_list_the_catalogue() {
    let docs = include_str!("../docs/gradcheck-catalogue.md");
    for entry in catalogue::catalogue() {
        let row = format!("{:<62} {:>7}  {}", entry.name, entry.len, entry.expected[0]);
        assert!(docs.lines().any(|line| line == row), "the table lacks {row:?}");
    }
}

#[test]
fn a_right_gradient_has_a_remainder_of_second_order() {
    let report = check_jvp(
        &Options::default(),
        &[&[0.3_f64, -0.8]],
        1,
        |x, y| y[0] = (x[0][0] * x[0][1]).exp(),
        |x, u, dy| dy[0] = (x[0][0] * x[0][1]).exp() * (u[0][0] * x[0][1] + x[0][0] * u[0][1]),
    );
    assert_eq!(report.verdict, Verdict::Pass, "{report}");
    let slope = report.worst.and_then(|w| w.taylor_slope).expect("exp has a second derivative");
    assert!((slope - 2.0).abs() < 0.2, "{slope}");
}

#[test]
fn a_kink_reports_both_sides() {
    let report = check_vjp(
        &Options::default(),
        &[&[0.0_f64]],
        1,
        |x, y| y[0] = if x[0][0] < 0.0 { -2.0 * x[0][0] } else { 3.0 * x[0][0] },
        |_, g, dx| dx[0][0] = 0.5 * g[0],
    );
    assert_eq!(report.verdict, Verdict::Kink, "{report}");
    let (left, right) = report.worst.and_then(|w| w.sides).expect("both one-sided derivatives");
    // The slopes −2 and 3, times a random weight and step, either of which may turn them round.
    let (low, high) = (left.abs().min(right.abs()), left.abs().max(right.abs()));
    assert!(left * right < 0.0 && (low / high - 2.0 / 3.0).abs() < 1e-6, "{left} {right}");
}

#[test]
fn progress_is_reported_to_the_end() {
    let last = Cell::new(Progress { done: 0, total: 0 });
    let note = |p: Progress| last.set(p);
    let options = Options { progress: Some(&note), ..Options::default() };
    softmax_scaled(&options, 9, 1.0).assert();
    // Two kinds of two random directions, and nine coordinates.
    assert_eq!(last.get(), Progress { done: 13, total: 13 });
}

#[test]
#[should_panic(expected = "Fail: vjp check in f64")]
fn the_macro_panics_with_the_report() {
    lossprep::assert_gradients!(softmax_scaled(&Options::default(), 5, 1.1));
}
