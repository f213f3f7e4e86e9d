//! Runs the package's commands in its build folder, confined, with their output in make.log.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::event::{Event, Sink};
use crate::host::users::User;
use crate::layout::Layout;
use crate::model::{KernelId, PackageId};
use crate::settings::{PackageSettings, Priority};

use super::jobserver::{MakeJobs, Slot};
use super::log::{BuildLog, LARGEST};
use super::sandbox::{Confined, Ended, LEFT};
use super::toolchain::Toolchain;
use super::workspace::Workspace;

/// Everything a command of one build has around it.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// Where things are.
    pub layout: &'a Layout,
    /// What is built.
    pub package: &'a PackageId,
    /// For which kernel.
    pub kernel: &'a KernelId,
    /// Where.
    pub workspace: &'a Workspace,
    /// As whom.
    pub user: Option<&'a User>,
    /// With which compiler.
    pub toolchain: &'a Toolchain,
    /// Parallel jobs of one make.
    pub jobs: u32,
    /// framework.conf's build_environment: a file to source before each command.
    pub build_environment: Option<&'a Path>,
    /// What has to stay in sight wherever it lies: headers, sources, trees.
    pub shown: &'a [PathBuf],
    /// What has to be out of sight: signing keys, other jobs.
    pub hidden: &'a [PathBuf],
    /// A folder to show, writable, at a place that may not exist: (what, where). The folder around it is empty otherwise.
    pub result: Option<(&'a Path, &'a Path)>,
    /// What an admin lets this package do that others may not.
    pub more: &'a PackageSettings,
    /// What it builds with, of the machine's budget of compilers.
    pub slot: Option<&'a Slot>,
    /// What a make that is run may use more than one job with.
    pub make_jobs: Option<&'a MakeJobs>,
    /// How it stands behind others.
    pub priority: Priority,
    /// How long all commands together may take.
    pub limit: Duration,
    /// When that time is over.
    pub deadline: Instant,
}

