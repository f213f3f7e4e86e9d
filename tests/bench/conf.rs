//! How much faster 100 real dkms.conf files are evaluated natively than bash sources them, as ratios of one run.
//!
//! ```text
//! DKMSD_CORPUS=FOLDER cargo bench -p dkmsd-tests --bench conf
//! ```
//!
//! FOLDER holds `conf/NAME/dkms.conf`. The files are the first 100 by name that need no bash. Both sides see the same
//! variables; bash only sources a file, while natively its values are expanded a second time too. Each number is the
//! best of some rounds. Not a part of the tests: what it prints depends on the machine.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a program for people who measure")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use dkms_core::conf::{ConfFile, EvalInput, Evaluator};
use dkms_core::layout::Layout;
use dkms_core::model::KernelId;

const FILES: usize = 100;
const ROUNDS: usize = 5;

/// The scope of dkms-contract.md §3, then each file in a function of its own.
const SCOPE: &str =
    "shopt -s extglob; kernelver=6.1.0-56-amd64 arch=x86_64 kernel_source_dir=/lib/modules/$kernelver/build
    dkms_tree=/var/lib/dkms source_tree=/usr/src install_tree=/lib/modules module=bench module_version=1 parallel_jobs=4
    read_conf() { . \"$1\"; }; ";

fn main() {
    let folder = std::env::var_os("DKMSD_CORPUS").map(PathBuf::from).unwrap_or_else(|| {
        panic!("DKMSD_CORPUS has to name a folder that holds conf/NAME/dkms.conf");
    });
    let kernel = KernelId::new("6.1.0-56-amd64", "x86_64").expect("a good name");
    let evaluator = Evaluator::new(&Layout::default());
    let natively = |file: &ConfFile| {
        evaluator
            .evaluate_without_bash(&EvalInput {
                files: std::slice::from_ref(file),
                directives: &[],
                kernel: &kernel,
                module: Some("bench"),
                module_version: Some("1"),
                kernel_source_dir: Path::new("/lib/modules/6.1.0-56-amd64/build"),
                dkms_tree: Path::new("/var/lib/dkms"),
                source_tree: Path::new("/usr/src"),
                install_tree: Path::new("/lib/modules"),
                parallel_jobs: 4,
            })
            .expect("real files are text")
    };

    let mut paths: Vec<PathBuf> = fs::read_dir(folder.join("conf"))
        .expect("DKMSD_CORPUS has a folder conf")
        .map(|entry| entry.expect("its entries are readable").path().join("dkms.conf"))
        .collect();
    paths.sort();
    let files: Vec<ConfFile> = paths
        .into_iter()
        .map(|path| ConfFile { text: fs::read(&path).expect("every folder has a dkms.conf"), path })
        .filter(|file| natively(file).is_some())
        .take(FILES)
        .collect();
    assert_eq!(files.len(), FILES, "there are too few files");

    let native = best(|| {
        for file in &files {
            assert!(std::hint::black_box(natively(file)).is_some());
        }
    });
    let each = best(|| {
        for file in &files {
            source(&format!("{SCOPE} read_conf \"$1\""), std::slice::from_ref(file));
        }
    });
    let one = best(|| source(&format!("{SCOPE} for file; do (read_conf \"$file\"); done"), &files));

    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{FILES} real files, best of {ROUNDS} rounds, {cpus} CPUs");
    println!("  natively                      {native:>10.2?}");
    for (what, time) in [("a bash for each", each), ("one bash, a subshell for each", one)] {
        let ratio = time.as_secs_f64() / native.as_secs_f64();
        println!("  {what:<29} {time:>10.2?}  natively {ratio:.0} times faster");
    }
}

fn source(script: &str, files: &[ConfFile]) {
    let status = Command::new("/bin/bash")
        .args(["-c", script, "bash"])
        .args(files.iter().map(|file| &file.path))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    // What a file's last command returned does not matter.
    assert!(status.expect("bash runs").code().is_some());
}

fn best(mut run: impl FnMut()) -> Duration {
    let rounds = (0..ROUNDS).map(|_| {
        let started = Instant::now();
        run();
        started.elapsed()
    });
    rounds.min().unwrap_or_default()
}
