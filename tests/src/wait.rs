//! Waiting without looking at the clock in between: the daemon's signals and the journal say when to look again.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use crate::Machine;
use crate::follow::Follower;

/// Everything in a machine that tells of a change, a line each. The journal's last line comes at once, and busctl says
/// when it listens, so a change after the first look is never missed.
const NEWS: &str = "
    busctl monitor --match=\"type='signal',interface='org.dkmsd1.Manager'\" 2>&1 &
    exec journalctl --quiet --follow --lines=1 --output=cat";

pub(crate) fn until(machine: &Machine, what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    let news = Follower::of(machine, NEWS);
    loop {
        match news.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(_) => while news.lines.try_recv().is_ok() {},
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => panic!("{machine:?} is gone while waiting for: {what}"),
        }
        if holds() {
            return;
        }
    }
    // A last look, should the last change have come without a word.
    assert!(!holds(), "{what}: true after {limit:?}, but nothing told of it\n{}", machine.story());
    panic!("not within {limit:?}: {what}\n{}", machine.story());
}
