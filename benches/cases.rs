//! What the benches run: every operation with its data, as a kernel, as the naive loop and as a copy.
#![allow(dead_code, reason = "each bench uses a part of it")]

#[path = "naive.rs"]
mod naive;

use lossprep::{Backend, Element, Error, Kernels, Layout, NormGuard, Range};
use std::hint::black_box;
use std::iter::Sum;

/// `f32` or `f64`, as the benches need them.
pub trait Number: Element + Sum {
    const NAME: &'static str;
    /// How far an answer may be from the naive loop in f64, relative to its scale.
    const TOLERANCE: f64;
    fn nearest(x: f64) -> Self;
}

impl Number for f32 {
    const NAME: &'static str = "f32";
    const TOLERANCE: f64 = 5e-7;
    fn nearest(x: f64) -> Self {
        x as f32
    }
}

impl Number for f64 {
    const NAME: &'static str = "f64";
    // The naive loop is the less accurate of the two.
    const TOLERANCE: f64 = 1e-11;
    fn nearest(x: f64) -> Self {
        x
    }
}

/// What an operation reads.
struct Data<T> {
    layout: Layout,
    x: Vec<T>,
    norm: Vec<T>,
    g: Vec<T>,
    range: Range<T>,
    guard: NormGuard<T>,
}

/// One row of it.
struct Row<'a, T> {
    x: &'a [T],
    norm: T,
    g: &'a [T],
    range: Range<T>,
}

type Kernel<T> = fn(Kernels, &Data<T>, &mut [T]) -> Result<(), Error>;

/// One operation, forward or gradient.
struct Operation<T> {
    name: &'static str,
    /// One result a row.
    reduces: bool,
    /// One upstream value a row.
    reduced_upstream: bool,
    /// What the forward pass saves, where that is not its input.
    saved: Option<Kernel<T>>,
    kernel: Kernel<T>,
    naive: fn(&Row<T>, &mut [T]),
}

/// PyTorch's default, as the naive loop has it.
const EPS: f64 = 1e-12;

macro_rules! operations {
    ($($name:literal $([$flag:ident])? $(saved $saved:expr)?, $kernel:expr, $naive:expr;)*) => {
        /// The names of all operations.
        pub const NAMES: &[&str] = &[$($name),*];

        fn operation<T: Number>(name: &str) -> Operation<T> {
            match name {
                $($name => {
                    #[allow(unused_mut, reason = "most operations change none of these")]
                    let mut operation = Operation {
                        name: $name, reduces: false, reduced_upstream: false, saved: None,
                        kernel: $kernel, naive: $naive,
                    };
                    $(operation.$flag = true;)?
                    $(operation.saved = Some($saved);)?
                    operation
                })*
                _ => panic!("no operation is called {name}"),
            }
        }
    };
}

