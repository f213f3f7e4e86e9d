//! What is wrong with a dkms.conf, for its author: where, why, and what to write instead.
//!
//! Overrides of this machine do not count: the file is judged as it is shipped.

mod checks;
mod make;
mod makefile;
mod patterns;
mod script;
mod source;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::loader::read_file;
use super::recipe::RecipeInput;
use super::{ConfFile, EvalInput, Evaluator, Recipe, Values, bash, directive};
use crate::error::{Error, Result};
use crate::host::kconfig::KernelConfig;
use crate::layout::Layout;
use crate::model::{KernelId, PackageId, PackageName};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// It works, and is not as it should be.
    Warning,
    /// The package cannot be added, built or installed like this.
    Error,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, when one line is to blame.
    pub line: Option<usize>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, and what comes of it.
    pub why: String,
    /// What to write instead.
    pub write: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        let severity = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, " {severity}: {}", self.why)?;
        if self.write.is_empty() { Ok(()) } else { write!(f, "; {}", self.write) }
    }
}

/// Everything that was found; serialises to what `dkms lint --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By line.
    pub findings: Vec<Finding>,
    /// What every directive is set to for the kernel.
    pub values: Values,
    /// The package for the kernel, read leniently; none when not even that was possible.
    pub recipe: Option<Recipe>,
}

impl Report {
    /// The worst severity that was found.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|f| f.severity).max()
    }

    /// Exit code of `dkms lint`: 0, 1 for warnings with `--strict`, 8 for errors.
    #[must_use]
    pub fn exit_code(&self, strict: bool) -> i32 {
        match self.worst() {
            Some(Severity::Error) => 8,
            Some(Severity::Warning) if strict => 1,
            _ => 0,
        }
    }
}

/// What is to be judged.
#[derive(Debug, Clone, Copy)]
pub struct LintRequest<'a> {
    /// A dkms.conf, or the folder of one.
    pub path: &'a Path,
    /// The kernel to judge it for.
    pub kernel: &'a KernelId,
    /// Presets `$module` and `$module_version`; without it they are what a first reading gives.
    pub package: Option<&'a PackageId>,
    /// `$parallel_jobs`; none: the number of CPUs.
    pub parallel_jobs: Option<u32>,
}

/// Judges a dkms.conf. One that cannot be evaluated has that as its only finding.
///
/// # Errors
/// When there is no such file, or it cannot be read.
pub fn lint(layout: &Layout, evaluator: &Evaluator, request: &LintRequest<'_>) -> Result<Report> {
    match judge(layout, evaluator, request) {
        Err(Error::Evaluation { why, .. }) => {
            let path = conf_at(request.path);
            let why = format!("it cannot be evaluated: {why}");
            let write = "set directives, and leave work to PRE_BUILD and MAKE".to_owned();
            let finding = Finding { file: path, line: None, severity: Severity::Error, why, write };
            Ok(Report { findings: vec![finding], values: Values::default(), recipe: None })
        }
        judged => judged,
    }
}

/// The file itself, or the one in a folder.
fn conf_at(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("dkms.conf") } else { path.to_owned() }
}

