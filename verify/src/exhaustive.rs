//! Every f32 there is through the functions of the certificate, judged.
//!
//! A first estimate of the truth comes from CORE-MATH's correctly rounded f64 functions, with a bound of what the few
//! operations around them add. Where that does not decide how the result rounds, and for special values, the
//! double-double oracle does.

use crate::certificate::{BATCH, Batch, Digest, Function, PART, PARTS, hex, join, on_all_cores, quick};
use crate::oracle::{Row, evaluate};
use crate::output::{self, say};
use crate::real::Real;
use crate::ulp::{Claim, Expect, Judgement, Number, Truth, error_in_ulps, judge};
use crate::wide::Wide;
use lossprep::{Backend, Kernels};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Mutex;

/// What is known of an output before the oracle is asked.
enum Estimate {
    /// A number, how far it may be from the truth, and, where a claim is wider for cancelling terms, their size.
    Near { value: f64, within: f64, terms: f64 },
    /// NaN.
    Nan,
    /// The oracle has to tell.
    Unknown,
    /// Not a case that the contract speaks of.
    Outside,
}

/// Up to four operations, each rounded at 2⁻⁵³, and as much again.
const ROUNDINGS: f64 = 1.0 / (1u64 << 50) as f64;

fn estimate(function: Function, x: f32) -> Estimate {
    let inverse = matches!(function, Function::Inverse(..) | Function::InverseVjp(..));
    let (lo, hi) = function.range().map_or((0.0, 1.0), |(lo, hi)| (f64::from(lo), f64::from(hi)));
    let x = f64::from(x);
    if x.is_nan() || inverse && (x < lo || x > hi) {
        return Estimate::Nan;
    }
    if x.is_infinite() || inverse && (x == lo || x == hi) {
        // exp(+∞) is no probability.
        return if function == Function::Exp && x > 0.0 { Estimate::Outside } else { Estimate::Unknown };
    }
    let e = if inverse || function == Function::Exp { 0.0 } else { core_math::exp(-x.abs()) };
    let near = |value: f64| Estimate::Near { value, within: value.abs() * ROUNDINGS, terms: 0.0 };
    match function {
        // Beyond the largest f32 the operation has no such result to give.
        Function::Exp if x > 88.7 => Estimate::Outside,
        Function::Exp => near(core_math::exp(x)),
        Function::LogSigmoid => near(-(core_math::log1p(e) + x.max(0.0))),
        Function::LogsumexpVjp => near(if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }),
        Function::Sigmoid(..) if lo == -hi => {
            let size = -core_math::expm1(-x.abs()) / (1.0 + e) * hi;
            near(size.copysign(x))
        }
        Function::Sigmoid(..) => {
            let (below, above) = if x < 0.0 { (1.0, e) } else { (e, 1.0) };
            let (low, high) = (lo * below / (1.0 + e), hi * above / (1.0 + e));
            let terms = low.abs() + high.abs();
            let cancels = lo < 0.0 && hi > 0.0;
            Estimate::Near {
                value: low + high,
                within: terms * ROUNDINGS,
                terms: if cancels { terms } else { 0.0 },
            }
        }
        Function::SigmoidVjp(..) => near((hi - lo) * e / ((1.0 + e) * (1.0 + e))),
        // 1 − x may need more bits than there are, 2x − 1 does not.
        Function::Inverse(..) if (0.25..0.75).contains(&x) => {
            near(core_math::log1p((x + x - 1.0) / (1.0 - x)))
        }
        Function::Inverse(..) => near(core_math::log(x / (1.0 - x))),
        Function::InverseVjp(..) => near(1.0 / (x * (1.0 - x))),
    }
}

/// The truth in double-double arithmetic.
fn truth(function: Function, x: f32) -> Truth<Wide> {
    if function == Function::Exp && x.is_finite() {
        return Truth::value(Wide::from_f64(x.into()).exp(), Claim::Result);
    }
    let (op, other, second, output) = function.as_row();
    let row: Vec<f64> = std::iter::once(f64::from(x)).chain(other.iter().copied()).collect();
    let row = Row { x: &row, second, norm: 0.0, keep: None };
    evaluate::<Wide>(op, row, &function.params()).swap_remove(output)
}

