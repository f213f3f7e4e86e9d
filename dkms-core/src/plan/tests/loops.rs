//! Whatever the world, the planner comes to rest: what was tried is not tried again until something changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const RELEASES: [&str; 3] = ["5.10", "6.1", "6.12"];

/// The world after a while: what depends on what is installed is worked out from it, as observing does.
fn settle(mut world: World) -> World {
    let installed: BTreeSet<(String, KernelId, String)> = each(&world)
        .filter(|(_, _, entry)| entry.installed)
        .map(|(id, kernel, _)| (id.name.to_string(), kernel.clone(), id.version.to_string()))
        .collect();
    for package in &mut world.packages {
        for (kernel, entry) in &mut package.entries {
            let (Some(recipe), Some(inputs)) = (&entry.recipe, &mut entry.inputs) else { continue };
            let version = |name: &PackageName| {
                let of = installed.iter().find(|(n, k, _)| n == name.as_str() && k == kernel);
                format!("{name}={};", of.map_or("", |(_, _, version)| version))
            };
            inputs.depends = recipe.depends.iter().map(version).collect();
        }
    }
    world
}

fn each(world: &World) -> impl Iterator<Item = (&PackageId, &KernelId, &EntryView)> {
    world.packages.iter().flat_map(|p| p.entries.iter().map(move |(kernel, entry)| (&p.id, kernel, entry)))
}

fn entry<'w>(world: &'w mut World, id: &PackageId, kernel: &KernelId) -> &'w mut EntryView {
    let package = world.packages.iter_mut().find(|p| p.id == *id).unwrap();
    package.entries.get_mut(kernel).unwrap()
}

/// A build as it comes out of signing with this: some tools fail, and some only say that they did not.
fn signed(offer: Option<&Offer>) -> Signing {
    let unsigned = |failed: Option<&str>, tried: &str| Signing::Unsigned {
        failed: failed.map(str::to_owned),
        tried: tried.into(),
    };
    match offer {
        None => unsigned(None, ""),
        Some(offer) if offer.mark.starts_with("fails") => unsigned(Some("it fails"), &offer.mark),
        Some(offer) if offer.mark.starts_with("lies") => unsigned(None, &offer.mark),
        Some(offer) if offer.mark.starts_with("hides") => {
            Signing::Signed { certificate: String::new(), key_id: String::new() }
        }
        Some(offer) => {
            Signing::Signed { certificate: offer.certificate.digest.clone(), key_id: offer.certificate.key_id.clone() }
        }
    }
}

fn some_offer() -> impl Strategy<Value = Option<Arc<Offer>>> {
    let offers = prop::sample::select(vec!["signs", "signs too", "fails", "fails too", "lies", "hides"]);
    prop::option::of(offers.prop_map(|mark| Arc::new(offer(mark))))
}

/// Signed as a build was that had some other offer.
fn some_signing() -> impl Strategy<Value = Signing> {
    prop_oneof![1 => Just(Signing::Unknown), 4 => some_offer().prop_map(|offer| signed(offer.as_deref()))]
}

