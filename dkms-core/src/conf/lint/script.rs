//! The text of a dkms.conf as a shell would cut it: which line assigns what, and what is code.
//!
//! Only places are taken from here, never values: those come from the evaluator.

/// One assignment as it stands in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Assignment {
    /// Line, from 1, where it begins.
    pub line: usize,
    /// The variable.
    pub name: String,
    /// What stands between brackets; the position for an element of `NAME=( … )`.
    pub index: Option<String>,
    /// The right-hand side with its quotes.
    pub raw: String,
}

/// A text, cut.
#[derive(Debug, Default)]
pub(super) struct Script {
    /// In the order of the text.
    pub assignments: Vec<Assignment>,
    /// Every line, without its comment.
    pub code: Vec<String>,
}

impl Script {
    pub(super) fn scan(text: &str) -> Self {
        let mut scan = Scan { chars: text.chars().collect(), at: 0, line: 1, comments: Vec::new(), found: Vec::new() };
        scan.run();
        let mut code = String::with_capacity(text.len());
        let mut comments = scan.comments.iter().peekable();
        for (i, c) in scan.chars.iter().enumerate() {
            comments.next_if(|(_, end)| *end <= i);
            if comments.peek().is_none_or(|(start, _)| i < *start) {
                code.push(*c);
            }
        }
        Self { assignments: scan.found, code: code.lines().map(str::to_owned).collect() }
    }

    /// Whether a variable's value is used anywhere.
    pub(super) fn uses(&self, name: &str) -> bool {
        self.code.iter().any(|line| {
            line.match_indices(name).any(|(at, _)| {
                let before = line[..at].trim_end_matches(['{', '!', '#']);
                let whole = !line[at + name.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
                whole && before.ends_with('$')
            })
        })
    }
}

/// Whether a right-hand side can have given a value: its literal parts are there, in order.
pub(super) fn fits(raw: &str, value: &str) -> bool {
    let parts = literals(raw);
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let [Some(whole)] = &parts[..] {
        return squeezed(whole) == squeezed(value);
    }
    let mut rest = value;
    for (i, part) in parts.iter().enumerate() {
        let Some(part) = part else { continue };
        // Blanks are joined in values; its words are what counts.
        for (j, word) in part.split_whitespace().enumerate() {
            let starts = i == 0 && j == 0;
            match rest.find(word) {
                Some(at) if !starts || at == 0 => rest = &rest[at + word.len()..],
                _ => return false,
            }
        }
    }
    true
}

/// The right-hand side without quotes: literal parts, and holes where something is expanded.
fn literals(raw: &str) -> Vec<Option<String>> {
    let chars: Vec<char> = raw.chars().collect();
    let mut parts = Vec::new();
    let mut literal = String::new();
    let (mut i, mut double) = (0, false);
    while let Some(&c) = chars.get(i) {
        match c {
            '\'' if !double => {
                let end = find(&chars, i + 1, '\'');
                literal.extend(chars.get(i + 1..end).unwrap_or_default());
                i = end + 1;
                continue;
            }
            '"' => double = !double,
            '\\' => {
                i += 1;
                match chars.get(i) {
                    Some('\n') | None => {}
                    Some(c) => literal.push(*c),
                }
            }
            '$' | '`' => {
                let end = expansion(&chars, i);
                if end > i + 1 {
                    if !literal.is_empty() {
                        parts.push(Some(std::mem::take(&mut literal)));
                    }
                    parts.push(None);
                    i = end;
                    continue;
                }
                literal.push(c);
            }
            c => literal.push(c),
        }
        i += 1;
    }
    if !literal.is_empty() || parts.is_empty() {
        parts.push(Some(literal));
    }
    parts
}

struct Scan {
    chars: Vec<char>,
    at: usize,
    line: usize,
    comments: Vec<(usize, usize)>,
    found: Vec<Assignment>,
}

impl Scan {
    fn run(&mut self) {
        // Whether a command may begin here, and whether `export`, `local` … stand before.
        let mut command = true;
        while let Some(&c) = self.chars.get(self.at) {
            match c {
                '\n' => command = true,
                ';' | '&' | '|' | '(' | ')' => command = true,
                c if c.is_whitespace() => {}
                '\\' if self.chars.get(self.at + 1) == Some(&'\n') => {}
                '#' => {
                    let end = find(&self.chars, self.at, '\n');
                    self.comments.push((self.at, end));
                    self.at = end;
                    continue;
                }
                '<' | '>' => {}
                _ if command && self.assignment() => continue,
                _ => {
                    let start = self.at;
                    let end = word_end(&self.chars, start);
                    let word: String = self.chars.get(start..end).unwrap_or_default().iter().collect();
                    command = leads(&word) || command && word.starts_with('-');
                    self.skip_to(end.max(start + 1));
                    continue;
                }
            }
            self.skip_to(self.at + 1);
        }
    }

