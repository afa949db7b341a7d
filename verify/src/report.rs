//! What the report says: the table for people, and the same as JSON.

use crate::check::{Tally, Witness};
use crate::losses;
use crate::oracle::Op;
use crate::special::Line;
use crate::ulp::Number;
use std::fmt::Write as _;

/// The version of the JSON layout; `README.md` documents it.
pub const SCHEMA: u32 = 3;

/// One operation and type.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The operation.
    pub op: Op,
    /// The element type's name.
    pub type_name: &'static str,
    /// Outputs judged by the first tier.
    pub outputs: u64,
    /// Outputs judged again by the second.
    pub second_tier: u64,
    /// Outputs under the wider claim of a cancellation.
    pub cancelling: u64,
    /// Largest error where the plain claim applies, in ULP.
    pub max_ulps: f64,
    /// Mean of those errors.
    pub mean_ulps: f64,
    /// Largest share of a claim, at a cancellation too.
    pub max_share: f64,
    /// Broken claims, wrong bits and disagreements of the oracle.
    pub faults: u64,
    /// Comparisons of the bits of two forms.
    pub compared: u64,
    /// Those that differed.
    pub differing: u64,
    /// The output nearest to its claim, or farthest beyond.
    pub worst: Option<Witness>,
    /// The first faults.
    pub findings: Vec<Witness>,
    /// Seconds it took.
    pub seconds: f64,
}

impl Entry {
    /// From what a check found.
    pub fn new<T: Number>(op: Op, tally: &Tally<T>, seconds: f64) -> Self {
        Self {
            op,
            type_name: T::NAME,
            outputs: tally.outputs,
            second_tier: tally.second_tier,
            cancelling: tally.cancelling,
            max_ulps: tally.max_ulps,
            mean_ulps: tally.mean_ulps(),
            max_share: tally.max_share,
            faults: tally.broken + tally.differing + tally.disagreements,
            compared: tally.compared,
            differing: tally.differing,
            worst: tally.worst.clone(),
            findings: tally.findings.clone(),
            seconds,
        }
    }

    /// The plain claim in words.
    pub fn claim(&self) -> &'static str {
        if self.op.is_gradient() { "4 ULP of M" } else { "1 ULP" }
    }
}

