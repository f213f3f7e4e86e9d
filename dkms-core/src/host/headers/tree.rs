//! The folders and files of one header tree, wherever the distribution has spread them.
//!
//! Debian's build folder holds little itself: `scripts` and `tools` are links to the kbuild package, and its Makefile
//! is one line that includes the common package's by absolute path. Ubuntu links most folders, down to the second
//! level, to another package's. All of that is one tree here.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::{SENTINELS, hex};
use crate::host::resolve::resolve;
use crate::layout::Layout;

/// Links to folders are followed from this many levels below a root.
const LINK_DEPTH: usize = 1;

/// A whole kernel source has some 6,000 folders; beyond this something else is being walked.
const MAX_FOLDERS: usize = 30_000;

/// What was found of a header folder without walking it.
#[derive(Debug, Default)]
pub(super) struct Found {
    dir: PathBuf,
    /// The sentinels that are there, with every link followed.
    pub(super) sentinels: BTreeMap<&'static str, PathBuf>,
    /// The folder's Makefile and those it includes from elsewhere.
    pub(super) makefiles: Vec<PathBuf>,
    /// What is not there, as people should read it.
    pub(super) missing: Vec<String>,
}

impl Found {
    /// The folders of Makefiles that are included from elsewhere: trees that belong to this one.
    pub(super) fn included_folders(&self) -> Vec<PathBuf> {
        self.makefiles.iter().filter_map(|m| m.parent()).filter(|p| *p != self.dir).map(Path::to_owned).collect()
    }
}

/// Looks for the sentinels and for included Makefiles.
pub(super) fn find(layout: &Layout, dir: &Path) -> Found {
    let mut found = Found { dir: dir.to_owned(), ..Found::default() };
    for name in SENTINELS {
        match resolve(layout, &dir.join(name)) {
            Ok(path) if path.is_file() => {
                found.sentinels.insert(name, path);
            }
            _ => found.missing.push(name.to_owned()),
        }
    }
    if let Some(makefile) = found.sentinels.get("Makefile").cloned() {
        let text = fs::read(&makefile).unwrap_or_default();
        found.makefiles.push(makefile);
        for included in includes(&String::from_utf8_lossy(&text)) {
            let path = if included.is_absolute() { layout.host(&included) } else { dir.join(&included) };
            match resolve(layout, &path) {
                Ok(path) if path.is_file() => found.makefiles.push(path),
                _ => found.missing.push(included.display().to_string()),
            }
        }
    }
    found
}

/// The Makefiles that a Makefile includes from outside its own tree, by absolute path or through `..`. One whose name
/// is put together by make, or that may be absent, is none.
fn includes(makefile: &str) -> Vec<PathBuf> {
    makefile
        .lines()
        .filter_map(|line| line.strip_prefix("include ")?.split('#').next())
        .flat_map(str::split_whitespace)
        .filter(|path| (path.starts_with('/') || path.starts_with("../")) && !path.contains(['$', '*', '?']))
        .map(PathBuf::from)
        .collect()
}

/// What a walk over the tree's folders found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Every folder, sentinel and Makefile.
    pub(super) seen: Vec<Seen>,
    /// Folders went away under the walk.
    pub(super) moving: bool,
    /// Digest (hex) of the tree as described at [`super::Headers::stamp`].
    pub(super) stamp: String,
    /// The folders that the tree is spread over.
    pub(super) roots: Vec<PathBuf>,
}

/// A folder or file as a walk found it.
#[derive(Debug)]
pub(super) struct Seen {
    /// Where.
    pub(super) path: PathBuf,
    /// When it last changed, by ctime.
    pub(super) changed: SystemTime,
    inode: (u64, u64),
}

impl Seen {
    fn new(path: &Path, meta: &fs::Metadata) -> Self {
        Self { path: path.to_owned(), changed: changed(meta), inode: (meta.dev(), meta.ino()) }
    }
}

impl Walk {
    /// Whether all that the walk found is as it was, so that another would find the same.
    pub(super) fn still_stands(&self) -> bool {
        !self.moving
            && self.seen.iter().all(|seen| {
                fs::symlink_metadata(&seen.path)
                    .is_ok_and(|meta| changed(&meta) == seen.changed && (meta.dev(), meta.ino()) == seen.inode)
            })
    }
}

