//! Instruction counts of every operation on small fixed inputs, under callgrind; `instructions.sh` runs it.
//!
//! valgrind knows AVX2 but not AVX-512, so on x86 the AVX2 path is counted.

#![allow(missing_docs, reason = "what the macros make has none")]

use iai_callgrind::{library_benchmark, library_benchmark_group, main};
use lossprep::{Backend, Layout};
use lossprep_verify::bench::cases::{Candidate, Case};
use lossprep_verify::ulp::Number;

/// A call of the kernel, its answer checked, its input in place.
type Call = Box<dyn FnMut()>;

fn prepare<T: Number>(name: &str, rows: usize, len: usize) -> Call {
    let mut case = Case::<T>::new(name, Layout::rows(rows, len).unwrap());
    let counted =
        [Backend::Avx2, Backend::Neon, Backend::Portable].into_iter().find_map(|b| b.try_get().ok());
    let kernels = counted.unwrap();
    case.check(&[Candidate::Kernel(kernels)]);
    case.refill(1);
    Box::new(move || case.kernel(kernels))
}

/// More rows than a register has lanes.
fn short<T: Number>(name: &str) -> Call {
    prepare::<T>(name, 19, 10)
}

/// The last register is not full.
fn long<T: Number>(name: &str) -> Call {
    prepare::<T>(name, 2, 1003)
}

macro_rules! counted {
    ($($name:ident)*) => {
        $(
            #[library_benchmark]
            #[bench::f32_short(short::<f32>(stringify!($name)))]
            #[bench::f32_long(long::<f32>(stringify!($name)))]
            #[bench::f64_short(short::<f64>(stringify!($name)))]
            #[bench::f64_long(long::<f64>(stringify!($name)))]
            fn $name(mut call: Call) -> Call {
                call();
                call
            }
        )*
        library_benchmark_group!(name = counts; benchmarks = $($name),*);
    };
}

counted! {
    softmax softmax_in_place softmax_vjp softmax_jvp
    log_softmax log_softmax_in_place log_softmax_vjp log_softmax_jvp
    logsumexp logsumexp_vjp logsumexp_jvp cross_entropy_with_grad
    l2_norm l2_norm_vjp l2_norm_jvp
    l2_normalize l2_normalize_in_place l2_normalize_vjp l2_normalize_jvp
    scaled_sigmoid scaled_sigmoid_in_place scaled_sigmoid_vjp scaled_sigmoid_jvp
    scaled_sigmoid_inverse scaled_sigmoid_inverse_in_place scaled_sigmoid_inverse_vjp scaled_sigmoid_inverse_jvp
}

main!(library_benchmark_groups = counts);
