//! A line of an export: one thing of one organization, as JSON for people and programs.
//!
//! The shapes are the stored ones, so that nothing is left out; bytes such as digests
//! are text in base64 (URL alphabet, no padding), moments milliseconds since 1970.

use std::sync::Arc;

use super::mirror;
use crate::domain::change::RecordChange;
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::{Moment, Profile, Version};
use crate::store::HistoryEvent;

/// One thing of one organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The organization.
    pub organization: OrganizationId,
    /// What is said of it.
    pub told: Told,
}

/// What is said of an organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// That it is there, at that version.
    Organization(Version, Arc<Profile>),
    /// One of its records but the profile, as a change that puts it.
    Record(RecordChange),
    /// What a commit told of, and when it was decided.
    Commit(Moment, Vec<HistoryEvent>),
}

impl Line {
    /// The line without its end. Equal lines are equal text.
    pub fn write(&self) -> Result<String, String> {
        let mirrored = mirror::Line1::try_from(self);
        let mirrored =
            mirrored.map_err(|mirror::Unfit| "it is no record that is put".to_owned())?;
        serde_json::to_string(&mirrored).map_err(|fault| fault.to_string())
    }

    /// The line that a text is, or what is wrong with it and where.
    pub fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str::<mirror::Line1<'_>>(text)
            .map(Into::into)
            .map_err(|fault| {
                let told = fault.to_string();
                // There is one line; only the column says something.
                told.replace(" at line 1 column ", " at column ")
            })
    }
}
