//! What `dkms` does when it is told to end: whatever it has started ends first, while what it has locked still is.

use std::fs;
use std::thread;

use dkms_core::engine;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

use super::progress;

/// Sees to it from here on. A signal that whoever started us has us ignore (nohup, a shell's background) stays ignored.
pub(crate) fn on_signals() {
    let ignored = ignored();
    let wanted = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = match Signals::new(wanted) {
        Ok(signals) => signals,
        Err(error) => return tracing::debug!("signals end this program at once: {error}"),
    };
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            engine::stop();
            progress::leave();
            // As it would have without us, so that a shell's script ends as well.
            let _ = low_level::emulate_default_handler(signal);
            low_level::exit(128 + signal);
        }
    };
    if let Err(error) = thread::Builder::new().name("signals".into()).spawn(wait) {
        // Nobody would hear them.
        tracing::debug!("signals are not heard: {error}");
    }
}

/// The signals that we ignore, a bit each; none where /proc is not there to say so.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
