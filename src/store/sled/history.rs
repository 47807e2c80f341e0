//! Reads whole commits back from the journal while it is being written.
//!
//! Every frame is checked by its own hash and by the chain from the last place
//! that was checked: the start of its segment, or where an earlier read ended.
//! The latter is what makes following the history cheap. A single commit is read at its
//! place, which the state knows, with the beginning of the hash that must be there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::frame::{Frame, HEADER_BYTES, announced_size, follow};
use super::journal::{SEGMENT_HEADER_BYTES, Segment};
use super::marks::CommitPlace;
use super::scan::start_of;
use crate::domain::identifiers::OrganizationId;
use crate::store::record::{Entry, Stored};
use crate::store::{
    Head, HistoryEntry, Idempotency, IdempotencyKey, ReadError, Remembered, SealedCommit, Sequence,
};

/// How many places are kept at which reading can go on.
const KEPT_PLACES: usize = 64;

/// The segments there are, and where reading can begin in them.
#[derive(Debug, Default)]
pub(super) struct History {
    segments: RwLock<Vec<Segment>>,
    places: Mutex<BTreeMap<Sequence, Place>>,
    /// The commit that was read last by its place: the next page of its events may be next.
    last: Mutex<Option<Placed>>,
}

/// A commit with the place at which it was read.
type Placed = ((Sequence, CommitPlace), Arc<HistoryEntry>);

/// The end of a checked frame.
#[derive(Clone, Copy, Debug)]
struct Place {
    segment: Sequence,
    offset: u64,
    head: Head,
}

/// A segment being read.
struct Reading {
    file: File,
    length: u64,
    place: Place,
}

