//! Settings: by flag or `ROSTER_*`, read once, checked together, printed as they took effect.

pub mod backup;
pub mod callers;
pub mod catalog;
pub mod connection;
pub mod export;
pub mod keys;
pub mod operation;
pub mod question;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::backup::{BackupSettings, RestoreSettings, StatusSettings};
use self::callers::CallerSettings;
pub use self::catalog::CatalogCommand;
use self::export::{ExportSettings, ImportSettings};
use self::keys::KeysCommand;
use self::operation::OperationSettings;
use self::question::QuestionSettings;
use crate::application::LinkTemplate;
use crate::delivery::{SmtpServer, WebhookAddress};
use crate::telemetry::LogFormat;

/// One daemon that knows who is on each team and decides what they may do.
#[derive(Debug, Parser)]
#[command(name = "roster", version)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve checks and team management over gRPC.
    Serve(Box<Settings>),
    /// Write all of a daemon's history to one file, while the daemon serves, or of a
    /// data directory that no daemon has open.
    ///
    /// The file is checked before it gets its name, and holds names, addresses and
    /// digests of tokens, but no keys: `operator.key` and `signing.key` are kept apart.
    Backup(BackupSettings),
    /// Ask a daemon whether somebody may do something, and why.
    ///
    /// Exit code 0 if they may, 5 if they may not, 1 if there is no answer.
    Check(QuestionSettings),
    /// Ask a daemon why somebody may or may not do something, and what would help.
    ///
    /// Needs a key that may read roles and members. Exit codes as those of `check`.
    Explain(QuestionSettings),
    /// Work with catalogs: what a product sells, as data.
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Write everything of a daemon, or of a data directory that no daemon has open, as
    /// text: one JSON object a line, in an order that depends on nothing else.
    ///
    /// It holds names, addresses and digests of tokens, but no keys. It is made in
    /// memory and takes about as much as all organizations together.
    Export(ExportSettings),
    /// Make a data directory of an export. The directory must be empty or not there.
    ///
    /// Every bad line is told of with its number, and nothing is imported then. Revisions
    /// and ids of events are the same as before; the hash chain is a new one.
    Import(ImportSettings),
    /// Make a data directory of a backup. The directory must be empty or not there;
    /// it is as it was unless everything checks out.
    Restore(RestoreSettings),
    /// Ask a daemon how it is: revision, room on the disk, whether changes are refused.
    Status(StatusSettings),
    /// Look after the keys by which services, jobs and people call a running daemon.
    ///
    /// Exit code 1 if the daemon can't be reached or refuses.
    Keys(KeysCommand),
    /// Check a data directory that no daemon has open: that the history is whole and
    /// unchanged, that the database holds what the history says and nothing else, and
    /// that every member, role, project and group that a record names is there.
    ///
    /// Changes nothing in it. Exit code 0 if all checks out, 4 if the history is
    /// damaged or lacks what was acknowledged, 3 if the directory is in use or can't be
    /// read, 1 if only the database differs, which is made anew once it is moved aside,
    /// or if a record names what is not there.
    Verify(VerifySettings),
}

/// What is checked, and how the answer looks.
#[derive(Clone, Debug, Args)]
pub struct VerifySettings {
    /// Where organizations and their history are kept.
    #[arg(long, env = "ROSTER_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Where a copy of the database is made for the time of the check; it takes as
    /// much room as the original.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub scratch: PathBuf,

    /// Folders of further catalogs that organizations live on, besides those that come
    /// with Roster: whether a role is there, a catalog may have to say.
    #[arg(
        long,
        env = "ROSTER_CATALOGS",
        value_name = "DIR",
        value_delimiter = ','
    )]
    pub catalogs: Vec<PathBuf>,

    /// How the answer looks.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people.
    Text,
    /// One JSON object on one line.
    Json,
}

