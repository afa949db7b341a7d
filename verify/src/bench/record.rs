//! What a run found, as JSON, and what differs between two runs.

use super::measure::Figure;
use crate::report::{list, quote};
use serde_json::Value;

/// The version of the JSON layout; `benches/README.md` documents it.
const SCHEMA: u64 = 1;
/// No difference below this share is reported, however quiet the machine seemed.
const LEAST: f64 = 0.05;

/// One operation, type and shape: nanoseconds an element of every candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// f32 or f64.
    pub type_name: String,
    /// The operation.
    pub op: String,
    /// The shape's name.
    pub shape: String,
    /// outer, len, inner.
    pub extents: [usize; 3],
    /// Yardsticks first, then the backends.
    pub figures: Vec<(String, Figure)>,
}

/// Candidates that are no backend.
const YARDSTICKS: [&str; 3] = ["copy", "sum", "naive"];

impl Row {
    /// Operation, type and shape.
    pub fn name(&self) -> String {
        format!("{} {} {}", self.type_name, self.op, self.shape)
    }

    /// A candidate's figure.
    pub fn figure(&self, candidate: &str) -> Option<Figure> {
        self.figures.iter().find(|(name, _)| name == candidate).map(|&(_, figure)| figure)
    }

    /// A candidate's nanoseconds an element; NaN if it was not timed.
    pub fn ns(&self, candidate: &str) -> f64 {
        self.figure(candidate).map_or(f64::NAN, |f| f.ns)
    }

    /// The limit in use of the memory: copying the input, or summing it for an operation that reduces.
    pub fn limit(&self) -> &'static str {
        if self.figure("sum").is_some() { "sum" } else { "copy" }
    }

    /// The yardsticks timed.
    pub fn yardsticks(&self) -> &'static [&'static str] {
        if self.limit() == "sum" { &YARDSTICKS } else { &["copy", "naive"] }
    }

    /// The backends timed.
    pub fn backends(&self) -> impl Iterator<Item = (&str, Figure)> {
        let named = self.figures.iter().map(|(name, figure)| (name.as_str(), *figure));
        named.filter(|(name, _)| !YARDSTICKS.contains(name))
    }
}

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The processor and how the program was built.
    pub machine: String,
    /// Version of lossprep-verify.
    pub version: String,
    /// What was timed.
    pub rows: Vec<Row>,
}

impl Record {
    /// As JSON, a line a row.
    pub fn json(&self) -> String {
        let rows = self.rows.iter().map(|row| {
            let figures = row.figures.iter().map(|(name, f)| {
                format!(
                    "{}: {{\"ns\": {:.5}, \"low\": {:.5}, \"high\": {:.5}}}",
                    quote(name),
                    f.ns,
                    f.range.0,
                    f.range.1
                )
            });
            format!(
                "\n{{\"type\": {}, \"op\": {}, \"shape\": {}, \"extents\": {:?}, \"figures\": {{{}}}}}",
                quote(&row.type_name),
                quote(&row.op),
                quote(&row.shape),
                row.extents,
                figures.collect::<Vec<_>>().join(", ")
            )
        });
        format!(
            "{{\"schema\": {SCHEMA}, \"version\": {}, \"machine\": {}, \"rows\": {}}}\n",
            quote(&self.version),
            quote(&self.machine),
            list(rows)
        )
    }

    /// From [`json`](Self::json).
    ///
    /// # Errors
    /// If the text is something else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let json: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if json["schema"] != SCHEMA {
            return Err(format!("not a benchmark record of schema {SCHEMA}"));
        }
        let rows = json["rows"].as_array().and_then(|rows| rows.iter().map(parse_row).collect());
        Ok(Self {
            machine: string(&json["machine"]).unwrap_or_default(),
            version: string(&json["version"]).unwrap_or_default(),
            rows: rows.ok_or("a row is incomplete")?,
        })
    }

    /// The row of that type, operation and shape.
    pub fn find(&self, type_name: &str, op: &str, extents: [usize; 3]) -> Option<&Row> {
        self.rows.iter().find(|r| (&*r.type_name, &*r.op, r.extents) == (type_name, op, extents))
    }
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(String::from)
}

