//! `roster status`: how a daemon is.

use std::process::ExitCode;

use super::backup::{CopyError, failed};
use super::daemon::reach;
use crate::config::Output;
use crate::config::backup::StatusSettings;
use crate::proto::v1;
use crate::proto::v1::operator_service_client::OperatorServiceClient;

const MIB: u64 = 1024 * 1024;

/// Asks the daemon and says what it answers.
pub fn run(settings: &StatusSettings) -> ExitCode {
    match ask(settings) {
        Ok(status) => {
            println!("{}", described(&status, settings.output));
            ExitCode::SUCCESS
        }
        Err(error) => failed(settings.output, &error),
    }
}

fn ask(settings: &StatusSettings) -> Result<v1::GetStatusResponse, CopyError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CopyError::Runtime)?;
    runtime.block_on(async {
        let mut client = OperatorServiceClient::new(reach(&settings.connection).await?);
        let answer = client.get_status(v1::GetStatusRequest::default()).await?;
        Ok(answer.into_inner())
    })
}

fn described(status: &v1::GetStatusResponse, output: Output) -> String {
    let started = status.start_time.map(|time| time.to_string());
    let started = started.unwrap_or_default();
    if output == Output::Json {
        return serde_json::json!({
            "ok": true,
            "version": status.version,
            "started": started,
            "revision": status.revision,
            "commits": status.commits,
            "chain": status.chain,
            "store_bytes": status.store_bytes,
            "free_bytes": status.free_bytes,
            "minimum_free_bytes": status.minimum_free_bytes,
            "refuses_writes": status.refuses_writes,
            "refusal_reason": status.refusal_reason,
        })
        .to_string();
    }
    let writes = match status.refuses_writes {
        false => "changes are taken".to_owned(),
        true => format!("changes are refused: {}", status.refusal_reason),
    };
    [
        format!("roster {}, since {started}", status.version),
        format!("revision {} of {} commits", status.revision, status.commits),
        format!("chain {}", status.chain),
        format!(
            "{} MiB stored, {} MiB free, of which {} stay free",
            status.store_bytes / MIB,
            status.free_bytes / MIB,
            status.minimum_free_bytes / MIB
        ),
        writes,
    ]
    .join("\n")
}
