//! The distribution: where it keeps added modules, and what its packages of kernel headers are called
//! (dkms-contract.md §5).

use std::env;
use std::fs;

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::model::{Arch, KernelRelease};

/// Either place of os-release, the first one that exists counts (os-release(5)).
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// The setting that wins over the distribution's own folder.
const ADDON: &str = "ADDON_MODULES_DIR";

/// What os-release says, and ADDON_MODULES_DIR. The default is a distribution that nothing is known about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Distro {
    id: String,
    like: Vec<String>,
    addon_modules_dir: Option<String>,
}

/// Distributions that share packaging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Debian, Ubuntu and their descendants: dpkg.
    Debian,
    /// Fedora, RHEL and their descendants: rpm, `kernel-devel`.
    Fedora,
    /// SLES, openSUSE: rpm, `kernel-default-devel`.
    Suse,
    /// Arch and its descendants: pacman.
    Arch,
    /// Alpine: apk.
    Alpine,
    /// Void: xbps.
    Void,
    /// Any other.
    Other,
}

impl Distro {
    /// Reads os-release below the root, and ADDON_MODULES_DIR from the environment, else from
    /// `/etc/sysconfig/module-init-tools`.
    ///
    /// # Errors
    /// When there is no os-release.
    pub fn load(layout: &Layout) -> Result<Self> {
        let text = OS_RELEASE
            .iter()
            .find_map(|path| fs::read(layout.host(path)).ok())
            .ok_or_else(|| Error::NoOsRelease { paths: OS_RELEASE.map(|p| layout.host(p)).to_vec() })?;
        let addon = env::var(ADDON).ok().or_else(|| {
            let text = fs::read(layout.host("/etc/sysconfig/module-init-tools")).ok()?;
            assignment(&String::from_utf8_lossy(&text), ADDON)
        });
        Ok(Self::parse(&String::from_utf8_lossy(&text), addon.as_deref()))
    }

    /// From the text of an os-release and the value of ADDON_MODULES_DIR.
    #[must_use]
    pub fn parse(os_release: &str, addon_modules_dir: Option<&str>) -> Self {
        let word = |name| assignment(os_release, name).unwrap_or_default();
        Self {
            id: word("ID"),
            like: word("ID_LIKE").split_whitespace().map(str::to_owned).collect(),
            addon_modules_dir: addon_modules_dir
                .map(|dir| dir.trim_matches('/'))
                .filter(|dir| !dir.is_empty())
                .map(|dir| format!("/{dir}")),
        }
    }

    /// ID: `debian`, `fedora` … Empty when os-release has none.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether ID or ID_LIKE holds the word.
    #[must_use]
    pub fn is_like(&self, id: &str) -> bool {
        self.id == id || self.like.iter().any(|l| l == id)
    }

    /// Whose packaging it shares; ID before ID_LIKE, so that a descendant may differ from its parent.
    #[must_use]
    pub fn family(&self) -> Family {
        std::iter::once(self.id.as_str())
            .chain(self.like.iter().map(String::as_str))
            .find_map(|id| match id {
                "debian" | "ubuntu" => Some(Family::Debian),
                "fedora" | "rhel" | "centos" => Some(Family::Fedora),
                "sles" | "suse" | "opensuse" => Some(Family::Suse),
                "arch" => Some(Family::Arch),
                "alpine" => Some(Family::Alpine),
                "void" => Some(Family::Void),
                other if other.starts_with("opensuse-") || other.starts_with("sle-") => Some(Family::Suse),
                _ => None,
            })
            .unwrap_or(Family::Other)
    }

    /// The folder below `<install_tree>/<kernel>` that modules go to, with its leading slash; none where
    /// DEST_MODULE_LOCATION counts as written.
    #[must_use]
    pub fn modules_folder(&self) -> Option<String> {
        self.addon_modules_dir.clone().or_else(|| {
            let folder = match self.family() {
                Family::Debian | Family::Arch => "/updates/dkms",
                Family::Fedora => "/extra",
                Family::Suse => "/updates",
                Family::Alpine | Family::Void | Family::Other => return None,
            };
            Some(folder.to_owned())
        })
    }

    /// The package that brings the headers of this kernel; none where it cannot be told.
    #[must_use]
    pub fn headers_package(&self, kernel: &KernelRelease) -> Option<String> {
        let k = kernel.as_str();
        match self.family() {
            Family::Debian if k.ends_with("-pve") => Some(format!("proxmox-headers-{k}")),
            Family::Debian => Some(format!("linux-headers-{k}")),
            Family::Fedora => Some(match k.split_once('+') {
                Some((base, variant)) => format!("kernel-{variant}-devel-{base}"),
                None if k.contains("uek") => format!("kernel-uek-devel-{k}"),
                None => format!("kernel-devel-{k}"),
            }),
            Family::Suse => Some(format!("kernel-{}-devel", k.rsplit('-').next().filter(|f| is_word(f))?)),
            Family::Arch => Some(match k.rsplit('-').next() {
                Some("MANJARO") => {
                    let mut parts = k.split(['.', '-']);
                    format!("linux{}{}-headers", parts.next()?, parts.next()?)
                }
                Some(flavour) if is_word(flavour) => format!("linux-{flavour}-headers"),
                _ => "linux-headers".to_owned(),
            }),
            Family::Alpine => Some(format!("linux-{}-dev", k.rsplit('-').next().filter(|f| is_word(f))?)),
            Family::Void => {
                let mut parts = k.split('.');
                Some(format!("linux{}.{}-headers", parts.next()?, parts.next()?))
            }
            Family::Other => None,
        }
    }

