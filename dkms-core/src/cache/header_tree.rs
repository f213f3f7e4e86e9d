//! What a kernel's headers contribute to the digest: every file of them, since a module is made from any of them.
//!
//! A tree's digest is remembered on disk for as long as nothing in it was touched, so that a worker that begins need not
//! read it again. A kernel's whole source with its objects is too large to read; there, only an untouched tree is the same.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// Trees with more than this, in bytes, are not read: installed headers have some 60 MB.
const LARGEST: u64 = 512 << 20;

/// Of a tree that was not touched for so long, the kernel may well be gone; else it is read once more.
const REMEMBERED_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// The digest (hex) of a header tree that is spread over `roots`. `memory`: a folder for what was found out.
///
/// # Errors
/// When a part of it cannot be read.
pub fn identity(roots: &[PathBuf], memory: &Path) -> io::Result<String> {
    limited(roots, memory, LARGEST)
}

fn limited(roots: &[PathBuf], memory: &Path, largest: u64) -> io::Result<String> {
    let mut tree = Tree::default();
    for (n, root) in roots.iter().enumerate() {
        // A root in another one has been seen with it.
        if !roots.iter().enumerate().any(|(m, other)| root.starts_with(other) && (root != other || m < n)) {
            tree.walk(root)?;
        }
    }
    let stamp = tree.stamp();
    if tree.files.iter().map(|file| file.size).sum::<u64>() > largest {
        return Ok(format!("untouched {stamp}"));
    }
    let place = memory.join(digest_of(roots.iter().map(|root| root.as_os_str().as_bytes())));
    let known = fs::read_to_string(&place).ok();
    if let Some(digest) = known.as_deref().and_then(|text| text.strip_prefix(stamp.as_str())?.strip_prefix(' ')) {
        return Ok(digest.to_owned());
    }
    let digest = tree.contents()?;
    if let Err(error) = remember(memory, &place, &format!("{stamp} {digest}")) {
        tracing::debug!("the digest of {roots:?} is not remembered: {error}");
    }
    Ok(digest)
}

fn remember(memory: &Path, place: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(memory)?;
    for entry in fs::read_dir(memory)?.flatten() {
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > REMEMBERED_FOR) {
            // Gone already is as good.
            let _ = fs::remove_file(entry.path());
        }
    }
    let mut file = tempfile::NamedTempFile::new_in(memory)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.persist(place)?;
    Ok(())
}

/// The files of a tree, in the order of their names.
#[derive(Default)]
struct Tree {
    files: Vec<Found>,
}

/// One name.
struct Found {
    /// The whole of it: headers at another place are other headers.
    path: PathBuf,
    /// Where a link leads that leads to no file.
    target: Option<PathBuf>,
    executable: bool,
    size: u64,
    touched: [i64; 4],
}

