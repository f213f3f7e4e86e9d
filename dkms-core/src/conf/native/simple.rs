//! Simple commands: assignments, words and redirections, and their syntax.

use std::cell::RefCell;
use std::rc::Rc;

use super::ast::{Arg, Assign, AssignValue, Command, Kind, Part, Redirect, RedirectKind, Word};
use super::parse::{Parser, Pending};
use super::word::Mode;
use super::{Certain, Uncertain};

impl Parser<'_> {
    pub(super) fn simple(&mut self) -> Certain<Command> {
        let mut assigns = Vec::new();
        let mut args: Vec<Arg> = Vec::new();
        let mut redirects = Vec::new();
        let mut declares = false;
        loop {
            self.blanks();
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
                continue;
            }
            match self.peek() {
                None | Some(b'\n' | b';' | b'&' | b'|' | b')') => break,
                Some(b'(') => {
                    // Only a function's head has one here.
                    let name = match (&args[..], assigns.is_empty(), redirects.is_empty()) {
                        ([Arg::Word(word)], true, true) => word.bare().map(str::to_owned),
                        _ => None,
                    };
                    self.at += 1;
                    self.blanks();
                    let name = name.filter(|_| self.eat(")")).ok_or_else(|| Uncertain::new("a syntax error"))?;
                    if !name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-.:".contains(&c)) {
                        return Err(Uncertain::new("a strange function's name"));
                    }
                    let kind = self.function(name)?;
                    self.leave();
                    return Ok(Command { kind, redirects });
                }
                _ => {}
            }
            if (args.is_empty() || declares)
                && let Some(assign) = self.assign()?
            {
                if args.is_empty() {
                    assigns.push(assign);
                } else {
                    args.push(Arg::Assign(assign));
                }
                continue;
            }
            let word = self.word()?;
            if word.0.is_empty() {
                return Err(Uncertain::new("a syntax error"));
            }
            if args.is_empty() {
                declares = matches!(word.bare(), Some("local" | "declare" | "typeset" | "export" | "readonly"));
            }
            args.push(Arg::Word(word));
        }
        if assigns.is_empty() && args.is_empty() && redirects.is_empty() {
            return Err(Uncertain::new("a syntax error"));
        }
        self.leave();
        Ok(Command { kind: Kind::Simple { assigns, args }, redirects })
    }

    /// `name=…`, `name[i]+=…`, `name=( … )`, when that is what stands here.
    fn assign(&mut self) -> Certain<Option<Assign>> {
        let start = self.at;
        let Some(name) = self.name() else { return Ok(None) };
        let mut index = None;
        if self.peek() == Some(b'[') {
            self.at += 1;
            index = Some(self.place()?);
        }
        let append = self.eat("+=");
        if !append && !self.eat("=") {
            self.at = start;
            return Ok(None);
        }
        let value = if self.peek() == Some(b'(') && index.is_none() {
            self.at += 1;
            AssignValue::Array(self.elements()?)
        } else if self.peek() == Some(b'(') {
            return Err(Uncertain::new("a list for one element"));
        } else {
            AssignValue::Text(self.word_or_empty()?)
        };
        Ok(Some(Assign { name, index, append, value }))
    }

    /// What follows `[` where an assignment may be meant, up to its `]`: a subscript, or one in double quotes.
    fn place(&mut self) -> Certain<Word> {
        if !self.eat("\"") {
            return self.subscript();
        }
        let parts = self.scan(Mode::Double, &mut |p| p.peek() == Some(b'"'))?;
        if self.eat("\"]") { Ok(Word(vec![Part::Double(parts)])) } else { Err(Uncertain::new("a strange subscript")) }
    }

    fn elements(&mut self) -> Certain<Vec<(Option<Word>, Word)>> {
        let mut elements = Vec::new();
        loop {
            self.newlines()?;
            match self.peek() {
                Some(b')') => {
                    self.at += 1;
                    return Ok(elements);
                }
                None => return Err(Uncertain::new("a syntax error")),
                _ => {}
            }
            let start = self.at;
            if self.eat("[") {
                let index = self.place()?;
                if self.eat("=") {
                    elements.push((Some(index), self.word_or_empty()?));
                    continue;
                }
                self.at = start;
            }
            let word = self.word()?;
            if word.0.is_empty() {
                return Err(Uncertain::new("a syntax error"));
            }
            elements.push((None, word));
        }
    }

    pub(super) fn redirect(&mut self) -> Certain<Option<Redirect>> {
        let rest = &self.text[self.at..];
        let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
        let both = rest.starts_with(b"&>");
        if !both && !matches!(rest.get(digits), Some(b'<' | b'>')) {
            return Ok(None);
        }
        if digits > 2 {
            return Err(Uncertain::new("a large descriptor"));
        }
        let fd = std::str::from_utf8(&rest[..digits]).ok().and_then(|d| d.parse().ok());
        self.at += digits;
        if both {
            self.at += 2;
            self.eat(">");
            return Ok(Some(Redirect { fd: None, kind: RedirectKind::OutAndErr(self.target()?) }));
        }
        let kind = if self.eat("<<<") {
            RedirectKind::HereString(self.target()?)
        } else if self.eat("<<") {
            let tabs = self.eat("-");
            self.blanks();
            let word = self.word()?;
            let quoted = word.0.iter().any(|p| !matches!(p, Part::Literal(_)));
            let delimiter = word.constant().ok_or_else(|| Uncertain::new("a here-document's strange end"))?;
            let body = Rc::new(RefCell::new(Word::default()));
            self.pending.push(Pending { delimiter, quoted, tabs, body: Rc::clone(&body) });
            RedirectKind::HereDoc(body)
        } else if self.starts("<(") || self.starts(">(") || self.starts("<>") || self.starts("<&") || self.starts(">|")
        {
            return Err(Uncertain::new("a rare redirection"));
        } else if self.eat(">&") {
            let word = self.target()?;
            let to = word.bare().and_then(|w| w.parse().ok()).ok_or_else(|| Uncertain::new("a rare redirection"))?;
            RedirectKind::Duplicate(to)
        } else if self.eat(">>") || self.eat(">") {
            RedirectKind::Out(self.target()?)
        } else {
            self.at += 1;
            RedirectKind::In(self.target()?)
        };
        Ok(Some(Redirect { fd, kind }))
    }

    fn target(&mut self) -> Certain<Word> {
        self.blanks();
        if matches!(self.peek(), Some(b'(')) {
            return Err(Uncertain::new("a process substitution"));
        }
        self.some_word()
    }
}
