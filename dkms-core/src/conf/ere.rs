//! POSIX extended regular expressions as glibc's `regcomp` reads them, which is what bash's `=~` does.
//!
//! They are translated for the `regex` crate, which answers in linear time. Only whether something matches is the same
//! in both for every pattern; where a match begins, ends and what its groups hold may differ with alternation.

use regex::{Regex, RegexBuilder};

/// Compiles a pattern.
///
/// # Errors
/// What `regcomp` would refuse, in words; also back-references, which have no linear-time answer.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > 8192 {
        return Err("it is longer than 8 KiB".to_owned());
    }
    let chars = pattern.chars().collect();
    let translated = Translator { chars, at: 0, groups: Vec::new(), atom: 0, out: String::new() }.run()?;
    RegexBuilder::new(&translated).dot_matches_new_line(true).size_limit(4 << 20).nest_limit(200).build().map_err(|e| {
        match e {
            regex::Error::CompiledTooBig(_) => "it is too big".to_owned(),
            e => e.to_string().lines().last().unwrap_or("it is not valid").to_owned(),
        }
    })
}

/// Whether what a match captured is certainly what `regcomp`'s leftmost-longest rule captures too.
///
/// Without alternation and without repeated groups, only the overall length may differ; that is tried out.
pub(super) fn captures_are_certain(pattern: &str, text: &str, found: &regex::Captures<'_>) -> bool {
    let Some(whole) = found.get(0) else { return false };
    if pattern.contains('|') || [")*", ")+", ")?", "){"].iter().any(|r| pattern.contains(r)) {
        return false;
    }
    let Ok(exact) = compile(&format!("^({pattern})$")) else { return false };
    // Bytes are characters here: callers pass ASCII.
    (whole.end() + 1..=text.len()).all(|end| text.get(whole.start()..end).is_some_and(|longer| !exact.is_match(longer)))
}

struct Translator {
    chars: Vec<char>,
    at: usize,
    /// Where each open group begins in `out`.
    groups: Vec<usize>,
    /// Where the last atom begins in `out`: what a repetition repeats.
    atom: usize,
    out: String,
}

impl Translator {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn run(mut self) -> Result<String, String> {
        // Whether a repetition may follow: regcomp refuses one with nothing before it.
        let mut repeatable = false;
        while let Some(c) = self.peek() {
            self.at += 1;
            if !matches!(c, '*' | '+' | '?' | '{' | ')') {
                self.atom = self.out.len();
            }
            match c {
                '*' | '+' | '?' => {
                    if !repeatable {
                        return Err(format!("'{c}' has nothing to repeat"));
                    }
                    self.repeat(&c.to_string());
                }
                '{' => {
                    if !repeatable {
                        return Err("'{' has nothing to repeat".to_owned());
                    }
                    let interval = self.interval()?;
                    self.repeat(&interval);
                }
                '(' => {
                    self.groups.push(self.atom);
                    self.out.push('(');
                    repeatable = false;
                }
                ')' => {
                    match self.groups.pop() {
                        Some(start) => {
                            self.atom = start;
                            self.out.push(')');
                        }
                        // Without its partner it is an ordinary character.
                        None => {
                            self.atom = self.out.len();
                            self.literal(')');
                        }
                    }
                    repeatable = true;
                }
                '|' => {
                    self.out.push('|');
                    repeatable = false;
                }
                '^' | '$' => {
                    // No anchor can be repeated.
                    self.out.push(c);
                    repeatable = false;
                }
                '.' => {
                    self.out.push('.');
                    repeatable = true;
                }
                '[' => {
                    self.bracket()?;
                    repeatable = true;
                }
                '\\' => {
                    repeatable = self.escape()?;
                }
                c => {
                    self.literal(c);
                    repeatable = true;
                }
            }
        }
        if !self.groups.is_empty() {
            return Err("a '(' is never closed".to_owned());
        }
        Ok(self.out)
    }

    /// Puts a repetition; one on top of another needs a group, since `a+?` means something else here.
    fn repeat(&mut self, operator: &str) {
        let atom = self.out.split_off(self.atom);
        self.out.push_str("(?:");
        self.out.push_str(&atom);
        self.out.push_str(operator);
        self.out.push(')');
    }

    fn interval(&mut self) -> Result<String, String> {
        let close = self.chars[self.at..].iter().position(|&c| c == '}').ok_or("a '{' is never closed")?;
        let body: String = self.chars[self.at..self.at + close].iter().collect();
        self.at += close + 1;
        let bad = || format!("'{{{body}}}' is not a repetition count");
        let number = |text: &str| text.parse::<u32>().ok().filter(|&n| n <= 0x7fff);
        let (low, high) = match body.split_once(',') {
            None => {
                let n = number(&body).ok_or_else(bad)?;
                (n, Some(n))
            }
            Some((low, high)) => {
                let low = if low.is_empty() { 0 } else { number(low).ok_or_else(bad)? };
                (low, if high.is_empty() { None } else { Some(number(high).ok_or_else(bad)?) })
            }
        };
        if high.is_some_and(|h| h < low) {
            return Err(bad());
        }
        Ok(format!("{{{low},{}}}", high.map(|h| h.to_string()).unwrap_or_default()))
    }

    fn literal(&mut self, c: char) {
        self.out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    }

