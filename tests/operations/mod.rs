//! Every operation in every form, on one set of inputs that is made by exact arithmetic alone: the same on
//! every machine.

use lossprep::{Backend, Element, EmptyRows, Error, Kernels, Layout, NormGuard, Range, SoftmaxOptions};

/// An element type as bits.
pub trait Bits: Element {
    const NAME: &'static str;
    fn of(x: f64) -> Self;
    fn bits(self) -> u64;
}
impl Bits for f32 {
    const NAME: &'static str = "f32";
    fn of(x: f64) -> Self {
        x as f32
    }
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}
impl Bits for f64 {
    const NAME: &'static str = "f64";
    fn of(x: f64) -> Self {
        x
    }
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

/// Splitmix64.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }
    /// In [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// About normal: the sum of four uniform numbers.
    pub fn bell(&mut self) -> f64 {
        (0..4).map(|_| self.unit()).sum::<f64>() - 2.0
    }
}

/// What the operations are given. The saved results are plausible, not computed.
#[derive(Clone)]
pub struct Case<T> {
    pub layout: Layout,
    pub x: Vec<T>,
    /// In the place of softmax and of log_softmax.
    pub y: Vec<T>,
    pub log_y: Vec<T>,
    /// Upstream or tangent.
    pub g: Vec<T>,
    /// One a row.
    pub row_g: Vec<T>,
    pub norm: Vec<T>,
    /// Mostly inside of the range.
    pub ranged: Vec<T>,
    pub keep: Vec<bool>,
    pub valid: Vec<usize>,
}

pub const RANGE: (f64, f64) = (-2.0, 5.0);

impl<T: Bits> Case<T> {
    /// `scale` spreads x; `special` puts NaNs, infinities and zeros into some rows.
    pub fn new(random: &mut Random, layout: Layout, scale: f64, special: bool) -> Self {
        let (n, rows) = (layout.elements(), layout.row_count());
        let mut x: Vec<T> = (0..n).map(|_| T::of(random.bell() * scale)).collect();
        let mut g: Vec<T> = (0..n).map(|_| T::of(random.bell() * 3.0)).collect();
        if special && n > 0 {
            let values = [T::nan(), T::infinity(), -T::infinity(), -T::zero(), T::max_value()];
            for i in 0..n.div_ceil(60) {
                x[random.below(n)] = values[i % 5];
                g[random.below(n)] = values[(i + 3) % 5];
            }
        }
        let per_row = layout.len().max(1) as f64;
        let sizes: Vec<f64> = x.iter().map(|x| x.to_f64().unwrap_or(0.0)).collect();
        let norm = |r: usize| {
            let start = r / layout.inner() * layout.len() * layout.inner() + r % layout.inner();
            let row = (0..layout.len()).map(|i| sizes[start + i * layout.inner()]);
            T::of(row.map(|x| x * x).sum::<f64>().sqrt())
        };
        Self {
            layout,
            norm: (0..rows).map(norm).collect(),
            y: (0..n).map(|_| T::of(random.unit() * 2.0 / per_row)).collect(),
            log_y: (0..n).map(|_| T::of(random.unit() * -9.0)).collect(),
            row_g: (0..rows).map(|_| T::of(random.bell())).collect(),
            ranged: (0..n).map(|_| T::of(random.unit() * 7.2 - 2.1)).collect(),
            keep: (0..n).map(|_| random.below(5) > 0).collect(),
            valid: (0..rows).map(|_| random.below(layout.len() + 1)).collect(),
            x,
            g,
        }
    }
}

