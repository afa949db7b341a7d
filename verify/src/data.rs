//! `lossprep-verify data`: an operation on the user's own array, judged by the oracle.

use crate::check::describe;
use crate::connect::{self, Args};
use crate::exact::Big;
use crate::inputs::Rng;
use crate::npy::{self, Array, Values};
use crate::oracle::{Empty, Family, Guard, Op, Params, Row, evaluate};
use crate::output::{self, say};
use crate::report::grouped;
use crate::ulp::{Judgement, Number, Truth, judge};
use crate::wide::Wide;
use clap::{Args as ClapArgs, ValueEnum};
use lossprep::{Backend, Layout};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Outputs judged at most; of a larger array, rows chosen by the seed.
const JUDGED: usize = 1_000_000;
/// Calls, of which the fastest is timed.
const TIMED: usize = 3;
/// Rows of each remarkable kind that are listed.
const LISTED: usize = 5;

/// What to run, and on what.
#[derive(ClapArgs, Debug)]
pub struct Options {
    /// The forward input: f32 or f64, any rank, any byte order, C or Fortran order
    file: PathBuf,
    /// The operation: softmax, log_softmax, logsumexp, l2_norm, l2_normalize, scaled_sigmoid, scaled_sigmoid_inverse
    #[arg(long, value_parser = operation)]
    op: Op,
    /// The axis of the rows; -1 is the last, and the default
    #[arg(long, allow_negative_numbers = true)]
    axis: Option<isize>,
    /// Writes the result
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Runs the vector-Jacobian product with this upstream gradient
    #[arg(long, value_name = "FILE", conflicts_with = "tangent")]
    upstream: Option<PathBuf>,
    /// Runs the Jacobian-vector product with this tangent
    #[arg(long, value_name = "FILE")]
    tangent: Option<PathBuf>,
    /// Which elements take part: booleans, of the input's shape
    #[arg(long, value_name = "FILE", conflicts_with = "lengths")]
    mask: Option<PathBuf>,
    /// How many leading elements of each row take part: integers
    #[arg(long, value_name = "FILE")]
    lengths: Option<PathBuf>,
    /// The eps of a normalisation's guard [default: 1e-12]
    #[arg(long, allow_negative_numbers = true)]
    eps: Option<f64>,
    /// The guard of a normalisation [default: max]
    #[arg(long, value_enum)]
    guard: Option<GuardKind>,
    /// Lower end of a sigmoid's range [default: 0]
    #[arg(long, allow_negative_numbers = true)]
    lo: Option<f64>,
    /// Upper end of a sigmoid's range [default: 1]
    #[arg(long, allow_negative_numbers = true)]
    hi: Option<f64>,
    /// Divides the input of the softmax family [default: 1]
    #[arg(long, allow_negative_numbers = true)]
    temperature: Option<f64>,
    /// The backend; the best one otherwise
    #[arg(long, value_parser = backend)]
    backend: Option<Backend>,
    /// Judges this result of somebody else beside ours
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Chooses the rows that are judged in a large array
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum GuardKind {
    Max,
    Add,
    AddSquared,
}

fn operation(name: &str) -> Result<Op, String> {
    let found = Op::ALL.into_iter().find(|op| !op.is_gradient() && op.name() == name);
    found.filter(|&op| connect::has::<f32>(op)).ok_or_else(|| "no such operation".into())
}

fn backend(name: &str) -> Result<Backend, String> {
    Backend::from_name(name).ok_or_else(|| "no such backend".into())
}

fn read(path: &Path) -> Result<Array, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
    npy::parse(&bytes).map_err(|e| format!("{}: {e}", path.display()))
}

/// Runs the command; false if our result breaks its claim.
///
/// # Errors
/// On files and arguments that do not fit.
pub fn run(options: &Options) -> Result<bool, String> {
    output::writable(&options.out)?;
    let array = read(&options.file)?;
    let (report, holds) = match array.values {
        Values::F32(x) => Job::new(options, array.shape, x)?.run(options)?,
        Values::F64(x) => Job::new(options, array.shape, x)?.run(options)?,
        _ => return Err(format!("{}: not f32 or f64", options.file.display())),
    };
    say(report)?;
    Ok(holds)
}

/// The elements of another array in the type of the first.
fn elements<T: Number>(path: &Path, count: usize, shape: &[usize]) -> Result<Vec<T>, String> {
    let array = read(path)?;
    let fits = array.shape == shape || (array.values_len() == count && shape.is_empty());
    if !fits {
        return Err(format!("{}: shape {:?} where {shape:?} is needed", path.display(), array.shape));
    }
    let name = match array.values {
        Values::F32(_) => "f32",
        Values::F64(_) => "f64",
        _ => "neither",
    };
    if name != T::NAME {
        return Err(format!("{}: {name} beside an input of {}", path.display(), T::NAME));
    }
    Ok(array.to_f64().into_iter().map(T::round_from).collect())
}

