//! Gradients, layouts and options together: every gradient of the kernels in a tensor of any shape along any axis,
//! against the oracle, the textbook formulas, each other, and what one option means in terms of another.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use lossprep::{Backend, EmptyRows, Error, Kernels, Layout, NormGuard, Range, SoftmaxOptions, reference};
use lossprep_fuzz::{
    Either, Empty, Guard, Judged, Kept, Number, Op, Params, assert_no_negative_zero, assert_same, everywhere,
    positive, value, values,
};
use lossprep_verify::oracle::Family;

/// A tensor and one of its axes.
#[derive(Debug)]
struct Shape {
    dims: Vec<usize>,
    axis: isize,
}

impl Shape {
    fn layout(&self) -> Layout {
        Layout::from_shape(&self.dims, self.axis).expect("small")
    }

    /// The places of each row's elements, by counting through the tensor's indices.
    fn rows(&self) -> Vec<Vec<usize>> {
        let axis = self.axis.rem_euclid(self.dims.len() as isize) as usize;
        let mut rows: std::collections::BTreeMap<Vec<usize>, Vec<usize>> = Default::default();
        for place in 0..self.dims.iter().product() {
            let (mut rest, mut index) = (place, vec![0; self.dims.len()]);
            for (index, dim) in index.iter_mut().zip(&self.dims).rev() {
                (*index, rest) = (rest % dim, rest / dim);
            }
            index[axis] = 0;
            rows.entry(index).or_default().push(place);
        }
        rows.into_values().collect()
    }
}

impl<'a> Arbitrary<'a> for Shape {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let rank = u.int_in_range(1..=4)?;
        let axis = u.choose_index(rank)?;
        let mut dims = (0..rank).map(|_| u.int_in_range(1..=5)).collect::<Result<Vec<usize>>>()?;
        dims[axis] = if u.ratio(1, 8)? { 300 } else { u.int_in_range(0..=70)? };
        // Now and then rows side by side, more of them than a register holds.
        if axis + 1 < rank && u.ratio(1, 4)? {
            dims[rank - 1] = u.int_in_range(1..=40)?;
        }
        Ok(Self { dims, axis: axis as isize - if u.arbitrary()? { rank as isize } else { 0 } })
    }
}

#[derive(Debug)]
struct Input<T> {
    op: Op,
    shape: Shape,
    x: Vec<T>,
    second: Vec<T>,
    kept: Kept,
    empty: EmptyRows,
    temperature: T,
    guard: NormGuard<T>,
    range: Range<T>,
    /// Whether all numbers are of everyday size, so that textbook formulas serve.
    plain: bool,
    /// One argument made wrong.
    fault: u8,
}

/// A number of everyday size.
fn everyday<T: Number>(u: &mut Unstructured) -> Result<T> {
    Ok(T::round_from(f64::from(u.arbitrary::<i16>()?) / 4096.0))
}

impl<'a, T: Number> Arbitrary<'a> for Input<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let gradients: Vec<Op> = Op::ALL.into_iter().filter(|op| op.is_gradient()).collect();
        let op = *u.choose(&gradients)?;
        let shape: Shape = u.arbitrary()?;
        let layout = shape.layout();
        let (n, rows) = (layout.elements(), layout.row_count());
        let plain = u.arbitrary()?;
        let number = |u: &mut Unstructured| if plain { everyday::<T>(u) } else { value(u) };
        let (a, b) = (number(u)?, number(u)?);
        let range = Range::new(a.min(b), a.max(b)).ok().filter(|range| range.lo() < range.hi());
        let guard = *u.choose(&[NormGuard::Max, NormGuard::Add, NormGuard::AddSquared])?;
        let scale = |u: &mut Unstructured| -> Result<T> {
            if plain {
                Ok(T::round_from(f64::from(u.int_in_range(1..=2048u16)?) / 256.0))
            } else {
                Ok(positive::<T>(u)?.max(T::min_positive_value()))
            }
        };
        let numbers = |u: &mut Unstructured, n: usize| {
            if plain { (0..n).map(|_| everyday(u)).collect() } else { values(u, n) }
        };
        Ok(Self {
            op,
            temperature: if u.arbitrary()? { scale(u)? } else { T::one() },
            guard: guard(scale(u)?),
            kept: match u.int_in_range(0..=3u8)? {
                0 => Kept::Mask((0..n).map(|_| u.arbitrary()).collect::<Result<_>>()?),
                1 => {
                    Kept::Lengths((0..rows).map(|_| u.int_in_range(0..=layout.len())).collect::<Result<_>>()?)
                }
                _ => Kept::All,
            },
            empty: *u.choose(&[EmptyRows::Zeros, EmptyRows::Uniform, EmptyRows::Nan])?,
            range: range.unwrap_or(Range::new(-T::one(), T::one()).expect("in the domain")),
            fault: u.arbitrary()?,
            x: numbers(u, n)?,
            second: numbers(u, if op.second_len(2) == 1 { rows } else { n })?,
            shape,
            plain,
        })
    }
}