    /// Moves on, counting lines.
    fn skip_to(&mut self, end: usize) {
        let end = end.min(self.chars.len());
        self.line += self.chars[self.at..end].iter().filter(|c| **c == '\n').count();
        self.at = end;
    }

    /// Takes an assignment, when one begins here.
    fn assignment(&mut self) -> bool {
        let is_name = |c: &&char| c.is_ascii_alphanumeric() || **c == '_';
        let name: String = self.chars[self.at..].iter().take_while(is_name).collect();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return false;
        }
        let mut i = self.at + name.len();
        let mut index = None;
        if self.chars.get(i) == Some(&'[') {
            let Some(length) = self.chars[i + 1..].iter().position(|c| matches!(c, ']' | '\n')) else { return false };
            index = Some(self.chars[i + 1..i + 1 + length].iter().collect());
            i += length + 2;
        }
        if self.chars.get(i) == Some(&'+') {
            i += 1;
        }
        if self.chars.get(i) != Some(&'=') {
            return false;
        }
        i += 1;
        if self.chars.get(i) == Some(&'(') {
            self.skip_to(i + 1);
            self.elements(&name);
            return true;
        }
        let end = word_end(&self.chars, i);
        let raw = self.chars[i..end].iter().collect();
        self.found.push(Assignment { line: self.line, name, index, raw });
        self.skip_to(end);
        true
    }

    /// The elements of `NAME=( … )`, after its parenthesis.
    fn elements(&mut self, name: &str) {
        let mut next = 0_u32;
        while let Some(&c) = self.chars.get(self.at) {
            match c {
                ')' => return self.skip_to(self.at + 1),
                '#' => {
                    let end = find(&self.chars, self.at, '\n');
                    self.comments.push((self.at, end));
                    self.at = end;
                }
                c if c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | '<' | '>') => self.skip_to(self.at + 1),
                _ => {
                    let end = word_end(&self.chars, self.at).max(self.at + 1);
                    let mut raw: String = self.chars[self.at..end].iter().collect();
                    if let Some((index, value)) = raw.strip_prefix('[').and_then(|r| r.split_once("]=")) {
                        next = index.parse().unwrap_or(next);
                        raw = value.to_owned();
                    }
                    let index = Some(next.to_string());
                    self.found.push(Assignment { line: self.line, name: name.to_owned(), index, raw });
                    next = next.saturating_add(1);
                    self.skip_to(end);
                }
            }
        }
    }
}

/// Words after which a command or an assignment may follow.
fn leads(word: &str) -> bool {
    const WORDS: [&str; 18] = [
        "{", "}", "!", "if", "then", "elif", "else", "fi", "while", "until", "do", "done", "esac", "export", "local",
        "declare", "readonly", "typeset",
    ];
    WORDS.contains(&word)
}

fn find(chars: &[char], from: usize, what: char) -> usize {
    chars.iter().skip(from).position(|c| *c == what).map_or(chars.len(), |n| from + n)
}

/// Where a word ends that begins at an index.
fn word_end(chars: &[char], mut i: usize) -> usize {
    let mut double = false;
    while let Some(&c) = chars.get(i) {
        match c {
            '\\' => i += 1,
            '"' => double = !double,
            '\'' if !double => i = find(chars, i + 1, '\''),
            '$' | '`' => {
                i = expansion(chars, i);
                continue;
            }
            c if !double && (c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')' | '<' | '>')) => return i,
            _ => {}
        }
        i += 1;
    }
    chars.len()
}

