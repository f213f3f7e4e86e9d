//! From a build log, the line that a person needs, with the lines around it.
//!
//! Of a log, only the command that failed counts. In it, what stopped the whole machine (a full disk, no memory, the time
//! limit) says more than what it led to; then comes the first cause that the compiler, modpost, the linker, patch, make or
//! a shell names before make gives up on a target; then make's own word; then whatever was said last.

use std::path::Path;
use std::sync::LazyLock;

use regex::RegexSet;

use super::sandbox::LEFT;

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No space is left, or no quota.
    DiskFull,
    /// A compiler was killed for memory, or got none.
    Memory,
    /// It ran past its time limit.
    Timeout,
    /// It said more than a log may hold.
    LogFull,
    /// It wanted more processes than a build may have.
    Processes,
    /// A header that the source includes is not there.
    MissingHeader,
    /// The compiler's word, or the assembler's.
    Compiler,
    /// A symbol that no module and no kernel has, or that this one may not use.
    Modpost,
    /// The linker's word.
    Linker,
    /// A patch does not fit.
    Patch,
    /// A program that is not installed.
    MissingProgram,
    /// It wanted to write outside its folder.
    ReadOnly,
    /// It wanted the network.
    Network,
    /// It wanted to speak to a service of the system.
    Service,
    /// A script's own: shell, python, perl, configure.
    Script,
    /// make's: no rule, no makefile, a makefile that stops by itself.
    Make,
    /// Nothing that is known here: what was said last.
    Unknown,
}

impl Kind {
    /// What to do about it, where that does not depend on the driver's source.
    #[must_use]
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Self::DiskFull => Some("free some space, then build it again"),
            Self::Memory => Some("add memory or swap, or have fewer jobs at once (parallel_jobs), then build it again"),
            Self::Timeout => Some("a longer timeout is set by package in /etc/dkms/dkmsd.toml"),
            Self::ReadOnly => Some(
                "a build writes into its own folder only; writable = […] in /etc/dkms/dkmsd.toml lets it write elsewhere",
            ),
            Self::Network => {
                Some("builds have no network; network = true in /etc/dkms/dkmsd.toml lets this package have it")
            }
            Self::Processes => Some("a build may have some hundred processes: let it start fewer at once"),
            Self::Service => Some("builds do not reach the services of the system"),
            _ => None,
        }
    }
}

/// The first error of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstError {
    /// What kind it is of.
    pub kind: Kind,
    /// The line, as one of a status table: without the build folder's path, cut when it is very long.
    pub text: String,
    /// Its number in the log, from 1.
    pub line: usize,
    /// It and up to two lines before and after, each behind a `> ` for the error or as many blanks.
    pub excerpt: Vec<String>,
}

/// What the line of the error begins with in an excerpt.
pub const MARK: &str = "> ";
/// What the advice begins with that may follow an excerpt.
pub const ADVICE: &str = "= ";
/// What the log says of a command that was not let go on begins with this.
const STOPPED: &str = "# stopped: ";
/// How many lines of an excerpt come before the error, and after it.
const AROUND: usize = 2;

impl FirstError {
    /// The excerpt, and behind [`ADVICE`] what to do about it where that is known.
    #[must_use]
    pub fn explained(self) -> Vec<String> {
        let advice = self.kind.advice().map(|advice| format!("{ADVICE}{advice}"));
        self.excerpt.into_iter().chain(advice).collect()
    }
}

/// By which line each kind is known; the first that matches decides.
const CAUSES: &[(Kind, &str)] = &[
    (Kind::DiskFull, r"No space left on device|Disk quota exceeded|^fixdep: not all data was written to the output"),
    (
        Kind::Memory,
        r"Killed signal terminated program|virtual memory exhausted|[Cc]annot allocate memory|^cc1\w*: out of memory|\bKilled\s+(\S*/)?(cc1|gcc|clang|ld|as|rustc)|^Killed$|\bKilled\s+make\b|^make(\[\d+\])?: \*{3} \[.*\] Killed$|\b[Oo]ut of memory\b",
    ),
    (Kind::Processes, r"\bfork(: retry)?: Resource temporarily unavailable|[Cc]annot fork"),
    (Kind::Timeout, r"^# stopped: it ran past its time limit"),
    (Kind::LogFull, r"^# stopped: its output grew past"),
    (Kind::Service, r"Failed to connect to( the)?( system| session)? bus|Failed to open connection to .* message bus"),
    (
        Kind::Network,
        r"Could not resolve host|Temporary failure in name resolution|Name or service not known|Network is unreachable",
    ),
    (Kind::ReadOnly, r"Read-only file system"),
    (Kind::MissingHeader, r"fatal error: .*(: No such file or directory|file not found)"),
    (Kind::Modpost, r"^(ERROR|FATAL): (modpost: |.* undefined!)"),
    (
        Kind::Linker,
        r"undefined reference to|multiple definition of|cannot find -l|^(\S*/)?(ld(\.\w+)?|ld\.lld): error: ",
    ),
    (
        Kind::MissingProgram,
        r"(: line \d+: |sh: (\d+: )?)[^\s/]+: (command )?not found$|^make(\[\d+\])?: [^*\s][^:]*: No such file or directory$|env: ['‘]\S+['’]: No such file or directory$|^pyenv: \S+: command not found|: bad interpreter: ",
    ),
    (
        Kind::Patch,
        r"^Hunk #\d+ FAILED|^patch: \*{4} |^can't find file to patch|^Reversed \(or previously applied\) patch detected",
    ),
    (
        Kind::Compiler,
        r"^\S+:\d+(:\d+)?: (fatal )?error: |^\S+:\d+: (Fatal )?Error: |(^|\s)internal compiler error|^(\S*/)?(\S*-)?(gcc|cc|clang|cc1|rustc|g\+\+)(-\d+)?: (fatal )?error: |^error(\[E\d+\])?: |^<\w[\w -]*>(:\d+)*: (fatal )?error: ",
    ),
    (
        Kind::Script,
        r"^([A-Za-z_][\w.]*\.)?[A-Za-z_]*(Error|Exception): |^SystemExit|^Can't locate \S+ in @INC|^configure: error: |: Permission denied$|^(\S*/)?\w*sh: (line )?\d+: |error while loading shared libraries",
    ),
    (Kind::Make, r"^make(\[\d+\])?: \*\*\* .*Stop\.$|^\S+:\d+: \*\*\* .*Stop\.$"),
    (Kind::Unknown, r"^\s*(ERROR|error): |: error: |^\*\*\* "),
];

