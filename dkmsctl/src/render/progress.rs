//! Jobs while they run, and as they end.

use std::fmt::Write;
use std::time::Duration;

use dkms_core::bus::HistoryRow;

use super::{Look, Paint, fit, subject, tame, time};

/// Wide enough for every word that begins a line ("uninstalled").
const WORD: usize = 11;

/// A job that is followed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct JobView {
    pub(crate) id: u32,
    pub(crate) operation: String,
    pub(crate) package: String,
    pub(crate) version: String,
    pub(crate) kernel: String,
    /// queued, running or canceling.
    pub(crate) state: String,
    pub(crate) phase: String,
    /// From 0 to 1, where that means anything.
    pub(crate) progress: Option<f64>,
}

impl JobView {
    fn subject(&self) -> String {
        subject(&self.package, &self.version, &self.kernel)
    }

    /// What it does just now, in one word.
    fn doing(&self) -> &str {
        match self.state.as_str() {
            "running"
                if self.phase == "installing" && matches!(&*self.operation, "uninstall" | "unbuild" | "remove") =>
            {
                "removing"
            }
            "running" if !self.phase.is_empty() => &self.phase,
            "" => "queued",
            state => state,
        }
    }
}

/// What is on record of a job that ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct End {
    pub(crate) job: HistoryRow,
    /// The lines around the first error of its log, as in a row of the status.
    pub(crate) excerpt: String,
}

/// How many jobs ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) done: usize,
    /// It was so already.
    pub(crate) unchanged: usize,
    /// Rightly not done.
    pub(crate) skipped: usize,
    pub(crate) failed: usize,
}

/// One line of the live region, never longer than the terminal is wide.
pub(crate) fn live(job: &JobView, elapsed: Option<Duration>, look: Look) -> String {
    let mut text = format!("{:<WORD$}  {}", job.doing(), tame(&job.subject()));
    if let Some(progress) = job.progress.filter(|p| p.is_finite()) {
        let _ = write!(text, "  {:.0}%", (progress * 100.0).clamp(0.0, 100.0));
    }
    if let Some(elapsed) = elapsed {
        let _ = write!(text, "  {}", time::clock(elapsed));
    }
    look.width.map_or(text.clone(), |width| fit(&text, usize::from(width)))
}

/// The line for a new phase, where lines cannot be drawn over.
pub(crate) fn plain(job: &JobView) -> String {
    format!("{:<WORD$}  {}", job.doing(), tame(&job.subject()))
}

/// What is said when a job ended.
pub(crate) fn ended(job: &JobView, result: &str, end: &End, elapsed: Option<Duration>, look: Look) -> String {
    let failed = matches!(result, "failed" | "timeout");
    let word = match (result, job.operation.as_str()) {
        ("done", "install") => "installed",
        ("done", "build") => "built",
        ("done", "uninstall") => "uninstalled",
        ("done", "unbuild") => "unbuilt",
        ("done", "remove") => "removed",
        ("done", "add") => "added",
        ("skipped", _) if end.job.unchanged => "unchanged",
        (word, _) => word,
    };
    let paint = Paint::of(if word == "unchanged" { "done" } else { result });
    let took = elapsed.map(|e| format!(" ({})", time::took(e.as_secs_f64()))).unwrap_or_default();
    let padded = format!("{word:<WORD$}");
    let mut text = format!("{}  {}{took}\n", paint.apply(&padded, look), tame(&job.subject()));
    if result == "done" {
        return text;
    }
    let mut note = |line: &str| {
        let _ = writeln!(text, "{:WORD$}  {line}", "");
    };
    let HistoryRow { error, first_error, log, .. } = &end.job;
    // The whole error says the compiler's over again, with what is on this screen already.
    let told = !first_error.is_empty() && error.contains(first_error.as_str());
    let excerpt = if failed { end.excerpt.as_str() } else { "" };
    let why = [first_error.as_str(), if told { "" } else { error.as_str() }];
    for line in why.into_iter().filter(|line| !line.is_empty() && (excerpt.is_empty() || line != first_error)) {
        note(&tame(line));
    }
    for line in super::excerpt(excerpt, 0, look).lines() {
        note(line);
    }
    if failed && !log.is_empty() {
        note(&format!("log: {}", tame(log)));
    }
    let again = match job.kernel.as_str() {
        "" => format!("{}/{}", job.package, job.version),
        kernel => format!("{}/{} -k {kernel}", job.package, job.version),
    };
    match result {
        "failed" | "timeout" if matches!(job.operation.as_str(), "install" | "build" | "") => {
            note("Fix the source, or wait for an update of the driver: it is tried again by itself when the source");
            note(&format!("or the headers change. To try now: dkmsctl rebuild {again}"));
        }
        "failed" | "timeout" => note("See also: journalctl -u dkmsd"),
        "dependency" => note("It is tried again by itself once that one is there."),
        "canceled" => note(&format!("To take it up again: dkmsctl rebuild {again}")),
        _ => {}
    }
    text
}

