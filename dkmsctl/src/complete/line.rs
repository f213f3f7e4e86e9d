//! A half-written command line, and what can come next.

use std::collections::BTreeSet;

use dkms_core::conf::{directive, version};

use crate::grammar::{Choice, Grammar, Kernels, Kind, Packages, about};
use crate::{Entry, Package, Tree};

/// What fits where the cursor is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offer {
    /// Whole words, each once, in the order in which they are to be shown.
    pub candidates: Vec<Candidate>,
    /// Whether the shell's own paths fit, too.
    pub paths: Paths,
}

/// One word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// As it would stand on the command line.
    pub word: String,
    /// What it is, in a few words.
    pub help: String,
}

/// Which paths fit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Paths {
    /// None.
    #[default]
    None,
    /// Files, and folders on the way to them.
    Files,
    /// Folders.
    Folders,
}

impl Paths {
    /// The word that the shell scripts know.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "words",
            Self::Files => "files",
            Self::Folders => "folders",
        }
    }
}

/// The command line up to the cursor, understood.
#[derive(Debug)]
pub struct Line<'a> {
    grammar: &'a Grammar,
    /// What stands at the cursor, as far as the cursor.
    current: &'a str,
    /// The option whose value that is.
    pending: Option<&'a Choice>,
    /// Nothing is an option any more.
    ended: bool,
    action: Option<&'a str>,
    name: Option<&'a str>,
    version: Option<&'a str>,
    kernels: Vec<&'a str>,
    /// Options that were given, with their values.
    given: Vec<(&'a Choice, &'a str)>,
}

impl<'a> Line<'a> {
    /// Takes the words behind the program's name; the last is the one at the cursor.
    #[must_use]
    pub fn new(grammar: &'a Grammar, words: &'a [String]) -> Self {
        let mut line = Self {
            grammar,
            current: "",
            pending: None,
            ended: false,
            action: None,
            name: None,
            version: None,
            kernels: Vec::new(),
            given: Vec::new(),
        };
        if let Some((current, before)) = words.split_last() {
            before.iter().for_each(|word| line.take(word));
            line.current = current;
        }
        line
    }

