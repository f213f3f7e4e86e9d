//! The programs that a build is made with. They are no part of the digest, so that what was built can be installed where
//! there is no compiler any more; but another compiler than the one that made it makes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Programs by name, each with what tells one version of it from another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tools(BTreeMap<String, String>);

/// What a build may call beside the compiler and linker that the kernel names.
const ALWAYS: [&str; 6] = ["gcc", "ld", "as", "make", "pahole", "rustc"];

impl Tools {
    /// Those that are here now. `named`: what the kernel's configuration asks for. `find`: where a program is.
    pub fn now<'a>(named: impl IntoIterator<Item = &'a str>, find: impl Fn(&str) -> Option<PathBuf>) -> Self {
        let names = named.into_iter().chain(ALWAYS);
        Self(names.filter_map(|name| Some((name.to_owned(), identity(&find(name)?)?))).collect())
    }

    /// The first of these programs that is another one by now. One that is not here any more is none: nothing else could
    /// build in its place.
    #[must_use]
    pub fn changed_since<'a>(&'a self, then: &'a Self) -> Option<&'a str> {
        let other = |name: &String, id: &String| self.0.get(name).is_some_and(|now| now != id);
        let changed = then.0.iter().find(|(name, id)| other(name, id)).map(|(name, _)| name.as_str());
        // What the kernel names is here now, and something else had to do then.
        let better = |name: &&String| !then.0.contains_key(*name) && !ALWAYS.contains(&name.as_str());
        changed.or_else(|| self.0.keys().find(better).map(String::as_str))
    }
}

/// The file with every link followed, its size and its time: a package's file has the time of the package.
fn identity(program: &Path) -> Option<String> {
    let file = fs::canonicalize(program).ok()?;
    let metadata = fs::metadata(&file).ok()?;
    Some(format!("{} {} {}", file.display(), metadata.len(), metadata.mtime()))
}

/// Where a program is on PATH, or as a path itself.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| crate::build::sandbox::DEFAULT_PATH.into());
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn tools(text: &[(&str, &str)]) -> Tools {
        Tools(text.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect())
    }

    #[rstest]
    #[case::the_same(&[("gcc", "1"), ("make", "4")], None)]
    #[case::another_compiler(&[("gcc", "2"), ("make", "4")], Some("gcc"))]
    #[case::no_compiler(&[("make", "4")], None)]
    #[case::one_more(&[("gcc", "1"), ("make", "4"), ("pahole", "1")], None)]
    #[case::the_kernels_own_compiler(&[("gcc", "1"), ("gcc-12", "1"), ("make", "4")], Some("gcc-12"))]
    fn another_program_counts_and_an_absent_one_does_not(#[case] now: &[(&str, &str)], #[case] wanted: Option<&str>) {
        let (now, then) = (tools(now), tools(&[("gcc", "1"), ("make", "4")]));
        assert_eq!(now.changed_since(&then), wanted);
    }

    #[test]
    fn a_program_is_told_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let find = |name: &str| Some(folder.path().join(name)).filter(|p| p.exists());
        fs::write(folder.path().join("gcc-12"), "one").unwrap();
        std::os::unix::fs::symlink("gcc-12", folder.path().join("gcc")).unwrap();
        let first = Tools::now(["gcc-12"], find);
        assert_eq!(first.0.keys().collect::<Vec<_>>(), ["gcc", "gcc-12"]);
        assert_eq!(Tools::now(["gcc-12"], find).changed_since(&first), None);
        fs::write(folder.path().join("gcc-12"), "other one").unwrap();
        assert_eq!(Tools::now(["gcc-12"], find).changed_since(&first), Some("gcc"));
    }
}
