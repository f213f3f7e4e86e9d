//! Whether a link of an archive leaves the folder it is in, told before any link is made.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::unpack::{Node, Nodes};

/// How many links the kernel follows on one way.
const MOST_LINKS: usize = 40;

/// The first link below `root` that leads out of it, and where it says it leads.
///
/// Each step is taken as the kernel would, through other links too: `..` after a link leads out of where the link leads.
pub(crate) fn leaving<'a>(nodes: &'a Nodes, root: &Path) -> Option<(&'a Path, &'a Path)> {
    all_leaving(nodes, root).next()
}

/// As [`leaving`], every one of them.
pub(crate) fn all_leaving<'a>(nodes: &'a Nodes, root: &Path) -> impl Iterator<Item = (&'a Path, &'a Path)> {
    nodes.iter().filter_map(move |(path, node)| match node {
        Node::Link(target) if path.starts_with(root) && leaves(nodes, root, path, target) => {
            Some((path.as_path(), target.as_path()))
        }
        _ => None,
    })
}

fn leaves(nodes: &Nodes, root: &Path, link: &Path, target: &Path) -> bool {
    let Ok(below) = link.strip_prefix(root) else { return true };
    let parent = below.parent().unwrap_or(Path::new(""));
    let mut at: Vec<OsString> = parent.iter().map(OsStr::to_owned).collect();
    let mut rest: VecDeque<OsString> = target.components().map(|c| c.as_os_str().to_owned()).collect();
    let mut followed = 0;
    while let Some(next) = rest.pop_front() {
        match Path::new(&next).components().next() {
            None | Some(Component::CurDir) => {}
            Some(Component::RootDir | Component::Prefix(_)) => return true,
            Some(Component::ParentDir) => {
                if at.pop().is_none() {
                    return true;
                }
            }
            Some(Component::Normal(name)) => {
                let here: PathBuf = root.iter().chain(at.iter().map(OsString::as_os_str)).chain([name]).collect();
                // What does not exist counts as a folder.
                let Some(Node::Link(target)) = nodes.get(&here) else {
                    at.push(next);
                    continue;
                };
                followed += 1;
                // Nobody follows it any further.
                if followed > MOST_LINKS {
                    return false;
                }
                for part in target.components().rev() {
                    rest.push_front(part.as_os_str().to_owned());
                }
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn nodes(links: &[(&str, &str)], folders: &[&str]) -> Nodes {
        let folders = folders.iter().map(|f| (PathBuf::from(f), Node::Folder));
        folders.chain(links.iter().map(|(l, t)| (PathBuf::from(l), Node::Link(t.into())))).collect()
    }

    #[rstest]
    #[case::beside(&[("s/a", "b")], false)]
    #[case::above(&[("s/d/a", "../b")], false)]
    #[case::root_itself(&[("s/d/a", "..")], false)]
    #[case::out(&[("s/a", "../b")], true)]
    #[case::out_and_in_again(&[("s/a", "../s/b")], true)]
    #[case::absolute(&[("s/a", "/etc/passwd")], true)]
    #[case::dangling(&[("s/a", "no/where")], false)]
    #[case::dangling_and_up(&[("s/a", "no/where/../../../x")], true)]
    #[case::elsewhere(&[("t/a", "/etc")], false)]
    #[case::circle(&[("s/a", "b"), ("s/b", "a")], false)]
    // Counted by its slashes, the second stays inside.
    #[case::through_a_link(&[("s/d/here", "."), ("s/a", "d/here/here/../../../..")], true)]
    #[case::down_and_up_a_link(&[("s/deep", "d/e"), ("s/a", "deep/../../b")], false)]
    #[case::link_to_the_top(&[("s/d/top", ".."), ("s/a", "d/top/../x")], true)]
    #[case::dots(&[("s/a", "./././../..")], true)]
    fn links_are_followed_as_the_kernel_does(#[case] links: &[(&str, &str)], #[case] wanted: bool) {
        let nodes = nodes(links, &["s", "s/d", "s/d/e"]);
        assert_eq!(leaving(&nodes, Path::new("s")).is_some(), wanted);
    }

    #[test]
    fn the_archive_itself_can_be_the_root() {
        assert!(leaving(&nodes(&[("a", "d/../b")], &["d"]), Path::new("")).is_none());
        assert!(leaving(&nodes(&[("d/a", "../../b")], &["d"]), Path::new("")).is_some());
    }
}
