//! A quick table: ns an element, times faster than the naive loop, times the copy. The candidates take
//! turns and the medians are shown, so that a busy neighbour slows all of them alike.
//!
//! `--test` runs each once; a word restricts the table to the rows that contain it.

mod cases;

use cases::{Case, NAMES, Number, SHAPES};
use lossprep::{Backend, Layout};
use std::time::{Duration, Instant};

/// How long a row of the table may take.
const BUDGET: Duration = Duration::from_millis(250);
const MIN_ROUNDS: usize = 5;
const MAX_ROUNDS: usize = 101;
/// One timing lasts at least about this long, well above the clock's grain.
const TIMING: Duration = Duration::from_micros(30);

#[derive(Clone, Copy, PartialEq)]
enum Candidate {
    Copy,
    Naive,
    Kernel(Backend),
}

fn run<T: Number>(case: &mut Case<T>, candidate: Candidate, times: u32) -> Duration {
    let start = Instant::now();
    for _ in 0..times {
        match candidate {
            Candidate::Copy => case.copy(),
            Candidate::Naive => case.naive(),
            Candidate::Kernel(backend) => case.kernel(backend.try_get().unwrap()),
        }
    }
    start.elapsed()
}

/// The median ns an element of each candidate.
fn medians<T: Number>(case: &mut Case<T>, candidates: &[Candidate]) -> Vec<f64> {
    let times: Vec<u32> = candidates
        .iter()
        .map(|&c| {
            run(case, c, 1);
            let once = run(case, c, 1).as_nanos().max(1);
            TIMING.as_nanos().div_ceil(once) as u32
        })
        .collect();
    let mut samples = vec![Vec::new(); candidates.len()];
    let start = Instant::now();
    while samples[0].len() < MIN_ROUNDS || (start.elapsed() < BUDGET && samples[0].len() < MAX_ROUNDS) {
        for ((&candidate, &times), samples) in candidates.iter().zip(&times).zip(&mut samples) {
            samples.push(run(case, candidate, times).as_secs_f64() * 1e9 / f64::from(times));
        }
    }
    let elements = case.elements() as f64;
    samples
        .iter_mut()
        .map(|s| {
            s.sort_by(f64::total_cmp);
            s[s.len() / 2] / elements
        })
        .collect()
}

fn table<T: Number>(test: bool, filter: &str) {
    // The norm alone and the inverse are in `throughput`.
    let shown =
        NAMES.iter().filter(|n| !n.starts_with("l2_norm_") && **n != "l2_norm" && !n.contains("inverse"));
    let candidates: Vec<Candidate> = [Candidate::Copy, Candidate::Naive]
        .into_iter()
        .chain(Backend::available().map(Candidate::Kernel))
        .collect();
    for name in shown {
        for &(shape, [outer, len, inner]) in SHAPES {
            let row = format!("{} {name} {shape}", T::NAME);
            if !row.contains(filter) {
                continue;
            }
            let mut case = Case::<T>::new(name, Layout::new(outer, len, inner).unwrap());
            case.check();
            if test {
                for &candidate in &candidates {
                    run(&mut case, candidate, 1);
                }
                println!("{row}: ok");
                continue;
            }
            let ns = medians(&mut case, &candidates);
            print!("{row:<37}{:>7.3}{:>8.3}", ns[0], ns[1]);
            for ns_kernel in &ns[2..] {
                let (naive, copy) = (ns[1] / ns_kernel, ns_kernel / ns[0]);
                print!(" | {ns_kernel:>7.3}{naive:>6.1}{copy:>7.1}");
            }
            println!();
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let test = arguments.iter().any(|a| a == "--test");
    let filter = arguments.iter().find(|a| !a.starts_with("--")).map_or("", String::as_str);
    if !test {
        println!("ns an element; for each backend: ns, times faster than naive, times as long as the copy");
        print!("{:<37}{:>7}{:>8}", "", "copy", "naive");
        for backend in Backend::available() {
            print!(" | {:<20}", backend.name());
        }
        println!();
    }
    table::<f32>(test, filter);
    table::<f64>(test, filter);
}
