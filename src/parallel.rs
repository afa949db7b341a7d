//! The operations on several threads, with the feature `rayon`: the same arguments, bits and errors as without `par_`.
//!
//! ```
//! use lossprep::{Layout, par_softmax};
//! let logits = vec![0.5_f32; 64 * 1000];
//! let mut p = vec![0.0; logits.len()];
//! // A pool of the caller's choice; outside of any, rayon's global one.
//! let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
//! pool.install(|| par_softmax(&logits, Layout::rows(64, 1000)?, &mut p))?;
//! assert!(p.iter().all(|&p| (p - 0.001).abs() < 1e-9));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Threads
//! Work runs on the rayon pool in which the call is made, and nowhere else: [`ThreadPool::install`](rayon::ThreadPool::install)
//! chooses the number of threads, and outside of a pool it is that of rayon's global one. A call in a pool of one thread
//! is the plain call.
//!
//! A tensor is cut along its outer dimension, masks and lengths with it, and each part is a plain call. Elementwise
//! operations are cut anywhere. Parts have about 16,384 elements at least, so a tensor of fewer than 32,768 stays on the
//! thread of the caller. The number is chosen for parts that are worth waking a thread for: with AVX-512 one takes 3 µs
//! (f32 scaled sigmoid) to 15 µs (f32 softmax of rows of 16).
//!
//! softmax, log_softmax and logsumexp without options also cut contiguous rows of 32,768 elements and more, where there are
//! fewer of them than threads: their maxima and sums do not depend on the cut. Each of the three passes is then a
//! parallel loop of its own. A row of which nearly all is one element, whose logarithm needs another sum, is a
//! plain call.
//!
//! # What stays on one thread
//! Axis 0 (`outer = 1`, `inner > 1`): its rows lie side by side, and no contiguous parts of the slices hold some of them whole;
//! without a copy, safe code cannot let two threads write them. A single row of all other operations: norms and
//! gradients sum in floating point, in an order of their own, and to cut that would change their bits.
//!
//! # Bits
//! Those of the plain call, for any number of threads: they depend on the row alone.
//!
//! # Errors
//! Those of the plain call, with the row numbers of the whole tensor; nothing has been written.

use crate::kernels::softmax::long_rows::{Form, Known, Step};
use crate::{Element, Error, Kernels, Layout, NormGuard, Range, SoftmaxOptions};
use rayon::join;
use rayon::prelude::*;

/// The least elements of a part.
const LEAST: usize = 16_384;
/// Parts for each thread: what one that is interrupted leaves, others take.
const PARTS: usize = 4;
/// Cuts are made at multiples of so many blocks, where there are enough: short rows fill registers, and
/// elements cache lines.
const ALIGNED: usize = 16;
/// The elements of a row that are copied and overwritten at once.
const COPIED: usize = 4096;

/// An argument, to be cut before block `at` of the outer dimension.
trait Cut: Send + Sized {
    /// Whether the layout allows it. What is wrong, the plain call says.
    fn fits(&self, layout: Layout) -> bool;
    fn cut(self, at: usize) -> (Self, Self);
}

/// Runs a plain call on the parts of its arguments.
fn in_parts<A: Cut>(
    layout: Layout,
    arguments: A,
    call: impl Fn(A) -> Result<(), Error> + Sync,
) -> Result<(), Error> {
    let elements = layout.elements();
    // Small ones do not even ask rayon, which would start its global pool.
    if elements < 2 * LEAST || !arguments.fits(layout) {
        return call(arguments);
    }
    let threads = rayon::current_num_threads();
    if threads == 1 {
        return call(arguments);
    }
    let least = LEAST.max(elements / (PARTS * threads)).div_ceil(elements / layout.outer());
    halves(layout.outer(), least, arguments, &call)
}

fn halves<A: Cut>(
    blocks: usize,
    least: usize,
    arguments: A,
    call: &(impl Fn(A) -> Result<(), Error> + Sync),
) -> Result<(), Error> {
    if blocks < 2 * least {
        return call(arguments);
    }
    let middle = blocks / 2;
    let at = if middle < ALIGNED { middle } else { middle / ALIGNED * ALIGNED };
    let (before, after) = arguments.cut(at);
    let (a, b) = join(|| halves(at, least, before, call), || halves(blocks - at, least, after, call));
    // What a part can still say is wrong with a number, every part says, before it writes.
    a.and(b)
}

