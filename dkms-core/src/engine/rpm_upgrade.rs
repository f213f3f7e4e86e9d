//! `--rpm_safe_upgrade` (dkms-contract.md §2): an rpm upgrade that keeps name and version runs the new package's `dkms add`
//! first and the old one's `dkms remove` last, which would take away what was just added. So an add leaves a mark, and a
//! remove by the same rpm transaction is stopped by it, once.
//!
//! The mark lies in a folder of the tree that is root's alone: nobody else can make one. The transaction is known by the
//! process that runs it: the nearest ancestor that is no shell (both scriptlets are run by one and the same rpm, dnf …),
//! with the time it started and the boot it belongs to, so that a number that is used again is another process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Engine;
use crate::error::{IoContext as _, Result};
use crate::host::process::{Stat, stat};
use crate::model::PackageId;
use crate::tree::{files, record};

/// Programs that scriptlets are run by.
const SHELLS: [&str; 9] = ["ash", "bash", "busybox", "dash", "env", "ksh", "mksh", "sh", "zsh"];
/// Programs that are everybody's ancestor.
const INITS: [&str; 2] = ["init", "systemd"];

/// One process, for all time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Process {
    pid: u32,
    /// In clock ticks since boot.
    started: u64,
    boot: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    package: PackageId,
    transaction: Process,
}

impl Engine {
    /// Leaves the mark, at the beginning of `add --rpm_safe_upgrade` (also when the package turns out to be in the tree
    /// already). Without /proc there is nothing to know a transaction by, and no mark.
    ///
    /// # Errors
    /// When it cannot be written, or its folder is not ours alone.
    pub fn mark_rpm_upgrade(&self, package: &PackageId) -> Result<()> {
        match transaction(Path::new("/proc")) {
            Some(transaction) => self.leave_mark(package, transaction),
            None => Ok(()),
        }
    }

    /// Whether `remove --rpm_safe_upgrade` is to be left undone, with exit code 0: the same transaction has just added the
    /// package. The mark is used up by that.
    ///
    /// # Errors
    /// When the mark cannot be read or removed. A mark in a folder that is not ours alone stops nothing.
    pub fn stopped_by_rpm_upgrade(&self, package: &PackageId) -> Result<bool> {
        self.use_mark(package, transaction(Path::new("/proc")).as_ref())
    }

    fn leave_mark(&self, package: &PackageId, transaction: Process) -> Result<()> {
        let folder = self.layout.rpm_upgrades();
        files::make_folders(&self.layout.dkms_tree())?;
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made.at("make", &folder)?,
        }
        ours_alone(&folder)?;
        let path = mark_path(&folder, package);
        let bytes = record::bytes(&Mark { package: package.clone(), transaction }, &path)?;
        files::remove(&path)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).at("make", &path)?;
        file.write_all(&bytes).at("write", &path)
    }

    fn use_mark(&self, package: &PackageId, transaction: Option<&Process>) -> Result<bool> {
        let folder = self.layout.rpm_upgrades();
        if files::look(&folder)?.is_none() {
            return Ok(false);
        }
        if let Err(error) = ours_alone(&folder) {
            tracing::warn!("{error}");
            return Ok(false);
        }
        let path = mark_path(&folder, package);
        let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let mut text = Vec::new();
        match File::options().read(true).custom_flags(no_link).open(&path) {
            Err(error) if files::absent(&error) => return Ok(false),
            opened => opened.and_then(|mut file| file.read_to_end(&mut text)).at("read", &path)?,
        };
        let mark = serde_json::from_slice::<Mark>(&text).ok();
        // Whatever it says, it is not worth more than one look: another transaction's is over, or will add again.
        files::remove(&path)?;
        Ok(mark.is_some_and(|mark| mark.package == *package && Some(&mark.transaction) == transaction))
    }
}

fn mark_path(folder: &Path, package: &PackageId) -> PathBuf {
    folder.join(format!("{}@{}", package.name, package.version))
}

