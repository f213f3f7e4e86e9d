//! What is wrong with a dkms.conf, for its author: where, why, and what to write instead.
//!
//! Overrides of this machine do not count: the file is judged as it is shipped.

mod checks;
mod source;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::loader::read_file;
use super::recipe::RecipeInput;
use super::{EvalInput, Evaluator, Recipe, Values, bash};
use crate::error::{Error, Result};
use crate::host::kconfig::KernelConfig;
use crate::layout::Layout;
use crate::model::{KernelId, PackageId};

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
        Err(Error::Evaluation { path, why }) => {
            let why = format!("it cannot be evaluated: {why}");
            let write = "set directives, and leave work to PRE_BUILD and MAKE".to_owned();
            let finding = Finding { file: path, line: None, severity: Severity::Error, why, write };
            Ok(Report { findings: vec![finding], values: Values::default(), recipe: None })
        }
        judged => judged,
    }
}

fn judge(layout: &Layout, evaluator: &Evaluator, request: &LintRequest<'_>) -> Result<Report> {
    let LintRequest { path, kernel, package, parallel_jobs } = *request;
    let path = if path.is_dir() { path.join("dkms.conf") } else { path.to_owned() };
    if !path.is_file() {
        return Err(Error::NoConf { path });
    }
    let file = read_file(path.clone())?;
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
    let mut lint = checks::Lint::new(&path, &text, &values, kernel);
    if let Some((line, why)) = bash::syntax_error(layout, &file, evaluator.timeout)? {
        lint.at(
            Some(line.min(text.lines().count())),
            Severity::Error,
            format!("bash stops reading here: {why}"),
            String::new(),
        );
    }
    for (line, why) in evaluator.complaints(&input, &file)? {
        lint.at(line, Severity::Warning, format!("while it is read, it complains: {why}"), String::new());
    }
    let config = KernelConfig::below(&layout.kernel_source(&kernel.release));
    let rules =
        |strict| RecipeInput { values: &values, kernel, config: &config, layout, path: &path, package: None, strict };
    match Recipe::from_values(&rules(true)) {
        Err(Error::BadConf { problems, .. }) => {
            for problem in problems {
                lint.rule(Severity::Error, &problem);
            }
        }
        Err(other) => return Err(other),
        Ok(_) => {}
    }
    let recipe = Recipe::from_values(&rules(false)).ok();
    if let Some(recipe) = &recipe {
        let strict = lint.findings.len();
        for warning in &recipe.warnings {
            // Broken rules were found above already.
            if !lint.findings[..strict].iter().any(|f| warning.starts_with(&f.why)) {
                lint.rule(Severity::Warning, warning);
            }
        }
    }
    lint.all();
    if let Some(recipe) = &recipe
        && let Some(folder) = path.parent()
    {
        source::check(&mut lint, folder, recipe);
    }
    let mut findings = lint.findings;
    findings.sort_by_key(|f| (f.line.unwrap_or(usize::MAX), std::cmp::Reverse(f.severity)));
    Ok(Report { findings, values, recipe })
}

#[cfg(test)]
mod tests;
