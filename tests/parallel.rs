//! The `par_` forms: bits and errors of the plain ones, whatever the number of threads.

#[allow(dead_code, reason = "these tests run the operations in their own way")]
mod operations;

use lossprep::{Element, EmptyRows, Error, Kernels, Layout, NormGuard, OPERATIONS, Range, SoftmaxOptions};
use operations::{Bits, Case, RANGE, Random};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeSet;
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

/// What an output holds before a call.
const BEFORE: f64 = -7.0;

fn pool(threads: usize) -> ThreadPool {
    ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

/// Compares the plain form with the `par_` form in pools.
struct Comparison<'a> {
    pools: &'a [ThreadPool],
    seen: BTreeSet<&'static str>,
}

impl Comparison<'_> {
    fn same<T: Bits>(
        &mut self,
        name: &'static str,
        before: &[T],
        plain: impl FnOnce(&mut [T]) -> Result<(), Error>,
        parallel: impl Fn(&mut [T]) -> Result<(), Error> + Sync,
    ) {
        let mut wanted = before.to_vec();
        plain(&mut wanted).unwrap();
        for pool in self.pools {
            let mut given = before.to_vec();
            pool.install(|| parallel(&mut given)).unwrap();
            let differs = wanted.iter().zip(&given).position(|(a, b)| a.bits() != b.bits());
            let threads = pool.current_num_threads();
            assert_eq!(differs, None, "{name}, {}, {threads} threads: the first that differs", T::NAME);
        }
        self.seen.insert(name);
    }
}