/// The most that is looked at of one line; what follows is a command, not a message.
const LONGEST_LINE: usize = 4096;

static SET: LazyLock<RegexSet> =
    LazyLock::new(|| RegexSet::new(CAUSES.iter().map(|(_, pattern)| pattern)).unwrap_or_else(|_| RegexSet::empty()));

/// The first error of a log file; none also where it cannot be read.
#[must_use]
pub fn in_file(log: &Path) -> Option<FirstError> {
    find(&String::from_utf8_lossy(&std::fs::read(log).ok()?))
}

/// The line of a log that says what is wrong: its text alone.
#[must_use]
pub fn first_error(log: &str) -> Option<String> {
    find(log).map(|found| found.text)
}

/// The line of a log that says what is wrong; none when no command in it failed and nothing looks like an error.
#[must_use]
pub fn find(log: &str) -> Option<FirstError> {
    let (cut, log) = end_of_full(log);
    let log = Log::read(log);
    let causes: Vec<(usize, Kind)> = log.said().filter_map(|(at, line)| Some((at, cause(line)?))).collect();
    let stops_all = |kind: &Kind| matches!(kind, Kind::DiskFull | Kind::Memory | Kind::Timeout | Kind::LogFull);
    let (from, to) = log.failed_target();
    let found = causes
        .iter()
        .find(|(_, kind)| stops_all(kind))
        .or_else(|| causes.iter().find(|(at, _)| (from..to).contains(at)))
        .or_else(|| causes.first())
        .copied()
        .or_else(|| log.said().find(|(_, line)| gives_up(line)).map(|(at, _)| (at, Kind::Make)))
        .or_else(|| log.last_word().map(|at| (at, Kind::Unknown)));
    let found = found.map(|(at, kind)| log.show(at, kind));
    found.map(|found| FirstError { line: found.line + cut, ..found })
}

/// Of a log that grew past all bounds, the end, and how many lines come before it: what its command said is endless.
fn end_of_full(log: &str) -> (usize, &str) {
    const KEPT: usize = 4096;
    let cut = log.rfind("\n# stopped: its output grew past").and_then(|at| log.get(..at)?.rfind('\n')).unwrap_or(0);
    let from = (cut.saturating_sub(KEPT)..=cut).find(|at| log.is_char_boundary(*at)).unwrap_or(0);
    let (before, end) = log.split_at(if log.len() > 2 * KEPT { from } else { 0 });
    (before.bytes().filter(|b| *b == b'\n').count(), end)
}

fn cause(line: &str) -> Option<Kind> {
    // What follows from the errors before it.
    if line.starts_with("cc1: ") && line.ends_with("warnings being treated as errors") || line.starts_with("collect2: ")
    {
        return None;
    }
    let end = line.char_indices().nth(LONGEST_LINE).map_or(line.len(), |(at, _)| at);
    let first = SET.matches(line.get(..end)?).into_iter().next()?;
    CAUSES.get(first).map(|(kind, _)| *kind)
}

/// make's word that a target failed: `make[1]: *** [file:line: target] Error 1`.
fn gives_up(line: &str) -> bool {
    line.starts_with("make") && line.contains(": *** ") && !line.contains("(ignored)")
}

/// The program that a shell, env or make did not find: `bash: line 6: make: command not found`,
/// `/usr/bin/env: 'python2.7': No such file or directory`, `make: flex: No such file or directory`.
fn missing_program(line: &str) -> Option<&str> {
    let endings = [": command not found", ": not found", ": No such file or directory"];
    let rest = endings.iter().find_map(|ending| line.strip_suffix(ending))?;
    let program = rest.rsplit(": ").next()?.trim_matches(['\'', '‘', '’']);
    (!program.is_empty() && !program.contains([' ', '/'])).then_some(program)
}