impl Tree {
    fn walk(&mut self, folder: &Path) -> io::Result<()> {
        let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let (path, kind) = (entry.path(), entry.file_type()?);
            if kind.is_dir() {
                // What a version control system keeps there is no part of a build.
                if !entry.file_name().as_bytes().starts_with(b".") {
                    self.walk(&path)?;
                }
            } else if kind.is_file() {
                self.add(path, None, &entry.metadata()?);
            } else if kind.is_symlink() {
                // Folders behind links are roots of their own.
                match fs::metadata(&path) {
                    Ok(behind) if behind.is_file() => self.add(path, None, &behind),
                    _ => {
                        let target = Some(fs::read_link(&path)?);
                        self.add(path, target, &entry.metadata()?);
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, target: Option<PathBuf>, metadata: &Metadata) {
        let ids = [metadata.dev(), metadata.ino()].map(u64::cast_signed);
        self.files.push(Found {
            path,
            target,
            executable: metadata.mode() & 0o111 != 0,
            size: metadata.len(),
            touched: [ids[0], ids[1], metadata.ctime(), metadata.ctime_nsec()],
        });
    }

    /// The same for as long as nothing was touched.
    fn stamp(&self) -> String {
        let mut hash = Sha256::new();
        for file in &self.files {
            part(&mut hash, file.path.as_os_str().as_bytes());
            hash.update(file.size.to_le_bytes());
            for number in file.touched {
                hash.update(number.to_le_bytes());
            }
        }
        hex(hash)
    }

    /// The same for as long as every name has the same content.
    fn contents(&self) -> io::Result<String> {
        let mut hash = Sha256::new();
        let mut bytes = Vec::new();
        for file in &self.files {
            part(&mut hash, file.path.as_os_str().as_bytes());
            hash.update([u8::from(file.executable), u8::from(file.target.is_some())]);
            match &file.target {
                Some(target) => part(&mut hash, target.as_os_str().as_bytes()),
                None => {
                    bytes.clear();
                    File::open(&file.path)?.read_to_end(&mut bytes)?;
                    part(&mut hash, &bytes);
                }
            }
        }
        Ok(hex(hash))
    }
}

fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn digest_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new();
    for bytes in parts {
        part(&mut hash, bytes);
    }
    hex(hash)
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn tree() -> (tempfile::TempDir, Vec<PathBuf>, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let (dir, common, memory) =
            (folder.path().join("amd64"), folder.path().join("common"), folder.path().join("memory"));
        fs::create_dir_all(dir.join("include")).unwrap();
        fs::create_dir_all(common.join("include/linux")).unwrap();
        fs::create_dir_all(dir.join(".git")).unwrap();
        fs::write(dir.join("include/auto.conf"), "A=y").unwrap();
        fs::write(common.join("include/linux/module.h"), "one").unwrap();
        symlink("../common/include", dir.join("more")).unwrap();
        (folder, vec![dir, common.clone(), common.join("include")], memory)
    }

    #[test]
    fn content_counts_and_times_do_not() {
        let (_folder, roots, memory) = tree();
        let first = identity(&roots, &memory).unwrap();
        assert_eq!(identity(&roots, &memory).unwrap(), first);
        let file = roots[1].join("include/linux/module.h");
        fs::remove_file(&file).unwrap();
        fs::write(&file, "two").unwrap();
        let second = identity(&roots, &memory).unwrap();
        assert_ne!(second, first, "any header counts, not only those that identify a build");
        fs::remove_file(&file).unwrap();
        fs::write(&file, "one").unwrap();
        assert_eq!(identity(&roots, &memory).unwrap(), first, "the same headers, installed again");
        fs::write(roots[0].join(".git/index"), "x").unwrap();
        assert_eq!(identity(&roots, &memory).unwrap(), first);
        fs::write(roots[0].join(".config"), "A=y").unwrap();
        assert_ne!(identity(&roots, &memory).unwrap(), first);
    }

    #[test]
    fn what_is_remembered_is_not_read_again() {
        let (_folder, roots, memory) = tree();
        let first = identity(&roots, &memory).unwrap();
        let [kept] = fs::read_dir(&memory).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>().try_into().unwrap();
        let text = fs::read_to_string(&kept).unwrap();
        fs::write(&kept, text.replace(&first, "remembered")).unwrap();
        assert_eq!(identity(&roots, &memory).unwrap(), "remembered");
        fs::write(roots[0].join("new"), "").unwrap();
        assert_ne!(identity(&roots, &memory).unwrap(), "remembered");
    }

    #[test]
    fn a_tree_too_large_to_read_is_the_same_while_untouched() {
        let (_folder, roots, memory) = tree();
        let first = limited(&roots, &memory, 2).unwrap();
        assert_eq!(limited(&roots, &memory, 2).unwrap(), first);
        fs::write(roots[0].join("new"), "").unwrap();
        assert_ne!(limited(&roots, &memory, 2).unwrap(), first);
        assert!(!memory.exists());
    }
}
