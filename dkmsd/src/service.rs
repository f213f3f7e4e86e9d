//! What systemd hears of us: READY, STATUS, WATCHDOG, RELOADING, STOPPING; and where the log goes.
//!
//! `Type=notify` with ExecReload: systemd 252 has no `notify-reload`.

use std::io::IsTerminal as _;
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::sync::{mpsc, oneshot, watch};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::queue::messages::Ask;
use crate::snapshot::Snapshot;

/// The journal's own words for our levels.
const PRIORITIES: PriorityMappings = PriorityMappings {
    error: Priority::Error,
    warn: Priority::Warning,
    info: Priority::Informational,
    debug: Priority::Debug,
    trace: Priority::Debug,
};

/// Sends the log to the journal, with fields, under systemd; else to stderr.
pub fn start_log() {
    let filter = EnvFilter::try_from_env("DKMSD_LOG").unwrap_or_else(|_| EnvFilter::new("info,zbus=warn,notify=off"));
    let registry = tracing_subscriber::registry().with(filter);
    let under_systemd = std::env::var_os("JOURNAL_STREAM").is_some();
    match tracing_journald::layer() {
        Ok(journal) if under_systemd => {
            let journal = journal.with_field_prefix(None).with_syslog_identifier("dkmsd".into());
            registry.with(journal.with_priority_mappings(PRIORITIES)).init();
        }
        _ => {
            let colours = std::io::stderr().is_terminal();
            let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
            registry.with(lines.with_ansi(colours)).init();
        }
    }
}

/// A worker's log: lines for the daemon's own stderr.
pub fn start_worker_log() {
    let filter = EnvFilter::try_from_env("DKMSD_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .without_time();
    tracing_subscriber::registry().with(filter).with(lines).init();
}

/// Tells systemd something; where nobody listens, nothing happens.
pub fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd does not hear: {error}");
    }
}

/// Keeps the status line of `systemctl status` up to date, and the watchdog quiet for as long as the reconciler answers.
pub async fn keep_informed(mut snapshot: watch::Receiver<Arc<Snapshot>>, reconciler: mpsc::Sender<Ask>) {
    // Made once: what happens meanwhile must not put the next beat off.
    let mut beat = sd_notify::watchdog_enabled().map(|period| tokio::time::interval(period / 2));
    let mut last = String::new();
    loop {
        let line = status_line(&snapshot.borrow_and_update());
        if line != last {
            tell(&[NotifyState::Status(&line)]);
            last = line;
        }
        tokio::select! {
            changed = snapshot.changed() => if changed.is_err() { return },
            () = next_beat(&mut beat) => {
                let reconciler = reconciler.clone();
                // Apart, so that a loop that hangs stops the watchdog and not the status line.
                tokio::spawn(async move {
                    let (reply, alive) = oneshot::channel();
                    if reconciler.send(Ask::Alive(reply)).await.is_ok() && alive.await.is_ok() {
                        tell(&[NotifyState::Watchdog]);
                    }
                });
            }
        }
    }
}

/// For ever where no watchdog is wanted.
async fn next_beat(beat: &mut Option<tokio::time::Interval>) {
    match beat {
        Some(beat) => drop(beat.tick().await),
        None => std::future::pending().await,
    }
}

fn status_line(snapshot: &Snapshot) -> String {
    let count = |state: &str| snapshot.rows.iter().filter(|row| row.state == state).count();
    let running = snapshot.jobs.iter().filter(|job| job.state != "queued").count();
    let queued = snapshot.jobs.len() - running;
    let mut parts = Vec::new();
    if !snapshot.jobs.is_empty() {
        parts.push(format!("{running} running, {queued} queued"));
    }
    parts.push(format!("{} installed", count("installed")));
    for (state, word) in [("failed", "failed"), ("broken", "broken"), ("waiting-for-headers", "waiting for headers")] {
        match count(state) {
            0 => {}
            n => parts.push(format!("{n} {word}")),
        }
    }
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use dkms_core::bus::types::StatusRow;

    #[test]
    fn the_status_line_names_what_matters() {
        let row = |state: &str| StatusRow { state: state.into(), ..StatusRow::default() };
        let rows = vec![row("installed"), row("installed"), row("failed"), row("held")];
        let snapshot = Snapshot { rows, ..Snapshot::default() };
        assert_eq!(status_line(&snapshot), "2 installed; 1 failed");
    }
}
