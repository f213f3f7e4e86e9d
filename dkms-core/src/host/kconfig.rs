//! A kernel's own configuration: `include/config/auto.conf` below its headers, else `.config` there.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The CONFIG_ values of one kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelConfig {
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

    /// Takes `CONFIG_X=value` lines; quotes around a value are not part of it.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let values = text
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .filter(|(name, _)| name.starts_with("CONFIG_"))
            .map(|(name, value)| {
                let bare = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
                (name.to_owned(), bare.to_owned())
            })
            .collect();
        Self { values, path: None }
    }

    /// The value of `CONFIG_X`, without quotes; none when it is not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// Whether `CONFIG_X` is `y` or `m`.
    #[must_use]
    pub fn enabled(&self, name: &str) -> bool {
        matches!(self.get(name), Some("y" | "m"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_lose_their_quotes_and_comments_are_not_values() {
        let config = KernelConfig::parse(
            "# CONFIG_DEBUG is not set\nCONFIG_ACPI=y\nCONFIG_V4L2=m\nCONFIG_CC_VERSION_TEXT=\"gcc-12 (Debian 12.2.0-14) 12.2.0\"\n",
        );
        assert!(config.enabled("CONFIG_ACPI") && config.enabled("CONFIG_V4L2"));
        assert!(!config.enabled("CONFIG_DEBUG"));
        assert_eq!(config.get("CONFIG_CC_VERSION_TEXT"), Some("gcc-12 (Debian 12.2.0-14) 12.2.0"));
    }
}
