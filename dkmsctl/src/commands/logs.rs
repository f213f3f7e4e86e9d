//! `dkmsctl logs`: a running job's log by the descriptor that the daemon opens, an older one by its path.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dkms_core::build::first_error;
use dkms_core::bus::{BusError, JobProxy, StatusFilter, StatusRow};
use rustix::fs::inotify;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;

use super::Context;
use crate::cli::{KernelArg, Logs, PackageArg};
use crate::failure::{Exit, Failure};
use crate::render::{Paint, excerpt, subject, tame};
use crate::signals::{self, Signal};
use crate::target;

/// Which log is meant.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Job(u32),
    File(PathBuf),
}

pub(super) async fn logs(cx: &mut Context, args: &Logs) -> Result<Exit, Failure> {
    match find(cx, args).await? {
        Source::Job(id) => job(cx, id, args.follow).await,
        Source::File(path) => file(cx, &path),
    }
}

async fn find(cx: &Context, args: &Logs) -> Result<Source, Failure> {
    let manager = cx.link.manager();
    match &args.what {
        Some(what) => match job_number(what) {
            Some(id) => match manager.get_job(id).await {
                Ok(_) => Ok(Source::Job(id)),
                Err(BusError::NoSuchJob(said)) => finished(cx, Some(id), &said).await,
                Err(e) => Err(e.into()),
            },
            None => {
                let rows = manager.list_status(&StatusFilter::default()).await?;
                let package = target::package(what, &rows)?;
                let running = manager.running_kernel().await?;
                let of_it = rows.iter().filter(|r| r.package == package.name && r.version == package.version);
                choose(of_it, args.kernel.as_ref(), &running).ok_or_else(|| {
                    let place = args.kernel.as_ref().map(|k| format!(" for kernel {}", k.release)).unwrap_or_default();
                    Failure::Failed(format!("{package} has no log{place}: no build was tried"))
                })
            }
        },
        None => {
            let jobs = manager.list_jobs().await?;
            let running: Vec<_> = jobs.iter().filter(|j| j.state != "queued").collect();
            match running.as_slice() {
                [] => finished(cx, None, "nothing was built yet").await,
                [only] => Ok(Source::Job(only.id)),
                several => {
                    let names: Vec<_> = several
                        .iter()
                        .map(|j| format!("{} ({})", j.id, subject(&j.package, &j.version, &j.kernel)))
                        .collect();
                    Err(Failure::Usage(format!("several jobs run, so say which: {}", names.join(", "))))
                }
            }
        }
    }
}

/// A word of digits alone is a job.
fn job_number(what: &PackageArg) -> Option<u32> {
    if what.version.is_none() { what.name.parse().ok() } else { None }
}

/// The log of a job that has ended: of this one, or of the newest.
async fn finished(cx: &Context, id: Option<u32>, said: &str) -> Result<Source, Failure> {
    let manager = cx.link.manager();
    let history = manager.list_history(0).await?;
    let known = history.iter().find(|h| id.is_none_or(|id| h.job == id));
    let Some(h) = known else { return Err(Failure::Failed(said.to_owned())) };
    let filter = StatusFilter {
        package: h.package.clone(),
        version: h.version.clone(),
        kernel: h.kernel.clone(),
        arch: h.arch.clone(),
    };
    let rows = manager.list_status(&filter).await?;
    match rows.first() {
        Some(row) if !row.log.is_empty() => Ok(Source::File(row.log.clone().into())),
        _ => Err(Failure::Failed(format!(
            "job {} ({}: {}) left no log",
            h.job,
            subject(&h.package, &h.version, &h.kernel),
            h.result
        ))),
    }
}

/// Among the rows of one package version: the kernel that was named, else the running one, else the newest with a log.
fn choose<'r>(rows: impl Iterator<Item = &'r StatusRow>, kernel: Option<&KernelArg>, running: &str) -> Option<Source> {
    let mut rows: Vec<_> = rows
        .filter(|r| r.job != 0 || !r.log.is_empty())
        .filter(|r| kernel.is_none_or(|k| r.kernel == k.release && (k.arch.is_empty() || r.arch == k.arch)))
        .collect();
    rows.sort_by_key(|r| r.kernel != running);
    rows.first().map(|r| if r.state == "building" { Source::Job(r.job) } else { Source::File(r.log.clone().into()) })
}