operations! {
    "softmax",
        |k, d, out| k.softmax(&d.x, d.layout, out),
        |r, out| naive::softmax(r.x, out);
    "softmax_vjp" saved |k, d, out| k.softmax(&d.x, d.layout, out),
        |k, d, out| k.softmax_vjp(&d.x, &d.g, d.layout, out),
        |r, out| naive::softmax_vjp(r.x, r.g, out);
    "log_softmax",
        |k, d, out| k.log_softmax(&d.x, d.layout, out),
        |r, out| naive::log_softmax(r.x, out);
    "log_softmax_vjp" saved |k, d, out| k.log_softmax(&d.x, d.layout, out),
        |k, d, out| k.log_softmax_vjp(&d.x, &d.g, d.layout, out),
        |r, out| naive::log_softmax_vjp(r.x, r.g, out);
    "logsumexp" [reduces],
        |k, d, out| k.logsumexp(&d.x, d.layout, out),
        |r, out| naive::logsumexp(r.x, out);
    "logsumexp_vjp" [reduced_upstream],
        |k, d, out| k.logsumexp_vjp(&d.x, &d.g, d.layout, out),
        |r, out| naive::logsumexp_vjp(r.x, r.g[0], out);
    "l2_norm" [reduces],
        |k, d, out| k.l2_norm(&d.x, d.layout, out),
        |r, out| naive::l2_norm(r.x, out);
    "l2_norm_vjp" [reduced_upstream],
        |k, d, out| k.l2_norm_vjp(&d.x, &d.norm, &d.g, d.layout, out),
        |r, out| naive::l2_norm_vjp(r.x, r.norm, r.g[0], out);
    "l2_normalize",
        |k, d, out| k.l2_normalize(&d.x, d.layout, d.guard, out),
        |r, out| naive::l2_normalize(r.x, T::nearest(EPS), out);
    "l2_normalize_vjp",
        |k, d, out| k.l2_normalize_vjp(&d.x, &d.norm, &d.g, d.layout, d.guard, out),
        |r, out| naive::l2_normalize_vjp(r.x, r.norm, r.g, out);
    "scaled_sigmoid",
        |k, d, out| k.scaled_sigmoid(&d.x, d.range, out),
        |r, out| naive::scaled_sigmoid(r.x, r.range.lo(), r.range.hi(), out);
    "scaled_sigmoid_vjp",
        |k, d, out| k.scaled_sigmoid_vjp(&d.x, &d.g, d.range, out),
        |r, out| naive::scaled_sigmoid_vjp(r.x, r.range.lo(), r.range.hi(), r.g, out);
    "scaled_sigmoid_inverse" saved |k, d, out| k.scaled_sigmoid(&d.x, d.range, out),
        |k, d, out| k.scaled_sigmoid_inverse(&d.x, d.range, out),
        |r, out| naive::scaled_sigmoid_inverse(r.x, r.range.lo(), r.range.hi(), out);
    "scaled_sigmoid_inverse_vjp" saved |k, d, out| k.scaled_sigmoid(&d.x, d.range, out),
        |k, d, out| k.scaled_sigmoid_inverse_vjp(&d.x, &d.g, d.range, out),
        |r, out| naive::scaled_sigmoid_inverse_vjp(r.x, r.range.lo(), r.range.hi(), r.g, out);
}

/// Nearly normal numbers, the same in every run.
fn normals<T: Number>(seed: u64, n: usize) -> Vec<T> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..n).map(|_| T::nearest((0..12).map(|_| uniform()).sum::<f64>() - 6.0)).collect()
}

/// An operation on one shape.
pub struct Case<T> {
    operation: Operation<T>,
    data: Data<T>,
    out: Vec<T>,
    copied: Vec<T>,
    gathered: Vec<Vec<T>>,
}

impl<T: Number> Case<T> {
    pub fn new(name: &str, layout: Layout) -> Self {
        let operation = operation::<T>(name);
        // An elementwise operation has no rows.
        let sigmoid = name.starts_with("scaled_sigmoid");
        let layout = if sigmoid { Layout::rows(1, layout.elements()).unwrap() } else { layout };
        let (elements, rows) = (layout.elements(), layout.row_count());
        let mut data = Data {
            layout,
            x: normals(1, elements),
            norm: vec![T::zero(); rows],
            g: normals(2, if operation.reduced_upstream { rows } else { elements }),
            range: Range::new(T::nearest(25.0), T::nearest(346.0)).unwrap(),
            guard: NormGuard::Max(T::nearest(EPS)),
        };
        let kernels = Backend::Scalar.try_get().unwrap();
        kernels.l2_norm(&data.x, layout, &mut data.norm).unwrap();
        if let Some(saved) = operation.saved {
            let mut y = vec![T::zero(); elements];
            saved(kernels, &data, &mut y).unwrap();
            data.x = y;
        }
        let out = vec![T::zero(); if operation.reduces { rows } else { elements }];
        let gathered = vec![vec![T::zero(); layout.len()]; 3];
        Self { operation, copied: data.x.clone(), data, out, gathered }
    }

    pub fn elements(&self) -> usize {
        self.data.layout.elements()
    }

    /// What a copy of the input moves.
    pub fn bytes(&self) -> usize {
        2 * size_of_val(self.data.x.as_slice())
    }

