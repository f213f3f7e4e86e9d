//! The fallback: bash itself reads one file, unprivileged and bounded (design.md, decision 9).
//!
//! [`SCRIPT`] is dkms-contract.md §3 in bash's own words: source the file inside a function, write every directive as
//! `NAME[i]="…"` with the value split, globbed and joined, and read that back as bash. The results come over a pipe
//! of their own, as fields that end in NUL.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, geteuid, kill_process_group, pidfd_open};

use super::{ConfFile, Entry, Scope};
use crate::error::{Error, IoContext, Result};
use crate::layout::Layout;

/// How long a file may take.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// How much it may say: values, and complaints.
const MAX_OUTPUT: usize = 4 << 20;

/// What bash runs, after assignments that make the caller's scope. `__dkmsd_path` is empty when the text comes on
/// stdin, which a file can always be, whoever may read it.
const SCRIPT: &str = r#"
ulimit -c 0 -t 10 -f 65536 -v 1048576 -n 256 -u 1024 2>/dev/null
exec 3>&1 >/dev/null
__dkmsd_text=
if [[ -z $__dkmsd_path ]]; then IFS= read -r -d '' __dkmsd_text; fi
exec </dev/null
__dkmsd_source() {
  if [[ -n $__dkmsd_path ]]; then builtin source "$__dkmsd_path" >/dev/null
  elif [[ -n $__dkmsd_text ]]; then builtin source <(builtin printf %s "$__dkmsd_text") >/dev/null
  fi
  for __dkmsd_n in "${__dkmsd_names[@]}"; do
    builtin eval "__dkmsd_k=(\"\${!$__dkmsd_n[@]}\")"
    for __dkmsd_i in "${__dkmsd_k[@]}"; do
      builtin eval "__dkmsd_v=\${$__dkmsd_n[\$__dkmsd_i]}"
      __dkmsd_v=${__dkmsd_v%$'\r'}
      builtin echo "$__dkmsd_n[$__dkmsd_i]="\"${__dkmsd_v}\"
    done
  done
  [[ -z $(builtin jobs -p) ]] || builtin echo "dkms.conf: it leaves processes behind, which end with it" >&2
}
__dkmsd_lines=$(exec 3>&-; shopt -s extglob; __dkmsd_source)
eval "$__dkmsd_lines
$__dkmsd_extra"
for __dkmsd_n in "${__dkmsd_names[@]}"; do
  eval "__dkmsd_k=(\"\${!$__dkmsd_n[@]}\")"
  for __dkmsd_i in "${__dkmsd_k[@]}"; do
    eval "__dkmsd_v=\${$__dkmsd_n[\$__dkmsd_i]}"
    builtin printf '%s\0' "$__dkmsd_n" "$__dkmsd_i" "$__dkmsd_v" >&3
  done
done
builtin printf 'end\0' >&3
"#;

/// One round of reading: a file, then lines of the second expansion that follow it.
pub(super) fn read(
    layout: &Layout,
    scope: &Scope,
    file: Option<&ConfFile>,
    extra: &str,
    timeout: Duration,
) -> Result<Said> {
    let path = file.map_or_else(|| Path::new("dkms.conf"), |f| &f.path);
    let fail = |why: String| Error::Evaluation { path: path.to_owned(), why };
    let script = preamble(scope, file, extra) + SCRIPT;
    if script.len() > 120_000 {
        return Err(fail("the values it would start from are longer than 100 KiB".to_owned()));
    }
    // An unlinked file, not a pipe: bash reads it at once, and nobody has to feed it meanwhile.
    let mut stdin = tempfile::tempfile().at("make", "a temporary file")?;
    stdin.write_all(file.map_or(&[][..], |f| &f.text)).at("write", "a temporary file")?;
    stdin.rewind().at("rewind", "a temporary file")?;
    let cwd = tempfile::Builder::new().prefix("dkmsd-conf-").tempdir().at("make", "a temporary folder")?;
    fs::set_permissions(cwd.path(), Permissions::from_mode(0o755)).at("change the mode of", cwd.path())?;

    let child = start(layout, &script, stdin, cwd.path()).map_err(|source| Error::Program {
        program: "bash".to_owned(),
        source,
        hint: "install bash: this dkms.conf needs it".to_owned(),
    })?;
    let ended = watch(child, timeout).map_err(fail)?;
    let said = String::from_utf8_lossy(&ended.stderr);
    let complaints: Vec<String> = said.lines().filter(|l| !l.trim().is_empty()).take(20).map(str::to_owned).collect();
    match parse(&ended.stdout) {
        Some(entries) => Ok(Said { entries, complaints }),
        None => {
            let last = complaints.last().map_or("it said nothing", String::as_str);
            Err(fail(format!("bash ended before the end of the file: {last}")))
        }
    }
}

/// What came of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) entries: Vec<Entry>,
    /// What was said on standard error: what a file tried and was not let, too.
    pub(super) complaints: Vec<String>,
}

/// The line of the file that a complaint of bash's is about, and what it says.
pub(super) fn located(complaint: &str) -> (Option<usize>, &str) {
    let found = complaint.split_once("line ").and_then(|(_, rest)| {
        let (number, why) = rest.split_once(": ")?;
        Some((number.parse().ok()?, why))
    });
    found.map_or((None, complaint), |(line, why)| (Some(line), why))
}

