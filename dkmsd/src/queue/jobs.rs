//! The jobs there are, and what each event makes of them. Pure: it starts nothing and tells nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use dkms_core::event::{Event, Phase};
use dkms_core::model::{KernelId, PackageId};
use dkms_core::observe::Look;
use dkms_core::plan::{Action, Plan, Verb};

use super::graph::{self, Claim, Node};
use super::job::{Job, Operation, Outcome, State, Task, Verdict};
use super::rank::Ranking;

/// The jobs.
#[derive(Debug, Default)]
pub struct Jobs {
    jobs: BTreeMap<u32, Job>,
    last_id: u32,
    /// Kernels whose depmod runs, with the jobs it finishes.
    finishing: BTreeMap<KernelId, Vec<u32>>,
    /// Kernels on which a worker died that may have changed files: their depmod is due all the same.
    cut_short: BTreeSet<KernelId>,
    /// What is known of the order that jobs go in.
    ranking: Ranking,
    /// What plans asked for, to notice what is asked for again and again.
    tried: BTreeMap<(PackageId, Verb), Tried>,
}

/// How often something was begun for the same inputs.
#[derive(Debug)]
struct Tried {
    inputs: String,
    times: u32,
    last: Instant,
}

/// An action that was done so often for the same inputs, and is due again, is left alone: doing it does not help, and a
/// machine that builds for ever is worse than a driver that is out of date.
const ENOUGH: u32 = 3;
/// After so long it may be tried once more.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);

/// Why a cancel was not heeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotCanceled {
    /// There is no such job.
    NoSuchJob,
    /// Its modules are being swapped.
    Busy,
}

/// What is to follow from a cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancel {
    /// It was queued, and is over; and so is what needed it.
    Over(Vec<u32>),
    /// Its worker has to be ended.
    EndWorker,
}

/// Why a job that somebody canceled is not done.
pub const CANCELED: &str =
    "canceled by hand; it is not tried again until asked for or something it is made from changes";

