//! What is said while it works: results on standard output, trouble on standard error; on a terminal, one line that
//! shows how far a build is.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};

use dkms_core::event::{Event, Phase, Sink};
use dkms_core::model::{KernelId, PackageId};

use super::failure::Failure;

/// The two outputs of the program. Nobody left to read them is no reason to stop.
pub(crate) struct Terminal {
    quiet: bool,
    verbose: bool,
    /// Lines can be drawn over.
    drawable: bool,
    drawn: bool,
    /// What is worked on: the package, then the kernel.
    topic: String,
    /// How far each is; several packages may be built at once.
    at_work: BTreeMap<String, At>,
}

/// How far something is.
#[derive(Default)]
struct At {
    phase: Option<Phase>,
    percent: Option<u32>,
}

impl Terminal {
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let drawable = io::stdout().is_terminal() && !dumb && !quiet;
        Self { quiet, verbose, drawable, drawn: false, topic: String::new(), at_work: BTreeMap::new() }
    }

    /// What all the next events are about.
    pub(crate) fn subject(&mut self, subject: String) {
        self.at_work.clear();
        self.topic = subject;
    }

    /// A result.
    pub(crate) fn line(&mut self, text: &str) {
        if !self.quiet {
            self.wipe();
            let _ = writeln!(io::stdout(), "{text}");
        }
    }

    /// Something worth attention that stops nothing.
    pub(crate) fn warning(&mut self, text: &str) {
        self.error(&format!("warning: {text}"));
    }

    /// Why it ends otherwise than asked.
    pub(crate) fn failure(&mut self, failure: &Failure) {
        if !failure.message.is_empty() {
            self.error(&failure.message);
        }
    }

    fn error(&mut self, text: &str) {
        if !self.quiet {
            self.wipe();
            let _ = writeln!(io::stderr(), "dkms: {text}");
        }
    }

    /// The one that something was just heard of, and how many there are beside it: they take turns in it.
    fn draw(&mut self) {
        let Some(At { phase: Some(phase), percent }) = self.at_work.get(&self.topic) else { return };
        let percent = percent.map(|p| format!(" {p} %")).unwrap_or_default();
        let others = match self.at_work.len() {
            0 | 1 => String::new(),
            n => format!("; {} more at once", n - 1),
        };
        let _ = write!(io::stdout(), "\r\x1b[K{}: {}{percent}{others}", self.topic, phase.as_str());
        let _ = io::stdout().flush();
        self.drawn = true;
    }

    fn wipe(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(io::stdout(), "\r\x1b[K");
            let _ = io::stdout().flush();
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl Sink for Terminal {
    fn about(&mut self, package: Option<&PackageId>, kernel: &KernelId) {
        self.topic = package.map_or_else(|| shown(kernel), |package| format!("{package}, {}", shown(kernel)));
    }

    fn ended(&mut self) {
        self.at_work.remove(&self.topic);
    }

    fn emit(&mut self, event: Event) {
        match event {
            Event::Phase { phase } if self.at_work.get(&self.topic).and_then(|at| at.phase) != Some(phase) => {
                self.at_work.insert(self.topic.clone(), At { phase: Some(phase), percent: None });
                if self.drawable {
                    self.draw();
                } else if matches!(phase, Phase::Building) || self.verbose {
                    self.line(&format!("{}: {}", self.topic, phase.as_str()));
                }
            }
            Event::Progress { done } if self.drawable => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
                let percent = (done.clamp(0.0, 1.0) * 100.0) as u32;
                let at = self.at_work.entry(self.topic.clone()).or_default();
                if at.percent.replace(percent) != Some(percent) {
                    self.draw();
                }
            }
            Event::Log { path } if self.verbose => self.line(&format!("{}: log {}", self.topic, path.display())),
            Event::Note { text } | Event::Waiting { why: Some(text) } => {
                self.line(&format!("{}: {text}", self.topic));
            }
            Event::Warning { text } => self.warning(&format!("{}: {text}", self.topic)),
            Event::Phase { .. }
            | Event::Progress { .. }
            | Event::Log { .. }
            | Event::Waiting { why: None }
            | Event::Waited => {}
        }
    }
}

/// A kernel as people read it.
pub(crate) fn shown(kernel: &KernelId) -> String {
    format!("{} ({})", kernel.release, kernel.arch)
}
