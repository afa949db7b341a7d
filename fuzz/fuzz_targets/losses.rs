//! The losses with their gradients: random calls of the report with numbers and options of the fuzzer put in, then
//! with a special value in one place.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use lossprep::{ClassOptions, CrossEntropyOptions, Error, Layout, Target};
use lossprep_fuzz::{Either, Number, assert_same, everywhere};
use lossprep_verify::exact::Big;
use lossprep_verify::inputs::Rng;
use lossprep_verify::losses::{Case, Goal, Loss, Truth};
use lossprep_verify::real::Real;
use lossprep_verify::ulp::error_in_ulps;
use lossprep_verify::wide::Wide;
use std::marker::PhantomData;

/// What a case holds at one place instead of its number.
#[derive(Clone, Copy, Debug)]
struct Special {
    tensor: usize,
    index: usize,
    value: f64,
}

#[derive(Debug)]
struct Input<T> {
    case: Case,
    special: Special,
    class: usize,
    of: PhantomData<T>,
}

/// A multiple of 2⁻¹², or an integer.
fn everyday(u: &mut Unstructured) -> Result<f64> {
    let v = f64::from(u.arbitrary::<i16>()?);
    Ok(if u.ratio(1, 4)? { v } else { v / 4096.0 })
}

/// Positive, a power of two of at most 2⁸ times a number from 1 to 2.
fn scale(u: &mut Unstructured) -> Result<f64> {
    let size = f64::from(u.int_in_range(-8..=8)?).exp2();
    Ok(size * (1.0 + f64::from(u.arbitrary::<u8>()?) / 256.0))
}

/// Some numbers replaced.
fn overlay(u: &mut Unstructured, values: &mut [f64]) -> Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    for _ in 0..u.int_in_range(0..=12)? {
        let at = u.choose_index(values.len())?;
        values[at] = if u.ratio(1, 8)? { values[u.choose_index(values.len())?] } else { everyday(u)? };
    }
    Ok(())
}

impl<'a, T: Number> Arbitrary<'a> for Input<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let loss = *u.choose(&Loss::ALL)?;
        let mut case = Case::random::<T>(loss, &mut Rng::new(u.arbitrary()?));
        for tensor in &mut case.inputs {
            let before = tensor.clone();
            overlay(u, tensor)?;
            // Without a guard rows of features are of length 1 or so.
            let metric = matches!(loss, Loss::Triplet | Loss::Cosine | Loss::InfoNce | Loss::NtXent);
            if metric && case.setting.guard.is_none() {
                let moved = tensor.iter_mut().zip(&before).filter(|(x, before)| x != before);
                moved.for_each(|(x, _)| *x = *x % 1.0 / 8.0);
            }
        }
        overlay(u, &mut case.upstream)?;
        let elementwise = matches!(loss, Loss::Binary | Loss::Mse | Loss::Huber | Loss::L1);
        match &mut case.goal {
            Goal::Shares(_) if !elementwise => {}
            Goal::Shares(targets) => overlay(u, targets)?,
            Goal::Classes(classes) => {
                for class in classes {
                    if u.arbitrary()? {
                        *class = u.choose_index(case.len)?;
                    }
                }
            }
        }
        let setting = &mut case.setting;
        if u.arbitrary()? {
            setting.temperature = scale(u)?;
            setting.delta = scale(u)?;
            setting.gamma = f64::from(u.int_in_range(0..=64u8)?) / 8.0;
            setting.margin = f64::from(u.arbitrary::<i8>()?) / 64.0;
        }
        if u.arbitrary()? {
            setting.smoothing = f64::from(u.int_in_range(0..=64u8)?) / 64.0;
            setting.softcap = if u.arbitrary()? { Some(scale(u)?) } else { None };
            setting.z_loss = if u.arbitrary()? { scale(u)? } else { 0.0 };
        }
        if loss == Loss::Nll {
            case.inputs[0].iter_mut().for_each(|x| *x = -x.abs());
        }
        // Rows of nothing but −∞ are for the special values.
        for row in case.inputs[0].chunks_mut(case.len) {
            if row.iter().all(|x| x.is_infinite()) {
                row[0] = -3.0;
            }
        }
        let tensor = u.choose_index(case.inputs.len())?;
        let special = Special {
            tensor,
            index: u.choose_index(case.inputs[tensor].len())?,
            value: *u.choose(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY])?,
        };
        Ok(Self { class: u.int_in_range(0..=case.len)?, case, special, of: PhantomData })
    }
}

