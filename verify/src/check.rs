//! Runs an operation over its inputs, judges every output, and compares the forms by their bits.

use crate::connect::{self, Args};
use crate::exact::Big;
use crate::inputs::{Batch, Level, Origin, Rng, Source};
use crate::oracle::{Op, Params, Row, evaluate};
use crate::real::Real;
use crate::threads::on_all;
use crate::ulp::{Judgement, Number, judge};
use crate::wide::Wide;
use lossprep::{Backend, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Rows up to this length go to the second tier; a longer one would take it minutes.
const SECOND_TIER_LEN: usize = 4096;
/// A result this close to its claim, in ULP, is judged again by the second tier.
const NEAR_CLAIM: f64 = 1.0 / 1024.0;
/// The two tiers may differ by this much, in ULP: 2⁻⁹⁰ relative is far less.
const TIERS_AGREE: f64 = 1.0 / (1 << 24) as f64;
/// Batches up to this many elements are compared in every form, larger ones across backends only.
const ALL_FORMS: usize = 1 << 17;
/// How many elements of a row a witness shows.
const SHOWN: usize = 16;

/// An output with all that is needed to compute it again.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// What `lossprep-verify replay` makes the row again from.
    pub replay: String,
    /// The family of inputs.
    pub family: String,
    /// Length of the row.
    pub len: usize,
    /// Which output of the row.
    pub index: usize,
    /// The row's bits.
    pub x: Vec<u64>,
    /// Upstream's or tangent's bits.
    pub second: Vec<u64>,
    /// The norm's bits.
    pub norm: Option<u64>,
    /// The mask, or empty.
    pub keep: Vec<bool>,
    /// The parameters, as text.
    pub params: String,
    /// The computed bits.
    pub got: u64,
    /// About what was due.
    pub expected: String,
    /// What was wrong, or how far off it is.
    pub finding: String,
    /// The share of the claim; infinite for a wrong special value.
    pub share: f64,
}

struct Suspect<T> {
    share: f64,
    index: usize,
    batch: Batch<T>,
    out: Vec<T>,
}

/// What was found about one operation and type.
pub struct Tally<T> {
    /// Outputs judged by the first tier.
    pub outputs: u64,
    /// Outputs judged again by the second.
    pub second_tier: u64,
    /// Outputs whose wider claim at a cancellation applied.
    pub cancelling: u64,
    /// Largest error where the plain claim applies.
    pub max_ulps: f64,
    /// Sum of those errors, and their number.
    pub sum_ulps: f64,
    /// The number of those errors.
    pub plain: u64,
    /// Largest share of a claim.
    pub max_share: f64,
    /// The output with that share.
    pub worst: Option<Witness>,
    /// Broken claims.
    pub broken: u64,
    /// The first of them.
    pub findings: Vec<Witness>,
    /// Comparisons of bits, and how many outputs they covered.
    pub compared: u64,
    /// Comparisons that failed.
    pub differing: u64,
    /// Outputs over which the tiers disagreed.
    pub disagreements: u64,
    suspects: Vec<Suspect<T>>,
    keep_suspects: usize,
}

/// How many findings are kept, for each operation and type.
const FINDINGS: usize = 8;

impl<T: Number> Tally<T> {
    fn new(level: Level) -> Self {
        let keep_suspects = match level {
            Level::Quick => 3,
            Level::Default => 25,
            Level::Full => 1000,
        };
        Self {
            outputs: 0,
            second_tier: 0,
            cancelling: 0,
            max_ulps: 0.0,
            sum_ulps: 0.0,
            plain: 0,
            max_share: 0.0,
            worst: None,
            broken: 0,
            findings: Vec::new(),
            compared: 0,
            differing: 0,
            disagreements: 0,
            suspects: Vec::new(),
            keep_suspects,
        }
    }

    /// Whether every claim holds.
    pub fn holds(&self) -> bool {
        self.broken == 0 && self.differing == 0 && self.disagreements == 0
    }

    /// The mean error where the plain claim applies.
    pub fn mean_ulps(&self) -> f64 {
        if self.plain == 0 { 0.0 } else { self.sum_ulps / self.plain as f64 }
    }

