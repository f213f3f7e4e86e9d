//! What became of each package.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::error::Error;
use crate::event::Sink;
use crate::model::{KernelId, PackageId};

/// The code of an autoinstall in which a package failed.
const FAILED: i32 = 11;

/// What became of several packages on one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The kernel.
    pub kernel: KernelId,
    /// The file that turns autoinstall off, where it is there: nothing was looked at then.
    pub turned_off: Option<PathBuf>,
    /// Each package that was to be looked after: broken ones first, then what needed no run, then installs as they ran.
    pub packages: Vec<PackageReport>,
}

/// What became of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageReport {
    /// Which.
    pub package: PackageId,
    /// What.
    pub outcome: Outcome,
}

/// How it ended for one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was installed.
    Installed,
    /// It was there, perhaps by somebody who was quicker.
    Already,
    /// It is rightly not installed.
    Skipped {
        /// Why, in a sentence.
        why: String,
    },
    /// It could not be installed.
    Failed(Failed),
    /// It waits for a package that the tree does not know.
    Deferred {
        /// Why, in a sentence.
        why: String,
    },
    /// Its source is missing.
    Broken {
        /// Where the source should be.
        path: PathBuf,
    },
}

/// Why a package could not be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// The classic exit code that its own install ended with.
    pub code: i32,
    /// The error in a sentence.
    pub why: String,
    /// The file that shows more, when there is one.
    pub log: Option<PathBuf>,
    /// How the system refused, where it did.
    pub refused: Option<ErrorKind>,
}

impl From<&Error> for Failed {
    fn from(error: &Error) -> Self {
        let refused = if let Error::Io { source, .. } = error { Some(source.kind()) } else { None };
        let log = error.log().map(ToOwned::to_owned);
        Self { code: error.exit_code(), why: error.to_string(), log, refused }
    }
}

impl Report {
    /// Nothing yet.
    pub(super) fn new(kernel: &KernelId) -> Self {
        Self { kernel: kernel.clone(), turned_off: None, packages: Vec::new() }
    }

    /// The packages that failed, each with its reason.
    pub fn failed(&self) -> impl Iterator<Item = (&PackageId, &Failed)> {
        self.packages.iter().filter_map(|p| match &p.outcome {
            Outcome::Failed(failed) => Some((&p.package, failed)),
            _ => None,
        })
    }

    /// Whether nothing had to be done.
    #[must_use]
    pub fn nothing_to_do(&self) -> bool {
        self.packages.iter().all(|p| p.outcome == Outcome::Already)
    }

    /// The classic exit code of an autoinstall: 11 when a package failed.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        if self.failed().next().is_some() { FAILED } else { 0 }
    }

    /// The code of the first package that failed, as when each had been asked for by itself; 0 when none did.
    #[must_use]
    pub fn first_code(&self) -> i32 {
        self.failed().next().map_or(0, |(_, failed)| failed.code)
    }
}

/// Says what a person should look at, as soon as it is known.
pub(super) fn tell(package: &PackageId, kernel: &KernelId, outcome: &Outcome, sink: &mut dyn Sink) {
    sink.about(Some(package), kernel);
    match outcome {
        Outcome::Installed | Outcome::Already => {}
        Outcome::Skipped { why } => sink.note(format!("skipped: {why}")),
        Outcome::Deferred { why } => sink.warn(format!("put off: {why}")),
        Outcome::Broken { path } => {
            sink.warn(format!("broken, and passed over: its source {} is missing", path.display()));
        }
        Outcome::Failed(Failed { why, log, .. }) => {
            let log = log.as_ref().map(|log| format!("; the whole log: {}", log.display())).unwrap_or_default();
            sink.warn(format!("not installed: {why}{log}"));
        }
    }
}