impl Surroundings<'_> {
    /// Runs a shell command in the build folder, or in `cwd`; returns its code.
    ///
    /// # Errors
    /// [`Error::Timeout`]; when bash cannot be started; when the log cannot be written.
    pub fn run(
        &self,
        description: &str,
        command: &str,
        cwd: Option<&Path>,
        log: &mut BuildLog,
        progress: &mut Progress<'_>,
    ) -> Result<i32> {
        let started = log.command(description, command)?;
        let program = |source: io::Error| Error::Program {
            program: "bash".into(),
            source,
            hint: "install bash and util-linux".into(),
        };
        let running = self.confined(command, cwd).spawn().map_err(program)?;
        let mut tail = Vec::new();
        let ended = running.follow(
            Some(self.deadline),
            |error| Stop::Failed(program(error)),
            |_, bytes| {
                progress.output(bytes);
                keep_end(&mut tail, bytes);
                match log.output(bytes) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(Stop::LogFull),
                    Err(error) => Err(Stop::Failed(error)),
                }
            },
        );
        match ended {
            Ok(Ended::Code(code)) => {
                if let Some(left) = left_behind(&tail) {
                    progress.sink().warn(format!("it left processes behind, which were ended with it: {left}"));
                }
                log.finished(code, started.elapsed())?;
                Ok(code)
            }
            Ok(Ended::TimedOut) => {
                log.stopped(&format!("it ran past its time limit ({})", length(self.limit)))?;
                log.finished(-1, started.elapsed())?;
                Err(Error::Timeout {
                    package: self.package.clone(),
                    kernel: self.kernel.clone(),
                    limit: length(self.limit),
                    log: log.path().to_owned(),
                })
            }
            Err(Stop::LogFull) => {
                let why = format!("its output grew past {} MiB", LARGEST >> 20);
                log.stopped(&why)?;
                log.finished(-1, started.elapsed())?;
                Err(Error::BuildFailed {
                    package: self.package.clone(),
                    kernel: self.kernel.clone(),
                    first: why,
                    log: log.path().to_owned(),
                })
            }
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    fn confined(&self, command: &str, cwd: Option<&Path>) -> Confined {
        let cwd: PathBuf = cwd.unwrap_or_else(|| self.workspace.classic()).to_owned();
        let mut confined =
            Confined::new(cwd, "bash", ["-O", "extglob", "-c", &self.script(), "bash", command]).user(self.user);
        confined = confined.priority(self.priority);
        confined = self.slot.map(Slot::held_by_all).into_iter().fold(confined, Confined::inherit);
        if let Some(jobs) = self.make_jobs {
            confined = jobs.descriptors().fold(confined, Confined::inherit).env("MAKEFLAGS", jobs.flags());
        }
        confined = confined.network(self.more.network).tell_left();
        confined = self.shown.iter().fold(confined, Confined::show);
        confined = self.hidden.iter().fold(confined, Confined::hide);
        if let Some((what, place)) = self.workspace.bind() {
            confined = confined.bind(what, place);
        }
        if let Some((what, place)) = self.result {
            confined = confined.hide(place.parent().unwrap_or(place)).bind(what, place);
        }
        for folder in self.more.writable.iter().map(|folder| self.layout.host(folder)).filter(|folder| folder.exists())
        {
            confined = confined.bind(&folder, &folder);
        }
        for (name, value) in &self.toolchain.env {
            confined = confined.env(name, value);
        }
        confined
            .env("module", self.package.name.as_str())
            .env("module_version", self.package.version.as_str())
            .env("kernelver", self.kernel.release.as_str())
            .env("arch", self.kernel.arch.as_str())
    }

    /// The variables a command may name without their being exported, then the command itself, expanded by the shell
    /// once more (dkms-contract.md §3: MAKE, PRE_BUILD and POST_BUILD are run by `eval`).
    fn script(&self) -> String {
        let layout = self.layout;
        let source = layout.kernel_source_inside(&self.kernel.release);
        let jobs = self.jobs.to_string();
        // When it is told to end, what it runs just then is told too, and has the time that the whole has.
        let mut script = String::from("trap 'exit 143' TERM\n");
        for (name, value) in [
            ("kernel_source_dir", source.to_string_lossy()),
            ("dkms_tree", layout.dkms_tree_inside().to_string_lossy()),
            ("source_tree", layout.source_tree_inside().to_string_lossy()),
            ("install_tree", layout.install_tree_inside().to_string_lossy()),
            ("parallel_jobs", jobs.into()),
        ] {
            script += &format!("{name}={}\n", quote(&value));
        }
        if let Some(file) = self.build_environment {
            let file = quote(&file.to_string_lossy()).to_string();
            script += &format!("[ ! -r {file} ] || . {file}\n");
        }
        script + "eval \"$1\""
    }
}

/// Why a command is not followed to its end.
enum Stop {
    LogFull,
    Failed(Error),
}

/// How much of the end of the output is kept.
const END: usize = 1024;

fn keep_end(tail: &mut Vec<u8>, bytes: &[u8]) {
    tail.extend_from_slice(bytes);
    tail.drain(..tail.len().saturating_sub(END));
}

/// What the sandbox says of the processes that the command left behind.
fn left_behind(tail: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(tail);
    text.lines().rev().find_map(|line| line.strip_prefix(LEFT)).map(str::to_owned)
}

/// A length of time, as people say it.
fn length(time: Duration) -> String {
    let seconds = time.as_secs();
    let (number, unit) =
        if seconds >= 60 && seconds.is_multiple_of(60) { (seconds / 60, "minute") } else { (seconds, "second") };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

/// A word that a shell takes as it is.
#[must_use]
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Guesses how far make is, from the compiler lines of an earlier log of the same package.
pub struct Progress<'a> {
    sink: &'a mut dyn Sink,
    expected: Option<usize>,
    seen: usize,
    /// The beginning of the line that is under way.
    line: Vec<u8>,
}

/// What a line is told by.
const LINE_BEGINNING: usize = 64;

impl<'a> Progress<'a> {
    /// `earlier`: the log of a successful build, for any kernel.
    pub fn new(sink: &'a mut dyn Sink, earlier: Option<&str>) -> Self {
        let expected = earlier.map(|log| log.lines().filter(|l| is_step(l.as_bytes())).count()).filter(|n| *n > 0);
        Self { sink, expected, seen: 0, line: Vec::new() }
    }

    /// Where the events go.
    pub fn sink(&mut self) -> &mut dyn Sink {
        self.sink
    }

