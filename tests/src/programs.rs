//! The programs under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::checkout;

/// The folder that holds `dkmsd`, `dkmsctl` and `dkms`: `DKMSD_BIN_DIR`, else what cargo builds now, for a benchmark as
/// they are released.
///
/// # Panics
/// When they do not build.
#[must_use]
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| std::env::var_os("DKMSD_BIN_DIR").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "-p", "dkmsd", "-p", "dkmsctl", "--profile", profile])
        .current_dir(checkout())
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the programs do not build");
    // The test itself is <target>/<profile>/deps/<name>.
    let test = std::env::current_exe().expect("a program knows where it lies");
    let target = test.ancestors().nth(3).expect("tests lie in a target folder");
    target.join(if profile == "dev" { "debug" } else { profile })
}
