//! `diagnose` is silent on good data, and names each planted fault.

use lossprep::diagnose::{Finding, binary_logits, features, logits, logits_ignoring, ranged, unit_vectors};
use lossprep::{Layout, NormGuard, Range};

/// The f32 numbers of a .npy file of the report.
fn npy(name: &str) -> Vec<f32> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("verify/data").join(name);
    let bytes = std::fs::read(path).unwrap();
    let header = 10 + usize::from(bytes[8]) + 256 * usize::from(bytes[9]);
    bytes[header..].chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// A column of a table of examples/data: the last, or those before it.
fn last_column(name: &str) -> Vec<f32> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| l.rsplit(',').next().unwrap().parse().unwrap()).collect()
}

fn digits() -> (Vec<f32>, Vec<usize>) {
    let classes: Vec<usize> = last_column("digits.csv").iter().map(|&c| c as usize).collect();
    (npy("digits_logits.npy"), classes)
}

const SHAPE: [usize; 2] = [1797, 10];

#[test]
fn good_files_give_no_finding() {
    let (x, classes) = digits();
    assert_eq!(logits(&x, &SHAPE, -1, Some(&classes)), Ok(vec![]));
    assert_eq!(logits(&x, &SHAPE, -1, None), Ok(vec![]));
    let hidden = npy("digits_features.npy");
    let layout = Layout::rows(1797, 64).unwrap();
    assert_eq!(features(&hidden, layout, NormGuard::default()), Ok(vec![]));
    let mut unit = vec![0.0; hidden.len()];
    lossprep::l2_normalize(&hidden, layout, NormGuard::default(), &mut unit).unwrap();
    assert_eq!(unit_vectors(&unit, layout), Ok(vec![]));
    let (raw, targets) = (npy("diabetes_raw.npy"), last_column("diabetes.csv"));
    assert_eq!(ranged(&raw, &targets, Range::new(25.0, 346.0).unwrap()), Ok(vec![]));
    let binary: Vec<f32> = classes.iter().map(|&c| f32::from(c == 3)).collect();
    let column: Vec<f32> = x.chunks(10).map(|row| row[3]).collect();
    assert_eq!(binary_logits(&column, &binary), Ok(vec![]));
}

#[track_caller]
fn only(findings: Result<Vec<Finding>, lossprep::Error>, text: &str) -> Finding {
    let findings = findings.unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(findings[0].to_string().contains(text), "{}", findings[0]);
    findings[0]
}

#[test]
fn every_planted_fault_of_logits_is_named() {
    let (x, classes) = digits();
    let layout = Layout::rows(1797, 10).unwrap();
    let mut p = x.clone();
    lossprep::softmax_in_place(&mut p, layout).unwrap();
    let rounded: Vec<f32> = p.iter().map(|p| (p * 1e4).round() / 1e4).collect();
    for p in [&p, &rounded] {
        let found = only(logits(p, &SHAPE, -1, Some(&classes)), "already sum to one");
        assert!(matches!(found, Finding::AlreadyProbabilities { of: 1797, .. }));
    }
    let mut log_p = x.clone();
    lossprep::log_softmax_in_place(&mut log_p, layout).unwrap();
    only(logits(&log_p, &SHAPE, -1, Some(&classes)), "log-probabilities");
    // The classes are along the last axis.
    let found = only(logits(&x, &SHAPE, 0, Some(&classes)), "fit axis 1");
    assert_eq!(found, Finding::Axis { fits: 1, len: 10 });
    let mut wrong = classes.clone();
    wrong[7] = 10;
    let found = only(logits(&x, &SHAPE, -1, Some(&wrong)), "counted from 0; is it an index to ignore?");
    assert_eq!(found, Finding::Class { row: 7, class: 10, classes: 10 });
    only(logits(&x, &SHAPE, -1, Some(&classes[1..])), "1796 targets for 1797 rows");
    let mut broken = x.clone();
    broken[55] = f32::NAN;
    let found = only(logits(&broken, &SHAPE, -1, Some(&classes)), "NaN or infinite");
    assert_eq!(found, Finding::NotFinite { count: 1, first: 55 });
    // A hundred times too large: certain, and where wrong beyond correction.
    let large: Vec<f32> = x.iter().map(|x| x * 100.0).collect();
    let shifted: Vec<usize> = classes.iter().map(|c| (c + 1) % 10).collect();
    only(logits(&large, &SHAPE, -1, Some(&classes)).map(|f| f[..1].to_vec()), "end of their range");
    let found = logits(&large, &SHAPE, -1, Some(&shifted)).unwrap();
    assert!(matches!(found[..], [Finding::Saturated { .. }, Finding::Vanishing { .. }]), "{found:?}");
}

