//! What everybody else sees: rows of packages and kernels with the jobs that are at them. Pure.

use std::path::PathBuf;
use std::sync::Arc;

use dkms_core::artifact::signing::Signing;
use dkms_core::bus::types::{CheckProblem, KernelRow, StatusRow};
use dkms_core::conf::version;
use dkms_core::event::Phase;
use dkms_core::model::{EntryState, KernelId, KernelRelease, PackageId};
use dkms_core::observe::Look;
use dkms_core::plan::{HeaderView, KernelPresence, KernelView, Row};

use crate::queue::job::{Job, State};
use crate::queue::jobs::Jobs;

/// A job, as the bus shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// Its id.
    pub id: u32,
    /// What it does.
    pub operation: &'static str,
    /// With which package; empty while that is not known.
    pub package: String,
    /// Which version.
    pub version: String,
    /// For which kernel; empty for none.
    pub kernel: String,
    /// For which machine.
    pub arch: String,
    /// Who asked.
    pub uid: u32,
    /// Why.
    pub reason: String,
    /// Queued, running, canceling.
    pub state: &'static str,
    /// What it is doing.
    pub phase: Phase,
    /// How far, when that can be guessed.
    pub progress: Option<f64>,
    /// Whether a cancel would be heeded.
    pub cancelable: bool,
    /// Its log.
    pub log: Option<PathBuf>,
}

/// A state of the whole daemon.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// One a package and kernel.
    pub rows: Vec<StatusRow>,
    /// Newest first.
    pub kernels: Vec<KernelRow>,
    /// By id.
    pub jobs: Vec<JobView>,
    /// idle, settling, building, degraded.
    pub state: &'static str,
    /// The last look, for questions that need more than rows; none before the first.
    pub look: Option<Arc<Look>>,
}

/// A change that a signal tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusChange {
    /// Of which row.
    pub package: String,
    /// Which version.
    pub version: String,
    /// On which kernel.
    pub kernel: String,
    /// For which machine.
    pub arch: String,
    /// Empty when it is new.
    pub old: String,
    /// Empty when it is gone.
    pub new: String,
}

impl Snapshot {
    /// Puts together what the last look found and the jobs there are.
    #[must_use]
    pub fn new(look: Option<&Arc<Look>>, jobs: &Jobs, settling: bool) -> Self {
        // What is over shows until the look that follows it: its outcome is not in the rows before.
        let live = || jobs.iter();
        let mut rows: Vec<StatusRow> = Vec::new();
        let mut kernels = Vec::new();
        if let Some(look) = look {
            rows = look.plan.rows.iter().map(|row| status_row(look, row, &live)).collect();
            rows.sort_by(order);
            kernels = look
                .world
                .kernels
                .iter()
                .filter(|k| k.presence != KernelPresence::Gone)
                .map(|k| kernel_row(look, k))
                .collect();
            kernels.sort_by(|a, b| version::compare(&b.kernel, &a.kernel));
        }
        let state = if live().next().is_some() {
            "building"
        } else if settling {
            "settling"
        } else if rows
            .iter()
            .any(|row| row.state == EntryState::Failed.as_str() || row.state == EntryState::Broken.as_str())
        {
            "degraded"
        } else {
            "idle"
        };
        Self { rows, kernels, jobs: live().map(job_view).collect(), state, look: look.cloned() }
    }

    /// What keeps a kernel from being fit; none for a kernel that is not known.
    #[must_use]
    pub fn problems(&self, kernel: &KernelRelease) -> Option<Vec<CheckProblem>> {
        let look = self.look.as_ref()?;
        let known =
            look.world.kernels.iter().find(|k| k.id.release == *kernel && k.presence != KernelPresence::Gone)?;
        Some(problems(look, &known.id))
    }

