//! The few programs whose answer is exact without running them.

use super::interp::{Interp, Sink};
use super::world::{cpus, uname};
use super::{Certain, Uncertain};

pub(super) fn run(shell: &mut Interp<'_>, name: &str, args: &[&str]) -> Certain<i32> {
    let rare = || Uncertain::new("a program");
    match (name, args) {
        ("uname", []) | ("uname", ["-s"]) => say(shell, "Linux\n"),
        ("uname", ["-r"]) => say(shell, &(uname().0 + "\n")),
        ("uname", ["-m"]) => say(shell, &(uname().1 + "\n")),
        ("nproc", []) => say(shell, &format!("{}\n", cpus()?)),
        ("basename", [path]) => say(shell, &(basename(path)? + "\n")),
        ("basename", [path, suffix]) if !path.starts_with('-') => {
            let base = basename(path)?;
            let short = base.strip_suffix(suffix).filter(|s| !s.is_empty()).unwrap_or(&base);
            say(shell, &format!("{short}\n"))
        }
        ("dirname", [path]) => say(shell, &(dirname(path)? + "\n")),
        ("cat", []) => {
            let text = shell.input.take().unwrap_or_default();
            say(shell, &text)
        }
        ("cat", [path]) if path.starts_with('/') => match shell.world.read(path)? {
            Some(text) => say(shell, &text),
            None => missing(shell, 1),
        },
        // The working folder is empty.
        ("cat", [path]) if !path.starts_with(['.', '-', '/']) => missing(shell, 1),
        ("cut", args) => cut(shell, args),
        ("tr", ["-d", from]) => {
            let from = set(from)?;
            filter(shell, |c| from.contains(&c).then_some(None))
        }
        ("tr", [from, to]) => {
            let (from, to) = (set(from)?, set(to)?);
            let Some(&last) = to.last() else { return Err(rare()) };
            filter(shell, |c| {
                let at = from.iter().position(|f| *f == c)?;
                Some(Some(to.get(at).copied().unwrap_or(last)))
            })
        }
        ("wc", [what @ ("-l" | "-w")]) => {
            let text = shell.input.take().unwrap_or_default();
            let count = if *what == "-l" { text.matches('\n').count() } else { text.split_ascii_whitespace().count() };
            say(shell, &format!("{count}\n"))
        }
        ("head" | "tail", args) => {
            let count = match args {
                [] => 10,
                ["-n", n] => n.parse().map_err(|_| rare())?,
                [n] => n
                    .strip_prefix("-n")
                    .or_else(|| n.strip_prefix('-'))
                    .and_then(|n| n.parse().ok())
                    .ok_or_else(rare)?,
                _ => return Err(rare()),
            };
            let text = shell.input.take().unwrap_or_default();
            let lines: Vec<&str> = text.split_inclusive('\n').collect();
            let part = if name == "head" {
                &lines[..lines.len().min(count)]
            } else {
                &lines[lines.len().saturating_sub(count)..]
            };
            say(shell, &part.concat())
        }
        (name, _) if name.contains('/') => {
            if !name.starts_with('/') || shell.world.kind(name)?.is_some() {
                return Err(rare());
            }
            missing(shell, 127)
        }
        ("", _) => Err(rare()),
        (name, _) => match shell.world.program(name)? {
            Some(_) => Err(rare()),
            None => missing(shell, 127),
        },
    }
}

fn say(shell: &mut Interp<'_>, text: &str) -> Certain<i32> {
    shell.say(text)?;
    Ok(0)
}

/// The program says on standard error that something is not there.
fn missing(shell: &Interp<'_>, status: i32) -> Certain<i32> {
    if shell.err == Sink::Captured { Err(Uncertain::new("an error message")) } else { Ok(status) }
}

fn basename(path: &str) -> Certain<String> {
    if path.starts_with('-') || path.is_empty() {
        return Err(Uncertain::new("a strange basename"));
    }
    let bare = path.trim_end_matches('/');
    Ok(if bare.is_empty() { "/".to_owned() } else { bare.rsplit('/').next().unwrap_or(bare).to_owned() })
}

