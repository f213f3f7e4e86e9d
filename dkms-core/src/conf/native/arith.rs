//! Arithmetic: 64 bits, C's operators, variables by name.

use super::interp::Interp;
use super::vars::Var;
use super::{Certain, Uncertain};

/// How deep an expression may go, in itself and through variables that hold expressions.
const MAX_DEPTH: usize = 40;

/// Evaluates an expression whose expansions are done.
pub(super) fn evaluate(interp: &mut Interp<'_>, text: &str, depth: usize) -> Certain<i64> {
    if depth > MAX_DEPTH {
        return Err(bad());
    }
    let mut parser = Arith { interp, text: text.as_bytes(), at: 0, depth, live: true };
    parser.blanks();
    if parser.at == parser.text.len() {
        return Ok(0);
    }
    let value = parser.comma()?;
    if parser.at < parser.text.len() {
        return Err(bad());
    }
    Ok(value)
}

fn bad() -> Uncertain {
    Uncertain::new("an arithmetic error")
}

struct Arith<'a, 'i, 'w> {
    interp: &'i mut Interp<'w>,
    text: &'a [u8],
    at: usize,
    depth: usize,
    /// Off in the branch that is not taken: parsed, without effects.
    live: bool,
}

/// A variable or an element of one.
struct Place {
    name: String,
    index: Option<i64>,
}

