//! The client's view of the objects. Meaning, units and errors of every member: `dkmsd/dbus/org.dkmsd1.xml`.

use zbus::{ObjectPath, OwnedFd, OwnedObjectPath, proxy};

use super::error::BusError;
use super::types::{CheckProblem, HistoryRow, JobRow, KernelRow, Options, StatusFilter, StatusRow};

/// `org.dkmsd1.Manager`.
#[proxy(interface = "org.dkmsd1.Manager", default_service = "org.dkmsd1", default_path = "/org/dkmsd1")]
pub trait Manager {
    /// Takes a source into the tree; gives package and version.
    fn add(&self, source: &str, options: &Options) -> Result<(String, String), BusError>;
    /// Forgets a package; gives the jobs.
    fn remove(&self, package: &str, version: &str, options: &Options) -> Result<Vec<OwnedObjectPath>, BusError>;
    /// Builds for one kernel.
    fn build(
        &self,
        package: &str,
        version: &str,
        kernel: &str,
        arch: &str,
        options: &Options,
    ) -> Result<(u32, OwnedObjectPath), BusError>;
    /// Installs on one kernel.
    fn install(
        &self,
        package: &str,
        version: &str,
        kernel: &str,
        arch: &str,
        options: &Options,
    ) -> Result<(u32, OwnedObjectPath), BusError>;
    /// Takes it off one kernel.
    fn uninstall(
        &self,
        package: &str,
        version: &str,
        kernel: &str,
        arch: &str,
        options: &Options,
    ) -> Result<(u32, OwnedObjectPath), BusError>;
    /// Takes it off one kernel and drops what was built.
    fn unbuild(
        &self,
        package: &str,
        version: &str,
        kernel: &str,
        arch: &str,
        options: &Options,
    ) -> Result<(u32, OwnedObjectPath), BusError>;
    /// Builds and installs again; empty words mean all.
    fn rebuild(
        &self,
        package: &str,
        version: &str,
        kernel: &str,
        options: &Options,
    ) -> Result<Vec<OwnedObjectPath>, BusError>;
    /// Builds and installs what is missing or stale.
    fn autoinstall(&self, kernel: &str, options: &Options) -> Result<Vec<OwnedObjectPath>, BusError>;
    /// Whether a kernel is fit to boot into, and what keeps it from that.
    fn check_kernel(&self, kernel: &str) -> Result<(bool, Vec<CheckProblem>), BusError>;
    /// A hook's word.
    fn kernel_added(&self, kernel: &str) -> Result<(), BusError>;
    /// A hook's word.
    fn kernel_removed(&self, kernel: &str) -> Result<(), BusError>;
    /// Looks at the disk now.
    fn rescan(&self) -> Result<(), BusError>;
    /// Reads the settings again.
    fn reload(&self) -> Result<(), BusError>;
    /// What every package is on every kernel.
    fn list_status(&self, filter: &StatusFilter) -> Result<Vec<StatusRow>, BusError>;
    /// The kernels.
    fn list_kernels(&self) -> Result<Vec<KernelRow>, BusError>;
    /// The jobs that are queued or run.
    fn list_jobs(&self) -> Result<Vec<JobRow>, BusError>;
    /// Finished jobs, newest first.
    fn list_history(&self, max: u32) -> Result<Vec<HistoryRow>, BusError>;
    /// The object of a job.
    fn get_job(&self, id: u32) -> Result<OwnedObjectPath, BusError>;
    /// Ends a job.
    fn cancel_job(&self, id: u32) -> Result<(), BusError>;

