//! What came out of make: taken out of the build folder by root, checked, stripped, signed, compressed, and staged
//! beside its classic place (design.md, decision 6).

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::copy::{Rules, copy};
use super::log::BuildLog;
use super::toolchain::Toolchain;
use super::workspace::Workspace;
use super::{Build, STAGED_PREFIX};
use crate::artifact::sign::{self, SignOutcome, SignSettings};
use crate::artifact::symbols::Symbols;
use crate::artifact::vermagic::Vermagic;
use crate::artifact::{CompressOptions, Fitness, MOST_BYTES, Suffix, compress, modinfo, strip};
use crate::conf::ModuleRecipe;
use crate::error::{Error, IoContext as _, Result};
use crate::event::Sink;
use crate::tree::{BuiltModule, files};

/// How large a build's Module.symvers may be, in bytes; a whole kernel's has some 2 MiB.
const MOST_SYMVERS: u64 = 64 * 1024 * 1024;

/// A folder that becomes `<kernel>/<arch>` in one step. Removed when dropped before.
#[derive(Debug)]
pub(super) struct Staged {
    folder: tempfile::TempDir,
    pub(super) modules: Vec<BuiltModule>,
    /// Why a module could not be signed.
    pub(super) unsigned: Option<String>,
}

impl Staged {
    /// With nothing in it yet.
    pub(super) fn empty(build: &Build<'_>) -> Result<Self> {
        Ok(Self { folder: new_folder(build)?, modules: Vec::new(), unsigned: None })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A second one like it.
    pub(super) fn duplicate(&self, build: &Build<'_>) -> Result<Self> {
        let folder = new_folder(build)?;
        copy(self.folder(), folder.path(), &Rules::default()).at("copy the result to", folder.path())?;
        Ok(Self { folder, modules: self.modules.clone(), unsigned: self.unsigned.clone() })
    }

    /// Takes the place of what was built before, in one step: whenever it is cut short, the one or the other stands.
    pub(super) fn move_to(self, place: &Path) -> Result<()> {
        files::sync_tree(self.folder.path())?;
        match rustix::fs::renameat_with(CWD, self.folder.path(), CWD, place, RenameFlags::EXCHANGE) {
            // The folder now is what was built before, and goes when dropped.
            Ok(()) => {}
            Err(Errno::NOENT) => fs::rename(self.folder.path(), place).at("make", place)?,
            // Some file systems (NFS, FUSE) cannot exchange.
            Err(Errno::INVAL | Errno::NOSYS) => {
                if place.exists() {
                    let parent = place.parent().unwrap_or(Path::new("/"));
                    let before = staged_in(parent)?;
                    fs::rename(place, before.path().join("before")).at("replace", place)?;
                }
                fs::rename(self.folder.path(), place).at("make", place)?;
            }
            Err(error) => return Err(error).at("replace", place),
        }
        files::sync_parent(place)
    }
}

pub(super) fn stage(
    build: &Build<'_>,
    workspace: &Workspace,
    toolchain: &Toolchain,
    log: &BuildLog,
    sink: &mut dyn Sink,
) -> Result<Staged> {
    let folder = new_folder(build)?;
    let module_dir = folder.path().join("module");
    fs::create_dir(&module_dir).at("make", &module_dir)?;
    if let Ok(symvers) = workspace.open_inside(Path::new("Module.symvers")) {
        copy_to(symvers, &module_dir.join("Module.symvers"), MOST_SYMVERS)?;
    }
    let mut finish = Finish::new(build, sink)?;
    let fitness = fitness(build, workspace)?;
    let mut modules = Vec::new();
    for module in build.recipe.wanted() {
        let file = take_out(build, workspace, module, &module_dir, log)?;
        check(build, &fitness, &file, module)?;
        if module.strip {
            strip::strip(&file, &toolchain.strip())?;
        }
        modules.push(finish.module(module, &file, sink)?);
    }
    Ok(Staged { folder, modules, unsigned: finish.unsigned })
}

/// Takes a result back from where a script of the package could change it. Only plain files and folders come along; a
/// module that is not as it was `made` is checked and signed anew.
///
/// # Errors
/// A module that is missing or not fit; a full disk.
pub(super) fn stage_again(
    build: &Build<'_>,
    workspace: &Workspace,
    from: &Path,
    made: &[BuiltModule],
    log: &BuildLog,
    sink: &mut dyn Sink,
) -> Result<Staged> {
    let folder = new_folder(build)?;
    let owner = rustix::process::geteuid().is_root().then_some((0, 0));
    let rules = Rules { owner, no_links: true, leave_out: &[".dkmsd-manifest.json", "log"], ..Rules::default() };
    copy(from, folder.path(), &rules).at("take the result back to", folder.path())?;
    let module_dir = folder.path().join("module");
    let mut finish = Finish::new(build, sink)?;
    let mut modules = Vec::new();
    for (module, made) in build.recipe.wanted().zip(made) {
        let file = module_dir.join(&made.file_name);
        if file.is_file() && files::sha256_file(&file)? == made.sha256 {
            modules.push(made.clone());
        } else {
            let file = plain(build, module, &module_dir, log)?;
            check(build, &fitness(build, workspace)?, &file, module)?;
            modules.push(finish.module(module, &file, sink)?);
        }
    }
    Ok(Staged { folder, modules, unsigned: finish.unsigned })
}

/// The module, uncompressed, whatever a script has compressed it with.
fn plain(build: &Build<'_>, module: &ModuleRecipe, module_dir: &Path, log: &BuildLog) -> Result<PathBuf> {
    let file = |suffix: Suffix| module_dir.join(format!("{}{suffix}", module.dest_name));
    let all = [Suffix::Ko, Suffix::Gz, Suffix::Xz, Suffix::Zst];
    let found = all.into_iter().map(file).find(|f| f.is_file()).ok_or_else(|| Error::ModuleNotBuilt {
        package: build.package.clone(),
        kernel: build.kernel.clone(),
        module: format!("{}.ko", module.dest_name),
        log: log.path().to_owned(),
    })?;
    let bytes = modinfo::contents(&found)?;
    for file in all.into_iter().map(file) {
        files::remove(&file)?;
    }
    let file = file(Suffix::Ko);
    fs::write(&file, bytes).at("write", &file)?;
    Ok(file)
}

fn new_folder(build: &Build<'_>) -> Result<tempfile::TempDir> {
    let parent = build.layout.kernel_dir(build.package, &build.kernel.release);
    fs::create_dir_all(&parent).at("make", &parent)?;
    staged_in(&parent)
}

fn staged_in(parent: &Path) -> Result<tempfile::TempDir> {
    let folder = tempfile::Builder::new().prefix(STAGED_PREFIX).tempdir_in(parent).at("make a folder in", parent)?;
    open_to_all(folder.path())?;
    Ok(folder)
}

fn check(build: &Build<'_>, fitness: &Fitness, file: &Path, module: &ModuleRecipe) -> Result<()> {
    let why = fitness.check(file, &[&module.built_name, &module.dest_name])?;
    why.map_or(Ok(()), |why| Err(unfit(build, module, why)))
}

fn unfit(build: &Build<'_>, module: &ModuleRecipe, why: String) -> Error {
    Error::BadModule {
        package: build.package.clone(),
        kernel: build.kernel.clone(),
        file: PathBuf::from(format!("{}.ko", module.built_name)),
        why,
    }
}

/// What the kernel wants: its vermagic, and the symbols of its headers, of the packages this one depends on, and of its
/// own modules.
fn fitness(build: &Build<'_>, workspace: &Workspace) -> Result<Fitness> {
    let vermagic = Vermagic::of(build.layout, &build.kernel.release, &build.headers.config);
    let mut symbols = Symbols::default();
    let kernels = build.headers.dir.join("Module.symvers");
    // Whether it has to be there was asked with the headers.
    if let Some(bytes) = files::read(&kernels)? {
        symbols.add_kernel(bytes.as_slice()).at("read", &kernels)?;
    }
    for dependency in &build.recipe.build_depends {
        let theirs = build.layout.installed_link(dependency, build.kernel).join("module/Module.symvers");
        if let Some(bytes) = files::read(&theirs)? {
            symbols.add_package(bytes.as_slice()).at("read", &theirs)?;
        }
    }
    // Packages of several parts have one in each.
    let locations = build.recipe.wanted().map(|module| Path::new(module.built_location.trim_matches('/')));
    let folders: BTreeSet<&Path> = locations.flat_map(Path::ancestors).collect();
    for folder in folders {
        let own = folder.join("Module.symvers");
        if let Ok(file) = workspace.open_inside(&own) {
            symbols.add_package(file.take(MOST_SYMVERS)).at("read", workspace.folder().join(own))?;
        }
    }
    Ok(Fitness::new(build.kernel.clone(), vermagic, symbols))
}

/// What turns a checked module into what is installed.
struct Finish {
    suffix: Suffix,
    signer: Option<sign::Signer>,
    options: CompressOptions,
    /// Why a module could not be signed.
    unsigned: Option<String>,
}

impl Finish {
    fn new(build: &Build<'_>, sink: &mut dyn Sink) -> Result<Self> {
        let suffix = Suffix::of_kernel(build.layout, &build.kernel.release)?;
        let settings = sign_settings(build);
        let (signer, unsigned) =
            match sign::signer(build.layout, &build.kernel.release, &build.headers.config, &settings) {
                Ok(signer) => (Some(signer), None),
                Err(SignOutcome::Failed { why }) => {
                    sink.warn(format!("its modules are used unsigned: {why}"));
                    (None, Some(why))
                }
                Err(_) => (None, None),
            };
        Ok(Self { suffix, signer, options: options(build), unsigned })
    }