    fn find(&mut self, witness: impl FnOnce() -> Witness) {
        if self.findings.len() < FINDINGS {
            self.findings.push(witness());
        }
    }

    fn merge(&mut self, other: Self) {
        self.outputs += other.outputs;
        self.second_tier += other.second_tier;
        self.cancelling += other.cancelling;
        self.max_ulps = self.max_ulps.max(other.max_ulps);
        self.sum_ulps += other.sum_ulps;
        self.plain += other.plain;
        if other.max_share > self.max_share || self.worst.is_none() {
            self.max_share = self.max_share.max(other.max_share);
            self.worst = other.worst.or(self.worst.take());
        }
        self.broken += other.broken;
        self.findings.extend(other.findings);
        self.findings.truncate(FINDINGS);
        self.compared += other.compared;
        self.differing += other.differing;
        self.disagreements += other.disagreements;
        for suspect in other.suspects {
            self.suspect(suspect);
        }
    }

    fn least_suspect(&self) -> f64 {
        if self.suspects.len() < self.keep_suspects {
            0.0
        } else {
            self.suspects.last().map_or(f64::INFINITY, |s| s.share)
        }
    }

    fn suspect(&mut self, suspect: Suspect<T>) {
        let at = self.suspects.partition_point(|s| s.share >= suspect.share);
        self.suspects.insert(at, suspect);
        self.suspects.truncate(self.keep_suspects);
    }

    /// Counts one final judgement.
    fn settle(&mut self, judgement: Judgement, witness: impl Fn(String, f64) -> Witness) {
        match judgement {
            Judgement::Error { ulps, share, cancelling } => {
                if cancelling {
                    self.cancelling += 1;
                } else {
                    self.max_ulps = self.max_ulps.max(ulps);
                    self.sum_ulps += ulps;
                    self.plain += 1;
                }
                if share > self.max_share || self.worst.is_none() {
                    self.max_share = share;
                    self.worst = Some(witness(format!("{ulps:.4} ULP"), share));
                }
                if share > 1.0 {
                    self.broken += 1;
                    self.find(|| witness(judgement.to_string(), share));
                }
            }
            Judgement::Special => {}
            Judgement::WrongClass | Judgement::WrongZero => {
                self.broken += 1;
                self.find(|| witness(judgement.to_string(), f64::INFINITY));
            }
        }
    }

    /// Judges a computed batch row by row.
    pub fn judge(&mut self, op: Op, batch: &Batch<T>, out: &[T], second_tier_share: f64, rng: &mut Rng) {
        for r in 0..batch.rows {
            let one = single(op, batch, r);
            let width = if op.reduces() { 1 } else { batch.len };
            let out = &out[r * width..(r + 1) * width];
            let first = truths::<T, Wide>(op, &one);
            self.outputs += out.len() as u64;
            let judged: Vec<Judgement> = out.iter().zip(&first).map(|(&v, t)| judge(v, t)).collect();
            let near = judged.iter().any(near_claim);
            let again = batch.len <= SECOND_TIER_LEN && (near || rng.unit() < second_tier_share);
            if again {
                self.judge_again(op, &one, out, &judged);
                continue;
            }
            let mut worst = (0.0, 0);
            for (i, &j) in judged.iter().enumerate() {
                let show =
                    |finding, share| witness(op, &one, out, i, first[i].expect.about(), finding, share);
                self.settle(j, show);
                if let Judgement::Error { share, .. } = j
                    && share > worst.0
                {
                    worst = (share, i);
                }
            }
            if batch.len <= SECOND_TIER_LEN && worst.0 > self.least_suspect() {
                let (share, index) = worst;
                self.suspect(Suspect { share, index, batch: one, out: out.to_vec() });
            }
        }
    }

    /// The second tier's verdict replaces the first's.
    fn judge_again(&mut self, op: Op, one: &Batch<T>, out: &[T], first: &[Judgement]) {
        let second = truths::<T, Big>(op, one);
        for (i, (&v, truth)) in out.iter().zip(&second).enumerate() {
            let j = judge(v, truth);
            let show = |finding, share| witness(op, one, out, i, truth.expect.about(), finding, share);
            self.second_tier += 1;
            self.agree(first[i], j, show);
            self.settle(j, show);
        }
    }

