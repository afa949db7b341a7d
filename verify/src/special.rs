//! The special values of the contract, line by line: each a named check on every backend.
//!
//! What is expected is written out here, not taken from the oracle, except where a line asks for a
//! number "to the bound".

use crate::check::{describe, truths};
use crate::connect::{self, Args};
use crate::exact::Big;
use crate::inputs::Batch;
use crate::oracle::{Empty, Guard, Op, Params};
use crate::ulp::{Number, judge};
use lossprep::{Backend, Layout};

/// One line of the contract and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// The line's name.
    pub name: &'static str,
    /// How many cases were run, each on every backend.
    pub cases: u64,
    /// What was wrong.
    pub failures: Vec<String>,
}

/// The lines, in the contract's order.
pub const LINES: [&str; 25] = [
    "softmax family: NaN among the kept",
    "softmax family: +inf",
    "softmax family: all -inf, or nothing kept",
    "softmax family: some -inf",
    "softmax family: elements not kept",
    "softmax family: valid lengths, all-true mask",
    "softmax family: finite, but the gap overflows",
    "softmax family: one finite element",
    "rows of length 0",
    "huge rows, all equal",
    "normalise: zero row",
    "normalise: norm equal to eps",
    "normalise: squares overflow or underflow",
    "normalise: infinity or NaN in the row",
    "normalise: eps out of its domain",
    "sigmoid: infinities",
    "sigmoid: NaN",
    "sigmoid: inside its range, monotone, exact middle",
    "sigmoid: lo = hi",
    "sigmoid: hi - lo overflows",
    "sigmoid: range out of its domain",
    "inverse: ends and outside",
    "upstream or tangent NaN or infinite",
    "signs of zero",
    "temperature out of its domain",
];

const INF: f64 = f64::INFINITY;
const NAN: f64 = f64::NAN;
/// How many failures a line keeps.
const KEPT: usize = 5;

/// What a case calls an operation with.
#[derive(Clone, Copy)]
struct Case<'a> {
    op: Op,
    x: &'a [f64],
    second: &'a [f64],
    norm: f64,
    keep: Option<&'a [bool]>,
    lengths: Option<&'a [usize]>,
    params: Params,
}

impl<'a> Case<'a> {
    fn new(op: Op, x: &'a [f64]) -> Self {
        Self { op, x, second: &[], norm: 0.0, keep: None, lengths: None, params: Params::default() }
    }

    fn second(self, second: &'a [f64]) -> Self {
        Self { second, ..self }
    }

    fn keep(self, keep: &'a [bool]) -> Self {
        Self { keep: Some(keep), ..self }
    }

    fn norm(self, norm: f64) -> Self {
        Self { norm, ..self }
    }

    fn params(self, params: Params) -> Self {
        Self { params, ..self }
    }
}

struct Runner<'a> {
    backends: &'a [Backend],
    ops: &'a [Op],
    lines: Vec<Line>,
    line: usize,
}

/// The parameters as the element type has them.
fn rounded<T: Number>(p: Params) -> Params {
    let round = |v: f64| T::round_from(v).exact_f64();
    let guard = match p.guard {
        Guard::Max(e) => Guard::Max(round(e)),
        Guard::Add(e) => Guard::Add(round(e)),
        Guard::AddSquared(e) => Guard::AddSquared(round(e)),
    };
    Params { temperature: round(p.temperature), guard, lo: round(p.lo), hi: round(p.hi), empty: p.empty }
}

