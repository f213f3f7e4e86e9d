//! Commands that change one thing: add, remove, build, install, uninstall, unbuild, cancel, rescan.

use std::path::{Path, PathBuf};

use dkms_core::bus::{BusError, Options, StatusFilter};
use zbus::OwnedObjectPath;

use super::Context;
use crate::cli::{Add, Change, PackageArg, Remove};
use crate::failure::{Exit, Failure};
use crate::render::{status, subject};
use crate::target::{self, Package};
use crate::wait::{self, Skipped, Waiter};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Build,
    Install,
    Uninstall,
    Unbuild,
}

impl Verb {
    fn takes_away(self) -> bool {
        matches!(self, Self::Uninstall | Self::Unbuild)
    }

    fn operation(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Install => "install",
            Self::Uninstall => "uninstall",
            Self::Unbuild => "unbuild",
        }
    }
}

pub(super) async fn change(cx: &mut Context, verb: Verb, args: &Change) -> Result<Exit, Failure> {
    let manager = cx.link.manager();
    let kernels = manager.list_kernels().await?;
    let rows = manager.list_status(&StatusFilter::default()).await?;
    let kernel = match &args.kernel {
        // What was built for a kernel outlives it, and has to be within reach.
        Some(k) if verb.takes_away() && rows.iter().any(|r| r.kernel == k.release) => k.clone(),
        wanted => target::one_kernel(wanted.as_ref(), &kernels)?,
    };
    let package = match (target::package(&args.package, &rows), verb, &args.package.version) {
        (Ok(package), ..) => package,
        // Its source may have come this very moment: the daemon looks before it says no.
        (Err(_), Verb::Build | Verb::Install, Some(version)) => {
            Package { name: args.package.name.clone(), version: version.clone() }
        }
        (Err(e), ..) => return Err(e),
    };
    let waiter = Waiter::begin(&cx.link).await?;
    let (p, v, k, a, options) =
        (&package.name, &package.version, &kernel.release, &kernel.arch, cx.options(args.force));
    let made = match verb {
        Verb::Build => manager.build(p, v, k, a, &options).await,
        Verb::Install => manager.install(p, v, k, a, &options).await,
        Verb::Uninstall => manager.uninstall(p, v, k, a, &options).await,
        Verb::Unbuild => manager.unbuild(p, v, k, a, &options).await,
    };
    let (_, job) = match made {
        Err(BusError::UnknownPackage(said)) => {
            // The daemon's word stands; ours only adds names that are close.
            target::package(&args.package, &rows)?;
            return Err(Failure::Failed(said));
        }
        other => other?,
    };
    finish(cx, waiter, &[job], verb.operation(), Skipped::NotDone, args.no_wait).await
}

pub(super) async fn remove(cx: &mut Context, args: &Remove) -> Result<Exit, Failure> {
    let manager = cx.link.manager();
    let rows = manager.list_status(&StatusFilter::default()).await?;
    let package = target::package(&args.package, &rows)?;
    if args.package.version.is_none() {
        return Err(Failure::Usage(format!("the version has to be named: dkmsctl remove {package}")));
    }
    let waiter = Waiter::begin(&cx.link).await?;
    let jobs = manager.remove(&package.name, &package.version, &cx.options(false)).await?;
    if jobs.is_empty() {
        cx.out.line(&format!("removed {package}"))?;
        return Ok(Exit::Done);
    }
    finish(cx, waiter, &jobs, "remove", Skipped::Fine, args.no_wait).await
}

/// Waits for the jobs, or only names them.
pub(super) async fn finish(
    cx: &mut Context,
    waiter: Waiter,
    jobs: &[OwnedObjectPath],
    operation: &str,
    skipped: Skipped,
    no_wait: bool,
) -> Result<Exit, Failure> {
    if !no_wait {
        return waiter.follow(&cx.link, jobs, operation, skipped, &mut cx.out).await;
    }
    for id in jobs.iter().filter_map(|path| dkms_core::bus::names::job_id(path.as_str())) {
        cx.out.line(&format!("queued as job {id}"))?;
    }
    Ok(Exit::Done)
}

