//! The function under test: evaluated at the point and around it, audited for purity and determinism.

use alloc::{format, string::String, vec, vec::Vec};
use num_traits::Float;

use super::ladder::Ladder;
use super::number::{Number, Random, Sum, exponent, power};

/// A call did something that no difference quotient can make sense of.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    Impure(String),
    NonDeterministic(String),
    NonFinite(String),
    Nonlinear(String),
}

/// What outputs hold before a call: two patterns, so that an element left alone shows.
const PATTERNS: [f64; 2] = [7.25, -3584.0];

/// How many fourth differences the rounding error of the function is taken from.
const SAMPLES: usize = 4;

/// With how many steps, for small functions and for large ones: with one step in ten, rounding errors happen to
/// repeat; among many outputs that does not matter.
const ROUNDS: [usize; 2] = [4, 2];

/// More outputs than this are many.
pub(super) const MANY: usize = 4096;

/// How many points a search for a grid looks at.
const TREADS: usize = 20;

/// How many such searches, for small functions and for large ones: steps that are nearly a multiple of the grid hide it.
const WALKS: [usize; 2] = [6, 2];

/// The coefficients of a fourth difference.
const FOURTH: [f64; 5] = [1.0, -4.0, 6.0, -4.0, 1.0];

/// The rounding error of a value whose fourth differences these are: their coefficients' squares add up to 70.
fn rounding(fourth: &[f64]) -> f64 {
    let one = |round: &[f64]| Float::sqrt(round.iter().map(|d| d * d).sum::<f64>() / (70 * SAMPLES) as f64);
    let worst = fourth.chunks(SAMPLES).map(one).fold(0.0, f64::max);
    // Where the function is not finite nearby nothing was measured.
    if worst.is_finite() { worst } else { 0.0 }
}

/// Fourth differences that are all alike come from the function's own curvature, not from rounding.
fn curved(fourth: &[f64]) -> bool {
    let (low, high) =
        fourth.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &d| (l.min(d), h.max(d)));
    low * high > 0.0 && low.abs().max(high.abs()) < 2.0 * low.abs().min(high.abs())
}

/// Runs `call` with both patterns and once more, and names what differs.
pub(super) fn audit<N: Number>(
    what: &str,
    mut call: impl FnMut(f64) -> Result<Vec<N>, Fault>,
) -> Result<Vec<N>, Fault> {
    let first = call(PATTERNS[0])?;
    let second = call(PATTERNS[1])?;
    let differs = |a: &[N], b: &[N]| a.iter().zip(b).position(|(a, b)| a.bits() != b.bits());
    let third = call(PATTERNS[1])?;
    if let Some(i) = differs(&second, &third) {
        return Err(Fault::NonDeterministic(format!(
            "{what}: element {i} is {:?} in one run and {:?} in the next",
            second[i], third[i]
        )));
    }
    if let Some(i) = differs(&first, &second) {
        let kept = first[i] == N::narrow(PATTERNS[0]) && second[i] == N::narrow(PATTERNS[1]);
        return Err(Fault::Impure(if kept {
            format!("{what}: element {i} is never written")
        } else {
            format!("{what}: element {i} depends on what the output held before the call")
        }));
    }
    Ok(second)
}

/// Where the bits of `a` and `b` first differ.
pub(super) fn changed<N: Number>(a: &[Vec<N>], b: &[Vec<N>]) -> Option<String> {
    if a.len() != b.len() {
        return Some(String::from("the number of slices"));
    }
    a.iter().zip(b).enumerate().find_map(|(k, (a, b))| {
        if a.len() != b.len() {
            return Some(format!("the length of slice {k}"));
        }
        a.iter().zip(b).position(|(a, b)| a.bits() != b.bits()).map(|i| format!("element {i} of slice {k}"))
    })
}

/// The way from the point along which a derivative is taken.
#[derive(Clone)]
pub(super) enum Direction {
    Coordinate(usize),
    Dense(Vec<f64>),
}

/// What is read off the outputs: one of them, or a weighted sum.
#[derive(Clone, Copy)]
pub(super) enum Functional<'v> {
    Entry(usize),
    /// The weights, and the rounding error measured of the sum at the point.
    Weighted(&'v [f64], f64),
}

