//! The compiler and linker that the target kernel was built with, as the build's environment (dkms-contract.md §3), and
//! which package brings what of it is missing here.

use std::fs;
use std::path::Path;

use crate::host::distro::{Distro, Family};
use crate::host::headers::Headers;
use crate::host::kconfig::KernelConfig;

/// What a build compiles with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toolchain {
    /// Variables to export to every command: CC, KERNEL_CC, LD, KERNEL_LD, LLVM.
    pub env: Vec<(&'static str, String)>,
    /// For a kernel that was built with clang, what LLVM is set to: `1`, or `-16` where the programs are called that way.
    pub llvm: Option<String>,
}

/// A program that a build needs and this machine does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Its name.
    pub program: String,
    /// The distribution's package that brings it; none where that is not known.
    pub package: Option<String>,
}

impl Toolchain {
    /// Chooses from the kernel's configuration; `exists` says whether a program can be found.
    ///
    /// A clang kernel gets LLVM in the environment too: appended to a MAKE line (see [`super::make_line`]) it reaches the
    /// last of several commands only.
    #[must_use]
    pub fn choose(config: &KernelConfig, exists: impl Fn(&str) -> bool) -> Self {
        let mut env = Vec::new();
        let llvm = config.enabled("CONFIG_CC_IS_CLANG").then(|| llvm(config, &exists));
        let suffix = suffix(llvm.as_deref());
        let named = compiler(config);
        let clang = format!("clang{suffix}");
        let compiler = if llvm.is_some() { named.filter(|c| exists(c)).or(Some(&*clang)) } else { named };
        if let Some(compiler) = compiler.filter(|c| exists(c)) {
            env.push(("CC", compiler.to_owned()));
            env.push(("KERNEL_CC", compiler.to_owned()));
        }
        let linker = format!("ld.lld{suffix}");
        if config.enabled("CONFIG_LD_IS_LLD") && exists(&linker) {
            env.push(("LD", linker.clone()));
            env.push(("KERNEL_LD", linker));
        }
        if let Some(llvm) = &llvm {
            env.push(("LLVM", llvm.clone()));
        }
        Self { env, llvm }
    }

    /// Whether ` LLVM=1` belongs at the end of the MAKE line: where the programs have their plain names.
    #[must_use]
    pub fn appends_llvm(&self) -> bool {
        self.llvm.as_deref() == Some("1")
    }

    /// The program that strips what it compiles.
    #[must_use]
    pub fn strip(&self) -> String {
        match &self.llvm {
            Some(_) => format!("llvm-strip{}", suffix(self.llvm.as_deref())),
            None => "strip".to_owned(),
        }
    }
}

/// What kbuild runs as the compiler: the first word of what it said of itself.
fn compiler(config: &KernelConfig) -> Option<&str> {
    config.get("CONFIG_CC_VERSION_TEXT").and_then(|text| text.split_whitespace().next())
}

/// The value of LLVM: the programs' plain names where they are there, else those with the kernel's own version.
fn llvm(config: &KernelConfig, exists: impl Fn(&str) -> bool) -> String {
    let versioned = clang_version(config).map(|major| format!("-{major}"));
    versioned.filter(|suffix| !exists("clang") && exists(&format!("clang{suffix}"))).unwrap_or_else(|| "1".to_owned())
}

fn suffix(llvm: Option<&str>) -> &str {
    llvm.filter(|llvm| llvm.starts_with('-')).unwrap_or_default()
}

/// The major version of the clang that built the kernel: CONFIG_CLANG_VERSION is 160006 for 16.0.6.
fn clang_version(config: &KernelConfig) -> Option<u32> {
    let number: u32 = config.get("CONFIG_CLANG_VERSION")?.parse().ok()?;
    Some(number / 10_000).filter(|major| *major > 0)
}