/// Does an action as the engine would. `succeeds` is whether the compiler is content.
fn act(mut world: World, action: &Action, succeeds: bool) -> (World, bool) {
    let id = &action.package;
    match &action.verb {
        Verb::Add => world.packages.iter_mut().find(|p| p.id == *id).unwrap().source = SourceView::Registered,
        Verb::Clean(kernel) => {
            let gone = entry(&mut world, id, kernel);
            *gone = EntryView { recipe: gone.recipe.clone(), ..EntryView::default() };
        }
        Verb::Install(kernel) => {
            let stamp = world.kernels.iter().find(|k| k.id == *kernel).and_then(|k| match &k.headers {
                HeaderView::Ready { stamp } => Some(stamp.clone()),
                _ => None,
            });
            let there: BTreeSet<PackageName> =
                each(&world).filter(|(_, k, e)| *k == kernel && e.installed).map(|(id, ..)| id.name.clone()).collect();
            let entry = entry(&mut world, id, kernel);
            let recipe = entry.recipe.clone().unwrap();
            let met = recipe.depends.iter().all(|name| there.contains(name));
            let why = if succeeds && met { None } else { Some("it fails") };
            if let Some(why) = why {
                entry.failure = Some(FailureView {
                    fingerprint: entry.inputs.as_ref().map(ToString::to_string).unwrap_or_default(),
                    header_stamp: stamp.unwrap_or_default(),
                    error: why.into(),
                    ..FailureView::default()
                });
                return (settle(world), false);
            }
            let fresh = entry.built && entry.built_from.is_none();
            let signing = if fresh { entry.signing.clone() } else { signed(entry.offer.as_deref()) };
            *entry = EntryView {
                built: true,
                installed: true,
                signing,
                offer: entry.offer.clone(),
                built_from: if fresh { None } else { entry.inputs.clone() },
                recipe: Some(recipe),
                inputs: entry.inputs.clone(),
                ..EntryView::default()
            };
            for package in world.packages.iter_mut().filter(|p| p.id.name == id.name && p.id != *id) {
                if let Some(other) = package.entries.get_mut(kernel) {
                    other.installed = false;
                }
            }
        }
    }
    (settle(world), true)
}

/// Does everything that is due, each thing only after what it needs has succeeded. Says what was tried.
fn act_on_all(mut world: World, plan: &Plan, succeeds: &dyn Fn(usize) -> bool) -> (World, BTreeSet<Key>) {
    let (mut done, mut tried) = (Vec::new(), BTreeSet::new());
    for (place, action) in plan.actions.iter().enumerate() {
        let can = action.after.iter().all(|needed| done[*needed]);
        let well = if can {
            let (next, well) = act(world, action, succeeds(place));
            world = next;
            tried.insert((action.verb.clone(), action.package.clone()));
            well
        } else {
            false
        };
        done.push(well);
    }
    (world, tried)
}

fn some_inputs() -> impl Strategy<Value = Fingerprint> {
    let part = || prop::sample::select(vec!["1", "2"]);
    (part(), part(), part()).prop_map(|(source, conf, headers)| Fingerprint {
        source: source.into(),
        conf: conf.into(),
        headers: headers.into(),
        ..Fingerprint::default()
    })
}

fn maybe<T: Clone + std::fmt::Debug + 'static>(one_in: u32, value: T) -> impl Strategy<Value = Option<T>> {
    prop_oneof![one_in - 1 => Just(None), 1 => Just(Some(value))]
}

fn some_failure() -> impl Strategy<Value = FailureView> {
    let state = prop_oneof![3 => Just(None), 1 => Just(Some(EntryState::KernelNewer))];
    (some_inputs(), any::<bool>(), any::<bool>(), state).prop_map(|(then, known, stamp, state)| FailureView {
        fingerprint: if known { then.to_string() } else { String::new() },
        header_stamp: if stamp { STAMP } else { "old" }.into(),
        error: "it failed".into(),
        first_error: None,
        excerpt: Vec::new(),
        state,
    })
}

fn some_entry() -> impl Strategy<Value = EntryView> {
    let names = prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d", "unknown"]), 0..3);
    let modules = prop::collection::vec(prop::sample::select(vec!["m", "n", "o", "p", "q"]), 0..3);
    let recipe = (
        prop::bool::weighted(0.8),
        maybe(8, "no".to_owned()),
        maybe(8, "no".to_owned()),
        names,
        any::<bool>(),
        modules,
    )
        .prop_map(|(autoinstall, exclusion, dormant, depends, depends_rebuild, modules)| RecipeView {
            autoinstall,
            exclusion,
            dormant,
            depends: depends.into_iter().map(|n| n.parse().unwrap()).collect(),
            depends_rebuild,
            modules: modules.into_iter().map(|m| m.parse().unwrap()).collect(),
        });
    (
        (any::<bool>(), any::<bool>(), maybe(4, PathBuf::from("/gone.ko")), maybe(8, PathBuf::from("/old.ko"))),
        (prop::option::weighted(0.9, recipe), prop::option::weighted(0.9, some_inputs())),
        (prop::option::of(some_inputs()), prop::option::weighted(0.3, some_failure()), maybe(8, "by hand".to_owned())),
        (some_signing(), some_offer()),
    )
        .prop_map(
            |((built, installed, missing, outdated), (recipe, inputs), (built_from, failure, held), signs)| {
                let (signing, offer) = signs;
                EntryView {
                    built: built || installed,
                    installed,
                    missing: missing.into_iter().collect(),
                    outdated: outdated.into_iter().collect(),
                    recipe,
                    inputs,
                    built_from,
                    failure,
                    held,
                    log: None,
                    signing,
                    offer,
                }
            },
        )
}

