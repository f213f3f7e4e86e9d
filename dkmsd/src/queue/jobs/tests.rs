//! The rules between jobs.

use super::*;

fn kernel() -> KernelId {
    KernelId::new("6.1", "x86_64").unwrap()
}

fn install(name: &str, after: Vec<usize>) -> Action {
    Action {
        verb: Verb::Install(kernel()),
        package: PackageId::new(name, "1").unwrap(),
        reason: "new".into(),
        after,
        inputs: "1".into(),
    }
}

fn plan(actions: Vec<Action>) -> Plan {
    Plan { rows: Vec::new(), actions }
}

fn placed() -> Outcome {
    Outcome { verdict: Verdict::Done, code: 0, error: None, placed: true, ..Outcome::because(Verdict::Done, "") }
}

fn failed() -> Outcome {
    Outcome::because(Verdict::Failed, "no")
}

#[test]
fn the_same_work_is_queued_once() {
    let mut jobs = Jobs::default();
    let due = plan(vec![install("a", vec![])]);
    assert_eq!(jobs.take_plan(&due).0, [1]);
    assert_eq!(jobs.take_plan(&due), (vec![], vec![]));
    jobs.start_ready(9);
    assert_eq!(jobs.take_plan(&due), (vec![], vec![]), "a running job is the same work");
    jobs.worker_ended(1, failed());
    assert_eq!(jobs.take_plan(&due), (vec![], vec![]), "so is one whose end has not been looked at");
    assert_eq!(jobs.enqueue(task_of(&due.actions[0]), vec![], false), (2, true), "but not for a person");
}

#[test]
fn what_is_due_no_more_leaves_unless_a_person_wants_it() {
    let mut jobs = Jobs::default();
    jobs.take_plan(&plan(vec![install("a", vec![]), install("b", vec![])]));
    let mut wish = task_of(&install("b", vec![]));
    wish.by_hand = true;
    assert_eq!(jobs.enqueue(wish, vec![], false), (2, false));
    assert_eq!(jobs.take_plan(&plan(vec![])).1, [1]);
    assert_eq!(jobs.get(2).unwrap().state, State::Queued);
}

#[test]
fn what_does_not_help_is_not_done_for_ever() {
    let mut jobs = Jobs::default();
    let due = plan(vec![install("a", vec![])]);
    for _ in 0..ENOUGH {
        let (new, _) = jobs.take_plan(&due);
        jobs.start_ready(1);
        jobs.worker_ended(new[0], Outcome::because(Verdict::Done, ""));
        jobs.remove_ended(new[0]).unwrap();
    }
    assert_eq!(jobs.take_plan(&due), (vec![], vec![]));
    let mut changed = due;
    changed.actions[0].inputs = "2".into();
    assert_eq!(jobs.take_plan(&changed).0.len(), 1, "other inputs are worth a try at once");
}

#[test]
fn depmod_waits_for_every_install_of_the_kernel_and_ends_them_all() {
    let mut jobs = Jobs::default();
    jobs.take_plan(&plan(vec![install("a", vec![]), install("b", vec![])]));
    assert_eq!(jobs.start_ready(9).len(), 2);
    assert_eq!(jobs.worker_ended(1, placed()), [0; 0]);
    assert_eq!(jobs.finish_ready(), [], "b still runs");
    assert_eq!(jobs.worker_ended(2, placed()), [0; 0]);
    let finish = jobs.finish_ready();
    assert_eq!(finish[0].batch.len(), 2);
    assert_eq!(jobs.finish_ready(), [], "once");
    assert_eq!(jobs.finish_ended(&kernel(), &failed()), [1, 2]);
    assert_eq!(jobs.remove_ended(1).unwrap().1.verdict, Verdict::Failed);
}

#[test]
fn depmod_follows_a_worker_that_died_over_a_kernel() {
    let mut jobs = Jobs::default();
    jobs.take_plan(&plan(vec![install("a", vec![])]));
    jobs.start_ready(9);
    assert_eq!(jobs.worker_ended(1, failed()), [1]);
    let finish = jobs.finish_ready();
    assert_eq!((finish.len(), finish[0].batch.len()), (1, 0));
    assert_eq!(jobs.finish_ready(), [], "once");
}

#[test]
fn a_dependent_starts_once_its_dependency_stands_and_fails_with_it() {
    let mut jobs = Jobs::default();
    jobs.take_plan(&plan(vec![install("a", vec![]), install("b", vec![0]), install("c", vec![1])]));
    assert_eq!(jobs.start_ready(9).len(), 1);
    jobs.worker_ended(1, placed());
    assert_eq!(jobs.start_ready(9)[0].id, 2);
    assert_eq!(jobs.worker_ended(2, failed()), [2, 3]);
    assert_eq!(jobs.remove_ended(3).unwrap().1.verdict, Verdict::Dependency);
    assert_eq!(jobs.finish_ready().len(), 1, "what stands is finished all the same");
}

