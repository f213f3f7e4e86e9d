//! What was found out about header trees, kept for as long as the files it was read from stay as they are.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::hex;
use super::tools::{self, Verdict};
use super::tree::Walk;
use crate::host::kconfig::KernelConfig;
use crate::host::package_manager::DpkgStatus;
use crate::host::resolve::resolve;
use crate::layout::Layout;

/// More files than this are of kernels that came and went.
const MAX_ENTRIES: usize = 4096;

/// Shared by every look at header trees; of use to one process, for as long as it runs.
#[derive(Debug, Default)]
pub struct HeaderCache {
    tools: Memory<Verdict>,
    digests: Memory<String>,
    configs: Memory<Arc<KernelConfig>>,
    walks: Mutex<HashMap<PathBuf, Arc<Walk>>>,
    dpkg: Memory<Arc<DpkgStatus>, (Stat, Option<Stat>)>,
}

impl HeaderCache {
    /// Whether a program runs here.
    pub(super) fn tool(&self, program: &Path) -> Verdict {
        let Some(stat) = stat(program) else { return Verdict::BeingWritten };
        if let Some(known) = self.tools.get(program, &stat) {
            return known;
        }
        let verdict = tools::try_out(program);
        // What it lacks may be installed meanwhile, without the program changing.
        if verdict == Verdict::Runs {
            self.tools.put(program, stat, verdict.clone());
        }
        verdict
    }

    /// The walk over a tree that has not changed since.
    pub(super) fn walk(&self, dir: &Path) -> Option<Arc<Walk>> {
        let known = self.walks.lock().unwrap_or_else(PoisonError::into_inner).get(dir).cloned();
        known.filter(|walk| walk.still_stands())
    }

    /// Keeps a walk over a tree that had settled: one that changes as it is walked may look the same afterwards, as
    /// times are coarse.
    pub(super) fn keep_walk(&self, dir: &Path, walk: &Arc<Walk>) {
        let mut walks = self.walks.lock().unwrap_or_else(PoisonError::into_inner);
        walks.retain(|dir, _| dir.exists());
        walks.insert(dir.to_owned(), walk.clone());
    }

    /// The kernel's configuration.
    pub(crate) fn config(&self, dir: &Path) -> Arc<KernelConfig> {
        let from = dir.join("include/config/auto.conf");
        let stat = stat(&from);
        if let Some(known) = stat.as_ref().and_then(|stat| self.configs.get(&from, stat)) {
            return known;
        }
        let config = Arc::new(KernelConfig::below(dir));
        if let Some(stat) = stat {
            self.configs.put(&from, stat, config.clone());
        }
        config
    }

    /// One digest (hex) of several files, each by its path and contents; that a file is absent counts too.
    pub(super) fn identity(&self, layout: &Layout, files: impl Iterator<Item = PathBuf>) -> String {
        let mut all = Sha256::new();
        for file in files {
            let digest = resolve(layout, &file).ok().and_then(|path| self.digest(&path)).unwrap_or_default();
            all.update(layout.inside(&file).into_os_string().into_encoded_bytes());
            all.update(format!("\0{digest}\n"));
        }
        hex(&all.finalize())
    }

    fn digest(&self, file: &Path) -> Option<String> {
        let stat = stat(file)?;
        if let Some(known) = self.digests.get(file, &stat) {
            return Some(known);
        }
        let digest = hex(&Sha256::digest(fs::read(file).ok()?));
        self.digests.put(file, stat, digest.clone());
        Some(digest)
    }

    /// Why dpkg has not put all of a tree's files in place: each folder, and the folder around it, may be called as
    /// the package that brings it.
    pub(super) fn half_unpacked(&self, layout: &Layout, folders: &[PathBuf]) -> Option<String> {
        let database = layout.host("/var/lib/dpkg/status");
        let updates = stat(&layout.host("/var/lib/dpkg/updates"));
        let stat = (stat(&database)?, updates);
        let status = self.dpkg.get(&database, &stat).or_else(|| {
            let status = Arc::new(DpkgStatus::read(layout, brings_headers).ok()?);
            self.dpkg.put(&database, stat, status.clone());
            Some(status)
        })?;
        folders
            .iter()
            .flat_map(|folder| folder.ancestors().take(2))
            .filter_map(|folder| folder.file_name()?.to_str())
            .find_map(|name| status.half_unpacked(name))
    }
}

fn brings_headers(package: &str) -> bool {
    package.starts_with("linux-") || package.contains("-headers-")
}

/// What tells one state of a file from another. ctime cannot be set back, so the same one means the same file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

fn stat(path: &Path) -> Option<Stat> {
    let meta = fs::metadata(path).ok()?;
    let changed = (meta.ctime(), meta.ctime_nsec());
    Some(Stat { device: meta.dev(), inode: meta.ino(), size: meta.size(), changed })
}

/// Values by path, each with what the file looked like then.
#[derive(Debug)]
struct Memory<V, S = Stat>(Mutex<HashMap<PathBuf, (S, V)>>);

impl<V, S> Default for Memory<V, S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V: Clone, S: PartialEq> Memory<V, S> {
    fn get(&self, path: &Path, stat: &S) -> Option<V> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(path).filter(|(then, _)| then == stat).map(|(_, value)| value.clone())
    }

    fn put(&self, path: &Path, stat: S, value: V) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ENTRIES {
            known.clear();
        }
        known.insert(path.to_owned(), (stat, value));
    }
}
