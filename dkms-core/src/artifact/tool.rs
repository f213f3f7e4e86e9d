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
    let why = match summary(&String::from_utf8_lossy(&output.stderr)) {
        said if said.is_empty() => output.status.to_string(),
        said => format!("{said} ({})", output.status),
    };
    Err(Error::Tool { program, file: file.to_owned(), why })
}

/// What a program complained about, in one line: its first word and its last. OpenSSL, for one, says where in its source it
/// is, then what it met, and the program says at the end at which of its steps.
fn summary(said: &str) -> String {
    let place = |line: &str| line.starts_with("At ") && line.ends_with(':');
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !place(line));
    let first = lines.next().unwrap_or_default().trim_start_matches("- ").to_owned();
    match lines.next_back() {
        Some(last) => format!("{first}; {last}"),
        None => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing("\n", "")]
    #[case::one("strip: a.ko: file format not recognized\n", "strip: a.ko: file format not recognized")]
    #[case::openssl(
        "At main.c:174:\n- SSL error:1E08010C:DECODER routines::unsupported: lib.c:103\n- SSL error: more\nsign-file: mok.key\n",
        "SSL error:1E08010C:DECODER routines::unsupported: lib.c:103; sign-file: mok.key"
    )]
    fn a_complaint_is_one_line(#[case] said: &str, #[case] wanted: &str) {
        assert_eq!(summary(said), wanted);
    }
}
