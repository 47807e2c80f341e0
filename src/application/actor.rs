//! Who acts, and whether they may: every request to manage a team is an action
//! that Cedar decides for the actor, on the very state that is read or changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::catalog::{MEMBER_TYPE, ORGANIZATION_TYPE, PROJECT_TYPE};
use crate::domain::change::Target;
use crate::domain::grant_rule::Grantor;
use crate::domain::identifiers::{TokenId, UserId};
use crate::domain::organization::{MemberKind, Moment, Organization, Token};
use crate::domain::{Catalog, Refusal};
use crate::engine::{Explanation, RawQuestion, ReasonCode, Snapshot, Verdict};

use super::{Error, Secret};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The caller's name in the history, such as `operator`.
    pub name: String,
    /// On whose behalf.
    pub actor: Actor,
}

/// On whose behalf a request is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The caller's own: an operator.
    Operator,
    /// A member, as the caller vouches.
    Member(UserId),
    /// Whomever an API token stands for.
    Token(Secret),
}

/// What a request needs to be allowed, and what it is about.
#[derive(Clone, Copy, Debug)]
pub enum Need<'a> {
    /// Only an operator may; what it is about is the organization.
    Operator,
    /// An action on the organization.
    Organization(&'static str),
    /// An action on a project.
    Project(&'static str, &'a str),
    /// An action on a member.
    Member(&'static str, &'a str),
    /// Membership; what is then shown is decided item by item.
    Membership,
    /// What the request itself proves, such as a link; the use case decides.
    Proof,
}

/// The member who acts, once found in the organization.
#[derive(Clone, Debug)]
pub struct Acting {
    /// Whose rights count.
    pub grantor: Grantor,
    /// The token by which they act.
    pub token: Option<TokenId>,
}

impl Acting {
    /// A member for themself.
    fn member(organization: &Organization, user: &UserId) -> Self {
        Self {
            grantor: Grantor {
                user: user.clone(),
                selves: selves(organization, [user]),
                token: None,
            },
            token: None,
        }
    }

    /// The subject of a token.
    fn token(organization: &Organization, token: &Arc<Token>) -> Self {
        let behind = [&token.subject].into_iter().chain(&token.created_by);
        Self {
            grantor: Grantor {
                user: token.subject.clone(),
                selves: selves(organization, behind),
                token: Some(Arc::clone(token)),
            },
            token: Some(token.id.clone()),
        }
    }
}

/// What a use case is given to decide on.
pub struct Turn<'a> {
    /// The state that is changed.
    pub snapshot: &'a Snapshot,
    /// When the request came.
    pub now: Moment,
    /// Who acts; `None` for an operator.
    pub acting: Option<&'a Acting>,
}

impl<'a> Turn<'a> {
    /// The organization that is changed.
    pub fn organization(&self) -> &'a Organization {
        self.snapshot.organization()
    }

    /// The catalog it lives on.
    pub fn catalog(&self) -> &'a Catalog {
        self.snapshot.catalog().catalog()
    }

    /// Refuses what a member does in person only, and by no token.
    pub fn in_person(&self, action: &'static str) -> Result<(), Refusal> {
        match self.acting {
            Some(acting) if acting.token.is_some() => Err(Refusal::PermissionDenied {
                actor: acting.grantor.user.to_string(),
                action,
                why: "it takes the member in person, not a token".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// The member who acts; `None` for an operator.
    pub fn actor(&self) -> Option<UserId> {
        self.acting.map(|acting| acting.grantor.user.clone())
    }
}

impl Need<'_> {
    /// The action that Cedar is asked for, if it is asked.
    pub fn action(&self) -> Option<&'static str> {
        match self {
            Self::Organization(action) | Self::Project(action, _) | Self::Member(action, _) => {
                Some(action)
            }
            Self::Operator | Self::Membership | Self::Proof => None,
        }
    }

    /// What the request is about, for the history.
    pub fn target(&self, organization: &str) -> Target {
        match self {
            Self::Operator | Self::Membership | Self::Proof | Self::Organization(_) => {
                Target::new(ORGANIZATION_TYPE, organization)
            }
            Self::Project(_, project) => Target::new(PROJECT_TYPE, project),
            Self::Member(_, user) => Target::new(MEMBER_TYPE, user),
        }
    }
}

/// Finds the actor in the organization; `None` for an operator. A token must be
/// genuine and count; `method` is what it is to be used for.
pub fn resolve(
    snapshot: &Snapshot,
    actor: &Actor,
    method: &'static str,
    now: Moment,
) -> Result<Option<Acting>, Error> {
    let organization = snapshot.organization();
    match actor {
        Actor::Operator => Ok(None),
        Actor::Member(user) => Ok(Some(Acting::member(organization, user))),
        Actor::Token(secret) => {
            let presented = secret.find_in(organization)?;
            match presented.standing(organization, now).dead {
                None => Ok(Some(Acting::token(organization, presented.token))),
                Some(dead) => Err(Refusal::PermissionDenied {
                    actor: presented.token.subject.to_string(),
                    action: method,
                    why: format!("token `{}` is {}", presented.token.id, dead.in_words()),
                }
                .into()),
            }
        }
    }
}

/// These users, and whoever created the service accounts and tokens among them.
fn selves<'a>(
    organization: &Organization,
    users: impl IntoIterator<Item = &'a UserId>,
) -> BTreeSet<UserId> {
    let mut selves = BTreeSet::new();
    let mut waiting: Vec<UserId> = users.into_iter().cloned().collect();
    while let Some(user) = waiting.pop() {
        let creator = organization
            .members
            .get(user.as_str())
            .filter(|member| member.kind != MemberKind::Person)
            .and_then(|member| member.added_by.clone());
        if selves.insert(user) {
            waiting.extend(creator);
        }
    }
    selves
}

