//! What makes a build stale: a digest of each thing that went into it, so that a difference also says what changed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sha2::{Digest as _, Sha256};

use crate::model::PackageName;

/// The inputs of one build. Prints as words joined by `.`, which manifests keep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fingerprint {
    /// The package's source.
    pub source: String,
    /// An admin's patches and scripts for it.
    pub scripts: String,
    /// An admin's overrides of dkms.conf. The conf itself is part of the source, and what it reads of the kernel part of
    /// the headers: a digest of its values would change by itself where a conf asks for the date.
    pub conf: String,
    /// The kernel's headers, configuration and symbol versions.
    pub headers: String,
    /// The packages it depends on, as installed for this kernel: [`dependencies`].
    pub depends: String,
}

/// The form of the string; another one makes every build stale once.
const FORM: &str = "2";

impl Fingerprint {
    /// What changed since an earlier build, in people's words; empty when nothing did. Dependencies count only where
    /// the package asks for it (BUILD_DEPENDS_REBUILD).
    #[must_use]
    pub fn changes_since(&self, earlier: &Self, depends_count: bool) -> Vec<String> {
        if *self != *earlier && *earlier == Self::default() {
            return vec!["it was built by another version of dkmsd".to_owned()];
        }
        let mut changes = Vec::new();
        for (now, then, what) in [
            (&self.source, &earlier.source, "its source changed"),
            (&self.scripts, &earlier.scripts, "its patches or scripts in /etc/dkms changed"),
            (&self.conf, &earlier.conf, "its overrides in /etc/dkms changed"),
            (&self.headers, &earlier.headers, "the kernel's headers changed"),
        ] {
            if now != then {
                changes.push(what.to_owned());
            }
        }
        if depends_count {
            changes.extend(dependency_changes(&self.depends, &earlier.depends));
        }
        changes
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, scripts, conf, headers, depends } = self;
        write!(f, "{FORM}.{source}.{scripts}.{conf}.{headers}.{}", depends.replace('.', DOT))
    }
}

impl FromStr for Fingerprint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.split('.').collect::<Vec<_>>()[..] {
            [FORM, source, scripts, conf, headers, depends] => Ok(Self {
                source: source.to_owned(),
                scripts: scripts.to_owned(),
                conf: conf.to_owned(),
                headers: headers.to_owned(),
                depends: depends.replace(DOT, "."),
            }),
            _ => Err(()),
        }
    }
}

/// A dot in the versions of a fingerprint that is printed; [`escaped`] leaves no `%` but its own.
const DOT: &str = "%2E";

/// The packages that one depends on, with the versions installed of them: `zfs=2.3.2 spl=`, empty where none is.
#[must_use]
pub fn dependencies(depends: &[PackageName], version: impl Fn(&PackageName) -> Option<String>) -> String {
    let word = |name: &PackageName| {
        format!("{}={}", escaped(name.as_str()), version(name).map(|v| escaped(&v)).unwrap_or_default())
    };
    depends.iter().map(word).collect::<Vec<_>>().join(" ")
}

fn escaped(word: &str) -> String {
    word.replace('%', "%25").replace(' ', "%20").replace('=', "%3D")
}

fn plain(word: &str) -> String {
    word.replace("%3D", "=").replace("%20", " ").replace("%25", "%")
}

/// Each dependency that is another one by now, as `dependency zfs 2.3.2 → 2.3.3`.
fn dependency_changes(now: &str, then: &str) -> Vec<String> {
    let words = |text: &str| -> BTreeMap<String, String> {
        let pairs = text.split(' ').filter_map(|word| word.split_once('='));
        pairs.map(|(name, version)| (plain(name), plain(version))).collect()
    };
    let (now, then) = (words(now), words(then));
    let names: BTreeSet<&String> = now.keys().chain(then.keys()).collect();
    let change = |name: &String| {
        let installed =
            |words: &BTreeMap<String, String>| words.get(name).filter(|version| !version.is_empty()).cloned();
        match (installed(&then), installed(&now)) {
            (before, after) if before == after => {
                let (asked, asks) = (then.contains_key(name), now.contains_key(name));
                match (asked, asks) {
                    (false, true) => Some(format!("it depends on {name} by now")),
                    (true, false) => Some(format!("it no longer depends on {name}")),
                    _ => None,
                }
            }
            (Some(before), Some(after)) => Some(format!("dependency {name} {before} → {after}")),
            (None, Some(after)) => Some(format!("dependency {name} {after} is new")),
            (Some(before), None) => Some(format!("dependency {name} {before} is gone")),
            (None, None) => None,
        }
    };
    names.into_iter().filter_map(change).collect()
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
        match Stamp::of(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            stamp => self.with(folder, &stamp?),
        }
    }

    /// The same, of a folder that was stamped a moment ago. Should it change meanwhile, its stamp is another one.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn with(&self, folder: &Path, stamp: &Stamp) -> io::Result<String> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, digest)) = known().get(folder)
            && *then == stamp.digest
        {
            return Ok(digest.clone());
        }
        let digest = contents(folder)?;
        known().insert(folder.to_owned(), (stamp.digest.clone(), digest.clone()));
        Ok(digest)
    }
}

/// What tells cheaply whether anything in a folder was touched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp {
    /// A digest of the names, sizes, inodes and times below it.
    pub digest: String,
    /// The newest change (ctime) of it or of anything below it.
    pub newest: SystemTime,
}

