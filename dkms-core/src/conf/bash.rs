//! The fallback: bash itself reads one file, unprivileged and bounded (design.md, decision 9).
//!
//! [`SCRIPT`] is dkms-contract.md §3 in bash's own words: source the file inside a function, write every directive as
//! `NAME[i]="…"` with the value split, globbed and joined, and read that back as bash. The results come over a pipe
//! of their own, as fields that end in NUL.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::geteuid;

use super::{ConfFile, Entry, Scope};
use crate::build::sandbox::{self, Confined, DEFAULT_PATH, Running, Stream};
use crate::error::{Error, IoContext, Result};
use crate::host::users::User;
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
shopt -s extglob
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
__dkmsd_lines=$(exec 3>&-; __dkmsd_source)
# Not by eval: what is wrong in a value would end it all.
source <(printf '%s\n' "$__dkmsd_lines" "$__dkmsd_extra")
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
    let cwd = tempfile::Builder::new().prefix("dkmsd-conf-").tempdir().at("make", "a temporary folder")?;
    fs::set_permissions(cwd.path(), Permissions::from_mode(0o755)).at("change the mode of", cwd.path())?;
    let text = file.map_or_else(Vec::new, |f| f.text.clone());
    let mut bash = confined(layout, script, text, cwd.path());
    if let Some(folder) = path.parent().filter(|p| p.is_absolute()) {
        bash = bash.show(folder);
    }
    let running = bash.spawn_apart().map_err(|source| Error::Program {
        program: "bash".to_owned(),
        source,
        hint: "install bash: this dkms.conf needs it".to_owned(),
    })?;
    let ended = watch(running, timeout).map_err(fail)?;
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

/// A complaint of bash's about a file, as people read it.
pub(super) fn told(path: &Path, complaint: &str) -> String {
    match located(complaint) {
        (Some(line), why) => format!("{}:{line}: {why}", path.display()),
        (None, why) => format!("{}: {why}", path.display()),
    }
}

/// Whether bash reads no further.
pub(super) fn ends_reading(complaint: &str) -> bool {
    ["syntax error", "unexpected EOF"].iter().any(|words| complaint.contains(words))
}

/// The first line where bash finds no meaning, and what it says of it. Nothing of the file is run.
pub(super) fn syntax_error(layout: &Layout, file: &ConfFile, timeout: Duration) -> Result<Option<(usize, String)>> {
    let fail = |why: String| Error::Evaluation { path: file.path.clone(), why };
    let script = "exec /bin/bash -O extglob -n -s dkms.conf".to_owned();
    let running = confined(layout, script, file.text.clone(), Path::new("/"))
        .spawn_apart()
        .map_err(|source| Error::Program { program: "bash".to_owned(), source, hint: "install bash".to_owned() })?;
    let ended = watch(running, timeout).map_err(fail)?;
    let said = String::from_utf8_lossy(&ended.stderr);
    Ok(said.lines().map(located).find_map(|(line, why)| Some((line?, why.to_owned()))))
}

/// bash with a script and something to read, apart from the system.
fn confined(layout: &Layout, script: String, input: Vec<u8>, cwd: &Path) -> Confined {
    let user = geteuid().is_root().then(|| unprivileged(layout)).flatten();
    Confined::new(cwd, "/bin/bash", ["-c".to_owned(), script, "dkms".to_owned()])
        .user(user.as_ref())
        .input(input)
        .show(cwd)
        .without_env("HOME")
        .env("PATH", DEFAULT_PATH)
}

/// The user that reads other people's code: `dkms`, else `nobody`.
fn unprivileged(layout: &Layout) -> Option<User> {
    let passwd = fs::read_to_string(layout.host("/etc/passwd")).ok()?;
    let find = |name: &str| {
        let line = passwd.lines().find(|l| l.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some(User { name: name.to_owned(), uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    };
    let nobody = || User { name: "nobody".to_owned(), uid: 65534, gid: 65534 };
    find("dkms").or_else(|| find("nobody")).or_else(|| Some(nobody()))
}

#[derive(Default)]
struct Ended {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Reads what it says until it ends, says too much or takes too long; whatever it started ends with it.
fn watch(running: Running, timeout: Duration) -> Result<Ended, String> {
    let mut said = Ended::default();
    let ended = running.follow(
        Some(Instant::now() + timeout),
        |error| format!("bash cannot be watched: {error}"),
        |stream, bytes| {
            let into = if stream == Stream::Out { &mut said.stdout } else { &mut said.stderr };
            if into.len() + bytes.len() > MAX_OUTPUT {
                return Err(format!("it says more than {} MiB", MAX_OUTPUT >> 20));
            }
            into.extend_from_slice(bytes);
            Ok(())
        },
    )?;
    match ended {
        sandbox::Ended::Code(_) => Ok(said),
        sandbox::Ended::TimedOut => Err(format!("it took longer than {timeout:?}")),
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
