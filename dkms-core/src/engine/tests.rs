//! The verbs on a machine in small: headers laid out as Debian's, a package whose make copies a module of a real
//! kernel, real strip, patch and depmod.

mod adding;
mod archives;
mod autoinstalling;
mod building;
mod cached;
mod classic;
mod crashing;
mod depending;
mod finishing;
mod fitness;
mod installing;
mod interleaving;
mod removing;
mod sharing;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rstest::rstest;

use super::*;
use crate::artifact::fixture;
use crate::event::Event;
use crate::host::headers::tests::{BUILD, QUIET, Tree};
use crate::observe::Look;
use crate::plan::{Row, Verb};
use crate::tree::Manifest;

/// Where Debian's packages of modules go.
const UPDATES: &str = "updates/dkms";

struct Machine {
    tree: Tree,
    kernel: KernelId,
}

impl Machine {
    /// With the kernel whose modules the packages bring, and headers for it.
    fn new() -> Self {
        let machine = Self { tree: Tree::new(), kernel: fixture::kernel() };
        machine.tree.write("etc/os-release", "ID=debian\n");
        machine.kernel_folder(&machine.kernel);
        machine
    }

    fn kernel_folder(&self, kernel: &KernelId) {
        let folder = self.layout().kernel_folder(&kernel.release);
        fs::create_dir_all(&folder).unwrap();
        for file in ["modules.dep", "modules.builtin", "modules.order"] {
            fs::write(folder.join(file), "").unwrap();
        }
        let link = folder.join("build");
        if fs::symlink_metadata(&link).is_err() {
            std::os::unix::fs::symlink(format!("/{BUILD}"), link).unwrap();
        }
    }

    fn layout(&self) -> &Layout {
        &self.tree.layout
    }

    fn engine(&self) -> Engine {
        Engine::new(Settings::load(self.layout().root()).unwrap(), Some(false)).unwrap()
    }

    /// The source of a package that brings the module r8169, with these lines in its dkms.conf; `MAKE` copies a real one.
    fn source(&self, id: &str, lines: &str) -> PackageId {
        let package: PackageId = id.parse().unwrap();
        let folder = self.layout().source(&package);
        self.source_at(&folder, id, lines);
        package
    }

    fn source_at(&self, folder: &Path, id: &str, lines: &str) {
        let (name, version) = id.split_once('/').unwrap();
        fs::create_dir_all(folder).unwrap();
        fs::copy(fixture::module("r8169.ko"), folder.join("prebuilt")).unwrap();
        let conf = format!(
            "PACKAGE_NAME={name}\nPACKAGE_VERSION={version}\nBUILT_MODULE_NAME=r8169\nAUTOINSTALL=yes\n\
             DEST_MODULE_LOCATION=/kernel/net\nMAKE[0]=\"cp prebuilt r8169.ko\"\n{lines}\n"
        );
        fs::write(folder.join("dkms.conf"), conf).unwrap();
    }

    fn script(&self, package: &PackageId, name: &str, text: &str) {
        let script = self.layout().source(package).join(name);
        fs::write(&script, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn installed_file(&self) -> PathBuf {
        self.layout().kernel_folder(&self.kernel.release).join(UPDATES).join("r8169.ko")
    }

    /// Installs and finishes, as a worker and its daemon do.
    fn install(&self, package: &PackageId) -> Result<Done> {
        self.install_as(package, &daemons())
    }

    /// Builds, installs and finishes, in whatever way.
    fn install_as(&self, package: &PackageId, order: &Order) -> Result<Done> {
        let engine = self.engine();
        let done = engine.install(package, &self.kernel, order, &mut quiet())?;
        if done == Done::Placed {
            engine.finish_kernel(&self.kernel, std::slice::from_ref(package), &mut quiet())?;
        }
        Ok(done)
    }

    fn write(&self, path: &str, text: &str) {
        self.tree.write(path, text);
    }

    /// What the planner makes of it, once everything is quiet.
    fn look(&self) -> Look {
        let observer = Observer::new(&Settings::load(self.layout().root()).unwrap()).unwrap().told(false);
        observer.look(SystemTime::now() + QUIET).unwrap()
    }

    fn manifest(&self, package: &PackageId) -> Manifest {
        Manifest::read(self.layout(), package, &self.kernel).unwrap().unwrap()
    }

    /// What depmod made of the kernel's folder.
    fn indexed(&self) -> bool {
        let index = self.layout().kernel_folder(&self.kernel.release).join("modules.dep");
        fs::read_to_string(index).unwrap().contains("updates/dkms/r8169.ko:")
    }
}

fn row(look: &Look) -> &Row {
    match &look.plan.rows[..] {
        [row] => row,
        rows => panic!("{rows:#?}"),
    }
}

fn verbs(look: &Look) -> Vec<Verb> {
    look.plan.actions.iter().map(|a| a.verb.clone()).collect()
}

fn daemons() -> Order {
    Order { reason: "a test".into(), ..Order::default() }
}

fn by_hand() -> Order {
    Order { by_hand: true, uid: 1000, ..daemons() }
}

/// As the classic command asks.
fn classic() -> Order {
    Order { keep_built: true, ..by_hand() }
}

fn forced() -> Order {
    Order { force: true, ..by_hand() }
}

fn quiet() -> Vec<Event> {
    Vec::new()
}

fn text(events: &[Event]) -> String {
    events.iter().map(|event| format!("{event:?}\n")).collect()
}
