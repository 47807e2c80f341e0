//! Reads an export: all of it or nothing, and everything that is wrong with it.
//!
//! See [`export`](super::export) for the format. Every line is looked at whatever the
//! ones before it were like, and then what lines say of each other: whatever a record
//! names must be there.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::export::{Counted, HEADER, VERSION, hexadecimal};
use super::record::lines::{Line, Told};
use super::record::{Entry, MAX_COMMIT_BYTES, MAX_RECORD_BYTES, Stored, link};
use super::{CALLER_KEYS, Head, HistoryEvent, SealedCommit, Sequence, admission};
use crate::domain::Catalog;
use crate::domain::change::RecordChange;
use crate::domain::identifiers::{OrganizationId, identifier_fault};
use crate::domain::organization::{Moment, Organization, Version};

/// How many bytes of records go into one commit.
const PART_BYTES: usize = MAX_COMMIT_BYTES / 2;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineFault {
    /// Which, from 1.
    pub line: usize,
    /// What, in words.
    pub problem: String,
}

impl fmt::Display for LineFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}: {}", self.line, self.problem)
    }
}

/// An export that was read and checks out: the commits to make of it.
#[derive(Debug)]
pub struct Import {
    commits: Vec<CommitLine>,
    /// What the last commits of each organization bring with them.
    parts: HashMap<usize, Part>,
    counted: Counted,
}

#[derive(Debug)]
struct CommitLine {
    line: usize,
    organization: OrganizationId,
    at: Moment,
    events: Vec<HistoryEvent>,
}

/// Records of an organization, as one commit brings them.
#[derive(Debug)]
struct Part {
    version: Version,
    wake_at: Option<Moment>,
    records: Vec<RecordChange>,
}

/// An organization on its way in.
struct Incoming {
    line: usize,
    organization: Organization,
    /// Its records with their lines, the profile first.
    records: Vec<(usize, RecordChange)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trailer {
    lines: u64,
    sha256: String,
}

/// Reads all of an export. `catalogs` has the catalog of an id, to know its roles.
pub fn read_import<'a>(
    text: &str,
    catalogs: impl Fn(&str) -> Option<&'a Catalog>,
) -> Result<Import, Vec<LineFault>> {
    let mut reading = Reading::default();
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    let trailer = lines.pop().unwrap_or_default();
    let last = lines.len() + 1;
    if lines.is_empty() {
        reading.fault(
            1,
            "it is no export of roster: it needs a first and a last line",
        );
    } else {
        reading.header(lines.remove(0));
        for (index, line) in lines.iter().enumerate() {
            reading.line(index + 2, line.trim_end_matches('\n'));
        }
        reading.trailer(last, text, trailer);
    }
    reading.references(catalogs);
    reading.finish()
}

#[derive(Default)]
struct Reading {
    organizations: BTreeMap<OrganizationId, Incoming>,
    commits: Vec<CommitLine>,
    /// The first lines that say something, by what they say it of.
    places: HashMap<(OrganizationId, &'static str, String), usize>,
    faults: Vec<LineFault>,
}

impl Reading {
    fn fault(&mut self, line: usize, problem: impl Into<String>) {
        self.faults.push(LineFault {
            line,
            problem: problem.into(),
        });
    }

    fn header(&mut self, line: &str) {
        let header: Option<serde_json::Value> = serde_json::from_str(line).ok();
        let version = header
            .as_ref()
            .and_then(|header| header.get(HEADER)?.as_u64());
        match version {
            Some(VERSION) => {}
            Some(other) => self.fault(
                1,
                format!("version `{other}` of the format is not known to this release"),
            ),
            None => self.fault(1, "it is no export of roster: the first line says none"),
        }
    }

    fn trailer(&mut self, last: usize, text: &str, line: &str) {
        let trailer: Trailer = match serde_json::from_str(line) {
            Ok(trailer) => trailer,
            Err(_) => {
                return self.fault(last, "it is cut short: the last line has no count and hash");
            }
        };
        let before = text.get(..text.len() - line.len()).unwrap_or_default();
        let count = (last - 1) as u64;
        if trailer.lines != count {
            let said = trailer.lines;
            self.fault(
                last,
                format!("it has {count} lines before the last, not {said}"),
            );
        }
        if trailer.sha256 != hexadecimal(&Sha256::digest(before)) {
            self.fault(
                last,
                "the hash of the lines before is another: they were changed",
            );
        }
    }