    fn module(&mut self, module: &ModuleRecipe, file: &Path, sink: &mut dyn Sink) -> Result<BuiltModule> {
        if let Some(SignOutcome::Failed { why }) = self.signer.as_ref().map(|signer| signer.sign(file)) {
            sink.warn(format!("{} is used unsigned: {why}", module.dest_name));
            self.unsigned.get_or_insert(why);
        }
        let file = compress::compress(file, self.suffix, &self.options)?;
        let file_name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(BuiltModule { file_name, sha256: files::sha256_file(&file)? })
    }
}

/// Copies a module out of the build folder under the name it will have.
fn take_out(
    build: &Build<'_>,
    workspace: &Workspace,
    module: &ModuleRecipe,
    module_dir: &Path,
    log: &BuildLog,
) -> Result<PathBuf> {
    let location = module.built_location.trim_matches('/');
    let built = Path::new(location).join(format!("{}.ko", module.built_name));
    let source = workspace.open_inside(&built).map_err(|_| Error::ModuleNotBuilt {
        package: build.package.clone(),
        kernel: build.kernel.clone(),
        module: built.to_string_lossy().into_owned(),
        log: log.path().to_owned(),
    })?;
    let file = module_dir.join(format!("{}.ko", module.dest_name));
    copy_to(source, &file, MOST_BYTES)?;
    let mut magic = [0; 8];
    let read = File::open(&file).and_then(|mut file| file.read(&mut magic)).at("read", &file)?;
    if let Some((program, _, _)) = modinfo::uncompressor(magic.get(..read).unwrap_or_default()) {
        let why = format!("it is compressed by {program}; MAKE has to leave it plain, it is compressed afterwards");
        return Err(unfit(build, module, why));
    }
    Ok(file)
}

/// Copies what a build has made, up to a number of bytes.
fn copy_to(source: File, target: &Path, most: u64) -> Result<()> {
    let mut file = File::create_new(target).at("make", target)?;
    if io::copy(&mut source.take(most + 1), &mut file).at("write", target)? > most {
        let why = format!("the build made more than {} MiB of it", most / 1024 / 1024);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why)).at("copy", target);
    }
    Ok(())
}

