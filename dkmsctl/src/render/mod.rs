//! Rows in, text out: pure, so that what people and scripts see is tested as tables.

pub(crate) mod json;
pub(crate) mod lists;
pub(crate) mod mok;
pub(crate) mod progress;
pub(crate) mod status;
mod table;
pub(crate) mod time;

use dkms_core::build::first_error;
pub(crate) use table::{Cell, Paint, table};

/// How text may look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// Colours may be used.
    pub(crate) colour: bool,
    /// Columns of the terminal; `None` where lines may be of any length.
    pub(crate) width: Option<u16>,
}

/// What stands for a word that is not there, so that columns can be counted.
pub(crate) fn or_dash(word: &str) -> &str {
    if word.is_empty() { "-" } else { word }
}

/// `NAME/VERSION`, with the kernel where there is one.
pub(crate) fn subject(package: &str, version: &str, kernel: &str) -> String {
    match kernel {
        "" => format!("{package}/{version}"),
        kernel => format!("{package}/{version} on {kernel}"),
    }
}

/// Control characters out of what a compiler or a driver's author wrote: a log line must not steer the terminal.
pub(crate) fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// An excerpt of a build log: the error itself in red, what to do in yellow, the lines around it as they are. Each line
/// gets `indent` blanks.
pub(crate) fn excerpt(lines: &str, indent: usize, look: Look) -> String {
    let paint = |line: &str| match line {
        line if line.starts_with(first_error::MARK) => Paint::Bad,
        line if line.starts_with(first_error::ADVICE) => Paint::Attention,
        _ => Paint::Plain,
    };
    lines.lines().map(|line| format!("{:indent$}{}\n", "", paint(line).apply(&tame(line), look))).collect()
}

/// At most `width` characters.
pub(crate) fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(std::iter::once('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("abc", 3, "abc")]
    #[case("abcd", 3, "ab…")]
    #[case("äöü€", 3, "äö…")]
    #[case("abc", 0, "…")]
    fn fits(#[case] text: &str, #[case] width: usize, #[case] wanted: &str) {
        assert_eq!(fit(text, width), wanted);
    }

    #[rstest]
    #[case(false, "  a\n  > b c\n  = d\n")]
    #[case(true, "  a\n  \x1b[1;31m> b c\x1b[0m\n  \x1b[33m= d\x1b[0m\n")]
    fn the_error_stands_out(#[case] colour: bool, #[case] wanted: &str) {
        assert_eq!(excerpt("a\n> b\x1bc\n= d", 2, Look { colour, width: None }), wanted);
    }

    #[test]
    fn escape_sequences_are_tamed() {
        assert_eq!(tame("a\x1b[31mb\r\n"), "a [31mb  ");
    }
}