    fn line(&mut self, number: usize, text: &str) {
        let line = match Line::read(text) {
            Ok(line) => line,
            Err(problem) => return self.fault(number, problem),
        };
        let id = line.organization;
        // The keys of callers have events and nothing else.
        let is_of_keys = id.as_str() == CALLER_KEYS && matches!(line.told, Told::Commit(..));
        if let Some(fault) = identifier_fault(id.as_str()).filter(|_| !is_of_keys) {
            self.fault(number, format!("the organization's id {fault}"));
        }
        match line.told {
            Told::Commit(at, events) => self.commit(number, id, at, events),
            Told::Organization(version, profile) => {
                if profile.id != id {
                    let other = &profile.id;
                    self.fault(number, format!("the profile is that of `{other}`"));
                }
                let record = RecordChange::PutProfile(profile.clone());
                self.name(number, &id, &record);
                let incoming = Incoming {
                    line: number,
                    organization: Organization::empty(profile, version),
                    records: vec![(number, record)],
                };
                self.organizations.entry(id).or_insert(incoming);
            }
            Told::Record(record) => {
                let is_first = self.name(number, &id, &record);
                match self.organizations.get_mut(&id) {
                    Some(_) if !is_first => {}
                    Some(incoming) => {
                        incoming.organization.put(&record);
                        incoming.records.push((number, record));
                    }
                    None => self.fault(
                        number,
                        format!("no line before it says that organization `{id}` is there"),
                    ),
                }
            }
        }
    }

    fn commit(
        &mut self,
        line: usize,
        organization: OrganizationId,
        at: Moment,
        events: Vec<HistoryEvent>,
    ) {
        if events.is_empty() {
            self.fault(line, "a commit needs an event");
        }
        if let Err(fault) = admission::check_events(&events) {
            self.fault(line, fault.to_string());
        }
        self.commits.push(CommitLine {
            line,
            organization,
            at,
            events,
        });
    }

    /// Checks the ids of a record, its size, and that it is the first of its name.
    fn name(&mut self, line: usize, organization: &OrganizationId, record: &RecordChange) -> bool {
        let (kind, id, ids) = names(record);
        for id in ids {
            if let Some(fault) = identifier_fault(id) {
                self.fault(line, format!("the id of the {kind} {fault}"));
            }
        }
        if let Err(fault) = admission::seal_put(record) {
            self.fault(line, fault.to_string());
        }
        let name = (organization.clone(), kind, id);
        let first = self.places.get(&name).copied();
        if let Some(first) = first {
            self.fault(
                line,
                format!("line {first} has a {kind} of that id already"),
            );
        }
        self.places.entry(name).or_insert(line);
        first.is_none()
    }

    fn references<'a>(&mut self, catalogs: impl Fn(&str) -> Option<&'a Catalog>) {
        let mut faults = Vec::new();
        for (id, incoming) in &self.organizations {
            let profile = &incoming.organization.profile;
            let catalog = catalogs(profile.catalog.as_str());
            if catalog.is_none() {
                faults.push((
                    incoming.line,
                    format!(
                        "catalog `{}` is not known; name its folder with `--catalogs`",
                        profile.catalog
                    ),
                ));
            }
            let dangling = incoming.organization.dangling(catalog);
            let unsound = catalog.and_then(|catalog| incoming.organization.fault(catalog));
            if let Some(fault) = unsound.filter(|_| dangling.is_empty()) {
                faults.push((incoming.line, fault));
            }
            for dangling in dangling {
                let name = (id.clone(), dangling.kind, dangling.id);
                let line = self.places.get(&name).copied().unwrap_or(incoming.line);
                faults.push((
                    line,
                    format!("it names {}, which is not there", dangling.names),
                ));
            }
        }
        for (line, problem) in faults {
            self.fault(line, problem);
        }
    }

