//! What makes a build stale: a digest of each thing that went into it, so that a difference also says what changed.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

/// The inputs of one build. Prints as five words joined by `.`, which manifests keep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// The package's source, an admin's patches and scripts for it included.
    pub source: String,
    /// An admin's overrides of dkms.conf. The conf itself is part of the source, and what it reads of the kernel part of
    /// the headers: a digest of its values would change by itself where a conf asks for the date.
    pub conf: String,
    /// The kernel's headers, configuration and symbol versions.
    pub headers: String,
    /// The versions of the packages it depends on, as installed for this kernel.
    pub depends: String,
}

/// The form of the string; another one makes every build stale once.
const FORM: &str = "1";

impl Fingerprint {
    /// What changed since an earlier build, in people's words; empty when nothing did. Dependencies count only where
    /// the package asks for it (BUILD_DEPENDS_REBUILD).
    #[must_use]
    pub fn changes_since(&self, earlier: &Self, depends_count: bool) -> Vec<&'static str> {
        let mut changes = Vec::new();
        for (now, then, what) in [
            (&self.source, &earlier.source, "its source changed"),
            (&self.conf, &earlier.conf, "its overrides in /etc/dkms changed"),
            (&self.headers, &earlier.headers, "the kernel's headers changed"),
        ] {
            if now != then {
                changes.push(what);
            }
        }
        if depends_count && self.depends != earlier.depends {
            changes.push("a package it depends on changed");
        }
        changes
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FORM}.{}.{}.{}.{}", self.source, self.conf, self.headers, self.depends)
    }
}

impl FromStr for Fingerprint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split('.').collect::<Vec<_>>()[..] {
            [FORM, source, conf, headers, depends] => Ok(Self {
                source: source.to_owned(),
                conf: conf.to_owned(),
                headers: headers.to_owned(),
                depends: depends.to_owned(),
            }),
            _ => Err(()),
        }
    }
}

/// A short digest of parts, each delimited by its length.
#[must_use]
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    short(hash)
}

/// 128 bits are plenty to tell builds of one package apart.
fn short(hash: Sha256) -> String {
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Digests of folders, remembered for as long as nothing in them changed.
#[derive(Debug, Default)]
pub struct FolderDigests {
    known: Mutex<HashMap<PathBuf, (String, String)>>,
}

impl FolderDigests {
    /// The digest of every name, kind, mode and content below a folder; empty for a folder that is not there.
    ///
    /// Content is read only when [`stamp`] says that something changed.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn of(&self, folder: &Path) -> io::Result<String> {
        let stamp = match stamp(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
            other => other?,
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, digest)) = known.get(folder)
            && *then == stamp
        {
            return Ok(digest.clone());
        }
        let digest = contents(folder)?;
        known.insert(folder.to_owned(), (stamp, digest.clone()));
        Ok(digest)
    }
}

/// A cheap digest of names, sizes, inodes and times below a folder: the same as long as nothing was touched.
///
/// # Errors
/// When a folder cannot be read.
pub fn stamp(folder: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    walk(folder, &mut |path, metadata| {
        hash.update(path.as_os_str().as_bytes());
        for number in
            [metadata.len(), metadata.ino(), metadata.ctime().cast_unsigned(), metadata.ctime_nsec().cast_unsigned()]
        {
            hash.update(number.to_le_bytes());
        }
        Ok(())
    })?;
    Ok(short(hash))
}

fn contents(folder: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    walk(folder, &mut |path, metadata| {
        let name = path.strip_prefix(folder).unwrap_or(path).as_os_str().as_bytes();
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update(metadata.mode().to_le_bytes());
        if metadata.is_symlink() {
            let target = fs::read_link(path)?;
            hash.update((target.as_os_str().len() as u64).to_le_bytes());
            hash.update(target.as_os_str().as_bytes());
        } else if metadata.is_file() {
            hash.update(metadata.len().to_le_bytes());
            let mut file = fs::File::open(path)?;
            loop {
                match file.read(&mut buffer)? {
                    0 => break,
                    n => hash.update(&buffer[..n]),
                }
            }
        }
        Ok(())
    })?;
    Ok(short(hash))
}

/// Visits everything below a folder in the order of names, following no link but the folder's own.
fn walk(folder: &Path, visit: &mut impl FnMut(&Path, &fs::Metadata) -> io::Result<()>) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, metadata) = (entry.path(), entry.metadata()?);
        visit(&path, &metadata)?;
        if metadata.is_dir() {
            walk(&path, visit)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn print(source: &str, headers: &str, depends: &str) -> Fingerprint {
        Fingerprint { source: source.into(), conf: "c".into(), headers: headers.into(), depends: depends.into() }
    }

    #[test]
    fn prints_what_it_parses() {
        let p = print("s", "h", "");
        assert_eq!(p.to_string().parse::<Fingerprint>(), Ok(p));
        assert_eq!("0.a.b.c.d".parse::<Fingerprint>(), Err(()), "another form");
        assert_eq!("nonsense".parse::<Fingerprint>(), Err(()));
    }

    #[test]
    fn a_difference_says_what_changed() {
        let old = print("s", "h", "d");
        assert_eq!(old.changes_since(&old, true), [""; 0]);
        assert_eq!(print("s2", "h2", "d").changes_since(&old, true).len(), 2);
        assert_eq!(print("s", "h", "d2").changes_since(&old, false), [""; 0]);
        assert_eq!(print("s", "h", "d2").changes_since(&old, true), ["a package it depends on changed"]);
    }

    #[test]
    fn folders_are_told_apart_by_content_and_not_by_time() {
        let folder = tempfile::tempdir().unwrap();
        let digests = FolderDigests::default();
        let file = folder.path().join("sub/a.c");
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(&file, "one").unwrap();
        let first = digests.of(folder.path()).unwrap();
        fs::write(&file, "two").unwrap();
        let second = digests.of(folder.path()).unwrap();
        assert_ne!(first, second, "same size, other content");
        fs::write(&file, "one").unwrap();
        assert_eq!(digests.of(folder.path()).unwrap(), first, "the content is back");
        fs::rename(&file, folder.path().join("sub/b.c")).unwrap();
        assert_ne!(digests.of(folder.path()).unwrap(), first, "another name");
        assert_eq!(digests.of(&folder.path().join("gone")).unwrap(), "");
        let before = digests.of(folder.path()).unwrap();
        std::os::unix::fs::symlink("sub", folder.path().join("link")).unwrap();
        let linked = digests.of(folder.path()).unwrap();
        assert_ne!(linked, before, "a link is content");
        fs::write(folder.path().join("sub/c.c"), "").unwrap();
        fs::set_permissions(folder.path().join("sub/b.c"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_file(folder.path().join("sub/c.c")).unwrap();
        assert_ne!(digests.of(folder.path()).unwrap(), linked, "so is a mode: a script runs or does not");
    }
}
