use std::os::unix::fs::symlink;
use std::process::Command;

use rstest::rstest;

use super::*;

const OURS: fn(&str) -> bool = |name| name.starts_with(".dkmsd-");

struct Machine {
    root: tempfile::TempDir,
    cache: Cache,
}

impl Machine {
    fn new(megabytes: u32) -> Self {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::new(&Layout::under(root.path()), megabytes);
        Self { root, cache }
    }

    /// What the tree holds after a build.
    fn built(&self, bytes: &[u8]) -> PathBuf {
        let folder = self.root.path().join("built");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("module")).unwrap();
        fs::create_dir_all(folder.join("log")).unwrap();
        fs::write(folder.join("module/a.ko"), bytes).unwrap();
        fs::write(folder.join("log/make.log"), "built").unwrap();
        fs::write(folder.join("script"), "left by POST_BUILD").unwrap();
        fs::set_permissions(folder.join("script"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.join(".dkmsd-manifest.json"), "{}").unwrap();
        folder
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Kept {
        self.cache.keep(&key(name), entry(), &self.built(bytes), OURS).unwrap()
    }

    fn place(&self, name: &str) -> (tempfile::TempDir, Place) {
        let into = tempfile::tempdir_in(self.root.path()).unwrap();
        let placed = self.cache.place(&key(name), into.path(), |_| true).unwrap();
        (into, placed)
    }

    fn has(&self, name: &str) -> bool {
        self.cache.folder.join(key(name).as_str()).exists()
    }

    fn file(&self, name: &str, file: &str) -> PathBuf {
        self.cache.folder.join(key(name).as_str()).join(file)
    }

    /// Names in the cache's folder, but for the lock.
    fn names(&self) -> Vec<String> {
        let names = files::list(&self.cache.folder).unwrap().into_iter().map(|(name, _)| name.into_string().unwrap());
        names.filter(|name| name != LOCK).collect()
    }

    fn used(&self, name: &str, seconds: u64) {
        let time = UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        File::open(self.file(name, DESCRIPTION)).unwrap().set_modified(time).unwrap();
    }
}

fn key(name: &str) -> Key {
    Key::of_test(name)
}

fn entry() -> Entry {
    Entry {
        package: "a/1".parse().unwrap(),
        kernel: KernelId::new("6.1", "x86_64").unwrap(),
        built_at: 7,
        seconds: 1.5,
        tools: Tools::default(),
        modules: vec![BuiltModule { file_name: "a.ko".into(), sha256: "0".into() }],
        files: Vec::new(),
    }
}

#[test]
fn what_is_kept_comes_back() {
    let machine = Machine::new(1);
    assert_eq!(machine.place("one").1, Place::Absent);
    assert_eq!(machine.keep("one", b"module"), Kept::Yes { evicted: 0 });
    let (into, placed) = machine.place("one");
    let Place::Placed(got) = placed else { panic!("{placed:?}") };
    assert_eq!(Entry { files: Vec::new(), ..got.clone() }, entry());
    let names: Vec<_> = got.files.iter().map(|file| file.path.to_str().unwrap()).collect();
    assert_eq!(names, ["log/make.log", "module/a.ko", "script"], "our own records stay behind");
    assert_eq!(fs::read(into.path().join("module/a.ko")).unwrap(), b"module");
    assert_eq!(fs::metadata(into.path().join("script")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::metadata(into.path().join("module")).unwrap().mode() & 0o777, 0o755);
    assert!(!into.path().join(".dkmsd-manifest.json").exists());
    assert_eq!(machine.place("other").1, Place::Absent);
    assert_eq!(machine.names().len(), 1, "nothing is left beside the entry");
}

#[test]
fn nobody_else_may_look_into_it() {
    let machine = Machine::new(1);
    machine.keep("one", b"module");
    assert_eq!(fs::metadata(&machine.cache.folder).unwrap().mode() & 0o777, 0o700);
    fs::set_permissions(&machine.cache.folder, fs::Permissions::from_mode(0o777)).unwrap();
    let into = tempfile::tempdir().unwrap();
    let error = machine.cache.place(&key("one"), into.path(), |_| true).unwrap_err();
    assert!(error.to_string().contains("nobody but root"), "{error}");
}

#[test]
fn the_same_file_takes_no_more_room() {
    let machine = Machine::new(1);
    machine.keep("one", b"module");
    let (into, _) = machine.place("one");
    let kept = fs::metadata(machine.file("one", "files/module/a.ko")).unwrap();
    let placed = fs::metadata(into.path().join("module/a.ko")).unwrap();
    // Either the same file, or (reflinks) one that has its blocks in common: both are another name's change apart.
    let probe = machine.root.path().join("probe");
    let reflinks = {
        let (from, to) = (File::open(machine.root.path().join("built/script")).unwrap(), File::create(probe).unwrap());
        rustix::fs::ioctl_ficlone(&to, &from).is_ok()
    };
    assert_eq!(kept.ino() == placed.ino(), !reflinks);
}

type Harm = fn(&Machine);

#[rstest]
#[case::other_bytes(|m: &Machine| fs::write(m.file("one", "files/module/a.ko"), "modulE").unwrap(), "module/a.ko has other bytes")]
#[case::cut_short(|m: &Machine| fs::write(m.file("one", "files/module/a.ko"), "mo").unwrap(), "another size")]
#[case::another_mode(
    |m: &Machine| fs::set_permissions(m.file("one", "files/script"), fs::Permissions::from_mode(0o4755)).unwrap(),
    "another size or mode"
)]
#[case::missing(|m: &Machine| fs::remove_file(m.file("one", "files/module/a.ko")).unwrap(), "is missing")]
#[case::a_link(
    |m: &Machine| {
        fs::remove_file(m.file("one", "files/module/a.ko")).unwrap();
        symlink("/etc/hostname", m.file("one", "files/module/a.ko")).unwrap();
    },
    "is missing"
)]
#[case::no_description(|m: &Machine| fs::remove_file(m.file("one", DESCRIPTION)).unwrap(), "entry.json is missing")]
#[case::empty_description(|m: &Machine| fs::write(m.file("one", DESCRIPTION), "").unwrap(), "not what was written")]
#[case::changed_description(
    |m: &Machine| {
        let text = fs::read_to_string(m.file("one", DESCRIPTION)).unwrap();
        fs::write(m.file("one", DESCRIPTION), text.replace("\"seconds\":1.5", "\"seconds\":2.5")).unwrap();
    },
    "not what was written"
)]
fn what_is_damaged_is_thrown_away(#[case] harm: Harm, #[case] why: &str) {
    let machine = Machine::new(1);
    machine.keep("one", b"module");
    harm(&machine);
    match machine.place("one").1 {
        Place::Damaged { why: said } => assert!(said.contains(why), "{said}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(machine.place("one").1, Place::Absent);
    assert_eq!(machine.names(), [""; 0]);
    machine.keep("one", b"module");
    assert!(matches!(machine.place("one").1, Place::Placed(_)));
}

/// An entry that says to write elsewhere is not followed, whoever signed for it.
#[test]
fn no_file_leads_out_of_the_folder() {
    let machine = Machine::new(1);
    machine.keep("one", b"module");
    let stored = Stored { path: "../../outside".into(), mode: 0o644, size: 6, sha256: files::sha256_bytes(b"module") };
    let hostile = Entry { files: vec![stored], ..entry() };
    fs::write(machine.file("one", DESCRIPTION), described(&hostile).unwrap()).unwrap();
    assert!(matches!(machine.place("one").1, Place::Damaged { .. }));
}

#[test]
fn only_what_is_wanted_is_placed() {
    let machine = Machine::new(1);
    machine.keep("one", b"module");
    let into = tempfile::tempdir_in(machine.root.path()).unwrap();
    assert_eq!(machine.cache.place(&key("one"), into.path(), |_| false).unwrap(), Place::Refused);
    assert_eq!(fs::read_dir(into.path()).unwrap().count(), 0);
    assert!(machine.has("one"));
}

#[test]
fn a_later_build_takes_the_place_of_the_first() {
    let machine = Machine::new(1);
    machine.keep("one", b"first");
    machine.keep("one", b"second");
    let (into, _) = machine.place("one");
    assert_eq!(fs::read(into.path().join("module/a.ko")).unwrap(), b"second");
    assert_eq!(machine.names().len(), 1);
}

#[test]
fn what_was_used_least_recently_goes_first() {
    let machine = Machine::new(1);
    let module = vec![7; 300 << 10];
    for (name, used) in [("one", 10), ("two", 20), ("three", 30)] {
        assert_eq!(machine.keep(name, &module), Kept::Yes { evicted: 0 });
        machine.used(name, used);
    }
    machine.place("one");
    assert_eq!(machine.keep("four", &module), Kept::Yes { evicted: 1 });
    assert_eq!(["one", "two", "three", "four"].map(|name| machine.has(name)), [true, false, true, true]);
    assert_eq!(machine.keep("five", &vec![7; 900 << 10]), Kept::Yes { evicted: 3 });
    assert_eq!(machine.names().len(), 1);
    assert_eq!(machine.keep("six", &vec![7; 2 << 20]), Kept::TooLarge);
    assert!(machine.has("five") && !machine.has("six"), "what is never kept costs nothing else its place");
}

#[test]
fn a_smaller_bound_makes_room_and_none_takes_all() {
    let machine = Machine::new(3);
    for name in ["one", "two", "three"] {
        machine.keep(name, &vec![7; 900 << 10]);
    }
    let bounded = |megabytes: u64| Cache { limit: megabytes << 20, ..machine.cache.clone() };
    assert_eq!(bounded(2).shrink().unwrap(), 1);
    assert_eq!(bounded(0).shrink().unwrap(), 2);
    assert_eq!(machine.names(), [""; 0]);
    let nothing = Machine::new(0);
    assert_eq!(nothing.cache.shrink().unwrap(), 0);
    assert!(!nothing.cache.folder.exists());
}

#[test]
fn an_entry_that_cannot_be_read_goes_first() {
    let machine = Machine::new(1);
    machine.keep("one", &vec![7; 400 << 10]);
    machine.keep("two", &vec![7; 400 << 10]);
    fs::write(machine.file("two", DESCRIPTION), "").unwrap();
    machine.used("one", 10);
    machine.keep("three", &vec![7; 700 << 10]);
    assert!(!machine.has("two"));
}

#[rstest]
#[case::link(|folder: &Path| symlink("/etc/hostname", folder.join("link")).unwrap())]
#[case::pipe(|folder: &Path| {
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.join("pipe"), rustix::fs::Mode::RWXU).unwrap();
})]
fn only_plain_files_are_kept(#[case] make: fn(&Path)) {
    let machine = Machine::new(1);
    let built = machine.built(b"module");
    make(&built);
    assert!(machine.cache.keep(&key("one"), entry(), &built, OURS).is_err());
    assert!(!machine.has("one"));
}

