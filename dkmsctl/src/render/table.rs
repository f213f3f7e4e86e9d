//! Aligned columns.

use super::{Look, fit, tame};

/// What a word's colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Paint {
    #[default]
    Plain,
    Good,
    Attention,
    Bad,
    Faint,
}

impl Paint {
    /// What a state of a package, or a result of a job, deserves.
    pub(crate) fn of(word: &str) -> Self {
        match word {
            "installed" | "done" | "ready" => Self::Good,
            "failed" | "broken" | "timeout" | "dependency" | "unusable" => Self::Bad,
            "queued"
            | "building"
            | "running"
            | "canceling"
            | "canceled"
            | "waiting-for-headers"
            | "deferred"
            | "settling"
            | "missing" => Self::Attention,
            "excluded" | "dormant" | "kernel-newer" | "superseded" | "skipped" => Self::Faint,
            _ => Self::Plain,
        }
    }

    pub(crate) fn apply(self, text: &str, look: Look) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Good => "32",
            Self::Attention => "33",
            Self::Bad => "1;31",
            Self::Faint => "2",
        };
        if look.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A word of a table.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    paint: Paint,
}

impl Cell {
    pub(crate) fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self { text: tame(&text.into()), paint }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::painted(text, Paint::Plain)
    }
}

const GAP: usize = 2;

/// Columns as wide as their widest word; the last one takes what a terminal has left, but never less than its head.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[Cell; N]], look: Look) -> String {
    let mut widths = head.map(|h| h.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let last = N.saturating_sub(1);
    let before: usize = widths[..last].iter().map(|w| w + GAP).sum();
    let room = look.width.map_or(usize::MAX, |w| usize::from(w).saturating_sub(before).max(head[last].chars().count()));

    let mut text = String::new();
    let mut line = |cells: &mut dyn Iterator<Item = (&str, Paint)>| {
        let mut gap = 0;
        for (i, (word, paint)) in cells.enumerate() {
            let word = if i == last { fit(word, room) } else { word.to_owned() };
            if word.is_empty() {
                gap += widths[i] + GAP;
                continue;
            }
            text.extend(std::iter::repeat_n(' ', gap));
            text.push_str(&paint.apply(&word, look));
            gap = widths[i].saturating_sub(word.chars().count()) + GAP;
        }
        text.push('\n');
    };
    line(&mut head.iter().map(|h| (*h, Paint::Plain)));
    for row in rows {
        line(&mut row.iter().map(|c| (c.text.as_str(), c.paint)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [[Cell; 3]; 2] {
        [
            ["a".into(), Cell::painted("failed", Paint::Bad), "a long story, too long".into()],
            ["longer".into(), "".into(), "".into()],
        ]
    }

    #[test]
    fn columns_align_and_no_line_ends_in_blanks() {
        assert_eq!(
            table(["NAME", "STATE", "REASON"], &rows(), Look::default()),
            "NAME    STATE   REASON\na       failed  a long story, too long\nlonger\n"
        );
    }

    #[test]
    fn the_last_column_gives_way_on_a_terminal() {
        let look = Look { colour: false, width: Some(24) };
        let text = table(["NAME", "STATE", "REASON"], &rows(), look);
        assert_eq!(text, "NAME    STATE   REASON\na       failed  a long …\nlonger\n");
    }

    #[test]
    fn colour_takes_no_room() {
        let text = table(["NAME", "STATE", "REASON"], &rows(), Look { colour: true, width: None });
        assert!(text.contains("a       \x1b[1;31mfailed\x1b[0m  a long"));
    }
}