    pub fn kernel(&mut self, kernels: Kernels) {
        (self.operation.kernel)(kernels, black_box(&self.data), &mut self.out).unwrap();
        black_box(&self.out);
    }

    pub fn copy(&mut self) {
        self.copied.copy_from_slice(black_box(&self.data.x));
        black_box(&self.copied);
    }

    /// The naive loop over every row; rows of another axis are copied out and back.
    pub fn naive(&mut self) {
        let Self { operation, data, out, gathered, .. } = self;
        let data = black_box(&*data);
        let Data { layout, x, norm, g, range, .. } = data;
        let (len, inner) = (layout.len(), layout.inner());
        for row in 0..layout.row_count() {
            let norm = norm[row];
            let one = row..row + 1;
            if inner == 1 {
                let all = row * len..(row + 1) * len;
                let g = if operation.reduced_upstream { &g[one.clone()] } else { &g[all.clone()] };
                let out = &mut out[if operation.reduces { one } else { all.clone() }];
                (operation.naive)(&Row { x: &x[all], norm, g, range: *range }, out);
                continue;
            }
            let first = row / inner * len * inner + row % inner;
            let [row_x, row_g, row_out] = &mut gathered[..] else { unreachable!() };
            let gather = |from: &[T], to: &mut [T]| {
                for (to, &from) in to.iter_mut().zip(from[first..].iter().step_by(inner)) {
                    *to = from;
                }
            };
            gather(x, row_x);
            let g = if operation.reduced_upstream {
                &g[one.clone()]
            } else {
                gather(g, row_g);
                row_g
            };
            let row = Row { x: row_x, norm, g, range: *range };
            if operation.reduces {
                (operation.naive)(&row, &mut out[one]);
            } else {
                (operation.naive)(&row, row_out);
                for (to, &from) in out[first..].iter_mut().step_by(inner).zip(&*row_out) {
                    *to = from;
                }
            }
        }
        black_box(&*out);
    }

    /// Asserts that the kernel on every backend, and the naive loop, give what the naive loop gives in f64.
    pub fn check(&mut self) {
        let widen = |v: &[T]| -> Vec<f64> { v.iter().map(|v| v.to_f64().unwrap()).collect() };
        let mut wide = Case::<f64>::new(self.operation.name, self.data.layout);
        wide.data.x = widen(&self.data.x);
        wide.data.norm = widen(&self.data.norm);
        wide.data.g = widen(&self.data.g);
        wide.naive();
        let largest = wide.out.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        // Gradients and the inverse cancel, so that their scale is that of the terms.
        let cancels = self.operation.name.ends_with("vjp") || self.operation.name.ends_with("inverse");
        let check = |who: &str, out: &[T], tolerance: f64| {
            for (i, (&got, &want)) in out.iter().zip(&wide.out).enumerate() {
                let scale = if cancels { largest } else { want.abs() };
                let error = (got.to_f64().unwrap() - want).abs();
                assert!(
                    error <= tolerance * scale,
                    "{} {} {:?} {who}: element {i} is {got:e}, not {want:e}",
                    self.operation.name,
                    T::NAME,
                    self.data.layout,
                );
            }
        };
        for backend in Backend::available() {
            self.out.fill(T::nan());
            (self.operation.kernel)(backend.try_get().unwrap(), &self.data, &mut self.out).unwrap();
            check(backend.name(), &self.out, T::TOLERANCE);
        }
    }
}

/// The shapes timed: tiny and short rows, cached rows, long rows, axis 0, a middle axis.
pub const SHAPES: &[(&str, [usize; 3])] = &[
    ("16x10", [16, 10, 1]),
    ("64x1000", [64, 1000, 1]),
    ("256x128", [256, 128, 1]),
    ("4096x64", [4096, 64, 1]),
    ("32x32768", [32, 32768, 1]),
    ("1000x64 axis 0", [1, 1000, 64]),
    ("8x64x1024 axis 1", [8, 64, 1024]),
];
