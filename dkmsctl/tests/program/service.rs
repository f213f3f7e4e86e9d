//! A small `org.dkmsd1`, real on the wire: what a package is called decides what becomes of its jobs.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex};

use dkms_core::bus::names::{MANAGER_PATH, job_path};
use dkms_core::bus::{BusError, CheckProblem, HistoryRow, JobRow, KernelRow, Options, StatusFilter, StatusRow};
use tokio::sync::Notify;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, ObjectServer, OwnedFd, OwnedObjectPath, interface};

/// The kernel that "runs".
pub(crate) const KERNEL: &str = "6.1.0-56-amd64";

/// The manager. The test that owns it can end it: `die` says when.
#[derive(Clone, Default)]
pub(crate) struct Manager {
    pub(crate) empty: bool,
    pub(crate) locked_down: bool,
    pub(crate) die: Arc<Notify>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// Finished jobs, oldest first.
    pub(crate) ended: Arc<Mutex<Vec<HistoryRow>>>,
}

impl Manager {
    /// Every changing call so far, with its arguments.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn heard(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    /// A job's end goes on record before it is signalled.
    fn record(&self, job: u32, operation: &str, package: &str, kernel: &str) {
        let (error, first_error) = reason(package);
        let log = if package == "bad" { LOG } else { "" };
        self.ended.lock().unwrap().push(HistoryRow {
            job,
            operation: operation.into(),
            package: package.into(),
            version: "1.0".into(),
            kernel: kernel.into(),
            arch: if kernel.is_empty() { "" } else { "x86_64" }.into(),
            result: fate(package).unwrap_or("done").into(),
            error: error.into(),
            first_error: first_error.into(),
            log: log.into(),
            unchanged: package == "there",
            ..HistoryRow::default()
        });
    }

    fn rows() -> Vec<StatusRow> {
        let row = |package: &str, state: &str| StatusRow {
            package: package.into(),
            version: "1.0".into(),
            kernel: KERNEL.into(),
            arch: "x86_64".into(),
            state: state.into(),
            autoinstall: true,
            ..StatusRow::default()
        };
        vec![
            StatusRow {
                first_error: "bad.c:3:1: error: unknown type name".into(),
                error: "make ended with 2".into(),
                log: LOG.into(),
                ..row("bad", "failed")
            },
            row("fatal", "installed"),
            row("good", "installed"),
            row("locked", "installed"),
            row("odd", "excluded"),
            StatusRow { log: "/var/lib/dkms/stuck/1.0/make.log".into(), ..row("stuck", "installed") },
            row("there", "installed"),
        ]
    }
}

/// What the job of a package ends as; `None` when the daemon dies of it.
fn fate(package: &str) -> Option<&'static str> {
    match package {
        "bad" | "stuck" => Some("failed"),
        "odd" | "there" => Some("skipped"),
        "fatal" => None,
        _ => Some("done"),
    }
}

/// The log of the build that failed.
const LOG: &str = "/var/lib/dkmsd/logs/bad/1.0/make.log";

/// What a job of a package leaves on record: why it is not done, and the compiler's first error.
fn reason(package: &str) -> (&'static str, &'static str) {
    match package {
        "bad" => ("make ended with 2", "bad.c:3:1: error: unknown type name"),
        "odd" => ("odd/1.0 is not for this kernel: BUILD_EXCLUSIVE_KERNEL is ^5", ""),
        "stuck" => ("cannot remove /usr/lib/modules/x/stuck.ko: Read-only file system", ""),
        "there" => ("there/1.0 is installed for 6.1.0-56-amd64 already", ""),
        _ => ("", ""),
    }
}