    /// The value of an option, by its long name: the last one given.
    #[must_use]
    pub fn value(&self, long: &str) -> Option<&'a str> {
        self.given.iter().rev().find(|(option, _)| option.long == long).map(|(_, value)| *value)
    }

    fn take(&mut self, word: &'a str) {
        if let Some(option) = self.pending.take() {
            self.give(option, word);
        } else if self.ended {
            self.operand(word);
        } else if word == "--" {
            self.ended = true;
        } else if let Some(long) = word.strip_prefix("--") {
            let (long, value) = long.split_once('=').map_or((long, None), |(long, value)| (long, Some(value)));
            let known = self.option(|o| o.long == long);
            match (known, value) {
                (Some(option), Some(value)) => self.give(option, value),
                (Some(option), None) if option.value.is_some() => self.pending = Some(option),
                (Some(option), None) => self.give(option, ""),
                (None, _) => {}
            }
        } else if let Some(letters) = word.strip_prefix('-').filter(|l| !l.is_empty()) {
            self.letters(letters);
        } else {
            self.operand(word);
        }
    }

    /// Short options, the last of them perhaps with its value attached.
    fn letters(&mut self, letters: &'a str) {
        for (at, letter) in letters.char_indices() {
            let Some(option) = self.option(|o| o.short == Some(letter)) else { return };
            if option.value.is_none() {
                self.give(option, "");
                continue;
            }
            match &letters[at + letter.len_utf8()..] {
                "" => self.pending = Some(option),
                value => self.give(option, value.strip_prefix('=').unwrap_or(value)),
            }
            return;
        }
    }

    /// An option by its name; the one that goes with the action where several have the name.
    fn option(&self, named: impl Fn(&Choice) -> bool) -> Option<&'a Choice> {
        let mut found = self.grammar.options.iter().filter(|o| named(o));
        let first = found.clone().next();
        found.find(|o| o.place.fits(self.action)).or(first)
    }

    fn give(&mut self, option: &'a Choice, value: &'a str) {
        match option.value {
            Some(Kind::Package) => self.package(value),
            Some(Kind::Version) => self.version = Some(value),
            Some(Kind::Kernel) => self.kernels.push(value),
            _ => {}
        }
        self.given.push((option, value));
    }

    fn operand(&mut self, word: &'a str) {
        if self.action.is_none()
            && let Some(action) = self.grammar.actions.iter().find(|a| a.word == word)
        {
            self.action = Some(&action.word);
        } else if self.name.is_none() {
            self.package(word);
        }
    }

    fn package(&mut self, word: &'a str) {
        let (name, version) = word.split_once('/').map_or((word, None), |(name, version)| (name, Some(version)));
        self.name = Some(name);
        self.version = version.or(self.version);
    }

    /// What can stand at the cursor.
    #[must_use]
    pub fn offer(&self, tree: &dyn Tree) -> Offer {
        let mut offer = if let Some(option) = self.pending {
            self.value_of(option, self.current, tree)
        } else if self.current.starts_with('-') && !self.ended {
            match self.current.split_once('=') {
                Some((option, value)) => self.attached(option, value, tree),
                None => Offer { candidates: self.options(), paths: Paths::None },
            }
        } else {
            self.operands(tree)
        };
        offer.candidates.retain(|c| c.word.starts_with(self.current) && c.word.chars().all(is_plain));
        let mut seen = BTreeSet::new();
        offer.candidates.retain(|c| seen.insert(c.word.clone()));
        offer
    }

    fn attached(&self, option: &str, value: &str, tree: &dyn Tree) -> Offer {
        let known = option.strip_prefix("--").and_then(|long| self.option(|o| o.long == long && o.value.is_some()));
        let Some(known) = known else { return Offer::default() };
        let mut offer = self.value_of(known, value, tree);
        offer.candidates.iter_mut().for_each(|c| c.word = format!("{option}={}", c.word));
        offer
    }

    fn operands(&self, tree: &dyn Tree) -> Offer {
        let mut candidates = Vec::new();
        if self.action.is_none() {
            let actions = self.grammar.actions.iter();
            candidates.extend(actions.map(|a| Candidate { word: a.word.clone(), help: a.help.clone() }));
            return Offer { candidates, paths: Paths::None };
        }
        let action = self.grammar.actions.iter().find(|a| Some(a.word.as_str()) == self.action);
        let (paths, words) = action.map(|a| (a.paths, a.words.as_slice())).unwrap_or_default();
        let (packages, _) = about(self.action);
        if self.name.is_some() || packages == Packages::None && paths == Paths::None && words.is_empty() {
            // Nothing but options can follow.
            return Offer { candidates: self.options(), paths: Paths::None };
        }
        if self.current.starts_with(['/', '.', '~']) && paths != Paths::None {
            return Offer { candidates, paths };
        }
        candidates = words.iter().map(|(word, help)| Candidate { word: word.clone(), help: help.clone() }).collect();
        candidates.extend(self.packages(packages, tree));
        let other = packages == Packages::Buildable && candidates.iter().any(|c| c.word.starts_with(self.current));
        Offer { candidates, paths: if other { Paths::None } else { paths } }
    }

    fn options(&self) -> Vec<Candidate> {
        let fits = |o: &&Choice| {
            o.place.fits(self.action) && (o.many || !self.given.iter().any(|(given, _)| given.same_as(o)))
        };
        let mut candidates = Vec::new();
        for option in self.grammar.options.iter().filter(fits) {
            let short = option.short.map(|letter| format!("-{letter}"));
            let whole = short.as_deref() == Some(self.current);
            let word = match short {
                Some(short) if option.long.is_empty() || whole => short,
                _ => format!("--{}", option.long),
            };
            candidates.push(Candidate { word, help: option.help.clone() });
        }
        candidates
    }

    /// `typed` is what there is of the value.
    fn value_of(&self, option: &Choice, typed: &str, tree: &dyn Tree) -> Offer {
        let (packages, kernels) = about(self.action);
        let packages = if packages == Packages::None { Packages::Any } else { packages };
        let words = |candidates| Offer { candidates, paths: Paths::None };
        match option.value {
            Some(Kind::Package) if typed.contains('/') => words(self.packages(packages, tree)),
            Some(Kind::Package) => words(by_name(self.packages(packages, tree))),
            Some(Kind::Version) => words(self.versions(packages, tree)),
            Some(Kind::Kernel) => words(self.kernels(kernels, typed, tree)),
            Some(Kind::Template) => words(self.kernels(Kernels::Installed, typed, tree)),
            Some(Kind::Arch) => words(self.arches(tree)),
            Some(Kind::Directive) => words(directives()),
            Some(Kind::File) => Offer { candidates: Vec::new(), paths: Paths::Files },
            Some(Kind::Folder) => Offer { candidates: Vec::new(), paths: Paths::Folders },
            Some(Kind::Free) | None => Offer::default(),
        }
    }

    /// Whether what is built for a kernel counts, as the kernels stand that were named.
    fn counts(&self, entry: &Entry) -> bool {
        let named = |given: &&str| {
            let (release, arch) = given.split_once('/').map_or((*given, None), |(release, arch)| (release, Some(arch)));
            release == entry.kernel && arch.is_none_or(|arch| arch == entry.arch)
        };
        self.kernels.is_empty() || self.kernels.iter().any(named)
    }

    /// As NAME/VERSION, a name's newest version first.
    fn packages(&self, which: Packages, tree: &dyn Tree) -> Vec<Candidate> {
        self.ids(which, tree)
            .into_iter()
            .map(|(name, version, help)| Candidate { word: format!("{name}/{version}"), help })
            .collect()
    }

    fn versions(&self, which: Packages, tree: &dyn Tree) -> Vec<Candidate> {
        let ids = self.ids(which, tree).into_iter().filter(|(name, ..)| self.name.is_none_or(|n| n == name));
        ids.map(|(name, version, help)| {
            let help = if self.name.is_some() { help } else { format!("{name}, {help}") };
            Candidate { word: version, help }
        })
        .collect()
    }

    /// Name, version and state of each package that fits.
    fn ids(&self, which: Packages, tree: &dyn Tree) -> Vec<(String, String, String)> {
        let in_tree = tree.packages();
        let entries =
            |p: &Package, installed: bool| p.entries.iter().any(|e| (e.installed || !installed) && self.counts(e));
        let fits = |p: &&Package| match which {
            Packages::Any => true,
            Packages::Added | Packages::Buildable => !p.broken,
            Packages::Built => entries(p, false),
            Packages::Installed => entries(p, true),
            Packages::None | Packages::Sources => false,
        };
        let mut found: Vec<_> =
            in_tree.iter().filter(fits).map(|p| (p.name.clone(), p.version.clone(), self.state(p))).collect();
        if matches!(which, Packages::Sources | Packages::Buildable) {
            let added =
                |name: &str, version: &str| in_tree.iter().any(|p| !p.broken && p.name == name && p.version == version);
            let sources = tree.sources().into_iter().filter(|(name, version)| !added(name, version));
            found.extend(sources.map(|(name, version)| (name, version, "not added".to_owned())));
        }
        if let Some(version) = self.version.filter(|_| self.name.is_none()) {
            found.retain(|(_, v, _)| v == version);
        }
        found.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| version::compare(&b.1, &a.1)));
        found
    }

    /// What a package is on the kernels that count.
    fn state(&self, package: &Package) -> String {
        let on = |installed: bool| {
            let kernels: BTreeSet<_> = package
                .entries
                .iter()
                .filter(|e| e.installed == installed && self.counts(e))
                .map(|e| &e.kernel)
                .collect();
            match (kernels.len(), kernels.first()) {
                (1, Some(kernel)) => kernel.to_string(),
                (n, _) => format!("{n} kernels"),
            }
        };
        let has = |installed: bool| package.entries.iter().any(|e| e.installed == installed && self.counts(e));
        if package.broken {
            "broken: its source is missing".to_owned()
        } else if has(true) {
            format!("installed on {}", on(true))
        } else if has(false) {
            format!("built for {}", on(false))
        } else {
            "added".to_owned()
        }
    }

    /// What is built or installed of the packages that were named: of all, when none was.
    fn entries(&self, tree: &dyn Tree) -> Vec<Entry> {
        let named = |p: &Package| {
            self.name.is_none_or(|name| name == p.name) && self.version.is_none_or(|version| version == p.version)
        };
        tree.packages().into_iter().filter(named).flat_map(|p| p.entries).collect()
    }

    /// Newest first. With an architecture, once a slash is typed.
    fn kernels(&self, which: Kernels, typed: &str, tree: &dyn Tree) -> Vec<Candidate> {
        let mut found = Vec::new();
        if matches!(which, Kernels::Any | Kernels::Buildable) {
            let kernels = tree.kernels().into_iter().filter(|k| which == Kernels::Any || k.headers);
            let arch = tree.arch();
            found.extend(kernels.map(|k| (k.release, arch.clone(), if k.headers { "" } else { "no headers" })));
        }
        if which != Kernels::Buildable {
            let entries = self.entries(tree).into_iter().filter(|e| which != Kernels::Installed || e.installed);
            found.extend(entries.map(|e| (e.kernel, e.arch, if e.installed { "installed" } else { "built" })));
        }
        // What is best known of a kernel comes first, and the rest falls to it.
        let rank = |help: &str| ["installed", "built", "no headers", ""].iter().position(|h| *h == help);
        found.sort_by(|a, b| {
            version::compare(&b.0, &a.0).then_with(|| a.1.cmp(&b.1)).then_with(|| rank(a.2).cmp(&rank(b.2)))
        });
        let word = |release: &str, arch: &str| {
            if typed.contains('/') { format!("{release}/{arch}") } else { release.to_owned() }
        };
        let words = found.into_iter().map(|(release, arch, help)| (word(&release, &arch), help));
        words
            .filter(|(word, _)| !self.kernels.contains(&word.as_str()))
            .map(|(word, help)| Candidate { word, help: help.to_owned() })
            .collect()
    }

    fn arches(&self, tree: &dyn Tree) -> Vec<Candidate> {
        let entries = self.entries(tree).into_iter().filter(|e| self.counts(e));
        let mut found: BTreeSet<_> = entries.map(|e| e.arch).collect();
        found.insert(tree.arch());
        found.into_iter().map(|word| Candidate { word, help: String::new() }).collect()
    }
}

impl Choice {
    fn same_as(&self, other: &Self) -> bool {
        self.long == other.long && self.short == other.short
    }
}

fn by_name(packages: Vec<Candidate>) -> Vec<Candidate> {
    let name = |c: Candidate| {
        let (name, version) = c.word.split_once('/')?;
        Some(Candidate { help: format!("{version}, {}", c.help), word: name.to_owned() })
    };
    packages.into_iter().filter_map(name).collect()
}

fn directives() -> Vec<Candidate> {
    let names = directive::DIRECTIVES.iter();
    names.map(|name| Candidate { word: format!("{name}="), help: String::new() }).collect()
}

/// Whether a character means nothing to any shell, so that a word of a tree cannot become a command.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._+~:@%,=/-".contains(c)
}
