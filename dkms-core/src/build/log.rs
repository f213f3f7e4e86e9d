//! make.log: a head line, the date, and for each command its description, the command, its output, its exit code and
//! how long it took (dkms-contract.md §3, "make.log").

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{IoContext as _, Result};
use crate::model::{KernelId, PackageId};

/// What a log may grow to, in bytes: the most verbose of builds say a tenth of it.
pub const LARGEST: u64 = 64 << 20;
const RULE: &str = "----------------------------------------------------------------";

/// The log of one attempt, open for writing.
#[derive(Debug)]
pub struct BuildLog {
    file: File,
    path: PathBuf,
    written: u64,
}

impl BuildLog {
    /// Makes the log of a new attempt below [`crate::layout::Layout::attempt_logs`] and writes its head.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn begin(folder: &Path, package: &PackageId, kernel: &KernelId) -> Result<Self> {
        std::fs::create_dir_all(folder).at("make", folder)?;
        let now = jiff::Timestamp::now();
        let path = folder.join(format!("{}-{}.log", now.strftime("%Y%m%dT%H%M%S%3f"), std::process::id()));
        let file = OpenOptions::new().append(true).create_new(true).open(&path).at("make", &path)?;
        let mut log = Self { file, path, written: 0 };
        log.line(&format!("make.log of {package} for kernel {} ({})", kernel.release, kernel.arch))?;
        log.line(&now.strftime("%a %b %e %H:%M:%S UTC %Y").to_string())?;
        Ok(log)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command begins.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn command(&mut self, description: &str, command: &str) -> Result<Instant> {
        self.line(&format!("\n{description}\n# command: {command}"))?;
        Ok(Instant::now())
    }

    /// Output of the command, as it comes. Gives whether there is room for more; what comes all the same is dropped.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn output(&mut self, bytes: &[u8]) -> Result<bool> {
        if self.written <= LARGEST {
            self.written += bytes.len() as u64;
            self.write(bytes)?;
        }
        Ok(self.written <= LARGEST)
    }

    /// The command was not let go on, for this reason.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn stopped(&mut self, why: &str) -> Result<()> {
        self.line(&format!("\n# stopped: {why}"))
    }

    /// The command ended.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn finished(&mut self, code: i32, took: Duration) -> Result<()> {
        let s = took.as_secs();
        let (hours, minutes, seconds) = (s / 3600, s / 60 % 60, s % 60);
        self.line(&format!("\n# exit code: {code}\n# elapsed time: {hours:02}:{minutes:02}:{seconds:02}\n{RULE}"))
    }

    /// Nothing is run: the result is out of the cache, and `log` is that of its build.
    ///
    /// # Errors
    /// When the disk refuses it.
    pub fn from_cache(&mut self, built_at: u64, log: &[u8]) -> Result<()> {
        self.line(&format!("\n# {}; the log of that build:\n{RULE}", crate::event::from_cache(built_at)))?;
        self.write(log)
    }

    fn line(&mut self, text: &str) -> Result<()> {
        self.write(format!("{text}\n").as_bytes())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).at("write", &self.path)
    }
}

/// Keeps the newest logs of a package on a kernel and removes the rest.
pub fn prune(folder: &Path, keep: usize) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut logs: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "log")).collect();
    // The name begins with the time.
    logs.sort();
    let surplus = logs.len().saturating_sub(keep);
    for old in &logs[..surplus] {
        if let Err(error) = std::fs::remove_file(old)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("cannot remove the old log {}: {error}", old.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_reads_as_the_contract_says() {
        let folder = tempfile::tempdir().unwrap();
        let package = PackageId::new("a", "1").unwrap();
        let kernel = KernelId::new("6.1", "x86_64").unwrap();
        let mut log = BuildLog::begin(folder.path(), &package, &kernel).unwrap();
        log.command("Building the modules", "make all").unwrap();
        log.output(b"hello\n").unwrap();
        log.finished(2, Duration::from_secs(3723)).unwrap();
        let text = std::fs::read_to_string(log.path()).unwrap();
        assert!(text.starts_with("make.log of a/1 for kernel 6.1 (x86_64)\n"), "{text}");
        assert!(text.contains(
            "\nBuilding the modules\n# command: make all\nhello\n\n# exit code: 2\n# elapsed time: 01:02:03\n---"
        ));
    }

    #[test]
    fn only_the_newest_logs_stay() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["1.log", "2.log", "3.log", "other"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        prune(folder.path(), 2);
        let mut left: Vec<_> = folder.path().read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["2.log", "3.log", "other"]);
    }
}
