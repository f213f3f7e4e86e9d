//! The loop of the controller: wait until it makes sense to look, look, hand what follows to the coordinator, and watch
//! where the look says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use dkms_core::host::package_manager;
use dkms_core::observe::{Look, Observer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::settle::{Because, Settle, Timing, next_look, on_the_clock};
use super::source::{Hints, Watch, Watcher};
use crate::queue::messages::{Ask, Command};

/// Looks at the disk whenever that makes sense.
pub struct Reconciler {
    /// What looks; replaced on reload.
    pub observer: watch::Receiver<Arc<Observer>>,
    /// Hears what changes.
    pub watcher: Watcher,
    /// What it heard.
    pub hints: Hints,
    /// How long things are waited for.
    pub timing: Timing,
    /// People, hooks, and the coordinator after a job.
    pub asked: mpsc::Receiver<Ask>,
    /// Where plans go.
    pub commands: mpsc::Sender<Command>,
    /// See [`crate::queue::coordinator::Shared::ended`].
    pub ended: Arc<AtomicU64>,
    /// The folders that are watched, for the bus.
    pub watching: watch::Sender<Vec<String>>,
    /// What was wrong with the install tree at the last look.
    pub unsound: Option<String>,
}

impl Reconciler {
    /// Runs until everybody who could ask is gone. `first_look` is told once the disk has been looked at for the first
    /// time and the coordinator has taken what was found.
    pub async fn run(mut self, first_look: oneshot::Sender<()>) {
        let mut settle = Settle::new(self.timing, Instant::now());
        let mut waiting = vec![first_look];
        let mut because = Because::JobEnded;
        loop {
            // After a job (and at the start), what is has to be seen at once; nothing new is begun while a package
            // manager works.
            let act = because != Because::JobEnded || package_manager_idle(self.observer()).await;
            self.look(because, &mut settle, &mut waiting, act).await;
            match self.next(&mut settle, &mut waiting).await {
                Some(why) => because = why,
                None => return,
            }
        }
    }

    fn observer(&self) -> Arc<Observer> {
        self.observer.borrow().clone()
    }

    async fn next(&mut self, settle: &mut Settle, waiting: &mut Vec<oneshot::Sender<()>>) -> Option<Because> {
        let observer = self.observer();
        loop {
            let mut ask = tokio::select! {
                ask = self.asked.recv() => Some(ask?),
                because = next_look(settle, &mut self.hints, || package_manager_idle(Arc::clone(&observer))) => {
                    return because;
                }
            };
            // What was asked for meanwhile is served by one look.
            let (mut job_ended, mut at_once) = (false, false);
            while let Some(asked) = ask {
                match asked {
                    Ask::JobEnded => job_ended = true,
                    Ask::Rescan(reply) => {
                        waiting.extend(reply);
                        settle.rescan();
                        at_once = true;
                    }
                    Ask::Hook => {
                        settle.hook(Instant::now());
                        at_once = true;
                    }
                    Ask::Soon => settle.hint(Instant::now()),
                    Ask::Alive(reply) => drop(reply.send(())),
                }
                ask = self.asked.try_recv().ok();
            }
            if job_ended && !at_once {
                return Some(Because::JobEnded);
            }
        }
    }

    /// `act`: whether what is found to be due may begin.
    async fn look(&mut self, because: Because, settle: &mut Settle, waiting: &mut Vec<oneshot::Sender<()>>, act: bool) {
        let seq = self.ended.load(Ordering::Acquire);
        let observer = self.observer();
        let started = Instant::now();
        let looked = tokio::task::spawn_blocking(move || look_and_tidy(&observer)).await;
        let look = match looked {
            Ok(Ok(look)) => Arc::new(look),
            failed => {
                let why = match failed {
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => panic.to_string(),
                    Ok(Ok(_)) => String::new(),
                };
                error!("cannot look at the state: {why}; trying again in {} seconds", RETRY.as_secs());
                // Those who wait are told by the look that succeeds.
                settle.look_again_at(Instant::now() + RETRY);
                return;
            }
        };
        debug!(because = because.as_str(), due = look.plan.actions.len(), took = ?started.elapsed(), "looked");
        if look.unsound != self.unsound {
            if let Some(why) = &look.unsound {
                warn!("no kernel is taken for gone: {why}");
            }
            self.unsound.clone_from(&look.unsound);
        }
        if let Some(at) = look.look_again {
            settle.look_again_at(on_the_clock(at));
        }
        self.watch(&look);
        let replies = std::mem::take(waiting);
        // A coordinator that is gone is the end of the daemon.
        let _ = self.commands.send(Command::Looked { seq, look, act, replies }).await;
    }

    fn watch(&mut self, look: &Look) {
        let wanted =
            look.watch.iter().map(|(path, recursive)| Watch { path: path.clone(), recursive: *recursive }).collect();
        match self.watcher.set(wanted) {
            Ok(outcome) => {
                if !outcome.added.is_empty() || !outcome.removed.is_empty() {
                    debug!("watching {} folders", self.watcher.watched().count());
                    let folders = self.watcher.watched().map(|w| w.path.to_string_lossy().into_owned()).collect();
                    self.watching.send_replace(folders);
                }
            }
            Err(error) => error!("changes will be seen late, at the hourly look: {error}"),
        }
    }
}

/// How long to wait after a look that failed.
const RETRY: Duration = Duration::from_secs(30);

/// Whether no package manager is at work. Its locks lie on disks that may be slow.
async fn package_manager_idle(observer: Arc<Observer>) -> bool {
    let busy = tokio::task::spawn_blocking(move || package_manager::busy(observer.layout()).is_some());
    !busy.await.unwrap_or(false)
}

/// Looks, and ends the holds that have nothing to hold any more.
fn look_and_tidy(observer: &Observer) -> dkms_core::Result<Look> {
    let look = observer.look(SystemTime::now())?;
    for package in &look.ended_holds {
        if let Err(error) = dkms_core::tree::holds::release(observer.layout(), package, None) {
            warn!("{package} is still held, though its source is gone: {error}");
        }
    }
    Ok(look)
}
