use rstest::rstest;

use crate::{Action, Choice, Entry, Grammar, Kernel, Kind, Line, Offer, Package, Paths, Place, Tree};

/// A machine with two added packages, one broken, one source that is not added, and three kernels.
struct Machine;

fn entry(kernel: &str, arch: &str, installed: bool) -> Entry {
    Entry { kernel: kernel.into(), arch: arch.into(), installed }
}

fn package(name: &str, version: &str, entries: Vec<Entry>) -> Package {
    Package { name: name.into(), version: version.into(), broken: name == "gone", entries }
}

impl Tree for Machine {
    fn packages(&self) -> Vec<Package> {
        vec![
            package("gone", "1", Vec::new()),
            package("hello", "1.9", Vec::new()),
            package("hello", "1.10", vec![entry("6.1", "x86_64", false), entry("6.1", "i686", false)]),
            package("r8169", "2.2LK", vec![entry("6.12", "x86_64", true), entry("5.10", "x86_64", true)]),
        ]
    }

    fn sources(&self) -> Vec<(String, String)> {
        [("hello", "1.9"), ("vpoll", "0.1"), ("gone", "1"), ("$(evil)", "1")]
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .to_vec()
    }

    fn kernels(&self) -> Vec<Kernel> {
        [("6.1", true), ("6.12", true), ("6.13", false)]
            .map(|(release, headers)| Kernel { release: release.to_owned(), headers })
            .to_vec()
    }

    fn arch(&self) -> String {
        "x86_64".to_owned()
    }
}

/// Reading it would be a waste of time.
struct Untouched;

impl Tree for Untouched {
    fn packages(&self) -> Vec<Package> {
        panic!("packages were read")
    }
    fn sources(&self) -> Vec<(String, String)> {
        panic!("sources were read")
    }
    fn kernels(&self) -> Vec<Kernel> {
        panic!("kernels were read")
    }
    fn arch(&self) -> String {
        panic!("the machine was asked")
    }
}

fn grammar() -> Grammar {
    let action = |(word, paths): (&str, Paths)| {
        let words = if word == "mok" { ["status", "generate"].as_slice() } else { &[] };
        let words = words.iter().map(|word| ((*word).to_owned(), String::new())).collect();
        Action { word: word.to_owned(), help: String::new(), paths, words }
    };
    let place = |actions: &str| match actions {
        "" => Place::Everywhere,
        "-" => Place::Alone,
        actions => Place::With(actions.split(' ').map(str::to_owned).collect()),
    };
    let option = |(long, short, value, actions): (&str, Option<char>, Option<Kind>, &str)| Choice {
        long: long.to_owned(),
        short,
        help: String::new(),
        value,
        many: matches!(value, Some(Kind::Kernel | Kind::Arch | Kind::Directive)),
        place: place(actions),
    };
    let actions = [
        ("add", Paths::Files),
        ("build", Paths::None),
        ("install", Paths::Files),
        ("uninstall", Paths::None),
        ("unbuild", Paths::None),
        ("remove", Paths::None),
        ("match", Paths::None),
        ("status", Paths::None),
        ("autoinstall", Paths::None),
        ("ldtarball", Paths::Files),
        ("mok", Paths::None),
    ];
    let options = [
        ("module", Some('m'), Some(Kind::Package), ""),
        ("", Some('v'), Some(Kind::Version), ""),
        ("kernelver", Some('k'), Some(Kind::Kernel), ""),
        ("arch", Some('a'), Some(Kind::Arch), ""),
        ("templatekernel", None, Some(Kind::Template), "match"),
        ("archive", None, Some(Kind::File), "ldtarball"),
        ("root", None, Some(Kind::Folder), ""),
        ("directive", None, Some(Kind::Directive), "build install"),
        ("quiet", Some('q'), None, ""),
        ("force", None, None, "add install"),
        ("version", Some('V'), None, "-"),
    ];
    Grammar { actions: actions.map(action).into(), options: options.map(option).into() }
}

fn offer(line: &str, tree: &dyn Tree) -> Offer {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let grammar = grammar();
    Line::new(&grammar, &words).offer(tree)
}

fn words(offer: &Offer) -> String {
    offer.candidates.iter().map(|c| c.word.as_str()).collect::<Vec<_>>().join(" ")
}