pub(super) async fn add(cx: &mut Context, args: &Add) -> Result<Exit, Failure> {
    let source = source(&args.source)?;
    let options: Options = cx.options(args.force);
    let manager = cx.link.manager();
    let (package, version) = manager.add(&source, &options).await?;
    let what = subject(&package, &version, "");
    // The call tells the package only; its job, which has just ended, tells the rest.
    let newest = manager.list_history(wait::NEWEST).await?;
    let job = newest.iter().find(|job| job.operation == "add" && job.package == package && job.version == version);
    cx.out.line(&match job.is_some_and(|job| job.unchanged) {
        false => format!("added {what}"),
        true if args.force && source.starts_with('/') => {
            format!("{what} was added already; its source is now what {source} holds")
        }
        true => format!("{what} was added already"),
    })?;
    let filter = StatusFilter { package, version, ..StatusFilter::default() };
    let rows = manager.list_status(&filter).await?;
    match rows.as_slice() {
        [] => {}
        rows if rows.iter().any(|r| r.autoinstall && matches!(r.state.as_str(), "queued" | "building")) => {
            cx.out.line("it will be built and installed by itself; see dkmsctl status, dkmsctl monitor")?;
        }
        rows if rows.iter().all(|r| r.state == "installed") => {}
        [row, ..] => {
            cx.out.line(&format!("{}; to install it: dkmsctl install {}", status::line(row), filter.package))?;
        }
    }
    Ok(Exit::Done)
}

/// A folder, as the daemon, which stands elsewhere, can open it; or PACKAGE/VERSION.
fn source(typed: &str) -> Result<String, Failure> {
    let path = Path::new(typed);
    let is_folder = path.is_dir();
    let looks_like_a_folder = path.is_absolute() || typed == "." || typed == ".." || typed.starts_with("./");
    if !is_folder && !looks_like_a_folder && typed.parse::<PackageArg>().is_ok_and(|p| p.version.is_some()) {
        return Ok(typed.to_owned());
    }
    let wrong = |why: String| Failure::Failed(format!("{typed}: {why}"));
    let folder: PathBuf = path.canonicalize().map_err(|e| wrong(e.to_string()))?;
    if !folder.join("dkms.conf").is_file() {
        return Err(wrong("there is no dkms.conf in it; every driver source has one at its root".into()));
    }
    folder.into_os_string().into_string().map_err(|_| wrong("its name is not UTF-8".into()))
}

pub(super) async fn cancel(cx: &mut Context, id: u32) -> Result<Exit, Failure> {
    let manager = cx.link.manager();
    let job = cx.link.job(manager.get_job(id).await?).await?;
    job.cancel(&cx.options(false)).await?;
    cx.out.line(&format!("canceling job {id}"))?;
    Ok(Exit::Done)
}

pub(super) async fn rescan(cx: &mut Context) -> Result<Exit, Failure> {
    let manager = cx.link.manager();
    manager.rescan().await?;
    let jobs = manager.n_jobs().await?;
    cx.out.line(&match jobs {
        0 => "looked: nothing is due".to_owned(),
        1 => "looked: 1 job waits or runs".to_owned(),
        n => format!("looked: {n} jobs wait or run"),
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_folders_with_a_dkms_conf_or_names() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().canonicalize().unwrap();
        let typed = folder.to_str().unwrap();
        assert!(source(typed).unwrap_err().to_string().contains("no dkms.conf"));
        std::fs::write(folder.join("dkms.conf"), "").unwrap();
        assert_eq!(source(typed).unwrap(), typed);
        assert_eq!(source("r8169/2.2LK").unwrap(), "r8169/2.2LK");
        assert!(source("./nowhere").is_err());
        assert!(source("r8169").is_err());
    }
}