impl Runner<'_> {
    fn fail(&mut self, what: String) {
        let failures = &mut self.lines[self.line].failures;
        if failures.len() < KEPT {
            failures.push(what);
        }
    }

    /// Runs a case on every backend; `verdict` says what is wrong with the output, if anything.
    /// Returns the last output, or nothing if the operation is not there or not asked for.
    fn run<T: Number>(
        &mut self,
        case: Case,
        verdict: impl Fn(&Batch<T>, Result<&[T], lossprep::Error>) -> Option<String>,
    ) -> Option<Vec<T>> {
        if !self.ops.contains(&case.op) {
            return None;
        }
        let narrow = |v: &[f64]| -> Vec<T> { v.iter().map(|&v| T::round_from(v)).collect() };
        let sigmoid = case.op.family() == crate::oracle::Family::Sigmoid;
        let (rows, len) = if sigmoid { (case.x.len(), 1) } else { (1, case.x.len()) };
        let batch = Batch {
            family: "special values",
            rows,
            len,
            x: narrow(case.x),
            second: narrow(case.second),
            norm: if case.op.takes_norm() { narrow(&[case.norm]) } else { vec![] },
            keep: case.keep.map(<[bool]>::to_vec),
            params: rounded::<T>(case.params),
            origin: None,
        };
        let layout = Layout::rows(rows, len).ok()?;
        let outputs = if case.op.reduces() { layout.row_count() } else { layout.elements() };
        let untouched = T::from_pattern(0x4dad_beef_4dad_beef);
        let mut last = None;
        self.lines[self.line].cases += 1;
        for &backend in self.backends {
            let mut out = vec![untouched; outputs];
            let args = Args {
                x: &batch.x,
                second: &batch.second,
                norm: &batch.norm,
                keep: batch.keep.as_deref(),
                lengths: case.lengths,
                layout,
                params: &batch.params,
            };
            let result = connect::call(case.op, backend, &args, &mut out)?;
            let mut wrong = verdict(&batch, result.map(|()| &out[..]));
            if result.is_err() && out.iter().any(|v| v.bits() != untouched.bits()) {
                wrong = Some("it was refused, but the output was written to".into());
            }
            if let Some(wrong) = wrong {
                let shown = &case.x[..case.x.len().min(6)];
                let params = describe(case.op, &batch.params);
                let head = format!("{} {} on {backend}", case.op.name(), T::NAME);
                self.fail(format!(
                    "{head}: x {shown:?} (length {}), second {:?} {params}: {wrong}",
                    case.x.len(),
                    &case.second[..case.second.len().min(6)]
                ));
            }
            last = Some(out);
        }
        last
    }

    /// These bits; NaN stands for the canonical one.
    fn gives<T: Number>(&mut self, case: Case, want: &[f64]) {
        self.run::<T>(case, |_, out| match out {
            Err(error) => Some(format!("refused: {error}")),
            Ok(out) => {
                let want: Vec<T> = want
                    .iter()
                    .map(|&v| if v.is_nan() { T::CANONICAL_NAN } else { T::round_from(v) })
                    .collect();
                let right = crate::check::same_bits(out, &want);
                (!right).then(|| format!("gives {:?}, not {:?}", head(out), head(&want)))
            }
        });
    }

    /// The row three times side by side, the outer two cut to a length: these bits in the first.
    fn gives_beside<T: Number>(&mut self, op: Op, x: &[f64], valid: usize, want: &[f64]) {
        const ROWS: usize = 3;
        let Ok(layout) = Layout::new(1, x.len(), ROWS) else { return };
        let x: Vec<T> = x.iter().flat_map(|&v| [T::round_from(v); ROWS]).collect();
        let want: Vec<T> = want.iter().map(|&v| T::round_from(v)).collect();
        let (lengths, params) = ([valid, layout.len(), valid], Params::default());
        self.lines[self.line].cases += 1;
        for &backend in self.backends {
            let mut out = vec![T::nan(); want.len() * ROWS];
            let args = Args {
                x: &x,
                second: &[],
                norm: &[],
                keep: None,
                lengths: Some(&lengths),
                layout,
                params: &params,
            };
            let done = connect::call(op, backend, &args, &mut out);
            let first: Vec<T> = out.iter().step_by(ROWS).copied().collect();
            if !matches!(done, Some(Ok(()))) || !crate::check::same_bits(&first, &want) {
                let what = format!("{} {} on {backend}, rows side by side", op.name(), T::NAME);
                self.fail(format!("{what}, length {valid}: {:?}, not {:?}", head(&first), head(&want)));
            }
        }
    }

    /// What the second tier of the oracle says.
    fn bounded<T: Number>(&mut self, case: Case) {
        self.run::<T>(case, |batch, out| match out {
            Err(error) => Some(format!("refused: {error}")),
            Ok(out) => {
                let truth = truths::<T, Big>(case.op, batch);
                out.iter().zip(&truth).enumerate().find_map(|(i, (&v, t))| {
                    let j = judge(v, t);
                    (!j.holds()).then(|| format!("output {i} is {v:e}, not {}: {j}", t.expect.about()))
                })
            }
        });
    }

    fn refused<T: Number>(&mut self, case: Case) {
        self.run::<T>(case, |_, out| out.is_ok().then(|| "is accepted".into()));
    }
}

fn head<T: Copy>(v: &[T]) -> Vec<T> {
    v.iter().take(6).copied().collect()
}

/// Lengths that put a special value into every position of a register and of a tail.
const LENGTHS: [usize; 7] = [1, 2, 7, 16, 17, 33, 70];

const SOFTMAX: [Op; 3] = [Op::Softmax, Op::LogSoftmax, Op::Logsumexp];
const NORMALIZE: [Op; 3] = [Op::L2Normalize, Op::L2NormalizeVjp, Op::L2NormalizeJvp];

/// Every line for one type; operations not in `ops` are left out.
pub fn check<T: Number>(ops: &[Op], backends: &[Backend]) -> Vec<Line> {
    let lines = LINES.iter().map(|&name| Line { name, ..Line::default() }).collect();
    let mut r = Runner { backends, ops, lines, line: 0 };
    let max = T::MAX.exact_f64();
    let tests: [fn(&mut Runner, f64); 25] = [
        nan_among_kept::<T>,
        plus_infinity::<T>,
        nothing_left::<T>,
        some_minus_infinity::<T>,
        not_kept::<T>,
        valid_lengths::<T>,
        gap_overflows::<T>,
        one_finite::<T>,
        length_zero::<T>,
        huge_equal::<T>,
        zero_row::<T>,
        norm_is_eps::<T>,
        squares_overflow::<T>,
        norm_not_finite::<T>,
        eps_domain::<T>,
        sigmoid_infinities::<T>,
        sigmoid_nan::<T>,
        sigmoid_shape::<T>,
        point_range::<T>,
        wide_range::<T>,
        range_domain::<T>,
        inverse_ends::<T>,
        second_not_finite::<T>,
        zero_signs::<T>,
        temperature_domain::<T>,
    ];
    for (line, test) in tests.into_iter().enumerate() {
        r.line = line;
        test(&mut r, max);
    }
    r.lines
}