    /// What follows a backslash; whether it can be repeated.
    fn escape(&mut self) -> Result<bool, String> {
        let c = self.peek().ok_or("it ends in a backslash")?;
        self.at += 1;
        match c {
            // GNU extensions that glibc knows in every syntax.
            'w' => self.out.push_str("[A-Za-z0-9_]"),
            'W' => self.out.push_str("[^A-Za-z0-9_]"),
            's' => self.out.push_str("[ \\t\\n\\r\\f\\v]"),
            'S' => self.out.push_str("[^ \\t\\n\\r\\f\\v]"),
            'b' => self.out.push_str("(?-u:\\b)"),
            'B' => self.out.push_str("(?-u:\\B)"),
            '<' => self.out.push_str("(?-u:\\b{start})"),
            '>' => self.out.push_str("(?-u:\\b{end})"),
            '`' => self.out.push_str("\\A"),
            '\'' => self.out.push_str("\\z"),
            '1'..='9' => return Err(format!("back-references (\\{c}) are not supported")),
            c => self.literal(c),
        }
        Ok(!matches!(c, 'b' | 'B' | '<' | '>' | '`' | '\''))
    }

    fn bracket(&mut self) -> Result<(), String> {
        const OPEN: &str = "a '[' is never closed";
        let mut set = String::new();
        let negated = self.peek() == Some('^');
        if negated {
            self.at += 1;
        }
        let mut first = true;
        loop {
            let c = self.peek().ok_or(OPEN)?;
            self.at += 1;
            if c == ']' && !first {
                break;
            }
            first = false;
            if c == '[' && matches!(self.peek(), Some(':' | '.' | '=')) {
                let kind = self.peek().unwrap_or(':');
                self.at += 1;
                let mut name = String::new();
                loop {
                    let c = self.peek().ok_or(OPEN)?;
                    self.at += 1;
                    if c == kind && self.peek() == Some(']') {
                        self.at += 1;
                        break;
                    }
                    name.push(c);
                }
                if kind == ':' {
                    const CLASSES: &[&str] = &[
                        "alpha", "digit", "alnum", "upper", "lower", "space", "blank", "punct", "print", "graph",
                        "cntrl", "xdigit",
                    ];
                    if !CLASSES.contains(&name.as_str()) {
                        return Err(format!("there is no character class [:{name}:]"));
                    }
                    set.push_str(&format!("[:{name}:]"));
                    continue;
                }
                let mut chars = name.chars();
                let (Some(c), None) = (chars.next(), chars.next()) else {
                    return Err(format!("[{kind}{name}{kind}] names no character"));
                };
                self.range(c, &mut set)?;
                continue;
            }
            self.range(c, &mut set)?;
        }
        self.out.push_str(if negated { "[^" } else { "[" });
        self.out.push_str(&set);
        self.out.push(']');
        Ok(())
    }

    /// One character of a bracket expression, or the range it begins.
    fn range(&mut self, from: char, set: &mut String) -> Result<(), String> {
        let is_range = self.peek() == Some('-') && self.chars.get(self.at + 1).is_some_and(|&c| c != ']');
        set.push_str(&in_set(from));
        if is_range {
            self.at += 1;
            let to = self.peek().ok_or("a '[' is never closed")?;
            self.at += 1;
            if to == '[' && matches!(self.peek(), Some(':' | '.' | '=')) {
                return Err("a range ends in a class".to_owned());
            }
            if to < from {
                return Err(format!("the range {from}-{to} is empty"));
            }
            set.push('-');
            set.push_str(&in_set(to));
        }
        Ok(())
    }
}

fn in_set(c: char) -> String {
    if c.is_ascii_alphanumeric() { c.to_string() } else { format!("\\x{{{:x}}}", c as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("^(5\\.[6-9]\\.|5\\.[1-9][0-9]\\.|[6-9]\\.)", "6.1.0-56-amd64", true)]
    #[case("^(5\\.[6-9]\\.|5\\.[1-9][0-9]\\.|[6-9]\\.)", "5.4.0", false)]
    #[case("^((5\\.[0-5]($|[.-]))|(4\\.)|(3\\.1[0-9]))", "5.4-rc1", true)]
    #[case("^6\\.18[\\.-]", "6.18.1", true)]
    #[case("^6\\.18[\\.-]", "6.18\\x", true)] // A backslash is an ordinary character in brackets.
    #[case("\\d", "5", false)]
    #[case("\\d", "d", true)]
    #[case("a{,2}b", "b", true)]
    #[case("^a{2}$", "aa", true)]
    #[case("a+?c", "aac", true)]
    #[case("^(ab)*$", "abab", true)]
    #[case("[]x]", "]", true)]
    #[case("[^]x]", "]", false)]
    #[case("[a-]", "-", true)]
    #[case("[[:digit:]]+x", "12x", true)]
    #[case("[[:digit:]a]{2}", "1a", true)]
    #[case("a)", "a)", true)]
    #[case("", "anything", true)]
    #[case("a.c", "a\nc", true)]
    #[case("[&&~~]", "&", true)]
    #[case("é+x", "ééx", true)]
    #[case("\\.*$", "...", true)]
    fn table(#[case] pattern: &str, #[case] text: &str, #[case] wanted: bool) {
        assert_eq!(compile(pattern).unwrap().is_match(text), wanted);
    }

    #[rstest]
    #[case("(a")]
    #[case("*a")]
    #[case("a|*")]
    #[case("[a")]
    #[case("[[:nope:]]")]
    #[case("a{2,1}")]
    #[case("a{x}")]
    #[case("a{1")]
    #[case("\\")]
    #[case("(a)\\1")]
    #[case("[z-a]")]
    #[case("a$*")]
    #[case("\\b+")]
    fn refused(#[case] pattern: &str) {
        assert!(compile(pattern).is_err());
    }
}
