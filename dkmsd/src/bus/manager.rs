//! `org.dkmsd1.Manager`: the daemon's one object that is always there.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use dkms_core::build::sandbox;
use dkms_core::bus::BusError;
use dkms_core::bus::names::job_path;
use dkms_core::bus::types::{CheckProblem, HistoryRow, JobRow, KernelRow, Options, StatusFilter, StatusRow};
use dkms_core::host::users;
use dkms_core::model::{KernelRelease, PackageId};
use tokio::sync::oneshot;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, interface};

use super::auth::{Action, allow};
use super::job::{cancel, no_such_job};
use super::resolve::{self, Asker, Words};
use super::{Context, stopping};
use crate::queue::job::{Operation, Task, Verdict};
use crate::queue::messages::{Ask, Command, Finished};
use crate::snapshot::Snapshot;

/// The object.
pub struct Manager {
    context: Context,
}

impl Manager {
    /// The object.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self { context }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.context.shared.snapshot.borrow().clone()
    }

    async fn request(
        &self,
        tasks: Vec<Task>,
        finished: Option<oneshot::Sender<Finished>>,
    ) -> Result<Vec<u32>, BusError> {
        let (reply, answer) = oneshot::channel();
        self.context.shared.commands.send(Command::Request { tasks, reply, finished }).await.map_err(stopping)?;
        answer.await.map_err(stopping)
    }

    async fn request_one(&self, task: Task) -> Result<(u32, OwnedObjectPath), BusError> {
        let ids = self.request(vec![task], None).await?;
        let id = ids.first().copied().ok_or_else(|| stopping(()))?;
        Ok((id, job_path(id)))
    }

    /// One operation on one kernel, for whoever may ask for it.
    async fn one(
        &self,
        operation: Operation,
        words: Words<'_>,
        options: &Options,
        header: &Header<'_>,
        connection: &Connection,
    ) -> Result<(u32, OwnedObjectPath), BusError> {
        let action = match operation {
            Operation::Build => Action::Build,
            Operation::Add | Operation::Install => Action::Install,
            Operation::Uninstall | Operation::Unbuild | Operation::Remove | Operation::Clean | Operation::Finish => {
                Action::Remove
            }
        };
        let uid = allow(connection, header, action, options.interactive).await?;
        self.request_one(resolve::one(&self.snapshot(), operation, words, Asker { uid, options })?).await
    }

    async fn request_all(&self, tasks: Vec<Task>) -> Result<Vec<OwnedObjectPath>, BusError> {
        Ok(self.request(tasks, None).await?.into_iter().map(job_path).collect())
    }

    async fn rescan(&self) -> Result<(), BusError> {
        let (reply, looked) = oneshot::channel();
        self.context.ask.send(Ask::Rescan(Some(reply))).await.map_err(stopping)?;
        looked.await.map_err(stopping)
    }

    /// Runs an add to its end; gives the package it found.
    async fn add_and_wait(&self, task: Task) -> Result<(String, String), BusError> {
        let (sender, finished) = oneshot::channel();
        self.request(vec![task], Some(sender)).await?;
        let Finished { job, outcome } = finished.await.map_err(stopping)?;
        match outcome.verdict {
            Verdict::Done | Verdict::Skipped => Ok((job.package, job.version)),
            _ => Err(BusError::InvalidConf(outcome.error.unwrap_or_default())),
        }
    }
}