/// How many outputs a row of this length has.
fn outputs(op: Op, len: usize) -> usize {
    if op.reduces() { 1 } else { len }
}

/// A row of small values with one replaced.
fn with(len: usize, at: usize, v: f64) -> Vec<f64> {
    (0..len).map(|i| if i == at { v } else { (i % 5) as f64 - 2.0 }).collect()
}

const SOFTMAX_GRADIENTS: [Op; 6] = [
    Op::SoftmaxVjp,
    Op::SoftmaxJvp,
    Op::LogSoftmaxVjp,
    Op::LogSoftmaxJvp,
    Op::LogsumexpVjp,
    Op::LogsumexpJvp,
];

fn nan_among_kept<T: Number>(r: &mut Runner, _: f64) {
    for len in LENGTHS {
        for at in 0..len {
            let x = with(len, at, NAN);
            for op in SOFTMAX {
                r.gives::<T>(Case::new(op, &x), &vec![NAN; outputs(op, len)]);
                // With a mask too, where a row of nothing gives something else.
                for empty in [Empty::Zeros, Empty::Uniform, Empty::Nan] {
                    let keep: Vec<bool> = (0..len).map(|i| i == at || i % 3 > 0).collect();
                    let params = Params { empty, ..Params::default() };
                    let case = Case::new(op, &x).keep(&keep).params(params);
                    r.gives::<T>(case, &vec![NAN; outputs(op, len)]);
                    // The oracle says the same of what is not kept.
                    r.bounded::<T>(case);
                }
            }
            for op in SOFTMAX_GRADIENTS {
                // A saved output is NaN throughout, as the forward call gives it.
                let saved = vec![NAN; len];
                let first = if op.forward() == Op::Logsumexp { &x } else { &saved };
                let g = vec![1.0; op.second_len(len)];
                r.gives::<T>(Case::new(op, first).second(&g), &vec![NAN; outputs(op, len)]);
                // With a mask, what takes no part gets +0.
                let keep: Vec<bool> = (0..len).map(|i| i == at || i % 3 > 0).collect();
                let want: Vec<f64> =
                    (0..outputs(op, len)).map(|i| if op.reduces() || keep[i] { NAN } else { 0.0 }).collect();
                let case = Case::new(op, first).second(&g).keep(&keep);
                r.gives::<T>(case, &want);
                r.bounded::<T>(case);
            }
        }
    }
    // NaN is looked for first: beside +∞ and −∞ it still decides.
    for x in [[NAN, INF, 0.0], [INF, -INF, NAN], [-INF, -INF, NAN]] {
        for op in SOFTMAX {
            r.gives::<T>(Case::new(op, &x), &vec![NAN; outputs(op, 3)]);
        }
    }
}

fn plus_infinity<T: Number>(r: &mut Runner, _: f64) {
    for len in LENGTHS {
        for at in 0..len {
            let x = with(len, at, INF);
            r.gives::<T>(Case::new(Op::Softmax, &x), &vec![NAN; len]);
            r.gives::<T>(Case::new(Op::LogSoftmax, &x), &vec![NAN; len]);
            r.gives::<T>(Case::new(Op::Logsumexp, &x), &[INF]);
            r.gives::<T>(Case::new(Op::LogsumexpVjp, &x).second(&[1.0]), &vec![NAN; len]);
            r.gives::<T>(Case::new(Op::LogsumexpJvp, &x).second(&vec![1.0; len]), &[NAN]);
            // Among the kept it decides the whole row, whatever its policy.
            let keep: Vec<bool> = (0..len).map(|i| i == at || i % 3 > 0).collect();
            for empty in [Empty::Zeros, Empty::Uniform, Empty::Nan] {
                let params = Params { empty, ..Params::default() };
                for op in SOFTMAX {
                    let want = if op == Op::Logsumexp { INF } else { NAN };
                    let case = Case::new(op, &x).keep(&keep).params(params);
                    r.gives::<T>(case, &vec![want; outputs(op, len)]);
                    r.bounded::<T>(case);
                }
            }
        }
    }
}

