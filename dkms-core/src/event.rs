//! What a caller is told while a verb runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{KernelId, PackageId};

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Waiting for a lock or a turn.
    Waiting,
    /// Adding the package to the tree.
    Adding,
    /// Reading dkms.conf, laying out the build folder, applying patches.
    Preparing,
    /// Compiling.
    Building,
    /// Checking, stripping, signing and compressing what was built.
    Finishing,
    /// Putting modules in place, or taking them away.
    Installing,
    /// depmod, after all installs of a kernel.
    Depmod,
}

impl Phase {
    /// The word shown to people and sent over D-Bus.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Adding => "adding",
            Self::Preparing => "preparing",
            Self::Building => "building",
            Self::Finishing => "finishing",
            Self::Installing => "installing",
            Self::Depmod => "depmod",
        }
    }
}

/// One fact about a running verb.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A new phase began.
    Phase {
        /// Which.
        phase: Phase,
    },
    /// How far the build is, from 0 to 1; only a guess until it is 1.
    Progress {
        /// The share done.
        done: f64,
    },
    /// Where the log of this attempt is written.
    Log {
        /// The file.
        path: PathBuf,
    },
    /// Nothing is compiled: the build is taken out of the cache.
    FromCache {
        /// When it was built, in seconds since 1970.
        built_at: u64,
    },
    /// Somebody else has what the verb needs next.
    Waiting {
        /// For whom and what, in a sentence; none for a turn among one daemon's own workers.
        why: Option<String>,
    },
    /// The wait is over, and the phase before it goes on.
    Waited,
    /// A fact for the journal.
    Note {
        /// One line.
        text: String,
    },
    /// Something a person should look at, though the verb goes on.
    Warning {
        /// One line.
        text: String,
    },
}

/// What [`Event::FromCache`] tells people.
#[must_use]
pub fn from_cache(built_at: u64) -> String {
    let time = i64::try_from(built_at).ok().and_then(|at| jiff::Timestamp::from_second(at).ok());
    let when = time.map(|t| t.strftime(", built on %Y-%m-%d at %H:%M UTC").to_string()).unwrap_or_default();
    format!("taken from the cache{when}; nothing was compiled")
}

/// Takes the events of a running verb.
pub trait Sink {
    /// Called in order, from the thread that called the verb.
    fn emit(&mut self, event: Event);

    /// What the next events are about, where a verb goes through many packages: one of them, or all on the kernel. They
    /// may take turns.
    fn about(&mut self, _package: Option<&PackageId>, _kernel: &KernelId) {}

    /// What the last events were about is over: several packages may be under way at once.
    fn ended(&mut self) {}

    /// Shorthand for a phase.
    fn phase(&mut self, phase: Phase) {
        self.emit(Event::Phase { phase });
    }

    /// Shorthand for a note.
    fn note(&mut self, text: String) {
        self.emit(Event::Note { text });
    }

    /// Shorthand for a warning.
    fn warn(&mut self, text: String) {
        self.emit(Event::Warning { text });
    }
}

/// Keeps what was emitted, or drops it when nobody asks: for callers that want only the result.
impl Sink for Vec<Event> {
    fn emit(&mut self, event: Event) {
        self.push(event);
    }
}
