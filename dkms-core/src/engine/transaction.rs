//! What follows a change to the running system's modules: framework.conf's post_transaction, once an action, and
//! modprobe_on_install (dkms-contract.md §4). Neither ever acts on the machine at hand for another root's sake.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Engine;
use super::scripts::supervise;
use crate::event::Sink;
use crate::model::KernelRelease;

/// How long post_transaction may take: every initramfs of a slow machine, and no more.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(60 * 60);
/// How long modprobe or systemctl may take.
const LOADING_LIMIT: Duration = Duration::from_secs(2 * 60);
/// How many aliases one modprobe is given.
const ALIASES_AT_ONCE: usize = 256;

impl Engine {
    /// Runs framework.conf's post_transaction after an action that changed something on these kernels: once. A command in
    /// which `$kernelver` stands is another one for each kernel, and runs for each; `kernelver` in the environment of one
    /// that serves several is the last.
    ///
    /// That it failed is worth a warning, and changes nothing. What it says goes to `<dkms_tree>/post_transaction.log`. No
    /// lock is held meanwhile. It does not run for a kernel whose folder is gone, when it names it, nor for another root,
    /// where it would change the machine at hand.
    pub fn post_transaction(&self, kernels: &[KernelRelease], sink: &mut dyn Sink) {
        let Some(setting) = &self.settings.post_transaction else { return };
        let mut commands: Vec<(String, &KernelRelease)> = Vec::new();
        for kernel in kernels {
            let command = setting.for_kernel(kernel);
            match commands.iter_mut().find(|(known, _)| *known == command) {
                Some((_, last)) => *last = kernel,
                None if !command.trim().is_empty() => commands.push((command, kernel)),
                None => {}
            }
        }
        let named = |kernel: &KernelRelease| setting.for_kernel(kernel).contains(kernel.as_str());
        commands.retain(|(_, kernel)| !named(kernel) || self.layout.kernel_folder(kernel).is_dir());
        let Some((first, _)) = commands.first() else { return };
        if self.in_other_root {
            // By now, this process has the other root as its own, and a name for it no more.
            sink.warn(format!(
                "post_transaction ({first}) is not run: it would act on the machine at hand; run it in the other root"
            ));
            return;
        }
        let path = self.layout.post_transaction_log();
        let log = match begin_log(&path) {
            Ok(log) => log,
            Err(error) => {
                sink.warn(format!(
                    "post_transaction ({first}) is not run: its log {} cannot be made: {error}",
                    path.display()
                ));
                return;
            }
        };
        for (command, kernel) in commands {
            let why = match transact(&command, kernel, &log, TRANSACTION_LIMIT) {
                Ok(Some(0)) => continue,
                Ok(Some(code)) => format!("failed with code {code}; log: {}", path.display()),
                Ok(None) => format!(
                    "was killed: it had not ended after {} minutes; log: {}",
                    TRANSACTION_LIMIT.as_secs() / 60,
                    path.display()
                ),
                Err(error) => format!("could not run: {error}"),
            };
            sink.warn(format!("post_transaction ({command}) {why}"));
        }
    }

    /// modprobe_on_install: has the running kernel load the drivers of the devices that are there.
    pub(super) fn load_modules(&self, kernel: &KernelRelease, sink: &mut dyn Sink) {
        if !self.may_load(kernel) {
            return;
        }
        let aliases: Vec<String> = modaliases(Path::new("/sys/devices")).into_iter().collect();
        for some in aliases.chunks(ALIASES_AT_ONCE) {
            let mut modprobe = Command::new("modprobe");
            // An alias that no module has is nothing wrong, and its code cannot be told from that of one that did not load.
            modprobe.args(["--all", "--use-blacklist", "--quiet", "--"]).args(some);
            match supervise(silent(&mut modprobe), LOADING_LIMIT) {
                Ok(Some(_)) => {}
                Ok(None) => sink.warn("modprobe_on_install: modprobe took too long and was killed".to_owned()),
                Err(error) => {
                    return sink.warn(format!("modprobe_on_install: cannot run modprobe: {error}; install kmod"));
                }
            }
        }
        // Where systemd runs, as sd_booted(3) asks.
        if Path::new("/run/systemd/system").is_dir() {
            let mut restart = Command::new("systemctl");
            restart.args(["restart", "systemd-modules-load.service"]);
            if !matches!(supervise(silent(&mut restart), LOADING_LIMIT), Ok(Some(0))) {
                sink.warn(
                    "modprobe_on_install: systemd-modules-load could not be restarted; see systemctl status".to_owned(),
                );
            }
        }
    }
}

impl Engine {
    /// Whether modprobe_on_install is set, and the kernel is the one that would load something.
    pub(super) fn may_load(&self, kernel: &KernelRelease) -> bool {
        let here = !self.in_chroot && !self.in_other_root && kernel == self.observer.running();
        here && self.settings.modprobe_on_install
    }
}

fn silent(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

/// Empties the log, or makes it. A link there could lead anywhere.
fn begin_log(path: &Path) -> io::Result<File> {
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).custom_flags(no_link).open(path)
}

fn transact(command: &str, kernel: &KernelRelease, log: &File, limit: Duration) -> io::Result<Option<i32>> {
    let mut shell = Command::new("bash");
    shell.args(["-c", command]).env("kernelver", kernel.as_str()).current_dir("/");
    shell.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
    supervise(&mut shell, limit)
}

/// What the devices below a folder of sysfs ask for.
fn modaliases(devices: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![devices.to_owned()];
    while let Some(folder) = folders.pop() {
        // A device may go at any moment.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.file_name() == "modalias" {
                let text = fs::read_to_string(entry.path()).unwrap_or_default();
                found.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_counts_once() {
        let devices = tempfile::tempdir().unwrap();
        for (folder, text) in [("a", "pci:v1\n"), ("a/b", "usb:v2"), ("c", "pci:v1\n"), ("d", "")] {
            fs::create_dir_all(devices.path().join(folder)).unwrap();
            fs::write(devices.path().join(folder).join("modalias"), text).unwrap();
        }
        std::os::unix::fs::symlink("..", devices.path().join("a/up")).unwrap();
        assert_eq!(Vec::from_iter(modaliases(devices.path())), ["pci:v1", "usb:v2"]);
        assert!(modaliases(&devices.path().join("absent")).is_empty());
    }

    #[test]
    fn a_command_that_takes_too_long_is_killed_and_what_it_said_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = begin_log(&path).unwrap();
        let kernel = KernelRelease::new("6.1").unwrap();
        let ended = transact("echo $kernelver; sleep 777", &kernel, &log, Duration::from_millis(200)).unwrap();
        assert_eq!((ended, fs::read_to_string(&path).unwrap().as_str()), (None, "6.1\n"));
        std::os::unix::fs::symlink("log", folder.path().join("link")).unwrap();
        assert!(begin_log(&folder.path().join("link")).is_err());
    }
}
