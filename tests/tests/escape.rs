//! A package whose build tries to get out, or to take more than its share: each attempt is denied and named in the job's
//! result, and nothing of the machine is changed. Settings lift exactly what they say.
#![expect(clippy::panic, reason = "a test fails by panicking, and says why")]

use std::time::Duration;

use dkmsd_tests::{Answer, Machine};

/// What there is to gain: folders and files that anybody may write to or read, so that their modes are not what denies
/// it; a port that counts who comes; a process of the user that builds.
const BAIT: &str = "
    for folder in /etc/open /usr/open /boot/open /home/open /root/open /srv/open /usr/src/other-1.0; do
        mkdir -p $folder && chmod 1777 $folder && echo SECRET > $folder/secret && chmod 666 $folder/secret
    done
    mkdir -p /var/lib/dkms && echo SECRET > /var/lib/dkms/mok.key && echo 'SECRET:*:1::::::' >> /etc/shadow
    chmod 644 /var/lib/dkms/mok.key /etc/shadow && chmod 755 /root
    printf '[Socket]\\nListenStream=127.0.0.1:PORT\\nAccept=yes\\n' > /etc/systemd/system/bait.socket
    printf '[Service]\\nExecStart=true\\n' > /etc/systemd/system/bait@.service
    systemctl daemon-reload && systemctl start bait.socket
    systemd-run --quiet --unit=victim --uid=dkms sleep 100000
    systemctl show -P MainPID victim > /srv/victim";

