//! Kernel modules that an install displaces: kept in the tree as classic DKMS does, `<file>` beside `<file>.origin`,
//! which holds the path it came from.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::install::find;
use crate::install::intent::Content;
use crate::layout::Layout;
use crate::model::{KernelId, ModuleName, PackageName};
use crate::tree::files;

/// One module that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Its file in the tree.
    pub(crate) file: PathBuf,
    /// Where it came from, as seen from inside the root; none when nothing says so (older tools did not).
    pub(crate) origin: Option<PathBuf>,
}

impl Kept {
    /// Whether it is a file of this module.
    pub(crate) fn is_of(&self, module: &ModuleName) -> bool {
        let name = self.file.file_name().and_then(OsStr::to_str);
        name.and_then(find::module_of) == Some(module.as_str())
    }
}

/// Everything that is kept for a kernel, in order of name.
pub(crate) fn kept(layout: &Layout, name: &PackageName, kernel: &KernelId) -> Result<Vec<Kept>> {
    let folder = layout.originals_dir(name, kernel);
    let mut found = Vec::new();
    for (file, kind) in files::list(&folder)? {
        if kind.is_dir() || file.to_str().and_then(find::module_of).is_none() {
            continue;
        }
        let file = folder.join(file);
        found.push(Kept { origin: origin(layout, &file)?, file });
    }
    Ok(found)
}

/// The file that says where an original came from.
pub(crate) fn origin_of(kept: &Path) -> PathBuf {
    let mut name = kept.as_os_str().to_owned();
    name.push(".origin");
    name.into()
}

/// The path in `<file>.origin`; a folder there means the file of that name in it.
fn origin(layout: &Layout, kept: &Path) -> Result<Option<PathBuf>> {
    let path = origin_of(kept);
    let Some(text) = files::read(&path)? else { return Ok(None) };
    let text = text.trim_ascii();
    let origin = Path::new(OsStr::from_bytes(text));
    if !origin.is_absolute() || origin.components().any(|c| c == std::path::Component::ParentDir) {
        tracing::warn!(path = %path.display(), "ignored: it holds no absolute path");
        return Ok(None);
    }
    let names_folder = fs::metadata(layout.host(origin)).is_ok_and(|found| found.is_dir());
    Ok(Some(if names_folder { origin.join(kept.file_name().unwrap_or_default()) } else { origin.to_owned() }))
}

/// Puts one back in its place, whose folder is made when it is missing.
pub(crate) fn put_back(kept: &Path, place: &Path) -> Result<()> {
    if let Some(folder) = place.parent() {
        files::make_folders(folder)?;
    }
    match Content::at(kept)? {
        Some(Content::Link { target }) => files::link_atomic(&target, place),
        Some(file @ Content::File { .. }) => files::copy_atomic(kept, place, 0o644, file.attributes()).map(drop),
        None => Ok(()),
    }
}

/// Removes one that is no longer needed.
pub(crate) fn drop_kept(kept: &Path) -> Result<()> {
    files::remove(kept)?;
    files::remove(&origin_of(kept)).map(drop)
}

/// Removes the folder of a kernel's originals once no module is left in it; what else lies there is classic's litter.
pub(crate) fn drop_folder(layout: &Layout, name: &PackageName, kernel: &KernelId) -> Result<()> {
    let folder = layout.originals_dir(name, kernel);
    if files::look(&folder)?.is_some() && kept(layout, name, kernel)?.is_empty() {
        files::remove_tree(&folder)?;
    }
    files::remove_empty(&folder, &layout.package_dir(name))
}
