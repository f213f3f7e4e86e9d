//! A command inside a machine that tells something line by line.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};

use crate::Machine;

/// The command, ended with everything it started when this is dropped.
#[derive(Debug)]
pub(crate) struct Follower {
    child: Child,
    /// What it prints; disconnected when it has ended.
    pub(crate) lines: Receiver<String>,
}

impl Follower {
    pub(crate) fn of(machine: &Machine, text: &str) -> Self {
        let mut command = machine.command(text);
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
            for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
                if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        if let Err(e) = Command::new("kill").args(["-KILL", "--", &group]).status() {
            eprintln!("process group {group} could not be ended: {e}");
        }
        let _ = self.child.wait();
    }
}
