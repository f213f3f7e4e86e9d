//! `if`, `case`, `for` and functions: their syntax.

use std::rc::Rc;

use super::ast::{Arm, Kind};
use super::parse::Parser;
use super::{Certain, Uncertain};

impl Parser<'_> {
    pub(super) fn if_clause(&mut self) -> Certain<Kind> {
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

    pub(super) fn case_clause(&mut self) -> Certain<Kind> {
        self.at += 4;
        self.blanks();
        let subject = self.some_word()?;
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
                patterns.push(self.some_word()?);
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

    pub(super) fn for_clause(&mut self) -> Certain<Kind> {
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
                    _ => words.push(self.some_word()?),
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

    pub(super) fn function(&mut self, name: String) -> Certain<Kind> {
        self.newlines()?;
        let compound = matches!(self.reserved(), Some("{")) || self.peek() == Some(b'(') && !self.starts("((");
        if !compound {
            return Err(Uncertain::new("a function's body that is not in braces"));
        }
        Ok(Kind::Function { name, body: Rc::new(self.command()?) })
    }
}
