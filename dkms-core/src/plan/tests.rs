//! Small worlds, one kernel unless said otherwise: a package that asks for AUTOINSTALL, changed in one thing.

mod dependencies;
mod elsewhere;
mod loops;

use rstest::rstest;

use super::*;
use crate::artifact::certificate::Certificate;

const RELEASE: &str = "6.1.0-56-amd64";
const STAMP: &str = "stamp";

fn kernel(release: &str) -> KernelId {
    KernelId::new(release, "x86_64").unwrap()
}

fn inputs(source: &str) -> Fingerprint {
    Fingerprint { source: source.into(), conf: "c".into(), headers: "h".into(), ..Fingerprint::default() }
}

fn failure(source: &str, stamp: &str) -> FailureView {
    FailureView {
        fingerprint: inputs(source).to_string(),
        header_stamp: stamp.into(),
        error: "make failed".into(),
        first_error: None,
        excerpt: Vec::new(),
        state: None,
    }
}

fn unsigned(tried: &str) -> Signing {
    Signing::Unsigned { failed: None, tried: tried.into() }
}

/// What there is to sign with: another mark stands for another key.
fn offer(mark: &str) -> Offer {
    let file = [0x30, 9, 0x30, 7, 2, 1, mark.bytes().fold(0, u8::wrapping_add), 0x30, 0, 0x30, 0];
    let certificate = Certificate::parse(&file).unwrap();
    Offer { certificate, certificate_file: "/mok.pub".into(), mark: mark.into() }
}

/// A package in the tree that wants to be installed, and has one module of its own name.
fn package(id: &str, change: impl FnOnce(&mut PackageView, &mut EntryView)) -> PackageView {
    let id: PackageId = id.parse().unwrap();
    let recipe = RecipeView {
        autoinstall: true,
        modules: vec![ModuleName::new(id.name.as_str()).unwrap()],
        ..RecipeView::default()
    };
    let mut entry = EntryView { recipe: Some(recipe), inputs: Some(inputs("s")), ..EntryView::default() };
    let mut package = PackageView {
        id,
        source: SourceView::Registered,
        autoinstall: Ok(true),
        trouble: None,
        held: None,
        entries: BTreeMap::new(),
    };
    change(&mut package, &mut entry);
    package.entries.insert(kernel(RELEASE), entry);
    package
}

fn depending(id: &str, on: &[&str], change: impl FnOnce(&mut EntryView)) -> PackageView {
    package(id, |_, entry| {
        recipe(entry).depends = on.iter().map(|name| name.parse().unwrap()).collect();
        change(entry);
    })
}

fn recipe(entry: &mut EntryView) -> &mut RecipeView {
    entry.recipe.get_or_insert_default()
}

fn install(entry: &mut EntryView) {
    entry.built = true;
    entry.installed = true;
    entry.built_from = entry.inputs.clone().or_else(|| Some(inputs("s")));
}

fn not_automatic(package: &mut PackageView, entry: &mut EntryView) {
    package.autoinstall = Ok(false);
    recipe(entry).autoinstall = false;
}

/// Its dkms.conf is bad, and does not ask for AUTOINSTALL.
fn bad(package: &mut PackageView, entry: &mut EntryView) {
    not_automatic(package, entry);
    package.trouble = Some("line 3".into());
    entry.recipe = None;
}

fn broken(package: &mut PackageView, entry: &mut EntryView) {
    package.source = SourceView::Broken { path: "/usr/src/gone".into() };
    entry.recipe = None;
    entry.inputs = None;
}

fn world(packages: impl IntoIterator<Item = PackageView>) -> World {
    let headers = HeaderView::Ready { stamp: STAMP.into() };
    World {
        kernels: vec![KernelView { id: kernel(RELEASE), presence: KernelPresence::Installed, headers }],
        packages: packages.into_iter().collect(),
        autoinstall_off: false,
    }
}

fn row<'p>(plan: &'p Plan, id: &str) -> &'p Row {
    let mut rows = plan.rows.iter().filter(|row| row.package.to_string() == id);
    let row = rows.next().unwrap_or_else(|| panic!("no row for {id} in {plan:#?}"));
    assert_eq!(rows.next(), None);
    row
}

