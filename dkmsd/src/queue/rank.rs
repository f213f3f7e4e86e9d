//! Which of the jobs that could start goes first. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use dkms_core::conf::version;
use dkms_core::model::{KernelRelease, PackageId};
use dkms_core::observe::Look;
use dkms_core::plan::KernelPresence;

use super::job::Task;

/// The smaller goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Nobody waits for it.
    pub unasked: bool,
    /// What its kernel is for.
    pub kernel: Kernel,
    /// How long it and what has to come after it will take: a long one that is begun last runs alone at the end.
    pub longest: Reverse<Duration>,
}

/// How soon a kernel's modules are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kernel {
    /// It boots next: the newest, as boot loaders have it. What is missing there is missed after the next boot.
    Next,
    /// It runs.
    Running,
    /// Another, or none.
    Other,
}

/// What ranks are made from.
#[derive(Debug, Default)]
pub struct Ranking {
    next: Option<KernelRelease>,
    running: Option<KernelRelease>,
    expected: BTreeMap<PackageId, Duration>,
}

impl Ranking {
    /// From what a look found. What was expected of other packages before still goes for them.
    #[must_use]
    pub fn after(self, look: &Look) -> Self {
        let bootable = look.world.kernels.iter().filter(|kernel| kernel.presence == KernelPresence::Installed);
        let releases = bootable.map(|kernel| &kernel.id.release);
        let next = releases.max_by(|a, b| version::compare(a.as_str(), b.as_str()).then_with(|| a.cmp(b)));
        let mut expected = self.expected;
        expected.extend(look.expected.iter().map(|(package, time)| (package.clone(), *time)));
        expected.retain(|package, _| look.world.packages.iter().any(|known| known.id == *package));
        Self { next: next.cloned(), running: Some(look.running.clone()), expected }
    }

    /// How long a task will take by itself.
    #[must_use]
    pub fn expected(&self, task: &Task) -> Duration {
        let known = task.package.as_ref().filter(|_| task.operation.builds()).and_then(|p| self.expected.get(p));
        known.copied().unwrap_or_default()
    }

    /// The rank of a task that takes so long with all that has to come after it.
    #[must_use]
    pub fn rank(&self, task: &Task, longest: Duration) -> Rank {
        let release = task.kernel.as_ref().map(|kernel| &kernel.release);
        let kernel = match release {
            Some(release) if self.next.as_ref() == Some(release) => Kernel::Next,
            Some(release) if self.running.as_ref() == Some(release) => Kernel::Running,
            _ => Kernel::Other,
        };
        Rank { unasked: !task.by_hand, kernel, longest: Reverse(longest) }
    }
}

#[cfg(test)]
impl Ranking {
    /// With these kernels and packages.
    pub(super) fn of(next: &str, running: &str, expected: &[(&str, u64)]) -> Self {
        let time = |(id, seconds): &(&str, u64)| (id.parse().unwrap(), Duration::from_secs(*seconds));
        Self {
            next: KernelRelease::new(next).ok(),
            running: KernelRelease::new(running).ok(),
            expected: expected.iter().map(time).collect(),
        }
    }
}
