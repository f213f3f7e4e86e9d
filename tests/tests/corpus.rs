//! Real dkms.conf files that look into a kernel's headers, judged where those headers are.

use std::path::PathBuf;

use dkmsd_tests::{Machine, programs_folder};
use serde_json::Value;

const KERNEL: &str = "6.1.0-56-amd64";
const FILES: [&str; 3] = ["debx-zfs-dkms-2", "gen-zfs-head-1", "gen-lustre-client-1"];

#[test]
#[allow(clippy::print_stderr, reason = "what is skipped has to be seen")]
fn files_that_look_into_headers_have_the_values_that_bash_gives_them() {
    let Some(corpus) = std::env::var_os("DKMSD_CORPUS").map(PathBuf::from) else {
        eprintln!("SKIPPED: real files; DKMSD_CORPUS names no folder of them");
        return;
    };
    let machine = Machine::start("corpus");
    machine.apt_install(&[&format!("linux-headers-{KERNEL}")]);
    machine.copy(&programs_folder().join("dkms"), "/usr/local/bin/dkms");
    for file in FILES {
        let truth = corpus.join(format!("truth/{file}@{KERNEL}.json"));
        let truth = std::fs::read_to_string(&truth).unwrap_or_else(|e| panic!("{}: {e}", truth.display()));
        let truth: Value = serde_json::from_str(&truth).expect("the truth is JSON");
        let text = |key: &str| truth[key].as_str().unwrap_or_else(|| panic!("{file}: no {key}"));
        machine.copy(&corpus.join(text("conf")), &format!("/var/tmp/{file}/dkms.conf"));
        let answer = machine.try_sh(&format!(
            "dkms lint /var/tmp/{file}/dkms.conf -k {KERNEL}/{} -m {}/{} --json",
            text("arch"),
            text("package"),
            text("version")
        ));
        let report: Value = serde_json::from_str(&answer.stdout).unwrap_or_else(|e| panic!("{file}: {e}: {answer:?}"));
        let mut values = report["values"].clone();
        for name in truth["machine_dependent"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            values.as_object_mut().expect("values are an object").remove(name);
        }
        assert_eq!(values, truth["values"], "{file}");
        assert!(report["findings"].is_array() && report["recipe"]["modules"].is_array(), "{file}: {report}");
    }
}