fn judge(layout: &Layout, evaluator: &Evaluator, request: &LintRequest<'_>) -> Result<Report> {
    let LintRequest { path, kernel, package, parallel_jobs } = *request;
    let path = conf_at(path);
    if !path.is_file() {
        return Err(Error::NoConf { path });
    }
    let mut file = read_file(path.clone())?;
    // A file that looks beside itself is read in another folder than this process's.
    file.path = std::path::absolute(&path).unwrap_or(file.path);
    let kernel_source_dir = layout.kernel_source_inside(&kernel.release);
    let mut input = EvalInput {
        files: std::slice::from_ref(&file),
        directives: &[],
        kernel,
        module: package.map(|p| p.name.as_str()),
        module_version: package.map(|p| p.version.as_str()),
        kernel_source_dir: &kernel_source_dir,
        dkms_tree: layout.dkms_tree_inside(),
        source_tree: layout.source_tree_inside(),
        install_tree: layout.install_tree_inside(),
        parallel_jobs: parallel_jobs.unwrap_or_else(super::loader::cpus),
    };
    let mut values = evaluator.evaluate(&input)?;
    let named = |name| values.scalar(name).unwrap_or_default().to_owned();
    let (name, version) = (named("PACKAGE_NAME"), named("PACKAGE_VERSION"));
    if package.is_none() && PackageId::new(&name, &version).is_ok() {
        (input.module, input.module_version) = (Some(name.as_str()), Some(version.as_str()));
        values = evaluator.evaluate(&input)?;
    }

    let text = String::from_utf8_lossy(&file.text).into_owned();
    let mut lint = checks::Lint::new(&path, &text, &values);
    let stops = bash::syntax_error(layout, &file, evaluator.timeout)?;
    let stops_at = stops.as_ref().map(|(line, _)| *line);
    if let Some((line, why)) = stops {
        lint.at(
            Some(line.min(text.lines().count())),
            Severity::Error,
            format!("bash stops reading here: {why}"),
            "mend it: nothing that follows is read".to_owned(),
        );
    }
    for (line, why) in evaluator.complaints(&input, &file)? {
        if line.is_some() && line == stops_at {
            continue;
        }
        if line.is_some() || !is_no_fault(&why, &lint, &input) {
            let write = "leave work to PRE_BUILD and MAKE, and send what may fail to /dev/null".to_owned();
            lint.at(line, Severity::Warning, format!("while it is read, it complains: {why}"), write);
        }
    }
    lost(&mut lint, evaluator, &input);
    let config = KernelConfig::below(&layout.kernel_source(&kernel.release));
    let rules = |strict| RecipeInput { values: &values, kernel, config: &config, layout, path: &path, package, strict };
    let mut problems = match Recipe::from_values(&rules(true)) {
        Err(Error::BadConf { problems, .. }) => problems,
        Err(other) => return Err(other),
        Ok(_) => Vec::new(),
    };
    for problem in &problems {
        // Two sentences are about both; one of the two is to blame.
        let blamed = match package {
            Some(asked) if problem.starts_with("it calls itself") && name == asked.name.as_str() => "PACKAGE_VERSION",
            Some(_) if problem.starts_with("it calls itself") => "PACKAGE_NAME",
            _ if problem.starts_with("PACKAGE_NAME and") && PackageName::new(&name).is_ok() => "PACKAGE_VERSION",
            _ => "",
        };
        lint.rule(Severity::Error, problem, blamed);
    }
    let recipe = Recipe::from_values(&rules(false)).ok();
    // Broken rules are warnings of a lenient reading, and were found above already.
    problems.sort_unstable();
    for warning in recipe.iter().flat_map(|r| &r.warnings).filter(|w| problems.binary_search(w).is_err()) {
        lint.rule(Severity::Warning, warning, "");
    }
    lint.all();
    let source = path.parent().and_then(source::Source::read);
    let build = recipe.as_ref().map(|r| layout.build_dir_inside(&r.package));
    let around = make::Around {
        release: kernel.release.as_str(),
        headers: &kernel_source_dir,
        build: build.as_deref(),
        source: source.as_ref(),
    };
    make::check(&mut lint, &around);
    if let (Some(recipe), Some(source)) = (&recipe, &source) {
        source::check(&mut lint, source, recipe);
    }
    let mut findings = lint.findings;
    findings.sort_by_key(|f| (f.line.unwrap_or(usize::MAX), std::cmp::Reverse(f.severity)));
    Ok(Report { findings, values, recipe })
}

/// Whether a program's complaint is about this machine, or is what the file itself wants to be read.
fn is_no_fault(why: &str, lint: &checks::Lint<'_>, input: &EvalInput<'_>) -> bool {
    let is_its_own = lint.script.code.iter().any(|line| line.contains(why.trim()));
    let absent = why.ends_with("No such file or directory") || why.ends_with("not found");
    let about = [input.kernel_source_dir, input.dkms_tree, input.source_tree, input.install_tree, Path::new("/boot")];
    is_its_own || absent && about.iter().any(|folder| why.contains(&*folder.to_string_lossy()))
}

/// Directives that are assigned, and that the second expansion loses: a quote in them closes its own, and what follows a
/// blank is taken for a command.
fn lost(lint: &mut checks::Lint<'_>, evaluator: &Evaluator, input: &EvalInput<'_>) {
    const MOST: usize = 16;
    let (mut found, mut tried) = (Vec::new(), 0);
    for assignment in &lint.script.assignments {
        let script::Assignment { line, name, index, raw } = assignment;
        let Ok(i) = index.as_deref().map_or(Ok(0), str::parse) else { continue };
        let inner: String = raw.chars().skip(1).collect();
        let is_suspect = directive::is_directive(name) && inner.trim_end_matches('"').contains('"');
        if !is_suspect || lint.values.at(name, i).is_some() || tried == MOST {
            continue;
        }
        tried += 1;
        // Alone, so that no condition keeps it from being set.
        let text = format!("{name}[{i}]={raw}\n").into_bytes();
        let alone = ConfFile { path: PathBuf::from("dkms.conf"), text };
        let values = evaluator.evaluate(&EvalInput { files: std::slice::from_ref(&alone), ..input.clone() });
        if values.is_ok_and(|values| values.at(name, i).is_none()) {
            found.push((*line, format!("{name}[{i}]")));
        }
    }
    for (line, directive) in found {
        let why = format!(
            "{directive} is lost: its value is read a second time between double quotes, and one inside it ends them"
        );
        lint.at(Some(line), Severity::Warning, why, "write single quotes inside it, or \\\" for each".to_owned());
    }
}

#[cfg(test)]
mod tests;
