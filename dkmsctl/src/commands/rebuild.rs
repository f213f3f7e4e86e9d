//! `dkmsctl rebuild`.

use dkms_core::bus::StatusFilter;

use super::Context;
use super::change::finish;
use crate::cli::Rebuild;
use crate::failure::{Exit, Failure};
use crate::target;
use crate::wait::{Skipped, Waiter};

pub(super) async fn rebuild(cx: &mut Context, args: &Rebuild) -> Result<Exit, Failure> {
    let manager = cx.link.manager();
    let package = match &args.package {
        None => None,
        Some(wanted) => Some(target::package(wanted, &manager.list_status(&StatusFilter::default()).await?)?),
    };
    let kernel =
        if args.all_kernels { None } else { target::kernel(args.kernel.as_ref(), &manager.list_kernels().await?)? };
    let what = package.as_ref().map_or_else(|| "every package with AUTOINSTALL".to_owned(), ToString::to_string);
    let place = match &kernel {
        Some(kernel) => format!("kernel {}", kernel.release),
        None if args.all_kernels => "every kernel".to_owned(),
        None => "every kernel (the running one is not among them)".to_owned(),
    };
    let waiter = Waiter::begin(&cx.link).await?;
    let (name, version) = package.as_ref().map_or(("", ""), |p| (&p.name, &p.version));
    let release = kernel.as_ref().map_or("", |k| &k.release);
    let jobs = manager.rebuild(name, version, release, &cx.options(false)).await?;
    if jobs.is_empty() {
        cx.out.line(&format!("nothing to rebuild: {what}, for {place}; see dkmsctl status"))?;
        return Ok(Exit::Done);
    }
    cx.out.line(&format!("rebuilding {what} for {place}"))?;
    let skipped = if package.is_some() && kernel.is_some() { Skipped::NotDone } else { Skipped::Fine };
    finish(cx, waiter, &jobs, "install", skipped, args.no_wait).await
}