fn parse_row(row: &Value) -> Option<Row> {
    let extents = row["extents"].as_array()?;
    let extent = |i: usize| Some(extents.get(i)?.as_u64()? as usize);
    let figure = |(name, f): (&String, &Value)| {
        let range = (f["low"].as_f64()?, f["high"].as_f64()?);
        Some((name.clone(), Figure { ns: f["ns"].as_f64()?, range }))
    };
    Some(Row {
        type_name: string(&row["type"])?,
        op: string(&row["op"])?,
        shape: string(&row["shape"])?,
        extents: [extent(0)?, extent(1)?, extent(2)?],
        figures: row["figures"].as_object()?.iter().map(figure).collect::<Option<_>>()?,
    })
}

/// One backend on one row, then and now.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The row's index in the new record.
    pub row: usize,
    /// The backend.
    pub backend: String,
    /// Nanoseconds an element then and now.
    pub ns: [f64; 2],
    /// Times as long as then, by the clock.
    pub by_clock: f64,
    /// The same relative to the naive loop, so that a slower machine cancels.
    pub by_naive: f64,
    /// What two runs differ by without a cause: twice the noise of both, at least 5%.
    pub noise: f64,
}

impl Change {
    /// Slower beyond the noise, by the clock and beside the naive loop.
    pub fn slower(&self) -> bool {
        self.by_clock.min(self.by_naive) > 1.0 + self.noise
    }

    /// Faster beyond it.
    pub fn faster(&self) -> bool {
        self.by_clock.max(self.by_naive) < 1.0 / (1.0 + self.noise)
    }
}

/// Every backend on every row that both runs have.
pub fn changes(old: &Record, new: &Record) -> Vec<Change> {
    let mut all = Vec::new();
    for (index, row) in new.rows.iter().enumerate() {
        let Some(before) = old.find(&row.type_name, &row.op, row.extents) else { continue };
        for (backend, now) in row.backends() {
            let Some(then) = before.figure(backend) else { continue };
            let by_clock = now.ns / then.ns;
            all.push(Change {
                row: index,
                backend: backend.into(),
                ns: [then.ns, now.ns],
                by_clock,
                by_naive: by_clock * before.ns("naive") / row.ns("naive"),
                noise: LEAST.max(2.0 * then.noise().hypot(now.noise())),
            });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(naive: f64, avx2: f64, spread: f64) -> Record {
        let figure = |ns| Figure { ns, range: (ns, ns * (1.0 + spread)) };
        let row = Row {
            type_name: "f32".into(),
            op: "softmax".into(),
            shape: "16x10".into(),
            extents: [16, 10, 1],
            figures: vec![("avx2".into(), figure(avx2)), ("naive".into(), figure(naive))],
        };
        Record { machine: "a \"b\"".into(), version: "1".into(), rows: vec![row] }
    }

    #[test]
    fn json_is_read_as_it_was_written() {
        let record = record(4.0, 0.25, 0.5);
        assert_eq!(Record::parse(&record.json()), Ok(record));
        assert!(Record::parse("{}").is_err() && Record::parse("[").is_err());
        assert!(Record::parse("{\"schema\": 1, \"rows\": [{}]}").is_err());
    }

    #[test]
    fn only_what_is_beyond_the_noise_counts() {
        let change = |old: &Record, new: &Record| changes(old, new).remove(0);
        let old = record(4.0, 0.25, 0.0);
        let slower = change(&old, &record(4.0, 0.3, 0.0));
        assert!(slower.slower() && !slower.faster() && (slower.by_clock - 1.2).abs() < 1e-9);
        assert!(!change(&old, &record(4.0, 0.26, 0.0)).slower(), "4% is within the least noise");
        assert!(!change(&old, &record(4.0, 0.3, 0.2)).slower(), "the passes differed by as much");
        assert!(!change(&old, &record(4.8, 0.3, 0.0)).slower(), "the machine is slower, the kernel is not");
        assert!(change(&old, &record(4.0, 0.2, 0.0)).faster());
    }
}
