//! What is tried: every batch is determined by the seed, the operation, the type and its index.
//!
//! The first batches are fixed families (every tail length, edge values stepped by single ULPs,
//! spaced values, ramps, equal rows, real data, long rows); random rows of many scales and lengths
//! follow until the number of outputs asked for is reached.

use crate::npy;
use crate::oracle::{Family, Guard, Op, Params};
use crate::ulp::Number;

/// xorshift64* with a SplitMix64 start.
pub struct Rng(u64);

impl Rng {
    /// A generator of its own for each seed.
    pub fn new(seed: u64) -> Self {
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((z ^ (z >> 31)) | 1)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Uniform below n.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Uniform in (0, 1).
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) * 2f64.powi(-53)
    }

    /// N(0, 1), by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Rows of one length that go through one call.
#[derive(Clone, Debug)]
pub struct Batch<T> {
    /// Which family of inputs it is.
    pub family: &'static str,
    /// The number of rows.
    pub rows: usize,
    /// Their length.
    pub len: usize,
    /// The first argument.
    pub x: Vec<T>,
    /// Upstream or tangent, empty for a forward operation.
    pub second: Vec<T>,
    /// The norms a normalisation's gradients take.
    pub norm: Vec<T>,
    /// Which elements take part.
    pub keep: Option<Vec<bool>>,
    /// The parameters, of the element type's precision.
    pub params: Params,
    /// Where the first row comes from, if from a source.
    pub origin: Option<Origin>,
}

/// A row of a source: what it takes to make it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// All batches.
    pub source: Source,
    /// Which of them.
    pub batch: usize,
    /// Which row.
    pub row: usize,
}

impl Origin {
    /// The name that `lossprep-verify replay` takes, for one output of the row.
    pub fn name(&self, type_name: &str, index: usize) -> String {
        let Source { op, seed, level } = self.source;
        format!("{}:{type_name}:{}:{seed}:{}:{}:{index}", op.name(), level.name(), self.batch, self.row)
    }

    /// The type's name, the origin and the output that such a name means, with the report's brackets or without.
    pub fn from_name(name: &str) -> Option<(&str, Self, usize)> {
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let mut parts = name.split(':');
        let op = parts.next().and_then(|name| Op::ALL.into_iter().find(|op| op.name() == name))?;
        let type_name = parts.next()?;
        let level = parts.next().and_then(Level::from_name)?;
        let seed = parts.next()?.parse().ok()?;
        let mut number = || parts.next().and_then(|n| n.parse::<usize>().ok());
        let (batch, row, index) = (number()?, number()?, number()?);
        let source = Source { op, seed, level };
        parts.next().is_none().then_some((type_name, Self { source, batch, row }, index))
    }
}

/// How much is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Under half a minute.
    Quick,
    /// Under two minutes.
    Default,
    /// At least 10⁷ outputs an operation and type.
    Full,
}

impl Level {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Default => "default",
            Self::Full => "full",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Quick, Self::Default, Self::Full].into_iter().find(|level| level.name() == name)
    }

    /// The outputs to reach for each operation and type.
    pub fn outputs(self) -> usize {
        match self {
            Self::Quick => 40_000,
            Self::Default => 400_000,
            Self::Full => 10_000_000,
        }
    }
}

/// All batches of one operation and type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// Of what.
    pub op: Op,
    /// The seed of the run.
    pub seed: u64,
    /// How much.
    pub level: Level,
}

/// The largest tail length of the family that has them all.
const TAILS: usize = 67;
/// Elements of a random batch, and the least number of its outputs that is counted on where rows have one each.
const RANDOM: usize = 4096;
const REDUCED: usize = 170;
/// Fixed batches before the random ones.
const FIXED: usize = TAILS + 1 + 10;
const LONG: [usize; 3] = [1 << 16, 1 << 23, 1 << 24];

