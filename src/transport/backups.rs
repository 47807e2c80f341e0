//! What `OperatorService` answers of backups and of the daemon's state.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use tonic::{Request, Status};

use super::mutation::reader;
use super::{status, to_proto};
use crate::application::Application;
use crate::application::revision::token;
use crate::proto::v1;

/// The parts of a backup.
pub type BackupStream = Pin<Box<dyn Stream<Item = Result<v1::BackupResponse, Status>> + Send>>;

/// Begins a backup; each part is read when it is wanted.
pub async fn backup(
    application: &Arc<Application>,
    request: Request<v1::BackupRequest>,
) -> Result<BackupStream, Status> {
    let reader = reader(&request)?;
    let at_least = request.into_inner().at_least;
    let backup = application.backup(&reader, &at_least).await;
    let mut backup = backup.map_err(status::of)?;
    let end = backup.head().sequence.0;
    tracing::info!(commits = end, "a backup begins");
    let parts = async_stream::try_stream! {
        while let Some(chunk) = backup.next_part().await.map_err(status::of)? {
            yield v1::BackupResponse {
                chunk: chunk.into(),
                commits: backup.read().0,
                total_commits: end,
                revision: token(end),
            };
        }
        tracing::info!(commits = end, "a backup was sent");
    };
    Ok(Box::pin(parts))
}

/// How the daemon is.
pub async fn daemon_status(
    application: &Arc<Application>,
    request: Request<v1::GetStatusRequest>,
) -> Result<v1::GetStatusResponse, Status> {
    let reader = reader(&request)?;
    let at_least = request.into_inner().at_least;
    let found = application.status(&reader, &at_least).await;
    let found = found.map_err(status::of)?;
    let condition = found.condition;
    let mut chain = String::new();
    for byte in found.head.chain {
        // Writing to a text can't fail.
        let _ = write!(chain, "{byte:02x}");
    }
    Ok(v1::GetStatusResponse {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        start_time: Some(to_proto::timestamp(found.started_at)),
        revision: token(found.head.sequence.0),
        commits: found.head.sequence.0,
        chain,
        store_bytes: condition.size_bytes,
        free_bytes: condition.free_bytes.unwrap_or_default(),
        minimum_free_bytes: condition.minimum_free_bytes,
        refuses_writes: condition.refusal.is_some(),
        refusal_reason: condition.refusal.unwrap_or_default(),
    })
}
