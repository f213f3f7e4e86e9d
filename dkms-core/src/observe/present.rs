//! Whether installed files are there: their folders are listed once, since each holds the modules of many packages.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::layout::Layout;
use crate::tree::TreePackage;
use crate::tree::files;

/// What is in the folders that hold installed files, as seen from inside the root.
#[derive(Debug, Default)]
pub(super) struct Present(HashMap<PathBuf, HashSet<OsString>>);

impl Present {
    /// Lists the folders that the records of installs name.
    pub(super) fn list(layout: &Layout, packages: &[TreePackage]) -> Self {
        let records = packages.iter().flat_map(|p| &p.entries).filter_map(|e| e.manifest.as_ref()?.installed.as_ref());
        let folders: HashSet<&Path> =
            records.flat_map(|record| &record.files).filter_map(|file| file.path.parent()).collect();
        let names = |folder: &Path| {
            // One that cannot be listed is asked for each name.
            let names = files::list(&layout.host(folder)).ok()?;
            Some((folder.to_owned(), names.into_iter().map(|(name, _)| name).collect()))
        };
        Self(folders.into_iter().filter_map(names).collect())
    }

    /// Whether something is at a path.
    pub(super) fn has(&self, layout: &Layout, path: &Path) -> bool {
        match (path.parent().and_then(|folder| self.0.get(folder)), path.file_name()) {
            (Some(names), Some(name)) => names.contains(name),
            _ => fs::symlink_metadata(layout.host(path)).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_or_not_whether_its_folder_was_listed_or_not() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let folder = Path::new("/lib/modules/6.1.0/updates/dkms");
        fs::create_dir_all(layout.host(folder)).unwrap();
        fs::write(layout.host(folder.join("a.ko")), "").unwrap();
        std::os::unix::fs::symlink("nowhere", layout.host(folder.join("b.ko"))).unwrap();
        let names = files::list(&layout.host(folder)).unwrap().into_iter().map(|(name, _)| name).collect();
        for present in [Present::default(), Present(HashMap::from([(folder.to_owned(), names)]))] {
            for (file, wanted) in [("a.ko", true), ("b.ko", true), ("c.ko", false)] {
                assert_eq!(present.has(&layout, &folder.join(file)), wanted, "{file} {present:?}");
            }
            assert!(!present.has(&layout, Path::new("/lib/modules/gone/a.ko")));
        }
    }
}
