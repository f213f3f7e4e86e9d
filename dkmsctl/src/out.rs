//! The only place that writes: standard output for what was asked, standard error for why not.

use std::io::{self, IsTerminal, Write};

use crate::render::Look;

/// Standard output, with what is known about who reads it.
pub(crate) struct Out {
    colour: bool,
    /// Lines end at its edge.
    terminal: bool,
    /// Lines can be drawn over.
    drawable: bool,
    /// The live region, below the last finished line.
    live: Vec<String>,
    closed: bool,
}

impl Out {
    pub(crate) fn new() -> Self {
        let terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|t| t == "dumb");
        Self {
            colour: terminal && !dumb && !set("NO_COLOR"),
            terminal,
            drawable: terminal && !dumb,
            live: Vec::new(),
            closed: false,
        }
    }

    /// How text may look just now: a terminal's width changes under us.
    pub(crate) fn look(&self) -> Look {
        Look { colour: self.colour, width: self.terminal.then(size).map(|s| s.0) }
    }

    /// Whether lines can be drawn over.
    pub(crate) fn is_live(&self) -> bool {
        self.drawable
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Writes finished text, above the live region.
    pub(crate) fn print(&mut self, text: &str) -> io::Result<()> {
        let wipe = self.wipe();
        self.write(format!("{wipe}{text}").as_bytes())
    }

    /// As [`Out::print`], with a line end.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.print(&format!("{text}\n"))
    }

    /// Bytes as they are: a log need not be UTF-8.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write(bytes)
    }

    /// Draws the live region again; on anything but a terminal nothing happens.
    pub(crate) fn redraw(&mut self, lines: &[String]) -> io::Result<()> {
        if !self.drawable {
            return Ok(());
        }
        let room = usize::from(size().1.saturating_sub(1)).max(1);
        let lines = &lines[..lines.len().min(room)];
        if self.live == lines {
            return Ok(());
        }
        let mut text = self.wipe();
        for line in lines {
            text.push_str(line);
            text.push('\n');
        }
        self.live = lines.to_vec();
        self.write(text.as_bytes())
    }

    fn wipe(&mut self) -> String {
        match std::mem::take(&mut self.live).len() {
            0 => String::new(),
            n => format!("\x1b[{n}A\r\x1b[J"),
        }
    }

    /// A reader that went away (`| head`) ends the printing, not the command: its exit code still tells the truth.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

/// Says something beside the answer. Where standard error is gone too there is nobody left to tell.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "dkmsctl: {text}");
}

/// Columns and rows.
fn size() -> (u16, u16) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => (size.ws_col, size.ws_row),
        _ => (80, 24),
    }
}
