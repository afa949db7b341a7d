//! Every operation × type × backend × shape, beside a copy of the same bytes and the naive loop.

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use lossprep::Backend;
use lossprep_verify::bench::cases::{Candidate, Case, NAMES, shapes};
use lossprep_verify::ulp::Number;
use std::time::Duration;

fn all<T: Number>(c: &mut Criterion) {
    for name in NAMES {
        for shape in shapes(name) {
            let layout = shape.layout();
            let mut group = c.benchmark_group(format!("{name}/{}/{}", T::NAME, shape.name));
            group.sampling_mode(SamplingMode::Flat);
            let elements = layout.elements() as u64;
            group.throughput(Throughput::ElementsAndBytes {
                elements,
                bytes: 2 * elements * size_of::<T>() as u64,
            });
            // Made when the first of the group runs: a filter may leave out all of them.
            let mut case = None;
            let kernels = Backend::available().map(|b| Candidate::Kernel(b.try_get().unwrap()));
            let yardsticks = Case::<T>::yardsticks(name);
            for candidate in kernels.chain(yardsticks) {
                let mut checked = false;
                group.bench_function(candidate.name(), |b| {
                    let case = case.get_or_insert_with(|| Case::<T>::new(name, layout));
                    if !checked {
                        case.check(&[candidate]);
                        checked = true;
                    }
                    b.iter_custom(|calls| case.time(candidate, calls));
                });
            }
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
