//! Logs of real failures: Debian's acpi-call against Debian's headers of Linux 6.1, with one thing wrong in each.

use super::*;
use rstest::rstest;

fn real(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/build/first_error/logs").join(name);
    std::fs::read_to_string(file.with_extension("log")).unwrap()
}

#[rstest]
#[case::compiler("compiler", Kind::Compiler, "acpi_call.c:34:31: error: conflicting types for ‘acpi_root_dir’")]
#[case::directive("error_directive", Kind::Compiler, "acpi_call.c:2:2: error: #error \"this kernel is too new")]
#[case::warning("werror", Kind::Compiler, "acpi_call.c:450:12: error: ‘unused_thing’ defined but not used")]
#[case::assembler("assembler", Kind::Compiler, "acpi_call.c:450: Error: no such instruction: `bogus %eax'")]
#[case::option("option", Kind::Compiler, "gcc-12: error: unrecognized command-line option ‘-ftrivial-gone’")]
#[case::many_at_once("parallel", Kind::Compiler, "m5.c:2:35: error: ‘five’ undeclared")]
#[case::after_probes(
    "probes",
    Kind::Compiler,
    "acpi_call.c:131:14: error: implicit declaration of function ‘acpi_evaluate_objekt’"
)]
#[case::header(
    "missing_header",
    Kind::MissingHeader,
    "acpi_call.c:1:10: fatal error: linux/sysctl_gone.h: No such file"
)]
#[case::symbol("modpost_undefined", Kind::Modpost, "ERROR: modpost: \"acpi_gone\" [acpi_call.ko] undefined!")]
#[case::licence(
    "modpost_gpl",
    Kind::Modpost,
    "ERROR: modpost: GPL-incompatible module acpi_call.ko uses GPL-only symbol"
)]
#[case::namespace(
    "modpost_namespace",
    Kind::Modpost,
    "ERROR: modpost: module acpi_call uses symbol dma_buf_get from namespace"
)]
#[case::twice("linker_multiple", Kind::Linker, "two.c:1: multiple definition of `twice'")]
#[case::reference("linker_undefined", Kind::Linker, "tool.c:(.text+0x5): undefined reference to `gone'")]
#[case::library("linker_library", Kind::Linker, "/usr/bin/ld: cannot find -lnuma")]
#[case::rule("no_rule", Kind::Make, "make[1]: *** No rule to make target 'absent.o'")]
#[case::makefile_says("makefile_error", Kind::Make, "Makefile:1: *** Your kernel headers")]
#[case::makefile_is_wrong("makefile_separator", Kind::Make, "Makefile:2: *** missing separator")]
#[case::no_makefile("no_makefile", Kind::Make, "make: *** No targets specified and no makefile found.")]
#[case::no_headers(
    "no_build_folder",
    Kind::Make,
    "make: *** /lib/modules/6.9.0-none/build: No such file or directory."
)]
#[case::hunk("patch_hunk", Kind::Patch, "acpi_call.c: Hunk #1 FAILED at 10.")]
#[case::no_file("patch_no_file", Kind::Patch, "can't find file to patch at input line 3")]
#[case::malformed("patch_malformed", Kind::Patch, "acpi_call.c: patch: **** malformed patch at line 6: nonsense")]
#[case::program_of_make("tool_make", Kind::MissingProgram, "flex is not installed; install it")]
#[case::program_of_sh("tool_shell", Kind::MissingProgram, "flex is not installed; install it")]
#[case::program_of_bash("tool_bash", Kind::MissingProgram, "lemon is not installed; install it")]
#[case::program_of_env("python_missing", Kind::MissingProgram, "python2.7 is not installed; install it")]
#[case::python("python", Kind::Script, "ModuleNotFoundError: No module named 'elftools_gone'")]
#[case::perl("perl", Kind::Script, "Can't locate Gone/Module.pm in @INC")]
#[case::mode("not_executable", Kind::Script, "/bin/sh: 1: ./gen.sh: Permission denied")]
#[case::disk("disk_full", Kind::DiskFull, "/tmp/ccXJHjqN.s: Fatal error: acpi_call.o: No space left on device")]
#[case::disk_of_fixdep("disk_full_fixdep", Kind::DiskFull, "fixdep: not all data was written to the output")]
#[case::killed("memory_killed", Kind::Memory, "gcc-12: fatal error: Killed signal terminated program cc1")]
#[case::no_memory("memory_limit", Kind::Memory, "virtual memory exhausted: Cannot allocate memory")]
#[case::no_network("network", Kind::Network, "fatal: unable to access 'https://example.org/acpi_call.git/'")]
#[case::no_name("network_curl", Kind::Network, "curl: (6) Could not resolve host: example.org")]
#[case::outside("read_only", Kind::ReadOnly, "/bin/sh: 1: cannot create ro/generated.h: Read-only file system")]
fn real_failures_are_told_by_their_cause(#[case] name: &str, #[case] kind: Kind, #[case] text: &str) {
    let found = find(&real(name)).unwrap();
    assert_eq!(found.kind, kind, "{found:?}");
    assert!(found.text.starts_with(text), "{found:?}");
    let marked = found.excerpt.iter().filter(|line| line.starts_with(MARK)).count();
    assert!(marked == 1 && found.excerpt.len() <= 1 + 2 * AROUND, "{found:?}");
}

