//! `dkmsctl kernel-added` and `kernel-removed`: the word of a kernel's own package, by /usr/lib/dkms/kernel-hook.
//!
//! The hook runs while the package manager holds its lock and before other packages are unpacked. So nothing is waited for
//! that needs more than what is on disk now, and nothing without a deadline (design.md, decision 11).

use std::path::Path;
use std::time::Duration;

use dkms_core::bus::{self, BusError, CheckProblem, KernelRow, Link};
use dkms_core::host::chroot;
use dkms_core::layout::Layout;
use tokio::time::{Instant, timeout_at};

use super::{Context, PATIENCE};
use crate::cli::{Cli, KernelAdded};
use crate::failure::{Exit, Failure};
use crate::out::{self, Out};
use crate::render::{subject, tame};
use crate::signals::{self, Signal};
use crate::wait::{Skipped, Waiter};

/// Headers that lie there whole are ready a moment after their last change; longer means that they are still arriving.
const SETTLE: Duration = Duration::from_secs(20);

/// Tells of a kernel that is there, and waits for its modules as far as they can be built now.
pub(super) async fn added(cli: &Cli, args: &KernelAdded) -> Result<Exit, Failure> {
    let Some(link) = reach(cli).await? else { return Ok(Exit::NoDaemon) };
    let mut cx = Context { link, out: Out::new(), interactive: false };
    cx.link.manager().kernel_added(&args.kernel).await?;
    let Some(seconds) = args.wait else { return Ok(Exit::Done) };
    let end = Instant::now() + Duration::from_secs(seconds);
    let followed = timeout_at(end, follow(&mut cx, &args.kernel)).await;
    cx.out.redraw(&[])?;
    if followed.is_err() {
        let what = format!("not everything is built for kernel {} after {seconds} seconds", args.kernel);
        out::complain(&format!("{what}; dkmsd goes on with it: see dkmsctl jobs, dkmsctl check -k {}", args.kernel));
        return Ok(Exit::Failed);
    }
    followed.unwrap_or(Ok(()))?;
    report(&mut cx, &args.kernel).await
}

/// Tells of a kernel that is about to go. What was built for it goes when it has gone.
pub(super) async fn removed(cli: &Cli, kernel: &str) -> Result<Exit, Failure> {
    let Some(link) = reach(cli).await? else { return Ok(Exit::NoDaemon) };
    link.manager().kernel_removed(kernel).await?;
    Ok(Exit::Done)
}

/// The daemon that looks after this root, when it runs. Through the bus a daemon would be started that an admin stopped;
/// and one whose socket a chroot shares looks after another root.
async fn reach(cli: &Cli) -> Result<Option<Link>, Failure> {
    if cli.root == Path::new("/") && chroot::in_chroot().unwrap_or(true) {
        return Ok(None);
    }
    let layout = Layout::under(&cli.root);
    match tokio::time::timeout(PATIENCE, bus::connect_private(&layout)).await {
        Ok(Ok(link)) => Ok(Some(link)),
        Ok(Err(bus::ConnectError::NoDaemon { .. })) => Ok(None),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Failure::Silent { seconds: PATIENCE.as_secs() }),
    }
}

/// Until nothing more can be done for a kernel now.
async fn follow(cx: &mut Context, kernel: &str) -> Result<(), Failure> {
    let mut heard = signals::listen(&cx.link).await?;
    cx.link.manager().rescan().await?;
    let settled = Instant::now() + SETTLE;
    loop {
        // It listens before the jobs are listed, so that no end is missed.
        let waiter = Waiter::begin(&cx.link).await?;
        let mut jobs = cx.link.manager().list_jobs().await?;
        jobs.retain(|job| job.kernel == kernel);
        if !jobs.is_empty() {
            let jobs: Vec<_> = jobs.into_iter().map(|job| job.object).collect();
            if waiter.follow(&cx.link, &jobs, "install", Skipped::Fine, &mut cx.out).await? == Exit::Interrupted {
                return Ok(());
            }
            continue;
        }
        if row(cx, kernel).await?.is_none_or(|row| row.headers != "settling") {
            return Ok(());
        }
        match timeout_at(settled, heard.recv()).await {
            Ok(Some(Signal::Gone) | None) => {
                return Err(Failure::Gone { after: format!("kernel {kernel} was not seen to yet") });
            }
            Ok(Some(_)) => {}
            Err(_) => return Ok(()),
        }
    }
}

async fn row(cx: &Context, kernel: &str) -> Result<Option<KernelRow>, Failure> {
    Ok(cx.link.manager().list_kernels().await?.into_iter().find(|row| row.kernel == kernel))
}

/// Says what is not there, and what brings it.
async fn report(cx: &mut Context, kernel: &str) -> Result<Exit, Failure> {
    let problems = match cx.link.manager().check_kernel(kernel).await {
        // No kernel yet, or not any more: then nothing is missing.
        Err(BusError::UnknownKernel(_)) => return Ok(Exit::Done),
        other => other?.1,
    };
    let (waiting, failed): (Vec<_>, Vec<_>) = problems.into_iter().partition(|p| p.state == "waiting-for-headers");
    if let Some(first) = waiting.first() {
        let names: Vec<_> = waiting.iter().map(|p| subject(&p.package, &p.version, "")).collect();
        let packages = names.join(", ");
        cx.out.line(&tame(&format!(
            "kernel {kernel} has no headers yet ({}): built when they come: {packages}",
            first.reason
        )))?;
    }
    for problem in &failed {
        out::complain(&line(kernel, problem));
    }
    if failed.is_empty() {
        return Ok(Exit::Done);
    }
    out::complain(&format!("kernel {kernel} is installed, and not fit to boot into: dkmsctl check -k {kernel}"));
    Ok(Exit::Failed)
}

fn line(kernel: &str, problem: &CheckProblem) -> String {
    let CheckProblem { package, version, state, reason } = problem;
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    tame(&format!("{} is {state}{why}", subject(package, version, kernel)))
}
