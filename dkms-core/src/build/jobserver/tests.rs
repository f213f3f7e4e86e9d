use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// Of a machine with so many CPUs; the FIFO is held open, as the daemon does.
fn machine(cpus: usize) -> (tempfile::TempDir, JobServer, File) {
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::under(root.path());
    std::fs::create_dir_all(layout.run_dir()).unwrap();
    let server = JobServer::shared(&layout, cpus).unwrap();
    let held = server.hold().unwrap();
    assert!(server.top_up().unwrap());
    (root, server, held)
}

/// The same, as another process sees it.
fn another(server: &JobServer) -> JobServer {
    JobServer { fifo: server.fifo.clone(), size: server.size, _own: None }
}

fn there(held: &File) -> u64 {
    rustix::io::ioctl_fionread(held).unwrap()
}

fn at_once() -> impl FnMut() {
    || panic!("it should not have to wait")
}

/// A process that builds with these many tokens, more than one of them in make's hands, until it is killed.
fn killed_later(server: &JobServer, tokens: usize) -> Child {
    let work = server.fifo.with_extension("work");
    let mut child = Command::new("bash")
        .args([
            "-c",
            "exec 5<\"$0\" && flock -s 5 && head -c \"$2\" <\"$1\" >/dev/null && echo building && exec sleep 1000",
        ])
        .arg(work)
        .arg(&server.fifo)
        .arg(tokens.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    io::BufRead::read_line(&mut io::BufReader::new(child.stdout.as_mut().unwrap()), &mut said).unwrap();
    assert_eq!(said, "building\n");
    child
}

#[test]
fn tokens_come_back_and_no_more_are_out_than_there_are_cpus() {
    let (_root, server, held) = machine(3);
    let one = server.enter(1, &mut at_once()).unwrap();
    let two = another(&server).enter(2, &mut at_once()).unwrap();
    assert_eq!((one.tokens(), two.tokens(), there(&held)), (1, 2, 0));
    let (waits, waiting) = mpsc::channel();
    let third = std::thread::spawn({
        let server = another(&server);
        move || server.enter(1, &mut || waits.send(()).unwrap()).unwrap().tokens()
    });
    waiting.recv().unwrap();
    assert!(!third.is_finished());
    drop(one);
    assert_eq!(third.join().unwrap(), 1);
    drop(two);
    assert_eq!(there(&held), 3);
}

#[test]
fn who_wants_more_than_there_are_gets_all() {
    let (_root, server, held) = machine(2);
    assert_eq!(server.enter(64, &mut at_once()).unwrap().tokens(), 2);
    assert_eq!(server.enter(0, &mut at_once()).unwrap().tokens(), 1);
    assert_eq!(there(&held), 2);
}

/// Each of them could hold half of what the other wants.
#[test]
fn many_who_want_all_take_turns() {
    let (_root, server, held) = machine(4);
    std::thread::scope(|scope| {
        for wanted in [4, 1, 4, 2, 3, 4, 1, 4] {
            let server = another(&server);
            scope.spawn(move || {
                for _ in 0..20 {
                    assert_eq!(server.enter(wanted, &mut || {}).unwrap().tokens(), wanted);
                }
            });
        }
    });
    assert_eq!(there(&held), 4);
}

#[test]
fn what_a_killed_build_had_is_made_up_for() {
    let (_root, server, held) = machine(3);
    let mut child = killed_later(&server, 2);
    assert_eq!(there(&held), 1);
    assert!(!server.top_up().unwrap(), "somebody is at work");
    assert_eq!(there(&held), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(server.top_up().unwrap());
    assert_eq!(there(&held), 3);
}

/// The one who waits has nobody to tell it.
#[test]
fn who_waits_for_a_build_that_is_killed_goes_on() {
    let (_root, server, held) = machine(2);
    let mut child = killed_later(&server, 2);
    let (waits, waiting) = mpsc::channel();
    let waits_for_two = std::thread::spawn({
        let server = another(&server);
        move || server.enter(2, &mut || waits.send(()).unwrap()).unwrap().tokens()
    });
    waiting.recv().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(waits_for_two.join().unwrap(), 2);
    assert_eq!(there(&held), 2);
}

/// A build may write to it what it likes, and take what it likes.
#[test]
fn tokens_that_were_put_in_or_stolen_are_seen_to_once_nobody_works() {
    let (_root, server, held) = machine(2);
    let slot = server.enter(1, &mut at_once()).unwrap();
    (&held).write_all(&[b'x'; 3000]).unwrap();
    drop(slot);
    drop(server.enter(1, &mut at_once()).unwrap());
    assert_eq!(there(&held), 2);
    let slot = server.enter(1, &mut at_once()).unwrap();
    let mut hand = Hand { fifo: server.end(true, true).unwrap(), tokens: 0 };
    hand.take(2).unwrap();
    assert_eq!(std::mem::take(&mut hand.tokens), 1);
    drop(slot);
    assert!(server.top_up().unwrap());
    assert_eq!(there(&held), 2);
}

/// As a compiler that a killed build left behind for a moment: it still has a CPU.
#[test]
fn a_build_is_at_work_while_a_process_of_it_runs() {
    let (_root, server, _held) = machine(1);
    let work = server.work().unwrap();
    flock(&work, FlockOperation::LockShared).unwrap();
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    crate::sys::start_with(&mut command, vec![Arc::new(work.into())], Default::default());
    let mut child = command.spawn().unwrap();
    drop(command);
    assert!(!server.top_up().unwrap());
    drop(child.stdin.take());
    child.wait().unwrap();
    assert!(server.top_up().unwrap());
}

#[test]
fn the_first_to_come_fills_it_and_it_is_there_for_the_next() {
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::under(root.path());
    assert!(JobServer::shared(&layout, 2).is_err(), "nobody makes /run/dkmsd for it");
    std::fs::create_dir_all(layout.run_dir()).unwrap();
    let server = JobServer::shared(&layout, 2).unwrap();
    let first = server.enter(1, &mut at_once()).unwrap();
    let second = JobServer::shared(&layout, 2).unwrap().enter(1, &mut at_once()).unwrap();
    assert_eq!(there(&first.hand.fifo), 0);
    drop((first, second));
    // Nobody has it open now: what was in it is gone.
    drop(server.enter(2, &mut at_once()).unwrap());
}

#[test]
fn a_process_that_may_not_use_the_machines_has_its_own() {
    let root = tempfile::tempdir().unwrap();
    let layout = Layout::under(root.path());
    // Something else is in its place.
    std::fs::create_dir_all(layout.jobserver()).unwrap();
    let settings = Settings::defaults(root.path());
    let server = JobServer::open(&settings).unwrap();
    assert!(!server.path().starts_with(layout.run_dir()));
    let path = server.path().to_owned();
    assert_eq!(server.enter(1, &mut at_once()).unwrap().tokens(), 1);
    drop(server);
    assert!(!path.exists());
}

/// Two recipes that each wait for the other one: only a make that runs both at once comes to an end.
const EACH_WAITS: &str = "all: a b\na:\n\t@echo > to_b; read x < to_a\nb:\n\t@read x < to_b; echo > to_a\n";

fn make(line: &str, jobs: Option<&MakeJobs>) -> Option<i32> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Makefile"), EACH_WAITS).unwrap();
    for name in ["to_a", "to_b"] {
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join(name), Mode::RWXU).unwrap();
    }
    let mut confined = crate::build::sandbox::Confined::new(folder.path(), "bash", ["-c", line]);
    if let Some(jobs) = jobs {
        confined = jobs.descriptors().fold(confined, crate::build::sandbox::Confined::inherit);
        confined = confined.env("MAKEFLAGS", jobs.flags());
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(if jobs.is_some() { 60 } else { 1 });
    match confined.spawn().unwrap().follow(Some(deadline), |e| e, |_, _| Ok(())).unwrap() {
        crate::build::sandbox::Ended::Code(code) => Some(code),
        crate::build::sandbox::Ended::TimedOut => None,
    }
}

#[test]
fn make_runs_as_many_jobs_as_there_are_tokens() {
    let (_root, server, held) = machine(2);
    let slot = server.enter(1, &mut at_once()).unwrap();
    assert_eq!(make("make", Some(&slot.share().unwrap())), Some(0));
    assert_eq!(there(&held), 1, "make gave back what it took");
    drop(slot);
    let both = server.enter(2, &mut at_once()).unwrap();
    assert_eq!(make("make", Some(&both.divide().unwrap())), Some(0));
    assert_eq!(there(&held), 0, "it had no others than those of its slot");
    drop(both);
    assert_eq!(make("'make'", None), None, "without any, one waits for ever for the other");
    assert_eq!(there(&held), 2);
}
