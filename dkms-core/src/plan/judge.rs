//! Judges one package on one kernel at a time, dependencies first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::verdict::{
    NOT_AUTOMATIC, TURNED_OFF, Verdict, by_the_tree, is_older, older_version, remembered, rightly_absent,
    stale_reasons, stays, wants, why_due,
};
use super::{
    Action, EntryView, HeaderView, KernelPresence, KernelView, PackageView, Plan, RecipeView, Row, SourceView, Verb,
    World,
};
use crate::conf::version;
use crate::model::{EntryState, KernelId, ModuleName, PackageId, PackageName};

pub(super) struct Judge<'w> {
    world: &'w World,
    plan: Plan,
    /// Place of each package's Add action.
    adding: HashMap<&'w PackageId, usize>,
}

/// The judging of one kernel.
struct OnKernel<'w> {
    world: &'w World,
    kernel: &'w KernelView,
    /// For each package name, the version that is to be installed.
    candidates: BTreeMap<&'w PackageName, &'w PackageView>,
    /// For each package name, the version that is installed.
    installed: HashMap<&'w PackageName, &'w PackageId>,
    /// Every package name that the tree knows or is about to.
    known: BTreeSet<&'w PackageName>,
    /// Who owns each module on this kernel.
    owners: HashMap<&'w ModuleName, &'w PackageId>,
    verdicts: HashMap<&'w PackageName, Verdict>,
    /// The packages being judged, outermost first: a package that turns up twice is in a cycle.
    path: Vec<&'w PackageName>,
}

impl<'w> Judge<'w> {
    pub(super) fn new(world: &'w World) -> Self {
        Self { world, plan: Plan::default(), adding: HashMap::new() }
    }

    pub(super) fn plan(mut self) -> Plan {
        self.add_sources();
        for kernel in &self.world.kernels {
            match kernel.presence {
                KernelPresence::Gone => self.clean(kernel),
                KernelPresence::Installed | KernelPresence::HeadersOnly => self.judge_kernel(kernel),
            }
        }
        self.rows_without_kernel();
        self.plan.rows.sort_by(|a, b| (&a.package, &a.kernel).cmp(&(&b.package, &b.kernel)));
        self.plan
    }

    /// Sources that want to be installed by themselves are added, kernel or not.
    fn add_sources(&mut self) {
        if self.world.autoinstall_off {
            return;
        }
        for package in &self.world.packages {
            let wanted = package.autoinstall == Ok(true) && package.held.is_none();
            if package.source == SourceView::Unregistered && wanted {
                self.adding.insert(&package.id, self.plan.actions.len());
                self.plan.actions.push(Action {
                    verb: Verb::Add,
                    package: package.id.clone(),
                    reason: "its source appeared".into(),
                    after: Vec::new(),
                    inputs: String::new(),
                });
            }
        }
    }

    fn clean(&mut self, kernel: &'w KernelView) {
        for package in &self.world.packages {
            let Some(entry) = package.entries.get(&kernel.id).filter(|e| e.built || e.installed) else { continue };
            let reason = "its kernel is gone";
            self.plan.actions.push(Action {
                verb: Verb::Clean(kernel.id.clone()),
                package: package.id.clone(),
                reason: reason.into(),
                after: Vec::new(),
                inputs: String::new(),
            });
            let state = if entry.installed { EntryState::Installed } else { EntryState::Built };
            self.row(package, Some(&kernel.id), Verdict::new(state, format!("{reason}: it will be removed")), false);
        }
    }