#[test]
fn cancel_ends_what_can_be_ended() {
    let mut jobs = Jobs::default();
    jobs.take_plan(&plan(vec![install("a", vec![]), install("b", vec![0]), install("c", vec![1])]));
    jobs.start_ready(1);
    assert_eq!(jobs.cancel(2), Ok(Cancel::Over(vec![2, 3])));
    jobs.told(1, &Event::Phase { phase: Phase::Installing });
    assert_eq!(jobs.cancel(1), Err(NotCanceled::Busy));
    jobs.told(1, &Event::Phase { phase: Phase::Building });
    assert_eq!(jobs.cancel(1), Ok(Cancel::EndWorker));
    assert_eq!(jobs.get(1).unwrap().state, State::Canceling);
    assert_eq!(jobs.cancel(7), Err(NotCanceled::NoSuchJob));
}

#[test]
fn a_job_that_waits_for_somebody_says_so_and_can_be_canceled() {
    let mut jobs = Jobs::default();
    jobs.take_plan(&plan(vec![install("a", vec![])]));
    jobs.start_ready(1);
    jobs.told(1, &Event::Phase { phase: Phase::Installing });
    let view = |jobs: &Jobs| crate::snapshot::job_view(jobs.get(1).unwrap());
    assert!(jobs.told(1, &Event::Waiting { why: Some("waiting for process 7 (dkms)".into()) }));
    assert_eq!(jobs.get(1).unwrap().waiting.as_deref(), Some("waiting for process 7 (dkms)"));
    assert_eq!((view(&jobs).phase, view(&jobs).cancelable), (Phase::Waiting, true));
    assert!(jobs.told(1, &Event::Waited));
    assert_eq!((view(&jobs).phase, view(&jobs).cancelable), (Phase::Installing, false));
}

/// Who asks for what: `package kernel by-hand`.
fn queue(jobs: &mut Jobs, wishes: &[(&str, &str, bool)]) {
    for (package, release, by_hand) in wishes {
        let mut task = task_of(&install(package, vec![]));
        task.kernel = Some(KernelId::new(*release, "x86_64").unwrap());
        task.by_hand = *by_hand;
        jobs.enqueue(task, vec![], false);
    }
}

fn started(jobs: &mut Jobs) -> Vec<String> {
    let word =
        |task: &Task| format!("{} {}", task.package.as_ref().unwrap().name, task.kernel.as_ref().unwrap().release);
    jobs.start_ready(99).iter().map(word).collect()
}

#[test]
fn what_a_person_wants_goes_first_then_what_boots_next_then_what_runs_then_the_longest() {
    let mut jobs = Jobs { ranking: Ranking::of("6.12", "6.1", &[("a/1", 9), ("b/1", 70)]), ..Jobs::default() };
    let wishes = [
        ("a", "5.10", false),
        ("b", "5.10", false),
        ("new", "6.1", false),
        ("a", "6.1", false),
        ("b", "6.1", false),
        ("a", "6.12", false),
        ("b", "6.12", false),
        ("new", "5.10", true),
    ];
    queue(&mut jobs, &wishes);
    let wanted = ["new 5.10", "b 6.12", "a 6.12", "b 6.1", "a 6.1", "new 6.1", "b 5.10", "a 5.10"];
    assert_eq!(started(&mut jobs), wanted);
}

#[test]
fn what_was_cut_short_is_finished_once() {
    let mut jobs = Jobs::default();
    let kernel = KernelId::new("6.1", "x86_64").unwrap();
    jobs.cut_short([kernel.clone()]);
    let tasks = jobs.finish_ready();
    assert_eq!(
        tasks.iter().map(|task| (task.operation, task.kernel.as_ref())).collect::<Vec<_>>(),
        [(Operation::Finish, Some(&kernel))]
    );
    assert!(jobs.finish_ready().is_empty());
}

/// A short one first, when a long one waits for it.
#[test]
fn what_others_wait_for_counts_with_them() {
    let mut jobs = Jobs { ranking: Ranking::of("x", "y", &[("a/1", 50), ("b/1", 1), ("c/1", 60)]), ..Jobs::default() };
    jobs.take_plan(&plan(vec![install("a", vec![]), install("b", vec![]), install("c", vec![1])]));
    assert_eq!(started(&mut jobs), ["b 6.1", "a 6.1"]);
    jobs.worker_ended(2, placed());
    assert_eq!(started(&mut jobs), ["c 6.1"]);
}
