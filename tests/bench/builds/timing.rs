//! Running a command some times inside a machine, and what it took.

use std::time::Duration;

use dkmsd_tests::Machine;

/// What one run took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// From start to end.
    pub(crate) wall: Duration,
    /// Of it and of all that it waited for, user and system.
    pub(crate) cpu: Duration,
}

/// Runs a command, which has to succeed, so many times. The clock is read inside the machine, beside the command.
pub(crate) fn timed(machine: &Machine, times: usize, command: &str) -> Vec<Run> {
    let printed = machine.sh(&format!(
        "TIMEFORMAT='%U %S'
         for ((i = 0; i < {times}; i++)); do
             start=${{EPOCHREALTIME/./}}
             {{ time {{ {command}; }} > /tmp/bench.out 2>&1; }} 2> /tmp/bench.time || {{
                 tail -n 30 /tmp/bench.out >&2
                 exit 1
             }}
             end=${{EPOCHREALTIME/./}}
             echo $((end - start)) $(cat /tmp/bench.time)
         done"
    ));
    printed.lines().map(|line| parse(line).unwrap_or_else(|| panic!("not three numbers: {line}"))).collect()
}

fn parse(line: &str) -> Option<Run> {
    let mut words = line.split(' ');
    let wall = Duration::from_micros(words.next()?.parse().ok()?);
    let cpu = words.map(|word| word.parse::<f64>().ok()).sum::<Option<f64>>()?;
    Some(Run { wall, cpu: Duration::from_secs_f64(cpu) })
}

/// The middle one; of an even number, the middle of the middle two.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    match times.len() {
        0 => Duration::ZERO,
        n if n % 2 == 1 => times[n / 2],
        n => (times[n / 2 - 1] + times[n / 2]) / 2,
    }
}