impl History {
    /// The history in `segments`, which are in order.
    pub fn new(segments: Vec<Segment>) -> Self {
        Self {
            segments: RwLock::new(segments),
            places: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// Takes note of a segment that was begun.
    pub fn add(&self, segment: Segment) {
        self.segments
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(segment);
    }

    /// At most `limit` commits after `after`, none of them after `end`.
    pub fn read(
        &self,
        after: Sequence,
        limit: usize,
        end: Sequence,
    ) -> Result<Vec<HistoryEntry>, ReadError> {
        let mut entries = Vec::new();
        if after >= end || limit == 0 {
            return Ok(entries);
        }
        let mut reading = self.begin(after)?;
        while entries.len() < limit && reading.place.head.sequence < end {
            reading = self.step(reading, |frame| {
                if frame.sequence > after {
                    entries.push(entry(frame)?);
                }
                Ok(())
            })?;
        }
        self.keep(reading.place);
        Ok(entries)
    }

    /// Commits after `after` as they are kept, none of them after `end`: as many as it
    /// takes to have `bytes`, and at least one.
    pub fn sealed(
        &self,
        after: Sequence,
        bytes: usize,
        end: Sequence,
    ) -> Result<Vec<SealedCommit>, ReadError> {
        let mut commits = Vec::new();
        if after >= end {
            return Ok(commits);
        }
        let mut taken = 0_usize;
        let mut reading = self.begin(after)?;
        while (commits.is_empty() || taken < bytes) && reading.place.head.sequence < end {
            reading = self.step(reading, |frame| {
                if frame.sequence > after {
                    taken = taken.saturating_add(frame.size());
                    commits.push(frame.to_commit());
                }
                Ok(())
            })?;
        }
        self.keep(reading.place);
        Ok(commits)
    }

    /// Reads at most `limit` commits after `after`, none of them after `end`, and says
    /// which is the last one that checks out and follows from `after`.
    pub fn verify(&self, after: Head, limit: usize, end: &Head) -> Result<Head, ReadError> {
        if after.sequence > end.sequence {
            return Err(damaged(end.sequence));
        }
        let mut reading = if after.sequence < end.sequence {
            self.begin(after.sequence)?
        } else if after == *end {
            return Ok(after);
        } else {
            return Err(damaged(Sequence(end.sequence.0.saturating_sub(1))));
        };
        while reading.place.head.sequence < after.sequence {
            reading = self.step(reading, |_| Ok(()))?;
        }
        if reading.place.head != after {
            return Err(damaged(Sequence(after.sequence.0.saturating_sub(1))));
        }
        for _ in 0..limit {
            if reading.place.head.sequence >= end.sequence {
                break;
            }
            reading = self.step(reading, |_| Ok(()))?;
        }
        let reached = reading.place.head;
        if reached.sequence == end.sequence && reached != *end {
            return Err(damaged(Sequence(end.sequence.0.saturating_sub(1))));
        }
        self.keep(reading.place);
        Ok(reached)
    }

    /// The commit at `sequence` in an organization, which lies at `place`.
    pub fn commit(
        &self,
        organization: &OrganizationId,
        sequence: Sequence,
        place: &CommitPlace,
    ) -> Result<Arc<HistoryEntry>, ReadError> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.clone().filter(|last| last.0 == (sequence, *place));
        drop(last);
        let commit = match known {
            Some(known) => Arc::clone(&known.1),
            None => Arc::new(self.at(sequence, place, entry)?),
        };
        if commit.organization != *organization {
            return Err(damaged(Sequence(sequence.0.saturating_sub(1))));
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some(((sequence, *place), Arc::clone(&commit)));
        Ok(commit)
    }

    /// The answer that is remembered for a request with the commit at `sequence`.
    pub fn answer(
        &self,
        key: &IdempotencyKey,
        sequence: Sequence,
        place: &CommitPlace,
    ) -> Result<Remembered, ReadError> {
        let idempotency = self.at(sequence, place, |frame| {
            Idempotency::unseal(frame.answer)
                .map_err(|fault| ReadError::Damaged(format!("answer {}: {fault}", sequence.0)))
        })?;
        if idempotency.key != *key {
            let what = format!("answer {} is another request's", sequence.0);
            return Err(ReadError::Damaged(what));
        }
        Ok(Remembered {
            fingerprint: idempotency.fingerprint,
            sequence,
            outcome: idempotency.outcome,
            expires_at: idempotency.expires_at,
        })
    }

    /// Reads the frame of the commit at `sequence`, which lies at `place`.
    fn at<T>(
        &self,
        sequence: Sequence,
        place: &CommitPlace,
        read: impl FnOnce(&Frame<'_>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let segment = self.segment_of(sequence)?;
        let before = Head {
            sequence: Sequence(sequence.0.saturating_sub(1)),
            ..Head::default()
        };
        let reading = Reading::resume(
            &segment,
            Place {
                segment: segment.first,
                offset: place.offset,
                head: before,
            },
        )?;
        let bytes = reading.read_frame()?;
        let frame = Frame::read(&bytes).map_err(|_| reading.damaged())?;
        if frame.sequence != sequence || !frame.own_hash().starts_with(&place.hash) {
            return Err(reading.damaged());
        }
        read(&frame)
    }

    /// Reads one more frame, checks it and shows it to `visit`.
    fn step(
        &self,
        mut reading: Reading,
        visit: impl FnOnce(&Frame<'_>) -> Result<(), ReadError>,
    ) -> Result<Reading, ReadError> {
        if reading.place.offset >= reading.length {
            reading = self.next_segment(&reading.place.head)?;
        }
        let bytes = reading.read_frame()?;
        let frame = Frame::read(&bytes).map_err(|_| reading.damaged())?;
        let head = follow(&reading.place.head, &frame).ok_or_else(|| reading.damaged())?;
        reading.place.offset = reading.place.offset.saturating_add(frame.size() as u64);
        reading.place.head = head;
        visit(&frame)?;
        Ok(reading)
    }

    /// The nearest checked place at or before `after`.
    fn begin(&self, after: Sequence) -> Result<Reading, ReadError> {
        let segment = self.segment_of(Sequence(after.0.saturating_add(1)))?;
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let near = places.range(..=after).next_back().map(|(_, place)| *place);
        drop(places);
        match near.filter(|place| place.segment == segment.first) {
            Some(place) => Reading::resume(&segment, place),
            None => Reading::open(&segment),
        }
    }

    fn next_segment(&self, head: &Head) -> Result<Reading, ReadError> {
        let next = Sequence(head.sequence.0.saturating_add(1));
        let reading = Reading::open(&self.segment_of(next)?)?;
        if reading.place.head != *head {
            return Err(damaged(head.sequence));
        }
        Ok(reading)
    }

    fn segment_of(&self, sequence: Sequence) -> Result<Segment, ReadError> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|segment| segment.first <= sequence);
        let found = after
            .checked_sub(1)
            .and_then(|position| segments.get(position))
            .cloned();
        found.ok_or_else(|| match segments.first() {
            Some(first) => ReadError::Compacted(Sequence(first.first.0.saturating_sub(1))),
            None => damaged(Sequence(sequence.0.saturating_sub(1))),
        })
    }

    fn keep(&self, place: Place) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(place.head.sequence, place);
        if places.len() > KEPT_PLACES {
            places.pop_first();
        }
    }
}

impl Reading {
    fn open(segment: &Segment) -> Result<Self, ReadError> {
        let file = File::open(&segment.path).map_err(unavailable)?;
        let length = file.metadata().map_err(unavailable)?.len();
        let mut header = [0; SEGMENT_HEADER_BYTES];
        file.read_exact_at(&mut header, 0)
            .map_err(cut_short(segment))?;
        let head = start_of(segment, &header).map_err(|damage| damaged(damage.after))?;
        let offset = SEGMENT_HEADER_BYTES as u64;
        Ok(Self {
            file,
            length,
            place: Place {
                segment: segment.first,
                offset,
                head,
            },
        })
    }

