//! `dkmsd`: rebuilds out-of-tree kernel modules when a kernel is installed.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use dkms_core::build::sandbox;
use dkmsd::{app, service, worker};

/// Rebuilds out-of-tree kernel modules when a kernel is installed.
///
/// Watches /lib/modules and /usr/src, builds every AUTOINSTALL package for every kernel that has headers, installs the
/// modules, and serves org.dkmsd1 on D-Bus. See dkmsctl(1) for a client. DKMSD_LOG sets what is logged (info, debug …).
#[derive(Parser)]
#[command(version, about, long_about)]
struct Cli {
    /// Another root than /, for tests.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
    /// The daemon found out that this is a chroot.
    #[arg(long, hide = true)]
    in_chroot: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Subcommand)]
enum Role {
    /// Runs one job, given on stdin by the daemon.
    #[command(hide = true)]
    Worker,
}

fn main() -> anyhow::Result<()> {
    sandbox::enter_if_asked();
    let cli = Cli::parse();
    match cli.role {
        Some(Role::Worker) => {
            service::start_worker_log();
            worker::run(cli.in_chroot)
        }
        None => {
            service::start_log();
            // One thread is plenty: looks at the disk run apart, and builds in processes of their own.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let result = runtime.block_on(app::run(cli.root));
            // A look that still waits for a slow disk does not hold up the end.
            runtime.shutdown_background();
            result
        }
    }
}