/// How the daemon serves.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where organizations and their history are kept.
    #[arg(long, env = "ROSTER_DATA_DIR", value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Address and port to serve gRPC on. Port 0 takes any free one.
    #[arg(
        long,
        env = "ROSTER_LISTEN",
        value_name = "ADDR",
        default_value = "127.0.0.1:7350"
    )]
    pub listen: SocketAddr,

    /// Path of a Unix socket to serve gRPC on as well, for those in the group of the
    /// daemon's user; the key is needed there too, but for those that the callers file knows.
    #[arg(long, env = "ROSTER_LISTEN_UNIX", value_name = "PATH")]
    pub listen_unix: Option<PathBuf>,

    /// Who may call besides those who hold keys, and TLS.
    #[command(flatten)]
    pub callers: CallerSettings,

    /// How many threads serve checks and connections; by default one for each core.
    #[arg(long, env = "ROSTER_SERVING_THREADS", value_name = "COUNT")]
    pub serving_threads: Option<NonZeroUsize>,

    /// Folders of further catalogs, each with a `catalog.toml`, besides those that come with Roster.
    #[arg(
        long,
        env = "ROSTER_CATALOGS",
        value_name = "DIR",
        value_delimiter = ','
    )]
    pub catalogs: Vec<PathBuf>,

    /// Load an example organization for each product, where it is not there yet.
    #[arg(long, env = "ROSTER_EXAMPLE")]
    pub example: bool,

    /// Seconds that requests may take to finish once the daemon is told to stop.
    #[arg(
        long,
        env = "ROSTER_DRAIN_SECONDS",
        value_name = "SECONDS",
        default_value_t = 10
    )]
    pub drain_seconds: u64,

    /// Seconds to wait at the start for another process to let the data directory go.
    #[arg(
        long,
        env = "ROSTER_LOCK_WAIT_SECONDS",
        value_name = "SECONDS",
        default_value_t = 10
    )]
    pub lock_wait_seconds: u64,

    /// Refuse writes when less than this many MiB are free on the data directory's
    /// file system; by default a tenth of it, between 256 MiB and 4 GiB.
    #[arg(long, env = "ROSTER_MINIMUM_FREE_MIB", value_name = "MIB")]
    pub minimum_free_mib: Option<u64>,

    /// MiB of memory to stay within. Organizations are read when they are asked for, and
    /// those that nobody has asked for in a while leave when there is no room.
    #[arg(
        long,
        env = "ROSTER_MEMORY_BUDGET_MIB",
        value_name = "MIB",
        default_value_t = 1024
    )]
    pub memory_budget_mib: u64,

    /// Address of the page that links lead to, with `{token}` and perhaps
    /// `{organization}` in it; without it, notifications carry the bare token.
    #[arg(long, env = "ROSTER_LINK_TEMPLATE", value_name = "URL")]
    pub link_template: Option<LinkTemplate>,

    /// Send notifications by mail through this server: `smtp://host:port` (STARTTLS, but
    /// on this machine) or `smtps://host:port`.
    #[arg(
        long,
        env = "ROSTER_NOTIFY_SMTP",
        value_name = "URL",
        requires = "notify_smtp_from",
        conflicts_with = "notify_webhook"
    )]
    pub notify_smtp: Option<SmtpServer>,

    /// The sender of that mail, such as `Example <team@example.com>`.
    #[arg(
        long,
        env = "ROSTER_NOTIFY_SMTP_FROM",
        value_name = "MAILBOX",
        requires = "notify_smtp"
    )]
    pub notify_smtp_from: Option<String>,

    /// The user to log in as at the mail server.
    #[arg(
        long,
        env = "ROSTER_NOTIFY_SMTP_USER",
        value_name = "USER",
        requires_all = ["notify_smtp", "notify_smtp_password_file"]
    )]
    pub notify_smtp_user: Option<String>,

    /// The file with that user's password.
    #[arg(
        long,
        env = "ROSTER_NOTIFY_SMTP_PASSWORD_FILE",
        value_name = "FILE",
        requires = "notify_smtp_user"
    )]
    pub notify_smtp_password_file: Option<PathBuf>,

    /// Send notifications to this webhook, as signed JSON.
    #[arg(
        long,
        env = "ROSTER_NOTIFY_WEBHOOK",
        value_name = "URL",
        requires = "notify_webhook_secret_file"
    )]
    pub notify_webhook: Option<WebhookAddress>,

    /// The file with the secret that the webhook's messages are signed with.
    #[arg(
        long,
        env = "ROSTER_NOTIFY_WEBHOOK_SECRET_FILE",
        value_name = "FILE",
        requires = "notify_webhook"
    )]
    pub notify_webhook_secret_file: Option<PathBuf>,

    /// Health, metrics and limits.
    #[command(flatten)]
    pub operation: OperationSettings,

    /// How log lines look.
    #[arg(long, env = "ROSTER_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// What is logged, such as `info` or `roster=debug`.
    #[arg(
        long,
        env = "ROSTER_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
}

