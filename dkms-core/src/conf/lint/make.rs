//! MAKE lines: whether they build for the kernel they are asked for.

use std::path::{Component, Path, PathBuf};

use super::checks::Lint;
use super::makefile::{Makefile, asks_running_kernel};
use super::source::{Source, read_small};

/// Where a MAKE line runs, and what kernel it is run for.
pub(super) struct Around<'a> {
    /// `$kernelver`.
    pub release: &'a str,
    /// `$kernel_source_dir`.
    pub headers: &'a Path,
    /// The classic build folder; none when nothing says which package it is.
    pub build: Option<&'a Path>,
    /// What lies beside dkms.conf; none when that lies alone.
    pub source: Option<&'a Source>,
}

impl Around<'_> {
    /// Whether a text says which kernel to build for.
    fn is_told(&self, text: &str) -> bool {
        let version = self.release.split('-').next().unwrap_or(self.release);
        text.contains(version) || text.contains("kernelver") || text.contains(&*self.headers.to_string_lossy())
    }

    /// The folder of the source that a path of a MAKE line is; none when it is elsewhere.
    fn folder(&self, from: Option<&Path>, path: &str) -> Option<PathBuf> {
        let (source, from) = (self.source?, from?);
        let path = match (self.build, Path::new(path)) {
            (Some(build), p) if p.is_absolute() => source.folder.join(p.strip_prefix(build).ok()?),
            (None, p) if p.is_absolute() => return None,
            (_, p) => from.join(p),
        };
        let inside = path.components().all(|c| c != Component::ParentDir) && !path.to_string_lossy().contains('$');
        inside.then_some(path)
    }
}

/// Judges every MAKE line.
pub(super) fn check(lint: &mut Lint<'_>, around: &Around<'_>) {
    let lines: Vec<(u32, String)> = lint.values.elements("MAKE").map(|(i, line)| (i, line.to_owned())).collect();
    let count = u32::try_from(lines.len()).unwrap_or(u32::MAX);
    for (i, line) in lines {
        let directive = format!("MAKE[{i}]");
        if i >= count {
            let why = format!("{directive} is never run, since an index before it is free");
            lint.warn(&directive, why, "number them from 0");
            continue;
        }
        let has_match = lint.values.at("MAKE_MATCH", i).is_some_and(|m| !m.is_empty());
        if i > 0 && !has_match && !line.trim().is_empty() {
            let why = format!("{directive} is never run: only MAKE[0] needs no MAKE_MATCH");
            lint.warn(&directive, why, &format!("write MAKE_MATCH[{i}]=\"…\", or make it MAKE[0]"));
            continue;
        }
        if asks_running_kernel(lint.raw_of(&directive).unwrap_or_default()) {
            // That line is told so already.
            continue;
        }
        if let Some((why, write)) = judge(lint, around, &line) {
            lint.warn(&directive, format!("{directive} {why}"), &write);
        }
    }
}

fn judge(lint: &Lint<'_>, around: &Around<'_>, line: &str) -> Option<(String, String)> {
    if let Some(other) = other_kernel(line, around.release) {
        let write = "write $kernel_source_dir, or /lib/modules/$kernelver/build".to_owned();
        return Some((format!("builds for kernel {other}, whichever is asked for"), write));
    }
    let mut from = around.source.map(|s| s.folder.clone());
    let told = around.is_told(line);
    let prepared = lint.values.scalar("PRE_BUILD").is_some_and(|p| around.is_told(p));
    let mut makes = false;
    for (n, command) in commands(line).iter().enumerate() {
        let Some(Command { words, make, is_bare }) = Command::read(command) else { continue };
        if words.first().is_some_and(|w| w == "cd") {
            from = words.get(1).and_then(|to| around.folder(from.as_deref(), to));
            continue;
        }
        let Some(make) = make else {
            if let Some(found) = script(around, from.as_deref(), &words).filter(|_| !told) {
                return Some(found);
            }
            continue;
        };
        if let Some(headers) = fixed_headers(around, &words).filter(|_| !told) {
            let why = format!("builds against {headers}, whichever kernel is asked for");
            return Some((why, "write -C $kernel_source_dir".to_owned()));
        }
        // KERNELRELEASE goes to the make that the whole line begins with.
        let is_given = n == 0 && is_bare;
        makes |= !is_given;
        let mut passed: Vec<&str> = words
            .iter()
            .filter_map(|w| w.split_once('='))
            .filter(|(name, value)| around.is_told(value) || *name == "KERNELRELEASE")
            .map(|(name, _)| name)
            .collect();
        passed.extend(is_given.then_some("KERNELRELEASE"));
        let Some(at) = makefile_of(around, from.as_deref(), words.get(make..).unwrap_or_default()) else {
            // Elsewhere, most often the kernel's own.
            makes &= !told;
            continue;
        };
        let Some(text) = read_small(&at) else { continue };
        let makefile = Makefile::parse(&text);
        if is_given && makefile.has_target_without && !makefile.has_target {
            let why = format!(
                "begins with make, which is therefore given KERNELRELEASE; with that, {} has no target, so nothing is built",
                at.display()
            );
            return Some((why, "write make -C $kernel_source_dir M=… , or 'make' in quotes".to_owned()));
        }
        let told_by_name = makefile.names("kernelver") || passed.iter().any(|name| makefile.names(name));
        match makefile.running_kernel {
            Some(n) if !told_by_name && !makefile.includes && !prepared => {
                let given = if passed.is_empty() { "nothing".to_owned() } else { passed.join(" and ") };
                let why = format!(
                    "builds for the running kernel: {}:{n} asks `uname -r`, and does not look at {given}",
                    at.display()
                );
                return Some((
                    why,
                    "pass $kernelver, or $kernel_source_dir, in a variable that is looked at".to_owned(),
                ));
            }
            // What it includes, and the makes it starts, may look at more.
            _ if told_by_name || makefile.includes || makefile.names("MAKE") => makes = false,
            _ => {}
        }
    }
    let unsaid = makes && !told && !prepared;
    unsaid.then(|| {
        let write = "write KERNELRELEASE=$kernelver into it, or -C $kernel_source_dir".to_owned();
        ("does not say which kernel to build for".to_owned(), write)
    })
}

