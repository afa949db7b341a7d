//! `lossprep-verify bench`: how fast the library is on this machine, beside a copy and the naive loop.

pub mod cases;
mod html;
pub mod measure;
pub mod naive;
pub mod record;

use crate::output::{self, note, say};
use crate::ulp::Number;
use cases::{Candidate, Case, NAMES, Shape, shapes};
use clap::Args;
use lossprep::Backend;
use measure::{Figure, Samples, interleave, median};
use record::{Change, Record, Row, changes};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Times the library on this machine: ns an element, beside a copy and the naive loop
#[derive(Args, Debug)]
pub struct Options {
    /// Only operations whose name begins so (softmax takes in softmax_vjp), on all shapes
    #[arg(long)]
    op: Option<String>,
    /// Only this element type
    #[arg(long = "type", value_name = "f32|f64", value_parser = ["f32", "f64"])]
    element: Option<String>,
    /// Only these backends, as in avx2,portable; scalar runs only if it is named
    #[arg(long, value_parser = backend, value_delimiter = ',')]
    backend: Vec<Backend>,
    /// Only this shape, as in 64x1000, or all that contain the text
    #[arg(long)]
    shape: Option<String>,
    /// Every operation and form on every shape; takes several minutes: give it more --seconds
    #[arg(long)]
    all: bool,
    /// Seconds of timing; less is noisier. Making inputs, checking answers and a call of each candidate in each of three
    /// passes take what they take: a minute or more with --op or --all
    #[arg(long, default_value_t = 60.0, value_parser = seconds)]
    seconds: f64,
    /// Writes the figures as JSON, for --compare
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes a page with plots
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Prints what got slower since that --json, beyond the noise; exit code 1 if anything did
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
}

fn backend(name: &str) -> Result<Backend, String> {
    let backend = Backend::from_name(name).ok_or("no such backend")?;
    backend.try_get().map(|_| backend).map_err(|e| e.to_string())
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|e| format!("{e}"))?;
    if seconds > 0.0 && seconds < 1e6 { Ok(seconds) } else { Err("not a positive number".into()) }
}

/// Passes over everything: noise that lasts for seconds shows as a difference between them.
const PASSES: usize = 3;

/// What one row times.
#[derive(Clone, Copy)]
struct Plan {
    type_name: &'static str,
    op: &'static str,
    shape: Shape,
}

fn is_gradient(op: &str) -> bool {
    op.ends_with("_vjp") || op.ends_with("_jvp")
}

/// The minute's choice: f32 forward everywhere, the rest where it tells most.
fn representative(plan: &Plan) -> bool {
    let Plan { type_name, op, shape } = plan;
    let gradient = is_gradient(op);
    if op.ends_with("jvp") || op.starts_with("l2_norm_") || *op == "l2_norm" || op.contains("inverse") {
        return false;
    }
    if op.ends_with("confident") {
        return *type_name == "f32" && ["4096x64", "64x1000"].contains(&shape.name);
    }
    if *type_name == "f32" && !gradient && (!op.ends_with("in_place") || op.starts_with("softmax")) {
        return true;
    }
    let long = ["64x1000", "32x32768", "8x131072", "1024x768", "65536", "1048576"];
    match (*type_name, gradient) {
        ("f32", true) => long.contains(&shape.name),
        ("f64", false) => !op.ends_with("in_place") && long.contains(&shape.name),
        ("f64", true) => shape.name == "32x32768" || shape.name == "1048576",
        _ => false,
    }
}

/// Whether the shape is meant: 1x8 is one of its own, although others begin so.
fn fits(name: &str, wanted: &str) -> bool {
    let whole = NAMES.iter().flat_map(|op| shapes(op)).any(|s| s.name == wanted);
    if whole { name == wanted } else { name.contains(wanted) }
}

fn plans(options: &Options) -> Vec<Plan> {
    let everything = options.all || options.op.is_some() || options.shape.is_some();
    let mut plans = Vec::new();
    for type_name in ["f32", "f64"] {
        for op in NAMES {
            plans.extend(shapes(op).into_iter().map(|shape| Plan { type_name, op, shape }));
        }
    }
    plans.retain(|plan| {
        options.element.as_ref().is_none_or(|t| t == plan.type_name)
            && options.op.as_ref().is_none_or(|op| plan.op.starts_with(op.as_str()))
            && options.shape.as_ref().is_none_or(|shape| fits(plan.shape.name, shape))
            && (everything || representative(plan))
    });
    plans
}