/// The finite-difference check of one gradient.
#[derive(Clone, Debug)]
pub struct Differences {
    /// The gradient.
    pub op: Op,
    /// The element type's name.
    pub type_name: &'static str,
    /// Checks run.
    pub checks: u64,
    /// What was wrong.
    pub failures: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// quick, default or full.
    pub level: &'static str,
    /// The backends that ran, the first of which was judged.
    pub backends: Vec<&'static str>,
    /// Those that are not available here.
    pub not_run: Vec<&'static str>,
    /// Accuracy and same bits.
    pub entries: Vec<Entry>,
    /// Special values, for each type.
    pub special: Vec<(&'static str, Vec<Line>)>,
    /// Gradients against finite differences.
    pub differences: Vec<Differences>,
    /// The losses.
    pub losses: Vec<losses::Line>,
}

impl Report {
    /// Whether every claim holds.
    pub fn holds(&self) -> bool {
        self.entries.iter().all(|e| e.faults == 0)
            && self.special.iter().all(|(_, lines)| lines.iter().all(|l| l.failures.is_empty()))
            && self.differences.iter().all(|d| d.failures.is_empty())
            && self.losses.iter().all(|l| l.failures.is_empty())
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let mut line = |text: String| {
            out.push_str(text.trim_end());
            out.push('\n');
        };
        line(format!("lossprep verification, {} run, seed {}", self.level, self.seed));
        line(format!("backends: {} (the first is judged, all are compared)", self.backends.join(", ")));
        if !self.not_run.is_empty() {
            line(format!("not run here: {}", self.not_run.join(", ")));
        }
        if !self.entries.is_empty() {
            line(String::new());
            line(format!(
                "{:<27} {:<4} {:>11} {:>8} {:>8} {:>8} {:<11} {:>8} {:>10}  verdict",
                "operation",
                "type",
                "outputs",
                "2nd tier",
                "max ULP",
                "mean",
                "claim",
                "of claim",
                "same bits"
            ));
        }
        for e in &self.entries {
            line(format!(
                "{:<27} {:<4} {:>11} {:>8} {:>8.4} {:>8.4} {:<11} {:>7.1}% {:>10}  {}",
                e.op.name(),
                e.type_name,
                grouped(e.outputs),
                grouped(e.second_tier),
                e.max_ulps,
                e.mean_ulps,
                e.claim(),
                e.max_share * 100.0,
                if e.differing == 0 { grouped(e.compared) } else { format!("{} differ", e.differing) },
                if e.faults == 0 { "holds".into() } else { format!("BROKEN ({})", grouped(e.faults)) },
            ));
        }
        if self.entries.iter().any(|e| e.worst.is_some()) {
            line(String::new());
            line("worst inputs, as bits; [lossprep-verify replay NAME] makes one again".into());
        }
        for e in &self.entries {
            if let Some(w) = &e.worst {
                line(format!("  {} {}: {}", e.op.name(), e.type_name, w.line()));
            }
        }
        for (type_name, lines) in &self.special {
            let mut run = lines.iter().filter(|l| l.cases > 0).peekable();
            if run.peek().is_none() {
                continue;
            }
            line(String::new());
            line(format!("special values, {type_name}"));
            for l in run {
                let verdict = if l.failures.is_empty() { "holds" } else { "BROKEN" };
                line(format!("  {:<52} {:>6} cases  {verdict}", l.name, l.cases));
                l.failures.iter().for_each(|f| line(format!("      {f}")));
            }
        }
        if !self.differences.is_empty() {
            line(String::new());
            line("gradients against finite differences".into());
            for d in &self.differences {
                let verdict = if d.failures.is_empty() { "holds" } else { "BROKEN" };
                line(format!("  {:<27} {:<4} {:>4} checks  {verdict}", d.op.name(), d.type_name, d.checks));
                d.failures.iter().for_each(|f| line(format!("      {f}")));
            }
        }
        if !self.losses.is_empty() {
            losses::table(&self.losses).lines().for_each(|l| line(l.into()));
        }
        let findings: Vec<_> =
            self.entries.iter().flat_map(|e| e.findings.iter().map(move |w| (e, w))).collect();
        if !findings.is_empty() {
            line(String::new());
            line("findings".into());
            for (e, w) in findings {
                line(format!("  {} {}: {}", e.op.name(), e.type_name, w.line()));
            }
        }
        let of_losses = |count: fn(&losses::Line) -> u64| self.losses.iter().map(count).sum::<u64>();
        let total = self.entries.iter().map(|e| e.outputs).sum::<u64>() + of_losses(|l| l.outputs);
        let second = self.entries.iter().map(|e| e.second_tier).sum::<u64>() + of_losses(|l| l.second_tier);
        line(String::new());
        line(format!(
            "{} outputs judged by the first tier, {} of them again by the second",
            grouped(total),
            grouped(second)
        ));
        line(if self.holds() { "every claim holds".into() } else { "A CLAIM IS BROKEN".into() });
        out
    }