    fn finish(mut self) -> Result<Import, Vec<LineFault>> {
        let mut counted = Counted {
            commits: self.commits.len() as u64,
            ..Counted::default()
        };
        let mut parts = HashMap::new();
        let mut own: HashMap<OrganizationId, Vec<usize>> = HashMap::new();
        for (place, commit) in self.commits.iter().enumerate() {
            let id = commit.organization.clone();
            own.entry(id).or_default().push(place);
        }
        for (id, incoming) in std::mem::take(&mut self.organizations) {
            counted.organizations += 1;
            counted.records += incoming.records.len().saturating_sub(1) as u64;
            let line = incoming.line;
            let made = split(incoming, PART_BYTES);
            let places = own.remove(&id).unwrap_or_default();
            if places.len() < made.len() {
                let (few, needed) = (places.len(), made.len());
                self.fault(
                    line,
                    format!("`{id}` has {few} lines of commits and needs {needed} to come in by"),
                );
            }
            let last = places.iter().rev().copied().zip(made.into_iter().rev());
            parts.extend(last);
        }
        if self.faults.is_empty() {
            return Ok(Import {
                commits: self.commits,
                parts,
                counted,
            });
        }
        self.faults.sort();
        Err(self.faults)
    }
}

/// What one commit can hold at a time; the last part is at the organization's version.
fn split(incoming: Incoming, part_bytes: usize) -> Vec<Part> {
    let mut parts: Vec<Vec<RecordChange>> = Vec::new();
    let mut bytes = usize::MAX;
    for (_, record) in incoming.records {
        let size = admission::seal_put(&record).ok().flatten();
        let size = size.map_or(MAX_RECORD_BYTES, |sealed| sealed.len());
        bytes = bytes.saturating_add(size);
        match parts.last_mut().filter(|_| bytes <= part_bytes) {
            Some(part) => part.push(record),
            None => {
                bytes = size;
                parts.push(vec![record]);
            }
        }
    }
    let organization = incoming.organization;
    let wake_at = organization.deadlines.first().map(|(end, _)| *end);
    let count = parts.len() as u64;
    let numbered = (1..).zip(parts);
    numbered
        .map(|(number, records)| Part {
            version: Version(organization.version.0.saturating_sub(count - number)),
            wake_at: wake_at.filter(|_| number == count),
            records,
        })
        .collect()
}

impl Import {
    /// How much there is.
    pub fn counted(&self) -> Counted {
        self.counted
    }

    /// Shows every commit to make, in order. Answers with where the history then ends.
    pub fn each_commit<E: From<LineFault>>(
        mut self,
        mut visit: impl FnMut(&SealedCommit) -> Result<(), E>,
    ) -> Result<Head, E> {
        let mut head = Head::default();
        for (place, commit) in self.commits.into_iter().enumerate() {
            let line = commit.line;
            let part = self.parts.remove(&place);
            let (version, wake_at, records) = part
                .map(|part| (part.version, part.wake_at, part.records))
                .unwrap_or_default();
            let entry = Entry {
                organization: commit.organization,
                version,
                at: commit.at,
                records,
                events: commit.events,
                wake_at,
            };
            let sealed = entry.seal().map_err(|fault| LineFault {
                line,
                problem: fault.to_string(),
            })?;
            head = Head {
                sequence: Sequence(head.sequence.0.saturating_add(1)),
                chain: link(&head.chain, &sealed),
            };
            visit(&SealedCommit {
                sequence: head.sequence,
                chain: head.chain,
                entry: sealed,
                answer: Vec::new(),
            })?;
        }
        Ok(head)
    }
}