/// The actions as `verb package`, each followed by what it comes after.
fn actions(plan: &Plan) -> Vec<String> {
    let name = |action: &Action| {
        let verb = match &action.verb {
            Verb::Add => "add",
            Verb::Install(_) => "install",
            Verb::Clean(_) => "clean",
        };
        format!("{verb} {}", action.package)
    };
    let with_needs = |action: &Action| {
        let needs: Vec<String> = action.after.iter().map(|place| name(&plan.actions[*place])).collect();
        if needs.is_empty() { name(action) } else { format!("{} after {}", name(action), needs.join(", ")) }
    };
    plan.actions.iter().map(with_needs).collect()
}

type Change = fn(&mut PackageView, &mut EntryView);

/// Tells the compiler what a case's closure takes.
fn so(change: Change) -> Change {
    change
}

/// Where nothing is due, the reason says why, and `dkmsctl check` repeats it where the kernel is not fit.
#[rstest]
#[case::installed(so(|_, e| install(e)), EntryState::Installed, "", true)]
#[case::installed_by_a_classic_tool(so(|_, e| { install(e); e.built_from = None; }), EntryState::Installed, "", true)]
#[case::installed_while_its_source_settles(so(|_, e| { install(e); e.inputs = None; }), EntryState::Installed, "", true)]
#[case::installed_and_once_failed(
    so(|_, e| { install(e); e.failure = Some(failure("s", STAMP)); }),
    EntryState::Installed, "", true
)]
#[case::failed(so(|_, e| e.failure = Some(failure("s", STAMP))), EntryState::Failed, "make failed", false)]
#[case::built_and_failed_to_install(
    so(|_, e| { e.built = true; e.built_from = e.inputs.clone(); e.failure = Some(failure("s", STAMP)); }),
    EntryState::Failed, "make failed", false
)]
#[case::failed_while_its_source_settles(
    so(|_, e| { e.inputs = None; e.failure = Some(failure("other", "other")); }),
    EntryState::Failed, "make failed", false
)]
#[case::stale_and_failed(
    so(|_, e| { install(e); e.built_from = Some(inputs("old")); e.failure = Some(failure("s", STAMP)); }),
    EntryState::Failed, "make failed", false
)]
#[case::unreadable(
    so(|p, e| { p.autoinstall = Err("line 3".into()); e.recipe = None; }),
    EntryState::Failed, "line 3", false
)]
#[case::unreadable_on_another_kernel(
    so(|p, e| { p.autoinstall = Err("line 3".into()); install(e); }),
    EntryState::Installed, "", true
)]
#[case::installed_and_unreadable_since(
    so(|p, e| { p.autoinstall = Err("line 3".into()); e.recipe = None; install(e); }),
    EntryState::Installed, "line 3", false
)]
#[case::bad_and_not_automatic(bad, EntryState::Added, "line 3", true)]
#[case::bad_and_built_by_hand(so(|p, e| { bad(p, e); e.built = true; }), EntryState::Built, "line 3", true)]
#[case::bad_and_failed_by_hand(
    so(|p, e| { bad(p, e); e.failure = Some(failure("s", STAMP)); }),
    EntryState::Added, "line 3", true
)]
#[case::bad_and_installed_by_hand(so(|p, e| { bad(p, e); install(e); }), EntryState::Installed, "line 3", false)]
#[case::excluded(so(|_, e| recipe(e).exclusion = Some("not for it".into())), EntryState::Excluded, "not for it", true)]
#[case::dormant(so(|_, e| recipe(e).dormant = Some("in the kernel".into())), EntryState::Dormant, "in the kernel", true)]
#[case::kernel_newer(
    so(|_, e| e.failure = Some(FailureView { state: Some(EntryState::KernelNewer), ..failure("s", STAMP) })),
    EntryState::KernelNewer, "make failed", true
)]
#[case::held(so(|_, e| e.held = Some("by hand".into())), EntryState::Held, "by hand", true)]
#[case::held_whole(
    so(|p, e| { p.held = Some("by hand".into()); e.held = p.held.clone(); p.source = SourceView::Unregistered; }),
    EntryState::Held, "by hand", true
)]
#[case::held_while_it_is_being_removed(
    so(|_, e| { install(e); e.missing = vec!["/a.ko".into()]; e.held = Some("by hand".into()); }),
    EntryState::Installed, "by hand", false
)]
#[case::installed_and_excluded_since(
    so(|_, e| { install(e); e.built_from = Some(inputs("old")); recipe(e).exclusion = Some("not for it".into()); }),
    EntryState::Installed, "not for it", false
)]
#[case::broken(broken, EntryState::Broken, "/usr/src/gone is missing", false)]
#[case::broken_and_installed(
    so(|p, e| { install(e); broken(p, e); }),
    EntryState::Broken, "/usr/src/gone is missing; the module that is installed still works", false
)]
#[case::added(not_automatic, EntryState::Added, NOT_AUTOMATIC, true)]
#[case::built_by_hand(so(|p, e| { not_automatic(p, e); e.built = true; }), EntryState::Built, NOT_AUTOMATIC, true)]
#[case::installed_by_hand(so(|p, e| { not_automatic(p, e); install(e); }), EntryState::Installed, "", true)]
#[case::installed_by_hand_and_stale(
    so(|p, e| { not_automatic(p, e); install(e); e.built_from = Some(inputs("old")); }),
    EntryState::Installed, "its source changed", false
)]
#[case::installed_by_hand_and_its_build_lost(
    so(|p, e| { not_automatic(p, e); install(e); e.built = false; }),
    EntryState::Installed, "is missing from the tree", false
)]
#[case::failed_by_hand(
    so(|p, e| { not_automatic(p, e); e.failure = Some(failure("s", STAMP)); }),
    EntryState::Failed, "make failed", true
)]
#[case::unsigned_as_nothing_is_there_to_sign_with(
    so(|_, e| { install(e); e.signing = unsigned(""); }),
    EntryState::Installed, "", true
)]
#[case::unsigned_and_tried_with_the_same(
    so(|_, e| { install(e); e.signing = unsigned("now"); e.offer = Some(Arc::new(offer("now"))); }),
    EntryState::Installed, "", true
)]
#[case::nobody_knows_whether_it_is_signed(
    so(|_, e| { install(e); e.offer = Some(Arc::new(offer("now"))); }),
    EntryState::Installed, "", true
)]
#[case::signed_by_somebody_else(
    so(|_, e| {
        install(e);
        e.signing = Signing::Signed { certificate: String::new(), key_id: String::new() };
        e.offer = Some(Arc::new(offer("now")));
    }),
    EntryState::Installed, "", true
)]
#[case::held_by_hand(so(|p, e| { not_automatic(p, e); e.held = Some("by hand".into()); }), EntryState::Held, "by hand", true)]
fn states_in_which_nothing_is_due(
    #[case] change: Change,
    #[case] state: EntryState,
    #[case] reason: &str,
    #[case] fit: bool,
) {
    let plan = plan(&world([package("a/1", change)]));
    assert_eq!(actions(&plan), [""; 0]);
    let row = row(&plan, "a/1");
    assert_eq!(row.state, state);
    assert!(row.reason.contains(reason) && (reason.is_empty() == row.reason.is_empty()), "{}", row.reason);
    assert_eq!(row.problem().is_none(), fit, "{row:?}");
    assert_eq!(row.kernel, Some(kernel(RELEASE)));
}

