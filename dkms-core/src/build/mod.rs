//! Builds a package for a kernel: own folder, patches, make, log, first error (dkms-contract.md §3, "Order of a build").
//!
//! * [`workspace`]: the folder it is built in.
//! * [`sandbox`], [`commands`]: runs the package's code apart from the system.
//! * [`toolchain`], [`make_line`]: with which compiler, by which command.
//! * [`jobserver`]: how many compilers at once, of all builds together.
//! * [`expected`]: which of them takes longest.
//! * [`log`], [`first_error`]: what was said, and which line of it matters.
//! * `collect`: what came out, checked and staged.
//! * `post_build`: POST_BUILD, which may change the result.
//! * `cached`: the result out of the cache, or into it.

pub(crate) mod cached;
mod collect;
pub mod commands;
mod copy;
pub mod expected;
pub mod first_error;
pub mod jobserver;
pub mod log;
pub mod make_line;
mod post_build;
pub mod sandbox;
pub mod toolchain;
pub mod workspace;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::artifact::certificate::Certificate;
use crate::artifact::sign;
use crate::artifact::signing::Signing;
use crate::conf::Recipe;
use crate::error::{Error, IoContext as _, Result};
use crate::event::{Event, Phase, Sink};
use crate::fingerprint::Fingerprint;
use crate::host::distro::Distro;
use crate::host::headers::Headers;
use crate::host::users::User;
use crate::layout::Layout;
use crate::model::{KernelId, PackageId};
use crate::settings::{Priority, Settings};
use crate::tree::{self, BuiltRecord, Manifest};

use commands::{Progress, Surroundings, quote};
use jobserver::{JobServer, MakeJobs, Slot};
use log::BuildLog;
use toolchain::Toolchain;
use workspace::Workspace;

/// What a staged build's folder begins with, until it is whole (dkms-contract.md §3).
pub(crate) const STAGED_PREFIX: &str = ".tmp_";
/// How many logs of one package on one kernel are kept.
const LOGS_KEPT: usize = 10;

/// What is to be built.
#[derive(Debug)]
pub struct Build<'a> {
    /// Where things are.
    pub layout: &'a Layout,
    /// What an admin has set.
    pub settings: &'a Settings,
    /// Of which distribution the machine is.
    pub distro: &'a Distro,
    /// What.
    pub package: &'a PackageId,
    /// For which kernel.
    pub kernel: &'a KernelId,
    /// Its description.
    pub recipe: &'a Recipe,
    /// Its source.
    pub source: &'a Path,
    /// The kernel's headers.
    pub headers: &'a Headers,
    /// As whom.
    pub user: Option<&'a User>,
    /// How it stands behind what people do with the machine.
    pub priority: Priority,
    /// The machine's budget of compilers.
    pub jobserver: &'a JobServer,
    /// Of which it takes no more than so many; 0 for no limit.
    pub jobs: u32,
    /// How long it may take.
    pub limit: Duration,
    /// What it is built from, for the manifest.
    pub inputs: &'a Fingerprint,
    /// Why it is built, for the manifest.
    pub why: &'a str,
    /// Whether signing keys may be made here: not in a chroot.
    pub make_keys: bool,
}

