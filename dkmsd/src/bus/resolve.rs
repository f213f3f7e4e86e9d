//! From the words of a request to tasks. Pure: it asks the last look only.

use dkms_core::bus::BusError;
use dkms_core::bus::types::Options;
use dkms_core::conf::version;
use dkms_core::model::{EntryState, KernelId, KernelRelease, PackageId, PackageName, PackageVersion};
use dkms_core::observe::Look;
use dkms_core::plan::{HeaderView, KernelPresence, KernelView, PackageView, Row};

use crate::queue::job::{Operation, Task};
use crate::snapshot::Snapshot;

/// The words of a request about one package.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// PACKAGE_NAME; empty for all, where that is allowed.
    pub package: &'a str,
    /// PACKAGE_VERSION; empty for the newest.
    pub version: &'a str,
    /// A kernel's release; empty as the method says.
    pub kernel: &'a str,
    /// An architecture; empty for this machine's.
    pub arch: &'a str,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// By number.
    pub uid: u32,
    /// How.
    pub options: &'a Options,
}

impl Asker<'_> {
    /// A task of this asker.
    #[must_use]
    pub fn task(&self, operation: Operation, package: Option<PackageId>, kernel: Option<KernelId>) -> Task {
        let who = if self.options.by_hand { "asked for" } else { "asked for by a program" };
        Task {
            id: 0,
            operation,
            package,
            source: None,
            kernel,
            batch: Vec::new(),
            force: self.options.force,
            by_hand: self.options.by_hand,
            uid: self.uid,
            reason: format!("{who} (uid {})", self.uid),
        }
    }
}

/// One operation on one kernel.
///
/// # Errors
/// UnknownPackage, UnknownKernel, HeadersMissing (of what builds), InvalidConf.
pub fn one(snapshot: &Snapshot, operation: Operation, words: Words<'_>, asker: Asker<'_>) -> Result<Task, BusError> {
    let look = looked(snapshot)?;
    let package = package(look, words.package, words.version)?;
    let kernel = kernel_or_running(look, words.kernel, words.arch)?;
    if operation.builds() {
        if let (Err(why), Some(entry)) = (&package.autoinstall, package.entries.get(&kernel.id))
            && entry.recipe.is_none()
        {
            return Err(BusError::InvalidConf(why.clone()));
        }
        ready(kernel)?;
    }
    Ok(asker.task(operation, Some(package.id.clone()), Some(kernel.id.clone())))
}

/// Builds and installs again, whatever is there.
///
/// # Errors
/// As [`one`]; HeadersMissing when no kernel is left.
pub fn rebuild(snapshot: &Snapshot, words: Words<'_>, asker: Asker<'_>) -> Result<Vec<Task>, BusError> {
    let look = looked(snapshot)?;
    let kernels: Vec<&KernelView> = if words.kernel.is_empty() {
        look.world.kernels.iter().filter(|k| k.presence != KernelPresence::Gone && ready(k).is_ok()).collect()
    } else {
        let kernel = kernel_named(look, words.kernel, words.arch)?;
        ready(kernel)?;
        vec![kernel]
    };
    if kernels.is_empty() {
        let why = "no kernel here has headers that can be built with; see dkmsctl kernels";
        return Err(BusError::HeadersMissing(why.into()));
    }
    let wanted = |row: &&Row, kernel: &KernelView| {
        let there = row.kernel.as_ref() == Some(&kernel.id);
        let for_it = !matches!(
            row.state,
            EntryState::Excluded | EntryState::Dormant | EntryState::Superseded | EntryState::Broken
        );
        there && for_it && row.autoinstall
    };
    let one_package = match words.package {
        "" => None,
        name => Some(package(look, name, words.version)?.id.clone()),
    };
    let options = Options { force: true, ..asker.options.clone() };
    let asker = Asker { options: &options, ..asker };
    let mut tasks = Vec::new();
    for kernel in kernels {
        let task = |package: &PackageId| asker.task(Operation::Install, Some(package.clone()), Some(kernel.id.clone()));
        match &one_package {
            Some(package) => tasks.push(task(package)),
            None => tasks.extend(look.plan.rows.iter().filter(|r| wanted(r, kernel)).map(|r| task(&r.package))),
        }
    }
    Ok(tasks)
}

