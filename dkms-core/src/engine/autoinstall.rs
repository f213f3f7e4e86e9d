//! autoinstall: whatever wants to be on a kernel and is not, in the order of BUILD_DEPENDS, with one depmod for all
//! (dkms-contract.md §2).
//!
//! * [`order`]: what is to be done with each package. Pure.
//! * [`turns`]: which steps may run now. Pure.
//! * [`threads`]: runs those at once.
//! * [`report`]: what became of each.

pub mod order;
mod report;
mod threads;
mod turns;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

pub use report::{Failed, Outcome, PackageReport, Report};
pub use turns::Turns;

use self::order::{Conf, DEPENDS, Step, Task, Version};
use self::threads::{Told, What};
use super::{Done, Engine, Order, needs_root};
use crate::conf::Recipe;
use crate::error::{Error, Result};
use crate::event::Sink;
use crate::host::headers::HeaderState;
use crate::install;
use crate::model::{KernelId, ModuleName, PackageId};
use crate::tree::{self, Holds, SourceState, TreePackage};

/// The code of what is rightly not built.
const EXCLUDED: i32 = 77;

impl Engine {
    /// Installs the newest version of every package with AUTOINSTALL that is not installed on a kernel. One that fails
    /// stops only those that need it. What another process installs meanwhile is as good.
    ///
    /// Unless a person asks ([`Order::by_hand`]), what was taken away by hand stays away.
    ///
    /// # Errors
    /// Before anything is done: when this is not root, when the tree cannot be read, and [`Error::NoHeaders`] when there
    /// is something to build. When it is canceled, after depmod for what stands by then. What fails for one package is in
    /// the report.
    pub fn autoinstall(&self, kernel: &KernelId, order: &Order, sink: &mut dyn Sink) -> Result<Report> {
        needs_root("installing modules")?;
        if self.layout.no_autoinstall().exists() {
            return Ok(Report { turned_off: Some(self.layout.no_autoinstall()), ..Report::new(kernel) });
        }
        self.finish_what_was_cut_short(kernel, sink)?;
        let packages = tree::scan(&self.layout)?;
        let steps = order::autoinstall(&self.versions(&packages, kernel, order)?);
        self.headers_for(&steps, &packages, kernel, order)?;
        self.run_steps(&steps, kernel, order, sink)
    }

    /// Runs steps, all that are ready at once, then one depmod for all that was placed. Says what each event is about.
    pub(super) fn run_steps(
        &self,
        steps: &[Step],
        kernel: &KernelId,
        order: &Order,
        sink: &mut dyn Sink,
    ) -> Result<Report> {
        let mut outcomes: Vec<Option<Outcome>> = steps.iter().map(at_once).collect();
        for (step, outcome) in steps.iter().zip(&outcomes) {
            if let Some(outcome) = outcome {
                report::tell(&step.package, kernel, outcome, sink);
            }
        }
        let mut turns = Turns::new(steps);
        turns.keep_order(&steps.iter().map(|step| self.modules(step, kernel)).collect::<Vec<_>>());
        let (mut placed, mut canceled) = (Vec::new(), None);
        let packages = tree::scan(&self.layout)?;
        let times: Vec<Duration> = steps.iter().map(|step| self.expected(step, &packages)).collect();
        let mut about = None;
        let stop = AtomicBool::new(false);
        threads::run(
            turns.ready(),
            |place| times.get(place).copied().unwrap_or_default(),
            |place, sink| match steps.get(place) {
                _ if stop.load(Ordering::Relaxed) => Err(Error::Canceled),
                Some(step) => self.install_unless_removed(&step.package, kernel, order, sink),
                None => Ok(None),
            },
            |Told { place, what }| {
                let Some(Step { package, .. }) = steps.get(place) else { return Vec::new() };
                let result = match what {
                    What::Event(event) => {
                        if about != Some(place) {
                            sink.about(Some(package), kernel);
                            about = Some(place);
                        }
                        sink.emit(event);
                        return Vec::new();
                    }
                    What::Ended(Some(Err(error @ Error::Canceled))) => {
                        stop.store(true, Ordering::Relaxed);
                        canceled = Some(error);
                        return Vec::new();
                    }
                    What::Ended(None) => return Vec::new(),
                    What::Ended(Some(result)) => result,
                };
                about = None;
                let outcome = outcome(result);
                if outcome == Outcome::Installed {
                    placed.push(place);
                }
                report::tell(package, kernel, &outcome, sink);
                sink.ended();
                if matches!(outcome, Outcome::Failed(_)) {
                    for (lost, cause) in turns.failed(place) {
                        let (Some(step), Some(cause)) = (steps.get(lost), steps.get(cause)) else { continue };
                        let why = format!("it needs {}, which failed", cause.package.name);
                        let outcome = Outcome::Failed(Failed { code: DEPENDS, why, log: None, refused: None });
                        report::tell(&step.package, kernel, &outcome, sink);
                        set(&mut outcomes, lost, outcome);
                    }
                } else {
                    turns.met(place);
                }
                set(&mut outcomes, place, outcome);
                turns.ready()
            },
        );
        let mut batch: Vec<PackageId> = placed.iter().filter_map(|p| Some(steps.get(*p)?.package.clone())).collect();
        let mut rebuilt = Vec::new();
        if canceled.is_none() {
            canceled = self.rebuild_dependents(&mut batch, kernel, order, &mut rebuilt, sink).err();
        }
        sink.about(None, kernel);
        if !batch.is_empty() {
            match self.settle_kernel(kernel, &batch, order.depmod, sink) {
                Ok(()) => self.post_transaction(std::slice::from_ref(&kernel.release), sink),
                Err(error) => {
                    sink.warn(error.to_string());
                    // All of them were rolled back together.
                    let failed = || Outcome::Failed(Failed::from(&error));
                    placed.iter().for_each(|place| set(&mut outcomes, *place, failed()));
                    rebuilt.iter_mut().for_each(|report: &mut PackageReport| report.outcome = failed());
                }
            }
        }
        if let Some(error) = canceled {
            return Err(error);
        }
        // What was built anew was there already when the steps ran.
        let again = |package: &PackageId| rebuilt.iter().any(|report: &PackageReport| report.package == *package);
        let packages: Vec<_> = steps
            .iter()
            .zip(outcomes)
            .filter(|(step, _)| !again(&step.package))
            .filter_map(|(step, outcome)| Some(PackageReport { package: step.package.clone(), outcome: outcome? }))
            .collect();
        Ok(Report { packages: packages.into_iter().chain(rebuilt).collect(), ..Report::new(kernel) })
    }

