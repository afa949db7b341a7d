//! The certificate: functions of one f32, each computed for all 2³² inputs.
//!
//! `certificate.json` holds a digest of all output bits of each function, and what `exhaustive` found out about them
//! with the oracle. To compute the digests again takes no oracle: equal digests on another backend, or after a
//! change of the code, carry the verdict over; a changed bit voids it.

use crate::oracle::{Op, Params};
use crate::output::{note, say};
use lossprep::{Backend, Error, Kernels, Layout, Range};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A function of one f32, reached through a public operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// exp x, the lane function: an entry of `log_softmax_vjp` on the row (x, −∞) with upstream (0, −1).
    Exp,
    /// −log(1 + exp x): `log_softmax` of the row (x, 0), its second entry.
    LogSigmoid,
    /// The gradient of `logsumexp` of the row (x, 0) by x.
    LogsumexpVjp,
    /// `scaled_sigmoid` onto [lo, hi].
    Sigmoid(f32, f32),
    /// Its gradient, upstream 1.
    SigmoidVjp(f32, f32),
    /// The inverse.
    Inverse(f32, f32),
    /// The inverse's gradient, upstream 1.
    InverseVjp(f32, f32),
}

/// The ranges: the usual two; one with its zero inside; one between two numbers of one sign; one out of proportion.
const RANGES: [(f32, f32); 5] = [(0.0, 1.0), (-1.0, 1.0), (-3.0, 7.0), (0.1, 0.9), (1e-7, 1e5)];

impl Function {
    /// Those of the certificate.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Exp, Self::LogSigmoid, Self::LogsumexpVjp];
        for (lo, hi) in RANGES {
            all.extend([Self::Sigmoid(lo, hi), Self::SigmoidVjp(lo, hi)]);
        }
        all.extend([Self::Inverse(0.0, 1.0), Self::InverseVjp(0.0, 1.0)]);
        all
    }

    /// Its name in the certificate.
    pub fn name(self) -> String {
        match self {
            Self::Exp => "exp".into(),
            Self::LogSigmoid => "log_softmax(x, 0)[1]".into(),
            Self::LogsumexpVjp => "logsumexp_vjp(x, 0)[0]".into(),
            Self::Sigmoid(lo, hi) => format!("scaled_sigmoid({lo:?}, {hi:?})"),
            Self::SigmoidVjp(lo, hi) => format!("scaled_sigmoid_vjp({lo:?}, {hi:?})"),
            Self::Inverse(lo, hi) => format!("scaled_sigmoid_inverse({lo:?}, {hi:?})"),
            Self::InverseVjp(lo, hi) => format!("scaled_sigmoid_inverse_vjp({lo:?}, {hi:?})"),
        }
    }

    /// The operation, the row's other element if there is one, the second argument, and which output counts.
    pub fn as_row(self) -> (Op, &'static [f64], &'static [f64], usize) {
        match self {
            Self::Exp => (Op::LogSoftmaxVjp, &[f64::NEG_INFINITY], &[0.0, -1.0], 0),
            Self::LogSigmoid => (Op::LogSoftmax, &[0.0], &[], 1),
            Self::LogsumexpVjp => (Op::LogsumexpVjp, &[0.0], &[1.0], 0),
            Self::Sigmoid(..) => (Op::ScaledSigmoid, &[], &[], 0),
            Self::SigmoidVjp(..) => (Op::ScaledSigmoidVjp, &[], &[1.0], 0),
            Self::Inverse(..) => (Op::ScaledSigmoidInverse, &[], &[], 0),
            Self::InverseVjp(..) => (Op::ScaledSigmoidInverseVjp, &[], &[1.0], 0),
        }
    }

    /// Its range, if it has one.
    pub fn range(self) -> Option<(f32, f32)> {
        match self {
            Self::Sigmoid(lo, hi) | Self::SigmoidVjp(lo, hi) => Some((lo, hi)),
            Self::Inverse(lo, hi) | Self::InverseVjp(lo, hi) => Some((lo, hi)),
            _ => None,
        }
    }

    /// What the oracle needs besides the row.
    pub fn params(self) -> Params {
        let (lo, hi) = self.range().unwrap_or((0.0, 1.0));
        Params { lo: lo.into(), hi: hi.into(), ..Params::default() }
    }

    /// 1 where it never decreases, −1 where it never increases.
    pub fn direction(self) -> Option<i8> {
        match self {
            Self::Exp | Self::LogsumexpVjp | Self::Sigmoid(..) | Self::Inverse(..) => Some(1),
            Self::LogSigmoid => Some(-1),
            Self::SigmoidVjp(..) | Self::InverseVjp(..) => None,
        }
    }
}

/// Inputs and outputs of a run of bit patterns.
pub struct Batch {
    /// The inputs, then what other rows of the layout hold.
    input: Vec<f32>,
    second: Vec<f32>,
    output: Vec<f32>,
}

