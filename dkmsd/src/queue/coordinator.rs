//! The one task that owns the jobs: takes plans, requests and workers' words; starts workers; publishes what changed.
//!
//! It never waits for a worker, a client or the disk: everything reaches it as a [`Command`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use dkms_core::build::jobserver::JobServer;
use dkms_core::bus::types::HistoryRow;
use dkms_core::event::Event;
use dkms_core::layout::Layout;
use dkms_core::model::KernelId;
use dkms_core::observe::Look;
use dkms_core::plan::HeaderView;
use dkms_core::tree::Failure;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

use super::journal::{log_end, log_event, log_start};

use super::job::{Job, Operation, Outcome, State, Verdict};
use super::jobs::{Cancel, Jobs};
use super::messages::{Ask, Command, Finished, Notice};
use super::workers::Workers;
use crate::history::{History, Writer};
use crate::snapshot::{JobView, Snapshot};

/// What the rest of the daemon holds of the coordinator.
#[derive(Debug, Clone)]
pub struct Shared {
    /// To the coordinator.
    pub commands: mpsc::Sender<Command>,
    /// The newest state.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// How many workers have ended: a look that began before the last of them is out of date.
    pub ended: Arc<AtomicU64>,
    /// Finished jobs.
    pub history: Arc<Mutex<History>>,
    /// How many jobs may run at once.
    pub max_jobs: Arc<AtomicU64>,
}

/// The coordinator itself.
pub struct Coordinator {
    jobs: Jobs,
    look: Option<Arc<Look>>,
    settling: bool,
    /// Those who wait for the next look to be taken.
    replies: Vec<oneshot::Sender<()>>,
    max_jobs: usize,
    /// The budget of compilers, where there is one for the machine.
    jobserver: Option<JobServer>,
    /// The value of [`Shared::ended`] at which a job that is over may be forgotten.
    over: Vec<(u64, u32)>,
    commands: mpsc::Receiver<Command>,
    publish: watch::Sender<Arc<Snapshot>>,
    /// Asks for a new look at the disk.
    look_again: mpsc::Sender<Ask>,
    /// Unbounded, as whoever takes them off waits for nobody ([`crate::bus::publish`]), and none may be lost: a client
    /// waits for the end of its job.
    notices: mpsc::UnboundedSender<Notice>,
    /// Who waits for the end of which job.
    awaited: Vec<(u32, oneshot::Sender<Finished>)>,
    workers: Workers,
    layout: Layout,
    history: Writer,
    shared: Shared,
}

impl Coordinator {
    /// A coordinator and what the others hold of it. `look_again` is sent to whenever the disk has to be looked at.
    #[must_use]
    pub fn new(
        max_jobs: usize,
        jobserver: Option<JobServer>,
        layout: &Layout,
        look_again: mpsc::Sender<Ask>,
        workers: impl FnOnce(mpsc::Sender<Command>) -> Workers,
    ) -> (Self, Shared, mpsc::UnboundedReceiver<Notice>) {
        let (sender, commands) = mpsc::channel(256);
        let (publish, snapshot) = watch::channel(Arc::new(Snapshot::new(None, &Jobs::default(), true)));
        let (notices, told) = mpsc::unbounded_channel();
        let shared = Shared {
            commands: sender.clone(),
            snapshot,
            ended: Arc::default(),
            history: Arc::new(Mutex::new(History::open(&layout.history()))),
            max_jobs: Arc::new(AtomicU64::new(max_jobs as u64)),
        };
        let coordinator = Self {
            jobs: Jobs::default(),
            look: None,
            settling: true,
            replies: Vec::new(),
            max_jobs,
            jobserver,
            over: Vec::new(),
            commands,
            publish,
            look_again,
            notices,
            awaited: Vec::new(),
            workers: workers(sender),
            layout: layout.clone(),
            history: Writer::start(layout.history()),
            shared: shared.clone(),
        };
        (coordinator, shared, told)
    }

