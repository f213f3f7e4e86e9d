//! For which kernels a package is built when it is installed itself: what `common.postinst` goes through
//! (dkms-contract.md §5).

use std::fs;

use crate::conf::version;
use crate::host::resolve::resolve;
use crate::layout::Layout;
use crate::model::KernelRelease;

/// What the choice depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// Every folder of the install tree, and whether its `build` leads to a folder.
    pub folders: Vec<(KernelRelease, bool)>,
    /// Every kernel with a `/boot/config-*`.
    pub booting: Vec<KernelRelease>,
}

/// What the package's script was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Occasion {
    /// The package was there before: its script was given a version that it replaces.
    pub upgrade: bool,
    /// `autoinstall_all_kernels`.
    pub all_kernels: bool,
}

impl Choice {
    /// Looks at the install tree and at /boot. One that cannot be read has no kernels.
    #[must_use]
    pub fn look(layout: &Layout) -> Self {
        let release = |name: std::ffi::OsString| KernelRelease::new(name.into_string().ok()?).ok();
        let folders = entries(&layout.install_tree()).filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()));
        let folders = folders.filter_map(|folder| {
            let release = release(folder.file_name())?;
            let headers = resolve(layout, &layout.kernel_source(&release)).is_ok_and(|dir| dir.is_dir());
            Some((release, headers))
        });
        let configs = entries(&layout.boot()).filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            KernelRelease::new(name.strip_prefix("config-")?).ok()
        });
        Self { folders: folders.collect(), booting: configs.collect() }
    }

    /// The kernels to build for, in order: the running one and the newest. Where the running one is not of this install
    /// tree (a chroot, a container), the newest for an upgrade, else all that have headers. `all_kernels`: all.
    ///
    /// The newest is that of /boot, as far as the install tree has it; without one, an upgrade takes all with headers too.
    #[must_use]
    pub fn kernels(&self, running: &KernelRelease, occasion: Occasion) -> Vec<KernelRelease> {
        let there = |release: &KernelRelease| self.folders.iter().any(|(folder, _)| folder == release);
        let newest = self.booting.iter().filter(|release| there(release)).max_by(|a, b| by_version(a, b));
        let mut chosen: Vec<KernelRelease> = if occasion.all_kernels {
            self.folders.iter().map(|(release, _)| release.clone()).collect()
        } else if there(running) {
            return [running].into_iter().chain(newest.filter(|newest| *newest != running)).cloned().collect();
        } else if let (Some(newest), true) = (newest, occasion.upgrade) {
            return vec![newest.clone()];
        } else {
            self.folders.iter().filter(|(_, headers)| *headers).map(|(release, _)| release.clone()).collect()
        };
        chosen.sort_by(by_version);
        chosen
    }
}

fn by_version(a: &KernelRelease, b: &KernelRelease) -> std::cmp::Ordering {
    version::compare(a.as_str(), b.as_str()).then_with(|| a.cmp(b))
}

fn entries(folder: &std::path::Path) -> impl Iterator<Item = fs::DirEntry> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::os::unix::fs::symlink;

    fn release(name: &str) -> KernelRelease {
        KernelRelease::new(name).unwrap()
    }

    /// A folder's name; with a `+`, its headers are there.
    fn choice(folders: &[&str], booting: &[&str]) -> Choice {
        let folder = |name: &&str| (release(name.trim_end_matches('+')), name.ends_with('+'));
        Choice { folders: folders.iter().map(folder).collect(), booting: booting.iter().map(|n| release(n)).collect() }
    }

    const ALL: Occasion = Occasion { upgrade: false, all_kernels: true };
    const UPGRADE: Occasion = Occasion { upgrade: true, all_kernels: false };
    const FIRST: Occasion = Occasion { upgrade: false, all_kernels: false };

    #[rstest]
    #[case::running_is_newest(&["6.1+", "6.12+"], &["6.1", "6.12"], "6.12", FIRST, &["6.12"])]
    #[case::running_and_newest(&["6.1+", "6.2+", "6.12+"], &["6.1", "6.2", "6.12"], "6.1", FIRST, &["6.1", "6.12"])]
    #[case::an_upgrade_alike(&["6.1+", "6.2+", "6.12+"], &["6.1", "6.2", "6.12"], "6.1", UPGRADE, &["6.1", "6.12"])]
    #[case::without_headers_alike(&["6.1", "6.12"], &["6.1", "6.12"], "6.1", FIRST, &["6.1", "6.12"])]
    #[case::newest_by_number(&["6.1+", "6.9+", "6.10+"], &["6.9", "6.10"], "6.1", FIRST, &["6.1", "6.10"])]
    #[case::newest_is_not_installed(&["6.1+", "6.2+"], &["6.2", "6.12"], "6.1", FIRST, &["6.1", "6.2"])]
    #[case::nothing_in_boot(&["6.1+", "6.12+"], &[], "6.1", FIRST, &["6.1"])]
    #[case::elsewhere(&["6.10+", "6.2+", "5.5"], &["6.2"], "9.9", FIRST, &["6.2", "6.10"])]
    #[case::elsewhere_upgrade(&["6.10+", "6.2+"], &["6.2", "6.10"], "9.9", UPGRADE, &["6.10"])]
    #[case::elsewhere_upgrade_nothing_in_boot(&["6.10+", "6.2+", "5.5"], &["9.9"], "9.9", UPGRADE, &["6.2", "6.10"])]
    #[case::all(&["6.10+", "6.2", "5.5+"], &["6.2"], "6.2", ALL, &["5.5", "6.2", "6.10"])]
    #[case::all_elsewhere(&["6.10+", "6.2"], &[], "9.9", ALL, &["6.2", "6.10"])]
    #[case::no_kernel_at_all(&[], &["6.1"], "9.9", FIRST, &[])]
    fn the_kernels_are(
        #[case] folders: &[&str],
        #[case] booting: &[&str],
        #[case] running: &str,
        #[case] occasion: Occasion,
        #[case] wanted: &[&str],
    ) {
        let chosen = choice(folders, booting).kernels(&release(running), occasion);
        assert_eq!(chosen.iter().map(KernelRelease::as_str).collect::<Vec<_>>(), wanted);
    }

    #[test]
    fn a_look_finds_folders_headers_and_configs() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        assert_eq!(Choice::look(&layout), Choice::default());
        for kernel in ["6.1", "6.2", "6.3"] {
            fs::create_dir_all(layout.kernel_folder(&release(kernel))).unwrap();
        }
        fs::create_dir_all(layout.host("/usr/src/h")).unwrap();
        symlink("/usr/src/h", layout.kernel_folder(&release("6.1")).join("build")).unwrap();
        symlink("/usr/src/absent", layout.kernel_folder(&release("6.2")).join("build")).unwrap();
        symlink("6.1", layout.install_tree().join("current")).unwrap();
        fs::create_dir_all(layout.boot()).unwrap();
        for file in ["config-6.1", "vmlinuz-6.2", "config-"] {
            fs::write(layout.boot().join(file), "").unwrap();
        }
        let mut found = Choice::look(&layout);
        found.folders.sort();
        assert_eq!(found, choice(&["6.1+", "6.2", "6.3"], &["6.1"]));
    }
}
