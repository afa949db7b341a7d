//! The cost of one call: every operation on 1×8, and the function at the crate root, which also asks for the backend.

use criterion::{Criterion, criterion_group, criterion_main};
use lossprep::{Backend, Layout, softmax};
use lossprep_verify::bench::cases::{Candidate, Case, NAMES};
use lossprep_verify::ulp::Number;
use std::hint::black_box;
use std::time::Duration;

fn all<T: Number>(c: &mut Criterion) {
    for name in NAMES {
        let mut case = Case::<T>::new(name, Layout::rows(1, 8).unwrap());
        let mut group = c.benchmark_group(format!("{name}/{}/1x8", T::NAME));
        let kernels = Backend::available().map(|b| Candidate::Kernel(b.try_get().unwrap()));
        for candidate in kernels.chain([Candidate::Naive]) {
            case.check(&[candidate]);
            group.bench_function(candidate.name(), |b| b.iter_custom(|calls| case.time(candidate, calls)));
        }
        group.finish();
    }
}

fn crate_root(c: &mut Criterion) {
    let layout = Layout::rows(1, 8).unwrap();
    let x = [0.5_f32, -1.0, 2.0, 0.0, 1.0, -2.0, 0.25, 3.0];
    let mut out = [0.0; 8];
    softmax(&x, layout, &mut out).unwrap();
    assert!((out.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    c.bench_function("softmax/f32/1x8/crate root", |b| {
        b.iter(|| softmax(black_box(&x), layout, black_box(&mut out)).unwrap());
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200));
    targets = all::<f32>, all::<f64>, crate_root
}
criterion_main!(benches);
