//! The progression of diabetes, 25 … 346: a scaled sigmoid, and a sigmoid that nobody scaled.
//!
//! `cargo run --release --example progression` trains two regressions that differ in the range alone, prints how much of
//! the variance of patients held out each explains, and draws `target/progression.svg`.

mod support;

use lossprep::{Range, Reduction, scaled_sigmoid, scaled_sigmoid_mse_with_grad};
use std::error::Error;
use support::{Network, Rng, Table, bar, plot};

const EPOCHS: usize = 60;
const BATCH: usize = 32;
const RATE: f32 = 0.05;
const LO: f32 = 25.0;
const HI: f32 = 346.0;

/// 1 − squared error / variance of the targets.
fn explained(network: &mut Network, table: &Table, range: Range<f32>) -> Result<f64, lossprep::Error> {
    let raw = network.forward(&table.x);
    let mut y = vec![0.0; raw.len()];
    scaled_sigmoid(&raw, range, &mut y)?;
    let squares = |of: &dyn Fn(usize) -> f64| (0..y.len()).map(|i| of(i) * of(i)).sum::<f64>();
    let mean = table.y.iter().map(|&t| f64::from(t)).sum::<f64>() / y.len() as f64;
    let error = squares(&|i| f64::from(y[i]) - f64::from(table.y[i]));
    Ok(1.0 - error / squares(&|i| f64::from(table.y[i]) - mean))
}

/// Mean 0 and deviation 1 in every column, as the rows to learn from have it.
fn standardise(learn: &mut Table, held_out: &mut Table) {
    let n = learn.columns;
    for column in 0..n {
        let values: Vec<f32> = learn.x.iter().skip(column).step_by(n).copied().collect();
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / values.len() as f32;
        for table in [&mut *learn, &mut *held_out] {
            table.x.iter_mut().skip(column).step_by(n).for_each(|v| *v = (*v - mean) / variance.sqrt());
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let table = Table::read("diabetes.csv")?;
    let (mut learn, mut held_out) = table.split();
    standardise(&mut learn, &mut held_out);
    let runs = [("scaled to 25 … 346", Range::new(LO, HI)?), ("not scaled: 0 … 1", Range::new(0.0, 1.0)?)];
    let progress = bar(runs.len() * EPOCHS)?;
    let mut curves = Vec::new();
    for (name, range) in runs {
        let mut network = Network::new(table.columns, 0, 1, 1);
        let mut order: Vec<usize> = (0..learn.rows()).collect();
        let (mut rng, mut curve) = (Rng::new(2), Vec::new());
        for _ in 0..EPOCHS {
            rng.shuffle(&mut order);
            for rows in order.chunks(BATCH) {
                let batch = learn.pick(rows);
                let raw = network.forward(&batch.x);
                let (mut upstream, mut losses) = (vec![0.0; raw.len()], vec![0.0; raw.len()]);
                let mut gradient = vec![0.0; raw.len()];
                Reduction::Mean.upstream(&mut upstream)?;
                // Steps are measured in ranges of the targets.
                upstream.iter_mut().for_each(|g| *g /= (HI - LO) * (HI - LO));
                scaled_sigmoid_mse_with_grad(&raw, &batch.y, &upstream, range, &mut losses, &mut gradient)?;
                network.learn(&batch.x, &gradient, RATE);
            }
            curve.push(explained(&mut network, &held_out, range)?);
            progress.set_message(format!("{name}: R² {:.3}", curve[curve.len() - 1]));
            progress.inc(1);
        }
        curves.push((name.to_string(), curve));
    }
    progress.finish_and_clear();
    println!("share of the variance explained, {} patients held out", held_out.rows());
    for (name, curve) in &curves {
        println!("  {name:<20} R² {:6.3} after {EPOCHS} epochs", curve[EPOCHS - 1]);
    }
    plot("progression", "A sigmoid that nobody scaled", "R² of patients held out", &curves)?;
    if curves[0].1[EPOCHS - 1] < 0.4 {
        return Err("the scaled sigmoid should explain 40 %".into());
    }
    Ok(())
}
