//! Whether a program of the headers runs on this machine. It is started, as only that tells: another machine's may run
//! through an emulator, and one for this machine may lack its interpreter or a library.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use object::Endianness;
use object::elf::{self, FileHeader32, FileHeader64, Machine};
use object::read::elf::{FileHeader, ProgramHeader};
use rustix::fs::{Access, access};

/// The user that owns nothing, on every distribution.
const NOBODY: u32 = 65534;

/// What running a program without arguments showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It runs.
    Runs,
    /// It does not: the sentence goes on after the program's name.
    Fails(String),
    /// Somebody has it open for writing.
    BeingWritten,
}

/// Runs a program that, given no arguments, says how it is used and ends.
pub(super) fn try_out(program: &Path) -> Verdict {
    if access(program, Access::EXEC_OK).is_err() {
        return Verdict::Fails("may not be executed (its mode, or a file system mounted noexec)".to_owned());
    }
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env_clear().current_dir("/");
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    match command.output() {
        Ok(output) => match complaint(program, output.status, &String::from_utf8_lossy(&output.stderr)) {
            None => Verdict::Runs,
            Some(why) => Verdict::Fails(explain(program).unwrap_or_else(|| format!("does not run here: {why}"))),
        },
        Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy => Verdict::BeingWritten,
        // The tree lies where nobody may look, which says nothing about the program.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => judge_unrun(program),
        Err(e) => Verdict::Fails(explain(program).unwrap_or_else(|| format!("does not run here: {e}"))),
    }
}

/// What shows that a program was started and is not the one that ran to its end. Dynamic linkers and shells (execvp(3)
/// hands them what the kernel refuses) name the file before what they miss; a kernel's tools begin with their usage.
fn complaint(program: &Path, status: ExitStatus, stderr: &str) -> Option<String> {
    let named = format!("{}:", program.display());
    if let Some(line) = stderr.lines().find(|line| line.starts_with(&named)) {
        return Some(line.trim_start_matches(&named).trim().to_owned());
    }
    match (status.code(), status.signal()) {
        (Some(126 | 127), _) => Some(stderr.lines().next().unwrap_or("it cannot be executed").to_owned()),
        (_, Some(signal)) => Some(format!("it was killed by signal {signal}")),
        _ => None,
    }
}

fn judge_unrun(program: &Path) -> Verdict {
    explain(program).map_or(Verdict::Runs, Verdict::Fails)
}

/// What in an ELF file keeps it from running here: another machine, or an interpreter that is not there.
fn explain(program: &Path) -> Option<String> {
    let (machine, interpreter) = facts(program)?;
    let ours = facts(Path::new("/proc/self/exe")).map(|(machine, _)| machine);
    if ours.is_some_and(|ours| !runs_on(machine, ours)) {
        let uname = rustix::system::uname();
        let here = uname.machine().to_string_lossy();
        return Some(format!("is built for {}, and this machine is {here}", name(machine)));
    }
    let interpreter = interpreter.filter(|path| !path.exists())?;
    Some(format!("needs {}, which is not installed", interpreter.display()))
}

/// An ELF file's machine and interpreter, which lie at its start.
fn facts(path: &Path) -> Option<(Machine, Option<PathBuf>)> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(4096).read_to_end(&mut start).ok()?;
    elf_facts::<FileHeader64<Endianness>>(&start).or_else(|| elf_facts::<FileHeader32<Endianness>>(&start))
}

/// Whether a machine runs programs of another one's kind.
fn runs_on(program: Machine, machine: Machine) -> bool {
    program == machine || (program == elf::EM_386 && machine == elf::EM_X86_64)
}

fn elf_facts<H: FileHeader<Endian = Endianness>>(data: &[u8]) -> Option<(Machine, Option<PathBuf>)> {
    let header = H::parse(data).ok()?;
    let endian = header.endian().ok()?;
    let interpreter = header.program_headers(endian, data).ok().and_then(|segments| {
        let segment = segments.iter().find_map(|s| s.interpreter(endian, data).ok().flatten())?;
        Some(PathBuf::from(String::from_utf8_lossy(segment).into_owned()))
    });
    Some((header.e_machine(endian), interpreter))
}

/// The machine as `uname -m` calls it.
fn name(machine: Machine) -> String {
    match machine {
        elf::EM_X86_64 => "x86_64".to_owned(),
        elf::EM_386 => "i686".to_owned(),
        elf::EM_AARCH64 => "aarch64".to_owned(),
        elf::EM_ARM => "arm".to_owned(),
        elf::EM_PPC64 => "ppc64".to_owned(),
        elf::EM_RISCV => "riscv".to_owned(),
        elf::EM_S390 => "s390x".to_owned(),
        other => format!("ELF machine {}", other.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[rstest]
    #[case(256, "Usage: fixdep <depfile> <target> <cmdline>\n", None)]
    #[case(0, "", None)]
    #[case(127 << 8, "/x: error while loading shared libraries: libfoo.so.1\n", Some("error while loading shared libraries: libfoo.so.1"))]
    #[case(
        256,
        "/x: /lib/libc.so.6: version `GLIBC_2.38' not found\n",
        Some("/lib/libc.so.6: version `GLIBC_2.38' not found")
    )]
    #[case(256, "/x: 1: Syntax error: \")\" unexpected\n", Some("1: Syntax error: \")\" unexpected"))]
    #[case(127 << 8, "", Some("it cannot be executed"))]
    #[case(4, "", Some("it was killed by signal 4"))]
    fn ends(#[case] raw: i32, #[case] stderr: &str, #[case] wanted: Option<&str>) {
        assert_eq!(complaint(Path::new("/x"), ExitStatus::from_raw(raw), stderr).as_deref(), wanted);
    }

    /// Another process writes the file, as a test that forks while this one has it open would keep it from running.
    fn write(path: &Path, text: &str, mode: &str) {
        let script = "printf %s \"$2\" >\"$1\"; chmod \"$3\" \"$1\"";
        let status = Command::new("sh").args(["-c", script, "sh"]).arg(path).args([text, mode]).status();
        assert!(status.unwrap().success());
    }

    #[test]
    fn scripts_run_and_what_may_not_be_executed_does_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let tool = dir.path().join("fixdep");
        write(&tool, "#!/bin/sh\nexit 1\n", "644");
        assert!(matches!(try_out(&tool), Verdict::Fails(why) if why.contains("executed")));
        write(&tool, "#!/bin/sh\nexit 1\n", "755");
        assert_eq!(try_out(&tool), Verdict::Runs);
        write(&tool, "#!/nowhere/sh\n", "755");
        assert!(matches!(try_out(&tool), Verdict::Fails(_)));
        let writing = fs::OpenOptions::new().append(true).open(&tool).unwrap();
        assert_eq!(try_out(&tool), Verdict::BeingWritten);
        drop(writing);
    }
}
