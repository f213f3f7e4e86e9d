//! Any bytes as a dkms.conf: the native evaluator answers or declines, in bounded time and memory.
#![no_main]

use std::path::Path;

use dkms_core::conf::{ConfFile, EvalInput, Evaluator};
use dkms_core::layout::Layout;
use dkms_core::model::KernelId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let Ok(kernel) = KernelId::new("6.1.0-56-amd64", "x86_64") else { return };
    let files = [ConfFile { path: "/usr/src/fuzz-1/dkms.conf".into(), text: text.to_vec() }];
    // Bash is never started: what it makes of random bytes is not in question here.
    let _ = Evaluator::new(&Layout::default()).evaluate_without_bash(&EvalInput {
        files: &files,
        directives: &[],
        kernel: &kernel,
        module: Some("fuzz"),
        module_version: Some("1"),
        kernel_source_dir: Path::new("/lib/modules/6.1.0-56-amd64/build"),
        dkms_tree: Path::new("/var/lib/dkms"),
        source_tree: Path::new("/usr/src"),
        install_tree: Path::new("/lib/modules"),
        parallel_jobs: 4,
    });
});
