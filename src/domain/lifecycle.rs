//! The organization itself: founded, renamed, moved between plans, deleted.

use std::sync::Arc;

use super::catalog::{Catalog, Offer};
use super::change::{Change, Event, Outcome, RecordChange, Target, etag};
use super::checks::Checks;
use super::facts;
use super::identifiers::{OrganizationId, PlanId, UserId};
use super::organization::{
    Member, MemberKind, MemberStatus, Moment, Organization, Profile, Version,
};
use super::refusal::{Fault, Refusal};

/// What is asked for when an organization is founded.
#[derive(Clone, Debug)]
pub struct Founding {
    /// Its id.
    pub id: String,
    /// As people read it.
    pub display_name: String,
    /// Its plan; empty for the catalog's first.
    pub plan: String,
    /// Who owns it.
    pub owner: String,
    /// The owner's name, may be empty.
    pub owner_display_name: String,
    /// The owner's address, may be empty.
    pub owner_email: String,
}

/// Founds an organization: its record and its owner's membership.
///
/// `first` is the version it begins with. Drawn at random, it keeps etags, guards
/// and memberships of an earlier organization of the same id from fitting this one.
pub fn found(
    catalog: &Catalog,
    founding: &Founding,
    first: Version,
    now: Moment,
) -> Result<(Organization, Change), Refusal> {
    let mut checks = Checks::new();
    checks.identifier("organization_id", &founding.id);
    checks.name("display_name", &founding.display_name);
    checks.identifier("owner", &founding.owner);
    checks.optional_name("owner_display_name", &founding.owner_display_name);
    checks.optional_address("owner_email", &founding.owner_email);
    let plan = if founding.plan.is_empty() {
        catalog.plans.first().map(|plan| plan.id.clone())
    } else {
        catalog.plan(&founding.plan).map(|plan| plan.id.clone())
    };
    let Some(plan) = plan else {
        checks.fault(
            "plan",
            Fault::UnknownReference,
            format!("names no plan of catalog `{}`", catalog.id),
        );
        return Err(checks
            .finish()
            .err()
            .unwrap_or(Refusal::NotOffered("plans")));
    };
    checks.finish()?;
    let version = first;
    let profile = Arc::new(Profile {
        id: OrganizationId::new(founding.id.as_str()),
        display_name: founding.display_name.clone(),
        catalog: catalog.id.clone(),
        plan,
        owner: UserId::new(founding.owner.as_str()),
        created_at: now,
        next_project_ordinal: 1,
        transfer: None,
        version,
    });
    let owner = Arc::new(Member {
        user: profile.owner.clone(),
        display_name: founding.owner_display_name.clone().into(),
        email: founding.owner_email.clone().into(),
        status: MemberStatus::Active,
        kind: MemberKind::Person,
        roles: Vec::new(),
        project_roles: Default::default(),
        overrides: Default::default(),
        default_roles: Default::default(),
        groups: Default::default(),
        periods: Default::default(),
        period: Default::default(),
        added_by: None,
        joined_at: now,
        last_active_at: None,
        membership: version,
        version,
    });
    let change = Change {
        events: vec![Event::done(
            "CreateOrganization",
            Target::new("Organization", &profile.id),
            vec![
                ("catalog", catalog.id.to_string()),
                ("plan", profile.plan.to_string()),
                ("owner", profile.owner.to_string()),
            ],
        )],
        outcome: Outcome::Profile(Arc::clone(&profile)),
        records: vec![
            RecordChange::PutProfile(Arc::clone(&profile)),
            RecordChange::PutMember(owner),
        ],
    };
    let organization =
        Organization::empty(profile, Version(first.0.saturating_sub(1))).apply(&change.records);
    Ok((organization, change))
}

impl Organization {
    /// Renames the organization.
    pub fn update_organization(
        &self,
        display_name: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        checks.name("display_name", display_name);
        checks.finish()?;
        self.check_etag(given_etag)?;
        let details = vec![facts::fields([("display_name", true)])];
        self.change_profile("UpdateOrganization", details, |profile| {
            profile.display_name = display_name.to_owned();
        })
    }

    /// Moves the organization to another plan. Takes nothing away that is in use.
    pub fn set_plan(
        &self,
        catalog: &Catalog,
        plan: &str,
        given_etag: &str,
    ) -> Result<Change, Refusal> {
        let mut checks = Checks::new();
        if catalog.plan(plan).is_none() {
            checks.fault(
                "plan",
                Fault::UnknownReference,
                format!("names no plan of catalog `{}`", catalog.id),
            );
        }
        checks.finish()?;
        self.check_etag(given_etag)?;
        let details = vec![
            ("before", self.profile.plan.to_string()),
            ("after", plan.to_owned()),
        ];
        self.change_profile("SetPlan", details, |profile| {
            profile.plan = PlanId::new(plan)
        })
    }

    /// Deletes the organization with all that is in it.
    pub fn delete_organization(&self, given_etag: &str) -> Result<Change, Refusal> {
        self.check_etag(given_etag)?;
        Ok(Change {
            records: vec![RecordChange::DeleteOrganization],
            events: vec![Event::done(
                "DeleteOrganization",
                Target::new("Organization", self.id()),
                vec![
                    ("owner", self.profile.owner.to_string()),
                    ("plan", self.profile.plan.to_string()),
                    ("members", self.members.len().to_string()),
                ],
            )],
            outcome: Outcome::Nothing,
        })
    }

    /// Refuses what the product does not offer, or not on the plan.
    pub(super) fn offered(
        &self,
        catalog: &Catalog,
        offer: &Offer,
        what: &'static str,
    ) -> Result<(), Refusal> {
        match offer {
            Offer::Always => Ok(()),
            Offer::Never => Err(Refusal::NotOffered(what)),
            Offer::WithFeature(feature) if self.has_feature(catalog, feature) => Ok(()),
            Offer::WithFeature(feature) => Err(Refusal::PlanLacksFeature {
                plan: self.profile.plan.to_string(),
                feature: feature.clone(),
            }),
        }
    }

    fn check_etag(&self, given: &str) -> Result<(), Refusal> {
        fresh("organization", self.id(), self.profile.version, given)
    }

    fn change_profile(
        &self,
        action: &'static str,
        details: Vec<(&'static str, String)>,
        edit: impl FnOnce(&mut Profile),
    ) -> Result<Change, Refusal> {
        let mut profile = (*self.profile).clone();
        edit(&mut profile);
        profile.version = self.version.next();
        let profile = Arc::new(profile);
        Ok(Change {
            records: vec![RecordChange::PutProfile(Arc::clone(&profile))],
            events: vec![Event::done(
                action,
                Target::new("Organization", self.id()),
                details,
            )],
            outcome: Outcome::Profile(profile),
        })
    }
}

/// Refuses an edit whose etag is not that of the record; an empty one edits whatever is there.
pub(super) fn fresh(
    kind: &'static str,
    id: &impl ToString,
    version: Version,
    given: &str,
) -> Result<(), Refusal> {
    if given.is_empty() || given == etag(version) {
        return Ok(());
    }
    let given = given
        .chars()
        .take(64)
        .flat_map(char::escape_default)
        .collect();
    Err(Refusal::StaleEtag {
        kind,
        id: id.to_string(),
        given,
    })
}
