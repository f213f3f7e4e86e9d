//! Whether only root can change a file that root is about to run: the file, and every folder in which a name on the way
//! to it is looked up. Where somebody else can, they would become root at the next rebuild.

use std::collections::VecDeque;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

/// What on the way somebody else than root can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Writable {
    /// The file or folder.
    pub(super) path: PathBuf,
    /// Whose it is.
    pub(super) uid: u32,
    /// Its permissions.
    pub(super) mode: u32,
}

/// The first thing on the way from a folder to `name` in it that not only root can change; none when nothing is.
///
/// The folder itself counts, what it lies in does not. Links are followed, each folder they lead through being looked at.
///
/// # Errors
/// When something on the way cannot be looked at, or links go in a circle.
pub(super) fn writable_by_others(folder: &Path, name: &Path) -> io::Result<Option<Writable>> {
    let mut at = fs::canonicalize(folder)?;
    let mut rest: VecDeque<PathBuf> = parts(name);
    let mut links = 0;
    loop {
        let found = fs::symlink_metadata(&at)?;
        if open_to_others(&found) {
            return Ok(Some(Writable { path: at, uid: found.uid(), mode: found.mode() & 0o7777 }));
        }
        let Some(next) = rest.pop_front() else { return Ok(None) };
        if next == Path::new("..") {
            at.pop();
            continue;
        }
        let below = if next == Path::new("/") { next } else { at.join(next) };
        if !fs::symlink_metadata(&below)?.is_symlink() {
            at = below;
            continue;
        }
        links += 1;
        // The kernel's own limit.
        if links > 40 {
            return Err(io::Error::other(format!("too many links on the way to {}", name.display())));
        }
        let link = fs::symlink_metadata(&below)?;
        if link.uid() != 0 {
            return Ok(Some(Writable { path: below, uid: link.uid(), mode: link.mode() & 0o7777 }));
        }
        let mut target = parts(&fs::read_link(&below)?);
        target.append(&mut rest);
        rest = target;
    }
}

fn parts(path: &Path) -> VecDeque<PathBuf> {
    let part = |component| match component {
        Component::CurDir | Component::Prefix(_) => None,
        Component::RootDir => Some(PathBuf::from("/")),
        Component::ParentDir => Some(PathBuf::from("..")),
        Component::Normal(name) => Some(PathBuf::from(name)),
    };
    path.components().filter_map(part).collect()
}

fn open_to_others(found: &Metadata) -> bool {
    // In a sticky folder, as /tmp is, nobody can replace what is root's.
    let sticky = found.is_dir() && found.mode() & 0o1000 != 0;
    let by_group = found.gid() != 0 && found.mode() & 0o020 != 0;
    found.uid() != 0 || (!sticky && (by_group || found.mode() & 0o002 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    /// In `a`: `run.sh`, `sub/deep.sh`; beside it `elsewhere/theirs.sh`; links in `a` to each of them.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::create_dir_all(path("a/sub")).unwrap();
        fs::create_dir(path("elsewhere")).unwrap();
        for file in ["a/run.sh", "a/sub/deep.sh", "elsewhere/theirs.sh"] {
            fs::write(path(file), "").unwrap();
        }
        for folder in ["a", "a/sub", "elsewhere"] {
            fs::set_permissions(path(folder), fs::Permissions::from_mode(0o755)).unwrap();
        }
        symlink("sub/../run.sh", path("a/link.sh")).unwrap();
        symlink(path("elsewhere"), path("a/out")).unwrap();
        symlink("circle", path("a/circle")).unwrap();
        root
    }

    #[rstest]
    #[case::all_of_root("run.sh", &[], None)]
    #[case::other_file("run.sh", &[("a/sub", 0o777, 0)], None)]
    #[case::the_file("run.sh", &[("a/run.sh", 0o757, 0)], Some("a/run.sh"))]
    #[case::the_folder("run.sh", &[("a", 0o777, 0)], Some("a"))]
    #[case::a_folder_between("sub/deep.sh", &[("a/sub", 0o777, 0)], Some("a/sub"))]
    #[case::owner("run.sh", &[("a/run.sh", 0o755, 1234)], Some("a/run.sh"))]
    #[case::owner_of_the_folder("run.sh", &[("a", 0o755, 1234)], Some("a"))]
    #[case::sticky("run.sh", &[("a", 0o1777, 0)], None)]
    #[case::through_a_link("link.sh", &[("a/run.sh", 0o757, 0)], Some("a/run.sh"))]
    #[case::a_folder_that_a_link_leads_through("link.sh", &[("a/sub", 0o777, 0)], Some("a/sub"))]
    #[case::a_link_out("out/theirs.sh", &[("elsewhere", 0o755, 1234)], Some("elsewhere"))]
    #[case::a_link_out_to_roots("out/theirs.sh", &[], None)]
    fn what_others_can_change_is_named(
        #[case] name: &str,
        #[case] open: &[(&str, u32, u32)],
        #[case] wanted: Option<&str>,
    ) {
        let root = tree();
        for (path, mode, uid) in open {
            let path = root.path().join(path);
            chown(&path, Some(*uid), None).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        let found = writable_by_others(&root.path().join("a"), Path::new(name)).unwrap();
        let wanted = wanted.map(|path| root.path().canonicalize().unwrap().join(path));
        assert_eq!(found.map(|found| found.path), wanted);
    }

    #[test]
    fn a_group_counts_unless_it_is_roots() {
        let root = tree();
        let script = root.path().join("a/run.sh");
        let look = || writable_by_others(&root.path().join("a"), Path::new("run.sh")).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o775)).unwrap();
        assert_eq!(look(), None);
        chown(&script, None, Some(1234)).unwrap();
        assert!(look().is_some_and(|found| (found.uid, found.mode) == (0, 0o775)));
    }

    #[test]
    fn a_link_that_is_somebodys_and_a_circle_are_no_way() {
        let root = tree();
        let folder = root.path().join("a");
        std::os::unix::fs::lchown(folder.join("link.sh"), Some(1234), None).unwrap();
        assert!(writable_by_others(&folder, Path::new("link.sh")).unwrap().is_some_and(|found| found.uid == 1234));
        assert!(writable_by_others(&folder, Path::new("circle")).is_err());
        assert!(writable_by_others(&folder, Path::new("absent.sh")).is_err());
    }
}