    /// A job was queued.
    #[zbus(signal)]
    fn job_new(&self, id: u32, job: ObjectPath<'_>, package: &str, version: &str, kernel: &str) -> zbus::Result<()>;
    /// A job ended.
    #[zbus(signal)]
    fn job_removed(
        &self,
        id: u32,
        job: ObjectPath<'_>,
        package: &str,
        version: &str,
        kernel: &str,
        result: &str,
    ) -> zbus::Result<()>;
    /// A package is in another state on a kernel.
    #[zbus(signal)]
    fn status_changed(
        &self,
        package: &str,
        version: &str,
        kernel: &str,
        arch: &str,
        old: &str,
        new: &str,
    ) -> zbus::Result<()>;
    /// An attempt failed.
    #[zbus(signal)]
    fn build_failed(&self, package: &str, version: &str, kernel: &str, arch: &str, error: &str) -> zbus::Result<()>;

    /// The daemon's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> zbus::Result<String>;
    /// The running kernel's release.
    #[zbus(property(emits_changed_signal = "const"))]
    fn running_kernel(&self) -> zbus::Result<String>;
    /// Whether Secure Boot is on: `on`, `off`, or empty where there is none.
    #[zbus(property)]
    fn secure_boot(&self) -> zbus::Result<String>;
    /// The running kernel's lockdown; empty where it cannot be told.
    #[zbus(property)]
    fn lockdown(&self) -> zbus::Result<String>;
    /// How many jobs are queued or run.
    #[zbus(property, name = "NJobs")]
    fn n_jobs(&self) -> zbus::Result<u32>;
    /// How many jobs may run at once.
    #[zbus(property)]
    fn max_jobs(&self) -> zbus::Result<u32>;
    /// idle, settling, building or degraded.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;
    /// Why builds are not kept apart from the system as they are to be; empty when they are.
    #[zbus(property)]
    fn unconfined(&self) -> zbus::Result<String>;
    /// The folders that are watched.
    #[zbus(property)]
    fn watching(&self) -> zbus::Result<Vec<String>>;
}

/// `org.dkmsd1.Job`; its path comes from the manager.
#[proxy(interface = "org.dkmsd1.Job", default_service = "org.dkmsd1")]
pub trait Job {
    /// Ends the job.
    fn cancel(&self, options: &Options) -> Result<(), BusError>;
    /// The log of this attempt, open for reading from its beginning.
    fn open_log(&self) -> Result<OwnedFd, BusError>;

    /// Its id.
    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> zbus::Result<u32>;
    /// What it does.
    #[zbus(property(emits_changed_signal = "const"))]
    fn operation(&self) -> zbus::Result<String>;
    /// PACKAGE_NAME.
    #[zbus(property(emits_changed_signal = "const"))]
    fn package(&self) -> zbus::Result<String>;
    /// PACKAGE_VERSION.
    #[zbus(property(emits_changed_signal = "const"))]
    fn package_version(&self) -> zbus::Result<String>;
    /// The kernel's release; may be empty.
    #[zbus(property(emits_changed_signal = "const"))]
    fn kernel(&self) -> zbus::Result<String>;
    /// Its architecture.
    #[zbus(property(emits_changed_signal = "const"))]
    fn arch(&self) -> zbus::Result<String>;
    /// Who asked; 0 also for the daemon itself.
    #[zbus(property(emits_changed_signal = "const"))]
    fn started_by_uid(&self) -> zbus::Result<u32>;
    /// Why the job was made.
    #[zbus(property(emits_changed_signal = "const"))]
    fn reason(&self) -> zbus::Result<String>;
    /// queued, running or canceling.
    #[zbus(property)]
    fn state(&self) -> zbus::Result<String>;
    /// A word of [`crate::event::Phase`].
    #[zbus(property)]
    fn phase(&self) -> zbus::Result<String>;
    /// From 0 to 1.
    #[zbus(property)]
    fn progress(&self) -> zbus::Result<f64>;
    /// Whether `progress` means anything.
    #[zbus(property)]
    fn progress_valid(&self) -> zbus::Result<bool>;
    /// Whether `cancel` would be heeded now.
    #[zbus(property)]
    fn cancelable(&self) -> zbus::Result<bool>;
}
