//! A question from the command line to a daemon, and how its answer is told.

use std::process::ExitCode;
use std::time::Duration;

use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::{Value as Json, json};
use tonic::{Request, Status};
use tonic_types::StatusExt as _;

use super::daemon::{CallError, reach};
use super::exit::{DENIED, FAULT, told};
use crate::client::connection::Connection;
use crate::config::Output;
use crate::config::question::QuestionSettings;
use crate::proto::v1;
use crate::proto::v1::authorization_service_client::AuthorizationServiceClient;

/// How long a daemon may take to answer a call.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// There is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Something given is not what it should be.
    #[error("`{flag}` {problem}")]
    Given {
        /// Which flag.
        flag: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The daemon can't be called.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The daemon refused.
    #[error("{}", refusal(.0))]
    Refused(Box<Status>),
    /// The command can't run.
    #[error("no runtime")]
    Runtime(#[source] std::io::Error),
}

impl From<Status> for AskError {
    fn from(status: Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// What the daemon said, with every field that it found fault with.
fn refusal(status: &Status) -> String {
    let violations = status
        .get_details_bad_request()
        .map(|request| request.field_violations)
        .unwrap_or_default();
    let fields: Vec<String> = violations
        .iter()
        .map(|violation| format!("`{}` {}", violation.field, violation.description))
        .collect();
    match fields.is_empty() {
        true => status.message().to_owned(),
        false => fields.join("; "),
    }
}

/// Runs what a command asks to its end.
pub fn block_on<T>(work: impl Future<Output = Result<T, AskError>>) -> Result<T, AskError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(AskError::Runtime)?
        .block_on(work)
}

/// Asks with reasons. Answers with the connection as well, for more to ask.
pub async fn ask(
    settings: &QuestionSettings,
    request: v1::IsAuthorizedRequest,
) -> Result<(Connection, v1::IsAuthorizedResponse), AskError> {
    let connection = reach(&settings.connection).await?;
    let mut client = AuthorizationServiceClient::new(connection.clone());
    let answer = client.is_authorized(timed(request)).await?.into_inner();
    Ok((connection, answer))
}

/// A request that does not wait for ever.
pub fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_WITHIN);
    request
}

/// The question that the flags ask.
pub fn question(settings: &QuestionSettings) -> Result<v1::IsAuthorizedRequest, AskError> {
    let organization = settings.organization.clone();
    let (r#type, id) = match settings.resource.as_deref() {
        None => ("Organization".to_owned(), organization.clone()),
        Some(given) => match given.split_once(':') {
            Some((kind, id)) if !kind.is_empty() && !id.is_empty() => {
                (kind.to_owned(), id.to_owned())
            }
            _ => {
                let problem = format!("is `TYPE:ID`, such as `Application:shop`, not `{given}`");
                return Err(AskError::Given {
                    flag: "--resource",
                    problem,
                });
            }
        },
    };
    Ok(v1::IsAuthorizedRequest {
        organization,
        principal: Some(v1::EntityRef {
            r#type: "User".to_owned(),
            id: settings.principal.clone(),
        }),
        action: settings.action.clone(),
        resource: Some(v1::Resource {
            r#type,
            id,
            project: settings.project.clone(),
            owner: settings.owner.clone(),
            attributes: object("--attributes", settings.attributes.as_deref())?,
        }),
        context: object("--context", settings.context.as_deref())?,
        at_least: settings.at_least.clone(),
        include_reasons: true,
        correlation_id: String::new(),
    })
}

fn object(flag: &'static str, given: Option<&str>) -> Result<Option<Struct>, AskError> {
    let Some(given) = given else {
        return Ok(None);
    };
    match serde_json::from_str(given) {
        Ok(Json::Object(members)) => Ok(Some(structure(members))),
        Ok(_) => Err(AskError::Given {
            flag,
            problem: "is a JSON object, such as `{\"approved\": true}`".to_owned(),
        }),
        Err(fault) => Err(AskError::Given {
            flag,
            problem: format!("is no JSON: {fault}"),
        }),
    }
}

fn structure(members: serde_json::Map<String, Json>) -> Struct {
    let fields = members.into_iter().map(|(name, member)| {
        let kind = Some(kind_of(member));
        (name, prost_types::Value { kind })
    });
    Struct {
        fields: fields.collect(),
    }
}

fn kind_of(value: Json) -> Kind {
    match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(truth) => Kind::BoolValue(truth),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => Kind::ListValue(ListValue {
            values: items
                .into_iter()
                .map(|item| prost_types::Value {
                    kind: Some(kind_of(item)),
                })
                .collect(),
        }),
        Json::Object(members) => Kind::StructValue(structure(members)),
    }
}

/// Whether it is allowed.
pub fn allows(answer: &v1::IsAuthorizedResponse) -> bool {
    answer.decision() == v1::Decision::Allow
}

/// The code that an answer ends with.
pub fn code_of(answer: &v1::IsAuthorizedResponse) -> ExitCode {
    match allows(answer) {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(DENIED),
    }
}

/// Says that there is no answer, and why.
pub fn unanswered(error: &AskError, output: Output) -> ExitCode {
    if output == Output::Json {
        let mut object = json!({ "ok": false, "problem": told(error) });
        if let (AskError::Refused(status), Some(object)) = (error, object.as_object_mut()) {
            let info = status.get_details_error_info();
            let code = format!("{:?}", status.code());
            object.insert("code".to_owned(), code.into());
            object.insert(
                "reason".to_owned(),
                info.map(|info| info.reason).unwrap_or_default().into(),
            );
        }
        println!("{object}");
    }
    eprintln!("roster: {}", told(error));
    ExitCode::from(FAULT)
}

/// The word for a reason, as the protos name it, without what all begin with.
fn code_word(reason: &v1::Reason) -> &'static str {
    let name = reason.code().as_str_name();
    name.strip_prefix("REASON_CODE_").unwrap_or(name)
}

/// An answer as lines for people.
pub fn lines_of(answer: &v1::IsAuthorizedResponse) -> Vec<String> {
    let decision = match allows(answer) {
        true => "ALLOW",
        false => "DENY",
    };
    let mut lines = vec![format!("{decision} at revision {}", answer.revision)];
    for reason in &answer.reasons {
        let named = [
            ("role", &reason.role),
            ("project", &reason.project),
            ("policy", &reason.policy),
        ];
        let named: Vec<String> = named
            .into_iter()
            .filter(|(_, name)| !name.is_empty())
            .map(|(kind, name)| format!("{kind} `{name}`"))
            .collect();
        let named = match named.is_empty() {
            true => String::new(),
            false => format!(" ({})", named.join(", ")),
        };
        lines.push(format!(
            "  {}: {}{named}",
            code_word(reason),
            reason.message
        ));
    }
    if let Some(until) = &answer.valid_until {
        lines.push(format!("  it may change by itself at {until}"));
    }
    lines
}

/// An answer as JSON.
pub fn json_of(answer: &v1::IsAuthorizedResponse) -> Json {
    let reasons: Vec<Json> = answer
        .reasons
        .iter()
        .map(|reason| {
            json!({
                "code": code_word(reason),
                "message": reason.message,
                "role": reason.role,
                "project": reason.project,
                "policy": reason.policy,
            })
        })
        .collect();
    json!({
        "ok": true,
        "allowed": allows(answer),
        "revision": answer.revision,
        "valid_until": answer.valid_until.as_ref().map(ToString::to_string),
        "reasons": reasons,
        "determining_policies": answer.determining_policies,
    })
}
