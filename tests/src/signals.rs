//! The signals of `org.dkmsd1`, as the system bus carries them.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Machine;
use crate::follow::Follower;

/// One signal.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Its name: JobNew, PropertiesChanged, …
    pub member: String,
    /// The object that sent it.
    pub path: String,
    /// Its arguments.
    pub args: Vec<Value>,
}

impl Signal {
    /// An argument that is a string; empty when it is not there or something else.
    #[must_use]
    pub fn text(&self, place: usize) -> &str {
        self.args.get(place).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether it is of this name and has this string among its arguments.
    #[must_use]
    pub fn is(&self, member: &str, word: &str) -> bool {
        self.member == member && self.args.iter().any(|arg| arg == word)
    }
}

/// Hears everything that the daemon says on the bus from the moment it was made.
#[derive(Debug)]
pub struct Listener<'m> {
    machine: &'m Machine,
    follower: Follower,
    heard: Vec<Signal>,
}

impl<'m> Listener<'m> {
    /// Begins to listen; when this returns nothing is missed.
    ///
    /// # Panics
    /// When the bus cannot be monitored.
    #[must_use]
    pub fn on(machine: &'m Machine) -> Self {
        let follower = Follower::of(
            machine,
            "exec busctl --json=short monitor --match=\"type='signal',sender='org.dkmsd1'\" 2>&1",
        );
        let ready = follower.lines.recv_timeout(Duration::from_secs(30));
        assert!(ready.as_ref().is_ok_and(|line| line.starts_with("Monitoring")), "busctl monitor says {ready:?}");
        Self { machine, follower, heard: Vec::new() }
    }

    /// Waits for a signal, and gives the first that is wanted, be it one that was heard before.
    ///
    /// # Panics
    /// When `limit` passes before, with what was heard.
    pub fn wait_for(&mut self, what: &str, limit: Duration, mut wanted: impl FnMut(&Signal) -> bool) -> Signal {
        if let Some(signal) = self.heard.iter().find(|signal| wanted(signal)) {
            return signal.clone();
        }
        let end = Instant::now() + limit;
        loop {
            match self.follower.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let Some(signal) = parse(&line) else { continue };
                    self.heard.push(signal.clone());
                    if wanted(&signal) {
                        return signal;
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("busctl monitor has ended while waiting for: {what}"),
            }
        }
        panic!("not heard within {limit:?}: {what}\nheard: {:#?}\n{}", self.heard, self.machine.story());
    }

    /// What was heard up to the last signal that was waited for.
    #[must_use]
    pub fn heard(&self) -> &[Signal] {
        &self.heard
    }
}

fn parse(line: &str) -> Option<Signal> {
    let message: Value = serde_json::from_str(line).ok()?;
    Some(Signal {
        member: message["member"].as_str()?.to_owned(),
        path: message["path"].as_str()?.to_owned(),
        args: message["payload"]["data"].as_array()?.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_busctl_monitor_is_read() {
        let line = r#"{"type":"signal","path":"/org/dkmsd1","interface":"org.dkmsd1.Manager","member":"JobRemoved","payload":{"type":"uosssss","data":[3,"/org/dkmsd1/job/_3","a","1","6.1.0","done"]}}"#;
        let signal = parse(line).unwrap();
        assert!(signal.is("JobRemoved", "done") && !signal.is("JobNew", "done") && !signal.is("JobRemoved", "3"));
        assert_eq!((signal.text(1), signal.text(0), signal.text(9)), ("/org/dkmsd1/job/_3", "", ""));
        assert_eq!(parse("Monitoring bus message stream."), None);
    }
}
