//! Module files in a kernel's folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::model::ModuleName;
use crate::tree::files;

/// What a module file's name may end in.
const SUFFIXES: [&str; 4] = [".ko", ".ko.gz", ".ko.xz", ".ko.zst"];

/// The module's name, when a file is called as a module.
pub(crate) fn module_of(file_name: &str) -> Option<&str> {
    SUFFIXES.iter().find_map(|suffix| file_name.strip_suffix(suffix)).filter(|name| !name.is_empty())
}

/// The files of a module directly in a folder, in order of name.
pub(crate) fn in_folder(folder: &Path, module: &ModuleName) -> Result<Vec<PathBuf>> {
    let mut found: Vec<_> = SUFFIXES.iter().map(|suffix| folder.join(format!("{module}{suffix}"))).collect();
    let mut outcome = Ok(());
    found.retain(|path| match files::look(path) {
        Ok(entry) => entry.is_some_and(|entry| !entry.is_dir()),
        Err(e) => {
            outcome = Err(e);
            false
        }
    });
    outcome.map(|()| found)
}

/// Every module file below a kernel's folder, by module.
#[derive(Debug, Default)]
pub(crate) struct KernelModules(HashMap<String, Vec<PathBuf>>);

impl KernelModules {
    /// Looks once; links to folders are not followed, nor is `build` or `source` entered.
    pub(crate) fn below(kernel_folder: &Path) -> Result<Self> {
        let mut found = HashMap::<String, Vec<PathBuf>>::new();
        let mut folders = vec![kernel_folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let top = folder == kernel_folder;
            for (name, kind) in files::list(&folder)? {
                let path = folder.join(&name);
                if kind.is_dir() {
                    if !(top && (name == "build" || name == "source")) {
                        folders.push(path);
                    }
                } else if let Some(module) = name.to_str().and_then(module_of) {
                    found.entry(module.to_owned()).or_default().push(path);
                }
            }
        }
        found.values_mut().for_each(|paths| paths.sort());
        Ok(Self(found))
    }

    /// The files of a module, in order of path.
    pub(crate) fn of(&self, module: &ModuleName) -> &[PathBuf] {
        self.0.get(module.as_str()).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("r8169.ko", Some("r8169"))]
    #[case("r8169.ko.xz", Some("r8169"))]
    #[case("nf-tables.2.ko.zst", Some("nf-tables.2"))]
    #[case("r8169.ko.bak", None)]
    #[case("r8169.kob", None)]
    #[case(".ko", None)]
    #[case(".r8169.ko.dkmsd-new", None)]
    fn modules_are_known_by_their_suffix(#[case] file: &str, #[case] module: Option<&str>) {
        assert_eq!(module_of(file), module);
    }
}