/// A call: the arguments of any of the operations.
struct Call<'a, T> {
    op: Op,
    x: &'a [T],
    norm: &'a [T],
    second: &'a [T],
    layout: Layout,
    options: SoftmaxOptions<'a, T>,
    guard: NormGuard<T>,
    range: Range<T>,
}

impl<T: Number> Call<'_, T> {
    fn outputs(&self) -> usize {
        if self.op.reduces() { self.layout.row_count() } else { self.layout.elements() }
    }

    fn run(&self, k: Kernels, out: &mut [T]) -> std::result::Result<(), Error> {
        let Self { x, norm, second: g, layout, options, guard, range, .. } = *self;
        match self.op {
            Op::Softmax => k.softmax_with(x, layout, &options, out),
            Op::SoftmaxVjp => k.softmax_vjp_with(x, g, layout, &options, out),
            Op::SoftmaxJvp => k.softmax_jvp_with(x, g, layout, &options, out),
            Op::LogSoftmax => k.log_softmax_with(x, layout, &options, out),
            Op::LogSoftmaxVjp => k.log_softmax_vjp_with(x, g, layout, &options, out),
            Op::LogSoftmaxJvp => k.log_softmax_jvp_with(x, g, layout, &options, out),
            Op::Logsumexp => k.logsumexp_with(x, layout, &options, out),
            Op::LogsumexpVjp => k.logsumexp_vjp_with(x, g, layout, &options, out),
            Op::LogsumexpJvp => k.logsumexp_jvp_with(x, g, layout, &options, out),
            Op::L2Norm => k.l2_norm(x, layout, out),
            Op::L2NormVjp => k.l2_norm_vjp(x, norm, g, layout, out),
            Op::L2NormJvp => k.l2_norm_jvp(x, norm, g, layout, out),
            Op::L2Normalize => k.l2_normalize(x, layout, guard, out),
            Op::L2NormalizeVjp => k.l2_normalize_vjp(x, norm, g, layout, guard, out),
            Op::L2NormalizeJvp => k.l2_normalize_jvp(x, norm, g, layout, guard, out),
            Op::ScaledSigmoid => k.scaled_sigmoid(x, range, out),
            Op::ScaledSigmoidVjp => k.scaled_sigmoid_vjp(x, g, range, out),
            Op::ScaledSigmoidJvp => k.scaled_sigmoid_jvp(x, g, range, out),
            Op::ScaledSigmoidInverse => k.scaled_sigmoid_inverse(x, range, out),
            Op::ScaledSigmoidInverseVjp => k.scaled_sigmoid_inverse_vjp(x, g, range, out),
            Op::ScaledSigmoidInverseJvp => k.scaled_sigmoid_inverse_jvp(x, g, range, out),
        }
    }

    fn everywhere(&self) -> Vec<T> {
        everywhere(self.outputs(), |k, out| self.run(k, out))
    }
}

impl<T: Number> Input<T> {
    fn options<'a>(&self, kept: &'a Kept) -> SoftmaxOptions<'a, T> {
        kept.of(SoftmaxOptions::new().temperature(self.temperature).empty_rows(self.empty))
    }

    fn call<'a>(&self, op: Op, x: &'a [T], second: &'a [T], layout: Layout, kept: &'a Kept) -> Call<'a, T> {
        let options = self.options(kept);
        Call { op, x, norm: &[], second, layout, options, guard: self.guard, range: self.range }
    }
}

