//! What autoinstall does with each package on one kernel, dependencies first (dkms-contract.md §2, "autoinstall"). Pure.
//!
//! Unlike [`crate::plan`], which keeps a machine as it should be, this is asked once, by a person or a script, and answers
//! as the classic command does: what failed before is tried again, what is installed counts as it is.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::conf::version;
use crate::model::{PackageId, PackageName};

/// The code of a package that was not tried because of what it depends on.
pub(super) const DEPENDS: i32 = 13;

/// One version of a package in the tree, as it is on the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Which.
    pub package: PackageId,
    /// What its dkms.conf says.
    pub conf: Conf,
    /// Whether this version is installed.
    pub installed: bool,
    /// Why it is not to be put back, where somebody took it away by hand and that is to be heeded.
    pub held: Option<String>,
}

/// What the dkms.conf of a version says for the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Conf {
    /// It can be used.
    Read {
        /// AUTOINSTALL.
        autoinstall: bool,
        /// Why it is not for this kernel (BUILD_EXCLUSIVE_*).
        exclusion: Option<String>,
        /// BUILD_DEPENDS.
        depends: Vec<PackageName>,
    },
    /// It wants to be installed, or may, and breaks a rule.
    Bad {
        /// The classic exit code of that.
        code: i32,
        /// What is wrong.
        why: String,
    },
    /// It is missing with the source.
    Broken {
        /// Where the source should be.
        path: PathBuf,
    },
}

impl Conf {
    fn wants(&self) -> bool {
        matches!(self, Self::Read { autoinstall: true, .. } | Self::Bad { .. })
    }
}

/// What to do with one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub package: PackageId,
    /// What.
    pub task: Task,
}

/// What to do, or why nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Install it, building first when needed.
    Install {
        /// Places of the steps that have to be through before; when one of them fails, this one does.
        after: Vec<usize>,
    },
    /// Nothing: it is installed.
    Already,
    /// Nothing, and rightly so.
    Skip {
        /// Why, in a sentence.
        why: String,
    },
    /// Nothing can be done.
    Fail {
        /// The classic exit code of the reason.
        code: i32,
        /// Why, in a sentence.
        why: String,
    },
    /// Nothing for now: it needs a package that the tree does not know.
    Defer {
        /// Why, in a sentence.
        why: String,
    },
    /// Its source is missing: passed over.
    Broken {
        /// Where the source should be.
        path: PathBuf,
    },
}

/// The steps of an autoinstall: one for the newest version of each package that wants it, and one for each broken version.
/// Each install comes after those it needs; the same versions give the same steps, in whatever order they come.
#[must_use]
pub fn autoinstall(versions: &[Version]) -> Vec<Step> {
    let tree = Tree::new(versions);
    let mut wanted = BTreeMap::new();
    for (name, versions) in &tree.versions {
        let newest = versions.iter().filter(|v| v.conf.wants()).max_by(|a, b| by_version(a, b));
        wanted.extend(newest.map(|newest| (*name, (*newest, tree.settled(newest)))));
    }
    let mut steps: Vec<Step> = versions.iter().filter_map(broken).collect();
    steps.sort_by(|a, b| a.package.cmp(&b.package));
    tree.schedule(wanted, steps)
}

/// The steps that install just these versions, whatever their AUTOINSTALL; what rules one out is the install's to say.
#[must_use]
pub fn these(versions: &[Version], asked: &[PackageId]) -> Vec<Step> {
    let tree = Tree::new(versions);
    let mut wanted = BTreeMap::new();
    let mut steps = Vec::new();
    for version in asked.iter().filter_map(|id| versions.iter().find(|v| v.package == *id)) {
        match (broken(version), version.installed) {
            (_, true) => drop(wanted.insert(&version.package.name, (version, Some(Task::Already)))),
            (Some(step), _) => steps.push(step),
            (None, _) => drop(wanted.insert(&version.package.name, (version, None))),
        }
    }
    steps.sort_by(|a, b| a.package.cmp(&b.package));
    let mut steps = tree.schedule(wanted, steps);
    for step in &mut steps {
        if let Task::Defer { why } = &mut step.task {
            step.task = Task::Fail { code: DEPENDS, why: std::mem::take(why) };
        }
    }
    steps
}

