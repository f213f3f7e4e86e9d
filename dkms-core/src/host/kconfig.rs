//! A kernel's own configuration: `include/config/auto.conf` below its headers, else `.config` there.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::model::Arch;

/// The CONFIG_ values of one kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelConfig {
    /// As they are written, quotes and all.
    values: HashMap<String, String>,
    /// The file it was read from; none when neither exists.
    pub path: Option<PathBuf>,
}

impl KernelConfig {
    /// Reads the configuration below a header folder; empty when there is none.
    #[must_use]
    pub fn below(headers: &Path) -> Self {
        let files = [headers.join("include/config/auto.conf"), headers.join(".config")];
        files.into_iter().find_map(Self::read).unwrap_or_default()
    }

    /// Reads the configuration in a file; empty when it cannot be read.
    #[must_use]
    pub fn at(file: &Path) -> Self {
        Self::read(file.to_owned()).unwrap_or_default()
    }

    fn read(path: PathBuf) -> Option<Self> {
        let text = fs::read(&path).ok()?;
        Some(Self { path: Some(path), ..Self::parse(&String::from_utf8_lossy(&text)) })
    }

    /// Takes `CONFIG_X=value` lines.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let values = text
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .filter(|(name, _)| name.starts_with("CONFIG_"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self { values, path: None }
    }

    /// The value of `CONFIG_X`, without quotes; none when it is not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.values.get(name)?;
        Some(value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value))
    }

    /// What `uname -m` says on a kernel of this configuration; none for an architecture that nothing is known about.
    #[must_use]
    pub fn arch(&self) -> Option<Arch> {
        const ARCHES: &[(&[&str], &str)] = &[
            (&["CONFIG_X86_64"], "x86_64"),
            (&["CONFIG_X86_32"], "i686"),
            (&["CONFIG_ARM64", "CONFIG_CPU_BIG_ENDIAN"], "aarch64_be"),
            (&["CONFIG_ARM64"], "aarch64"),
            (&["CONFIG_ARM", "CONFIG_CPU_V7"], "armv7l"),
            (&["CONFIG_ARM", "CONFIG_CPU_V6"], "armv6l"),
            (&["CONFIG_PPC64", "CONFIG_CPU_LITTLE_ENDIAN"], "ppc64le"),
            (&["CONFIG_PPC64"], "ppc64"),
            (&["CONFIG_S390"], "s390x"),
            (&["CONFIG_RISCV", "CONFIG_64BIT"], "riscv64"),
            (&["CONFIG_LOONGARCH", "CONFIG_64BIT"], "loongarch64"),
            (&["CONFIG_MIPS", "CONFIG_64BIT"], "mips64"),
        ];
        let (_, arch) = ARCHES.iter().find(|(needs, _)| needs.iter().all(|name| self.enabled(name)))?;
        Arch::new(*arch).ok()
    }

    /// Whether `CONFIG_X` is `y` or `m`; a text that says so, in quotes, is not.
    #[must_use]
    pub fn enabled(&self, name: &str) -> bool {
        matches!(self.values.get(name).map(String::as_str), Some("y" | "m"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn values_lose_their_quotes_and_comments_are_not_values() {
        let config = KernelConfig::parse(
            "# CONFIG_DEBUG is not set\nCONFIG_ACPI=y\nCONFIG_V4L2=m\nCONFIG_CC_VERSION_TEXT=\"gcc-12 (Debian 12.2.0-14) 12.2.0\"\n",
        );
        assert!(config.enabled("CONFIG_ACPI") && config.enabled("CONFIG_V4L2"));
        assert!(!config.enabled("CONFIG_DEBUG"));
        assert_eq!(config.get("CONFIG_CC_VERSION_TEXT"), Some("gcc-12 (Debian 12.2.0-14) 12.2.0"));
    }

    #[test]
    fn a_text_is_neither_y_nor_m() {
        let config = KernelConfig::parse("CONFIG_LOCALVERSION=\"y\"\nCONFIG_DEFAULT_HOSTNAME=\"m\"\n");
        assert!(!config.enabled("CONFIG_LOCALVERSION") && !config.enabled("CONFIG_DEFAULT_HOSTNAME"));
        assert_eq!(config.get("CONFIG_LOCALVERSION"), Some("y"));
    }

    #[rstest]
    #[case("CONFIG_64BIT=y\nCONFIG_X86_64=y\nCONFIG_X86=y\n", Some("x86_64"))]
    #[case("CONFIG_ARM64=y\nCONFIG_64BIT=y\n", Some("aarch64"))]
    #[case("CONFIG_PPC64=y\nCONFIG_CPU_LITTLE_ENDIAN=y\n", Some("ppc64le"))]
    #[case("CONFIG_ARM=y\nCONFIG_CPU_V7=y\n", Some("armv7l"))]
    #[case("CONFIG_HEXAGON=y\n", None)]
    fn the_configuration_tells_the_architecture(#[case] text: &str, #[case] wanted: Option<&str>) {
        assert_eq!(KernelConfig::parse(text).arch(), wanted.map(|arch| Arch::new(arch).unwrap()));
    }
}
