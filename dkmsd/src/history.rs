//! Finished jobs: in memory for the bus, on disk for the next start. One JSON line each.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use dkms_core::bus::types::HistoryRow;
use serde::{Deserialize, Serialize};

/// How many are kept.
const KEPT: usize = 1000;

/// The finished jobs, oldest first.
#[derive(Debug)]
pub struct History {
    rows: VecDeque<HistoryRow>,
}

/// The file's own form of a row; the wire's wraps every value for D-Bus.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    at: u64,
    job: u32,
    operation: String,
    package: String,
    version: String,
    kernel: String,
    arch: String,
    result: String,
    seconds: f64,
    reason: String,
    error: String,
}

impl From<&HistoryRow> for Line {
    fn from(row: &HistoryRow) -> Self {
        let HistoryRow { at, job, operation, package, version, kernel, arch, result, seconds, reason, error } =
            row.clone();
        Self { at, job, operation, package, version, kernel, arch, result, seconds, reason, error }
    }
}

impl From<Line> for HistoryRow {
    fn from(line: Line) -> Self {
        let Line { at, job, operation, package, version, kernel, arch, result, seconds, reason, error } = line;
        Self { at, job, operation, package, version, kernel, arch, result, seconds, reason, error }
    }
}

impl History {
    /// Reads what is there; a line that cannot be read is passed over. A file that has grown is cut to what is kept.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let all: Vec<HistoryRow> =
            text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()).map(Into::into).collect();
        let surplus = all.len().saturating_sub(KEPT);
        let rows: VecDeque<HistoryRow> = all.into_iter().skip(surplus).collect();
        if surplus > KEPT
            && let Err(error) = rewrite(path, &rows)
        {
            tracing::warn!("cannot shorten {}: {error}", path.display());
        }
        Self { rows }
    }

    /// Takes a finished job; gives what has to be written for it with [`append`].
    pub fn add(&mut self, row: HistoryRow) -> String {
        let line = serde_json::to_string(&Line::from(&row)).unwrap_or_default();
        self.rows.push_back(row);
        if self.rows.len() > KEPT {
            self.rows.pop_front();
        }
        line
    }

    /// The newest first; 0 means all.
    #[must_use]
    pub fn newest(&self, max: u32) -> Vec<HistoryRow> {
        let max = if max == 0 { usize::MAX } else { max as usize };
        self.rows.iter().rev().take(max).cloned().collect()
    }
}

/// Appends a line to the file.
///
/// # Errors
/// The system's own.
pub fn append(path: &PathBuf, line: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())
}

fn rewrite(path: &Path, rows: &VecDeque<HistoryRow>) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut text = String::new();
    for row in rows {
        text += &serde_json::to_string(&Line::from(row))?;
        text.push('\n');
    }
    fs::write(&beside, text)?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_a_restart_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let mut history = History::open(&path);
        for job in 1..=3 {
            let row = HistoryRow { job, package: "a".into(), result: "done".into(), ..HistoryRow::default() };
            append(&path, &history.add(row)).unwrap();
        }
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"at\":1,\"jo").unwrap();
        let again = History::open(&path);
        assert_eq!(again.newest(2).iter().map(|r| r.job).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(again.newest(0).len(), 3);
    }
}
