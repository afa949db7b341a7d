//! One call of a loss: random rows and options, and how it is run.

use super::Loss;
use crate::inputs::Rng;
use crate::oracle::Guard;
use crate::ulp::Number;
use lossprep::{
    ClassOptions, CrossEntropyOptions, Kernels, Layout, NormGuard, Range, Target, contrastive_workspace,
};

/// What logits are compared with.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Goal {
    Classes(Vec<usize>),
    Shares(Vec<f64>),
}

/// The options of a call; those of other losses are left alone.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the formulas in the library's documentation say it")]
pub struct Setting {
    pub weights: Option<Vec<f64>>,
    pub smoothing: f64,
    pub z_loss: f64,
    pub softcap: Option<f64>,
    pub temperature: f64,
    pub gamma: f64,
    pub margin: f64,
    pub delta: f64,
    pub guard: Option<Guard>,
    pub lo: f64,
    pub hi: f64,
}

/// One call, its numbers rounded to the type but kept as f64.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Case {
    pub loss: Loss,
    pub rows: usize,
    pub len: usize,
    /// Logits, raw outputs or features: one to three tensors.
    pub inputs: Vec<Vec<f64>>,
    pub goal: Goal,
    pub similar: Vec<bool>,
    pub upstream: Vec<f64>,
    pub setting: Setting,
    /// The sign of a difference is known above 2^−this of its terms.
    pub known: i64,
}

/// A row of logits: of some scale, at times with a gap, an offset or −∞.
fn logits<T: Number>(rng: &mut Rng, len: usize) -> Vec<f64> {
    let scale = rng.pick(&[0.01, 1.0, 1.0, 3.0, 10.0, 50.0, 300.0]);
    let offset = rng.pick(&[0.0, 0.0, 0.0, 1e4, -1e4, 777.0]);
    let mut row: Vec<f64> = (0..len).map(|_| rng.normal() * scale + offset).collect();
    let at = rng.below(len);
    match rng.below(6) {
        0 => row[at] += rng.pick(&[5.0, 20.0, 80.0, 300.0, 740.0]),
        1 if len > 1 => {
            let other = (at + 1) % len;
            row[at] = row[other];
        }
        2 if len > 1 => row[at] = f64::NEG_INFINITY,
        3 => row[at] *= 1e3,
        _ => {}
    }
    row.into_iter().map(|v| T::round_from(v).exact_f64()).collect()
}

/// A distribution: random, one-hot, with zeros, or not summing to 1.
fn shares(rng: &mut Rng, len: usize) -> Vec<f64> {
    let kind = rng.below(4);
    let mut row: Vec<f64> = (0..len).map(|_| rng.unit().powi(if kind == 3 { 12 } else { 1 })).collect();
    if kind == 0 {
        let one = rng.below(len);
        (0..len).for_each(|i| row[i] = f64::from(i == one));
    }
    if kind == 1 {
        row.iter_mut().step_by(2).for_each(|q| *q = 0.0);
    }
    let sum: f64 = row.iter().sum();
    if sum > 0.0 && kind != 2 {
        row.iter_mut().for_each(|q| *q /= sum);
    }
    row
}

/// A feature row.
fn features(rng: &mut Rng, len: usize, wide: bool) -> Vec<f64> {
    let scales: &[f64] =
        if wide { &[1.0, 1.0, 1e-3, 1e4, 1e-150, 1e200] } else { &[1.0, 1.0, 1e-3, 1e4, 1e-15, 1e30] };
    let scale = rng.pick(scales);
    (0..len).map(|_| rng.normal() * scale).collect()
}

fn round<T: Number>(values: &mut [f64]) {
    values.iter_mut().for_each(|v| *v = T::round_from(*v).exact_f64());
}

fn option<T>(rng: &mut Rng, value: impl FnOnce(&mut Rng) -> T) -> Option<T> {
    (rng.below(3) == 0).then(|| value(rng))
}

