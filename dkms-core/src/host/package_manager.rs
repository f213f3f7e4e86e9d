//! Whether a package manager is at work, and whether dpkg has put all of a package's files in place.
//!
//! Locks are looked at and never taken: F_GETLK and /proc/locks tell who holds one (design.md, decision 11).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::{Flock, FlockType, Pid, fcntl_getlk, test_kill_process};

use crate::layout::Layout;

/// A package manager at work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    /// Which: `dpkg`, `rpm` …
    pub name: &'static str,
    /// The lock that says so.
    pub lock: PathBuf,
    /// Who holds it, where that can be told.
    pub pid: Option<i32>,
}

/// How a lock file says that it is held.
#[derive(Clone, Copy)]
enum Kind {
    /// fcntl(2): a write lock; readers do not count.
    Record,
    /// flock(2).
    Whole,
    /// The file exists.
    Exists,
    /// The file names a process that lives.
    Pid,
}

const LOCKS: [(&str, &str, Kind); 7] = [
    // The frontend lock is held by apt over several runs of dpkg.
    ("dpkg", "/var/lib/dpkg/lock-frontend", Kind::Record),
    ("dpkg", "/var/lib/dpkg/lock", Kind::Record),
    ("rpm", "/var/lib/rpm/.rpm.lock", Kind::Record),
    ("rpm", "/usr/lib/sysimage/rpm/.rpm.lock", Kind::Record),
    ("pacman", "/var/lib/pacman/db.lck", Kind::Exists),
    ("zypper", "/run/zypp.pid", Kind::Pid),
    ("apk", "/lib/apk/db/lock", Kind::Whole),
];

/// The package manager that is at work, if any. A lock that may not be opened counts as free: only root can be told.
#[must_use]
pub fn busy(layout: &Layout) -> Option<Busy> {
    LOCKS.iter().find_map(|(name, path, kind)| {
        let lock = layout.host(path);
        let pid = match kind {
            Kind::Record => record_lock(&lock)?,
            Kind::Whole => whole_lock(&lock)?,
            Kind::Exists => lock.exists().then_some(None)?,
            Kind::Pid => Some(living_pid(&lock)?),
        };
        Some(Busy { name, lock, pid })
    })
}

/// What to watch, flat, so as to learn that a package manager has let go: the lock files that exist, and the folder of
/// one that exists only while it is held.
#[must_use]
pub fn lock_files(layout: &Layout) -> Vec<PathBuf> {
    LOCKS
        .iter()
        .filter_map(|(_, path, kind)| {
            let path = layout.host(path);
            match kind {
                Kind::Exists => path.parent().map(Path::to_owned),
                _ => Some(path),
            }
        })
        .filter(|path| path.exists())
        .collect()
}

/// The holder of an fcntl(2) write lock on a file.
fn record_lock(path: &Path) -> Option<Option<i32>> {
    let file = File::open(path).ok()?;
    let held = fcntl_getlk(&file, &Flock::from(FlockType::ReadLock)).ok()??;
    Some(held.pid.map(|pid| pid.as_raw_nonzero().get()))
}

/// The holder of an exclusive flock(2) on a file, from /proc/locks: asking for the lock would take it.
fn whole_lock(path: &Path) -> Option<Option<i32>> {
    let inode = fs::metadata(path).ok()?.ino();
    flock_holder(&fs::read_to_string("/proc/locks").ok()?, inode).map(Some)
}

/// Lines read `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`. The device is left out of the comparison: btrfs and
/// overlayfs show another one there than stat(2).
fn flock_holder(locks: &str, inode: u64) -> Option<i32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let exclusive = words.next() == Some("FLOCK") && words.nth(1) == Some("WRITE");
        let pid = words.next().filter(|_| exclusive)?;
        let on_it = words.next()?.rsplit(':').next()?.parse() == Ok(inode);
        pid.parse().ok().filter(|_| on_it)
    })
}

