//! The mark that a kernel's depmod is due: on disk before the first change of an install or an uninstall, gone once depmod
//! has read what came of it. Whatever stops in between, [`crate::engine::Engine::recover`] finds the mark: an index that
//! names a file that is gone keeps modprobe from the module that is there.
//!
//! A line of it for each that changed something: who will run depmod, while that process lives; `?` for one that could not
//! be told. An empty one is an older mark, of nobody knows whom. Whoever runs depmod does it for all of them.

use crate::error::Result;
use crate::host::process::Owner;
use crate::layout::Layout;
use crate::model::KernelRelease;
use crate::tree::files;

/// Whom a mark is of.
type Owners = Vec<Option<Owner>>;

/// Marks a kernel for `owner`; durable when this returns. The caller holds the kernel's lock.
pub(crate) fn mark(layout: &Layout, kernel: &KernelRelease, owner: Option<&Owner>) -> Result<()> {
    let mut owners = owners(layout, kernel)?;
    if owners.iter().any(|known| known.as_ref() == owner) {
        return Ok(());
    }
    files::make_folders(&layout.dkms_tree())?;
    owners.push(owner.cloned());
    write(layout, kernel, &owners)
}

/// In place: what a stop leaves of it is a mark of nobody knows whom, which is as good.
fn write(layout: &Layout, kernel: &KernelRelease, owners: &[Option<Owner>]) -> Result<()> {
    let line = |owner: &Option<Owner>| owner.as_ref().and_then(|owner| serde_json::to_string(owner).ok());
    let text: String = owners.iter().map(|owner| line(owner).unwrap_or_else(|| UNKNOWN.into()) + "\n").collect();
    files::write_in_place(&layout.depmod_due(kernel), text.as_bytes())
}

const UNKNOWN: &str = "?";

/// None at all: it is not marked.
fn owners(layout: &Layout, kernel: &KernelRelease) -> Result<Owners> {
    let Some(bytes) = files::read(&layout.depmod_due(kernel))? else { return Ok(Vec::new()) };
    let text = String::from_utf8_lossy(&bytes);
    let owners: Owners = text.lines().map(|line| serde_json::from_str(line).ok()).collect();
    Ok(if owners.is_empty() { vec![None] } else { owners })
}

/// Whether a kernel is marked.
///
/// # Errors
/// When the tree cannot be looked at.
pub fn is_due(layout: &Layout, kernel: &KernelRelease) -> Result<bool> {
    Ok(files::look(&layout.depmod_due(kernel))?.is_some())
}

/// Every kernel that is marked by `us`, or by somebody who may be dead, in order of name.
///
/// # Errors
/// When the tree is there and cannot be read.
pub fn left(layout: &Layout, us: Option<&Owner>) -> Result<Vec<KernelRelease>> {
    let names = files::list(&layout.dkms_tree())?;
    let releases = names.iter().filter_map(|(name, _)| name.to_str()?.strip_prefix(Layout::DEPMOD_DUE));
    let mut left = Vec::new();
    for release in releases.filter_map(|release| KernelRelease::new(release).ok()) {
        if owners(layout, &release)?.iter().any(|owner| is_left(owner.as_ref(), us)) {
            left.push(release);
        }
    }
    Ok(left)
}

/// Whether what somebody began is `us` to go on with: it is our own, or nobody that is known to live has it.
pub(crate) fn is_left(owner: Option<&Owner>, us: Option<&Owner>) -> bool {
    owner == us || !owner.is_some_and(Owner::lives)
}

/// Takes a kernel's mark away, after depmod has succeeded or the kernel has gone. The caller holds the kernel's lock.
///
/// # Errors
/// When the mark is there and cannot be removed.
pub fn clear(layout: &Layout, kernel: &KernelRelease) -> Result<()> {
    if is_due(layout, kernel)? { files::remove(&layout.depmod_due(kernel)).map(drop) } else { Ok(()) }
}

/// Takes back the mark that `us` made, as nobody's depmod is due for it; those of others stay. The caller holds the
/// kernel's lock.
///
/// # Errors
/// When the mark is there and cannot be changed.
pub fn take_back(layout: &Layout, kernel: &KernelRelease, us: Option<&Owner>) -> Result<()> {
    let mut owners = owners(layout, kernel)?;
    let before = owners.len();
    owners.retain(|owner| owner.as_ref() != us);
    match owners.as_slice() {
        [] => clear(layout, kernel),
        others if others.len() < before => write(layout, kernel, others),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_kept_listed_and_cleared() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let kernels = ["5.10", "6.1.0-56-amd64"].map(|release| KernelRelease::new(release).unwrap());
        let us = Owner::this();
        assert_eq!(left(&layout, us.as_ref()).unwrap(), []);
        clear(&layout, &kernels[0]).unwrap();
        for kernel in kernels.iter().rev().chain(&kernels) {
            mark(&layout, kernel, us.as_ref()).unwrap();
        }
        assert_eq!(left(&layout, us.as_ref()).unwrap(), kernels);
        clear(&layout, &kernels[0]).unwrap();
        assert!(!is_due(&layout, &kernels[0]).unwrap() && is_due(&layout, &kernels[1]).unwrap());
    }

    #[test]
    fn each_takes_back_its_own_and_what_the_living_made_is_not_left() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let kernel = KernelRelease::new("6.1").unwrap();
        let (us, other) = (Owner::this(), Owner::of_process(std::os::unix::process::parent_id()));
        assert!(us.is_some() && other.is_some());
        let is_left = || !left(&layout, us.as_ref()).unwrap().is_empty();
        mark(&layout, &kernel, other.as_ref()).unwrap();
        assert!(!is_left());
        mark(&layout, &kernel, us.as_ref()).unwrap();
        assert!(is_left());
        take_back(&layout, &kernel, us.as_ref()).unwrap();
        assert!(is_due(&layout, &kernel).unwrap() && !is_left());
        take_back(&layout, &kernel, other.as_ref()).unwrap();
        assert!(!is_due(&layout, &kernel).unwrap());
        // As an older program made it.
        std::fs::write(layout.depmod_due(&kernel), "").unwrap();
        assert!(is_left());
        mark(&layout, &kernel, us.as_ref()).unwrap();
        take_back(&layout, &kernel, us.as_ref()).unwrap();
        assert!(is_due(&layout, &kernel).unwrap() && is_left());
    }
}