impl Case {
    /// The next case of a loss.
    pub fn random<T: Number>(loss: Loss, rng: &mut Rng) -> Self {
        let wide = T::NAME == "f64";
        let elementwise = matches!(loss, Loss::Binary | Loss::Mse | Loss::Huber | Loss::L1);
        let batch = matches!(loss, Loss::InfoNce | Loss::NtXent);
        let metric = batch || matches!(loss, Loss::Triplet | Loss::Cosine);
        let rows = if batch { 2 * (1 + rng.below(5)) } else { 1 + rng.below(2) };
        let longest = if rng.below(12) == 0 { 300 } else { 40 };
        let len = if metric { 2 + rng.below(40) } else { 1 + rng.below(longest) };
        let mut inputs: Vec<Vec<f64>> = Vec::new();
        let tensors = match loss {
            Loss::Triplet => 3,
            Loss::Cosine | Loss::InfoNce => 2,
            _ => 1,
        };
        for tensor in 0..tensors {
            let mut all = Vec::new();
            for row in 0..rows {
                let fresh = if metric { features(rng, len, wide) } else { logits::<T>(rng, len) };
                // Rows near each other, so that distances and angles are small.
                let near = tensor > 0 && rng.below(3) == 0;
                let by = rng.pick(&[1e-6, 1e-3, 0.1]);
                let other = inputs.first().map(|first: &Vec<f64>| first[row * len..][..len].to_vec());
                let moved = |x: f64, rng: &mut Rng| x * 1.75 * (1.0 + by * rng.normal());
                all.extend(match other {
                    Some(other) if near => other.into_iter().map(|x| moved(x, rng)).collect(),
                    _ => fresh,
                });
            }
            round::<T>(&mut all);
            if elementwise {
                all.iter_mut().filter(|x| x.is_infinite()).for_each(|x| *x = -3.0);
            }
            inputs.push(all);
        }
        let to_shares = matches!(loss, Loss::KlDiv) || loss == Loss::CrossEntropy && rng.below(3) == 0;
        let z_loss = if rng.below(3) == 0 { rng.pick(&[1e-4, 0.01, 1.0]) } else { 0.0 };
        let setting = Setting {
            weights: option(rng, |rng| (0..len).map(|_| rng.unit() * 3.0).collect()),
            smoothing: if rng.below(3) == 0 { rng.pick(&[0.1, 0.5, 1.0]) } else { 0.0 },
            z_loss,
            softcap: option(rng, |rng| rng.pick(&[5.0, 30.0, 50.0])),
            temperature: rng.pick(&[1.0, 1.0, 0.7, 3.0]),
            gamma: rng.pick(&[0.0, 0.5, 1.0, 2.0, 2.0, 3.7, 5.0]),
            margin: rng.pick(&[0.0, 0.2, 1.0]),
            delta: rng.pick(&[0.1, 1.0, 30.0]),
            guard: match rng.below(5) {
                0 => Some(Guard::Add(1e-3)),
                1 => Some(Guard::AddSquared(1e-6)),
                2 if loss != Loss::Cosine => None,
                _ => Some(Guard::Max(1e-12)),
            },
            lo: rng.pick(&[0.0, 25.0, -3.0, -1.0]),
            hi: rng.pick(&[26.0, 346.0, 70.0]),
        };
        if metric && setting.guard.is_none() {
            // Without a guard the rows are what they are: near unit length here.
            for tensor in &mut inputs {
                for row in tensor.chunks_mut(len) {
                    let norm = row.iter().map(|x| x / 1e100 * (x / 1e100)).sum::<f64>().sqrt() * 1e100;
                    row.iter_mut().for_each(|x| *x /= if norm > 0.0 { norm } else { 1.0 });
                }
                round::<T>(tensor);
            }
        }
        let goal = match loss {
            _ if to_shares => Goal::Shares((0..rows).flat_map(|_| shares(rng, len)).collect()),
            Loss::Binary => Goal::Shares((0..rows * len).map(|_| rng.pick(&[0.0, 1.0, 1.0, 0.3])).collect()),
            Loss::Mse | Loss::Huber | Loss::L1 => {
                let ends = [setting.lo, setting.hi];
                let inside = |rng: &mut Rng| ends[0] + (ends[1] - ends[0]) * rng.unit();
                let target = |rng: &mut Rng| if rng.below(3) == 0 { rng.pick(&ends) } else { inside(rng) };
                Goal::Shares((0..rows * len).map(|_| target(rng)).collect())
            }
            _ => Goal::Classes((0..rows).map(|_| rng.below(len)).collect()),
        };
        let mut goal = goal;
        if let Goal::Shares(q) = &mut goal {
            round::<T>(q);
        }
        if loss == Loss::Nll {
            inputs[0].iter_mut().for_each(|x| *x = -x.abs());
        }
        let outputs = if elementwise { rows * len } else { rows };
        let size =
            rng.pick(if wide { &[1.0, 1.0, 1e-30, 1e30, 1e-200, 1e200] } else { &[1.0, 1.0, 1e-30, 1e30] });
        let mut upstream: Vec<f64> = (0..outputs).map(|_| rng.normal() * size).collect();
        round::<T>(&mut upstream);
        let similar = (0..rows).map(|_| rng.below(2) == 0).collect();
        let known = if wide { 90 } else { 45 };
        let mut case = Self { loss, rows, len, inputs, goal, similar, upstream, setting, known };
        case.round_settings::<T>();
        case
    }

