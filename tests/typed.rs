//! What `typed` accepts and refuses; and the messages of the compiler for what does not compile, to the letter.

use lossprep::typed::{LogProbabilities, Logits, Probabilities, Ranged, UnitVectors};
use lossprep::{
    ClassOptions, CrossEntropyOptions, EmptyRows, Error, Layout, NormGuard, Range, SoftmaxOptions, Target,
    typed,
};

/// The messages are pinned for one compiler: others phrase them differently.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn the_messages_tell_what_to_do() {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = std::process::Command::new(rustc).arg("--version").output();
    let version = version.map_or_else(|e| e.to_string(), |o| String::from_utf8_lossy(&o.stdout).into_owned());
    if version.starts_with(COMPILER) {
        trybuild::TestCases::new().compile_fail("tests/typed/*.rs");
    } else {
        // Past libtest, which keeps what a passing test prints.
        use std::io::Write;
        let _ =
            writeln!(std::io::stderr(), "NOT RUN: the messages are pinned for {COMPILER}, this is {version}");
    }
}

#[test]
fn constructors_check_and_name_the_row() {
    let layout = Layout::rows(2, 2).unwrap();
    let row = |result: Result<(), Error>| match result {
        Err(Error::Row { row, .. }) => Some(row),
        Ok(()) => None,
        Err(other) => panic!("{other}"),
    };
    let p = |v: [f32; 4]| row(Probabilities::new(v, layout).map(|_| ()));
    assert_eq!(p([0.25, 0.75, 1.0, 0.0]), None);
    assert_eq!(p([0.25, 0.75, 0.5, 0.5 + 1e-6]), None, "to the tolerance");
    assert_eq!(p([0.25, 0.75, 0.5, 0.5 + 1e-4]), Some(1));
    assert_eq!(p([1.5, -0.5, 1.0, 0.0]), Some(0));
    assert_eq!(p([0.5, 0.5, f32::NAN, 0.5]), Some(1));
    let l = |v: [f64; 4]| row(LogProbabilities::new(v, layout).map(|_| ()));
    let half = 0.5_f64.ln();
    assert_eq!(l([half, half, 0.0, f64::NEG_INFINITY]), None);
    assert_eq!(l([half, half, -1.0, -1.0]), Some(1));
    let u = |v: [f64; 4]| row(UnitVectors::new(v, layout).map(|_| ()));
    assert_eq!(u([0.6, 0.8, 0.0, -1.0]), None);
    assert_eq!(u([0.0, 0.0, 0.0, -1.0]), Some(0));
    let range = Range::new(0.0, 1.0).unwrap();
    let r = |v: [f64; 4]| row(Ranged::new(v, layout, range).map(|_| ()));
    assert_eq!(r([0.0, 1.0, 0.5, 0.25]), None);
    assert_eq!(r([0.0, 1.0, 0.5, 1.25]), Some(1));
    // Rows along another axis.
    let columns = Layout::new(1, 2, 2).unwrap();
    assert!(Probabilities::new([0.25_f32, 1.0, 0.75, 0.0], columns).is_ok());
    // An unchecked one takes anything that fits; nothing takes what does not.
    assert!(Probabilities::new_unchecked([7.0_f32; 4], layout).is_ok());
    assert!(matches!(Logits::new([7.0_f32; 3], layout), Err(Error::Length { .. })));
    assert!(matches!(UnitVectors::new_unchecked([7.0_f32; 3], layout), Err(Error::Length { .. })));
}

