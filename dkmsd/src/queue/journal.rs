//! What the journal hears of jobs: one line a fact, with the fields DKMS_PACKAGE, DKMS_VERSION, DKMS_KERNEL, DKMS_ARCH,
//! DKMS_JOB and DKMS_RESULT.

use dkms_core::event::{Event, from_cache};
use tracing::{error, info, warn};

use super::job::{Outcome, Task, Verdict};

/// The fields of design.md's journal entries, for a task.
macro_rules! journal {
    ($level:ident, $task:expr, $result:expr, $($message:tt)+) => {{
        let task: &Task = $task;
        let (package, kernel) = (task.package.as_ref(), task.kernel.as_ref());
        $level!(
            dkms_package = package.map(|p| p.name.as_str()),
            dkms_version = package.map(|p| p.version.as_str()),
            dkms_kernel = kernel.map(|k| k.release.as_str()),
            dkms_arch = kernel.map(|k| k.arch.as_str()),
            dkms_job = task.id,
            dkms_result = $result,
            $($message)+
        );
    }};
}

fn what(task: &Task) -> String {
    let package = task.package.as_ref().map(ToString::to_string);
    let source = task.source.as_ref().map(|s| s.display().to_string());
    let object = package.or(source).unwrap_or_default();
    match &task.kernel {
        Some(kernel) => format!("{} {object} for {}", task.operation.as_str(), kernel.release),
        None => format!("{} {object}", task.operation.as_str()),
    }
}

pub(super) fn log_start(task: &Task) {
    journal!(info, task, None::<&str>, "{}: {}", what(task), task.reason);
}

pub(super) fn log_event(task: &Task, event: &Event) {
    match event {
        Event::Note { text } | Event::Waiting { why: Some(text) } => {
            journal!(info, task, None::<&str>, "{}: {text}", what(task));
        }
        Event::FromCache { built_at } => {
            journal!(info, task, None::<&str>, "{}: {}", what(task), from_cache(*built_at));
        }
        Event::Warning { text } => journal!(warn, task, None::<&str>, "{}: {text}", what(task)),
        Event::Phase { .. }
        | Event::Progress { .. }
        | Event::Log { .. }
        | Event::Waiting { why: None }
        | Event::Waited => {}
    }
}

pub(super) fn log_end(task: &Task, outcome: &Outcome) {
    let result = outcome.verdict.as_str();
    let reason = outcome.error.as_deref().unwrap_or_default();
    let mut text = if reason.is_empty() { what(task) } else { format!("{}: {reason}", what(task)) };
    if let Some(log) = &outcome.log {
        text += &format!("; log: {}", log.display());
    }
    match outcome.verdict {
        Verdict::Failed | Verdict::Timeout => journal!(error, task, result, "failed: {text}"),
        Verdict::Dependency => journal!(warn, task, result, "not tried: {text}"),
        Verdict::Done | Verdict::Skipped | Verdict::Canceled => journal!(info, task, result, "{result}: {text}"),
    }
}
