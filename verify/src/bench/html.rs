//! The record as one page: plots of speed over row length, and the figures. Nothing is loaded from elsewhere.

use super::record::{Record, Row};
use super::{groups, short, summary};
use std::fmt::Write as _;

const STYLE: &str = "
:root { color-scheme: light dark; --back: #fcfcfb; --ink: #1b1b19; --soft: #6b6a64; --line: #e3e2dc;
  --avx512: #2a6fdb; --avx2: #128a6b; --neon: #2a6fdb; --portable: #b8621b; --scalar: #a23f7d; --naive: #6b6a64; --limit: #1b1b19 }
@media (prefers-color-scheme: dark) { :root { --back: #191918; --ink: #ecebe6; --soft: #a3a29b; --line: #373632;
  --avx512: #7fb0ff; --avx2: #55c9a6; --neon: #7fb0ff; --portable: #f0a35e; --scalar: #e28fc2; --naive: #a3a29b; --limit: #ecebe6 } }
body { margin: 2rem auto; max-width: 64rem; padding: 0 1rem; background: var(--back); color: var(--ink); font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem } p { margin: .4rem 0 } .soft { color: var(--soft) }
.plots { display: flex; flex-wrap: wrap; gap: 1.5rem } figure { margin: 0; flex: 1 1 26rem; max-width: 31rem }
svg { width: 100%; height: auto; display: block } svg text { fill: var(--soft); font-size: 11px } svg text.name { font-weight: 600 }
.grid { stroke: var(--line) } .curve { fill: none; stroke-width: 2; stroke-linejoin: round } .dash { stroke-dasharray: 5 4; stroke-width: 1.5 }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; margin: .8rem 0 }
th, td { text-align: right; padding: .15rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th:first-child, td:first-child { text-align: left } th { font-weight: 600; color: var(--soft) } td b { font-weight: 600 }
";

/// The whole page.
pub fn page(record: &Record) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>lossprep: speed</title>\
         <style>{STYLE}</style></head><body>\n<h1>lossprep {}: speed on this machine</h1>\n<p>{}</p>\n",
        escape(&record.version),
        escape(&record.machine)
    );
    out.push_str(
        "<p class=\"soft\">One thread; medians of interleaved timings. <b>naive</b> is the loop one writes with \
         iterators and std. The dashed line is the limit: copying the input, or summing it where the operation \
         reduces; a point above it has its data in a faster cache, or its neighbour had a busier moment. \
         Higher is faster. Each point is a row of the table below its plot.</p>\n",
    );
    out.push_str("<p class=\"soft\">/naive: times faster than the naive loop. ×copy, ×sum: times as long as that.</p>\n");
    out.push_str("<div class=\"scroll\"><table><tr><th>/naive, geometric mean<th>backend<th></tr>\n");
    for (type_name, part, backend, ratio) in summary(&record.rows) {
        let (type_name, backend, ratio) = (escape(&type_name), escape(&backend), short(ratio));
        let _ = writeln!(out, "<tr><td>{type_name} {part}<td>{backend}<td><b>{ratio}</b></tr>");
    }
    out.push_str("</table></div>\n");
    let mut ops: Vec<&str> = Vec::new();
    for group in groups(&record.rows) {
        if !ops.contains(&group[0].op.as_str()) {
            ops.push(&group[0].op);
        }
    }
    for op in ops {
        let _ = writeln!(out, "<h2>{}</h2>\n<div class=\"plots\">", escape(op));
        groups(&record.rows).filter(|g| g[0].op == op).for_each(|group| plot(&mut out, group));
        out.push_str("</div>\n");
        groups(&record.rows).filter(|g| g[0].op == op).for_each(|group| figures(&mut out, group));
    }
    out.push_str("</body></html>\n");
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn figures(out: &mut String, group: &[Row]) {
    let first = &group[0];
    let yardsticks = first.yardsticks();
    let (type_name, columns) = (escape(&first.type_name), yardsticks.len());
    let _ = write!(
        out,
        "<div class=\"scroll\"><table><tr><th>{type_name}<th colspan=\"{columns}\">ns an element"
    );
    for (backend, _) in first.backends() {
        let _ = write!(out, "<th colspan=\"3\">{}", escape(backend));
    }
    out.push_str("</tr>\n<tr><th>");
    for name in yardsticks {
        let _ = write!(out, "<th>{name}");
    }
    for _ in first.backends() {
        let _ = write!(out, "<th>ns<th>/naive<th>×{}", first.limit());
    }
    out.push_str("</tr>\n");
    for row in group {
        let _ = write!(out, "<tr><td>{}", escape(&row.shape));
        for name in yardsticks {
            let _ = write!(out, "<td>{:.3}", row.ns(name));
        }
        for (_, figure) in row.backends() {
            let (naive, limit) = (row.ns("naive") / figure.ns, figure.ns / row.ns(row.limit()));
            let _ = write!(out, "<td>{:.3}<td><b>{}</b><td>{}", figure.ns, short(naive), short(limit));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></div>\n");
}

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 64.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 38.0;

/// A logarithmic axis from value to place.
struct Axis {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Axis {
    fn place(&self, v: f64) -> f64 {
        self.start + (v / self.from).ln() / (self.to / self.from).ln() * (self.end - self.start)
    }

    /// Powers of ten inside, and where the axis is short also 2 and 5 times them.
    fn ticks(&self) -> Vec<f64> {
        let (low, high) = (self.from.log10().floor() as i32, self.to.log10().ceil() as i32);
        let steps: &[f64] = if high - low <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let all = (low..=high).flat_map(|e| steps.iter().map(move |s| s * 10.0_f64.powi(e)));
        all.filter(|t| (self.from * 0.999..=self.to * 1.001).contains(t)).collect()
    }
}

/// 0.5, 20, 3k, 8M.
fn tick(v: f64) -> String {
    match v {
        _ if v >= 1e6 => format!("{}M", v / 1e6),
        _ if v >= 1e3 => format!("{}k", v / 1e3),
        _ => format!("{}", (v * 1e6).round() / 1e6),
    }
}

/// Contiguous rows by length; of several with the same length the one with the most elements.
fn curve_rows(group: &[Row]) -> Vec<&Row> {
    let mut rows: Vec<&Row> = group.iter().filter(|r| r.extents[2] == 1).collect();
    rows.sort_by_key(|r| (r.extents[1], std::cmp::Reverse(r.extents[0])));
    rows.dedup_by_key(|r| r.extents[1]);
    rows
}

fn plot(out: &mut String, group: &[Row]) {
    let rows = curve_rows(group);
    let [first, .., last] = &rows[..] else { return };
    let speeds = |name: &str| -> Vec<f64> { rows.iter().map(|r| 1.0 / r.ns(name)).collect() };
    let mut names = vec![first.limit(), "naive"];
    names.extend(first.backends().map(|(name, _)| name));
    let curves: Vec<(&str, Vec<f64>)> = names.into_iter().map(|name| (name, speeds(name))).collect();
    let all = || curves.iter().flat_map(|(_, speeds)| speeds.iter().copied());
    let x = Axis {
        from: first.extents[1] as f64,
        to: last.extents[1] as f64,
        start: LEFT + 8.0,
        end: WIDTH - RIGHT - 8.0,
    };
    let y = Axis {
        from: all().fold(f64::INFINITY, f64::min) * 0.8,
        to: all().fold(0.0, f64::max) * 1.25,
        start: HEIGHT - BOTTOM,
        end: TOP,
    };
    let _ = write!(
        out,
        "<figure><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"speed of {0} {1} over the row length\">\
         <text class=\"name\" x=\"{LEFT}\" y=\"12\">{1}: 10⁹ elements a second</text>",
        escape(&first.op),
        escape(&first.type_name)
    );
    for v in y.ticks() {
        let at = y.place(v);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 5.0,
            at + 4.0,
            tick(v)
        );
    }
    for v in x.ticks() {
        let (at, base) = (x.place(v), HEIGHT - BOTTOM);
        let _ = write!(
            out,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{base}\"/>\
             <text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            base + 15.0,
            tick(v)
        );
    }
    let label = if first.op.starts_with("scaled_sigmoid") { "elements" } else { "row length" };
    let _ = write!(
        out,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 6.0
    );
    // Labels at the right end, pushed apart.
    let mut order: Vec<usize> = (0..curves.len()).collect();
    let end = |i: usize| y.place(curves[i].1[rows.len() - 1]);
    order.sort_by(|&a, &b| end(a).total_cmp(&end(b)));
    let mut above = TOP - 13.0;
    let mut label_at = vec![0.0; curves.len()];
    for i in order {
        above = end(i).max(above + 13.0);
        label_at[i] = above;
    }
    for (i, (name, speeds)) in curves.iter().enumerate() {
        let limit = i == 0;
        let color = if limit { "limit" } else { name };
        let points: Vec<(f64, f64)> =
            rows.iter().zip(speeds).map(|(r, &s)| (x.place(r.extents[1] as f64), y.place(s))).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(
            out,
            "<polyline class=\"curve{}\" style=\"stroke:var(--{color})\" points=\"{}\"/>",
            if limit { " dash" } else { "" },
            path.join(" ")
        );
        for ((px, py), row) in points.iter().zip(&rows) {
            let _ = write!(
                out,
                "<circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"{}\" style=\"fill:var(--{color})\"><title>{} {}: {:.3} ns an element</title></circle>",
                if limit { 1.5 } else { 3.0 },
                escape(name),
                escape(&row.shape),
                row.ns(name)
            );
        }
        let _ = write!(
            out,
            "<text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" style=\"fill:var(--{color})\">{}</text>",
            WIDTH - RIGHT + 4.0,
            label_at[i] + 4.0,
            escape(name)
        );
    }
    out.push_str("</svg></figure>\n");
}
