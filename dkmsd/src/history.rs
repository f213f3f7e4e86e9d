//! Finished jobs: in memory for the bus, on disk for the next start. One JSON line each.

use std::collections::VecDeque;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use dkms_core::bus::types::HistoryRow;
use serde::{Deserialize, Serialize};

/// How many are kept.
const KEPT: usize = 1000;
/// A file that has grown to this is cut to what is kept.
const LARGEST: u64 = 4 << 20;

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
    #[serde(default)]
    first_error: String,
    #[serde(default)]
    log: String,
    #[serde(default)]
    unchanged: bool,
    #[serde(default)]
    from_cache: bool,
}

impl From<&HistoryRow> for Line {
    fn from(row: &HistoryRow) -> Self {
        let HistoryRow {
            at,
            job,
            operation,
            package,
            version,
            kernel,
            arch,
            result,
            seconds,
            reason,
            error,
            first_error,
            log,
            unchanged,
            from_cache,
        } = row.clone();
        Self {
            at,
            job,
            operation,
            package,
            version,
            kernel,
            arch,
            result,
            seconds,
            reason,
            error,
            first_error,
            log,
            unchanged,
            from_cache,
        }
    }
}

impl From<Line> for HistoryRow {
    fn from(line: Line) -> Self {
        let Line {
            at,
            job,
            operation,
            package,
            version,
            kernel,
            arch,
            result,
            seconds,
            reason,
            error,
            first_error,
            log,
            unchanged,
            from_cache,
        } = line;
        Self {
            at,
            job,
            operation,
            package,
            version,
            kernel,
            arch,
            result,
            seconds,
            reason,
            error,
            first_error,
            log,
            unchanged,
            from_cache,
        }
    }
}

impl History {
    /// Reads what is there; a line that cannot be read is passed over.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_default();
        let all: Vec<HistoryRow> =
            text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok()).map(Into::into).collect();
        let surplus = all.len().saturating_sub(KEPT);
        let rows: VecDeque<HistoryRow> = all.into_iter().skip(surplus).collect();
        Self { rows }
    }

    /// Takes a finished job; gives what has to be written for it with [`Writer::write`].
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

/// Appends lines to the file, in order, on a thread of its own. Dropping it waits until all are written.
#[derive(Debug)]
pub struct Writer {
    lines: Option<mpsc::Sender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Begins.
    #[must_use]
    pub fn start(path: PathBuf) -> Self {
        let (lines, to_write) = mpsc::channel::<String>();
        let thread = std::thread::spawn(move || {
            for line in to_write {
                if let Err(error) = append(&path, &line) {
                    tracing::warn!("cannot write {}: {error}", path.display());
                }
            }
        });
        Self { lines: Some(lines), thread: Some(thread) }
    }

    /// Hands over a line.
    pub fn write(&self, line: String) {
        if let Some(lines) = &self.lines {
            // The thread ends only when we do.
            let _ = lines.send(line);
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn append(path: &Path, line: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    // The line break comes first: what a power cut tore before stays a line of its own.
    file.write_all(format!("\n{line}").as_bytes())?;
    if file.metadata()?.len() < LARGEST {
        return Ok(());
    }
    let rows = History::open(path).rows;
    rewrite(path, &rows)
}

fn rewrite(path: &Path, rows: &VecDeque<HistoryRow>) -> std::io::Result<()> {
    let beside = path.with_extension("new");
    let mut text = String::new();
    for row in rows {
        text.push('\n');
        text += &serde_json::to_string(&Line::from(row))?;
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
        let writer = Writer::start(path.clone());
        for job in 1..=3 {
            let (package, result) = ("a".into(), "done".into());
            let row = HistoryRow { job, package, result, from_cache: job == 3, ..HistoryRow::default() };
            writer.write(history.add(row));
        }
        drop(writer);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"\n{\"at\":1,\"jo").unwrap();
        let again = History::open(&path);
        let newest: Vec<_> = again.newest(2).iter().map(|r| (r.job, r.from_cache)).collect();
        assert_eq!(newest, [(3, true), (2, false)]);
        let row = HistoryRow { job: 4, ..HistoryRow::default() };
        append(&path, &serde_json::to_string(&Line::from(&row)).unwrap()).unwrap();
        assert_eq!(History::open(&path).newest(1)[0].job, 4, "the torn line took nothing with it");
    }
}
