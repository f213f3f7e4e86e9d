//! `kernels`, `jobs`, `history` and `check`.

use std::collections::BTreeMap;
use std::fmt::Write;

use dkms_core::bus::{CheckProblem, HistoryRow, JobRow, KernelRow};
use jiff::tz::TimeZone;

use super::{Cell, Look, Paint, or_dash, subject, table, tame, time};

/// `dkmsctl kernels`.
pub(crate) fn kernels(rows: &[KernelRow], look: Look) -> String {
    if rows.is_empty() {
        return "no kernels: nothing below /lib/modules is a kernel or has headers; install a kernel's headers\n"
            .into();
    }
    let cells: Vec<[Cell; 5]> = rows
        .iter()
        .map(|k| {
            let hint = match (k.package.as_str(), k.headers.as_str()) {
                (_, "ready") | ("", _) => k.reason.clone(),
                (package, _) if k.reason.is_empty() => format!("install {package}"),
                (package, _) => format!("{}; install {package}", k.reason),
            };
            let hint = match k.enforces.as_str() {
                "" => hint,
                why if hint.is_empty() => format!("takes signed modules only: {why}"),
                why => format!("{hint}; takes signed modules only: {why}"),
            };
            let name = if k.running { format!("{} (running)", k.kernel) } else { k.kernel.clone() };
            [
                name.into(),
                or_dash(&k.presence).into(),
                Cell::painted(k.headers.as_str(), Paint::of(&k.headers)),
                if k.fit { Cell::painted("yes", Paint::Good) } else { Cell::painted("no", Paint::Bad) },
                hint.into(),
            ]
        })
        .collect();
    table(["KERNEL", "PRESENCE", "HEADERS", "FIT", "REASON"], &cells, look)
}

/// `dkmsctl jobs`. `reasons`: what status says of the row that a job is at, by its id.
pub(crate) fn jobs(rows: &[JobRow], reasons: &BTreeMap<u32, String>, look: Look) -> String {
    if rows.is_empty() {
        return "no jobs\n".into();
    }
    let cells: Vec<[Cell; 7]> = rows
        .iter()
        .map(|j| {
            [
                j.id.to_string().into(),
                j.operation.as_str().into(),
                j.package.as_str().into(),
                j.version.as_str().into(),
                or_dash(&j.kernel).into(),
                Cell::painted(j.state.as_str(), Paint::of(&j.state)),
                reasons.get(&j.id).map_or("", String::as_str).into(),
            ]
        })
        .collect();
    table(["JOB", "OPERATION", "PACKAGE", "VERSION", "KERNEL", "STATE", "REASON"], &cells, look)
}

/// `dkmsctl history`.
pub(crate) fn history(rows: &[HistoryRow], zone: &TimeZone, look: Look) -> String {
    if rows.is_empty() {
        return "nothing has been done yet\n".into();
    }
    let cells: Vec<[Cell; 8]> = rows
        .iter()
        .map(|h| {
            [
                time::date(h.at, zone).into(),
                h.job.to_string().into(),
                h.operation.as_str().into(),
                subject(&h.package, &h.version, "").into(),
                or_dash(&h.kernel).into(),
                Cell::painted(h.result.as_str(), Paint::of(&h.result)),
                if h.from_cache { format!("{}, cached", time::took(h.seconds)) } else { time::took(h.seconds) }.into(),
                if h.error.is_empty() { h.reason.as_str() } else { h.error.as_str() }.into(),
            ]
        })
        .collect();
    table(["ENDED", "JOB", "OPERATION", "PACKAGE", "KERNEL", "RESULT", "TOOK", "REASON"], &cells, look)
}