fn nothing_left<T: Number>(r: &mut Runner, _: f64) {
    for len in LENGTHS {
        let x = vec![-INF; len];
        r.gives::<T>(Case::new(Op::Softmax, &x), &vec![NAN; len]);
        r.gives::<T>(Case::new(Op::LogSoftmax, &x), &vec![NAN; len]);
        r.gives::<T>(Case::new(Op::Logsumexp, &x), &[-INF]);
        r.gives::<T>(Case::new(Op::LogsumexpVjp, &x).second(&[1.0]), &vec![0.0; len]);
        r.gives::<T>(Case::new(Op::LogsumexpJvp, &x).second(&vec![1.0; len]), &[0.0]);
        let none = vec![false; len];
        let all = vec![true; len];
        let log_share = -T::round_from(len as f64).exact_f64().ln();
        for (x, keep) in [(with(len, 0, 3.0), &none), (x, &all)] {
            for (empty, p, log_p) in [
                (Empty::Zeros, 0.0, -INF),
                (Empty::Uniform, 1.0 / len as f64, log_share),
                (Empty::Nan, NAN, NAN),
            ] {
                let params = Params { empty, ..Params::default() };
                r.gives::<T>(Case::new(Op::Softmax, &x).keep(keep).params(params), &vec![p; len]);
                let case = Case::new(Op::LogSoftmax, &x).keep(keep).params(params);
                if empty == Empty::Uniform {
                    r.bounded::<T>(case)
                } else {
                    r.gives::<T>(case, &vec![log_p; len])
                }
                r.gives::<T>(Case::new(Op::Logsumexp, &x).keep(keep).params(params), &[-INF]);
            }
            for op in [Op::LogsumexpVjp, Op::LogsumexpJvp] {
                let g = vec![1.0; op.second_len(len)];
                r.gives::<T>(Case::new(op, &x).second(&g).keep(keep), &vec![0.0; outputs(op, len)]);
            }
        }
        for op in [Op::SoftmaxVjp, Op::SoftmaxJvp, Op::LogSoftmaxVjp, Op::LogSoftmaxJvp] {
            let y = vec![if op.forward() == Op::Softmax { 0.0 } else { -INF }; len];
            r.gives::<T>(Case::new(op, &y).second(&vec![1.0; len]).keep(&none), &vec![0.0; len]);
        }
    }
}

fn some_minus_infinity<T: Number>(r: &mut Runner, _: f64) {
    r.gives::<T>(Case::new(Op::Softmax, &[0.0, -INF, 0.0]), &[0.5, 0.0, 0.5]);
    r.gives::<T>(Case::new(Op::Softmax, &[-INF, 7.0]), &[0.0, 1.0]);
    r.gives::<T>(Case::new(Op::LogSoftmax, &[-INF, 7.0]), &[-INF, 0.0]);
    r.gives::<T>(Case::new(Op::Logsumexp, &[-INF, 7.0]), &[7.0]);
    for len in LENGTHS.into_iter().filter(|&n| n > 1) {
        for at in 0..len {
            let x = with(len, at, -INF);
            for op in SOFTMAX {
                r.bounded::<T>(Case::new(op, &x));
            }
        }
    }
    let g = [3.0, 5.0, 7.0];
    r.gives::<T>(Case::new(Op::SoftmaxVjp, &[0.5, 0.0, 0.5]).second(&g), &[-1.0, 0.0, 1.0]);
    r.gives::<T>(Case::new(Op::SoftmaxJvp, &[0.5, 0.0, 0.5]).second(&g), &[-1.0, 0.0, 1.0]);
    r.gives::<T>(Case::new(Op::LogSoftmaxVjp, &[-INF, 0.0]).second(&[3.0, 5.0]), &[3.0, -3.0]);
    r.gives::<T>(Case::new(Op::LogsumexpVjp, &[-INF, 1.0, -INF]).second(&[2.0]), &[0.0, 2.0, 0.0]);
    r.gives::<T>(Case::new(Op::LogsumexpJvp, &[-INF, 1.0]).second(&[2.0, 3.0]), &[3.0]);
}

fn not_kept<T: Number>(r: &mut Runner, max: f64) {
    for hidden in [NAN, INF, -INF, max, 0.0] {
        for len in [3, 17, 40] {
            let x = with(len, 1, hidden);
            let keep: Vec<bool> = (0..len).map(|i| i != 1).collect();
            for op in SOFTMAX {
                r.bounded::<T>(Case::new(op, &x).keep(&keep));
            }
            for op in SOFTMAX_GRADIENTS {
                // Saved outputs: any will do, the hidden one included.
                let y: Vec<f64> = (0..len)
                    .map(|i| match (i, op.forward()) {
                        (1, _) => hidden,
                        (_, Op::Softmax) => 1.0 / len as f64,
                        (_, Op::LogSoftmax) => -(len as f64).ln(),
                        _ => x[i],
                    })
                    .collect();
                let g = if op.second_len(len) == 1 { vec![1.5] } else { with(len, 1, hidden) };
                r.bounded::<T>(Case::new(op, &y).second(&g).keep(&keep));
            }
        }
    }
}

fn valid_lengths<T: Number>(r: &mut Runner, _: f64) {
    for len in LENGTHS {
        let x: Vec<f64> = (0..len).map(|i| ((i * 37) % 19) as f64 * 0.37 - 3.0).collect();
        let all = vec![true; len];
        for op in SOFTMAX {
            let Some(plain) = r.run::<T>(Case::new(op, &x), |_, _| None) else { continue };
            let wide: Vec<f64> = plain.iter().map(|v| v.exact_f64()).collect();
            r.gives::<T>(Case::new(op, &x).keep(&all), &wide);
            for v in 0..=len {
                let Some(cut) = r.run::<T>(Case::new(op, &x[..v]), |_, _| None) else { continue };
                let mut want: Vec<f64> = cut.iter().map(|v| v.exact_f64()).collect();
                want.resize(outputs(op, len), if op == Op::LogSoftmax { -INF } else { 0.0 });
                let lengths = [v];
                r.gives::<T>(Case { lengths: Some(&lengths), ..Case::new(op, &x) }, &want);
                if r.ops.contains(&op) {
                    r.gives_beside::<T>(op, &x, v, &want);
                }
                let keep: Vec<bool> = (0..len).map(|i| i < v).collect();
                if v > 0 {
                    r.bounded::<T>(Case::new(op, &x).keep(&keep));
                }
            }
            let long = [len + 1];
            r.refused::<T>(Case { lengths: Some(&long), ..Case::new(op, &x) });
        }
    }
}

