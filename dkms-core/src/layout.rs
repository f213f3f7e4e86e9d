//! Every path that dkmsd reads or writes, under one injectable root; nothing else joins paths.
//!
//! The classic tree is dkms-contract.md §1; what classic DKMS has no place for lies in dot-files of that tree and
//! below `/var/lib/dkmsd`.

use std::path::{Component, Path, PathBuf};

use crate::model::{KernelId, KernelRelease, PackageId, PackageName};

/// Where dkmsd keeps what is known of the machine's own tree.
const STATE: &str = "/var/lib/dkmsd";

/// Room for the names that most paths have below the folder that they begin with, in bytes.
const ROOM: usize = 64;

/// Where everything lies. Paths that methods return are to be opened as they are: the root is in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    source_tree: PathBuf,
    dkms_tree: PathBuf,
    install_tree: PathBuf,
    kernel_source: Option<PathBuf>,
    state: PathBuf,
}

impl Default for Layout {
    fn default() -> Self {
        Self::under("/")
    }
}

impl Layout {
    /// The classic places, below `root`.
    #[must_use]
    pub fn under(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            source_tree: "/usr/src".into(),
            dkms_tree: "/var/lib/dkms".into(),
            install_tree: "/lib/modules".into(),
            kernel_source: None,
            state: STATE.into(),
        }
    }

    /// Other trees than the classic ones (framework.conf, `--dkmstree` …), as seen from inside the root.
    #[must_use]
    pub fn with_trees(
        mut self,
        source_tree: Option<PathBuf>,
        dkms_tree: Option<PathBuf>,
        install_tree: Option<PathBuf>,
    ) -> Self {
        for (mine, other) in [
            (&mut self.source_tree, source_tree),
            (&mut self.dkms_tree, dkms_tree),
            (&mut self.install_tree, install_tree),
        ] {
            if let Some(other) = other {
                *mine = other;
            }
        }
        self
    }

    /// One folder of headers for every kernel (`--kernelsourcedir`), as seen from inside the root.
    #[must_use]
    pub fn with_kernel_source(mut self, folder: Option<PathBuf>) -> Self {
        self.kernel_source = folder.or(self.kernel_source);
        self
    }

    /// The tree is not the machine's own (`--dkmstree`): what is held, what failed and every log of it lie in the tree, in
    /// `.dkmsd-state`. Else a package that is removed from some other tree would be held back on the machine, and who may
    /// change no more than a tree of their own could not work in it.
    #[must_use]
    pub fn with_state_in_tree(mut self) -> Self {
        self.state = self.dkms_tree.join(".dkmsd-state");
        self
    }

    /// The root itself, `/` on a running machine.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A path seen from inside the root, as one that can be opened from here.
    #[must_use]
    pub fn host(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        let mut path = PathBuf::with_capacity(self.root.as_os_str().len() + inside.as_os_str().len() + ROOM);
        path.push(&self.root);
        path.extend(inside.components().filter(|c| !matches!(c, Component::RootDir | Component::Prefix(_))));
        path
    }

    /// The opposite of [`Layout::host`]: the path as programs inside the root know it.
    #[must_use]
    pub fn inside(&self, host: &Path) -> PathBuf {
        host.strip_prefix(&self.root).map_or_else(|_| host.to_owned(), |p| Path::new("/").join(p))
    }

    // The three trees as dkms.conf sees them.

    /// `$source_tree` as dkms.conf sees it.
    #[must_use]
    pub fn source_tree_inside(&self) -> &Path {
        &self.source_tree
    }

    /// `$dkms_tree` as dkms.conf sees it.
    #[must_use]
    pub fn dkms_tree_inside(&self) -> &Path {
        &self.dkms_tree
    }

    /// `$install_tree` as dkms.conf sees it.
    #[must_use]
    pub fn install_tree_inside(&self) -> &Path {
        &self.install_tree
    }

    /// `$kernel_source_dir` as dkms.conf sees it: `<install_tree>/<k>/build`, unless another was named.
    #[must_use]
    pub fn kernel_source_inside(&self, kernel: &KernelRelease) -> PathBuf {
        self.kernel_source.clone().unwrap_or_else(|| self.install_tree.join(kernel).join("build"))
    }

    // Sources.

    /// `/usr/src`.
    #[must_use]
    pub fn source_tree(&self) -> PathBuf {
        self.host(&self.source_tree)
    }

    /// `/usr/src/<name>-<version>`.
    #[must_use]
    pub fn source(&self, package: &PackageId) -> PathBuf {
        self.source_tree().join(format!("{}-{}", package.name, package.version))
    }

    // The classic tree.

    /// `/var/lib/dkms`.
    #[must_use]
    pub fn dkms_tree(&self) -> PathBuf {
        self.host(&self.dkms_tree)
    }

    /// `<dkms_tree>/<name>`.
    #[must_use]
    pub fn package_dir(&self, name: &PackageName) -> PathBuf {
        below(self.dkms_tree(), name)
    }

    /// `<dkms_tree>/<name>/<version>`.
    #[must_use]
    pub fn version_dir(&self, package: &PackageId) -> PathBuf {
        below(self.package_dir(&package.name), &package.version)
    }

    /// `<dkms_tree>/<name>/<version>/source`: the link that makes a package added.
    #[must_use]
    pub fn source_link(&self, package: &PackageId) -> PathBuf {
        self.version_dir(package).join("source")
    }

    /// `<dkms_tree>/<name>/<version>/build`: the build folder that MAKE lines name.
    #[must_use]
    pub fn build_dir(&self, package: &PackageId) -> PathBuf {
        self.version_dir(package).join("build")
    }

    /// `<dkms_tree>/<name>/<version>/tarball`: where mktarball puts archives.
    #[must_use]
    pub fn tarball_dir(&self, package: &PackageId) -> PathBuf {
        self.version_dir(package).join("tarball")
    }

    /// `<dkms_tree>/<name>/<version>/.dkmsd-source`: stands for the source of a package whose binaries alone were loaded;
    /// holds dkms.conf.
    #[must_use]
    pub fn stand_in_source(&self, package: &PackageId) -> PathBuf {
        self.version_dir(package).join(".dkmsd-source")
    }

    /// [`Layout::build_dir`] as MAKE lines know it.
    #[must_use]
    pub fn build_dir_inside(&self, package: &PackageId) -> PathBuf {
        self.inside(&self.build_dir(package))
    }

    /// `<dkms_tree>/<name>/<version>/<kernel>`.
    #[must_use]
    pub fn kernel_dir(&self, package: &PackageId, kernel: &KernelRelease) -> PathBuf {
        below(self.version_dir(package), kernel)
    }

    /// `<dkms_tree>/<name>/<version>/<kernel>/<arch>`: what was built for a kernel.
    #[must_use]
    pub fn built_dir(&self, package: &PackageId, kernel: &KernelId) -> PathBuf {
        below(self.kernel_dir(package, &kernel.release), &kernel.arch)
    }

    /// `<built>/module`: the built modules; the package is built when this folder exists.
    #[must_use]
    pub fn module_dir(&self, package: &PackageId, kernel: &KernelId) -> PathBuf {
        below(self.built_dir(package, kernel), "module")
    }

    /// `<built>/log/make.log`: log of the successful build.
    #[must_use]
    pub fn built_log(&self, package: &PackageId, kernel: &KernelId) -> PathBuf {
        below(self.built_dir(package, kernel), "log/make.log")
    }

    /// What the names of [`Layout::dependency_record`] begin with.
    pub(crate) const DEPENDENCY_RECORD: &str = ".dep_";

    /// `<built>/.dep_<name>`: the version of a package it depends on, when it was built.
    #[must_use]
    pub fn dependency_record(&self, package: &PackageId, kernel: &KernelId, dependency: &PackageName) -> PathBuf {
        self.built_dir(package, kernel).join(format!("{}{dependency}", Self::DEPENDENCY_RECORD))
    }

    /// `<built>/.dkmsd-manifest.json`: what was built from what, and each file that was installed.
    #[must_use]
    pub fn manifest(&self, package: &PackageId, kernel: &KernelId) -> PathBuf {
        below(self.built_dir(package, kernel), ".dkmsd-manifest.json")
    }

    /// `<dkms_tree>/<name>/kernel-<kernel>-<arch>`: the link that makes a version installed.
    #[must_use]
    pub fn installed_link(&self, name: &PackageName, kernel: &KernelId) -> PathBuf {
        below(self.package_dir(name), format!("kernel-{}-{}", kernel.release, kernel.arch))
    }

    /// `<dkms_tree>/<name>/original_module/<kernel>/<arch>`: kernel modules that an install displaced.
    #[must_use]
    pub fn originals_dir(&self, name: &PackageName, kernel: &KernelId) -> PathBuf {
        self.package_dir(name).join("original_module").join(&kernel.release).join(&kernel.arch)
    }

    /// `<dkms_tree>/<name>/.dkmsd-intent-<kernel>-<arch>.json`: an install that is under way.
    #[must_use]
    pub fn intent(&self, name: &PackageName, kernel: &KernelId) -> PathBuf {
        self.package_dir(name).join(format!(".dkmsd-intent-{}-{}.json", kernel.release, kernel.arch))
    }

    /// `<dkms_tree>/<name>/.dkmsd-undo-<kernel>-<arch>`: copies of the files that an install under way replaces.
    #[must_use]
    pub fn undo_dir(&self, name: &PackageName, kernel: &KernelId) -> PathBuf {
        self.package_dir(name).join(format!(".dkmsd-undo-{}-{}", kernel.release, kernel.arch))
    }

    /// What the names of folders begin with in which archives are unpacked, beside the trees' own.
    pub(crate) const UNPACKING: &str = ".dkmsd-load-";

    /// What the names of [`Layout::depmod_due`] begin with.
    pub(crate) const DEPMOD_DUE: &str = ".dkmsd-depmod-due-";

    /// `<dkms_tree>/.dkmsd-depmod-due-<kernel>`: modules of the kernel are being changed, and depmod has not run since.
    #[must_use]
    pub fn depmod_due(&self, kernel: &KernelRelease) -> PathBuf {
        self.dkms_tree().join(format!("{}{kernel}", Self::DEPMOD_DUE))
    }

    /// `<dkms_tree>/.dkmsd-locks`: lock files, one a thing that is locked.
    #[must_use]
    pub fn locks_dir(&self) -> PathBuf {
        self.dkms_tree().join(".dkmsd-locks")
    }

    /// `<dkms_tree>/post_transaction.log`.
    #[must_use]
    pub fn post_transaction_log(&self) -> PathBuf {
        self.dkms_tree().join("post_transaction.log")
    }

    // Kernels.

    /// `/lib/modules`.
    #[must_use]
    pub fn install_tree(&self) -> PathBuf {
        self.host(&self.install_tree)
    }

    /// `/lib/modules/<k>`.
    #[must_use]
    pub fn kernel_folder(&self, kernel: &KernelRelease) -> PathBuf {
        self.install_tree().join(kernel)
    }

    /// `/lib/modules/<k>/build`: the link to the headers, unless another folder was named.
    #[must_use]
    pub fn kernel_source(&self, kernel: &KernelRelease) -> PathBuf {
        self.host(self.kernel_source_inside(kernel))
    }

    /// `/boot`.
    #[must_use]
    pub fn boot(&self) -> PathBuf {
        self.host("/boot")
    }

    // Settings.

    /// `/etc/dkms`.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        self.host("/etc/dkms")
    }

    /// Patches that an admin lays over a package's: `/etc/dkms/<name>/patches`.
    #[must_use]
    pub fn override_patches(&self, name: &PackageName) -> PathBuf {
        self.override_dir(name).join("patches")
    }

    /// `/etc/dkms/<name>`: an admin's patches and scripts for a package.
    #[must_use]
    pub fn override_dir(&self, name: &PackageName) -> PathBuf {
        self.config_dir().join(name)
    }

    /// The override files for a package on a kernel, in the order they are read (dkms-contract.md §1).
    #[must_use]
    pub fn override_confs(&self, package: &PackageId, kernel: &KernelId) -> Vec<PathBuf> {
        let mut files = self.general_override_confs(package);
        files.extend(self.own_override_confs(package, kernel));
        files
    }

    /// Those of them that are for every kernel; they come first.
    #[must_use]
    pub fn general_override_confs(&self, package: &PackageId) -> Vec<PathBuf> {
        let (n, v) = (&package.name, &package.version);
        self.in_config_dir([format!("{n}.conf"), format!("{n}-{v}.conf")])
    }

    /// Those of them that are for one kernel.
    #[must_use]
    pub fn own_override_confs(&self, package: &PackageId, kernel: &KernelId) -> Vec<PathBuf> {
        let (n, v, k, a) = (&package.name, &package.version, &kernel.release, &kernel.arch);
        self.in_config_dir([
            format!("{n}-{v}-{k}.conf"),
            format!("{n}-{v}-{k}-{a}.conf"),
            format!("{n}--{k}.conf"),
            format!("{n}--{k}-{a}.conf"),
        ])
    }

    fn in_config_dir<const N: usize>(&self, files: [String; N]) -> Vec<PathBuf> {
        let folder = self.config_dir();
        files.into_iter().map(|file| folder.join(file)).collect()
    }

    /// `/etc/dkms/no-autoinstall`: its existence turns autoinstall off.
    #[must_use]
    pub fn no_autoinstall(&self) -> PathBuf {
        self.config_dir().join("no-autoinstall")
    }

    /// `/usr/share/dkms/modules_to_force_install`: files of words that overrule the version check (dkms-contract.md §1).
    #[must_use]
    pub fn forced_installs(&self) -> PathBuf {
        self.host("/usr/share/dkms/modules_to_force_install")
    }

    // What is ours alone.

    /// `<dkms_tree>/.dkmsd-rpm-upgrades`: which rpm transaction has just installed a package; root's alone.
    #[must_use]
    pub fn rpm_upgrades(&self) -> PathBuf {
        self.dkms_tree().join(".dkmsd-rpm-upgrades")
    }

    /// `/var/lib/dkmsd`, unless the tree is another than the machine's ([`Layout::with_state_in_tree`]).
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.host(&self.state)
    }

    /// `/var/lib/dkmsd/work`: one folder a build job.
    #[must_use]
    pub fn work_dir(&self) -> PathBuf {
        self.state_dir().join("work")
    }

    /// `/var/lib/dkmsd/cache/builds`: finished builds, a folder each; root's alone.
    #[must_use]
    pub fn build_cache(&self) -> PathBuf {
        self.state_dir().join("cache/builds")
    }

    /// `/var/lib/dkmsd/logs/<name>/<version>/<kernel>-<arch>`: the log of every attempt.
    #[must_use]
    pub fn attempt_logs(&self, package: &PackageId, kernel: &KernelId) -> PathBuf {
        self.state_dir().join("logs").join(&package.name).join(&package.version).join(entry_file(kernel))
    }

    /// `<dkms_tree>/.dkmsd-logs/<name>/<version>/<kernel>-<arch>`: the same for a user who may write the tree alone.
    #[must_use]
    pub fn own_attempt_logs(&self, package: &PackageId, kernel: &KernelId) -> PathBuf {
        self.dkms_tree().join(".dkmsd-logs").join(&package.name).join(&package.version).join(entry_file(kernel))
    }

    /// `/var/lib/dkmsd/failures/<name>/<version>/<kernel>-<arch>.json`.
    #[must_use]
    pub fn failure(&self, package: &PackageId, kernel: &KernelId) -> PathBuf {
        let file = format!("{}.json", entry_file(kernel));
        self.failures_dir().join(&package.name).join(&package.version).join(file)
    }

    /// `/var/lib/dkmsd/failures`.
    #[must_use]
    pub fn failures_dir(&self) -> PathBuf {
        self.state_dir().join("failures")
    }

    /// `<state>/displaced/<name>/<version>/<kernel>-<arch>`: copies of installed files that somebody had changed when they
    /// were taken away.
    #[must_use]
    pub fn displaced_dir(&self, package: &PackageId, kernel: &KernelId) -> PathBuf {
        self.state_dir().join("displaced").join(&package.name).join(&package.version).join(entry_file(kernel))
    }

    /// `/var/lib/dkmsd/holds.json`: what an admin removed by hand.
    #[must_use]
    pub fn holds(&self) -> PathBuf {
        self.state_dir().join("holds.json")
    }

    /// `/var/lib/dkmsd/history.jsonl`.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.state_dir().join("history.jsonl")
    }

    /// `/run/dkmsd`.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.host("/run/dkmsd")
    }

    /// `/run/dkmsd/jobserver`: the budget of compilers (design.md, decision 4); its locks lie beside it.
    #[must_use]
    pub fn jobserver(&self) -> PathBuf {
        self.run_dir().join("jobserver")
    }

    /// `/run/dkmsd/private`: the D-Bus socket for root (design.md, decision 14).
    #[must_use]
    pub fn private_socket(&self) -> PathBuf {
        self.run_dir().join("private")
    }
}

