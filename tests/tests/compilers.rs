//! One budget of compilers: the daemon and `dkms` together run no more than there are processors, and nothing that is
//! killed takes one away for good.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Stdio;
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
    packages: Vec<String>,
}

impl Counted {
    /// A machine with packages in the tree and the daemon stopped.
    fn start(name: &str, count: usize) -> Self {
        let machine = Machine::with_dkmsd(name);
        let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
        machine.apt_install(&[&format!("linux-headers-{kernel}")]);
        machine.sh("systemctl stop dkmsd; mkfifo -m 666 /srv/compilers; exec 3<> /srv/compilers
             setsid cat <&3 > /srv/counted 2> /dev/null < /srv/compilers &");
        let packages: Vec<String> = (0..count).map(|n| format!("counted-{n}")).collect();
        for (n, package) in packages.iter().enumerate() {
            machine.sh(&format!(
                "cp -r /opt/dkmsd/tests/fixtures/counted-dkmsd-1.0 /usr/src/.new && cd /usr/src/.new &&
                 sed -i \"s/counted-dkmsd/{package}/; s/counted_dkmsd/{}/; s/=\\\"make /=\\\"{} /\" dkms.conf Kbuild &&
                 mv -T /usr/src/.new /usr/src/{package}-1.0 && dkms add {package}/1.0",
                package.replace('-', "_"),
                CALLS[n % CALLS.len()]
            ));
        }
        Self { machine, kernel, packages }
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

    fn all_installed(&self) {
        let names: Vec<&str> = self.packages.iter().map(String::as_str).collect();
        self.machine.wait_installed(&self.kernel, &names, LIMIT);
    }

    fn processors(&self) -> i32 {
        self.machine.sh("nproc").parse().unwrap()
    }
}

#[test]
fn twelve_packages_run_no_more_compilers_than_there_are_processors() {
    let counted = Counted::start("compilers", 12);
    let Counted { machine, kernel, .. } = &counted;
    let mut command = machine.command(&format!("dkms autoinstall -k {kernel}"));
    let dkms = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    machine.sh("systemctl start dkmsd");
    let answer = Answer::from(dkms.wait_with_output().expect("it ends"));
    assert_eq!(answer.code, 0, "{answer:?}\n{}", machine.story());
    counted.all_installed();
    machine.wait_until("no job is left", "dkmsctl jobs | grep -qx 'no jobs'", LIMIT);
    let (most, all) = counted.compilers();
    assert!(all >= 48, "{all}");
    assert_eq!(most, counted.processors());
    // Every token is back.
    assert_eq!(machine.sh(TOKENS), machine.sh("nproc"));
}

/// A `dkms` is killed with all tokens in its hands, while the daemon's workers wait for one.
#[test]
fn what_a_killed_build_had_in_its_hands_comes_back() {
    let counted = Counted::start("tokens", 3);
    let Counted { machine, kernel, .. } = &counted;
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
    counted.all_installed();
    machine.wait_until("no job is left", "dkmsctl jobs | grep -qx 'no jobs'", LIMIT);
    assert_eq!(counted.compilers().0, counted.processors());
    assert_eq!(machine.sh(TOKENS), machine.sh("nproc"));
}
