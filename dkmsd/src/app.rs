//! Puts the daemon together, and takes it apart again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use dkms_core::build::jobserver::{self, JobServer};
use dkms_core::engine::Engine;
use dkms_core::event::{Event, Sink};
use dkms_core::host::chroot;
use dkms_core::layout::Layout;
use dkms_core::observe::Observer;
use dkms_core::settings::Settings;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::bus::Context;
use crate::bus::publish::{Publisher, listen};
use crate::queue::coordinator::Coordinator;
use crate::queue::messages::{Ask, Command};
use crate::queue::workers::Workers;
use crate::service;
use crate::watch::reconcile::Reconciler;
use crate::watch::settle::Timing;
use crate::watch::source::Watcher;

/// Somebody who wants the settings read again, and hears how it went.
type ReloadReply = oneshot::Sender<Result<(), String>>;

/// Runs the daemon for a root until it is told to stop.
///
/// # Errors
/// When it cannot start: settings that are wrong, no inotify, state that cannot be written.
pub async fn run(root: PathBuf) -> anyhow::Result<()> {
    let settings = read_settings(&root).await?;
    let layout = settings.layout();
    let in_chroot = chroot::in_chroot().unwrap_or(true);
    for folder in [layout.dkms_tree(), layout.state_dir(), layout.run_dir()] {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    recover(settings.clone(), in_chroot).await;

    let observer = Arc::new(Observer::new(&settings)?);
    let running = observer.running().to_string();
    let (observers, observer) = watch::channel(observer);
    let (watcher, hints) = Watcher::new()?;
    let (watching_sender, watching) = watch::channel(Vec::new());
    let (ask, asked) = mpsc::channel::<Ask>(64);
    let program = std::env::current_exe().context("cannot find this program")?;
    let args = worker_args(in_chroot);
    let max_jobs = settings.daemon.max_jobs as usize;
    let (jobserver, _held) = jobserver(&layout);
    let (coordinator, shared, notices) = Coordinator::new(max_jobs, jobserver, &layout, ask.clone(), |commands| {
        Workers::new(program, args, Arc::new(settings.clone()), commands)
    });
    let (stop, stopped) = watch::channel(false);
    let coordinator = tokio::spawn(coordinator.run(stopped));
    let timing =
        Timing { quiet: settings.daemon.quiet, patience: settings.daemon.package_manager_wait, ..Timing::default() };
    let commands = shared.commands.clone();
    let ended = Arc::clone(&shared.ended);
    let reconciler = Reconciler {
        observer,
        watcher,
        hints,
        timing,
        asked,
        commands,
        ended,
        watching: watching_sender,
        unsound: None,
    };
    let (first_look, looked) = oneshot::channel();
    let mut reconciler = tokio::spawn(reconciler.run(first_look));
    let (mut term, mut int, mut hup) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    // Nobody is answered before there is something to answer with.
    tokio::select! {
        _ = looked => {}
        _ = term.recv() => return Ok(()),
        _ = int.recv() => return Ok(()),
    }

    let (reload, mut reloads) = mpsc::channel::<ReloadReply>(4);
    let context = Context {
        shared: shared.clone(),
        ask: ask.clone(),
        watching,
        reload: reload.clone(),
        running,
        layout: layout.clone(),
    };
    let socket = match listen(&layout.private_socket()) {
        Ok(socket) => Some(socket),
        Err(error) => {
            warn!("no private socket at {}: {error}", layout.private_socket().display());
            None
        }
    };
    let publisher = Publisher::start(context, notices, socket).await;
    info!(system_bus = publisher.on_the_bus(), "dkmsd {} serves org.dkmsd1", env!("CARGO_PKG_VERSION"));
    tokio::spawn(publisher.run());
    service::tell(&[NotifyState::Ready]);
    tokio::spawn(service::keep_informed(shared.snapshot.clone(), ask.clone()));

    loop {
        tokio::select! {
            ended = &mut reconciler => anyhow::bail!("the reconciler broke off: {ended:?}"),
            _ = term.recv() => break,
            _ = int.recv() => break,
            _ = hup.recv() => {
                let reread = reload_settings(&root, &observers, &shared.commands).await;
                if reread.is_ok() {
                    // A full queue of wishes means that a look is coming.
                    let _ = ask.try_send(Ask::Rescan(None));
                }
            }
            Some(reply) = reloads.recv() => {
                let result = reload_settings(&root, &observers, &shared.commands).await;
                let _ = reply.send(result);
            }
        }
    }
    info!("stopping");
    service::tell(&[NotifyState::Stopping]);
    stop.send_replace(true);
    coordinator.await.context("the coordinator broke off")?;
    remove_socket(&layout.private_socket());
    Ok(())
}

/// The budget of compilers, and what keeps its tokens there while nobody builds. Workers have one each where it cannot be
/// had.
fn jobserver(layout: &Layout) -> (Option<JobServer>, Option<File>) {
    let server = JobServer::shared(layout, jobserver::cpus()).and_then(|server| {
        let held = server.hold()?;
        server.top_up()?;
        Ok((server, held))
    });
    match server {
        Ok((server, held)) => (Some(server), Some(held)),
        Err(error) => {
            warn!("{}: {error}; builds do not know of each other's compilers", layout.jobserver().display());
            (None, None)
        }
    }
}

async fn read_settings(root: &Path) -> anyhow::Result<Settings> {
    let root = root.to_owned();
    Ok(tokio::task::spawn_blocking(move || Settings::load(&root)).await??)
}

/// What a kill or a power cut left half done is undone or finished before anything new begins.
async fn recover(settings: Settings, in_chroot: bool) {
    struct ToLog;
    impl Sink for ToLog {
        fn emit(&mut self, event: Event) {
            match event {
                Event::Note { text } | Event::Waiting { why: Some(text) } => info!("{text}"),
                Event::Warning { text } => warn!("{text}"),
                Event::Phase { .. }
                | Event::Progress { .. }
                | Event::Log { .. }
                | Event::FromCache { .. }
                | Event::Waiting { why: None }
                | Event::Waited => {}
            }
        }
    }
    let recovered =
        tokio::task::spawn_blocking(move || Engine::new(settings, Some(in_chroot))?.recover(&mut ToLog)).await;
    match recovered {
        Ok(Ok(())) => {}
        Ok(Err(error)) => error!("what was cut short could not be looked at: {error}"),
        Err(error) => error!("what was cut short could not be looked at: {error}"),
    }
}

fn worker_args(in_chroot: bool) -> Vec<String> {
    if in_chroot { vec!["--in-chroot".into()] } else { Vec::new() }
}

/// Reads the settings again; what is wrong is said, and the old ones stay.
async fn reload_settings(
    root: &Path,
    observers: &watch::Sender<Arc<Observer>>,
    commands: &mpsc::Sender<Command>,
) -> Result<(), String> {
    service::tell(&[NotifyState::Reloading]);
    let result = async {
        let settings = read_settings(root).await.map_err(|e| e.to_string())?;
        let observer = Observer::new(&settings).map_err(|e| e.to_string())?;
        observers.send_replace(Arc::new(observer));
        commands.send(Command::Settings(Arc::new(settings))).await.map_err(|e| e.to_string())
    }
    .await;
    match &result {
        Ok(()) => info!("the settings are read again"),
        Err(error) => error!("the settings stay as they were: {error}"),
    }
    service::tell(&[NotifyState::Ready]);
    result
}

fn remove_socket(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        warn!("cannot remove {}: {error}", path.display());
    }
}