/// Losses and gradients of every backend, and of rows side by side.
fn outputs<T: Number>(case: &Case) -> Vec<T> {
    let n = case.upstream.len() + case.inputs.iter().map(Vec::len).sum::<usize>();
    let out = everywhere(n, |k, out: &mut [T]| {
        out.copy_from_slice(&case.run(k, false));
        Ok(())
    });
    let strided = everywhere(n, |k, out: &mut [T]| {
        out.copy_from_slice(&case.run(k, true));
        Ok(())
    });
    assert_same(&strided, &out, "rows side by side");
    out
}

/// Row `r` as a call of its own.
fn alone(case: &Case, r: usize) -> Case {
    let cut = |v: &[f64]| v[r * v.len() / case.rows..(r + 1) * v.len() / case.rows].to_vec();
    let goal = match &case.goal {
        Goal::Classes(classes) => Goal::Classes(vec![classes[r]]),
        Goal::Shares(shares) => Goal::Shares(cut(shares)),
    };
    Case {
        rows: 1,
        inputs: case.inputs.iter().map(|x| cut(x)).collect(),
        goal,
        similar: vec![case.similar[r]],
        upstream: cut(&case.upstream),
        ..case.clone()
    }
}

/// Of the outputs of a case those of row `r`, in the order of the row alone.
fn of_row<T: Copy>(case: &Case, out: &[T], r: usize) -> Vec<T> {
    let (losses, grads) = out.split_at(case.upstream.len());
    let each = losses.len() / case.rows;
    let mut row = losses[r * each..][..each].to_vec();
    for grad in grads.chunks(case.rows * case.len) {
        row.extend_from_slice(&grad[r * case.len..][..case.len]);
    }
    row
}

/// The first output that breaks its claim.
fn broken<T: Number, R: Real>(out: &[T], truths: &[Truth<R>]) -> Option<(usize, f64)> {
    assert_eq!(out.len(), truths.len());
    let beyond = R::one().mul_pow2(T::FORMAT.max_exponent + 1);
    out.iter().zip(truths).enumerate().find_map(|(i, (v, truth))| {
        // Beyond the type's range its ULP measures nothing.
        if truth.measure.sub(&beyond).signum() >= 0 {
            return None;
        }
        let error = if v.is_nan() {
            f64::INFINITY
        } else {
            error_in_ulps(T::FORMAT, v.exact_f64(), &truth.value, &truth.measure)
        };
        (error > truth.limit).then_some((i, error))
    })
}

/// What the double-double tier finds broken, the arbitrary-precision one has to confirm.
fn assert_holds<T: Number>(case: &Case, out: &[T]) {
    if broken(out, &case.truths::<Wide>()).is_none() {
        return;
    }
    let truths = case.truths::<Big>();
    if let Some((i, error)) = broken(out, &truths) {
        let (value, measure) = (truths[i].value.to_f64(), truths[i].measure.to_f64());
        panic!("{error} ULP of {measure:e}: number {i} is {:e}, not {value:e}: {case:?}", out[i]);
    }
}

fn check<T: Number>(input: &Input<T>) {
    let case = &input.case;
    let out = outputs::<T>(case);
    assert_holds(case, &out);
    let batch = matches!(case.loss, Loss::InfoNce | Loss::NtXent);
    if !batch {
        for r in 0..case.rows {
            assert_same(&outputs::<T>(&alone(case, r)), &of_row(case, &out, r), "a row alone");
        }
    }
    check_special(case, input.special, &out);
    if case.loss == Loss::CrossEntropy {
        check_classes::<T>(case, input.class);
    }
}

