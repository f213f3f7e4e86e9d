//! Work in another root than `/`: an image that is being made, a mounted system.

use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{MountPropagationFlags, OpenTreeFlags};
use rustix::thread::UnshareFlags;

use crate::error::{IoContext as _, Result};

/// Makes `root` the root of this process and of all it starts. /proc and /dev are lent to it as long as they live, unseen
/// by everybody else. To be called before threads exist.
///
/// # Errors
/// When this is not root, or `root` is no folder with a `/proc` and a `/dev`.
pub fn enter(root: &Path) -> Result<()> {
    let root = std::path::absolute(root).at("find", root)?;
    let root = std::fs::canonicalize(&root).at("find", &root)?;
    crate::sys::unshare(UnshareFlags::NEWNS).at("keep mounts apart for", &root)?;
    let all = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", all).at("keep mounts apart for", &root)?;
    for name in ["proc", "dev"] {
        let (ours, theirs) = (Path::new("/").join(name), root.join(name));
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
        let tree = rustix::mount::open_tree(CWD, &ours, clone).at("lend", &ours)?;
        let at_that = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&tree, "", CWD, &theirs, at_that).at("mount", &theirs)?;
    }
    rustix::process::chroot(&root).at("enter", &root)?;
    std::env::set_current_dir("/").at("enter", &root)
}
