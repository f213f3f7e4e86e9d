//! A command with its redirections.

use super::ast::{Command, RedirectKind};
use super::interp::{Flow, Interp, Sink};
use super::{Certain, Uncertain};

impl Interp<'_> {
    pub(super) fn command(&mut self, command: &Command) -> Certain<Flow> {
        self.spend(1)?;
        if command.redirects.is_empty() {
            return self.kind(&command.kind);
        }
        let kept = (self.out, self.err, self.input.clone());
        let mut reads = false;
        for redirect in &command.redirects {
            match (&redirect.kind, redirect.fd) {
                (RedirectKind::Out(word), fd @ (None | Some(1 | 2))) => {
                    if self.text(word)? != "/dev/null" {
                        return Err(Uncertain::new("output to a file"));
                    }
                    if fd == Some(2) {
                        self.err = Sink::Nowhere;
                    } else {
                        self.out = Sink::Nowhere;
                    }
                }
                (RedirectKind::OutAndErr(word), None) => {
                    if self.text(word)? != "/dev/null" {
                        return Err(Uncertain::new("output to a file"));
                    }
                    (self.out, self.err) = (Sink::Nowhere, Sink::Nowhere);
                }
                (RedirectKind::Duplicate(2), None | Some(1)) => self.out = self.err,
                (RedirectKind::Duplicate(1), Some(2)) => self.err = self.out,
                (RedirectKind::Duplicate(1), None | Some(1)) | (RedirectKind::Duplicate(2), Some(2)) => {}
                (RedirectKind::HereString(word), None | Some(0)) => {
                    self.input = Some(self.text(word)? + "\n");
                    reads = true;
                }
                (RedirectKind::HereDoc(word), None | Some(0)) => {
                    let word = word.borrow().clone();
                    self.input = Some(self.text(&word)?);
                    reads = true;
                }
                (RedirectKind::In(word), None | Some(0)) => {
                    let path = self.text(word)?;
                    self.input = Some(self.file(&path)?);
                    reads = true;
                }
                _ => return Err(Uncertain::new("a rare redirection")),
            }
        }
        let flow = self.kind(&command.kind)?;
        (self.out, self.err) = (kept.0, kept.1);
        if reads {
            self.input = kept.2;
        }
        Ok(flow)
    }
    /// What `< path` reads.
    pub(super) fn file(&self, path: &str) -> Certain<String> {
        if path == "/dev/null" {
            return Ok(String::new());
        }
        self.world.read(path)?.ok_or_else(|| Uncertain::new("a file that is not there to be read"))
    }
}
