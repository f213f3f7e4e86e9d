//! dkms.conf is other people's code. Judging a hostile one changes nothing, learns nothing, leaves nothing running, and
//! is reported.
#![expect(clippy::panic, reason = "a test fails by panicking, and says why")]

use dkmsd_tests::{Machine, programs_folder};
use serde_json::Value;

const CONF: &str = "PACKAGE_NAME=hostile\nPACKAGE_VERSION=1\nBUILT_MODULE_NAME=hostile\nDEST_MODULE_LOCATION=/updates\n\
                    AUTOINSTALL=yes\nMAKE=make\n";

/// What there is to gain: a port that counts who comes, folders that anybody may write to, a key that somebody left
/// readable, and a process of the user that evaluates.
const BAIT: &str = "
    mkdir -p /srv/open /home/open && chmod 1777 /srv/open /home/open
    echo SECRET > /var/lib/dkms/mok.key && chmod 644 /var/lib/dkms/mok.key
    usermod -d /home/open dkms
    printf '[Socket]\\nListenStream=127.0.0.1:7070\\nAccept=yes\\n' > /etc/systemd/system/bait.socket
    printf '[Service]\\nExecStart=true\\n' > /etc/systemd/system/bait@.service
    systemctl daemon-reload && systemctl start bait.socket
    systemd-run --quiet --unit=victim --uid=dkms sleep 100000";

const TRACES: &str = "find / \\( -path /proc -o -path /sys \\) -prune -o -name '*pwned*' -print";
const CONNECTIONS: &str = "systemctl show --property=NAccepted --value bait.socket";
const IN_JOURNAL: &str = "journalctl --sync; journalctl --quiet --output=cat -t hostile";
const LEFT: &str = "pgrep --list-full --uid dkms | grep -v 'sleep 100000'; true";

/// What it does, and a word of what has to be said about it.
const DEEDS: [(&str, &str, &str); 6] = [
    ("writes", "CLEAN=\"$(touch /etc/pwned /usr/pwned /srv/open/pwned /tmp/pwned /dev/shm/pwned)\"", "pwned"),
    ("writes at home", "echo x > ~/pwned; echo x > \"$HOME/pwned\"; echo x > /home/open/pwned", "home folder"),
    (
        "reads the key",
        "PRE_BUILD=\"<$(cat /var/lib/dkms/mok.key)>\"\n[[ -s /var/lib/dkms/mok.key ]] && CLEAN=SECRET",
        "mok.key",
    ),
    ("calls out", "exec 7<>/dev/tcp/127.0.0.1/7070; curl -s http://127.0.0.1:7070/", "network"),
    (
        "speaks to services",
        "logger -t hostile pwned; busctl call org.dkmsd1 /org/dkmsd1 org.dkmsd1.Manager Rescan",
        "bus",
    ),
    ("stays", "setsid sleep 5000 & sleep 5000 & (sleep 5000 &)", "leaves processes behind"),
];

/// These are not for trying without a sandbox.
const WORSE: [(&str, &str, &str); 2] = [
    ("multiplies", "b() { b | b & }; b", "evaluated|Resource|processes"),
    ("kills", "kill -KILL -1; kill -KILL $PPID", "evaluated|not permitted|processes"),
];

#[test]
fn a_hostile_file_does_nothing_and_is_reported() {
    let machine = Machine::with_dkmsd("hostile");
    machine.copy(&programs_folder().join("dkms"), "/usr/local/bin/dkms");
    machine.sh(BAIT);
    for (name, code, word) in DEEDS.into_iter().chain(WORSE) {
        let report = judge(&machine, code);
        let findings = report["findings"].as_array().unwrap_or_else(|| panic!("{name}: {report}"));
        let said: Vec<&str> = findings.iter().filter_map(|f| f["why"].as_str()).collect();
        assert!(said.iter().any(|why| word.split('|').any(|w| why.contains(w))), "{name}: {word}: {said:#?}");
        assert!(!report.to_string().contains("SECRET"), "{name}: {report}");
        assert_eq!(machine.sh(TRACES), "", "{name}");
        assert_eq!(machine.sh(LEFT), "", "{name}");
        assert_eq!(machine.sh("systemctl is-active victim dkmsd"), "active\nactive", "{name}");
    }
    // The next caller is the first: nobody came before.
    machine.sh("exec 7<>/dev/tcp/127.0.0.1/7070");
    assert_eq!(machine.sh(CONNECTIONS), "1");
    assert_eq!(machine.sh(IN_JOURNAL), "");

    // All of it works for the same user where nothing keeps it apart, or the above would show nothing.
    for (name, code, _) in DEEDS {
        machine
            .sh(&format!("cat > /var/tmp/dkms.conf <<'EOF'\n{code}\n[[ ! $PRE_BUILD ]] || echo \"$PRE_BUILD\"\nEOF"));
        // What stays must not keep our end of a pipe.
        let said = machine.sh(
            "timeout 60 setpriv --reuid=dkms --regid=dkms --clear-groups bash /var/tmp/dkms.conf > /var/log/said 2>&1
             cat /var/log/said",
        );
        assert!(name != "reads the key" || said.contains("SECRET"), "{name}: {said}");
    }
    let traces = machine.sh(TRACES);
    assert!(["/srv/open", "/home/open", "/tmp"].iter().all(|f| traces.contains(&format!("{f}/pwned"))), "{traces}");
    assert_eq!((machine.sh(CONNECTIONS), machine.sh(IN_JOURNAL)), ("2".to_owned(), "pwned".to_owned()));
    assert_eq!(machine.sh(LEFT).lines().count(), 3);
}

/// What `dkms lint` says of a file, as root.
fn judge(machine: &Machine, code: &str) -> Value {
    machine
        .sh(&format!("mkdir -p /var/tmp/hostile-1 && cat > /var/tmp/hostile-1/dkms.conf <<'EOF'\n{CONF}{code}\nEOF"));
    let answer = machine.try_sh("timeout 120 dkms lint --json /var/tmp/hostile-1 -k 6.1.0-56-amd64/x86_64");
    serde_json::from_str(&answer.stdout).unwrap_or_else(|e| panic!("{code}: {e}: {answer:?}"))
}
