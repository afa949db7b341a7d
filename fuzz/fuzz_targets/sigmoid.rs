//! scaled_sigmoid and its inverse, with gradients.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use lossprep::Range;
use lossprep_fuzz::{
    Either, Judged, Number, Op, Params, assert_no_negative_zero, assert_same, everywhere, value, values,
};

#[derive(Debug)]
struct Input<T> {
    x: Vec<T>,
    g: Vec<T>,
    range: Range<T>,
}

impl<'a, T: Number> Arbitrary<'a> for Input<T> {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let (a, b) = (value::<T>(u)?, value::<T>(u)?);
        let b = if u.ratio(1, 4)? { -a } else { b };
        // A range out of its domain is an error, and another one is used.
        let range = Range::new(a.min(b), a.max(b));
        let n = u.int_in_range(0..=70)?;
        Ok(Self {
            range: range.unwrap_or(Range::new(-T::one(), T::one()).expect("in the domain")),
            x: values(u, n)?,
            g: values(u, n)?,
        })
    }
}

fn check<T: Number>(input: &Input<T>) {
    let Input { x, g, range } = input;
    let (n, range) = (x.len(), *range);
    let (lo, hi) = (range.lo(), range.hi());
    let y = everywhere(n, |k, out| k.scaled_sigmoid(x, range, out));
    let in_place = everywhere(n, |k, data| {
        data.copy_from_slice(x);
        k.scaled_sigmoid_in_place(data, range)
    });
    assert_same(&in_place, &y, "in place");
    let vjp = everywhere(n, |k, out| k.scaled_sigmoid_vjp(x, g, range, out));
    let jvp = everywhere(n, |k, out| k.scaled_sigmoid_jvp(x, g, range, out));
    assert_same(&jvp, &vjp, "jvp");
    assert_no_negative_zero(&vjp);
    if lo != -hi {
        assert_no_negative_zero(&y);
    }
    for i in 0..n {
        let one = everywhere(1, |k, out| k.scaled_sigmoid(&x[i..=i], range, out));
        assert_same(&one, &y[i..=i], "an element alone");
        if x[i].is_nan() {
            assert!(y[i].is_nan() && vjp[i].is_nan());
            continue;
        }
        assert!(lo <= y[i] && y[i] <= hi);
        if x[i].is_infinite() {
            assert!(y[i] == if x[i] > T::zero() { hi } else { lo } && vjp[i].is_zero());
        }
    }
    judge(input, x, Op::ScaledSigmoid, &y);
    judge(input, x, Op::ScaledSigmoidVjp, &vjp);
    let mut sorted: Vec<usize> = (0..n).filter(|&i| !x[i].is_nan()).collect();
    sorted.sort_by(|&a, &b| x[a].exact_f64().total_cmp(&x[b].exact_f64()));
    assert!(sorted.windows(2).all(|w| y[w[0]] <= y[w[1]]), "not monotone");
    if lo < hi {
        check_inverse(input, &y);
    }
}

fn judge<T: Number>(input: &Input<T>, x: &[T], op: Op, out: &[T]) {
    let (lo, hi) = (input.range.lo().exact_f64(), input.range.hi().exact_f64());
    let params = Params { lo, hi, ..Params::default() };
    let second: &[T] = if op.is_gradient() { &input.g } else { &[] };
    Judged { x, second, norm: T::zero(), keep: None, params }.assert_holds(op, out);
}

/// The inverse of arbitrary numbers, most of them outside of the range, and of the forward results.
fn check_inverse<T: Number>(input: &Input<T>, y: &[T]) {
    let range = input.range;
    let (lo, hi) = (range.lo(), range.hi());
    for y in [y, &input.x] {
        let x = everywhere(y.len(), |k, out| k.scaled_sigmoid_inverse(y, range, out));
        let in_place = everywhere(y.len(), |k, data| {
            data.copy_from_slice(y);
            k.scaled_sigmoid_inverse_in_place(data, range)
        });
        assert_same(&in_place, &x, "inverse in place");
        assert_no_negative_zero(&x);
        let vjp = everywhere(y.len(), |k, out| k.scaled_sigmoid_inverse_vjp(y, &input.g, range, out));
        let jvp = everywhere(y.len(), |k, out| k.scaled_sigmoid_inverse_jvp(y, &input.g, range, out));
        assert_same(&jvp, &vjp, "inverse jvp");
        for i in 0..y.len() {
            if !(lo <= y[i] && y[i] <= hi) {
                assert!(x[i].is_nan() && vjp[i].is_nan());
            } else if y[i] == lo || y[i] == hi {
                assert!(x[i] == if y[i] == lo { T::neg_infinity() } else { T::infinity() });
            }
        }
        judge(input, y, Op::ScaledSigmoidInverse, &x);
        judge(input, y, Op::ScaledSigmoidInverseVjp, &vjp);
    }
}

fuzz_target!(|input: Either<Input<f32>, Input<f64>>| match input {
    Either::Single(input) => check(&input),
    Either::Double(input) => check(&input),
});
