//! Built modules into a kernel's folder and out again (dkms-contract.md §3, "Order of an install"; design.md, decision 7).
//!
//! An install is [`place`], then one [`depmod::run`] a kernel, then [`commit`], or [`undo`] when depmod failed. At any
//! instant of it the machine may stop: [`recover`] then leads to the state before or to the one after, never between.
//! [`withdraw`] is the way out, and can be repeated until it succeeds.
//!
//! Callers hold [`crate::tree::lock_install`] of the kernel during each of these; [`recover`] takes it itself. Another
//! process may come between [`place`] and [`commit`]; what is in place is left to its owner while that lives.
//! Several installs that share one depmod are undone in the reverse of their order.
//!
//! * `find`: module files in a kernel's folder.
//! * [`due`]: the mark that depmod is due.
//! * [`forced`]: what overrules such checks.
//! * [`version_check`]: whether the kernel's own module is as good.
//! * `plan`: pure reading: which files change, and what they were before.
//! * `intent`: that plan on disk.
//! * `originals`: kernel modules that an install displaces.
//! * `owner`: whose a module file is, when several packages bring one of that name.

pub mod depmod;
mod differ;
pub mod due;
mod find;
pub mod forced;
mod intent;
mod originals;
mod owner;
mod place;
mod plan;
mod undo;
pub mod version_check;
mod withdraw;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use differ::{Difference, difference};
pub use place::place;
pub use plan::complete;
pub use undo::{awaiting, commit, recover, undo};
pub use withdraw::withdraw;

use crate::conf::Recipe;
use crate::host::process::Owner;
use crate::layout::Layout;
use crate::model::{KernelId, ModuleName, PackageId, PackageName};
use crate::tree::{InstallRecord, InstalledFile};

/// What to install where.
#[derive(Debug, Clone)]
pub struct Target<'a> {
    /// The paths.
    pub layout: &'a Layout,
    /// What.
    pub package: &'a PackageId,
    /// For which kernel.
    pub kernel: &'a KernelId,
    /// The package's description for this kernel.
    pub recipe: &'a Recipe,
    /// The distribution's folder below the kernel's, as `/updates/dkms`; none: each module's DEST_MODULE_LOCATION.
    pub modules_folder: Option<&'a str>,
    /// Put links to the tree in place instead of copies (`--symlink-modules`).
    pub symlink: bool,
    /// Refuse a module that the kernel has as new, or newer.
    pub check_version: bool,
    /// Who asked.
    pub by_uid: u32,
    /// Why, for the manifest.
    pub reason: &'a str,
    /// Who goes on with it after [`place`], while that process lives: nobody else finishes or undoes it then, unless to
    /// install or uninstall the package anew. None when that cannot be told.
    pub owner: Option<&'a Owner>,
}

/// What an install did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// Every file that is now the package's.
    pub files: Vec<InstalledFile>,
    /// Modules that were not installed, each with its reason.
    pub refused: Vec<(ModuleName, String)>,
    /// Modules that were moved away, as seen from inside the root; another package's with its name.
    pub displaced: Vec<(PathBuf, Option<PackageId>)>,
}

/// What an uninstall did. Paths are as seen from inside the root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Withdrawn {
    /// Whether the package was installed there at all.
    pub was_installed: bool,
    /// Files that were removed.
    pub removed: Vec<PathBuf>,
    /// Files among them that somebody had changed since they were installed, each with where it is kept.
    pub copied: Vec<(PathBuf, PathBuf)>,
    /// Kernel modules that were put back.
    pub restored: Vec<PathBuf>,
    /// What was left as it is, each with the reason: worth a warning.
    pub kept: Vec<(PathBuf, String)>,
}

/// An install that was interrupted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The package.
    pub package: PackageId,
    /// The kernel.
    pub kernel: KernelId,
    /// What became of it.
    pub action: RecoverAction,
}

/// What [`recover`] did about an install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoverAction {
    /// The files are as before it.
    Undone,
    /// Its files are in place: run depmod, then [`commit`] or [`undo`].
    AwaitsDepmod,
    /// It could not be undone.
    Failed {
        /// Why, with what to do.
        why: String,
    },
}

/// An install that has not been finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderWay {
    /// Of which package.
    pub package: PackageId,
    /// What the manifest will say; none while files are still being changed, by a process that holds the lock or is dead.
    pub placed: Option<InstallRecord>,
    owner: Option<Owner>,
}

impl UnderWay {
    /// Whether it is for `us` to finish or undo: it is our own, or its owner may be dead.
    #[must_use]
    pub fn is_left_to(&self, us: Option<&Owner>) -> bool {
        due::is_left(self.owner.as_ref(), us)
    }
}

/// The install of a package that is under way on a kernel, when one is.
///
/// # Errors
/// When the intent record is there and cannot be read.
pub fn under_way(layout: &Layout, name: &PackageName, kernel: &KernelId) -> crate::Result<Option<UnderWay>> {
    let under_way = |intent: intent::Intent| {
        let placed = (intent.stage == intent::Stage::Placed).then_some(intent.record);
        UnderWay { package: intent.package, placed, owner: intent.owner }
    };
    Ok(intent::Intent::read(layout, name, kernel)?.map(under_way))
}
