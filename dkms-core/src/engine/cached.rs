//! Whether a build can come out of the cache, and what it is called there.

use std::fs;
use std::path::Path;

use super::Engine;
use crate::artifact::sign::{self, SignSettings};
use crate::artifact::{CompressOptions, Suffix};
use crate::build::{Build, cached, sandbox};
use crate::cache::key::Conditions;
use crate::cache::{Cache, Ingredients, Key, header_tree, store};
use crate::error::{IoContext as _, Result};
use crate::event::Sink;
use crate::fingerprint::{self, Fingerprint};
use crate::model::{PackageId, PackageName};
use crate::observe;
use crate::tree::{self, SourceState, files};

/// A build that can be kept.
pub(super) struct Cached {
    cache: Cache,
    keys: Keys,
}

/// What a build is called.
struct Keys {
    /// But for the certificate, which the build may be the first to make.
    unsigned: Key,
    /// In the cache.
    key: Key,
}

impl Engine {
    /// How a build is found in the cache and kept there; none where it is not to be.
    pub(super) fn cached(&self, build: &Build<'_>, sink: &mut dyn Sink) -> Option<Cached> {
        let set = self.settings.package(&build.package.name);
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let cache = Cache::new(&self.layout, self.settings.daemon.cache_megabytes);
        if self.settings.daemon.cache_megabytes == 0 {
            if let Err(error) = cache.shrink() {
                sink.warn(format!("the cache of builds is off, and cannot be emptied: {error}"));
            }
            return None;
        }
        if set.uncached {
            return None;
        }
        let conditions = self.conditions(build);
        if let Some(why) = conditions.why_not() {
            // Where nothing is kept apart, or nobody can build but root, that has been said already.
            if set.network || set.user.is_some() || !set.writable.is_empty() || conditions.links_out {
                sink.note(format!("it is built anew each time: {why}"));
            }
            return None;
        }
        match self.cache_keys(build, build.inputs) {
            Ok(keys) => Some(Cached { cache, keys }),
            Err(error) => {
                sink.warn(format!("the cache of builds is not used: {error}"));
                None
            }
        }
    }

    fn conditions(&self, build: &Build<'_>) -> Conditions {
        let set = self.settings.package(&build.package.name);
        let conditions = Conditions {
            apart: sandbox::strength() == sandbox::Strength::Namespaces,
            as_root: build.user.is_none(),
            network: set.network,
            writes: !set.writable.is_empty(),
            links_out: links_out(build.source),
        };
        // The engine's tests have neither namespaces nor the user.
        #[cfg(test)]
        let conditions = Conditions { apart: true, as_root: false, ..conditions };
        conditions
    }

    /// Keeps what was built, if it was built from what it is called by to the end.
    pub(super) fn keep_cached(&self, Cached { cache, keys }: &Cached, build: &Build<'_>, sink: &mut dyn Sink) {
        let now = self
            .observer
            .inputs(build.package, build.kernel, build.source, build.headers, &build.inputs.depends)
            .and_then(|now| self.cache_keys(build, &now));
        match now {
            Ok(now) if now.unsigned == keys.unsigned => cached::keep(build, cache, &now.key, sink),
            // What changed while it was built makes it stale, too.
            Ok(_) => {}
            Err(error) => sink.warn(format!("the build could not be kept in the cache: {error}")),
        }
    }

