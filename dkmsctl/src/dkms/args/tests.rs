use super::*;
use rstest::rstest;

fn look(path: &Path) -> Found {
    match path.to_str() {
        Some("/src/a/dkms.conf" | "a.tar.gz" | "/etc/my-dkms.conf" | "x.bin") => Found::File,
        Some("/src/a" | "a/1" | "c") => Found::Source,
        Some("/src" | "b" | "b/1" | "b/" | "b/1/6.1" | "../b") => Found::Folder,
        Some("/other/src/a" | "/other/here") => Found::Source,
        _ => Found::Nothing,
    }
}

fn words(line: &str) -> Vec<OsString> {
    line.split(' ').filter(|w| !w.is_empty()).map(|w| if w == "''" { "".into() } else { w.into() }).collect()
}

fn parsed(line: &str) -> Result<Args, Failure> {
    parse(words(line), &look, &mut drop)
}

fn shown(line: &str) -> String {
    let a = parsed(line).unwrap();
    let path = |p: &Option<PathBuf>| p.as_ref().map(|p| p.display().to_string());
    let words = [
        a.action.map(|action| action.as_str().to_owned()),
        a.name,
        a.version,
        path(&a.folder).map(|p| format!("folder {p}")),
        path(&a.archive).map(|p| format!("archive {p}")),
        path(&a.conf).map(|p| format!("conf {p}")),
    ];
    let kernels = a.kernels.iter().map(ToString::to_string).chain(a.arches.iter().map(|a| format!("arch {a}")));
    words.into_iter().flatten().chain(kernels).collect::<Vec<_>>().join(" ")
}

#[rstest]
#[case("add -m a -v 1", "add a 1")]
#[case("-m a/1 add", "add a 1")]
#[case("a/2 add", "add a 2")]
#[case("build a/1", "build folder a/1")]
#[case("add /src/a", "add folder /src/a")]
#[case("add /src/a/dkms.conf", "add folder /src/a")]
#[case("add /etc/my-dkms.conf", "add conf /etc/my-dkms.conf")]
#[case("ldtarball a.tar.gz", "ldtarball archive a.tar.gz")]
#[case("ldtarball --archive=b.tar.xz", "ldtarball archive b.tar.xz")]
#[case("install --module a -v1 --kernelver 6.1/x86_64 -k 6.2", "install a 1 6.1 6.2 arch x86_64")]
#[case("install a/2 -k 6.1 -k 6.2 -a x -a y", "install a 2 6.1 6.2 arch x arch y")]
#[case("match a --templatekernel 6.1 -k 6.2", "match a 6.2")]
#[case("status a", "status a")]
#[case::a_name_whatever_lies_here("status b", "status b")]
#[case::a_name_whatever_lies_here("match b --templatekernel 6.1 -k 6.2", "match b 6.2")]
#[case::a_name_whatever_lies_here("status x.bin", "status x.bin")]
#[case::a_source_or_its_name("status c", "status folder c")]
#[case("match c --templatekernel 6.1 -k 6.2", "match c 6.2")]
#[case::no_name("status ../b", "status")]
#[case("build nonsense", "build")]
#[case::in_the_tree("remove b/1", "remove b 1")]
#[case::a_folder("add b/", "add")]
#[case::a_folder("add b/1/6.1", "add")]
#[case::a_folder("add ../b", "add")]
#[case::not_in_that_root("add a/1 --root /other", "add a 1")]
#[case::in_that_root("add /src/a --root /other", "add folder /src/a")]
#[case::in_that_root("--root=/other add here", "add folder here")]
#[case("remove a/1 --all --root /other", "remove a 1")]
#[case("mktarball a/1 --source-only --root /other", "mktarball a 1")]
#[case("status --root /other", "status")]
#[case::a_key_is_of_all_kernels("generate_mok --root /other", "generate_mok")]
#[case("nonsense", "")]
fn words_come_in_any_order(#[case] line: &str, #[case] wanted: &str) {
    assert_eq!(shown(line), wanted);
}

