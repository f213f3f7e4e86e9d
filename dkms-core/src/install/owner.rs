//! Whose a module file in a kernel's folder is, when several packages bring a module of one name.

use std::path::Path;

use crate::error::Result;
use crate::install::find::KernelModules;
use crate::install::plan::{is_ours, owned};
use crate::layout::Layout;
use crate::model::{KernelId, PackageId};
use crate::tree;

/// Another package than `package`, of whatever version, that has the file at `path` installed.
pub(crate) fn other_owner(
    layout: &Layout,
    package: &PackageId,
    kernel: &KernelId,
    path: &Path,
) -> Result<Option<PackageId>> {
    for other in tree::scan(layout)?.into_iter().filter(|other| other.id.name != package.name) {
        for entry in other.entries.iter().filter(|entry| entry.kernel == *kernel && entry.installed) {
            let owns = match entry.manifest.as_ref().and_then(|manifest| manifest.installed.as_ref()) {
                Some(record) => match record.files.iter().find(|file| layout.host(&file.path) == path) {
                    Some(file) => is_ours(layout, &other.id, kernel, path, Some(&file.sha256))?,
                    None => false,
                },
                None => {
                    let modules = KernelModules::below(&layout.kernel_folder(&kernel.release))?;
                    owned(layout, &other.id, kernel, None, &modules)?.contains(path)
                }
            };
            if owns {
                return Ok(Some(other.id));
            }
        }
    }
    Ok(None)
}

/// Whether a package has its file at `origin`, as seen from inside the root, on record still, though another package's
/// may stand there.
pub(crate) fn still_installs(layout: &Layout, package: &PackageId, kernel: &KernelId, origin: &Path) -> Result<bool> {
    let Some(found) = tree::package(layout, package)? else { return Ok(false) };
    let entry = found.entries.iter().find(|entry| entry.kernel == *kernel && entry.installed);
    let manifest = entry.and_then(|entry| entry.manifest.as_ref());
    // What has no record was made by an older tool, and is believed.
    let has = |record: &tree::InstallRecord| record.files.iter().any(|file| file.path == origin);
    Ok(entry.is_some() && manifest.and_then(|manifest| manifest.installed.as_ref()).is_none_or(has))
}
