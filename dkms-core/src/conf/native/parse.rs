//! Commands: from text to the syntax tree, by recursive descent, as bash's own grammar goes.
//!
//! What is not certain to mean the same to bash is refused, and refusing costs nothing but bash's time.

use std::cell::RefCell;
use std::rc::Rc;

use super::ast::{AndOr, Command, Join, Kind, List, Part, Pipeline, Word};
use super::{Certain, Uncertain};

/// How deep commands and expansions may stand in one another.
const MAX_DEPTH: usize = 48;

const RESERVED: &[&str] = &[
    "if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "function",
    "select", "time", "coproc", "{", "}", "!", "[[", "]]",
];

/// A here-document whose body has not been reached.
pub(super) struct Pending {
    pub(super) delimiter: String,
    pub(super) quoted: bool,
    pub(super) tabs: bool,
    pub(super) body: Rc<RefCell<Word>>,
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    depth: usize,
    pub(super) pending: Vec<Pending>,
}

/// Parses a whole file.
pub(super) fn parse(text: &str) -> Certain<List> {
    Parser::new(text).program()
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0, depth: 0, pending: Vec::new() }
    }

    /// The text of a substitution inside this one.
    pub(super) fn nested(&self, text: &'a str) -> Self {
        Self { text: text.as_bytes(), at: 0, depth: self.depth, pending: Vec::new() }
    }

    pub(super) fn program(&mut self) -> Certain<List> {
        let list = self.list()?;
        if self.at < self.text.len() || !self.pending.is_empty() {
            return Err(Uncertain::new("a syntax error"));
        }
        Ok(list)
    }

    pub(super) fn enter(&mut self) -> Certain<()> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Uncertain::new("nested too deeply")) } else { Ok(()) }
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn starts(&self, what: &str) -> bool {
        self.text[self.at..].starts_with(what.as_bytes())
    }

    pub(super) fn eat(&mut self, what: &str) -> bool {
        let there = self.starts(what);
        if there {
            self.at += what.len();
        }
        there
    }

    /// Blanks, continuations and a comment; never a newline.
    pub(super) fn blanks(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t') => self.at += 1,
                Some(b'\\') if self.text.get(self.at + 1) == Some(&b'\n') => self.at += 2,
                Some(b'#') => {
                    while self.peek().is_some_and(|c| c != b'\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    pub(super) fn newlines(&mut self) -> Certain<()> {
        loop {
            self.blanks();
            if self.peek() != Some(b'\n') {
                return Ok(());
            }
            self.newline()?;
        }
    }

    /// Passes a newline, and the bodies of the here-documents that wait for it.
    fn newline(&mut self) -> Certain<()> {
        self.at += 1;
        for doc in std::mem::take(&mut self.pending) {
            let mut body = String::new();
            loop {
                let rest = &self.text[self.at..];
                if rest.is_empty() {
                    return Err(Uncertain::new("a here-document without an end"));
                }
                let end = rest.iter().position(|&c| c == b'\n').unwrap_or(rest.len());
                let line = std::str::from_utf8(&rest[..end]).map_err(|_| Uncertain::new("not UTF-8"))?;
                self.at = (self.at + end + 1).min(self.text.len());
                let line = if doc.tabs { line.trim_start_matches('\t') } else { line };
                if line == doc.delimiter {
                    break;
                }
                body.push_str(line);
                body.push('\n');
            }
            *doc.body.borrow_mut() = if doc.quoted {
                Word(vec![Part::Quoted(body)])
            } else {
                Word(vec![Part::Double(self.nested(&body).here_document()?)])
            };
        }
        Ok(())
    }

    /// A word that may be reserved, when nothing in it is quoted.
    pub(super) fn reserved(&self) -> Option<&'static str> {
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|&c| is_meta(c)).unwrap_or(rest.len());
        RESERVED.iter().copied().find(|r| r.as_bytes() == &rest[..end])
    }

    pub(super) fn expect(&mut self, word: &'static str) -> Certain<()> {
        self.newlines()?;
        if self.reserved() == Some(word) {
            self.at += word.len();
            Ok(())
        } else {
            Err(Uncertain::new("a syntax error"))
        }
    }

    /// Commands up to whatever closes them.
    pub(super) fn list(&mut self) -> Certain<List> {
        self.enter()?;
        let mut list = Vec::new();
        loop {
            self.newlines()?;
            if self.closes() || matches!(self.peek(), None | Some(b')')) || self.starts(";;") {
                break;
            }
            list.push(self.and_or()?);
            self.blanks();
            match self.peek() {
                Some(b';') if !self.starts(";;") && !self.starts(";&") => self.at += 1,
                Some(b'\n') => self.newline()?,
                None | Some(b')') => {}
                Some(b';') if self.starts(";;") => {}
                // `{ …; } fi` needs no separator.
                _ if self.closes() => {}
                _ => return Err(Uncertain::new("a syntax error, or '&'")),
            }
        }
        self.leave();
        Ok(list)
    }

    /// A list that must not be empty.
    pub(super) fn body(&mut self) -> Certain<List> {
        let list = self.list()?;
        if list.is_empty() { Err(Uncertain::new("an empty body")) } else { Ok(list) }
    }

    pub(super) fn and_or(&mut self) -> Certain<AndOr> {
        let first = self.pipeline()?;
        let mut rest = Vec::new();
        loop {
            self.blanks();
            let join = if self.eat("&&") {
                Join::And
            } else if self.eat("||") {
                Join::Or
            } else {
                return Ok(AndOr { first, rest });
            };
            self.newlines()?;
            rest.push((join, self.pipeline()?));
        }
    }

    fn pipeline(&mut self) -> Certain<Pipeline> {
        let mut negated = false;
        self.blanks();
        if self.reserved() == Some("!") {
            self.at += 1;
            negated = true;
            self.blanks();
        }
        let mut commands = vec![self.command()?];
        loop {
            self.blanks();
            if self.peek() != Some(b'|') || self.starts("||") {
                return Ok(Pipeline { negated, commands });
            }
            if self.starts("|&") {
                return Err(Uncertain::new("'|&'"));
            }
            self.at += 1;
            self.newlines()?;
            commands.push(self.command()?);
        }
    }

    pub(super) fn command(&mut self) -> Certain<Command> {
        self.enter()?;
        self.blanks();
        let word = self.reserved();
        let kind = match word {
            Some("if") => self.if_clause()?,
            Some("case") => self.case_clause()?,
            Some("for") => self.for_clause()?,
            Some(word @ ("while" | "until")) => {
                self.at += word.len();
                let condition = self.body()?;
                self.expect("do")?;
                let body = self.body()?;
                self.expect("done")?;
                Kind::Loop { until: word == "until", condition, body }
            }
            Some("{") => {
                self.at += 1;
                let body = self.body()?;
                self.expect("}")?;
                Kind::Group(body)
            }
            Some("[[") => {
                self.at += 2;
                let condition = self.condition()?;
                Kind::Condition(condition)
            }
            Some("function") => {
                self.at += "function".len();
                self.blanks();
                let name = self.name().ok_or_else(|| Uncertain::new("a function's name"))?;
                self.blanks();
                if self.eat("(") {
                    self.blanks();
                    if !self.eat(")") {
                        return Err(Uncertain::new("a syntax error"));
                    }
                }
                self.function(name)?
            }
            Some(_) => return Err(Uncertain::new("a syntax error")),
            None if self.starts("((") => {
                self.at += 2;
                Kind::Arithmetic(self.arithmetic()?.ok_or_else(|| Uncertain::new("'(('"))?)
            }
            None if self.eat("(") => {
                let body = self.body()?;
                self.newlines()?;
                if !self.eat(")") {
                    return Err(Uncertain::new("a syntax error"));
                }
                Kind::Subshell(body)
            }
            None => return self.simple(),
        };
        let mut redirects = Vec::new();
        if !matches!(kind, Kind::Function { .. }) {
            loop {
                self.blanks();
                match self.redirect()? {
                    Some(redirect) => redirects.push(redirect),
                    None => break,
                }
            }
        }
        // A compound command ends here: a word that follows is a syntax error.
        if !matches!(self.peek(), None | Some(b'\n' | b';' | b'&' | b'|' | b')')) && !self.closes() {
            return Err(Uncertain::new("a syntax error"));
        }
        self.leave();
        Ok(Command { kind, redirects })
    }

    /// Whether a word stands here that ends a list.
    fn closes(&self) -> bool {
        matches!(self.reserved(), Some("then" | "elif" | "else" | "fi" | "do" | "done" | "esac" | "}"))
    }

    /// A name here, if one stands here.
    pub(super) fn name(&mut self) -> Option<String> {
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|c| !(c.is_ascii_alphanumeric() || *c == b'_')).unwrap_or(rest.len());
        if end == 0 || rest[0].is_ascii_digit() {
            return None;
        }
        self.at += end;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }
}

/// Whether a word is part of the grammar.
pub(super) fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// Ends a word unless quoted.
pub(super) fn is_meta(c: u8) -> bool {
    matches!(c, b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'(' | b')' | b'<' | b'>')
}

impl Word {
    /// The word when nothing in it is quoted or expands.
    pub(super) fn bare(&self) -> Option<&str> {
        match &self.0[..] {
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The word when nothing in it expands; quotes are off.
    pub(super) fn constant(&self) -> Option<String> {
        fn add(parts: &[Part], out: &mut String) -> Option<()> {
            for part in parts {
                match part {
                    Part::Literal(text) | Part::Quoted(text) => out.push_str(text),
                    Part::Double(parts) => add(parts, out)?,
                    _ => return None,
                }
            }
            Some(())
        }
        let mut out = String::new();
        add(&self.0, &mut out)?;
        Some(out)
    }
}
