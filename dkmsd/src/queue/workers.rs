//! The processes that do the work: each job runs as `dkmsd worker` in a process group of its own, gets its task as a JSON
//! line on stdin, the daemon's settings as another, and tells what it does as JSON lines on stdout (design.md, decision 3).
//!
//! Closing a worker's stdin asks it to end what it runs and go; what is left of its group after the grace is killed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dkms_core::event::Event;
use dkms_core::settings::Settings;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command as Process};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::job::{Operation, Outcome, Task, Verdict, WorkerLine};
use super::jobs::CANCELED;
use super::messages::{Command, ended_command};

/// How long a worker has to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// The workers that run.
pub struct Workers {
    program: PathBuf,
    args: Vec<String>,
    /// What was accepted last: a file that was broken since is nothing to fail for.
    settings: Arc<Settings>,
    to_coordinator: mpsc::Sender<Command>,
    cancels: HashMap<u32, oneshot::Sender<()>>,
    running: JoinSet<()>,
}

impl Workers {
    /// Workers that are started as `program args… worker`.
    #[must_use]
    pub fn new(
        program: PathBuf,
        args: Vec<String>,
        settings: Arc<Settings>,
        to_coordinator: mpsc::Sender<Command>,
    ) -> Self {
        Self { program, args, settings, to_coordinator, cancels: HashMap::new(), running: JoinSet::new() }
    }

    /// What workers go by from now on.
    pub fn go_by(&mut self, settings: Arc<Settings>) {
        self.settings = settings;
    }

    /// Starts a worker for a task. What it tells and how it ends reach the coordinator.
    pub fn start(&mut self, task: Task) {
        while self.running.try_join_next().is_some() {}
        let (cancel, canceled) = oneshot::channel();
        // depmod and what follows it is never canceled: its sender lives as long as the worker.
        let keep = if task.operation == Operation::Finish {
            Some(cancel)
        } else {
            self.cancels.insert(task.id, cancel);
            None
        };
        let (program, args, to_coordinator) = (self.program.clone(), self.args.clone(), self.to_coordinator.clone());
        let settings = Arc::clone(&self.settings);
        self.running.spawn(async move {
            let outcome = match spawn(&program, &args) {
                Ok(child) => attend(child, (&task, &settings), canceled, &to_coordinator).await,
                Err(error) => {
                    Outcome::because(Verdict::Failed, format!("cannot start a worker ({}): {error}", program.display()))
                }
            };
            drop(keep);
            // Only a coordinator that is stopping is not there to hear it.
            let _ = to_coordinator.send(ended_command(&task, outcome)).await;
        });
    }

    /// Asks a worker to end.
    pub fn cancel(&mut self, id: u32) {
        self.cancels.remove(&id);
    }

    /// A worker has ended.
    pub fn ended(&mut self, id: u32) {
        self.cancels.remove(&id);
    }

    /// Ends every worker and waits until all are gone. Installs that lack only depmod are finished at the next start.
    pub async fn end_all(mut self) {
        self.cancels.clear();
        drop(self.to_coordinator);
        while self.running.join_next().await.is_some() {}
    }
}

fn spawn(program: &PathBuf, args: &[String]) -> std::io::Result<Child> {
    Process::new(program)
        .args(args)
        .arg("worker")
        .env(crate::worker::DAEMON, std::process::id().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

async fn attend(
    mut child: Child,
    (task, settings): (&Task, &Settings),
    canceled: oneshot::Receiver<()>,
    to_coordinator: &mpsc::Sender<Command>,
) -> Outcome {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let result = talk(&mut child, (task, settings), canceled, to_coordinator).await;
    // What the worker left behind ends with it.
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    match (result, child.wait().await) {
        (Talk::Ended(outcome), _) => outcome,
        (Talk::Canceled, _) => Outcome::because(Verdict::Canceled, CANCELED),
        (Talk::Broken(why), Ok(status)) => died(task, &why, Some(status)),
        (Talk::Broken(why), Err(_)) => died(task, &why, None),
    }
}

enum Talk {
    Ended(Outcome),
    Canceled,
    Broken(String),
}

async fn talk(
    child: &mut Child,
    (task, settings): (&Task, &Settings),
    mut canceled: oneshot::Receiver<()>,
    to_coordinator: &mpsc::Sender<Command>,
) -> Talk {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Talk::Broken("it has no pipes".into());
    };
    let lines = match (serde_json::to_string(task), serde_json::to_string(settings)) {
        (Ok(task), Ok(settings)) => format!("{task}\n{settings}\n"),
        (Err(error), _) | (_, Err(error)) => return Talk::Broken(error.to_string()),
    };
    if let Err(error) = stdin.write_all(lines.as_bytes()).await {
        return Talk::Broken(format!("it takes no task: {error}"));
    }
    let mut stdin = Some(stdin);
    let mut lines = BufReader::new(stdout).lines();
    let deadline = tokio::time::sleep(Duration::MAX);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => match serde_json::from_str(&line) {
                    Ok(WorkerLine::Ended { outcome }) if stdin.is_some() => return Talk::Ended(outcome),
                    Ok(WorkerLine::Ended { .. }) => return Talk::Canceled,
                    Ok(WorkerLine::Told { event }) => told(task, event, to_coordinator).await,
                    Err(error) => tracing::warn!("a worker said what nobody understands ({error}): {line}"),
                },
                _ if stdin.is_none() => return Talk::Canceled,
                Ok(None) => return Talk::Broken("it ended without a word".into()),
                Err(error) => return Talk::Broken(error.to_string()),
            },
            _ = &mut canceled, if stdin.is_some() => {
                stdin = None;
                deadline.as_mut().reset(tokio::time::Instant::now() + GRACE);
            }
            () = &mut deadline => return Talk::Canceled,
        }
    }
}

async fn told(task: &Task, event: Event, to_coordinator: &mpsc::Sender<Command>) {
    if task.operation == Operation::Finish {
        match event {
            Event::Warning { text } => tracing::warn!("{text}"),
            Event::Note { text } | Event::Waiting { why: Some(text) } => tracing::info!("{text}"),
            Event::Phase { .. }
            | Event::Progress { .. }
            | Event::Log { .. }
            | Event::FromCache { .. }
            | Event::Waiting { why: None }
            | Event::Waited => {}
        }
        return;
    }
    let _ = to_coordinator.send(Command::Told { id: task.id, event }).await;
}

fn died(task: &Task, why: &str, status: Option<ExitStatus>) -> Outcome {
    let how = status.map_or_else(String::new, |status| format!(" ({status})"));
    let text = format!("the worker of this {} died: {why}{how}", task.operation.as_str());
    Outcome::because(Verdict::Failed, text)
}
