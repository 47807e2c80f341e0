//! An organization for each principal of a truth table, and what it answers.
//!
//! The organizations are founded by the domain's own rules and decided by the engine, as
//! a daemon does, without store and network.

use std::sync::Arc;

use super::cases::Holds;
use crate::domain::catalog::{Catalog, OWNER_ROLE};
use crate::domain::change::{Change, RecordChange};
use crate::domain::checks::{AskedPermissions, AskedRoles};
use crate::domain::identifiers::PlanId;
use crate::domain::lifecycle::{Founding, found};
use crate::domain::members::NewMember;
use crate::domain::organization::{Moment, Organization, Profile, Version};
use crate::domain::period::Period;
use crate::domain::refusal::Refusal;
use crate::engine::{CompiledCatalog, RawQuestion, Snapshot, Verdict};

/// The organization.
pub const ORGANIZATION: &str = "organization";
/// Its project, where the product has projects.
pub const PROJECT: &str = "project";
/// The user who is asked about.
pub const SELF: &str = "self";
/// The user who owns the organization, unless that is who is asked about.
pub const OWNER: &str = "owner";
/// A member without any role.
pub const OTHER: &str = "other";
/// When it is asked.
const NOW: Moment = Moment(1_700_000_000_000);

/// The principal of a member without any role.
pub const NO_ROLE: &str = "none";
/// The principal of somebody who is no member.
pub const STRANGER: &str = "stranger";

/// Who is asked about.
#[derive(Clone, Debug)]
pub enum Principal {
    /// The owner of the organization.
    Owner,
    /// Nobody that the organization knows.
    Stranger,
    /// A member.
    Member(Holds),
}

impl Principal {
    /// The principals that every table has: the owner, each role by its id, a member
    /// without a role, a stranger.
    pub fn of_catalog(catalog: &Catalog) -> Vec<(String, Self)> {
        let mut all = vec![(OWNER_ROLE.to_owned(), Self::Owner)];
        for role in &catalog.roles {
            let id = role.id.to_string();
            let holds = match role.on_organization {
                true => Holds {
                    roles: vec![id.clone()],
                    ..Holds::default()
                },
                false => Holds {
                    project_roles: vec![id.clone()],
                    ..Holds::default()
                },
            };
            all.push((id, Self::Member(holds)));
        }
        all.push((NO_ROLE.to_owned(), Self::Member(Holds::default())));
        all.push((STRANGER.to_owned(), Self::Stranger));
        all
    }

    /// The user id that it is asked about by.
    pub fn user(&self) -> &'static str {
        SELF
    }

    /// The user who owns the organization.
    pub fn owner(&self) -> &'static str {
        match self {
            Self::Owner => SELF,
            Self::Stranger | Self::Member(_) => OWNER,
        }
    }
}

/// An organization on a plan in which the principal is what they are.
pub fn seat(
    compiled: &Arc<CompiledCatalog>,
    plan: &str,
    principal: &Principal,
) -> Result<Snapshot, String> {
    let organization =
        organization(compiled.catalog(), plan, principal).map_err(|refusal| refusal.to_string())?;
    Snapshot::compile(Arc::clone(compiled), organization, 1).map_err(|error| error.to_string())
}

fn organization(
    catalog: &Catalog,
    plan: &str,
    principal: &Principal,
) -> Result<Organization, Refusal> {
    // Seats are not what is tried: they are taken on the plan that has most.
    let roomy = catalog
        .plans
        .iter()
        .max_by_key(|plan| plan.members.unwrap_or(u32::MAX));
    let founding = Founding {
        id: ORGANIZATION.to_owned(),
        display_name: ORGANIZATION.to_owned(),
        plan: roomy.map(|plan| plan.id.to_string()).unwrap_or_default(),
        owner: principal.owner().to_owned(),
        owner_display_name: String::new(),
        owner_email: String::new(),
    };
    let (mut state, _) = found(catalog, &founding, Version(1), NOW)?;
    if catalog.project_word.is_some() {
        let change = state.create_project(catalog, PROJECT, PROJECT, NOW)?;
        state = after(&state, &change);
    }
    let change = state.add_member(catalog, &member(OTHER, &[]), NOW)?;
    state = after(&state, &change);
    if let Principal::Member(holds) = principal {
        state = with_member(catalog, &state, holds)?;
    }
    let profile = Profile {
        plan: PlanId::new(plan),
        ..(*state.profile).clone()
    };
    Ok(state.apply(&[RecordChange::PutProfile(Arc::new(profile))]))
}

fn with_member(
    catalog: &Catalog,
    state: &Organization,
    holds: &Holds,
) -> Result<Organization, Refusal> {
    let change = state.add_member(catalog, &member(SELF, &holds.roles), NOW)?;
    let mut state = after(state, &change);
    if !holds.project_roles.is_empty() {
        let asked = AskedRoles::from(holds.project_roles.clone());
        let change = state.set_project_roles(catalog, PROJECT, SELF, &asked, "", NOW)?;
        state = after(&state, &change);
    }
    if let Some(roles) = &holds.overriding {
        let (none, always) = (AskedPermissions::default(), Period::ALWAYS);
        let change =
            state.set_project_override(catalog, PROJECT, SELF, roles, &none, always, "", NOW)?;
        state = after(&state, &change);
    }
    if holds.suspended {
        let change = state.suspend_member(catalog, SELF, "", NOW)?;
        state = after(&state, &change);
    }
    Ok(state)
}

fn member(user: &str, roles: &[String]) -> NewMember {
    NewMember {
        user: user.to_owned(),
        roles: AskedRoles::from(roles.to_vec()),
        ..NewMember::default()
    }
}

fn after(state: &Organization, change: &Change) -> Organization {
    state.apply(&change.records)
}

/// What was answered, and why in words.
pub fn judge(snapshot: &Snapshot, asked: RawQuestion<'_>) -> Result<(Verdict, String), String> {
    let raw = RawQuestion { at: NOW, ..asked };
    let question = snapshot.question(&raw).map_err(|violations| {
        let told = violations
            .iter()
            .map(|violation| format!("`{}` {}", violation.field, violation.message));
        told.collect::<Vec<_>>().join("; ")
    })?;
    let decision = snapshot
        .decide(&question)
        .map_err(|error| error.to_string())?;
    let explained = snapshot
        .explain(&question)
        .map_err(|error| error.to_string())?;
    let why = explained.reasons.first().map(|reason| {
        let role = match reason.role.is_empty() {
            true => String::new(),
            false => format!(" (role `{}`)", reason.role),
        };
        format!("{}{role}", reason.message)
    });
    Ok((decision.verdict, why.unwrap_or_default()))
}