    /// The options as the type has them.
    fn round_settings<T: Number>(&mut self) {
        let rounded = |v: f64| T::round_from(v).exact_f64();
        let Setting { weights, smoothing, z_loss, softcap, temperature, gamma, margin, delta, guard, lo, hi } =
            &mut self.setting;
        for value in weights.iter_mut().flatten().chain(softcap) {
            *value = rounded(*value);
        }
        for value in [smoothing, z_loss, temperature, gamma, margin, delta, lo, hi] {
            *value = rounded(*value);
        }
        *guard = guard.map(|guard| match guard {
            Guard::Max(eps) => Guard::Max(rounded(eps)),
            Guard::Add(eps) => Guard::Add(rounded(eps)),
            Guard::AddSquared(eps) => Guard::AddSquared(rounded(eps)),
        });
    }

    /// A case at the ends of the type's range: upstream gradients, weights, ranges and features far from 1, and logits
    /// whose exponentials have no place in the type, though their products with the former do.
    pub fn extreme<T: Number>(loss: Loss, rng: &mut Rng) -> Self {
        let mut case = Self::random::<T>(loss, rng);
        let most = T::FORMAT.max_exponent as f64;
        let power = |rng: &mut Rng, share: f64| (most * share * (2.0 * rng.unit() - 1.0)).exp2();
        let setting = &mut case.setting;
        let unit = if rng.below(3) == 0 { power(rng, 0.4) } else { 1.0 };
        setting.temperature = unit * rng.pick(&[1.0, 1.0, 0.7, 3.0]);
        setting.softcap = setting.softcap.map(|cap| cap * unit * rng.pick(&[1.0, 1.0, 10.0, 100.0]));
        setting.gamma = rng.pick(&[0.0, 1e-3, 0.1, 0.5, 0.9, 1.0, 2.0, 7.5, 300.0]);
        setting.delta *= power(rng, 0.5);
        if setting.z_loss > 0.0 {
            setting.z_loss *= power(rng, 0.4);
        }
        if let Some(weights) = &mut setting.weights {
            let (all, each) = (power(rng, 0.9), rng.below(2) == 0);
            weights.iter_mut().for_each(|w| *w *= if each { power(rng, 0.9) } else { all });
        }
        let width = power(rng, 0.9);
        for end in [&mut setting.lo, &mut setting.hi] {
            *end *= width;
        }
        let contrasts = matches!(loss, Loss::InfoNce | Loss::NtXent);
        if contrasts {
            setting.temperature = rng.pick(&[1e-3, 2e-3, 0.01, 0.07, 1e3]);
        }
        if matches!(loss, Loss::Mse | Loss::Huber | Loss::L1) {
            let (lo, hi) = (T::round_from(setting.lo).exact_f64(), T::round_from(setting.hi).exact_f64());
            (setting.lo, setting.hi) = (lo, hi);
            if let Goal::Shares(targets) = &mut case.goal {
                let inside = |t: &mut f64| *t = T::round_from(*t * width).exact_f64().clamp(lo, hi);
                targets.iter_mut().for_each(inside);
            }
        }
        let metric = contrasts || matches!(loss, Loss::Triplet | Loss::Cosine);
        for tensor in &mut case.inputs {
            for row in tensor.chunks_mut(case.len) {
                if metric {
                    let size = row.iter().fold(f64::MIN_POSITIVE, |m, x| m.max(x.abs()));
                    // Without a guard the similarities of large rows are far apart, and small ones near each other.
                    let scale = if setting.guard.is_some() { power(rng, 0.9) } else { power(rng, 0.2) };
                    row.iter_mut().for_each(|x| *x = *x / size * scale);
                    continue;
                }
                // Exponents between that of the largest product and of the smallest.
                let reach = most * 2.2 * std::f64::consts::LN_2 * rng.unit();
                let capped = setting.softcap.filter(|_| loss == Loss::CrossEntropy);
                let top = rng.below(row.len());
                for (i, x) in row.iter_mut().enumerate() {
                    let far = if i == top { 0.0 } else { -reach * rng.unit() };
                    *x = match capped {
                        Some(cap) => cap * 0.3 * far * rng.pick(&[1.0, 1.0, -1.0, 1e-3]),
                        None if loss == Loss::KlDiv || loss == Loss::CrossEntropy => {
                            far * setting.temperature
                        }
                        None => far * rng.pick(&[1.0, 1.0, -1.0]),
                    };
                }
                if loss == Loss::Nll {
                    row.iter_mut().for_each(|x| *x = -x.abs());
                }
            }
            round::<T>(tensor);
        }
        // Rows that are contrasted share the range of their upstream gradients.
        let (all, each) = if contrasts { (power(rng, 0.8), 0.2) } else { (1.0, 0.98) };
        case.upstream = case.upstream.iter().map(|_| rng.normal() * power(rng, each) * all).collect();
        round::<T>(&mut case.upstream);
        case.round_settings::<T>();
        case
    }