    fn judge_kernel(&mut self, kernel: &'w KernelView) {
        let mut on = OnKernel::new(self.world, kernel);
        let names: Vec<&PackageName> = on.candidates.keys().copied().collect();
        for name in names {
            on.verdict(name);
        }
        self.queue(&on);
        for package in &self.world.packages {
            let Some(entry) = package.entries.get(&kernel.id) else { continue };
            let candidate = on.candidates.get(&package.id.name).copied();
            let is_candidate = candidate.is_some_and(|c| c.id == package.id);
            let verdict = match (candidate, on.verdicts.get(&package.id.name)) {
                (Some(_), Some(verdict)) if is_candidate => verdict.clone(),
                (Some(newest), Some(verdict)) if is_older(package, newest) => older_version(entry, newest, verdict),
                _ if matches!(package.source, SourceView::Unregistered) && !wants(package, entry) => continue,
                _ => by_the_tree(package, entry),
            };
            let autoinstall = is_candidate || (candidate.is_none() && wants(package, entry));
            self.row(package, Some(&kernel.id), verdict, autoinstall);
        }
    }

    /// The installs of a kernel, each after its dependencies.
    fn queue(&mut self, on: &OnKernel<'w>) {
        let mut places: HashMap<&PackageName, usize> = HashMap::new();
        let mut waiting: Vec<&PackageName> =
            on.candidates.keys().copied().filter(|n| on.verdicts.get(*n).is_some_and(|v| v.due)).collect();
        // Dependencies that are due are judged due as well, so each round places at least one: cycles never are due.
        while !waiting.is_empty() {
            let before = waiting.len();
            waiting.retain(|name| {
                let package = on.candidates[name];
                let depends = on.depends(package);
                let open = |d: &PackageName| on.verdicts.get(d).is_some_and(|v| v.due) && !places.contains_key(d);
                if depends.iter().any(open) {
                    return true;
                }
                let mut after: Vec<usize> = depends.iter().filter_map(|d| places.get(d).copied()).collect();
                after.extend(self.adding.get(&package.id));
                places.insert(*name, self.plan.actions.len());
                self.plan.actions.push(Action {
                    verb: Verb::Install(on.kernel.id.clone()),
                    package: package.id.clone(),
                    reason: on.verdicts[name].reason.clone(),
                    after,
                    inputs: on.inputs(package),
                });
                false
            });
            if waiting.len() == before {
                break;
            }
        }
    }

    /// Packages that no kernel has a row for.
    fn rows_without_kernel(&mut self) {
        let with_rows: BTreeSet<PackageId> = self.plan.rows.iter().map(|r| r.package.clone()).collect();
        for package in self.world.packages.iter().filter(|p| !with_rows.contains(&p.id)) {
            let verdict = match (&package.source, &package.autoinstall) {
                (SourceView::Broken { .. }, _) | (_, Err(_)) => by_the_tree(package, &EntryView::default()),
                (SourceView::Unregistered, Ok(false)) => continue,
                (_, Ok(true)) if package.held.is_some() => {
                    Verdict::new(EntryState::Held, package.held.clone().unwrap_or_default())
                }
                (SourceView::Unregistered, Ok(true)) if self.adding.contains_key(&package.id) => {
                    Verdict::new(EntryState::Queued, "its source appeared")
                }
                (SourceView::Unregistered, Ok(true)) => Verdict::new(EntryState::Added, TURNED_OFF),
                (SourceView::Registered, Ok(true)) => {
                    Verdict::new(EntryState::Added, "no kernel to build for is installed yet")
                }
                (SourceView::Registered, Ok(false)) => by_the_tree(package, &EntryView::default()),
            };
            self.row(package, None, verdict, package.autoinstall == Ok(true));
        }
    }

    fn row(&mut self, package: &PackageView, kernel: Option<&KernelId>, verdict: Verdict, autoinstall: bool) {
        self.plan.rows.push(Row {
            package: package.id.clone(),
            kernel: kernel.cloned(),
            state: verdict.state,
            stale: verdict.stale,
            reason: verdict.reason,
            autoinstall,
        });
    }
}