/// A folder that others could have made, or can write to, proves nothing.
fn ours_alone(folder: &Path) -> Result<()> {
    let found = fs::symlink_metadata(folder).at("look at", folder)?;
    let private = found.permissions().mode() & 0o077 == 0;
    if found.is_dir() && private && found.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let why = "it is not a folder of ours alone: remove it, and look for who made it";
    Err(io::Error::other(why)).at("trust", folder)
}

/// The process that runs the package manager's transaction which runs us.
fn transaction(proc: &Path) -> Option<Process> {
    let boot = fs::read_to_string(proc.join("sys/kernel/random/boot_id")).ok()?.trim().to_owned();
    let found = |pid: u32, stat: &Stat| Process { pid, started: stat.started, boot: boot.clone() };
    let mut pid = stat(proc, std::process::id())?.parent;
    let mut shells = Vec::new();
    while pid != 0 {
        let stat = stat(proc, pid)?;
        let program = program(proc, pid).unwrap_or_else(|| stat.name.clone());
        let init = pid == 1 && INITS.contains(&program.as_str());
        if !init && !SHELLS.contains(&program.as_str()) {
            return Some(found(pid, &stat));
        }
        if !init {
            shells.push(found(pid, &stat));
        }
        pid = stat.parent;
    }
    // Shells all the way: the one that ran the one that runs us.
    let last = shells.len().checked_sub(1)?;
    Some(shells.swap_remove(last.min(1)))
}

/// The program that a process runs, without what package managers and the kernel add to the name of one that was replaced.
fn program(proc: &Path, pid: u32) -> Option<String> {
    let exe = fs::read_link(proc.join(pid.to_string()).join("exe")).ok()?;
    let name = exe.file_name()?.to_string_lossy().into_owned();
    let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
    Some(name.split(';').next().unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    /// A /proc with one process a pid, each with its program; each's parent is the one before, the first's is nobody.
    fn proc(ancestors: &[(u32, &str)]) -> tempfile::TempDir {
        let proc = tempfile::tempdir().unwrap();
        fs::create_dir_all(proc.path().join("sys/kernel/random")).unwrap();
        fs::write(proc.path().join("sys/kernel/random/boot_id"), "b\n").unwrap();
        let mut parent = 0;
        let us = (std::process::id(), "/usr/sbin/dkms");
        for (pid, program) in ancestors.iter().chain([&us]) {
            let folder = proc.path().join(pid.to_string());
            fs::create_dir(&folder).unwrap();
            let middle = "0 ".repeat(17);
            fs::write(folder.join("stat"), format!("{pid} (a) b) S {parent} {middle}{pid} 9 9")).unwrap();
            std::os::unix::fs::symlink(program, folder.join("exe")).unwrap();
            parent = *pid;
        }
        proc
    }

    #[rstest]
    #[case::rpm(&[(1, "/usr/lib/systemd/systemd"), (5, "/bin/bash"), (7, "/usr/bin/rpm"), (8, "/bin/sh")], 7)]
    #[case::scripts_between(&[(7, "/usr/bin/python3.12"), (8, "/usr/bin/bash"), (9, "/usr/bin/dash")], 7)]
    #[case::shell_replaced(&[(7, "/usr/bin/rpm"), (8, "/usr/bin/bash;6b1f (deleted)"), (9, "/usr/bin/bash (deleted)")], 7)]
    #[case::no_shell_between(&[(1, "/usr/bin/bash"), (7, "/usr/bin/rpm")], 7)]
    #[case::rpm_is_all_there_is(&[(1, "/usr/bin/rpm"), (8, "/bin/sh")], 1)]
    #[case::shells_alone(&[(1, "/sbin/init"), (6, "/bin/sh"), (7, "/bin/sh"), (8, "/bin/sh")], 7)]
    #[case::one_shell(&[(1, "/bin/sh")], 1)]
    fn a_transaction_is_the_nearest_ancestor_that_is_no_shell(#[case] ancestors: &[(u32, &str)], #[case] wanted: u32) {
        let found = transaction(proc(ancestors).path()).unwrap();
        assert_eq!(found, Process { pid: wanted, started: wanted.into(), boot: "b".into() });
    }

    #[test]
    fn without_proc_there_is_none() {
        assert_eq!(transaction(Path::new("/nowhere")), None);
    }
}
