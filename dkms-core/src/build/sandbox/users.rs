//! A user namespace of its own for what runs as the build user, in which every user and group has the number that it has
//! outside. What the system counts a user, it counts there apart (`RLIMIT_NPROC`, since Linux 5.14): a build that starts
//! processes without end takes none from another build of the same user. Also, its first process is root over nothing
//! that is outside.
//!
//! Whoever enters such a namespace is nobody in it until a process outside has said who is who.

use std::fs::File;
use std::io::{self, BufRead, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::OpenTreeFlags;
use rustix::thread::UnshareFlags;

/// What is said once by each side: that it is inside, and that the numbers are known.
const WORD: &[u8] = b"u";

/// /proc as it is now, held so that it stays writable when all that can be seen becomes read-only, and ours when the
/// process that enters covers it.
pub(super) fn hold_proc() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    rustix::mount::open_tree(CWD, "/proc", flags).map_err(Into::into)
}

/// Enters the namespace, and waits at `line` until the process at its other end has done [`let_in`].
pub(super) fn enter(line: &mut impl BufRead) -> io::Result<()> {
    crate::sys::unshare(UnshareFlags::NEWUSER)?;
    rustix::io::write(io::stdin(), WORD)?;
    let mut word = [0; WORD.len()];
    line.read_exact(&mut word)
}

/// Says who is who, to the process `pid` that enters.
pub(super) fn let_in(pid: u32, proc: &OwnedFd, line: &mut UnixStream) -> io::Result<()> {
    let mut word = [0; WORD.len()];
    if line.read(&mut word)? == 0 {
        // It ended before, and has said why.
        return Ok(());
    }
    let open = |path: String, flags| rustix::fs::openat(proc, path, flags | OFlags::CLOEXEC, Mode::empty());
    for map in ["uid_map", "gid_map"] {
        let here = io::read_to_string(File::from(open(format!("self/{map}"), OFlags::RDONLY)?))?;
        // In one piece: user_namespaces(7).
        rustix::io::write(open(format!("{pid}/{map}"), OFlags::WRONLY)?, identity(&here).as_bytes())?;
    }
    line.write_all(WORD)
}

/// The map that leaves each number that there is here what it is: lines of first number inside, outside, and how many.
fn identity(here: &str) -> String {
    let same = |line: &str| {
        let mut numbers = line.split_whitespace();
        let (first, count) = (numbers.next()?, numbers.nth(1)?);
        Some(format!("{first} {first} {count}\n"))
    };
    here.lines().filter_map(same).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case::of_the_machine("         0          0 4294967295\n", "0 0 4294967295\n")]
    #[case::of_a_container("0 100000 65536\n70000 1000 1\n", "0 0 65536\n70000 70000 1\n")]
    #[case::none("", "")]
    fn numbers_stay_what_they_are(#[case] here: &str, #[case] wanted: &str) {
        assert_eq!(identity(here), wanted);
    }
}