/// A blank at the end: a new word. `…` stands for the files of the shell, `/…` for its folders.
#[rstest]
// Actions.
#[case("ins", "install")]
#[case("un", "uninstall unbuild")]
#[case("-q ins", "install")]
#[case("r8169/2.2LK unb", "unbuild")]
#[case("nonsense", "")]
#[case("-m install ins", "install")]
// Words of an action's own.
#[case("mok ", "status generate")]
#[case("mok g", "generate")]
#[case("mok generate -q", "-q")]
#[case("mok generate ", "--module -v --kernelver --arch --root --quiet")]
// Packages.
#[case("add ", "gone/1 vpoll/0.1 …")]
#[case("add v", "vpoll/0.1 …")]
#[case("add ./", "…")]
#[case("add ~", "…")]
#[case("build ", "gone/1 hello/1.10 hello/1.9 r8169/2.2LK vpoll/0.1")]
#[case("install h", "hello/1.10 hello/1.9")]
#[case("install /usr/", "…")]
#[case("install x", "…")]
#[case("remove ", "gone/1 hello/1.10 hello/1.9 r8169/2.2LK")]
#[case("status ", "gone/1 hello/1.10 hello/1.9 r8169/2.2LK")]
#[case("uninstall ", "r8169/2.2LK")]
#[case("uninstall -k 6.1 ", "")]
#[case("uninstall -k 6.12 ", "r8169/2.2LK")]
#[case("unbuild ", "hello/1.10 r8169/2.2LK")]
#[case("unbuild --kernelver=6.1/i686 ", "hello/1.10")]
#[case("unbuild -k6.1/s390x ", "")]
#[case("match ", "r8169/2.2LK")]
#[case("remove -v 1.9 ", "hello/1.9")]
#[case("ldtarball ", "…")]
// Their parts.
#[case("remove -m ", "gone hello r8169")]
#[case("remove -m hello/", "hello/1.10 hello/1.9")]
#[case("remove -m hello -v ", "1.10 1.9")]
#[case("remove -v ", "1 1.10 1.9 2.2LK")]
#[case("-m ", "gone hello r8169")]
#[case("autoinstall -m ", "gone hello r8169")]
#[case("uninstall --module=", "--module=r8169")]
// Kernels.
#[case("install -k ", "6.12 6.1")]
#[case("install -qk ", "6.12 6.1")]
#[case("install --kernelver ", "6.12 6.1")]
#[case("install --kernelver=6.12", "--kernelver=6.12")]
#[case("install -k 6.12 -k ", "6.1")]
#[case("install -k 6.1/", "6.1/x86_64")]
#[case("autoinstall -k ", "6.12 6.1")]
#[case("uninstall -k ", "6.12 5.10")]
#[case("uninstall hello/1.10 -k ", "")]
#[case("unbuild hello/1.10 -k ", "6.1")]
#[case("unbuild hello/1.10 -k 6.1/", "6.1/i686 6.1/x86_64")]
#[case("remove r8169/2.2LK -k ", "6.12 5.10")]
#[case("status -k ", "6.13 6.12 6.1 5.10")]
#[case("match --templatekernel ", "6.12 5.10")]
#[case("match --templatekernel 5.10 -k ", "6.12 6.1")]
#[case("unbuild -a ", "i686 x86_64")]
#[case("unbuild -k 6.12 -a ", "x86_64")]
// Other values.
#[case("ldtarball --archive ", "…")]
#[case("ldtarball --archive=a", "…")]
#[case("install --root ", "/…")]
#[case("install --directive BUILD_EXCLUSIVE_KERNEL_M", "BUILD_EXCLUSIVE_KERNEL_MIN= BUILD_EXCLUSIVE_KERNEL_MAX=")]
#[case("install --directive=POST_A", "--directive=POST_ADD=")]
// Options.
#[case("add --", "--module --kernelver --arch --root --quiet --force")]
#[case("add -q --", "--module --kernelver --arch --root --force")]
#[case("add -", "--module -v --kernelver --arch --root --quiet --force")]
#[case("add -k", "-k")]
#[case("add -k 6.1 --k", "--kernelver")]
#[case("uninstall --fo", "")]
#[case("--ver", "--version")]
#[case("status --ver", "")]
#[case("status --nonsense=", "")]
#[case("autoinstall ", "--module -v --kernelver --arch --root --quiet")]
#[case("remove r8169/2.2LK --r", "--root")]
#[case("remove -- -", "")]
fn table(#[case] line: &str, #[case] wanted: &str) {
    let offer = offer(line, &Machine);
    // Options and paths begin with other characters than were typed only where they are listed whole.
    let paths = match offer.paths {
        Paths::None => "",
        Paths::Files => "…",
        Paths::Folders => "/…",
    };
    let mut got = words(&offer);
    if !paths.is_empty() {
        got = if got.is_empty() { paths.to_owned() } else { format!("{got} {paths}") };
    }
    assert_eq!(got, wanted);
}

#[rstest]
#[case("")]
#[case("ins")]
#[case("install --fo")]
#[case("install --directive M")]
#[case("install --root /t")]
#[case("add ./")]
#[case("add r8169/2.2LK ")]
fn what_needs_no_disk_reads_none(#[case] line: &str) {
    let _ = offer(line, &Untouched);
}

#[test]
fn helps_say_what_a_package_is_on_the_kernels_that_count() {
    let helps = |line: &str| offer(line, &Machine).candidates.into_iter().map(|c| c.help).collect::<Vec<_>>();
    assert_eq!(helps("remove "), ["broken: its source is missing", "built for 6.1", "added", "installed on 2 kernels"]);
    assert_eq!(helps("remove -k 5.10 r"), ["installed on 5.10"]);
    assert_eq!(helps("remove -k 6.1 r"), ["added"]);
    assert_eq!(helps("status gone"), ["broken: its source is missing"]);
    assert_eq!(helps("add v"), ["not added"]);
    assert_eq!(helps("remove -m h"), ["1.10, built for 6.1"]);
    assert_eq!(helps("remove -v 1.9"), ["hello, added"]);
    assert_eq!(helps("status -k "), ["no headers", "installed", "built", "installed"]);
}

#[test]
fn a_later_tree_wins() {
    let (grammar, words) = (grammar(), ["--root", "/a", "--root=/b", ""].map(str::to_owned));
    assert_eq!(Line::new(&grammar, &words).value("root"), Some("/b"));
    assert_eq!(Line::new(&grammar, &words[..2]).value("root"), None, "it is still being written");
}

#[test]
fn no_words_are_a_line_too() {
    let grammar = grammar();
    assert_eq!(Line::new(&grammar, &[]).offer(&Untouched).candidates.len(), grammar.actions.len());
}

proptest::proptest! {
    #[test]
    fn whatever_is_typed_is_continued(words in proptest::collection::vec("[-a-z0-9=/. ]{0,8}|install|--kernelver", 0..6)) {
        let grammar = grammar();
        let current = words.last().cloned().unwrap_or_default();
        for candidate in Line::new(&grammar, &words).offer(&Machine).candidates {
            proptest::prop_assert!(candidate.word.starts_with(&current));
            proptest::prop_assert!(!candidate.word.contains(['$', '(', ' ', '\'']));
        }
    }
}
