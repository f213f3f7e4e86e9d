//! What a job is, and what travels to its worker and back as JSON lines.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use dkms_core::event::{Event, Phase};
use dkms_core::model::{KernelId, PackageId};
use serde::{Deserialize, Serialize};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Takes a source into the tree.
    Add,
    /// Builds, without installing.
    Build,
    /// Builds where needed, and installs.
    Install,
    /// Takes off a kernel, keeps what was built.
    Uninstall,
    /// Takes off a kernel, and drops what was built.
    Unbuild,
    /// Forgets the package, when nothing of it is left on any kernel.
    Remove,
    /// Drops what was built for a kernel that is gone.
    Clean,
    /// Runs depmod once for all that was placed for a kernel. Not shown on the bus.
    Finish,
}

impl Operation {
    /// The word sent over D-Bus and written to the history.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Build => "build",
            Self::Install => "install",
            Self::Uninstall => "uninstall",
            Self::Unbuild => "unbuild",
            Self::Remove => "remove",
            Self::Clean => "clean",
            Self::Finish => "finish",
        }
    }

    /// Whether it puts modules into a kernel's folder or takes them away, so that the kernel needs depmod afterwards.
    #[must_use]
    pub fn touches_kernel(self) -> bool {
        matches!(self, Self::Install | Self::Uninstall | Self::Unbuild)
    }

    /// Whether a package shows as queued or building because of it.
    #[must_use]
    pub fn builds(self) -> bool {
        matches!(self, Self::Build | Self::Install)
    }
}

/// What a worker is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The job.
    pub id: u32,
    /// What.
    pub operation: Operation,
    /// With which package; none for [`Operation::Finish`].
    pub package: Option<PackageId>,
    /// A source folder elsewhere, for [`Operation::Add`].
    pub source: Option<PathBuf>,
    /// For which kernel.
    pub kernel: Option<KernelId>,
    /// What [`Operation::Finish`] finishes.
    pub batch: Vec<PackageId>,
    /// Also when it is there, or a check says no.
    pub force: bool,
    /// A person asked: sets and ends holds.
    pub by_hand: bool,
    /// Who asked; 0 for the daemon itself.
    pub uid: u32,
    /// Why, in a sentence.
    pub reason: String,
}

impl Task {
    /// Whether another request asks for the same.
    #[must_use]
    pub fn same_work(&self, other: &Self) -> bool {
        (self.operation, &self.package, &self.kernel, &self.source)
            == (other.operation, &other.package, &other.kernel, &other.source)
            && (self.force || !other.force)
    }
}

/// A line that a worker prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum WorkerLine {
    /// Something happened.
    Told {
        /// What.
        event: Event,
    },
    /// The last line.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

/// How a job ended; systemd's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As wanted.
    Done,
    /// Not as wanted.
    Failed,
    /// Somebody ended it.
    Canceled,
    /// There was nothing to do, or it is not for this kernel.
    Skipped,
    /// What it needed failed.
    Dependency,
    /// It ran past its limit.
    Timeout,
}

impl Verdict {
    /// The word sent over D-Bus.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Skipped => "skipped",
            Self::Dependency => "dependency",
            Self::Timeout => "timeout",
        }
    }
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// In a word.
    pub verdict: Verdict,
    /// The classic exit code.
    pub code: i32,
    /// Why it is not done, in a sentence; or what was found, when nothing was to be done.
    pub error: Option<String>,
    /// The first error of a build's log.
    pub first_error: Option<String>,
    /// The log.
    pub log: Option<PathBuf>,
    /// Modules were placed or taken away: the kernel needs depmod before the job is done.
    pub placed: bool,
    /// The package that [`Operation::Add`] found in the source.
    pub package: Option<PackageId>,
    /// The engine has remembered it, if it is a failure. What ended without the engine's word is the daemon's to remember.
    pub recorded: bool,
    /// Nothing was compiled: the build came out of the cache.
    #[serde(default)]
    pub from_cache: bool,
}

impl Outcome {
    /// An outcome with a reason and nothing else.
    #[must_use]
    pub fn because(verdict: Verdict, error: impl Into<String>) -> Self {
        Self {
            verdict,
            code: i32::from(verdict != Verdict::Done),
            error: Some(error.into()),
            first_error: None,
            log: None,
            placed: false,
            package: None,
            recorded: false,
            from_cache: false,
        }
    }
}

/// Where a job is.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Waiting its turn.
    Queued,
    /// Its worker runs.
    Running,
    /// Its worker is told to end.
    Canceling,
    /// Its modules stand; depmod has not run.
    Placed(Outcome),
    /// Over; shown until the disk has been looked at again.
    Ended(Outcome),
}

impl State {
    /// The word sent over D-Bus; what is placed still runs for everybody else.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running | Self::Placed(_) | Self::Ended(_) => "running",
            Self::Canceling => "canceling",
        }
    }
}

/// A job.
#[derive(Debug, Clone)]
pub struct Job {
    /// What it is to do.
    pub task: Task,
    /// Where it is.
    pub state: State,
    /// What its worker last said it is doing.
    pub phase: Phase,
    /// For whom it waits, in a sentence (empty: its turn), while somebody else has what it needs next.
    pub waiting: Option<String>,
    /// How far, from 0 to 1, when that can be guessed.
    pub progress: Option<f64>,
    /// The log of its attempt.
    pub log: Option<PathBuf>,
    /// When its worker started.
    pub started: Option<Instant>,
    /// How long its worker took.
    pub took: Option<Duration>,
    /// Jobs that have to be through before.
    pub after: Vec<u32>,
    /// Queued because a plan said so: leaves the queue when the plan no longer does.
    pub planned: bool,
}

impl Job {
    /// Whether a cancel would be heeded now: not while modules are being swapped.
    #[must_use]
    pub fn cancelable(&self) -> bool {
        match self.state {
            State::Queued => true,
            State::Running => self.waiting.is_some() || !matches!(self.phase, Phase::Installing | Phase::Depmod),
            State::Canceling | State::Placed(_) | State::Ended(_) => false,
        }
    }
}