#[test]
fn rows_to_ignore_hide_nothing() {
    let (mut x, mut classes) = digits();
    const NONE: usize = usize::MAX;
    // Every third row is padding, whatever it holds.
    for r in (0..1797).step_by(3) {
        classes[r] = NONE;
        x[10 * r..][..10].fill(if r % 2 == 0 { f32::NAN } else { 0.0 });
    }
    assert_eq!(logits_ignoring(&x, &SHAPE, -1, &classes, NONE), Ok(vec![]));
    // Without a word of it, they are classes that do not exist.
    assert!(matches!(logits(&x, &SHAPE, -1, Some(&classes)).unwrap()[..], [Finding::NotFinite { .. }]));
    let finite: Vec<f32> = x.iter().map(|&x| if x.is_nan() { 0.0 } else { x }).collect();
    let found = only(logits(&finite, &SHAPE, -1, Some(&classes)), "an index to ignore?");
    assert_eq!(found, Finding::Class { row: 0, class: NONE, classes: 10 });
    // What is found in the other rows.
    let mut p = finite.clone();
    lossprep::softmax_in_place(&mut p, Layout::rows(1797, 10).unwrap()).unwrap();
    for r in (0..1797).step_by(3) {
        p[10 * r..][..10].fill(0.0);
    }
    let found = only(logits_ignoring(&p, &SHAPE, -1, &classes, NONE), "already sum to one");
    assert!(matches!(found, Finding::AlreadyProbabilities { of: 1198, .. }));
    only(logits_ignoring(&finite, &SHAPE, 0, &classes, NONE), "fit axis 1");
    only(logits_ignoring(&finite, &SHAPE, -1, &classes[1..], NONE), "1796 targets for 1797 rows");
    let large: Vec<f32> = x.iter().map(|x| x * 100.0).collect();
    let shifted: Vec<usize> = classes.iter().map(|&c| if c == NONE { c } else { (c + 1) % 10 }).collect();
    let found = logits_ignoring(&large, &SHAPE, -1, &shifted, NONE).unwrap();
    assert!(matches!(found[..], [Finding::Saturated { .. }, Finding::Vanishing { .. }]), "{found:?}");
    // Classes that are counted from 1 do not end it either.
    let from_one: Vec<usize> = classes.iter().map(|&c| if c == NONE { c } else { c + 1 }).collect();
    let found = logits_ignoring(&large, &SHAPE, -1, &from_one, NONE).unwrap();
    assert!(matches!(found[0], Finding::Class { class: 10, classes: 10, .. }), "{found:?}");
    assert!(matches!(found[1..], [Finding::Saturated { .. }, Finding::Vanishing { .. }]), "{found:?}");
    assert_eq!(logits_ignoring(&x, &SHAPE, -1, &[NONE; 1797], NONE), Ok(vec![]));
}

#[test]
fn every_planted_fault_of_features_is_named() {
    let layout = Layout::rows(1797, 64).unwrap();
    let mut x = npy("digits_features.npy");
    only(unit_vectors(&x, layout), "normalise them first");
    x[64 * 5..][..64].fill(0.0);
    x[64 * 9..][..64].fill(1e-20);
    let found = only(features(&x, layout, NormGuard::default()), "no direction");
    assert_eq!(found, Finding::ZeroNorm { rows: 2, first: 5 });
    x[3] = f32::INFINITY;
    only(features(&x, layout, NormGuard::default()), "NaN or infinite");
}

#[test]
fn every_planted_fault_of_a_regression_is_named() {
    let (raw, mut targets) = (npy("diabetes_raw.npy"), last_column("diabetes.csv"));
    let range = Range::new(25.0, 346.0).unwrap();
    // Scaled already: the sigmoid of 25 … 346 is 1.
    let mut scaled = raw.clone();
    lossprep::scaled_sigmoid_in_place(&mut scaled, range).unwrap();
    let found = ranged(&scaled, &targets, range).unwrap();
    assert!(matches!(found[..], [Finding::Saturated { .. }, Finding::Vanishing { .. }]), "{found:?}");
    targets[2] = 400.0;
    let found = only(ranged(&raw, &targets, range), "cannot reach");
    assert_eq!(found, Finding::OutsideRange { count: 1, first: 2, lo: 25.0, hi: 346.0 });
}

#[test]
fn every_planted_fault_of_binary_logits_is_named() {
    let x: Vec<f32> = (0..20).map(|i| i as f32 - 9.5).collect();
    let targets: Vec<f32> = (0..20).map(|i| f32::from(i > 9)).collect();
    assert_eq!(binary_logits(&x, &targets), Ok(vec![]));
    let p: Vec<f32> = x.iter().map(|x| 1.0 / (1.0 + (-x).exp())).collect();
    let found = only(binary_logits(&p, &targets), "applies the sigmoid again");
    assert_eq!(found, Finding::AlreadySigmoid { count: 20 });
    let wrong: Vec<f32> = x.iter().map(|x| -100.0 * x).collect();
    only(binary_logits(&wrong, &targets), "cannot be corrected");
    let labels: Vec<f32> = targets.iter().map(|t| 2.0 * t - 1.0).collect();
    only(binary_logits(&x, &labels), "10 targets lie outside the range [0, 1]");
}
