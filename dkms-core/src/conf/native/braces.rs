//! `${…}`: its syntax.

use super::ast::{Index, Name, Op, Param, Replace, Word};
use super::parse::Parser;
use super::word::{Mode, utf8};
use super::{Certain, Uncertain};

impl Parser<'_> {
    /// What follows `${`, with its `}`.
    pub(super) fn braces(&mut self, mode: Mode) -> Certain<Param> {
        let rare = || Uncertain::new("a rare parameter expansion");
        let length = self.peek() == Some(b'#') && !matches!(self.text.get(self.at + 1), Some(b'}'));
        let indirect = self.peek() == Some(b'!');
        if length || indirect {
            self.at += 1;
        }
        let name = match self.peek().ok_or_else(rare)? {
            b'@' => Name::All,
            b'*' => Name::Joined,
            b'#' if !length => Name::Count,
            b'?' if !length => Name::Status,
            c if c.is_ascii_digit() => {
                let rest = &self.text[self.at..];
                let digits = rest.iter().take_while(|c| c.is_ascii_digit()).count();
                let number: usize = utf8(&rest[..digits])?.parse().map_err(|_| rare())?;
                if number == 0 {
                    return Err(rare());
                }
                self.at += digits - 1;
                Name::Positional(number)
            }
            _ => Name::Variable(self.name().ok_or_else(rare)?),
        };
        if !matches!(name, Name::Variable(_)) {
            self.at += 1;
        }
        let mut index = None;
        if matches!(name, Name::Variable(_)) && self.eat("[") {
            index = Some(if self.eat("@]") {
                Index::All
            } else if self.eat("*]") {
                Index::Joined
            } else {
                Index::At(self.subscript()?)
            });
        }
        if length {
            return if self.eat("}") {
                Ok(Param { name, index, indirect: false, op: Op::Length })
            } else {
                Err(rare())
            };
        }
        if indirect {
            let keys = matches!(index, Some(Index::All | Index::Joined));
            if keys && self.eat("}") {
                return Ok(Param { name, index, indirect: false, op: Op::Keys });
            }
            if keys || matches!(self.peek(), Some(b'@' | b'*')) {
                return Err(rare());
            }
        }
        let op = self.operation(mode)?;
        if self.eat("}") { Ok(Param { name, index, indirect, op }) } else { Err(rare()) }
    }

    fn operation(&mut self, mode: Mode) -> Certain<Op> {
        let rare = || Uncertain::new("a rare parameter expansion");
        let mut closes = |p: &Self| p.peek() == Some(b'}');
        let quoted = if mode.is_quoting() { Mode::DoubleOperand } else { Mode::Operand };
        let c = self.peek().ok_or_else(rare)?;
        let next = self.text.get(self.at + 1).copied();
        let colon = c == b':';
        let what = if colon { next.unwrap_or_default() } else { c };
        match what {
            b'}' if !colon => Ok(Op::None),
            b'-' | b'=' | b'+' => {
                self.at += 1 + usize::from(colon);
                let word = Word(self.scan(quoted, &mut closes)?);
                Ok(Op::Default { empty_too: colon, what: char::from(what), word })
            }
            b'?' => Err(rare()),
            _ if colon => {
                self.at += 1;
                let offset = self.slice_number()?;
                let length = if self.eat(":") { Some(self.slice_number()?) } else { None };
                Ok(Op::Slice { offset, length })
            }
            b'#' | b'%' => {
                let longest = next == Some(c);
                self.at += 1 + usize::from(longest);
                let pattern = Word(self.scan(Mode::Operand, &mut closes)?);
                Ok(Op::Trim { end: c == b'%', longest, pattern })
            }
            b'/' => {
                self.at += 1;
                let kind = match self.peek() {
                    Some(b'/') => Replace::All,
                    Some(b'#') => Replace::Start,
                    Some(b'%') => Replace::End,
                    _ => Replace::First,
                };
                if kind != Replace::First {
                    self.at += 1;
                }
                let pattern = Word(self.scan(Mode::Operand, &mut |p| matches!(p.peek(), Some(b'}' | b'/')))?);
                let with = if self.eat("/") { Word(self.scan(Mode::Operand, &mut closes)?) } else { Word::default() };
                Ok(Op::Replace { kind, pattern, with })
            }
            b'^' | b',' => {
                let all = next == Some(c);
                self.at += 1 + usize::from(all);
                if self.peek() == Some(b'}') { Ok(Op::Case { upper: c == b'^', all }) } else { Err(rare()) }
            }
            _ => Err(rare()),
        }
    }

    fn slice_number(&mut self) -> Certain<Word> {
        let mut depth = 0_usize;
        let mut ternary = false;
        let parts = self.scan(Mode::Arithmetic, &mut |p| match p.peek() {
            Some(b'(') => {
                depth += 1;
                false
            }
            Some(b')') => {
                depth = depth.saturating_sub(1);
                false
            }
            Some(b'?') => {
                ternary = true;
                false
            }
            Some(b':') => depth == 0,
            Some(b'}') => true,
            _ => false,
        })?;
        if ternary { Err(Uncertain::new("'?:' in a slice")) } else { Ok(Word(parts)) }
    }
}