/// The kernel source that kbuild is started in, when that is a fixed place.
fn fixed_headers<'w>(around: &Around<'_>, words: &'w [String]) -> Option<&'w str> {
    let is_kbuild = words.iter().any(|w| ["M=", "SUBDIRS=", "KBUILD_EXTMOD="].iter().any(|v| w.starts_with(v)));
    let at = words.iter().position(|w| w == "-C")?;
    let folder = words.get(at + 1)?.as_str();
    (is_kbuild && folder.starts_with('/') && !folder.contains('$') && !around.is_told(folder)).then_some(folder)
}

/// A kernel's folder that is not the asked kernel's.
fn other_kernel<'l>(line: &'l str, release: &str) -> Option<&'l str> {
    line.match_indices("/lib/modules/").find_map(|(at, word)| {
        let rest = &line[at + word.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "._+-~".contains(c))).unwrap_or(rest.len());
        let name = &rest[..end];
        (name.starts_with(|c: char| c.is_ascii_digit()) && name != release).then_some(name)
    })
}

/// A script of the source that asks for the running kernel and not for the one it is run for.
fn script(around: &Around<'_>, from: Option<&Path>, words: &[String]) -> Option<(String, String)> {
    let mut words = words.iter().filter(|w| !w.contains('='));
    let first = words.next()?;
    let name = if matches!(first.as_str(), "sh" | "bash" | "/bin/sh" | "/bin/bash") { words.next()? } else { first };
    let at = around.folder(from, name)?;
    let text = read_small(&at)?;
    let line = text.lines().position(|l| !l.trim_start().starts_with('#') && asks_running_kernel(l))?;
    let looks = ["kernelver", "KERNELRELEASE", "$1", "${1"].iter().any(|w| text.contains(w));
    (!looks).then(|| {
        let why = format!("builds for the running kernel: {}:{} asks `uname -r`", at.display(), line + 1);
        (why, "look at $kernelver there; it is in the environment".to_owned())
    })
}

/// The Makefile a make command reads, when it is one of the source.
fn makefile_of(around: &Around<'_>, from: Option<&Path>, words: &[String]) -> Option<PathBuf> {
    let option = |short: &str, long: &str| {
        words.iter().enumerate().find_map(|(i, w)| {
            let joined = w.strip_prefix(long).and_then(|r| r.strip_prefix('='));
            let joined = joined.or_else(|| w.strip_prefix(short).filter(|r| !r.is_empty() && !w.starts_with("--")));
            if w == short || w == long { words.get(i + 1).map(String::as_str) } else { joined }
        })
    };
    let folder = match option("-C", "--directory") {
        Some(folder) => around.folder(from, folder)?,
        None => from?.to_owned(),
    };
    if let Some(file) = option("-f", "--file") {
        return around.folder(Some(&folder), file).filter(|f| f.is_file());
    }
    ["GNUmakefile", "makefile", "Makefile"].iter().map(|n| folder.join(n)).find(|f| f.is_file())
}

/// The commands of a line, apart at `;`, `&&`, `||`, `|` and parentheses outside quotes.
fn commands(line: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(q), c) if c == q => quote = None,
            (None, ';' | '&' | '|' | '(' | ')' | '\n') => {
                all.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = all.last_mut() {
            last.push(c);
        }
    }
    all.retain(|c| !c.trim().is_empty());
    all
}

/// One command, cut into words.
struct Command {
    words: Vec<String>,
    /// Where `make` stands, when it is one.
    make: Option<usize>,
    /// Whether it begins with the bare word `make`.
    is_bare: bool,
}

impl Command {
    fn read(text: &str) -> Option<Self> {
        let words: Vec<String> = text.split_whitespace().map(|w| w.replace(['\'', '"'], "")).collect();
        let first = text.split_whitespace().next()?;
        let program = words.iter().position(|w| !w.contains('=') && w != "env" && w != "exec")?;
        let is_make = words.get(program).is_some_and(|w| Path::new(w).file_name().is_some_and(|n| n == "make"));
        Some(Self { words, make: is_make.then_some(program), is_bare: first == "make" })
    }
}
