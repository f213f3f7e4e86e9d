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

/// The variable that says what is logged.
const LOG: &str = "DKMSD_LOG";

/// What libraries say that is nobody's business: notify warns of each watch that went with its folder.
const LIBRARIES: &str = "zbus=warn,notify=error";

/// What is logged: as asked for, else `otherwise`. Libraries are quiet unless they are named.
fn filter(asked: Option<&str>, otherwise: &str) -> EnvFilter {
    let with = |words: &str| EnvFilter::try_new(format!("{LIBRARIES},{words}"));
    asked
        .filter(|asked| !asked.is_empty())
        .and_then(|asked| with(asked).ok())
        .or_else(|| with(otherwise).ok())
        .unwrap_or_default()
}

/// Sends the log to the journal, with fields, under systemd; else to stderr.
pub fn start_log() {
    let registry = tracing_subscriber::registry().with(filter(std::env::var(LOG).ok().as_deref(), "info"));
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
    let filter = filter(std::env::var(LOG).ok().as_deref(), "warn");
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
    use rstest::rstest;
    use tracing::{Level, enabled};

    #[rstest]
    #[case::unset(None, [true, false, false])]
    #[case::empty(Some(""), [true, false, false])]
    #[case::everything(Some("debug"), [true, true, false])]
    #[case::less(Some("warn"), [false, false, false])]
    #[case::a_library_by_name(Some("notify=warn"), [false, false, true])]
    #[case::nonsense(Some("=/="), [true, false, false])]
    fn libraries_are_quiet_unless_named(#[case] asked: Option<&str>, #[case] wanted: [bool; 3]) {
        let (shown, error) =
            tracing::subscriber::with_default(tracing_subscriber::registry().with(filter(asked, "info")), || {
                let shown = [
                    enabled!(target: "dkmsd::app", Level::INFO),
                    enabled!(target: "dkmsd::app", Level::DEBUG),
                    enabled!(target: "notify::inotify", Level::WARN),
                ];
                (shown, enabled!(target: "notify::inotify", Level::ERROR))
            });
        assert_eq!(shown, wanted);
        assert!(error, "an error is said by whoever it is of");
    }

    #[test]
    fn the_status_line_names_what_matters() {
        let row = |state: &str| StatusRow { state: state.into(), ..StatusRow::default() };
        let rows = vec![row("installed"), row("installed"), row("failed"), row("held")];
        let snapshot = Snapshot { rows, ..Snapshot::default() };
        assert_eq!(status_line(&snapshot), "2 installed; 1 failed");
    }
}