fn open_to_all(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).at("open", folder)
}

/// Whether and with what modules are signed.
pub(super) fn sign_settings(build: &Build<'_>) -> SignSettings {
    SignSettings::of(build.settings, build.distro, !build.make_keys, &build.kernel.release)
}

fn options(build: &Build<'_>) -> CompressOptions {
    CompressOptions {
        gzip: build.settings.compress_gzip_opts.clone(),
        xz: build.settings.compress_xz_opts.clone(),
        zstd: build.settings.compress_zstd_opts.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn there_is_a_result_at_every_moment() {
        let parent = crate::artifact::fixture::scratch();
        let place = parent.path().join("x86_64");
        let staged = |text: &str| {
            let staged = Staged { folder: staged_in(parent.path()).unwrap(), modules: Vec::new(), unsigned: None };
            fs::write(staged.folder().join("a"), text).unwrap();
            staged
        };
        staged("first").move_to(&place).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    assert!(fs::symlink_metadata(&place).is_ok(), "nothing was there for a moment");
                }
            });
            for n in 0..300 {
                staged(&n.to_string()).move_to(&place).unwrap();
            }
            over.store(true, Ordering::SeqCst);
            watch.join().unwrap();
        });
        assert_eq!(fs::read_to_string(place.join("a")).unwrap(), "299");
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "what was there before is gone");
    }
}