/// The kind of a record, what names it among those of its kind, and the ids in that.
fn names(record: &RecordChange) -> (&'static str, String, Vec<&str>) {
    let one = |kind, id| (kind, String::from(id), vec![id]);
    match record {
        RecordChange::PutProfile(profile) => one("organization", profile.id.as_str()),
        RecordChange::PutMember(member) => one("member", member.user.as_str()),
        RecordChange::PutRole(role) => one("role", role.id.as_str()),
        RecordChange::PutProject(project) => one("project", project.id.as_str()),
        RecordChange::PutGroup(group) => one("group", group.id.as_str()),
        RecordChange::PutInvitation(sent) => one("invitation", sent.id.as_str()),
        RecordChange::PutToken(token) => one("token", token.id.as_str()),
        RecordChange::PutGuardrail(guardrail) => one("guardrail", guardrail.id.as_str()),
        RecordChange::PutNotification(waiting) => one("notification", waiting.id.as_str()),
        RecordChange::PutResource(resource) => {
            let key = &resource.key;
            let (type_id, id) = (key.type_id.as_str(), key.id.as_str());
            ("resource", format!("{type_id}/{id}"), vec![type_id, id])
        }
        RecordChange::DeleteMember(_)
        | RecordChange::DeleteRole(_)
        | RecordChange::DeleteProject(_)
        | RecordChange::DeleteResource(_)
        | RecordChange::DeleteGroup(_)
        | RecordChange::DeleteInvitation(_)
        | RecordChange::DeleteToken(_)
        | RecordChange::DeleteGuardrail(_)
        | RecordChange::DeleteNotification(_)
        | RecordChange::DeleteOrganization => ("deletion", String::new(), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::samples::{self, HOSTILE, changes_that_stay, profile};

    /// One of every kind of record but the profile.
    fn puts() -> impl Iterator<Item = RecordChange> {
        let is_put = |change: &RecordChange| matches!(admission::seal_put(change), Ok(Some(_)));
        let is_profile = |change: &RecordChange| matches!(change, RecordChange::PutProfile(_));
        changes_that_stay(HOSTILE)
            .into_iter()
            .filter(move |change| is_put(change) && !is_profile(change))
    }

    fn incoming() -> Incoming {
        let profile = Arc::new(profile("o", HOSTILE, 9));
        let mut organization = Organization::empty(Arc::clone(&profile), Version(9));
        let mut records = vec![RecordChange::PutProfile(profile)];
        records.extend(puts());
        records.iter().for_each(|record| organization.put(record));
        Incoming {
            line: 1,
            organization,
            records: (1..).zip(records).collect(),
        }
    }

    #[test]
    fn a_large_organization_comes_in_parts_that_end_at_its_version() {
        let whole = incoming();
        let all: Vec<RecordChange> = whole.records.iter().map(|(_, one)| one.clone()).collect();
        let wake = whole.organization.deadlines.first().map(|(end, _)| *end);
        assert!(wake.is_some());
        let mut counts = Vec::new();
        for bytes in [0, 600, PART_BYTES] {
            let parts = split(incoming(), bytes);
            counts.push(parts.len());
            let versions: Vec<u64> = parts.iter().map(|part| part.version.0).collect();
            let expected: Vec<u64> = (10 - parts.len() as u64..=9).collect();
            assert_eq!(versions, expected);
            let (last, before) = parts.split_last().unwrap();
            assert_eq!(last.wake_at, wake);
            assert!(before.iter().all(|part| part.wake_at.is_none()));
            let joined: Vec<RecordChange> =
                parts.into_iter().flat_map(|part| part.records).collect();
            assert_eq!(joined, all);
        }
        assert_eq!(counts.first(), Some(&all.len()), "{counts:?}");
        assert_eq!(counts.last(), Some(&1));
        assert!(counts[1] > 1 && counts[1] < counts[0], "{counts:?}");
    }

    #[test]
    fn every_line_reads_back_as_it_was_and_as_the_same_text() {
        let organization = samples::organization("o");
        let told = puts().map(Told::Record).chain([
            Told::Organization(Version(3), Arc::new(profile("o", HOSTILE, 3))),
            Told::Commit(Moment(-7), vec![samples::event(HOSTILE)]),
        ]);
        for told in told {
            let line = Line {
                organization: organization.clone(),
                told,
            };
            let text = line.write().unwrap();
            assert!(!text.contains('\n'));
            let again = Line::read(&text).unwrap();
            assert_eq!(again, line);
            assert_eq!(again.write().unwrap(), text);
        }
        let deletion = Line {
            organization,
            told: Told::Record(RecordChange::DeleteOrganization),
        };
        assert!(deletion.write().is_err());
    }
}
