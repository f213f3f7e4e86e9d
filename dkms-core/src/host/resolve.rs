//! Follows symbolic links as a program inside the root would: an absolute link begins at the root of the
//! [`Layout`], not at this machine's.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use crate::layout::Layout;

/// As many links as the kernel follows before it says ELOOP.
const MAX_LINKS: usize = 40;

/// The path with every link followed; it has to exist. Takes and returns paths that can be opened from here.
///
/// # Errors
/// When a component is missing, is not a folder, cannot be read, or the links go in a circle.
pub fn resolve(layout: &Layout, path: &Path) -> io::Result<PathBuf> {
    if layout.root() == Path::new("/") {
        return fs::canonicalize(path);
    }
    let mut left: VecDeque<OsString> = components(&layout.inside(path)).collect();
    let mut inside = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            inside.pop();
            continue;
        }
        let next = inside.join(&name);
        let host = layout.host(&next);
        if !fs::symlink_metadata(&host)?.is_symlink() {
            inside = next;
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = fs::read_link(&host)?;
        if target.is_absolute() {
            inside = PathBuf::from("/");
        }
        for name in components(&target).collect::<Vec<_>>().into_iter().rev() {
            left.push_front(name);
        }
    }
    Ok(layout.host(&inside))
}

fn components(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::os::unix::fs::symlink;

    #[rstest]
    #[case("/lib/modules/k/build", Some("/usr/src/h"))]
    #[case("/lib/modules/k/build/scripts/mod", Some("/usr/lib/kbuild/scripts/mod"))]
    #[case("/up", Some("/usr"))]
    #[case("/lib/modules/k/source", None)]
    #[case("/circle", None)]
    #[case("/usr/src/h/Makefile/x", None)]
    fn links_stay_inside_the_root(#[case] path: &str, #[case] wanted: Option<&str>) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        for folder in ["lib/modules/k", "usr/src/h", "usr/lib/kbuild/scripts/mod"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        fs::write(root.path().join("usr/src/h/Makefile"), "").unwrap();
        for (link, target) in [
            ("lib/modules/k/build", "/usr/src/h"),
            ("lib/modules/k/source", "/usr/src/absent"),
            ("usr/src/h/scripts", "../../lib/kbuild/scripts"),
            ("up", "../../../../usr"),
            ("circle", "/circle"),
        ] {
            symlink(target, root.path().join(link)).unwrap();
        }
        let found = resolve(&layout, &layout.host(path)).ok();
        assert_eq!(found, wanted.map(|w| layout.host(w)));
    }
}
