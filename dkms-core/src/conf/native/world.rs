//! What the evaluator may learn of the machine: never more than the unprivileged user would, and nothing that may look
//! different from inside a sandbox.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::{Certain, Trace, Uncertain};

/// The longest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Folders that look the same to every user and in every sandbox.
const SHARED: &[&str] = &["usr", "etc", "lib", "lib32", "lib64", "bin", "sbin", "opt", "boot", "var", "nonexistent"];

/// Folders below those that are private to a sandbox, or hold what it keeps out of sight.
const UNSHARED: &[&str] = &["var/tmp", "var/run", "var/lib/dkms", "var/lib/shim-signed", "etc/shadow", "etc/gshadow"];

/// What a path is, for tests like `-f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) is_dir: bool,
    pub(super) is_file: bool,
    pub(super) size: u64,
    mode: u32,
}

impl Kind {
    pub(super) fn readable(&self) -> Certain<bool> {
        self.allows(0o444)
    }

    pub(super) fn executable(&self) -> Certain<bool> {
        self.allows(0o111)
    }

    /// Certain only where all classes of users agree.
    fn allows(&self, bits: u32) -> Certain<bool> {
        match self.mode & bits {
            0 => Ok(false),
            some if some == bits => Ok(true),
            _ => Err(Uncertain::new("a file that not everybody may read")),
        }
    }
}

/// The machine, below a root.
#[derive(Debug)]
pub(super) struct World<'a> {
    pub(super) root: &'a Path,
    pub(super) trace: &'a Trace,
}

impl World<'_> {
    /// What stands at a path, links followed; none when nothing does.
    pub(super) fn kind(&self, path: &str) -> Certain<Option<Kind>> {
        let Some(real) = self.resolve(path)? else { return Ok(None) };
        let meta = fs::metadata(&real).map_err(|_| Uncertain::new("a file that changed"))?;
        if path.ends_with('/') && !meta.is_dir() {
            return Ok(None);
        }
        Ok(Some(Kind {
            is_dir: meta.is_dir(),
            is_file: meta.is_file(),
            size: meta.size(),
            mode: meta.permissions().mode(),
        }))
    }

    /// A file's text; none when there is no such file.
    pub(super) fn read(&self, path: &str) -> Certain<Option<String>> {
        let rare = || Uncertain::new("a file that bash has to read");
        let Some(kind) = self.kind(path)? else { return Ok(None) };
        let real = self.resolve(path)?.ok_or_else(rare)?;
        if !kind.is_file || kind.mode & 0o004 == 0 || kind.size > MAX_FILE {
            return Err(rare());
        }
        let file = File::open(real).map_err(|_| rare())?;
        let meta = file.metadata().map_err(|_| rare())?;
        if !meta.is_file() || meta.permissions().mode() & 0o004 == 0 {
            return Err(rare());
        }
        let mut text = String::new();
        file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|_| rare())?;
        if text.contains('\0') || text.len() as u64 > MAX_FILE { Err(rare()) } else { Ok(Some(text)) }
    }

    /// Whether a program of this name is on the search path.
    pub(super) fn program(&self, name: &str) -> Certain<Option<String>> {
        if self.kind("/bin/sh")?.is_none() {
            return Err(Uncertain::new("a root without programs"));
        }
        for folder in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
            let path = format!("{folder}/{name}");
            if let Some(kind) = self.kind(&path)?
                && kind.is_file
            {
                return if kind.executable()? { Ok(Some(path)) } else { Err(Uncertain::new("a strange program")) };
            }
        }
        Ok(None)
    }

    /// The real path, where everybody may walk to it; none when something on the way is not there.
    fn resolve(&self, path: &str) -> Certain<Option<PathBuf>> {
        self.trace.decide();
        let rare = || Uncertain::new("a path that may look different from inside a sandbox");
        let path = Path::new(path);
        let mut parts: Vec<_> = path.components().rev().map(|c| c.as_os_str().to_owned()).collect();
        if path.components().next() != Some(Component::RootDir) || path.as_os_str().len() > 4000 {
            return Err(rare());
        }
        parts.pop();
        let mut real = PathBuf::new();
        let mut links = 0;
        while let Some(part) = parts.pop() {
            if part == ".." {
                real.pop();
                continue;
            }
            if part == "." {
                continue;
            }
            if real.as_os_str().is_empty() && !SHARED.iter().any(|s| part == *s) {
                return Err(rare());
            }
            real.push(&part);
            if UNSHARED.iter().any(|folder| real.starts_with(folder)) {
                return Err(rare());
            }
            let host = self.root.join(&real);
            let meta = match fs::symlink_metadata(&host) {
                Ok(meta) => meta,
                Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                    return Ok(None);
                }
                Err(_) => return Err(rare()),
            };
            if meta.is_symlink() {
                links += 1;
                let target = fs::read_link(&host).map_err(|_| rare())?;
                if links > 40 {
                    return Err(rare());
                }
                if target.is_absolute() {
                    real.clear();
                } else {
                    real.pop();
                }
                parts.extend(
                    target.components().rev().filter(|c| *c != Component::RootDir).map(|c| c.as_os_str().to_owned()),
                );
            } else if meta.is_dir() {
                if meta.permissions().mode() & 0o001 == 0 && !parts.is_empty() {
                    return Err(rare());
                }
            } else if !parts.is_empty() {
                return Ok(None);
            }
        }
        Ok(Some(self.root.join(real)))
    }
}

/// `uname -r` and `-m`: the running kernel's, as in bash.
pub(super) fn uname() -> (String, String) {
    let name = rustix::system::uname();
    (name.release().to_string_lossy().into_owned(), name.machine().to_string_lossy().into_owned())
}

/// `nproc`: the CPUs this process may run on.
pub(super) fn cpus() -> Certain<u32> {
    let set = rustix::thread::sched_getaffinity(None).map_err(|_| Uncertain::new("nproc"))?;
    Ok(set.count())
}