/// The first line where bash finds no meaning, and what it says of it. Nothing of the file is run.
pub(super) fn syntax_error(layout: &Layout, file: &ConfFile, timeout: Duration) -> Result<Option<(usize, String)>> {
    let fail = |why: String| Error::Evaluation { path: file.path.clone(), why };
    let mut stdin = tempfile::tempfile().at("make", "a temporary file")?;
    stdin.write_all(&file.text).at("write", "a temporary file")?;
    stdin.rewind().at("rewind", "a temporary file")?;
    let child = start(layout, "exec /bin/bash -O extglob -n -s dkms.conf", stdin, Path::new("/"))
        .map_err(|source| Error::Program { program: "bash".to_owned(), source, hint: "install bash".to_owned() })?;
    let ended = watch(child, timeout).map_err(fail)?;
    let said = String::from_utf8_lossy(&ended.stderr);
    Ok(said.lines().map(located).find_map(|(line, why)| Some((line?, why.to_owned()))))
}

/// Starts bash on a script. The only place in this folder that makes a process.
fn start(layout: &Layout, script: &str, stdin: File, cwd: &Path) -> io::Result<Child> {
    let mut command = Command::new("/bin/bash");
    command
        .args(["-c", script, "dkms"])
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .current_dir(cwd)
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if geteuid().is_root()
        && let Some((uid, gid)) = unprivileged(layout)
    {
        command.gid(gid).uid(uid);
    }
    command.spawn()
}

/// The user that reads other people's code: `dkms`, else `nobody`.
fn unprivileged(layout: &Layout) -> Option<(u32, u32)> {
    let passwd = fs::read_to_string(layout.host("/etc/passwd")).ok()?;
    let ids = |user: &str| {
        let line = passwd.lines().find(|l| l.split(':').next() == Some(user))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("dkms").or_else(|| ids("nobody")).or(Some((65534, 65534)))
}

struct Ended {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Reads what it says until it ends, says too much or takes too long; then ends whatever is left of its group.
fn watch(mut child: Child, timeout: Duration) -> Result<Ended, String> {
    let result = read_all(&mut child, timeout);
    if let Ok(pid) = i32::try_from(child.id())
        && let Some(group) = Pid::from_raw(pid)
    {
        // Already gone is what we want.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let waited = child.wait();
    let ended = result?;
    waited.map_err(|e| format!("bash cannot be waited for: {e}"))?;
    Ok(ended)
}

fn read_all(child: &mut Child, timeout: Duration) -> Result<Ended, String> {
    let system = |e: &dyn std::fmt::Display| format!("bash cannot be watched: {e}");
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(system(&"it has no output"));
    };
    for fd in [rustix::fd::AsFd::as_fd(&stdout), rustix::fd::AsFd::as_fd(&stderr)] {
        rustix::io::ioctl_fionbio(fd, true).map_err(|e| system(&e))?;
    }
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| system(&"it has no id"))?;
    let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| system(&e))?;
    let deadline = Instant::now() + timeout;
    let mut result = Ended { stdout: Vec::new(), stderr: Vec::new() };
    let (mut out_open, mut err_open) = (true, true);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("it took longer than {timeout:?}"));
        }
        let mut fds = vec![PollFd::new(&ended, PollFlags::IN)];
        if out_open {
            fds.push(PollFd::new(&stdout, PollFlags::IN));
        }
        if err_open {
            fds.push(PollFd::new(&stderr, PollFlags::IN));
        }
        let wait = Timespec::try_from(left).map_err(|e| system(&e))?;
        match poll(&mut fds, Some(&wait)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(system(&e)),
        }
        let over = !fds[0].revents().is_empty();
        out_open = out_open && drain(&mut stdout, &mut result.stdout)?;
        err_open = err_open && drain(&mut stderr, &mut result.stderr)?;
        if over {
            return Ok(result);
        }
    }
}

/// Takes what is there now; false at the end of the stream.
fn drain(from: &mut impl Read, into: &mut Vec<u8>) -> Result<bool, String> {
    let mut chunk = [0; 16 << 10];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(n) if into.len() + n > MAX_OUTPUT => return Err(format!("it says more than {} MiB", MAX_OUTPUT >> 20)),
            Ok(n) => into.extend_from_slice(&chunk[..n]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(format!("its output cannot be read: {e}")),
        }
    }
}

/// The caller's scope, as assignments.
fn preamble(scope: &Scope, file: Option<&ConfFile>, extra: &str) -> String {
    let mut out = format!("__dkmsd_names=({})\n", scope.names.join(" "));
    let mut set = |name: &str, value: &str| {
        out.push_str(name);
        out.push('=');
        out.push_str(&quoted(value));
        out.push('\n');
    };
    for (name, value) in &scope.vars {
        set(name, value);
    }
    for (name, index, value) in &scope.entries {
        set(&format!("{name}[{index}]"), value);
    }
    set("__dkmsd_extra", extra);
    // Its own place is needed only by a file that looks beside itself.
    let in_place = file.filter(|f| contains(&f.text, b"BASH_SOURCE")).map(|f| f.path.to_string_lossy());
    set("__dkmsd_path", in_place.as_deref().unwrap_or_default());
    out
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|w| w == word)
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Reads name, index, value … end; none when the end is missing.
fn parse(output: &[u8]) -> Option<Vec<Entry>> {
    let mut fields = output.strip_suffix(b"end\0")?.split(|&b| b == 0).map(|f| String::from_utf8_lossy(f).into_owned());
    let mut entries = Vec::new();
    while let (Some(name), Some(index), Some(value)) = (fields.next(), fields.next(), fields.next()) {
        entries.push((name, index, value));
    }
    Some(entries)
}
