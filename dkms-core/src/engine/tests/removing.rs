//! Taking away from some kernels or from all, and what keeps a package from being taken away.

use super::*;

impl Machine {
    /// Another kernel, for which the packages build nothing that is refused: a second name for the same one.
    fn second(&self) -> KernelId {
        let kernel = KernelId::new("6.99.0-other", self.kernel.arch.as_str()).unwrap();
        self.kernel_folder(&kernel);
        kernel
    }

    /// As a classic tool would leave it: built and no more.
    fn built_for(&self, package: &PackageId, kernel: &KernelId) {
        let folder = self.layout().module_dir(package, kernel);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(fixture::module("r8169.ko"), folder.join("r8169.ko")).unwrap();
    }

    fn remove_from(&self, package: &PackageId, kernels: &[KernelId]) -> (Removed, String) {
        let mut events = quiet();
        let removed = self.engine().remove_from(package, kernels, &classic(), &mut events).unwrap();
        (removed, text(&events))
    }
}

#[test]
fn a_package_is_forgotten_with_its_last_kernel() {
    let machine = Machine::new();
    let (first, second) = (machine.kernel.clone(), machine.second());
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    machine.built_for(&package, &second);
    let absent = KernelId::new("6.50-absent", first.arch.as_str()).unwrap();

    let (removed, said) = machine.remove_from(&package, &[absent.clone(), second.clone()]);
    assert_eq!(removed, Removed { unbuilt: vec![second.clone()], ..Removed::default() });
    assert!(said.contains("a/1 is not built for 6.50-absent"), "{said}");
    assert!(machine.installed_file().exists() && !machine.layout().kernel_dir(&package, &second.release).exists());

    let (removed, _) = machine.remove_from(&package, std::slice::from_ref(&first));
    let wanted =
        Removed { placed: vec![first.clone()], unbuilt: vec![first.clone()], forgotten: true, ..Removed::default() };
    assert_eq!(removed, wanted);
    assert!(!machine.installed_file().exists() && !machine.layout().package_dir(&package.name).exists());
    assert!(machine.layout().source(&package).join("dkms.conf").exists(), "its source stays");
    let again = machine.engine().remove_from(&package, &[first], &classic(), &mut quiet());
    assert_eq!(again.unwrap_err().exit_code(), 3);
}

/// Each kernel is tried, and what was taken off one still gets its depmod when another cannot be changed.
#[test]
fn one_kernel_that_fails_stops_no_other() {
    let machine = Machine::new();
    let (first, second) = (machine.kernel.clone(), machine.second());
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    machine.built_for(&package, &second);
    // No lock can be taken for it.
    let lock = machine.layout().locks_dir().join("install@6.99.0-other");
    fs::create_dir_all(&lock).unwrap();
    let (removed, _) = machine.remove_from(&package, &[second.clone(), first.clone()]);
    assert_eq!((removed.failed.len(), removed.forgotten), (1, false), "{removed:?}");
    assert_eq!(removed.placed, std::slice::from_ref(&first));
    let engine = machine.engine();
    let kernels = [second, first.clone()];
    assert!(engine.settle_kernels(&kernels, &package, Depmod::Run, &mut quiet()).is_err());
    assert!(!crate::install::due::is_due(machine.layout(), &first.release).unwrap());
}

/// As the daemon removes.
#[test]
fn one_kernel_that_fails_keeps_the_package_and_the_others_are_settled() {
    let machine = Machine::new();
    let (first, second) = (machine.kernel.clone(), KernelId::new("5.10-other", machine.kernel.arch.as_str()).unwrap());
    machine.kernel_folder(&second);
    machine.write("etc/dkms/framework.conf", "post_transaction='echo $kernelver'\n");
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    machine.built_for(&package, &second);
    // No lock can be taken for it, which is tried first.
    let lock = machine.layout().locks_dir().join("install@5.10-other");
    fs::create_dir_all(&lock).unwrap();
    let error = machine.engine().remove(&package, &daemons(), &mut quiet()).unwrap_err();
    assert!(error.to_string().contains("install@5.10-other"), "{error}");
    assert!(!machine.installed_file().exists() && !machine.indexed());
    assert!(!crate::install::due::is_due(machine.layout(), &first.release).unwrap());
    let log = fs::read_to_string(machine.layout().post_transaction_log()).unwrap();
    assert_eq!(log.trim(), first.release.as_str());
    assert!(machine.layout().module_dir(&package, &second).is_dir(), "it is not forgotten");
    fs::remove_dir(&lock).unwrap();
    machine.engine().remove(&package, &daemons(), &mut quiet()).unwrap();
    assert!(!machine.layout().package_dir(&package.name).exists());
}

#[test]
fn what_is_only_added_is_forgotten_by_any_kernel() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.engine().add(&package, &classic(), &mut quiet()).unwrap();
    let (removed, _) = machine.remove_from(&package, std::slice::from_ref(&machine.kernel));
    assert_eq!(removed, Removed { forgotten: true, ..Removed::default() });
}

#[test]
fn kernels_that_use_another_kernels_build_lose_it_with_that_build() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    let weak = KernelId::new("6.1.0-99-amd64", machine.kernel.arch.as_str()).unwrap();
    let link = machine.layout().installed_link(&package.name, &weak);
    let target = format!("1/{}/{}", machine.kernel.release, machine.kernel.arch);
    std::os::unix::fs::symlink(target, &link).unwrap();
    machine.engine().uninstall(&package, &machine.kernel, &classic(), &mut quiet()).unwrap();
    assert!(fs::symlink_metadata(&link).is_ok());
    let (removed, _) = machine.remove_from(&package, std::slice::from_ref(&machine.kernel));
    assert!(removed.forgotten && !machine.layout().package_dir(&package.name).exists());
}

/// The old package's scriptlet removes what the new one's has just added, in one transaction.
#[test]
fn a_removal_by_the_transaction_that_has_just_added_is_stopped_once() {
    let machine = Machine::new();
    let engine = machine.engine();
    let [package, other] = ["a/1", "a/2"].map(|id| id.parse::<PackageId>().unwrap());
    let stopped = |package| engine.stopped_by_rpm_upgrade(package).unwrap();
    assert!(!stopped(&package));
    engine.mark_rpm_upgrade(&package).unwrap();
    assert!(!stopped(&other));
    assert!(stopped(&package));
    assert!(!stopped(&package), "the next one is meant");
}

#[test]
fn a_mark_that_somebody_else_could_have_made_stops_nothing() {
    use std::os::unix::fs::chown;
    let machine = Machine::new();
    let (engine, folder) = (machine.engine(), machine.layout().rpm_upgrades());
    let package: PackageId = "a/1".parse().unwrap();
    engine.mark_rpm_upgrade(&package).unwrap();
    let mark = folder.join("a@1");
    let text = fs::read(&mark).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(!engine.stopped_by_rpm_upgrade(&package).unwrap());
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&folder, Some(1234), None).unwrap();
    assert!(!engine.stopped_by_rpm_upgrade(&package).unwrap());
    assert!(engine.mark_rpm_upgrade(&package).is_err(), "nor is another one laid there");
    chown(&folder, Some(0), None).unwrap();
    fs::remove_file(&mark).unwrap();
    let elsewhere = machine.tree.path("elsewhere");
    fs::write(&elsewhere, text).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &mark).unwrap();
    assert!(engine.stopped_by_rpm_upgrade(&package).is_err(), "a link is not followed");
    fs::remove_file(&mark).unwrap();
    fs::copy(&elsewhere, &mark).unwrap();
    assert!(engine.stopped_by_rpm_upgrade(&package).unwrap());
}
