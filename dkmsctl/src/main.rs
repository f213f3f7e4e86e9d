//! `dkmsctl`: sees and steers dkmsd over D-Bus, and does nothing itself.

mod cli;
mod commands;
mod failure;
mod out;
mod render;
mod signals;
mod target;
mod wait;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

fn main() -> ExitCode {
    if let Some(words) = completion() {
        // A shell that does not listen is no reason to complain.
        let _ = complete::answer(&complete::Grammar::of_program(cli::Cli::command()), &words, &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            out::complain(&format!("cannot start: {e}"));
            return failure::Exit::Failed.into();
        }
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            out::complain(&failure.to_string());
            failure.exit().into()
        }
    }
}

/// The words of a half-written command line, when a shell's completion asks.
fn completion() -> Option<Vec<String>> {
    let mut words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    (words.next()? == "--complete").then(|| words.collect())
}
