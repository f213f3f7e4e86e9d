//! One budget of compilers: whoever builds, and however many at once.

use super::*;
use crate::build::jobserver::{self, JobServer};
use crate::engine::autoinstall::Outcome;
use std::io::Read as _;

/// What stands for compilers says `+` when it begins and `-` when it ends.
const MAKEFILE: &str = "OBJECTS := $(addsuffix .o,1 2 3 4)\n\
    all: $(OBJECTS)\n\tcp prebuilt r8169.ko\n\
    $(OBJECTS): %.o: tiny.c\n\t@echo + > $(SAID); $(CC) -O2 -c -o $@ $<; echo - > $(SAID)\n";

struct Counted {
    machine: Machine,
    said: fs::File,
}

impl Counted {
    fn new() -> Self {
        let machine = Machine::new();
        fs::create_dir_all(machine.layout().run_dir()).unwrap();
        let path = machine.tree.path("said");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RWXU).unwrap();
        // Holds what is said until it is read.
        let said = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        Self { machine, said }
    }

    fn package(&self, id: &str, make: &str) -> PackageId {
        let said = self.machine.tree.path("said");
        let package = self.machine.source(id, &format!("MAKE[0]=\"{make} SAID={}\"", said.display()));
        let source = self.machine.layout().source(&package);
        fs::write(source.join("Makefile"), MAKEFILE).unwrap();
        let code: String = (0..100).map(|n| format!("int f{n}(int a) {{ return a * {n} + a % 7; }}\n")).collect();
        fs::write(source.join("tiny.c"), code).unwrap();
        self.machine.engine().add(&package, &by_hand(), &mut quiet()).unwrap();
        package
    }

    /// How many were at work at most, and how many there were.
    fn counted(mut self) -> (usize, usize) {
        let there = rustix::io::ioctl_fionread(&self.said).unwrap();
        let mut said = vec![0; usize::try_from(there).unwrap()];
        self.said.read_exact(&mut said).unwrap();
        let (mut now, mut most, mut all) = (0, 0, 0);
        for byte in said {
            match byte {
                b'+' => (now, all) = (now + 1, all + 1),
                b'-' => now -= 1,
                _ => {}
            }
            most = most.max(now);
        }
        assert_eq!(now, 0);
        (most, all)
    }

    fn tokens(&self) -> u64 {
        let server = JobServer::shared(self.machine.layout(), jobserver::cpus()).unwrap();
        rustix::io::ioctl_fionread(server.hold().unwrap()).unwrap()
    }
}

#[test]
fn twelve_packages_by_two_programs_run_no_more_compilers_than_there_are_cpus() {
    let counted = Counted::new();
    let own = format!("make -j{}", jobserver::cpus());
    let packages: Vec<PackageId> =
        (0..12).map(|n| counted.package(&format!("p{n}/1"), ["make", "'make'", &own][n % 3])).collect();
    // As the daemon does.
    let server = JobServer::shared(counted.machine.layout(), jobserver::cpus()).unwrap();
    let _held = server.hold().unwrap();
    let (ours, theirs) = (counted.machine.engine(), counted.machine.engine());
    std::thread::scope(|scope| {
        for (n, package) in packages.iter().enumerate() {
            let engine = if n % 2 == 0 { &ours } else { &theirs };
            let kernel = &counted.machine.kernel;
            scope.spawn(move || {
                assert_eq!(engine.build(package, kernel, &by_hand(), &mut quiet()).unwrap(), Done::Changed)
            });
        }
    });
    assert_eq!(counted.tokens(), jobserver::cpus() as u64);
    let (most, all) = counted.counted();
    assert_eq!(all, 48);
    assert!(most <= jobserver::cpus(), "{most} at once");
}

#[rstest]
#[case::quoted("'make'", "", 1)]
#[case::by_setting("make", "parallel_jobs=1", 1)]
#[case::after_another("true && make", "", 1)]
fn what_is_to_be_serial_is(#[case] make: &str, #[case] setting: &str, #[case] wanted: usize) {
    let counted = Counted::new();
    counted.machine.write("etc/dkms/framework.conf", setting);
    let package = counted.package("a/1", make);
    counted.machine.engine().build(&package, &counted.machine.kernel, &by_hand(), &mut quiet()).unwrap();
    assert_eq!(counted.counted(), (wanted, 4));
}

#[test]
fn the_log_shows_the_line_as_it_is_with_no_jobs_in_it() {
    let machine = Machine::new();
    let package = machine.source("a/1", "MAKE[0]=\"make\"");
    let source = machine.layout().source(&package);
    fs::write(source.join("Makefile"), "all:\n\t@echo flags=$(MAKEFLAGS)\n\tcp prebuilt r8169.ko\n").unwrap();
    machine.engine().build(&package, &machine.kernel, &by_hand(), &mut quiet()).unwrap();
    let log = fs::read_to_string(machine.layout().built_log(&package, &machine.kernel)).unwrap();
    assert!(log.contains(&format!("make KERNELRELEASE={}\n", machine.kernel.release)), "{log}");
    assert!(log.contains("--jobserver-auth="), "{log}");
    assert!(!log.contains("warning"), "{log}");
}

/// Each waits for the other one, with its own token in its hands.
#[test]
fn an_autoinstall_builds_at_once_what_does_not_need_each_other() {
    if jobserver::cpus() < 2 {
        return;
    }
    let machine = Machine::new();
    let [to_a, to_b] = ["to_a", "to_b"].map(|name| machine.tree.path(name));
    for path in [&to_a, &to_b] {
        rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap();
    }
    let a = machine.source("a/1", "PRE_BUILD=meet.sh");
    let b = machine.source("b/1", "PRE_BUILD=meet.sh\nBUILT_MODULE_NAME=8139cp\nMAKE[0]=\"cp prebuilt 8139cp.ko\"");
    fs::copy(fixture::module("8139cp.ko"), machine.layout().source(&b).join("prebuilt")).unwrap();
    machine.script(&a, "meet.sh", &format!("echo >{}; read x <{}", to_b.display(), to_a.display()));
    machine.script(&b, "meet.sh", &format!("read x <{}; echo >{}", to_b.display(), to_a.display()));
    for package in [&a, &b] {
        machine.engine().add(package, &by_hand(), &mut quiet()).unwrap();
    }
    let report = machine.engine().autoinstall(&machine.kernel, &by_hand(), &mut quiet()).unwrap();
    assert!(report.packages.iter().all(|p| p.outcome == Outcome::Installed), "{report:?}");
}

/// Both bring the same module: the second has the last word, however long the first takes.
#[test]
fn an_autoinstall_keeps_the_order_of_what_brings_the_same() {
    let machine = Machine::new();
    let first = machine.source("a/1", "PRE_BUILD=slow.sh\nPOST_INSTALL=say.sh");
    machine.script(&first, "slow.sh", "cksum prebuilt prebuilt prebuilt");
    let second = machine.source("b/1", "POST_INSTALL=say.sh");
    let said = machine.tree.path("said");
    for package in [&first, &second] {
        machine.script(package, "say.sh", &format!("echo {} >>{}", package.name, said.display()));
        machine.engine().add(package, &by_hand(), &mut quiet()).unwrap();
    }
    let order = Order { force: true, ..by_hand() };
    machine.engine().autoinstall(&machine.kernel, &order, &mut quiet()).unwrap();
    assert_eq!(fs::read_to_string(said).unwrap(), "a\nb\n");
}
