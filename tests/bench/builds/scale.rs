//! 1,000 packages on 20 kernels: one look at the disk, and what follows from it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use dkms_core::host::kernels;
use dkms_core::layout::Layout;
use dkms_core::model::{EntryState, KernelId, PackageId};
use dkms_core::observe::{Look, Observer};
use dkms_core::plan;
use dkms_core::settings::Settings;
use dkms_core::tree::{BuiltModule, BuiltRecord, InstallRecord, InstalledFile, Manifest};

use crate::table::{Table, milliseconds};
use crate::timing::median;

const PACKAGES: usize = 1000;
const KERNELS: usize = 20;
/// Lines of a Module.symvers; Debian's has as many.
const SYMBOLS: usize = 24_000;
const ROUNDS: usize = 5;

pub(crate) fn measure(table: &mut Table) {
    let tree = Tree::new();
    let fresh = tree.look(&tree.observer());
    assert_eq!(fresh.plan.actions.len(), PACKAGES * KERNELS, "everything is due");
    let due = tree.times();
    tree.install(&fresh);
    let look = tree.look(&tree.observer());
    assert_eq!(look.plan.actions, [], "nothing is due");
    assert!(look.plan.rows.iter().all(|row| row.state == EntryState::Installed && !row.stale), "all is installed");
    let installed = tree.times();
    for (what, [cold, warm, planned]) in [("nothing built", due), ("all installed", installed)] {
        let what = format!("{PACKAGES} packages × {KERNELS} kernels, {what}");
        table.row(&format!("{what}: the first look and its plan"), "", &milliseconds(cold), "", "300 ms");
        table.row(&format!("{what}: the next one"), "", &milliseconds(warm), "", "");
        table.row(&format!("{what}: the plan of it alone"), "", &milliseconds(planned), "", "100 ms");
    }
}

/// A machine's files in small: headers laid out as Debian's, sources, and what was built of them.
struct Tree {
    root: tempfile::TempDir,
    layout: Layout,
    kernels: Vec<KernelId>,
    packages: Vec<PackageId>,
}

impl Tree {
    fn new() -> Self {
        let root = tempfile::tempdir().expect("there is a folder for temporary files");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let arch = kernels::machine().expect("a machine has a name");
        let kernel = |n| KernelId { release: format!("6.1.0-{n}-amd64").parse().expect("a name"), arch: arch.clone() };
        let package = |n| format!("driver-{n:04}/1.0").parse().expect("a name");
        let tree = Self {
            layout: Layout::under(root.path()),
            kernels: (10..10 + KERNELS).map(kernel).collect(),
            packages: (0..PACKAGES).map(package).collect(),
            root,
        };
        tree.write("etc/os-release", "ID=debian\n");
        for tool in ["basic/fixdep", "mod/modpost"] {
            let path = tree.path(&format!("usr/lib/linux-kbuild-6.1/scripts/{tool}"));
            fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
            fs::copy("/bin/true", path).expect("it can be copied");
        }
        tree.kernels.iter().for_each(|kernel| tree.headers(kernel));
        tree.packages.iter().for_each(|package| tree.source(package));
        tree
    }

    fn headers(&self, kernel: &KernelId) {
        let build = format!("usr/src/linux-headers-{}", kernel.release);
        let symbol = |n| format!("0x{n:08x}\tsome_exported_symbol_{n}\tdrivers/some/module\tEXPORT_SYMBOL_GPL\t\n");
        let symbols: String = (0..SYMBOLS).map(symbol).collect();
        let option = |n| format!("CONFIG_SOME_OPTION_{n}=m\n");
        let config: String = (0..8000).map(option).collect();
        for (file, text) in [
            ("Makefile", "VERSION = 6\n"),
            ("include/generated/autoconf.h", "#define CONFIG_MODULES 1\n"),
            ("include/config/auto.conf", &config),
            (".config", &config),
            ("Module.symvers", &symbols),
        ] {
            self.write(&format!("{build}/{file}"), text);
        }
        self.link("../../lib/linux-kbuild-6.1/scripts", &self.path(&format!("{build}/scripts")));
        self.write(&format!("lib/modules/{}/modules.builtin", kernel.release), "kernel/a.ko\n");
        self.link(&format!("/{build}"), &self.path(&format!("lib/modules/{}/build", kernel.release)));
    }