/// Every candidate's samples of one pass over one row, and the number of elements.
fn pass<T: Number>(plan: &Plan, backends: &[Backend], budget: Duration, check: bool) -> Timed {
    let mut case = Case::<T>::new(plan.op, plan.shape.layout());
    let kernels = backends.iter().filter_map(|b| b.try_get().ok()).map(Candidate::Kernel);
    let candidates: Vec<Candidate> = Case::<T>::yardsticks(plan.op).into_iter().chain(kernels).collect();
    if check {
        case.check(&candidates);
    }
    let samples = interleave(candidates.len(), budget, &mut |i, calls| case.time(candidates[i], calls));
    let names = candidates.iter().map(|c| c.name());
    Timed { elements: case.elements() as f64, samples: names.zip(samples).collect() }
}

struct Timed {
    elements: f64,
    samples: Vec<(&'static str, Samples)>,
}

/// Where nobody looks, a line each time that this has passed.
const QUIET: Duration = Duration::from_secs(10);

/// Times the rows, in passes.
fn rows(plans: &[Plan], backends: &[Backend], seconds: f64) -> Vec<Row> {
    let mut timed: Vec<Vec<Timed>> = plans.iter().map(|_| Vec::new()).collect();
    let start = Instant::now();
    let visible = std::io::stderr().is_terminal();
    let mut shown: Option<Instant> = None;
    for number in 0..PASSES {
        for (i, plan) in plans.iter().enumerate() {
            let done = number * plans.len() + i;
            // What is left is shared by what is left: preparing and checking take their part too.
            let left = (seconds - start.elapsed().as_secs_f64()) / (PASSES * plans.len() - done) as f64;
            let budget = Duration::from_secs_f64(left.max(0.005));
            let percent = 100 * done / (PASSES * plans.len());
            let name = format!("{} {} {}", plan.type_name, plan.op, plan.shape.name);
            if visible {
                note(format!("\r{percent:>3}% {name:<60}"));
            } else if shown.is_none_or(|shown| shown.elapsed() >= QUIET) {
                note(format!("{percent:>3}% after {:.0} s: {name}\n", start.elapsed().as_secs_f64()));
                shown = Some(Instant::now());
            }
            timed[i].push(match plan.type_name {
                "f32" => pass::<f32>(plan, backends, budget, number == 0),
                _ => pass::<f64>(plan, backends, budget, number == 0),
            });
        }
    }
    if visible {
        note(format!("\r{:<65}\r", ""));
    }
    plans.iter().zip(timed).map(|(plan, passes)| row(plan, &passes)).collect()
}

fn row(plan: &Plan, passes: &[Timed]) -> Row {
    let figures = passes[0].samples.iter().enumerate().map(|(c, (name, _))| {
        let samples: Vec<Samples> = passes.iter().map(|p| p.samples[c].1.clone()).collect();
        (name.to_string(), Figure::new(&samples, passes[0].elements))
    });
    Row {
        type_name: plan.type_name.into(),
        op: plan.op.into(),
        shape: plan.shape.name.into(),
        extents: plan.shape.extents,
        figures: figures.collect(),
    }
}

/// The processor, and what the build took for granted.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, m)| m));
    let fused = if cfg!(any(target_feature = "fma", target_arch = "aarch64")) { "with" } else { "without" };
    format!(
        "{}, {} build {fused} fused multiply-add",
        model.unwrap_or("unknown processor"),
        std::env::consts::ARCH
    )
}

/// Three digits, however large.
fn short(v: f64) -> String {
    match v {
        _ if v.is_nan() => "-".into(),
        _ if v < 10.0 => format!("{v:.2}"),
        _ if v < 100.0 => format!("{v:.1}"),
        _ => format!("{v:.0}"),
    }
}

/// Rows of one operation and type, which the reports show together.
fn groups(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    rows.chunk_by(|a, b| (&a.type_name, &a.op) == (&b.type_name, &b.op))
}

/// Geometric mean.
fn mean(ratios: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = ratios.fold((0.0, 0), |(sum, count), r| (sum + r.ln(), count + 1));
    (sum / f64::from(count)).exp()
}

/// Times faster than the naive loop on average: type, part, backend, mean.
fn summary(rows: &[Row]) -> Vec<(String, &'static str, String, f64)> {
    let mut all = Vec::new();
    for type_name in ["f32", "f64"] {
        for (part, gradient) in [("forward", false), ("gradients", true)] {
            let is_part = |r: &&Row| r.type_name == type_name && is_gradient(&r.op) == gradient;
            let part_rows: Vec<&Row> = rows.iter().filter(is_part).collect();
            let Some(first) = part_rows.first() else { continue };
            for (backend, _) in first.backends() {
                let ratio = mean(part_rows.iter().map(|r| r.ns("naive") / r.ns(backend)));
                all.push((type_name.into(), part, backend.into(), ratio));
            }
        }
    }
    all
}