impl Array {
    fn values_len(&self) -> usize {
        self.shape.iter().product()
    }
}

struct Job<T> {
    op: Op,
    backend: Backend,
    shape: Vec<usize>,
    out_shape: Vec<usize>,
    layout: Layout,
    x: Vec<T>,
    second: Vec<T>,
    keep: Option<Vec<bool>>,
    lengths: Option<Vec<usize>>,
    params: Params,
}

impl<T: Number> Job<T> {
    fn new(options: &Options, shape: Vec<usize>, x: Vec<T>) -> Result<Self, String> {
        let forward = options.op;
        let at = Op::ALL.iter().position(|&op| op == forward).unwrap_or(0);
        let op = Op::ALL
            [at + if options.upstream.is_some() { 1 } else { usize::from(options.tangent.is_some()) * 2 }];
        let family = op.family();
        for (given, flag, families) in [
            (options.axis.is_some(), "--axis", &[Family::Softmax, Family::Norm, Family::Normalize][..]),
            (options.mask.is_some(), "--mask", &[Family::Softmax]),
            (options.lengths.is_some(), "--lengths", &[Family::Softmax]),
            (options.temperature.is_some(), "--temperature", &[Family::Softmax]),
            (options.eps.is_some(), "--eps", &[Family::Normalize]),
            (options.guard.is_some(), "--guard", &[Family::Normalize]),
            (options.lo.is_some(), "--lo", &[Family::Sigmoid]),
            (options.hi.is_some(), "--hi", &[Family::Sigmoid]),
        ] {
            if given && !families.contains(&family) {
                return Err(format!("{} takes no {flag}", forward.name()));
            }
        }
        let elementwise = family == Family::Sigmoid;
        let axis = options.axis.unwrap_or(-1);
        let layout = if elementwise { Layout::rows(x.len(), 1) } else { Layout::from_shape(&shape, axis) }
            .map_err(|e| e.to_string())?;
        // The shape of a reduced result: the axis is gone.
        let mut reduced = shape.clone();
        if !elementwise {
            let axis = if axis < 0 { shape.len() as isize + axis } else { axis };
            reduced.remove(axis as usize);
        }
        let out_shape = if op.reduces() { reduced.clone() } else { shape.clone() };
        let second = match (&options.upstream, &options.tangent) {
            (Some(path), _) => {
                let like = if forward.reduces() { &reduced } else { &shape };
                elements(path, like.iter().product(), like)?
            }
            (None, Some(path)) => elements(path, x.len(), &shape)?,
            (None, None) => Vec::new(),
        };
        let keep = match &options.mask {
            None => None,
            Some(path) => match read(path)? {
                Array { shape: s, values: Values::Bool(v) } if s == shape => Some(v),
                Array { shape: s, .. } => {
                    let p = path.display();
                    return Err(format!("{p}: a mask is booleans of shape {shape:?}, not of {s:?}"));
                }
            },
        };
        let lengths = match &options.lengths {
            None => None,
            Some(path) => match read(path)?.values {
                Values::Int(v) => {
                    let lengths = v.into_iter().map(usize::try_from).collect::<Result<Vec<_>, _>>();
                    Some(lengths.map_err(|_| format!("{}: a length below 0", path.display()))?)
                }
                _ => return Err(format!("{}: lengths are integers", path.display())),
            },
        };
        let round = |v: Option<f64>, default: f64| T::round_from(v.unwrap_or(default)).exact_f64();
        let eps = round(options.eps, 1e-12);
        let params = Params {
            temperature: round(options.temperature, 1.0),
            guard: match options.guard.unwrap_or(GuardKind::Max) {
                GuardKind::Max => Guard::Max(eps),
                GuardKind::Add => Guard::Add(eps),
                GuardKind::AddSquared => Guard::AddSquared(eps),
            },
            lo: round(options.lo, 0.0),
            hi: round(options.hi, 1.0),
            empty: Empty::Zeros,
        };
        let backend = match options.backend {
            Some(backend) => backend,
            None => Backend::best().map_err(|e| e.to_string())?,
        };
        Ok(Self { op, backend, shape, out_shape, layout, x, second, keep, lengths, params })
    }

    fn call(&self, op: Op, x: &[T], norm: &[T]) -> Result<Vec<T>, String> {
        let outputs = if op.reduces() { self.layout.row_count() } else { self.layout.elements() };
        let mut out = vec![T::zero(); outputs];
        let second: &[T] = if op.is_gradient() { &self.second } else { &[] };
        let args = Args {
            x,
            second,
            norm,
            keep: self.keep.as_deref(),
            lengths: self.lengths.as_deref(),
            layout: self.layout,
            params: &self.params,
        };
        match connect::call(op, self.backend, &args, &mut out) {
            Some(Ok(())) => Ok(out),
            Some(Err(error)) => Err(error.to_string()),
            None => Err(format!("{} is not there", op.name())),
        }
    }

