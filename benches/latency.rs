//! The cost of one call: every operation on 1×8.

mod cases;

use cases::{Case, NAMES, Number};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use lossprep::{Backend, Layout};
use std::time::Duration;

fn all<T: Number>(c: &mut Criterion) {
    for name in NAMES {
        let mut case = Case::<T>::new(name, Layout::rows(1, 8).unwrap());
        case.check();
        let mut group = c.benchmark_group(format!("{name}/{}/1x8", T::NAME));
        for backend in Backend::available() {
            let kernels = backend.try_get().unwrap();
            group.bench_function(BenchmarkId::from_parameter(backend), |b| b.iter(|| case.kernel(kernels)));
        }
        group.bench_function("naive", |b| b.iter(|| case.naive()));
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200));
    targets = all::<f32>, all::<f64>
}
criterion_main!(benches);
