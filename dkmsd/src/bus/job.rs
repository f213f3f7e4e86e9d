//! `org.dkmsd1.Job`: a job that is queued or runs.

use std::os::fd::OwnedFd;

use dkms_core::bus::BusError;
use dkms_core::bus::types::Options;
use tokio::sync::oneshot;
use zbus::message::Header;
use zbus::{Connection, interface};

use super::auth::{Action, allow};
use super::{Context, stopping};
use crate::queue::jobs::NotCanceled;
use crate::queue::messages::Command;
use crate::snapshot::JobView;

/// The object of one job.
pub struct JobObject {
    id: u32,
    /// What it was when its object was made; what does not change is read from here.
    first: JobView,
    context: Context,
}

impl JobObject {
    /// The object of a job.
    #[must_use]
    pub fn new(view: JobView, context: Context) -> Self {
        Self { id: view.id, first: view, context }
    }

    fn now(&self) -> JobView {
        let snapshot = self.context.shared.snapshot.borrow();
        snapshot.jobs.iter().find(|job| job.id == self.id).unwrap_or(&self.first).clone()
    }
}

/// Asks the coordinator to end a job.
pub(super) async fn cancel(context: &Context, id: u32) -> Result<(), BusError> {
    let (reply, answer) = oneshot::channel();
    context.shared.commands.send(Command::Cancel { id, reply }).await.map_err(stopping)?;
    answer.await.map_err(stopping)?.map_err(|refused| match refused {
        NotCanceled::NoSuchJob => no_such_job(id),
        NotCanceled::Busy => {
            BusError::Busy(format!("job {id} is putting its modules in place and cannot be ended; that takes seconds"))
        }
    })
}

pub(super) fn no_such_job(id: u32) -> BusError {
    BusError::NoSuchJob(format!("no job {id} is queued or runs; see dkmsctl jobs and dkmsctl history"))
}

#[interface(name = "org.dkmsd1.Job", introspection_docs = false)]
impl JobObject {
    async fn cancel(
        &self,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        allow(connection, &header, Action::Cancel, options.interactive).await?;
        cancel(&self.context, self.id).await
    }

    #[zbus(out_args("log"))]
    async fn open_log(&self) -> Result<zbus::OwnedFd, BusError> {
        let Some(path) = self.now().log else {
            return Err(BusError::Failed(format!("job {} has no log yet", self.id)));
        };
        let opened = tokio::task::spawn_blocking(move || std::fs::File::open(&path).map_err(|e| (path, e))).await;
        match opened {
            Ok(Ok(file)) => Ok(OwnedFd::from(file).into()),
            Ok(Err((path, error))) => Err(BusError::Failed(format!("cannot open {}: {error}", path.display()))),
            Err(error) => Err(BusError::Failed(error.to_string())),
        }
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn id(&self) -> u32 {
        self.id
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn operation(&self) -> String {
        self.first.operation.into()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn package(&self) -> String {
        self.first.package.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn package_version(&self) -> String {
        self.first.version.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn kernel(&self) -> String {
        self.first.kernel.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn arch(&self) -> String {
        self.first.arch.clone()
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn started_by_uid(&self) -> u32 {
        self.first.uid
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn reason(&self) -> String {
        self.first.reason.clone()
    }

    #[zbus(property)]
    fn state(&self) -> String {
        self.now().state.into()
    }

    #[zbus(property)]
    fn phase(&self) -> String {
        self.now().phase.as_str().into()
    }

    #[zbus(property)]
    fn progress(&self) -> f64 {
        self.now().progress.unwrap_or_default()
    }

    #[zbus(property)]
    fn progress_valid(&self) -> bool {
        self.now().progress.is_some()
    }

    #[zbus(property)]
    fn cancelable(&self) -> bool {
        self.now().cancelable
    }
}