    fn run(&self, options: &Options) -> Result<(String, bool), String> {
        let op = self.op;
        // What the gradient takes is made by our own forward call.
        let saves = op.is_gradient() && matches!(op.forward(), Op::Softmax | Op::LogSoftmax);
        let x = if saves { self.call(op.forward(), &self.x, &[])? } else { self.x.clone() };
        let norm = if op.takes_norm() { self.call(Op::L2Norm, &self.x, &[])? } else { Vec::new() };
        let mut seconds = f64::INFINITY;
        let mut out = Vec::new();
        for _ in 0..TIMED {
            let start = Instant::now();
            out = self.call(op, &x, &norm)?;
            seconds = seconds.min(start.elapsed().as_secs_f64());
        }
        let other: Option<Vec<T>> = match &options.against {
            None => None,
            Some(path) => Some(elements(path, out.len(), &self.out_shape)?),
        };
        let mut text = format!(
            "{} {} {:?}, {} rows of {}, backend {}: {:.3} ms",
            op.name(),
            T::NAME,
            self.shape,
            grouped(self.layout.row_count() as u64),
            grouped(self.layout.len() as u64),
            self.backend,
            seconds * 1e3
        );
        let parameters = describe(op, &self.params);
        text += &if parameters.is_empty() { "\n".into() } else { format!(", {parameters}\n") };
        let rows = self.layout.row_count();
        let most = (JUDGED / self.layout.len().max(1)).max(1);
        let mut rng = Rng::new(options.seed);
        let mut chosen: Vec<usize> = (0..rows).collect();
        for i in 0..if rows > most { most } else { 0 } {
            let other = i + rng.below(rows - i);
            chosen.swap(i, other);
        }
        chosen.truncate(most);
        let mut tables = vec![("ours", &out, Score::default())];
        tables.extend(other.as_ref().map(|other| ("theirs", other, Score::default())));
        for &r in &chosen {
            let truths = self.truths::<Wide>(r, &x, &norm);
            let again = std::cell::OnceCell::new();
            for (_, values, score) in &mut tables {
                let values = self.outputs_of(r, values);
                for (i, (&v, truth)) in values.iter().zip(&truths).enumerate() {
                    let mut judgement = judge(v, truth);
                    if !judgement.holds() && self.layout.len() <= 4096 {
                        let exact = again.get_or_init(|| self.truths::<Big>(r, &x, &norm));
                        judgement = judge(v, &exact[i]);
                    }
                    score.count(judgement, r, i, v.exact_f64(), truth);
                }
            }
        }
        text += &format!(
            "judged {} of {} rows{}\n",
            grouped(chosen.len() as u64),
            grouped(rows as u64),
            if rows > most { format!(", chosen by seed {}", options.seed) } else { String::new() }
        );
        for (who, _, score) in &tables {
            text += &format!("{who:<7} {}\n", score.line(op));
        }
        text += &self.remarks(&out);
        if let Some(path) = &options.out {
            let kind = if T::FORMAT.precision == 24 { "f4" } else { "f8" };
            let bytes = npy::write(&self.out_shape, kind, out.iter().map(|v| v.bits()));
            output::write(path, bytes)?;
        }
        let holds = tables[0].2.holds();
        Ok((text, holds))
    }

    /// The position of element `i` of row `r`.
    fn position(&self, r: usize, i: usize) -> usize {
        let (outer, inner) = (r / self.layout.inner().max(1), r % self.layout.inner().max(1));
        (outer * self.layout.len() + i) * self.layout.inner() + inner
    }

    fn gather<U: Copy>(&self, r: usize, values: &[U]) -> Vec<U> {
        (0..self.layout.len()).map(|i| values[self.position(r, i)]).collect()
    }

    fn outputs_of(&self, r: usize, values: &[T]) -> Vec<T> {
        if self.op.reduces() { vec![values[r]] } else { self.gather(r, values) }
    }

    fn truths<R: crate::real::Real>(&self, r: usize, x: &[T], norm: &[T]) -> Vec<Truth<R>> {
        let widen = |v: Vec<T>| -> Vec<f64> { v.into_iter().map(T::exact_f64).collect() };
        let row = widen(self.gather(r, x));
        let second = match self.op.second_len(self.layout.len()) {
            0 => Vec::new(),
            _ if self.op.forward().reduces() && self.op.is_vjp() => vec![self.second[r].exact_f64()],
            _ => widen(self.gather(r, &self.second)),
        };
        let keep = match (&self.keep, &self.lengths) {
            (Some(keep), _) => Some(self.gather(r, keep)),
            (None, Some(lengths)) => Some((0..row.len()).map(|i| i < lengths[r]).collect()),
            (None, None) => None,
        };
        let norm = norm.get(r).map_or(0.0, |v| v.exact_f64());
        evaluate(self.op, Row { x: &row, second: &second, norm, keep: keep.as_deref() }, &self.params)
    }

