//! What is timed: every operation with its data, as a kernel, as the naive loop, as a copy and as a sum.

use super::naive;
use crate::ulp::Number;
use lossprep::{Backend, CrossEntropyOptions, Error, Kernels, Layout, NormGuard, Range, Target};
use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What the timing of one case compares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Candidate {
    /// `copy_from_slice` of the input: the limit of an operation that writes as much as it reads.
    Copy,
    /// The input summed, vectorised: the limit of one that reduces.
    Sum,
    /// The loop of [`naive`].
    Naive,
    /// The library on one backend.
    Kernel(Kernels),
}

impl Candidate {
    /// `copy`, `sum`, `naive` or the backend's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Sum => "sum",
            Self::Naive => "naive",
            Self::Kernel(kernels) => kernels.backend().name(),
        }
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
    /// For losses, one a row.
    classes: Vec<usize>,
    ones: Vec<T>,
    losses: RefCell<Vec<T>>,
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
    /// The output holds the input.
    in_place: bool,
    /// The input spreads further: in many rows one probability is above ½, as in those of a trained network.
    confident: bool,
    /// What the forward pass saves, where that is not its input.
    saved: Option<Kernel<T>>,
    kernel: Kernel<T>,
    naive: fn(&Row<T>, &mut [T]),
}

/// PyTorch's default, as the naive loop has it.
const EPS: f64 = 1e-12;

