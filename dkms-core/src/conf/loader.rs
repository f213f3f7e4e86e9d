//! From a source folder to a [`Recipe`]: finds dkms.conf and its overrides, and evaluates nothing twice.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use super::common::Common;
use super::kept::Kept;
use super::recipe::{Recipe, RecipeInput};
use super::{ConfFile, EvalInput, Evaluator, MAX_CONF, Values};
use crate::error::{Error, IoContext, Result};
use crate::host::kconfig::KernelConfig;
use crate::layout::Layout;
use crate::model::{KernelId, PackageId};

/// The most evaluations that are remembered; all are forgotten when there would be more.
const REMEMBERED: usize = 50_000;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The folder that holds dkms.conf.
    pub source: &'a Path,
    /// A dkms.conf elsewhere (`-c`).
    pub conf: Option<&'a Path>,
    /// Which package it should be, when that is known: presets `$module` and `$module_version`, and finds overrides.
    pub package: Option<&'a PackageId>,
    /// The kernel to evaluate for.
    pub kernel: &'a KernelId,
    /// Whether a broken rule is an error (add, build, install) or is read around (uninstall, unbuild, remove).
    pub strict: bool,
    /// `--directive NAME=VALUE`.
    pub directives: &'a [(String, String)],
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The package for this kernel, checked.
    pub recipe: Recipe,
    /// The values it was made from.
    pub values: Values,
    /// SHA-256 of the values, in hex.
    pub digest: String,
}

/// Loads dkms.conf files; to be shared between threads.
#[derive(Debug)]
pub struct ConfLoader {
    layout: Layout,
    evaluator: Evaluator,
    parallel_jobs: u32,
    kept: Kept,
    kernel_config: Option<PathBuf>,
    values: Mutex<HashMap<[u8; 32], Arc<Values>>>,
    common: Mutex<HashMap<[u8; 32], Option<Arc<Common>>>>,
    /// What was said of files already.
    told: Mutex<HashSet<String>>,
    configs: Mutex<HashMap<PathBuf, (Stamp, Arc<Config>)>>,
}

#[derive(Debug)]
pub(super) struct Config {
    pub(super) config: KernelConfig,
    digest: [u8; 32],
}

/// Tells a file from what was at its path before.
type Stamp = Option<(u64, u64, SystemTime)>;

impl ConfLoader {
    /// A loader for one root.
    #[must_use]
    pub fn new(layout: &Layout) -> Self {
        Self {
            layout: layout.clone(),
            evaluator: Evaluator::new(layout),
            parallel_jobs: cpus(),
            kept: Kept::new(layout.state_dir().join("cache/conf")),
            kernel_config: None,
            values: Mutex::default(),
            common: Mutex::default(),
            told: Mutex::default(),
            configs: Mutex::default(),
        }
    }

    /// Sets `$parallel_jobs`, which is else the number of CPUs.
    #[must_use]
    pub fn with_parallel_jobs(mut self, jobs: u32) -> Self {
        self.parallel_jobs = jobs;
        self
    }

    /// Takes every kernel's configuration from one file (`--config`).
    pub(crate) fn adjust_kernel_config(&mut self, file: Option<PathBuf>) {
        self.kernel_config = file;
    }

    /// The evaluator behind it.
    #[must_use]
    pub fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// Reads a package's dkms.conf and its overrides for a kernel.
    ///
    /// # Errors
    /// When there is no dkms.conf, it cannot be evaluated, or (strict) it breaks a rule or is not the package asked for.
    pub fn load(&self, request: &Request<'_>) -> Result<Loaded> {
        let path = request.conf.map_or_else(|| request.source.join("dkms.conf"), Path::to_owned);
        if !path.is_file() {
            return Err(Error::NoConf { path });
        }
        let conf = read_file(path.clone())?;
        let config = self.kernel_config(request.kernel);
        let mut unreadable = None;
        let values = match request.package {
            Some(package) => match self.evaluate(vec![conf], Some(package), request, &config) {
                // A file that cannot be read must not trap what is installed.
                Err(why @ (Error::Evaluation { .. } | Error::Program { .. })) if !request.strict => {
                    unreadable = Some(why.to_string());
                    Arc::default()
                }
                values => values?,
            },
            None => {
                // A first reading says which package it is; the second sees that in $module and $module_version.
                let first = self.evaluate_once(std::slice::from_ref(&conf), None, request, &config)?;
                let named = (first.scalar("PACKAGE_NAME"), first.scalar("PACKAGE_VERSION"));
                match (named.0.unwrap_or_default(), named.1.unwrap_or_default()) {
                    (name, version) if !name.is_empty() && !version.is_empty() => match PackageId::new(name, version) {
                        Ok(package) => self.evaluate(vec![conf], Some(&package), request, &config)?,
                        Err(_) => first,
                    },
                    _ => first,
                }
            }
        };
        let mut recipe = Recipe::from_values(&RecipeInput {
            values: &values,
            kernel: request.kernel,
            config: &config.config,
            layout: &self.layout,
            path: &path,
            package: request.package,
            strict: request.strict,
        })?;
        recipe.warnings.extend(unreadable);
        let values = Values::clone(&values);
        Ok(Loaded { recipe, digest: values.digest(), values })
    }

    /// With the overrides that exist for this package and kernel.
    fn evaluate(
        &self,
        mut files: Vec<ConfFile>,
        package: Option<&PackageId>,
        request: &Request<'_>,
        config: &Config,
    ) -> Result<Arc<Values>> {
        if let Some(package) = package {
            for path in self.layout.override_confs(package, request.kernel) {
                if path.is_file() {
                    files.push(read_file(path)?);
                }
            }
        }
        self.evaluate_once(&files, package, request, config)
    }