impl Jobs {
    /// Every job, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<&Job> {
        self.jobs.get(&id)
    }

    /// Whether anything is queued or runs.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.jobs.is_empty() && self.finishing.is_empty()
    }

    /// Queues a task, or finds the job that already does it. The flag says whether it is new.
    pub fn enqueue(&mut self, mut task: Task, after: Vec<u32>, planned: bool) -> (u32, bool) {
        // A plan is made from what a look found, and a job that is over may have ended after that look.
        let counts = |state: &State| planned || matches!(state, State::Queued | State::Running);
        let same = self.jobs.values_mut().find(|job| counts(&job.state) && job.task.same_work(&task));
        if let Some(job) = same {
            // What a person asks for stays, whatever the next plan says.
            job.planned &= planned;
            if task.by_hand && job.state == State::Queued {
                job.task.by_hand = true;
                job.task.uid = task.uid;
            }
            return (job.task.id, false);
        }
        self.last_id = self.last_id.wrapping_add(1).max(1);
        let id = self.last_id;
        task.id = id;
        let job = Job {
            task,
            state: State::Queued,
            phase: Phase::Waiting,
            waiting: None,
            progress: None,
            log: None,
            started: None,
            took: None,
            after,
            planned,
        };
        self.jobs.insert(id, job);
        (id, true)
    }

    /// Takes a plan: queues what is due and not queued yet, and takes out what was planned before and is due no more.
    /// Gives the new jobs and those that left.
    pub fn take_plan(&mut self, plan: &Plan) -> (Vec<u32>, Vec<u32>) {
        let (mut ids, mut new) = (Vec::with_capacity(plan.actions.len()), Vec::new());
        for action in &plan.actions {
            if self.helps_not(action) {
                ids.push(None);
                continue;
            }
            let after = action.after.iter().filter_map(|place| ids.get(*place).copied().flatten()).collect();
            let (id, created) = self.enqueue(task_of(action), after, true);
            ids.push(Some(id));
            if created {
                new.push(id);
                self.count(action);
            }
        }
        let due: BTreeSet<u32> = ids.into_iter().flatten().collect();
        let gone: Vec<u32> = self
            .jobs
            .values()
            .filter(|job| job.planned && job.state == State::Queued && !due.contains(&job.task.id))
            .map(|job| job.task.id)
            .collect();
        for id in &gone {
            self.end(*id, Outcome::because(Verdict::Canceled, "it is no longer due"));
        }
        (new, gone)
    }

    fn helps_not(&mut self, action: &Action) -> bool {
        let key = (action.package.clone(), action.verb.clone());
        match self.tried.get(&key) {
            Some(tried) if tried.inputs != action.inputs || tried.last.elapsed() > FORGOTTEN => {
                self.tried.remove(&key);
                false
            }
            Some(tried) => tried.times >= ENOUGH,
            None => false,
        }
    }

    fn count(&mut self, action: &Action) {
        let key = (action.package.clone(), action.verb.clone());
        let tried = self.tried.entry(key).or_insert_with(|| Tried {
            inputs: action.inputs.clone(),
            times: 0,
            last: Instant::now(),
        });
        tried.times += 1;
        tried.last = Instant::now();
        if tried.times == ENOUGH {
            tracing::warn!(
                "{} is due for the {ENOUGH}rd time within an hour and nothing it is made from has changed ({}): it is not tried again",
                action.package,
                action.reason
            );
        }
    }

    /// Takes what a look found out about the order that jobs go in.
    pub fn learn(&mut self, look: &Look) {
        self.ranking = std::mem::take(&mut self.ranking).after(look);
    }

    /// How long each job that waits will take with the longest row of those that have to come after it.
    fn longest(&self) -> BTreeMap<u32, Duration> {
        let mut longest: BTreeMap<u32, Duration> = BTreeMap::new();
        // What comes after another has been queued after it.
        for (id, job) in self.jobs.iter().rev().filter(|(_, job)| job.state == State::Queued) {
            let own = self.ranking.expected(&job.task).saturating_add(longest.get(id).copied().unwrap_or_default());
            longest.insert(*id, own);
            for before in &job.after {
                let known = longest.entry(*before).or_default();
                *known = own.max(*known);
            }
        }
        longest
    }

    /// The jobs whose workers are to be started now; they count as running from here on.
    pub fn start_ready(&mut self, max_running: usize) -> Vec<Task> {
        let longest = self.longest();
        let nodes = |wanted: fn(&State) -> bool| -> Vec<Node> {
            let jobs = self.jobs.iter().filter(|(_, job)| wanted(&job.state));
            jobs.filter_map(|(id, job)| node(job, &self.ranking, longest.get(id).copied().unwrap_or_default()))
                .collect()
        };
        let waiting = nodes(|state| *state == State::Queued);
        let running = nodes(|state| matches!(state, State::Running | State::Canceling));
        let start = graph::ready(&waiting, &running, max_running);
        start.into_iter().filter_map(|id| self.start(id)).collect()
    }

    fn start(&mut self, id: u32) -> Option<Task> {
        let job = self.jobs.get_mut(&id)?;
        job.state = State::Running;
        job.started = Some(Instant::now());
        Some(job.task.clone())
    }

    /// The kernels whose depmod is due: something was placed for them, and nothing that touches them waits or runs.
    pub fn finish_ready(&mut self) -> Vec<Task> {
        let mut placed: BTreeMap<KernelId, Vec<u32>> = BTreeMap::new();
        let mut busy: BTreeSet<&KernelId> = BTreeSet::new();
        for job in self.jobs.values() {
            let Some(kernel) = &job.task.kernel else { continue };
            match &job.state {
                State::Placed(_) => placed.entry(kernel.clone()).or_default().push(job.task.id),
                State::Ended(_) => {}
                _ if job.task.operation.touches_kernel() => {
                    busy.insert(kernel);
                }
                _ => {}
            }
        }
        for kernel in &self.cut_short {
            placed.entry(kernel.clone()).or_default();
        }
        placed.retain(|kernel, _| !busy.contains(kernel) && !self.finishing.contains_key(kernel));
        let mut tasks = Vec::new();
        for (kernel, ids) in placed {
            let batch: Vec<PackageId> = ids.iter().filter_map(|id| self.jobs.get(id)?.task.package.clone()).collect();
            tasks.push(Task {
                id: 0,
                operation: Operation::Finish,
                package: None,
                source: None,
                kernel: Some(kernel.clone()),
                batch,
                force: false,
                by_hand: false,
                uid: 0,
                reason: "every install of this kernel stands".into(),
            });
            for id in &ids {
                if let Some(job) = self.jobs.get_mut(id) {
                    job.phase = Phase::Depmod;
                }
            }
            self.cut_short.remove(&kernel);
            self.finishing.insert(kernel, ids);
        }
        tasks
    }

    /// A worker told something. Gives whether anybody should hear of it.
    pub fn told(&mut self, id: u32, event: &Event) -> bool {
        let Some(job) = self.jobs.get_mut(&id) else { return false };
        match event {
            Event::Phase { phase } => {
                job.phase = *phase;
                if *phase != Phase::Building {
                    job.progress = None;
                }
            }
            Event::Progress { done } => job.progress = Some(done.clamp(0.0, 1.0)),
            Event::Log { path } => job.log = Some(path.clone()),
            Event::Waiting { why } => job.waiting = Some(why.clone().unwrap_or_default()),
            Event::Waited => job.waiting = None,
            Event::Note { .. } | Event::Warning { .. } | Event::FromCache { .. } => return false,
        }
        true
    }

    /// Modules of these kernels may have been changed by a worker that could not say so: depmod is due.
    pub fn cut_short(&mut self, kernels: impl IntoIterator<Item = KernelId>) {
        self.cut_short.extend(kernels);
    }

    /// A worker ended. What it placed waits for depmod; everything else is over. Gives the jobs that are over,
    /// those that needed it among them.
    pub fn worker_ended(&mut self, id: u32, outcome: Outcome) -> Vec<u32> {
        let Some(job) = self.jobs.get_mut(&id) else { return Vec::new() };
        job.took = job.started.map(|started| started.elapsed());
        job.waiting = None;
        if job.task.package.is_none() {
            job.task.package.clone_from(&outcome.package);
        }
        if outcome.placed && outcome.verdict == Verdict::Done {
            job.state = State::Placed(outcome);
            return Vec::new();
        }
        if !outcome.recorded && job.task.operation.touches_kernel() {
            self.cut_short.extend(job.task.kernel.clone());
        }
        let failed = !matches!(outcome.verdict, Verdict::Done | Verdict::Skipped);
        self.end(id, outcome);
        let mut over = vec![id];
        if failed {
            self.fail_dependents(id, &mut over);
        }
        over
    }

    fn fail_dependents(&mut self, id: u32, over: &mut Vec<u32>) {
        let name = self.jobs.get(&id).and_then(|j| j.task.package.clone()).map_or_else(String::new, |p| p.to_string());
        let dependents: Vec<u32> = self
            .jobs
            .values()
            .filter(|job| job.state == State::Queued && job.after.contains(&id))
            .map(|job| job.task.id)
            .collect();
        for dependent in dependents {
            self.end(dependent, Outcome::because(Verdict::Dependency, format!("it needs {name}, which failed")));
            over.push(dependent);
            self.fail_dependents(dependent, over);
        }
    }

    /// depmod of a kernel ended. Gives the jobs that are over.
    pub fn finish_ended(&mut self, kernel: &KernelId, outcome: &Outcome) -> Vec<u32> {
        let ids = self.finishing.remove(kernel).unwrap_or_default();
        for id in &ids {
            let Some(State::Placed(placed)) = self.jobs.get(id).map(|job| &job.state) else { continue };
            let own = if outcome.verdict == Verdict::Done {
                placed.clone()
            } else {
                Outcome { log: placed.log.clone(), ..outcome.clone() }
            };
            self.end(*id, own);
        }
        ids
    }

    /// Cancels a job.
    ///
    /// # Errors
    /// When there is no such job, or it is past the point of return.
    pub fn cancel(&mut self, id: u32) -> Result<Cancel, NotCanceled> {
        let job = self.jobs.get_mut(&id).ok_or(NotCanceled::NoSuchJob)?;
        match job.state {
            State::Ended(_) => Err(NotCanceled::NoSuchJob),
            State::Canceling => Ok(Cancel::EndWorker),
            _ if !job.cancelable() => Err(NotCanceled::Busy),
            State::Queued => {
                self.end(id, Outcome::because(Verdict::Canceled, CANCELED));
                let mut over = vec![id];
                self.fail_dependents(id, &mut over);
                Ok(Cancel::Over(over))
            }
            _ => {
                job.state = State::Canceling;
                Ok(Cancel::EndWorker)
            }
        }
    }

    /// Forgets a job that is over.
    pub fn remove_ended(&mut self, id: u32) -> Option<(Job, Outcome)> {
        match self.jobs.get(&id)?.state.clone() {
            State::Ended(outcome) => Some((self.jobs.remove(&id)?, outcome)),
            _ => None,
        }
    }

    fn end(&mut self, id: u32, outcome: Outcome) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = State::Ended(outcome);
        }
    }
}

fn node(job: &Job, ranking: &Ranking, longest: Duration) -> Option<Node> {
    let package = match (&job.task.package, &job.task.source) {
        (Some(package), _) => package.name.clone(),
        // A folder to add: what it holds is not known yet, and adding takes the tree's own locks.
        (None, _) => dkms_core::model::PackageName::new(format!("job {}", job.task.id)).ok()?,
    };
    let kernel = job.task.kernel.as_ref().map(|k| k.release.clone());
    let rank = ranking.rank(&job.task, longest);
    Some(Node { id: job.task.id, claim: Claim { package, kernel }, after: job.after.clone(), rank })
}

fn task_of(action: &Action) -> Task {
    let (operation, kernel) = match &action.verb {
        Verb::Add => (Operation::Add, None),
        Verb::Install(kernel) => (Operation::Install, Some(kernel.clone())),
        Verb::Clean(kernel) => (Operation::Clean, Some(kernel.clone())),
    };
    Task {
        id: 0,
        operation,
        package: Some(action.package.clone()),
        source: None,
        kernel,
        batch: Vec::new(),
        force: false,
        by_hand: false,
        uid: 0,
        reason: action.reason.clone(),
    }
}

#[cfg(test)]
mod tests;
