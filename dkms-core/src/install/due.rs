//! The mark that a kernel's depmod is due: on disk before the first change of an install or an uninstall, gone once depmod
//! has read what came of it. Whatever stops in between, [`crate::engine::Engine::recover`] finds the mark: an index that
//! names a file that is gone keeps modprobe from the module that is there.

use crate::error::Result;
use crate::layout::Layout;
use crate::model::KernelRelease;
use crate::tree::files;

/// Marks a kernel; durable when this returns.
pub(crate) fn mark(layout: &Layout, kernel: &KernelRelease) -> Result<()> {
    let mark = layout.depmod_due(kernel);
    if files::look(&mark)?.is_some() {
        return Ok(());
    }
    files::make_folders(&layout.dkms_tree())?;
    files::touch(&mark)
}

/// Whether a kernel is marked.
///
/// # Errors
/// When the tree cannot be looked at.
pub fn is_due(layout: &Layout, kernel: &KernelRelease) -> Result<bool> {
    Ok(files::look(&layout.depmod_due(kernel))?.is_some())
}

/// Every kernel that is marked, in order of name.
///
/// # Errors
/// When the tree is there and cannot be read.
pub fn all(layout: &Layout) -> Result<Vec<KernelRelease>> {
    let names = files::list(&layout.dkms_tree())?;
    let releases = names.iter().filter_map(|(name, _)| name.to_str()?.strip_prefix(Layout::DEPMOD_DUE));
    Ok(releases.filter_map(|release| KernelRelease::new(release).ok()).collect())
}

/// Takes a kernel's mark away, after depmod has succeeded or the kernel has gone. The caller holds the kernel's lock.
///
/// # Errors
/// When the mark is there and cannot be removed.
pub fn clear(layout: &Layout, kernel: &KernelRelease) -> Result<()> {
    if is_due(layout, kernel)? { files::remove(&layout.depmod_due(kernel)).map(drop) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_kept_listed_and_cleared() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let kernels = ["5.10", "6.1.0-56-amd64"].map(|release| KernelRelease::new(release).unwrap());
        assert_eq!(all(&layout).unwrap(), []);
        clear(&layout, &kernels[0]).unwrap();
        for kernel in kernels.iter().rev().chain(&kernels) {
            mark(&layout, kernel).unwrap();
        }
        assert_eq!(all(&layout).unwrap(), kernels);
        clear(&layout, &kernels[0]).unwrap();
        assert!(!is_due(&layout, &kernels[0]).unwrap() && is_due(&layout, &kernels[1]).unwrap());
    }
}
