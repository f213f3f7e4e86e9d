//! What an archive is called, and what its name says about its compression.

use std::path::Path;

use super::codec::Compression;
use crate::error::{Error, Result};
use crate::model::{KernelId, PackageId};

/// The longest list of kernels that is spelt out in a name.
const LONGEST_LIST: usize = 200;

/// What goes into an archive beside its kernels' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contents {
    /// The source, and what is built.
    Everything,
    /// The source.
    SourceOnly,
    /// What is built, and dkms.conf.
    BinariesOnly,
}

impl Contents {
    /// From `--source-only` and `--binaries-only`.
    ///
    /// # Errors
    /// When both are given.
    pub fn from_flags(package: &PackageId, source_only: bool, binaries_only: bool) -> Result<Self> {
        match (source_only, binaries_only) {
            (false, false) => Ok(Self::Everything),
            (true, false) => Ok(Self::SourceOnly),
            (false, true) => Ok(Self::BinariesOnly),
            (true, true) => Err(Error::Neither { package: package.clone() }),
        }
    }
}

/// What an archive is called unless it is told otherwise.
pub(crate) fn archive_name(package: &PackageId, contents: Contents, kernels: &[KernelId]) -> String {
    let what = if contents == Contents::SourceOnly {
        "-source-only".to_owned()
    } else {
        kernels.iter().map(|kernel| format!("-kernel{}-{}", kernel.release, kernel.arch)).collect()
    };
    let what = if what.len() > LONGEST_LIST { "-manykernels" } else { &what };
    format!("{}-{}{what}.dkms.tar.gz", package.name, package.version)
}

/// The suffixes of [`compression`], for people.
pub(crate) const SUFFIXES: &str = ".tar.gz, .tar.xz, .tar.bz2, .tar.zst (or .tgz, .txz, .tbz2, .tzst) or .tar";

/// What the end of a name asks for; none for one that says nothing of a compression that is written here.
pub(crate) fn compression(archive: &Path) -> Option<Compression> {
    let name = archive.file_name().unwrap_or_default().to_string_lossy();
    // Digits behind the last dot are the end of a version.
    let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix).filter(|s| !s.bytes().all(|b| b.is_ascii_digit()));
    match suffix.unwrap_or("tar") {
        "tar" => Some(Compression::Plain),
        "gz" | "tgz" | "taz" => Some(Compression::Gzip),
        "xz" | "txz" => Some(Compression::Xz),
        "bz2" | "tbz" | "tbz2" | "tz2" => Some(Compression::Bzip2),
        "zst" | "tzst" => Some(Compression::Zstd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn package() -> PackageId {
        PackageId::new("r8169", "2.2LK").unwrap()
    }

    fn kernel(release: &str) -> KernelId {
        KernelId::new(release, "x86_64").unwrap()
    }

    #[rstest]
    #[case::one(Contents::Everything, &["6.1"], "r8169-2.2LK-kernel6.1-x86_64.dkms.tar.gz")]
    #[case::order_given(Contents::Everything, &["6.1", "5.1"], "r8169-2.2LK-kernel6.1-x86_64-kernel5.1-x86_64.dkms.tar.gz")]
    #[case::binaries(Contents::BinariesOnly, &["6.1"], "r8169-2.2LK-kernel6.1-x86_64.dkms.tar.gz")]
    #[case::source(Contents::SourceOnly, &[], "r8169-2.2LK-source-only.dkms.tar.gz")]
    fn names(#[case] contents: Contents, #[case] kernels: &[&str], #[case] wanted: &str) {
        let kernels: Vec<_> = kernels.iter().map(|k| kernel(k)).collect();
        assert_eq!(archive_name(&package(), contents, &kernels), wanted);
    }

    #[rstest]
    #[case(200, false)]
    #[case(201, true)]
    fn a_long_list_is_not_spelt_out(#[case] list: usize, #[case] many: bool) {
        let first = kernel(&"1".repeat(86));
        let second = kernel(&"2".repeat(list - "-kernel-x86_64".len() * 2 - 86));
        let name = archive_name(&package(), Contents::Everything, &[first, second]);
        assert_eq!(name == "r8169-2.2LK-manykernels.dkms.tar.gz", many, "{name}");
    }

    #[rstest]
    #[case("a.dkms.tar.gz", Some(Compression::Gzip))]
    #[case("a.tgz", Some(Compression::Gzip))]
    #[case("a.tar.xz", Some(Compression::Xz))]
    #[case("a.tar.bz2", Some(Compression::Bzip2))]
    #[case("a.tar.zst", Some(Compression::Zstd))]
    #[case("a.tar", Some(Compression::Plain))]
    #[case("a", Some(Compression::Plain))]
    #[case("a.gz/b", Some(Compression::Plain))]
    #[case("driver-1.0", Some(Compression::Plain))]
    #[case("a.tar.lzma", None)]
    #[case("a.zip", None)]
    #[case("a.7z", None)]
    #[case("a.dkms", None)]
    fn the_suffix_chooses(#[case] name: &str, #[case] wanted: Option<Compression>) {
        assert_eq!(compression(Path::new(name)), wanted);
    }

    #[rstest]
    #[case(false, false, Some(Contents::Everything))]
    #[case(true, false, Some(Contents::SourceOnly))]
    #[case(false, true, Some(Contents::BinariesOnly))]
    #[case(true, true, None)]
    fn flags(#[case] source: bool, #[case] binaries: bool, #[case] wanted: Option<Contents>) {
        match Contents::from_flags(&package(), source, binaries) {
            Ok(contents) => assert_eq!(Some(contents), wanted),
            Err(error) => assert_eq!((error.exit_code(), wanted), (8, None), "{error}"),
        }
    }
}
