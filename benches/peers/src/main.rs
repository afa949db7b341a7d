//! lossprep beside the Rust crates one would otherwise take: the same arrays, in turns, one thread; f32.
//!
//! Prints ns an element, the time as a multiple of lossprep's on its best backend, and the largest error in ULP
//! of each. A word restricts it to the rows that contain it.

mod peers;

use lossprep::{Backend, Kernels, Layout, NormGuard, Range};
use lossprep_verify::bench::measure::{Figure, interleave};
use lossprep_verify::bench::naive;
use lossprep_verify::ulp::{Number, error_in_ulps};
use lossprep_verify::wide::Wide;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What is computed, row by row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    Softmax,
    LogSoftmax,
    Logsumexp,
    Normalize,
    Sigmoid,
}

/// The guard's eps and the sigmoid's range.
pub const EPS: f32 = 1e-12;
pub const LO: f32 = 25.0;
pub const HI: f32 = 346.0;

/// An operation, its name and its shapes: rows, length.
type Case = (Op, &'static str, &'static [(usize, usize)]);

const CASES: &[Case] = &[
    (
        Op::Softmax,
        "softmax",
        &[(16, 10), (64, 1000), (256, 128), (4096, 64), (32, 32768), (8, 131_072), (1, 8_388_608)],
    ),
    (Op::LogSoftmax, "log_softmax", &[(64, 1000), (32, 32768)]),
    (Op::Logsumexp, "logsumexp", &[(64, 1000), (32, 32768)]),
    (Op::Normalize, "l2_normalize", &[(32, 128), (4096, 128), (1024, 768), (8, 131_072)]),
    (Op::Sigmoid, "scaled_sigmoid", &[(1, 64), (1, 65536), (1, 1_048_576), (1, 16_777_216)]),
];

/// Time for one row of the table.
const BUDGET: Duration = Duration::from_millis(1500);
const PASSES: usize = 3;
/// Outputs judged at most: evenly spaced ones of a larger array.
const JUDGED: usize = 1 << 18;
/// An error of a tenth: the answer is wrong. (The naive f32 sum of 8M terms is off by 1.4%.)
const ABSURD: f64 = 1e6;

/// The input of a case.
pub struct Input {
    pub op: Op,
    pub x: Vec<f32>,
    pub len: usize,
}

impl Input {
    fn outputs(&self) -> usize {
        if self.op == Op::Logsumexp { self.x.len() / self.len } else { self.x.len() }
    }

    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.x.chunks_exact(self.len)
    }

    /// Runs `one` on each row and where its result belongs.
    pub fn each(&self, out: &mut [f32], mut one: impl FnMut(&[f32], &mut [f32])) {
        let len = out.len() / (self.x.len() / self.len);
        self.rows().zip(out.chunks_exact_mut(len)).for_each(|(x, out)| one(x, out));
    }
}

/// Puts the result into the vector, which has its length. If the last argument, `fetch`, is false, a result of
/// another form need not be copied there.
type Run = Box<dyn Fn(&Input, &mut Vec<f32>, bool)>;

/// One who computes it.
pub struct Contender {
    pub name: String,
    pub run: Run,
}

