//! What can be seen in the file and its values.

use std::path::Path;

use super::{Finding, Severity};
use crate::conf::directive::{DIRECTIVES, is_directive};
use crate::conf::{Values, ere};
use crate::model::KernelId;

/// The file under judgement, and what was found so far.
pub(super) struct Lint<'a> {
    path: &'a Path,
    text: &'a str,
    values: &'a Values,
    kernel: &'a KernelId,
    pub(super) findings: Vec<Finding>,
}

impl<'a> Lint<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str, values: &'a Values, kernel: &'a KernelId) -> Self {
        Self { path, text, values, kernel, findings: Vec::new() }
    }

    pub(super) fn at(&mut self, line: Option<usize>, severity: Severity, why: String, write: String) {
        let finding = Finding { file: self.path.to_owned(), line, severity, why, write };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    /// A sentence of the recipe's: what is wrong, then after the first semicolon what to write.
    pub(super) fn rule(&mut self, severity: Severity, sentence: &str) {
        let (why, write) = sentence.rsplit_once("; ").unwrap_or((sentence, ""));
        let directive = sentence.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '[' | ']'))).next();
        let line = directive.and_then(|d| self.line_of(d));
        self.at(line, severity, why.to_owned(), write.to_owned());
    }

    /// Where a directive is set: `NAME[i]` at its own line, else at the first of its name.
    pub(super) fn line_of(&self, directive: &str) -> Option<usize> {
        let name = directive.split('[').next().unwrap_or(directive);
        if !is_directive(name) {
            return None;
        }
        let sets = |line: &str, what: &str| {
            line.trim_start().strip_prefix(what).is_some_and(|rest| {
                rest.starts_with('=') || rest.starts_with("+=") || what == name && rest.starts_with('[')
            })
        };
        let find = |what: &str| self.text.lines().position(|line| sets(line, what)).map(|n| n + 1);
        find(directive).or_else(|| find(name))
    }

    pub(super) fn all(&mut self) {
        self.line_ends();
        self.names();
        self.running_kernel();
        self.out_of_reach();
        self.autoinstall();
        self.make();
        self.patterns();
        self.version();
        self.placeholders();
    }

    fn line_ends(&mut self) {
        if let Some(n) = self.text.lines().position(|_| true).filter(|_| self.text.contains("\r\n")) {
            let why = "its lines end as on Windows: bash takes the carriage return for a part of words".to_owned();
            self.at(Some(n + 1), Severity::Warning, why, "save it with Unix line ends".to_owned());
        }
    }

    /// Names that are nearly a directive.
    fn names(&mut self) {
        for (n, line) in self.text.lines().enumerate() {
            let end = line.find(|c: char| !(c.is_ascii_uppercase() || c == '_')).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            let sets = rest.starts_with('=') || rest.starts_with("+=") || rest.starts_with('[') && rest.contains("]=");
            if !sets || name.len() < 4 || is_directive(name) {
                continue;
            }
            if let Some(near) = DIRECTIVES.iter().find(|d| is_near(name, d)) {
                let why = format!("{name} is no directive, so it has no effect");
                self.at(Some(n + 1), Severity::Warning, why, format!("write {near} if that is what was meant"));
            }
        }
    }

    fn running_kernel(&mut self) {
        for (n, line) in self.text.lines().enumerate() {
            let code = line.split(" #").next().unwrap_or(line);
            if !code.trim_start().starts_with('#') && code.contains("uname -r") && !code.contains(":-") {
                let why = "`uname -r` is the running kernel, which is not always the one to build for".to_owned();
                self.at(Some(n + 1), Severity::Warning, why, "write $kernelver".to_owned());
            }
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
            let Ok(pattern) = regex::Regex::new(pattern) else { continue };
            for (n, line) in self.text.lines().enumerate() {
                if let Some(found) = pattern.find(line).filter(|_| !line.trim_start().starts_with('#')) {
                    let what = found.as_str().trim_matches(|c: char| c.is_whitespace() || "`;&|(\"'=<>:".contains(c));
                    let why = format!("{what}: while this file is read and a driver is built there is {missing}");
                    self.at(Some(n + 1), Severity::Warning, why, write.to_owned());
                }
            }
        }
    }

    fn autoinstall(&mut self) {
        if self.values.scalar("AUTOINSTALL").is_none_or(str::is_empty) {
            let why = "AUTOINSTALL is not set, so nothing is built when a new kernel comes".to_owned();
            self.at(self.line_of("AUTOINSTALL"), Severity::Warning, why, "write AUTOINSTALL=\"yes\"".to_owned());
        }
    }

    /// A command that names neither the kernel nor is given it as KERNELRELEASE, as a bare `make` is.
    fn make(&mut self) {
        let release = self.kernel.release.as_str();
        let lines: Vec<(u32, String)> = self.values.elements("MAKE").map(|(i, line)| (i, line.to_owned())).collect();
        for (i, line) in lines {
            let is_bare = line.trim_start() == "make" || line.trim_start().starts_with("make ");
            if !is_bare && !line.is_empty() && !line.contains(release) && !line.contains("kernelver") {
                let directive = format!("MAKE[{i}]");
                let why = format!("{directive} does not say which kernel to build for");
                let write = "write KERNELRELEASE=$kernelver into it, or -C $kernel_source_dir".to_owned();
                self.at(self.line_of(&directive), Severity::Warning, why, write);
            }
        }
    }

    fn patterns(&mut self) {
        for name in ["BUILD_EXCLUSIVE_KERNEL", "BUILD_EXCLUSIVE_ARCH"] {
            let all: Vec<(u32, String)> = self.values.elements(name).map(|(i, p)| (i, p.to_owned())).collect();
            for (i, pattern) in all {
                if !pattern.is_empty() && ere::compile(&pattern).is_ok_and(|regex| regex.is_match("")) {
                    let directive = format!("{name}[{i}]");
                    let why = format!("{directive}=\"{pattern}\" matches everything, so it excludes nothing");
                    let write = "leave it out, or write what has to be there".to_owned();
                    self.at(self.line_of(&directive), Severity::Warning, why, write);
                }
            }
        }
        for name in ["BUILD_EXCLUSIVE_KERNEL", "MAKE_MATCH", "PATCH_MATCH"] {
            let all: Vec<(u32, String)> = self.values.elements(name).map(|(i, p)| (i, p.to_owned())).collect();
            for (i, pattern) in all {
                let directive = format!("{name}[{i}]");
                let line = self.line_of(&directive);
                if has_bare_dot(&pattern) {
                    let why =
                        format!("{directive}=\"{pattern}\": a bare '.' stands for any character, as in 6.1 and 601");
                    self.at(line, Severity::Warning, why, "write \\. for a dot".to_owned());
                }
                if pattern.starts_with(|c: char| c.is_ascii_digit()) {
                    let why = format!(
                        "{directive}=\"{pattern}\" also matches in the middle of a release, as 5.4 does in 6.15.4"
                    );
                    self.at(line, Severity::Warning, why, "begin it with ^".to_owned());
                }
            }
        }
    }

    fn version(&mut self) {
        for name in ["PACKAGE_NAME", "PACKAGE_VERSION"] {
            let Some(value) = self.values.scalar(name) else { continue };
            let odd = value
                .chars()
                .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_' | '~' | ':' | '@' | '#')));
            if let Some(odd) = odd {
                let why = format!("{name}=\"{value}\" holds '{odd}', which folders and packages cannot all carry");
                self.at(self.line_of(name), Severity::Warning, why, "write letters, digits and . + - _ ~".to_owned());
            }
        }
    }

    /// What a build system should have filled in.
    fn placeholders(&mut self) {
        let Ok(placeholder) = regex::Regex::new("@[A-Za-z_]+@|#[A-Z_]{3,}#|%\\{[a-z_]+\\}|\\{\\{ ?[a-z_.]+ ?\\}\\}")
        else {
            return;
        };
        let found: Vec<(String, String)> = self
            .values
            .entries()
            .filter_map(|(name, i, text)| Some((format!("{name}[{i}]"), placeholder.find(text)?.as_str().to_owned())))
            .collect();
        for (directive, what) in found {
            let directive = if self.line_of(&directive).is_some() { directive } else { "?".to_owned() };
            let line = self.line_of(&directive);
            let why = format!("{what} was never filled in");
            self.at(
                line,
                Severity::Error,
                why,
                "run the build system that makes this file, or write the value".to_owned(),
            );
        }
    }
}

/// A dot between digits that stands for any character.
fn has_bare_dot(pattern: &str) -> bool {
    let bytes = pattern.as_bytes();
    let mut in_set = false;
    for (i, c) in bytes.iter().enumerate() {
        match c {
            b'[' => in_set = true,
            b']' => in_set = false,
            b'.' if !in_set
                && i > 0
                && bytes[i - 1].is_ascii_digit()
                && bytes.get(i + 1).is_some_and(|n| n.is_ascii_digit() || *n == b'[') =>
            {
                return true;
            }
            _ => {}
        }
    }
    false
}

/// One letter too many, too few, or another, or an S at the end.
fn is_near(name: &str, directive: &str) -> bool {
    let (a, b) = if name.len() <= directive.len() { (name, directive) } else { (directive, name) };
    let common = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    match b.len() - a.len() {
        0 => a[common..].get(1..) == b[common..].get(1..) && common < a.len(),
        1 => a[common..] == b[common + 1..],
        _ => false,
    }
}
