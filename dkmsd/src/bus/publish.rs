//! Connections and what is sent over them: the system bus, where there is one, and root's private socket. Objects of jobs
//! come and go here, and every signal is sent from here, in the order in which things happened.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dkms_core::bus::names::{BUS_NAME, JOB_INTERFACE, MANAGER_INTERFACE, MANAGER_PATH, job_path};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use zbus::connection::Builder;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Guid, Variant, fdo};

use super::Context;
use super::job::JobObject;
use super::manager::Manager;
use crate::queue::messages::Notice;
use crate::snapshot::JobView;

/// Progress is sent at most this often.
const PROGRESS_PAUSE: Duration = Duration::from_millis(200);

/// A client that reads nothing for so long is let go. Its queue is unbounded until then: one look may tell of thousands of
/// changes at once.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves the system bus and the private socket until everybody who tells of something is gone. It never waits for a
/// client: each has a queue and a task of its own.
pub struct Publisher {
    context: Context,
    notices: mpsc::UnboundedReceiver<Notice>,
    clients: Vec<Client>,
    new_clients: mpsc::Receiver<Client>,
    on_the_bus: bool,
    told: Told,
}

/// The queue of a client.
type Client = mpsc::UnboundedSender<Arc<News>>;

/// A notice on its way to the clients.
#[derive(Debug)]
struct News {
    notice: Notice,
    /// For [`Notice::Manager`].
    manager: Option<ManagerProperties>,
}

/// What was sent last: what has not changed is not sent again.
#[derive(Debug, Default)]
struct Told {
    progress: HashMap<u32, Instant>,
    jobs: HashMap<u32, JobProperties>,
    manager: Option<ManagerProperties>,
}

/// The properties of a job that change.
#[derive(Debug, Clone, PartialEq)]
struct JobProperties {
    state: &'static str,
    phase: &'static str,
    progress: Option<f64>,
    cancelable: bool,
}

/// The properties of the manager that change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ManagerProperties {
    state: &'static str,
    secure_boot: &'static str,
    lockdown: String,
    jobs: u32,
    max_jobs: u32,
    watching: Vec<String>,
}

impl Publisher {
    /// Begins to listen on the private socket, and connects to the system bus. Objects stand before the name is asked
    /// for. Without a bus, the socket serves alone.
    pub async fn start(
        context: Context,
        notices: mpsc::UnboundedReceiver<Notice>,
        socket: Option<UnixListener>,
    ) -> Self {
        let (sender, new_clients) = mpsc::channel(16);
        if let Some(socket) = socket {
            tokio::spawn(accept(socket, context.clone(), sender));
        }
        let (mut clients, mut on_the_bus) = (Vec::new(), false);
        match system_bus(&context).await {
            Ok(bus) => {
                clients.push(serve(bus, context.clone()));
                on_the_bus = true;
            }
            Err(error) => info!("no system bus: only root is served, over its socket ({error})"),
        }
        Self { context, notices, clients, new_clients, on_the_bus, told: Told::default() }
    }

    /// Whether the system bus is served.
    #[must_use]
    pub fn on_the_bus(&self) -> bool {
        self.on_the_bus
    }

    /// Runs until the coordinator is gone.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                // A client that has just come hears of everything that follows.
                biased;
                Some(client) = self.new_clients.recv() => self.clients.push(client),
                notice = self.notices.recv() => match notice {
                    Some(notice) => self.publish(notice),
                    None => return,
                },
            }
        }
    }

    fn publish(&mut self, notice: Notice) {
        if !self.is_news(&notice) {
            return;
        }
        let manager = matches!(notice, Notice::Manager).then(|| self.told.manager.clone()).flatten();
        let news = Arc::new(News { notice, manager });
        self.clients.retain(|client| client.send(Arc::clone(&news)).is_ok());
    }

    /// Whether a notice says anything that was not sent yet; remembers it as sent.
    fn is_news(&mut self, notice: &Notice) -> bool {
        match notice {
            Notice::JobChanged(job) => {
                let now = JobProperties::of(job);
                let before = self.told.jobs.get(&job.id);
                let only_progress =
                    before.is_some_and(|b| JobProperties { progress: now.progress, ..b.clone() } == now);
                if before == Some(&now) || (only_progress && !self.progress_due(job.id)) {
                    return false;
                }
                self.told.jobs.insert(job.id, now);
                true
            }
            Notice::JobRemoved(job, _) => {
                self.told.progress.remove(&job.id);
                self.told.jobs.remove(&job.id);
                true
            }
            Notice::Manager => {
                let now = ManagerProperties::of(&self.context);
                let news = self.told.manager.as_ref() != Some(&now);
                self.told.manager = Some(now);
                news
            }
            Notice::JobNew(_) | Notice::Status(_) | Notice::BuildFailed(..) => true,
        }
    }

    fn progress_due(&mut self, id: u32) -> bool {
        let now = Instant::now();
        match self.told.progress.get(&id) {
            Some(last) if now.duration_since(*last) < PROGRESS_PAUSE => false,
            _ => {
                self.told.progress.insert(id, now);
                true
            }
        }
    }
}

impl JobProperties {
    fn of(job: &JobView) -> Self {
        Self { state: job.state, phase: job.phase.as_str(), progress: job.progress, cancelable: job.cancelable }
    }
}

