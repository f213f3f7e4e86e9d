//! Patterns of `case`, `[[ == ]]` and `${x#…}`, extended ones included, in the C locale.

use std::cell::Cell;

use super::{Certain, Uncertain};

/// One character, and whether it was quoted and so means itself.
pub(super) type Char = (char, bool);

#[derive(Debug, Clone)]
enum Token {
    Char(char),
    Any,
    Star,
    Set {
        negated: bool,
        items: Vec<Item>,
    },
    /// `?( … )` and its like.
    Group {
        kind: char,
        choices: Vec<Vec<Token>>,
    },
}

#[derive(Debug, Clone)]
enum Item {
    Range(char, char),
    Class(Class),
}

/// A pattern, ready to be held against texts.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
    steps: Cell<usize>,
}

/// How many steps one pattern may take in all; past that, the text is not for us.
const MAX_STEPS: usize = 100_000;

impl Pattern {
    pub(super) fn new(chars: &[Char]) -> Certain<Self> {
        let mut at = 0;
        let tokens = sequence(chars, &mut at, 0)?;
        Ok(Self { tokens, steps: Cell::new(0) })
    }

    /// How many steps it has taken so far.
    pub(super) fn steps(&self) -> usize {
        self.steps.get()
    }

    /// Whether it is the whole text.
    pub(super) fn matches(&self, text: &[char]) -> Certain<bool> {
        let mut steps = self.steps.get();
        let result = matches(&self.tokens, text, &mut |rest| rest.is_empty(), &mut steps);
        self.steps.set(steps);
        result
    }

    /// The length of what it matches at the start, shortest or longest.
    pub(super) fn prefix(&self, text: &[char], longest: bool) -> Certain<Option<usize>> {
        self.first((0..=text.len()).collect(), longest, |n| &text[..n])
    }

    /// The length of what it matches at the end, shortest or longest.
    pub(super) fn suffix(&self, text: &[char], longest: bool) -> Certain<Option<usize>> {
        self.first((0..=text.len()).collect(), longest, |n| &text[text.len() - n..])
    }

    fn first<'t>(
        &self,
        mut lengths: Vec<usize>,
        longest: bool,
        part: impl Fn(usize) -> &'t [char],
    ) -> Certain<Option<usize>> {
        if longest {
            lengths.reverse();
        }
        for n in lengths {
            if self.matches(part(n))? {
                return Ok(Some(n));
            }
        }
        Ok(None)
    }
}

fn sequence(chars: &[Char], at: &mut usize, depth: usize) -> Certain<Vec<Token>> {
    if depth > 20 {
        return Err(Uncertain::new("a pattern that is nested too deeply"));
    }
    let mut out = Vec::new();
    while let Some(&(c, quoted)) = chars.get(*at) {
        if quoted {
            out.push(Token::Char(c));
            *at += 1;
            continue;
        }
        if depth > 0 && matches!(c, '|' | ')') {
            return Ok(out);
        }
        *at += 1;
        if matches!(c, '?' | '*' | '+' | '@' | '!') && chars.get(*at) == Some(&('(', false)) {
            *at += 1;
            let mut choices = Vec::new();
            loop {
                choices.push(sequence(chars, at, depth + 1)?);
                match chars.get(*at) {
                    Some(('|', false)) => *at += 1,
                    Some((')', false)) => break,
                    _ => return Err(Uncertain::new("an open pattern")),
                }
            }
            *at += 1;
            out.push(Token::Group { kind: c, choices });
            continue;
        }
        out.push(match c {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => match chars.get(*at) {
                Some(&(next, _)) => {
                    *at += 1;
                    Token::Char(next)
                }
                None => return Err(Uncertain::new("a pattern that ends in a backslash")),
            },
            '[' => set(chars, at)?,
            c => Token::Char(c),
        });
    }
    if depth > 0 { Err(Uncertain::new("an open pattern")) } else { Ok(out) }
}