/// Walks every folder of the tree.
pub(super) fn walk(layout: &Layout, found: &Found) -> Walk {
    let mut walk = Walk { roots: vec![found.dir.clone()], ..Walk::default() };
    walk.roots.extend(found.included_folders());
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut inodes = HashSet::new();
    let mut left: Vec<(PathBuf, usize)> = walk.roots.iter().map(|root| (root.clone(), 0)).collect();
    while let Some((folder, depth)) = left.pop() {
        let Ok(meta) = fs::symlink_metadata(&folder) else {
            walk.moving = true;
            continue;
        };
        if !inodes.insert((meta.dev(), meta.ino())) || inodes.len() > MAX_FOLDERS {
            continue;
        }
        walk.seen.push(Seen::new(&folder, &meta));
        let mut names: Vec<OsString> = Vec::new();
        match fs::read_dir(&folder) {
            Err(e) => walk.moving |= e.kind() == io::ErrorKind::NotFound,
            Ok(entries) => {
                for entry in entries.flatten() {
                    let name = entry.file_name();
                    let hidden = name.as_bytes().starts_with(b".");
                    names.push(name);
                    let Ok(kind) = entry.file_type() else { continue };
                    if hidden {
                        continue;
                    }
                    if kind.is_dir() {
                        left.push((entry.path(), depth + 1));
                    } else if kind.is_symlink() && depth <= LINK_DEPTH {
                        let Ok(target) = resolve(layout, &entry.path()) else { continue };
                        // A link back up is no part of the tree.
                        if target.is_dir() && !folder.starts_with(&target) && !found.dir.starts_with(&target) {
                            walk.roots.push(target.clone());
                            left.push((target, depth + 1));
                        }
                    }
                }
            }
        }
        lines.push(line(layout, &folder, &meta, names));
    }
    for path in found.sentinels.values().chain(&found.makefiles) {
        match fs::metadata(path) {
            Err(_) => walk.moving = true,
            Ok(meta) => {
                walk.seen.push(Seen::new(path, &meta));
                lines.push(line(layout, path, &meta, Vec::new()));
            }
        }
    }
    lines.sort();
    let mut digest = Sha256::new();
    for line in &lines {
        digest.update(line);
    }
    walk.stamp = hex(&digest.finalize());
    walk
}

/// One path's part of the stamp. A folder's size is the file system's own affair; its names are not.
fn line(layout: &Layout, path: &Path, meta: &fs::Metadata, mut names: Vec<OsString>) -> Vec<u8> {
    names.sort();
    let size = if meta.is_dir() { 0 } else { meta.size() };
    let mut line = layout.inside(path).into_os_string().into_encoded_bytes();
    line.extend(format!("\0{size} {} {}", meta.mtime(), meta.mtime_nsec()).into_bytes());
    for name in names {
        line.push(0);
        line.extend(name.into_encoded_bytes());
    }
    line.push(b'\n');
    line
}

fn changed(meta: &fs::Metadata) -> SystemTime {
    let seconds = u64::try_from(meta.ctime()).unwrap_or_default();
    let nanos = u32::try_from(meta.ctime_nsec()).unwrap_or_default();
    UNIX_EPOCH + Duration::new(seconds, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("include /usr/src/linux-headers-6.1.0-56-common/Makefile\n", &["/usr/src/linux-headers-6.1.0-56-common/Makefile"])]
    #[case("# x\nexport A = b\ninclude ../../../linux-6.4/Makefile # c\n", &["../../../linux-6.4/Makefile"])]
    #[case("include $(srctree)/scripts/Kbuild.include\n-include /etc/optional.mk\ninclude include/config/auto.conf\n", &[])]
    #[case("include /a.mk /b.mk\n", &["/a.mk", "/b.mk"])]
    #[case("\tinclude /recipe\n", &[])]
    fn only_what_has_to_exist_elsewhere(#[case] makefile: &str, #[case] wanted: &[&str]) {
        assert_eq!(includes(makefile), wanted.iter().map(PathBuf::from).collect::<Vec<_>>());
    }
}
