//! What an unpacked archive holds: the three folders of mktarball, or any source with a dkms.conf (dkms-contract.md §6).

use std::path::{Path, PathBuf};

use super::unpack::{Node, Nodes};
use crate::model::KernelId;
use crate::tree::NOT_KERNELS;

/// What is built, as `<kernel>/<arch>/{module,log}`.
pub(crate) const MAIN_TREE: &str = "dkms_main_tree";
/// The source.
pub(crate) const SOURCE_TREE: &str = "dkms_source_tree";
/// In the place of the source: PACKAGE_NAME, PACKAGE_VERSION and dkms.conf.
pub(crate) const BINARIES_ONLY: &str = "dkms_binaries_only";

/// What an archive brings; paths are those in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inside {
    /// The folder that holds dkms.conf.
    pub(crate) conf: PathBuf,
    /// Whether that folder is the source, too.
    pub(crate) whole: bool,
    /// What is built for which kernel.
    pub(crate) built: Vec<(KernelId, PathBuf)>,
}

/// Tells what an archive brings; none without a dkms.conf.
///
/// # Errors
/// A kernel that cannot be one, a link among what is built; in a sentence.
pub(crate) fn inside(nodes: &Nodes) -> Result<Option<Inside>, String> {
    let has_conf = |folder: &Path| !matches!(nodes.get(&folder.join("dkms.conf")), None | Some(Node::Folder));
    for (folder, whole) in [(SOURCE_TREE, true), (BINARIES_ONLY, false)] {
        if has_conf(folder.as_ref()) {
            return Ok(Some(Inside { conf: folder.into(), whole, built: built(nodes)? }));
        }
    }
    // The one nearest the top: drivers bring others as examples and in packaging.
    let confs = nodes.keys().filter(|path| path.ends_with("dkms.conf")).filter_map(|path| path.parent());
    let conf = confs.filter(|folder| has_conf(folder)).min_by_key(|folder| (folder.iter().count(), *folder));
    Ok(conf.map(|folder| Inside { conf: folder.to_owned(), whole: true, built: Vec::new() }))
}

fn built(nodes: &Nodes) -> Result<Vec<(KernelId, PathBuf)>, String> {
    let mut built = Vec::new();
    for (path, node) in nodes.iter().filter(|(path, _)| path.starts_with(MAIN_TREE)) {
        if matches!(node, Node::Link(_)) {
            return Err(format!("{} in it is a link among what is built", path.display()));
        }
        let parts: Option<Vec<&str>> = path.iter().skip(1).map(std::ffi::OsStr::to_str).collect();
        let Some([release, arch, "module"]) = parts.as_deref() else { continue };
        if *node == Node::Folder {
            let kernel = KernelId::new(*release, *arch).map_err(|error| format!("what is built in it: {error}"))?;
            if NOT_KERNELS.contains(release) {
                return Err(format!("what is built in it: {release} is no kernel"));
            }
            built.extend(path.parent().map(|folder| (kernel, folder.to_owned())));
        }
    }
    Ok(built)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// A name ending in `/` is a folder, one with `->` a link.
    fn nodes(names: &[&str]) -> Nodes {
        let node = |name: &&str| match (name.strip_suffix('/'), name.split_once("->")) {
            (Some(folder), _) => (folder.into(), Node::Folder),
            (_, Some((link, target))) => (link.into(), Node::Link(target.into())),
            _ => (name.into(), Node::File),
        };
        names.iter().map(node).collect()
    }

    const BUILT: &str = "dkms_main_tree/6.1/x86_64/module/";

    #[rstest]
    #[case::source(&["dkms_source_tree/dkms.conf"], Some(("dkms_source_tree", true, 0)))]
    #[case::both(&["dkms_source_tree/dkms.conf", BUILT], Some(("dkms_source_tree", true, 1)))]
    #[case::binaries(&["dkms_binaries_only/dkms.conf", BUILT], Some(("dkms_binaries_only", false, 1)))]
    #[case::source_wins(&["dkms_binaries_only/dkms.conf", "dkms_source_tree/dkms.conf"], Some(("dkms_source_tree", true, 0)))]
    #[case::no_modules(&["dkms_source_tree/dkms.conf", "dkms_main_tree/6.1/x86_64/log/"], Some(("dkms_source_tree", true, 0)))]
    #[case::top(&["dkms.conf", "a/dkms.conf"], Some(("", true, 0)))]
    #[case::below(&["a/b/dkms.conf", "z/dkms.conf"], Some(("z", true, 0)))]
    #[case::a_link(&["a/dkms.conf->x"], Some(("a", true, 0)))]
    #[case::modules_of_no_package(&["a/dkms.conf", BUILT], Some(("a", true, 0)))]
    #[case::folder_of_that_name(&["a/dkms.conf/"], None)]
    #[case::other_names(&["a/dkms.conf.in", "mydkms.conf"], None)]
    #[case::nothing(&[], None)]
    fn what_is_found(#[case] names: &[&str], #[case] wanted: Option<(&str, bool, usize)>) {
        let found = inside(&nodes(names)).unwrap();
        let found = found.as_ref().map(|i| (i.conf.to_str().unwrap(), i.whole, i.built.len()));
        assert_eq!(found, wanted);
    }

    #[rstest]
    #[case("dkms_main_tree/source/x86_64/module/")]
    #[case("dkms_main_tree/build/x86_64/module/")]
    #[case("dkms_main_tree/tarball/x86_64/module/")]
    #[case("dkms_main_tree/.hidden/x86_64/module/")]
    #[case("dkms_main_tree/6.1/.hidden/module/")]
    #[case("dkms_main_tree/6.1/a\nb/module/")]
    #[case("dkms_main_tree/6.1/x86_64/module/a.ko->/etc/passwd")]
    #[case("dkms_main_tree/6.1/x86_64/module->/etc")]
    #[case("dkms_main_tree->/etc")]
    fn what_is_no_kernel_is_refused(#[case] name: &str) {
        assert!(inside(&nodes(&["dkms_source_tree/dkms.conf", name])).is_err());
    }
}
