//! dkms.conf: from text to values to a validated [`Recipe`] for one kernel (dkms-contract.md §3).
//!
//! The caller never learns whether the native evaluator or bash answered: [`Evaluator`] is the only door, and
//! [`ConfLoader`] the way most take, since it finds the overrides and evaluates nothing twice.

mod bash;
mod common;
pub mod directive;
pub mod ere;
mod kept;
pub mod lint;
mod loader;
mod native;
mod outline;
mod overrides;
pub mod recipe;
mod values;
pub mod version;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use loader::{ConfLoader, Loaded, Request};
use native::Trace;
pub(crate) use outline::{Outline, Outlines};
pub(crate) use overrides::{Overrides, OwnOverrides};
pub use recipe::{ModuleRecipe, Recipe};
use values::Collector;
pub use values::{Value, Values};

use crate::error::{Error, Result};
use crate::layout::Layout;
use crate::model::KernelId;

/// The longest dkms.conf or override that is read, in bytes. Real ones have a few kilobytes.
pub const MAX_CONF: usize = 1 << 20;

/// One file of bash code: a dkms.conf, or an override of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfFile {
    /// Where it lies; named in errors, and what `$BASH_SOURCE` is.
    pub path: PathBuf,
    /// What it says.
    pub text: Vec<u8>,
}

/// What a dkms.conf is evaluated with: the files in their order, and the variables it sees (dkms-contract.md §3).
#[derive(Debug, Clone)]
pub struct EvalInput<'a> {
    /// dkms.conf, then its overrides in their order.
    pub files: &'a [ConfFile],
    /// `--directive NAME=VALUE`: these have the last word.
    pub directives: &'a [(String, String)],
    /// `$kernelver` and `$arch`.
    pub kernel: &'a KernelId,
    /// `$module`.
    pub module: Option<&'a str>,
    /// `$module_version`.
    pub module_version: Option<&'a str>,
    /// `$kernel_source_dir`.
    pub kernel_source_dir: &'a Path,
    /// `$dkms_tree`.
    pub dkms_tree: &'a Path,
    /// `$source_tree`.
    pub source_tree: &'a Path,
    /// `$install_tree`.
    pub install_tree: &'a Path,
    /// `$parallel_jobs`.
    pub parallel_jobs: u32,
}

/// A name, an index as bash gave it, and a text.
type Entry = (String, String, String);

/// What files say, and what has to be said of them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Heard {
    values: Values,
    /// Where bash stopped in the middle, each a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    stopped: Vec<String>,
}

/// The caller's scope: what a file sees when it is read, and what its second expansion sees.
#[derive(Debug, Clone)]
struct Scope {
    /// The names that take effect, in the order in which the second expansion reads them.
    names: &'static [&'static str],
    /// Variables that are preset.
    vars: Vec<(&'static str, String)>,
    /// What earlier files set.
    entries: Vec<Entry>,
    /// Whether what bash complains of is told at once: nobody lints these files.
    aloud: bool,
    /// What the kernel decides.
    trace: Rc<Trace>,
}

impl Scope {
    fn new(input: &EvalInput<'_>) -> Self {
        let path = |p: &Path| p.to_string_lossy().into_owned();
        let mut vars = vec![
            ("kernelver", input.kernel.release.to_string()),
            ("arch", input.kernel.arch.to_string()),
            ("kernel_source_dir", path(input.kernel_source_dir)),
            ("dkms_tree", path(input.dkms_tree)),
            ("source_tree", path(input.source_tree)),
            ("install_tree", path(input.install_tree)),
            ("parallel_jobs", input.parallel_jobs.to_string()),
        ];
        vars.extend(input.module.map(|m| ("module", m.to_owned())));
        vars.extend(input.module_version.map(|v| ("module_version", v.to_owned())));
        Self { names: directive::DIRECTIVES, vars, entries: Vec::new(), aloud: false, trace: Rc::default() }
    }
}

