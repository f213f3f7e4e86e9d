//! `dkms`: the classic command, running the engine here and now. So far it judges dkms.conf files ([`lint`]).

mod complete;
mod lint;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dkms_core::build::sandbox;

/// Works on driver packages without a daemon.
#[derive(Parser)]
#[command(name = "dkms", version = concat!("3.4.3 (dkmsd ", env!("CARGO_PKG_VERSION"), ")"), about)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Lint(lint::Args),
}

fn main() -> ExitCode {
    sandbox::enter_if_asked();
    let mut given = std::env::args_os().skip(1);
    if given.next().is_some_and(|first| first == "--complete") {
        let words: Vec<String> = given.map(|word| word.to_string_lossy().into_owned()).collect();
        complete::run(&words, &mut io::stdout().lock());
        return ExitCode::SUCCESS;
    }
    let Action::Lint(args) = Cli::parse().action;
    match lint::run(&args, &mut io::stdout().lock()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nobody is left to hear it when stderr is closed.
            let _ = writeln!(io::stderr(), "dkms: {error}");
            ExitCode::from(error.code())
        }
    }
}
