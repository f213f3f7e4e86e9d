//! Machines for the drop-in `dkms`: packages that are built in no time, and commands with what is to come of
//! them.

use crate::{Answer, Machine, programs};

/// A machine with `dkms`, two kernels' headers and `fixtures/kit`, but without the daemon.
#[derive(Debug)]
pub struct Kit {
    /// The machine.
    pub machine: Machine,
    /// The newest kernel.
    pub kernel: String,
    /// The one before.
    pub older: String,
    /// What the shell has to know before a script.
    preamble: String,
}

impl Kit {
    /// Boots one whose modules are compiled in these versions.
    ///
    /// # Panics
    /// When something of it fails.
    #[must_use]
    pub fn start(name: &str, versions: &[&str]) -> Self {
        let machine = Machine::start(name);
        machine.carry_checkout();
        machine.sh("/opt/dkmsd/systemd/install.sh --bin-dir /opt/dkmsd/bin --no-start");
        let [kernel, older] = machine.two_kernels("cloud-amd64");
        machine.apt_install(&[&format!("linux-headers-{kernel}"), &format!("linux-headers-{older}")]);
        let preamble =
            format!("K={kernel} OLD={older} KERNELS='{kernel} {older}'; . /opt/dkmsd/tests/fixtures/kit/kit.sh\n");
        let kit = Self { machine, kernel, older, preamble };
        kit.sh(&format!("compile_ready {}", versions.join(" ")));
        kit
    }

    /// Runs a script that knows the functions of `kit.sh`, in `/srv/row`.
    #[must_use]
    pub fn try_sh(&self, text: &str) -> Answer {
        self.machine.try_sh(&format!("{}mkdir -p /srv/row; cd /srv/row\n{text}", self.preamble))
    }

    /// As [`Kit::try_sh`], for a script that has to succeed; gives what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn sh(&self, text: &str) -> String {
        let answer = self.try_sh(text);
        assert_eq!(answer.code, 0, "{text}\nstdout: {}\nstderr: {}", answer.stdout, answer.stderr);
        answer.stdout
    }

    /// Runs every row, each on a machine as fresh as the first found it.
    ///
    /// # Panics
    /// When one is not as it says; all that are not are named.
    pub fn check(&self, rows: &[Case]) {
        let wrong: Vec<String> = rows.iter().filter_map(|row| self.fault(row)).collect();
        assert!(wrong.is_empty(), "{} of {} rows:\n\n{}", wrong.len(), rows.len(), wrong.join("\n\n"));
    }

    fn fault(&self, row: &Case) -> Option<String> {
        let given = self.try_sh(&format!("set -e; fresh; {}", row.given));
        if given.code != 0 {
            return Some(format!(
                "set-up of: {}\n  {}\n  code {}\n  stdout: {}\n  stderr: {}",
                row.run, row.given, given.code, given.stdout, given.stderr
            ));
        }
        let answer = self.try_sh(row.run);
        let mut faults = Vec::new();
        if answer.code != row.code {
            faults.push(format!("code {}, not {}", answer.code, row.code));
        }
        if let Some(out) = row.out
            && answer.stdout != self.filled(out)
        {
            faults.push(format!("stdout is not:\n{}", self.filled(out)));
        }
        faults.extend(
            row.err
                .iter()
                .map(|word| self.filled(word))
                .filter(|word| !answer.stderr.contains(word))
                .map(|word| format!("stderr does not say {word:?}")),
        );
        if row.code != 0 && answer.stderr.is_empty() {
            faults.push("it fails without a word on stderr".to_owned());
        }
        let after = self.try_sh(&format!("set -e; {}", row.after));
        if after.code != 0 {
            faults.push(format!("afterwards not true: {}\n  {}", row.after, after.stderr));
        }
        (!faults.is_empty()).then(|| {
            format!(
                "{}\n  given: {}\n  {}\n  code {}\n  stdout: {}\n  stderr: {}",
                row.run,
                row.given,
                faults.join("\n  "),
                answer.code,
                answer.stdout,
                answer.stderr
            )
        })
    }

    /// The kernels in place of `$K` and `$OLD`.
    fn filled(&self, text: &str) -> String {
        text.replace("$K", &self.kernel).replace("$OLD", &self.older)
    }
}

/// One command, and what is to come of it. In `out` and `err`, `$K` and `$OLD` stand for the kernels.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    run: &'static str,
    code: i32,
    given: &'static str,
    out: Option<&'static str>,
    err: &'static [&'static str],
    after: &'static str,
}

impl Case {
    /// The command line, a bash script, and its exit status.
    #[must_use]
    pub const fn new(code: i32, run: &'static str) -> Self {
        Self { run, code, given: "", out: None, err: &[], after: "" }
    }

    /// The script that prepares it.
    #[must_use]
    pub const fn given(mut self, script: &'static str) -> Self {
        self.given = script;
        self
    }

    /// The whole of what it prints, but for the last line's end.
    #[must_use]
    pub const fn out(mut self, out: &'static str) -> Self {
        self.out = Some(out);
        self
    }

    /// Words that have to stand in what it complains about.
    #[must_use]
    pub const fn err(mut self, err: &'static [&'static str]) -> Self {
        self.err = err;
        self
    }

    /// A script that has to succeed afterwards.
    #[must_use]
    pub const fn after(mut self, script: &'static str) -> Self {
        self.after = script;
        self
    }
}

impl Machine {
    /// Puts a copy of the drop-in somewhere, without install.sh.
    ///
    /// # Panics
    /// When it cannot be copied.
    pub fn put(&self, path: &str) {
        self.copy(&programs::folder().join("dkms"), path);
    }

    /// The newest kernel of line 6.1 of a flavour, and the one before.
    ///
    /// # Panics
    /// When Debian does not offer two.
    #[must_use]
    pub fn two_kernels(&self, flavour: &str) -> [String; 2] {
        let offered = self.offered_kernels("6.1", flavour);
        let [kernel, older, ..] = offered.as_slice() else { panic!("two kernels are needed: {offered:?}") };
        [kernel.clone(), older.clone()]
    }
}
