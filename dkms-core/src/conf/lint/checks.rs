//! What can be seen in the file and its values.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

use super::makefile::asks_running_kernel;
use super::script::{Assignment, Script, fits};
use super::{Finding, Severity, patterns};
use crate::conf::directive::{DIRECTIVES, is_directive};
use crate::conf::{ModuleRecipe, Values, version};

const NAME_CHARACTERS: &str = "write letters, digits and . + - _ ~";

/// The file under judgement, and what was found so far.
pub(super) struct Lint<'a> {
    path: &'a Path,
    text: &'a str,
    pub(super) script: Script,
    pub(super) values: &'a Values,
    pub(super) findings: Vec<Finding>,
}

impl<'a> Lint<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str, values: &'a Values) -> Self {
        Self { path, text, script: Script::scan(text), values, findings: Vec::new() }
    }

    pub(super) fn at(&mut self, line: Option<usize>, severity: Severity, why: String, write: String) {
        let finding = Finding { file: self.path.to_owned(), line, severity, why, write };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// A warning about a directive, where that is set.
    pub(super) fn warn(&mut self, directive: &str, why: String, write: &str) {
        self.at(self.line_of(directive), Severity::Warning, why, write.to_owned());
    }

    /// A sentence of the recipe's: what is wrong, then after the last semicolon what to write.
    ///
    /// Its first word is the directive, unless another is blamed.
    pub(super) fn rule(&mut self, severity: Severity, sentence: &str, blamed: &str) {
        // Those that say no more are about a name.
        let (why, write) = sentence.rsplit_once("; ").unwrap_or((sentence, NAME_CHARACTERS));
        let first = sentence.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '[' | ']'))).next();
        let directive = if blamed.is_empty() { first.unwrap_or_default() } else { blamed };
        let line = self.line_of(directive);
        self.at(line, severity, why.to_owned(), write.to_owned());
    }

    /// Where a directive, `NAME` or `NAME[i]`, got its value; where it is not set, the line of what belongs to it.
    pub(super) fn line_of(&self, directive: &str) -> Option<usize> {
        let (name, index) = cut(directive);
        if !is_directive(name) {
            return None;
        }
        let own = self.assignment_of(name, index).map(|a| a.line);
        if self.values.at(name, index).is_some() || !name.contains("_MODULE_") {
            return own;
        }
        let siblings = ["BUILT_MODULE_NAME", "DEST_MODULE_LOCATION", "BUILT_MODULE_LOCATION", "DEST_MODULE_NAME"];
        let sibling = siblings.iter().find(|s| self.values.at(s, index).is_some());
        sibling.and_then(|s| self.assignment_of(s, index)).map(|a| a.line).or(own)
    }

    /// The right-hand side a directive got its value from, as it stands in the text.
    pub(super) fn raw_of(&self, directive: &str) -> Option<&str> {
        let (name, index) = cut(directive);
        self.assignment_of(name, index).map(|a| a.raw.as_str())
    }

    /// The assignment that can have given a directive its value: the last one with its index; of those whose index is
    /// computed, the one with the same place among its likes.
    fn assignment_of(&self, name: &str, index: u32) -> Option<&Assignment> {
        let value = self.values.at(name, index);
        let all: Vec<&Assignment> = self.script.assignments.iter().filter(|a| a.name == name).collect();
        let has_index = |a: &&&Assignment| a.index.as_deref().unwrap_or("0").parse() == Ok(index);
        let is_computed = |a: &&&Assignment| a.index.as_deref().is_some_and(|i| i.parse::<u32>().is_err());
        let has_value = |a: &&&Assignment| value.is_some_and(|v| fits(&a.raw, v));
        let alike: Vec<_> = all.iter().filter(is_computed).filter(has_value).collect();
        let before = self.values.elements(name).filter(|(i, text)| *i < index && Some(*text) == value).count();
        let exact = all.iter().filter(has_index).rfind(has_value);
        exact
            .or_else(|| alike.get(before).or(alike.last()).copied())
            .or_else(|| all.iter().rfind(has_index))
            .or_else(|| all.iter().rfind(is_computed))
            .or_else(|| all.last())
            .copied()
    }

    /// Where a module is named.
    pub(super) fn line_of_module(&self, module: &ModuleRecipe) -> Option<usize> {
        let name = module.built_name.as_str();
        let is_it = |(i, text): &(u32, &str)| {
            let place = self.values.at("BUILT_MODULE_LOCATION", *i).unwrap_or_default();
            let whole = format!("{place}/{text}");
            whole.rsplit('/').next() == Some(name)
                && whole.split('/').filter(|p| !p.is_empty() && *p != ".").count()
                    == module.built_location.split('/').filter(|p| !p.is_empty()).count() + 1
        };
        let index = self.values.elements("BUILT_MODULE_NAME").find(is_it).map(|(i, _)| i);
        match index {
            Some(i) => self.line_of(&format!("BUILT_MODULE_NAME[{i}]")),
            None => self.line_of("PACKAGE_NAME"),
        }
    }

    pub(super) fn all(&mut self) {
        self.line_ends();
        self.names();
        self.running_kernel();
        self.out_of_reach();
        self.autoinstall();
        self.modules_conf();
        self.indices();
        self.patterns();
        self.bounds();
        self.characters();
        self.placeholders();
    }

    fn line_ends(&mut self) {
        if let Some(n) = self.text.split('\n').position(|line| line.ends_with('\r')) {
            let why = "its lines end as on Windows: bash takes the carriage return for a part of words".to_owned();
            self.at(Some(n + 1), Severity::Warning, why, "save it with Unix line ends".to_owned());
        }
    }

    /// Names that are nearly a directive, and that nothing uses.
    fn names(&mut self) {
        const FAMILIES: [&str; 3] = ["BUILD_EXCLUSIVE_", "BUILT_MODULE_", "DEST_MODULE_"];
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for Assignment { line, name, .. } in &self.script.assignments {
            if name.len() < 4 || is_directive(name) || !seen.insert(name) || self.script.uses(name) {
                continue;
            }
            let upper = name.to_ascii_uppercase();
            let nearest = DIRECTIVES.iter().map(|d| (distance(&upper, d), d)).min();
            let Some((far, near)) = nearest else { continue };
            if far > 1 && !FAMILIES.iter().any(|f| upper.starts_with(f)) {
                continue;
            }
            found.push((*line, format!("{name} is no directive, so it has no effect"), *near));
        }
        for (line, why, near) in found {
            self.at(Some(line), Severity::Warning, why, format!("write {near} if that is what was meant"));
        }
    }

    fn running_kernel(&mut self) {
        // CLEAN is not run, so it does no harm there.
        let clean: Vec<usize> = self.script.assignments.iter().filter(|a| a.name == "CLEAN").map(|a| a.line).collect();
        let is_default = |n: usize, line: &str| {
            // `${kernelver:-$(uname -r)}`, and `[ -z "$kernelver" ]` before it.
            let before = self.script.code.get(n.saturating_sub(2)..=n).unwrap_or_default();
            [":-", ":="].iter().any(|w| line.contains(w))
                || before.iter().any(|l| l.contains("kernelver") && (l.contains("-z ") || l.contains("-n ")))
        };
        let lines: Vec<usize> = (self.script.code.iter().enumerate())
            .filter(|(n, line)| asks_running_kernel(line) && !clean.contains(&(n + 1)) && !is_default(*n, line))
            .map(|(n, _)| n + 1)
            .collect();
        for line in lines {
            let why = "`uname -r` is the running kernel, which is not always the one to build for".to_owned();
            self.at(Some(line), Severity::Warning, why, "write $kernelver".to_owned());
        }
    }

    /// What is not there for a driver's code, neither while this file is read nor while it is built.
    fn out_of_reach(&mut self) {
        const NETWORK: &str = r"/dev/(?:tcp|udp)/|(?:^|[\s`;&|(\x22'])(?:curl|wget|git\s+(?:clone|fetch|pull))(?:\s|$)";
        const FILES: &str = r"\$\{?HOME\b|(?:^|[\s=\x22'<>:])~/|(?:/root|/home)/|mok\.key|MOK\.priv|/etc/g?shadow";
        for (pattern, missing, write) in [
            (NETWORK, "no network", "ship what is needed with the source"),
            (FILES, "no home folder and no key in sight", "keep what is needed beside this file"),
        ] {
            let Ok(pattern) = Regex::new(pattern) else { continue };
            let found: Vec<(usize, String)> = (self.script.code.iter().enumerate())
                .filter_map(|(n, line)| Some((n + 1, pattern.find(line)?.as_str().to_owned())))
                .collect();
            for (line, what) in found {
                let what = what.trim_matches(|c: char| c.is_whitespace() || "`;&|(\"'=<>:".contains(c));
                let why = format!("{what}: while this file is read and a driver is built there is {missing}");
                self.at(Some(line), Severity::Warning, why, write.to_owned());
            }
        }
    }

    fn autoinstall(&mut self) {
        if self.values.scalar("AUTOINSTALL").is_none_or(str::is_empty) {
            let why = "AUTOINSTALL is not set, so nothing is built when a new kernel comes".to_owned();
            self.warn("AUTOINSTALL", why, "write AUTOINSTALL=\"yes\"");
        }
    }

    /// Each of a family; the recipe names but the first.
    fn modules_conf(&mut self) {
        let names: Vec<String> = self.values.0.keys().filter(|n| n.starts_with("MODULES_CONF")).cloned().collect();
        for name in names {
            let sentence = format!("{name} is deprecated and does nothing; ship a file for /etc/modprobe.d instead");
            self.rule(Severity::Warning, &sentence, "");
        }
    }

    /// Elements that belong to nothing.
    fn indices(&mut self) {
        let mut found = Vec::new();
        for (name, of) in [("MAKE_MATCH", "MAKE"), ("PATCH_MATCH", "PATCH")] {
            for (i, _) in
                self.values.elements(name).filter(|(i, text)| !text.is_empty() && self.values.at(of, *i).is_none())
            {
                found.push((format!("{name}[{i}]"), format!("there is no {of}[{i}]")));
            }
        }
        let modules = ["BUILT_MODULE_NAME", "BUILT_MODULE_LOCATION", "DEST_MODULE_NAME", "DEST_MODULE_LOCATION"];
        let last = modules.iter().filter_map(|n| self.values.elements(n).last()).map(|(i, _)| i).max().unwrap_or(0);
        for name in DIRECTIVES.iter().filter(|n| n.starts_with("BUILD_EXCLUSIVE_")) {
            for (i, _) in self.values.elements(name).filter(|(i, _)| *i > last) {
                found.push((format!("{name}[{i}]"), format!("there is no module {i}")));
            }
        }
        for (directive, what) in found {
            let why = format!("{directive} has no effect: {what}");
            self.warn(&directive, why, "give both the same index");
        }
    }

    fn patterns(&mut self) {
        let mut found = Vec::new();
        for name in ["BUILD_EXCLUSIVE_KERNEL", "BUILD_EXCLUSIVE_ARCH", "MAKE_MATCH", "PATCH_MATCH"] {
            let mut seen = BTreeSet::new();
            for (i, pattern) in self.values.elements(name).filter(|(_, p)| !p.is_empty()) {
                let complaints = match name {
                    "BUILD_EXCLUSIVE_ARCH" => patterns::exclusive_arch(pattern).into_iter().collect(),
                    "BUILD_EXCLUSIVE_KERNEL" => {
                        let all = patterns::exclusive_kernel(pattern);
                        all.map_or_else(|| patterns::for_releases(pattern), |all| vec![all])
                    }
                    _ => patterns::for_releases(pattern),
                };
                // A long list of patches often has the same pattern for each.
                if seen.insert(pattern) {
                    found.extend(complaints.into_iter().map(|c| (format!("{name}[{i}]"), pattern.to_owned(), c)));
                }
            }
        }
        for (directive, pattern, (why, write)) in found {
            self.warn(&directive, format!("{directive}=\"{pattern}\" {why}"), &write);
        }
    }

    /// BUILD_EXCLUSIVE_KERNEL_MIN, _MAX and _CONFIG.
    fn bounds(&mut self) {
        let mut found = Vec::new();
        for (name, max) in [("BUILD_EXCLUSIVE_KERNEL_MIN", false), ("BUILD_EXCLUSIVE_KERNEL_MAX", true)] {
            for (i, bound) in self.values.elements(name).filter(|(_, b)| !b.is_empty()) {
                let directive = format!("{name}[{i}]");
                let numbers: Vec<&str> = bound.split('.').collect();
                let is_series = numbers.len() == 2 && numbers.iter().all(|n| n.parse::<u32>().is_ok());
                let min = self.values.at("BUILD_EXCLUSIVE_KERNEL_MIN", i).filter(|m| !m.is_empty());
                if !bound.starts_with(|c: char| c.is_ascii_digit()) {
                    let why = format!("{directive}=\"{bound}\" is no version, and no pattern is taken here");
                    found.push((directive, why, "write a version, such as 5.15".to_owned()));
                } else if max && min.is_some_and(|min| version::compare(min, bound).is_gt()) {
                    let why =
                        format!("{directive}=\"{bound}\" is below BUILD_EXCLUSIVE_KERNEL_MIN, so no kernel is left");
                    found.push((directive, why, "swap them".to_owned()));
                } else if max && is_series {
                    let why = format!("{directive}=\"{bound}\" leaves out {bound}.0 and all of {bound} too");
                    found.push((
                        directive,
                        why,
                        format!("write {bound}.999 to have them in, else the last one that fits"),
                    ));
                }
            }
        }
        for (i, words) in self.values.elements("BUILD_EXCLUSIVE_CONFIG") {
            let is_option = |w: &str| {
                let name = w.strip_prefix('!').unwrap_or(w).strip_prefix("CONFIG_");
                name.is_some_and(|n| !n.is_empty() && n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
            };
            for word in words.split_whitespace().filter(|w| !is_option(w)) {
                let directive = format!("BUILD_EXCLUSIVE_CONFIG[{i}]");
                let why = format!("{directive}: {word} is no option's name, which is all that is looked for");
                found.push((directive, why, "write CONFIG_X, or !CONFIG_X for one that must not be".to_owned()));
            }
        }
        for (directive, why, write) in found {
            self.warn(&directive, why, &write);
        }
    }

    /// Characters that a folder name, make or a package manager trips over.
    fn characters(&mut self) {
        for name in ["PACKAGE_NAME", "PACKAGE_VERSION"] {
            let Some(value) = self.values.scalar(name).filter(|v| placeholder(v).is_none()) else { continue };
            let odd = value.chars().enumerate().find(|(i, c)| {
                !(c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '_' | '~') || *c == '-' && *i > 0)
            });
            if let Some((_, odd)) = odd {
                let trips = match odd {
                    ':' | ' ' => "with which the kernel's Makefile refuses a folder",
                    ',' => "which parts the words of `dkms status`",
                    '-' => "which makes an option of it",
                    _ => "which folders and packages cannot all carry",
                };
                let why = format!("{name}=\"{value}\" holds '{odd}', {trips}");
                self.warn(name, why, NAME_CHARACTERS);
            }
        }
    }

    /// What a build system should have filled in.
    fn placeholders(&mut self) {
        let found: BTreeSet<(String, String)> = self
            .values
            .entries()
            .filter_map(|(name, i, text)| Some((placeholder(text)?, format!("{name}[{i}]"))))
            .collect();
        for (what, directive) in found {
            let lines: Vec<usize> =
                (1..).zip(&self.script.code).filter(|(_, line)| line.contains(&what)).map(|(n, _)| n).collect();
            let write = match what.as_str() {
                "#MODULE_VERSION#" => {
                    "dh_dkms fills it in when a Debian package is built; for any other use write the version"
                }
                _ => "run the build system that makes this file, or write the value",
            };
            let lines =
                if lines.is_empty() { vec![self.line_of(&directive)] } else { lines.into_iter().map(Some).collect() };
            for line in lines {
                self.at(line, Severity::Error, format!("{what} was never filled in"), write.to_owned());
            }
        }
    }
}

