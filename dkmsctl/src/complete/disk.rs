//! The machine as completion sees it.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use dkms_core::conf::{ConfFile, EvalInput, Evaluator, MAX_CONF};
use dkms_core::host::{kernels, resolve::resolve};
use dkms_core::layout::Layout;
use dkms_core::model::{Arch, KernelId};
use dkms_core::settings;
use dkms_core::tree::{SourceState, scan};

use crate::{Entry, Kernel, Line, Package, Tree};

/// The trees of a [`Layout`], each read at most once.
#[derive(Debug)]
pub struct Disk {
    layout: Layout,
    packages: OnceCell<Vec<Package>>,
}

impl Disk {
    /// The trees that a command line names, and those that framework.conf sets where bash is not needed to know.
    #[must_use]
    pub fn of(line: &Line<'_>) -> Self {
        let path = |option: &str| line.value(option).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = path("root").unwrap_or_else(|| PathBuf::from("/"));
        let layout = settings::layout_without_bash(&root)
            .with_trees(path("sourcetree"), path("dkmstree"), path("installtree"))
            .with_kernel_source(path("kernelsourcedir"));
        Self { layout, packages: OnceCell::new() }
    }

    fn scan(&self) -> Vec<Package> {
        let found = scan(&self.layout).unwrap_or_default();
        let package = |p: dkms_core::tree::TreePackage| Package {
            name: p.id.name.to_string(),
            version: p.id.version.to_string(),
            broken: matches!(p.source, SourceState::Broken(_)),
            entries: p
                .entries
                .into_iter()
                .map(|e| Entry {
                    kernel: e.kernel.release.to_string(),
                    arch: e.kernel.arch.to_string(),
                    installed: e.installed,
                })
                .collect(),
        };
        found.into_iter().map(package).collect()
    }

    /// What a source calls itself, where that can be told at once; else where its folder's name most likely divides.
    fn identity(&self, folder: &Path, called: &str) -> Option<(String, String)> {
        let said = self.read(folder).filter(|(name, version)| format!("{name}-{version}") == called);
        said.or_else(|| {
            let digit = |(at, _): &(usize, _)| called[at + 1..].starts_with(|c: char| c.is_ascii_digit());
            let (at, _) = called.match_indices('-').find(digit)?;
            Some((called[..at].to_owned(), called[at + 1..].to_owned()))
        })
    }

    fn read(&self, folder: &Path) -> Option<(String, String)> {
        let path = folder.join("dkms.conf");
        if fs::metadata(&path).ok()?.len() > MAX_CONF as u64 {
            return None;
        }
        let text = fs::read(&path).ok()?;
        let kernel = KernelId { release: kernels::running().ok()?, arch: kernels::machine().ok()? };
        let values = Evaluator::new(&self.layout)
            .evaluate_without_bash(&EvalInput {
                files: &[ConfFile { path, text }],
                directives: &[],
                kernel: &kernel,
                module: None,
                module_version: None,
                kernel_source_dir: &self.layout.kernel_source_inside(&kernel.release),
                dkms_tree: self.layout.dkms_tree_inside(),
                source_tree: self.layout.source_tree_inside(),
                install_tree: self.layout.install_tree_inside(),
                parallel_jobs: 1,
            })
            .ok()??;
        let value = |name| values.scalar(name).map(ToString::to_string);
        Some((value("PACKAGE_NAME")?, value("PACKAGE_VERSION")?))
    }
}

impl Tree for Disk {
    fn packages(&self) -> Vec<Package> {
        self.packages.get_or_init(|| self.scan()).clone()
    }

    fn sources(&self) -> Vec<(String, String)> {
        let Ok(entries) = fs::read_dir(self.layout.source_tree()) else { return Vec::new() };
        let source = |entry: std::io::Result<fs::DirEntry>| {
            let entry = entry.ok()?;
            let called = entry.file_name().into_string().ok()?;
            let folder = entry.path();
            folder.join("dkms.conf").is_file().then(|| self.identity(&folder, &called))?
        };
        entries.filter_map(source).collect()
    }

    fn kernels(&self) -> Vec<Kernel> {
        let Ok(arch) = Arch::new(self.arch()) else { return Vec::new() };
        let found = kernels::kernels(&self.layout, &arch, &|_| false).unwrap_or_default();
        let kernel = |k: kernels::Kernel| {
            let include = self.layout.kernel_source(&k.id.release).join("include");
            let headers = resolve(&self.layout, &include).is_ok_and(|folder| folder.is_dir());
            Kernel { release: k.id.release.to_string(), headers }
        };
        found.into_iter().map(kernel).collect()
    }

    fn arch(&self) -> String {
        kernels::machine().map(|arch| arch.to_string()).unwrap_or_default()
    }
}
