//! Which process started which, which still lives, and which has a lock, by /proc; and that this one is about to end.

use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};

/// What `/proc/<pid>/stat` says of a process.
pub(crate) struct Stat {
    /// As it calls itself.
    pub(crate) name: String,
    /// The process that started it, or took it over; 0 for none.
    pub(crate) parent: u32,
    /// When it started, in clock ticks since boot.
    pub(crate) started: u64,
    /// It has ended, and whoever started it has not asked how.
    pub(crate) ended: bool,
}

/// None when there is no such process, or no /proc.
pub(crate) fn stat(proc: &Path, pid: u32) -> Option<Stat> {
    let text = fs::read(proc.join(pid.to_string()).join("stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The name is in parentheses and may hold anything.
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split_whitespace();
    let ended = matches!(fields.next()?, "Z" | "X" | "x");
    let parent = fields.next()?.parse().ok()?;
    // Field 22 of proc(5); the parent was the fourth.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { name, parent, started, ended })
}

/// A process as no other one is called, ever: for what it leaves on disk while it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pid: u32,
    /// As of [`Stat`].
    started: u64,
    /// The boot that both of these are of.
    boot: String,
    /// The pid namespace in which it has this number.
    namespace: String,
}

impl Owner {
    /// This process; none where there is no /proc.
    #[must_use]
    pub fn this() -> Option<Self> {
        Self::of_process(std::process::id())
    }

    /// A process; none when it has ended, and where there is no /proc.
    #[must_use]
    pub fn of_process(pid: u32) -> Option<Self> {
        Self::of(Path::new("/proc"), pid)
    }

    pub(crate) fn of(proc: &Path, pid: u32) -> Option<Self> {
        let Stat { started, ended: false, .. } = stat(proc, pid)? else { return None };
        Some(Self { pid, started, boot: boot(proc)?, namespace: namespace(proc)? })
    }

    /// Whether it is alive. A process that cannot be seen from here (of another pid namespace, or without /proc) is not
    /// known to be.
    pub(crate) fn lives(&self) -> bool {
        self.lives_by(Path::new("/proc"))
    }

    fn lives_by(&self, proc: &Path) -> bool {
        Self::of(proc, self.pid).is_some_and(|now| now == *self)
    }
}

fn boot(proc: &Path) -> Option<String> {
    Some(fs::read_to_string(proc.join("sys/kernel/random/boot_id")).ok()?.trim().to_owned())
}

fn namespace(proc: &Path) -> Option<String> {
    Some(fs::read_link(proc.join("self/ns/pid")).ok()?.to_string_lossy().into_owned())
}

/// The processes that have a flock(2) lock on a file: proc_locks(5). None are found where that file cannot be read, or
/// numbers the file's device otherwise than stat(2), as some file systems do.
pub(crate) fn lockers(proc: &Path, file: &File) -> Vec<u32> {
    let Ok(found) = rustix::fs::fstat(file) else { return Vec::new() };
    let (major, minor) = (rustix::fs::major(found.st_dev), rustix::fs::minor(found.st_dev));
    let wanted = format!("{major:02x}:{minor:02x}:{}", found.st_ino);
    let list = fs::read_to_string(proc.join("locks")).unwrap_or_default();
    let locker = |line: &str| {
        // Who only waits has an arrow there.
        let mut words = line.split_whitespace().skip(1).skip_while(|word| *word != "FLOCK").skip(3);
        let (pid, place) = (words.next()?, words.next()?);
        (place == wanted).then(|| pid.parse().ok())?
    };
    list.lines().filter(|line| !line.contains("->")).filter_map(locker).collect()
}

/// The command line of a process, on one line.
pub(crate) fn command_line(proc: &Path, pid: u32) -> Option<String> {
    let words = fs::read(proc.join(format!("{pid}/cmdline"))).ok()?;
    let words = String::from_utf8_lossy(&words);
    Some(words.trim_end_matches('\0').replace('\0', " ").replace(char::is_control, " "))
}

/// Whether a process has started this one, or one that did.
pub(crate) fn is_ancestor(proc: &Path, pid: u32) -> bool {
    let parent = |pid: &u32| stat(proc, *pid).map(|stat| stat.parent).filter(|parent| *parent != 0);
    std::iter::successors(Some(std::process::id()), parent).skip(1).any(|ancestor| ancestor == pid)
}

/// This process is about to end: see [`crate::engine::stop`].
static STOPPING: AtomicBool = AtomicBool::new(false);

/// From here on, nothing more is started.
pub(crate) fn begin_to_stop() {
    STOPPING.store(true, Ordering::SeqCst);
}

/// Whether the process is about to end.
pub(crate) fn stopping() -> bool {
    STOPPING.load(Ordering::SeqCst)
}

/// Goes no further when the process is about to end: what was started here was cut short for that and says nothing about
/// a package, and its locks are to be held to the end.
pub(crate) fn go_no_further_when_stopping() {
    while stopping() {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_until_it_ends_and_its_number_says_little() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let owner = Owner::of(Path::new("/proc"), child.id()).unwrap();
        assert!(owner.lives());
        assert!(!Owner { started: owner.started + 1, ..owner.clone() }.lives());
        assert!(!Owner { boot: "an earlier one".into(), ..owner.clone() }.lives());
        assert!(!Owner { namespace: "pid:[1]".into(), ..owner.clone() }.lives());
        assert!(!owner.lives_by(Path::new("/nowhere")));
        child.kill().unwrap();
        // Nobody has asked yet how it ended.
        let options = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(rustix::process::Pid::from_child(&child)), options)
            .unwrap();
        assert!(!owner.lives());
        child.wait().unwrap();
        assert!(!owner.lives());
    }

    #[test]
    fn whoever_started_us_is_an_ancestor_and_we_are_not() {
        let proc = Path::new("/proc");
        assert!(is_ancestor(proc, std::os::unix::process::parent_id()));
        assert!(!is_ancestor(proc, std::process::id()));
        assert!(!is_ancestor(Path::new("/nowhere"), std::os::unix::process::parent_id()));
    }
}