/// The differences measured at one step.
pub(super) struct Pair {
    /// f(+) − f(−), f(+) − 2f(0) + f(−) and the rounding of one value, for every output.
    central: Vec<f64>,
    second: Vec<f64>,
    noise: Vec<f64>,
    /// Where the points reached are not x ± h·u: the coordinate, and what the realised slope is off by.
    pub(super) residual: Vec<(usize, f64)>,
    width: f64,
}

impl Pair {
    fn new(outputs: usize) -> Self {
        let zeros = || vec![0.0; outputs];
        Self { central: zeros(), second: zeros(), noise: zeros(), residual: Vec::new(), width: 0.0 }
    }

    /// Adds this step to a ladder; `shift` is the part of the difference due to the residual.
    pub(super) fn record(&self, h: f64, functional: Functional<'_>, shift: f64, ladder: &mut Ladder) {
        let (d, s, noise) = match functional {
            Functional::Entry(i) => (self.central[i], self.second[i], self.noise[i]),
            Functional::Weighted(v, floor) => {
                // Four sums side by side, so that none waits for the one before it.
                let (mut d, mut s) = ([Sum::default(); 4], [Sum::default(); 4]);
                let mut square = [0.0; 4];
                let blocks = v
                    .chunks(4)
                    .zip(self.central.chunks(4))
                    .zip(self.second.chunks(4))
                    .zip(self.noise.chunks(4));
                for (((v, central), second), noise) in blocks {
                    for l in 0..v.len() {
                        d[l].add(v[l] * central[l]);
                        s[l].add(v[l] * second[l]);
                        let w = v[l] * noise[l];
                        square[l] += w * w;
                    }
                }
                let total = |sums: [Sum; 4]| sums.iter().map(|s| s.value()).sum::<f64>();
                (total(d), total(s), Float::sqrt(square.iter().sum::<f64>()).max(floor))
            }
        };
        let width = self.width;
        ladder.push(h, d / width - shift, 2.0 * s / width, 2.0 * noise / width);
    }

    /// The output that moved most, measured in its own rounding error.
    pub(super) fn liveliest(&self) -> Option<usize> {
        let moved = |i: usize| self.central[i].abs() / (self.noise[i] + f64::MIN_POSITIVE);
        (0..self.central.len())
            .filter(|&i| self.central[i] != 0.0)
            .max_by(|&a, &b| moved(a).total_cmp(&moved(b)))
    }
}

/// The function as it is called: inputs, outputs.
pub(super) type Call<'a, N> = &'a mut dyn FnMut(&mut [Vec<N>], &mut [N]);

/// The function, its point, and the rounding error of each of its outputs.
pub(super) struct Function<'a, N> {
    call: Call<'a, N>,
    pub(super) base: Vec<Vec<N>>,
    work: Vec<Vec<N>>,
    spans: Vec<usize>,
    value: Vec<N>,
    noise: Vec<f64>,
    /// The fourth differences of every output, `spread` of them each.
    fourth: Vec<f64>,
    spread: usize,
    buffers: [Vec<N>; 2],
    pair: Pair,
    pub(super) evaluations: usize,
}

impl<'a, N: Number> Function<'a, N> {
    /// Evaluates and audits the function at the point and measures its rounding errors.
    pub(super) fn new(
        base: Vec<Vec<N>>,
        outputs: usize,
        call: Call<'a, N>,
        random: &mut Random,
    ) -> Result<Self, Fault> {
        let mut spans = vec![0];
        for slice in &base {
            spans.push(spans[spans.len() - 1] + slice.len());
        }
        let mut this = Self {
            call,
            work: base.clone(),
            base,
            spans,
            value: Vec::new(),
            noise: vec![0.0; outputs],
            fourth: Vec::new(),
            spread: SAMPLES * ROUNDS[usize::from(outputs > MANY)],
            buffers: [vec![N::zero(); outputs], vec![N::zero(); outputs]],
            pair: Pair::new(outputs),
            evaluations: 0,
        };
        this.value = this.at_base(outputs)?;
        if let Some(i) = this.value.iter().position(|y| !y.is_finite()) {
            return Err(Fault::NonFinite(format!("output {i} of the function is {:?}", this.value[i])));
        }
        this.measure_noise(random);
        Ok(this)
    }