fn table(record: &Record) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", record.machine);
    let _ = writeln!(out, "one thread; ns an element, medians of interleaved timings");
    let _ = writeln!(out, "/naive: times faster than the naive loop; xcopy, xsum: times as long as that");
    for group in groups(&record.rows) {
        let first = &group[0];
        let yardsticks = first.yardsticks();
        let _ = write!(out, "\n{:<29}", format!("{} {}", first.type_name, first.op));
        for name in yardsticks {
            let _ = write!(out, "{name:>7}");
        }
        for (backend, _) in first.backends() {
            let _ = write!(out, " | {backend:>8} {:>6} {:>6}", "/naive", format!("x{}", first.limit()));
        }
        out.push('\n');
        for row in group {
            let _ = write!(out, "  {:<27}", row.shape);
            for name in yardsticks {
                let _ = write!(out, "{:>7.3}", row.ns(name));
            }
            for (_, figure) in row.backends() {
                let (naive, limit) = (row.ns("naive") / figure.ns, figure.ns / row.ns(row.limit()));
                let _ = write!(out, " | {:>8.3} {:>6} {:>6}", figure.ns, short(naive), short(limit));
            }
            out.push('\n');
        }
    }
    let _ = writeln!(out, "\ntimes faster than the naive loop, geometric mean over the rows above");
    for (type_name, part, backend, ratio) in summary(&record.rows) {
        let _ = writeln!(out, "  {type_name} {part:<10} {backend:<9} {}", short(ratio));
    }
    let noise: Vec<f64> = record.rows.iter().flat_map(|r| r.backends().map(|(_, f)| f.noise())).collect();
    let _ =
        writeln!(out, "noise (how far {PASSES} passes differ): {:.0}% in the median", 100.0 * median(&noise));
    out
}

/// What to say of a comparison.
fn verdict(old: &Record, new: &Record, changes: &[Change]) -> String {
    let mut out = String::new();
    if old.machine != new.machine {
        let _ = writeln!(out, "NOT THE SAME MACHINE OR BUILD: {} then", old.machine);
    }
    for yardstick in ["copy", "naive"] {
        let ratios: Vec<f64> = new
            .rows
            .iter()
            .filter_map(|row| {
                Some(row.ns(yardstick) / old.rows.iter().find(|r| r.name() == row.name())?.ns(yardstick))
            })
            .collect();
        if !ratios.is_empty() {
            let _ = writeln!(
                out,
                "{yardstick} takes {:.2} times as long as then, in the median",
                median(&ratios)
            );
        }
    }
    let slower: Vec<&Change> = changes.iter().filter(|c| c.slower()).collect();
    if !slower.is_empty() {
        let _ = writeln!(
            out,
            "{:<40}{:>9}{:>9}{:>9}{:>11}{:>8}",
            "SLOWER", "ns then", "ns now", "clock", "to naive", "noise"
        );
    }
    for change in &slower {
        let _ = writeln!(
            out,
            "  {:<38}{:>9.3}{:>9.3}{:>8.2}x{:>10.2}x{:>7.0}%",
            format!("{} {}", new.rows[change.row].name(), change.backend),
            change.ns[0],
            change.ns[1],
            change.by_clock,
            change.by_naive,
            100.0 * change.noise
        );
    }
    let faster = changes.iter().filter(|c| c.faster()).count();
    let _ = writeln!(
        out,
        "{} compared: {} slower, {faster} faster, beyond the noise",
        changes.len(),
        slower.len()
    );
    out
}