    /// A source in the tree.
    fn source(&self, package: &PackageId) {
        let folder = format!("usr/src/{}-{}", package.name, package.version);
        let module = module(package);
        let conf = format!(
            "PACKAGE_NAME={}\nPACKAGE_VERSION={}\nMAKE=\"make -C $kernel_source_dir M=$dkms_tree/$PACKAGE_NAME/$PACKAGE_VERSION/build\"
BUILT_MODULE_NAME[0]={module}\nDEST_MODULE_LOCATION[0]=/updates/dkms\nAUTOINSTALL=yes\n",
            package.name, package.version
        );
        self.write(&format!("{folder}/dkms.conf"), &conf);
        self.write(&format!("{folder}/Makefile"), &format!("obj-m := {module}.o\n"));
        self.write(&format!("{folder}/{module}.c"), &"int line_of_a_driver;\n".repeat(500));
        self.link(&format!("/{folder}"), &self.layout.source_link(package));
    }

    /// Every package on every kernel, from what is there now.
    fn install(&self, look: &Look) {
        for package in &look.world.packages {
            let (id, file) = (&package.id, format!("{}.ko", module(&package.id)));
            for (kernel, entry) in &package.entries {
                let inputs = entry.inputs.as_ref().expect("the headers are ready");
                let built = BuiltRecord {
                    at: 0,
                    seconds: 1.0,
                    why: "add".into(),
                    from_cache: false,
                    fingerprint: inputs.to_string(),
                    source_stamp: String::new(),
                    modules: vec![BuiltModule { file_name: file.clone(), sha256: DIGEST.to_owned() }],
                };
                let path = PathBuf::from(format!("/lib/modules/{}/updates/dkms/{file}", kernel.release));
                let module = module(id).parse().expect("a name");
                let files = vec![InstalledFile { module, path: path.clone(), sha256: DIGEST.to_owned() }];
                let mut manifest = Manifest::new(id.clone(), kernel.clone(), built);
                manifest.installed = Some(InstallRecord {
                    at: 0,
                    by_uid: 0,
                    reason: "its headers came".into(),
                    files,
                    displaced: Vec::new(),
                });
                write(&self.layout.module_dir(id, kernel).join(&file), b"built");
                write(&self.layout.host(&path), b"built");
                write(&self.layout.manifest(id, kernel), &serde_json::to_vec_pretty(&manifest).expect("it is JSON"));
                let target = format!("{}/{}/{}", id.version, kernel.release, kernel.arch);
                self.link(&target, &self.layout.installed_link(&id.name, kernel));
            }
        }
    }

    fn observer(&self) -> Observer {
        let settings = Settings::load(self.root.path()).expect("there are none");
        Observer::new(&settings).expect("it is a machine")
    }

    /// As it looks when everything is quiet.
    fn look(&self, observer: &Observer) -> Look {
        observer.look(SystemTime::now() + Duration::from_secs(10)).expect("it can be read")
    }

    /// Of the first look of a daemon that has just started, of its second, and of the plan in it.
    fn times(&self) -> [Duration; 3] {
        let mut times = [Vec::new(), Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let observer = self.observer();
            let start = Instant::now();
            let look = self.look(&observer);
            times[0].push(start.elapsed());
            let start = Instant::now();
            std::hint::black_box(self.look(&observer));
            times[1].push(start.elapsed());
            let start = Instant::now();
            std::hint::black_box(plan::plan(&look.world));
            times[2].push(start.elapsed());
        }
        times.map(median)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        write(&self.path(path), text.as_bytes());
    }

    fn link(&self, target: &str, at: &Path) {
        fs::create_dir_all(at.parent().expect("it has one")).expect("it can be made");
        symlink(target, at).expect("it can be linked");
    }
}

const DIGEST: &str = "4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865";

fn module(package: &PackageId) -> String {
    package.name.as_str().replace('-', "_")
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
    fs::write(path, bytes).expect("it can be written");
}
