//! `PolicyService`: catalogs, compiled policies, the export, and guardrails.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};

use super::mutation::reader;
use super::{from_proto, guardrails, status, to_proto};
use crate::application::revision::token;
use crate::application::{Application, Error, Need, PageRequest};
use crate::domain::Refusal;
use crate::domain::catalog::{Catalog, ConditionTest, Offer, TeamRules};
use crate::domain::organization::Moment;
use crate::domain::refusal::{Fault, Violation};
use crate::domain::value::{Attribute, ValueType};
use crate::engine::{CompileError, Export, PolicySource, PolicyText, RawQuestion, Snapshot};
use crate::proto::v1;
use crate::proto::v1::policy_service_server::PolicyService;

/// The most bytes of one chunk of an export.
const CHUNK_BYTES: usize = 1_000_000;

/// Serves catalogs and policies.
pub struct PolicyRpc {
    application: Arc<Application>,
}

impl PolicyRpc {
    /// Serves policies of that application.
    pub fn new(application: Arc<Application>) -> Self {
        Self { application }
    }
}

#[tonic::async_trait]
impl PolicyService for PolicyRpc {
    async fn list_catalogs(
        &self,
        request: Request<v1::ListCatalogsRequest>,
    ) -> Result<Response<v1::ListCatalogsResponse>, Status> {
        let message = request.into_inner();
        let paging = PageRequest::parse(message.page_size, &message.page_token, &["catalogs"])
            .map_err(status::of)?;
        let catalogs = self
            .application
            .catalogs()
            .map(|compiled| compiled.catalog())
            .filter(|catalog| catalog.id.as_str() > paging.after.as_str());
        let page = paging.take(catalogs, |catalog| catalog.id.to_string());
        Ok(Response::new(v1::ListCatalogsResponse {
            catalogs: page
                .items
                .iter()
                .map(|catalog| self::catalog(catalog))
                .collect(),
            next_page_token: page.next_page_token,
        }))
    }

    async fn get_catalog(
        &self,
        request: Request<v1::GetCatalogRequest>,
    ) -> Result<Response<v1::GetCatalogResponse>, Status> {
        let id = request.into_inner().catalog;
        let Some(offered) = self.application.catalog(&id) else {
            let id = id
                .chars()
                .take(128)
                .flat_map(char::escape_default)
                .collect();
            return Err(status::of(
                Refusal::NotFound {
                    kind: "catalog",
                    id,
                }
                .into(),
            ));
        };
        let compiled = offered.compiled().map_err(CompileError::from);
        let compiled = compiled.map_err(|error| status::of(error.into()))?;
        Ok(Response::new(v1::GetCatalogResponse {
            catalog: Some(catalog(offered.catalog())),
            schema: compiled.schema_text().to_owned(),
        }))
    }

    async fn list_policies(
        &self,
        request: Request<v1::ListPoliciesRequest>,
    ) -> Result<Response<v1::ListPoliciesResponse>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(
                &message.organization,
                Need::Organization("ExportPolicies"),
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        let filters = ["policies", &message.organization];
        let paging = PageRequest::parse(message.page_size, &message.page_token, &filters)
            .map_err(status::of)?;
        let policies = Export::new(Arc::clone(&snapshot), self.application.world().now())
            .policies()
            .map_err(|error| status::of(error.into()))?;
        let rest = policies
            .into_iter()
            .filter(|policy| policy.id > paging.after);
        let page = paging.take(rest, |policy| policy.id.clone());
        Ok(Response::new(v1::ListPoliciesResponse {
            policies: page
                .items
                .into_iter()
                .map(|found| policy(&snapshot, found))
                .collect(),
            revision: token(snapshot.revision()),
            next_page_token: page.next_page_token,
        }))
    }

    type ExportPoliciesStream =
        Pin<Box<dyn Stream<Item = Result<v1::ExportPoliciesResponse, Status>> + Send>>;

    async fn export_policies(
        &self,
        request: Request<v1::ExportPoliciesRequest>,
    ) -> Result<Response<Self::ExportPoliciesStream>, Status> {
        let reader = reader(&request)?;
        let message = request.into_inner();
        let snapshot = self
            .application
            .view(
                &message.organization,
                Need::Organization("ExportPolicies"),
                &reader,
                &message.at_least,
            )
            .await
            .map_err(status::of)?;
        let chunks = export(
            &snapshot,
            message.request.as_ref(),
            &message.token,
            self.application.world().now(),
        )
        .map_err(status::of)?;
        Ok(Response::new(Box::pin(stream::iter(
            chunks.into_iter().map(Ok),
        ))))
    }

    async fn create_guardrail(
        &self,
        request: Request<v1::CreateGuardrailRequest>,
    ) -> Result<Response<v1::CreateGuardrailResponse>, Status> {
        guardrails::create(&self.application, request).await
    }