    fn at_base(&mut self, outputs: usize) -> Result<Vec<N>, Fault> {
        audit("the function", |pattern| {
            let mut out = vec![N::narrow(pattern); outputs];
            (self.call)(&mut self.work, &mut out);
            self.evaluations += 1;
            match changed(&self.base, &self.work) {
                None => Ok(out),
                Some(place) => Err(Fault::Impure(format!("the function changes its inputs: {place}"))),
            }
        })
    }

    /// Whether the function still gives the bits it gave at first.
    pub(super) fn confirm(&mut self) -> Result<(), Fault> {
        let now = self.at_base(self.value.len())?;
        match now.iter().zip(&self.value).position(|(a, b)| a.bits() != b.bits()) {
            None => Ok(()),
            Some(i) => Err(Fault::NonDeterministic(format!(
                "the function: output {i} was {:?} at first and is {:?} at the end of the check",
                self.value[i], now[i]
            ))),
        }
    }

    /// Fourth differences over small steps hold nothing but rounding errors.
    ///
    /// The steps are an odd number of units in the last place: large enough that every partial sum inside the
    /// function rounds anew, small enough that a smooth function's own fourth difference vanishes, and odd so
    /// that rounding errors do not repeat from one to the next.
    fn measure_noise(&mut self, random: &mut Random) {
        let mut fourth = vec![0.0; self.spread * self.value.len()];
        for round in 0..self.spread / SAMPLES {
            self.fourth_differences(0, round, self.spread, &mut fourth, random);
        }
        for ((noise, fourth), y) in self.noise.iter_mut().zip(fourth.chunks(self.spread)).zip(&self.value) {
            *noise = rounding(fourth).max(N::EPS * y.widen().abs());
        }
        self.fourth = fourth;
        // Where nothing showed the function may round on a coarser grid that small steps seldom cross, as x + 1e8 and
        // ln(1 + x) do: larger steps tell.
        let floor = |y: &N| N::EPS * y.widen().abs();
        let stays = |(fourth, y): (&[f64], &N)| rounding(fourth) <= 1e-3 * floor(y);
        let mut quiet: Vec<bool> = self.fourth.chunks(self.spread).zip(&self.value).map(stays).collect();
        for &further in N::GROWTH {
            if quiet.len() > MANY || !quiet.contains(&true) {
                break;
            }
            let mut extra = vec![0.0; SAMPLES * quiet.len()];
            self.fourth_differences(further, 0, SAMPLES, &mut extra, random);
            let outputs = quiet.iter_mut().zip(&mut self.noise).zip(&self.value);
            for (((quiet, noise), y), fourth) in outputs.zip(extra.chunks(SAMPLES)) {
                let found = rounding(fourth);
                if !*quiet || curved(fourth) {
                    continue;
                }
                *noise = noise.max(found);
                // A grid was met; still larger steps would measure curvature.
                *quiet = found <= 64.0 * floor(y);
            }
        }
        self.stairs(quiet, random);
    }

