//! kernel_postinst, kernel_preinst, kernel_prerm: what a kernel's own package asks for (dkms-contract.md §2).

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::autoinstall::order::Conf;
use super::autoinstall::{Failed, Report};
use super::{Done, Engine, Order, needs_root, waiting};
use crate::error::{Error, IoContext as _, Result};
use crate::event::Sink;
use crate::install;
use crate::model::{KernelId, PackageId};
use crate::tree::{self, TreePackage};

/// The code of a kernel_preinst or kernel_prerm that failed for a package.
const FAILED: i32 = 14;

/// What was taken off a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cleared {
    /// The kernel.
    pub kernel: KernelId,
    /// What is no longer built for it.
    pub packages: Vec<PackageId>,
    /// What could not be taken off, each with its reason.
    pub failed: Vec<(PackageId, Failed)>,
    /// Why modprobe's index is not up to date, when it is not.
    pub index: Option<String>,
}

impl Cleared {
    /// The classic exit code: 14 when a package could not be taken off.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        if self.failed.is_empty() && self.index.is_none() { 0 } else { FAILED }
    }
}

impl Engine {
    /// A kernel was installed: [`Engine::autoinstall`], nobody having asked by hand.
    ///
    /// # Errors
    /// As [`Engine::autoinstall`].
    pub fn kernel_postinst(&self, kernel: &KernelId, order: &Order, sink: &mut dyn Sink) -> Result<Report> {
        self.autoinstall(kernel, &automatic(order), sink)
    }

    /// A kernel is about to be installed: unbuilds every package with AUTOINSTALL for it. Nothing is held by that.
    ///
    /// # Errors
    /// When this is not root, or the tree cannot be read. What fails for a package is in the result.
    pub fn kernel_preinst(&self, kernel: &KernelId, order: &Order, sink: &mut dyn Sink) -> Result<Cleared> {
        self.clear_kernel(kernel, order, sink, |package, sink| match self.conf(package, kernel) {
            Conf::Read { autoinstall, .. } => autoinstall,
            Conf::Bad { .. } => true,
            Conf::Broken { path } => {
                sink.warn(format!("broken, and passed over: its source {} is missing", path.display()));
                false
            }
        })
    }

    /// A kernel is about to be removed: unbuilds every package for it, also those whose source is missing.
    ///
    /// # Errors
    /// As [`Engine::kernel_preinst`].
    pub fn kernel_prerm(&self, kernel: &KernelId, order: &Order, sink: &mut dyn Sink) -> Result<Cleared> {
        self.clear_kernel(kernel, order, sink, |_, _| true)
    }

    /// One depmod for all, then the folders that are left empty.
    fn clear_kernel(
        &self,
        kernel: &KernelId,
        order: &Order,
        sink: &mut dyn Sink,
        wanted: impl Fn(&TreePackage, &mut dyn Sink) -> bool,
    ) -> Result<Cleared> {
        needs_root("removing modules")?;
        let order = automatic(order);
        let mut cleared = Cleared { kernel: kernel.clone(), packages: Vec::new(), failed: Vec::new(), index: None };
        let mut placed = false;
        for package in tree::scan(&self.layout)?.iter().filter(|package| has_to_do_with(package, kernel)) {
            sink.about(Some(&package.id), kernel);
            if !wanted(package, sink) {
                continue;
            }
            let unbuilt = match self.unbuild(&package.id, kernel, &order, sink) {
                // Its source is missing, and the kernel goes all the same.
                Err(Error::Broken { .. }) => self.clean(&package.id, kernel, sink).map(|_| Done::Placed),
                other => other,
            };
            match unbuilt {
                Ok(done) => {
                    placed |= done == Done::Placed;
                    cleared.packages.push(package.id.clone());
                }
                // Somebody was quicker.
                Err(Error::NotAdded { .. }) => {}
                Err(Error::Canceled) => return Err(Error::Canceled),
                Err(error) => {
                    sink.warn(error.to_string());
                    cleared.failed.push((package.id.clone(), Failed::from(&error)));
                }
            }
        }
        sink.about(None, kernel);
        if placed && let Err(error) = self.finish(kernel, &cleared.packages, order.depmod, sink) {
            // What was taken away stays away, so only depmod's own word is true of it.
            let why = match error {
                Error::Depmod { why, .. } => format!("depmod failed: {why}"),
                error => error.to_string(),
            };
            sink.warn(why.clone());
            cleared.index = Some(why);
        }
        // What failed for a package counts for more.
        if let Err(error) = self.prune_kernel_folder(kernel, sink) {
            sink.warn(format!("empty folders may be left: {error}"));
        }
        Ok(cleared)
    }

    fn prune_kernel_folder(&self, kernel: &KernelId, sink: &mut dyn Sink) -> Result<()> {
        let folder = self.layout.kernel_folder(&kernel.release);
        // A link to a folder elsewhere is somebody's own arrangement.
        if !fs::symlink_metadata(&folder).is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        let _lock = tree::lock_install(&self.layout, &kernel.release, &mut waiting(sink, "this kernel's folder"))?;
        remove_empty_folders(&folder)?;
        if !folder.exists() {
            install::due::clear(&self.layout, &kernel.release)?;
        }
        Ok(())
    }
}

fn automatic(order: &Order) -> Order {
    Order { by_hand: false, ..order.clone() }
}

fn has_to_do_with(package: &TreePackage, kernel: &KernelId) -> bool {
    package.entries.iter().any(|entry| entry.kernel == *kernel)
}

/// Removes every empty folder at and below a folder, and those that this leaves empty; tells whether the folder itself is
/// gone. Follows no links, leaves mount points alone, and goes on after what it cannot remove: the first such is the error.
fn remove_empty_folders(folder: &Path) -> Result<bool> {
    let (mut empty, mut failed) = (true, None);
    for entry in fs::read_dir(folder).at("read", folder)? {
        let entry = entry.at("read", folder)?;
        let gone = match entry.file_type().at("look at", entry.path())?.is_dir() {
            true => remove_empty_folders(&entry.path()),
            false => Ok(false),
        };
        empty &= gone.unwrap_or_else(|error| {
            failed.get_or_insert(error);
            false
        });
    }
    if let Some(error) = failed {
        return Err(error);
    }
    if !empty {
        return Ok(false);
    }
    match fs::remove_dir(folder) {
        // Something is mounted there, or has come meanwhile.
        Err(error) if matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::DirectoryNotEmpty) => Ok(false),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).at("remove", folder),
        _ => Ok(true),
    }
}