    async fn get_guardrail(
        &self,
        request: Request<v1::GetGuardrailRequest>,
    ) -> Result<Response<v1::GetGuardrailResponse>, Status> {
        guardrails::get(&self.application, request).await
    }

    async fn list_guardrails(
        &self,
        request: Request<v1::ListGuardrailsRequest>,
    ) -> Result<Response<v1::ListGuardrailsResponse>, Status> {
        guardrails::list(&self.application, request).await
    }

    async fn update_guardrail(
        &self,
        request: Request<v1::UpdateGuardrailRequest>,
    ) -> Result<Response<v1::UpdateGuardrailResponse>, Status> {
        guardrails::update(&self.application, request).await
    }

    async fn delete_guardrail(
        &self,
        request: Request<v1::DeleteGuardrailRequest>,
    ) -> Result<Response<v1::DeleteGuardrailResponse>, Status> {
        guardrails::delete(&self.application, request).await
    }
}

fn export(
    snapshot: &Arc<Snapshot>,
    request: Option<&v1::IsAuthorizedRequest>,
    token_id: &str,
    now: Moment,
) -> Result<Vec<v1::ExportPoliciesResponse>, Error> {
    let elsewhere = request.is_some_and(|request| {
        let id = snapshot.organization().id().as_str();
        !request.organization.is_empty() && request.organization != id
    });
    if elsewhere {
        return Err(Error::invalid(vec![Violation::new(
            "request.organization",
            Fault::Malformed,
            "must be the organization that is exported, or empty",
        )]));
    }
    let export = Export::new(Arc::clone(snapshot), now);
    let said = request.map(from_proto::said).unwrap_or_default();
    let question = match request {
        Some(request) => {
            let raw = from_proto::question(request, &said, now);
            let raw = asked_with(snapshot, raw, token_id)?;
            Some(snapshot.question(&raw).map_err(Error::invalid)?)
        }
        None => None,
    };
    let policies: Vec<String> = export
        .policies()?
        .into_iter()
        .map(|policy| policy.text)
        .collect();
    let entities = export.entities(question.as_ref())?;
    let mut files = vec![
        ("schema.cedarschema", export.schema().to_owned()),
        ("policies.cedar", policies.join("\n\n") + "\n"),
        ("entities.json", format!("[\n{}\n]\n", entities.join(",\n"))),
    ];
    if let Some(question) = &question {
        files.push((
            "request.json",
            format!("{:#}\n", export.request(question)?.0),
        ));
    }
    let revision = token(snapshot.revision());
    Ok(files
        .into_iter()
        .flat_map(|(file, text)| {
            chunks(&text)
                .into_iter()
                .map(move |chunk| (file, chunk))
                .collect::<Vec<_>>()
        })
        .map(|(file, text)| v1::ExportPoliciesResponse {
            file: file.to_owned(),
            text,
            revision: revision.clone(),
        })
        .collect())
}

/// The question as the token of that id asks it; the same if there is none.
fn asked_with<'a>(
    snapshot: &'a Snapshot,
    raw: RawQuestion<'a>,
    token_id: &'a str,
) -> Result<RawQuestion<'a>, Error> {
    if token_id.is_empty() {
        return Ok(raw);
    }
    let token = snapshot.organization().token(token_id)?;
    let subject = token.subject.as_str();
    let other = !raw.principal_id.is_empty() && raw.principal_id != subject;
    if other {
        return Err(Error::invalid(vec![Violation::new(
            "request.principal.id",
            Fault::Malformed,
            "must be the subject of the token, or left out",
        )]));
    }
    Ok(RawQuestion {
        principal_type: "User",
        principal_id: subject,
        token: token_id,
        ..raw
    })
}

/// Cuts a text into chunks that each fit a message, between characters.
fn chunks(text: &str) -> Vec<String> {
    let mut chunks = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(CHUNK_BYTES);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (chunk, after) = rest.split_at(end);
        chunks.push(chunk.to_owned());
        rest = after;
    }
    chunks
}

fn policy(snapshot: &Snapshot, policy: PolicyText) -> v1::Policy {
    let mut told = v1::Policy {
        id: policy.id,
        cedar: policy.text,
        ..v1::Policy::default()
    };
    let origin = match policy.source {
        PolicySource::Role(role) => {
            told.role = role.to_string();
            v1::PolicyOrigin::Role
        }
        PolicySource::ProjectRole(role) => {
            told.role = role.to_string();
            v1::PolicyOrigin::ProjectRole
        }
        PolicySource::Permissions => v1::PolicyOrigin::Permissions,
        PolicySource::TokenScope => v1::PolicyOrigin::TokenScope,
        PolicySource::Guardrail(id) => {
            let guardrail = snapshot.organization().guardrails.get(id.as_str());
            told.guardrail = id.to_string();
            told.reason = guardrail.map_or_else(String::new, |found| found.description.clone());
            v1::PolicyOrigin::Guardrail
        }
        PolicySource::Rule { reason, .. } => {
            told.reason = reason;
            v1::PolicyOrigin::Rule
        }
    };
    told.origin = origin.into();
    told
}

