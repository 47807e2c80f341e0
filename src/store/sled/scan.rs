//! Reads the journal at start: what is whole, what was torn, what is damaged.
//!
//! Only the end can be torn: the last write may have been cut short before it
//! was acknowledged, leaving any part of itself behind. Everything before it was
//! made durable and acknowledged, so a fault there is damage, and nobody may
//! pretend that the history ended before it. The two are told apart by the group
//! that frames carry: a whole frame of a later group after the fault proves that
//! the fault was once durable.

use std::path::PathBuf;

use super::frame::{Frame, find, follow};
use super::journal::{SEGMENT_HEADER_BYTES, Segment, read_segment_header};
use crate::store::{Head, Sequence};

/// Damage to acknowledged history.
#[derive(Debug)]
pub(super) struct Damage {
    /// Where.
    pub path: PathBuf,
    /// The last commit before it.
    pub after: Sequence,
    /// What is wrong.
    pub what: &'static str,
}

/// Whether a segment may end in a torn write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Others follow, so all of it was acknowledged.
    Middle,
    /// It is the last.
    End,
}

/// Where the whole frames of a segment end.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    /// The history up to there.
    pub head: Head,
    /// The bytes up to there.
    pub length: usize,
}

/// Whether these bytes are what a process leaves behind that dies while it begins a segment.
pub(super) fn is_torn_beginning(segment: &Segment, bytes: &[u8]) -> bool {
    bytes.len() <= SEGMENT_HEADER_BYTES && read_segment_header(segment.first, bytes).is_none()
}

/// The history before a segment's first frame, as its header says.
pub(super) fn start_of(segment: &Segment, bytes: &[u8]) -> Result<Head, Damage> {
    let sequence = Sequence(segment.first.0.saturating_sub(1));
    match read_segment_header(segment.first, bytes) {
        Some(chain) => Ok(Head { sequence, chain }),
        None => Err(Damage {
            path: segment.path.clone(),
            after: sequence,
            what: "the header of the segment",
        }),
    }
}

/// Shows every whole frame of a segment and where it begins to `visit`, in order.
pub(super) fn frames<E: From<Damage>>(
    segment: &Segment,
    bytes: &[u8],
    place: Place,
    mut visit: impl FnMut(&Frame<'_>, u64) -> Result<(), E>,
) -> Result<End, E> {
    let mut head = start_of(segment, bytes)?;
    let mut length = SEGMENT_HEADER_BYTES;
    loop {
        let rest = bytes.get(length..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(End { head, length });
        }
        let damage = |what| Damage {
            path: segment.path.clone(),
            after: head.sequence,
            what,
        };
        let Ok(frame) = Frame::read(rest) else {
            if place == Place::Middle || was_durable(rest, head.sequence) {
                return Err(damage("a commit").into());
            }
            return Ok(End { head, length });
        };
        head = follow(&head, &frame).ok_or_else(|| damage("the chain of commits"))?;
        let offset = length as u64;
        length = length.saturating_add(frame.size());
        visit(&frame, offset)?;
    }
}

/// Whether what follows `last` was once acknowledged, although it can't be read any more.
fn was_durable(rest: &[u8], last: Sequence) -> bool {
    let next = Sequence(last.0.saturating_add(1));
    find(rest, |frame| frame.group > next).is_some()
}
