//! An export: everything that is there and everything that happened, as text.
//!
//! A backup is for this program; an export is for people, other programs, and a release
//! that reads no backup of this one. It is made by following the history from its first
//! commit, in memory, so it is at one revision whatever it is made of.
//!
//! ```text
//! {"roster_export":1}                                        the version of the format
//! {"organization":"acme","told":{"commit":{…}}}              each commit: when, what events
//! {"organization":"acme","told":{"organization":{…}}}        each organization by id, then
//! {"organization":"acme","told":{"member":{…}}}              its records by kind and id
//! {"lines":7,"sha256":"…"}                                   how many lines this follows,
//! ```
//!
//! and the hash of all bytes before the last line. The order is fixed and nothing in it
//! is of the moment, so equal stores have equal exports, and what is imported exports as
//! the same bytes: each commit becomes one commit again, so revisions and ids of events
//! stay. Two things are no part of it: the answers that are remembered for repeated
//! requests, which last a day, and the links of the hash chain, which is another one
//! after an import. What changed in each commit is not in it either, only what was told.

use std::collections::BTreeMap;
use std::io::{self, Write};

use sha2::{Digest, Sha256};

pub use super::import::{Import, LineFault, read_import};
use super::record::lines::{Line, Told};
use super::record::{DecodeError, Entry, Stored};
use super::{SealedCommit, admission};
use crate::domain::change::RecordChange;
use crate::domain::identifiers::OrganizationId;
use crate::domain::organization::Organization;

/// The version of the format.
pub(super) const VERSION: u64 = 1;
/// The name of that version in the first line.
pub(super) const HEADER: &str = "roster_export";

/// Why nothing whole was exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It can't be written.
    #[error("the export can't be written")]
    Io(#[from] io::Error),
    /// A commit is not what it should be.
    #[error("commit {0} can't be read")]
    Commit(u64, #[source] DecodeError),
    /// Something has no text.
    #[error("something of `{0}` can't be exported: {1}")]
    Unwritable(OrganizationId, String),
}

/// What was exported or imported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Organizations.
    pub organizations: u64,
    /// Their records.
    pub records: u64,
    /// Commits.
    pub commits: u64,
}

/// Writes an export while it is shown a history.
pub struct Exporter<W> {
    to: W,
    digest: Sha256,
    lines: u64,
    counted: Counted,
    organizations: BTreeMap<OrganizationId, Organization>,
}

impl<W: Write> Exporter<W> {
    /// Begins.
    pub fn begin(to: W) -> io::Result<Self> {
        let mut exporter = Self {
            to,
            digest: Sha256::new(),
            lines: 0,
            counted: Counted::default(),
            organizations: BTreeMap::new(),
        };
        exporter.line(&serde_json::json!({ HEADER: VERSION }).to_string())?;
        Ok(exporter)
    }

    /// Takes the next commit.
    pub fn commit(&mut self, commit: &SealedCommit) -> Result<(), ExportError> {
        let number = commit.sequence.0;
        let entry =
            Entry::unseal(&commit.entry).map_err(|fault| ExportError::Commit(number, fault))?;
        self.follow(&entry);
        self.counted.commits += 1;
        self.tell(&entry.organization, Told::Commit(entry.at, entry.events))
    }

    /// Writes what there is after all of it.
    pub fn end(mut self) -> Result<Counted, ExportError> {
        for (id, organization) in std::mem::take(&mut self.organizations) {
            self.counted.organizations += 1;
            let profile = organization.profile.clone();
            self.tell(&id, Told::Organization(organization.version, profile))?;
            for record in records_of(&organization) {
                self.counted.records += 1;
                self.tell(&id, Told::Record(record))?;
            }
        }
        let (lines, digest) = (self.lines, hexadecimal(&self.digest.clone().finalize()));
        self.line(&serde_json::json!({ "lines": lines, "sha256": digest }).to_string())?;
        self.to.flush()?;
        Ok(self.counted)
    }

    fn follow(&mut self, entry: &Entry) {
        let id = &entry.organization;
        if entry.records.is_empty() {
            return;
        }
        if !admission::exists_after(&entry.records) {
            self.organizations.remove(id);
            return;
        }
        let known = self.organizations.remove(id);
        let Some(mut organization) = known.or_else(|| begun(entry)) else {
            return;
        };
        for record in &entry.records {
            organization.put(record);
        }
        organization.version = entry.version;
        self.organizations.insert(id.clone(), organization);
    }

    fn tell(&mut self, organization: &OrganizationId, told: Told) -> Result<(), ExportError> {
        let line = Line {
            organization: organization.clone(),
            told,
        };
        let text = line
            .write()
            .map_err(|why| ExportError::Unwritable(organization.clone(), why))?;
        Ok(self.line(&text)?)
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        let line = format!("{text}\n");
        self.digest.update(&line);
        self.lines += 1;
        self.to.write_all(line.as_bytes())
    }
}

/// An organization that an entry founds, with nothing in it yet.
fn begun(entry: &Entry) -> Option<Organization> {
    entry.records.iter().find_map(|record| match record {
        RecordChange::PutProfile(profile) => {
            Some(Organization::empty(profile.clone(), entry.version))
        }
        _ => None,
    })
}

/// Everything in an organization but its profile, in the order of an export.
fn records_of(organization: &Organization) -> Vec<RecordChange> {
    let mut members: Vec<_> = organization.members.values().cloned().collect();
    members.sort_by(|one, other| one.user.cmp(&other.user));
    let mut records: Vec<RecordChange> = Vec::new();
    records.extend(
        organization
            .roles
            .values()
            .cloned()
            .map(RecordChange::PutRole),
    );
    records.extend(
        organization
            .projects
            .values()
            .cloned()
            .map(RecordChange::PutProject),
    );
    records.extend(
        organization
            .groups
            .values()
            .cloned()
            .map(RecordChange::PutGroup),
    );
    records.extend(members.into_iter().map(RecordChange::PutMember));
    records.extend(
        organization
            .tokens
            .values()
            .cloned()
            .map(RecordChange::PutToken),
    );
    records.extend(
        organization
            .invitations
            .values()
            .cloned()
            .map(RecordChange::PutInvitation),
    );
    records.extend(
        organization
            .resources
            .values()
            .cloned()
            .map(RecordChange::PutResource),
    );
    records.extend(
        organization
            .guardrails
            .values()
            .cloned()
            .map(RecordChange::PutGuardrail),
    );
    records.extend(
        organization
            .notifications
            .values()
            .cloned()
            .map(RecordChange::PutNotification),
    );
    records
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
