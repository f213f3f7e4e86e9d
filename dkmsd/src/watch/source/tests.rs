//! With real inotify, in a temporary folder.

use super::*;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::time::Duration;

struct Scene {
    dir: tempfile::TempDir,
    watcher: Watcher,
    hints: Hints,
}

impl Scene {
    fn new() -> Self {
        let (watcher, hints) = Watcher::new().unwrap();
        Self { dir: tempfile::tempdir().unwrap(), watcher, hints }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn set(&mut self, wanted: &[(&str, bool)]) -> Outcome {
        let wanted =
            wanted.iter().map(|(name, recursive)| Watch { path: self.path(name), recursive: *recursive }).collect();
        self.watcher.set(wanted).unwrap()
    }

    /// Waits until a change of this path has been heard.
    async fn hears(&mut self, name: &str) {
        let path = self.path(name);
        let heard = async { while !self.hints.next().await.unwrap().paths.contains(&path) {} };
        tokio::time::timeout(Duration::from_secs(20), heard).await.unwrap();
    }

    /// Whether anything is heard before a change that is made after it: events keep their order.
    async fn hears_nothing_before(&mut self, marker: &str) -> bool {
        fs::create_dir(self.path(marker)).unwrap();
        let wanted = BTreeSet::from([self.path(marker)]);
        self.hints.next().await.unwrap().paths == wanted
    }
}

#[tokio::test]
async fn changes_are_heard_and_reading_is_not() {
    let mut s = Scene::new();
    fs::create_dir(s.path("a")).unwrap();
    fs::write(s.path("a/lock"), "").unwrap();
    s.set(&[("a", false)]);
    s.hears("a").await;
    File::open(s.path("a/lock")).unwrap().read_to_string(&mut String::new()).unwrap();
    fs::read_dir(s.path("a")).unwrap().for_each(drop);
    assert!(s.hears_nothing_before("a/marker").await);
    // Opened for writing and closed, as a lock file is.
    drop(File::options().write(true).open(s.path("a/lock")).unwrap());
    s.hears("a/lock").await;
    File::create(s.path("a/lock")).unwrap().write_all(b"x").unwrap();
    s.hears("a/lock").await;
}

#[tokio::test]
async fn the_wanted_set_is_what_stands() {
    let mut s = Scene::new();
    for name in ["a", "b"] {
        fs::create_dir(s.path(name)).unwrap();
    }
    let outcome = s.set(&[("a", false), ("b", true), ("later", false)]);
    assert_eq!(outcome.added, [s.path("a"), s.path("b")]);
    assert_eq!(outcome.absent, [s.path("later")]);
    assert_eq!(s.set(&[("a", false), ("b", true), ("later", false)]).added, Vec::<PathBuf>::new());
    fs::create_dir(s.path("later")).unwrap();
    let outcome = s.set(&[("b", true), ("later", false)]);
    assert_eq!((outcome.added, outcome.removed), (vec![s.path("later")], vec![s.path("a")]));
    assert_eq!(s.watcher.watched().count(), 2);
    s.hears("later").await;
    fs::create_dir(s.path("a/x")).unwrap();
    assert!(s.hears_nothing_before("b/marker").await);
}

#[tokio::test]
async fn a_folder_that_is_replaced_is_watched_again() {
    let mut s = Scene::new();
    fs::create_dir(s.path("a")).unwrap();
    s.set(&[("a", true)]);
    s.hears("a").await;
    fs::remove_dir(s.path("a")).unwrap();
    s.hears("a").await;
    fs::create_dir(s.path("a")).unwrap();
    assert_eq!(s.set(&[("a", true)]).added, [s.path("a")]);
    s.hears("a").await;
    fs::rename(s.path("a"), s.path("aside")).unwrap();
    s.hears("a").await;
    fs::create_dir(s.path("a")).unwrap();
    assert_eq!(s.set(&[("a", true)]).added, [s.path("a")]);
    s.hears("a").await;
    fs::create_dir(s.path("aside/x")).unwrap();
    assert!(s.hears_nothing_before("a/marker").await);
}

#[tokio::test]
async fn folders_below_are_followed_and_links_are_not() {
    let mut s = Scene::new();
    fs::create_dir_all(s.path("src")).unwrap();
    fs::create_dir_all(s.path("elsewhere")).unwrap();
    symlink(s.path("elsewhere"), s.path("src/link")).unwrap();
    symlink(s.path("elsewhere"), s.path("top")).unwrap();
    let outcome = s.set(&[("src", true), ("top", true)]);
    assert_eq!(outcome.absent, [s.path("top")]);
    s.hears("src").await;
    fs::create_dir(s.path("elsewhere/x")).unwrap();
    fs::create_dir_all(s.path("src/patches/deep")).unwrap();
    s.hears("src/patches").await;
    s.set(&[("src", true)]);
    fs::write(s.path("src/patches/deep/file"), "").unwrap();
    s.hears("src/patches/deep/file").await;
}

#[tokio::test]
async fn hints_end_with_the_watcher() {
    let (watcher, mut hints) = Watcher::new().unwrap();
    drop(watcher);
    assert_eq!(hints.next().await, None);
}

#[tokio::test]
async fn lost_events_are_told() {
    let (watcher, mut hints) = Watcher::new().unwrap();
    let lost = Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan);
    watcher.shared.take(Ok(lost));
    assert!(hints.next().await.unwrap().overflow);
    let refused = notify::Error::new(ErrorKind::MaxFilesWatch).add_path("/usr/src/x".into());
    watcher.shared.take(Err(refused));
    assert!(hints.next().await.unwrap().overflow);
    let mut watcher = watcher;
    let error = watcher.set(BTreeSet::new()).unwrap_err().to_string();
    assert!(error.contains("/usr/src/x") && error.contains("fs.inotify.max_user_watches"), "{error}");
    assert_eq!(watcher.set(BTreeSet::new()).unwrap(), Outcome::default());
}