    fn agree(&mut self, first: Judgement, second: Judgement, show: impl Fn(String, f64) -> Witness) {
        let agree = match (first, second) {
            (Judgement::Error { ulps: a, share: s, .. }, Judgement::Error { ulps: b, share: t, .. }) => {
                let close = |a: f64, b: f64| (a - b).abs() <= TIERS_AGREE * b.max(1.0);
                // At a cancellation the tiers differ in proportion to the claim, not to the ULP. Where
                // the measure is a power of two, they may see it in neighbouring binades: a factor 2.
                close(a, b) || close(s, t) || close(2.0 * a, b) || close(a, 2.0 * b)
            }
            (a, b) => a == b,
        };
        if !agree {
            self.disagreements += 1;
            self.find(|| show(format!("the tiers disagree: {first:?}, {second:?}"), f64::INFINITY));
        }
    }

    /// Looks at the worst results with the second tier.
    fn examine_suspects(&mut self, op: Op) {
        for suspect in std::mem::take(&mut self.suspects) {
            let first = truths::<T, Wide>(op, &suspect.batch);
            let second = truths::<T, Big>(op, &suspect.batch);
            let i = suspect.index;
            let v = suspect.out[i];
            let show = |finding, share| {
                witness(op, &suspect.batch, &suspect.out, i, second[i].expect.about(), finding, share)
            };
            self.second_tier += 1;
            self.agree(judge(v, &first[i]), judge(v, &second[i]), show);
        }
    }
}

fn near_claim(j: &Judgement) -> bool {
    match *j {
        Judgement::Error { ulps, share, .. } => {
            // The claim in ULP is ulps/share.
            share > 0.5 && ulps * (1.0 - 1.0 / share) > -NEAR_CLAIM
        }
        Judgement::Special => false,
        Judgement::WrongClass | Judgement::WrongZero => true,
    }
}

/// One row of a batch as a batch.
fn single<T: Number>(op: Op, batch: &Batch<T>, r: usize) -> Batch<T> {
    let (n, m) = (batch.len, op.second_len(batch.len));
    Batch {
        family: batch.family,
        rows: 1,
        len: n,
        x: batch.x[r * n..(r + 1) * n].to_vec(),
        second: batch.second[r * m..(r + 1) * m].to_vec(),
        norm: batch.norm.get(r).copied().into_iter().collect(),
        keep: batch.keep.as_ref().map(|k| k[r * n..(r + 1) * n].to_vec()),
        params: batch.params,
        origin: batch.origin.map(|o| Origin { row: o.row + r, ..o }),
    }
}

/// The truth about a batch of one row.
pub fn truths<T: Number, R: Real>(op: Op, one: &Batch<T>) -> Vec<crate::ulp::Truth<R>> {
    let widen = |v: &[T]| -> Vec<f64> { v.iter().map(|v| v.exact_f64()).collect() };
    let (x, second) = (widen(&one.x), widen(&one.second));
    let norm = one.norm.first().map_or(0.0, |v| v.exact_f64());
    evaluate(op, Row { x: &x, second: &second, norm, keep: one.keep.as_deref() }, &one.params)
}

/// The parameters an operation takes, as text.
pub fn describe(op: Op, p: &Params) -> String {
    use crate::oracle::Family;
    match op.family() {
        Family::Softmax if p.temperature == 1.0 => String::new(),
        Family::Softmax => format!("temperature {:e}", p.temperature),
        Family::Norm => String::new(),
        Family::Normalize => format!("{:?}", p.guard),
        Family::Sigmoid => format!("range {:e} to {:e}", p.lo, p.hi),
    }
}

fn witness<T: Number>(
    op: Op,
    one: &Batch<T>,
    out: &[T],
    index: usize,
    expected: String,
    finding: String,
    share: f64,
) -> Witness {
    // A long row is shown by its beginning; the seed makes it again.
    let bits = |v: &[T]| v.iter().take(SHOWN.max(index + 1).min(256)).map(|v| v.bits()).collect();
    Witness {
        replay: one.origin.map_or_else(String::new, |o| o.name(T::NAME, index)),
        family: one.family.into(),
        len: one.len,
        index,
        x: bits(&one.x),
        second: bits(&one.second),
        norm: one.norm.first().map(|v| v.bits()),
        keep: one.keep.clone().unwrap_or_default().into_iter().take(256).collect(),
        params: describe(op, &one.params),
        got: out[index].bits(),
        expected,
        finding,
        share,
    }
}

