//! What a daemon with nothing to do takes.

use crate::rig::Rig;
use crate::table::Table;

/// Seconds: what it was asked for last is over, and how long it is looked at.
const CALM: u32 = 10;
const LOOKED_AT: u32 = 60;

/// Memory is read after the count of wake-ups; both by a program outside the daemon, which does not wake it. The time
/// passes asleep because that it passes is what is measured.
pub(crate) fn measure(rig: &Rig, table: &mut Table) {
    rig.start_daemon();
    let numbers = rig.numbers(&format!(
        "process=$(systemctl show -P MainPID dkmsd)
         switches() {{ cat /proc/$process/task/*/status | awk '/ctxt_switches/ {{ sum += $2 }} END {{ print sum }}'; }}
         sleep {CALM}; before=$(switches); sleep {LOOKED_AT}; echo $(($(switches) - before))
         awk '/^Private_Dirty:/ {{ print $2 }}' /proc/$process/smaps_rollup
         awk '/^Private_Clean:/ {{ print $2 }}' /proc/$process/smaps_rollup"
    ));
    rig.stop_daemon();
    let [switches, own, program] = numbers[..] else { panic!("three numbers, not {numbers:?}") };
    table.row("idle daemon: wake-ups of all its threads in 60 s", "", &switches.to_string(), "", "0");
    // What it has read of its program is the page cache's, and goes when somebody needs the room.
    let memory = format!("{:.1} MiB ({:.1} MiB of its program are in the page cache)", mib(own), mib(program));
    table.row("idle daemon: private memory", "", &memory, "", "8 MiB");
}

#[allow(clippy::cast_precision_loss, reason = "a few thousand")]
fn mib(kib: u128) -> f64 {
    kib as f64 / 1024.0
}
