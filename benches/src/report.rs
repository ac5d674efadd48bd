//! What a program has found: tables, notes and checks of the targets, for people and as JSON.

use crate::context::Failure;
use crate::machine::Machine;
use crate::plot::Plot;
use crate::stats::Sample;
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

/// What a program has found.
pub struct Report {
    name: &'static str,
    machine: Machine,
    began: Instant,
    tables: Vec<Table>,
    notes: Vec<String>,
    checks: Vec<Check>,
    plots: Vec<Plot>,
}

/// A table.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// Words.
    Text(String),
    /// A number; its unit stands in the column's head unless given here.
    Number {
        /// The number.
        value: f64,
        /// Its unit.
        #[serde(skip_serializing_if = "str::is_empty")]
        unit: &'static str,
    },
    /// A median, with the quartiles that it lies between.
    Spread {
        /// The median.
        median: f64,
        /// A quarter of the rounds is below it.
        lower_quartile: f64,
        /// A quarter of the rounds is above it.
        upper_quartile: f64,
        /// Rounds.
        count: usize,
    },
    /// Not measured, or not applicable.
    Nothing,
}

/// What a target asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

/// A target and what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    name: String,
    measured: f64,
    target: f64,
    at_least: bool,
    is_met: bool,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        Self { title: title.into(), columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// As lines of Markdown, columns aligned.
    fn markdown(&self) -> String {
        let text: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(Cell::text).collect()).collect();
        let width = |index: usize| {
            let cells = text.iter().filter_map(|row| row.get(index)).chain(self.columns.get(index));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let line = |cells: &[String]| {
            let padded = widths.iter().enumerate().map(|(index, width)| {
                let cell = cells.get(index).map_or("", String::as_str);
                // The first column names the row, the others are numbers.
                if index == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
        };
        let mut out = line(&self.columns);
        let rules = widths.iter().enumerate().map(|(index, width)| {
            let dashes = "-".repeat(width + 1);
            if index == 0 { format!("{dashes}-") } else { format!("{dashes}:") }
        });
        let _ = writeln!(out, "|{}|", rules.collect::<Vec<_>>().join("|"));
        out.extend(text.iter().map(|row| line(row)));
        out
    }
}

impl Cell {
    /// A number with a unit of its own.
    pub fn with_unit(value: f64, unit: &'static str) -> Self {
        Cell::Number { value, unit }
    }

    fn text(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Number { value, unit: "" } => number(*value),
            Cell::Number { value, unit } => format!("{} {unit}", number(*value)),
            Cell::Spread { median, count: 0 | 1, .. } => number(*median),
            Cell::Spread { median, lower_quartile, upper_quartile, .. } => {
                format!("{} ({}..{})", number(*median), number(*lower_quartile), number(*upper_quartile))
            }
            Cell::Nothing => "-".to_owned(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl From<f64> for Cell {
    fn from(value: f64) -> Self {
        Cell::Number { value, unit: "" }
    }
}

impl From<u64> for Cell {
    fn from(value: u64) -> Self {
        (value as f64).into()
    }
}

impl From<usize> for Cell {
    fn from(value: usize) -> Self {
        (value as f64).into()
    }
}

impl From<&Sample> for Cell {
    fn from(sample: &Sample) -> Self {
        let summary = sample.summary();
        Cell::Spread {
            median: summary.median,
            lower_quartile: summary.lower_quartile,
            upper_quartile: summary.upper_quartile,
            count: summary.count,
        }
    }
}

impl From<Sample> for Cell {
    fn from(sample: Sample) -> Self {
        (&sample).into()
    }
}

/// A number as people read it: three or more significant digits, thousands set apart.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let size = value.abs();
    if size != 0.0 && size < 0.001 {
        return format!("{value:.1e}");
    }
    if size < 99.95 {
        let decimals = if size < 0.9995 {
            3
        } else if size < 9.995 {
            2
        } else {
            1
        };
        let text = format!("{value:.decimals$}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{size:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if value < 0.0 { format!("-{out}") } else { out }
}

impl Report {
    /// An empty report; its program begins now.
    pub fn new(name: &'static str, machine: Machine) -> Self {
        let began = Instant::now();
        Self { name, machine, began, tables: Vec::new(), notes: Vec::new(), checks: Vec::new(), plots: Vec::new() }
    }

    /// Adds a table.
    pub fn table(&mut self, table: Table) {
        self.tables.push(table);
    }

    /// Adds something that a reader of the numbers must know.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Adds a chart.
    pub fn plot(&mut self, plot: Plot) {
        self.plots.push(plot);
    }

    /// Compares what was measured with a target. A missed one is told, and no failure.
    pub fn check(&mut self, name: impl Into<String>, measured: f64, bound: Bound) {
        let (target, at_least) = match bound {
            Bound::AtLeast(target) => (target, true),
            Bound::AtMost(target) => (target, false),
        };
        // What could not be measured is not met.
        let is_met = if at_least { measured >= target } else { measured <= target };
        self.checks.push(Check { name: name.into(), measured, target, at_least, is_met });
    }

    /// Prints the report, and writes `NAME.json`, `NAME.md` and `NAME-PLOT.svg` to a directory. Says how many targets
    /// were missed.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn finish(self, out: &Path) -> Result<usize, Failure> {
        std::fs::create_dir_all(out)?;
        let seconds = self.began.elapsed().as_secs_f64();
        let mut plots = Vec::new();
        for plot in &self.plots {
            let file = format!("{}-{}.svg", self.name, plot.name);
            if plot.write(&out.join(&file))? {
                plots.push(file);
            }
        }
        let text = self.text(seconds, &plots);
        print!("{text}");
        std::fs::write(out.join(format!("{}.md", self.name)), &text)?;
        let json = serde_json::json!({
            "program": self.name,
            "machine": self.machine,
            "seconds": seconds,
            "tables": self.tables,
            "notes": self.notes,
            "checks": self.checks,
            "plots": plots,
        });
        std::fs::write(out.join(format!("{}.json", self.name)), serde_json::to_string_pretty(&json)?)?;
        Ok(self.checks.iter().filter(|check| !check.is_met).count())
    }

    fn text(&self, seconds: f64, plots: &[String]) -> String {
        let mut out = format!("# {}\n\n", self.name);
        for line in self.machine.lines() {
            let _ = writeln!(out, "- {line}");
        }
        let _ = writeln!(out, "- took {seconds:.0} s");
        for table in &self.tables {
            let _ = write!(out, "\n## {}\n\n{}", table.title, table.markdown());
        }
        if !self.notes.is_empty() {
            out.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(out, "- {note}");
        }
        if !self.checks.is_empty() {
            let mut table = Table::new("", &["target", "measured", "asked", "", "measured / asked"]);
            for check in &self.checks {
                let sign = if check.at_least { "≥" } else { "≤" };
                table.row([
                    check.name.as_str().into(),
                    check.measured.into(),
                    format!("{sign} {}", number(check.target)).into(),
                    if check.is_met { "ok" } else { "MISSED" }.into(),
                    (check.measured / check.target).into(),
                ]);
            }
            let _ = write!(out, "\n## Targets\n\n{}", table.markdown());
        }
        for plot in plots {
            let _ = writeln!(out, "\n![{plot}]({plot})");
        }
        out.push('\n');
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        let expected = [
            (0.0, "0"),
            (0.1234, "0.123"),
            (1.5, "1.5"),
            (12.345, "12.3"),
            (1234.5, "1,234"),
            (-1_234_567.0, "-1,234,567"),
            (0.00012, "1.2e-4"),
            (f64::NAN, "-"),
        ];
        for (value, text) in expected {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_missed_target_is_told_and_counted() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut report = Report::new("test", Machine::here(directory.path()));
        report.check("reached", 2.0, Bound::AtLeast(1.0));
        report.check("missed", 2.0, Bound::AtMost(1.0));
        report.check("not measured", f64::NAN, Bound::AtMost(1.0));
        let mut table = Table::new("Some", &["what", "n"]);
        table.row(["a".into(), Sample::new([1.0, 2.0, 3.0]).into()]);
        report.table(table);
        assert_eq!(report.finish(directory.path()).expect("it is written"), 2);
        let json = std::fs::read_to_string(directory.path().join("test.json")).expect("it is there");
        assert!(json.contains("\"is_met\": false") && json.contains("\"median\": 2.0"), "{json}");
        let text = std::fs::read_to_string(directory.path().join("test.md")).expect("it is there");
        assert!(text.contains("MISSED") && text.contains("2 (1.5..2.5)"), "{text}");
    }
}
