//! Calls and properties of `org.dkmsd1`, made with busctl, as any other program would.

use serde_json::Value;

use crate::Machine;

/// An error that a call was answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its D-Bus name.
    pub name: String,
    /// What people read.
    pub message: String,
}

impl Machine {
    /// Calls a method of the manager, `Method [SIGNATURE ARGUMENT…]` as busctl takes it; gives what it answers with, an
    /// array, or null where it answers with nothing.
    ///
    /// # Panics
    /// When it is refused.
    pub fn call(&self, text: &str) -> Value {
        data(&self.sh(&format!("busctl --json=short call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager {text}")))
    }

    /// Calls a method that has to be refused: `PATH INTERFACE Method [SIGNATURE ARGUMENT…]`. `who` is a command that runs
    /// another as somebody, or empty.
    ///
    /// # Panics
    /// When the call succeeds, or does not get an answer.
    #[must_use]
    pub fn refusal(&self, who: &str, call: &str) -> Refusal {
        // The one place where busctl shows an error's name.
        let answer = self.try_sh(&format!("SYSTEMD_LOG_LEVEL=debug {who} busctl call org.dkmsd1 {call}"));
        assert_ne!(answer.code, 0, "not refused: {call}: {}", answer.stdout);
        let shown = answer.stderr.lines().rev().find_map(|line| {
            let error = line.strip_prefix("Got message type=error ")?;
            error.split_once(" error-name=")?.1.split_once(" error-message=")
        });
        let (name, message) = shown.unwrap_or_else(|| panic!("{call} got no answer: {}", answer.stderr));
        Refusal { name: name.to_owned(), message: message.to_owned() }
    }

    /// Every property of an object's interface: name → `{"type": …, "data": …}`.
    ///
    /// # Panics
    /// When there is no such object.
    #[must_use]
    pub fn properties(&self, path: &str, interface: &str) -> Value {
        let get_all = "org.freedesktop.DBus.Properties GetAll s";
        data(&self.sh(&format!("busctl --json=short call org.dkmsd1 {path} {get_all} {interface}")))[0].take()
    }

    /// A property of the manager.
    ///
    /// # Panics
    /// When there is no such property.
    #[must_use]
    pub fn property(&self, name: &str) -> Value {
        let get = "busctl --json=short get-property org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager";
        data(&self.sh(&format!("{get} {name}")))
    }
}

fn data(reply: &str) -> Value {
    match serde_json::from_str::<Value>(reply) {
        Ok(mut reply) => reply["data"].take(),
        Err(_) if reply.is_empty() => Value::Null,
        Err(e) => panic!("busctl says {reply}: {e}"),
    }
}
