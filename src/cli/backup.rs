//! `roster backup` and `roster restore`: all of a daemon's history as one file, and a
//! data directory made of it.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::daemon::{CallError, reach};
use super::exit::{FAULT, LOST, code_of, told};
use super::progress::Progress;
use super::sealed_file::SealedFile;
use crate::config::Output;
use crate::config::backup::{BackupSettings, RestoreSettings, Source};
use crate::config::connection::ConnectionSettings;
use crate::proto::v1;
use crate::proto::v1::operator_service_client::OperatorServiceClient;
use crate::store::backup::{BackupEncoder, BackupError, BackupReader};
use crate::store::export::{ExportError, LineFault};
use crate::store::sled::{OpenError, Restoration, RestoreError, commits_of, head_of};
use crate::store::{Head, SealedCommit};

/// Why nothing was copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The daemon can't be called.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The daemon refuses, or broke off.
    #[error("the daemon answers: {}", .0.message())]
    Answered(#[from] tonic::Status),
    /// There is no runtime to call with.
    #[error("no runtime")]
    Runtime(#[source] io::Error),
    /// A file can't be written or read.
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
    /// A backup is none, or damaged.
    #[error("`{}` can't be used", path.display())]
    Backup {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BackupError,
    },
    /// A data directory can't be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The history can't be exported.
    #[error(transparent)]
    Export(ExportError),
    /// A line of an import has no place in a history.
    #[error("the import fails at {0}")]
    Import(LineFault),
    /// No data directory can be made.
    #[error(transparent)]
    Restore(#[from] RestoreError),
}

impl From<LineFault> for CopyError {
    fn from(fault: LineFault) -> Self {
        Self::Import(fault)
    }
}

impl CopyError {
    /// With which code to end.
    pub fn code(&self) -> u8 {
        match self {
            Self::Open(error) | Self::Restore(RestoreError::Open(error)) => code_of(error),
            Self::Answered(status) if status.code() == tonic::Code::DataLoss => LOST,
            _ => FAULT,
        }
    }

    /// Of a file.
    pub fn file(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path: path.clone(),
            source,
        }
    }
}

/// Makes a backup.
pub fn back_up(settings: &BackupSettings) -> ExitCode {
    let made = make(settings);
    conclude(settings.output, made, |head| {
        format!("{} has {}", settings.to.display(), in_words(head))
    })
}

/// Makes a data directory of a backup.
pub fn restore(settings: &RestoreSettings) -> ExitCode {
    let restored = put_back(&settings.from, &settings.data_dir);
    let directory = settings.data_dir.display();
    conclude(settings.output, restored, |head| {
        format!(
            "{directory} has {}\n\
             it has no keys: put `signing.key` there, if links that were sent are to go on; \
             without `operator.key` the next start writes another",
            in_words(head)
        )
    })
}

fn in_words(head: &Head) -> String {
    format!("{} commits, chain {}", head.sequence.0, chain(head))
}

/// The link of the chain, in hexadecimal.
fn chain(head: &Head) -> String {
    head.chain
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn conclude(
    output: Output,
    done: Result<Head, CopyError>,
    in_text: impl Fn(&Head) -> String,
) -> ExitCode {
    match done {
        Ok(head) => {
            let text = match output {
                Output::Text => in_text(&head),
                Output::Json => serde_json::json!({
                    "ok": true,
                    "commits": head.sequence.0,
                    "chain": chain(&head),
                })
                .to_string(),
            };
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(output, &error),
    }
}

/// Says what went wrong.
pub fn failed(output: Output, error: &CopyError) -> ExitCode {
    let problem = told(error);
    if output == Output::Json {
        println!("{}", serde_json::json!({ "ok": false, "problem": problem }));
    }
    eprintln!("roster: {problem}");
    ExitCode::from(error.code())
}

fn make(settings: &BackupSettings) -> Result<Head, CopyError> {
    let fault = CopyError::file("write", &settings.to);
    let mut file = SealedFile::create(&settings.to).map_err(&fault)?;
    copy(&settings.source, &settings.to, &mut file)?;
    // What is on the disk is what counts, so that is what is checked.
    let written = file.flush_to_read().map_err(&fault)?;
    let head = check(&written)?;
    file.finish().map_err(&fault)?;
    Ok(head)
}

/// Writes a backup of the source; `path` is what it will be called.
fn copy(source: &Source, path: &Path, to: &mut impl Write) -> Result<(), CopyError> {
    let fault = CopyError::file("write", path);
    match source {
        Source::Daemon(connection) => fetch(connection, |part| to.write_all(part).map_err(&fault)),
        Source::Directory(directory) => {
            let head = head_of(directory)?;
            let mut progress = Progress::of("backing up", head.sequence.0);
            let (mut encoder, begun) = BackupEncoder::begin(&head);
            to.write_all(&begun).map_err(&fault)?;
            commits_of(directory, |commit| {
                progress.at(commit.sequence.0);
                to.write_all(&encoder.commits([commit])).map_err(&fault)
            })?;
            to.write_all(&encoder.end()).map_err(&fault)
        }
    }
}

/// Fetches a backup from a daemon, part by part.
pub fn fetch(
    connection: &ConnectionSettings,
    mut take: impl FnMut(&[u8]) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CopyError::Runtime)?;
    runtime.block_on(async {
        let mut client = OperatorServiceClient::new(reach(connection).await?);
        let mut parts = client
            .backup(v1::BackupRequest::default())
            .await?
            .into_inner();
        let mut progress = None;
        while let Some(part) = parts.message().await? {
            take(&part.chunk)?;
            progress
                .get_or_insert_with(|| Progress::of("backing up", part.total_commits))
                .at(part.commits);
        }
        Ok(())
    })
}

/// Reads all of a backup. Answers with where its history ends.
fn check(path: &Path) -> Result<Head, CopyError> {
    each_commit(path, "checking", |_| Ok(()))
}

fn put_back(from: &Path, directory: &Path) -> Result<Head, CopyError> {
    let mut restoration = None;
    let mut take = |commit: &SealedCommit| {
        let begun = match restoration.take() {
            Some(begun) => begun,
            None => Restoration::begin(directory)?,
        };
        Ok(restoration.insert(begun).add(commit)?)
    };
    let head = each_commit(from, "restoring", &mut take)?;
    let made = match restoration {
        Some(made) => made,
        None => Restoration::begin(directory)?,
    };
    made.finish(&head)?;
    Ok(head)
}

/// Shows every commit of a backup, all of which is checked.
fn each_commit(
    path: &Path,
    what: &'static str,
    mut visit: impl FnMut(&SealedCommit) -> Result<(), CopyError>,
) -> Result<Head, CopyError> {
    let unusable = |source| CopyError::Backup {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(CopyError::file("read", path))?;
    let reader = BackupReader::open(BufReader::new(file)).map_err(unusable)?;
    let head = reader.head();
    let mut progress = Progress::of(what, head.sequence.0);
    for commit in reader {
        let commit = commit.map_err(unusable)?;
        visit(&commit)?;
        progress.at(commit.sequence.0);
    }
    Ok(head)
}
