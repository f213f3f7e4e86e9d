//! Builtin commands.

use super::ast::{Assign, AssignValue};
use super::interp::{Flow, Interp, Sink};
use super::{Certain, Uncertain, arith, externals, parse};

/// Builtins that a function of the same name would hide.
const KNOWN: &[&str] = &[
    ":", "true", "false", "echo", "printf", "local", "declare", "typeset", "export", "unset", "shift", "return",
    "break", "continue", "test", "[", "read", "eval", "source", ".", "shopt", "set", "let", "exit", "command",
];

/// Builtins that are left to bash.
const FOREIGN: &[&str] = &[
    "alias",
    "bg",
    "bind",
    "builtin",
    "caller",
    "cd",
    "compgen",
    "complete",
    "compopt",
    "dirs",
    "disown",
    "enable",
    "exec",
    "fc",
    "fg",
    "getopts",
    "hash",
    "help",
    "history",
    "jobs",
    "kill",
    "logout",
    "mapfile",
    "popd",
    "pushd",
    "pwd",
    "readarray",
    "readonly",
    "suspend",
    "times",
    "trap",
    "type",
    "ulimit",
    "umask",
    "unalias",
    "wait",
];

/// Names that no function may have, for us: bash's own rules about them are many.
pub(super) fn is_special(name: &str) -> bool {
    KNOWN.contains(&name) || FOREIGN.contains(&name)
}

/// Runs what is no function.
pub(super) fn run(shell: &mut Interp<'_>, name: &str, args: &[String], declared: &[&Assign]) -> Certain<Flow> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    shell.status = match name {
        ":" | "true" => 0,
        "false" => 1,
        "echo" => echo(shell, &words)?,
        "printf" => super::printf::printf(shell, &words)?,
        "local" | "declare" | "typeset" => declare(shell, name, &words, declared)?,
        "export" => export(shell, &words, declared)?,
        "unset" => unset(shell, &words)?,
        "shift" => shift(shell, &words)?,
        "test" => i32::from(!shell.test(&words)?),
        "[" => match words.split_last() {
            Some((&"]", inner)) => i32::from(!shell.test(inner)?),
            _ => return Err(Uncertain::new("'[' without ']'")),
        },
        "read" => super::read::read(shell, &words)?,
        "shopt" => {
            let (options, names): (Vec<&str>, Vec<&str>) = words.iter().partition(|w| w.starts_with('-'));
            let known = options.iter().all(|o| matches!(*o, "-s" | "-q" | "-qs" | "-sq"));
            if !known || names != ["extglob"] || options.is_empty() {
                return Err(Uncertain::new("shopt"));
            }
            0
        }
        "let" => {
            let mut value = 0;
            if words.is_empty() {
                return Err(Uncertain::new("let without an expression"));
            }
            for word in &words {
                value = arith::evaluate(shell, word, 0)?;
            }
            i32::from(value == 0)
        }
        "set" => match words.split_first() {
            Some((&"--", rest)) => {
                shell.arguments = rest.iter().map(|w| (*w).to_owned()).collect();
                0
            }
            _ => return Err(Uncertain::new("set")),
        },
        "return" => {
            code(shell, &words)?;
            return Ok(Flow::Return);
        }
        "exit" if shell.in_subshell() => {
            code(shell, &words)?;
            return Ok(Flow::Exit);
        }
        "break" | "continue" => {
            let n = match words[..] {
                [] => 1,
                [n] => n.parse().map_err(|_| Uncertain::new("break"))?,
                _ => return Err(Uncertain::new("break")),
            };
            if !shell.in_loop() || n != 1 {
                return Err(Uncertain::new("break"));
            }
            shell.status = 0;
            return Ok(if name == "break" { Flow::Break(n) } else { Flow::Continue(n) });
        }
        "eval" => {
            let text = words.join(" ");
            shell.spend(10)?;
            shell.deeper()?;
            let list = parse::parse(&text)?;
            if list.is_empty() {
                shell.status = 0;
            }
            let flow = shell.list(&list)?;
            shell.shallower();
            return Ok(flow);
        }
        "source" | "." => return source(shell, &words),
        "command" => return command(shell, &words),
        name if FOREIGN.contains(&name) || name == "exit" => {
            return Err(Uncertain::new("a builtin that is left to bash"));
        }
        name => externals::run(shell, name, &words)?,
    };
    Ok(Flow::Next)
}