/// Where what begins with `$` or a backquote at an index ends; the next index when nothing is expanded there.
fn expansion(chars: &[char], start: usize) -> usize {
    let after = chars.get(start + 1);
    if chars.get(start) == Some(&'`') {
        return (find(chars, start + 1, '`') + 1).min(chars.len());
    }
    let (open, close) = match after {
        Some('(') => ('(', ')'),
        Some('{') => ('{', '}'),
        Some(c) if c.is_ascii_alphanumeric() || *c == '_' => {
            let name = chars[start + 1..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').count();
            return start + 1 + name;
        }
        _ => return start + 1,
    };
    let (mut depth, mut double, mut i) = (0_usize, false, start + 1);
    while let Some(&c) = chars.get(i) {
        match c {
            '\\' => i += 1,
            '"' => double = !double,
            '\'' if !double => i = find(chars, i + 1, '\''),
            c if c == open => depth += 1,
            c if c == close => {
                depth -= 1;
                if depth == 0 {
                    return i + 1;
                }
            }
            _ => {}
        }
        i += 1;
    }
    chars.len()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn scan(text: &str) -> Vec<(usize, String, Option<String>, String)> {
        Script::scan(text).assignments.into_iter().map(|a| (a.line, a.name, a.index, a.raw)).collect()
    }

    #[rstest]
    #[case("A=1\nB[2]='x y'", &[(1, "A", None, "1"), (2, "B", Some("2"), "'x y'")])]
    #[case("# A=1\n[ -z x ] && A=2 # B=3", &[(2, "A", None, "2")])]
    #[case("A=\"a\nb\"\nB+=c", &[(1, "A", None, "\"a\nb\""), (3, "B", None, "c")])]
    #[case("if x; then A[$i]=b; fi", &[(1, "A", Some("$i"), "b")])]
    #[case("export A=1\nlocal -r B=2", &[(1, "A", None, "1"), (2, "B", None, "2")])]
    #[case("A=(\n x # one\n [4]='y'\n z)\nB=1", &[
        (2, "A", Some("0"), "x"), (3, "A", Some("4"), "'y'"), (4, "A", Some("5"), "z"), (5, "B", None, "1")])]
    #[case("echo A=1; A=$(b \"c)\" d)e", &[(1, "A", None, "$(b \"c)\" d)e")])]
    #[case("case $x in a) A=1 ;; esac", &[(1, "A", None, "1")])]
    #[case("A=a\\\nb", &[(1, "A", None, "a\\\nb")])]
    #[case("A=\"unclosed", &[(1, "A", None, "\"unclosed")])]
    #[case("A[", &[])]
    #[case("A=x#y", &[(1, "A", None, "x#y")])]
    fn assignments(#[case] text: &str, #[case] wanted: &[(usize, &str, Option<&str>, &str)]) {
        let wanted: Vec<_> =
            wanted.iter().map(|(l, n, i, r)| (*l, (*n).to_owned(), i.map(str::to_owned), (*r).to_owned())).collect();
        assert_eq!(scan(text), wanted);
    }

    #[rstest]
    #[case("\"make -C $d M=${x}/build\"", "make -C /a M=/b/build", true)]
    #[case("\"make all\"", "make -C /a", false)]
    #[case("'make'", "make", true)]
    #[case("'make  all'", "make all", true)]
    #[case("\"\"", "x", false)]
    #[case("$x", "anything", true)]
    #[case("a$x", "ba", false)]
    fn a_value_fits_its_text(#[case] raw: &str, #[case] value: &str, #[case] wanted: bool) {
        assert_eq!(fits(raw, value), wanted);
    }

    #[rstest]
    #[case("echo $A", true)]
    #[case("echo ${A[@]}", true)]
    #[case("echo ${#A}", true)]
    #[case("echo $AB A", false)]
    #[case("# $A", false)]
    fn uses(#[case] text: &str, #[case] wanted: bool) {
        assert_eq!(Script::scan(text).uses("A"), wanted);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_cut(text in "[A-C=\\[\\](){}'\"`$\\\\#;&| \n0-9-]{0,60}") {
            let script = Script::scan(&text);
            let lines = text.lines().count().max(1);
            proptest::prop_assert!(script.assignments.iter().all(|a| a.line >= 1 && a.line <= lines));
            for a in &script.assignments {
                fits(&a.raw, &text);
            }
        }
    }
}