impl<'w> OnKernel<'w> {
    fn new(world: &'w World, kernel: &'w KernelView) -> Self {
        let mut candidates: BTreeMap<&PackageName, &PackageView> = BTreeMap::new();
        let (mut owners, mut installed) = (HashMap::new(), HashMap::new());
        for package in &world.packages {
            let Some(entry) = package.entries.get(&kernel.id) else { continue };
            if entry.installed {
                installed.insert(&package.id.name, &package.id);
                owners.extend(entry.recipe.iter().flat_map(|r| &r.modules).map(|m| (m, &package.id)));
            }
            if !wants(package, entry) {
                continue;
            }
            let newest = candidates.entry(&package.id.name).or_insert(package);
            if version::compare(package.id.version.as_str(), newest.id.version.as_str()).is_gt() {
                *newest = package;
            }
        }
        let in_tree = world.packages.iter().filter(|p| p.source != SourceView::Unregistered);
        let known = in_tree.map(|p| &p.id.name).chain(candidates.keys().copied()).collect();
        Self { world, kernel, candidates, installed, known, owners, verdicts: HashMap::new(), path: Vec::new() }
    }

    fn depends(&self, package: &'w PackageView) -> &'w [PackageName] {
        package.entries.get(&self.kernel.id).and_then(|e| e.recipe.as_ref()).map_or(&[], |r| &r.depends)
    }

    /// Judges the candidate of a name, after its dependencies; once.
    fn verdict(&mut self, name: &'w PackageName) -> Verdict {
        if let Some(known) = self.verdicts.get(name) {
            return known.clone();
        }
        let Some((package, entry)) =
            self.candidates.get(name).and_then(|p| Some((*p, p.entries.get(&self.kernel.id)?)))
        else {
            return self.not_automatic(name);
        };
        self.path.push(name);
        let verdict = self.judge(package, entry);
        self.path.pop();
        if verdict.due
            && let Some(recipe) = &entry.recipe
        {
            for module in &recipe.modules {
                self.owners.entry(module).or_insert(&package.id);
            }
        }
        self.verdicts.insert(name, verdict.clone());
        verdict
    }

    /// A dependency of which no version is to be installed.
    fn not_automatic(&self, name: &PackageName) -> Verdict {
        let mut versions = self.world.packages.iter().filter(|p| p.id.name == *name);
        match versions.find(|p| matches!(p.source, SourceView::Broken { .. })) {
            Some(broken) => by_the_tree(broken, &EntryView::default()),
            None => Verdict::new(EntryState::Added, NOT_AUTOMATIC),
        }
    }

    fn judge(&mut self, package: &'w PackageView, entry: &'w EntryView) -> Verdict {
        let Some(recipe) = &entry.recipe else { return by_the_tree(package, entry) };
        let stale = stale_reasons(entry, recipe);
        if entry.installed && stale.is_empty() {
            return Verdict::new(EntryState::Installed, "");
        }
        if let Some(verdict) = rightly_absent(entry, recipe) {
            // What is being removed by hand just now must not come back, and what the package itself rules out would fail.
            return if entry.installed { stays(&verdict.reason) } else { verdict };
        }
        if let Some(verdict) = self.owned_elsewhere(package, recipe) {
            return verdict;
        }
        if let Some(reason) = self.waits_for_headers() {
            return match &entry.failure {
                _ if entry.installed => stays(&reason),
                Some(refusal) if refusal.state == Some(EntryState::KernelNewer) => remembered(refusal),
                _ => Verdict::new(EntryState::WaitingForHeaders, reason),
            };
        }
        let failed = self.failed_before(entry, recipe);
        if self.world.autoinstall_off {
            let state = if entry.built { EntryState::Built } else { EntryState::Added };
            return match failed {
                _ if entry.installed => stays(TURNED_OFF),
                Some(verdict) => verdict,
                None => Verdict::new(state, TURNED_OFF),
            };
        }
        if let Some(verdict) = self.blocked_by_dependencies(recipe).or(failed) {
            return Verdict { stale: entry.installed, ..verdict };
        }
        if entry.installed {
            return Verdict::due(EntryState::Installed, true, stale.join(", "));
        }
        Verdict::due(EntryState::Queued, false, why_due(entry, &stale))
    }

    fn inputs(&self, package: &PackageView) -> String {
        let entry = package.entries.get(&self.kernel.id);
        let inputs = entry.and_then(|e| e.inputs.as_ref());
        let offer = entry.and_then(|e| e.offer.as_ref()).map_or("", |offer| &offer.mark);
        let stamp = match &self.kernel.headers {
            HeaderView::Ready { stamp } => stamp.as_str(),
            _ => "",
        };
        inputs.map_or_else(String::new, |inputs| format!("{inputs} {stamp} {offer}"))
    }

    fn waits_for_headers(&self) -> Option<String> {
        match &self.kernel.headers {
            HeaderView::Ready { .. } => None,
            HeaderView::Settling { why } => Some(format!("the kernel's headers are still arriving: {why}")),
            HeaderView::Missing { why, package: Some(package) } => Some(format!("{why}; install {package}")),
            HeaderView::Missing { why, package: None } => Some(why.clone()),
            HeaderView::Unusable { why } => Some(format!("the kernel's headers cannot be used here: {why}")),
        }
    }

    fn owned_elsewhere(&self, package: &PackageView, recipe: &RecipeView) -> Option<Verdict> {
        if let Some(installed) = self.installed.get(&package.id.name)
            && version::compare(installed.version.as_str(), package.id.version.as_str()).is_gt()
        {
            // Somebody installed a version that does not install itself: that was meant.
            return Some(Verdict::new(EntryState::Superseded, format!("{installed} is newer, and installed")));
        }
        recipe.modules.iter().find_map(|module| {
            let owner = self.owners.get(module).filter(|owner| owner.name != package.id.name)?;
            Some(Verdict::new(EntryState::Superseded, format!("{owner} brings the module {module}")))
        })
    }

    fn blocked_by_dependencies(&mut self, recipe: &'w RecipeView) -> Option<Verdict> {
        for name in &recipe.depends {
            if !self.known.contains(name) {
                let reason = format!("it needs {name}, which is not known here");
                return Some(Verdict::new(EntryState::Deferred, reason));
            }
            if let Some(start) = self.path.iter().position(|p| *p == name) {
                let cycle: Vec<&str> = self.path[start..].iter().map(|p| p.as_str()).chain([name.as_str()]).collect();
                let reason = format!("BUILD_DEPENDS go in a circle: {}", cycle.join(" needs "));
                return Some(Verdict::new(EntryState::Failed, reason));
            }
            let verdict = self.verdict(name);
            // An excluded dependency counts as met for the order (dkms-contract.md §2, autoinstall).
            let met = verdict.due || matches!(verdict.state, EntryState::Installed | EntryState::Excluded);
            if !met && !self.installed.contains_key(name) {
                let reason = format!("it needs {name}, which is {}: {}", verdict.state, verdict.reason);
                let state = match verdict.state {
                    EntryState::Deferred | EntryState::WaitingForHeaders => EntryState::Deferred,
                    _ => EntryState::Failed,
                };
                return Some(Verdict::new(state, reason));
            }
        }
        None
    }

    fn failed_before(&self, entry: &EntryView, recipe: &RecipeView) -> Option<Verdict> {
        let failure = entry.failure.as_ref()?;
        let HeaderView::Ready { stamp } = &self.kernel.headers else { return None };
        let same = match (&entry.inputs, failure.fingerprint.parse().ok()) {
            (Some(now), Some(then)) => {
                now.changes_since(&then, !recipe.depends.is_empty()).is_empty() && failure.header_stamp == *stamp
            }
            // Headers that came since may well be what it lacked.
            (Some(_), None) => false,
            // As long as the inputs cannot be read, nothing tells that another try is worth it.
            (None, _) => true,
        };
        same.then(|| remembered(failure))
    }
}