fn living_pid(path: &Path) -> Option<i32> {
    let raw = fs::read_to_string(path).ok()?.trim().parse().ok()?;
    // EPERM means that it lives and is another user's.
    (test_kill_process(Pid::from_raw(raw)?) != Err(rustix::io::Errno::SRCH)).then_some(raw)
}

/// What dpkg says about packages: the `Status` of each name that was kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DpkgStatus(HashMap<String, String>);

impl DpkgStatus {
    /// Reads the status of the packages that `keep` accepts; empty where there is no dpkg. dpkg notes each step in a
    /// small file below `updates` first, so these win over the database.
    ///
    /// # Errors
    /// When the database is there and cannot be read.
    pub fn read(layout: &Layout, keep: impl Fn(&str) -> bool) -> io::Result<Self> {
        let mut all = Self::default();
        match fs::read(layout.host("/var/lib/dpkg/status")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(all),
            text => all.take(&String::from_utf8_lossy(&text?), &keep),
        }
        let mut notes: Vec<PathBuf> = fs::read_dir(layout.host("/var/lib/dpkg/updates"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|p| p.file_name().is_some_and(|n| n.as_encoded_bytes().iter().all(u8::is_ascii_digit)))
            .collect();
        notes.sort();
        for note in notes {
            if let Ok(text) = fs::read(note) {
                all.take(&String::from_utf8_lossy(&text), &keep);
            }
        }
        Ok(all)
    }

    /// Takes the paragraphs of a database.
    fn take(&mut self, text: &str, keep: &dyn Fn(&str) -> bool) {
        let mut package = None;
        for line in text.lines() {
            if line.is_empty() {
                package = None;
            } else if let Some(name) = line.strip_prefix("Package: ") {
                package = Some(name.trim()).filter(|name| keep(name));
            } else if let (Some(name), Some(status)) = (package, line.strip_prefix("Status: ")) {
                self.0.insert(name.to_owned(), status.trim().to_owned());
            }
        }
    }

    /// Why a package's files are not all in place; none when they are, or dpkg does not know the package.
    #[must_use]
    pub fn half_unpacked(&self, package: &str) -> Option<String> {
        let status = self.0.get(package)?;
        let mut words = status.split_whitespace().skip(1);
        let (flag, state) = (words.next()?, words.next()?);
        (flag == "reinstreq" || state == "half-installed")
            .then(|| format!("dpkg has package {package} only half in place ({status})"))
    }
}

/// Whether dpkg has put in place all files of the package called as a folder is; `Ok(false)` when it knows none.
///
/// # Errors
/// Why not.
pub fn fully_unpacked(layout: &Layout, folder: &Path) -> Result<bool, String> {
    let Some(name) = folder.file_name().and_then(|n| n.to_str()) else { return Ok(false) };
    let status = DpkgStatus::read(layout, |package| package == name)
        .map_err(|e| format!("cannot read dpkg's status database: {e}"))?;
    status.half_unpacked(name).map_or(Ok(!status.0.is_empty()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn put(layout: &Layout, path: &str, text: &str) -> PathBuf {
        let path = layout.host(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn nothing_is_busy_where_nothing_is() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        assert_eq!(busy(&layout), None);
        assert!(lock_files(&layout).is_empty());
        let lock = put(&layout, "/var/lib/dpkg/lock-frontend", "");
        assert_eq!(busy(&layout), None);
        assert_eq!(lock_files(&layout), [lock]);
    }

    /// A process of its own holds the lock, as an fcntl(2) lock never hinders its own process.
    #[rstest]
    #[case("/var/lib/dpkg/lock-frontend", "dpkg", "fcntl.lockf(f, fcntl.LOCK_EX)")]
    #[case("/var/lib/rpm/.rpm.lock", "rpm", "fcntl.lockf(f, fcntl.LOCK_EX)")]
    #[case("/lib/apk/db/lock", "apk", "fcntl.flock(f, fcntl.LOCK_EX)")]
    fn a_held_lock_is_seen_and_its_end_too(#[case] path: &str, #[case] name: &str, #[case] take: &str) {
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};

        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let lock = put(&layout, path, "");
        let script =
            format!("import fcntl,sys\nf=open(sys.argv[1],'r+')\n{take}\nprint('held',flush=True)\nsys.stdin.read()");
        let mut holder = Command::new("python3")
            .args(["-c", &script])
            .arg(&lock)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        let seen = busy(&layout).unwrap();
        assert_eq!((seen.name, &seen.lock), (name, &lock));
        assert_eq!(seen.pid, Some(i32::try_from(holder.id()).unwrap()));
        drop(holder.stdin.take());
        holder.wait().unwrap();
        assert_eq!(busy(&layout), None);
    }

    #[test]
    fn pacman_and_zypper_leave_files() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let pid = put(&layout, "/run/zypp.pid", &format!("{}\n", std::process::id()));
        assert_eq!(busy(&layout).map(|b| b.name), Some("zypper"));
        fs::write(&pid, "0\n").unwrap();
        assert_eq!(busy(&layout), None);
        let lock = put(&layout, "/var/lib/pacman/db.lck", "");
        assert_eq!(busy(&layout).map(|b| (b.name, b.pid)), Some(("pacman", None)));
        assert!(lock_files(&layout).contains(&lock.parent().unwrap().to_owned()));
    }

    #[rstest]
    #[case("1: FLOCK  ADVISORY  WRITE 812 fe:00:77 0 EOF", Some(812))]
    #[case("1: FLOCK  ADVISORY  READ 812 fe:00:77 0 EOF", None)]
    #[case("1: POSIX  ADVISORY  WRITE 812 fe:00:77 0 EOF", None)]
    #[case("1: FLOCK  ADVISORY  WRITE 812 fe:00:770 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 9 fe:00:77 0 EOF", None)]
    fn proc_locks(#[case] text: &str, #[case] holder: Option<i32>) {
        assert_eq!(flock_holder(text, 77), holder);
    }

    #[rstest]
    #[case("install ok installed", Ok(true))]
    #[case("install ok unpacked", Ok(true))]
    #[case("install ok half-configured", Ok(true))]
    #[case("install reinstreq half-installed", Err(()))]
    #[case("install ok half-installed", Err(()))]
    fn dpkg_status(#[case] status: &str, #[case] wanted: Result<bool, ()>) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let text = format!(
            "Package: other\nStatus: install ok half-installed\n\nPackage: linux-headers-6\nStatus: {status}\n\n"
        );
        put(&layout, "/var/lib/dpkg/status", &text);
        assert_eq!(fully_unpacked(&layout, Path::new("/usr/src/linux-headers-6")).map_err(drop), wanted);
        assert_eq!(fully_unpacked(&layout, Path::new("/usr/src/unknown")), Ok(false));
    }

    #[test]
    fn dpkg_steps_under_way_win_over_the_database() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::under(root.path());
        let folder = Path::new("/usr/src/linux-headers-6");
        assert_eq!(fully_unpacked(&layout, folder), Ok(false));
        put(&layout, "/var/lib/dpkg/status", "Package: linux-headers-6\nStatus: install ok installed\n");
        put(
            &layout,
            "/var/lib/dpkg/updates/0001",
            "Package: linux-headers-6\nStatus: install reinstreq half-installed\n",
        );
        assert!(fully_unpacked(&layout, folder).unwrap_err().contains("linux-headers-6"));
        put(&layout, "/var/lib/dpkg/updates/0002", "Package: linux-headers-6\nStatus: install ok unpacked\n");
        put(
            &layout,
            "/var/lib/dpkg/updates/tmp.i",
            "Package: linux-headers-6\nStatus: install reinstreq half-installed\n",
        );
        assert_eq!(fully_unpacked(&layout, folder), Ok(true));
    }
}