/// The last place of f32 at a number.
fn last_place(v: f64) -> f64 {
    let exponent = ((v.abs().to_bits() >> 52) as i64 - 1023).max(-126) - 23;
    f64::from_bits(((1023 + exponent) as u64) << 52)
}

/// What a part of the inputs came to.
#[derive(Default)]
struct Tally {
    judged: u64,
    /// The largest error as a share of its claim, and where.
    share: f64,
    witness: u32,
    /// Results that are not the nearest number, and those that break their claim.
    misrounded: u64,
    broken: u64,
    /// Neighbours in the wrong order.
    reversals: u64,
    /// Outputs that the double-double oracle decided.
    asked: u64,
}

impl Tally {
    /// False for what is not judged.
    fn take(&mut self, function: Function, x: f32, y: f32) -> bool {
        let estimate = estimate(function, x);
        let (share, misrounded) = match estimate {
            Estimate::Outside => return false,
            Estimate::Nan => (0.0, y.to_bits() != 0x7fc0_0000),
            Estimate::Near { value, within, terms } if y.is_finite() => {
                let nearest = value as f32;
                let decided = (value - within) as f32 == nearest && (value + within) as f32 == nearest;
                if decided && (y != 0.0 || value == 0.0 || nearest == 0.0) {
                    let place = last_place(value);
                    let claim = match function {
                        Function::LogsumexpVjp | Function::SigmoidVjp(..) | Function::InverseVjp(..) => 4.0,
                        _ => (0.5 + terms / place / (1 << 27) as f64).max(1.0),
                    };
                    let odd = matches!(function, Function::Sigmoid(lo, hi) if lo == -hi);
                    let wrong_zero = y == 0.0 && y.is_sign_negative() != (odd && x.is_sign_negative());
                    if wrong_zero {
                        (2.0, true)
                    } else {
                        ((f64::from(y) - value).abs() / place / claim, y != nearest)
                    }
                } else {
                    self.ask(function, x, y)
                }
            }
            _ => self.ask(function, x, y),
        };
        self.judged += 1;
        self.misrounded += u64::from(misrounded);
        self.broken += u64::from(share > 1.0 || misrounded && matches!(estimate, Estimate::Nan));
        if share > self.share {
            (self.share, self.witness) = (share, x.to_bits());
        }
        true
    }

    fn ask(&mut self, function: Function, x: f32, y: f32) -> (f64, bool) {
        self.asked += 1;
        let truth = truth(function, x);
        match judge(y, &truth) {
            Judgement::Special => (0.0, false),
            Judgement::Error { share, .. } => {
                let nearest = match &truth.expect {
                    Expect::Value(v) => error_in_ulps(f32::FORMAT, y.into(), v, v) <= 0.5,
                    _ => true,
                };
                (share, !nearest)
            }
            Judgement::WrongClass | Judgement::WrongZero => (2.0, true),
        }
    }
}

/// Judges one part: a line of the record, with the digest that shows whether a later build computes the same.
fn judge_part(kernels: Kernels, function: Function, part: usize, quick: &str) -> Result<Value, String> {
    let mut line = judge_patterns(kernels, function, part * PART..(part + 1) * PART)?;
    line["part"] = part.into();
    line["quick_digest"] = quick.into();
    Ok(line)
}

/// The finished parts of a record, of functions that still have the same digest.
fn finished(record: &str, digests: &BTreeMap<String, String>) -> BTreeMap<String, BTreeMap<usize, Value>> {
    let mut done: BTreeMap<String, BTreeMap<usize, Value>> = BTreeMap::new();
    // The last line of a run that was killed may be half a line.
    for line in record.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        if let (Some(name), Some(part)) = (line["function"].as_str(), line["part"].as_u64())
            && digests.get(name).is_some_and(|digest| line["quick_digest"] == digest.as_str())
        {
            done.entry(name.to_owned()).or_default().insert(part as usize, line.clone());
        }
    }
    done
}

