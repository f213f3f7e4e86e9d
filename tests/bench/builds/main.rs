//! How fast real packages are built and looked after, against Debian's own `dkms` and against bare `make`, as ratios of
//! one run.
//!
//! ```text
//! cargo bench -p dkmsd-tests --bench builds [-- [--rounds N] [--skip machines|idle|scale]… [PACKAGE…]]
//! ```
//!
//! `--skip machines` leaves the large tree only: half a minute, without a machine, root or network.
//!
//! Two throw-away machines stand side by side, one with Debian's `dkms`, one with the programs under test, each with the
//! same kernel and the same eight packages of Debian. They take turns, so that whatever else the host does slows both. Not
//! a part of the tests: what it prints depends on the machine, and is worth something only on a quiet one. Needs root and
//! network, as the tests in machines do; takes about ten minutes on two cores.
#![allow(clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a program for people who measure")]

mod idle;
mod packages;
mod rig;
mod scale;
mod table;
mod timing;

use std::time::{Duration, Instant};

use packages::{PACKAGES, Package};
use rig::{Bare, Rig};
use table::{Table, milliseconds, seconds};
use timing::{Run, median};

/// How many turns the quick commands take, and how often ours runs in each of them.
const QUICK_TURNS: usize = 5;
const OURS_A_TURN: usize = 5;

struct Wanted {
    rounds: usize,
    skip: Vec<String>,
    packages: Vec<&'static Package>,
}

impl Wanted {
    fn parse() -> Self {
        let mut wanted = Self { rounds: 3, skip: Vec::new(), packages: Vec::new() };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                // Added by cargo.
                "--bench" => {}
                "--rounds" => wanted.rounds = value().parse().expect("--rounds takes a number"),
                "--skip" => wanted.skip.push(value()),
                name => {
                    let found = PACKAGES.iter().find(|package| package.name() == name);
                    let names: Vec<_> = PACKAGES.iter().map(Package::name).collect();
                    wanted.packages.push(found.unwrap_or_else(|| panic!("no {name} among {}", names.join(", "))));
                }
            }
        }
        assert!(wanted.rounds > 0, "--rounds takes a number above 0");
        if wanted.packages.is_empty() {
            wanted.packages = PACKAGES.iter().collect();
        }
        wanted
    }

    fn wants(&self, part: &str) -> bool {
        !self.skip.iter().any(|skipped| skipped == part)
    }
}

fn main() {
    let wanted = Wanted::parse();
    let (start, load_before) = (Instant::now(), load());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut table = Table::default();

    let mut about = Vec::new();
    if wanted.wants("machines") {
        about = in_machines(&wanted, cores, start, &mut table);
    }
    if wanted.wants("scale") {
        scale::measure(&mut table);
        say(start, "the large tree is measured");
    }

    println!("\n{cores} × {}; load {load_before} before, {} after; {:.0?}", processor(), load(), start.elapsed());
    println!("{}\n\n{table}", about.join("\n"));
}

/// Everything that needs the two machines; gives what is to be known about it.
fn in_machines(wanted: &Wanted, cores: usize, start: Instant, table: &mut Table) -> Vec<String> {
    let rig = Rig::new(&wanted.packages, cores);
    say(start, &format!("two machines stand, kernel {}", rig.kernel()));
    let builds = builds(&rig, wanted.rounds, start);
    builds.tell(table, cores);
    quick(&rig, table);
    say(start, "quick commands are measured");
    cache(&rig, &builds, table);
    if wanted.wants("idle") {
        idle::measure(&rig, table);
        say(start, "the idle daemon is measured");
    }
    let names: Vec<_> = wanted.packages.iter().map(|package| package.name()).collect();
    let peer = rig.peer_version();
    vec![
        format!("kernel {}; Debian's dkms {peer}; {} packages: {}", rig.kernel(), names.len(), names.join(", ")),
        format!("autoinstall and bare make: median of {}. Bare make, one package after the other:", wanted.rounds),
        format!("\n{}", builds.bare_table()),
    ]
}

/// What the rounds of building came to.
struct Builds {
    peer: Vec<Run>,
    ours: Vec<Run>,
    daemon: Vec<Run>,
    bare: Vec<Vec<Bare>>,
}

fn builds(rig: &Rig, rounds: usize, start: Instant) -> Builds {
    let mut builds = Builds { peer: Vec::new(), ours: Vec::new(), daemon: Vec::new(), bare: Vec::new() };
    for round in 1..=rounds {
        builds.peer.push(rig.peer_autoinstall());
        builds.ours.push(rig.our_autoinstall());
        builds.bare.push(rig.bare_make());
        builds.daemon.push(rig.daemon_autoinstall());
        let walls = [&builds.peer, &builds.ours, &builds.daemon].map(|runs| runs.last().map(|run| seconds(run.wall)));
        let [peer, ours, daemon] = walls.map(Option::unwrap_or_default);
        say(start, &format!("round {round} of {rounds}: Debian's {peer}, ours {ours}, the daemon {daemon}"));
    }
    builds
}

