//! As much of a Makefile or Kbuild file as can be read without running it.
//!
//! Every branch of a condition counts, so what is said to be possible is too much rather than too little.

use std::collections::{BTreeMap, BTreeSet};

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Makefile {
    /// What `obj-*` can hold, without `.o`: module names, with their folder where one is given.
    pub objects: BTreeSet<String>,
    /// Whether `objects` may lack something: variables of elsewhere, functions, files that are included or made.
    pub open: bool,
    /// Whether there is any `obj-*` at all.
    pub is_kbuild: bool,
    /// The first line, from 1, where the running kernel is asked for, other than for a place to install to.
    pub running_kernel: Option<usize>,
    /// Whether another file is read in.
    pub includes: bool,
    /// Whether a recipe copies or moves modules.
    pub moves_modules: bool,
    /// Whether there is a target even when KERNELRELEASE is given.
    pub has_target: bool,
    /// Whether there is one when it is not.
    pub has_target_without: bool,
    text: String,
}

impl Makefile {
    pub(super) fn parse(text: &str) -> Self {
        let mut reader = Reader::default();
        for (line, number) in logical(text) {
            reader.line(&line, number);
        }
        reader.finish()
    }

    /// Whether a variable's name is anywhere in it.
    pub(super) fn names(&self, variable: &str) -> bool {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        self.text
            .match_indices(variable)
            .any(|(at, _)| !self.text[..at].ends_with(word) && !self.text[at + variable.len()..].starts_with(word))
    }
}

/// Lines with their continuations joined and without comments, each with the number of its first.
fn logical(text: &str) -> Vec<(String, usize)> {
    let mut lines = Vec::new();
    let mut open: Option<(String, usize)> = None;
    for (n, line) in text.lines().enumerate() {
        let (mut whole, first) = open.take().unwrap_or((String::new(), n + 1));
        let comment = line.match_indices('#').find(|(at, _)| !line[..*at].ends_with('\\')).map(|(at, _)| at);
        let code = comment.map_or(line, |at| &line[..at]);
        match line.strip_suffix('\\').filter(|_| comment.is_none()) {
            Some(more) => {
                whole.push_str(more);
                whole.push(' ');
                open = Some((whole, first));
            }
            None => {
                whole.push_str(code);
                lines.push((whole, first));
            }
        }
    }
    lines.extend(open);
    lines
}

#[derive(Default)]
struct Reader {
    found: Makefile,
    /// Everything a variable may hold.
    vars: BTreeMap<String, Vec<String>>,
    /// What was put into `obj-*`.
    values: Vec<String>,
    /// Branches that are open: whether each is taken with KERNELRELEASE given; none where that is not the question.
    branches: Vec<Option<bool>>,
}

impl Reader {
    fn line(&mut self, line: &str, number: usize) {
        self.found.text.push_str(line);
        self.found.text.push('\n');
        let is_recipe = line.starts_with('\t');
        let code = line.trim();
        if self.condition(code) {
            return;
        }
        let first = code.split_whitespace().next().unwrap_or_default();
        if matches!(first, "include" | "-include" | "sinclude") && !is_recipe {
            self.found.includes = true;
            self.found.open = true;
            self.found.has_target |= self.live();
        }
        if matches!(first, "define" | "$(eval") || code.starts_with("$(foreach") || code.contains("$(eval ") {
            self.found.open = true;
            self.found.has_target |= self.live();
        }
        if asks_running_kernel(code) && self.live() && !goes_elsewhere(code) {
            self.found.running_kernel.get_or_insert(number);
        }
        let assigned = assignment(code);
        if is_recipe && !assigned.is_some_and(|(name, ..)| name.starts_with("obj-")) {
            self.recipe(code);
        }
        if let Some((name, may_differ, value)) = assigned {
            self.assign(name, may_differ, value);
        } else if !is_recipe && is_rule(code) {
            self.found.has_target |= self.live();
            self.found.has_target_without = true;
        }
    }

    /// Whether this line can be reached with KERNELRELEASE given.
    fn live(&self) -> bool {
        !self.branches.contains(&Some(false))
    }

    fn condition(&mut self, code: &str) -> bool {
        let (word, rest) = code.split_once(char::is_whitespace).unwrap_or((code, ""));
        match word {
            "ifeq" | "ifneq" | "ifdef" | "ifndef" => self.branches.push(given(word, rest)),
            "else" => {
                let taken = self.branches.pop().flatten().map(|taken| !taken);
                let (word, rest) = rest.trim().split_once(char::is_whitespace).unwrap_or_default();
                // An `else if` that is reached is decided by its own condition.
                self.branches.push(if taken == Some(false) || word.is_empty() { taken } else { given(word, rest) });
            }
            "endif" => {
                self.branches.pop();
            }
            _ => return false,
        }
        true
    }

