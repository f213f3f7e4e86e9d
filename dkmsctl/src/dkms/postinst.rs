//! `dkms common-postinst NAME VERSION [TARBALL_FOLDER [ARCH [UPGRADE]]]`: what /usr/lib/dkms/common.postinst, which the
//! package of a driver calls, stands for (dkms-contract.md §5).
//!
//! What is there already is not taken away first: it is built anew where what it is made from has changed, and replaced
//! once that stands.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use dkms_core::conf::{ConfLoader, Request};
use dkms_core::engine::{Engine, Order};
use dkms_core::error::Error;
use dkms_core::host::kernel_choice::{Choice, Occasion};
use dkms_core::host::kernels;
use dkms_core::model::{Arch, KernelId, PackageId};
use dkms_core::settings::Settings;
use dkms_core::tree::{self, SourceState};

use super::failure::Failure;
use super::terminal::{Terminal, shown};
use super::{act, archives};

/// The word that asks for it, first among the arguments.
pub(crate) const ACTION: &str = "common-postinst";

const USAGE: &str = "write: common.postinst NAME VERSION [TARBALL_FOLDER [ARCH [UPGRADE]]]";

/// What the package's script says.
#[derive(Debug, PartialEq, Eq)]
struct Given {
    package: PackageId,
    /// A folder that may hold the package as an archive, in place of its source.
    archives: Option<PathBuf>,
    arch: Option<Arch>,
    upgrade: bool,
}

/// Adds the package, then builds and installs it for the kernels that matter. The code of the last build that failed is
/// the program's; an install that failed is said, and remembered.
pub(crate) fn run(words: &[OsString], terminal: &mut Terminal) -> Result<(), Failure> {
    let given = Given::parse(words)?;
    let settings = Settings::load(Path::new("/"))?;
    let layout = settings.layout();
    if layout.no_autoinstall().exists() {
        terminal.line(&format!("{}: left alone, as {} says", given.package, layout.no_autoinstall().display()));
        return Ok(());
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot { what: "common.postinst".into() }.into());
    }
    let occasion = Occasion { upgrade: given.upgrade, all_kernels: settings.autoinstall_all_kernels };
    let go_on = settings.continue_on_error;
    let engine = Engine::new(settings, None)?;
    engine.recover(terminal)?;
    let running = kernels::running()?;
    let package = &given.package;
    terminal.subject(package.to_string());
    enter(&engine, &given, terminal)?;
    let here = KernelId { release: running.clone(), arch: engine.arch_of(&running) };
    if !autoinstall(&engine, package, &here)? {
        terminal.line(&format!("{package}: added; it does not ask for AUTOINSTALL, so it is not built"));
        return Ok(());
    }
    let (mut changed, mut failed) = (Vec::new(), Ok(()));
    for release in Choice::look(engine.layout()).kernels(&running, occasion) {
        let arch = given.arch.clone().unwrap_or_else(|| engine.arch_of(&release));
        match for_kernel(&engine, package, &KernelId { release: release.clone(), arch }, terminal) {
            Ok(true) => changed.push(release),
            Ok(false) => {}
            Err(failure) => {
                terminal.failure(&failure);
                failed = Err(failure.silent());
                if !go_on {
                    break;
                }
            }
        }
    }
    act::conclude(&engine, &changed, terminal);
    failed
}

impl Given {
    fn parse(words: &[OsString]) -> Result<Self, Failure> {
        let word = |place: usize| words.get(place).and_then(|w| w.to_str()).unwrap_or_default();
        if word(0).is_empty() || word(1).is_empty() {
            return Err(Failure::new(1, format!("which package? {USAGE}")));
        }
        let arch = match word(3) {
            "" => None,
            arch => Some(Arch::new(arch)?),
        };
        Ok(Self {
            package: PackageId::new(word(0), word(1))?,
            archives: words.get(2).filter(|w| !w.is_empty()).map(PathBuf::from),
            arch,
            upgrade: !word(4).is_empty(),
        })
    }

