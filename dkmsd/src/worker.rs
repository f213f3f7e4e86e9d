//! `dkmsd worker`: runs one job in this process. The task comes as a JSON line on stdin; what happens goes out as JSON
//! lines on stdout. When stdin closes, the daemon is gone or wants the job ended: what runs is killed, and so are we.

use std::io::{self, BufRead as _, Read as _, Write as _};

use dkms_core::build::first_error;
use dkms_core::engine::{self, Done, Engine, Order};
use dkms_core::error::{Error, Result};
use dkms_core::event::{Event, Sink};
use dkms_core::settings::Settings;

use crate::queue::job::{Operation, Outcome, Task, Verdict, WorkerLine};

/// The variable that has the daemon's process number.
pub const DAEMON: &str = "DKMSD_DAEMON";

/// Sends events to the daemon.
#[derive(Default)]
struct ToDaemon {
    /// The build came out of the cache.
    from_cache: bool,
}

impl Sink for ToDaemon {
    fn emit(&mut self, event: Event) {
        self.from_cache |= matches!(event, Event::FromCache { .. });
        say(&WorkerLine::Told { event });
    }
}

/// Reads the task, does it, says how it ended. The exit code is always 0: the last line is what counts.
///
/// # Errors
/// When there is no task on stdin, or no settings after it.
pub fn run(in_chroot: bool) -> anyhow::Result<()> {
    let mut stdin = io::stdin().lock();
    let mut line = String::new();
    stdin.read_line(&mut line)?;
    let task: Task = serde_json::from_str(&line)?;
    line.clear();
    stdin.read_line(&mut line)?;
    let settings: Settings = serde_json::from_str(&line)?;
    drop(stdin);
    std::thread::spawn(end_with_daemon);
    let outcome = match Engine::new(settings, Some(in_chroot)) {
        Ok(engine) => outcome(&for_daemon(engine), &task),
        Err(error) => Outcome { recorded: false, ..failed(&error) },
    };
    say(&WorkerLine::Ended { outcome });
    Ok(())
}

/// What is placed waits for the daemon's depmod. (Its number is told, not asked for: should it have died by now, another
/// process is our parent.)
fn for_daemon(engine: Engine) -> Engine {
    match std::env::var(DAEMON).ok().and_then(|pid| pid.parse().ok()) {
        Some(pid) => engine.on_behalf_of(pid),
        None => engine,
    }
}

fn end_with_daemon() {
    // Nothing more is ever sent: this returns when the other end is closed.
    let _ = io::stdin().lock().read(&mut [0]);
    engine::stop();
    std::process::exit(1);
}

fn outcome(engine: &Engine, task: &Task) -> Outcome {
    let (mut package, mut sink) = (task.package.clone(), ToDaemon::default());
    let outcome = match perform(engine, task, &mut package, &mut sink) {
        Ok(Done::Changed) => Outcome { package, ..done(None, false) },
        Ok(Done::Placed) => Outcome { package, ..done(None, true) },
        Ok(Done::Unchanged(why)) => Outcome { package, verdict: Verdict::Skipped, ..done(Some(why), false) },
        Err(error) => Outcome { package, ..failed(&error) },
    };
    Outcome { from_cache: sink.from_cache, ..outcome }
}

fn perform(
    engine: &Engine,
    task: &Task,
    found: &mut Option<dkms_core::model::PackageId>,
    sink: &mut ToDaemon,
) -> Result<Done> {
    let order = Order {
        force: task.force,
        by_hand: task.by_hand,
        uid: task.uid,
        reason: task.reason.clone(),
        ..Order::default()
    };
    match (task.operation, &task.package, &task.kernel) {
        (Operation::Add, _, _) if task.source.is_some() => {
            let folder = task.source.clone().unwrap_or_default();
            let (package, done) = engine.add_folder(&folder, &order, sink)?;
            *found = Some(package);
            Ok(done)
        }
        (Operation::Add, Some(package), _) => engine.add(package, &order, sink),
        (Operation::Build, Some(package), Some(kernel)) => engine.build(package, kernel, &order, sink),
        (Operation::Install, Some(package), Some(kernel)) => engine.install(package, kernel, &order, sink),
        (Operation::Uninstall, Some(package), Some(kernel)) => engine.uninstall(package, kernel, &order, sink),
        (Operation::Unbuild, Some(package), Some(kernel)) => engine.unbuild(package, kernel, &order, sink),
        (Operation::Remove, Some(package), _) => engine.remove(package, &order, sink).map(|_| Done::Changed),
        (Operation::Clean, Some(package), Some(kernel)) => engine.clean(package, kernel, sink),
        (Operation::Finish, _, Some(kernel)) => {
            engine.finish_kernel(kernel, &task.batch, sink)?;
            Ok(Done::Changed)
        }
        (operation, _, _) => {
            Ok(Done::Unchanged(format!("there is nothing to {} without a package and a kernel", operation.as_str())))
        }
    }
}

fn done(error: Option<String>, placed: bool) -> Outcome {
    Outcome {
        verdict: Verdict::Done,
        code: 0,
        error,
        first_error: None,
        log: None,
        placed,
        package: None,
        recorded: true,
        from_cache: false,
    }
}

fn failed(error: &Error) -> Outcome {
    let verdict = match error {
        Error::Excluded { .. } | Error::Held { .. } => Verdict::Skipped,
        Error::DependsMissing { .. } => Verdict::Dependency,
        Error::Timeout { .. } => Verdict::Timeout,
        Error::Canceled => Verdict::Canceled,
        _ => Verdict::Failed,
    };
    let first_error = match error {
        Error::BuildFailed { first, .. } | Error::PatchFailed { first, .. } => Some(first.clone()),
        Error::Script { log: Some(log), .. } => first_error::in_file(log).map(|first| first.text),
        _ => None,
    };
    Outcome {
        code: error.exit_code(),
        recorded: true,
        first_error,
        log: error.log().map(ToOwned::to_owned),
        ..Outcome::because(verdict, error.to_string())
    }
}

fn say(line: &WorkerLine) {
    // A daemon that is gone closes stdin as well: that ends us.
    if let Ok(text) = serde_json::to_string(line) {
        let mut stdout = io::stdout().lock();
        let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    }
}
