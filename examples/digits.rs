//! Handwritten digits: softmax and cross-entropy, right and with a softmax too many.
//!
//! `cargo run --release --example digits` trains a linear model and one with a hidden layer, each with the fused loss of
//! logits and with the usual mistake, prints the accuracy on digits held out and draws `target/digits.svg`.

mod support;

use lossprep::{
    CrossEntropyOptions, Layout, Reduction, Target, cross_entropy_with_grad_in_place, softmax_in_place,
    softmax_vjp,
};
use std::error::Error;
use support::{Network, Rng, Table, bar, plot};

const CLASSES: usize = 10;
const EPOCHS: usize = 80;
const BATCH: usize = 32;
const RATE: f32 = 0.03;

/// Overwrites the output of the network by the gradient of the mean loss in it.
fn gradient(logits: &mut [f32], classes: &[usize], twice: bool) -> Result<(), lossprep::Error> {
    let layout = Layout::rows(classes.len(), CLASSES)?;
    let (target, options) = (Target::Classes(classes), CrossEntropyOptions::new());
    let (mut upstream, mut losses) = (vec![0.0; classes.len()], vec![0.0; classes.len()]);
    Reduction::Mean.upstream(&mut upstream)?;
    if !twice {
        return cross_entropy_with_grad_in_place(logits, target, &upstream, layout, &options, &mut losses);
    }
    // The mistake: cross-entropy takes logits, and applies the softmax again.
    softmax_in_place(logits, layout)?;
    let mut to_p = logits.to_vec();
    cross_entropy_with_grad_in_place(&mut to_p, target, &upstream, layout, &options, &mut losses)?;
    let p = logits.to_vec();
    softmax_vjp(&p, &to_p, layout, logits)
}

fn accuracy(network: &mut Network, table: &Table) -> f64 {
    let logits = network.forward(&table.x);
    let largest = |row: &[f32]| (0..CLASSES).fold(0, |best, i| if row[i] > row[best] { i } else { best });
    let right = logits.chunks(CLASSES).zip(table.classes()).filter(|(row, class)| largest(row) == *class);
    right.count() as f64 / table.rows() as f64
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut table = Table::read("digits.csv")?;
    table.x.iter_mut().for_each(|x| *x /= 16.0);
    let (learn, held_out) = table.split();
    let runs = [
        ("one hidden layer", 64, false),
        ("one hidden layer, softmax twice", 64, true),
        ("linear", 0, false),
        ("linear, softmax twice", 0, true),
    ];
    let progress = bar(runs.len() * EPOCHS)?;
    let mut curves = Vec::new();
    for (name, hidden, twice) in runs {
        let mut network = Network::new(table.columns, hidden, CLASSES, 1);
        let mut order: Vec<usize> = (0..learn.rows()).collect();
        let (mut rng, mut curve) = (Rng::new(2), Vec::new());
        for _ in 0..EPOCHS {
            rng.shuffle(&mut order);
            for rows in order.chunks(BATCH) {
                let batch = learn.pick(rows);
                let mut output = network.forward(&batch.x);
                gradient(&mut output, &batch.classes(), twice)?;
                network.learn(&batch.x, &output, RATE);
            }
            curve.push(accuracy(&mut network, &held_out));
            progress.set_message(format!("{name}: {:.1} %", 100.0 * curve[curve.len() - 1]));
            progress.inc(1);
        }
        curves.push((name.to_string(), curve));
    }
    progress.finish_and_clear();
    println!("accuracy on {} digits held out", held_out.rows());
    for (name, curve) in &curves {
        println!(
            "  {name:<32} {:5.1} % after 3 epochs, {:5.1} % after {EPOCHS}",
            100.0 * curve[2],
            100.0 * curve[EPOCHS - 1]
        );
    }
    plot("digits", "A softmax too many", "accuracy on digits held out", &curves)?;
    if curves[0].1[EPOCHS - 1] < 0.96 {
        return Err("the hidden layer should reach 96 %".into());
    }
    Ok(())
}