/// Builds, and leaves the modules at their classic place. What was built for this kernel before stays until then.
///
/// The caller holds the build's lock ([`crate::tree::Wanted::build`]).
///
/// # Errors
/// A patch, make or a script that failed, a module that is missing or not fit, a full disk. The failed build's folder
/// and log are at the classic path then.
pub fn run(build: &Build<'_>, sink: &mut dyn Sink) -> Result<()> {
    sink.phase(Phase::Preparing);
    find_toolchain(build)?;
    let logs = build.layout.attempt_logs(build.package, build.kernel);
    let (logs, mut log) = match BuildLog::begin(&logs, build.package, build.kernel) {
        // A tree of one's own is all that a user needs to build.
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            let own = build.layout.own_attempt_logs(build.package, build.kernel);
            let log = BuildLog::begin(&own, build.package, build.kernel)?;
            (own, log)
        }
        begun => (logs, begun?),
    };
    log::prune(&logs, LOGS_KEPT);
    sink.emit(Event::Log { path: log.path().to_owned() });
    let meant = build.settings.package(&build.package.name).user.is_some();
    if build.user.is_none() && !meant && rustix::process::geteuid().is_root() {
        sink.warn("it is built as root: there is no user \"dkms\"; make one (systemd-sysusers)".to_owned());
    }
    let patches = Some(build.layout.override_patches(&build.package.name)).filter(|folder| folder.is_dir());
    let workspace = Workspace::prepare(build.layout, build.package, build.source, patches.as_deref(), build.user)?;
    let result = in_workspace(build, &workspace, &mut log, sink);
    if result.is_err()
        && let Err(error) = workspace.keep_failed(log.path())
    {
        sink.warn(format!("the failed build's folder could not be kept: {error}"));
    }
    if result.is_err() {
        // Made for what was to be collected, and empty now unless something is built for another architecture.
        let _ = fs::remove_dir(build.layout.kernel_dir(build.package, &build.kernel.release));
    }
    result
}

/// A compiler that is missing is told before anything runs.
fn find_toolchain(build: &Build<'_>) -> Result<()> {
    let own_choice = build.settings.build_environment.is_some();
    let missing = toolchain::missing(build.headers, &build.recipe.make, own_choice, build.distro, toolchain::on_path);
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::NoToolchain { package: build.package.clone(), kernel: build.kernel.clone(), missing })
}

fn in_workspace(build: &Build<'_>, workspace: &Workspace, log: &mut BuildLog, sink: &mut dyn Sink) -> Result<()> {
    for folder in &build.settings.package(&build.package.name).writable {
        if !build.layout.host(folder).exists() {
            sink.warn(format!("{} is not there, and so not writable for its build (dkmsd.toml)", folder.display()));
        }
    }
    let slot = take_slot(build, sink)?;
    // Neither how long it took nor how long it may take counts the wait for others.
    let started = Instant::now();
    let toolchain = Toolchain::choose(&build.headers.config, toolchain::on_path);
    let (shown, hidden) = (shown(build), hidden(build));
    let around = Surroundings {
        layout: build.layout,
        package: build.package,
        kernel: build.kernel,
        workspace,
        user: build.user,
        toolchain: &toolchain,
        jobs: build.jobs,
        build_environment: build.settings.build_environment.as_deref(),
        shown: &shown,
        hidden: &hidden,
        result: None,
        more: &build.settings.package(&build.package.name),
        slot: Some(&slot),
        make_jobs: None,
        priority: build.priority,
        limit: build.limit,
        deadline: started + build.limit,
    };
    let earlier = earlier_log(build);
    let mut progress = Progress::new(sink, earlier.as_deref());
    patch(build, &around, log, &mut progress)?;
    script(build, &around, "PRE_BUILD", build.recipe.pre_build.as_deref(), log, &mut progress)?;
    progress.sink().phase(Phase::Building);
    make(build, &around, log, &mut progress)?;
    progress.sink().phase(Phase::Finishing);
    let staged = collect::stage(build, workspace, &toolchain, log, progress.sink())?;
    let post = post_build::publish(build, &around, staged, started, log, &mut progress);
    let kept = build.layout.built_log(build.package, build.kernel);
    if !build.layout.module_dir(build.package, build.kernel).is_dir() {
        return post;
    }
    fs::create_dir_all(kept.parent().unwrap_or(&kept)).at("make the folder of", &kept)?;
    fs::copy(log.path(), &kept).at("write", &kept)?;
    post
}