/// What of the toolchain a build with this MAKE line needs and cannot find.
///
/// A gcc of another version than the kernel's is good enough unless the headers name theirs, as Debian's do. A MAKE line
/// that chooses its own compiler, or an admin's build_environment (`own_choice`), is left to itself.
#[must_use]
pub fn missing(
    headers: &Headers,
    make: &str,
    own_choice: bool,
    distro: &Distro,
    exists: impl Fn(&str) -> bool,
) -> Vec<Missing> {
    let config = &headers.config;
    let family = distro.family();
    let mut missing = Vec::new();
    let mut need = |program: &str, package: Option<String>| {
        if !exists(program) {
            missing.push(Missing { program: program.to_owned(), package });
        }
    };
    let words = || make.split(|c: char| c.is_whitespace() || matches!(c, ';' | '&' | '|' | '(' | ')' | '\''));
    if words().any(|word| word == "make") {
        need("make", Some("make".to_owned()));
    }
    if own_choice || words().any(|word| word.starts_with("CC=") || word.starts_with("LLVM=")) {
        return missing;
    }
    if config.enabled("CONFIG_CC_IS_CLANG") {
        let version = clang_version(config);
        let llvm = llvm(config, &exists);
        // What is to be installed is what the kernel was built with.
        let chosen = if exists("clang") { String::new() } else { version.map(|v| format!("-{v}")).unwrap_or_default() };
        let chosen = if suffix(Some(&llvm)).is_empty() { chosen } else { suffix(Some(&llvm)).to_owned() };
        for (program, package) in [("clang", "clang"), ("ld.lld", "lld"), ("llvm-strip", "llvm")] {
            need(&format!("{program}{chosen}"), llvm_package(family, package, chosen.strip_prefix('-')));
        }
    } else if let Some(named) = compiler(config)
        && (pinned(headers, named) || !exists("gcc"))
    {
        need(named, gcc_package(family, named, headers));
    }
    missing
}

/// Whether the headers' own Makefiles name this compiler: `.kernelvariables` of Debian's.
fn pinned(headers: &Headers, compiler: &str) -> bool {
    let text = fs::read(headers.dir.join(".kernelvariables")).unwrap_or_default();
    String::from_utf8_lossy(&text).split(|c: char| c.is_whitespace() || c == ')').any(|word| word == compiler)
}

/// The package of a gcc, which may have a version behind it and a target before it.
fn gcc_package(family: Family, program: &str, headers: &Headers) -> Option<String> {
    let name = program.rsplit('/').next().unwrap_or(program);
    let at = name.find("gcc").filter(|at| *at == 0 || name.as_bytes().get(at - 1) == Some(&b'-'))?;
    let (target, gcc) = name.split_at(at);
    let version = gcc.strip_prefix("gcc-").filter(|v| v.starts_with(|c: char| c.is_ascii_digit()));
    let own = headers.config.arch().is_none_or(|arch| target.is_empty() || target.starts_with(arch.as_str()));
    match (family, version) {
        // A compiler for another machine is in a package of its own.
        (Family::Debian, _) if !own => Some(format!("{gcc}-{}", target.trim_end_matches('-').replace('_', "-"))),
        (Family::Debian, _) => Some(gcc.to_owned()),
        _ if !own => None,
        (Family::Suse | Family::Arch, Some(version)) => Some(format!("gcc{version}")),
        (Family::Other, _) => None,
        _ => Some("gcc".to_owned()),
    }
}

