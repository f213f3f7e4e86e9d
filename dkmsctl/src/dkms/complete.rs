//! `dkms --complete WORD…`, which the shells' completion calls: what fits at the end of the words ([`complete`]).
//!
//! `--complete` is known as the first argument only and is in no help; all words behind it are those of a command line
//! that is being written, never to be acted on.

use std::ffi::OsString;
use std::io::Write;

use complete::Kind::{Arch, Directive, File, Folder, Free, Kernel, Package, Template, Version};
use complete::{Action, Choice, Grammar, Kind, Paths, Place};

use crate::lint;

/// Every action, what it does, and the paths that can stand for a package.
const ACTIONS: [(&str, Paths, &str); 15] = [
    ("add", Paths::Files, "Take a driver source into the tree"),
    ("build", Paths::Files, "Build for a kernel, without installing"),
    ("install", Paths::Files, "Install on a kernel, building first when needed"),
    ("uninstall", Paths::None, "Take a package off a kernel; what was built stays"),
    ("unbuild", Paths::None, "Take a package off a kernel and drop what was built"),
    ("remove", Paths::None, "Take a package off kernels, and forget it with the last"),
    ("status", Paths::None, "Show what is added, built and installed"),
    ("autoinstall", Paths::None, "Install every package that wants it on a kernel"),
    ("match", Paths::None, "Install on a kernel what is installed on another"),
    ("mktarball", Paths::None, "Pack a package, with what was built of it"),
    ("ldtarball", Paths::Files, "Unpack such an archive into the tree"),
    ("generate_mok", Paths::None, "Make the key that modules are signed with"),
    ("kernel_preinst", Paths::None, "Make way for a kernel that is about to be installed"),
    ("kernel_postinst", Paths::None, "Install every package that wants it on a new kernel"),
    ("kernel_prerm", Paths::None, "Clean up before a kernel is removed"),
];

/// Which actions an option goes with.
enum Of {
    Any,
    None,
    These(&'static [&'static str]),
    /// Those about one package, or chosen ones.
    Packages,
    /// Those on kernels.
    Kernels,
}

const PACKAGES: &[&str] =
    &["add", "build", "install", "uninstall", "unbuild", "remove", "status", "match", "mktarball"];
const KERNELS: &[&str] = &[
    "build",
    "install",
    "uninstall",
    "unbuild",
    "remove",
    "status",
    "autoinstall",
    "match",
    "mktarball",
    "kernel_preinst",
    "kernel_postinst",
    "kernel_prerm",
];

/// Long name, short name, value, whether it may be repeated, actions, what it does.
type Row = (&'static str, Option<char>, Option<Kind>, bool, Of, &'static str);