    fn recipe(&mut self, code: &str) {
        let words: Vec<&str> = code.trim_start_matches(['@', '-', '+']).split_whitespace().collect();
        let moves = words.iter().any(|w| matches!(*w, "cp" | "mv" | "ln" | "install" | "rsync" | "$(CP)" | "$(MV)"));
        if moves && code.contains(".ko") && !goes_elsewhere(code) {
            self.found.moves_modules = true;
        }
        if code.contains("obj-") && (code.contains("echo") || code.contains("printf") || code.contains("sed ")) {
            self.found.open = true;
        }
    }

    fn assign(&mut self, name: &str, may_differ: bool, value: &str) {
        if name.starts_with("obj-") {
            self.found.is_kbuild = true;
            self.values.push(value.to_owned());
        } else if name.contains('$') {
            // Which variable that is cannot be told, so none is known whole.
            self.vars.entry(String::new()).or_default();
        } else {
            let all = self.vars.entry(name.to_owned()).or_default();
            all.push(if may_differ { "$(?)".to_owned() } else { value.to_owned() });
        }
    }

    fn finish(mut self) -> Makefile {
        for value in std::mem::take(&mut self.values) {
            for word in words(&value) {
                let mut budget = 1000;
                match self.expand(&word, 8, &mut budget) {
                    Some(texts) => {
                        let names = texts.iter().flat_map(|t| t.split_whitespace()).map(str::to_owned);
                        let names: Vec<String> = names.collect();
                        self.found.objects.extend(
                            names
                                .iter()
                                .filter_map(|n| n.strip_suffix(".o"))
                                .map(|n| n.strip_prefix("./").unwrap_or(n).to_owned()),
                        );
                    }
                    None => self.found.open = true,
                }
            }
        }
        self.found
    }

    /// Everything a word may be; none when that cannot be told.
    fn expand(&self, word: &str, depth: u32, budget: &mut u32) -> Option<Vec<String>> {
        let Some(at) = word.find('$') else { return Some(vec![word.to_owned()]) };
        *budget = budget.checked_sub(1)?;
        let depth = depth.checked_sub(1)?;
        let rest = &word[at + 1..];
        let close = match rest.chars().next()? {
            '(' => ')',
            '{' => '}',
            _ => return None,
        };
        let (name, after) = rest.get(1..)?.split_once(close)?;
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
            || self.vars.contains_key("")
        {
            return None;
        }
        let mut all = Vec::new();
        for value in self.vars.get(name)? {
            for inner in self.expand(value, depth, budget)? {
                for after in self.expand(after, depth, budget)? {
                    *budget = budget.checked_sub(1)?;
                    all.push(format!("{}{inner}{after}", &word[..at]));
                }
            }
        }
        Some(all)
    }
}

