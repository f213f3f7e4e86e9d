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

use clap::Parser;

fn main() -> ExitCode {
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