/// A process killed at any moment leaves folders on their way in or out, and the lock is free.
#[test]
fn what_killed_processes_left_is_cleared() {
    let machine = Machine::new(1);
    machine.keep("one", b"module");
    for left in [".new-abc/files/module", ".old-abc/old/files"] {
        fs::create_dir_all(machine.cache.folder.join(left)).unwrap();
    }
    assert!(matches!(machine.place("one").1, Place::Placed(_)));
    machine.keep("two", b"module");
    let mut wanted = ["one", "two"].map(|name| key(name).to_string());
    wanted.sort();
    assert_eq!(machine.names(), wanted);
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let machine = Machine::new(64);
    let small = machine.root.path().join("var");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "none"]).arg(&small).status().unwrap();
    if !mounted.success() {
        return;
    }
    let (_unmount, full) = (Unmount(&small), vec![7; 1 << 20]);
    let result = machine.cache.keep(&key("one"), entry(), &machine.built(&full), OURS);
    assert!(result.is_err(), "{result:?}");
    assert!(!machine.has("one"));
    assert_eq!(machine.keep("two", b"module"), Kept::Yes { evicted: 0 });
    assert_eq!(machine.names().len(), 1);
}

struct Unmount<'a>(&'a Path);

impl Drop for Unmount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

/// Many at once, each keeping and taking the same few, with room for some: whatever is placed is whole.
#[test]
fn many_at_once_see_whole_entries_or_none() {
    let machine = Machine::new(1);
    let root = machine.root.path();
    let content = |name: &str| name.as_bytes().repeat(60 << 10);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let cache = machine.cache.clone();
            scope.spawn(move || {
                let built = root.join(format!("built-{worker}/module"));
                fs::create_dir_all(&built).unwrap();
                for round in 0..25 {
                    let name = ["ein", "zwei", "drei", "vier", "fünf"][(round * 3 + worker) % 5];
                    // A tree's files are never changed in place.
                    let _ = fs::remove_file(built.join("a.ko"));
                    fs::write(built.join("a.ko"), content(name)).unwrap();
                    cache.keep(&key(name), entry(), built.parent().unwrap(), OURS).unwrap();
                    let into = tempfile::tempdir_in(root).unwrap();
                    match cache.place(&key(name), into.path(), |_| true).unwrap() {
                        Place::Placed(_) => {
                            assert!(fs::read(into.path().join("module/a.ko")).unwrap() == content(name));
                        }
                        Place::Absent => {}
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
    });
    let total: u64 = machine
        .names()
        .iter()
        .map(|n| fs::metadata(machine.cache.folder.join(n).join("files/module/a.ko")).unwrap().len())
        .sum();
    assert!(total <= 1 << 20);
}
