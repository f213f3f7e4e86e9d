//! Words: quotes, escapes and expansions.

use super::ast::{Name, Op, Param, Part, Word};
use super::parse::{Parser, is_meta};
use super::{Certain, Uncertain};

/// What the text around a part means for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// A word of a command.
    Word,
    /// The right side of `=~`.
    Regex,
    /// An operand in `${…}`, where quotes work as outside.
    Operand,
    /// An operand in `"${…}"`, where they work as inside.
    DoubleOperand,
    Double,
    HereDoc,
    Arithmetic,
}

impl Mode {
    pub(super) fn is_quoting(self) -> bool {
        matches!(self, Self::Double | Self::DoubleOperand | Self::HereDoc | Self::Arithmetic)
    }
}

/// Collects parts, with text that stands side by side in one.
#[derive(Default)]
struct Parts {
    parts: Vec<Part>,
    text: Vec<u8>,
    quoted: bool,
}

impl Parts {
    fn push(&mut self, bytes: &[u8], quoted: bool) -> Certain<()> {
        if self.quoted != quoted {
            self.flush()?;
            self.quoted = quoted;
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    fn part(&mut self, part: Part) -> Certain<()> {
        self.flush()?;
        self.parts.push(part);
        Ok(())
    }

    fn flush(&mut self) -> Certain<()> {
        if !self.text.is_empty() {
            let text = String::from_utf8(std::mem::take(&mut self.text))
                .map_err(|_| Uncertain::new("text that is not UTF-8"))?;
            self.parts.push(if self.quoted { Part::Quoted(text) } else { Part::Literal(text) });
        }
        Ok(())
    }

    fn finish(mut self) -> Certain<Vec<Part>> {
        self.flush()?;
        Ok(self.parts)
    }
}

impl Parser<'_> {
    /// A word; empty when none stands here.
    pub(super) fn word(&mut self) -> Certain<Word> {
        self.scan(Mode::Word, &mut |p| p.peek().is_some_and(is_meta)).map(Word)
    }

    /// A word that has to stand here.
    pub(super) fn some_word(&mut self) -> Certain<Word> {
        let word = self.word()?;
        if word.0.is_empty() { Err(Uncertain::new("a syntax error")) } else { Ok(word) }
    }

    /// What follows `=`, which may be nothing.
    pub(super) fn word_or_empty(&mut self) -> Certain<Word> {
        self.word()
    }

    /// The right side of `=~`.
    pub(super) fn regex(&mut self) -> Certain<Word> {
        let mut depth = 0_usize;
        let parts = self.scan(Mode::Regex, &mut |p| match p.peek() {
            Some(b'(') => {
                depth += 1;
                false
            }
            Some(b')') if depth > 0 => {
                depth -= 1;
                false
            }
            Some(b' ' | b'\t' | b'\n') => depth == 0,
            Some(b')' | b'&' | b';' | b'<' | b'>') => true,
            _ => false,
        })?;
        if depth > 0 || matches!(self.peek(), Some(b')' | b'&' | b';' | b'<' | b'>')) {
            return Err(Uncertain::new("a strange right side of =~"));
        }
        Ok(Word(parts))
    }

    /// What is left, as the body of a here-document.
    pub(super) fn here_document(&mut self) -> Certain<Vec<Part>> {
        self.scan(Mode::HereDoc, &mut |_| false)
    }

    /// What follows `((`, up to `))`; none when it ends otherwise, so that it is no arithmetic.
    pub(super) fn arithmetic(&mut self) -> Certain<Option<Word>> {
        let mut depth = 0_usize;
        let parts = self.scan(Mode::Arithmetic, &mut |p| match p.peek() {
            Some(b'(') => {
                depth += 1;
                false
            }
            Some(b')') if depth > 0 => {
                depth -= 1;
                false
            }
            Some(b')') => true,
            _ => false,
        })?;
        Ok(self.eat("))").then_some(Word(parts)))
    }

    /// What follows `[`, up to its `]`.
    pub(super) fn subscript(&mut self) -> Certain<Word> {
        let mut depth = 0_usize;
        let parts = self.scan(Mode::Arithmetic, &mut |p| match p.peek() {
            Some(b'[') => {
                depth += 1;
                false
            }
            Some(b']') if depth > 0 => {
                depth -= 1;
                false
            }
            Some(b']' | b'\n') => true,
            _ => false,
        })?;
        if self.eat("]") && !parts.is_empty() { Ok(Word(parts)) } else { Err(Uncertain::new("a subscript")) }
    }

    pub(super) fn scan(&mut self, mode: Mode, stop: &mut dyn FnMut(&Self) -> bool) -> Certain<Vec<Part>> {
        self.enter()?;
        let mut out = Parts::default();
        // Open parentheses of extended patterns: up to their end, nothing ends the word.
        let mut pattern = 0_usize;
        let start = self.at;
        while let Some(c) = self.peek() {
            if c == b'\\' && self.text.get(self.at + 1) == Some(&b'\n') {
                self.at += 2;
                continue;
            }
            if pattern == 0 && stop(self) {
                break;
            }
            match c {
                b'\\' => self.escape(mode, &mut out)?,
                b'\'' if !mode.is_quoting() => {
                    let rest = &self.text[self.at + 1..];
                    let end = rest.iter().position(|&c| c == b'\'').ok_or_else(|| Uncertain::new("an open quote"))?;
                    // Empty quotes make a word too.
                    out.part(Part::Quoted(utf8(&rest[..end])?))?;
                    self.at += end + 2;
                }
                b'"' if !mode.is_quoting() || mode == Mode::DoubleOperand => {
                    // Quotes inside a quoted operand are plain only when they hold all of it.
                    let inner = mode == Mode::DoubleOperand;
                    if inner && self.at != start {
                        return Err(Uncertain::new("quotes in a quoted operand"));
                    }
                    self.at += 1;
                    let parts = self.scan(Mode::Double, &mut |p| p.peek() == Some(b'"'))?;
                    if !self.eat("\"") {
                        return Err(Uncertain::new("an open quote"));
                    }
                    if inner && self.peek() != Some(b'}') {
                        return Err(Uncertain::new("quotes in a quoted operand"));
                    }
                    out.part(Part::Double(parts))?;
                }
                b'"' | b'\'' if mode == Mode::Arithmetic => return Err(Uncertain::new("quotes in arithmetic")),
                b'$' => self.dollar(mode, &mut out)?,
                b'`' => {
                    let list = self.backquote(mode)?;
                    out.part(Part::Command(list))?;
                }
                b'~' if mode == Mode::Word && self.tilde_counts(start) => return Err(Uncertain::new("a tilde")),
                _ => {
                    if mode == Mode::Word {
                        let opens = self.text.get(self.at + 1) == Some(&b'(');
                        if matches!(c, b'?' | b'*' | b'+' | b'@' | b'!') && opens {
                            pattern += 1;
                            self.at += 1;
                            out.push(&[c], false)?;
                        } else if pattern > 0 && c == b'(' {
                            pattern += 1;
                        } else if pattern > 0 && c == b')' {
                            pattern -= 1;
                        }
                    }
                    out.push(&self.text[self.at..=self.at], mode.is_quoting())?;
                    self.at += 1;
                }
            }
        }
        if pattern > 0 {
            return Err(Uncertain::new("an open pattern"));
        }
        self.leave();
        out.finish()
    }

    /// Whether a tilde here is one that bash may expand.
    fn tilde_counts(&self, start: usize) -> bool {
        self.at == start || matches!(self.text[self.at - 1], b':' | b'=')
    }

    fn escape(&mut self, mode: Mode, out: &mut Parts) -> Certain<()> {
        let Some(&next) = self.text.get(self.at + 1) else { return Err(Uncertain::new("a last backslash")) };
        if mode.is_quoting() {
            let escapes = match next {
                b'$' | b'`' | b'\\' => true,
                b'"' => mode != Mode::HereDoc,
                b'}' => mode == Mode::DoubleOperand,
                _ => false,
            };
            if mode == Mode::Arithmetic {
                return Err(Uncertain::new("a backslash in arithmetic"));
            }
            if !escapes {
                out.push(b"\\", true)?;
                self.at += 1;
                return Ok(());
            }
        }
        if mode == Mode::Regex && (next.is_ascii_alphanumeric() || b"<>`'".contains(&next)) {
            return Err(Uncertain::new("a letter with a backslash in =~"));
        }
        let length = match next {
            0..0x80 => 1,
            0x80..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        let end = (self.at + 1 + length).min(self.text.len());
        out.push(&self.text[self.at + 1..end], true)?;
        self.at = end;
        Ok(())
    }

    fn backquote(&mut self, mode: Mode) -> Certain<super::ast::List> {
        let mut inner = Vec::new();
        self.at += 1;
        loop {
            match self.peek().ok_or_else(|| Uncertain::new("an open backquote"))? {
                b'`' => break,
                b'\\' => {
                    let next = *self.text.get(self.at + 1).ok_or_else(|| Uncertain::new("an open backquote"))?;
                    if mode.is_quoting() && next == b'"' {
                        return Err(Uncertain::new("an escaped quote in quoted backquotes"));
                    }
                    if matches!(next, b'$' | b'`' | b'\\') {
                        inner.push(next);
                    } else {
                        inner.extend([b'\\', next]);
                    }
                    self.at += 2;
                }
                c => {
                    inner.push(c);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        let inner = utf8(&inner)?;
        self.enter()?;
        let list = Parser::nested(self, &inner).program();
        self.leave();
        list
    }

    fn dollar(&mut self, mode: Mode, out: &mut Parts) -> Certain<()> {
        let Some(&next) = self.text.get(self.at + 1) else {
            self.at += 1;
            return out.push(b"$", mode.is_quoting());
        };
        let name = match next {
            b'(' => {
                let start = self.at;
                if self.eat("$((") {
                    if let Some(word) = self.arithmetic()? {
                        return out.part(Part::Arithmetic(word));
                    }
                    self.at = start;
                }
                self.at += 2;
                let list = self.list()?;
                return if self.eat(")") { out.part(Part::Command(list)) } else { Err(Uncertain::new("an open $(")) };
            }
            b'{' => {
                self.at += 2;
                let param = self.braces(mode)?;
                return out.part(Part::Param(Box::new(param)));
            }
            b'@' => Name::All,
            b'*' => Name::Joined,
            b'#' => Name::Count,
            b'?' => Name::Status,
            b'0' | b'$' | b'!' | b'-' => return Err(Uncertain::new("a special parameter")),
            b'1'..=b'9' => Name::Positional(usize::from(next - b'0')),
            b'[' => return Err(Uncertain::new("$[")),
            b'\'' if !mode.is_quoting() => {
                self.at += 2;
                let text = self.ansi_c()?;
                return out.part(Part::Quoted(text));
            }
            b'"' if !mode.is_quoting() => return Err(Uncertain::new("a translated string")),
            _ => {
                self.at += 1;
                let Some(name) = self.name() else { return out.push(b"$", mode.is_quoting()) };
                return out.part(Part::Param(Box::new(plain(Name::Variable(name)))));
            }
        };
        self.at += 2;
        out.part(Part::Param(Box::new(plain(name))))
    }

    /// `$'…'`.
    fn ansi_c(&mut self) -> Certain<String> {
        let mut out = Vec::new();
        loop {
            let c = self.peek().ok_or_else(|| Uncertain::new("an open quote"))?;
            self.at += 1;
            match c {
                b'\'' => return utf8(&out),
                b'\\' => {
                    let c = self.peek().ok_or_else(|| Uncertain::new("an open quote"))?;
                    self.at += 1;
                    out.push(match c {
                        b'n' => b'\n',
                        b't' => b'\t',
                        b'r' => b'\r',
                        b'a' => 7,
                        b'b' => 8,
                        b'e' | b'E' => 27,
                        b'f' => 12,
                        b'v' => 11,
                        b'\\' | b'\'' | b'"' | b'?' => c,
                        _ => return Err(Uncertain::new("a rare escape")),
                    });
                }
                c => out.push(c),
            }
        }
    }
}

fn plain(name: Name) -> Param {
    Param { name, index: None, indirect: false, op: Op::None }
}

pub(super) fn utf8(bytes: &[u8]) -> Certain<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Uncertain::new("text that is not UTF-8"))
}