/// Asks Cedar whether the actor may.
pub fn authorize(
    snapshot: &Snapshot,
    acting: &Acting,
    need: Need<'_>,
    method: &'static str,
    now: Moment,
) -> Result<(), Error> {
    let organization = snapshot.organization();
    let (action, resource_type, resource_id) = match need {
        // What somebody proves in person, no token proves for them.
        Need::Proof if acting.token.is_some() => {
            return Err(Refusal::PermissionDenied {
                actor: acting.grantor.user.to_string(),
                action: method,
                why: "it takes the member in person, not a token".to_owned(),
            }
            .into());
        }
        Need::Proof => return Ok(()),
        Need::Membership
            if organization
                .members
                .contains_key(acting.grantor.user.as_str()) =>
        {
            return Ok(());
        }
        // Which says that they are no member.
        Need::Membership => (
            "ViewOrganization",
            ORGANIZATION_TYPE,
            organization.id().as_str(),
        ),
        Need::Operator => return Err(Refusal::OperatorOnly(method).into()),
        Need::Organization(action) => (action, ORGANIZATION_TYPE, organization.id().as_str()),
        // Whether there is such a member or project is told only to those who may know.
        Need::Member(_, user) if !organization.members.contains_key(user) => {
            ("ViewMembers", ORGANIZATION_TYPE, organization.id().as_str())
        }
        Need::Project(_, project) if !organization.projects.contains_key(project) => (
            "ViewOrganization",
            ORGANIZATION_TYPE,
            organization.id().as_str(),
        ),
        Need::Member(action, user) => (action, MEMBER_TYPE, user),
        Need::Project(action, project) => (action, PROJECT_TYPE, project),
    };
    let user = acting.grantor.user.as_str();
    let raw = RawQuestion {
        principal_type: "User",
        principal_id: user,
        action,
        resource_type,
        resource_id,
        token: acting.token.as_ref().map_or("", |token| token.as_str()),
        at: now,
        ..RawQuestion::default()
    };
    let question = snapshot.question(&raw).map_err(Error::invalid)?;
    if snapshot.decide(&question)?.verdict == Verdict::Allow {
        return Ok(());
    }
    let explanation = snapshot.explain(&question)?;
    Err(denial(user, action, &explanation).into())
}

/// Whether the actor may see a project.
pub fn sees_project(
    snapshot: &Snapshot,
    actor: &Actor,
    project: &str,
    now: Moment,
) -> Result<bool, Error> {
    let Some(acting) = resolve(snapshot, actor, "ListProjects", now)? else {
        return Ok(true);
    };
    let need = Need::Project("ViewProject", project);
    match authorize(snapshot, &acting, need, "ListProjects", now) {
        Ok(()) => Ok(true),
        Err(Error::Refused(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

/// Whether a member may perform an action on the organization.
pub fn may(
    snapshot: &Snapshot,
    user: &UserId,
    action: &'static str,
    now: Moment,
) -> Result<bool, Error> {
    let acting = Acting {
        grantor: Grantor {
            user: user.clone(),
            selves: BTreeSet::new(),
            token: None,
        },
        token: None,
    };
    match authorize(snapshot, &acting, Need::Organization(action), action, now) {
        Ok(()) => Ok(true),
        Err(Error::Refused(_)) => Ok(false),
        Err(other) => Err(other),
    }
}

fn denial(user: &str, action: &'static str, explanation: &Explanation) -> Refusal {
    let of = |code: ReasonCode| {
        explanation
            .reasons
            .iter()
            .find(|reason| reason.code == code)
    };
    if let Some(plan) = of(ReasonCode::Plan) {
        return Refusal::PlanForbids(plan.message.clone());
    }
    if of(ReasonCode::OwnerStays).is_some() {
        return Refusal::OwnerProtected {
            user: UserId::new(user),
            what: "leaving",
        };
    }
    let why = explanation
        .reasons
        .first()
        .map(|reason| reason.message.clone());
    Refusal::PermissionDenied {
        actor: user.to_owned(),
        action,
        why: why.unwrap_or_default(),
    }
}