const BINARY: &[&[&str]] = &[
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Arith<'_, '_, '_> {
    fn blanks(&mut self) {
        while self.text.get(self.at).is_some_and(|c| matches!(c, b' ' | b'\t' | b'\n')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, what: &str) -> bool {
        let there = self.text[self.at..].starts_with(what.as_bytes());
        if there {
            self.at += what.len();
            self.blanks();
        }
        there
    }

    fn comma(&mut self) -> Certain<i64> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(bad());
        }
        let mut value = self.assignment()?;
        while self.eat(",") {
            value = self.assignment()?;
        }
        self.depth -= 1;
        Ok(value)
    }

    fn assignment(&mut self) -> Certain<i64> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(bad());
        }
        let start = self.at;
        if let Some(place) = self.place()? {
            for op in ["=", "+=", "-=", "*=", "/=", "%=", "<<=", ">>=", "&=", "^=", "|="] {
                if !self.text[self.at..].starts_with(op.as_bytes()) || self.text[self.at..].starts_with(b"==") {
                    continue;
                }
                self.at += op.len();
                self.blanks();
                // The old value is read before the right side can change it.
                let value = match op.strip_suffix('=') {
                    Some("") | None => self.assignment()?,
                    Some(op) => {
                        let left = self.read(&place)?;
                        let right = self.assignment()?;
                        self.binary(op, left, right)?
                    }
                };
                self.write(&place, value)?;
                self.depth -= 1;
                return Ok(value);
            }
        }
        self.at = start;
        let value = self.ternary()?;
        self.depth -= 1;
        Ok(value)
    }

    fn ternary(&mut self) -> Certain<i64> {
        let condition = self.level(0)?;
        if !self.eat("?") {
            return Ok(condition);
        }
        let live = self.live;
        self.live = live && condition != 0;
        let yes = self.comma()?;
        if !self.eat(":") {
            return Err(bad());
        }
        self.live = live && condition == 0;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(bad());
        }
        let no = self.ternary()?;
        self.depth -= 1;
        self.live = live;
        Ok(if condition != 0 { yes } else { no })
    }

    fn level(&mut self, level: usize) -> Certain<i64> {
        let Some(operators) = BINARY.get(level) else { return self.power() };
        let mut left = self.level(level + 1)?;
        'more: loop {
            for op in *operators {
                if !self.text[self.at..].starts_with(op.as_bytes()) || self.is_longer(op) {
                    continue;
                }
                self.at += op.len();
                self.blanks();
                let live = self.live;
                match *op {
                    "&&" => self.live = live && left != 0,
                    "||" => self.live = live && left == 0,
                    _ => {}
                }
                let right = self.level(level + 1)?;
                self.live = live;
                left = self.binary(op, left, right)?;
                continue 'more;
            }
            return Ok(left);
        }
    }

    /// Whether the operator here is only the beginning of another.
    fn is_longer(&self, op: &str) -> bool {
        let next = self.text.get(self.at + op.len()).copied();
        match op {
            "|" => matches!(next, Some(b'|' | b'=')),
            "&" => matches!(next, Some(b'&' | b'=')),
            "<" | ">" => next == Some(op.as_bytes()[0]),
            "*" => matches!(next, Some(b'*' | b'=')),
            "^" | "+" | "-" | "/" | "%" | "<<" | ">>" => next == Some(b'='),
            _ => false,
        }
    }

    fn power(&mut self) -> Certain<i64> {
        let base = self.unary()?;
        if !self.eat("**") {
            return Ok(base);
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(bad());
        }
        let exponent = self.power()?;
        self.depth -= 1;
        if !self.live {
            return Err(bad());
        }
        let exponent = u32::try_from(exponent).map_err(|_| bad())?;
        if exponent > 4096 {
            return Err(bad());
        }
        Ok(base.wrapping_pow(exponent))
    }

    fn unary(&mut self) -> Certain<i64> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(bad());
        }
        let value = if self.text[self.at..].starts_with(b"++") || self.text[self.at..].starts_with(b"--") {
            let step = if self.text[self.at] == b'+' { 1 } else { -1 };
            self.at += 2;
            self.blanks();
            let place = self.place()?.ok_or_else(bad)?;
            let value = self.read(&place)?.wrapping_add(step);
            self.write(&place, value)?;
            value
        } else if self.eat("!") {
            i64::from(self.unary()? == 0)
        } else if self.eat("~") {
            !self.unary()?
        } else if self.eat("-") {
            self.unary()?.wrapping_neg()
        } else if self.eat("+") {
            self.unary()?
        } else {
            self.primary()?
        };
        self.depth -= 1;
        Ok(value)
    }

    fn primary(&mut self) -> Certain<i64> {
        if self.eat("(") {
            let value = self.comma()?;
            return if self.eat(")") { Ok(value) } else { Err(bad()) };
        }
        if let Some(place) = self.place()? {
            let value = self.read(&place)?;
            for (op, step) in [("++", 1), ("--", -1)] {
                if self.eat(op) {
                    self.write(&place, value.wrapping_add(step))?;
                }
            }
            return Ok(value);
        }
        self.number()
    }

    fn number(&mut self) -> Certain<i64> {
        let rest = &self.text[self.at..];
        let end = rest
            .iter()
            .position(|c| !(c.is_ascii_alphanumeric() || matches!(c, b'#' | b'_' | b'@')))
            .unwrap_or(rest.len());
        let word = std::str::from_utf8(&rest[..end]).map_err(|_| bad())?;
        let value = if let Some((base, digits)) = word.split_once('#') {
            let base: u32 = base.parse().map_err(|_| bad())?;
            if !(2..=36).contains(&base) || base == 0 {
                return Err(bad());
            }
            i64::from_str_radix(digits, base)
        } else if let Some(digits) = word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
            i64::from_str_radix(digits, 16)
        } else if word.len() > 1 && word.starts_with('0') {
            i64::from_str_radix(word, 8)
        } else {
            word.parse()
        };
        // What bash makes of an overflow is not for us.
        let value = value.map_err(|_| bad())?;
        self.at += end;
        self.blanks();
        Ok(value)
    }

    fn place(&mut self) -> Certain<Option<Place>> {
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|c| !(c.is_ascii_alphanumeric() || *c == b'_')).unwrap_or(rest.len());
        if end == 0 || rest[0].is_ascii_digit() {
            return Ok(None);
        }
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.at += end;
        let mut index = None;
        if self.text.get(self.at) == Some(&b'[') {
            self.at += 1;
            self.blanks();
            index = Some(self.comma()?);
            if self.text.get(self.at) != Some(&b']') {
                return Err(bad());
            }
            self.at += 1;
        }
        self.blanks();
        Ok(Some(Place { name, index }))
    }

    fn read(&mut self, place: &Place) -> Certain<i64> {
        if !self.live {
            return Ok(0);
        }
        let index = place.index.unwrap_or(0);
        if index < 0 {
            return Err(bad());
        }
        let text = self.interp.vars.get(&place.name)?.and_then(|v: &Var| v.element(index)).unwrap_or("").to_owned();
        evaluate(self.interp, &text, self.depth + 1)
    }

    fn write(&mut self, place: &Place, value: i64) -> Certain<()> {
        if !self.live {
            return Ok(());
        }
        match place.index {
            Some(index) => self.interp.vars.set_element(&place.name, index, value.to_string()),
            None => self.interp.vars.set(&place.name, value.to_string()),
        }
    }

    fn binary(&self, op: &str, a: i64, b: i64) -> Certain<i64> {
        if matches!(op, "/" | "%") && b == 0 {
            return if self.live { Err(bad()) } else { Ok(0) };
        }
        if matches!(op, "<<" | ">>") && !(0..64).contains(&b) {
            return Err(bad());
        }
        Ok(match op {
            "+" => a.wrapping_add(b),
            "-" => a.wrapping_sub(b),
            "*" => a.wrapping_mul(b),
            "/" => a.wrapping_div(b),
            "%" => a.wrapping_rem(b),
            "<<" => a.wrapping_shl(u32::try_from(b).unwrap_or(0)),
            ">>" => a.wrapping_shr(u32::try_from(b).unwrap_or(0)),
            "&" => a & b,
            "|" => a | b,
            "^" => a ^ b,
            "==" => i64::from(a == b),
            "!=" => i64::from(a != b),
            "<" => i64::from(a < b),
            ">" => i64::from(a > b),
            "<=" => i64::from(a <= b),
            ">=" => i64::from(a >= b),
            "&&" => i64::from(a != 0 && b != 0),
            "||" => i64::from(a != 0 || b != 0),
            _ => return Err(bad()),
        })
    }
}
