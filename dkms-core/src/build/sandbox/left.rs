//! Names what a command left running when it ended.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::LEFT;
use crate::host::process;

/// How many programs are named; a fork bomb leaves hundreds of one.
const NAMED: usize = 8;

/// How long what is about to end by itself has for it: a `tee` behind the command, for one.
const ABOUT_TO_END: Duration = Duration::from_millis(100);

/// Says on standard error which of these processes still run.
pub(super) fn tell(pids: &[Pid]) {
    await_end(pids);
    if let Some(line) = line(pids.iter().filter_map(|pid| name(*pid))) {
        let _ = writeln!(io::stderr(), "{line}");
    }
}

fn await_end(pids: &[Pid]) {
    let until = Instant::now() + ABOUT_TO_END;
    for pid in pids {
        let left = until.saturating_duration_since(Instant::now());
        let Ok(left) = Timespec::try_from(left) else { return };
        if let Ok(process) = pidfd_open(*pid, PidfdFlags::empty()) {
            // A signal that cuts it short leaves less time, no more.
            let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left));
        }
    }
}

/// Every process that this one's /proc shows, but for itself.
pub(super) fn all() -> Vec<Pid> {
    let ourselves = rustix::process::getpid();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| *pid != ourselves).collect()
}

/// The name of a process that has not ended.
fn name(pid: Pid) -> Option<String> {
    let stat = process::stat(Path::new("/proc"), pid.as_raw_pid().unsigned_abs())?;
    (!stat.ended).then(|| plain(&stat.name))
}

/// A process names itself: nothing of that may look like another line.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_control() || c == ',' { '?' } else { c }).collect()
}

fn line(names: impl Iterator<Item = String>) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let all: usize = counts.values().sum();
    let mut said: Vec<String> = counts
        .iter()
        .take(NAMED)
        .map(|(name, count)| if *count == 1 { name.clone() } else { format!("{name} ({count})") })
        .collect();
    if counts.len() > NAMED {
        said.push("…".to_owned());
    }
    let noun = if all == 1 { "process" } else { "processes" };
    (all > 0).then(|| format!("{LEFT}{all} {noun}: {}", said.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&[], None)]
    #[case(&["sleep"], Some("1 process: sleep"))]
    #[case(&["sleep", "cat", "sleep"], Some("3 processes: cat, sleep (2)"))]
    fn they_are_counted_by_name(#[case] names: &[&str], #[case] wanted: Option<&str>) {
        let said = line(names.iter().map(|name| (*name).to_owned()));
        assert_eq!(said, wanted.map(|wanted| format!("{LEFT}{wanted}")));
    }

    #[test]
    fn of_many_a_few_are_named() {
        let said = line((0..20).map(|n| n.to_string())).unwrap();
        assert!(said.contains("20 processes") && said.ends_with("…"), "{said}");
    }
}
