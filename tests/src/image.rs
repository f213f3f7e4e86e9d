//! A root that nothing runs in: an image, or the inside of a chroot.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Answer, checkout};

/// A Debian below a folder of this machine; dropping it forgets it.
#[derive(Debug)]
pub struct Image {
    name: String,
}

impl Image {
    /// Makes one.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn make(name: &str) -> Self {
        let run = std::env::var("DKMSD_TEST_RUN").unwrap_or_else(|_| "x".to_owned());
        let image = Self { name: format!("{name}-{run}-{}", std::process::id()) };
        image.sh("true");
        image
    }

    /// Runs a bash script as root in it, with /proc, /sys, /dev and network, as one would to prepare an image.
    ///
    /// # Panics
    /// When it fails.
    pub fn sh(&self, text: &str) -> String {
        let mut command = script();
        command.args(["chroot", &self.name, "bash", "-c", text]).stdin(Stdio::null());
        let answer = Answer::from(command.output().expect("machine.sh runs"));
        assert_eq!(answer.code, 0, "in {}: {text}\nstdout: {}\nstderr: {}", self.name, answer.stdout, answer.stderr);
        answer.stdout
    }

    /// Where it lies on this machine.
    ///
    /// # Panics
    /// When machine.sh does not say.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        let answer = Answer::from(script().args(["root", &self.name]).output().expect("machine.sh runs"));
        assert_eq!(answer.code, 0, "{}", answer.stderr);
        PathBuf::from(answer.stdout)
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        if let Err(e) = script().args(["kill", &self.name]).status() {
            eprintln!("image {} could not be forgotten: {e}", self.name);
        }
    }
}

fn script() -> Command {
    Command::new(checkout().join("tests/container/machine.sh"))
}