/// `dkmsctl check`.
pub(crate) fn check(kernel: &str, ready: bool, problems: &[CheckProblem], look: Look) -> String {
    if ready {
        return format!("{}: {kernel}\n", Paint::Good.apply("ready", look));
    }
    let mut text = format!("{}: {kernel}\n", Paint::Bad.apply("not ready", look));
    for p in problems {
        let state = Paint::of(&p.state).apply(&p.state, look);
        let _ = write!(text, "  {}: {state}", subject(&p.package, &p.version, ""));
        if !p.reason.is_empty() {
            let _ = write!(text, ", {}", tame(&p.reason));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use dkms_core::bus::names::job_path;

    #[test]
    fn kernel_table() {
        let base = KernelRow {
            kernel: "6.1.0-56-amd64".into(),
            presence: "installed".into(),
            headers: "ready".into(),
            running: true,
            fit: true,
            ..KernelRow::default()
        };
        let rows = [
            KernelRow {
                kernel: "6.12.1-amd64".into(),
                headers: "missing".into(),
                reason: "/lib/modules/6.12.1-amd64/build is absent".into(),
                package: "linux-headers-6.12.1-amd64".into(),
                running: false,
                fit: false,
                ..base.clone()
            },
            base,
        ];
        insta::assert_snapshot!(kernels(&rows, Look::default()), @r"
        KERNEL                    PRESENCE   HEADERS  FIT  REASON
        6.12.1-amd64              installed  missing  no   /lib/modules/6.12.1-amd64/build is absent; install linux-headers-6.12.1-amd64
        6.1.0-56-amd64 (running)  installed  ready    yes
        ");
    }

    #[test]
    fn job_table() {
        let job = JobRow {
            id: 7,
            operation: "install".into(),
            package: "r8169".into(),
            version: "2.2LK".into(),
            kernel: String::new(),
            state: "running".into(),
            object: job_path(7),
        };
        let reasons = BTreeMap::from([(7, "waiting for process 12 (dkms build), which has this build".to_owned())]);
        insta::assert_snapshot!(jobs(&[job], &reasons, Look::default()), @r"
        JOB  OPERATION  PACKAGE  VERSION  KERNEL  STATE    REASON
        7    install    r8169    2.2LK    -       running  waiting for process 12 (dkms build), which has this build
        ");
        assert_eq!(jobs(&[], &reasons, Look::default()), "no jobs\n");
    }

    #[test]
    fn history_table() {
        let row = HistoryRow {
            at: 1_795_350_605,
            job: 3,
            operation: "install".into(),
            package: "hello".into(),
            version: "1.0".into(),
            kernel: "6.1.0-56-amd64".into(),
            arch: "x86_64".into(),
            result: "failed".into(),
            seconds: 12.3,
            reason: "new kernel".into(),
            error: "hello.c:3:1: error: no".into(),
            ..HistoryRow::default()
        };
        let cached = HistoryRow { from_cache: true, error: String::new(), result: "done".into(), ..row.clone() };
        insta::assert_snapshot!(history(&[row, cached], &TimeZone::UTC, Look::default()), @r"
        ENDED                JOB  OPERATION  PACKAGE    KERNEL          RESULT  TOOK          REASON
        2026-11-22 12:30:05  3    install    hello/1.0  6.1.0-56-amd64  failed  12 s          hello.c:3:1: error: no
        2026-11-22 12:30:05  3    install    hello/1.0  6.1.0-56-amd64  done    12 s, cached  new kernel
        ");
    }

    #[test]
    fn check_names_every_problem() {
        let problems = [
            CheckProblem {
                package: "hello".into(),
                version: "1.0".into(),
                state: "failed".into(),
                reason: "hello.c:3: error".into(),
            },
            CheckProblem {
                package: "lime".into(),
                version: "1.9".into(),
                state: "queued".into(),
                reason: String::new(),
            },
        ];
        insta::assert_snapshot!(check("6.1.0-56-amd64", false, &problems, Look::default()), @r"
        not ready: 6.1.0-56-amd64
          hello/1.0: failed, hello.c:3: error
          lime/1.9: queued
        ");
        assert_eq!(check("6.1", true, &[], Look::default()), "ready: 6.1\n");
    }
}
