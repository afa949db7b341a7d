//! From an operation's name to the library's functions. One that the library does not have is
//! `None` here and absent from the report.

use crate::oracle::{Empty, Guard, Op, Params};
use crate::ulp::Number;
use lossprep::{Backend, EmptyRows, Error, Layout, NormGuard, Range, SoftmaxOptions};

/// What a call takes besides its output.
#[derive(Clone, Copy, Debug)]
pub struct Args<'a, T> {
    /// The first argument.
    pub x: &'a [T],
    /// Upstream or tangent.
    pub second: &'a [T],
    /// The norms, for a normalisation's gradients.
    pub norm: &'a [T],
    /// Which elements take part.
    pub keep: Option<&'a [bool]>,
    /// Valid lengths, one a row.
    pub lengths: Option<&'a [usize]>,
    /// The shape.
    pub layout: Layout,
    /// The parameters.
    pub params: &'a Params,
}

impl<'a, T: Number> Args<'a, T> {
    /// None where every option has its default, so that the plain functions are tried too.
    fn options(&self) -> Option<SoftmaxOptions<'a, T>> {
        if self.keep.is_none() && self.lengths.is_none() && self.params.temperature == 1.0 {
            return None;
        }
        let options =
            SoftmaxOptions::new().temperature(T::round_from(self.params.temperature)).empty_rows(match self
                .params
                .empty
            {
                Empty::Zeros => EmptyRows::Zeros,
                Empty::Uniform => EmptyRows::Uniform,
                Empty::Nan => EmptyRows::Nan,
            });
        Some(match (self.keep, self.lengths) {
            (Some(keep), _) => options.mask(keep),
            (None, Some(lengths)) => options.lengths(lengths),
            (None, None) => options,
        })
    }

    fn guard(&self) -> NormGuard<T> {
        match self.params.guard {
            Guard::Max(eps) => NormGuard::Max(T::round_from(eps)),
            Guard::Add(eps) => NormGuard::Add(T::round_from(eps)),
            Guard::AddSquared(eps) => NormGuard::AddSquared(T::round_from(eps)),
        }
    }

    fn range(&self) -> Result<Range<T>, Error> {
        Range::new(T::round_from(self.params.lo), T::round_from(self.params.hi))
    }
}

/// Runs an operation on a backend; `None` if the library does not have it.
pub fn call<T: Number>(op: Op, backend: Backend, args: &Args<T>, out: &mut [T]) -> Option<Result<(), Error>> {
    let k = match backend.try_get() {
        Ok(kernels) => kernels,
        Err(error) => return Some(Err(error)),
    };
    let Args { x, second, norm, layout, .. } = *args;
    macro_rules! softmax_family {
        ($plain:ident, $with:ident $(, $second:ident)?) => {
            match args.options() {
                None => k.$plain(x $(, $second)?, layout, out),
                Some(options) => k.$with(x $(, $second)?, layout, &options, out),
            }
        };
    }
    macro_rules! sigmoid_family {
        ($name:ident $(, $second:ident)?) => {
            args.range().and_then(|range| k.$name(x $(, $second)?, range, out))
        };
    }
    Some(match op {
        Op::Softmax => softmax_family!(softmax, softmax_with),
        Op::SoftmaxVjp => softmax_family!(softmax_vjp, softmax_vjp_with, second),
        Op::SoftmaxJvp => softmax_family!(softmax_jvp, softmax_jvp_with, second),
        Op::LogSoftmax => softmax_family!(log_softmax, log_softmax_with),
        Op::LogSoftmaxVjp => softmax_family!(log_softmax_vjp, log_softmax_vjp_with, second),
        Op::LogSoftmaxJvp => softmax_family!(log_softmax_jvp, log_softmax_jvp_with, second),
        Op::Logsumexp => softmax_family!(logsumexp, logsumexp_with),
        Op::LogsumexpVjp => softmax_family!(logsumexp_vjp, logsumexp_vjp_with, second),
        Op::LogsumexpJvp => softmax_family!(logsumexp_jvp, logsumexp_jvp_with, second),
        Op::L2Norm => k.l2_norm(x, layout, out),
        Op::L2NormVjp => k.l2_norm_vjp(x, norm, second, layout, out),
        Op::L2NormJvp => k.l2_norm_jvp(x, norm, second, layout, out),
        Op::L2Normalize => k.l2_normalize(x, layout, args.guard(), out),
        Op::L2NormalizeVjp => k.l2_normalize_vjp(x, norm, second, layout, args.guard(), out),
        Op::L2NormalizeJvp => k.l2_normalize_jvp(x, norm, second, layout, args.guard(), out),
        Op::ScaledSigmoid => sigmoid_family!(scaled_sigmoid),
        Op::ScaledSigmoidVjp => sigmoid_family!(scaled_sigmoid_vjp, second),
        Op::ScaledSigmoidJvp => sigmoid_family!(scaled_sigmoid_jvp, second),
        Op::ScaledSigmoidInverse => sigmoid_family!(scaled_sigmoid_inverse),
        Op::ScaledSigmoidInverseVjp => sigmoid_family!(scaled_sigmoid_inverse_vjp, second),
        Op::ScaledSigmoidInverseJvp => sigmoid_family!(scaled_sigmoid_inverse_jvp, second),
    })
}

/// The same in place, where the operation has that form.
pub fn call_in_place<T: Number>(
    op: Op,
    backend: Backend,
    args: &Args<T>,
    data: &mut [T],
) -> Option<Result<(), Error>> {
    let k = backend.try_get().ok()?;
    let layout = args.layout;
    macro_rules! softmax_family {
        ($plain:ident, $with:ident) => {
            match args.options() {
                None => k.$plain(data, layout),
                Some(options) => k.$with(data, layout, &options),
            }
        };
    }
    Some(match op {
        Op::Softmax => softmax_family!(softmax_in_place, softmax_in_place_with),
        Op::LogSoftmax => softmax_family!(log_softmax_in_place, log_softmax_in_place_with),
        Op::L2Normalize => k.l2_normalize_in_place(data, layout, args.guard()),
        Op::ScaledSigmoid => args.range().and_then(|range| k.scaled_sigmoid_in_place(data, range)),
        Op::ScaledSigmoidInverse => {
            args.range().and_then(|range| k.scaled_sigmoid_inverse_in_place(data, range))
        }
        _ => return None,
    })
}

/// Whether the library has the operation.
pub fn has<T: Number>(op: Op) -> bool {
    let Ok(layout) = Layout::rows(0, 1) else { return false };
    let params = Params::default();
    let args = Args { x: &[], second: &[], norm: &[], keep: None, lengths: None, layout, params: &params };
    call::<T>(op, Backend::Scalar, &args, &mut []).is_some()
}
