//! Places where a machine's programs stop until the test lets them go on, so that nothing is a race.

use crate::Machine;

/// Two FIFOs in a folder: who arrives writes a line to `started`, then waits for one from `go`.
#[derive(Debug)]
pub struct Gate<'m> {
    machine: &'m Machine,
    folder: &'static str,
}

impl<'m> Gate<'m> {
    /// The gate of the fixture slow-dkmsd: in front of its compiler.
    #[must_use]
    pub fn of_builds(machine: &'m Machine) -> Self {
        Self::closed(machine, "/srv/slow-gate")
    }

    /// A closed gate in a folder.
    #[must_use]
    pub fn closed(machine: &'m Machine, folder: &'static str) -> Self {
        machine.sh(&format!("mkdir -p {folder} && cd {folder} && mkfifo -m 666 started go"));
        Self { machine, folder }
    }

    /// Waits until `count` have arrived, and gives the lines they wrote, sorted.
    #[must_use]
    pub fn arrivals(&self, count: usize) -> Vec<String> {
        let folder = self.folder;
        let said = self.machine.sh(&format!(
            "set -o pipefail; exec 3<> {folder}/started
             for ((i = 0; i < {count}; i++)); do read -r -t 240 line <&3 || exit 1; echo \"$line\"; done | sort"
        ));
        said.lines().map(str::to_owned).collect()
    }

    /// Lets one go on.
    pub fn let_go(&self) {
        self.machine.sh(&format!("timeout 60 sh -c 'echo > {}/go'", self.folder));
    }

    /// Lets the one that waits go on, and all who come later.
    pub fn open(self) {
        self.machine.sh(&format!("cd {} && rm started && timeout 60 sh -c 'echo > go' && rm go", self.folder));
    }

    /// Takes the gate away: who comes later goes straight on; those who wait keep waiting.
    pub fn take_away(self) {
        self.machine.sh(&format!("rm {0}/started {0}/go", self.folder));
    }

    /// A line of a shell script that stops at the gate in a folder, if there is one, and says that folder's name.
    #[must_use]
    pub fn script(folder: &str) -> String {
        format!("if test -p {folder}/started; then echo {folder} > {folder}/started; read line < {folder}/go; fi")
    }
}
