//! One module a group of commands; each asks the daemon and hands the answer to [`crate::render`].

mod change;
mod kernel;
mod logs;
mod look;
mod mok;
mod monitor;
mod rebuild;

use std::io::IsTerminal;
use std::time::Duration;

use dkms_core::bus::{self, Link, Options};
use dkms_core::layout::Layout;

use crate::cli::{Cli, Command, Status};
use crate::failure::{Exit, Failure};
use crate::out::Out;

/// What every command needs.
struct Context {
    link: Link,
    out: Out,
    interactive: bool,
}

impl Context {
    fn options(&self, force: bool) -> Options {
        Options { force, interactive: self.interactive, by_hand: true }
    }
}

/// How long a daemon that is there, or is being started for us, may take to say so.
const PATIENCE: Duration = Duration::from_secs(30);

async fn connect(cli: &Cli) -> Result<Link, Failure> {
    let layout = Layout::under(&cli.root);
    let connecting = async { if cli.system_bus { bus::connect_bus().await } else { bus::connect(&layout).await } };
    match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(link) => Ok(link?),
        Err(_) => Err(Failure::Silent { seconds: PATIENCE.as_secs() }),
    }
}

/// Runs the command line.
pub(crate) async fn run(cli: Cli) -> Result<Exit, Failure> {
    match &cli.command {
        Some(Command::KernelAdded(args)) => return kernel::added(&cli, args).await,
        Some(Command::KernelRemoved { kernel }) => return kernel::removed(&cli, kernel).await,
        Some(Command::Mok(args)) => return mok::mok(&cli, args),
        _ => {}
    }
    let link = connect(&cli).await?;
    let interactive = !cli.no_ask_password && std::io::stdin().is_terminal();
    let mut cx = Context { link, out: Out::new(), interactive };
    match cli.command.unwrap_or(Command::Status(Status { package: None, kernel: None, json: false })) {
        Command::Status(args) => look::status(&mut cx, &args).await,
        Command::Kernels(args) => look::kernels(&mut cx, &args).await,
        Command::Jobs(args) => look::jobs(&mut cx, &args).await,
        Command::History(args) => look::history(&mut cx, &args).await,
        Command::Check(args) => look::check(&mut cx, &args).await,
        Command::Rebuild(args) => rebuild::rebuild(&mut cx, &args).await,
        Command::Add(args) => change::add(&mut cx, &args).await,
        Command::Remove(args) => change::remove(&mut cx, &args).await,
        Command::Build(args) => change::change(&mut cx, change::Verb::Build, &args).await,
        Command::Install(args) => change::change(&mut cx, change::Verb::Install, &args).await,
        Command::Uninstall(args) => change::change(&mut cx, change::Verb::Uninstall, &args).await,
        Command::Unbuild(args) => change::change(&mut cx, change::Verb::Unbuild, &args).await,
        Command::Cancel { id } => change::cancel(&mut cx, id).await,
        Command::Rescan => change::rescan(&mut cx).await,
        Command::Logs(args) => logs::logs(&mut cx, &args).await,
        Command::Monitor => monitor::monitor(&mut cx).await,
        Command::KernelAdded(_) | Command::KernelRemoved { .. } | Command::Mok(_) => Ok(Exit::Done),
    }
}
