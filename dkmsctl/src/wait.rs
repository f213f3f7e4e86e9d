//! Follows jobs to their end.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dkms_core::bus::names::{BUS_NAME, JOB_INTERFACE, job_id};
use dkms_core::bus::{HistoryRow, Link, StatusFilter};
use tokio::sync::mpsc::UnboundedReceiver;
use zbus::names::InterfaceName;
use zbus::{OwnedObjectPath, fdo};

use crate::failure::{Exit, Failure};
use crate::out::Out;
use crate::render::progress::{self, End, JobView, Sums};
use crate::signals::{self, Changes, Signal};

/// Stands before the method that makes the jobs is called, so that no end is missed.
pub(crate) struct Waiter {
    signals: UnboundedReceiver<Signal>,
}

/// How many finished jobs are asked for first to find the one that has just ended.
pub(crate) const NEWEST: u32 = 32;

/// Whether what was skipped counts as not done: it does when it was asked for by name. What was so already never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    Fine,
    NotDone,
}

struct Followed {
    view: JobView,
    guess: f64,
    guess_valid: bool,
    since: Option<Instant>,
}

impl Followed {
    fn apply(&mut self, changes: Changes) -> bool {
        let before = (self.view.state.clone(), self.view.phase.clone());
        self.view.state = changes.state.unwrap_or_else(|| before.0.clone());
        self.view.phase = changes.phase.unwrap_or_else(|| before.1.clone());
        self.guess = changes.progress.unwrap_or(self.guess);
        self.guess_valid = changes.progress_valid.unwrap_or(self.guess_valid);
        self.view.progress = self.guess_valid.then_some(self.guess);
        if self.since.is_none() && self.view.state == "running" {
            self.since = Some(Instant::now());
        }
        (&self.view.state, &self.view.phase) != (&before.0, &before.1)
    }

    /// False for one that had ended before it could be looked at: its end will name it.
    fn is_known(&self) -> bool {
        !self.view.package.is_empty()
    }

    fn elapsed(&self) -> Option<Duration> {
        self.since.map(|s| s.elapsed())
    }
}

impl Waiter {
    /// Begins to listen.
    pub(crate) async fn begin(link: &Link) -> Result<Self, Failure> {
        Ok(Self { signals: signals::listen(link).await? })
    }

    /// Shows the jobs until all have ended; the exit code is theirs. `operation` is what they were asked to do, for those
    /// that end before they can be looked at.
    pub(crate) async fn follow(
        mut self,
        link: &Link,
        jobs: &[OwnedObjectPath],
        operation: &str,
        skipped: Skipped,
        out: &mut Out,
    ) -> Result<Exit, Failure> {
        let mut interrupts = signals::interrupts()?;
        let mut open: BTreeMap<u32, Followed> = BTreeMap::new();
        for path in jobs {
            if let Some(id) = job_id(path.as_str()) {
                let followed = look_at(link, id, path, operation).await?;
                if !out.is_live() && followed.is_known() {
                    out.line(&progress::plain(&followed.view))?;
                }
                open.insert(id, followed);
            }
        }
        let several = open.len() > 1;
        let mut sums = Sums::default();
        let mut clock = tokio::time::interval(Duration::from_secs(1));
        while !open.is_empty() {
            draw(&open, out)?;
            let signal = tokio::select! {
                signal = self.signals.recv() => signal.unwrap_or(Signal::Gone),
                // Only the elapsed time on the screen moves without a signal.
                _ = clock.tick(), if out.is_live() => continue,
                _ = interrupts.recv() => {
                    out.redraw(&[])?;
                    let ids: Vec<_> = open.keys().map(u32::to_string).collect();
                    out.line(&format!("not waiting any longer: {} {} on; see dkmsctl jobs, dkmsctl cancel",
                        if ids.len() == 1 { "job" } else { "jobs" }, goes(&ids)))?;
                    return Ok(Exit::Interrupted);
                }
            };
            match signal {
                Signal::Job { id, changes } => {
                    if let Some(job) = open.get_mut(&id)
                        && job.apply(changes)
                        && job.is_known()
                        && !out.is_live()
                    {
                        out.line(&progress::plain(&job.view))?;
                    }
                }
                Signal::JobRemoved { id, package, version, kernel, result } => {
                    if let Some(mut job) = open.remove(&id) {
                        job.view = JobView { package, version, kernel, ..job.view };
                        report(link, &job, &result, &mut sums, out).await?;
                    }
                }
                Signal::Gone => {
                    out.redraw(&[])?;
                    let after = format!(
                        "{} not finished; what is due is taken up again when it is back (dkmsctl status)",
                        if open.len() == 1 { "a job was".into() } else { format!("{} jobs were", open.len()) }
                    );
                    return Err(Failure::Gone { after });
                }
                _ => {}
            }
        }
        out.redraw(&[])?;
        if several {
            out.line(&progress::summary(&sums, out.look()))?;
        }
        let fine = sums.failed == 0 && (sums.skipped == 0 || skipped == Skipped::Fine);
        Ok(if fine { Exit::Done } else { Exit::Failed })
    }
}