fn gap_overflows<T: Number>(r: &mut Runner, max: f64) {
    r.gives::<T>(Case::new(Op::Softmax, &[max, -max]), &[1.0, 0.0]);
    r.gives::<T>(Case::new(Op::LogSoftmax, &[max, -max]), &[0.0, -INF]);
    r.gives::<T>(Case::new(Op::Logsumexp, &[max, -max]), &[max]);
    r.gives::<T>(Case::new(Op::Logsumexp, &[-max, -max, -max]), &[-max]);
    r.gives::<T>(Case::new(Op::LogSoftmax, &[max, 0.0]), &[0.0, -max]);
    r.gives::<T>(Case::new(Op::LogsumexpVjp, &[max, -max]).second(&[2.0]), &[2.0, 0.0]);
    r.bounded::<T>(Case::new(Op::LogSoftmaxVjp, &[0.0, -max]).second(&[1.0, 2.0]));
    r.bounded::<T>(Case::new(Op::SoftmaxVjp, &[1e-3, 1e-3]).second(&[max * 0.9, -max * 0.9]));
    r.bounded::<T>(Case::new(Op::SoftmaxJvp, &[0.5, 0.5]).second(&[max, max]));
}

fn one_finite<T: Number>(r: &mut Runner, max: f64) {
    for v in [0.0, 1.5, -700.25, 1e30, -1e30, max, -max] {
        let v = T::round_from(v).exact_f64();
        for len in LENGTHS {
            for at in [0, len / 2, len - 1] {
                let x: Vec<f64> = (0..len).map(|i| if i == at { v } else { -INF }).collect();
                let one = |hit: f64, miss: f64| -> Vec<f64> {
                    (0..len).map(|i| if i == at { hit } else { miss }).collect()
                };
                r.gives::<T>(Case::new(Op::Softmax, &x), &one(1.0, 0.0));
                r.gives::<T>(Case::new(Op::LogSoftmax, &x), &one(0.0, -INF));
                r.gives::<T>(Case::new(Op::Logsumexp, &x), &[v]);
                r.gives::<T>(Case::new(Op::LogsumexpVjp, &x).second(&[2.5]), &one(2.5, 0.0));
                let g = one(3.0, 0.0);
                r.gives::<T>(Case::new(Op::SoftmaxVjp, &one(1.0, 0.0)).second(&g), &vec![0.0; len]);
            }
        }
        r.gives::<T>(Case::new(Op::LogSoftmaxVjp, &[0.0]).second(&[2.5]), &[0.0]);
    }
}

fn length_zero<T: Number>(r: &mut Runner, _: f64) {
    for op in Op::ALL {
        if op.is_gradient() && op.reduces() {
            r.gives::<T>(Case::new(op, &[]), &[0.0]);
            continue;
        }
        let g = vec![1.0; op.second_len(0)];
        let want: &[f64] = match op {
            Op::Logsumexp => &[-INF],
            Op::L2Norm => &[0.0],
            _ => &[],
        };
        r.gives::<T>(Case::new(op, &[]).second(&g), want);
    }
}

fn huge_equal<T: Number>(r: &mut Runner, _: f64) {
    for n in [65_536, 100_003, 1 << 20] {
        let share = vec![T::round_from(1.0 / n as f64).exact_f64(); n];
        r.run::<T>(Case::new(Op::Softmax, &vec![2.5; n]), |_, out| match out {
            Err(error) => Some(format!("refused: {error}")),
            // Within one step of 1/n rounded, and all the same.
            Ok(out) => {
                let steps = (out[0].bits() as i64 - T::round_from(share[0]).bits() as i64).unsigned_abs();
                let same = out.iter().all(|v| v.bits() == out[0].bits());
                (steps > 1 || !same).then(|| format!("gives {:e}, not {:e}", out[0], share[0]))
            }
        });
    }
}

fn zero_row<T: Number>(r: &mut Runner, _: f64) {
    for len in LENGTHS {
        let zeros = vec![0.0; len];
        for guard in [Guard::Max(0.25), Guard::Add(0.25), Guard::AddSquared(0.0625)] {
            let params = Params { guard, ..Params::default() };
            r.gives::<T>(Case::new(Op::L2Normalize, &zeros).params(params), &zeros);
            // eps is 1/4, or its root.
            let g = vec![1.5; len];
            for op in &NORMALIZE[1..] {
                r.gives::<T>(Case::new(*op, &zeros).second(&g).params(params), &vec![6.0; len]);
            }
        }
        r.gives::<T>(Case::new(Op::L2Norm, &zeros), &[0.0]);
    }
}