fn code(shell: &mut Interp<'_>, words: &[&str]) -> Certain<()> {
    match words {
        [] => {}
        [n] => shell.status = n.parse::<u8>().map_err(|_| Uncertain::new("a strange exit code"))?.into(),
        _ => return Err(Uncertain::new("a strange exit code")),
    }
    Ok(())
}

fn echo(shell: &mut Interp<'_>, words: &[&str]) -> Certain<i32> {
    let (mut newline, mut escapes) = (true, false);
    let mut rest = words;
    while let Some((first, more)) = rest.split_first() {
        let letters = first.strip_prefix('-').unwrap_or_default();
        if letters.is_empty() || !letters.chars().all(|c| matches!(c, 'n' | 'e' | 'E')) {
            break;
        }
        for letter in letters.chars() {
            match letter {
                'n' => newline = false,
                letter => escapes = letter == 'e',
            }
        }
        rest = more;
    }
    let mut text = rest.join(" ");
    if escapes {
        text = super::printf::unescape(&text)?;
    }
    if newline {
        text.push('\n');
    }
    shell.say(&text)?;
    Ok(0)
}

/// `local` and `declare`: every value is expanded before any name is made.
fn declare(shell: &mut Interp<'_>, name: &str, words: &[&str], declared: &[&Assign]) -> Certain<i32> {
    let mut array = false;
    let mut names = Vec::new();
    for word in words {
        match *word {
            "-a" => array = true,
            "--" => {}
            word if word.starts_with(['-', '+']) => return Err(Uncertain::new("attributes of variables")),
            word if is_name(word) => names.push(word),
            // `local x=$y` came as an assignment; what is left was put together by expansion.
            _ => return Err(Uncertain::new("a strange declaration")),
        }
    }
    if names.is_empty() && declared.is_empty() {
        return Err(Uncertain::new("a list of declarations"));
    }
    let mut texts = Vec::new();
    for assign in declared {
        if assign.append || assign.index.is_some() {
            return Err(Uncertain::new("a strange declaration"));
        }
        match &assign.value {
            AssignValue::Text(word) if !array => texts.push(Some(shell.text(word)?)),
            AssignValue::Array(words) if declared.len() == 1 && words.iter().all(|(_, w)| w.constant().is_some()) => {
                texts.push(None);
            }
            _ => return Err(Uncertain::new("a declaration of a list")),
        }
    }
    let is_local = name == "local" || shell.in_function();
    for name in names {
        // `declare x` leaves a value that is there in this scope.
        shell.vars.local(name)?;
    }
    for (assign, text) in declared.iter().zip(texts) {
        if is_local || !shell.in_function() {
            shell.vars.local(&assign.name)?;
        }
        match text {
            Some(text) => shell.vars.set(&assign.name, text)?,
            None => shell.assign(assign)?,
        }
    }
    Ok(0)
}

fn export(shell: &mut Interp<'_>, words: &[&str], declared: &[&Assign]) -> Certain<i32> {
    if words.iter().any(|w| !is_name(w)) || words.is_empty() && declared.is_empty() {
        return Err(Uncertain::new("a strange export"));
    }
    let mut texts = Vec::new();
    for assign in declared {
        let AssignValue::Text(word) = &assign.value else { return Err(Uncertain::new("a strange export")) };
        if assign.append || assign.index.is_some() {
            return Err(Uncertain::new("a strange export"));
        }
        texts.push(shell.text(word)?);
    }
    for word in words {
        // What is exported can matter to programs only, and those that are not bash's own are few here.
        shell.vars.get(word)?;
    }
    for (assign, text) in declared.iter().zip(texts) {
        shell.vars.set(&assign.name, text)?;
    }
    Ok(0)
}