    /// Builds anew what was built against another version of something in the batch, and what was built against that.
    ///
    /// # Errors
    /// [`Error::Canceled`], when it was: what is in the batch by then is placed all the same. What fails for a package is in
    /// its report.
    pub fn rebuild_dependents(
        &self,
        batch: &mut Vec<PackageId>,
        kernel: &KernelId,
        order: &Order,
        reports: &mut Vec<PackageReport>,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        let order = Order { force: false, keep_built: false, by_hand: false, ..order.clone() };
        let mut place = 0;
        while let Some(package) = batch.get(place).cloned() {
            place += 1;
            let dependents = self.dependents_to_rebuild(&package, kernel).unwrap_or_else(|error| {
                sink.warn(format!("what depends on {package} could not be found out: {error}"));
                Vec::new()
            });
            for dependent in dependents {
                if reports.iter().any(|report| report.package == dependent) || batch.contains(&dependent) {
                    continue;
                }
                sink.about(Some(&dependent), kernel);
                sink.note(format!("built anew, as {package} is installed now"));
                let outcome = match self.install(&dependent, kernel, &order, sink) {
                    Ok(Done::Unchanged(_)) => Outcome::Already,
                    Ok(Done::Changed | Done::Placed) => {
                        batch.push(dependent.clone());
                        Outcome::Installed
                    }
                    Err(error @ Error::Canceled) => return Err(error),
                    Err(error) => outcome(Err(error)),
                };
                report::tell(&dependent, kernel, &outcome, sink);
                reports.push(PackageReport { package: dependent, outcome });
            }
        }
        Ok(())
    }

    /// The modules that a step brings.
    fn modules(&self, step: &Step, kernel: &KernelId) -> BTreeSet<ModuleName> {
        match step.task {
            Task::Install { .. } => self.recipe_if_readable(&step.package, kernel),
            _ => None,
        }
        .map_or_else(BTreeSet::new, |(_, recipe)| recipe.modules.into_iter().map(|module| module.dest_name).collect())
    }

    fn expected(&self, step: &Step, packages: &[TreePackage]) -> Duration {
        match step.task {
            Task::Install { .. } => {
                let source = self.source(&step.package).ok();
                crate::build::expected::expected(&step.package, packages, source.as_deref())
            }
            _ => Duration::ZERO,
        }
    }

    /// An install adds what is not in the tree; what somebody has just removed is not to come back by that.
    fn install_unless_removed(
        &self,
        package: &PackageId,
        kernel: &KernelId,
        order: &Order,
        sink: &mut dyn Sink,
    ) -> Result<Option<Done>> {
        match tree::package(&self.layout, package)? {
            Some(_) => self.install(package, kernel, order, sink).map(Some),
            None => Ok(None),
        }
    }

    /// What stands without its depmod, after a power cut, would else pass for installed.
    pub(super) fn finish_what_was_cut_short(&self, kernel: &KernelId, sink: &mut dyn Sink) -> Result<()> {
        let cut_short = install::due::is_due(&self.layout, &kernel.release)?
            || !install::awaiting(&self.layout, kernel)?.is_empty();
        if cut_short { self.recover(sink) } else { Ok(()) }
    }

