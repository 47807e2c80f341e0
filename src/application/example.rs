//! Example organizations, one for each product, for a first look at a running daemon.
//!
//! They are founded through the same use cases as any other. An organization that
//! is there already is left alone.

use super::actor::{Actor, Caller, Need};
use super::{Application, Error, Request};
use crate::domain::change::RecordChange;
use crate::domain::checks::AskedPermissions;
use crate::domain::invitations::{NewInvitation, Sender};
use crate::domain::lifecycle::Founding;
use crate::domain::members::NewMember;
use crate::domain::period::Period;
use crate::domain::resources::NewResource;
use crate::domain::roles::NewRole;

/// One step in the making of an example.
enum Step {
    /// A member with roles on the organization: user, name, roles.
    Member(&'static str, &'static str, &'static [&'static str]),
    /// Somebody who is invited and has not accepted: user part of the address, name,
    /// roles. Nobody is written to.
    Invite(&'static str, &'static str, &'static [&'static str]),
    /// A project: id, name.
    Project(&'static str, &'static str),
    /// Roles on a project: project, user, roles.
    ProjectRoles(&'static str, &'static str, &'static [&'static str]),
    /// An override: project, user, roles.
    Override(&'static str, &'static str, &'static [&'static str]),
    /// Default roles: user, roles.
    DefaultRoles(&'static str, &'static [&'static str]),
    /// A custom role: id, name, actions.
    Role(&'static str, &'static str, &'static [&'static str]),
    /// A registered resource: type, id, owner.
    Resource(&'static str, &'static str, &'static str),
}

/// An example organization.
struct Example {
    catalog: &'static str,
    organization: &'static str,
    display_name: &'static str,
    plan: &'static str,
    owner: (&'static str, &'static str),
    steps: &'static [Step],
}

const EXAMPLES: [Example; 5] = [
    Example {
        catalog: "oncloudwine",
        organization: "oncloudwine-example",
        display_name: "OnCloudWine example",
        plan: "",
        owner: ("liam", "Liam Hillier"),
        steps: &[
            Step::Member("riley", "Riley Park", &["admin"]),
            Step::Member("morgan", "Morgan Hayes", &["member"]),
            Step::Invite("cameron", "Cameron Wu", &["member"]),
        ],
    },
    Example {
        catalog: "cloud-66",
        organization: "cloud-66-example",
        display_name: "Cloud 66 example",
        plan: "",
        owner: ("olivia", "Olivia"),
        steps: &[
            Step::Project("shop", "Shop"),
            Step::Project("blog", "Blog"),
            Step::Member("adam", "Adam", &[]),
            Step::ProjectRoles("shop", "adam", &["administrator"]),
            Step::Member("paula", "Paula", &[]),
            Step::ProjectRoles("shop", "paula", &["power-user"]),
            Step::Member("oscar", "Oscar", &[]),
            Step::ProjectRoles("shop", "oscar", &["operation"]),
            Step::Member("dora", "Dora", &[]),
            Step::ProjectRoles("shop", "dora", &["developer"]),
            Step::Member("dan", "Dan", &[]),
            Step::ProjectRoles("shop", "dan", &["deployer"]),
            Step::Member("vera", "Vera", &[]),
            Step::DefaultRoles("vera", &["viewer"]),
            Step::Project("docs", "Docs"),
            Step::Member("fiona", "Fiona", &["finance"]),
            Step::Member("mary", "Mary", &["manage-users"]),
        ],
    },
    Example {
        catalog: "hypervisor-io",
        organization: "hypervisor-io-example",
        display_name: "Service groups example",
        plan: "",
        owner: ("otto", "Otto"),
        steps: &[
            Step::Project("development", "Development"),
            Step::Project("production", "Production"),
            Step::Member("ada", "Ada", &["admin"]),
            Step::Member("vic", "Vic", &["viewer"]),
            Step::Role(
                "developer",
                "Developer",
                &[
                    "InstancesView",
                    "InstancesManage",
                    "DatabasesView",
                    "ProjectsView",
                ],
            ),
            Step::Member("dev", "Dev", &["developer"]),
            Step::Override("development", "dev", &["operator"]),
            Step::Override("production", "dev", &["viewer"]),
        ],
    },
    Example {
        catalog: "oec-sh",
        organization: "oec-sh-example",
        display_name: "OEC.SH example",
        plan: "",
        owner: ("olga", "Olga"),
        steps: &[
            Step::Project("erp", "ERP"),
            Step::Project("website", "Website"),
            Step::Member("anton", "Anton", &["admin"]),
            Step::Member("daria", "Daria", &["developer"]),
            Step::Member("viktor", "Viktor", &["viewer"]),
            Step::Member("petra", "Petra", &[]),
            Step::ProjectRoles("erp", "petra", &["project-admin"]),
            Step::Member("pavel", "Pavel", &[]),
            Step::ProjectRoles("erp", "pavel", &["project-developer"]),
        ],
    },
    Example {
        catalog: "qoc-cloud",
        organization: "qoc-cloud-example",
        display_name: "QOC Cloud example",
        plan: "pro",
        owner: ("quinn", "Quinn"),
        steps: &[
            Step::Member("alex", "Alex", &["admin"]),
            Step::Member("mika", "Mika", &["member"]),
            Step::Member("vanessa", "Vanessa", &["viewer"]),
            Step::Resource("Application", "crm", "mika"),
        ],
    },
];

impl Application {
    /// Founds the example organizations that are not there yet; their ids.
    pub async fn load_examples(&self) -> Result<Vec<&'static str>, Error> {
        for example in EXAMPLES
            .iter()
            .filter(|example| self.catalog(example.catalog).is_some())
        {
            let founding = Founding {
                id: example.organization.to_owned(),
                display_name: example.display_name.to_owned(),
                plan: example.plan.to_owned(),
                owner: example.owner.0.to_owned(),
                owner_display_name: example.owner.1.to_owned(),
                owner_email: String::new(),
            };
            if self.find(example.organization).await.is_ok() {
                continue;
            }
            self.create_organization(example.catalog, &founding, &request())
                .await?;
            for step in example.steps {
                self.take(example.organization, step).await?;
            }
        }
        Ok(EXAMPLES
            .iter()
            .map(|example| example.organization)
            .collect())
    }

    async fn take(&self, organization: &str, step: &Step) -> Result<(), Error> {
        let draw = self.draw_invitation();
        self.mutate(organization, Need::Operator, &request(), |turn| {
            let (state, catalog, now) = (turn.organization(), turn.catalog(), turn.now);
            match step {
                Step::Member(user, name, roles) => {
                    let new = NewMember {
                        user: (*user).to_owned(),
                        display_name: (*name).to_owned(),
                        email: format!("{user}@{organization}.example"),
                        roles: owned(roles).into(),
                        period: Period::ALWAYS,
                    };
                    state.add_member(catalog, &new, now)
                }
                Step::Invite(user, name, roles) => {
                    let new = NewInvitation {
                        email: format!("{user}@{organization}.example"),
                        display_name: (*name).to_owned(),
                        roles: owned(roles),
                        ..NewInvitation::default()
                    };
                    let sender = Sender {
                        catalog,
                        grantor: None,
                        now,
                    };
                    let mut invited = state.create_invitation(sender, &new, &draw)?;
                    let letter =
                        |record: &RecordChange| matches!(record, RecordChange::PutNotification(_));
                    invited.records.retain(|record| !letter(record));
                    Ok(invited)
                }
                Step::Project(id, name) => state.create_project(catalog, id, name, now),
                Step::ProjectRoles(project, user, roles) => {
                    state.set_project_roles(catalog, project, user, &owned(roles).into(), "", now)
                }
                Step::Override(project, user, roles) => {
                    let none = AskedPermissions::default();
                    state.set_project_override(
                        catalog,
                        project,
                        user,
                        &owned(roles),
                        &none,
                        Period::ALWAYS,
                        "",
                        now,
                    )
                }
                Step::DefaultRoles(user, roles) => {
                    state.set_default_roles(catalog, user, &owned(roles), "")
                }
                Step::Role(id, name, actions) => {
                    let new = NewRole {
                        id: (*id).to_owned(),
                        display_name: (*name).to_owned(),
                        description: String::new(),
                        permissions: AskedPermissions {
                            actions: owned(actions),
                            ..AskedPermissions::default()
                        },
                    };
                    state.create_role(catalog, &new, now)
                }
                Step::Resource(type_id, id, owner) => {
                    let new = NewResource {
                        type_id: (*type_id).to_owned(),
                        id: (*id).to_owned(),
                        project: String::new(),
                        owner: (*owner).to_owned(),
                    };
                    state.register_resource(catalog, &new, now)
                }
            }
        })
        .await
        .map(drop)
    }
}

fn request() -> Request {
    Request {
        caller: Caller {
            name: "example".to_owned(),
            actor: Actor::Operator,
        },
        method: "LoadExample",
        request_id: String::new(),
        fingerprint: [0; 32],
        validate_only: false,
    }
}

fn owned(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}