#[rustfmt::skip]
const OPTIONS: [Row; 30] = [
    ("module", Some('m'), Some(Package), false, Of::Packages, "Which package: NAME or NAME/VERSION"),
    ("", Some('v'), Some(Version), false, Of::Packages, "Which version of it"),
    ("kernelver", Some('k'), Some(Kernel), true, Of::Kernels, "Which kernel: KERNEL or KERNEL/ARCH"),
    ("arch", Some('a'), Some(Arch), true, Of::Kernels, "Which architecture"),
    ("all", None, None, false, Of::These(&["uninstall", "unbuild", "remove", "mktarball", "status"]), "Every kernel that it is built for"),
    ("force", None, None, false, Of::These(&["add", "build", "install", "autoinstall", "match", "ldtarball"]), "Do it although it is done already, or a check says no"),
    ("force-version-override", None, None, false, Of::These(&["install", "autoinstall", "match"]), "Install over newer modules of the kernel's own"),
    ("templatekernel", None, Some(Template), false, Of::These(&["match"]), "The kernel to be like"),
    ("archive", None, Some(File), false, Of::These(&["mktarball", "ldtarball"]), "The archive to write or read"),
    ("binaries-only", None, None, false, Of::These(&["mktarball"]), "Pack modules without their source"),
    ("source-only", None, None, false, Of::These(&["mktarball"]), "Pack the source alone"),
    ("no-depmod", None, None, false, Of::These(&["install", "uninstall", "unbuild", "remove", "autoinstall"]), "Leave depmod to the caller"),
    ("modprobe-on-install", None, None, false, Of::These(&["install", "autoinstall"]), "Load modules for hardware that is there"),
    ("symlink-modules", None, None, false, Of::These(&["install", "autoinstall"]), "Link modules instead of copying them"),
    ("rpm_safe_upgrade", None, None, false, Of::These(&["remove"]), "Keep a package that its new RPM has added again"),
    ("", Some('c'), Some(File), false, Of::These(&["add", "build", "install"]), "A dkms.conf elsewhere"),
    ("directive", None, Some(Directive), true, Of::These(&["add", "build", "install", "autoinstall"]), "NAME=VALUE in place of what dkms.conf says"),
    ("config", None, Some(File), false, Of::These(&["build", "install", "autoinstall"]), "The kernel's configuration"),
    ("kernelsourcedir", None, Some(Folder), false, Of::These(&["build", "install", "autoinstall"]), "The kernel's headers"),
    ("", Some('j'), Some(Free), false, Of::These(&["build", "install", "autoinstall"]), "How many compilers at once; 0: no limit"),
    ("json", None, None, false, Of::These(&["status"]), "Print JSON"),
    ("dkmstree", None, Some(Folder), false, Of::Any, "The tree, in place of /var/lib/dkms"),
    ("sourcetree", None, Some(Folder), false, Of::Any, "The sources, in place of /usr/src"),
    ("installtree", None, Some(Folder), false, Of::Any, "The modules, in place of /lib/modules"),
    ("root", None, Some(Folder), false, Of::Any, "Work on the system below this folder"),
    ("quiet", Some('q'), None, false, Of::Any, "Print nothing"),
    ("verbose", None, None, false, Of::Any, "Print what commands print"),
    ("debug", None, None, false, Of::Any, "Print what is done"),
    ("version", Some('V'), None, false, Of::None, "Print the interface's version"),
    ("help", Some('h'), None, false, Of::Any, "Print a summary"),
];

/// Whether the option of this long name has a value behind it.
pub(crate) fn takes_value(long: &str) -> bool {
    !long.is_empty() && OPTIONS.iter().any(|(name, _, value, ..)| *name == long && value.is_some())
}

/// Whether the option of this letter has a value behind it.
pub(crate) fn letter_takes_value(letter: char) -> bool {
    OPTIONS.iter().any(|(_, short, value, ..)| *short == Some(letter) && value.is_some())
}

/// The command line of `dkms`.
fn grammar() -> Grammar {
    let action = |(word, paths, help): &(&str, Paths, &str)| Action {
        word: (*word).to_owned(),
        help: (*help).to_owned(),
        paths: *paths,
        words: Vec::new(),
    };
    let mut grammar = Grammar { actions: ACTIONS.iter().map(action).collect(), options: Vec::new() };
    let words = |words: &[&str]| Place::With(words.iter().map(|w| (*w).to_owned()).collect());
    for (long, short, value, many, of, help) in OPTIONS {
        let place = match of {
            Of::Any => words(&ACTIONS.map(|(word, ..)| word)),
            Of::None => Place::Alone,
            Of::These(actions) => words(actions),
            Of::Packages => words(PACKAGES),
            Of::Kernels => words(KERNELS),
        };
        let (long, help) = (long.to_owned(), help.to_owned());
        grammar.options.push(Choice { long, short, help, value, many, place });
    }
    let command = clap::Command::new("lint");
    let command = <lint::Args as clap::Args>::augment_args(command).about("Judge a dkms.conf");
    grammar.add(&command);
    grammar
}