impl Source {
    /// How many batches there are.
    pub fn count(&self) -> usize {
        FIXED + self.level.outputs().div_ceil(if self.op.reduces() { REDUCED } else { RANDOM }).min(40_000)
    }

    /// One of them.
    pub fn batch<T: Number>(&self, index: usize) -> Batch<T> {
        let origin = Origin { source: *self, batch: index, row: 0 };
        Batch { origin: Some(origin), ..self.make(index) }
    }

    fn make<T: Number>(&self, index: usize) -> Batch<T> {
        let type_bits = T::FORMAT.precision as u64;
        let mut rng = Rng::new(self.seed ^ (self.op as u64) << 40 ^ type_bits << 48 ^ (index as u64) << 8);
        let rng = &mut rng;
        if index <= TAILS {
            let rows = 3;
            let raw = (0..rows * index).map(|_| rng.normal() * 5.0).collect();
            return self.finish("every tail", rows, index, raw, rng);
        }
        let edges = edges::<T>();
        match index - TAILS - 1 {
            0 => self.finish("edges alone", edges.len(), 1, edges, rng),
            1 => {
                let mut raw: Vec<f64> = edges.iter().flat_map(|&e| [e, 0.0]).collect();
                // Next to multiples of ln2/8 exponentials have more digits than a sum keeps: of two equal ones the other
                // may look the smaller.
                raw.extend((-128..128).flat_map(|k| [f64::from(k) * std::f64::consts::LN_2 / 8.0; 2]));
                self.finish("edges beside 0, equal pairs", raw.len() / 2, 2, raw, rng)
            }
            2 => {
                let raw = edges.iter().flat_map(|&e| [e, rng.pick(&edges), rng.normal()]).collect();
                self.finish("edges in pairs", edges.len(), 3, raw, rng)
            }
            3 => {
                let raw: Vec<f64> = spaced::<T>(2048).collect();
                self.finish("spaced", raw.len() / 4, 4, raw, rng)
            }
            4 => {
                let raw = (0..24 * 501).map(|i| ramp(i / 501, i % 501)).collect();
                self.finish("ramps", 24, 501, raw, rng)
            }
            5 => {
                let values = [0.0, 1.0, -3.25, 1e4, 88.0, 0.1, -700.0, 1e30];
                let raw = values.iter().flat_map(|&v| [v; 777]).collect();
                self.finish("all equal", values.len(), 777, raw, rng)
            }
            6 => self.real("digits' logits", npy::embedded::LOGITS, 10, rng),
            7 => self.real("digits' features", npy::embedded::FEATURES, 64, rng),
            8 => self.real("diabetes' output", npy::embedded::DIABETES, 442, rng),
            9 => {
                // Long rows: one length a level, equal values only at the full one's second call.
                let len = match self.level {
                    Level::Quick => LONG[0] / 8,
                    Level::Default => LONG[0],
                    Level::Full => LONG[1],
                };
                let equal = self.level == Level::Full;
                let raw = (0..len).map(|_| if equal { 1.5 } else { rng.normal() * 2.0 }).collect();
                self.finish("long", 1, len, raw, rng)
            }
            random if self.level == Level::Full && random == 10 => {
                let raw = (0..LONG[2]).map(|_| rng.normal()).collect();
                self.finish("long", 1, LONG[2], raw, rng)
            }
            _ => self.random(rng),
        }
    }

    fn real<T: Number>(&self, name: &'static str, file: &[u8], len: usize, rng: &mut Rng) -> Batch<T> {
        let Ok(array) = npy::parse(file) else { unreachable!("embedded files are tested to parse") };
        let mut raw = array.to_f64();
        if self.level == Level::Quick {
            raw.truncate(raw.len() / len / 8 * len + len);
        }
        self.finish(name, raw.len() / len, len, raw, rng)
    }