    /// The archive that its package brings, when it does.
    fn archive(&self) -> Option<PathBuf> {
        let name = format!("{}-{}.dkms.tar.gz", self.package.name, self.package.version);
        self.archives.as_ref().map(|folder| folder.join(name)).filter(|archive| archive.is_file())
    }
}

/// A package that is installed asks for what its script does: as if by hand, so that what its removal held is let go.
fn order(force: bool) -> Order {
    Order { force, by_hand: true, reason: "its package was installed".into(), ..Order::default() }
}

/// Takes the package into the tree, from its archive or its source.
fn enter(engine: &Engine, given: &Given, terminal: &mut Terminal) -> Result<(), Failure> {
    let package = &given.package;
    let source = tree::package(engine.layout(), package)?.map(|found| found.source);
    if let Some(archive) = given.archive() {
        return archives::unpack(engine, &order(true), &archive, terminal).map(drop);
    }
    if let Some(SourceState::Broken(path)) = &source
        && !engine.layout().source(package).is_dir()
    {
        return Err(Error::Broken { package: package.clone(), path: path.clone() }.into());
    }
    engine.add(package, &order(false), terminal)?;
    Ok(())
}

fn autoinstall(engine: &Engine, package: &PackageId, kernel: &KernelId) -> Result<bool, Failure> {
    let layout = engine.layout();
    let source = layout.source_link(package);
    let request =
        Request { source: &source, conf: None, package: Some(package), kernel, strict: true, directives: &[] };
    Ok(ConfLoader::new(layout).load(&request)?.recipe.autoinstall)
}

/// Tells whether anything was changed on the kernel. An install that fails is said, and no failure of the script.
fn for_kernel(
    engine: &Engine,
    package: &PackageId,
    kernel: &KernelId,
    terminal: &mut Terminal,
) -> Result<bool, Failure> {
    let release = &kernel.release;
    terminal.subject(format!("{package}, {}", shown(kernel)));
    if !engine.layout().kernel_source(release).join("include").is_dir() {
        terminal
            .line(&format!("{package}: not built for {release}, whose headers are not there; it is when they come"));
        return Ok(false);
    }
    let order = order(false);
    match engine.build(package, kernel, &order, terminal) {
        Ok(_) => {}
        Err(excluded @ Error::Excluded { .. }) => {
            terminal.line(&excluded.to_string());
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(act::install_on(engine, &order, package, kernel, terminal).unwrap_or_else(|failure| {
        terminal.failure(&failure);
        false
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn given(words: &[&str]) -> Result<Given, u8> {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        Given::parse(&words).map_err(|failure| failure.code)
    }

    #[rstest]
    #[case(&[])]
    #[case(&["r8169"])]
    #[case(&["r8169", ""])]
    #[case(&["r8169", "a/b"])]
    fn too_little(#[case] words: &[&str]) {
        assert_eq!(given(words), Err(1));
    }

    #[rstest]
    #[case(&["r8169", "2"], None, None, false)]
    #[case(&["r8169", "2", "", "", ""], None, None, false)]
    #[case(&["r8169", "2", "/usr/share/x", "", "1"], Some("/usr/share/x"), None, true)]
    #[case(&["r8169", "2", "/usr/share/x", "i686"], Some("/usr/share/x"), Some("i686"), false)]
    fn what_a_package_says(
        #[case] words: &[&str],
        #[case] archives: Option<&str>,
        #[case] arch: Option<&str>,
        #[case] upgrade: bool,
    ) {
        let given = given(words).unwrap();
        assert_eq!(given.package.to_string(), "r8169/2");
        assert_eq!(given.archives.as_deref(), archives.map(Path::new));
        assert_eq!(given.arch.as_ref().map(Arch::as_str), arch);
        assert_eq!(given.upgrade, upgrade);
    }
}
