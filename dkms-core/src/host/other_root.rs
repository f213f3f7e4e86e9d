//! Work in another root than `/`: an image that is being made, a mounted system.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{MountPropagationFlags, OpenTreeFlags};
use rustix::thread::UnshareFlags;

use crate::error::{Error, IoContext as _, Result};

/// What is lent to another root.
const LENT: [&str; 2] = ["proc", "dev"];

/// Makes `root` the root of this process and of all it starts. /proc and /dev are lent to it as long as they live, unseen
/// by everybody else. To be called before threads exist.
///
/// # Errors
/// [`Error::NotARoot`] when `root` is no folder with a `proc` and a `dev` in it; when this is not root.
pub fn enter(root: &Path) -> Result<()> {
    let root = whole(root)?;
    crate::sys::unshare(UnshareFlags::NEWNS).at("keep mounts apart for", &root)?;
    let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", all).at("keep mounts apart for", &root)?;
    for name in LENT {
        let (ours, theirs) = (Path::new("/").join(name), root.join(name));
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
        let tree = rustix::mount::open_tree(CWD, &ours, clone).at("lend", &ours)?;
        let at_that = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&tree, "", CWD, &theirs, at_that).at("mount", &theirs)?;
    }
    rustix::process::chroot(&root).at("enter", &root)?;
    std::env::set_current_dir("/").at("enter", &root)
}

/// The full path of a root that can be entered.
fn whole(root: &Path) -> Result<PathBuf> {
    let refused = |why: String| Error::NotARoot { path: root.to_owned(), why };
    let found = std::fs::canonicalize(root).map_err(|error| match error.kind() {
        ErrorKind::NotFound => refused("there is no such folder".to_owned()),
        _ => refused(error.to_string()),
    })?;
    if !found.is_dir() {
        return Err(refused("it is no folder".to_owned()));
    }
    for name in LENT {
        let place = found.join(name);
        // A link would be followed on this side.
        if !std::fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir()) {
            return Err(refused(format!(
                "it has no folder {name}, where /{name} is to be lent to it; name the top folder of a system, or make {}",
                place.display()
            )));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("absent", Some("no such folder"))]
    #[case("file", Some("no folder"))]
    #[case("file/below", Some("ot a directory"))]
    #[case("empty", Some("no folder proc"))]
    #[case("half", Some("no folder dev"))]
    #[case("linked", Some("no folder proc"))]
    #[case("whole", None)]
    fn what_is_no_root_says_why(#[case] name: &str, #[case] why: Option<&str>) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        for made in ["empty", "half/proc", "linked/dev", "whole/proc", "whole/dev"] {
            std::fs::create_dir_all(folder.path().join(made)).unwrap();
        }
        std::os::unix::fs::symlink("/proc", folder.path().join("linked/proc")).unwrap();
        let root = folder.path().join(name);
        match (whole(&root), why) {
            (Ok(found), None) => assert_eq!(found, std::fs::canonicalize(&root).unwrap()),
            (Err(error), Some(why)) => {
                let said = error.to_string();
                assert!(said.contains(why) && said.contains(&*root.to_string_lossy()), "{said}");
                assert_eq!(error.exit_code(), 2);
            }
            (other, _) => panic!("{other:?}"),
        }
    }
}