/// The object file that make gave up on.
fn target(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("*** [")?;
    let (inside, _) = rest.rsplit_once(']')?;
    Some(inside.rsplit(": ").next().unwrap_or(inside)).filter(|target| target.ends_with(".o"))
}

struct Log<'a> {
    lines: Vec<&'a str>,
    /// The lines of the command that failed; all of them where none is known to.
    from: usize,
    to: usize,
    /// Whether a command failed.
    failed: bool,
    /// What the path of the build folder ends in.
    folder: Option<String>,
}

impl<'a> Log<'a> {
    fn read(text: &'a str) -> Self {
        let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
        let failing = |line: &&str| {
            line.strip_prefix("# exit code: ").is_some_and(|code| code.parse().is_ok_and(|c: i32| c != 0))
        };
        let end = lines.iter().rposition(failing);
        let to = end.unwrap_or(lines.len());
        let begin = lines.iter().take(to).rposition(|line| line.starts_with("# command: "));
        let from = begin.filter(|_| end.is_some()).map_or(0, |at| at + 1);
        let package = lines.first().and_then(|head| head.strip_prefix("make.log of ")?.split(' ').next());
        let folder = package.map(|package| format!("/{package}/build/"));
        Self { lines, from, to, failed: end.is_some(), folder }
    }

    /// What the failed command said: the log's own lines begin with `#`, but for those that tell of its end.
    fn said(&self) -> impl DoubleEndedIterator<Item = (usize, &'a str)> {
        let lines = self.lines.iter().enumerate().take(self.to).skip(self.from);
        lines
            .map(|(at, line)| (at, *line))
            .filter(|(_, line)| !line.starts_with('#') || line.starts_with(STOPPED) || line.starts_with(LEFT))
    }

    /// Between the step that makes the first object file which failed and make's word on it. What came before it was
    /// overcome: tests of what the kernel has fail all the time.
    fn failed_target(&self) -> (usize, usize) {
        let Some((to, object)) =
            self.said().find_map(|(at, line)| Some((at, target(line).filter(|_| gives_up(line))?)))
        else {
            return (self.from, self.to);
        };
        let step = |line: &str| line.starts_with("  ") && line.ends_with(object);
        let from = self.said().find(|(at, line)| *at < to && step(line)).map_or(self.from, |(at, _)| at);
        (from, to)
    }

    /// The last line that is no noise of make's, of a command that failed.
    fn last_word(&self) -> Option<usize> {
        let noise = |line: &str| line.trim().is_empty() || line.starts_with("make") && line.contains("ing directory ");
        let word = self.said().rfind(|(_, line)| !noise(line) && !line.starts_with(LEFT));
        word.or_else(|| self.said().rfind(|(_, line)| line.starts_with(LEFT))).map(|(at, _)| at).filter(|_| self.failed)
    }

    fn show(&self, at: usize, kind: Kind) -> FirstError {
        let line = |at: usize| self.short(self.lines.get(at).copied().unwrap_or_default());
        let mut text = line(at).trim_start().trim_start_matches(STOPPED).trim_start_matches("# ").to_owned();
        if kind == Kind::MissingProgram
            && let Some(program) = missing_program(&text)
        {
            text = format!("{program} is not installed; install it (gcc, make, patch … are packages of that name)");
        }
        if kind == Kind::Patch
            && let Some(file) = self.lines.iter().take(at).rev().find_map(|line| line.strip_prefix("patching file "))
        {
            text = format!("{file}: {text}");
        }
        let others = || self.said().map(|(at, _)| at).filter(|at| !line(*at).is_empty());
        let mut before: Vec<usize> = others().rev().filter(|other| *other < at).take(AROUND).collect();
        before.reverse();
        let after = others().filter(|other| *other > at).take(AROUND);
        let plain = |other: usize| format!("{:width$}{}", "", line(other), width = MARK.len());
        let excerpt =
            before.into_iter().map(plain).chain([format!("{MARK}{}", line(at))]).chain(after.map(plain)).collect();
        FirstError { kind, text, line: at + 1, excerpt }
    }

    /// A line without the build folder's path before the names in it, and cut when it is a whole command line.
    fn short(&self, line: &str) -> String {
        const LONGEST: usize = 400;
        let mut line = line.to_owned();
        if let Some(folder) = &self.folder {
            while let Some(at) = line.find(folder.as_str()) {
                let start = line[..at].rfind(|c: char| c.is_whitespace() || "'\"`‘[(=".contains(c));
                let start = start.map_or(0, |blank| blank + line[blank..].chars().next().map_or(1, char::len_utf8));
                line.replace_range(start..at + folder.len(), "");
            }
        }
        match line.char_indices().nth(LONGEST) {
            Some((at, _)) => format!("{}…", &line[..at]),
            None => line,
        }
    }
}

#[cfg(test)]
mod tests;
