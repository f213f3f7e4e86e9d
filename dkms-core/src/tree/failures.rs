//! Failed attempts that are remembered (design.md, decision 8): not tried again until an input changes or a person asks.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::layout::Layout;
use crate::model::{KernelId, PackageId};
use crate::tree::{files, record};

/// The last failed attempt of a package on a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed.
    pub package: PackageId,
    /// For which kernel.
    pub kernel: KernelId,
    /// Digest of what went into the attempt: another one is worth another try.
    pub fingerprint: String,
    /// Cheap mark of the kernel's headers at that time.
    pub header_stamp: String,
    /// What the package is because of it; failed when none.
    #[serde(default)]
    pub state: Option<crate::model::EntryState>,
    /// The classic exit code.
    pub code: i32,
    /// What [`crate::Error`] says.
    pub error: String,
    /// The first error in the log that a person can act on.
    pub first_error: Option<String>,
    /// That line with those around it, and what to do: see [`crate::build::first_error::FirstError::explained`].
    #[serde(default)]
    pub excerpt: Vec<String>,
    /// Programs that were missing: worth another try once they are there.
    #[serde(default)]
    pub missing: Vec<String>,
    /// [`crate::settings::Settings::bounds`] at that time; none where it is not known.
    #[serde(default)]
    pub bounds: Option<String>,
    /// The attempt's log.
    pub log: Option<PathBuf>,
    /// When, in seconds since 1970.
    pub at: u64,
    /// How many attempts in a row have failed.
    pub attempts: u32,
}

/// What is remembered of a package on a kernel. A damaged record is none, which is logged.
///
/// # Errors
/// When a record is there and cannot be read.
pub fn read(layout: &Layout, package: &PackageId, kernel: &KernelId) -> Result<Option<Failure>> {
    record::read(&layout.failure(package, kernel))
}

/// Remembers a failure, in place of the one before.
///
/// # Errors
/// When it cannot be written.
pub fn write(layout: &Layout, failure: &Failure) -> Result<()> {
    let path = layout.failure(&failure.package, &failure.kernel);
    if let Some(folder) = path.parent() {
        files::make_folders(folder)?;
    }
    files::write_atomic(&path, &record::bytes(failure, &path)?, 0o644)
}

/// Forgets it, as after a success.
///
/// # Errors
/// When it cannot be removed.
pub fn clear(layout: &Layout, package: &PackageId, kernel: &KernelId) -> Result<()> {
    let path = layout.failure(package, kernel);
    if files::look(&path)?.is_none() {
        return Ok(());
    }
    files::remove(&path)?;
    path.parent().map_or(Ok(()), |folder| files::remove_empty(folder, &layout.failures_dir()))
}

/// Forgets everything about a package, as when it leaves the tree.
///
/// # Errors
/// When it cannot be removed.
pub fn clear_package(layout: &Layout, package: &PackageId) -> Result<()> {
    let folder = layout.failures_dir().join(&package.name).join(&package.version);
    if files::look(&folder)?.is_none() {
        return Ok(());
    }
    files::remove_tree(&folder)?;
    files::remove_empty(&layout.failures_dir().join(&package.name), &layout.failures_dir())
}

/// Everything that is remembered, in order of file name. What cannot be read is logged and passed over.
///
/// # Errors
/// When the folder of all failures is there and cannot be read.
pub fn all(layout: &Layout) -> Result<Vec<Failure>> {
    let mut found = Vec::new();
    let top = layout.failures_dir();
    for name in folders(&top)? {
        for version in folders(&name).unwrap_or_else(|e| passed_over(&e)) {
            for (file, _) in files::list(&version).unwrap_or_else(|e| passed_over(&e)) {
                let path = version.join(&file);
                if path.extension().is_some_and(|e| e == "json") && !file.as_encoded_bytes().starts_with(b".") {
                    found.extend(record::read::<Failure>(&path).unwrap_or_else(|e| passed_over(&e)));
                }
            }
        }
    }
    Ok(found)
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let names = files::list(folder)?.into_iter().filter(|(_, kind)| kind.is_dir());
    Ok(names.map(|(name, _)| folder.join(name)).collect())
}

fn passed_over<T: Default>(e: &crate::Error) -> T {
    tracing::warn!("passed over: {e}");
    T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(version: &str, release: &str) -> Failure {
        Failure {
            state: None,
            package: PackageId::new("r8169", version).unwrap(),
            kernel: KernelId::new(release, "x86_64").unwrap(),
            fingerprint: "f".into(),
            header_stamp: "h".into(),
            code: 10,
            error: "does not build".into(),
            first_error: None,
            excerpt: Vec::new(),
            missing: Vec::new(),
            bounds: None,
            log: Some("/var/lib/dkmsd/logs/x".into()),
            at: 5,
            attempts: 2,
        }
    }

    #[test]
    fn failures_are_kept_listed_and_cleared() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        assert_eq!(all(&layout).unwrap(), []);
        let (a, b) = (failure("1", "6.1"), failure("2", "6.1"));
        for f in [&b, &a] {
            write(&layout, f).unwrap();
        }
        assert_eq!(all(&layout).unwrap(), [a.clone(), b.clone()]);
        assert_eq!(read(&layout, &a.package, &a.kernel).unwrap(), Some(a.clone()));
        std::fs::write(layout.failure(&b.package, &b.kernel), "{").unwrap();
        assert_eq!(all(&layout).unwrap(), std::slice::from_ref(&a));
        clear(&layout, &a.package, &a.kernel).unwrap();
        clear(&layout, &a.package, &a.kernel).unwrap();
        clear_package(&layout, &b.package).unwrap();
        assert!(!layout.failures_dir().join("r8169").exists());
    }
}