    /// Whether Secure Boot is on: `on`, `off`; empty where that is not known.
    #[must_use]
    pub fn secure_boot(&self) -> &'static str {
        match self.look.as_ref().and_then(|look| look.boot.enabled) {
            Some(true) => "on",
            Some(false) => "off",
            None => "",
        }
    }

    /// The running kernel's lockdown; empty where that is not known.
    #[must_use]
    pub fn lockdown(&self) -> &str {
        self.look.as_ref().and_then(|look| look.boot.lockdown.as_deref()).unwrap_or_default()
    }

    /// The rows that are in another state than before.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<StatusChange> {
        let key = |row: &StatusRow| (row.package.clone(), row.version.clone(), row.kernel.clone(), row.arch.clone());
        let index = |rows: &[StatusRow]| -> std::collections::BTreeMap<_, String> {
            rows.iter().map(|row| (key(row), row.state.clone())).collect()
        };
        let (old, new) = (index(&before.rows), index(&self.rows));
        old.keys()
            .chain(new.keys().filter(|k| !old.contains_key(*k)))
            .filter(|k| old.get(*k) != new.get(*k))
            .map(|k| StatusChange {
                package: k.0.clone(),
                version: k.1.clone(),
                kernel: k.2.clone(),
                arch: k.3.clone(),
                old: old.get(k).cloned().unwrap_or_default(),
                new: new.get(k).cloned().unwrap_or_default(),
            })
            .collect()
    }
}

/// Packages by name, versions and kernels newest first.
fn order(a: &StatusRow, b: &StatusRow) -> std::cmp::Ordering {
    a.package
        .cmp(&b.package)
        .then_with(|| version::compare(&b.version, &a.version))
        .then_with(|| version::compare(&b.kernel, &a.kernel))
}

fn problems(look: &Look, kernel: &KernelId) -> Vec<CheckProblem> {
    let rows = look.plan.rows.iter().filter(|row| row.kernel.as_ref() == Some(kernel));
    rows.filter_map(|row| {
        let (state, reason) = match row.problem() {
            Some(reason) if row.stale => ("stale", reason.to_owned()),
            Some(reason) => (row.state.as_str(), reason.to_owned()),
            None => (signing(look, &row.package, Some(kernel)), look.refusal(&row.package, kernel)?),
        };
        Some(CheckProblem {
            package: row.package.name.to_string(),
            version: row.package.version.to_string(),
            state: state.into(),
            reason,
        })
    })
    .collect()
}

/// Whether what is built is signed, in a word.
fn signing(look: &Look, package: &PackageId, kernel: Option<&KernelId>) -> &'static str {
    entry(look, package, kernel).filter(|e| e.built).map_or("", |e| look.boot.word(&e.signing))
}

/// What is wrong with the signatures of what is installed; none when nothing is, or nothing else tells of it.
fn signing_reason(look: &Look, row: &Row) -> Option<String> {
    let kernel = row.kernel.as_ref().filter(|_| row.state == EntryState::Installed && row.reason.is_empty())?;
    look.refusal(&row.package, kernel).or_else(|| match &entry(look, &row.package, Some(kernel))?.signing {
        Signing::Unsigned { failed: Some(why), .. } => Some(format!("its modules are used unsigned: {why}")),
        _ => None,
    })
}

fn status_row<'a, I: Iterator<Item = &'a Job>>(look: &Look, row: &Row, jobs: &impl Fn() -> I) -> StatusRow {
    let at = |job: &&Job| {
        job.task.package.as_ref() == Some(&row.package) && job.task.kernel == row.kernel && job.task.operation.builds()
    };
    let job = jobs().find(at);
    let waits = job.and_then(|job| job.waiting.as_ref()).filter(|why| !why.is_empty());
    let state = match job.map(|job| &job.state) {
        None => row.state,
        Some(State::Queued) => EntryState::Queued,
        Some(_) if waits.is_some() => EntryState::Queued,
        Some(_) => EntryState::Building,
    };
    let entry = entry(look, &row.package, row.kernel.as_ref());
    let failure = entry.and_then(|e| e.failure.as_ref()).filter(|_| row.state == EntryState::Failed || row.stale);
    let log = job.and_then(|job| job.log.clone()).or_else(|| entry.and_then(|e| e.log.clone()));
    StatusRow {
        package: row.package.name.to_string(),
        version: row.package.version.to_string(),
        kernel: row.kernel.as_ref().map(|k| k.release.to_string()).unwrap_or_default(),
        arch: row.kernel.as_ref().map(|k| k.arch.to_string()).unwrap_or_default(),
        state: state.as_str().into(),
        stale: row.stale,
        reason: waits
            .or(job.map(|job| &job.task.reason))
            .cloned()
            .or_else(|| signing_reason(look, row))
            .unwrap_or_else(|| row.reason.clone()),
        first_error: failure.and_then(|f| f.first_error.clone()).unwrap_or_default(),
        excerpt: failure.map(|f| f.excerpt.join("\n")).unwrap_or_default(),
        error: failure.map(|f| f.error.clone()).unwrap_or_default(),
        log: log.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
        job: job.map_or(0, |job| job.task.id),
        refused: row.kernel.as_ref().and_then(|kernel| look.refusal(&row.package, kernel)).unwrap_or_default(),
        autoinstall: row.autoinstall,
        held: entry.is_some_and(|e| e.held.is_some()),
        signing: signing(look, &row.package, row.kernel.as_ref()).into(),
    }
}

