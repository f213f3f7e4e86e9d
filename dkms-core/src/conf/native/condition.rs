//! `[[ … ]]`: its syntax.

use super::ast::Condition;
use super::parse::Parser;
use super::{Certain, Uncertain};

impl Parser<'_> {
    /// What follows `[[`, with its `]]`.
    pub(super) fn condition(&mut self) -> Certain<Condition> {
        let condition = self.any()?;
        self.newlines()?;
        if self.reserved() == Some("]]") {
            self.at += 2;
            Ok(condition)
        } else {
            Err(Uncertain::new("a syntax error"))
        }
    }

    fn any(&mut self) -> Certain<Condition> {
        let mut left = self.all()?;
        loop {
            self.newlines()?;
            if !self.eat("||") {
                return Ok(left);
            }
            left = Condition::Or(Box::new(left), Box::new(self.all()?));
        }
    }

    fn all(&mut self) -> Certain<Condition> {
        let mut left = self.not()?;
        loop {
            self.newlines()?;
            if !self.eat("&&") {
                return Ok(left);
            }
            left = Condition::And(Box::new(left), Box::new(self.not()?));
        }
    }

    fn not(&mut self) -> Certain<Condition> {
        self.newlines()?;
        self.enter()?;
        let condition = if self.reserved() == Some("!") {
            self.at += 1;
            Condition::Not(Box::new(self.not()?))
        } else if self.eat("(") {
            let inner = self.any()?;
            self.newlines()?;
            if !self.eat(")") {
                return Err(Uncertain::new("a syntax error"));
            }
            inner
        } else {
            self.primary()?
        };
        self.leave();
        Ok(condition)
    }

    fn primary(&mut self) -> Certain<Condition> {
        if self.reserved() == Some("]]") {
            return Err(Uncertain::new("a syntax error"));
        }
        let left = self.word()?;
        if left.0.is_empty() {
            return Err(Uncertain::new("a syntax error"));
        }
        self.blanks();
        let ends = self.reserved() == Some("]]") || matches!(self.peek(), None | Some(b'\n' | b'&' | b'|' | b')'));
        if ends {
            return Ok(Condition::Unary("-n".to_owned(), left));
        }
        if let Some(op) = left.bare()
            && op.len() == 2
            && op.starts_with('-')
        {
            let op = op.to_owned();
            let operand = self.word()?;
            if operand.0.is_empty() || matches!(operand.bare(), Some("=" | "==" | "!=" | "=~")) {
                return Err(Uncertain::new("an operator where an operand may be"));
            }
            return Ok(Condition::Unary(op, operand));
        }
        for op in ["<", ">"] {
            if self.eat(op) {
                self.blanks();
                return Ok(Condition::Binary(left, op.to_owned(), self.some_word()?));
            }
        }
        if self.eat("=~") {
            if !matches!(self.peek(), Some(b' ' | b'\t')) {
                return Err(Uncertain::new("a syntax error"));
            }
            self.blanks();
            let right = self.regex()?;
            return if right.0.is_empty() {
                Err(Uncertain::new("a syntax error"))
            } else {
                Ok(Condition::Binary(left, "=~".to_owned(), right))
            };
        }
        let op = self.word()?;
        let op = op.bare().ok_or_else(|| Uncertain::new("a syntax error"))?.to_owned();
        self.blanks();
        let right = match op.as_str() {
            "=" | "==" | "!=" | "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge" => self.some_word()?,
            _ => return Err(Uncertain::new("a rare test")),
        };
        if right.0.is_empty() {
            return Err(Uncertain::new("a syntax error"));
        }
        Ok(Condition::Binary(left, op, right))
    }
}
