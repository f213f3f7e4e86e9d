//! Archives that nobody should have made.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use proptest::prelude::*;
use rstest::rstest;
use tar::Header;

use super::*;
use crate::distribute::leaving;

const PLENTY: Limits = Limits { bytes: 1 << 20, members: 100 };

/// A member as it is written, nothing being checked.
#[derive(Debug, Clone)]
struct Raw {
    kind: u8,
    name: Vec<u8>,
    link: Vec<u8>,
    mode: u32,
    text: Vec<u8>,
    size: Option<u64>,
}

fn raw(kind: u8, name: &str, link: &str, text: &str) -> Raw {
    Raw { kind, name: name.into(), link: link.into(), mode: 0o644, text: text.into(), size: None }
}

fn file(name: &str) -> Raw {
    raw(b'0', name, "", "text")
}

fn folder(name: &str) -> Raw {
    raw(b'5', name, "", "")
}

fn link(name: &str, target: &str) -> Raw {
    raw(b'2', name, target, "")
}

fn second_name(name: &str, target: &str) -> Raw {
    raw(b'1', name, target, "")
}

/// Records of an extended header, each with its own length before it.
fn pax(records: &[(&str, &str)]) -> Raw {
    let record = |(key, value): &(&str, &str)| {
        let rest = format!(" {key}={value}\n");
        let digits = (1..).find(|n| (rest.len() + n).to_string().len() == *n).unwrap();
        format!("{}{rest}", rest.len() + digits)
    };
    raw(b'x', "pax", "", &records.iter().map(record).collect::<String>())
}

fn archive(members: &[Raw]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        let mut header = Header::new_gnu();
        {
            let gnu = header.as_gnu_mut().unwrap();
            let put = |slot: &mut [u8], text: &[u8]| slot.iter_mut().zip(text).for_each(|(s, t)| *s = *t);
            put(&mut gnu.name, &member.name);
            put(&mut gnu.linkname, &member.link);
            gnu.typeflag = [member.kind];
        }
        header.set_mode(member.mode);
        header.set_uid(1234);
        header.set_gid(1234);
        header.set_mtime(1_000_000_000);
        header.set_size(member.size.unwrap_or(member.text.len() as u64));
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&member.text);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.extend([0; 1024]);
    bytes
}

/// Two places in a folder in which nothing else may appear.
struct Yard {
    root: tempfile::TempDir,
}

impl Yard {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for name in ["source", "tree"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        fs::write(root.path().join("victim"), "untouched").unwrap();
        Self { root }
    }

    fn unpack(&self, bytes: &[u8], limits: Limits) -> Result<Nodes, Refused> {
        let (source, tree) = (self.root.path().join("source"), self.root.path().join("tree"));
        let places = Places { source: &source, tree: &tree };
        let nodes = unpack(bytes, &places, limits)?;
        if leaving(&nodes, Path::new("")).is_none() {
            make_links(&nodes, Path::new(""), &places)?;
        }
        Ok(nodes)
    }

    fn source(&self, name: &str) -> PathBuf {
        self.root.path().join("source").join(name)
    }

    fn assert_untouched(&self) {
        let names: BTreeSet<_> = fs::read_dir(self.root.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["source", "tree", "victim"].map(OsString::from).into());
        let victim = self.root.path().join("victim");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(fs::metadata(victim).unwrap().nlink(), 1);
    }
}

fn why(result: Result<Nodes, Refused>) -> String {
    match result {
        Err(Refused::Archive(why)) => why,
        other => panic!("not refused: {other:?}"),
    }
}

