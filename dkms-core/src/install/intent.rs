//! An install under way, on disk before its first change: enough to undo it from nothing but this and the copies beside.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::host::process::Owner;
use crate::layout::Layout;
use crate::model::{KernelId, PackageId, PackageName};
use crate::tree::{InstallRecord, files, record};

/// The format that this program writes and reads.
const FORMAT: u32 = 1;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Stage {
    /// Files are being changed.
    Placing,
    /// All are in place; depmod is next.
    Placed,
}

/// The record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    format: u32,
    pub(crate) stage: Stage,
    pub(crate) package: PackageId,
    pub(crate) kernel: KernelId,
    /// Where the `kernel-…` link pointed.
    pub(crate) link_before: Option<PathBuf>,
    /// The version that was installed, with its record when it had one.
    pub(crate) previous: Option<Previous>,
    /// Every file that changes, in the kernel's folder and among the originals in the tree.
    pub(crate) changes: Vec<Change>,
    /// Kernel modules that are moved away; inside the root.
    pub(crate) displaced: Vec<PathBuf>,
    /// Folders that have to be made, each after the one it is in; inside the root.
    pub(crate) folders: Vec<PathBuf>,
    /// What the manifest will say.
    pub(crate) record: InstallRecord,
    /// Who goes on with it, while that process lives; none when that could not be told.
    #[serde(default)]
    pub(crate) owner: Option<Owner>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Previous {
    pub(crate) package: PackageId,
    pub(crate) record: Option<InstallRecord>,
}

/// One file that changes. Its copy in the undo folder is called by its place in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Change {
    /// Inside the root.
    pub(crate) path: PathBuf,
    /// None: nothing is there.
    pub(crate) before: Option<Content>,
    /// None: it goes.
    pub(crate) after: Option<Content>,
    /// What its new bytes come from, when it is a file.
    pub(crate) from: Option<Source>,
}

/// Where new bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// A file; inside the root.
    File(PathBuf),
    /// What was at another change's path.
    Before(usize),
    /// These.
    Bytes(Vec<u8>),
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Content {
    /// A file.
    File {
        /// Of its bytes.
        sha256: String,
        /// Its permissions.
        mode: u32,
        /// Since 1970; none: whenever it is written.
        modified: Option<Duration>,
    },
    /// A link.
    Link {
        /// As it is written in it.
        target: PathBuf,
    },
}

impl Content {
    /// A file that is written now.
    pub(crate) fn new_file(sha256: String) -> Self {
        Self::File { sha256, mode: 0o644, modified: None }
    }

    /// What is at a path; none when there is nothing.
    pub(crate) fn at(path: &Path) -> Result<Option<Self>> {
        use std::os::unix::fs::PermissionsExt;

        let Some(found) = files::look(path)? else { return Ok(None) };
        if found.file_type().is_symlink() {
            return Ok(Some(Self::Link { target: std::fs::read_link(path).at("read the link", path)? }));
        }
        let modified = found.modified().at("look at", path)?;
        Ok(Some(Self::File {
            sha256: files::sha256_file(path)?,
            mode: found.permissions().mode() & 0o7777,
            modified: Some(modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
        }))
    }

    /// Whether both are the same bytes or the same link, whatever mode and time.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File { sha256: a, .. }, Self::File { sha256: b, .. }) => a == b,
            (Self::Link { target: a }, Self::Link { target: b }) => a == b,
            _ => false,
        }
    }

    /// Mode and time of change, for a copy that should have them.
    pub(crate) fn attributes(&self) -> Option<(u32, SystemTime)> {
        match self {
            Self::File { mode, modified: Some(modified), .. } => Some((*mode, SystemTime::UNIX_EPOCH + *modified)),
            Self::File { modified: None, .. } | Self::Link { .. } => None,
        }
    }
}

impl Intent {
    pub(crate) fn new(package: PackageId, kernel: KernelId, record: InstallRecord, owner: Option<Owner>) -> Self {
        Self {
            format: FORMAT,
            stage: Stage::Placing,
            package,
            kernel,
            link_before: None,
            previous: None,
            changes: Vec::new(),
            displaced: Vec::new(),
            folders: Vec::new(),
            record,
            owner,
        }
    }

    /// The install under way; none when there is none.
    ///
    /// One that makes no sense is an error, not none: the copies beside it may be all that is left of some modules.
    pub(crate) fn read(layout: &Layout, name: &PackageName, kernel: &KernelId) -> Result<Option<Self>> {
        let path = layout.intent(name, kernel);
        let Some(bytes) = files::read(&path)? else { return Ok(None) };
        let why = match serde_json::from_slice::<Self>(&bytes) {
            Ok(intent) if intent.format == FORMAT => return Ok(Some(intent)),
            Ok(intent) => format!("is of format {}", intent.format),
            Err(e) => format!("is damaged ({e})"),
        };
        Err(Error::NotUndone {
            package: name.clone(),
            kernel: kernel.clone(),
            why: format!("its record {} {why}; put the modules back and remove it", path.display()),
            copies: layout.undo_dir(name, kernel),
        })
    }

    pub(crate) fn write(&self, layout: &Layout) -> Result<()> {
        let path = layout.intent(&self.package.name, &self.kernel);
        files::write_atomic(&path, &record::bytes(self, &path)?, 0o644)
    }

    /// The copy of what was at a change's path.
    pub(crate) fn copy(&self, layout: &Layout, change: usize) -> PathBuf {
        layout.undo_dir(&self.package.name, &self.kernel).join(change.to_string())
    }

    /// The target of the `kernel-…` link that this install makes.
    pub(crate) fn link_after(&self) -> PathBuf {
        Path::new(self.package.version.as_str()).join(&self.kernel.release).join(&self.kernel.arch)
    }
}
