//! Stopped before any single change to the disk, as by a power cut: afterwards modprobe finds what is there.

use std::collections::BTreeSet;

use super::*;
use crate::artifact::fixture::REALTEK;
use crate::install::due;
use crate::tree::files::stop_before;

fn there_too(folder: &Path, kernels_own: &str) -> bool {
    folder.join(UPDATES).join(Path::new(kernels_own).file_name().unwrap()).exists()
}

impl Machine {
    /// With a module of the kernel's own, which the package displaces.
    fn with_kernels_own() -> Self {
        let machine = Self::new();
        let folder = machine.layout().kernel_folder(&machine.kernel.release).join(REALTEK);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(fixture::module("8139cp.ko"), folder.join("r8169.ko")).unwrap();
        machine
    }

    fn place(&self, package: &PackageId) {
        let engine = self.engine();
        engine.install(package, &self.kernel, &forced(), &mut quiet()).unwrap();
        engine.finish_kernel(&self.kernel, std::slice::from_ref(package), &mut quiet()).unwrap();
    }

    /// Each module that is there is in the index, and what is in the index is there. Of two files of one name, depmod
    /// indexes the one in `updates`.
    #[track_caller]
    fn finds_what_is_there(&self, when: &str) {
        let folder = self.layout().kernel_folder(&self.kernel.release);
        let mut there = BTreeSet::new();
        let mut folders = vec![folder.join("kernel"), folder.join("updates")];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path if path.extension().is_some_and(|e| e == "ko") => {
                        there.insert(path.strip_prefix(&folder).unwrap().to_string_lossy().into_owned());
                    }
                    _ => {}
                }
            }
        }
        let index = fs::read_to_string(folder.join("modules.dep")).unwrap();
        let named: BTreeSet<String> =
            index.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect();
        there.retain(|path| path.starts_with("updates") || !there_too(&folder, path));
        assert_eq!(named, there, "{when}");
        assert!(!there.is_empty(), "{when}: there is no r8169");
        assert!(!due::is_due(self.layout(), &self.kernel.release).unwrap(), "{when}: still marked");
    }

    /// Recovers, stopped as well, later each time, until nothing stops it.
    fn recover_stopped_everywhere(&self) {
        for n in 0.. {
            stop_before(Some(n));
            let _ = self.engine().recover(&mut quiet());
            if stop_before(None) != Some(0) {
                break;
            }
        }
    }
}

#[rstest]
#[case::uninstall(true)]
#[case::install(false)]
fn whatever_stops_the_index_is_made_good(#[case] uninstall: bool) {
    let machine = Machine::with_kernels_own();
    let package = machine.source("a/1", "");
    machine.place(&package);
    for n in 0.. {
        let engine = machine.engine();
        let batch = std::slice::from_ref(&package);
        let ended = if uninstall {
            machine.place(&package);
            stop_before(Some(n));
            engine.uninstall(&package, &machine.kernel, &daemons(), &mut quiet())
        } else {
            engine.uninstall(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap();
            engine.finish_kernel(&machine.kernel, batch, &mut quiet()).unwrap();
            machine.finds_what_is_there("uninstalled");
            stop_before(Some(n));
            engine.install(&package, &machine.kernel, &forced(), &mut quiet())
        };
        let ended = ended.and_then(|_| engine.finish_kernel(&machine.kernel, batch, &mut quiet()));
        stop_before(None);
        machine.recover_stopped_everywhere();
        machine.finds_what_is_there(&format!("stopped before change {n}"));
        if ended.is_ok() {
            assert!(n > 10, "{n}");
            break;
        }
    }
}

/// The worker that uninstalled was killed before the kernel was finished; the daemon lives, and somebody asks again.
#[test]
fn asking_again_finishes_what_was_stopped_before_depmod() {
    let machine = Machine::with_kernels_own();
    let package = machine.source("a/1", "");
    let (engine, batch) = (machine.engine(), std::slice::from_ref(&package));
    let uninstall = || engine.uninstall(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap();
    let install = || engine.install(&package, &machine.kernel, &Order { force: false, ..forced() }, &mut quiet());
    engine.install(&package, &machine.kernel, &forced(), &mut quiet()).unwrap();
    assert_eq!(install().unwrap(), Done::Placed);
    engine.finish_kernel(&machine.kernel, batch, &mut quiet()).unwrap();
    assert!(matches!(install().unwrap(), Done::Unchanged(_)));
    assert!(machine.manifest(&package).installed.is_some());
    assert_eq!([uninstall(), uninstall()], [Done::Placed, Done::Placed]);
    engine.finish_kernel(&machine.kernel, batch, &mut quiet()).unwrap();
    assert!(matches!(uninstall(), Done::Unchanged(_)));
    machine.finds_what_is_there("afterwards");
}

#[test]
fn a_kernel_that_went_away_needs_no_depmod() {
    let machine = Machine::with_kernels_own();
    let package = machine.source("a/1", "");
    machine.place(&package);
    machine.engine().uninstall(&package, &machine.kernel, &daemons(), &mut quiet()).unwrap();
    assert!(due::is_due(machine.layout(), &machine.kernel.release).unwrap());
    let folder = machine.layout().kernel_folder(&machine.kernel.release);
    fs::remove_dir_all(&folder).unwrap();
    let mut events = quiet();
    machine.engine().recover(&mut events).unwrap();
    assert!(!due::is_due(machine.layout(), &machine.kernel.release).unwrap() && !folder.exists());
    assert_eq!(text(&events), "");
}