/// Judges the inputs of these patterns, of one sign and in whole batches.
fn judge_patterns(kernels: Kernels, function: Function, patterns: Range<usize>) -> Result<Value, String> {
    let mut batch = Batch::new(function);
    let (mut digest, mut tally) = (Digest::EMPTY, Tally::default());
    // Of the negative numbers the larger pattern is the smaller number.
    let sign = if patterns.start < 1 << 31 { 1.0 } else { -1.0 };
    let up = f32::from(function.direction().unwrap_or(0)) * sign;
    let (mut first, mut last) = (f32::NAN, f32::NAN);
    for start in patterns.step_by(BATCH) {
        let start = start as u32;
        let (x, out) =
            batch.run(kernels, function, (0..BATCH as u32).map(|i| start + i)).map_err(|e| e.to_string())?;
        digest.add(out);
        for (&x, &y) in x.iter().zip(out) {
            if !tally.take(function, x, y) {
                continue;
            }
            tally.reversals += u64::from((y - last) * up < 0.0);
            if first.is_nan() {
                first = y;
            }
            last = y;
        }
    }
    Ok(json!({
        "function": function.name(), "digest": hex(digest.0), "judged": tally.judged,
        "share": tally.share, "witness": tally.witness, "misrounded": tally.misrounded, "broken": tally.broken,
        "reversals": tally.reversals, "asked": tally.asked, "first": first.to_bits(), "last": last.to_bits(),
    }))
}

/// The parts of a function put together.
fn entry(
    function: Function,
    kernels: Kernels,
    parts: &BTreeMap<usize, Value>,
    quick: &str,
) -> Result<Value, String> {
    let sum = |key: &str| parts.values().filter_map(|p| p[key].as_u64()).sum::<u64>();
    let digests: Vec<u64> = parts
        .values()
        .map(|p| u64::from_str_radix(p["digest"].as_str().unwrap_or_default(), 16).map_err(|e| e.to_string()))
        .collect::<Result<_, _>>()?;
    let worst = parts.values().max_by(|a, b| {
        let share = |p: &Value| p["share"].as_f64().unwrap_or(0.0);
        share(a).total_cmp(&share(b))
    });
    let x = f32::from_bits(worst.and_then(|w| w["witness"].as_u64()).unwrap_or(0) as u32);
    let mut batch = Batch::new(function);
    let (_, out) =
        batch.run(kernels, function, (0..BATCH).map(|_| x.to_bits())).map_err(|e| e.to_string())?;
    let Judgement::Error { ulps, share, .. } = judge(out[0], &truth(function, x)) else {
        return Err(format!("{}: the witness {x:e} is a special value", function.name()));
    };
    // Neighbours on the two sides of a border, and the two zeros.
    let end = |part: usize, key: &str| f32::from_bits(parts[&part][key].as_u64().unwrap_or(0) as u32);
    let mut reversals = sum("reversals");
    if let Some(direction) = function.direction() {
        let up = f32::from(direction);
        let half = PARTS / 2;
        for k in 1..half {
            reversals += u64::from((end(k, "first") - end(k - 1, "last")) * up < 0.0);
            reversals += u64::from((end(half + k, "first") - end(half + k - 1, "last")) * up > 0.0);
        }
        reversals += u64::from((end(0, "first") - end(half, "first")) * up < 0.0);
    }
    Ok(json!({
        "function": function.name(), "inputs": 1u64 << 32, "judged": sum("judged"),
        "max_ulp": (ulps * 1e6).round() / 1e6, "share_of_claim": (share * 1e6).round() / 1e6,
        "witness": format!("{:#010x}", x.to_bits()),
        "not_correctly_rounded": sum("misrounded"), "broken": sum("broken"),
        "monotonic": function.direction().map(|_| reversals == 0), "asked": sum("asked"),
        "digest": hex(join(&digests)), "quick_digest": quick,
    }))
}

/// What to judge.
#[derive(clap::Args)]
pub struct Options {
    /// Only functions whose name begins so
    #[arg(long)]
    only: Option<String>,
    /// The certificate; entries of other functions stay in it [default: certificate.json of the source]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Finished parts; a run that was stopped goes on from here
    #[arg(long, default_value = "exhaustive.jsonl")]
    record: PathBuf,
}