#[test]
fn a_build_that_succeeded_has_no_error() {
    assert_eq!(find(&real("ok")), None);
}

#[test]
fn two_lines_come_with_it() {
    let found = find(&real("missing_header")).unwrap();
    let wanted = [
        "  make: Entering directory '/usr/src/linux-headers-6.1.0-56-amd64'",
        "    CC [M]  acpi_call.o",
        "> acpi_call.c:1:10: fatal error: linux/sysctl_gone.h: No such file or directory",
        "      1 | #include <linux/sysctl_gone.h>",
        "        |          ^~~~~~~~~~~~~~~~~~~~~",
    ];
    assert_eq!((found.line, found.excerpt), (8, wanted.map(str::to_owned).to_vec()));
}

#[rstest]
#[case::timeout("a\n# stopped: it ran past its time limit\n\n# exit code: -1\n", Some((Kind::Timeout, "it ran past its time limit")))]
#[case::too_much("# command: make\ny\ny\n\n# stopped: its output grew past 64 MiB\n\n# exit code: -1\n", Some((Kind::LogFull, "its output grew past 64 MiB")))]
#[case::processes("fork: Resource temporarily unavailable at -e line 1.\n", Some((Kind::Processes, "fork: Resource temporarily unavailable at -e line 1.")))]
#[case::dash_forks("sh: 0: Cannot fork\n", Some((Kind::Processes, "sh: 0: Cannot fork")))]
#[case::perl_memory("Out of memory!\n", Some((Kind::Memory, "Out of memory!")))]
#[case::bus("Failed to connect to bus: No such file or directory\n", Some((Kind::Service, "Failed to connect to bus: No such file or directory")))]
#[case::left_behind("# command: x\n# left behind, and ended with it: 1 process: sleep\n\n# exit code: 1\n", Some((Kind::Unknown, "left behind, and ended with it: 1 process: sleep")))]
#[case::word_before_left_behind("# command: x\nboom\n# left behind, and ended with it: 1 process: sleep\n\n# exit code: 1\n", Some((Kind::Unknown, "boom")))]
#[case::left_behind_is_no_error(
    "# command: x\n# left behind, and ended with it: 1 process: sleep\n# exit code: 0\n",
    None
)]
#[case::no_space_after_errors("a.c:1:1: error: x\ncc: error: y: No space left on device\n", Some((Kind::DiskFull, "cc: error: y: No space left on device")))]
#[case::make_was_killed("make[1]: *** [Makefile:3: x.o] Killed\n", Some((Kind::Memory, "make[1]: *** [Makefile:3: x.o] Killed")))]
#[case::clang("clang: error: unknown argument: '-fx'\n", Some((Kind::Compiler, "clang: error: unknown argument: '-fx'")))]
#[case::clang_header("a.c:1:10: fatal error: 'x.h' file not found\n", Some((Kind::MissingHeader, "a.c:1:10: fatal error: 'x.h' file not found")))]
#[case::lld("ld.lld: error: undefined symbol: gone\n", Some((Kind::Linker, "ld.lld: error: undefined symbol: gone")))]
#[case::rust("error[E0425]: cannot find value `x`\n --> a.rs:1:1\n", Some((Kind::Compiler, "error[E0425]: cannot find value `x`")))]
#[case::older_modpost("ERROR: \"gone\" [/b/x.ko] undefined!\n", Some((Kind::Modpost, "ERROR: \"gone\" [/b/x.ko] undefined!")))]
#[case::kernel_not_configured("  ERROR: Kernel configuration is invalid.\n", Some((Kind::Unknown, "ERROR: Kernel configuration is invalid.")))]
#[case::generated_script("/bin/sh: 1: ./gen.sh: not found\n", Some((Kind::Script, "/bin/sh: 1: ./gen.sh: not found")))]
#[case::compiler_of_sh("/bin/sh: 1: gcc-12: not found\nmake[1]: *** [a.o] Error 127\n", Some((Kind::MissingProgram, "gcc-12 is not installed; install it (gcc, make, patch … are packages of that name)")))]
#[case::only_make("make: *** [Makefile:3: all] Error 1\n", Some((Kind::Make, "make: *** [Makefile:3: all] Error 1")))]
#[case::ignored("make: [Makefile:3: all] Error 1 (ignored)\n", None)]
#[case::earlier_command("# command: probe\na.c:1:1: error: x\n# exit code: 0\n# command: make\nplain words\nmake: Leaving directory '/x'\n\n# exit code: 3\n", Some((Kind::Unknown, "plain words")))]
#[case::nothing_failed("  CC [M] a.o\n# exit code: 0\n", None)]
#[case::checks_are_none("checking for flex... not found\nconfigure: done\n", None)]
#[case::empty("", None)]
fn other_words(#[case] log: &str, #[case] wanted: Option<(Kind, &str)>) {
    let found = find(log);
    assert_eq!(found.as_ref().map(|found| (found.kind, found.text.as_str())), wanted, "{found:?}");
}

