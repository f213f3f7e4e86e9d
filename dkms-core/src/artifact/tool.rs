//! Runs the small programs that work on one file, within bounds: the file may be a stranger's.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use wait_timeout::ChildExt as _;

use super::MOST_BYTES;
use crate::error::{Error, Result};

/// How long one may take. The largest modules take minutes to compress; whoever waits for a lock should not wait for ever.
const LIMIT: Duration = Duration::from_secs(20 * 60);
/// How long what it has written may take to be read once it has ended.
const TO_READ: Duration = Duration::from_secs(5);
/// How much of what it says about itself is kept.
const MOST_SAID: u64 = 64 * 1024;

/// Runs `command` on `file` to its end. `package` is what to install when the program is missing.
pub(crate) fn run(command: Command, file: &Path, package: &str) -> Result<Output> {
    run_within(command, file, package, (LIMIT, MOST_BYTES))
}

fn run_within(mut command: Command, file: &Path, package: &str, limits: (Duration, u64)) -> Result<Output> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_else(|| OsStr::new("?"));
    let program = program.to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("LC_ALL", "C");
    let tool = |why: String| Error::Tool { program: program.clone(), file: file.to_owned(), why };
    crate::sys::end_with_us(&mut command);
    let mut child = command.spawn().map_err(|source| Error::Program {
        program: program.clone(),
        source,
        hint: format!("install the package {package}"),
    })?;
    let output = wait(&mut child, limits).map_err(|error| tool(error.to_string()))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(tool(match summary(&String::from_utf8_lossy(&output.stderr)) {
        said if said.is_empty() => output.status.to_string(),
        said => format!("{said} ({})", output.status),
    }))
}

fn wait(child: &mut Child, (limit, most): (Duration, u64)) -> io::Result<Output> {
    let output = read(child.stdout.take(), most + 1);
    let said = read(child.stderr.take(), MOST_SAID);
    let status = match child.wait_timeout(limit) {
        Ok(Some(status)) => Ok(status),
        Ok(None) => Err(io::Error::other(format!("it had not ended after {} minutes", limit.as_secs() / 60))),
        Err(error) => Err(error),
    };
    if status.is_err() {
        // Gone already is what we want.
        let _ = child.kill();
        let _ = child.wait();
    }
    let status = status?;
    // What it has left behind may hold its output open.
    let whole = |bytes: &Receiver<Vec<u8>>| {
        bytes.recv_timeout(TO_READ).map_err(|_| io::Error::other("something that it started goes on with its output"))
    };
    let (stdout, stderr) = (whole(&output)?, whole(&said).unwrap_or_default());
    if stdout.len() as u64 > most {
        return Err(io::Error::other(format!("it makes more than {} MiB of it", most / 1024 / 1024)));
    }
    Ok(Output { status, stdout, stderr })
}

/// Reads what there is, up to a number of bytes, in a thread of its own; then the pipe is closed.
fn read(from: Option<impl Read + Send + 'static>, most: u64) -> Receiver<Vec<u8>> {
    let (to, bytes) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // What was read before an error counts.
            let _ = from.take(most).read_to_end(&mut bytes);
        }
        // Nobody may want it any more.
        let _ = to.send(bytes);
    });
    bytes
}

/// What a program complained about, in one line: its first word and its last. OpenSSL, for one, says where in its source it
/// is, then what it met, and the program says at the end at which of its steps.
fn summary(said: &str) -> String {
    let place = |line: &str| line.starts_with("At ") && line.ends_with(':');
    // openssl draws lines of dots and signs while it looks for primes.
    let word = |line: &&str| line.contains(char::is_alphanumeric);
    let mut lines = said.lines().map(str::trim).filter(word).filter(|line| !place(line));
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
    #[case::drawn("....+++*\n-----\n", "")]
    #[case::one("strip: a.ko: file format not recognized\n", "strip: a.ko: file format not recognized")]
    #[case::openssl(
        "At main.c:174:\n- SSL error:1E08010C:DECODER routines::unsupported: lib.c:103\n- SSL error: more\nsign-file: mok.key\n",
        "SSL error:1E08010C:DECODER routines::unsupported: lib.c:103; sign-file: mok.key"
    )]
    fn a_complaint_is_one_line(#[case] said: &str, #[case] wanted: &str) {
        assert_eq!(summary(said), wanted);
    }

    #[rstest]
    #[case::fine("echo one; echo two >&2", Ok("one\n"))]
    #[case::fails("echo; echo no >&2; exit 3", Err("no (exit status: 3)"))]
    #[case::too_much("head -c 2000000 /dev/zero", Err("more than 1 MiB"))]
    #[case::too_long("exec sleep 777", Err("had not ended"))]
    #[case::leaves_something("sleep 30 &", Err("goes on with its output"))]
    fn a_program_is_kept_within_bounds(#[case] script: &str, #[case] wanted: std::result::Result<&str, &str>) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let limits = (Duration::from_secs(2), 1024 * 1024);
        match (run_within(command, Path::new("/file"), "dash", limits), wanted) {
            (Ok(output), Ok(said)) => assert_eq!(output.stdout, said.as_bytes()),
            (Err(error), Err(why)) => assert!(error.to_string().contains(why), "{error}"),
            (other, _) => panic!("{other:?}"),
        }
    }
}