fn norm_is_eps<T: Number>(r: &mut Runner, _: f64) {
    let params = Params { guard: Guard::Max(5.0), ..Params::default() };
    r.bounded::<T>(Case::new(Op::L2Normalize, &[3.0, -4.0]).params(params));
    for op in &NORMALIZE[1..] {
        // The norm's own gradient: g/5 − x·⟨x, g⟩/125.
        r.bounded::<T>(Case::new(*op, &[3.0, -4.0]).second(&[1.0, 1.0]).norm(5.0).params(params));
    }
}

fn squares_overflow<T: Number>(r: &mut Runner, max: f64) {
    let tiny = T::from_pattern(1).exact_f64();
    let rows = [
        [1e30, -1e30, 2e30],
        [max, max, -max],
        [max / 2.0, 1.0, 0.0],
        [1e-30, 2e-30, -3e-30],
        [tiny, 0.0, 0.0],
        [tiny, -tiny, 3.0 * tiny],
        [tiny * 1000.0, 1e-30, 1.0],
    ];
    for x in rows {
        r.bounded::<T>(Case::new(Op::L2Norm, &x));
        for guard in [Guard::Max(1e-12), Guard::Max(tiny), Guard::Add(1e-20), Guard::AddSquared(1e-20)] {
            let params = Params { guard, ..Params::default() };
            r.bounded::<T>(Case::new(Op::L2Normalize, &x).params(params));
            let narrowed: Vec<f64> = x.iter().map(|&v| T::round_from(v).exact_f64()).collect();
            let scale = narrowed.iter().fold(0f64, |m, v| m.max(v.abs()));
            let norm = scale * narrowed.iter().map(|v| (v / scale).powi(2)).sum::<f64>().sqrt();
            for op in &NORMALIZE[1..] {
                let case = Case::new(*op, &x).second(&[1.0, -2.0, 0.5]).norm(norm).params(params);
                r.bounded::<T>(case);
            }
        }
    }
}

fn norm_not_finite<T: Number>(r: &mut Runner, _: f64) {
    for len in LENGTHS {
        for at in 0..len {
            for (v, norm) in [(INF, INF), (-INF, INF), (NAN, NAN)] {
                let x = with(len, at, v);
                r.gives::<T>(Case::new(Op::L2Norm, &x), &[norm]);
                r.gives::<T>(Case::new(Op::L2Normalize, &x), &vec![NAN; len]);
                let g = vec![1.0; len];
                for op in &NORMALIZE[1..] {
                    r.gives::<T>(Case::new(*op, &x).second(&g).norm(norm), &vec![NAN; len]);
                }
                r.gives::<T>(Case::new(Op::L2NormVjp, &x).second(&[1.0]).norm(norm), &vec![NAN; len]);
                r.gives::<T>(Case::new(Op::L2NormJvp, &x).second(&g).norm(norm), &[NAN]);
            }
        }
    }
    r.gives::<T>(Case::new(Op::L2Norm, &[INF, NAN]), &[NAN]);
}

fn eps_domain<T: Number>(r: &mut Runner, _: f64) {
    for eps in [0.0, -0.0, -1e-12, NAN, INF, -INF] {
        for guard in [Guard::Max(eps), Guard::Add(eps), Guard::AddSquared(eps)] {
            let params = Params { guard, ..Params::default() };
            r.refused::<T>(Case::new(Op::L2Normalize, &[1.0, 2.0]).params(params));
            for op in &NORMALIZE[1..] {
                r.refused::<T>(Case::new(*op, &[1.0, 2.0]).second(&[1.0, 1.0]).norm(2.0).params(params));
            }
        }
    }
}

const SIGMOID_GRADIENTS: [Op; 2] = [Op::ScaledSigmoidVjp, Op::ScaledSigmoidJvp];

fn range(lo: f64, hi: f64) -> Params {
    Params { lo, hi, ..Params::default() }
}

fn sigmoid_infinities<T: Number>(r: &mut Runner, max: f64) {
    for (lo, hi) in [(0.0, 1.0), (-1.0, 1.0), (25.0, 346.0), (-max, max), (0.1, 0.7), (-3.0, 1e-30)] {
        r.gives::<T>(Case::new(Op::ScaledSigmoid, &[INF, -INF, INF]).params(range(lo, hi)), &[hi, lo, hi]);
        for op in SIGMOID_GRADIENTS {
            let case = Case::new(op, &[INF, -INF]).second(&[2.0, 2.0]).params(range(lo, hi));
            r.gives::<T>(case, &[0.0, 0.0]);
        }
    }
}

fn sigmoid_nan<T: Number>(r: &mut Runner, _: f64) {
    for len in LENGTHS {
        for at in 0..len {
            let x: Vec<f64> = (0..len).map(|i| if i == at { NAN } else { 0.0 }).collect();
            let want: Vec<f64> = x.iter().map(|v| v + 0.5).collect();
            r.gives::<T>(Case::new(Op::ScaledSigmoid, &x).params(range(0.0, 1.0)), &want);
            let want: Vec<f64> = x.iter().map(|v| v + 0.5).collect();
            let g = vec![2.0; len];
            for op in SIGMOID_GRADIENTS {
                let case = Case::new(op, &x).second(&g).params(range(0.0, 1.0));
                r.gives::<T>(case, &want);
            }
            let inverse = Case::new(Op::ScaledSigmoidInverse, &want).params(range(0.0, 1.0));
            r.gives::<T>(inverse, &x);
        }
    }
}

