//! The compiler and linker that the target kernel was built with, as the build's environment (dkms-contract.md §3).

use std::path::Path;

use crate::host::kconfig::KernelConfig;

/// What a build compiles with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toolchain {
    /// Variables to export to every command: CC, KERNEL_CC, LD, KERNEL_LD.
    pub env: Vec<(&'static str, String)>,
    /// Whether the kernel was built with clang: its make line gets `LLVM=1`, its modules `llvm-strip`.
    pub clang: bool,
}

impl Toolchain {
    /// Chooses from the kernel's configuration; `exists` says whether a program can be found.
    #[must_use]
    pub fn choose(config: &KernelConfig, exists: impl Fn(&str) -> bool) -> Self {
        let mut env = Vec::new();
        let clang = config.enabled("CONFIG_CC_IS_CLANG");
        let named = config.get("CONFIG_CC_VERSION_TEXT").and_then(|text| text.split_whitespace().next());
        let compiler = if clang { named.filter(|c| exists(c)).or(Some("clang")) } else { named };
        if let Some(compiler) = compiler.filter(|c| exists(c)) {
            env.push(("CC", compiler.to_owned()));
            env.push(("KERNEL_CC", compiler.to_owned()));
        }
        if config.enabled("CONFIG_LD_IS_LLD") && exists("ld.lld") {
            env.push(("LD", "ld.lld".to_owned()));
            env.push(("KERNEL_LD", "ld.lld".to_owned()));
        }
        Self { env, clang }
    }
}

/// Whether a program is found on PATH, or is a path itself.
#[must_use]
pub fn on_path(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| super::sandbox::DEFAULT_PATH.into());
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("CONFIG_CC_VERSION_TEXT=\"gcc-12 (Debian 12.2.0-14) 12.2.0\"\nCONFIG_CC_IS_GCC=y\n", &["gcc-12"], &["CC=gcc-12", "KERNEL_CC=gcc-12"], false)]
    #[case("CONFIG_CC_VERSION_TEXT=\"gcc-12 (Debian 12.2.0-14) 12.2.0\"\n", &[], &[], false)]
    #[case("CONFIG_CC_VERSION_TEXT=\"clang version 17\"\nCONFIG_CC_IS_CLANG=y\nCONFIG_LD_IS_LLD=y\n", &["clang", "ld.lld"], &["CC=clang", "KERNEL_CC=clang", "LD=ld.lld", "KERNEL_LD=ld.lld"], true)]
    #[case("", &["gcc"], &[], false)]
    fn follows_the_kernel(#[case] config: &str, #[case] there: &[&str], #[case] wanted: &[&str], #[case] clang: bool) {
        let chosen = Toolchain::choose(&KernelConfig::parse(config), |p| there.contains(&p));
        let env: Vec<String> = chosen.env.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(env, wanted);
        assert_eq!(chosen.clang, clang);
    }
}
