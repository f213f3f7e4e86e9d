//! One machine: started, driven and forgotten through `container/machine.sh`.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::status::{self, Row};
use crate::{checkout, programs, wait};

/// What a command inside a machine ended with.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its exit status; -1 when a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).trim_end().to_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        }
    }
}

/// A running machine; dropping it ends everything in it and forgets its disk.
#[derive(Debug)]
pub struct Machine {
    name: String,
}

impl Machine {
    /// Boots an empty machine. `name` is for people; two tests may use the same one.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    /// As [`Machine::start`], with options of systemd-nspawn.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start_with(name: &str, options: &[&str]) -> Self {
        // A run that is interrupted ends its machines by the name it gave them.
        let run = std::env::var("DKMSD_TEST_RUN").unwrap_or_else(|_| "x".to_owned());
        let machine = Self { name: format!("{name}-{run}-{}", std::process::id()) };
        let answer =
            Answer::from(script().args(["start", &machine.name]).args(options).output().expect("machine.sh runs"));
        assert_eq!(answer.code, 0, "machine {name} does not start: {}", answer.stderr);
        machine
    }

    /// Boots a machine and runs install.sh in it, with the programs under test.
    ///
    /// # Panics
    /// When either fails.
    #[must_use]
    pub fn with_dkmsd(name: &str) -> Self {
        let machine = Self::start(name);
        machine.carry_checkout();
        machine.sh("/opt/dkmsd/systemd/install.sh --bin-dir /opt/dkmsd/bin");
        machine
    }

    /// Puts what install.sh needs into `/opt/dkmsd`, and the programs into `/opt/dkmsd/bin`.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn carry_checkout(&self) {
        for part in ["Cargo.toml", "systemd", "dkmsd/dbus", "tests/fixtures"] {
            self.copy(&checkout().join(part), &format!("/opt/dkmsd/{part}"));
        }
        for program in ["dkmsd", "dkmsctl", "dkms"] {
            self.copy(&programs::folder().join(program), &format!("/opt/dkmsd/bin/{program}"));
        }
    }

    /// Runs a bash script as root, and gives what came of it.
    ///
    /// # Panics
    /// When it could not be run at all.
    #[must_use]
    pub fn try_sh(&self, text: &str) -> Answer {
        let output = self.command(text).stdin(Stdio::null()).output().expect("machine.sh runs");
        Answer::from(output)
    }

    /// Runs a bash script that has to succeed, and gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn sh(&self, text: &str) -> String {
        let answer = self.try_sh(text);
        assert_eq!(answer.code, 0, "in {}: {text}\nstdout: {}\nstderr: {}", self.name, answer.stdout, answer.stderr);
        answer.stdout
    }

    /// Runs a bash script that has to print whole numbers, one a line.
    ///
    /// # Panics
    /// When it fails, or prints anything else.
    #[must_use]
    pub fn numbers(&self, text: &str) -> Vec<u128> {
        let printed = self.sh(text);
        printed.lines().map(|line| line.parse().unwrap_or_else(|e| panic!("{text} printed {printed}: {e}"))).collect()
    }

    /// A bash script as a command that is yet to be run.
    #[must_use]
    pub fn command(&self, text: &str) -> Command {
        let mut command = script();
        command.args(["run", &self.name, "bash", "-c", text]);
        command
    }

    /// Waits until a bash script succeeds, trying it whenever the daemon or anything else there says something.
    ///
    /// # Panics
    /// When `limit` passes before, with the daemon's state and log.
    pub fn wait_until(&self, what: &str, text: &str, limit: Duration) {
        wait::until(self, what, limit, || self.try_sh(text).code == 0);
    }

    /// Waits until the status rows are as `wanted` says.
    ///
    /// # Panics
    /// When `limit` passes before, with the daemon's state and log.
    pub fn wait_for_status(&self, what: &str, limit: Duration, mut wanted: impl FnMut(&[Row]) -> bool) {
        wait::until(self, what, limit, || status::rows(self).is_ok_and(|rows| wanted(&rows)));
    }

    /// Waits until every one of `packages` is installed for `kernel`, and not stale.
    ///
    /// # Panics
    /// As [`Machine::wait_for_status`]; at once when one of them has failed.
    pub fn wait_installed(&self, kernel: &str, packages: &[&str], limit: Duration) {
        self.wait_for_status(&format!("{packages:?} installed for {kernel}"), limit, |rows| {
            let of = |package: &&str| rows.iter().find(|r| r.package == **package && r.kernel == kernel);
            for row in packages.iter().filter_map(of) {
                assert_ne!(row.state, "failed", "{row:?}");
            }
            packages.iter().all(|p| of(p).is_some_and(|r| r.state == "installed" && !r.stale))
        });
    }

    /// Every row of ListStatus, as the system bus gives it.
    ///
    /// # Panics
    /// When the daemon does not answer.
    #[must_use]
    pub fn status(&self) -> Vec<Row> {
        status::rows(self).unwrap_or_else(|e| panic!("{e}\n{}", self.story()))
    }

    /// The row of one package on one kernel.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn row(&self, package: &str, kernel: &str) -> Row {
        let rows = self.status();
        rows.iter()
            .find(|r| r.package == package && r.kernel == kernel)
            .unwrap_or_else(|| panic!("no row for {package} on {kernel}: {rows:#?}"))
            .clone()
    }

    /// Makes the daemon look at the disk; when this returns it has queued whatever is due.
    ///
    /// # Panics
    /// When the daemon does not answer.
    pub fn rescan(&self) {
        self.sh("busctl call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager Rescan");
    }

    /// Puts a fixture into `/usr/src`, there as a whole or not at all, as an unpacked package is.
    ///
    /// # Panics
    /// When it cannot be put there.
    pub fn drop_fixture(&self, folder: &str) {
        self.copy(&checkout().join("tests/fixtures").join(folder), &format!("/usr/src/.{folder}"));
        self.sh(&format!("mv -T /usr/src/.{folder} /usr/src/{folder}"));
    }

    /// Puts a copy of the fixture slow-dkmsd into `/usr/src` under another name.
    ///
    /// # Panics
    /// When it cannot be put there.
    pub fn drop_slow(&self, name: &str) {
        self.copy(&checkout().join("tests/fixtures/slow-dkmsd-1.0"), "/usr/src/.slow");
        let module = name.replace('-', "_");
        self.sh(&format!(
            "cd /usr/src/.slow && sed -i 's/slow-dkmsd/{name}/g; s/slow_dkmsd/{module}/g' dkms.conf Kbuild Makefile &&
             mv slow_dkmsd.c {module}.c && mv -T /usr/src/.slow /usr/src/{name}-1.0"
        ));
    }

    /// Copies a file or folder of this machine to exactly `dest` in that one.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn copy(&self, source: &Path, dest: &str) {
        let output = script().arg("copy").arg(&self.name).arg(source).arg(dest).output().expect("machine.sh runs");
        assert!(output.status.success(), "{} → {dest}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    }

    /// Installs Debian packages.
    ///
    /// # Panics
    /// When apt cannot.
    pub fn apt_install(&self, packages: &[&str]) {
        self.sh(&format!("apt-get update -q >/dev/null && apt-get install -qy {} 2>&1", packages.join(" ")));
    }

    /// The kernel releases, newest first, of one line (`6.1`) and flavour (`amd64`) that Debian offers headers for.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn offered_kernels(&self, line: &str, flavour: &str) -> Vec<String> {
        let escaped = line.replace('.', "\\.");
        let found = self.sh(&format!(
            "apt-get update -q >/dev/null
             apt-cache search --names-only '^linux-headers-{escaped}\\.[^a-z]*(deb[0-9]*-)?{flavour}$' |
                 sed 's/^linux-headers-//; s/ .*//' | sort -rV"
        ));
        assert!(!found.is_empty(), "Debian offers no headers {line} {flavour}");
        found.lines().map(str::to_owned).collect()
    }

    /// What a person would look at first when something went wrong.
    #[must_use]
    pub fn story(&self) -> String {
        self.try_sh(
            "echo '--- dkmsctl status'; dkmsctl status; echo '--- dkmsctl kernels'; dkmsctl kernels
             echo '--- dkmsctl jobs'; dkmsctl jobs; echo '--- systemctl status'; systemctl --no-pager -n 0 status dkmsd
             echo '--- journal'; journalctl -u dkmsd -n 60 --no-pager -o short-precise",
        )
        .stdout
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.story());
            if std::env::var_os("DKMSD_TEST_KEEP").is_some() {
                eprintln!("kept for a look: tests/container/machine.sh run {} bash", self.name);
                return;
            }
        }
        if let Err(e) = script().args(["kill", &self.name]).status() {
            eprintln!("machine {} could not be ended: {e}", self.name);
        }
    }
}

fn script() -> Command {
    Command::new(checkout().join("tests/container/machine.sh"))
}