    fn random<T: Number>(&self, rng: &mut Rng) -> Batch<T> {
        let len = match rng.below(4) {
            0 => 1 + rng.below(16),
            1 => 1 + rng.below(200),
            2 => 64,
            _ => 1 + rng.below(2000),
        };
        let rows = (RANDOM / len).max(1);
        let single = T::FORMAT.precision == 24;
        let family = rng.below(10);
        let mut raw = Vec::with_capacity(rows * len);
        for _ in 0..rows {
            let offset = rng.pick(&[1e4, -1e4, 300.0, -2000.0, 88.5]);
            let scale = 10f64.powf((rng.unit() * 2.0 - 1.0) * if single { 36.0 } else { 300.0 });
            let (dominant, lead) = (rng.below(len), rng.unit() * rng.pick(&[20.0, 120.0]));
            raw.extend((0..len).map(|i| match family {
                0 | 1 => rng.normal(),
                2 => rng.normal() * 10.0,
                3 => rng.normal() * 50.0,
                4 => offset + rng.normal(),
                5 if i == dominant => lead,
                5 => rng.normal(),
                6 => rng.normal() * scale,
                7 => any::<T>(rng),
                8 => rng.normal() * 2f64.powi(rng.below(24) as i32 - 20),
                _ => rng.unit() * -120.0,
            }));
        }
        let names = [
            "N(0,1)",
            "N(0,1)",
            "N(0,10²)",
            "N(0,50²)",
            "offsets",
            "dominant",
            "scales",
            "any bits",
            "mixed",
            "uniform",
        ];
        self.finish(names[family], rows, len, raw, rng)
    }

    /// The rows as the operation takes them: its saved output, its range, its second argument.
    fn finish<T: Number>(
        &self,
        family: &'static str,
        rows: usize,
        len: usize,
        mut raw: Vec<f64>,
        rng: &mut Rng,
    ) -> Batch<T> {
        let op = self.op;
        let params = params::<T>(op, family, rng);
        let max = T::MAX.exact_f64();
        raw.iter_mut().for_each(|v| *v = v.clamp(-max, max));
        let (mut rows, mut len) = (rows, len);
        if op.family() == Family::Sigmoid {
            (rows, len) = (raw.len(), 1);
        }
        if op.forward() == Op::ScaledSigmoidInverse {
            raw.iter_mut().for_each(|v| *v = inside(*v, &params));
        }
        let mut x: Vec<T> = raw.into_iter().map(T::round_from).collect();
        let saved = op.is_gradient() && matches!(op.forward(), Op::Softmax | Op::LogSoftmax);
        if saved && len > 0 {
            for row in x.chunks_mut(len) {
                save(op, row);
            }
        }
        if op.forward() == Op::ScaledSigmoidInverse {
            x.iter_mut().for_each(|v| *v = v.max(T::round_from(params.lo)).min(T::round_from(params.hi)));
        }
        let norm = if op.takes_norm() { x.chunks(len.max(1)).map(norm).collect() } else { Vec::new() };
        let norm = if len == 0 && op.takes_norm() { vec![T::zero(); rows] } else { norm };
        let mut second = Vec::with_capacity(rows * op.second_len(len));
        for _ in 0..rows {
            // Large enough to overflow a product, small enough that the truth is finite.
            let scale = rng.pick(&[1.0, 1.0, 1e-3, 1e30, 1e-30, max / 64.0]);
            let kind = rng.below(6);
            let hot = rng.below(len.max(1));
            second.extend((0..op.second_len(len)).map(|i| {
                T::round_from(match kind {
                    0 => f64::from(u8::from(i == hot)),
                    1 => scale,
                    2 if i % 2 == 1 => -scale,
                    2 => scale,
                    _ => (rng.normal() * scale).clamp(-max, max),
                })
            }));
        }
        let maskable = op.family() == Family::Softmax && rng.below(6) == 0 && len > 1;
        let keep = maskable.then(|| (0..rows * len).map(|_| rng.below(4) != 0).collect());
        Batch { family, rows, len, x, second, norm, keep, params, origin: None }
    }
}

