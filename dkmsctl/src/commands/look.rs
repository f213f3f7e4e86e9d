//! Commands that only read: status, kernels, jobs, history, check.

use dkms_core::bus::StatusFilter;
use jiff::tz::TimeZone;

use super::Context;
use crate::cli::{Check, History, Listing, Status};
use crate::failure::{Exit, Failure};
use crate::render::{json, lists, status as text};
use crate::target;

pub(super) async fn status(cx: &mut Context, args: &Status) -> Result<Exit, Failure> {
    let manager = cx.link.manager();
    let mut rows = manager.list_status(&StatusFilter::default()).await?;
    if let Some(wanted) = &args.package {
        // A name that is unknown is a mistake to tell of; without a version all of them are shown, not just the newest.
        let found = target::package(wanted, &rows)?;
        rows.retain(|r| r.package == found.name && wanted.version.as_ref().is_none_or(|v| r.version == *v));
    }
    let kernels = if args.kernel.is_some() || !args.json { manager.list_kernels().await? } else { Vec::new() };
    // A daemon that is older than this program has no word for it.
    let boot = text::Boot {
        secure_boot: manager.secure_boot().await.unwrap_or_default(),
        lockdown: manager.lockdown().await.unwrap_or_default(),
    };
    if let Some(wanted) = &args.kernel {
        // A package that is on no kernel has no row for this one; it is still one that is not there.
        if !rows.iter().any(|r| r.kernel == wanted.release) {
            target::kernel(Some(wanted), &kernels)?;
        }
        rows.retain(|r| {
            r.kernel.is_empty() || (r.kernel == wanted.release && (wanted.arch.is_empty() || r.arch == wanted.arch))
        });
    }
    let look = cx.out.look();
    // Nor for this.
    let unconfined = manager.unconfined().await.unwrap_or_default();
    if args.json {
        cx.out.print(&json::status(&rows, &boot, &unconfined))?;
        return Ok(Exit::Done);
    }
    cx.out.print(&(text::status(&rows, &kernels, &boot, look) + &text::unconfined(&unconfined, look)))?;
    Ok(Exit::Done)
}

pub(super) async fn kernels(cx: &mut Context, args: &Listing) -> Result<Exit, Failure> {
    let rows = cx.link.manager().list_kernels().await?;
    let look = cx.out.look();
    cx.out.print(&if args.json { json::kernels(&rows) } else { lists::kernels(&rows, look) })?;
    Ok(Exit::Done)
}

pub(super) async fn jobs(cx: &mut Context, args: &Listing) -> Result<Exit, Failure> {
    let manager = cx.link.manager();
    let rows = manager.list_jobs().await?;
    if args.json {
        cx.out.print(&json::jobs(&rows))?;
        return Ok(Exit::Done);
    }
    // A job tells only when it is new why it is there; the row that it is at tells for whom it waits, too.
    let status = if rows.is_empty() { Vec::new() } else { manager.list_status(&StatusFilter::default()).await? };
    let reasons = status.into_iter().filter(|row| row.job != 0).map(|row| (row.job, row.reason)).collect();
    let look = cx.out.look();
    cx.out.print(&lists::jobs(&rows, &reasons, look))?;
    Ok(Exit::Done)
}

pub(super) async fn history(cx: &mut Context, args: &History) -> Result<Exit, Failure> {
    let rows = cx.link.manager().list_history(args.max).await?;
    let look = cx.out.look();
    let text = if args.json { json::history(&rows) } else { lists::history(&rows, &TimeZone::system(), look) };
    cx.out.print(&text)?;
    Ok(Exit::Done)
}

pub(super) async fn check(cx: &mut Context, args: &Check) -> Result<Exit, Failure> {
    let manager = cx.link.manager();
    let kernel = match &args.kernel {
        Some(kernel) => kernel.release.clone(),
        None => manager.running_kernel().await?,
    };
    let (ready, problems) = match manager.check_kernel(&kernel).await {
        Err(dkms_core::bus::BusError::UnknownKernel(said)) => {
            // The daemon's word stands; ours only adds names that are close.
            let rows = manager.list_kernels().await?;
            target::kernel(Some(&crate::cli::KernelArg { release: kernel, arch: String::new() }), &rows)?;
            return Err(Failure::Failed(said));
        }
        other => other?,
    };
    let look = cx.out.look();
    let text =
        if args.json { json::check(&kernel, ready, &problems) } else { lists::check(&kernel, ready, &problems, look) };
    cx.out.print(&text)?;
    Ok(if ready { Exit::Done } else { Exit::Failed })
}