    /// Output as it comes, in pieces of any size. Of a line without end no more than its beginning is kept.
    fn output(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let room = LINE_BEGINNING.saturating_sub(self.line.len());
            self.line.extend(piece.iter().take(room));
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let step = is_step(&self.line);
        self.line.clear();
        if !step {
            return;
        }
        self.seen += 1;
        if let Some(expected) = self.expected {
            #[expect(clippy::cast_precision_loss, reason = "counts of files")]
            let done = (self.seen as f64 / expected as f64).min(0.99);
            self.sink.emit(Event::Progress { done });
        }
    }
}

/// A line of kbuild's short output: `  CC [M]  /path/file.o`.
fn is_step(line: &[u8]) -> bool {
    line.starts_with(b"  ") && line.iter().skip(2).take_while(|b| b.is_ascii_uppercase()).count() >= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_follows_an_earlier_log() {
        let mut events: Vec<Event> = Vec::new();
        let mut progress = Progress::new(&mut events, Some("  CC [M]  /b/a.o\n  LD [M]  /b/a.ko\nmake: done\n"));
        progress.output(b"make[1]: Entering\n  C");
        progress.output(b"C [M]  /b/a.o\n");
        assert_eq!(events, [Event::Progress { done: 0.5 }]);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut events: Vec<Event> = Vec::new();
        let mut progress = Progress::new(&mut events, None);
        for _ in 0..1000 {
            progress.output(&[b'x'; 4096]);
        }
        assert!(progress.line.capacity() <= 2 * LINE_BEGINNING);
    }

    /// The second command has what the first one left of the time, and neither an orphan nor an endless line changes that.
    #[test]
    fn one_deadline_holds_for_all_commands() {
        let root = tempfile::tempdir().unwrap();
        let (layout, source) = (Layout::under(root.path()), root.path().join("src"));
        std::fs::create_dir(&source).unwrap();
        let (package, kernel) = (PackageId::new("a", "1").unwrap(), KernelId::new("6.1", "x86_64").unwrap());
        let workspace = Workspace::prepare(&layout, &package, &source, None, None).unwrap();
        let mut log = BuildLog::begin(&root.path().join("logs"), &package, &kernel).unwrap();
        let limit = Duration::from_millis(700);
        let around = Surroundings {
            layout: &layout,
            package: &package,
            kernel: &kernel,
            workspace: &workspace,
            user: None,
            toolchain: &Toolchain::default(),
            jobs: 1,
            build_environment: None,
            shown: &[],
            hidden: &[],
            result: None,
            more: &PackageSettings::default(),
            slot: None,
            make_jobs: None,
            priority: Priority::default(),
            limit,
            deadline: Instant::now() + limit,
        };
        let mut events: Vec<Event> = Vec::new();
        let mut progress = Progress::new(&mut events, None);
        let started = Instant::now();
        let first =
            around.run("one", "tr '\\0' x </dev/zero | head -c 1000000; sleep 0.4", None, &mut log, &mut progress);
        assert_eq!(first.unwrap(), 0);
        let second = around.run("two", "sleep 1000", None, &mut log, &mut progress);
        assert!(matches!(second, Err(Error::Timeout { .. })), "{second:?}");
        assert!(started.elapsed() < 2 * limit, "the second command had a limit of its own");
    }

    #[test]
    fn the_end_of_the_output_tells_what_was_left_behind() {
        let mut tail = Vec::new();
        keep_end(&mut tail, &[b'x'; 5000]);
        assert_eq!((tail.len(), left_behind(&tail)), (END, None));
        keep_end(&mut tail, format!("\n{LEFT}1 process: sleep\nits own word\n").as_bytes());
        assert_eq!(left_behind(&tail).as_deref(), Some("1 process: sleep"));
    }

    #[rstest::rstest]
    #[case(1, "1 second")]
    #[case(90, "90 seconds")]
    #[case(60, "1 minute")]
    #[case(3600, "60 minutes")]
    fn a_limit_is_said_as_people_do(#[case] seconds: u64, #[case] wanted: &str) {
        assert_eq!(length(Duration::from_secs(seconds)), wanted);
    }

    #[test]
    fn quoted_words_survive_a_shell() {
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