fn some_package() -> impl Strategy<Value = PackageView> {
    let source = prop_oneof![
        5 => Just(SourceView::Registered),
        2 => Just(SourceView::Unregistered),
        1 => Just(SourceView::Broken { path: "/usr/src/gone".into() }),
    ];
    let entries = prop::collection::vec(some_entry(), RELEASES.len());
    (prop::sample::select(&NAMES[..]), 1..4u8, source, maybe(6, "by hand".to_owned()), entries, any::<bool>()).prop_map(
        |(name, version, source, held, entries, unwanted)| {
            let mut entries: BTreeMap<KernelId, EntryView> = RELEASES.iter().map(|r| kernel(r)).zip(entries).collect();
            for entry in entries.values_mut() {
                if source == SourceView::Unregistered {
                    *entry =
                        EntryView { recipe: entry.recipe.take(), inputs: entry.inputs.take(), ..Default::default() };
                }
                if matches!(source, SourceView::Broken { .. }) {
                    (entry.recipe, entry.inputs) = (None, None);
                }
                if entry.recipe.is_none() {
                    entry.inputs = None;
                }
                entry.held = entry.held.take().or_else(|| held.clone());
            }
            let bad = entries.values().any(|e| e.recipe.is_none()) && source == SourceView::Registered;
            let wanted = entries.values().any(|e| e.recipe.as_ref().is_some_and(|r| r.autoinstall));
            let trouble = (bad && unwanted).then(|| "line 4".to_owned());
            let autoinstall = if bad && !unwanted { Err("line 3".into()) } else { Ok(wanted) };
            let id = PackageId::new(name, version.to_string()).unwrap();
            PackageView { id, source, autoinstall, trouble, held, entries }
        },
    )
}

/// One that observing could find: every package once, one version of it installed on a kernel, no inputs where the
/// headers are not ready, and nothing read for a kernel that is gone.
fn some_world() -> impl Strategy<Value = World> {
    let headers = prop_oneof![
        4 => Just(HeaderView::Ready { stamp: STAMP.into() }),
        1 => Just(HeaderView::Settling { why: "late.h".into() }),
        1 => Just(HeaderView::Missing { why: "no build".into(), package: None }),
    ];
    let presence = prop_oneof![
        4 => Just(KernelPresence::Installed),
        1 => Just(KernelPresence::HeadersOnly),
        1 => Just(KernelPresence::Gone),
    ];
    let kernels = prop::collection::vec((presence, headers), RELEASES.len());
    (kernels, prop::collection::vec(some_package(), 0..9), prop::bool::weighted(0.1)).prop_map(
        |(kernels, mut packages, autoinstall_off)| {
            packages.sort_by(|a, b| a.id.cmp(&b.id));
            packages.dedup_by(|a, b| a.id == b.id);
            let kernels: Vec<KernelView> = RELEASES
                .iter()
                .zip(kernels)
                .map(|(release, (presence, headers))| KernelView { id: kernel(release), presence, headers })
                .collect();
            for kernel in &kernels {
                let mut linked = BTreeSet::new();
                for package in &mut packages {
                    let name = package.id.name.clone();
                    let entry = package.entries.get_mut(&kernel.id).unwrap();
                    entry.installed &= linked.insert((name, entry.installed));
                    if kernel.presence == KernelPresence::Gone {
                        entry.recipe = None;
                    }
                    if entry.recipe.is_none() || !matches!(kernel.headers, HeaderView::Ready { .. }) {
                        (entry.inputs, entry.offer) = (None, None);
                    }
                }
            }
            settle(World { kernels, packages, autoinstall_off })
        },
    )
}

