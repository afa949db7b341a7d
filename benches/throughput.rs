//! Every operation × type × backend × shape, beside a copy of the same bytes and the naive loop.

mod cases;

use cases::{Case, NAMES, Number, SHAPES};
use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use lossprep::{Backend, Layout};
use std::time::Duration;

fn all<T: Number>(c: &mut Criterion) {
    for name in NAMES {
        for &(shape, [outer, len, inner]) in SHAPES {
            let mut case = Case::<T>::new(name, Layout::new(outer, len, inner).unwrap());
            case.check();
            let mut group = c.benchmark_group(format!("{name}/{}/{shape}", T::NAME));
            group.sampling_mode(SamplingMode::Flat);
            group.throughput(Throughput::ElementsAndBytes {
                elements: case.elements() as u64,
                bytes: case.bytes() as u64,
            });
            for backend in Backend::available() {
                let kernels = backend.try_get().unwrap();
                group.bench_function(BenchmarkId::from_parameter(backend), |b| {
                    b.iter(|| case.kernel(kernels))
                });
            }
            group.bench_function("naive", |b| b.iter(|| case.naive()));
            group.bench_function("copy", |b| b.iter(|| case.copy()));
            group.finish();
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200));
    targets = all::<f32>, all::<f64>
}
criterion_main!(benches);
