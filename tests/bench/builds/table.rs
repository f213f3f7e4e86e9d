//! A table for people, in Markdown.

use std::fmt;
use std::time::Duration;

/// Rows of words below a heading.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Default for Table {
    fn default() -> Self {
        Self::of(&["what", "against", "ours", "ratio", "target"])
    }
}

impl Table {
    pub(crate) fn of(heading: &[&str]) -> Self {
        let mut table = Self { rows: Vec::new() };
        table.push(heading);
        table
    }

    pub(crate) fn push(&mut self, row: &[&str]) {
        self.rows.push(row.iter().map(|&word| word.to_owned()).collect());
    }

    /// One figure, with the target of the design.
    pub(crate) fn row(&mut self, what: &str, against: &str, ours: &str, ratio: &str, target: &str) {
        self.push(&[what, against, ours, ratio, target]);
    }

    /// How many times faster.
    pub(crate) fn ratio(
        &mut self,
        what: &str,
        against: Duration,
        ours: Duration,
        unit: impl Fn(Duration) -> String,
        target: &str,
    ) {
        let times = against.as_secs_f64() / ours.as_secs_f64();
        let times = if times < 10.0 { format!("{times:.2} times") } else { format!("{times:.0} times") };
        self.row(what, &unit(against), &unit(ours), &times, target);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| self.rows.iter().filter_map(|row| Some(row.get(column)?.chars().count())).max();
        let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
        for (place, row) in self.rows.iter().enumerate() {
            for (word, width) in row.iter().zip(&widths) {
                write!(f, "| {word:width$} ")?;
            }
            writeln!(f, "|")?;
            if place == 0 {
                widths.iter().try_for_each(|width| write!(f, "|{}", "-".repeat(width + 2)))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