/// Programs that ask for memory, and for power over another process.
const PROGRAMS: &str = "
    cat > memory.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int main(void) {
    size_t all = (size_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGE_SIZE);
    if (!malloc(all / 10 * 9)) { perror(\"memory\"); return 1; }
    return 0;
}
END
    cat > attach.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
int main(int n, char **word) {
    if (n < 2 || ptrace(PTRACE_SEIZE, atoi(word[1]), 0, 0)) { perror(\"ptrace\"); return 1; }
    return 0;
}
END";

/// Name, what make does first, and words that are in the job's result.
const DENIED: [(&str, &str, &str); 19] = [
    ("etc", "touch /etc/open/pwned", "'/etc/open/pwned': Read-only file system"),
    ("usr", "touch /usr/open/pwned", "'/usr/open/pwned': Read-only file system"),
    ("boot", "touch /boot/open/pwned", "'/boot/open/pwned': Read-only file system"),
    ("srv", "echo pwned >> /srv/open/secret", "/srv/open/secret: Read-only file system"),
    ("source", "echo pwned >> /usr/src/other-1.0/secret", "/usr/src/other-1.0/secret: Read-only file system"),
    ("home", "touch /home/open/pwned", "'/home/open/pwned': Permission denied"),
    ("root", "cat /root/open/secret", "/root/open/secret: Permission denied"),
    ("key", "cat /var/lib/dkms/mok.key", "/var/lib/dkms/mok.key: Permission denied"),
    ("shadow", "cat /etc/shadow", "/etc/shadow: Permission denied"),
    ("network", "exec 7<>/dev/tcp/127.0.0.1/PORT", "Network is unreachable"),
    ("bus", "busctl call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager Rescan", "connect to bus"),
    ("kill", "kill -KILL VICTIM", "No such process"),
    ("everybody", "trap '' TERM; kill -TERM -1; kill -KILL 1", "Operation not permitted"),
    ("trace", "gcc -o attach attach.c && ./attach VICTIM", "ptrace: No such process"),
    ("stays", "setsid sleep 5000 > /dev/null 2>&1 & sleep 5000 & exit 1", "2 processes: sleep (2)"),
    ("talks", "yes pwned", "its output grew past 64 MiB"),
    (
        "forks",
        "perl -e 'while (1) { defined(my $p = fork) or die \"fork: $!\\n\"; $p or sleep 5000 }'",
        "fork: Resource",
    ),
    ("eats", "gcc -o memory memory.c && ./memory", "memory: Cannot allocate memory"),
    ("idles", "sleep 5000", "not ended after 3 seconds"),
];

/// The other places where a package's own code runs.
const PLACES: [(&str, &str, &str); 3] = [
    ("PRE_BUILD=script.sh", "touch /etc/open/pwned", "'/etc/open/pwned': Read-only file system"),
    ("POST_BUILD=script.sh", "touch made && touch /srv/open/pwned", "'/srv/open/pwned': Read-only file system"),
    ("PATCH=escape", "", "out/pwned"),
];

/// What one setting lifts.
const LIFTED: [(&str, &str, &str); 4] = [
    ("network", "network = true", "exec 7<>/dev/tcp/127.0.0.1/PORT"),
    ("srv", "writable = [\"/srv/open\"]", "echo x >> /srv/open/secret"),
    ("by-root", "user = \"root\"", "test $(id -u) = 0"),
    ("idles", "timeout = \"2m\"", "sleep 4"),
];
/// What none of them lifts beside its own.
const STAYS_DENIED: [(&str, &str); 4] = [
    ("etc", "touch /etc/open/pwned"),
    ("root", "grep SECRET /root/open/secret"),
    ("key", "grep SECRET /var/lib/dkms/mok.key"),
    ("network", "exec 7<>/dev/tcp/127.0.0.1/PORT"),
];

const TRACES: &str = "find / \\( -path /proc -o -path /sys \\) -prune -o -name '*pwned*' -print";
const LEFT: &str = "pgrep --list-full --uid dkms | grep -v 'sleep 100000'; true";
/// Everything that could have been changed.
const STATE: &str = "
    sha256sum /*/open/* /usr/src/other-1.0/* /etc/shadow /etc/passwd /var/lib/dkms/mok.key
    systemctl show --property=NAccepted --value bait.socket; systemctl show -P MainPID victim dkmsd";
const WARNINGS: &str = "journalctl --sync; journalctl -u dkmsd -p warning --output=cat";

struct Prison {
    machine: Machine,
    kernel: String,
    port: u16,
}

impl Prison {
    /// `port` is of the whole host, which its machines share.
    fn start(name: &str, port: u16) -> Self {
        let machine = Machine::with_dkmsd(name);
        let kernel = machine.offered_kernels("6.1", "cloud-amd64").remove(0);
        machine.apt_install(&[&format!("linux-headers-{kernel}")]);
        machine.sh(&BAIT.replace("PORT", &port.to_string()));
        Self { machine, kernel, port }
    }

    /// A package, in place of the one that had its name, whose make first does the deed.
    fn package(&self, name: &str, deed: &str, conf: &str, script: &str) {
        self.machine.sh(&format!(
            "if test -e /var/lib/dkms/{name}; then dkms remove {name}/1.0 --all && rm -r /usr/src/{name}-1.0; fi
             cp -r /opt/dkmsd/tests/fixtures/hello-dkmsd-1.0 /usr/src/.new && cd /usr/src/.new
             sed -i 's/^PACKAGE_NAME=.*/PACKAGE_NAME={name}/; /^AUTOINSTALL/d; s/^MAKE.*=\"/&bash deed.sh \\&\\& /' dkms.conf
             {PROGRAMS}
             mkdir patches && ln -s /etc/open out && cp -t . /srv/victim
             printf -- '--- /dev/null\\n+++ b/out/pwned\\n@@ -0,0 +1 @@\\n+x\\n' > patches/escape
             echo '{conf}' >> dkms.conf
             cat > deed.sh <<'END'\n{deed}\nEND
             sed -i s/VICTIM/$(cat /srv/victim)/ deed.sh && sed -i s/PORT/{}/ deed.sh
             cat > script.sh <<'END'\n#!/bin/bash\n{script}\nEND
             chmod +x script.sh && mv -T /usr/src/.new /usr/src/{name}-1.0 && dkms add {name}/1.0",
            self.port
        ));
        self.machine.rescan();
    }

    /// Has the daemon build it.
    fn build(&self, name: &str) -> Answer {
        self.machine.try_sh(&format!("timeout 300 dkmsctl install {name}/1.0 -k {} 2>&1", self.kernel))
    }

    fn set(&self, toml: &str) {
        self.machine.sh(&format!("echo '{toml}' > /etc/dkms/dkmsd.toml && systemctl reload dkmsd"));
    }

    /// The last job of a package: what it ended with, and all that its result says.
    fn result(&self, name: &str) -> (String, String) {
        let history = self.machine.history(0);
        let job = history.iter().find(|job| job.package == name).unwrap_or_else(|| panic!("{name}: {history:#?}"));
        let row = self.machine.row(name, &self.kernel);
        (job.result.clone(), format!("{}\n{}", job.error, row.first_error))
    }
}