/// Times what was asked for; false if something got slower than in the record to compare with.
///
/// # Errors
/// If no operation fits, or a file cannot be read or written.
pub fn run(options: &Options) -> Result<bool, String> {
    output::writable(options.json.iter().chain(&options.html))?;
    let plans = plans(options);
    if plans.is_empty() {
        return Err("no operation and shape fit".into());
    }
    let old = match &options.compare {
        None => None,
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|e| e.to_string())
                .and_then(|text| Record::parse(&text))
                .map_err(|e| format!("{}: {e}", path.display()))?,
        ),
    };
    let backends: Vec<Backend> = if options.backend.is_empty() {
        Backend::available().filter(|&b| b != Backend::Scalar).collect()
    } else {
        options.backend.clone()
    };
    if let (Some(old), Some(path)) = (&old, &options.compare) {
        let has = |p: &Plan| {
            old.find(p.type_name, p.op, p.shape.extents)
                .is_some_and(|row| backends.iter().any(|b| row.figure(b.name()).is_some()))
        };
        if !plans.iter().any(has) {
            return Err(format!(
                "{}: nothing to compare: none of these rows on any of these backends is in it",
                path.display()
            ));
        }
    }
    let start = Instant::now();
    let mut new = Record {
        machine: machine(),
        version: env!("CARGO_PKG_VERSION").into(),
        rows: rows(&plans, &backends, options.seconds),
    };
    let mut found = old.as_ref().map(|old| changes(old, &new));
    if let (Some(old), Some(first)) = (&old, &mut found) {
        // What looks slower is timed again, longer, before anybody is told.
        let mut again: Vec<usize> = first.iter().filter(|c| c.slower()).map(|c| c.row).collect();
        again.dedup();
        if !again.is_empty() {
            let suspects: Vec<Plan> = again.iter().map(|&i| plans[i]).collect();
            let seconds = (options.seconds / 2.0).min(2.0 * again.len() as f64);
            for (i, row) in again.into_iter().zip(rows(&suspects, &backends, seconds)) {
                new.rows[i] = row;
            }
            *first = changes(old, &new);
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    if let Some(path) = &options.json {
        output::write(path, new.json())?;
    }
    if let Some(path) = &options.html {
        output::write(path, html::page(&new))?;
    }
    say(format!("{}took {seconds:.0} s\n", table(&new)))?;
    let (Some(old), Some(found)) = (old, found) else { return Ok(true) };
    say(format!("\n{}", verdict(&old, &new, &found)))?;
    Ok(!found.iter().any(Change::slower))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Options {
        Cli::parse_from([&["bench"], arguments].concat()).options
    }

    #[test]
    fn a_filter_finds_what_the_minute_leaves_out() {
        let minute = plans(&options(&[]));
        assert!(minute.len() > 60 && minute.len() < 150, "{}", minute.len());
        assert!(minute.iter().all(|p| !p.op.contains("inverse")));
        let inverse = plans(&options(&["--op", "scaled_sigmoid_inverse_vjp", "--type", "f64"]));
        assert_eq!(inverse.len(), 4);
        assert_eq!(plans(&options(&["--op", "nothing"])).len(), 0);
        assert!(plans(&options(&["--all"])).len() > 400);
    }

    #[test]
    fn backends_are_named_one_by_one_or_together() {
        let both = vec![Backend::Portable, Backend::Scalar];
        assert_eq!(options(&["--backend", "portable,scalar"]).backend, both);
        assert_eq!(options(&["--backend", "portable", "--backend", "scalar"]).backend, both);
    }

    #[test]
    fn a_run_is_reported_written_and_compared() {
        let folder = std::env::temp_dir().join(format!("lossprep-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        let small = ["--op", "logsumexp", "--shape", "1x8", "--seconds", "0.05"];
        let (json, html) = (path("a.json"), path("a.html"));
        assert_eq!(run(&options(&[&small[..], &["--json", &json, "--html", &html]].concat())), Ok(true));
        let record = Record::parse(&std::fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(record.rows.len(), 6);
        // Neither another row nor another backend can be compared: an error, and before anything is timed.
        for other in [["--shape", "16x10"], ["--backend", "scalar"], ["--op", "l2_norm"]] {
            let rest: &[&str] =
                if other[0] == "--shape" { &["--op", "logsumexp"] } else { &["--shape", "1x8"] };
            let args = [&other[..], rest, &["--seconds", "9999", "--compare", &json]].concat();
            assert!(run(&options(&args)).unwrap_err().contains("nothing to compare"), "{args:?}");
        }
        let text = table(&record);
        assert!(text.contains("f64 logsumexp") && text.contains("xsum") && !text.contains("NaN"), "{text}");
        let page = std::fs::read_to_string(&html).unwrap();
        assert!(page.contains("f64") && !page.contains("http") && !page.contains("NaN"));
        // One length makes no curve; two do.
        assert!(!page.contains("<svg"));
        let longer = record.rows.iter().map(|row| Row { extents: [1, 80, 1], ..row.clone() });
        let mut two = Record { rows: record.rows.iter().cloned().chain(longer).collect(), ..record.clone() };
        two.rows.sort_by_key(|row| (row.type_name.clone(), row.op.clone()));
        let page = html::page(&two);
        assert!(page.matches("<svg").count() == 6 && !page.contains("NaN") && !page.contains("http"));
        // Then a thousandth of the time: everything is slower by far.
        let mut faster = record.clone();
        for (name, figure) in faster.rows.iter_mut().flat_map(|r| &mut r.figures) {
            if name != "naive" {
                *figure = Figure { ns: figure.ns / 1000.0, range: (figure.ns / 1000.0, figure.ns / 1000.0) };
            }
        }
        let found = changes(&faster, &record);
        let text = verdict(&faster, &record, &found);
        assert!(!found.is_empty() && text.contains("SLOWER") && text.contains(" 0 faster"), "{text}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