fn dirname(path: &str) -> Certain<String> {
    if path.starts_with('-') {
        return Err(Uncertain::new("a strange dirname"));
    }
    let bare = path.trim_end_matches('/');
    if bare.is_empty() {
        return Ok(if path.is_empty() { "." } else { "/" }.to_owned());
    }
    Ok(match bare.rsplit_once('/') {
        None => ".".to_owned(),
        Some((folder, _)) => {
            let folder = folder.trim_end_matches('/');
            if folder.is_empty() { "/".to_owned() } else { folder.to_owned() }
        }
    })
}

/// `cut -d X -f N[,M]`, `cut -c A-B`, on standard input.
fn cut(shell: &mut Interp<'_>, args: &[&str]) -> Certain<i32> {
    let rare = || Uncertain::new("a rare cut");
    let (mut delimiter, mut fields, mut characters) = ('\t', None, None);
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let option = arg.get(..2).ok_or_else(rare)?;
        let value = match arg.get(2..) {
            Some("") | None => *args.next().ok_or_else(rare)?,
            Some(value) => value,
        };
        match option {
            "-d" => {
                let mut chars = value.chars();
                let (Some(c), None) = (chars.next(), chars.next()) else { return Err(rare()) };
                delimiter = c;
            }
            "-f" => fields = Some(ranges(value)?),
            "-c" => characters = Some(ranges(value)?),
            _ => return Err(rare()),
        }
    }
    let text = shell.input.take().unwrap_or_default();
    if !text.is_ascii() || !delimiter.is_ascii() {
        return Err(rare());
    }
    let mut out = String::new();
    for line in text.lines() {
        match (&fields, &characters) {
            (Some(ranges), None) if line.contains(delimiter) => {
                let parts: Vec<&str> = line.split(delimiter).collect();
                let kept: Vec<&str> = (1..).zip(parts).filter(|(n, _)| within(ranges, *n)).map(|(_, p)| p).collect();
                out.push_str(&kept.join(&delimiter.to_string()));
            }
            (Some(_), None) => out.push_str(line),
            (None, Some(ranges)) => {
                out.extend((1..).zip(line.chars()).filter(|(n, _)| within(ranges, *n)).map(|(_, c)| c));
            }
            _ => return Err(rare()),
        }
        out.push('\n');
    }
    say(shell, &out)
}

type Ranges = Vec<(usize, usize)>;

fn ranges(text: &str) -> Certain<Ranges> {
    let number = |t: &str| t.parse::<usize>().ok().filter(|n| *n > 0).ok_or_else(|| Uncertain::new("a rare cut"));
    text.split(',')
        .map(|part| match part.split_once('-') {
            None => number(part).map(|n| (n, n)),
            Some((from, "")) => Ok((number(from)?, usize::MAX)),
            Some(("", to)) => Ok((1, number(to)?)),
            Some((from, to)) => Ok((number(from)?, number(to)?)),
        })
        .collect()
}

fn within(ranges: &Ranges, n: usize) -> bool {
    ranges.iter().any(|(from, to)| (*from..=*to).contains(&n))
}

/// The characters of a set of `tr`; ranges and escapes other than the common ones are left alone.
fn set(text: &str) -> Certain<Vec<char>> {
    let rare = || Uncertain::new("a rare tr");
    if text.contains(['[', ']']) || !text.is_ascii() || text.is_empty() {
        return Err(rare());
    }
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\\' {
            out.push(match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('\\') => '\\',
                _ => return Err(rare()),
            });
            continue;
        }
        if c == '-' && text.len() > 1 {
            return Err(rare());
        }
        if chars.peek() == Some(&'-') {
            chars.next();
            let to = chars.next().ok_or_else(rare)?;
            if to < c {
                return Err(rare());
            }
            out.extend(c..=to);
            continue;
        }
        out.push(c);
    }
    Ok(out)
}

/// Standard input with each character replaced (`Some(Some)`), dropped (`Some(None)`) or kept.
fn filter(shell: &mut Interp<'_>, change: impl Fn(char) -> Option<Option<char>>) -> Certain<i32> {
    let text = shell.input.take().unwrap_or_default();
    if !text.is_ascii() {
        return Err(Uncertain::new("characters that are not ASCII"));
    }
    let out: String = text.chars().filter_map(|c| change(c).unwrap_or(Some(c))).collect();
    say(shell, &out)
}
