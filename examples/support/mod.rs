//! What the training examples share: tables, a small network, a progress bar, plots.
#![allow(dead_code, reason = "each example uses its part")]

use indicatif::{ProgressBar, ProgressStyle};
use plotters::prelude::*;
use std::error::Error;
use std::path::PathBuf;

/// xorshift64*.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// In (−1, 1).
    fn symmetric(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

/// Rows of features, and what goes with each.
pub struct Table {
    pub x: Vec<f32>,
    pub y: Vec<f32>,
    pub columns: usize,
}

impl Table {
    /// A table of examples/data: features, then the target.
    pub fn read(name: &str) -> Result<Self, Box<dyn Error>> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/data").join(name);
        let mut table = Self { x: Vec::new(), y: Vec::new(), columns: 0 };
        for line in std::fs::read_to_string(path)?.lines() {
            let numbers = line.split(',').map(str::parse).collect::<Result<Vec<f32>, _>>()?;
            let (target, features) = numbers.split_last().ok_or("an empty line")?;
            table.x.extend(features);
            table.y.push(*target);
            table.columns = features.len();
        }
        Ok(table)
    }

    pub fn rows(&self) -> usize {
        self.y.len()
    }

    pub fn classes(&self) -> Vec<usize> {
        self.y.iter().map(|&y| y as usize).collect()
    }

    /// These rows.
    pub fn pick(&self, rows: &[usize]) -> Self {
        let n = self.columns;
        Self {
            x: rows.iter().flat_map(|&r| &self.x[r * n..][..n]).copied().collect(),
            y: rows.iter().map(|&r| self.y[r]).collect(),
            columns: n,
        }
    }

    /// Four fifths to learn from, and a fifth held out, the same every time.
    pub fn split(&self) -> (Self, Self) {
        let mut order: Vec<usize> = (0..self.rows()).collect();
        Rng::new(5).shuffle(&mut order);
        let (held_out, learn) = order.split_at(self.rows() / 5);
        (self.pick(learn), self.pick(held_out))
    }
}

/// y = x·W + b, by stochastic gradient descent with momentum.
struct Dense {
    inputs: usize,
    outputs: usize,
    /// W row by row, then b.
    parameters: Vec<f32>,
    velocity: Vec<f32>,
}

impl Dense {
    fn new(inputs: usize, outputs: usize, rng: &mut Rng) -> Self {
        let scale = (3.0 / inputs as f32).sqrt();
        let mut parameters: Vec<f32> = (0..inputs * outputs).map(|_| rng.symmetric() * scale).collect();
        parameters.extend(vec![0.0; outputs]);
        Self { inputs, outputs, velocity: vec![0.0; parameters.len()], parameters }
    }

    fn forward(&self, x: &[f32]) -> Vec<f32> {
        let (weights, bias) = self.parameters.split_at(self.inputs * self.outputs);
        let mut y = Vec::with_capacity(x.len() / self.inputs * self.outputs);
        for row in x.chunks(self.inputs) {
            let start = y.len();
            y.extend(bias);
            for (x, weights) in row.iter().zip(weights.chunks(self.outputs)) {
                y[start..].iter_mut().zip(weights).for_each(|(y, w)| *y += x * w);
            }
        }
        y
    }

    /// The gradient in x; takes the step.
    fn backward(&mut self, x: &[f32], dy: &[f32], rate: f32) -> Vec<f32> {
        let (m, n) = (self.inputs, self.outputs);
        let mut dx = vec![0.0; x.len()];
        let mut gradient = vec![0.0; self.parameters.len()];
        for ((x, dx), dy) in x.chunks(m).zip(dx.chunks_mut(m)).zip(dy.chunks(n)) {
            for i in 0..m {
                let weights = &self.parameters[i * n..][..n];
                dx[i] = weights.iter().zip(dy).map(|(w, d)| w * d).sum();
                gradient[i * n..][..n].iter_mut().zip(dy).for_each(|(g, d)| *g += x[i] * d);
            }
            gradient[m * n..].iter_mut().zip(dy).for_each(|(g, d)| *g += d);
        }
        for ((p, v), g) in self.parameters.iter_mut().zip(&mut self.velocity).zip(&gradient) {
            *v = 0.9 * *v - rate * g;
            *p += *v;
        }
        dx
    }
}

/// A linear model, or one hidden layer of rectifiers.
pub struct Network {
    hidden: Option<Dense>,
    last: Dense,
    activations: Vec<f32>,
}

impl Network {
    pub fn new(inputs: usize, hidden: usize, outputs: usize, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let first = (hidden > 0).then(|| Dense::new(inputs, hidden, &mut rng));
        let last = Dense::new(if hidden > 0 { hidden } else { inputs }, outputs, &mut rng);
        Self { hidden: first, last, activations: Vec::new() }
    }

    /// The raw output.
    pub fn forward(&mut self, x: &[f32]) -> Vec<f32> {
        self.activations = match &self.hidden {
            Some(hidden) => hidden.forward(x).iter().map(|h| h.max(0.0)).collect(),
            None => x.to_vec(),
        };
        self.last.forward(&self.activations)
    }

    /// One step against the gradient in the output of the last `forward`.
    pub fn learn(&mut self, x: &[f32], gradient: &[f32], rate: f32) {
        let mut back = self.last.backward(&self.activations, gradient, rate);
        if let Some(hidden) = &mut self.hidden {
            back.iter_mut().zip(&self.activations).filter(|(_, h)| **h == 0.0).for_each(|(d, _)| *d = 0.0);
            hidden.backward(x, &back, rate);
        }
    }
}

/// A bar that says what is going on.
pub fn bar(steps: usize) -> Result<ProgressBar, Box<dyn Error>> {
    let style = ProgressStyle::with_template("{bar:40} {pos:>4}/{len} {elapsed} {msg}")?;
    Ok(ProgressBar::new(steps as u64).with_style(style))
}

/// A name and one value an epoch.
pub type Curve = (String, Vec<f64>);

/// Draws the curves to `target/NAME.svg`, and says where.
pub fn plot(name: &str, title: &str, quantity: &str, curves: &[Curve]) -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(name).with_extension("svg");
    let values = || curves.iter().flat_map(|(_, values)| values.iter().copied());
    let (low, high) = values().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
    let epochs = curves.iter().map(|(_, values)| values.len()).max().unwrap_or(1);
    {
        let area = SVGBackend::new(&path, (800, 500)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 22))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(1.0..epochs as f64, low - 0.02 * (high - low)..high + 0.02 * (high - low))?;
        chart.configure_mesh().x_desc("epoch").y_desc(quantity).draw()?;
        for (i, (name, values)) in curves.iter().enumerate() {
            let color = Palette99::pick(i).to_rgba();
            let points = values.iter().enumerate().map(|(epoch, &v)| (epoch as f64 + 1.0, v));
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
        area.present()?;
    }
    println!("curves: {}", path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(&path).display());
    Ok(())
}
