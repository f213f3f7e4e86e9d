//! What modules are signed with: what was built, what it would be signed with now, and which kernels insist.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{Look, Observer};
use crate::artifact::certificate::Certificate;
use crate::artifact::sign::{self, Offer, SignSettings};
use crate::artifact::signing::Signing;
use crate::host::kconfig::KernelConfig;
use crate::host::secure_boot::{Mend, Refusal, SecureBoot};
use crate::model::{KernelId, KernelRelease, PackageId};
use crate::plan::World;
use crate::tree::{TreeEntry, TreePackage};

/// A kernel that takes signed modules only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enforcing {
    /// Why it does.
    pub why: String,
    /// The certificate that its modules are signed with, if there is one.
    pub certificate: Option<Certificate>,
    /// Why its modules are not to be signed, if so.
    pub unwanted: Option<&'static str>,
}

impl Look {
    /// Why a kernel does not take the modules of a package that is installed on it, and what to do: they lack a signature
    /// that it trusts.
    #[must_use]
    pub fn refusal(&self, package: &PackageId, kernel: &KernelId) -> Option<String> {
        let Enforcing { why, certificate, unwanted } = self.enforcing.get(kernel)?;
        let entry = self.world.packages.iter().find(|p| p.id == *package)?.entries.get(kernel)?;
        let current = certificate.as_ref().map(|certificate| certificate.digest.as_str());
        let Refusal { what, mend } =
            self.boot.refusal(&entry.signing, current, *unwanted).filter(|_| entry.installed)?;
        let next = match mend {
            Mend::Rebuild => format!("run dkmsctl rebuild {package} -k {}", kernel.release),
            Mend::Enroll => "run dkmsctl mok enroll".to_owned(),
            Mend::Reboot => "reboot".to_owned(),
        };
        Some(format!("{what}; the kernel takes no others: {why}; {next}"))
    }
}

/// More files than this are of kernels that came and went.
const MOST: usize = 4096;

/// The signatures of files that somebody else has built, read once.
#[derive(Debug, Default)]
pub(super) struct Signatures(Mutex<HashMap<PathBuf, (Stamp, Signing)>>);

/// What tells one state of a file from another, and by which certificate it was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
    certificate: String,
}

impl Signatures {
    /// Whether modules are signed; unknown where there are none, or one cannot be read.
    fn of(&self, modules: &[PathBuf], certificate: Option<&Certificate>) -> Signing {
        let mut all = Signing::Unknown;
        for module in modules {
            let Some(one) = self.one(module, certificate) else { return Signing::Unknown };
            all = match (all, one) {
                (_, one @ Signing::Unsigned { .. }) => return one,
                (Signing::Unknown, one) => one,
                (all, one) if all == one => all,
                // Of several keys.
                _ => Signing::Signed { certificate: String::new(), key_id: String::new() },
            };
        }
        all
    }

    fn one(&self, module: &Path, certificate: Option<&Certificate>) -> Option<Signing> {
        let meta = fs::metadata(module).ok()?;
        let stamp = Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            certificate: certificate.map(|certificate| certificate.digest.clone()).unwrap_or_default(),
        };
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, signing)) = known().get(module)
            && *then == stamp
        {
            return Some(signing.clone());
        }
        let read = Signing::of([module], certificate, None, String::new());
        let signing = read.inspect_err(|error| tracing::debug!("{error}")).unwrap_or_default();
        let mut known = known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(module.to_owned(), (stamp, signing.clone()));
        Some(signing)
    }
}

impl Observer {
    fn sign_settings(&self, kernel: &KernelRelease) -> SignSettings {
        SignSettings::of(&self.settings, &self.distro, self.in_chroot, kernel)
    }

    /// What a kernel's modules would be signed with now.
    pub(super) fn offer(&self, kernel: &KernelRelease, config: &KernelConfig) -> Option<Offer> {
        sign::offer(&self.layout, kernel, config, &self.sign_settings(kernel))
    }

    /// Where certificates lie: another one there is worth a look.
    pub(super) fn certificate_folders(&self, world: &World) -> BTreeSet<PathBuf> {
        let folder = |kernel: &KernelRelease| {
            let (_, file) = sign::key_paths(&self.layout, kernel, &self.sign_settings(kernel));
            file.parent().filter(|folder| folder.is_dir()).map(Path::to_owned)
        };
        world.kernels.iter().filter_map(|kernel| folder(&kernel.id.release)).collect()
    }

    /// Why a build is to be signed anew; none when it is not. The planner finds the same.
    pub(crate) fn sign_anew(&self, signing: &Signing, kernel: &KernelRelease, config: &KernelConfig) -> Option<String> {
        let offer = self.offer(kernel, config)?;
        let why = offer.due(signing)?;
        let lost = SecureBoot::read(&self.layout).would_lose(signing, &offer.certificate);
        (!lost).then_some(why)
    }

    /// The kernels that something is installed on and that take signed modules only.
    pub(super) fn enforcing(&self, boot: &SecureBoot, packages: &[TreePackage]) -> BTreeMap<KernelId, Enforcing> {
        let installed = packages.iter().flat_map(|p| &p.entries).filter(|e| e.installed).map(|e| &e.kernel);
        let kernels: BTreeSet<&KernelId> = installed.collect();
        let look = |kernel: &KernelId| {
            let config = self.kernel_config(&kernel.release);
            let why = boot.enforces(&config, kernel.release == self.running)?;
            let settings = self.sign_settings(&kernel.release);
            let (_, file) = sign::key_paths(&self.layout, &kernel.release, &settings);
            let certificate = Certificate::read(&file).inspect_err(|error| tracing::warn!("{error}"));
            let unwanted = sign::wanted(&config, &settings).err();
            Some(Enforcing { why, certificate: certificate.unwrap_or_default(), unwanted })
        };
        kernels.into_iter().filter_map(|kernel| Some((kernel.clone(), look(kernel)?))).collect()
    }

    /// Finds out whether what another tool has built is signed, where that matters. Only what is told of a kernel follows
    /// from it: what another tool has built is nothing to plan about.
    pub(super) fn read_signatures(
        &self,
        world: &mut World,
        packages: &[TreePackage],
        enforcing: &BTreeMap<KernelId, Enforcing>,
    ) {
        if enforcing.is_empty() {
            return;
        }
        for package in packages {
            let Some(view) = world.packages.iter_mut().find(|view| view.id == package.id) else { continue };
            for built in package.entries.iter().filter(|built| built.installed) {
                if let Some(enforcing) = enforcing.get(&built.kernel)
                    && let Some(entry) = view.entries.get_mut(&built.kernel)
                    && entry.signing == Signing::Unknown
                {
                    let modules = self.installed_modules(&package.id, built);
                    entry.signing = self.signatures.of(&modules, enforcing.certificate.as_ref());
                }
            }
        }
    }

    /// The modules that are installed; where nobody knows where, those that were built.
    fn installed_modules(&self, package: &PackageId, entry: &TreeEntry) -> Vec<PathBuf> {
        if let Some(record) = entry.manifest.as_ref().and_then(|m| m.installed.as_ref()) {
            return record.files.iter().map(|file| self.layout.host(&file.path)).collect();
        }
        let installed = self.classic_files(package, entry);
        let modules = if installed.is_empty() {
            let built = fs::read_dir(self.layout.module_dir(package, &entry.kernel)).into_iter().flatten().flatten();
            built.map(|file| file.path()).collect()
        } else {
            installed
        };
        let is_module = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(".ko"));
        modules.into_iter().filter(is_module).collect()
    }
}
