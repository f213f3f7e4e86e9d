//! Expansion: from a word to texts, fields and patterns.

use super::arith;
use super::ast::{Index, Name, Op, Param, Part, Word};
use super::interp::Interp;
use super::operate::{ascii, indirect, map, matchable, range, replace};
use super::pattern::{Char, Pattern};
use super::split::has_braces;
use super::vars::Var;
use super::{Certain, Uncertain};

/// A piece of an expanded word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text of the file itself: patterns are active, splitting is not.
    Bare(String),
    /// Text that means itself.
    Quoted(String),
    /// The result of an unquoted expansion: is split, and patterns are active.
    Expanded(String),
    /// One word ends, the next begins: between the elements of a list. Unquoted ones vanish when empty.
    Break,
}

/// What a parameter is: nothing, a text, or a list.
pub(super) enum Value {
    Unset,
    Text(String),
    /// Elements, and whether `*` joins them where there are quotes.
    List(Vec<String>, bool),
}

impl Interp<'_> {
    /// A word as one text, as on the right of `=`: no splitting.
    pub(super) fn text(&mut self, word: &Word) -> Certain<String> {
        let pieces = self.pieces(&word.0, false, true)?;
        self.joined(pieces)
    }

    fn joined(&mut self, pieces: Vec<Piece>) -> Certain<String> {
        let mut out = String::new();
        for piece in pieces {
            match piece {
                Piece::Bare(t) | Piece::Quoted(t) | Piece::Expanded(t) => out.push_str(&t),
                Piece::Break => out.push(' '),
            }
        }
        self.spend(out.len() / 64)?;
        Ok(out)
    }

    /// The word that `case` judges.
    pub(super) fn subject(&mut self, word: &Word) -> Certain<String> {
        let pieces = self.pieces(&word.0, false, true)?;
        // Bash keeps a mark for some empty quoted expansions beside other text, and here it shows.
        if pieces.len() > 1 && pieces.iter().any(|p| matches!(p, Piece::Quoted(t) if t.is_empty())) {
            return Err(Uncertain::new("empty quotes beside text after 'case'"));
        }
        self.joined(pieces)
    }

    /// A word as a pattern.
    pub(super) fn pattern(&mut self, word: &Word) -> Certain<Pattern> {
        let mut chars: Vec<Char> = Vec::new();
        for piece in self.pieces(&word.0, false, true)? {
            match piece {
                Piece::Bare(t) | Piece::Expanded(t) => chars.extend(t.chars().map(|c| (c, false))),
                Piece::Quoted(t) => chars.extend(t.chars().map(|c| (c, true))),
                Piece::Break => chars.push((' ', false)),
            }
        }
        if chars.len() > 500 || chars.iter().any(|c| !c.0.is_ascii()) {
            return Err(Uncertain::new("a pattern that is long or not ASCII"));
        }
        Pattern::new(&chars)
    }

    /// A word as the extended regular expression of `=~`: quoted text means itself.
    pub(super) fn regex(&mut self, word: &Word) -> Certain<String> {
        let mut out = String::new();
        for piece in self.pieces(&word.0, false, true)? {
            match piece {
                Piece::Bare(t) | Piece::Expanded(t) => out.push_str(&t),
                Piece::Quoted(t) => {
                    if ends_in_bracket(&out) {
                        return Err(Uncertain::new("quotes in a bracket in =~"));
                    }
                    for c in t.chars() {
                        if "\\.[]{}()*+?^$|".contains(c) {
                            out.push('\\');
                        }
                        out.push(c);
                    }
                }
                Piece::Break => out.push(' '),
            }
        }
        Ok(out)
    }

    /// Words as a command's arguments: split and matched against files.
    pub(super) fn fields(&mut self, word: &Word) -> Certain<Vec<String>> {
        if has_braces(&word.0) {
            return Err(Uncertain::new("a brace expansion"));
        }
        let pieces = self.pieces(&word.0, false, false)?;
        let fields = self.split(pieces);
        self.spend(fields.len())?;
        fields.into_iter().map(|field| self.glob(field)).collect()
    }

    /// The pieces of a word. `single`: it becomes one text, so that lists are joined.
    fn pieces(&mut self, parts: &[Part], quoted: bool, single: bool) -> Certain<Vec<Piece>> {
        self.deeper()?;
        let mut out = Vec::new();
        for part in parts {
            self.spend(1)?;
            match part {
                Part::Literal(text) if quoted => out.push(Piece::Quoted(text.clone())),
                Part::Literal(text) => out.push(Piece::Bare(text.clone())),
                Part::Quoted(text) => out.push(Piece::Quoted(text.clone())),
                Part::Double(parts) => {
                    let inner = self.pieces(parts, true, single)?;
                    let list = parts.iter().any(is_list);
                    // Bash splits some operands that stand beside a list, though they are quoted.
                    let default = |p: &Part| matches!(p, Part::Param(p) if matches!(p.op, Op::Default { .. }));
                    if list && parts.len() > 1 && parts.iter().any(default) {
                        return Err(Uncertain::new("a default beside a list in quotes"));
                    }
                    let nothing = inner.iter().all(|p| matches!(p, Piece::Quoted(t) if t.is_empty()));
                    if list && nothing && parts.len() > 1 {
                        return Err(Uncertain::new("an empty list beside something else in quotes"));
                    }
                    if list && inner.is_empty() {
                        // No field at all.
                    } else if inner.is_empty() {
                        out.push(Piece::Quoted(String::new()));
                    } else {
                        out.extend(inner);
                    }
                }
                Part::Command(list) => {
                    let text = self.substitute(list)?;
                    out.push(if quoted { Piece::Quoted(text) } else { Piece::Expanded(text) });
                }
                Part::Arithmetic(word) => {
                    let text = self.number(word)?.to_string();
                    out.push(if quoted { Piece::Quoted(text) } else { Piece::Expanded(text) });
                }
                Part::Param(param) => self.param(param, quoted, single, &mut out)?,
            }
        }
        self.shallower();
        Ok(out)
    }

    /// An arithmetic expression's value.
    pub(super) fn number(&mut self, word: &Word) -> Certain<i64> {
        let text = self.text(word)?;
        arith::evaluate(self, &text, 0)
    }

    fn param(&mut self, param: &Param, quoted: bool, single: bool, out: &mut Vec<Piece>) -> Certain<()> {
        let mut target = None;
        if param.indirect {
            let Value::Text(name) = self.value(&param.name, param.index.as_ref())? else {
                return Err(Uncertain::new("an indirection to nothing"));
            };
            target = Some(indirect(&name)?);
        }
        let (name, index) = match &target {
            Some((name, index)) => (name, index.as_ref()),
            None => (&param.name, param.index.as_ref()),
        };
        let value = match &param.op {
            Op::Length => Value::Text(self.length(name, index)?.to_string()),
            Op::Keys => {
                let Name::Variable(name) = name else { return Err(Uncertain::new("keys of a parameter")) };
                let keys = self.vars.get(name)?.map(|v| v.elements().iter().map(|(i, _)| i.to_string()).collect());
                Value::List(keys.unwrap_or_default(), matches!(index, Some(Index::Joined)))
            }
            Op::None => self.value(name, index)?,
            Op::Default { empty_too, what, word } => {
                let value = self.value(name, index)?;
                let missing = match &value {
                    Value::Unset => true,
                    Value::Text(text) => *empty_too && text.is_empty(),
                    Value::List(list, _) if list.len() > 1 && *empty_too => {
                        return Err(Uncertain::new("a default for a list"));
                    }
                    Value::List(list, _) => list.is_empty() || *empty_too && list.iter().all(String::is_empty),
                };
                match (what, missing) {
                    ('+', true) => Value::Text(String::new()),
                    ('+', false) | ('-', true) => {
                        let pieces = self.pieces(&word.0, quoted, single)?;
                        // Bash keeps a mark for empty quotes beside other text, which shows in some places.
                        let empty_quotes = |p: &Piece| matches!(p, Piece::Quoted(t) if t.is_empty());
                        if !quoted && pieces.len() > 1 && pieces.iter().any(empty_quotes) {
                            return Err(Uncertain::new("empty quotes in an operand"));
                        }
                        if quoted && pieces.is_empty() {
                            out.push(Piece::Quoted(String::new()));
                        }
                        // Text of an operand is split like the rest of an unquoted expansion.
                        out.extend(pieces.into_iter().map(|p| match p {
                            Piece::Bare(t) => Piece::Expanded(t),
                            p => p,
                        }));
                        return Ok(());
                    }
                    ('=', true) => {
                        let text = self.text(word)?;
                        match (name, index) {
                            (Name::Variable(name), None) => self.vars.set(name, text.clone())?,
                            _ => return Err(Uncertain::new("a default for a strange parameter")),
                        }
                        Value::Text(text)
                    }
                    _ => value,
                }
            }
            Op::Trim { end, longest, pattern } => {
                let value = self.value(name, index)?;
                let pattern = self.pattern(pattern)?;
                map(value, |text| {
                    let chars = matchable(&text)?;
                    Ok(if *end {
                        let n = pattern.suffix(&chars, *longest)?.unwrap_or(0);
                        chars[..chars.len() - n].iter().collect()
                    } else {
                        let n = pattern.prefix(&chars, *longest)?.unwrap_or(0);
                        chars[n..].iter().collect()
                    })
                })
                .and_then(|value| self.spend(pattern.steps() / 8).map(|()| value))?
            }
            Op::Replace { kind, pattern, with } => {
                let value = self.value(name, index)?;
                let pattern_empty = self.text(pattern)?.is_empty();
                let pattern = self.pattern(pattern)?;
                let with = self.text(with)?;
                if with.contains(['&', '\\']) || pattern_empty {
                    return Err(Uncertain::new("a rare replacement"));
                }
                let value = map(value, |text| replace(*kind, &pattern, &matchable(&text)?, &with))?;
                self.spend(pattern.steps() / 8)?;
                value
            }
            Op::Slice { offset, length } => {
                let value = self.value(name, index)?;
                let offset = self.number(offset)?;
                let length = length.as_ref().map(|word| self.number(word)).transpose()?;
                if matches!(name, Name::All | Name::Joined) {
                    return Err(Uncertain::new("a slice of the arguments"));
                }
                match value {
                    Value::List(..) => self.slice_list(name, index, offset, length)?,
                    value => map(value, |text| {
                        ascii(&text)?;
                        let (from, to) = range(text.len(), offset, length)?;
                        Ok(text[from..to].to_owned())
                    })?,
                }
            }
            Op::Case { upper, all } => {
                let value = self.value(name, index)?;
                map(value, |text| {
                    ascii(&text)?;
                    let n = if *all { text.len() } else { text.len().min(1) };
                    let (head, tail) = text.split_at(n);
                    let head = if *upper { head.to_ascii_uppercase() } else { head.to_ascii_lowercase() };
                    Ok(head + tail)
                })?
            }
        };
        self.put(value, quoted, single, out)
    }

    fn put(&mut self, value: Value, quoted: bool, single: bool, out: &mut Vec<Piece>) -> Certain<()> {
        let piece = |text| if quoted { Piece::Quoted(text) } else { Piece::Expanded(text) };
        match value {
            Value::Unset => out.push(piece(String::new())),
            Value::Text(text) => {
                self.spend(text.len() / 64)?;
                out.push(piece(text));
            }
            Value::List(list, joined) if joined && (quoted || single) => {
                let separator = self.vars.ifs().chars().next().map(String::from).unwrap_or_default();
                out.push(piece(list.join(&separator)));
            }
            Value::List(list, _) => {
                self.spend(list.len())?;
                if !single && list.is_empty() && quoted {
                    return Ok(());
                }
                if list.is_empty() {
                    out.push(piece(String::new()));
                }
                for (i, text) in list.into_iter().enumerate() {
                    if i > 0 {
                        out.push(Piece::Break);
                    }
                    out.push(piece(text));
                }
            }
        }
        Ok(())
    }

    fn value(&mut self, name: &Name, index: Option<&Index>) -> Certain<Value> {
        let text = |t: Option<&str>| t.map_or(Value::Unset, |t| Value::Text(t.to_owned()));
        let name = match name {
            Name::Variable(name) => name,
            Name::Positional(n) => return Ok(text(self.arguments.get(n - 1).map(String::as_str))),
            Name::All => return Ok(Value::List(self.arguments.clone(), false)),
            Name::Joined => return Ok(Value::List(self.arguments.clone(), true)),
            Name::Count => return Ok(Value::Text(self.arguments.len().to_string())),
            Name::Status => return Ok(Value::Text(self.status.to_string())),
        };
        if name == "IFS" {
            return Err(Uncertain::new("the value of IFS"));
        }
        match index {
            None => Ok(text(self.vars.get(name)?.and_then(|v| v.element(0)))),
            Some(Index::All | Index::Joined) => {
                let list = self.vars.get(name)?.map(|v| v.elements().iter().map(|(_, t)| (*t).to_owned()).collect());
                Ok(Value::List(list.unwrap_or_default(), matches!(index, Some(Index::Joined))))
            }
            Some(Index::At(word)) => {
                let mut at = self.number(word)?;
                let var = self.vars.get(name)?;
                if at < 0 {
                    if matches!(var, Some(Var::Scalar(_))) {
                        return Err(Uncertain::new("a subscript before the start"));
                    }
                    let end = var.and_then(|v| v.elements().last().map(|(i, _)| i + 1)).unwrap_or(0);
                    at += end;
                    if at < 0 {
                        return Err(Uncertain::new("a subscript before the start"));
                    }
                }
                Ok(text(var.and_then(|v| v.element(at))))
            }
        }
    }

    fn length(&mut self, name: &Name, index: Option<&Index>) -> Certain<usize> {
        match self.value(name, index)? {
            Value::Unset => Ok(0),
            Value::Text(text) => {
                ascii(&text)?;
                Ok(text.len())
            }
            Value::List(list, _) => Ok(list.len()),
        }
    }
}

fn is_list(part: &Part) -> bool {
    matches!(part, Part::Param(p) if matches!(p.name, Name::All)
        || matches!(p.index, Some(Index::All)) && !matches!(p.op, Op::Length))
}

/// Whether an expression ends inside a bracket expression.
fn ends_in_bracket(pattern: &str) -> bool {
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '[' => {
                chars.next_if_eq(&'^');
                chars.next_if_eq(&']');
                loop {
                    match chars.next() {
                        None => return true,
                        Some(']') => break,
                        Some('[') if chars.next_if(|c| matches!(c, ':' | '.' | '=')).is_some() => {
                            // To the end of the class.
                            if !chars.by_ref().any(|c| c == ']') {
                                return true;
                            }
                        }
                        Some(_) => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}