/// Whether two slices have the same bits.
pub fn same_bits<T: Number>(a: &[T], b: &[T]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.bits() == b.bits())
}

/// `rows × len` to `len × rows`.
fn transpose<T: Copy>(v: &[T], rows: usize, len: usize) -> Vec<T> {
    (0..len).flat_map(|i| (0..rows).map(move |r| v[r * len + i])).collect()
}

fn run<T: Number>(op: Op, backend: Backend, batch: &Batch<T>, layout: Layout) -> Vec<T> {
    let outputs = if op.reduces() { layout.row_count() } else { layout.elements() };
    // Not a number that could be right: an output that is not written shows.
    let mut out = vec![T::from_pattern(0xdead_beef_dead_beef); outputs];
    let args = args(batch, layout);
    match connect::call(op, backend, &args, &mut out) {
        Some(Ok(())) => out,
        Some(Err(error)) => unreachable!("{} refuses a valid call: {error}", op.name()),
        None => unreachable!("{} was listed as present", op.name()),
    }
}

fn args<T>(batch: &Batch<T>, layout: Layout) -> Args<'_, T> {
    Args {
        x: &batch.x,
        second: &batch.second,
        norm: &batch.norm,
        keep: batch.keep.as_deref(),
        lengths: None,
        layout,
        params: &batch.params,
    }
}

/// The forms whose bits are compared with those of the judged call.
fn compare_forms<T: Number>(op: Op, batch: &Batch<T>, backends: &[Backend], out: &[T], tally: &mut Tally<T>) {
    let (rows, len) = (batch.rows, batch.len);
    let Ok(layout) = Layout::rows(rows, len) else { return };
    let small = layout.elements() <= ALL_FORMS;
    let mut compare = |what: String, backend: Backend, got: &[T]| {
        tally.compared += 1;
        if !same_bits(got, out) {
            tally.differing += 1;
            let at = got.iter().zip(out).position(|(a, b)| a.bits() != b.bits()).unwrap_or(0);
            let width = if op.reduces() { 1 } else { len.max(1) };
            let one = single(op, batch, at / width);
            let part = &got[at / width * width..(at / width + 1) * width];
            let expected = format!("bits {:#x}", out[at].bits());
            let finding = format!("{what} on {backend} gives other bits");
            tally.find(|| witness(op, &one, part, at % width, expected, finding, f64::INFINITY));
        }
    };
    for &backend in &backends[1..] {
        compare("out of place".into(), backend, &run(op, backend, batch, layout));
    }
    if !small {
        return;
    }
    for &backend in backends {
        if !op.reduces() {
            let mut data = batch.x.clone();
            if let Some(Ok(())) = connect::call_in_place(op, backend, &args(batch, layout), &mut data) {
                compare("in place".into(), backend, &data);
            }
        }
        let Ok(strided) = Layout::new(1, len, rows) else { continue };
        let turned = Batch {
            x: transpose(&batch.x, rows, len),
            second: transpose(&batch.second, rows, op.second_len(len)),
            norm: batch.norm.clone(),
            keep: batch.keep.as_ref().map(|k| transpose(k, rows, len)),
            ..*batch
        };
        let got = run(op, backend, &turned, strided);
        let got = if op.reduces() { got } else { transpose(&got, len, rows) };
        compare("strided".into(), backend, &got);
    }
    // Alone: three rows of the batch, each on a backend of its turn.
    let width = if op.reduces() { 1 } else { len };
    let mut alone = out.to_vec();
    for (turn, r) in [0, rows / 2, rows.saturating_sub(1)].into_iter().enumerate() {
        let (Ok(layout), true) = (Layout::rows(1, len), rows > 0) else { continue };
        let got = run(op, backends[turn % backends.len()], &single(op, batch, r), layout);
        alone[r * width..(r + 1) * width].copy_from_slice(&got);
    }
    compare("a row alone".into(), backends[0], &alone);
}

