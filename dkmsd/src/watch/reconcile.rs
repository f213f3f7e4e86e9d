//! The loop of the controller: wait until it makes sense to look, look, hand what follows to the coordinator, and watch
//! where the look says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use dkms_core::host::package_manager;
use dkms_core::observe::{Look, Observer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, error, warn};

use super::settle::{Because, Settle, Timing, Word, next_look, on_the_clock};
use super::source::{Hints, Watch, Watcher};
use crate::queue::coordinator::Command;

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

/// A wish for a look.
#[derive(Debug)]
pub enum Ask {
    /// A job ended: its outcome has to be seen. Nothing new is begun while a package manager works.
    JobEnded,
    /// Somebody asked; told when it has been looked and what is due is queued.
    Rescan(Option<oneshot::Sender<()>>),
    /// A kernel's own hook gave word.
    Hook,
}

impl Reconciler {
    /// Runs until everybody who could ask is gone.
    pub async fn run(mut self) {
        let mut settle = Settle::new(self.timing, Instant::now());
        let (words, mut word) = mpsc::channel(16);
        let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
        let idle = package_manager::busy(self.observer.borrow().layout()).is_none();
        self.look(Because::Rescan, &mut settle, &mut waiting, idle).await;
        loop {
            let observer = self.observer.borrow().clone();
            let busy = || package_manager::busy(observer.layout()).is_some();
            let because = tokio::select! {
                ask = self.asked.recv() => match ask {
                    None => return,
                    Some(Ask::JobEnded) => None,
                    Some(Ask::Rescan(reply)) => {
                        waiting.extend(reply);
                        Some(Because::Rescan)
                    }
                    Some(Ask::Hook) => {
                        // The waiver is the debounce's to keep, so the word goes through it.
                        let _ = words.send(Word::Hook).await;
                        continue;
                    }
                },
                because = next_look(&mut settle, &mut self.hints, &mut word, busy) => match because {
                    Some(because) => Some(because),
                    None => return,
                },
            };
            match because {
                Some(because) => self.look(because, &mut settle, &mut waiting, true).await,
                None => {
                    // Looks asked for by jobs that end together are one look.
                    while let Ok(more) = self.asked.try_recv() {
                        match more {
                            Ask::Rescan(reply) => waiting.extend(reply),
                            Ask::Hook => drop(words.send(Word::Hook).await),
                            Ask::JobEnded => {}
                        }
                    }
                    let idle = !busy();
                    self.look(Because::Settled, &mut settle, &mut waiting, idle).await;
                }
            }
        }
    }

    /// `act`: whether what is found to be due may begin.
    async fn look(&mut self, because: Because, settle: &mut Settle, waiting: &mut Vec<oneshot::Sender<()>>, act: bool) {
        let seq = self.ended.load(Ordering::Acquire);
        let observer = self.observer.borrow().clone();
        let started = Instant::now();
        let looked = tokio::task::spawn_blocking(move || look_and_tidy(&observer)).await;
        let look = match looked {
            Ok(Ok(look)) => Arc::new(look),
            Ok(Err(error)) => {
                error!("cannot look at the state: {error}");
                return;
            }
            Err(panic) => {
                error!("a look at the state broke off: {panic}");
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

/// Looks, and ends the holds that have nothing to hold any more.
fn look_and_tidy(observer: &Observer) -> dkms_core::Result<Look> {
    let look = observer.look(SystemTime::now())?;
    for package in &look.ended_holds {
        dkms_core::tree::holds::release(observer.layout(), package, None)?;
    }
    Ok(look)
}
