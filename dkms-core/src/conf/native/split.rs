//! From pieces to a command's arguments: splitting, and patterns for files.

use super::ast::Part;
use super::expand::Piece;
use super::interp::Interp;
use super::{Certain, Uncertain};

const EXTENDED: [&str; 5] = ["?(", "*(", "+(", "@(", "!("];

impl Interp<'_> {
    /// One field, unless it may be the name of files.
    pub(super) fn glob(&self, field: Vec<(String, bool)>) -> Certain<String> {
        let active = |t: &str| t.contains(['*', '?', '[']) || EXTENDED.iter().any(|e| t.contains(e));
        let is_pattern = field.iter().any(|(text, bare)| *bare && active(text));
        let text: String = field.into_iter().map(|(text, _)| text).collect();
        if is_pattern && !self.nothing_matches(&text)? {
            return Err(Uncertain::new("a pattern for files"));
        }
        Ok(text)
    }

    /// Whether a pattern for files certainly matches none. The working folder is empty.
    pub(super) fn nothing_matches(&self, pattern: &str) -> Certain<bool> {
        if !pattern.starts_with('/') {
            return Ok(!pattern.starts_with('.') && !pattern.starts_with("!(") && !pattern.contains("/."));
        }
        let literal = pattern.find(['*', '?', '[', '@', '+', '!', '\\']).map_or(pattern, |n| &pattern[..n]);
        let folder = literal.rsplit_once('/').map_or("", |(folder, _)| folder);
        Ok(!folder.is_empty() && self.world.kind(folder)?.is_none())
    }

    pub(super) fn split(&self, pieces: Vec<Piece>) -> Vec<Vec<(String, bool)>> {
        let ifs: Vec<char> = self.vars.ifs().chars().collect();
        let mut fields = Vec::new();
        let mut field: Option<Vec<(String, bool)>> = None;
        // Whether a blank has just ended a field, so that another separator after it is the same end.
        let mut ended = false;
        for piece in pieces {
            match piece {
                Piece::Bare(t) => {
                    field.get_or_insert_default().push((t, true));
                    ended = false;
                }
                Piece::Quoted(t) => {
                    field.get_or_insert_default().push((t, false));
                    ended = false;
                }
                Piece::Break => {
                    fields.extend(field.take());
                    ended = false;
                }
                Piece::Expanded(text) => {
                    let mut run = String::new();
                    for c in text.chars() {
                        if !ifs.contains(&c) {
                            run.push(c);
                            continue;
                        }
                        if !run.is_empty() {
                            field.get_or_insert_default().push((std::mem::take(&mut run), true));
                            ended = false;
                        }
                        if matches!(c, ' ' | '\t' | '\n') {
                            if let Some(done) = field.take() {
                                fields.push(done);
                                ended = true;
                            }
                        } else if let Some(done) = field.take() {
                            fields.push(done);
                            ended = false;
                        } else if ended {
                            ended = false;
                        } else {
                            fields.push(vec![(String::new(), false)]);
                        }
                    }
                    if !run.is_empty() {
                        field.get_or_insert_default().push((run, true));
                        ended = false;
                    }
                }
            }
        }
        fields.extend(field);
        fields
    }
}

/// Whether bash may see a brace expansion here.
pub(super) fn has_braces(parts: &[Part]) -> bool {
    let mut open = false;
    let mut separated = false;
    for part in parts {
        match part {
            Part::Literal(text) => {
                for (i, c) in text.char_indices() {
                    match c {
                        '{' => open = true,
                        ',' if open => separated = true,
                        '.' if open && text[i..].starts_with("..") => separated = true,
                        '}' if open && separated => return true,
                        _ => {}
                    }
                }
            }
            _ if open => {}
            _ => {}
        }
    }
    false
}
