//! weak-modules (Red Hat) and weak-modules2 (SUSE): lets other kernels with the same symbols use what was installed for
//! one (dkms-contract.md §3 and §5). Untested: neither distribution was at hand.

use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::Engine;
use super::scripts::supervise;
use crate::event::Sink;
use crate::host::distro::Family;
use crate::model::KernelId;

/// How long the tool may take: it runs depmod for every kernel.
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// SUSE's tool, which is on nobody's PATH.
const SUSE_TOOL: &str = "/usr/lib/module-init-tools/weak-modules2";

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weak {
    Add,
    Remove,
}

impl Engine {
    /// Tells the distribution's tool which modules came or went; paths as seen from inside the root. Does nothing on other
    /// distributions, for another root, and where there is no such tool.
    pub(super) fn weak_modules(&self, what: Weak, kernel: &KernelId, modules: &[PathBuf], sink: &mut dyn Sink) {
        if modules.is_empty() || self.in_other_root {
            return;
        }
        let distro = self.observer.distro();
        let suse = distro.family() == Family::Suse;
        let mut command = if suse {
            let mut command = Command::new(SUSE_TOOL);
            command.arg(if what == Weak::Add { "--add-kernel-modules" } else { "--remove-kernel-modules" });
            command.arg(kernel.release.as_str());
            command
        } else if distro.is_like("rhel") {
            let mut command = Command::new("weak-modules");
            command.arg(if what == Weak::Add { "--add-modules" } else { "--remove-modules" });
            command
        } else {
            return;
        };
        let mut run = || {
            let mut list = tempfile::tempfile()?;
            modules.iter().try_for_each(|module| writeln!(list, "{}", module.display()))?;
            list.rewind()?;
            supervise(command.stdin(list), LIMIT)
        };
        let program = if suse { "weak-modules2" } else { "weak-modules" };
        match run() {
            Ok(Some(0)) => sink.note(format!("{program} knows of the change")),
            Ok(Some(code)) => {
                sink.warn(format!("{program} failed with code {code}: other kernels may lack the modules"))
            }
            Ok(None) => sink.warn(format!("{program} took too long and was killed")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => sink.warn(format!("{program} could not run: {error}")),
        }
    }
}
