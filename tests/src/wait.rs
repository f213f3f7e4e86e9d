//! Waiting without looking at the clock in between: the daemon's signals and the journal say when to look again.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::Machine;

/// Everything in a machine that tells of a change, a line each. The journal's last line comes at once, and busctl says
/// when it listens, so a change after the first look is never missed.
const NEWS: &str = "
    busctl monitor --match=\"type='signal',interface='org.dkmsd1.Manager'\" 2>&1 &
    exec journalctl --quiet --follow --lines=1 --output=cat";

/// A process that writes lines, ended with everything it started.
struct News {
    child: Child,
    lines: Receiver<()>,
}

impl News {
    fn of(machine: &Machine) -> Self {
        let mut command = machine.command(NEWS);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("machine.sh runs");
        let out = child.stdout.take().expect("its output is piped");
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for _ in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                if send.send(()).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }
}

impl Drop for News {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        if let Err(e) = Command::new("kill").args(["-KILL", "--", &group]).status() {
            eprintln!("process group {group} could not be ended: {e}");
        }
        let _ = self.child.wait();
    }
}

pub(crate) fn until(machine: &Machine, what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + limit;
    let news = News::of(machine);
    loop {
        match news.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(()) => while news.lines.try_recv().is_ok() {},
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
