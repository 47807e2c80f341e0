//! `roster keys`: the keys of callers, asked of a running daemon.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::daemon::{CallError, reach};
use super::exit::{FAULT, told};
use crate::client::connection::Connection;
use crate::config::Output;
use crate::config::keys::{CreateKey, KeyScope, KeysAction, KeysCommand, KeysCommon, RotateKey};
use crate::proto::v1;
use crate::proto::v1::operator_service_client::OperatorServiceClient;
use crate::world::{SystemWorld, World};

/// How many keys are asked for at a time.
const KEYS_AT_A_TIME: u32 = 500;

/// The command did not do what it should.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    /// There is nothing to call with.
    #[error("no runtime")]
    Runtime(#[from] std::io::Error),
    /// The daemon can't be called.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It refuses.
    #[error("{0}")]
    Refused(String),
}

type Client = OperatorServiceClient<Connection>;

/// What the daemon says, or what became of the connection.
fn refused(status: tonic::Status) -> KeysError {
    let said = match status.message() {
        "" => status.code().to_string(),
        said => said.to_owned(),
    };
    let causes = std::error::Error::source(&status).map(told);
    KeysError::Refused(
        [Some(said), causes]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(": "),
    )
}

/// Does what the command says.
pub fn run(command: &KeysCommand) -> ExitCode {
    match carry_out(&command.action) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("roster: {}", told(&error));
            ExitCode::from(FAULT)
        }
    }
}

fn carry_out(action: &KeysAction) -> Result<String, KeysError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let common = common_of(action);
        let mut client = Client::new(reach(&common.connection).await?);
        let (answer, text) = match action {
            KeysAction::Create(asked) => create(&mut client, asked).await?,
            KeysAction::List(_) => list(&mut client).await?,
            KeysAction::Rotate(asked) => rotate(&mut client, asked).await?,
            KeysAction::Revoke(asked) => revoke(&mut client, &asked.key).await?,
        };
        Ok(match common.output {
            Output::Json => answer.to_string(),
            Output::Text => text,
        })
    })
}

fn common_of(action: &KeysAction) -> &KeysCommon {
    match action {
        KeysAction::Create(asked) => &asked.common,
        KeysAction::List(asked) => &asked.common,
        KeysAction::Rotate(asked) => &asked.common,
        KeysAction::Revoke(asked) => &asked.common,
    }
}

async fn create(client: &mut Client, asked: &CreateKey) -> Result<(Value, String), KeysError> {
    let now = SystemWorld.now().0 / 1_000;
    let end = asked.expires_in.map(|lifetime| {
        let lifetime = i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX);
        now.saturating_add(lifetime)
    });
    let request = v1::CreateCallerKeyRequest {
        name: asked.name.clone(),
        scopes: asked.scopes.iter().map(|scope| number(*scope)).collect(),
        organizations: asked.organizations.clone(),
        expire_time: end.map(|seconds| prost_types::Timestamp { seconds, nanos: 0 }),
        ..Default::default()
    };
    let created = client.create_caller_key(request).await.map_err(refused)?;
    let created = created.into_inner();
    let key = created.key.unwrap_or_default();
    Ok(with_secret(&key, &created.revision, &created.secret))
}

async fn rotate(client: &mut Client, asked: &RotateKey) -> Result<(Value, String), KeysError> {
    let overlap = asked.overlap.map(|overlap| prost_types::Duration {
        seconds: i64::try_from(overlap.as_secs()).unwrap_or(i64::MAX),
        nanos: 0,
    });
    let request = v1::RotateCallerKeyRequest {
        key: asked.key.clone(),
        overlap,
        ..Default::default()
    };
    let rotated = client.rotate_caller_key(request).await.map_err(refused)?;
    let rotated = rotated.into_inner();
    let key = rotated.key.unwrap_or_default();
    Ok(with_secret(&key, &rotated.revision, &rotated.secret))
}