macro_rules! operations {
    ($($name:literal $([$($flag:ident),*])? $(saved $saved:expr)?, $kernel:expr, $naive:expr;)*) => {
        /// The names of all operations and forms.
        pub const NAMES: &[&str] = &[$($name),*];

        fn operation<T: Number>(name: &str) -> Operation<T> {
            match name {
                $($name => {
                    #[allow(unused_mut, reason = "most operations change none of these")]
                    let mut operation = Operation {
                        name: $name, reduces: false, reduced_upstream: false, in_place: false, confident: false, saved: None,
                        kernel: $kernel, naive: $naive,
                    };
                    $($(operation.$flag = true;)*)?
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
    "softmax_in_place" [in_place],
        |k, d, out| k.softmax_in_place(out, d.layout),
        |r, out| naive::softmax(r.x, out);
    "softmax_vjp" saved |k, d, out| k.softmax(&d.x, d.layout, out),
        |k, d, out| k.softmax_vjp(&d.x, &d.g, d.layout, out),
        |r, out| naive::softmax_vjp(r.x, r.g, out);
    "softmax_jvp" saved |k, d, out| k.softmax(&d.x, d.layout, out),
        |k, d, out| k.softmax_jvp(&d.x, &d.g, d.layout, out),
        |r, out| naive::softmax_vjp(r.x, r.g, out);
    "log_softmax",
        |k, d, out| k.log_softmax(&d.x, d.layout, out),
        |r, out| naive::log_softmax(r.x, out);
    "log_softmax_confident" [confident],
        |k, d, out| k.log_softmax(&d.x, d.layout, out),
        |r, out| naive::log_softmax(r.x, out);
    "log_softmax_in_place" [in_place],
        |k, d, out| k.log_softmax_in_place(out, d.layout),
        |r, out| naive::log_softmax(r.x, out);
    "log_softmax_vjp" saved |k, d, out| k.log_softmax(&d.x, d.layout, out),
        |k, d, out| k.log_softmax_vjp(&d.x, &d.g, d.layout, out),
        |r, out| naive::log_softmax_vjp(r.x, r.g, out);
    "log_softmax_jvp" saved |k, d, out| k.log_softmax(&d.x, d.layout, out),
        |k, d, out| k.log_softmax_jvp(&d.x, &d.g, d.layout, out),
        |r, out| naive::log_softmax_jvp(r.x, r.g, out);
    "logsumexp" [reduces],
        |k, d, out| k.logsumexp(&d.x, d.layout, out),
        |r, out| naive::logsumexp(r.x, out);
    "logsumexp_vjp" [reduced_upstream],
        |k, d, out| k.logsumexp_vjp(&d.x, &d.g, d.layout, out),
        |r, out| naive::logsumexp_vjp(r.x, r.g[0], out);
    "logsumexp_jvp" [reduces],
        |k, d, out| k.logsumexp_jvp(&d.x, &d.g, d.layout, out),
        |r, out| naive::logsumexp_jvp(r.x, r.g, out);
    "cross_entropy_with_grad",
        |k, d, out| cross_entropy(k, d, out),
        |r, out| naive::cross_entropy(r.x, 0, out);
    "cross_entropy_with_grad_confident" [confident],
        |k, d, out| cross_entropy(k, d, out),
        |r, out| naive::cross_entropy(r.x, 0, out);
    "l2_norm" [reduces],
        |k, d, out| k.l2_norm(&d.x, d.layout, out),
        |r, out| naive::l2_norm(r.x, out);
    "l2_norm_vjp" [reduced_upstream],
        |k, d, out| k.l2_norm_vjp(&d.x, &d.norm, &d.g, d.layout, out),
        |r, out| naive::l2_norm_vjp(r.x, r.norm, r.g[0], out);
    "l2_norm_jvp" [reduces],
        |k, d, out| k.l2_norm_jvp(&d.x, &d.norm, &d.g, d.layout, out),
        |r, out| naive::l2_norm_jvp(r.x, r.norm, r.g, out);
    "l2_normalize",
        |k, d, out| k.l2_normalize(&d.x, d.layout, d.guard, out),
        |r, out| naive::l2_normalize(r.x, T::round_from(EPS), out);
    "l2_normalize_in_place" [in_place],
        |k, d, out| k.l2_normalize_in_place(out, d.layout, d.guard),
        |r, out| naive::l2_normalize(r.x, T::round_from(EPS), out);
    "l2_normalize_vjp",
        |k, d, out| k.l2_normalize_vjp(&d.x, &d.norm, &d.g, d.layout, d.guard, out),
        |r, out| naive::l2_normalize_vjp(r.x, r.norm, r.g, out);
    "l2_normalize_jvp",
        |k, d, out| k.l2_normalize_jvp(&d.x, &d.norm, &d.g, d.layout, d.guard, out),
        |r, out| naive::l2_normalize_vjp(r.x, r.norm, r.g, out);
    "scaled_sigmoid",
        |k, d, out| k.scaled_sigmoid(&d.x, d.range, out),
        |r, out| naive::scaled_sigmoid(r.x, r.range.lo(), r.range.hi(), out);
    "scaled_sigmoid_in_place" [in_place],
        |k, d, out| k.scaled_sigmoid_in_place(out, d.range),
        |r, out| naive::scaled_sigmoid(r.x, r.range.lo(), r.range.hi(), out);
    "scaled_sigmoid_vjp",
        |k, d, out| k.scaled_sigmoid_vjp(&d.x, &d.g, d.range, out),
        |r, out| naive::scaled_sigmoid_vjp(r.x, r.range.lo(), r.range.hi(), r.g, out);
    "scaled_sigmoid_jvp",
        |k, d, out| k.scaled_sigmoid_jvp(&d.x, &d.g, d.range, out),
        |r, out| naive::scaled_sigmoid_vjp(r.x, r.range.lo(), r.range.hi(), r.g, out);
    "scaled_sigmoid_inverse" saved |k, d, out| k.scaled_sigmoid(&d.x, d.range, out),
        |k, d, out| k.scaled_sigmoid_inverse(&d.x, d.range, out),
        |r, out| naive::scaled_sigmoid_inverse(r.x, r.range.lo(), r.range.hi(), out);
    "scaled_sigmoid_inverse_in_place" [in_place] saved |k, d, out| k.scaled_sigmoid(&d.x, d.range, out),
        |k, d, out| k.scaled_sigmoid_inverse_in_place(out, d.range),
        |r, out| naive::scaled_sigmoid_inverse(r.x, r.range.lo(), r.range.hi(), out);
    "scaled_sigmoid_inverse_vjp" saved |k, d, out| k.scaled_sigmoid(&d.x, d.range, out),
        |k, d, out| k.scaled_sigmoid_inverse_vjp(&d.x, &d.g, d.range, out),
        |r, out| naive::scaled_sigmoid_inverse_vjp(r.x, r.range.lo(), r.range.hi(), r.g, out);
    "scaled_sigmoid_inverse_jvp" saved |k, d, out| k.scaled_sigmoid(&d.x, d.range, out),
        |k, d, out| k.scaled_sigmoid_inverse_jvp(&d.x, &d.g, d.range, out),
        |r, out| naive::scaled_sigmoid_inverse_vjp(r.x, r.range.lo(), r.range.hi(), r.g, out);
}

fn range<T: Number>() -> Range<T> {
    Range::new(T::round_from(25.0), T::round_from(346.0)).unwrap()
}

/// Losses and gradients for class 0 of each row, to be summed.
fn cross_entropy<T: Number>(kernels: Kernels, data: &Data<T>, out: &mut [T]) -> Result<(), Error> {
    let (target, options) = (Target::Classes(&data.classes), CrossEntropyOptions::new());
    let losses = &mut data.losses.borrow_mut();
    kernels.cross_entropy_with_grad(&data.x, target, &data.ones, data.layout, &options, losses, out)
}

/// A shape that is timed: outer × len × inner, rows of `len`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// As the reports show it.
    pub name: &'static str,
    /// outer, len, inner.
    pub extents: [usize; 3],
}

impl Shape {
    /// As the library takes it.
    pub fn layout(&self) -> Layout {
        let [outer, len, inner] = self.extents;
        Layout::new(outer, len, inner).expect("the shapes are small")
    }
}

const fn shape(name: &'static str, outer: usize, len: usize, inner: usize) -> Shape {
    Shape { name, extents: [outer, len, inner] }
}

/// Tiny rows, short ones, a batch that fills no register's lanes, cached rows, long rows, one that no cache holds, a middle
/// axis, axis 0.
const SHAPES: [Shape; 11] = [
    shape("1x8", 1, 8, 1),
    shape("16x10", 16, 10, 1),
    shape("17x100", 17, 100, 1),
    shape("64x1000", 64, 1000, 1),
    shape("256x128", 256, 128, 1),
    shape("4096x64", 4096, 64, 1),
    shape("32x32768", 32, 32768, 1),
    shape("8x131072", 8, 131_072, 1),
    shape("1x8388608", 1, 8_388_608, 1),
    shape("8x64x1024 axis 1", 8, 64, 1024),
    shape("1000x64 axis 0", 1, 1000, 64),
];
/// Feature vectors.
const FEATURES: [Shape; 3] =
    [shape("32x128", 32, 128, 1), shape("4096x128", 4096, 128, 1), shape("1024x768", 1024, 768, 1)];
/// An elementwise operation has no rows.
const SIZES: [Shape; 4] = [
    shape("64", 1, 64, 1),
    shape("65536", 1, 65536, 1),
    shape("1048576", 1, 1_048_576, 1),
    shape("16777216", 1, 16_777_216, 1),
];

/// The shapes that an operation is timed on.
pub fn shapes(name: &str) -> Vec<Shape> {
    if name.starts_with("scaled_sigmoid") {
        SIZES.to_vec()
    } else if name.starts_with("l2") {
        [&SHAPES[..], &FEATURES].concat()
    } else {
        SHAPES.to_vec()
    }
}

/// Nearly normal numbers, the same in every run: sums of eight uniform ones.
fn normals<T: Number>(seed: u64, n: usize) -> Vec<T> {
    let mut state = seed;
    let mut four = || {
        // SplitMix64
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        (0..4).map(|i| z >> (16 * i) & 0xffff).sum::<u64>()
    };
    let deviation = (8.0_f64 / 12.0).sqrt() * 65536.0;
    (0..n).map(|_| T::round_from(((four() + four()) as f64 - 4.0 * 65535.0) / deviation)).collect()
}

/// Elements that an in-place kernel finds refilled while the clock stands.
const ARENA: usize = 1 << 17;

/// An operation on one shape.
pub struct Case<T> {
    operation: Operation<T>,
    data: Data<T>,
    out: Vec<T>,
    copied: Vec<T>,
    gathered: [Vec<T>; 3],
}

impl<T: Number> Case<T> {
    /// The operation of that name, with its data.
    ///
    /// # Panics
    /// If there is none, or if no backend can compute what it reads.
    pub fn new(name: &str, layout: Layout) -> Self {
        let operation = operation::<T>(name);
        let (elements, rows) = (layout.elements(), layout.row_count());
        let mut data = Data {
            layout,
            x: normals(1, elements),
            norm: vec![T::zero(); rows],
            g: normals(2, if operation.reduced_upstream { rows } else { elements }),
            range: range(),
            guard: NormGuard::Max(T::round_from(EPS)),
            classes: vec![0; rows],
            ones: vec![T::one(); rows],
            losses: RefCell::new(vec![T::zero(); rows]),
        };
        if operation.confident {
            let spread = T::round_from(4.0);
            data.x.iter_mut().for_each(|x| *x = *x * spread);
        }
        let kernels = Backend::available().find_map(|b| b.try_get().ok()).unwrap();
        kernels.l2_norm(&data.x, layout, &mut data.norm).unwrap();
        if let Some(saved) = operation.saved {
            let mut y = vec![T::zero(); elements];
            saved(kernels, &data, &mut y).unwrap();
            data.x = y;
        }
        let copied = data.x.clone();
        Self::of(operation, data, copied)
    }

    fn of(operation: Operation<T>, data: Data<T>, copied: Vec<T>) -> Self {
        let layout = data.layout;
        let mut out = vec![T::zero(); if operation.reduces { layout.row_count() } else { layout.elements() }];
        // Touched, so that no first call pays for its pages.
        out.fill(T::one());
        let gathered =
            std::array::from_fn(|_| vec![T::zero(); if layout.inner() == 1 { 0 } else { layout.len() }]);
        Self { operation, data, out, copied, gathered }
    }

    /// The same data in f64, for the naive loop.
    fn widened(&self) -> Case<f64> {
        let widen = |v: &[T]| -> Vec<f64> { v.iter().map(|v| v.exact_f64()).collect() };
        let data = Data {
            layout: self.data.layout,
            x: widen(&self.data.x),
            norm: widen(&self.data.norm),
            g: widen(&self.data.g),
            range: range(),
            guard: NormGuard::Max(EPS),
            classes: Vec::new(),
            ones: Vec::new(),
            losses: RefCell::default(),
        };
        Case::of(operation(self.operation.name), data, Vec::new())
    }

    /// Elements of the input.
    pub fn elements(&self) -> usize {
        self.data.x.len()
    }

    /// What an operation is timed beside: the copy, the sum if it reduces, the naive loop.
    pub fn yardsticks(name: &str) -> Vec<Candidate> {
        let sum = operation::<T>(name).reduces.then_some(Candidate::Sum);
        [Candidate::Copy].into_iter().chain(sum).chain([Candidate::Naive]).collect()
    }

    /// How long that many calls take.
    pub fn time(&mut self, candidate: Candidate, calls: u64) -> Duration {
        let clock = |run: &mut dyn FnMut()| {
            let start = Instant::now();
            for _ in 0..calls {
                run();
            }
            start.elapsed()
        };
        match candidate {
            Candidate::Copy => clock(&mut || self.copy()),
            Candidate::Sum => clock(&mut || self.sum()),
            Candidate::Naive => clock(&mut || self.naive()),
            Candidate::Kernel(kernels) if self.operation.in_place => self.time_in_place(kernels, calls),
            Candidate::Kernel(kernels) => clock(&mut || self.kernel(kernels)),
        }
    }

    /// Calls the kernel once; an in-place one on what [`refill`](Self::refill) left there.
    #[inline]
    pub fn kernel(&mut self, kernels: Kernels) {
        let elements = if self.operation.in_place { self.elements() } else { self.out.len() };
        (self.operation.kernel)(kernels, black_box(&self.data), &mut self.out[..elements]).unwrap();
        black_box(&self.out);
    }

    /// Puts the input where an in-place kernel finds it, for that many calls.
    pub fn refill(&mut self, calls: usize) {
        if self.operation.in_place {
            self.out.resize(self.elements() * calls, T::zero());
            self.out.chunks_exact_mut(self.data.x.len()).for_each(|out| out.copy_from_slice(&self.data.x));
        }
    }

    fn time_in_place(&mut self, kernels: Kernels, calls: u64) -> Duration {
        let mut total = Duration::ZERO;
        let mut left = calls;
        while left > 0 {
            let now = left.min((ARENA / self.elements()).max(1) as u64);
            self.refill(now as usize);
            let data = black_box(&self.data);
            let start = Instant::now();
            for out in self.out.chunks_exact_mut(data.x.len()) {
                (self.operation.kernel)(kernels, data, out).unwrap();
            }
            total += start.elapsed();
            black_box(&self.out);
            left -= now;
        }
        total
    }

    fn copy(&mut self) {
        self.copied.copy_from_slice(black_box(&self.data.x));
        black_box(&self.copied);
    }

    fn sum(&mut self) {
        let mut sums = [T::zero(); 32];
        let (blocks, rest) = black_box(&self.data.x).as_chunks::<32>();
        for block in blocks {
            for (sum, &x) in sums.iter_mut().zip(block) {
                *sum = *sum + x;
            }
        }
        black_box(rest.iter().chain(&sums).fold(T::zero(), |a, &b| a + b));
    }

    /// The naive loop over every row; rows of another axis are copied out and back.
    fn naive(&mut self) {
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
            let [row_x, row_g, row_out] = gathered;
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

    /// Asserts that a kernel gives what the naive loop gives in f64; a yardstick is the assertion's other side.
    ///
    /// # Panics
    /// If it does not.
    pub fn check(&mut self, candidates: &[Candidate]) {
        let mut wide = self.widened();
        wide.naive();
        let largest = wide.out.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        let name = self.operation.name;
        let scale = |want: f64| match name {
            // Weighted sums of terms near 1, of both signs.
            "logsumexp_jvp" | "l2_norm_jvp" => largest.max(1.0),
            // Gradients and the inverse cancel: their scale is that of the terms.
            _ if name.ends_with("vjp") || name.ends_with("jvp") || name.contains("inverse") => largest,
            _ => want.abs(),
        };
        // Four units of f32; for f64 what the naive loop itself is good for, whose every addition rounds.
        let additions = self.data.layout.len() as f64 * (f64::EPSILON / 2.0);
        let tolerance = if T::NAME == "f32" { 5e-7 } else { 1e-11 + additions };
        for candidate in candidates {
            let &Candidate::Kernel(kernels) = candidate else { continue };
            self.out.fill(T::nan());
            self.refill(1);
            self.kernel(kernels);
            for (i, (&got, &want)) in self.out.iter().zip(&wide.out).enumerate() {
                let error = (got.exact_f64() - want).abs();
                assert!(
                    error <= tolerance * scale(want),
                    "{name} {} {:?} {}: element {i} is {got:e}, not {want:e}",
                    T::NAME,
                    self.data.layout,
                    candidate.name(),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_answer<T: Number>() {
        for name in NAMES {
            for extents in [[1, 8, 1], [5, 70, 1], [3, 7, 5]] {
                let mut case = Case::<T>::new(name, shape("", extents[0], extents[1], extents[2]).layout());
                let kernels = Backend::available().map(|b| Candidate::Kernel(b.try_get().unwrap()));
                let candidates: Vec<_> = Case::<T>::yardsticks(name).into_iter().chain(kernels).collect();
                case.check(&candidates);
                candidates.iter().for_each(|&c| assert!(case.time(c, 3) > Duration::ZERO));
            }
        }
    }

    #[test]
    fn kernels_and_the_naive_loop_agree() {
        every_answer::<f32>();
        every_answer::<f64>();
    }

    #[test]
    #[should_panic(expected = "element 9 is")]
    fn a_wrong_answer_is_not_timed() {
        let mut case = Case::<f32>::new("softmax", shape("", 2, 8, 1).layout());
        case.operation.kernel = |k, d, out| {
            k.softmax(&d.x, d.layout, out)?;
            out[9] *= 1.00001;
            Ok(())
        };
        case.check(&[Candidate::Kernel(Backend::Scalar.try_get().unwrap())]);
    }
}
