//! Commands: from text to the syntax tree, by recursive descent, as bash's own grammar goes.
//!
//! What is not certain to mean the same to bash is refused, and refusing costs nothing but bash's time.

use std::cell::RefCell;
use std::rc::Rc;

use super::ast::{
    AndOr, Arg, Arm, Assign, AssignValue, Command, Join, Kind, List, Part, Pipeline, Redirect, RedirectKind, Word,
};
use super::{Certain, Uncertain};

/// How deep commands and expansions may stand in one another.
const MAX_DEPTH: usize = 48;

const RESERVED: &[&str] = &[
    "if", "then", "elif", "else", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "function",
    "select", "time", "coproc", "{", "}", "!", "[[", "]]",
];

/// A here-document whose body has not been reached.
struct Pending {
    delimiter: String,
    quoted: bool,
    tabs: bool,
    body: Rc<RefCell<Word>>,
}

pub(super) struct Parser<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
    depth: usize,
    pending: Vec<Pending>,
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

    fn expect(&mut self, word: &'static str) -> Certain<()> {
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
    fn body(&mut self) -> Certain<List> {
        let list = self.list()?;
        if list.is_empty() { Err(Uncertain::new("an empty body")) } else { Ok(list) }
    }

    fn and_or(&mut self) -> Certain<AndOr> {
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

    fn command(&mut self) -> Certain<Command> {
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

    fn if_clause(&mut self) -> Certain<Kind> {
        self.at += 2;
        let mut branches = Vec::new();
        loop {
            let condition = self.body()?;
            self.expect("then")?;
            branches.push((condition, self.body()?));
            self.newlines()?;
            match self.reserved() {
                Some("elif") => self.at += 4,
                Some("else") => {
                    self.at += 4;
                    let otherwise = self.body()?;
                    self.expect("fi")?;
                    return Ok(Kind::If { branches, otherwise: Some(otherwise) });
                }
                Some("fi") => {
                    self.at += 2;
                    return Ok(Kind::If { branches, otherwise: None });
                }
                _ => return Err(Uncertain::new("a syntax error")),
            }
        }
    }

    fn case_clause(&mut self) -> Certain<Kind> {
        self.at += 4;
        self.blanks();
        let subject = self.word()?;
        self.expect("in")?;
        let mut arms = Vec::new();
        loop {
            self.newlines()?;
            if self.reserved() == Some("esac") {
                self.at += 4;
                return Ok(Kind::Case { subject, arms });
            }
            self.eat("(");
            let mut patterns = Vec::new();
            loop {
                self.blanks();
                patterns.push(self.word()?);
                self.blanks();
                if !self.eat("|") {
                    break;
                }
            }
            if !self.eat(")") {
                return Err(Uncertain::new("a syntax error"));
            }
            let body = self.list()?;
            arms.push(Arm { patterns, body });
            self.newlines()?;
            if self.starts(";;&") || self.starts(";&") {
                return Err(Uncertain::new("a case arm that falls through"));
            }
            if !self.eat(";;") && self.reserved() != Some("esac") {
                return Err(Uncertain::new("a syntax error"));
            }
        }
    }

    fn for_clause(&mut self) -> Certain<Kind> {
        self.at += 3;
        self.blanks();
        let name = self.name().ok_or_else(|| Uncertain::new("'for ((' or a strange name"))?;
        self.newlines()?;
        let words = if self.reserved() == Some("in") {
            self.at += 2;
            let mut words = Vec::new();
            loop {
                self.blanks();
                match self.peek() {
                    Some(b';') => {
                        self.at += 1;
                        break;
                    }
                    Some(b'\n') => break,
                    None => return Err(Uncertain::new("a syntax error")),
                    _ => words.push(self.word()?),
                }
            }
            Some(words)
        } else {
            self.eat(";");
            None
        };
        self.expect("do")?;
        let body = self.body()?;
        self.expect("done")?;
        Ok(Kind::For { name, words, body })
    }

    fn function(&mut self, name: String) -> Certain<Kind> {
        self.newlines()?;
        let compound = matches!(self.reserved(), Some("{")) || self.peek() == Some(b'(') && !self.starts("((");
        if !compound {
            return Err(Uncertain::new("a function's body that is not in braces"));
        }
        Ok(Kind::Function { name, body: Rc::new(self.command()?) })
    }

    fn simple(&mut self) -> Certain<Command> {
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

    /// `name=…`, `name[i]+=…`, `name=( … )`, when that is what stands here.
    fn assign(&mut self) -> Certain<Option<Assign>> {
        let start = self.at;
        let Some(name) = self.name() else { return Ok(None) };
        let mut index = None;
        if self.peek() == Some(b'[') {
            self.at += 1;
            match self.subscript() {
                Ok(word) => index = Some(word),
                Err(why) if why.is_syntax() => {
                    self.at = start;
                    return Ok(None);
                }
                Err(why) => return Err(why),
            }
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
                if let Ok(index) = self.subscript()
                    && self.eat("=")
                {
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

    fn redirect(&mut self) -> Certain<Option<Redirect>> {
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
        let word = self.word()?;
        if word.0.is_empty() { Err(Uncertain::new("a syntax error")) } else { Ok(word) }
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
