//! What follows installs and uninstalls: depmod, post_transaction, modprobe_on_install.

use super::*;
use crate::install::{self, due};

impl Machine {
    fn put(&self, package: &PackageId) {
        let done = self.engine().install(package, &self.kernel, &classic(), &mut quiet()).unwrap();
        assert_eq!(done, Done::Placed);
    }

    fn settle(&self, package: &PackageId, depmod: Depmod) -> Result<String> {
        let mut events = quiet();
        let batch = std::slice::from_ref(package);
        self.engine().settle_kernel(&self.kernel, batch, depmod, &mut events).map(|()| text(&events))
    }

    fn due(&self) -> bool {
        due::is_due(self.layout(), &self.kernel.release).unwrap()
    }

    fn log(&self) -> Option<String> {
        fs::read_to_string(self.layout().post_transaction_log()).ok()
    }
}

/// `--no-depmod`: the caller runs it, so nothing of ours waits for it.
#[test]
fn without_depmod_an_install_is_final_and_nothing_is_due() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.put(&package);
    assert!(machine.due());
    machine.settle(&package, Depmod::LeftToCaller).unwrap();
    assert!(!machine.indexed() && !machine.due());
    assert!(machine.manifest(&package).installed.is_some());
    assert_eq!(install::under_way(machine.layout(), &package.name, &machine.kernel).unwrap(), None);
    assert!(matches!(machine.install_as(&package, &classic()).unwrap(), Done::Unchanged(_)));
    let mut events = quiet();
    machine.engine().recover(&mut events).unwrap();
    assert_eq!((text(&events).as_str(), machine.indexed()), ("", false));
    machine.engine().uninstall(&package, &machine.kernel, &classic(), &mut quiet()).unwrap();
    machine.settle(&package, Depmod::LeftToCaller).unwrap();
    assert!(!machine.due() && !machine.installed_file().exists());
}

#[test]
fn headers_without_a_kernel_have_no_index_and_that_is_said() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    let index = machine.layout().kernel_folder(&machine.kernel.release).join("modules.dep");
    fs::remove_file(&index).unwrap();
    machine.put(&package);
    let said = machine.settle(&package, Depmod::Run).unwrap();
    assert!(said.contains("depmod is not run") && said.contains("modules.dep"), "{said}");
    assert!(machine.manifest(&package).installed.is_some() && !machine.due() && !index.exists());
}

/// Nothing can be put back then, and nothing may claim it was.
#[test]
fn depmod_that_fails_after_an_uninstall_stays_due() {
    let machine = Machine::new();
    let package = machine.source("a/1", "");
    machine.install(&package).unwrap();
    let index = machine.layout().kernel_folder(&machine.kernel.release).join("modules.dep.bin");
    fs::remove_file(&index).unwrap();
    fs::create_dir_all(index.join("in the way")).unwrap();
    machine.engine().uninstall(&package, &machine.kernel, &classic(), &mut quiet()).unwrap();
    let error = machine.settle(&package, Depmod::Run).unwrap_err();
    assert!(
        matches!(&error, Error::Depmod { undone: false, .. }) && !error.to_string().contains("are back"),
        "{error}"
    );
    assert!(machine.due() && !machine.installed_file().exists());
    fs::remove_dir_all(&index).unwrap();
    machine.engine().recover(&mut quiet()).unwrap();
    assert!(!machine.due());
}

/// Each command once: of one that names the kernel there is one a kernel.
#[rstest]
#[case::names_no_kernel("echo one", "one\n")]
#[case::names_the_kernel("echo $kernelver", "5.10\n6.1\n")]
#[case::has_the_last_in_its_environment("printenv kernelver", "6.1\n")]
#[case::says_it_on_stderr("echo one >&2", "one\n")]
fn post_transaction_runs_once_an_action(#[case] command: &str, #[case] wanted: &str) {
    let machine = Machine::new();
    machine.write("etc/dkms/framework.conf", &format!("post_transaction=\"{command}\"\n"));
    let kernels = ["5.10", "6.1", "gone"].map(|k| KernelRelease::new(k).unwrap());
    for kernel in &kernels[..2] {
        fs::create_dir_all(machine.layout().kernel_folder(kernel)).unwrap();
    }
    fs::create_dir_all(machine.layout().dkms_tree()).unwrap();
    let mut events = quiet();
    machine.engine().post_transaction(&kernels[..2], &mut events);
    assert_eq!((machine.log().as_deref(), text(&events).as_str()), (Some(wanted), ""));
    // One that is gone has no initramfs to make; the log is of the last action.
    machine.engine().post_transaction(&kernels[1..], &mut events);
    assert!(machine.log().is_some_and(|log| log.lines().count() == 1), "{:?}", machine.log());
}

#[rstest]
#[case::none("", None, "")]
#[case::blank("post_transaction=' '", None, "")]
#[case::fails("post_transaction='echo no; exit 7'", Some("no\n"), "failed with code 7; log: ")]
fn a_post_transaction_that_fails_is_worth_a_warning(#[case] conf: &str, #[case] log: Option<&str>, #[case] said: &str) {
    let machine = Machine::new();
    machine.write("etc/dkms/framework.conf", &format!("{conf}\n"));
    let package = machine.source("a/1", "");
    machine.put(&package);
    let mut events = quiet();
    machine.engine().finish_kernel(&machine.kernel, std::slice::from_ref(&package), &mut events).unwrap();
    assert_eq!(machine.log().as_deref(), log);
    let warnings: Vec<_> = events.iter().filter(|e| matches!(e, Event::Warning { .. })).collect();
    assert_eq!(warnings.len(), usize::from(!said.is_empty()), "{warnings:?}");
    assert!(text(&events).contains(said), "{events:?}");
}

/// It would make the initramfs of the machine at hand, from an image's settings.
#[test]
fn for_another_root_post_transaction_is_named_and_not_run() {
    let machine = Machine::new();
    machine.write("etc/dkms/framework.conf", "post_transaction='echo ran'\n");
    let mut events = quiet();
    let engine = Engine { in_other_root: true, ..machine.engine() };
    engine.post_transaction(std::slice::from_ref(&machine.kernel.release), &mut events);
    assert!(text(&events).contains("post_transaction (echo ran) is not run"), "{events:?}");
    assert_eq!(machine.log(), None);
}

/// No process is started for a kernel that does not run: modprobe would load for the one that does.
#[rstest]
#[case::another_kernel(false, false)]
#[case::a_chroot(true, true)]
fn modprobe_on_install_is_for_the_running_kernel_alone(#[case] running: bool, #[case] in_chroot: bool) {
    let machine = Machine::new();
    machine.write("etc/dkms/framework.conf", "modprobe_on_install=true\n");
    let engine = Engine { in_chroot, ..machine.engine() };
    let kernel = if running { engine.observer.running().clone() } else { KernelRelease::new("6.99-other").unwrap() };
    assert!(!engine.may_load(&kernel));
    let engine = Engine { in_other_root: true, in_chroot: false, ..machine.engine() };
    assert!(!engine.may_load(engine.observer.running()));
    let engine = Engine { in_chroot: false, ..machine.engine() };
    assert!(engine.may_load(engine.observer.running()));
}