async fn revoke(client: &mut Client, key: &str) -> Result<(Value, String), KeysError> {
    let request = v1::RevokeCallerKeyRequest {
        key: key.to_owned(),
        ..Default::default()
    };
    let revoked = client.revoke_caller_key(request).await.map_err(refused)?;
    let revoked = revoked.into_inner();
    let key = revoked.key.unwrap_or_default();
    let answer = json!({ "key": in_json(&key), "revision": revoked.revision });
    Ok((answer, in_words(&key)))
}

async fn list(client: &mut Client) -> Result<(Value, String), KeysError> {
    let mut keys = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListCallerKeysRequest {
            page_size: KEYS_AT_A_TIME,
            page_token,
            ..Default::default()
        };
        let page = client.list_caller_keys(request).await.map_err(refused)?;
        let page = page.into_inner();
        keys.extend(page.keys);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let answer = json!({ "keys": keys.iter().map(in_json).collect::<Vec<_>>() });
    let lines: Vec<String> = keys.iter().map(in_words).collect();
    let text = if lines.is_empty() {
        "there are no keys but the operator's of the first start".to_owned()
    } else {
        lines.join("\n")
    };
    Ok((answer, text))
}

fn with_secret(key: &v1::CallerKey, revision: &str, secret: &str) -> (Value, String) {
    let answer = json!({ "key": in_json(key), "revision": revision, "secret": secret });
    let text = format!("{}\nits secret, shown this once: {secret}", in_words(key));
    (answer, text)
}

fn number(scope: KeyScope) -> i32 {
    let scope = match scope {
        KeyScope::Check => v1::CallerScope::Check,
        KeyScope::Manage => v1::CallerScope::Manage,
        KeyScope::Operate => v1::CallerScope::Operate,
    };
    scope.into()
}

fn scope_name(number: i32) -> &'static str {
    match v1::CallerScope::try_from(number) {
        Ok(v1::CallerScope::Check) => "check",
        Ok(v1::CallerScope::Manage) => "manage",
        Ok(v1::CallerScope::Operate) => "operate",
        Ok(v1::CallerScope::Unspecified) | Err(_) => "unknown",
    }
}

fn status_name(key: &v1::CallerKey) -> &'static str {
    match key.status() {
        v1::CallerKeyStatus::Active => "active",
        v1::CallerKeyStatus::Expired => "expired",
        v1::CallerKeyStatus::Revoked => "revoked",
        v1::CallerKeyStatus::Unspecified => "unknown",
    }
}

/// One line for people.
fn in_words(key: &v1::CallerKey) -> String {
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope_name(*scope)).collect();
    let bounds = if key.organizations.is_empty() {
        "all organizations".to_owned()
    } else {
        key.organizations.join(", ")
    };
    let end = match &key.expire_time {
        Some(end) => format!("; ends {end}"),
        None => String::new(),
    };
    let overlap = match &key.overlap_end_time {
        Some(end) => format!("; the secret before works until {end}"),
        None => String::new(),
    };
    format!(
        "{} {} ({}): {} on {bounds}{end}{overlap}",
        key.id,
        key.name,
        status_name(key),
        scopes.join(", "),
    )
}

fn in_json(key: &v1::CallerKey) -> Value {
    let time = |time: &Option<prost_types::Timestamp>| time.as_ref().map(ToString::to_string);
    json!({
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes.iter().map(|scope| scope_name(*scope)).collect::<Vec<_>>(),
        "organizations": key.organizations,
        "status": status_name(key),
        "expire_time": time(&key.expire_time),
        "create_time": time(&key.create_time),
        "created_by": key.created_by,
        "secret_create_time": time(&key.secret_create_time),
        "overlap_end_time": time(&key.overlap_end_time),
        "revoke_time": time(&key.revoke_time),
        "revoked_by": key.revoked_by,
        "etag": key.etag,
    })
}