    /// Every version in the tree, as it is on a kernel.
    pub(super) fn versions(&self, packages: &[TreePackage], kernel: &KernelId, order: &Order) -> Result<Vec<Version>> {
        let holds = if order.by_hand { Holds::default() } else { Holds::read(&self.layout)? };
        let version = |package: &TreePackage| Version {
            package: package.id.clone(),
            conf: self.conf(package, kernel),
            installed: package.entries.iter().any(|e| e.kernel == *kernel && e.installed),
            held: holds
                .is_held(&package.id, kernel)
                .map(|hold| format!("it was removed by hand (uid {}); install it by hand to end that", hold.by_uid)),
        };
        Ok(packages.iter().map(version).collect())
    }

    pub(super) fn conf(&self, package: &TreePackage, kernel: &KernelId) -> Conf {
        let source = match &package.source {
            SourceState::Present(source) => source,
            SourceState::Broken(path) => return Conf::Broken { path: path.clone() },
        };
        let load = |strict| {
            let request = self.request(source, Some(&package.id), kernel, strict);
            self.observer.loader().load(&request).map(|loaded| loaded.recipe)
        };
        match load(true) {
            Ok(Recipe { autoinstall, exclusion, build_depends: depends, .. }) => {
                Conf::Read { autoinstall, exclusion, depends }
            }
            Err(error) => match load(false) {
                Ok(recipe) if !recipe.autoinstall && says_yes_or_no(&recipe) => {
                    Conf::Read { autoinstall: false, exclusion: None, depends: recipe.build_depends }
                }
                _ => Conf::Bad { code: error.exit_code(), why: error.to_string() },
            },
        }
    }

    /// Asks for the headers where something has to be built: without them, nothing is worth a start.
    fn headers_for(&self, steps: &[Step], packages: &[TreePackage], kernel: &KernelId, order: &Order) -> Result<()> {
        let built = |id: &PackageId| {
            let mut entries = packages.iter().filter(|p| p.id == *id).flat_map(|p| &p.entries);
            entries.any(|e| e.kernel == *kernel && e.built)
        };
        let stays = |id: &PackageId| order.keep_built && !order.force && built(id);
        if !steps.iter().any(|s| matches!(s.task, Task::Install { .. }) && !stays(&s.package)) {
            return Ok(());
        }
        let why = match self.observer.headers(kernel, SystemTime::now(), Duration::ZERO) {
            HeaderState::Ready(_) => return Ok(()),
            HeaderState::Settling { why, .. } | HeaderState::Unusable { why } => why,
            HeaderState::Missing { why, package: Some(package) } => format!("{why}; install {package}"),
            HeaderState::Missing { why, package: None } => why,
        };
        Err(Error::NoHeaders { kernel: kernel.clone(), why })
    }
}

/// Whether a dkms.conf that breaks a rule leaves no doubt about its AUTOINSTALL.
fn says_yes_or_no(recipe: &Recipe) -> bool {
    !recipe.warnings.iter().any(|warning| warning.starts_with("AUTOINSTALL="))
}

/// What needs no run; none for an install.
fn at_once(step: &Step) -> Option<Outcome> {
    Some(match &step.task {
        Task::Install { .. } => return None,
        Task::Already => Outcome::Already,
        Task::Skip { why } => Outcome::Skipped { why: why.clone() },
        Task::Fail { code, why } => Outcome::Failed(Failed { code: *code, why: why.clone(), log: None, refused: None }),
        Task::Defer { why } => Outcome::Deferred { why: why.clone() },
        Task::Broken { path } => Outcome::Broken { path: path.clone() },
    })
}

fn outcome(result: Result<Option<Done>>) -> Outcome {
    match result {
        Ok(None) => Outcome::Skipped { why: "it was removed meanwhile".into() },
        Ok(Some(Done::Unchanged(_))) => Outcome::Already,
        Ok(Some(Done::Changed | Done::Placed)) => Outcome::Installed,
        Err(Error::Excluded { reason, .. }) => Outcome::Skipped { why: reason },
        // The kernel's own is as good, or better.
        Err(Error::AllRefused { reasons, .. }) => Outcome::Skipped { why: reasons.join("; ") },
        // Taken away by hand while this ran.
        Err(error @ Error::Held { .. }) => Outcome::Skipped { why: error.to_string() },
        Err(error) if error.exit_code() == EXCLUDED => Outcome::Skipped { why: error.to_string() },
        Err(error) => Outcome::Failed(Failed::from(&error)),
    }
}

fn set(outcomes: &mut [Option<Outcome>], place: usize, outcome: Outcome) {
    if let Some(slot) = outcomes.get_mut(place) {
        *slot = Some(outcome);
    }
}