fn llvm_package(family: Family, name: &str, version: Option<&str>) -> Option<String> {
    match (family, version) {
        (Family::Other, _) => None,
        (Family::Debian, Some(version)) => Some(format!("{name}-{version}")),
        (Family::Fedora | Family::Suse | Family::Alpine, Some(version)) => Some(format!("{name}{version}")),
        _ => Some(name.to_owned()),
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
    use std::sync::Arc;

    const GCC: &str = "CONFIG_CC_VERSION_TEXT=\"gcc-12 (Debian 12.2.0-14) 12.2.0\"\nCONFIG_CC_IS_GCC=y\n";
    const UBUNTU: &str = "CONFIG_X86_64=y\nCONFIG_CC_VERSION_TEXT=\"x86_64-linux-gnu-gcc-13 (Ubuntu 13.2.0) 13.2.0\"\n";
    const ARM: &str = "CONFIG_X86_64=y\nCONFIG_CC_VERSION_TEXT=\"aarch64-linux-gnu-gcc-12 (Debian 12.2.0) 12.2.0\"\n";
    const CLANG: &str = "CONFIG_CC_VERSION_TEXT=\"Debian clang version 16.0.6\"\nCONFIG_CC_IS_CLANG=y\nCONFIG_LD_IS_LLD=y\nCONFIG_CLANG_VERSION=160006\n";
    const PLAIN: &[&str] = &["clang", "ld.lld", "llvm-strip", "gcc"];
    const VERSIONED: &[&str] = &["clang-16", "ld.lld-16", "llvm-strip-16", "gcc"];

    #[rstest]
    #[case(GCC, &["gcc-12"], &["CC=gcc-12", "KERNEL_CC=gcc-12"])]
    #[case(GCC, &[], &[])]
    #[case(CLANG, PLAIN, &["CC=clang", "KERNEL_CC=clang", "LD=ld.lld", "KERNEL_LD=ld.lld", "LLVM=1"])]
    #[case(CLANG, VERSIONED, &["CC=clang-16", "KERNEL_CC=clang-16", "LD=ld.lld-16", "KERNEL_LD=ld.lld-16", "LLVM=-16"])]
    #[case("", &["gcc"], &[])]
    fn follows_the_kernel(#[case] config: &str, #[case] there: &[&str], #[case] wanted: &[&str]) {
        let chosen = Toolchain::choose(&KernelConfig::parse(config), |p| there.contains(&p));
        let env: Vec<String> = chosen.env.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(env, wanted);
        let strip = if chosen.llvm.is_none() { "strip" } else { there[2] };
        assert_eq!(chosen.strip(), strip);
        assert_eq!(chosen.appends_llvm(), there == PLAIN);
    }

    /// Program and package of each that is missing, with `?` for a package that is not known.
    #[rstest]
    #[case::all_there(GCC, "ID=debian", &["gcc-12"], "")]
    #[case::another_gcc(GCC, "ID=debian", &["gcc"], "")]
    #[case::none(GCC, "ID=debian", &[], "gcc-12=gcc-12")]
    #[case::elsewhere(GCC, "ID=fedora", &[], "gcc-12=gcc")]
    #[case::suse(GCC, "ID=opensuse-leap", &[], "gcc-12=gcc12")]
    #[case::unknown(GCC, "ID=gentoo", &[], "gcc-12=?")]
    #[case::full_name(UBUNTU, "ID=ubuntu", &[], "x86_64-linux-gnu-gcc-13=gcc-13")]
    #[case::full_name_and_another(UBUNTU, "ID=ubuntu", &["gcc"], "")]
    #[case::cross(ARM, "ID=debian", &[], "aarch64-linux-gnu-gcc-12=gcc-12-aarch64-linux-gnu")]
    #[case::clang(CLANG, "ID=debian", &["gcc"], "clang-16=clang-16 ld.lld-16=lld-16 llvm-strip-16=llvm-16")]
    #[case::plain_clang(CLANG, "ID=debian", PLAIN, "")]
    #[case::versioned_clang(CLANG, "ID=debian", VERSIONED, "")]
    #[case::no_linker(CLANG, "ID=debian", &["clang", "llvm-strip"], "ld.lld=lld")]
    #[case::no_versioned_linker(CLANG, "ID=debian", &["clang-16", "llvm-strip-16"], "ld.lld-16=lld-16")]
    #[case::arch(CLANG, "ID=cachyos\nID_LIKE=arch", &["clang", "llvm-strip"], "ld.lld=lld")]
    #[case::nothing_known("CONFIG_ACPI=y\n", "ID=debian", &[], "")]
    fn what_is_missing_has_a_package(
        #[case] config: &str,
        #[case] distro: &str,
        #[case] there: &[&str],
        #[case] wanted: &str,
    ) {
        let headers = headers(Path::new("/nonexistent"), config);
        let exists = |p: &str| p == "make" || there.contains(&p);
        let missing = missing(&headers, "make all", false, &Distro::parse(distro, None), exists);
        let said: Vec<_> =
            missing.iter().map(|m| format!("{}={}", m.program, m.package.as_deref().unwrap_or("?"))).collect();
        assert_eq!(said.join(" "), wanted);
    }

    #[rstest]
    #[case::plain("make all", false, &["make", "gcc-12"])]
    #[case::quoted("cd src && 'make' all", false, &["make", "gcc-12"])]
    #[case::own_compiler("make CC=cc all", false, &["make"])]
    #[case::no_make("./build.sh", false, &["gcc-12"])]
    #[case::environment("make all", true, &["make"])]
    fn what_chooses_its_own_compiler_is_left_to_itself(
        #[case] make: &str,
        #[case] own_choice: bool,
        #[case] wanted: &[&str],
    ) {
        let headers = headers(Path::new("/nonexistent"), GCC);
        let missing = missing(&headers, make, own_choice, &Distro::default(), |_| false);
        assert_eq!(missing.iter().map(|m| m.program.as_str()).collect::<Vec<_>>(), wanted);
    }

    /// Debian's headers call their compiler by name, whatever `gcc` is.
    #[test]
    fn a_compiler_that_headers_name_has_no_substitute() {
        let folder = tempfile::tempdir().unwrap();
        let line = "CC = $(if $(DEBIAN_KERNEL_USE_CCACHE),$(CCACHE)) $(CROSS_COMPILE)gcc-12\n";
        fs::write(folder.path().join(".kernelvariables"), line).unwrap();
        let named = headers(folder.path(), GCC);
        let exists = |p: &str| p == "gcc" || p == "make";
        let missing = missing(&named, "make", false, &Distro::parse("ID=debian", None), exists);
        assert_eq!(missing, [Missing { program: "gcc-12".into(), package: Some("gcc-12".into()) }]);
    }

    fn headers(dir: &Path, config: &str) -> Headers {
        Headers {
            dir: dir.to_owned(),
            config: Arc::new(KernelConfig::parse(config)),
            identity: String::new(),
            stamp: String::new(),
        }
    }
}