    /// The packages that bring the headers of the distribution's default kernel, now and after its upgrades.
    #[must_use]
    pub fn default_headers_packages(&self, arch: &Arch) -> Vec<String> {
        let name = match self.family() {
            Family::Debian if self.is_like("ubuntu") => "linux-headers-generic".to_owned(),
            Family::Debian => format!("linux-headers-{}", debian_flavour(arch)),
            Family::Fedora => "kernel-devel".to_owned(),
            Family::Suse => "kernel-default-devel".to_owned(),
            Family::Arch | Family::Void => "linux-headers".to_owned(),
            Family::Alpine => "linux-lts-dev".to_owned(),
            Family::Other => return Vec::new(),
        };
        vec![name]
    }
}

/// A flavour, as opposed to a build number.
fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Debian's name for the kernel that `uname -m` runs by default.
fn debian_flavour(arch: &Arch) -> &str {
    match arch.as_str() {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i586" | "i686" => "686-pae",
        "armv7l" => "armmp",
        "ppc64le" => "powerpc64le",
        other => other,
    }
}

/// The last `NAME=value` of a file of shell assignments, without its quotes.
fn assignment(text: &str, name: &str) -> Option<String> {
    let value = text.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('=')).next_back()?.trim();
    let bare =
        ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value);
    Some(bare.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("ID=debian", Some("/updates/dkms"), "6.1.0-56-amd64", Some("linux-headers-6.1.0-56-amd64"))]
    #[case("ID=debian", Some("/updates/dkms"), "6.8.12-1-pve", Some("proxmox-headers-6.8.12-1-pve"))]
    #[case(
        "ID=linuxmint\nID_LIKE=\"ubuntu debian\"",
        Some("/updates/dkms"),
        "6.8.0-31-generic",
        Some("linux-headers-6.8.0-31-generic")
    )]
    #[case("ID=fedora", Some("/extra"), "6.8.5-301.fc40.x86_64", Some("kernel-devel-6.8.5-301.fc40.x86_64"))]
    #[case(
        "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"",
        Some("/extra"),
        "5.14.0-427.el9.x86_64+rt",
        Some("kernel-rt-devel-5.14.0-427.el9.x86_64")
    )]
    #[case(
        "ID=opensuse-tumbleweed\nID_LIKE='opensuse suse'",
        Some("/updates"),
        "6.9.1-1-default",
        Some("kernel-default-devel")
    )]
    #[case("ID=arch", Some("/updates/dkms"), "6.9.1-arch1-1", Some("linux-headers"))]
    #[case("ID=arch", Some("/updates/dkms"), "6.6.30-1-lts", Some("linux-lts-headers"))]
    #[case("ID=manjaro\nID_LIKE=arch", Some("/updates/dkms"), "6.6.30-1-MANJARO", Some("linux66-headers"))]
    #[case("ID=alpine", None, "6.6.32-0-lts", Some("linux-lts-dev"))]
    #[case("ID=void", None, "6.6.30_1", Some("linux6.6-headers"))]
    #[case("ID=gentoo", None, "6.6.30-gentoo", None)]
    #[case("", None, "6.6.30", None)]
    fn folders_and_packages(
        #[case] os_release: &str,
        #[case] folder: Option<&str>,
        #[case] kernel: &str,
        #[case] package: Option<&str>,
    ) {
        let distro = Distro::parse(os_release, None);
        assert_eq!(distro.modules_folder().as_deref(), folder);
        assert_eq!(distro.headers_package(&KernelRelease::new(kernel).unwrap()).as_deref(), package);
    }

    #[rstest]
    #[case(Some("updates"), "/updates")]
    #[case(Some("/extra/x/"), "/extra/x")]
    #[case(Some(""), "/updates/dkms")]
    #[case(None, "/updates/dkms")]
    fn addon_modules_dir_wins(#[case] addon: Option<&str>, #[case] wanted: &str) {
        assert_eq!(Distro::parse("ID=ubuntu", addon).modules_folder().as_deref(), Some(wanted));
    }

    #[test]
    fn the_file_in_etc_wins_and_none_at_all_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        assert_eq!(Distro::load(&layout).unwrap_err().exit_code(), 4);
        for (path, text) in [
            ("usr/lib/os-release", "ID=fedora\n"),
            ("etc/os-release", "# comment\nID=sles\nID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n"),
            ("etc/sysconfig/module-init-tools", "# x\nADDON_MODULES_DIR=\"weak\"\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let distro = Distro::load(&layout).unwrap();
        assert_eq!((distro.id(), distro.family()), ("opensuse-leap", Family::Suse));
        assert!(distro.is_like("suse") && !distro.is_like("fedora"));
        assert_eq!(distro.modules_folder().as_deref(), Some("/weak"));
    }

    #[test]
    fn default_packages_follow_the_machine() {
        let arch = |name| Arch::new(name).unwrap();
        let debian = Distro::parse("ID=debian", None);
        assert_eq!(debian.default_headers_packages(&arch("x86_64")), ["linux-headers-amd64"]);
        assert_eq!(debian.default_headers_packages(&arch("aarch64")), ["linux-headers-arm64"]);
        let ubuntu = Distro::parse("ID=ubuntu\nID_LIKE=debian", None);
        assert_eq!(ubuntu.default_headers_packages(&arch("x86_64")), ["linux-headers-generic"]);
        assert!(Distro::default().default_headers_packages(&arch("x86_64")).is_empty());
    }
}
