//! The planner: from what is on disk to the state of every package on every kernel, and the actions that are due.
//!
//! Pure: it takes a [`World`], touches nothing and starts nothing. Each state either satisfies it or names what it waits
//! for; one that did neither for ever would be a rebuild loop.

mod judge;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::artifact::sign::Offer;
use crate::artifact::signing::Signing;
use crate::fingerprint::Fingerprint;
use crate::model::{EntryState, KernelId, ModuleName, PackageId, PackageName};

/// What one look at the disk found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct World {
    /// Every kernel folder, and every kernel that something is still built for.
    pub kernels: Vec<KernelView>,
    /// Every package of the tree, and every source that is not in it yet.
    pub packages: Vec<PackageView>,
    /// Whether /etc/dkms/no-autoinstall is there.
    pub autoinstall_off: bool,
}

/// What a kernel folder is (design.md, first table).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KernelPresence {
    /// It has a kernel of its own.
    Installed,
    /// Headers without a kernel.
    HeadersOnly,
    /// Nothing is left but what we put there.
    Gone,
}

/// Whether one can build for a kernel now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderView {
    /// Whole and settled. The stamp changes whenever the tree does.
    Ready {
        /// See [`crate::host::headers`].
        stamp: String,
    },
    /// Still arriving.
    Settling {
        /// What was seen.
        why: String,
    },
    /// Absent or not whole.
    Missing {
        /// What is missing.
        why: String,
        /// The package that brings it.
        package: Option<String>,
    },
    /// Its tools do not run here.
    Unusable {
        /// Which, and why.
        why: String,
    },
}

/// One kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelView {
    /// Which.
    pub id: KernelId,
    /// What its folder is.
    pub presence: KernelPresence,
    /// Whether one can build for it.
    pub headers: HeaderView,
}

/// Where a package's source is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceView {
    /// In the tree.
    Registered,
    /// Below the source tree, not in the tree yet.
    Unregistered,
    /// In the tree, its source missing.
    Broken {
        /// Where the source should be.
        path: PathBuf,
    },
}

/// One version of one package.
#[derive(Debug, Clone, PartialEq)]
pub struct PackageView {
    /// Which.
    pub id: PackageId,
    /// Its source.
    pub source: SourceView,
    /// What its dkms.conf says apart from any kernel: whether it wants to be installed by itself; or why one cannot tell,
    /// or cannot do what it wants.
    pub autoinstall: Result<bool, String>,
    /// What is wrong with the dkms.conf of a package that does not want to be installed by itself: a matter of whoever
    /// builds it by hand.
    pub trouble: Option<String>,
    /// Who removed the whole package by hand, in a sentence.
    pub held: Option<String>,
    /// What it is for each kernel of the world, and on each kernel something is built for.
    pub entries: BTreeMap<KernelId, EntryView>,
}

/// What dkms.conf says for one kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecipeView {
    /// AUTOINSTALL.
    pub autoinstall: bool,
    /// Why it is not for this kernel (BUILD_EXCLUSIVE_*).
    pub exclusion: Option<String>,
    /// Why this kernel no longer needs it (OBSOLETE_BY).
    pub dormant: Option<String>,
    /// BUILD_DEPENDS.
    pub depends: Vec<PackageName>,
    /// BUILD_DEPENDS_REBUILD.
    pub depends_rebuild: bool,
    /// The modules it installs.
    pub modules: Vec<ModuleName>,
}

/// The remembered failure of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailureView {
    /// What it was built from.
    pub fingerprint: String,
    /// The stamp of the headers it was built with.
    pub header_stamp: String,
    /// The error in one sentence.
    pub error: String,
    /// The first error of the build's log.
    pub first_error: Option<String>,
    /// That line with those around it.
    pub excerpt: Vec<String>,
    /// What the package is because of it: failed, or kernel-newer where every module was refused as older.
    pub state: Option<EntryState>,
}

/// One package on one kernel.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EntryView {
    /// Whether its modules are built.
    pub built: bool,
    /// Whether it is installed.
    pub installed: bool,
    /// Installed files that are not there any more.
    pub missing: Vec<PathBuf>,
    /// Installed files that come from an earlier build than the one that is there, as when a rebuild was cut short
    /// before its modules were put in place.
    pub outdated: Vec<PathBuf>,
    /// What dkms.conf says for this kernel; none when it cannot be read or was not asked.
    pub recipe: Option<RecipeView>,
    /// The inputs as they are now; none while the headers are not ready.
    pub inputs: Option<Fingerprint>,
    /// The inputs of what is built; none when a classic tool built it.
    pub built_from: Option<Fingerprint>,
    /// The last failure.
    pub failure: Option<FailureView>,
    /// Who removed it by hand, in a sentence.
    pub held: Option<String>,
    /// The log of the newest attempt.
    pub log: Option<PathBuf>,
    /// Whether what is built is signed.
    pub signing: Signing,
    /// What it would be signed with now; none where nothing is to be signed, something for it is missing, or a
    /// signature that is trusted would be lost.
    pub offer: Option<Arc<Offer>>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Take the package into the tree.
    Add,
    /// Build it where needed, and install it.
    Install(KernelId),
    /// Remove what was built for a kernel that is gone.
    Clean(KernelId),
}

/// One thing that is due, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// What.
    pub verb: Verb,
    /// With which package.
    pub package: PackageId,
    /// Why, in a sentence.
    pub reason: String,
    /// Places in [`Plan::actions`] of what has to be done before.
    pub after: Vec<usize>,
    /// The inputs that it is due for. Being due again for the same ones, after it was done, means that doing it does not
    /// help.
    pub inputs: String,
}

/// What one package is on one kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub package: PackageId,
    /// For which kernel; none for a package that has to do with no kernel yet.
    pub kernel: Option<KernelId>,
    /// Its state; [`EntryState::Queued`] where an action is due that nobody runs yet.
    pub state: EntryState,
    /// Installed, but not from the inputs as they are now, or not whole.
    pub stale: bool,
    /// Why it is so; empty where the state says it all.
    pub reason: String,
    /// Whether it wants to be installed by itself.
    pub autoinstall: bool,
}

impl Row {
    /// Why the kernel is not fit to boot with this package; none when it is (design.md, decision 8).
    #[must_use]
    pub fn problem(&self) -> Option<&str> {
        let fine = match self.state {
            EntryState::Installed => !self.stale,
            EntryState::Broken => false,
            state => !self.autoinstall || state.rightly_absent(),
        };
        (!fine).then_some(self.reason.as_str())
    }
}

/// What is, and what is due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// One a package and kernel, in the order of packages.
    pub rows: Vec<Row>,
    /// What is due, each after what it needs.
    pub actions: Vec<Action>,
}

/// Decides. See the module's words.
#[must_use]
pub fn plan(world: &World) -> Plan {
    judge::Judge::new(world).plan()
}