fn file(cx: &mut Context, path: &Path) -> Result<Exit, Failure> {
    let failed = |e: std::io::Error| match e.kind() {
        ErrorKind::PermissionDenied => Failure::Refused { why: format!("{} is not yours to read", path.display()) },
        _ => Failure::Failed(format!("cannot read {}: {e}", path.display())),
    };
    let mut file = File::open(path).map_err(failed)?;
    let look = cx.out.look();
    if !look.colour {
        copy(cx, &mut file, &failed)?;
        return Ok(Exit::Done);
    }
    // For a person: the error is marked where it is, and told again at the end, where one is.
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    let found = first_error::find(&String::from_utf8_lossy(&bytes));
    for (number, line) in (1..).zip(bytes.split_inclusive(|b| *b == b'\n')) {
        match &found {
            Some(found) if found.line == number => {
                cx.out.line(&Paint::Bad.apply(&tame(String::from_utf8_lossy(line).trim_end()), look))?;
            }
            _ => cx.out.bytes(line)?,
        }
    }
    if let Some(found) = found {
        let line = found.line;
        let text = excerpt(&found.explained().join("\n"), 0, look);
        cx.out.print(&format!("\nThe first error, line {line}:\n{text}"))?;
    }
    Ok(Exit::Done)
}

async fn job(cx: &mut Context, id: u32, follow: bool) -> Result<Exit, Failure> {
    let mut heard = signals::listen(&cx.link).await?;
    let job = cx.link.job(dkms_core::bus::names::job_path(id)).await?;
    let Some(fd) = open(&job, id, follow, &mut heard).await? else { return Ok(Exit::Done) };
    let watch = if follow { watch(&fd) } else { None };
    let mut file = File::from(fd);
    let unreadable = |e: std::io::Error| Failure::Failed(format!("cannot read the log of job {id}: {e}"));
    let mut ended = !follow;
    loop {
        copy(cx, &mut file, &unreadable)?;
        if ended || cx.out.is_closed() {
            return Ok(Exit::Done);
        }
        tokio::select! {
            () = grown(watch.as_deref()) => {}
            signal = heard.recv() => match signal {
                None | Some(Signal::Gone) => ended = true,
                Some(Signal::JobRemoved { id: other, .. }) if other == id => ended = true,
                _ => {}
            },
        }
    }
}

/// The log, as soon as there is one; `None` when the job ended without.
async fn open(
    job: &JobProxy<'_>,
    id: u32,
    follow: bool,
    heard: &mut UnboundedReceiver<Signal>,
) -> Result<Option<OwnedFd>, Failure> {
    loop {
        match job.open_log().await {
            Ok(fd) => return Ok(Some(fd.into())),
            Err(BusError::Failed(_)) if follow => {}
            Err(e) => return Err(e.into()),
        }
        loop {
            match heard.recv().await {
                None | Some(Signal::Gone) => return Ok(None),
                Some(Signal::JobRemoved { id: other, .. }) if other == id => return Ok(None),
                Some(Signal::Job { id: other, .. }) if other == id => break,
                Some(_) => {}
            }
        }
    }
}

/// Tells when the file grows. `None` where the kernel does not let us watch a file that we may read only because it was
/// opened for us; then the job's own signals say when to look.
///
/// A thread of its own waits in the kernel; it ends with the program.
fn watch(fd: &OwnedFd) -> Option<Arc<Notify>> {
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).ok()?;
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    inotify::add_watch(&watch, path, inotify::WatchFlags::MODIFY).ok()?;
    let grown = Arc::new(Notify::new());
    let tell = Arc::clone(&grown);
    std::thread::spawn(move || {
        let mut events = [std::mem::MaybeUninit::uninit(); 1024];
        let mut reader = inotify::Reader::new(&watch, &mut events);
        while reader.next().is_ok() {
            tell.notify_one();
        }
    });
    Some(grown)
}

async fn grown(watch: Option<&Notify>) {
    match watch {
        Some(grown) => grown.notified().await,
        None => std::future::pending().await,
    }
}

/// Prints everything up to the present end.
fn copy(cx: &mut Context, file: &mut File, unreadable: &dyn Fn(std::io::Error) -> Failure) -> Result<(), Failure> {
    let mut block = [0; 16 * 1024];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(n) => cx.out.bytes(&block[..n])?,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(unreadable(e)),
        }
        if cx.out.is_closed() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn row(kernel: &str, log: &str, job: u32) -> StatusRow {
        StatusRow {
            kernel: kernel.into(),
            arch: "x86_64".into(),
            log: log.into(),
            job,
            state: if job == 0 { "failed" } else { "building" }.into(),
            ..StatusRow::default()
        }
    }

    #[rstest]
    #[case(None, "5.4", Some(Source::File("/new".into())))]
    #[case(None, "6.0", Some(Source::File("/old".into())))]
    #[case(None, "6.1", Some(Source::Job(7)))]
    #[case(Some("6.0"), "6.1", Some(Source::File("/old".into())))]
    #[case(Some("6.0/arm64"), "6.1", None)]
    #[case(Some("5.4"), "6.1", None)]
    fn one_log_of_several(#[case] kernel: Option<&str>, #[case] running: &str, #[case] wanted: Option<Source>) {
        let rows = [row("6.2", "/new", 0), row("6.1", "/was", 7), row("6.0", "/old", 0), row("5.4", "", 0)];
        let kernel = kernel.map(|k| k.parse().unwrap());
        assert_eq!(choose(rows.iter(), kernel.as_ref(), running), wanted);
    }
}