    /// Finds the grids on which outputs move that stand still at small steps: grids far coarser than those of the inputs,
    /// as that of (x + 1e11) − 1e11.
    ///
    /// What tells a grid from a jump is that most steps cross it and that fourth differences show it everywhere, and
    /// from a kink that those over larger steps are no larger.
    fn stairs(&mut self, mut still: Vec<bool>, random: &mut Random) {
        let largest = self.largest();
        let moves = self.moves(0, largest, random);
        self.walk(&moves, SAMPLES, |_, i, y| still[i] &= y == 0.0);
        // Of many outputs a few stand still by chance.
        let few = if still.len() > MANY { still.len() / 2 } else { 0 };
        if still.iter().filter(|still| **still).count() <= few {
            return;
        }
        let mut before = vec![0.0; still.len()];
        for &further in N::STAIRS {
            let mut most = vec![0.0_f64; still.len()];
            for _ in 0..WALKS[usize::from(still.len() > MANY)] {
                let moves = self.moves(further, largest, random);
                let mut walks = vec![0.0; TREADS * still.len()];
                self.walk(&moves, TREADS, |t, i, y| walks[i * TREADS + t] = y);
                let outputs = still.iter().zip(&mut self.noise).zip(before.iter().zip(&mut most));
                for (((still, noise), (before, most)), walk) in outputs.zip(walks.chunks(TREADS)) {
                    let moved = walk.windows(2).filter(|pair| pair[0] != pair[1]).count();
                    let mut fourth = [0.0; TREADS - 4];
                    for (fourth, y) in fourth.iter_mut().zip(walk.windows(5)) {
                        *fourth = FOURTH.iter().zip(y).map(|(c, y)| c * y).sum();
                    }
                    let found = rounding(&fourth);
                    let shown = fourth.iter().filter(|d| d.abs() > 1e-3 * found).count();
                    let everywhere = 2 * moved > TREADS && 2 * shown >= fourth.len();
                    if *still && everywhere && found < 2.0 * before && !curved(&fourth) {
                        *noise = noise.max(found);
                    }
                    *most = most.max(found);
                }
            }
            before = most;
        }
    }

    /// Adds one round of differences; the steps are 2^`further` times the usual ones.
    fn fourth_differences(
        &mut self,
        further: i32,
        round: usize,
        spread: usize,
        fourth: &mut [f64],
        random: &mut Random,
    ) {
        let moves = self.moves(further, 0.0, random);
        self.walk(&moves, SAMPLES + 4, |t, i, y| {
            for k in t.saturating_sub(4)..=t.min(SAMPLES - 1) {
                fourth[i * spread + round * SAMPLES + k] += FOURTH[t - k] * y;
            }
        });
    }

    /// An odd number of units in the last place for every coordinate, times 2^`further`; zeros move as `zero` does.
    fn moves(&self, further: i32, zero: f64, random: &mut Random) -> Vec<f64> {
        let mut one = |j: usize| {
            let odd = ((random.next() % N::MOVE) | (N::MOVE / 2) | 1) as f64;
            match self.at(j) {
                x if x == 0.0 && zero == 0.0 => 0.0,
                x => {
                    let size = if x == 0.0 { zero } else { x };
                    random.sign() * odd * N::EPS * power(exponent(size) + further)
                }
            }
        };
        (0..self.len()).map(&mut one).collect()
    }

    /// Shows all outputs, less their values at the point, so that differences are exact, at equally spaced points.
    fn walk(&mut self, moves: &[f64], points: usize, mut show: impl FnMut(usize, usize, f64)) {
        for t in 0..points {
            let offset = t as f64 - (points / 2) as f64;
            let mut start = 0;
            for (work, base) in self.work.iter_mut().zip(&self.base) {
                for (w, (&x, step)) in work.iter_mut().zip(base.iter().zip(&moves[start..])) {
                    *w = if *step == 0.0 { x } else { N::narrow(x.widen() + step * offset) };
                }
                start += base.len();
            }
            self.evaluate(0);
            for (i, (now, before)) in self.buffers[0].iter().zip(&self.value).enumerate() {
                show(t, i, now.widen() - before.widen());
            }
        }
        self.reset();
    }

