//! What travels between the coordinator and everybody else.

use std::sync::Arc;

use dkms_core::event::Event;
use dkms_core::model::KernelId;
use dkms_core::observe::Look;
use dkms_core::settings::Settings;
use tokio::sync::oneshot;

use super::job::{Operation, Outcome, Task};
use super::jobs::NotCanceled;
use crate::snapshot::{JobView, StatusChange};

/// What reaches the coordinator.
#[derive(Debug)]
pub enum Command {
    /// The disk was looked at. `seq` is [`Shared::ended`] as it was before that look.
    Looked {
        /// See above.
        seq: u64,
        /// What was found, and what is due.
        look: Arc<Look>,
        /// Whether what is due may begin: not while a package manager is at work.
        act: bool,
        /// Those who asked for it.
        replies: Vec<oneshot::Sender<()>>,
    },
    /// Somebody asks for jobs.
    Request {
        /// What they are to do.
        tasks: Vec<Task>,
        /// Their ids, in the same order.
        reply: oneshot::Sender<Vec<u32>>,
        /// Told how the last of them ended.
        finished: Option<oneshot::Sender<Finished>>,
    },
    /// Somebody wants a job ended.
    Cancel {
        /// Which.
        id: u32,
        /// Whether it was heeded.
        reply: oneshot::Sender<Result<(), NotCanceled>>,
    },
    /// A worker told something.
    Told {
        /// Which job's.
        id: u32,
        /// What.
        event: Event,
    },
    /// A worker ended.
    WorkerEnded {
        /// Which job's.
        id: u32,
        /// How.
        outcome: Outcome,
    },
    /// A kernel's depmod ended.
    FinishEnded {
        /// Which kernel's.
        kernel: KernelId,
        /// How.
        outcome: Outcome,
    },
    /// What these jobs ended with is remembered: the disk may be looked at.
    Remembered(Vec<u32>),
    /// The settings were read again.
    Settings(Arc<Settings>),
}

/// How a job ended, for whoever waits for it.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The job as it was at its end.
    pub job: JobView,
    /// How.
    pub outcome: Outcome,
}

/// What signals tell of, in the order in which it happened.
#[derive(Debug, Clone)]
pub enum Notice {
    /// A job was queued.
    JobNew(JobView),
    /// A job shows something new.
    JobChanged(JobView),
    /// A job is over; its outcome shows in rows and history already.
    JobRemoved(JobView, &'static str),
    /// A row is in another state.
    Status(StatusChange),
    /// An attempt failed; with the error that a person needs.
    BuildFailed(JobView, String),
    /// The daemon's own properties changed.
    Manager,
}

/// A wish for a look.
#[derive(Debug)]
pub enum Ask {
    /// A job ended: its outcome has to be seen. Nothing new is begun while a package manager works.
    JobEnded,
    /// Somebody asked; told when it has been looked and what is due is queued.
    Rescan(Option<oneshot::Sender<()>>),
    /// A kernel's own hook gave word that it is there.
    Hook,
    /// Something is about to change, as a kernel that its package removes: looked at when all is quiet again.
    Soon,
    /// Whoever feeds the watchdog wants to know that the loop turns.
    Alive(oneshot::Sender<()>),
}

/// The workers of finishing are known by their kernel.
pub(super) fn ended_command(task: &Task, outcome: Outcome) -> Command {
    match (&task.operation, &task.kernel) {
        (Operation::Finish, Some(kernel)) => Command::FinishEnded { kernel: kernel.clone(), outcome },
        _ => Command::WorkerEnded { id: task.id, outcome },
    }
}
