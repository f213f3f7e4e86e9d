//! What is said to hold for every kernel, against reading the file for each of them.

use std::path::{Path, PathBuf};

use super::*;
use crate::conf::ConfFile;
use crate::layout::Layout;

pub(super) fn kernel(release: &str) -> KernelId {
    KernelId::new(release, "x86_64").unwrap()
}

pub(super) fn evaluated<T>(
    text: &[u8],
    kernel: &KernelId,
    evaluate: impl FnOnce(&Evaluator, &EvalInput<'_>) -> T,
) -> T {
    let evaluator = Evaluator::new(&Layout::default());
    evaluate(
        &evaluator,
        &EvalInput {
            files: &[ConfFile { path: PathBuf::from("/usr/src/hello-1.0/dkms.conf"), text: text.to_vec() }],
            directives: &[],
            kernel,
            module: Some("hello"),
            module_version: Some("1.0"),
            kernel_source_dir: &Path::new("/lib/modules").join(kernel.release.as_str()).join("build"),
            dkms_tree: Path::new("/var/lib/dkms"),
            source_tree: Path::new("/usr/src"),
            install_tree: Path::new("/lib/modules"),
            parallel_jobs: 4,
        },
    )
}

#[test]
#[allow(clippy::print_stderr)]
fn survey() {
    let folder = std::env::var_os("DKMSD_CORPUS").map(PathBuf::from).unwrap();
    let (mut all, mut shared, mut native, mut fine) = (0, 0, 0, 0);
    for e in std::fs::read_dir(folder.join("conf")).unwrap() {
        let path = e.unwrap().path().join("dkms.conf");
        let text = std::fs::read(&path).unwrap();
        all += 1;
        let k = kernel("6.1.0-56-amd64");
        let n = evaluated(&text, &k, |e, i| e.evaluate_without_bash(i)).unwrap();
        native += usize::from(n.is_some());
        match evaluated(&text, &k, Evaluator::common).unwrap() {
            Some(c) => {
                shared += 1;
                let needed = c.varying.iter().any(|d| !["POST_ADD","POST_BUILD","POST_INSTALL","POST_REMOVE","PRE_BUILD","PRE_INSTALL","MAKE","MAKE_MATCH","PATCH","PATCH_MATCH","CLEAN"].contains(d));
                if needed { eprintln!("needed {:?} {path:?}", c.varying); } else { fine += 1; }
            }
            None if n.is_some() => eprintln!("not {path:?}"),
            None => {}
        }
    }
    eprintln!("{all} files, {native} native, {shared} shared, {fine} fine");
}