    fn cache_keys(&self, build: &Build<'_>, inputs: &Fingerprint) -> Result<Keys> {
        let layout = &self.layout;
        let memory = layout.build_cache().with_file_name("headers");
        let headers = header_tree::identity(&build.headers.roots, &memory).at("read", &build.headers.dir)?;
        let compress = CompressOptions {
            gzip: self.settings.compress_gzip_opts.clone(),
            xz: self.settings.compress_xz_opts.clone(),
            zstd: self.settings.compress_zstd_opts.clone(),
        };
        let environment = self.settings.build_environment.as_deref();
        let source = layout.kernel_source_inside(&build.kernel.release);
        let signing = self.sign_settings(build);
        let (_, certificate) = sign::key_paths(layout, &build.kernel.release, &signing);
        let unsigned = Ingredients {
            package: build.package,
            kernel: build.kernel,
            inputs,
            recipe: build.recipe,
            directives: &self.adjustments.directives,
            headers,
            dependencies: self.dependency_digests(build)?,
            signing: &signing,
            certificate: Vec::new(),
            suffix: Suffix::of_kernel(layout, &build.kernel.release)?,
            compress: &compress,
            build_environment: environment.map(|file| (file, fs::read(layout.host(file)).unwrap_or_default())),
            paths: vec![
                &source,
                layout.dkms_tree_inside(),
                layout.source_tree_inside(),
                layout.install_tree_inside(),
                build.source,
            ],
        };
        let signed = Ingredients { certificate: fs::read(certificate).unwrap_or_default(), ..unsigned.clone() };
        let key =
            |of: &Ingredients<'_>| of.key().map_err(std::io::Error::from).at("digest what is built of", build.source);
        Ok(Keys { unsigned: key(&unsigned)?, key: key(&signed)? })
    }

    fn sign_settings(&self, build: &Build<'_>) -> SignSettings {
        SignSettings::of(&self.settings, self.observer.distro(), self.in_chroot, &build.kernel.release)
    }

    /// A package may read the source of what it depends on, its symbols, and what its POST_BUILD left for others.
    fn dependency_digests(&self, build: &Build<'_>) -> Result<Vec<(PackageName, String)>> {
        if build.recipe.build_depends.is_empty() {
            return Ok(Vec::new());
        }
        let packages = tree::scan(&self.layout)?;
        let installed = observe::installed_versions(&packages);
        let mut digests = Vec::new();
        for name in &build.recipe.build_depends {
            let version = installed.get(&(name.clone(), build.kernel.clone()));
            let package = version.map(|version| PackageId { name: name.clone(), version: version.clone() });
            let digest = match &package {
                Some(package) => self.result_digest(package, build)?,
                None => String::new(),
            };
            digests.push((name.clone(), digest));
        }
        Ok(digests)
    }

    fn result_digest(&self, package: &PackageId, build: &Build<'_>) -> Result<String> {
        let source = match tree::package(&self.layout, package)?.map(|found| found.source) {
            Some(SourceState::Present(folder)) => self.observer.folder_digest(&folder)?,
            _ => String::new(),
        };
        let folder = self.layout.built_dir(package, build.kernel);
        let mut parts = vec![package.to_string(), source];
        for file in store::list(&folder, &|name| name == "log" || name.starts_with('.'))? {
            // The modules themselves are not built against, and their signatures may differ.
            if !file.path.to_string_lossy().contains(".ko") {
                parts.push(file.path.to_string_lossy().into_owned());
                parts.push(files::sha256_file(&folder.join(&file.path))?);
            }
        }
        Ok(fingerprint::digest(parts.iter().map(String::as_bytes)))
    }
}

impl Cached {
    /// Puts the build in its place, if the cache has it; says whether.
    ///
    /// # Errors
    /// When it cannot be put there.
    pub(super) fn take(&self, build: &Build<'_>, sink: &mut dyn Sink) -> Result<bool> {
        cached::take(build, &self.cache, &self.keys.key, sink)
    }
}

/// Whether a link below a folder leads out of it.
fn links_out(folder: &Path) -> bool {
    let Ok(top) = fs::canonicalize(folder) else { return false };
    let mut open = vec![top.clone()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type());
            if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
                open.push(path);
            } else if kind.is_ok_and(|kind| kind.is_symlink())
                && fs::canonicalize(&path).is_ok_and(|target| !target.starts_with(&top))
            {
                return true;
            }
        }
    }
    false
}
