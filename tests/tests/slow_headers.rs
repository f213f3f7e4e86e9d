//! Headers that arrive slowly: nothing is built before they are whole.

use std::process::Stdio;
use std::time::Duration;

use dkmsd_tests::Machine;

const LIMIT: Duration = Duration::from_secs(300);

/// Writes the time at which each build begins, in nanoseconds, to /srv/starts.
const RECORD: &str = "
    mkdir -p /srv/slow-gate && mkfifo -m 666 /srv/slow-gate/started && : > /srv/starts
    exec 3<> /srv/slow-gate/started
    while read -r name <&3; do echo \"$(date +%s%N) $name\" >> /srv/starts; done";

/// Unpacks headers file by file: first everything that tells of readiness, then the rest in an order that fills no
/// folder before another, twenty parts in twenty seconds. Prints when the last file was there, in nanoseconds.
const UNPACK: &str = r#"
    set -e
    kernel=$1
    mkdir -p /var/tmp/staged && cd /var/tmp
    apt-get download -q linux-headers-$kernel linux-headers-${kernel%-cloud-amd64}-common linux-kbuild-6.1 >/dev/null
    for deb in linux-headers-*.deb linux-kbuild-*.deb; do dpkg -x $deb staged; done
    cd staged
    sentinels="lib/modules usr/src/linux-headers-$kernel/Makefile
        usr/src/linux-headers-$kernel/include/generated/autoconf.h usr/src/linux-headers-$kernel/include/config/auto.conf
        usr/src/linux-headers-$kernel/Module.symvers usr/src/linux-headers-$kernel/scripts usr/lib/linux-kbuild-6.1/scripts/basic/fixdep
        usr/lib/linux-kbuild-6.1/scripts/mod/modpost"
    # A folder that is a link (lib) is merged with what is there.
    put() { tar -c --no-recursion -T "$1" | tar -x -C / --keep-directory-symlink --skip-old-files; }
    for path in $sentinels; do find $path; done > /var/tmp/sentinels
    find . ! -type d | shuf --random-source=<(yes) > /var/tmp/rest
    put /var/tmp/sentinels
    split -n l/20 /var/tmp/rest /var/tmp/part.
    for part in /var/tmp/part.*; do
        # The pace of the arrival, not a wait for anything.
        sleep 1
        put $part
    done
    date +%s%N
"#;

fn starts(machine: &Machine) -> Vec<u128> {
    machine.numbers("cut -d ' ' -f 1 /srv/starts")
}

#[test]
fn no_build_starts_before_headers_are_whole() {
    let machine = Machine::with_dkmsd("slow-headers");
    let offered = machine.offered_kernels("6.1", "cloud-amd64");
    let [by_hand, by_apt, ..] = offered.as_slice() else { panic!("two kernels are needed: {offered:?}") };
    let mut recorder =
        machine.command(RECORD).stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("machine.sh runs");
    machine.drop_slow("slow-a");

    // What apt would bring along with the headers, so that nothing but the headers is missing.
    machine.apt_install(&["libelf1"]);
    let whole = machine.numbers(&format!("set -- {by_hand}\n{UNPACK}"))[0];
    machine.wait_installed(by_hand, &["slow-a"], LIMIT);
    let first = starts(&machine);
    assert_eq!(first.len(), 1, "one build, not one that failed and another: {first:?}");
    assert!(first[0] > whole, "built {} ms before the headers were whole", (whole - first[0]) / 1_000_000);

    machine.apt_install(&[&format!("linux-headers-{by_apt}")]);
    machine.wait_installed(by_apt, &["slow-a"], LIMIT);
    let all = starts(&machine);
    assert_eq!(all.len(), 2, "{all:?}");
    // Its own hook asks for the build while it is being set up, when everything is unpacked.
    let unpacked = machine.numbers(&format!(
        "date +%s -d \"$(sed -n 's/ status half-configured linux-headers-{by_apt}:.*//p' /var/log/dpkg.log | tail -n 1)\""
    ))[0];
    assert!(all[1] / 1_000_000_000 >= unpacked, "built while apt was still unpacking");
    recorder.kill().unwrap();
    recorder.wait().unwrap();
}