fn check<T: Number>(input: &Input<T>) {
    let (op, layout, rows) = (input.op, input.shape.layout(), input.shape.rows());
    let softmax = op.family() == Family::Softmax;
    let keep: Option<Vec<bool>> = match &input.kept {
        Kept::Mask(keep) if softmax => Some(keep.clone()),
        Kept::Lengths(valid) if softmax => {
            let mut keep = vec![false; layout.elements()];
            for (row, &valid) in rows.iter().zip(valid) {
                row[..valid].iter().for_each(|&place| keep[place] = true);
            }
            Some(keep)
        }
        _ => None,
    };
    // The gradients of softmax take its output.
    let takes_output = matches!(op.forward(), Op::Softmax | Op::LogSoftmax);
    let x = if takes_output {
        input.call(op.forward(), &input.x, &[], layout, &input.kept).everywhere()
    } else {
        input.x.clone()
    };
    let norm = if op.takes_norm() {
        input.call(Op::L2Norm, &x, &[], layout, &input.kept).everywhere()
    } else {
        Vec::new()
    };
    let call = Call { norm: &norm, ..input.call(op, &x, &input.second, layout, &input.kept) };
    let out = call.everywhere();
    assert_no_negative_zero(&out);
    equivalents(input, &call, keep.as_deref(), &out);
    faults(input, &call);
    if op.family() != Family::Sigmoid {
        for (r, places) in rows.iter().enumerate() {
            check_row(input, &call, keep.as_deref(), &out, r, places);
        }
    } else {
        let all: Vec<usize> = (0..x.len()).collect();
        check_row(input, &call, None, &out, 0, &all);
    }
}

