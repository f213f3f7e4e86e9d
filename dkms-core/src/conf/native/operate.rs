//! What the operators of `${…}` do to values.

use super::ast::{Index, Name, Part, Replace, Word};
use super::expand::Value;
use super::interp::Interp;
use super::pattern::Pattern;
use super::vars::Var;
use super::{Certain, Uncertain};

/// The longest text that patterns are held against, in characters.
const MAX_MATCHED: usize = 4096;

impl Interp<'_> {
    /// `${a[@]:offset:length}`: the offset is an index; of what is no array, it counts bytes, as without `[@]`.
    pub(super) fn slice_list(
        &mut self,
        name: &Name,
        index: Option<&Index>,
        offset: i64,
        length: Option<i64>,
    ) -> Certain<Value> {
        let Name::Variable(name) = name else { return Err(Uncertain::new("a slice of the arguments")) };
        if let Some(Var::Scalar(text)) = self.vars.get(name)? {
            ascii(text)?;
            let (from, to) = range(text.len(), offset, length)?;
            return Ok(Value::Text(text[from..to].to_owned()));
        }
        let joined = matches!(index, Some(Index::Joined));
        let elements: Vec<(i64, String)> = self
            .vars
            .get(name)?
            .map(|v| v.elements().iter().map(|(i, t)| (*i, (*t).to_owned())).collect())
            .unwrap_or_default();
        let end = elements.last().map_or(0, |(i, _)| i + 1);
        let from = if offset < 0 { offset + end } else { offset };
        if from < 0 || length.is_some_and(|l| l < 0) {
            return Err(Uncertain::new("a rare slice"));
        }
        let count = length.map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(0));
        Ok(Value::List(elements.into_iter().filter(|(i, _)| *i >= from).take(count).map(|(_, t)| t).collect(), joined))
    }
}

pub(super) fn map(value: Value, mut change: impl FnMut(String) -> Certain<String>) -> Certain<Value> {
    Ok(match value {
        Value::Unset => Value::Unset,
        Value::Text(text) => Value::Text(change(text)?),
        Value::List(list, joined) => Value::List(list.into_iter().map(change).collect::<Certain<_>>()?, joined),
    })
}

pub(super) fn ascii(text: &str) -> Certain<()> {
    if text.is_ascii() { Ok(()) } else { Err(Uncertain::new("characters that are not ASCII")) }
}

/// The characters of a text that patterns may be held against.
pub(super) fn matchable(text: &str) -> Certain<Vec<char>> {
    ascii(text)?;
    if text.len() > MAX_MATCHED { Err(Uncertain::new("a long text for a pattern")) } else { Ok(text.chars().collect()) }
}

/// The bytes that `${x:offset:length}` takes.
pub(super) fn range(size: usize, offset: i64, length: Option<i64>) -> Certain<(usize, usize)> {
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    let from = if offset < 0 { offset + size } else { offset };
    if from < 0 || from > size {
        return Ok((0, 0));
    }
    let to = match length {
        None => size,
        Some(l) if l < 0 => l + size,
        Some(l) => from.saturating_add(l).min(size),
    };
    if to < from {
        return Err(Uncertain::new("a slice that ends before it begins"));
    }
    let index = |n: i64| usize::try_from(n).map_err(|_| Uncertain::new("a slice"));
    Ok((index(from)?, index(to)?))
}

pub(super) fn replace(kind: Replace, pattern: &Pattern, text: &[char], with: &str) -> Certain<String> {
    let mut out = String::new();
    if text.is_empty() && pattern.matches(text)? {
        return Err(Uncertain::new("a replacement in an empty text"));
    }
    match kind {
        Replace::Start | Replace::End => {
            let found =
                if kind == Replace::Start { pattern.prefix(text, true)? } else { pattern.suffix(text, true)? };
            return Ok(match (found, kind) {
                (None, _) => text.iter().collect(),
                (Some(n), Replace::Start) => with.chars().chain(text[n..].iter().copied()).collect(),
                (Some(n), _) => text[..text.len() - n].iter().copied().chain(with.chars()).collect(),
            });
        }
        Replace::First | Replace::All => {}
    }
    let mut at = 0;
    let mut done = false;
    while at < text.len() {
        let found = if done { None } else { pattern.prefix(&text[at..], true)? };
        match found {
            Some(0) => return Err(Uncertain::new("a replacement of nothing")),
            Some(n) => {
                out.push_str(with);
                at += n;
                done = kind == Replace::First;
            }
            None => {
                out.push(text[at]);
                at += 1;
            }
        }
    }
    Ok(out)
}

/// What a name that is held by a variable stands for.
pub(super) fn indirect(name: &str) -> Certain<(Name, Option<Index>)> {
    let plain = |n: &str| !n.is_empty() && n.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    if let Some((bare, index)) = name.strip_suffix(']').and_then(|n| n.split_once('[')) {
        let index = match index {
            "@" => Index::All,
            "*" => Index::Joined,
            number if number.bytes().all(|c| c.is_ascii_digit()) && !number.is_empty() => {
                Index::At(Word(vec![Part::Quoted(number.to_owned())]))
            }
            _ => return Err(Uncertain::new("a strange indirection")),
        };
        if plain(bare) && !bare.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok((Name::Variable(bare.to_owned()), Some(index)));
        }
    }
    if let Ok(n @ 1..) = name.parse::<usize>()
        && name.bytes().all(|c| c.is_ascii_digit())
    {
        return Ok((Name::Positional(n), None));
    }
    if plain(name) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok((Name::Variable(name.to_owned()), None));
    }
    Err(Uncertain::new("a strange indirection"))
}
