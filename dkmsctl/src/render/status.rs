//! `dkmsctl status`.

use std::collections::BTreeSet;
use std::fmt::Write;

use dkms_core::bus::{KernelRow, StatusRow};

use super::{Cell, Look, Paint, excerpt, or_dash, subject, table, tame};

/// What `status` says where there is nothing.
const EMPTY: &str = "no packages yet: put a driver source with a dkms.conf into /usr/src/NAME-VERSION\n";

/// What the firmware and the running kernel ask of modules, in the daemon's words.
#[derive(Debug, Default)]
pub(crate) struct Boot {
    /// `on`, `off`, or empty.
    pub(crate) secure_boot: String,
    /// `none`, `integrity`, `confidentiality`, or empty.
    pub(crate) lockdown: String,
}

/// The table, what the first compiler errors were, and what can be done.
pub(crate) fn status(rows: &[StatusRow], kernels: &[KernelRow], boot: &Boot, look: Look) -> String {
    if rows.is_empty() {
        return EMPTY.into();
    }
    let cells: Vec<[Cell; 5]> = rows
        .iter()
        .map(|r| {
            let (word, paint) = match r.state.as_str() {
                state if r.stale => (format!("{state} (stale)"), Paint::Attention),
                state => (state.to_owned(), Paint::of(state)),
            };
            [
                r.package.as_str().into(),
                r.version.as_str().into(),
                or_dash(&r.kernel).into(),
                Cell::painted(word, paint),
                why(r).into(),
            ]
        })
        .collect();
    let mut text = table(["PACKAGE", "VERSION", "KERNEL", "STATE", "REASON"], &cells, look);
    text.push_str(&footer(rows, kernels, look));
    text.push_str(&machine(boot, kernels));
    text
}

/// That builds are not kept apart from the system, and why; nothing where they are.
pub(crate) fn unconfined(why: &str, look: Look) -> String {
    if why.is_empty() {
        return String::new();
    }
    format!("\n{}: {}\n", Paint::Attention.apply("builds are not kept apart from the system", look), tame(why))
}

