//! What an action works on: the engine with this call's settings, the package, the kernels.

use std::path::{Path, PathBuf};

use dkms_core::engine::{Adjustments, Depmod, Engine, Order};
use dkms_core::error::Error;
use dkms_core::event::Sink;
use dkms_core::host::{kernels, other_root};
use dkms_core::model::{Arch, KernelId, KernelRelease, PackageId};
use dkms_core::settings::Settings;
use dkms_core::tree;

use super::args::{Action, Args, no_kernel_there};
use super::failure::Failure;
use super::terminal::Terminal;

/// The machine, as this call sees it.
pub(crate) struct Machine {
    pub(crate) engine: Engine,
    pub(crate) order: Order,
    /// framework.conf's `verbose`.
    pub(crate) verbose: bool,
    /// Another root, in which this process is by now: nothing of the running kernel's goes for it.
    elsewhere: bool,
}

impl Machine {
    /// Reads the settings, changed by what the command line says.
    pub(crate) fn open(args: &Args, action: Action, terminal: &mut Terminal) -> Result<Self, Failure> {
        needs_root(args, action)?;
        if let Some(root) = &args.root {
            other_root::enter(root)?;
        }
        let elsewhere = args.root.is_some();
        let settings = match action {
            // A mistake in a file of settings must not keep a package on the machine.
            Action::Uninstall | Action::Unbuild | Action::Remove | Action::KernelPrerm => {
                let (settings, mistake) = Settings::load_in_spite_of_mistakes(Path::new("/"))?;
                if let Some(mistake) = mistake {
                    terminal.warning(&format!("{mistake}; it goes on without"));
                }
                changed(settings, args)?
            }
            _ => settings(args, Path::new("/"))?,
        };
        if settings.verbose {
            terminal.verbose();
        }
        for (file, whose) in [
            (args.kernel_config.as_deref(), "--config"),
            (settings.build_environment.as_deref(), "framework.conf: build_environment"),
        ] {
            if let Some(file) = file.filter(|file| !file.is_file()) {
                terminal.warning(&format!("{whose}: there is no file {}; it goes on without", file.display()));
            }
        }
        let adjustments = Adjustments {
            directives: args.directives.clone(),
            conf: args.conf.clone(),
            kernel_config: args.kernel_config.clone(),
            in_other_root: elsewhere,
        };
        let verbose = settings.verbose;
        let engine = Engine::new(settings, elsewhere.then_some(true))?.adjusted(adjustments);
        let order = Order {
            force: args.force,
            force_version_override: args.force_version_override,
            keep_built: true,
            depmod: if args.no_depmod { Depmod::LeftToCaller } else { Depmod::Run },
            by_hand: true,
            uid: rustix::process::getuid().as_raw(),
            reason: format!("dkms {}", action.as_str()),
        };
        Ok(Self { engine, order, verbose, elsewhere })
    }

    /// Puts in order what an earlier process was stopped in, before anything is changed.
    pub(crate) fn recover(&self, sink: &mut dyn Sink) -> Result<(), Failure> {
        Ok(self.engine.recover(sink)?)
    }

    /// The package that is meant, as the arguments name it.
    pub(crate) fn package(&self, args: &Args) -> Result<PackageId, Failure> {
        match (&args.name, &args.version) {
            (Some(name), Some(version)) => Ok(PackageId::new(name, version)?),
            _ => match (&args.folder, &args.conf) {
                (Some(folder), _) => Ok(self.engine.identify(folder)?),
                (None, Some(conf)) => {
                    let folder = conf.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                    Ok(self.engine.identify(folder)?)
                }
                (None, None) => Err(self.which(args.name.as_deref())),
            },
        }
    }

    /// Says what is missing of NAME/VERSION, and what there is.
    fn which(&self, name: Option<&str>) -> Failure {
        let Some(name) = name else {
            return Failure::new(1, "which package? name it as NAME/VERSION, or with -m NAME -v VERSION");
        };
        let known = tree::scan(self.engine.layout()).unwrap_or_default();
        let versions: Vec<_> = known.iter().map(|p| &p.id).filter(|id| id.name.as_str() == name).collect();
        let there = match versions.as_slice() {
            [] => format!("no version of {name} is in the tree"),
            some => format!("there is {}", some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        };
        Failure::new(1, format!("which version of {name}? write {name}/VERSION; {there}"))
    }

    /// The kernels that are named, or the running one.
    pub(crate) fn kernels(&self, args: &Args) -> Result<Vec<KernelId>, Failure> {
        let mut releases = args.kernels.clone();
        if releases.is_empty() {
            releases.push(self.running(args)?);
        }
        let arches = &args.arches;
        let arch = |position: usize, release: &KernelRelease| -> Result<Arch, Failure> {
            match arches.get(position).or_else(|| arches.first().filter(|_| arches.len() == 1)) {
                Some(arch) => Ok(arch.clone()),
                None => Ok(self.engine.arch_of(release)),
            }
        };
        let kernels = releases.iter().enumerate();
        kernels.map(|(i, release)| Ok(KernelId { release: release.clone(), arch: arch(i, release)? })).collect()
    }

    fn running(&self, args: &Args) -> Result<KernelRelease, Failure> {
        if self.elsewhere {
            return Err(no_kernel_there(args.root.as_deref().unwrap_or(Path::new("/"))));
        }
        Ok(kernels::running()?)
    }
}

/// The settings for this call.
pub(crate) fn settings(args: &Args, root: &Path) -> Result<Settings, Failure> {
    changed(Settings::load(root)?, args)
}

/// As the command line says.
fn changed(mut settings: Settings, args: &Args) -> Result<Settings, Failure> {
    let machines_own = settings.layout();
    let places = [
        (&mut settings.dkms_tree, &args.dkms_tree, "--dkmstree"),
        (&mut settings.source_tree, &args.source_tree, "--sourcetree"),
        (&mut settings.install_tree, &args.install_tree, "--installtree"),
        (&mut settings.kernel_source_dir, &args.kernel_source_dir, "--kernelsourcedir"),
    ];
    for (place, given, option) in places {
        if let Some(path) = given {
            *place = Some(full(path, option)?);
        }
    }
    settings.state_in_tree = settings.layout().dkms_tree() != machines_own.dkms_tree();
    settings.symlink_modules |= args.symlink_modules;
    settings.modprobe_on_install |= args.modprobe_on_install;
    settings.parallel_jobs = args.jobs.or(settings.parallel_jobs);
    Ok(settings)
}

fn full(path: &Path, option: &str) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|why| Failure::new(2, format!("{option} {}: {why}", path.display())))
}

/// Who may do it (dkms-contract.md §2): most need no more than a tree that they may change.
fn needs_root(args: &Args, action: Action) -> Result<(), Failure> {
    let needs = match action {
        Action::Install
        | Action::Uninstall
        | Action::Autoinstall
        | Action::Match
        | Action::KernelPreinst
        | Action::KernelPostinst
        | Action::KernelPrerm => true,
        Action::Add => args.folder.is_some() || args.archive.is_some(),
        _ => false,
    };
    if (needs || args.root.is_some()) && !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot { what: format!("dkms {}; try sudo", action.as_str()) }.into());
    }
    Ok(())
}
