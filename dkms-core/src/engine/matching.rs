//! match: one kernel gets what another has (dkms-contract.md §2).

use super::autoinstall::{Report, order};
use super::{Engine, Order, needs_root};
use crate::error::{Error, Result};
use crate::event::Sink;
use crate::model::{KernelId, PackageId, PackageName};
use crate::tree;

impl Engine {
    /// What is installed on `template`, in order of file name: all of it, or one package.
    ///
    /// # Errors
    /// When both kernels are the same ([`Error::SameKernel`]), the tree does not know the package
    /// ([`Error::UnknownPackage`]), or cannot be read.
    pub fn matching(
        &self,
        template: &KernelId,
        kernel: &KernelId,
        only: Option<&PackageName>,
    ) -> Result<Vec<PackageId>> {
        if template == kernel {
            return Err(Error::SameKernel { kernel: kernel.clone() });
        }
        let packages = tree::scan(&self.layout)?;
        if let Some(name) = only
            && !packages.iter().any(|package| package.id.name == *name)
        {
            return Err(Error::UnknownPackage { name: name.clone() });
        }
        let asked = packages.into_iter().filter(|package| only.is_none_or(|name| package.id.name == *name));
        let on_it = asked.filter(|p| p.entries.iter().any(|e| e.kernel == *template && e.installed));
        Ok(on_it.map(|package| package.id).collect())
    }

    /// Installs on a kernel what [`Engine::matching`] gives, in the order of BUILD_DEPENDS, whatever its AUTOINSTALL, with
    /// one depmod for all.
    ///
    /// # Errors
    /// As [`Engine::matching`]; when this is not root; when it is canceled. What fails for a package is in the report.
    pub fn install_matching(
        &self,
        template: &KernelId,
        kernel: &KernelId,
        only: Option<&PackageName>,
        order: &Order,
        sink: &mut dyn Sink,
    ) -> Result<Report> {
        needs_root("installing modules")?;
        let asked = self.matching(template, kernel, only)?;
        self.finish_what_was_cut_short(kernel, sink)?;
        let versions = self.versions(&tree::scan(&self.layout)?, kernel, order)?;
        self.run_steps(&order::these(&versions, &asked), kernel, order, sink)
    }
}
