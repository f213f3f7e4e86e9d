//! Locks among threads and processes.

use super::*;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

fn nobody() -> impl FnMut(&Holder) {
    |holder: &Holder| panic!("nobody should hold it, but {holder} does")
}

fn layout() -> (tempfile::TempDir, Layout) {
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::under(root.path());
    (root, layout)
}

/// Another process that has a lock until its standard input is closed.
fn somebody_with(path: &Path, way: &str) -> Child {
    let arguments = [way.as_ref(), path.as_os_str(), "-c".as_ref(), "echo held; exec cat".as_ref()];
    let mut command = Command::new("flock");
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut said).unwrap();
    assert_eq!(said, "held\n");
    child
}

#[test]
fn a_second_taker_learns_who_holds_it_and_waits() {
    let (_root, layout) = layout();
    let name = PackageName::new("r8169").unwrap();
    let first = lock_package(&layout, &name, &mut nobody()).unwrap();
    let (waits, waiting) = mpsc::channel();
    let second = std::thread::spawn({
        let (layout, name) = (layout.clone(), name.clone());
        move || lock_package(&layout, &name, &mut |holder| waits.send(holder.clone()).unwrap()).map(drop)
    });
    let seen = waiting.recv().unwrap();
    assert_eq!(seen.pid, Some(std::process::id()));
    assert!(!seen.command.is_empty());
    assert!(!second.is_finished());
    drop(first);
    second.join().unwrap().unwrap();
    drop(lock_package(&layout, &name, &mut nobody()).unwrap());
}

#[test]
fn a_child_does_not_inherit_it() {
    let (_root, layout) = layout();
    let kernel = KernelRelease::new("6.1.0-56-amd64").unwrap();
    let held = lock_install(&layout, &kernel, &mut nobody()).unwrap();
    let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    drop(held);
    drop(lock_install(&layout, &kernel, &mut nobody()).unwrap());
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[test]
fn a_dead_holder_lets_go() {
    let (_root, layout) = layout();
    let kernel = KernelRelease::new("6.1.0-56-amd64").unwrap();
    drop(lock_install(&layout, &kernel, &mut nobody()).unwrap());
    let path = layout.locks_dir().join(file_name("install", &[kernel.as_str()]));
    let mut child = somebody_with(&path, "--exclusive");
    let mut waited = false;
    let taken = lock_install(&layout, &kernel, &mut |_| {
        waited = true;
        drop(child.stdin.take());
    });
    child.wait().unwrap();
    assert!(taken.is_ok() && waited);
}

fn wants(layout: &Layout, wanted: &[Wanted]) -> Vec<Lock> {
    lock_all(layout, wanted, &mut |holder, what| panic!("nobody should have {what}, but {holder} does")).unwrap()
}

#[test]
fn builds_share_an_entry_and_whoever_forgets_it_waits_for_them() {
    let (_root, layout) = layout();
    let package = PackageId::new("r8169", "2").unwrap();
    let stays = [Wanted::entry_to_stay(&package)];
    let first = wants(&layout, &stays);
    let second = wants(&layout, &stays);
    let (waits, waiting) = mpsc::channel();
    let forgets = std::thread::spawn({
        let (layout, package) = (layout.clone(), package.clone());
        let mut on_wait = move |_: &Holder, what| waits.send(what).unwrap();
        move || lock_all(&layout, &[Wanted::entry(&package)], &mut on_wait).map(drop)
    });
    assert_eq!(waiting.recv().unwrap(), "the package");
    drop(first);
    assert!(!forgets.is_finished());
    drop(second);
    forgets.join().unwrap().unwrap();
}

/// It is not in what stands in the lock's file, which the first to go has emptied.
#[test]
fn of_those_who_share_a_lock_one_that_still_has_it_is_named() {
    let (_root, layout) = layout();
    let package = PackageId::new("r8169", "2").unwrap();
    let stays = [Wanted::entry_to_stay(&package)];
    let first = wants(&layout, &stays);
    let path = first[0].held.path.clone();
    let mut child = somebody_with(&path, "--shared");
    drop(first);
    let mut seen = None;
    let taken = lock_all(&layout, &[Wanted::entry(&package)], &mut |holder, _| {
        seen = Some(holder.clone());
        drop(child.stdin.take());
    });
    child.wait().unwrap();
    let (_, seen) = (taken.unwrap(), seen.unwrap());
    assert_eq!((seen.pid, seen.command.contains("flock --shared")), (Some(child.id()), true), "{seen}");
}

#[test]
fn who_waits_for_one_of_several_has_none_of_them() {
    let (_root, layout) = layout();
    let [one, two] = ["1", "2"].map(|release| Wanted::install(&KernelRelease::new(release).unwrap()));
    let held = wants(&layout, std::slice::from_ref(&two));
    let (waits, waiting) = mpsc::channel();
    let both = std::thread::spawn({
        let (layout, wanted) = (layout.clone(), [one.clone(), two]);
        move || lock_all(&layout, &wanted, &mut |_, _| waits.send(()).unwrap()).map(|locks| locks.len())
    });
    waiting.recv().unwrap();
    drop(wants(&layout, std::slice::from_ref(&one)));
    drop(held);
    assert_eq!(both.join().unwrap().unwrap(), 2);
    assert!(waiting.recv().is_err(), "it waited once");
}

/// Whatever the order in which each names them.
#[test]
fn several_that_want_the_same_ones_in_any_order_all_come_to_an_end() {
    let (_root, layout) = layout();
    let all: Vec<Wanted> = ["1", "2", "3"].map(|release| Wanted::install(&KernelRelease::new(release).unwrap())).into();
    let inside = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for n in 0..6 {
            let mut wanted = all.clone();
            wanted.rotate_left(n % 3);
            if n % 2 == 0 {
                wanted.reverse();
            }
            let (layout, inside) = (&layout, &inside);
            scope.spawn(move || {
                for _ in 0..100 {
                    let locks = lock_all(layout, &wanted, &mut |_, _| {}).unwrap();
                    assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    drop(locks);
                }
            });
        }
    });
}