    fn resume(segment: &Segment, place: Place) -> Result<Self, ReadError> {
        let file = File::open(&segment.path).map_err(unavailable)?;
        let length = file.metadata().map_err(unavailable)?.len();
        Ok(Self {
            file,
            length,
            place,
        })
    }

    fn read_frame(&self) -> Result<Vec<u8>, ReadError> {
        let fault = |fault: io::Error| match fault.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(),
            _ => unavailable(fault),
        };
        let mut bytes = vec![0; HEADER_BYTES];
        self.file
            .read_exact_at(&mut bytes, self.place.offset)
            .map_err(fault)?;
        let size = announced_size(&bytes).map_err(|_| self.damaged())?;
        if size as u64 > self.length.saturating_sub(self.place.offset) {
            return Err(self.damaged());
        }
        bytes.resize(size, 0);
        self.file
            .read_exact_at(&mut bytes, self.place.offset)
            .map_err(fault)?;
        Ok(bytes)
    }

    fn damaged(&self) -> ReadError {
        damaged(self.place.head.sequence)
    }
}

fn entry(frame: &Frame<'_>) -> Result<HistoryEntry, ReadError> {
    let entry = Entry::unseal(frame.entry)
        .map_err(|fault| ReadError::Damaged(format!("commit {}: {fault}", frame.sequence.0)))?;
    Ok(HistoryEntry {
        sequence: frame.sequence,
        chain: frame.chain,
        organization: entry.organization,
        version: entry.version,
        at: entry.at,
        records: entry.records,
        events: entry.events,
        wake_at: entry.wake_at,
    })
}

fn damaged(after: Sequence) -> ReadError {
    ReadError::Damaged(format!("the journal after commit {}", after.0))
}

fn cut_short(segment: &Segment) -> impl Fn(io::Error) -> ReadError {
    let first = segment.first;
    move |fault| match fault.kind() {
        io::ErrorKind::UnexpectedEof => damaged(Sequence(first.0.saturating_sub(1))),
        _ => unavailable(fault),
    }
}

fn unavailable(fault: io::Error) -> ReadError {
    ReadError::Unavailable(fault.to_string())
}
