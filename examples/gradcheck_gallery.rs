//! The catalogue of wrong and right gradients, with the checker's verdict and time for each.
//!
//! `cargo run --release --example gradcheck_gallery` · with `-v`, the whole report of every miss · with a word, only
//! the entries with that word in their name.

#[path = "../tests/gradcheck_catalogue/mod.rs"]
mod catalogue;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let verbose = std::env::args().any(|argument| argument == "-v");
    let only = std::env::args().skip(1).find(|argument| argument != "-v");
    let mut misses = 0;
    let (mut right, mut wrong, mut below) = (0, 0, 0);
    println!("{:<62} {:>7}  {:<16} {:>9}", "gradient", "length", "verdict", "ms");
    for entry in
        catalogue::catalogue().iter().filter(|e| only.as_ref().is_none_or(|o| e.name.contains(o.as_str())))
    {
        let start = Instant::now();
        let report = (entry.run)();
        let time = start.elapsed().as_secs_f64() * 1e3;
        let hit = entry.expected.contains(&report.verdict);
        if entry.expected == catalogue::BELOW_F32 {
            below += 1;
        } else if catalogue::is_right(entry.expected) {
            right += 1;
        } else {
            wrong += 1;
        }
        let note = if hit { "" } else { "  MISS" };
        println!("{:<62} {:>7}  {:<16} {time:>9.1}{note}", entry.name, entry.len, report.verdict);
        if !hit {
            misses += 1;
            if verbose {
                println!("{report}");
            }
        }
    }
    let start = Instant::now();
    let report = catalogue::million();
    let time = start.elapsed().as_secs_f64();
    println!("softmax vjp, f64, sampled: 1000000 elements, {} in {time:.2} s", report.verdict);
    println!("{wrong} wrong, {right} right, {below} below the resolution of f32: {misses} misses");
    if misses == 0 && report.is_right() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
