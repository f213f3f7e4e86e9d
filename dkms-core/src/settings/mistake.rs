//! Mistakes in files of settings, and where they stand.

use std::fmt;
use std::path::PathBuf;

use crate::conf::ConfFile;

/// A setting that is not understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Which file; none for a variable of the environment.
    pub path: Option<PathBuf>,
    /// Which line, from 1; none where no line assigns it as it is written.
    pub line: Option<usize>,
    /// What is wrong, and what to write instead.
    pub why: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.path, self.line) {
            (Some(path), Some(line)) => write!(f, "{}:{line}: {}", path.display(), self.why),
            (Some(path), None) => write!(f, "{}: {}", path.display(), self.why),
            (None, _) => write!(f, "the environment: {}", self.why),
        }
    }
}

/// Where a variable of bash files got a value: the last line that assigns it and has the value in it, else the last that
/// assigns it. Only the value is certain, so that it decides among the branches of a condition.
pub(super) fn place_of(files: &[ConfFile], name: &str, value: &str) -> Option<(PathBuf, usize)> {
    let mut last = None;
    let mut with_value = None;
    for file in files {
        for (at, line) in String::from_utf8_lossy(&file.text).lines().enumerate() {
            let Some(rest) = assigned(line, name) else { continue };
            let place = Some((file.path.clone(), at + 1));
            if rest.contains(value) {
                with_value.clone_from(&place);
            }
            last = place;
        }
    }
    with_value.or(last)
}

/// What a line assigns to a variable, with all that follows on it.
fn assigned<'l>(line: &'l str, name: &str) -> Option<&'l str> {
    if line.trim_start().starts_with('#') {
        return None;
    }
    let places = line.match_indices(name).filter_map(|(at, _)| {
        let (before, rest) = (line.get(..at)?, line.get(at + name.len()..)?);
        let alone = before.chars().next_back().is_none_or(|c| c.is_whitespace() || ";&|({".contains(c));
        let rest = rest.strip_prefix("+=").or_else(|| rest.strip_prefix('='))?;
        alone.then_some(rest)
    });
    places.last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain(&["verbose=x\n"], Some((0, 1)))]
    #[case::the_last(&["verbose=x\n\nverbose='x'\n"], Some((0, 3)))]
    #[case::the_last_file(&["verbose=x\n", "a=1\n  export verbose=\"x\"\n"], Some((1, 2)))]
    #[case::the_branch_that_was_taken(&["if true\nthen verbose=x\nelse verbose=y\nfi\n"], Some((0, 2)))]
    #[case::put_together(&["a=x\nverbose=$a\n", "b=x\n"], Some((0, 2)))]
    #[case::another_name(&["not_verbose=x\nverbose_too=x\n"], None)]
    #[case::a_comment(&["verbose=x\n# verbose=x\n"], Some((0, 1)))]
    #[case::on_one_line(&["a=1;verbose=x\n"], Some((0, 1)))]
    #[case::longer(&["verbose+=x\n"], Some((0, 1)))]
    #[case::not_here(&["read verbose <<< x\n"], None)]
    fn the_place_is_where_the_value_comes_from(#[case] texts: &[&str], #[case] wanted: Option<(usize, usize)>) {
        let path = |n: usize| PathBuf::from(format!("{n}.conf"));
        let file = |(n, text): (usize, &&str)| ConfFile { path: path(n), text: text.as_bytes().to_vec() };
        let files: Vec<ConfFile> = texts.iter().enumerate().map(file).collect();
        assert_eq!(place_of(&files, "verbose", "x"), wanted.map(|(n, line)| (path(n), line)));
    }
}