/// How often which evaluator answered, one a file.
#[derive(Debug, Default)]
struct Counters {
    native: AtomicU64,
    bash: AtomicU64,
}

/// Evaluates bash code as bash does, natively where the answer is certain.
#[derive(Debug, Clone)]
pub struct Evaluator {
    layout: Layout,
    counters: Arc<Counters>,
    timeout: Duration,
}

impl Evaluator {
    /// An evaluator for one root.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self { layout: layout.clone(), counters: Arc::default(), timeout: bash::TIMEOUT }
    }

    /// Sets how long bash may take for one file: 10 seconds unless set.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What every directive is set to at the end.
    ///
    /// # Errors
    /// When a file is too long, is not text, or bash does not get to its end in the time and space it has.
    pub fn evaluate(&self, input: &EvalInput<'_>) -> Result<Values> {
        self.evaluate_and_hear(input).map(|heard| heard.values)
    }

    /// As [`Evaluator::evaluate`], with what has to be said of the files.
    fn evaluate_and_hear(&self, input: &EvalInput<'_>) -> Result<Heard> {
        let mut stopped = Vec::new();
        let values = self.run(Scope::new(input), input, Some(&mut stopped))?.unwrap_or_default();
        Ok(Heard { values, stopped })
    }

    /// As [`Evaluator::evaluate`], for callers that must not start a process: none where only bash can answer.
    ///
    /// # Errors
    /// When a file is too long or is not text.
    pub fn evaluate_without_bash(&self, input: &EvalInput<'_>) -> Result<Option<Values>> {
        self.run(Scope::new(input), input, None)
    }

    /// Variables of other files than dkms.conf that are bash too (framework.conf): the named ones, and no others.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn variables(
        &self,
        files: &[ConfFile],
        names: &'static [&'static str],
        preset: Vec<(&'static str, String)>,
    ) -> Result<BTreeMap<String, String>> {
        Ok(self.read_variables(files, names, preset, true)?.unwrap_or_default())
    }

    /// As [`Evaluator::variables`], for callers that must not start a process: none where only bash can answer.
    ///
    /// # Errors
    /// When a file is too long or is not text.
    pub fn variables_without_bash(
        &self,
        files: &[ConfFile],
        names: &'static [&'static str],
        preset: Vec<(&'static str, String)>,
    ) -> Result<Option<BTreeMap<String, String>>> {
        self.read_variables(files, names, preset, false)
    }

    fn read_variables(
        &self,
        files: &[ConfFile],
        names: &'static [&'static str],
        preset: Vec<(&'static str, String)>,
        with_bash: bool,
    ) -> Result<Option<BTreeMap<String, String>>> {
        let mut scope = Scope { names, vars: preset, entries: Vec::new(), aloud: true, trace: Rc::default() };
        let mut heard = Vec::new();
        if !self.read_files(&mut scope, files, with_bash.then_some(&mut heard))? {
            return Ok(None);
        }
        heard.iter().for_each(|why| tracing::warn!("{why}"));
        let first = scope.entries.into_iter().filter(|(_, index, _)| index == "0");
        Ok(Some(first.map(|(name, _, text)| (name, text)).collect()))
    }

    /// `heard`: where what has to be said of the files goes; none where bash is not to be asked.
    fn run(
        &self,
        mut scope: Scope,
        input: &EvalInput<'_>,
        mut heard: Option<&mut Vec<String>>,
    ) -> Result<Option<Values>> {
        if !self.read_files(&mut scope, input.files, heard.as_deref_mut())? {
            return Ok(None);
        }
        if !input.directives.is_empty() {
            let extra = directive_lines(input.directives)?;
            match self.round(&scope, None, &extra, heard)? {
                Some(entries) => scope.entries = entries,
                None => return Ok(None),
            }
        }
        let mut values = Collector::default();
        for (name, index, text) in &scope.entries {
            values.put(name, index, text);
        }
        Ok(Some(values.finish()))
    }

    /// False when only bash could have answered, and was not to be asked.
    fn read_files(&self, scope: &mut Scope, files: &[ConfFile], mut heard: Option<&mut Vec<String>>) -> Result<bool> {
        for file in files {
            let fail = |why: String| Error::Evaluation { path: file.path.clone(), why };
            if file.text.len() > MAX_CONF {
                return Err(fail(format!("it is longer than {} KiB", MAX_CONF >> 10)));
            }
            if file.text.contains(&0) {
                return Err(fail("it is not text: it holds a NUL byte".to_owned()));
            }
            match self.round(scope, Some(file), "", heard.as_deref_mut())? {
                Some(entries) => scope.entries = entries,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// How many files were evaluated natively, and how many by bash, since the evaluator was made.
    #[must_use]
    pub fn answered(&self) -> (u64, u64) {
        (self.counters.native.load(Ordering::Relaxed), self.counters.bash.load(Ordering::Relaxed))
    }

    /// One file, natively where that is certain; none when it is not and bash is not to be asked.
    fn round(
        &self,
        scope: &Scope,
        file: Option<&ConfFile>,
        extra: &str,
        heard: Option<&mut Vec<String>>,
    ) -> Result<Option<Vec<Entry>>> {
        match native::read(&self.layout, scope, file, extra) {
            Ok(entries) => {
                self.counters.native.fetch_add(1, Ordering::Relaxed);
                return Ok(Some(entries));
            }
            Err(why) => {
                let path = file.map_or(Path::new("--directive"), |f| f.path.as_path());
                tracing::debug!(path = %path.display(), %why, "only bash can read this");
            }
        }
        let Some(heard) = heard else { return Ok(None) };
        self.counters.bash.fetch_add(1, Ordering::Relaxed);
        let said = bash::read(&self.layout, scope, file, extra, self.timeout)?;
        if let (Some(first), Some(file)) = (said.complaints.first(), file) {
            let path = file.path.display();
            if let Some(complaint) = said.complaints.iter().find(|complaint| bash::ends_reading(complaint)) {
                let told = bash::told(&file.path, complaint);
                heard.push(format!("{told}; what follows that is not read: mend it, or those settings have no effect"));
            }
            if scope.aloud {
                for complaint in said.complaints.iter().filter(|complaint| !bash::ends_reading(complaint)) {
                    tracing::warn!("{}", bash::told(&file.path, complaint));
                }
            } else {
                tracing::info!(%path, said = first, lines = said.complaints.len(), "bash complains");
            }
        }
        Ok(Some(said.entries))
    }

    /// What bash says of a file on standard error while it reads it: the line, and the complaint. Nothing for a file
    /// that it is not needed for.
    pub(crate) fn complaints(&self, input: &EvalInput<'_>, file: &ConfFile) -> Result<Vec<(Option<usize>, String)>> {
        let scope = Scope::new(input);
        if native::read(&self.layout, &scope, Some(file), "").is_ok() {
            return Ok(Vec::new());
        }
        let said = bash::read(&self.layout, &scope, Some(file), "", self.timeout)?;
        let located = said.complaints.iter().map(|c| bash::located(c));
        Ok(located.map(|(line, why)| (line, why.to_owned())).collect())
    }
}

/// `--directive` as lines of the second expansion.
fn directive_lines(directives: &[(String, String)]) -> Result<String> {
    let mut lines = String::new();
    for (name, value) in directives {
        let (bare, index) = match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
            Some((bare, index)) => (bare, Some(index)),
            None => (name.as_str(), None),
        };
        if !directive::is_directive(bare) || index.is_some_and(|i| i.parse::<u32>().is_err()) {
            return Err(Error::BadConf {
                path: PathBuf::from("--directive"),
                problems: vec![format!("{name} is not a directive of dkms.conf; write NAME=VALUE or NAME[0]=VALUE")],
            });
        }
        lines.push_str(&format!("{name}=\"{value}\"\n"));
    }
    Ok(lines)
}

#[cfg(test)]
mod corpus_tests;

#[cfg(test)]
mod limits_tests;
#[cfg(test)]
mod native_tests;