#[test]
fn what_the_operations_give_passes_the_checks() {
    let layout = Layout::rows(3, 50).unwrap();
    let x: Vec<f32> = (0..150).map(|i| ((i * 37) % 101) as f32 * 0.21 - 9.0).collect();
    let p = Logits::new(x.clone(), layout).unwrap().softmax().unwrap();
    assert!(Probabilities::new(p.values(), layout).is_ok());
    let log_p = typed::log_softmax(Logits::new(&x[..], layout).unwrap(), vec![0.0; 150]).unwrap();
    assert!(LogProbabilities::new(log_p.into_inner(), layout).is_ok());
    let unit = typed::l2_normalize(&x, layout, NormGuard::default(), vec![0.0; 150]).unwrap();
    assert!(UnitVectors::new(unit.values(), unit.layout()).is_ok());
    let range = Range::new(-2.0, 5.0).unwrap();
    let y = typed::scaled_sigmoid(&x, layout, range, vec![0.0; 150]).unwrap();
    assert_eq!(y.range(), range);
    assert!(Ranged::new(y.values(), layout, range).is_ok());
}

#[test]
fn a_wrapper_costs_nothing_and_gives_the_bits_of_the_plain_call() {
    assert_eq!(size_of::<Logits<f32, &[f32]>>(), size_of::<(&[f32], Layout)>());
    let layout = Layout::rows(2, 3).unwrap();
    let x = [1.0_f64, -2.0, 0.5, 3.0, 0.0, 0.25];
    let options = CrossEntropyOptions::new();
    let (mut typed_losses, mut plain) = ([0.0; 2], [0.0; 2]);
    let logits = Logits::new(x, layout).unwrap();
    logits.cross_entropy(&[0, 2], &options, &mut typed_losses).unwrap();
    let target = Target::Classes(&[0, 2]);
    lossprep::cross_entropy(&x, target, layout, &options, &mut plain).unwrap();
    assert_eq!(typed_losses, plain);
    let p = typed::softmax(logits, [0.0; 6]).unwrap();
    typed::kl_div(logits, p, 1.0, &mut plain).unwrap();
    assert!(plain.iter().all(|l| l.abs() < 1e-15));
    // Two layouts of the same size are still two.
    let turned = UnitVectors::new_unchecked(x, Layout::rows(3, 2).unwrap()).unwrap();
    let unit = UnitVectors::new_unchecked(x, layout).unwrap();
    let refused = typed::triplet_margin(unit, turned, unit, 0.2, &mut plain);
    assert!(matches!(refused, Err(Error::Parameter { name: "layout", .. })));
}

#[test]
fn softmax_with_options_is_that_of_the_plain_call_and_empty_rows_are_as_documented() {
    let layout = Layout::new(2, 3, 2).unwrap();
    let x: [f64; 12] = core::array::from_fn(|i| ((i * 37) % 101) as f64 * 0.21 - 9.0);
    let logits = Logits::new(x, layout).unwrap();
    let (mut plain, mut in_logs) = ([0.0; 12], [0.0; 12]);
    for (policy, sum) in [(EmptyRows::Zeros, 0.0), (EmptyRows::Uniform, 1.0), (EmptyRows::Nan, f64::NAN)] {
        let options = SoftmaxOptions::new().temperature(0.7).lengths(&[3, 2, 0, 1]).empty_rows(policy);
        lossprep::softmax_with(&x, layout, &options, &mut plain).unwrap();
        lossprep::log_softmax_with(&x, layout, &options, &mut in_logs).unwrap();
        let p = typed::softmax_with(logits, &options, [0.0; 12]).unwrap();
        let log_p = typed::log_softmax_with(logits, &options, [0.0; 12]).unwrap();
        assert_eq!(bits(p.values()), bits(&plain));
        assert_eq!(bits(log_p.values()), bits(&in_logs));
        assert_eq!(bits(logits.softmax_with(&options).unwrap().values()), bits(&plain));
        assert_eq!(bits(logits.log_softmax_with(&options).unwrap().values()), bits(&in_logs));
        // Row 2, in which nothing takes part, is elements 6, 8 and 10.
        let empty = plain[6] + plain[8] + plain[10];
        assert!((empty - sum).abs() < 1e-15 || (empty.is_nan() && sum.is_nan()));
        let row = |result: Result<(), Error>| matches!(result, Err(Error::Row { row: 2, .. }));
        assert_eq!(row(Probabilities::new(plain, layout).map(|_| ())), policy != EmptyRows::Uniform);
        assert_eq!(row(LogProbabilities::new(in_logs, layout).map(|_| ())), policy != EmptyRows::Uniform);
        if policy == EmptyRows::Zeros {
            let (mut losses, mut grad) = ([7.0; 4], [7.0; 12]);
            let options = CrossEntropyOptions::new();
            typed::soft_cross_entropy_with_grad(logits, p, &[1.0; 4], &options, &mut losses, &mut grad)
                .unwrap();
            assert_eq!([losses[2], grad[6], grad[8], grad[10]], [0.0; 4]);
            typed::kl_div_with_grad(logits, p, 0.7, &[1.0; 4], &mut losses, &mut grad).unwrap();
            assert_eq!([losses[2], grad[6], grad[8], grad[10]], [0.0; 4]);
            typed::nll(log_p, &[0; 4], &ClassOptions::new(), &mut losses).unwrap();
            assert_eq!(losses[2], f64::INFINITY);
            let options = ClassOptions::new().ignore_index(3);
            typed::nll(log_p, &[0, 0, 3, 0], &options, &mut losses).unwrap();
            assert_eq!(losses[2], 0.0);
        }
    }
}