#[rstest]
#[case("add build", 4)]
#[case("add --nonsense", 2)]
#[case("add -x", 2)]
#[case("add -k", 2)]
#[case("build -j many", 2)]
#[case("remove --all -k 6.1", 2)]
#[case("remove --all -a x86_64", 3)]
#[case("add --all", 5)]
#[case("build --all", 5)]
#[case("install --all", 5)]
#[case("autoinstall --all", 5)]
#[case("autoinstall -k 6.1 -k 6.2", 4)]
#[case("match -k 6.1 -k 6.2", 4)]
#[case("kernel_prerm", 4)]
#[case("kernel_postinst -k 6.1 -k 6.2", 4)]
#[case("build -k 6.1 -a x -a y", 1)]
#[case("build -k ''", 16)]
#[case("build -a ''", 16)]
#[case("build -k 6.1/", 12)]
#[case("build -k 6.1/x86_64 -k /", 16)]
#[case("mktarball --binaries-only --source-only", 8)]
#[case("build --directive AUTOINSTALL", 2)]
#[case("build a/1 --root /other", 1)]
#[case("--root /other autoinstall", 1)]
#[case("remove a/1 --root /other", 1)]
#[case("mktarball a/1 --root /other", 1)]
fn what_is_wrong_has_its_classic_code(#[case] line: &str, #[case] code: u8) {
    let failure = parsed(line).unwrap_err();
    assert_eq!(failure.code, code, "{}", failure.message);
    assert!(!failure.message.is_empty());
}

#[rstest]
#[case("-q add build", true)]
#[case("add build -q", true)]
#[case("add --nonsense -q", false)]
#[case("add -q --nonsense", true)]
fn quiet_is_quiet_from_there_on(#[case] line: &str, #[case] silent: bool) {
    assert_eq!(parsed(line).unwrap_err().message.is_empty(), silent);
}

#[rstest]
#[case("add --no-initrd --no-clean-kernel --no-prepare-kernel", 3)]
#[case("add --no-initrd -q --no-clean-kernel", 1)]
#[case("build nonsense", 1)]
#[case("build nonsense -q", 1)]
#[case("build -q nonsense", 0)]
#[case("add /src", 1)]
#[case::before_what_is_wrong("--no-initrd add build", 1)]
fn what_has_no_effect_is_said(#[case] line: &str, #[case] remarks: usize) {
    let mut said = Vec::new();
    let _ = parse(words(line), &look, &mut |remark| said.push(remark));
    assert_eq!(said.len(), remarks, "{said:?}");
}

#[rstest]
#[case("lint a", Some("a"))]
#[case("-q lint a", Some("-q a"))]
#[case("--json a lint", Some("--json a"))]
#[case("-k 6.1 lint a", Some("-k 6.1 a"))]
#[case("-qk 6.1 lint a", Some("-qk 6.1 a"))]
#[case("-k6.1 lint a", Some("-k6.1 a"))]
#[case("--kernelver 6.1 lint lint", Some("--kernelver 6.1 lint"))]
#[case("-m add lint a", Some("-m add a"))]
#[case::a_package("-m lint status", None)]
#[case::a_package("status --module lint", None)]
#[case::a_name("--archive=x --dkmstree lint status", None)]
#[case("status", None)]
#[case("", None)]
fn lint_is_taken_anywhere(#[case] line: &str, #[case] wanted: Option<&str>) {
    assert_eq!(for_lint(&words(line)).unwrap(), wanted.map(words));
}

#[rstest]
#[case("lint add a")]
#[case("add -- lint")]
fn lint_is_one_action(#[case] line: &str) {
    assert_eq!(for_lint(&words(line)).unwrap_err().code, 4);
}

#[rstest]
#[case("-V", Some(Show::Version))]
#[case("--version add build-something", Some(Show::Version))]
#[case("status -h", Some(Show::Help))]
#[case("status", None)]
fn help_and_version_come_first(#[case] line: &str, #[case] wanted: Option<Show>) {
    assert_eq!(parsed(line).unwrap().show, wanted);
}

#[test]
fn every_switch_and_path_is_its_own() {
    for (name, place) in SWITCHES {
        let mut args = parsed(&format!("--{name}")).unwrap();
        assert!(*place(&mut args), "{name}");
    }
    for (name, place) in PATHS {
        let mut args = parsed(&format!("--{name} /there")).unwrap();
        assert_eq!(place(&mut args).as_deref(), Some(Path::new("/there")), "{name}");
    }
}
