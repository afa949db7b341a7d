//! The registry: the one list of kernel families, each a file.
//!
//! A new kernel is a file here, a line in `families!` and its re-exports; the tests of the registry fail for an
//! operation without a row of the contract in README.md, a test, a bench, a fuzz target, a reference or a place in
//! the report.

use crate::element::Lane;

/// Declares the families and joins what each needs of an element type.
macro_rules! families {
    ($($family:ident: $bound:ident, [$($operation:ident),*];)*) => {
        $(pub(crate) mod $family;)*

        /// What the kernels need of an element type.
        pub trait Kernel: Lane + crate::losses::LossElement $(+ $family::$bound + $family::Operations<Self>)* {}
        impl Kernel for f32 {}
        impl Kernel for f64 {}

        /// The name of every operation and its family, as the report, tests and benches list them.
        pub const OPERATIONS: &[(&str, &str)] = &[$($((stringify!($operation), stringify!($family)),)*)*];
    };
}

families! {
    softmax: SoftmaxElement, [softmax, log_softmax, logsumexp];
    l2: Norm, [l2_norm, l2_normalize];
    sigmoid: Sigmoid, [scaled_sigmoid, scaled_sigmoid_inverse];
}
