//! Guardrails, the part of `PolicyService` that changes something.

use tonic::{Request, Response, Status};

use super::mutation::{accept, reader};
use super::{from_proto, status, to_proto};
use crate::application::revision::token;
use crate::application::{Application, Need, PageRequest, Turn, Written};
use crate::domain::Violation;
use crate::domain::change::{Outcome, etag};
use crate::domain::guardrails::{GuardrailEdit, NewGuardrail};
use crate::domain::organization::Guardrail;
use crate::proto::v1;
use crate::world::draw_id;

/// What reading guardrails needs: they are part of the export.
const READ: Need<'static> = Need::Organization("ExportPolicies");
/// What changing them needs.
const CHANGE: Need<'static> = Need::Organization("ManageGuardrails");

/// Says everything that is wrong with a text, for whoever acts in this turn.
fn review(turn: &Turn<'_>) -> impl Fn(&str) -> Vec<Violation> {
    let operator = turn.acting.is_none();
    move |text| turn.snapshot.catalog().check_guardrail(text, operator)
}

/// `CreateGuardrail`.
pub async fn create(
    application: &Application,
    request: Request<v1::CreateGuardrailRequest>,
) -> Result<Response<v1::CreateGuardrailResponse>, Status> {
    let (message, common) = accept(request)?;
    let id = if message.guardrail_id.is_empty() {
        draw_id(application.world(), "guardrail")
    } else {
        message.guardrail_id
    };
    let new = NewGuardrail {
        id,
        description: message.description,
        text: message.text,
    };
    let written = application
        .mutate(&message.organization, CHANGE, &common, |turn| {
            turn.organization()
                .create_guardrail(turn.catalog(), &new, &review(turn), turn.now)
        })
        .await
        .map_err(status::of)?;
    Ok(Response::new(v1::CreateGuardrailResponse {
        guardrail: Some(outcome(&written)?),
        revision: token(written.revision),
    }))
}

/// `GetGuardrail`.
pub async fn get(
    application: &Application,
    request: Request<v1::GetGuardrailRequest>,
) -> Result<Response<v1::GetGuardrailResponse>, Status> {
    let reader = reader(&request)?;
    let message = request.into_inner();
    let snapshot = application
        .view(&message.organization, READ, &reader, &message.at_least)
        .await
        .map_err(status::of)?;
    let found = snapshot
        .organization()
        .guardrail(&message.guardrail)
        .map_err(|refusal| status::of(refusal.into()))?;
    Ok(Response::new(v1::GetGuardrailResponse {
        guardrail: Some(guardrail(found)),
        revision: token(snapshot.revision()),
    }))
}

/// `ListGuardrails`.
pub async fn list(
    application: &Application,
    request: Request<v1::ListGuardrailsRequest>,
) -> Result<Response<v1::ListGuardrailsResponse>, Status> {
    let reader = reader(&request)?;
    let message = request.into_inner();
    let snapshot = application
        .view(&message.organization, READ, &reader, &message.at_least)
        .await
        .map_err(status::of)?;
    let filters = ["guardrails", &message.organization];
    let paging =
        PageRequest::parse(message.page_size, &message.page_token, &filters).map_err(status::of)?;
    let rest = snapshot
        .organization()
        .guardrails
        .values()
        .filter(|guardrail| guardrail.id.as_str() > paging.after.as_str());
    let page = paging.take(rest, |guardrail| guardrail.id.to_string());
    Ok(Response::new(v1::ListGuardrailsResponse {
        guardrails: page
            .items
            .into_iter()
            .map(|found| guardrail(found))
            .collect(),
        revision: token(snapshot.revision()),
        next_page_token: page.next_page_token,
    }))
}

/// `UpdateGuardrail`.
pub async fn update(
    application: &Application,
    request: Request<v1::UpdateGuardrailRequest>,
) -> Result<Response<v1::UpdateGuardrailResponse>, Status> {
    let (message, common) = accept(request)?;
    let editable = ["description", "text"];
    let edit = from_proto::mask(message.update_mask.as_ref(), &editable).map(|mask| {
        let (description, text) = (message.description, message.text);
        GuardrailEdit {
            description: mask.has("description").then_some(description),
            text: mask.has("text").then_some(text),
        }
    });
    let written = application
        .mutate(&message.organization, CHANGE, &common, |turn| {
            turn.organization().update_guardrail(
                turn.catalog(),
                &message.guardrail,
                &edit.clone()?,
                &message.etag,
                &review(turn),
            )
        })
        .await
        .map_err(status::of)?;
    Ok(Response::new(v1::UpdateGuardrailResponse {
        guardrail: Some(outcome(&written)?),
        revision: token(written.revision),
    }))
}

/// `DeleteGuardrail`.
pub async fn delete(
    application: &Application,
    request: Request<v1::DeleteGuardrailRequest>,
) -> Result<Response<v1::DeleteGuardrailResponse>, Status> {
    let (message, common) = accept(request)?;
    let written = application
        .mutate(&message.organization, CHANGE, &common, |turn| {
            turn.organization()
                .delete_guardrail(&message.guardrail, &message.etag)
        })
        .await
        .map_err(status::of)?;
    Ok(Response::new(v1::DeleteGuardrailResponse {
        revision: token(written.revision),
    }))
}

fn outcome(written: &Written) -> Result<v1::Guardrail, Status> {
    match &written.outcome {
        Outcome::Guardrail(written) => Ok(guardrail(written)),
        other => Err(status::of(to_proto::unexpected(other))),
    }
}

fn guardrail(guardrail: &Guardrail) -> v1::Guardrail {
    v1::Guardrail {
        id: guardrail.id.to_string(),
        description: guardrail.description.clone(),
        text: guardrail.text.clone(),
        create_time: Some(to_proto::timestamp(guardrail.created_at)),
        etag: etag(guardrail.version),
    }
}