fn unset(shell: &mut Interp<'_>, words: &[&str]) -> Certain<i32> {
    let (functions, names) = match words {
        ["-f", names @ ..] => (true, names),
        ["-v", names @ ..] => (false, names),
        names => (false, names),
    };
    for name in names {
        if functions {
            shell.functions.remove(*name);
        } else if is_name(name) {
            if shell.vars.get(name)?.is_none() && shell.functions.contains_key(*name) {
                return Err(Uncertain::new("unset of a function by its name"));
            }
            shell.vars.unset(name)?;
        } else if let Some((name, index)) = name.strip_suffix(']').and_then(|n| n.split_once('[')) {
            let index = index.parse().map_err(|_| Uncertain::new("unset of a strange element"))?;
            shell.vars.get(name)?;
            shell.vars.unset_element(name, index)?;
        } else {
            return Err(Uncertain::new("a strange unset"));
        }
    }
    Ok(0)
}

fn shift(shell: &mut Interp<'_>, words: &[&str]) -> Certain<i32> {
    let n: usize = match words {
        [] => 1,
        [n] => n.parse().map_err(|_| Uncertain::new("shift"))?,
        _ => return Err(Uncertain::new("shift")),
    };
    if n > shell.arguments.len() {
        return Ok(1);
    }
    shell.arguments.drain(..n);
    Ok(0)
}

fn source(shell: &mut Interp<'_>, words: &[&str]) -> Certain<Flow> {
    let [path] = words else { return Err(Uncertain::new("source with arguments")) };
    if !path.starts_with('/') {
        return Err(Uncertain::new("source of a file by its name"));
    }
    let Some(text) = shell.world.read(path)? else {
        if shell.err == Sink::Captured {
            return Err(Uncertain::new("an error message"));
        }
        shell.status = 1;
        return Ok(Flow::Next);
    };
    shell.spend(10)?;
    shell.deeper()?;
    shell.status = 0;
    let flow = match settings(&text) {
        Some(settings) => {
            for (name, value) in settings {
                shell.spend(1)?;
                shell.vars.set(name, value.to_owned())?;
            }
            Flow::Next
        }
        None => {
            let list = parse::parse(&text)?;
            shell.list(&list)?
        }
    };
    shell.shallower();
    Ok(if flow == Flow::Return { Flow::Next } else { flow })
}

/// What a kernel's configuration sets, if that is all there is in a file: ten thousand lines of `CONFIG_…=…`, for which a
/// parser of bash would be much ado.
pub(in crate::conf) fn settings(text: &str) -> Option<Vec<(&str, &str)>> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let quotable = |c: char| c == ' ' || c.is_ascii_graphic() && !"\"$`\\".contains(c);
    let lines = text.split('\n').filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.split_once('=')?;
            let rest = name.strip_prefix("CONFIG_")?;
            let is_name = rest.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
            let value = match value.strip_prefix('"') {
                Some(quoted) => quoted.strip_suffix('"').filter(|text| text.chars().all(quotable))?,
                None => Some(value).filter(|text| text.chars().all(plain))?,
            };
            is_name.then_some((name, value))
        })
        .collect()
}

fn command(shell: &mut Interp<'_>, words: &[&str]) -> Certain<Flow> {
    match words {
        ["-v", name] => {
            let found = if shell.functions.contains_key(*name) || is_special(name) {
                Some((*name).to_owned())
            } else if name.contains('/') || name.is_empty() || parse::is_reserved(name) {
                return Err(Uncertain::new("command -v of a path"));
            } else {
                shell.world.program(name)?
            };
            shell.status = i32::from(found.is_none());
            if let Some(found) = found {
                shell.say(&format!("{found}\n"))?;
            }
            Ok(Flow::Next)
        }
        [name, args @ ..] if !name.starts_with('-') => {
            let args: Vec<String> = args.iter().map(|w| (*w).to_owned()).collect();
            run(shell, name, &args, &[])
        }
        _ => Err(Uncertain::new("command")),
    }
}

pub(super) fn is_name(word: &str) -> bool {
    !word.is_empty()
        && word.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
        && !word.starts_with(|c: char| c.is_ascii_digit())
}
