//! The field's words as types: what must not be mixed up has a type of its own, and each parses what it prints.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a word was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{value}' is no valid {what}: {why}")]
pub struct InvalidName {
    /// What it should have been, in the field's words.
    pub what: &'static str,
    /// What was given.
    pub value: String,
    /// The rule it breaks.
    pub why: &'static str,
}

/// A word that becomes one component of a path: not empty, no `/`, no control characters, no leading dot.
fn check_component(what: &'static str, value: &str) -> Result<(), InvalidName> {
    let why = if value.is_empty() {
        "it is empty"
    } else if value.starts_with('.') {
        "it begins with a dot"
    } else if value.contains('/') {
        "it contains a slash"
    } else if value.chars().any(char::is_control) {
        "it contains a control character"
    } else if value.len() > 255 {
        "it is longer than a file name may be"
    } else {
        return Ok(());
    };
    Err(InvalidName { what, value: value.to_owned(), why })
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and takes a word.
            ///
            /// # Errors
            /// When it is empty, begins with a dot, or holds a slash or a control character.
            pub fn new(value: impl Into<String>) -> Result<Self, InvalidName> {
                let value = value.into();
                check_component($what, &value)?;
                Ok(Self(value))
            }

            /// The word itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(value: &str) -> Result<Self, InvalidName> {
                Self::new(value)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(value: String) -> Result<Self, InvalidName> {
                Self::new(value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl AsRef<std::path::Path> for $name {
            fn as_ref(&self) -> &std::path::Path {
                self.0.as_ref()
            }
        }
    };
}

word!(
    /// PACKAGE_NAME: the name of a driver package.
    PackageName, "package name"
);
word!(
    /// PACKAGE_VERSION: the version of a driver package. Ordered by [`crate::conf::version`], not by this type's `Ord`.
    PackageVersion, "package version"
);
word!(
    /// A kernel release, as `uname -r` prints it and as folders below `/lib/modules` are called.
    KernelRelease, "kernel release"
);
word!(
    /// A machine's architecture, as `uname -m` prints it.
    Arch, "architecture"
);
word!(
    /// A module's name without `.ko` and compression suffix, as the file is called.
    ModuleName, "module name"
);

/// One version of one driver package; prints as `NAME/VERSION`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackageId {
    /// The package.
    pub name: PackageName,
    /// Its version.
    pub version: PackageVersion,
}

impl PackageId {
    /// Checks and takes both words.
    ///
    /// # Errors
    /// When either is not a valid word.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Result<Self, InvalidName> {
        Ok(Self { name: PackageName::new(name)?, version: PackageVersion::new(version)? })
    }
}

impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

impl FromStr for PackageId {
    type Err = InvalidName;

    fn from_str(value: &str) -> Result<Self, InvalidName> {
        let (name, version) = value.split_once('/').ok_or_else(|| InvalidName {
            what: "package",
            value: value.to_owned(),
            why: "it has to be NAME/VERSION",
        })?;
        Self::new(name, version)
    }
}

/// A kernel to build for: release and architecture; prints as `RELEASE/ARCH`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KernelId {
    /// Which kernel.
    pub release: KernelRelease,
    /// For which machine.
    pub arch: Arch,
}

impl KernelId {
    /// Checks and takes both words.
    ///
    /// # Errors
    /// When either is not a valid word.
    pub fn new(release: impl Into<String>, arch: impl Into<String>) -> Result<Self, InvalidName> {
        Ok(Self { release: KernelRelease::new(release)?, arch: Arch::new(arch)? })
    }
}

impl fmt::Display for KernelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.release, self.arch)
    }
}

/// What a package is on a kernel. `stale` is a flag beside [`EntryState::Installed`], not a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryState {
    /// In the tree, nothing built for this kernel.
    Added,
    /// Built, not installed.
    Built,
    /// Installed.
    Installed,
    /// Will be built: a job waits its turn.
    Queued,
    /// A job runs.
    Building,
    /// The last attempt failed, and no input has changed since.
    Failed,
    /// The kernel's headers are absent or not whole.
    WaitingForHeaders,
    /// A package it depends on is unknown here.
    Deferred,
    /// BUILD_EXCLUSIVE_* rules it out for this kernel.
    Excluded,
    /// OBSOLETE_BY: this kernel no longer needs it.
    Dormant,
    /// The kernel's own module is newer.
    KernelNewer,
    /// Another version or package owns the module.
    Superseded,
    /// An admin removed it by hand.
    Held,
    /// Its source is missing.
    Broken,
}

impl EntryState {
    /// The word shown to people and sent over D-Bus.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Built => "built",
            Self::Installed => "installed",
            Self::Queued => "queued",
            Self::Building => "building",
            Self::Failed => "failed",
            Self::WaitingForHeaders => "waiting-for-headers",
            Self::Deferred => "deferred",
            Self::Excluded => "excluded",
            Self::Dormant => "dormant",
            Self::KernelNewer => "kernel-newer",
            Self::Superseded => "superseded",
            Self::Held => "held",
            Self::Broken => "broken",
        }
    }

    /// Whether the package is rightly not there, so that a kernel is fit to boot without it.
    #[must_use]
    pub fn rightly_absent(self) -> bool {
        matches!(self, Self::Excluded | Self::Dormant | Self::KernelNewer | Self::Superseded | Self::Held)
    }
}

impl fmt::Display for EntryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("r8169/2.2LK", Some(("r8169", "2.2LK")))]
    #[case("v4l2loopback/0.12.7", Some(("v4l2loopback", "0.12.7")))]
    #[case("nothing", None)]
    #[case("a/b/c", None)]
    #[case("../x", None)]
    #[case("/1", None)]
    #[case("a/", None)]
    #[case("a/.b", None)]
    #[case("a\n/b", None)]
    fn package_ids_parse_and_print(#[case] text: &str, #[case] wanted: Option<(&str, &str)>) {
        let parsed = text.parse::<PackageId>().ok();
        assert_eq!(parsed.as_ref().map(|p| (p.name.as_str(), p.version.as_str())), wanted);
        if let Some(parsed) = parsed {
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn states_print_as_they_serialise() {
        for state in [EntryState::Added, EntryState::WaitingForHeaders, EntryState::KernelNewer] {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{state}\""));
        }
    }
}