fn broken(version: &Version) -> Option<Step> {
    let Conf::Broken { path } = &version.conf else { return None };
    Some(Step { package: version.package.clone(), task: Task::Broken { path: path.clone() } })
}

/// Versions that the rule takes for equal are told apart all the same, so that the order of the disk does not count.
fn by_version(a: &Version, b: &Version) -> Ordering {
    let (a, b) = (&a.package.version, &b.package.version);
    version::compare(a.as_str(), b.as_str()).then_with(|| a.cmp(b))
}

/// The packages whose fate is known or being found out: the version of each, and the task when nothing else decides it.
type Wanted<'v> = BTreeMap<&'v PackageName, (&'v Version, Option<Task>)>;

/// All that the tree has.
struct Tree<'v> {
    versions: BTreeMap<&'v PackageName, Vec<&'v Version>>,
}

impl<'v> Tree<'v> {
    fn new(all: &'v [Version]) -> Self {
        let mut versions: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for version in all {
            versions.entry(&version.package.name).or_default().push(version);
        }
        Self { versions }
    }

    fn installed(&self, name: &PackageName) -> Option<&'v Version> {
        self.versions.get(name)?.iter().copied().filter(|v| v.installed).max_by(|a, b| by_version(a, b))
    }

    /// The task of a package that its own record decides.
    fn settled(&self, newest: &Version) -> Option<Task> {
        if newest.installed {
            return Some(Task::Already);
        }
        // One that does not install itself, or has lost its source: somebody wanted it, and it works.
        let installed = self.installed(&newest.package.name).filter(|v| by_version(v, newest).is_gt());
        if let Some(newer) = installed {
            return Some(Task::Skip { why: format!("{} is newer, and installed", newer.package) });
        }
        if let Some(why) = newest.held.clone() {
            return Some(Task::Skip { why });
        }
        match &newest.conf {
            Conf::Bad { code, why } => Some(Task::Fail { code: *code, why: why.clone() }),
            Conf::Read { exclusion: Some(why), .. } => Some(Task::Skip { why: why.clone() }),
            Conf::Read { exclusion: None, .. } | Conf::Broken { .. } => None,
        }
    }

    /// Finds out the rest: failures first, as they are for good, then what is deferred, then the order of what is left.
    fn schedule(&self, mut wanted: Wanted<'v>, mut steps: Vec<Step>) -> Vec<Step> {
        self.fail_circles(&mut wanted);
        let fails = |wanted: &Wanted<'v>, name: &PackageName| {
            let why = self.fails_dependent(wanted, name)?;
            Some(Task::Fail { code: DEPENDS, why })
        };
        self.spread(&mut wanted, &fails);
        let defers = |wanted: &Wanted<'v>, name: &PackageName| {
            let why = match wanted.get(name) {
                Some((_, Some(Task::Defer { .. }))) => format!("it needs {name}, which is deferred itself"),
                None if !self.versions.contains_key(name) => format!("it needs {name}, which is not known here"),
                _ => return None,
            };
            Some(Task::Defer { why })
        };
        self.spread(&mut wanted, &defers);
        let open: Vec<&PackageName> = wanted.iter().filter(|(_, w)| w.1.is_none()).map(|(name, _)| *name).collect();
        for (version, task) in wanted.values_mut() {
            steps.extend(task.take().map(|task| Step { package: version.package.clone(), task }));
        }
        let mut places: BTreeMap<&PackageName, usize> = BTreeMap::new();
        let mut open: BTreeSet<&PackageName> = open.into_iter().collect();
        // Without circles, something is always ready; the first by name goes first.
        while let Some(next) = open.iter().copied().find(|n| !depends(wanted[n].0).iter().any(|d| open.contains(d))) {
            open.remove(next);
            let version = wanted[next].0;
            let after = depends(version).iter().filter_map(|name| places.get(name).copied());
            let after: BTreeSet<usize> = after.collect();
            places.insert(next, steps.len());
            let task = Task::Install { after: after.into_iter().collect() };
            steps.push(Step { package: version.package.clone(), task });
        }
        steps
    }

    /// Settles everything open that one of its dependencies settles, and what that settles in turn.
    fn spread(&self, wanted: &mut Wanted<'v>, rule: &dyn Fn(&Wanted<'v>, &PackageName) -> Option<Task>) {
        loop {
            let open = wanted.iter().filter(|(_, w)| w.1.is_none());
            let found: Vec<(&PackageName, Task)> = open
                .filter_map(|(name, w)| Some((*name, depends(w.0).iter().find_map(|d| rule(wanted, d))?)))
                .collect();
            if found.is_empty() {
                return;
            }
            for (name, task) in found {
                if let Some(w) = wanted.get_mut(name) {
                    w.1 = Some(task);
                }
            }
        }
    }

    /// Why a dependency that the tree knows will not be there, when it will not.
    fn fails_dependent(&self, wanted: &Wanted<'v>, name: &PackageName) -> Option<String> {
        match wanted.get(name) {
            Some((_, None | Some(Task::Already | Task::Defer { .. }))) => None,
            Some((_, Some(Task::Fail { why, .. }))) => Some(format!("it needs {name}, which fails: {why}")),
            _ if self.installed(name).is_some() => None,
            // Excluded counts as met for the order; the dependent's own build says what it lacks.
            Some((version, Some(Task::Skip { .. }))) if excluded(version) && version.held.is_none() => None,
            Some((_, Some(Task::Skip { why }))) => Some(format!("it needs {name}, which is not installed: {why}")),
            _ => self.versions.get(name).map(|versions| {
                let all_broken = versions.iter().all(|v| matches!(v.conf, Conf::Broken { .. }));
                let why = if all_broken { "is broken" } else { "is not installed, nor to be" };
                format!("it needs {name}, which {why}")
            }),
        }
    }

    fn fail_circles(&self, wanted: &mut Wanted<'v>) {
        let open: Vec<&PackageName> = wanted.iter().filter(|(_, w)| w.1.is_none()).map(|(name, _)| *name).collect();
        let circles: Vec<(&PackageName, String)> = open.iter().filter_map(|n| Some((*n, circle(wanted, n)?))).collect();
        for (name, circle) in circles {
            if let Some(w) = wanted.get_mut(name) {
                let why = format!("BUILD_DEPENDS go in a circle: {circle}");
                w.1 = Some(Task::Fail { code: DEPENDS, why });
            }
        }
    }
}

fn depends(version: &Version) -> &[PackageName] {
    match &version.conf {
        Conf::Read { depends, .. } => depends,
        _ => &[],
    }
}

fn excluded(version: &Version) -> bool {
    matches!(&version.conf, Conf::Read { exclusion: Some(_), .. })
}

/// The shortest way from a package back to itself over what is still open, in words; none when there is none.
fn circle(wanted: &Wanted<'_>, start: &PackageName) -> Option<String> {
    let open = |name: &PackageName| wanted.get(name).filter(|w| w.1.is_none()).map(|w| w.0);
    // By name, the one that needs it on the shortest way.
    let mut from: BTreeMap<&PackageName, &PackageName> = BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([open(start)?]);
    while let Some(version) = queue.pop_front() {
        let name = &version.package.name;
        for next in depends(version).iter().filter_map(open) {
            let next_name = &next.package.name;
            if next_name == start {
                let mut words = vec![start.as_str()];
                let mut at = name;
                while at != start {
                    words.push(at.as_str());
                    at = from[at];
                }
                words.push(start.as_str());
                words.reverse();
                return Some(words.join(" needs "));
            }
            if !from.contains_key(next_name) {
                from.insert(next_name, name);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests;