type Key = (Verb, PackageId);

fn keys(plan: &Plan) -> BTreeSet<Key> {
    plan.actions.iter().map(|a| (a.verb.clone(), a.package.clone())).collect()
}

/// What was due, look by look.
fn story(plans: &[&Plan]) -> String {
    let action = |a: &Action| format!("{:?} {}: {} (after {:?})\n", a.verb, a.package, a.reason, a.after);
    plans.iter().map(|plan| plan.actions.iter().map(action).collect::<String>() + "then\n").collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_plan_is_in_order_and_says_what_it_does(world in some_world()) {
        let plan = plan(&world);
        prop_assert_eq!(keys(&plan).len(), plan.actions.len(), "nothing is done twice");
        for (place, action) in plan.actions.iter().enumerate() {
            prop_assert!(action.after.iter().all(|needed| *needed < place));
            prop_assert!(!action.reason.is_empty());
            let Verb::Install(kernel) = &action.verb else { continue };
            let row = plan.rows.iter().find(|r| r.package == action.package && r.kernel.as_ref() == Some(kernel));
            let row = row.unwrap();
            let of_name = |name: &PackageName| each(&world).filter(|(id, k, _)| id.name == *name && *k == kernel).map(|(.., e)| e).collect::<Vec<_>>();
            let recipe = entry(&mut world.clone(), &action.package, kernel).recipe.clone().unwrap();
            for needed in &recipe.depends {
                let comes = action.after.iter().any(|place| plan.actions[*place].package.name == *needed);
                let excluded = |e: &EntryView| e.recipe.as_ref().is_some_and(|r| r.exclusion.is_some());
                let there = of_name(needed).iter().any(|e| e.installed || excluded(e));
                prop_assert!(comes || there, "{action:?} needs {needed}");
            }
            prop_assert!(row.state == EntryState::Queued || (row.state == EntryState::Installed && row.stale), "{row:?}");
        }
        let mut rows = BTreeSet::new();
        for row in &plan.rows {
            prop_assert!(rows.insert((&row.package, &row.kernel)), "one row a package and kernel: {row:?}");
            let install = row.kernel.clone().map(|kernel| (Verb::Install(kernel), row.package.clone()));
            let queued = row.state == EntryState::Queued && row.kernel.is_some();
            prop_assert!(!queued || keys(&plan).contains(&install.unwrap()), "queued for ever: {row:?}");
            prop_assert!(!row.reason.is_empty() || row.state == EntryState::Installed, "{row:?}");
        }
    }

    #[test]
    fn what_was_done_is_not_due_again(world in some_world()) {
        let first = plan(&world);
        let (after, tried) = act_on_all(world, &first, &|_| true);
        let second = plan(&after);
        prop_assert!(tried.is_disjoint(&keys(&second)), "{}", story(&[&first, &second]));
    }

    #[test]
    fn what_failed_is_not_due_again(world in some_world()) {
        let first = plan(&world);
        let (after, tried) = act_on_all(world, &first, &|_| false);
        let second = plan(&after);
        prop_assert!(tried.is_disjoint(&keys(&second)), "{}", story(&[&first, &second]));
    }

    /// Each look may find something new to do because of what was done before, but not for long.
    #[test]
    fn it_comes_to_rest(world in some_world(), luck in any::<u64>()) {
        let mut world = world;
        for round in 0..12 {
            let plan = plan(&world);
            if plan.actions.is_empty() {
                return Ok(());
            }
            (world, _) = act_on_all(world, &plan, &|place| luck.rotate_right((place * 7 + round) as u32) & 1 == 0);
        }
        prop_assert!(false, "still busy: {}", story(&[&plan(&world)]));
    }
}
