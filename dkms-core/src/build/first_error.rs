//! From a build log, the line that a person needs.

/// The first line of a log that says what is wrong; none when nothing in it looks like an error.
///
/// The compiler's own word wins over make's, which only repeats that something failed.
#[must_use]
pub fn first_error(log: &str) -> Option<String> {
    let lines = || log.lines().map(str::trim_end).filter(|line| !line.starts_with('#'));
    let found = lines().find(|line| is_cause(line)).or_else(|| lines().find(|line| is_consequence(line)))?;
    Some(match missing_program(found) {
        Some(program) => {
            format!("{program} is not installed; install it (gcc, make, patch … are packages of that name)")
        }
        None => shorten(found.trim_start()),
    })
}

/// The program that a shell did not find: `bash: line 6: make: command not found`, `/bin/sh: 1: gcc-12: not found`.
fn missing_program(line: &str) -> Option<&str> {
    let rest = line.strip_suffix(": command not found").or_else(|| line.strip_suffix(": not found"))?;
    let (shell, program) = rest.rsplit_once(": ")?;
    let by_a_shell = shell.split(": ").next().is_some_and(|first| first.ends_with("sh"));
    (by_a_shell && !program.is_empty() && !program.contains([' ', '/'])).then_some(program)
}

/// Words of compiler, assembler, modpost, linker, patch and the system.
fn is_cause(line: &str) -> bool {
    const MARKS: &[&str] = &[
        ": error: ",
        ": fatal error: ",
        "ERROR: modpost: ",
        ": undefined reference to ",
        ": Error: ",
        "No space left on device",
        "No rule to make target",
        "internal compiler error",
        "virtual memory exhausted",
        "Cannot allocate memory",
        ": command not found",
        ": not found",
        "error: ld",
        "error while loading shared libraries",
    ];
    MARKS.iter().any(|mark| line.contains(mark))
        || (line.starts_with("Hunk #") && line.contains("FAILED"))
        || line.starts_with("error: ")
        || line.starts_with("ERROR: ")
}

fn is_consequence(line: &str) -> bool {
    line.starts_with("make") && line.contains("*** ")
}

/// One line of a status table: long messages (a whole command line in a linker's) are cut.
fn shorten(line: &str) -> String {
    const LONGEST: usize = 400;
    match line.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "# command: make -C /x\nmake: Entering directory '/x'\n  CC [M]  a.o\na.c:3:1: warning: unused\na.c:7:5: error: unknown type name 'foo'\nmake[1]: *** [a.o] Error 1\n",
        Some("a.c:7:5: error: unknown type name 'foo'")
    )]
    #[case("ERROR: modpost: \"gone\" [/b/x.ko] undefined!\n", Some("ERROR: modpost: \"gone\" [/b/x.ko] undefined!"))]
    #[case(
        "a.c:1:10: fatal error: x.h: No such file or directory\n",
        Some("a.c:1:10: fatal error: x.h: No such file or directory")
    )]
    #[case(
        "make: *** /lib/x: No such file or directory.  Stop.\n",
        Some("make: *** /lib/x: No such file or directory.  Stop.")
    )]
    #[case("/bin/sh: 1: ./gen.sh: not found\n", Some("/bin/sh: 1: ./gen.sh: not found"))]
    #[case("Hunk #1 FAILED at 3.\n", Some("Hunk #1 FAILED at 3."))]
    #[case("  CC [M] a.o\n# exit code: 0\n", None)]
    fn finds_the_line(#[case] log: &str, #[case] wanted: Option<&str>) {
        assert_eq!(first_error(log).as_deref(), wanted);
    }

    #[rstest]
    #[case("bash: line 6: make: command not found\n", Some("make"))]
    #[case("/bin/sh: 1: gcc-12: not found\nmake[1]: *** [a.o] Error 127\n", Some("gcc-12"))]
    #[case("sh: 1: flex: not found\n", Some("flex"))]
    #[case("/bin/sh: 1: ./gen.sh: not found\n", None)]
    fn a_program_that_is_missing_is_to_be_installed(#[case] log: &str, #[case] program: Option<&str>) {
        let said = first_error(log).unwrap();
        let wanted = program.map(|program| format!("{program} is not installed; install it"));
        assert_eq!(wanted.is_some(), said.contains("is not installed"), "{said}");
        assert!(said.starts_with(&wanted.unwrap_or_default()), "{said}");
    }
}