fn asker(words: &[&str]) -> Asker {
    Asker { proc: "/nowhere".into(), words: words.iter().map(|word| (*word).to_owned()).collect() }
}

/// As in a chroot without /proc.
#[test]
fn what_a_script_runs_has_what_its_caller_holds_while_the_script_runs() {
    let (_root, layout) = layout();
    let kernel = KernelRelease::new("6.1").unwrap();
    let path = layout.locks_dir().join("install@6.1");
    let take = |asker: &Asker| take(&path, Way::Alone, asker, None).unwrap();
    let held = lock_install(&layout, &kernel, &mut nobody()).unwrap();
    assert!(take(&asker(&[""])).is_none(), "no script runs");
    let lent = Lent::all();
    let (_, word) = lent.variable();
    assert!(take(&asker(&["another"])).is_none());
    // As another process does.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let theirs = take(&asker(&["another", &word])).unwrap();
            assert!(take(&asker(&[&word])).is_none(), "those to whom it is lent take turns");
            let again = Lent::all();
            assert!(take(&asker(&[&word, &again.word])).is_some());
            drop((again, theirs));
        });
    });
    assert!(take(&asker(&[&word])).is_some());
    drop(lent);
    assert!(take(&asker(&[&word])).is_none(), "it may live on, but nobody waits for it");
    drop(held);
    assert!(take(&asker(&[])).is_some());
}

/// An ancestor that waits for no script of its own lends nothing.
#[test]
fn other_threads_lend_nothing_with_it() {
    let (_root, layout) = layout();
    let kernel = KernelRelease::new("6.1").unwrap();
    let held = lock_install(&layout, &kernel, &mut nobody()).unwrap();
    let word = std::thread::spawn(|| Lent::all().word.clone()).join().unwrap();
    assert_eq!(Said::read(&held.held.path).word, "");
    assert!(take(&held.held.path, Way::Alone, &asker(&[&word]), None).unwrap().is_none());
}

#[test]
fn different_things_have_different_files() {
    assert_ne!(file_name("build", &["a-1", "2"]), file_name("build", &["a", "1-2"]));
    assert_ne!(file_name("build", &["a@1", "2"]), file_name("build", &["a", "1@2"]));
    let long = "x".repeat(200);
    assert_ne!(file_name("build", &[&long, "1"]), file_name("build", &[&long, "2"]));
    assert!(file_name("build", &[&long, &long]).len() < 255);
}
