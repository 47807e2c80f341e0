//! The one way from the bytes of an ordinary question to a decision.
//!
//! Everything that is not a plain decision (an error, a wait, a reason asked for, an
//! organization that is not at hand) gives nothing here, and is answered by
//! [`super::super::authorization_service`], as if this file were not there.

use crate::application::check::judge;
use crate::application::{Application, Bounds, Check, Checked, revision};
use crate::domain::organization::Moment;
use crate::engine::{RawQuestion, Snapshot};
use crate::transport::authorization_service::MAX_CORRELATION_BYTES;

use super::answer::Decided;
use super::request::Asked;

/// Decides an `IsAuthorizedRequest` of a caller who is bound to these organizations, if
/// to any; nothing if it is not an ordinary one.
#[inline]
pub fn decide<'a>(
    application: &Application,
    bounds: Option<&Bounds>,
    message: &'a [u8],
) -> Option<Decided<'a>> {
    let asked = Asked::read(message)?;
    if bounds.is_some_and(|bounds| !bounds.admit(asked.organization)) {
        return None;
    }
    if !asked.is_ordinary(|| application.published()) {
        return None;
    }
    let checked = application.check(&asked.check(application.world().now()));
    let checked = checked?.ok()?;
    Some(Decided::of(&checked, asked.correlation_id))
}

/// Decides a question of a batch on that snapshot of its organization.
pub fn decide_on(
    snapshot: &Snapshot,
    asked: &Asked<'_>,
    now: Moment,
) -> Result<Checked, crate::application::Error> {
    judge(snapshot, &asked.check(now))
}

impl<'a> Asked<'a> {
    /// Whether it can be answered at once, and without reasons, on what is published.
    pub fn is_ordinary(&self, published: impl FnOnce() -> u64) -> bool {
        !self.include_reasons
            && self.correlation_id.len() <= MAX_CORRELATION_BYTES
            && is_reached(self.at_least, published)
    }

    fn check(&self, at: Moment) -> Check<'a> {
        Check {
            organization: self.organization,
            question: RawQuestion {
                principal_type: self.principal_type,
                principal_id: self.principal_id,
                action: self.action,
                resource_type: self.resource_type,
                resource_id: self.resource_id,
                project: self.project,
                owner: self.owner,
                at,
                ..RawQuestion::default()
            },
            include_reasons: false,
        }
    }
}

/// Whether a revision asked for is well formed and published.
pub fn is_reached(at_least: &str, published: impl FnOnce() -> u64) -> bool {
    match revision::parse(at_least) {
        Ok(None) => true,
        Ok(Some(wanted)) => wanted.0 <= published(),
        Err(_) => false,
    }
}