const NOT_AUTOMATIC: &str = "it does not ask for AUTOINSTALL";

#[rstest]
#[case::new(so(|_, _| {}), EntryState::Queued, "it is not there yet")]
#[case::built(so(|_, e| { e.built = true; e.built_from = e.inputs.clone(); }), EntryState::Queued, "built and not installed")]
#[case::built_from_something_else(
    so(|_, e| { e.built = true; e.built_from = Some(inputs("old")); }),
    EntryState::Queued, "its source changed"
)]
#[case::source_changed(
    so(|_, e| { install(e); e.built_from = Some(inputs("old")); }),
    EntryState::Installed, "its source changed"
)]
#[case::headers_changed(
    so(|_, e| { install(e); e.built_from = Some(Fingerprint { headers: "old".into(), ..inputs("s") }); }),
    EntryState::Installed, "the kernel's headers changed"
)]
#[case::overrides_changed(
    so(|_, e| { install(e); e.built_from = Some(Fingerprint { conf: "old".into(), ..inputs("s") }); }),
    EntryState::Installed, "its overrides in /etc/dkms changed"
)]
#[case::a_file_is_missing(
    so(|_, e| { install(e); e.missing = vec!["/lib/modules/a.ko".into()]; }),
    EntryState::Installed, "/lib/modules/a.ko is missing"
)]
#[case::its_build_is_lost(so(|_, e| { install(e); e.built = false; }), EntryState::Installed, "is missing from the tree")]
#[case::a_rebuild_was_not_installed(
    so(|_, e| { install(e); e.outdated = vec!["/lib/modules/a.ko".into()]; }),
    EntryState::Installed, "/lib/modules/a.ko is from an earlier build"
)]
#[case::it_can_be_signed_by_now(
    so(|_, e| { install(e); e.signing = unsigned(""); e.offer = Some(Arc::new(offer("now"))); }),
    EntryState::Installed, "it is not signed, and there is a key"
)]
#[case::another_key_may_do(
    so(|_, e| { install(e); e.signing = unsigned("then"); e.offer = Some(Arc::new(offer("now"))); }),
    EntryState::Installed, "it is not signed, and there is a key"
)]
#[case::the_key_changed(
    so(|_, e| {
        install(e);
        e.signing = Signing::Signed { certificate: "old".into(), key_id: String::new() };
        e.offer = Some(Arc::new(offer("now")));
    }),
    EntryState::Installed, "its signature is of another key than that of /mok.pub"
)]
#[case::failed_from_another_source(
    so(|_, e| e.failure = Some(failure("old", STAMP))),
    EntryState::Queued, "it failed before; since then its source changed"
)]
#[case::failed_with_other_headers(so(|_, e| e.failure = Some(failure("s", "old"))), EntryState::Queued, "it failed before; since then the files of the kernel's headers changed")]
#[case::failed_with_other_overrides(
    so(|_, e| {
        let then = Fingerprint { conf: "old".into(), ..inputs("s") };
        e.failure = Some(FailureView { fingerprint: then.to_string(), ..failure("s", STAMP) });
    }),
    EntryState::Queued, "it failed before; since then its overrides in /etc/dkms changed"
)]
#[case::failed_with_headers_of_other_content(
    so(|_, e| {
        let then = Fingerprint { headers: "old".into(), ..inputs("s") };
        e.failure = Some(FailureView { fingerprint: then.to_string(), ..failure("s", STAMP) });
    }),
    EntryState::Queued, "it failed before; since then the kernel's headers changed"
)]
#[case::failed_without_headers(
    so(|_, e| e.failure = Some(FailureView { fingerprint: String::new(), ..failure("", "") })),
    EntryState::Queued, "it failed before, and nothing tells that it would again"
)]
#[case::refused_as_older_than_another_kernels(
    so(|_, e| e.failure = Some(FailureView { state: Some(EntryState::KernelNewer), ..failure("old", STAMP) })),
    EntryState::Queued, "it failed before"
)]
fn states_in_which_an_install_is_due(#[case] change: Change, #[case] state: EntryState, #[case] reason: &str) {
    let plan = plan(&world([package("a/1", change)]));
    assert_eq!(actions(&plan), ["install a/1"]);
    let row = row(&plan, "a/1");
    assert_eq!((row.state, row.stale), (state, state == EntryState::Installed));
    assert!(row.reason.contains(reason), "{}", row.reason);
    assert_eq!(row.problem(), Some(row.reason.as_str()));
    assert_eq!(plan.actions[0].verb, Verb::Install(kernel(RELEASE)));
    assert_eq!(plan.actions[0].reason, row.reason);
}