    /// The same as JSON.
    pub fn json(&self) -> String {
        let mut out = String::new();
        let strings = |v: &[&str]| list(v.iter().map(|s| quote(s)));
        let _ = write!(
            out,
            "{{\"schema\": {SCHEMA}, \"version\": {}, \"holds\": {}, \"level\": {}, \"seed\": {}, \
             \"backends\": {}, \"not_run\": {},\n\"operations\": {},\n\"special\": {},\n\"differences\": {},\n\"losses\": {}}}\n",
            quote(env!("CARGO_PKG_VERSION")),
            self.holds(),
            quote(self.level),
            quote(&self.seed.to_string()),
            strings(&self.backends),
            strings(&self.not_run),
            list(self.entries.iter().map(entry_json)),
            list(self.special.iter().flat_map(|(t, lines)| lines.iter().map(|l| {
                format!(
                    "{{\"type\": {}, \"line\": {}, \"cases\": {}, \"failures\": {}}}",
                    quote(t),
                    quote(l.name),
                    l.cases,
                    list(l.failures.iter().map(|f| quote(f)))
                )
            }))),
            list(self.differences.iter().map(|d| format!(
                "{{\"operation\": {}, \"type\": {}, \"checks\": {}, \"failures\": {}}}",
                quote(d.op.name()),
                quote(d.type_name),
                d.checks,
                list(d.failures.iter().map(|f| quote(f)))
            ))),
            list(self.losses.iter().map(losses::Line::json))
        );
        out
    }
}

impl Witness {
    /// In one line, enough to compute it again; long rows are cut.
    fn line(&self) -> String {
        let bits = |v: &[u64]| {
            let shown: Vec<String> = v.iter().take(8).map(|b| format!("{b:#x}")).collect();
            format!("[{}{}]", shown.join(" "), if v.len() > 8 { " …" } else { "" })
        };
        let mut out = format!("{}, {} of {}", self.family, self.index, self.len);
        if !self.params.is_empty() {
            let _ = write!(out, ", {}", self.params);
        }
        if !self.keep.is_empty() {
            out.push_str(", masked");
        }
        let _ = write!(out, ": x {}", bits(&self.x));
        if !self.second.is_empty() {
            let _ = write!(out, " with {}", bits(&self.second));
        }
        if let Some(norm) = self.norm {
            let _ = write!(out, " norm {norm:#x}");
        }
        let _ = write!(out, " gives {:#x} for {}: {}", self.got, self.expected, self.finding);
        if !self.replay.is_empty() {
            let _ = write!(out, " [{}]", self.replay);
        }
        out
    }
}

fn entry_json(e: &Entry) -> String {
    format!(
        "{{\"operation\": {}, \"type\": {}, \"outputs\": {}, \"second_tier\": {}, \"cancelling\": {}, \
         \"max_ulp\": {}, \"mean_ulp\": {}, \"claim\": {}, \"max_share\": {}, \"compared\": {}, \
         \"differing\": {}, \"faults\": {}, \"seconds\": {}, \"worst\": {}, \"findings\": {}}}",
        quote(e.op.name()),
        quote(e.type_name),
        e.outputs,
        e.second_tier,
        e.cancelling,
        number(e.max_ulps),
        number(e.mean_ulps),
        quote(e.claim()),
        number(e.max_share),
        e.compared,
        e.differing,
        e.faults,
        number(e.seconds),
        e.worst.as_ref().map_or("null".into(), witness_json),
        list(e.findings.iter().map(witness_json))
    )
}

fn witness_json(w: &Witness) -> String {
    // Bits as strings: a JSON number is read as a double by most.
    let bits = |v: &[u64]| list(v.iter().map(|b| format!("\"{b:#x}\"")));
    format!(
        "{{\"replay\": {}, \"family\": {}, \"len\": {}, \"index\": {}, \"x\": {}, \"second\": {}, \"norm\": {}, \"keep\": {}, \
         \"parameters\": {}, \"got\": \"{:#x}\", \"expected\": {}, \"finding\": {}, \"share\": {}}}",
        quote(&w.replay),
        quote(&w.family),
        w.len,
        w.index,
        bits(&w.x),
        bits(&w.second),
        w.norm.map_or("null".into(), |b| format!("\"{b:#x}\"")),
        list(w.keep.iter().map(bool::to_string)),
        quote(&w.params),
        w.got,
        quote(&w.expected),
        quote(&w.finding),
        number(w.share)
    )
}

/// JSON has no infinity: null.
fn number(v: f64) -> String {
    if v.is_finite() { format!("{v:?}") } else { "null".into() }
}

pub(crate) fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(", "))
}

pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// 1234567 as 1,234,567.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(faults: u64) -> Report {
        let worst = Witness { family: "a \"b\"".into(), len: 2, x: vec![1, 2], got: 7, ..Witness::default() };
        let entry = Entry {
            op: Op::Softmax,
            type_name: "f32",
            outputs: 1_234_567,
            second_tier: 3,
            cancelling: 0,
            max_ulps: 0.58,
            mean_ulps: 0.25,
            max_share: 0.58,
            faults,
            compared: 12,
            differing: 0,
            worst: Some(worst.clone()),
            findings: vec![worst; faults as usize],
            seconds: 0.5,
        };
        Report { level: "quick", backends: vec!["scalar"], entries: vec![entry], ..Report::default() }
    }

    #[test]
    fn a_planted_fault_breaks_the_verdict() {
        assert!(report(0).holds() && report(0).table().contains("every claim holds"));
        assert!(!report(1).holds() && report(1).table().contains("A CLAIM IS BROKEN"));
        let failing = Line { name: "a line", cases: 1, failures: vec!["wrong".into()] };
        let special = Report { special: vec![("f32", vec![failing])], ..report(0) };
        assert!(!special.holds() && special.table().contains("wrong"));
        let failures = vec!["off".into()];
        let differing = Differences { op: Op::SoftmaxVjp, type_name: "f32", checks: 1, failures };
        assert!(!Report { differences: vec![differing], ..report(0) }.holds());
    }

    #[test]
    fn empty_sections_are_left_out() {
        let special = vec![("f32", vec![Line { name: "a line", ..Line::default() }])];
        let table = Report { special, ..Report::default() }.table();
        assert!(!["operation", "worst", "special"].iter().any(|what| table.contains(what)), "{table}");
        assert!(["operation", "worst"].iter().all(|what| report(0).table().contains(what)));
    }

    #[test]
    fn json_is_escaped_and_balanced() {
        let json = report(2).json();
        assert!(json.contains("\"schema\": 3") && json.contains("a \\\"b\\\"") && json.contains("\"0x7\""));
        assert_eq!(json.matches(['{', '[']).count(), json.matches(['}', ']']).count());
        assert!(number(f64::INFINITY) == "null" && grouped(1000) == "1,000" && grouped(12) == "12");
    }
}