    /// Losses, then gradients; with `strided` the rows lie side by side in memory, and the gradient of cross-entropy
    /// overwrites the logits.
    pub fn run<T: Number>(&self, kernels: Kernels, strided: bool) -> Vec<T> {
        let narrow = |v: &[f64]| -> Vec<T> { v.iter().map(|&v| T::round_from(v)).collect() };
        let turn = |v: Vec<T>, rows: usize, len: usize| -> Vec<T> {
            if strided { (0..rows * len).map(|i| v[i % rows * len + i / rows]).collect() } else { v }
        };
        let (rows, len) = (self.rows, self.len);
        let layout = if strided { Layout::new(1, len, rows) } else { Layout::rows(rows, len) };
        let layout = layout.expect("small");
        let inputs: Vec<Vec<T>> = self.inputs.iter().map(|x| turn(narrow(x), rows, len)).collect();
        let elementwise = self.upstream.len() != rows;
        let upstream = narrow(&self.upstream);
        let upstream = if elementwise { turn(upstream, rows, len) } else { upstream };
        let mut losses = vec![T::nan(); upstream.len()];
        let mut grads = vec![vec![T::nan(); rows * len]; inputs.len()];
        let weights = self.setting.weights.as_deref().map(narrow);
        let shares = match &self.goal {
            Goal::Shares(q) => turn(narrow(q), rows, len),
            Goal::Classes(_) => Vec::new(),
        };
        let classes: &[usize] = match &self.goal {
            Goal::Classes(classes) => classes,
            Goal::Shares(_) => &[],
        };
        let number = T::round_from;
        let setting = &self.setting;
        let guard = setting.guard.map(|guard| match guard {
            Guard::Max(eps) => NormGuard::Max(number(eps)),
            Guard::Add(eps) => NormGuard::Add(number(eps)),
            Guard::AddSquared(eps) => NormGuard::AddSquared(number(eps)),
        });
        let mut class_options = ClassOptions::new();
        if let Some(weights) = &weights {
            class_options = class_options.weights(weights);
        }
        let x = &inputs[0];
        let range = Range::new(number(setting.lo), number(setting.hi)).expect("a range");
        let (margin, temperature) = (number(setting.margin), number(setting.temperature));
        let mut workspace = vec![f64::NAN; contrastive_workspace::<T>(layout).expect("small")];
        let mut parts = grads.iter_mut();
        let mut next = || parts.next().map_or(&mut [][..], |grad| &mut grad[..]);
        let done = match self.loss {
            Loss::CrossEntropy => {
                let mut options = CrossEntropyOptions::new()
                    .label_smoothing(number(setting.smoothing))
                    .z_loss(number(setting.z_loss))
                    .temperature(temperature);
                if let Some(weights) = &weights {
                    options = options.weights(weights);
                }
                if let Some(cap) = setting.softcap {
                    options = options.softcap(number(cap));
                }
                let target = if classes.is_empty() {
                    Target::Probabilities(&shares)
                } else {
                    Target::Classes(classes)
                };
                let grad = next();
                if strided {
                    grad.copy_from_slice(x);
                    kernels.cross_entropy_with_grad_in_place(
                        grad,
                        target,
                        &upstream,
                        layout,
                        &options,
                        &mut losses,
                    )
                } else {
                    kernels.cross_entropy_with_grad(x, target, &upstream, layout, &options, &mut losses, grad)
                }
            }
            Loss::Focal => {
                let gamma = number(setting.gamma);
                kernels.focal_loss_with_grad(
                    x,
                    classes,
                    gamma,
                    &upstream,
                    layout,
                    &class_options,
                    &mut losses,
                    next(),
                )
            }
            Loss::KlDiv => {
                kernels.kl_div_with_grad(x, &shares, temperature, &upstream, layout, &mut losses, next())
            }
            Loss::Nll => {
                kernels.nll_with_grad(x, classes, &upstream, layout, &class_options, &mut losses, next())
            }
            Loss::Binary => kernels.binary_cross_entropy_with_logits_with_grad(
                x,
                &shares,
                weights.as_deref(),
                &upstream,
                layout,
                &mut losses,
                next(),
            ),
            Loss::Mse => {
                kernels.scaled_sigmoid_mse_with_grad(x, &shares, &upstream, range, &mut losses, next())
            }
            Loss::L1 => {
                kernels.scaled_sigmoid_l1_with_grad(x, &shares, &upstream, range, &mut losses, next())
            }
            Loss::Huber => {
                let delta = number(setting.delta);
                kernels.scaled_sigmoid_huber_with_grad(
                    x,
                    &shares,
                    delta,
                    &upstream,
                    range,
                    &mut losses,
                    next(),
                )
            }
            Loss::Triplet => {
                let grads = [next(), next(), next()];
                let [a, p, n] = [x, &inputs[1], &inputs[2]];
                kernels.triplet_margin_with_grad(
                    a,
                    p,
                    n,
                    margin,
                    guard,
                    &upstream,
                    layout,
                    &mut losses,
                    grads,
                )
            }
            Loss::Cosine => {
                let (grads, y) = ([next(), next()], &inputs[1]);
                let similar = &self.similar;
                kernels.cosine_embedding_with_grad(
                    x,
                    y,
                    similar,
                    margin,
                    guard,
                    &upstream,
                    layout,
                    &mut losses,
                    grads,
                )
            }
            Loss::InfoNce => {
                let (grads, keys) = ([next(), next()], &inputs[1]);
                kernels.info_nce_with_grad(
                    x,
                    keys,
                    temperature,
                    guard,
                    &upstream,
                    layout,
                    &mut losses,
                    grads,
                    &mut workspace,
                )
            }
            Loss::NtXent => kernels.nt_xent_with_grad(
                x,
                temperature,
                guard,
                &upstream,
                layout,
                &mut losses,
                next(),
                &mut workspace,
            ),
        };
        assert!(done.is_ok(), "{} refuses a valid call: {done:?}", self.loss.name());
        let back = |v: Vec<T>| {
            if strided { (0..rows * len).map(|i| v[i % len * rows + i / len]).collect() } else { v }
        };
        let losses = if elementwise { back(losses) } else { losses };
        losses.into_iter().chain(grads.into_iter().flat_map(back)).collect()
    }
}