/// The parameters of a batch: mostly plain, some of each kind.
fn params<T: Number>(op: Op, family: &str, rng: &mut Rng) -> Params {
    let round = |v: f64| T::round_from(v).exact_f64();
    let mut p = Params { guard: Guard::Max(round(1e-12)), ..Params::default() };
    match op.family() {
        Family::Softmax if rng.below(6) == 0 => {
            p.temperature = round(rng.pick(&[0.5, 2.0, 0.1, 3.7, 1e-2, 100.0]))
        }
        Family::Normalize => {
            let eps = round(rng.pick(&[1e-12, 1e-5, 1e-30, 1.0, 1e10]));
            p.guard = match rng.below(4) {
                0 => Guard::Add(eps),
                1 => Guard::AddSquared(eps),
                _ => Guard::Max(eps),
            };
        }
        Family::Sigmoid => {
            let inverse = op.forward() == Op::ScaledSigmoidInverse;
            let large = T::MAX.exact_f64() * 0.9;
            let ranges = [
                (0.0, 1.0),
                (25.0, 346.0),
                (-1.0, 1.0),
                (-1.0, 3.0),
                (-0.3, 0.1),
                (1.0, 1.5),
                (-7.0, -2.0),
                (0.0, 1e-30),
                (0.0, 1e30),
                (-large, large),
                (-1e-20, 1e20),
                (0.1, 0.1),
            ];
            // The last range is a single point, which has no inverse.
            let known =
                if family == "diabetes' output" { 1 } else { rng.below(ranges.len() - usize::from(inverse)) };
            let (lo, hi) = ranges[known];
            (p.lo, p.hi) = (round(lo), round(hi));
        }
        _ => {}
    }
    p
}

/// A point of the range: spread over it, or near an end or the middle.
fn inside(v: f64, p: &Params) -> f64 {
    let share = 1.0 / (1.0 + (-v).exp());
    let point = match v.to_bits() % 4 {
        0 => p.lo * 0.5 + p.hi * 0.5 + (p.hi * 0.5 - p.lo * 0.5) * v.clamp(-1e6, 1e6) * 1e-9,
        1 => p.lo + v.abs().min(1.0) * 1e-12 * (p.hi - p.lo).abs(),
        _ => p.lo * (1.0 - share) + p.hi * share,
    };
    if point.is_nan() { p.lo } else { point.clamp(p.lo, p.hi) }
}

/// Replaces a row by its softmax or log-softmax, rounded: what a gradient is handed.
fn save<T: Number>(op: Op, row: &mut [T]) {
    let max = row.iter().fold(f64::NEG_INFINITY, |m, v| m.max(v.exact_f64()));
    let sum: f64 = row.iter().map(|v| (v.exact_f64() - max).exp()).sum();
    for v in row.iter_mut() {
        let z = v.exact_f64() - max;
        *v = T::round_from(if op.forward() == Op::Softmax { z.exp() / sum } else { z - sum.ln() });
        if !v.is_finite() {
            *v = T::round_from(-T::MAX.exact_f64());
        }
    }
}

fn norm<T: Number>(row: &[T]) -> T {
    let max = row.iter().fold(0.0, |m: f64, v| m.max(v.exact_f64().abs()));
    if max == 0.0 {
        return T::zero();
    }
    T::round_from(max * row.iter().map(|v| (v.exact_f64() / max).powi(2)).sum::<f64>().sqrt())
}

fn ramp(kind: usize, i: usize) -> f64 {
    let step = [1.0, 0.1, 1e-3, 0.17, 1e-7, 5.0][kind % 6];
    let direction = if kind.is_multiple_of(2) { 1.0 } else { -1.0 };
    direction * step * (i as f64 - [0.0, 250.0, 500.0, 1e4][kind / 6])
}