    /// The weights as a functional, with the rounding error measured of this very sum: errors that all outputs
    /// share add up otherwise than independent ones.
    pub(super) fn weighted<'v>(&self, weights: &'v [f64]) -> Functional<'v> {
        let mut sums = vec![0.0; self.spread];
        for (v, fourth) in weights.iter().zip(self.fourth.chunks(self.spread)) {
            sums.iter_mut().zip(fourth).for_each(|(s, d)| *s += v * d);
        }
        Functional::Weighted(weights, rounding(&sums))
    }

    /// The magnitude of the largest finite input.
    pub(super) fn largest(&self) -> f64 {
        let sizes = self.base.iter().flatten().map(|x| x.widen().abs());
        sizes.filter(|x| x.is_finite()).fold(0.0, f64::max)
    }

    /// The size of what is read off at the point.
    pub(super) fn size(&self, functional: Functional<'_>) -> f64 {
        match functional {
            Functional::Entry(i) => self.value(i).abs(),
            Functional::Weighted(v, _) => {
                let square = |(v, y): (&f64, &N)| v * y.widen() * v * y.widen();
                Float::sqrt(v.iter().zip(&self.value).map(square).sum::<f64>())
            }
        }
    }

    /// How many coordinates all inputs have together.
    pub(super) fn len(&self) -> usize {
        self.spans[self.spans.len() - 1]
    }

    pub(super) fn outputs(&self) -> usize {
        self.value.len()
    }

    pub(super) fn value(&self, i: usize) -> f64 {
        self.value[i].widen()
    }

    /// The input and the index within it of a coordinate.
    pub(super) fn place(&self, j: usize) -> (usize, usize) {
        let k = self.spans.partition_point(|&start| start <= j) - 1;
        (k, j - self.spans[k])
    }

    /// The value of a coordinate at the point.
    pub(super) fn at(&self, j: usize) -> f64 {
        let (k, i) = self.place(j);
        self.base[k][i].widen()
    }

    fn set(&mut self, j: usize, x: f64) {
        let (k, i) = self.place(j);
        self.work[k][i] = N::narrow(x);
    }

    fn reset(&mut self) {
        for (work, base) in self.work.iter_mut().zip(&self.base) {
            work.copy_from_slice(base);
        }
    }

    fn evaluate(&mut self, slot: usize) {
        (self.call)(&mut self.work, &mut self.buffers[slot]);
        self.evaluations += 1;
    }

    /// Evaluates at x ± h·u; `None` where the function is not finite there or no step is left.
    pub(super) fn pair(&mut self, direction: &Direction, h: f64) -> Option<&Pair> {
        let mut residual = core::mem::take(&mut self.pair.residual);
        residual.clear();
        let mut width = 2.0 * h;
        match direction {
            Direction::Coordinate(j) => {
                let x = self.at(*j);
                self.set(*j, x + h);
                let (k, i) = self.place(*j);
                let above = self.work[k][i].widen();
                self.evaluate(0);
                self.set(*j, x - h);
                // The step that rounding let happen, not the one asked for.
                width = above - self.work[k][i].widen();
                self.evaluate(1);
                self.set(*j, x);
            }
            Direction::Dense(u) => {
                let mut j = 0;
                for (work, base) in self.work.iter_mut().zip(&self.base) {
                    let u = &u[j..j + base.len()];
                    for (i, (w, (&x, &u))) in work.iter_mut().zip(base.iter().zip(u)).enumerate() {
                        if u == 0.0 {
                            *w = x;
                            continue;
                        }
                        *w = N::narrow(x.widen() + h * u);
                        let below = N::narrow(x.widen() - h * u);
                        let off = (w.widen() - below.widen()) / width - u;
                        if off != 0.0 {
                            residual.push((j + i, off));
                        }
                    }
                    j += base.len();
                }
                self.evaluate(0);
                let mut j = 0;
                for (work, base) in self.work.iter_mut().zip(&self.base) {
                    for (w, (&x, &u)) in work.iter_mut().zip(base.iter().zip(&u[j..])) {
                        *w = if u == 0.0 { x } else { N::narrow(x.widen() - h * u) };
                    }
                    j += base.len();
                }
                self.evaluate(1);
                self.reset();
            }
        }
        self.pair.residual = residual;
        self.pair.width = width;
        let finite = |out: &[N]| out.iter().all(|y| y.is_finite());
        if width == 0.0 || !width.is_finite() || !finite(&self.buffers[0]) || !finite(&self.buffers[1]) {
            return None;
        }
        let pair = &mut self.pair;
        let values = self.buffers[0].iter().zip(&self.buffers[1]).zip(self.value.iter().zip(&self.noise));
        let slots = pair.central.iter_mut().zip(&mut pair.second).zip(&mut pair.noise);
        for (((above, below), (middle, floor)), ((central, second), noise)) in values.zip(slots) {
            let (above, below, middle) = (above.widen(), below.widen(), middle.widen());
            *central = above - below;
            *second = (above - middle) - (middle - below);
            *noise = floor.max(N::EPS * above.abs().max(below.abs()));
        }
        Some(&self.pair)
    }
}