#[rstest]
#[case::up(&[file("../victim")], "leads out")]
#[case::up_and_down(&[file("a/../../victim")], "leads out")]
#[case::up_inside(&[file("a/../b")], "leads out")]
#[case::absolute(&[file("/tmp/victim")], "absolute")]
#[case::absolute_folder(&[folder("/")], "absolute")]
#[case::through_a_link(&[link("a", ".."), file("a/victim")], "folder and something else")]
#[case::through_a_link_to_a_link(&[link("a", "b"), link("b", ".."), file("a/b/victim")], "folder and something else")]
#[case::link_for_a_folder(&[folder("a"), link("a", ".."), file("a/victim")], "folder and something else")]
#[case::file_for_a_folder(&[file("a/b"), file("a")], "folder and something else")]
#[case::folder_below_a_file(&[file("a"), folder("a/b")], "folder and something else")]
#[case::second_name_of_outside(&[second_name("a", "../victim")], "leads out")]
#[case::second_name_of_absolute(&[second_name("a", "/etc/passwd")], "absolute")]
#[case::second_name_of_a_link(&[link("a", "../victim"), second_name("b", "a")], "second name")]
#[case::second_name_of_nothing(&[second_name("a", "b"), file("b")], "second name")]
#[case::second_name_of_a_folder(&[folder("a"), second_name("b", "a")], "second name")]
#[case::second_name_of_itself(&[file("a"), second_name("a", "a")], "second name")]
#[case::character_device(&[raw(b'3', "null", "", "")], "device")]
#[case::block_device(&[raw(b'4', "sda", "", "")], "device")]
#[case::pipe(&[raw(b'6', "pipe", "", "")], "pipe")]
#[case::holes(&[raw(b'S', "sparse", "", "")], "holes")]
#[case::unknown_kind(&[raw(b'V', "volume", "", "")], "unknown kind")]
#[case::no_name(&[file("")], "without a name")]
#[case::only_dots(&[file("./.")], "without a name")]
#[case::link_to_nothing(&[link("a", "")], "link to nothing")]
#[case::long_name_up(&[raw(b'L', "long", "", "../victim\0"), file("a")], "leads out")]
#[case::long_name_twice(&[raw(b'L', "l", "", "a"), raw(b'L', "l", "", "b"), file("c")], "there twice")]
#[case::long_name_of_nothing(&[raw(b'L', "l", "", "a")], "it announces")]
#[case::pax_path_up(&[pax(&[("path", "../victim")]), file("a")], "leads out")]
#[case::pax_path_absolute(&[pax(&[("path", "/etc/victim")]), file("a")], "absolute")]
#[case::pax_nul(&[pax(&[("path", "a\0b")]), file("a")], "NUL")]
#[case::pax_link_nul(&[pax(&[("linkpath", "a\0b")]), link("a", "b")], "link to nothing")]
#[case::pax_second_size(&[pax(&[("size", "512")]), file("a")], "two sizes")]
#[case::pax_no_size(&[pax(&[("size", "-")]), file("a")], "two sizes")]
#[case::pax_holes(&[pax(&[("GNU.sparse.realsize", "1000000000000")]), file("a")], "holes")]
#[case::pax_malformed(&[raw(b'x', "pax", "", "99 path=a\n"), file("a")], "no whole archive")]
fn is_refused(#[case] members: &[Raw], #[case] because: &str) {
    let yard = Yard::new();
    let why = why(yard.unpack(&archive(members), PLENTY));
    assert!(why.contains(because), "{why}");
    yard.assert_untouched();
}

#[rstest]
#[case::a_text(b"this is no archive".to_vec())]
#[case::long_text(vec![b'x'; 2000])]
#[case::cut_in_a_header(archive(&[file("a")])[..300].to_vec())]
#[case::cut_in_a_file(archive(&[raw(b'0', "a", "", &"x".repeat(2000))])[..1500].to_vec())]
#[case::larger_than_it_is(archive(&[Raw { size: Some(100_000), ..file("a") }]))]
#[case::size_that_overflows(archive(&[Raw { size: Some(u64::MAX), ..file("a") }]))]
#[case::gzip_of_nothing(vec![0x1f, 0x8b, 8, 0])]
#[case::xz_of_nothing(b"\xfd7zXZ\0".to_vec())]
#[case::zstd_of_nothing(b"\x28\xb5\x2f\xfd".to_vec())]
#[case::bzip2_of_nothing(b"BZh9".to_vec())]
fn damage_is_told(#[case] bytes: Vec<u8>) {
    let yard = Yard::new();
    assert!(why(yard.unpack(&bytes, PLENTY)).starts_with("it is no whole archive"));
    yard.assert_untouched();
}

#[test]
fn the_end_of_a_compressed_archive_counts() {
    let whole = archive(&[file("a")]);
    let packed = codec::compress(codec::Compression::Gzip, Vec::new(), |w| w.write_all(&whole)).unwrap();
    assert!(Yard::new().unpack(&packed, PLENTY).is_ok());
    let mut wrong = packed.clone();
    *wrong.last_mut().unwrap() ^= 1;
    assert!(why(Yard::new().unpack(&wrong, PLENTY)).contains("no whole archive"));
    assert!(why(Yard::new().unpack(&packed[..packed.len() - 4], PLENTY)).contains("no whole archive"));
}

#[test]
fn what_is_too_large_is_refused_before_it_is_there() {
    let zeros = "\0".repeat(10 << 20);
    let huge = archive(&[raw(b'0', "a", "", &zeros)]);
    for compression in [codec::Compression::Plain, codec::Compression::Gzip, codec::Compression::Zstd] {
        let packed = codec::compress(compression, Vec::new(), |w| w.write_all(&huge)).unwrap();
        let yard = Yard::new();
        assert!(why(yard.unpack(&packed, PLENTY)).contains("more than 1 MiB"));
        assert!(fs::metadata(yard.source("a")).unwrap().len() <= PLENTY.bytes);
    }
    // Nor is it read into memory as a name.
    let name = raw(b'L', "l", "", &zeros);
    assert!(
        why(Yard::new().unpack(&archive(&[name, file("a")]), Limits { bytes: 1 << 30, members: 9 }))
            .contains("too long")
    );
    let header = raw(b'g', "g", "", &zeros);
    assert!(why(Yard::new().unpack(&archive(&[header]), PLENTY)).contains("more than 1 MiB"));
}

