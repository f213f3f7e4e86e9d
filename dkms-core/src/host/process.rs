//! Which process started which, by /proc.

use std::fs;
use std::path::Path;

/// What `/proc/<pid>/stat` says of a process.
pub(crate) struct Stat {
    /// As it calls itself.
    pub(crate) name: String,
    /// The process that started it, or took it over; 0 for none.
    pub(crate) parent: u32,
    /// When it started, in clock ticks since boot.
    pub(crate) started: u64,
}

/// None when there is no such process, or no /proc.
pub(crate) fn stat(proc: &Path, pid: u32) -> Option<Stat> {
    let text = fs::read(proc.join(pid.to_string()).join("stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The name is in parentheses and may hold anything.
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    // Field 22 of proc(5); the parent was the fourth.
    let started = fields.nth(17)?.parse().ok()?;
    Some(Stat { name, parent, started })
}

/// Whether a process has started this one, or one that did.
pub(crate) fn is_ancestor(proc: &Path, pid: u32) -> bool {
    let parent = |pid: &u32| stat(proc, *pid).map(|stat| stat.parent).filter(|parent| *parent != 0);
    std::iter::successors(Some(std::process::id()), parent).skip(1).any(|ancestor| ancestor == pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_started_us_is_an_ancestor_and_we_are_not() {
        let proc = Path::new("/proc");
        assert!(is_ancestor(proc, std::os::unix::process::parent_id()));
        assert!(!is_ancestor(proc, std::process::id()));
        assert!(!is_ancestor(Path::new("/nowhere"), std::os::unix::process::parent_id()));
    }
}