impl ManagerProperties {
    fn of(context: &Context) -> Self {
        let snapshot = context.shared.snapshot.borrow().clone();
        let max_jobs = context.shared.max_jobs.load(std::sync::atomic::Ordering::Relaxed);
        Self {
            state: snapshot.state,
            secure_boot: snapshot.secure_boot(),
            lockdown: snapshot.lockdown().to_owned(),
            jobs: u32::try_from(snapshot.jobs.len()).unwrap_or(u32::MAX),
            max_jobs: u32::try_from(max_jobs).unwrap_or(u32::MAX),
            watching: context.watching.borrow().clone(),
        }
    }
}

async fn system_bus(context: &Context) -> zbus::Result<Connection> {
    Builder::system()
        .serve_at(MANAGER_PATH, Manager::new(context.clone()))
        .serve_at(MANAGER_PATH, fdo::ObjectManager)
        .name(BUS_NAME)
        .build()
        .await
}

/// The queue of a client, and the task that sends what is in it until either end closes.
fn serve(connection: Connection, context: Context) -> Client {
    let (queue, mut news) = mpsc::unbounded_channel::<Arc<News>>();
    tokio::spawn(async move {
        let jobs = context.shared.snapshot.borrow().jobs.clone();
        for job in jobs {
            serve_job(&connection, job, &context).await;
        }
        while let Some(news) = news.recv().await {
            let problem = match tokio::time::timeout(PATIENCE, send(&connection, &news, &context)).await {
                Ok(Ok(())) => continue,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it does not read what it is sent".to_owned(),
            };
            debug!("a client is let go: {problem}");
            // A message that the bus refused is no reason to leave it.
            if connection.unique_name().is_none() {
                return;
            }
        }
    });
    queue
}

/// Takes root's connections.
async fn accept(socket: UnixListener, context: Context, clients: mpsc::Sender<Client>) {
    let ours = rustix::process::geteuid().as_raw();
    loop {
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("the private socket takes nobody any more: {error}");
                return;
            }
        };
        // The socket's mode says so already; this is for a root that opens it to others.
        if !stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == ours) {
            continue;
        }
        let (context, clients) = (context.clone(), clients.clone());
        // A peer that is slow to say hello holds up nobody else.
        tokio::spawn(async move {
            match peer(stream, &context).await {
                Ok(connection) => drop(clients.send(serve(connection, context)).await),
                Err(error) => debug!("a client did not get through: {error}"),
            }
        });
    }
}

async fn peer(stream: UnixStream, context: &Context) -> zbus::Result<Connection> {
    Builder::unix_stream(stream.into_std()?)
        .server(Guid::generate())
        .p2p()
        .serve_at(MANAGER_PATH, Manager::new(context.clone()))
        .serve_at(MANAGER_PATH, fdo::ObjectManager)
        .build()
        .await
}

/// The socket at its place, for root alone.
///
/// # Errors
/// The system's own.
pub fn listen(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixListener::bind(&beside)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600))?;
    // Nobody finds it before its mode is right.
    std::fs::rename(&beside, path)?;
    Ok(socket)
}

async fn serve_job(connection: &Connection, job: JobView, context: &Context) {
    let id = job.id;
    if let Err(error) = connection.object_server().at(job_path(id), JobObject::new(job, context.clone())).await {
        // As when the client has gone meanwhile.
        debug!("job {id} has no object: {error}");
    }
}

async fn send(connection: &Connection, news: &News, context: &Context) -> zbus::Result<()> {
    let manager = SignalEmitter::new(connection, MANAGER_PATH)?;
    match &news.notice {
        Notice::JobNew(job) => {
            serve_job(connection, job.clone(), context).await;
            Manager::job_new(&manager, job.id, job_path(job.id), &job.package, &job.version, &job.kernel).await
        }
        Notice::JobChanged(job) => {
            let changed: HashMap<&str, Variant<'_>> = HashMap::from([
                ("State", Variant::from(job.state)),
                ("Phase", Variant::from(job.phase.as_str())),
                ("Progress", Variant::from(job.progress.unwrap_or_default())),
                ("ProgressValid", Variant::from(job.progress.is_some())),
                ("Cancelable", Variant::from(job.cancelable)),
            ]);
            let emitter = SignalEmitter::new(connection, job_path(job.id))?;
            properties_changed(&emitter, JOB_INTERFACE, changed).await
        }
        Notice::JobRemoved(job, result) => {
            let path = job_path(job.id);
            let _ = connection.object_server().remove::<JobObject, _>(&path).await;
            Manager::job_removed(&manager, job.id, path, &job.package, &job.version, &job.kernel, result).await
        }
        Notice::Status(change) => {
            let c = change;
            Manager::status_changed(&manager, &c.package, &c.version, &c.kernel, &c.arch, &c.old, &c.new).await
        }
        Notice::BuildFailed(job, error) => {
            Manager::build_failed(&manager, &job.package, &job.version, &job.kernel, &job.arch, error).await
        }
        Notice::Manager => {
            let Some(now) = &news.manager else { return Ok(()) };
            let changed: HashMap<&str, Variant<'_>> = HashMap::from([
                ("SecureBoot", Variant::from(now.secure_boot)),
                ("Lockdown", Variant::from(now.lockdown.clone())),
                ("NJobs", Variant::from(now.jobs)),
                ("MaxJobs", Variant::from(now.max_jobs)),
                ("State", Variant::from(now.state)),
                ("Watching", Variant::from(now.watching.clone())),
            ]);
            properties_changed(&manager, MANAGER_INTERFACE, changed).await
        }
    }
}

async fn properties_changed(
    emitter: &SignalEmitter<'_>,
    interface: &str,
    changed: HashMap<&str, Variant<'_>>,
) -> zbus::Result<()> {
    let none: &[&str] = &[];
    emitter.emit("org.freedesktop.DBus.Properties", "PropertiesChanged", &(interface, changed, none)).await
}