fn sigmoid_shape<T: Number>(r: &mut Runner, max: f64) {
    let mut x = crate::inputs::edges::<T>();
    x.extend((-4000..4000).map(|i| f64::from(i) * 0.02));
    x.sort_by(f64::total_cmp);
    for (lo, hi) in [(0.0, 1.0), (-1.0, 1.0), (25.0, 346.0), (0.1, 0.1), (0.1, 0.7), (-3.0, 1.0), (-max, max)]
    {
        let (low, high) = (T::round_from(lo), T::round_from(hi));
        r.run::<T>(Case::new(Op::ScaledSigmoid, &x).params(range(lo, hi)), |_, out| match out {
            Err(error) => Some(format!("refused: {error}")),
            Ok(out) => {
                if let Some(v) = out.iter().find(|v| !(low <= **v && **v <= high)) {
                    return Some(format!("{v:e} leaves the range"));
                }
                let at = out.windows(2).position(|w| w[0] > w[1])?;
                Some(format!("decreases from x = {:e} to {:e}", x[at], x[at + 1]))
            }
        });
        let middle = low.exact_f64() / 2.0 + high.exact_f64() / 2.0;
        r.gives::<T>(Case::new(Op::ScaledSigmoid, &[0.0]).params(range(lo, hi)), &[middle]);
    }
    // Gradual underflow, and a tail that only the range brings back.
    let far = if T::FORMAT.precision == 24 {
        [-88.0, -100.0, -103.5, -150.0]
    } else {
        [-709.0, -740.0, -745.1, -900.0]
    };
    for hi in [1.0, 1e-3, 1e30, max] {
        r.bounded::<T>(Case::new(Op::ScaledSigmoid, &far).params(range(0.0, hi)));
        let g = [1.0, 1e30, max, 3.0];
        let positive = far.map(|v| -v);
        for op in SIGMOID_GRADIENTS {
            r.bounded::<T>(Case::new(op, &positive).second(&g).params(range(0.0, 1.0)));
        }
    }
    // Where the output has saturated the gradient has not.
    let saturated = if T::FORMAT.precision == 24 { 17.5 } else { 38.0 };
    for op in SIGMOID_GRADIENTS {
        r.bounded::<T>(Case::new(op, &[saturated]).second(&[1.0]).params(range(0.0, 1.0)));
    }
}

fn point_range<T: Number>(r: &mut Runner, max: f64) {
    for v in [0.1, -3.0, 1e30, 0.0, max] {
        let x = [0.0, 1.0, -2.5, 700.0, INF, -INF];
        r.gives::<T>(Case::new(Op::ScaledSigmoid, &x).params(range(v, v)), &[v; 6]);
        for op in SIGMOID_GRADIENTS {
            r.gives::<T>(Case::new(op, &x).second(&[1.0; 6]).params(range(v, v)), &[0.0; 6]);
        }
        r.refused::<T>(Case::new(Op::ScaledSigmoidInverse, &[v]).params(range(v, v)));
    }
}

fn wide_range<T: Number>(r: &mut Runner, max: f64) {
    let x = [0.0, 1.0, -1.0, 1e-3, 40.0, -40.0, 800.0];
    for (lo, hi) in [(-max, max), (-max, max / 2.0), (-max * 0.75, max)] {
        r.bounded::<T>(Case::new(Op::ScaledSigmoid, &x).params(range(lo, hi)));
        for op in SIGMOID_GRADIENTS {
            let case = Case::new(op, &x).second(&[1.0, 2.0, -1.0, 0.5, 3.0, 1.0, 1.0]).params(range(lo, hi));
            r.bounded::<T>(case);
        }
        let y = [0.0, max / 4.0, -max / 4.0, 1.0, max / 8.0];
        r.bounded::<T>(Case::new(Op::ScaledSigmoidInverse, &y).params(range(lo, hi)));
    }
}

fn range_domain<T: Number>(r: &mut Runner, _: f64) {
    for (lo, hi) in [(1.0, 0.0), (NAN, 1.0), (0.0, NAN), (-INF, 0.0), (0.0, INF)] {
        r.refused::<T>(Case::new(Op::ScaledSigmoid, &[0.5]).params(range(lo, hi)));
        r.refused::<T>(Case::new(Op::ScaledSigmoidInverse, &[0.5]).params(range(lo, hi)));
        for op in SIGMOID_GRADIENTS {
            r.refused::<T>(Case::new(op, &[0.5]).second(&[1.0]).params(range(lo, hi)));
        }
    }
}

fn inverse_ends<T: Number>(r: &mut Runner, max: f64) {
    for (lo, hi) in [(0.0, 1.0), (-1.0, 1.0), (25.0, 346.0), (-max * 0.5, max * 0.5)] {
        let y = [lo, hi, lo - 0.1 * hi.abs(), hi * 1.5, INF, -INF, NAN];
        let want = [-INF, INF, NAN, NAN, NAN, NAN, NAN];
        r.gives::<T>(Case::new(Op::ScaledSigmoidInverse, &y).params(range(lo, hi)), &want);
        for op in [Op::ScaledSigmoidInverseVjp, Op::ScaledSigmoidInverseJvp] {
            let y = [lo, hi, lo, hi, hi * 1.5, NAN];
            let case = Case::new(op, &y).second(&[2.0, 2.0, -2.0, -2.0, 1.0, 1.0]).params(range(lo, hi));
            r.gives::<T>(case, &[INF, INF, -INF, -INF, NAN, NAN]);
        }
    }
}