#[interface(name = "org.dkmsd1.Manager")]
impl Manager {
    async fn install(
        &self,
        package: String,
        version: String,
        kernel: String,
        arch: String,
        options: Options,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<(u32, OwnedObjectPath), BusError> {
        self.heard(format!("install {package}/{version} {kernel}/{arch} force={}", options.force));
        if package == "locked" {
            return Err(BusError::NotAuthorized("org.dkmsd1.install is for administrators".into()));
        }
        if package == "odder" {
            return Err(BusError::UnknownPackage("no package odder".into()));
        }
        let path = job_path(1);
        // The end comes before the reply: whoever begins to listen after it waits for ever.
        if let Some(result) = fate(&package) {
            self.record(1, "install", &package, &kernel);
            Self::job_removed(&emitter, 1, &path, &package, &version, &kernel, result).await?;
        }
        Ok((1, path))
    }

    async fn remove(
        &self,
        package: String,
        version: String,
        _options: Options,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
    ) -> Result<Vec<OwnedObjectPath>, BusError> {
        self.heard(format!("remove {package}/{version}"));
        let path = job_path(1);
        self.record(1, "remove", &package, "");
        Self::job_removed(&emitter, 1, &path, &package, &version, "", fate(&package).unwrap_or("done")).await?;
        Ok(vec![path])
    }

    fn add(&self, source: String, options: Options) -> (String, String) {
        self.heard(format!("add {source} force={}", options.force));
        let package = source.trim_start_matches('/').split(['/', '-']).next().unwrap_or_default();
        self.record(1, "add", package, "");
        (package.into(), "1.0".into())
    }

    async fn rebuild(
        &self,
        package: String,
        version: String,
        kernel: String,
        _options: Options,
        #[zbus(object_server)] server: &ObjectServer,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Vec<OwnedObjectPath>, BusError> {
        self.heard(format!("rebuild {package}/{version} {kernel}"));
        let rows: Vec<_> = Self::rows()
            .into_iter()
            .filter(|r| r.package == package || package.is_empty() && r.package != "fatal")
            .collect();
        let mut paths = Vec::new();
        for (id, row) in (10..).zip(rows) {
            let job = Job::new(id, &row.package);
            let seen = job.seen.clone();
            server.at(job_path(id), job).await?;
            paths.push(job_path(id));
            let connection = connection.clone();
            tokio::spawn(async move {
                seen.notified().await;
                if fate(&row.package).is_some() {
                    run(&connection, id, &row).await.unwrap();
                }
            });
        }
        Ok(paths)
    }

    fn check_kernel(&self, kernel: String) -> Result<(bool, Vec<CheckProblem>), BusError> {
        match kernel.as_str() {
            KERNEL => Ok((
                false,
                vec![CheckProblem {
                    package: "bad".into(),
                    version: "1.0".into(),
                    state: "failed".into(),
                    reason: "bad.c:3:1: error".into(),
                }],
            )),
            "6.12.1-amd64" => Ok((true, vec![])),
            other => Err(BusError::UnknownKernel(format!("no kernel {other}"))),
        }
    }

    fn list_status(&self, filter: StatusFilter) -> Vec<StatusRow> {
        let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        let mut rows = if self.empty { Vec::new() } else { Self::rows() };
        rows.retain(|r| fits(&filter.package, &r.package) && fits(&filter.kernel, &r.kernel));
        rows
    }

    fn list_kernels(&self) -> Vec<KernelRow> {
        let row = |kernel: &str, running| KernelRow {
            kernel: kernel.into(),
            arch: "x86_64".into(),
            presence: "installed".into(),
            headers: "ready".into(),
            running,
            ..KernelRow::default()
        };
        vec![row("6.12.1-amd64", false), row(KERNEL, true)]
    }

    fn list_jobs(&self) -> Vec<JobRow> {
        vec![]
    }

    fn list_history(&self, max: u32) -> Vec<HistoryRow> {
        let max = if max == 0 { usize::MAX } else { max as usize };
        self.ended.lock().unwrap().iter().rev().take(max).cloned().collect()
    }

    async fn get_job(
        &self,
        id: u32,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<OwnedObjectPath, BusError> {
        if id != 7 {
            return Err(BusError::NoSuchJob(format!("no job {id}")));
        }
        if server.interface::<_, Job>(job_path(id)).await.is_err() {
            server.at(job_path(id), Job::new(id, "good")).await?;
        }
        Ok(job_path(id))
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: &OwnedObjectPath,
        package: &str,
        version: &str,
        kernel: &str,
        result: &str,
    ) -> zbus::Result<()>;

    #[zbus(property)]
    fn version(&self) -> String {
        "0".into()
    }

    #[zbus(property)]
    fn running_kernel(&self) -> String {
        KERNEL.into()
    }

    #[zbus(property)]
    fn lockdown(&self) -> String {
        if self.locked_down { "integrity" } else { "none" }.into()
    }

    #[zbus(property)]
    fn state(&self) -> String {
        "idle".into()
    }
}

/// A job runs through its phases and ends.
async fn run(connection: &Connection, id: u32, row: &StatusRow) -> zbus::Result<()> {
    let job = connection.object_server().interface::<_, Job>(job_path(id)).await?;
    for phase in ["preparing", "building"] {
        job.get_mut().await.phase = phase.into();
        job.get().await.phase_changed(job.signal_emitter()).await?;
    }
    connection.object_server().remove::<Job, _>(job_path(id)).await?;
    let emitter = SignalEmitter::new(connection, MANAGER_PATH)?;
    let result = fate(&row.package).unwrap_or("done");
    let manager = connection.object_server().interface::<_, Manager>(MANAGER_PATH).await?;
    manager.get().await.record(id, "install", &row.package, &row.kernel);
    Manager::job_removed(&emitter, id, &job_path(id), &row.package, &row.version, &row.kernel, result).await
}

/// A job that stands.
pub(crate) struct Job {
    id: u32,
    package: String,
    phase: String,
    /// Somebody has looked at it.
    seen: Arc<Notify>,
}

impl Job {
    fn new(id: u32, package: &str) -> Self {
        Self { id, package: package.into(), phase: "waiting".into(), seen: Arc::default() }
    }
}

#[interface(name = "org.dkmsd1.Job")]
impl Job {
    /// Writes on once the log is open, and ends the job.
    async fn open_log(&self, #[zbus(connection)] connection: &Connection) -> Result<OwnedFd, BusError> {
        let failed = |e: std::io::Error| BusError::Failed(e.to_string());
        let mut log = tempfile::NamedTempFile::new().map_err(failed)?;
        log.write_all(b"the first line\n").map_err(failed)?;
        let reader = File::open(log.path()).map_err(failed)?;
        let (connection, id, package) = (connection.clone(), self.id, self.package.clone());
        tokio::spawn(async move {
            log.write_all(b"the last line\n").unwrap();
            let emitter = SignalEmitter::new(&connection, MANAGER_PATH).unwrap();
            Manager::job_removed(&emitter, id, &job_path(id), &package, "1.0", KERNEL, "done").await.unwrap();
        });
        Ok(OwnedFd::from(std::os::fd::OwnedFd::from(reader)))
    }

    fn cancel(&self, _options: Options) {}

    #[zbus(property)]
    fn operation(&self) -> &str {
        self.seen.notify_one();
        "install"
    }

    #[zbus(property)]
    fn package(&self) -> &str {
        &self.package
    }

    #[zbus(property)]
    fn package_version(&self) -> &str {
        "1.0"
    }

    #[zbus(property)]
    fn kernel(&self) -> &str {
        KERNEL
    }

    #[zbus(property)]
    fn state(&self) -> &str {
        "running"
    }

    #[zbus(property)]
    fn phase(&self) -> &str {
        &self.phase
    }
}