fn set(chars: &[Char], at: &mut usize) -> Certain<Token> {
    let rare = || Uncertain::new("a rare bracket in a pattern");
    let negated = matches!(chars.get(*at), Some(('!' | '^', false)));
    if negated {
        *at += 1;
    }
    let mut items = Vec::new();
    loop {
        let &(c, quoted) = chars.get(*at).ok_or_else(rare)?;
        *at += 1;
        if !quoted {
            match c {
                ']' if !items.is_empty() => return Ok(Token::Set { negated, items }),
                ']' | '/' | '\\' => return Err(rare()),
                '[' if matches!(chars.get(*at), Some((':', _))) => {
                    items.push(Item::Class(class(chars, at)?));
                    continue;
                }
                '[' if matches!(chars.get(*at), Some(('.' | '=', _))) => return Err(rare()),
                _ => {}
            }
        }
        let range = matches!(chars.get(*at), Some(('-', false)))
            && chars.get(*at + 1).is_some_and(|&(c, quoted)| quoted || c != ']');
        if range {
            let &(to, quoted) = chars.get(*at + 1).ok_or_else(rare)?;
            if !quoted && matches!(to, '[' | '\\') || to < c {
                return Err(rare());
            }
            *at += 2;
            items.push(Item::Range(c, to));
        } else {
            items.push(Item::Range(c, c));
        }
    }
}

type Class = fn(&char) -> bool;

fn class(chars: &[Char], at: &mut usize) -> Certain<Class> {
    let rest: String = chars[*at..].iter().take(12).map(|c| c.0).collect();
    let classes: [(&str, Class); 11] = [
        (":alpha:]", char::is_ascii_alphabetic),
        (":digit:]", char::is_ascii_digit),
        (":alnum:]", char::is_ascii_alphanumeric),
        (":upper:]", char::is_ascii_uppercase),
        (":lower:]", char::is_ascii_lowercase),
        (":space:]", |c| c.is_ascii_whitespace() || *c == '\x0b'),
        (":blank:]", |c| matches!(c, ' ' | '\t')),
        (":punct:]", char::is_ascii_punctuation),
        (":xdigit:]", char::is_ascii_hexdigit),
        (":cntrl:]", char::is_ascii_control),
        (":graph:]", char::is_ascii_graphic),
    ];
    let (name, test) =
        classes.into_iter().find(|(name, _)| rest.starts_with(name)).ok_or_else(|| Uncertain::new("a rare class"))?;
    *at += name.len();
    Ok(test)
}

type Next<'n> = &'n mut dyn FnMut(&[char]) -> bool;

/// Matches tokens at the start of a text; `next` decides about what is left of it.
fn matches(tokens: &[Token], text: &[char], next: Next<'_>, steps: &mut usize) -> Certain<bool> {
    *steps += 1;
    if *steps > MAX_STEPS {
        return Err(Uncertain::new("a pattern that takes too long"));
    }
    let Some((token, rest)) = tokens.split_first() else { return Ok(next(text)) };
    match token {
        Token::Star => {
            for n in 0..=text.len() {
                if matches(rest, &text[n..], next, steps)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Token::Group { kind, choices } => group(*kind, choices, rest, text, next, steps),
        single => match text.split_first() {
            Some((c, after)) if one(single, *c) => matches(rest, after, next, steps),
            _ => Ok(false),
        },
    }
}

fn group(
    kind: char,
    choices: &[Vec<Token>],
    rest: &[Token],
    text: &[char],
    next: Next<'_>,
    steps: &mut usize,
) -> Certain<bool> {
    if kind == '!' {
        for n in 0..=text.len() {
            let mut any = false;
            for choice in choices {
                any = any || matches(choice, &text[..n], &mut |left| left.is_empty(), steps)?;
            }
            if !any && matches(rest, &text[n..], next, steps)? {
                return Ok(true);
            }
        }
        return Ok(false);
    }
    if matches!(kind, '?' | '*') && matches(rest, text, next, steps)? {
        return Ok(true);
    }
    // Each way a choice can take the start of the text, then the rest, or the group again.
    for n in 0..=text.len() {
        let mut takes = false;
        for choice in choices {
            takes = takes || matches(choice, &text[..n], &mut |left| left.is_empty(), steps)?;
        }
        if !takes {
            continue;
        }
        if matches(rest, &text[n..], next, steps)? {
            return Ok(true);
        }
        if matches!(kind, '*' | '+') && n > 0 && group('*', choices, rest, &text[n..], next, steps)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn one(token: &Token, c: char) -> bool {
    match token {
        Token::Char(wanted) => *wanted == c,
        Token::Any => true,
        Token::Set { negated, items } => {
            let among = items.iter().any(|item| match item {
                Item::Range(from, to) => (*from..=*to).contains(&c),
                Item::Class(test) => test(&c),
            });
            among != *negated
        }
        Token::Star | Token::Group { .. } => false,
    }
}