/// What is missing or stale, for one kernel or all.
///
/// # Errors
/// UnknownKernel; HeadersMissing when a kernel was named.
pub fn autoinstall(snapshot: &Snapshot, kernel: &str, asker: Asker<'_>) -> Result<Vec<Task>, BusError> {
    use dkms_core::plan::Verb;
    let look = looked(snapshot)?;
    let only = match kernel {
        "" => None,
        named => {
            let kernel = kernel_named(look, named, "")?;
            ready(kernel)?;
            Some(kernel.id.clone())
        }
    };
    let due = look.plan.actions.iter().filter_map(|action| match &action.verb {
        Verb::Install(kernel) if only.as_ref().is_none_or(|only| only == kernel) => {
            Some(asker.task(Operation::Install, Some(action.package.clone()), Some(kernel.clone())))
        }
        _ => None,
    });
    Ok(due.collect())
}

/// Forgetting a package.
///
/// # Errors
/// UnknownPackage.
pub fn remove(snapshot: &Snapshot, words: Words<'_>, asker: Asker<'_>) -> Result<Vec<Task>, BusError> {
    let look = looked(snapshot)?;
    let package = package(look, words.package, words.version)?;
    Ok(vec![asker.task(Operation::Remove, Some(package.id.clone()), None)])
}

fn looked(snapshot: &Snapshot) -> Result<&Look, BusError> {
    let starting = || BusError::Busy("dkmsd has just started and is still looking at the disk; try again".into());
    snapshot.look.as_deref().ok_or_else(starting)
}

fn package<'l>(look: &'l Look, name: &str, wanted: &str) -> Result<&'l PackageView, BusError> {
    let name = PackageName::new(name).map_err(|e| BusError::UnknownPackage(e.to_string()))?;
    let versions: Vec<&PackageView> = look.world.packages.iter().filter(|p| p.id.name == name).collect();
    if wanted.is_empty() {
        let newest = versions.into_iter().max_by(|a, b| version::compare(a.id.version.as_str(), b.id.version.as_str()));
        return newest
            .ok_or_else(|| BusError::UnknownPackage(format!("there is no package {name}; see dkmsctl status")));
    }
    let wanted = PackageVersion::new(wanted).map_err(|e| BusError::UnknownPackage(e.to_string()))?;
    versions.into_iter().find(|p| p.id.version == wanted).ok_or_else(|| {
        BusError::UnknownPackage(format!("there is no version {wanted} of package {name}; see dkmsctl status {name}"))
    })
}

fn kernel_or_running<'l>(look: &'l Look, release: &str, arch: &str) -> Result<&'l KernelView, BusError> {
    let release = if release.is_empty() { look.running.as_str() } else { release };
    kernel_named(look, release, arch)
}

fn kernel_named<'l>(look: &'l Look, release: &str, arch: &str) -> Result<&'l KernelView, BusError> {
    let release = KernelRelease::new(release).map_err(|e| BusError::UnknownKernel(e.to_string()))?;
    let found = look.world.kernels.iter().find(|k| {
        k.id.release == release && (arch.is_empty() || k.id.arch.as_str() == arch) && k.presence != KernelPresence::Gone
    });
    found.ok_or_else(|| BusError::UnknownKernel(format!("there is no kernel {release} here; see dkmsctl kernels")))
}

fn ready(kernel: &KernelView) -> Result<(), BusError> {
    let release = &kernel.id.release;
    let why = match &kernel.headers {
        HeaderView::Ready { .. } => return Ok(()),
        HeaderView::Settling { why } => {
            format!("the headers of {release} are still arriving: {why}; try again in a moment")
        }
        HeaderView::Missing { why, package: Some(package) } => {
            format!("{release} has no headers to build with: {why}; install {package}")
        }
        HeaderView::Missing { why, package: None } => format!("{release} has no headers to build with: {why}"),
        HeaderView::Unusable { why } => format!("the headers of {release} cannot be used here: {why}"),
    };
    Err(BusError::HeadersMissing(why))
}
