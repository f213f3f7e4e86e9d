//! Runs the small programs that work on one file.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::error::{Error, Result};

/// Runs `command` on `file` to its end. `package` is what to install when the program is missing.
pub(crate) fn run(mut command: Command, file: &Path, package: &str) -> Result<Output> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_else(|| OsStr::new("?"));
    let program = program.to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).env("LC_ALL", "C").output().map_err(|source| Error::Program {
        program: program.clone(),
        source,
        hint: format!("install the package {package}"),
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    // openssl draws lines of dots and signs while it looks for primes.
    let why = said.lines().map(str::trim).find(|line| line.contains(char::is_alphanumeric));
    let why = why.map_or_else(|| output.status.to_string(), |line| format!("{line} ({})", output.status));
    Err(Error::Tool { program, file: file.to_owned(), why })
}