/// Words of a value; blanks in `$( … )` do not part them.
fn words(value: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0_u32;
    for c in value.chars() {
        match c {
            '(' | '{' => depth += 1,
            ')' | '}' => depth = depth.saturating_sub(1),
            c if c.is_whitespace() && depth == 0 => {
                words.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    words.retain(|w| !w.is_empty());
    words
}

/// What a condition about KERNELRELEASE comes to when it is given; none for another.
fn given(word: &str, rest: &str) -> Option<bool> {
    let bare: String = rest.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect();
    let is_empty_test = ["($(KERNELRELEASE),)", "(,$(KERNELRELEASE))", "(${KERNELRELEASE},)", "(,${KERNELRELEASE})"]
        .contains(&bare.as_str())
        || bare == "$(KERNELRELEASE)";
    match word {
        "ifeq" if is_empty_test => Some(false),
        "ifneq" if is_empty_test => Some(true),
        "ifdef" if bare == "KERNELRELEASE" => Some(true),
        "ifndef" if bare == "KERNELRELEASE" => Some(false),
        _ => None,
    }
}

/// Name, whether something else may have set it before, and value.
fn assignment(code: &str) -> Option<(&str, bool, &str)> {
    let (left, value) = code.split_once('=')?;
    let may_differ = left.ends_with('?');
    let name = left.trim_end_matches([':', '?', '+', '!']).trim();
    let name = ["override ", "export ", "private "].iter().fold(name, |n, w| n.strip_prefix(w).unwrap_or(n)).trim();
    let is_name = !name.is_empty()
        && !name.contains(char::is_whitespace)
        && !name.contains(':')
        && !name.starts_with(['-', '@', '+', '"', '\'']);
    is_name.then_some((name, may_differ, value.trim()))
}

fn is_rule(code: &str) -> bool {
    code.split_once(':').is_some_and(|(target, _)| {
        let target = target.trim();
        !target.is_empty() && !target.starts_with('.') && !target.starts_with("$(error") && !target.contains('=')
    })
}

/// Whether a line asks `uname` for the running kernel's release.
pub(super) fn asks_running_kernel(code: &str) -> bool {
    code.match_indices("uname").any(|(at, word)| {
        let options = code[at + word.len()..].split_whitespace().take_while(|w| w.starts_with('-'));
        let clean = |o: &str| o.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned();
        let mut options = options.map(clean);
        let is_word = !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
        is_word && options.any(|o| o == "--kernel-release" || !o.starts_with("--") && o.contains('r'))
    })
}

/// Whether a line is about a place to install to.
fn goes_elsewhere(code: &str) -> bool {
    ["/kernel/", "/updates", "/extra", "/misc", "depmod", "DESTDIR", "modprobe", "insmod", "install "]
        .iter()
        .any(|w| code.contains(w))
        || code.contains("INSTALL") && !code.contains("-C")
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("obj-m := a.o b.o\n", &["a", "b"], false)]
    #[case("obj-m = a.o\nobj-m += \\\n  b.o # c.o\nobj-$(CONFIG_X) += d.o\n", &["a", "b", "d"], false)]
    #[case("a-objs := x.o y.o\na-y += z.o\nobj-m := a.o\n", &["a"], false)]
    #[case("obj-m += sub/ src/a.o ./b.o\n", &["b", "src/a"], false)]
    #[case("name := a\nobj-m := $(name).o\n", &["a"], false)]
    #[case("ifeq ($(X),1)\nname := a\nelse\nname = b\nendif\nobj-m := ${name}.o\n", &["a", "b"], false)]
    #[case("all := a.o b.o\nobj-m := $(all)\n", &["a", "b"], false)]
    #[case("name ?= a\nobj-m := $(name).o b.o\n", &["b"], true)]
    #[case("obj-m := $(elsewhere).o\n", &[], true)]
    #[case("x-$(Y) := b.o\nx-y := a.o\nobj-m := $(x-y)\n", &[], true)]
    #[case("obj-m := $(patsubst %.c,%.o,$(wildcard *.c)) a.o\n", &["a"], true)]
    #[case("a := $(b)\nb := $(a)\nobj-m := $(a)\n", &[], true)]
    #[case("include more.mk\nobj-m := a.o\n", &["a"], true)]
    #[case("obj-m := a.o\nall:\n\techo 'obj-m += b.o' > Kbuild\n", &["a"], true)]
    #[case("ifneq ($(KERNELRELEASE),)\n\tobj-m := a.o\nelse\nall:\n\tmake -C x\nendif\n", &["a"], false)]
    fn objects(#[case] text: &str, #[case] wanted: &[&str], #[case] open: bool) {
        let found = Makefile::parse(text);
        assert_eq!(found.objects.iter().map(String::as_str).collect::<Vec<_>>(), wanted);
        assert_eq!((found.open, found.is_kbuild), (open, true));
    }

    #[rstest]
    #[case("ifneq ($(KERNELRELEASE),)\nobj-m := a.o\nelse\nall:\n\tmake\nendif\n", false)]
    #[case("ifeq (,$(KERNELRELEASE))\nall:\n\tmake\nelse\nobj-m := a.o\nendif\n", false)]
    #[case("ifdef KERNELRELEASE\nobj-m := a.o\nelse ifeq ($(X),)\nall:\n\tmake\nendif\n", false)]
    #[case("ifndef KERNELRELEASE\nK := x\nendif\nall:\n\tmake\n", true)]
    #[case("ifneq ($(OTHER),)\nall:\n\tmake\nendif\n", true)]
    #[case("ifneq ($(KERNELRELEASE),)\ninclude Kbuild\nelse\nall:\nendif\n", true)]
    #[case("X := a:b\n.PHONY: all\n", false)]
    fn targets_with_kernelrelease(#[case] text: &str, #[case] wanted: bool) {
        assert_eq!(Makefile::parse(text).has_target, wanted);
    }

    #[rstest]
    #[case("K := $(shell uname -r)\n", Some(1))]
    #[case("# uname -r\nall:\n\tmake -C /lib/modules/`uname -r`/build\n", Some(3))]
    #[case("D := /lib/modules/$(shell uname -r)/kernel/drivers\n", None)]
    #[case("M := $(shell uname -m)\n", None)]
    #[case("ifeq ($(KERNELRELEASE),)\nK := $(shell uname -r)\nendif\n", None)]
    fn running_kernel(#[case] text: &str, #[case] wanted: Option<usize>) {
        assert_eq!(Makefile::parse(text).running_kernel, wanted);
    }

    #[rstest]
    #[case("x=$(uname -r)", true)]
    #[case("uname -sr", true)]
    #[case("uname --kernel-release", true)]
    #[case("uname -s -r", true)]
    #[case("uname -m", false)]
    #[case("uname | grep -r x", false)]
    #[case("myuname -r", false)]
    #[case("KERNEL_UNAME=1 -r", false)]
    fn asks(#[case] code: &str, #[case] wanted: bool) {
        assert_eq!(asks_running_kernel(code), wanted);
    }

    #[test]
    fn names_are_whole_words() {
        let found = Makefile::parse("ifndef KVER\nKDIR ?= x$(KVERS)\nendif\n");
        assert!(found.names("KVER") && found.names("KDIR") && found.names("KVERS") && !found.names("VER"));
    }
}