#[test]
fn a_build_gets_nowhere_and_what_it_tried_is_named() {
    let prison = Prison::start("escape", 7071);
    let machine = &prison.machine;
    prison.set("[package.idles]\ntimeout = \"3s\"");
    let before = machine.sh(STATE);
    for (name, deed, word) in DENIED {
        prison.package(name, deed, "", "");
        let answer = prison.build(name);
        let (result, said) = prison.result(name);
        assert_ne!(answer.code, 0, "{name}: {answer:?}");
        assert_eq!(result, if name == "idles" { "timeout" } else { "failed" }, "{name}: {said}");
        assert!(said.contains(word) && answer.stdout.contains(word), "{name}: {word}: {said}\n{answer:#?}");
        assert!(!answer.stdout.contains("SECRET"), "{name}: {answer:?}");
        assert_eq!((machine.sh(TRACES), machine.sh(LEFT)), (String::new(), String::new()), "{name}");
        assert_eq!(machine.sh(STATE), before, "{name}");
    }
    let log = machine.row("talks", &prison.kernel).log;
    assert!(machine.numbers(&format!("stat -c %s {log}"))[0] < 65 << 20);

    for (line, script, word) in PLACES {
        prison.package("places", "true", line, script);
        let answer = prison.build("places");
        let (_, said) = prison.result("places");
        assert!(answer.code != 0 && said.contains(word), "{line}: {word}: {said}\n{answer:#?}");
        assert_eq!(machine.sh(TRACES), "", "{line}");
        assert_eq!(machine.sh(STATE), before, "{line}");
    }

    // Who builds at a terminal keeps it: a build could type commands into it.
    let at_terminal = |command: &str| machine.try_sh(&format!("script -qec \"{command}\" /dev/null < /dev/null"));
    prison.package("types", "echo typed > /dev/tty", "", "");
    let answer = at_terminal(&format!("dkms build types/1.0 -k {}", prison.kernel));
    assert!(answer.code != 0 && answer.stdout.contains("line 1: /dev/tty: "), "{answer:?}");
    assert_eq!(at_terminal("bash -c 'echo typed > /dev/tty'").stdout.trim(), "typed");

    // A build that succeeds all the same says what it left.
    prison.package("leaves", "setsid sleep 5000 > /dev/null 2>&1 &", "", "");
    let answer = prison.build("leaves");
    assert_eq!((answer.code, machine.sh(LEFT)), (0, String::new()), "{answer:?}");
    let told = machine.sh(&format!("{WARNINGS} DKMS_PACKAGE=leaves"));
    assert!(told.contains("1 process: sleep"), "{told}");

    // All of it works for the same user where nothing keeps it apart, or the above would show nothing.
    for (name, deed, _) in DENIED.iter().take_while(|(name, ..)| *name != "everybody") {
        let answer = machine.try_sh(&format!(
            "cd /var/tmp && cat > deed <<'END'\n{deed}\nEND
             sed -i s/VICTIM/$(cat /srv/victim)/ deed && sed -i s/PORT/{}/ deed
             setpriv --reuid=dkms --regid=dkms --clear-groups bash deed",
            prison.port
        ));
        // Who asks the daemon for something is asked who that is.
        let works = if *name == "bus" { answer.stderr.contains("polkit") } else { answer.code == 0 };
        assert!(works, "{name}: {answer:?}");
    }
    machine.wait_until("the victim is gone", "! systemctl is-active victim", Duration::from_secs(60));
}

#[test]
fn a_setting_lifts_what_it_says_and_no_more() {
    let prison = Prison::start("settings", 7072);
    for (name, setting, deed) in LIFTED {
        prison.set("[package.idles]\ntimeout = \"2s\"");
        prison.package(name, deed, "", "");
        let refused = prison.build(name);
        assert_ne!(refused.code, 0, "{name}: {refused:?}");

        prison.set(&format!("[package.{name}]\n{setting}"));
        let built = prison.build(name);
        assert_eq!(built.code, 0, "{name}: {built:?}");
        prison.package("another", deed, "", "");
        if name != "idles" {
            assert_ne!(prison.build("another").code, 0, "it is for {name} alone");
        }
        for (kind, other) in STAYS_DENIED.iter().filter(|(kind, _)| *kind != name) {
            prison.package(name, other, "", "");
            let said = prison.build(name);
            assert_ne!(said.code, 0, "{name} can do {kind} as well: {said:?}");
        }
    }
    assert_eq!(prison.machine.sh(TRACES), "");

    // What is wrong is named by its line, and what was set before stays.
    prison.package("network", LIFTED[0].2, "", "");
    prison.set("[package.network]\nnetwork = true");
    prison.set("[package.network]\nnetwork = false\nwritable = [\"srv\"]");
    let told = prison.machine.sh(&format!("{WARNINGS} | tail -n 5"));
    assert!(told.contains("/etc/dkms/dkmsd.toml:3") && told.contains("full path"), "{told}");
    let refused = prison.machine.try_sh(&format!("dkms build network/1.0 -k {}", prison.kernel));
    assert!(refused.code != 0 && refused.stderr.contains("/etc/dkms/dkmsd.toml:3"), "{refused:?}");
    let built = prison.build("network");
    assert_eq!(built.code, 0, "{built:?}");
}