/// Any finite bit pattern.
fn any<T: Number>(rng: &mut Rng) -> f64 {
    loop {
        let v = T::from_pattern(rng.bits()).exact_f64();
        if v.is_finite() {
            return v;
        }
    }
}

/// Values around which something changes, each with its neighbours a few single ULPs away.
pub fn edges<T: Number>() -> Vec<f64> {
    let single = T::FORMAT.precision == 24;
    let ln_max = T::MAX.exact_f64().ln();
    let ln_min = T::min_positive_value().exact_f64().ln();
    let ln_tiny = ln_min - (T::FORMAT.precision - 1) as f64 * std::f64::consts::LN_2;
    let centres = [
        0.0,
        T::min_positive_value().exact_f64(),
        T::epsilon().exact_f64(),
        0.5,
        std::f64::consts::LN_2 / 16.0,
        std::f64::consts::LN_2,
        1.0,
        2.0,
        if single { 17.33 } else { 37.43 },
        -ln_min,
        ln_max,
        -ln_tiny,
        150.0,
        256.0,
        2048.0,
        T::MAX.exact_f64().sqrt(),
        T::min_positive_value().exact_f64().sqrt(),
        T::MAX.exact_f64() / 2.0,
        T::MAX.exact_f64(),
    ];
    let mut out = Vec::new();
    for centre in centres {
        let bits = T::round_from(centre).bits();
        for step in -3i64..=3 {
            let Some(stepped) = bits.checked_add_signed(step) else { continue };
            let v = T::from_pattern(stepped).exact_f64();
            if v.is_finite() && v >= 0.0 {
                out.extend([v, -v]);
            }
        }
    }
    out
}

/// About `n` values of each sign, evenly spaced in their bit patterns.
fn spaced<T: Number>(n: u64) -> impl Iterator<Item = f64> {
    let top = T::MAX.bits();
    (0..n).map(move |i| T::from_pattern(top / n * i).exact_f64()).flat_map(|v| [v, -v])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_repeat_and_fit_their_operation() {
        for op in Op::ALL {
            let source = Source { op, seed: 3, level: Level::Quick };
            for index in (0..FIXED + 30).step_by(3) {
                let (a, b) = (source.batch::<f32>(index), source.batch::<f32>(index));
                assert!(a.x.iter().zip(&b.x).all(|(x, y)| x.to_bits() == y.to_bits()));
                assert_eq!(a.x.len(), a.rows * a.len);
                assert_eq!(a.second.len(), a.rows * op.second_len(a.len));
                assert_eq!(a.norm.len(), if op.takes_norm() { a.rows } else { 0 });
                assert!(a.x.iter().chain(&a.second).all(|v| v.is_finite()), "{} {}", op.name(), a.family);
            }
        }
    }

    #[test]
    fn a_name_finds_its_row_again() {
        let source = Source { op: Op::L2NormalizeVjp, seed: 77, level: Level::Default };
        let origin = Origin { source, batch: 81, row: 3 };
        let name = origin.name("f64", 12);
        assert_eq!(name, "l2_normalize_vjp:f64:default:77:81:3:12");
        assert_eq!(Origin::from_name(&name), Some(("f64", origin, 12)));
        assert_eq!(Origin::from_name(&format!("[{name}]")), Some(("f64", origin, 12)));
        for wrong in [
            "",
            "softmax",
            "nope:f32:quick:1:1:1:1",
            "softmax:f32:slow:1:1:1:1",
            "softmax:f32:quick:1:1:1:1:1",
            "[softmax:f32:quick:1:1:1:1",
        ] {
            assert_eq!(Origin::from_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn edges_step_by_single_ulps() {
        let edges = edges::<f32>();
        for v in [1.0, f64::from(f32::from_bits(1f32.to_bits() + 1)), f64::from(f32::MAX), -0.0] {
            assert!(edges.iter().any(|e| e.to_bits() == v.to_bits()), "{v:e}");
        }
    }
}
