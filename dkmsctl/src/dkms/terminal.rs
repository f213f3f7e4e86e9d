//! What is said while it works: results on standard output, trouble on standard error; on a terminal, one line that
//! shows how far a build is.

use std::io::{self, IsTerminal as _, Write as _};

use dkms_core::event::{Event, Phase, Sink};
use dkms_core::model::{KernelId, PackageId};

use super::failure::Failure;

/// The two outputs of the program. Nobody left to read them is no reason to stop.
pub(crate) struct Terminal {
    quiet: bool,
    /// Phases and logs are told, too.
    pub(crate) verbose: bool,
    /// Lines can be drawn over.
    drawable: bool,
    drawn: bool,
    /// What is worked on: the package, then the kernel.
    topic: String,
    phase: Option<Phase>,
    percent: Option<u32>,
}

impl Terminal {
    pub(crate) fn new(quiet: bool, verbose: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let drawable = io::stdout().is_terminal() && !dumb && !quiet;
        Self { quiet, verbose, drawable, drawn: false, topic: String::new(), phase: None, percent: None }
    }

    /// What the next events are about.
    pub(crate) fn subject(&mut self, subject: String) {
        (self.topic, self.phase, self.percent) = (subject, None, None);
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

    fn draw(&mut self) {
        let Some(phase) = self.phase else { return };
        let percent = self.percent.map(|p| format!(" {p} %")).unwrap_or_default();
        let _ = write!(io::stdout(), "\r\x1b[K{}: {}{percent}", self.topic, phase.as_str());
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
        self.subject(package.map_or_else(|| shown(kernel), |package| format!("{package}, {}", shown(kernel))));
    }

    fn emit(&mut self, event: Event) {
        match event {
            Event::Phase { phase } if self.phase != Some(phase) => {
                (self.phase, self.percent) = (Some(phase), None);
                if self.drawable {
                    self.draw();
                } else if matches!(phase, Phase::Building) || self.verbose {
                    self.line(&format!("{}: {}", self.topic, phase.as_str()));
                }
            }
            Event::Progress { done } if self.drawable => {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 100")]
                let percent = (done.clamp(0.0, 1.0) * 100.0) as u32;
                if self.percent != Some(percent) {
                    self.percent = Some(percent);
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