impl Stamp {
    /// The stamp of a folder as it is now.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut newest = changed(&fs::metadata(folder)?);
        let digest = stamp(folder, |metadata| newest = newest.max(changed(metadata)))?;
        Ok(Self { digest, newest })
    }
}

/// When something last changed (ctime). A time that cannot be told is long past.
fn changed(metadata: &fs::Metadata) -> SystemTime {
    let since = u64::try_from(metadata.ctime()).ok().zip(u32::try_from(metadata.ctime_nsec()).ok());
    let since = since.map_or(Duration::ZERO, |(seconds, nanoseconds)| Duration::new(seconds, nanoseconds));
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn stamp(folder: &Path, mut seen: impl FnMut(&fs::Metadata)) -> io::Result<String> {
    let mut hash = Sha256::new();
    walk(folder, &mut |path, metadata| {
        seen(metadata);
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

/// Digests of what the links below a folder lead to, in the order of their names; none for a folder that is not there.
/// For folders whose owner is trusted: what is read is used.
///
/// # Errors
/// When it is there and cannot be read.
pub fn behind_links(folder: &Path) -> io::Result<Vec<String>> {
    let mut digests = Vec::new();
    if !folder.is_dir() {
        return Ok(digests);
    }
    walk(folder, &mut |path, metadata| {
        if metadata.is_symlink() {
            match fs::metadata(path) {
                Ok(there) if there.is_dir() => digests.push(contents(path)?),
                Ok(there) if there.is_file() => digests.push(digest([fs::read(path)?.as_slice()])),
                // It leads to nothing that could be used.
                _ => {}
            }
        }
        Ok(())
    })?;
    Ok(digests)
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

    use rstest::rstest;

    use super::*;

    #[test]
    fn what_a_link_leads_to_counts_where_it_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (overrides, elsewhere) = (folder.path().join("overrides"), folder.path().join("elsewhere"));
        assert!(behind_links(&overrides).unwrap().is_empty());
        fs::create_dir_all(overrides.join("scripts")).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        for (name, target) in
            [("scripts/pre.sh", "../../elsewhere/pre.sh"), ("patches", "../elsewhere"), ("gone", "no")]
        {
            std::os::unix::fs::symlink(target, overrides.join(name)).unwrap();
        }
        fs::write(elsewhere.join("pre.sh"), "one").unwrap();
        let before = behind_links(&overrides).unwrap();
        assert_eq!(before.len(), 2);
        fs::write(elsewhere.join("pre.sh"), "two").unwrap();
        let after = behind_links(&overrides).unwrap();
        assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
    }

    fn print(source: &str, headers: &str, depends: &str) -> Fingerprint {
        Fingerprint {
            source: source.into(),
            headers: headers.into(),
            depends: depends.into(),
            ..Fingerprint::default()
        }
    }

    #[rstest]
    #[case("")]
    #[case("zfs=2.3.2 spl=")]
    #[case("odd%20name=1%3D2%25.0")]
    fn prints_what_it_parses(#[case] depends: &str) {
        let p = print("s", "h", depends);
        assert_eq!(p.to_string().parse::<Fingerprint>(), Ok(p));
    }

    #[rstest]
    #[case::another_form("1.a.b.c.d")]
    #[case("nonsense")]
    fn refuses_what_it_does_not_print(#[case] text: &str) {
        assert_eq!(text.parse::<Fingerprint>(), Err(()));
    }

    #[test]
    fn a_difference_says_what_changed() {
        let old = print("s", "h", "zfs=1");
        assert_eq!(old.changes_since(&old, true), [""; 0]);
        let both = ["its source changed", "the kernel's headers changed"];
        assert_eq!(print("s2", "h2", "zfs=1").changes_since(&old, true), both);
        assert_eq!(print("s", "h", "zfs=2").changes_since(&old, false), [""; 0]);
        let unknown = print("s", "h", "").changes_since(&Fingerprint::default(), true);
        assert!(unknown.len() == 1 && unknown[0].contains("by another version of dkmsd"), "{unknown:?}");
    }

    #[rstest]
    #[case("zfs=2.3.2", "zfs=2.3.3", &["dependency zfs 2.3.2 → 2.3.3"])]
    #[case("zfs=2.3.2 spl=1", "zfs=2.3.3 spl=", &["dependency spl 1 is gone", "dependency zfs 2.3.2 → 2.3.3"])]
    #[case("zfs=", "zfs=2.3.3", &["dependency zfs 2.3.3 is new"])]
    #[case("zfs=", "spl=", &["it depends on spl by now", "it no longer depends on zfs"])]
    #[case("", "zfs=1", &["dependency zfs 1 is new"])]
    #[case("a%20b=1%3D2", "a%20b=3", &["dependency a b 1=2 → 3"])]
    #[case("spl=1 zfs=2", "zfs=2 spl=1", &[])]
    fn a_dependency_is_told_with_its_versions(#[case] then: &str, #[case] now: &str, #[case] wanted: &[&str]) {
        assert_eq!(print("s", "h", now).changes_since(&print("s", "h", then), true), wanted);
    }

    #[test]
    fn what_is_installed_of_a_dependency_is_put_in_words() {
        let names: Vec<PackageName> = vec!["zfs".parse().unwrap(), "a=b".parse().unwrap()];
        let words = dependencies(&names, |name| (name.as_str() == "zfs").then(|| "2 3".to_owned()));
        assert_eq!(words, "zfs=2%203 a%3Db=");
        assert_eq!(dependencies(&[], |_| None), "");
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