/// One line on a machine that does not take every module.
fn machine(boot: &Boot, kernels: &[KernelRow]) -> String {
    let said = [
        (boot.secure_boot == "on").then(|| "Secure Boot is on".to_owned()),
        (!matches!(boot.lockdown.as_str(), "" | "none")).then(|| format!("lockdown is {}", tame(&boot.lockdown))),
        kernels
            .iter()
            .any(|k| k.running && !k.enforces.is_empty())
            .then(|| "this kernel takes signed modules only".into()),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    if said.is_empty() { String::new() } else { format!("\n{}; more: dkmsctl mok status\n", said.join(", ")) }
}

/// One line; the first compiler error tells more than "its build failed".
fn why(row: &StatusRow) -> &str {
    match row {
        r if r.state == "failed" && !r.first_error.is_empty() => &r.first_error,
        r if r.reason.is_empty() => &r.error,
        r => &r.reason,
    }
}

fn footer(rows: &[StatusRow], kernels: &[KernelRow], look: Look) -> String {
    let mut text = String::new();
    let failed: Vec<_> = rows.iter().filter(|r| r.state == "failed").collect();
    if let Some(first) = failed.first() {
        let _ = write!(
            text,
            "\n{}: tried again by itself when the source or the headers change.\n{}  why: dkmsctl logs {name}/{version} -k {kernel}\n  now: dkmsctl rebuild {name}/{version} -k {kernel}\n",
            Paint::Bad.apply(&format!("{} failed", failed.len()), look),
            told(first, failed.len(), look),
            name = first.package,
            version = first.version,
            kernel = first.kernel,
        );
    }
    let waiting: BTreeSet<_> =
        rows.iter().filter(|r| r.state == "waiting-for-headers").map(|r| (&r.kernel, &r.arch)).collect();
    for (kernel, arch) in waiting {
        let row = kernels.iter().find(|k| (&k.kernel, &k.arch) == (kernel, arch));
        let next = match row {
            Some(k) if k.headers == "settling" => "they are being unpacked".to_owned(),
            Some(k) if !k.package.is_empty() => format!("install {}", tame(&k.package)),
            Some(k) if !k.reason.is_empty() => tame(&k.reason),
            _ => "install the package that brings them".to_owned(),
        };
        let _ = write!(text, "\n{}: {next}\n", Paint::Attention.apply(&format!("{kernel} waits for headers"), look));
    }
    let refused: Vec<_> = rows.iter().filter(|r| !r.refused.is_empty()).collect();
    if let Some(first) = refused.first() {
        let _ = write!(
            text,
            "\n{}: their kernel takes modules only that are signed by a key it trusts.\n  {}: {}\n",
            Paint::Bad.apply(&format!("{} will not load", refused.len()), look),
            subject(&first.package, &first.version, &first.kernel),
            tame(&first.refused),
        );
    }
    let broken: Vec<_> = rows.iter().filter(|r| r.state == "broken").collect();
    if let Some(first) = broken.first() {
        let _ = write!(
            text,
            "\n{}: put the source of {id} back into /usr/src, or forget it: dkmsctl remove {id}\n",
            Paint::Bad.apply(&format!("{} broken", broken.len()), look),
            id = subject(&first.package, &first.version, ""),
        );
    }
    text
}

/// What the log of the first failed build says; of several, which one that is.
fn told(row: &StatusRow, failed: usize, look: Look) -> String {
    if row.excerpt.is_empty() {
        return String::new();
    }
    let of =
        if failed == 1 { String::new() } else { format!("  {}:\n", subject(&row.package, &row.version, &row.kernel)) };
    of + &excerpt(&row.excerpt, 4, look)
}

/// The one-line form of a row, for `add` and other verbs that end with a look at it.
pub(crate) fn line(row: &StatusRow) -> String {
    let stale = if row.stale { " (stale)" } else { "" };
    let mut text = format!("{}: {}{stale}", subject(&row.package, &row.version, &row.kernel), row.state);
    let why = why(row);
    if !why.is_empty() {
        let _ = write!(text, ", {}", tame(why));
    }
    text
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn row(package: &str, version: &str, kernel: &str, state: &str) -> StatusRow {
        StatusRow {
            package: package.into(),
            version: version.into(),
            kernel: kernel.into(),
            arch: if kernel.is_empty() { "" } else { "x86_64" }.into(),
            state: state.into(),
            ..StatusRow::default()
        }
    }

    #[test]
    fn a_missing_sandbox_is_told() {
        assert_eq!(unconfined("", Look::default()), "");
        let said = unconfined("they run as root", Look::default());
        assert_eq!(said, "\nbuilds are not kept apart from the system: they run as root\n");
    }

    #[test]
    fn nothing_is_explained() {
        assert_eq!(status(&[], &[], &Boot::default(), Look::default()), EMPTY);
    }

    fn boot(secure_boot: &str, lockdown: &str) -> Boot {
        Boot { secure_boot: secure_boot.into(), lockdown: lockdown.into() }
    }

    #[rstest]
    #[case::any_module(boot("off", "none"), "", "")]
    #[case::not_known(boot("", ""), "", "")]
    #[case::secure_boot(boot("on", "none"), "", "Secure Boot is on; more: dkmsctl mok status")]
    #[case::lockdown(boot("", "integrity"), "", "lockdown is integrity; more: dkmsctl mok status")]
    #[case::by_command_line(
        boot("off", "none"),
        "module.sig_enforce",
        "this kernel takes signed modules only; more: dkmsctl mok status"
    )]
    #[case::all(
        boot("on", "integrity"),
        "it is locked down",
        "Secure Boot is on, lockdown is integrity, this kernel takes signed modules only; more: dkmsctl mok status"
    )]
    fn a_machine_that_is_choosy_says_so_in_one_line(#[case] boot: Boot, #[case] enforces: &str, #[case] wanted: &str) {
        let kernels = [
            KernelRow { kernel: "6.1".into(), running: true, enforces: enforces.into(), ..KernelRow::default() },
            KernelRow { kernel: "6.12".into(), enforces: "CONFIG_MODULE_SIG_FORCE".into(), ..KernelRow::default() },
        ];
        let text = status(&[row("a", "1", "6.1", "installed")], &kernels, &boot, Look::default());
        let (_, after) = text.split_once("6.1     installed").unwrap();
        assert_eq!(after.trim(), wanted);
    }

    /// A signature that nobody can judge is none that is refused.
    #[test]
    fn what_will_not_load_is_what_the_daemon_calls_refused() {
        let kernels = [KernelRow { kernel: "6.1".into(), enforces: "why".into(), ..KernelRow::default() }];
        let foreign = StatusRow { signing: "signed".into(), ..row("a", "1", "6.1", "installed") };
        let told = |rows: &[StatusRow]| status(rows, &kernels, &Boot::default(), Look::default());
        assert!(!told(std::slice::from_ref(&foreign)).contains("will not load"));
        let refused = StatusRow { refused: "its modules are not signed; reboot".into(), ..foreign.clone() };
        let text = told(&[foreign, refused]);
        assert!(text.contains("\n1 will not load: ") && text.contains("its modules are not signed; reboot"), "{text}");
    }

    #[test]
    fn everything_at_once() {
        let rows = [
            StatusRow {
                stale: true,
                reason: "the headers changed".into(),
                ..row("acpi-call", "1.2.2", "6.1.0-56-amd64", "installed")
            },
            row("acpi-call", "1.2.2", "6.1.0-55-amd64", "installed"),
            StatusRow {
                first_error: "hello.c:3:1: error: unknown type\x1b[2J".into(),
                excerpt: "    CC [M]  hello.o\n> hello.c:3:1: error: unknown type\x1b[2J\n      3 | gone x;".into(),
                error: "make ended with 2".into(),
                reason: "its build failed".into(),
                ..row("hello", "1.0", "6.1.0-56-amd64", "failed")
            },
            StatusRow { reason: "no headers".into(), ..row("hello", "1.0", "6.12.1-amd64", "waiting-for-headers") },
            row("lime", "1.9", "", "added"),
            row("old", "0.1", "", "broken"),
        ];
        let kernels = [KernelRow {
            kernel: "6.12.1-amd64".into(),
            arch: "x86_64".into(),
            headers: "missing".into(),
            package: "linux-headers-6.12.1-amd64".into(),
            ..KernelRow::default()
        }];
        insta::assert_snapshot!(status(&rows, &kernels, &Boot::default(), Look::default()), @r"
        PACKAGE    VERSION  KERNEL          STATE                REASON
        acpi-call  1.2.2    6.1.0-56-amd64  installed (stale)    the headers changed
        acpi-call  1.2.2    6.1.0-55-amd64  installed
        hello      1.0      6.1.0-56-amd64  failed               hello.c:3:1: error: unknown type [2J
        hello      1.0      6.12.1-amd64    waiting-for-headers  no headers
        lime       1.9      -               added
        old        0.1      -               broken

        1 failed: tried again by itself when the source or the headers change.
                CC [M]  hello.o
            > hello.c:3:1: error: unknown type [2J
                  3 | gone x;
          why: dkmsctl logs hello/1.0 -k 6.1.0-56-amd64
          now: dkmsctl rebuild hello/1.0 -k 6.1.0-56-amd64

        6.12.1-amd64 waits for headers: install linux-headers-6.12.1-amd64

        1 broken: put the source of old/0.1 back into /usr/src, or forget it: dkmsctl remove old/0.1
        ");
    }
}