/// The bits of what a call writes: so many losses, and up to three gradients of 12 elements.
fn written(losses: usize, call: impl FnOnce(&mut [f64], [&mut [f64]; 3]) -> Result<(), Error>) -> Vec<u64> {
    let (mut losses, mut grads) = (vec![7.0; losses], [[7.0; 12]; 3]);
    call(&mut losses, grads.each_mut().map(|g| &mut g[..])).unwrap();
    bits(&[&losses[..], grads.as_flattened()].concat())
}

#[test]
fn gradients_have_the_bits_of_the_plain_calls() {
    let at = Layout::new(2, 3, 2).unwrap();
    let tensor =
        |k: usize| core::array::from_fn::<f64, 12, _>(|i| ((i * 37 + 11 * k) % 101) as f64 * 0.061 - 2.9);
    let (raw, classes, similar) = (tensor(0), [2, 0, 1, 1], [true, false, false, true]);
    let (upstream, upstreams, weights) = ([0.5, -1.25, 2.0, 0.3], tensor(1), [0.5, 2.0, 1.25]);
    let x = Logits::new(raw, at).unwrap();
    let q = Logits::new(tensor(2), at).unwrap().softmax().unwrap();
    let log_p = x.log_softmax().unwrap();
    let unit = |k| typed::l2_normalize(&tensor(k), at, NormGuard::default(), [0.0; 12]).unwrap();
    let (a, b, c) = (unit(3), unit(4), unit(5));
    let range = Range::new(-2.0, 5.0).unwrap();
    let y = Ranged::new(tensor(6).map(|y| y.clamp(-2.0, 5.0)), at, range).unwrap();
    let many = &CrossEntropyOptions::new().weights(&weights).label_smoothing(0.1).temperature(0.7);
    let few = &ClassOptions::new().weights(&weights).ignore_index(1);
    let mut space = vec![0.0; lossprep::contrastive_workspace::<f64>(at).unwrap()];

    // How many losses, where both calls write, the typed call and the plain one.
    macro_rules! same {
        ($n:literal, |$l:ident, $g:pat_param| $typed:expr, $plain:expr) => {
            let (typed, plain) = (written($n, |$l, $g| $typed), written($n, |$l, $g| $plain));
            assert_eq!(typed, plain, "{}", stringify!($typed));
        };
    }
    let hard = Target::Classes(&classes);
    same!(
        4,
        |l, [g, ..]| typed::cross_entropy_with_grad(x, &classes, &upstream, many, l, g),
        lossprep::cross_entropy_with_grad(&raw, hard, &upstream, at, many, l, g)
    );
    same!(
        4,
        |l, [g, ..]| x.cross_entropy_with_grad(&classes, &upstream, many, l, g),
        lossprep::cross_entropy_with_grad(&raw, hard, &upstream, at, many, l, g)
    );
    let soft = Target::Probabilities(q.values());
    same!(
        4,
        |l, [g, ..]| typed::soft_cross_entropy_with_grad(x, q, &upstream, many, l, g),
        lossprep::cross_entropy_with_grad(&raw, soft, &upstream, at, many, l, g)
    );
    same!(
        4,
        |l, [g, ..]| typed::focal_loss_with_grad(x, &classes, 2.0, &upstream, few, l, g),
        lossprep::focal_loss_with_grad(&raw, &classes, 2.0, &upstream, at, few, l, g)
    );
    same!(
        4,
        |l, [g, ..]| typed::kl_div_with_grad(x, q, 2.0, &upstream, l, g),
        lossprep::kl_div_with_grad(&raw, q.values(), 2.0, &upstream, at, l, g)
    );
    let w = Some(&weights[..]);
    same!(
        12,
        |l, [g, ..]| typed::binary_cross_entropy_with_logits_with_grad(x, q.values(), w, &upstreams, l, g),
        lossprep::binary_cross_entropy_with_logits_with_grad(&raw, q.values(), w, &upstreams, at, l, g)
    );
    same!(
        4,
        |l, [g, ..]| typed::nll_with_grad(log_p, &classes, &upstream, few, l, g),
        lossprep::nll_with_grad(log_p.values(), &classes, &upstream, at, few, l, g)
    );
    same!(
        4,
        |l, [g, ..]| log_p.nll_with_grad(&classes, &upstream, few, l, g),
        lossprep::nll_with_grad(log_p.values(), &classes, &upstream, at, few, l, g)
    );
    let (i, j, k) = (a.values(), b.values(), c.values());
    same!(
        4,
        |l, g| typed::triplet_margin_with_grad(a, b, c, 0.9, &upstream, l, g),
        lossprep::triplet_margin_with_grad(i, j, k, 0.9, None, &upstream, at, l, g)
    );
    same!(
        4,
        |l, [g, h, _]| typed::cosine_embedding_with_grad(a, b, &similar, 0.1, &upstream, l, [g, h]),
        lossprep::cosine_embedding_with_grad(i, j, &similar, 0.1, None, &upstream, at, l, [g, h])
    );
    same!(
        4,
        |l, [g, h, _]| typed::info_nce_with_grad(a, b, 0.3, &upstream, l, [g, h], &mut space),
        lossprep::info_nce_with_grad(i, j, 0.3, None, &upstream, at, l, [g, h], &mut space)
    );
    same!(
        4,
        |l, [g, ..]| typed::nt_xent_with_grad(a, 0.3, &upstream, l, g, &mut space),
        lossprep::nt_xent_with_grad(i, 0.3, None, &upstream, at, l, g, &mut space)
    );
    same!(
        12,
        |l, [g, ..]| typed::scaled_sigmoid_mse_with_grad(&raw, y, &upstreams, l, g),
        lossprep::scaled_sigmoid_mse_with_grad(&raw, y.values(), &upstreams, range, l, g)
    );
    same!(
        12,
        |l, [g, ..]| typed::scaled_sigmoid_huber_with_grad(&raw, y, 0.5, &upstreams, l, g),
        lossprep::scaled_sigmoid_huber_with_grad(&raw, y.values(), 0.5, &upstreams, range, l, g)
    );
    same!(
        12,
        |l, [g, ..]| typed::scaled_sigmoid_l1_with_grad(&raw, y, &upstreams, l, g),
        lossprep::scaled_sigmoid_l1_with_grad(&raw, y.values(), &upstreams, range, l, g)
    );
    // Two layouts of the same size are still two.
    let turned = UnitVectors::new_unchecked([0.0; 12], Layout::new(2, 2, 3).unwrap()).unwrap();
    let (mut l, [mut g, mut h]) = ([0.0; 4], [[0.0; 12]; 2]);
    let grads = [&mut g[..], &mut h[..]];
    let refused = typed::cosine_embedding_with_grad(a, turned, &similar, 0.1, &upstream, &mut l, grads);
    assert!(matches!(refused, Err(Error::Parameter { name: "layout", .. })));
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}
