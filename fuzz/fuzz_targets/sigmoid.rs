//! scaled_sigmoid and its inverse, with gradients.
#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use lossprep::Range;
use lossprep_fuzz::{
    Value, assert_near, assert_no_negative_zero, assert_same, everywhere, ulp, value, values,
};

#[derive(Debug)]
struct Input<T> {
    x: Vec<T>,
    g: Vec<T>,
    range: Range<T>,
}

impl<'a, T: Value> Arbitrary<'a> for Input<T> {
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

fn check<T: Value>(input: &Input<T>) {
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
        } else if T::JUDGED {
            judge(input, i, y[i], vjp[i]);
        }
    }
    let mut sorted: Vec<usize> = (0..n).filter(|&i| !x[i].is_nan()).collect();
    sorted.sort_by(|&a, &b| x[a].as_f64().total_cmp(&x[b].as_f64()));
    assert!(sorted.windows(2).all(|w| y[w[0]] <= y[w[1]]), "not monotone");
    if lo < hi {
        check_inverse(input, &y);
    }
}

fn judge<T: Value>(input: &Input<T>, i: usize, y: T, vjp: T) {
    let (lo, hi, x) = (input.range.lo().as_f64(), input.range.hi().as_f64(), input.x[i].as_f64());
    let e = (-x.abs()).exp();
    let share = e / (1.0 + e);
    let (near, far) = if x < 0.0 { (lo, hi) } else { (hi, lo) };
    let (want, size) = if lo == -hi {
        (hi * (x / 2.0).tanh(), 0.0)
    } else {
        (
            near + (far - near) * share,
            if lo * hi < 0.0 { near.abs() * (1.0 - share) + far.abs() * share } else { 0.0 },
        )
    };
    let bound = ulp(want).max(0.5 * ulp(want) + 2f64.powi(-27) * size);
    assert_near(y, want, bound, "scaled_sigmoid");
    let g = input.g[i].as_f64();
    if g.is_finite() {
        let want = (hi - lo) * share / (1.0 + e) * g;
        assert_near(vjp, want, 4.0 * ulp(want), "scaled_sigmoid_vjp");
    }
}

/// The inverse of arbitrary numbers, most of them outside of the range, and of the forward results.
fn check_inverse<T: Value>(input: &Input<T>, y: &[T]) {
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
            } else if T::JUDGED {
                let (y, lo, hi) = (y[i].as_f64(), lo.as_f64(), hi.as_f64());
                let (below, above) = ((y - lo).ln(), (hi - y).ln());
                let want = below - above;
                let bound = 0.5 * ulp(want) + 2f64.powi(-27) * below.abs().max(above.abs());
                assert_near(x[i], want, bound.max(ulp(want)), "inverse");
                let g = input.g[i].as_f64();
                if g.is_finite() {
                    let want = g * (hi - lo) / ((y - lo) * (hi - y));
                    assert_near(vjp[i], want, 4.0 * ulp(want), "inverse_vjp");
                }
            }
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Either {
    Single(Input<f32>),
    Double(Input<f64>),
}

fuzz_target!(|input: Either| match input {
    Either::Single(input) => check(&input),
    Either::Double(input) => check(&input),
});