impl Cut for () {
    fn fits(&self, _: Layout) -> bool {
        true
    }
    fn cut(self, _: usize) -> (Self, Self) {
        ((), ())
    }
}

impl<A: Cut, B: Cut> Cut for (A, B) {
    fn fits(&self, layout: Layout) -> bool {
        self.0.fits(layout) && self.1.fits(layout)
    }
    fn cut(self, at: usize) -> (Self, Self) {
        let ((a, c), (b, d)) = (self.0.cut(at), self.1.cut(at));
        ((a, b), (c, d))
    }
}

trait Slice: Send + Sized {
    fn size(&self) -> usize;
    fn cut(self, at: usize) -> (Self, Self);
}

impl<T: Sync> Slice for &[T] {
    fn size(&self) -> usize {
        self.len()
    }
    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at(at)
    }
}

impl<T: Send> Slice for &mut [T] {
    fn size(&self) -> usize {
        self.len()
    }
    fn cut(self, at: usize) -> (Self, Self) {
        self.split_at_mut(at)
    }
}

/// A slice with so many numbers a block.
struct Blocks<S> {
    slice: S,
    of: usize,
}

impl<S> Blocks<S> {
    fn give(self) -> S {
        self.slice
    }
}

impl<S: Slice> Cut for Blocks<S> {
    fn fits(&self, layout: Layout) -> bool {
        self.slice.size() == layout.outer() * self.of
    }
    fn cut(self, at: usize) -> (Self, Self) {
        let (a, b) = self.slice.cut(at * self.of);
        (Self { slice: a, of: self.of }, Self { slice: b, of: self.of })
    }
}

/// A number for each element. The product overflows only where there is no element.
fn elements<S>(slice: S, layout: Layout) -> Blocks<S> {
    Blocks { slice, of: layout.len().saturating_mul(layout.inner()) }
}

/// A number for each row.
fn rows<S>(slice: S, layout: Layout) -> Blocks<S> {
    Blocks { slice, of: layout.inner() }
}

/// The options of the softmax family, with the layout that the mask or the lengths are for.
struct Options<'a, T> {
    options: SoftmaxOptions<'a, T>,
    layout: Layout,
}

impl<T> Options<'_, T> {
    fn give(&self) -> &SoftmaxOptions<'_, T> {
        &self.options
    }
}

impl<T: Element> Cut for Options<'_, T> {
    fn fits(&self, layout: Layout) -> bool {
        self.options.check(layout).is_ok()
    }
    fn cut(self, at: usize) -> (Self, Self) {
        let Self { options, layout } = self;
        let (a, b) = options.split_at(at * layout.len() * layout.inner(), at * layout.inner());
        (Self { options: a, layout }, Self { options: b, layout })
    }
}

fn kept<'a, T: Element>(options: &SoftmaxOptions<'a, T>, layout: Layout) -> Options<'a, T> {
    Options { options: *options, layout }
}

/// What is the same for all parts.
struct Same<V>(V);

impl<V> Same<V> {
    fn give(self) -> V {
        self.0
    }
}

impl<V: Copy + Send> Cut for Same<V> {
    fn fits(&self, _: Layout) -> bool {
        true
    }
    fn cut(self, _: usize) -> (Self, Self) {
        (Self(self.0), self)
    }
}

fn same<V>(value: V, _: Layout) -> Same<V> {
    Same(value)
}

/// The layout itself.
struct Outer(Layout);

impl Outer {
    fn give(self) -> Layout {
        self.0
    }
}

impl Cut for Outer {
    fn fits(&self, _: Layout) -> bool {
        true
    }
    fn cut(self, at: usize) -> (Self, Self) {
        (Self(self.0.with_outer(at)), Self(self.0.with_outer(self.0.outer() - at)))
    }
}

fn outer(layout: Layout, _: Layout) -> Outer {
    Outer(layout)
}

/// The layout of an elementwise operation: each element a block.
fn each<T>(x: &[T]) -> Result<Layout, Error> {
    Layout::new(x.len(), 1, 1)
}

/// Pairs of pairs, of values or of patterns.
macro_rules! pairs {
    () => { () };
    ([$($first:tt)*] $($rest:tt)*) => { ($($first)*, pairs!($($rest)*)) };
}