/// Patterns of a batch.
pub const BATCH: usize = 1 << 14;

impl Batch {
    /// With what a function takes besides x.
    pub fn new(function: Function) -> Self {
        let n = BATCH;
        let column = |v: f32| vec![v; n];
        let (other, second): (Vec<f32>, Vec<f32>) = match function {
            Function::Exp => (column(f32::NEG_INFINITY), [column(0.0), column(-1.0)].concat()),
            Function::LogSigmoid => (column(0.0), vec![]),
            Function::LogsumexpVjp => (column(0.0), column(1.0)),
            _ => (vec![], column(1.0)),
        };
        let input = [column(0.0), other].concat();
        Self { output: vec![0.0; input.len()], input, second }
    }

    /// Computes `function` for each of [`BATCH`] patterns.
    ///
    /// # Errors
    /// Those of the library; there are none for these arguments.
    pub fn run(
        &mut self,
        kernels: Kernels,
        function: Function,
        bits: impl Iterator<Item = u32>,
    ) -> Result<(&[f32], &[f32]), Error> {
        for (x, bits) in self.input[..BATCH].iter_mut().zip(bits) {
            *x = f32::from_bits(bits);
        }
        let (x, second, out) = (&self.input[..], &self.second[..], &mut self.output[..]);
        let rows = Layout::new(1, 2, BATCH)?;
        match function {
            Function::Exp => kernels.log_softmax_vjp(x, second, rows, out)?,
            Function::LogSigmoid => kernels.log_softmax(x, rows, out)?,
            Function::LogsumexpVjp => kernels.logsumexp_vjp(x, second, rows, out)?,
            Function::Sigmoid(lo, hi) => kernels.scaled_sigmoid(x, Range::new(lo, hi)?, out)?,
            Function::SigmoidVjp(lo, hi) => {
                kernels.scaled_sigmoid_vjp(x, second, Range::new(lo, hi)?, out)?
            }
            Function::Inverse(lo, hi) => kernels.scaled_sigmoid_inverse(x, Range::new(lo, hi)?, out)?,
            Function::InverseVjp(lo, hi) => {
                kernels.scaled_sigmoid_inverse_vjp(x, second, Range::new(lo, hi)?, out)?;
            }
        }
        let from = if function == Function::LogSigmoid { BATCH } else { 0 };
        Ok((&self.input[..BATCH], &self.output[from..from + BATCH]))
    }
}

/// A digest of output bits in their order.
#[derive(Clone, Copy)]
pub struct Digest(pub u64);

impl Digest {
    /// Of nothing.
    pub const EMPTY: Self = Self(0x6c6f_7373_7072_6570);

    /// One more word.
    #[inline]
    pub fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// More outputs.
    pub fn add(&mut self, values: &[f32]) {
        for pair in values.chunks(2) {
            let high = pair.get(1).map_or(0, |v| u64::from(v.to_bits()) << 32);
            self.word(u64::from(pair[0].to_bits()) | high);
        }
    }
}

/// Parts that all inputs of a function are cut into: each has a digest of its own, and theirs is the function's.
pub const PARTS: usize = 256;
/// Patterns of a part.
pub const PART: usize = (1 << 32) / PARTS;
/// The quick digest takes one pattern of so many.
const STRIDE: u32 = 257;
/// Batches of the quick digest.
const QUICK_BATCHES: usize = (1u64 << 32).div_ceil(STRIDE as u64 * BATCH as u64) as usize;

/// The digest of one part.
///
/// # Errors
/// Those of the library.
pub fn part(kernels: Kernels, function: Function, part: usize) -> Result<u64, Error> {
    let mut batch = Batch::new(function);
    let mut digest = Digest::EMPTY;
    for start in (part * PART..(part + 1) * PART).step_by(BATCH) {
        let start = start as u32;
        let (_, out) = batch.run(kernels, function, (0..BATCH as u32).map(|i| start + i))?;
        digest.add(out);
    }
    Ok(digest.0)
}

/// A digest of every 257th pattern, around the circle of all 2³².
///
/// # Errors
/// Those of the library.
pub fn quick(kernels: Kernels, function: Function) -> Result<u64, Error> {
    let mut batch = Batch::new(function);
    let mut digest = Digest::EMPTY;
    let mut bits = 0u32;
    for _ in 0..QUICK_BATCHES {
        let start = bits;
        bits = bits.wrapping_add(STRIDE.wrapping_mul(BATCH as u32));
        let patterns = (0..BATCH as u32).map(|i| start.wrapping_add(i.wrapping_mul(STRIDE)));
        let (_, out) = batch.run(kernels, function, patterns)?;
        digest.add(out);
    }
    Ok(digest.0)
}

