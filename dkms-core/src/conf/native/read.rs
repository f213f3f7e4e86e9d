//! `read`.

use std::collections::BTreeMap;

use super::builtins::is_name;
use super::interp::Interp;
use super::{Certain, Uncertain};

pub(super) fn read(shell: &mut Interp<'_>, words: &[&str]) -> Certain<i32> {
    let (mut raw, mut array, mut names) = (false, None, Vec::new());
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match *word {
            "-r" => raw = true,
            "-a" => array = words.next().copied(),
            "-ra" => {
                raw = true;
                array = words.next().copied();
            }
            name if is_name(name) => names.push(name),
            _ => return Err(Uncertain::new("a rare option of read")),
        }
    }
    if array.is_some_and(|name| !is_name(name) || !names.is_empty()) {
        return Err(Uncertain::new("a strange read"));
    }
    let input = shell.input.take().unwrap_or_default();
    let (line, rest, whole) = match input.split_once('\n') {
        Some((line, rest)) => (line.to_owned(), rest.to_owned(), true),
        None => (input, String::new(), false),
    };
    shell.input = Some(rest);
    if !raw && line.contains('\\') {
        return Err(Uncertain::new("a backslash in what is read"));
    }
    let ifs: Vec<char> = shell.vars.ifs().chars().collect();
    let is_blank = |c: char| matches!(c, ' ' | '\t' | '\n') && ifs.contains(&c);
    if let Some(name) = array {
        let fields = fields(&line, &ifs);
        let elements: BTreeMap<i64, String> = (0..).zip(fields).collect();
        shell.vars.set_array(name, elements)?;
    } else if names.is_empty() {
        shell.vars.set("REPLY", line)?;
    } else {
        let mut left = line.trim_start_matches(is_blank);
        let (last, first) = names.split_last().map_or((&"", &[][..]), |(l, f)| (l, f));
        for name in first {
            let end = left.find(|c| ifs.contains(&c)).unwrap_or(left.len());
            shell.vars.set(name, left[..end].to_owned())?;
            left = left[end..].trim_start_matches(is_blank);
            if let Some(c) = left.chars().next()
                && ifs.contains(&c)
            {
                left = left[c.len_utf8()..].trim_start_matches(is_blank);
            }
        }
        let left = left.trim_end_matches(is_blank);
        // One separator at the very end may or may not belong to the last field.
        if left.ends_with(|c| ifs.contains(&c)) {
            return Err(Uncertain::new("a separator at the end of what is read"));
        }
        shell.vars.set(last, left.to_owned())?;
    }
    Ok(i32::from(!whole))
}

fn fields(line: &str, ifs: &[char]) -> Vec<String> {
    let is_blank = |c: char| matches!(c, ' ' | '\t' | '\n') && ifs.contains(&c);
    let mut out = Vec::new();
    let mut left = line.trim_start_matches(is_blank);
    while !left.is_empty() {
        let end = left.find(|c| ifs.contains(&c)).unwrap_or(left.len());
        out.push(left[..end].to_owned());
        left = left[end..].trim_start_matches(is_blank);
        if let Some(c) = left.chars().next()
            && ifs.contains(&c)
        {
            left = left[c.len_utf8()..].trim_start_matches(is_blank);
        }
    }
    out
}