/// Whether threads share rows: each is worth cutting, and there are fewer than threads.
fn shares_rows(layout: Layout) -> bool {
    let long = layout.inner() == 1 && layout.len() >= 2 * LEAST;
    long && layout.outer() < rayon::current_num_threads()
}

impl Kernels {
    fn softmax_shared<T: Element>(self, x: &[T], layout: Layout, out: &mut [T]) -> Result<(), Error> {
        self.share(Form::Softmax, layout, Some(x), out, |out| self.softmax(x, layout, out))
    }

    fn softmax_in_place_shared<T: Element>(self, data: &mut [T], layout: Layout) -> Result<(), Error> {
        self.share(Form::Softmax, layout, None, data, |data| self.softmax_in_place(data, layout))
    }

    fn log_softmax_shared<T: Element>(self, x: &[T], layout: Layout, out: &mut [T]) -> Result<(), Error> {
        self.share(Form::LogSoftmax, layout, Some(x), out, |out| self.log_softmax(x, layout, out))
    }

    fn log_softmax_in_place_shared<T: Element>(self, data: &mut [T], layout: Layout) -> Result<(), Error> {
        self.share(Form::LogSoftmax, layout, None, data, |data| self.log_softmax_in_place(data, layout))
    }

    fn logsumexp_shared<T: Element>(self, x: &[T], layout: Layout, out: &mut [T]) -> Result<(), Error> {
        if [x.len(), out.len()] != [layout.elements(), layout.outer()] {
            return self.logsumexp(x, layout, out);
        }
        for (x, out) in x.chunks_exact(layout.len()).zip(out.chunks_exact_mut(1)) {
            if !self.known(Form::LogSumExp, x, out).decided {
                self.logsumexp(x, layout.with_outer(1), out)?;
            }
        }
        Ok(())
    }