/// Every operation on a case; those without a layout on all its elements.
fn compare<T: Bits>(k: Kernels, c: &Case<T>, comparison: &mut Comparison) {
    let layout = c.layout;
    let (all, per_row) = (vec![T::of(BEFORE); layout.elements()], vec![T::of(BEFORE); layout.row_count()]);
    // The output is the last argument, but in place the first.
    macro_rules! same {
        ($($name:ident $par:ident: $out:ident, ($($arg:expr),*);)*) => {$(
            comparison.same(stringify!($name), &$out, |out| k.$name($($arg,)* out), |out| k.$par($($arg,)* out));
        )*};
    }
    macro_rules! same_in_place {
        ($($name:ident $par:ident: $data:expr, ($($arg:expr),*);)*) => {$(
            comparison.same(stringify!($name), $data, |d| k.$name(d $(, $arg)*), |d| k.$par(d $(, $arg)*));
        )*};
    }
    same! {
        softmax par_softmax: all, (&c.x, layout);
        softmax_vjp par_softmax_vjp: all, (&c.y, &c.g, layout);
        softmax_jvp par_softmax_jvp: all, (&c.y, &c.g, layout);
        log_softmax par_log_softmax: all, (&c.x, layout);
        log_softmax_vjp par_log_softmax_vjp: all, (&c.log_y, &c.g, layout);
        log_softmax_jvp par_log_softmax_jvp: all, (&c.log_y, &c.g, layout);
        logsumexp par_logsumexp: per_row, (&c.x, layout);
        logsumexp_vjp par_logsumexp_vjp: all, (&c.x, &c.row_g, layout);
        logsumexp_jvp par_logsumexp_jvp: per_row, (&c.x, &c.g, layout);
        l2_norm par_l2_norm: per_row, (&c.x, layout);
        l2_norm_vjp par_l2_norm_vjp: all, (&c.x, &c.norm, &c.row_g, layout);
        l2_norm_jvp par_l2_norm_jvp: per_row, (&c.x, &c.norm, &c.g, layout);
    }
    same_in_place! {
        softmax_in_place par_softmax_in_place: &c.x, (layout);
        log_softmax_in_place par_log_softmax_in_place: &c.x, (layout);
    }
    let none = SoftmaxOptions::new();
    for o in &[
        none.temperature(T::of(0.7)),
        none.mask(&c.keep),
        none.temperature(T::of(3.0)).lengths(&c.valid).empty_rows(EmptyRows::Uniform),
    ] {
        same! {
            softmax_with par_softmax_with: all, (&c.x, layout, o);
            softmax_vjp_with par_softmax_vjp_with: all, (&c.y, &c.g, layout, o);
            softmax_jvp_with par_softmax_jvp_with: all, (&c.y, &c.g, layout, o);
            log_softmax_with par_log_softmax_with: all, (&c.x, layout, o);
            log_softmax_vjp_with par_log_softmax_vjp_with: all, (&c.log_y, &c.g, layout, o);
            log_softmax_jvp_with par_log_softmax_jvp_with: all, (&c.log_y, &c.g, layout, o);
            logsumexp_with par_logsumexp_with: per_row, (&c.x, layout, o);
            logsumexp_vjp_with par_logsumexp_vjp_with: all, (&c.x, &c.row_g, layout, o);
            logsumexp_jvp_with par_logsumexp_jvp_with: per_row, (&c.x, &c.g, layout, o);
        }
        same_in_place! {
            softmax_in_place_with par_softmax_in_place_with: &c.x, (layout, o);
            log_softmax_in_place_with par_log_softmax_in_place_with: &c.x, (layout, o);
        }
    }
    for guard in [NormGuard::Max, NormGuard::Add, NormGuard::AddSquared].map(|g| g(T::of(0.0625))) {
        same! {
            l2_normalize par_l2_normalize: all, (&c.x, layout, guard);
            l2_normalize_vjp par_l2_normalize_vjp: all, (&c.x, &c.norm, &c.g, layout, guard);
            l2_normalize_jvp par_l2_normalize_jvp: all, (&c.x, &c.norm, &c.g, layout, guard);
        }
        same_in_place! { l2_normalize_in_place par_l2_normalize_in_place: &c.x, (layout, guard); }
    }
    for (lo, hi) in [RANGE, (-1.5, 1.5)] {
        let range = Range::new(T::of(lo), T::of(hi)).unwrap();
        same! {
            scaled_sigmoid par_scaled_sigmoid: all, (&c.x, range);
            scaled_sigmoid_vjp par_scaled_sigmoid_vjp: all, (&c.x, &c.g, range);
            scaled_sigmoid_jvp par_scaled_sigmoid_jvp: all, (&c.x, &c.g, range);
            scaled_sigmoid_inverse par_scaled_sigmoid_inverse: all, (&c.ranged, range);
            scaled_sigmoid_inverse_vjp par_scaled_sigmoid_inverse_vjp: all, (&c.ranged, &c.g, range);
            scaled_sigmoid_inverse_jvp par_scaled_sigmoid_inverse_jvp: all, (&c.ranged, &c.g, range);
        }
        same_in_place! {
            scaled_sigmoid_in_place par_scaled_sigmoid_in_place: &c.x, (range);
            scaled_sigmoid_inverse_in_place par_scaled_sigmoid_inverse_in_place: &c.ranged, (range);
        }
    }
}

