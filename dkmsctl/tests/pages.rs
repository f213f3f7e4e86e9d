//! The manual pages: sound to both formatters, and complete. (dkms(8) and dkmsctl(1) are held against their command lines
//! beside these.)
//!
//! They need mandoc and groff; tests/run.sh installs what is missing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use dkms_core::conf::directive::{DIRECTIVES, is_array};
use dkms_core::settings;
use rstest::rstest;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn page(name: &str) -> PathBuf {
    top().join("systemd/usr/share/man").join(name)
}

fn run(program: &str, args: &[&str], page: &Path) -> Output {
    let output = Command::new(program).args(args).arg(page).env("LC_ALL", "C.UTF-8").output();
    output.unwrap_or_else(|e| panic!("{program}: {e}; install it, or use tests/run.sh"))
}

#[rstest]
fn both_formatters_are_content(
    #[values("man1/dkmsctl.1", "man5/dkms.conf.5", "man8/dkms.8", "man8/dkmsd.8")] name: &str,
) {
    let path = page(name);
    let output = run("mandoc", &["-Tlint", "-Wwarning"], &path);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "mandoc");
    assert!(output.status.success());
    let output = run("groff", &["-ww", "-mandoc", "-Tutf8"], &path);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "groff");
    // Nothing but what a page is told by is left in capitals and dots: no macro was shown as text.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.len() > 2000);
    assert!(!text.lines().any(|line| line.trim_start().starts_with(".It") || line.contains(" Ns ")), "{name}");
}

/// The items of a page, with what is written below each up to the next.
fn items(page: &str) -> Vec<(&str, &str)> {
    let starts: Vec<usize> = page.match_indices("\n.It ").map(|(at, _)| at + 5).collect();
    let ends = starts.iter().skip(1).copied().chain([page.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| page[*start..end].split_once('\n')).collect()
}

#[test]
fn every_directive_has_its_rule_and_an_example() {
    let text = fs::read_to_string(page("man5/dkms.conf.5")).unwrap();
    let items = items(&text);
    for directive in DIRECTIVES {
        let written = if is_array(directive) { format!("{directive}[i]") } else { (*directive).to_owned() };
        let named = |item: &&(&str, &str)| item.0.split(' ').any(|word| word == written);
        let (_, rule) = items.iter().find(named).unwrap_or_else(|| panic!("{written} has no item in dkms.conf(5)"));
        assert!(rule.lines().any(|line| line.starts_with(".Dl ")), "{written} has no example");
        assert!(rule.lines().any(|line| !line.starts_with('.')), "{written} has no rule");
    }
}

/// Whole examples are fit to be copied.
#[test]
fn examples_pass_lint() {
    let text = fs::read_to_string(page("man5/dkms.conf.5")).unwrap();
    let blocks: Vec<&str> = text.split(".Bd -literal -offset indent\n").skip(1).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        let (conf, _) = block.split_once(".Ed\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("dkms.conf"), conf).unwrap();
        fs::write(folder.path().join("Makefile"), "").unwrap();
        let lint = ["lint", "--strict", "-k", "6.8.0-1-generic/x86_64"];
        let output = run(env!("CARGO_BIN_EXE_dkms"), &lint, folder.path());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "nothing to complain about\n", "{conf}");
    }
}

#[test]
fn every_setting_is_explained() {
    let text = fs::read_to_string(page("man8/dkmsd.8")).unwrap();
    let items = items(&text);
    let explained = |name: &str| items.iter().any(|(item, _)| item.split([' ', ',']).any(|word| word == name));
    for name in settings::NAMES {
        assert!(explained(name), "{name} of framework.conf");
    }
    let ours = fs::read_to_string(top().join("systemd/etc/dkms/dkmsd.toml")).unwrap();
    let names = ours.lines().filter_map(|line| line.trim_start_matches('#').split_once(" = "));
    let names: Vec<_> = names.map(|(name, _)| name).filter(|name| !name.contains(' ')).collect();
    assert!(names.len() >= 8, "{names:?}");
    for name in names {
        assert!(explained(name), "{name} of dkmsd.toml");
    }
}

#[test]
fn every_call_and_signal_is_named() {
    let text = fs::read_to_string(page("man8/dkmsd.8")).unwrap();
    let contract = fs::read_to_string(top().join("dkmsd/dbus/org.dkmsd1.xml")).unwrap();
    let names = contract.lines().filter_map(|line| {
        let line = line.trim_start();
        let rest = line.strip_prefix("<method name=\"").or_else(|| line.strip_prefix("<signal name=\""))?;
        rest.split('"').next()
    });
    for name in names {
        assert!(text.split([' ', '\n']).any(|word| word == name), "dkmsd(8) does not name {name}");
    }
    for action in ["build", "install", "remove", "cancel"] {
        assert!(text.contains(&format!("org.dkmsd1.{action}")));
    }
}

#[test]
fn states_are_those_of_the_contract() {
    let text = fs::read_to_string(page("man8/dkmsd.8")).unwrap();
    let contract = fs::read_to_string(top().join("dkmsd/dbus/org.dkmsd1.xml")).unwrap();
    let states = contract.split("States:").nth(1).and_then(|rest| rest.split('.').next()).unwrap();
    for state in states.split(',').map(str::trim) {
        let named = |(item, _): &(&str, &str)| item.split([' ', ',']).any(|word| word == state);
        assert!(items(&text).iter().any(named), "dkmsd(8) does not explain {state}");
    }
}
