//! `printf`, and the escapes it shares with `echo -e`.

use super::builtins::is_name;
use super::interp::Interp;
use super::{Certain, Uncertain};

pub(super) fn printf(shell: &mut Interp<'_>, words: &[&str]) -> Certain<i32> {
    let (target, words) = match words {
        ["-v", name, rest @ ..] if is_name(name) => (Some(*name), rest),
        ["--", rest @ ..] => (None, rest),
        rest => (None, rest),
    };
    let Some((format, args)) = words.split_first() else { return Err(Uncertain::new("printf without a format")) };
    if format.starts_with('-') && target.is_none() {
        return Err(Uncertain::new("a rare option of printf"));
    }
    let mut out = String::new();
    let mut left = args;
    loop {
        let before = left.len();
        once(format, &mut left, &mut out)?;
        shell.spend(1 + out.len() / 256)?;
        if left.is_empty() || left.len() == before {
            break;
        }
    }
    match target {
        Some(name) => shell.vars.set(name, out)?,
        None => shell.say(&out)?,
    }
    Ok(0)
}

fn once(format: &str, args: &mut &[&str], out: &mut String) -> Certain<()> {
    let mut rest = format;
    while let Some(at) = rest.find(['%', '\\']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if rest.starts_with('\\') {
            rest = escape(rest, out)?;
            continue;
        }
        rest = &rest[1..];
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let end = rest
            .find(|c: char| !matches!(c, '0'..='9' | '-' | '.'))
            .ok_or_else(|| Uncertain::new("a printf format without an end"))?;
        let (spec, after) = rest.split_at(end);
        let kind = after.chars().next().unwrap_or_default();
        rest = &after[kind.len_utf8()..];
        let arg = match args.split_first() {
            Some((first, more)) => {
                *args = more;
                Some(*first)
            }
            None => None,
        };
        one(spec, kind, arg, out)?;
    }
    out.push_str(rest);
    Ok(())
}

fn one(spec: &str, kind: char, arg: Option<&str>, out: &mut String) -> Certain<()> {
    let rare = || Uncertain::new("a rare printf format");
    let left = spec.starts_with('-');
    let digits = spec.trim_start_matches('-');
    let zero = digits.starts_with('0') && kind != 's';
    let width: usize = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| rare())? };
    if width > 1000 || left && zero || kind == 's' && digits.starts_with('0') {
        return Err(rare());
    }
    let text = match kind {
        's' => arg.unwrap_or_default().to_owned(),
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let arg = arg.unwrap_or("0");
            let plain = !arg.is_empty() && arg.bytes().all(|c| c.is_ascii_digit());
            if !plain || arg.len() > 1 && arg.starts_with('0') {
                return Err(rare());
            }
            let number: i64 = arg.parse().map_err(|_| rare())?;
            match kind {
                'x' => format!("{number:x}"),
                'X' => format!("{number:X}"),
                'o' => format!("{number:o}"),
                _ => number.to_string(),
            }
        }
        _ => return Err(rare()),
    };
    if width > 0 && !text.is_ascii() {
        return Err(rare());
    }
    match (left, zero) {
        (true, _) => out.push_str(&format!("{text:<width$}")),
        (false, true) => out.push_str(&format!("{text:0>width$}")),
        (false, false) => out.push_str(&format!("{text:>width$}")),
    }
    Ok(())
}

/// One escape at the start of a text; what follows it is returned.
fn escape<'t>(text: &'t str, out: &mut String) -> Certain<&'t str> {
    let c = text[1..].chars().next().ok_or_else(|| Uncertain::new("a last backslash"))?;
    out.push(match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        '\\' => '\\',
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'v' => '\x0b',
        _ => return Err(Uncertain::new("a rare escape")),
    });
    Ok(&text[2..])
}

/// The escapes of `echo -e`.
pub(super) fn unescape(text: &str) -> Certain<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = escape(&rest[at..], &mut out)?;
    }
    out.push_str(rest);
    Ok(out)
}