#[interface(name = "org.dkmsd1.Manager", introspection_docs = false)]
impl Manager {
    #[zbus(out_args("package", "version"))]
    async fn add(
        &self,
        source: &str,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(String, String), BusError> {
        let uid = allow(connection, &header, Action::Install, options.interactive).await?;
        let asker = Asker { uid, options: &options };
        let mut task = asker.task(Operation::Add, None, None);
        if source.starts_with('/') {
            task.source = Some(PathBuf::from(source));
        } else {
            task.package = Some(source.parse::<PackageId>().map_err(|e| BusError::UnknownPackage(e.to_string()))?);
        }
        self.add_and_wait(task).await
    }

    #[zbus(out_args("jobs"))]
    async fn remove(
        &self,
        package: &str,
        version: &str,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Vec<OwnedObjectPath>, BusError> {
        let uid = allow(connection, &header, Action::Remove, options.interactive).await?;
        let words = Words { package, version, kernel: "", arch: "" };
        let tasks = resolve::remove(&self.snapshot(), words, Asker { uid, options: &options })?;
        self.request_all(tasks).await
    }

    #[expect(clippy::too_many_arguments, reason = "the contract's arguments")]
    #[zbus(out_args("id", "job"))]
    async fn build(
        &self,
        package: &str,
        version: &str,
        kernel: &str,
        arch: &str,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(u32, OwnedObjectPath), BusError> {
        let words = Words { package, version, kernel, arch };
        self.one(Operation::Build, words, &options, &header, connection).await
    }

    #[expect(clippy::too_many_arguments, reason = "the contract's arguments")]
    #[zbus(out_args("id", "job"))]
    async fn install(
        &self,
        package: &str,
        version: &str,
        kernel: &str,
        arch: &str,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(u32, OwnedObjectPath), BusError> {
        let words = Words { package, version, kernel, arch };
        self.one(Operation::Install, words, &options, &header, connection).await
    }

    #[expect(clippy::too_many_arguments, reason = "the contract's arguments")]
    #[zbus(out_args("id", "job"))]
    async fn uninstall(
        &self,
        package: &str,
        version: &str,
        kernel: &str,
        arch: &str,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(u32, OwnedObjectPath), BusError> {
        let words = Words { package, version, kernel, arch };
        self.one(Operation::Uninstall, words, &options, &header, connection).await
    }

    #[expect(clippy::too_many_arguments, reason = "the contract's arguments")]
    #[zbus(out_args("id", "job"))]
    async fn unbuild(
        &self,
        package: &str,
        version: &str,
        kernel: &str,
        arch: &str,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(u32, OwnedObjectPath), BusError> {
        let words = Words { package, version, kernel, arch };
        self.one(Operation::Unbuild, words, &options, &header, connection).await
    }

    #[zbus(out_args("jobs"))]
    async fn rebuild(
        &self,
        package: &str,
        version: &str,
        kernel: &str,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Vec<OwnedObjectPath>, BusError> {
        let uid = allow(connection, &header, Action::Install, options.interactive).await?;
        let words = Words { package, version, kernel, arch: "" };
        let tasks = resolve::rebuild(&self.snapshot(), words, Asker { uid, options: &options })?;
        self.request_all(tasks).await
    }

    #[zbus(out_args("jobs"))]
    async fn autoinstall(
        &self,
        kernel: &str,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<Vec<OwnedObjectPath>, BusError> {
        let uid = allow(connection, &header, Action::Install, options.interactive).await?;
        self.rescan().await?;
        let tasks = resolve::autoinstall(&self.snapshot(), kernel, Asker { uid, options: &options })?;
        self.request_all(tasks).await
    }

    #[zbus(out_args("ready", "problems"))]
    async fn check_kernel(&self, kernel: &str) -> Result<(bool, Vec<CheckProblem>), BusError> {
        let kernel = if kernel.is_empty() { self.context.running.as_str() } else { kernel };
        let release = KernelRelease::new(kernel).map_err(|e| BusError::UnknownKernel(e.to_string()))?;
        let problems = self.snapshot().problems(&release).ok_or_else(|| {
            BusError::UnknownKernel(format!("there is no kernel {release} here; see dkmsctl kernels"))
        })?;
        Ok((problems.is_empty(), problems))
    }

    async fn kernel_added(
        &self,
        kernel: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        allow(connection, &header, Action::Build, false).await?;
        let kernel = KernelRelease::new(kernel).map_err(|e| BusError::UnknownKernel(e.to_string()))?;
        tracing::info!(dkms_kernel = kernel.as_str(), "a kernel was added, says its hook");
        self.context.ask.send(Ask::Hook).await.map_err(stopping)
    }

    async fn kernel_removed(
        &self,
        kernel: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        allow(connection, &header, Action::Build, false).await?;
        let kernel = KernelRelease::new(kernel).map_err(|e| BusError::UnknownKernel(e.to_string()))?;
        tracing::info!(dkms_kernel = kernel.as_str(), "a kernel is removed, says its hook");
        self.context.ask.send(Ask::Soon).await.map_err(stopping)
    }

    #[zbus(name = "Rescan")]
    async fn look_again(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        allow(connection, &header, Action::Build, false).await?;
        self.rescan().await
    }

    async fn reload(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        allow(connection, &header, Action::Build, false).await?;
        let (reply, read) = oneshot::channel();
        self.context.reload.send(reply).await.map_err(stopping)?;
        read.await.map_err(stopping)?.map_err(BusError::Failed)?;
        self.rescan().await
    }

    #[zbus(out_args("rows"))]
    async fn list_status(&self, filter: StatusFilter) -> Vec<StatusRow> {
        let fits = |wanted: &str, word: &str| wanted.is_empty() || wanted == word;
        let rows = self.snapshot().rows.clone().into_iter().filter(|row| {
            fits(&filter.package, &row.package)
                && fits(&filter.version, &row.version)
                && fits(&filter.kernel, &row.kernel)
                && fits(&filter.arch, &row.arch)
        });
        rows.collect()
    }

    #[zbus(out_args("rows"))]
    async fn list_kernels(&self) -> Vec<KernelRow> {
        self.snapshot().kernels.clone()
    }

    #[zbus(out_args("jobs"))]
    async fn list_jobs(&self) -> Vec<JobRow> {
        let snapshot = self.snapshot();
        let row = |job: &crate::snapshot::JobView| JobRow {
            id: job.id,
            operation: job.operation.into(),
            package: job.package.clone(),
            version: job.version.clone(),
            kernel: job.kernel.clone(),
            state: job.state.into(),
            object: job_path(job.id),
        };
        snapshot.jobs.iter().map(row).collect()
    }

    #[zbus(out_args("rows"))]
    async fn list_history(&self, max: u32) -> Vec<HistoryRow> {
        self.context.shared.history.lock().unwrap_or_else(PoisonError::into_inner).newest(max)
    }

    #[zbus(out_args("job"))]
    async fn get_job(&self, id: u32) -> Result<OwnedObjectPath, BusError> {
        let there = self.snapshot().jobs.iter().any(|job| job.id == id);
        there.then(|| job_path(id)).ok_or_else(|| no_such_job(id))
    }

    async fn cancel_job(
        &self,
        id: u32,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        allow(connection, &header, Action::Cancel, false).await?;
        cancel(&self.context, id).await
    }

    #[zbus(signal)]
    pub(super) async fn job_new(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        package: &str,
        version: &str,
        kernel: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        package: &str,
        version: &str,
        kernel: &str,
        result: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn status_changed(
        emitter: &SignalEmitter<'_>,
        package: &str,
        version: &str,
        kernel: &str,
        arch: &str,
        old: &str,
        new: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn build_failed(
        emitter: &SignalEmitter<'_>,
        package: &str,
        version: &str,
        kernel: &str,
        arch: &str,
        error: &str,
    ) -> zbus::Result<()>;

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        env!("CARGO_PKG_VERSION").into()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn running_kernel(&self) -> String {
        self.context.running.clone()
    }

    #[zbus(property)]
    fn secure_boot(&self) -> String {
        self.snapshot().secure_boot().into()
    }

    #[zbus(property)]
    fn lockdown(&self) -> String {
        self.snapshot().lockdown().into()
    }

    #[zbus(property, name = "NJobs")]
    fn n_jobs(&self) -> u32 {
        u32::try_from(self.snapshot().jobs.len()).unwrap_or(u32::MAX)
    }

    #[zbus(property)]
    fn max_jobs(&self) -> u32 {
        u32::try_from(self.context.shared.max_jobs.load(Ordering::Relaxed)).unwrap_or(u32::MAX)
    }

    #[zbus(property)]
    fn state(&self) -> String {
        self.snapshot().state.into()
    }

    #[zbus(property(emits_changed_signal = "false"))]
    async fn unconfined(&self) -> String {
        let layout = self.context.layout.clone();
        // The first one to ask has a process tried.
        let found = tokio::task::spawn_blocking(move || sandbox::shortcoming(users::build_user(&layout).as_ref()));
        found.await.ok().flatten().unwrap_or_default()
    }

    #[zbus(property)]
    fn watching(&self) -> Vec<String> {
        self.context.watching.borrow().clone()
    }
}