/// Prints what fits at the end of the words. Nobody is told of what goes wrong.
pub(crate) fn run(words: &[OsString], out: &mut impl Write) {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let _ = complete::answer(&grammar(), &words, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{args, usage};
    use rstest::rstest;
    use std::collections::BTreeSet;

    const PAGE: &str = include_str!("../../../systemd/usr/share/man/man8/dkms.8");

    /// The options of `--help`, short ones with one dash.
    fn helped() -> BTreeSet<String> {
        let words =
            usage::TEXT.split([' ', '\n', ',', '(', ')']).filter(|word| word.starts_with('-') && word.len() > 1);
        words.map(str::to_owned).collect()
    }

    fn offered() -> BTreeSet<String> {
        let options = grammar().options;
        let long = options.iter().filter(|o| !o.long.is_empty()).map(|o| format!("--{}", o.long));
        long.chain(options.iter().filter_map(|o| o.short).map(|letter| format!("-{letter}"))).collect()
    }

    /// Whether the page has an item for an option.
    fn explained(option: &str) -> bool {
        let macro_ = format!("Fl {}", &option[1..]);
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || "-_".contains(c));
        let mut lines = PAGE.lines().filter(|line| line.starts_with(".It") || line.starts_with(".Fl"));
        lines.any(|line| line.match_indices(&macro_).any(|(at, _)| ends(&line[at + macro_.len()..])))
    }

    #[test]
    fn every_action_is_offered_and_explained() {
        let offered: Vec<_> = grammar().actions.into_iter().map(|a| a.word).collect();
        for (action, _) in args::ACTIONS {
            assert!(offered.iter().any(|o| o == action), "{action} is not completed");
        }
        for action in offered {
            assert!(PAGE.contains(&format!("\n.It Cm {action}\n")), "dkms(8) does not explain {action}");
        }
    }

    #[test]
    fn every_option_of_the_help_is_offered_and_explained() {
        for option in helped() {
            assert!(offered().contains(&option), "{option} is not completed");
            assert!(explained(&option), "dkms(8) does not explain {option}");
        }
    }

    #[test]
    fn every_option_that_is_understood_is_explained() {
        let switches = args::SWITCHES.iter().map(|(name, _)| *name);
        let paths = args::PATHS.iter().map(|(name, _)| *name);
        for name in switches.chain(paths).chain(args::DEPRECATED) {
            assert!(explained(&format!("--{name}")), "dkms(8) does not explain --{name}");
        }
    }

    /// What completion takes for a switch, the command line does too; and the other way round.
    #[test]
    fn values_are_where_the_command_line_has_them() {
        for option in grammar().options.into_iter().filter(|o| !o.long.is_empty() && o.long != "strict") {
            let switch = args::SWITCHES.iter().any(|(name, _)| *name == option.long);
            let path = args::PATHS.iter().any(|(name, _)| *name == option.long);
            assert!(!switch || option.value.is_none(), "--{} takes no value", option.long);
            assert!(!path || option.value.is_some(), "--{} takes a path", option.long);
            let word = format!("--{}", option.long);
            let given = if option.value.is_some() { vec![word, "a=1".into()] } else { vec![word] };
            let parsed = args::parse(given.into_iter().map(OsString::from), &|_| args::Found::Nothing, &mut drop);
            // Some go with nothing else or with an action; what counts is that they are known.
            assert!(!parsed.is_err_and(|e| e.code == 2), "--{} is not understood", option.long);
        }
    }

    #[rstest]
    #[case::of_a_table(PACKAGES)]
    #[case::of_a_table(KERNELS)]
    fn tables_name_actions(#[case] table: &[&str]) {
        assert!(table.iter().all(|word| ACTIONS.iter().any(|(action, ..)| action == word)));
    }

    #[test]
    fn options_name_actions() {
        for (long, .., of, _) in OPTIONS {
            if let Of::These(actions) = of {
                assert!(actions.iter().all(|word| ACTIONS.iter().any(|(action, ..)| action == word)), "{long}");
            }
        }
    }
}
