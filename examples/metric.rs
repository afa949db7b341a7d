//! Digits in a space where near means alike: InfoNCE over unit vectors, and over features as they are.
//!
//! `cargo run --release --example metric` trains two embeddings of sixteen dimensions that differ in nothing but the
//! normalisation, prints the accuracy of the nearest neighbour for digits held out, and draws `target/metric.svg`.

mod support;

use lossprep::{Layout, NormGuard, Reduction, contrastive_workspace, info_nce_with_grad, l2_normalize};
use std::error::Error;
use support::{Network, Rng, Table, bar, plot};

const CLASSES: usize = 10;
const DIMENSIONS: usize = 16;
const EPOCHS: usize = 30;
/// Steps of an epoch, each of one pair of every class.
const STEPS: usize = 120;
const RATE: f32 = 0.005;
const TEMPERATURE: f32 = 0.1;

/// The share of held-out digits whose nearest neighbour among those learned from has their class: nearest by the
/// scalar product that the loss saw.
fn accuracy(
    network: &mut Network,
    learn: &Table,
    held_out: &Table,
    unit: bool,
) -> Result<f64, lossprep::Error> {
    let mut embed = |table: &Table| {
        let features = network.forward(&table.x);
        let mut out = features.clone();
        if unit {
            l2_normalize(&features, Layout::rows(table.rows(), DIMENSIONS)?, NormGuard::default(), &mut out)?;
        }
        Ok(out)
    };
    let (known, asked) = (embed(learn)?, embed(held_out)?);
    let right = asked.chunks(DIMENSIONS).zip(&held_out.y).filter(|(x, class)| {
        let product = |y: &[f32]| x.iter().zip(y).map(|(a, b)| a * b).sum::<f32>();
        let nearest = known.chunks(DIMENSIONS).map(product).enumerate();
        let nearest = nearest.fold((0, f32::MIN), |best, (i, p)| if p > best.1 { (i, p) } else { best });
        learn.y[nearest.0] == **class
    });
    Ok(right.count() as f64 / held_out.rows() as f64)
}

/// One step: a pair of digits of every class, each to be told from the other nine.
fn step(
    network: &mut Network,
    learn: &Table,
    of: &[Vec<usize>],
    rng: &mut Rng,
    unit: bool,
) -> Result<(), lossprep::Error> {
    let mut rows = Vec::new();
    for _ in 0..2 {
        rows.extend(of.iter().map(|rows| rows[rng.below(rows.len())]));
    }
    let batch = learn.pick(&rows);
    let features = network.forward(&batch.x);
    let layout = Layout::rows(CLASSES, DIMENSIONS)?;
    let (queries, keys) = features.split_at(layout.elements());
    let (mut upstream, mut losses) = ([0.0; CLASSES], [0.0; CLASSES]);
    Reduction::Mean.upstream(&mut upstream)?;
    let mut gradient = vec![0.0; features.len()];
    let (to_queries, to_keys) = gradient.split_at_mut(layout.elements());
    let mut workspace = vec![0.0; contrastive_workspace::<f32>(layout)?];
    // Without a guard the features are taken as they are: the mistake.
    let guard = unit.then(NormGuard::default);
    let grads = [to_queries, to_keys];
    info_nce_with_grad(
        queries,
        keys,
        TEMPERATURE,
        guard,
        &upstream,
        layout,
        &mut losses,
        grads,
        &mut workspace,
    )?;
    network.learn(&batch.x, &gradient, RATE);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut table = Table::read("digits.csv")?;
    table.x.iter_mut().for_each(|x| *x /= 16.0);
    let (learn, held_out) = table.split();
    let mut of = vec![Vec::new(); CLASSES];
    learn.classes().iter().enumerate().for_each(|(row, &class)| of[class].push(row));
    let runs = [("unit vectors", true), ("features as they are", false)];
    let progress = bar(runs.len() * EPOCHS)?;
    let mut curves = Vec::new();
    for (name, unit) in runs {
        let mut network = Network::new(table.columns, 64, DIMENSIONS, 3);
        let (mut rng, mut curve) = (Rng::new(4), Vec::new());
        for _ in 0..EPOCHS {
            for _ in 0..STEPS {
                step(&mut network, &learn, &of, &mut rng, unit)?;
            }
            curve.push(accuracy(&mut network, &learn, &held_out, unit)?);
            progress.set_message(format!("{name}: {:.1} %", 100.0 * curve[curve.len() - 1]));
            progress.inc(1);
        }
        curves.push((name.to_string(), curve));
    }
    progress.finish_and_clear();
    println!("nearest neighbour of {} digits held out", held_out.rows());
    for (name, curve) in &curves {
        println!("  {name:<22} {:5.1} % after {EPOCHS} epochs", 100.0 * curve[EPOCHS - 1]);
    }
    plot("metric", "InfoNCE without unit length", "accuracy of the nearest neighbour", &curves)?;
    if curves[0].1[EPOCHS - 1] < 0.96 {
        return Err("unit vectors should reach 96 %".into());
    }
    Ok(())
}