/// The last line when several jobs were followed.
pub(crate) fn summary(sums: &Sums, look: Look) -> String {
    let mut parts = vec![format!("{} done", sums.done)];
    if sums.unchanged > 0 {
        parts.push(format!("{} unchanged", sums.unchanged));
    }
    if sums.skipped > 0 {
        parts.push(format!("{} skipped", sums.skipped));
    }
    if sums.failed > 0 {
        parts.push(Paint::Bad.apply(&format!("{} failed", sums.failed), look));
    }
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn job() -> JobView {
        JobView {
            id: 7,
            operation: "install".into(),
            package: "r8169".into(),
            version: "2.2LK".into(),
            kernel: "6.1.0-56-amd64".into(),
            state: "running".into(),
            phase: "building".into(),
            progress: Some(0.42),
        }
    }

    #[rstest]
    #[case(None, "building     r8169/2.2LK on 6.1.0-56-amd64  42%  0:12")]
    #[case(Some(80), "building     r8169/2.2LK on 6.1.0-56-amd64  42%  0:12")]
    #[case(Some(20), "building     r8169/…")]
    #[case(Some(1), "…")]
    fn live_lines_fit(#[case] width: Option<u16>, #[case] wanted: &str) {
        let text = live(&job(), Some(Duration::from_secs(12)), Look { colour: true, width });
        assert_eq!(text, wanted);
    }

    #[test]
    fn a_guess_without_ground_is_not_shown() {
        let unknown = JobView { progress: None, ..job() };
        assert_eq!(live(&unknown, None, Look::default()), "building     r8169/2.2LK on 6.1.0-56-amd64");
        let queued = JobView { state: "queued".into(), ..unknown };
        assert_eq!(plain(&queued), "queued       r8169/2.2LK on 6.1.0-56-amd64");
    }

    #[test]
    fn taking_away_is_not_called_installing() {
        let job = JobView { operation: "uninstall".into(), phase: "installing".into(), ..job() };
        assert_eq!(plain(&job), "removing     r8169/2.2LK on 6.1.0-56-amd64");
    }

    /// Of a job that ended with an error.
    fn end(error: &str) -> End {
        End { job: HistoryRow { error: error.into(), ..HistoryRow::default() }, excerpt: String::new() }
    }

    /// The lines that say why.
    fn told(end: &End) -> Vec<String> {
        let text = ended(&job(), "failed", end, None, Look::default());
        let why = text.lines().skip(1).take_while(|l| !l.contains("Fix the source"));
        why.map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn success_is_one_line() {
        let text = ended(&job(), "done", &End::default(), Some(Duration::from_millis(12_300)), Look::default());
        assert_eq!(text, "installed    r8169/2.2LK on 6.1.0-56-amd64 (12 s)\n");
    }

    #[test]
    fn failure_says_what_and_where_and_what_next() {
        let mut end = end("make ended with 2");
        end.job.first_error = "r8169.c:10:5: error: no".into();
        end.job.log = "/var/lib/dkmsd/logs/r8169/2.2LK/x.log".into();
        insta::assert_snapshot!(ended(&job(), "failed", &end, None, Look::default()), @r"
        failed       r8169/2.2LK on 6.1.0-56-amd64
                     r8169.c:10:5: error: no
                     make ended with 2
                     log: /var/lib/dkmsd/logs/r8169/2.2LK/x.log
                     Fix the source, or wait for an update of the driver: it is tried again by itself when the source
                     or the headers change. To try now: dkmsctl rebuild r8169/2.2LK -k 6.1.0-56-amd64
        ");
    }

    #[test]
    fn a_failure_without_a_build_says_why_and_names_no_log() {
        let job = JobView { operation: "remove".into(), kernel: String::new(), ..job() };
        let end = end("cannot remove /var/lib/dkms/r8169: Read-only file system");
        insta::assert_snapshot!(ended(&job, "failed", &end, None, Look::default()), @r"
        failed       r8169/2.2LK
                     cannot remove /var/lib/dkms/r8169: Read-only file system
                     See also: journalctl -u dkmsd
        ");
    }

    #[rstest]
    #[case("a.c:1: error: no", "p does not build: a.c:1: error: no; log: x", &["a.c:1: error: no"])]
    #[case("a.c:1: error: no", "stopped after 60 minutes", &["a.c:1: error: no", "stopped after 60 minutes"])]
    #[case("", "patch x does not apply", &["patch x does not apply"])]
    #[case("", "", &[])]
    fn a_failure_is_told_once(#[case] first_error: &str, #[case] error: &str, #[case] wanted: &[&str]) {
        let mut end = end(error);
        end.job.first_error = first_error.into();
        assert_eq!(told(&end), wanted);
    }

    #[test]
    fn an_excerpt_tells_the_error_among_its_lines() {
        let mut end = end("a/1 does not build: a.c:1: error: x");
        end.job.first_error = "a.c:1: error: x".into();
        end.excerpt = "  CC a.o\n> a.c:1: error: x".into();
        assert_eq!(told(&end), ["CC a.o", "> a.c:1: error: x"]);
    }

    #[test]
    fn a_skip_says_why() {
        let end = end("BUILD_EXCLUSIVE_KERNEL is ^5");
        insta::assert_snapshot!(ended(&job(), "skipped", &end, None, Look::default()), @r"
        skipped      r8169/2.2LK on 6.1.0-56-amd64
                     BUILD_EXCLUSIVE_KERNEL is ^5
        ");
    }

    #[test]
    fn what_was_so_already_is_no_skip() {
        let mut end = end("r8169/2.2LK is installed for 6.1.0-56-amd64 already");
        end.job.unchanged = true;
        insta::assert_snapshot!(ended(&job(), "skipped", &end, None, Look::default()), @r"
        unchanged    r8169/2.2LK on 6.1.0-56-amd64
                     r8169/2.2LK is installed for 6.1.0-56-amd64 already
        ");
    }

    #[test]
    fn sums() {
        let sums =
            |done, unchanged, skipped, failed| summary(&Sums { done, unchanged, skipped, failed }, Look::default());
        assert_eq!(sums(3, 0, 0, 0), "3 done");
        assert_eq!(sums(3, 4, 1, 2), "3 done, 4 unchanged, 1 skipped, 2 failed");
    }
}