impl Contender {
    pub fn new(name: impl Into<String>, run: impl Fn(&Input, &mut Vec<f32>, bool) + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

fn lossprep(kernels: Kernels) -> Contender {
    Contender::new(format!("lossprep {}", kernels.backend()), move |input, out, _| {
        let layout = Layout::rows(input.x.len() / input.len, input.len).unwrap();
        match input.op {
            Op::Softmax => kernels.softmax(&input.x, layout, out),
            Op::LogSoftmax => kernels.log_softmax(&input.x, layout, out),
            Op::Logsumexp => kernels.logsumexp(&input.x, layout, out),
            Op::Normalize => kernels.l2_normalize(&input.x, layout, NormGuard::Max(EPS), out),
            Op::Sigmoid => Range::new(LO, HI).and_then(|range| kernels.scaled_sigmoid(&input.x, range, out)),
        }
        .unwrap();
    })
}

fn naive() -> Contender {
    Contender::new("naive", |input, out, _| match input.op {
        Op::Softmax => input.each(out, naive::softmax),
        Op::LogSoftmax => input.each(out, naive::log_softmax),
        Op::Logsumexp => input.each(out, naive::logsumexp),
        Op::Normalize => input.each(out, |x, out| naive::l2_normalize(x, EPS, out)),
        Op::Sigmoid => naive::scaled_sigmoid(&input.x, LO, HI, out),
    })
}

/// The result in f64.
fn truth(input: &Input) -> Vec<f64> {
    let mut out = Vec::with_capacity(input.outputs());
    for row in input.rows() {
        let row: Vec<f64> = row.iter().map(|&x| x.into()).collect();
        let mut y = vec![0.0; if input.op == Op::Logsumexp { 1 } else { row.len() }];
        match input.op {
            Op::Softmax => naive::softmax(&row, &mut y),
            Op::LogSoftmax => naive::log_softmax(&row, &mut y),
            Op::Logsumexp => naive::logsumexp(&row, &mut y),
            Op::Normalize => naive::l2_normalize(&row, EPS.into(), &mut y),
            Op::Sigmoid => naive::scaled_sigmoid(&row, LO.into(), HI.into(), &mut y),
        }
        out.extend(y);
    }
    out
}

fn largest_error(out: &[f32], truth: &[f64]) -> f64 {
    assert_eq!(out.len(), truth.len());
    let every = out.len().div_ceil(JUDGED);
    let pairs = out.iter().zip(truth).step_by(every);
    let errors = pairs.map(|(&got, &want)| {
        let want = <Wide as lossprep_verify::real::Real>::from_f64(want);
        error_in_ulps(<f32 as Number>::FORMAT, got.into(), &want, &want)
    });
    errors.fold(0.0, f64::max)
}

/// Nearly normal numbers.
fn normals(n: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1_u32 << 24) as f32
    };
    (0..n).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let build: Vec<&str> = [
        ("avx2", cfg!(target_feature = "avx2")),
        ("fma", cfg!(target_feature = "fma")),
        ("avx512f", cfg!(target_feature = "avx512f")),
    ]
    .into_iter()
    .filter_map(|(name, enabled)| enabled.then_some(name))
    .collect();
    println!("built for: {}", if build.is_empty() { "the plain target".into() } else { build.join(", ") });
    println!("ns an element; x: times as long as the first; ULP: largest error, against f64");
    let mut contenders: Vec<Contender> = Backend::available()
        .filter(|b| !matches!(b, Backend::Portable | Backend::Scalar))
        .chain([Backend::Portable])
        .filter_map(|b| b.try_get().ok())
        .map(lossprep)
        .collect();
    contenders.push(naive());
    contenders.extend(peers::all());
    for &(op, name, shapes) in CASES {
        for &(rows, len) in shapes {
            let row = format!("{name} {rows}x{len}");
            if row.contains(&filter) {
                println!("\n{row}");
                compare(&Input { op, x: normals(rows * len), len }, &contenders);
            }
        }
    }
}

fn compare(input: &Input, contenders: &[Contender]) {
    let truth = truth(input);
    let mut out = vec![0.0; input.outputs()];
    let errors: Vec<f64> = contenders
        .iter()
        .map(|contender| {
            out.clear();
            out.resize(input.outputs(), f32::NAN);
            (contender.run)(input, &mut out, true);
            let error = largest_error(&out, &truth);
            assert!(error < ABSURD, "{} is wrong: {error} ULP", contender.name);
            error
        })
        .collect();
    let mut passes = vec![Vec::new(); contenders.len()];
    for _ in 0..PASSES {
        let mut time = |i: usize, calls: u64| {
            let start = Instant::now();
            for _ in 0..calls {
                (contenders[i].run)(black_box(input), &mut out, false);
                black_box(&out);
            }
            start.elapsed()
        };
        let samples = interleave(contenders.len(), BUDGET / PASSES as u32, &mut time);
        passes.iter_mut().zip(samples).for_each(|(all, one)| all.push(one));
    }
    let figures: Vec<Figure> = passes.iter().map(|p| Figure::new(p, input.x.len() as f64)).collect();
    for ((contender, figure), error) in contenders.iter().zip(&figures).zip(errors) {
        let ratio = figure.ns / figures[0].ns;
        println!("  {:<20}{:>9.3} ns{ratio:>8.2} x{error:>10.2} ULP", contender.name, figure.ns);
    }
}