/// Judges all 2³² inputs of each function, and writes the certificate.
///
/// # Errors
/// If a file cannot be read or written.
pub fn run(options: &Options) -> Result<bool, String> {
    let own = || concat!(env!("CARGO_MANIFEST_DIR"), "/certificate.json").into();
    let out = options.out.clone().unwrap_or_else(own);
    output::writable([&out])?;
    let kernels = Backend::best().and_then(Backend::try_get).map_err(|e| e.to_string())?;
    let only = options.only.as_deref().unwrap_or("");
    let functions: Vec<Function> =
        Function::all().into_iter().filter(|f| f.name().starts_with(only)).collect();
    let mut digests: BTreeMap<String, String> = BTreeMap::new();
    for &function in &functions {
        digests.insert(function.name(), hex(quick(kernels, function).map_err(|e| e.to_string())?));
    }
    let done = finished(&std::fs::read_to_string(&options.record).unwrap_or_default(), &digests);
    let open: Vec<(Function, usize)> = functions
        .iter()
        .flat_map(|&f| (0..PARTS).map(move |part| (f, part)))
        .filter(|(f, part)| done.get(&f.name()).is_none_or(|parts| !parts.contains_key(part)))
        .collect();
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&options.record);
    let file = Mutex::new(file.map_err(|e| format!("{}: {e}", options.record.display()))?);
    let done = Mutex::new(done);
    on_all_cores("exhaustive", open.len(), |i| {
        let (function, part) = open[i];
        let line = judge_part(kernels, function, part, &digests[&function.name()])?;
        writeln!(file.lock().map_err(|e| e.to_string())?, "{line}").map_err(|e| e.to_string())?;
        done.lock().map_err(|e| e.to_string())?.entry(function.name()).or_default().insert(part, line);
        Ok(())
    })?;
    let done = done.into_inner().map_err(|e| e.to_string())?;
    let mut entries: BTreeMap<String, Value> = if out.exists() {
        crate::certificate::read(&out)?.into_iter().map(|(f, entry)| (f.name(), entry)).collect()
    } else {
        BTreeMap::new()
    };
    let (mut holds, mut report) = (true, String::new());
    for function in functions {
        let entry = entry(function, kernels, &done[&function.name()], &digests[&function.name()])?;
        report += &format!("{entry}\n");
        holds &= entry["broken"] == 0 && entry["monotonic"] != false;
        entries.insert(function.name(), entry);
    }
    let list: Vec<String> = entries.values().map(|entry| format!("    {entry}")).collect();
    let text = format!(
        "{{\n  \"schema\": 1,\n  \"version\": \"{}\",\n  \"type\": \"f32\",\n  \"functions\": [\n{}\n  ]\n}}\n",
        env!("CARGO_PKG_VERSION"),
        list.join(",\n")
    );
    output::write(&out, text)?;
    say(report)?;
    Ok(holds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two batches where a number is the last of the first.
    fn around(function: Function, x: f32) -> Value {
        let from = (x.to_bits() as usize).div_ceil(BATCH) * BATCH - BATCH;
        let kernels = Backend::Scalar.try_get().unwrap();
        judge_patterns(kernels, function, from..from + 2 * BATCH).unwrap()
    }

    #[test]
    fn a_record_of_other_bits_is_not_gone_on_with() {
        let digests = BTreeMap::from([("exp".to_owned(), "2".to_owned())]);
        let record = r#"{"function": "exp", "part": 0, "quick_digest": "1"}
            {"function": "exp", "part": 1, "quick_digest": "2"}
            {"function": "exp", "part": 2}
            {"function": "exp", "pa"#;
        let done = finished(record, &digests);
        assert_eq!(done["exp"].keys().collect::<Vec<_>>(), [&1]);
    }

    #[test]
    fn only_what_is_judged_has_to_be_in_order() {
        // exp x is no probability beyond the first; far beyond, what stands in its place is in no order.
        for (x, judged) in [(88.7, 9831), (1e10, 0), (f32::INFINITY, BATCH - 1)] {
            let line = around(Function::Exp, x);
            assert_eq!([&line["reversals"], &line["broken"], &line["judged"]], [0, 0, judged], "{x}");
        }
        let line = around(Function::Sigmoid(0.0, 1.0), 1.0);
        assert_eq!([&line["reversals"], &line["broken"], &line["judged"]], [0, 0, 2 * BATCH], "{line}");
    }
}