impl Settings {
    /// How long requests may take to finish once the daemon is told to stop.
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }

    /// How long another process may take to let the data directory go.
    pub fn lock_wait(&self) -> Duration {
        Duration::from_secs(self.lock_wait_seconds)
    }

    /// How many threads serve checks and connections.
    pub fn serving_threads(&self) -> usize {
        let cores = std::thread::available_parallelism();
        let cores = cores.unwrap_or(NonZeroUsize::MIN);
        self.serving_threads.unwrap_or(cores).get()
    }

    /// The settings in effect, a line each, under the names they are set by.
    pub fn in_effect(&self) -> Vec<(&'static str, String)> {
        let catalogs: Vec<String> = self
            .catalogs
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        let mut settings = vec![
            ("ROSTER_DATA_DIR", self.data_dir.display().to_string()),
            ("ROSTER_LISTEN", self.listen.to_string()),
            ("ROSTER_LISTEN_UNIX", shown_path(self.listen_unix.as_ref())),
            ("ROSTER_SERVING_THREADS", self.serving_threads().to_string()),
            ("ROSTER_CATALOGS", catalogs.join(",")),
            ("ROSTER_EXAMPLE", self.example.to_string()),
            ("ROSTER_DRAIN_SECONDS", self.drain_seconds.to_string()),
            (
                "ROSTER_LOCK_WAIT_SECONDS",
                self.lock_wait_seconds.to_string(),
            ),
            (
                "ROSTER_MINIMUM_FREE_MIB",
                self.minimum_free_mib
                    .map_or_else(|| "automatic".to_owned(), |mib| mib.to_string()),
            ),
            (
                "ROSTER_MEMORY_BUDGET_MIB",
                self.memory_budget_mib.to_string(),
            ),
            ("ROSTER_LINK_TEMPLATE", shown(self.link_template.as_ref())),
            ("ROSTER_NOTIFY_SMTP", shown(self.notify_smtp.as_ref())),
            (
                "ROSTER_NOTIFY_SMTP_FROM",
                shown(self.notify_smtp_from.as_ref()),
            ),
            (
                "ROSTER_NOTIFY_SMTP_USER",
                shown(self.notify_smtp_user.as_ref()),
            ),
            (
                "ROSTER_NOTIFY_SMTP_PASSWORD_FILE",
                shown_path(self.notify_smtp_password_file.as_ref()),
            ),
            ("ROSTER_NOTIFY_WEBHOOK", shown(self.notify_webhook.as_ref())),
            (
                "ROSTER_NOTIFY_WEBHOOK_SECRET_FILE",
                shown_path(self.notify_webhook_secret_file.as_ref()),
            ),
            (
                "ROSTER_LOG_FORMAT",
                format!("{:?}", self.log_format).to_lowercase(),
            ),
            ("ROSTER_LOG", self.log.clone()),
        ];
        settings.extend(self.callers.in_effect());
        settings.extend(self.operation.in_effect());
        settings
    }
}

fn shown(setting: Option<&impl ToString>) -> String {
    setting.map(ToString::to_string).unwrap_or_default()
}

fn shown_path(setting: Option<&PathBuf>) -> String {
    setting
        .map(|path| path.display().to_string())
        .unwrap_or_default()
}
