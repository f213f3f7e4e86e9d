//! What the machine's own files say is to be installed whatever the checks say: `/usr/share/dkms/modules_to_force_install/*`
//! (dkms-contract.md §1). A driver's package puts one there when it knows better than a version number.

use std::collections::BTreeSet;
use std::fs;

use crate::error::{IoContext, Result};
use crate::layout::Layout;
use crate::model::PackageName;
use crate::tree::files;

/// Ends a word that overrules only the version check of the package before it.
const VERSION_OVERRIDE: &str = "_version-override";

/// The words of those files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forced(BTreeSet<String>);

impl Forced {
    /// Reads every file of the folder that has a name without a leading dot; no folder, no words.
    ///
    /// # Errors
    /// When the folder or a file in it is there and cannot be read.
    pub fn read(layout: &Layout) -> Result<Self> {
        let folder = layout.forced_installs();
        let mut words = BTreeSet::new();
        for (name, kind) in files::list(&folder)? {
            let file = folder.join(&name);
            if kind.is_dir() || name.as_encoded_bytes().starts_with(b".") || file.is_dir() {
                continue;
            }
            let text = fs::read(&file).at("read", &file)?;
            words.extend(String::from_utf8_lossy(&text).split_whitespace().map(str::to_owned));
        }
        Ok(Self(words))
    }

    /// Whether a package is installed in spite of OBSOLETE_BY and of the version check.
    #[must_use]
    pub fn install(&self, name: &PackageName) -> bool {
        self.0.contains(name.as_str())
    }

    /// Whether a package is installed in spite of the version check.
    #[must_use]
    pub fn version(&self, name: &PackageName) -> bool {
        self.install(name) || self.0.contains(&format!("{name}{VERSION_OVERRIDE}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing(&[], (false, false))]
    #[case::by_name(&[("a.conf", "nvidia")], (true, true))]
    #[case::version_only(&[("a", "other nvidia_version-override")], (false, true))]
    #[case::in_a_second_file_and_line(&[("a", "other\n"), ("b", "one\n\ttwo  nvidia\n")], (true, true))]
    #[case::part_of_a_word(&[("a", "nvidia-current xnvidia nvidia_version")], (false, false))]
    #[case::hidden(&[(".a.swp", "nvidia")], (false, false))]
    fn words_overrule(#[case] files: &[(&str, &str)], #[case] wanted: (bool, bool)) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        fs::create_dir_all(layout.forced_installs()).unwrap();
        for (name, text) in files {
            fs::write(layout.forced_installs().join(name), text).unwrap();
        }
        fs::create_dir(layout.forced_installs().join("folder")).unwrap();
        let (forced, nvidia) = (Forced::read(&layout).unwrap(), PackageName::new("nvidia").unwrap());
        assert_eq!((forced.install(&nvidia), forced.version(&nvidia)), wanted);
    }

    #[test]
    fn no_folder_is_no_word() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Forced::read(&Layout::under(root.path())).unwrap(), Forced::default());
    }
}
