//! Registered resources: Roster keeps their project and owner, and what it keeps wins.

use std::sync::Arc;

use super::catalog::Catalog;
use super::change::{Change, Event, Outcome, RecordChange, Target};
use super::checks::Checks;
use super::identifiers::{ProjectId, UserId};
use super::lifecycle::fresh;
use super::members::shown;
use super::organization::{Moment, Organization, RegisteredResource, ResourceKey};
use super::refusal::{Fault, Refusal};

/// The most registered resources of one organization.
pub const MAX_RESOURCES: usize = 1_000_000;
/// The most resources that one change reassigns.
pub const MAX_REASSIGNED: usize = 10_000;

/// What is to be registered.
#[derive(Clone, Debug, Default)]
pub struct NewResource {
    /// Its type.
    pub type_id: String,
    /// Its id.
    pub id: String,
    /// The project it lies in, or empty.
    pub project: String,
    /// Who owns it, or empty.
    pub owner: String,
}

impl Organization {
    /// Registers a resource.
    pub fn register_resource(
        &self,
        catalog: &Catalog,
        new: &NewResource,
        now: Moment,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        checks.identifier("id", &new.id);
        self.check_type(&mut checks, catalog, &new.type_id);
        let owner = self.check_owner(&mut checks, "owner", &new.owner);
        let project = self.check_project(&mut checks, &new.project);
        checks.finish()?;
        if let Some(project) = &project {
            self.open_project(project.as_str())?;
        }
        let key = ResourceKey::new(&new.type_id, &new.id);
        if self.resources.contains_key(&key) {
            return Err(Refusal::AlreadyExists {
                kind: "resource",
                id: new.id.clone(),
            });
        }
        if self.resources.len() >= MAX_RESOURCES {
            return Err(Refusal::LimitReached {
                what: "registered resources of an organization",
                limit: MAX_RESOURCES,
            });
        }
        let resource = RegisteredResource {
            key,
            project,
            owner,
            created_at: now,
            version: self.version.next(),
        };
        let details = place_of(&resource);
        Ok(self.put_resource(resource, "RegisterResource", details))
    }

    /// Gives a resource another owner, or none.
    pub fn transfer_resource(
        &self,
        type_id: &str,
        id: &str,
        new_owner: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        let owner = self.check_owner(&mut checks, "owner", new_owner);
        checks.finish()?;
        let mut resource = self.resource_to_edit(type_id, id, given_etag)?;
        let details = vec![
            ("before", text(resource.owner.as_ref())),
            ("after", text(owner.as_ref())),
        ];
        resource.owner = owner;
        Ok(self.put_resource(resource, "TransferResource", details))
    }

    /// Moves a resource to another project, or out of all.
    pub fn move_resource(
        &self,
        type_id: &str,
        id: &str,
        project: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        let project = self.check_project(&mut checks, project);
        checks.finish()?;
        if let Some(project) = &project {
            self.open_project(project.as_str())?;
        }
        let mut resource = self.resource_to_edit(type_id, id, given_etag)?;
        let details = vec![
            ("before", text(resource.project.as_ref())),
            ("after", text(project.as_ref())),
        ];
        resource.project = project;
        Ok(self.put_resource(resource, "MoveResource", details))
    }

    /// Passes what one user owns to another, or to nobody; at most
    /// [`MAX_REASSIGNED`] resources at a time, so the caller repeats it until none is left.
    pub fn reassign_resources(&self, from_owner: &str, to_owner: &str) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        checks.identifier("from_owner", from_owner);
        let owner = self.check_owner(&mut checks, "to_owner", to_owner);
        if from_owner == to_owner {
            checks.fault(
                "to_owner",
                Fault::Malformed,
                "is the owner whom the resources are taken from",
            );
        }
        checks.finish()?;
        let records: Vec<RecordChange> = self
            .owned_by(from_owner)
            .take(MAX_REASSIGNED)
            .map(|resource| {
                RecordChange::PutResource(Arc::new(RegisteredResource {
                    owner: owner.clone(),
                    version: self.version.next(),
                    ..(**resource).clone()
                }))
            })
            .collect();
        let count = records.len();
        Ok(Change {
            records,
            events: vec![Event::done(
                "ReassignResources",
                Target::new("User", from_owner),
                vec![
                    ("to", text(owner.as_ref())),
                    ("resources", count.to_string()),
                ],
            )],
            outcome: Outcome::Count(count as u64),
        })
    }

    /// Forgets a resource; from then on requests describe it.
    pub fn unregister_resource(
        &self,
        type_id: &str,
        id: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let resource = self.resource_to_edit(type_id, id, given_etag)?;
        Ok(Change {
            events: vec![Event::done(
                "UnregisterResource",
                Target::new(type_id, id),
                place_of(&resource),
            )],
            records: vec![RecordChange::DeleteResource(resource.key)],
            outcome: Outcome::Nothing,
        })
    }

    /// The registered resource of that type and id.
    pub fn resource(&self, type_id: &str, id: &str) -> Result<&Arc<RegisteredResource>, Refusal> {
        self.registered(type_id, id)
            .ok_or_else(|| Refusal::NotFound {
                kind: "registered resource",
                id: shown(id),
            })
    }

    fn check_type(&self, checks: &mut Checks, catalog: &Catalog, type_id: &str) {
        match catalog.resource_type(type_id) {
            None => checks.fault(
                "type",
                Fault::UnknownResourceType,
                format!("names no resource type of catalog `{}`", catalog.id),
            ),
            Some((_, found)) if found.built_in => {
                checks.fault(
                    "type",
                    Fault::ReservedName,
                    "is kept by Roster itself and needs no registration",
                );
            }
            Some(_) => {}
        }
    }

    fn check_owner(&self, checks: &mut Checks, field: &str, owner: &str) -> Option<UserId> {
        if owner.is_empty() {
            return None;
        }
        if !self.members.contains_key(owner) {
            checks.fault(
                field,
                Fault::UnknownReference,
                "names no member of this organization",
            );
        }
        Some(UserId::new(owner))
    }

    fn check_project(&self, checks: &mut Checks, project: &str) -> Option<ProjectId> {
        if project.is_empty() {
            return None;
        }
        if !self.projects.contains_key(project) {
            checks.fault(
                "project",
                Fault::UnknownReference,
                "names no project of this organization",
            );
        }
        Some(ProjectId::new(project))
    }

    fn resource_to_edit(
        &self,
        type_id: &str,
        id: &str,
        given_etag: &str,
    ) -> Result<RegisteredResource, Refusal> {
        let resource = self.resource(type_id, id)?;
        fresh("resource", &resource.key.id, resource.version, given_etag)?;
        Ok((**resource).clone())
    }

    fn put_resource(
        &self,
        mut resource: RegisteredResource,
        action: &'static str,
        details: Vec<(&'static str, String)>,
    ) -> Change {
        resource.version = self.version.next();
        let resource = Arc::new(resource);
        Change {
            records: vec![RecordChange::PutResource(Arc::clone(&resource))],
            events: vec![Event::done(
                action,
                Target::new(resource.key.type_id.as_str(), &resource.key.id),
                details,
            )],
            outcome: Outcome::Resource(resource),
        }
    }
}

/// Where a resource lies and whose it is, as the history lists it.
fn place_of(resource: &RegisteredResource) -> Vec<(&'static str, String)> {
    vec![
        ("project", text(resource.project.as_ref())),
        ("owner", text(resource.owner.as_ref())),
    ]
}

fn text(id: Option<&impl ToString>) -> String {
    id.map(ToString::to_string).unwrap_or_default()
}
