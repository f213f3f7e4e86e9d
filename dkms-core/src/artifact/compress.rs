//! Modules compressed as the kernel's own are, since that is what it can load (dkms-contract.md §4).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::artifact::tool;
use crate::error::Result;
use crate::layout::Layout;
use crate::model::KernelRelease;
use crate::tree::files;

/// What a module's file name ends in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suffix {
    /// `.ko`: not compressed.
    Ko,
    /// `.ko.gz`.
    Gz,
    /// `.ko.xz`.
    Xz,
    /// `.ko.zst`.
    Zst,
}

impl Suffix {
    /// The suffix itself, from its first dot.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ko => ".ko",
            Self::Gz => ".ko.gz",
            Self::Xz => ".ko.xz",
            Self::Zst => ".ko.zst",
        }
    }

    /// The suffix of a module file's name; none when it is called otherwise.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        [Self::Ko, Self::Gz, Self::Xz, Self::Zst].into_iter().find(|suffix| name.ends_with(suffix.as_str()))
    }

    /// What the kernel's own modules have: the first one below its `kernel/`, in order of path, decides.
    /// [`Suffix::Ko`] for a kernel without modules.
    ///
    /// # Errors
    /// When a folder of them cannot be read.
    pub fn of_kernel(layout: &Layout, kernel: &KernelRelease) -> Result<Self> {
        Ok(first_module(layout, kernel)?.map_or(Self::Ko, |(_, suffix)| suffix))
    }
}

/// The first of a kernel's own modules below its `kernel/`, in order of path, and its suffix; none for a kernel without.
///
/// # Errors
/// When a folder of them cannot be read.
pub fn first_module(layout: &Layout, kernel: &KernelRelease) -> Result<Option<(PathBuf, Suffix)>> {
    let mut folders = vec![layout.kernel_folder(kernel).join("kernel")];
    while let Some(folder) = folders.pop() {
        let mut below = Vec::new();
        for (name, kind) in files::list(&folder)? {
            if kind.is_dir() {
                below.push(folder.join(name));
            } else if let Some(suffix) = name.to_str().and_then(Suffix::of_file) {
                return Ok(Some((folder.join(name), suffix)));
            }
        }
        folders.extend(below.into_iter().rev());
    }
    Ok(None)
}

impl std::fmt::Display for Suffix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Options for the programs, as framework.conf's `compress_*_opts` have them; empty ones are ours to choose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompressOptions {
    /// `compress_gzip_opts`.
    pub gzip: Vec<String>,
    /// `compress_xz_opts`; what the kernel needs is added.
    pub xz: Vec<String>,
    /// `compress_zstd_opts`.
    pub zstd: Vec<String>,
}

/// Compresses a `.ko` file; gives the path of the result, which takes its place.
///
/// # Errors
/// When the program is missing or fails.
pub fn compress(file: &Path, suffix: Suffix, options: &CompressOptions) -> Result<PathBuf> {
    let (program, package, given, ours): (_, _, _, &[&str]) = match suffix {
        Suffix::Ko => return Ok(file.to_owned()),
        // Neither name nor time inside, so that the same module compresses to the same bytes.
        Suffix::Gz => ("gzip", "gzip", &options.gzip, &["-n", "-f"]),
        // The kernel's decoder knows no other check and no larger dictionary.
        Suffix::Xz => ("xz", "xz-utils (or xz)", &options.xz, &["--check=crc32", "--lzma2=dict=1MiB", "-q", "-f"]),
        Suffix::Zst => ("zstd", "zstd", &options.zstd, &["-q", "-f", "--rm"]),
    };
    let sets_filter = given.iter().any(|option| option.starts_with("--lzma2"));
    let mut command = Command::new(program);
    command.args(given);
    command.args(ours.iter().filter(|option| !(sets_filter && option.starts_with("--lzma2"))));
    command.arg("--").arg(file);
    tool::run(command, file, package)?;
    let mut result = file.as_os_str().to_owned();
    result.push(suffix.as_str().trim_start_matches(".ko"));
    Ok(result.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{ModInfo, fixture, modinfo};
    use rstest::rstest;
    use std::fs;

    #[rstest]
    #[case::plain(Suffix::Ko, "r8169.ko")]
    #[case::gzip(Suffix::Gz, "r8169.ko.gz")]
    #[case::xz(Suffix::Xz, "r8169.ko.xz")]
    #[case::zstd(Suffix::Zst, "r8169.ko.zst")]
    fn a_compressed_module_holds_the_same(#[case] suffix: Suffix, #[case] name: &str) {
        let options = CompressOptions {
            gzip: vec!["-1".to_owned()],
            xz: vec!["--lzma2=dict=64KiB".to_owned()],
            zstd: vec!["-3".to_owned()],
        };
        for options in [CompressOptions::default(), options] {
            let folder = fixture::scratch();
            let file = folder.path().join("r8169.ko");
            fs::copy(fixture::module("r8169.ko"), &file).unwrap();
            let result = compress(&file, suffix, &options).unwrap();
            assert_eq!(result, folder.path().join(name));
            assert_eq!(Suffix::of_file(name), Some(suffix));
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
            assert_eq!(modinfo::contents(&result).unwrap(), fs::read(fixture::module("r8169.ko")).unwrap());
            assert!(ModInfo::read(&result).unwrap().signed);
        }
    }

    #[test]
    fn xz_is_made_so_that_the_kernel_can_load_it() {
        let folder = fixture::scratch();
        let file = folder.path().join("r8169.ko");
        fs::copy(fixture::module("r8169.ko"), &file).unwrap();
        let result = compress(&file, Suffix::Xz, &CompressOptions::default()).unwrap();
        let said = Command::new("xz").args(["--list", "-vv"]).arg(&result).env("LC_ALL", "C").output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains("CRC32") && said.contains("--lzma2=dict=1MiB"), "{said}");
    }

    #[rstest]
    #[case(&["kernel/fs/ext4/ext4.ko", "kernel/net/a.ko.xz"], Suffix::Ko)]
    #[case(&["kernel/arch/x86/kvm.ko.zst", "updates/dkms/a.ko"], Suffix::Zst)]
    #[case(&["kernel/net/ipv4/README", "kernel/net/z.ko.gz"], Suffix::Gz)]
    #[case(&["updates/dkms/a.ko.xz"], Suffix::Ko)]
    #[case(&[], Suffix::Ko)]
    fn the_kernels_own_modules_decide(#[case] present: &[&str], #[case] wanted: Suffix) {
        let root = fixture::scratch();
        let layout = Layout::under(root.path());
        let kernel = fixture::kernel().release;
        for path in present {
            let path = layout.kernel_folder(&kernel).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        assert_eq!(Suffix::of_kernel(&layout, &kernel).unwrap(), wanted);
        assert_eq!(Suffix::of_kernel(&Layout::under(fixture::root()), &kernel).unwrap(), Suffix::Ko);
    }
}