#[rstest]
#[case::settling(HeaderView::Settling { why: "x.h has just changed".into() }, "x.h has just changed")]
#[case::missing(
    HeaderView::Missing { why: "no build".into(), package: Some("linux-headers".into()) },
    "no build; install linux-headers"
)]
#[case::missing_from_nowhere(HeaderView::Missing { why: "no build".into(), package: None }, "no build")]
#[case::unusable(HeaderView::Unusable { why: "modpost is s390x".into() }, "modpost is s390x")]
fn without_headers_everything_waits(#[case] headers: HeaderView, #[case] reason: &str) {
    let cases: [(&str, Change, EntryState, bool); 7] = [
        ("new/1", |_, _| {}, EntryState::WaitingForHeaders, false),
        ("failed/1", |_, e| e.failure = Some(failure("s", STAMP)), EntryState::WaitingForHeaders, false),
        ("there/1", |_, e| install(e), EntryState::Installed, true),
        (
            "incomplete/1",
            |_, e| {
                install(e);
                e.missing = vec!["/a.ko".into()];
            },
            EntryState::Installed,
            false,
        ),
        ("excluded/1", |_, e| recipe(e).exclusion = Some("no".into()), EntryState::Excluded, true),
        ("held/1", |_, e| e.held = Some("by hand".into()), EntryState::Held, true),
        (
            "newer/1",
            |_, e| e.failure = Some(FailureView { state: Some(EntryState::KernelNewer), ..failure("s", STAMP) }),
            EntryState::KernelNewer,
            true,
        ),
    ];
    let mut world = world(cases.iter().map(|(id, change, ..)| {
        package(id, |p, e| {
            e.inputs = None;
            change(p, e);
        })
    }));
    world.kernels[0].headers = headers;
    let plan = plan(&world);
    assert_eq!(actions(&plan), [""; 0]);
    for (id, _, state, fit) in cases {
        let row = row(&plan, id);
        assert_eq!(row.state, state, "{id}");
        assert_eq!(row.problem().is_none(), fit, "{row:?}");
        let waits = matches!(id, "new/1" | "failed/1" | "incomplete/1");
        assert_eq!(row.reason.contains(reason), waits, "{row:?}");
    }
}