/// What says the same in other words gives the same bits.
fn equivalents<T: Number>(input: &Input<T>, call: &Call<T>, keep: Option<&[bool]>, out: &[T]) {
    if call.op.family() != Family::Softmax {
        return;
    }
    let (x, second, layout) = (call.x, call.second, call.layout);
    let with = |kept: &Kept| input.call(call.op, x, second, layout, kept).everywhere();
    let Some(keep) = keep else {
        assert_same(&with(&Kept::Mask(vec![true; x.len()])), out, "a mask that keeps all");
        assert_same(&with(&Kept::Lengths(vec![layout.len(); layout.row_count()])), out, "full lengths");
        if input.temperature == T::one() {
            let none = Call { options: SoftmaxOptions::new(), ..*call };
            assert_same(&none.everywhere(), out, "no option");
        }
        return;
    };
    assert_same(&with(&Kept::Mask(keep.to_vec())), out, "lengths as a mask");
    // What is not kept may hold anything.
    let hide = |v: &[T]| -> Vec<T> {
        let elements = v.len() == keep.len();
        let odd = |i: usize| T::from_pattern((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        v.iter().enumerate().map(|(i, &v)| if elements && !keep[i] { odd(i) } else { v }).collect()
    };
    // Where a row has one element for each, the number of rows may be that of the elements.
    if layout.len() != 1 {
        // By a result that is not 0 where no element is kept a gradient knows the constant of `Uniform`.
        let told =
            matches!(call.op.forward(), Op::Softmax | Op::LogSoftmax) && input.empty == EmptyRows::Uniform;
        let (x, second) = (if told { x.to_vec() } else { hide(x) }, hide(second));
        let hidden = input.call(call.op, &x, &second, layout, &input.kept).everywhere();
        assert_same(&hidden, out, "another number where none is kept");
    }
    if !call.op.reduces() {
        for (out, _) in out.iter().zip(keep).filter(|(_, keep)| !**keep) {
            assert_eq!(out.bits(), 0, "the gradient of an element that takes no part");
        }
    }
}

/// Wrong arguments are told apart, and nothing is written.
fn faults<T: Number>(input: &Input<T>, call: &Call<T>) {
    let kernels = Backend::Scalar.try_get().expect("it runs everywhere");
    let mark = T::round_from(-7.0);
    let mut out = vec![mark; call.outputs()];
    let long = [call.x, &[mark]].concat();
    let lengths = vec![call.layout.len() + 1; call.layout.row_count()];
    let softmax = call.op.family() == Family::Softmax;
    let bad = *[T::zero(), -T::one(), T::nan(), T::infinity()].get(usize::from(input.fault) % 4).expect("4");
    let is_length = |e: &Error| matches!(e, Error::Length { .. });
    let (result, expected): (_, &dyn Fn(&Error) -> bool) = match input.fault / 4 % 6 {
        0 => (Call { x: &long, ..*call }.run(kernels, &mut out), &is_length),
        1 => {
            let longer = [call.second, &[mark]].concat();
            (Call { second: &longer, ..*call }.run(kernels, &mut out), &is_length)
        }
        2 => {
            out.push(mark);
            (call.run(kernels, &mut out), &is_length)
        }
        3 if softmax => {
            let options = SoftmaxOptions::new().temperature(bad);
            let is = &|e: &Error| matches!(e, Error::Parameter { name: "temperature", .. });
            (Call { options, ..*call }.run(kernels, &mut out), is)
        }
        4 if softmax && !lengths.is_empty() => {
            let options = SoftmaxOptions::new().lengths(&lengths);
            (Call { options, ..*call }.run(kernels, &mut out), &|e| matches!(e, Error::ValidLength { .. }))
        }
        5 if call.op.family() == Family::Normalize => {
            let guard = match call.guard {
                NormGuard::Max(_) => NormGuard::Max(bad),
                NormGuard::Add(_) => NormGuard::Add(bad),
                NormGuard::AddSquared(_) => NormGuard::AddSquared(bad),
            };
            let is = &|e: &Error| matches!(e, Error::Parameter { .. });
            (Call { guard, ..*call }.run(kernels, &mut out), is)
        }
        _ => return,
    };
    let error = result.expect_err("an argument is wrong");
    assert!(expected(&error), "{error:?}");
    assert!(out.iter().all(|&v| v == mark), "written in spite of {error}");
}

fn check_row<T: Number>(
    input: &Input<T>,
    call: &Call<T>,
    keep: Option<&[bool]>,
    out: &[T],
    r: usize,
    places: &[usize],
) {
    let op = call.op;
    let row = |v: &[T]| -> Vec<T> { places.iter().map(|&p| v[p]).collect() };
    let part = |v: &[T], one: bool| if one { vec![v[r]] } else { row(v) };
    let (x, second) = (row(call.x), part(call.second, op.second_len(2) == 1));
    let result = part(out, op.reduces());
    let norm = call.norm.get(r).copied().unwrap_or(T::zero());
    let kept: Option<Vec<bool>> = keep.map(|keep| places.iter().map(|&p| keep[p]).collect());
    // The row alone, and cut to what is kept where that is its beginning. A row of nothing but −∞ follows the policy,
    // whose `Uniform` spreads over the length: cut, it is another constant.
    let layout = Layout::rows(1, x.len()).expect("small");
    let mask = kept.clone().map_or(Kept::All, Kept::Mask);
    let alone = Call { norm: &[norm], ..input.call(op, &x, &second, layout, &mask) };
    assert_same(&alone.everywhere(), &result, "a row alone");
    if let (Kept::Lengths(valid), Some(_)) = (&input.kept, &kept)
        && valid[r] > 0
        && places[..valid[r]].iter().any(|&p| input.x[p] != T::neg_infinity())
    {
        let valid = valid[r];
        let second = if second.len() == 1 { second.clone() } else { second[..valid].to_vec() };
        let layout = Layout::rows(1, valid).expect("small");
        let cut = input.call(op, &x[..valid], &second, layout, &Kept::All).everywhere();
        assert_same(&cut, &result[..cut.len()], "the row cut to its length");
    }
    let params = Params {
        temperature: input.temperature.exact_f64(),
        guard: match input.guard {
            NormGuard::Max(eps) => Guard::Max(eps.exact_f64()),
            NormGuard::Add(eps) => Guard::Add(eps.exact_f64()),
            NormGuard::AddSquared(eps) => Guard::AddSquared(eps.exact_f64()),
        },
        lo: input.range.lo().exact_f64(),
        hi: input.range.hi().exact_f64(),
        empty: match input.empty {
            EmptyRows::Uniform => Empty::Uniform,
            EmptyRows::Nan => Empty::Nan,
            _ => Empty::Zeros,
        },
    };
    // Within an ULP of eps either branch is right.
    if let (Family::Normalize, NormGuard::Max(eps)) = (op.family(), input.guard)
        && norm.bits().abs_diff(eps.bits()) <= 1
        && norm != eps
    {
        return;
    }
    let given = !matches!(op.forward(), Op::Softmax | Op::LogSoftmax) || x.iter().all(|x| !x.is_nan());
    if given {
        Judged { x: &x, second: &second, norm, keep: kept.as_deref(), params }.assert_holds(op, &result);
    }
    if input.plain && kept.is_none() {
        textbook(input, op, &x, &second, &result);
    }
}

/// The formulas of `reference` in f64, where they are good to a few units in the last place of the largest term.
fn textbook<T: Number>(input: &Input<T>, op: Op, x: &[T], second: &[T], result: &[T]) {
    let widen = |v: &[T]| -> Vec<f64> { v.iter().map(|v| v.exact_f64()).collect() };
    let (t, x, g) = (input.temperature.exact_f64(), widen(x), widen(second));
    let mut due = vec![0.0; result.len()];
    let (lo, hi) = (input.range.lo().exact_f64(), input.range.hi().exact_f64());
    let guard = match input.guard {
        NormGuard::Max(eps) => NormGuard::Max(eps.exact_f64()),
        NormGuard::Add(eps) => NormGuard::Add(eps.exact_f64()),
        NormGuard::AddSquared(eps) => NormGuard::AddSquared(eps.exact_f64()),
    };
    let cooled: Vec<f64> = x.iter().map(|x| x / t).collect();
    let flat = reference::l2_norm(&x) == 0.0;
    match op {
        Op::SoftmaxVjp | Op::SoftmaxJvp => reference::softmax_vjp(&x, &g, &mut due),
        Op::LogSoftmaxVjp => reference::log_softmax_vjp(&x, &g, &mut due),
        Op::LogSoftmaxJvp => reference::log_softmax_jvp(&x, &g, &mut due),
        Op::LogsumexpVjp => reference::logsumexp_vjp(&cooled, g[0], &mut due),
        Op::LogsumexpJvp => due[0] = reference::logsumexp_jvp(&cooled, &g),
        Op::L2NormVjp if !flat => reference::l2_norm_vjp(&x, g[0], &mut due),
        Op::L2NormJvp if !flat => due[0] = reference::l2_norm_jvp(&x, &g),
        Op::L2NormalizeVjp | Op::L2NormalizeJvp => reference::l2_normalize_vjp(&x, &g, guard, &mut due),
        Op::ScaledSigmoidVjp | Op::ScaledSigmoidJvp => {
            due.iter_mut()
                .zip(&x)
                .zip(&g)
                .for_each(|((d, &x), &g)| *d = reference::scaled_sigmoid_vjp(x, g, lo, hi));
        }
        // Its slope grows beyond bounds towards the ends.
        _ => return,
    }
    let cooling = if op.family() == Family::Softmax { t } else { 1.0 };
    let size: f64 = g.iter().map(|g| g.abs()).sum::<f64>() * (1.0 + (hi - lo).abs());
    // A normalisation divides by what may be as small as the smallest eps.
    let size = if op.family() == Family::Normalize { size * 1e3 } else { size };
    let close = if T::NAME == "f32" { 1e-6 } else { 1e-13 };
    for (got, due) in result.iter().zip(&due) {
        let (got, due) = (got.exact_f64(), due / cooling);
        assert!(
            (got - due).abs() <= close * (size / cooling + due.abs()),
            "{}: {got:e}, not {due:e}",
            op.name()
        );
    }
}

fuzz_target!(|input: Either<Input<f32>, Input<f64>>| match input {
    Either::Single(input) => check(&input),
    Either::Double(input) => check(&input),
});
