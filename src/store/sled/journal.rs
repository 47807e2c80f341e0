//! The journal: where a commit becomes durable.
//!
//! A directory of segments, each named by the sequence of its first frame and
//! begun with a header that carries the chain so far. Frames are only ever
//! appended to the last one. This file writes; [`scan`](super::scan) reads at
//! start and [`history`](super::history) while running.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

#[cfg(test)]
use super::faults::Faults;
use crate::store::{Chain, Head, Sequence, failpoint};

/// The bytes before a segment's first frame.
pub(super) const SEGMENT_HEADER_BYTES: usize = 8 + 8 + 32 + 32;

const MAGIC: [u8; 8] = *b"rosterj1";

/// A segment by what its name says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// The sequence of its first frame.
    pub first: Sequence,
    /// Its file.
    pub path: PathBuf,
}

/// What was appended.
#[derive(Debug)]
pub(super) struct Appended {
    /// Where in its segment it begins.
    pub offset: u64,
    /// That segment, if it is new.
    pub begun: Option<Segment>,
}

/// Why nothing, or nobody knows what, was appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// The journal is as it was before.
    Nothing(io::Error),
    /// Bytes may have stayed; the journal must not be written again.
    Unknown(io::Error),
}

/// The end of the journal, open for writing.
pub(super) struct Journal {
    directory: PathBuf,
    segment_bytes: u64,
    last: Option<LastSegment>,
    /// A segment that was begun and holds nothing yet that anybody was told of.
    begun: Option<Segment>,
    #[cfg(test)]
    faults: std::sync::Arc<Faults>,
}

struct LastSegment {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Journal {
    /// Goes on at the end of `last`, or begins the first segment with the first frame.
    pub fn resume(
        directory: &Path,
        segment_bytes: u64,
        last: Option<&Segment>,
    ) -> io::Result<Self> {
        let last = last
            .map(|segment| {
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&segment.path)?;
                let length = file.metadata()?.len();
                io::Result::Ok(LastSegment {
                    file,
                    path: segment.path.clone(),
                    length,
                })
            })
            .transpose()?;
        Ok(Self {
            directory: directory.to_owned(),
            segment_bytes,
            last,
            begun: None,
            #[cfg(test)]
            faults: std::sync::Arc::default(),
        })
    }

    /// The same journal with faults that a test injects.
    #[cfg(test)]
    pub fn with(self, faults: std::sync::Arc<Faults>) -> Self {
        Self { faults, ..self }
    }

    /// Makes `frames`, the first of which follows `head`, durable.
    pub fn append(&mut self, head: &Head, frames: &[u8]) -> Result<Appended, AppendError> {
        let last = match self.last.take() {
            Some(last) if last.length < self.segment_bytes => last,
            full => match begin(&self.directory, head) {
                Ok((last, segment)) => {
                    self.begun = Some(segment);
                    last
                }
                Err(fault) => {
                    self.last = full;
                    return Err(AppendError::Nothing(fault));
                }
            },
        };
        let last = self.last.insert(last);
        let written = write(
            last,
            frames,
            #[cfg(test)]
            &self.faults,
        );
        if let Err(fault) = written {
            return Err(last.take_back(fault));
        }
        #[cfg(test)]
        self.faults.before_sync().map_err(AppendError::Unknown)?;
        failpoint::reach("sync").map_err(AppendError::Unknown)?;
        last.file.sync_data().map_err(AppendError::Unknown)?;
        failpoint::reach("synced").map_err(AppendError::Unknown)?;
        let offset = last.length;
        last.length = last.length.saturating_add(frames.len() as u64);
        let begun = self.begun.take();
        Ok(Appended { offset, begun })
    }

    /// Whether the file that is written is still the one that its path names.
    pub fn is_in_place(&self) -> io::Result<bool> {
        self.last
            .as_ref()
            .map_or(Ok(true), |last| is_in_place(&last.file, &last.path))
    }
}

fn write(last: &LastSegment, frames: &[u8], #[cfg(test)] faults: &Faults) -> io::Result<()> {
    failpoint::reach("append")?;
    if failpoint::is_armed("append-half") {
        let (half, _) = frames.split_at(frames.len() / 2);
        last.file.write_all_at(half, last.length)?;
        failpoint::reach("append-half")?;
    }
    #[cfg(test)]
    faults.before_append(|part| last.file.write_all_at(part, last.length), frames)?;
    last.file.write_all_at(frames, last.length)
}

impl LastSegment {
    /// Removes what a failed write left behind.
    fn take_back(&self, fault: io::Error) -> AppendError {
        match self
            .file
            .set_len(self.length)
            .and_then(|()| self.file.sync_all())
        {
            Ok(()) => AppendError::Nothing(fault),
            Err(_) => AppendError::Unknown(fault),
        }
    }
}

/// Begins the segment for the frame after `head`, durable before anything is in it.
fn begin(directory: &Path, head: &Head) -> io::Result<(LastSegment, Segment)> {
    let first = Sequence(head.sequence.0.saturating_add(1));
    let path = directory.join(format!("{:020}.log", first.0));
    // A leftover of an earlier failed attempt holds no frames and may be overwritten.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)?;
    let header = segment_header(first, &head.chain);
    let begun = file
        .write_all(&header)
        .and_then(|()| failpoint::reach("segment"))
        .and_then(|()| file.sync_all())
        .and_then(|()| sync_directory(directory));
    if let Err(fault) = begun {
        // What can't be removed now is removed or overwritten later.
        let _ = std::fs::remove_file(&path);
        return Err(fault);
    }
    let last = LastSegment {
        file,
        path: path.clone(),
        length: header.len() as u64,
    };
    Ok((last, Segment { first, path }))
}

/// Writes the same bytes again from the start of a segment and makes them durable.
pub(super) fn rewrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()
}

/// The segments in a directory by their first sequence.
pub(super) fn segments(directory: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let number = name
            .strip_suffix(".log")
            .filter(|number| number.len() == 20);
        if let Some(first) = number.and_then(|number| number.parse().ok()) {
            segments.push(Segment {
                first: Sequence(first),
                path,
            });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments)
}

fn segment_header(first: Sequence, previous: &Chain) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&first.0.to_be_bytes());
    header.extend_from_slice(previous);
    let hash = Sha256::digest(&header);
    header.extend_from_slice(&hash);
    header
}

/// The chain before the first frame, if `bytes` begin with the header of the segment `first`.
pub(super) fn read_segment_header(first: Sequence, bytes: &[u8]) -> Option<Chain> {
    let header = bytes.get(..SEGMENT_HEADER_BYTES)?;
    let previous: Chain = header.get(16..48)?.try_into().ok()?;
    (segment_header(first, &previous) == header).then_some(previous)
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Whether `path` still names the open `file`.
pub(super) fn is_in_place(file: &File, path: &Path) -> io::Result<bool> {
    let open = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((open.dev(), open.ino()) == (named.dev(), named.ino())),
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(fault) => Err(fault),
    }
}
