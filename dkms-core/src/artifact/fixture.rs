//! A root with parts of a real Debian kernel: network modules, configuration, tools.
//!
//! `DKMSD_TEST_DEBS` names a folder with its packages; without it they are downloaded with apt, once, below `target`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::layout::Layout;
use crate::model::{KernelId, KernelRelease};

/// What is taken from each package: its name's beginning, and the members.
const WANTED: [(&str, &[&str]); 3] = [
    (
        "linux-image-",
        &["./boot/config-*", "./boot/System.map-*", "./lib/modules/*/modules.*", "./lib/modules/*/ethernet/realtek/*"],
    ),
    (
        "linux-headers-",
        &["./usr/src/linux-headers-*/include/config/auto.conf", "./usr/src/linux-headers-*/Module.symvers"],
    ),
    ("linux-kbuild-", &["./usr/lib/linux-kbuild-*/scripts/sign-file"]),
];

/// Where a kernel's modules for Realtek network cards are, below its folder.
pub(crate) const REALTEK: &str = "kernel/drivers/net/ethernet/realtek";

/// The root; made once, and never to be changed by a test.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-kernel");
        fs::create_dir_all(&target).unwrap();
        let target = target.canonicalize().unwrap();
        let lock = File::create(target.join("lock")).unwrap();
        lock.lock().unwrap();
        let root = target.join("root-with-symbols");
        if !root.exists() {
            let new = target.join("new");
            let _ = fs::remove_dir_all(&new);
            fs::create_dir_all(&new).unwrap();
            for (package, members) in WANTED {
                unpack(&find(&target, package), members, &new);
            }
            fs::rename(&new, &root).unwrap();
        }
        root
    })
}

/// The kernel in it.
pub(crate) fn kernel() -> KernelId {
    let release = fs::read_dir(root().join("lib/modules")).unwrap().next().unwrap().unwrap();
    KernelId::new(release.file_name().into_string().unwrap(), output("uname", &["-m"])).unwrap()
}

/// One of its modules.
pub(crate) fn module(file: &str) -> PathBuf {
    Layout::under(root()).kernel_folder(&kernel().release).join(REALTEK).join(file)
}

/// The headers' folder of a kernel in it; holds only the configuration and the symbols.
pub(crate) fn headers(release: &KernelRelease) -> PathBuf {
    root().join(format!("usr/src/linux-headers-{release}"))
}

/// A folder in memory where there is such a thing: syncing it costs nothing.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn find(target: &Path, package: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("DKMSD_TEST_DEBS") {
        let debs = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        // The common headers hold no configuration.
        let wanted = |p: &PathBuf| {
            let name = p.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with(package) && name.ends_with(".deb") && !name.contains("-common_")
        };
        return debs.filter(wanted).max().unwrap_or_else(|| panic!("no {package}*.deb in {}", folder.display()));
    }
    let machine = output("dpkg", &["--print-architecture"]);
    let image = dependency(&format!("linux-image-{machine}"), "linux-image-");
    let release = image.trim_start_matches("linux-image-");
    let name = match package {
        "linux-image-" => image.clone(),
        "linux-headers-" => format!("linux-headers-{release}"),
        _ => dependency(&format!("linux-headers-{release}"), package),
    };
    let done = Command::new("apt-get").args(["-q", "download", &name]).current_dir(target).status().unwrap();
    assert!(done.success(), "apt-get download {name} failed; or set DKMSD_TEST_DEBS");
    let debs = fs::read_dir(target).unwrap().map(|entry| entry.unwrap().path());
    debs.filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(&format!("{name}_"))).max().unwrap()
}

fn dependency(of: &str, beginning: &str) -> String {
    let text = output("apt-cache", &["depends", of]);
    let mut words = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    words
        .find(|word| word.starts_with(beginning))
        .unwrap_or_else(|| panic!("{of} depends on no {beginning}*"))
        .to_owned()
}

fn unpack(deb: &Path, members: &[&str], root: &Path) {
    let mut tar = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped()).spawn().unwrap();
    let unpacked = Command::new("tar")
        .args(["-x", "--wildcards", "-C"])
        .arg(root)
        .args(members)
        .stdin(tar.stdout.take().unwrap())
        .status()
        .unwrap();
    assert!(tar.wait().unwrap().success() && unpacked.success(), "cannot unpack {}", deb.display());
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?} failed");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