/// Gives the name, the form and the result of every operation to `each`. The results are written `shift`
/// elements after the start of an allocation, into memory that holds something else.
pub fn run_all<T: Bits>(
    k: Kernels,
    c: &Case<T>,
    shift: usize,
    mut each: impl FnMut(&'static str, &'static str, &[T]),
) {
    let (n, rows, layout) = (c.layout.elements(), c.layout.row_count(), c.layout);
    let mut to = |name, form, len: usize, run: &dyn Fn(&mut [T]) -> Result<(), Error>| {
        let mut out = vec![T::of(-7.0); shift + len];
        run(&mut out[shift..]).unwrap();
        assert!(out[..shift].iter().all(|&v| v == T::of(-7.0)), "{name} {form} writes before its output");
        each(name, form, &out[shift..]);
    };
    let data = |out: &mut [T], from: &[T]| out.copy_from_slice(from);
    let none = SoftmaxOptions::new();
    let options = [
        ("", none),
        ("temperature ", none.temperature(T::of(0.7))),
        ("mask ", none.mask(&c.keep)),
        ("lengths ", none.temperature(T::of(3.0)).lengths(&c.valid).empty_rows(EmptyRows::Uniform)),
    ];
    macro_rules! form {
        ($option:ident, $form:literal) => {
            match $option {
                "" => $form,
                "temperature " => concat!("temperature ", $form),
                "mask " => concat!("mask ", $form),
                _ => concat!("lengths ", $form),
            }
        };
    }
    for (option, o) in &options {
        let option = *option;
        to("softmax", form!(option, "forward"), n, &|out| k.softmax_with(&c.x, layout, o, out));
        to("softmax", form!(option, "in place"), n, &|out| {
            data(out, &c.x);
            k.softmax_in_place_with(out, layout, o)
        });
        to("softmax", form!(option, "vjp"), n, &|out| k.softmax_vjp_with(&c.y, &c.g, layout, o, out));
        to("softmax", form!(option, "jvp"), n, &|out| k.softmax_jvp_with(&c.y, &c.g, layout, o, out));
        to("log_softmax", form!(option, "forward"), n, &|out| k.log_softmax_with(&c.x, layout, o, out));
        to("log_softmax", form!(option, "in place"), n, &|out| {
            data(out, &c.x);
            k.log_softmax_in_place_with(out, layout, o)
        });
        to("log_softmax", form!(option, "vjp"), n, &|out| {
            k.log_softmax_vjp_with(&c.log_y, &c.g, layout, o, out)
        });
        to("log_softmax", form!(option, "jvp"), n, &|out| {
            k.log_softmax_jvp_with(&c.log_y, &c.g, layout, o, out)
        });
        to("logsumexp", form!(option, "forward"), rows, &|out| k.logsumexp_with(&c.x, layout, o, out));
        to("logsumexp", form!(option, "vjp"), n, &|out| k.logsumexp_vjp_with(&c.x, &c.row_g, layout, o, out));
        to("logsumexp", form!(option, "jvp"), rows, &|out| k.logsumexp_jvp_with(&c.x, &c.g, layout, o, out));
    }
    to("l2_norm", "forward", rows, &|out| k.l2_norm(&c.x, layout, out));
    to("l2_norm", "vjp", n, &|out| k.l2_norm_vjp(&c.x, &c.norm, &c.row_g, layout, out));
    to("l2_norm", "jvp", rows, &|out| k.l2_norm_jvp(&c.x, &c.norm, &c.g, layout, out));
    let eps = T::of(0.0625);
    for (guard, [forward, in_place, vjp, jvp]) in [
        (NormGuard::Max(eps), ["forward", "in place", "vjp", "jvp"]),
        (NormGuard::Add(eps), ["add forward", "add in place", "add vjp", "add jvp"]),
        (
            NormGuard::AddSquared(eps),
            ["add-squared forward", "add-squared in place", "add-squared vjp", "add-squared jvp"],
        ),
    ] {
        to("l2_normalize", forward, n, &|out| k.l2_normalize(&c.x, layout, guard, out));
        to("l2_normalize", in_place, n, &|out| {
            data(out, &c.x);
            k.l2_normalize_in_place(out, layout, guard)
        });
        to("l2_normalize", vjp, n, &|out| k.l2_normalize_vjp(&c.x, &c.norm, &c.g, layout, guard, out));
        to("l2_normalize", jvp, n, &|out| k.l2_normalize_jvp(&c.x, &c.norm, &c.g, layout, guard, out));
    }
    let range = Range::new(T::of(RANGE.0), T::of(RANGE.1)).unwrap();
    let odd = Range::new(T::of(-1.5), T::of(1.5)).unwrap();
    to("scaled_sigmoid", "forward", n, &|out| k.scaled_sigmoid(&c.x, range, out));
    to("scaled_sigmoid", "odd forward", n, &|out| k.scaled_sigmoid(&c.x, odd, out));
    to("scaled_sigmoid", "in place", n, &|out| {
        data(out, &c.x);
        k.scaled_sigmoid_in_place(out, range)
    });
    to("scaled_sigmoid", "odd in place", n, &|out| {
        data(out, &c.x);
        k.scaled_sigmoid_in_place(out, odd)
    });
    to("scaled_sigmoid", "vjp", n, &|out| k.scaled_sigmoid_vjp(&c.x, &c.g, range, out));
    to("scaled_sigmoid", "jvp", n, &|out| k.scaled_sigmoid_jvp(&c.x, &c.g, range, out));
    to("scaled_sigmoid_inverse", "forward", n, &|out| k.scaled_sigmoid_inverse(&c.ranged, range, out));
    to("scaled_sigmoid_inverse", "in place", n, &|out| {
        data(out, &c.ranged);
        k.scaled_sigmoid_inverse_in_place(out, range)
    });
    to("scaled_sigmoid_inverse", "vjp", n, &|out| k.scaled_sigmoid_inverse_vjp(&c.ranged, &c.g, range, out));
    to("scaled_sigmoid_inverse", "jvp", n, &|out| k.scaled_sigmoid_inverse_jvp(&c.ranged, &c.g, range, out));
}

/// The backends that run here; those that do not are named where a test's output cannot be captured.
pub fn backends() -> Vec<Backend> {
    use std::io::Write;
    let (here, absent): (Vec<Backend>, Vec<Backend>) =
        Backend::all().into_iter().partition(|b| b.is_available());
    for backend in absent {
        let _ = writeln!(std::io::stderr(), "NOT RUN: {backend} is not available on this machine");
    }
    here
}
