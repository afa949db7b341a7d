//! `lossprep-verify`: the claims of `lossprep`, tried on this machine.
#![forbid(unsafe_code)]
#![warn(clippy::print_stdout, clippy::print_stderr)]

use clap::{Parser, Subcommand, ValueEnum};
use lossprep::Backend;
#[cfg(feature = "exhaustive")]
use lossprep_verify::exhaustive;
use lossprep_verify::inputs::{Level, Origin, Source};
use lossprep_verify::losses::{self, Loss};
use lossprep_verify::oracle::Op;
use lossprep_verify::output::{self, note, say};
use lossprep_verify::report::{Entry, Report};
use lossprep_verify::ulp::Number;
use lossprep_verify::{bench, certificate, check, connect, data, differences, special};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Tries every claim of lossprep on this machine and reports the largest errors found.
///
/// Exit code 0: every claim holds; 1: a claim is broken; 2: bad usage or file.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Fewer inputs: under half a minute
    #[arg(long, conflicts_with = "full")]
    quick: bool,
    /// At least ten million outputs for each operation and type
    #[arg(long)]
    full: bool,
    /// Only operations whose name begins so (softmax takes in softmax_vjp)
    #[arg(long)]
    op: Option<String>,
    /// Only this element type
    #[arg(long = "type", value_enum)]
    element: Option<Element>,
    /// Only this backend: avx512, avx2, neon, portable or scalar
    #[arg(long, value_parser = backend)]
    backend: Option<Backend>,
    /// Another choice of random inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writes the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<std::path::PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs an operation on an array of yours and judges the result
    Data(Box<data::Options>),
    /// Makes one output of a report again, by the name that stands in brackets behind it
    Replay {
        /// operation:type:level:seed:batch:row:output
        name: String,
    },
    /// Times the operations: ns an element, beside a copy and the naive loop
    Bench(bench::Options),
    /// Computes the digests of certificate.json again: every 257th f32 on each backend, or all on one
    Certificate(certificate::Options),
    /// Judges every f32 and writes certificate.json: half an hour or more
    #[cfg(feature = "exhaustive")]
    Exhaustive(exhaustive::Options),
}

fn replay(name: &str) -> Result<bool, String> {
    let (type_name, origin, index) = Origin::from_name(name)
        .ok_or("not a name from a report: operation:type:level:seed:batch:row:output")?;
    let (text, holds) = match type_name {
        "f32" => check::replay::<f32>(origin, index)?,
        "f64" => check::replay::<f64>(origin, index)?,
        _ => return Err(format!("no such type: {type_name}")),
    };
    say(text)?;
    Ok(holds)
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Element {
    F32,
    F64,
}

fn backend(name: &str) -> Result<Backend, String> {
    let backend = Backend::from_name(name).ok_or("no such backend")?;
    backend.try_get().map(|_| backend).map_err(|e| e.to_string())
}

/// A bar on stderr, redrawn a few times a second; where nobody looks, a line for each operation instead.
struct Progress {
    total: usize,
    done: AtomicUsize,
    drawn: AtomicUsize,
    start: Instant,
    visible: bool,
}

impl Progress {
    fn new(total: usize) -> Self {
        let visible = std::io::stderr().is_terminal();
        Self { total, done: AtomicUsize::new(0), drawn: AtomicUsize::new(0), start: Instant::now(), visible }
    }

    fn step(&self, what: &str) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let tick = (self.start.elapsed().as_millis() / 200) as usize;
        if !self.visible || self.drawn.swap(tick, Ordering::Relaxed) == tick {
            return;
        }
        let filled = (done * 30 / self.total.max(1)).min(30);
        let bar = "#".repeat(filled) + &"-".repeat(30 - filled);
        let elapsed = Duration::from_secs(self.start.elapsed().as_secs());
        note(format!("\r[{bar}] {:>3}% {elapsed:?} {what:<32}", done * 100 / self.total.max(1)));
    }

    /// An operation is done.
    fn finished(&self, entry: &Entry) {
        if !self.visible {
            let verdict = if entry.faults == 0 { "holds" } else { "BROKEN" };
            note(format!("{} {}: {verdict}, {:.1} s\n", entry.op.name(), entry.type_name, entry.seconds));
        }
    }

    fn clear(&self) {
        if self.visible {
            note(format!("\r{:<90}\r", ""));
        }
    }
}

