//! What is said while it works: results on standard output, trouble on standard error; on a terminal, one line that
//! shows how far a build is.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};

use dkms_core::build::first_error;
use dkms_core::event::{Event, Phase, Sink, from_cache};
use dkms_core::model::{KernelId, PackageId};
use tracing::Subscriber;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::failure::Failure;
use super::progress;

/// The two outputs of the program. Nobody left to read them is no reason to stop.
pub(crate) struct Terminal {
    quiet: bool,
    /// Phases and logs are told, too.
    pub(crate) verbose: bool,
    /// Lines can be drawn over.
    drawable: bool,
    /// Trouble may be told in colours.
    coloured: bool,
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
        let drawable = io::stdout().is_terminal() && !dumb() && !quiet;
        Self { quiet, verbose, drawable, coloured: coloured(), topic: String::new(), at_work: BTreeMap::new() }
    }

    /// framework.conf asks for more to be said.
    pub(crate) fn verbose(&mut self) {
        self.verbose = true;
    }

    /// What all the next events are about.
    pub(crate) fn subject(&mut self, subject: String) {
        self.at_work.clear();
        self.topic = subject;
    }

    /// A result.
    pub(crate) fn line(&mut self, text: &str) {
        if !self.quiet {
            progress::wipe();
            let _ = writeln!(io::stdout(), "{}", tame(text));
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
        if !self.quiet {
            for line in &failure.excerpt {
                let _ = writeln!(io::stderr(), "  {}", self.painted(line));
            }
        }
    }

    /// A line of an excerpt: the error in red, what to do in yellow; without what would steer the terminal.
    fn painted(&self, line: &str) -> String {
        let tame = tame(line);
        match line {
            _ if !self.coloured => tame,
            line if line.starts_with(first_error::MARK) => format!("\x1b[1;31m{tame}\x1b[0m"),
            line if line.starts_with(first_error::ADVICE) => format!("\x1b[33m{tame}\x1b[0m"),
            _ => tame,
        }
    }

    fn error(&mut self, text: &str) {
        if !self.quiet {
            progress::wipe();
            let _ = writeln!(io::stderr(), "dkms: {}", tame(text));
        }
    }

    /// The one that something was just heard of, and how many there are beside it: they take turns in it.
    fn draw(&self) {
        let Some(At { phase: Some(phase), percent }) = self.at_work.get(&self.topic) else { return };
        let percent = percent.map(|p| format!(" {p} %")).unwrap_or_default();
        let others = match self.at_work.len() {
            0 | 1 => String::new(),
            n => format!("; {} more at once", n - 1),
        };
        progress::draw(&self.topic, &format!("{}{percent}{others}", phase.as_str()));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        progress::wipe();
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
                    self.line(&about(&self.topic, phase.as_str()));
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
            Event::Log { path } if self.verbose => self.line(&about(&self.topic, &format!("log {}", path.display()))),
            Event::Note { text } | Event::Waiting { why: Some(text) } => self.line(&about(&self.topic, &text)),
            Event::FromCache { built_at } => self.line(&about(&self.topic, &from_cache(built_at))),
            Event::Warning { text } => self.warning(&about(&self.topic, &text)),
            Event::Phase { .. }
            | Event::Progress { .. }
            | Event::Log { .. }
            | Event::Waiting { why: None }
            | Event::Waited => {}
        }
    }
}

/// Whether standard error is a terminal that shows colours, and nobody has asked for none.
pub(crate) fn coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal() && !dumb() && !refused
}

/// A terminal that obeys nothing.
fn dumb() -> bool {
    std::env::var_os("TERM").is_none_or(|term| term == "dumb")
}

/// Text without what a terminal would obey: a driver's build and scripts decide what is told of them.
fn tame(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n' && c != '\t', " ")
}

/// What the engine says beside its events, in the form of all else that is said.
pub(crate) struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let grave = *event.metadata().level() <= tracing::Level::WARN;
        write!(writer, "dkms: {}", if grave { "warning: " } else { "" })?;
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// What is said, and of what; a text that begins with its own topic needs no other.
fn about(topic: &str, text: &str) -> String {
    let package = topic.split(", ").next().unwrap_or_default();
    match text.strip_prefix(package) {
        _ if topic.is_empty() => text.to_owned(),
        Some(rest) if rest.starts_with([' ', ':', ',']) => text.to_owned(),
        _ => format!("{topic}: {text}"),
    }
}

/// A kernel as people read it.
pub(crate) fn shown(kernel: &KernelId) -> String {
    format!("{} ({})", kernel.release, kernel.arch)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("a/1, 6.1 (x86_64)", "its script failed", "a/1, 6.1 (x86_64): its script failed")]
    #[case("a/1", "a/1 is not built for 6.1", "a/1 is not built for 6.1")]
    #[case("a/1", "a/10 is another", "a/1: a/10 is another")]
    #[case("", "kernel 6.1: depmod has run", "kernel 6.1: depmod has run")]
    fn each_line_says_once_what_it_is_about(#[case] topic: &str, #[case] text: &str, #[case] wanted: &str) {
        assert_eq!(about(topic, text), wanted);
    }
}
