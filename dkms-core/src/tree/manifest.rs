//! What classic DKMS has no place for: what a build was made from, and each file that its install put in place
//! (design.md, decisions 1 and 2). One file beside the built modules.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::artifact::signing::Signing;
use crate::error::Result;
use crate::layout::Layout;
use crate::model::{KernelId, ModuleName, PackageId};
use crate::tree::{files, record};

/// The format that this program writes and reads.
pub const FORMAT: u32 = 1;

/// One package, built for one kernel, perhaps installed there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// What was built.
    pub package: PackageId,
    /// For which kernel.
    pub kernel: KernelId,
    /// The build.
    pub built: BuiltRecord,
    /// The install; none while the package is only built. The `kernel-…` link decides whether it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<InstallRecord>,
    /// Whether its modules are signed.
    #[serde(default)]
    pub signing: Signing,
}

/// One build.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BuiltRecord {
    /// When it ended, in seconds since 1970.
    pub at: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Digest of everything that went into it.
    pub fingerprint: String,
    /// Cheap mark of the source, by which a change is suspected before anything is digested.
    pub source_stamp: String,
    /// The built modules, as they lie in the tree.
    pub modules: Vec<BuiltModule>,
    /// Why it was made, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// It was taken out of the cache; `seconds` is what it once took.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_cache: bool,
}

/// One built module in the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltModule {
    /// With its suffix.
    pub file_name: String,
    /// SHA-256 of the file, in hexadecimal.
    pub sha256: String,
}

/// One install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRecord {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Who asked; 0 for the daemon itself.
    pub by_uid: u32,
    /// Why.
    pub reason: String,
    /// Every file put in place.
    pub files: Vec<InstalledFile>,
    /// Which of the modules that were moved away for it are another package's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub displaced: Vec<Displaced>,
}

/// A module of another package that was moved away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Displaced {
    /// Where it was, as seen from inside the root.
    pub origin: PathBuf,
    /// Whose it is.
    pub package: PackageId,
}

/// One file put in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledFile {
    /// The module.
    pub module: ModuleName,
    /// Where, as seen from inside the root.
    pub path: PathBuf,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The manifest of a fresh build.
    #[must_use]
    pub fn new(package: PackageId, kernel: KernelId, built: BuiltRecord) -> Self {
        Self { format: FORMAT, package, kernel, built, installed: None, signing: Signing::default() }
    }

    /// Reads it. None when there is none, and, with a warning in the log, when it is damaged, of another format or
    /// about something else: such an entry is treated as one that classic DKMS made.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn read(layout: &Layout, package: &PackageId, kernel: &KernelId) -> Result<Option<Self>> {
        let path = layout.manifest(package, kernel);
        let Some(manifest) = record::read::<Self>(&path)? else { return Ok(None) };
        if manifest.format == FORMAT && manifest.package == *package && manifest.kernel == *kernel {
            return Ok(Some(manifest));
        }
        tracing::warn!(
            path = %path.display(),
            "ignored: it is of format {} and about {} for {}", manifest.format, manifest.package, manifest.kernel
        );
        Ok(None)
    }

    /// Writes it to its place below the tree, whose folder must exist.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        self.write_to(&layout.manifest(&self.package, &self.kernel))
    }

    /// Writes it elsewhere, as into the folder of a build that has not taken its place yet.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_to(&self, path: &std::path::Path) -> Result<()> {
        files::write_atomic(path, &record::bytes(self, path)?, 0o644)
    }
}
