//! What follows from one package's own record on one kernel, whatever is beside it.

use super::{EntryView, FailureView, PackageView, RecipeView, SourceView};
use crate::conf::version;
use crate::model::EntryState;

/// What was decided for one package on one kernel.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) state: EntryState,
    pub(super) stale: bool,
    pub(super) reason: String,
    /// Whether an install is due.
    pub(super) due: bool,
}

impl Verdict {
    pub(super) fn new(state: EntryState, reason: impl Into<String>) -> Self {
        Self { state, stale: false, reason: reason.into(), due: false }
    }

    pub(super) fn due(state: EntryState, stale: bool, reason: impl Into<String>) -> Self {
        Self { state, stale, reason: reason.into(), due: true }
    }
}

pub(super) const NOT_AUTOMATIC: &str = "it does not ask for AUTOINSTALL";
pub(super) const TURNED_OFF: &str = "autoinstall is turned off by /etc/dkms/no-autoinstall";

/// What a failure left; the compiler's own word tells more than ours.
pub(super) fn remembered(failure: &FailureView) -> Verdict {
    let reason = failure.first_error.as_ref().unwrap_or(&failure.error);
    Verdict::new(failure.state.unwrap_or(EntryState::Failed), reason.clone())
}

/// Installed, and not what it should be; for this reason it stays so.
pub(super) fn stays(reason: &str) -> Verdict {
    Verdict { stale: true, ..Verdict::new(EntryState::Installed, reason) }
}

/// Whether a package is to be installed on a kernel by itself.
pub(super) fn wants(package: &PackageView, entry: &EntryView) -> bool {
    match (&package.source, &entry.recipe) {
        (SourceView::Broken { .. }, _) => false,
        (_, Some(recipe)) => recipe.autoinstall,
        // What cannot be read is shown as failed, in case it wants to be.
        (_, None) => package.autoinstall.is_err() && package.source == SourceView::Registered,
    }
}

pub(super) fn rightly_absent(entry: &EntryView, recipe: &RecipeView) -> Option<Verdict> {
    [(EntryState::Held, &entry.held), (EntryState::Dormant, &recipe.dormant), (EntryState::Excluded, &recipe.exclusion)]
        .into_iter()
        .find_map(|(state, reason)| Some(Verdict::new(state, reason.clone()?)))
}

/// Why what is installed, or built, is not what it should be; empty when it is.
pub(super) fn stale_reasons(entry: &EntryView, recipe: &RecipeView) -> Vec<String> {
    let mut reasons: Vec<String> = Vec::new();
    if entry.installed && !entry.built {
        reasons.push("what was built for it is missing from the tree".to_owned());
    }
    if entry.installed
        && let Some(first) = entry.missing.first()
    {
        reasons.push(format!("{} is missing", first.display()));
    }
    if entry.installed
        && let Some(first) = entry.outdated.first()
    {
        reasons.push(format!("{} is from an earlier build", first.display()));
    }
    if entry.built
        && let (Some(now), Some(then)) = (&entry.inputs, &entry.built_from)
    {
        reasons.extend(now.changes_since(then, recipe.depends_rebuild));
        reasons.extend(entry.offer.as_ref().and_then(|offer| offer.due(&entry.signing)));
    }
    reasons
}

pub(super) fn why_due(entry: &EntryView, stale: &[String]) -> String {
    match (entry.built, stale.is_empty(), &entry.failure) {
        (true, true, _) => "it is built and not installed".into(),
        (true, false, _) => stale.join(", "),
        (false, _, Some(failure)) => since(entry, failure),
        (false, _, None) => "it is not there yet".into(),
    }
}

/// What has changed since a failure, which makes another attempt worth it.
fn since(entry: &EntryView, failure: &FailureView) -> String {
    let changes = match (&entry.inputs, failure.fingerprint.parse()) {
        (Some(now), Ok(then)) => now.changes_since(&then, true),
        _ => return "it failed before, and nothing tells that it would again".into(),
    };
    if changes.is_empty() {
        // What a failure is compared with beside its inputs: a file that was missing may be there.
        return "it failed before; since then the files of the kernel's headers changed".into();
    }
    format!("it failed before; since then {}", changes.join(", "))
}

pub(super) fn is_older(package: &PackageView, than: &PackageView) -> bool {
    !matches!(package.source, SourceView::Broken { .. })
        && version::compare(package.id.version.as_str(), than.id.version.as_str()).is_le()
}

/// An older version than the one that is to be installed.
pub(super) fn older_version(entry: &EntryView, newest: &PackageView, verdict: &Verdict) -> Verdict {
    if entry.installed && verdict.state != EntryState::Installed {
        return Verdict::new(EntryState::Installed, format!("until {} is there", newest.id));
    }
    Verdict::new(EntryState::Superseded, format!("{} is newer", newest.id))
}

/// A package that nobody installs by itself: what the tree says.
pub(super) fn by_the_tree(package: &PackageView, entry: &EntryView) -> Verdict {
    if let SourceView::Broken { path } = &package.source {
        let works =
            if entry.installed && entry.missing.is_empty() { "; the module that is installed still works" } else { "" };
        return Verdict::new(EntryState::Broken, format!("its source {} is missing{works}", path.display()));
    }
    let unreadable = package.autoinstall.as_ref().err();
    if let (Some(why), None) = (unreadable, &entry.recipe) {
        let state = if entry.installed { EntryState::Installed } else { EntryState::Failed };
        return Verdict { stale: entry.installed, ..Verdict::new(state, why.clone()) };
    }
    if let (Some(why), None) = (&package.trouble, &entry.recipe) {
        let state = match entry {
            EntryView { installed: true, .. } => return stays(why),
            EntryView { built: true, .. } => EntryState::Built,
            _ => EntryState::Added,
        };
        return Verdict::new(state, why.clone());
    }
    let stale = entry.recipe.as_ref().map(|recipe| stale_reasons(entry, recipe)).unwrap_or_default();
    if entry.installed {
        return Verdict { stale: !stale.is_empty(), ..Verdict::new(EntryState::Installed, stale.join(", ")) };
    }
    if let Some(verdict) = entry.recipe.as_ref().and_then(|recipe| rightly_absent(entry, recipe)) {
        return verdict;
    }
    if let Some(failure) = &entry.failure {
        return remembered(failure);
    }
    Verdict::new(if entry.built { EntryState::Built } else { EntryState::Added }, NOT_AUTOMATIC)
}
