//! One round of reading: the file, then its values a second time (dkms-contract.md §3).

use std::rc::Rc;

use super::ast::{Arg, AssignValue, Kind};
use super::builtins::is_special;
use super::interp::{Flow, Interp};
use super::vars::Vars;
use super::world::World;
use super::{Certain, Uncertain, parse};
use crate::conf::{ConfFile, Entry, Scope};
use crate::layout::Layout;

/// What makes a value more than its text when it is read as bash.
const ACTIVE: [char; 4] = ['$', '`', '\\', '"'];

/// Reads a file, then lines of the second expansion that follow it.
pub(in crate::conf) fn read(
    layout: &Layout,
    scope: &Scope,
    file: Option<&ConfFile>,
    extra: &str,
) -> Certain<Vec<Entry>> {
    let world = World { root: layout.root(), trace: &scope.trace };
    let mut lines = Vec::new();
    if let Some(file) = file {
        let text = std::str::from_utf8(&file.text).map_err(|_| Uncertain::new("a file that is not UTF-8"))?;
        let mut shell = start(&world, scope)?;
        let list = parse::parse(text)?;
        match shell.list(&list)? {
            Flow::Next | Flow::Return => {}
            _ => return Err(Uncertain::new("an exit")),
        }
        for name in scope.names {
            let Some(var) = shell.vars.peek(name)? else { continue };
            for (index, value) in var.elements() {
                let value = value.strip_suffix('\r').unwrap_or(value);
                // Words of the kernel that are read as bash, or held against files, may mean anything.
                if value.contains(ACTIVE) || value.contains(['*', '?', '[', '(']) {
                    scope.trace.read(name);
                }
                lines.push(line(&shell, name, index, value)?);
            }
        }
    }
    let mut shell = start(&world, scope)?;
    for (name, index, value) in lines {
        if value.contains(ACTIVE) {
            expand_again(&mut shell, &format!("{name}[{index}]=\"{value}\""))?;
        } else {
            shell.vars.set_element(&name, index, value)?;
        }
    }
    for line in extra.lines() {
        expand_again(&mut shell, line)?;
    }
    let mut entries = Vec::new();
    for name in scope.names {
        if let Some(var) = shell.vars.peek(name)? {
            entries.extend(var.elements().into_iter().map(|(i, v)| ((*name).to_owned(), i.to_string(), v.to_owned())));
        }
    }
    Ok(entries)
}

/// A shell that sees the caller's scope.
fn start<'w>(world: &'w World<'w>, scope: &Scope) -> Certain<Interp<'w>> {
    let mut shell = Interp::new(world, Vars::new(Rc::clone(&scope.trace)));
    for (name, value) in &scope.vars {
        shell.vars.set(name, value.clone())?;
    }
    for (name, index, value) in &scope.entries {
        let index = index.parse().map_err(|_| Uncertain::new("an index"))?;
        shell.vars.set_element(name, index, value.clone())?;
    }
    Ok(shell)
}

/// A value, unquoted: split, matched against files, and joined with single blanks. The quotes around it stick to its
/// first and last words, which therefore name no files.
fn line(shell: &Interp<'_>, name: &str, index: i64, value: &str) -> Certain<(String, i64, String)> {
    let ifs = shell.vars.ifs();
    if ifs != " \t\n" {
        return Err(Uncertain::new("another IFS at the end of the file"));
    }
    let blank = |c: char| matches!(c, ' ' | '\t' | '\n');
    let words: Vec<&str> = value.split(blank).filter(|w| !w.is_empty()).collect();
    let inner = match (value.starts_with(blank), value.ends_with(blank)) {
        (true, true) => &words[..],
        (true, false) => words.get(..words.len().saturating_sub(1)).unwrap_or_default(),
        (false, true) => words.get(1..).unwrap_or_default(),
        (false, false) => words.get(1..words.len().saturating_sub(1)).unwrap_or_default(),
    };
    let active =
        |w: &str| w.contains(['*', '?', '[', '\\']) || w.contains("@(") || w.contains("+(") || w.contains("!(");
    for word in inner {
        if active(word) && !shell.nothing_matches(word)? {
            return Err(Uncertain::new("a pattern for files in a value"));
        }
    }
    if words.iter().any(|w| active(w) && w.contains('/') && !inner.contains(w)) {
        // `NAME[0]="/some/*"`: a file's name would have to begin or end with the quote.
        let last = words.last().copied().unwrap_or_default();
        if active(last) && last.starts_with('/') && words.len() > 1 && !shell.nothing_matches(last)? {
            return Err(Uncertain::new("a pattern for files in a value"));
        }
    }
    let mut joined = words.join(" ");
    if value.starts_with(blank) {
        joined.insert(0, ' ');
    }
    if value.ends_with(blank) && !words.is_empty() {
        joined.push(' ');
    }
    Ok((name.to_owned(), index, joined))
}

/// Reads `NAME[i]="…"` as bash in the caller's scope.
fn expand_again(shell: &mut Interp<'_>, line: &str) -> Certain<()> {
    let list = parse::parse(line)?;
    let [only] = &list[..] else { return Err(Uncertain::new("a value that is more than one command")) };
    let ([command], true, false) = (&only.first.commands[..], only.rest.is_empty(), only.first.negated) else {
        return Err(Uncertain::new("a value that is more than one command"));
    };
    let Kind::Simple { assigns, args } = &command.kind else {
        return Err(Uncertain::new("a value that is a command"));
    };
    let [assign] = &assigns[..] else { return Err(Uncertain::new("a value that is several assignments")) };
    if !command.redirects.is_empty() || !matches!(assign.value, AssignValue::Text(_)) {
        return Err(Uncertain::new("a value that is a command"));
    }
    let mut words = Vec::new();
    for arg in args {
        let Arg::Word(word) = arg else { return Err(Uncertain::new("a value that is a command")) };
        words.extend(shell.fields(word)?);
    }
    match words.first() {
        None => shell.assign(assign),
        // Quotes vanished and left a second word, a command that does not exist: the assignment is lost with it.
        Some(name) if !is_special(name) && !name.is_empty() && !name.contains('/') => {
            let exists = shell.world.program(name)?.is_some();
            if exists { Err(Uncertain::new("a value that is a command")) } else { Ok(()) }
        }
        Some(_) => Err(Uncertain::new("a value that is a command")),
    }
}