fn entry<'l>(look: &'l Look, package: &PackageId, kernel: Option<&KernelId>) -> Option<&'l dkms_core::plan::EntryView> {
    let package = look.world.packages.iter().find(|p| p.id == *package)?;
    package.entries.get(kernel?)
}

fn kernel_row(look: &Look, kernel: &KernelView) -> KernelRow {
    let (headers, reason, package) = match &kernel.headers {
        HeaderView::Ready { .. } => ("ready", "", None),
        HeaderView::Settling { why } => ("settling", why.as_str(), None),
        HeaderView::Missing { why, package } => ("missing", why.as_str(), package.clone()),
        HeaderView::Unusable { why } => ("unusable", why.as_str(), None),
    };
    KernelRow {
        kernel: kernel.id.release.to_string(),
        arch: kernel.id.arch.to_string(),
        presence: match kernel.presence {
            KernelPresence::Installed => "installed",
            KernelPresence::HeadersOnly | KernelPresence::Gone => "headers-only",
        }
        .into(),
        headers: headers.into(),
        reason: reason.into(),
        package: package.unwrap_or_default(),
        running: kernel.id.release == look.running,
        fit: problems(look, &kernel.id).is_empty(),
        enforces: look.enforcing.get(&kernel.id).map(|enforcing| enforcing.why.clone()).unwrap_or_default(),
    }
}

pub(crate) fn job_view(job: &Job) -> JobView {
    let task = &job.task;
    let text = |word: Option<String>| word.unwrap_or_default();
    JobView {
        id: task.id,
        operation: task.operation.as_str(),
        package: text(task.package.as_ref().map(|p| p.name.to_string())),
        version: text(task.package.as_ref().map(|p| p.version.to_string())),
        kernel: text(task.kernel.as_ref().map(|k| k.release.to_string())),
        arch: text(task.kernel.as_ref().map(|k| k.arch.to_string())),
        uid: task.uid,
        reason: task.reason.clone(),
        state: job.state.as_str(),
        phase: if job.waiting.is_some() { Phase::Waiting } else { job.phase },
        progress: job.progress,
        cancelable: job.cancelable(),
        log: job.log.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use dkms_core::observe::Observer;
    use dkms_core::settings::Settings;

    use super::*;

    #[test]
    fn what_the_machine_asks_of_modules_is_shown_once_it_was_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        let snapshot = || {
            let observer = Observer::new(&Settings::load(root.path()).unwrap()).unwrap();
            let look = Arc::new(observer.look(SystemTime::now()).unwrap());
            Snapshot::new(Some(&look), &Jobs::default(), false)
        };
        let said = |snapshot: &Snapshot| (snapshot.secure_boot(), snapshot.lockdown().to_owned());
        write("etc/os-release", b"ID=debian\n");
        assert_eq!(said(&Snapshot::default()), ("", String::new()));
        assert_eq!(said(&snapshot()), ("", String::new()));
        let variable = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        write(variable, &[6, 0, 0, 0, 1]);
        write("sys/kernel/security/lockdown", b"none [integrity] confidentiality\n");
        assert_eq!(said(&snapshot()), ("on", "integrity".to_owned()));
        write(variable, &[6, 0, 0, 0, 0]);
        assert_eq!(said(&snapshot()), ("off", "integrity".to_owned()));
    }
}
