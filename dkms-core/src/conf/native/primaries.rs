//! `test`, `[` and the primaries of `[[`.

use super::interp::Interp;
use super::{Certain, Uncertain};
use crate::conf::ere;

/// `-eq` and its like.
pub(super) fn compare(op: &str, a: i64, b: i64) -> Certain<bool> {
    Ok(match op {
        "-eq" => a == b,
        "-ne" => a != b,
        "-lt" => a < b,
        "-le" => a <= b,
        "-gt" => a > b,
        "-ge" => a >= b,
        _ => return Err(Uncertain::new("a rare test")),
    })
}

fn is_unary(op: &str) -> bool {
    matches!(op, "-z" | "-n" | "-e" | "-a" | "-f" | "-d" | "-r" | "-x" | "-s" | "-v")
}

fn is_binary(op: &str) -> bool {
    matches!(op, "=" | "==" | "!=" | "<" | ">" | "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge")
}

impl Interp<'_> {
    pub(super) fn unary_test(&mut self, op: &str, operand: &str) -> Certain<bool> {
        match op {
            "-z" => return Ok(operand.is_empty()),
            "-n" => return Ok(!operand.is_empty()),
            "-v" => {
                let plain = !operand.is_empty() && operand.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
                if !plain || operand.starts_with(|c: char| c.is_ascii_digit()) {
                    return Err(Uncertain::new("a rare test"));
                }
                return Ok(self.vars.get(operand)?.is_some_and(|v| v.element(0).is_some()));
            }
            "-e" | "-a" | "-f" | "-d" | "-r" | "-x" | "-s" => {}
            _ => return Err(Uncertain::new("a rare test")),
        }
        if operand.is_empty() {
            return Ok(false);
        }
        if !operand.starts_with('/') {
            // The working folder is empty.
            return if operand.starts_with('.') {
                Err(Uncertain::new("a test of the working folder"))
            } else {
                Ok(false)
            };
        }
        let Some(kind) = self.world.kind(operand)? else { return Ok(false) };
        match op {
            "-f" => Ok(kind.is_file),
            "-d" => Ok(kind.is_dir),
            "-s" => Ok(kind.size > 0),
            "-r" => kind.readable(),
            "-x" => kind.executable(),
            _ => Ok(true),
        }
    }

    /// `[ … ]`, by the number of its arguments.
    pub(super) fn test(&mut self, args: &[&str]) -> Certain<bool> {
        match args {
            [] => Ok(false),
            [one] => Ok(!one.is_empty()),
            ["!", rest @ ..] if rest.len() <= 3 => Ok(!self.test(rest)?),
            [op, operand] if is_unary(op) => self.unary_test(op, operand),
            [a, op, b] if is_binary(op) => self.binary_test(a, op, b),
            [a, "-a", b] => Ok(!a.is_empty() && !b.is_empty()),
            [a, "-o", b] => Ok(!a.is_empty() || !b.is_empty()),
            ["(", inner @ .., ")"] if inner.len() <= 2 => self.test(inner),
            args if args.len() > 4 => self.long_test(args),
            _ => Err(Uncertain::new("a rare test")),
        }
    }

    /// `a = b -a c = d -o …`: more arguments than there are rules for; only what reads one way.
    fn long_test(&mut self, args: &[&str]) -> Certain<bool> {
        if args.iter().any(|a| matches!(*a, "(" | ")" | "!")) {
            return Err(Uncertain::new("a rare test"));
        }
        let mut any = false;
        for alternative in args.split(|a| *a == "-o") {
            let mut all = true;
            for term in alternative.split(|a| *a == "-a") {
                let value = match term {
                    [op, operand] if is_unary(op) => self.unary_test(op, operand)?,
                    [a, op, b] if is_binary(op) => self.binary_test(a, op, b)?,
                    _ => return Err(Uncertain::new("a rare test")),
                };
                all = all && value;
            }
            any = any || all;
        }
        Ok(any)
    }

    fn binary_test(&mut self, a: &str, op: &str, b: &str) -> Certain<bool> {
        match op {
            "=" | "==" => Ok(a == b),
            "!=" => Ok(a != b),
            "<" => Ok(a < b),
            ">" => Ok(a > b),
            op => {
                let number = |t: &str| {
                    let t = t.trim_matches([' ', '\t']);
                    let plain = t.strip_prefix(['-', '+']).unwrap_or(t).bytes().all(|c| c.is_ascii_digit());
                    t.parse::<i64>().ok().filter(|_| plain).ok_or_else(|| Uncertain::new("a test of what is no number"))
                };
                compare(op, number(a)?, number(b)?)
            }
        }
    }

    /// `=~`, with what it captures where that is certain.
    pub(super) fn regex_test(&mut self, text: &str, pattern: &str) -> Certain<bool> {
        if !text.is_ascii() || !pattern.is_ascii() || text.len() > 1000 {
            return Err(Uncertain::new("=~ with a text that is long or not ASCII"));
        }
        // Compiling one is the dearest thing a single word can ask for.
        self.spend(500)?;
        let regex = ere::compile(pattern).map_err(|_| Uncertain::new("a strange expression after =~"))?;
        let Some(found) = regex.captures(text) else {
            self.vars.captured(Some(Vec::new()));
            return Ok(false);
        };
        let groups = if ere::captures_are_certain(pattern, text, &found) {
            Some(found.iter().map(|m| m.map_or("", |m| m.as_str()).to_owned()).collect())
        } else {
            None
        };
        self.vars.captured(groups);
        Ok(true)
    }
}