/// The digest of digests.
pub fn join(parts: &[u64]) -> u64 {
    let mut digest = Digest::EMPTY;
    parts.iter().for_each(|&part| digest.word(part));
    digest.0
}

/// Runs `work` on the numbers below `count`, on all cores; `what` is shown with the time left, every few seconds.
///
/// # Errors
/// The first that `work` returns; the rest is then left.
pub fn on_all_cores(
    what: &str,
    count: usize,
    work: impl Fn(usize) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let failure: Mutex<Option<String>> = Mutex::new(None);
    let start = Instant::now();
    let shown = Mutex::new(start);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        break;
                    }
                    if let Err(error) = work(i) {
                        next.store(count, Ordering::Relaxed);
                        failure.lock().expect("no thread panics").get_or_insert(error);
                        break;
                    }
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    let mut shown = shown.lock().expect("no thread panics");
                    if shown.elapsed() > Duration::from_secs(5) {
                        *shown = Instant::now();
                        let left = start.elapsed().as_secs_f64() / done as f64 * (count - done) as f64;
                        note(format!("{what}: {} %, {left:.0} s left\n", done * 100 / count));
                    }
                }
            });
        }
    });
    failure.into_inner().expect("no thread panics").map_or(Ok(()), Err)
}

/// A digest as it is written.
pub fn hex(digest: u64) -> String {
    format!("{digest:016x}")
}

/// The functions' entries of a certificate in a file.
///
/// # Errors
/// If the file cannot be read or is none.
pub fn read(path: &Path) -> Result<Vec<(Function, Value)>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    parse(&text).map_err(|e| format!("{}: {e}", path.display()))
}

fn parse(text: &str) -> Result<Vec<(Function, Value)>, String> {
    let json: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let list = json["functions"].as_array().ok_or("no list of functions")?;
    let all = Function::all();
    list.iter()
        .map(|entry| {
            let name = entry["function"].as_str().unwrap_or_default();
            let function =
                all.iter().find(|f| f.name() == name).ok_or(format!("no such function: {name}"))?;
            Ok((*function, entry.clone()))
        })
        .collect()
}

/// Part of the program, which may be run where its source is not.
const CERTIFICATE: &str = include_str!("../certificate.json");

/// Which digests to compute again.
#[derive(clap::Args)]
pub struct Options {
    /// The certificate [default: certificate.json of the source this program was built from]
    file: Option<PathBuf>,
    /// All 2³² inputs on this backend, instead of every 257th on each
    #[arg(long, value_name = "BACKEND")]
    full: Option<String>,
}

/// Computes the digests of a certificate again and compares them.
///
/// # Errors
/// If there is no such file or backend.
pub fn run(options: &Options) -> Result<bool, String> {
    let entries = options.file.as_ref().map_or_else(|| parse(CERTIFICATE), |path| read(path))?;
    let mut holds = true;
    let mut verdict = |function: Function, backend: Backend, digest: u64, entry: &Value, key: &str| {
        let same = entry[key] == hex(digest);
        holds &= same;
        say(format!(
            "{} {backend} {} {key}: {}\n",
            hex(digest),
            function.name(),
            if same { "same bits" } else { "OTHER BITS" }
        ))
    };
    if let Some(name) = &options.full {
        let backend = Backend::from_name(name).ok_or("no such backend")?;
        let kernels = backend.try_get().map_err(|e| e.to_string())?;
        for (function, entry) in &entries {
            let parts: Vec<_> = (0..PARTS).map(|_| AtomicU64::new(0)).collect();
            on_all_cores(&function.name(), PARTS, |i| {
                parts[i].store(part(kernels, *function, i).map_err(|e| e.to_string())?, Ordering::Relaxed);
                Ok(())
            })?;
            let parts: Vec<u64> = parts.iter().map(|p| p.load(Ordering::Relaxed)).collect();
            verdict(*function, backend, join(&parts), entry, "digest")?;
        }
    } else {
        let backends: Vec<Backend> = Backend::available().collect();
        let count = entries.len() * backends.len();
        let digests: Vec<_> = (0..count).map(|_| AtomicU64::new(0)).collect();
        on_all_cores("digests", count, |i| {
            let kernels = backends[i % backends.len()].try_get().map_err(|e| e.to_string())?;
            let digest = quick(kernels, entries[i / backends.len()].0).map_err(|e| e.to_string())?;
            digests[i].store(digest, Ordering::Relaxed);
            Ok(())
        })?;
        for (i, digest) in digests.iter().enumerate() {
            let (function, entry) = &entries[i / backends.len()];
            let backend = backends[i % backends.len()];
            verdict(*function, backend, digest.load(Ordering::Relaxed), entry, "quick_digest")?;
        }
    }
    say(if holds { "the certificate holds\n" } else { "THE CERTIFICATE IS VOID\n" })?;
    Ok(holds)
}