/// Waits until there is a CPU for this build; for several where its MAKE line is going to take several without asking.
fn take_slot(build: &Build<'_>, sink: &mut dyn Sink) -> Result<Slot> {
    let all = build.jobserver.size();
    let wanted = match make_line::jobs(&build.recipe.make) {
        make_line::Jobs::One => 1,
        make_line::Jobs::Shared if build.jobs == 0 || build.jobs as usize >= all => 1,
        make_line::Jobs::Shared => build.jobs as usize,
        make_line::Jobs::Own(number) => number.unwrap_or(all),
    };
    let mut waited = false;
    let slot = build.jobserver.enter(wanted, &mut || {
        waited = true;
        sink.emit(Event::Waiting { why: None });
    });
    if waited {
        sink.emit(Event::Waited);
    }
    slot.at("take part in", build.jobserver.path())
}

/// What make may run more than one job with; none where it is to run one, or has a number of its own.
fn make_jobs(build: &Build<'_>, slot: &Slot) -> Result<Option<MakeJobs>> {
    let jobs = match make_line::jobs(&build.recipe.make) {
        make_line::Jobs::One | make_line::Jobs::Own(_) => return Ok(None),
        make_line::Jobs::Shared if build.jobs == 1 => return Ok(None),
        make_line::Jobs::Shared if slot.tokens() > 1 => slot.divide(),
        make_line::Jobs::Shared => slot.share(),
    };
    jobs.at("take part in", build.jobserver.path()).map(Some)
}

/// What a build reads, some of which admins keep in their home folders: a kernel of their own, a source that is a link.
fn shown(build: &Build<'_>) -> Vec<PathBuf> {
    let layout = build.layout;
    let headers = layout.kernel_source(&build.kernel.release);
    let mut shown = vec![
        layout.dkms_tree(),
        layout.source_tree(),
        layout.install_tree(),
        build.source.to_owned(),
        build.headers.dir.clone(),
        headers.with_file_name("source"),
        layout.override_dir(&build.package.name),
    ];
    // Headers that were built apart from their source name it in their Makefile by this link.
    shown.push(build.headers.dir.join("source"));
    shown.extend(build.settings.build_environment.iter().map(|file| layout.host(file)));
    if layout.root() != Path::new("/") {
        shown.insert(0, layout.root().to_owned());
    }
    shown
}

/// Keys, and the folders of other jobs.
fn hidden(build: &Build<'_>) -> Vec<PathBuf> {
    let layout = build.layout;
    let (key, _) = sign::key_paths(layout, &build.kernel.release, &collect::sign_settings(build));
    vec![key, layout.dkms_tree().join("mok.key"), layout.work_dir()]
}

/// The log of a successful build of this package for any kernel: it says how long the way is.
fn earlier_log(build: &Build<'_>) -> Option<String> {
    let version = build.layout.version_dir(build.package);
    let mut newest: Option<(SystemTime, PathBuf)> = None;
    for kernel in fs::read_dir(version).ok()?.flatten() {
        let log = kernel.path().join(&build.kernel.arch).join("log").join("make.log");
        if let Ok(modified) = fs::metadata(&log).and_then(|m| m.modified())
            && newest.as_ref().is_none_or(|(then, _)| modified > *then)
        {
            newest = Some((modified, log));
        }
    }
    fs::read_to_string(newest?.1).ok()
}

fn patch(build: &Build<'_>, around: &Surroundings<'_>, log: &mut BuildLog, progress: &mut Progress<'_>) -> Result<()> {
    for patch in &build.recipe.patches {
        let missing =
            |why: &str| Error::PatchMissing { package: build.package.clone(), patch: patch.clone(), why: why.into() };
        if patch.split('/').any(|part| part == "..") {
            return Err(missing("leaves the patches folder: write its name without .."));
        }
        let relative = Path::new("patches").join(patch);
        if around.workspace.open_inside(&relative).is_err() {
            return Err(missing("is named in PATCH and not in the source's patches folder"));
        }
        let command = format!("patch -p1 < {}", quote(&relative.to_string_lossy()));
        let before = log_text(log.path()).len();
        if around.run(&format!("Applying patch {patch}"), &command, None, log, progress)? != 0 {
            let text = log_text(log.path());
            return Err(Error::PatchFailed {
                package: build.package.clone(),
                kernel: build.kernel.clone(),
                patch: patch.clone(),
                first: first_error::first_error(text.get(before..).unwrap_or(&text))
                    .unwrap_or_else(|| "see the log".into()),
                log: log.path().to_owned(),
            });
        }
    }
    Ok(())
}