    /// softmax or log_softmax of rows that threads share; without `x` they are in `out`. What is wrong, `plain` says.
    fn share<T: Element>(
        self,
        form: Form,
        layout: Layout,
        x: Option<&[T]>,
        out: &mut [T],
        plain: impl FnOnce(&mut [T]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let elements = layout.elements();
        if out.len() != elements || x.is_some_and(|x| x.len() != elements) {
            return plain(out);
        }
        let len = layout.len();
        for (row, out) in out.chunks_exact_mut(len).enumerate() {
            let x = x.map(|x| &x[row * len..][..len]);
            let known = self.known(form, x.unwrap_or(out), &mut []);
            if !known.decided {
                if let Some(x) = x {
                    out.copy_from_slice(x);
                }
                self.log_softmax_in_place(out, layout.with_outer(1))?;
                continue;
            }
            let part = part_of(len);
            out.par_chunks_mut(part).enumerate().for_each(|(i, out)| match x {
                None => {
                    T::long_row(self, known, Step::Write(out));
                }
                Some(x) => {
                    // A copy that is still in the cache when it is overwritten.
                    for (out, x) in out.chunks_mut(COPIED).zip(x[i * part..].chunks(COPIED)) {
                        out.copy_from_slice(&x[..out.len()]);
                        T::long_row(self, known, Step::Write(out));
                    }
                }
            });
        }
        Ok(())
    }

    /// What there is to be known of a row before it is written; logsumexp goes to `result`.
    fn known<T: Element>(self, form: Form, x: &[T], result: &mut [T]) -> Known<T> {
        let parts = || x.par_chunks(part_of(x.len()));
        let known = Known::nothing(form, x.len());
        let measure = |x| T::long_row(self, known, Step::Measure(x));
        let known = parts().map(measure).reduce(|| known, Known::and_extremes);
        let add_up =
            |known| parts().map(|x| T::long_row(self, known, Step::Sum(x))).reduce(|| known, Known::and_sum);
        let mut known = T::long_row(self, add_up(known), Step::Weigh);
        if known.many {
            known = add_up(known);
        }
        T::long_row(self, known, Step::Close(result))
    }
}

/// The elements of a part of a row that threads share.
fn part_of(len: usize) -> usize {
    LEAST.max(len / (PARTS * rayon::current_num_threads())).next_multiple_of(ALIGNED)
}

/// Calls what there is for rows that threads share.
macro_rules! shared {
    ([] $($rest:tt)*) => {};
    ([$shared:ident] $self:ident, $layout:ident, $($arg:ident),*) => {
        if shares_rows($layout) {
            return $self.$shared($($arg),*);
        }
    };
}

/// Declares the `par_` form of operations: their arguments with the way each is cut, the layout that is cut, and
/// what is called where threads share rows.
macro_rules! parallel {
    ($($par:ident = $name:ident($($arg:ident: $cut:ident $ty:ty),*) by $layout:expr $(, $shared:ident)?;)*) => {
        impl Kernels {
            $(
                #[doc = concat!("[`", stringify!($par), "`](crate::", stringify!($par), ") on this backend.")]
                ///
                /// # Errors
                /// Those of the function at the crate root.
                pub fn $par<T: Element>(self, $($arg: $ty),*) -> Result<(), Error> {
                    let layout = $layout;
                    shared!([$($shared)?] self, layout, $($arg),*);
                    in_parts(layout, pairs!($([$cut($arg, layout)])*), |pairs!($([$arg])*)| {
                        self.$name($($arg.give()),*)
                    })
                }
            )*
        }
        $(
            #[doc = concat!("[`", stringify!($name), "`](crate::", stringify!($name), ") on the rayon pool in which it is called: the same arguments and bits.")]
            ///
            #[doc = concat!("Formula, shapes, accuracy, special values and source are those of [`", stringify!($name), "`](crate::", stringify!($name), "); [the module](crate::parallel) has an example.")]
            ///
            /// # Errors
            #[doc = concat!("Those of [`", stringify!($name), "`](crate::", stringify!($name), ").")]
            pub fn $par<T: Element>($($arg: $ty),*) -> Result<(), Error> {
                Kernels::best()?.$par($($arg),*)
            }
        )*
    };
}

parallel! {
    par_softmax = softmax(x: elements &[T], layout: outer Layout, out: elements &mut [T]) by layout, softmax_shared;
    par_softmax_with = softmax_with(x: elements &[T], layout: outer Layout, options: kept &SoftmaxOptions<'_, T>, out: elements &mut [T]) by layout;
    par_softmax_in_place = softmax_in_place(data: elements &mut [T], layout: outer Layout) by layout, softmax_in_place_shared;
    par_softmax_in_place_with = softmax_in_place_with(data: elements &mut [T], layout: outer Layout, options: kept &SoftmaxOptions<'_, T>) by layout;
    par_softmax_vjp = softmax_vjp(y: elements &[T], upstream: elements &[T], layout: outer Layout, grad: elements &mut [T]) by layout;
    par_softmax_vjp_with = softmax_vjp_with(y: elements &[T], upstream: elements &[T], layout: outer Layout, options: kept &SoftmaxOptions<'_, T>, grad: elements &mut [T]) by layout;
    par_softmax_jvp = softmax_jvp(y: elements &[T], tangent: elements &[T], layout: outer Layout, out: elements &mut [T]) by layout;
    par_softmax_jvp_with = softmax_jvp_with(y: elements &[T], tangent: elements &[T], layout: outer Layout, options: kept &SoftmaxOptions<'_, T>, out: elements &mut [T]) by layout;
    par_log_softmax = log_softmax(x: elements &[T], layout: outer Layout, out: elements &mut [T]) by layout, log_softmax_shared;
    par_log_softmax_with = log_softmax_with(x: elements &[T], layout: outer Layout, options: kept &SoftmaxOptions<'_, T>, out: elements &mut [T]) by layout;
    par_log_softmax_in_place = log_softmax_in_place(data: elements &mut [T], layout: outer Layout) by layout, log_softmax_in_place_shared;
    par_log_softmax_in_place_with = log_softmax_in_place_with(data: elements &mut [T], layout: outer Layout, options: kept &SoftmaxOptions<'_, T>) by layout;
    par_log_softmax_vjp = log_softmax_vjp(log_y: elements &[T], upstream: elements &[T], layout: outer Layout, grad: elements &mut [T]) by layout;
    par_log_softmax_vjp_with = log_softmax_vjp_with(log_y: elements &[T], upstream: elements &[T], layout: outer Layout, options: kept &SoftmaxOptions<'_, T>, grad: elements &mut [T]) by layout;
    par_log_softmax_jvp = log_softmax_jvp(log_y: elements &[T], tangent: elements &[T], layout: outer Layout, out: elements &mut [T]) by layout;
    par_log_softmax_jvp_with = log_softmax_jvp_with(log_y: elements &[T], tangent: elements &[T], layout: outer Layout, options: kept &SoftmaxOptions<'_, T>, out: elements &mut [T]) by layout;
    par_logsumexp = logsumexp(x: elements &[T], layout: outer Layout, out: rows &mut [T]) by layout, logsumexp_shared;
    par_logsumexp_with = logsumexp_with(x: elements &[T], layout: outer Layout, options: kept &SoftmaxOptions<'_, T>, out: rows &mut [T]) by layout;
    par_logsumexp_vjp = logsumexp_vjp(x: elements &[T], upstream: rows &[T], layout: outer Layout, grad: elements &mut [T]) by layout;
    par_logsumexp_vjp_with = logsumexp_vjp_with(x: elements &[T], upstream: rows &[T], layout: outer Layout, options: kept &SoftmaxOptions<'_, T>, grad: elements &mut [T]) by layout;
    par_logsumexp_jvp = logsumexp_jvp(x: elements &[T], tangent: elements &[T], layout: outer Layout, out: rows &mut [T]) by layout;
    par_logsumexp_jvp_with = logsumexp_jvp_with(x: elements &[T], tangent: elements &[T], layout: outer Layout, options: kept &SoftmaxOptions<'_, T>, out: rows &mut [T]) by layout;
    par_l2_norm = l2_norm(x: elements &[T], layout: outer Layout, out: rows &mut [T]) by layout;
    par_l2_norm_vjp = l2_norm_vjp(x: elements &[T], norm: rows &[T], upstream: rows &[T], layout: outer Layout, grad: elements &mut [T]) by layout;
    par_l2_norm_jvp = l2_norm_jvp(x: elements &[T], norm: rows &[T], tangent: elements &[T], layout: outer Layout, out: rows &mut [T]) by layout;
    par_l2_normalize = l2_normalize(x: elements &[T], layout: outer Layout, guard: same NormGuard<T>, out: elements &mut [T]) by layout;
    par_l2_normalize_in_place = l2_normalize_in_place(data: elements &mut [T], layout: outer Layout, guard: same NormGuard<T>) by layout;
    par_l2_normalize_vjp = l2_normalize_vjp(x: elements &[T], norm: rows &[T], upstream: elements &[T], layout: outer Layout, guard: same NormGuard<T>, grad: elements &mut [T]) by layout;
    par_l2_normalize_jvp = l2_normalize_jvp(x: elements &[T], norm: rows &[T], tangent: elements &[T], layout: outer Layout, guard: same NormGuard<T>, out: elements &mut [T]) by layout;
    par_scaled_sigmoid = scaled_sigmoid(x: elements &[T], range: same Range<T>, out: elements &mut [T]) by each(x)?;
    par_scaled_sigmoid_in_place = scaled_sigmoid_in_place(data: elements &mut [T], range: same Range<T>) by each(data)?;
    par_scaled_sigmoid_vjp = scaled_sigmoid_vjp(x: elements &[T], upstream: elements &[T], range: same Range<T>, grad: elements &mut [T]) by each(x)?;
    par_scaled_sigmoid_jvp = scaled_sigmoid_jvp(x: elements &[T], tangent: elements &[T], range: same Range<T>, out: elements &mut [T]) by each(x)?;
    par_scaled_sigmoid_inverse = scaled_sigmoid_inverse(y: elements &[T], range: same Range<T>, out: elements &mut [T]) by each(y)?;
    par_scaled_sigmoid_inverse_in_place = scaled_sigmoid_inverse_in_place(data: elements &mut [T], range: same Range<T>) by each(data)?;
    par_scaled_sigmoid_inverse_vjp = scaled_sigmoid_inverse_vjp(y: elements &[T], upstream: elements &[T], range: same Range<T>, grad: elements &mut [T]) by each(y)?;
    par_scaled_sigmoid_inverse_jvp = scaled_sigmoid_inverse_jvp(y: elements &[T], tangent: elements &[T], range: same Range<T>, out: elements &mut [T]) by each(y)?;
}