/// Checks one operation and type; `progress` is told of every batch.
pub fn check<T: Number>(source: Source, backends: &[Backend], progress: &(dyn Fn() + Sync)) -> Tally<T> {
    let next = AtomicUsize::new(0);
    let op = source.op;
    let second_tier_share = match source.level {
        Level::Quick => 300.0,
        Level::Default => 3000.0,
        Level::Full => 30_000.0,
    } / source.level.outputs() as f64;
    let worker = || {
        let mut tally = Tally::new(source.level);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= source.count() {
                return tally;
            }
            let batch = source.batch::<T>(index);
            if let Ok(layout) = Layout::rows(batch.rows, batch.len) {
                let out = run(op, backends[0], &batch, layout);
                let mut rng = Rng::new(source.seed ^ index as u64);
                tally.judge(op, &batch, &out, second_tier_share, &mut rng);
                compare_forms(op, &batch, backends, &out, &mut tally);
            }
            progress();
        }
    };
    let mut total = Tally::new(source.level);
    on_all(worker).into_iter().for_each(|tally| total.merge(tally));
    total.examine_suspects(op);
    total
}

/// One row made again, in full: what every backend gives for the output, and what both tiers say.
///
/// # Errors
/// If the source has no such row or output.
pub fn replay<T: Number>(origin: Origin, index: usize) -> Result<(String, bool), String> {
    let Source { op, .. } = origin.source;
    if origin.batch >= origin.source.count() {
        return Err(format!("there are {} batches", origin.source.count()));
    }
    let batch = origin.source.batch::<T>(origin.batch);
    let width = if op.reduces() { 1 } else { batch.len };
    if origin.row >= batch.rows || index >= width {
        return Err(format!("batch {} has {} rows of {width} outputs", origin.batch, batch.rows));
    }
    let one = single(op, &batch, origin.row);
    let layout = Layout::rows(1, one.len).map_err(|e| e.to_string())?;
    let bits = |v: &[T]| v.iter().map(|v| format!("{:#x}", v.bits())).collect::<Vec<_>>().join(" ");
    let mut text =
        format!("{} {}, {}, output {index} of a row of {}\n", op.name(), T::NAME, one.family, one.len);
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text += &format!("{name:<12} {value}\n");
        }
    };
    line("parameters", describe(op, &one.params));
    line("x", bits(&one.x));
    line("second", bits(&one.second));
    line("norm", bits(&one.norm));
    let keep = one.keep.iter().flatten().map(|&k| if k { '1' } else { '0' }).collect();
    line("kept", keep);
    let first = truths::<T, Wide>(op, &one);
    line("double-double", first[index].expect.about());
    let second = (one.len <= SECOND_TIER_LEN).then(|| truths::<T, Big>(op, &one));
    if let Some(second) = &second {
        line("320 bits", second[index].expect.about());
    }
    let mut holds = true;
    for backend in Backend::available() {
        let v = run(op, backend, &one, layout)[index];
        let judgement = second.as_ref().map_or_else(|| judge(v, &first[index]), |s| judge(v, &s[index]));
        holds &= judgement.holds();
        line(backend.name(), format!("{v:e} {:#x}: {judgement}", v.bits()));
    }
    Ok((text, holds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(x: Vec<f32>) -> Batch<f32> {
        let (params, len) = (Params::default(), x.len());
        Batch {
            family: "test",
            rows: 1,
            len,
            x,
            second: vec![],
            norm: vec![],
            keep: None,
            params,
            origin: None,
        }
    }

    fn judged(out: &[f32], second_tier: f64) -> Tally<f32> {
        let mut tally = Tally::new(Level::Quick);
        tally.judge(Op::Softmax, &batch(vec![0.0, 0.0, 0.0, 1.0]), out, second_tier, &mut Rng::new(1));
        tally.examine_suspects(Op::Softmax);
        tally
    }

    /// softmax(0, 0, 0, 1) to 9 digits, which determine an f32.
    const RIGHT: [f32; 4] = [0.174_877_71, 0.174_877_71, 0.174_877_71, 0.475_366_9];

    #[test]
    fn a_right_row_holds_in_both_tiers() {
        for second_tier in [0.0, 1.0] {
            let tally = judged(&RIGHT, second_tier);
            assert!(tally.holds() && tally.max_ulps <= 0.51, "{:?}", tally.findings);
            assert!(tally.second_tier >= 1);
            assert_eq!(tally.outputs, 4);
        }
    }

    #[test]
    fn planted_errors_break_the_claim() {
        let mut late = RIGHT;
        late[3] = f32::from_bits(late[3].to_bits() + 2);
        let tally = judged(&late, 0.0);
        assert_eq!((tally.broken, tally.findings[0].index), (1, 3));
        assert!(tally.second_tier >= 4, "a broken claim is confirmed by the second tier");
        for wrong in [f32::NAN, f32::INFINITY, -0.0] {
            let mut out = RIGHT;
            out[1] = wrong;
            let tally = judged(&out, 0.0);
            assert!(!tally.holds() && tally.broken == 1);
        }
    }

    #[test]
    fn the_worst_input_is_made_again_from_its_name() {
        let source = Source { op: Op::Softmax, seed: 5, level: Level::Quick };
        let batch = source.batch::<f32>(20);
        let layout = Layout::rows(batch.rows, batch.len).unwrap();
        let out = run(source.op, Backend::Scalar, &batch, layout);
        let mut tally = Tally::new(source.level);
        tally.judge(source.op, &batch, &out, 0.0, &mut Rng::new(1));
        let worst = tally.worst.unwrap();
        let (type_name, origin, index) = Origin::from_name(&worst.replay).unwrap();
        assert_eq!((type_name, index, origin.batch), ("f32", worst.index, 20));
        let again = single(source.op, &origin.source.batch::<f32>(origin.batch), origin.row);
        assert!(again.x.iter().map(|v| v.bits()).zip(&worst.x).all(|(a, &b)| a == b) && !worst.x.is_empty());
        let (text, holds) = replay::<f32>(origin, index).unwrap();
        assert!(holds && text.contains(&format!("{:#x}: ", worst.got)), "{text}");
        assert!(text.contains(" ULP, ") && !text.contains("Error"), "{text}");
        assert!(replay::<f32>(Origin { row: batch.rows, ..origin }, 0).is_err());
        assert!(replay::<f32>(Origin { batch: source.count(), ..origin }, 0).is_err());
        assert!(replay::<f32>(origin, batch.len).is_err());
    }

    #[test]
    fn merging_keeps_the_worst() {
        let mut late = RIGHT;
        late[0] = f32::from_bits(late[0].to_bits() + 3);
        let mut total = judged(&RIGHT, 0.0);
        total.merge(judged(&late, 0.0));
        assert_eq!((total.outputs, total.broken), (8, 1));
        assert!(total.max_share > 1.0 && total.worst.is_some_and(|w| w.index == 0));
    }

    #[test]
    fn tiers_that_disagree_are_a_fault() {
        let error = |ulps: f64| Judgement::Error { ulps, share: ulps / 4.0, cancelling: false };
        for (first, second, agree) in [
            (error(0.5), error(0.5), true),
            (error(0.5), error(0.5 + 1e-9), true),
            (error(0.5), error(0.5001), false),
            (error(0.5), Judgement::Special, false),
            (Judgement::WrongZero, Judgement::WrongClass, false),
        ] {
            let mut tally = Tally::<f32>::new(Level::Quick);
            tally.agree(first, second, |finding, share| Witness { finding, share, ..Witness::default() });
            assert_eq!(
                (tally.holds(), tally.findings.len()),
                (agree, usize::from(!agree)),
                "{first:?} {second:?}"
            );
        }
    }

    #[test]
    fn bits_are_compared_as_bits() {
        assert!(same_bits(&[f32::NAN], &[f32::NAN]));
        assert!(!same_bits(&[0.0f64], &[-0.0]));
        assert_eq!(transpose(&[1, 2, 3, 4, 5, 6], 2, 3), [1, 4, 2, 5, 3, 6]);
    }
}
