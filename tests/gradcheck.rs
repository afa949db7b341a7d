//! The gradient checker against a catalogue of wrong and right gradients, and what its reports say.

#[path = "gradcheck_catalogue/mod.rs"]
mod catalogue;

use catalogue::{Entry, values};
use lossprep::gradcheck::{Mode, Options, Progress, Report, Verdict, check_jvp, check_vjp};
use std::cell::Cell;

/// Runs entries, prints the table and returns the misses.
fn misses(entries: &[&Entry]) -> Vec<String> {
    let mut misses = Vec::new();
    for entry in entries {
        let report = (entry.run)();
        println!("{:<62} {:>7}  {}", entry.name, entry.len, report.verdict);
        if !entry.expected.contains(&report.verdict) {
            misses.push(format!("{} ({}): {report}", entry.name, entry.len));
        }
    }
    misses
}

fn kind(right: bool) -> Vec<String> {
    let all = catalogue::catalogue();
    let of_kind: Vec<&Entry> = all
        .iter()
        .filter(|e| e.expected != catalogue::BELOW_F32 && catalogue::is_right(e.expected) == right)
        .collect();
    assert!(of_kind.len() >= 40, "only {} entries", of_kind.len());
    misses(&of_kind)
}

#[test]
fn wrong_gradients_are_caught() {
    let misses = kind(false);
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn right_gradients_pass() {
    let misses = kind(true);
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn below_the_resolution_of_f32_nothing_is_claimed() {
    let all = catalogue::catalogue();
    let below: Vec<&Entry> = all.iter().filter(|e| e.expected == catalogue::BELOW_F32).collect();
    assert!(!below.is_empty());
    let misses = misses(&below);
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
    assert!((left / right + 2.0 / 3.0).abs() < 1e-6, "{left} {right}");
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