/// A path in a folder. [`Path::join`] would copy the folder's.
fn below(mut folder: PathBuf, name: impl AsRef<Path>) -> PathBuf {
    folder.push(name);
    folder
}

fn entry_file(kernel: &KernelId) -> String {
    format!("{}-{}", kernel.release, kernel.arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package() -> PackageId {
        PackageId::new("r8169", "2.2LK").unwrap()
    }

    fn kernel() -> KernelId {
        KernelId::new("6.1.0-56-amd64", "x86_64").unwrap()
    }

    #[test]
    fn classic_places() {
        let l = Layout::default();
        assert_eq!(l.source(&package()), Path::new("/usr/src/r8169-2.2LK"));
        assert_eq!(
            l.module_dir(&package(), &kernel()),
            Path::new("/var/lib/dkms/r8169/2.2LK/6.1.0-56-amd64/x86_64/module")
        );
        assert_eq!(
            l.installed_link(&package().name, &kernel()),
            Path::new("/var/lib/dkms/r8169/kernel-6.1.0-56-amd64-x86_64")
        );
        assert_eq!(
            l.override_confs(&package(), &kernel()).last().unwrap(),
            Path::new("/etc/dkms/r8169--6.1.0-56-amd64-x86_64.conf")
        );
    }

    #[test]
    fn a_root_moves_everything_and_shows_nothing_of_itself_inside() {
        let l = Layout::under("/tmp/root").with_trees(None, Some("/srv/dkms".into()), None);
        assert_eq!(l.build_dir(&package()), Path::new("/tmp/root/srv/dkms/r8169/2.2LK/build"));
        assert_eq!(l.build_dir_inside(&package()), Path::new("/srv/dkms/r8169/2.2LK/build"));
        assert_eq!(l.kernel_source_inside(&kernel().release), Path::new("/lib/modules/6.1.0-56-amd64/build"));
        assert_eq!(l.private_socket(), Path::new("/tmp/root/run/dkmsd/private"));
        assert_eq!(l.holds(), Path::new("/tmp/root/var/lib/dkmsd/holds.json"));
    }

    #[test]
    fn what_is_known_of_another_tree_lies_in_it() {
        let l = Layout::under("/r").with_trees(None, Some("/home/joe/t".into()), None).with_state_in_tree();
        assert_eq!(l.holds(), Path::new("/r/home/joe/t/.dkmsd-state/holds.json"));
        assert!(l.attempt_logs(&package(), &kernel()).starts_with(l.dkms_tree()));
        assert!(l.failure(&package(), &kernel()).starts_with(l.dkms_tree()));
    }
}