    fn evaluate_once(
        &self,
        files: &[ConfFile],
        package: Option<&PackageId>,
        request: &Request<'_>,
        config: &Config,
    ) -> Result<Arc<Values>> {
        let kernel_source_dir = self.layout.kernel_source_inside(&request.kernel.release);
        let input = EvalInput {
            directives: request.directives,
            ..self.input(files, package, request.kernel, &kernel_source_dir)
        };
        let key = key(&input, Some(&config.digest));
        if let Some(values) = self.values.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(values));
        }
        let values = Arc::new(match self.evaluator.evaluate_without_bash(&input)? {
            Some(values) => values,
            None => {
                let heard = self.kept.get_or(&key, || self.evaluator.evaluate_and_hear(&input))?;
                self.tell(heard.stopped);
                heard.values
            }
        });
        let mut cache = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= REMEMBERED {
            cache.clear();
        }
        cache.insert(key, Arc::clone(&values));
        Ok(values)
    }

    /// Says each once: a file is read for every kernel.
    fn tell(&self, stopped: Vec<String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED {
            told.clear();
        }
        for why in stopped {
            if !told.contains(&why) {
                tracing::warn!("{why}");
                told.insert(why);
            }
        }
    }

    fn input<'a>(
        &'a self,
        files: &'a [ConfFile],
        package: Option<&'a PackageId>,
        kernel: &'a KernelId,
        kernel_source_dir: &'a Path,
    ) -> EvalInput<'a> {
        EvalInput {
            files,
            directives: &[],
            kernel,
            module: package.map(|p| p.name.as_str()),
            module_version: package.map(|p| p.version.as_str()),
            kernel_source_dir,
            dkms_tree: self.layout.dkms_tree_inside(),
            source_tree: self.layout.source_tree_inside(),
            install_tree: self.layout.install_tree_inside(),
            parallel_jobs: self.parallel_jobs,
        }
    }

    /// What the files for every kernel say for each with a plain name, found out with one of them; none where that has
    /// to be asked for each.
    pub(super) fn common(
        &self,
        files: &[ConfFile],
        package: &PackageId,
        kernel: &KernelId,
    ) -> Result<Option<Arc<Common>>> {
        let kernel_source_dir = self.layout.kernel_source_inside(&kernel.release);
        let input = self.input(files, Some(package), kernel, &kernel_source_dir);
        let key = key(&input, None);
        if let Some(known) = self.common.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(known.clone());
        }
        let common = self.evaluator.common(&input)?.map(Arc::new);
        let mut known = self.common.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(key, common.clone());
        Ok(common)
    }

    /// Where everything lies.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The kernel's configuration, read again only when its file changed.
    pub(super) fn kernel_config(&self, kernel: &KernelId) -> Arc<Config> {
        let headers = self.kernel_config.clone().unwrap_or_else(|| self.layout.kernel_source(&kernel.release));
        let named = self.kernel_config.iter().cloned();
        let own = [headers.join("include/config/auto.conf"), headers.join(".config")];
        let stamp = named.chain(own).find_map(|p| {
            use std::os::unix::fs::MetadataExt;
            let m = fs::metadata(p).ok()?;
            Some((m.ino(), m.len(), m.modified().ok()?))
        });
        if let Some((seen, config)) = self.configs.lock().unwrap_or_else(PoisonError::into_inner).get(&headers)
            && *seen == stamp
        {
            return Arc::clone(config);
        }
        let config = match &self.kernel_config {
            Some(file) => KernelConfig::at(file),
            None => KernelConfig::below(&headers),
        };
        let text = config.path.as_ref().and_then(|p| fs::read(p).ok()).unwrap_or_default();
        let config = Arc::new(Config { config, digest: Sha256::digest(&text).into() });
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        configs.insert(headers, (stamp, Arc::clone(&config)));
        config
    }
}

/// Reads a file, and never more of it than is evaluated.
pub(super) fn read_file(path: PathBuf) -> Result<ConfFile> {
    let mut text = Vec::new();
    let file = File::open(&path).at("read", &path)?;
    file.take(MAX_CONF as u64 + 1).read_to_end(&mut text).at("read", &path)?;
    Ok(ConfFile { path, text })
}

/// `$parallel_jobs` where nothing else was said.
pub(super) fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1))
}

/// Everything the values depend on; without a kernel's configuration, everything but the kernel. What a file reads
/// elsewhere on the machine, beyond that, does not count.
fn key(input: &EvalInput<'_>, config: Option<&[u8; 32]>) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    for file in input.files {
        add(b"file");
        add(file.path.as_os_str().as_encoded_bytes());
        add(&file.text);
    }
    for (name, value) in input.directives {
        add(b"directive");
        add(name.as_bytes());
        add(value.as_bytes());
    }
    for word in [input.module, input.module_version] {
        add(if word.is_some() { b"some" } else { b"none" });
        add(word.unwrap_or_default().as_bytes());
    }
    for path in [input.dkms_tree, input.source_tree, input.install_tree] {
        add(path.as_os_str().as_encoded_bytes());
    }
    add(&input.parallel_jobs.to_le_bytes());
    // What a file may ask of the machine, and what changes between boots.
    add(rustix::system::uname().release().to_bytes());
    add(&rustix::thread::sched_getaffinity(None).map_or(0, |cpus| cpus.count()).to_le_bytes());
    if let Some(config) = config {
        add(b"kernel");
        add(input.kernel.to_string().as_bytes());
        add(input.kernel_source_dir.as_os_str().as_encoded_bytes());
        add(config);
    }
    hash.finalize().into()
}

#[cfg(test)]
#[path = "loader_tests.rs"]
mod tests;
