//! Whether this process runs in a chroot (design.md, decision 12): its `/` is another folder than PID 1's. A private
//! mount namespace differs in mountinfo and still has the same `/`, so nothing else is compared.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Error, IoContext, Result};

/// Whether `/` is another folder than PID 1's.
///
/// A system without /proc is taken for a chroot: no running system lacks it.
///
/// # Errors
/// When PID 1 may not be looked at (another user's, or hidden): it could not be told.
pub fn in_chroot() -> Result<bool> {
    differs(Path::new("/"), Path::new("/proc/1/root/"), Path::new("/proc/self"))
}

fn differs(ours: &Path, init: &Path, proof_of_proc: &Path) -> Result<bool> {
    let ours = fs::metadata(ours).at("look at", ours)?;
    match fs::metadata(init) {
        Ok(theirs) => Ok((ours.dev(), ours.ino()) != (theirs.dev(), theirs.ino())),
        Err(_) if !proof_of_proc.exists() => Ok(true),
        Err(source) => Err(Error::Io { action: "look at", path: init.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_root_no_proc_and_no_answer_are_three_things() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        assert!(!differs(Path::new("/"), Path::new("/usr/.."), dir.path()).unwrap());
        assert!(differs(dir.path(), Path::new("/"), dir.path()).unwrap());
        assert!(differs(dir.path(), &absent, &absent).unwrap());
        assert!(differs(dir.path(), &absent, dir.path()).is_err());
    }
}
