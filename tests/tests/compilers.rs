//! One budget of compilers: the daemon and `dkms` together run no more than there are processors, and nothing that is
//! killed takes one away for good.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;
use std::process::{Child, Stdio};
use std::time::Duration;

use dkmsd_tests::{Answer, Gate, Machine};

const LIMIT: Duration = Duration::from_secs(600);

/// How many tokens there are; takes them away.
const TOKENS: &str = "dd if=/run/dkmsd/jobserver iflag=nonblock bs=1 2> /dev/null | wc -c";

/// How the packages call make: as most do; one job only; with a number of their own.
const CALLS: [&str; 3] = ["make", "'make'", "make -j2"];

struct Counted {
    machine: Machine,
    kernel: String,
}

impl Counted {
    /// A machine with the daemon stopped.
    fn start(name: &str) -> Self {
        let machine = Machine::with_dkmsd(name);
        let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
        machine.apt_install(&[&format!("linux-headers-{kernel}")]);
        machine.sh("systemctl stop dkmsd; mkfifo -m 666 /srv/compilers; exec 3<> /srv/compilers
             setsid cat <&3 > /srv/counted 2> /dev/null < /srv/compilers &");
        Self { machine, kernel }
    }

    /// Adds a package that calls make like this; `edit` is a script that changes its source before.
    fn bring(&self, number: usize, call: &str, edit: &str) {
        let package = format!("counted-{number}");
        // A daemon that runs may be the first to add it.
        self.machine.sh(&format!(
            "set -e; cp -r /opt/dkmsd/tests/fixtures/counted-dkmsd-1.0 /usr/src/.new; cd /usr/src/.new
             sed -i \"s/counted-dkmsd/{package}/; s/counted_dkmsd/{}/; s/=\\\"make /=\\\"{call} /\" dkms.conf Kbuild
             {edit}
             mv -T /usr/src/.new /usr/src/{package}-1.0
             dkms add {package}/1.0 || test -L /var/lib/dkms/{package}/1.0/source",
            package.replace('-', "_"),
        ));
    }

    /// Adds packages that call make in every way.
    fn bring_all(&self, numbers: Range<usize>) {
        numbers.for_each(|number| self.bring(number, CALLS[number % CALLS.len()], ""));
    }

    fn dkms(&self, arguments: &str) -> Child {
        let mut command = self.machine.command(&format!("dkms {arguments} -k {}", self.kernel));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// How many compilers there were at most at once, and how many there were.
    fn compilers(&self) -> (i32, usize) {
        let said = self.machine.sh("cat /srv/counted");
        let (mut now, mut most, mut all) = (0, 0, 0);
        for line in said.lines() {
            now += if line == "+" { 1 } else { -1 };
            all += usize::from(line == "+");
            most = most.max(now);
        }
        assert_eq!(now, 0, "every compiler ended");
        (most, all)
    }

    /// Waits until the first so many packages are.
    fn all_installed(&self, count: usize) {
        let names: Vec<String> = (0..count).map(|number| format!("counted-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        self.machine.wait_installed(&self.kernel, &names, LIMIT);
        self.machine.wait_until("no job is left", "dkmsctl jobs | grep -qx 'no jobs'", LIMIT);
    }

    fn processors(&self) -> i32 {
        self.machine.sh("nproc").parse().unwrap()
    }
}

#[test]
fn twelve_packages_run_no_more_compilers_than_there_are_processors() {
    let counted = Counted::start("compilers");
    let machine = &counted.machine;
    // Two that run one compiler at a time stop in the first one. The daemon leaves one of them alone.
    let [at_dkms, at_daemon] = ["/srv/at-dkms", "/srv/at-daemon"];
    let stop = |folder: &str| format!("sed -i 's|^gcc|{}\\n&|' cc", Gate::script(folder));
    counted.bring(0, "'make'", &format!("sed -i /AUTOINSTALL/d dkms.conf; {}", stop(at_dkms)));
    counted.bring(1, "'make'", &stop(at_daemon));
    let gates = [at_dkms, at_daemon].map(|folder| Gate::closed(machine, folder));
    let install = counted.dkms("install counted-0/1.0");
    assert_eq!(gates[0].arrivals(1), [at_dkms]);
    machine.sh("systemctl start dkmsd");
    assert_eq!(gates[1].arrivals(1), [at_daemon]);
    // A compiler of each is at work. What comes now is for whoever is first.
    counted.bring_all(2..12);
    let autoinstall = counted.dkms("autoinstall");
    gates.into_iter().for_each(Gate::open);
    for child in [install, autoinstall] {
        let answer = Answer::from(child.wait_with_output().expect("it ends"));
        assert_eq!(answer.code, 0, "{answer:?}\n{}", machine.story());
    }
    counted.all_installed(12);
    assert_eq!(machine.installs("counted-1"), ["done"]);
    assert_eq!(machine.sh("find /var/lib/dkmsd/logs -name '*.log' | wc -l"), "12", "each was built once");
    let (most, all) = counted.compilers();
    assert!(all >= 48, "{all}");
    assert_eq!(most, counted.processors());
    // Every token is back.
    assert_eq!(machine.sh(TOKENS), machine.sh("nproc"));
}

/// A `dkms` is killed with all tokens in its hands, while the daemon's workers wait for one.
#[test]
fn what_a_killed_build_had_in_its_hands_comes_back() {
    let counted = Counted::start("tokens");
    let Counted { machine, kernel } = &counted;
    counted.bring_all(0..3);
    machine.drop_slow("slow-a");
    let gate = Gate::of_builds(machine);
    // A line with a number of its own has that many.
    machine.sh("sed -i 's/\"make /\"make -j$(nproc) /' /usr/src/slow-a-1.0/dkms.conf && dkms add slow-a/1.0");
    let mut dkms =
        machine.command(&format!("echo $$ > /run/dkms.pid; exec dkms install slow-a/1.0 -k {kernel}")).spawn().unwrap();
    assert_eq!(gate.arrivals(1), ["slow-a"]);
    assert_eq!(machine.sh(TOKENS), "0", "it has them all");
    machine.sh("systemctl start dkmsd");
    machine.wait_until(
        "others wait for a processor",
        "busctl get-property org.dkmsd1 /org/dkmsd1/job/_1 org.dkmsd1.Job Phase | grep waiting",
        LIMIT,
    );
    // From here on a build goes straight through.
    gate.take_away();
    machine.sh("kill -KILL $(cat /run/dkms.pid)");
    dkms.wait().unwrap();
    counted.all_installed(3);
    assert_eq!(counted.compilers().0, counted.processors());
    assert_eq!(machine.sh(TOKENS), machine.sh("nproc"));
}