fn check_special<T: Number>(case: &Case, special: Special, plain: &[T]) {
    let Special { tensor, index, value } = special;
    let mut changed = case.clone();
    changed.inputs[tensor][index] = value;
    let out = outputs::<T>(&changed);
    let (row, i) = (index / case.len, index % case.len);
    let context = || format!("{special:?}: {case:?}");
    let nan = |v: &[T]| assert!(v.iter().all(|v| v.is_nan()), "{v:?}, {}", context());
    let batch = matches!(case.loss, Loss::InfoNce | Loss::NtXent);
    for r in (0..case.rows).filter(|&r| r != row && !batch) {
        assert_same(&of_row(case, &out, r), &of_row(case, plain, r), "another row");
    }
    let mine = of_row(case, &out, row);
    let whole = case.loss != Loss::CrossEntropy || case.setting.softcap.is_none();
    match case.loss {
        Loss::CrossEntropy | Loss::Focal | Loss::KlDiv => {
            let alone = alone(&changed, row);
            if value.is_nan() || whole && (value > 0.0 || alone.inputs[0].iter().all(|x| x.is_infinite())) {
                nan(&mine);
            } else {
                assert_holds(&alone, &mine);
            }
        }
        Loss::Nll => {
            let Goal::Classes(classes) = &case.goal else { unreachable!("it takes classes") };
            if classes[row] != i || case.setting.weights.is_some() {
                return;
            }
            assert!(if value.is_nan() { mine[0].is_nan() } else { mine[0].exact_f64() == -value });
        }
        Loss::Binary | Loss::Mse | Loss::Huber | Loss::L1 => {
            let Goal::Shares(targets) = &case.goal else { unreachable!("it takes numbers") };
            let (loss, target) = (mine[i], targets[index]);
            let others = |v: &[T]| -> Vec<T> {
                let keep = |&(j, _): &(usize, &T)| j % case.len != i;
                v.iter().enumerate().filter(keep).map(|(_, &v)| v).collect()
            };
            assert_same(&others(&mine), &others(&of_row(case, plain, row)), "another element");
            if value.is_nan() {
                nan(&[loss, mine[case.len + i]]);
            } else if case.loss == Loss::Binary {
                let there = target == f64::from(value > 0.0);
                let weight = case.setting.weights.as_ref().map_or(1.0, |w| w[i]);
                let known = (target == 0.0 || target == 1.0) && weight > 0.0;
                let due = if there { T::zero() } else { T::infinity() };
                assert!(!known || loss == due, "{loss:e}, {}", context());
            } else {
                let end = T::round_from(if value > 0.0 { case.setting.hi } else { case.setting.lo });
                assert!(target != end.exact_f64() || loss.is_zero(), "{loss:e}, {}", context());
                assert!(mine[case.len + i].is_zero(), "{}", context());
            }
        }
        Loss::Triplet | Loss::Cosine => nan(&mine),
        Loss::InfoNce | Loss::NtXent if tensor == 0 => {
            nan(if case.loss == Loss::NtXent { &out[..case.rows] } else { &out[row..=row] });
        }
        Loss::InfoNce | Loss::NtXent => nan(&out[..case.rows]),
    }
}

/// A class to ignore, and one that there is not.
fn check_classes<T: Number>(case: &Case, class: usize) {
    let Goal::Classes(classes) = &case.goal else { return };
    let narrow = |v: &[f64]| -> Vec<T> { v.iter().map(|&v| T::round_from(v)).collect() };
    let (x, upstream) = (narrow(&case.inputs[0]), narrow(&case.upstream));
    let layout = Layout::rows(case.rows, case.len).expect("small");
    let run = |classes: &[usize], ignored: Option<usize>| {
        let options = CrossEntropyOptions::new();
        let options = if let Some(class) = ignored { options.ignore_index(class) } else { options };
        everywhere(case.rows * (1 + case.len), |k, out: &mut [T]| {
            let (losses, grad) = out.split_at_mut(case.rows);
            k.cross_entropy_with_grad(
                x.as_slice(),
                Target::Classes(classes),
                &upstream,
                layout,
                &options,
                losses,
                grad,
            )
        })
    };
    let (plain, ignoring) = (run(classes, None), run(classes, Some(class)));
    for (r, &own) in classes.iter().enumerate() {
        let due = of_row(case, &plain, r);
        let due = if own == class { vec![T::zero(); due.len()] } else { due };
        assert_same(&of_row(case, &ignoring, r), &due, "with an ignored class");
    }
    // One that there is not.
    let mut wrong = classes.clone();
    wrong[case.rows - 1] = case.len;
    let mut losses = vec![T::round_from(-7.0); case.rows];
    let kernels = lossprep::Backend::Scalar.try_get().expect("it runs everywhere");
    let error = Err(Error::Class { row: case.rows - 1, class: case.len, classes: case.len });
    assert_eq!(kernels.nll(&x, &wrong, layout, &ClassOptions::new(), &mut losses), error);
    let options = CrossEntropyOptions::new();
    assert_eq!(kernels.cross_entropy(&x, Target::Classes(&wrong), layout, &options, &mut losses), error);
    assert!(losses.iter().all(|&v| v == T::round_from(-7.0)));
}

fuzz_target!(|input: Either<Input<f32>, Input<f64>>| match input {
    Either::Single(input) => check(&input),
    Either::Double(input) => check(&input),
});