    /// Runs until `stop` is told, then ends every worker and waits for them.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => break,
                },
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        self.commands.close();
        self.workers.end_all().await;
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Looked { seq, look, act, replies } => {
                self.replies.extend(replies);
                self.looked(seq, look, act);
            }
            Command::Request { tasks, reply, finished } => {
                let mut new = Vec::new();
                let ids = tasks
                    .into_iter()
                    .map(|task| {
                        let (id, created) = self.jobs.enqueue(task, Vec::new(), false);
                        new.extend(created.then_some(id));
                        id
                    })
                    .collect::<Vec<u32>>();
                if let (Some(id), Some(finished)) = (ids.last(), finished) {
                    self.awaited.push((*id, finished));
                }
                self.announce_new(&new);
                // Nobody may be left to hear it; the jobs run all the same.
                let _ = reply.send(ids);
                self.go_on();
            }
            Command::Cancel { id, reply } => {
                let result = self.jobs.cancel(id).map(|cancel| match cancel {
                    Cancel::Over(ids) => self.job_over(&ids),
                    Cancel::EndWorker => self.workers.cancel(id),
                });
                let _ = reply.send(result);
                self.go_on();
            }
            Command::Told { id, event } => self.told(id, &event),
            Command::WorkerEnded { id, outcome } => {
                self.workers.ended(id);
                if !outcome.recorded {
                    let kernels = self.taken_off(id);
                    self.jobs.cut_short(kernels);
                }
                let over = self.jobs.worker_ended(id, outcome);
                self.job_over(&over);
                self.go_on();
            }
            Command::FinishEnded { kernel, outcome } => {
                let over = self.jobs.finish_ended(&kernel, &outcome);
                self.job_over(&over);
                self.go_on();
            }
            Command::Remembered(ids) => self.look_after(&ids),
            Command::Settings(settings) => {
                self.max_jobs = settings.daemon.max_jobs as usize;
                self.shared.max_jobs.store(self.max_jobs as u64, Ordering::Relaxed);
                self.workers.go_by(settings);
                self.go_on();
            }
        }
    }

    fn looked(&mut self, seq: u64, look: Arc<Look>, act: bool) {
        if seq < self.shared.ended.load(Ordering::Acquire) {
            // A job ended while the disk was being looked at, and the next look is on its way.
            return;
        }
        self.settling = look.look_again.is_some() || !act;
        self.jobs.learn(&look);
        let (new, gone) = if act { self.jobs.take_plan(&look.plan) } else { Default::default() };
        self.look = Some(look);
        self.announce_new(&new);
        let view_of_gone: Vec<_> = gone.iter().filter_map(|id| self.jobs.remove_ended(*id)).collect();
        let over: Vec<u32> = self.over.extract_if(.., |(after, _)| *after <= seq).map(|(_, id)| id).collect();
        let ended: Vec<(Job, Outcome)> = over.into_iter().filter_map(|id| self.jobs.remove_ended(id)).collect();
        for (job, outcome) in view_of_gone.iter().chain(&ended) {
            self.record(job, outcome);
        }
        self.go_on();
        for (job, outcome) in view_of_gone.into_iter().chain(ended) {
            let view = view(&job);
            for (_, waiter) in self.awaited.extract_if(.., |(id, _)| *id == view.id) {
                let _ = waiter.send(Finished { job: view.clone(), outcome: outcome.clone() });
            }
            if matches!(outcome.verdict, Verdict::Failed | Verdict::Timeout) && job.task.operation.builds() {
                let error = outcome.first_error.or(outcome.error).unwrap_or_default();
                self.tell(Notice::BuildFailed(view.clone(), error));
            }
            self.tell(Notice::JobRemoved(view, outcome.verdict.as_str()));
        }
        self.tell(Notice::Manager);
        for reply in self.replies.drain(..) {
            let _ = reply.send(());
        }
    }

    /// Starts what can start, and publishes.
    fn go_on(&mut self) {
        for task in self.jobs.start_ready(self.max_jobs) {
            log_start(&task);
            self.workers.start(task);
        }
        for task in self.jobs.finish_ready() {
            self.workers.start(task);
        }
        if self.jobs.idle() {
            self.top_up();
        }
        self.republish();
    }

    /// Tokens that a worker was killed with, or that its build has stolen or put in, are seen to whenever nothing runs.
    fn top_up(&self) {
        if let Some(Err(error)) = self.jobserver.as_ref().map(JobServer::top_up) {
            warn!("the number of jobs at once could not be set right: {error}");
        }
    }

    /// Jobs are over: the disk has to be looked at before anybody is told. A failure that the engine could not remember
    /// (the worker was canceled, or died) is remembered first, or the next look would find the same job due.
    fn job_over(&mut self, ids: &[u32]) {
        let failures: Vec<Failure> = ids.iter().filter_map(|id| self.failure(*id)).collect();
        if failures.is_empty() {
            return self.look_after(ids);
        }
        let (ids, layout, commands) = (ids.to_vec(), self.layout.clone(), self.shared.commands.clone());
        tokio::task::spawn_blocking(move || {
            for failure in failures {
                if let Err(error) = dkms_core::tree::failures::write(&layout, &failure) {
                    warn!("a failure could not be remembered: {error}");
                }
            }
            // A worker that was ended could not tidy up.
            dkms_core::build::workspace::remove_abandoned(&layout);
            // Only a coordinator that is stopping is not there to hear it.
            let _ = commands.blocking_send(Command::Remembered(ids));
        });
    }

    /// The kernels that a removal has perhaps taken modules off: those on which the package was before.
    fn taken_off(&self, id: u32) -> Vec<KernelId> {
        let task = self.jobs.get(id).map(|job| &job.task).filter(|task| task.operation == Operation::Remove);
        let Some((look, package)) = self.look.as_ref().zip(task.and_then(|task| task.package.as_ref())) else {
            return Vec::new();
        };
        let views = look.world.packages.iter().filter(|view| view.id == *package);
        let entries = views.flat_map(|view| &view.entries).filter(|(_, entry)| entry.installed);
        entries.map(|(kernel, _)| kernel.clone()).collect()
    }

    fn failure(&self, id: u32) -> Option<Failure> {
        let job = self.jobs.get(id)?;
        let State::Ended(outcome) = &job.state else { return None };
        let unheard = matches!(outcome.verdict, Verdict::Failed | Verdict::Canceled) && !outcome.recorded;
        let (package, kernel) = (job.task.package.clone()?, job.task.kernel.clone()?);
        if !unheard || !job.task.operation.builds() {
            return None;
        }
        let look = self.look.as_ref()?;
        let entry = look.world.packages.iter().find(|p| p.id == package).and_then(|p| p.entries.get(&kernel));
        let header_stamp = look.world.kernels.iter().find(|k| k.id == kernel).and_then(|k| match &k.headers {
            HeaderView::Ready { stamp } => Some(stamp.clone()),
            _ => None,
        });
        Some(Failure {
            package,
            kernel,
            fingerprint: entry.and_then(|e| e.inputs.as_ref()).map(ToString::to_string).unwrap_or_default(),
            header_stamp: header_stamp.unwrap_or_default(),
            code: outcome.code,
            state: None,
            error: outcome.error.clone().unwrap_or_default(),
            first_error: None,
            excerpt: Vec::new(),
            missing: Vec::new(),
            bounds: None,
            log: job.log.clone(),
            at: now(),
            attempts: 1,
        })
    }

    fn look_after(&mut self, ids: &[u32]) {
        if ids.is_empty() {
            return;
        }
        let seq = self.shared.ended.fetch_add(1, Ordering::AcqRel) + 1;
        self.over.extend(ids.iter().map(|id| (seq, *id)));
        // Full means that a look is coming anyway.
        let _ = self.look_again.try_send(Ask::JobEnded);
    }

    fn told(&mut self, id: u32, event: &Event) {
        if let Some(job) = self.jobs.get(id) {
            log_event(&job.task, event);
        }
        if self.jobs.told(id, event)
            && let Some(job) = self.jobs.get(id)
        {
            let view = view(job);
            if !matches!(event, Event::Progress { .. }) {
                self.republish();
            }
            self.tell(Notice::JobChanged(view));
        }
    }

    fn announce_new(&mut self, ids: &[u32]) {
        self.republish();
        for id in ids {
            if let Some(job) = self.jobs.get(*id) {
                self.tell(Notice::JobNew(view(job)));
            }
        }
    }

    fn record(&mut self, job: &Job, outcome: &Outcome) {
        log_end(&job.task, outcome);
        let view = view(job);
        // A worker that died or was ended could not name its log.
        let log = outcome.log.as_ref().or(job.log.as_ref().filter(|_| !outcome.recorded));
        let row = HistoryRow {
            at: now(),
            job: view.id,
            operation: view.operation.into(),
            package: view.package,
            version: view.version,
            kernel: view.kernel,
            arch: view.arch,
            result: outcome.verdict.as_str().into(),
            seconds: job.took.unwrap_or_default().as_secs_f64(),
            reason: view.reason,
            error: outcome.error.clone().unwrap_or_default(),
            first_error: outcome.first_error.clone().unwrap_or_default(),
            log: log.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            unchanged: outcome.verdict == Verdict::Skipped && outcome.code == 0,
            from_cache: outcome.from_cache,
        };
        let line = self.shared.history.lock().unwrap_or_else(PoisonError::into_inner).add(row);
        self.history.write(line);
    }

    fn republish(&mut self) {
        let next = Arc::new(Snapshot::new(self.look.as_ref(), &self.jobs, self.settling));
        let before = self.publish.send_replace(Arc::clone(&next));
        for change in next.changes_since(&before) {
            self.tell(Notice::Status(change));
        }
        if before.state != next.state || before.jobs.len() != next.jobs.len() {
            self.tell(Notice::Manager);
        }
    }

    fn tell(&self, notice: Notice) {
        // Without anybody on the bus there is nobody to hear it.
        let _ = self.notices.send(notice);
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

fn view(job: &Job) -> JobView {
    crate::snapshot::job_view(job)
}