fn make(build: &Build<'_>, around: &Surroundings<'_>, log: &mut BuildLog, progress: &mut Progress<'_>) -> Result<()> {
    let command = make_line::complete(&build.recipe.make, &build.kernel.release, around.toolchain.appends_llvm());
    let jobs = around.slot.map(|slot| make_jobs(build, slot)).transpose()?.flatten();
    let around = &Surroundings { make_jobs: jobs.as_ref(), ..*around };
    let code = around.run("Building the modules", &command, None, log, progress)?;
    if code == 0 {
        return Ok(());
    }
    let first =
        first_error::first_error(&log_text(log.path())).unwrap_or_else(|| format!("make ended with code {code}"));
    Err(Error::BuildFailed {
        package: build.package.clone(),
        kernel: build.kernel.clone(),
        first,
        log: log.path().to_owned(),
    })
}

/// PRE_BUILD or POST_BUILD: an admin's script of that name wins, and runs in its own folder.
fn script(
    build: &Build<'_>,
    around: &Surroundings<'_>,
    directive: &'static str,
    value: Option<&str>,
    log: &mut BuildLog,
    progress: &mut Progress<'_>,
) -> Result<()> {
    let Some(value) = value else { return Ok(()) };
    let name = value.split_whitespace().next().unwrap_or_default();
    let theirs = build.layout.override_dir(&build.package.name);
    let (folder, file) = if theirs.join(name).is_file() {
        (build.layout.inside(&theirs), theirs.join(name))
    } else {
        (around.workspace.classic().to_owned(), around.workspace.folder().join(name))
    };
    if !is_executable(&file) {
        progress.sink().warn(format!("{directive}: {name} is not an executable file: not run"));
        return Ok(());
    }
    let command = format!("{}/{value}", folder.display());
    match around.run(&format!("Running the {directive} script"), &command, Some(&folder), log, progress)? {
        0 => Ok(()),
        code => {
            Err(Error::Script { package: build.package.clone(), directive, code, log: Some(log.path().to_owned()) })
        }
    }
}

/// Whether a file is there and may be executed.
#[must_use]
pub fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

fn log_text(log: &Path) -> String {
    fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Puts the staged folder at its classic place, with its manifest in it.
fn publish(build: &Build<'_>, staged: collect::Staged, seconds: f64, from_cache: bool) -> Result<()> {
    let built = BuiltRecord {
        at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        seconds,
        fingerprint: build.inputs.to_string(),
        source_stamp: build.inputs.source.clone(),
        modules: staged.modules.clone(),
        why: build.why.to_owned(),
        from_cache,
    };
    let mut manifest = Manifest::new(build.package.clone(), build.kernel.clone(), built);
    // What is installed stays installed until its successor stands; nobody changes that meanwhile.
    let _lock = tree::lock_manifest(build.layout, build.package, build.kernel)?;
    manifest.installed = Manifest::read(build.layout, build.package, build.kernel)?.and_then(|old| old.installed);
    let folder = staged.folder();
    let (release, settings) = (&build.kernel.release, collect::sign_settings(build));
    let (_, certificate) = sign::key_paths(build.layout, release, &settings);
    let offer = sign::offer(build.layout, release, &build.headers.config, &settings);
    let modules: Vec<_> = staged.modules.iter().map(|m| folder.join("module").join(&m.file_name)).collect();
    manifest.signing = Signing::of(
        modules.iter().map(PathBuf::as_path),
        Certificate::read(&certificate)?.as_ref(),
        staged.unsigned.clone(),
        offer.map(|offer| offer.mark).unwrap_or_default(),
    )?;
    manifest.write_to(&folder.join(".dkmsd-manifest.json"))?;
    let place = build.layout.built_dir(build.package, build.kernel);
    staged.move_to(&place)
}