fn catalog(catalog: &Arc<Catalog>) -> v1::Catalog {
    let type_names = |types: &[crate::domain::catalog::TypeIndex]| {
        types
            .iter()
            .filter_map(|index| catalog.resource_types.get(usize::from(index.0)))
            .map(|resource_type| resource_type.id.to_string())
            .collect()
    };
    v1::Catalog {
        id: catalog.id.to_string(),
        title: catalog.title.clone(),
        organization_word: catalog.organization_word.clone(),
        project_word: catalog.project_word.clone().unwrap_or_default(),
        resource_types: catalog
            .resource_types
            .iter()
            .map(|resource_type| v1::ResourceType {
                id: resource_type.id.to_string(),
                title: resource_type.title.clone(),
                attributes: attributes(&resource_type.attributes),
                built_in: resource_type.built_in,
            })
            .collect(),
        actions: catalog
            .actions
            .iter()
            .map(|action| v1::Action {
                id: action.id.to_string(),
                title: action.title.clone(),
                level: to_proto::level(action.level).into(),
                resource_types: type_names(&action.resource_types),
                implies: action
                    .implies
                    .iter()
                    .filter_map(|index| catalog.actions.get(usize::from(index.0)))
                    .map(|implied| implied.id.to_string())
                    .collect(),
                context: attributes(&action.context),
            })
            .collect(),
        roles: catalog
            .roles
            .iter()
            .map(|role| v1::CatalogRole {
                id: role.id.to_string(),
                title: role.title.clone(),
                description: role.description.clone(),
                on_organization: role.on_organization,
                on_project: role.on_project,
                permissions: Some(to_proto::permissions(&role.permissions)),
            })
            .collect(),
        plans: catalog
            .plans
            .iter()
            .map(|plan| v1::Plan {
                id: plan.id.to_string(),
                title: plan.title.clone(),
                features: plan.features.iter().cloned().collect(),
            })
            .collect(),
        conditions: catalog
            .conditions
            .iter()
            .map(|condition| v1::Condition {
                id: condition.id.clone(),
                title: condition.title.clone(),
                test: Some(match &condition.test {
                    ConditionTest::AttributeIsTrue(name) => {
                        v1::condition::Test::AttributeIsTrue(name.clone())
                    }
                    ConditionTest::AttributeContainsPrincipal(name) => {
                        v1::condition::Test::AttributeContainsPrincipal(name.clone())
                    }
                }),
            })
            .collect(),
        team: Some(team(&catalog.team)),
    }
}

fn team(rules: &TeamRules) -> v1::TeamRules {
    let (offer, feature) = match &rules.custom_roles {
        Offer::Never => (v1::Offer::Never, String::new()),
        Offer::Always => (v1::Offer::Always, String::new()),
        Offer::WithFeature(feature) => (v1::Offer::WithFeature, feature.clone()),
    };
    v1::TeamRules {
        custom_roles: offer.into(),
        custom_roles_feature: feature,
        built_in_roles_editable: rules.built_in_roles_editable,
        project_roles: rules.project_roles,
        overrides: rules.overrides,
        default_roles: rules.default_roles,
    }
}

fn attributes(attributes: &[Attribute]) -> Vec<v1::Attribute> {
    attributes
        .iter()
        .map(|attribute| v1::Attribute {
            name: attribute.name.clone(),
            r#type: type_name(&attribute.value_type),
            required: attribute.required,
        })
        .collect()
}

/// A type as Cedar's schema syntax spells it.
fn type_name(value_type: &ValueType) -> String {
    match value_type {
        ValueType::Boolean => "Bool".to_owned(),
        ValueType::Long => "Long".to_owned(),
        ValueType::Text => "String".to_owned(),
        ValueType::Decimal => "decimal".to_owned(),
        ValueType::Datetime => "datetime".to_owned(),
        ValueType::Address => "ipaddr".to_owned(),
        ValueType::User => "User".to_owned(),
        ValueType::Set(element) => format!("Set<{}>", type_name(element)),
        ValueType::Record(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|field| {
                    let mark = if field.required { "" } else { "?" };
                    format!("{}{mark}: {}", field.name, type_name(&field.value_type))
                })
                .collect();
            format!("{{ {} }}", fields.join(", "))
        }
    }
}