    /// The rows worth a look.
    fn remarks(&self, out: &[T]) -> String {
        let kept = |r: usize, i: usize| match (&self.keep, &self.lengths) {
            (Some(keep), _) => keep[self.position(r, i)],
            (None, Some(lengths)) => i < lengths[r],
            (None, None) => true,
        };
        let len = self.layout.len();
        let family = self.op.family();
        let masked = self.keep.is_some() || self.lengths.is_some();
        let mut text = String::new();
        let mut list = |what: &str, which: &dyn Fn(usize) -> bool| {
            let rows: Vec<usize> = (0..self.layout.row_count()).filter(|&r| which(r)).collect();
            if !rows.is_empty() {
                let shown: Vec<String> = rows.iter().take(LISTED).map(usize::to_string).collect();
                let more = if rows.len() > LISTED { ", …" } else { "" };
                let n = grouped(rows.len() as u64);
                text += &format!("worth a look: {n} {what} (rows {}{more})\n", shown.join(", "));
            }
        };
        let input = |r, i| self.x[self.position(r, i)];
        list("with NaN in the input", &|r| (0..len).any(|i| input(r, i).is_nan()));
        list("with an infinity in the input", &|r| (0..len).any(|i| input(r, i).is_infinite()));
        list("with NaN in the result", &|r| self.outputs_of(r, out).iter().any(|v| v.is_nan()));
        if masked {
            list("fully masked", &|r| !(0..len).any(|i| kept(r, i)));
        }
        if matches!(family, Family::Norm | Family::Normalize) {
            list("of zero norm", &|r| (0..len).all(|i| input(r, i) == T::zero()));
        }
        if self.op == Op::ScaledSigmoid {
            let (lo, hi) = (T::round_from(self.params.lo), T::round_from(self.params.hi));
            list("saturated", &|r| lo < hi && (out[r] == lo || out[r] == hi));
        }
        if self.op == Op::Softmax {
            list("saturated", &|r| len > 1 && self.outputs_of(r, out).contains(&T::one()));
        }
        text
    }
}

#[derive(Default)]
struct Score {
    outputs: u64,
    sum: f64,
    max: f64,
    /// The largest share of the claim.
    share: f64,
    /// Numbers beyond the claim.
    broken: u64,
    /// NaN, infinities and signs of zero that are not what is due, which no share measures.
    wrong: u64,
    worst: String,
}

impl Score {
    fn count(&mut self, judgement: Judgement, row: usize, i: usize, value: f64, truth: &Truth<Wide>) {
        self.outputs += 1;
        // The first wrong special value is the worst there is.
        let worst = match judgement {
            Judgement::Error { ulps, share, .. } => {
                self.sum += ulps;
                self.max = self.max.max(ulps);
                self.broken += u64::from(!judgement.holds());
                let larger = share > self.share;
                self.share = self.share.max(share);
                larger && self.wrong == 0
            }
            Judgement::Special => false,
            Judgement::WrongClass | Judgement::WrongZero => {
                self.wrong += 1;
                self.wrong == 1
            }
        };
        if worst {
            self.worst = format!("row {row}, element {i}: {value:e} for {}", truth.expect.about());
        }
    }

    fn holds(&self) -> bool {
        self.broken == 0 && self.wrong == 0
    }

    fn line(&self, op: Op) -> String {
        let unit = if op.is_gradient() { "ULP of M" } else { "ULP" };
        let values = if self.wrong == 1 { "value" } else { "values" };
        let faults: Vec<String> =
            [(self.broken, "beyond the claim".into()), (self.wrong, format!("wrong special {values}"))]
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{} {what}", grouped(count)))
                .collect();
        let verdict = if self.holds() { "holds".into() } else { format!("BROKEN, {}", faults.join(", ")) };
        // An infinity where a number is due is off by tens of digits.
        let short = |v: f64, n: usize| if v < 1e9 { format!("{v:.n$}") } else { format!("{v:.1e}") };
        format!(
            "{} outputs, largest error {} {unit}, mean {}, {}% of the claim: {verdict}{}",
            grouped(self.outputs),
            short(self.max, 4),
            short(self.sum / self.outputs.max(1) as f64, 4),
            short(self.share * 100.0, 1),
            if self.worst.is_empty() { String::new() } else { format!("; worst at {}", self.worst) }
        )
    }
}