/// One type's part of the report.
fn check_type<T: Number>(
    report: &mut Report,
    ops: &[Op],
    backends: &[Backend],
    level: Level,
    progress: &Progress,
) {
    for &op in ops {
        let start = Instant::now();
        let source = Source { op, seed: report.seed, level };
        let what = format!("{} {}", op.name(), T::NAME);
        let tally = check::check::<T>(source, backends, &|| progress.step(&what));
        let entry = Entry::new(op, &tally, start.elapsed().as_secs_f64());
        progress.finished(&entry);
        report.entries.push(entry);
    }
    report.special.push((T::NAME, special::check::<T>(ops, backends)));
}

fn verify(cli: &Cli) -> Result<bool, String> {
    output::writable(&cli.json)?;
    let level = match (cli.quick, cli.full) {
        (true, _) => Level::Quick,
        (_, true) => Level::Full,
        _ => Level::Default,
    };
    let wanted = |op: &Op| cli.op.as_ref().is_none_or(|name| op.name().starts_with(name.as_str()));
    let ops: Vec<Op> = Op::ALL.into_iter().filter(|op| connect::has::<f32>(*op)).filter(wanted).collect();
    let losses: Vec<Loss> = Loss::ALL
        .into_iter()
        .filter(|l| cli.op.as_ref().is_none_or(|name| l.name().starts_with(name.as_str())))
        .collect();
    if ops.is_empty() && losses.is_empty() {
        return Err("no operation has such a name".into());
    }
    let backends: Vec<Backend> = match cli.backend {
        Some(backend) => vec![backend],
        None => Backend::available().collect(),
    };
    let absent = Backend::all().into_iter().filter(|b| !b.is_available());
    let mut report = Report {
        seed: cli.seed,
        level: level.name(),
        backends: backends.iter().map(|b| b.name()).collect(),
        not_run: absent.map(Backend::name).collect(),
        ..Report::default()
    };
    let types = if cli.element.is_some() { 1 } else { 2 };
    let batches: usize = ops.iter().map(|&op| Source { op, seed: 0, level }.count()).sum();
    let progress = Progress::new(batches * types);
    if cli.element != Some(Element::F64) {
        check_type::<f32>(&mut report, &ops, &backends, level, &progress);
    }
    if cli.element != Some(Element::F32) {
        check_type::<f64>(&mut report, &ops, &backends, level, &progress);
    }
    report.differences = differences::check(&ops, backends[0], level, cli.seed);
    report.differences.retain(|d| match cli.element {
        Some(Element::F32) => d.type_name == "f32",
        Some(Element::F64) => d.type_name == "f64",
        None => true,
    });
    for loss in losses {
        if cli.element != Some(Element::F64) {
            report.losses.push(losses::check::<f32>(loss, &backends, level, cli.seed));
        }
        if cli.element != Some(Element::F32) {
            report.losses.push(losses::check::<f64>(loss, &backends, level, cli.seed));
        }
    }
    progress.clear();
    if let Some(path) = &cli.json {
        output::write(path, report.json())?;
    }
    say(format!("{}took {:.1} s\n", report.table(), progress.start.elapsed().as_secs_f64()))?;
    Ok(report.holds())
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Some(Command::Data(options)) => data::run(options),
        Some(Command::Replay { name }) => replay(name),
        Some(Command::Bench(options)) => bench::run(options),
        Some(Command::Certificate(options)) => certificate::run(options),
        #[cfg(feature = "exhaustive")]
        Some(Command::Exhaustive(options)) => exhaustive::run(options),
        None => verify(&cli),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            note(format!("error: {error}\n"));
            ExitCode::from(2)
        }
    }
}