/// Name and index of `NAME` or `NAME[i]`.
fn cut(directive: &str) -> (&str, u32) {
    let (name, index) = directive.split_once('[').unwrap_or((directive, "0"));
    (name, index.trim_end_matches(']').parse().unwrap_or(0))
}

/// The first word of a text that stands for one still to come.
fn placeholder(text: &str) -> Option<String> {
    const FORMS: &str = r"@[A-Za-z_][A-Za-z0-9_]*@|#[A-Z_]{3,}#|__[A-Z][A-Z0-9_]+\b|%[A-Z_]{3,}%|%\{[a-z_]+\}|\{\{ ?[A-Za-z_.]+ ?\}\}|\{[A-Z_]{2,}\}";
    let forms = Regex::new(FORMS).ok()?;
    let found = forms.find_iter(text).find(|found| {
        let (before, word) = (&text[..found.start()], found.as_str());
        // `sed s@A@B@`, and macros of the compiler, as in -D__KERNEL__.
        let is_part = word.starts_with(['_', '@']) && before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        !is_part && !before.ends_with('$')
    });
    found.map(|found| found.as_str().to_owned())
}

/// How many letters must be put in, left out, changed or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("MAKE", "MAKE", 0)]
    #[case("AUTO_INSTALL", "AUTOINSTALL", 1)]
    #[case("BULIT_MODULE_NAME", "BUILT_MODULE_NAME", 1)]
    #[case("STRIPS", "STRIP", 1)]
    #[case("", "AB", 2)]
    fn distances(#[case] a: &str, #[case] b: &str, #[case] wanted: usize) {
        assert_eq!(distance(a, b), wanted);
    }

    #[rstest]
    #[case("@VERSION@", Some("@VERSION@"))]
    #[case("x @E1000E@", Some("@E1000E@"))]
    #[case("#MODULE_VERSION#", Some("#MODULE_VERSION#"))]
    #[case("__PKG_VERSION__", Some("__PKG_VERSION__"))]
    #[case("make -j__JOBS", None)]
    #[case("'__EXCLUDE_MODULES'", Some("__EXCLUDE_MODULES"))]
    #[case("{VER}", Some("{VER}"))]
    #[case("%VERSION%", Some("%VERSION%"))]
    #[case("{{ version }}", Some("{{ version }}"))]
    #[case("make CFLAGS=-D__KERNEL__", None)]
    #[case("sed s@VERSION@1@ x", None)]
    #[case("make ${OPTS}", None)]
    #[case("1.0#2", None)]
    #[case("a@b", None)]
    fn placeholders(#[case] text: &str, #[case] wanted: Option<&str>) {
        assert_eq!(placeholder(text).as_deref(), wanted);
    }
}
