//! Real files against what bash made of them: `DKMSD_CORPUS` names the folder with `conf` and `truth`. Without it this
//! is skipped, loudly.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Truth {
    conf: PathBuf,
    kernel: String,
    arch: String,
    package: Option<String>,
    version: Option<String>,
    values: Values,
    machine_dependent: BTreeSet<String>,
}

/// These look into the headers of the first kernel, which were there when the truth was made. The scenario `corpus`
/// compares them in a machine that has those headers.
const NEED_HEADERS: [&str; 3] = ["debx-zfs-dkms-2@6.1.0", "gen-zfs-head-1@6.1.0", "gen-lustre-client-1@6.1.0"];

#[test]
#[allow(clippy::print_stderr, reason = "the share is what this test is run for")]
fn real_files_have_the_values_that_bash_gives_them() {
    let Some(folder) = std::env::var_os("DKMSD_CORPUS").map(PathBuf::from) else {
        // Straight to the terminal: what a test prints that passes is kept back.
        let _ = io::stderr().write_all(b"SKIPPED: real files; DKMSD_CORPUS names no folder of them\n");
        return;
    };
    let mut truths: Vec<_> = fs::read_dir(folder.join("truth")).unwrap().map(|e| e.unwrap().path()).collect();
    truths.sort();
    assert!(!truths.is_empty());
    if !Path::new("/lib/modules/6.1.0-56-amd64/source").exists() {
        let needs = |path: &PathBuf| NEED_HEADERS.iter().any(|n| path.to_string_lossy().contains(n));
        truths.retain(|path| !needs(path));
        eprintln!("SKIPPED: {NEED_HEADERS:?}; install linux-headers-6.1.0-56-amd64");
    }
    let evaluator = Evaluator::new(&Layout::default());
    let mut wrong = Vec::new();
    for path in &truths {
        let truth: Truth = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let conf = folder.join(&truth.conf);
        let kernel = KernelId::new(&truth.kernel, &truth.arch).unwrap();
        let before = evaluator.answered().1;
        let values = evaluator.evaluate(&EvalInput {
            files: &[ConfFile { text: fs::read(&conf).unwrap(), path: conf.clone() }],
            directives: &[],
            kernel: &kernel,
            module: truth.package.as_deref(),
            module_version: truth.version.as_deref(),
            kernel_source_dir: &Path::new("/lib/modules").join(&truth.kernel).join("build"),
            dkms_tree: Path::new("/var/lib/dkms"),
            source_tree: Path::new("/usr/src"),
            install_tree: Path::new("/lib/modules"),
            parallel_jobs: 4,
        });
        if evaluator.answered().1 > before && std::env::var_os("DKMSD_CORPUS_VERBOSE").is_some() {
            eprintln!("bash: {} {}", conf.display(), truth.kernel);
        }
        match values {
            Ok(mut values) => {
                values.0.retain(|name, _| !truth.machine_dependent.contains(name));
                if values != truth.values {
                    wrong.push(format!("{}:\n  wanted {:?}\n  got    {:?}", path.display(), truth.values, values));
                }
            }
            Err(e) => wrong.push(format!("{}: {e}", path.display())),
        }
    }
    let (native, bash) = evaluator.answered();
    let share = native as f64 * 100.0 / truths.len() as f64;
    eprintln!("{} files: {native} natively ({share:.1} %), {bash} by bash, {} wrong", truths.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(share >= 80.0, "only {share:.1} % without bash");
}