/// What a job is. One that has ended already has no object; its end is among the signals.
async fn look_at(link: &Link, id: u32, path: &OwnedObjectPath, operation: &str) -> Result<Followed, Failure> {
    let mut job = Followed {
        view: JobView { id, operation: operation.to_owned(), ..JobView::default() },
        guess: 0.0,
        guess_valid: false,
        since: None,
    };
    let properties =
        fdo::PropertiesProxy::builder(link.connection()).destination(BUS_NAME).path(path.clone()).build().await?;
    match properties.get_all(InterfaceName::from_static_str_unchecked(JOB_INTERFACE)).await {
        Ok(all) => {
            let word = |name| signals::text(&all, name).unwrap_or_default();
            job.view.operation = word("Operation");
            job.view.package = word("Package");
            job.view.version = word("PackageVersion");
            job.view.kernel = word("Kernel");
            job.apply(Changes::from(&all));
        }
        Err(fdo::Error::UnknownObject(_) | fdo::Error::UnknownInterface(_) | fdo::Error::UnknownMethod(_)) => {}
        Err(e) => return Err(zbus::Error::from(e).into()),
    }
    Ok(job)
}

async fn report(link: &Link, job: &Followed, result: &str, sums: &mut Sums, out: &mut Out) -> Result<(), Failure> {
    let end = if result == "done" { End::default() } else { end(link, &job.view).await? };
    match result {
        "done" => sums.done += 1,
        "skipped" if end.job.unchanged => sums.unchanged += 1,
        "skipped" => sums.skipped += 1,
        _ => sums.failed += 1,
    }
    let text = progress::ended(&job.view, result, &end, job.elapsed(), out.look());
    Ok(out.print(&text)?)
}

/// What the daemon has on record of the end of a job, which stands there before its end is signalled. A row of the status
/// counts only as far as it tells of the same attempt: it may be of another job, and is of none where no kernel is named.
async fn end(link: &Link, job: &JobView) -> Result<End, Failure> {
    let manager = link.manager();
    let of_it = |row: &HistoryRow| row.job == job.id && row.package == job.package && row.version == job.version;
    let mut found = manager.list_history(NEWEST).await?.into_iter().find(of_it);
    if found.is_none() {
        found = manager.list_history(0).await?.into_iter().find(of_it);
    }
    let record = found.unwrap_or_default();
    if record.log.is_empty() || job.kernel.is_empty() {
        return Ok(End { job: record, ..End::default() });
    }
    let filter = StatusFilter {
        package: job.package.clone(),
        version: job.version.clone(),
        kernel: job.kernel.clone(),
        arch: record.arch.clone(),
    };
    let mut rows = manager.list_status(&filter).await?.into_iter();
    let excerpt = rows.find(|row| row.log == record.log).map(|row| row.excerpt).unwrap_or_default();
    Ok(End { job: record, excerpt })
}

fn goes(ids: &[String]) -> String {
    format!("{} {}", ids.join(", "), if ids.len() == 1 { "goes" } else { "go" })
}

fn draw(open: &BTreeMap<u32, Followed>, out: &mut Out) -> Result<(), Failure> {
    if !out.is_live() {
        return Ok(());
    }
    // Running ones first: the region may not have room for all.
    let mut jobs: Vec<_> = open.values().filter(|j| j.is_known()).collect();
    jobs.sort_by_key(|j| j.since.is_none());
    let lines: Vec<_> = jobs.iter().map(|j| progress::live(&j.view, j.elapsed(), out.look())).collect();
    Ok(out.redraw(&lines)?)
}
