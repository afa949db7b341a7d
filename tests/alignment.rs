//! Every operation at every alignment of its slices, each input and the output by itself: the same bits, and
//! nothing written outside of the output.

mod operations;

use lossprep::{Backend, Layout};
use operations::{Bits, Case, Random, backends, run_all};

/// The case with its slices `shift` elements after the start of an allocation. Vectors cannot begin elsewhere,
/// so the elements before are given to rows of their own.
fn shifted<T: Bits>(case: &Case<T>, shift: usize) -> Case<T> {
    let len = case.layout.len();
    let pad =
        |v: &[T], by: usize| -> Vec<T> { vec![T::one(); by].into_iter().chain(v.iter().copied()).collect() };
    let (by, rows) = (shift * len, shift);
    Case {
        layout: Layout::rows(case.layout.row_count() + shift, len).unwrap(),
        x: pad(&case.x, by),
        y: pad(&case.y, by),
        log_y: pad(&case.log_y, by),
        g: pad(&case.g, by),
        ranged: pad(&case.ranged, by),
        row_g: pad(&case.row_g, rows),
        norm: pad(&case.norm, rows),
        keep: vec![true; by].into_iter().chain(case.keep.iter().copied()).collect(),
        valid: vec![len; rows].into_iter().chain(case.valid.iter().copied()).collect(),
    }
}

fn bits<T: Bits>(values: &[T]) -> Vec<u64> {
    values.iter().map(|v| v.bits()).collect()
}

fn every_alignment<T: Bits>() {
    let mut random = Random(5);
    for backend in backends() {
        let k = backend.try_get().unwrap();
        // An odd length moves each row by one element against the registers.
        for len in [1, 5, 31, 33, 49, 67] {
            let case = Case::<T>::new(&mut random, Layout::rows(2, len).unwrap(), 3.0, false);
            let mut want = Vec::new();
            run_all(Backend::Scalar.try_get().unwrap(), &case, 0, |_, _, out| want.push(bits(out)));
            for shift in 0..17 {
                let mut at = 0;
                run_all(k, &case, shift, |name, form, out| {
                    assert_eq!(
                        bits(out),
                        want[at],
                        "{name} {} {form} on {backend}, output moved by {shift}",
                        T::NAME
                    );
                    at += 1;
                });
                let mut at = 0;
                run_all(k, &shifted(&case, shift), 0, |name, form, out| {
                    let tail = &out[out.len() - want[at].len()..];
                    assert_eq!(
                        bits(tail),
                        want[at],
                        "{name} {} {form} on {backend}, inputs moved by {shift} rows",
                        T::NAME
                    );
                    at += 1;
                });
            }
        }
    }
}

#[test]
fn f32_at_every_alignment() {
    every_alignment::<f32>();
}

#[test]
fn f64_at_every_alignment() {
    every_alignment::<f64>();
}