#[rstest]
#[case::newest_wins(&[("a/1", so(|_, _| {})), ("a/2", so(|_, _| {}))], &["install a/2"], "superseded queued")]
#[case::by_version_not_by_name(&[("a/10", so(|_, _| {})), ("a/9", so(|_, _| {}))], &["install a/10"], "queued superseded")]
#[case::upgrade(&[("a/1", so(|_, e| install(e))), ("a/2", so(|_, _| {}))], &["install a/2"], "installed queued")]
#[case::upgraded(&[("a/1", so(|_, e| e.built = true)), ("a/2", so(|_, e| install(e)))], &[], "superseded installed")]
#[case::upgrade_failed(
    &[("a/1", so(|_, e| install(e))), ("a/2", so(|_, e| e.failure = Some(failure("s", STAMP))))],
    &[], "installed failed"
)]
#[case::newest_held(&[("a/1", so(|_, _| {})), ("a/2", so(|_, e| e.held = Some("by hand".into())))], &[], "superseded held")]
#[case::older_held(&[("a/1", so(|_, e| e.held = Some("by hand".into()))), ("a/2", so(|_, _| {}))], &["install a/2"], "superseded queued")]
#[case::newest_excluded(
    &[("a/1", so(|_, e| install(e))), ("a/2", so(|_, e| recipe(e).exclusion = Some("no".into())))],
    &[], "installed excluded"
)]
#[case::newest_is_not_automatic(&[("a/1", so(|_, _| {})), ("a/2", so(not_automatic))], &["install a/1"], "queued added")]
#[case::newest_was_installed_by_hand(
    &[("a/1", so(|_, _| {})), ("a/2", so(|p, e| { not_automatic(p, e); install(e); }))],
    &[], "superseded installed"
)]
#[case::older_was_installed_by_hand(
    &[("a/1", so(|p, e| { not_automatic(p, e); install(e); })), ("a/2", so(|_, _| {}))],
    &["install a/2"], "installed queued"
)]
#[case::newest_is_broken(&[("a/1", so(|_, _| {})), ("a/2", so(broken))], &["install a/1"], "queued broken")]
#[case::older_is_broken(&[("a/1", so(broken)), ("a/2", so(|_, _| {}))], &["install a/2"], "broken queued")]
#[case::another_package_owns_the_module(
    &[("a/1", so(|_, e| install(e))), ("b/1", so(|_, e| recipe(e).modules = vec!["a".parse().unwrap()]))],
    &[], "installed superseded"
)]
#[case::two_bring_the_same_module(
    &[("a/1", so(|_, _| {})), ("b/1", so(|_, e| recipe(e).modules = vec!["a".parse().unwrap()]))],
    &["install a/1"], "queued superseded"
)]
#[case::the_first_of_them_failed(
    &[
        ("a/1", so(|_, e| e.failure = Some(failure("s", STAMP)))),
        ("b/1", so(|_, e| recipe(e).modules = vec!["a".parse().unwrap()])),
    ],
    &["install b/1"], "failed queued"
)]
fn beside_each_other(#[case] packages: &[(&str, Change)], #[case] due: &[&str], #[case] states: &str) {
    let plan = plan(&world(packages.iter().map(|(id, change)| package(id, change))));
    assert_eq!(actions(&plan), due);
    let found: Vec<String> = plan.rows.iter().map(|row| row.state.to_string()).collect();
    assert_eq!(found.join(" "), states);
}

#[test]
fn what_is_superseded_says_by_what() {
    let other = |p: &mut PackageView, e: &mut EntryView| {
        recipe(e).modules = vec!["a".parse().unwrap()];
        p.held = None;
    };
    let plan = plan(&world([package("a/1", |_, _| {}), package("a/2", |_, e| install(e)), package("b/1", other)]));
    assert_eq!(row(&plan, "a/1").reason, "a/2 is newer");
    assert_eq!(row(&plan, "b/1").reason, "a/2 brings the module a");
}