#[test]
fn too_many_and_too_deep_are_refused() {
    let many: Vec<_> = (0..101).map(|n| file(&format!("f{n}"))).collect();
    assert!(why(Yard::new().unpack(&archive(&many), PLENTY)).contains("more than 100 members"));
    let deep = pax(&[("path", &"d/".repeat(DEEPEST + 1))]);
    assert!(why(Yard::new().unpack(&archive(&[deep, file("a")]), PLENTY)).contains("too deep"));
    let long = pax(&[("path", &"n".repeat(256))]);
    assert!(why(Yard::new().unpack(&archive(&[long, file("a")]), PLENTY)).contains("longer name"));
}

#[test]
fn what_comes_out_is_ours_alone_to_change() {
    let yard = Yard::new();
    let members = [
        Raw { mode: 0o7777, ..folder("d/") },
        Raw { mode: 0o6777, ..file("d/run") },
        Raw { mode: 0o000, ..file("closed") },
        link("l", "d/run"),
    ];
    yard.unpack(&archive(&members), PLENTY).unwrap();
    let me = rustix::process::geteuid().as_raw();
    for (name, mode) in [("d", 0o755), ("d/run", 0o755), ("closed", 0o600)] {
        let found = fs::symlink_metadata(yard.source(name)).unwrap();
        assert_eq!((found.uid(), found.mode() & 0o7777), (me, mode), "{name}");
    }
    assert_eq!(fs::symlink_metadata(yard.source("l")).unwrap().uid(), me);
    assert_eq!(fs::metadata(yard.source("closed")).unwrap().mtime(), 1_000_000_000);
}

#[test]
fn what_tar_programs_write_is_understood() {
    let yard = Yard::new();
    let long = format!("{}/file", "long".repeat(40));
    let members = [
        raw(b'g', "pax_global_header", "", "19 comment=a commit\n"),
        folder("./"),
        raw(0, "old/", "", ""),
        raw(0, "./old/file", "", "old"),
        raw(b'7', "contiguous", "", "text"),
        raw(b'L', "././@LongLink", "", &format!("{long}\0")),
        file("cut"),
        pax(&[("path", "grüße"), ("mtime", "1.5"), ("size", "4")]),
        file("cut"),
        file("twice"),
        raw(b'0', "twice", "", "the second"),
        second_name("also", "./twice"),
        link("replaced", "../victim"),
        file("replaced"),
        file("dkms_main_tree/6.1/x86_64/module/a.ko"),
    ];
    yard.unpack(&archive(&members), PLENTY).unwrap();
    let text = |name: &str| fs::read_to_string(yard.source(name)).unwrap();
    assert_eq!(
        ["old/file", "contiguous", &long, "grüße", "replaced"].map(text),
        ["old", "text", "text", "text", "text"]
    );
    assert_eq!([text("twice"), text("also")], ["the second", "the second"]);
    assert!(yard.root.path().join("tree/dkms_main_tree/6.1/x86_64/module/a.ko").is_file());
    yard.assert_untouched();
}

/// Names from few words, so that they meet; among them what leads out.
fn names() -> impl Strategy<Value = String> {
    let word =
        prop_oneof![4 => "[abc]", 1 => Just("..".to_owned()), 1 => Just(".".to_owned()), 1 => Just(String::new())];
    proptest::collection::vec(word, 1..5).prop_map(|words| words.join("/"))
}

fn members() -> impl Strategy<Value = Vec<Raw>> {
    let member = (prop::sample::select(b"012205xLKg3".to_vec()), names(), names(), any::<u32>()).prop_map(
        |(kind, name, target, mode)| match kind {
            b'x' => pax(&[("path", &name), ("linkpath", &target)]),
            b'L' | b'K' => raw(kind, "long", "", &target),
            kind => Raw { mode: mode & 0o7777, ..raw(kind, &name, &target, "text") },
        },
    );
    proptest::collection::vec(member, 0..12)
}

/// Where a link leads in the end, by the kernel's own word; none when nowhere.
fn every_link(folder: &Path, each: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap();
        if kind.is_symlink() {
            each(&path);
        } else if kind.is_dir() {
            every_link(&path, each);
        }
    }
}

proptest! {
    #[test]
    fn paths_stay_below_whatever_they_say(name in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(Some(path)) = clean(&name) {
            prop_assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
            prop_assert!(path.as_os_str().len() <= name.len());
        }
    }

    #[test]
    fn nothing_gets_out(members in members()) {
        let yard = Yard::new();
        if yard.unpack(&archive(&members), PLENTY).is_ok() {
            let top = yard.root.path().join("source").canonicalize().unwrap();
            every_link(&top, &mut |link| {
                if let Ok(end) = link.canonicalize() {
                    assert!(end.starts_with(&top), "{} leads to {}", link.display(), end.display());
                }
            });
        }
        yard.assert_untouched();
    }
}
