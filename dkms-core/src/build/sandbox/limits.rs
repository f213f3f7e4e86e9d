//! What one confined command may take of the machine, so that a mistake in a driver's Makefile stays its own.
//!
//! Memory of all builds together is bounded by the daemon's unit; where it runs out all the same, the kernel is told to
//! end what is confined first.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files may grow to this, in bytes; what a driver's build writes is far smaller.
const LARGEST_FILE: u64 = 8 << 30;
/// Processes of one command, or where it has no user namespace of its own, of the build user: what a make with many jobs
/// needs at least, and what each CPU adds.
const PROCESSES: (u64, u64) = (512, 64);
/// Memory of one process, in bytes, on machines where three quarters of all would be less.
const LEAST_MEMORY: u64 = 1 << 30;
/// How willing the kernel is to end it when memory runs out: 0 is as any other process, 1000 is first of all.
const FIRST_TO_GO: &[u8] = b"500";

/// Sets the limits for this process and all it starts. `own_user`: it runs as a user who does nothing else; a person's
/// own processes and threads would count as well.
pub(super) fn set(own_user: bool) -> io::Result<()> {
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let (least, each) = PROCESSES;
    at_most(Resource::Core, 0)?;
    at_most(Resource::Fsize, LARGEST_FILE)?;
    if own_user {
        at_most(Resource::Nproc, least + each * cpus)?;
    }
    at_most(Resource::Data, (physical_memory() / 4 * 3).max(LEAST_MEMORY))?;
    // Not where /proc is another one's to write: then it is ended as any other process.
    let _ = fs::write("/proc/self/oom_score_adj", FIRST_TO_GO);
    Ok(())
}

fn at_most(resource: Resource, most: u64) -> io::Result<()> {
    let now = getrlimit(resource);
    let lower = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    setrlimit(resource, Rlimit { current: lower(now.current), maximum: lower(now.maximum) }).map_err(Into::into)
}

fn physical_memory() -> u64 {
    let info = rustix::system::sysinfo();
    let total = info.totalram as u64;
    total.saturating_mul(u64::from(info.mem_unit))
}
