//! The composition root: the one place where the parts are chosen and joined.

pub mod budget;
pub mod callers;
pub mod callers_file;
pub mod doubt;
mod failing;
pub mod operation;

use std::fs::{self, DirBuilder, File, OpenOptions as FileOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use self::budget::{MemoryBudget, Regulator};
use self::callers::{Callers, CallersError};
pub use self::failing::arm_failpoint;
use crate::application::{Application, Links};
use crate::catalogs::{self, CatalogFault};
use crate::config::Settings;
use crate::delivery::smtp::MailerError;
use crate::delivery::webhook::WebhookError;
use crate::delivery::{Courier, Mailer, Webhook, worker};
use crate::domain::Catalog;
use crate::engine::{CatalogError, CompiledCatalog, OfferedCatalog};
use crate::store::Store;
use crate::store::sled::{OpenError, OpenOptions};
use crate::transport::listeners::{Listeners, UnixSocket, UnixSocketError};
use crate::transport::probes::Probes;
use crate::transport::server::{self, Manner, ServeError};
use crate::world::{SystemWorld, World};

/// How often what has ended is looked for. Decisions don't wait for it.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// After how many of these turns it is counted again what organizations take in memory.
const TEND_EVERY: u64 = 5;

/// The file that the operator's key is in.
pub const OPERATOR_KEY_FILE: &str = "operator.key";
/// How a key begins, so that scanners for leaked secrets know it.
const OPERATOR_KEY_PREFIX: &str = "roster_operator_";

/// The file that the key is in that links are signed with.
pub const SIGNING_KEY_FILE: &str = "signing.key";
/// How that key begins.
const SIGNING_KEY_PREFIX: &str = "roster_signing_";

/// The daemon could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A catalog has faults.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Catalog(Vec<CatalogFault>),
    /// Two catalogs have the same id.
    #[error("two catalogs are named `{0}`; rename the folder of one")]
    SameCatalog(String),
    /// Cedar does not accept a catalog.
    #[error("cedar does not accept catalog `{catalog}`")]
    Cedar {
        /// The catalog.
        catalog: String,
        /// What is wrong.
        #[source]
        problem: CatalogError,
    },
    /// The data directory can't be used.
    #[error("can't {action} `{}`", path.display())]
    File {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The key file holds no key.
    #[error("`{}` holds no operator key; delete the file to have a new key written", .0.display())]
    BadKey(PathBuf),
    /// The file of the signing key holds none.
    #[error("`{}` holds no signing key; delete the file to have a new key written, with which links sent before are dead", .0.display())]
    BadSigningKey(PathBuf),
    /// A file holds no secret.
    #[error("`{}` is empty; write the secret into it", .0.display())]
    NoSecret(PathBuf),
    /// Mail can't be sent.
    #[error(transparent)]
    Mailer(#[from] MailerError),
    /// The webhook can't be sent to.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// The store does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The examples could not be loaded.
    #[error("the examples can't be loaded")]
    Example(#[source] crate::application::Error),
    /// The address can't be listened on.
    #[error("can't listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Who may call can't be read.
    #[error(transparent)]
    Callers(#[from] CallersError),
    /// Traces can't be sent.
    #[error("traces can't be sent: {0}")]
    Traces(String),
    /// Health and metrics can't be served.
    #[error("health and metrics can't be served")]
    Probes(#[source] io::Error),
    /// The Unix socket can't be listened on.
    #[error(transparent)]
    ListenUnix(#[from] UnixSocketError),
    /// Serving failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// How much later than a check whatever is not a check gets its turn, as `nice` counts.
const PATIENCE_OF_OTHERS: i32 = 15;

/// Lets this thread, and those that it starts, stand back where checks need the
/// processor. The threads that serve connections must not be started from it.
pub fn stand_back() {
    // Without it checks are answered as well, only later while there is much to write.
    if let Err(error) = rustix::process::setpriority_process(None, PATIENCE_OF_OTHERS) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

/// Everything joined and bound, about to serve.
pub struct App {
    listeners: Listeners,
    application: Arc<Application>,
    callers: Callers,
    operator_key: String,
    courier: Option<Courier>,
    settings: Settings,
    key_file: PathBuf,
    key_is_new: bool,
    examples: Vec<&'static str>,
}

impl App {
    /// Opens the store, compiles the catalogs and binds the listeners. No organization is
    /// read.
    /// What there is to tell then is told by `probes`.
    pub async fn start(settings: Settings, probes: Probes) -> Result<Self, AppError> {
        let directory = settings.data_dir.clone();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(|source| AppError::File {
                action: "create",
                path: directory.clone(),
                source,
            })?;
        let world: Arc<dyn World> = Arc::new(SystemWorld);
        let callers = Callers::load(&settings.callers)?;
        let courier = courier(&settings)?;
        let offered = offered_catalogs(&settings.catalogs)?;
        let budget = MemoryBudget::of_mib(settings.memory_budget_mib);
        let options = OpenOptions {
            cache_bytes: budget.store_cache(),
            lock_wait: settings.lock_wait(),
            minimum_free_bytes: settings
                .minimum_free_mib
                .map(|mib| mib.saturating_mul(1024 * 1024)),
            ticks: crate::world::ticks,
            ..OpenOptions::default()
        };
        let store: Arc<dyn Store> = Arc::new(doubt::open(&directory, options)?);
        let (key, key_is_new) = operator_key(&directory, &*world)?;
        let links = Links::new(&signing_key(&directory, &*store, &*world)?);
        let share = budget.organizations();
        let application = Application::start(offered, store, world, links, share)
            .with_link_template(settings.link_template.clone())
            .with_alarm(doubt::alarm(directory.clone()));
        let application = Arc::new(application);
        let examples = if settings.example {
            application
                .load_examples()
                .await
                .map_err(AppError::Example)?
        } else {
            Vec::new()
        };
        let listener =
            TcpListener::bind(settings.listen)
                .await
                .map_err(|source| AppError::Listen {
                    address: settings.listen,
                    source,
                })?;
        let unix = settings.listen_unix.as_deref();
        let unix = unix.map(UnixSocket::bind).transpose()?;
        Ok(Self {
            listeners: Listeners::new(listener, unix)
                .with_tls(callers.tls())
                .with_probes(probes),
            application,
            callers,
            operator_key: key,
            courier,
            key_file: directory.join(OPERATOR_KEY_FILE),
            settings,
            key_is_new,
            examples,
        })
    }

    /// The address that it listens on.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listeners.address()
    }

    /// How to call, for people.
    pub fn greeting(&self) -> String {
        let address = self.address().unwrap_or(self.settings.listen);
        let key = self.key_file.display();
        let mut lines: Vec<String> = self
            .settings
            .in_effect()
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        lines.push(format!("roster listens on {address}"));
        if let Some(path) = &self.settings.listen_unix {
            lines.push(format!("roster listens on unix:{}", path.display()));
        }
        if self.key_is_new {
            lines.push(format!(
                "the operator key was written to {key}; keep it secret"
            ));
        }
        lines.push("call it as the operator, for example:".to_owned());
        let (scheme, transport) = match &self.settings.callers.tls_certificate {
            Some(_) => ("https", "--cacert ca.pem"),
            None => ("http", "--http2-prior-knowledge"),
        };
        lines.push(format!(
            "  buf curl --protocol grpc {transport} --reflect-header '*' \\\n    \
             -H \"authorization: Bearer $(cat {key})\" \\\n    \
             {scheme}://{address}/roster.v1.OrganizationService/ListOrganizations"
        ));
        if !self.examples.is_empty() {
            lines.push(format!(
                "example organizations: {}",
                self.examples.join(", ")
            ));
        }
        lines.join("\n")
    }

    /// Serves until `stop` completes; the store is closed when this returns.
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AppError> {
        let drain = self.settings.drain();
        let manner = Manner {
            threads: self.settings.serving_threads(),
            drain,
            ..self.settings.operation.manner()
        };
        let (stopping, stopped) = watch::channel(false);
        let mut background = JoinSet::new();
        background.spawn(look_over(Arc::clone(&self.application), stopped.clone()));
        let authenticator = self.callers.authenticator(&self.operator_key);
        let following = self
            .callers
            .follow(Arc::clone(&self.application), stopped.clone());
        background.spawn(following);
        background.spawn(worker::tidy(Arc::clone(&self.application), stopped.clone()));
        if let Some(courier) = self.courier {
            let application = Arc::clone(&self.application);
            background.spawn(worker::deliver_all(application, courier, stopped));
        }
        let stop = async move {
            stop.await;
            // Were serving to end by itself, the sender would be gone, which says the same.
            stopping.send_replace(true);
        };
        let regulator = Regulator::new(MemoryBudget::of_mib(self.settings.memory_budget_mib));
        let sweeping = tokio::spawn(sweep(Arc::downgrade(&self.application), regulator));
        let served = server::serve(
            self.listeners,
            self.application,
            authenticator,
            manner,
            stop,
        )
        .await;
        let finished = async { while background.join_next().await.is_some() {} };
        if tokio::time::timeout(drain, finished).await.is_err() {
            tracing::warn!(after = ?drain, "deliveries still under way were cut off");
        }
        background.shutdown().await;
        // The store is closed when the last one lets go of it.
        sweeping.abort();
        drop(sweeping.await);
        Ok(served?)
    }
}

/// Looks once at every organization, until told to stop.
async fn look_over(application: Arc<Application>, mut stop: watch::Receiver<bool>) {
    let looking = application.look_over();
    tokio::select! {
        looked = looking => match looked {
            Ok(0) => tracing::info!("every organization was looked at; all can be served"),
            Ok(faults) => tracing::error!(faults, "organizations that can't be served"),
            Err(error) => tracing::warn!(%error, "not every organization could be looked at"),
        },
        _ = stop.wait_for(|stopped| *stopped) => {}
    }
}

/// Takes away what has ended, tends the memory, and writes down now and then which tokens were used,
/// for as long as there is an application.
async fn sweep(application: Weak<Application>, mut regulator: Regulator) {
    let mut turns = tokio::time::interval(SWEEP_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for turn in 0_u64.. {
        turns.tick().await;
        match application.upgrade() {
            Some(application) => {
                application.expire_due().await;
                application.flush_token_use().await;
                let room = regulator.next(budget::resident_bytes(), application.weight());
                let is_due = turn.is_multiple_of(TEND_EVERY);
                // Its way past every organization in memory is for a thread of its own.
                let tended = tokio::task::spawn_blocking(move || {
                    if is_due {
                        application.tend_memory();
                    }
                    application.give_room(room);
                });
                drop(tended.await);
            }
            None => return,
        }
    }
}

/// The catalogs that come with Roster, which are known to compile, to be compiled when
/// they are needed; and those in the folders, compiled.
pub fn offered_catalogs(folders: &[PathBuf]) -> Result<Vec<OfferedCatalog>, AppError> {
    let base = Arc::new(catalogs::base_rules());
    let embedded = catalogs::embedded().map_err(AppError::Catalog)?;
    let shipped = embedded.len();
    let all = all_catalogs(embedded, folders)?.into_iter().map(Arc::new);
    let offered: Vec<OfferedCatalog> = all
        .map(|catalog| OfferedCatalog::new(catalog, Arc::clone(&base)))
        .collect();
    for own in offered.iter().skip(shipped) {
        own.compiled().map_err(|problem| AppError::Cedar {
            catalog: own.catalog().id.to_string(),
            problem,
        })?;
    }
    Ok(offered)
}

/// The catalogs that come with Roster and those in the folders, not compiled.
pub fn all_offered(folders: &[PathBuf]) -> Result<Vec<Catalog>, AppError> {
    let embedded = catalogs::embedded().map_err(AppError::Catalog)?;
    all_catalogs(embedded, folders)
}

/// The catalogs that come with Roster and those in the folders, compiled.
pub fn compiled_catalogs(folders: &[PathBuf]) -> Result<Vec<Arc<CompiledCatalog>>, AppError> {
    let embedded = catalogs::embedded().map_err(AppError::Catalog)?;
    all_catalogs(embedded, folders)?
        .into_iter()
        .map(|catalog| compiled(catalog).map(Arc::new))
        .collect()
}

/// These catalogs and those in the folders; no two of one name.
fn all_catalogs(mut all: Vec<Catalog>, folders: &[PathBuf]) -> Result<Vec<Catalog>, AppError> {
    let base = catalogs::base().map_err(AppError::Catalog)?;
    for folder in folders {
        let catalog = catalogs::load_folder(&base, folder).map_err(AppError::Catalog)?;
        if all.iter().any(|known| known.id == catalog.id) {
            return Err(AppError::SameCatalog(catalog.id.to_string()));
        }
        all.push(catalog);
    }
    Ok(all)
}

/// One catalog, compiled with the rules that all share.
pub fn compiled(catalog: Catalog) -> Result<CompiledCatalog, AppError> {
    let id = catalog.id.to_string();
    CompiledCatalog::compile(Arc::new(catalog), &catalogs::base_rules()).map_err(|problem| {
        AppError::Cedar {
            catalog: id,
            problem,
        }
    })
}

/// What carries notifications, if that is not left to the host.
fn courier(settings: &Settings) -> Result<Option<Courier>, AppError> {
    if let (Some(server), Some(from)) = (&settings.notify_smtp, &settings.notify_smtp_from) {
        let login = settings.notify_smtp_user.as_ref();
        let login = login.zip(settings.notify_smtp_password_file.as_ref());
        let login = login.map(|(user, file)| Ok::<_, AppError>((user.clone(), secret_in(file)?)));
        let mailer = Mailer::new(server, from, login.transpose()?)?;
        return Ok(Some(Courier::Mailer(mailer)));
    }
    let webhook = settings.notify_webhook.as_ref();
    let Some((address, file)) = webhook.zip(settings.notify_webhook_secret_file.as_ref()) else {
        return Ok(None);
    };
    let webhook = Webhook::new(address, &secret_in(file)?)?;
    Ok(Some(Courier::Webhook(Box::new(webhook))))
}

/// The secret in a file, without white space around it.
fn secret_in(path: &Path) -> Result<String, AppError> {
    let text = fs::read_to_string(path).map_err(|source| AppError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    warn_if_exposed(path);
    match text.trim() {
        "" => Err(AppError::NoSecret(path.to_owned())),
        secret => Ok(secret.to_owned()),
    }
}

/// Reads the operator's key, or writes one on the first start; whether it is new.
fn operator_key(directory: &Path, world: &dyn World) -> Result<(String, bool), AppError> {
    let path = directory.join(OPERATOR_KEY_FILE);
    let file_error = |action| {
        let path = path.clone();
        move |source| AppError::File {
            action,
            path,
            source,
        }
    };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let key = text.trim().to_owned();
            if key
                .strip_prefix(OPERATOR_KEY_PREFIX)
                .is_none_or(|secret| secret.len() < 32 || !can_be_presented(secret))
            {
                return Err(AppError::BadKey(path));
            }
            warn_if_exposed(&path);
            Ok((key, false))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret: String = [world.random(), world.random()]
                .concat()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            let key = format!("{OPERATOR_KEY_PREFIX}{secret}");
            write_key(&path, &key).map_err(file_error("write"))?;
            Ok((key, true))
        }
        Err(source) => Err(file_error("read")(source)),
    }
}

/// Whether a key can be sent in a header as it is; with any other nobody could call.
fn can_be_presented(secret: &str) -> bool {
    secret.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Reads the key that links are signed with, or writes one where there is none.
fn signing_key(
    directory: &Path,
    store: &dyn Store,
    world: &dyn World,
) -> Result<[u8; 32], AppError> {
    let path = directory.join(SIGNING_KEY_FILE);
    let file_error = |action| {
        let path = path.clone();
        move |source| AppError::File {
            action,
            path,
            source,
        }
    };
    match fs::read_to_string(&path) {
        Ok(text) => {
            let key = text.trim().strip_prefix(SIGNING_KEY_PREFIX);
            let Some(key) = key.and_then(key_of_hex) else {
                return Err(AppError::BadSigningKey(path));
            };
            warn_if_exposed(&path);
            Ok(key)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut key = [0; 32];
            for (byte, drawn) in key
                .iter_mut()
                .zip([world.random(), world.random()].concat())
            {
                *byte = drawn;
            }
            let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            let text = format!("{SIGNING_KEY_PREFIX}{hex}");
            write_key(&path, &text).map_err(file_error("write"))?;
            if store.head().sequence.0 > 0 {
                tracing::warn!(
                    path = %path.display(),
                    "there was no signing key; a new one was written, and links sent before are dead"
                );
            }
            Ok(key)
        }
        Err(source) => Err(file_error("read")(source)),
    }
}

/// The 32 bytes that 64 hexadecimal digits spell.
fn key_of_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut key = [0; 32];
    for (index, byte) in key.iter_mut().enumerate() {
        let digits = text.get(2 * index..2 * index + 2)?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(key)
}

/// A key that others on the machine can read is no secret any more.
fn warn_if_exposed(path: &Path) {
    let exposed = fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    if exposed {
        tracing::warn!(path = %path.display(), "the key can be read by others; chmod 600 it");
    }
}

/// Writes the key whole or not at all: a process that dies half way leaves no
/// file that the next start would have to refuse.
fn write_key(path: &Path, key: &str) -> io::Result<()> {
    let unfinished = path.with_extension("key.new");
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = FileOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(format!("{key}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