fn same_bits<T: Bits>() {
    let pools = [1, 2, 3, 8].map(pool);
    let k = lossprep::Backend::best().unwrap().try_get().unwrap();
    let mut random = Random(12);
    let mut comparison = Comparison { pools: &pools, seen: BTreeSet::new() };
    // Many short rows, few long ones, a middle axis, axis 0 and a single row; none and too few elements to be cut.
    for [outer, len, inner] in [
        [11_003, 7, 1],
        [203, 700, 1],
        [3, 40_001, 1],
        [5, 129, 101],
        [1, 300, 251],
        [1, 90_001, 1],
        [2, 140_001, 1],
        [6, 0, 3],
        [0, 5, 2],
        [16, 10, 1],
    ] {
        let layout = Layout::new(outer, len, inner).unwrap();
        compare(k, &Case::<T>::new(&mut random, layout, 6.0, true), &mut comparison);
    }
    let forms = ["", "_in_place", "_vjp", "_jvp"];
    let reduced = ["logsumexp_in_place", "l2_norm_in_place"];
    for name in OPERATIONS.iter().flat_map(|&(operation, _)| forms.map(|f| format!("{operation}{f}"))) {
        assert!(reduced.contains(&&*name) || comparison.seen.contains(&*name), "{name} was not compared");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits_f32() {
    same_bits::<f32>();
}

#[test]
fn any_number_of_threads_gives_the_same_bits_f64() {
    same_bits::<f64>();
}

/// Rows that threads share, of which a part may hold what decides, or nothing.
fn shared<T: Bits>(k: Kernels) {
    let pools = [2, 3, 8].map(pool);
    let mut comparison = Comparison { pools: &pools, seen: BTreeSet::new() };
    // As many terms as need no third word in f32 and one more, the others −∞; and a length whose last part is short.
    let (most, len) = (1 << 17, 140_003);
    let case = Case::<T>::new(&mut Random(3), Layout::rows(1, len).unwrap(), 6.0, false);
    let with = |values: &[(usize, f64)]| {
        let mut x = case.x.clone();
        for &(i, v) in values {
            x[i] = T::of(v);
        }
        x
    };
    let padded = |terms: usize| {
        let mut x = case.x.clone();
        x[terms..].fill(T::neg_infinity());
        x
    };
    let large = if T::NAME == "f32" { 3e38 } else { 1e308 };
    for x in [
        with(&[]),
        with(&[(70_000, 60.0)]),
        with(&[(0, 60.0), (len - 1, 60.0)]),
        with(&[(len - 1, 300.0)]),
        with(&[(5, f64::NAN)]),
        with(&[(5, f64::INFINITY), (len - 2, f64::INFINITY)]),
        with(&[(5, f64::INFINITY), (len - 2, f64::NAN)]),
        with(&[(5, -large), (len - 2, large)]),
        padded(most),
        padded(most + 1),
        padded(1),
        padded(0),
        vec![T::of(-large); len],
        case.x.iter().map(|&x| x * T::of(1e4)).collect(),
        case.x.iter().map(|&x| x * T::of(1e-6) - T::of(20.0)).collect(),
    ] {
        let layout = Layout::rows(1, len).unwrap();
        let (all, one) = (vec![T::of(BEFORE); len], [T::of(BEFORE)]);
        comparison.same("softmax", &all, |o| k.softmax(&x, layout, o), |o| k.par_softmax(&x, layout, o));
        comparison.same(
            "softmax_in_place",
            &x,
            |d| k.softmax_in_place(d, layout),
            |d| k.par_softmax_in_place(d, layout),
        );
        comparison.same(
            "log_softmax",
            &all,
            |o| k.log_softmax(&x, layout, o),
            |o| k.par_log_softmax(&x, layout, o),
        );
        comparison.same(
            "log_softmax_in_place",
            &x,
            |d| k.log_softmax_in_place(d, layout),
            |d| k.par_log_softmax_in_place(d, layout),
        );
        comparison.same(
            "logsumexp",
            &one,
            |o| k.logsumexp(&x, layout, o),
            |o| k.par_logsumexp(&x, layout, o),
        );
    }
}

#[test]
fn threads_that_share_a_row_give_the_same_bits() {
    for backend in lossprep::Backend::available() {
        let k = backend.try_get().unwrap();
        shared::<f32>(k);
        shared::<f64>(k);
    }
}

/// The tensor is large enough to be cut, and the fault lies in its last row, if it is in one.
fn refused<T: Element>() {
    let (rows, len) = (512, 300);
    let layout = Layout::rows(rows, len).unwrap();
    let x = vec![T::one(); rows * len];
    let before = vec![T::nan(); rows * len];
    let mut out = before.clone();
    let (pool, short) = (pool(2), rows * len - 1);
    let mut check = |wanted: Error, call: &(dyn Fn(&mut [T]) -> Result<(), Error> + Sync)| {
        assert_eq!(pool.install(|| call(&mut out)), Err(wanted));
        assert!(out.iter().all(|x| x.is_nan()), "written before {wanted}");
    };
    let length = |argument, expected, actual| Error::Length { argument, expected, actual };
    let none = SoftmaxOptions::new();

    check(length("x", short + 1, short), &|out| lossprep::par_softmax(&x[1..], layout, out));
    check(length("out", short + 1, short), &|out| lossprep::par_softmax(&x, layout, &mut out[1..]));
    check(length("out", rows, short + 1), &|out| lossprep::par_logsumexp(&x, layout, out));
    check(length("norm", rows, rows + 1), &|out| {
        lossprep::par_l2_norm_vjp(&x, &x[..=rows], &x[..rows], layout, out)
    });
    let range = Range::new(T::zero(), T::one()).unwrap();
    check(length("upstream", short + 1, short), &|out| {
        lossprep::par_scaled_sigmoid_vjp(&x, &x[1..], range, out)
    });

    // One row that the threads would share.
    let row = Layout::rows(1, short + 1).unwrap();
    check(length("x", short + 1, short), &|out| lossprep::par_softmax(&x[1..], row, out));
    check(length("out", short + 1, short), &|out| lossprep::par_log_softmax(&x, row, &mut out[1..]));
    check(length("data", short + 1, short), &|out| lossprep::par_softmax_in_place(&mut out[1..], row));
    check(length("data", short + 1, short), &|out| lossprep::par_log_softmax_in_place(&mut out[1..], row));
    check(length("out", 1, short + 1), &|out| lossprep::par_logsumexp(&x, row, out));

    let keep = vec![true; short];
    check(length("mask", short + 1, short), &|out| {
        lossprep::par_softmax_with(&x, layout, &none.mask(&keep), out)
    });
    let mut valid = vec![len; rows];
    check(length("lengths", rows, rows - 1), &|out| {
        lossprep::par_softmax_in_place_with(out, layout, &none.lengths(&valid[1..]))
    });
    valid[rows - 1] = len + 1;
    check(Error::ValidLength { row: rows - 1, valid: len + 1, len }, &|out| {
        lossprep::par_log_softmax_with(&x, layout, &none.lengths(&valid), out)
    });

    let parameter = |name, requirement| Error::Parameter { name, requirement };
    check(parameter("temperature", "finite, normal and positive"), &|out| {
        lossprep::par_softmax_with(&x, layout, &none.temperature(T::zero()), out)
    });
    check(parameter("eps", "positive and finite"), &|out| {
        lossprep::par_l2_normalize(&x, layout, NormGuard::Add(T::zero()), out)
    });
    let single = Range::new(T::one(), T::one()).unwrap();
    check(parameter("range", "lo < hi for the inverse"), &|out| {
        lossprep::par_scaled_sigmoid_inverse_in_place(out, single)
    });
}

#[test]
fn errors_come_before_anything_is_written() {
    refused::<f32>();
    refused::<f64>();
}

/// Every thread of the global pool is kept busy: what wants it has to wait.
#[test]
fn small_inputs_stay_on_the_thread_of_the_caller() {
    ThreadPoolBuilder::new().num_threads(2).build_global().unwrap();
    let busy = Arc::new(Barrier::new(3));
    for _ in 0..2 {
        let busy = busy.clone();
        rayon::spawn(move || {
            busy.wait();
            busy.wait();
        });
    }
    busy.wait();
    let call = |rows| {
        let (done, when) = mpsc::channel();
        std::thread::spawn(move || {
            let layout = Layout::rows(rows, 1024).unwrap();
            let mut p = vec![1.0_f32; layout.elements()];
            lossprep::par_softmax_in_place(&mut p, layout).unwrap();
            done.send(p.iter().all(|&p| p == 1.0 / 1024.0)).unwrap();
        });
        when
    };
    assert_eq!(call(31).recv_timeout(Duration::from_secs(60)), Ok(true));
    let large = call(32);
    assert_eq!(large.recv_timeout(Duration::from_millis(200)), Err(mpsc::RecvTimeoutError::Timeout));
    busy.wait();
    assert_eq!(large.recv_timeout(Duration::from_secs(60)), Ok(true));
}