fn second_not_finite<T: Number>(r: &mut Runner, _: f64) {
    for bad in [NAN, INF, -INF] {
        for len in LENGTHS {
            for at in 0..len {
                let g = with(len, at, bad);
                let y = vec![1.0 / len as f64; len];
                let log_y = vec![-(len as f64).ln(); len];
                let all = vec![NAN; len];
                // The only element is certain.
                let softmax = if len == 1 { vec![0.0] } else { all.clone() };
                let x = with(len, 0, 1.0);
                for (op, x, want) in [
                    (Op::SoftmaxVjp, &y, &softmax),
                    (Op::SoftmaxJvp, &y, &softmax),
                    (Op::LogSoftmaxVjp, &log_y, &softmax),
                    (Op::LogSoftmaxJvp, &log_y, &softmax),
                    (Op::L2NormalizeVjp, &x, &all),
                    (Op::L2NormalizeJvp, &x, &all),
                ] {
                    r.gives::<T>(Case::new(op, x).second(&g).norm(3.0), want);
                }
                r.gives::<T>(Case::new(Op::LogsumexpJvp, &x).second(&g), &[NAN]);
                r.gives::<T>(Case::new(Op::L2NormJvp, &x).second(&g).norm(3.0), &[NAN]);
                // Elementwise: the neighbours keep their gradients, σ′(0) = ¼.
                let quarter: Vec<f64> =
                    g.iter().map(|g| if g.is_finite() { g / 4.0 + 0.0 } else { NAN }).collect();
                let zeros = vec![0.0; len];
                for op in SIGMOID_GRADIENTS {
                    let case = Case::new(op, &zeros).second(&g).params(range(0.0, 1.0));
                    r.gives::<T>(case, &quarter);
                }
            }
        }
        r.gives::<T>(Case::new(Op::LogsumexpVjp, &[0.0, 1.0, -INF]).second(&[bad]), &[NAN, NAN, 0.0]);
        r.gives::<T>(Case::new(Op::SoftmaxVjp, &[0.5, 0.5, 0.0]).second(&[bad, 1.0, 1.0]), &[NAN, NAN, 0.0]);
        for op in SIGMOID_GRADIENTS {
            let g = [bad, bad];
            let case = Case::new(op, &[INF, -INF]).second(&g).params(range(0.0, 1.0));
            r.gives::<T>(case, &[0.0, 0.0]);
        }
    }
}

fn zero_signs<T: Number>(r: &mut Runner, max: f64) {
    r.gives::<T>(Case::new(Op::Softmax, &[0.0, -max]), &[1.0, 0.0]);
    r.gives::<T>(Case::new(Op::LogSoftmax, &[-0.0]), &[0.0]);
    r.gives::<T>(Case::new(Op::Logsumexp, &[-0.0]), &[0.0]);
    r.gives::<T>(Case::new(Op::L2Norm, &[-0.0, -0.0]), &[0.0]);
    r.gives::<T>(Case::new(Op::L2Normalize, &[-0.0, 0.0, -2.0]), &[-0.0, 0.0, -1.0]);
    r.gives::<T>(Case::new(Op::L2Normalize, &[-0.0, 0.0]), &[-0.0, 0.0]);
    r.gives::<T>(Case::new(Op::ScaledSigmoid, &[-0.0, 0.0]).params(range(-2.0, 2.0)), &[-0.0, 0.0]);
    r.gives::<T>(Case::new(Op::ScaledSigmoid, &[-max]).params(range(0.0, 1.0)), &[0.0]);
    r.gives::<T>(Case::new(Op::SoftmaxVjp, &[0.5, 0.5]).second(&[-0.0, -0.0]), &[0.0, 0.0]);
    r.gives::<T>(Case::new(Op::LogsumexpVjp, &[0.0, -max]).second(&[-1.0]), &[-1.0, 0.0]);
    r.gives::<T>(Case::new(Op::ScaledSigmoidVjp, &[0.0]).second(&[-0.0]).params(range(0.0, 1.0)), &[0.0]);
}

fn temperature_domain<T: Number>(r: &mut Runner, _: f64) {
    let subnormal = T::from_pattern(5).exact_f64();
    for temperature in [0.0, -1.0, NAN, INF, subnormal] {
        let params = Params { temperature, ..Params::default() };
        for op in SOFTMAX {
            r.refused::<T>(Case::new(op, &[1.0, 2.0]).params(params));
        }
    }
    // T = 1 is the bits of no option; 2 is the bits of half the input, since halving is exact.
    for temperature in [2.0, 0.5] {
        let params = Params { temperature, ..Params::default() };
        let x = [0.3, -1.7, 2.9, 1e4, 0.0];
        for op in SOFTMAX {
            r.bounded::<T>(Case::new(op, &x).params(params));
        }
    }
}