/// Of a log that was too long, its end is looked at, and the line's number is still that of the whole.
#[test]
fn a_log_without_end_is_told_by_its_end() {
    let log = format!(
        "# command: make\na.c:1:1: error: x\n{}\n# stopped: its output grew past 64 MiB\n\n# exit code: -1\n",
        "yes\n".repeat(9000)
    );
    let found = find(&log).unwrap();
    assert_eq!((found.kind, found.text.as_str()), (Kind::LogFull, "its output grew past 64 MiB"));
    assert_eq!(log.lines().nth(found.line - 1), Some("# stopped: its output grew past 64 MiB"));
}

#[test]
fn every_pattern_is_one() {
    assert_eq!(SET.len(), CAUSES.len());
}

#[test]
fn what_no_source_can_mend_comes_with_advice() {
    let said = |name| find(&real(name)).unwrap().explained().last().unwrap().clone();
    assert!(said("network").starts_with("= builds have no network"));
    assert!(!said("compiler").starts_with(ADVICE));
}

#[test]
fn long_lines_are_cut() {
    let log = format!("a.c:1:1: error: {}\n", "ä".repeat(1000));
    let text = first_error(&log).unwrap();
    assert!(text.chars().count() == 401 && text.ends_with('…'));
}

proptest::proptest! {
    #[test]
    fn no_log_makes_it_fall(log in "(make.log of a/1 for|# command: |# exit code: 2|\n|error: |/a/1/build/|‘|make: \\*\\*\\* \\[|\\] Error|x.o|  CC |é){0,40}") {
        let _ = find(&log);
    }
}
