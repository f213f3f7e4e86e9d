//! `dkms`: the classic command (dkms-contract.md §2), running the engine here and now.
//!
//! `args` understands the command line, `machine` finds what it is about, `act`, `status` … do what is asked, `terminal`
//! says what happens, `progress` how far it is.

mod act;
mod archives;
mod args;
mod complete;
mod failure;
mod lint;
mod machine;
mod many;
mod postinst;
mod progress;
mod status;
mod stop;
mod terminal;
mod usage;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use dkms_core::build::sandbox;
use tracing::level_filters::LevelFilter;

use args::{Action, Args, Found, Show};
use failure::Failure;
use machine::Machine;
use terminal::Terminal;

/// The interface's level, which scripts compare (dkms-contract.md §7).
const VERSION: &str = "dkms-3.4.3";

/// `dkms lint`, whose options are its own.
#[derive(Parser)]
#[command(name = "dkms lint")]
struct Lint {
    #[command(flatten)]
    args: lint::Args,
}

fn main() -> ExitCode {
    sandbox::enter_if_asked();
    let given: Vec<OsString> = std::env::args_os().skip(1).collect();
    if given.first().is_some_and(|word| word == "--complete") {
        complete::run(&given[1..], &mut io::stdout().lock());
        return ExitCode::SUCCESS;
    }
    match args::for_lint(&given) {
        Ok(Some(words)) => return lint(words),
        Ok(None) => {}
        Err(failure) => return end(&mut Terminal::new(false, false), Err(failure)),
    }
    if let [word, given @ ..] = given.as_slice()
        && word == postinst::ACTION
    {
        trace(&Args::default());
        stop::on_signals();
        let mut terminal = Terminal::new(false, false);
        let result = postinst::run(given, &mut terminal);
        return end(&mut terminal, result);
    }
    // What is remarked came before any `--quiet`.
    let mut aloud = Terminal::new(false, false);
    let args = match args::parse(given, &look, &mut |remark| aloud.warning(&remark)) {
        Ok(args) => args,
        Err(failure) => return end(&mut aloud, Err(failure)),
    };
    trace(&args);
    let mut terminal = Terminal::new(args.quiet, args.verbose || args.debug);
    let result = run(&args, &mut terminal);
    end(&mut terminal, result)
}

fn end(terminal: &mut Terminal, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.failure(&failure);
            ExitCode::from(failure.code)
        }
    }
}

/// What the engine says beside its events: on standard error, as much as is asked for.
fn trace(args: &Args) {
    let level = match args {
        Args { quiet: true, .. } => LevelFilter::OFF,
        Args { debug: true, .. } => LevelFilter::DEBUG,
        Args { verbose: true, .. } => LevelFilter::INFO,
        _ => LevelFilter::WARN,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(progress::stderr)
        .with_ansi(terminal::coloured())
        .event_format(terminal::Plain)
        .init();
}

fn lint(words: Vec<OsString>) -> ExitCode {
    let args = Lint::parse_from([OsString::from(args::LINT)].into_iter().chain(words)).args;
    let mut terminal = Terminal::new(args.quiet, false);
    match lint::run(&args, &mut io::stdout().lock()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => end(&mut terminal, Err(Failure::new(error.code(), error.to_string()))),
    }
}

fn look(path: &Path) -> Found {
    match path.metadata() {
        Err(_) => Found::Nothing,
        Ok(found) if !found.is_dir() => Found::File,
        Ok(_) if path.join("dkms.conf").is_file() => Found::Source,
        Ok(_) => Found::Folder,
    }
}

fn run(args: &Args, terminal: &mut Terminal) -> Result<(), Failure> {
    match args.show {
        Some(Show::Version) => {
            terminal.line(VERSION);
            return Ok(());
        }
        Some(Show::Help) => {
            terminal.line(usage::TEXT);
            return Ok(());
        }
        None => {}
    }
    let Some(action) = args.action else {
        terminal.line(usage::TEXT);
        return Ok(());
    };
    if action == Action::Status {
        return status::run(args, terminal);
    }
    let machine = Machine::open(args, action, terminal)?;
    // A thread: another root is entered by then.
    stop::on_signals();
    terminal.verbose |= machine.verbose;
    match action {
        Action::Status => Ok(()),
        Action::Add => act::add(&machine, args, terminal),
        Action::Build => act::build(&machine, args, terminal),
        Action::Install => act::install(&machine, args, terminal),
        Action::Uninstall => act::uninstall(&machine, args, terminal),
        Action::Unbuild => act::unbuild(&machine, args, terminal),
        Action::Remove => act::remove(&machine, args, terminal),
        Action::GenerateMok => act::generate_mok(&machine, args, terminal),
        Action::Autoinstall => many::autoinstall(&machine, args, terminal),
        Action::Match => many::matching(&machine, args, terminal),
        Action::KernelPostinst => many::kernel_postinst(&machine, args, terminal),
        Action::KernelPreinst => many::kernel_preinst(&machine, args, terminal),
        Action::KernelPrerm => many::kernel_prerm(&machine, args, terminal),
        Action::Mktarball => archives::pack(&machine, args, terminal),
        Action::Ldtarball => archives::load(&machine, args, terminal),
    }
}