impl Builds {
    /// Nothing can build sooner: the longest single build with every core to itself, and all work spread over the cores.
    fn bound(&self, cores: usize) -> Duration {
        let of_round = |bare: &Vec<Bare>| {
            let longest = bare.iter().map(|bare| bare.run.wall).max().unwrap_or_default();
            let work: Duration = bare.iter().map(|bare| bare.run.cpu).sum();
            longest.max(work / u32::try_from(cores).unwrap_or(u32::MAX))
        };
        median(self.bare.iter().map(of_round).collect())
    }

    fn tell(&self, table: &mut Table, cores: usize) {
        let wall = |runs: &[Run]| median(runs.iter().map(|run| run.wall).collect());
        let cpu = |runs: &[Run]| median(runs.iter().map(|run| run.cpu).collect());
        let bound = self.bound(cores);
        let bare_cpu = median(self.bare.iter().map(|round| round.iter().map(|bare| bare.run.cpu).sum()).collect());
        let (peer, ours, daemon) = (wall(&self.peer), wall(&self.ours), wall(&self.daemon));
        table.ratio("autoinstall on a new kernel: `dkms autoinstall`", peer, ours, seconds, "1.35 times");
        table.ratio(
            "the same: the daemon, from the kernel's hook until it returns",
            peer,
            daemon,
            seconds,
            "1.35 times",
        );
        let above = |what: &str, time: Duration, table: &mut Table| {
            let far = (time.as_secs_f64() / bound.as_secs_f64() - 1.0) * 100.0;
            let against = format!("bound {}", seconds(bound));
            table.row(what, &against, &seconds(time), &format!("{far:+.0} %"), "within +10 %");
        };
        above("`dkms autoinstall` against the bound", ours, table);
        above("the daemon against the bound", daemon, table);
        let spent = |what: &str, time: Duration, table: &mut Table| {
            let more = (time.as_secs_f64() / bare_cpu.as_secs_f64() - 1.0) * 100.0;
            let against = format!("bare make {}", seconds(bare_cpu));
            table.row(what, &against, &seconds(time), &format!("{more:+.0} %"), "");
        };
        spent("CPU time of `dkms autoinstall`", cpu(&self.ours), table);
        spent("CPU time of Debian's", cpu(&self.peer), table);
    }

    fn bare_table(&self) -> Table {
        let mut table = Table::of(&["package", "alone, every core", "CPU time"]);
        let Some(first) = self.bare.first() else { return table };
        for (place, bare) in first.iter().enumerate() {
            let runs = || self.bare.iter().filter_map(|round| Some(round.get(place)?.run));
            let wall = median(runs().map(|run| run.wall).collect());
            let cpu = median(runs().map(|run| run.cpu).collect());
            table.push(&[bare.package, &seconds(wall), &seconds(cpu)]);
        }
        table
    }
}

/// Commands that build nothing, with everything installed.
fn quick(rig: &Rig, table: &mut Table) {
    let (mut peer, mut ours) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut starting = Vec::new();
    for _ in 0..QUICK_TURNS {
        for (place, command) in [rig.status(), rig.autoinstall()].iter().enumerate() {
            peer[place].extend(rig.on_peer(1, command));
            ours[place].extend(rig.on_ours(OURS_A_TURN, command));
        }
        starting.extend(rig.on_ours(OURS_A_TURN, "/bin/true"));
    }
    let wall = |runs: &[Run]| median(runs.iter().map(|run| run.wall).collect());
    let [status, nothing] = &peer;
    let [our_status, our_nothing] = &ours;
    table.ratio("`dkms status`", wall(status), wall(our_status), milliseconds, "200 times");
    table.ratio("autoinstall with nothing to do", wall(nothing), wall(our_nothing), milliseconds, "50 times");
    rig.start_daemon();
    let client = wall(&rig.on_ours(4 * OURS_A_TURN, "dkmsctl status"));
    table.row("`dkmsctl status`, daemon warm", "", &milliseconds(client), "", "15 ms");
    table.row("any program (`/bin/true`): in each of the three above", "", &milliseconds(wall(&starting)), "", "");
    rig.stop_daemon();
}

fn cache(rig: &Rig, builds: &Builds, table: &mut Table) {
    let what = "reinstall from the cache against building";
    let Some(runs) = rig.again_from_cache() else {
        return table.row(what, "", "not there: no build is kept", "", "no compiler");
    };
    let build = median(builds.ours.iter().map(|run| run.wall).collect());
    table.ratio(what, build, median(runs.iter().map(|run| run.wall).collect()), seconds, "no compiler");
    let build = median(builds.ours.iter().map(|run| run.cpu).collect());
    let cached = median(runs.iter().map(|run| run.cpu).collect());
    table.ratio("CPU time of the same", build, cached, seconds, "");
}

fn say(start: Instant, what: &str) {
    println!("[{:>4.0?}] {what}", Duration::from_secs(start.elapsed().as_secs()));
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "an unnamed processor".to_owned(), |(_, name)| name.to_owned())
}
